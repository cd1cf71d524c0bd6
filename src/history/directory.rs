//! The history directory: whose it is, and what lies where in it.
//!
//! ```text
//! identity         the queue it belongs to, and an id that no other directory has
//! log/             the journal
//! spill/           what some consumers have not read yet
//! dead-letters/    a file for each subscription
//! subscriptions/   the same: how far those of a queue with a journal have come
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, Entry};
use super::log::{Log, LogCut, hex};
use crate::error::Error;
use crate::layout::{HISTORY_PATH_SIZE, Identity};
use crate::ring::{Check, Place};
use crate::segment::Segment;
use crate::sys::fork::OwnFile;
use crate::sys::{file, process};

const IDENTITY: &str = "identity";
const FIRST_LINE: &str = "ringway history 1";
/// More than any identity has.
const IDENTITY_SIZE_MAX: u64 = 4096;

/// Makes a history directory the queue's, if it is nobody's yet. Returns its path from the root
/// on, which is what a segment can keep, and its id.
pub(crate) fn adopt(directory: &Path, queue: &str) -> Result<(PathBuf, [u8; 16]), Error> {
    let path = prepare(directory, queue)?;
    let failed = |doing, path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::File { queue: queue.into(), doing, path, source }
    };
    let identity = path.join(IDENTITY);
    match read_identity(&identity) {
        Ok(Some((owner, id))) if owner == queue => return Ok((path, id)),
        Ok(Some((owner, id))) => {
            return Err(Error::ForeignHistory {
                queue: queue.into(),
                path,
                theirs: format!("queue '{owner}', history {}", hex(&id)).into(),
                ours: format!("queue '{queue}'").into(),
            });
        }
        Ok(None) => {
            return Err(not_an_identity(queue, identity));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &identity)(error)),
    }
    let mut id = [0; 16];
    process::random(&mut id).map_err(failed("make", &identity))?;
    let text = format!("{FIRST_LINE}\nqueue {queue}\nid {}\n", hex(&id));
    write_whole(&identity, text.as_bytes()).map_err(failed("make", &identity))?;
    // For the directory's own name; where one may not look, as far as one may.
    if let Some(parent) = path.parent()
        && let Ok(open) = File::open(parent)
    {
        open.sync_all().map_err(failed("sync", parent))?;
    }
    Ok((path, id))
}

fn not_an_identity(queue: &str, path: PathBuf) -> Error {
    let what = "it is not the identity of a history directory".into();
    Error::LogDamaged { queue: queue.into(), path, offset: 0, what }
}

fn prepare(directory: &Path, queue: &str) -> Result<PathBuf, Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let path = made.and_then(|()| directory.canonicalize());
    let path = path.and_then(|path| {
        let fits = path.as_os_str().as_bytes().len() < HISTORY_PATH_SIZE;
        if fits { Ok(path) } else { Err(io::ErrorKind::InvalidFilename.into()) }
    });
    path.map_err(|source| Error::File {
        queue: queue.into(),
        doing: "make the directory",
        path: directory.into(),
        source,
    })
}

/// The queue and the id that the file names; `None` if it is something else.
fn read_identity(path: &Path) -> io::Result<Option<(String, [u8; 16])>> {
    if fs::metadata(path)?.len() > IDENTITY_SIZE_MAX {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    let parse = || {
        let mut lines = std::str::from_utf8(&bytes).ok()?.lines();
        let queue = lines.next().filter(|&line| line == FIRST_LINE).and_then(|_| lines.next());
        let queue = queue?.strip_prefix("queue ")?.to_owned();
        let digits = lines.next()?.strip_prefix("id ")?;
        let id = (digits.len() == 32 && digits.is_ascii()).then_some(digits)?;
        let mut bytes = [0; 16];
        for (byte, index) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&id[index..index + 2], 16).ok()?;
        }
        Some((queue, bytes))
    };
    Ok(parse())
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Where a queue's messages lie on disk; `None` if it has no history directory.
pub(super) fn log_of(segment: &Segment) -> Option<Log> {
    let Identity { keeping, first_position, first_sequence, .. } = *segment.identity();
    let (directory, id) = (segment.history()?, keeping.history_id);
    let capacity = segment.geometry().capacity();
    let log = journal_in(directory, segment.name(), id, capacity);
    let resumed_at = Place { position: first_position, sequence: first_sequence };
    let log = Log { resumed_at, ..log };
    Some(match keeping.journal {
        Some(_) => log,
        None => Log { directory: directory.join("spill"), check: None, ..log },
    })
}

/// The journal of a history directory.
pub(super) fn journal_in(directory: &Path, queue: &str, id: [u8; 16], capacity: u64) -> Log {
    let directory = directory.join("log");
    let check = Some(Check::new(&id));
    Log { directory, queue: queue.into(), id, capacity, check, resumed_at: Place::default() }
}

/// Held by whoever appends to a directory's journal, or cuts it.
#[derive(Debug)]
pub(super) struct DirectoryLock(OwnFile);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if self.0.is_own() {
            // As for the locks of a segment: a child that was forked just now has a copy.
            let _ = file::unlock(&self.0, 0, 1);
        }
    }
}

/// Has a directory to oneself; `None` while somebody else has.
pub(super) fn lock(directory: &Path, queue: &str) -> Result<Option<DirectoryLock>, Error> {
    let path = directory.join(IDENTITY);
    let open = OwnFile::open(|| OpenOptions::new().read(true).write(true).open(&path));
    let locked =
        open.and_then(|file| Ok(file::try_lock(&file, 0, 1)?.then_some(DirectoryLock(file))));
    locked.map_err(|source| Error::File { queue: queue.into(), doing: "lock", path, source })
}

/// The queue that a directory belongs to, and its id.
pub(super) fn owner(directory: &Path, queue: &str) -> Result<(String, [u8; 16]), Error> {
    let path = directory.join(IDENTITY);
    match read_identity(&path) {
        Ok(Some(owner)) => Ok(owner),
        Ok(None) => Err(not_an_identity(queue, path)),
        Err(source) => Err(Error::File { queue: queue.into(), doing: "read", path, source }),
    }
}

/// Removes what is kept in a directory, and the directory if nothing else is in it. The identity
/// goes last, so that what could not be done can be tried again.
pub(super) fn remove_all(directory: &Path, queue: &str) -> Result<Vec<PathBuf>, Error> {
    /// The directories within, and how their files end.
    const KEPT: [(&str, &[&str]); 4] = [
        ("log", &["log", "broken"]),
        ("spill", &["log"]),
        ("dead-letters", &["letters"]),
        ("subscriptions", &["checkpoint"]),
    ];
    let failed = |doing, path: &Path| {
        let (queue, path) = (queue.into(), path.to_path_buf());
        move |source| Error::File { queue, doing, path, source }
    };
    let mut removed = Vec::new();
    for (name, extensions) in KEPT {
        let within = directory.join(name);
        let entries = match fs::read_dir(&within) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", &within)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(failed("read", &within))?.path());
        }
        paths.sort();
        for path in paths {
            if path.extension().is_some_and(|found| extensions.iter().any(|of| found == *of)) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                removed.push(path);
            }
        }
        // Not if somebody else has put something there.
        let _ = fs::remove_dir(&within);
    }
    let identity = directory.join(IDENTITY);
    // Of somebody who died while making it.
    let _ = fs::remove_file(identity.with_extension("new"));
    fs::remove_file(&identity).map_err(failed("remove", &identity))?;
    removed.push(identity);
    let _ = fs::remove_dir(directory);
    Ok(removed)
}

/// What a journal has.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The position of its first byte.
    pub(crate) from: u64,
    pub(crate) cut: Option<LogCut>,
    /// Where the queue goes on: at the start of a lap.
    pub(crate) resumed_at: Place,
    /// Its named subscriptions.
    pub(crate) subscriptions: Vec<Entry>,
}

impl Recovered {
    /// Of a queue that begins with this sequence.
    pub(crate) fn nothing(sequence: u64) -> Self {
        let resumed_at = Place { position: 0, sequence };
        Self { from: 0, cut: None, resumed_at, subscriptions: Vec::new() }
    }
}

/// Finds where a queue that is about to be made goes on: at its first sequence if the journal is
/// empty. What is torn at the journal's end is cut off.
pub(crate) fn recover(
    directory: &Path,
    queue: &str,
    id: [u8; 16],
    capacity: u64,
    first_sequence: u64,
) -> Result<Recovered, Error> {
    let log = journal_in(directory, queue, id, capacity);
    let Some(_lock) = lock(directory, queue)? else {
        return Err(Error::JournalerAlive { queue: queue.into() });
    };
    let mut cut = None;
    while let Some(end) = log.find_end()? {
        let Some(torn) = end.torn else {
            let files = log.files()?;
            if let Some(last) = files.last() {
                // What is in it counts as durable from now on.
                let synced = File::open(&last.path).and_then(|file| file.sync_all());
                synced.map_err(|error| log.failed("sync", &last.path, error))?;
            }
            let from = files.first().map_or(end.place.position, |file| file.base);
            let Place { position, sequence } = end.place;
            let resumed_at = Place { position: position.next_multiple_of(capacity), sequence };
            let subscriptions = checkpoint::restore(directory, &log, end.place, resumed_at)?;
            return Ok(Recovered { from, cut, resumed_at, subscriptions });
        };
        // The file before a torn header may end in the middle too.
        cut = Some(log.cut(&torn)?);
    }
    let nothing = Recovered::nothing(first_sequence);
    let first = nothing.resumed_at;
    let subscriptions = checkpoint::restore(directory, &log, first, first)?;
    Ok(Recovered { cut, subscriptions, ..nothing })
}

/// What the checksums of a queue's messages are made with, if it has a journal.
pub(crate) fn check_of(segment: &Segment) -> Option<Check> {
    let keeping = &segment.identity().keeping;
    keeping.journal.map(|_| Check::new(&keeping.history_id))
}
