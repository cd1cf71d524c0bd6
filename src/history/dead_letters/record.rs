//! Records of a file of dead letters: how one is written, and how they are found again.
//!
//! ```text
//!  0  magic, 8 bytes                       40  time, ns since 1970
//!  8  length of the record, u32            48  the segment's instance, 16 bytes
//! 12  CRC-32C of what follows, u32         64  payload length, u32
//! 16  kind, u16: 1 letter, 2 dropped,      68  length of the queue's name, u16
//!     3 beginning                          70  length of the subscription's name, u16
//! 18  reason, u16                          72  mask, 4 bytes
//! 20  deliveries, u32                      76  flags, u32: 1 it has a key, 2 a shift
//! 24  sequence; of a drop, the             80  the shift, u64, if it has one; the two
//!     letter's id                              names, the payload: masked
//! 32  key hash                             (all little-endian)
//! ```
//!
//! What is masked is combined with the mask, by exclusive or, again and again from its first byte
//! on. The mask is chosen so that no magic stands in the result; most of the time it is 0. So what
//! looks like the beginning of a record is one, also where the record around it is damaged: no
//! payload can pass for a letter.
//!
//! A record's id is where it lies, plus its shift, if it has one. So an id stays when the record
//! comes to lie elsewhere, in a file that was [rewritten](super::rewriting), and depends on nothing
//! but the record. Such a file has a beginning, whose shift is that of all that is appended.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::{DeadLetters, Letter, fields};
use crate::sys::process;

pub(super) const MAGIC: [u8; 8] = *b"RWLETTER";
pub(super) const HEADER_SIZE: usize = 80;
const CHECKED_FROM: usize = 16;
const HAS_KEY: u32 = 1;
const HAS_SHIFT: u32 = 2;
const SHIFT_SIZE: usize = 8;
/// How long the beginning of a file is that was rewritten.
pub(super) const BEGINNING_SIZE: usize = HEADER_SIZE + SHIFT_SIZE;
/// No record is longer: the largest message, the names, the header.
const RECORD_SIZE_MAX: usize = (256 << 20) + 4096;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Letter,
    /// A letter was dealt with.
    Dropped,
    /// The file was rewritten.
    Beginning,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::Letter => 1,
            Self::Dropped => 2,
            Self::Beginning => 3,
        }
    }
}

/// The bytes of a record to be appended where the shift is this one.
pub(super) fn encode(
    letters: &DeadLetters,
    kind: Kind,
    letter: &Letter<'_>,
    shift: u64,
) -> Vec<u8> {
    let (queue, subscription) = (letters.queue.as_bytes(), letters.subscription.as_bytes());
    let length = BEGINNING_SIZE + queue.len() + subscription.len() + letter.payload.len();
    let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
    let mut flags = if letter.key_hash.is_some() { HAS_KEY } else { 0 };
    if shift != 0 {
        flags |= HAS_SHIFT;
    }
    let mut record = Vec::with_capacity(length);
    record.extend_from_slice(&MAGIC);
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&kind.code().to_le_bytes());
    record.extend_from_slice(&letter.reason.code().to_le_bytes());
    record.extend_from_slice(&letter.deliveries.to_le_bytes());
    record.extend_from_slice(&letter.sequence.to_le_bytes());
    record.extend_from_slice(&letter.key_hash.unwrap_or(0).to_le_bytes());
    record.extend_from_slice(&process::time_of_day().to_le_bytes());
    record.extend_from_slice(&letters.instance);
    record.extend_from_slice(&long(letter.payload.len()));
    record.extend_from_slice(&short(queue.len()));
    record.extend_from_slice(&short(subscription.len()));
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&flags.to_le_bytes());
    if shift != 0 {
        record.extend_from_slice(&shift.to_le_bytes());
    }
    record.extend_from_slice(queue);
    record.extend_from_slice(subscription);
    record.extend_from_slice(letter.payload);
    sealed(record)
}

/// The beginning of a file that was rewritten.
pub(super) fn beginning(shift: u64) -> Vec<u8> {
    let mut header = [0; HEADER_SIZE];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    fields::put(&mut header, 16, &Kind::Beginning.code().to_le_bytes());
    fields::put(&mut header, 40, &process::time_of_day().to_le_bytes());
    with_shift(header, &[], shift)
}

/// A record with another shift.
fn with_shift(mut header: [u8; HEADER_SIZE], rest: &[u8], shift: u64) -> Vec<u8> {
    let flags = Header(&header).u32_at(76) | HAS_SHIFT;
    fields::put(&mut header, 76, &flags.to_le_bytes());
    sealed([&header[..], &shift.to_le_bytes(), rest].concat())
}

/// Gives a record what depends on all of it: length, mask and checksum.
fn sealed(mut record: Vec<u8>) -> Vec<u8> {
    let length = long(record.len());
    fields::put(&mut record, 8, &length);
    let mask = mask_for(&record[HEADER_SIZE..]);
    fields::put(&mut record, 72, &mask);
    apply(mask, &mut record[HEADER_SIZE..]);
    let check = crc32c::crc32c(&record[CHECKED_FROM..]);
    fields::put(&mut record, CHECKED_FROM - 4, &check.to_le_bytes());
    record
}

fn long(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
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
pub(super) struct Summary {
    /// Where it begins in the file.
    pub(super) position: u64,
    pub(super) length: u64,
    shift: u64,
    /// `None` for one that only later versions know.
    pub(super) kind: Option<Kind>,
    pub(super) sequence: u64,
    pub(super) instance: [u8; 16],
}

impl Summary {
    /// `None` unless the bytes are one whole record, all of it.
    pub(super) fn parse(position: u64, bytes: &[u8]) -> Option<Self> {
        let header = Header(bytes.first_chunk()?);
        if crc32c::crc32c(&bytes[CHECKED_FROM..]) != header.u32_at(12) {
            return None;
        }
        let mut instance = [0; 16];
        instance.copy_from_slice(&header.0[48..64]);
        let mut shift = [0; SHIFT_SIZE];
        if header.shift_size() > 0 {
            shift = *bytes[HEADER_SIZE..].first_chunk()?;
            apply(header.mask(), &mut shift);
        }
        let kinds = [Kind::Letter, Kind::Dropped, Kind::Beginning];
        Some(Self {
            position,
            length: bytes.len() as u64,
            shift: u64::from_le_bytes(shift),
            kind: kinds.into_iter().find(|kind| kind.code() == header.u16_at(16)),
            sequence: header.u64_at(24),
            instance,
        })
    }

    /// What no other record has: of a file that is damage, or somebody's making, any number.
    pub(super) fn id(&self) -> u64 {
        self.position.wrapping_add(self.shift)
    }

    /// The letter that this one drops. What comes after a drop was not meant by it.
    pub(super) fn drops(&self) -> Option<u64> {
        let is_drop = self.kind == Some(Kind::Dropped) && self.sequence < self.id();
        is_drop.then_some(self.sequence)
    }
}

/// The shift of what is appended to a file. It does not change.
pub(super) fn shift_of(file: &File) -> io::Result<u64> {
    let begin = beginning_of(file, BEGINNING_SIZE)?;
    let first = Records::new(&begin[..], 0).next_here(Summary::parse)?;
    if let Some(summary) = first.filter(|summary| summary.kind == Some(Kind::Beginning)) {
        return Ok(summary.shift);
    }
    let header = begin.first_chunk().map(Header);
    // A damaged one may say that it has none; but then its lengths do not go together.
    if header.is_none_or(|header| header.length().is_some() && header.shift_size() == 0) {
        return Ok(0);
    }
    // The beginning is damaged, or there is none. No shift is larger than that of what was appended.
    let mut largest = 0;
    let mut records = Records::new(At { file, position: 0 }, 0);
    while let Some(summary) = records.next(Summary::parse)? {
        largest = largest.max(summary.shift.cast_signed());
    }
    Ok(largest.cast_unsigned())
}

/// Which letters were dropped, by what the file has before a position.
pub(super) fn dropped_before(file: &File, end: u64) -> io::Result<HashSet<u64>> {
    let mut dropped = HashSet::new();
    let mut records = Records::new(At { file, position: 0 }.take(end), 0);
    while let Some(summary) = records.next(Summary::parse)? {
        dropped.extend(summary.drops());
    }
    Ok(dropped)
}

/// The first bytes of a file, so many if it has them.
pub(super) fn beginning_of(file: &File, size: usize) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    At { file, position: 0 }.take(size as u64).read_to_end(&mut begin)?;
    Ok(begin)
}

/// The bytes of the record that was found at a place, if it is whole still.
pub(super) fn bytes_at(file: &File, place: Range<u64>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let begin = At { file, position: place.start };
    begin.take(place.end - place.start).read_to_end(&mut bytes)?;
    let found = Records::new(&bytes[..], place.start).next_here(Summary::parse)?;
    Ok(found.map(|_| bytes))
}

/// A file as it is from a position on. Others read it elsewhere at the same time.
#[derive(Debug)]
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A record with all its bytes, to be written elsewhere.
pub(super) struct Whole {
    pub(super) summary: Summary,
    header: [u8; HEADER_SIZE],
    rest: Vec<u8>,
}

impl Whole {
    /// `None` unless the bytes are one whole record, all of it.
    pub(super) fn parse(position: u64, bytes: &[u8]) -> Option<Self> {
        let summary = Summary::parse(position, bytes)?;
        let header = *bytes.first_chunk()?;
        let rest = Header(&header).plain_rest(bytes);
        Some(Self { summary, header, rest })
    }

    /// Its bytes where it lies at another position. Its id stays.
    pub(super) fn moved_to(self, position: u64) -> Vec<u8> {
        with_shift(self.header, &self.rest, self.summary.id().wrapping_sub(position))
    }
}

/// One record, found to be whole.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) summary: Summary,
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
        let summary = Summary::parse(position, bytes)?;
        let header = Header(bytes.first_chunk()?);
        let mut rest = header.plain_rest(bytes);
        let (queue_length, subscription_length) = header.name_lengths();
        let (queue, names_rest) = rest.split_at_checked(queue_length)?;
        let (subscription, _) = names_rest.split_at_checked(subscription_length)?;
        let text = |name| String::from_utf8_lossy(name).into_owned();
        let (queue, subscription) = (text(queue), text(subscription));
        rest.drain(..queue_length + subscription_length);
        Some(Self {
            summary,
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

    fn is_marked(&self) -> bool {
        self.0.starts_with(&MAGIC)
    }

    fn mask(&self) -> [u8; 4] {
        self.u32_at(72).to_le_bytes()
    }

    fn shift_size(&self) -> usize {
        if self.u32_at(76) & HAS_SHIFT != 0 { SHIFT_SIZE } else { 0 }
    }

    /// What comes behind the header and the shift in the bytes of its record, without the mask.
    fn plain_rest(&self, bytes: &[u8]) -> Vec<u8> {
        let mut rest = bytes[HEADER_SIZE..].to_vec();
        apply(self.mask(), &mut rest);
        rest.drain(..self.shift_size().min(rest.len()));
        rest
    }

    /// The length of the record that this is the header of, if it is one: then all of its lengths
    /// go together, so that a damaged one does not make anybody read on for long.
    fn length(&self) -> Option<usize> {
        let (queue, subscription) = self.name_lengths();
        let length = self.u32_at(8) as usize;
        let names = queue + subscription;
        let sum = HEADER_SIZE + self.shift_size() + names + self.u32_at(64) as usize;
        (self.is_marked() && length == sum && length <= RECORD_SIZE_MAX).then_some(length)
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
            let found = find_magic(&rest[1..]);
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
        if !self.fill_without_magic(length)? {
            return Ok(None);
        }
        let record = parse(self.position, &self.rest()[..length]);
        if record.is_some() {
            self.use_up(length);
        }
        Ok(record)
    }

    /// Reads on until so much of a record is there; `false` if the file ends before, or another record
    /// begins. So bytes are looked at a few times at most, also if each header promises all the rest.
    fn fill_without_magic(&mut self, length: usize) -> io::Result<bool> {
        let mut searched = HEADER_SIZE;
        loop {
            // Twice as much each time: what is there is moved each time.
            if !self.fill(length.min(self.rest().len().max(2 * searched)))? {
                return Ok(false);
            }
            let there = self.rest().len().min(length);
            if find_magic(&self.rest()[searched..there]).is_some() {
                return Ok(false);
            }
            if there == length {
                return Ok(true);
            }
            searched = there - (MAGIC.len() - 1);
        }
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

fn find_magic(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes.get(at..at + MAGIC.len()) {
        if found == MAGIC {
            return Some(at);
        }
        // None reaches beyond a byte that it does not have.
        at += if MAGIC.contains(&found[MAGIC.len() - 1]) { 1 } else { MAGIC.len() };
    }
    None
}
