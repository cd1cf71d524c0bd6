//! The handles of one process: bounds, ends and what is left half done.

mod support;

#[cfg(feature = "workload")]
use std::io::ErrorKind;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use std::{fmt, fs};

use ringway::{
    Consumer, ConsumerSet, Error, Journal, JournalThread, Journaler, Lag, Message, Observer,
    Producer, Queue, QueueOptions, Readiness, Received, Sent, Start, Subscribe, Wait,
};
use support::segment::header_word;
use support::{Directory, Name, holding_members, watchdog};

fn small(name: &str) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(64 << 10)).unwrap()
}

#[test]
fn sizes_beyond_all_bounds_are_refused_by_every_way_to_send() {
    let _watchdog = watchdog();
    let name = Name::new("sizes");
    let queue = small(&name);
    let limit = queue.message_size_max();
    let mut producer = queue.producer().unwrap();
    // Before the first room is asked for, and after.
    for _ in 0..2 {
        for size in [limit + 1, 2 * limit, usize::MAX / 2, usize::MAX - 15]
            .into_iter()
            .chain(usize::MAX - 8..=usize::MAX)
        {
            let refused = |error| {
                assert!(matches!(error, Error::MessageTooLarge { size: s, .. } if s == size));
            };
            refused(producer.claim(size).unwrap_err());
            refused(producer.try_claim(size).unwrap_err());
        }
        let larger = vec![0; 8 * limit];
        for large in [&larger[..=limit], &larger[..]] {
            assert!(matches!(producer.send(large), Err(Error::MessageTooLarge { .. })));
            assert!(matches!(producer.try_send(large), Err(Error::MessageTooLarge { .. })));
            let mut batch = producer.batch();
            assert!(matches!(batch.push(large), Err(Error::MessageTooLarge { .. })));
            assert!(matches!(batch.try_push(large), Err(Error::MessageTooLarge { .. })));
            assert!(matches!(batch.extend([large]), Err(Error::MessageTooLarge { .. })));
        }
        producer.send(&larger[..limit]).unwrap();
    }
    assert_eq!(producer.next_sequence(), 2);
}

#[test]
fn the_next_message_lies_beyond_what_is_missed() {
    let _watchdog = watchdog();
    let name = Name::new("next-message");
    let queue = small(&name);
    let mut producer = queue.producer().unwrap();
    for number in 0..10_000_u64 {
        producer.send(&number.to_le_bytes()).unwrap();
    }
    let begin = Subscribe::new().from(Start::Sequence(10));
    let mut holding = queue.subscribe(&begin).unwrap();
    let mut member = queue.subscribe(&begin.clone().named("workers")).unwrap();
    let mut observer = queue.observe(Start::Sequence(10)).unwrap();
    producer.close().unwrap();

    let sequence_of = |message: Option<Message<'_>>| {
        message.map(|message| {
            assert_eq!(message.payload(), message.sequence().to_le_bytes());
            message.sequence()
        })
    };
    follow_from_ten(|missed| sequence_of(holding.next_message(|gone| missed.push(gone)).unwrap()));
    follow_from_ten(|missed| sequence_of(member.next_message(|gone| missed.push(gone)).unwrap()));
    // Whoever is told counts.
    let info = queue.info().unwrap();
    let counts = info.consumers.iter().map(|consumer| consumer.missed);
    let of_subscription = info.subscription("workers").unwrap().missed;
    assert!(of_subscription > 0 && counts.eq([of_subscription; 2]));
    follow_from_ten(|missed| sequence_of(observer.next_message(|gone| missed.push(gone)).unwrap()));
}

/// Receives from 10 on to the end of the stream, with something missed first.
fn follow_from_ten(mut next: impl FnMut(&mut Vec<Range<u64>>) -> Option<u64>) {
    let (mut missed, mut received) = (Vec::new(), Vec::new());
    while let Some(sequence) = next(&mut missed) {
        received.push(sequence);
    }
    let [gone] = missed.as_slice() else { panic!("missed {missed:?}") };
    assert!(gone.start == 10 && gone.end > 10);
    assert!(received.into_iter().eq(gone.end..10_000));
    // The end is told again.
    assert_eq!((next(&mut missed), missed.len()), (None, 1));
}

#[test]
fn the_debug_text_of_a_handle_is_short_and_says_of_what() {
    let name = Name::new("debug-text");
    let queue = small(&name);
    let (of, text) = (&*name, |handle: &dyn fmt::Debug| format!("{handle:?}"));
    let mut producer = queue.producer().unwrap();
    producer.send(b"first").unwrap();
    assert_eq!(text(&queue), format!("Queue {{ name: \"{of}\", capacity: 65536, .. }}"));
    assert_eq!(text(&producer), format!("Producer {{ queue: \"{of}\", next_sequence: 1, .. }}"));
    let observer = queue.observe(Start::Oldest).unwrap();
    assert_eq!(text(&observer), format!("Observer {{ queue: \"{of}\", next_sequence: 0, .. }}"));
    let consumer = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    let expected = format!(
        "Consumer {{ queue: \"{of}\", member: 0, subscription: Some(\"workers\"), next_sequence: 1, .. }}"
    );
    assert_eq!(text(&consumer), expected);
    assert_eq!(text(&consumer.interrupter()), "Interrupter { .. }");
    let readiness = Readiness::new().unwrap();
    assert_eq!(text(&readiness), format!("Readiness {{ fd: {}, .. }}", readiness.as_raw_fd()));
    let set = ConsumerSet::from_iter([consumer]);
    assert!(text(&set).contains(&expected) && text(&set).len() < 500, "{set:?}");
}

#[test]
fn a_queue_that_is_removed_by_its_handle_is_that_one_and_as_safe_as_by_its_name() {
    let _watchdog = watchdog();
    let name = Name::new("remove-this");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(64 << 10).history(directory.path());
    let options = options.journal(Journal::Written);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"to be kept").unwrap();
    assert!(matches!(queue.remove_this(), Err(Error::InUse { producer: true, .. })));
    drop(producer);
    queue.remove_this().unwrap();
    assert!(queue.is_removed());
    assert!(matches!(queue.remove_this(), Err(Error::Stale { .. })));

    let again = Queue::create(&name, &options).unwrap();
    assert!(matches!(queue.remove_this(), Err(Error::Stale { .. })));
    assert!(!again.is_removed());
    let mut observer = again.observe(Start::Oldest).unwrap();
    assert_eq!(observer.receive().unwrap().message().unwrap().payload(), b"to be kept");
    // Who has opened it is as good as who made it.
    Queue::open(&name).unwrap().remove_this().unwrap();
    assert!(again.is_removed());
}

#[test]
fn a_message_is_too_large_whatever_room_was_made_before() {
    let _watchdog = watchdog();
    let name = Name::new("too-large");
    let queue = small(&name);
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let limit = queue.message_size_max();
    let (largest, larger) = (vec![1; limit], vec![2; limit + 8]);
    // A key takes room that a message without one would have for its payload.
    let make_room: [fn(&mut Producer, &[u8]); 3] = [
        |producer, largest| {
            let mut batch = producer.batch();
            batch.push_keyed(b"key", largest).unwrap();
        },
        |producer, largest| {
            let mut batch = producer.batch();
            batch.push_keyed(b"key", largest).unwrap();
            std::mem::forget(batch);
        },
        |producer, largest| {
            let _ = producer.message().key(b"key").claim(largest.len()).unwrap();
        },
    ];
    for make_room in make_room {
        let mut producer = queue.producer().unwrap();
        make_room(&mut producer, &largest);
        assert!(matches!(producer.send(&larger), Err(Error::MessageTooLarge { .. })));
        assert!(matches!(producer.try_send(&larger), Err(Error::MessageTooLarge { .. })));
        assert!(matches!(producer.claim(larger.len()), Err(Error::MessageTooLarge { .. })));
        let sequence = producer.send(&largest).unwrap();
        let message = consumer.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.payload()), (sequence, &largest[..]));
    }
}

#[test]
fn what_a_batch_did_not_reach_comes_next() {
    let _watchdog = watchdog();
    let name = Name::new("unreached");
    let queue = small(&name);
    let oldest = Subscribe::new().from(Start::Oldest);
    let mut held = queue.subscribe(&oldest).unwrap();
    let mut skipping = queue.subscribe(&oldest.clone().on_lag(Lag::Skip)).unwrap();
    let mut observer = queue.observe(Start::Oldest).unwrap();
    let mut producer = queue.producer().unwrap();
    let sizes = [0, 8, 8, 1, 300, 300, 0, 64, 64, 64];
    for (number, size) in (0_u8..).zip(sizes) {
        producer.send(&vec![number; size]).unwrap();
    }
    for taken in 0..=sizes.len() {
        // From `from` on, a batch of which `taken` are taken, and then one message.
        let mut batches = [
            held.receive_batch(64).unwrap().message().unwrap(),
            skipping.receive_batch(64).unwrap().message().unwrap(),
            observer.receive_batch(64).unwrap().message().unwrap(),
        ];
        for batch in &mut batches {
            let sequences: Vec<_> = batch.take(taken).map(|message| message.sequence()).collect();
            assert_eq!(sequences, (0..taken as u64).collect::<Vec<_>>());
        }
        drop(batches);
        // The first one counts in any case.
        let index = taken.max(1);
        let next = index as u64;
        assert_eq!(held.next_sequence(), next);
        assert_eq!(skipping.next_sequence(), next);
        assert_eq!(observer.next_sequence(), next);
        if let Some(&size) = sizes.get(index) {
            let expected = vec![u8::try_from(index).unwrap(); size];
            let message = skipping.try_receive().unwrap().message().unwrap();
            assert_eq!((message.sequence(), message.payload()), (next, &*expected));
            let message = observer.try_receive().unwrap().message().unwrap();
            assert_eq!((message.sequence(), message.payload()), (next, &*expected));
        }
        // Begin again.
        held = queue.subscribe(&oldest).unwrap();
        skipping = queue.subscribe(&oldest.clone().on_lag(Lag::Skip)).unwrap();
        observer = queue.observe(Start::Oldest).unwrap();
    }
}

#[test]
fn a_claim_or_batch_that_is_not_committed_never_happened() {
    let _watchdog = watchdog();
    let name = Name::new("forgotten");
    let queue = small(&name);
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    for round in 0..2_000_u32 {
        let _ = producer.claim(8_000).unwrap();
        let mut batch = producer.batch();
        batch.extend([&[1_u8; 700]; 5]).unwrap();
        std::mem::forget(batch);
        producer.send(&round.to_le_bytes()).unwrap();
        let message = consumer.try_receive().unwrap().message().unwrap();
        assert_eq!(
            (message.sequence(), message.payload()),
            (round.into(), &round.to_le_bytes()[..])
        );
    }
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    // A batch that nobody looked at is there still.
    producer.send(b"x").unwrap();
    producer.send(b"y").unwrap();
    std::mem::forget(consumer.receive_batch(2).unwrap());
    assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), b"y");
}

/// What a panic takes of a batch is never half of a message.
#[test]
fn an_iterator_that_panics_leaves_a_batch_that_can_go_on_or_not() {
    let _watchdog = watchdog();
    let name = Name::new("panics");
    let queue = small(&name);
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    for round in 0..1_000_u16 {
        let size = usize::from(37 * round % 1_500);
        let mut batch = producer.batch();
        for _ in 0..round % 3 {
            batch.push(&vec![9; size]).unwrap();
        }
        let payloads = (0..5_u8).map(|number| match u16::from(number) {
            number if number == round % 5 => resume_unwind(Box::new("as it does")),
            _ => vec![number; size],
        });
        catch_unwind(AssertUnwindSafe(|| batch.extend(payloads))).unwrap_err();
        batch.push(b"and after").unwrap();
        if round % 4 == 0 {
            continue;
        }
        for sequence in batch.commit().unwrap() {
            let message = consumer.receive().unwrap().message().unwrap();
            let payload = message.payload();
            let is_whole = payload.len() == size && payload.iter().all(|byte| *byte == payload[0]);
            assert!(message.sequence() == sequence && (is_whole || payload == b"and after"));
        }
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    }
}

#[test]
fn a_producer_of_a_removed_queue_finds_out_with_room_to_spare() {
    let _watchdog = watchdog();
    let name = Name::new("removed-early");
    let queue = Queue::create(&name, &QueueOptions::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"a").unwrap();
    Queue::force_remove(&name).unwrap();
    let _ = producer.send(b"b");
    assert!(matches!(producer.send(b"c"), Err(Error::Stale { .. })));
    assert!(matches!(producer.try_send(b"d"), Err(Error::Stale { .. })));
    assert!(matches!(producer.claim(1), Err(Error::Stale { .. })));
    assert!(matches!(queue.subscribe(&Subscribe::new()), Err(Error::Stale { .. })));
    drop(producer);
    assert!(matches!(queue.producer(), Err(Error::Stale { .. })));
}

#[test]
fn a_producer_finds_out_that_its_queues_name_was_taken_away_without_a_word() {
    let _watchdog = watchdog();
    let name = Name::new("unlinked");
    let mut producer = small(&name).producer().unwrap();
    producer.send(&[1; 1000]).unwrap();
    fs::remove_file(name.path()).unwrap();
    let error = (0..20_000).find_map(|_| producer.send(&[1; 1000]).err());
    assert!(matches!(error, Some(Error::Stale { .. })), "{error:?}");
}

#[test]
fn who_receives_for_no_time_at_all_finds_out_that_its_queue_is_gone() {
    let _watchdog = watchdog();
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        let name = Name::new("no-time");
        let mut consumer = small(&name).subscribe(&Subscribe::new().wait(wait)).unwrap();
        assert_eq!(consumer.receive_timeout(Duration::ZERO).unwrap(), Received::TimedOut);
        Queue::force_remove(&name).unwrap();
        let error = (0..100).find_map(|_| consumer.receive_timeout(Duration::ZERO).err());
        assert!(matches!(error, Some(Error::Stale { .. })), "{wait:?}: {error:?}");
    }
}

#[test]
fn a_removal_that_is_refused_changes_nothing() {
    let _watchdog = watchdog();
    let name = Name::new("refused");
    let queue = small(&name);
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    assert!(matches!(Queue::remove(&name), Err(Error::InUse { consumers: 1, producer: true, .. })));
    producer.send(b"still here").unwrap();
    assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), b"still here");
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    queue.subscribe(&Subscribe::new()).unwrap();
}

#[test]
fn of_those_who_remove_at_once_one_does_it_and_none_finds_it_stale() {
    let _watchdog = watchdog();
    let name = Name::new("removed-twice");
    let together = Barrier::new(3);
    for round in 0..500 {
        small(&name);
        let removed: Vec<_> = thread::scope(|scope| {
            let removers = [false, false, round % 2 == 0].map(|force| {
                let (name, together) = (&name, &together);
                scope.spawn(move || {
                    together.wait();
                    if force { Queue::force_remove(name) } else { Queue::remove(name) }
                })
            });
            removers.into_iter().map(|remover| remover.join().unwrap()).collect()
        });
        let succeeded = removed.iter().filter(|result| result.is_ok()).count();
        assert_eq!(succeeded, 1, "{removed:?}");
        // Whoever is about to remove it counts as somebody who uses it.
        let fair = |result: &Result<_, _>| {
            matches!(result, Ok(()) | Err(Error::NotFound { .. } | Error::InUse { .. }))
        };
        assert!(removed.iter().all(fair), "{removed:?}");
    }
}

#[test]
fn room_for_the_next_message_is_asked_for_behind_each_however_it_is_sent() {
    const SECTOR: u64 = 4 << 10;
    let _watchdog = watchdog();
    let ways: [fn(&mut Producer, &[u8]); 4] = [
        |producer, payload| assert!(producer.send(payload).is_ok()),
        |producer, payload| assert_ne!(producer.try_send(payload).unwrap(), Sent::Full),
        |producer, payload| {
            let mut claim = producer.claim(payload.len()).unwrap();
            claim.copy_from_slice(payload);
            claim.commit().unwrap();
        },
        |producer, payload| {
            assert!(producer.message().key(b"key").send(&payload[8..]).is_ok());
        },
    ];
    for send in ways {
        let name = Name::new("ahead");
        let queue = small(&name);
        let mut producer = queue.producer().unwrap();
        // Frames of 64 bytes, as long as that is the first lap.
        for sent in 1..1_000 {
            send(&mut producer, &[0; 56]);
            let image = fs::read(name.path()).unwrap();
            let next_end = 64 * (sent + 1) + 8;
            assert_eq!(header_word(&image, "licence"), u64::next_multiple_of(next_end, SECTOR));
        }
    }
}

/// Else it could be written, and removed, under whoever has a message of it.
#[cfg(feature = "workload")]
#[test]
fn a_queues_memory_is_no_board() {
    use ringway::workload::Board;

    let name = Name::new("no-board");
    let queue = small(&name);
    let path = name.path();
    let memory = path.strip_prefix("/dev/shm/").unwrap();
    for slashes in ["", "/", "//"] {
        let board = format!("{slashes}{memory}");
        for refused in [Board::open(&board), Board::create(&board, 2)] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput, "{board}");
        }
    }
    Board::remove_abandoned(memory, |board| panic!("{board} is a queue's"));
    assert!(!queue.is_removed());
}

#[test]
fn the_highest_first_sequence_leaves_room_to_count() {
    let _watchdog = watchdog();
    let name = Name::new("highest");
    let options = QueueOptions::new().capacity(64 << 10);
    let refused = Queue::create(&name, &options.clone().first_sequence(1 << 61));
    assert!(matches!(refused, Err(Error::InvalidOption { .. })));
    let first = (1 << 61) - 1;
    let queue = Queue::create(&name, &options.first_sequence(first)).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in first..first + 10_000 {
        assert_eq!(producer.send(b"0123456789abcdef").unwrap(), sequence);
    }
    drop(producer);
    let mut producer = queue.producer().unwrap();
    assert_eq!(producer.send(b"").unwrap(), first + 10_000);
    let mut observer = queue.observe(Start::Last(2)).unwrap();
    assert_eq!(observer.receive().unwrap().message().unwrap().sequence(), first + 9_999);
}

#[test]
fn both_ends_of_several_queues_live_in_one_process_and_change_threads() {
    let _watchdog = watchdog();
    let names: Vec<_> = (0..4).map(|_| Name::new("several")).collect();
    let threads: Vec<_> = names
        .iter()
        .map(|name| {
            let queue = small(name);
            let mut consumer = queue.subscribe(&Subscribe::new().wait(Wait::Park)).unwrap();
            let mut producer = queue.producer().unwrap();
            producer.set_wait(Wait::Park);
            let sender = std::thread::spawn(move || {
                for number in 0..20_000_u64 {
                    producer.send(&number.to_le_bytes()).unwrap();
                }
                producer.close().unwrap();
            });
            let receiver = std::thread::spawn(move || {
                let mut expected = 0_u64;
                while let Received::Message(message) = consumer.receive().unwrap() {
                    assert_eq!(message.payload(), expected.to_le_bytes());
                    expected += 1;
                }
                assert_eq!(expected, 20_000);
            });
            [sender, receiver]
        })
        .collect();
    for thread in threads.into_iter().flatten() {
        thread.join().unwrap();
    }
}

#[test]
fn full_is_said_before_anything_unread_is_overwritten() {
    let _watchdog = watchdog();
    let name = Name::new("full");
    let queue = small(&name);
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut sent = 0_u64;
    while let Sent::Sequence(sequence) = producer.try_send(&sent.to_le_bytes()).unwrap() {
        assert_eq!(sequence, sent);
        sent += 1;
    }
    // 16 bytes each; all but a sector of the ring, and the padding, must be usable.
    assert!(sent >= (64 << 10) / 16 * 14 / 16, "only {sent}");
    assert_eq!(holding_members(&producer), [consumer.member()]);
    for expected in 0..sent {
        let message = consumer.receive().unwrap().message().unwrap();
        assert_eq!(message.payload(), expected.to_le_bytes());
    }
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    assert_eq!(producer.try_send(b"").unwrap(), Sent::Sequence(sent));
}

/// Compiles, or does not.
#[test]
fn handles_move_between_threads_and_what_is_shared_may_be() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Producer>();
    moves::<Consumer>();
    moves::<Observer>();
    moves::<ConsumerSet>();
    moves::<Journaler>();
    is_shared::<Queue>();
    is_shared::<Readiness>();
    is_shared::<JournalThread>();
    is_shared::<Message<'_>>();
    is_shared::<Error>();
    let _ = wait_as_task;
}

/// As runtimes with several threads ask of tasks.
fn wait_as_task(readiness: &mut Readiness, consumer: &mut Consumer) -> impl Future + Send {
    readiness.ready(consumer)
}

#[test]
fn a_message_shows_what_it_says_and_the_beginning_of_its_payload() {
    let _watchdog = watchdog();
    let name = Name::new("shown");
    let queue = small(&name);
    let mut producer = queue.producer().unwrap();
    producer.message().key_hash(7).send(b"a\n").unwrap();
    producer.send(&[b'x'; 8000]).unwrap();
    let mut observer = queue.observe(Start::Oldest).unwrap();
    let shown = format!("{:?}", observer.receive().unwrap());
    let expected = "Message(Message { sequence: 0, delivery: 1, key_hash: 0x0000000000000007, size: 2, payload: \"a\\n\" })";
    assert_eq!(shown, expected);
    let shown = format!("{:?}", observer.receive().unwrap().message().unwrap());
    let payload = "x".repeat(64);
    let expected =
        format!("Message {{ sequence: 1, delivery: 1, size: 8000, payload: \"{payload}\".. }}");
    assert_eq!(shown, expected);
}

#[test]
fn a_batch_says_how_many_messages_it_may_have() {
    let _watchdog = watchdog();
    let name = Name::new("hint");
    let queue = small(&name);
    let start = Subscribe::new().from(Start::Oldest);
    let mut consumers = [
        queue.subscribe(&start).unwrap(),
        queue.subscribe(&start.clone().on_lag(Lag::Skip)).unwrap(),
        queue.subscribe(&start.named("workers")).unwrap(),
    ];
    let mut producer = queue.producer().unwrap();
    for _ in 0..5 {
        producer.send(b"x").unwrap();
    }
    for consumer in &mut consumers {
        let mut batch = consumer.receive_batch(3).unwrap().message().unwrap();
        let mut count = 0;
        assert_eq!(batch.size_hint().0, 1);
        loop {
            let (least, most) = batch.size_hint();
            let rest = batch.next().map(|_| count += 1);
            assert!(usize::from(rest.is_some()) >= least);
            assert!(most.is_none_or(|most| usize::from(rest.is_some()) <= most));
            if rest.is_none() {
                break;
            }
        }
        assert!((1..=3).contains(&count));
        assert_eq!(batch.size_hint(), (0, Some(0)));
    }
}

#[test]
fn the_oldest_message_is_never_told_to_be_ahead_of_the_next_one() {
    let _watchdog = watchdog();
    let name = Name::new("laps");
    let queue = small(&name);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = queue.producer().unwrap();
            while !is_over.load(Ordering::Relaxed) {
                producer.send(&[7; 8000]).unwrap();
            }
        });
        // It may go round the ring between any two looks.
        let are_in_order = (0..2_000).all(|_| {
            let info = queue.info().unwrap();
            info.oldest_sequence <= info.next_sequence
        });
        is_over.store(true, Ordering::Relaxed);
        assert!(are_in_order);
    });
}
