//! Model checks: every interleaving of two or three threads, under the memory model, up to the
//! bound that `LOOM_MAX_PREEMPTIONS` sets. Each is named for the outcome that must not be.
//!
//! The ring is mostly as small as the protocol allows: 256 bytes, 16 sectors of one 8-byte message
//! each. What went before is done by one thread, before the others begin.

mod keeping;
mod sharing;

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::layout::{
    CONTROL, HEADER, Header, NO_POSITION, Part, SECTOR_START, SECTORS, Tables, in_sector,
};
use crate::sync::{AtomicU32, Ordering, fence};
use crate::wait::{Event, fence_before_sleep, tell_sleepers};

const CAPACITY: u64 = 256;
const TABLES: Tables = Tables { members: 2, subscriptions: 1, shares: 2 };
/// Messages that fill a lap; padding follows them.
const LAP: u64 = 15;
/// A ring whose sectors have room for a message and for another one like it, so that the writer takes
/// lines over for that.
const LARGE: u64 = 1024;
/// Words of a message that fills one of its sectors.
const SECTOR_WORDS: usize = 7;

fn new_ring() -> Ring {
    ring_of(CAPACITY)
}

fn ring_of(capacity: u64) -> Ring {
    let geometry = Geometry::tiny(capacity, TABLES);
    let control_size = geometry.control_size();
    let ring = Ring::new(
        Region::zeroed(Header::SIZE, Header::SIZE),
        Region::zeroed(control_size, control_size),
        Region::zeroed(usize::try_from(capacity).unwrap(), 0),
        geometry,
    );
    for sector in 1..SECTORS {
        ring.header(in_sector(sector, SECTOR_START.position)).store(NO_POSITION, Ordering::Relaxed);
    }
    ring.header(in_sector(0, SECTOR_START.sequence)).store(0, Ordering::Relaxed);
    ring
}

/// A message that tells its sequence.
fn payload(sequence: u64) -> [u8; 8] {
    (0xabcd_0000 + sequence).to_le_bytes()
}

fn hold_from(ring: &Ring, start: Start, index: MemberIndex) -> Result<Begin, StartError> {
    ring.begin_holding(start, |place| ring.join(index, Lag::Hold, place.position))
}

/// A message of so many bytes, without extensions.
fn plain(size: usize) -> Shape {
    Shape { size, ..Shape::default() }
}

fn send(writer: &mut Writer) -> Option<u64> {
    send_words(writer, 1)
}

/// Sends a message that tells its sequence so many times, as the producer does.
fn send_words(writer: &mut Writer, count: usize) -> Option<u64> {
    let (sequence, asked) = append_words(writer, count)?;
    if asked {
        writer.prepare(plain(8 * count));
    }
    Some(sequence)
}

/// The same, with nothing done ahead; and whether room had to be asked for.
fn append_words(writer: &mut Writer, count: usize) -> Option<(u64, bool)> {
    let payload = payload(writer.next_sequence()).repeat(count);
    let now = writer.try_append(Extensions::NONE, &payload);
    if let Some(sequence) = now.or_else(|| writer.try_append_last(Extensions::NONE, &payload)) {
        return Some((sequence, false));
    }
    let room = writer.reserve(plain(payload.len()));
    let append = || writer.try_append_last(Extensions::NONE, &payload).expect("reserved");
    room.then(append).map(|sequence| (sequence, true))
}

fn first_member(ring: &Ring) -> MemberIndex {
    ring.member_indexes().next().unwrap()
}

/// What a held reader's look came to, the payload read where it lies.
fn look_held(ring: &Ring, reader: &mut HeldReader) -> Option<u64> {
    let sequence = reader.track().run().sequence();
    match reader.look().expect("whole") {
        Read::Message(span) => {
            let words = (span.offset..span.offset + span.size).step_by(8);
            for word in words.map(|offset| ring.word_at(offset).load(Ordering::Relaxed)) {
                assert_eq!(word.to_le_bytes(), payload(sequence), "another frame's payload");
            }
            Some(sequence)
        }
        Read::Empty => None,
        other => panic!("{other:?}"),
    }
}

/// What a copying reader's look came to: a sequence and whether it was a message's, or nothing.
fn look_copied(reader: &mut CopyReader, buffer: &mut Buffer) -> Option<(u64, Read)> {
    let sequence = reader.track().run().sequence();
    let read = reader.look(buffer).expect("whole");
    match read {
        Read::Message(span) => {
            for word in buffer.words(span) {
                assert_eq!(word.to_le_bytes(), payload(sequence), "torn");
            }
            Some((sequence, read))
        }
        Read::Missed { from, .. } => {
            assert_eq!(from, sequence);
            Some((sequence, read))
        }
        Read::Empty => None,
        Read::Closed { .. } => panic!("nobody closed it"),
    }
}

#[test]
fn a_reader_never_sees_a_commit_before_the_payload() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let index = first_member(&ring);
        let begin = hold_from(&ring, Start::Oldest, index).unwrap();
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = HeldReader::new(reader_ring.clone(), index, begin);
            let mut next = 0;
            for _ in 0..3 {
                if let Some(sequence) = look_held(&reader_ring, &mut reader) {
                    assert_eq!(sequence, next);
                    next += 1;
                }
            }
        });
        send(&mut writer).unwrap();
        send(&mut writer).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_writer_never_overwrites_what_a_held_reader_reads() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let index = first_member(&ring);
        let begin = hold_from(&ring, Start::Oldest, index).unwrap();
        while send(&mut writer).is_some() {}
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = HeldReader::new(reader_ring.clone(), index, begin);
            for next in 0..2 {
                assert_eq!(look_held(&reader_ring, &mut reader), Some(next));
                reader.release();
            }
        });
        for _ in 0..2 {
            send(&mut writer);
        }
        reader.join().unwrap();
    });
}

#[test]
fn lines_that_are_taken_over_are_never_of_a_frame_that_is_held() {
    loom::model(|| {
        let ring = ring_of(LARGE);
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let index = first_member(&ring);
        let begin = hold_from(&ring, Start::Oldest, index).unwrap();
        let mut sent = 0;
        while append_words(&mut writer, SECTOR_WORDS).is_some() {
            sent += 1;
        }
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = HeldReader::new(reader_ring.clone(), index, begin);
            for next in 0..2 {
                assert_eq!(look_held(&reader_ring, &mut reader), Some(next));
                reader.release();
            }
            reader
        });
        // The last one that a sector has room for has none for another like it.
        for words in [1, 1, 2] {
            sent += u64::from(append_words(&mut writer, words).is_some());
        }
        let mut reader = reader.join().unwrap();
        let received = (2..).take_while(|&next| look_held(&ring, &mut reader) == Some(next));
        assert_eq!(2 + received.count() as u64, sent);
    });
}

#[test]
fn a_copy_of_a_frame_whose_line_is_taken_over_is_never_handed_over() {
    loom::model(|| {
        let ring = ring_of(LARGE);
        let mut writer = Writer::recover(ring.clone()).unwrap();
        while writer.place().position < LARGE {
            append_words(&mut writer, SECTOR_WORDS).unwrap();
        }
        let begin = ring.begin(Start::Oldest).unwrap();
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = CopyReader::new(reader_ring, None, begin);
            let found = look_copied(&mut reader, &mut Buffer::default());
            assert!(found.is_some(), "a line that was not to be written to");
        });
        // The last one that a sector has room for has none for another like it.
        for words in [1, 1, 2] {
            append_words(&mut writer, words).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_copy_of_an_overwritten_frame_is_never_handed_over() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        let begin = ring.begin(Start::Oldest).unwrap();
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = CopyReader::new(reader_ring, None, begin);
            let mut buffer = Buffer::default();
            look_copied(&mut reader, &mut buffer);
            look_copied(&mut reader, &mut buffer);
        });
        send(&mut writer).unwrap();
        send(&mut writer).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn the_short_way_of_a_copy_is_no_less_careful() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        // As after a look at a frame before: all of the lap may be followed.
        let mut begin = ring.begin(Start::Oldest).unwrap();
        begin.place = Place { position: 0, sequence: 0 };
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = CopyReader::new(reader_ring, None, begin);
            reader.trust_the_lap();
            let mut buffer = Buffer::default();
            if let Some(span) = reader.try_next(&mut buffer) {
                assert_eq!(buffer.words(span)[0].to_le_bytes(), payload(0), "torn");
            }
        });
        send(&mut writer).unwrap();
        send(&mut writer).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_joiner_never_holds_a_frame_that_is_overwritten() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        let joiner_ring = ring.clone();
        let joiner = thread::spawn(move || {
            let index = first_member(&joiner_ring);
            let begin = hold_from(&joiner_ring, Start::Oldest, index).unwrap();
            let mut reader = HeldReader::new(joiner_ring.clone(), index, begin);
            // A writer that is far ahead does not matter any more.
            assert_eq!(look_held(&joiner_ring, &mut reader), Some(begin.place.sequence));
        });
        for _ in 0..2 {
            send(&mut writer);
        }
        joiner.join().unwrap();
    });
}

#[test]
fn an_entry_of_the_index_never_mixes_two_boundaries() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        for _ in 0..LAP {
            send(&mut writer).unwrap();
        }
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            for place in [reader_ring.oldest().unwrap(), reader_ring.newest().unwrap()] {
                // Frames of 16 bytes, the last of each lap of 15 followed by as much padding.
                let (lap, offset) = (place.position / CAPACITY, place.position % CAPACITY);
                assert_eq!(place.sequence, lap * LAP + offset / 16, "{place:?}");
            }
        });
        send(&mut writer).unwrap();
        send(&mut writer).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_stream_never_ends_before_its_last_message() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let index = first_member(&ring);
        let begin = hold_from(&ring, Start::Oldest, index).unwrap();
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = HeldReader::new(reader_ring, index, begin);
            let mut received = 0;
            for _ in 0..3 {
                match reader.look().unwrap() {
                    Read::Message(_) => received += 1,
                    Read::Closed { .. } => {
                        assert_eq!(received, 1, "an end before the message");
                        break;
                    }
                    Read::Empty => {}
                    other @ Read::Missed { .. } => panic!("{other:?}"),
                }
            }
        });
        send(&mut writer).unwrap();
        writer.close();
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_never_notices_that_the_writer_changed() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let index = first_member(&ring);
        let begin = hold_from(&ring, Start::Oldest, index).unwrap();
        let reader_ring = ring.clone();
        let reader = thread::spawn(move || {
            let mut reader = HeldReader::new(reader_ring.clone(), index, begin);
            let mut next = 0;
            for _ in 0..3 {
                if let Some(sequence) = look_held(&reader_ring, &mut reader) {
                    assert_eq!(sequence, next);
                    next += 1;
                }
            }
        });
        let dying = thread::spawn(move || {
            send(&mut writer).unwrap();
            // Dies with a batch half written: everything but the first commit word.
            let mut staging = writer.stage();
            for _ in 0..2 {
                if !staging.try_append(&writer, Extensions::NONE, &[0xee; 8]) {
                    assert!(staging.reserve(&mut writer, plain(8)));
                    assert!(staging.try_append(&writer, Extensions::NONE, &[0xee; 8]));
                }
            }
        });
        // The kernel gives the lock of the dead to the next.
        dying.join().unwrap();
        let mut writer = Writer::recover(ring).unwrap();
        assert_eq!(send(&mut writer), Some(1));
        reader.join().unwrap();
    });
}

/// Also while the fence becomes the sleepers', or the producer's. Messages that are sent without one
/// stand for those whose fence is the sleepers' to have from the kernel; loom has no such barrier, so
/// a sleeper that would need it looks again.
#[test]
fn no_wakeup_of_a_consumer_is_lost() {
    // Whether it is the sleepers' at first, and after the first of so many messages.
    for (first, then, count) in
        [(false, false, 2), (true, false, 1), (true, false, 2), (false, true, 2)]
    {
        loom::model(move || {
            let ring = new_ring();
            ring.header(HEADER.barrier).store(first.into(), Ordering::Relaxed);
            let mut writer = Writer::recover(ring.clone()).unwrap();
            // Both have room: to ask for it takes a fence.
            assert!(writer.reserve(plain(2 * 16)));
            let index = first_member(&ring);
            let begin = hold_from(&ring, Start::Oldest, index).unwrap();
            let consumer_ring = ring.clone();
            let consumer = thread::spawn(move || {
                let mut reader = HeldReader::new(consumer_ring.clone(), index, begin);
                let event = Event::new(consumer_ring.control(CONTROL.data_event));
                let barrier = consumer_ring.header(HEADER.barrier);
                for next in 0..count {
                    // As `Reception::sleep`: nobody wakes by time here, so a lost call is a deadlock.
                    while reader.is_caught_up() {
                        let ticket = event.announce();
                        if !fence_before_sleep(barrier, || false) {
                            thread::yield_now();
                        } else if reader.is_caught_up() {
                            event.sleep(ticket, core::time::Duration::MAX);
                        }
                    }
                    assert_eq!(look_held(&consumer_ring, &mut reader), Some(next));
                }
            });
            let event = Event::new(ring.control(CONTROL.data_event));
            let mut send_and_call = |by_sleepers: bool| {
                send(&mut writer).unwrap();
                if !by_sleepers {
                    fence(Ordering::SeqCst);
                }
                if event.is_awaited() {
                    event.call();
                }
            };
            send_and_call(first);
            if then != first {
                tell_sleepers(ring.header(HEADER.barrier), event, then);
            }
            if count == 2 {
                send_and_call(then);
            }
            consumer.join().unwrap();
        });
    }
}

#[test]
fn no_interruption_of_a_sleeper_is_lost() {
    loom::model(|| {
        let ring = new_ring();
        let interrupted = Arc::new(AtomicU32::new(0));
        let (sleeper_ring, seen) = (ring.clone(), Arc::clone(&interrupted));
        let sleeper = thread::spawn(move || {
            let event = Event::new(sleeper_ring.control(CONTROL.data_event));
            // As `Reception::sleep`.
            while seen.load(Ordering::Relaxed) == 0 {
                let ticket = event.announce();
                fence(Ordering::SeqCst);
                if seen.load(Ordering::Relaxed) == 0 {
                    event.sleep(ticket, core::time::Duration::MAX);
                }
            }
        });
        // As `Interrupter::interrupt`.
        interrupted.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Event::new(ring.control(CONTROL.data_event)).call_anyway();
        sleeper.join().unwrap();
    });
}

#[test]
fn no_wakeup_of_a_producer_is_lost() {
    loom::model(|| {
        let ring = new_ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let index = first_member(&ring);
        let begin = hold_from(&ring, Start::Oldest, index).unwrap();
        while send(&mut writer).is_some() {}
        let consumer_ring = ring.clone();
        let consumer = thread::spawn(move || {
            let mut reader = HeldReader::new(consumer_ring.clone(), index, begin);
            let event = Event::new(consumer_ring.control(CONTROL.room_event));
            for next in 0..2 {
                assert_eq!(look_held(&consumer_ring, &mut reader), Some(next));
                reader.release();
                if reader.has_passed_sector() {
                    fence(Ordering::SeqCst);
                    if event.is_awaited() {
                        event.call();
                    }
                }
            }
        });
        let event = Event::new(ring.control(CONTROL.room_event));
        while !writer.has_room() {
            let ticket = event.announce();
            fence(Ordering::SeqCst);
            if !writer.has_room() {
                event.sleep(ticket, core::time::Duration::MAX);
            }
        }
        assert!(send(&mut writer).is_some());
        consumer.join().unwrap();
    });
}

#[test]
fn two_callers_and_a_sleeper_that_comes_back_lose_no_call() {
    loom::model(|| {
        let ring = new_ring();
        let work = Arc::new(loom::sync::atomic::AtomicU32::new(0));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (ring, work) = (ring.clone(), Arc::clone(&work));
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    fence(Ordering::SeqCst);
                    let event = Event::new(ring.control(CONTROL.room_event));
                    if event.is_awaited() {
                        event.call();
                    }
                })
            })
            .collect();
        let event = Event::new(ring.control(CONTROL.room_event));
        for wanted in 1..=2 {
            while work.load(Ordering::Relaxed) < wanted {
                let ticket = event.announce();
                fence(Ordering::SeqCst);
                if work.load(Ordering::Relaxed) < wanted {
                    event.sleep(ticket, core::time::Duration::MAX);
                }
            }
        }
        for caller in callers {
            caller.join().unwrap();
        }
    });
}
