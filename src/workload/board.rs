//! Words that processes share with nothing in between: what the machine itself can do, and counts
//! that a run needs beside the transport.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::sync::{AtomicU64, Ordering};

/// Lines of shared memory with a word each, far enough apart to travel alone.
///
/// No board has a name that begins with `ringway.`: those are queues' there, and whoever has a message of
/// one relies on it that nobody but its producer writes it.
///
/// Lines 0 and 1 are for [`ping`](Self::ping): the round trip of one line is the least that two
/// processors need for a message and its answer, and a bracket around everything timed: if it
/// changed, the machine did.
///
/// ```
/// use ringway::workload::Board;
///
/// let name = format!("doc-board-{}", std::process::id());
/// let board = Board::create(&name, 4)?;
/// let other = std::thread::spawn(move || Board::open(&name).map(|board| board.answer(3)));
/// for round in 1..=3 {
///     board.ping(round);
/// }
/// board.set(2, 7);
/// assert_eq!(board.get(2), 7);
/// other.join().expect("it answered")?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Board {
    memory: Shmem,
    lines: usize,
    /// Its maker has it locked, as a sign that it lives. Dropped last.
    _lock: Option<File>,
}

/// Where shared memory has its names.
const DIRECTORY: &str = "/dev/shm";
/// What queues' names begin with there.
const QUEUES: &str = "ringway.";

/// Bytes from one word to the next: two cache lines, since some processors fetch pairs.
const LINE: usize = 128;
const PING: usize = 0;
const PONG: usize = 1;

impl Board {
    /// The first line that is free for counts.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Board::COUNTS, 2);
    /// ```
    pub const COUNTS: usize = 2;

    /// Makes one of this name, all words 0, with so many lines, two at least. It is gone when
    /// this value is; who has opened it keeps it.
    ///
    /// # Errors
    /// If the name is taken, or a queue's, or there is no memory.
    ///
    /// ```
    /// let name = format!("doc-board-create-{}", std::process::id());
    /// let board = ringway::workload::Board::create(&name, 2)?;
    /// assert_eq!(board.get(0), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(name: &str, lines: usize) -> io::Result<Self> {
        check_name(name)?;
        let size = lines.max(Self::COUNTS).saturating_mul(LINE);
        loop {
            let board = Self::of(ShmemConf::new().os_id(name).size(size).create(), name)?;
            // Who is quick takes it for abandoned before it is locked, and is waited for, since it removes
            // the name, whatever has it by then.
            if let Some(lock) = lock_named(name, 0)? {
                return Ok(Self { _lock: Some(lock), ..board });
            }
        }
    }

    /// Opens what another process has made.
    ///
    /// # Errors
    /// If there is none, or the name is a queue's.
    ///
    /// ```
    /// assert!(ringway::workload::Board::open("doc-no-such-board").is_err());
    /// ```
    pub fn open(name: &str) -> io::Result<Self> {
        check_name(name)?;
        Self::of(ShmemConf::new().os_id(name).open(), name)
    }

    /// Removes the boards whose names begin so and whose makers were killed; of each `also` is told
    /// first, to remove what went with it. What cannot be removed, another user's for one, is left
    /// alone. Whatever else has such a name in the shared memory is taken for a board, but for queues.
    ///
    /// ```
    /// use ringway::workload::Board;
    ///
    /// let name = format!("doc-board-abandoned-{}", std::process::id());
    /// let board = Board::create(&name, 2)?;
    /// Board::remove_abandoned(&name, |board| panic!("the maker of {board} lives"));
    /// assert!(Board::open(&name).is_ok());
    /// # drop(board);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn remove_abandoned(prefix: &str, mut also: impl FnMut(&str)) {
        let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| name.starts_with(prefix) && check_name(name).is_ok()) {
            // Held until it is gone: see `create`.
            if let Ok(Some(_lock)) = lock_named(&name, libc::LOCK_NB) {
                also(&name);
                let _ = std::fs::remove_file(path_of(&name));
            }
        }
    }

    fn of(memory: Result<Shmem, ShmemError>, name: &str) -> io::Result<Self> {
        let memory = memory.map_err(|error| {
            io::Error::other(format!("the shared memory '{name}' cannot be had: {error}"))
        })?;
        let lines = memory.len() / LINE;
        Ok(Self { memory, lines, _lock: None })
    }

    /// The word of a line.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    ///
    /// ```
    /// # let name = format!("doc-board-get-{}", std::process::id());
    /// # let board = ringway::workload::Board::create(&name, 2)?;
    /// assert_eq!(board.get(1), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, line: usize) -> u64 {
        // Acquire: who sees a count sees what was done before it.
        self.word(line).load(Ordering::Acquire)
    }

    /// Stores a word.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    ///
    /// ```
    /// # let name = format!("doc-board-set-{}", std::process::id());
    /// # let board = ringway::workload::Board::create(&name, 2)?;
    /// board.set(0, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn set(&self, line: usize, value: u64) {
        // Release: as above.
        self.word(line).store(value, Ordering::Release);
    }

    /// Sends a line to the other process and awaits its answer, polling. Rounds are numbered
    /// from 1. It waits for ever for an answer that does not come.
    ///
    /// ```no_run
    /// ringway::workload::Board::open("a-board")?.ping(1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn ping(&self, round: u64) {
        self.set(PING, round);
        self.await_value(PONG, round);
    }

    /// The other side of so many pings.
    ///
    /// ```no_run
    /// ringway::workload::Board::open("a-board")?.answer(1000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn answer(&self, rounds: u64) {
        for round in 1..=rounds {
            self.await_value(PING, round);
            self.set(PONG, round);
        }
    }

    #[inline]
    fn await_value(&self, line: usize, value: u64) {
        // Two ends that share a processor come to an answer by letting each other run.
        const POLLS: u32 = 10_000;
        let mut polls = 0_u32;
        while self.get(line) != value {
            std::hint::spin_loop();
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(POLLS) {
                std::thread::yield_now();
            }
        }
    }

    #[inline]
    fn word(&self, line: usize) -> &AtomicU64 {
        assert!(line < self.lines, "the board has {} lines, and no line {line}", self.lines);
        let word = self.memory.as_ptr().wrapping_add(line * LINE).cast();
        // SAFETY: aligned, within the mapping, and everybody uses it atomically: it is no queue's memory,
        // where this process may have references to messages.
        unsafe { AtomicU64::from_ptr(word) }
    }
}

/// Refuses what is a queue's.
fn check_name(name: &str) -> io::Result<()> {
    if !within_directory(name).starts_with(QUEUES) {
        return Ok(());
    }
    let what = format!("'{name}' is the name of a queue's memory, and no board can have it");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(within_directory(name))
}

/// With the slash before it or without, as `shm_open` takes it.
fn within_directory(name: &str) -> &str {
    name.trim_start_matches('/')
}

/// The lock on a board, which is waited for unless the flags say otherwise; none if somebody else has
/// it, or the board has lost its name meanwhile. It goes with the last copy of the opening, at the
/// latest when the process dies (`flock(2)`).
fn lock_named(name: &str, flags: libc::c_int) -> io::Result<Option<File>> {
    let file = match File::open(path_of(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    // SAFETY: a call on an open file.
    while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | flags) } != 0 {
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("lines", &self.lines).finish_non_exhaustive()
    }
}
