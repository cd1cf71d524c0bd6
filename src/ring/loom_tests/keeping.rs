//! What goes to files before it is overwritten.

use loom::thread;

use super::*;

/// As a historian does, reading what it would write; `false` if there was nothing.
fn keep(ring: &Ring, from: Place, until: u64) -> Place {
    let mut end = from;
    while end.position < until {
        let to = ring.follow(end, end.position + 1).expect("whole");
        if to == end {
            break;
        }
        if to.sequence > end.sequence {
            let word = ring.frame_word(end.position + 8).load(Ordering::Relaxed);
            assert_eq!(word.to_le_bytes(), payload(end.sequence), "overwritten");
        }
        end = to;
        ring.set_written(end.position);
    }
    end
}

#[test]
fn nothing_is_overwritten_that_the_historian_has_not_read() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap().keeping(Keeps::Everything);
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        let historian_ring = ring.clone();
        let historian = thread::spawn(move || {
            keep(&historian_ring, Place::default(), 32);
        });
        for _ in 0..2 {
            send(&mut writer);
        }
        historian.join().unwrap();
    });
}

/// Sends, or, where that would overwrite what somebody needs who spills, has that in the files.
fn send_or_keep(ring: &Ring, writer: &mut Writer) {
    if send(writer).is_none()
        && let Some(until) = writer.must_keep()
        && let Some(needed) = ring.lowest_spilling()
    {
        let start = ring.first_to_keep(needed).unwrap();
        ring.set_written(start.position);
        ring.set_written_from(start.position);
        keep(ring, start, until);
    }
}

#[test]
fn whoever_joins_to_spill_finds_it_in_the_ring_or_in_the_files() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap().keeping(Keeps::Lagging);
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        let joining_ring = ring.clone();
        let index = first_member(&ring);
        let joiner = thread::spawn(move || {
            let hold = |place: Place| joining_ring.join(index, Lag::Spill, place.position);
            joining_ring.begin_holding(Start::Oldest, hold).unwrap().place
        });
        for _ in 0..2 {
            send_or_keep(&ring, &mut writer);
        }
        let place = joiner.join().unwrap();
        let floor = ring.granted_floor();
        let in_files = ring.written_from() <= place.position && ring.written() >= floor;
        assert!(place.position >= floor || in_files, "{place:?} is nowhere");
    });
}

#[test]
fn what_a_group_that_spills_takes_is_in_the_ring_or_in_the_files() {
    let mut model = loom::model::Builder::new();
    // Every look at what is needed is one at all the shares.
    model.max_branches = 10_000;
    model.check(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap().keeping(Keeps::Lagging);
        let subscription = sharing::subscribe_with(&ring, Lag::Spill);
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        let (taking_ring, of) = (ring.clone(), subscription.clone());
        let taker = thread::spawn(move || {
            let ring = taking_ring;
            let share = ring.allot(sharing::member(&ring, 0), of.index()).unwrap();
            let place = match ring.take(&of, share, 1, false).expect("whole") {
                Take::Taken(extent, _) => {
                    let span = ring.find_in(&extent, 0);
                    let word = span.map(|span| ring.word_at(span.offset).load(Ordering::Relaxed));
                    if !ring.has_left(Some(Lag::Spill), extent.begin.position) {
                        let bytes = word.expect("a message was taken").to_le_bytes();
                        assert_eq!(bytes, payload(extent.begin.sequence), "torn");
                    }
                    extent.begin
                }
                Take::Behind(head) => head.place,
                other => panic!("{other:?}, though there are messages"),
            };
            if ring.has_left(Some(Lag::Spill), place.position) {
                let floor = ring.granted_floor();
                let in_files = ring.written_from() <= place.position && ring.written() >= floor;
                assert!(in_files, "{place:?} is nowhere");
            }
        });
        for _ in 0..2 {
            send_or_keep(&ring, &mut writer);
        }
        taker.join().unwrap();
    });
}
