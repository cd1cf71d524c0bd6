//! What can go wrong, to which queue, and what to do about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

/// Why something could not be done.
///
/// States that pass are not errors: a full ring, an empty one, a missed range and the end of the
/// stream are values of [`Sent`](crate::Sent) and [`Received`](crate::Received). What stands
/// here wants a person or another program text.
///
/// The text of an error names the queue that it is about, and says what to do; where the system or a
/// disk refuses something, what that was, of which file, and why. So does the debug text, which is what
/// a `main` prints that ends with an error. [`source`](std::error::Error::source) gives none of that
/// again, so that whoever prints a chain of errors prints nothing twice; the causes are fields.
///
/// ```
/// use ringway::{Error, Queue};
///
/// let error = Queue::open("no-such-queue").unwrap_err();
/// assert!(matches!(error, Error::NotFound { .. }));
/// assert_eq!(
///     error.to_string(),
///     "there is no queue 'no-such-queue'; `ringway ls` lists those there are, and \
///      `ringway create no-such-queue` makes one",
/// );
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// A queue of that name is there already.
    AlreadyExists {
        /// The queue.
        queue: Box<str>,
    },
    /// A batch would grow beyond a quarter of the ring.
    BatchFull {
        /// The queue.
        queue: Box<str>,
        /// The most bytes of frames that a batch may hold.
        limit: u64,
    },
    /// The segment was made on a machine of the other byte order.
    ByteOrder {
        /// The queue.
        queue: Box<str>,
    },
    /// The segment holds something that no ringway writes. Nothing at or after that place was
    /// handed over.
    Corrupt {
        /// The queue.
        queue: Box<str>,
        /// What is wrong, and where.
        what: Box<str>,
    },
    /// What stands at the queue's name is no segment, or not one to be trusted.
    Foreign {
        /// The queue.
        queue: Box<str>,
        /// What it is instead.
        what: Box<str>,
    },
    /// A file of the queue's history could not be used.
    File {
        /// The queue.
        queue: Box<str>,
        /// What was being done with it.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The history directory, or a file in it, belongs to another queue, or to one that was there
    /// before.
    ForeignHistory {
        /// The queue.
        queue: Box<str>,
        /// The directory or the file.
        path: PathBuf,
        /// Whose it is.
        theirs: Box<str>,
        /// Whose it should be.
        ours: Box<str>,
    },
    /// The handle was made before a fork, in the parent.
    Forked {
        /// The queue.
        queue: Box<str>,
    },
    /// What a history directory has cannot be removed or mended, because its queue is there and goes on
    /// in it.
    HistoryInUse {
        /// The queue.
        queue: Box<str>,
        /// The history directory.
        path: PathBuf,
    },
    /// The queue cannot be removed because somebody uses it.
    InUse {
        /// The queue.
        queue: Box<str>,
        /// How many consumers live there.
        consumers: u32,
        /// Whether a producer lives there.
        producer: bool,
    },
    /// A name that no queue can have.
    InvalidName {
        /// The name.
        name: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An [`Interrupter`](crate::Interrupter) ended the wait.
    Interrupted {
        /// The queue.
        queue: Box<str>,
    },
    /// An option out of its bounds.
    InvalidOption {
        /// The queue.
        queue: Box<str>,
        /// Which option, and its bounds.
        what: Box<str>,
    },
    /// A name that no subscription can have.
    InvalidSubscription {
        /// The queue.
        queue: Box<str>,
        /// The name.
        name: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The segment has another layout than this build reads.
    LayoutMismatch {
        /// The queue.
        queue: Box<str>,
        /// The segment's major layout.
        theirs: u16,
        /// This build's.
        ours: u16,
    },
    /// The queue has a journaler already, or somebody else is at work on its history at this moment:
    /// writes in a journaler's place, makes a queue with it, or belongs to one that had the name
    /// before.
    JournalerAlive {
        /// The queue.
        queue: Box<str>,
    },
    /// A sync of the queue's journal has failed. Nothing that was not durable by then will be.
    JournalFailed {
        /// The queue.
        queue: Box<str>,
    },
    /// A file of the queue's log holds something that no ringway writes. Nothing at or after that
    /// place was handed over.
    LogDamaged {
        /// The queue.
        queue: Box<str>,
        /// The file.
        path: PathBuf,
        /// Bytes from its start.
        offset: u64,
        /// What is wrong.
        what: Box<str>,
    },
    /// Every place for a consumer is taken by a live one.
    MembersFull {
        /// The queue.
        queue: Box<str>,
        /// How many places there are.
        limit: u32,
    },
    /// A message larger than an eighth of the ring.
    MessageTooLarge {
        /// The queue.
        queue: Box<str>,
        /// The message's bytes.
        size: usize,
        /// The most that fit.
        limit: u64,
    },
    /// The queue was made without a journal.
    NoJournal {
        /// The queue.
        queue: Box<str>,
    },
    /// The shared memory has no room for the segment.
    NoSpace {
        /// The queue.
        queue: Box<str>,
        /// The segment's bytes.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The queue has no subscription of that name.
    NoSuchSubscription {
        /// The queue.
        queue: Box<str>,
        /// The name.
        subscription: Box<str>,
    },
    /// No queue has that name.
    NotFound {
        /// The queue.
        queue: Box<str>,
    },
    /// The queue was not removed, since what is in it and not in its journal cannot be saved there.
    NotSaved {
        /// The queue.
        queue: Box<str>,
        /// Why not.
        source: Box<Error>,
    },
    /// The system refused something that has no variant of its own.
    Os {
        /// The queue.
        queue: Box<str>,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The queue belongs to somebody else, and its mode does not let this process in; or a queue was
    /// to be made, and this process may make no files in the shared memory.
    PermissionDenied {
        /// The queue.
        queue: Box<str>,
        /// What would have needed the permission.
        doing: &'static str,
    },
    /// A consumer asked for another message, and has not acknowledged as many as it may have, or as
    /// there are shares in the queue for.
    PrefetchFull {
        /// The queue.
        queue: Box<str>,
        /// How many it has not acknowledged.
        unacked: u32,
    },
    /// Another producer lives.
    ProducerAlive {
        /// The queue.
        queue: Box<str>,
        /// Its process, as it saw itself; for display.
        pid: u32,
    },
    /// A sequence to start from that is further ahead than the next message.
    SequenceAhead {
        /// The queue.
        queue: Box<str>,
        /// What was asked for.
        asked: u64,
        /// The next message's sequence.
        next: u64,
    },
    /// The queue was removed, or replaced by another of the same name. The handle's messages
    /// have been received by then.
    Stale {
        /// The queue.
        queue: Box<str>,
    },
    /// A subscription of that name is there, and is not what was asked for.
    SubscriptionDiffers {
        /// The queue.
        queue: Box<str>,
        /// The name.
        subscription: Box<str>,
        /// In what it differs.
        what: Box<str>,
    },
    /// The subscription cannot be altered, moved or removed because members use it.
    SubscriptionInUse {
        /// The queue.
        queue: Box<str>,
        /// The name.
        subscription: Box<str>,
        /// How many members live there.
        members: u32,
    },
    /// There is no room for another named subscription.
    SubscriptionsFull {
        /// The queue.
        queue: Box<str>,
        /// How many there can be.
        limit: u32,
    },
    /// The segment's file is shorter than the segment.
    Truncated {
        /// The queue.
        queue: Box<str>,
        /// The file's bytes.
        size: u64,
        /// The segment's bytes; 0 where what is left does not say.
        expected: u64,
    },
    /// The segment was never finished, or its contents were erased.
    Unfinished {
        /// The queue.
        queue: Box<str>,
    },
    /// The segment uses features that this build does not know.
    UnknownFeatures {
        /// The queue.
        queue: Box<str>,
        /// Their bits.
        bits: u32,
    },
}

impl Error {
    /// The queue that the error is about; empty if it is about none.
    ///
    /// ```
    /// let error = ringway::Queue::open("no-such-queue").unwrap_err();
    /// assert_eq!(error.queue(), "no-such-queue");
    /// ```
    #[must_use]
    pub fn queue(&self) -> &str {
        match self {
            Self::InvalidName { name, .. } => name,
            Self::AlreadyExists { queue }
            | Self::BatchFull { queue, .. }
            | Self::ByteOrder { queue }
            | Self::Corrupt { queue, .. }
            | Self::File { queue, .. }
            | Self::Foreign { queue, .. }
            | Self::ForeignHistory { queue, .. }
            | Self::Forked { queue }
            | Self::HistoryInUse { queue, .. }
            | Self::InUse { queue, .. }
            | Self::Interrupted { queue }
            | Self::InvalidOption { queue, .. }
            | Self::InvalidSubscription { queue, .. }
            | Self::LayoutMismatch { queue, .. }
            | Self::JournalFailed { queue }
            | Self::JournalerAlive { queue }
            | Self::LogDamaged { queue, .. }
            | Self::NoJournal { queue }
            | Self::MembersFull { queue, .. }
            | Self::MessageTooLarge { queue, .. }
            | Self::NoSpace { queue, .. }
            | Self::NoSuchSubscription { queue, .. }
            | Self::NotFound { queue }
            | Self::NotSaved { queue, .. }
            | Self::Os { queue, .. }
            | Self::PermissionDenied { queue, .. }
            | Self::PrefetchFull { queue, .. }
            | Self::ProducerAlive { queue, .. }
            | Self::SequenceAhead { queue, .. }
            | Self::Stale { queue }
            | Self::SubscriptionDiffers { queue, .. }
            | Self::SubscriptionInUse { queue, .. }
            | Self::SubscriptionsFull { queue, .. }
            | Self::Truncated { queue, .. }
            | Self::Unfinished { queue }
            | Self::UnknownFeatures { queue, .. } => queue,
        }
    }

    pub(crate) fn file(queue: &str, doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { queue: queue.into(), doing, path: path.into(), source: source.into() }
    }

    pub(crate) fn os(queue: &str, doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::PermissionDenied { queue: queue.into(), doing }
            }
            _ => Self::Os { queue: queue.into(), doing, source: source.into() },
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    #[allow(clippy::too_many_lines, reason = "one sentence for each variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists { queue } => write!(
                f,
                "queue '{queue}' exists already; open it, or remove it first with `ringway rm {queue}`"
            ),
            Self::BatchFull { queue, limit } => write!(
                f,
                "a batch for queue '{queue}' holds at most {limit} bytes with its headers; commit it and begin another"
            ),
            Self::ByteOrder { queue } => write!(
                f,
                "queue '{queue}' was made on a machine of the other byte order; remove it with `ringway rm {queue}`"
            ),
            Self::Corrupt { queue, what } => write!(
                f,
                "queue '{queue}' is corrupt: {what}; stop its users, then remove it with `ringway rm {queue}`, or with `ringway rm --force {queue}` whoever uses it"
            ),
            Self::File { queue, doing, path, source } if queue.is_empty() => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Self::File { queue, doing, path, source } => {
                write!(f, "cannot {doing} {} for queue '{queue}': {source}", path.display())
            }
            Self::Foreign { queue, what } => {
                write!(
                    f,
                    "/dev/shm/ringway.{queue}, where queue '{queue}' would be, is {what}; it is left alone: take another name, or have it removed by who put it there"
                )
            }
            Self::ForeignHistory { queue, path, theirs, ours } => write!(
                f,
                "{} belongs to {theirs}, not to {ours}; give queue '{queue}' another history directory",
                path.display()
            ),
            Self::Forked { queue } => write!(
                f,
                "this handle of queue '{queue}' belongs to the process that forked; open the queue anew in the child"
            ),
            Self::HistoryInUse { queue, path } => write!(
                f,
                "queue '{queue}' is there and goes on in {}; remove the queue first with `ringway rm {queue}`",
                path.display()
            ),
            Self::InUse { queue, consumers, producer } => write!(
                f,
                "queue '{queue}' is in use by {}; end {} first, or remove it all the same with `ringway rm --force {queue}`",
                match (producer, consumers) {
                    (true, 0) => "a producer".to_owned(),
                    (true, count) => format!("a producer and {}", consumers_text(*count)),
                    (false, 0) => "a journaler, or somebody who just came".to_owned(),
                    (false, count) => consumers_text(*count),
                },
                match (producer, consumers) {
                    (true, 0) | (false, 1) => "it",
                    (false, 0) => "whoever it is",
                    _ => "them",
                }
            ),
            Self::InvalidName { name, reason } => {
                write!(f, "'{}' cannot name a queue: {reason}", name.escape_debug())
            }
            Self::Interrupted { queue } => write!(
                f,
                "the wait for queue '{queue}' was interrupted, as was asked for; nothing is lost, and the next call goes on"
            ),
            Self::InvalidOption { queue, what } => {
                write!(f, "not possible with queue '{queue}': {what}")
            }
            Self::InvalidSubscription { queue, name, reason } => write!(
                f,
                "'{}' cannot name a subscription of queue '{queue}': {reason}",
                name.escape_debug()
            ),
            Self::LayoutMismatch { queue, theirs, ours } => write!(
                f,
                "queue '{queue}' has layout {theirs} but this build reads layout {ours}; {}",
                if theirs < ours {
                    "it is older: end its users, remove it, and let this build create it"
                } else {
                    "this build is older: use the newer one here too"
                }
            ),
            Self::JournalFailed { queue } => write!(
                f,
                "the disk has failed the journal of queue '{queue}': what was durable is, nothing more will be; mend the disk, then remove the queue with `ringway rm --force {queue}` and create it anew with the same history"
            ),
            Self::JournalerAlive { queue } => {
                write!(
                    f,
                    "queue '{queue}' has a journaler already, or somebody else is at work on its history; there can be one at a time: end it, or wait until it has ended (`Queue::journaler_timeout`, `ringway journal`)"
                )
            }
            Self::LogDamaged { queue, path, what, .. } if queue.is_empty() => {
                write!(f, "{}: {what}", path.display())
            }
            Self::LogDamaged { queue, path, offset, what } => write!(
                f,
                "the log of queue '{queue}' is damaged: {} at byte {offset}: {what}; look at it with `ringway log verify`, mend it with `ringway log repair`",
                path.display()
            ),
            Self::MembersFull { queue, limit } => write!(
                f,
                "{} taken; create it with more members (`ringway create --members`)",
                match limit {
                    1 => format!("the 1 place for a consumer of queue '{queue}' is"),
                    _ => format!("all {limit} places for consumers of queue '{queue}' are"),
                }
            ),
            Self::MessageTooLarge { queue, size, limit } => write!(
                f,
                "a message of {size} bytes is too large for queue '{queue}', which takes {limit} (an eighth of its capacity); send it in parts, or create the queue with a larger capacity"
            ),
            Self::NoJournal { queue } => write!(
                f,
                "queue '{queue}' has no journal; create it with one (`ringway create NAME --history DIR --journal ..`)"
            ),
            Self::NoSpace { queue, needed, available } => write!(
                f,
                "queue '{queue}' needs {needed} bytes of shared memory but {available} are free; give it a smaller capacity, remove other queues, or enlarge the shared memory (`mount -o remount,size=.. /dev/shm`, `docker run --shm-size ..`)"
            ),
            Self::NoSuchSubscription { queue, subscription } => write!(
                f,
                "queue '{queue}' has no subscription '{subscription}'; `ringway subscriptions {queue}` lists those it has"
            ),
            Self::NotFound { queue } => {
                write!(
                    f,
                    "there is no queue '{queue}'; `ringway ls` lists those there are, and `ringway create {queue}` makes one"
                )
            }
            Self::NotSaved { queue, source } => {
                write!(
                    f,
                    "queue '{queue}' is left, since its journal lacks what cannot be saved: "
                )?;
                match &**source {
                    Self::Corrupt { what, .. } => write!(f, "it is corrupt: {what}")?,
                    Self::JournalFailed { .. } => f.write_str("the disk has failed the journal")?,
                    source => write!(f, "{source}")?,
                }
                write!(f, "; `ringway rm --force {queue}` removes it without that")
            }
            // Of no queue in particular.
            Self::Os { queue, doing, source } if queue.is_empty() => {
                write!(f, "cannot {doing}: {source}")
            }
            Self::Os { queue, doing, source } => {
                write!(f, "cannot {doing} queue '{queue}': {source}")
            }
            Self::PermissionDenied { queue, doing: doing @ (CREATE | NAME) } => write!(
                f,
                "no permission to {doing} queue '{queue}': it would lie in /dev/shm, where this process may make no files; let its user write there (`chmod 1777 /dev/shm`)"
            ),
            Self::PermissionDenied { queue, doing: doing @ REMOVE } => write!(
                f,
                "no permission to {doing} queue '{queue}'; its owner can do that, and root"
            ),
            Self::PermissionDenied { queue, doing } => write!(
                f,
                "no permission to {doing} queue '{queue}'; its owner can give it with the mode of the queue (`ringway create --mode`); whoever may read it can observe (`ringway sub --observe`)"
            ),
            Self::PrefetchFull { queue, unacked } => write!(
                f,
                "this consumer of queue '{queue}' has {unacked} messages that it has not acknowledged, as many as it may have (prefetch), or every share of the queue is in use; acknowledge some"
            ),
            Self::ProducerAlive { queue, pid } => write!(
                f,
                "queue '{queue}' has a producer already (process {pid}); there can be one at a time: end it, or wait for its place (`Queue::producer_timeout`, `ringway pub --standby`)"
            ),
            Self::SequenceAhead { queue, asked, next } => write!(
                f,
                "queue '{queue}' has no message {asked} yet, its next is {next}; start from that one, or from the newest"
            ),
            Self::Stale { queue } => write!(
                f,
                "queue '{queue}' was removed, or replaced by another of that name; open it anew"
            ),
            Self::SubscriptionDiffers { queue, subscription, what } => write!(
                f,
                "subscription '{subscription}' of queue '{queue}' is not what was asked for: {what}; leave it out to get what is there; while the subscription has no member, `ringway alter {queue} {subscription}` (or `Queue::alter`) changes its terms, but not its lag policy and keys, and `ringway unsubscribe {queue} {subscription}` removes it, and its place with it"
            ),
            Self::SubscriptionInUse { queue, subscription, members } => write!(
                f,
                "subscription '{subscription}' of queue '{queue}' has {members} live member{} first (`ringway info {queue}` names the process{})",
                if *members == 1 { "; end it" } else { "s; end them" },
                if *members == 1 { "" } else { "es" },
            ),
            Self::SubscriptionsFull { queue, limit: 0 } => write!(
                f,
                "queue '{queue}' was made without room for named subscriptions; create it anew with room for some (`ringway create --subscriptions`)"
            ),
            Self::SubscriptionsFull { queue, limit } => write!(
                f,
                "queue '{queue}' has {limit} named subscription{}, as many as it can have; remove one with `ringway unsubscribe`, or create the queue with room for more (`ringway create --subscriptions`)",
                if *limit == 1 { "" } else { "s" }
            ),
            Self::Truncated { queue, size, expected: 0 } => write!(
                f,
                "the segment of queue '{queue}' has {size} bytes, not even its beginning: somebody cut it; remove it with `ringway rm {queue}`, or with `ringway rm --force {queue}` whoever uses it"
            ),
            Self::Truncated { queue, size, expected } => write!(
                f,
                "the segment of queue '{queue}' has {size} of its {expected} bytes: somebody cut it; remove it with `ringway rm {queue}`, or with `ringway rm --force {queue}` whoever uses it"
            ),
            Self::Unfinished { queue } => write!(
                f,
                "the segment of queue '{queue}' is empty: it was never finished, or somebody erased it; remove it with `ringway rm --force {queue}`"
            ),
            Self::UnknownFeatures { queue, bits } => write!(
                f,
                "queue '{queue}' uses features {bits:#x} that this build does not know; use the newer build here too"
            ),
        }
    }
}

/// What permission to write to the queue does not suffice for, or not help with: to make its file, to
/// give that its name, and to take the name away.
pub(crate) const CREATE: &str = "create";
pub(crate) const NAME: &str = "give its name to";
pub(crate) const REMOVE: &str = "remove";

fn consumers_text(count: u32) -> String {
    if count == 1 { "a consumer".to_owned() } else { format!("{count} consumers") }
}

/// For functions that give such errors: of the kind that comes next to it, and with this one within.
///
/// [`Error::Interrupted`] is of the kind [`Other`](io::ErrorKind::Other). What the standard library
/// calls `Interrupted` its own loops try again (`io::copy`, `read_to_end`, `write_all`), so that nobody
/// would be told of an [`Interrupter`](crate::Interrupter).
///
/// ```
/// use ringway::{Error, Queue};
/// use std::io;
///
/// fn open() -> io::Result<Queue> {
///     Ok(Queue::open("no-such-queue")?)
/// }
///
/// let error = open().unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::NotFound);
/// assert!(error.get_ref().is_some_and(|within| within.is::<Error>()));
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        use io::ErrorKind;

        let kind = match &error {
            Error::File { source, .. } | Error::Os { source, .. } => source.kind(),
            Error::NotSaved { source, .. } => Self::from((**source).clone()).kind(),
            Error::NotFound { .. } | Error::NoSuchSubscription { .. } => ErrorKind::NotFound,
            Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Error::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            Error::NoSpace { .. } => ErrorKind::StorageFull,
            Error::HistoryInUse { .. }
            | Error::InUse { .. }
            | Error::JournalerAlive { .. }
            | Error::ProducerAlive { .. }
            | Error::SubscriptionInUse { .. } => ErrorKind::ResourceBusy,
            Error::BatchFull { .. }
            | Error::InvalidName { .. }
            | Error::InvalidOption { .. }
            | Error::InvalidSubscription { .. }
            | Error::MessageTooLarge { .. }
            | Error::SequenceAhead { .. }
            | Error::SubscriptionDiffers { .. } => ErrorKind::InvalidInput,
            Error::ByteOrder { .. }
            | Error::Corrupt { .. }
            | Error::Foreign { .. }
            | Error::ForeignHistory { .. }
            | Error::LayoutMismatch { .. }
            | Error::LogDamaged { .. }
            | Error::Truncated { .. }
            | Error::Unfinished { .. }
            | Error::UnknownFeatures { .. } => ErrorKind::InvalidData,
            Error::Forked { .. }
            | Error::Interrupted { .. }
            | Error::JournalFailed { .. }
            | Error::MembersFull { .. }
            | Error::NoJournal { .. }
            | Error::PrefetchFull { .. }
            | Error::Stale { .. }
            | Error::SubscriptionsFull { .. } => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The text has that of the cause itself.
            Self::Os { source, .. } | Self::File { source, .. } => source.source(),
            Self::NotSaved { source, .. } => source.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_repeats_what_the_text_says() {
        fn chain(error: &dyn std::error::Error) -> Vec<String> {
            std::iter::successors(Some(error), |&error| error.source())
                .map(ToString::to_string)
                .collect()
        }
        let refused = || io::Error::from_raw_os_error(libc::EIO);
        let file = || Error::file("orders", "write", Path::new("/file"), refused());
        let not_saved = Error::NotSaved { queue: "orders".into(), source: file().into() };
        for error in [Error::os("orders", "map", refused()), file(), not_saved] {
            let [text] = &chain(&error)[..] else { panic!("{:?}", chain(&error)) };
            assert_eq!(text.matches(&refused().to_string()).count(), 1, "{text}");
        }
    }

    #[test]
    fn permission_is_given_where_it_is_lacking() {
        let text = |doing| Error::PermissionDenied { queue: "orders".into(), doing }.to_string();
        for (doing, remedy) in [
            (CREATE, "`chmod 1777 /dev/shm`"),
            (NAME, "`chmod 1777 /dev/shm`"),
            (REMOVE, "its owner can do that, and root"),
            ("write to", "`ringway create --mode`"),
        ] {
            assert!(text(doing).starts_with(&format!("no permission to {doing} queue 'orders'")));
            assert!(text(doing).contains(remedy), "{}", text(doing));
        }
    }
}
