//! How the program ends: what it answers when all went well, and when it did not.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use ringway::{Error, workload};

/// An end that is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// Messages were overwritten before they were read, or are missing from a journal.
    Missed,
    /// A journal that was to be examined is damaged, or a file of dead letters.
    Damaged,
    /// Whoever was asked said no.
    Declined,
    /// A time limit was over.
    TimedOut,
    /// A run did not keep to a limit, or became worse.
    LimitMissed,
    /// A signal asked for the end.
    Interrupted(i32),
}

impl Ending {
    /// Whether who asked for quiet is to be told why, too. Who sent a signal knows.
    pub fn needs_words(self) -> bool {
        !matches!(self, Self::Done | Self::Interrupted(_))
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Done => 0,
            Ending::Declined => 1,
            Ending::Missed | Ending::Damaged => 4,
            Ending::TimedOut | Ending::LimitMissed => 5,
            // As shells count: 130 for Ctrl-C.
            Ending::Interrupted(signal) => 128_u8.saturating_add(signal.try_into().unwrap_or(0)),
        })
    }
}

/// Why the program gave up.
#[derive(Debug)]
pub enum Failure {
    /// The library's reason, and a name that may have been meant.
    Queue { error: Error, meant: Option<String> },
    /// An input could not be read.
    Input { source: io::Error, name: String },
    /// A record that cannot be a message.
    Record(String),
    /// A file could not be written.
    File { source: io::Error, path: PathBuf },
    /// A directory that is no history, or not one for us.
    NoHistory { error: Error, directory: PathBuf },
    /// A history directory of which it cannot be told whose it is.
    NoIdentity { error: Error, directory: PathBuf },
    /// A directory that was named, and is none that can be looked into.
    NoDirectory { source: io::Error, directory: PathBuf },
    /// A queue without a history directory, where its dead letters would be.
    NoLetters { queue: String },
    /// A dead letter that a subscription does not have.
    NoSuchLetter { queue: String, subscription: String, id: u64 },
    /// A queue that is not there, whose dead letters may be, and a name that may have been meant.
    NoQueueOfLetters { queue: String, meant: Option<String> },
    /// A journal on disk that ends before the message that it was to be read from.
    BeyondEnd { directory: PathBuf, asked: u64, next: u64 },
    /// Another producer is there, and waiting for its place was not asked for.
    NoPlace(Error),
    /// What was waited for did not come in time.
    TimedOut(Error),
    /// A queue that has what nobody has acknowledged, and was to be removed only without.
    NotEmpty { queue: String, backlog: String },
    /// A queue that got more than what somebody has agreed to lose.
    Grown { queue: String, backlog: String },
    /// The history that was to go with a queue is another one's by now.
    HistoryOfAnother { queue: String, directory: PathBuf },
    /// The queue is gone, and its history is not.
    HistoryLeft { queue: String, directory: PathBuf, error: Error },
    /// A command that was to be run for messages is none, by what the shell says; and what becomes
    /// of the message.
    Command { command: OsString, code: i32, and: String },
    /// The standard output could not be written.
    Output(io::Error),
    /// Some of several queues failed, each with an error of its own shown before.
    Some { failed: usize, of: usize, code: u8 },
    /// Options that do not go together, or a scenario that cannot be.
    Usage(String),
    /// An end of a run could not do its part, and says why.
    End(String),
    /// A file that is no run of the laboratory's.
    NoRun { path: PathBuf, what: String },
    /// A signal asked for the end before there was anything to show.
    Interrupted(i32),
    /// The system would not do what every system does.
    System { source: io::Error, doing: &'static str },
}

impl Failure {
    /// Whether whoever read the output has gone, which is no failure of ours.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub fn code(&self) -> u8 {
        match self {
            _ if self.is_closed_pipe() => 0,
            Self::Queue { error, .. } => match error {
                Error::NotFound { .. }
                | Error::NoSuchSubscription { .. }
                | Error::PermissionDenied { .. }
                | Error::Foreign { .. }
                | Error::Stale { .. } => 3,
                Error::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 3,
                Error::Corrupt { .. }
                | Error::LogDamaged { .. }
                | Error::Truncated { .. }
                | Error::Unfinished { .. } => 4,
                Error::InvalidName { .. }
                | Error::NoJournal { .. }
                | Error::InvalidSubscription { .. }
                | Error::InvalidOption { .. } => 2,
                _ => 1,
            },
            Self::Interrupted(signal) => 128_u8.saturating_add((*signal).try_into().unwrap_or(0)),
            Self::NoIdentity { .. } => 4,
            Self::NoHistory { .. }
            | Self::NoDirectory { .. }
            | Self::NoSuchLetter { .. }
            | Self::NoQueueOfLetters { .. } => 3,
            Self::TimedOut(_) => 5,
            Self::Some { code, .. } => *code,
            Self::Usage(_) | Self::NoLetters { .. } => 2,
            _ => 1,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let meant = match &error {
            Error::NotFound { queue } => {
                most_similar(queue, ringway::Queue::list().unwrap_or_default())
            }
            Error::NoSuchSubscription { queue, subscription } => {
                most_similar(subscription, names_of_subscriptions(queue))
            }
            _ => None,
        };
        Self::Queue { error, meant }
    }
}

impl From<workload::Error> for Failure {
    fn from(error: workload::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

fn names_of_subscriptions(queue: &str) -> Vec<String> {
    let info = ringway::Queue::open(queue).and_then(|queue| queue.info());
    let subscriptions = info.map(|info| info.subscriptions).unwrap_or_default();
    subscriptions.into_iter().map(|subscription| subscription.name).collect()
}

/// The name that is most like one that does not exist, if any is much like it.
fn most_similar(name: &str, names: Vec<String>) -> Option<String> {
    const SIMILAR: f64 = 0.8;
    names
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, &other), other))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { error, meant: None } | Self::TimedOut(error) => {
                f.write_str(&in_our_words(error))
            }
            Self::Queue { error, meant: Some(name) } => {
                write!(f, "{}; did you mean '{name}'?", in_our_words(error))
            }
            Self::NoPlace(error) => {
                write!(f, "{}; --standby TIME waits for its place", in_our_words(error))
            }
            Self::Input { source, name } => write!(f, "cannot read {name}: {source}"),
            Self::Record(what) | Self::Usage(what) | Self::End(what) => f.write_str(what),
            Self::NoRun { path, what } => write!(f, "{} is no run: {what}", path.display()),
            Self::Interrupted(_) => {
                f.write_str("interrupted before the first run was over: there is nothing to show")
            }
            Self::File { source, path } => write!(f, "cannot write {}: {source}", path.display()),
            Self::NoHistory { error, directory } => {
                write!(f, "{} is no history directory of yours: {error}", directory.display())
            }
            Self::NoIdentity { error, directory } => write!(
                f,
                "{error}; `ringway log repair {}` writes it anew if the files of its journal say whose it is",
                directory.display()
            ),
            Self::NoDirectory { source, directory } => {
                write!(f, "cannot look for dead letters in {}: {source}", directory.display())
            }
            Self::BeyondEnd { directory, asked, next } => write!(
                f,
                "the journal in {} has no message {asked} yet: it ends before {next}",
                directory.display()
            ),
            Self::NoLetters { queue } => write!(
                f,
                "queue '{queue}' has no history directory, where its dead letters would be; --dir DIR names the one that its members were given with --dead-letters"
            ),
            Self::NoSuchLetter { queue, subscription, id } => write!(
                f,
                "subscription '{subscription}' of queue '{queue}' has no dead letter {id}; `ringway dead-letters ls {queue} {subscription}` lists those it has"
            ),
            Self::NoQueueOfLetters { queue, meant } => {
                write!(
                    f,
                    "there is no queue '{queue}'; its dead letters are in its history all the same: --dir DIR names that, and send-again --into QUEUE sends them elsewhere"
                )?;
                meant.iter().try_for_each(|name| write!(f, "; did you mean '{name}'?"))
            }
            Self::NotEmpty { queue, backlog } => {
                write!(f, "queue '{queue}' is not empty: nobody has acknowledged {backlog}")
            }
            Self::Grown { queue, backlog } => write!(
                f,
                "queue '{queue}' got more messages meanwhile, so it is not removed: nobody has acknowledged {backlog}"
            ),
            Self::HistoryOfAnother { queue, directory } => write!(
                f,
                "another queue was made from the history in {} since, so queue '{queue}' is not removed; `ringway rm {queue}` removes it and leaves the history",
                directory.display()
            ),
            Self::HistoryLeft { queue, directory, error } => write!(
                f,
                "queue '{queue}' is removed, but its history is not: {error}; `ringway log rm {}` removes that",
                directory.display()
            ),
            Self::Command { command, code, and } => write!(
                f,
                "the shell cannot run '{}': it ended with {code}; {and}",
                command.display()
            ),
            Self::Output(source) => write!(f, "cannot write to the standard output: {source}"),
            Self::Some { failed, of, .. } => write!(f, "{failed} of {of} queues failed"),
            Self::System { source, doing } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

/// What the library says, where it speaks to programs, in words for who uses this one.
pub fn in_our_words(error: &Error) -> String {
    match error {
        Error::AlreadyExists { queue } => format!(
            "queue '{queue}' exists already: use it as it is, which `create --if-missing` accepts, or remove it first with `ringway rm {queue}`"
        ),
        Error::JournalerAlive { queue } => format!(
            "queue '{queue}' has a journaler already, or somebody else is at work on its history; there can be one at a time"
        ),
        Error::ProducerAlive { queue, pid } => format!(
            "queue '{queue}' has a producer already (process {pid}); there can be one at a time"
        ),
        Error::Stale { queue } => {
            format!("queue '{queue}' was removed, or replaced by another of that name")
        }
        Error::SubscriptionDiffers { queue, subscription, what } => format!(
            "subscription '{subscription}' of queue '{queue}' is not what was asked for: {what}; leave it out to get what is there; while the subscription has no member, `ringway alter {queue} {subscription}` changes its terms, but not its lag policy and keys, and `ringway unsubscribe {queue} {subscription}` removes it, and its place with it"
        ),
        error => error.to_string(),
    }
}
