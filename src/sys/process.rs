//! The process itself: who it is, what time it has, and the barrier it can ask of others.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Asks the kernel to include this process in other processes' [`global_barrier`]s; `false`
/// where it cannot (before Linux 4.16, or forbidden). An `exec` forgets it.
pub(crate) fn register_for_global_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// A full memory barrier on every processor that runs a registered process right now, and on
/// this one (`membarrier(2)`, `GLOBAL_EXPEDITED`); `false` where it could not be had.
pub(crate) fn global_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: a call without pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Fills `bytes` with what nobody can guess.
pub(crate) fn random(bytes: &mut [u8; 16]) -> io::Result<()> {
    loop {
        // SAFETY: the buffer is writable for its length.
        let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if count == 16 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if count == -1 && error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(crate) fn effective_user() -> u32 {
    // SAFETY: a call that cannot fail.
    unsafe { libc::geteuid() }
}

/// Nanoseconds since the machine was started, sleep included: the same for all its processes, and
/// nobody sets it.
pub(crate) fn now_since_start() -> u64 {
    let now = clock(libc::CLOCK_BOOTTIME).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What one of the system's clocks shows.
pub(super) fn clock(id: libc::clockid_t) -> Option<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the time where it is told to.
    let result = unsafe { libc::clock_gettime(id, &raw mut now) };
    let (seconds, nanoseconds) = (now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    (result == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// Nanoseconds since 1970 by the system's clock, which may jump: for display only.
pub(crate) fn now_for_display() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
