//! A stretch of memory that other processes read and write while we look at it.
//!
//! Nobody makes a `&T` or `&mut T` of such memory: words are atomics, payloads are copied by
//! [`crate::copy`] or lent while a cursor keeps the producer away from them. The protocol in
//! [`crate::ring`] runs on regions of a mapped segment, of the heap (unit tests) or of loom's
//! atomics (model checks), and cannot tell them apart.

use core::marker::PhantomData;

#[cfg(not(loom))]
pub(crate) use self::memory::Region;
#[cfg(loom)]
pub(crate) use self::model::Region;
use crate::layout::{Part, Word};
use crate::sync::{AtomicU32, AtomicU64};

/// A region that begins with a part of the segment, whose words can be used.
#[derive(Clone, Debug)]
pub(crate) struct Words<P> {
    region: Region,
    part: PhantomData<fn() -> P>,
}

/// What a word holds that processes share.
pub(crate) trait Shared {
    type Atomic;

    /// # Safety
    /// The word is aligned to its size, and within the region.
    unsafe fn at(region: &Region, offset: usize) -> &Self::Atomic;
}

impl Shared for u64 {
    type Atomic = AtomicU64;

    #[inline(always)]
    unsafe fn at(region: &Region, offset: usize) -> &AtomicU64 {
        // SAFETY: passed on.
        unsafe { region.u64_at(offset) }
    }
}

impl Shared for u32 {
    type Atomic = AtomicU32;

    #[inline(always)]
    unsafe fn at(region: &Region, offset: usize) -> &AtomicU32 {
        // SAFETY: passed on.
        unsafe { region.u32_at(offset) }
    }
}

impl<P: Part> Words<P> {
    #[inline(always)]
    pub(crate) fn new(region: Region) -> Self {
        assert!(region.size() >= P::SIZE);
        Self { region, part: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn word<Value: Shared>(&self, word: Word<P, Value>) -> &Value::Atomic {
        // SAFETY: `layout` makes words of a part only within it and aligned, and `new` checked that the
        // region is as long.
        unsafe { Value::at(&self.region, word.offset()) }
    }

    /// All of the region, the part first.
    #[inline(always)]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }
}

#[cfg(not(loom))]
mod memory {
    use crate::copy::{self, Manner};
    use crate::sync::{AtomicU32, AtomicU64};

    /// Raw: whoever makes one promises that the memory outlives it and all its copies.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Region {
        base: *mut u8,
        size: usize,
    }

    // SAFETY: the memory is shared between processes by design; every access through a region
    // is an atomic one, a racing copy of `crate::copy`, or covered by the caller's promise.
    unsafe impl Send for Region {}
    // SAFETY: as above.
    unsafe impl Sync for Region {}

    impl Region {
        /// # Safety
        /// - `base` is aligned to 8 and `size` bytes from it on are mapped, at least readable,
        ///   for as long as the region or a copy of it is in use.
        /// - What the region's users store into lies in the writable part.
        pub(crate) unsafe fn new(base: *mut u8, size: usize) -> Self {
            debug_assert!(base.addr().is_multiple_of(8));
            Self { base, size }
        }

        pub(crate) fn size(&self) -> usize {
            self.size
        }

        /// `size` bytes from `offset` on, a multiple of 8.
        #[inline(always)]
        pub(crate) fn slice(&self, offset: usize, size: usize) -> Self {
            assert!(offset.is_multiple_of(8) && offset <= self.size && size <= self.size - offset);
            Self { base: self.base.wrapping_add(offset), size }
        }

        /// # Safety
        /// `offset` is a multiple of 8, and `offset + 8` is within the region.
        #[inline(always)]
        pub(crate) unsafe fn u64_at(&self, offset: usize) -> &AtomicU64 {
            debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.size);
            let word = self.base.wrapping_add(offset).cast();
            // SAFETY: in bounds and aligned by the caller's promise; all processes access the
            // word atomically.
            unsafe { AtomicU64::from_ptr(word) }
        }

        /// # Safety
        /// `offset` is a multiple of 4, and `offset + 4` is within the region.
        #[inline(always)]
        pub(crate) unsafe fn u32_at(&self, offset: usize) -> &AtomicU32 {
            debug_assert!(offset.is_multiple_of(4) && offset + 4 <= self.size);
            let word = self.base.wrapping_add(offset).cast();
            // SAFETY: as in `u64_at`.
            unsafe { AtomicU32::from_ptr(word) }
        }

        /// Copies `payload` to `offset`; others may be reading there.
        ///
        /// # Safety
        /// `offset` is a multiple of 8, `offset + payload.len()`, rounded up to 8, is within
        /// the region, and no other process writes there.
        #[inline(always)]
        pub(crate) unsafe fn copy_in(&self, manner: Manner<'_>, offset: usize, payload: &[u8]) {
            debug_assert!(offset + payload.len().next_multiple_of(8) <= self.size);
            let to = self.base.wrapping_add(offset);
            // SAFETY: in bounds by the caller's promise. The payload may be one that a consumer of
            // this process lends from the same ring, but not from where the writer may write.
            unsafe { copy::into_shared(manner, to, payload.as_ptr(), payload.len()) }
        }

        /// [`Self::copy_in`] past the caches: see [`crate::copy::past_caches`].
        ///
        /// # Safety
        /// As [`Self::copy_in`].
        #[inline(always)]
        pub(crate) unsafe fn copy_in_past_caches(&self, offset: usize, payload: &[u8]) {
            debug_assert!(offset + payload.len().next_multiple_of(8) <= self.size);
            let to = self.base.wrapping_add(offset);
            // SAFETY: as in `copy_in`.
            unsafe { copy::past_caches(to, payload.as_ptr(), payload.len()) }
        }

        /// Stores a word past the caches: see [`crate::copy::past_caches`].
        ///
        /// # Safety
        /// `offset` is a multiple of 8, `offset + 8` is within the region, and no other process
        /// writes there.
        #[inline(always)]
        pub(crate) unsafe fn store_past_caches(&self, offset: usize, word: u64) {
            debug_assert!(offset.is_multiple_of(8) && offset + 8 <= self.size);
            // SAFETY: in bounds and aligned by the caller's promise.
            unsafe { copy::store_past_caches(self.base.wrapping_add(offset), word) }
        }

        /// Has the processor fetch the lines behind an offset for what is written next: see
        /// [`crate::copy::fetch_to_write`].
        #[inline(always)]
        pub(crate) fn fetch_to_write(&self, end: usize, size: usize) {
            copy::fetch_to_write(self.base.wrapping_add(end), size);
        }

        /// Copies `size` bytes from `offset` to `to`; another process may be writing them, so
        /// that any mixture of old and new bytes may arrive.
        ///
        /// # Safety
        /// `offset` is a multiple of 8, `offset + size`, rounded up to 8, is within the region,
        /// and `to` has room for as much.
        #[inline]
        pub(crate) unsafe fn copy_out(&self, offset: usize, to: *mut u8, size: usize) {
            debug_assert!(offset + size.next_multiple_of(8) <= self.size);
            let from = self.base.wrapping_add(offset);
            // SAFETY: by the caller's promise.
            unsafe { copy::out_of_shared(to, from, size) }
        }

        /// Where it begins, for payloads that are lent out while a cursor, or the producer's
        /// lock, keeps others from writing them.
        #[inline(always)]
        pub(crate) fn address(&self) -> *mut u8 {
            self.base
        }
    }
}

#[cfg(loom)]
mod model {
    use std::sync::Arc;

    use crate::copy::Manner;
    use crate::sync::{AtomicU32, AtomicU64, Ordering};

    /// The same memory as loom sees it: each word has either width, and is used in one only.
    #[derive(Clone, Debug)]
    pub(crate) struct Region {
        words: Arc<Vec<AtomicU64>>,
        halves: Arc<Vec<AtomicU32>>,
        base: usize,
        size: usize,
    }

    impl Region {
        /// Only the first `halves_size` bytes can be used as 32-bit words: loom explores faster
        /// what has fewer of them.
        pub(crate) fn zeroed(size: usize, halves_size: usize) -> Self {
            Self {
                words: Arc::new((0..size / 8).map(|_| AtomicU64::new(0)).collect()),
                halves: Arc::new((0..halves_size / 4).map(|_| AtomicU32::new(0)).collect()),
                base: 0,
                size,
            }
        }

        pub(crate) fn size(&self) -> usize {
            self.size
        }

        pub(crate) fn slice(&self, offset: usize, size: usize) -> Self {
            assert!(offset.is_multiple_of(8) && offset + size <= self.size);
            Self { base: self.base + offset, size, ..self.clone() }
        }

        pub(crate) unsafe fn u64_at(&self, offset: usize) -> &AtomicU64 {
            &self.words[(self.base + offset) / 8]
        }

        pub(crate) unsafe fn u32_at(&self, offset: usize) -> &AtomicU32 {
            &self.halves[(self.base + offset) / 4]
        }

        pub(crate) unsafe fn copy_in(&self, _: Manner<'_>, offset: usize, payload: &[u8]) {
            // SAFETY: passed on.
            unsafe { self.copy_in_past_caches(offset, payload) }
        }

        pub(crate) unsafe fn copy_in_past_caches(&self, offset: usize, payload: &[u8]) {
            for (index, bytes) in payload.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                let value = u64::from_le_bytes(word);
                self.words[(self.base + offset) / 8 + index].store(value, Ordering::Relaxed);
            }
        }

        pub(crate) unsafe fn store_past_caches(&self, offset: usize, word: u64) {
            self.words[(self.base + offset) / 8].store(word, Ordering::Relaxed);
        }

        pub(crate) fn fetch_to_write(&self, end: usize, _: usize) {
            debug_assert!(end <= self.size);
        }

        pub(crate) unsafe fn copy_out(&self, offset: usize, to: *mut u8, size: usize) {
            for index in 0..size.div_ceil(8) {
                let word = self.words[(self.base + offset) / 8 + index].load(Ordering::Relaxed);
                // SAFETY: `to` has room for `size` bytes, rounded up to 8.
                let to = unsafe { to.add(index * 8) };
                // SAFETY: as above; a local array does not overlap it.
                unsafe { to.copy_from_nonoverlapping(word.to_le_bytes().as_ptr(), 8) };
            }
        }
    }
}
