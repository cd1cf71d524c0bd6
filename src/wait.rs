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
//! sleep for longer than [`SLEEP_UNSURE`]. A producer that takes over stores `barrier` and then
//! calls, so that nobody sleeps by what was right for the last one.
//!
//! Every sleep ends after [`SLEEP_MAX`], to look whether the queue is still there; if it finds
//! a message then, that is counted as a late wake, and the tests insist that there is none.

use core::time::Duration;

use crate::sync::{AtomicU32, Ordering};
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
    /// Polls without a rest. The shortest latency, and a processor for it alone.
    Spin,
    /// Polls, then pauses that grow, then lets others run between polls.
    #[default]
    Backoff,
    /// Polls for a short while, then sleeps until called. Uses no processor when idle; the call
    /// costs the other side a system call, and the sleeper some tens of microseconds.
    Park,
}

impl core::fmt::Display for Wait {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Spin => "spin",
            Self::Backoff => "backoff",
            Self::Park => "park",
        })
    }
}

/// The longest sleep without a look around.
pub(crate) const SLEEP_MAX: Duration = Duration::from_millis(100);
/// The longest sleep by somebody who could not make sure to be called.
pub(crate) const SLEEP_UNSURE: Duration = Duration::from_millis(1);

/// The word that sleepers sleep on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a>(&'a AtomicU32);

/// What the word was when somebody announced that it will sleep.
#[derive(Clone, Copy, Debug)]
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
        (0..YIELDS).any(|_| {
            std::thread::yield_now();
            self.0.load(Ordering::Acquire) != ticket.0
        })
    }

    /// Whether somebody may be asleep. The caller has put a fence between its work and this.
    #[inline(always)]
    pub(crate) fn is_awaited(self) -> bool {
        // Relaxed: the fences of WAKE and ROOM order it.
        self.0.load(Ordering::Relaxed) & 1 == 1
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

#[cfg(not(loom))]
pub(crate) use self::pace::{Next, Pace, Patience, StandOff};

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
        backoff: Backoff,
    }

    /// Polls one pause apart before anything slower. Two round trips of a cache line between
    /// distant cores fit in.
    const TIGHT_POLLS: u32 = 128;
    /// The clock costs as much as some polls: it is read once in so many of the tight ones.
    const POLLS_PER_CLOCK: u32 = 64;

    impl Pace {
        pub(crate) fn new(wait: Wait, patience: Patience) -> Self {
            Self { wait, patience: patience.begin(), polls: 0, backoff: Backoff::new() }
        }

        /// Passes the time between two looks.
        pub(crate) fn next(&mut self) -> Next {
            self.polls = self.polls.wrapping_add(1);
            let tight = self.wait == Wait::Spin || self.polls < TIGHT_POLLS;
            if tight {
                spin_loop();
                if !self.polls.is_multiple_of(POLLS_PER_CLOCK) {
                    return Next::Look;
                }
            }
            let left = self.patience.left();
            if left == Some(Duration::ZERO) {
                return Next::TimedOut;
            }
            if !tight {
                if self.wait == Wait::Park && self.backoff.is_completed() {
                    return Next::Sleep(left.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
                }
                self.backoff.snooze();
            }
            Next::Look
        }

        /// Whether it is time to look whether the world is still as it was: often enough to be
        /// soon, seldom enough to cost nothing.
        pub(crate) fn looks_around(&self) -> bool {
            const POLLS_PER_LOOK_AROUND: u32 = 1 << 14;
            self.polls.is_multiple_of(POLLS_PER_LOOK_AROUND)
        }
    }

    /// Keeps a consumer off the producer's heels.
    ///
    /// A consumer that has caught up polls the line that the producer is about to write. Each
    /// poll takes the line away, and the next store waits for it to come back: at full speed
    /// the two spend most of their time on that. A pause after catching up lets lines fill
    /// meanwhile, and costs as much latency. So there is one only in a stream, which is told by
    /// its rate since the last time: neither single messages nor a consumer with work to do at
    /// each of them come near it.
    #[derive(Debug)]
    pub(crate) struct StandOff {
        pause: Duration,
        /// No run should be longer: the ring must not fill up meanwhile.
        run_size_max: u64,
        caught_up_at: Instant,
        position: u64,
        sequence: u64,
    }

    impl StandOff {
        const PAUSE_MIN: Duration = Duration::from_nanos(64);
        const PAUSE_MAX: Duration = Duration::from_nanos(2_048);
        /// A gigabyte a second.
        const STREAM_BYTES_PER_NS: u64 = 1;

        pub(crate) fn new(capacity: u64) -> Self {
            Self {
                pause: Duration::ZERO,
                run_size_max: capacity / 16,
                caught_up_at: Instant::now(),
                position: 0,
                sequence: 0,
            }
        }

        /// Pauses, if that pays. The reader has caught up, at these numbers.
        pub(crate) fn pause(&mut self, position: u64, sequence: u64) {
            if sequence.wrapping_sub(self.sequence) < 2 {
                self.sequence = sequence;
                return;
            }
            let now = Instant::now();
            let run_size = position.saturating_sub(self.position);
            let time = now.duration_since(self.caught_up_at).as_nanos();
            let streaming = u128::from(run_size) >= time * u128::from(Self::STREAM_BYTES_PER_NS);
            if !streaming {
                self.pause /= 2;
            } else if run_size < self.run_size_max {
                self.pause = (self.pause * 2).clamp(Self::PAUSE_MIN, Self::PAUSE_MAX);
            }
            (self.caught_up_at, self.position, self.sequence) = (now, position, sequence);
            if self.pause >= Self::PAUSE_MIN {
                while now.elapsed() < self.pause {
                    spin_loop();
                }
            }
        }
    }
}
