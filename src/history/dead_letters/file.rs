//! The file of letters: which one it is, and who keeps whom away from it.
//!
//! Two bytes of the file have locks, and the name can come to lead to another file only by whoever
//! has both:
//!
//! - *appending*: shared, for as long as the call takes that appends a record; exclusive, to know
//!   that nothing is half written, and to replace the file.
//! - *dropping*: exclusive, by whoever drops letters, and perhaps rewrites the file.
//!
//! A lock is of use only if the name still leads to the file when it is had. Whoever dies gives it up.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::record::{self, Records, Summary};
use crate::history::making::open_or_make;
use crate::sys::file;
use crate::sys::fork::OwnFile;

/// How long to wait for others, who need far less unless one was stopped.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for a moment in which nobody appends, where it matters little if there is none.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);
/// How often a file is opened that is replaced again and again.
const TRIES: u32 = 100;

/// Which file it is. The number of one that is gone may be another's; how that begins tells them
/// apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    inode: (u64, u64),
    begin: Vec<u8>,
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let begin = record::beginning_of(file, record::HEADER_SIZE)?;
        Ok(Self { inode: inode(&file.metadata()?), begin })
    }

    /// Whether there is nothing in it that tells it from another one.
    pub(super) fn is_vague(&self) -> bool {
        self.begin.len() < record::HEADER_SIZE
    }
}

fn inode(facts: &Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    Appending,
    Dropping,
}

impl Lock {
    const fn byte(self) -> u64 {
        match self {
            Self::Appending => 0,
            Self::Dropping => 1,
        }
    }
}

/// A file of letters that one can append to. Its locks go with it.
#[derive(Debug)]
pub(super) struct Letters(OwnFile);

impl Letters {
    pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let file = OwnFile::open(|| file::open_regular(path, options.read(true)))?;
        Ok(Self(file))
    }

    /// The same, of a file to append to. It is made if there is none.
    pub(super) fn open_or_make(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = OwnFile::open(|| file::insist_on_regular(open_or_make(path, options)?))?;
        Ok(Self(file))
    }

    /// Opens the file that the name leads to, and locks it. `prepare` comes before the lock.
    pub(super) fn open_locked<T>(
        path: &Path,
        open: impl Fn() -> io::Result<Self>,
        prepare: impl Fn(&Self) -> io::Result<T>,
        lock: impl Fn(&Self) -> io::Result<()>,
    ) -> io::Result<(Self, T)> {
        for _ in 0..TRIES {
            let letters = open()?;
            let prepared = prepare(&letters)?;
            lock(&letters)?;
            match fs::metadata(path) {
                Ok(facts) if letters.is(&facts)? => return Ok((letters, prepared)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it is replaced again and again"))
    }

    /// Whether a name leads to this file.
    pub(super) fn is(&self, facts: &Metadata) -> io::Result<bool> {
        Ok(inode(facts) == inode(&self.0.metadata()?))
    }

    /// Keeps whoever would replace the file away.
    pub(super) fn lock_to_append(&self) -> io::Result<()> {
        insist(PATIENCE, || file::try_lock_shared(&self.0, Lock::Appending.byte(), 1))
    }

    /// Keeps others away who drop letters.
    pub(super) fn lock_to_drop(&self) -> io::Result<()> {
        insist(PATIENCE, || self.try_lock(Lock::Dropping))
    }

    /// Keeps everybody away who appends.
    pub(super) fn lock_to_replace(&self) -> io::Result<()> {
        insist(SHORT_PATIENCE, || self.try_lock(Lock::Appending))
    }

    pub(super) fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        file::try_lock(&self.0, lock.byte(), 1)
    }

    pub(super) fn unlock(&self, lock: Lock) -> io::Result<()> {
        file::unlock(&self.0, lock.byte(), 1)
    }

    /// How long the file is in a moment in which nobody appends: all before that is as it will stay.
    pub(super) fn settled_size(&self) -> io::Result<u64> {
        self.lock_to_replace()?;
        let facts = self.0.metadata();
        self.unlock(Lock::Appending)?;
        Ok(facts?.len())
    }

    /// Appends by one write, so that nobody else's falls within, to a file that is locked for that;
    /// what is not whole after it counts for nothing.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let written = loop {
            match (&*self.0).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if written == bytes.len() {
            return Ok(());
        }
        // It is told all the same. If the rest stays, it is passed over.
        let _ = self.cut_torn(&bytes[..written]);
        Err(io::ErrorKind::StorageFull.into())
    }

    /// Cuts off what is not whole of what this one appended last, unless somebody has appended behind
    /// it: each further try on a full disk would leave more. What is whole stays: somebody may have
    /// looked at it. Whoever keeps others from replacing the file keeps on, so that none of them has
    /// seen it end there.
    pub(super) fn cut_torn(&self, written: &[u8]) -> io::Result<()> {
        let mut records = Records::new(written, 0);
        let mut whole = 0;
        while records.next(Summary::parse)?.is_some() {
            whole = records.position();
        }
        self.lock_to_replace()?;
        let end = (&*self.0).stream_position()?;
        if self.0.metadata()?.len() == end {
            self.0.set_len(end - (written.len() as u64 - whole))?;
        }
        Ok(())
    }
}

impl std::ops::Deref for Letters {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Letters {
    fn drop(&mut self) {
        if self.0.is_own() {
            // A child that was forked just now has a copy.
            for lock in [Lock::Appending, Lock::Dropping] {
                let _ = self.unlock(lock);
            }
        }
    }
}

/// Takes a lock, waiting for others that have it.
fn insist(patience: Duration, take: impl Fn() -> io::Result<bool>) -> io::Result<()> {
    let begin = Instant::now();
    while !take()? {
        if begin.elapsed() > patience {
            let what = "somebody else has it locked, and does not go on";
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}
