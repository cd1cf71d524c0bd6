//! What lies before a named subscription and has left the ring.
//!
//! The head of such a subscription, and its shares, are positions like all others, and the files
//! have the stream from the lowest of them on. So a member takes shares there as it does in the
//! ring; only where the frames are read is another place.

use super::directory::log_of;
use super::log::{LogRead, LogReader};
use crate::error::Error;
use crate::layout::SHARE_COUNT_MAX;
use crate::ring::{Buffer, Corrupt, Extent, Lag, Place, Ring, ShareKeys, Span, short_key};
use crate::segment::Segment;

/// A member's way into the files.
#[derive(Debug)]
pub(crate) struct Backlog {
    reader: LogReader,
    ring: Ring,
}

/// What follows a place that has left the ring.
#[derive(Debug)]
pub(crate) enum Stretch {
    /// Messages as a share can take them, and their keys.
    InFiles(Extent, ShareKeys),
    /// The ring has what comes next.
    Present(Place),
}

/// What came of looking for a message of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// It is in the buffer.
    Message(Span),
    /// All messages below a sequence are gone.
    Gone { to: u64 },
}

impl Backlog {
    /// `None` if a subscription that lags so has nothing in the queue's files.
    pub(crate) fn of(segment: &Segment, ring: &Ring, lag: Lag) -> Option<Self> {
        let is_journal = segment.identity().keeping.journal.is_some();
        let log = log_of(segment).filter(|_| lag == Lag::Spill || (lag == Lag::Hold && is_journal));
        Some(Self { reader: LogReader::new(log?, Place::default()), ring: ring.clone() })
    }

    /// There is nothing to be read here for now.
    pub(crate) fn close(&mut self) {
        self.reader.close();
    }

    /// Looks at what a share from a place on would consist of: `count_max` messages at most, no more
    /// than end within a sector; if the first does not, it alone.
    pub(crate) fn survey(&mut self, from: Place, count_max: u32) -> Result<Stretch, Error> {
        let mut keys = ShareKeys::default();
        let mut extent = Extent { missed_from: from.sequence, ..Extent::default() };
        let mut sector_end = u64::MAX;
        self.reader.move_to(from);
        let count_max = count_max.clamp(1, SHARE_COUNT_MAX);
        loop {
            let written = self.ring.written();
            // One more than there may be: it tells where the next share begins.
            let read = match self.reader.next_of(&self.ring, written) {
                // That is for whoever gets there to tell.
                Err(_) if extent.count > 0 => LogRead::Gone,
                read => read?,
            };
            let place = self.reader.place();
            match read {
                LogRead::Message(_) if extent.count == count_max || place.position > sector_end => {
                    return Ok(Stretch::InFiles(extent, keys));
                }
                LogRead::Message(span) => {
                    if extent.count == 0 {
                        extent.begin = self.reader.begin_of(span);
                        sector_end =
                            self.ring.sector_end(extent.begin.position).max(place.position);
                    }
                    let key = self.reader.key_hash(span).map_or(0, short_key);
                    keys[extent.count as usize] = key;
                    extent.count += 1;
                    extent.end = place.position;
                }
                // It may have gone on to where the queue does, after it was made anew.
                LogRead::End if extent.count > 0 => {
                    extent.end = place.position;
                    return Ok(Stretch::InFiles(extent, keys));
                }
                _ if extent.count > 0 => return Ok(Stretch::InFiles(extent, keys)),
                LogRead::Missed { .. } => {}
                LogRead::End | LogRead::Gone if place.position >= self.ring.granted_floor() => {
                    return Ok(Stretch::Present(place));
                }
                // They have grown meanwhile.
                LogRead::End if self.ring.written() > written => {}
                LogRead::End | LogRead::Gone => return Ok(Stretch::Present(self.oldest()?)),
            }
        }
    }

    /// Copies a message of a share whose beginning has left the ring, wherever it is by now.
    pub(crate) fn fetch(
        &mut self,
        extent: &Extent,
        number: u32,
        buffer: &mut Buffer,
    ) -> Result<Fetched, Error> {
        let wanted = extent.begin.sequence + u64::from(number);
        let place = self.reader.place();
        let is_on_the_way = (extent.begin.position..extent.end).contains(&place.position)
            && (extent.begin.sequence..=wanted).contains(&place.sequence);
        if !is_on_the_way {
            self.reader.move_to(extent.begin);
        }
        loop {
            let written = self.ring.written();
            match self.reader.next_of(&self.ring, written)? {
                LogRead::Message(_) if self.reader.place().sequence <= wanted => {}
                LogRead::Message(span) => {
                    return Ok(Fetched::Message(self.reader.copy(span, buffer)));
                }
                LogRead::Missed { to, .. } if to > wanted => return Ok(Fetched::Gone { to }),
                LogRead::Missed { .. } => {}
                LogRead::End => {
                    if let Some(span) = self.copy_present(extent, wanted, buffer)? {
                        return Ok(Fetched::Message(span));
                    }
                    if self.ring.written() <= written {
                        return self.gone(wanted);
                    }
                }
                LogRead::Gone => return self.gone(wanted),
            }
        }
    }

    /// Copies a message that is not in the files yet, of the share that the reader is in; nothing if
    /// it has left the ring.
    fn copy_present(
        &self,
        extent: &Extent,
        sequence: u64,
        buffer: &mut Buffer,
    ) -> Result<Option<Span>, Error> {
        let place = self.reader.place();
        let corrupt =
            || self.reader.corrupt(Corrupt { position: place.position, found: extent.end });
        // Files of somebody's making may lead anywhere.
        let is_within = (extent.begin.position..extent.end).contains(&place.position);
        let number = sequence.checked_sub(place.sequence).filter(|_| is_within);
        let number = number.and_then(|number| u32::try_from(number).ok()).ok_or_else(corrupt)?;
        let here = Extent { begin: place, shape: None, ..*extent };
        let found = self.ring.find_in(&here, number.min(SHARE_COUNT_MAX));
        let copy = found.map(|span| buffer.copy(&self.ring, span));
        if self.ring.has_left(Some(Lag::Spill), place.position) {
            return Ok(None);
        }
        copy.map(Some).ok_or_else(corrupt)
    }

    fn gone(&self, wanted: u64) -> Result<Fetched, Error> {
        Ok(Fetched::Gone { to: self.oldest()?.sequence.max(wanted + 1) })
    }

    fn oldest(&self) -> Result<Place, Error> {
        self.ring.oldest().map_err(|corrupt| self.reader.corrupt(corrupt))
    }
}
