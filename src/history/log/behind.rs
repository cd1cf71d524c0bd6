//! Finding whole messages behind what is not: each frame of a journal has a checksum of its position and
//! its sequence, so that one is known wherever it stands.

use super::read::LogReader;
use super::{HEADER_SIZE, Log};
use crate::error::Error;
use crate::ring::frame::{self, Frame};
use crate::ring::{Place, Shape};

/// How often each word may be looked at on average, as part of what may be a message and is none. Bytes
/// of no meaning look like one once in hundreds of thousands of words.
const CANDIDATES_SIZE_MAX: usize = 64;
/// Bytes that are looked at first, and how many times more with each further look.
const WINDOW_SIZE: u64 = 64 << 10;
const WINDOW_GROWTH: u64 = 4;

/// What stands behind a boundary where no whole message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    /// The first whole message.
    Message(Place),
    /// So many words that look like frames as only somebody's hand can make.
    TooMuch,
}

impl Log {
    /// Finds the first whole message of this log behind a boundary, where these words begin.
    #[allow(clippy::cast_possible_truncation, reason = "at most a message, and usize is 64 bits")]
    pub(super) fn behind(&self, words: &[u64], capacity: u64, place: Place) -> Behind {
        let Some(check) = self.check else { return Behind::Nothing };
        let mut patience = CANDIDATES_SIZE_MAX * words.len();
        for index in 1..words.len() {
            let position = place.position + 8 * index as u64;
            let sequence = frame::sequence_after(words[index], place.sequence);
            let found = Place { position, sequence };
            let Ok(Frame::Message { end, .. }) =
                frame::parse(words[index], found, capacity, u64::MAX)
            else {
                continue;
            };
            let size = ((end - position) / 8) as usize;
            let shape = Shape::of_code(words[index]);
            let Some(words) = words.get(index..index + size) else { continue };
            let Some(left) = patience.checked_sub(size) else { return Behind::TooMuch };
            patience = left;
            if check.is_right(shape, found, words) {
                return Behind::Message(found);
            }
        }
        Behind::Nothing
    }
}

impl LogReader {
    /// Goes on behind what is damaged: at the next whole message in that file, if its sequence is
    /// `sequence_max` at most. `false` if there is none.
    pub(crate) fn resume(&mut self, sequence_max: u64) -> Result<bool, Error> {
        let Some((open, path, base, limit, capacity)) = self.opened() else { return Ok(false) };
        let place = self.place();
        let failed = |error| self.log.failed("examine", path, error);
        let size = open.metadata().map_err(failed)?.len().min(limit - base + HEADER_SIZE);
        let offset = place.position - base + HEADER_SIZE;
        let mut window = WINDOW_SIZE;
        let found = loop {
            let end = size.min(offset + window);
            let words = self.log.read_rest(open, path, offset.min(end), end)?;
            match self.log.behind(&words, capacity, place) {
                Behind::Nothing if end < size => window *= WINDOW_GROWTH,
                found => break found,
            }
        };
        match found {
            Behind::Message(found) if found.sequence <= sequence_max => {
                self.move_to(found);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
