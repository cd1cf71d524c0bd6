//! Atomics and fences, from the core library or, in the model checks, from loom.
//!
//! The rest of the crate takes them from here: `clippy.toml` refuses the originals.

#[cfg(not(loom))]
pub(crate) use self::core_types::*;
#[cfg(loom)]
pub(crate) use self::loom_types::*;

/// A load with acquire ordering from memory that may be mapped read-only, where the language
/// defines relaxed loads only.
#[inline(always)]
pub(crate) fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// [`load_acquire`], of 32 bits.
#[inline(always)]
pub(crate) fn load_acquire32(word: &AtomicU32) -> u32 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

#[cfg(not(loom))]
mod core_types {
    #![allow(clippy::disallowed_types, reason = "this is the one place that may name them")]

    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{Ordering, compiler_fence, fence};

    pub(crate) type AtomicU32 = core::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = core::sync::atomic::AtomicU64;
}

#[cfg(loom)]
mod loom_types {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    pub(crate) type AtomicU32 = loom::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = loom::sync::atomic::AtomicU64;

    /// loom has no membarrier: a model takes the full fence on both sides.
    pub(crate) fn compiler_fence(order: Ordering) {
        fence(order);
    }
}
