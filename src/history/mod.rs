//! What is kept on disk: messages that some have not read, or all of them; and dead letters.
//!
//! [`directory`] is the place, [`log`] the files with the stream's own bytes. The [`historian`]
//! copies them out of the ring before they are overwritten, a [`journal`] as soon as it can; the
//! [`past`] is where readers find them, the [`backlog`] where members of named subscriptions do.
//! How far these have come lies in [`checkpoint`]s, and dead letters in files of their own
//! ([`dead_letters`]). An [`archive`] is a journal without its queue. What is made there is made as
//! [`making`] does it, and removed as [`removal`] does.

mod archive;
mod backlog;
mod checkpoint;
mod dead_letters;
mod directory;
mod fields;
mod historian;
mod journal;
mod log;
mod making;
mod past;
mod planning;
mod pruning;
mod removal;
mod restoring;

pub use self::archive::{
    Archive, ArchiveFile, ArchivedMessage, ArchivedMessages, Repaired, Verified,
};
pub use self::dead_letters::{DeadLetter, DeadLetterIter, DeadLetters, Reason};
pub use self::journal::{Journal, JournalThread, Journaler};
pub use self::log::LogCut;
pub use self::planning::PlannedCut;
pub use self::pruning::{Pruned, Unread};

pub(crate) use self::backlog::{Backlog, Fetched, Stretch};
pub(crate) use self::checkpoint::Checkpoints;
pub(crate) use self::dead_letters::Letter;
pub(crate) use self::directory::{Adopted, Recovered, check_of, is_same_directory, recover};
pub(crate) use self::historian::{Historian, Kept, Looks};
pub(crate) use self::journal::{is_saved, save};
pub(crate) use self::past::{Past, PastRead, resolve};
