//! Checkpoints: how far the named subscriptions of a journalled queue have come.
//!
//! A queue that is made anew from its journal has its named subscriptions again, each at the first
//! message that was not settled when its last checkpoint was written. What was settled behind such
//! a message comes again, as it does in every system that keeps one number for each reader.
//!
//! A subscription has a file of two slots, of which the older one is overwritten each time. So one is
//! whole whoever dies, and also when power goes, on a disk that writes pages of 4096 bytes whole or
//! does not touch what lies in others: each slot is on a page of its own, and both are on the disk before
//! either is overwritten. It is made whole beside, and has its name then: one that is short is damaged.
//! What somebody was promised to be on the disk is there on both, so that none of the writes that
//! follow, which wait for no disk, can undo it. A slot, little-endian:
//!
//! ```text
//!  0  magic, 8 bytes                       32  generation, u64: the higher one counts
//!  8  version, u32                         40  sequence of the first message that is not settled
//! 12  CRC-32C of what follows, u32         48  entry of the subscription table, 512 bytes; its head
//! 16  id of the history, 16 bytes              is a boundary at or before that message
//! ```

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::directory::{check_instance, owner, sync_directory, write_whole};
use super::fields::{put, u32_at, u64_at};
use super::log::{FileHeader, Log, LogCut, LogRead, LogReader, hex};
use super::making::make_within;
use crate::error::Error;
use crate::layout::{
    COUNT_MAX, IN_USE, JournalCode, SUBSCRIPTION, SUBSCRIPTION_NAME_SIZE, SUBSCRIPTION_SIZE, Word,
};
use crate::ring::{Lag, Place, Ring, Subscription, SubscriptionIndex};
use crate::segment::{Lock, Segment, what_is_wrong_with};
use crate::sync::Ordering;
use crate::sys::process;

const MAGIC: [u8; 8] = *b"RINGWCHK";
const VERSION: u32 = 1;
const CHECKED_FROM: usize = 16;
const ENTRY_OFFSET: usize = 48;
const SLOT_BYTES: usize = ENTRY_OFFSET + SUBSCRIPTION_SIZE;
/// Where the slots are that are written in turn.
const SLOTS: [usize; 2] = [0, 4096];
const SUFFIX: &str = "checkpoint";

/// An entry of the subscription table.
pub(crate) type Entry = [u8; SUBSCRIPTION_SIZE];

/// The checkpoints of a queue with a journal.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    segment: Arc<Segment>,
    files: Files,
    /// Whether what the queue calls durable survives the loss of power.
    is_synced: bool,
    /// What each entry's file says by now.
    written: HashMap<u32, Slot>,
    /// And what it has on the disk at least.
    safe: HashMap<u32, Safe>,
}

/// The position that a subscription has on the disk at least, until it is moved, or another one has its
/// entry: by the name, and by when it was last without a member, which is anew whenever it is made or
/// moved.
#[derive(Debug)]
struct Safe {
    name: String,
    idle_since: u64,
    position: u64,
}

/// Where a history has them.
#[derive(Clone, Debug)]
struct Files {
    directory: PathBuf,
    queue: Box<str>,
    id: [u8; 16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    /// The first message that is not settled.
    sequence: u64,
    entry: Entry,
}

/// A slot of a file that is as it was written.
struct Whole {
    offset: usize,
    generation: u64,
    id: [u8; 16],
    slot: Slot,
}

impl Whole {
    /// Where the other slot of its file lies.
    fn other_page(&self) -> u64 {
        SLOTS[usize::from(self.offset != SLOTS[1])] as u64
    }
}

impl Checkpoints {
    /// `None` if the queue has no journal.
    pub(crate) fn of(segment: &Arc<Segment>) -> Option<Self> {
        let keeping = &segment.identity().keeping;
        let is_synced = keeping.journal? != JournalCode::Written;
        let files = Files::new(segment.history()?, segment.name(), keeping.history_id);
        let segment = Arc::clone(segment);
        let (written, safe) = (HashMap::new(), HashMap::new());
        Some(Self { segment, files, is_synced, written, safe })
    }

    /// Writes those that have changed, unless somebody else changes the subscription table, or writes
    /// them, for that long. One that cannot be written is in the way of no other, and told to those
    /// whose it is: to its own members, and to who asks for none. Who waits is told if it was in vain.
    pub(crate) fn write_all(
        &mut self,
        ring: &Ring,
        own: Option<SubscriptionIndex>,
        patience: Duration,
    ) -> Result<(), Error> {
        let lock = self.segment.lock_file()?;
        if !lock.wait_for(patience, Lock::try_registry)? {
            let timed_out = io::ErrorKind::TimedOut.into();
            let error = Error::os(self.segment.name(), "write the checkpoints of", timed_out);
            // Who does not wait comes again.
            return if patience.is_zero() { Ok(()) } else { Err(error) };
        }
        let mut written = Ok(());
        for subscription in ring.subscriptions() {
            // One that is being moved, by somebody who died over it, is nowhere: where it was counts.
            if !subscription.is_in_place() {
                continue;
            }
            match self.write(ring, &subscription, false) {
                // That is for its members to tell, and no reason to keep no journal.
                Err(Error::Corrupt { .. }) => {}
                Err(error) if own.is_none_or(|own| own == subscription.index()) => {
                    written = written.and(Err(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        written
    }

    /// Has those in files, and on the disk where messages are to be, that may say there that they need
    /// something from before a position, and do not any more: it is about to go, and they would be told
    /// that they missed it. If somebody has the table for that long, or one cannot be written, it goes
    /// all the same: that is a reason to be told what one has had, and none to write no journal.
    pub(super) fn save(&mut self, ring: &Ring, needed_from: u64) {
        let Some(lock) = self.lock_to_save() else { return };
        let mut written = Vec::new();
        for subscription in ring.subscriptions() {
            // One that skips needs nothing.
            if !subscription.is_in_place() || subscription.lag() == Some(Lag::Skip) {
                continue;
            }
            let Some(name) = name_of(&subscription) else { continue };
            let Ok((place, sequence)) = ring.settled(&subscription) else { continue };
            let (index, position) = (subscription.index().get(), place.position);
            let idle_since = subscription.word(SUBSCRIPTION.idle_since).load(Ordering::Relaxed);
            // One that was put back has been written by whoever did that.
            let is_safe = self.safe.get(&index).is_some_and(|safe| {
                (&safe.name, safe.idle_since) == (&name, idle_since)
                    && (needed_from.min(position)..=position).contains(&safe.position)
            });
            let slot = Slot { sequence, entry: entry_at(subscription.image(), place) };
            if !is_safe && self.files.write(&name, &slot).is_ok() {
                self.written.insert(index, slot);
                written.push((index, Safe { name, idle_since, position }));
            }
        }
        // Others may go on while the disk works, which is once for each file and for the names of all.
        drop(lock);
        if self.is_synced {
            let sync = |name: &str| self.files.sync(&self.files.path(name)).is_ok();
            written.retain(|(_, safe)| sync(&safe.name));
            let Some(lock) = self.lock_to_save().filter(|_| !written.is_empty()) else { return };
            written.retain(|(index, Safe { name, .. })| {
                let slot = self.written.get(index);
                slot.is_some_and(|slot| self.files.write_other(name, slot).is_ok())
            });
            drop(lock);
            written.retain(|(_, safe)| sync(&safe.name));
            if written.is_empty() || self.files.sync_names().is_err() {
                return;
            }
        }
        self.safe.extend(written);
    }

    /// Keeps others from writing them, if that can be had soon and they are this queue's.
    fn lock_to_save(&self) -> Option<Lock> {
        const PATIENCE: Duration = Duration::from_millis(100);
        let lock = self.segment.lock_file().ok()?;
        let is_locked = lock.wait_for(PATIENCE, Lock::try_registry).unwrap_or(false);
        (is_locked && self.has_the_files().unwrap_or(false)).then_some(lock)
    }

    /// Keeps others from changing the subscription table, and the subscriptions' heads where these are not
    /// their members'.
    pub(super) fn lock_table(&self, patience: Duration) -> Result<Lock, Error> {
        let lock = self.segment.lock_file()?;
        if lock.wait_for(patience, Lock::try_registry)? {
            return Ok(lock);
        }
        let what = "somebody else changes them, and may have been stopped over it; let that go on, or end it, and try again, or do without asking (`ringway log prune --force`)";
        let source = io::Error::new(io::ErrorKind::TimedOut, what);
        Err(Error::os(self.segment.name(), "ask the subscriptions of", source))
    }

    /// Writes one, for one who has the lock of the subscription table.
    pub(crate) fn write(
        &mut self,
        ring: &Ring,
        subscription: &Subscription,
        is_synced: bool,
    ) -> Result<(), Error> {
        let Some(name) = name_of(subscription) else { return Ok(()) };
        let (place, sequence) =
            ring.settled(subscription).map_err(|corrupt| self.segment.corrupt(corrupt))?;
        let slot = Slot { sequence, entry: entry_at(subscription.image(), place) };
        let index = subscription.index().get();
        if !is_synced && self.written.get(&index) == Some(&slot) {
            return Ok(());
        }
        let written = match self.has_the_files() {
            Ok(false) => return Ok(()),
            Ok(true) if is_synced => self.files.write_and_sync(&name, &slot),
            Ok(true) => self.files.write(&name, &slot),
            Err(error) => Err(error),
        };
        match written {
            // The directory's owner does it for those who may not.
            Err(Error::File { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied && !self.files.are_ours() =>
            {
                Ok(())
            }
            written => {
                written?;
                if self.safe.get(&index).is_some_and(|safe| place.position < safe.position) {
                    self.safe.remove(&index);
                }
                self.written.insert(index, slot);
                Ok(())
            }
        }
    }

    /// For one who has the lock of the subscription table. Nobody does it for those who may not.
    pub(crate) fn remove(&mut self, subscription: &Subscription) -> Result<(), Error> {
        self.written.remove(&subscription.index().get());
        match name_of(subscription) {
            Some(name) if self.has_the_files()? => self.files.remove(&name),
            _ => Ok(()),
        }
    }

    /// Whether the files are this queue's, and not those of one that came after it. That it cannot be
    /// told is an error.
    fn has_the_files(&self) -> Result<bool, Error> {
        if self.segment.is_stale() {
            return Ok(false);
        }
        match check_instance(&self.segment) {
            Ok(()) => Ok(true),
            Err(Error::ForeignHistory { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The named subscriptions of a queue that are not to miss anything, each with the first message that
/// it has not settled, and the position that it reads from. For one who has the lock of the
/// subscription table.
pub(super) fn named_of(ring: &Ring) -> impl Iterator<Item = (String, Place)> {
    let in_need =
        ring.subscriptions().filter(|one| one.is_in_place() && one.lag() != Some(Lag::Skip));
    in_need.filter_map(|one| {
        let (place, sequence) = ring.settled(&one).ok()?;
        Some((name_of(&one)?, Place { sequence, ..place }))
    })
}

/// The same of a journal whose queue is not there, and whether all could be read. Each will be found by
/// its message, wherever it was.
pub(super) fn named_in(directory: &Path, log: &Log) -> (Vec<(String, Place)>, Result<(), Error>) {
    let files = Files::new(directory, &log.queue, log.id);
    let all = match files.all() {
        Ok(all) => all,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let (mut named, mut all_read) = (Vec::new(), Ok(()));
    for (name, path) in all {
        match files.read(&name, path) {
            Ok(Some(slot)) if slot.lag() != Some(Lag::Skip) => {
                named.push((name, Place { position: u64::MAX, sequence: slot.sequence }));
            }
            Ok(_) => {}
            Err(error) => all_read = all_read.and(Err(error)),
        }
    }
    (named, all_read)
}

/// Has the disk have what the checkpoints of a journal say whose queue is not there.
pub(super) fn sync_in(directory: &Path, log: &Log) -> Result<(), Error> {
    let files = Files::new(directory, &log.queue, log.id);
    let all = files.all()?;
    if all.is_empty() {
        return Ok(());
    }
    for (name, path) in all {
        // Unless somebody has removed it just now.
        if let Some(slot) = files.read(&name, path)? {
            files.sync_both(&name, &slot)?;
        }
    }
    files.sync_names()
}

/// The checkpoints of a journal that do not say how far a subscription is, and what is wrong with each.
pub(super) fn faults_in(directory: &Path, log: &Log) -> Result<Vec<(PathBuf, Error)>, Error> {
    let files = Files::new(directory, &log.queue, log.id);
    let mut faults = Vec::new();
    for (name, path) in files.all()? {
        match files.read(&name, path.clone()) {
            Ok(_) => {}
            Err(error) if is_of_this_process(&error) => return Err(error),
            Err(error) => faults.push((path, error)),
        }
    }
    Ok(faults)
}

/// Whether an error says nothing of the file that one had it with.
fn is_of_this_process(error: &Error) -> bool {
    const ERRNOS: [i32; 3] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    let Error::File { source, .. } = error else { return false };
    source.raw_os_error().is_some_and(|errno| ERRNOS.contains(&errno))
}

/// Has one not be there any more, and keeps it beside. It need not be one that can be read.
pub(super) fn put_aside(path: &Path, log: &Log) -> Result<LogCut, Error> {
    let failed = |error| log.failed("rename", path, error);
    let size = fs::symlink_metadata(path).map_err(failed)?.len();
    let mut kept_in = path.with_extension("broken");
    let mut count = 1;
    while kept_in.symlink_metadata().is_ok() {
        count += 1;
        kept_in = path.with_extension(format!("{count}.broken"));
    }
    fs::rename(path, &kept_in).map_err(failed)?;
    sync_directory(path.parent().unwrap_or(path)).map_err(failed)?;
    Ok(LogCut { path: path.into(), offset: 0, size, kept_in })
}

/// The entries that the table of a queue has which goes on where its journal ends, if that has begun.
pub(super) fn restore(
    directory: &Path,
    log: &Log,
    end: Option<Place>,
    resumed_at: Place,
) -> Result<Vec<Entry>, Error> {
    let files = Files::new(directory, &log.queue, log.id);
    let log = Log { resumed_at, ..log.clone() };
    let (mut entries, mut put_back) = (Vec::new(), Vec::new());
    for (name, slot) in files.read_all()? {
        // Where there is nothing the queue begins with whatever sequence its maker chose.
        let is_at_end = end.is_none_or(|end| slot.sequence >= end.sequence);
        let end = end.unwrap_or(resumed_at);
        let place = if is_at_end { resumed_at } else { find_place(&log, &slot, end, resumed_at) };
        let entry = entry_at(slot.entry, place);
        if is_at_end && (slot.sequence, slot.place()) != (end.sequence, resumed_at) {
            // Of what was lost, others will have the sequences. And where the queue of another capacity
            // went on, the stream of this one has something else, or nothing yet.
            let slot = Slot { sequence: end.sequence, entry };
            files.write(&name, &slot)?;
            put_back.push((name, slot));
        }
        entries.push(without_member_from_now_on(entry));
    }
    if !put_back.is_empty() {
        put_back.iter().try_for_each(|(name, slot)| files.sync_both(name, slot))?;
        files.sync_names()?;
    }
    Ok(entries)
}

/// Where the message of a slot is, before the end of the log: not far behind its boundary, unless that
/// is of a stream that did not come about, or gone.
fn find_place(log: &Log, slot: &Slot, end: Place, resumed_at: Place) -> Place {
    let boundary = slot.place();
    let is_possible = boundary.position <= end.position;
    let mut reader = LogReader::new(log.clone(), boundary);
    if is_possible && let Some(place) = follow(&mut reader, slot, resumed_at) {
        return place;
    }
    let begins_before = |header: &FileHeader| header.begin.sequence <= slot.sequence;
    // Whoever gets there is told what is missing, or damaged.
    let otherwise = if is_possible { boundary } else { Place { position: 0, ..boundary } };
    // What is gone is not to be looked for in each file. Nor is what was settled of it missed.
    let first = log.files().ok().and_then(|files| log.open(files.first()?).ok()?);
    if first.is_some_and(|(_, header)| !begins_before(&header)) {
        return Place { sequence: slot.sequence, ..otherwise };
    }
    match reader.go_to_file(begins_before) {
        Ok(Some(begin)) if begin.sequence <= slot.sequence => {
            let found = follow(&mut reader, slot, resumed_at);
            found.unwrap_or(if otherwise.position < begin.position { begin } else { otherwise })
        }
        _ => otherwise,
    }
}

/// Where the message of a slot is, by a reader that is not far behind it.
fn follow(reader: &mut LogReader, slot: &Slot, resumed_at: Place) -> Option<Place> {
    while reader.place().sequence < slot.sequence {
        match reader.next(resumed_at.position) {
            Ok(LogRead::Message(_)) => {}
            Ok(LogRead::End | LogRead::Gone | LogRead::Missed { .. }) | Err(_) => return None,
        }
    }
    Some(reader.place())
}

impl Slot {
    fn place(&self) -> Place {
        let word = |word: Word<_, u64>| u64::from_le_bytes(word.get(&self.entry));
        Place {
            position: word(SUBSCRIPTION.head_position),
            sequence: word(SUBSCRIPTION.head_sequence),
        }
    }

    fn lag(&self) -> Option<Lag> {
        Lag::from_code(u32::from_le_bytes(SUBSCRIPTION.lag.get(&self.entry)))
    }

    fn bytes(&self, id: &[u8; 16], generation: u64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let mut put = |offset, field: &[u8]| put(&mut bytes, offset, field);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, id);
        put(32, &generation.to_le_bytes());
        put(40, &self.sequence.to_le_bytes());
        put(ENTRY_OFFSET, &self.entry);
        let check = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads what another process wrote, as the slot at an offset; `None` if it is not whole.
    fn parse(bytes: &[u8], offset: usize) -> Option<Whole> {
        let bytes: &[u8; SLOT_BYTES] = bytes.get(offset..)?.first_chunk()?;
        let is_one = bytes[..8] == MAGIC
            && u32_at(bytes, 8) == VERSION
            && u32_at(bytes, 12) == crc32c::crc32c(&bytes[CHECKED_FROM..]);
        let (mut id, mut entry) = ([0; 16], [0; SUBSCRIPTION_SIZE]);
        id.copy_from_slice(&bytes[16..32]);
        entry.copy_from_slice(&bytes[ENTRY_OFFSET..]);
        let slot = Self { sequence: u64_at(bytes, 40), entry };
        let Place { position, sequence } = slot.place();
        let is_possible = position.is_multiple_of(8)
            && position < COUNT_MAX
            && (sequence..COUNT_MAX).contains(&slot.sequence)
            && slot.lag().is_some();
        let generation = u64_at(bytes, 32);
        (is_one && is_possible).then_some(Whole { offset, generation, id, slot })
    }
}

impl Files {
    fn new(directory: &Path, queue: &str, id: [u8; 16]) -> Self {
        Self { directory: directory.join("subscriptions"), queue: queue.into(), id }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{SUFFIX}"))
    }

    fn failed(&self, doing: &'static str, path: &Path, source: io::Error) -> Error {
        Error::file(&self.queue, doing, path, source)
    }

    fn damaged(&self, path: PathBuf, what: &str) -> Error {
        Error::LogDamaged { queue: self.queue.clone(), path, offset: 0, what: what.into() }
    }

    fn write(&self, name: &str, slot: &Slot) -> Result<(), Error> {
        let path = self.path(name);
        self.try_write(&path, slot).map_err(|error| self.failed("write", &path, error))
    }

    fn write_and_sync(&self, name: &str, slot: &Slot) -> Result<(), Error> {
        self.write(name, slot)?;
        self.sync_both(name, slot)?;
        self.sync_names()
    }

    /// Has what was written on the disk, on both pages, if [`Self::sync_names`] follows. What is written
    /// later, and not synced, may tear one of them, and what was there before would be on the other.
    fn sync_both(&self, name: &str, slot: &Slot) -> Result<(), Error> {
        let path = self.path(name);
        self.sync(&path)?;
        self.write_other(name, slot)?;
        self.sync(&path)
    }

    /// Writes what is on the disk on one page to the other one, unless others have written since: then
    /// that has something newer. For one who keeps them from it meanwhile.
    fn write_other(&self, name: &str, slot: &Slot) -> Result<(), Error> {
        let path = self.path(name);
        self.try_write_other(&path, slot).map_err(|error| self.failed("write", &path, error))
    }

    fn try_write_other(&self, path: &Path, slot: &Slot) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let whole = whole_slots(&file)?;
        let is_on_both = whole.len() == SLOTS.len() && whole.iter().all(|one| one.slot == *slot);
        match newest_of(whole) {
            Some(newest) if newest.slot == *slot && !is_on_both => {
                let bytes = slot.bytes(&self.id, newest.generation.wrapping_add(1));
                file.write_all_at(&bytes, newest.other_page())
            }
            _ => Ok(()),
        }
    }

    /// Has what a file says on the disk, if [`Self::sync_names`] follows.
    fn sync(&self, path: &Path) -> Result<(), Error> {
        let synced = File::open(path).and_then(|open| open.sync_all());
        synced.map_err(|error| self.failed("sync", path, error))
    }

    /// Has the files' names on the disk, and the directory's own.
    fn sync_names(&self) -> Result<(), Error> {
        let synced = self.try_sync_names();
        synced.map_err(|error| self.failed("sync", &self.directory, error))
    }

    fn try_sync_names(&self) -> io::Result<()> {
        let mut directories = self.directory.ancestors().take(2);
        directories.try_for_each(|directory| File::open(directory)?.sync_all())
    }

    /// Whether the history is this process's user's.
    fn are_ours(&self) -> bool {
        let history = self.directory.parent().and_then(|history| fs::metadata(history).ok());
        history.is_some_and(|facts| facts.uid() == process::effective_user())
    }

    fn try_write(&self, path: &Path, slot: &Slot) -> io::Result<()> {
        // Not the history itself: one that somebody took away is not to come back without whose it is.
        make_within(&self.directory)?;
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.make(path, slot),
            file => file?,
        };
        let whole = whole_slots(&file)?;
        let count = whole.len();
        let Some(newest) = newest_of(whole) else { return self.make(path, slot) };
        // Never on the newest one's page.
        let bytes = slot.bytes(&self.id, newest.generation.wrapping_add(1));
        file.write_all_at(&bytes, newest.other_page())?;
        // The other one is the next to be overwritten, and this one all that would count then: it waits
        // for the disk.
        if count < SLOTS.len() { file.sync_all() } else { Ok(()) }
    }

    /// Makes a file with both slots. It is on the disk, and so is its name, when this returns.
    fn make(&self, path: &Path, slot: &Slot) -> io::Result<()> {
        let mut bytes = [0; SLOTS[1] + SLOT_BYTES];
        for (offset, generation) in SLOTS.into_iter().zip(0..) {
            put(&mut bytes, offset, &slot.bytes(&self.id, generation));
        }
        write_whole(path, &bytes, OpenOptions::new().mode(0o600), |aside, path| {
            File::open(aside)?.sync_all()?;
            fs::rename(aside, path)
        })?;
        self.try_sync_names()
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        let failed = |error| self.failed("remove", &path, error);
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match fs::remove_file(&path) {
            // And not only somewhere else for now, with the whole history.
            Err(error) if is_gone(&error) && self.is_history_there() => {}
            removed => removed.map_err(failed)?,
        }
        // Also if it is gone: whoever removed it may have died, or failed, before its sync.
        match File::open(&self.directory).and_then(|open| open.sync_all()) {
            Err(error) if is_gone(&error) => Ok(()),
            synced => synced.map_err(failed),
        }
    }

    fn is_history_there(&self) -> bool {
        let owner = self.directory.parent().map(|history| owner(history, &self.queue));
        matches!(owner, Some(Ok((_, id))) if id == self.id)
    }

    /// The names, and what their files say, in order.
    fn read_all(&self) -> Result<Vec<(String, Slot)>, Error> {
        let mut found = Vec::new();
        for (name, path) in self.all()? {
            found.extend(self.read(&name, path)?.map(|slot| (name, slot)));
        }
        Ok(found)
    }

    /// The files, each with the name that it is of, in order.
    fn all(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let failed = |error| self.failed("read", &self.directory, error);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let is_one = path.extension().is_some_and(|extension| extension == SUFFIX);
            // What is no text is no subscription's.
            if let Some(name) = path.file_stem().and_then(OsStr::to_str).filter(|_| is_one) {
                found.push((name.to_owned(), path));
            }
        }
        found.sort();
        Ok(found)
    }

    fn read(&self, name: &str, path: PathBuf) -> Result<Option<Slot>, Error> {
        if fs::metadata(&path).is_ok_and(|facts| !facts.is_file()) {
            return Err(self.damaged(path, "it is no file"));
        }
        let file = match File::open(&path) {
            // Just now, by whoever removed the subscription.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| self.failed("open", &path, error))?,
        };
        let whole = whole_slots(&file).map_err(|error| self.failed("read", &path, error))?;
        let Some(Whole { id, slot, .. }) = newest_of(whole) else {
            return Err(self.damaged(path, "no checkpoint in it is whole"));
        };
        if id != self.id {
            return Err(self.damaged(path, &format!("it is of history {}", hex(&id))));
        }
        let mut padded = [0; SUBSCRIPTION_NAME_SIZE];
        let is_name = is_name(name);
        if is_name {
            padded[..name.len()].copy_from_slice(name.as_bytes());
        }
        if !is_name || SUBSCRIPTION.name.get(&slot.entry) != padded {
            return Err(self.damaged(path, "it is of a subscription of another name"));
        }
        Ok(Some(slot))
    }
}

/// The name of a subscription, unless what stands there is none and might lead anywhere.
fn name_of(subscription: &Subscription) -> Option<String> {
    Some(subscription.name()).filter(|name| is_name(name))
}

/// Whether a subscription can have a name.
pub(super) fn is_name(name: &str) -> bool {
    what_is_wrong_with(name, (SUBSCRIPTION_NAME_SIZE, "")).is_none()
}

/// The slots of a file that are as they were written.
fn whole_slots(file: &File) -> io::Result<Vec<Whole>> {
    let mut bytes = [0; SLOTS[1] + SLOT_BYTES];
    let read = super::log::read_up_to(file, &mut bytes, 0)?;
    Ok(SLOTS.into_iter().filter_map(|offset| Slot::parse(&bytes[..read], offset)).collect())
}

fn newest_of(slots: Vec<Whole>) -> Option<Whole> {
    slots.into_iter().max_by_key(|whole| whole.generation)
}

fn without_member_from_now_on(mut entry: Entry) -> Entry {
    // The machine may have been started since it was written.
    SUBSCRIPTION.idle_since.put(&mut entry, process::now_since_start().to_le_bytes());
    entry
}

/// The entry as it is in a table that is new: at a place, and nobody's turn.
fn entry_at(mut entry: Entry, place: Place) -> Entry {
    SUBSCRIPTION.head_position.put(&mut entry, place.position.to_le_bytes());
    SUBSCRIPTION.head_sequence.put(&mut entry, place.sequence.to_le_bytes());
    SUBSCRIPTION.turn.put(&mut entry, 0_u64.to_le_bytes());
    SUBSCRIPTION.state.put(&mut entry, IN_USE.to_le_bytes());
    SUBSCRIPTION.idle_since.put(&mut entry, 0_u64.to_le_bytes());
    entry
}
