//! Reading what is not in the ring any more.

use super::directory::log_of;
use super::log::{LogRead, LogReader};
use crate::error::Error;
use crate::ring::{MemberIndex, Place, Ring, Span};
use crate::segment::Segment;

/// A reader's way through the files, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Past {
    reader: LogReader,
    is_entered: bool,
    /// The member that holds the producer once it is back, if it is of that kind.
    holder: Option<MemberIndex>,
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
    /// Neither the files nor the ring have it.
    Gone,
}

impl Past {
    /// `None` if the queue has no history directory.
    pub(crate) fn of(segment: &Segment, holder: Option<MemberIndex>) -> Option<Self> {
        let reader = LogReader::new(log_of(segment)?, Place::default());
        Some(Self { reader, is_entered: false, holder })
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
            let end = ring.written();
            match self.reader.next(end)? {
                LogRead::Message(span) => return Ok(PastRead::Message(span)),
                LogRead::Missed { from, to } => return Ok(PastRead::Missed { from, to }),
                LogRead::Gone => return Ok(PastRead::Gone),
                LogRead::End if self.place().position >= ring.current_floor() => {
                    return Ok(PastRead::Present(self.place()));
                }
                // They have grown meanwhile.
                LogRead::End if ring.written() > end => {}
                LogRead::End => return Ok(PastRead::Gone),
            }
        }
    }
}
