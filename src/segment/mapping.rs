//! The segment as memory.

use std::io;
use std::os::unix::fs::MetadataExt;

use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::Segment;
use super::name::{PREFIX, leads_to};
use crate::error::Error;
use crate::layout::{Geometry, HEADER};
use crate::region::Region;
use crate::ring::Ring;
use crate::sync::Ordering;
use crate::sys::{map, process};

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

impl Segment {
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

    pub(super) fn map_shared(&self) -> Result<Mapping, Error> {
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
}
