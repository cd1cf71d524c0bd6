//! Shortening a journal by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::archive::Archive;
use super::checkpoint::{self, Checkpoints};
use super::directory::sync_directory;
use crate::error::Error;
use crate::ring::Place;
use crate::segment::{Access, Mapping};

/// What came of [`Archive::prune`], or [`Archive::force_prune`].
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions, Start, Subscribe};
/// # let _ = Queue::force_remove("doc-pruned");
/// # let directory = std::env::temp_dir().join("ringway-doc-pruned");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// for _ in 0..2 {
///     // A queue that is made anew begins a file.
///     let queue = Queue::create("doc-pruned", &options)?;
///     queue.declare(&Subscribe::new().named("workers").from(Start::Oldest))?;
///     queue.producer()?.send_durable(b"to be worked on")?;
///     Queue::remove("doc-pruned")?;
/// }
/// let archive = Archive::open(&directory)?;
/// let pruned = archive.prune(0, None)?;
/// assert_eq!((pruned.removed.len(), pruned.kept.len()), (0, 1));
/// assert_eq!(pruned.unread[0].subscription.as_deref(), Some("workers"));
/// assert_eq!(pruned.unread[0].sequence, Some(0));
/// assert_eq!(archive.force_prune(0, None)?.removed.len(), 1);
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// The files that were removed.
    pub removed: Vec<PathBuf>,
    /// Those that would have been, and somebody has not read.
    pub kept: Vec<PathBuf>,
    /// Bytes of those.
    pub kept_size: u64,
    /// Who has not read all of what was kept, or, by force, of what was removed.
    pub unread: Vec<Unread>,
}

/// Somebody who has not read all of a journal.
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-unread");
/// # let directory = std::env::temp_dir().join("ringway-doc-unread");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-unread", &options)?;
/// for unread in Archive::open(&directory)?.prune(1 << 30, None)?.unread {
///     println!("{:?} goes on with {:?}", unread.subscription, unread.sequence);
/// }
/// # Queue::force_remove("doc-unread")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// The named subscription; `None` for consumers without a name that spill.
    pub subscription: Option<String>,
    /// The first message that it has not settled, if that can be told.
    pub sequence: Option<u64>,
}

impl Archive {
    /// Removes the oldest files until the rest has so many bytes at most, and those that were last
    /// written to longer ago than `age_max`; never the last one, and none that somebody has not read: a
    /// named subscription, unless it skips, or, where the queue is there, a consumer that spills.
    ///
    /// # Errors
    /// [`Error::JournalerAlive`] while somebody appends, [`Error::File`]. [`Error::LogDamaged`] if it
    /// cannot be told how far a subscription has come; those of [`Queue::open`](crate::Queue::open) if
    /// the queue is there and cannot be asked.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-prune");
    /// # let directory = std::env::temp_dir().join("ringway-doc-prune");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-prune", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// Queue::remove("doc-prune")?;
    /// let pruned = Archive::open(&directory)?.prune(0, None)?;
    /// assert!(pruned.removed.is_empty()); // the only file is the last one
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn prune(&self, size_max: u64, age_max: Option<Duration>) -> Result<Pruned, Error> {
        self.prune_as_told(size_max, age_max, false)
    }

    /// As [`prune`](Self::prune), also what somebody has not read: whoever it is is told what it missed.
    ///
    /// # Errors
    /// [`Error::JournalerAlive`] while somebody appends, [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-force-prune");
    /// # let directory = std::env::temp_dir().join("ringway-doc-force-prune");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-force-prune", &options)?;
    /// let pruned = Archive::open(&directory)?.force_prune(1 << 30, None)?;
    /// assert!(pruned.removed.is_empty() && pruned.kept.is_empty());
    /// # Queue::force_remove("doc-force-prune")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn force_prune(&self, size_max: u64, age_max: Option<Duration>) -> Result<Pruned, Error> {
        self.prune_as_told(size_max, age_max, true)
    }

    fn prune_as_told(
        &self,
        size_max: u64,
        age_max: Option<Duration>,
        is_forced: bool,
    ) -> Result<Pruned, Error> {
        let _lock = self.lock()?;
        let files = self.log.files()?;
        let mut size = 0;
        for file in &files {
            size += self.size_of(&file.path)?;
        }
        let mut pruned = Pruned::default();
        let mut readers = None;
        // Where what somebody may not have read ends.
        let mut until = Place::default();
        for (file, next) in files.iter().zip(files.iter().skip(1)) {
            let is_too_old = age_max.is_some_and(|max| file.age() > Some(max));
            if size <= size_max && !is_too_old {
                break;
            }
            let readers = match &mut readers {
                Some(readers) => readers,
                none => none.insert(match Readers::of(self) {
                    Err(_) if is_forced => Readers::default(),
                    readers => readers?,
                }),
            };
            until = match self.log.open(next) {
                // That it is damaged is no reason to keep what is before it, if nobody is asked.
                Err(_) if is_forced => Place { position: next.base, sequence: until.sequence },
                opened => opened?.map_or(until, |(_, header)| header.begin),
            };
            let found = self.size_of(&file.path)?;
            if !pruned.kept.is_empty() || !is_forced && readers.need(until) {
                pruned.kept.push(file.path.clone());
                pruned.kept_size += found;
            } else {
                readers.save(until);
                let gone = fs::remove_file(&file.path);
                gone.map_err(|error| self.log.failed("remove", &file.path, error))?;
                pruned.removed.push(file.path.clone());
            }
            size = size.saturating_sub(found);
        }
        if !pruned.removed.is_empty() {
            let directory = &self.log.directory;
            let synced = sync_directory(directory);
            synced.map_err(|error| self.log.failed("sync", directory, error))?;
        }
        if let Some(readers) = readers
            && (is_forced || !pruned.kept.is_empty())
        {
            pruned.unread = readers.behind(until);
        }
        Ok(pruned)
    }

    fn size_of(&self, path: &Path) -> Result<u64, Error> {
        let facts = fs::metadata(path);
        facts.map(|facts| facts.len()).map_err(|error| self.log.failed("examine", path, error))
    }
}

/// Who reads a journal, and how far each has come.
#[derive(Debug, Default)]
struct Readers {
    /// The queue, if it is there.
    queue: Option<(Mapping, Checkpoints)>,
    /// The lowest position that anybody needs there.
    lowest: Option<u64>,
    /// The named subscriptions, each with the first message that it has not settled, and the position
    /// that it reads from.
    named: Vec<(String, Place)>,
}

impl Readers {
    fn of(archive: &Archive) -> Result<Self, Error> {
        let segment = archive.queue()?.map(Arc::new);
        if let Some(segment) = segment
            && let Some(checkpoints) = Checkpoints::of(&segment)
        {
            let mapping = segment.map(Access::Control)?;
            let ring = mapping.ring();
            let named = checkpoint::named_of(&ring).collect();
            let lowest = ring.lowest_in_journal();
            return Ok(Self { queue: Some((mapping, checkpoints)), lowest, named });
        }
        let named = checkpoint::named_in(&archive.directory, &archive.log)?;
        Ok(Self { queue: None, lowest: None, named })
    }

    /// Whether somebody needs what comes before a place.
    fn need(&self, end: Place) -> bool {
        self.lowest.is_some_and(|lowest| lowest < end.position)
            || self.named.iter().any(|(_, place)| is_behind(*place, end))
    }

    /// Has it on disk that nobody needs any more what comes before a place.
    fn save(&mut self, end: Place) {
        if let Some((mapping, checkpoints)) = &mut self.queue {
            checkpoints.save(&mapping.ring(), end.position);
        }
    }

    /// Who needs what comes before a place.
    fn behind(self, end: Place) -> Vec<Unread> {
        let named = self.named.into_iter().filter(|(_, place)| is_behind(*place, end));
        let unread = named.map(|(name, place)| Unread {
            subscription: Some(name),
            sequence: Some(place.sequence),
        });
        let mut unread: Vec<_> = unread.collect();
        if unread.is_empty() && self.lowest.is_some_and(|lowest| lowest < end.position) {
            unread.push(Unread { subscription: None, sequence: None });
        }
        unread
    }
}

fn is_behind(one: Place, end: Place) -> bool {
    one.position < end.position || one.sequence < end.sequence
}
