//! Memory that the processes of a job share: how they keep step, and the bare line that every
//! figure is held against.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use memmap2::MmapRaw;

use crate::clock;

/// A word on a pair of lines of its own.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Word {
    Ping,
    Pong,
    /// 1 + how many messages the first process filled in.
    Filled,
    /// The second process has received all of them.
    Drained,
    /// There was room again.
    Again,
    /// When the runner killed a process.
    Killed,
}

const STRIDE: usize = 128;
const SIZE: usize = 4096;

pub(crate) struct Control {
    memory: MmapRaw,
}

impl Control {
    /// The runner's part.
    pub(crate) fn create(directory: &Path) -> Result<()> {
        std::fs::write(Self::path(directory), [0; SIZE]).context("cannot make the control file")
    }

    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(Self::path(directory))?;
        Ok(Self { memory: MmapRaw::map_raw(&file)? })
    }

    fn path(directory: &Path) -> std::path::PathBuf {
        directory.join("control")
    }

    #[inline]
    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        let place = self.memory.as_mut_ptr().wrapping_add(word as usize * STRIDE).cast();
        // SAFETY: aligned and within the page, and everybody uses it atomically.
        unsafe { AtomicU64::from_ptr(place) }
    }

    /// Waits until a word is not 0, without keeping a processor from who is to write it.
    pub(crate) fn wait_for(&self, word: Word) -> u64 {
        loop {
            match self.word(word).load(Ordering::Acquire) {
                0 => std::thread::sleep(Duration::from_micros(50)),
                value => return value,
            }
        }
    }

    /// The median round trip of one line in nanoseconds, with [`Self::answer`] on the other side.
    pub(crate) fn bracket(&self, from: u64) -> f64 {
        let clock = clock::cost();
        let mut times = clock::histogram();
        let mut begin = clock::now();
        for round in from + 1..=from + BRACKET_ROUNDS {
            self.word(Word::Ping).store(round, Ordering::Release);
            Self::poll(self.word(Word::Pong), round);
            let end = clock::now();
            times.saturating_record(end - begin);
            begin = clock::now();
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let median = times.value_at_quantile(0.5) as f64;
        median - clock
    }

    /// The other side of [`Self::bracket`].
    pub(crate) fn answer(&self, from: u64) {
        for round in from + 1..=from + BRACKET_ROUNDS {
            Self::poll(self.word(Word::Ping), round);
            self.word(Word::Pong).store(round, Ordering::Release);
        }
    }

    #[inline]
    pub(crate) fn poll(word: &AtomicU64, value: u64) {
        while word.load(Ordering::Acquire) != value {
            std::hint::spin_loop();
        }
    }
}

/// Round trips of a bracket: about a millisecond.
pub(crate) const BRACKET_ROUNDS: u64 = 5_000;
