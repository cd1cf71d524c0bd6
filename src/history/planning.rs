//! What a repair is about to cut off, for who is to be asked before.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::checkpoint::faults_in;
use super::log::{HEADER_SIZE, LogRead, LogReader};
use crate::error::Error;
use crate::ring::Place;

/// What [`Archive::repair`] would cut off of a file.
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-planned-cut");
/// # let directory = std::env::temp_dir().join("ringway-doc-planned-cut");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-planned-cut", &options)?;
/// for payload in ["first", "second", "third"] {
///     queue.producer()?.send_durable(payload.as_bytes())?;
/// }
/// Queue::remove("doc-planned-cut")?;
/// let archive = Archive::open(&directory)?;
/// let path = archive.files()?[0].path.clone();
/// // A bit of the second message flips:
/// let mut bytes = std::fs::read(&path).unwrap();
/// bytes[4096 + 32 + 24] ^= 1;
/// std::fs::write(&path, bytes).unwrap();
/// let cut = &archive.planned_cuts()?[0];
/// assert_eq!((&cut.path, cut.offset, cut.size), (&path, 4096 + 32, 2 * 32));
/// // The third one, which is whole:
/// assert_eq!((cut.messages, cut.first_sequence, cut.next_sequence), (1, 2, 3));
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedCut {
    /// The file.
    pub path: PathBuf,
    /// Where the cut would be, in bytes from the file's start; 0 if all of it is to be put aside.
    pub offset: u64,
    /// How many bytes would go.
    pub size: u64,
    /// How many whole messages are among them, behind what is damaged.
    pub messages: u64,
    /// The first one's sequence, from which [`Archive::messages`] reads them; 0 if there is none.
    pub first_sequence: u64,
    /// One more than the last one's; 0 if there is none.
    pub next_sequence: u64,
}

impl Archive {
    /// What [`repair`](Self::repair) would cut off, if anything: of files that are damaged or torn.
    ///
    /// # Errors
    /// [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-planned-cuts");
    /// # let directory = std::env::temp_dir().join("ringway-doc-planned-cuts");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-planned-cuts", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// assert!(Archive::open(&directory)?.planned_cuts()?.is_empty());
    /// # Queue::force_remove("doc-planned-cuts")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn planned_cuts(&self) -> Result<Vec<PlannedCut>, Error> {
        let put_aside =
            faults_in(&self.directory, &self.log)?.into_iter().map(|(path, _)| (path, 0));
        let faults: Vec<_> = self.faults()?;
        let cuts = faults.into_iter().chain(put_aside).map(|(path, offset)| {
            let (messages, sequences) = self.messages_behind(&path, offset)?;
            let (first_sequence, next_sequence) = (sequences.start, sequences.end);
            let size = fs::metadata(&path).map_or(0, |facts| facts.len()).saturating_sub(offset);
            Ok(PlannedCut { path, offset, size, messages, first_sequence, next_sequence })
        });
        cuts.collect()
    }

    /// How many whole messages a file has behind an offset where none is, and from which sequence to
    /// before which one they are.
    fn messages_behind(&self, path: &Path, offset: u64) -> Result<(u64, Range<u64>), Error> {
        let files = self.log.files()?;
        let file = files.into_iter().find(|file| file.path == path);
        // What is wrong with a file as a whole leaves nothing in it that can be told.
        let Some(Ok(Some((open, header)))) = file.map(|file| self.log.open(&file)) else {
            return Ok((0, 0..0));
        };
        let Place { position: base, sequence } = header.begin;
        let size = open.metadata().map_or(0, |facts| facts.len());
        let [position, end] = [offset, size].map(|at| base + at.saturating_sub(HEADER_SIZE));
        let mut reader = LogReader::new(self.log.clone(), Place { position, sequence });
        let (mut count, mut sequences) = (0, 0..0);
        loop {
            match reader.next(end) {
                Ok(LogRead::Message(_)) => {
                    let next = reader.place().sequence;
                    let first = if count == 0 { next - 1 } else { sequences.start };
                    (count, sequences) = (count + 1, first..next);
                }
                Err(Error::LogDamaged { .. }) if reader.resume(u64::MAX)? => {}
                Err(error @ Error::File { .. }) => return Err(error),
                _ => return Ok((count, sequences)),
            }
        }
    }
}
