//! Waiting: for a message, or for room.
//!
//! A waiter polls for a while, then gives the processor away: to whoever else wants it, or
//! until it is called. The call goes through an [`Event`], a 32-bit word that is odd while
//! somebody may be asleep on it. Nobody who works pays for sleepers that do not exist: a load
//! of the word, and no fence where the kernel can put one into the other process.
//!
//! # Orderings
//!
//! | pair | who works                              | who goes to sleep                          |
//! |------|----------------------------------------|--------------------------------------------|
//! | WAKE | producer: commit, fence, load of `data_event` | consumer: make `data_event` odd, fence, look for a message |
//! | ROOM | consumer: cursor, fence, load of `room_event` | producer: make `room_event` odd, fence, look at the cursors |
//!
//! A producer that flushes does so to a journaler too, by the word `flush_to` instead of a commit;
//! and a journaler to a producer that waits for it, by the word `durable`.
//!
//! Both are the same argument. Of the two sequentially consistent fences one is first. If the
//! worker's, the sleeper's look finds what the worker did, and it does not sleep. If the
//! sleeper's, the worker finds the word odd and calls. Without either fence each may miss the
//! other's store, and the sleeper is never called: the lost wakeup.
//!
//! The call makes the word even before it wakes, and the sleeper sleeps only as long as the
//! word is what it was when the sleeper made it odd; the kernel compares under a lock that the
//! wake takes too. So a call between the look and the sleep is not lost either. Any change of
//! an odd word is a call, and a call wakes all: whoever fails to make it even because another
//! worker was faster has nothing to do. A sleeper that dies leaves the word odd, for one call.
//!
//! **The fence of WAKE** costs the producer as much as a short send. Where the producer's
//! process is registered for it (`membarrier(2)`, the word `barrier` of the header), the sleeper
//! has the kernel run the producer's fence, on whatever processor the producer runs: the
//! producer's own is then a compiler's fence only. A sleeper that may not ask for it does not
//! sleep for longer than [`SLEEP_UNSURE`]. Where somebody sleeps before nearly every message the
//! kernel's barrier costs more, 13 us on a virtual machine, and interrupts the producer: then the
//! producer issues its fence again. Whose it is, is the producer's to say, by `barrier`:
//!
//! | pair  | producer                           | who goes to sleep                                |
//! |-------|------------------------------------|--------------------------------------------------|
//! | WHOSE | change `barrier`, fence, call      | make `data_event` odd, fence, load `barrier`, look for a message |
//!
//! If the producer's fence is first, the sleeper finds what the producer wants of it now, and all
//! messages from before. If the sleeper's is, the call finds the word odd and ends the sleep. So
//! nobody sleeps by what was right before. A producer that takes over does the same; then the call
//! is also that which the dead one may not have come to.
//!
//! **Interrupting.** Who sleeps is also called by another thread of its own process, which has
//! changed a word that only the two know, or let go of what the sleeper waits for:
//!
//! | pair      | who interrupts             | who goes to sleep                            |
//! |-----------|----------------------------|----------------------------------------------|
//! | INTERRUPT | change the word, fence, call | make the event odd, fence, look at the word |
//!
//! Another thread may sleep for whoever has announced it, fenced and looked (`sleeper.rs`): the
//! comparison with what the word was is the kernel's, whichever thread asks for it.
//!
//! Every sleep ends after [`SLEEP_MAX`], to look whether the queue is still there; if it finds
//! a message then, that is counted as a late wake, and the tests insist that there is none.

use core::time::Duration;

use crate::sync::{AtomicU32, Ordering, fence};
use crate::sys::futex;

/// How a consumer waits for messages, and a producer for room.
///
/// ```
/// use ringway::Wait;
///
/// assert_eq!(Wait::default(), Wait::Backoff);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Polls for as long as it takes. The shortest latency, and a processor for it alone. In a
    /// stream in which that is faster, a consumer that has caught up rests for up to 128 us before
    /// the first poll; one that is sent one message at a time never rests so.
    Spin,
    /// Polls, then pauses that grow, then lets others run between polls; after a millisecond of
    /// that it sleeps, as with `Park`.
    #[default]
    Backoff,
    /// Polls for some microseconds, then sleeps until called. Uses no processor when idle; the call
    /// costs the other side a system call, and the sleeper some tens of microseconds. An observer
    /// cannot ask to be called: it looks once a millisecond, and one that backs off every 100 us.
    Park,
}

/// The longest sleep without a look around.
pub(crate) const SLEEP_MAX: Duration = Duration::from_millis(100);
/// The longest sleep by somebody who could not make sure to be called.
pub(crate) const SLEEP_UNSURE: Duration = Duration::from_millis(1);

/// The word that sleepers sleep on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a>(&'a AtomicU32);

/// The same word, not the same value.
impl PartialEq for Event<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.0, other.0)
    }
}

/// What the word was when somebody announced that it will sleep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticket(u32);

impl<'a> Event<'a> {
    #[inline(always)]
    pub(crate) fn new(word: &'a AtomicU32) -> Self {
        Self(word)
    }

    /// Announces a sleep. A fence and a last look have to follow, then [`Self::sleep`].
    pub(crate) fn announce(self) -> Ticket {
        // Acquire: whoever sees a call sees what the caller stored before it.
        Ticket(self.0.fetch_or(1, Ordering::Acquire) | 1)
    }

    /// Sleeps until called, unless that has happened since the announcement. `false` if the
    /// time was over first.
    pub(crate) fn sleep(self, ticket: Ticket, limit: Duration) -> bool {
        futex::wait(self.0, ticket.0, limit)
    }

    /// Whether there has been a call since the announcement, or comes to be while the caller may
    /// be just about to.
    #[cfg(not(loom))]
    pub(crate) fn was_called_since(self, ticket: Ticket) -> bool {
        const YIELDS: u32 = 1_000;
        let was_called = || self.0.load(Ordering::Acquire) != ticket.0;
        was_called()
            || (0..YIELDS).any(|_| {
                std::thread::yield_now();
                was_called()
            })
    }

    /// Whether somebody may be asleep. The caller has put a fence between its work and this.
    #[inline(always)]
    pub(crate) fn is_awaited(self) -> bool {
        // Relaxed: the fences of WAKE and ROOM order it.
        self.0.load(Ordering::Relaxed) & 1 == 1
    }

    /// Calls all who sleep, if any may. As for [`Self::is_awaited`], a fence comes before.
    pub(crate) fn call_if_awaited(self) {
        if self.is_awaited() {
            self.call();
        }
    }

    /// Calls all who sleep, also those whose caller died between the word and the wake.
    pub(crate) fn call_anyway(self) {
        self.call();
        futex::wake_all(self.0);
    }

    /// Calls all who sleep.
    #[cold]
    pub(crate) fn call(self) {
        let word = self.0.load(Ordering::Relaxed);
        let awaited = word & 1 == 1;
        // Release: what the caller stored before is seen by whoever sees the call.
        let order = (Ordering::Release, Ordering::Relaxed);
        if awaited && self.0.compare_exchange(word, word.wrapping_add(1), order.0, order.1).is_ok()
        {
            futex::wake_all(self.0);
        }
    }
}

/// [`Event::sleep`] on several at once. Where the system has no such thing, it is as if none were
/// sure to call.
#[cfg(not(loom))]
pub(crate) fn sleep_on_any(sleeps: &[(Event<'_>, Ticket)], limit: Duration) -> bool {
    let words: Vec<_> = sleeps.iter().map(|(event, ticket)| (event.0, ticket.0)).collect();
    futex::wait_any(&words, limit).unwrap_or_else(|| {
        std::thread::sleep(limit.min(SLEEP_UNSURE));
        false
    })
}

/// WHOSE: says that the fence of WAKE is the sleepers', or the producer's.
pub(crate) fn tell_sleepers(barrier: &AtomicU32, event: Event<'_>, by_sleepers: bool) {
    barrier.store(by_sleepers.into(), Ordering::Relaxed);
    fence(Ordering::SeqCst);
    event.call_anyway();
}

/// WAKE and WHOSE, between the announcement of a sleep and the last look. `issue` is to have the
/// kernel issue the producer's fence; `false` if that is needed and cannot be had.
pub(crate) fn fence_before_sleep(barrier: &AtomicU32, issue: impl FnOnce() -> bool) -> bool {
    fence(Ordering::SeqCst);
    // The kernel's barrier runs on this processor too.
    barrier.load(Ordering::Relaxed) != 1 || issue()
}

#[cfg(not(loom))]
pub(crate) use self::pace::{Habit, Next, Pace, Patience, StandOff};

#[cfg(not(loom))]
mod pace {
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
        /// Polls before anything slower.
        tight_polls: u32,
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
    /// Of one who parks: each is a look and 32 polls, so that these are what a sleep costs anyway.
    const TIGHT_POLLS_BEFORE_SLEEP: u32 = 8;
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
            Self { wait, patience, polls: 0, tight_polls, gap, backoff, snoozes, sleeps_from }
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
                if !self.polls.is_multiple_of(POLLS_PER_CLOCK) {
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
            self.long_sleeps =
                if time < Self::SHORT { 0 } else { self.long_sleeps.saturating_add(1) };
        }

        /// A poll has found a message.
        pub(crate) fn note_poll(&mut self) {
            self.long_sleeps = 0;
        }

        fn is_to_sleep_long(&self) -> bool {
            self.long_sleeps >= Self::LONG_SLEEPS
        }
    }

    /// Keeps a consumer off the producer's heels.
    ///
    /// A consumer that has caught up polls the line that the producer is about to write, and its
    /// processor fetches those behind it, to be ready for them. Each line that it takes away has
    /// to be brought back before the producer can write there: at full speed the two spend most
    /// of their time on that. A pause after catching up lets the producer get some pages ahead,
    /// and costs as much latency.
    ///
    /// No rate tells a producer that is slowed down so from one that has no more to send. So it is
    /// tried out: in a stream without a gap, another pause now and then, for as long as it takes
    /// to measure a rate. A longer one is kept if the stream becomes faster by it, a shorter one
    /// if it does not become slower. None is tried in which the producer would fill half of the
    /// ring, and the trial of a longer one ends with the first pause that brought one message: that
    /// is somebody who waits for an answer, and was just busy when the last one came.
    #[derive(Debug)]
    pub(crate) struct StandOff {
        /// Bytes of the ring.
        capacity: f64,
        /// Which of the pauses is in use, and which is being tried out.
        usual: usize,
        trial: Option<usize>,
        /// The last that was tried out.
        tried: usize,
        /// Bytes a second with the usual pause, when it was last measured.
        usual_rate: f64,
        /// Measurements before the next trial. Doubled by each that did not pay.
        trial_in: u32,
        trial_interval: u32,
        /// The measurement under way.
        measured_from: Option<(Instant, u64)>,
        catch_ups: u32,
        /// Whether there was a pause at the last catch-up in a stream.
        has_paused: bool,
        /// Where the reader caught up last.
        sequence: u64,
    }

    impl StandOff {
        /// Pauses, and how many make a measurement: the long ones stretch over more.
        const PAUSES: [(Duration, u32); 4] = [
            (Duration::ZERO, 64),
            (Duration::from_micros(2), 64),
            (Duration::from_micros(16), 16),
            (Duration::from_micros(128), 8),
        ];
        const TRIAL_INTERVAL_MAX: u32 = 1 << 10;
        const FASTER: f64 = 1.15;
        const NO_SLOWER: f64 = 0.97;

        #[allow(clippy::cast_precision_loss, reason = "a power of two")]
        pub(crate) fn new(capacity: u64) -> Self {
            Self {
                capacity: capacity as f64,
                usual: 0,
                trial: None,
                tried: 0,
                usual_rate: 0.0,
                trial_in: 0,
                trial_interval: 1,
                measured_from: None,
                catch_ups: 0,
                has_paused: false,
                sequence: 0,
            }
        }

        /// Pauses, if that pays. The reader has caught up, at these numbers.
        pub(crate) fn pause(&mut self, position: u64, sequence: u64) {
            let run = sequence.wrapping_sub(self.sequence);
            self.sequence = sequence;
            match run {
                // The same catch-up, told twice.
                0 => {}
                1 => {
                    let has_paused = core::mem::take(&mut self.has_paused);
                    if has_paused && self.trial.is_some_and(|trial| trial > self.usual) {
                        (self.trial, self.measured_from) = (None, None);
                        self.put_off_trials();
                    }
                }
                _ => self.pause_in_stream(position),
            }
        }

        /// Nothing has come for some time: what comes next is another stream.
        pub(crate) fn forget_stream(&mut self) {
            self.measured_from = None;
            self.has_paused = false;
        }

        fn pause_in_stream(&mut self, position: u64) {
            self.catch_ups += 1;
            let Some((begin, from)) = self.measured_from else {
                self.measure_from(position);
                return;
            };
            let (_, enough) = self.pause_now();
            if self.catch_ups >= enough {
                #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
                let bytes = position.saturating_sub(from) as f64;
                self.judge(bytes / begin.elapsed().as_secs_f64());
                self.measure_from(position);
            }
            let (pause, _) = self.pause_now();
            self.has_paused = !pause.is_zero();
            if self.has_paused {
                rest(pause);
            }
        }

        fn pause_now(&self) -> (Duration, u32) {
            Self::PAUSES[self.trial.unwrap_or(self.usual)]
        }

        fn measure_from(&mut self, position: u64) {
            self.measured_from = Some((Instant::now(), position));
            self.catch_ups = 0;
        }

        fn judge(&mut self, rate: f64) {
            let Some(trial) = self.trial.take() else {
                self.usual_rate = rate;
                match self.trial_in.checked_sub(1) {
                    Some(left) => self.trial_in = left,
                    None => self.trial = self.other_pause(),
                }
                return;
            };
            let factor = if trial > self.usual { Self::FASTER } else { Self::NO_SLOWER };
            if rate >= self.usual_rate * factor {
                self.usual = trial;
                (self.trial_interval, self.trial_in) = (1, 1);
            } else {
                self.put_off_trials();
            }
        }

        /// The last one did not pay.
        fn put_off_trials(&mut self) {
            self.trial_interval = (self.trial_interval * 2).min(Self::TRIAL_INTERVAL_MAX);
            self.trial_in = self.trial_interval;
        }

        /// Another one, each in its turn: one may pay where those before it do not.
        fn other_pause(&mut self) -> Option<usize> {
            let count = Self::PAUSES.len();
            let mut in_turn = (1..=count).map(|step| (self.tried + step) % count);
            let bytes_in = |(pause, _): (Duration, u32)| self.usual_rate * pause.as_secs_f64();
            let fits = |pause: usize| bytes_in(Self::PAUSES[pause]) < self.capacity / 2.0;
            let other = in_turn.find(|&pause| pause != self.usual && fits(pause))?;
            self.tried = other;
            Some(other)
        }
    }

    /// Passes a short time without a system call.
    pub(crate) fn rest(time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            spin_loop();
        }
    }
    #[cfg(test)]
    mod tests {
        use super::*;

        /// Catches up so often, each time with this many more messages of 100 bytes.
        fn catch_up(
            stand_off: &mut StandOff,
            times: u64,
            run: u64,
            mut after: impl FnMut(&mut StandOff),
        ) {
            for _ in 0..times {
                let sequence = stand_off.sequence + run;
                stand_off.pause(100 * sequence, sequence);
                after(stand_off);
            }
        }

        #[test]
        fn polls_before_a_sleep_are_left_out_while_each_wait_is_a_long_sleep() {
            let (long, short) = (Duration::from_millis(2), Duration::from_micros(30));
            let mut habit = Habit::default();
            let looks_before_sleep = |habit: &Habit| {
                let pace = Pace::for_message(Wait::Park, Patience::Endless);
                let mut pace = pace.with_habit(habit);
                1 + (0..100).take_while(|_| pace.next() == Next::Look).count()
            };
            for _ in 0..Habit::LONG_SLEEPS {
                assert_eq!(looks_before_sleep(&habit), 8);
                habit.note_sleep(long);
            }
            assert_eq!(looks_before_sleep(&habit), 1);
            habit.note_sleep(short);
            assert_eq!(looks_before_sleep(&habit), 8);
            (0..9).for_each(|_| habit.note_sleep(long));
            habit.note_poll();
            assert_eq!(looks_before_sleep(&habit), 8);
        }

        #[test]
        fn who_backs_off_sleeps_in_the_end_and_who_spins_does_not() {
            let sleeps_within = |mut pace: Pace| {
                let end = Instant::now() + 100 * YIELDING;
                let mut sleeps = false;
                while !sleeps && Instant::now() < end {
                    sleeps = matches!(pace.next(), Next::Sleep(limit) if limit == SLEEP_MAX);
                }
                sleeps
            };
            let for_message = |wait| Pace::for_message(wait, Patience::Endless);
            let for_room = |wait| Pace::for_room(wait, Patience::Endless, 1 << 16);
            for pace in [for_message(Wait::Backoff), for_room(Wait::Backoff)] {
                assert!(sleeps_within(pace));
            }
            for pace in [for_message(Wait::Spin), for_room(Wait::Spin)] {
                assert!(!sleeps_within(pace));
            }
        }

        #[test]
        fn a_catch_up_that_is_told_twice_is_one() {
            let mut stand_off = StandOff::new(1 << 40);
            // As by a batch that found no more, and by the receive that follows it.
            catch_up(&mut stand_off, 65, 64, |it| it.pause(100 * it.sequence, it.sequence));
            assert!(stand_off.usual_rate > 0.0, "nothing was measured");
            assert_eq!(stand_off.trial, Some(1));
        }

        #[test]
        fn what_comes_one_by_one_or_after_a_while_is_no_stream() {
            let mut stand_off = StandOff::new(1 << 40);
            catch_up(&mut stand_off, 1_000, 1, |_| ());
            catch_up(&mut stand_off, 1_000, 64, StandOff::forget_stream);
            assert!(stand_off.usual_rate == 0.0 && stand_off.trial.is_none());
        }

        #[test]
        fn a_trial_ends_with_the_first_pause_that_brought_one_message() {
            let mut stand_off = StandOff::new(1 << 40);
            catch_up(&mut stand_off, 66, 2, |_| ());
            assert!(stand_off.trial == Some(1) && stand_off.has_paused);
            catch_up(&mut stand_off, 1, 1, |_| ());
            assert_eq!((stand_off.trial, stand_off.trial_in), (None, 2));
            // The usual pause was measured, and stays until one that is measured is better.
            stand_off.usual = 1;
            catch_up(&mut stand_off, 2, 2, |_| ());
            catch_up(&mut stand_off, 1, 1, |_| ());
            assert_eq!((stand_off.usual, stand_off.trial_in), (1, 2));
            // Nor does a shorter one have to be better than it to go on.
            (stand_off.usual, stand_off.trial) = (2, Some(1));
            catch_up(&mut stand_off, 2, 2, |_| ());
            catch_up(&mut stand_off, 1, 1, |_| ());
            assert_eq!(stand_off.trial, Some(1));
        }

        #[test]
        fn each_other_pause_has_its_turn_if_the_ring_does_not_fill_in_it() {
            let mut stand_off = StandOff::new(1 << 20);
            (stand_off.usual, stand_off.usual_rate) = (1, 1e9);
            let turns = |it: &mut StandOff| [(); 4].map(|()| it.other_pause());
            assert_eq!(turns(&mut stand_off), [2, 3, 0, 2].map(Some));
            // 2, 16 and 128 us at 10 GB/s are 20 KB, 160 KB and more than half of the ring.
            (stand_off.usual, stand_off.usual_rate) = (0, 1e10);
            assert_eq!(turns(&mut stand_off), [1, 2, 1, 2].map(Some));
            stand_off.usual_rate = 1e12;
            assert_eq!(stand_off.other_pause(), None);
        }
    }
}
