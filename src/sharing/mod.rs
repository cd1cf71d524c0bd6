//! Receiving as a member of a named subscription: what to do next, by whom, and when.
//!
//! A member works through one share after the other in the order of the stream: that is the short
//! way. What has to be done again, or in another order, is picked message by message: refused
//! messages when their pause is over, what others left, keys that wait for each other. Times are
//! measured by the clock of whoever measures, from when it saw what it measures from; no time that
//! another process wrote down is ever compared with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::history::{Backlog, Checkpoints, DeadLetterFile, Fetched, Reason, Stretch};
use crate::layout::{self, Word64};
use crate::membership::{self, announce_messages, announce_room};
use crate::registry::{Found, Terms};
use crate::ring::{
    Buffer, Corrupt, Head, Lag, Member, MemberIndex, Place, Read, Ring, Run, ShareIndex, Span,
    State, Subscription, Take,
};
use crate::segment::{Lock, Segment};
use crate::subscribe::{AckMode, Subscribe};
use crate::sync::Ordering;
use crate::wait::SLEEP_UNSURE;
use portion::{Portion, Sight, bit, bits};

mod portion;
mod settling;

/// A member looks so often whether others have died.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// And, while it has nothing to do, so often at what they do.
const SIGHT_INTERVAL: Duration = Duration::from_millis(1);
/// A member looks at the clock for that once in so many looks for a message.
const LOOKS_PER_CLOCK: u32 = 16;
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

/// What a member has taken and not settled. Its messages refer to it while they are lent, from
/// whatever thread; but for a batch that goes on, all else happens while none is lent.
#[derive(Debug)]
pub(crate) struct Work {
    ring: Ring,
    segment: Arc<Segment>,
    /// An opening of its own, to find out who has died.
    lock: Lock,
    index: MemberIndex,
    member: Member,
    subscription: Subscription,
    terms: Terms,
    mode: AckMode,
    prefetch: u32,
    dead_letters: Option<DeadLetterFile>,
    /// Where it finds what has left the ring, if it may have to look there.
    backlog: Option<Mutex<Backlog>>,
    /// The share that is worked through in order, and those of which there is something left, in
    /// the order of the stream.
    current: Option<Box<Portion>>,
    #[allow(clippy::vec_box, reason = "they move between these three places")]
    left: Vec<Box<Portion>>,
    /// One that is done with, to take the next share with.
    spare: Option<Box<Portion>>,
    /// The sequences that were missed before the first message.
    missed: Option<(u64, u64)>,
    /// What there was of others' shares at the last look at them.
    seen: Vec<Sight>,
    seen_at: Option<Instant>,
    watched_at: Option<Instant>,
    looks: u32,
    /// When there will be something to do without a message from the producer.
    due_at: Option<Instant>,
    /// Whether messages are lent where they lie, and acknowledged by the next receive, for which
    /// nobody waits.
    is_plain: bool,
    /// Taken by whoever settles or refuses messages that are lent.
    settling: Mutex<()>,
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
}

/// What came of looking for a message of a share.
#[derive(Clone, Copy, Debug)]
enum Whereabouts {
    Message {
        span: Span,
        is_copy: bool,
    },
    /// It is gone, as all are below a sequence.
    Gone {
        to: u64,
    },
}

impl SharedReader {
    pub(crate) fn new(
        segment: &Arc<Segment>,
        ring: Ring,
        index: MemberIndex,
        found: Found,
        options: &Subscribe,
    ) -> Result<Self, Error> {
        let Found { subscription, terms, missed, .. } = found;
        let run = ring.run_at_head(&subscription).map_err(|corrupt| segment.corrupt(corrupt))?;
        let directory = options.dead_letters.as_deref().or_else(|| segment.history());
        let file = |directory| {
            let name = options.name.as_deref().unwrap_or_default();
            DeadLetterFile::new(directory, segment.name(), segment.identity().instance, name)
        };
        let work = Work {
            segment: Arc::clone(segment),
            lock: segment.lock_file()?,
            index,
            member: ring.member(index),
            mode: options.ack,
            prefetch: options.prefetch.0,
            dead_letters: directory.map(file),
            backlog: Backlog::of(segment, &ring, terms.lag).map(Mutex::new),
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
            is_plain: options.ack == AckMode::Auto
                && terms.ack_within.is_none()
                && terms.lag == Lag::Hold
                && !terms.keyed,
            settling: Mutex::new(()),
            ring,
            subscription,
            terms,
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
        let lent = work.lend(portion, span, buffer)?;
        if !work.hand_out_next(portion) {
            return None;
        }
        self.run.advance(end);
        Some(lent)
    }

    /// Acknowledges what was lent before, if that goes without saying.
    pub(crate) fn release(&mut self) {
        if self.work.mode == AckMode::Auto {
            for portion in self.work.portions() {
                let lent = portion.lent();
                if lent != 0 {
                    portion.set_lent(0);
                    // Who is too late is not told: another member has the message by now.
                    let _ = self.work.settle(portion, lent);
                }
            }
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
        self.work.check_prefetch()?;
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
            nothing @ (Read::Empty | Read::Closed) => {
                let (work, is_closed) = (&mut self.work, matches!(nothing, Read::Closed));
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
            match work.find(portion, number, buffer)? {
                Whereabouts::Message { span, is_copy } if work.hand_out_next(portion) => {
                    let sequence = portion.extent().begin.sequence + u64::from(number);
                    let handed = Handed { span, sequence, delivery: 1, is_copy };
                    return Ok(Some(Read::Message(handed)));
                }
                Whereabouts::Message { .. } => {}
                Whereabouts::Gone { to } => missed = work.miss(portion, number, to),
            }
        }
        self.work.put_aside(&mut self.run);
        Ok(missed)
    }

    /// Takes a share from the head.
    #[allow(clippy::cast_possible_truncation, reason = "at most a sector and a message")]
    fn look_at_head(&mut self, buffer: &mut Buffer) -> Result<Read<Option<Handed>>, Error> {
        let work = &mut self.work;
        self.reached = Reached::Barred;
        let Some(count_max) = work.room() else { return Ok(Read::Empty) };
        let allot = || {
            let index = work.ring.allot(work.index, work.subscription.index())?;
            Some(Box::new(Portion::allotted(&work.ring, index)))
        };
        let Some(mut portion) = work.spare.take().or_else(allot) else {
            // All shares are in use. Some will be done with; but who has more than its part, and is to
            // acknowledge something before there are any, may wait for itself.
            let is_own_doing = work.portions().filter(|portion| portion.lent() != 0).count() > 2;
            return if is_own_doing { Err(work.prefetch_full()) } else { Ok(Read::Empty) };
        };
        let (extent, state) = match work.take(portion.index(), count_max) {
            Ok(Take::Taken(extent, state)) => (extent, state),
            nothing => {
                work.spare = Some(portion);
                let nothing = nothing?;
                let run = work.ring.run_at_head(&work.subscription);
                self.run = run.map_err(|corrupt| work.segment.corrupt(corrupt))?;
                self.reached = Reached::Head;
                return Ok(if nothing == Take::Closed { Read::Closed } else { Read::Empty });
            }
        };
        self.reached = Reached::NotHead;
        self.run = work.ring.run_of(&extent);
        self.lap = extent.begin.position - self.run.offset() as u64;
        let size = (extent.end - extent.begin.position) as usize;
        self.known_until = extent.shape.map_or(0, |_| self.run.offset() + size);
        portion.fill(&work.ring, extent, state, work.terms.keyed);
        let has_left = work.has_left(&portion);
        if has_left {
            // What lies there in the ring is something else.
            self.run.stop();
        }
        let in_order = !portion.is_blocked_at_all();
        if in_order {
            work.begin_to_count(&portion);
            work.current = Some(portion);
        } else {
            work.keep(portion);
        }
        if extent.missed_from < extent.begin.sequence {
            let (from, to) = (extent.missed_from, extent.begin.sequence);
            work.count(layout::MISSED, to - from);
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
        let in_hand = work.current.as_ref().is_some_and(|portion| !portion.is_handed_out());
        if in_hand || work.is_something_ready() {
            return false;
        }
        let now = Instant::now();
        let sights = work.sights(now);
        if sights.iter().filter_map(|sight| work.ripens_at(sight)).any(|at| at <= now) {
            return false;
        }
        self.reached == Reached::Barred
            || match work.ring.look_at_head(&work.subscription) {
                Ok(Read::Empty) => true,
                // The end is told to whoever comes after the last message that is settled.
                Ok(Read::Closed) => work.is_something_own_left() || !sights.is_empty(),
                _ => false,
            }
    }

    /// Whether nothing will come any more of a queue that is gone, but what others have.
    pub(crate) fn has_nothing_left(&self) -> bool {
        let head = self.work.ring.look_at_head(&self.work.subscription);
        self.is_caught_up()
            && !self.work.is_something_own_left()
            && matches!(head, Ok(Read::Empty | Read::Closed))
    }

    /// Counts what is left to count. The member is about to give up its place.
    pub(crate) fn count_rest(&self) {
        // A forked child has a copy of this, but not the place.
        if let Some(portion) = &self.work.current
            && self.work.lock.is_own()
        {
            self.work.count_handed(portion);
        }
    }

    /// Whether there is something of its own shares that it may yet have to be given.
    pub(crate) fn has_own_left(&self) -> bool {
        self.work.is_something_own_left()
    }

    /// How long there will be nothing to do unless the producer sends something.
    pub(crate) fn idle_time(&self) -> Duration {
        let due_at = self.work.due_at;
        due_at.map_or(Duration::MAX, |due_at| due_at.saturating_duration_since(Instant::now()))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // A forked child has a copy of this, but not the place.
        if self.lock.is_own() {
            // Without it more comes again when the queue is made anew, but nothing is lost.
            let _ = self.checkpoint();
        }
    }
}

/// What is done wherever a message of a share is.
impl Work {
    /// The next message of the current share, as a part of a batch.
    #[inline]
    pub(crate) fn next_in_batch(&self, run: &mut Run) -> Option<Span> {
        let (span, end) = run.peek()?;
        let portion = self.current.as_ref()?;
        // Those before it are lent, and may be settled meanwhile.
        let _settling = self.settling().ok()?;
        portion.hand_out();
        run.advance(end);
        Some(span)
    }

    /// Whether payloads are copied out before they are lent: because the writer, or another
    /// member, may not wait for this one.
    #[inline(always)]
    pub(crate) fn copies(&self) -> bool {
        self.has_lease() || self.terms.lag != Lag::Hold
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Has it in files how far the subscription has come, in a queue with a journal.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        let checkpoints = Checkpoints::of(&self.segment);
        checkpoints.map_or(Ok(()), |mut all| all.write_all(&self.ring))
    }

    fn portions(&self) -> impl Iterator<Item = &Portion> {
        self.current.iter().chain(&self.left).map(Box::as_ref)
    }

    /// Lets those who watch a share see that its member is at work; `false` if they have taken it
    /// away.
    fn show_progress(&self, portion: &Portion) -> bool {
        !self.has_lease() || self.replace(portion, portion.state().owned_by(Some(self.index)))
    }

    /// Changes a share's state; `false` if another member has taken it away.
    #[inline(always)]
    fn replace(&self, portion: &Portion, state: State) -> bool {
        if self.has_lease() { portion.replace_state(state) } else { portion.store_state(state) }
    }

    #[inline(always)]
    fn has_lease(&self) -> bool {
        self.terms.ack_within.is_some()
    }

    /// Settles what was lent before, if that goes without saying, and lends the next message in
    /// order; `false` if another member has taken the share away.
    fn hand_out_next(&self, portion: &Portion) -> bool {
        let before = if self.mode == AckMode::Auto { portion.lent() } else { 0 };
        let state = portion.state();
        let done = self.replace(portion, state.settle(before).hand_out());
        if done {
            portion.set_lent(portion.lent() & !before | bit(state.handed()));
            if self.terms.keyed && before != 0 {
                announce_messages(&self.ring);
            }
        }
        done
    }

    /// Whether the beginning of a share is not in the ring any more, but to be had all the same.
    fn has_left(&self, portion: &Portion) -> bool {
        let begin = portion.extent().begin.position;
        self.backlog.is_some() && self.ring.has_left(Some(self.terms.lag), begin)
    }

    /// Takes a share from the head, wherever that is.
    #[inline(always)]
    fn take(&mut self, index: ShareIndex, count_max: u32) -> Result<Take, Error> {
        let take = self.ring.take(&self.subscription, index, count_max, self.terms.keyed);
        let take = take.map_err(|corrupt| self.segment.corrupt(corrupt))?;
        if let Take::Behind(head) = take {
            return self.take_behind(head, index, count_max);
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.get_mut().unwrap_or_else(PoisonError::into_inner).close();
        }
        Ok(take)
    }

    /// Takes a share from a head that is not in the ring any more.
    fn take_behind(&self, head: Head, index: ShareIndex, count_max: u32) -> Result<Take, Error> {
        let corrupt = |corrupt| self.segment.corrupt(corrupt);
        let (ring, subscription) = (&self.ring, &self.subscription);
        let Some(mut backlog) = self.backlog() else {
            // Nobody overwrites what such a subscription needs.
            let Place { position, sequence: found } = head.place;
            return Err(corrupt(Corrupt { position, found }));
        };
        Ok(match backlog.survey(head.place, count_max)? {
            Stretch::InFiles(extent, keys) => {
                let keys = self.terms.keyed.then_some(&keys);
                let taken = ring.take_stretch(subscription, index, head, extent, keys);
                taken.map_or(Take::Empty, |state| Take::Taken(extent, state))
            }
            Stretch::Present(place) => {
                let keyed = self.terms.keyed;
                let take = ring.try_take(subscription, index, head, place, count_max, keyed);
                take.map_err(corrupt)?.unwrap_or(Take::Empty)
            }
        })
    }

    /// Looks for a message of a share, wherever it is by now.
    fn find(
        &self,
        portion: &Portion,
        number: u32,
        buffer: &mut Buffer,
    ) -> Result<Whereabouts, Error> {
        if !self.has_left(portion) {
            let span = portion.span(number, &self.ring);
            if let Some(span) = span.and_then(|span| self.lend(portion, span, buffer)) {
                return Ok(Whereabouts::Message { span, is_copy: self.copies() });
            }
            if self.terms.lag == Lag::Skip {
                return Ok(Whereabouts::Gone { to: self.gone_below(portion, number) });
            }
        }
        // Only who skips, or has a backlog, can be overtaken; anything else is damage.
        let backlog = self.backlog().filter(|_| self.has_left(portion));
        let mut backlog = backlog.ok_or_else(|| self.segment.corrupt(portion.corrupt()))?;
        Ok(match backlog.fetch(portion.extent(), number, buffer)? {
            Fetched::Message(span) => Whereabouts::Message { span, is_copy: true },
            Fetched::Gone { to } => Whereabouts::Gone { to },
        })
    }

    /// The sequence of the first message from one on that has not been overwritten, of a
    /// subscription that skips.
    fn gone_below(&self, portion: &Portion, number: u32) -> u64 {
        let gone = |number: &u32| {
            let span = portion.span(*number, &self.ring);
            span.is_none_or(|span| self.ring.is_below_floor(portion.position_of(span, &self.ring)))
        };
        let count = (number..portion.extent().count).take_while(gone).count();
        portion.extent().begin.sequence + u64::from(number) + count as u64
    }

    fn backlog(&self) -> Option<MutexGuard<'_, Backlog>> {
        let backlog = self.backlog.as_ref()?;
        Some(backlog.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A payload as it is lent, if it is still there.
    #[inline(always)]
    fn lend(&self, portion: &Portion, span: Span, buffer: &mut Buffer) -> Option<Span> {
        if !self.copies() {
            return Some(span);
        }
        let copy = buffer.copy(&self.ring, span);
        let position = portion.position_of(span, &self.ring);
        let gone = match self.terms.lag {
            Lag::Hold => false,
            Lag::Skip => self.ring.is_below_floor(position),
            Lag::Spill => self.ring.has_left(Some(Lag::Spill), position),
        };
        (!gone).then_some(copy)
    }

    /// Shows which share's messages are not counted one by one, but by [`Self::count_handed`], or by
    /// whoever clears up after this member: see [`Ring::uncounted`].
    fn begin_to_count(&self, portion: &Portion) {
        self.member.word32(layout::COUNTED).store(0, Ordering::Relaxed);
        let current = self.member.word32(layout::CURRENT);
        current.store(1 + portion.index().get(), Ordering::Relaxed);
    }

    /// Counts what was handed out in order of the current share, and settled since, once.
    fn count_handed(&self, portion: &Portion) {
        let current = self.member.word32(layout::CURRENT);
        if current.load(Ordering::Relaxed) == 0 {
            return;
        }
        let state = portion.state();
        let counted = self.member.word32(layout::COUNTED).load(Ordering::Relaxed);
        current.store(0, Ordering::Relaxed);
        self.count(layout::DELIVERED, state.handed().into());
        self.count(layout::ACKED, state.settled().saturating_sub(counted).into());
    }

    /// Settled messages were counted; those that were never handed out, not as something that
    /// [`Self::count_handed`] would count.
    fn note_counted(&self, portion: &Portion, messages: u32) {
        let count = (messages & portion.state().handed_messages()).count_ones();
        if self.is_current(portion) {
            let counted = self.member.word32(layout::COUNTED);
            counted.store(counted.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }

    fn is_current(&self, portion: &Portion) -> bool {
        self.current.as_deref().is_some_and(|current| core::ptr::eq(current, portion))
    }

    /// Leaves a share to whoever is free, all that is left of which waits; `false` if another member
    /// has taken it away.
    fn open(&self, portion: &Portion) -> bool {
        let now = Instant::now();
        for (number, at) in portion.retries() {
            // What is left of it: whoever sees the share counts from then on.
            let _ = portion.set_pause(number, Some(at.saturating_duration_since(now)));
        }
        if self.is_current(portion) {
            self.count_handed(portion);
        }
        let opened = self.replace(portion, portion.state().owned_by(None));
        portion.lose();
        announce_messages(&self.ring);
        opened
    }

    /// Adds to one of the counts in the member's line, which only this member changes.
    fn count(&self, word: Word64, more: u64) {
        let word = self.member.word64(word);
        word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

/// What is done while nothing is lent.
impl Work {
    /// How many messages more the member may take; `None` while it has as many as it may have.
    fn room(&self) -> Option<u32> {
        let own = self.portions().filter(|portion| !portion.is_lost());
        let taken: u32 = own.map(|portion| portion.in_work().count_ones()).sum();
        self.prefetch.checked_sub(taken).filter(|&room| room > 0)
    }

    /// Refuses to lend more than may be unacknowledged, wherever it comes from.
    fn check_prefetch(&self) -> Result<(), Error> {
        if self.lent() < self.prefetch { Ok(()) } else { Err(self.prefetch_full()) }
    }

    fn prefetch_full(&self) -> Error {
        Error::PrefetchFull { queue: self.segment.name().into(), unacked: self.lent() }
    }

    fn lent(&self) -> u32 {
        self.portions().map(|portion| portion.lent().count_ones()).sum()
    }

    /// Keeps what is left of the current share for later, and gives back what is done with.
    fn put_aside(&mut self, run: &mut Run) {
        if let Some(portion) = self.current.take() {
            run.stop();
            self.count_handed(&portion);
            self.put_back(portion);
        }
        if !self.left.is_empty() {
            for portion in core::mem::take(&mut self.left) {
                self.put_back(portion);
            }
        }
    }

    /// Gives a share back, if it is done with, or leaves it to whoever is free, if all that is left
    /// of it waits; else keeps it.
    fn put_back(&mut self, portion: Box<Portion>) {
        let state = portion.state();
        if portion.is_lost() {
            return;
        }
        if state.unsettled() == 0 {
            portion.retire();
            if self.spare.is_none() {
                self.spare = Some(portion);
            } else {
                self.replace(&portion, state.owned_by(None));
                // Somebody may have waited for a share to be free.
                announce_messages(&self.ring);
            }
            announce_room(&self.ring);
        } else if portion.in_work() == 0 {
            if self.open(&portion) {
                self.seen.push(portion.sight(Instant::now()));
            }
        } else {
            self.keep(portion);
        }
    }

    fn keep(&mut self, portion: Box<Portion>) {
        let position = portion.extent().begin.position;
        let place = self.left.partition_point(|other| other.extent().begin.position < position);
        self.left.insert(place, portion);
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
        for number in bits(portion.state().unsettled() & !portion.lent()) {
            if portion.is_lost() {
                break;
            }
            if let Some(at) = portion.waits_until(number) {
                note_due(due_at, at);
                continue;
            }
            if portion.is_blocked(number, &self.ring) {
                continue;
            }
            if self.is_last_delivery(portion.deliveries(number)) {
                if let Err(error) = self.bury(portion, number, Reason::Unacknowledged) {
                    let _ = portion.set_pause(number, Some(LETTER_RETRY));
                    portion.retry_at(number, Instant::now() + LETTER_RETRY);
                    return Err(error);
                }
                continue;
            }
            let (span, is_copy) = match self.find(portion, number, buffer)? {
                Whereabouts::Message { span, is_copy } => (span, is_copy),
                Whereabouts::Gone { to } => return Ok(self.miss(portion, number, to)),
            };
            if !self.show_progress(portion) {
                break;
            }
            portion.hand_out_again(number);
            let delivery = portion.deliveries(number);
            self.count(layout::DELIVERED, 1);
            self.count(layout::REDELIVERED, u64::from(delivery > 1));
            let sequence = portion.extent().begin.sequence + u64::from(number);
            return Ok(Some(Read::Message(Handed { span, sequence, delivery, is_copy })));
        }
        Ok(None)
    }

    /// Settles a message as missed, and those that follow it below the sequence `to`.
    fn miss(&self, portion: &Portion, number: u32, to: u64) -> Option<Read<Handed>> {
        let in_order = bits(portion.state().unsettled() & (u32::MAX << number));
        let first = portion.extent().begin.sequence;
        let is_gone = |number: u32| first + u64::from(number) < to;
        let run = in_order.zip(number..).take_while(|&(found, due)| found == due && is_gone(due));
        let count = run.count();
        #[allow(clippy::cast_possible_truncation, reason = "32 at most")]
        let messages = (((1_u64 << count) - 1) << number) as u32;
        let from = first + u64::from(number);
        let to = from + count as u64;
        self.replace(portion, portion.state().settle(messages));
        self.note_counted(portion, messages);
        self.count(layout::MISSED, count as u64);
        self.announce_settled();
        (count > 0).then_some(Read::Missed { from, to })
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
            let members = self.ring.active_members().filter(|&index| {
                let of = self.ring.member(index).subscription();
                index != self.index && of == Some(self.subscription.index())
            });
            membership::clear_dead(&self.ring, &self.lock, members)?;
        }
        let since = |at: Instant| now.duration_since(at);
        if at_once || self.seen_at.is_none_or(|at| since(at) >= SIGHT_INTERVAL) {
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
        let portion = Portion::inherited(&self.ring, &sight, self.index, self.terms.keyed);
        match portion.map_err(|corrupt| self.segment.corrupt(corrupt))? {
            Some(portion) => {
                for number in bits(portion.waiting()) {
                    let pause = self.pause_of(&sight, number);
                    portion.retry_at(number, sight.since + pause);
                }
                self.keep(Box::new(portion));
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
        let found = self
            .ring
            .used_shares()
            .filter_map(|index| Sight::of(&self.ring, index, &self.subscription, now));
        let of_others = found.filter(|sight| sight.state.owner() != Some(self.index));
        let known = |sight: Sight| self.seen.iter().find(|seen| seen.is_same(&sight)).copied();
        of_others.map(|sight| known(sight).unwrap_or(sight)).collect()
    }

    /// When a share of another member's can be taken over, if nothing happens to it before.
    fn ripens_at(&self, sight: &Sight) -> Option<Instant> {
        if !sight.state.is_open() {
            return self.terms.ack_within.map(|time| sight.since + time);
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
        let share = self.ring.share(sight.index);
        let usual = || self.pause_after(share.deliveries(number, sight.state));
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
                portion.waits_until(number).is_none() && !portion.is_blocked(number, &self.ring)
            };
            !portion.is_lost() && bits(portion.state().unsettled() & !portion.lent()).any(is_ready)
        })
    }
}

fn note_due(due_at: &mut Option<Instant>, at: Instant) {
    *due_at = Some(due_at.map_or(at, |due_at| due_at.min(at)));
}
