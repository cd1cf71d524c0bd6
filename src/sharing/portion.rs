//! A share as its member sees it, and the shares of others as they look from here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ring::{Corrupt, Extent, MemberIndex, Ring, SeenShare, Share, ShareIndex, Span, State};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// A share of this member's. Only the member changes it, unless others may take it away; so what
/// is written down here is what stands in the segment, or stood there as long as the share was its
/// own. One who finds out late that it is not may have written there since.
#[derive(Debug)]
pub(super) struct Portion {
    index: ShareIndex,
    share: Share,
    extent: Extent,
    // Relaxed, all of them: the application's threads synchronise by the lock of who settles.
    state: AtomicU64,
    /// Messages that the application has, a bit each.
    lent: AtomicU32,
    /// Messages that somebody is about to give up, and does not have the lock meanwhile, a bit each.
    busy: AtomicU32,
    /// Messages that wait to be delivered again, a bit each.
    waiting: AtomicU32,
    /// 1 once another member has taken it away, or anybody may.
    lost: AtomicU32,
    /// When messages that wait are to be delivered again.
    retries: Mutex<Vec<(u32, Instant)>>,
    blockers: Vec<Blocker>,
}

/// Messages of one key that have to be settled before others of that key are handed out.
#[derive(Debug)]
struct Blocker {
    blocked: u32,
    share: ShareIndex,
    ticket: u64,
    messages: u32,
}

/// A share of somebody else's, as it has been since some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) index: ShareIndex,
    ticket: u64,
    pub(super) state: State,
    pub(super) waiting: u32,
    progress: u32,
    pub(super) since: Instant,
}

impl Portion {
    /// A share that was just allotted, and has nothing.
    pub(super) fn allotted(ring: &Ring, index: ShareIndex) -> Self {
        let share = ring.share(index);
        let state = share.load_state();
        Self {
            index,
            share,
            extent: Extent::default(),
            state: AtomicU64::new(state.word()),
            lent: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            retries: Mutex::default(),
            blockers: Vec::new(),
        }
    }

    /// The share has taken this from the head, or had it when it was taken over, and had this state
    /// at that moment. Since then it may have passed on.
    pub(super) fn fill(&mut self, ring: &Ring, extent: Extent, state: State, keyed: bool) {
        self.extent = extent;
        self.state.store(state.word(), Ordering::Relaxed);
        self.set_lent(0);
        // Whoever had the entry before may be late to say there which of its messages wait.
        self.waiting.store(0, Ordering::Relaxed);
        let retries = self.retries.get_mut().unwrap_or_else(PoisonError::into_inner);
        retries.clear();
        self.blockers.clear();
        if keyed {
            self.blockers = blockers(ring, self.index, &self.share, &extent);
        }
    }

    /// Takes a share over that was somebody else's, or nobody's; `None` if it has changed since it
    /// was seen.
    pub(super) fn inherited(
        ring: &Ring,
        sight: &Sight,
        heir: MemberIndex,
        keyed: bool,
    ) -> Result<Option<Self>, Corrupt> {
        let inherited = ring.take_over(sight.index, sight.state, heir)?;
        Ok(inherited.map(|(extent, state)| {
            let mut portion = Self::allotted(ring, sight.index);
            portion.fill(ring, extent, state, keyed);
            portion
                .waiting
                .store(portion.share.waiting().load(Ordering::Relaxed), Ordering::Relaxed);
            portion
        }))
    }

    pub(super) fn index(&self) -> ShareIndex {
        self.index
    }

    pub(super) fn extent(&self) -> &Extent {
        &self.extent
    }

    #[inline(always)]
    pub(super) fn state(&self) -> State {
        State::of_word(self.state.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(super) fn lent(&self) -> u32 {
        self.lent.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn set_lent(&self, messages: u32) {
        self.lent.store(messages, Ordering::Relaxed);
    }

    /// Messages that are lent, and that nobody is about to give up.
    pub(super) fn in_hand(&self) -> u32 {
        self.lent() & !self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) != 0
    }

    /// Somebody is about to give a message up, or has done that, or has not.
    pub(super) fn set_busy(&self, number: u32, busy: bool) {
        let others = self.busy.load(Ordering::Relaxed) & !(1 << number);
        self.busy.store(others | u32::from(busy) << number, Ordering::Relaxed);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) != 0
    }

    /// It is another member's by now, or anybody's.
    pub(super) fn lose(&self) {
        self.lost.store(1, Ordering::Relaxed);
    }

    /// Finds out whether another member has taken it away, where others may.
    pub(super) fn look_after(&self) {
        if self.share.load_state() != self.state() {
            self.lose();
        }
    }

    /// Has it look other than before, however often: the state's generation comes round.
    pub(super) fn count_progress(&self) {
        let progress = self.share.progress();
        // Relaxed: others only compare it with what it was some time ago.
        progress.store(progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether every message was handed out once.
    pub(super) fn is_handed_out(&self) -> bool {
        self.state().handed() >= self.extent.count
    }

    /// Settles what is lent, and lends the next message, where nobody else may change the state.
    #[inline(always)]
    pub(super) fn settle_and_hand_out(&self) {
        let state = self.state();
        self.store_state(state.settle(self.lent()).hand_out());
        self.set_lent(bit(state.handed()));
    }

    /// Lends one message more, where nobody else may change the state, for one who keeps other
    /// threads from settling.
    #[inline(always)]
    pub(super) fn hand_out(&self) {
        let state = self.state();
        self.store_state(state.hand_out());
        self.set_lent(self.lent() | bit(state.handed()));
    }

    /// Lets go of messages that are all settled, and not lent any more.
    pub(super) fn retire(&self) {
        self.share.retire();
    }

    /// Changes the state where nobody else may.
    #[inline(always)]
    pub(super) fn store_state(&self, state: State) -> bool {
        self.share.store_state(state);
        self.state.store(state.word(), Ordering::Relaxed);
        true
    }

    /// Changes the state; `false` if another member has taken the share away.
    pub(super) fn replace_state(&self, state: State) -> bool {
        let replaced = !self.is_lost() && self.share.replace_state(self.state(), state).is_ok();
        if replaced {
            self.state.store(state.word(), Ordering::Relaxed);
        } else {
            self.lose();
        }
        replaced
    }

    /// The number of a message in the share.
    pub(super) fn number_of(&self, sequence: u64) -> Option<u32> {
        let number = u32::try_from(sequence.checked_sub(self.extent.begin.sequence)?).ok()?;
        (number < self.extent.count).then_some(number)
    }

    /// All messages up to a sequence, a bit each.
    pub(super) fn through(&self, sequence: u64) -> u32 {
        match sequence.checked_sub(self.extent.begin.sequence) {
            None => 0,
            Some(number) => u32::MAX >> (31 - number.min(31)),
        }
    }

    /// Unsettled messages that do not wait, a bit each.
    pub(super) fn in_work(&self) -> u32 {
        self.state().unsettled() & !self.waiting()
    }

    /// Whether there is something of it for its member to do.
    #[inline]
    pub(super) fn is_to_keep(&self) -> bool {
        self.in_work() != 0 && !self.is_lost()
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn deliveries(&self, number: u32) -> u32 {
        self.share.deliveries(number, self.state())
    }

    /// Has whoever has a message when it waits do so as long, or as the subscription says. Returns how
    /// long that is by what can be written down.
    pub(super) fn set_pause(&self, number: u32, pause: Option<Duration>) -> Option<Duration> {
        self.share.set_pause(number, pause)
    }

    /// Has a message wait until it is delivered again.
    pub(super) fn retry_at(&self, number: u32, at: Instant) {
        self.set_waiting(self.waiting() | 1 << number);
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        retries.retain(|(other, _)| *other != number);
        retries.push((number, at));
    }

    /// Until when a message waits, if it still does.
    pub(super) fn waits_until(&self, number: u32) -> Option<Instant> {
        if self.waiting() & (1 << number) == 0 {
            return None;
        }
        let (_, at) = self.retries().into_iter().find(|(other, _)| *other == number)?;
        (at > Instant::now()).then_some(at)
    }

    /// Some of the messages: those that do not wait, and then those that do, the one first whose time came
    /// first; of those of one time, as all of a share are that was passed on, the one that was delivered
    /// least. In the order of the stream one that is refused each time would keep all behind it waiting.
    pub(super) fn in_order_of_waiting(&self, messages: u32) -> Vec<u32> {
        let mut numbers: Vec<_> = bits(messages).collect();
        if messages & self.waiting() != 0 {
            let retries = self.retries();
            numbers.sort_by_key(|&number| {
                let (_, at) = *retries.iter().find(|(other, _)| *other == number)?;
                Some((at, self.deliveries(number)))
            });
        }
        numbers
    }

    pub(super) fn retries(&self) -> Vec<(u32, Instant)> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a delivery that is not the first, or not in order.
    pub(super) fn hand_out_again(&self, number: u32) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        retries.retain(|(other, _)| *other != number);
        drop(retries);
        self.share.count_retry(number);
        self.set_waiting(self.waiting() & !(1 << number));
        self.set_lent(self.lent() | 1 << number);
    }

    fn set_waiting(&self, messages: u32) {
        self.waiting.store(messages, Ordering::Relaxed);
        // Relaxed: who takes the share over has it by its state.
        self.share.waiting().store(messages, Ordering::Relaxed);
    }

    /// Where a message's payload lies.
    pub(super) fn span(&self, number: u32, ring: &Ring) -> Option<Span> {
        ring.find_in(&self.extent, number)
    }

    /// The position of the frame that has a payload.
    #[inline(always)]
    pub(super) fn position_of(&self, span: Span, ring: &Ring) -> u64 {
        ring.position_of(self.extent.begin, span)
    }

    pub(super) fn corrupt(&self) -> Corrupt {
        Corrupt { position: self.extent.begin.position, found: self.extent.end }
    }

    /// How it looks to others, since a time.
    pub(super) fn sight(&self, since: Instant) -> Sight {
        let (ticket, waiting) = (self.share.load_ticket(), self.waiting());
        let progress = self.share.progress().load(Ordering::Relaxed);
        Sight { index: self.index, ticket, state: self.state(), waiting, progress, since }
    }

    pub(super) fn is_blocked_at_all(&self) -> bool {
        !self.blockers.is_empty()
    }

    /// Whether a message of the same key, earlier in the stream, is unsettled.
    pub(super) fn is_blocked(&self, number: u32, ring: &Ring) -> bool {
        self.blockers.iter().any(|blocker| {
            let share = ring.share(blocker.share);
            blocker.blocked & (1 << number) != 0
                && share.load_ticket() == blocker.ticket
                && share.load_state().unsettled() & blocker.messages != 0
        })
    }
}

/// [`Arc::get_mut`] without its two swaps, which cost a share as much as a message.
#[inline(always)]
pub(super) fn sole(portion: &mut Arc<Portion>) -> Option<&mut Portion> {
    if Arc::strong_count(portion) != 1 {
        return None;
    }
    // Acquire: what those did who had a part in it, before they let go.
    fence(Ordering::Acquire);
    // SAFETY: nobody else has a part in it: there is this one, which the caller has borrowed, so that
    // no other comes of it, and nobody makes weak ones of portions.
    Some(unsafe { &mut *Arc::as_ptr(portion).cast_mut() })
}

/// What has to be settled before messages of a share, for their keys' sake. All shares before it
/// in the stream were taken before it was, and none is to come.
fn blockers(ring: &Ring, index: ShareIndex, share: &Share, extent: &Extent) -> Vec<Blocker> {
    let keys = share.keys(extent.count);
    let mut blockers = Vec::new();
    let shares = share.subscription().into_iter().flat_map(|of| ring.shares_of(of));
    for seen in shares.filter(SeenShare::is_passed) {
        let SeenShare { index: other, share: ref theirs, ticket, state } = seen;
        let Ok(earlier) = ring.extent(other) else { continue };
        if earlier.begin.position > extent.begin.position {
            continue;
        }
        let unsettled = if other == index { u32::MAX } else { state.unsettled() };
        let their_keys = theirs.keys(earlier.count);
        for (number, &key) in keys.iter().enumerate().filter(|(_, key)| **key != 0) {
            let before = if other == index { &their_keys[..number] } else { &their_keys[..] };
            // Most keys are there once, which is found out soonest by looking at all without a branch.
            if before.iter().map(|&other| u32::from(other == key)).sum::<u32>() == 0 {
                continue;
            }
            let same = (0_u32..).zip(before).filter(|(_, other)| **other == key);
            let messages = unsettled & same.fold(0, |same, (message, _)| same | bit(message));
            // What was read of a share that has been given away since is of no account.
            if messages != 0 && seen.is_same() {
                blockers.push(Blocker { blocked: 1 << number, share: other, ticket, messages });
            }
        }
    }
    blockers
}

impl Sight {
    /// `None` unless there is something unsettled in it.
    pub(super) fn of(seen: &SeenShare, now: Instant) -> Option<Self> {
        let SeenShare { index, ticket, state, .. } = *seen;
        let waiting = seen.share.waiting().load(Ordering::Relaxed);
        let progress = seen.share.progress().load(Ordering::Relaxed);
        let is_of_account = seen.is_passed() && state.unsettled() != 0;
        is_of_account.then_some(Self { index, ticket, state, waiting, progress, since: now })
    }

    /// Whether nothing has happened between two sights.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let facts = |it: &Self| (it.index, it.ticket, it.state, it.waiting, it.progress);
        facts(self) == facts(other)
    }
}

/// The bit of a message. A number that no message has, which only somebody's hand can have made,
/// gives that of another.
#[inline(always)]
pub(super) const fn bit(number: u32) -> u32 {
    1_u32.wrapping_shl(number)
}

/// The numbers of the set bits, from the lowest.
pub(super) fn bits(word: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |number| word & (1 << number) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Geometry, Header, Part, Tables};
    use crate::region::Region;

    /// Has a test do something with a ring.
    fn with_ring(test: impl FnOnce(&Ring)) {
        let geometry = Geometry::tiny(1024, Tables { members: 4, subscriptions: 2, shares: 12 });
        let mut memory =
            [Header::SIZE, geometry.control_size(), 1024].map(|size| vec![0_u64; size / 8]);
        let [header, control, frames] = memory.each_mut().map(|words| {
            // SAFETY: this keeps the memory while the test has the ring, and leaves its vectors as long as
            // they are.
            unsafe { Region::new(words.as_mut_ptr().cast(), words.len() * 8) }
        });
        test(&Ring::new(header, control, frames, geometry));
    }

    #[test]
    fn what_waits_of_what_a_share_was_before_does_not_count_for_what_is_new() {
        with_ring(|ring| {
            let owner = ring.member_indexes().next().unwrap();
            let index = ring.allot(owner, ring.subscription_indexes().next().unwrap()).unwrap();
            let mut portion = Portion::allotted(ring, index);
            // It was stopped for long, and has lost the share to whoever is done with it by now.
            ring.share(index).waiting().store(0b01, Ordering::Relaxed);
            let extent = Extent { count: 2, end: 32, ..Extent::default() };
            portion.fill(ring, extent, State::of_word(0b11), false);
            assert_eq!((portion.waiting(), portion.in_work()), (0, 0b11));
        });
    }

    /// Its owner was stopped before its turn, or somebody else was faster.
    #[test]
    fn a_share_that_has_taken_nothing_yet_is_not_to_be_taken_over() {
        with_ring(|ring| {
            let owner = ring.member_indexes().next().unwrap();
            let subscription = ring.subscription_indexes().next().unwrap();
            let index = ring.allot(owner, subscription).unwrap();
            let share = ring.share(index);
            share.store_state(State::of_word(share.load_state().word() | 0b11));
            let seen = ring.shares_of(subscription).next().unwrap();
            assert_eq!(seen.index, index);
            assert!(Sight::of(&seen, Instant::now()).is_none());
        });
    }
}
