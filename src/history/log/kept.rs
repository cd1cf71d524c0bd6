//! Reading a log whose queue says what is in it.
//!
//! The header has from where on and up to where the files have the stream. So what is not in them was
//! either taken away by whoever had said so before, and is missed, or is somewhere else for now: a disk
//! that is not mounted, a directory that somebody has renamed. Then it is an error, and nobody goes on
//! behind it.

use std::io;

use super::{Log, LogRead, LogReader};
use crate::error::Error;
use crate::history::directory::{is_succeeded, pruned_until};
use crate::ring::{Place, Ring};

/// How often the header may say meanwhile that the files begin further on.
const ATTEMPTS_MAX: u32 = 100;

impl LogReader {
    /// [`Self::next`], of the queue that this ring is of: that something is not there which has to be is
    /// an error, and the place stays what it was.
    pub(crate) fn next_of(&mut self, ring: &Ring, end: u64) -> Result<LogRead, Error> {
        let before = self.place();
        for _ in 0..ATTEMPTS_MAX {
            let read = match self.next(end) {
                // The files that come are of the queue that was made since.
                Err(Error::ForeignHistory { .. }) if is_succeeded(&self.log) => LogRead::Gone,
                read => read?,
            };
            let to = match read {
                LogRead::Message(_) | LogRead::End => return Ok(read),
                LogRead::Missed { .. } => Some(self.place().position),
                LogRead::Gone => None,
            };
            if before.position >= ring.granted_floor() {
                // The ring has it still.
                self.go_back(before);
                return Ok(LogRead::Gone);
            }
            // Only now: whoever takes a file away has said so before.
            let (from, written) = (ring.written_from(), ring.written());
            let is_told = match to {
                Some(to) => to <= from || self.may_have_gap(before, to)?,
                None => from.max(before.position) >= written,
            };
            let begins_later = to.is_none() && before.position < from;
            // Whoever has the files now removes what it does not need.
            if is_told || !begins_later && is_succeeded(&self.log) {
                return Ok(read);
            }
            self.go_back(before);
            if !begins_later {
                break;
            }
        }
        if is_succeeded(&self.log) { Ok(LogRead::Gone) } else { Err(self.log.absent()) }
    }

    /// Insists that the files begin where the queue says, for who begins with the first of them that was
    /// found, if any was: after the queue had said that they go up to `written`.
    pub(crate) fn check_first(
        &self,
        first: Option<Place>,
        ring: &Ring,
        written: u64,
    ) -> Result<(), Error> {
        let from = ring.written_from();
        let first = first.map_or(written, |first| first.position);
        let is_told = first <= from
            || from >= written
            || first <= pruned_until(&self.log)
            || is_succeeded(&self.log);
        if is_told { Ok(()) } else { Err(self.log.absent()) }
    }

    /// Whether what is missing between two boundaries may have been taken away when the queue was not
    /// there, or by somebody who could not tell it.
    fn may_have_gap(&self, before: Place, to: u64) -> Result<bool, Error> {
        let has_beginning = self.log.files()?.first().is_some_and(|it| it.base <= before.position);
        // A repair cuts files off, and puts some aside.
        Ok(has_beginning && to <= self.log.resumed_at.position || to <= pruned_until(&self.log))
    }

    fn go_back(&mut self, place: Place) {
        self.close();
        self.move_to(place);
    }
}

impl Log {
    /// An error about files that are not where the queue has them.
    pub(crate) fn absent(&self) -> Error {
        let what = "some that the queue has written are not there; bring them back, or make the queue anew from what is left";
        let source = io::Error::new(io::ErrorKind::NotFound, what);
        self.failed("find all files in", &self.directory, source)
    }
}
