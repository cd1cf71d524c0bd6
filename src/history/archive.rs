//! A journal without its queue: reading, checking and mending what lies on disk.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::checkpoint::{faults_in, put_aside};
use super::directory::{
    DirectoryLock, check_instance, check_instance_in, is_same_directory, journal_in, lock, owner,
    pruned_until,
};
use super::log::{HEADER_SIZE, Log, LogCut, LogFile, LogRead, LogReader, Torn};
use super::removal::remove_all;
use crate::error::Error;
use crate::layout::{COUNT_MAX, time};
use crate::ring::Place;
use crate::segment::{Access, Owner, Segment};

/// The journal of a history directory, as it lies on disk: to be read without the queue, checked,
/// mended and shortened. The queue may be in use meanwhile, unless something is to be changed.
///
/// ```
/// use ringway::{Archive, Journal, Queue, QueueOptions};
///
/// # let _ = Queue::force_remove("doc-archive");
/// # let directory = std::env::temp_dir().join("ringway-doc-archive");
/// # let _ = std::fs::remove_dir_all(&directory);
/// let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
/// let queue = Queue::create("doc-archive", &options)?;
/// queue.producer()?.send_durable(b"to be kept")?;
/// Queue::remove("doc-archive")?;
///
/// let archive = Archive::open(&directory)?;
/// assert_eq!(archive.queue_name(), "doc-archive");
/// let message = archive.messages(0)?.next().unwrap()?;
/// assert_eq!((message.sequence, message.payload.as_slice()), (0, &b"to be kept"[..]));
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Archive {
    pub(super) directory: PathBuf,
    pub(super) log: Log,
}

/// One file of an [`Archive`].
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-archive-file");
/// # let directory = std::env::temp_dir().join("ringway-doc-archive-file");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-archive-file", &options)?;
/// queue.producer()?.send_durable(b"to be kept")?;
/// let files = Archive::open(&directory)?.files()?;
/// assert_eq!((files.len(), files[0].first_sequence), (1, 0));
/// # Queue::force_remove("doc-archive-file")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The position of its first byte in the stream.
    pub position: u64,
    /// The sequence of its first message.
    pub first_sequence: u64,
    /// Bytes.
    pub size: u64,
    /// When it was begun.
    pub begun_at: SystemTime,
}

/// A message of an [`Archive`].
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-archived-message");
/// # let directory = std::env::temp_dir().join("ringway-doc-archived-message");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-archived-message", &options)?;
/// queue.producer()?.message().key_hash(7).send(b"to be kept")?;
/// queue.producer()?.send_durable(b"also")?;
/// let message = Archive::open(&directory)?.messages(0)?.next().unwrap()?;
/// assert_eq!((message.sequence, message.key_hash), (0, Some(7)));
/// assert_eq!(message.payload, b"to be kept");
/// assert!(message.time <= std::time::SystemTime::now());
/// # Queue::force_remove("doc-archived-message")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivedMessage {
    /// Its number in the queue.
    pub sequence: u64,
    /// When it was sent, by the clock of whoever sent it.
    pub time: SystemTime,
    /// The hash of its key, if it had one.
    pub key_hash: Option<u64>,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What [`Archive::verify`] found.
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-verified");
/// # let directory = std::env::temp_dir().join("ringway-doc-verified");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-verified", &options)?;
/// queue.producer()?.send_durable(b"to be kept")?;
/// let verified = Archive::open(&directory)?.verify()?;
/// assert_eq!((verified.messages, verified.next_sequence), (1, 1));
/// assert!(verified.is_whole());
/// # Queue::force_remove("doc-verified")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Verified {
    /// How many files there are.
    pub files: usize,
    /// Their bytes.
    pub size: u64,
    /// How many messages are whole, but for those that lie behind damage in the same file.
    pub messages: u64,
    /// The first one's sequence.
    pub first_sequence: u64,
    /// One more than the last one's.
    pub next_sequence: u64,
    /// Messages that are missing between others: their files are gone, or damaged.
    pub gaps: Vec<Range<u64>>,
    /// Bytes behind the last whole message that are part of one: an append that is not finished, or
    /// never was. Also whole messages, where a sector of what comes first behind the last synced one is
    /// zeros: that is what a loss of power leaves, and a flipped bit in such a message looks like it.
    pub torn_size: u64,
    /// What is wrong first, and where. What lies behind that in its file cannot be told; the files after
    /// it were looked at too.
    pub damage: Option<Error>,
    /// That files are not there which the queue has written, if that is there, and can be asked.
    pub absent: Option<Error>,
    /// What is wrong with files that say how far named subscriptions have come.
    pub checkpoint_faults: Vec<Error>,
}

impl Verified {
    /// Whether nothing is missing and nothing is wrong. A torn end is neither.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-is-whole");
    /// # let directory = std::env::temp_dir().join("ringway-doc-is-whole");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-is-whole", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// let mut verified = Archive::open(&directory)?.verify()?;
    /// assert!(verified.is_whole());
    /// verified.gaps.push(0..1);
    /// assert!(!verified.is_whole());
    /// # Queue::force_remove("doc-is-whole")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.gaps.is_empty()
            && self.damage.is_none()
            && self.absent.is_none()
            && self.checkpoint_faults.is_empty()
    }
}

/// What came of [`Archive::repair`].
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-repaired");
/// # let directory = std::env::temp_dir().join("ringway-doc-repaired");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-repaired", &options)?;
/// queue.producer()?.send_durable(b"to be kept")?;
/// Queue::remove("doc-repaired")?;
/// let repaired = Archive::open(&directory)?.repair()?;
/// assert!(repaired.cuts.is_empty()); // nothing was damaged
/// assert!(repaired.failure.is_none());
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Repaired {
    /// What was cut off, and where it is now; a file that was put aside as a whole is one from its
    /// first byte on.
    pub cuts: Vec<LogCut>,
    /// What has gone wrong behind those: what is not among them is as it was.
    pub failure: Option<Error>,
}

impl Archive {
    /// Opens the journal of a history directory.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::LogDamaged`] if it is no history directory.
    ///
    /// ```
    /// use ringway::{Archive, Error};
    ///
    /// assert!(matches!(Archive::open("/no/such/directory"), Err(Error::File { .. })));
    /// ```
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = directory.as_ref().to_path_buf();
        let (queue, id) = owner(&directory, "")?;
        // The capacity is each file's own.
        let log = journal_in(&directory, &queue, id, 1);
        Ok(Self { directory, log })
    }

    /// The queue that the directory belongs to.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-queue");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-queue");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-queue", &options)?;
    /// assert_eq!(Archive::open(&directory)?.queue_name(), "doc-archive-queue");
    /// # Queue::force_remove("doc-archive-queue")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn queue_name(&self) -> &str {
        &self.log.queue
    }

    /// The directory.
    ///
    /// ```
    /// # use ringway::{Archive, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-directory");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-directory");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// Queue::create("doc-archive-directory", &QueueOptions::new().history(&directory))?;
    /// assert_eq!(Archive::open(&directory)?.directory(), directory);
    /// # Queue::force_remove("doc-archive-directory")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory's id, which no other has.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-id");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-id");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-id", &options)?;
    /// let id = Archive::open(&directory)?.id();
    /// Queue::remove("doc-archive-id")?;
    /// Queue::create("doc-archive-id", &options)?; // another queue, the same history
    /// assert_eq!(Archive::open(&directory)?.id(), id);
    /// # Queue::force_remove("doc-archive-id")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.log.id
    }

    /// The files, in the order of the stream; not a last one that was just being made, in which nothing
    /// is.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::LogDamaged`], [`Error::ForeignHistory`].
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-files");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-files");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-files", &options)?;
    /// let archive = Archive::open(&directory)?;
    /// assert!(archive.files()?.is_empty());
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// let files = archive.files()?;
    /// assert_eq!((files.len(), files[0].position), (1, 0));
    /// # Queue::force_remove("doc-archive-files")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn files(&self) -> Result<Vec<ArchiveFile>, Error> {
        let mut files = Vec::new();
        let mut found = self.log.files()?.into_iter();
        while let Some(file) = found.next() {
            let is_last = found.len() == 0;
            let (open, header) = match self.log.open(&file) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) if is_last && file.just_begun(&error).is_some() => break,
                Err(error) => return Err(error),
            };
            let size = open.metadata().map_or(0, |facts| facts.len());
            files.push(ArchiveFile {
                path: file.path,
                position: file.base,
                first_sequence: header.begin.sequence,
                size,
                begun_at: time::moment(header.time),
            });
        }
        Ok(files)
    }

    /// The messages from a sequence on, or from the oldest there is.
    ///
    /// Messages that are missing between others, because a file is gone, are passed over without a
    /// word. Whoever has to know compares each [sequence](ArchivedMessage::sequence) with the one
    /// before: it is one more where nothing is missing. [`verify`](Self::verify) lists all
    /// [gaps](Verified::gaps).
    ///
    /// # Errors
    /// As [`files`](Self::files).
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-messages");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-messages");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-messages", &options)?;
    /// let mut producer = queue.producer()?;
    /// for number in 0..9_u8 {
    ///     producer.send(&[number])?;
    /// }
    /// producer.send_durable(&[9])?;
    /// for (message, number) in Archive::open(&directory)?.messages(6)?.zip(6..) {
    ///     assert_eq!(message?.payload, [number]);
    /// }
    /// # Queue::force_remove("doc-archive-messages")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn messages(&self, from: u64) -> Result<ArchivedMessages, Error> {
        let mut walk = Walk::new(self)?;
        walk.reader.go_to_file(|header| header.begin.sequence <= from)?;
        Ok(ArchivedMessages { walk, from, since: None, damage: None, is_over: false })
    }

    /// The messages from the first one on that was sent at a time or after it, by the clock of whoever
    /// sent it. What is missing between them is passed over as [`messages`](Self::messages) does.
    ///
    /// # Errors
    /// As [`files`](Self::files), of those that have to be looked at: the newest first.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// use std::time::SystemTime;
    /// # let _ = Queue::force_remove("doc-archive-since");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-since");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-since", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// let archive = Archive::open(&directory)?;
    /// assert_eq!(archive.messages_since(SystemTime::UNIX_EPOCH)?.count(), 1);
    /// # Queue::force_remove("doc-archive-since")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn messages_since(&self, time: SystemTime) -> Result<ArchivedMessages, Error> {
        let mut walk = Walk::new(self)?;
        // What was sent since lies in the last file that was begun before, or behind that.
        walk.reader.go_to_file(|header| time::moment(header.time) <= time)?;
        Ok(ArchivedMessages { walk, from: 0, since: Some(time), damage: None, is_over: false })
    }

    /// The sequence that comes next: one more than that of the last message. The last file alone is
    /// read for it.
    ///
    /// # Errors
    /// As [`files`](Self::files), of that file.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-next");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-next");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-next", &options)?;
    /// let sequence = queue.producer()?.send_durable(b"to be kept")?;
    /// assert_eq!(Archive::open(&directory)?.next_sequence()?, sequence + 1);
    /// # Queue::force_remove("doc-archive-next")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn next_sequence(&self) -> Result<u64, Error> {
        let mut walk = Walk::new(self)?;
        walk.reader.go_to_file(|_| true)?;
        loop {
            match walk.next() {
                Ok(LogRead::Message(_) | LogRead::Missed { .. }) => {}
                Ok(LogRead::End | LogRead::Gone) => return Ok(walk.reader.place().sequence),
                Err(error) => walk.resume(u64::MAX, error)?,
            }
        }
    }

    /// Reads everything, and tells what is there.
    ///
    /// # Errors
    /// [`Error::File`] if something cannot be read. What is wrong with what was read is in the
    /// result.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-verify");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-verify");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-verify", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// let archive = Archive::open(&directory)?;
    /// let verified = archive.verify()?;
    /// assert_eq!((verified.files, verified.messages, verified.torn_size), (1, 1, 0));
    /// assert!(verified.is_whole());
    /// # Queue::force_remove("doc-archive-verify")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn verify(&self) -> Result<Verified, Error> {
        let said = self.said_by_queue();
        let mut verified = Verified::default();
        let faults = self.count(&mut verified)?;
        verified.damage = faults.into_iter().next();
        // Of those that are there by now.
        let files = self.log.files()?;
        let size = files.iter().filter_map(|file| fs::metadata(&file.path).ok());
        verified.files = files.len();
        verified.size = size.map(|facts| facts.len()).fold(0, u64::saturating_add);
        verified.absent =
            said.filter(|said| self.lacks(said, &verified)).map(|_| self.log.absent());
        let faults = faults_in(&self.directory, &self.log)?;
        verified.checkpoint_faults = faults.into_iter().map(|(_, fault)| fault).collect();
        Ok(verified)
    }

    /// Counts what is whole, and returns what is not: the first fault of each file that has any.
    fn count(&self, verified: &mut Verified) -> Result<Vec<Error>, Error> {
        let mut walk = Walk::new(self)?;
        let mut faults = Vec::new();
        let (mut files, mut is_begun) = (self.log.files()?.into_iter(), false);
        while let Some(file) = files.next() {
            let fault = match walk.go_to(&file) {
                Ok(None) => continue,
                Ok(Some(begin)) => {
                    if !is_begun {
                        verified.first_sequence = begin.sequence;
                    } else if verified.next_sequence < begin.sequence {
                        walk.note_gap(verified.next_sequence..begin.sequence, verified)?;
                    }
                    is_begun = true;
                    verified.next_sequence = begin.sequence;
                    match walk.count(verified) {
                        Ok(()) => break,
                        Err(fault) => fault,
                    }
                }
                // Nothing is in it.
                Err(fault) if files.len() == 0 && file.just_begun(&fault).is_some() => {
                    break;
                }
                Err(fault) => fault,
            };
            let Some((path, _)) = place_of(&fault) else { return Err(fault) };
            // What lies behind that in its file cannot be told; in the next ones it can.
            if path != file.path {
                files.find(|file| file.path == path);
            }
            faults.push(fault);
        }
        // Nobody comes to what stands behind its end.
        if let Err(fault) = self.log.check_last_size() {
            let Some((path, _)) = place_of(&fault) else { return Err(fault) };
            if faults.last().and_then(place_of).is_none_or(|(last, _)| last != path) {
                faults.push(fault);
            }
        }
        let begun = self.just_begun()?.map_or(0, |begun| begun.size);
        verified.torn_size = walk.torn_size.max(begun);
        Ok(faults)
    }

    /// A last file that was just being made, if there is one: nothing is in it.
    pub(super) fn just_begun(&self) -> Result<Option<Torn>, Error> {
        let Some(last) = self.log.files()?.pop() else { return Ok(None) };
        Ok(self.log.open(&last).err().and_then(|error| last.just_begun(&error)))
    }

    /// The position where the last file ends.
    fn end(&self) -> Result<u64, Error> {
        let files = self.log.files()?;
        let Some(last) = files.last() else { return Ok(0) };
        let size = fs::metadata(&last.path).map_or(0, |facts| facts.len());
        let end = last.base + size.saturating_sub(HEADER_SIZE);
        Ok(end.min(COUNT_MAX))
    }

    /// Cuts off what is damaged or torn: of each file that is, all from there on. What is cut off lies
    /// beside, in files that end in `.broken`. Messages that are missing then between others are told
    /// to those who read, as what they missed. A file that does not say how far a named subscription had
    /// come goes as a whole: that one begins again where its first member asks. Once something is cut,
    /// what goes wrong is in [`Repaired::failure`], beside it.
    ///
    /// # Errors
    /// [`Error::HistoryInUse`] while the queue is there, [`Error::JournalerAlive`] while somebody
    /// appends, [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-repair");
    /// # let directory = std::env::temp_dir().join("ringway-doc-repair");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-repair", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// Queue::remove("doc-repair")?;
    /// let archive = Archive::open(&directory)?;
    /// let path = archive.files()?[0].path.clone();
    /// // The machine stops in the middle of the next one:
    /// let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    /// std::io::Write::write_all(&mut file, b"half of it").unwrap();
    /// assert_eq!(archive.verify()?.torn_size, 10);
    /// assert_eq!(archive.planned_cuts()?[0].path, path);
    /// let cuts = archive.repair()?.cuts;
    /// assert_eq!((cuts.len(), cuts[0].size), (1, 10));
    /// assert_eq!(archive.verify()?.torn_size, 0);
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn repair(&self) -> Result<Repaired, Error> {
        let _lock = self.lock()?;
        self.check_unused()?;
        // First, so that nothing is cut if this cannot be told.
        let to_put_aside = faults_in(&self.directory, &self.log)?;
        let mut cuts = Vec::new();
        match self.cut_all(to_put_aside, &mut cuts) {
            Err(error) if cuts.is_empty() => Err(error),
            done => Ok(Repaired { cuts, failure: done.err() }),
        }
    }

    fn cut_all(
        &self,
        to_put_aside: Vec<(PathBuf, Error)>,
        cuts: &mut Vec<LogCut>,
    ) -> Result<(), Error> {
        // What is cut may show that something else is wrong.
        while let Some((path, offset)) = self.faults()?.into_iter().next() {
            cuts.push(self.cut(&path, offset)?);
        }
        for (path, _) in to_put_aside {
            cuts.push(put_aside(&path, &self.log)?);
        }
        Ok(())
    }

    fn cut(&self, path: &Path, offset: u64) -> Result<LogCut, Error> {
        let size = fs::metadata(path).map_or(0, |facts| facts.len()).saturating_sub(offset);
        // Nothing is left of a file without a message, but of the last one where the sequence goes on.
        let is_last = self.log.files()?.last().is_some_and(|last| last.path == path);
        let has_nothing = offset < HEADER_SIZE || offset == HEADER_SIZE && !is_last;
        let offset = if has_nothing { 0 } else { offset };
        self.log.cut(&Torn { path: path.into(), offset, size })
    }

    /// The places that are not as they should be, one of each file that has any: a file, and the byte.
    pub(super) fn faults(&self) -> Result<Vec<(PathBuf, u64)>, Error> {
        let mut verified = Verified::default();
        let faults = self.count(&mut verified)?;
        let begun = self.just_begun()?;
        let torn = match begun {
            None if verified.torn_size > 0 => self.log.find_end()?.and_then(|end| end.torn),
            _ => None,
        };
        // Where the sequence goes on, the one before it says: that is the last one when this is gone.
        let begun = begun.map(|begun| (begun.path, begun.offset));
        let faults = faults.iter().filter_map(place_of);
        Ok(begun
            .into_iter()
            .chain(faults)
            .chain(torn.map(|torn| (torn.path, torn.offset)))
            .collect())
    }

    /// Removes all that is kept in the directory: the journal, what was spilt, the dead letters, and
    /// that it belongs to a queue. What else lies there stays, and so do the directories then; and what
    /// one of these leads to that is a symbolic link, and a file with dead letters of another queue,
    /// whose members may have [named](crate::Subscribe::dead_letters) this directory. Returns what was
    /// removed.
    ///
    /// # Errors
    /// [`Error::HistoryInUse`] while the queue is there, [`Error::JournalerAlive`] while somebody
    /// appends, [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-remove");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-remove");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// let queue = Queue::create("doc-archive-remove", &options)?;
    /// queue.producer()?.send_durable(b"to be kept, for a while")?;
    /// Queue::remove("doc-archive-remove")?;
    /// let removed = Archive::open(&directory)?.remove()?;
    /// assert_eq!(removed.len(), 3); // a file of the journal, and whose it is
    /// assert!(!directory.exists());
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove(&self) -> Result<Vec<PathBuf>, Error> {
        let _lock = self.lock()?;
        self.check_unused()?;
        remove_all(&self.directory, &self.log.queue)
    }

    /// As [`remove`](Self::remove), but only if it is still that of the queue with this
    /// [`instance_id`](crate::Queue::instance_id): not if another one has been made from it since,
    /// here or where another `/dev/shm` is.
    ///
    /// # Errors
    /// As [`remove`](Self::remove); [`Error::ForeignHistory`].
    ///
    /// ```
    /// # use ringway::{Archive, Error, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-remove-of");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-remove-of");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// let queue = Queue::create("doc-archive-remove-of", &options)?;
    /// let archive = Archive::open(&directory)?;
    /// let in_use = archive.remove_of(queue.instance_id());
    /// assert!(matches!(in_use, Err(Error::HistoryInUse { .. })));
    /// Queue::remove("doc-archive-remove-of")?;
    /// assert!(matches!(archive.remove_of([7; 16]), Err(Error::ForeignHistory { .. })));
    /// archive.remove_of(queue.instance_id())?;
    /// assert!(!directory.exists());
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove_of(&self, instance_id: [u8; 16]) -> Result<Vec<PathBuf>, Error> {
        let _lock = self.lock()?;
        self.check_unused()?;
        self.check_of(instance_id)?;
        remove_all(&self.directory, &self.log.queue)
    }

    /// Insists that it is still that of the queue with this
    /// [`instance_id`](crate::Queue::instance_id). A race may change that:
    /// [`remove_of`](Self::remove_of) looks again when nobody can make another one.
    ///
    /// # Errors
    /// [`Error::ForeignHistory`], [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Archive, Error, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-of");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-of");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// let queue = Queue::create("doc-archive-of", &options)?;
    /// let archive = Archive::open(&directory)?;
    /// archive.check_of(queue.instance_id())?;
    /// Queue::remove("doc-archive-of")?;
    /// Queue::create("doc-archive-of", &options)?; // another queue, the same history
    /// let succeeded = archive.check_of(queue.instance_id());
    /// assert!(matches!(succeeded, Err(Error::ForeignHistory { .. })));
    /// # Queue::force_remove("doc-archive-of")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn check_of(&self, instance_id: [u8; 16]) -> Result<(), Error> {
        check_instance_in(&self.directory, &self.log.queue, &instance_id)
    }

    /// Insists that the queue is not there, or has another history directory; what a race may change:
    /// [`remove`](Self::remove) and [`repair`](Self::repair) look again when nobody can make one.
    ///
    /// # Errors
    /// [`Error::HistoryInUse`]; those of [`Queue::open`](crate::Queue::open) if something stands at the
    /// queue's name of which that cannot be told.
    ///
    /// ```
    /// # use ringway::{Archive, Error, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-unused");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-unused");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// Queue::create("doc-archive-unused", &options)?;
    /// let archive = Archive::open(&directory)?;
    /// assert!(matches!(archive.check_unused(), Err(Error::HistoryInUse { .. })));
    /// Queue::remove("doc-archive-unused")?;
    /// archive.check_unused()?;
    /// # archive.remove()?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn check_unused(&self) -> Result<(), Error> {
        let (queue, path) = (self.log.queue.clone(), self.directory.clone());
        // Whoever it belongs to: this only refuses.
        let found = self.queue(Owner::Anybody)?;
        found.map_or(Ok(()), |_| Err(Error::HistoryInUse { queue, path }))
    }

    /// From which position on and up to which message the queue has the stream in files, if it is there
    /// and can be asked.
    fn said_by_queue(&self) -> Option<(u64, u64)> {
        let owner = Owner::TrustedOr(fs::metadata(&self.directory).ok()?.uid());
        let segment = Arc::new(self.queue(owner).ok()??);
        check_instance(&segment).ok()?;
        let mapping = segment.map(Access::Observe).ok()?;
        let ring = mapping.ring();
        let (from, next) = (ring.written_from(), ring.durable_sequence());
        (from < ring.written()).then_some((from, next))
    }

    /// Whether the files that were looked at are not all that the queue says there are.
    fn lacks(&self, &(from, next): &(u64, u64), verified: &Verified) -> bool {
        let files = self.log.files().unwrap_or_default();
        let ends_early = verified.damage.is_none() && verified.next_sequence < next;
        let first = files.first().map_or(u64::MAX, |file| file.base);
        // One that was removed meanwhile was said to be gone before.
        let from = self.said_by_queue().map_or(from, |(from, _)| from);
        ends_early || first > from.max(pruned_until(&self.log))
    }

    /// The queue, if it is there and has this history.
    pub(super) fn queue(&self, owner: Owner) -> Result<Option<Segment>, Error> {
        // Whoever makes the queue has the directory locked, until it has its name.
        let segment = match Segment::open(&self.log.queue, owner) {
            Err(Error::NotFound { .. }) => return Ok(None),
            segment => segment?,
        };
        // It may have been moved since, and a link left in its place.
        let is_here = segment.history().is_some_and(|it| is_same_directory(&self.directory, it));
        Ok(is_here.then_some(segment))
    }

    pub(super) fn lock(&self) -> Result<DirectoryLock, Error> {
        let queue = &self.log.queue;
        lock(&self.directory, queue)?.ok_or(Error::JournalerAlive { queue: queue.clone() })
    }
}

/// The messages of an [`Archive`], made by [`Archive::messages`] and
/// [`messages_since`](Archive::messages_since). Ends where the journal does; what
/// is damaged before is an error, after which nothing comes.
///
/// ```
/// # use ringway::{Archive, Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-archived-messages");
/// # let directory = std::env::temp_dir().join("ringway-doc-archived-messages");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-archived-messages", &options)?;
/// queue.producer()?.send_durable(b"to be kept")?;
/// let payloads = Archive::open(&directory)?.messages(0)?.map(|message| Ok(message?.payload));
/// let payloads: Vec<Vec<u8>> = payloads.collect::<Result<_, ringway::Error>>()?;
/// assert_eq!(payloads, [b"to be kept"]);
/// # Queue::force_remove("doc-archived-messages")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct ArchivedMessages {
    walk: Walk,
    from: u64,
    /// The time that messages are passed over before.
    since: Option<SystemTime>,
    /// What was passed over just before what comes next.
    damage: Option<Error>,
    is_over: bool,
}

impl Iterator for ArchivedMessages {
    type Item = Result<ArchivedMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            match self.walk.next() {
                Ok(LogRead::Message(span)) => {
                    let reader = &self.walk.reader;
                    let sequence = reader.place().sequence - 1;
                    let time = time::moment(reader.time(span).unwrap_or(0));
                    if sequence < self.from || self.since.is_some_and(|since| time < since) {
                        self.damage = None;
                        continue;
                    }
                    if let Some(damage) = self.damage.take().filter(|_| self.since.is_some()) {
                        // What is damaged may have been sent since, too.
                        self.is_over = true;
                        return Some(Err(damage));
                    }
                    // Clocks may go back afterwards.
                    self.since = None;
                    return Some(Ok(ArchivedMessage {
                        sequence,
                        time,
                        key_hash: reader.key_hash(span),
                        payload: reader.payload(span).to_vec(),
                    }));
                }
                Ok(LogRead::Missed { .. }) => {}
                Ok(LogRead::End | LogRead::Gone) => self.is_over = true,
                // What is damaged before the first one that is wanted is in nobody's way.
                Err(error) => {
                    let max = if self.since.is_some() { u64::MAX } else { self.from };
                    let damage = self.since.map(|_| error.clone());
                    if let Err(error) = self.walk.resume(max, error) {
                        self.is_over = true;
                        return Some(Err(error));
                    }
                    self.damage = damage;
                }
            }
        }
        None
    }
}

/// A way through a log up to where it ended when this began, although somebody may be appending.
#[derive(Debug)]
struct Walk {
    log: Log,
    reader: LogReader,
    /// Where the log ended when this began, and where what is whole of it is known to end.
    began_until: u64,
    end: u64,
    /// Whether it was looked at what is not whole, which is done once.
    is_judged: bool,
    /// Bytes behind the last whole message.
    torn_size: u64,
}

impl Walk {
    fn new(archive: &Archive) -> Result<Self, Error> {
        let log = archive.log.clone();
        let reader = LogReader::new(log.clone(), Place::default());
        let end = archive.end()?;
        Ok(Self { log, reader, began_until: end, end, is_judged: false, torn_size: 0 })
    }

    /// Goes to the beginning of a file; nothing if that is gone.
    fn go_to(&mut self, file: &LogFile) -> Result<Option<Place>, Error> {
        let Some((_, header)) = self.log.open(file)? else { return Ok(None) };
        self.reader.close();
        self.reader.move_to(header.begin);
        (self.end, self.is_judged) = (self.began_until, false);
        Ok(Some(header.begin))
    }

    /// Counts what is whole, up to the end.
    fn count(&mut self, verified: &mut Verified) -> Result<(), Error> {
        loop {
            match self.next()? {
                LogRead::Message(_) => verified.messages += 1,
                LogRead::Missed { from, to } => self.note_gap(from..to, verified)?,
                LogRead::End | LogRead::Gone => return Ok(()),
            }
            verified.next_sequence = self.reader.place().sequence;
        }
    }

    /// Notes what is missing before the file that was just come to. Where that is the first one by now,
    /// whoever appends has removed what was before: nothing is missing between others, and all that is
    /// there begins here.
    fn note_gap(&self, gap: Range<u64>, verified: &mut Verified) -> Result<(), Error> {
        let first = self.log.files()?.first().map_or(0, |first| first.base);
        if first < self.reader.place().position {
            verified.gaps.push(gap);
        } else {
            verified.gaps.clear();
            (verified.messages, verified.first_sequence) = (0, gap.end);
        }
        Ok(())
    }

    /// Goes on behind what an error says is damaged, if a whole message comes in that file that is
    /// wanted, or one before it.
    fn resume(&mut self, sequence_max: u64, error: Error) -> Result<(), Error> {
        let is_damage = matches!(error, Error::LogDamaged { .. });
        if is_damage && self.reader.resume(sequence_max)? { Ok(()) } else { Err(error) }
    }

    /// Whether what comes next is in the last file, as far as it is known: only there somebody appends.
    fn is_in_last(&self) -> bool {
        self.reader.opened().is_none_or(|(.., limit, _)| limit >= self.end)
    }

    fn next(&mut self) -> Result<LogRead, Error> {
        let error = match self.reader.next(self.end) {
            Err(error) if !self.is_judged && self.is_in_last() => error,
            read => return read,
        };
        self.is_judged = true;
        let place = self.reader.place();
        match self.log.find_end() {
            Ok(Some(end)) if end.place == place => {
                self.torn_size = end.torn.map_or(0, |torn| torn.size);
                Ok(LogRead::End)
            }
            Ok(Some(end)) if end.place.position > place.position => {
                // If it was just being appended, it is whole by now, with all up to there.
                self.end = end.place.position;
                self.reader.close();
                self.next()
            }
            _ => Err(error),
        }
    }
}

/// Where a journal is damaged, by an error that says so: a file, and the byte.
fn place_of(error: &Error) -> Option<(PathBuf, u64)> {
    match error {
        Error::LogDamaged { path, offset, .. } => Some((path.clone(), *offset)),
        Error::ForeignHistory { path, .. } => Some((path.clone(), 0)),
        _ => None,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Journal, Queue, QueueOptions};

    #[test]
    fn what_goes_while_it_is_verified_is_not_missing() {
        let name = format!("verified-meanwhile-{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("ringway-{name}"));
        let options = QueueOptions::new().capacity(64 << 10).history(&directory);
        let options = options.journal(Journal::Written);
        for _ in 0..4 {
            let queue = Queue::create(&name, &options).unwrap();
            queue.producer().unwrap().send_durable(b"to be kept, for a while").unwrap();
            Queue::remove(&name).unwrap();
        }
        let archive = Archive::open(&directory).unwrap();
        let files = archive.log.files().unwrap();
        let verify_without = |gone: Range<usize>| {
            let (mut walk, mut verified) = (Walk::new(&archive).unwrap(), Verified::default());
            walk.go_to(&files[0]).unwrap();
            for file in &files[gone] {
                fs::remove_file(&file.path).unwrap();
            }
            walk.count(&mut verified).unwrap();
            let gaps: Vec<_> = verified.gaps.iter().map(|gap| (gap.start, gap.end)).collect();
            (gaps, verified.messages, verified.first_sequence, verified.next_sequence)
        };
        // One between others is.
        assert_eq!(verify_without(1..2), (vec![(1, 2)], 3, 0, 4));
        fs::write(&files[1].path, "").unwrap();
        // Nothing is before what is left.
        assert_eq!(verify_without(0..2), (vec![], 2, 2, 4));
        fs::remove_dir_all(&directory).unwrap();
    }
}
