//! The historian: copies the stream out of the ring before it is overwritten.
//!
//! There is one at a time, by a lock: a journaler, or the producer when what it is about to
//! overwrite is needed. In a queue with a journal everything is needed, and the files begin where
//! the stream did. In others, only what members that spill have not read: the files begin where
//! the slowest of them is, and are removed once nobody needs them.

use std::sync::Arc;

use super::directory::log_of;
use super::log::{Log, LogWriter};
use crate::error::Error;
use crate::layout::Keeping;
use crate::ring::{Corrupt, Place, Ring};
use crate::segment::{Lock, Segment};

/// Appends to a queue's log.
#[derive(Debug)]
pub(crate) struct Historian {
    segment: Arc<Segment>,
    keeping: Keeping,
    writer: LogWriter,
    /// Of a mapping that outlives this.
    ring: Ring,
    /// Held for as long as this lives.
    lock: Lock,
}

/// What came of an attempt to have the files go further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Done,
    /// The files have reached the size that they may have, and nothing in them can go.
    Full,
}

impl Historian {
    /// `None` while another one lives. The ring's mapping outlives it.
    pub(crate) fn take(segment: &Arc<Segment>, ring: &Ring) -> Result<Option<Self>, Error> {
        let Some(log) = log_of(segment) else { return Ok(None) };
        let lock = segment.lock_file()?;
        if !lock.try_historian()? {
            return Ok(None);
        }
        let keeping = segment.identity().keeping;
        let corrupt = |corrupt| segment.corrupt(corrupt);
        let (from, written) = (ring.written_from(), ring.written());
        let ring_end = ring.end().map_err(corrupt)?;
        if !written.is_multiple_of(8) || written > ring_end.position || from > written {
            return Err(corrupt(Corrupt { position: written, found: from }));
        }
        let end = Place { position: written, sequence: ring.sequence_at(written, ring_end) };
        let writer = if from < written {
            LogWriter::go_on(log, end)?
        } else {
            let mut writer = LogWriter::begin(log, end)?;
            if keeping.journal.is_none() {
                // What lies there is of a queue that was there before.
                writer.restart(end)?;
            }
            writer
        };
        if keeping.journal.is_some() && from < written && writer.has_lost_its_file() {
            return Err(writer.lost());
        }
        let (segment, ring) = (Arc::clone(segment), ring.clone());
        Ok(Some(Self { segment, keeping, writer, ring, lock }))
    }

    /// Has the files go up to the first boundary at or after `until`, as far as somebody needs it.
    pub(crate) fn keep(&mut self, until: u64) -> Result<Kept, Error> {
        let needed = match self.keeping.journal {
            Some(_) => self.ring.written_from(),
            None => match self.ring.lowest_spilling() {
                Some(needed) => needed,
                None => return Ok(Kept::Done),
            },
        };
        if self.keeping.journal.is_none() {
            self.begin_at(needed)?;
        }
        while self.writer.end().position < until {
            let to =
                self.ring.follow(self.writer.end(), until).map_err(|error| self.corrupt(error))?;
            if to == self.writer.end() {
                break;
            }
            let size = to.position - self.writer.end().position;
            if !self.make_space(needed, size)? {
                return Ok(Kept::Full);
            }
            self.writer.append(&self.ring, to)?;
            self.ring.set_written(to.position);
        }
        Ok(Kept::Done)
    }

    /// Removes the files, if nobody needs them.
    pub(crate) fn tidy(&mut self) -> Result<(), Error> {
        let written = self.ring.written();
        let is_needed = self.ring.lowest_spilling().is_some_and(|needed| needed < written);
        if self.keeping.journal.is_none() && self.ring.written_from() < written && !is_needed {
            self.ring.set_written_from(written);
            self.writer.restart(self.writer.end())?;
        }
        Ok(())
    }

    /// Has the files begin at or before what is needed, which is still in the ring if it is not in
    /// the files.
    fn begin_at(&mut self, needed: u64) -> Result<(), Error> {
        let (from, written) = (self.ring.written_from(), self.ring.written());
        let goes_on = self.ring.current_floor() <= written;
        if goes_on && needed <= written && self.ring.is_had_from(needed, from) {
            return Ok(());
        }
        let start = self.ring.sector_start(needed).map_err(|error| self.corrupt(error))?;
        if goes_on && (from..=written).contains(&start.position) {
            return Ok(());
        }
        if goes_on && from < written && start.position < from {
            // Somebody has joined who is behind all others.
            let mut before = LogWriter::begin(self.log().clone(), start)?;
            while before.end().position < from {
                let to =
                    self.ring.follow(before.end(), from).map_err(|error| self.corrupt(error))?;
                before.append(&self.ring, to)?;
            }
        } else {
            // Nobody is in the files, so that the position may go back as well.
            self.writer.restart(start)?;
            self.ring.set_written(start.position);
        }
        self.ring.set_written_from(start.position);
        Ok(())
    }

    /// Whether there is space for so many bytes more, after some have gone that are not needed.
    fn make_space(&mut self, needed: u64, size: u64) -> Result<bool, Error> {
        let limit = self.keeping.size_max;
        let from = self.ring.written_from();
        if needed >= self.log().limit(from) {
            let from = self.writer.remove_below(needed)?;
            self.ring.set_written_from(from);
        }
        while self.writer.size() + size > limit {
            if !self.keeping.drops_oldest {
                return Ok(false);
            }
            let Some(from) = self.writer.remove_oldest()? else { break };
            self.ring.set_written_from(from);
        }
        Ok(true)
    }

    fn log(&self) -> &Log {
        self.writer.log()
    }

    fn corrupt(&self, corrupt: Corrupt) -> Error {
        self.segment.corrupt(corrupt)
    }
}

impl Drop for Historian {
    fn drop(&mut self) {
        // A forked child has a copy of this, but not the lock.
        if self.lock.is_own() {
            let _ = self.tidy();
        }
    }
}
