//! What a queue is made with.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Queue;
use crate::error::Error;
use crate::history::{self, Adopted, Journal, Recovered, is_same_directory};
use crate::layout::{FIRST_SEQUENCE_MAX, Geometry, Keeping, SHARES_MIN, Tables, time};
use crate::segment::{Birth, new_instance};

/// What a queue is made with.
///
/// ```
/// use ringway::{Queue, QueueOptions};
///
/// # let _ = Queue::force_remove("doc-options");
/// let options = QueueOptions::new().capacity(64 << 10).members(8).mode(0o660);
/// let queue = Queue::create("doc-options", &options)?;
/// assert_eq!(queue.info()?.mode, 0o660);
/// # Queue::force_remove("doc-options")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct QueueOptions {
    capacity: u64,
    members: u32,
    subscriptions: u32,
    mode: u32,
    first_sequence: u64,
    history: Option<PathBuf>,
    history_max: u64,
    at_limit: AtLimit,
    journal: Option<Journal>,
    keep_for: Duration,
}

/// What gives way when a queue's history has the size that it may have.
///
/// ```
/// use ringway::AtLimit;
///
/// assert_eq!(AtLimit::default(), AtLimit::Hold);
/// assert_eq!("drop-oldest".parse(), Ok(AtLimit::DropOldest));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AtLimit {
    /// The producer: it waits as for a consumer that holds it. Of a journal, files go that neither
    /// a consumer with [`Lag::Spill`](crate::Lag::Spill) nor a named subscription needs; it waits
    /// for those alone.
    #[default]
    Hold,
    /// The oldest messages: whoever has not read them misses them, and is told which.
    DropOldest,
}

impl QueueOptions {
    /// 16 MiB, 1024 consumers, 64 named subscriptions, for this user alone, without a history.
    ///
    /// ```
    /// assert_eq!(ringway::QueueOptions::new(), ringway::QueueOptions::default());
    /// ```
    pub fn new() -> Self {
        Self {
            capacity: 16 << 20,
            members: 1024,
            subscriptions: 64,
            mode: 0o600,
            first_sequence: 0,
            history: None,
            history_max: u64::MAX,
            at_limit: AtLimit::Hold,
            journal: None,
            keep_for: Duration::ZERO,
        }
    }

    /// Bytes of the ring: a power of two from 64 KiB to 2 GiB, 16 MiB until set. The largest message is
    /// an eighth of it.
    ///
    /// Between processors that share a cache, rings of up to half of it are good for streams, and longer
    /// messages are slower in larger ones. Where they share none, a ring of twice the consumers' last
    /// cache was seen to be four to seven times as fast as a small one, and one of eight times that
    /// cache eight to thirteen times (perf-notes.md, "How large a ring is good for a stream").
    ///
    /// ```
    /// let options = ringway::QueueOptions::new().capacity(64 << 20);
    /// ```
    pub fn capacity(self, bytes: u64) -> Self {
        Self { capacity: bytes, ..self }
    }

    /// How many consumers there can be at a time: 1 to 16,384, for 896 bytes each, most of which
    /// are for two shares of a named subscription's messages.
    ///
    /// ```
    /// let options = ringway::QueueOptions::new().members(1024);
    /// ```
    pub fn members(self, count: u32) -> Self {
        Self { members: count, ..self }
    }

    /// How many named subscriptions there can be: up to 4,096, for 512 bytes each.
    ///
    /// ```
    /// let options = ringway::QueueOptions::new().subscriptions(8);
    /// ```
    pub fn subscriptions(self, count: u32) -> Self {
        Self { subscriptions: count, ..self }
    }

    /// A directory for what the queue keeps on disk: messages that consumers with
    /// [`Lag::Spill`](crate::Lag::Spill) have not read, and dead letters. It is made if it is not
    /// there, and belongs to queues of this name from then on. It and its files are for this user
    /// alone, whatever the queue's [`mode`](Self::mode). Members of other users have to name [a
    /// directory of their own](crate::Subscribe::dead_letters) for their dead letters.
    ///
    /// ```
    /// let options = ringway::QueueOptions::new().history("/var/lib/orders");
    /// ```
    pub fn history(self, directory: impl AsRef<Path>) -> Self {
        Self { history: Some(directory.as_ref().into()), ..self }
    }

    /// Bytes that the messages on disk may take, and what happens then; without a limit until set.
    /// Files go whole, and never the one that is appended to, which may be larger than a small limit.
    /// So a limit makes sense from several times 16 MiB, and several capacities, on. Dead letters do not
    /// count, and have no limit.
    ///
    /// ```
    /// use ringway::{AtLimit, QueueOptions};
    ///
    /// let options = QueueOptions::new().history("/var/lib/orders");
    /// let options = options.history_max(1 << 30, AtLimit::DropOldest);
    /// ```
    pub fn history_max(self, bytes: u64, at_limit: AtLimit) -> Self {
        Self { history_max: bytes, at_limit, ..self }
    }

    /// Has every message go to the history directory, with the time it was sent at and a checksum,
    /// and says when it is safe there: at once, where a [`Journaler`](crate::Journaler) writes; else when
    /// a producer [flushes](crate::Producer::flush), and else when it is about to be overwritten. Until
    /// then it is in the ring alone. Takes 16 bytes more of the ring for each message.
    ///
    /// When the queue is gone, after a restart of the machine say, one that is created with the
    /// same name and directory goes on where the journal ends. So do its named subscriptions, each
    /// at its first message that was not acknowledged when that was last written down: by members
    /// as they leave, and by a journaler every 50 ms. What was acknowledged behind such a message
    /// comes again; those with [`Lag::Skip`](crate::Lag::Skip) are told what they missed.
    ///
    /// ```
    /// use ringway::{Journal, QueueOptions};
    ///
    /// let options = QueueOptions::new().history("/var/lib/orders").journal(Journal::SyncedAlways);
    /// ```
    pub fn journal(self, journal: Journal) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// How long the files of a [journal](Self::journal), without which there are none to be kept, stay
    /// after they were last written to, by the time of day; for ever until set. They go whole, when
    /// something is appended, or within seconds where a journaler lives; but not the one that is appended
    /// to, nor, with [`AtLimit::Hold`], those that somebody needs.
    ///
    /// ```
    /// use ringway::{Journal, QueueOptions};
    /// use std::time::Duration;
    ///
    /// let options = QueueOptions::new().history("/var/lib/orders").journal(Journal::Written);
    /// let options = options.keep_for(Duration::from_secs(7 * 24 * 3600));
    /// ```
    pub fn keep_for(self, time: Duration) -> Self {
        Self { keep_for: time, ..self }
    }

    /// The segment's permissions, as `chmod` writes them; the process's umask has no part in
    /// it. Its owner has to be let read and write. Whoever may read can observe, whoever may write too can produce and consume, and is
    /// trusted by all others. It says nothing of the [history](Self::history): its files are for their user
    /// alone, so another one who begins behind the ring, as with
    /// [`Start::Oldest`](crate::Start::Oldest) once a journalled queue has gone round, is refused
    /// ([`Error::File`]), and begins in the ring with
    /// [`Start::Newest`](crate::Start::Newest).
    ///
    /// ```
    /// let options = ringway::QueueOptions::new().mode(0o640);
    /// ```
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The first message's sequence, for a stream that goes on from elsewhere; below 2^61. Where a
    /// [journal](Self::journal) has messages, the queue goes on behind those, whatever is asked for here.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-first-sequence");
    /// let queue = Queue::create("doc-first-sequence", &QueueOptions::new().first_sequence(7))?;
    /// assert_eq!(queue.producer()?.send(b"the eighth")?, 7);
    /// # Queue::force_remove("doc-first-sequence")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn first_sequence(self, sequence: u64) -> Self {
        Self { first_sequence: sequence, ..self }
    }

    /// Refuses a queue that would not keep what is to be kept, as safely as it is to be, or elsewhere, as
    /// [`Queue::open_or_create`] does.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    ///
    /// ```
    /// # use ringway::{Error, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-check-found");
    /// let queue = Queue::create("doc-check-found", &QueueOptions::new())?;
    /// QueueOptions::new().check_found(&queue)?;
    /// let options = QueueOptions::new().history("/tmp").journal(Journal::Written);
    /// assert!(matches!(options.check_found(&queue), Err(Error::InvalidOption { .. })));
    /// # Queue::force_remove("doc-check-found")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn check_found(&self, queue: &Queue) -> Result<(), Error> {
        let Some(what) = self.lack_of(queue) else { return Ok(()) };
        let what =
            format!("it is there already, and {what}; remove it first, or ask for what it has");
        Err(Error::InvalidOption { queue: queue.name().into(), what: what.into() })
    }

    /// What a queue does not have that is asked for.
    fn lack_of(&self, queue: &Queue) -> Option<String> {
        let journal = queue.segment.identity().keeping.journal.map(Journal::of_code);
        match (self.journal, journal) {
            (Some(_), None) => return Some("has no journal".into()),
            (Some(asked), Some(found)) if time_at_risk(asked) < time_at_risk(found) => {
                return Some(format!("its journal is '{found}', which keeps less than '{asked}'"));
            }
            _ => {}
        }
        match (&self.history, queue.history()) {
            (Some(_), None) => Some("has no history".into()),
            (Some(asked), Some(found)) if !is_same_directory(asked, found) => {
                Some(format!("its history is in {}, not in {}", found.display(), asked.display()))
            }
            _ => None,
        }
    }

    /// Why a queue is not made: others were at work on its history for as long as they are waited for.
    pub(super) fn history_busy(&self, queue: &str) -> Error {
        let why = "somebody else has been at work on it for ten seconds: a queue of that name elsewhere, or `ringway log`; try again when that has ended";
        let source = io::Error::new(io::ErrorKind::ResourceBusy, why);
        let directory = self.history.as_deref().unwrap_or(Path::new(""));
        Error::file(queue, "go on with the history in", directory, source)
    }

    /// What a queue is born with; while its history is adopted nobody else has that.
    pub(super) fn birth(&self, queue: &str) -> Result<(Birth, Option<Adopted>), Error> {
        let invalid =
            |what: String| Error::InvalidOption { queue: queue.into(), what: what.into() };
        let Self { members, subscriptions, .. } = *self;
        // One to work on and one that waits; a few members may have many that wait.
        let shares = members.saturating_mul(2).max(SHARES_MIN);
        let tables = Tables { members, subscriptions, shares };
        let geometry = Geometry::new(self.capacity, tables).map_err(invalid)?;
        if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            return Err(invalid(format!(
                "mode {:#o} is not one of permissions that let the owner read and write",
                self.mode
            )));
        }
        if self.first_sequence >= FIRST_SEQUENCE_MAX {
            return Err(invalid(format!(
                "a first sequence of {} is not below 2^61",
                self.first_sequence
            )));
        }
        if self.history.is_none() && (self.journal.is_some() || self.history_max != u64::MAX) {
            return Err(invalid(
                "a journal, or a limit of history, needs a history directory".into(),
            ));
        }
        if self.journal == Some(Journal::SyncedEvery(Duration::ZERO)) {
            return Err(invalid(
                "a journal is not synced every 0 ns; ask for `Journal::SyncedAlways` (`always`), or give a time above zero".into(),
            ));
        }
        if self.journal.is_none() && !self.keep_for.is_zero() {
            return Err(invalid("only a journal's files are kept for a time".into()));
        }
        let history = self.history.as_ref();
        let mut adopted = history.map(|path| Adopted::new(path, queue)).transpose()?;
        if let Some(adopted) = adopted.as_ref().filter(|_| self.journal.is_none())
            && adopted.has_journal()?
        {
            return Err(invalid(format!(
                "the journal in {} would not go on; ask for a journal, or name another directory; a queue that has both takes the journal along when it goes (`ringway rm --history`)",
                adopted.path().display()
            )));
        }
        let first_sequence = self.first_sequence;
        let recovered = match (self.journal, &mut adopted) {
            (Some(_), Some(adopted)) => {
                history::recover(adopted, geometry.capacity(), first_sequence)?
            }
            _ => Recovered::nothing(first_sequence),
        };
        let Recovered { from, resumed_at, subscriptions: found } = recovered;
        if found.len() > subscriptions as usize {
            return Err(invalid(format!(
                "its history has {} named subscriptions, {subscriptions} are too few",
                found.len()
            )));
        }
        let instance = new_instance(queue)?;
        let keeping = Keeping {
            history_id: adopted.as_ref().map_or_else(Default::default, Adopted::id),
            size_max: self.history_max,
            drops_oldest: self.at_limit == AtLimit::DropOldest,
            journal: self.journal.map(Journal::code),
            keep_for: time::nanoseconds(self.keep_for),
        };
        let birth = Birth {
            instance,
            geometry,
            mode: self.mode,
            first_sequence: resumed_at.sequence,
            first_position: resumed_at.position,
            written_from: from,
            subscriptions: found,
            keeping,
            history: adopted.as_ref().map(|adopted| adopted.path().to_path_buf()),
        };
        Ok((birth, adopted))
    }
}

/// The messages of how much time a loss of power may take, unless somebody flushes; those that are
/// only written may all go.
fn time_at_risk(journal: Journal) -> (bool, Duration) {
    match journal {
        Journal::Written => (true, Duration::ZERO),
        Journal::SyncedEvery(every) => (false, every),
        Journal::SyncedAlways => (false, Duration::ZERO),
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self::new()
    }
}
