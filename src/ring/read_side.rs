//! The readers: one that the writer waits for, and one that it does not.
//!
//! [`HeldReader`] reads payloads where they lie: its cursor keeps the writer away from them.
//! [`CopyReader`] copies first and checks afterwards that what it copied was still there. Both
//! follow the frames along a [`Track`].

use core::ops::Range;

use super::frame::{Frame, HEADER_SIZE, Place};
use super::look::Look;
use super::run::{Run, Span};
use super::{Begin, Corrupt, Member, MemberIndex, Ring};
use crate::sync::{Ordering, fence};

/// What a look at the ring came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read<M = Span> {
    Message(M),
    Empty,
    /// The messages `from..to` are gone.
    Missed {
        from: u64,
        to: u64,
    },
    /// The stream ended at this position.
    Closed {
        end: u64,
    },
}

impl<M> Read<M> {
    pub(crate) fn map<N>(self, make: impl FnOnce(M) -> N) -> Read<N> {
        match self {
            Self::Message(message) => Read::Message(make(message)),
            Self::Empty => Read::Empty,
            Self::Missed { from, to } => Read::Missed { from, to },
            Self::Closed { end } => Read::Closed { end },
        }
    }
}

/// A reader that the writer waits for.
#[derive(Debug)]
pub(crate) struct HeldReader {
    track: Track,
    member: Member,
    /// The next sector boundary: a writer that waits for room waits for a cursor to pass one.
    release_at: u64,
}

impl HeldReader {
    /// The caller has made the member a holding one at `begin`.
    pub(crate) fn new(ring: Ring, index: MemberIndex, begin: Begin) -> Self {
        let member = ring.member(index);
        let release_at = ring.sector_end(begin.place.position);
        Self { track: Track::new(ring, begin), member, release_at }
    }

    pub(crate) fn track(&self) -> &Track {
        &self.track
    }

    /// A reader that sees what is durable, and no more.
    pub(crate) fn durable_only(mut self, only: bool) -> Self {
        self.track.durable_only = only;
        self
    }

    /// What comes next has been followed so far by the caller, perhaps as far as there was any.
    #[inline(always)]
    pub(crate) fn end_batch(&mut self, run: &Run, has_caught_up: bool) {
        self.track.run.clone_from(run);
        self.track.batch_caught_up = has_caught_up;
    }

    /// Whether the last batch ended because nothing more was there; asked once.
    #[inline(always)]
    pub(crate) fn take_catch_up(&mut self) -> bool {
        core::mem::take(&mut self.track.batch_caught_up)
    }

    /// Lets go of everything before the next message.
    #[inline(always)]
    pub(crate) fn release(&mut self) {
        // Release: RETIRE. The last payload is not read any more.
        self.member.cursor().store(self.track.position(), Ordering::Release);
    }

    /// Whether [`Self::release`] has let go of a sector since this was last asked, so that a
    /// writer that waits for room should hear of it. To be asked before each [`Self::look`]: what
    /// passes the end of a sector is always followed by one.
    pub(crate) fn has_passed_sector(&mut self) -> bool {
        let position = self.track.position();
        let passed = position >= self.release_at;
        if passed {
            self.release_at = self.track.ring.sector_end(position);
        }
        passed
    }

    /// The next message, if it is there and nothing about it is unusual; else [`Self::look`]
    /// tells.
    #[inline(always)]
    pub(crate) fn try_next(&mut self) -> Option<Span> {
        self.track.run.next()
    }

    /// Goes elsewhere: to a boundary that the caller holds.
    pub(crate) fn move_to(&mut self, place: Place) {
        self.track.move_to(place);
        self.release_at = self.track.ring.sector_end(place.position);
    }

    /// Looks at what comes next, whatever it is.
    #[cold]
    pub(crate) fn look(&mut self) -> Result<Read, Corrupt> {
        if let Some(missed) = self.track.missed() {
            return Ok(missed);
        }
        loop {
            let look = self.track.look();
            if let Some((span, end)) = self.track.step(look)? {
                self.track.run.advance(end);
                if self.track.position() >= self.release_at {
                    // Also by way of padding.
                    self.track.run.stop();
                }
                return Ok(Read::Message(span));
            }
            if look.is_empty() {
                return Ok(self.track.uncommitted());
            }
        }
    }

    /// Whether [`Self::look`] would find nothing.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.track.is_caught_up()
    }
}

/// A reader that the writer does not wait for.
#[derive(Debug)]
pub(crate) struct CopyReader {
    track: Track,
    /// Shows how far it is, if the queue knows of it.
    member: Option<Member>,
}

impl CopyReader {
    pub(crate) fn new(ring: Ring, member: Option<Member>, begin: Begin) -> Self {
        Self { track: Track::new(ring, begin), member }
    }

    /// A reader that finds nothing where something was overwritten, instead of skipping it: see
    /// [`Self::overtaken_at`].
    pub(crate) fn spilling(mut self) -> Self {
        self.track.spills = true;
        self
    }

    /// Where the next frame was that has been overwritten, and is to be had elsewhere. What was missed
    /// before that is told first.
    pub(crate) fn overtaken_at(&self) -> Option<Place> {
        let track = &self.track;
        let may_be = track.spills && track.missed_from.is_none();
        (may_be && track.position() < track.ring.granted_floor()).then(|| track.place())
    }

    /// Goes elsewhere. The boundary may be overwritten by the time it looks.
    pub(crate) fn move_to(&mut self, place: Place) {
        self.track.move_to(place);
    }

    pub(crate) fn track(&self) -> &Track {
        &self.track
    }

    /// A reader that sees what is durable, and no more.
    pub(crate) fn durable_only(mut self, only: bool) -> Self {
        self.track.durable_only = only;
        self
    }

    /// Shows that everything before the next message has been used.
    #[inline(always)]
    pub(crate) fn release(&mut self) {
        if let Some(member) = &self.member {
            // Relaxed: nobody relies on more than that it is not too high.
            member.cursor().store(self.track.position(), Ordering::Relaxed);
        }
    }

    /// Copies the next message to `buffer`, if it is there and nothing about it is unusual; else
    /// [`Self::look`] tells.
    #[inline(always)]
    pub(crate) fn try_next(&mut self, buffer: &mut Buffer) -> Option<Span> {
        let (span, end) = self.track.run.peek()?;
        let copy = buffer.copy(&self.track.ring, span);
        if self.track.is_overwritten() {
            return None;
        }
        self.track.run.advance(end);
        Some(copy)
    }

    /// Looks at what comes next, whatever it is, and copies it to `buffer` if it is a message.
    #[inline(never)]
    pub(crate) fn look(&mut self, buffer: &mut Buffer) -> Result<Read, Corrupt> {
        if let Some(missed) = self.track.missed() {
            return Ok(missed);
        }
        loop {
            let look = self.track.look();
            if self.track.position() < self.track.floor(look.licence()) {
                // LICENCE: whatever the word is, it is not of this frame.
                if self.track.spills {
                    self.track.ring.check_granted()?;
                    return Ok(Read::Empty);
                }
                if let Some(missed) = self.track.skip()? {
                    return Ok(missed);
                }
                continue;
            }
            if let Some((span, end)) = self.track.step(look)? {
                let copy = buffer.copy(&self.track.ring, span);
                if self.track.is_overwritten() {
                    continue;
                }
                self.track.run.advance(end);
                return Ok(Read::Message(copy));
            }
            if look.is_empty() {
                return Ok(self.track.uncommitted());
            }
        }
    }

    /// Copies to `buffer` what comes next, whole frames of the usual kind, as many as
    /// `count_max`, within `size_max` bytes, and gives the copy to follow; [`Self::pass`] tells how
    /// far that went. It may be empty; [`Self::look`] tells why.
    #[cfg(not(loom))]
    pub(crate) fn try_run(&self, buffer: &mut Buffer, count_max: usize, size_max: usize) -> Run {
        let begin = &self.track.run;
        let mut end = begin.clone();
        for _ in 0..count_max {
            match end.peek() {
                Some((_, after)) if after - begin.offset() <= size_max => end.advance(after),
                _ => break,
            }
        }
        // A word more, for the look at what would come after the last.
        let frames = begin.offset()..end.offset();
        let copy = buffer.copy_frames(&self.track.ring, frames, HEADER_SIZE);
        let end = if self.track.is_overwritten() { begin } else { &end };
        begin.in_copy(copy, end)
    }

    /// Goes on where a run in a copy of what comes next has come to.
    pub(crate) fn pass(&mut self, copy: &Run) {
        self.track.run.go_on(copy);
    }

    /// As if the last look had found the rest of the lap to be the writer's.
    #[cfg(all(test, loom))]
    pub(super) fn trust_the_lap(&mut self) {
        let lap_size = self.track.ring.frames.size();
        self.track.run.limit_to(lap_size);
    }

    /// Whether [`Self::look`] would find nothing.
    pub(crate) fn is_caught_up(&self) -> bool {
        let licence = self.track.ring.licence().load(Ordering::Relaxed);
        self.track.position() >= self.track.floor(licence) && self.track.is_caught_up()
    }
}

/// Where a reader is, and what it knows of what comes next.
#[derive(Debug)]
pub(crate) struct Track {
    /// In the ring, up to the end of the sector.
    run: Run,
    /// The position where the lap began.
    lap: u64,
    ring: Ring,
    /// The sequence that was asked for at the beginning, if it was gone, until that is told.
    missed_from: Option<u64>,
    /// Whether what is not durable is as if it were not there.
    durable_only: bool,
    /// Whether the last batch ended because nothing more was there.
    batch_caught_up: bool,
    /// Whether what is overwritten before it gets there is to be had elsewhere. Then the licence
    /// that was granted counts: see [`Ring::granted_floor`].
    spills: bool,
}

impl Track {
    #[allow(clippy::cast_possible_truncation, reason = "an eighth of the capacity")]
    fn new(ring: Ring, Begin { place, missed_from }: Begin) -> Self {
        let offset = ring.offset(place.position);
        let size_max = ring.geometry().message_size_max() as usize;
        #[allow(clippy::clone_on_copy, reason = "the model checks' regions are no copies")]
        let run = Run::new(ring.frames.clone(), offset, place.sequence, size_max);
        let lap = place.position - offset as u64;
        let (durable_only, spills) = (false, false);
        Self { run, lap, ring, missed_from, durable_only, batch_caught_up: false, spills }
    }

    pub(crate) fn is_durable_only(&self) -> bool {
        self.durable_only
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    #[inline(always)]
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Where the next frame begins.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.lap + self.run.offset() as u64
    }

    pub(crate) fn place(&self) -> Place {
        Place { position: self.position(), sequence: self.run.sequence() }
    }

    fn move_to(&mut self, place: Place) {
        let offset = self.ring.offset(place.position);
        self.lap = place.position - offset as u64;
        self.run.move_to(offset, place.sequence);
    }

    /// The commit word of the next frame, or 0 if it is too early to see it.
    fn word(&self) -> u64 {
        if self.durable_only && self.position() >= self.ring.durable() {
            return 0;
        }
        self.run.word().load(Ordering::Relaxed)
    }

    fn look(&self) -> Look {
        self.ring.look_after(self.place(), self.word())
    }

    /// The payload of the message that was found, and the end of its frame; or nothing. Padding is
    /// passed over.
    #[allow(clippy::cast_possible_truncation, reason = "at most the capacity")]
    fn step(&mut self, look: Look) -> Result<Option<(Span, usize)>, Corrupt> {
        let place = self.place();
        match look.frame()? {
            Frame::Uncommitted => Ok(None),
            Frame::Padding { end } => {
                self.move_to(Place { position: end, ..place });
                Ok(None)
            }
            Frame::Message { shape, end } => {
                // No more than a sector at once: see `HeldReader::has_passed_sector`.
                let mut known_end = look.licence().min(self.ring.sector_end(place.position));
                if self.durable_only {
                    // Of the word behind, nothing is said; nor that the position does not go back.
                    let durable_end = self.ring.durable().saturating_add(HEADER_SIZE as u64);
                    known_end = known_end.min(durable_end.max(place.position + HEADER_SIZE as u64));
                }
                self.run.limit_to((known_end - self.lap) as usize);
                Ok(Some((self.run.learn(shape), (end - self.lap) as usize)))
            }
        }
    }

    /// Whether the writer may have been at the frame since its word was read. Asked after the
    /// payload was copied.
    #[inline(always)]
    fn is_overwritten(&self) -> bool {
        // Acquire: LICENCE.
        fence(Ordering::Acquire);
        self.position() < self.floor(self.ring.licence().load(Ordering::Relaxed))
    }

    /// The position below which frames may be overwritten, given the licence.
    #[inline(always)]
    fn floor(&self, licence: u64) -> u64 {
        if self.spills { self.ring.granted_floor() } else { self.ring.floor(licence) }
    }

    /// What was missed before the beginning, once.
    fn missed(&mut self) -> Option<Read> {
        let from = self.missed_from.take()?;
        Some(Read::Missed { from, to: self.run.sequence() })
    }

    /// Goes on at the oldest boundary that is whole. Nothing is missed if only padding was
    /// overwritten.
    #[cold]
    fn skip(&mut self) -> Result<Option<Read>, Corrupt> {
        let from = self.run.sequence();
        let oldest = self.ring.oldest()?;
        if oldest.sequence < from {
            // Sequences do not go back while positions go on.
            return Err(Corrupt { position: oldest.position, found: oldest.sequence });
        }
        self.move_to(oldest);
        Ok((oldest.sequence > from).then_some(Read::Missed { from, to: oldest.sequence }))
    }

    /// What a boundary without a frame means.
    fn uncommitted(&self) -> Read {
        let end = self.position();
        if self.ring.closed_at() == Some(end) { Read::Closed { end } } else { Read::Empty }
    }

    fn is_caught_up(&self) -> bool {
        self.missed_from.is_none() && self.word() == 0 && self.uncommitted() == Read::Empty
    }
}

/// Where a [`CopyReader`] puts what it copies: aligned to 8, as it was in the ring.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    words: Vec<u64>,
}

impl Buffer {
    #[inline(always)]
    pub(crate) fn base(&self) -> *const u8 {
        self.words.as_ptr().cast()
    }

    #[cfg(all(test, loom))]
    pub(super) fn words(&self, copy: Span) -> &[u64] {
        &self.words[copy.offset / 8..(copy.offset + copy.size) / 8]
    }

    /// The payload of a copy.
    pub(crate) fn payload(&self, copy: Span) -> &[u8] {
        let start = self.base().wrapping_add(copy.offset);
        let within = copy.offset + copy.size <= self.words.len() * 8;
        assert!(within, "a copy of another buffer");
        // SAFETY: as many bytes of the words were filled, and are lent with them.
        unsafe { core::slice::from_raw_parts(start, copy.size) }
    }

    /// The hash of the key in a copy, if the message had one.
    pub(crate) fn key_hash(&self, copy: Span) -> Option<u64> {
        let key = super::ExtensionSet::KEY;
        let word = (copy.offset - copy.extensions.distance(key)) / 8;
        copy.extensions.contains(key).then(|| self.words[word])
    }

    /// Copies a payload and the words before it. They lie within the lap, rounded up to 8: a
    /// reader has found them to be of a frame there.
    #[inline(always)]
    pub(crate) fn copy(&mut self, ring: &Ring, from: Span) -> Span {
        let size = from.extensions_size + from.size;
        self.make_room(size);
        let offset = from.offset - from.extensions_size;
        // SAFETY: the words have room for as much, rounded up to 8; the rest by the caller.
        unsafe { ring.frames.copy_out(offset, self.words.as_mut_ptr().cast(), size) };
        Span { offset: from.extensions_size, ..from }
    }

    /// Copies a payload and the words before it from elsewhere, where a span counts from `base`.
    ///
    /// # Safety
    /// What the span says lies there, rounded up to 8.
    pub(crate) unsafe fn copy_from(&mut self, base: *const u8, from: Span) -> Span {
        let size = (from.extensions_size + from.size).next_multiple_of(8);
        self.make_room(size);
        let start = base.wrapping_add(from.offset - from.extensions_size);
        // SAFETY: the words have room for as much; the rest by the caller.
        unsafe { core::ptr::copy_nonoverlapping(start, self.words.as_mut_ptr().cast(), size) };
        Span { offset: from.extensions_size, ..from }
    }

    /// Copies whole frames, with zeros behind them, as a region that is good until the next copy.
    #[cfg(not(loom))]
    fn copy_frames(
        &mut self,
        ring: &Ring,
        frames: Range<usize>,
        zeros: usize,
    ) -> crate::region::Region {
        let size = frames.len() + zeros;
        self.make_room(size);
        // SAFETY: as above.
        unsafe {
            ring.frames.copy_out(frames.start, self.words.as_mut_ptr().cast(), frames.len());
        }
        self.words[frames.len() / 8..size / 8].fill(0);
        // SAFETY: the words are as many; a run reads them only, and its user gives it up before
        // the next copy.
        unsafe { crate::region::Region::new(self.words.as_mut_ptr().cast(), size) }
    }

    #[inline(always)]
    fn make_room(&mut self, size: usize) {
        if self.words.len() < size.div_ceil(8) {
            self.grow(size.div_ceil(8));
        }
    }

    #[cold]
    fn grow(&mut self, words: usize) {
        #[cfg(not(loom))]
        crate::copy::prepare();
        self.words.resize(words.next_power_of_two(), 0);
    }
}
