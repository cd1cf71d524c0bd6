//! Shares: how the members of a named subscription divide the stream among themselves.
//!
//! A share is up to 32 messages that follow each other. A member takes one from the
//! subscription's head, hands its messages out one by one, and settles them in any order: a
//! message is settled when it is acknowledged or given up. A share that its member leaves
//! unsettled, by dying or because the messages are to be tried again, stays where it is and
//! passes on as a whole: first to nobody, then to any member that wants it. Messages never move
//! between shares, so that none is ever in two, or in none.

use core::time::Duration;

use super::frame::{self, ExtensionSet, Frame};
use super::read_side::Read;
use super::run::{Run, Span};
use super::subscriptions::{Head, Subscription, SubscriptionIndex};
use super::{Corrupt, Lag, MemberIndex, Place, Ring, crash_point};
use crate::layout::{self, CONTROL, COUNT_MAX, MEMBER, SHARE, SHARE_COUNT_MAX, Word};
use crate::region::{Shared, Words};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence, load_acquire};

/// How often a share that other members are faster to take is tried for again. Of many who take small
/// shares at once one may be the slower a hundred times and more, which is no sign that there is none.
pub(crate) const TURNS_MAX: u32 = 10_000;

/// The number of an entry in the share table of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareIndex(u32);

impl ShareIndex {
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

/// An entry of the share table.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    entry: Words<layout::Share>,
}

/// A share as it was seen to be of a subscription.
#[derive(Debug)]
pub(crate) struct SeenShare {
    pub(crate) index: ShareIndex,
    pub(crate) share: Share,
    pub(crate) ticket: u64,
    pub(crate) state: State,
}

impl SeenShare {
    /// Whether the head had passed it, and nobody was done with all of it. Before that it is only made
    /// ready, as by a member that was too late.
    pub(crate) fn is_passed(&self) -> bool {
        self.ticket & PASSED != 0
    }

    /// Whether the entry is no other share yet, so that all that was read of it was of this one.
    pub(crate) fn is_same(&self) -> bool {
        // Acquire: TURN.
        fence(Ordering::Acquire);
        self.share.ticket().load(Ordering::Relaxed) == self.ticket
    }
}

/// What changes about a share while it is worked on. It is one word, so that of two who would
/// change it at the same time one finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

/// The step that a share makes the head take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Place,
    pub(super) to: Place,
}

/// What a share consists of. Constant from when it is taken until all of it is settled. Taking one
/// is inlined from end to end, so that this travels in registers: a result's way through memory, as
/// words and then as vectors, costs as much as all the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first message.
    pub(crate) begin: Place,
    /// The boundary after the last.
    pub(crate) end: u64,
    pub(crate) count: u32,
    /// The first sequence after the share before. Messages from there to the first of this share
    /// were overwritten before anybody took them.
    pub(crate) missed_from: u64,
    /// What all of its frames are like, if that is known.
    pub(crate) shape: Option<frame::Shape>,
}

impl Extent {
    /// The boundary after it.
    fn after(&self) -> Place {
        let sequence = self.begin.sequence + u64::from(self.count);
        Place { position: self.end, sequence }
    }
}

/// What each message of a share has of its key: see [`short_key`].
pub(crate) type ShareKeys = [u32; SHARE_COUNT_MAX as usize];

/// What came of an attempt to take a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// A share of this extent, in this state.
    Taken(Extent, State),
    /// There is no message at the head.
    Empty,
    /// Nor will there be one: the stream ended at this position.
    Closed { end: u64 },
    /// What comes next has left the ring, and is to be had elsewhere: see [`Ring::take_stretch`].
    Behind(Head),
}

/// The longest that a message waits, as far as that can be written down.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(u32::MAX as u64 - 1);
/// The highest bit of a ticket: the head has passed the share.
const PASSED: u64 = 1 << 63;
/// The ticket of a share whose owner is done with it. No turn has that one.
const RETIRED: u64 = PASSED - 1;

impl State {
    const HANDED_SHIFT: u32 = 32;
    const HANDED_MASK: u64 = 0x3f;
    const OWNER_SHIFT: u32 = 38;
    const OWNER_MASK: u64 = 0x7fff;
    const GENERATION_SHIFT: u32 = 53;

    /// Messages that are not settled, a bit each.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub(crate) const fn unsettled(self) -> u32 {
        self.0 as u32
    }

    /// How many messages were handed out, from the first on.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "6 bits")]
    pub(crate) const fn handed(self) -> u32 {
        ((self.0 >> Self::HANDED_SHIFT) & Self::HANDED_MASK) as u32
    }

    /// Those that were handed out, a bit each.
    pub(crate) fn handed_messages(self) -> u32 {
        u32::MAX.checked_shr(32_u32.saturating_sub(self.handed())).unwrap_or(0)
    }

    /// How many of those are settled.
    pub(crate) fn settled(self) -> u32 {
        (self.handed_messages() & !self.unsettled()).count_ones()
    }

    #[allow(clippy::cast_possible_truncation, reason = "15 bits")]
    pub(crate) fn owner(self) -> Option<MemberIndex> {
        let code = ((self.0 >> Self::OWNER_SHIFT) & Self::OWNER_MASK) as u32;
        code.checked_sub(1).map(MemberIndex::new)
    }

    /// Whether anybody may take it over.
    pub(crate) fn is_open(self) -> bool {
        self.owner().is_none() && self.unsettled() != 0
    }

    pub(crate) fn is_free(self) -> bool {
        self.owner().is_none() && self.unsettled() == 0
    }

    #[inline(always)]
    pub(crate) const fn settle(self, messages: u32) -> Self {
        Self(self.0 & !(messages as u64))
    }

    /// The next message was handed out. Callers hand out no more than there are, unless somebody makes
    /// more frames of them meanwhile.
    #[inline(always)]
    pub(crate) const fn hand_out(self) -> Self {
        Self(self.0.wrapping_add(1 << Self::HANDED_SHIFT))
    }

    #[inline(always)]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// The same share, but no earlier state: whoever had it before finds out.
    pub(crate) fn owned_by(self, owner: Option<MemberIndex>) -> Self {
        let code = owner.map_or(0, |owner| 1 + u64::from(owner.get()));
        let others = self.0 & !(Self::OWNER_MASK << Self::OWNER_SHIFT);
        let next_generation = 1_u64 << Self::GENERATION_SHIFT;
        Self((others | (code << Self::OWNER_SHIFT)).wrapping_add(next_generation))
    }

    /// A new share of its owner, with so many messages.
    fn filled(self, count: u32) -> Self {
        let all = (1_u64 << count) - 1;
        let handed = Self::HANDED_MASK << Self::HANDED_SHIFT;
        Self((self.0 & !u64::from(u32::MAX) & !handed) | all).owned_by(self.owner())
    }
}

impl Ring {
    /// The entries of the share table that were ever in use.
    pub(crate) fn used_shares(&self) -> impl Iterator<Item = ShareIndex> + use<> {
        // Acquire: HEAD. A share is taken after this was raised.
        let used = crate::sync::load_acquire32(self.control(CONTROL.shares_used));
        (0..used.min(self.geometry.tables().shares)).map(ShareIndex)
    }

    /// Those of a subscription, also such as are not [passed](SeenShare::is_passed): who looks for
    /// messages leaves these out, and has looked at the head before: HEAD.
    pub(crate) fn shares_of(
        &self,
        subscription: SubscriptionIndex,
    ) -> impl Iterator<Item = SeenShare> + '_ {
        self.used_shares().filter_map(move |index| {
            let share = self.share(index);
            // In this order: while the ticket stays, the state is of that share, and who swaps from the
            // state, and succeeds, has a share of this subscription.
            let (ticket, state) = (share.load_ticket(), share.load_state());
            let of_it = share.subscription() == Some(subscription);
            of_it.then_some(SeenShare { index, share, ticket, state })
        })
    }

    pub(crate) fn share(&self, index: ShareIndex) -> Share {
        Share { entry: self.entry_at(self.geometry.share(index.0)) }
    }

    /// `None` for a number that the table does not have.
    pub(super) fn share_numbered(&self, number: u32) -> Option<Share> {
        (number < self.geometry.tables().shares).then(|| self.share(ShareIndex(number)))
    }

    /// The position that a share needs, if what its subscription does when it lags is as asked for.
    pub(super) fn needed_by_share(
        &self,
        index: ShareIndex,
        is_meant: impl Fn(Lag) -> bool,
    ) -> Option<u64> {
        let share = self.share(index);
        // Acquire: HEAD. One that is not passed yet is covered by the head.
        let passed = load_acquire(share.ticket()) & PASSED != 0;
        // Acquire: RETIRE. An owner may still lend what it has settled.
        let needed = !State(load_acquire(share.state())).is_free();
        let subscription = || share.subscription().and_then(|index| self.subscription(index));
        let meant = || subscription().and_then(|of| of.lag()).is_some_and(is_meant);
        (passed && needed && meant()).then(|| share.extent().begin.position)
    }

    /// Up to where all messages of a subscription are settled: a boundary at or before the first
    /// that is not, and its sequence.
    pub(crate) fn settled(&self, subscription: &Subscription) -> Result<(Place, u64), Corrupt> {
        let head = self.head(subscription)?.place;
        let mut lowest = (head, head.sequence);
        // After the head: HEAD.
        for seen in self.shares_of(subscription.index()).filter(SeenShare::is_passed) {
            let (begin, unsettled) = (seen.share.extent().begin, seen.state.unsettled());
            let first = begin.sequence.saturating_add(unsettled.trailing_zeros().into());
            // One that is another by now had nothing unsettled left, and has taken what follows.
            if unsettled != 0 && seen.is_same() && first < lowest.1 {
                lowest = (begin, first);
            }
        }
        Ok(lowest)
    }

    /// Gives a free share to a member, to be taken by [`Self::take`]; `None` if there is none.
    pub(crate) fn allot(
        &self,
        owner: MemberIndex,
        subscription: SubscriptionIndex,
    ) -> Option<ShareIndex> {
        let count = self.geometry.tables().shares;
        // Everybody begins elsewhere, so that they hardly ever meet.
        let indexes = (0..count).map(|index| ShareIndex((index + owner.get()) % count));
        let take = |index: &ShareIndex| {
            let share = self.share(*index);
            let state = share.load_state();
            if !state.is_free() {
                return false;
            }
            crash_point();
            // First of all: whoever clears up after the dead looks no further than this.
            // Relaxed: the turn that takes the share carries it.
            self.control(CONTROL.shares_used).fetch_max(1 + index.0, Ordering::Relaxed);
            crash_point();
            share.replace_state(state, state.owned_by(Some(owner))).is_ok()
        };
        let index = { indexes }.find(take)?;
        crash_point();
        let code = 1 + subscription.get();
        self.share(index).word(SHARE.subscription).store(code, Ordering::Relaxed);
        Some(index)
    }

    /// Whether [`Self::allot`] would find one.
    pub(crate) fn has_free_share(&self) -> bool {
        let mut indexes = (0..self.geometry.tables().shares).map(ShareIndex);
        indexes.any(|index| self.share(index).load_state().is_free())
    }

    /// Takes the next messages of the stream as a share, `count_max` at most and no more than end
    /// within a sector; if the first does not, it alone. The share is the caller's, and has
    /// nothing unsettled. Of a keyed subscription it has the messages' keys too.
    #[inline(always)]
    pub(crate) fn take(
        &self,
        subscription: &Subscription,
        index: ShareIndex,
        count_max: u32,
        keyed: bool,
    ) -> Result<Take, Corrupt> {
        for _ in 0..TURNS_MAX {
            let head = self.head(subscription)?;
            if self.has_left(subscription.lag(), head.place.position) {
                if subscription.is_still(head.turn) {
                    self.check_granted()?;
                    return Ok(Take::Behind(head));
                }
                continue;
            }
            if let Some(take) =
                self.try_take(subscription, index, head, head.place, count_max, keyed)?
            {
                return Ok(take);
            }
        }
        // It was somebody else's turn each time, or the writer's: there may be more.
        Ok(Take::Empty)
    }

    /// [`Self::take`], of a head behind which nothing is missed up to a place that is in the ring.
    /// Nothing if somebody was faster.
    #[inline(always)]
    pub(crate) fn try_take(
        &self,
        subscription: &Subscription,
        index: ShareIndex,
        head: Head,
        from: Place,
        count_max: u32,
        keyed: bool,
    ) -> Result<Option<Take>, Corrupt> {
        let count_max = count_max.clamp(1, SHARE_COUNT_MAX);
        let found = self.survey(subscription, from, count_max);
        // Provisional: what was read may have been overwritten, if the head has moved on.
        if !subscription.is_still(head.turn) {
            return Ok(None);
        }
        let extent = match found? {
            Survey::Stretch(extent) => Extent { missed_from: head.place.sequence, ..extent },
            Survey::Empty => return Ok(Some(Take::Empty)),
            Survey::Closed { end } => return Ok(Some(Take::Closed { end })),
            Survey::Overtaken => return Ok(None),
        };
        let keys = keyed.then(|| self.keys_of(&extent));
        let lag = subscription.lag();
        let position = extent.begin.position;
        // The keys may have been read where something else stands by now.
        let is_gone = keyed && lag == Some(Lag::Skip) && self.is_below_floor(position);
        if is_gone || self.has_left(lag, position) {
            return Ok(None);
        }
        let taken = self.take_stretch(subscription, index, head, extent, keys.as_ref());
        Ok(taken.map(|state| Take::Taken(extent, state)))
    }

    /// Takes messages that were found to follow a head as a share, with their keys if those count.
    /// Nothing if somebody was faster; else the share's state, from which others may have changed it.
    #[inline(always)]
    pub(crate) fn take_stretch(
        &self,
        subscription: &Subscription,
        index: ShareIndex,
        head: Head,
        extent: Extent,
        keys: Option<&ShareKeys>,
    ) -> Option<State> {
        let share = self.share(index);
        let state = share.fill(subscription.ticket(head.turn), head.place, extent);
        for (index, &key) in (0..extent.count).zip(keys.into_iter().flatten()) {
            share.key(index).store(key, Ordering::Relaxed);
        }
        let step = Step { from: head.place, to: extent.after() };
        self.take_turn(subscription, head.turn, index, &step).then_some(state)
    }

    /// Whether what was at a position, or was just read there, is to be had elsewhere.
    pub(crate) fn has_left(&self, lag: Option<Lag>, position: u64) -> bool {
        // Acquire: LICENCE.
        fence(Ordering::Acquire);
        lag != Some(Lag::Skip) && position < self.granted_floor()
    }

    /// Looks at what a share from a place on would consist of. What a head that holds leads to is
    /// whole as long as the head has not moved, whatever the licence says.
    #[inline(always)]
    fn survey(
        &self,
        subscription: &Subscription,
        from: Place,
        count_max: u32,
    ) -> Result<Survey, Corrupt> {
        let lag = subscription.lag();
        let skips = lag == Some(Lag::Skip);
        let mut place = from;
        loop {
            let look = self.look(place);
            if skips && look.is_below_floor() {
                place = self.oldest()?;
                if place.sequence < from.sequence {
                    // Sequences do not go back while positions go on.
                    return Err(Corrupt { position: place.position, found: place.sequence });
                }
                continue;
            }
            if self.has_left(lag, place.position) {
                return Ok(Survey::Overtaken);
            }
            match look.frame()? {
                Frame::Uncommitted if self.closed_at() == Some(place.position) => {
                    return Ok(Survey::Closed { end: place.position });
                }
                Frame::Uncommitted => return Ok(Survey::Empty),
                Frame::Padding { end } => place.position = end,
                Frame::Message { shape, end } => {
                    let (run, count) = self.stretch(place, shape, end, look.licence(), count_max);
                    if skips && self.is_below_floor(place.position) {
                        return Ok(Survey::Overtaken);
                    }
                    return Ok(Survey::Stretch(Extent {
                        begin: place,
                        end: place.position - self.offset(place.position) as u64
                            + run.offset() as u64,
                        count,
                        missed_from: from.sequence,
                        shape: run.only_shape(),
                    }));
                }
            }
        }
    }

    /// Follows messages from one that was found on, and says how many.
    #[allow(clippy::cast_possible_truncation, reason = "at most the capacity")]
    fn stretch(
        &self,
        first: Place,
        shape: frame::Shape,
        first_end: u64,
        licence: u64,
        count_max: u32,
    ) -> (Run, u32) {
        let lap = first.position - self.offset(first.position) as u64;
        let mut run = self.run_from(first);
        run.learn(shape);
        run.limit_to((licence.min(self.sector_end(first.position)) - lap) as usize);
        run.advance((first_end - lap) as usize);
        let mut count = 1;
        while count < count_max && run.next().is_some() {
            count += 1;
        }
        (run, count)
    }

    /// What a look at the head would find.
    pub(crate) fn look_at_head(&self, subscription: &Subscription) -> Result<Read<()>, Corrupt> {
        let head = self.head(subscription)?.place;
        // Nothing leaves the ring before there is something that comes after it.
        if self.has_left(subscription.lag(), head.position) {
            return Ok(Read::Message(()));
        }
        Ok(match self.survey(subscription, head, 1)? {
            Survey::Empty => Read::Empty,
            Survey::Closed { end } => Read::Closed { end },
            Survey::Stretch(_) | Survey::Overtaken => Read::Message(()),
        })
    }

    /// Where the head's next message will begin, as a run that has nothing to be followed, to be
    /// polled. Padding that is there already is no news.
    pub(crate) fn run_at_head(&self, subscription: &Subscription) -> Result<Run, Corrupt> {
        let mut place = self.head(subscription)?.place;
        // What is wrong there is for the next look at the head to tell.
        if let Ok(Frame::Padding { end }) = self.look(place).frame() {
            place.position = end;
        }
        Ok(self.run_from(place))
    }

    /// The position of the frame whose payload a span is, in the same lap as a place.
    #[inline(always)]
    pub(crate) fn position_of(&self, near: Place, span: Span) -> u64 {
        let frame_offset = span.offset - span.extensions_size - frame::HEADER_SIZE;
        near.position - self.offset(near.position) as u64 + frame_offset as u64
    }

    /// The messages' keys.
    fn keys_of(&self, extent: &Extent) -> ShareKeys {
        let mut run = self.run_of(extent);
        let mut keys = ShareKeys::default();
        for key in keys.iter_mut().take(extent.count as usize) {
            let Some(span) = run.next() else { break };
            if span.extensions.contains(ExtensionSet::KEY) {
                let offset = span.offset - span.extensions.distance(ExtensionSet::KEY);
                *key = short_key(self.word_at(offset).load(Ordering::Relaxed));
            }
        }
        keys
    }

    /// Where the payload of a message of a share lies, if the share is still in the ring.
    pub(crate) fn find_in(&self, extent: &Extent, number: u32) -> Option<Span> {
        let mut run = self.run_of(extent);
        (0..number).try_for_each(|_| run.next().map(drop))?;
        run.next()
    }

    /// The frames of a share, to be followed.
    #[allow(clippy::cast_possible_truncation, reason = "at most the capacity")]
    pub(crate) fn run_of(&self, extent: &Extent) -> Run {
        let lap = extent.begin.position - self.offset(extent.begin.position) as u64;
        let mut run = self.run_from(extent.begin);
        // What has come from elsewhere may end in another lap.
        let lap_end = lap + self.capacity() - frame::HEADER_SIZE as u64;
        run.end_at((extent.end.min(lap_end) - lap) as usize);
        if let Some(shape) = extent.shape {
            run.learn(shape);
        }
        run
    }

    #[allow(clippy::cast_possible_truncation, reason = "an eighth of the capacity")]
    fn run_from(&self, place: Place) -> Run {
        let size_max = self.geometry.message_size_max() as usize;
        #[allow(clippy::clone_on_copy, reason = "the model checks' regions are no copies")]
        Run::new(self.frames.clone(), self.offset(place.position), place.sequence, size_max)
    }

    /// What a share consists of, if that can be: the share may be of somebody's making who breaks
    /// the rules.
    pub(crate) fn extent(&self, index: ShareIndex) -> Result<Extent, Corrupt> {
        let extent = self.share(index).extent();
        let Extent { begin, end, count, .. } = extent;
        let possible = begin.position.is_multiple_of(8)
            && begin.position < COUNT_MAX
            && begin.sequence < COUNT_MAX
            && (1..=SHARE_COUNT_MAX).contains(&count)
            && end.is_multiple_of(8)
            && (begin.position + 1..COUNT_MAX).contains(&end);
        if possible { Ok(extent) } else { Err(Corrupt { position: begin.position, found: end }) }
    }

    /// What a member has delivered, and what it has acknowledged, of the share that it works through:
    /// what its line does not count yet.
    pub(crate) fn uncounted(&self, owner: MemberIndex) -> (u64, u64) {
        let member = self.member(owner);
        // Relaxed, its words: for display.
        let current = member.word(MEMBER.current).load(Ordering::Relaxed).checked_sub(1);
        let share = current.and_then(|number| self.share_numbered(number));
        let state = share.map(|share| share.load_state());
        let Some(state) = state.filter(|state| state.owner() == Some(owner)) else { return (0, 0) };
        let counted = member.word(MEMBER.counted).load(Ordering::Relaxed);
        (state.handed().into(), state.settled().saturating_sub(counted).into())
    }

    /// Opens what a member had of shares: those with unsettled messages are anybody's from now on,
    /// the others are free. The caller is that member, or has its lock. Returns how many were
    /// opened.
    pub(crate) fn disown(&self, owner: MemberIndex) -> Result<u32, Corrupt> {
        let mut opened = 0;
        for index in self.used_shares() {
            let share = self.share(index);
            if share.load_state().owner() == Some(owner) {
                self.finish_taking(index)?;
            }
            // Who takes it over meanwhile takes it from its owner, once.
            let mut state = share.load_state();
            while state.owner() == Some(owner) {
                let open = state.owned_by(None);
                let left = if share.is_passed() { open } else { open.settle(u32::MAX) };
                if left.is_free() {
                    share.retire();
                }
                crash_point();
                match share.replace_state(state, left) {
                    Ok(()) => {
                        opened += u32::from(left.unsettled() != 0);
                        break;
                    }
                    Err(other) => state = other,
                }
            }
        }
        Ok(opened)
    }

    /// Gives a passed share to an heir, whosever it is, and returns what it is then; nothing if its state
    /// has changed since it was seen.
    pub(crate) fn take_over(
        &self,
        index: ShareIndex,
        seen: State,
        heir: MemberIndex,
    ) -> Result<Option<(Extent, State)>, Corrupt> {
        // What is damaged is nobody's to have.
        self.extent(index)?;
        crash_point();
        let state = seen.owned_by(Some(heir));
        if self.share(index).replace_state(seen, state).is_err() {
            return Ok(None);
        }
        crash_point();
        // TURN: what the heir is done with may be written anew for another subscription, whose members do
        // not look at the head of this one.
        self.finish_taking(index)?;
        // Only now: it may have become another one whose state looks the same, since generations come
        // round.
        Ok(Some((self.extent(index)?, state)))
    }

    /// If it is a share's turn, of somebody who may be dead or stopped, finishes that.
    fn finish_taking(&self, index: ShareIndex) -> Result<(), Corrupt> {
        let subscription = self.share(index).subscription().and_then(|of| self.subscription(of));
        let Some(subscription) = subscription else { return Ok(()) };
        let turn = subscription.load_turn();
        if turn.share() == Some(index.0) { self.finish(&subscription, turn) } else { Ok(()) }
    }
}

/// The part of a key's hash that a share keeps; never 0, which is no key.
#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
pub(crate) fn short_key(hash: u64) -> u32 {
    (hash as u32).max(1)
}

enum Survey {
    Stretch(Extent),
    Empty,
    Closed {
        end: u64,
    },
    /// The writer was faster than a subscription that skips.
    Overtaken,
}

impl Share {
    /// Writes down what the share will consist of when its turn comes, and returns its state.
    fn fill(&self, ticket: u64, from: Place, extent: Extent) -> State {
        // Release: TURN. Whoever sees any of this sees that the share's last turn is over.
        fence(Ordering::Release);
        let store =
            |word: Word<_, u64>, value: u64| self.word(word).store(value, Ordering::Relaxed);
        crash_point();
        // Relaxed: its turn carries all of it.
        store(SHARE.ticket, ticket);
        store(SHARE.from_position, from.position);
        store(SHARE.from_sequence, from.sequence);
        store(SHARE.position, extent.begin.position);
        store(SHARE.sequence, extent.begin.sequence);
        store(SHARE.end, extent.end);
        self.word(SHARE.count).store(extent.count, Ordering::Relaxed);
        self.waiting().store(0, Ordering::Relaxed);
        for word in 0..SHARE_COUNT_MAX as usize / 8 {
            store(SHARE.retries.word64(word), 0);
        }
        crash_point();
        let state = State(self.state().load(Ordering::Relaxed)).filled(extent.count);
        store(SHARE.state, state.0);
        state
    }

    pub(super) fn step(&self) -> Step {
        let load = |word: Word<_, u64>| self.word(word).load(Ordering::Relaxed);
        let count = u64::from(self.word(SHARE.count).load(Ordering::Relaxed));
        let sequence = load(SHARE.sequence).wrapping_add(count);
        let from =
            Place { position: load(SHARE.from_position), sequence: load(SHARE.from_sequence) };
        Step { from, to: Place { position: load(SHARE.end), sequence } }
    }

    /// What the share consists of, unchecked: see [`Ring::extent`].
    fn extent(&self) -> Extent {
        let load = |word: Word<_, u64>| self.word(word).load(Ordering::Relaxed);
        Extent {
            begin: Place { position: load(SHARE.position), sequence: load(SHARE.sequence) },
            end: load(SHARE.end),
            count: self.word(SHARE.count).load(Ordering::Relaxed),
            missed_from: load(SHARE.from_sequence),
            shape: None,
        }
    }

    /// Marks the share as passed, unless somebody has done that before.
    pub(super) fn pass(&self, ticket: u64) {
        crash_point();
        let (from, to) = (ticket, ticket | PASSED);
        // AcqRel: HEAD.
        // Acquire: HEAD.
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.ticket().compare_exchange(from, to, success, failure);
    }

    /// Lets go of the messages of a share that is wholly settled. Its owner calls this when it
    /// lends none of them any more, and whoever makes the share free: what the share was would else
    /// hold the writer again as soon as somebody owns it.
    pub(crate) fn retire(&self) {
        crash_point();
        // Release: RETIRE.
        self.ticket().store(RETIRED, Ordering::Release);
    }

    pub(crate) fn is_passed(&self) -> bool {
        // Acquire: HEAD.
        load_acquire(self.ticket()) & PASSED != 0
    }

    /// Tells this share from all others that had or will have its entry.
    pub(crate) fn load_ticket(&self) -> u64 {
        // Acquire: HEAD. The share is what it was when it was taken.
        load_acquire(self.ticket())
    }

    pub(crate) fn load_state(&self) -> State {
        // Acquire: PASS.
        State(load_acquire(self.state()))
    }

    /// Changes the state of a share that nobody else changes meanwhile.
    #[inline(always)]
    pub(crate) fn store_state(&self, state: State) {
        // Release: RETIRE, and PASS.
        self.state().store(state.0, Ordering::Release);
    }

    /// Changes the state, unless it is another than expected: then somebody else was faster.
    pub(crate) fn replace_state(&self, expected: State, state: State) -> Result<(), State> {
        // AcqRel: RETIRE, and PASS.
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire); // Acquire: PASS.
        let result = self.state().compare_exchange(expected.0, state.0, success, failure);
        result.map(drop).map_err(State)
    }

    pub(crate) fn subscription(&self) -> Option<SubscriptionIndex> {
        SubscriptionIndex::of_code(self.word(SHARE.subscription).load(Ordering::Relaxed))
    }

    /// How often the owner has shown that it is at work. Only the owner stores it.
    pub(crate) fn progress(&self) -> &AtomicU32 {
        self.word(SHARE.progress)
    }

    /// Messages that wait to be delivered again, a bit each. Only the owner stores it.
    pub(crate) fn waiting(&self) -> &AtomicU32 {
        self.word(SHARE.waiting)
    }

    /// The word that has the byte of message `index`.
    fn retries(&self, index: u32) -> &AtomicU64 {
        self.word(SHARE.retries.word64(index as usize / 8))
    }

    /// How often message `index` was delivered; from 255 on, at least so often.
    pub(crate) fn deliveries(&self, index: u32, state: State) -> u32 {
        let retries = self.retries(index).load(Ordering::Relaxed);
        let byte = retries.to_le_bytes()[index as usize % 8];
        u32::from(byte) + u32::from(index < state.handed())
    }

    /// Counts one more delivery of message `index`, which the state does not count.
    pub(crate) fn count_retry(&self, index: u32) {
        let count = |retries: u64| {
            let mut retries = retries.to_le_bytes();
            let byte = &mut retries[index as usize % 8];
            *byte = byte.saturating_add(1);
            Some(u64::from_le_bytes(retries))
        };
        // A swap, so that one who was stopped here, and has lost the share, takes nothing from what
        // others have counted since.
        // Release: PASS. Whoever takes the share over sees it.
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        let _ = self.retries(index).fetch_update(success, failure, count);
    }

    /// How long message `index`, which waits, does so, unless that is for the subscription to say.
    pub(crate) fn pause(&self, index: u32) -> Option<Duration> {
        // Relaxed: who takes the share over has it by its state.
        let milliseconds = self
            .word(SHARE.pauses.word32(index as usize))
            .load(Ordering::Relaxed)
            .checked_sub(1)?;
        Some(Duration::from_millis(milliseconds.into()))
    }

    /// The owner has message `index` wait so long, or as the subscription says. Returns how long that
    /// is by what can be written down.
    pub(crate) fn set_pause(&self, index: u32, pause: Option<Duration>) -> Option<Duration> {
        let milliseconds = |pause: Duration| pause.as_nanos().div_ceil(1_000_000);
        let milliseconds = pause
            .map(|pause| pause.min(PAUSE_MAX))
            .map(|pause| u32::try_from(milliseconds(pause)).unwrap_or(u32::MAX - 1));
        let code = milliseconds.map_or(0, |milliseconds| 1 + milliseconds);
        // Relaxed: as in `pause`.
        self.word(SHARE.pauses.word32(index as usize)).store(code, Ordering::Relaxed);
        milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.into()))
    }

    /// The word for the key of message `index`.
    pub(crate) fn key(&self, index: u32) -> &AtomicU32 {
        self.word(SHARE.keys.word32(index as usize))
    }

    /// What its first messages have of their keys; 0 for each after those.
    pub(crate) fn keys(&self, count: u32) -> ShareKeys {
        let mut keys = ShareKeys::default();
        for (index, key) in (0..count).zip(&mut keys) {
            *key = self.key(index).load(Ordering::Relaxed);
        }
        keys
    }

    fn ticket(&self) -> &AtomicU64 {
        self.word(SHARE.ticket)
    }

    fn state(&self) -> &AtomicU64 {
        self.word(SHARE.state)
    }

    #[inline(always)]
    fn word<Value: Shared>(&self, word: Word<layout::Share, Value>) -> &Value::Atomic {
        self.entry.word(word)
    }
}
