//! Whose the producer's fence of WAKE is ([`crate::wait`]), and whether this is its process.

use crate::error::Error;
use crate::layout::{CONTROL, HEADER};
use crate::ring::Ring;
use crate::segment::Segment;
use crate::sys::fork::Witness;
use crate::wait::{Event, tell_sleepers};

/// The values of [`Fences`]. The short way is for those from [`BY_SLEEPERS`] on.
pub(super) const FORKED: u32 = 0;
/// Messages carry a time and a checksum; the fence is the producer's.
pub(super) const STAMPED: u32 = 1;
pub(super) const BY_SLEEPERS: u32 = 2;
pub(super) const BY_PRODUCER: u32 = 3;

/// Where somebody sleeps before nearly every message, the kernel's barrier costs each sleeper, and
/// the producer that is interrupted for it, more than some fences of the producer's own.
#[derive(Debug)]
pub(super) struct Fences {
    witness: Witness,
    /// Whether sleepers can have the kernel issue it.
    registered: bool,
    /// The next message's sequence when sleepers were called last.
    called_at: u64,
    /// Calls without a stream in between.
    calls: u32,
}

impl Fences {
    /// So many calls, each after so few messages, and the fence is the producer's: so many of its
    /// own take a few microseconds, the kernel's takes 13 (perf-notes.md, "What a sleep costs").
    const CALLS: u32 = 4;
    const FEW_MESSAGES: u64 = 64;
    /// So many messages without a call, and it is the sleepers'.
    const MANY_MESSAGES: u64 = 1 << 10;

    pub(super) fn new(segment: &Segment, stamped: bool, registered: bool) -> Result<Self, Error> {
        let value = match (stamped, registered) {
            (true, _) => STAMPED,
            (false, true) => BY_SLEEPERS,
            (false, false) => BY_PRODUCER,
        };
        Ok(Self { witness: segment.witness(value)?, registered, called_at: 0, calls: 0 })
    }

    #[inline(always)]
    pub(super) fn value(&self) -> u32 {
        self.witness.value()
    }

    /// Tells those who are about to sleep, and calls those who did by what was right before.
    pub(super) fn tell(&self, ring: &Ring) {
        let event = Event::new(ring.control(CONTROL.data_event));
        tell_sleepers(ring.header(HEADER.barrier), event, self.value() == BY_SLEEPERS);
    }

    /// Sleepers have been called, and this is the next message's sequence.
    pub(super) fn note_call(&mut self, ring: &Ring, sequence: u64) {
        let is_alone = sequence.wrapping_sub(self.called_at) > Self::FEW_MESSAGES;
        self.calls = if is_alone { 0 } else { self.calls.saturating_add(1) };
        self.called_at = sequence;
        if self.calls >= Self::CALLS && self.value() == BY_SLEEPERS {
            self.change(ring, BY_PRODUCER);
        }
    }

    /// A sector has been filled, and this is the next message's sequence.
    pub(super) fn note_sector(&mut self, ring: &Ring, sequence: u64) {
        let nobody_sleeps = sequence.wrapping_sub(self.called_at) > Self::MANY_MESSAGES;
        if nobody_sleeps && self.registered && self.value() == BY_PRODUCER {
            self.change(ring, BY_SLEEPERS);
        }
    }

    fn change(&mut self, ring: &Ring, value: u32) {
        self.witness.change(value);
        self.tell(ring);
    }
}
