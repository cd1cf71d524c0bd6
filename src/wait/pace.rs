//! How long a waiter polls, and what it does between two polls.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use super::{SLEEP_MAX, Wait};
use crate::sync::spin_loop;

/// How long somebody is ready to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    /// From when the wait begins: who need not wait need not look at the clock.
    Lasting(Duration),
    Until(Instant),
    Endless,
}

impl Patience {
    /// The wait begins now. A time too long to be told from an endless one is endless.
    pub(crate) fn begin(self) -> Self {
        match self {
            Self::Lasting(time) => {
                Instant::now().checked_add(time).map_or(Self::Endless, Self::Until)
            }
            other => other,
        }
    }

    /// Whether the wait began and has lasted long enough.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Until(end) if end <= Instant::now())
    }

    fn left(self) -> Option<Duration> {
        match self {
            Self::None => Some(Duration::ZERO),
            Self::Lasting(time) => Some(time),
            Self::Until(end) => Some(end.saturating_duration_since(Instant::now())),
            Self::Endless => None,
        }
    }
}

/// What to do before the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, the pause is over.
    Look,
    /// Sleep for so long at most, if that is possible; then look around.
    Sleep(Duration),
    /// Give up.
    TimedOut,
}

/// Paces the polls of one wait.
#[derive(Debug)]
pub(crate) struct Pace {
    wait: Wait,
    patience: Patience,
    polls: u32,
    /// Polls before anything slower, and from one look at the clock to the next.
    tight_polls: u32,
    polls_per_clock: u32,
    /// Between two of them; nothing is the shortest pause that the processor has.
    gap: Duration,
    backoff: Backoff,
    /// Whether there is a backoff between the tight polls and a sleep.
    snoozes: bool,
    /// When one who backs off has let others run for long enough.
    sleeps_from: Option<Instant>,
}

/// Two round trips of a cache line between distant cores fit in.
const TIGHT_POLLS: u32 = 128;
const TIGHT_POLLS_FOR_ROOM: u32 = 4;
/// Of one who parks: each is a look and 32 polls, so that these are the 12 us that a sleep costs
/// anyway, its call included.
const TIGHT_POLLS_BEFORE_SLEEP: u32 = 16;
/// The clock costs as much as some polls: it is read once in so many of the tight ones.
const POLLS_PER_CLOCK: u32 = 64;
const GAP_MAX: Duration = Duration::from_micros(8);
/// How long one who backs off lets others run between polls, before it sleeps.
const YIELDING: Duration = Duration::from_millis(1);

impl Pace {
    /// For one who waits for a message.
    pub(crate) fn for_message(wait: Wait, patience: Patience) -> Self {
        let parks = wait == Wait::Park;
        let tight_polls = if parks { TIGHT_POLLS_BEFORE_SLEEP } else { TIGHT_POLLS };
        Self { snoozes: !parks, ..Self::new(wait, patience, tight_polls, Duration::ZERO) }
    }

    /// The same, of one whose waits have ended so lately.
    pub(crate) fn with_habit(self, habit: &Habit) -> Self {
        let sleeps_at_once = self.wait == Wait::Park && habit.is_to_sleep_long();
        Self { tight_polls: if sleeps_at_once { 1 } else { self.tight_polls }, ..self }
    }

    /// Whether one look is all that comes before a sleep.
    pub(crate) fn sleeps_at_once(&self) -> bool {
        self.wait == Wait::Park && self.tight_polls == 1
    }

    /// The same, of one who looks at so many queues each time.
    pub(crate) fn at_many(self, queues: usize) -> Self {
        let queues = u32::try_from(queues).unwrap_or(u32::MAX).max(1);
        let share = |polls: u32| (polls / queues).max(1);
        let (tight_polls, polls_per_clock) = (share(self.tight_polls), share(self.polls_per_clock));
        Self { tight_polls, polls_per_clock, ..self }
    }

    /// For a journaler, which sleeps when there was nothing for a while. As long as it does not, no
    /// producer has to call it.
    pub(crate) fn for_journal() -> Self {
        Self::new(Wait::Park, Patience::Endless, TIGHT_POLLS, Duration::ZERO)
    }

    /// For one who waits for a sector to become free. Each look takes a cursor's line away
    /// from the consumer that is to move it, message by message; so looks are apart by some
    /// of the time that a sector takes.
    pub(crate) fn for_room(wait: Wait, patience: Patience, sector_size: u64) -> Self {
        const BYTES_PER_NS: u64 = 32;
        let gap = Duration::from_nanos(sector_size / BYTES_PER_NS).min(GAP_MAX);
        Self::new(wait, patience, TIGHT_POLLS_FOR_ROOM, gap)
    }

    fn new(wait: Wait, patience: Patience, tight_polls: u32, gap: Duration) -> Self {
        let (backoff, snoozes, sleeps_from) = (Backoff::new(), true, None);
        let polls_per_clock = POLLS_PER_CLOCK;
        Self {
            wait,
            patience,
            polls: 0,
            tight_polls,
            polls_per_clock,
            gap,
            backoff,
            snoozes,
            sleeps_from,
        }
    }

    /// Passes the time between two looks.
    pub(crate) fn next(&mut self) -> Next {
        self.polls = self.polls.wrapping_add(1);
        let tight = self.wait == Wait::Spin || self.polls < self.tight_polls;
        if tight {
            if self.gap.is_zero() {
                spin_loop();
            } else {
                rest(self.gap);
            }
            if !self.polls.is_multiple_of(self.polls_per_clock) {
                return Next::Look;
            }
        }
        let left = self.patience.left();
        if left == Some(Duration::ZERO) {
            return Next::TimedOut;
        }
        if !tight {
            if self.is_to_sleep() {
                return Next::Sleep(left.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
            }
            self.backoff.snooze();
        }
        Next::Look
    }

    /// Whether all that comes before a sleep has been done.
    fn is_to_sleep(&mut self) -> bool {
        if self.snoozes && !self.backoff.is_completed() {
            return false;
        }
        self.wait == Wait::Park || {
            let now = Instant::now();
            *self.sleeps_from.get_or_insert(now + YIELDING) <= now
        }
    }

    /// Whether the wait has lasted for longer than the messages of one stream are apart, batch by batch:
    /// for so long that one who parks sleeps.
    pub(crate) fn is_gap(&self) -> bool {
        self.polls >= TIGHT_POLLS_BEFORE_SLEEP
    }

    /// Whether it is time to look whether the world is still as it was: often enough to be
    /// soon, seldom enough to cost nothing.
    pub(crate) fn looks_around(&self) -> bool {
        const POLLS_PER_LOOK_AROUND: u32 = 1 << 14;
        self.polls.is_multiple_of(POLLS_PER_LOOK_AROUND)
    }
}

/// How the waits of one who parks have ended lately: where each was a long sleep, polls before
/// it are for nothing.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    long_sleeps: u32,
}

impl Habit {
    /// A sleep for which polls would have been worth while, its own cost included.
    const SHORT: Duration = Duration::from_micros(50);
    /// So many long ones in a row are a habit. One may be the rest between two bursts.
    const LONG_SLEEPS: u32 = 4;

    pub(crate) fn note_sleep(&mut self, time: Duration) {
        self.long_sleeps = if time < Self::SHORT { 0 } else { self.long_sleeps.saturating_add(1) };
    }

    /// A poll has found a message.
    pub(crate) fn note_poll(&mut self) {
        self.long_sleeps = 0;
    }

    fn is_to_sleep_long(&self) -> bool {
        self.long_sleeps >= Self::LONG_SLEEPS
    }
}

/// Passes a short time without a system call.
pub(super) fn rest(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_before_a_sleep_are_left_out_while_each_wait_is_a_long_sleep() {
        let (long, short) = (Duration::from_millis(2), Duration::from_micros(30));
        let mut habit = Habit::default();
        let looks_before_sleep = |habit: &Habit| {
            let pace = Pace::for_message(Wait::Park, Patience::Endless);
            let mut pace = pace.with_habit(habit);
            (1..100).find(|_| pace.next() != Next::Look).expect("a sleep")
        };
        for _ in 0..Habit::LONG_SLEEPS {
            assert_eq!(looks_before_sleep(&habit), TIGHT_POLLS_BEFORE_SLEEP);
            habit.note_sleep(long);
        }
        assert_eq!(looks_before_sleep(&habit), 1);
        habit.note_sleep(short);
        assert_eq!(looks_before_sleep(&habit), TIGHT_POLLS_BEFORE_SLEEP);
        (0..9).for_each(|_| habit.note_sleep(long));
        habit.note_poll();
        assert_eq!(looks_before_sleep(&habit), TIGHT_POLLS_BEFORE_SLEEP);
    }

    #[test]
    fn who_looks_at_many_looks_at_the_clock_as_soon() {
        let looks_in_no_time = |wait: Wait, queues: usize| {
            let pace = Pace::for_message(wait, Patience::Lasting(Duration::ZERO).begin());
            let mut pace = pace.at_many(queues);
            (1..=POLLS_PER_CLOCK).find(|_| pace.next() == Next::TimedOut)
        };
        for (queues, looks) in [(0, 64), (1, 64), (2, 32), (10, 6), (64, 1), (1000, 1)] {
            assert_eq!(looks_in_no_time(Wait::Spin, queues), Some(looks));
        }
        for (queues, looks) in [(1, TIGHT_POLLS_BEFORE_SLEEP), (8, 2), (1000, 1)] {
            assert_eq!(looks_in_no_time(Wait::Park, queues), Some(looks));
        }
    }

    #[test]
    fn who_backs_off_sleeps_in_the_end_and_who_spins_does_not() {
        let next_is_sleep = |pace: &mut Pace| pace.next() == Next::Sleep(SLEEP_MAX);
        let for_message = |wait| Pace::for_message(wait, Patience::Endless);
        let for_room = |wait| Pace::for_room(wait, Patience::Endless, 1 << 16);
        for mut pace in [for_message(Wait::Backoff), for_room(Wait::Backoff)] {
            // As many as it takes.
            while !next_is_sleep(&mut pace) {}
        }
        for mut pace in [for_message(Wait::Spin), for_room(Wait::Spin)] {
            assert!((0..10_000).all(|_| !next_is_sleep(&mut pace)));
            // The others would have slept after that.
            std::thread::sleep(YIELDING);
            assert!((0..100).all(|_| !next_is_sleep(&mut pace)));
        }
    }
}
