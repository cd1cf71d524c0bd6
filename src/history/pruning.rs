//! Shortening a journal by hand.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::archive::Archive;
use super::checkpoint::{self, Checkpoints};
use super::directory::{check_instance, note_pruned, sync_directory};
use super::log::LogFile;
use crate::error::Error;
use crate::ring::Place;
use crate::segment::{Access, Mapping, Owner};

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
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// The files that were removed.
    pub removed: Vec<PathBuf>,
    /// Bytes of those.
    pub removed_size: u64,
    /// Those that would have been, and somebody has not read.
    pub kept: Vec<PathBuf>,
    /// Bytes of those.
    pub kept_size: u64,
    /// Who has not read all of what was kept, or, by force, of what was removed.
    pub unread: Vec<Unread>,
    /// Why not everybody could be asked how much it has read, which is in the way of no force: there may
    /// be more than those in `unread`.
    pub unasked: Option<Error>,
    /// What has gone wrong behind those that were removed: files from there on are as they were, or what
    /// was removed may come back when power goes.
    pub failure: Option<Error>,
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
    /// The queue is asked, if it is there and belongs to this process's user, to root, or to the user
    /// whose the history is; its checkpoints else. Once something is removed, what goes wrong is in
    /// [`Pruned::failure`], beside it.
    ///
    /// # Errors
    /// [`Error::JournalerAlive`] while somebody appends, [`Error::File`]. [`Error::LogDamaged`] if it
    /// cannot be told how far a subscription has come, or where a file ends that it may need; those of
    /// [`Queue::open`](crate::Queue::open) if the queue is there and cannot be asked, and [`Error::Os`]
    /// if somebody else changes its subscriptions for some seconds. Nothing is removed then.
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
    /// That somebody cannot be asked is in [`Pruned::unasked`].
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
        let mut pruned = Pruned::default();
        let excess = self.excess(size_max, age_max)?;
        if excess.is_empty() {
            return Ok(pruned);
        }
        let (mut readers, asked) = Readers::of(self);
        match asked {
            Err(error) if is_forced => pruned.unasked = Some(error),
            asked => asked?,
        }
        let ends = self.ends(&excess, &readers, is_forced)?;
        let safe = ends.iter().rev().find(|&&end| is_forced || !readers.need(end));
        if let Some(&end) = safe {
            match readers.save(self, end) {
                Err(_) if is_forced => {}
                saved => saved?,
            }
        }
        // Where what somebody may not have read ends.
        let mut until = Place::default();
        for (Excess { file, size, .. }, end) in excess.into_iter().zip(ends) {
            // Somebody may need more by now.
            if !is_forced && let Err(error) = readers.ask() {
                if pruned.removed.is_empty() {
                    return Err(error);
                }
                pruned.failure = Some(error);
                break;
            }
            let is_kept = !pruned.kept.is_empty() || !is_forced && readers.need(end);
            // One that lives elsewhere is not told by its header.
            let told = if is_kept || readers.tell_beginning(end.position) {
                Ok(())
            } else {
                note_pruned(&self.directory, &self.log.queue, end.position)
            };
            let remove = || {
                let removed = fs::remove_file(&file.path);
                removed.map_err(|error| self.log.failed("remove", &file.path, error))
            };
            if is_kept {
                pruned.kept.push(file.path);
                pruned.kept_size = pruned.kept_size.saturating_add(size);
            } else if let Err(error) = told.and_then(|()| remove()) {
                if pruned.removed.is_empty() {
                    return Err(error);
                }
                pruned.failure = Some(error);
                break;
            } else {
                pruned.removed.push(file.path);
                pruned.removed_size = pruned.removed_size.saturating_add(size);
            }
            until = end;
        }
        if !pruned.removed.is_empty() {
            let directory = &self.log.directory;
            let synced = sync_directory(directory);
            let synced = synced.map_err(|error| self.log.failed("sync", directory, error));
            pruned.failure = pruned.failure.or(synced.err());
        }
        if is_forced || !pruned.kept.is_empty() {
            pruned.unread = readers.behind(until);
        }
        Ok(pruned)
    }

    /// The oldest files that are too much, or too old.
    fn excess(&self, size_max: u64, age_max: Option<Duration>) -> Result<Vec<Excess>, Error> {
        let mut files = self.log.files()?;
        if self.just_begun()?.is_some() {
            // Where the sequence goes on, the one before it says.
            files.pop();
        }
        let sizes: Result<Vec<_>, _> = files.iter().map(|file| self.size_of(&file.path)).collect();
        let sizes = sizes?;
        let mut left = sizes.iter().copied().fold(0, u64::saturating_add);
        let mut excess = Vec::new();
        for ((file, next), size) in files.iter().zip(files.iter().skip(1)).zip(sizes) {
            let is_too_old = age_max.is_some_and(|max| file.age() > Some(max));
            if left <= size_max && !is_too_old {
                break;
            }
            excess.push(Excess { file: file.clone(), next: next.clone(), size });
            left = left.saturating_sub(size);
        }
        Ok(excess)
    }

    /// Where files end: the messages of each where the next one's begin.
    fn ends(
        &self,
        excess: &[Excess],
        readers: &Readers,
        is_forced: bool,
    ) -> Result<Vec<Place>, Error> {
        let mut end = Place::default();
        let ends = excess.iter().map(|Excess { next, .. }| {
            // That the next one is damaged is no reason to keep what is before it, if nobody is asked.
            let by_name = Place { position: next.base, ..end };
            end = match self.log.open(next) {
                _ if readers.are_none() => by_name,
                Err(_) if is_forced => by_name,
                opened => opened?.map_or(end, |(_, header)| header.begin),
            };
            Ok(end)
        });
        ends.collect()
    }

    fn size_of(&self, path: &Path) -> Result<u64, Error> {
        let facts = fs::metadata(path);
        facts.map(|facts| facts.len()).map_err(|error| self.log.failed("examine", path, error))
    }
}

/// A file that is to go.
#[derive(Debug)]
struct Excess {
    file: LogFile,
    next: LogFile,
    size: u64,
}

/// Who reads a journal, and how far each has come.
#[derive(Debug, Default)]
struct Readers {
    /// The queue, if it is there.
    queue: Option<(Mapping, Checkpoints)>,
    /// The lowest position that anybody needs there, and that a consumer without a name does.
    lowest: Option<u64>,
    unnamed: Option<u64>,
    /// The named subscriptions, each with the first message that it has not settled, and the position
    /// that it reads from.
    named: Vec<(String, Place)>,
}

impl Readers {
    /// Those that can be asked, and whether these are all.
    fn of(archive: &Archive) -> (Self, Result<(), Error>) {
        match Self::queue_of(archive) {
            Ok(Some(queue)) => {
                let mut readers = Self { queue: Some(queue), ..Self::default() };
                let asked = readers.ask();
                (readers, asked)
            }
            found => {
                let (named, all_read) = checkpoint::named_in(&archive.directory, &archive.log);
                (Self { named, ..Self::default() }, found.map(drop).and(all_read))
            }
        }
    }

    /// The queue that appends to a journal, if it is there and one may believe what it says.
    fn queue_of(archive: &Archive) -> Result<Option<(Mapping, Checkpoints)>, Error> {
        let facts = fs::metadata(&archive.directory);
        let facts = facts.map_err(|error| archive.log.failed("examine", &archive.directory, error));
        let segment = match archive.queue(Owner::TrustedOr(facts?.uid())) {
            // Anybody may put something at its name, and write whatever path there.
            Err(Error::Foreign { .. }) | Ok(None) => return Ok(None),
            Ok(Some(segment)) => Arc::new(segment),
            Err(error) => return Err(error),
        };
        match check_instance(&segment) {
            // The one that was made from it since lives elsewhere.
            Err(Error::ForeignHistory { .. }) => return Ok(None),
            checked => checked?,
        }
        let Some(checkpoints) = Checkpoints::of(&segment) else { return Ok(None) };
        // As whoever appends: where the files begin is in the header.
        Ok(Some((segment.map(Access::Produce)?, checkpoints)))
    }

    /// Asks the queue, if it is there, how far they have come by now.
    fn ask(&mut self) -> Result<(), Error> {
        // Whoever changes them may have files to sync.
        const PATIENCE: Duration = Duration::from_secs(3);
        let Some((mapping, checkpoints)) = &self.queue else { return Ok(()) };
        // TURN: who asks may finish a turn, and is no member, beside whom no head is moved.
        let _lock = checkpoints.lock_table(PATIENCE)?;
        let ring = mapping.ring();
        self.named = checkpoint::named_of(&ring).collect();
        (self.lowest, self.unnamed) = (ring.lowest_in_journal(), ring.lowest_spilling_member());
        Ok(())
    }

    /// Tells the queue, if it is there, where its files are about to begin. Nobody else does meanwhile:
    /// whoever appends has the directory locked. `false` if it is not there, or cannot be asked.
    fn tell_beginning(&self, position: u64) -> bool {
        let Some((mapping, _)) = &self.queue else { return false };
        let ring = mapping.ring();
        if (ring.written_from()..=ring.written()).contains(&position) {
            ring.set_written_from(position);
        }
        true
    }

    /// Whether nobody needs anything, nor may before long.
    fn are_none(&self) -> bool {
        self.queue.is_none() && self.named.is_empty()
    }

    /// Whether somebody needs what comes before a place.
    fn need(&self, end: Place) -> bool {
        self.lowest.is_some_and(|lowest| lowest < end.position)
            || self.named.iter().any(|(_, place)| is_behind(*place, end))
    }

    /// Has it on disk that nobody needs any more what comes before a place.
    fn save(&mut self, archive: &Archive, end: Place) -> Result<(), Error> {
        match &mut self.queue {
            Some((mapping, checkpoints)) => {
                checkpoints.save(&mapping.ring(), end.position);
                Ok(())
            }
            None => checkpoint::sync_in(&archive.directory, &archive.log),
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
        // Or one that is just being moved, and is nowhere by name.
        let is_named = !unread.is_empty();
        let unnamed = if is_named { self.unnamed } else { self.lowest };
        if unnamed.is_some_and(|lowest| lowest < end.position) {
            unread.push(Unread { subscription: None, sequence: None });
        }
        unread
    }
}

fn is_behind(one: Place, end: Place) -> bool {
    one.position < end.position || one.sequence < end.sequence
}
