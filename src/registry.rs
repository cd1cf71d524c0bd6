//! Named subscriptions by their names: making, finding, altering, moving and removing them.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::history::{Checkpoints, Past};
use crate::layout::subscription::{self as word, Alterable, FREE, IN_USE, MOVING, UNFINISHED};
use crate::layout::{SUBSCRIPTION_NAME_SIZE, time};
use crate::membership;
use crate::ring::{Begin, Lag, MemberIndex, Place, Ring, Start, Subscription, SubscriptionIndex};
use crate::segment::{Lock, Segment, what_is_wrong_with};
use crate::subscribe::{Backoff, Subscribe};
use crate::sync::{Ordering, load_acquire32};
use crate::sys::process;

/// The subscription table, while nobody else changes it.
#[derive(Debug)]
pub(crate) struct Registry<'a> {
    segment: &'a Arc<Segment>,
    ring: &'a Ring,
    /// Its dropping lets others in.
    lock: Lock,
}

/// What belongs to all members of a subscription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) lag: Lag,
    pub(crate) keyed: bool,
    pub(crate) deliveries_max: Option<u32>,
    pub(crate) backoff: Backoff,
    pub(crate) ack_within: Option<Duration>,
    pub(crate) expires_after: Option<Duration>,
}

/// A subscription that a consumer can join.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) subscription: Subscription,
    pub(crate) terms: Terms,
    /// Whether it had to be made.
    pub(crate) is_new: bool,
    /// The messages that it was to begin with, first and one more than the last, if it had to be made
    /// and those are gone.
    pub(crate) missed: Option<(u64, u64)>,
}

impl<'a> Registry<'a> {
    /// Waits for others who change the table. That takes microseconds, unless one of them was
    /// stopped in the middle.
    pub(crate) fn lock(segment: &'a Arc<Segment>, ring: &'a Ring) -> Result<Self, Error> {
        let locked = Self::lock_within(Duration::from_secs(10), segment, ring)?;
        locked.ok_or_else(|| {
            let what = "somebody else changes them, and was stopped over it; let that go on, or end it, and try again";
            let source = std::io::Error::new(std::io::ErrorKind::TimedOut, what);
            Error::os(segment.name(), "change the subscriptions of", source)
        })
    }

    /// `None` while another one changes the table.
    pub(crate) fn try_lock(
        segment: &'a Arc<Segment>,
        ring: &'a Ring,
    ) -> Result<Option<Self>, Error> {
        Self::lock_within(Duration::ZERO, segment, ring)
    }

    fn lock_within(
        patience: Duration,
        segment: &'a Arc<Segment>,
        ring: &'a Ring,
    ) -> Result<Option<Self>, Error> {
        let lock = segment.lock_file()?;
        let is_locked = lock.wait_for(patience, Lock::try_registry)?;
        Ok(is_locked.then_some(Self { segment, ring, lock }))
    }

    /// Finds the subscription that the options name, or makes it.
    pub(crate) fn find_or_make(&self, name: &str, options: &Subscribe) -> Result<Found, Error> {
        if let Some(subscription) = self.find(name)? {
            let terms = Terms::of(&subscription);
            if let Some(what) = terms.difference(options) {
                return Err(self.differs(name, what));
            }
            // The limit may be another's; the letters may be this member's.
            let limit = terms.deliveries_max;
            Subscribe { deliveries_max: limit, ..options.clone() }.check(self.segment)?;
            // Whoever declares it relies on its being there, and may have come late.
            note_idle(&subscription);
            return Ok(Found { subscription, terms, is_new: false, missed: None });
        }
        let subscription = self.free_entry(name)?;
        let is_journal = self.segment.identity().keeping.journal.is_some();
        let terms = Terms::asked_for(options, is_journal);
        subscription.word32(word::STATE).store(UNFINISHED, Ordering::Relaxed);
        write_name(&subscription, name);
        terms.write_fixed(&subscription);
        subscription.word32(word::TERMS).store(0, Ordering::Relaxed);
        terms.write_alterable(&subscription, &word::ALTERABLE[0]);
        subscription.word64(word::CREATED_AT).store(process::time_of_day(), Ordering::Relaxed);
        note_idle(&subscription);
        for count in [
            word::LEFT_AT,
            word::DELIVERED,
            word::REDELIVERED,
            word::ACKED,
            word::DEAD_LETTERS,
            word::MISSED,
        ] {
            subscription.word64(count).store(0, Ordering::Relaxed);
        }
        let placed = self.place_head(&subscription, terms.lag, options.start, None);
        let made = placed.and_then(|begin| self.note(&subscription).map(|()| begin));
        match made {
            Ok(begin) => {
                // Release: whoever finds it finished finds all of it.
                subscription.word32(word::STATE).store(IN_USE, Ordering::Release);
                let missed = begin.missed_from.map(|from| (from, begin.place.sequence));
                Ok(Found { subscription, terms, is_new: true, missed })
            }
            Err(error) => {
                // If that cannot be done now either, whoever wants the name next does it.
                let _ = self.discard(&subscription);
                Err(error)
            }
        }
    }

    /// Moves the head of a subscription without members; its shares are forgotten.
    pub(crate) fn seek(&self, name: &str, start: Start) -> Result<(), Error> {
        let subscription = self.find_idle(name)?;
        let in_ring = self.ring.begin(start).map_err(|error| self.segment.start_error(error))?;
        // Only then: what has left the ring by now is in the files.
        let in_files = self.begin_in_files(Terms::of(&subscription).lag, start)?;
        let begin = in_files.unwrap_or(in_ring);
        let sequence = begin.missed_from.unwrap_or(begin.place.sequence);
        // What keeps its checkpoint from being written is told before anything has changed. One that is
        // damaged has none to write.
        match self.note(&subscription) {
            Err(Error::Corrupt { .. }) => {}
            noted => noted?,
        }
        subscription.word64(word::MOVES_TO).store(sequence, Ordering::Relaxed);
        // Release: who finds it being moved finds where to.
        subscription.word32(word::STATE).store(MOVING, Ordering::Release);
        self.finish_moving(&subscription)
    }

    /// Gives a subscription without members other terms, as far as that is possible. Whoever dies over
    /// it leaves the old ones or the new ones: one word says which of two sets counts.
    pub(crate) fn alter(&self, name: &str, options: &Subscribe) -> Result<(), Error> {
        let subscription = self.find_idle(name)?;
        let old = Terms::of(&subscription);
        if let Some(what) = old.fixed_difference(options) {
            return Err(self.differs(name, what));
        }
        let Terms { lag, keyed, .. } = old;
        let terms = Terms { lag, keyed, ..Terms::asked_for(options, false) };
        let in_use = alterable_in_use(&subscription);
        let choose = |set: usize| {
            let code = u32::from(set == 1);
            // Release: whoever finds them in use finds all of them.
            subscription.word32(word::TERMS).store(code, Ordering::Release);
        };
        terms.write_alterable(&subscription, &word::ALTERABLE[1 - in_use]);
        note_idle(&subscription);
        choose(1 - in_use);
        // What is not on disk would not be there after a restart.
        self.note(&subscription).inspect_err(|_| {
            choose(in_use);
            // Perhaps it was written, and only not synced.
            let _ = self.note(&subscription);
        })
    }

    fn differs(&self, name: &str, what: Box<str>) -> Error {
        let (queue, subscription) = (self.segment.name().into(), name.into());
        Error::SubscriptionDiffers { queue, subscription, what }
    }

    /// Removes a subscription without members.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let subscription = self.find_idle(name)?;
        self.discard(&subscription)?;
        membership::announce_room(self.ring);
        Ok(())
    }

    /// Removes those of these subscriptions that have had no member for as long as each may, and
    /// returns their names; and what somebody who died left half made or half removed, which holds the
    /// producer too and is nobody's. One that cannot be removed keeps no other.
    pub(crate) fn remove_expired(
        &self,
        among: impl Iterator<Item = SubscriptionIndex>,
    ) -> Result<Vec<String>, Error> {
        let (mut removed, mut failed) = (Vec::new(), None);
        for subscription in among.filter_map(|index| self.ring.subscription(index)) {
            match self.remove_if_expired(&subscription) {
                Ok(name) => removed.extend(name),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        membership::announce_room(self.ring);
        failed.map_or(Ok(removed), Err)
    }

    fn remove_if_expired(&self, subscription: &Subscription) -> Result<Option<String>, Error> {
        if is_unfinished(subscription) {
            self.discard(subscription)?;
            return Ok(None);
        }
        if !subscription.is_in_use() || Terms::of(subscription).expires_after.is_none() {
            return Ok(None);
        }
        // First: the time begins anew when the last member is found to be dead. Whom others clear up
        // after just now counts as a member: the time has not even begun, and nobody looks twice.
        let members = || members_of(self.ring, subscription.index());
        membership::clear_dead(self.ring, &self.lock, members())?;
        if members().next().is_some() || !is_expired(subscription) {
            return Ok(None);
        }
        let name = subscription.name();
        self.discard(subscription)?;
        self.ring.expired().fetch_add(1, Ordering::Relaxed);
        Ok(Some(name))
    }

    fn count_living(&self, subscription: &Subscription) -> Result<u32, Error> {
        let members = || members_of(self.ring, subscription.index());
        membership::count_living(self.ring, &self.lock, members)
    }

    fn find_idle(&self, name: &str) -> Result<Subscription, Error> {
        let queue = || self.segment.name().into();
        let Some(subscription) = self.find(name)? else {
            return Err(Error::NoSuchSubscription { queue: queue(), subscription: name.into() });
        };
        let living = self.count_living(&subscription)?;
        if living > 0 {
            let subscription = name.into();
            return Err(Error::SubscriptionInUse { queue: queue(), subscription, members: living });
        }
        Ok(subscription)
    }

    /// The subscription of that name. What somebody who died left half done is finished, or was
    /// never begun; what cannot be finished is an error for those alone who want it.
    fn find(&self, name: &str) -> Result<Option<Subscription>, Error> {
        for index in self.ring.active_subscriptions() {
            let Some(subscription) = self.ring.subscription(index) else { continue };
            let is_wanted = subscription.name() == name;
            // Acquire: whoever finds it unfinished or moving finds all that was done so far.
            let finished = match subscription.word32(word::STATE).load(Ordering::Acquire) {
                UNFINISHED => self.discard(&subscription),
                MOVING => self.finish_moving(&subscription),
                _ => Ok(()),
            };
            if is_wanted {
                finished?;
                if subscription.is_in_use() {
                    return Ok(Some(subscription));
                }
            }
        }
        Ok(None)
    }

    fn free_entry(&self, name: &str) -> Result<Subscription, Error> {
        check_name(self.segment.name(), name)?;
        let is_free = |index: &_| !self.ring.active_subscriptions().any(|taken| taken == *index);
        let free = || self.ring.subscription_indexes().find(is_free);
        let mut found = free();
        if found.is_none() {
            let removed = self.remove_expired(self.ring.active_subscriptions());
            found = free();
            if found.is_none() {
                removed?;
            }
        }
        found.and_then(|index| self.ring.subscription(index)).ok_or_else(|| {
            let limit = self.segment.geometry().tables().subscriptions;
            Error::SubscriptionsFull { queue: self.segment.name().into(), limit }
        })
    }

    fn finish_moving(&self, subscription: &Subscription) -> Result<(), Error> {
        let sequence = subscription.word64(word::MOVES_TO).load(Ordering::Relaxed);
        let lag = Terms::of(subscription).lag;
        // A damaged one needs nothing that could be found.
        let needed = self.ring.settled(subscription).ok().map(|(place, _)| place);
        self.place_head(subscription, lag, Start::Sequence(sequence), needed)?;
        self.forget_shares(subscription);
        note_idle(subscription);
        self.note(subscription)?;
        // Release: as when it was made.
        subscription.word32(word::STATE).store(IN_USE, Ordering::Release);
        membership::announce_room(self.ring);
        Ok(())
    }

    /// Puts the head where it is to begin. Until that is found, in the files perhaps, what was
    /// `needed` from some place on is kept for it too.
    fn place_head(
        &self,
        subscription: &Subscription,
        lag: Lag,
        start: Start,
        needed: Option<Place>,
    ) -> Result<Begin, Error> {
        let hold = |place: Place| {
            let needed = needed.filter(|needed| needed.position < place.position);
            self.ring.place_head(subscription, needed.unwrap_or(place))
        };
        let in_ring = match lag {
            Lag::Hold | Lag::Spill => self.ring.begin_holding(start, hold),
            Lag::Skip => self.ring.begin(start),
        };
        let in_ring = in_ring.map_err(|error| self.segment.start_error(error))?;
        // Only then: what has left the ring by now is in the files.
        let begin = self.begin_in_files(lag, start)?.unwrap_or(in_ring);
        self.ring.place_head(subscription, begin.place);
        Ok(begin)
    }

    /// Where a subscription begins, if that is in the files of a journal. One that holds is never
    /// put further behind than it would let itself fall.
    fn begin_in_files(&self, lag: Lag, start: Start) -> Result<Option<Begin>, Error> {
        let is_journal = self.segment.identity().keeping.journal.is_some();
        let past = Past::of(self.segment, None).filter(|_| is_journal && lag == Lag::Spill);
        let Some(mut past) = past else { return Ok(None) };
        past.begin(start, self.ring)?;
        let missed_from = past.missed().map(|(from, _)| from);
        Ok(past.is_entered().then(|| Begin { place: past.place(), missed_from }))
    }

    /// Has it on disk from where on a subscription has messages to come, if the queue has a journal.
    fn note(&self, subscription: &Subscription) -> Result<(), Error> {
        let checkpoints = Checkpoints::of(self.segment);
        checkpoints.map_or(Ok(()), |mut all| all.write(self.ring, subscription, true))
    }

    /// Ends what an entry is. If its checkpoint cannot be removed, it stays what it was.
    fn discard(&self, subscription: &Subscription) -> Result<(), Error> {
        let state = subscription.word32(word::STATE);
        let before = state.load(Ordering::Relaxed);
        // First: whoever dies from here on leaves something that the next one ends.
        // Release: as when it was made.
        state.store(UNFINISHED, Ordering::Release);
        if let Some(mut checkpoints) = Checkpoints::of(self.segment) {
            let removed = checkpoints.remove(subscription);
            // Release: likewise.
            removed.inspect_err(|_| state.store(before, Ordering::Release))?;
        }
        self.forget_shares(subscription);
        self.ring.forget_subscription(subscription.index());
        // Release: whoever finds it free finds that nobody needs anything for it.
        state.store(FREE, Ordering::Release);
        Ok(())
    }

    /// Frees the shares of a subscription that has no members.
    fn forget_shares(&self, subscription: &Subscription) {
        let mut is_any_free = false;
        for index in self.ring.used_shares() {
            let share = self.ring.share(index);
            let state = share.load_state();
            // One that is free, or has an owner, may be on its way to another subscription.
            if share.subscription() == Some(subscription.index()) && state.is_open() {
                share.retire();
                let free = state.settle(u32::MAX).owned_by(None);
                is_any_free |= share.replace_state(state, free).is_ok();
            }
        }
        if is_any_free {
            // Members of others may have waited for a share to be free.
            membership::announce_messages(self.ring);
        }
    }
}

impl Terms {
    fn asked_for(options: &Subscribe, is_journal: bool) -> Self {
        // Where everything is on disk anyway nobody has to be held.
        let lag = if is_journal { Lag::Spill } else { Lag::Hold };
        let at_once = Backoff { first: Duration::ZERO, factor: 1.0, max: Duration::ZERO };
        Self {
            lag: options.lag.unwrap_or(lag),
            keyed: options.keyed.unwrap_or(false),
            deliveries_max: options.deliveries_max,
            backoff: options.backoff.unwrap_or(at_once),
            ack_within: options.ack_within,
            expires_after: options.expires_after,
        }
    }

    pub(crate) fn of(subscription: &Subscription) -> Self {
        let nanoseconds =
            |word| Duration::from_nanos(subscription.word64(word).load(Ordering::Relaxed));
        let number = |word| subscription.word32(word).load(Ordering::Relaxed);
        let time = |word| Some(nanoseconds(word)).filter(|time| !time.is_zero());
        let set = &word::ALTERABLE[alterable_in_use(subscription)];
        Self {
            lag: subscription.lag().unwrap_or_default(),
            keyed: number(word::KEYED) == 1,
            deliveries_max: Some(number(set.deliveries_max)).filter(|&count| count > 0),
            backoff: Backoff {
                first: nanoseconds(set.backoff_first),
                factor: f64::from(number(set.backoff_factor)) / 1e3,
                max: nanoseconds(set.backoff_max),
            },
            ack_within: time(set.ack_within),
            expires_after: time(set.expires_after),
        }
    }

    fn write_fixed(&self, subscription: &Subscription) {
        subscription.word32(word::LAG).store(self.lag.code(), Ordering::Relaxed);
        subscription.word32(word::KEYED).store(self.keyed.into(), Ordering::Relaxed);
    }

    fn write_alterable(&self, subscription: &Subscription, set: &Alterable) {
        let nanoseconds = |word, time: Duration| {
            subscription.word64(word).store(time::nanoseconds(time), Ordering::Relaxed);
        };
        let number = |word, value: u32| {
            subscription.word32(word).store(value, Ordering::Relaxed);
        };
        number(set.deliveries_max, self.deliveries_max.unwrap_or(0));
        nanoseconds(set.backoff_first, self.backoff.first);
        nanoseconds(set.backoff_max, self.backoff.max);
        number(set.backoff_factor, thousandths(self.backoff.factor));
        nanoseconds(set.ack_within, self.ack_within.unwrap_or_default());
        nanoseconds(set.expires_after, self.expires_after.unwrap_or_default());
    }

    /// What is asked for that the subscription does not have and cannot be given.
    fn fixed_difference(&self, options: &Subscribe) -> Option<Box<str>> {
        if let Some(lag) = options.lag.filter(|&lag| lag != self.lag) {
            return Some(differs("its lag policy", &self.lag.to_string(), &lag.to_string()));
        }
        if let Some(keyed) = options.keyed.filter(|&keyed| keyed != self.keyed) {
            return Some(differs("keyed", &self.keyed.to_string(), &keyed.to_string()));
        }
        None
    }

    /// What a member asks for that the subscription does not have.
    fn difference(&self, options: &Subscribe) -> Option<Box<str>> {
        let fixed = self.fixed_difference(options);
        if fixed.is_some() {
            return fixed;
        }
        let deliveries_max = options.deliveries_max;
        if deliveries_max.is_some() && deliveries_max != self.deliveries_max {
            let text = |count: Option<u32>| {
                count.map_or("without limit".to_owned(), |count| count.to_string())
            };
            let (ours, theirs) = (text(self.deliveries_max), text(deliveries_max));
            return Some(differs("its limit of deliveries", &ours, &theirs));
        }
        let same = |asked: Backoff| {
            let Backoff { first, factor, max } = self.backoff;
            asked.first == first
                && asked.max == max
                && thousandths(asked.factor) == thousandths(factor)
        };
        if let Some(backoff) = options.backoff.filter(|&backoff| !same(backoff)) {
            let text = |Backoff { first, factor, max }| match max {
                Duration::ZERO => "none".to_owned(),
                _ => format!("{first:?} by {factor} to {max:?}"),
            };
            return Some(differs("its backoff", &text(self.backoff), &text(backoff)));
        }
        let time = |what, ours: Option<Duration>, theirs: Option<Duration>| {
            let text = |time: Option<Duration>| {
                time.map_or("without limit".to_owned(), |time| format!("{time:?}"))
            };
            let is_other = theirs.is_some() && theirs != ours;
            is_other.then(|| differs(what, &text(ours), &text(theirs)))
        };
        time("its time to acknowledge", self.ack_within, options.ack_within)
            .or_else(|| time("its time to expire", self.expires_after, options.expires_after))
    }
}

/// Whether one of these subscriptions may have [expired](Registry::remove_expired), or be nobody's: as
/// far as can be seen without asking the kernel who lives.
pub(crate) fn may_have_expired(ring: &Ring, among: &[SubscriptionIndex]) -> bool {
    among.iter().filter_map(|&index| ring.subscription(index)).any(|subscription| {
        let may_expire = || subscription.is_in_use() && is_expired(&subscription);
        let is_left = || members_of(ring, subscription.index()).next().is_none();
        is_unfinished(&subscription) || may_expire() && is_left()
    })
}

/// Whether somebody makes it or removes it; for who has the lock of the table, one who has died.
fn is_unfinished(subscription: &Subscription) -> bool {
    subscription.word32(word::STATE).load(Ordering::Relaxed) == UNFINISHED
}

/// Whether it has been without a member for as long as it may, if it is without one now.
pub(crate) fn is_expired(subscription: &Subscription) -> bool {
    let time = |word| subscription.word64(word).load(Ordering::Relaxed);
    let last_seen = time(word::CREATED_AT).max(time(word::LEFT_AT));
    let passed = |now: u64, since| Duration::from_nanos(now.saturating_sub(since));
    Terms::of(subscription).expires_after.is_some_and(|limit| {
        // By two clocks: one may be set, the other may be a container's own.
        passed(process::now_since_start(), time(word::IDLE_SINCE)) >= limit
            && passed(process::time_of_day(), last_seen) >= limit
    })
}

/// From now on it is without a member, unless there is one.
fn note_idle(subscription: &Subscription) {
    subscription.word64(word::IDLE_SINCE).store(process::now_since_start(), Ordering::Relaxed);
}

/// The members of a subscription, the dead that nobody has found yet included.
fn members_of(ring: &Ring, index: SubscriptionIndex) -> impl Iterator<Item = MemberIndex> + '_ {
    ring.active_members().filter(move |&member| ring.member(member).subscription() == Some(index))
}

fn differs(what: &str, ours: &str, theirs: &str) -> Box<str> {
    format!("{what} is {ours} there, {theirs} was asked for").into()
}

/// Which of both sets of terms counts.
fn alterable_in_use(subscription: &Subscription) -> usize {
    // Acquire: with all that was written before it was chosen.
    usize::from(load_acquire32(subscription.word32(word::TERMS)) == 1)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "options are checked")]
fn thousandths(factor: f64) -> u32 {
    (factor * 1e3).round() as u32
}

/// Refuses names that no subscription can have.
pub(crate) fn check_name(queue: &str, name: &str) -> Result<(), Error> {
    let too_long = (SUBSCRIPTION_NAME_SIZE, "it is longer than 64 bytes");
    match what_is_wrong_with(name, too_long) {
        None => Ok(()),
        Some(reason) => {
            let (queue, name) = (queue.into(), name.into());
            Err(Error::InvalidSubscription { queue, name, reason })
        }
    }
}

fn write_name(subscription: &Subscription, name: &str) {
    let mut bytes = [0; SUBSCRIPTION_NAME_SIZE];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    for (index, chunk) in bytes.chunks_exact(8).enumerate() {
        let mut value = [0; 8];
        value.copy_from_slice(chunk);
        let value = u64::from_le_bytes(value);
        subscription.word64(word::name(index)).store(value, Ordering::Relaxed);
    }
}
