//! What stands at a queue's name, whatever it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::PathBuf;

use super::Segment;
use super::name::{check_name, path};
use crate::error::Error;
use crate::layout::{self, HEADER, Identity, IdentityError};
use crate::sys::{file, process};

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

/// What stands at a queue's name: a regular file of somebody we trust, its contents unknown.
pub(super) struct Object {
    pub(super) name: Box<str>,
    pub(super) file: File,
    pub(super) writable: bool,
    facts: std::fs::Metadata,
}

impl Object {
    pub(super) fn open(name: &str, owner: Owner) -> Result<Self, Error> {
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

    pub(super) fn inode(&self) -> (u64, u64) {
        (self.facts.dev(), self.facts.ino())
    }

    pub(super) fn into_segment(self) -> Result<Segment, Error> {
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
