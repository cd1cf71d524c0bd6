//! One stream that every consumer gets in full, through a ring that holds so many messages.

use std::collections::VecDeque;

use crate::workload::number::{self, float};
use crate::workload::scenario::{checked_rate, rounded};
use crate::workload::simulation::{
    Arrivals, Plan, SERVICES, Ticks, next_service, to_ns, to_ticks, window_ns,
};
use crate::workload::{Arrival, Error, Measured, Meter, Random, Scenario, Service, predict};

const CONSUMERS_MAX: usize = 1000;

/// Messages that come in a pattern at a rate, and consumers that each get all of them. The
/// producer waits while the slowest is a whole ring behind.
///
/// There is no closed form for it, because a ring that can be full couples the consumers. In one
/// without an end each consumer is a queue by itself, of which [`predict`]
/// knows more.
///
/// ```
/// use ringway::workload::{Arrival, Broadcast};
///
/// let consumers = vec!["exp:1us".parse()?, "fixed:2us".parse()?];
/// let broadcast = Broadcast::new(Arrival::poisson(), consumers, 400_000.0, Some(64))?;
/// assert!((broadcast.load() - 0.8).abs() < 1e-12);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    arrival: Arrival,
    consumers: Vec<Service>,
    rate_per_s: f64,
    places: Option<u32>,
}

impl Broadcast {
    /// Messages at `rate_per_s` on average, from a millionth to 10^12 a second; 1 to 1000 consumers
    /// with a service each; a ring of so many places, of a million at most, or without an end.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Broadcast};
    ///
    /// let error = Broadcast::new(Arrival::poisson(), vec![], 1.0, None).unwrap_err();
    /// assert_eq!(error.to_string(), "the number of consumers cannot be 0: it is from 1 to 1000");
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn new(
        arrival: Arrival,
        consumers: Vec<Service>,
        rate_per_s: f64,
        places: Option<u32>,
    ) -> Result<Self, Error> {
        let rate_per_s = checked_rate(rate_per_s)?;
        number::within("the number of consumers", consumers.len(), 1, CONSUMERS_MAX)?;
        if let Some(places) = places {
            number::within("the bound", places, 1, Scenario::PLACES_MAX)?;
        }
        Ok(Self { arrival, consumers, rate_per_s, places })
    }

    /// The load of the slowest consumer: rate times the longest mean service.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Broadcast};
    /// let consumers = vec!["exp:1s".parse()?];
    /// assert_eq!(Broadcast::new(Arrival::poisson(), consumers, 0.5, None)?.load(), 0.5);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn load(&self) -> f64 {
        let slowest = self.consumers.iter().map(Service::mean_ns).fold(0.0, f64::max);
        rounded(self.rate_per_s * slowest / number::NS_PER_S)
    }

    /// Whether the queue settles, or grows without end. `None` if nobody knows: consumers that a ring
    /// couples serve less together than the slowest of them does alone, as far as chance has now one
    /// and now another be the one that holds the rest up.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Broadcast};
    ///
    /// let stable = |rate: f64| -> Result<_, ringway::workload::Error> {
    ///     let consumers = vec!["exp:1s".parse()?; 2];
    ///     Ok(Broadcast::new(Arrival::poisson(), consumers, rate, Some(1))?.stable())
    /// };
    /// // Of two such times the longer is 1.5 s on average.
    /// assert_eq!((stable(0.4)?, stable(0.8)?, stable(1.0)?), (Some(true), None, Some(false)));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn stable(&self) -> Option<bool> {
        let load = self.load();
        if self.places.is_none() {
            return (0..self.consumers.len()).try_fold(true, |all, consumer| {
                Some(all && predict(&self.alone(consumer)?).stable?)
            });
        }
        let work_ns: f64 = self.consumers.iter().map(Service::mean_ns).sum();
        let comes_over = self.arrival.is_fixed() || self.arrival.is_trace();
        match load {
            // The slowest of a message is always the same one, which has work while there is any.
            _ if self.consumers.iter().all(|it| it.is_fixed() || it.is_none()) => {
                Some(load < 1.0 || load <= 1.0 && comes_over)
            }
            1.0.. => Some(false),
            // One place serves as fast as the longest of a message's times, which is no longer than
            // all of them, and more places serve no less.
            _ if self.rate_per_s * work_ns / number::NS_PER_S < 1.0 => Some(true),
            _ => None,
        }
    }

    /// The queue of one of the consumers by itself, in a ring without an end. `None` if there is no
    /// such consumer.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Broadcast};
    /// let consumers = vec!["exp:1s".parse()?, "exp:2s".parse()?];
    /// let broadcast = Broadcast::new(Arrival::poisson(), consumers, 0.25, Some(8))?;
    /// assert_eq!(broadcast.alone(1).map(|alone| alone.load()), Some(0.5));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn alone(&self, consumer: usize) -> Option<Scenario> {
        let service = *self.consumers.get(consumer)?;
        Scenario::new(self.arrival.clone(), service, self.rate_per_s, 1, None).ok()
    }

    /// Messages offered, a second.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Broadcast};
    /// let consumers = vec!["exp:1s".parse()?];
    /// assert_eq!(Broadcast::new(Arrival::poisson(), consumers, 0.5, None)?.rate_per_s(), 0.5);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn rate_per_s(&self) -> f64 {
        self.rate_per_s
    }
}

/// What came of a simulated broadcast. Made by [`simulate_broadcast`].
///
/// ```
/// use ringway::workload::{Arrival, Broadcast, Plan, simulate_broadcast};
///
/// let consumers = vec!["exp:1us".parse()?, "exp:2us".parse()?];
/// let broadcast = Broadcast::new(Arrival::poisson(), consumers, 400_000.0, Some(8))?;
/// let simulated = simulate_broadcast(&broadcast, &Plan::new().messages(10_000)?)?;
/// let [fast, slow] = simulated.consumers.as_slice() else { panic!("there are two") };
/// assert!(fast.figures.utilisation < slow.figures.utilisation);
/// assert!(simulated.full_share > 0.0 && simulated.producer_wait_mean_ns > 0.0);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BroadcastSimulated {
    /// For each consumer, in their order, what it makes of the stream. Times count from the
    /// intended time of each message: they include what it waited with the producer.
    pub consumers: Vec<Measured>,
    /// The part of the messages that could not go into the ring at their intended time, 0 to 1.
    pub full_share: f64,
    /// How long a message waited for its place in the ring, in nanoseconds, the mean of all.
    pub producer_wait_mean_ns: f64,
}

/// Simulates a broadcast, each consumer with a chance of its own.
///
/// ```
/// use ringway::workload::{Arrival, Broadcast, Plan, simulate_broadcast};
///
/// // A ring that is never full: the slow consumer does not disturb the fast one.
/// let consumers = vec!["fixed:1us".parse()?, "fixed:9us".parse()?];
/// let broadcast = Broadcast::new(Arrival::fixed(), consumers, 100_000.0, None)?;
/// let simulated = simulate_broadcast(&broadcast, &Plan::new().messages(1000)?)?;
/// assert_eq!(simulated.consumers[0].figures.wait_mean_ns, 0.0);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
pub fn simulate_broadcast(broadcast: &Broadcast, plan: &Plan) -> Result<BroadcastSimulated, Error> {
    play(broadcast, plan, plan.window_ns(broadcast.rate_per_s))
}

/// Simulates what an [`Offer`](crate::workload::Offer) of the same seed asks of the consumers of a
/// broadcast, each with its [`work`](crate::workload::Offer::work_of), as
/// [`replay`](crate::workload::replay) does for servers that share. The window is from one moment
/// to another, in nanoseconds from the beginning on; the length of the plan does not count.
///
/// ```
/// use ringway::workload::{Arrival, Broadcast, Plan, replay_broadcast};
///
/// let consumers = vec!["fixed:1us".parse()?, "fixed:9us".parse()?];
/// let broadcast = Broadcast::new(Arrival::fixed(), consumers, 100_000.0, None)?;
/// let replayed = replay_broadcast(&broadcast, &Plan::new().seed(7), 1_000_000, 2_000_000)?;
/// assert_eq!(replayed.consumers[1].messages, 100);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
pub fn replay_broadcast(
    broadcast: &Broadcast,
    plan: &Plan,
    from_ns: u64,
    to_ns: u64,
) -> Result<BroadcastSimulated, Error> {
    play(broadcast, plan, window_ns(from_ns, to_ns)?)
}

fn play(
    broadcast: &Broadcast,
    plan: &Plan,
    (begin_ns, length_ns): (f64, f64),
) -> Result<BroadcastSimulated, Error> {
    let (begin, end) = (to_ticks(begin_ns), to_ticks(begin_ns + length_ns));
    let mut readers = Vec::with_capacity(broadcast.consumers.len());
    for (service, stream) in broadcast.consumers.iter().zip(SERVICES..) {
        let times = service.times(Random::new(plan.seed, stream));
        readers.push((times, Meter::over(begin_ns, length_ns, 1)?, 0));
    }
    let places = broadcast.places.map_or(usize::MAX, |places| places as usize);
    let mut arrivals = Arrivals::new(&broadcast.arrival, broadcast.rate_per_s, plan.seed);
    // When each of the messages in the ring was, or will be, read by all.
    let mut ring: VecDeque<Ticks> = VecDeque::new();
    let (mut came, mut full, mut producer_wait) = (0_u64, 0_u64, 0.0);
    loop {
        let arrival = arrivals.next();
        if arrival >= end {
            break;
        }
        // A place becomes free when the slowest has read what was in it.
        let place_free = if ring.len() == places { ring.pop_front().unwrap_or(0) } else { 0 };
        // Neither goes back from one message to the next, and so the order stays.
        let sent = arrival.max(place_free);
        if arrival >= begin {
            came += 1;
            full += u64::from(sent > arrival);
            producer_wait += to_ns(sent - arrival);
        }
        let mut read_by_all = 0;
        for (service, meter, ready) in &mut readers {
            let start = sent.max(*ready);
            *ready = start.saturating_add(next_service(service));
            read_by_all = read_by_all.max(*ready);
            meter.count_served(to_ns(arrival), to_ns(start - arrival), to_ns(*ready - arrival));
        }
        if places < usize::MAX {
            ring.push_back(read_by_all);
        }
    }
    let consumers = readers.iter().zip(&broadcast.consumers).map(|((_, meter, _), own)| {
        let mut measured = meter.measured(plan.confidence)?;
        measured.served_by(own);
        if broadcast.places.is_some() {
            // Who is held up by others waits as they do.
            broadcast.consumers.iter().for_each(|service| measured.served_by(service));
        }
        Ok(measured)
    });
    Ok(BroadcastSimulated {
        consumers: consumers.collect::<Result<_, _>>()?,
        full_share: float(full) / float(came.max(1)),
        producer_wait_mean_ns: producer_wait / float(came.max(1)),
    })
}
