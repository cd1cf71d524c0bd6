//! Dead letters: messages that were given up, in one file for each subscription.
//!
//! The file is a sequence of [records](record). A record is appended by one `write` to a file
//! opened for appending, so that records of several members never mix, and nobody waits for
//! anybody; it is on disk before the message is settled. If the disk is full, or a writer is
//! killed, a part of a record may remain, with whole ones behind it: who reads looks for the next
//! record that is whole, and tells what was passed over. Nothing is ever taken out: a letter that
//! is dropped is followed by a record that says so.

mod record;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use self::record::{Head, Kind, Record, Records};
use self::seen::Seen;
use super::directory::make_directory;
use super::fields;
use crate::error::Error;

/// Why a message was given up.
///
/// ```
/// assert_eq!(ringway::Reason::Refused.to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its last consumer refused it (`nack`), or rejected it.
    Refused,
    /// Its last consumer died with it, or had it for too long.
    Unacknowledged,
}

impl Reason {
    const fn code(self) -> u16 {
        match self {
            Self::Refused => 1,
            Self::Unacknowledged => 2,
        }
    }

    fn of_code(code: u16) -> Self {
        if code == Self::Refused.code() { Self::Refused } else { Self::Unacknowledged }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unacknowledged => "unacknowledged",
        })
    }
}

/// A message that was given up.
///
/// ```
/// use ringway::{AckMode, Nacked, Queue, QueueOptions, Reason, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-dead-letter");
/// # let directory = std::env::temp_dir().join("ringway-doc-dead-letter");
/// # let _ = std::fs::remove_dir_all(&directory);
/// let queue = Queue::create("doc-dead-letter", &QueueOptions::new().history(&directory))?;
/// let workers = Subscribe::new().named("workers").from(Start::Oldest);
/// let mut worker = queue.subscribe(&workers.ack(AckMode::Manual).max_deliveries(1))?;
/// queue.producer()?.send(b"poison")?;
/// let nacked = worker.receive()?.message().unwrap().nack()?;
/// assert_eq!(nacked, Nacked::DeadLetter);
///
/// let letter = queue.dead_letters("workers")?.next().unwrap()?;
/// assert_eq!((letter.sequence, letter.deliveries), (0, 1));
/// assert_eq!((letter.reason, letter.payload.as_slice()), (Reason::Refused, &b"poison"[..]));
/// # Queue::force_remove("doc-dead-letter")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Where its record begins in the file, which no other has.
    pub id: u64,
    /// The queue it was sent to.
    pub queue: String,
    /// That queue's [instance](crate::Queue::instance_id).
    pub instance_id: [u8; 16],
    /// The subscription that gave it up.
    pub subscription: String,
    /// Its sequence in the queue.
    pub sequence: u64,
    /// The hash of its key, if it had one.
    pub key_hash: Option<u64>,
    /// How often it was delivered.
    pub deliveries: u32,
    /// Why it was given up.
    pub reason: Reason,
    /// When, by the clock of the process that did.
    pub time: SystemTime,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A message about to become a dead letter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) sequence: u64,
    pub(crate) key_hash: Option<u64>,
    pub(crate) deliveries: u32,
    pub(crate) reason: Reason,
    pub(crate) payload: &'a [u8],
}

/// The file of one subscription's dead letters.
#[derive(Debug)]
pub(crate) struct DeadLetterFile {
    path: PathBuf,
    queue: Box<str>,
    instance: [u8; 16],
    subscription: Box<str>,
    seen: Mutex<Seen>,
}

impl DeadLetterFile {
    /// In a directory, which need not exist yet.
    pub(crate) fn new(
        directory: &Path,
        queue: &str,
        instance: [u8; 16],
        subscription: &str,
    ) -> Self {
        let path = directory.join("dead-letters").join(format!("{subscription}.letters"));
        let (queue, subscription, seen) = (queue.into(), subscription.into(), Mutex::default());
        Self { path, queue, instance, subscription, seen }
    }

    /// Appends a letter. It is on disk when this returns.
    pub(crate) fn append(&self, letter: &Letter<'_>) -> Result<(), Error> {
        let appended = self.append_record(Kind::Letter, letter);
        self.seen().note(letter.sequence, appended.is_ok());
        appended
    }

    /// Says that a letter was dealt with.
    pub(crate) fn append_drop(&self, id: u64) -> Result<(), Error> {
        if !self.has_letter_at(id)? {
            let (queue, subscription) = (self.queue.clone(), self.subscription.clone());
            return Err(Error::NoSuchDeadLetter { queue, subscription, id });
        }
        let drop = Letter {
            sequence: id,
            key_hash: None,
            deliveries: 0,
            reason: Reason::Refused,
            payload: &[],
        };
        self.append_record(Kind::Dropped, &drop)
    }

    /// Whether a message is among the letters already, and on disk. To be asked if somebody may have
    /// died between its letter and its settling: before its letter was synced, perhaps.
    pub(crate) fn has_on_disk(&self, sequence: u64) -> Result<bool, Error> {
        let mut seen = self.seen();
        let Some(file) = self.open_to_read()? else {
            seen.forget();
            return Ok(false);
        };
        let read = seen.read_on(&file, self.instance);
        read.map_err(|error| self.failed("read", error))?;
        if !seen.has(sequence) {
            return Ok(false);
        }
        file.sync_data().map_err(|error| self.failed("sync", error))?;
        Ok(true)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The letters that were not dropped, in the order in which they were appended.
    pub(crate) fn read(&self) -> Result<DeadLetters, Error> {
        let (path, queue) = (self.path.clone(), self.queue.clone());
        let mut letters =
            DeadLetters { records: None, dropped: HashSet::new(), path, queue, passed_over: 0 };
        let Some(file) = self.open_to_read()? else { return Ok(letters) };
        let mut records = Records::new(file, 0);
        let failed = |error| self.failed("read", error);
        while let Some(head) = records.next(Head::parse).map_err(failed)? {
            letters.dropped.extend(head.drops());
        }
        letters.records = Some(records.rewound().map_err(failed)?);
        Ok(letters)
    }

    fn has_letter_at(&self, position: u64) -> Result<bool, Error> {
        let Some(mut file) = self.open_to_read()? else { return Ok(false) };
        let end = file.seek(SeekFrom::End(0)).map_err(|error| self.failed("read", error))?;
        if position >= end {
            return Ok(false);
        }
        let record = file
            .seek(SeekFrom::Start(position))
            .and_then(|_| Records::new(file, position).next_here(Head::parse))
            .map_err(|error| self.failed("read", error))?;
        Ok(record.is_some_and(|head| head.kind == Some(Kind::Letter)))
    }

    fn append_record(&self, kind: Kind, letter: &Letter<'_>) -> Result<(), Error> {
        let record = record::encode(self, kind, letter);
        let append = || {
            let mut file = self.open_to_append()?;
            // One write, so that records never mix; what is not whole after it counts for nothing.
            let written = loop {
                match file.write(&record) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            if written < record.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.sync_data()
        };
        append().map_err(|error| self.failed("write to", error))
    }

    /// `None` if there is none.
    fn open_to_read(&self) -> Result<Option<File>, Error> {
        match self.open(OpenOptions::new().read(true)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("open", error)),
        }
    }

    fn open_to_append(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = match self.open(&mut options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = self.path.parent().unwrap_or(Path::new("."));
                make_directory(directory)?;
                self.open(&mut options)?
            }
            result => result?,
        };
        if file.metadata()?.len() == 0 {
            // It may be new. Its name, and that of its directory, last before what is in it does.
            for directory in self.path.ancestors().skip(1).take(2) {
                File::open(directory)?.sync_all()?;
            }
        }
        Ok(file)
    }

    fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        // Without waiting for whoever may be at the other end of a FIFO.
        let file = options.custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::file(&self.queue, doing, &self.path, source)
    }
}

/// The dead letters of a subscription, in the order in which they were given up; made by
/// [`Queue::dead_letters`](crate::Queue::dead_letters).
///
/// What is damaged is passed over; [`passed_over`](Self::passed_over) tells how much that was. A
/// letter is whole or not there: what is appended while this reads may be missing, and one that was
/// dropped is there again if it is its dropping that is damaged.
///
/// ```
/// # use ringway::{Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-dead-letters");
/// # let directory = std::env::temp_dir().join("ringway-doc-dead-letters");
/// let queue = Queue::create("doc-dead-letters", &QueueOptions::new().history(&directory))?;
/// let letters = queue.dead_letters("workers")?;
/// assert_eq!(letters.count(), 0);
/// # Queue::force_remove("doc-dead-letters")?;
/// # let _ = std::fs::remove_dir_all(&directory);
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct DeadLetters {
    records: Option<Records>,
    dropped: HashSet<u64>,
    path: PathBuf,
    queue: Box<str>,
    passed_over: u64,
}

impl DeadLetters {
    /// Bytes of the file that are no whole record, as far as it was read.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-passed-over");
    /// # let directory = std::env::temp_dir().join("ringway-doc-passed-over");
    /// let queue = Queue::create("doc-passed-over", &QueueOptions::new().history(&directory))?;
    /// assert_eq!(queue.dead_letters("workers")?.passed_over(), 0);
    /// # Queue::force_remove("doc-passed-over")?;
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

impl Iterator for DeadLetters {
    type Item = Result<DeadLetter, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let records = self.records.as_mut()?;
        loop {
            let record = records.next(Record::parse);
            self.passed_over = records.passed_over();
            match record {
                Ok(None) => return None,
                Ok(Some(record)) if record.head.kind != Some(Kind::Letter) => {}
                Ok(Some(record)) if self.dropped.contains(&record.head.position) => {}
                Ok(Some(record)) => return Some(Ok(DeadLetter::of(record))),
                Err(source) => {
                    self.records = None;
                    return Some(Err(Error::file(&self.queue, "read", &self.path, source)));
                }
            }
        }
    }
}

impl DeadLetter {
    fn of(record: Record) -> Self {
        Self {
            id: record.head.position,
            queue: record.queue,
            instance_id: record.head.instance,
            subscription: record.subscription,
            sequence: record.head.sequence,
            key_hash: record.key_hash,
            deliveries: record.deliveries,
            reason: Reason::of_code(record.reason),
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(record.time),
            payload: record.payload,
        }
    }
}
