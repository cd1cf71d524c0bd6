//! Mapped memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::{ops::Range, ptr};

use super::check;

/// A read-only mapping of a whole file.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    base: *mut u8,
    size: usize,
}

// SAFETY: the mapping belongs to the process; any thread may read it and unmap it.
unsafe impl Send for ReadOnly {}
// SAFETY: as above; reading needs no exclusion.
unsafe impl Sync for ReadOnly {}

impl ReadOnly {
    pub(crate) fn new(file: &File, size: usize) -> io::Result<Self> {
        let hole = Hole::new(size);
        let hint = hole.as_ref().map_or(ptr::null_mut(), |hole| hole.base);
        let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping, and the kernel puts it only where nothing else is.
        let base = unsafe { libc::mmap(hint, size, read, shared, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), size })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody uses it any more. Failure would leave it
        // mapped, which harms nobody.
        unsafe { libc::munmap(self.base.cast(), self.size) };
    }
}

/// Takes the right to write away from `size` bytes at `base`.
///
/// # Safety
/// The range is whole pages of a mapping of the caller's, and nobody writes there any more.
pub(crate) unsafe fn protect_from_writing(base: *mut u8, size: usize) -> io::Result<()> {
    // SAFETY: by the caller's promise.
    check(unsafe { libc::mprotect(base.cast(), size, libc::PROT_READ) }).map(drop)
}

/// Enters `size` bytes at `base` into the page table now, so that no first access has to. A kernel
/// older than 5.14 does not know the call; then the first accesses do it.
///
/// Populating for reads goes for writes as well: a page of shared memory, which is written back to
/// no disk, is entered as writable at once where the mapping is. For writes the kernel would take
/// page after page, and 2.5 times as long.
///
/// # Safety
/// The range is whole pages of a mapping of the caller's.
pub(crate) unsafe fn populate(base: *mut u8, size: usize) -> io::Result<()> {
    loop {
        // SAFETY: populating changes no contents.
        match check(unsafe { libc::madvise(base.cast(), size, libc::MADV_POPULATE_READ) }) {
            Ok(_) => return Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL) => return Ok(()),
                _ => return Err(error),
            },
        }
    }
}

/// Of x86-64, and of arm64 with pages of 4 KiB. Elsewhere nothing comes of what is done with it.
const HUGE_PAGE: usize = 2 << 20;

/// Gives a range of a new file, which has its size and no pages yet, huge pages, as many as fit
/// into the range whole and as the system has; the others are allocated as usual. A huge page is
/// had in one go, and one entry maps it (perf-notes.md, "Attaching and dying"). A kernel older than
/// 6.1 does not know the call.
pub(crate) fn try_huge_pages(file: &File, range: Range<u64>) {
    /// The libc crate has it for glibc alone.
    const MADV_COLLAPSE: libc::c_int = 25;
    let huge = HUGE_PAGE as u64;
    let (start, end) = (range.start.next_multiple_of(huge), range.end - range.end % huge);
    for offset in (start..end).step_by(HUGE_PAGE) {
        // The kernel takes a range without any page for one that was cut off.
        if file.write_all_at(&[0], offset).is_err() {
            return;
        }
    }
    let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else { return };
    if start < end
        && let Ok(mapping) = ReadOnly::new(file, end)
    {
        let first = mapping.base.wrapping_add(start);
        // SAFETY: a part of the mapping; it changes no contents.
        unsafe { libc::madvise(first.cast(), end - start, MADV_COLLAPSE) };
    }
}

/// A hole in the address space, for as long as this lives, at whose end there is room for a mapping of
/// some size that begins where a huge page can. There the kernel puts the next one of the size: at the end
/// of the highest hole that is large enough, which is where the room was that this one was cut from.
/// Should another one come in between, huge pages are mapped piece by piece.
pub(crate) struct Hole {
    base: *mut libc::c_void,
    /// What stands behind the hole.
    stop: *mut libc::c_void,
    stop_size: usize,
}

impl Hole {
    /// `size` is of whole pages. `None` if it would serve nothing, or cannot be had.
    pub(crate) fn new(size: usize) -> Option<Self> {
        let room_size = size.checked_add(HUGE_PAGE).filter(|_| size >= HUGE_PAGE)?;
        let (none, private) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let room = unsafe { libc::mmap(ptr::null_mut(), room_size, none, private, -1, 0) };
        if room == libc::MAP_FAILED {
            return None;
        }
        let before = room.cast::<u8>().align_offset(HUGE_PAGE);
        let (base, hole_size) = (room.wrapping_byte_add(before), before + size);
        // SAFETY: the beginning of the room, which nobody else knows.
        unsafe { libc::munmap(room, hole_size) };
        let stop = room.wrapping_byte_add(hole_size);
        Some(Self { base, stop, stop_size: room_size - hole_size })
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        if self.stop_size > 0 {
            // SAFETY: what is left of the room.
            unsafe { libc::munmap(self.stop, self.stop_size) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::sys::file;

    const SIZE: usize = 2 * HUGE_PAGE + 3 * 65536;

    #[test]
    fn what_is_allocated_is_all_there_but_the_gap_and_zero() {
        let size = SIZE as u64;
        for gap in [0..0, 65536..65536, 65536..HUGE_PAGE as u64, 65536..size, size..size] {
            let file = file::create_unnamed("/dev/shm".as_ref(), 0o600).unwrap();
            file::allocate(&file, size, gap.clone()).unwrap();
            let facts = file.metadata().unwrap();
            assert_eq!(facts.size(), size);
            let held = size - (gap.end - gap.start);
            assert_eq!(facts.blocks() * 512, held, "without {gap:?}");
            let mut contents = vec![1; SIZE];
            file.read_exact_at(&mut contents, 0).unwrap();
            assert!(contents.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_mapping_begins_where_a_huge_page_can() {
        let file = file::create_unnamed("/dev/shm".as_ref(), 0o600).unwrap();
        file.set_len(SIZE as u64).unwrap();
        let is_aligned = || {
            let mapping = ReadOnly::new(&file, SIZE).unwrap();
            mapping.base().addr().is_multiple_of(HUGE_PAGE)
        };
        // Another thread's mapping may come in between.
        assert!((0..100).any(|_| is_aligned()));
    }

    #[test]
    fn a_hole_is_for_what_has_huge_pages() {
        assert!(Hole::new(HUGE_PAGE - 65536).is_none());
        assert!(Hole::new(usize::MAX - 65535).is_none());
        let hole = Hole::new(SIZE).unwrap();
        assert!(hole.base.addr().is_multiple_of(HUGE_PAGE));
        assert_eq!(hole.base.addr() + SIZE, hole.stop.addr());
        assert!(hole.stop_size <= HUGE_PAGE);
    }
}
