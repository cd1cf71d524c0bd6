//! Copies to and from memory that another process may access at the same time.
//!
//! The language has no bytewise atomic copy yet, and `memcpy` of memory that another process
//! writes is a data race. So the portable copies move words with relaxed atomics, and those for
//! x86-64, which the compiler cannot see into, move them with vector instructions: a short copy
//! is two overlapping halves, a longer one a loop over blocks of 64 bytes, a very long one a string
//! instruction (perf-notes.md has how these compare). What has only just been written is loaded by
//! words: see [`By`]. Any mixture of old and new bytes may arrive; the callers in [`crate::ring`] find
//! out before anybody uses them. On x86-64 all of these stores come before a later release store, but
//! for those past the caches: they come to pass in any order, also after later stores, but not after
//! [`fence_past_caches`].

#![cfg_attr(loom, allow(dead_code, reason = "the model checks' words are copied one by one"))]

use core::ops::RangeInclusive;

/// How bytes are copied to where others may be reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) by: By,
    pub(crate) first_line: FirstLine,
    pub(crate) next_lines: NextLines,
    /// Whether they go past the caches if they are more than [`BLOCKS_MAX`]; `None` says no.
    pub(crate) long_past_caches: Option<&'a bool>,
}

/// How the first bytes are loaded. They are stored as vectors, which are fewer stores to wait for
/// lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// For what has just been written, as messages mostly are. A processor forwards what it
    /// stores to a load that lies within the store. A load that takes in more waits until the
    /// store has come to pass, which is behind all earlier ones, and those went to the ring.
    Words,
    /// For what was written a while ago: fewer instructions.
    Vectors,
}

/// When the line is written in which the bytes begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FirstLine {
    InTurn,
    /// Of a frame that will be committed at once: a reader that waits for it looks into that line,
    /// and each look takes the line away from whoever writes there.
    Last,
}

/// What becomes of the lines behind the bytes, for what is written next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum NextLines {
    /// As [`fetch_to_write`].
    Fetch,
    /// Nothing: the caller sees to them.
    Leave,
}

/// A cache line, bytes: what a processor takes over at a time.
pub(crate) const LINE: usize = 64;

/// What is larger is copied by a string instruction, where those are fast, or past the caches.
pub(crate) const BLOCKS_MAX: usize = 4096;

/// Whose lines are fetched ahead, by size. What is smaller comes soon enough, and of what is larger the
/// beginning has left the nearest cache when it is written to.
pub(crate) const FETCHED: RangeInclusive<usize> = 512..=BLOCKS_MAX;

/// Copies `size` bytes to `to`, which other processes may be reading.
///
/// # Safety
/// - `from` is readable for `size` bytes, `to` writable for `size` rounded up to 8.
/// - `to` is aligned to 8, and nobody else writes there.
/// - The two do not overlap.
#[cfg(not(loom))]
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "words are the only way"))]
pub(crate) unsafe fn into_shared(manner: Manner<'_>, to: *mut u8, from: *const u8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: passed on.
    unsafe {
        x86_64::copy(manner, to, from, size);
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: passed on.
    unsafe {
        portable::into_shared(to, from, size);
    }
}

/// Copies `size` bytes from `from`, which another process may be writing.
///
/// # Safety
/// - `from` is readable and `to` writable for `size` rounded up to 8.
/// - `from` is aligned to 8.
/// - The two do not overlap.
#[cfg(not(loom))]
#[inline]
pub(crate) unsafe fn out_of_shared(to: *mut u8, from: *const u8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: passed on.
    unsafe {
        let manner = Manner {
            by: By::Vectors,
            first_line: FirstLine::InTurn,
            next_lines: NextLines::Leave,
            long_past_caches: None,
        };
        x86_64::copy(manner, to, from, size);
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: passed on.
    unsafe {
        portable::out_of_shared(to, from, size);
    }
}

/// Has the processor fetch the lines of what is written next, which mostly has the same size: from `end`
/// on a word, `size` bytes, and another word. All but the first line, which is being written. Others have
/// had them last, so that they are better on their way before that is.
#[cfg(not(loom))]
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "there is no such thing"))]
pub(crate) fn fetch_to_write(end: *mut u8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    x86_64::fetch_to_write(end, size);
}

/// [`into_shared`] past the caches: word by word, so that of lines that are written from one end to the
/// other none has to be had first.
///
/// # Safety
/// As [`into_shared`].
#[cfg(not(loom))]
#[inline(always)]
pub(crate) unsafe fn past_caches(to: *mut u8, from: *const u8, size: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: passed on.
    unsafe {
        x86_64::copy_past_caches(to, from, size);
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: passed on.
    unsafe {
        portable::into_shared(to, from, size);
    }
}

/// Stores a word past the caches, as [`past_caches`] does many.
///
/// # Safety
/// `to` is aligned to 8, and nobody else writes there.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) unsafe fn store_past_caches(to: *mut u8, word: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: passed on.
    unsafe {
        x86_64::store_past_caches(to, word);
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: passed on.
    unsafe {
        portable::into_shared(to, (&raw const word).cast(), size_of::<u64>());
    }
}

/// Has what went past the caches come to pass before any later store.
#[inline(always)]
pub(crate) fn fence_past_caches() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    x86_64::fence_past_caches();
}

/// Finds out what the processor can do, for copies of more than a line. Until it is called, they do
/// without.
#[cfg(not(loom))]
pub(crate) fn prepare() {
    #[cfg(target_arch = "x86_64")]
    x86_64::prepare();
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
mod x86_64 {
    #![allow(clippy::disallowed_types, reason = "no part of the protocol")]

    use super::{BLOCKS_MAX, By, FirstLine, LINE, Manner, NextLines};
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use core::sync::atomic::{AtomicBool, Ordering};

    /// The standard library's own answer costs the copies a call that they hardly ever make, and
    /// the registers for it.
    pub(super) static HAS_AVX: AtomicBool = AtomicBool::new(false);

    /// Whether string instructions are fast.
    pub(super) static HAS_STRINGS: AtomicBool = AtomicBool::new(false);

    /// Asks what has to be known and no more: each `cpuid` takes 4 to 10 us on a virtual machine, and the
    /// standard library needs seven for all that it knows.
    #[allow(unused_unsafe, reason = "newer compilers know that everybody has `cpuid`")]
    pub(super) fn prepare() {
        const AVX_AND_XGETBV: u32 = 1 << 28 | 1 << 27;
        /// What the system has to save of the registers: both halves of vectors.
        const VECTORS: u64 = 1 << 2 | 1 << 1;
        const STRINGS: u32 = 1 << 9;
        static IS_PREPARED: AtomicBool = AtomicBool::new(false);
        // Relaxed, all of it: who finds an old answer copies without, or asks once more.
        if IS_PREPARED.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: every x86-64 has it.
        let basic = unsafe { __cpuid(1) }.ecx;
        // SAFETY: of `_xgetbv`: the processor has said that it has it.
        let has_avx =
            basic & AVX_AND_XGETBV == AVX_AND_XGETBV && unsafe { _xgetbv(0) } & VECTORS == VECTORS;
        // SAFETY: as above; who has AVX has this leaf.
        let has_strings = has_avx && unsafe { __cpuid_count(7, 0) }.ebx & STRINGS != 0;
        HAS_AVX.store(has_avx, Ordering::Relaxed);
        HAS_STRINGS.store(has_strings, Ordering::Relaxed);
        IS_PREPARED.store(true, Ordering::Relaxed);
    }

    /// As [`super::fetch_to_write`].
    #[inline(always)]
    pub(super) fn fetch_to_write(end: *mut u8, size: usize) {
        if super::FETCHED.contains(&size) {
            // SAFETY: a prefetch does nothing that the program could tell, also where there is no
            // memory. A processor without this one takes it for no operation.
            unsafe {
                asm!(
                    "2:",
                    "prefetchw byte ptr [{line}]",
                    "add {line}, {LINE}",
                    "cmp {line}, {last}",
                    "jb 2b",
                    line = inout(reg) end.wrapping_add(LINE) => _,
                    last = in(reg) end.wrapping_add(size + 2 * size_of::<u64>()),
                    LINE = const LINE,
                    options(nostack),
                );
            }
        }
    }

    /// # Safety
    /// `from` is readable and `to` writable for `size` bytes, and they do not overlap.
    #[inline(always)]
    pub(super) unsafe fn copy(manner: Manner<'_>, to: *mut u8, from: *const u8, size: usize) {
        let Manner { by, first_line, next_lines, long_past_caches } = manner;
        // Whole words first, then by halves.
        match size {
            // SAFETY: by the caller's promise, and the bounds here; so are all below.
            8..=16 => unsafe { copy_8_to_16(to, from, size) },
            17.. => {
                if size <= 32 {
                    // SAFETY: as above.
                    unsafe { copy_17_to_32(by, to, from, size) }
                } else if size <= 64 {
                    // SAFETY: as above.
                    unsafe { copy_33_to_64(by, to, from, size) }
                } else if size > BLOCKS_MAX && HAS_STRINGS.load(Ordering::Relaxed) {
                    if let Some(true) = long_past_caches {
                        // SAFETY: as above.
                        unsafe { copy_long_past_caches(to, from, size) }
                    } else {
                        // SAFETY: as above.
                        unsafe { copy_string(to, from, size) }
                    }
                } else {
                    // SAFETY: as above.
                    unsafe { copy_long(by, first_line, to, from, size) }
                    if next_lines == NextLines::Fetch {
                        fetch_to_write(to.wrapping_add(size), size);
                    }
                }
            }
            // SAFETY: as above.
            4..=7 => unsafe { copy_4_to_7(to, from, size) },
            // SAFETY: as above.
            1..=3 => unsafe { copy_1_to_3(to, from, size) },
            0 => {}
        }
    }

    /// # Safety
    /// As [`copy`], with `size` in 1..=3.
    #[inline(always)]
    unsafe fn copy_1_to_3(to: *mut u8, from: *const u8, size: usize) {
        // First, middle and last byte; they may be the same.
        // SAFETY: 0, size / 2 and size - 1 are below `size`.
        unsafe {
            asm!(
                "movzx {a:e}, byte ptr [{from}]",
                "movzx {b:e}, byte ptr [{from} + {middle}]",
                "movzx {c:e}, byte ptr [{from} + {size} - 1]",
                "mov byte ptr [{to}], {a:l}",
                "mov byte ptr [{to} + {middle}], {b:l}",
                "mov byte ptr [{to} + {size} - 1], {c:l}",
                to = in(reg) to,
                from = in(reg) from,
                size = in(reg) size,
                middle = in(reg) size / 2,
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// As [`copy`], with `size` in 4..=7.
    #[inline(always)]
    unsafe fn copy_4_to_7(to: *mut u8, from: *const u8, size: usize) {
        // SAFETY: the first and the last 4 of at least 4 bytes.
        unsafe {
            asm!(
                "mov {a:e}, dword ptr [{from}]",
                "mov {b:e}, dword ptr [{from} + {size} - 4]",
                "mov dword ptr [{to}], {a:e}",
                "mov dword ptr [{to} + {size} - 4], {b:e}",
                to = in(reg) to,
                from = in(reg) from,
                size = in(reg) size,
                a = out(reg) _,
                b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// As [`copy`], with `size` in 8..=16.
    #[inline(always)]
    unsafe fn copy_8_to_16(to: *mut u8, from: *const u8, size: usize) {
        // SAFETY: the first and the last 8 of at least 8 bytes.
        unsafe {
            asm!(
                "mov {a}, qword ptr [{from}]",
                "mov {b}, qword ptr [{from} + {size} - 8]",
                "mov qword ptr [{to}], {a}",
                "mov qword ptr [{to} + {size} - 8], {b}",
                to = in(reg) to,
                from = in(reg) from,
                size = in(reg) size,
                a = out(reg) _,
                b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// As [`copy`], with `size` in 17..=32.
    #[inline(always)]
    unsafe fn copy_17_to_32(by: By, to: *mut u8, from: *const u8, size: usize) {
        match by {
            // SAFETY: the first and the last 16 of at least 16 bytes.
            By::Words => unsafe {
                asm!(
                    "movq {a}, qword ptr [{from}]",
                    "movhps {a}, qword ptr [{from} + 8]",
                    "movq {b}, qword ptr [{from} + {size} - 16]",
                    "movhps {b}, qword ptr [{from} + {size} - 8]",
                    "movups xmmword ptr [{to}], {a}",
                    "movups xmmword ptr [{to} + {size} - 16], {b}",
                    to = in(reg) to,
                    from = in(reg) from,
                    size = in(reg) size,
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            },
            // SAFETY: as above.
            By::Vectors => unsafe {
                asm!(
                    "movups {a}, xmmword ptr [{from}]",
                    "movups {b}, xmmword ptr [{from} + {size} - 16]",
                    "movups xmmword ptr [{to}], {a}",
                    "movups xmmword ptr [{to} + {size} - 16], {b}",
                    to = in(reg) to,
                    from = in(reg) from,
                    size = in(reg) size,
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            },
        }
    }

    /// # Safety
    /// As [`copy`], with `size` in 33..=64.
    #[inline(always)]
    unsafe fn copy_33_to_64(by: By, to: *mut u8, from: *const u8, size: usize) {
        match by {
            // SAFETY: the first and the last 32 of at least 32 bytes.
            By::Words => unsafe {
                asm!(
                    "movq {a}, qword ptr [{from}]",
                    "movhps {a}, qword ptr [{from} + 8]",
                    "movq {b}, qword ptr [{from} + 16]",
                    "movhps {b}, qword ptr [{from} + 24]",
                    "movq {c}, qword ptr [{from} + {size} - 32]",
                    "movhps {c}, qword ptr [{from} + {size} - 24]",
                    "movq {d}, qword ptr [{from} + {size} - 16]",
                    "movhps {d}, qword ptr [{from} + {size} - 8]",
                    "movups xmmword ptr [{to}], {a}",
                    "movups xmmword ptr [{to} + 16], {b}",
                    "movups xmmword ptr [{to} + {size} - 32], {c}",
                    "movups xmmword ptr [{to} + {size} - 16], {d}",
                    to = in(reg) to,
                    from = in(reg) from,
                    size = in(reg) size,
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    c = out(xmm_reg) _,
                    d = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            },
            // SAFETY: as above.
            By::Vectors => unsafe {
                asm!(
                    "movups {a}, xmmword ptr [{from}]",
                    "movups {b}, xmmword ptr [{from} + 16]",
                    "movups {c}, xmmword ptr [{from} + {size} - 32]",
                    "movups {d}, xmmword ptr [{from} + {size} - 16]",
                    "movups xmmword ptr [{to}], {a}",
                    "movups xmmword ptr [{to} + 16], {b}",
                    "movups xmmword ptr [{to} + {size} - 32], {c}",
                    "movups xmmword ptr [{to} + {size} - 16], {d}",
                    to = in(reg) to,
                    from = in(reg) from,
                    size = in(reg) size,
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    c = out(xmm_reg) _,
                    d = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            },
        }
    }

    /// A beginning, by itself, and blocks of 64 bytes behind it, which it overlaps.
    ///
    /// # Safety
    /// As [`copy`], with a `size` of 65 at least.
    #[inline(always)]
    unsafe fn copy_long(by: By, first_line: FirstLine, to: *mut u8, from: *const u8, size: usize) {
        let blocks_from = match first_line {
            FirstLine::InTurn => 32 - (to.addr() & 31),
            FirstLine::Last => LINE - (to.addr() & (LINE - 1)),
        };
        if first_line == FirstLine::InTurn {
            // SAFETY: as of all of it; so are all below.
            unsafe { copy_17_to_32(by, to, from, 32) }
        }
        if HAS_AVX.load(Ordering::Relaxed) {
            // SAFETY: as above; `prepare` has found AVX, and the blocks are aligned to 32.
            unsafe { copy_blocks_avx(to, from, blocks_from, size) }
        } else {
            // SAFETY: as above.
            unsafe { copy_blocks(to, from, blocks_from, size) }
        }
        if first_line == FirstLine::Last {
            if blocks_from > 32 {
                let (to, from) = (to.wrapping_add(32), from.wrapping_add(32));
                // SAFETY: as above.
                unsafe { copy_17_to_32(By::Vectors, to, from, 32) }
            }
            // SAFETY: as above.
            unsafe { copy_17_to_32(by, to, from, 32) }
        }
    }

    /// # Safety
    /// As [`copy`].
    #[inline(always)]
    pub(super) unsafe fn copy_past_caches(to: *mut u8, from: *const u8, size: usize) {
        let (blocks, words) = (size & !31, size & !7);
        if blocks > 0 {
            // SAFETY: `at` goes from 0 to `blocks`, which is below `size`, by four words.
            unsafe {
                asm!(
                    "2:",
                    "mov {a}, qword ptr [{from} + {at}]",
                    "mov {b}, qword ptr [{from} + {at} + 8]",
                    "mov {c}, qword ptr [{from} + {at} + 16]",
                    "mov {d}, qword ptr [{from} + {at} + 24]",
                    "movnti qword ptr [{to} + {at}], {a}",
                    "movnti qword ptr [{to} + {at} + 8], {b}",
                    "movnti qword ptr [{to} + {at} + 16], {c}",
                    "movnti qword ptr [{to} + {at} + 24], {d}",
                    "add {at}, 32",
                    "cmp {at}, {blocks}",
                    "jb 2b",
                    to = in(reg) to,
                    from = in(reg) from,
                    blocks = in(reg) blocks,
                    at = inout(reg) 0_usize => _,
                    a = out(reg) _,
                    b = out(reg) _,
                    c = out(reg) _,
                    d = out(reg) _,
                    options(nostack),
                );
            }
        }
        for at in (blocks..words).step_by(8) {
            // SAFETY: below `size` by 8 at least.
            let word = unsafe { from.wrapping_add(at).cast::<u64>().read_unaligned() };
            // SAFETY: as above.
            unsafe { store_past_caches(to.wrapping_add(at), word) }
        }
        if words < size {
            let mut word = [0; 8];
            let rest = from.wrapping_add(words);
            // SAFETY: fewer than 8 are left.
            unsafe { word.as_mut_ptr().copy_from_nonoverlapping(rest, size - words) };
            // SAFETY: there is room for a whole word.
            unsafe { store_past_caches(to.wrapping_add(words), u64::from_le_bytes(word)) }
        }
    }

    /// # Safety
    /// As [`super::store_past_caches`].
    #[inline(always)]
    pub(super) unsafe fn store_past_caches(to: *mut u8, word: u64) {
        // SAFETY: by the caller's promise.
        unsafe {
            asm!(
                "movnti qword ptr [{to}], {word}",
                to = in(reg) to,
                word = in(reg) word,
                options(nostack, preserves_flags),
            );
        }
    }

    /// As [`super::fence_past_caches`].
    #[inline(always)]
    pub(super) fn fence_past_caches() {
        // SAFETY: it does nothing but order stores.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) }
    }

    /// [`copy_past_caches`] of a long message, and the fence behind it. It takes the registers of a string
    /// instruction alone, so that short copies in the same function can keep the others.
    ///
    /// # Safety
    /// As [`copy`], with a `size` of 32 at least.
    #[inline(always)]
    pub(super) unsafe fn copy_long_past_caches(to: *mut u8, from: *const u8, size: usize) {
        // SAFETY: blocks of four words and what is left of one are `size` bytes together.
        unsafe {
            asm!(
                "push rax",
                "sub rcx, 32",
                "2:",
                "mov rax, qword ptr [rsi]",
                "movnti qword ptr [rdi], rax",
                "mov rax, qword ptr [rsi + 8]",
                "movnti qword ptr [rdi + 8], rax",
                "mov rax, qword ptr [rsi + 16]",
                "movnti qword ptr [rdi + 16], rax",
                "mov rax, qword ptr [rsi + 24]",
                "movnti qword ptr [rdi + 24], rax",
                "add rsi, 32",
                "add rdi, 32",
                "sub rcx, 32",
                "jae 2b",
                "add rcx, 32",
                "rep movsb",
                // PUBLISH: the commit word's store is a later one.
                "sfence",
                "pop rax",
                inout("rdi") to => _,
                inout("rsi") from => _,
                inout("rcx") size => _,
            );
        }
    }

    /// A string instruction takes whole lines over without having their old bytes sent, which
    /// counts where these are in a distant cache. Its stores may come to pass in any order, but
    /// before the next other store, as the commit word's is.
    ///
    /// # Safety
    /// As [`copy`].
    #[inline(always)]
    pub(super) unsafe fn copy_string(to: *mut u8, from: *const u8, size: usize) {
        // SAFETY: by the caller's promise; the language keeps the direction flag clear.
        unsafe {
            asm!(
                "rep movsb",
                inout("rdi") to => _,
                inout("rsi") from => _,
                inout("rcx") size => _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// All but the bytes before `start`.
    ///
    /// # Safety
    /// As [`copy`], with a `size` of 65 at least.
    #[inline(always)]
    pub(super) unsafe fn copy_blocks(to: *mut u8, from: *const u8, start: usize, size: usize) {
        // Blocks of 64 bytes, then the last 64, which overlap them.
        let last = size - 64;
        // SAFETY: while `at` is below `last` a block from there ends below `size`; the last bytes
        // lie within more than 64.
        unsafe {
            asm!(
                "cmp {at}, {last}",
                "jae 3f",
                "2:",
                "movups {a}, xmmword ptr [{from} + {at}]",
                "movups {b}, xmmword ptr [{from} + {at} + 16]",
                "movups {c}, xmmword ptr [{from} + {at} + 32]",
                "movups {d}, xmmword ptr [{from} + {at} + 48]",
                "movups xmmword ptr [{to} + {at}], {a}",
                "movups xmmword ptr [{to} + {at} + 16], {b}",
                "movups xmmword ptr [{to} + {at} + 32], {c}",
                "movups xmmword ptr [{to} + {at} + 48], {d}",
                "add {at}, 64",
                "cmp {at}, {last}",
                "jb 2b",
                "3:",
                "movups {a}, xmmword ptr [{from} + {last}]",
                "movups {b}, xmmword ptr [{from} + {last} + 16]",
                "movups {c}, xmmword ptr [{from} + {last} + 32]",
                "movups {d}, xmmword ptr [{from} + {last} + 48]",
                "movups xmmword ptr [{to} + {last}], {a}",
                "movups xmmword ptr [{to} + {last} + 16], {b}",
                "movups xmmword ptr [{to} + {last} + 32], {c}",
                "movups xmmword ptr [{to} + {last} + 48], {d}",
                to = in(reg) to,
                from = in(reg) from,
                last = in(reg) last,
                at = inout(reg) start => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }

    /// All but the bytes before `start`.
    ///
    /// # Safety
    /// As [`copy`], with a `size` of 65 at least, on a processor with AVX; `start` bytes from `to` on
    /// the address is a multiple of 32.
    #[inline(always)]
    unsafe fn copy_blocks_avx(to: *mut u8, from: *const u8, start: usize, size: usize) {
        // Blocks of 64 that are aligned where they are stored, then the last 64. They overlap.
        let last = size - 64;
        // SAFETY: while `at` is below `last` a block from there ends below `size`; the last bytes
        // lie within more than 64. The upper halves of the registers are cleared at the end, so all
        // of them are clobbered.
        unsafe {
            asm!(
                "cmp {at}, {last}",
                "jae 3f",
                // Within one line of instructions, wherever the compiler puts it: across two it takes a
                // fifth more (perf-notes.md, "Sending, in line and called").
                ".p2align 6",
                "2:",
                "vmovups ymm0, ymmword ptr [{from} + {at}]",
                "vmovups ymm1, ymmword ptr [{from} + {at} + 32]",
                "vmovaps ymmword ptr [{to} + {at}], ymm0",
                "vmovaps ymmword ptr [{to} + {at} + 32], ymm1",
                "add {at}, 64",
                "cmp {at}, {last}",
                "jb 2b",
                "3:",
                "vmovups ymm0, ymmword ptr [{from} + {last}]",
                "vmovups ymm1, ymmword ptr [{from} + {last} + 32]",
                "vmovups ymmword ptr [{to} + {last}], ymm0",
                "vmovups ymmword ptr [{to} + {last} + 32], ymm1",
                "vzeroupper",
                to = in(reg) to,
                from = in(reg) from,
                last = in(reg) last,
                at = inout(reg) start => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack),
            );
        }
    }
}

#[cfg(all(any(not(target_arch = "x86_64"), test), not(loom)))]
mod portable {
    use crate::sync::{AtomicU64, Ordering};

    /// # Safety
    /// As [`super::into_shared`].
    pub(super) unsafe fn into_shared(to: *mut u8, from: *const u8, size: usize) {
        for offset in (0..size).step_by(8) {
            let mut word = [0; 8];
            let count = (size - offset).min(8);
            let source = from.wrapping_add(offset);
            // SAFETY: `count` bytes are left of the source, and a word has 8.
            unsafe { word.as_mut_ptr().copy_from_nonoverlapping(source, count) };
            let target = to.wrapping_add(offset).cast();
            // SAFETY: aligned, and the target is writable up to a multiple of 8.
            let target = unsafe { AtomicU64::from_ptr(target) };
            target.store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    /// # Safety
    /// As [`super::out_of_shared`].
    pub(super) unsafe fn out_of_shared(to: *mut u8, from: *const u8, size: usize) {
        for offset in (0..size).step_by(8) {
            let source = from.wrapping_add(offset).cast_mut().cast();
            // SAFETY: aligned, and the source is readable up to a multiple of 8.
            let source = unsafe { AtomicU64::from_ptr(source) };
            let word = source.load(Ordering::Relaxed).to_le_bytes();
            let target = to.wrapping_add(offset);
            // SAFETY: the target is writable up to a multiple of 8.
            unsafe { target.copy_from_nonoverlapping(word.as_ptr(), 8) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{By, FirstLine, Manner, NextLines, into_shared};

    type Copy = unsafe fn(*mut u8, *const u8, usize);

    /// Every way to copy, which is to bring the same about: the names, the functions, and the
    /// sizes that each is for.
    fn copies() -> Vec<(&'static str, Copy, core::ops::RangeInclusive<usize>)> {
        const fn manner(by: By, first_line: FirstLine, next_lines: NextLines) -> Manner<'static> {
            Manner { by, first_line, next_lines, long_past_caches: None }
        }
        // SAFETY: of all closures here: passed on.
        let by_words: Copy = |to, from, size| unsafe {
            into_shared(manner(By::Words, FirstLine::InTurn, NextLines::Fetch), to, from, size);
        };
        // SAFETY: as above.
        let at_last: Copy = |to, from, size| unsafe {
            into_shared(manner(By::Words, FirstLine::Last, NextLines::Leave), to, from, size);
        };
        // SAFETY: as above.
        let by_vectors: Copy = |to, from, size| unsafe {
            into_shared(manner(By::Vectors, FirstLine::InTurn, NextLines::Fetch), to, from, size);
        };
        let all = 0..=1100;
        let mut copies: Vec<(_, Copy, _)> = vec![
            ("into, by words", by_words, all.clone()),
            ("into, the first line last", at_last, all.clone()),
            ("into, by vectors", by_vectors, all.clone()),
            ("out", super::out_of_shared, all.clone()),
            ("portable into", super::portable::into_shared, all.clone()),
            ("portable out", super::portable::out_of_shared, all),
        ];
        #[cfg(target_arch = "x86_64")]
        {
            let without_avx: Copy = |to, from, size| {
                // SAFETY: as above.
                unsafe { super::out_of_shared(to, from, 64) };
                let start = 64 - (to.addr() & 63);
                // SAFETY: as above.
                unsafe { super::x86_64::copy_blocks(to, from, start, size) };
            };
            copies.push(("blocks", without_avx, 65..=1100));
            copies.push(("string", super::x86_64::copy_string, 0..=1100));
            copies.push(("past the caches", super::x86_64::copy_past_caches, 0..=1100));
            copies.push(("long past the caches", super::x86_64::copy_long_past_caches, 32..=1100));
        }
        copies
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    #[allow(clippy::disallowed_types, reason = "no part of the protocol")]
    fn the_processor_is_asked_as_the_standard_library_asks_it() {
        super::prepare();
        let found = [&super::x86_64::HAS_AVX, &super::x86_64::HAS_STRINGS]
            .map(|has| has.load(core::sync::atomic::Ordering::Relaxed));
        let has_avx = std::is_x86_feature_detected!("avx");
        assert_eq!(found, [has_avx, has_avx && std::is_x86_feature_detected!("ermsb")]);
    }

    #[test]
    fn every_copy_brings_all_bytes_and_touches_no_more_words() {
        const MARGIN: usize = 64;
        super::prepare();
        let source: Vec<u64> =
            (0..256_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let source: Vec<u8> = source.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (name, copy, sizes) in copies() {
            for size in sizes {
                // Both sides lie at every multiple of 8 within a block.
                for shift in (0..64).step_by(8) {
                    let mut words = vec![0xa5a5_a5a5_a5a5_a5a5_u64; 256];
                    let from = aligned(source.as_ptr()).wrapping_add(64 - shift);
                    let to = words.as_mut_ptr().cast::<u8>().wrapping_add(MARGIN + shift);
                    // SAFETY: both have 2 KiB, of which at most 64 + 64 + 1104 bytes are used,
                    // and both addresses are multiples of 8.
                    unsafe { copy(to, from, size) };
                    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    let (start, end) = (MARGIN + shift, MARGIN + shift + size);
                    // SAFETY: as above.
                    let expected = unsafe { core::slice::from_raw_parts(from, size) };
                    assert_eq!(&bytes[start..end], expected, "{name}, {size} bytes at {shift}");
                    let around = bytes[..start].iter().chain(&bytes[end.next_multiple_of(8)..]);
                    assert!(around.copied().all(|byte| byte == 0xa5), "{name}, {size} at {shift}");
                }
            }
        }
    }

    /// The next multiple of 8 at or after an address.
    fn aligned(address: *const u8) -> *const u8 {
        address.wrapping_add(address.align_offset(8))
    }
}
