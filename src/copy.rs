//! Copies to and from memory that another process may access at the same time.
//!
//! The language has no bytewise atomic copy yet, and `memcpy` of memory that another process
//! writes is a data race. So the portable copies move words with relaxed atomics, and those for
//! x86-64, which the compiler cannot see into, move them with vector instructions: a short copy
//! is two overlapping halves, a longer one a loop over blocks of 64 bytes, a very long one a string
//! instruction or stores past the caches (perf-notes.md has how these compare). What has only just
//! been written is loaded by words: see [`By`]. Any mixture of old and new bytes may arrive; the
//! callers in [`crate::ring`] find out before anybody uses them. On x86-64 all of these stores come
//! before a later release store.

#![cfg_attr(loom, allow(dead_code, reason = "the model checks' words are copied one by one"))]

use core::ops::RangeInclusive;

/// How bytes are copied to where others may be reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) by: By,
    pub(crate) first_line: FirstLine,
    pub(crate) next_lines: NextLines,
    /// Which way to take if it is long; to the caches, if nobody says.
    pub(crate) long: Option<&'a LongCopies>,
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

/// Which way bytes go where there are more than [`BLOCKS_MAX`]: to this processor's caches, or past them
/// to memory. To the caches each line has to come that the readers' processors had last, and past them
/// none. Of a distant processor's lines that takes three times as long, of a near one's half as long. So
/// the time tells: now and then a copy goes to the caches by the clock, and if it is slow the next one
/// past them, by the clock too.
#[derive(Debug)]
pub(crate) struct LongCopies {
    past_caches: bool,
    /// How many there are before the clock is looked at.
    left: u32,
    /// Bytes a nanosecond of the last copy to the caches, if it was slow and the next one is to be
    /// compared with it.
    slow: Option<f64>,
}

impl LongCopies {
    const LEFT: u32 = 64;
    /// Bytes a nanosecond. From near caches lines come at 10 and more also on a busy machine, from distant
    /// ones at 3 and less (perf-notes.md, "Long messages, past the caches").
    const SLOW: f64 = 5.0;
    /// Who reads what went past the caches waits for the memory.
    const FASTER: f64 = 1.5;

    pub(crate) fn new() -> Self {
        Self { past_caches: false, left: Self::LEFT, slow: None }
    }

    /// Has `copy` copy so many bytes, and learns from how long that takes if it is long and its turn.
    #[cfg(not(loom))]
    pub(crate) fn learn<T>(
        &mut self,
        size: usize,
        copy: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<T> {
        if size <= BLOCKS_MAX {
            return copy(self);
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return copy(self);
        }
        self.past_caches = self.slow.is_some();
        let begin = std::time::Instant::now();
        let copied = copy(self)?;
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = size as f64 / begin.elapsed().as_nanos() as f64;
        self.judge(rate);
        Some(copied)
    }

    #[cfg(loom)]
    pub(crate) fn learn<T>(
        &mut self,
        _: usize,
        copy: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<T> {
        copy(self)
    }

    /// What follows from how many bytes a nanosecond the copy came to whose turn it was.
    fn judge(&mut self, rate: f64) {
        if self.slow.is_none() && rate < Self::SLOW {
            self.slow = Some(rate);
            return;
        }
        self.past_caches = self.slow.take().is_some_and(|slow| rate > slow * Self::FASTER);
        self.left = Self::LEFT;
    }
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
            long: None,
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

/// Finds out what the processor can do. Until it is called, copies do without.
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
    use core::sync::atomic::{AtomicBool, Ordering};

    /// The standard library's own answer costs the copies a call that they hardly ever make, and
    /// the registers for it.
    static HAS_AVX: AtomicBool = AtomicBool::new(false);

    /// Whether string instructions are fast.
    static HAS_STRINGS: AtomicBool = AtomicBool::new(false);

    pub(super) fn prepare() {
        HAS_AVX.store(std::is_x86_feature_detected!("avx"), Ordering::Relaxed);
        HAS_STRINGS.store(std::is_x86_feature_detected!("ermsb"), Ordering::Relaxed);
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
        let Manner { by, first_line, next_lines, long } = manner;
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
                    if long.is_some_and(|long| long.past_caches) {
                        // SAFETY: as above.
                        unsafe { copy_past_caches(to, from, size) }
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

    /// Whole lines past the caches, the bytes before and behind them by a string instruction. Stores past
    /// the caches come to pass in any order, also after later ones, but not after the fence.
    ///
    /// # Safety
    /// As [`copy`], with a `size` of two lines at least.
    #[inline(always)]
    pub(super) unsafe fn copy_past_caches(to: *mut u8, from: *const u8, size: usize) {
        // SAFETY: up to the boundary of a line, whole lines, and what is left are `size` bytes together. It
        // takes the registers of a string instruction alone, so that short copies in the same function can
        // keep the others.
        unsafe {
            asm!(
                "push rax",
                "mov rax, rcx",
                "mov rcx, rdi",
                "neg rcx",
                "and rcx, {LINE} - 1",
                "sub rax, rcx",
                "rep movsb",
                "mov rcx, rax",
                "and rcx, -{LINE}",
                "add rcx, rdi",
                "2:",
                "movups xmm0, xmmword ptr [rsi]",
                "movups xmm1, xmmword ptr [rsi + 16]",
                "movups xmm2, xmmword ptr [rsi + 32]",
                "movups xmm3, xmmword ptr [rsi + 48]",
                "movntps xmmword ptr [rdi], xmm0",
                "movntps xmmword ptr [rdi + 16], xmm1",
                "movntps xmmword ptr [rdi + 32], xmm2",
                "movntps xmmword ptr [rdi + 48], xmm3",
                "add rsi, {LINE}",
                "add rdi, {LINE}",
                "cmp rdi, rcx",
                "jb 2b",
                "mov rcx, rax",
                "and rcx, {LINE} - 1",
                "rep movsb",
                // PUBLISH: the commit word's store is a later one.
                "sfence",
                "pop rax",
                LINE = const LINE,
                inout("rdi") to => _,
                inout("rsi") from => _,
                inout("rcx") size => _,
                out("xmm0") _,
                out("xmm1") _,
                out("xmm2") _,
                out("xmm3") _,
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
    use super::{BLOCKS_MAX, By, FirstLine, LongCopies, Manner, NextLines, into_shared};

    type Copy = unsafe fn(*mut u8, *const u8, usize);

    /// Every way to copy, which is to bring the same about: the names, the functions, and the
    /// sizes that each is for.
    fn copies() -> Vec<(&'static str, Copy, core::ops::RangeInclusive<usize>)> {
        const fn manner(by: By, first_line: FirstLine, next_lines: NextLines) -> Manner<'static> {
            Manner { by, first_line, next_lines, long: None }
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
            copies.push(("past the caches", super::x86_64::copy_past_caches, 128..=1100));
        }
        copies
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

    #[test]
    fn long_messages_go_past_the_caches_while_that_is_faster() {
        const FAST: f64 = 2.0 * LongCopies::SLOW;
        let mut long = LongCopies::new();
        let mut after = |rates: &[f64]| {
            for &rate in rates {
                long.judge(rate);
            }
            (long.past_caches, long.slow.is_none())
        };
        assert_eq!(after(&[FAST]), (false, true));
        assert_eq!(after(&[1.0]), (false, false), "the next one is timed too");
        assert_eq!(after(&[1.2]), (false, true), "slow both ways");
        assert_eq!(after(&[1.0, 2.0]), (true, true));
        assert_eq!(after(&[2.0, 2.2]), (false, true));
        assert_eq!(after(&[1.0, 2.0, FAST]), (false, true), "it has come near");
        // A clock that stands still.
        assert_eq!(after(&[f64::INFINITY]), (false, true));
    }

    #[test]
    fn long_messages_arrive_whichever_way_they_go() {
        super::prepare();
        let source: Vec<u64> =
            (0..2_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let source: Vec<u8> = source.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut long = LongCopies::new();
        let mut timed = 0;
        for number in 0..5 * LongCopies::LEFT as usize {
            let payload = &source[..BLOCKS_MAX + 1 + 61 * number % 8000];
            let mut words = vec![0_u64; 2_000];
            let to = words.as_mut_ptr().wrapping_add(number % 8).cast::<u8>();
            let is_due = long.left == 0;
            long.learn(payload.len(), |long| {
                let manner = Manner {
                    by: By::Words,
                    first_line: FirstLine::Last,
                    next_lines: NextLines::Leave,
                    long: Some(long),
                };
                // SAFETY: there is room for 16,000 bytes, of which 12,200 at most are written from the
                // eighth word on.
                unsafe { into_shared(manner, to, payload.as_ptr(), payload.len()) }
                Some(())
            });
            timed += usize::from(is_due);
            long.past_caches = number % 128 >= 64;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let from = number % 8 * 8;
            assert!(&bytes[from..from + payload.len()] == payload, "{number}");
        }
        assert!(timed >= 4, "{timed}");
    }

    #[test]
    fn what_had_no_room_is_not_learnt_from() {
        let mut long = LongCopies::new();
        long.left = 0;
        assert_eq!(long.learn(BLOCKS_MAX + 1, |_| None::<()>), None);
        assert_eq!((long.left, long.slow), (0, None));
        assert_eq!(long.learn(BLOCKS_MAX, |_| Some(1)), Some(1), "not long");
        assert_eq!(long.left, 0);
    }

    /// The next multiple of 8 at or after an address.
    fn aligned(address: *const u8) -> *const u8 {
        address.wrapping_add(address.align_offset(8))
    }
}
