//! Which messages have a letter already, for whoever finds a message that somebody died with.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use super::record::{Head, Kind, Records};

/// What a process knows of a file of letters: it looks at each record once.
#[derive(Debug, Default)]
pub(super) struct Seen {
    inode: (u64, u64),
    /// Where the last record ends that was looked at.
    end: u64,
    /// Where the letters begin that a queue's messages have, by the messages' sequences.
    letters: HashMap<u64, Vec<u64>>,
    dropped: HashSet<u64>,
    /// The messages whose letters this process could not write. What stands in the file of them may
    /// be in the system's memory alone, also when a later sync succeeds.
    failed: HashSet<u64>,
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

    /// Looks at what the file has had since, for the letters of a queue's instance.
    pub(super) fn read_on(&mut self, mut file: &File, instance: [u8; 16]) -> io::Result<()> {
        let facts = file.metadata()?;
        let inode = (facts.dev(), facts.ino());
        if inode != self.inode || facts.len() < self.end {
            self.forget();
            self.inode = inode;
        }
        file.seek(SeekFrom::Start(self.end))?;
        let mut records = Records::new(file, self.end);
        while let Some(head) = records.next(Head::parse)? {
            self.end = records.position();
            self.dropped.extend(head.drops());
            if head.kind == Some(Kind::Letter) && head.instance == instance {
                self.letters.entry(head.sequence).or_default().push(head.position);
            }
        }
        Ok(())
    }

    /// Whether a message has a letter that was not dropped, as far as the file was read.
    pub(super) fn has(&self, sequence: u64) -> bool {
        let letters = self.letters.get(&sequence).filter(|_| !self.failed.contains(&sequence));
        letters.is_some_and(|all| all.iter().any(|letter| !self.dropped.contains(letter)))
    }
}
