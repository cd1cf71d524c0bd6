//! What a member's receiver has in common with whoever settles its messages: the member's line, and
//! its shares, as long as they are its own.
//!
//! The receiver takes shares, hands their messages out, and gives shares back. As long as there is no
//! acker it is alone while it does so, and needs no lock. Each acker has a part in the desk; from the
//! first one to the last the receiver keeps a list of its shares there, and whatever both may change
//! is changed under the lock of that list: what is lent, what waits, and the state of each share.
//! Messages that are not lent are the receiver's alone, also without the lock, but that a share of
//! which nothing but refused messages is left may be left to others meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::portion::{Portion, Sight, bit, bits};
use crate::calls::{call_consumers, call_producer};
use crate::error::Error;
use crate::history::{Backlog, DeadLetters, Fetched, Letter, Reason};
use crate::layout::{self, MEMBER, Word};
use crate::ring::{
    Buffer, Lag, Member, MemberIndex, PAUSE_MAX, Ring, ShareIndex, Span, State, Subscription,
};
use crate::segment::{Lock, Mapping, Segment};
use crate::subscribe::AckMode;
use crate::sync::{AtomicU32, Ordering, fence};
use crate::terms::{Backoff, Terms};
use crate::wait::Event;

#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) ring: Ring,
    pub(super) segment: Arc<Segment>,
    /// An opening of its own, to find out who has died.
    pub(super) lock: Lock,
    pub(super) index: MemberIndex,
    pub(super) member: Member,
    pub(super) subscription: Subscription,
    /// The subscription's.
    pub(super) name: Box<str>,
    pub(super) lag: Lag,
    pub(super) keyed: bool,
    pub(super) terms: Terms,
    pub(super) mode: AckMode,
    pub(super) prefetch: u32,
    pub(super) dead_letters: Option<DeadLetters>,
    /// Where it finds what has left the ring, if it may have to look there.
    pub(super) backlog: Option<Mutex<Backlog>>,
    /// Taken by whoever settles or refuses messages that are lent, and by the receiver while there
    /// are ackers.
    pub(super) shown: Mutex<Shown>,
    /// Shares that were left to others and that the receiver has not looked for since, as they were
    /// then, and 1 if there are any.
    pub(super) opened: Mutex<Vec<Sight>>,
    pub(super) has_opened: AtomicU32,
    /// Had by those who may write a dead letter, without the lock above; the member waits for them
    /// before it gives up its place. Taken before that lock.
    pub(super) letters: RwLock<()>,
    /// What a receiver sleeps on that has as much as it may have.
    pub(super) relief: Arc<AtomicU32>,
    /// The ring is a view of this.
    pub(super) _mapping: Arc<Mapping>,
}

/// An acker's part in a desk. A receiver that sleeps until something is settled is called when one goes:
/// without any it has nothing to wait for.
#[derive(Clone)]
pub(crate) struct DeskPart {
    desk: Arc<Desk>,
    /// Behind the part: it is dropped after that.
    _leaving: Leaving,
}

/// Calls the receiver when it is dropped, which has this to sleep on.
#[derive(Clone)]
struct Leaving(Arc<AtomicU32>);

impl DeskPart {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        Self { desk: Arc::clone(desk), _leaving: Leaving(Arc::clone(&desk.relief)) }
    }
}

impl std::ops::Deref for DeskPart {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // SeqCst: INTERRUPT. The part is gone before the look at who sleeps.
        fence(Ordering::SeqCst);
        Event::new(&self.0).call_if_awaited();
    }
}

/// What ackers see. Without any of them it is not kept up.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The member's shares, in the order of the stream; of two at one place the later one last.
    portions: Vec<Arc<Portion>>,
    /// The share whose messages may be lent where they lie in the ring.
    pub(super) lent_from: Option<ShareIndex>,
}

impl Shown {
    /// What the member has now, of which nothing is lent.
    pub(super) fn show_all<'a>(&mut self, portions: impl Iterator<Item = &'a Arc<Portion>>) {
        *self = Self::default();
        portions.for_each(|portion| self.show(portion));
    }

    pub(super) fn show(&mut self, portion: &Arc<Portion>) {
        let place = self.count_from(portion.extent().begin.sequence);
        self.portions.insert(place, Arc::clone(portion));
    }

    pub(super) fn hide(&mut self, portion: &Arc<Portion>) {
        self.portions.retain(|shown| !Arc::ptr_eq(shown, portion));
    }

    pub(super) fn hide_all(&mut self) {
        self.portions.clear();
    }

    pub(super) fn portions(&self) -> impl Iterator<Item = &Arc<Portion>> {
        self.portions.iter()
    }

    /// Those that have a sequence, the latest first.
    pub(super) fn portions_with(&self, sequence: u64) -> impl Iterator<Item = &Arc<Portion>> {
        let before = self.portions[..self.count_from(sequence)].iter().rev();
        before.take_while(move |portion| portion.number_of(sequence).is_some())
    }

    /// How many begin at a sequence or before.
    fn count_from(&self, sequence: u64) -> usize {
        self.portions.partition_point(|other| other.extent().begin.sequence <= sequence)
    }
}

/// What came of looking for a message of a share.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whereabouts {
    Message {
        span: Span,
        is_copy: bool,
    },
    /// It is gone, as all are below a sequence.
    Gone {
        to: u64,
    },
}

/// What came of burying a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Burial {
    /// It is a dead letter, and settled.
    Done,
    /// It is gone, as all are below a sequence.
    Gone { to: u64 },
    /// Another member has taken the share away.
    Late,
}

/// Messages that were settled as missed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Desk {
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn member(&self) -> u32 {
        self.index.get()
    }

    /// Refuses to go on in a child that was forked since.
    pub(super) fn check_own(&self) -> Result<(), Error> {
        if self.lock.is_own() { Ok(()) } else { Err(self.segment.forked()) }
    }

    /// Keeps others from changing what is shown, and what stands in the shares.
    pub(super) fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share was left to others, who are called after that.
    fn note_opened(&self, sight: Sight) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(sight);
        // Relaxed: WAKE orders it before the receiver's last look, or the call behind that.
        self.has_opened.store(1, Ordering::Relaxed);
    }

    pub(super) fn has_opened(&self) -> bool {
        self.has_opened.load(Ordering::Relaxed) == 1
    }

    pub(super) fn take_opened(&self) -> Vec<Sight> {
        if self.has_opened() && self.has_opened.swap(0, Ordering::Relaxed) == 1 {
            core::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner))
        } else {
            Vec::new()
        }
    }

    /// What a receiver sleeps on that has as much as it may have. Whoever calls has had the lock
    /// between what it did and the look at the word, and the sleeper has it for its last look, after
    /// its announcement: so one of them sees the other.
    pub(super) fn relief(&self) -> Event<'_> {
        Event::new(&self.relief)
    }

    /// Whether payloads are copied out before they are lent: because the writer, or another
    /// member, may not wait for this one.
    #[inline(always)]
    pub(super) fn copies(&self) -> bool {
        self.has_lease() || self.lag != Lag::Hold
    }

    /// Lets those who watch a share see that its member is at work; `false` if they have taken it
    /// away.
    pub(super) fn show_progress(&self, portion: &Portion) -> bool {
        if !self.has_lease() {
            return true;
        }
        let is_own = self.replace(portion, portion.state().owned_by(Some(self.index)));
        if is_own {
            // Not before: it would be another member's progress.
            portion.count_progress();
        }
        is_own
    }

    /// Changes a share's state; `false` if another member has taken it away.
    #[inline(always)]
    pub(super) fn replace(&self, portion: &Portion, state: State) -> bool {
        if self.has_lease() {
            portion.replace_state(state)
        } else {
            !portion.is_lost() && portion.store_state(state)
        }
    }

    #[inline(always)]
    pub(super) fn has_lease(&self) -> bool {
        self.terms.ack_within.is_some()
    }

    /// Whether the beginning of a share is not in the ring any more, but to be had all the same.
    pub(super) fn has_left(&self, portion: &Portion) -> bool {
        let begin = portion.extent().begin.position;
        self.backlog.is_some() && self.ring.has_left(Some(self.lag), begin)
    }

    /// [`Self::find`]; nothing if that failed because the share has passed on to another member
    /// meanwhile, so that the writer need not keep its messages any more.
    pub(super) fn find_own(
        &self,
        portion: &Portion,
        number: u32,
        buffer: &mut Buffer,
    ) -> Result<Option<Whereabouts>, Error> {
        let found = self.find(portion, number, buffer);
        if found.is_err() && !self.is_still_own(portion) {
            return Ok(None);
        }
        found.map(Some)
    }

    /// [`Self::show_progress`], for one who does not have the lock. If so, what it has read of the share
    /// was its own: see PASS.
    fn is_still_own(&self, portion: &Portion) -> bool {
        // An acker may have changed the state there, and not yet what is known of it here.
        let _shown = self.shown();
        self.show_progress(portion)
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
            if self.lag == Lag::Skip {
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

    pub(super) fn backlog(&self) -> Option<MutexGuard<'_, Backlog>> {
        let backlog = self.backlog.as_ref()?;
        Some(backlog.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A payload as it is lent, if it is still there.
    #[inline(always)]
    pub(super) fn lend(&self, portion: &Portion, span: Span, buffer: &mut Buffer) -> Option<Span> {
        if !self.copies() {
            return Some(span);
        }
        let copy = buffer.copy(&self.ring, span);
        let position = portion.position_of(span, &self.ring);
        let gone = match self.lag {
            // Unless another member has had it, which comes out when the state is changed.
            Lag::Hold => false,
            Lag::Skip => self.ring.is_below_floor(position),
            Lag::Spill => self.ring.has_left(Some(Lag::Spill), position),
        };
        (!gone).then_some(copy)
    }

    /// Writes the dead letter of a message, if that is there; nothing if the share has passed on to
    /// another member.
    fn write_letter(
        &self,
        portion: &Portion,
        number: u32,
        reason: Reason,
    ) -> Result<Option<Whereabouts>, Error> {
        let mut buffer = Buffer::default();
        let found = self.find_own(portion, number, &mut buffer)?;
        let Some(Whereabouts::Message { span, is_copy }) = found else { return Ok(found) };
        let copy = if is_copy { span } else { buffer.copy(&self.ring, span) };
        let letter = Letter {
            sequence: portion.extent().begin.sequence + u64::from(number),
            key_hash: buffer.key_hash(copy),
            deliveries: portion.deliveries(number),
            reason,
            payload: buffer.payload(copy),
        };
        if let Some(letters) = &self.dead_letters {
            // Whoever had it before may have died between the letter and the settling.
            let had_before = reason != Reason::Refused || letter.deliveries > 1;
            let is_there = had_before && letters.has_on_disk(letter.sequence)?;
            // What was copied when others were done with it may be anything. And from here on there is the
            // time of a lease to write it.
            if !self.is_still_own(portion) {
                return Ok(None);
            }
            if !is_there {
                letters.append(&letter)?;
            }
        }
        Ok(found)
    }
}

/// What is done under the lock, unless there is nobody to keep away by it.
impl Desk {
    /// Shows which share's messages are not counted one by one, but by [`Self::count_handed`], or by
    /// whoever clears up after this member: see [`Ring::uncounted`].
    pub(super) fn begin_to_count(&self, portion: &Portion) {
        self.member.word(MEMBER.counted).store(0, Ordering::Relaxed);
        let current = self.member.word(MEMBER.current);
        current.store(1 + portion.index().get(), Ordering::Relaxed);
    }

    /// Counts what was handed out in order of the share that was worked through, and settled since,
    /// once.
    pub(super) fn count_handed(&self, portion: &Portion) {
        if !self.is_counting(portion) {
            return;
        }
        let state = portion.state();
        let counted = self.member.word(MEMBER.counted).load(Ordering::Relaxed);
        self.member.word(MEMBER.current).store(0, Ordering::Relaxed);
        self.count(MEMBER.delivered, state.handed().into());
        self.count(MEMBER.acked, state.settled().saturating_sub(counted).into());
    }

    /// Settled messages were counted; those that were never handed out, not as something that
    /// [`Self::count_handed`] would count.
    fn note_counted(&self, portion: &Portion, messages: u32) {
        let count = (messages & portion.state().handed_messages()).count_ones();
        if self.is_counting(portion) {
            let counted = self.member.word(MEMBER.counted);
            counted.store(counted.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }

    fn is_counting(&self, portion: &Portion) -> bool {
        // Relaxed: only this member stores it.
        let current = self.member.word(MEMBER.current).load(Ordering::Relaxed);
        current == 1 + portion.index().get()
    }

    pub(super) fn count(&self, word: Word<layout::Member, u64>, more: u64) {
        self.member.count(word, more);
    }

    /// Settles messages as something that is counted; `false` if another member has taken the share
    /// away.
    pub(super) fn settle_as(
        &self,
        what: Word<layout::Member, u64>,
        portion: &Portion,
        messages: u32,
    ) -> bool {
        let state = portion.state().settle(messages);
        if !self.replace(portion, state) {
            return false;
        }
        self.count(what, messages.count_ones().into());
        self.note_counted(portion, messages);
        self.call_for_keys();
        true
    }

    /// Settles a message that is not lent as missed, and those that follow it below the sequence `to`
    /// and are not lent either; none if another member has taken the share away, which may have got
    /// them.
    pub(super) fn miss(&self, portion: &Portion, number: u32, to: u64) -> Option<Missed> {
        let own = portion.state().unsettled() & !portion.lent();
        let in_order = bits(own & (u32::MAX << number));
        let first = portion.extent().begin.sequence;
        let is_gone = |number: u32| first + u64::from(number) < to;
        let run = in_order.zip(number..).take_while(|&(found, due)| found == due && is_gone(due));
        let count = run.count();
        #[allow(clippy::cast_possible_truncation, reason = "32 at most")]
        let messages = (((1_u64 << count) - 1) << number) as u32;
        let from = first + u64::from(number);
        let to = from + count as u64;
        if !self.replace(portion, portion.state().settle(messages)) {
            return None;
        }
        self.note_counted(portion, messages);
        self.count(MEMBER.missed, count as u64);
        self.call_for_keys();
        (count > 0).then_some(Missed { from, to })
    }

    /// Looks for a message, or writes its letter, which may take as long as the disk does. Others go on
    /// meanwhile: the lock is let go for it, and had again by `hold`. Nothing comes of it if another
    /// member has taken the share away.
    pub(super) fn while_busy<Held>(
        &self,
        portion: &Portion,
        number: u32,
        held: Held,
        hold: impl FnOnce() -> Held,
        work: impl FnOnce() -> Result<Option<Whereabouts>, Error>,
    ) -> (Held, Result<Option<Whereabouts>, Error>) {
        // First: what others have by now is not to be given up here.
        if portion.is_lost() || !self.show_progress(portion) {
            return (held, Ok(None));
        }
        // Nobody leaves the share to others meanwhile.
        portion.set_busy(number, true);
        drop(held);
        let found = work();
        let held = hold();
        portion.set_busy(number, false);
        (held, found)
    }

    /// Has a message become a dead letter, whose share may be another member's by now. The lock is let
    /// go [meanwhile](Self::while_busy).
    pub(super) fn bury<Held>(
        &self,
        portion: &Portion,
        number: u32,
        reason: Reason,
        held: Held,
        hold: impl FnOnce() -> Held,
    ) -> (Held, Result<Burial, Error>) {
        let write = || self.write_letter(portion, number, reason);
        let (held, written) = self.while_busy(portion, number, held, hold, write);
        let burial = match written {
            Ok(Some(Whereabouts::Message { .. })) => {
                let settled = self.settle_as(MEMBER.dead_letters, portion, bit(number));
                Ok(if settled { Burial::Done } else { Burial::Late })
            }
            Ok(Some(Whereabouts::Gone { to })) => Ok(Burial::Gone { to }),
            Ok(None) => Ok(Burial::Late),
            // What is wrong with a message that others have by now is for them to tell.
            Err(_) if !self.show_progress(portion) => Ok(Burial::Late),
            Err(error) => Err(error),
        };
        (held, burial)
    }

    /// Shows where a message was lent from.
    pub(super) fn show_lent(&self, shown: &mut Shown, portion: &Portion) {
        shown.lent_from = (!self.copies()).then(|| portion.index());
    }

    /// Calls those who may have waited for the key of what was settled.
    pub(super) fn call_for_keys(&self) {
        if self.keyed {
            call_consumers(&self.ring);
        }
    }

    /// Whether nothing is left of a share but what waits: then it is for others too.
    pub(super) fn is_all_waiting(portion: &Portion) -> bool {
        // What was not handed out yet is in work.
        portion.in_work() == 0 && portion.state().unsettled() != 0 && !portion.is_busy()
    }

    /// Leaves a share to whoever is free, all that is left of which waits, unless another member has
    /// taken it away.
    pub(super) fn open(&self, portion: &Portion) {
        let now = Instant::now();
        for (number, at) in portion.retries() {
            // What is left of it: whoever sees the share counts from then on.
            let _ = portion.set_pause(number, Some(at.saturating_duration_since(now)));
        }
        self.count_handed(portion);
        if self.replace(portion, portion.state().owned_by(None)) {
            self.note_opened(portion.sight(now));
        }
        portion.lose();
        call_consumers(&self.ring);
    }

    /// Lets go of a share that is settled, before the receiver puts it aside.
    pub(super) fn retire(&self, portion: &Portion) {
        portion.retire();
        call_producer(&self.ring);
    }

    pub(super) fn is_last_delivery(&self, deliveries: u32) -> bool {
        self.terms.deliveries_max.is_some_and(|max| deliveries >= max)
    }

    pub(super) fn pause_after(&self, deliveries: u32) -> Duration {
        let Some(Backoff { first, factor, max }) = self.terms.backoff else {
            return Duration::ZERO;
        };
        let times = i32::try_from(deliveries.saturating_sub(1)).unwrap_or(i32::MAX);
        let pause = first.as_secs_f64() * factor.powi(times);
        // What cannot be written down would be shorter for whoever has the message next.
        Duration::try_from_secs_f64(pause).unwrap_or(max).min(max).min(PAUSE_MAX)
    }
}
