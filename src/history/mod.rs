//! What is kept on disk: dead letters.

mod dead_letters;

pub use self::dead_letters::{DeadLetter, DeadLetters, Reason};

pub(crate) use self::dead_letters::{DeadLetterFile, Letter};

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::layout::HISTORY_PATH_SIZE;

/// Makes a history directory if there is none, and returns its path from the root on, which is
/// what a segment can keep.
pub(crate) fn prepare(directory: &Path, queue: &str) -> Result<PathBuf, Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let path = made.and_then(|()| directory.canonicalize());
    let path = path.and_then(|path| {
        let fits = path.as_os_str().as_bytes().len() < HISTORY_PATH_SIZE;
        if fits { Ok(path) } else { Err(io::ErrorKind::InvalidFilename.into()) }
    });
    path.map_err(|source| Error::File {
        queue: queue.into(),
        doing: "make the directory",
        path: directory.into(),
        source,
    })
}
