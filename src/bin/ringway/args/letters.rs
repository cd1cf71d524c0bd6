//! What `ringway dead-letters` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::Patience;
use crate::options;

#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    pub action: DeadLetterAction,
}

#[derive(Debug, Subcommand)]
pub enum DeadLetterAction {
    /// List them, or the subscriptions that have some
    Ls(ListLetters),
    /// Print their payloads
    Show(SomeLetters),
    /// Send them to the queue again, or to another one, and drop them
    SendAgain(SendAgain),
    /// Drop them, and give their space back
    Drop(DropLetters),
}

/// The dead letters of a subscription.
#[derive(Debug, Args)]
pub struct LettersOf {
    /// The queue
    pub name: String,
    /// The subscription
    pub subscription: String,
    /// Where they are, if not in the queue's history; also of a queue that is not there any more
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ListLetters {
    /// The queue
    pub name: String,
    /// The subscription; without it, those that have dead letters of the queue there, with how many
    pub subscription: Option<String>,
    /// Where they are, if not in the queue's history; also of a queue that is not there any more
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Some dead letters of a subscription.
#[derive(Debug, Args)]
pub struct SomeLetters {
    #[command(flatten)]
    pub of: LettersOf,
    /// Which: numbers that `dead-letters ls` lists
    #[arg(value_name = "ID", conflicts_with = "all", value_parser = options::whole::<u64>)]
    pub ids: Vec<u64>,
    /// All of this queue; those of others in the same directory are taken by their numbers alone
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway dead-letters drop jobs workers 0 1
  ringway dead-letters drop jobs workers --older-than 7d
  ringway dead-letters drop jobs workers --keep 1000

The file is written anew without the letters that were dropped when they are more than half of it
and 64 KiB, or none is left.")]
#[command(group(ArgGroup::new("which")))]
pub struct DropLetters {
    #[command(flatten)]
    pub of: LettersOf,
    /// Which: numbers that `dead-letters ls` lists
    #[arg(value_name = "ID", conflicts_with = "which", value_parser = options::whole::<u64>)]
    pub ids: Vec<u64>,
    /// All of this queue; those of others in the same directory are taken by their numbers alone
    #[arg(long, group = "which")]
    pub all: bool,
    /// Those that were given up longer ago than this
    #[arg(long, value_name = "TIME", group = "which")]
    #[arg(value_parser = options::span)]
    pub older_than: Option<Duration>,
    /// All but this many of the newest
    #[arg(long, value_name = "COUNT", group = "which", value_parser = options::whole::<usize>)]
    pub keep: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringway dead-letters send-again jobs workers 0 1 --standby 1m
  ringway dead-letters send-again jobs workers --all --into mended

All who receive from the queue get what is sent to it, also those who had it before; the program
says how many. With --into only those who receive from that queue get it. A letter is dropped when
its message was sent, and is durable if the queue that it was sent to has a journal.")]
#[command(mut_arg("timeout", |timeout| timeout.help("\
Give up when there has been no room for a message for this long, or nothing more has become durable
where that is waited for. Without it, wait for as long as it takes, also where the disk is full")))]
pub struct SendAgain {
    #[command(flatten)]
    pub some: SomeLetters,
    /// Send them to this queue instead
    #[arg(long, value_name = "QUEUE")]
    pub into: Option<String>,
    #[command(flatten)]
    pub patience: Patience,
}
