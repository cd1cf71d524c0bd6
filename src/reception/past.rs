//! Going on in the history with what has left the ring, and coming back from there.

use super::{AnyReader, Reception};
use crate::calls::call_producer;
use crate::error::Error;
use crate::history::PastRead;
use crate::ring::{Lag, Place, Read, Start};

/// Who comes back to the ring from the files holds by the second attempt, unless words are damaged.
const RACES_LOST_MAX: u32 = 100;

impl Reception {
    /// Where one who spills goes on, if that has left the ring, and nobody has looked for it in the
    /// files yet.
    pub(super) fn overtaken_at(&self) -> Option<Place> {
        let looks_there = self.past.as_ref().is_some_and(|past| past.is_entered());
        match &*self.reader {
            AnyReader::Copied(reader) if !looks_there => reader.overtaken_at(),
            _ => None,
        }
    }

    /// What comes next, if it has left the ring and is to be had all the same.
    pub(super) fn look_at_past(&mut self) -> Result<Option<Read>, Error> {
        let overtaken_at = self.overtaken_at();
        let Some(past) = &mut self.past else { return Ok(None) };
        if let Some((from, to)) = past.missed() {
            return Ok(Some(Read::Missed { from, to }));
        }
        if let Some(place) = overtaken_at {
            past.enter(place);
        }
        let corrupt = |corrupt| self.segment.corrupt(corrupt);
        let ring = self.reader.ring().clone();
        let mut lost = 0;
        while past.is_entered() {
            let read = past.read(&ring)?;
            self.reader.move_to(past.place());
            match read {
                PastRead::Message(span) => return Ok(Some(Read::Message(span))),
                PastRead::Missed { from, to } => return Ok(Some(Read::Missed { from, to })),
                PastRead::NotYet => return Ok(Some(Read::Empty)),
                PastRead::Present(place) => {
                    let join = |index| ring.join(index, Lag::Hold, place.position);
                    let floor = past.holder().map_or(0, join);
                    if floor <= place.position {
                        past.leave();
                    } else if let Some(index) = past.holder() {
                        // Lost the race of JOIN: the files have more by now.
                        ring.join(index, Lag::Skip, place.position);
                        // A producer that found it in the way meanwhile has room.
                        call_producer(&ring);
                        lost += 1;
                        if lost > RACES_LOST_MAX {
                            return Ok(Some(Read::Empty));
                        }
                    }
                }
                PastRead::Gone => {
                    let from = past.place().sequence;
                    let begin = match past.holder() {
                        None => ring.oldest().map_err(corrupt)?,
                        Some(index) => {
                            let join = |place: Place| ring.join(index, Lag::Hold, place.position);
                            let begin = ring.begin_holding(Start::Oldest, join);
                            // As above: it may have been in the way further back.
                            call_producer(&ring);
                            begin.map_err(|error| self.segment.start_error(error))?.place
                        }
                    };
                    past.leave();
                    self.reader.move_to(begin);
                    if from < begin.sequence {
                        return Ok(Some(Read::Missed { from, to: begin.sequence }));
                    }
                }
            }
        }
        Ok(None)
    }
}
