//! A run of frames: a stretch of them that can be followed without looking at anything else.

use super::frame::{self, HEADER_SIZE};
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
    /// The size of the last payload, and of its frame: see [`Self::peek`].
    usual_size: usize,
    usual_frame_size: usize,
    /// The largest size that a payload can have.
    size_max: usize,
}

/// Where a payload lies: for a held reader in the ring, for a copying one in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

impl Run {
    /// Nothing can be followed before [`Self::limit_to`].
    pub(super) fn new(frames: Region, offset: usize, sequence: u64, size_max: usize) -> Self {
        let usual_frame_size = frame::message_frame_size(0);
        Self { frames, offset, limit: 0, sequence, usual_size: 0, usual_frame_size, size_max }
    }

    /// The same run, as it lies in a copy of the ring's bytes from `self` to `end`.
    #[cfg(not(loom))]
    pub(super) fn in_copy(&self, frames: Region, end: &Self) -> Self {
        Self { frames, offset: 0, limit: end.offset - self.offset, ..self.clone() }
    }

    /// Goes as far as a run that began with [`Self::in_copy`] has gone since.
    #[cfg(not(loom))]
    pub(super) fn go_on(&mut self, copy: &Self) {
        let Self { offset, sequence, usual_size, usual_frame_size, .. } = *copy;
        *self =
            Self { offset: self.offset + offset, sequence, usual_size, usual_frame_size, ..*self };
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
    pub(super) fn stop(&mut self) {
        self.limit = 0;
    }

    /// Frames, and the word after each, are known to lie within the frames up to `end`.
    pub(super) fn limit_to(&mut self, end: usize) {
        self.limit = end - HEADER_SIZE;
    }

    /// The payload of the next message and the end of its frame, if it is there and nothing
    /// about it is unusual.
    ///
    /// Where the next frame begins depends on the size of this one, and the processor cannot
    /// begin to fetch it before it has this one's word: one line transfer after the other. So
    /// the size is not computed with but guessed, to be what it was last time. The guess is a
    /// branch, which the processor predicts, and it fetches several frames at once.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<(Span, usize)> {
        let word = self.word().load(Ordering::Relaxed);
        // Acquire: PUBLISH.
        fence(Ordering::Acquire);
        let size = word.wrapping_sub(frame::message_base(self.sequence));
        if size != self.usual_size as u64 && !self.is_message_size(size) {
            return None;
        }
        let end = self.offset + self.usual_frame_size;
        let span = Span { offset: self.offset + HEADER_SIZE, size: self.usual_size };
        (end <= self.limit).then_some((span, end))
    }

    /// Goes on behind a message.
    #[inline(always)]
    pub(super) fn advance(&mut self, end: usize) {
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

    /// Whether the next frame, if it is of the usual size, ends beyond the limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.offset + self.usual_frame_size > self.limit
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

    /// The commit word of the next frame.
    #[inline(always)]
    pub(super) fn word(&self) -> &AtomicU64 {
        // SAFETY: the offset was a frame boundary in the ring, or the end of a frame below the
        // limit: either way there is a word.
        unsafe { self.frames.u64_at(self.offset) }
    }

    /// Makes `size` the usual one, if a payload can have it.
    #[cold]
    #[allow(clippy::cast_possible_truncation, reason = "at most an eighth of the capacity")]
    fn is_message_size(&mut self, size: u64) -> bool {
        let possible = size <= self.size_max as u64;
        if possible {
            self.usual_size = size as usize;
            self.usual_frame_size = frame::message_frame_size(size as usize);
        }
        possible
    }
}
