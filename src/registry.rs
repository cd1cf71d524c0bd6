//! Named subscriptions by their names: making, finding, altering, moving and removing them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use crate::calls;
use crate::error::Error;
use crate::history::{Checkpoints, Past};
use crate::layout::{
    CONTROL, FREE, IN_USE, MOVING, SUBSCRIPTION, SUBSCRIPTION_NAME_SIZE, UNFINISHED, Word,
};
use crate::membership;
use crate::ring::{Begin, Lag, Place, Ring, SeenShare, Start, Subscription, SubscriptionIndex};
use crate::segment::{Lock, Segment, check_subscription_name};
use crate::subscribe::Subscribe;
use crate::sync::Ordering;
use crate::sys::process;
use crate::terms::{Terms, differs};

/// The subscription table, while nobody else changes it.
#[derive(Debug)]
pub(crate) struct Registry<'a> {
    segment: &'a Arc<Segment>,
    ring: &'a Ring,
    /// Its dropping lets others in.
    lock: Lock,
}

/// A subscription that a consumer can join.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) subscription: Subscription,
    pub(crate) lag: Lag,
    pub(crate) keyed: bool,
    pub(crate) terms: Terms,
    /// Whether it had to be made.
    pub(crate) is_new: bool,
    /// The messages that it was to begin with, first and one more than the last, if it had to be made
    /// and those are gone.
    pub(crate) missed: Option<(u64, u64)>,
}

impl Found {
    fn of(subscription: Subscription) -> Self {
        Self {
            lag: subscription.lag().unwrap_or_default(),
            keyed: subscription.is_keyed(),
            terms: Terms::of(&subscription),
            is_new: false,
            missed: None,
            subscription,
        }
    }

    /// What is asked for that the subscription is not.
    fn difference(&self, options: &Subscribe) -> Option<Box<str>> {
        differs("its lag policy", Some(self.lag), options.lag, Lag::to_string)
            .or_else(|| differs("keyed", Some(self.keyed), options.keyed, bool::to_string))
            .or_else(|| self.terms.difference(&options.terms))
    }
}

impl<'a> Registry<'a> {
    /// Waits for others who change the table. That takes microseconds, unless one of them was
    /// stopped in the middle.
    pub(crate) fn lock(segment: &'a Arc<Segment>, ring: &'a Ring) -> Result<Self, Error> {
        let locked = Self::lock_within(Duration::from_secs(10), segment, ring)?;
        locked.ok_or_else(|| {
            let what = "somebody else changes them, and was stopped over it; let that go on, or end it, and try again";
            let source = io::Error::new(ErrorKind::TimedOut, what);
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

    /// Finds the subscription of that name, if it is what the options ask for, or makes it, to begin at
    /// `start`.
    pub(crate) fn find_or_make(
        &self,
        name: &str,
        start: Start,
        options: &Subscribe,
    ) -> Result<Found, Error> {
        if let Some(subscription) = self.find(name)? {
            let found = Found::of(subscription);
            if let Some(what) = found.difference(options) {
                let (queue, subscription) = (self.segment.name().into(), name.into());
                return Err(Error::SubscriptionDiffers { queue, subscription, what });
            }
            // Whoever declares it relies on its being there, and may have come late.
            note_idle(&found.subscription);
            return Ok(found);
        }
        let subscription = self.free_entry(name)?;
        // Where everything is on disk anyway nobody has to be held.
        let is_journal = self.segment.identity().keeping.journal.is_some();
        let lag = options.lag.unwrap_or(if is_journal { Lag::Spill } else { Lag::Hold });
        let keyed = options.keyed.unwrap_or(false);
        subscription.word(SUBSCRIPTION.state).store(UNFINISHED, Ordering::Relaxed);
        write_name(&subscription, name);
        subscription.word(SUBSCRIPTION.lag).store(lag.code(), Ordering::Relaxed);
        subscription.word(SUBSCRIPTION.keyed).store(keyed.into(), Ordering::Relaxed);
        options.terms.write_first(&subscription);
        subscription.word(SUBSCRIPTION.created_at).store(process::time_of_day(), Ordering::Relaxed);
        note_idle(&subscription);
        for count in [
            SUBSCRIPTION.left_at,
            SUBSCRIPTION.delivered,
            SUBSCRIPTION.redelivered,
            SUBSCRIPTION.acked,
            SUBSCRIPTION.dead_letters,
            SUBSCRIPTION.missed,
        ] {
            subscription.word(count).store(0, Ordering::Relaxed);
        }
        let placed = self.place_head(&subscription, lag, start, None);
        let made = placed.and_then(|begin| self.note(&subscription).map(|()| begin));
        match made {
            Ok(begin) => {
                // Release: whoever finds it finished finds all of it.
                subscription.word(SUBSCRIPTION.state).store(IN_USE, Ordering::Release);
                let missed = begin.missed_from.map(|from| (from, begin.place.sequence));
                Ok(Found { is_new: true, missed, ..Found::of(subscription) })
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
        let (lag, needed) = (subscription.lag().unwrap_or_default(), self.needed(&subscription));
        let begin = self.begin_further_back(lag, start, needed)?.unwrap_or(in_ring);
        let sequence = begin.missed_from.unwrap_or(begin.place.sequence);
        // What keeps its checkpoint from being written is told before anything has changed. One that is
        // damaged has none to write.
        match self.note(&subscription) {
            Err(Error::Corrupt { .. }) => {}
            noted => noted?,
        }
        subscription.word(SUBSCRIPTION.moves_to).store(sequence, Ordering::Relaxed);
        // Release: who finds it being moved finds where to.
        subscription.word(SUBSCRIPTION.state).store(MOVING, Ordering::Release);
        self.finish_moving(&subscription)
    }

    /// Changes the terms of a subscription without members, and returns what they are now.
    pub(crate) fn alter(
        &self,
        name: &str,
        change: impl FnOnce(&mut Terms),
    ) -> Result<Terms, Error> {
        let subscription = self.find_idle(name)?;
        let mut terms = Terms::of(&subscription);
        change(&mut terms);
        if let Some(what) = terms.fault() {
            return Err(Error::InvalidOption { queue: self.segment.name().into(), what });
        }
        note_idle(&subscription);
        // What is not on disk would not be there after a restart.
        terms.replace(&subscription, || self.note(&subscription))?;
        Ok(Terms::of(&subscription))
    }

    /// Removes a subscription without members.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let subscription = self.find_idle(name)?;
        self.discard(&subscription)?;
        calls::call_producer(self.ring);
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
        calls::call_producer(self.ring);
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
        let members = || self.ring.members_of(subscription.index());
        membership::clear_dead(self.ring, &self.lock, members())?;
        if members().next().is_some() || !is_expired(subscription) {
            return Ok(None);
        }
        let name = subscription.name();
        self.discard(subscription)?;
        self.ring.control(CONTROL.expired).fetch_add(1, Ordering::Relaxed);
        Ok(Some(name))
    }

    fn count_living(&self, subscription: &Subscription) -> Result<u32, Error> {
        let members = || self.ring.members_of(subscription.index());
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
        for subscription in self.ring.subscriptions() {
            let is_wanted = subscription.name() == name;
            // Acquire: whoever finds it unfinished or moving finds all that was done so far.
            let finished = match subscription.word(SUBSCRIPTION.state).load(Ordering::Acquire) {
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
        check_subscription_name(self.segment.name(), name)?;
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
        let sequence = subscription.word(SUBSCRIPTION.moves_to).load(Ordering::Relaxed);
        let lag = subscription.lag().unwrap_or_default();
        let needed = self.needed(subscription);
        self.place_head(subscription, lag, Start::Sequence(sequence), needed)?;
        self.forget_shares(subscription);
        note_idle(subscription);
        self.note(subscription)?;
        // Release: as when it was made.
        subscription.word(SUBSCRIPTION.state).store(IN_USE, Ordering::Release);
        calls::call_producer(self.ring);
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
        let begin = self.begin_further_back(lag, start, needed)?.unwrap_or(in_ring);
        self.ring.place_head(subscription, begin.place);
        Ok(begin)
    }

    /// From where on a subscription needs what there is. A damaged one needs nothing that could be found.
    fn needed(&self, subscription: &Subscription) -> Option<Place> {
        self.ring.settled(subscription).ok().map(|(place, _)| place)
    }

    /// Where a subscription begins, if that is not in what the ring has for everybody: in the files, or in
    /// what is kept for it alone, which it `needed` before. To be asked after the ring: what has left that
    /// by now is in the files.
    fn begin_further_back(
        &self,
        lag: Lag,
        start: Start,
        needed: Option<Place>,
    ) -> Result<Option<Begin>, Error> {
        let in_files = self.begin_in_files(lag, start, needed)?;
        let Some(needed) = needed.filter(|_| in_files.is_none() && lag != Lag::Skip) else {
            return Ok(in_files);
        };
        let held = self.ring.begin_held(start, needed);
        // It may have left the ring since the files were looked at.
        if held.is_some() { Ok(held) } else { self.begin_in_files(lag, start, Some(needed)) }
    }

    /// Where a subscription begins, if that is in the files: anywhere, if it spills and there is a journal,
    /// else with what it `needed` before. What others have spilt may go at any moment, and one that holds is
    /// put no further behind than it has fallen.
    fn begin_in_files(
        &self,
        lag: Lag,
        start: Start,
        needed: Option<Place>,
    ) -> Result<Option<Begin>, Error> {
        let is_free = lag == Lag::Spill && self.segment.identity().keeping.journal.is_some();
        let has_left = |needed: &Place| self.ring.has_left(Some(lag), needed.position);
        let lowest = needed.filter(has_left).filter(|_| !is_free);
        let has_files = is_free || lowest.is_some();
        let past = Past::of(self.segment, None).filter(|_| has_files);
        let Some(mut past) = past else { return Ok(None) };
        past.begin(start, self.ring)?;
        let missed_from = past.missed().map(|(from, _)| from);
        let found = past.place();
        let place = lowest.filter(|lowest| lowest.position > found.position).unwrap_or(found);
        Ok(past.is_entered().then_some(Begin { place, missed_from }))
    }

    /// Has it on disk from where on a subscription has messages to come, if the queue has a journal.
    fn note(&self, subscription: &Subscription) -> Result<(), Error> {
        let checkpoints = Checkpoints::of(self.segment);
        checkpoints.map_or(Ok(()), |mut all| all.write(self.ring, subscription, true))
    }

    /// Ends what an entry is. If its checkpoint cannot be removed, it stays what it was.
    fn discard(&self, subscription: &Subscription) -> Result<(), Error> {
        let state = subscription.word(SUBSCRIPTION.state);
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
        // Also what is not passed: who died over this has retired one and not freed it.
        for SeenShare { share, state, .. } in self.ring.shares_of(subscription.index()) {
            // One that is free, or has an owner, may be on its way to another subscription.
            if state.is_open() {
                share.retire();
                let free = state.settle(u32::MAX).owned_by(None);
                is_any_free |= share.replace_state(state, free).is_ok();
            }
        }
        if is_any_free {
            // Members of others may have waited for a share to be free.
            calls::call_consumers(self.ring);
        }
    }
}

/// Removes those of these subscriptions that have been without a member for too long. What somebody else
/// has to do, because the table or the history is theirs, stays to be done.
pub(crate) fn remove_expired(
    segment: &Arc<Segment>,
    ring: &Ring,
    among: &[SubscriptionIndex],
) -> Result<(), Error> {
    if !may_have_expired(ring, among) {
        return Ok(());
    }
    // Who has given up its rights since, say, cannot open the segment once more.
    let Ok(Some(registry)) = Registry::try_lock(segment, ring) else { return Ok(()) };
    match registry.remove_expired(among.iter().copied()) {
        // The history is another user's.
        Err(Error::File { source, .. }) if source.kind() == ErrorKind::PermissionDenied => Ok(()),
        removed => removed.map(drop),
    }
}

/// Whether one of these subscriptions may have [expired](Registry::remove_expired), or be nobody's: as
/// far as can be seen without asking the kernel who lives.
fn may_have_expired(ring: &Ring, among: &[SubscriptionIndex]) -> bool {
    among.iter().filter_map(|&index| ring.subscription(index)).any(|subscription| {
        let may_expire = || subscription.is_in_use() && is_expired(&subscription);
        let is_left = || ring.members_of(subscription.index()).next().is_none();
        is_unfinished(&subscription) || may_expire() && is_left()
    })
}

/// Whether somebody makes it or removes it; for who has the lock of the table, one who has died.
fn is_unfinished(subscription: &Subscription) -> bool {
    subscription.word(SUBSCRIPTION.state).load(Ordering::Relaxed) == UNFINISHED
}

/// Whether it has been without a member for as long as it may, if it is without one now.
pub(crate) fn is_expired(subscription: &Subscription) -> bool {
    let time = |word: Word<_, u64>| subscription.word(word).load(Ordering::Relaxed);
    let last_seen = time(SUBSCRIPTION.created_at).max(time(SUBSCRIPTION.left_at));
    let passed = |now: u64, since| Duration::from_nanos(now.saturating_sub(since));
    Terms::of(subscription).expires_after.is_some_and(|limit| {
        // By two clocks: one may be set, the other may be a container's own.
        passed(process::now_since_start(), time(SUBSCRIPTION.idle_since)) >= limit
            && passed(process::time_of_day(), last_seen) >= limit
    })
}

/// From now on it is without a member, unless there is one.
fn note_idle(subscription: &Subscription) {
    subscription.word(SUBSCRIPTION.idle_since).store(process::now_since_start(), Ordering::Relaxed);
}

fn write_name(subscription: &Subscription, name: &str) {
    let mut bytes = [0; SUBSCRIPTION_NAME_SIZE];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    for (index, chunk) in bytes.chunks_exact(8).enumerate() {
        let mut value = [0; 8];
        value.copy_from_slice(chunk);
        let value = u64::from_le_bytes(value);
        subscription.word(SUBSCRIPTION.name.word64(index)).store(value, Ordering::Relaxed);
    }
}
