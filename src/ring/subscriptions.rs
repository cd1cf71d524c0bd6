//! Named subscriptions: where each is in the stream, and how its head moves.
//!
//! The head is the boundary before the first frame that is in no share. It moves when a member
//! takes a share, and then by a step that others can finish for a member that is stopped or dead:
//! the member writes down its share, and then makes it its *turn*, by a compare-and-swap of one
//! word from the turn it found. From then on the share is taken. Whoever finds it to be
//! somebody's turn does what is left to do, in this order: mark the share, move the head, end the
//! turn.

use super::members::set_bits;
use super::shares::{ShareIndex, Step};
use super::{Corrupt, Lag, Place, Ring};
use crate::layout::{self, COUNT_MAX, IN_USE, MOVING, SUBSCRIPTION, SUBSCRIPTION_SIZE, Word};
use crate::region::{Shared, Words};
use crate::sync::{AtomicU64, Ordering, fence, load_acquire, load_acquire32};

/// Looks at a head are begun anew so often while others move it. It takes a preemption in the middle
/// of each to get here, or a hostile writer.
const LOOKS_MAX: u32 = 10_000;

/// The number of an entry in the subscription table of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionIndex(u32);

impl SubscriptionIndex {
    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    /// As members and shares name it: 1 + the index, or 0.
    pub(super) fn of_code(code: u32) -> Option<Self> {
        code.checked_sub(1).map(Self)
    }
}

/// An entry of the subscription table.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    entry: Words<layout::Subscription>,
    index: SubscriptionIndex,
}

/// Whose turn it is to move a head: a count of the moves so far, and the share that moves it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

impl Turn {
    const SHARE_BITS: u32 = 16;
    const SHARE_MASK: u64 = (1 << Self::SHARE_BITS) - 1;
    const COUNT_BITS: u32 = u64::BITS - Self::SHARE_BITS;

    fn count(self) -> u64 {
        self.0 >> Self::SHARE_BITS
    }

    /// The share that moves the head now, by its number.
    #[allow(clippy::cast_possible_truncation, reason = "16 bits")]
    pub(super) fn share(self) -> Option<u32> {
        ((self.0 & Self::SHARE_MASK) as u32).checked_sub(1)
    }

    fn of(self, share: ShareIndex) -> Self {
        Self((self.0 & !Self::SHARE_MASK) | u64::from(1 + share.get()))
    }

    /// Nobody's turn, one move later.
    fn next(self) -> Self {
        Self((self.0 | Self::SHARE_MASK).wrapping_add(1))
    }
}

/// A head, and the turn that was nobody's at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) place: Place,
    pub(super) turn: Turn,
}

impl Ring {
    /// Every entry of the subscription table.
    pub(crate) fn subscription_indexes(&self) -> impl Iterator<Item = SubscriptionIndex> + use<> {
        (0..self.geometry.tables().subscriptions).map(SubscriptionIndex)
    }

    /// The entries in use. They may have changed hands when the caller looks at them.
    pub(crate) fn active_subscriptions(&self) -> impl Iterator<Item = SubscriptionIndex> + '_ {
        let words = 0..self.geometry.subscription_map_words();
        // Acquire: whoever sees a bit sees the entry that was filled in before it was set.
        let words = words.map(|word| load_acquire(self.subscription_map(word)));
        let table_size = self.geometry.tables().subscriptions;
        set_bits(words).take_while(move |&index| index < table_size).map(SubscriptionIndex)
    }

    /// The same, to be looked at.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = Subscription> + '_ {
        self.active_subscriptions().filter_map(|index| self.subscription(index))
    }

    /// `None` for a number that the table does not have.
    pub(crate) fn subscription(&self, index: SubscriptionIndex) -> Option<Subscription> {
        let exists = index.0 < self.geometry.tables().subscriptions;
        exists.then(|| {
            let entry = self.entry_at(self.geometry.subscription(index.0));
            Subscription { entry, index }
        })
    }

    /// Makes known that a subscription needs everything from a boundary on, or moves it there, and
    /// says from which position on frames are whole. If the boundary is not below that and the
    /// subscription holds, everything from there on stays whole until the head moves. Only who
    /// makes or moves the subscription as a whole calls this, while it has no member.
    pub(crate) fn place_head(&self, subscription: &Subscription, place: Place) -> u64 {
        subscription.head_sequence().store(place.sequence, Ordering::Relaxed);
        // Release: RETIRE, for what lay before.
        subscription.head_position().store(place.position, Ordering::Release);
        let (word, mask) = self.subscription_bit(subscription.index);
        // Release: whoever sees the bit sees the entry.
        word.fetch_or(mask, Ordering::Release);
        self.floor_after_joining()
    }

    /// Makes known that a subscription needs nothing any more.
    pub(crate) fn forget_subscription(&self, index: SubscriptionIndex) {
        let (word, mask) = self.subscription_bit(index);
        // Release: RETIRE.
        word.fetch_and(!mask, Ordering::Release);
    }

    /// The position that a subscription's head needs, if what it does when it lags is as asked for.
    pub(super) fn needed_by_head(
        &self,
        index: SubscriptionIndex,
        is_meant: impl Fn(Lag) -> bool,
    ) -> Option<u64> {
        let subscription = self.subscription(index)?;
        // Acquire: RETIRE, and HEAD.
        subscription.lag().is_some_and(is_meant).then(|| load_acquire(subscription.head_position()))
    }

    /// The head, with nobody's turn under way.
    pub(crate) fn head(&self, subscription: &Subscription) -> Result<Head, Corrupt> {
        for _ in 0..LOOKS_MAX {
            let turn = subscription.load_turn();
            if turn.share().is_some() {
                self.finish(subscription, turn)?;
                continue;
            }
            let place = Place {
                position: subscription.head_position().load(Ordering::Relaxed),
                sequence: subscription.head_sequence().load(Ordering::Relaxed),
            };
            if subscription.is_still(turn) {
                let plausible = place.position.is_multiple_of(8)
                    && place.position < COUNT_MAX
                    && place.sequence < COUNT_MAX;
                let corrupt = Corrupt { position: place.position, found: place.sequence };
                return if plausible { Ok(Head { place, turn }) } else { Err(corrupt) };
            }
        }
        Err(self.restless())
    }

    /// Makes it a share's turn, if it is still nobody's as it was, and does what a turn is for.
    /// `false` if somebody else was faster.
    pub(super) fn take_turn(
        &self,
        subscription: &Subscription,
        turn: Turn,
        index: ShareIndex,
        step: &Step,
    ) -> bool {
        let own = turn.of(index);
        super::crash_point();
        // AcqRel: TURN. Whoever sees the turn sees what the share is; and what others did in
        // earlier turns comes before what we do in ours.
        let order = Ordering::AcqRel;
        let taken = subscription.turn().compare_exchange(turn.0, own.0, order, Ordering::Relaxed);
        if taken.is_ok() {
            self.share(index).pass(subscription.ticket(own));
            subscription.end_turn(own, step);
        }
        taken.is_ok()
    }

    /// Does what a turn is for, whoever's it is, unless it is over already.
    pub(super) fn finish(&self, subscription: &Subscription, turn: Turn) -> Result<(), Corrupt> {
        let share = turn.share().and_then(|number| self.share_numbered(number));
        let Some(share) = share else {
            return Err(Corrupt { position: u64::from(subscription.index.0), found: turn.0 });
        };
        let step = share.step();
        // If any of that was written for a later turn, this one is over.
        if subscription.is_still(turn) {
            share.pass(subscription.ticket(turn));
            subscription.end_turn(turn, &step);
        }
        Ok(())
    }

    fn subscription_bit(&self, index: SubscriptionIndex) -> (&AtomicU64, u64) {
        (self.subscription_map((index.0 / u64::BITS) as usize), 1 << (index.0 % u64::BITS))
    }

    /// Part of the subscription map: bit `n` is for entry `64 * word + n`.
    fn subscription_map(&self, word: usize) -> &AtomicU64 {
        assert!(word < self.geometry.subscription_map_words());
        // SAFETY: the map has that many words, and `Ring::new` checked that the region holds it.
        unsafe { self.control.region().u64_at(self.geometry.subscription_map(word)) }
    }
}

impl Subscription {
    pub(crate) fn index(&self) -> SubscriptionIndex {
        self.index
    }

    /// What a share that is taken in a turn is told by from all others that had or will have its
    /// entry, of whichever subscription.
    pub(super) fn ticket(&self, turn: Turn) -> u64 {
        u64::from(1 + self.index.0) << Turn::COUNT_BITS | turn.count()
    }

    /// Whether it is in use, and not being moved.
    pub(crate) fn is_in_place(&self) -> bool {
        // Acquire: who finds it in use finds all of it.
        load_acquire32(self.word(SUBSCRIPTION.state)) == IN_USE
    }

    /// Whether the entry is a subscription, wholly made.
    pub(crate) fn is_in_use(&self) -> bool {
        // Acquire: whoever finds it finished finds all of it.
        matches!(load_acquire32(self.word(SUBSCRIPTION.state)), IN_USE | MOVING)
    }

    /// Its name, or what stands there instead, made readable.
    pub(crate) fn name(&self) -> String {
        let words = (0..layout::SUBSCRIPTION_NAME_SIZE / 8)
            .map(|index| self.word(SUBSCRIPTION.name.word64(index)));
        let bytes: Vec<u8> = words
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .take_while(|&byte| byte != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes of its entry.
    pub(crate) fn image(&self) -> [u8; SUBSCRIPTION_SIZE] {
        let mut image = [0; SUBSCRIPTION_SIZE];
        for (index, bytes) in image.chunks_exact_mut(8).enumerate() {
            let word = self.word(layout::Subscription::WHOLE.word64(index)).load(Ordering::Relaxed);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        image
    }

    pub(crate) fn head_position(&self) -> &AtomicU64 {
        self.word(SUBSCRIPTION.head_position)
    }

    pub(crate) fn head_sequence(&self) -> &AtomicU64 {
        self.word(SUBSCRIPTION.head_sequence)
    }

    pub(crate) fn lag(&self) -> Option<Lag> {
        Lag::from_code(self.word(SUBSCRIPTION.lag).load(Ordering::Relaxed))
    }

    /// Whether messages of one key go to one member at a time.
    pub(crate) fn is_keyed(&self) -> bool {
        self.word(SUBSCRIPTION.keyed).load(Ordering::Relaxed) == 1
    }

    /// Moves the head as the share of a turn says, and ends the turn, unless that has been done.
    fn end_turn(&self, turn: Turn, step: &Step) {
        let replace = |word: &AtomicU64, from: u64, to: u64| {
            super::crash_point();
            // Of those who finish a turn each has all that the others did before what it does next,
            // whether it was first or not.
            // AcqRel: HEAD.
            // Acquire: HEAD.
            let (first, not_first) = (Ordering::AcqRel, Ordering::Acquire);
            let _ = word.compare_exchange(from, to, first, not_first);
        };
        replace(self.head_sequence(), step.from.sequence, step.to.sequence);
        replace(self.head_position(), step.from.position, step.to.position);
        replace(self.turn(), turn.0, turn.next().0);
    }

    fn turn(&self) -> &AtomicU64 {
        self.word(SUBSCRIPTION.turn)
    }

    pub(super) fn load_turn(&self) -> Turn {
        // Acquire: TURN.
        Turn(load_acquire(self.turn()))
    }

    /// Whether it is still that turn, after something was read that belongs to it.
    pub(super) fn is_still(&self, turn: Turn) -> bool {
        // Acquire: TURN.
        fence(Ordering::Acquire);
        self.turn().load(Ordering::Relaxed) == turn.0
    }

    pub(crate) fn word<Value: Shared>(
        &self,
        word: Word<layout::Subscription, Value>,
    ) -> &Value::Atomic {
        self.entry.word(word)
    }
}
