//! Who lives there, and who does what one may do at a time: locks on the segment's file, which the
//! kernel releases when their holder dies.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use super::Segment;
use super::name::path;
use crate::error::Error;
use crate::ring::MemberIndex;
use crate::sys::file;
use crate::sys::fork::OwnFile;

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

/// An opening of the segment's file, and the locks that were taken through it. They go when it
/// is dropped, or when the process dies; a forked child does not inherit them.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnFile,
    name: Box<str>,
}

impl Lock {
    pub(super) fn open(segment: &File, name: &str) -> Result<Self, Error> {
        let file = OwnFile::open(|| file::reopen(segment, &path(name)))
            .map_err(|source| Error::os(name, "open", source))?;
        Ok(Self { file, name: name.into() })
    }

    /// Takes all locks; `false` while anybody lives.
    pub(super) fn try_all(&self) -> Result<bool, Error> {
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
    pub(super) fn try_removal(&self) -> Result<bool, Error> {
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

impl Segment {
    /// Opens the file once more, for locks to be taken.
    pub(crate) fn lock_file(&self) -> Result<Lock, Error> {
        if !self.writable {
            return Err(self.no_permission_to_write());
        }
        Lock::open(&self.file, &self.name)
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

    fn is_locked(&self, byte: u64) -> bool {
        // Nothing but a bad request can fail here; and whoever cannot be asked lives.
        file::is_locked(&self.file, byte).unwrap_or(true)
    }

    pub(super) fn count_living(&self) -> (bool, u32) {
        let members = (0..self.geometry().tables().members).map(u64::from);
        let living = members.filter(|member| self.is_locked(MEMBERS_BYTE + member)).count();
        (self.producer_lives(), u32::try_from(living).unwrap_or(u32::MAX))
    }
}

fn member_byte(index: MemberIndex) -> u64 {
    MEMBERS_BYTE + u64::from(index.get())
}
