//! Sleeping on a 32-bit word of shared memory until somebody calls.
//!
//! The calls are without `FUTEX_PRIVATE_FLAG`: a private wake reaches no other process. Both
//! work on a word that is mapped read-only.

use core::time::Duration;

use crate::sync::AtomicU32;

/// Sleeps until a wake, unless the word is not `expected` any more. May return for no reason;
/// `false` says that it was the time limit.
#[cfg(not(loom))]
pub(crate) fn wait(word: &AtomicU32, expected: u32, limit: Duration) -> bool {
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: the word is mapped for the length of the call, the limit outlives it, and the
    // kernel reads both.
    let result = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const limit)
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
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
