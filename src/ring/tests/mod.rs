//! The protocol on plain memory, one thread: what it promises, and payloads and rings that are
//! made to mislead it.

pub(super) mod crash;
mod model;
mod sharing;

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::frame::{self, message_word, padding_word};
use super::*;
use crate::layout::{HEADER, Header, NO_POSITION, Part, SECTOR_START, SECTORS, Tables, in_sector};
use crate::sync::Ordering;

const CAPACITY: u64 = 1024;
/// How much larger a ring is whose sectors have several lines.
const LARGE: usize = 8;
const TABLES: Tables = Tables { members: 4, subscriptions: 2, shares: 12 };

/// The memory of a segment.
#[derive(Clone)]
struct Memory {
    header: Vec<u64>,
    control: Vec<u64>,
    frames: Vec<u64>,
    geometry: Geometry,
}

impl Memory {
    /// As a new segment's, but the first frame may begin anywhere.
    fn new(capacity: u64, begin: Place) -> Self {
        let geometry = Geometry::tiny(capacity, TABLES);
        let words = |size: usize| vec![0; size / 8];
        let mut memory = Self {
            header: words(Header::SIZE),
            control: words(geometry.control_size()),
            frames: words(usize::try_from(capacity).unwrap()),
            geometry,
        };
        let ring = memory.ring();
        for sector in 0..SECTORS {
            ring.header(in_sector(sector, SECTOR_START.position))
                .store(NO_POSITION, Ordering::Relaxed);
        }
        let sector_start = begin.position - begin.position % geometry.sector_size();
        ring.licence().store(sector_start + geometry.sector_size(), Ordering::Relaxed);
        ring.record(begin);
        memory
    }

    fn ring(&mut self) -> Ring {
        let region = |words: &mut Vec<u64>| {
            // SAFETY: the tests keep the memory, and leave its vectors as long as they are.
            unsafe { Region::new(words.as_mut_ptr().cast(), words.len() * 8) }
        };
        Ring::new(
            region(&mut self.header),
            region(&mut self.control),
            region(&mut self.frames),
            self.geometry,
        )
    }
}

const ORIGIN: Place = Place { position: 0, sequence: 0 };

fn member(ring: &Ring, index: usize) -> MemberIndex {
    ring.member_indexes().nth(index).unwrap()
}

fn hold(ring: &Ring, index: usize, start: Start) -> HeldReader {
    let index = member(ring, index);
    let begin = hold_from(ring, start, index).unwrap();
    HeldReader::new(ring.clone(), index, begin)
}

fn observe(ring: &Ring, start: Start) -> CopyReader {
    CopyReader::new(ring.clone(), None, ring.begin(start).unwrap())
}

fn hold_from(ring: &Ring, start: Start, index: MemberIndex) -> Result<Begin, StartError> {
    ring.begin_holding(start, |place| ring.join(index, Lag::Hold, place.position))
}

/// A message of so many bytes, without extensions.
fn plain(size: usize) -> Shape {
    Shape { size, ..Shape::default() }
}

fn plain_word(size: usize, sequence: u64) -> u64 {
    message_word(plain(size), sequence)
}

/// Sends as the producer does, without the waiting.
fn send(writer: &mut Writer, payload: &[u8]) -> Option<u64> {
    if let Some(sequence) = writer.try_append(Extensions::NONE, payload) {
        return Some(sequence);
    }
    if let Some(sequence) = writer.try_append_last(Extensions::NONE, payload) {
        return Some(sequence);
    }
    let shape = plain(payload.len());
    writer.reserve(shape).then(|| {
        let sequence = writer.try_append_last(Extensions::NONE, payload).expect("reserved");
        writer.prepare(shape);
        sequence
    })
}

/// Sends together, to the caches and past them by turns.
fn send_batch(writer: &mut Writer, payloads: &[Vec<u8>]) -> bool {
    writer.set_past_caches(writer.next_sequence().is_multiple_of(2));
    let mut staging = writer.stage();
    let room = append_all(writer, &mut staging, payloads);
    if room {
        staging.commit(writer);
    }
    room
}

/// Adds messages to a batch, whichever way they are to go; `false` if there is no room for all.
fn append_all(writer: &mut Writer, staging: &mut Staging, payloads: &[Vec<u8>]) -> bool {
    let way = staging.begin_many(writer);
    let mut payloads = payloads.iter();
    loop {
        let refused = match &way {
            Some(way) => payloads.find(|payload| {
                !staging.try_append_past_caches(writer, way, Extensions::NONE, payload)
            }),
            None => staging.try_append_all(writer, &mut payloads),
        };
        let Some(refused) = refused else { return true };
        if !staging.reserve(writer, plain(refused.len())) {
            return false;
        }
        assert!(staging.try_append(writer, Extensions::NONE, refused), "reserved");
    }
}

/// The next message that a held reader finds, if there is one.
fn receive(reader: &mut HeldReader) -> Option<Vec<u8>> {
    reader.release();
    let span = match reader.try_next() {
        Some(span) => span,
        None => match reader.look().unwrap() {
            Read::Message(span) => span,
            // What it missed before its beginning, told once.
            Read::Missed { .. } => return receive(reader),
            Read::Empty | Read::Closed { .. } => return None,
        },
    };
    Some(bytes(reader.track().run().base(), span))
}

fn bytes(base: *const u8, span: Span) -> Vec<u8> {
    let start = base.wrapping_add(span.offset);
    // SAFETY: the readers give spans within their memory, and nobody writes it meanwhile.
    unsafe { core::slice::from_raw_parts(start, span.size) }.to_vec()
}

#[test]
fn a_writer_that_waits_hears_of_every_sector_let_go() {
    for size in 0..=128 {
        let mut memory = Memory::new(CAPACITY, ORIGIN);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let mut reader = hold(&ring, 0, Start::Oldest);
        let (mut told, mut sent) = (0, 0);
        while sent < 200 {
            while send(&mut writer, &payload(sent, size)).is_some() {
                sent += 1;
            }
            loop {
                // As a consumer does.
                reader.release();
                let released = reader.track().position();
                let received = reader.try_next().is_some() || {
                    if reader.has_passed_sector() {
                        told = ring.sector_end(released) - ring.geometry().sector_size();
                    }
                    matches!(reader.look().unwrap(), Read::Message(_))
                };
                let sector = released - released % ring.geometry().sector_size();
                assert_eq!(told, sector, "size {size}, at {released}");
                if !received {
                    break;
                }
            }
        }
    }
}

/// Sequences and payloads.
type Messages = Vec<(u64, Vec<u8>)>;

/// Everything that a copying reader finds: messages with their sequences, and what it missed.
fn observe_all(reader: &mut CopyReader) -> (Messages, Vec<(u64, u64)>) {
    let mut buffer = Buffer::default();
    let (mut messages, mut missed) = (Messages::new(), Vec::new());
    loop {
        let sequence = reader.track().run().sequence();
        match reader.look(&mut buffer).unwrap() {
            Read::Message(span) => messages.push((sequence, bytes(buffer.base(), span))),
            Read::Missed { from, to } => missed.push((from, to)),
            Read::Empty | Read::Closed { .. } => return (messages, missed),
        }
    }
}

/// A payload that tells its sequence, as far as there is room.
fn payload(sequence: u64, size: usize) -> Vec<u8> {
    sequence.to_le_bytes().iter().copied().cycle().take(size).collect()
}

#[test]
fn every_size_arrives_as_it_was_sent() {
    for capacity in [256, CAPACITY, 1 << 16] {
        let mut memory = Memory::new(capacity, ORIGIN);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let mut reader = hold(&ring, 0, Start::Oldest);
        let size_max = usize::try_from(ring.geometry().message_size_max()).unwrap();
        for size in (0..=size_max.min(300)).chain([size_max]).cycle().take(2000) {
            let sequence = writer.next_sequence();
            assert_eq!(send(&mut writer, &payload(sequence, size)), Some(sequence));
            assert_eq!(receive(&mut reader), Some(payload(sequence, size)), "{size} bytes");
            assert_eq!(receive(&mut reader), None);
        }
    }
}

#[test]
fn keys_arrive_beside_their_payloads_and_plain_messages_between_them() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut held = hold(&ring, 0, Start::Oldest);
    let mut copying = observe(&ring, Start::Oldest);
    let mut buffer = Buffer::default();
    for sequence in 0..2000_u64 {
        let payload = payload(sequence, (sequence % 100) as usize);
        // Runs of each kind, so that guesses are right, and changes, so that they are wrong.
        let key = ((sequence / 5) % 2 == 0).then_some(sequence ^ 0x5555);
        let extensions = Extensions { key, ..Extensions::NONE };
        let shape = Shape { extensions: extensions.set(), size: payload.len() };
        if sequence % 7 == 0 {
            assert!(writer.reserve(shape));
            let offset = writer.try_claim(shape).unwrap();
            let to = ring.payloads().wrapping_add(offset);
            // SAFETY: the claim is for as many bytes there.
            unsafe { to.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
            writer.commit_claim(extensions, payload.len());
        } else if writer.try_append(extensions, &payload).is_none() {
            assert!(writer.reserve(shape));
            writer.try_append_last(extensions, &payload).unwrap();
        }
        let key_at = |base: *const u8, span: Span| {
            let word = base.wrapping_add(span.offset - span.extensions.distance(ExtensionSet::KEY));
            // SAFETY: the span says that the word is there.
            span.extensions
                .contains(ExtensionSet::KEY)
                .then(|| u64::from_le_bytes(unsafe { word.cast::<[u8; 8]>().read() }))
        };
        held.release();
        let span = held.try_next().map_or_else(|| held.look().unwrap(), Read::Message);
        let Read::Message(span) = span else { panic!("{span:?}") };
        assert_eq!(
            (bytes(ring.payloads(), span), key_at(ring.payloads(), span)),
            (payload.clone(), key)
        );
        let span = copying.try_next(&mut buffer);
        let span = span.map_or_else(|| copying.look(&mut buffer).unwrap(), Read::Message);
        let Read::Message(span) = span else { panic!("{span:?}") };
        assert_eq!((bytes(buffer.base(), span), key_at(buffer.base(), span)), (payload, key));
    }
}

#[test]
fn what_is_sent_once_a_newcomer_can_be_seen_is_its_own() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    send(&mut writer, b"before").unwrap();
    let index = member(&ring, 0);
    let mut sent = 1;
    let begin = ring.begin_holding(Start::Newest, |place| {
        let floor = ring.join(index, Lag::Hold, place.position);
        send(&mut writer, &[sent]).unwrap();
        sent += 1;
        floor
    });
    let mut reader = HeldReader::new(ring.clone(), index, begin.unwrap());
    assert_eq!(receive(&mut reader).unwrap(), [1]);
}

#[test]
fn a_held_reader_stops_the_writer_before_its_frame_is_overwritten() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut reader = hold(&ring, 0, Start::Oldest);
    let mut sent = VecDeque::new();
    for round in 0..500_u64 {
        while let Some(sequence) = {
            let next = writer.next_sequence();
            send(&mut writer, &payload(next, 5 + (next % 40) as usize))
        } {
            sent.push_back(payload(sequence, 5 + (sequence % 40) as usize));
        }
        assert!(!writer.has_room());
        assert_eq!(writer.holding_members().count(), 1);
        for _ in 0..=round % 7 {
            assert_eq!(receive(&mut reader), sent.pop_front());
        }
    }
}

#[test]
fn what_a_message_would_wait_for_is_done_behind_the_one_before() {
    let mut memory = Memory::new(1 << 16, ORIGIN);
    let ring = memory.ring();
    let sector_size = ring.geometry().sector_size();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    send(&mut writer, &[0; 50]).unwrap();
    for _ in 0..5_000 {
        let place = writer.place();
        let licence = ring.licence().load(Ordering::Relaxed);
        let end = place.position + plain(50).frame_size() as u64 + 8;
        assert_eq!(licence, end.next_multiple_of(sector_size), "asked for, and no more");
        assert!(ring.sector_end(ring.newest().unwrap().position) > place.position, "recorded");
        send(&mut writer, &[0; 50]).unwrap();
    }
}

#[test]
fn nobody_holds_the_writer_before_a_message_waits() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let _reader = hold(&ring, 0, Start::Oldest);
    while send(&mut writer, &[0; 40]).is_some() {
        assert_eq!(writer.holding_members().count(), 0);
    }
    assert_eq!(writer.holding_members().count(), 1);
}

#[test]
fn a_reader_that_stays_behind_misses_exactly_what_was_overwritten() {
    // Lapped at every distance: the reader stops at each place of the first laps in turn.
    for stop in 0..150 {
        let mut memory = Memory::new(CAPACITY, ORIGIN);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let mut reader = observe(&ring, Start::Oldest);
        let mut expected = 0;
        for count in [stop, 200, 3, 60] {
            for _ in 0..count {
                let sequence = writer.next_sequence();
                send(&mut writer, &payload(sequence, 8 + (sequence % 50) as usize)).unwrap();
            }
            let oldest = ring.oldest().unwrap().sequence;
            let (messages, missed) = observe_all(&mut reader);
            if expected < oldest {
                assert_eq!(missed, [(expected, oldest)], "stop {stop}");
                expected = oldest;
            } else {
                assert_eq!(missed, []);
            }
            for (sequence, bytes) in messages {
                assert_eq!(sequence, expected);
                assert_eq!(bytes, payload(sequence, 8 + (sequence % 50) as usize));
                expected += 1;
            }
            assert_eq!(expected, writer.next_sequence());
        }
    }
}

#[test]
fn the_oldest_message_is_one_sector_at_most_after_the_floor() {
    let mut memory = Memory::new(1 << 16, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    for sequence in 0..20_000 {
        send(&mut writer, &payload(sequence, (sequence % 90) as usize)).unwrap();
        let oldest = ring.oldest().unwrap();
        let floor = ring.floor(ring.licence().load(Ordering::Relaxed));
        assert!((floor..floor + ring.geometry().sector_size()).contains(&oldest.position));
    }
}

#[test]
fn the_index_knows_every_sector_however_it_was_passed() {
    // Batches pass sectors unseen, claims reserve room that others use, and the dead leave the
    // recording to the next writer.
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    for round in 0..600_u64 {
        match round % 4 {
            0 => {
                let batch: Vec<_> = (0..5).map(|number| payload(number, 32)).collect();
                assert!(send_batch(&mut writer, &batch));
            }
            1 => {
                assert!(writer.reserve(plain(128)) && writer.try_claim(plain(128)).is_some());
                writer.confine();
                writer.commit_claim(Extensions::NONE, 8);
                for _ in 0..3 {
                    send(&mut writer, &[1; 8]).unwrap();
                }
            }
            2 => {
                assert!(writer.reserve(plain(128)) && writer.try_claim(plain(128)).is_some());
                writer.confine();
                for _ in 0..3 {
                    send(&mut writer, &[2; 8]).unwrap();
                }
            }
            _ => {
                // Dies with a batch committed and not recorded.
                let batch: Vec<_> = (0..5).map(|number| payload(number, 32)).collect();
                writer.set_past_caches(round % 8 < 4);
                let mut staging = writer.stage();
                assert!(append_all(&mut writer, &mut staging, &batch));
                crash::after(Some(2));
                let died = catch_unwind(AssertUnwindSafe(|| staging.commit(&mut writer)));
                crash::after(None);
                assert!(died.is_err_and(|panic| panic.is::<crash::Died>()) || round < 8);
                writer = Writer::recover(ring.clone()).unwrap();
            }
        }
        assert_index_is_complete(&ring, writer.place());
    }
}

/// Each sector between the floor and the end in which a message begins has its first boundary in
/// the index.
fn assert_index_is_complete(ring: &Ring, end: Place) {
    let mut place = ring.oldest().unwrap();
    let mut recorded_until = place.position;
    while place != end {
        let frame = ring.look(place).frame().unwrap();
        if let frame::Frame::Message { .. } = frame
            && place.position >= recorded_until
        {
            let sector = ring.offset(place.position) / (ring.frames.size() / SECTORS);
            let entry = ring.header(in_sector(sector, SECTOR_START.position));
            assert_eq!(entry.load(Ordering::Relaxed), place.position);
            recorded_until = ring.sector_end(place.position);
        }
        place = frame.next(place).unwrap_or_else(|| panic!("a hole at {place:?}"));
    }
}

#[test]
fn a_reader_looks_up_once_in_each_sector_at_least() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut reader = hold(&ring, 0, Start::Oldest);
    let mut passed = 0;
    for sequence in 0..2_000 {
        send(&mut writer, &payload(sequence, (sequence % 30) as usize)).unwrap();
        reader.release();
        if reader.try_next().is_none() {
            passed += u64::from(reader.has_passed_sector());
            assert!(matches!(reader.look(), Ok(Read::Message(_))));
        }
    }
    reader.release();
    passed += u64::from(reader.has_passed_sector());
    assert_eq!(passed, reader.track().position() / ring.geometry().sector_size());
}

#[test]
fn who_skips_holds_nobody() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    ring.join(member(&ring, 1), Lag::Skip, 0);
    for sequence in 0..500 {
        assert_eq!(send(&mut writer, &payload(sequence, 20)), Some(sequence));
    }
    assert_eq!(ring.active_members().count(), 1);
    assert_eq!(writer.holding_members().count(), 0);
}

#[test]
fn an_end_elsewhere_is_no_end_here() {
    // The look at `closed` comes after that at the word: the stream may have gone on between.
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut reader = hold(&ring, 0, Start::Oldest);
    let end = Read::Closed { end: 0 };
    for (closed, expected) in [(1, end), (25, Read::Empty), (0, Read::Empty)] {
        ring.header(HEADER.closed).store(closed, Ordering::Relaxed);
        assert_eq!(reader.look(), Ok(expected));
    }
}

#[test]
fn a_frame_beyond_the_licence_is_corrupt_on_every_way() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    for sequence in 0..3 {
        send(&mut writer, &payload(sequence, 8)).unwrap();
    }
    // Two frames of 16 bytes and the word after them.
    ring.licence().store(40, Ordering::Relaxed);
    let mut held = hold(&ring, 0, Start::Oldest);
    let mut observer = observe(&ring, Start::Oldest);
    let mut buffer = Buffer::default();
    for _ in 0..2 {
        assert!(held.try_next().is_some() || matches!(held.look(), Ok(Read::Message(_))));
        assert!(matches!(observer.look(&mut buffer), Ok(Read::Message(_))));
    }
    assert_eq!(held.try_next(), None);
    assert!(held.look().is_err());
    assert_eq!(observer.try_next(&mut buffer), None);
    assert!(observer.look(&mut buffer).is_err());
    assert!(Writer::recover(ring).is_err());
}

#[test]
fn no_word_but_the_one_due_is_taken_for_a_message() {
    let due = plain_word(0, 0);
    let size_max = CAPACITY / 8;
    for word in [due - 1, due - 8, due - 16, 1, due + size_max + 1, due + (1 << 32), u64::MAX] {
        let mut memory = Memory::new(CAPACITY, ORIGIN);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        send(&mut writer, &[]).unwrap();
        let mut held = hold(&ring, 0, Start::Oldest);
        let mut observer = observe(&ring, Start::Oldest);
        let mut buffer = Buffer::default();
        // The short way is open.
        assert!(matches!(held.look(), Ok(Read::Message(_))));
        assert!(matches!(observer.look(&mut buffer), Ok(Read::Message(_))));
        ring.word_at(8).store(word.wrapping_add(1 << 36), Ordering::Relaxed);
        let corrupt = Corrupt { position: 8, found: word.wrapping_add(1 << 36) };
        assert_eq!(held.try_next(), None, "{word:#x}");
        assert_eq!(held.look(), Err(corrupt));
        assert_eq!(observer.try_next(&mut buffer), None, "{word:#x}");
        assert_eq!(observer.look(&mut buffer), Err(corrupt));
    }
}

#[test]
fn an_entry_of_the_index_that_cannot_be_is_passed_over() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    for sequence in 0..20 {
        send(&mut writer, &payload(sequence, 8)).unwrap();
    }
    let newest = ring.newest().unwrap();
    for position in [1 << 61, u64::MAX, 5 * 1024 + 960, newest.position + 1] {
        ring.header(in_sector(15, SECTOR_START.position)).store(position, Ordering::Relaxed);
        assert_eq!(ring.newest(), Ok(newest), "{position}");
    }
    for sector in 0..SECTORS {
        ring.header(in_sector(sector, SECTOR_START.position)).store(NO_POSITION, Ordering::Relaxed);
    }
    assert!(ring.newest().is_err());
    assert!(ring.begin(Start::Newest).is_err());
}

#[test]
fn every_start_begins_where_it_says() {
    let mut memory = Memory::new(1 << 16, Place { position: 0, sequence: 100 });
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let begin = |start| ring.begin(start);
    let sequence_of = |start| begin(start).map(|begin| begin.place.sequence);
    assert_eq!(sequence_of(Start::Oldest), Ok(100));
    assert_eq!(sequence_of(Start::Newest), Ok(100));
    assert_eq!(sequence_of(Start::Last(5)), Ok(100));
    assert_eq!(sequence_of(Start::Sequence(100)), Ok(100));
    assert_eq!(begin(Start::Sequence(101)), Err(StartError::Ahead { asked: 101, next: 100 }));

    for _ in 0..5_000 {
        let sequence = writer.next_sequence();
        send(&mut writer, &payload(sequence, (sequence % 70) as usize)).unwrap();
    }
    let next = writer.next_sequence();
    let oldest = sequence_of(Start::Oldest).unwrap();
    assert!(oldest > 100 && oldest < next);
    assert_eq!(sequence_of(Start::Newest), Ok(next));
    for sequence in oldest..next {
        assert_eq!(
            begin(Start::Sequence(sequence)).map(|begin| (begin.place.sequence, begin.missed_from)),
            Ok((sequence, None))
        );
        assert_eq!(sequence_of(Start::Last(next - sequence)), Ok(sequence));
    }
    let gone = begin(Start::Sequence(oldest - 1)).unwrap();
    assert_eq!((gone.place.sequence, gone.missed_from), (oldest, Some(oldest - 1)));
    assert_eq!(sequence_of(Start::Last(u64::MAX)), Ok(oldest));
    assert_eq!(begin(Start::Sequence(next + 1)), Err(StartError::Ahead { asked: next + 1, next }));
}

#[test]
fn a_joiner_holds_what_it_begins_with() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    while writer.next_sequence() < 500 {
        let sequence = writer.next_sequence();
        send(&mut writer, &payload(sequence, 20)).unwrap();
    }
    let mut reader = hold(&ring, 2, Start::Oldest);
    let first = reader.track().run().sequence();
    loop {
        let sequence = writer.next_sequence();
        if send(&mut writer, &payload(sequence, 20)).is_none() {
            break;
        }
    }
    for sequence in first..writer.next_sequence() {
        assert_eq!(receive(&mut reader), Some(payload(sequence, 20)));
    }
    ring.leave(member(&ring, 2));
    assert!(writer.has_room());
}

#[test]
fn a_closed_stream_says_so_behind_its_last_message_and_can_go_on() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut reader = hold(&ring, 0, Start::Oldest);
    send(&mut writer, b"last").unwrap();
    writer.close();
    let end = writer.place().position;
    assert_eq!(receive(&mut reader), Some(b"last".to_vec()));
    assert_eq!(reader.look(), Ok(Read::Closed { end }));
    let mut late = hold(&ring, 1, Start::Newest);
    assert_eq!(late.look(), Ok(Read::Closed { end }));

    let mut writer = Writer::recover(ring.clone()).unwrap();
    writer.reopen();
    assert_eq!(reader.look(), Ok(Read::Empty));
    assert_eq!(send(&mut writer, b"more"), Some(1));
    assert_eq!(receive(&mut reader), Some(b"more".to_vec()));
    assert_eq!(receive(&mut late), Some(b"more".to_vec()));
}

#[test]
fn sequences_go_on_through_every_wrap_of_their_low_bits() {
    for wrap in [1 << 28, 1 << 32, 1 << 56, (1 << 62) - 100] {
        let begin = Place { position: (1 << 40) + 8 * 77, sequence: wrap - 50 };
        let mut memory = Memory::new(CAPACITY, begin);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let mut held = hold(&ring, 0, Start::Oldest);
        let mut observer = observe(&ring, Start::Oldest);
        for sequence in wrap - 50..wrap + 40 {
            assert_eq!(send(&mut writer, &payload(sequence, 30)), Some(sequence));
            assert_eq!(receive(&mut held), Some(payload(sequence, 30)));
            assert_eq!(
                observe_all(&mut observer),
                (vec![(sequence, payload(sequence, 30))], vec![])
            );
            assert_eq!(ring.begin(Start::Last(1)).unwrap().place.sequence, sequence);
        }
        assert_eq!(Writer::recover(ring).unwrap().next_sequence(), wrap + 40);
    }
}

#[test]
fn payloads_that_imitate_frames_are_payloads() {
    // Every word of every payload is the commit word of a message that is due soon, for each
    // size in turn: whatever is read out of step finds a plausible frame.
    for size in (0..=128).step_by(8) {
        let mut memory = Memory::new(CAPACITY, ORIGIN);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        let mut held = hold(&ring, 0, Start::Oldest);
        let mut observer = observe(&ring, Start::Oldest);
        for sequence in 0..400 {
            let lure: Vec<u8> = (0..size / 8)
                .flat_map(|word| {
                    match word % 3 {
                        0 => plain_word(size, sequence + 1),
                        1 => plain_word(8, sequence + word as u64),
                        _ => padding_word(size, sequence + 1),
                    }
                    .to_le_bytes()
                })
                .collect();
            send(&mut writer, &lure).unwrap();
            if sequence % 3 == 0 {
                // Dead writers' leavings, too.
                assert!(writer.reserve(plain(size)) && writer.try_claim(plain(size)).is_some());
                writer = Writer::recover(ring.clone()).unwrap();
            }
            assert_eq!(receive(&mut held), Some(lure.clone()));
            assert_eq!(receive(&mut held), None);
            assert_eq!(observe_all(&mut observer), (vec![(sequence, lure)], vec![]));
        }
    }
}

#[test]
fn a_send_takes_over_the_lines_of_the_next_message_and_touches_no_more() {
    const NOBODYS: u64 = 0xa5a5_a5a5_a5a5_a5a5;
    let mut memory = Memory::new(256 << 10, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut held = hold(&ring, 0, Start::Oldest);
    let words = |range: Range<usize>| range.step_by(8).map(|offset| ring.word_at(offset));
    for (number, is_stream) in (0..2000).zip([false, true].into_iter().cycle()) {
        let size = [0, 8, 64, 65, 128, 200, 256, 1000, 4096, 4200, 9000][number % 11];
        writer.set_stream(is_stream);
        let begin = ring.offset(writer.place().position);
        let (end, next_end) =
            (begin + plain(size).frame_size(), begin + 2 * plain(size).frame_size());
        let lap_end = ring.frames.size();
        let message = payload(number as u64, size);
        words((end + 8).min(lap_end)..lap_end)
            .for_each(|word| word.store(NOBODYS, Ordering::Relaxed));
        if writer.try_append(Extensions::NONE, &message).is_some() {
            let is_touched = |word: &AtomicU64| word.load(Ordering::Relaxed) != NOBODYS;
            let is_line_touched = |line: usize| words(line.max(end)..line + 64).any(is_touched);
            let frame_size = next_end - end;
            if frame_size <= 128 || (!is_stream && size <= 4096) {
                let mut lines = (end - end % 64..=next_end).step_by(64);
                let missed = lines.find(|&line| !is_line_touched(line));
                assert_eq!(missed, None, "{size} B from {begin}");
            }
            assert!(!words(next_end + 8..lap_end).any(is_touched), "{size} B from {begin}");
        } else {
            send(&mut writer, &message).unwrap();
        }
        assert_eq!(receive(&mut held), Some(message));
        assert_eq!(receive(&mut held), None);
    }
}

#[test]
fn a_batch_is_there_as_a_whole_or_not_at_all() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut reader = hold(&ring, 0, Start::Oldest);
    for round in 0..200 {
        let first = writer.next_sequence();
        let batch: Vec<_> = (first..first + 4).map(|sequence| payload(sequence, 30)).collect();
        writer.set_past_caches(round % 2 == 0);
        let mut staging = writer.stage();
        for payloads in batch.chunks(1 + round % 3) {
            assert!(append_all(&mut writer, &mut staging, payloads));
            assert_eq!(receive(&mut reader), None, "round {round}");
        }
        if round % 3 == 0 {
            // Dropped: the next batch has the same sequences.
            continue;
        }
        staging.commit(&mut writer);
        for payload in &batch {
            assert_eq!(receive(&mut reader).as_ref(), Some(payload));
        }
    }
}

#[test]
fn a_forgotten_claim_or_batch_never_happened() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    let mut writer = Writer::recover(ring.clone()).unwrap();
    let mut reader = hold(&ring, 0, Start::Oldest);
    for sequence in 0..500 {
        // Room for a large message was made, and is used by small ones. What was written there
        // meanwhile is no commit word, also where one would follow them.
        assert!(writer.reserve(plain(128)));
        if sequence % 3 != 0 {
            let offset = writer.try_claim(plain(128)).unwrap();
            // SAFETY: what was claimed.
            unsafe { ring.payloads().wrapping_add(offset).write_bytes(0xdd, 128) };
        }
        if sequence % 3 != 1 {
            writer.set_past_caches(sequence % 2 == 0);
            let mut staging = writer.stage();
            assert!(append_all(&mut writer, &mut staging, &[vec![0xee; 100]]));
            std::mem::forget(staging);
        }
        assert_eq!(send(&mut writer, &payload(sequence, 16)), Some(sequence));
        assert_eq!(receive(&mut reader), Some(payload(sequence, 16)));
        assert_eq!(receive(&mut reader), None);
        ring.oldest().unwrap();
    }
}

#[test]
fn a_sync_does_not_undo_one_that_has_failed() {
    let mut memory = Memory::new(CAPACITY, ORIGIN);
    let ring = memory.ring();
    assert!(ring.begin_sync() && ring.is_sync_under_way());
    ring.end_sync();
    assert!(!ring.is_sync_under_way() && ring.begin_sync());
    ring.set_journal_failed();
    ring.end_sync();
    assert!(!ring.begin_sync());
    ring.end_sync();
    assert!(ring.has_journal_failed());
}
