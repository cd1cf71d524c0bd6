//! Sleeping on a 32-bit word of shared memory until somebody calls.
//!
//! The calls are without `FUTEX_PRIVATE_FLAG`: a private wake reaches no other process. Both
//! work on a word that is mapped read-only.

use core::time::Duration;

#[cfg(not(loom))]
use super::process;
use crate::sync::AtomicU32;

/// Sleeps until a wake, unless the word is not `expected` any more. May return for no reason;
/// `false` says that nobody woke it: by the time limit, or by a signal, after which a handler that
/// restarts system calls does not restart this one.
#[cfg(not(loom))]
pub(crate) fn wait(word: &AtomicU32, expected: u32, limit: Duration) -> bool {
    let limit = timespec(limit);
    // SAFETY: the word is mapped for the length of the call, the limit outlives it, and the
    // kernel reads both.
    let result = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const limit)
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

/// [`wait`] on several words at once: until a wake of one of them, or one is not what was expected.
/// `None` if the system cannot do that.
#[cfg(not(loom))]
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], limit: Duration) -> Option<bool> {
    /// What `futex_waitv` (Linux 5.16) takes of each word.
    #[repr(C)]
    struct Waiter {
        expected: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    /// A word of 32 bits, and not a process's own.
    const FUTEX2_SIZE_U32: u32 = 2;

    let waiter = |&(word, expected): &(&AtomicU32, u32)| Waiter {
        expected: expected.into(),
        address: word.as_ptr().expose_provenance() as u64,
        flags: FUTEX2_SIZE_U32,
        reserved: 0,
    };
    let waiters: Vec<_> = words.iter().map(waiter).collect();
    let count = u32::try_from(waiters.len()).ok()?;
    let end = process::clock(libc::CLOCK_MONOTONIC)?.checked_add(limit).unwrap_or(Duration::MAX);
    let end = timespec(end);
    // SAFETY: the words are mapped for the length of the call, the array and the time outlive it,
    // and the kernel reads all of them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            count,
            0,
            &raw const end,
            libc::CLOCK_MONOTONIC,
        )
    };
    match std::io::Error::last_os_error().raw_os_error() {
        _ if result >= 0 => Some(true),
        Some(libc::EAGAIN) => Some(true),
        Some(libc::ETIMEDOUT | libc::EINTR) => Some(false),
        _ => None,
    }
}

#[cfg(not(loom))]
fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Wakes all who sleep on the word.
#[cfg(not(loom))]
pub(crate) fn wake_all(word: &AtomicU32) {
    // SAFETY: the kernel uses the address as a key only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

#[cfg(loom)]
pub(crate) use self::model::{wait, wake_all};

#[cfg(loom)]
mod model {
    //! The kernel's futex as loom can explore it: the comparison and the going to sleep are one
    //! step under a lock that the waker takes too, and nobody wakes by time.

    use core::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use crate::sync::{AtomicU32, Ordering};

    loom::lazy_static! {
        static ref BUCKET: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _limit: Duration) -> bool {
        let held = BUCKET.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(BUCKET.1.wait(held).unwrap());
        }
        true
    }

    pub(crate) fn wake_all(_word: &AtomicU32) {
        let _held = BUCKET.0.lock().unwrap();
        BUCKET.1.notify_all();
    }
}
