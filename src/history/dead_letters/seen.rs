//! Which letters there are, for whoever drops some, or finds a message that somebody died with.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use super::file::FileId;
use super::record::{At, Kind, Records, Summary};

/// Not more than this is left in a file of what nobody needs, unless it is less than half of it.
const SPENT_MAX: u64 = 64 << 10;

/// What a process knows of a file of letters: it looks at each record once.
#[derive(Debug, Default)]
pub(super) struct Seen {
    file: FileId,
    /// Where the last record ends that was looked at.
    end: u64,
    /// The letters that were not dropped, by their ids.
    letters: HashMap<u64, Facts>,
    /// How many of those the queue's messages have, by the messages' sequences.
    of_messages: HashMap<u64, u32>,
    /// Bytes of letters that were dropped, and of the records that say so.
    spent: u64,
    /// The messages whose letters this process could not write. What stands in the file of them may
    /// be in the system's memory alone, also when a later sync succeeds.
    failed: HashSet<u64>,
}

#[derive(Debug)]
struct Facts {
    position: u64,
    length: u64,
    /// Of the queue's message; a letter of an earlier queue has none.
    sequence: Option<u64>,
}

impl Seen {
    /// How an attempt to write a letter ended.
    pub(super) fn note(&mut self, sequence: u64, is_written: bool) {
        if is_written {
            self.failed.remove(&sequence);
        } else {
            self.failed.insert(sequence);
        }
    }

    /// The file is gone, or is another one.
    pub(super) fn forget(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        *self = Self { failed, ..Self::default() };
    }

    /// Looks at what the file has had since, up to a position, for the letters of a queue's instance.
    pub(super) fn read_on(&mut self, file: &File, instance: [u8; 16], size: u64) -> io::Result<()> {
        let id = FileId::of(file)?;
        if id != self.file || size < self.end {
            self.forget();
            self.file = id;
        }
        let begin = At { file, position: self.end };
        let mut records = Records::new(begin.take(size - self.end), self.end);
        while let Some(summary) = records.next(Summary::parse)? {
            self.end = records.position();
            match summary.kind {
                Some(Kind::Letter) => self.enter(&summary, instance),
                Some(Kind::Dropped) => {
                    self.spent += summary.length;
                    if let Some(id) = summary.drops() {
                        self.strike(id);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, summary: &Summary, instance: [u8; 16]) {
        let sequence = (summary.instance == instance).then_some(summary.sequence);
        if let Some(sequence) = sequence {
            *self.of_messages.entry(sequence).or_default() += 1;
        }
        let Summary { position, length, .. } = *summary;
        self.letters.insert(summary.id(), Facts { position, length, sequence });
    }

    fn strike(&mut self, id: u64) {
        let Some(Facts { length, sequence, .. }) = self.letters.remove(&id) else { return };
        self.spent += length;
        let count = sequence.and_then(|sequence| self.of_messages.get_mut(&sequence));
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether there is such a letter, as far as the file was read.
    pub(super) fn has_letter(&self, id: u64) -> bool {
        self.letters.contains_key(&id)
    }

    /// Where a letter of a message lies that was not dropped, as far as the file was read.
    pub(super) fn place_of(&self, sequence: u64) -> Option<Range<u64>> {
        let count = self.of_messages.get(&sequence);
        if count.is_none_or(|&count| count == 0) || self.failed.contains(&sequence) {
            return None;
        }
        let mut letters = self.letters.values();
        let letter = letters.find(|letter| letter.sequence == Some(sequence))?;
        Some(letter.position..letter.position + letter.length)
    }

    /// Whether it pays to write the file, which is so long, anew without what was dropped.
    pub(super) fn is_worth_rewriting(&self, size: u64) -> bool {
        let is_half = self.spent > SPENT_MAX && self.spent > size / 2;
        is_half || self.letters.is_empty() && self.spent > 0
    }
}
