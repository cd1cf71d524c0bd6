//! Dead letters: messages that were given up, in one file for each subscription.
//!
//! The file is a sequence of records. A record is appended by one `write` to a file opened for
//! appending, so that records of several members never mix, and nobody waits for anybody; it is
//! on disk before the message is settled. If the disk is full a part of a record may remain, with
//! whole ones behind it: who reads looks for the next record that is whole, and tells what was
//! passed over. Nothing is ever taken out: a letter that is dropped is followed by a record that
//! says so.
//!
//! ```text
//!  0  magic, 8 bytes                       40  time, ns since 1970
//!  8  length of the record, u32            48  the segment's instance, 16 bytes
//! 12  CRC-32C of what follows, u32         64  payload length, u32
//! 16  kind, u16: 1 letter, 2 dropped       68  length of the queue's name, u16
//! 18  reason, u16                          70  length of the subscription's name, u16
//! 20  deliveries, u32                      72  the two names, the payload
//! 24  sequence; of a drop, where the letter lies
//! 32  key hash, or 0                       (all little-endian)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::sys::process;

const MAGIC: [u8; 8] = *b"RWLETTER";
const HEADER_SIZE: usize = 72;
const CHECKED_FROM: usize = 16;
const LETTER: u16 = 1;
const DROPPED: u16 = 2;
/// No record is longer: the largest message, the names, the header.
const RECORD_SIZE_MAX: usize = (256 << 20) + 4096;

/// Why a message was given up.
///
/// ```
/// assert_eq!(ringway::Reason::Refused.to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its last consumer refused it (`nack`).
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
        Self { path, queue: queue.into(), instance, subscription: subscription.into() }
    }

    /// Appends a letter. It is on disk when this returns.
    pub(crate) fn append(&self, letter: &Letter<'_>) -> Result<(), Error> {
        self.append_record(&self.record(LETTER, letter))
    }

    /// Says that a letter was dealt with.
    pub(crate) fn append_drop(&self, id: u64) -> Result<(), Error> {
        let drop = Letter {
            sequence: id,
            key_hash: None,
            deliveries: 0,
            reason: Reason::Refused,
            payload: &[],
        };
        self.append_record(&self.record(DROPPED, &drop))
    }

    /// Whether a message is among the letters already. To be asked if somebody may have died
    /// between its letter and its settling.
    pub(crate) fn has(&self, sequence: u64) -> Result<bool, Error> {
        for letter in self.read(true)? {
            let letter = letter?;
            if letter.sequence == sequence && letter.instance_id == self.instance {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The letters, in the order in which they were appended; those that were dropped too, if
    /// asked for.
    pub(crate) fn read(&self, dropped_too: bool) -> Result<DeadLetters, Error> {
        let mut records = match File::open(&self.path) {
            Ok(file) => Some(Records::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.failed("open", error)),
        };
        let mut dropped = Vec::new();
        if let Some(records) = &mut records {
            if !dropped_too {
                while let Some(record) =
                    records.next().map_err(|error| self.failed("read", error))?
                {
                    if record.kind == DROPPED {
                        dropped.push(record.sequence);
                    }
                }
            }
            records.rewind().map_err(|error| self.failed("read", error))?;
        }
        let (path, queue) = (self.path.clone(), self.queue.clone());
        Ok(DeadLetters { records, dropped, path, queue, passed_over: 0 })
    }

    fn append_record(&self, record: &[u8]) -> Result<(), Error> {
        let append = || {
            if let Some(directory) = self.path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let mut file =
                OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            // One write, so that records never mix; what is not whole after it counts for nothing.
            let written = file.write(record)?;
            if written < record.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.sync_data()
        };
        append().map_err(|error| self.failed("write to", error))
    }

    fn record(&self, kind: u16, letter: &Letter<'_>) -> Vec<u8> {
        let names = self.queue.len() + self.subscription.len();
        let length = HEADER_SIZE + names + letter.payload.len();
        let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
        let long = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut record = Vec::with_capacity(length);
        record.extend_from_slice(&MAGIC);
        record.extend_from_slice(&long(length));
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&kind.to_le_bytes());
        record.extend_from_slice(&letter.reason.code().to_le_bytes());
        record.extend_from_slice(&letter.deliveries.to_le_bytes());
        record.extend_from_slice(&letter.sequence.to_le_bytes());
        record.extend_from_slice(&letter.key_hash.unwrap_or(0).to_le_bytes());
        record.extend_from_slice(&process::now_for_display().to_le_bytes());
        record.extend_from_slice(&self.instance);
        record.extend_from_slice(&long(letter.payload.len()));
        record.extend_from_slice(&short(self.queue.len()));
        record.extend_from_slice(&short(self.subscription.len()));
        record.extend_from_slice(self.queue.as_bytes());
        record.extend_from_slice(self.subscription.as_bytes());
        record.extend_from_slice(letter.payload);
        let check = crc32c::crc32c(&record[CHECKED_FROM..]);
        record[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&check.to_le_bytes());
        record
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::File { queue: self.queue.clone(), doing, path: self.path.clone(), source }
    }
}

/// The dead letters of a subscription, in the order in which they were given up; made by
/// [`Queue::dead_letters`](crate::Queue::dead_letters).
///
/// What is damaged is passed over; [`passed_over`](Self::passed_over) tells how much that was.
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
    dropped: Vec<u64>,
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
            let record = records.next();
            self.passed_over = records.passed_over;
            match record {
                Ok(None) => return None,
                Ok(Some(record)) if record.kind != LETTER => {}
                Ok(Some(record)) if self.dropped.contains(&record.position) => {}
                Ok(Some(record)) => return Some(Ok(record.into_letter())),
                Err(source) => {
                    self.records = None;
                    let (queue, path) = (self.queue.clone(), self.path.clone());
                    return Some(Err(Error::File { queue, doing: "read", path, source }));
                }
            }
        }
    }
}

/// One record, found to be whole.
#[derive(Debug)]
struct Record {
    position: u64,
    kind: u16,
    reason: u16,
    deliveries: u32,
    sequence: u64,
    key_hash: u64,
    time: u64,
    instance: [u8; 16],
    queue: String,
    subscription: String,
    payload: Vec<u8>,
}

impl Record {
    /// `None` unless the bytes are one whole record, all of it.
    fn parse(position: u64, bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_SIZE>()?;
        let u16_at = |offset: usize| u16::from_le_bytes([header[offset], header[offset + 1]]);
        let u32_at = |offset: usize| {
            header[offset..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let u64_at = |offset: usize| {
            header[offset..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        if crc32c::crc32c(&bytes[CHECKED_FROM..]) != u32_at(12) {
            return None;
        }
        let rest = &bytes[HEADER_SIZE..];
        let (queue, rest) = rest.split_at_checked(u16_at(68).into())?;
        let (subscription, payload) = rest.split_at_checked(u16_at(70).into())?;
        if payload.len() != u32_at(64) as usize {
            return None;
        }
        let mut instance = [0; 16];
        instance.copy_from_slice(&header[48..64]);
        Some(Self {
            position,
            kind: u16_at(16),
            reason: u16_at(18),
            deliveries: u32_at(20),
            sequence: u64_at(24),
            key_hash: u64_at(32),
            time: u64_at(40),
            instance,
            queue: String::from_utf8_lossy(queue).into_owned(),
            subscription: String::from_utf8_lossy(subscription).into_owned(),
            payload: payload.to_vec(),
        })
    }

    fn into_letter(self) -> DeadLetter {
        DeadLetter {
            id: self.position,
            queue: self.queue,
            instance_id: self.instance,
            subscription: self.subscription,
            sequence: self.sequence,
            key_hash: (self.key_hash != 0).then_some(self.key_hash),
            deliveries: self.deliveries,
            reason: Reason::of_code(self.reason),
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(self.time),
            payload: self.payload,
        }
    }
}

/// Finds the whole records of a file, one after the other.
#[derive(Debug)]
struct Records {
    file: File,
    /// What was read from the file and not used, and where that begins.
    pending: Vec<u8>,
    position: u64,
    passed_over: u64,
}

impl Records {
    fn new(file: File) -> Self {
        Self { file, pending: Vec::new(), position: 0, passed_over: 0 }
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.pending.clear();
        (self.position, self.passed_over) = (0, 0);
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            if !self.fill(HEADER_SIZE)? {
                self.pass_over(self.pending.len());
                return Ok(None);
            }
            if let Some(length) = self.length_of_record()
                && self.fill(length)?
                && let Some(record) = Record::parse(self.position, &self.pending[..length])
            {
                self.pending.drain(..length);
                self.position += length as u64;
                return Ok(Some(record));
            }
            // To the next place where a record may begin.
            let found = self.pending[1..].windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            let none = self.pending.len() - (MAGIC.len() - 1);
            self.pass_over(found.map_or(none, |distance| 1 + distance));
        }
    }

    /// The length that stands in a record's header, if that is one.
    fn length_of_record(&self) -> Option<usize> {
        let length = self.pending.get(8..12)?.first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let possible = (HEADER_SIZE..=RECORD_SIZE_MAX).contains(&length);
        (self.pending.starts_with(&MAGIC) && possible).then_some(length)
    }

    /// Reads on until so much is pending; `false` at the end of the file.
    fn fill(&mut self, size: usize) -> io::Result<bool> {
        const STEP: usize = 64 << 10;
        while self.pending.len() < size {
            let begin = self.pending.len();
            self.pending.resize(begin + STEP, 0);
            let count = loop {
                match self.file.read(&mut self.pending[begin..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            self.pending.truncate(begin + count.as_ref().map_or(0, |&count| count));
            if count? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn pass_over(&mut self, count: usize) {
        self.pending.drain(..count);
        self.position += count as u64;
        self.passed_over += count as u64;
    }
}
