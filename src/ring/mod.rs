//! The protocol: how one writer and many readers share a ring without locks.
//!
//! It runs on three [`Region`]s and knows no system calls, no names and no errors but
//! [`Corrupt`]. [`write_side`] appends frames, [`read_side`] follows them, by [`run`] or by one
//! [`look`] at a time, [`index`] finds a frame to begin with, [`members`] keeps the writer off what readers hold, [`keeping`] off what a
//! history has to have first; [`subscriptions`] and [`shares`] divide the stream among those who
//! share it.
//!
//! # Positions
//!
//! A *position* counts bytes since the queue's birth and never wraps; `position % capacity` is
//! where it lies in the ring. Frames follow each other without gaps; none crosses the end of a
//! lap, which padding fills. The *licence* is the position up to which the writer has asked to
//! write; it is a multiple of the sector size and never goes back. Once no member objects it is
//! *granted*. What lies below `licence - capacity`, the *floor*, may be overwritten at any moment;
//! what lies above is whole.
//!
//! # Invariants
//!
//! - **AHEAD.** The word where the last committed frame ends is 0 until the next frame is
//!   committed there. So no payload of an earlier lap is ever taken for a commit word: a reader
//!   looks only at a frame boundary, and each boundary was zeroed before the commit word that
//!   leads to it was stored.
//! - **RESERVE.** A message and the word after it lie within the licence that was granted and within
//!   the lap, and so does every word that is stored to only to have its line. Padding ends the lap;
//!   the word after it is the next lap's first, and granted too.
//! - **NEWEST.** The newest entry of the sector index is never below the floor. What lies between
//!   the two ends of the ring at worst: from the entry to the end of what is committed, a sector
//!   and a frame (3/16 of the ring); then a batch whose entries are recorded only after it: its
//!   quarter, with the rest of a sector that is given out unasked (5/16) and the padding of a lap
//!   within (1/8); then a message that room is asked for ahead (1/8), and the licence's step to a
//!   sector's end (1/16). Together 13/16.
//!
//! # Orderings
//!
//! | pair    | first side                              | second side                         | carries |
//! |---------|-----------------------------------------|-------------------------------------|---------|
//! | PUBLISH | [`Writer`]: store of the commit word    | readers: load of the commit word    | the frame, the zero behind it, the licence and the index entry before it |
//! | RETIRE  | held reader: store of its cursor        | writer: load of the cursors         | the end of the reader's loads |
//! | LICENCE | writer: store, fence, stores to the ring | copying reader: copy, fence, load  | whether the copy is of the frame it began with |
//! | JOIN    | writer: store of the licence, fence, load of the count of joins, then of the members | joiner: store of its member line, then of the count, fence, load of the licence | at least one sees the other |
//! | INDEX   | writer: both halves of an entry         | anybody: both halves of an entry    | halves that belong together |
//! | CLOSE   | writer: store of `closed`               | reader: load of `closed`            | all commits before the end |
//! | TURN    | member: its share, then the turn        | anybody: the turn, the share, the turn again | what the share is, if it is still its turn |
//! | HEAD    | whoever finishes a turn: the share's mark, then the head | writer: load of the heads, then of the shares | that a message is in a share before no head holds it |
//! | KEEP    | historian: store of `written`; [`Writer`], behind a load of that: store of the licence, and of what is granted | writer, readers of files: load of `written`; these: of the others before it | the end of the historian's loads; what is in the files |
//! | PASS    | owner or heir: the share's state        | heir or owner: the share's state    | what was done with the messages |
//!
//! Sleeping, waking and interrupting have pairs of their own, stated in [`crate::wait`].
//!
//! All acquire loads of what may be mapped read-only are relaxed loads with an acquire fence: the
//! language defines no others there.
//!
//! **PUBLISH** (release store, acquire load). The reader that finds a commit word has every byte of the
//! frame, and the zero (AHEAD) where it will look next. With a relaxed store it could find the
//! word before the payload.
//! What went past the caches a release store does not wait for, nor another thread's, so a fence of its
//! own stands behind it, on the thread that stored it ([`crate::copy::fence_past_caches`]). Behind
//! LICENCE's fences, which are sequentially consistent for it, it comes as any other store.
//!
//! **RETIRE** (release store, acquire load). The writer that loads a cursor has all the reader's
//! loads below it behind it, and may overwrite. A stale cursor is too low, which costs room and
//! nothing else.
//!
//! **LICENCE** (store, fence, relaxed stores; relaxed loads, acquire fence, relaxed
//! load). If any loaded byte came from a store after the writer's fence, the fences synchronize,
//! and the reader's load of the licence finds that step of it or a later one: the reader learns
//! that its position is below the floor, and drops the copy. This holds for the commit word
//! too, so nothing is judged corrupt before the licence has been looked at. A consumer or a named
//! subscription that spills does the same with the licence that was *granted*, which is stored, with a fence behind,
//! once nobody objects, and never goes back: while the licence is ahead of it nothing is
//! overwritten, and what is to be overwritten next may not be in the files yet.
//!
//! **JOIN** (sequentially consistent fences). The writer raises the licence to `l` and then
//! looks for members; a joiner makes itself a member at `p` and then looks at the licence. Of
//! the two fences one is first. If the joiner's, the writer finds the member and waits until
//! its cursor is past `l - capacity`. If the writer's, the joiner finds `l`, and knows whether
//! `p` is below the floor; if so it starts elsewhere. The writer overwrites nothing before it
//! has looked, so the frame at an accepted `p` is whole and stays so. Without either fence both
//! loads may miss the other's store. A member below the floor, one that lost that race and has
//! not moved yet, makes the writer wait; the licence does not go back for it. What a member needs
//! only becomes less, but by a join, and each join is counted (release, behind the line; acquire,
//! before the lines): so a writer that finds the count that it knows need not look at the lines for
//! what they did not object to when it last did.
//!
//! **INDEX** (a sequence lock: `position` is all ones, release fence, `sequence`, release store
//! of `position`; acquire load, load, acquire fence, load). An entry's positions only grow, so
//! two equal loads of it mean that no store came between; a sequence that was stored later
//! would show the all-ones through the fences.
//!
//! **CLOSE** (release store, acquire load). A reader that found 0 at its position and then
//! `closed` naming that position knows that the stream ended there: `closed` was stored with
//! all frames before committed, and no frame is committed there before it is taken back.
//!
//! **TURN** (release fence, relaxed stores, compare-and-swap with release; acquire load, relaxed
//! loads, acquire fence, relaxed load). A member writes its share down and then swaps the turn from
//! nobody's, as it was when it looked at the head, to the share's. The head moves only in turns and
//! each is counted, so a swap that succeeds says that the head is still where the share begins.
//! From the swap on the share is taken, whoever finishes the turn. Who does that for another reads
//! the share and then looks whether it is still its turn: a share is written anew, for whichever
//! subscription, only when somebody who had it has seen its turn to be over, and whoever reads any
//! of that sees a later turn too. Who takes a share has seen that by then; an heir sees to it before
//! it does anything with what it took over, and who opens a share for a dead owner before that. What
//! is done then may come late: each step replaces a value that occurs once (a count of turns, a
//! position, a sequence), so that a late one fails. A head that is moved as a whole may come to where
//! it was. So nobody finishes a turn but a member of the subscription, who ends a dead member and has
//! its lock, or who has the lock of the table; and the head is moved by one who has that, and finds
//! that no member is left.
//!
//! **HEAD** (release of the mark, then of the head; acquire load of the head, then acquire loads of
//! the marks). Messages go one way: from behind the head into a share, where they stay until they
//! are settled. The head that has moved on carries the mark of the share, so a writer that reads
//! the heads first and the shares after finds each message in one or the other. A share without
//! the mark holds nobody: it may never be taken.
//!
//! **KEEP** (release store, acquire load). The historian copies frames from the ring to the files and
//! then says up to where. The writer that finds that may overwrite them: the historian's loads are
//! behind it. A reader that finds it finds the frames in the files. The position never goes back;
//! one that is stale is too low, and costs a look. The writer looks at it before it raises the licence
//! (release) and before it grants that (behind its fence). So a reader that finds either (acquire) and
//! then looks how far the files have come finds all that may be overwritten by then.
//!
//! **PASS** (release store or compare-and-swap, acquire load or compare-and-swap). Who owns a share
//! and what is settled is one word. Where nobody may take a share from a living owner, the owner
//! just stores it; who takes over from a dead one has the kernel between them. Where somebody may,
//! both swap, from the word that they have seen: of an ack and a taking over at the same time one
//! fails. What an owner read of the share's messages before a swap that succeeds was whole: whoever
//! takes it over after that has those loads behind it, and so has the writer that overwrites. An
//! owner's count of deliveries comes before its next word of the share.
//!
//! A writer that takes over from a dead one has the kernel between them: the dead one's lock is
//! released after its last store, and taken before the next one's first load.

mod bypass;
pub(crate) mod frame;
mod index;
mod keeping;
mod look;
mod members;
mod read_side;
mod run;
mod shares;
mod start;
mod subscriptions;
mod write_side;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use self::members::Lag;
pub use self::start::Start;

pub(crate) use self::frame::{Check, ExtensionSet, Extensions, Place, Shape};
pub(crate) use self::keeping::Keeps;
pub(crate) use self::members::{Member, MemberIndex};
pub(crate) use self::read_side::{Buffer, CopyReader, HeldReader, Read, Track};
pub(crate) use self::run::{Run, Span};
pub(crate) use self::shares::{
    Extent, PAUSE_MAX, SeenShare, Share, ShareIndex, ShareKeys, State, TURNS_MAX, Take, short_key,
};
pub(crate) use self::start::{Begin, StartError};
pub(crate) use self::subscriptions::{Head, Subscription, SubscriptionIndex};
pub(crate) use self::write_side::{PastCaches, Staging, Writer};

use crate::layout::{CONTROL, Control, Geometry, HEADER, Header, NO_POSITION, Part, Word};
use crate::region::{Region, Shared, Words};
use crate::sync::{AtomicU64, load_acquire, load_acquire32};

/// What others can make fail by being faster is begun anew so often.
const ATTEMPTS_MAX: u32 = 100;

/// A frame boundary holds something that the protocol never puts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt {
    pub(crate) position: u64,
    pub(crate) found: u64,
}

impl core::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { position, found } = self;
        if *found == NO_POSITION {
            return write!(f, "its sector index leads to no frame above position {position}");
        }
        write!(f, "at position {position} stands {found:#018x}, which is not the frame due there")
    }
}

/// A view of the three regions. Every access through it is in bounds: [`Ring::new`] checks that
/// the regions are as large as the geometry says, and each method stays within its region.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    header: Words<Header>,
    /// With the tables behind it.
    control: Words<Control>,
    frames: Region,
    /// The capacity less one.
    offset_mask: u64,
    geometry: Geometry,
    /// Nanoseconds since 1970, for display.
    clock: fn() -> u64,
}

impl Ring {
    pub(crate) fn new(header: Region, control: Region, frames: Region, geometry: Geometry) -> Self {
        assert!(control.size() >= geometry.control_size());
        assert!(frames.size() as u64 == geometry.capacity());
        let offset_mask = geometry.capacity() - 1;
        let (header, control) = (Words::new(header), Words::new(control));
        Self { header, control, frames, offset_mask, geometry, clock: || 0 }
    }

    /// Has the sector index tell when its entries were recorded.
    pub(crate) fn with_clock(self, clock: fn() -> u64) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.geometry.capacity()
    }

    /// The position below which bytes may be overwritten, given the licence.
    pub(crate) fn floor(&self, licence: u64) -> u64 {
        licence.saturating_sub(self.capacity())
    }

    pub(crate) fn licence(&self) -> &AtomicU64 {
        self.header(HEADER.licence)
    }

    /// Where a held reader's spans and the writer's claims count from.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn payloads(&self) -> *mut u8 {
        self.frames.address()
    }

    /// Where the stream ended, if it has.
    pub(crate) fn closed_at(&self) -> Option<u64> {
        // Acquire: CLOSE.
        load_acquire(self.header(HEADER.closed)).checked_sub(1)
    }

    #[inline(always)]
    pub(crate) fn header<Value: Shared>(&self, word: Word<Header, Value>) -> &Value::Atomic {
        self.header.word(word)
    }

    #[inline(always)]
    pub(crate) fn control<Value: Shared>(&self, word: Word<Control, Value>) -> &Value::Atomic {
        self.control.word(word)
    }

    /// Whether the queue's name was taken away on purpose.
    pub(crate) fn is_removed(&self) -> bool {
        // Acquire: whoever sees this sees that the name is gone.
        load_acquire32(self.control(CONTROL.removed)) != 0
    }

    /// The entry of a table of the control region that begins at an offset from its start.
    #[inline(always)]
    fn entry_at<P: Part>(&self, offset: usize) -> Words<P> {
        Words::new(self.control.region().slice(offset, P::SIZE))
    }

    /// The eight bytes at a position, which is a multiple of 8.
    #[inline(always)]
    fn frame_word(&self, position: u64) -> &AtomicU64 {
        self.word_at(self.offset(position))
    }

    /// The eight bytes at an offset in the ring, a multiple of 8 below the capacity.
    #[inline(always)]
    fn word_at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset < self.frames.size());
        // SAFETY: callers have the offset from a position by `offset`, or from a frame that ends
        // within the lap with a word to spare (RESERVE).
        unsafe { self.frames.u64_at(offset) }
    }

    /// Where a position lies in the ring.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "below the capacity, and usize is 64 bits")]
    fn offset(&self, position: u64) -> usize {
        (position & self.offset_mask) as usize
    }

    /// The next multiple of the sector size after a position.
    pub(crate) fn sector_end(&self, position: u64) -> u64 {
        (position | (self.geometry.sector_size() - 1)) + 1
    }
}

/// A point where the tests let a process die. Everywhere else it is nothing.
#[inline(always)]
fn crash_point() {
    #[cfg(all(test, not(loom)))]
    tests::crash::step();
}
