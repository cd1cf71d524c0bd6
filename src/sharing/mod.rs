//! Receiving as a member of a named subscription: what to do next, by whom, and when.
//!
//! A member works through one share after the other in the order of the stream: that is the short
//! way. What has to be done again, or in another order, is picked message by message: refused
//! messages when their pause is over, what others left, keys that wait for each other. Times are
//! measured by the clock of whoever measures, from when it saw what it measures from; no time that
//! another process wrote down is ever compared with.

mod desk;
mod portion;
mod settling;
mod work;

pub(crate) use self::{
    desk::{Desk, DeskPart},
    work::Work,
};

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use self::desk::Whereabouts;
use self::portion::Portion;
use self::work::{hold, note_due};
use crate::error::Error;
use crate::history::{Backlog, DeadLetters};
use crate::layout::MEMBER;
use crate::registry::Found;
use crate::ring::{Buffer, Lag, MemberIndex, Read, Run, Span, Take};
use crate::segment::{Mapping, Segment};
use crate::subscribe::{AckMode, Subscribe};
use crate::sync::AtomicU32;
use crate::wait::SLEEP_UNSURE;

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
        let Found { subscription, lag, keyed, terms, missed, .. } = found;
        let run = ring.run_at_head(&subscription).map_err(|corrupt| segment.corrupt(corrupt))?;
        let name = options.name.as_deref().unwrap_or_default();
        let directory = options.dead_letters.as_deref().or_else(|| segment.history());
        let instance = segment.identity().instance;
        let letters =
            |directory| DeadLetters::of_instance(directory, segment.name(), instance, name);
        let is_plain = options.ack == AckMode::Auto
            && terms.ack_within.is_none()
            && lag == Lag::Hold
            && !keyed;
        let desk = Desk {
            segment: Arc::clone(segment),
            lock: segment.lock_file()?,
            index,
            member: ring.member(index),
            mode: options.ack,
            prefetch: options.prefetch.0,
            dead_letters: directory.map(letters),
            backlog: Backlog::of(segment, &ring, lag).map(Mutex::new),
            shown: Mutex::default(),
            letters: RwLock::default(),
            opened: Mutex::default(),
            has_opened: AtomicU32::new(0),
            relief: Arc::default(),
            ring,
            subscription,
            name: name.into(),
            lag,
            keyed,
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
            watched_at: None,
            // The first look is at what others left.
            others_at: Duration::ZERO,
            tick: Duration::ZERO,
            looks_left: 0,
            has_inherited: false,
            picked: 0,
            to_pick: 0,
            due_at: None,
            letters_until: None,
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

    /// The run and the work apart, for a batch whose messages refer to the work. It looks at each frame,
    /// and may learn of another shape than all up to `known_until` had.
    pub(crate) fn split(&mut self) -> (&mut Run, &Work) {
        self.known_until = 0;
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
                    work.desk.settle_as(MEMBER.acked, portion, lent);
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
        // Who found nothing at the head has looked at others behind it.
        let has_looked = self.is_at_head();
        self.reached = Reached::NotHead;
        let work = &mut self.work;
        if let Some((from, to)) = work.missed.take() {
            let _shown = work.hold();
            work.desk.count(MEMBER.missed, to - from);
            return Ok(Read::Missed { from, to });
        }
        work.due_at = None;
        work.letters_until = None;
        if let Some(read) = self.look_at_current(buffer)? {
            return Ok(read.map(Some));
        }
        if !self.work.may_have_more()? {
            self.reached = Reached::Full;
            return Ok(Read::Empty);
        }
        let is_first = self.work.is_for_what_is_left();
        if is_first && let Some(read) = self.work.pick(buffer)? {
            return Ok(read.map(Some));
        }
        if !has_looked
            && self.work.is_for_others()
            && let Some(read) = self.work.look_at_others(false, buffer)?
        {
            return Ok(read.map(Some));
        }
        let read = loop {
            let read = self.look_at_head(buffer)?;
            // Where all that was taken waits for its keys, what is behind it may not.
            if !matches!(read, Read::Empty) || self.reached != Reached::NotHead {
                break read;
            }
        };
        match read {
            // Nothing better to do.
            nothing @ (Read::Empty | Read::Closed { .. }) => {
                if !is_first && let Some(read) = self.work.pick(buffer)? {
                    return Ok(read.map(Some));
                }
                let (work, is_closed) = (&mut self.work, matches!(nothing, Read::Closed { .. }));
                let is_barred = self.reached == Reached::Barred;
                if let Some(read) = work.look_at_others(is_closed || is_barred, buffer)? {
                    return Ok(read.map(Some));
                }
                // A dead letter may have been the last of a share, which the producer waits for.
                work.put_aside(&mut self.run);
                if is_barred {
                    work.check_own_shares()?;
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
                    self.run.stop_before(sequence + 1);
                    let handed = Handed { span, sequence, delivery: 1, is_copy };
                    return Ok(Some(Read::Message(handed)));
                }
                Some(Whereabouts::Message { .. }) | None => {}
                Some(Whereabouts::Gone { to }) => {
                    let _held = work.hold();
                    missed = work.desk.miss(portion, number, to).map(Read::from);
                    if let Some(Read::Missed { to, .. }) = missed {
                        self.run.stop_before(to);
                    }
                }
            }
        }
        self.work.put_aside(&mut self.run);
        Ok(missed)
    }

    /// Takes a share from the head. By itself: within the look there are too few registers for it.
    #[inline(never)]
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
            // All shares are in use. Some will be done with.
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
        work.has_inherited = false;
        work.picked = 0;
        self.run = work.desk.ring.run_of(&extent);
        self.lap = extent.begin.position - self.run.offset() as u64;
        let size = (extent.end - extent.begin.position) as usize;
        self.known_until = extent.shape.map_or(0, |_| self.run.offset() + size);
        let (ring, keyed) = (&work.desk.ring, work.desk.keyed);
        if let Some(portion) = portion::sole(&mut portion) {
            portion.fill(ring, extent, state, keyed);
        } else {
            // An acker is not quite done with what it was before.
            let mut other = Portion::allotted(ring, portion.index());
            other.fill(ring, extent, state, keyed);
            portion = Arc::new(other);
        }
        work.lose_older(&portion);
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
                work.desk.count(MEMBER.missed, to - from);
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
            // One may have come free since.
            Reached::Barred if work.desk.ring.has_free_share() => return false,
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

    /// Whether the last look was for nothing, since the member has as much as it may have: nobody but an
    /// acker of its own can do anything about that.
    pub(crate) fn awaits_relief(&self) -> bool {
        self.reached == Reached::Full
    }

    /// The event that ackers call by.
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

    /// How long there will be nothing to do unless the producer sends something, or others call. What
    /// they leave after this call is called for: the announcement comes before it.
    pub(crate) fn idle_time(&mut self) -> Duration {
        let (work, now) = (&mut self.work, Instant::now());
        work.see_others(now);
        let mut due_at = work.due_at;
        let others = work.seen.iter().filter_map(|sight| work.ripens_at(sight));
        others.for_each(|at| note_due(&mut due_at, at));
        let _shown = work.hold();
        // Something may have been refused since the last look. What is due is for the next one.
        let own = work.portions().filter(|portion| !portion.is_lost());
        let retries = own.flat_map(|portion| portion.retries()).filter(|&(_, at)| at > now);
        retries.for_each(|(_, at)| note_due(&mut due_at, at));
        due_at.map_or(Duration::MAX, |due_at| due_at.saturating_duration_since(now))
    }
}
