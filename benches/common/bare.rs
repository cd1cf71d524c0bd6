//! Shared memory without a protocol, and the least that two processes can do with it.

#![allow(clippy::disallowed_types, reason = "the library's own atomics are not public")]
#![allow(clippy::cast_possible_truncation, reason = "offsets in a few MiB")]

use std::sync::atomic::{AtomicU64, Ordering};

use shared_memory::{Shmem, ShmemConf};

use super::Patience;

/// Bytes of the ring, as of the queue's: large enough to lag a little, small enough for the
/// caches.
pub(crate) const RING_SIZE: usize = 4 << 20;
pub(crate) const LINE: usize = 64;
/// Offsets behind the ring: lines of one word each.
pub(crate) const PING: usize = RING_SIZE;
pub(crate) const PONG: usize = RING_SIZE + 256;
pub(crate) const DONE: usize = RING_SIZE + 512;
const CURSOR: usize = RING_SIZE + 768;
const SIZE: usize = RING_SIZE + 4096;

/// The memory, in one of the processes.
pub(crate) struct Bare {
    memory: Shmem,
}

impl Bare {
    pub(crate) fn create(name: &str) -> Self {
        let memory = ShmemConf::new().os_id(name).size(SIZE).create().expect("shared memory");
        // SAFETY: the mapping has that size. Touching every page here keeps page faults out of
        // what is measured.
        unsafe { memory.as_ptr().write_bytes(0, SIZE) };
        Self { memory }
    }

    pub(crate) fn open(name: &str) -> Self {
        let memory = ShmemConf::new().os_id(name).open().expect("shared memory of the parent");
        let bare = Self { memory };
        bare.forget_stream();
        bare
    }

    /// The word at an offset that is a multiple of 8.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= SIZE);
        let word = self.memory.as_ptr().wrapping_add(offset).cast();
        // SAFETY: aligned and in bounds, and everybody uses it atomically.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// Sends one line to and fro.
    #[inline]
    pub(crate) fn ping(&self, round: u64) {
        self.word(PING).store(round, Ordering::Release);
        self.await_value(PONG, round);
    }

    /// The other side of [`Self::ping`].
    pub(crate) fn answer(&self, rounds: u64) {
        for round in 1..=rounds {
            self.await_value(PING, round);
            self.word(PONG).store(round, Ordering::Release);
        }
    }

    /// Waits for a word to become `value`, polling as consumers do.
    #[inline]
    pub(crate) fn await_value(&self, offset: usize, value: u64) {
        let word = self.word(offset);
        let mut patience = Patience::default();
        while word.load(Ordering::Acquire) != value {
            std::hint::spin_loop();
            patience.poll();
        }
    }

    /// Streams lines that carry their sequence. Lossless with the least that this needs: the
    /// writer looks at the reader's cursor when it has used up what it saw there last.
    pub(crate) fn write_lines(&self, count: u64) {
        let mut room = Room::new(self, (RING_SIZE / LINE) as u64);
        for sequence in 1..=count {
            let offset = room.slot(sequence) * LINE;
            for word in (8..LINE).step_by(8) {
                self.word(offset + word).store(sequence, Ordering::Relaxed);
            }
            self.word(offset).store(sequence, Ordering::Release);
        }
    }

    /// The other side of [`Self::write_lines`], with so many pauses between two polls.
    pub(crate) fn read_lines(&self, count: u64, pauses: u64) {
        const LINES: u64 = (RING_SIZE / LINE) as u64;
        for sequence in 1..=count {
            let offset = (sequence % LINES) as usize * LINE;
            while self.word(offset).load(Ordering::Acquire) != sequence {
                for _ in 0..pauses {
                    std::hint::spin_loop();
                }
            }
            std::hint::black_box(self.word(offset + 8).load(Ordering::Relaxed));
            self.retire(sequence, LINES);
        }
        self.forget_stream();
    }

    /// Streams payloads by `memcpy`, each followed by its sequence on a line of its own.
    pub(crate) fn write_copies(&self, count: u64, size: usize) {
        let slot_size = size + LINE;
        let mut room = Room::new(self, (RING_SIZE / slot_size) as u64);
        let payload = vec![7_u8; size];
        for sequence in 1..=count {
            let offset = room.slot(sequence) * slot_size;
            let to = self.memory.as_ptr().wrapping_add(offset + LINE);
            // SAFETY: the slot lies within the ring, and its reader has passed it.
            unsafe { to.copy_from_nonoverlapping(payload.as_ptr(), size) };
            self.word(offset).store(sequence, Ordering::Release);
        }
    }

    /// The other side of [`Self::write_copies`], which copies each out.
    pub(crate) fn read_copies(&self, count: u64, size: usize) {
        let slot_size = size + LINE;
        let slots = (RING_SIZE / slot_size) as u64;
        let mut buffer = vec![0_u8; size];
        for sequence in 1..=count {
            let offset = (sequence % slots) as usize * slot_size;
            self.await_value(offset, sequence);
            let from = self.memory.as_ptr().wrapping_add(offset + LINE);
            // SAFETY: the slot lies within the ring, and its writer waits for the cursor.
            unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(from, size) };
            std::hint::black_box(&mut buffer);
            self.retire(sequence, slots);
        }
        self.forget_stream();
    }

    /// Tells the writer how far the reader is, 16 times a lap.
    #[inline]
    fn retire(&self, sequence: u64, slots: u64) {
        if sequence.is_multiple_of((slots / 16).max(1)) {
            self.word(CURSOR).store(sequence, Ordering::Release);
        }
    }

    /// Clears old sequences, so that the next stream does not take them for its own.
    fn forget_stream(&self) {
        self.word(CURSOR).store(0, Ordering::Relaxed);
        for offset in (0..RING_SIZE).step_by(8) {
            self.word(offset).store(0, Ordering::Relaxed);
        }
    }
}

/// What the writer of a stream knows of its reader.
struct Room<'a> {
    bare: &'a Bare,
    slots: u64,
    limit: u64,
}

impl<'a> Room<'a> {
    fn new(bare: &'a Bare, slots: u64) -> Self {
        Self { bare, slots, limit: slots }
    }

    /// The slot of a message, once it is free.
    #[inline]
    fn slot(&mut self, sequence: u64) -> usize {
        if sequence > self.limit {
            let mut patience = Patience::default();
            while sequence > self.limit {
                self.limit = self.bare.word(CURSOR).load(Ordering::Acquire) + self.slots;
                std::hint::spin_loop();
                patience.poll();
            }
        }
        (sequence % self.slots) as usize
    }
}
