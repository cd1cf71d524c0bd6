//! Making files and directories in a history, for the user whose it is: who makes them may be root,
//! and then nobody else could go on with them.
//!
//! That user may rename and replace what is there while root is at work. So the directory that
//! something is made in is opened once: what is made in that one goes to the user of that one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::sys::{file, process};

/// How often something is made that is removed again and again.
const TRIES: u32 = 100;

/// Opens a file to be written, and makes it if there is none.
pub(super) fn open_or_make(path: &Path, options: &OpenOptions) -> io::Result<File> {
    open_or_make_new(path, options).map(|(file, _)| file)
}

/// The same, and whether this has made it.
pub(super) fn open_or_make_new(path: &Path, options: &OpenOptions) -> io::Result<(File, bool)> {
    for _ in 0..TRIES {
        match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return Ok((opened?, false)),
        }
        match make(path, options.clone().mode(0o600)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return Ok((made?, true)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Makes a file that is not there.
pub(super) fn make(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let (parent, within) = place_of(path)?;
    let file = options.create_new(true).open(within)?;
    give(&file, &parent)?;
    Ok(file)
}

/// Makes a directory in one that is there, unless it is there itself.
pub(super) fn make_within(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let (parent, within) = place_of(directory)?;
    match DirBuilder::new().mode(0o700).create(&within) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => {
            made?;
            let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
            give(&OpenOptions::new().read(true).custom_flags(flags).open(within)?, &parent)
        }
    }
}

/// The directory that something is in, and its path from there on, whatever becomes of the names.
fn place_of(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let parent =
        OpenOptions::new().read(true).custom_flags(flags).open(parent.unwrap_or(Path::new(".")))?;
    let within = file::within(&parent, name);
    Ok((parent, within))
}

/// Gives what was just made to the user of the directory that it is in. Who may not keeps it. Only what
/// is ours: another may have been put in its place.
fn give(made: &File, parent: &File) -> io::Result<()> {
    let (ours, theirs) = (made.metadata()?, parent.metadata()?);
    let is_ours = ours.uid() == process::effective_user();
    if is_ours && (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
        let _ = fchown(made, Some(theirs.uid()), Some(theirs.gid()));
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn what_is_made_goes_to_the_user_of_the_directory_that_it_was_made_in() {
        const OTHERS: [u32; 2] = [65_533, 65_534];
        let directory = std::env::temp_dir().join(format!("ringway-making-{}", std::process::id()));
        let of = |name| directory.join(name);
        for name in ["theirs", "another"] {
            fs::create_dir_all(of(name)).unwrap();
        }
        // Its owner puts another one in its place while something is made there.
        let (parent, within) = place_of(&of("theirs").join("log")).unwrap();
        fs::rename(of("theirs"), of("moved")).unwrap();
        symlink("another", of("theirs")).unwrap();
        let made = OpenOptions::new().write(true).create_new(true).open(within).unwrap();
        assert!(of("moved").join("log").exists() && !of("another").join("log").exists());
        if process::effective_user() == 0 {
            chown(of("moved"), Some(OTHERS[0]), None).unwrap();
            give(&made, &parent).unwrap();
            assert_eq!(made.metadata().unwrap().uid(), OTHERS[0]);
            // Or gives what is somebody else's the name that it was to have.
            let foreign = of("moved").join("foreign");
            fs::write(&foreign, "").unwrap();
            chown(&foreign, Some(OTHERS[1]), None).unwrap();
            give(&File::open(&foreign).unwrap(), &parent).unwrap();
            assert_eq!(fs::metadata(&foreign).unwrap().uid(), OTHERS[1]);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
