//! Servers that share messages: G/G/c, with or without a bound, with or without keys.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::workload::number::float;
use crate::workload::simulation::{
    Arrivals, KEYS, Plan, SERVICES, Ticks, next_service, to_ns, to_ticks, window_ns,
};
use crate::workload::{
    Error, Measured, Meter, Random, Scenario, ServiceTimes, TimeAverage, WhenFull,
};

/// What came of a simulation. Made by [`simulate`].
///
/// ```
/// use ringway::workload::{Arrival, Plan, Scenario, simulate};
///
/// let scenario = Scenario::new(Arrival::fixed(), "fixed:1s".parse()?, 1.0, 1, None)?;
/// let simulated = simulate(&scenario, &Plan::new().messages(1000)?)?;
/// assert_eq!(simulated.measured.figures.wait_mean_ns, 0.0);
/// assert!((simulated.little_ratio().expect("messages were served") - 1.0).abs() < 1e-9);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Simulated {
    /// The figures, as a measurement has them.
    pub measured: Measured,
    /// L once more, counted by events and not by messages. It includes what waits with the
    /// producer.
    pub in_system_by_events: f64,
    /// The part of the messages that found all places taken, 0 to 1.
    pub full_share: f64,
}

impl Simulated {
    /// Little's law as a check on the simulation itself: [`Measured::little_ratio`] of the count by
    /// events.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Plan, Scenario, simulate};
    /// # let scenario = Scenario::new(Arrival::fixed(), "fixed:1s".parse()?, 1.0, 1, None)?;
    /// let simulated = simulate(&scenario, &Plan::new().messages(1000)?)?;
    /// assert!(simulated.little_ratio().is_some());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn little_ratio(&self) -> Option<f64> {
        self.measured.little_ratio(self.in_system_by_events)
    }
}

/// Simulates a scenario. A free server takes the message that has waited longest among those
/// whose key nobody serves.
///
/// Above a load of 1, and at 1 if anything is random, a queue without a bound grows without end: then
/// the figures are those of this run's length.
///
/// ```
/// use ringway::workload::{Arrival, Plan, Scenario, predict, simulate};
///
/// let scenario = Scenario::new(Arrival::poisson(), "exp:1us".parse()?, 700_000.0, 1, None)?;
/// let theory = predict(&scenario).figures.expect("M/M/1 has closed forms");
/// let plan = Plan::new().messages(50_000)?.confidence(0.999)?;
/// let measured = simulate(&scenario, &plan)?.measured;
/// let off = (measured.figures.wait_mean_ns - theory.wait_mean_ns).abs();
/// assert!(off < measured.half_widths.wait_mean_ns);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
pub fn simulate(scenario: &Scenario, plan: &Plan) -> Result<Simulated, Error> {
    play(scenario, plan, plan.window_ns(scenario.rate_per_s()))
}

/// Simulates what an [`Offer`](crate::workload::Offer) of the same seed asks of the servers: the
/// same messages at the same times with the same work, without a machine. So a measurement is
/// told from its theory twice: what chance made of it is in both, what the machine added only in
/// one. The window is from one moment to another, in nanoseconds from the beginning on; the length
/// of the plan does not count.
///
/// ```
/// use ringway::workload::{Arrival, Plan, Scenario, replay};
///
/// let scenario = Scenario::new(Arrival::fixed(), "fixed:1us".parse()?, 5e5, 1, None)?;
/// let replayed = replay(&scenario, &Plan::new().seed(7), 1_000_000, 2_000_000)?;
/// assert_eq!(replayed.measured.messages, 500);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
pub fn replay(
    scenario: &Scenario,
    plan: &Plan,
    from_ns: u64,
    to_ns: u64,
) -> Result<Simulated, Error> {
    play(scenario, plan, window_ns(from_ns, to_ns)?)
}

fn play(
    scenario: &Scenario,
    plan: &Plan,
    (begin_ns, length_ns): (f64, f64),
) -> Result<Simulated, Error> {
    let meter = Meter::over(begin_ns, length_ns, scenario.servers())?;
    let (begin, end) = (to_ticks(begin_ns), to_ticks(begin_ns + length_ns));
    let mut system = System {
        begin,
        places: scenario.bound().map_or(usize::MAX, |bound| bound.places as usize),
        rejects: scenario.bound().is_some_and(|bound| bound.when_full == WhenFull::Reject),
        free: scenario.servers(),
        inside: 0,
        outside: VecDeque::new(),
        ready: BinaryHeap::new(),
        busy: BinaryHeap::new(),
        keys: scenario.keys().map(|keys| Keys::new(keys, Random::new(plan.seed, KEYS))),
        service: scenario.service().times(Random::new(plan.seed, SERVICES)),
        meter,
        there: TimeAverage::over(begin, end),
        offered: 0,
        came: 0,
        found_full: 0,
    };
    let mut arrivals = Arrivals::new(scenario.arrival(), scenario.rate_per_s(), plan.seed);
    loop {
        let arrival = arrivals.next();
        system.finish_until(arrival);
        if arrival >= end {
            break;
        }
        system.arrive(arrival);
    }
    // What came in time is served, however long that takes.
    system.finish_until(Ticks::MAX);
    let mut measured = system.meter.measured(plan.confidence)?;
    measured.served_by(scenario.service());
    Ok(Simulated {
        measured,
        in_system_by_events: system.there.mean(),
        full_share: float(system.found_full) / float(system.came.max(1)),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    /// In the order of arrival; first, because that is the order of service.
    number: u64,
    arrival: Ticks,
    key: u32,
}

/// A message in service, the one that ends first being least.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InService {
    end: Ticks,
    start: Ticks,
    message: Message,
}

struct System {
    begin: Ticks,
    places: usize,
    rejects: bool,
    /// Servers without work.
    free: u32,
    /// Messages that have a place.
    inside: usize,
    /// Messages that wait with the producer for a place.
    outside: VecDeque<Message>,
    /// Messages that could be served at once.
    ready: BinaryHeap<Reverse<Message>>,
    busy: BinaryHeap<Reverse<InService>>,
    keys: Option<Keys>,
    service: ServiceTimes,
    meter: Meter,
    there: TimeAverage,
    /// Messages so far.
    offered: u64,
    /// Messages that came in the window, and those of them that found no place.
    came: u64,
    found_full: u64,
}

impl System {
    /// All that ends until then, that moment included: who comes at it finds the place free.
    fn finish_until(&mut self, now: Ticks) {
        while let Some(Reverse(next)) = self.busy.peek()
            && next.end <= now
            && let Some(Reverse(done)) = self.busy.pop()
        {
            self.finish(&done);
        }
    }

    fn finish(&mut self, InService { end, start, message }: &InService) {
        let (wait, sojourn) = (*start - message.arrival, *end - message.arrival);
        self.meter.count_served(to_ns(message.arrival), to_ns(wait), to_ns(sojourn));
        self.there.change_at(*end, -1);
        self.free += 1;
        self.inside -= 1;
        if let Some(next) = self.keys.as_mut().and_then(|keys| keys.release(message.key)) {
            self.ready.push(Reverse(next));
        }
        if let Some(next) = self.outside.pop_front() {
            self.admit(next);
        }
        self.start_at(*end);
    }

    fn arrive(&mut self, arrival: Ticks) {
        let key = self.keys.as_mut().map_or(0, Keys::draw);
        let message = Message { number: self.offered, arrival, key };
        self.offered += 1;
        let full = self.inside >= self.places;
        self.came += u64::from(arrival >= self.begin);
        self.found_full += u64::from(full && arrival >= self.begin);
        if full && self.rejects {
            self.meter.count_lost(to_ns(arrival));
            return;
        }
        self.there.change_at(arrival, 1);
        if full {
            self.outside.push_back(message);
        } else {
            self.admit(message);
            self.start_at(arrival);
        }
    }

    /// The message gets a place.
    fn admit(&mut self, message: Message) {
        self.inside += 1;
        let first = self.keys.as_mut().is_none_or(|keys| keys.take(message));
        if first {
            self.ready.push(Reverse(message));
        }
    }

    /// Servers that are free take what is ready.
    fn start_at(&mut self, now: Ticks) {
        while self.free > 0
            && let Some(Reverse(message)) = self.ready.pop()
        {
            self.free -= 1;
            let end = now.saturating_add(next_service(&mut self.service));
            self.busy.push(Reverse(InService { end, start: now, message }));
        }
    }
}

/// Who may be served, by key: one message of each at a time.
struct Keys {
    random: Random,
    /// For each key, whether one is ready or in service, and those that wait for its end.
    waiting: Vec<(bool, VecDeque<Message>)>,
}

impl Keys {
    fn new(keys: u32, random: Random) -> Self {
        Self { random, waiting: vec![(false, VecDeque::new()); keys as usize] }
    }

    fn draw(&mut self) -> u32 {
        self.random.below(u32::try_from(self.waiting.len()).unwrap_or(u32::MAX))
    }

    /// Whether the message is the only one of its key. If not, it waits here.
    fn take(&mut self, message: Message) -> bool {
        let (taken, waiting) = &mut self.waiting[message.key as usize];
        if *taken {
            waiting.push_back(message);
            return false;
        }
        *taken = true;
        true
    }

    /// One of that key is through: the next one of it, if there is one.
    fn release(&mut self, key: u32) -> Option<Message> {
        let (taken, waiting) = &mut self.waiting[key as usize];
        let next = waiting.pop_front();
        *taken = next.is_some();
        next
    }
}
