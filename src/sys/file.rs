//! Files: their birth, their locks, and the calls that the standard library has not.

use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::check;

/// A new file in `directory` that has no name yet, and vanishes unless it gets one.
pub(crate) fn create_unnamed(directory: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(mode)
        .custom_flags(libc::O_TMPFILE)
        .open(directory)?;
    // The process's umask may have taken bits away from what was asked for.
    // SAFETY: a call on an open file.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) })?;
    Ok(file)
}

/// Sizes a new file and reserves every page but those of `gap`, so that no later access can find
/// the file system full. What follows the gap gets huge pages as far as there are any. If all that
/// cannot be had, the file has no page.
pub(crate) fn allocate(file: &File, size: u64, gap: Range<u64>) -> io::Result<()> {
    file.set_len(size)?;
    super::map::try_huge_pages(file, gap.end..size);
    let reserved = reserve(file, 0..gap.start).and_then(|()| reserve(file, gap.end..size));
    if reserved.is_err() {
        // Whoever asks how much space there is finds all of it; that it could not be had counts more.
        let _ = file.set_len(0);
    }
    reserved
}

fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    // A signal undoes what one call has done, so that a large one might never come to its end.
    const STEP: u64 = 16 << 20;
    let offset = |bytes: u64| libc::off_t::try_from(bytes).map_err(io::Error::other);
    let mut next = range.start;
    while next < range.end {
        let step = STEP.min(range.end - next);
        let (begin, length) = (offset(next)?, offset(step)?);
        // SAFETY: a call on an open file.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), begin, length) } {
            0 => next += step,
            libc::EINTR => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
    Ok(())
}

/// Gives an unnamed file its name; fails if the name is taken.
pub(crate) fn link(file: &File, path: &Path) -> io::Result<()> {
    let from = c_string(&own_path(file))?;
    let to = c_string(path)?;
    // SAFETY: both paths are strings that outlive the call.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    check(result).map(drop)
}

/// Opens what is a regular file, or a link to one, without waiting for whoever may be at the other end
/// of a FIFO.
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    insist_on_regular(options.custom_flags(libc::O_NONBLOCK).open(path)?)
}

/// Lets go of what is no regular file.
pub(crate) fn insist_on_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

/// Opens what stands at `path`, but follows no symbolic link and waits for no FIFO's other end.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Opens the same file once more, to read and to write: locks belong to an opening, not to a file or a
/// process. By its name, as long as `path` leads to it. The other way takes four times as long in a
/// process that was not looked up in `/proc` yet.
pub(crate) fn reopen(file: &File, path: &Path) -> io::Result<File> {
    if let Ok(again) = open(path, true)
        && inode(&again)? == inode(file)?
    {
        return Ok(again);
    }
    OpenOptions::new().read(true).write(true).open(own_path(file))
}

fn inode(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|facts| (facts.dev(), facts.ino()))
}

/// Bytes that are free on the file system of `file`.
pub(crate) fn space_left(file: &File) -> io::Result<u64> {
    let mut facts = core::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the call fills the struct or fails.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), facts.as_mut_ptr()) })?;
    // SAFETY: it did not fail.
    let facts = unsafe { facts.assume_init() };
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Writes `size` bytes of memory to a file, all of them or an error.
///
/// # Safety
/// The memory is readable for so long. It may be a segment's, of which nobody makes a slice.
pub(crate) unsafe fn write_all_from(
    file: &File,
    bytes: *const u8,
    size: usize,
    offset: u64,
) -> io::Result<()> {
    let mut done = 0;
    while done < size {
        let at = libc::off_t::try_from(offset + done as u64).map_err(io::Error::other)?;
        let from = bytes.wrapping_add(done).cast();
        // SAFETY: by the caller's promise.
        let written = unsafe { libc::pwrite(file.as_raw_fd(), from, size - done, at) };
        match usize::try_from(written) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Has the system begin to write a part of a file to the disk.
pub(crate) fn start_writing(file: &File, offset: u64, size: u64) {
    let (Ok(offset), Ok(size)) = (offset.try_into(), size.try_into()) else { return };
    // SAFETY: a call on an open file.
    unsafe {
        // What it could not do a sync will do, or report.
        libc::sync_file_range(file.as_raw_fd(), offset, size, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Has the system drop what it has in memory of a file that was synced. A page that it could not
/// write counts as clean afterwards, and is read as if the disk had it, until it is dropped.
pub(crate) fn forget(file: &File) {
    // SAFETY: a call on an open file. What it does not drop it may have to keep for somebody else.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// Locks `count` bytes from `first` for this opening of the file; `false` if another opening
/// has a lock on one of them. The lock goes with the last copy of the opening, at the latest
/// when the process dies (open file description locks, `fcntl(2)`).
pub(crate) fn try_lock(file: &File, first: u64, count: u64) -> io::Result<bool> {
    try_lock_as(libc::F_WRLCK, file, first, count)
}

/// The same, with others who want no more than this.
pub(crate) fn try_lock_shared(file: &File, first: u64, count: u64) -> io::Result<bool> {
    try_lock_as(libc::F_RDLCK, file, first, count)
}

fn try_lock_as(kind: libc::c_int, file: &File, first: u64, count: u64) -> io::Result<bool> {
    let lock = byte_range(kind, first, count);
    // SAFETY: the struct outlives the call.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives up this opening's locks on `count` bytes from `first`.
pub(crate) fn unlock(file: &File, first: u64, count: u64) -> io::Result<()> {
    let lock = byte_range(libc::F_UNLCK, first, count);
    // SAFETY: the struct outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }).map(drop)
}

/// Whether another opening of the file holds a lock on the byte. Needs no right to write.
pub(crate) fn is_locked(file: &File, byte: u64) -> io::Result<bool> {
    let mut lock = byte_range(libc::F_WRLCK, byte, 1);
    // SAFETY: the struct outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) })?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[allow(clippy::cast_possible_wrap, reason = "bytes of a lock are small numbers")]
#[allow(clippy::cast_possible_truncation, reason = "constants that the field is made for")]
fn byte_range(kind: libc::c_int, first: u64, count: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first as libc::off_t,
        l_len: count as libc::off_t,
        l_pid: 0,
    }
}

/// A path to what is in an open directory, which leads there whatever that one's name comes to lead to.
pub(crate) fn within(directory: &File, name: &OsStr) -> PathBuf {
    own_path(directory).join(name)
}

fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
