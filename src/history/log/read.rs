//! Following a log, frame by frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{HEADER_SIZE, Log};
use crate::error::Error;
use crate::ring::frame::{self, Frame};
use crate::ring::{Place, Shape, Span};

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
    log: Log,
    place: Place,
    /// The file that has the place, if it is open, and the position of its first byte.
    file: Option<(File, u64)>,
    /// Bytes of the file, aligned as they were in the ring: of so many from a position on.
    chunk: Vec<u64>,
    chunk_begin: u64,
    chunk_size: u64,
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

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Where the spans count from.
    pub(crate) fn base(&self) -> *const u8 {
        self.chunk.as_ptr().cast()
    }

    /// Goes elsewhere.
    pub(crate) fn move_to(&mut self, place: Place) {
        (self.place, self.file, self.chunk_size) = (place, None, 0);
    }

    /// The next message below the position `end`, a frame boundary up to which the log is known to
    /// go.
    pub(crate) fn next(&mut self, end: u64) -> Result<LogRead, Error> {
        loop {
            if self.place.position >= end {
                return Ok(LogRead::End);
            }
            if self
                .file
                .as_ref()
                .is_none_or(|(_, base)| self.place.position >= self.log.limit(*base))
                && let Some(found) = self.find_file()?
            {
                return Ok(found);
            }
            match self.read_frame(end) {
                Ok(Some(span)) => return Ok(LogRead::Message(span)),
                Ok(None) => {}
                // Further on there may be another file, with the same message first.
                Err(Fault::EndOfFile) => self.go_to_next_file()?,
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
        let parsed = frame::parse(word, place, self.log.capacity, u64::MAX);
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
        let base = self.file.as_ref().map_or(0, |(_, base)| *base);
        let offset = self.place.position - base + HEADER_SIZE;
        Fault::Error(self.log.damaged(&self.log.path(base), offset, what))
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
        let Some((file, base)) = &self.file else { return Err(Fault::EndOfFile) };
        let wanted = size.max(CHUNK_SIZE).min(self.log.limit(*base).min(end) - from);
        let words = wanted.div_ceil(WORD_SIZE) as usize;
        self.chunk.resize(self.chunk.len().max(words), 0);
        let bytes: &mut [u8] = bytes_of(&mut self.chunk[..words]);
        let bytes = &mut bytes[..wanted as usize];
        let read = read_up_to(file, bytes, from - base + HEADER_SIZE);
        (self.chunk_begin, self.chunk_size) = (from, 0);
        let read = read
            .map_err(|error| Fault::Error(self.log.failed("read", &self.log.path(*base), error)))?;
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
        (self.file, self.chunk_size) = (None, 0);
        let files = self.log.files()?;
        let after = files.partition_point(|file| file.base <= self.place.position);
        if let Some(file) = after.checked_sub(1).map(|index| &files[index])
            && let Some((open, header)) = self.log.open(file)?
        {
            if header.begin.position == self.place.position
                && header.begin.sequence != self.place.sequence
            {
                return Err(self.out_of_order(&file.path));
            }
            if self.place.position < self.log.limit(file.base) {
                self.file = Some((open, file.base));
                return Ok(None);
            }
        }
        for file in &files[after..] {
            let Some((open, header)) = self.log.open(file)? else { continue };
            let from = self.place.sequence;
            if header.begin.sequence < from {
                return Err(self.out_of_order(&file.path));
            }
            self.place = header.begin;
            self.file = Some((open, file.base));
            let to = self.place.sequence;
            return Ok((from < to).then_some(LogRead::Missed { from, to }));
        }
        Ok(Some(LogRead::Gone))
    }

    /// The file has ended: the stream goes on in the next one.
    fn go_to_next_file(&mut self) -> Result<(), Error> {
        let files = self.log.files()?;
        let base = self.file.as_ref().map_or(0, |(_, base)| *base);
        let next = files.iter().find(|file| file.base > base && file.base >= self.place.position);
        let next = match next {
            Some(next) => self.log.open(next)?.map(|opened| (next, opened)),
            None => None,
        };
        let Some((next, (open, header))) = next else {
            let offset = self.place.position - base + HEADER_SIZE;
            let what = "the file ends before the log does";
            return Err(self.log.damaged(&self.log.path(base), offset, what));
        };
        if header.begin.sequence != self.place.sequence {
            return Err(self.out_of_order(&next.path));
        }
        self.place = header.begin;
        (self.file, self.chunk_size) = (Some((open, next.base)), 0);
        Ok(())
    }

    fn out_of_order(&self, path: &Path) -> Error {
        self.log.damaged(path, 0, "its first message is not the one that follows the file before")
    }
}

/// The bytes of words, which are little-endian as all of the stream.
fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    let size = size_of_val(words);
    // SAFETY: any bytes are words, any words bytes, and those of a slice lie side by side.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size) }
}

fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
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
