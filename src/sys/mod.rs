//! The operating system: files with locks, descriptors to wait on, mappings, futexes, barriers, forks.
//!
//! Thin and typed: each function asks the system for one thing; what the calls are for is decided
//! elsewhere. The model checks replace the futex and need nothing else from here.

#[cfg(not(loom))]
pub(crate) mod eventfd;
#[cfg(not(loom))]
pub(crate) mod file;
#[cfg(not(loom))]
pub(crate) mod fork;
pub(crate) mod futex;
#[cfg(not(loom))]
pub(crate) mod map;
#[cfg(not(loom))]
pub(crate) mod process;

/// The last system call's error, as a result.
#[cfg(not(loom))]
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
