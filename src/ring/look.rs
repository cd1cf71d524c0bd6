//! A look at a frame boundary, by whoever follows frames one by one.

use super::frame::{self, Frame, Place};
use super::{Corrupt, Ring};
use crate::sync::{Ordering, fence};

/// What stood at a boundary, and how far the writer had asked to write when that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    place: Place,
    word: u64,
    licence: u64,
    capacity: u64,
}

impl Ring {
    /// Looks at a boundary.
    #[inline(always)]
    pub(super) fn look(&self, place: Place) -> Look {
        self.look_after(place, self.frame_word(place.position).load(Ordering::Relaxed))
    }

    /// The same, by one who has loaded the word there.
    #[inline(always)]
    pub(super) fn look_after(&self, place: Place, word: u64) -> Look {
        // Acquire: PUBLISH, and LICENCE.
        fence(Ordering::Acquire);
        let licence = self.licence().load(Ordering::Relaxed);
        Look { place, word, licence, capacity: self.capacity() }
    }

    /// Whether what was just read at a position may have been the writer's already.
    pub(crate) fn is_below_floor(&self, position: u64) -> bool {
        // Acquire: LICENCE.
        fence(Ordering::Acquire);
        position < self.floor(self.licence().load(Ordering::Relaxed))
    }
}

impl Look {
    pub(super) fn licence(&self) -> u64 {
        self.licence
    }

    /// Whether no frame is committed there.
    pub(super) fn is_empty(&self) -> bool {
        self.word == 0
    }

    /// Whether the writer may have been there already: then the word is of any frame.
    #[inline(always)]
    pub(super) fn is_below_floor(&self) -> bool {
        self.place.position < self.licence.saturating_sub(self.capacity)
    }

    /// The frame. Whoever does not hold it has found that it is not below the floor.
    #[inline(always)]
    pub(super) fn frame(&self) -> Result<Frame, Corrupt> {
        frame::parse(self.word, self.place, self.capacity, self.licence)
    }
}
