//! Calls to those who sleep, by whoever is not the producer in the middle of a send.

use crate::layout::{CONTROL, Control, Word};
use crate::ring::Ring;
use crate::sync::{Ordering, fence};
use crate::wait::Event;

/// Calls whoever waits for messages: there is one which the producer did not just send, to be
/// delivered again, or durable by now.
#[cold]
pub(crate) fn call_consumers(ring: &Ring) {
    // SeqCst: WAKE.
    fence(Ordering::SeqCst);
    event(ring, CONTROL.data_event).call_if_awaited();
}

/// Calls a producer that waits for room: a cursor has moved, or is no more.
#[cold]
pub(crate) fn call_producer(ring: &Ring) {
    // SeqCst: ROOM.
    fence(Ordering::SeqCst);
    event(ring, CONTROL.room_event).call_if_awaited();
}

/// Calls everybody, also those whom somebody said that he called, and died before he could.
#[cold]
pub(crate) fn call_all(ring: &Ring) {
    // SeqCst: WAKE and ROOM.
    fence(Ordering::SeqCst);
    for word in [CONTROL.room_event, CONTROL.data_event] {
        event(ring, word).call_anyway();
    }
}

fn event(ring: &Ring, word: Word<Control, u32>) -> Event<'_> {
    Event::new(ring.control(word))
}
