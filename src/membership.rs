//! A consumer's place in the queue: taking one, giving it up, and clearing those of the dead.

use std::thread;
use std::time::Duration;

use crate::calls::{call_all, call_consumers, call_producer};
use crate::error::Error;
use crate::layout::{MEMBER, SUBSCRIPTION};
use crate::ring::{Corrupt, MemberIndex, Ring, SubscriptionIndex};
use crate::segment::{Lock, Segment};
use crate::sync::Ordering;
use crate::sys::process;

/// Who clears up after the dead has a line's lock for a moment. So nobody is found to live in it, or
/// the table to be full, before several looks.
const ROUNDS: u32 = 3;

fn rest_before(round: u32) {
    if round > 0 {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A line of the member table, and the lock that shows that its owner lives. Dropped, the place
/// is given up.
#[derive(Debug)]
pub(crate) struct Membership {
    ring: Ring,
    index: MemberIndex,
    /// Goes after the place is given up: nobody else takes the line before.
    lock: Lock,
}

impl Membership {
    /// Takes a free line, or else one whose owner has died. It becomes a member's when the
    /// reader's beginning is found.
    pub(crate) fn find(segment: &Segment, ring: Ring) -> Result<Self, Error> {
        let lock = segment.lock_file()?;
        let mut index = None;
        for round in 0..ROUNDS {
            rest_before(round);
            index = Self::lock_a_line(&ring, &lock)?;
            if index.is_some() {
                break;
            }
        }
        if segment.is_stale() {
            // Perhaps found so because whoever removes a queue has all locks for that time.
            return Err(segment.stale());
        }
        let Some(index) = index else {
            let members = segment.geometry().tables().members;
            return Err(Error::MembersFull { queue: segment.name().into(), limit: members });
        };
        if ring.is_active(index) {
            end_of_dead(&ring, index);
        }
        introduce(&ring, index);
        Ok(Self { ring, index, lock })
    }

    fn lock_a_line(ring: &Ring, lock: &Lock) -> Result<Option<MemberIndex>, Error> {
        let free_then_all = [false, true];
        for active_too in free_then_all {
            for index in ring.member_indexes() {
                if (active_too || !ring.is_active(index)) && lock.try_member(index)? {
                    return Ok(Some(index));
                }
            }
        }
        Ok(None)
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn index(&self) -> MemberIndex {
        self.index
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // A forked child has a copy of this, but not the place.
        if self.lock.is_own() {
            // What is corrupt about the shares stays where it is, for others to report.
            let _ = end(&self.ring, self.index);
            call_producer(&self.ring);
        }
    }
}

/// Ends the membership of those among `members` who have died, and returns how many there were.
/// `lock` is the caller's own opening, which may hold other locks.
pub(crate) fn clear_dead(
    ring: &Ring,
    lock: &Lock,
    members: impl Iterator<Item = MemberIndex>,
) -> Result<u32, Error> {
    let mut cleared = 0;
    for index in members {
        // Whoever has the lock of a line in use, and is not its owner, has outlived its owner.
        if lock.try_member(index)? {
            if ring.is_active(index) {
                end_of_dead(ring, index);
                cleared += 1;
            }
            lock.give_up_member(index)?;
        }
    }
    Ok(cleared)
}

/// [`clear_dead`] among members without a subscription, and among all of certain subscriptions.
pub(crate) fn clear_dead_holders(
    ring: &Ring,
    lock: &Lock,
    members: impl Iterator<Item = MemberIndex>,
    subscriptions: &[SubscriptionIndex],
) -> Result<u32, Error> {
    let is_of_one = |&index: &MemberIndex| {
        ring.member(index).subscription().is_some_and(|of| subscriptions.contains(&of))
    };
    clear_dead(ring, lock, members.chain(ring.active_members().filter(is_of_one)))
}

/// How many of certain members live. The membership of the others is ended.
pub(crate) fn count_living<M: Iterator<Item = MemberIndex>>(
    ring: &Ring,
    lock: &Lock,
    members: impl Fn() -> M,
) -> Result<u32, Error> {
    let mut living = 0;
    for round in 0..ROUNDS {
        rest_before(round);
        clear_dead(ring, lock, members())?;
        // Anew: the line of one who has died may be somebody's by now who is not meant.
        living = members().count();
        if living == 0 {
            break;
        }
    }
    Ok(u32::try_from(living).unwrap_or(u32::MAX))
}

/// Ends the membership of one who has died.
fn end_of_dead(ring: &Ring, index: MemberIndex) {
    // What is corrupt about its shares is reported by who meets it.
    let _ = end(ring, index);
    // It may have said that it calls those who sleep, so that nobody else did, and died before it could.
    call_all(ring);
}

/// Ends a membership: what it left of shares is for others from now on, and what it counted is
/// the subscription's. The caller holds the member's lock.
fn end(ring: &Ring, index: MemberIndex) -> Result<(), Corrupt> {
    let member = ring.member(index);
    let subscription = member.subscription().and_then(|index| ring.subscription(index));
    let Some(subscription) = subscription else {
        ring.leave(index);
        return Ok(());
    };
    // Before its share is another's.
    let (delivered, acked) = ring.uncounted(index);
    member.word(MEMBER.current).store(0, Ordering::Relaxed);
    member.word(MEMBER.delivered).fetch_add(delivered, Ordering::Relaxed);
    member.word(MEMBER.acked).fetch_add(acked, Ordering::Relaxed);
    let opened = ring.disown(index);
    for (from, to) in [
        (MEMBER.delivered, SUBSCRIPTION.delivered),
        (MEMBER.redelivered, SUBSCRIPTION.redelivered),
        (MEMBER.acked, SUBSCRIPTION.acked),
        (MEMBER.dead_letters, SUBSCRIPTION.dead_letters),
        (MEMBER.missed, SUBSCRIPTION.missed),
    ] {
        // Relaxed: for display.
        let count = member.word(from).swap(0, Ordering::Relaxed);
        subscription.word(to).fetch_add(count, Ordering::Relaxed);
    }
    let left_at = subscription.word(SUBSCRIPTION.left_at);
    left_at.store(process::time_of_day(), Ordering::Relaxed);
    let idle_since = subscription.word(SUBSCRIPTION.idle_since);
    idle_since.store(process::now_since_start(), Ordering::Relaxed);
    ring.leave(index);
    // What it left, or a share that is free now.
    call_consumers(ring);
    opened.map(drop)
}

/// Fills in what others are shown of a member.
fn introduce(ring: &Ring, index: MemberIndex) {
    let member = ring.member(index);
    member.word(MEMBER.subscription).store(0, Ordering::Relaxed);
    member.word(MEMBER.pid).store(std::process::id(), Ordering::Relaxed);
    member.word(MEMBER.since).store(process::time_of_day(), Ordering::Relaxed);
    member.word(MEMBER.missed).store(0, Ordering::Relaxed);
    member.word(MEMBER.sleeps).store(0, Ordering::Relaxed);
    for count in [MEMBER.delivered, MEMBER.redelivered, MEMBER.acked, MEMBER.dead_letters] {
        member.word(count).store(0, Ordering::Relaxed);
    }
    for word in [MEMBER.late_wakes, MEMBER.current, MEMBER.counted] {
        member.word(word).store(0, Ordering::Relaxed);
    }
}
