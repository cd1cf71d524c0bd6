//! Ctrl-C and its like: the first one asks the program to end in order, the second one ends it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::failure::Failure;

/// Whether the program was asked to end. Whatever may take long waits through this.
#[derive(Debug)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
    seen: Arc<AtomicBool>,
    /// Readable from the first signal on.
    wakeup: UnixStream,
}

impl Interrupt {
    /// Catches the signals from now on.
    pub fn catch() -> Result<Self, Failure> {
        Self::register().map_err(|source| Failure::System { source, doing: "catch signals" })
    }

    fn register() -> io::Result<Self> {
        let (wakeup, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let signal_seen = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(AtomicBool::new(false));
        // A terminal that is closed sends one too, unless it was told not to (`nohup`).
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // In this order: the second signal finds what the first one left, and who finds the
            // flag set finds which signal it was.
            flag::register_conditional_default(signal, Arc::clone(&seen))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&signal_seen), number)?;
            flag::register(signal, Arc::clone(&seen))?;
            low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Self { signal: signal_seen, seen, wakeup })
    }

    /// The signal that asked for the end, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// Set from the first signal on.
    pub fn flag(&self) -> &AtomicBool {
        &self.seen
    }

    /// Waits until there is something to read, or its end; `false` if a signal came first.
    pub fn await_readable(&self, input: BorrowedFd<'_>) -> io::Result<bool> {
        while self.signal().is_none() {
            let [readable, _] = poll([(input, libc::POLLIN), self.waker()], None)?;
            if readable {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until a child has ended; `false` if a signal came first, or where that cannot be waited
    /// for.
    pub fn await_end(&self, child: &Child) -> io::Result<bool> {
        let pid = libc::pid_t::try_from(child.id()).unwrap_or(-1);
        // SAFETY: it takes numbers alone.
        let made = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let Some(fd) = RawFd::try_from(made).ok().filter(|&fd| fd >= 0) else {
            return Ok(self.signal().is_none());
        };
        // SAFETY: a descriptor that was just made, and is nobody else's.
        let ended = unsafe { OwnedFd::from_raw_fd(fd) };
        self.await_readable(ended.as_fd())
    }

    /// Waits until something can be written, or nobody reads it any more; `false` if a signal came, and
    /// it cannot for a while from then on.
    pub fn await_writable(&self, output: BorrowedFd<'_>) -> io::Result<bool> {
        /// A reader that is only slow has taken something in that time.
        const GRACE: Duration = Duration::from_secs(1);
        let output = (output, libc::POLLOUT);
        while self.signal().is_none() {
            if let [true, _] = poll([output, self.waker()], None)? {
                return Ok(true);
            }
        }
        let [writable] = poll([output], Some(GRACE))?;
        Ok(writable)
    }

    /// Sleeps so long, unless a signal comes.
    pub fn sleep(&self, time: Duration) -> Result<(), Failure> {
        let slept = poll([self.waker()], Some(time));
        slept.map(drop).map_err(|source| Failure::System { source, doing: "sleep" })
    }

    fn waker(&self) -> (BorrowedFd<'_>, i16) {
        (self.wakeup.as_fd(), libc::POLLIN)
    }
}

/// Has the ends of children wait until they are asked for. Where whoever started this one ignores those
/// of its own, which is inherited, how a command ended would be lost.
pub fn await_children() {
    // SAFETY: nothing else runs yet, and there is no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel writes there what is done about the signal, and changes nothing.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: of zeros, or what the kernel wrote.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Whether whoever reads the output of a pipe has gone.
pub fn is_abandoned(output: BorrowedFd<'_>) -> bool {
    // The kernel tells of a broken pipe without being asked to.
    poll([(output, 0)], Some(Duration::ZERO)).is_ok_and(|[broken]| broken)
}

/// Which of some files are ready for what they are named with. None after the time limit, or
/// when a signal came.
fn poll<const N: usize>(
    files: [(BorrowedFd<'_>, i16); N],
    limit: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut requests =
        files.map(|(file, events)| libc::pollfd { fd: file.as_raw_fd(), events, revents: 0 });
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = requests.len() as libc::nfds_t;
    // SAFETY: the array has that many entries, and both outlive the call.
    let ready = unsafe { libc::ppoll(requests.as_mut_ptr(), count, limit, std::ptr::null()) };
    if ready == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok([false; N]);
    }
    Ok(requests.map(|request| request.revents != 0))
}
