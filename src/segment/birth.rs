//! How a segment comes to be.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use super::Segment;
use super::name::{DIRECTORY, check_name, path};
use crate::error::{self, Error};
use crate::layout::{self, Geometry, HEADER, Identity, Keeping};
use crate::sys::{file, process};

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
}
