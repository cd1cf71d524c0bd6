//! A part of a journal as it lies on disk.

use std::path::Path;

use ringway::{Archive, ArchivedMessage, ArchivedMessages, Error};

use crate::args::Extent;
use crate::failure::Failure;
use crate::options::{Beginning, Mark};

/// Opens the journal of a history directory.
pub fn open(directory: &Path) -> Result<Archive, Failure> {
    Archive::open(directory).map_err(|error| match error {
        error if has_lost_its_identity(directory, &error) => {
            Failure::NoIdentity { error, directory: directory.into() }
        }
        Error::File { .. } => Failure::NoHistory { error, directory: directory.into() },
        error => error.into(),
    })
}

/// Whether a history could not be opened because what says whose it is is damaged, or gone from beside
/// a journal.
pub fn has_lost_its_identity(directory: &Path, error: &Error) -> bool {
    match error {
        Error::LogDamaged { .. } => true,
        Error::File { path, .. } => directory.join("log").is_dir() && !path.exists(),
        _ => false,
    }
}

/// Whether a journal goes as far as to where it is to be read from: up to what comes next.
fn check_begun(archive: &Archive, asked: u64) -> Result<(), Failure> {
    if archive.messages(asked)?.next().is_some() {
        return Ok(());
    }
    let next = archive.next_sequence()?;
    let directory = archive.directory().into();
    if asked > next { Err(Failure::BeyondEnd { directory, asked, next }) } else { Ok(()) }
}

/// The messages of a journal from one mark to another, in order, and what is missing there.
#[derive(Debug)]
pub struct Excerpt {
    messages: ArchivedMessages,
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
        let (messages, next) = match from {
            Beginning::Oldest => (archive.messages(0)?, None),
            Beginning::Last(count) => {
                (archive.messages(archive.next_sequence()?.saturating_sub(count))?, None)
            }
            Beginning::At(Mark::Sequence(sequence)) => {
                check_begun(archive, sequence)?;
                (archive.messages(sequence)?, Some(sequence))
            }
            Beginning::At(Mark::Time(time)) => (archive.messages_since(time)?, None),
        };
        Ok(Self { messages, to, next, found: None })
    }
}

impl Iterator for Excerpt {
    type Item = Result<Part, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = match self
            .found
            .take()
            .map_or_else(|| self.messages.next(), |found| Some(Ok(found)))?
        {
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
