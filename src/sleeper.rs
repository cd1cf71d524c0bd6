//! A thread that sleeps in the place of others, and says by a descriptor that the sleep has ended.
//!
//! It knows nothing of queues. Whoever sends it has announced the sleep, fenced and looked for the
//! last time (`wait/mod.rs`); the thread only sleeps on the words while they are what they were then.
//! What it is told comes under a lock, and so does the call that goes with it: by the time it can
//! announce on its own word that it sleeps, it has seen all that was called before.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::layout::{Control, Word};
use crate::ring::Ring;
use crate::segment::Mapping;
use crate::sync::AtomicU32;
use crate::sys::eventfd::EventFd;
use crate::sys::fork::Witness;
use crate::sys::process::Undisturbed;
use crate::wait::{self, Event, Ticket};

/// One word to sleep on, which stays mapped for as long.
#[derive(Debug)]
pub(crate) struct Errand {
    event: Word<Control, u32>,
    /// What a member sleeps on instead that waits for its ackers.
    relief: Option<Arc<AtomicU32>>,
    ticket: Ticket,
    ring: Ring,
    /// The ring is a view of this.
    _mapping: Arc<Mapping>,
}

impl Errand {
    pub(crate) fn new(
        mapping: &Arc<Mapping>,
        event: Word<Control, u32>,
        relief: Option<Arc<AtomicU32>>,
        ticket: Ticket,
    ) -> Self {
        Self { event, relief, ticket, ring: mapping.ring(), _mapping: Arc::clone(mapping) }
    }

    fn sleep(&self) -> (Event<'_>, Ticket) {
        let event = || self.ring.control(self.event);
        (Event::new(self.relief.as_deref().unwrap_or_else(event)), self.ticket)
    }
}

/// What to sleep on together, and until when.
#[derive(Debug)]
pub struct Order {
    errands: Vec<Errand>,
    end: Instant,
}

impl Order {
    pub(crate) fn new(errands: Vec<Errand>, limit: Duration) -> Self {
        Self { errands, end: Instant::now() + limit }
    }

    fn sleeps(&self) -> impl Iterator<Item = (Event<'_>, Ticket)> {
        self.errands.iter().map(Errand::sleep)
    }

    /// Whether who sleeps by this one is up by when the other one is to be, and by the same calls.
    fn serves_as(&self, other: &Self) -> bool {
        self.end <= other.end && self.sleeps().eq(other.sleeps())
    }
}

/// The thread, as those know it who send it. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sleeper {
    bed: Arc<Bed>,
    witness: Witness,
}

#[derive(Debug)]
struct Bed {
    descriptor: EventFd,
    /// The thread's own event.
    word: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What to sleep on, until that sleep has ended.
    order: Option<Arc<Order>>,
    is_readable: bool,
    waker: Option<Waker>,
    is_over: bool,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor = EventFd::new()?;
        let witness = Witness::new(1)?;
        let bed = Arc::new(Bed { descriptor, word: AtomicU32::new(0), state: Mutex::default() });
        let of_thread = Arc::clone(&bed);
        let _signals = Undisturbed::new();
        // Nobody joins it: who drops this one need not wait, and a forked child has no such thread.
        thread::Builder::new().name("ringway-sleeper".into()).spawn(move || of_thread.sleep())?;
        Ok(Self { bed, witness })
    }

    /// `false` in a child that was forked since, which has no thread.
    pub(crate) fn is_own(&self) -> bool {
        self.witness.value() != 0
    }

    /// Sends it to sleep, whatever it sleeps on now. The descriptor is readable again, and whoever
    /// [polls](Self::poll) is woken, when that sleep has ended.
    pub(crate) fn send(&self, order: Order) {
        // Not under the lock: a task may end with it, and what ends with that may come here again.
        let waker = self.bed.state().waker.take();
        drop(waker);
        let mut state = self.bed.state();
        if state.order.as_ref().is_some_and(|present| present.serves_as(&order)) {
            return;
        }
        if state.is_readable {
            self.bed.descriptor.clear();
            state.is_readable = false;
        }
        state.order = Some(Arc::new(order));
        Event::new(&self.bed.word).call_if_awaited();
    }

    /// Whether the sleep has ended.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        // Before the lock, and so behind it: the one that it replaces.
        let mut waker = Some(context.waker().clone());
        let mut state = self.bed.state();
        if state.order.is_none() {
            return Poll::Ready(());
        }
        mem::swap(&mut state.waker, &mut waker);
        Poll::Pending
    }
}

impl AsFd for Sleeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bed.descriptor.as_fd()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.is_own() {
            let mut state = self.bed.state();
            state.is_over = true;
            Event::new(&self.bed.word).call_if_awaited();
        }
    }
}

impl Bed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that the thread does.
    fn sleep(&self) {
        let own = Event::new(&self.word);
        loop {
            let state = self.state();
            if state.is_over {
                return;
            }
            let own_ticket = own.announce();
            let order = state.order.clone();
            drop(state);
            let Some(order) = order else {
                own.sleep(own_ticket, Duration::MAX);
                continue;
            };
            let sleeps: Vec<_> = [(own, own_ticket)].into_iter().chain(order.sleeps()).collect();
            wait::sleep_on_any(&sleeps, order.end.saturating_duration_since(Instant::now()));
            self.end_sleep(&order);
        }
    }

    /// Tells that a sleep has ended, unless another one is ordered by now.
    fn end_sleep(&self, order: &Arc<Order>) {
        let mut state = self.state();
        if !state.order.as_ref().is_some_and(|present| Arc::ptr_eq(present, order)) {
            return;
        }
        state.order = None;
        state.is_readable = true;
        self.descriptor.set();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            // It is the caller's, and none of its panics ends the sleeps to come.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}
