//! What is kept on disk: messages that some have not read, or all of them; and dead letters.
//!
//! [`directory`] is the place, [`log`] the files with the stream's own bytes. The [`historian`]
//! copies them out of the ring before they are overwritten; the [`past`] is where readers find
//! them. Dead letters lie in files of their own ([`dead_letters`]).

mod dead_letters;
mod directory;
mod historian;
mod log;
mod past;

pub use self::dead_letters::{DeadLetter, DeadLetters, Reason};

pub(crate) use self::dead_letters::{DeadLetterFile, Letter};
pub(crate) use self::directory::adopt;
pub(crate) use self::historian::{Historian, Kept};
pub(crate) use self::past::{Past, PastRead};
