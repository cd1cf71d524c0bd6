//! Where a reader begins.

use std::time::SystemTime;

use super::frame::{Frame, Place, Shape};
use super::{ATTEMPTS_MAX, Corrupt, ExtensionSet, Ring};
use crate::sync::Ordering;

/// The first message that a consumer or observer receives.
///
/// ```
/// use ringway::{Queue, QueueOptions, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-start");
/// let queue = Queue::create("doc-start", &QueueOptions::new())?;
/// let mut producer = queue.producer()?;
/// for number in 0..10_u8 {
///     producer.send(&[number])?;
/// }
/// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Last(3)))?;
/// assert_eq!(consumer.receive()?.message().unwrap().payload(), [7]);
/// // As options of programs and configurations say it.
/// assert_eq!("-3".parse(), Ok(Start::Last(3)));
/// assert_eq!(Start::Sequence(17).to_string(), "17");
/// # Queue::force_remove("doc-start")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// The oldest message that is still whole in the ring, or, in a queue with a
    /// [journal](crate::QueueOptions::journal), in its files; a named subscription that holds begins
    /// in the ring.
    Oldest,
    /// The next one to be sent.
    #[default]
    Newest,
    /// The message with this sequence. If it has been overwritten, the first thing received is
    /// `Missed`, and then the oldest there is; if it is further ahead than the next one to be
    /// sent, joining fails.
    Sequence(u64),
    /// So many messages before the next one to be sent, or as many as there are.
    Last(u64),
    /// The first message that was sent at this time or later, by the clock of whoever sent it; one of a
    /// batch when it was pushed. If none was, because the time is still to come say, this is `Newest`, and
    /// what is sent before that time is received too. Where that clock was set back, messages of before it
    /// was may be passed over, as files are told apart by the time at which each begins. Only in a queue
    /// with a [journal](crate::QueueOptions::journal), whose messages have times.
    Time(SystemTime),
}

/// Where a reader begins, and what it has missed by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) place: Place,
    /// The sequence that was asked for, if it is gone.
    pub(crate) missed_from: Option<u64>,
}

/// Why a reader cannot begin there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    Corrupt(Corrupt),
    /// The sequence is not there yet.
    Ahead {
        asked: u64,
        next: u64,
    },
}

impl From<Corrupt> for StartError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// How a walk along the frames ended.
enum Walk {
    /// At the end of what is committed, or at a boundary that was recorded while it went on.
    End(Place),
    /// At the frame that was looked for.
    Found(Place),
    /// The writer overwrote the way.
    Lapped,
}

/// Frames between two looks at the index, by a walk to an end, or beyond it, that may run away from it.
const FRAMES_PER_LOOK: u32 = 1024;

impl Ring {
    /// The end of what is committed at some moment during the call.
    pub(crate) fn end(&self) -> Result<Place, Corrupt> {
        for _ in 0..ATTEMPTS_MAX {
            if let Walk::End(place) = self.walk(self.newest()?, u64::MAX)? {
                return Ok(place);
            }
        }
        Err(self.restless())
    }

    /// Finds where a reader begins that holds nothing: by the time it looks, the frame may be
    /// gone.
    pub(crate) fn begin(&self, start: Start) -> Result<Begin, StartError> {
        for _ in 0..ATTEMPTS_MAX {
            let (origin, target) = self.origin(start)?;
            if let Some(begin) = self.begin_from(origin, start, target)? {
                return Ok(begin);
            }
        }
        Err(self.restless().into())
    }

    /// Finds where somebody begins who holds. `hold` makes known that it holds from a boundary
    /// on, or moves it there, and says from which position on frames are whole; so nothing from
    /// there on is overwritten before the beginning is found.
    pub(crate) fn begin_holding(
        &self,
        start: Start,
        mut hold: impl FnMut(Place) -> u64,
    ) -> Result<Begin, StartError> {
        for _ in 0..ATTEMPTS_MAX {
            let (origin, target) = self.origin(start)?;
            if origin.position < hold(origin) {
                // JOIN: lost the race. A writer that sees the member where it is waits, so that
                // the next attempt or the one after it finds the licence unmoved.
                continue;
            }
            if let Some(begin) = self.begin_from(origin, start, target)? {
                hold(begin.place);
                return Ok(begin);
            }
        }
        Err(self.restless().into())
    }

    /// Where a holder begins that is moved, which has everything from a boundary on kept for it: that may be
    /// below the floor, since the licence is raised before it is granted. Nothing if all of it is above
    /// that, as [`Self::begin`] finds it, or has left the ring.
    pub(crate) fn begin_held(&self, start: Start, held: Place) -> Option<Begin> {
        let oldest = self.oldest().ok()?.sequence;
        let target = match start {
            Start::Newest | Start::Time(_) => return None,
            Start::Oldest => 0,
            Start::Sequence(sequence) => sequence,
            Start::Last(count) => self.end().ok()?.sequence.saturating_sub(count),
        };
        if target.max(held.sequence) >= oldest {
            return None;
        }
        let mut place = held;
        while place.sequence < target {
            place = self.look(place).frame().ok()?.next(place)?;
        }
        let is_gone = matches!(start, Start::Sequence(_)) && target < held.sequence;
        let begin = Begin { place, missed_from: is_gone.then_some(target) };
        (!self.has_left(None, held.position)).then_some(begin)
    }

    /// A boundary in the index from which the start can be reached, and the sequence to go to.
    fn origin(&self, start: Start) -> Result<(Place, u64), StartError> {
        Ok(match start {
            Start::Oldest => {
                let oldest = self.oldest()?;
                (oldest, oldest.sequence)
            }
            // What is sent once others may know that it holds is to be its own, so that it looks for
            // the end before that. Whoever has times looks a sequence up before it gets here.
            Start::Newest | Start::Time(_) => {
                let end = self.end()?;
                (end, end.sequence)
            }
            Start::Sequence(sequence) => (self.before(sequence)?, sequence),
            Start::Last(count) => {
                let sequence = self.end()?.sequence.saturating_sub(count);
                (self.before(sequence)?, sequence)
            }
        })
    }

    fn begin_from(
        &self,
        origin: Place,
        start: Start,
        target: u64,
    ) -> Result<Option<Begin>, StartError> {
        let begin_at = |place| Ok(Some(Begin { place, missed_from: None }));
        if target < origin.sequence {
            let missed_from = matches!(start, Start::Sequence(_)).then_some(target);
            return Ok(Some(Begin { place: origin, missed_from }));
        }
        match self.walk(origin, target)? {
            Walk::Lapped => Ok(None),
            Walk::Found(place) => begin_at(place),
            Walk::End(place) => match start {
                Start::Sequence(sequence) if sequence > place.sequence => {
                    Err(StartError::Ahead { asked: sequence, next: place.sequence })
                }
                _ => begin_at(place),
            },
        }
    }

    /// The sequence of the first message from a boundary on that was sent at a time, in nanoseconds
    /// since 1970, or later; the next one's if there is none. Nothing if the writer overwrote the
    /// way.
    pub(crate) fn sequence_since(&self, from: Place, time: u64) -> Result<Option<u64>, Corrupt> {
        let mut place = from;
        loop {
            let look = self.look(place);
            if look.is_below_floor() {
                return Ok(None);
            }
            let frame = look.frame()?;
            if let Frame::Message { shape, .. } = frame
                && self.sent_at(place, shape).is_some_and(|sent_at| sent_at >= time)
            {
                let whole = !self.is_below_floor(place.position);
                return Ok(whole.then_some(place.sequence));
            }
            let Some(next) = frame.next(place) else { return Ok(Some(place.sequence)) };
            place = next;
        }
    }

    /// Where the message begins that comes so many after a boundary, and when it was sent, in
    /// nanoseconds since 1970, if it says so. Nothing if there is none, or the writer overwrote the
    /// way. For display.
    pub(crate) fn message_after(&self, from: Place, count: u32) -> Option<(Place, Option<u64>)> {
        if !from.is_possible() {
            return None;
        }
        let target = from.sequence + u64::from(count);
        let mut place = from;
        loop {
            let look = self.look(place);
            if look.is_below_floor() {
                return None;
            }
            let frame = look.frame().ok()?;
            if let Frame::Message { shape, .. } = frame
                && place.sequence == target
            {
                let sent_at = self.sent_at(place, shape);
                return (!self.is_below_floor(place.position)).then_some((place, sent_at));
            }
            place = frame.next(place)?;
        }
    }

    /// When a message was sent, if it says so; whether it was whole is to be found out afterwards.
    fn sent_at(&self, place: Place, shape: Shape) -> Option<u64> {
        let distance = shape.extensions.distance(ExtensionSet::TIME);
        let at = place.position + (shape.payload_offset() - distance) as u64;
        let has_time = shape.extensions.contains(ExtensionSet::TIME);
        has_time.then(|| self.frame_word(at).load(Ordering::Relaxed))
    }

    /// The writer was faster each time, as no writer of frames can be.
    pub(super) fn restless(&self) -> Corrupt {
        let licence = self.licence().load(Ordering::Relaxed);
        Corrupt { position: self.floor(licence), found: licence }
    }

    /// Follows the frames to the one with the sequence `target`, or to the end.
    fn walk(&self, from: Place, target: u64) -> Result<Walk, Corrupt> {
        let mut place = from;
        let mut frames = 0_u32;
        loop {
            if place.sequence == target {
                return Ok(Walk::Found(place));
            }
            let look = self.look(place);
            if look.is_below_floor() {
                return Ok(Walk::Lapped);
            }
            let Some(next) = look.frame()?.next(place) else { return Ok(Walk::End(place)) };
            place = next;
            frames = frames.wrapping_add(1);
            if frames.is_multiple_of(FRAMES_PER_LOOK) {
                // What is in the index now and was not at the start was the end meanwhile.
                let newest = self.newest()?;
                if newest.position > place.position && newest.sequence <= target {
                    return Ok(Walk::End(newest));
                }
            }
        }
    }
}
