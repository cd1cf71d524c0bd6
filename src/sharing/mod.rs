//! Receiving as a member of a named subscription: what to do next, by whom, and when.
//!
//! A member works through one share after the other in the order of the stream: that is the short
//! way. What has to be done again, or in another order, is picked message by message: refused
//! messages when their pause is over, what others left, keys that wait for each other. Times are
//! measured by the clock of whoever measures, from when it saw what it measures from; no time that
//! another process wrote down is ever compared with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::history::{Backlog, Checkpoints, DeadLetterFile, Reason, Stretch};
use crate::layout;
use crate::membership::{self, announce_messages, announce_room};
use crate::registry::Found;
use crate::ring::{
    Buffer, Corrupt, Head, Lag, MemberIndex, Place, Read, Ring, Run, ShareIndex, Span, Take,
};
use crate::segment::{Mapping, Segment};
use crate::subscribe::{AckMode, Subscribe};
use crate::sync::{AtomicU32, Ordering, fence};
use crate::wait::{Event, SLEEP_UNSURE};
use desk::{Missed, Shown, Whereabouts};
use portion::{Portion, Sight, bit, bits};

pub(crate) use desk::{Desk, DeskPart};

mod desk;
mod portion;
mod settling;

/// A member looks so often whether others have died.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// And, while it has nothing to do, so often at what they do.
const SIGHT_INTERVAL: Duration = Duration::from_millis(1);
/// A member looks at the clock for that once in so many looks for a message.
const LOOKS_PER_CLOCK: u32 = 16;
/// A share that others are faster to take is tried for again so often.
const TURNS_MAX: u32 = 100;
/// A message whose dead letter could not be written is tried again after so long.
const LETTER_RETRY: Duration = Duration::from_secs(1);

/// Reads what its member takes.
#[derive(Debug)]
pub(crate) struct SharedReader {
    /// What follows in the current share; without one, where the head was seen last.
    run: Run,
    /// The position where the lap of that began.
    lap: u64,
    /// Up to here the frames are known to be alike, and need not be looked at again.
    known_until: usize,
    /// How far the last look got that found nothing.
    reached: Reached,
    work: Work,
}

/// What a member has taken and not settled, as its receiver has it. Its messages refer to it while
/// they are lent, from whatever thread; but for a batch that goes on, and for ackers, all else happens
/// while none is lent.
#[derive(Debug)]
pub(crate) struct Work {
    /// What it has in common with ackers, which have a part in it each.
    desk: Arc<Desk>,
    /// Whether messages are lent where they lie, and acknowledged by the next receive, for which
    /// nobody waits. Then there are no ackers.
    is_plain: bool,
    /// [`Desk::copies`], at hand.
    copies: bool,
    /// The share that is worked through in order, and those of which there is something left, in
    /// the order of the stream.
    current: Option<Arc<Portion>>,
    left: Vec<Arc<Portion>>,
    /// One that is done with, to take the next share with.
    spare: Option<Arc<Portion>>,
    /// The sequences that were missed before the first message.
    missed: Option<(u64, u64)>,
    /// What there was of others' shares at the last look at them.
    seen: Vec<Sight>,
    seen_at: Option<Instant>,
    watched_at: Option<Instant>,
    looks: u32,
    /// When there will be something to do without a message from the producer.
    due_at: Option<Instant>,
}

/// A message that is about to be lent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) span: Span,
    pub(crate) sequence: u64,
    pub(crate) delivery: u32,
    /// Whether it lies in the reader's buffer, and not in the ring.
    pub(crate) is_copy: bool,
}

/// How far a look got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Not as far as the head.
    NotHead,
    /// The head, where nothing was; the run is there.
    Head,
    /// The head, and the member may take nothing there, whatever there is.
    Barred,
    /// The head, and the member has as much in work as it may have. Ackers may settle some of it.
    NoRoom,
    /// Nothing at all, because the member has as much as it may have. Ackers may settle some of it.
    Full,
}

impl SharedReader {
    pub(crate) fn new(
        segment: &Arc<Segment>,
        mapping: &Arc<Mapping>,
        index: MemberIndex,
        found: Found,
        options: &Subscribe,
    ) -> Result<Self, Error> {
        let ring = mapping.ring();
        let Found { subscription, terms, missed, .. } = found;
        let run = ring.run_at_head(&subscription).map_err(|corrupt| segment.corrupt(corrupt))?;
        let directory = options.dead_letters.as_deref().or_else(|| segment.history());
        let file = |directory| {
            let name = options.name.as_deref().unwrap_or_default();
            DeadLetterFile::new(directory, segment.name(), segment.identity().instance, name)
        };
        let is_plain = options.ack == AckMode::Auto
            && terms.ack_within.is_none()
            && terms.lag == Lag::Hold
            && !terms.keyed;
        let desk = Desk {
            segment: Arc::clone(segment),
            lock: segment.lock_file()?,
            index,
            member: ring.member(index),
            mode: options.ack,
            prefetch: options.prefetch.0,
            dead_letters: directory.map(file),
            backlog: Backlog::of(segment, &ring, terms.lag).map(Mutex::new),
            shown: Mutex::default(),
            letters: RwLock::default(),
            has_opened: AtomicU32::new(0),
            relief: Arc::default(),
            ring,
            subscription,
            terms,
            _mapping: Arc::clone(mapping),
        };
        let copies = desk.copies();
        let work = Work {
            desk: Arc::new(desk),
            is_plain,
            copies,
            current: None,
            left: Vec::new(),
            spare: None,
            missed,
            seen: Vec::new(),
            seen_at: None,
            // The first look is at what others left.
            watched_at: None,
            looks: LOOKS_PER_CLOCK - 1,
            due_at: None,
        };
        Ok(Self { run, lap: 0, known_until: 0, reached: Reached::NotHead, work })
    }

    #[inline(always)]
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    #[inline(always)]
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    /// Where the next message begins, as far as that is known.
    pub(crate) fn position(&self) -> u64 {
        self.lap + self.run.offset() as u64
    }

    /// Whether the next message in order is not there yet.
    pub(crate) fn is_at_end(&self) -> bool {
        self.run.is_at_end()
    }

    /// Whether a message at the end of the run is what the member waits for.
    pub(crate) fn is_at_head(&self) -> bool {
        self.reached == Reached::Head
    }

    /// The run and the work apart, for a batch whose messages refer to the work.
    pub(crate) fn split(&mut self) -> (&mut Run, &Work) {
        (&mut self.run, &self.work)
    }

    /// Acknowledges what was lent before, if that goes without saying, and hands out the next
    /// message of the share, if nothing about it is unusual; else [`Self::look`] tells.
    #[inline(always)]
    pub(crate) fn try_next(&mut self, buffer: &mut Buffer) -> Option<Span> {
        if !self.work.is_plain {
            return self.try_next_with_care(buffer);
        }
        let portion = self.work.current.as_ref()?;
        let span = if self.run.offset() < self.known_until {
            self.run.next_known()
        } else {
            self.run.next()?
        };
        portion.settle_and_hand_out();
        Some(span)
    }

    /// [`Self::try_next`], where payloads are copied, or messages acknowledged one by one.
    #[inline(never)]
    fn try_next_with_care(&mut self, buffer: &mut Buffer) -> Option<Span> {
        let (span, end) = self.run.peek()?;
        let work = &self.work;
        let portion = work.current.as_ref()?;
        let lent = work.desk.lend(portion, span, buffer)?;
        if !work.hand_out_next(portion) {
            return None;
        }
        self.run.advance(end);
        Some(lent)
    }

    /// Acknowledges what was lent before, if that goes without saying. Nothing is lent any more where
    /// it lies.
    pub(crate) fn release(&mut self) {
        let work = &self.work;
        if work.desk.mode == AckMode::Auto {
            for portion in work.portions() {
                let lent = portion.lent();
                if lent != 0 {
                    portion.set_lent(0);
                    // Who is too late is not told: another member has the message by now.
                    work.desk.settle_as(layout::ACKED, portion, lent);
                }
            }
        } else if let Some(mut shown) = work.hold() {
            shown.lent_from = None;
        }
    }

    /// Looks for a message, wherever it is: in the current share, among what is left of others,
    /// among what other members left, and at the head. `None` is the first one of a new share,
    /// which the short way hands out.
    pub(crate) fn look(&mut self, buffer: &mut Buffer) -> Result<Read<Option<Handed>>, Error> {
        self.reached = Reached::NotHead;
        let work = &mut self.work;
        if let Some((from, to)) = work.missed.take() {
            return Ok(Read::Missed { from, to });
        }
        work.due_at = None;
        work.looks = work.looks.wrapping_add(1);
        if let Some(read) = self.look_at_current(buffer)? {
            return Ok(read.map(Some));
        }
        if !self.work.may_have_more()? {
            self.reached = Reached::Full;
            return Ok(Read::Empty);
        }
        if let Some(read) = self.work.pick(buffer)? {
            return Ok(read.map(Some));
        }
        if self.work.looks.is_multiple_of(LOOKS_PER_CLOCK)
            && self.work.is_to_watch(Instant::now())
            && let Some(read) = self.work.look_at_others(true, buffer)?
        {
            return Ok(read.map(Some));
        }
        match self.look_at_head(buffer)? {
            // Nothing better to do.
            nothing @ (Read::Empty | Read::Closed { .. }) => {
                let (work, is_closed) = (&mut self.work, matches!(nothing, Read::Closed { .. }));
                if let Some(read) = work.look_at_others(is_closed, buffer)? {
                    return Ok(read.map(Some));
                }
                if !work.is_something_left() {
                    return Ok(nothing);
                }
                if is_closed {
                    // Nobody calls for the last message that is settled.
                    note_due(&mut work.due_at, Instant::now() + SLEEP_UNSURE);
                }
                Ok(Read::Empty)
            }
            read => Ok(read),
        }
    }

    /// What the short way did not do: the rest of the current share, or what is left of it.
    fn look_at_current(&mut self, buffer: &mut Buffer) -> Result<Option<Read<Handed>>, Error> {
        let work = &self.work;
        let mut missed = None;
        if let Some(portion) = &work.current
            && !portion.is_handed_out()
            && !portion.is_lost()
        {
            // From here on the short way leads nowhere.
            self.run.stop();
            let number = portion.state().handed();
            match work.desk.find_own(portion, number, buffer)? {
                Some(Whereabouts::Message { span, is_copy }) if work.hand_out_next(portion) => {
                    let sequence = portion.extent().begin.sequence + u64::from(number);
                    let handed = Handed { span, sequence, delivery: 1, is_copy };
                    return Ok(Some(Read::Message(handed)));
                }
                Some(Whereabouts::Message { .. }) | None => {}
                Some(Whereabouts::Gone { to }) => {
                    let _held = work.hold();
                    missed = work.desk.miss(portion, number, to).map(Read::from);
                }
            }
        }
        self.work.put_aside(&mut self.run);
        Ok(missed)
    }

    /// Takes a share from the head.
    #[allow(clippy::cast_possible_truncation, reason = "at most a sector and a message")]
    fn look_at_head(&mut self, buffer: &mut Buffer) -> Result<Read<Option<Handed>>, Error> {
        let work = &mut self.work;
        self.reached = Reached::NoRoom;
        let Some(count_max) = work.room() else { return Ok(Read::Empty) };
        self.reached = Reached::Barred;
        let allot = |desk: &Desk| {
            let index = desk.ring.allot(desk.index, desk.subscription.index())?;
            Some(Arc::new(Portion::allotted(&desk.ring, index)))
        };
        let Some(mut portion) = work.spare.take().or_else(|| allot(&work.desk)) else {
            // All shares are in use. Some will be done with; but who has more than its part, and is to
            // acknowledge something before there are any, may wait for itself.
            let is_shared = is_shared(&work.desk);
            let is_own_doing = work.portions().filter(|portion| portion.lent() != 0).count() > 2;
            if is_own_doing && !is_shared {
                return Err(work.prefetch_full());
            }
            if is_own_doing {
                // Nobody calls when an acker has settled the last message of one.
                note_due(&mut work.due_at, Instant::now() + SLEEP_UNSURE);
            }
            return Ok(Read::Empty);
        };
        let (extent, state) = match work.take(portion.index(), count_max) {
            Ok(Take::Taken(extent, state)) => (extent, state),
            nothing => {
                work.spare = Some(portion);
                let nothing = nothing?;
                let desk = &work.desk;
                let run = desk.ring.run_at_head(&desk.subscription);
                self.run = run.map_err(|corrupt| desk.segment.corrupt(corrupt))?;
                self.reached = Reached::Head;
                return Ok(match nothing {
                    Take::Closed { end } => Read::Closed { end },
                    _ => Read::Empty,
                });
            }
        };
        self.reached = Reached::NotHead;
        self.run = work.desk.ring.run_of(&extent);
        self.lap = extent.begin.position - self.run.offset() as u64;
        let size = (extent.end - extent.begin.position) as usize;
        self.known_until = extent.shape.map_or(0, |_| self.run.offset() + size);
        let (ring, keyed) = (&work.desk.ring, work.desk.terms.keyed);
        if let Some(portion) = portion::sole(&mut portion) {
            portion.fill(ring, extent, state, keyed);
        } else {
            // An acker is not quite done with what it was before.
            let mut other = Portion::allotted(ring, portion.index());
            other.fill(ring, extent, state, keyed);
            portion = Arc::new(other);
        }
        let has_left = work.desk.has_left(&portion);
        if has_left {
            // What lies there in the ring is something else.
            self.run.stop();
        }
        let in_order = !portion.is_blocked_at_all();
        let is_missed = extent.missed_from < extent.begin.sequence;
        let (from, to) = (extent.missed_from, extent.begin.sequence);
        {
            let mut shown = hold(&work.desk);
            if let Some(shown) = &mut shown {
                shown.show(&portion);
            }
            if in_order {
                work.desk.begin_to_count(&portion);
            }
            if is_missed {
                work.desk.count(layout::MISSED, to - from);
            }
        }
        if in_order {
            work.current = Some(portion);
        } else {
            work.keep(portion);
        }
        if is_missed {
            return Ok(Read::Missed { from, to });
        }
        if in_order && !has_left {
            return Ok(Read::Message(None));
        }
        let read = if in_order { self.look_at_current(buffer)? } else { work.pick(buffer)? };
        Ok(read.map_or(Read::Empty, |read| read.map(Some)))
    }

    /// Whether [`Self::look`] would find nothing.
    pub(crate) fn is_caught_up(&self) -> bool {
        let work = &self.work;
        match self.reached {
            Reached::Full => {
                let shown = work.hold();
                return shown.is_some() && work.lent() >= work.desk.prefetch;
            }
            Reached::NoRoom if work.has_room() => return false,
            _ => {}
        }
        if self.is_something_due() {
            return false;
        }
        matches!(self.reached, Reached::Barred | Reached::NoRoom)
            || match work.desk.ring.look_at_head(&work.desk.subscription) {
                Ok(Read::Empty) => true,
                // The end is told to whoever comes after the last message that is settled.
                Ok(Read::Closed { .. }) => {
                    work.is_something_own_left() || !work.sights(Instant::now()).is_empty()
                }
                _ => false,
            }
    }

    /// Whether something that was taken before is to be handed out now, whosever it was.
    pub(crate) fn is_something_due(&self) -> bool {
        let work = &self.work;
        let is_own = {
            let _shown = work.hold();
            let in_hand = work.current.as_ref().is_some_and(|portion| !portion.is_handed_out());
            in_hand || work.desk.has_opened() || work.is_something_ready()
        };
        let now = Instant::now();
        let sights = || work.sights(now);
        is_own || sights().iter().filter_map(|sight| work.ripens_at(sight)).any(|at| at <= now)
    }

    /// Whether as much is lent as may be, whoever may settle some of it.
    pub(crate) fn is_full(&self) -> bool {
        let _shown = self.work.hold();
        self.work.lent() >= self.work.desk.prefetch
    }

    /// What the member sleeps on while it has as much as it may have: nobody but an acker of its own
    /// can do anything about that.
    pub(crate) fn relief(&self) -> Option<Event<'_>> {
        (self.reached == Reached::Full).then(|| self.work.desk.relief())
    }

    /// That event's word.
    pub(crate) fn relief_word(&self) -> &Arc<AtomicU32> {
        &self.work.desk.relief
    }

    /// Whether nothing will come any more of a queue that is gone, but what others have.
    pub(crate) fn has_nothing_left(&self) -> bool {
        let head = self.work.desk.ring.look_at_head(&self.work.desk.subscription);
        self.is_caught_up()
            && !self.work.is_something_own_left()
            && matches!(head, Ok(Read::Empty | Read::Closed { .. }))
    }

    /// Counts what is left to count, and takes from ackers what they see. The member is about to give
    /// up its place.
    pub(crate) fn end(&self) {
        let desk = &self.work.desk;
        // A forked child has a copy of this, but not the place.
        if desk.lock.is_own() {
            let _letters = desk.letters.write().unwrap_or_else(PoisonError::into_inner);
            let mut shown = desk.shown();
            shown.hide_all();
            if let Some(portion) = &self.work.current {
                desk.count_handed(portion);
            }
        }
    }

    /// Whether there is something of its own shares that it may yet have to be given.
    pub(crate) fn has_own_left(&self) -> bool {
        self.work.is_something_own_left()
    }

    /// How long there will be nothing to do unless the producer sends something, or others call.
    pub(crate) fn idle_time(&self) -> Duration {
        let work = &self.work;
        let (mut due_at, now) = (work.due_at, Instant::now());
        if let Some(_shown) = work.hold() {
            // Ackers may have refused something since the last look. What is due is for the next one.
            let own = work.portions().filter(|portion| !portion.is_lost());
            let retries = own.flat_map(|portion| portion.retries()).filter(|&(_, at)| at > now);
            retries.for_each(|(_, at)| note_due(&mut due_at, at));
        }
        due_at.map_or(Duration::MAX, |due_at| due_at.saturating_duration_since(now))
    }
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
fn is_shared(desk: &Arc<Desk>) -> bool {
    let is_shared = Arc::strong_count(desk) > 1;
    // Acquire: what the last of them has done, before it went.
    fence(Ordering::Acquire);
    is_shared
}

/// The lock, if there is anybody to keep away by it.
#[inline(always)]
fn hold(desk: &Arc<Desk>) -> Option<MutexGuard<'_, Shown>> {
    is_shared(desk).then(|| desk.shown())
}

impl Work {
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
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
        const PATIENCE: Duration = Duration::from_millis(300);
        let checkpoints = Checkpoints::of(&self.desk.segment);
        let own = Some(self.desk.subscription.index());
        checkpoints.map_or(Ok(()), |mut all| all.write_all(&self.desk.ring, own, PATIENCE))
    }

    fn portions(&self) -> impl Iterator<Item = &Arc<Portion>> {
        self.current.iter().chain(&self.left)
    }

    #[inline(always)]
    fn hold(&self) -> Option<MutexGuard<'_, Shown>> {
        hold(&self.desk)
    }

    /// Settles what was lent before, if that goes without saying, and lends the next message in
    /// order; `false` if another member has taken the share away.
    #[inline(always)]
    fn hand_out_next(&self, portion: &Portion) -> bool {
        if is_shared(&self.desk) {
            return self.hand_out_beside_ackers(portion);
        }
        self.hand_out(portion)
    }

    #[cold]
    fn hand_out_beside_ackers(&self, portion: &Portion) -> bool {
        let mut shown = self.desk.shown();
        let done = self.hand_out(portion);
        if done {
            self.show_lent(&mut shown, portion);
        }
        done
    }

    #[inline(always)]
    fn hand_out(&self, portion: &Portion) -> bool {
        let desk = &*self.desk;
        let before = if desk.mode == AckMode::Auto { portion.lent() } else { 0 };
        let state = portion.state();
        let done = desk.replace(portion, state.settle(before).hand_out());
        if done {
            portion.set_lent(portion.lent() & !before | bit(state.handed()));
            if desk.terms.keyed && before != 0 {
                announce_messages(&desk.ring);
            }
        }
        done
    }

    /// Shows where a message was lent from.
    fn show_lent(&self, shown: &mut Shown, portion: &Portion) {
        shown.lent_from = (!self.copies()).then(|| portion.index());
    }

    /// Takes a share from the head, wherever that is.
    #[inline(always)]
    fn take(&self, index: ShareIndex, count_max: u32) -> Result<Take, Error> {
        let desk = &*self.desk;
        let take = desk.ring.take(&desk.subscription, index, count_max, desk.terms.keyed);
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
    fn take_behind(&self, head: Head, index: ShareIndex, count_max: u32) -> Result<Take, Error> {
        let (desk, mut head) = (&*self.desk, head);
        for _ in 0..TURNS_MAX {
            if let Some(take) = self.try_take_behind(head, index, count_max)? {
                return Ok(take);
            }
            let take = desk.ring.take(&desk.subscription, index, count_max, desk.terms.keyed);
            match take.map_err(|corrupt| desk.segment.corrupt(corrupt))? {
                Take::Behind(moved) => head = moved,
                take => return Ok(take),
            }
        }
        Ok(Take::Empty)
    }

    /// [`Self::take_behind`]; nothing if somebody was faster.
    fn try_take_behind(
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
        let keyed = desk.terms.keyed;
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
    fn room(&self) -> Option<u32> {
        let own = self.portions().filter(|portion| !portion.is_lost());
        let taken: u32 = own.map(|portion| portion.in_work().count_ones()).sum();
        self.desk.prefetch.checked_sub(taken).filter(|&room| room > 0)
    }

    fn has_room(&self) -> bool {
        let _shown = self.hold();
        self.room().is_some()
    }

    /// Whether more may be lent, wherever it comes from. Where nobody but the receiver could settle
    /// something it is an error if not.
    fn may_have_more(&self) -> Result<bool, Error> {
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

    fn prefetch_full(&self) -> Error {
        Error::PrefetchFull { queue: self.desk.segment.name().into(), unacked: self.lent() }
    }

    fn lent(&self) -> u32 {
        let own = self.portions().filter(|portion| !portion.is_lost());
        own.map(|portion| portion.lent().count_ones()).sum()
    }

    /// Keeps what is left of the current share for later, gives back what is done with, and leaves to
    /// whoever is free what waits.
    fn put_aside(&mut self, run: &mut Run) {
        let Self { desk, current, left, spare, seen, .. } = self;
        if current.is_none() && left.is_empty() {
            return;
        }
        let mut shown = hold(desk);
        let mut put_back = |portion: Arc<Portion>| {
            if let Some(shown) = &mut shown {
                shown.hide(&portion);
            }
            if portion.is_lost() {
                return;
            }
            if portion.state().unsettled() != 0 {
                if desk.open(&portion) {
                    seen.push(portion.sight(Instant::now()));
                }
                return;
            }
            portion.retire();
            if spare.is_none() {
                *spare = Some(portion);
            } else {
                desk.replace(&portion, portion.state().owned_by(None));
                // Somebody may have waited for a share to be free.
                announce_messages(&desk.ring);
            }
            announce_room(&desk.ring);
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

    fn keep(&mut self, portion: Arc<Portion>) {
        keep(&mut self.left, portion);
    }

    /// Hands out a message of what is left of shares, if there is one whose time has come.
    fn pick(&mut self, buffer: &mut Buffer) -> Result<Option<Read<Handed>>, Error> {
        let mut due_at = self.due_at;
        let picked = self
            .left
            .iter()
            .find_map(|portion| self.pick_of(portion, &mut due_at, buffer).transpose());
        self.due_at = due_at;
        picked.transpose()
    }

    fn pick_of(
        &self,
        portion: &Portion,
        due_at: &mut Option<Instant>,
        buffer: &mut Buffer,
    ) -> Result<Option<Read<Handed>>, Error> {
        let desk = &*self.desk;
        let candidates = {
            let _shown = self.hold();
            portion.state().unsettled() & !portion.lent()
        };
        for number in bits(candidates) {
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
            {
                let _shown = self.hold();
                // First: what others have by now is not to be given up here.
                if portion.is_lost() || !desk.show_progress(portion) {
                    break;
                }
                // Nobody leaves the share to others meanwhile.
                portion.set_busy(number, true);
            }
            let is_last = desk.is_last_delivery(portion.deliveries(number));
            let found = if is_last {
                let gone = desk.write_letter(portion, number, Reason::Unacknowledged);
                gone.map(|gone| gone.map(|to| Whereabouts::Gone { to }))
            } else {
                desk.find_own(portion, number, buffer)
            };
            let mut shown = self.hold();
            portion.set_busy(number, false);
            let found = match found {
                Err(_) if is_last && !desk.show_progress(portion) => break,
                Err(error) if is_last => {
                    let _ = portion.set_pause(number, Some(LETTER_RETRY));
                    portion.retry_at(number, Instant::now() + LETTER_RETRY);
                    return Err(error);
                }
                found => found?,
            };
            let (span, is_copy) = match found {
                Some(Whereabouts::Message { span, is_copy }) => (span, is_copy),
                Some(Whereabouts::Gone { to }) if !is_last => {
                    return Ok(desk.miss(portion, number, to).map(Read::from));
                }
                Some(Whereabouts::Gone { to }) => {
                    desk.miss(portion, number, to);
                    continue;
                }
                None if is_last => {
                    desk.settle_as(layout::DEAD_LETTERS, portion, bit(number));
                    continue;
                }
                None => break,
            };
            if !desk.show_progress(portion) {
                break;
            }
            portion.hand_out_again(number);
            if let Some(shown) = &mut shown {
                self.show_lent(shown, portion);
            }
            let delivery = portion.deliveries(number);
            desk.count(layout::DELIVERED, 1);
            desk.count(layout::REDELIVERED, u64::from(delivery > 1));
            let sequence = portion.extent().begin.sequence + u64::from(number);
            return Ok(Some(Read::Message(Handed { span, sequence, delivery, is_copy })));
        }
        Ok(None)
    }

    /// Looks after what other members left, and hands out a message of that. Each look takes lines
    /// away from members at work, so that an idle one does that now and then.
    fn look_at_others(
        &mut self,
        at_once: bool,
        buffer: &mut Buffer,
    ) -> Result<Option<Read<Handed>>, Error> {
        let now = Instant::now();
        if self.is_to_watch(now) {
            self.watched_at = Some(now);
            let Desk { ring, index: own, subscription, lock, .. } = &*self.desk;
            let members = ring.active_members().filter(|index| {
                let of = ring.member(*index).subscription();
                index != own && of == Some(subscription.index())
            });
            membership::clear_dead(ring, lock, members)?;
        }
        let since = |at: Instant| now.duration_since(at);
        let has_opened = self.desk.take_opened();
        if at_once || has_opened || self.seen_at.is_none_or(|at| since(at) >= SIGHT_INTERVAL) {
            self.seen = self.sights(now);
            self.seen_at = Some(now);
        }
        let mut ripe = None;
        for sight in &self.seen {
            match self.ripens_at(sight) {
                Some(at) if at <= now => ripe = ripe.or(Some(*sight)),
                Some(at) => note_due(&mut self.due_at, at),
                None => {}
            }
        }
        let Some(sight) = ripe else { return Ok(None) };
        let desk = &*self.desk;
        let portion = Portion::inherited(&desk.ring, &sight, desk.index, desk.terms.keyed);
        match portion.map_err(|corrupt| desk.segment.corrupt(corrupt))? {
            Some(portion) => {
                for number in bits(portion.waiting()) {
                    let pause = self.pause_of(&sight, number);
                    portion.retry_at(number, sight.since + pause);
                }
                let portion = Arc::new(portion);
                if let Some(mut shown) = self.hold() {
                    shown.show(&portion);
                }
                self.keep(portion);
                self.pick(buffer)
            }
            None => Ok(None),
        }
    }

    fn is_to_watch(&self, now: Instant) -> bool {
        self.watched_at.is_none_or(|at| now.duration_since(at) >= WATCH_INTERVAL)
    }

    /// The unsettled shares of the subscription that are not this member's, and since when they
    /// have been as they are.
    fn sights(&self, now: Instant) -> Vec<Sight> {
        let Desk { ring, index: own, subscription, .. } = &*self.desk;
        let found =
            ring.used_shares().filter_map(|index| Sight::of(ring, index, subscription, now));
        let of_others = found.filter(|sight| sight.state.owner() != Some(*own));
        let known = |sight: Sight| self.seen.iter().find(|seen| seen.is_same(&sight)).copied();
        of_others.map(|sight| known(sight).unwrap_or(sight)).collect()
    }

    /// When a share of another member's can be taken over, if nothing happens to it before.
    fn ripens_at(&self, sight: &Sight) -> Option<Instant> {
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
    fn pause_of(&self, sight: &Sight, number: u32) -> Duration {
        let share = self.desk.ring.share(sight.index);
        let usual = || self.desk.pause_after(share.deliveries(number, sight.state));
        share.pause(number).unwrap_or_else(usual)
    }

    /// Whether there are messages that somebody may yet have to be given.
    fn is_something_left(&self) -> bool {
        self.is_something_own_left() || !self.seen.is_empty()
    }

    fn is_something_own_left(&self) -> bool {
        self.portions().any(|portion| portion.state().unsettled() & !portion.lent() != 0)
    }

    /// Whether something of what is left of shares can be handed out.
    fn is_something_ready(&self) -> bool {
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
fn keep(left: &mut Vec<Arc<Portion>>, portion: Arc<Portion>) {
    let position = portion.extent().begin.position;
    let place = left.partition_point(|other| other.extent().begin.position < position);
    left.insert(place, portion);
}

impl From<Missed> for Read<Handed> {
    fn from(Missed { from, to }: Missed) -> Self {
        Self::Missed { from, to }
    }
}

fn note_due(due_at: &mut Option<Instant>, at: Instant) {
    *due_at = Some(due_at.map_or(at, |due_at| due_at.min(at)));
}
