//! The sector index: for each sixteenth of the ring its first frame boundary, so that somebody
//! who was not there from the start finds a frame to begin with.

use core::ops::Range;

use super::{Corrupt, Place, Ring, crash_point, frame};
use crate::layout::{COUNT_MAX, NO_POSITION, SECTOR_START, SECTORS, in_sector};
use crate::sync::{Ordering, fence, load_acquire, spin_loop};

/// Looks that found no entry are repeated so often while the writer moves on. It takes one
/// preemption in the middle of each to get here, or a hostile writer.
const LOOKS_MAX: u32 = 10_000;
/// A look during which the writer moved on finds whole boundaries, but if it took a lap, perhaps not
/// the first of them. So these looks are repeated. The models need not see that.
const MOVED_LOOKS: Range<u32> = 0..if cfg!(loom) { 0 } else { 8 };

impl Ring {
    /// Records the first frame boundary of its sector. Only the writer calls this, with
    /// everything before the boundary committed.
    pub(super) fn record(&self, place: Place) {
        let sector = self.offset(place.position) / (self.frames.size() / SECTORS);
        let position = self.header(in_sector(sector, SECTOR_START.position));
        crash_point();
        position.store(NO_POSITION, Ordering::Relaxed);
        // Release: INDEX. Whoever sees the new sequence sees that the entry changes.
        fence(Ordering::Release);
        crash_point();
        self.header(in_sector(sector, SECTOR_START.sequence))
            .store(place.sequence, Ordering::Relaxed);
        self.header(in_sector(sector, SECTOR_START.recorded_at))
            .store((self.clock)(), Ordering::Relaxed);
        crash_point();
        // Release: INDEX.
        position.store(place.position, Ordering::Release);
    }

    /// The oldest boundary that is whole.
    pub(crate) fn oldest(&self) -> Result<Place, Corrupt> {
        self.find(|places| places.min_by_key(|place| place.position))
    }

    /// The newest boundary in the index. The end of what is committed is at most a sector and a
    /// batch further.
    pub(crate) fn newest(&self) -> Result<Place, Corrupt> {
        self.find(|places| places.max_by_key(|place| place.position))
    }

    /// The last boundary at or before a sequence, or the oldest there is.
    pub(crate) fn before(&self, sequence: u64) -> Result<Place, Corrupt> {
        self.find(|places| {
            places.reduce(|best, place| {
                let at_or_before = |place: &Place| place.sequence <= sequence;
                match (at_or_before(&best), at_or_before(&place)) {
                    (true, true) if place.position > best.position => place,
                    (false, true) => place,
                    (false, false) if place.position < best.position => place,
                    _ => best,
                }
            })
        })
    }

    /// When the sector of a position was begun, at the latest; `None` if it is not in the index any
    /// more. For display.
    pub(crate) fn recorded_at(&self, position: u64) -> Option<u64> {
        let sector = self.offset(position) / (self.frames.size() / SECTORS);
        let recorded_at =
            self.header(in_sector(sector, SECTOR_START.recorded_at)).load(Ordering::Relaxed);
        let entry = self.entry(sector)?;
        let same_lap = self.sector_end(entry.position) == self.sector_end(position);
        (same_lap && recorded_at > 0).then_some(recorded_at)
    }

    /// The sequence of the frame at a boundary: its commit word has the low bits, and `end` is
    /// less than a ring of frames away. The caller has to find out whether the frame was whole.
    pub(crate) fn sequence_at(&self, position: u64, end: Place) -> u64 {
        if position >= end.position {
            return end.sequence;
        }
        let word = self.frame_word(position & !7).load(Ordering::Relaxed);
        // Acquire: LICENCE, or the caller's second look at a cursor.
        fence(Ordering::Acquire);
        frame::sequence_before(word, end.sequence)
    }

    /// Lets `pick` choose among the entries that are whole now.
    fn find(
        &self,
        pick: impl Fn(&mut dyn Iterator<Item = Place>) -> Option<Place>,
    ) -> Result<Place, Corrupt> {
        let mut last_licence = None;
        for look in 0..LOOKS_MAX {
            // Acquire: LICENCE. The entries are read after it.
            let begun_at = MOVED_LOOKS.contains(&look).then(|| load_acquire(self.licence()));
            let entries: [_; SECTORS] = core::array::from_fn(|sector| self.entry(sector));
            // Acquire: LICENCE. An entry that passes was not below the floor when it was read.
            fence(Ordering::Acquire);
            let licence = self.licence().load(Ordering::Relaxed);
            let floor = self.floor(licence);
            let mut whole = entries
                .into_iter()
                .flatten()
                .filter(|place| (floor..=licence).contains(&place.position));
            if let Some(place) = pick(&mut whole) {
                if begun_at.is_none_or(|begun_at| begun_at == licence) {
                    return Ok(place);
                }
                continue;
            }
            if last_licence == Some(licence) {
                // NEWEST does not hold.
                return Err(Corrupt { position: floor, found: NO_POSITION });
            }
            last_licence = Some(licence);
            spin_loop();
        }
        Err(Corrupt { position: last_licence.unwrap_or(0), found: NO_POSITION })
    }

    pub(super) fn entry(&self, sector: usize) -> Option<Place> {
        let word = self.header(in_sector(sector, SECTOR_START.position));
        // Acquire: INDEX.
        let position = load_acquire(word);
        let sequence =
            self.header(in_sector(sector, SECTOR_START.sequence)).load(Ordering::Relaxed);
        // Acquire: INDEX. A sequence stored later than `position` shows in the second load.
        fence(Ordering::Acquire);
        let unchanged = word.load(Ordering::Relaxed) == position;
        let plausible = position.is_multiple_of(8) && position < COUNT_MAX && sequence < COUNT_MAX;
        (unchanged && plausible).then_some(Place { position, sequence })
    }
}
