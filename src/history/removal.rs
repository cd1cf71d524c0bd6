//! Removing a history: what its queue has made there, and nothing else. Whoever removes it may be
//! root, and the directory's owner may have put anything in it, also links that lead elsewhere.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::checkpoint;
use super::dead_letters::DeadLetters;
use super::directory::{ASIDE, IDENTITY, INSTANCE, PRUNED, sync_directory};
use crate::error::Error;
use crate::sys::file;

/// How many digits a position has in a name, and a random number.
const POSITION_DIGITS: usize = 20;
const RANDOM_DIGITS: usize = 32;
const LETTERS: &str = "dead-letters";

/// Whether a name is a queue's.
type IsOurs = fn(&str) -> bool;

/// The directories within, and which names in each are a queue's.
const KEPT: [(&str, IsOurs); 4] = [
    ("log", |name| is_of_log(name) || is_of_cut(name)),
    ("spill", is_of_log),
    (LETTERS, is_of_letters),
    ("subscriptions", is_of_checkpoint),
];

/// Removes what is kept in a directory, and the directory if nothing else is in it. The identity
/// goes last, so that what could not be done can be tried again, and when power goes nothing comes back
/// that is nobody's.
pub(super) fn remove_all(directory: &Path, queue: &str) -> Result<Vec<PathBuf>, Error> {
    let mut removed = Vec::new();
    for (within, is_ours) in KEPT {
        remove_within(&directory.join(within), queue, is_ours, &mut removed)?;
    }
    let sync = || {
        let synced = sync_directory(directory);
        synced.map_err(|error| Error::file(queue, "sync", directory, error))
    };
    let is_left = |name: &str| {
        let kind =
            stem_of_aside(name).map(|stem| stem.split_once('.').map_or(stem, |(kind, _)| kind));
        [INSTANCE, PRUNED].contains(&name)
            || kind.is_some_and(|kind| [IDENTITY, INSTANCE, PRUNED].contains(&kind))
    };
    for name in names_in(directory, directory, queue)?.into_iter().filter(|name| is_left(name)) {
        let path = directory.join(name);
        removed.push(remove(&path, path.clone(), queue)?);
    }
    sync()?;
    let identity = directory.join(IDENTITY);
    removed.push(remove(&identity, identity.clone(), queue)?);
    sync()?;
    let _ = fs::remove_dir(directory);
    Ok(removed)
}

/// Removes what is a queue's in one of the directories within, and that if nothing else is in it.
fn remove_within(
    within: &Path,
    queue: &str,
    is_ours: IsOurs,
    removed: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let opened = open_directory(within);
    let opened = opened.map_err(|error| Error::file(queue, "open", within, error))?;
    let Some(open) = opened else { return Ok(()) };
    for name in names_in(&file::within(&open, OsStr::new(".")), within, queue)? {
        let path = within.join(&name);
        if is_ours(&name) && !is_to_stay(&path, queue)? {
            removed.push(remove(&file::within(&open, OsStr::new(&name)), path, queue)?);
        }
    }
    // Not if somebody else has put something there.
    if fs::remove_dir(within).is_err() {
        open.sync_all().map_err(|error| Error::file(queue, "sync", within, error))?;
    }
    Ok(())
}

/// A directory, by its own name; nothing if that is not there, or leads to something else.
fn open_directory(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(open) => Ok(Some(open)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The names in a directory that are text, in order. `shown` is what it is called.
fn names_in(directory: &Path, shown: &Path, queue: &str) -> Result<Vec<String>, Error> {
    let names = fs::read_dir(directory).and_then(|entries| {
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect::<io::Result<Vec<_>>>()
    });
    let mut names = names.map_err(|error| Error::file(queue, "read", shown, error))?;
    names.sort();
    Ok(names)
}

fn remove(file: &Path, shown: PathBuf, queue: &str) -> Result<PathBuf, Error> {
    match fs::remove_file(file) {
        Ok(()) => Ok(shown),
        Err(error) => Err(Error::file(queue, "remove", &shown, error)),
    }
}

/// Whether what has a queue's name is to be left all the same.
fn is_to_stay(path: &Path, queue: &str) -> Result<bool, Error> {
    let Ok(facts) = fs::symlink_metadata(path) else { return Ok(false) };
    let has = |extension| path.extension().is_some_and(|found| found == extension);
    // What somebody had made in the place of a checkpoint, and a repair has put aside.
    let is_others = facts.is_dir() && has("broken");
    Ok(is_others || facts.is_file() && has("letters") && has_letters_of_others(path, queue)?)
}

/// Whether a file has letters that another queue's members have put there: who names the directory
/// for his letters may name any.
fn has_letters_of_others(path: &Path, queue: &str) -> Result<bool, Error> {
    let history = path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let subscription = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    for letter in &DeadLetters::of_instance(history, queue, [0; 16], subscription) {
        if letter?.queue != queue {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_position(text: &str) -> bool {
    text.len() == POSITION_DIGITS && is_digits(text)
}

/// `POSITION.log`
fn is_of_log(name: &str) -> bool {
    name.strip_suffix(".log").is_some_and(is_position)
}

/// `POSITION-OFFSET.broken`, or with a count behind it.
fn is_of_cut(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".broken") else { return false };
    let mut parts = stem.split('-');
    parts.next().is_some_and(is_position)
        && matches!(parts.clone().count(), 1 | 2)
        && parts.all(is_digits)
}

/// `SUBSCRIPTION.letters`, or what somebody died writing beside it.
fn is_of_letters(name: &str) -> bool {
    name.strip_suffix(".letters").is_some_and(checkpoint::is_name) || is_aside(name)
}

/// `SUBSCRIPTION.checkpoint`, what somebody died writing beside it, or what a repair has put aside, with
/// a count or without.
fn is_of_checkpoint(name: &str) -> bool {
    let uncounted = |stem: &str| {
        stem.rsplit_once('.')
            .is_some_and(|(name, count)| is_digits(count) && checkpoint::is_name(name))
    };
    let broken = name.strip_suffix(".broken");
    name.strip_suffix(".checkpoint").is_some_and(checkpoint::is_name)
        || is_aside(name)
        || broken.is_some_and(|stem| checkpoint::is_name(stem) || uncounted(stem))
}

fn stem_of_aside(name: &str) -> Option<&str> {
    name.strip_suffix(ASIDE)?.strip_suffix('.')
}

/// `SUBSCRIPTION.RANDOM.new`
fn is_aside(name: &str) -> bool {
    stem_of_aside(name).and_then(|stem| stem.rsplit_once('.')).is_some_and(|(name, random)| {
        random.len() == RANDOM_DIGITS
            && random.bytes().all(|byte| byte.is_ascii_hexdigit())
            && checkpoint::is_name(name)
    })
}
