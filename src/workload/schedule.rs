//! The open loop: messages are due when the schedule says, whatever became of those before.
//!
//! A sender that waits for its message to be taken before it thinks of the next one measures least
//! when the queue is at its worst: the messages that would have come meanwhile are never sent, and
//! their waits never counted. So each message here has an intended time that was fixed beforehand.
//! One that cannot be sent in time is sent late and all the same counted from its intended time.

use std::cell::Cell;
use std::rc::Rc;

use crate::workload::number::float;

/// What tells the time, in nanoseconds since a beginning of its own.
///
/// ```
/// use std::time::Instant;
/// use ringway::workload::Clock;
///
/// struct Wall(Instant);
///
/// impl Clock for Wall {
///     fn now_ns(&self) -> u64 {
///         self.0.elapsed().as_nanos().try_into().unwrap_or(u64::MAX)
///     }
///     fn wait_until(&self, at_ns: u64) {
///         while self.now_ns() < at_ns {
///             std::hint::spin_loop();
///         }
///     }
/// }
///
/// let clock = Wall(Instant::now());
/// clock.wait_until(1000);
/// assert!(clock.now_ns() >= 1000);
/// ```
pub trait Clock {
    /// The time now.
    fn now_ns(&self) -> u64;

    /// Returns at that moment or after it; at once if it is past.
    fn wait_until(&self, at_ns: u64);
}

/// A clock that goes when it is told to, for tests. Its clones show the same time.
///
/// ```
/// use ringway::workload::{Clock, MockClock};
///
/// let clock = MockClock::new();
/// let same = clock.clone();
/// clock.advance(5);
/// same.wait_until(7);
/// same.wait_until(3);
/// assert_eq!(clock.now_ns(), 7);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MockClock(Rc<Cell<u64>>);

impl MockClock {
    /// At 0.
    ///
    /// ```
    /// use ringway::workload::{Clock, MockClock};
    /// assert_eq!(MockClock::new().now_ns(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on by so many nanoseconds.
    ///
    /// ```
    /// ringway::workload::MockClock::new().advance(1_000_000);
    /// ```
    pub fn advance(&self, ns: u64) {
        self.0.set(self.0.get().saturating_add(ns));
    }
}

impl Clock for MockClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }

    fn wait_until(&self, at_ns: u64) {
        self.0.set(self.0.get().max(at_ns));
    }
}

/// Releases messages at their intended times, and keeps account of how late it was.
///
/// ```
/// use ringway::workload::{Arrival, Clock, MockClock, Random, Schedule};
///
/// // A message each microsecond; the sender is busy for 2.5 us after the first.
/// let clock = MockClock::new();
/// let times = Arrival::fixed().times(1e6, Random::new(1, 0)).take(4);
/// let mut schedule = Schedule::new(times, clock.now_ns());
/// let mut late = Vec::new();
/// while let Some(due) = schedule.next_due(&clock) {
///     if due.number == 0 {
///         clock.advance(2500);
///     }
///     late.push(due.late_ns());
/// }
/// assert_eq!(late, [0, 1500, 500, 0]);
/// assert_eq!((schedule.lateness().behind, schedule.lateness().max_ns), (2, 1500));
/// ```
#[derive(Clone, Debug)]
pub struct Schedule<I> {
    times: I,
    begin_ns: u64,
    held_until_ns: u64,
    lateness: Lateness,
}

impl<I: Iterator<Item = u64>> Schedule<I> {
    /// Of intended times, in nanoseconds from `begin_ns` on, as the clock counts them: those of
    /// [`Arrival::times`](crate::workload::Arrival::times) as a rule. They do not go back.
    ///
    /// ```
    /// let schedule = ringway::workload::Schedule::new([10, 20].into_iter(), 0);
    /// ```
    pub fn new(times: I, begin_ns: u64) -> Self {
        Self { times, begin_ns, held_until_ns: 0, lateness: Lateness::default() }
    }

    /// Waits for the next message's intended time, unless that is past; `None` when there are no
    /// more.
    ///
    /// ```
    /// use ringway::workload::{MockClock, Schedule};
    ///
    /// let mut schedule = Schedule::new([10].into_iter(), 100);
    /// let clock = MockClock::new();
    /// let due = schedule.next_due(&clock).expect("there is one");
    /// assert_eq!((due.number, due.intended_ns, due.released_ns), (0, 110, 110));
    /// assert!(schedule.next_due(&clock).is_none());
    /// ```
    pub fn next_due(&mut self, clock: &impl Clock) -> Option<Due> {
        let intended_ns = self.begin_ns.saturating_add(self.times.next()?);
        let behind = clock.now_ns() > intended_ns;
        if !behind {
            clock.wait_until(intended_ns);
        }
        let number = self.lateness.messages;
        let due = Due { number, intended_ns, released_ns: clock.now_ns() };
        let late_ns = due.released_ns.saturating_sub(intended_ns.max(self.held_until_ns));
        self.lateness.count(late_ns, behind && intended_ns >= self.held_until_ns);
        Some(due)
    }

    /// The sender was held up by the other side until this moment: there was no room. What was due
    /// before is late all the same, but not by any fault of the sender's: its lateness counts from
    /// here on.
    ///
    /// ```
    /// use ringway::workload::{Clock, MockClock, Schedule};
    ///
    /// let mut schedule = Schedule::new([10, 20].into_iter(), 0);
    /// let clock = MockClock::new();
    /// schedule.next_due(&clock);
    /// clock.advance(500);
    /// schedule.held_until(clock.now_ns());
    /// let due = schedule.next_due(&clock).expect("there is one");
    /// assert_eq!((due.late_ns(), schedule.lateness().max_ns), (490, 0));
    /// ```
    pub fn held_until(&mut self, at_ns: u64) {
        self.held_until_ns = at_ns;
    }

    /// How late it has been so far.
    ///
    /// ```
    /// let schedule = ringway::workload::Schedule::new([10].into_iter(), 0);
    /// assert_eq!(schedule.lateness().messages, 0);
    /// ```
    #[must_use]
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }
}

/// A message that is due.
///
/// ```
/// use ringway::workload::Due;
///
/// let due = Due { number: 3, intended_ns: 1000, released_ns: 1200 };
/// assert_eq!((due.late_ns(), due.latency_ns(5000)), (200, 4000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number, from 0.
    pub number: u64,
    /// When it should have been sent, as the clock counts: what its latency counts from.
    pub intended_ns: u64,
    /// When it could be sent.
    pub released_ns: u64,
}

impl Due {
    /// How late the sender was, in nanoseconds.
    ///
    /// ```
    /// let due = ringway::workload::Due { number: 0, intended_ns: 10, released_ns: 12 };
    /// assert_eq!(due.late_ns(), 2);
    /// ```
    #[must_use]
    pub fn late_ns(&self) -> u64 {
        self.released_ns.saturating_sub(self.intended_ns)
    }

    /// From its intended time to this moment, in nanoseconds. The sender's lateness is in it:
    /// whoever waits for the message does not care why.
    ///
    /// ```
    /// let due = ringway::workload::Due { number: 0, intended_ns: 10, released_ns: 12 };
    /// assert_eq!(due.latency_ns(15), 5);
    /// ```
    #[must_use]
    pub fn latency_ns(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.intended_ns)
    }
}

/// How late the sender was by its own doing. Large numbers say that the load was not the one asked
/// for.
///
/// ```
/// let lateness = ringway::workload::Lateness::default();
/// assert_eq!((lateness.mean_ns(), lateness.behind_share()), (0.0, 0.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lateness {
    /// Messages released.
    pub messages: u64,
    /// Those whose intended time was past before anybody looked: the sender was still busy.
    pub behind: u64,
    /// The greatest lateness in nanoseconds.
    pub max_ns: u64,
    sum_ns: u128,
}

impl Lateness {
    /// The mean lateness of all messages, in nanoseconds; 0 if there was none.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Lateness::default().mean_ns(), 0.0);
    /// ```
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a mean has no more than 53 bits to tell")]
        let sum = self.sum_ns as f64;
        sum / float(self.messages.max(1))
    }

    /// The part of the messages that the sender was behind with, 0 to 1.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Lateness::default().behind_share(), 0.0);
    /// ```
    #[must_use]
    pub fn behind_share(&self) -> f64 {
        float(self.behind) / float(self.messages.max(1))
    }

    fn count(&mut self, late_ns: u64, behind: bool) {
        self.messages += 1;
        self.behind += u64::from(behind);
        self.max_ns = self.max_ns.max(late_ns);
        self.sum_ns += u128::from(late_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Arrival, Random};

    const MS: u64 = 1_000_000;

    /// A ring of places and a consumer, on a clock that both ends share. The consumer takes
    /// 1 ms for a message, and stalls for a second at message 50.
    struct Transport {
        clock: MockClock,
        /// When each message was through.
        ends_ns: Vec<u64>,
        places: usize,
    }

    impl Transport {
        /// Waits while the ring is full, as a producer does; when the message will be through.
        fn send(&mut self) -> u64 {
            let number = self.ends_ns.len();
            if let Some(oldest) = number.checked_sub(self.places) {
                self.clock.wait_until(self.ends_ns[oldest]);
            }
            let free_ns = self.ends_ns.last().copied().unwrap_or(0);
            let service = if number == 50 { 1000 * MS } else { MS };
            let end = free_ns.max(self.clock.now_ns()) + service;
            self.ends_ns.push(end);
            end
        }
    }

    /// Guards against coordinated omission: a closed loop would count the stall once, for the one
    /// message that met it, and send too late the hundred that it delays.
    #[test]
    fn a_stalled_consumer_counts_for_every_message_that_was_due_meanwhile() {
        let clock = MockClock::new();
        let mut transport = Transport { clock: clock.clone(), ends_ns: Vec::new(), places: 4 };
        let times = Arrival::fixed().times(100.0, Random::new(1, 0)).take(300);
        let mut schedule = Schedule::new(times, clock.now_ns());
        let (mut latencies, mut from_release) = (Vec::new(), Vec::new());
        while let Some(due) = schedule.next_due(&clock) {
            let sent = due.released_ns;
            let end = transport.send();
            latencies.push(due.latency_ns(end) / MS);
            from_release.push((end - sent) / MS);
        }
        // Every 10 ms a message: the first after the stall waits for 990 ms of it and is served,
        // and each later one waits 9 ms less.
        let mut expected = vec![1; 300];
        expected[50] = 1000;
        for (message, latency) in expected.iter_mut().enumerate().skip(51) {
            let waited: i64 = 991 - 9 * (i64::try_from(message).unwrap() - 51);
            *latency = u64::try_from(waited).unwrap_or(0).max(1);
        }
        assert_eq!(latencies, expected);
        let count_slow = |latencies: &[u64]| latencies.iter().filter(|l| **l >= 100).count();
        assert_eq!(count_slow(&latencies), 101);
        assert_eq!(count_slow(&from_release), 5, "what a closed loop would have seen");
        // The sender itself was held up, and says so.
        assert!(schedule.lateness().max_ns > 900 * MS);
        assert!((90..120).contains(&schedule.lateness().behind), "{:?}", schedule.lateness());
    }

    #[test]
    fn a_sender_that_is_never_held_up_is_never_late() {
        let clock = MockClock::new();
        let times = Arrival::poisson().times(1e6, Random::new(5, 0)).take(1000);
        let mut schedule = Schedule::new(times, 17);
        let mut before = 0;
        while let Some(due) = schedule.next_due(&clock) {
            assert_eq!((due.released_ns, due.late_ns()), (due.intended_ns, 0));
            assert!(due.intended_ns >= before.max(17));
            before = due.intended_ns;
        }
        let Lateness { messages, behind, max_ns, .. } = *schedule.lateness();
        assert_eq!((messages, behind, max_ns), (1000, 0, 0));
    }

    #[test]
    fn the_end_of_time_is_no_end_of_the_program() {
        let clock = MockClock::new();
        let mut schedule = Schedule::new([u64::MAX, u64::MAX].into_iter(), u64::MAX);
        assert_eq!(schedule.next_due(&clock).map(|due| due.intended_ns), Some(u64::MAX));
        clock.advance(u64::MAX);
        assert!(schedule.next_due(&clock).is_some());
    }
}
