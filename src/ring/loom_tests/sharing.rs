//! Members of one named subscription: taking, handing over, and what the writer may overwrite.

use super::*;
use crate::layout::SUBSCRIPTION;

/// A subscription that holds from the oldest message on.
fn subscribe(ring: &Ring) -> Subscription {
    subscribe_with(ring, Lag::Hold)
}

/// A subscription from the oldest message on.
pub(super) fn subscribe_with(ring: &Ring, lag: Lag) -> Subscription {
    let index = ring.subscription_indexes().next().unwrap();
    let subscription = ring.subscription(index).unwrap();
    subscription.word(SUBSCRIPTION.lag).store(lag.code(), Ordering::Relaxed);
    ring.begin_holding(Start::Oldest, |place| ring.place_head(&subscription, place)).unwrap();
    subscription
}

pub(super) fn member(ring: &Ring, number: usize) -> MemberIndex {
    ring.member_indexes().nth(number).unwrap()
}

/// Takes a share of one message, and says which, if there was one.
fn take_one(ring: &Ring, subscription: &Subscription, share: ShareIndex) -> Option<u64> {
    match ring.take(subscription, share, 1, false).expect("whole") {
        Take::Taken(extent, _) => {
            assert_eq!(extent.count, 1);
            let mut run = ring.run_of(&extent);
            let span = run.next().expect("a message was taken");
            let word = ring.word_at(span.offset).load(Ordering::Relaxed);
            assert_eq!(word.to_le_bytes(), payload(extent.begin.sequence), "torn");
            Some(extent.begin.sequence)
        }
        Take::Empty => None,
        Take::Closed { .. } => panic!("nobody closed it"),
        Take::Behind(_) => panic!("nobody spills"),
    }
}

#[test]
fn no_message_is_taken_twice_and_none_passed_over() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let subscription = subscribe(&ring);
        for _ in 0..3 {
            send(&mut writer).unwrap();
        }
        let takers: Vec<_> = (0..2)
            .map(|number| {
                let (ring, subscription) = (ring.clone(), subscription.clone());
                thread::spawn(move || {
                    let share = ring.allot(member(&ring, number), subscription.index()).unwrap();
                    take_one(&ring, &subscription, share)
                })
            })
            .collect();
        let mut taken: Vec<_> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
        taken.sort_unstable();
        assert_eq!(taken, [Some(0), Some(1)]);
        assert_eq!(ring.head(&subscription).unwrap().place.sequence, 2);
    });
}

#[test]
fn the_writer_never_overwrites_what_is_in_a_share() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let subscription = subscribe(&ring);
        while send(&mut writer).is_some() {}
        let taker_ring = ring.clone();
        let taker = thread::spawn(move || {
            let ring = taker_ring;
            let share = ring.allot(member(&ring, 0), subscription.index()).unwrap();
            for sequence in 0..2 {
                assert_eq!(take_one(&ring, &subscription, share), Some(sequence));
                let entry = ring.share(share);
                entry.store_state(entry.load_state().hand_out().settle(1));
            }
        });
        for _ in 0..2 {
            send(&mut writer);
        }
        taker.join().unwrap();
    });
}

#[test]
fn of_an_ack_and_an_heir_one_is_too_late() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let subscription = subscribe(&ring);
        send(&mut writer).unwrap();
        let (first, heir) = (member(&ring, 0), member(&ring, 1));
        let share = ring.allot(first, subscription.index()).unwrap();
        assert_eq!(take_one(&ring, &subscription, share), Some(0));
        let entry = ring.share(share);
        let handed = entry.load_state().hand_out();
        entry.store_state(handed);
        let heir_ring = ring.clone();
        let inherits = thread::spawn(move || {
            let entry = heir_ring.share(share);
            let state = entry.load_state();
            let inherited = state.unsettled() != 0
                && heir_ring.take_over(share, state, heir).expect("whole").is_some();
            if inherited {
                // A count that goes with the share: the last owner's is seen.
                assert_eq!(entry.deliveries(0, entry.load_state()), 1);
            }
            inherited
        });
        let acked = entry.replace_state(handed, handed.settle(1)).is_ok();
        assert_ne!(inherits.join().unwrap(), acked, "settled and passed on");
        assert_eq!(entry.load_state().unsettled() == 0, acked);
    });
}
