//! Following a log, frame by frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{FileHeader, HEADER_SIZE, Log, LogFile};
use crate::error::Error;
use crate::ring::frame::{self, Frame, bytes_of};
use crate::ring::{Buffer, Corrupt, ExtensionSet, Place, Shape, Span};

/// Bytes that are read at a time.
const CHUNK_SIZE: u64 = 256 << 10;
const WORD_SIZE: u64 = 8;

/// What comes next in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogRead {
    /// A message; the span counts from [`LogReader::base`], until the next one is read.
    Message(Span),
    /// Nothing more, up to where the caller said that the log goes.
    End,
    /// The messages `from..to` are gone.
    Missed { from: u64, to: u64 },
    /// Everything is gone from here on.
    Gone,
}

/// Reads a log from a frame boundary on.
#[derive(Debug)]
pub(crate) struct LogReader {
    pub(super) log: Log,
    place: Place,
    /// The file that has the place, if it is open.
    file: Option<Open>,
    /// Bytes of the file, aligned as they were in the ring: of so many from a position on.
    chunk: Vec<u64>,
    chunk_begin: u64,
    chunk_size: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// The position of its first byte.
    base: u64,
    /// Where it ends at the latest.
    limit: Place,
    /// Of the ring that its frames were in.
    capacity: u64,
}

impl Open {
    /// Opens a file; nothing if it is gone. It ends where the next one begins: what it has beyond that,
    /// as one from a backup may, was gone when that was begun, and so was what it has of the messages
    /// that are in the next one.
    fn new(
        log: &Log,
        file: &LogFile,
        next: Option<&LogFile>,
    ) -> Result<Option<(Self, Place)>, Error> {
        let Some((open, header)) = log.open(file)? else { return Ok(None) };
        let FileHeader { begin, capacity, .. } = header;
        let mut limit =
            Place { position: super::limit(capacity, begin.position), sequence: u64::MAX };
        if let Some(next) = next {
            limit.position = limit.position.min(next.base);
            let size_max = HEADER_SIZE + (next.base - begin.position);
            // What is wrong with the next one is for whoever reads that far.
            if open.metadata().is_ok_and(|facts| facts.len() > size_max)
                && let Ok(Some((_, next))) = log.open(next)
            {
                limit.sequence = next.begin.sequence;
            }
        }
        let path = file.path.clone();
        Ok(Some((Self { file: open, path, base: begin.position, limit, capacity }, begin)))
    }

    /// Whether what comes at a place may be in it.
    fn may_have(&self, place: Place) -> bool {
        place.position < self.limit.position && place.sequence < self.limit.sequence
    }
}

/// Why a frame could not be read.
enum Fault {
    /// The file has no more bytes.
    EndOfFile,
    Error(Error),
}

impl LogReader {
    pub(crate) fn new(log: Log, place: Place) -> Self {
        let chunk = Vec::new();
        Self { log, place, file: None, chunk, chunk_begin: 0, chunk_size: 0 }
    }

    /// The boundary that comes next.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Where the spans count from.
    pub(crate) fn base(&self) -> *const u8 {
        self.chunk.as_ptr().cast()
    }

    /// Goes elsewhere.
    pub(crate) fn move_to(&mut self, place: Place) {
        self.place = place;
        let chunk = self.chunk_begin..self.chunk_begin + self.chunk_size;
        if !chunk.contains(&place.position) {
            self.close();
        }
    }

    /// The file that has the place, if it is open: its path, the position of its first byte, where it
    /// ends at the latest, and the capacity of the ring that its frames were in.
    pub(crate) fn opened(&self) -> Option<(&File, &Path, u64, u64, u64)> {
        let open = self.file.as_ref()?;
        Some((&open.file, &open.path, open.base, open.limit.position, open.capacity))
    }

    /// Lets go of the file, which may have been removed and takes space until then.
    pub(crate) fn close(&mut self) {
        (self.file, self.chunk_size) = (None, 0);
    }

    /// Where the frame of a message begins that was read just now.
    pub(crate) fn begin_of(&self, span: Span) -> Place {
        let offset = span.offset - span.extensions_size - frame::HEADER_SIZE;
        let position = self.chunk_begin + offset as u64;
        Place { position, sequence: self.place.sequence - 1 }
    }

    /// Copies a message that was read just now.
    pub(crate) fn copy(&self, span: Span, buffer: &mut Buffer) -> Span {
        let words = span.offset / 8 + span.size.div_ceil(8);
        assert!(words <= self.chunk.len(), "a message of another chunk");
        // SAFETY: as many words are there.
        unsafe { buffer.copy_from(self.base(), span) }
    }

    /// Goes to the beginning of the last file whose header is as wanted, or else of the first there
    /// is; nothing if there is none. What is wrong with a later file is for whoever reads that far.
    pub(crate) fn go_to_file(
        &mut self,
        mut is_wanted: impl FnMut(&FileHeader) -> bool,
    ) -> Result<Option<Place>, Error> {
        let mut first = Ok(None);
        for (behind, file) in self.log.files()?.iter().rev().enumerate() {
            match self.log.open(file) {
                Ok(None) => {}
                // Nothing is in it.
                Err(error) if behind == 0 && file.just_begun(&error).is_some() => {}
                Ok(Some((_, header))) => {
                    first = Ok(Some(header.begin));
                    if is_wanted(&header) {
                        break;
                    }
                }
                Err(error @ (Error::LogDamaged { .. } | Error::ForeignHistory { .. })) => {
                    first = Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Ok(Some(first)) = first {
            self.move_to(first);
        }
        first
    }

    /// The extension word of a message that was read just now, if it has that.
    #[allow(clippy::cast_possible_truncation, reason = "at most a chunk")]
    fn extension(&self, span: Span, one: ExtensionSet) -> Option<u64> {
        let index = (span.offset - span.extensions.distance(one)) / 8;
        span.extensions.contains(one).then(|| self.chunk[index])
    }

    /// When a message was sent that was read just now, nanoseconds since 1970.
    pub(crate) fn time(&self, span: Span) -> Option<u64> {
        self.extension(span, ExtensionSet::TIME)
    }

    pub(crate) fn key_hash(&self, span: Span) -> Option<u64> {
        self.extension(span, ExtensionSet::KEY)
    }

    pub(crate) fn payload(&self, span: Span) -> &[u8] {
        &bytes_of(&self.chunk)[span.offset..span.offset + span.size]
    }

    /// An error about what the index of the segment says.
    pub(crate) fn corrupt(&self, corrupt: Corrupt) -> Error {
        Error::Corrupt { queue: self.log.queue.clone(), what: corrupt.to_string().into() }
    }

    /// The next message below the position `end`, a frame boundary up to which the log is known to
    /// go.
    pub(crate) fn next(&mut self, end: u64) -> Result<LogRead, Error> {
        loop {
            if self.place.position >= end {
                return Ok(LogRead::End);
            }
            if self.file.as_ref().is_none_or(|open| !open.may_have(self.place)) {
                match self.find_file()? {
                    Some(found) => return Ok(found),
                    // It may begin further on.
                    None => continue,
                }
            }
            match self.read_frame(end) {
                Ok(Some(span)) => return Ok(LogRead::Message(span)),
                Ok(None) => {}
                // Further on there may be another file, with the same message first.
                Err(Fault::EndOfFile) => {
                    if let Some(missed) = self.go_to_next_file()? {
                        return Ok(missed);
                    }
                }
                Err(Fault::Error(error)) => return Err(error),
            }
        }
    }

    /// Reads the frame at the place and goes on behind it; nothing if it is padding.
    #[allow(clippy::cast_possible_truncation, reason = "at most a chunk")]
    fn read_frame(&mut self, end: u64) -> Result<Option<Span>, Fault> {
        let place = self.place;
        self.load(WORD_SIZE, end)?;
        let word = self.word_at(place.position);
        let capacity = self.file.as_ref().map_or(self.log.capacity, |open| open.capacity);
        let parsed = frame::parse(word, place, capacity, u64::MAX);
        let (shape, frame_end) = match parsed {
            Ok(Frame::Message { shape, end: frame_end }) if frame_end <= end => (shape, frame_end),
            Ok(Frame::Padding { end: lap_end }) => {
                self.place.position = lap_end;
                return Ok(None);
            }
            _ => return Err(self.fault("what stands there is not the frame that is due")),
        };
        self.load(frame_end - place.position, end)?;
        let offset = (place.position - self.chunk_begin) as usize;
        if !self.is_right(shape, offset) {
            return Err(self.fault("the message does not match its checksum"));
        }
        self.place = Place { position: frame_end, sequence: place.sequence + 1 };
        Ok(Some(Span::of(shape, offset)))
    }

    /// Whether a frame has the checksum that it has to have, if frames of this log have any.
    fn is_right(&self, shape: Shape, offset: usize) -> bool {
        let Some(check) = self.log.check else { return true };
        let words = &self.chunk[offset / 8..(offset + shape.frame_size()) / 8];
        check.is_right(shape, self.place, words)
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::Error(self.damaged(what))
    }

    /// An error about what comes next.
    fn damaged(&self, what: &str) -> Error {
        match &self.file {
            Some(open) => {
                let offset = self.place.position - open.base + HEADER_SIZE;
                self.log.damaged(&open.path, offset, what)
            }
            None => self.log.damaged(&self.log.directory, 0, what),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "at most a chunk")]
    fn word_at(&self, position: u64) -> u64 {
        self.chunk[((position - self.chunk_begin) / WORD_SIZE) as usize]
    }

    /// Has so many bytes from the place on in the chunk.
    #[allow(clippy::cast_possible_truncation, reason = "at most a message, and usize is 64 bits")]
    fn load(&mut self, size: u64, end: u64) -> Result<(), Fault> {
        let from = self.place.position;
        if from >= self.chunk_begin && from + size <= self.chunk_begin + self.chunk_size {
            return Ok(());
        }
        let Some(open) = &self.file else { return Err(Fault::EndOfFile) };
        let wanted = size.max(CHUNK_SIZE).min(open.limit.position.min(end) - from);
        let words = wanted.div_ceil(WORD_SIZE) as usize;
        self.chunk.resize(self.chunk.len().max(words), 0);
        let bytes: &mut [u8] = bytes_of_mut(&mut self.chunk[..words]);
        let bytes = &mut bytes[..wanted as usize];
        let read = read_up_to(&open.file, bytes, from - open.base + HEADER_SIZE);
        (self.chunk_begin, self.chunk_size) = (from, 0);
        let failed = |error| Fault::Error(self.log.failed("read", &open.path, error));
        let read = read.map_err(failed)?;
        self.chunk_size = read as u64 & !(WORD_SIZE - 1);
        if self.chunk_size >= size {
            Ok(())
        } else if self.chunk_size == 0 {
            Err(Fault::EndOfFile)
        } else {
            Err(self.fault("the file ends within a frame"))
        }
    }

    /// Opens the file that has the place. If there is none, goes to the oldest that comes later.
    fn find_file(&mut self) -> Result<Option<LogRead>, Error> {
        self.close();
        let files = self.log.files()?;
        let after = files.partition_point(|file| file.base <= self.place.position);
        if let Some(file) = after.checked_sub(1).map(|index| &files[index])
            && let Some((open, begin)) = Open::new(&self.log, file, files.get(after))?
        {
            if begin.position == self.place.position && begin.sequence != self.place.sequence {
                return Err(self.out_of_order(&file.path));
            }
            if open.may_have(self.place) {
                self.file = Some(open);
                return Ok(None);
            }
        }
        for (file, next) in with_next(&files[after..]) {
            let Some((open, begin)) = Open::new(&self.log, file, next)? else { continue };
            let from = self.place.sequence;
            if begin.sequence < from {
                return Err(self.out_of_order(&file.path));
            }
            self.place = begin;
            self.file = Some(open);
            let to = begin.sequence;
            return Ok((from < to).then_some(LogRead::Missed { from, to }));
        }
        Ok(if self.resume_with_queue() { None } else { Some(LogRead::Gone) })
    }

    /// Goes to where the queue went on when it was made anew, if that message is due and nothing has been
    /// appended since.
    fn resume_with_queue(&mut self) -> bool {
        let Place { position, sequence } = self.log.resumed_at;
        let is_due = position > self.place.position && sequence == self.place.sequence;
        if is_due {
            self.place.position = position;
        }
        is_due
    }

    /// The file has ended: the stream goes on in the next one, or in a later one if files are
    /// missing between.
    fn go_to_next_file(&mut self) -> Result<Option<LogRead>, Error> {
        let files = self.log.files()?;
        let base = self.file.as_ref().map_or(0, |open| open.base);
        let is_next = |file: &LogFile| file.base > base && file.base >= self.place.position;
        let Some((next, after)) = with_next(&files).find(|(file, _)| is_next(file)) else {
            if self.resume_with_queue() {
                return Ok(None);
            }
            return Err(self.damaged("the file ends before the log does"));
        };
        let Some((open, begin)) = Open::new(&self.log, next, after)? else {
            // Removed just now, as was what we have read.
            self.file = None;
            return Ok(None);
        };
        let from = self.place.sequence;
        if begin.sequence < from {
            return Err(self.out_of_order(&next.path));
        }
        self.place = begin;
        (self.file, self.chunk_size) = (Some(open), 0);
        let to = begin.sequence;
        Ok((from < to).then_some(LogRead::Missed { from, to }))
    }

    fn out_of_order(&self, path: &Path) -> Error {
        self.log.damaged(path, 0, "its first message is not the one that follows the file before")
    }
}

/// Files, each with the one after it.
fn with_next(files: &[LogFile]) -> impl Iterator<Item = (&LogFile, Option<&LogFile>)> {
    files.iter().zip(files.iter().skip(1).map(Some).chain([None]))
}

/// [`bytes_of`], to be written.
pub(super) fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    let size = size_of_val(words);
    // SAFETY: any bytes are words, any words bytes, and those of a slice lie side by side.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size) }
}

pub(crate) fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
