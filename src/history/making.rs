//! Making files and directories in a history, for the user whose it is: who makes them may be root,
//! and then nobody else could go on with them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// How often something is made that is removed again and again.
const TRIES: u32 = 100;

/// Opens a file to be written, and makes it if there is none.
pub(super) fn open_or_make(path: &Path, options: &OpenOptions) -> io::Result<File> {
    for _ in 0..TRIES {
        match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        // Only what is new is given away: a name may lead to what is somebody else's.
        match options.clone().create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                let file = made?;
                give(&file, path)?;
                return Ok(file);
            }
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Makes a directory in one that is there, unless it is there itself.
pub(super) fn make_within(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => {
            made?;
            let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
            give(&OpenOptions::new().read(true).custom_flags(flags).open(directory)?, directory)
        }
    }
}

/// Gives what was just made to the user of the directory that it is in. Who may not keeps it.
pub(super) fn give(made: &File, path: &Path) -> io::Result<()> {
    let (ours, theirs) = (made.metadata()?, fs::metadata(path.parent().unwrap_or(path))?);
    if (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
        let _ = fchown(made, Some(theirs.uid()), Some(theirs.gid()));
    }
    Ok(())
}
