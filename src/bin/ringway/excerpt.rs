//! A part of a journal as it lies on disk.

use std::path::Path;
use std::time::SystemTime;

use ringway::{Archive, ArchivedMessage, ArchivedMessages, Error};

use crate::args::Extent;
use crate::failure::Failure;
use crate::options::{Beginning, Mark};

/// Opens the journal of a history directory.
pub fn open(directory: &Path) -> Result<Archive, Failure> {
    Archive::open(directory).map_err(|error| match error {
        Error::File { .. } => Failure::NoHistory { error, directory: directory.into() },
        error => error.into(),
    })
}

/// The sequence that comes next in a journal.
fn end_of(archive: &Archive) -> Result<u64, Failure> {
    let Some(last) = archive.files()?.pop() else { return Ok(0) };
    let mut next = last.first_sequence;
    for message in archive.messages(next)? {
        next = message?.sequence + 1;
    }
    Ok(next)
}

/// Whether a journal goes as far as to where it is to be read from: up to what comes next.
fn check_begun(archive: &Archive, asked: u64) -> Result<(), Failure> {
    if archive.messages(asked)?.next().is_some() {
        return Ok(());
    }
    let next = end_of(archive)?;
    let directory = archive.directory().into();
    if asked > next { Err(Failure::BeyondEnd { directory, asked, next }) } else { Ok(()) }
}

/// The messages of a journal from one mark to another, in order, and what is missing there.
#[derive(Debug)]
pub struct Excerpt {
    messages: ArchivedMessages,
    /// The time that messages are passed over before.
    from: Option<SystemTime>,
    to: Option<Mark>,
    /// The sequence that is due, if one is.
    next: Option<u64>,
    /// What came instead of that.
    found: Option<ArchivedMessage>,
}

/// What comes next.
#[derive(Debug)]
pub enum Part {
    Message(ArchivedMessage),
    /// The messages `from..to` are not there.
    Missed {
        from: u64,
        to: u64,
    },
}

impl Excerpt {
    pub fn of(archive: &Archive, extent: &Extent) -> Result<Self, Failure> {
        let Extent { from, to } = *extent;
        let is_backwards = match (from, to) {
            (Beginning::At(Mark::Sequence(from)), Some(Mark::Sequence(to))) => from > to,
            (Beginning::At(Mark::Time(from)), Some(Mark::Time(to))) => from > to,
            _ => false,
        };
        if is_backwards {
            return Err(Failure::Usage("--from is behind --to".into()));
        }
        let (first, next) = match from {
            Beginning::Oldest => (0, None),
            Beginning::Last(count) => (end_of(archive)?.saturating_sub(count), None),
            Beginning::At(Mark::Sequence(sequence)) => {
                check_begun(archive, sequence)?;
                (sequence, Some(sequence))
            }
            // What was sent since lies in the last file that was begun before, or behind that.
            Beginning::At(Mark::Time(time)) => {
                let files = archive.files()?;
                let file = files.iter().rfind(|file| file.begun_at <= time);
                (file.map_or(0, |file| file.first_sequence), None)
            }
        };
        let from = match from {
            Beginning::At(Mark::Time(time)) => Some(time),
            _ => None,
        };
        Ok(Self { messages: archive.messages(first)?, from, to, next, found: None })
    }

    /// The next message of the journal, from the first on that is wanted.
    fn advance(&mut self) -> Option<Result<ArchivedMessage, Error>> {
        loop {
            let message = self.messages.next()?;
            let (Ok(found), Some(time)) = (&message, self.from) else {
                return Some(message);
            };
            if found.time >= time {
                // Clocks may go back afterwards.
                self.from = None;
                return Some(message);
            }
        }
    }
}

impl Iterator for Excerpt {
    type Item = Result<Part, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let message =
            match self.found.take().map_or_else(|| self.advance(), |found| Some(Ok(found)))? {
                Ok(message) => message,
                Err(error) => return Some(Err(error)),
            };
        let is_behind_the_end = match self.to {
            None => false,
            Some(Mark::Sequence(last)) => message.sequence > last,
            Some(Mark::Time(time)) => message.time > time,
        };
        let end = match self.to {
            Some(Mark::Sequence(last)) if is_behind_the_end => last.saturating_add(1),
            _ => message.sequence,
        };
        if let Some(from) = self.next.filter(|&next| next < end) {
            self.next = Some(end);
            self.found = Some(message);
            return Some(Ok(Part::Missed { from, to: end }));
        }
        if is_behind_the_end {
            return None;
        }
        self.next = Some(message.sequence + 1);
        Some(Ok(Part::Message(message)))
    }
}
