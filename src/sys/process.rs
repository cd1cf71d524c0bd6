//! The process itself: who it is, what time it has, and the barrier it can ask of others.

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
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

/// While it lives, this thread gets no signals but those of its own faults; a thread that it makes
/// meanwhile gets no others as long as that lives. So the program's signals come to the program's
/// own threads, which may block them to have them from a descriptor.
pub(crate) struct Undisturbed {
    before: libc::sigset_t,
    /// It is this thread's.
    _thread: PhantomData<*const ()>,
}

impl Undisturbed {
    const FAULTS: [libc::c_int; 6] =
        [libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

    pub(crate) fn new() -> Self {
        let (mut blocked, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the set outlives the call, which writes all of it.
        unsafe { libc::sigfillset(blocked.as_mut_ptr()) };
        for fault in Self::FAULTS {
            // SAFETY: the set was written, and outlives the call.
            unsafe { libc::sigdelset(blocked.as_mut_ptr(), fault) };
        }
        let (how, blocked) = (libc::SIG_SETMASK, blocked.as_ptr());
        // SAFETY: both sets outlive the call, which reads the one and writes the other. It cannot fail.
        unsafe { libc::pthread_sigmask(how, blocked, before.as_mut_ptr()) };
        // SAFETY: it was written just now.
        Self { before: unsafe { before.assume_init() }, _thread: PhantomData }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // SAFETY: the set outlives the call, which writes nothing.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
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
    nanoseconds_of(clock(libc::CLOCK_BOOTTIME).unwrap_or_default())
}

/// What a clock that nobody sets showed at the system's last tick, some milliseconds ago at most. It
/// takes a fraction of the time that [`Instant::now`](std::time::Instant::now) does.
pub(crate) fn last_tick() -> Duration {
    clock(libc::CLOCK_MONOTONIC_COARSE).unwrap_or_default()
}

/// What one of the system's clocks shows.
pub(super) fn clock(id: libc::clockid_t) -> Option<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the time where it is told to.
    let result = unsafe { libc::clock_gettime(id, &raw mut now) };
    let (seconds, nanoseconds) = (now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    (result == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// Nanoseconds since 1970 by the system's clock, which may jump. By what it says here nothing is decided
/// but where [`Start::Time`](crate::Start::Time) begins; how old a file of the history is goes by the
/// same clock.
pub(crate) fn time_of_day() -> u64 {
    nanoseconds_of(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
