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
            if send(&mut writer).is_none()
                && let Some(until) = writer.must_keep()
                && let Some(needed) = ring.lowest_spilling()
            {
                let start = ring.first_to_keep(needed).unwrap();
                ring.set_written(start.position);
                ring.set_written_from(start.position);
                keep(&ring, start, until);
            }
        }
        let place = joiner.join().unwrap();
        let floor = ring.granted_floor();
        let in_files = ring.written_from() <= place.position && ring.written() >= floor;
        assert!(place.position >= floor || in_files, "{place:?} is nowhere");
    });
}
