//! Members that die between any two stores, and heirs that do too.

use super::crash::{Died, after, stop_after, stop_no_more};
use super::*;
use crate::layout::SUBSCRIPTION;

/// Ends members quietly.
fn quiet() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Died>() {
            hook(info);
        }
    }));
}

fn subscribe(ring: &Ring, lag: Lag) -> Subscription {
    let index = ring.subscription_indexes().next().unwrap();
    let subscription = ring.subscription(index).unwrap();
    subscription.word(SUBSCRIPTION.lag).store(lag.code(), Ordering::Relaxed);
    ring.begin_holding(Start::Oldest, |place| ring.place_head(&subscription, place)).unwrap();
    subscription
}

fn subscription(ring: &Ring) -> Subscription {
    ring.subscription(ring.subscription_indexes().next().unwrap()).unwrap()
}

/// What members have done, as they know themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Done {
    /// How often each message was handed out.
    handed: std::collections::BTreeMap<u64, u32>,
    acked: Vec<u64>,
}

/// Works as a member does: takes shares until there are none, and acknowledges what it gets, but
/// for every message that `leaves` says to leave.
fn work(ring: &Ring, owner: MemberIndex, done: &mut Done, leaves: impl Fn(u64) -> bool) {
    let subscription = subscription(ring);
    inherit_all(ring, &subscription, owner, done);
    let index = ring.allot(owner, subscription.index()).expect("a free share");
    let mut index = Some(index);
    while let Some(own) = index.take().or_else(|| ring.allot(owner, subscription.index())) {
        let Take::Taken(extent, _) = ring.take(&subscription, own, 3, false).unwrap() else {
            break;
        };
        let share = ring.share(own);
        let mut run = ring.run_of(&extent);
        let mut state = share.load_state();
        for number in 0..extent.count {
            let sequence = extent.begin.sequence + u64::from(number);
            let span = run.next().expect("a message was taken");
            assert_eq!(bytes(ring.payloads(), span), payload(sequence, span.size), "{sequence}");
            step(ring);
            state = state.hand_out();
            share.store_state(state);
            *done.handed.entry(sequence).or_default() += 1;
            if leaves(sequence) {
                continue;
            }
            step(ring);
            state = state.settle(1 << number);
            share.store_state(state);
            done.acked.push(sequence);
        }
        if state.unsettled() == 0 {
            step(ring);
            share.retire();
            index = Some(own);
        }
    }
}

/// Takes over what is open, and acknowledges it.
fn inherit_all(ring: &Ring, subscription: &Subscription, heir: MemberIndex, done: &mut Done) {
    for index in ring.used_shares() {
        let share = ring.share(index);
        let state = share.load_state();
        if !state.is_open() || share.subscription() != Some(subscription.index()) {
            continue;
        }
        let extent = ring.extent(index).unwrap();
        step(ring);
        let mut own = state.owned_by(Some(heir));
        share.replace_state(state, own).unwrap();
        for number in (0..extent.count).filter(|number| state.unsettled() & (1 << number) != 0) {
            let sequence = extent.begin.sequence + u64::from(number);
            step(ring);
            share.count_retry(number);
            let handed = done.handed.entry(sequence).or_default();
            *handed += 1;
            assert_eq!(share.deliveries(number, own), *handed, "deliveries of {sequence}");
            step(ring);
            own = own.settle(1 << number);
            share.store_state(own);
            done.acked.push(sequence);
        }
        step(ring);
        share.retire();
        step(ring);
        share.store_state(own.owned_by(None));
    }
}

/// A point where the member may die, between two of its stores.
fn step(_ring: &Ring) {
    super::crash::step();
}

/// Lets a member work that dies after so many steps; `true` if it did not get to that.
fn dies_after(steps: u32, act: impl FnOnce()) -> bool {
    after(Some(steps));
    let result = catch_unwind(AssertUnwindSafe(act));
    after(None);
    match result {
        Ok(()) => true,
        Err(panic) if panic.is::<Died>() => false,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

const COUNT: u64 = 14;

fn memory_with_messages() -> Memory {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    subscribe(&ring, Lag::Hold);
    for sequence in 0..COUNT {
        send(&mut writer, &payload(sequence, 9 + (sequence % 20) as usize)).unwrap();
    }
    memory
}

/// Nothing is lost, nothing that was acknowledged came again, and the next member finds nothing.
fn check_all_done(ring: &Ring, done: &Done) {
    let mut acked = done.acked.clone();
    acked.sort_unstable();
    assert!(acked.iter().copied().eq(0..COUNT), "{acked:?}");
    let subscription = subscription(ring);
    let unsettled = ring.used_shares().filter(|&index| {
        let share = ring.share(index);
        share.is_passed() && share.load_state().unsettled() != 0
    });
    assert_eq!(unsettled.count(), 0);
    // What a share was is of no account for whoever has its entry next.
    assert!(ring.used_shares().all(|index| !ring.share(index).is_passed()));
    let index = ring.allot(member(ring, 3), subscription.index()).expect("a free share");
    assert_eq!(ring.take(&subscription, index, 32, false).unwrap(), Take::Empty);
    // What a share was before does not hold the writer while its new owner waits for messages.
    assert_eq!(ring.held_from(), ring.head(&subscription).unwrap().place.position);
}

#[test]
fn a_member_that_dies_between_any_two_stores_leaves_all_that_it_had_not_acknowledged() {
    quiet();
    let before = memory_with_messages();
    for leaves in [0, 3] {
        let leave = |sequence: u64| leaves > 0 && sequence.is_multiple_of(leaves);
        for steps in 0.. {
            let mut memory = before.clone();
            let ring = memory.ring();
            let mut done = Done::default();
            let finished = dies_after(steps, || work(&ring, member(&ring, 0), &mut done, leave));
            // The heirs die at every step of what they do, once, and the next one goes on.
            for heir_steps in 0.. {
                let mut memory = memory.clone();
                let ring = memory.ring();
                let mut done = done.clone();
                let heir_finished = dies_after(heir_steps, || {
                    ring.disown(member(&ring, 0)).unwrap();
                    work(&ring, member(&ring, 1), &mut done, |_| false);
                });
                for dead in [0, 1] {
                    ring.disown(member(&ring, dead)).unwrap();
                }
                work(&ring, member(&ring, 2), &mut done, |_| false);
                ring.disown(member(&ring, 2)).unwrap();
                check_all_done(&ring, &done);
                if heir_finished {
                    break;
                }
            }
            if finished {
                break;
            }
        }
    }
}

#[test]
fn a_member_that_stops_in_its_turn_keeps_nobody_from_theirs() {
    quiet();
    let before = memory_with_messages();
    for steps in 0.. {
        let mut memory = before.clone();
        let ring = memory.ring();
        let subscription = subscription(&ring);
        let stopped = ring.allot(member(&ring, 0), subscription.index()).unwrap();
        // It stops at each step of its taking, and does not go on.
        let finished = dies_after(steps, || {
            ring.take(&subscription, stopped, 3, false).unwrap();
        });
        let mut done = Done::default();
        work(&ring, member(&ring, 1), &mut done, |_| false);
        // What it has, if it has anything, is what the other did not get.
        let share = ring.share(stopped);
        let its = share.is_passed().then(|| ring.extent(stopped).unwrap());
        let expected = its.map_or(0, |extent| u64::from(extent.count));
        assert!(done.acked.iter().copied().eq(expected..COUNT), "{:?}", done.acked);
        if finished {
            assert!(expected > 0);
            return;
        }
    }
}

#[test]
fn a_member_that_is_stopped_in_its_turn_for_too_long_finds_out_when_it_goes_on() {
    let before = memory_with_messages();
    for steps in 0.. {
        let mut memory = before.clone();
        let ring = memory.ring();
        let subscription = subscription(&ring);
        let slow = ring.allot(member(&ring, 0), subscription.index()).unwrap();
        let others = ring.clone();
        let done = std::rc::Rc::new(std::cell::RefCell::new(Done::default()));
        let of_others = std::rc::Rc::clone(&done);
        stop_after(steps, move || {
            // They finish its turn, and take over what it has, as members with a lease do.
            let subscription = super::sharing::subscription(&others);
            others.head(&subscription).unwrap();
            let share = others.share(slow);
            let state = share.load_state();
            if share.is_passed() {
                share.replace_state(state, state.owned_by(None)).unwrap();
            }
            work(&others, member(&others, 1), &mut of_others.borrow_mut(), |_| false);
        });
        let take = ring.take(&subscription, slow, 3, false).unwrap();
        let was_not_stopped = stop_no_more();
        let share = ring.share(slow);
        if let Take::Taken(extent, state) = take {
            // Whose it is, is found out by a swap.
            if share.replace_state(state, state.settle(u32::MAX)).is_ok() {
                let (first, mut done) = (extent.begin.sequence, done.borrow_mut());
                done.acked.extend(first..first + u64::from(extent.count));
                share.retire();
            }
            work(&ring, member(&ring, 1), &mut done.borrow_mut(), |_| false);
        }
        ring.disown(member(&ring, 0)).unwrap();
        ring.disown(member(&ring, 1)).unwrap();
        check_all_done(&ring, &done.borrow());
        if was_not_stopped {
            assert!(steps > 5, "{steps} steps");
            return;
        }
    }
}

/// Takes all that there is with one share, and returns the sequences.
fn take_all(ring: &Ring, subscription: &Subscription, owner: MemberIndex) -> Vec<u64> {
    let index = ring.allot(owner, subscription.index()).expect("a free share");
    let share = ring.share(index);
    let mut taken = Vec::new();
    while let Take::Taken(extent, state) = ring.take(subscription, index, 32, false).unwrap() {
        let first = extent.begin.sequence;
        taken.extend(first..first + u64::from(extent.count));
        share.store_state(state.settle(u32::MAX));
        share.retire();
    }
    taken
}

/// Whoever of its own subscription meets that turn later finds something else in its share.
#[test]
fn what_an_heir_is_done_with_moves_no_head_but_that_of_whoever_has_it_next() {
    let before = memory_with_messages();
    // The two heads are at one place, or at two.
    for (ahead, steps) in [0, 2].into_iter().flat_map(|ahead| (0..20).map(move |n| (ahead, n))) {
        let mut memory = before.clone();
        let ring = memory.ring();
        let [one, other] = [0, 1].map(|number| {
            let index = ring.subscription_indexes().nth(number).unwrap();
            let subscription = ring.subscription(index).unwrap();
            subscription.word(SUBSCRIPTION.lag).store(Lag::Hold.code(), Ordering::Relaxed);
            ring.begin_holding(Start::Oldest, |at| ring.place_head(&subscription, at)).unwrap();
            subscription
        });
        // The next one is the slow member's, if that is free.
        let index = ring.allot(member(&ring, 2), other.index()).unwrap();
        if ahead > 0 {
            assert!(matches!(ring.take(&other, index, ahead, false), Ok(Take::Taken(..))));
        }
        let slow = ring.allot(member(&ring, 3), one.index()).unwrap();
        let (others, of_others) = (ring.clone(), [one.clone(), other.clone()]);
        stop_after(steps, move || {
            let share = others.share(slow);
            if !share.is_passed() {
                return;
            }
            let seen = share.load_state();
            assert!(others.take_over(slow, seen, member(&others, 1)).unwrap().is_some());
            share.store_state(share.load_state().settle(u32::MAX));
            share.retire();
            share.store_state(share.load_state().owned_by(None));
            let [one, other] = of_others;
            assert_eq!(others.allot(member(&others, 2), other.index()), Some(slow));
            let taken = others.take(&other, slow, 1 + ahead, false).unwrap();
            assert!(matches!(taken, Take::Taken(..)), "{taken:?}");
            others.head(&one).unwrap();
        });
        let taken = ring.take(&one, slow, 5, false).unwrap();
        let was_stopped = !stop_no_more();
        let Take::Taken(extent, _) = taken else { panic!("{taken:?}") };
        let first = u64::from(extent.count);
        assert!(take_all(&ring, &one, member(&ring, 0)).into_iter().eq(first..COUNT), "{steps}");
        let head = ring.head(&other).unwrap().place.sequence;
        let rest = take_all(&ring, &other, member(&ring, 0));
        assert!(rest.into_iter().eq(head..COUNT), "{steps}");
        assert!(was_stopped || steps > 5, "{steps} steps");
    }
}

#[test]
fn an_heir_has_what_a_share_is_when_it_takes_it_over_however_often_it_was_another_before() {
    let before = memory_with_messages();
    for steps in 0.. {
        let mut memory = before.clone();
        let ring = memory.ring();
        let subscription = subscription(&ring);
        let owner = member(&ring, 0);
        let index = ring.allot(owner, subscription.index()).unwrap();
        assert!(matches!(ring.take(&subscription, index, 1, false), Ok(Take::Taken(..))));
        let seen = ring.share(index).load_state();
        let others = ring.clone();
        stop_after(steps, move || {
            let share = others.share(index);
            share.store_state(seen.settle(u32::MAX));
            share.retire();
            // As often as there are generations, less one.
            for _ in 1..1 << 11 {
                share.store_state(share.load_state().owned_by(Some(owner)));
            }
            let subscription = super::sharing::subscription(&others);
            let taken = others.take(&subscription, index, 1, false).unwrap();
            assert!(matches!(taken, Take::Taken(_, state) if state == seen), "{taken:?}");
        });
        let inherited = ring.take_over(index, seen, member(&ring, 1)).unwrap();
        let was_not_stopped = stop_no_more();
        let first = u64::from(!was_not_stopped);
        assert_eq!(inherited.map(|(extent, _)| extent.begin.sequence), Some(first), "{steps}");
        if was_not_stopped {
            assert!(steps > 0);
            return;
        }
    }
}

/// Why a head is put back only by one who has the lock of the table, and when no member is left: nobody
/// else finishes turns, and this is what comes of it if somebody does.
#[test]
fn who_still_finishes_a_turn_moves_a_head_that_was_put_back() {
    quiet();
    let mut before = memory_with_messages();
    let begin = subscription(&before.ring());
    let begin = Place {
        position: begin.head_position().load(Ordering::Relaxed),
        sequence: begin.head_sequence().load(Ordering::Relaxed),
    };
    let mut moved_by = Vec::new();
    for steps in 0.. {
        let mut memory = before.clone();
        let ring = memory.ring();
        let subscription = subscription(&ring);
        let index = ring.allot(member(&ring, 0), subscription.index()).unwrap();
        // It dies when it has begun its turn.
        let mut left = 0;
        while subscription.load_turn().share().is_none() {
            dies_after(left, || _ = ring.take(&subscription, index, 3, false));
            left += 1;
        }
        let others = ring.clone();
        stop_after(steps, move || {
            let subscription = super::sharing::subscription(&others);
            others.disown(member(&others, 0)).unwrap();
            others.head(&subscription).unwrap();
            others.place_head(&subscription, begin);
        });
        ring.head(&subscription).unwrap();
        if stop_no_more() {
            break;
        }
        let found = ring.head(&subscription).unwrap().place;
        if found != begin {
            moved_by.push(steps);
        }
    }
    assert!(!moved_by.is_empty());
}

#[test]
fn a_ticket_is_of_one_subscription() {
    let mut memory = memory_with_messages();
    let ring = memory.ring();
    let tickets = ring.subscription_indexes().take(2).map(|index| {
        let subscription = ring.subscription(index).unwrap();
        subscription.word(SUBSCRIPTION.lag).store(Lag::Hold.code(), Ordering::Relaxed);
        ring.begin_holding(Start::Oldest, |place| ring.place_head(&subscription, place)).unwrap();
        let share = ring.allot(member(&ring, 0), index).unwrap();
        assert!(matches!(ring.take(&subscription, share, 3, false), Ok(Take::Taken(..))));
        ring.share(share).load_ticket()
    });
    let [one, other] = tickets.collect::<Vec<_>>()[..] else { panic!("two subscriptions") };
    assert_ne!(one, other, "the first turn of each");
}

#[test]
fn the_writer_waits_for_the_head_and_for_every_share_and_for_nothing_else() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let subscription = subscribe(&ring, Lag::Hold);
    let mut fill = || {
        let first = writer.next_sequence();
        while send(&mut writer, &[7; 24]).is_some() {}
        let held: Vec<_> = writer.holding_subscriptions().collect();
        assert_eq!(held, [subscription.index()]);
        writer.next_sequence() - first
    };
    let lap = fill();
    assert!(lap > 20, "{lap}");
    assert_eq!(fill(), 0, "the head holds");
    let take = |owner: usize| {
        let index = ring.allot(member(&ring, owner), subscription.index()).unwrap();
        let Take::Taken(extent, _) = ring.take(&subscription, index, 32, false).unwrap() else {
            panic!("there are messages");
        };
        (index, extent)
    };
    let (first, first_extent) = take(0);
    let (second, _) = take(1);
    assert_eq!(fill(), 0, "the first share holds");
    let settle = |index: ShareIndex| {
        let share = ring.share(index);
        share.store_state(share.load_state().settle(u32::MAX));
        share.retire();
    };
    settle(second);
    assert_eq!(fill(), 0, "the first share still holds");
    let share = ring.share(first);
    share.store_state(share.load_state().settle(u32::MAX));
    assert_eq!(fill(), 0, "what is settled may still be lent");
    settle(first);
    assert!(fill() >= u64::from(first_extent.count) - 1);
}

#[test]
fn a_subscription_that_skips_goes_on_at_the_oldest_message() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let subscription = subscribe(&ring, Lag::Skip);
    for sequence in 0..200 {
        send(&mut writer, &payload(sequence, 30)).unwrap();
    }
    let index = ring.allot(member(&ring, 0), subscription.index()).unwrap();
    let Take::Taken(extent, _) = ring.take(&subscription, index, 32, false).unwrap() else {
        panic!("there are messages");
    };
    assert_eq!(extent.begin, ring.oldest().unwrap());
    assert_eq!(extent.missed_from, 0);
    assert!(extent.begin.sequence > 100);
}

#[test]
fn a_subscription_of_somebodys_making_is_corrupt_and_no_more() {
    // Every word of the subscription and of a share may hold anything.
    let values =
        [0, 1, 7, 8, CAPACITY - 8, CAPACITY, 1 << 20, 1 << 40, 1 << 62, u64::MAX - 7, u64::MAX];
    let before = memory_with_messages();
    let entry_words = |offset: usize, size: usize| (offset / 8..(offset + size) / 8).collect();
    let geometry = before.geometry;
    let subscription_words: Vec<usize> = entry_words(geometry.subscription(0), 0x28);
    let share_words: Vec<usize> = entry_words(geometry.share(0), 0x80);
    for (stage, words) in [(0, &subscription_words), (1, &share_words), (1, &subscription_words)] {
        for &word in words {
            for value in values {
                let mut memory = before.clone();
                let ring = memory.ring();
                let subscription = subscription(&ring);
                let index = ring.allot(member(&ring, 0), subscription.index()).unwrap();
                if stage == 1 {
                    ring.take(&subscription, index, 5, false).unwrap();
                }
                memory.control[word] = value;
                let ring = memory.ring();
                for keyed in [false, true] {
                    let _ = ring.take(&subscription, index, 32, keyed);
                    let _ = ring.look_at_head(&subscription);
                    let _ = ring.run_at_head(&subscription).map(|run| run.is_at_end());
                    for share in ring.used_shares() {
                        if let Ok(extent) = ring.extent(share) {
                            let mut run = ring.run_of(&extent);
                            while run.next().is_some() {}
                        }
                    }
                    let _ = ring.disown(member(&ring, 0));
                    let _ = ring.held_from();
                }
            }
        }
    }
}
