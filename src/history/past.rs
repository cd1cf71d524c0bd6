//! Reading what is not in the ring any more.

use std::time::SystemTime;

use super::directory::log_of;
use super::log::{LogRead, LogReader};
use crate::error::Error;
use crate::layout::time;
use crate::ring::{MemberIndex, Place, Ring, Span, Start};
use crate::segment::Segment;

/// A reader's way through the files, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Past {
    reader: LogReader,
    is_entered: bool,
    /// The member that holds the producer once it is back, if it is of that kind.
    holder: Option<MemberIndex>,
    /// Whether what is not durable is as if it were not there.
    durable_only: bool,
    /// The sequence that was asked for at the beginning, if it was gone, until that is told.
    missed_from: Option<u64>,
}

/// What somebody begins with who may have said a time: a sequence instead of that.
pub(crate) fn resolve(segment: &Segment, ring: &Ring, start: Start) -> Result<Start, Error> {
    let Start::Time(time) = start else { return Ok(start) };
    match Past::of(segment, None).filter(|_| segment.identity().keeping.journal.is_some()) {
        Some(mut past) => past.sequence_since(time, ring).map(Start::Sequence),
        None => Err(Error::NoJournal { queue: segment.name().into() }),
    }
}

/// What a look at the past came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PastRead {
    /// A message; the span counts from [`Past::base`].
    Message(Span),
    /// The messages `from..to` are gone.
    Missed { from: u64, to: u64 },
    /// The ring has what comes next.
    Present(Place),
    /// It is there, but not durable yet, and nothing else will do.
    NotYet,
    /// Neither the files nor the ring have it.
    Gone,
}

impl Past {
    /// `None` if the queue has no history directory.
    pub(crate) fn of(segment: &Segment, holder: Option<MemberIndex>) -> Option<Self> {
        let reader = LogReader::new(log_of(segment)?, Place::default());
        Some(Self { reader, is_entered: false, holder, durable_only: false, missed_from: None })
    }

    pub(crate) fn durable_only(self, only: bool) -> Self {
        Self { durable_only: only, ..self }
    }

    pub(crate) fn holder(&self) -> Option<MemberIndex> {
        self.holder
    }

    pub(crate) fn enter(&mut self, place: Place) {
        self.reader.move_to(place);
        self.is_entered = true;
    }

    pub(crate) fn leave(&mut self) {
        self.is_entered = false;
        self.reader.close();
    }

    pub(crate) fn is_entered(&self) -> bool {
        self.is_entered
    }

    /// The boundary that comes next.
    pub(crate) fn place(&self) -> Place {
        self.reader.place()
    }

    /// Where spans count from, until the next read.
    pub(crate) fn base(&self) -> *const u8 {
        self.reader.base()
    }

    /// What comes next. Where the files end, the ring goes on: they are ahead of the floor.
    pub(crate) fn read(&mut self, ring: &Ring) -> Result<PastRead, Error> {
        loop {
            let end = self.end(ring);
            match self.reader.next_of(ring, end)? {
                LogRead::Message(span) => return Ok(PastRead::Message(span)),
                LogRead::Missed { from, to } => return Ok(PastRead::Missed { from, to }),
                // Also if somebody has taken the file away that had it too.
                LogRead::End | LogRead::Gone if self.place().position >= ring.granted_floor() => {
                    return Ok(PastRead::Present(self.place()));
                }
                // They have grown meanwhile.
                LogRead::End if self.end(ring) > end => {}
                LogRead::End if self.durable_only => return Ok(PastRead::NotYet),
                LogRead::End | LogRead::Gone => return Ok(PastRead::Gone),
            }
        }
    }

    /// Whether [`Self::read`] would say that it is not there yet.
    pub(crate) fn is_at_end(&self, ring: &Ring) -> bool {
        let position = self.place().position;
        position >= self.end(ring) && position < ring.granted_floor()
    }

    fn end(&self, ring: &Ring) -> u64 {
        let written = ring.written();
        if self.durable_only { written.min(ring.durable()) } else { written }
    }

    /// Where the message begins that comes so many after a boundary which has left the ring, and when it was
    /// sent, in nanoseconds since 1970, if it says so. Nothing if the files do not tell. For display.
    pub(crate) fn message_after(
        &mut self,
        from: Place,
        count: u32,
        ring: &Ring,
    ) -> Option<(Place, Option<u64>)> {
        if !from.is_possible() {
            return None;
        }
        let target = from.sequence + u64::from(count);
        self.reader.move_to(from);
        loop {
            match self.reader.next_of(ring, ring.written()).ok()? {
                LogRead::Message(span) if self.place().sequence > target => {
                    return Some((self.reader.begin_of(span), self.reader.time(span)));
                }
                LogRead::Message(_) | LogRead::Missed { .. } => {}
                LogRead::End | LogRead::Gone => return None,
            }
        }
    }

    /// What was missed before the beginning, once.
    pub(crate) fn missed(&mut self) -> Option<(u64, u64)> {
        let from = self.missed_from.take()?;
        Some((from, self.place().sequence))
    }

    /// Enters the files where a reader of a journal begins, if that is not in the ring any more.
    pub(crate) fn begin(&mut self, start: Start, ring: &Ring) -> Result<(), Error> {
        let corrupt = |corrupt| self.reader.corrupt(corrupt);
        let oldest = ring.oldest().map_err(corrupt)?;
        let target = match start {
            Start::Newest | Start::Time(_) => return Ok(()),
            Start::Oldest => 0,
            Start::Sequence(sequence) => sequence,
            Start::Last(count) => ring.end().map_err(corrupt)?.sequence.saturating_sub(count),
        };
        if target >= oldest.sequence {
            return Ok(());
        }
        let written = ring.written();
        let first = self.reader.go_to_file(|header| header.begin.sequence <= target)?;
        if first.is_none_or(|first| first.sequence > target) {
            self.reader.check_first(first, ring, written)?;
        }
        let Some(first) = first else { return Ok(()) };
        if first.position >= oldest.position {
            return Ok(());
        }
        while self.place().sequence < target {
            match self.reader.next_of(ring, ring.written()) {
                Ok(LogRead::Message(_) | LogRead::Missed { .. }) => {}
                Ok(LogRead::End | LogRead::Gone) => return Ok(()),
                // Nobody wants what is damaged.
                Err(Error::LogDamaged { .. }) if self.reader.resume(target)? => {}
                Err(error) => return Err(error),
            }
        }
        self.is_entered = true;
        // It may have been before the first file, or between two.
        let is_gone = matches!(start, Start::Sequence(_)) && self.place().sequence > target;
        self.missed_from = is_gone.then_some(target);
        Ok(())
    }

    /// The sequence of the first message that was sent at a time or later, or the next one's.
    fn sequence_since(&mut self, time: SystemTime, ring: &Ring) -> Result<u64, Error> {
        const ATTEMPTS_MAX: u32 = 100;
        let time = time::since_1970(time);
        let (written, mut is_before) = (ring.written(), false);
        let first = self.reader.go_to_file(|header| {
            is_before = header.time <= time;
            is_before
        })?;
        if !is_before {
            self.reader.check_first(first, ring, written)?;
        }
        if first.is_some() {
            loop {
                match self.reader.next_of(ring, ring.written())? {
                    LogRead::Message(span) => {
                        if self.reader.time(span).is_some_and(|found| found >= time) {
                            return Ok(self.place().sequence - 1);
                        }
                    }
                    LogRead::Missed { .. } => {}
                    LogRead::End | LogRead::Gone => break,
                }
            }
        }
        let in_files = self.place();
        for _ in 0..ATTEMPTS_MAX {
            let oldest = ring.oldest().map_err(|corrupt| self.reader.corrupt(corrupt))?;
            let from = if oldest.position > in_files.position { oldest } else { in_files };
            let found = ring.sequence_since(from, time);
            if let Some(found) = found.map_err(|corrupt| self.reader.corrupt(corrupt))? {
                return Ok(found);
            }
        }
        Ok(ring.end().map_err(|corrupt| self.reader.corrupt(corrupt))?.sequence)
    }
}
