//! A load in an open loop: messages at their intended times into a transport, and servers behind
//! it that work on each for as long as was drawn.
//!
//! The two ends know nothing of each other but what the messages carry, so that each may be a
//! process of its own: [`Offer::send`] is one, [`serve`] the other. Both only write down what
//! happened when; [`account()`] makes figures of it afterwards.

mod account;
#[cfg(test)]
mod tests;

pub use self::account::{Account, Record, account};

use crate::workload::machine::whole_ns;
use crate::workload::number::{self, NS_PER_S, float};
use crate::workload::simulation::{ARRIVALS, SERVICES};
use crate::workload::streaming::LOOK;
use crate::workload::{
    Arrival, Bound, Clock, Error, Random, ReceivingEnd, Schedule, SendingEnd, Service,
    ServiceTimes, Taken, WhenFull, read_lines,
};

/// What a message carries at its beginning: its number, its intended time, and how long to work on
/// it, each in 8 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    number: u64,
    intended_ns: u64,
    service_ns: u64,
}

impl Stamp {
    const SIZE: usize = 24;

    fn write(self, payload: &mut [u8]) {
        let words = [self.number, self.intended_ns, self.service_ns];
        for (place, word) in payload.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (words, _) = payload.get(..Self::SIZE)?.as_chunks();
        let [number, intended_ns, service_ns] = [0, 1, 2].map(|at| u64::from_le_bytes(words[at]));
        Some(Self { number, intended_ns, service_ns })
    }
}

/// The messages of a load: when, how many, what work.
///
/// The times and the work are those that [`simulate`](crate::workload::simulate) draws from the
/// same seed.
///
/// ```
/// use ringway::workload::{Arrival, Offer, Service};
///
/// // For 10 ms, 100,000 a second.
/// let offer = Offer::new(Arrival::fixed(), 1e5, 10_000_000)?.serving("fixed:5us".parse()?).seed(7);
/// assert_eq!(offer.times().count(), 999);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Offer {
    arrival: Arrival,
    rate_per_s: f64,
    length_ns: u64,
    service: Service,
    bound: Option<Bound>,
    seed: u64,
    size: usize,
}

impl Offer {
    /// The most messages: what became of each is kept until the end of the run.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Offer::MESSAGES_MAX, 20_000_000);
    /// ```
    pub const MESSAGES_MAX: u64 = 20_000_000;

    /// The fewest bytes that a message has.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Offer::SIZE_MIN, 24);
    /// ```
    pub const SIZE_MIN: usize = Stamp::SIZE;

    /// Messages of 64 bytes at `rate_per_s` on average, from a millionth to 10^12 a second, for so
    /// many nanoseconds: 20 million messages at most. They carry no work, and there is no bound.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Offer};
    ///
    /// let error = Offer::new(Arrival::poisson(), 1e6, 60_000_000_000).unwrap_err();
    /// assert!(error.to_string().contains("cannot be 60000000: it is from 1 to 20000000"));
    /// ```
    pub fn new(arrival: Arrival, rate_per_s: f64, length_ns: u64) -> Result<Self, Error> {
        let rate_per_s = crate::workload::scenario::checked_rate(rate_per_s)?;
        let messages = number::floor(rate_per_s * float(length_ns) / NS_PER_S).max(1);
        number::within("the number of messages", messages, 1, Self::MESSAGES_MAX)?;
        let (service, bound, seed, size) = (Service::none(), None, 1, 64);
        Ok(Self { arrival, rate_per_s, length_ns, service, bound, seed, size })
    }

    /// The same, with work for servers that share the messages.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer};
    /// let offer = Offer::new(Arrival::fixed(), 1e5, 1_000_000)?.serving("exp:5us".parse()?);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn serving(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// The same, with so many messages at a time that have been accepted and are not through.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Bound, Offer, WhenFull};
    /// let bound = Bound { places: 8, when_full: WhenFull::Reject };
    /// let offer = Offer::new(Arrival::fixed(), 1e5, 1_000_000)?.bound(Some(bound));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn bound(self, bound: Option<Bound>) -> Self {
        Self { bound, ..self }
    }

    /// The same, with this seed of all chance in it; 1 if none is given.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer};
    /// let offer = Offer::new(Arrival::fixed(), 1e5, 1_000_000)?.seed(3);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same, with messages of so many bytes, 24 at least.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer};
    /// assert!(Offer::new(Arrival::fixed(), 1e5, 1_000_000)?.size(8).is_err());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn size(self, size: usize) -> Result<Self, Error> {
        let bounds = "24 bytes at least, for what the laboratory writes into each message";
        if size < Self::SIZE_MIN {
            return Err(Error::bounds("the size of a message", size, bounds));
        }
        Ok(Self { size, ..self })
    }

    /// The intended times, in nanoseconds from the beginning on.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer};
    /// let offer = Offer::new(Arrival::fixed(), 1e9, 4)?;
    /// assert_eq!(offer.times().collect::<Vec<_>>(), [1, 2, 3]);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn times(&self) -> impl Iterator<Item = u64> + use<> {
        let length_ns = self.length_ns;
        let times = self.arrival.times(self.rate_per_s, Random::new(self.seed, ARRIVALS));
        times.take_while(move |at_ns| *at_ns < length_ns)
    }

    /// How many messages to expect.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer};
    /// assert_eq!(Offer::new(Arrival::poisson(), 1e6, 1_000_000)?.messages_mean(), 1000.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn messages_mean(&self) -> f64 {
        self.rate_per_s * float(self.length_ns) / NS_PER_S
    }

    /// Work for a consumer that gets all messages of a broadcast, and is the given one of them.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer};
    /// let offer = Offer::new(Arrival::fixed(), 1e5, 1_000_000)?;
    /// assert_eq!(offer.work_of(1, &"fixed:5us".parse()?).next_ns(), 5000.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn work_of(&self, consumer: u16, service: &Service) -> ServiceTimes {
        service.times(Random::new(self.seed, SERVICES.saturating_add(consumer)))
    }

    /// Sends them, each at its intended time or as soon as it can be, and closes. The beginning is
    /// a moment of the clock. `departed` tells how many messages are through, and is asked only if
    /// there is a bound.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Clock, MachineClock, Offer};
    /// use ringway::{Queue, QueueOptions};
    ///
    /// # let _ = Queue::force_remove("doc-offer");
    /// let queue = Queue::create("doc-offer", &QueueOptions::new())?;
    /// let offer = Offer::new(Arrival::fixed(), 1e6, 1_000_000)?;
    /// let clock = MachineClock::spinning();
    /// let offered = offer.send(queue.producer()?, &clock, clock.now_ns(), || 0)?;
    /// assert_eq!((offered.offered, offered.refused.len()), (999, 0));
    /// # Queue::force_remove("doc-offer")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send<S: SendingEnd>(
        &self,
        mut end: S,
        clock: &impl Clock,
        begin_ns: u64,
        mut departed: impl FnMut() -> u64,
    ) -> Result<Offered, S::Error> {
        let mut schedule = Schedule::new(self.times(), begin_ns);
        let mut work = self.work_of(0, &self.service);
        let mut next_work = whole_ns(work.next_ns());
        let mut payload = vec![7; self.size];
        let mut offered = Offered::default();
        let mut accepted = 0;
        let refuses = self.bound.is_some_and(|bound| bound.when_full == WhenFull::Reject);
        while let Some(due) = schedule.next_due(clock) {
            let stamp =
                Stamp { number: due.number, intended_ns: due.intended_ns, service_ns: next_work };
            stamp.write(&mut payload);
            let mut is_full = || {
                let places = self.bound.map(|bound| u64::from(bound.places));
                places.is_some_and(|places| accepted - departed().min(accepted) >= places)
            };
            let is_sent = !is_full() && end.try_send(&payload)?;
            if !is_sent && refuses {
                offered.refused.push(due.number);
                continue;
            }
            if !is_sent {
                offered.held += 1;
                while is_full() {
                    std::thread::yield_now();
                }
                end.send(&payload)?;
                schedule.held_until(clock.now_ns());
            }
            accepted += 1;
            next_work = whole_ns(work.next_ns());
        }
        offered.offered = schedule.lateness().messages;
        offered.behind = schedule.lateness().behind;
        offered.late_mean_ns = schedule.lateness().mean_ns();
        offered.late_max_ns = schedule.lateness().max_ns;
        offered.end_ns = clock.now_ns();
        end.close()?;
        Ok(offered)
    }
}

/// What a sender offered. Made by [`Offer::send`].
///
/// ```
/// assert_eq!(ringway::workload::Offered::default().offered, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offered {
    /// Messages, refused ones included; they are numbered from 0.
    pub offered: u64,
    /// The numbers of those that found no place, and were not sent.
    pub refused: Vec<u64>,
    /// How many found no place, or no room in the transport, and waited for it.
    pub held: u64,
    /// How many were due before anybody looked: the sender was still busy.
    pub behind: u64,
    /// How late the sender was on average, in nanoseconds; what it was held up for is not in it.
    pub late_mean_ns: f64,
    /// And at most.
    pub late_max_ns: u64,
    /// When the last one had been sent, as the clock counts.
    pub end_ns: u64,
}

/// What became of one message at a server. Moments are as the clock counts.
///
/// ```
/// use ringway::workload::Sample;
///
/// let sample = Sample { number: 3, start_ns: 10, end_ns: 25, service_ns: 15 };
/// assert_eq!(Sample::from_bytes(sample.to_bytes()), sample);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The message's number.
    pub number: u64,
    /// When it was received.
    pub start_ns: u64,
    /// When the server was through with it.
    pub end_ns: u64,
    /// How long the server was to work on it.
    pub service_ns: u64,
}

impl Sample {
    /// Bytes of one.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Sample::SIZE, 32);
    /// ```
    pub const SIZE: usize = 32;

    /// As bytes, to be sent to another process.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Sample::default().to_bytes(), [0; 32]);
    /// ```
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let words = [self.number, self.start_ns, self.end_ns, self.service_ns];
        let mut bytes = [0; Self::SIZE];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From bytes, whatever they are.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Sample::from_bytes([0; 32]).number, 0);
    /// ```
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let (words, _) = bytes.as_chunks();
        let [number, start_ns, end_ns, service_ns] =
            [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        Self { number, start_ns, end_ns, service_ns }
    }
}

/// What a server did. Made by [`serve`].
///
/// ```
/// assert_eq!(ringway::workload::Served::default().missed, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// What became of each message, in the order in which they came.
    pub samples: Vec<Sample>,
    /// Messages that were overwritten before they could be received.
    pub missed: u64,
    /// Messages that are none of a load.
    pub foreign: u64,
}

/// Receives the messages of an [`Offer`], and works on each for as long as it says, or as `own`
/// does, until there are none any more. Working is waiting by the clock: it takes the processor, or
/// not, as the clock does. `departed` is told how many are through after each.
///
/// Room is made beforehand for so many messages as are expected.
///
/// ```
/// use ringway::workload::{Arrival, Clock, MachineClock, Offer, serve};
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-serve");
/// let queue = Queue::create("doc-serve", &QueueOptions::new())?;
/// let mut consumer = queue.subscribe(&Subscribe::new())?;
/// let clock = MachineClock::spinning();
/// let offer = Offer::new(Arrival::fixed(), 1e5, 1_000_000)?.serving("fixed:1us".parse()?);
/// offer.send(queue.producer()?, &clock, clock.now_ns(), || 0)?;
/// let served = serve(&mut consumer, &clock, None, 100, |_| {})?;
/// assert_eq!(served.samples.len(), 99);
/// assert!(served.samples.iter().all(|sample| sample.end_ns - sample.start_ns >= 1000));
/// # Queue::force_remove("doc-serve")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serve<R: ReceivingEnd>(
    end: &mut R,
    clock: &impl Clock,
    mut own: Option<ServiceTimes>,
    expected: usize,
    mut departed: impl FnMut(u64),
) -> Result<Served, R::Error> {
    let mut served = Served { samples: room(expected), ..Served::default() };
    loop {
        let Served { samples, foreign, .. } = &mut served;
        let taken = end.receive(1, LOOK, |payload| {
            read_lines(payload);
            let start_ns = clock.now_ns();
            let Some(stamp) = Stamp::read(payload) else {
                *foreign += 1;
                return;
            };
            let service_ns = own.as_mut().map_or(stamp.service_ns, |own| whole_ns(own.next_ns()));
            let mut end_ns = start_ns;
            if service_ns > 0 {
                clock.wait_until(start_ns.saturating_add(service_ns));
                end_ns = clock.now_ns();
            }
            samples.push(Sample { number: stamp.number, start_ns, end_ns, service_ns });
            departed(samples.len() as u64);
        })?;
        match taken {
            Taken::Closed => return Ok(served),
            Taken::Missed(count) => served.missed += count,
            Taken::Messages(_) | Taken::Nothing => {}
        }
    }
}

/// An empty list whose memory has been touched: a first touch costs a page fault.
fn room(expected: usize) -> Vec<Sample> {
    const SPARE: usize = 1024;
    let most = usize::try_from(2 * Offer::MESSAGES_MAX).unwrap_or(usize::MAX);
    let ones = Sample { number: 1, start_ns: 1, end_ns: 1, service_ns: 1 };
    let mut samples =
        vec![ones; expected.saturating_add(expected / 16).saturating_add(SPARE).min(most)];
    samples.clear();
    samples
}
