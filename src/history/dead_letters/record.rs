//! Records of a file of dead letters: how one is written, and how they are found again.
//!
//! ```text
//!  0  magic, 8 bytes                       40  time, ns since 1970
//!  8  length of the record, u32            48  the segment's instance, 16 bytes
//! 12  CRC-32C of what follows, u32         64  payload length, u32
//! 16  kind, u16: 1 letter, 2 dropped       68  length of the queue's name, u16
//! 18  reason, u16                          70  length of the subscription's name, u16
//! 20  deliveries, u32                      72  mask, 4 bytes
//! 24  sequence; of a drop, where the       76  flags, u32: 1 it has a key
//!     letter lies                          80  the two names, the payload: masked
//! 32  key hash                             (all little-endian)
//! ```
//!
//! The names and the payload are combined with the mask, by exclusive or, again and again from
//! their first byte on. The mask is chosen so that no magic stands in the result; most of the
//! time it is 0. So what looks like the beginning of a record is one, also where the record
//! around it is damaged: no payload can pass for a letter.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::{DeadLetterFile, Letter, fields};
use crate::sys::process;

pub(super) const MAGIC: [u8; 8] = *b"RWLETTER";
pub(super) const HEADER_SIZE: usize = 80;
const CHECKED_FROM: usize = 16;
const HAS_KEY: u32 = 1;
/// No record is longer: the largest message, the names, the header.
const RECORD_SIZE_MAX: usize = (256 << 20) + 4096;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Letter,
    /// A letter was dealt with.
    Dropped,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::Letter => 1,
            Self::Dropped => 2,
        }
    }
}

/// The bytes of a record.
pub(super) fn encode(file: &DeadLetterFile, kind: Kind, letter: &Letter<'_>) -> Vec<u8> {
    let (queue, subscription) = (file.queue.as_bytes(), file.subscription.as_bytes());
    let length = HEADER_SIZE + queue.len() + subscription.len() + letter.payload.len();
    let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
    let long = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let flags = if letter.key_hash.is_some() { HAS_KEY } else { 0 };
    let mut record = Vec::with_capacity(length);
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&long(length));
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&kind.code().to_le_bytes());
    record.extend_from_slice(&letter.reason.code().to_le_bytes());
    record.extend_from_slice(&letter.deliveries.to_le_bytes());
    record.extend_from_slice(&letter.sequence.to_le_bytes());
    record.extend_from_slice(&letter.key_hash.unwrap_or(0).to_le_bytes());
    record.extend_from_slice(&process::now_for_display().to_le_bytes());
    record.extend_from_slice(&file.instance);
    record.extend_from_slice(&long(letter.payload.len()));
    record.extend_from_slice(&short(queue.len()));
    record.extend_from_slice(&short(subscription.len()));
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&flags.to_le_bytes());
    record.extend_from_slice(queue);
    record.extend_from_slice(subscription);
    record.extend_from_slice(letter.payload);
    let mask = mask_for(&record[HEADER_SIZE..]);
    record[72..76].copy_from_slice(&mask);
    apply(mask, &mut record[HEADER_SIZE..]);
    let check = crc32c::crc32c(&record[CHECKED_FROM..]);
    record[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&check.to_le_bytes());
    record
}

/// The lowest mask that leaves no magic in these bytes.
fn mask_for(bytes: &[u8]) -> [u8; 4] {
    let [first, second] = [0, 4].map(|offset| fields::u32_at(&MAGIC, offset));
    // Each place can be made a magic by one mask at most, so that these are not all.
    let making_magic: HashSet<u32> = (0..)
        .zip(bytes.windows(MAGIC.len()))
        .filter_map(|(place, bytes)| {
            let mask = fields::u32_at(bytes, 0) ^ first;
            (mask == fields::u32_at(bytes, 4) ^ second).then(|| mask.rotate_left(place % 4 * 8))
        })
        .collect();
    (0..=u32::MAX).find(|mask| !making_magic.contains(mask)).unwrap_or(0).to_le_bytes()
}

fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    if mask != [0; 4] {
        bytes.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// What a record begins with that was found to be whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Where it begins in the file.
    pub(super) position: u64,
    /// `None` for one that only later versions know.
    pub(super) kind: Option<Kind>,
    pub(super) sequence: u64,
    pub(super) instance: [u8; 16],
}

impl Head {
    /// `None` unless the bytes are one whole record, all of it.
    pub(super) fn parse(position: u64, bytes: &[u8]) -> Option<Self> {
        let header = Header(bytes.first_chunk()?);
        if crc32c::crc32c(&bytes[CHECKED_FROM..]) != header.u32_at(12) {
            return None;
        }
        let mut instance = [0; 16];
        instance.copy_from_slice(&header.0[48..64]);
        let kinds = [Kind::Letter, Kind::Dropped];
        let kind = kinds.into_iter().find(|kind| kind.code() == header.u16_at(16));
        Some(Self { position, kind, sequence: header.u64_at(24), instance })
    }

    /// Where the letter lies that this one drops. What comes after a drop was not meant by it.
    pub(super) fn drops(&self) -> Option<u64> {
        let is_drop = self.kind == Some(Kind::Dropped) && self.sequence < self.position;
        is_drop.then_some(self.sequence)
    }
}

/// One record, found to be whole.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) head: Head,
    pub(super) reason: u16,
    pub(super) deliveries: u32,
    pub(super) key_hash: Option<u64>,
    pub(super) time: u64,
    pub(super) queue: String,
    pub(super) subscription: String,
    pub(super) payload: Vec<u8>,
}

impl Record {
    /// `None` unless the bytes are one whole record, all of it.
    pub(super) fn parse(position: u64, bytes: &[u8]) -> Option<Self> {
        let head = Head::parse(position, bytes)?;
        let header = Header(bytes.first_chunk()?);
        let mut rest = bytes[HEADER_SIZE..].to_vec();
        apply(header.u32_at(72).to_le_bytes(), &mut rest);
        let (queue_length, subscription_length) = header.name_lengths();
        let (queue, names_rest) = rest.split_at_checked(queue_length)?;
        let (subscription, _) = names_rest.split_at_checked(subscription_length)?;
        let text = |name| String::from_utf8_lossy(name).into_owned();
        let (queue, subscription) = (text(queue), text(subscription));
        rest.drain(..queue_length + subscription_length);
        Some(Self {
            head,
            reason: header.u16_at(18),
            deliveries: header.u32_at(20),
            key_hash: (header.u32_at(76) & HAS_KEY != 0).then(|| header.u64_at(32)),
            time: header.u64_at(40),
            queue,
            subscription,
            payload: rest,
        })
    }
}

struct Header<'a>(&'a [u8; HEADER_SIZE]);

impl Header<'_> {
    fn u16_at(&self, offset: usize) -> u16 {
        fields::u16_at(self.0, offset)
    }

    fn u32_at(&self, offset: usize) -> u32 {
        fields::u32_at(self.0, offset)
    }

    fn u64_at(&self, offset: usize) -> u64 {
        fields::u64_at(self.0, offset)
    }

    fn name_lengths(&self) -> (usize, usize) {
        (self.u16_at(68).into(), self.u16_at(70).into())
    }

    /// The length of the record that this is the header of, if it is one: then all of its lengths
    /// go together, so that a damaged one does not make anybody read on for long.
    fn length(&self) -> Option<usize> {
        let (queue, subscription) = self.name_lengths();
        let length = self.u32_at(8) as usize;
        let sum = HEADER_SIZE + queue + subscription + self.u32_at(64) as usize;
        (self.0.starts_with(&MAGIC) && length == sum && length <= RECORD_SIZE_MAX).then_some(length)
    }
}

/// Finds the whole records of a file, one after the other.
#[derive(Debug)]
pub(super) struct Records<F = File> {
    file: F,
    /// What was read from the file, how much of it was used, and where the rest begins.
    read: Vec<u8>,
    used: usize,
    position: u64,
    passed_over: u64,
}

impl Records {
    /// The same from the file's beginning on.
    pub(super) fn rewound(mut self) -> io::Result<Self> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Self::new(self.file, 0))
    }
}

impl<F: Read> Records<F> {
    /// From where the file is, which is that position.
    pub(super) fn new(file: F, position: u64) -> Self {
        Self { file, read: Vec::new(), used: 0, position, passed_over: 0 }
    }

    /// Where the last record found ends, and what was passed over behind it.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes before the last record found that are no whole record.
    pub(super) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The next record that is whole, wherever it begins, as far as `parse` is to tell.
    pub(super) fn next<T>(&mut self, parse: fn(u64, &[u8]) -> Option<T>) -> io::Result<Option<T>> {
        loop {
            if let Some(record) = self.next_here(parse)? {
                return Ok(Some(record));
            }
            let rest = self.rest();
            if rest.len() < HEADER_SIZE {
                self.pass_over(rest.len());
                return Ok(None);
            }
            // To the next place where one may begin.
            let found = rest[1..].windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            let none = rest.len() - (MAGIC.len() - 1);
            self.pass_over(found.map_or(none, |distance| 1 + distance));
        }
    }

    /// The record that begins right here, if one does.
    pub(super) fn next_here<T>(
        &mut self,
        parse: fn(u64, &[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        if !self.fill(HEADER_SIZE)? {
            return Ok(None);
        }
        let length = self.rest().first_chunk().and_then(|header| Header(header).length());
        let Some(length) = length else { return Ok(None) };
        if !self.fill(length)? {
            return Ok(None);
        }
        let record = parse(self.position, &self.rest()[..length]);
        if record.is_some() {
            self.use_up(length);
        }
        Ok(record)
    }

    fn rest(&self) -> &[u8] {
        &self.read[self.used..]
    }

    /// Reads on until so much is there; `false` at the end of the file.
    fn fill(&mut self, size: usize) -> io::Result<bool> {
        const STEP: usize = 64 << 10;
        if self.rest().len() < size {
            self.read.drain(..self.used);
            self.used = 0;
            let more = STEP.max(size - self.read.len());
            self.file.by_ref().take(more as u64).read_to_end(&mut self.read)?;
        }
        Ok(self.rest().len() >= size)
    }

    fn use_up(&mut self, count: usize) {
        self.used += count;
        self.position += count as u64;
    }

    fn pass_over(&mut self, count: usize) {
        self.use_up(count);
        self.passed_over += count as u64;
    }
}
