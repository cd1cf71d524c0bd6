//! Writing a file of letters anew without those that were dropped.
//!
//! It is done by whoever dropped them and has others who drop kept away. Most of the work is beside:
//! what the file has, but for letters that were dropped and the records that say so, goes to a file
//! of another name. Who appends is kept away only while what came meanwhile goes there too, and the
//! other file gets the name. Until then all is as it was, whoever dies; from then on the new file
//! has it all. Who has the old one open reads that; who wants to append finds another one behind
//! the name.
//!
//! What is damaged is taken along as it is: it may be of use to somebody. So ids cannot come again:
//! whatever is appended later has a higher one than the old file could have given.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::file::{Letters, Lock};
use super::record::{self, At, BEGINNING_SIZE, Kind, Records, Summary, Whole};
use crate::history::directory::{ASIDE, name_aside, sync_directory};

/// Puts a file without what was dropped in the place of one that is locked for dropping.
pub(super) fn rewrite(path: &Path, old: &Letters) -> io::Result<()> {
    check_named(path, old)?;
    remove_left_over(path)?;
    let aside = Aside::new(path, old)?;
    let settled = old.settled_size()?;
    let shift = record::shift_of(old)?;
    let mut copying = Copying {
        old,
        done: 0,
        new: BufWriter::new(&aside.letters),
        size: 0,
        dropped: record::dropped_before(old, settled)?,
    };
    // Its place; what it says comes last.
    copying.write(&[0; BEGINNING_SIZE])?;
    copying.copy_to(settled)?;
    copying.new.flush()?;
    let shift = shift.wrapping_add(settled.saturating_sub(copying.size));
    aside.letters.write_all_at(&record::beginning(shift), 0)?;
    aside.letters.sync_all()?;

    old.lock_to_replace()?;
    check_named(path, old)?;
    let size = old.metadata()?.len();
    if size > settled {
        copying.copy_to(size)?;
        copying.new.flush()?;
        aside.letters.sync_all()?;
    }
    drop(copying);
    aside.give_name(path)?;
    old.unlock(Lock::Appending)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// That a name is the file's own, which another file can be given.
fn check_named(path: &Path, file: &Letters) -> io::Result<()> {
    if file.is(&fs::symlink_metadata(path)?)? {
        return Ok(());
    }
    Err(io::Error::other("it was removed, or is elsewhere"))
}

struct Copying<'a> {
    old: &'a File,
    /// How far that was copied.
    done: u64,
    new: BufWriter<&'a File>,
    size: u64,
    dropped: HashSet<u64>,
}

impl Copying<'_> {
    fn copy_to(&mut self, end: u64) -> io::Result<()> {
        let begin = At { file: self.old, position: self.done };
        let mut records = Records::new(begin.take(end - self.done), self.done);
        while let Some(record) = records.next(Whole::parse)? {
            self.copy_as_it_is(record.summary.position)?;
            self.done += record.summary.length;
            if self.is_needed(&record.summary) {
                let bytes = record.moved_to(self.size);
                self.write(&bytes)?;
            }
        }
        self.copy_as_it_is(end)
    }

    fn is_needed(&self, summary: &Summary) -> bool {
        match summary.kind {
            Some(Kind::Letter) => !self.dropped.contains(&summary.id()),
            // Of those that came meanwhile, if any could, the letters are here.
            Some(Kind::Dropped) => summary.drops().is_some_and(|id| !self.dropped.contains(&id)),
            Some(Kind::Beginning) => false,
            None => true,
        }
    }

    /// What is no whole record.
    fn copy_as_it_is(&mut self, end: u64) -> io::Result<()> {
        let begin = At { file: self.old, position: self.done };
        self.size += io::copy(&mut begin.take(end - self.done), &mut self.new)?;
        self.done = end;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        self.new.write_all(bytes)
    }
}

/// A file beside another one, which goes away unless it gets that one's name. Its maker has it
/// locked, and nobody else removes it.
struct Aside {
    path: PathBuf,
    letters: Letters,
    has_name: bool,
}

impl Aside {
    /// As those who use the other one are used to: whoever rewrites it may be root.
    fn new(path: &Path, old: &File) -> io::Result<Self> {
        let path = name_aside(path)?;
        let mut options = OpenOptions::new();
        let letters = Letters::open(&path, options.write(true).create_new(true).mode(0o600))?;
        let aside = Self { path, letters, has_name: false };
        aside.letters.try_lock(Lock::Dropping)?;
        let (ours, theirs) = (aside.letters.metadata()?, old.metadata()?);
        if (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
            fchown(&*aside.letters, Some(theirs.uid()), Some(theirs.gid()))?;
        }
        aside.letters.set_permissions(theirs.permissions())?;
        Ok(aside)
    }

    fn give_name(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.has_name = true;
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.has_name {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what others left beside a file who died while they wrote it anew.
fn remove_left_over(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(directory)? {
        let found = entry?.path();
        // NAME.RANDOM.new
        let is_aside = found.extension().is_some_and(|extension| extension == ASIDE)
            && found.with_extension("").extension().is_some_and(|random| random.len() == 32)
            && found.with_extension("").with_extension("letters") == path;
        if !is_aside {
            continue;
        }
        let left = Letters::open(&found, OpenOptions::new().write(true));
        if left.is_ok_and(|left| left.try_lock(Lock::Dropping).unwrap_or(false)) {
            fs::remove_file(&found)?;
        }
    }
    Ok(())
}
