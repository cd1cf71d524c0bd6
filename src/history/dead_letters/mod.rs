//! Dead letters: messages that were given up, in one file for each subscription.
//!
//! The file is a sequence of [records](record). A record is appended by one `write` to a file
//! opened for appending, so that records of several members never mix, and no member waits for
//! another; it is on disk before the message is settled. If a writer is killed, or others append
//! when the disk is full, a part of a record may remain, with whole ones behind it: who reads looks
//! for the next record that is whole, and tells what was passed over. A letter that is dropped is
//! followed by a record that says so; when that pays, whoever drops letters writes the file
//! [anew](rewriting) without them.

mod file;
mod record;
mod rewriting;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::file::{FileId, Letters, Lock};
use self::record::{Kind, Record, Records};
use self::seen::Seen;
use super::checkpoint;
use super::directory::{make_directory, sync_directory};
use super::fields;
use super::making::make_within;
use crate::error::Error;
use crate::layout::time;
use crate::sys;

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
/// let mut worker = queue.subscribe(&workers.ack(AckMode::Manual).deliveries_max(1))?;
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
    /// A number that no other letter of the subscription has, or will have. It stays the same.
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
    appended_to: Mutex<Acquaintance>,
}

/// What a process knows of the file that it appends to.
#[derive(Debug, Default)]
struct Acquaintance {
    file: FileId,
    shift: u64,
}

impl DeadLetterFile {
    /// Of a queue that need not be there.
    fn of(directory: &Path, queue: &str, subscription: &str) -> Result<Self, Error> {
        if !checkpoint::is_name(subscription) {
            let (queue, name) = (queue.into(), subscription.into());
            let reason = "it is not a name of a subscription";
            return Err(Error::InvalidSubscription { queue, name, reason });
        }
        Ok(Self::new(directory, queue, [0; 16], subscription))
    }

    /// In a directory, which need not exist yet.
    pub(crate) fn new(
        directory: &Path,
        queue: &str,
        instance: [u8; 16],
        subscription: &str,
    ) -> Self {
        let path = Self::path_in(directory, subscription);
        let (queue, subscription) = (queue.into(), subscription.into());
        let (seen, appended_to) = (Mutex::default(), Mutex::default());
        Self { path, queue, instance, subscription, seen, appended_to }
    }

    /// Whether it is this one.
    pub(crate) fn is_of(&self, directory: &Path, subscription: &str) -> bool {
        self.path == Self::path_in(directory, subscription)
    }

    fn path_in(directory: &Path, subscription: &str) -> PathBuf {
        directory.join("dead-letters").join(format!("{subscription}.letters"))
    }

    /// Appends a letter. It is on disk when this returns.
    pub(crate) fn append(&self, letter: &Letter<'_>) -> Result<(), Error> {
        let append = || {
            let (file, record) = Letters::open_locked(
                &self.path,
                || self.open_to_append(),
                |file| Ok(record::encode(self, Kind::Letter, letter, self.acquaint(file)?)),
                Letters::lock_to_append,
            )?;
            append_whole(&file, &record)
        };
        let appended = append().map_err(|error| self.failed("write to", error));
        self.seen().note(letter.sequence, appended.is_ok());
        appended
    }

    /// Drops letters, and returns which of these there were. That is on disk when this returns; the
    /// space that they took may be given back then, or another time.
    pub(crate) fn drop_letters(&self, ids: &[u64]) -> Result<Vec<u64>, Error> {
        let failed = |error| self.failed("write to", error);
        let open = || Letters::open(&self.path, OpenOptions::new().append(true));
        let opened = Letters::open_locked(
            &self.path,
            open,
            |file| self.acquaint(file),
            Letters::lock_to_drop,
        );
        let (file, shift) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened.map_err(failed)?,
        };
        let mut seen = self.seen();
        self.read_on(&mut seen, &file)?;
        let mut asked_for = HashSet::new();
        let is_there = |id: &u64| seen.has_letter(*id) && asked_for.insert(*id);
        let dropped: Vec<_> = ids.iter().copied().filter(is_there).collect();
        if dropped.is_empty() {
            return Ok(dropped);
        }
        self.append_drops(&file, &dropped, shift).map_err(failed)?;
        self.read_on(&mut seen, &file)?;
        let size = file.metadata().map_err(failed)?.len();
        if seen.is_worth_rewriting(size) {
            // They are dropped all the same; the next one who drops some tries again.
            let _ = rewriting::rewrite(&self.path, &file);
        }
        Ok(dropped)
    }

    /// Drops one letter, which has to be there.
    pub(crate) fn drop_letter(&self, id: u64) -> Result<(), Error> {
        if self.drop_letters(&[id])?.is_empty() {
            let (queue, subscription) = (self.queue.clone(), self.subscription.clone());
            return Err(Error::NoSuchDeadLetter { queue, subscription, id });
        }
        Ok(())
    }

    fn append_drops(&self, file: &Letters, ids: &[u64], shift: u64) -> io::Result<()> {
        /// So many by one write.
        const AT_ONCE: usize = 1000;
        for ids in ids.chunks(AT_ONCE) {
            let drop = |&id: &u64| {
                let (reason, payload) = (Reason::Refused, &[][..]);
                let drop = Letter { sequence: id, key_hash: None, deliveries: 0, reason, payload };
                record::encode(self, Kind::Dropped, &drop, shift)
            };
            let records: Vec<u8> = ids.iter().flat_map(drop).collect();
            file.lock_to_append()?;
            file.append(&records)?;
            file.unlock(Lock::Appending)?;
        }
        file.sync_data()
    }

    /// Whether a message is among the letters already, and on disk. To be asked if somebody may have
    /// died between its letter and its settling: before its letter was synced, perhaps, or after that
    /// had failed. Then the system takes for written what it has in memory alone, so that a sync would
    /// not write it: the letter is written once more in its place. If the file is replaced meanwhile,
    /// the other one has it, and was synced.
    pub(crate) fn has_on_disk(&self, sequence: u64) -> Result<bool, Error> {
        let mut seen = self.seen();
        let file = match Letters::open(&self.path, OpenOptions::new().write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                seen.forget();
                return Ok(false);
            }
            opened => opened.map_err(|error| self.failed("open", error))?,
        };
        self.read_on(&mut seen, &file)?;
        let Some(place) = seen.place_of(sequence) else { return Ok(false) };
        let begin = place.start;
        let bytes = record::bytes_at(&file, place).map_err(|error| self.failed("read", error))?;
        // The disk may have given back what it had before that.
        let Some(bytes) = bytes else { return Ok(false) };
        let written = file.write_all_at(&bytes, begin);
        let synced = written.and_then(|()| self.acquaint(&file)).and_then(|_| file.sync_data());
        synced.map_err(|error| self.failed("write to", error))?;
        Ok(true)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what the file has had since. What is half written while others append would be passed
    /// over, and not looked at again; but nobody waits for long who was stopped in that.
    fn read_on(&self, seen: &mut Seen, file: &Letters) -> Result<(), Error> {
        let size = match file.settled_size() {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                file.metadata().map(|facts| facts.len())
            }
            size => size,
        };
        let read = size.and_then(|size| seen.read_on(file, self.instance, size));
        read.map_err(|error| self.failed("read", error))
    }

    /// The letters that were not dropped, in the order in which they were appended.
    pub(crate) fn read(&self) -> Result<DeadLetters, Error> {
        let (path, queue) = (self.path.clone(), self.queue.clone());
        let mut letters =
            DeadLetters { records: None, dropped: HashSet::new(), path, queue, passed_over: 0 };
        let opened = sys::file::open_regular(&self.path, OpenOptions::new().read(true));
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(letters),
            opened => opened.map_err(|error| self.failed("open", error))?,
        };
        let failed = |error| self.failed("read", error);
        letters.dropped = record::dropped_before(&file, u64::MAX).map_err(failed)?;
        file.rewind().map_err(failed)?;
        letters.records = Some(Records::new(file, 0));
        Ok(letters)
    }

    fn open_to_append(&self) -> io::Result<Letters> {
        let mut options = OpenOptions::new();
        options.append(true);
        match Letters::open_or_make(&self.path, &mut options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = self.path.parent().unwrap_or(Path::new("."));
                make_within(directory).or_else(|_| make_directory(directory))?;
                Letters::open_or_make(&self.path, &mut options)
            }
            opened => opened,
        }
    }

    /// The shift of what is appended to a file. The first time that this process sees it, the disk gets
    /// its name and that of its directory, last before what is appended: whoever made it, or gave it
    /// its name, may have died before that.
    fn acquaint(&self, file: &File) -> io::Result<u64> {
        let mut known = self.appended_to.lock().unwrap_or_else(PoisonError::into_inner);
        let id = FileId::of(file)?;
        if id.is_vague() || id != known.file {
            for directory in self.path.ancestors().skip(1).take(2) {
                sync_directory(directory)?;
            }
            *known = Acquaintance { file: id, shift: record::shift_of(file)? };
        }
        Ok(known.shift)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::file(&self.queue, doing, &self.path, source)
    }
}

/// Appends a record to a file that is locked for that.
fn append_whole(file: &Letters, record: &[u8]) -> io::Result<()> {
    file.append(record)?;
    // What the disk takes its time for keeps nobody away.
    file.unlock(Lock::Appending)?;
    file.sync_data()
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
    /// Those of a queue's subscription in a directory, also where the queue is not there: its history
    /// directory, or one that its members named.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`], [`Error::File`].
    ///
    /// ```
    /// # use ringway::{AckMode, DeadLetters, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-letters-open");
    /// # let directory = std::env::temp_dir().join("ringway-doc-letters-open");
    /// let queue = Queue::create("doc-letters-open", &QueueOptions::new().history(&directory))?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest).deliveries_max(1);
    /// let mut worker = queue.subscribe(&workers.ack(AckMode::Manual))?;
    /// queue.producer()?.send(b"poison")?;
    /// worker.receive()?.message().unwrap().nack()?;
    /// drop(worker);
    /// Queue::remove("doc-letters-open")?;
    /// let mut letters = DeadLetters::open(&directory, "doc-letters-open", "workers")?;
    /// assert_eq!(letters.next().unwrap()?.payload, b"poison");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn open(
        directory: impl AsRef<Path>,
        queue: &str,
        subscription: &str,
    ) -> Result<Self, Error> {
        DeadLetterFile::of(directory.as_ref(), queue, subscription)?.read()
    }

    /// Drops letters where the queue is not there, as
    /// [`Queue::drop_dead_letters_in`](crate::Queue::drop_dead_letters_in) does where it is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use ringway::{AckMode, DeadLetters, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-letters-drop");
    /// # let directory = std::env::temp_dir().join("ringway-doc-letters-drop");
    /// # let queue = Queue::create("doc-letters-drop", &QueueOptions::new().history(&directory))?;
    /// # let workers = Subscribe::new().named("workers").from(Start::Oldest).deliveries_max(1);
    /// # let mut worker = queue.subscribe(&workers.ack(AckMode::Manual))?;
    /// # queue.producer()?.send(b"poison")?;
    /// # worker.receive()?.message().unwrap().nack()?;
    /// # drop(worker);
    /// Queue::remove("doc-letters-drop")?;
    /// let name = "doc-letters-drop";
    /// let id = DeadLetters::open(&directory, name, "workers")?.next().unwrap()?.id;
    /// assert_eq!(DeadLetters::drop_in(&directory, name, "workers", &[id])?, [id]);
    /// assert_eq!(DeadLetters::open(&directory, name, "workers")?.count(), 0);
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn drop_in(
        directory: impl AsRef<Path>,
        queue: &str,
        subscription: &str,
        ids: &[u64],
    ) -> Result<Vec<u64>, Error> {
        DeadLetterFile::of(directory.as_ref(), queue, subscription)?.drop_letters(ids)
    }

    /// The file that they are in, or would be.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-letters-path");
    /// # let directory = std::env::temp_dir().join("ringway-doc-letters-path");
    /// let queue = Queue::create("doc-letters-path", &QueueOptions::new().history(&directory))?;
    /// assert!(queue.dead_letters("workers")?.path().ends_with("dead-letters/workers.letters"));
    /// # Queue::force_remove("doc-letters-path")?;
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file that are no whole record, as far as it was read: letters may be lost there, or
    /// a writer was killed.
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
                Ok(Some(record)) if self.dropped.contains(&record.head.id()) => {}
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
            id: record.head.id(),
            queue: record.queue,
            instance_id: record.head.instance,
            subscription: record.subscription,
            sequence: record.head.sequence,
            key_hash: record.key_hash,
            deliveries: record.deliveries,
            reason: Reason::of_code(record.reason),
            time: time::moment(record.time),
            payload: record.payload,
        }
    }
}
