//! The history directory: whose it is, and what lies where in it.
//!
//! ```text
//! identity         the name of the queues it belongs to, and an id that no other directory has
//! instance         which one of them appends to it: the one that was made last
//! pruned           up to where its journal was shortened by somebody who could not tell a queue
//! log/             the journal
//! spill/           what some consumers have not read yet
//! dead-letters/    a file for each subscription
//! subscriptions/   the same: how far those of a queue with a journal have come
//! ```
//!
//! Whoever appends has the directory locked, by the file `identity`, and so has whoever makes a
//! queue that belongs to it, from before it looks at what is there until the queue has its name. In
//! between it says in `instance` which queue that is. So a queue of the same name that lives
//! elsewhere, in a container with a `/dev/shm` of its own, finds when it wants to append that it has
//! been succeeded. A directory without that file is nobody's yet, and anybody's to take.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{self, Path, PathBuf};

use super::checkpoint::{self, Entry};
use super::log::{End, Log, LogCut, Torn, hex};
use super::making::make;
use super::restoring::owner_by_log;
use crate::error::Error;
use crate::layout::{FIRST_SEQUENCE_MAX, HISTORY_PATH_SIZE, Identity};
use crate::ring::{Check, Place};
use crate::segment::Segment;
use crate::sys::fork::OwnFile;
use crate::sys::{file, process};

pub(super) const IDENTITY: &str = "identity";
pub(super) const INSTANCE: &str = "instance";
pub(super) const PRUNED: &str = "pruned";
/// How the names of files end that somebody died while making.
pub(super) const ASIDE: &str = "new";
const FIRST_LINE: &str = "ringway history 1";
/// More than any identity has.
const IDENTITY_SIZE_MAX: u64 = 4096;

/// A history directory that a queue is about to be made with. Nobody else appends there meanwhile.
#[derive(Debug)]
pub(crate) struct Adopted {
    path: PathBuf,
    id: [u8; 16],
    queue: Box<str>,
    /// What `instance` said before, until the queue has its name.
    before: Option<Vec<u8>>,
    is_told: bool,
    /// What is to be cut off its journal.
    torn: Option<Torn>,
    /// Last, so that others come when all is done.
    _lock: DirectoryLock,
}

impl Adopted {
    /// Of a directory that is the queue's, or nobody's yet.
    pub(crate) fn new(directory: &Path, queue: &str) -> Result<Self, Error> {
        /// Somebody may remove what is there as often as this has just made it.
        const TRIES: u32 = 100;
        let adopt_and_lock = || {
            let path = adopt(directory, queue)?;
            lock(&path, queue).map(|lock| (path, lock))
        };
        // What was there a moment ago cannot be made, what was not is not found.
        let gone = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists);
        let mut tries = 0;
        let (path, lock) = loop {
            match adopt_and_lock() {
                Err(Error::File { source, .. }) if gone(source.kind()) && tries < TRIES => {
                    tries += 1;
                }
                done => break done?,
            }
        };
        if Segment::exists(queue)? {
            return Err(Error::AlreadyExists { queue: queue.into() });
        }
        let Some(lock) = lock else {
            return Err(Error::JournalerAlive { queue: queue.into() });
        };
        // Nobody removes it from here on; before, it may have become another's.
        let id = id_of(&path, queue)?;
        Ok(Self {
            path,
            id,
            queue: queue.into(),
            before: None,
            is_told: false,
            torn: None,
            _lock: lock,
        })
    }

    /// The directory's path from the root on, which is what a segment can keep.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether messages of a journal are there.
    pub(crate) fn has_journal(&self) -> Result<bool, Error> {
        let log = journal_in(&self.path, &self.queue, self.id, 1);
        Ok(!log.files()?.is_empty())
    }

    /// The directory's id.
    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Says whose the directory is from now on, unless this is dropped before that queue is made.
    pub(crate) fn tell(&mut self, instance: &[u8; 16]) -> Result<(), Error> {
        let path = self.path.join(INSTANCE);
        let failed = |source| Error::file(&self.queue, "write", &path, source);
        self.before = read_instance(&path).map_err(failed)?;
        write_instance(&path, &instance_text(instance)).map_err(failed)?;
        self.is_told = true;
        Ok(())
    }

    /// Cuts off what is torn at the end of its journal, when nothing but the name can be in the queue's
    /// way any more: whoever is refused would not be told.
    pub(crate) fn cut(&mut self) -> Result<Vec<LogCut>, Error> {
        let log = journal_in(&self.path, &self.queue, self.id, 1);
        let mut cuts = Vec::new();
        while let Some(torn) = self.torn.take() {
            cuts.push(log.cut(&torn)?);
            // The file behind it may be one that was just being made.
            self.torn = log.find_end()?.and_then(|end| end.torn);
        }
        Ok(cuts)
    }

    /// The queue is made.
    pub(crate) fn keep(mut self) {
        self.is_told = false;
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        if !self.is_told {
            return;
        }
        let path = self.path.join(INSTANCE);
        // What fails leaves the directory to whoever makes the next queue.
        let _ = match &self.before {
            Some(before) => write_instance(&path, before),
            None => fs::remove_file(&path),
        };
    }
}

fn instance_text(instance: &[u8; 16]) -> Vec<u8> {
    format!("{}\n", hex(instance)).into_bytes()
}

/// `None` if there is no such file.
fn read_instance(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}

/// Reads a file, as far as one of a directory's own can go: somebody else may have put anything there.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let file = file::open_regular(path, OpenOptions::new().read(true))?;
    let mut bytes = Vec::new();
    file.take(IDENTITY_SIZE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Not synced: the queue that it names does not outlive the machine either.
fn write_instance(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, &mut OpenOptions::new(), |aside, path| fs::rename(aside, path))
}

/// The position below which a journal has no file any more, since somebody took them away who could not
/// tell the queue: one that lives elsewhere.
pub(super) fn pruned_until(log: &Log) -> u64 {
    let text = log.directory.parent().and_then(|path| read_regular(&path.join(PRUNED)).ok());
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| text.trim_end().parse().ok()).unwrap_or(0)
}

/// Whether another queue has been made from what a log is in since its own was.
pub(super) fn is_succeeded(log: &Log) -> bool {
    let checked = |directory| check_instance_in(directory, &log.queue, &log.instance);
    let checked = log.directory.parent().map(checked);
    matches!(checked, Some(Err(Error::ForeignHistory { .. })))
}

/// Says that a journal is about to begin at a position, for a queue that cannot be told.
pub(super) fn note_pruned(directory: &Path, queue: &str, position: u64) -> Result<(), Error> {
    let path = directory.join(PRUNED);
    let written = write_instance(&path, format!("{position}\n").as_bytes());
    written.map_err(|error| Error::file(queue, "write", &path, error))
}

/// Makes a history directory the queue's, if it is nobody's yet. Returns its path from the root on.
fn adopt(directory: &Path, queue: &str) -> Result<PathBuf, Error> {
    let path = prepare(directory, queue)?;
    let identity = path.join(IDENTITY);
    let failed = |doing| {
        let identity = &identity;
        move |source| Error::file(queue, doing, identity, source)
    };
    if !identity.try_exists().map_err(failed("find"))? {
        let id = if let Some(owner) = owner_by_log(&path, queue)? {
            // Somebody has lost it.
            id_as_of(owner, &path, queue)?
        } else {
            let mut id = [0; 16];
            process::random(&mut id).map_err(failed("make"))?;
            id
        };
        let text = identity_text(queue, &id);
        // Of two who do this at once, one makes it, and both read it.
        let link = |aside: &Path, path: &Path| {
            File::open(aside)?.sync_all()?;
            fs::hard_link(aside, path)
        };
        match write_whole(&identity, text.as_bytes(), &mut OpenOptions::new(), link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => written.map_err(failed("make"))?,
        }
    }
    // For its name, and the directory's own, also if somebody made them who died before this.
    for directory in path.ancestors().take(2) {
        sync_directory(directory).map_err(|error| Error::file(queue, "sync", directory, error))?;
    }
    id_of(&path, queue)?;
    Ok(path)
}

/// Whether two paths lead to one directory; of what cannot be looked at, whether they are the same.
pub(crate) fn is_same_directory(asked: &Path, found: &Path) -> bool {
    let facts = |path| fs::metadata(path).map(|facts| (facts.dev(), facts.ino()));
    match (facts(asked), facts(found)) {
        (Ok(asked), Ok(found)) => asked == found,
        _ => path::absolute(asked).is_ok_and(|asked| asked == found),
    }
}

/// What the file says that says whose a directory is.
pub(super) fn identity_text(queue: &str, id: &[u8; 16]) -> String {
    format!("{FIRST_LINE}\nqueue {queue}\nid {}\n", hex(id))
}

/// The id of a directory that belongs to the queue.
fn id_of(path: &Path, queue: &str) -> Result<[u8; 16], Error> {
    id_as_of(owner(path, queue)?, path, queue)
}

fn id_as_of((owner, id): (String, [u8; 16]), path: &Path, queue: &str) -> Result<[u8; 16], Error> {
    if owner == queue {
        return Ok(id);
    }
    Err(Error::ForeignHistory {
        queue: queue.into(),
        path: path.into(),
        theirs: format!("queue '{owner}', history {}", hex(&id)).into(),
        ours: format!("queue '{queue}'").into(),
    })
}

fn not_an_identity(queue: &str, path: PathBuf) -> Error {
    let what = "it is not the identity of a history directory".into();
    Error::LogDamaged { queue: queue.into(), path, offset: 0, what }
}

fn prepare(directory: &Path, queue: &str) -> Result<PathBuf, Error> {
    let path = make_directory(directory).and_then(|()| directory.canonicalize());
    let path = path.and_then(|path| {
        let fits = path.as_os_str().as_bytes().len() < HISTORY_PATH_SIZE;
        if fits { Ok(path) } else { Err(io::ErrorKind::InvalidFilename.into()) }
    });
    path.map_err(|error| Error::file(queue, "make the directory", directory, error))
}

/// Makes a directory, for this user alone, and those above it that are missing, so that they are there
/// when power goes: their names are on the disk.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = directory.ancestors().take_while(is_missing).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(|parent| {
        // What is named from where one is has its name there.
        sync_directory(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    })
}

/// Has the names in a directory on the disk, if one may look at it.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        open => open?.sync_all(),
    }
}

/// The queue and the id that the file names; `None` if it is something else.
fn read_identity(path: &Path) -> io::Result<Option<(String, [u8; 16])>> {
    let bytes = read_regular(path)?;
    if bytes.len() as u64 == IDENTITY_SIZE_MAX {
        return Ok(None);
    }
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

/// Writes a file so that it is there whole or not at all: beside it, and then as `give_name` has it.
pub(super) fn write_whole(
    path: &Path,
    bytes: &[u8],
    options: &mut OpenOptions,
    give_name: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let aside = name_aside(path)?;
    let mut file = make(&aside, options.write(true))?;
    let written = file.write_all(bytes).and_then(|()| give_name(&aside, path));
    // It has been renamed, or is of no use any more.
    let _ = fs::remove_file(&aside);
    written
}

/// A name for a file that is written beside another one; nobody else's, also where others have process
/// numbers of their own.
pub(super) fn name_aside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 16];
    process::random(&mut random)?;
    Ok(path.with_extension(format!("{}.{ASIDE}", hex(&random))))
}

/// Where a queue's messages lie on disk; `None` if it has no history directory.
pub(super) fn log_of(segment: &Segment) -> Option<Log> {
    let Identity { keeping, first_position, first_sequence, instance, .. } = *segment.identity();
    let (directory, id) = (segment.history()?, keeping.history_id);
    let capacity = segment.geometry().capacity();
    let log = journal_in(directory, segment.name(), id, capacity);
    let resumed_at = Place { position: first_position, sequence: first_sequence };
    let log = Log { resumed_at, instance, ..log };
    Some(match keeping.journal {
        Some(_) => log,
        // By its frames nobody could tell whose it is.
        None => Log { directory: directory.join("spill"), id: instance, check: None, ..log },
    })
}

/// The journal of a history directory.
pub(super) fn journal_in(directory: &Path, queue: &str, id: [u8; 16], capacity: u64) -> Log {
    let directory = directory.join("log");
    let check = Some(Check::new(&id));
    let (resumed_at, instance) = (Place::default(), [0; 16]);
    Log { directory, queue: queue.into(), id, capacity, check, resumed_at, instance }
}

/// Held by whoever appends to what is in a directory, or cuts it, or makes a queue that will.
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

/// Has a directory to oneself; `None` while somebody else has. What was removed, and perhaps made
/// anew, before it was locked is not there.
pub(super) fn lock(directory: &Path, queue: &str) -> Result<Option<DirectoryLock>, Error> {
    let path = directory.join(IDENTITY);
    let lock = || {
        let file =
            OwnFile::open(|| file::open_regular(&path, OpenOptions::new().read(true).write(true)))?;
        let Some(lock) = file::try_lock(&file, 0, 1)?.then_some(DirectoryLock(file)) else {
            return Ok(None);
        };
        let [ours, there] = [lock.0.metadata()?, fs::metadata(&path)?];
        let is_it = (ours.dev(), ours.ino()) == (there.dev(), there.ino());
        if is_it { Ok(Some(lock)) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    lock().map_err(|error: io::Error| Error::file(queue, "lock", &path, error))
}

/// The queue that a directory belongs to, and its id.
pub(super) fn owner(directory: &Path, queue: &str) -> Result<(String, [u8; 16]), Error> {
    let path = directory.join(IDENTITY);
    match read_identity(&path) {
        Ok(Some(owner)) => Ok(owner),
        Ok(None) => Err(not_an_identity(queue, path)),
        Err(error) => Err(Error::file(queue, "read", &path, error)),
    }
}

/// Insists that no other queue has been made from a queue's history since it was made itself.
pub(super) fn check_instance(segment: &Segment) -> Result<(), Error> {
    let Some(directory) = segment.history() else { return Ok(()) };
    check_instance_in(directory, segment.name(), &segment.identity().instance)
}

/// The same of the queue with this instance.
pub(super) fn check_instance_in(
    directory: &Path,
    queue: &str,
    instance: &[u8; 16],
) -> Result<(), Error> {
    let path = directory.join(INSTANCE);
    let read = read_instance(&path);
    match read.map_err(|error| Error::file(queue, "read", &path, error))? {
        Some(text) if text != instance_text(instance) => Err(Error::ForeignHistory {
            queue: queue.into(),
            path: directory.into(),
            theirs: "another queue, which was made from this history since".into(),
            ours: format!("instance {}", hex(instance)).into(),
        }),
        _ => Ok(()),
    }
}

/// What a journal has.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The position of its first byte.
    pub(crate) from: u64,
    /// Where the queue goes on: at the start of a lap.
    pub(crate) resumed_at: Place,
    /// Its named subscriptions.
    pub(crate) subscriptions: Vec<Entry>,
}

impl Recovered {
    /// Of a queue that begins with this sequence.
    pub(crate) fn nothing(sequence: u64) -> Self {
        let resumed_at = Place { position: 0, sequence };
        Self { from: 0, resumed_at, subscriptions: Vec::new() }
    }
}

/// Finds where a queue that is about to be made goes on: at its first sequence if the journal is
/// empty. What is torn at the journal's end is left to [`Adopted::cut`].
pub(crate) fn recover(
    adopted: &mut Adopted,
    capacity: u64,
    first_sequence: u64,
) -> Result<Recovered, Error> {
    let Adopted { path: directory, id, queue, torn, .. } = adopted;
    let log = journal_in(directory, queue, *id, capacity);
    log.settle()?;
    let mut end = None;
    if let Some(End { place, is_begun, torn: found }) = log.find_end()? {
        (*torn, end) = (found, is_begun.then_some(place));
    }
    let Some(end) = end else {
        let nothing = Recovered::nothing(first_sequence);
        let subscriptions = checkpoint::restore(directory, &log, None, nothing.resumed_at)?;
        return Ok(Recovered { subscriptions, ..nothing });
    };
    let from = log.files()?.first().map_or(end.position, |file| file.base);
    let Place { position, sequence } = end;
    let resumed_at = Place { position: position.next_multiple_of(capacity), sequence };
    if resumed_at.position.max(resumed_at.sequence) >= FIRST_SEQUENCE_MAX {
        let what = format!(
            "its journal in {} goes on with message {sequence} at position {}, which are to be below 2^61; name another directory",
            directory.display(),
            resumed_at.position
        );
        return Err(Error::InvalidOption { queue: queue.clone(), what: what.into() });
    }
    let subscriptions = checkpoint::restore(directory, &log, Some(end), resumed_at)?;
    Ok(Recovered { from, resumed_at, subscriptions })
}

/// What the checksums of a queue's messages are made with, if it has a journal.
pub(crate) fn check_of(segment: &Segment) -> Option<Check> {
    let keeping = &segment.identity().keeping;
    keeping.journal.map(|_| Check::new(&keeping.history_id))
}
