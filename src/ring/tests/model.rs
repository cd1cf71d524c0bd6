//! The ring against a plain queue, and against contents that no writer writes.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Claim { size: usize, used: Option<usize> },
    Batch { sizes: Vec<usize>, commit: bool, past_caches: bool },
    Join { index: usize, start: ModelStart },
    Leave(usize),
    Receive { index: usize, count: usize },
    ReceiveBatch { index: usize, count: usize },
    Observe(ModelStart),
    TakeOver,
}

#[derive(Clone, Copy, Debug)]
enum ModelStart {
    Oldest,
    Newest,
    Last(u64),
    /// So many sequences before the next one.
    Before(u64),
}

fn any_start() -> impl Strategy<Value = ModelStart> {
    prop_oneof![
        Just(ModelStart::Oldest),
        Just(ModelStart::Newest),
        (0_u64..60).prop_map(ModelStart::Last),
        (0_u64..60).prop_map(ModelStart::Before),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0_usize..40, 1 => 0_usize..=128];
    prop_oneof![
        8 => size.clone().prop_map(Step::Send),
        2 => (size.clone(), proptest::option::of(0_usize..=128))
            .prop_map(|(size, used)| Step::Claim { size, used: used.map(|used| used.min(size)) }),
        2 => (proptest::collection::vec(0_usize..40, 0..6), any::<bool>(), any::<bool>())
            .prop_map(|(sizes, commit, past_caches)| Step::Batch { sizes, commit, past_caches }),
        1 => (0_usize..3, any_start()).prop_map(|(index, start)| Step::Join { index, start }),
        1 => (0_usize..3).prop_map(Step::Leave),
        6 => (0_usize..3, 0_usize..20)
            .prop_map(|(index, count)| Step::Receive { index, count }),
        2 => (0_usize..3, 1_usize..20)
            .prop_map(|(index, count)| Step::ReceiveBatch { index, count }),
        1 => any_start().prop_map(Step::Observe),
        1 => Just(Step::TakeOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done, each reader receives all messages from its beginning on, as they were
    /// sent; a reader that is not held for is told what it misses.
    #[test]
    fn the_ring_is_a_queue(
        first in prop_oneof![Just(0_u64), Just((1 << 28) - 20), Just((1 << 32) - 20)],
        scale in prop_oneof![Just(1), Just(LARGE)],
        steps in proptest::collection::vec(any_step(), 1..200),
    ) {
        let capacity = CAPACITY * scale as u64;
        let mut memory = Memory::new(capacity, Place { position: 0, sequence: first });
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        // The model: every message ever sent, and where each reader is.
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let message = |sequence: u64, size: usize| payload(sequence, size);
        let mut readers: [Option<HeldReader>; 3] = [None, None, None];
        let mut observer = observe(&ring, Start::Newest);
        let mut observed = first;
        let at = |sequence: u64| usize::try_from(sequence - first).unwrap();

        for step in steps {
            let next = writer.next_sequence();
            prop_assert_eq!(at(next), sent.len());
            let start = |start| match start {
                ModelStart::Oldest => Start::Oldest,
                ModelStart::Newest => Start::Newest,
                ModelStart::Last(count) => Start::Last(count),
                ModelStart::Before(count) => Start::Sequence((next - count.min(next)).max(first)),
            };
            match step {
                Step::Send(size) => {
                    let bytes = message(next, size * scale);
                    if send(&mut writer, &bytes).is_some() {
                        sent.push(bytes);
                    }
                }
                Step::Claim { size, used } => {
                    let (size, used) = (size * scale, used.map(|used| used * scale));
                    if writer.reserve(plain(size)) {
                        let offset = writer.try_claim(plain(size)).unwrap();
                        writer.confine();
                        if let Some(used) = used {
                            let bytes = message(next, used);
                            let to = writer.ring().payloads().wrapping_add(offset);
                            // SAFETY: the claim is for at least as many bytes there.
                            unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                            prop_assert_eq!(writer.commit_claim(Extensions::NONE, used), next);
                            sent.push(bytes);
                        }
                    }
                }
                Step::Batch { sizes, commit, past_caches } => {
                    writer.set_past_caches(past_caches);
                    let sizes = sizes.iter().map(|size| size * scale).zip(next..);
                    let batch: Vec<_> = sizes.map(|(size, sequence)| message(sequence, size)).collect();
                    let mut staging = writer.stage();
                    let room = append_all(&mut writer, &mut staging, &batch);
                    if room && commit {
                        staging.commit(&mut writer);
                        sent.extend(batch);
                    }
                }
                Step::Join { index, start: model } => {
                    if readers[index].is_none() {
                        let reader = hold(&ring, index, start(model));
                        let begin = reader.track().run().sequence();
                        let oldest = ring.oldest().unwrap().sequence;
                        match model {
                            ModelStart::Oldest => prop_assert!(begin >= oldest),
                            ModelStart::Newest => prop_assert_eq!(begin, next),
                            ModelStart::Last(count) | ModelStart::Before(count) => prop_assert_eq!(
                                begin,
                                (next - count.min(next)).max(first).max(oldest)
                            ),
                        }
                        readers[index] = Some(reader);
                    }
                }
                Step::Leave(index) => {
                    if readers[index].take().is_some() {
                        ring.leave(member(&ring, index));
                    }
                }
                Step::Receive { index, count } => {
                    if let Some(reader) = &mut readers[index] {
                        for _ in 0..count {
                            let sequence = reader.track().run().sequence();
                            let found = receive(reader);
                            prop_assert_eq!(found.as_ref(), sent.get(at(sequence)));
                        }
                    }
                }
                Step::ReceiveBatch { index, count } => {
                    if let Some(reader) = &mut readers[index] {
                        reader.release();
                        for _ in 0..count {
                            let sequence = reader.track().run().sequence();
                            let Some(span) = reader.try_next() else { break };
                            let found = bytes(reader.track().run().base(), span);
                            prop_assert_eq!(Some(&found), sent.get(at(sequence)));
                        }
                    }
                }
                Step::Observe(model) => {
                    // What it had not seen yet, then a new beginning.
                    let (messages, missed) = observe_all(&mut observer);
                    for (from, to) in missed {
                        prop_assert_eq!(from, observed);
                        observed = to;
                    }
                    for (sequence, bytes) in messages {
                        prop_assert_eq!(sequence, observed);
                        prop_assert_eq!(&bytes, &sent[at(sequence)]);
                        observed += 1;
                    }
                    prop_assert_eq!(observed, next);
                    observer = observe(&ring, start(model));
                    observed = observer.track().run().sequence();
                    if let ModelStart::Before(count) = model {
                        observed = (next - count.min(next)).max(first);
                    }
                }
                Step::TakeOver => {
                    let place = writer.place();
                    writer = Writer::recover(ring.clone()).unwrap();
                    prop_assert_eq!(writer.place(), place);
                }
            }
            // NEWEST.
            ring.newest().unwrap();
        }
    }

    /// A ring of any content gives messages, or nothing, or says that it is corrupt; it does not
    /// lead a reader out of the ring or round for ever.
    #[test]
    fn no_content_of_the_ring_misleads_a_reader(
        words in proptest::collection::vec((0_usize..128, hostile_word()), 0..60),
        index in proptest::collection::vec((0_usize..SECTORS, 0_u64..3000, 0_u64..400), 0..6),
        licence in prop_oneof![4 => 0_u64..4096, 1 => any::<u64>()],
        closed in 0_u64..3000,
    ) {
        let mut memory = Memory::new(CAPACITY, ORIGIN);
        let ring = memory.ring();
        let mut writer = Writer::recover(ring.clone()).unwrap();
        for sequence in 0..70 {
            send(&mut writer, &payload(sequence, 16)).unwrap();
        }
        for (word, value) in words {
            ring.word_at(word * 8).store(value, Ordering::Relaxed);
        }
        for (sector, position, sequence) in index {
            ring.header(in_sector(sector, SECTOR_START.position)).store(position, Ordering::Relaxed);
            ring.header(in_sector(sector, SECTOR_START.sequence)).store(sequence, Ordering::Relaxed);
        }
        ring.licence().store(licence, Ordering::Relaxed);
        ring.header(HEADER.closed).store(closed, Ordering::Relaxed);

        for start in [Start::Oldest, Start::Newest, Start::Last(10), Start::Sequence(60)] {
            if let Ok(begin) = ring.begin(start) {
                let mut reader = CopyReader::new(ring.clone(), None, begin);
                let mut buffer = Buffer::default();
                // Each message is 8 bytes at least, and a lap repeats none.
                let looks = (0..CAPACITY).take_while(|_| {
                    matches!(reader.look(&mut buffer), Ok(Read::Message(_) | Read::Missed { .. }))
                });
                prop_assert!(looks.count() < 300);
            }
            let index = member(&ring, 0);
            if let Ok(begin) = hold_from(&ring, start, index) {
                let mut reader = HeldReader::new(ring.clone(), index, begin);
                let looks = (0..CAPACITY).take_while(|_| match reader.try_next() {
                    Some(span) => {
                        let payload = bytes(reader.track().run().base(), span);
                        payload.len() <= 128
                    }
                    None => matches!(reader.look(), Ok(Read::Message(_) | Read::Missed { .. })),
                });
                prop_assert!(looks.count() < 300);
            }
            ring.leave(index);
        }
        let _ = ring.end();
        let _ = Writer::recover(ring);
    }
}

fn hostile_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0_usize..300, 0_u64..100).prop_map(|(size, sequence)| plain_word(size, sequence)),
        (0_usize..1100, 0_u64..100).prop_map(|(size, sequence)| padding_word(size, sequence)),
        // Less than the least word of the message: a size that wraps.
        (1_u64..20, 0_u64..100).prop_map(|(less, sequence)| plain_word(0, sequence) - less),
        Just(0),
    ]
}
