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

#[cfg(not(loom))]
mod pace;
#[cfg(not(loom))]
mod stand_off;

use core::time::Duration;

#[cfg(not(loom))]
pub(crate) use self::pace::{Habit, Next, Pace, Patience};
#[cfg(not(loom))]
pub(crate) use self::stand_off::StandOff;
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
    /// Polls for about ten microseconds, then sleeps until called; sooner if its waits have been long
    /// ones lately. Uses no processor when idle; the call costs the other side a system call, and the
    /// sleeper some tens of microseconds. An observer cannot ask to be called: it looks once a
    /// millisecond, and one that backs off every 100 us.
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
    /// time was over first, or a signal came.
    pub(crate) fn sleep(self, ticket: Ticket, limit: Duration) -> bool {
        futex::wait(self.0, ticket.0, limit)
    }

    /// Whether there has been a call since the announcement, or comes to be while the caller may
    /// be just about to.
    #[cfg(not(loom))]
    pub(crate) fn was_called_since(self, ticket: Ticket) -> bool {
        const YIELDS: u32 = 1_000;
        // Acquire: as when it was announced.
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
    if let [(event, ticket)] = sleeps {
        return event.sleep(*ticket, limit);
    }
    let words: Vec<_> = sleeps.iter().map(|(event, ticket)| (event.0, ticket.0)).collect();
    futex::wait_any(&words, limit).unwrap_or_else(|| {
        std::thread::sleep(limit.min(SLEEP_UNSURE));
        false
    })
}

/// WHOSE: says that the fence of WAKE is the sleepers', or the producer's.
pub(crate) fn tell_sleepers(barrier: &AtomicU32, event: Event<'_>, by_sleepers: bool) {
    barrier.store(by_sleepers.into(), Ordering::Relaxed);
    // SeqCst: WHOSE.
    fence(Ordering::SeqCst);
    event.call_anyway();
}

/// WAKE and WHOSE, between the announcement of a sleep and the last look. `issue` is to have the
/// kernel issue the producer's fence; `false` if that is needed and cannot be had.
pub(crate) fn fence_before_sleep(barrier: &AtomicU32, issue: impl FnOnce() -> bool) -> bool {
    // SeqCst: WAKE and WHOSE.
    fence(Ordering::SeqCst);
    // The kernel's barrier runs on this processor too.
    barrier.load(Ordering::Relaxed) != 1 || issue()
}
