//! What a member has taken: what of it to hand out next, and what to give back.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::Handed;
use super::desk::{Burial, Desk, DeskPart, Missed, Shown, Whereabouts};
use super::portion::{Portion, Sight, bit, bits};
use crate::calls::{call_consumers, call_producer};
use crate::error::Error;
use crate::history::{Checkpoints, Reason, Stretch};
use crate::layout::MEMBER;
use crate::membership;
use crate::ring::{
    Buffer, Corrupt, Head, Place, Read, Ring, Run, ShareIndex, Span, TURNS_MAX, Take,
};
use crate::subscribe::AckMode;
use crate::sync::{Ordering, fence};
use crate::sys::process;
use crate::wait::SLEEP_UNSURE;

/// While so many looks for a message, and one more, are done within a tick of the system's clock, the
/// time is not asked for in so many of them.
const LOOKS_PER_TICK: u32 = 3;
/// How often a member looks whether others have died.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// And, while it has nothing to do, how often at what they do.
const SIGHT_INTERVAL: Duration = Duration::from_millis(1);
/// How long until a message whose dead letter could not be written is tried again.
const LETTER_RETRY: Duration = Duration::from_secs(1);
/// For how long one receive goes on writing dead letters, of which there may be as many as messages that
/// somebody had.
const LETTERS_TIME: Duration = Duration::from_millis(20);

/// What a member has taken and not settled, as its receiver has it. Its messages refer to it while
/// they are lent, from whatever thread; but for a batch that goes on, and for ackers, all else happens
/// while none is lent.
#[derive(Debug)]
pub(crate) struct Work {
    /// What it has in common with ackers, which have a part in it each.
    pub(super) desk: Arc<Desk>,
    /// Whether messages are lent where they lie, and acknowledged by the next receive, for which
    /// nobody waits. Then there are no ackers.
    pub(super) is_plain: bool,
    /// [`Desk::copies`], at hand.
    pub(super) copies: bool,
    /// The share that is worked through in order, and those of which there is something left, in
    /// the order of the stream.
    pub(super) current: Option<Arc<Portion>>,
    pub(super) left: Vec<Arc<Portion>>,
    /// One that is done with, to take the next share with.
    pub(super) spare: Option<Arc<Portion>>,
    /// The sequences that were missed before the first message.
    pub(super) missed: Option<(u64, u64)>,
    /// What there was of others' shares at the last look at them.
    pub(super) seen: Vec<Sight>,
    pub(super) seen_at: Option<Instant>,
    pub(super) watched_at: Option<Instant>,
    /// When to look at them before the head is looked at, by [`process::last_tick`], which was this when
    /// it was last asked for; and how many looks are to pass before that is done again.
    pub(super) others_at: Duration,
    pub(super) tick: Duration,
    pub(super) looks_left: u32,
    /// Whether the last share was not taken from the head.
    pub(super) has_inherited: bool,
    /// How many messages of what is left were handed out since a share was taken, from wherever.
    pub(super) picked: u32,
    /// Of how many that there were then.
    pub(super) to_pick: u32,
    /// When there will be something to do without a message from the producer.
    pub(super) due_at: Option<Instant>,
    /// Until when this look may write dead letters, once it has written one.
    pub(super) letters_until: Option<Instant>,
}

impl Drop for Work {
    fn drop(&mut self) {
        // A forked child has a copy of this, but not the place.
        if self.desk.lock.is_own() {
            // Without it more comes again when the queue is made anew, but nothing is lost.
            let _ = self.checkpoint();
        }
    }
}

/// Whether there are ackers. There will not be more of them than none while the receiver is at work:
/// the first one is made by whoever has borrowed that, and others of others.
#[inline(always)]
pub(super) fn is_shared(desk: &Arc<Desk>) -> bool {
    let is_shared = Arc::strong_count(desk) > 1;
    // Acquire: what the last of them has done, before it went.
    fence(Ordering::Acquire);
    is_shared
}

/// The lock, if there is anybody to keep away by it.
#[inline(always)]
pub(super) fn hold(desk: &Arc<Desk>) -> Option<MutexGuard<'_, Shown>> {
    is_shared(desk).then(|| desk.shown())
}

impl Work {
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The subscription that it is a member of.
    pub(crate) fn subscription(&self) -> &str {
        &self.desk.name
    }

    /// A part in what the member has in common with ackers.
    pub(crate) fn share_desk(&self) -> Result<DeskPart, Error> {
        self.desk.check_own()?;
        if self.desk.mode == AckMode::Auto {
            let queue = self.desk.segment.name().into();
            let what = "a member whose messages are acknowledged by the next receive has no acker; make it with AckMode::Manual";
            return Err(Error::InvalidOption { queue, what: what.into() });
        }
        let mut shown = self.desk.shown();
        if !is_shared(&self.desk) {
            shown.show_all(self.portions());
        }
        Ok(DeskPart::new(&self.desk))
    }

    /// The next message of the current share, as a part of a batch.
    #[inline]
    pub(crate) fn next_in_batch(&self, run: &mut Run) -> Option<Span> {
        let (span, end) = run.peek()?;
        let portion = self.current.as_ref()?;
        self.desk.check_own().ok()?;
        // Those before it are lent, and may be settled meanwhile.
        let _shown = self.desk.shown();
        portion.hand_out();
        run.advance(end);
        Some(span)
    }

    /// Whether payloads are copied out before they are lent.
    #[inline(always)]
    pub(crate) fn copies(&self) -> bool {
        self.copies
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.desk.ring
    }

    /// Has it in files how far the subscription has come, in a queue with a journal.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        // Others who leave at once write too, each for some milliseconds.
        const PATIENCE: Duration = Duration::from_secs(1);
        let checkpoints = Checkpoints::of(&self.desk.segment);
        let own = Some(self.desk.subscription.index());
        checkpoints.map_or(Ok(()), |mut all| all.write_all(&self.desk.ring, own, PATIENCE))
    }

    pub(super) fn portions(&self) -> impl Iterator<Item = &Arc<Portion>> {
        self.current.iter().chain(&self.left)
    }

    #[inline(always)]
    pub(super) fn hold(&self) -> Option<MutexGuard<'_, Shown>> {
        hold(&self.desk)
    }

    /// Settles what was lent before, if that goes without saying, and lends the next message in
    /// order; `false` if another member has taken the share away.
    #[inline(always)]
    pub(super) fn hand_out_next(&self, portion: &Portion) -> bool {
        if is_shared(&self.desk) {
            return self.hand_out_beside_ackers(portion);
        }
        self.hand_out(portion)
    }

    #[cold]
    pub(super) fn hand_out_beside_ackers(&self, portion: &Portion) -> bool {
        let mut shown = self.desk.shown();
        let done = self.hand_out(portion);
        if done {
            self.desk.show_lent(&mut shown, portion);
        }
        done
    }

    #[inline(always)]
    pub(super) fn hand_out(&self, portion: &Portion) -> bool {
        let desk = &*self.desk;
        let before = if desk.mode == AckMode::Auto { portion.lent() } else { 0 };
        let state = portion.state();
        let done = desk.replace(portion, state.settle(before).hand_out());
        if done {
            portion.set_lent(portion.lent() & !before | bit(state.handed()));
            if desk.keyed && before != 0 {
                call_consumers(&desk.ring);
            }
        }
        done
    }

    /// Takes a share from the head, wherever that is.
    #[inline(always)]
    pub(super) fn take(&self, index: ShareIndex, count_max: u32) -> Result<Take, Error> {
        let desk = &*self.desk;
        let take = desk.ring.take(&desk.subscription, index, count_max, desk.keyed);
        let take = take.map_err(|corrupt| desk.segment.corrupt(corrupt))?;
        if let Take::Behind(head) = take {
            return self.take_behind(head, index, count_max);
        }
        if let Some(mut backlog) = desk.backlog() {
            backlog.close();
        }
        Ok(take)
    }

    /// Takes a share from a head that is not in the ring any more.
    pub(super) fn take_behind(
        &self,
        head: Head,
        index: ShareIndex,
        count_max: u32,
    ) -> Result<Take, Error> {
        let (desk, mut head) = (&*self.desk, head);
        for _ in 0..TURNS_MAX {
            if let Some(take) = self.try_take_behind(head, index, count_max)? {
                return Ok(take);
            }
            let take = desk.ring.take(&desk.subscription, index, count_max, desk.keyed);
            match take.map_err(|corrupt| desk.segment.corrupt(corrupt))? {
                Take::Behind(moved) => head = moved,
                take => return Ok(take),
            }
        }
        Ok(Take::Empty)
    }

    /// [`Self::take_behind`]; nothing if somebody was faster.
    pub(super) fn try_take_behind(
        &self,
        head: Head,
        index: ShareIndex,
        count_max: u32,
    ) -> Result<Option<Take>, Error> {
        let desk = &*self.desk;
        let corrupt = |corrupt| desk.segment.corrupt(corrupt);
        let (ring, subscription) = (&desk.ring, &desk.subscription);
        let Some(mut backlog) = desk.backlog() else {
            // Nobody overwrites what such a subscription needs.
            let Place { position, sequence: found } = head.place;
            return Err(corrupt(Corrupt { position, found }));
        };
        let keyed = desk.keyed;
        Ok(match backlog.survey(head.place, count_max)? {
            Stretch::InFiles(extent, keys) => {
                let keys = keyed.then_some(&keys);
                let taken = ring.take_stretch(subscription, index, head, extent, keys);
                taken.map(|state| Take::Taken(extent, state))
            }
            Stretch::Present(place) => {
                let take = ring.try_take(subscription, index, head, place, count_max, keyed);
                take.map_err(corrupt)?
            }
        })
    }

    /// How many messages more the member may take; `None` while it has as many as it may have.
    pub(super) fn room(&self) -> Option<u32> {
        let own = self.portions().filter(|portion| !portion.is_lost());
        let taken: u32 = own.map(|portion| portion.in_work().count_ones()).sum();
        self.desk.prefetch.checked_sub(taken).filter(|&room| room > 0)
    }

    pub(super) fn has_room(&self) -> bool {
        let _shown = self.hold();
        self.room().is_some()
    }

    /// Whether more may be lent, wherever it comes from. Where nobody but the receiver could settle
    /// something it is an error if not.
    pub(super) fn may_have_more(&self) -> Result<bool, Error> {
        if self.lent() < self.desk.prefetch {
            return Ok(true);
        }
        let shown = self.hold();
        if self.desk.has_lease() {
            // Nobody tells it what has passed to others meanwhile.
            self.portions().for_each(|portion| portion.look_after());
        }
        // Anew: the last acker may have settled something just before it went.
        let may_have_more = self.lent() < self.desk.prefetch;
        if may_have_more || shown.is_some() { Ok(may_have_more) } else { Err(self.prefetch_full()) }
    }

    pub(super) fn prefetch_full(&self) -> Error {
        Error::PrefetchFull { queue: self.desk.segment.name().into(), unacked: self.lent() }
    }

    /// All shares are in use: who has more than its part, and is to acknowledge something before there
    /// are any, may wait for itself. That is an error where nobody but the receiver could settle it.
    pub(super) fn check_own_shares(&mut self) -> Result<(), Error> {
        let is_shared = is_shared(&self.desk);
        let lent_of = self.portions().filter(|portion| portion.lent() != 0).count();
        if lent_of <= 2 || self.spare.is_some() {
            return Ok(());
        }
        if !is_shared {
            return Err(self.prefetch_full());
        }
        // Nobody calls when an acker has settled the last message of one.
        note_due(&mut self.due_at, Instant::now() + SLEEP_UNSURE);
        Ok(())
    }

    pub(super) fn lent(&self) -> u32 {
        let own = self.portions().filter(|portion| !portion.is_lost());
        own.map(|portion| portion.lent().count_ones()).sum()
    }

    /// Keeps what is left of the current share for later, gives back what is done with, and leaves to
    /// whoever is free what waits.
    pub(super) fn put_aside(&mut self, run: &mut Run) {
        let Self { desk, current, left, spare, .. } = self;
        if current.is_none() && left.is_empty() {
            return;
        }
        let mut shown = hold(desk);
        if desk.has_lease() {
            // Nobody tells it what has passed to others meanwhile, and what is blocked does so although
            // the member is at work.
            current.iter().chain(&*left).for_each(|portion| portion.look_after());
        }
        let mut put_back = |portion: Arc<Portion>| {
            if let Some(shown) = &mut shown {
                shown.hide(&portion);
            }
            if portion.is_lost() {
                return;
            }
            if portion.state().unsettled() != 0 {
                desk.open(&portion);
                return;
            }
            portion.retire();
            if spare.is_none() {
                *spare = Some(portion);
            } else {
                desk.replace(&portion, portion.state().owned_by(None));
                // Somebody may have waited for a share to be free.
                call_consumers(&desk.ring);
            }
            call_producer(&desk.ring);
        };
        if let Some(portion) = current.take() {
            run.stop();
            desk.count_handed(&portion);
            if portion.is_to_keep() {
                keep(left, portion);
            } else {
                put_back(portion);
            }
        }
        let mut place = 0;
        while let Some(portion) = left.get(place) {
            if portion.is_to_keep() {
                place += 1;
            } else {
                put_back(left.remove(place));
            }
        }
    }

    /// What the member had of an entry of the table before it has this there is another's, whether it
    /// knows that or not.
    pub(super) fn lose_older(&self, portion: &Portion) {
        if self.desk.has_lease() {
            let _shown = self.hold();
            let older = self.portions().filter(|other| other.index() == portion.index());
            older.for_each(|older| older.lose());
        }
    }

    pub(super) fn keep(&mut self, portion: Arc<Portion>) {
        keep(&mut self.left, portion);
    }

    /// Hands out a message of what is left of shares, if there is one whose time has come.
    pub(super) fn pick(&mut self, buffer: &mut Buffer) -> Result<Option<Read<Handed>>, Error> {
        let Self { desk, left, due_at, letters_until, .. } = self;
        let mut all =
            left.iter().map(|portion| pick_of(desk, portion, due_at, letters_until, buffer));
        let picked = all.find_map(Result::transpose).transpose()?;
        self.picked += u32::from(picked.is_some());
        Ok(picked)
    }

    /// Whether what is left of shares comes before what others left and the head: until each message of
    /// it has been handed out once. One that is refused again and again keeps nothing else waiting.
    pub(super) fn is_for_what_is_left(&mut self) -> bool {
        if self.picked == 0 {
            let left = |portion: &Arc<Portion>| portion.state().unsettled() & !portion.lent();
            self.to_pick = self.left.iter().map(|portion| left(portion).count_ones()).sum();
        }
        self.picked < self.to_pick
    }

    /// Looks after what other members left, and hands out a message of that. Each look takes lines
    /// away from members at work, so that an idle one does that now and then.
    pub(super) fn look_at_others(
        &mut self,
        at_once: bool,
        buffer: &mut Buffer,
    ) -> Result<Option<Read<Handed>>, Error> {
        let now = Instant::now();
        if self.is_to_watch(now) {
            self.watched_at = Some(now);
            let Desk { ring, index: own, subscription, lock, .. } = &*self.desk;
            let members = ring.members_of(subscription.index());
            membership::clear_dead(ring, lock, members.filter(|index| index != own))?;
        }
        let since = |at: Instant| now.duration_since(at);
        let is_to_see = self.seen_at.is_none_or(|at| since(at) >= SIGHT_INTERVAL);
        if at_once || is_to_see || self.desk.has_opened() {
            self.see_others(now);
        }
        let mut found = None;
        for sight in self.ripe(now) {
            let inherited = self.inherit(&sight);
            if !matches!(inherited, Ok(None)) {
                // Else others were faster, and have yet to settle it.
                self.seen.retain(|seen| seen.index != sight.index);
            }
            let Some(portion) = inherited? else { continue };
            let Self { desk, due_at, letters_until, .. } = self;
            found = pick_of(desk, &portion, due_at, letters_until, buffer)?;
            if found.is_some() {
                break;
            }
        }
        self.note_next_look(now);
        Ok(found)
    }

    /// What can be taken over by now: first what has been so for longest, and then what is first in the
    /// stream. In the order of the table what was refused just now would come before all else.
    fn ripe(&self, now: Instant) -> Vec<Sight> {
        let begin_of = |sight: &Sight| {
            let extent = self.desk.ring.extent(sight.index);
            extent.map_or(0, |extent| extent.begin.position)
        };
        let ripens = self.seen.iter().filter_map(|sight| Some((self.ripens_at(sight)?, *sight)));
        let mut ripe: Vec<_> = ripens.filter(|(at, _)| *at <= now).collect();
        ripe.sort_by_cached_key(|(at, sight)| (*at, begin_of(sight)));
        ripe.into_iter().map(|(_, sight)| sight).collect()
    }

    /// Takes a share over, unless it has changed since it was seen.
    fn inherit(&mut self, sight: &Sight) -> Result<Option<Arc<Portion>>, Error> {
        let desk = &*self.desk;
        let portion = Portion::inherited(&desk.ring, sight, desk.index, desk.keyed);
        let portion = portion.map_err(|corrupt| desk.segment.corrupt(corrupt))?;
        let Some(portion) = portion else { return Ok(None) };
        for number in bits(portion.waiting()) {
            portion.retry_at(number, sight.since + self.pause_of(sight, number));
        }
        let portion = Arc::new(portion);
        self.lose_older(&portion);
        if let Some(mut shown) = self.hold() {
            shown.show(&portion);
        }
        self.keep(Arc::clone(&portion));
        self.has_inherited = true;
        self.picked = 0;
        Ok(Some(portion))
    }

    /// Notes when to look again: for those who have died, or since something of what was seen can be
    /// taken over.
    fn note_next_look(&mut self, now: Instant) {
        let mut next = self.watched_at.map_or(now, |at| at + WATCH_INTERVAL);
        if let Some(at) = self.seen.iter().filter_map(|sight| self.ripens_at(sight)).min() {
            note_due(&mut self.due_at, at);
            next = next.min(at);
        }
        self.others_at = process::last_tick() + next.saturating_duration_since(now);
    }

    /// Looks at the shares of others. Those that this member left have been as they are since then.
    pub(super) fn see_others(&mut self, now: Instant) {
        self.seen.extend(self.desk.take_opened());
        self.seen.sort_by_key(|seen| seen.index.get());
        self.seen = self.sights(now);
        self.seen_at = Some(now);
    }

    /// Whether others' shares come before the head. Of each there is one after the other, while there
    /// is something of both, so that neither has to wait for the other's end.
    pub(super) fn is_for_others(&mut self) -> bool {
        !self.has_inherited && (self.desk.has_opened() || self.is_time_for_others())
    }

    fn is_time_for_others(&mut self) -> bool {
        if self.looks_left > 0 {
            self.looks_left -= 1;
            return false;
        }
        let tick = process::last_tick();
        self.looks_left = if tick == self.tick { LOOKS_PER_TICK } else { 0 };
        self.tick = tick;
        tick >= self.others_at
    }

    pub(super) fn is_to_watch(&self, now: Instant) -> bool {
        self.watched_at.is_none_or(|at| now.duration_since(at) >= WATCH_INTERVAL)
    }

    /// The unsettled shares of the subscription that are not this member's, and since when they
    /// have been as they are.
    pub(super) fn sights(&self, now: Instant) -> Vec<Sight> {
        let Desk { ring, index: own, subscription, .. } = &*self.desk;
        let shares = ring.shares_of(subscription.index());
        let found = shares.filter_map(|seen| Sight::of(&seen, now));
        let of_others = found.filter(|sight| sight.state.owner() != Some(*own));
        // Both are in the order of the table.
        let mut seen = &self.seen[..];
        let known = |sight: Sight| {
            let before = seen.iter().take_while(|seen| seen.index.get() < sight.index.get());
            seen = &seen[before.count()..];
            let of_it = seen.iter().take_while(|seen| seen.index == sight.index);
            { of_it }.find(|seen| seen.is_same(&sight)).copied().unwrap_or(sight)
        };
        of_others.map(known).collect()
    }

    /// When a share of another member's can be taken over, if nothing happens to it before.
    pub(super) fn ripens_at(&self, sight: &Sight) -> Option<Instant> {
        if !sight.state.is_open() {
            return self.desk.terms.ack_within.map(|time| sight.since + time);
        }
        if sight.state.unsettled() & !sight.waiting != 0 {
            return Some(sight.since);
        }
        let waiting = bits(sight.waiting & sight.state.unsettled());
        let pauses = waiting.map(|number| self.pause_of(sight, number));
        pauses.min().map(|pause| sight.since + pause)
    }

    /// How long a message that waits does so.
    pub(super) fn pause_of(&self, sight: &Sight, number: u32) -> Duration {
        let share = self.desk.ring.share(sight.index);
        let usual = || self.desk.pause_after(share.deliveries(number, sight.state));
        share.pause(number).unwrap_or_else(usual)
    }

    /// Whether there are messages that somebody may yet have to be given.
    pub(super) fn is_something_left(&self) -> bool {
        self.is_something_own_left() || self.desk.has_opened() || !self.seen.is_empty()
    }

    pub(super) fn is_something_own_left(&self) -> bool {
        self.portions().any(|portion| portion.state().unsettled() & !portion.lent() != 0)
    }

    /// Whether something of what is left of shares can be handed out.
    pub(super) fn is_something_ready(&self) -> bool {
        self.left.iter().any(|portion| {
            let is_ready = |number| {
                portion.waits_until(number).is_none()
                    && !portion.is_blocked(number, &self.desk.ring)
            };
            !portion.is_lost() && bits(portion.state().unsettled() & !portion.lent()).any(is_ready)
        })
    }
}

/// Puts a share among others, in the order of the stream.
pub(super) fn keep(left: &mut Vec<Arc<Portion>>, portion: Arc<Portion>) {
    let position = portion.extent().begin.position;
    let place = left.partition_point(|other| other.extent().begin.position < position);
    left.insert(place, portion);
}

/// [`Work::pick`], of one share; `due_at` comes to be when there will be something to do for it, if that
/// is earlier, and `letters_until` how long to write dead letters, if there is one.
fn pick_of(
    desk: &Arc<Desk>,
    portion: &Portion,
    due_at: &mut Option<Instant>,
    letters_until: &mut Option<Instant>,
    buffer: &mut Buffer,
) -> Result<Option<Read<Handed>>, Error> {
    let candidates = {
        let _held = hold(desk);
        portion.state().unsettled() & !portion.lent()
    };
    for number in portion.in_order_of_waiting(candidates) {
        if portion.is_lost() {
            break;
        }
        if let Some(at) = portion.waits_until(number) {
            note_due(due_at, at);
            continue;
        }
        if portion.is_blocked(number, &desk.ring) {
            continue;
        }
        if !desk.is_last_delivery(portion.deliveries(number)) {
            return deliver_again(desk, portion, number, buffer);
        }
        let now = Instant::now();
        if now > *letters_until.get_or_insert(now + LETTERS_TIME) {
            // The caller's time may be over, or somebody interrupts it.
            note_due(due_at, now);
            break;
        }
        let hold = || hold(desk);
        let (_held, burial) = desk.bury(portion, number, Reason::Unacknowledged, hold(), hold);
        match burial {
            // There may be another message to hand out before it is put aside.
            Ok(Burial::Done) if portion.state().unsettled() == 0 => desk.retire(portion),
            Ok(Burial::Done) => {}
            Ok(Burial::Gone { to }) => return Ok(desk.miss(portion, number, to).map(Read::from)),
            Ok(Burial::Late) => break,
            Err(error) => {
                let _ = portion.set_pause(number, Some(LETTER_RETRY));
                portion.retry_at(number, Instant::now() + LETTER_RETRY);
                return Err(error);
            }
        }
    }
    Ok(None)
}

/// Hands out a message that was had before, or whose turn has come, or tells that it was missed; nothing
/// if another member has taken the share away.
fn deliver_again(
    desk: &Arc<Desk>,
    portion: &Portion,
    number: u32,
    buffer: &mut Buffer,
) -> Result<Option<Read<Handed>>, Error> {
    let (hold, find) = (|| hold(desk), || desk.find_own(portion, number, buffer));
    let (mut held, found) = desk.while_busy(portion, number, hold(), hold, find);
    let (span, is_copy) = match found? {
        Some(Whereabouts::Message { span, is_copy }) => (span, is_copy),
        Some(Whereabouts::Gone { to }) => {
            return Ok(desk.miss(portion, number, to).map(Read::from));
        }
        None => return Ok(None),
    };
    if !desk.show_progress(portion) {
        return Ok(None);
    }
    portion.hand_out_again(number);
    // Behind the count: else others might have had the message as new since, and it be handed out.
    if !desk.show_progress(portion) {
        return Ok(None);
    }
    if let Some(shown) = &mut held {
        desk.show_lent(shown, portion);
    }
    let delivery = portion.deliveries(number);
    desk.count(MEMBER.delivered, 1);
    desk.count(MEMBER.redelivered, u64::from(delivery > 1));
    let sequence = portion.extent().begin.sequence + u64::from(number);
    Ok(Some(Read::Message(Handed { span, sequence, delivery, is_copy })))
}

impl From<Missed> for Read<Handed> {
    fn from(Missed { from, to }: Missed) -> Self {
        Self::Missed { from, to }
    }
}

pub(super) fn note_due(due_at: &mut Option<Instant>, at: Instant) {
    *due_at = Some(due_at.map_or(at, |due_at| due_at.min(at)));
}
