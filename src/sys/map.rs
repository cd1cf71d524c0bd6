//! Mapped memory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

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
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
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

/// Enters `size` bytes at `base` into the page table now, so that no first access has to. With
/// `write`, also makes them writable there. A kernel older than 5.14 does not know the call;
/// then the first accesses do it.
///
/// # Safety
/// The range is whole pages of a mapping of the caller's.
pub(crate) unsafe fn populate(base: *mut u8, size: usize, write: bool) -> io::Result<()> {
    let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    loop {
        // SAFETY: populating changes no contents.
        match check(unsafe { libc::madvise(base.cast(), size, advice) }) {
            Ok(_) => return Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL) => return Ok(()),
                _ => return Err(error),
            },
        }
    }
}
