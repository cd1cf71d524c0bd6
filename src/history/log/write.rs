//! Appending to a log, straight from the ring.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use super::{FileHeader, HEADER_SIZE, Log, LogFile, LogRead, LogReader, MARK_OFFSET, mark};
use crate::error::Error;
use crate::history::making::{make_within, open_or_make_new};
use crate::ring::{Place, Ring};
use crate::sys::file;

/// The end of a log that grows. Whoever makes one holds the historian's lock.
#[derive(Debug)]
pub(crate) struct LogWriter {
    log: Log,
    /// The file that is appended to, and the position of its first byte.
    file: Option<(File, u64)>,
    /// Where the next frame goes.
    end: Place,
    /// Bytes of all files.
    size: u64,
    /// Whether the directory has names that are not synced, or had some.
    has_new_names: bool,
    /// Whether nothing of the file has been synced.
    is_just_begun: bool,
    /// When it was last said in the file up to where it is synced.
    marked_at: Option<Instant>,
}

/// How much of a journal's end may look damaged after a loss of power, in time.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

impl LogWriter {
    /// A new log, or what comes before another.
    pub(crate) fn begin(log: Log, end: Place) -> Result<Self, Error> {
        make_within(&log.directory)
            .map_err(|error| log.failed("make the directory", &log.directory, error))?;
        Ok(Self {
            log,
            file: None,
            end,
            size: 0,
            // Also those of a historian that died before it synced them.
            has_new_names: true,
            is_just_begun: false,
            marked_at: None,
        })
    }

    /// A log that ends at a frame boundary: what stands behind it is cut off, and files that lie before
    /// its beginning go. One that begins at the end stays until it is begun anew: it may be all that
    /// says where the sequence goes on.
    pub(crate) fn go_on(log: Log, from: u64, end: Place) -> Result<Self, Error> {
        let mut writer = Self::begin(log, end)?;
        let mut last = None;
        let files = writer.log.files()?;
        let next = files.iter().skip(1).map(|next| Some(next.base)).chain([None]);
        for (found, next) in files.iter().zip(next) {
            if found.base > end.position || next.is_some_and(|next| next <= from) {
                writer.remove(found)?;
            } else if found.base < end.position {
                let size = fs::metadata(&found.path).map_or(0, |facts| facts.len());
                writer.grow(size);
                last = Some(found.base);
            }
        }
        // Also a file that ends just here: the one who wrote it may have died before its sync.
        let resumes = end == writer.log.resumed_at;
        if let Some(base) = last.filter(|&base| !resumes && end.position <= writer.log.limit(base))
        {
            writer.reopen(base)?;
        }
        Ok(writer)
    }

    /// Whether the file that the end lies in is not there any more.
    pub(crate) fn has_lost_its_file(&self) -> bool {
        match &self.file {
            Some((file, _)) => file.metadata().is_ok_and(|facts| facts.nlink() == 0),
            None if self.end == self.log.resumed_at => false,
            None => {
                self.log.limit(self.end.position) - self.end.position
                    != super::span(self.log.capacity)
            }
        }
    }

    pub(crate) fn lost(&self) -> Error {
        let base = self.file.as_ref().map_or(self.end.position, |(_, base)| *base);
        self.log.failed("find the end of", &self.log.path(base), io::ErrorKind::NotFound.into())
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Up to where the stream is in the log.
    pub(crate) fn end(&self) -> Place {
        self.end
    }

    /// Bytes of all its files.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Begins anew elsewhere, without anything that was there.
    pub(crate) fn restart(&mut self, place: Place) -> Result<(), Error> {
        self.file = None;
        for found in self.log.files()? {
            self.remove(&found)?;
        }
        (self.end, self.size) = (place, 0);
        Ok(())
    }

    /// Removes the files that begin in a range, which nobody needs.
    pub(crate) fn remove_within(&mut self, range: Range<u64>) -> Result<(), Error> {
        for found in self.log.files()?.iter().filter(|found| range.contains(&found.base)) {
            self.remove(found)?;
        }
        Ok(())
    }

    /// Whether what comes next begins a file.
    pub(crate) fn needs_new_file(&self) -> bool {
        self.file.as_ref().is_none_or(|(_, base)| self.end.position >= self.log.limit(*base))
    }

    /// Whether it has been begun and neither its name nor anything in it synced.
    pub(crate) fn is_just_begun(&self) -> bool {
        self.is_just_begun
    }

    /// What somebody has made as long as can be is no more than can be said, however often.
    fn grow(&mut self, size: u64) {
        self.size = self.size.saturating_add(size);
    }

    /// Counts the bytes of files that another one has put in front.
    pub(crate) fn count(&mut self, other: &Self) {
        self.grow(other.size);
    }

    /// Appends the ring's frames up to `to`, which lies in the lap of the end, or ends it. If that
    /// fails, the log ends where it did.
    pub(crate) fn append(&mut self, ring: &Ring, to: Place) -> Result<(), Error> {
        let from = self.end;
        let begins = self.needs_new_file();
        let (file, base) = match self.file.take() {
            Some(file) if !begins => file,
            _ => self.new_file()?,
        };
        let offset = from.position - base + HEADER_SIZE;
        let written = ring.write_out(from.position, to.position, |bytes, size| {
            // SAFETY: the ring's, which stay as they are: its writer waits for this.
            unsafe { file::write_all_from(&file, bytes, size, offset) }
        });
        if let Err(error) = written {
            let failure = self.log.failed("append to", &self.log.path(base), error);
            // A part of it is not to be found by anybody. If that fails too, the next one cuts.
            let _ = file.set_len(offset);
            self.file = Some((file, base));
            return Err(failure);
        }
        self.file = Some((file, base));
        self.grow(to.position - from.position);
        self.end = to;
        Ok(())
    }

    /// Has the disk begin with what was appended between two positions. Whether that went well is
    /// for [`Self::sync`] to tell.
    pub(crate) fn start_writing(&self, from: u64, to: u64) {
        if let Some((file, base)) = &self.file {
            file::start_writing(file, from - base + HEADER_SIZE, to - from);
        }
    }

    /// Has everything that was appended on the disk, names included. Calls `failed` if the disk could
    /// not do that, which is not to be tried again then: what the system could not write it may have
    /// forgotten. Whatever else is in the way may go away.
    pub(crate) fn sync(&mut self, failed: impl Fn()) -> Result<(), Error> {
        if self.has_new_names {
            self.log.sync_names(&failed)?;
            self.has_new_names = false;
        }
        if let Some((file, base)) = &self.file {
            let synced = file.sync_data().inspect_err(|_| failed());
            synced.map_err(|error| self.log.failed("sync", &self.log.path(*base), error))?;
            self.is_just_begun = false;
            if self.marked_at.is_none_or(|last| last.elapsed() >= MARK_INTERVAL) {
                // On the disk with the next sync. It says less than is so until then, or until
                // another time if it cannot be written.
                let _ = file.write_all_at(&mark(self.end.position), MARK_OFFSET as u64);
                self.marked_at = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Writes what lies behind a boundary once more, as it is there, so that a sync has to write it.
    /// What is not as it was appended is an error.
    pub(crate) fn write_anew(&mut self, from: Place) -> Result<(), Error> {
        let files = self.log.files()?;
        let ends = files.iter().skip(1).map(|next| next.base).chain([self.end.position]);
        for (found, end) in files.iter().zip(ends) {
            // What the queue was made with is on the disk.
            if end <= from.position {
                continue;
            }
            let header = match self.log.open(found) {
                Ok(Some((_, header))) => header,
                Ok(None) => continue,
                // Somebody died making it: nothing was appended to it.
                Err(Error::LogDamaged { .. }) if found.base >= self.end.position => continue,
                Err(error) => return Err(error),
            };
            let end = end.min(super::limit(header.capacity, found.base));
            let begin = if from.position > found.base { from } else { header.begin };
            // Of the boundary one half may have been said before somebody died.
            self.check(begin, end).or_else(|_| self.check(header.begin, end))?;
            let failed = |error| self.log.failed("write", &found.path, error);
            let file = OpenOptions::new().read(true).write(true).open(&found.path);
            let file = file.map_err(failed)?;
            let offset = begin.position - found.base + HEADER_SIZE;
            let end = end - found.base + HEADER_SIZE;
            // One that was just begun has less than its header's room.
            let size = file.metadata().map_err(failed)?.len();
            for range in [0..HEADER_SIZE.min(size), offset..end.min(size)] {
                copy_over(&file, range).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Insists that messages are whole from a boundary to the end of its file.
    fn check(&self, begin: Place, end: u64) -> Result<(), Error> {
        let mut reader = LogReader::new(self.log.clone(), begin);
        loop {
            match reader.next(end)? {
                LogRead::Message(_) => {}
                LogRead::End => return Ok(()),
                LogRead::Missed { .. } | LogRead::Gone => {
                    let path = self.log.path(begin.position);
                    return Err(self.log.damaged(&path, 0, "messages behind it are missing"));
                }
            }
        }
    }

    /// Removes a file, which is not the one that is appended to.
    pub(crate) fn remove(&mut self, LogFile { path, .. }: &LogFile) -> Result<(), Error> {
        let size = fs::metadata(path).map_or(0, |facts| facts.len());
        match fs::remove_file(path) {
            Ok(()) => {
                self.size = self.size.saturating_sub(size);
                self.has_new_names = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.log.failed("remove", path, error)),
        }
    }

    /// Begins a file at the end. What is appended before the next one is in it.
    pub(crate) fn begin_file(&mut self) -> Result<(), Error> {
        self.file = Some(self.new_file()?);
        Ok(())
    }

    /// A file that has nothing but its header. One that is there already is never without one: there may
    /// be no space for another, and no other file that says where the sequence goes on.
    fn new_file(&mut self) -> Result<(File, u64), Error> {
        let base = self.end.position;
        let path = self.log.path(base);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let made = open_or_make_new(&path, &options);
        let (file, is_new) = made.map_err(|error| self.log.failed("make", &path, error))?;
        let header = FileHeader::new(&self.log, self.end);
        let begun = if header.is_in(&file) {
            // What was synced of what it had does not count.
            file.write_all_at(&mark(base), MARK_OFFSET as u64)
        } else {
            file.write_all_at(&header.bytes(), 0)
        };
        if let Err(error) = begun.and_then(|()| file.set_len(HEADER_SIZE)) {
            if is_new {
                let _ = fs::remove_file(&path);
            }
            return Err(self.log.failed("append to", &path, error));
        }
        self.grow(HEADER_SIZE);
        (self.has_new_names, self.is_just_begun, self.marked_at) = (true, true, None);
        Ok((file, base))
    }

    fn reopen(&mut self, base: u64) -> Result<(), Error> {
        let path = self.log.path(base);
        let failed = |error| self.log.failed("open", &path, error);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?.len();
        let due = self.end.position - base + HEADER_SIZE;
        if before < due {
            return Err(self.log.damaged(
                &path,
                before,
                "it ends before what the queue says it has",
            ));
        }
        file.set_len(due).map_err(failed)?;
        self.size = self.size.saturating_sub(before - due);
        self.file = Some((file, base));
        Ok(())
    }
}

/// Puts a part of a file in its own place.
fn copy_over(file: &File, range: Range<u64>) -> io::Result<()> {
    const PIECE_SIZE: usize = 256 << 10;
    let mut bytes = vec![0; PIECE_SIZE];
    let mut offset = range.start;
    while offset < range.end {
        let size = bytes.len().min(usize::try_from(range.end - offset).unwrap_or(PIECE_SIZE));
        file.read_exact_at(&mut bytes[..size], offset)?;
        file.write_all_at(&bytes[..size], offset)?;
        offset += size as u64;
    }
    Ok(())
}
