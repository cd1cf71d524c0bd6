//! The log: the ring's own stream, laid out straight in files.
//!
//! A file is named by the position of its first byte of the stream, in decimal: byte
//! `position - base + 4096` of it is byte `position` of the stream, frames and padding as they
//! were in the ring. So the ring's frame parser reads it, nothing needs an index, and what is
//! appended comes straight from the ring. A file ends where the stream's position is a multiple
//! of the span, which is a multiple of the ring's capacity: no frame crosses the end of a lap, and
//! so none crosses the end of a file. Where one file ends early, and the next begins further on,
//! the sequences still follow each other: a queue that was made anew goes on at the start of a lap.
//!
//! ```text
//!  0  magic, 8 bytes                       40  base: position of the first byte
//!  8  version, u32                         48  sequence of the first message
//! 12  CRC-32C of what follows, u32         56  time, ns since 1970
//! 16  whose it is, 16 bytes                64  flags, u32: 1 frames carry checksums
//! 32  capacity of the ring                 68  length of the queue's name, u16; 70 the name
//! ```
//!
//! A journal's files are the history's, by its id; what was spilled is of one queue, by its instance.
//!
//! The rest of the first 4096 bytes is zero, but for the *mark* in the last 16: a position up to
//! which the file is known to have been synced, and the CRC-32C of that, renewed now and then. All
//! numbers are little-endian.

mod behind;
mod kept;
mod read;
mod recover;
mod write;

pub use self::recover::LogCut;

pub(crate) use self::read::{LogRead, LogReader, read_up_to};
pub(crate) use self::recover::{End, Torn};
pub(crate) use self::write::LogWriter;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fields::{put, u16_at, u32_at, u64_at};
use crate::error::Error;
use crate::layout::{COUNT_MAX, Geometry};
use crate::ring::{Check, Place};
use crate::sys::{file, process};

/// Where the stream's bytes begin in a file.
pub(crate) const HEADER_SIZE: u64 = 4096;
const HEADER_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"RINGWLOG";
const VERSION: u32 = 1;
const CHECKED_FROM: usize = 16;
const NAME_OFFSET: usize = 70;
const MARK_OFFSET: usize = HEADER_BYTES - 16;
const FLAG_CHECKED: u32 = 1;
/// Files span as much of the stream at least.
const SPAN_MIN: u64 = 16 << 20;
const SUFFIX: &str = ".log";

/// The log of one queue: which files belong to it, and what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) directory: PathBuf,
    pub(crate) queue: Box<str>,
    /// Whose its files are: those of the history directory that it is in, or, of what was spilled, of the
    /// queue that did that.
    pub(crate) id: [u8; 16],
    /// The ring's. What was written before the queue was made anew may be of another.
    pub(crate) capacity: u64,
    /// What the checksums of frames are made with, if they have any.
    pub(crate) check: Option<Check>,
    /// Where the queue began when it was made, or made anew. What is before that ends earlier.
    pub(crate) resumed_at: Place,
    /// Of the queue that reads it. Zeros where nobody does who appends.
    pub(crate) instance: [u8; 16],
}

/// One file of a log, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
}

impl LogFile {
    /// How long ago it was last written to, by the time of day; `None` if that is ahead, or the file
    /// is gone.
    pub(crate) fn age(&self) -> Option<Duration> {
        fs::metadata(&self.path).ok()?.modified().ok()?.elapsed().ok()
    }
}

/// What the first bytes of a file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) id: [u8; 16],
    pub(crate) queue: Box<str>,
    pub(crate) capacity: u64,
    pub(crate) begin: Place,
    pub(crate) time: u64,
    pub(crate) checked: bool,
    /// Up to where the file was synced, at least.
    pub(crate) synced: u64,
}

impl Log {
    /// The files there are, in the order of the stream. Others in the directory are left alone, and so
    /// is a link that leads nowhere: who looks for what comes next would find it for ever.
    pub(crate) fn files(&self) -> Result<Vec<LogFile>, Error> {
        let failed = |error| self.failed("read", &self.directory, error);
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let base = name.strip_suffix(SUFFIX).and_then(|base| base.parse().ok());
            // What cannot be looked at is for who opens it to tell.
            let leads_to_one = || match fs::metadata(&path) {
                Ok(facts) => facts.is_file(),
                Err(error) => error.kind() != io::ErrorKind::NotFound,
            };
            let is_file = || entry.file_type().is_ok_and(|kind| kind.is_file()) || leads_to_one();
            // Of the ways to write a number one is a file's.
            let is_one = |&base: &u64| base < COUNT_MAX && path == self.path(base) && is_file();
            files.extend(base.filter(is_one).map(|base| LogFile { base, path }));
        }
        files.sort_unstable_by_key(|file| file.base);
        Ok(files)
    }

    /// Has the files' names on the disk, and the directory's own. Calls `failed` if the disk could not
    /// do that.
    fn sync_names(&self, failed: impl Fn()) -> Result<(), Error> {
        for path in self.directory.ancestors().take(2) {
            let open = File::open(path).map_err(|error| self.failed("open", path, error))?;
            let synced = open.sync_all().inspect_err(|_| failed());
            synced.map_err(|error| self.failed("sync", path, error))?;
        }
        Ok(())
    }

    pub(crate) fn path(&self, base: u64) -> PathBuf {
        self.directory.join(format!("{base:020}{SUFFIX}"))
    }

    /// The position where the file that has `position` ends at the latest.
    pub(crate) fn limit(&self, position: u64) -> u64 {
        limit(self.capacity, position)
    }

    /// Reads a file's header; `None` if the file is gone.
    pub(crate) fn open(&self, file: &LogFile) -> Result<Option<(File, FileHeader)>, Error> {
        let open = match File::open(&file.path) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("open", &file.path, error)),
        };
        let mut bytes = [0; HEADER_BYTES];
        match open.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged(&file.path, 0, "its header is cut short"));
            }
            Err(error) => return Err(self.failed("read", &file.path, error)),
        }
        let header = FileHeader::parse(&bytes).map_err(|what| self.damaged(&file.path, 0, what))?;
        if header.id != self.id {
            return Err(self.foreign(&file.path, header.id));
        }
        if header.begin.position != file.base {
            return Err(self.damaged(&file.path, 0, "its header is of another file"));
        }
        Ok(Some((open, header)))
    }

    pub(crate) fn failed(&self, doing: &'static str, path: &Path, source: io::Error) -> Error {
        Error::file(&self.queue, doing, path, source)
    }

    /// An error about a byte of a file.
    pub(crate) fn damaged(&self, path: &Path, offset: u64, what: &str) -> Error {
        Error::LogDamaged {
            queue: self.queue.clone(),
            path: path.into(),
            offset,
            what: what.into(),
        }
    }

    pub(crate) fn foreign(&self, path: &Path, theirs: [u8; 16]) -> Error {
        let kind = if self.check.is_some() { "history" } else { "instance" };
        let text = |id| format!("{kind} {}", hex(id)).into();
        let (theirs, ours) = (text(&theirs), text(&self.id));
        Error::ForeignHistory { queue: self.queue.clone(), path: path.into(), theirs, ours }
    }
}

/// What a file's first bytes say, whosever it is; `None` if that is nothing.
pub(crate) fn header_of(path: &Path) -> Option<FileHeader> {
    let mut bytes = [0; HEADER_BYTES];
    file::open_regular(path, OpenOptions::new().read(true))
        .ok()?
        .read_exact_at(&mut bytes, 0)
        .ok()?;
    FileHeader::parse(&bytes).ok()
}

fn limit(capacity: u64, position: u64) -> u64 {
    (position | (span(capacity) - 1)).saturating_add(1)
}

/// Bytes of the stream that a file has at most.
fn span(capacity: u64) -> u64 {
    capacity.max(SPAN_MIN)
}

pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_le_bytes(*bytes).swap_bytes())
}

/// The bytes that say up to where a file was synced.
fn mark(synced: u64) -> [u8; HEADER_BYTES - MARK_OFFSET] {
    let mut bytes = [0; HEADER_BYTES - MARK_OFFSET];
    bytes[..8].copy_from_slice(&synced.to_le_bytes());
    let check = u64::from(crc32c::crc32c(&bytes[..8]));
    bytes[8..].copy_from_slice(&check.to_le_bytes());
    bytes
}

impl FileHeader {
    fn new(log: &Log, begin: Place) -> Self {
        Self {
            id: log.id,
            queue: log.queue.clone(),
            capacity: log.capacity,
            begin,
            time: process::time_of_day(),
            checked: log.check.is_some(),
            synced: begin.position,
        }
    }

    /// Whether a file begins with this, whenever it was begun and however far it was synced.
    fn is_in(&self, file: &File) -> bool {
        let mut bytes = [0; HEADER_BYTES];
        let found = file.read_exact_at(&mut bytes, 0).ok().and_then(|()| Self::parse(&bytes).ok());
        found.is_some_and(|it| Self { time: self.time, synced: self.synced, ..it } == *self)
    }

    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |offset, field: &[u8]| put(&mut bytes, offset, field);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, &self.id);
        put(32, &self.capacity.to_le_bytes());
        put(40, &self.begin.position.to_le_bytes());
        put(48, &self.begin.sequence.to_le_bytes());
        put(56, &self.time.to_le_bytes());
        put(64, &(if self.checked { FLAG_CHECKED } else { 0 }).to_le_bytes());
        let name = self.queue.as_bytes();
        put(68, &u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
        put(NAME_OFFSET, name);
        let check = crc32c::crc32c(&bytes[CHECKED_FROM..MARK_OFFSET]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes[MARK_OFFSET..].copy_from_slice(&mark(self.synced));
        bytes
    }

    /// Reads what another process wrote; the error says what is wrong with it.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, &'static str> {
        let u64_at = |offset| u64_at(bytes, offset);
        if bytes[..8] != MAGIC {
            return Err("it does not begin like a file of a log");
        }
        if u32_at(bytes, 8) != VERSION {
            return Err("its format is one that this build does not know");
        }
        if u32_at(bytes, 12) != crc32c::crc32c(&bytes[CHECKED_FROM..MARK_OFFSET]) {
            return Err("its header does not match its checksum");
        }
        let length = usize::from(u16_at(bytes, 68));
        let name = bytes.get(NAME_OFFSET..NAME_OFFSET + length);
        let queue = name.and_then(|name| std::str::from_utf8(name).ok());
        let queue = queue.ok_or("its header names no queue")?.into();
        let (capacity, begin) = (u64_at(32), Place { position: u64_at(40), sequence: u64_at(48) });
        let possible = Geometry::is_capacity(capacity)
            && begin.position.is_multiple_of(8)
            && begin.position < COUNT_MAX
            && begin.sequence < COUNT_MAX;
        if !possible {
            return Err("its header has sizes that no log has");
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        let checked = u32_at(bytes, 64) & FLAG_CHECKED != 0;
        // One that is torn says nothing.
        let synced = u64_at(MARK_OFFSET);
        let synced = if bytes[MARK_OFFSET..] == mark(synced) { synced } else { 0 };
        Ok(Self { id, queue, capacity, begin, time: u64_at(56), checked, synced })
    }
}
