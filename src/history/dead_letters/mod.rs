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
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::file::{FileId, Letters, Lock};
use self::record::{Kind, Record, Records};
use self::seen::Seen;
use super::directory::{make_directory, sync_directory};
use super::fields;
use super::making::make_within;
use crate::error::Error;
use crate::layout::time;
use crate::segment::check_subscription_name;
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
/// let letter = queue.dead_letters("workers")?.iter().next().unwrap()?;
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

/// The dead letters of a subscription, to be read and dropped: a handle, made by
/// [`Queue::dead_letters`](crate::Queue::dead_letters), or by [`open`](Self::open) where the queue is
/// not there.
///
/// Any thread may use it, and anybody else the same letters: each call opens the file that has the
/// name then, which need not exist yet. From the first drop on the handle knows which letters there are,
/// which takes some hundred bytes for each, so that the next drop reads only what is new.
///
/// ```
/// # use ringway::{AckMode, Queue, QueueOptions, Start, Subscribe};
/// # let _ = Queue::force_remove("doc-dead-letters");
/// # let directory = std::env::temp_dir().join("ringway-doc-dead-letters");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let queue = Queue::create("doc-dead-letters", &QueueOptions::new().history(&directory))?;
/// # let workers = Subscribe::new().named("workers").from(Start::Oldest);
/// # let mut worker = queue.subscribe(&workers.ack(AckMode::Manual).deliveries_max(1))?;
/// # queue.producer()?.send(b"poison")?;
/// # let _ = worker.receive()?.message().unwrap().nack()?;
/// let letters = queue.dead_letters("workers")?;
/// for letter in &letters {
///     let letter = letter?;
///     println!("message {}: {} bytes", letter.sequence, letter.payload.len());
///     letters.drop(&[letter.id])?;
/// }
/// assert_eq!(letters.iter().count(), 0);
/// # Queue::force_remove("doc-dead-letters")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
pub struct DeadLetters {
    path: PathBuf,
    queue: Box<str>,
    instance: [u8; 16],
    subscription: Box<str>,
    seen: Mutex<Seen>,
    appended_to: Mutex<Acquaintance>,
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("queue", &self.queue)
            .field("subscription", &self.subscription)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a process knows of the file that it appends to.
#[derive(Debug, Default)]
struct Acquaintance {
    file: FileId,
    shift: u64,
}

impl DeadLetters {
    /// Those of a queue's subscription in a directory: that queue's history directory, or one that
    /// members were given by [`Subscribe::dead_letters`](crate::Subscribe::dead_letters). Neither queue
    /// nor subscription need exist any more.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`] for a name that no subscription can have.
    ///
    /// ```
    /// # use ringway::{AckMode, DeadLetters, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-letters-open");
    /// # let directory = std::env::temp_dir().join("ringway-doc-letters-open");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let queue = Queue::create("doc-letters-open", &QueueOptions::new().history(&directory))?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest).deliveries_max(1);
    /// let mut worker = queue.subscribe(&workers.ack(AckMode::Manual))?;
    /// queue.producer()?.send(b"poison")?;
    /// worker.receive()?.message().unwrap().nack()?;
    /// drop(worker);
    /// Queue::remove("doc-letters-open")?;
    ///
    /// let letters = DeadLetters::open(&directory, "doc-letters-open", "workers")?;
    /// let letter = letters.iter().next().unwrap()?;
    /// assert_eq!(letter.payload, b"poison");
    /// assert_eq!(letters.drop(&[letter.id])?, [letter.id]);
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn open(
        directory: impl AsRef<Path>,
        queue: &str,
        subscription: &str,
    ) -> Result<Self, Error> {
        check_subscription_name(queue, subscription)?;
        // Whose messages have letters already is for members to know.
        Ok(Self::of_instance(directory.as_ref(), queue, [0; 16], subscription))
    }

    /// For the members of a queue that is there.
    pub(crate) fn of_instance(
        directory: &Path,
        queue: &str,
        instance: [u8; 16],
        subscription: &str,
    ) -> Self {
        let path = directory.join("dead-letters").join(format!("{subscription}.letters"));
        let (queue, subscription) = (queue.into(), subscription.into());
        let (seen, appended_to) = (Mutex::default(), Mutex::default());
        Self { path, queue, instance, subscription, seen, appended_to }
    }

    /// The file that they are in, or would be.
    ///
    /// ```
    /// let letters = ringway::DeadLetters::open("/var/lib/orders", "orders", "workers")?;
    /// assert_eq!(letters.path().to_str(), Some("/var/lib/orders/dead-letters/workers.letters"));
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Those that were not dropped, in the order in which they were given up. One payload is in memory
    /// at a time.
    ///
    /// They are those that there are at this call: a letter that is dropped meanwhile comes all the same,
    /// and one that is appended may be missing. A letter is whole or not there. What is damaged is passed
    /// over, and [counted](DeadLetterIter::passed_over); a letter that was dropped is there again if it
    /// is its dropping that is damaged.
    ///
    /// What cannot be opened or read is an [`Error::File`], and the end. Where there is no file there
    /// are no letters.
    ///
    /// ```
    /// let letters = ringway::DeadLetters::open("/var/lib/nobody", "orders", "workers")?;
    /// assert_eq!(letters.iter().count(), 0);
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn iter(&self) -> DeadLetterIter<'_> {
        let (reading, failure) = match self.begin_to_read() {
            Ok(reading) => (reading, None),
            Err(error) => (None, Some(error)),
        };
        DeadLetterIter { letters: self, reading, failure, passed_over: 0 }
    }

    /// Where there is a file, what is read of it, from its beginning, and which letters are dropped by now.
    fn begin_to_read(&self) -> Result<Option<(Records, HashSet<u64>)>, Error> {
        let opened = sys::file::open_regular(&self.path, OpenOptions::new().read(true));
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.failed("open", error))?,
        };
        let failed = |error| self.failed("read", error);
        let dropped = record::dropped_before(&file, u64::MAX).map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Some((Records::new(file, 0), dropped)))
    }

    /// Drops letters that were dealt with, by [their ids](DeadLetter::id), and returns which of these
    /// there were: others were dropped already, or never were. Of several who drop a letter at the same
    /// time one does. It is on disk when this returns; of many at once the disk is waited for once.
    ///
    /// Letters that were dropped give their space back when they are more than half of the file and
    /// 64 KiB, or none is left: then the file is written anew without them, and needs the space of the
    /// others once more for that time.
    ///
    /// # Errors
    /// [`Error::File`]. Some may be dropped then.
    ///
    /// ```
    /// # use ringway::{AckMode, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-letters-drop");
    /// # let directory = std::env::temp_dir().join("ringway-doc-letters-drop");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let queue = Queue::create("doc-letters-drop", &QueueOptions::new().history(&directory))?;
    /// # let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// # let mut worker = queue.subscribe(&workers.ack(AckMode::Manual).deliveries_max(1))?;
    /// # queue.producer()?.send(b"poison")?;
    /// # let _ = worker.receive()?.message().unwrap().nack()?;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let week_ago = SystemTime::now() - Duration::from_secs(7 * 24 * 3600);
    /// let letters = queue.dead_letters("workers")?;
    /// let mut old = Vec::new();
    /// for letter in &letters {
    ///     let letter = letter?;
    ///     if letter.time < week_ago {
    ///         old.push(letter.id);
    ///     }
    /// }
    /// assert_eq!(letters.drop(&old)?, []);
    /// assert_eq!(letters.iter().count(), 1);
    /// # Queue::force_remove("doc-letters-drop")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn drop(&self, ids: &[u64]) -> Result<Vec<u64>, Error> {
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

/// What there is of a subscription's dead letters, one after the other; made by
/// [`DeadLetters::iter`].
///
/// ```
/// let letters = ringway::DeadLetters::open("/var/lib/nobody", "orders", "workers")?;
/// let all: Vec<_> = letters.iter().collect::<Result<_, _>>()?;
/// assert_eq!(all, []);
/// # Ok::<(), ringway::Error>(())
/// ```
pub struct DeadLetterIter<'a> {
    letters: &'a DeadLetters,
    /// What is left to read, and which letters are dropped; `None` at the end.
    reading: Option<(Records, HashSet<u64>)>,
    /// Why there is nothing to read.
    failure: Option<Error>,
    passed_over: u64,
}

impl fmt::Debug for DeadLetterIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterIter")
            .field("letters", &self.letters)
            .field("passed_over", &self.passed_over)
            .finish_non_exhaustive()
    }
}

impl DeadLetterIter<'_> {
    /// Bytes of the file that are no whole record, as far as it was read: letters may be lost there, or
    /// a writer was killed.
    ///
    /// ```
    /// let letters = ringway::DeadLetters::open("/var/lib/nobody", "orders", "workers")?;
    /// let mut all = letters.iter();
    /// assert_eq!(all.by_ref().count(), 0);
    /// assert_eq!(all.passed_over(), 0);
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

impl Iterator for DeadLetterIter<'_> {
    type Item = Result<DeadLetter, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        let (records, dropped) = self.reading.as_mut()?;
        let next = loop {
            match records.next(Record::parse) {
                Ok(Some(record)) if record.summary.kind != Some(Kind::Letter) => {}
                Ok(Some(record)) if dropped.contains(&record.summary.id()) => {}
                found => break found.transpose(),
            }
        };
        self.passed_over = records.passed_over();
        if !matches!(next, Some(Ok(_))) {
            self.reading = None;
        }
        let failed = |error| self.letters.failed("read", error);
        next.map(|found| found.map(DeadLetter::of).map_err(failed))
    }
}

impl std::iter::FusedIterator for DeadLetterIter<'_> {}

impl<'a> IntoIterator for &'a DeadLetters {
    type Item = Result<DeadLetter, Error>;
    type IntoIter = DeadLetterIter<'a>;

    fn into_iter(self) -> DeadLetterIter<'a> {
        self.iter()
    }
}

impl DeadLetter {
    fn of(record: Record) -> Self {
        Self {
            id: record.summary.id(),
            queue: record.queue,
            instance_id: record.summary.instance,
            subscription: record.subscription,
            sequence: record.summary.sequence,
            key_hash: record.key_hash,
            deliveries: record.deliveries,
            reason: Reason::of_code(record.reason),
            time: time::moment(record.time),
            payload: record.payload,
        }
    }
}
