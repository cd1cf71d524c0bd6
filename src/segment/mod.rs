//! The named segment: its birth, its locks, its mappings, its end.

mod birth;
mod lock;
mod mapping;
mod name;
mod object;
mod removal;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) use self::birth::{Birth, new_instance};
pub(crate) use self::lock::Lock;
pub(crate) use self::mapping::{Access, Mapping};
pub(crate) use self::name::{check_subscription_name, what_is_wrong_with};
use self::object::Object;
pub(crate) use self::object::Owner;
use crate::error::Error;
use crate::layout::{Geometry, HEADER, Identity};
use crate::ring::StartError;
use crate::sys::fork::Witness;

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
    /// Opens a segment, for reading alone if that is all that its mode allows.
    pub(crate) fn open(name: &str, owner: Owner) -> Result<Self, Error> {
        Object::open(name, owner)?.into_segment()
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

    fn no_permission_to_write(&self) -> Error {
        Error::PermissionDenied { queue: self.name.clone(), doing: "write to" }
    }
}
