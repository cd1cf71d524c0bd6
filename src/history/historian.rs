//! The historian: copies the stream out of the ring before it is overwritten.
//!
//! There is one at a time, by a lock: a journaler, or the producer when what it is about to
//! overwrite is needed. In a queue with a journal everything is needed, and the files begin where
//! the stream did. In others, only what members that spill have not read: the files begin where
//! the slowest of them is, and are removed once nobody needs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoints;
use super::directory::{self, DirectoryLock, journal_in, log_of};
use super::log::{Log, LogWriter};
use crate::calls::call_consumers;
use crate::error::Error;
use crate::layout::{JournalCode, Keeping};
use crate::membership::clear_dead_holders;
use crate::ring::{Corrupt, Place, Ring, SubscriptionIndex};
use crate::segment::{Lock, Segment};

/// Bytes that are appended at a time. While a piece is copied, the one before it is on its way to
/// the disk.
const PIECE_SIZE: u64 = 1 << 20;

/// Appends to a queue's log.
#[derive(Debug)]
pub(crate) struct Historian {
    segment: Arc<Segment>,
    keeping: Keeping,
    writer: LogWriter,
    /// If it is a journal that is appended to.
    checkpoints: Option<Checkpoints>,
    /// Of a mapping that outlives this.
    ring: Ring,
    remove_expired: RemoveExpired,
    looks: Looks,
    /// Why what is too old was not removed at the last look.
    left: Result<(), Error>,
    /// Held for as long as this lives: the directory's lock, and the queue's. That goes last: who has it
    /// and does not get the other takes somebody to be alive.
    _directory: DirectoryLock,
    lock: Lock,
}

/// Removes those of the subscriptions that have expired. It belongs to who keeps their table, which stands
/// above what is on disk.
pub(crate) type RemoveExpired = fn(&Arc<Segment>, &Ring, &[SubscriptionIndex]) -> Result<(), Error>;

/// When a historian last looked at what need not be looked at each time, for who lets go of one and takes
/// it anew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    /// How old the files are.
    ages: Option<Instant>,
    /// Whether those who need them are there.
    needs: Option<Instant>,
}

/// What came of an attempt to have the files go further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Done,
    /// The files have reached the size that they may have, and nothing in them can go.
    Full,
}

impl Historian {
    /// `None` while another one lives. The ring's mapping outlives it.
    pub(crate) fn take(
        segment: &Arc<Segment>,
        ring: &Ring,
        remove_expired: RemoveExpired,
    ) -> Result<Option<Self>, Error> {
        let (Some(log), Some(path)) = (log_of(segment), segment.history()) else { return Ok(None) };
        let lock = segment.lock_file()?;
        if !lock.try_historian()? {
            return Ok(None);
        }
        let directory = directory::lock(path, segment.name())?;
        if segment.is_stale() {
            // The files may be those of the queue that came after it.
            return Err(segment.stale());
        }
        // Also if that is who has the lock.
        directory::check_instance(segment)?;
        let Some(directory) = directory else { return Ok(None) };
        let keeping = segment.identity().keeping;
        let (_, id) = directory::owner(path, segment.name())?;
        if id != keeping.history_id {
            let ours = journal_in(path, segment.name(), keeping.history_id, 1);
            return Err(ours.foreign(path, id));
        }
        let corrupt = |corrupt| segment.corrupt(corrupt);
        let (from, written) = (ring.written_from(), ring.written());
        let ring_end = ring.end().map_err(corrupt)?;
        // Whoever began anew elsewhere may have died before both were said.
        let is_possible = from <= written || keeping.journal.is_none();
        if !written.is_multiple_of(8) || written > ring_end.position || !is_possible {
            return Err(corrupt(Corrupt { position: written, found: from }));
        }
        let end = Place { position: written, sequence: ring.sequence_at(written, ring_end) };
        let writer = if from < written {
            // In a journal, what lies before is somebody's who took it away and brought it back, or
            // goes with the oldest.
            let from = if keeping.journal.is_none() { from } else { 0 };
            LogWriter::go_on(log, from, end)?
        } else {
            let mut writer = LogWriter::begin(log, end)?;
            if keeping.journal.is_none() {
                // What lies there is of a queue that was there before.
                writer.restart(end)?;
            }
            writer
        };
        if keeping.journal.is_some() && from < written && writer.has_lost_its_file() {
            return Err(writer.lost());
        }
        let mut historian = Self {
            segment: Arc::clone(segment),
            keeping,
            writer,
            checkpoints: Checkpoints::of(segment),
            ring: ring.clone(),
            remove_expired,
            looks: Looks::default(),
            left: Ok(()),
            _directory: directory,
            lock,
        };
        if historian.ring.is_sync_under_way() {
            historian.finish_sync()?;
        }
        Ok(Some(historian))
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn remove_expired(&self) -> RemoveExpired {
        self.remove_expired
    }

    pub(crate) fn looks(&self) -> Looks {
        self.looks
    }

    pub(crate) fn set_looks(&mut self, looks: Looks) {
        self.looks = looks;
    }

    /// Up to where the stream is in the files.
    pub(super) fn end(&self) -> Place {
        self.writer.end()
    }

    /// Has the files go up to the first boundary at or after `until`, as far as somebody needs it. All
    /// before `until` is committed.
    pub(crate) fn keep(&mut self, until: u64) -> Result<Kept, Error> {
        self.go_on(until, until)
    }

    /// [`Self::keep`], where no more than what is before `committed` is known to be committed.
    fn go_on(&mut self, until: u64, committed: u64) -> Result<Kept, Error> {
        if self.ring.has_journal_failed() {
            return Err(self.journal_failed());
        }
        if self.keeping.journal.is_none() {
            match self.ring.lowest_spilling() {
                Some(needed) => self.begin_at(needed)?,
                None => return Ok(Kept::Done),
            }
        }
        while self.end().position < until {
            let from = self.end();
            let piece_end = until.min(from.position + PIECE_SIZE);
            let to = self.ring.follow(from, piece_end).map_err(|error| self.corrupt(error))?;
            if to == from {
                if from.position < committed {
                    // Its word is gone: whoever waits for what comes behind it would do so for ever.
                    return Err(self.corrupt(Corrupt { position: from.position, found: 0 }));
                }
                break;
            }
            if !self.make_space(to.position - from.position)? {
                return Ok(Kept::Full);
            }
            if self.writer.needs_new_file() {
                // Of the file before nobody thinks again.
                self.sync()?;
                self.writer.begin_file()?;
            }
            if self.is_synced() && self.writer.is_just_begun() {
                // Its name and its header are to be there before any message, also where that could not be
                // done when it was begun.
                self.sync()?;
            }
            self.writer.append(&self.ring, to)?;
            self.ring.set_written(to.position);
            if self.is_synced() && to.position - from.position >= PIECE_SIZE {
                // The disk has something to do while the next piece is copied.
                self.writer.start_writing(from.position, to.position);
            }
        }
        Ok(Kept::Done)
    }

    /// Appends what is committed, a ring of it at most.
    pub(super) fn catch_up(&mut self) -> Result<Kept, Error> {
        let newest = self.ring.newest().map_err(|error| self.corrupt(error))?;
        self.go_on(self.end().position + self.ring.capacity(), newest.position)
    }

    /// Appends what is committed by now.
    pub(super) fn keep_all(&mut self) -> Result<Kept, Error> {
        let end = self.ring.end().map_err(|error| self.corrupt(error))?;
        self.keep(end.position)
    }

    /// Has it in files how far the named subscriptions have come, unless somebody changes them just now.
    pub(super) fn write_checkpoints(&mut self) -> Result<(), Error> {
        let checkpoints = self.checkpoints.as_mut();
        checkpoints.map_or(Ok(()), |all| all.write_all(&self.ring, None, Duration::ZERO))
    }

    /// Removes files that are too old. That one cannot be removed is in the way of nothing else.
    pub(super) fn remove_old(&mut self) -> Result<(), Error> {
        self.make_space(0)?;
        self.left.clone()
    }

    /// Has everything in the files as safe as the queue was made to have it, and says so.
    pub(crate) fn make_durable(&mut self) -> Result<(), Error> {
        let end = self.end();
        if self.is_all_durable() {
            return Ok(());
        }
        self.sync()?;
        self.ring.set_durable(end);
        // Whoever waits for durable messages waits as for any.
        call_consumers(&self.ring);
        Ok(())
    }

    /// Syncs what was appended, if the queue was made to have it synced.
    fn sync(&mut self) -> Result<(), Error> {
        if self.keeping.journal.is_some() && self.writer.has_lost_its_file() {
            // And what was in it, which may be nowhere else.
            self.ring.set_journal_failed();
            return Err(self.writer.lost());
        }
        if !self.is_synced() {
            return Ok(());
        }
        if !self.ring.begin_sync() {
            return Err(self.journal_failed());
        }
        let synced = self.writer.sync(|| self.ring.set_journal_failed());
        self.ring.end_sync();
        synced
    }

    fn is_synced(&self) -> bool {
        !matches!(self.keeping.journal, None | Some(JournalCode::Written))
    }

    /// Does over again what somebody died in before it could say what came of it: a sync. What that
    /// could not write the system may have forgotten, and says so to nobody else.
    fn finish_sync(&mut self) -> Result<(), Error> {
        let durable =
            Place { position: self.ring.durable(), sequence: self.ring.durable_sequence() };
        match self.writer.write_anew(durable) {
            Err(Error::LogDamaged { .. }) => {
                self.ring.set_journal_failed();
                Err(self.journal_failed())
            }
            written => {
                written?;
                self.ring.end_sync();
                Ok(())
            }
        }
    }

    pub(super) fn is_all_durable(&self) -> bool {
        self.ring.durable() >= self.end().position
    }

    /// Whether something is committed that is not in the files.
    pub(super) fn is_behind(&self) -> bool {
        let end = self.end();
        // What is corrupt is for the next append to tell.
        !self.ring.follow(end, end.position + 1).is_ok_and(|to| to == end)
    }

    /// Removes the files, if nobody needs them.
    pub(crate) fn tidy(&mut self) -> Result<(), Error> {
        let written = self.ring.written();
        let is_needed = self.ring.lowest_spilling().is_some_and(|needed| needed < written);
        if self.keeping.journal.is_none() && self.ring.written_from() < written && !is_needed {
            self.ring.set_written_from(written);
            self.writer.restart(self.writer.end())?;
        }
        Ok(())
    }

    /// Whether there is anything of the stream in files.
    pub(crate) fn has_files(&self) -> bool {
        self.ring.written_from() < self.ring.written()
    }

    /// Has the files begin at or before what is needed, which is still in the ring if it is not in
    /// the files.
    fn begin_at(&mut self, needed: u64) -> Result<(), Error> {
        let (from, written) = (self.ring.written_from(), self.ring.written());
        let goes_on = self.ring.granted_floor() <= written;
        if goes_on && needed <= written && self.ring.is_had_from(needed, from) {
            return Ok(());
        }
        let start = self.ring.first_to_keep(needed).map_err(|error| self.corrupt(error))?;
        if goes_on && (from..=written).contains(&start.position) {
            return Ok(());
        }
        if goes_on && from < written && start.position < from {
            // Somebody has joined who is behind all others. Whoever tried this before may have died over
            // it, or found the disk full: what it left would stand in the way of those who read.
            self.writer.remove_within(start.position..from)?;
            self.put_in_front(start, from).inspect_err(|_| {
                let _ = self.writer.remove_within(start.position..from);
            })?;
        } else {
            // Nobody is in the files, so that the position may go back as well. Until all of it is
            // said, they have nothing.
            self.ring.set_written_from(start.position.max(written));
            self.writer.restart(start)?;
            self.ring.set_written(start.position);
        }
        self.ring.set_written_from(start.position);
        Ok(())
    }

    /// Writes what lies before the beginning of the files.
    fn put_in_front(&mut self, start: Place, from: u64) -> Result<(), Error> {
        let mut before = LogWriter::begin(self.log().clone(), start)?;
        while before.end().position < from {
            let to = self.ring.follow(before.end(), from).map_err(|error| self.corrupt(error))?;
            if to == before.end() {
                // It was committed, or nobody could have read on from there.
                return Err(self.corrupt(Corrupt { position: to.position, found: 0 }));
            }
            before.append(&self.ring, to)?;
        }
        self.writer.count(&before);
        Ok(())
    }

    /// Whether there is space for so many bytes more, after some have gone that nobody living needs, or
    /// that are too old. Never what is appended to: if nobody needs that, it may be too large.
    fn make_space(&mut self, size: u64) -> Result<bool, Error> {
        let is_spill = self.keeping.journal.is_none();
        let keep_for = self.keep_for_if_due();
        let mut saved_from = None;
        loop {
            let needed =
                if is_spill { self.ring.lowest_spilling() } else { self.ring.lowest_in_journal() };
            let needed = needed.unwrap_or(u64::MAX);
            let is_full = self.writer.size().saturating_add(size) > self.keeping.size_max;
            // Of what was spilled, nothing stays that nobody needs.
            let is_spent = is_spill && needed >= self.log().limit(self.ring.written_from());
            if !is_full && !is_spent && keep_for.is_none() {
                return Ok(true);
            }
            let files = self.log().files()?;
            // One that has no message yet is not what follows: the messages end in the one before.
            let next =
                files.get(1).map(|file| file.base).filter(|&base| base < self.end().position);
            let is_needed = needed < next.unwrap_or(self.end().position);
            let is_too_old =
                keep_for.is_some_and(|max| files.first().is_some_and(|it| it.age() > Some(max)));
            if is_needed && !self.keeping.drops_oldest {
                let below = next.unwrap_or(self.end().position);
                if (is_full || is_too_old) && self.clear_needs(below) {
                    continue;
                }
                return Ok(!is_full);
            }
            let (Some(oldest), Some(next)) = (files.first(), next) else { return Ok(true) };
            if !(is_full || is_too_old || is_spill && !is_needed) {
                return Ok(true);
            }
            if let Some(checkpoints) = &mut self.checkpoints
                && saved_from != Some(next)
            {
                checkpoints.save(&self.ring, next);
                saved_from = Some(next);
                // Somebody may need more by now.
                continue;
            }
            // First, so that whoever dies in between has said nothing that is not so.
            self.ring.set_written_from(next.max(self.ring.written_from()));
            let removed = self.writer.remove(oldest);
            if is_full {
                removed?;
            } else if removed.is_err() {
                // There is space for what is to come.
                self.left = removed;
                return Ok(true);
            }
        }
    }

    /// Looks whether those who need what lies below a position are there, and sees to it that the dead and
    /// the expired do not need it any more. `false` if that was done just now. Who cannot be helped so
    /// stays in the way, and whoever asks is told who that is.
    fn clear_needs(&mut self, below: u64) -> bool {
        const LOOK_INTERVAL: Duration = Duration::from_millis(50);
        if self.looks.needs.is_some_and(|last| last.elapsed() < LOOK_INTERVAL) {
            return false;
        }
        let is_journal = self.keeping.journal.is_some();
        let (members, subscriptions) = self.ring.in_need_of_files(below, is_journal);
        let members = members.into_iter();
        // First: the time of one whose last member has died begins when that is found.
        let _ = clear_dead_holders(&self.ring, &self.lock, members, &subscriptions);
        let _ = (self.remove_expired)(&self.segment, &self.ring, &subscriptions);
        self.looks.needs = Some(Instant::now());
        true
    }

    /// How long files are kept, if that is to be looked at now: once a second.
    fn keep_for_if_due(&mut self) -> Option<Duration> {
        const LOOK_INTERVAL: Duration = Duration::from_secs(1);
        let is_due = self.keeping.keep_for > 0
            && self.looks.ages.is_none_or(|last| last.elapsed() >= LOOK_INTERVAL);
        is_due.then(|| {
            (self.looks.ages, self.left) = (Some(Instant::now()), Ok(()));
            Duration::from_nanos(self.keeping.keep_for)
        })
    }

    fn journal_failed(&self) -> Error {
        Error::JournalFailed { queue: self.segment.name().into() }
    }

    fn log(&self) -> &Log {
        self.writer.log()
    }

    fn corrupt(&self, corrupt: Corrupt) -> Error {
        self.segment.corrupt(corrupt)
    }
}

impl Drop for Historian {
    fn drop(&mut self) {
        // A forked child has a copy of this, but not the lock.
        if self.lock.is_own() {
            let _ = self.tidy();
        }
    }
}
