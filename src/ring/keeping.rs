//! What a history has to have before the writer overwrites it.
//!
//! The *historian* is whoever appends to the files: the producer itself, or a journaler. It says in
//! the header from where on and up to where they have the stream.

use super::frame::Frame;
use super::{Corrupt, Lag, MemberIndex, Place, Ring, SubscriptionIndex};
use crate::layout::{
    COUNT_MAX, HEADER, JOURNAL_FAILED, JOURNAL_SOUND, JOURNAL_SYNCING, NO_POSITION, SECTORS,
};
use crate::sync::{AtomicU32, Ordering, fence, load_acquire};

/// What has to be in the files before it is overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keeps {
    #[default]
    Nothing,
    /// What members that spill have not read yet.
    Lagging,
    Everything,
}

impl Ring {
    /// Up to where the files have the stream.
    pub(crate) fn written(&self) -> u64 {
        // Acquire: KEEP.
        load_acquire(self.header(HEADER.written))
    }

    /// From where on they have it.
    pub(crate) fn written_from(&self) -> u64 {
        // Acquire: KEEP.
        load_acquire(self.header(HEADER.written_from))
    }

    /// The position below which bytes may be overwritten already, which is what counts for those who
    /// have the files to go to. The licence is ahead of it while somebody objects.
    pub(crate) fn granted_floor(&self) -> u64 {
        // Acquire: KEEP. Who looks for it in the files after this finds there what was granted.
        self.floor(load_acquire(self.header(HEADER.granted)))
    }

    /// That no more is granted than was ever asked for. Who spills waits for the files to have what is
    /// granted, and for what nobody writes that would be without an end.
    pub(super) fn check_granted(&self) -> Result<(), Corrupt> {
        let granted = self.header(HEADER.granted).load(Ordering::Relaxed);
        // Acquire: LICENCE. What is granted was asked for before the writer's fence.
        fence(Ordering::Acquire);
        let licence = self.licence().load(Ordering::Relaxed);
        let corrupt = Corrupt { position: licence, found: granted };
        if granted <= licence { Ok(()) } else { Err(corrupt) }
    }

    /// Nobody has objected to a licence.
    pub(super) fn grant(&self, licence: u64) {
        let granted = self.header(HEADER.granted);
        // A writer that took over may have been granted less than the last one was.
        let licence = licence.max(granted.load(Ordering::Relaxed));
        // Relaxed: KEEP orders it by the fence of who asked for it.
        granted.store(licence, Ordering::Relaxed);
        // SeqCst: LICENCE, for members that spill. Behind a release fence what goes past the caches might
        // come first.
        fence(Ordering::SeqCst);
    }

    /// The historian has appended up to a position.
    pub(crate) fn set_written(&self, position: u64) {
        // Release: KEEP.
        self.header(HEADER.written).store(position, Ordering::Release);
    }

    /// What is below a position is not in the files any more, or never was.
    pub(crate) fn set_written_from(&self, position: u64) {
        // Release: KEEP.
        self.header(HEADER.written_from).store(position, Ordering::Release);
    }

    /// Up to where messages are as safe as the queue was made to have them.
    pub(crate) fn durable(&self) -> u64 {
        // Acquire: KEEP.
        load_acquire(self.header(HEADER.durable))
    }

    /// The sequence of the first message that is not.
    pub(crate) fn durable_sequence(&self) -> u64 {
        // Acquire: KEEP.
        load_acquire(self.header(HEADER.durable_sequence))
    }

    pub(crate) fn set_durable(&self, place: Place) {
        // Release: KEEP, for both.
        self.header(HEADER.durable_sequence).store(place.sequence, Ordering::Release);
        self.header(HEADER.durable).store(place.position, Ordering::Release);
    }

    /// Has a journaler that syncs now and then do so at once. A fence and a call of the sleepers have
    /// to follow.
    pub(crate) fn ask_to_flush(&self, position: u64) {
        // Relaxed: WAKE orders it for who sleeps; who does not finds it soon.
        self.header(HEADER.flush_to).store(position, Ordering::Relaxed);
    }

    /// Whether what the producer wants durable now is not.
    pub(crate) fn is_flush_awaited(&self) -> bool {
        self.durable() < self.header(HEADER.flush_to).load(Ordering::Relaxed)
    }

    /// Whether a sync has failed: what the system could not write it may have forgotten, so that
    /// nothing can be durable any more.
    pub(crate) fn has_journal_failed(&self) -> bool {
        self.journal_state().load(Ordering::Relaxed) == JOURNAL_FAILED
    }

    pub(crate) fn set_journal_failed(&self) {
        self.journal_state().store(JOURNAL_FAILED, Ordering::Relaxed);
    }

    /// A sync begins, of which somebody has yet to say what came; `false` if one has failed, which
    /// another one does not undo.
    pub(crate) fn begin_sync(&self) -> bool {
        let is_sound = !self.has_journal_failed();
        if is_sound {
            // Nobody else says that it has failed: there is one historian.
            self.journal_state().store(JOURNAL_SYNCING, Ordering::Relaxed);
        }
        is_sound
    }

    /// What came of it is known.
    pub(crate) fn end_sync(&self) {
        if self.is_sync_under_way() {
            self.journal_state().store(JOURNAL_SOUND, Ordering::Relaxed);
        }
    }

    /// Whether a sync was begun of which nobody has said what came.
    pub(crate) fn is_sync_under_way(&self) -> bool {
        self.journal_state().load(Ordering::Relaxed) == JOURNAL_SYNCING
    }

    fn journal_state(&self) -> &AtomicU32 {
        self.header(HEADER.journal_state)
    }

    /// The lowest position that somebody needs who spills.
    pub(crate) fn lowest_spilling(&self) -> Option<u64> {
        let spills = |lag| lag == Lag::Spill;
        let needed = [self.needed_by_members(spills), self.needed_by_subscriptions(spills)];
        needed.into_iter().flatten().min().map(|position| position.min(COUNT_MAX))
    }

    /// The lowest position that a consumer without a name needs which spills.
    pub(crate) fn lowest_spilling_member(&self) -> Option<u64> {
        self.needed_by_members(|lag| lag == Lag::Spill)
    }

    /// The lowest position of a journal that somebody needs: who spills, or a named subscription
    /// that reads there where it left off when the queue was last there.
    pub(crate) fn lowest_in_journal(&self) -> Option<u64> {
        let named = self.needed_by_subscriptions(|lag| lag != Lag::Skip);
        self.lowest_spilling().into_iter().chain(named).min()
    }

    /// Who needs something of the files below a position: consumers of their own, and named
    /// subscriptions.
    pub(crate) fn in_need_of_files(
        &self,
        below: u64,
        is_journal: bool,
    ) -> (Vec<MemberIndex>, Vec<SubscriptionIndex>) {
        let spills = |lag| lag == Lag::Spill;
        let is_meant = move |lag| spills(lag) || (is_journal && lag == Lag::Hold);
        let members = self.members_in_need(below, spills).collect();
        (members, self.subscriptions_in_need(below, is_meant).collect())
    }

    /// Whether everything below a position that has to be in the files is there.
    pub(super) fn is_kept(&self, keeps: Keeps, floor: u64) -> bool {
        match keeps {
            Keeps::Nothing => true,
            Keeps::Lagging => self.lowest_spilling().is_none_or(|needed| {
                let from = self.written_from();
                needed >= floor || (self.written() >= floor && self.is_had_from(needed, from))
            }),
            Keeps::Everything => self.written() >= floor,
        }
    }

    /// Whether files that begin at `from` have as much of what is needed as can be had: what is
    /// neither in them nor in the ring is gone.
    pub(crate) fn is_had_from(&self, needed: u64, from: u64) -> bool {
        from <= needed || needed < self.granted_floor()
    }

    /// The boundary from which on files have to have the stream for a member that needs it from
    /// `needed` on: the first in that sector. A member that is below the floor has lost what is
    /// there, or is about to find that it lost the race of JOIN: for it, the oldest that is whole.
    /// For the writer alone, since nobody else may take it that the index stands still.
    pub(crate) fn first_to_keep(&self, needed: u64) -> Result<Place, Corrupt> {
        let floor = self.granted_floor();
        let entries = (0..SECTORS).filter_map(|sector| self.entry(sector));
        let whole = entries.filter(|place| place.position >= floor);
        let sector_end = self.sector_end(needed);
        let fits = |place: &Place| {
            self.sector_end(place.position) == sector_end && place.position <= needed
        };
        let found = if needed < floor {
            whole.min_by_key(|place| place.position)
        } else {
            whole.into_iter().find(fits)
        };
        found.ok_or(Corrupt { position: needed, found: NO_POSITION })
    }

    /// Follows committed frames to the first boundary at or after `until`, or to the end of the
    /// lap, or to the end of what is committed, whichever comes first. The caller knows that none
    /// of them is overwritten meanwhile.
    pub(crate) fn follow(&self, from: Place, until: u64) -> Result<Place, Corrupt> {
        let mut place = from;
        while place.position < until {
            let frame = self.look(place).frame()?;
            let Some(next) = frame.next(place) else { break };
            place = next;
            if let Frame::Padding { .. } = frame {
                break;
            }
        }
        Ok(place)
    }

    /// Hands the bytes between two boundaries of one lap to `write`: where they lie, and how many
    /// they are.
    #[cfg(not(loom))]
    pub(crate) fn write_out<T>(
        &self,
        from: u64,
        to: u64,
        write: impl FnOnce(*const u8, usize) -> T,
    ) -> T {
        let (offset, size) = (self.offset(from), usize::try_from(to - from).unwrap_or(usize::MAX));
        let bytes = self.frames.slice(offset, size);
        write(bytes.address(), size)
    }
}
