//! Finding the end of a log that nobody writes, and cutting off what is torn there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::behind::Behind;
use super::read::{bytes_of_mut, read_up_to};
use super::{FileHeader, HEADER_SIZE, Log, LogFile, LogRead, LogReader};
use crate::error::Error;
use crate::history::making::open_or_make;
use crate::ring::{Place, Shape};
use crate::sys::file;

/// The end of a log that was cut off, because a message there was not whole.
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-log-cut-of");
/// # let directory = std::env::temp_dir().join("ringway-doc-log-cut-of");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-log-cut-of", &options)?;
/// queue.producer()?.send_durable(b"to be kept")?;
/// Queue::remove("doc-log-cut-of")?;
/// let archive = Archive::open(&directory)?;
/// let path = archive.files()?[0].path.clone();
/// // The machine stops in the middle of the next one:
/// let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
/// std::io::Write::write_all(&mut file, b"half of it").unwrap();
/// let queue = Queue::create("doc-log-cut-of", &options)?;
/// let cut = &queue.log_cuts()[0];
/// assert_eq!((&cut.path, cut.size), (&path.canonicalize().unwrap(), 10));
/// assert_eq!(std::fs::read(&cut.kept_in).unwrap(), b"half of it");
/// # Queue::force_remove("doc-log-cut-of")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogCut {
    /// The file.
    pub path: PathBuf,
    /// Where the cut is, in bytes from the file's start.
    pub offset: u64,
    /// How many bytes were cut off.
    pub size: u64,
    /// Where they are now.
    pub kept_in: PathBuf,
}

/// Where a log's frames end, and why not at the end of its last file.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) place: Place,
    /// Whether there is a file that says so, and not only one that was just being made.
    pub(crate) is_begun: bool,
    pub(crate) torn: Option<Torn>,
}

/// What stands behind the last whole message.
#[derive(Debug)]
pub(crate) struct Torn {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl LogFile {
    /// What there is of it, if it was just being made, and that is why it could not be opened.
    pub(crate) fn just_begun(&self, error: &Error) -> Option<Torn> {
        let size = fs::metadata(&self.path).map_or(0, |facts| facts.len());
        let is_begun = size <= HEADER_SIZE && matches!(error, Error::LogDamaged { .. });
        is_begun.then(|| Torn { path: self.path.clone(), offset: 0, size })
    }
}

impl Log {
    /// Has all of the log on disk, and has what is read from now on come from there: it counts as
    /// durable.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        for LogFile { path, .. } in self.files()? {
            let open = File::open(&path).map_err(|error| self.failed("open", &path, error))?;
            open.sync_all().map_err(|error| self.failed("sync", &path, error))?;
            file::forget(&open);
        }
        if self.directory.exists() { self.sync_names(|| ()) } else { Ok(()) }
    }

    /// Where the last file's whole messages end; `None` if there is no file.
    ///
    /// What is not whole is torn if no whole message follows: then it is an append that was not
    /// finished. Or it is behind what is known to have been synced, and is missing bytes that were
    /// never written, which are zeros: when power goes, of what was not synced any part may be
    /// there. Anything else is damage, and an error. (The rule of zeros is etcd's, for sectors.)
    pub(crate) fn find_end(&self) -> Result<Option<End>, Error> {
        let mut torn = None;
        for file in self.files()?.iter().rev() {
            let (open, header) = match self.open(file) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) => match file.just_begun(&error) {
                    None => return Err(error),
                    begun => {
                        torn = begun;
                        continue;
                    }
                },
            };
            let size = self.size_of(file, &open, &header)?;
            let end = file.base + (size - HEADER_SIZE);
            let (place, fault) = self.follow(header.begin, end);
            if let Some(fault) = fault {
                let offset = place.position - file.base + HEADER_SIZE;
                let rest = self.read_rest(&open, &file.path, offset, size)?;
                let lost = place.position >= header.synced && has_empty_sector(&rest, offset);
                // What cannot be looked at is taken for a message: then nothing is cut off.
                if !lost && self.behind(&rest, header.capacity, place) != Behind::Nothing {
                    return Err(fault);
                }
                torn = Some(Torn { path: file.path.clone(), offset, size: size - offset });
            }
            return Ok(Some(End { place, is_begun: true, torn }));
        }
        let place = Place::default();
        Ok(torn.map(|torn| End { place, is_begun: false, torn: Some(torn) }))
    }

    /// Insists that a last file is no longer than it can be: what comes behind it would be elsewhere.
    pub(crate) fn check_last_size(&self) -> Result<(), Error> {
        for file in self.files()?.iter().rev() {
            match self.open(file) {
                Ok(Some((open, header))) => return self.size_of(file, &open, &header).map(drop),
                Ok(None) => {}
                Err(error) if file.just_begun(&error).is_some() => {}
                // For who looks at what is in it.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Bytes of a last file, header and all.
    fn size_of(&self, file: &LogFile, open: &File, header: &FileHeader) -> Result<u64, Error> {
        let facts = open.metadata().map_err(|error| self.failed("examine", &file.path, error))?;
        let size = facts.len().max(HEADER_SIZE);
        let size_max = super::limit(header.capacity, file.base) - file.base + HEADER_SIZE;
        if size > size_max {
            return Err(self.damaged(&file.path, size_max, "no file of a log is so long"));
        }
        Ok(size)
    }

    /// Follows whole messages from a boundary on: where they end, and why not at `end`.
    fn follow(&self, begin: Place, end: u64) -> (Place, Option<Error>) {
        let mut reader = LogReader::new(self.clone(), begin);
        loop {
            match reader.next(end) {
                Ok(LogRead::Message(_) | LogRead::Missed { .. }) => {}
                Ok(LogRead::End | LogRead::Gone) => return (reader.place(), None),
                Err(error) => return (reader.place(), Some(error)),
            }
        }
    }

    /// The bytes of a file from an offset to its end.
    #[allow(clippy::cast_possible_truncation, reason = "a file's size, and usize is 64 bits")]
    pub(super) fn read_rest(
        &self,
        open: &File,
        path: &Path,
        offset: u64,
        size: u64,
    ) -> Result<Vec<u64>, Error> {
        let mut words = vec![0_u64; (size - offset).div_ceil(8) as usize];
        let bytes = &mut bytes_of_mut(&mut words)[..(size - offset) as usize];
        let read = read_up_to(open, bytes, offset);
        read.map_err(|error| self.failed("read", path, error))?;
        Ok(words)
    }

    /// Cuts off what is torn, and keeps it beside.
    pub(crate) fn cut(&self, torn: &Torn) -> Result<LogCut, Error> {
        let Torn { path, offset, size } = torn;
        let failed = |doing| move |error| self.failed(doing, path, error);
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let mut kept_in = path.with_file_name(format!("{name}-{offset}.broken"));
        // Another cut at the same place is no reason to lose the first one's bytes.
        let mut count = 1;
        while kept_in.exists() {
            count += 1;
            kept_in = path.with_file_name(format!("{name}-{offset}-{count}.broken"));
        }
        let open = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
        if let Err(error) = copy_out(&open, *offset, &kept_in) {
            // Each further try would leave another one.
            let _ = fs::remove_file(&kept_in);
            return Err(self.failed("make", &kept_in, error));
        }
        // The copy has its name on the disk before there is no other.
        self.sync_directory()?;
        if *offset == 0 {
            fs::remove_file(path).map_err(failed("remove"))?;
            self.sync_directory()?;
        } else {
            open.set_len(*offset).and_then(|()| open.sync_all()).map_err(failed("cut"))?;
        }
        Ok(LogCut { path: path.clone(), offset: *offset, size: *size, kept_in })
    }

    fn sync_directory(&self) -> Result<(), Error> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.failed("sync", &self.directory, error))
    }
}

/// Whether a sector of 512 bytes that has some of a frame holds nothing but zeros from there on.
/// The words are of a file, from the frame's offset on.
fn has_empty_sector(words: &[u64], offset: u64) -> bool {
    const SECTOR_WORDS: usize = 64;
    let Some(&word) = words.first() else { return false };
    let frame_words = (Shape::of_code(word).frame_size() / 8).min(words.len());
    let into_sector = usize::try_from(offset / 8).unwrap_or(0) % SECTOR_WORDS;
    let (first, rest) = words.split_at((SECTOR_WORDS - into_sector).min(words.len()));
    let others = rest
        .chunks(SECTOR_WORDS)
        .take(frame_words.saturating_sub(first.len()).div_ceil(SECTOR_WORDS));
    std::iter::once(first).chain(others).any(|sector| sector.iter().all(|&word| word == 0))
}

/// Copies the rest of a file to a new one.
fn copy_out(file: &File, mut offset: u64, path: &Path) -> io::Result<()> {
    let mut copy = open_or_make(path, OpenOptions::new().write(true).truncate(true))?;
    let mut bytes = [0; 8 << 10];
    loop {
        match file.read_at(&mut bytes, offset)? {
            0 => return copy.sync_all(),
            read => {
                copy.write_all(&bytes[..read])?;
                offset += read as u64;
            }
        }
    }
}
