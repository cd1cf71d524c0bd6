//! A run of frames: a stretch of them that can be followed without looking at anything else.

use super::frame::{self, ExtensionSet, HEADER_SIZE, Shape};
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering, fence, spin_loop};

/// Follows message frames of the usual kind up to a limit. What it follows may be the ring, or a
/// copy of some of it.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    frames: Region,
    /// Where the next frame begins.
    offset: usize,
    /// A frame that ends at or below this offset is known to lie within the frames.
    limit: usize,
    /// The next frame's.
    sequence: u64,
    /// What the last frame was like: see [`Self::peek`]; and how often that has changed, as far as
    /// it can be counted.
    usual: Usual,
    changes: u32,
    /// The largest size that a payload can have.
    size_max: usize,
}

/// A shape, and what follows from it.
#[derive(Clone, Copy, Debug)]
struct Usual {
    code: u64,
    shape: Shape,
    payload_offset: usize,
    frame_size: usize,
}

impl Usual {
    fn of(shape: Shape) -> Self {
        let code = shape.code();
        let (payload_offset, frame_size) = (shape.payload_offset(), shape.frame_size());
        Self { code, shape, payload_offset, frame_size }
    }

    /// What follows from a code, if a message can have it.
    #[cold]
    fn of_message(code: u64, size_max: usize) -> Option<Self> {
        let shape = Shape::of_message(code)?;
        (shape.size <= size_max).then(|| Self::of(shape))
    }

    /// Where the payload lies if such a frame begins at an offset.
    #[inline(always)]
    fn span_at(&self, offset: usize) -> Span {
        let Shape { extensions, size } = self.shape;
        let extensions_size = self.payload_offset - HEADER_SIZE;
        Span { offset: offset + self.payload_offset, size, extensions, extensions_size }
    }
}

/// Where a payload lies: for a held reader in the ring, for a copying one in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: usize,
    pub(crate) size: usize,
    /// The words before it, and how many bytes they take.
    pub(crate) extensions: ExtensionSet,
    pub(crate) extensions_size: usize,
}

impl Span {
    /// The payload's of a frame that begins at an offset.
    pub(crate) fn of(shape: Shape, offset: usize) -> Self {
        Usual::of(shape).span_at(offset)
    }
}

impl Run {
    /// Nothing can be followed before [`Self::limit_to`].
    pub(super) fn new(frames: Region, offset: usize, sequence: u64, size_max: usize) -> Self {
        Self {
            frames,
            offset,
            limit: 0,
            sequence,
            usual: Usual::of(Shape::default()),
            changes: 0,
            size_max,
        }
    }

    /// The same run, as it lies in a copy of the ring's bytes from `self` to `end`.
    pub(super) fn in_copy(&self, frames: Region, end: &Self) -> Self {
        Self { frames, offset: 0, limit: end.offset - self.offset, ..self.clone() }
    }

    /// Goes as far as a run that began with [`Self::in_copy`] has gone since.
    pub(super) fn go_on(&mut self, copy: &Self) {
        self.offset += copy.offset;
        (self.sequence, self.usual) = (copy.sequence, copy.usual);
    }

    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The sequence of the message that comes next.
    #[inline(always)]
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Where payloads' offsets count from.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn base(&self) -> *const u8 {
        self.frames.address()
    }

    /// Goes elsewhere, with nothing known of what is there.
    pub(super) fn move_to(&mut self, offset: usize, sequence: u64) {
        (self.offset, self.limit, self.sequence) = (offset, 0, sequence);
    }

    /// Nothing can be followed before the next [`Self::limit_to`].
    pub(crate) fn stop(&mut self) {
        self.limit = 0;
    }

    /// The same, of one whose messages are found elsewhere: this one comes next there.
    pub(crate) fn stop_before(&mut self, sequence: u64) {
        (self.limit, self.sequence) = (0, sequence);
    }

    /// Frames, and the word after each, are known to lie within the frames up to `end`.
    pub(super) fn limit_to(&mut self, end: usize) {
        self.limit = end - HEADER_SIZE;
    }

    /// Frames up to `end`, which is the end of one, can be followed.
    pub(super) fn end_at(&mut self, end: usize) {
        self.limit = end;
    }

    /// The payload of the next message and the end of its frame, if it is there and nothing
    /// about it is unusual.
    ///
    /// Where the next frame begins depends on the size of this one, and the processor cannot
    /// begin to fetch it before it has this one's word: one line transfer after the other. So
    /// the size is not computed with but guessed, to be what it was last time. The guess is a
    /// branch, which the processor predicts, and it fetches several frames at once. The same goes
    /// for the extensions.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<(Span, usize)> {
        // Not a `Look`: below the limit neither the licence has to be loaded nor anything but the code
        // compared.
        let word = self.word().load(Ordering::Relaxed);
        // Acquire: PUBLISH.
        fence(Ordering::Acquire);
        let code = word.wrapping_sub(frame::sequence_bits(self.sequence));
        if code != self.usual.code {
            // By values: what others get a reference to cannot stay in registers.
            self.usual = Usual::of_message(code, self.size_max)?;
            self.changes = self.changes.wrapping_add(1);
        }
        let end = self.offset + self.usual.frame_size;
        (end <= self.limit).then_some((self.usual.span_at(self.offset), end))
    }

    /// Goes on behind a message.
    #[inline(always)]
    pub(crate) fn advance(&mut self, end: usize) {
        self.offset = end;
        self.sequence += 1;
    }

    /// [`Self::peek`] and [`Self::advance`].
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Span> {
        let (span, end) = self.peek()?;
        self.advance(end);
        Some(span)
    }

    /// Whether the next frame, if it is like the last, ends beyond the limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.offset + self.usual.frame_size > self.limit
    }

    /// Polls for a frame at the next boundary, so often at most; `true` if there is one. Nothing
    /// else is looked at: this is what a reader does that waits at the writer's heels.
    #[inline]
    pub(crate) fn poll(&self, polls: u32) -> bool {
        (0..polls).any(|_| {
            // Relaxed: the look that follows loads it again.
            let found = self.word().load(Ordering::Relaxed) != 0;
            if !found {
                spin_loop();
            }
            found
        })
    }

    /// Nothing stands at the next frame boundary yet.
    pub(crate) fn is_at_end(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 0
    }

    /// The commit word of the next frame.
    #[inline(always)]
    pub(super) fn word(&self) -> &AtomicU64 {
        // SAFETY: the offset was a frame boundary in the ring, or the end of a frame below the
        // limit: either way there is a word.
        unsafe { self.frames.u64_at(self.offset) }
    }

    /// Where the payload of the next message lies, which was found to have this shape.
    pub(super) fn learn(&mut self, shape: Shape) -> Span {
        self.usual = Usual::of(shape);
        self.changes = self.changes.wrapping_add(1);
        self.usual.span_at(self.offset)
    }

    /// The shape of the frames so far, if they all had the one that was learnt first.
    pub(super) fn only_shape(&self) -> Option<Shape> {
        (self.changes == 1).then_some(self.usual.shape)
    }

    /// [`Self::next`], where the frame is known to be like the last, and within the limit.
    #[inline(always)]
    pub(crate) fn next_known(&mut self) -> Span {
        let span = self.usual.span_at(self.offset);
        self.advance(self.offset + self.usual.frame_size);
        span
    }
}
