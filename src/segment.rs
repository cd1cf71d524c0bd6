//! The named segment: its birth, its locks, its mappings, its end.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::calls::call_all;
use crate::error::{self, Error};
use crate::layout::{
    self, CONTROL, Geometry, HEADER, Identity, IdentityError, Keeping, SUBSCRIPTION_NAME_SIZE,
};
use crate::region::Region;
use crate::ring::{MemberIndex, Ring, StartError};
use crate::sync::Ordering;
use crate::sys::fork::{OwnFile, Witness};
use crate::sys::{file, map, process};
use crate::wait::Event;

/// Where the system keeps POSIX shared memory.
const DIRECTORY: &str = "/dev/shm";
/// What the names of our objects begin with.
const PREFIX: &str = "ringway.";
const NAME_SIZE_MAX: usize = 200;

/// The bytes that are locked to show that somebody lives, one for the producer and one for each
/// member, and that somebody changes the subscription table, appends to the history, or removes the
/// queue. They need not exist in the file.
const PRODUCER_BYTE: u64 = 0;
const MEMBERS_BYTE: u64 = 1;
const REGISTRY_BYTE: u64 = 1 << 20;
const HISTORIAN_BYTE: u64 = REGISTRY_BYTE + 1;
const REMOVAL_BYTE: u64 = HISTORIAN_BYTE + 1;
/// All of them, however many members there are: for `fcntl`, a count of 0 is "and all beyond".
const ALL_BYTES: (u64, u64) = (PRODUCER_BYTE, 0);

/// Whose segments a process attaches to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    /// Its own user's, and root's.
    Trusted,
    User(u32),
    /// Its own user's, root's, and this one's.
    TrustedOr(u32),
    /// For who only asks where it is.
    Anybody,
}

/// What a segment is created with.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    /// As [`new_instance`] gives it.
    pub(crate) instance: [u8; 16],
    pub(crate) geometry: Geometry,
    pub(crate) mode: u32,
    pub(crate) first_sequence: u64,
    pub(crate) first_position: u64,
    /// Of what there is in the history before it.
    pub(crate) written_from: u64,
    /// The first entries of the subscription table.
    pub(crate) subscriptions: Vec<[u8; layout::SUBSCRIPTION_SIZE]>,
    pub(crate) keeping: Keeping,
    /// Shorter than the header's field, and absolute.
    pub(crate) history: Option<PathBuf>,
}

/// What no other segment has, for one that is about to be made.
pub(crate) fn new_instance(name: &str) -> Result<[u8; 16], Error> {
    let mut instance = [0; 16];
    let drawn = process::random(&mut instance);
    drawn.map(|()| instance).map_err(|source| Error::os(name, error::CREATE, source))
}

/// An open segment, checked when it was opened.
#[derive(Debug)]
pub(crate) struct Segment {
    name: Box<str>,
    file: File,
    writable: bool,
    identity: Identity,
    inode: (u64, u64),
    owner: u32,
    mode: u32,
    history: Option<PathBuf>,
}

impl Segment {
    /// Makes a segment and then gives it its name, so that nobody ever sees half of one. In between, when
    /// nothing is left that may take long, it does what has to be done before.
    pub(crate) fn create(
        name: &str,
        birth: &Birth,
        before_naming: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        check_name(name)?;
        let os = |doing| move |source| Error::os(name, doing, source);
        let geometry = birth.geometry;
        let identity = Identity {
            geometry,
            minor: layout::MINOR,
            instance: birth.instance,
            created_at: process::time_of_day(),
            first_sequence: birth.first_sequence,
            first_position: birth.first_position,
            keeping: birth.keeping,
            creator_pid: std::process::id(),
        };
        let file =
            file::create_unnamed(DIRECTORY.as_ref(), birth.mode).map_err(os(error::CREATE))?;
        let gap = geometry.control_end() as u64..geometry.ring_offset() as u64;
        let allocated = file::allocate(&file, geometry.segment_size(), gap);
        allocated.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSPC) => {
                let needed = geometry.memory_size();
                let available = file::space_left(&file).unwrap_or(0);
                Error::NoSpace { queue: name.into(), needed, available }
            }
            _ => Error::os(name, "reserve the memory of", error),
        })?;
        file.write_all_at(&identity.birth_image(birth.written_from), 0)
            .map_err(os("initialise"))?;
        if let Some(path) = &birth.history {
            let bytes = path.as_os_str().as_bytes();
            file.write_all_at(bytes, HEADER.history.offset() as u64).map_err(os("initialise"))?;
        }
        for (index, entry) in (0..).zip(&birth.subscriptions) {
            let offset = Geometry::control_offset() + geometry.subscription(index);
            file.write_all_at(entry, offset as u64).map_err(os("initialise"))?;
        }
        for (word, entries) in birth.subscriptions.chunks(64).enumerate() {
            let offset = Geometry::control_offset() + geometry.subscription_map(word);
            let bits = (u64::MAX >> (64 - entries.len())).to_le_bytes();
            file.write_all_at(&bits, offset as u64).map_err(os("initialise"))?;
        }
        before_naming()?;
        file::link(&file, &path(name)).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { queue: name.into() },
            _ => Error::os(name, error::NAME, error),
        })?;
        let facts = file.metadata().map_err(os("examine"))?;
        Ok(Self {
            name: name.into(),
            file,
            writable: true,
            identity,
            inode: (facts.dev(), facts.ino()),
            owner: facts.uid(),
            mode: facts.mode() & 0o7777,
            history: birth.history.clone(),
        })
    }

    /// Whether something stands at the name.
    pub(crate) fn exists(name: &str) -> Result<bool, Error> {
        check_name(name)?;
        Ok(std::fs::symlink_metadata(path(name)).is_ok())
    }

    /// Opens a segment, for reading alone if that is all that its mode allows.
    pub(crate) fn open(name: &str, owner: Owner) -> Result<Self, Error> {
        Object::open(name, owner)?.into_segment()
    }

    /// Takes the name away. Refuses while somebody lives there, or if the object is no segment,
    /// unless forced. Whoever is still attached finds out. `false` if it may not go yet, which is asked
    /// when nobody can do anything there any more, and not if forced.
    pub(crate) fn remove(
        name: &str,
        owner: Owner,
        force: bool,
        may_go: impl Fn(&Segment, &Ring) -> bool,
    ) -> Result<bool, Error> {
        loop {
            match Object::open(name, owner)?.remove(force, &may_go)? {
                Removal::Done => return Ok(true),
                Removal::NotYet => return Ok(false),
                // Somebody else took the name away at the same time, and may have given it to another.
                Removal::Elsewhere => {}
            }
        }
    }

    /// As [`Self::remove`], but of this very segment, for as long as its name leads to it.
    pub(crate) fn remove_this(
        &self,
        may_go: impl Fn(&Segment, &Ring) -> bool,
    ) -> Result<bool, Error> {
        // Whose it may be was asked when it was opened.
        let object = match Object::open(&self.name, Owner::Anybody) {
            Err(Error::NotFound { .. }) => return Err(self.stale()),
            object => object?,
        };
        // As long as this one's file is open no other has its inode.
        if object.inode() != self.inode {
            return Err(self.stale());
        }
        match object.remove(false, may_go)? {
            Removal::Done => Ok(true),
            Removal::NotYet => Ok(false),
            Removal::Elsewhere => Err(self.stale()),
        }
    }

    /// The names of all queues, in order. That a name is there says nothing of the object.
    pub(crate) fn list() -> Result<Vec<String>, Error> {
        // Of no queue in particular.
        let failed = |source| Error::file("", "list the queues in", DIRECTORY.as_ref(), source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(DIRECTORY).map_err(failed)? {
            let file_name = entry.map_err(failed)?.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            names.extend(name.filter(|name| check_name(name).is_ok()).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.identity.geometry
    }

    /// The largest message, bytes.
    #[allow(clippy::cast_possible_truncation, reason = "an eighth of the capacity")]
    pub(crate) fn message_size_max(&self) -> usize {
        self.geometry().message_size_max() as usize
    }

    /// The user id of its owner, and its permissions.
    pub(crate) fn owner_and_mode(&self) -> (u32, u32) {
        (self.owner, self.mode)
    }

    /// The queue's history directory.
    pub(crate) fn history(&self) -> Option<&Path> {
        self.history.as_deref()
    }

    /// Whether the name was taken away, or given to another. Asks the file, not the name, which
    /// may be out of sight (`chroot`).
    pub(crate) fn is_stale(&self) -> bool {
        self.file.metadata().is_ok_and(|facts| facts.nlink() == 0)
    }

    /// A word that a handle's users look at first: 0 in forked children.
    pub(crate) fn witness(&self, value: u32) -> Result<Witness, Error> {
        Witness::new(value).map_err(|source| Error::os(&self.name, "guard a handle of", source))
    }

    /// An error about what lies in the segment.
    pub(crate) fn corrupt(&self, corrupt: crate::ring::Corrupt) -> Error {
        Error::Corrupt { queue: self.name.clone(), what: corrupt.to_string().into() }
    }

    /// Why somebody cannot begin where it wanted to.
    pub(crate) fn start_error(&self, error: StartError) -> Error {
        match error {
            StartError::Corrupt(corrupt) => self.corrupt(corrupt),
            StartError::Ahead { asked, next } => {
                Error::SequenceAhead { queue: self.name.clone(), asked, next }
            }
        }
    }

    pub(crate) fn stale(&self) -> Error {
        Error::Stale { queue: self.name.clone() }
    }

    pub(crate) fn forked(&self) -> Error {
        Error::Forked { queue: self.name.clone() }
    }

    /// Opens the file once more, for locks to be taken.
    pub(crate) fn lock_file(&self) -> Result<Lock, Error> {
        if !self.writable {
            return Err(self.no_permission_to_write());
        }
        Lock::open(&self.file, &self.name)
    }

    /// The producer's process, as it saw itself; for display.
    pub(crate) fn producer_pid(&self) -> u32 {
        let mut pid = [0; 4];
        let read = self.file.read_exact_at(&mut pid, HEADER.producer_pid.offset() as u64);
        read.map_or(0, |()| u32::from_le_bytes(pid))
    }

    /// The sequence of the first message that is not durable.
    pub(crate) fn durable_sequence(&self) -> Option<u64> {
        let mut sequence = [0; 8];
        self.file.read_exact_at(&mut sequence, HEADER.durable_sequence.offset() as u64).ok()?;
        Some(u64::from_le_bytes(sequence))
    }

    pub(crate) fn producer_lives(&self) -> bool {
        self.is_locked(PRODUCER_BYTE)
    }

    pub(crate) fn historian_lives(&self) -> bool {
        self.is_locked(HISTORIAN_BYTE)
    }

    pub(crate) fn member_lives(&self, index: MemberIndex) -> bool {
        self.is_locked(member_byte(index))
    }

    /// Maps the segment, with the rights that `access` needs and no more.
    pub(crate) fn map(&self, access: Access) -> Result<Mapping, Error> {
        match access {
            Access::Observe => self.map_read_only(),
            Access::Produce => self.map_shared(),
            Access::Control | Access::Consume => {
                let mapping = self.map_shared()?;
                let protects_ring = access == Access::Control;
                mapping.protect(protects_ring).map_err(|error| self.unmappable(error))?;
                Ok(mapping)
            }
        }
    }

    /// As [`map`](Self::map), for whoever passes messages: the ring is in the page table, so that no
    /// message waits for that. Of the tables whoever attaches touches few pages, and as it attaches.
    pub(crate) fn map_prefaulted(&self, access: Access) -> Result<Mapping, Error> {
        let mapping = self.map(access)?;
        let (ring, size) = mapping.ring_pages();
        // SAFETY: whole pages of the mapping.
        unsafe { map::populate(ring, size) }.map_err(|error| self.unmappable(error))?;
        Ok(mapping)
    }

    fn map_read_only(&self) -> Result<Mapping, Error> {
        let memory =
            map::ReadOnly::new(&self.file, self.size()).map_err(|error| self.unmappable(error))?;
        let facts = self.file.metadata().map_err(|error| self.unmappable(error))?;
        if facts.size() != self.geometry().segment_size() {
            return Err(self.unmappable(io::Error::other("its size has changed")));
        }
        Ok(Mapping { memory: Memory::ReadOnly(memory), geometry: *self.geometry() })
    }

    fn map_shared(&self) -> Result<Mapping, Error> {
        if !self.writable {
            return Err(self.no_permission_to_write());
        }
        // The crate takes no address.
        let hole = map::Hole::new(self.size());
        let shmem = ShmemConf::new().os_id(format!("/{PREFIX}{}", self.name)).open();
        drop(hole);
        let shmem = shmem.map_err(|error| match error {
            ShmemError::MapOpenFailed(errno) => io::Error::from_raw_os_error(errno.cast_signed()),
            other => io::Error::other(other.to_string()),
        });
        // The mapping went by name. What a name leads to can be exchanged, but a file that has
        // lost its name gets none again: if the name is ours now, so it was then.
        if !leads_to(&self.name, self.inode) {
            return Err(self.stale());
        }
        let shmem = shmem.map_err(|error| self.unmappable(error))?;
        if shmem.len() != self.size() {
            return Err(self.unmappable(io::Error::other("its size has changed")));
        }
        let memory = Memory::Shared(Shared(shmem));
        let mapping = Mapping { memory, geometry: *self.geometry() };
        if mapping.instance() != self.identity.instance {
            return Err(self.stale());
        }
        Ok(mapping)
    }

    #[allow(clippy::cast_possible_truncation, reason = "at most a few GiB, and usize is 64 bits")]
    fn size(&self) -> usize {
        self.geometry().segment_size() as usize
    }

    /// Why a mapping could not be had: perhaps because somebody cut the file since it was opened.
    fn unmappable(&self, error: io::Error) -> Error {
        let size = self.file.metadata().map_or(0, |facts| facts.size());
        let expected = self.geometry().segment_size();
        if size < expected {
            return Error::Truncated { queue: self.name.clone(), size, expected };
        }
        Error::os(&self.name, "map", error)
    }

    fn no_permission_to_write(&self) -> Error {
        Error::PermissionDenied { queue: self.name.clone(), doing: "write to" }
    }

    fn is_locked(&self, byte: u64) -> bool {
        // Nothing but a bad request can fail here; and whoever cannot be asked lives.
        file::is_locked(&self.file, byte).unwrap_or(true)
    }

    fn count_living(&self) -> (bool, u32) {
        let members = (0..self.geometry().tables().members).map(u64::from);
        let living = members.filter(|member| self.is_locked(MEMBERS_BYTE + member)).count();
        (self.producer_lives(), u32::try_from(living).unwrap_or(u32::MAX))
    }
}

/// What stands at a queue's name: a regular file of somebody we trust, its contents unknown.
struct Object {
    name: Box<str>,
    file: File,
    writable: bool,
    facts: std::fs::Metadata,
}

/// What came of taking an object's name away.
enum Removal {
    Done,
    /// It may not go yet.
    NotYet,
    /// It had lost the name already.
    Elsewhere,
}

impl Object {
    fn open(name: &str, owner: Owner) -> Result<Self, Error> {
        check_name(name)?;
        let path = path(name);
        let foreign = |what: &str| Error::Foreign { queue: name.into(), what: what.into() };
        let explain = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT) => Error::NotFound { queue: name.into() },
            Some(libc::ELOOP) => foreign("a symbolic link"),
            Some(libc::EISDIR) => foreign("a directory"),
            Some(libc::ENXIO | libc::ENODEV) => foreign("no regular file"),
            _ => Error::os(name, "open", error),
        };
        let (file, writable) = match file::open(&path, true) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (file::open(&path, false).map_err(explain)?, false)
            }
            Err(error) => return Err(explain(error)),
        };
        let facts = file.metadata().map_err(|source| Error::os(name, "examine", source))?;
        let kind = facts.file_type();
        if !kind.is_file() {
            let what = if kind.is_dir() {
                "a directory"
            } else if kind.is_fifo() {
                "a FIFO"
            } else {
                "no regular file"
            };
            return Err(foreign(what));
        }
        let is_trusted = |user| user == process::effective_user() || user == 0;
        let trusted = match owner {
            Owner::Trusted => is_trusted(facts.uid()),
            Owner::User(uid) => facts.uid() == uid,
            Owner::TrustedOr(uid) => is_trusted(facts.uid()) || facts.uid() == uid,
            Owner::Anybody => true,
        };
        if !trusted {
            let theirs = facts.uid();
            return Err(foreign(&match owner {
                Owner::User(user) => format!(
                    "a file of user {theirs}, and only user {user} was named to be trusted (`--owner`)"
                ),
                _ => {
                    format!(
                        "a file of user {theirs}, whom nobody told us to trust (`--owner {theirs}`)"
                    )
                }
            }));
        }
        match facts.nlink() {
            0 => Err(Error::NotFound { queue: name.into() }),
            1 => Ok(Self { name: name.into(), file, writable, facts }),
            links => Err(foreign(&format!("a file of {links} names"))),
        }
    }

    /// Takes its name away, if it still has that.
    fn remove(
        self,
        force: bool,
        may_go: impl Fn(&Segment, &Ring) -> bool,
    ) -> Result<Removal, Error> {
        let name = self.name.clone();
        if !self.writable {
            return Err(Error::PermissionDenied { queue: name, doing: error::REMOVE });
        }
        let inode = self.inode();
        let lock = Lock::open(&self.file, &name)?;
        // One at a time, also of those who remove by force: between the look where the name leads and
        // the removal it changes only by hand. Whoever keeps this lock may read the file and no more:
        // force goes past that, and others find that they do not get all locks.
        lock.wait_for(Duration::from_secs(1), Lock::try_removal)?;
        let segment = match self.into_segment() {
            Err(error @ (Error::Foreign { .. } | Error::Unfinished { .. })) if !force => {
                return Err(error);
            }
            // One that is damaged has nobody to be told.
            segment => segment.ok(),
        };
        let mapping = segment.as_ref().and_then(|segment| segment.map_shared().ok());
        // Held until the name is gone: nobody joins what is about to vanish.
        if !lock.try_all()? && !force {
            let (producer, consumers) = segment.as_ref().map_or((false, 0), Segment::count_living);
            return Err(Error::InUse { queue: name, consumers, producer });
        }
        if !leads_to(&name, inode) {
            return Ok(Removal::Elsewhere);
        }
        if let (Some(segment), Some(mapping), false) = (&segment, &mapping, force)
            && !may_go(segment, &mapping.ring())
        {
            return Ok(Removal::NotYet);
        }
        match std::fs::remove_file(path(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Removal::Elsewhere);
            }
            removed => removed.map_err(|source| Error::os(&name, error::REMOVE, source))?,
        }
        if let Some(mapping) = mapping {
            tell_removed(&mapping.ring());
        }
        Ok(Removal::Done)
    }

    fn identity(&self) -> Result<Identity, Error> {
        let queue = self.name.clone();
        let mut bytes = [0; Identity::SIZE];
        let read = self.file.read_at(&mut bytes, 0);
        let size = read.map_err(|source| Error::os(&self.name, "read", source))?;
        if size < Identity::SIZE {
            return Err(self.stump(&bytes[..size]));
        }
        Identity::parse(&bytes).map_err(|error| match error {
            IdentityError::Unfinished => Error::Unfinished { queue },
            IdentityError::Magic => self.unlike_a_segment(),
            IdentityError::ByteOrder => Error::ByteOrder { queue },
            IdentityError::Major(theirs) => {
                Error::LayoutMismatch { queue, theirs, ours: layout::MAJOR }
            }
            IdentityError::Features(bits) => Error::UnknownFeatures { queue, bits },
            IdentityError::Geometry(what) => Error::Corrupt { queue, what: what.into() },
        })
    }

    /// What a file is that has less than an identity. How long it was it does not say.
    fn stump(&self, bytes: &[u8]) -> Error {
        let queue = self.name.clone();
        if bytes.iter().all(|&byte| byte == 0) {
            Error::Unfinished { queue }
        } else if bytes.iter().zip(&layout::MAGIC).all(|(found, due)| found == due) {
            Error::Truncated { queue, size: bytes.len() as u64, expected: 0 }
        } else {
            self.unlike_a_segment()
        }
    }

    fn unlike_a_segment(&self) -> Error {
        let queue = self.name.clone();
        let what = format!(
            "a file that does not begin like a segment (`ringway rm --force {queue}` removes it)"
        );
        Error::Foreign { queue, what: what.into() }
    }

    fn inode(&self) -> (u64, u64) {
        (self.facts.dev(), self.facts.ino())
    }

    fn into_segment(self) -> Result<Segment, Error> {
        let identity = self.identity()?;
        let inode = self.inode();
        let Self { name, file, writable, facts } = self;
        let (size, expected) = (facts.size(), identity.geometry.segment_size());
        if size < expected {
            return Err(Error::Truncated { queue: name, size, expected });
        }
        // Blocks are less than the memory where somebody punched a hole: what lay there is gone.
        let (held, expected_held) = (facts.blocks() * 512, identity.geometry.memory_size());
        if held < expected_held {
            return Err(Error::Truncated { queue: name, size: held, expected: expected_held });
        }
        if size > expected {
            let what = format!("its file has {size} bytes, {expected} are due").into();
            return Err(Error::Corrupt { queue: name, what });
        }
        let (owner, mode) = (facts.uid(), facts.mode() & 0o7777);
        let mut history = [0; layout::HISTORY_PATH_SIZE];
        let read = file.read_exact_at(&mut history, HEADER.history.offset() as u64);
        read.map_err(|source| Error::os(&name, "read", source))?;
        let end = history.iter().position(|&byte| byte == 0).unwrap_or(history.len());
        let path = PathBuf::from(OsStr::from_bytes(&history[..end]));
        // Nothing else is ever written there; and what is relative leads anywhere.
        let history = path.is_absolute().then_some(path);
        Ok(Segment { name, file, writable, identity, inode, owner, mode, history })
    }
}

/// An opening of the segment's file, and the locks that were taken through it. They go when it
/// is dropped, or when the process dies; a forked child does not inherit them.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnFile,
    name: Box<str>,
}

impl Lock {
    fn open(segment: &File, name: &str) -> Result<Self, Error> {
        let file = OwnFile::open(|| file::reopen(segment, &path(name)))
            .map_err(|source| Error::os(name, "open", source))?;
        Ok(Self { file, name: name.into() })
    }

    /// Takes all locks; `false` while anybody lives.
    fn try_all(&self) -> Result<bool, Error> {
        let (first, count) = ALL_BYTES;
        self.try_bytes(first, count)
    }

    /// Takes the producer's lock; `false` while a living producer has it.
    pub(crate) fn try_producer(&self) -> Result<bool, Error> {
        self.try_bytes(PRODUCER_BYTE, 1)
    }

    /// Takes a member's lock; `false` while a living member has it.
    pub(crate) fn try_member(&self, index: MemberIndex) -> Result<bool, Error> {
        self.try_bytes(member_byte(index), 1)
    }

    /// Takes the lock of who changes the subscription table; `false` while another one has it.
    pub(crate) fn try_registry(&self) -> Result<bool, Error> {
        self.try_bytes(REGISTRY_BYTE, 1)
    }

    /// Takes the lock of who appends to the history; `false` while another one has it.
    pub(crate) fn try_historian(&self) -> Result<bool, Error> {
        self.try_bytes(HISTORIAN_BYTE, 1)
    }

    /// Takes the lock of who removes the queue; `false` while another one has it.
    fn try_removal(&self) -> Result<bool, Error> {
        self.try_bytes(REMOVAL_BYTE, 1)
    }

    /// Takes one of the locks that others have for microseconds, unless they are stopped meanwhile;
    /// `false` if it is not to be had in that time.
    pub(crate) fn wait_for(
        &self,
        patience: Duration,
        take: impl Fn(&Self) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let begin = Instant::now();
        while !take(self)? {
            if begin.elapsed() > patience {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }

    /// Gives a member's lock up again.
    pub(crate) fn give_up_member(&self, index: MemberIndex) -> Result<(), Error> {
        file::unlock(&self.file, member_byte(index), 1)
            .map_err(|source| Error::os(&self.name, "unlock", source))
    }

    /// `false` in a child that was forked since: the locks are the parent's.
    pub(crate) fn is_own(&self) -> bool {
        self.file.is_own()
    }

    fn try_bytes(&self, first: u64, count: u64) -> Result<bool, Error> {
        file::try_lock(&self.file, first, count)
            .map_err(|source| Error::os(&self.name, "lock", source))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_own() {
            // A child that was forked just now, and has not closed its copy of the file yet, would
            // keep the locks for that long. Whatever fails here is done by the closing.
            let (first, count) = ALL_BYTES;
            let _ = file::unlock(&self.file, first, count);
        }
    }
}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing can be written.
    Observe,
    /// The control region can be written.
    Control,
    /// So can the ring, though nobody does: processors hand a line over sooner to whoever may write
    /// there (perf-notes.md, "A page that may be written").
    Consume,
    Produce,
}

/// A mapped segment.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: Memory,
    geometry: Geometry,
}

#[derive(Debug)]
enum Memory {
    Shared(Shared),
    ReadOnly(map::ReadOnly),
}

/// A mapping by the `shared_memory` crate. We are never its owner there: its owner unlinks by
/// name, whatever the name leads to by then.
struct Shared(Shmem);

// SAFETY: the raw pointer within is to a mapping of the whole process, which any thread may use
// and unmap.
unsafe impl Send for Shared {}
// SAFETY: as above; what is done with the memory goes through atomics.
unsafe impl Sync for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("base", &self.0.as_ptr()).finish_non_exhaustive()
    }
}

impl Mapping {
    /// A view of the segment. It must not be used after the mapping is gone.
    pub(crate) fn ring(&self) -> Ring {
        let geometry = self.geometry;
        let (control, ring) = (Geometry::control_offset(), geometry.ring_offset());
        let whole = self.region();
        Ring::new(
            whole.slice(0, control),
            whole.slice(control, geometry.control_end() - control),
            whole.slice(ring, self.size() - ring),
            geometry,
        )
        .with_clock(process::time_of_day)
    }

    fn region(&self) -> Region {
        // SAFETY: a mapping is aligned to pages, it is as long as the segment, which the file
        // was found to be when it was opened, and callers do not use it beyond the mapping. Who
        // cuts the file meanwhile kills its users: that is documented.
        unsafe { Region::new(self.base(), self.size()) }
    }

    fn base(&self) -> *mut u8 {
        match &self.memory {
            Memory::Shared(shared) => shared.0.as_ptr(),
            Memory::ReadOnly(mapping) => mapping.base(),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "at most a few GiB, and usize is 64 bits")]
    fn size(&self) -> usize {
        self.geometry.segment_size() as usize
    }

    fn instance(&self) -> [u8; 16] {
        let ring = self.ring();
        let mut instance = [0; 16];
        for (half, bytes) in instance.chunks_exact_mut(8).enumerate() {
            let word = ring.header(HEADER.instance.word64(half));
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        instance
    }

    /// Takes the right to write to the header away, and to the ring if that is asked for.
    fn protect(&self, protects_ring: bool) -> io::Result<()> {
        // SAFETY: the header region is whole pages at the start of our mapping, and a consumer
        // never writes there.
        unsafe { map::protect_from_writing(self.base(), Geometry::control_offset())? };
        if protects_ring {
            let (ring, size) = self.ring_pages();
            // SAFETY: whole pages at its end, where a consumer never writes.
            unsafe { map::protect_from_writing(ring, size)? };
        }
        Ok(())
    }

    /// The ring, which is whole pages at the end of the mapping, and its size.
    fn ring_pages(&self) -> (*mut u8, usize) {
        let offset = self.geometry.ring_offset();
        (self.base().wrapping_add(offset), self.size() - offset)
    }
}

/// Tells all who are attached that the name is gone.
fn tell_removed(ring: &Ring) {
    // Release: whoever sees this sees that the name is gone.
    ring.control(CONTROL.removed).store(1, Ordering::Release);
    // Who is about to sleep finds the word, or is called.
    call_all(ring);
    // As if somebody slept: the producer looks at nothing else while it has room.
    Event::new(ring.control(CONTROL.data_event)).announce();
}

/// Whether a queue's name leads to this object.
fn leads_to(name: &str, inode: (u64, u64)) -> bool {
    std::fs::symlink_metadata(path(name)).is_ok_and(|facts| (facts.dev(), facts.ino()) == inode)
}

fn member_byte(index: MemberIndex) -> u64 {
    MEMBERS_BYTE + u64::from(index.get())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("{DIRECTORY}/{PREFIX}{name}"))
}

fn check_name(name: &str) -> Result<(), Error> {
    let too_long = (NAME_SIZE_MAX, "it is longer than 200 bytes");
    match what_is_wrong_with(name, too_long) {
        None => Ok(()),
        Some(reason) => Err(Error::InvalidName { name: name.into(), reason }),
    }
}

/// Refuses names that no subscription can have.
pub(crate) fn check_subscription_name(queue: &str, name: &str) -> Result<(), Error> {
    let too_long = (SUBSCRIPTION_NAME_SIZE, "it is longer than 64 bytes");
    match what_is_wrong_with(name, too_long) {
        None => Ok(()),
        Some(reason) => {
            let (queue, name) = (queue.into(), name.into());
            Err(Error::InvalidSubscription { queue, name, reason })
        }
    }
}

/// Why a queue or a subscription cannot have this name, which may have so many bytes.
pub(crate) fn what_is_wrong_with(
    name: &str,
    (size_max, too_long): (usize, &'static str),
) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > size_max {
        Some(too_long)
    } else if name.starts_with(['.', '-']) {
        Some("it begins with a dot or a dash")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Some("only letters, digits, dots, dashes and underscores of ASCII can stand in it")
    } else {
        None
    }
}
