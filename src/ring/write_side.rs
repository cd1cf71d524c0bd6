//! The writer: it reserves room, fills frames, and commits them.
//!
//! Its hot path asks one question about room, whether two such frames end at or below a limit.
//! Everything that happens once a sector hides behind it: the licence, the end of the lap, the
//! sector index.

use std::time::Instant;

use super::bypass::Bypass;
use super::frame::{self, Extensions, HEADER_SIZE, Place, Shape};
use super::{Corrupt, Keeps, Lag, MemberIndex, Ring, SubscriptionIndex, crash_point};
use crate::copy::{self, BLOCKS_MAX, By, FETCHED, FirstLine, LINE, Manner, NextLines};
use crate::layout::{CONTROL, HEADER};
use crate::sync::{Ordering, fence, load_acquire};

/// How the payload of a message is copied that is sent by itself. [`Writer::take_lines`] sees to the next
/// one's lines.
#[inline(always)]
fn alone(long: &Bypass) -> Manner<'_> {
    let (first_line, next_lines) = (FirstLine::Last, NextLines::Leave);
    Manner { by: By::Words, first_line, next_lines, long_past_caches: Some(&long.is_on) }
}

/// How the payloads of a batch are copied.
#[inline(always)]
fn together(by: By) -> Manner<'static> {
    let (first_line, next_lines) = (FirstLine::InTurn, NextLines::Fetch);
    Manner { by, first_line, next_lines, long_past_caches: None }
}

/// The one who appends. Whoever makes one holds the producer's lock.
#[derive(Debug)]
pub(crate) struct Writer {
    head: Head,
    ring: Ring,
    /// The licence that no holding member objected to. At most the ring's licence, which is
    /// raised before the members are asked.
    granted: u64,
    /// The licence that was last asked for.
    wanted: u64,
    /// What the members needed when their lines were last looked at.
    needs: Needs,
    /// What has to be in the files before it is overwritten.
    keeps: Keeps,
    /// In a stream the longest frame whose next one's lines are not worth a fetch; else 0.
    left_alone: usize,
    /// For long payloads.
    long: Bypass,
    /// For batches.
    batches: Bypass,
}

/// The lowest position that somebody held, after so many joins. It only goes up, but by a join.
#[derive(Debug, Default)]
struct Needs {
    joins: u64,
    held_from: u64,
}

/// Where writing goes on, by offsets in the ring: within a lap nothing has to be masked.
#[derive(Clone, Debug)]
struct Head {
    /// Where the next frame begins.
    offset: usize,
    /// A frame that ends at or below this offset needs no asking: it and the word after it are
    /// within the licence granted and within the lap, and no first boundary of a sector passes
    /// unrecorded.
    limit: usize,
    /// The next message's.
    sequence: u64,
    /// The position where the lap began.
    lap: u64,
    /// The end of the last sector whose first boundary is recorded.
    recorded_until: u64,
}

/// A frame that is filled and not yet committed.
#[derive(Clone, Copy, Debug)]
struct Filled {
    offset: usize,
    end: usize,
    word: u64,
}

impl Filled {
    #[inline(always)]
    fn frame_size(self) -> usize {
        self.end - self.offset
    }

    /// Where the next frame ends, if it is as long.
    #[inline(always)]
    fn next_end(self) -> usize {
        self.end + self.frame_size()
    }
}

impl Writer {
    /// Takes over where the last writer stopped, whatever it was doing: the first boundary that
    /// is not committed is the end, and what lies behind it never happened.
    pub(crate) fn recover(ring: Ring) -> Result<Self, Corrupt> {
        let licence = ring.licence().load(Ordering::Relaxed);
        let mut place = ring.newest()?;
        let mut recorded_until = ring.sector_end(place.position);
        loop {
            // No look as a reader's: the kernel stands between the last writer's stores and this.
            let word = ring.frame_word(place.position).load(Ordering::Relaxed);
            let frame = frame::parse(word, place, ring.capacity(), licence)?;
            let Some(next) = frame.next(place) else { break };
            place = next;
            if place.position >= recorded_until {
                ring.record(place);
                recorded_until = ring.sector_end(place.position);
            }
        }
        let offset = ring.offset(place.position);
        let lap = place.position - offset as u64;
        let head = Head { offset, limit: 0, sequence: place.sequence, lap, recorded_until };
        Ok(Self {
            head,
            ring,
            granted: 0,
            wanted: 0,
            needs: Needs::default(),
            keeps: Keeps::Nothing,
            left_alone: 0,
            long: Bypass::new(0),
            batches: Bypass::new(Staging::STRETCH),
        })
    }

    /// The same writer, of a queue that keeps messages on disk.
    pub(crate) fn keeping(self, keeps: Keeps) -> Self {
        Self { keeps, ..self }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Where the next frame will begin, and its sequence.
    pub(crate) fn place(&self) -> Place {
        self.head.place()
    }

    /// The sequence that the next message will have.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.head.sequence
    }

    /// Appends a message, or does nothing if there is no room for it and another like it without
    /// asking: then [`Self::try_append_last`] has a look.
    #[inline(always)]
    pub(crate) fn try_append(&mut self, extensions: Extensions, payload: &[u8]) -> Option<u64> {
        let sequence = self.head.sequence;
        let filled = self.head.fill(&self.ring, extensions, alone(&self.long), payload, 2)?;
        self.ring.commit(filled);
        self.take_lines(filled);
        Some(sequence)
    }

    /// Appends a message, also if there is room for no other like it, or does nothing if there is
    /// none for this one without asking: then [`Self::reserve`] asks.
    pub(crate) fn try_append_last(
        &mut self,
        extensions: Extensions,
        payload: &[u8],
    ) -> Option<u64> {
        let sequence = self.head.sequence;
        let Self { head, ring, long, .. } = self;
        let begun = if payload.len() > BLOCKS_MAX {
            long.step();
            long.begin()
        } else {
            None
        };
        let filled = head.fill(ring, extensions, alone(long), payload, 1)?;
        if let Some(begun) = begun {
            long.learn(begun, payload.len() as u64);
        }
        self.commit_alone(filled);
        Some(sequence)
    }

    /// Where in the ring the payload of the next message will lie, if there is room for one of
    /// this shape without asking. Until [`Self::commit_claim`] nothing has happened.
    #[inline(always)]
    pub(crate) fn try_claim(&self, shape: Shape) -> Option<usize> {
        let Head { offset, limit, .. } = self.head;
        // By itself first: no sum with a size that nothing could hold.
        let fits = shape.size <= limit && offset + shape.frame_size() <= limit;
        fits.then_some(offset + shape.payload_offset())
    }

    /// Commits the message whose payload was written where [`Self::try_claim`] said, for the
    /// same or a larger size.
    #[inline(always)]
    pub(crate) fn commit_claim(&mut self, extensions: Extensions, size: usize) -> u64 {
        let Head { offset, sequence, .. } = self.head;
        let shape = Shape { extensions: extensions.set(), size };
        let end = offset + shape.frame_size();
        assert!(end + HEADER_SIZE <= self.ring.frames.size(), "the claim was within the lap");
        self.ring.extend(offset, extensions);
        let word = frame::message_word(shape, sequence);
        #[cfg(not(loom))]
        if let Some(check) = extensions.check {
            let words = core::iter::once(word).chain(extensions.words());
            let payload = self.ring.payloads().wrapping_add(offset + shape.payload_offset());
            // SAFETY: RESERVE: the claim's bytes, which nobody else reads or writes yet.
            let payload = unsafe { core::slice::from_raw_parts(payload, size) };
            let sum = check.sum(self.place(), words, payload);
            self.ring.set_check(offset, shape, sum);
        }
        self.commit_alone(Filled { offset, end, word });
        self.head.advance(end);
        sequence
    }

    /// Makes a frame visible that is no part of a batch, and takes lines over if there is room for
    /// another like it.
    #[inline(always)]
    fn commit_alone(&self, filled: Filled) {
        self.ring.commit(filled);
        if filled.next_end() <= self.head.limit {
            self.take_lines(filled);
        }
    }

    /// Behind a commit, while nobody who polls waits for it, takes over the lines that the next frame
    /// will be written to if it is as long as this one: it ends within the limit. What has to be had
    /// of them before the next commit delays that message. A store brings them where a fetch does not,
    /// but of longer ones in a stream it would stand in front of the next message's own stores in the
    /// processor's queue (perf-notes.md, "The lines of the next message"). Who sleeps is called
    /// afterwards.
    #[inline(always)]
    fn take_lines(&self, filled: Filled) {
        if filled.frame_size() <= LINE {
            self.ring.take_line(filled.next_end());
        } else if filled.frame_size() <= 2 * LINE {
            // As below, without a loop: so few cost a stream nothing.
            self.ring.take_line(filled.end + LINE);
            self.ring.take_line(filled.next_end());
        } else if filled.frame_size() > self.left_alone {
            self.take_many_lines(filled.end, filled.frame_size());
        }
    }

    /// [`Self::take_lines`] of more than two, behind the one where a frame of this size ends. Apart, so
    /// that short messages keep registers for none of it, and not by a [`Filled`], which would have to
    /// be in memory for it.
    #[inline(never)]
    fn take_many_lines(&self, end: usize, size: usize) {
        /// What is longer is mostly copied by a string instruction, which takes lines over by itself.
        const FRAME_SIZE_MAX: usize = BLOCKS_MAX + LINE;
        if self.left_alone > 0 {
            self.ring.frames.fetch_to_write(end, size - HEADER_SIZE);
        } else if size <= FRAME_SIZE_MAX {
            let lines = (end + LINE..end + size).step_by(LINE);
            lines.for_each(|offset| self.ring.take_line(offset));
            self.ring.take_line(end + size);
        }
    }

    /// Whether messages come as fast as the processor can write them; `false` until this is called.
    /// Copies ask no sooner what the processor can do: that takes as long as a thousand of them, and no
    /// first message waits for it.
    pub(crate) fn set_stream(&mut self, is_stream: bool) {
        #[cfg(not(loom))]
        copy::prepare();
        self.left_alone = if is_stream { *FETCHED.start() } else { 0 };
    }

    /// Makes the next message ask for room, whatever is left without.
    pub(crate) fn forget_room(&mut self) {
        self.head.limit = 0;
    }

    /// Has the next message ask for what was reserved beyond the sector: that was for one of a
    /// size that was checked, which may never come, and others of any size would find it.
    pub(crate) fn confine(&mut self) {
        self.head.confine();
    }

    /// Begins a batch: frames that become visible together.
    pub(crate) fn stage(&self) -> Staging {
        Staging { head: self.head.clone(), first: None, unrecorded: Vec::new(), timed: None }
    }

    /// Has batches go past the caches, whether that pays or not.
    #[cfg(test)]
    pub(crate) fn set_past_caches(&mut self, is_on: bool) {
        self.batches = Bypass::always(is_on);
    }

    /// Makes room for a frame of this shape, so that [`Self::try_append_last`] and
    /// [`Self::try_claim`] succeed; `false` if a holding member still needs what would be
    /// overwritten. The payload's size is at most the geometry's largest.
    pub(crate) fn reserve(&mut self, shape: Shape) -> bool {
        let mut head = self.head.clone();
        let room = self.reserve_at(&mut head, shape, Ring::record);
        self.head = head;
        room
    }

    /// Reserves for another message like the last, if there is room. Behind a commit nobody waits
    /// for that; before one somebody does.
    pub(crate) fn prepare(&mut self, last: Shape) {
        if self.reserve(last) {
            // The last that a sector holds, and the one across its end, are to come here too.
            let fits_until = self.head.recorded_until.saturating_sub(last.frame_size() as u64);
            let nothing_fits = self.place().position + HEADER_SIZE as u64;
            self.head.limit_to(fits_until.max(nothing_fits));
        } else {
            self.wanted = self.granted;
        }
    }

    /// Whether the room is there that [`Self::reserve`] did not find.
    pub(crate) fn has_room(&self) -> bool {
        self.is_kept() && self.is_granted(self.ring.held_from())
    }

    /// Up to where the files have to have the stream for the room that [`Self::reserve`] did not
    /// find, if they have not.
    pub(crate) fn must_keep(&self) -> Option<u64> {
        (!self.is_kept()).then(|| self.ring.floor(self.wanted))
    }

    fn is_kept(&self) -> bool {
        self.ring.is_kept(self.keeps, self.ring.floor(self.wanted))
    }

    /// The members of their own that stand in the way of what was last asked for. Those that spill
    /// do while the files have not what they need.
    pub(crate) fn holding_members(&self) -> impl Iterator<Item = MemberIndex> + '_ {
        self.ring.members_in_need(self.ring.floor(self.wanted), self.stands_in_the_way())
    }

    /// The named subscriptions that do, by their heads or by shares.
    pub(crate) fn holding_subscriptions(&self) -> impl Iterator<Item = SubscriptionIndex> + '_ {
        self.ring.subscriptions_in_need(self.ring.floor(self.wanted), self.stands_in_the_way())
    }

    /// Whether who does that when it lags can be in the way.
    fn stands_in_the_way(&self) -> impl Fn(Lag) -> bool + Copy + use<> {
        let is_kept = self.is_kept();
        move |lag| lag == Lag::Hold || (lag == Lag::Spill && !is_kept)
    }

    /// Ends the stream, until a later writer goes on.
    pub(crate) fn close(&mut self) {
        crash_point();
        let end = self.place().position + 1;
        // Release: CLOSE.
        self.ring.header(HEADER.closed).store(end, Ordering::Release);
    }

    /// Takes back a close.
    pub(crate) fn reopen(&mut self) {
        crash_point();
        // Release: CLOSE. Frames that are committed from now on come after it.
        self.ring.header(HEADER.closed).store(0, Ordering::Release);
    }

    /// [`Self::reserve`] for a head that may be ahead of what is committed; `record` learns of
    /// each first boundary of a sector.
    fn reserve_at(
        &mut self,
        head: &mut Head,
        shape: Shape,
        mut record: impl FnMut(&Ring, Place),
    ) -> bool {
        let frame_size = shape.frame_size();
        let lap_size = self.ring.frames.size();
        let fits_lap = head.offset + frame_size + HEADER_SIZE <= lap_size;
        let begin = if fits_lap { head.offset } else { lap_size };
        let reserved_end = head.lap + (begin + frame_size + HEADER_SIZE) as u64;
        // Also if padding comes there, and before it is known whether there is room: a member that
        // spills may be just here, and the historian goes by the index. What a head comes to has been
        // granted, so the entry that this replaces, of a lap before, is nobody's any more.
        self.record_first(head, &mut record);
        if reserved_end > self.granted && !self.ask(reserved_end) {
            return false;
        }
        if !fits_lap {
            let padding_size = lap_size - head.offset - HEADER_SIZE;
            let word = frame::padding_word(padding_size, head.sequence);
            self.ring.commit(Filled { offset: head.offset, end: 0, word });
            head.lap += lap_size as u64;
            head.offset = 0;
            self.record_first(head, &mut record);
        }
        head.limit = lap_size;
        head.limit_to(head.recorded_until.max(reserved_end));
        true
    }

    /// Has a first boundary of a sector recorded, if that is where a head is.
    fn record_first(&self, head: &mut Head, mut record: impl FnMut(&Ring, Place)) {
        let place = head.place();
        if place.position >= head.recorded_until {
            record(&self.ring, place);
            head.recorded_until = self.ring.sector_end(place.position);
        }
    }

    /// Raises the licence to cover `end`, then asks the holding members whether they mind.
    fn ask(&mut self, end: u64) -> bool {
        self.wanted = end.next_multiple_of(self.ring.geometry().sector_size());
        // First of all: a reader takes what is below the floor to be in the files.
        if !self.is_kept() {
            return false;
        }
        if self.ring.licence().load(Ordering::Relaxed) < self.wanted {
            crash_point();
            // Release: KEEP. LICENCE and JOIN order it by the fence.
            self.ring.licence().store(self.wanted, Ordering::Release);
        }
        // SeqCst: JOIN. It is also LICENCE's release fence.
        fence(Ordering::SeqCst);
        // Once more: a member may have joined meanwhile.
        let granted = self.is_kept() && self.is_granted_by_members();
        if granted {
            self.granted = self.wanted;
            if self.keeps != Keeps::Nothing {
                self.ring.grant(self.wanted);
            }
        }
        granted
    }

    /// Whether no member objects. Their lines are looked at only if what is known of them does not
    /// say so: each look takes a line away from a member at work.
    fn is_granted_by_members(&mut self) -> bool {
        // Acquire: JOIN.
        let joins = load_acquire(self.ring.control(CONTROL.joins));
        if joins != self.needs.joins || !self.is_granted(self.needs.held_from) {
            self.needs = Needs { joins, held_from: self.ring.held_from() };
        }
        self.is_granted(self.needs.held_from)
    }

    fn is_granted(&self, held_from: u64) -> bool {
        self.wanted <= held_from.saturating_add(self.ring.capacity())
    }
}

impl Head {
    fn place(&self) -> Place {
        Place { position: self.lap + self.offset as u64, sequence: self.sequence }
    }

    /// Writes the payload of the next message and goes on behind it, or does nothing if there
    /// is no room for `count` messages like it without asking.
    #[inline(always)]
    fn fill(
        &mut self,
        ring: &Ring,
        extensions: Extensions,
        manner: Manner<'_>,
        payload: &[u8],
        count: usize,
    ) -> Option<Filled> {
        let offset = self.offset;
        let shape = Shape { extensions: extensions.set(), size: payload.len() };
        let end = offset + shape.frame_size();
        // No slice is so long that twice its frame wraps.
        if offset + count * shape.frame_size() > self.limit {
            return None;
        }
        crash_point();
        let payload_offset = offset + shape.payload_offset();
        // SAFETY: RESERVE: the payload ends before `limit`, which is within the lap, and no
        // reader relies on bytes there.
        unsafe { ring.frames.copy_in(manner, payload_offset, payload) };
        // Only now: they lie in the first line, or in the next.
        ring.extend(offset, extensions);
        let word = frame::message_word(shape, self.sequence);
        if let Some(check) = extensions.check {
            let words = core::iter::once(word).chain(extensions.words());
            let sum = check.sum(self.place(), words, payload);
            ring.set_check(offset, shape, sum);
        }
        self.advance(end);
        Some(Filled { offset, end, word })
    }

    /// [`Self::fill`] of a message in a batch, past the caches: all words in order, and the commit word
    /// too unless it is to be withheld.
    #[inline(always)]
    fn fill_past_caches(
        &mut self,
        ring: &Ring,
        extensions: Extensions,
        payload: &[u8],
        withhold: bool,
    ) -> Option<Filled> {
        let offset = self.offset;
        let shape = Shape { extensions: extensions.set(), size: payload.len() };
        let end = offset + shape.frame_size();
        if end > self.limit {
            return None;
        }
        let put = |offset, word| {
            crash_point();
            // SAFETY: RESERVE: the frame ends within the lap, and no reader relies on bytes there.
            unsafe { ring.frames.store_past_caches(offset, word) };
        };
        let word = frame::message_word(shape, self.sequence);
        if !withhold {
            put(offset, word);
        }
        for (index, word) in extensions.words().enumerate() {
            put(offset + (1 + index) * HEADER_SIZE, word);
        }
        let payload_offset = offset + shape.payload_offset();
        if let Some(check) = extensions.check {
            let words = core::iter::once(word).chain(extensions.words());
            put(payload_offset - HEADER_SIZE, check.sum(self.place(), words, payload));
        }
        crash_point();
        // SAFETY: as above.
        unsafe { ring.frames.copy_in_past_caches(payload_offset, payload) };
        self.advance(end);
        Some(Filled { offset, end, word })
    }

    #[inline(always)]
    fn advance(&mut self, end: usize) {
        self.offset = end;
        self.sequence += 1;
    }

    fn confine(&mut self) {
        self.limit_to(self.recorded_until);
    }

    /// Lowers the limit for frames, and the word after them, to end at or below a position. It
    /// is in this lap, or the end of it.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "at most the capacity from the lap's start")]
    fn limit_to(&mut self, position: u64) {
        let end = (position - self.lap) as usize;
        self.limit = self.limit.min(end - HEADER_SIZE);
    }
}

impl Ring {
    /// Writes the extension words of a frame that begins at an offset. It ends within the lap.
    #[inline(always)]
    fn extend(&self, offset: usize, extensions: Extensions) {
        for (index, word) in extensions.words().enumerate() {
            // Relaxed: the frame's commit word carries it.
            self.word_at(offset + (1 + index) * HEADER_SIZE).store(word, Ordering::Relaxed);
        }
    }

    /// Writes the checksum of a frame that begins at an offset.
    #[inline]
    fn set_check(&self, offset: usize, shape: Shape, sum: u64) {
        let before_payload = offset + shape.payload_offset() - HEADER_SIZE;
        // Relaxed: the frame's commit word carries it.
        self.word_at(before_payload).store(sum, Ordering::Relaxed);
    }

    /// Writes the commit word of a frame of a batch, behind the first.
    #[inline(always)]
    fn put_header(&self, Filled { offset, word, .. }: Filled) {
        crash_point();
        // Relaxed: nobody looks here before the first frame is committed.
        self.word_at(offset).store(word, Ordering::Relaxed);
    }

    /// Makes a frame visible.
    #[inline(always)]
    fn commit(&self, Filled { offset, end, word }: Filled) {
        crash_point();
        // Relaxed: AHEAD. The release store below carries it.
        self.word_at(end).store(0, Ordering::Relaxed);
        crash_point();
        // Release: PUBLISH.
        self.word_at(offset).store(word, Ordering::Release);
    }

    /// Has the processor take over the line of an offset that the next frame will reach, which is at
    /// or below the limit.
    #[inline(always)]
    fn take_line(&self, offset: usize) {
        crash_point();
        // Relaxed: RESERVE, and LICENCE for who copies: nobody relies on bytes there, nor on this zero.
        self.word_at(offset).store(0, Ordering::Relaxed);
    }
}

/// The way past the caches. When it is dropped, all that went by it has come to pass: the next who writes
/// there, or commits, may be another thread, for which this processor does not wait.
#[derive(Debug)]
pub(crate) struct PastCaches(());

impl Drop for PastCaches {
    fn drop(&mut self) {
        copy::fence_past_caches();
    }
}

/// A batch that is being written: its frames stand in the ring, the first without its commit
/// word, so that nobody looks further. Dropped or forgotten, it never happened.
#[derive(Debug)]
pub(crate) struct Staging {
    head: Head,
    /// The first frame: its position, and what will be committed there.
    first: Option<(u64, Filled)>,
    /// First boundaries of sectors. They go into the index after the commit: before, they would
    /// lead readers past the first frame.
    unrecorded: Vec<Place>,
    /// When and at which position it was begun to add many, or there was no room the last time, if that
    /// is to be learnt from.
    timed: Option<(Instant, u64)>,
}

impl Staging {
    /// Bytes from which on many together may go past the caches.
    const LARGE: u64 = 1024;
    /// Bytes by which it is found out whether they do.
    const STRETCH: u64 = 64 << 10;

    /// Where the next message will begin, and its sequence.
    pub(crate) fn place(&self) -> Place {
        self.head.place()
    }

    /// Writes the next message, or does nothing if there is no room without asking: then
    /// [`Self::reserve`] asks.
    #[inline(always)]
    pub(crate) fn try_append(
        &mut self,
        writer: &Writer,
        extensions: Extensions,
        payload: &[u8],
    ) -> bool {
        let manner = together(By::Words);
        let Some(filled) = self.head.fill(&writer.ring, extensions, manner, payload, 1) else {
            return false;
        };
        if self.first.is_none() {
            self.withhold(filled);
        } else {
            writer.ring.put_header(filled);
        }
        true
    }

    #[cold]
    fn withhold(&mut self, first: Filled) {
        self.first = Some((self.head.lap + first.offset as u64, first));
    }

    /// Writes messages for as long as there are any and there is room without asking; the first for
    /// which there is none comes back. The head stays in registers meanwhile: from one
    /// [`Self::try_append`] to the next it goes through memory.
    #[inline(always)]
    pub(crate) fn try_append_all<P: AsRef<[u8]>>(
        &mut self,
        writer: &Writer,
        payloads: &mut impl Iterator<Item = P>,
    ) -> Option<P> {
        if self.first.is_none() {
            let payload = payloads.next()?;
            if !self.try_append(writer, Extensions::NONE, payload.as_ref()) {
                return Some(payload);
            }
        }
        // In registers too: a copy might write anywhere, as far as the compiler knows.
        let ring = &writer.ring.clone();
        let mut head = self.head.clone();
        let refused = payloads.find_map(|payload| {
            let manner = together(By::Vectors);
            match head.fill(ring, Extensions::NONE, manner, payload.as_ref(), 1) {
                Some(filled) => {
                    ring.put_header(filled);
                    None
                }
                None => Some(payload),
            }
        });
        self.head = head;
        refused
    }

    /// [`Self::try_append`] past the caches.
    pub(crate) fn try_append_past_caches(
        &mut self,
        writer: &Writer,
        _way: &PastCaches,
        extensions: Extensions,
        payload: &[u8],
    ) -> bool {
        let is_first = self.first.is_none();
        let filled = self.head.fill_past_caches(&writer.ring, extensions, payload, is_first);
        if let Some(filled) = filled.filter(|_| is_first) {
            self.withhold(filled);
        }
        filled.is_some()
    }

    /// Before many are added: the way that they are to go if it is not to the caches.
    #[inline(always)]
    pub(crate) fn begin_many(&mut self, writer: &mut Writer) -> Option<PastCaches> {
        if writer.batches.is_in_question() { self.begin_in_question(writer) } else { None }
    }

    #[cold]
    fn begin_in_question(&mut self, writer: &mut Writer) -> Option<PastCaches> {
        self.timed = writer.batches.begin().map(|begun| (begun, self.place().position));
        writer.batches.is_on.then_some(PastCaches(()))
    }

    /// After that, from a position on: has it be learnt which way others like them are to go.
    #[inline(always)]
    pub(crate) fn end_many(&mut self, writer: &mut Writer, way: Option<PastCaches>, from: u64) {
        if way.is_some() || self.timed.is_some() {
            self.learn_of_many(writer, way, from);
        }
    }

    #[cold]
    fn learn_of_many(&mut self, writer: &mut Writer, way: Option<PastCaches>, from: u64) {
        drop(way);
        let timed = self.timed.take();
        let size_from = |position| self.place().position - position;
        match timed {
            _ if size_from(from) == 0 => {}
            _ if size_from(from) < Self::LARGE => writer.batches.decline(),
            // What came behind the last wait may be too little to tell.
            Some((begun, since)) if size_from(since) >= Self::LARGE => {
                writer.batches.learn(begun, size_from(since));
            }
            _ => writer.batches.keep(),
        }
    }

    /// Whether a message of this shape would leave the batch within `limit` bytes. What is left
    /// of a sector is given out without asking, so a batch may be larger by that.
    pub(crate) fn has_space(&self, shape: Shape, limit: u64) -> bool {
        self.size() + shape.frame_size() as u64 <= limit
    }

    /// Bytes from the first frame to the next.
    fn size(&self) -> u64 {
        self.first.map_or(0, |(begin, _)| self.head.place().position - begin)
    }

    /// As [`Writer::reserve`].
    pub(crate) fn reserve(&mut self, writer: &mut Writer, shape: Shape) -> bool {
        // Once for all sectors of a large batch.
        if self.unrecorded.is_empty() {
            writer.batches.step();
        }
        let room = if self.first.is_some() {
            let Self { head, unrecorded, .. } = self;
            writer.reserve_at(head, shape, |_, place| unrecorded.push(place))
        } else {
            // Nothing is withheld yet: padding becomes visible, and the writer has to know.
            let room = writer.reserve(shape);
            self.head = writer.head.clone();
            writer.confine();
            room
        };
        if !room && self.timed.is_some() {
            self.timed = Some((Instant::now(), self.place().position));
        }
        room
    }

    /// As [`Writer::confine`].
    pub(crate) fn confine(&mut self) {
        self.head.confine();
    }

    /// Makes all messages visible by one store.
    pub(crate) fn commit(self, writer: &mut Writer) {
        if let Some((_, first)) = self.first {
            writer.ring.commit(Filled { end: self.head.offset, ..first });
        }
        for place in self.unrecorded {
            writer.ring.record(place);
        }
        writer.head = self.head;
    }
}
