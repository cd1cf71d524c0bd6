//! Who reads, and how far: the member map and the member table; and what the writer must not
//! overwrite because of them, or of the named subscriptions.
//!
//! A member's bit in the map says that its line is in use. The bit is set and cleared only by
//! whoever holds the member's lock on the segment's file, which the kernel releases when the
//! holder dies: a set bit whose lock is free is a dead member's, and whoever takes the lock may
//! clear it.

use super::{Ring, SubscriptionIndex};
use crate::layout::{self, CONTROL, Geometry, MEMBER, Word};
use crate::region::{Shared, Words};
use crate::sync::{AtomicU64, Ordering, fence, load_acquire};

/// What happens when a consumer falls a whole ring behind.
///
/// ```
/// use ringway::Lag;
///
/// assert_eq!(Lag::default(), Lag::Hold);
/// assert_eq!(Lag::Skip.to_string(), "skip");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// The producer waits for it. Payloads are read where they lie in the ring.
    #[default]
    Hold,
    /// It loses the messages that were overwritten, and is told which. Payloads are copied out
    /// of the ring and checked before they are handed over.
    Skip,
    /// What it has not read goes to the queue's [history](crate::QueueOptions::history) before it
    /// is overwritten, and it reads that from there; nobody waits for it. Payloads are copied as
    /// those of [`Skip`](Self::Skip).
    Spill,
}

impl Lag {
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Skip),
            1 => Some(Self::Hold),
            2 => Some(Self::Spill),
            _ => None,
        }
    }

    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Skip => 0,
            Self::Hold => 1,
            Self::Spill => 2,
        }
    }
}

/// The number of a line in the member table of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberIndex(u32);

impl MemberIndex {
    pub(super) const fn new(index: u32) -> Self {
        Self(index)
    }

    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

/// A member's line.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    line: Words<layout::Member>,
}

impl Ring {
    /// Every line of the member table.
    pub(crate) fn member_indexes(&self) -> impl Iterator<Item = MemberIndex> + use<> {
        (0..self.geometry.tables().members).map(MemberIndex)
    }

    /// The lines in use. They may have changed hands when the caller looks at them.
    pub(crate) fn active_members(&self) -> impl Iterator<Item = MemberIndex> + '_ {
        // Acquire: whoever sees a bit sees the line that was filled in before it was set.
        let words =
            (0..self.geometry.member_map_words()).map(|word| load_acquire(self.member_map(word)));
        // A stray bit beyond the table is nobody's.
        set_bits(words).take_while(|&index| index < self.geometry.tables().members).map(MemberIndex)
    }

    /// The members of a named subscription, the dead that nobody has found yet included.
    pub(crate) fn members_of(
        &self,
        subscription: SubscriptionIndex,
    ) -> impl Iterator<Item = MemberIndex> + '_ {
        self.active_members()
            .filter(move |&index| self.member(index).subscription() == Some(subscription))
    }

    pub(crate) fn is_active(&self, index: MemberIndex) -> bool {
        let (word, mask) = self.map_bit(index);
        // Acquire: as above.
        load_acquire(word) & mask != 0
    }

    #[inline(always)]
    pub(crate) fn member(&self, index: MemberIndex) -> Member {
        Member { line: self.entry_at(self.geometry.member(index.0)) }
    }

    /// Makes the caller a member of its own whose needs begin at `cursor`, or moves a member there
    /// that was turned away, and says from which position on frames are whole. The caller holds
    /// the member's lock. If `cursor` is not below that position and the member holds, everything
    /// from `cursor` on stays whole until the cursor moves.
    pub(crate) fn join(&self, index: MemberIndex, lag: Lag, cursor: u64) -> u64 {
        let member = self.member(index);
        // Release: RETIRE, for the member that had the line before.
        member.cursor().store(cursor, Ordering::Release);
        member.word(MEMBER.lag).store(lag.code(), Ordering::Relaxed);
        member.word(MEMBER.subscription).store(0, Ordering::Relaxed);
        self.activate(index);
        self.floor_after_joining()
    }

    /// Makes the caller, who holds the member's lock, a member of a named subscription. Its needs
    /// are the subscription's head and its shares.
    pub(crate) fn join_named(&self, index: MemberIndex, subscription: SubscriptionIndex, lag: Lag) {
        let member = self.member(index);
        member.word(MEMBER.lag).store(lag.code(), Ordering::Relaxed);
        member.word(MEMBER.subscription).store(1 + subscription.get(), Ordering::Relaxed);
        self.activate(index);
    }

    fn activate(&self, index: MemberIndex) {
        let (word, mask) = self.map_bit(index);
        // Release: whoever sees the bit sees the line.
        word.fetch_or(mask, Ordering::Release);
    }

    /// From which position on frames are whole, for somebody who has just made known from where
    /// on it needs them.
    pub(super) fn floor_after_joining(&self) -> u64 {
        // Release: JOIN. A writer that sees the count sees the need.
        self.control(CONTROL.joins).fetch_add(1, Ordering::Release);
        // SeqCst: JOIN.
        fence(Ordering::SeqCst);
        self.floor(self.licence().load(Ordering::Relaxed))
    }

    /// Ends a membership. The caller holds the member's lock.
    pub(crate) fn leave(&self, index: MemberIndex) {
        let (word, mask) = self.map_bit(index);
        // Release: RETIRE. A writer that finds the bit gone has the member's loads behind it.
        word.fetch_and(!mask, Ordering::Release);
    }

    /// The lowest position that somebody who holds still needs; all ones if there is none.
    pub(super) fn held_from(&self) -> u64 {
        let members = self.needed_by_members(|lag| lag == Lag::Hold);
        let subscriptions = self.needed_by_subscriptions(|lag| lag == Lag::Hold);
        members.into_iter().chain(subscriptions).min().unwrap_or(u64::MAX)
    }

    /// The lowest position that a named subscription needs which does as asked for when it lags.
    pub(super) fn needed_by_subscriptions(&self, is_meant: impl Fn(Lag) -> bool) -> Option<u64> {
        let heads = self.active_subscriptions();
        let heads = heads.filter_map(|index| self.needed_by_head(index, &is_meant)).min();
        // After all the heads: HEAD.
        let shares = self.used_shares();
        let shares = shares.filter_map(|index| self.needed_by_share(index, &is_meant)).min();
        heads.into_iter().chain(shares).min()
    }

    /// The lowest position that an anonymous member needs which does as asked for when it lags.
    pub(super) fn needed_by_members(&self, is_meant: impl Fn(Lag) -> bool) -> Option<u64> {
        self.active_members().filter_map(|index| self.needed_by_member(index, &is_meant)).min()
    }

    /// The position that an anonymous member needs, if what it does when it lags is as asked for.
    pub(super) fn needed_by_member(
        &self,
        index: MemberIndex,
        is_meant: impl Fn(Lag) -> bool,
    ) -> Option<u64> {
        let member = self.member(index);
        let needs = member.lag().is_some_and(is_meant) && member.subscription().is_none();
        // Acquire: RETIRE.
        needs.then(|| load_acquire(member.cursor()))
    }

    /// The anonymous members that need something below a position, of those that do as asked for when
    /// they lag.
    pub(crate) fn members_in_need<'a>(
        &'a self,
        below: u64,
        is_meant: impl Fn(Lag) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = MemberIndex> + 'a {
        self.active_members().filter(move |&index| {
            self.needed_by_member(index, is_meant).is_some_and(|position| position < below)
        })
    }

    /// The named subscriptions that do, by their heads or by shares.
    pub(crate) fn subscriptions_in_need<'a>(
        &'a self,
        below: u64,
        is_meant: impl Fn(Lag) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = SubscriptionIndex> + 'a {
        self.active_subscriptions().filter(move |&index| {
            let head = self.needed_by_head(index, is_meant);
            let shares = self.shares_of(index);
            let needed = shares.filter_map(|seen| self.needed_by_share(seen.index, is_meant));
            needed.chain(head).any(|position| position < below)
        })
    }

    /// Part of the member map: bit `n` is for member `64 * word + n`.
    fn member_map(&self, word: usize) -> &AtomicU64 {
        assert!(word < self.geometry.member_map_words());
        // SAFETY: the map has that many words, and `Ring::new` checked that the region holds it.
        unsafe { self.control.region().u64_at(Geometry::member_map(word)) }
    }

    fn map_bit(&self, index: MemberIndex) -> (&AtomicU64, u64) {
        (self.member_map((index.0 / u64::BITS) as usize), 1 << (index.0 % u64::BITS))
    }
}

impl Member {
    #[inline(always)]
    pub(crate) fn cursor(&self) -> &AtomicU64 {
        self.word(MEMBER.cursor)
    }

    /// The named subscription that it is a member of.
    pub(crate) fn subscription(&self) -> Option<SubscriptionIndex> {
        SubscriptionIndex::of_code(self.word(MEMBER.subscription).load(Ordering::Relaxed))
    }

    pub(crate) fn lag(&self) -> Option<Lag> {
        Lag::from_code(self.word(MEMBER.lag).load(Ordering::Relaxed))
    }

    /// Adds to one of its counts, which this member alone stores, and others only show.
    pub(crate) fn count(&self, word: Word<layout::Member, u64>, more: u64) {
        // Relaxed: for display.
        let word = self.word(word);
        word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn word<Value: Shared>(&self, word: Word<layout::Member, Value>) -> &Value::Atomic {
        self.line.word(word)
    }
}

/// The numbers of the set bits of some words, from the lowest.
pub(super) fn set_bits(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    (0..).step_by(64).zip(words).flat_map(|(first, word)| {
        let without_lowest = |bits: &u64| Some(bits & bits.wrapping_sub(1));
        let rest = core::iter::successors(Some(word), without_lowest);
        rest.take_while(|&bits| bits != 0).map(move |bits| first + bits.trailing_zeros())
    })
}
