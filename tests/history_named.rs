//! Named subscriptions of queues with a history: work that is shared far behind the ring, and that
//! goes on when the queue is made anew. `RINGWAY_KILLS` says how many deaths there are,
//! `RINGWAY_SEED` replays a run.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{AckMode, Acked, Archive, AtLimit, Consumer, Error, Holder, Journal, Lag, Nacked};
use ringway::{Pruned, Queue, QueueOptions, Reason, Received, Sent, Start, Subscribe};
use support::history::{files, payload, send_for_ever, send_until, write_files};
use support::segment::{field, subscription_offset};
use support::users::{NOBODY, become_nobody, is_root};
use support::{Directory, Name, Peer, Random, play, say, watchdog};

const CAPACITY: u64 = 64 << 10;
/// What a subscription's state says that is being moved, as the segment's format has it.
const MOVING: u32 = 3;

#[test]
fn peer() {
    play(&[
        ("work for ever", work_for_ever),
        ("send for ever", send_for_ever),
        ("use subscriptions as nobody", use_subscriptions_as_nobody),
    ]);
}

fn kills() -> u64 {
    std::env::var("RINGWAY_KILLS").map_or(12, |text| text.parse().expect("a number"))
}

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(64).history(directory.path())
}

fn journalled(directory: &Directory) -> QueueOptions {
    options(directory).journal(Journal::Written)
}

/// Members that are not waited for.
fn workers() -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest).on_lag(Lag::Spill)
}

/// Has a subscription be as who dies moving it elsewhere leaves it.
fn leave_moving_to(name: &str, subscription: u32, sequence: u64) {
    let path = format!("/dev/shm/ringway.{name}");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let entry = subscription_offset(name, subscription) as u64;
    let at = |field_name| entry + field("Subscription", field_name).start as u64;
    file.write_all_at(&sequence.to_le_bytes(), at("moves_to")).unwrap();
    file.write_all_at(&MOVING.to_le_bytes(), at("state")).unwrap();
}

/// Receives what is there, and says which messages that were: each whole, and in order.
fn receive_all(worker: &mut Consumer) -> Vec<u64> {
    let mut received = Vec::new();
    while let Received::Message(message) = worker.try_receive().unwrap() {
        assert_eq!(message.payload(), payload(message.sequence()), "{}", message.sequence());
        assert!(received.last().is_none_or(|&last| last < message.sequence()));
        received.push(message.sequence());
    }
    received
}

#[test]
fn a_member_says_what_comes_next_wherever_it_reads() {
    let _alive = watchdog();
    let name = Name::new("comes-next");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    send_until(&mut queue.producer().unwrap(), 1000);
    // From the files first, then from the ring.
    assert_ne!(files(&directory, "spill").len(), 0);
    for next in 0..1000 {
        assert_eq!(worker.next_sequence(), next);
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), next);
    }
    assert_eq!(worker.next_sequence(), 1000);
}

#[test]
fn members_share_what_is_many_rings_behind() {
    let _alive = watchdog();
    let name = Name::new("far-behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut one = queue.subscribe(&workers()).unwrap();
    let mut other = queue.subscribe(&workers().prefetch(5)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 35_000);
    assert!(files(&directory, "spill").len() > 1);
    // They are all to be had.
    assert_eq!(queue.info().unwrap().subscriptions[0].lag_messages, Some(35_000));
    let mut seen = BTreeSet::new();
    let mut last = [None; 2];
    let mut sent = 35_000;
    while seen.len() < 40_000 {
        // It grows meanwhile, and at last they are where the producer is.
        if sent < 40_000 {
            sent += 50;
            send_until(&mut producer, sent);
        }
        for (worker, last) in [&mut one, &mut other].into_iter().zip(&mut last) {
            for _ in 0..400 {
                let Received::Message(message) = worker.try_receive().unwrap() else { break };
                let sequence = message.sequence();
                assert_eq!(message.payload(), payload(sequence), "{sequence}");
                assert!(*last < Some(sequence), "{sequence} after {last:?}");
                assert!(seen.insert(sequence), "{sequence} again");
                *last = Some(sequence);
            }
        }
    }
    assert_eq!(one.try_receive().unwrap(), Received::Empty);
    drop(producer);
    drop(queue.producer().unwrap());
    assert_eq!(files(&directory, "spill"), Vec::<PathBuf>::new());
}

#[test]
fn who_finds_nothing_far_behind_was_not_just_slower_than_others() {
    const COUNT: u64 = 8_000;
    const MEMBERS: usize = 4;
    let _alive = watchdog();
    let name = Name::new("none-left");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let members = workers().prefetch(1);
    queue.declare(&members).unwrap();
    send_until(&mut queue.producer().unwrap(), COUNT);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..MEMBERS {
            let mut member = queue.subscribe(&members).unwrap();
            let is_over = &is_over;
            scope.spawn(move || {
                let mut later = 0;
                while let Received::Message(_) = member.try_receive().unwrap() {
                    later += u32::from(is_over.load(Ordering::Acquire));
                }
                is_over.store(true, Ordering::Release);
                // What it had taken when somebody else found nothing.
                assert!(later <= 1, "{later} messages were there");
            });
        }
    });
}

#[test]
fn what_is_left_far_behind_comes_again_and_dies_there() {
    let _alive = watchdog();
    let name = Name::new("retries-behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let workers = workers().ack(AckMode::Manual).deliveries_max(2).prefetch(100);
    let mut one = queue.subscribe(&workers).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 500);
    // Some from the ring, before it leaves that, and some from the files.
    for sequence in 0..10 {
        assert_eq!(one.receive().unwrap().message().unwrap().sequence(), sequence);
    }
    send_until(&mut producer, 3000);
    for sequence in 10..50 {
        let message = one.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.payload()), (sequence, &payload(sequence)[..]));
    }
    for sequence in (0..50).filter(|sequence| sequence % 7 != 3) {
        assert_eq!(one.ack(sequence).unwrap(), Acked::Done);
    }
    assert_eq!(one.nack(3).unwrap(), Nacked::Retry(Duration::ZERO));
    drop(one);
    let mut heir = queue.subscribe(&workers).unwrap();
    let mut again = Vec::new();
    while again.len() < 7 {
        let message = heir.receive().unwrap().message().unwrap();
        assert_eq!(message.payload(), payload(message.sequence()));
        if message.redelivered() {
            assert_eq!(message.delivery(), 2);
            again.push(message.sequence());
        } else {
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
    }
    again.sort_unstable();
    assert_eq!(again, [3, 10, 17, 24, 31, 38, 45]);
    assert_eq!(heir.nack(24).unwrap(), Nacked::DeadLetter);
    drop(heir);
    // The others have had their two deliveries too.
    let mut last = queue.subscribe(&workers).unwrap();
    let mut letters = Vec::new();
    while letters.len() < 7 {
        if let Received::Message(message) = last.try_receive().unwrap() {
            assert!(!message.redelivered(), "{message:?}");
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
        let found = queue.dead_letters("workers").unwrap();
        letters = found.iter().map(Result::unwrap).collect();
    }
    letters.sort_by_key(|letter| letter.sequence);
    let sequences: Vec<u64> = letters.iter().map(|letter| letter.sequence).collect();
    assert_eq!(sequences, [3, 10, 17, 24, 31, 38, 45]);
    for letter in letters {
        assert_eq!(letter.payload, payload(letter.sequence));
        let refused = letter.sequence == 24;
        assert_eq!(letter.reason == Reason::Refused, refused);
    }
}

#[test]
fn keys_stay_in_order_far_behind() {
    let _alive = watchdog();
    let name = Name::new("keys-behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let workers = workers().keyed().ack(AckMode::Manual).prefetch(8);
    let mut members: Vec<_> = (0..3).map(|_| queue.subscribe(&workers).unwrap()).collect();
    let mut producer = queue.producer().unwrap();
    for number in 0..6000_u64 {
        let key = (number % 5).to_le_bytes();
        producer.message().key(&key).send(&number.to_le_bytes()).unwrap();
    }
    let mut next = [0, 1, 2, 3, 4_u64];
    let mut random = Random::from_environment();
    while next.iter().any(|&number| number < 6000) {
        let member = &mut members[usize::try_from(random.below(3)).unwrap()];
        match member.try_receive() {
            Ok(Received::Message(message)) => {
                let number = message.value_of();
                let key = usize::try_from(number % 5).unwrap();
                assert_eq!(number, next[key]);
                next[key] += 5;
                assert_eq!(message.ack().unwrap(), Acked::Done);
            }
            Ok(Received::Empty) => {}
            other => panic!("{other:?}"),
        }
    }
}

trait ValueOf {
    fn value_of(&self) -> u64;
}

impl ValueOf for ringway::Message<'_> {
    fn value_of(&self) -> u64 {
        u64::from_le_bytes(self.payload().try_into().unwrap())
    }
}

#[test]
fn at_the_limit_named_ones_are_waited_for_or_told_what_they_missed() {
    const LIMIT: u64 = 40 << 20;
    let _alive = watchdog();
    for at_limit in [AtLimit::Hold, AtLimit::DropOldest] {
        for journal in [None, Some(Journal::Written)] {
            let name = Name::new("named-limit");
            let directory = Directory::new(&name);
            let options = options(&directory).history_max(LIMIT, at_limit);
            let options = match journal {
                Some(journal) => options.journal(journal),
                None => options,
            };
            let queue = Queue::create(&name, &options).unwrap();
            let mut worker = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
            let mut producer = queue.producer().unwrap();
            let block = [7; 8000];
            producer.send(&block).unwrap();
            // This one is its own when the others go.
            assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), 0);
            let mut sent = 1_u64;
            while sent < 2 * LIMIT / 8000 && producer.try_send(&block).unwrap() != Sent::Full {
                sent += 1;
            }
            if at_limit == AtLimit::Hold {
                assert!(sent < 2 * LIMIT / 8000);
                let holders = producer.held_by();
                let [Holder::Subscription { name, .. }] = &holders[..] else {
                    panic!("{holders:?}")
                };
                assert_eq!(&**name, "workers");
                assert!(queue.info().unwrap().subscriptions[0].holds_producer);
                if journal.is_some() {
                    // Nor does this wait for longer than it is told to.
                    assert!(!producer.flush_timeout(Duration::from_millis(5)).unwrap());
                }
                assert_eq!(worker.ack(0).unwrap(), Acked::Done);
            }
            let mut next = 1;
            while next < sent {
                match worker.try_receive().unwrap() {
                    Received::Message(message) => {
                        assert_eq!((message.sequence(), message.payload()), (next, &block[..]));
                        assert_eq!(message.ack().unwrap(), Acked::Done);
                        next += 1;
                    }
                    Received::Missed { from, to } => {
                        assert_eq!((at_limit, from), (AtLimit::DropOldest, next));
                        next = to;
                    }
                    other => panic!("{other:?} at {next}"),
                }
            }
            assert_eq!(producer.try_send(&block).unwrap(), Sent::Sequence(sent));
            assert!(!queue.info().unwrap().subscriptions[0].holds_producer);
        }
    }
}

/// Sends until the history is as large as it may be, and receives all from a sequence on.
fn fill_and_receive(queue: &Queue, worker: &mut Consumer, from: u64, block: &[u8]) {
    let mut producer = queue.producer().unwrap();
    while producer.try_send(block).unwrap() != Sent::Full {}
    for next in from..producer.next_sequence() {
        let message = worker.receive().unwrap().message().unwrap();
        assert_eq!(message.sequence(), next);
    }
}

#[test]
fn nobody_misses_what_it_had_when_the_files_are_gone_and_the_queue_is_made_anew() {
    const LIMIT: u64 = 40 << 20;
    let _alive = watchdog();
    let name = Name::new("had-it");
    let directory = Directory::new(&name);
    let options = journalled(&directory).history_max(LIMIT, AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    let block = [7; 8000];
    let sent = 3 * LIMIT / 2 / 8000;
    for sequence in 0..sent {
        producer.send(&block).unwrap();
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), sequence);
    }
    producer.flush().unwrap();
    drop(producer);
    // The machine stops, and the worker never leaves.
    Queue::force_remove(&name).unwrap();
    drop(worker);
    let queue = Queue::create(&name, &options).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    let received = worker.try_receive().unwrap();
    assert!(matches!(received, Received::Message(_)), "{received:?}");
}

#[test]
fn who_had_a_part_of_what_went_by_force_is_told_only_of_the_rest() {
    let _alive = watchdog();
    let name = Name::new("had-a-part");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    send_until(&mut queue.producer().unwrap(), 5);
    let mut worker = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
    for _ in 0..2 {
        assert_eq!(worker.receive().unwrap().message().unwrap().ack().unwrap(), Acked::Done);
    }
    drop((worker, queue));
    Queue::remove(&name).unwrap();
    write_files(&name, &journalled(&directory), &[7]);
    let pruned = Archive::open(directory.path()).unwrap().force_prune(0, None).unwrap();
    assert_eq!(pruned.removed.len(), 1);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    let received = worker.try_receive().unwrap();
    assert!(matches!(received, Received::Missed { from: 2, to: 5 }), "{received:?}");
    assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), 5);
}

#[test]
fn files_that_were_made_for_a_larger_ring_stay_while_they_are_needed() {
    const LARGE: u64 = 32 << 20;
    let _alive = watchdog();
    let name = Name::new("larger-ring");
    let directory = Directory::new(&name);
    let options = journalled(&directory).history_max(2 * LARGE, AtLimit::Hold);
    let queue = Queue::create(&name, &options.clone().capacity(LARGE)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    let block = vec![7; 1 << 16];
    for _ in 0..LARGE / block.len() as u64 + 16 {
        producer.send(&block[..8000]).unwrap();
        producer.send(&block).unwrap();
    }
    // More than half a ring: beyond where a file of the smaller one would end.
    let received = LARGE / block.len() as u64 * 5 / 4;
    for _ in 0..received {
        worker.receive().unwrap().message().unwrap();
    }
    producer.flush().unwrap();
    drop((worker, producer));
    Queue::remove(&name).unwrap();
    let queue = Queue::create(&name, &options).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    // The last one was not acknowledged.
    fill_and_receive(&queue, &mut worker, received - 1, &block[..8000]);
}

#[test]
fn files_stay_while_they_are_needed_after_others_were_taken_away() {
    const LIMIT: u64 = 48 << 20;
    let _alive = watchdog();
    let name = Name::new("pruned");
    let directory = Directory::new(&name);
    let options = journalled(&directory).history_max(LIMIT, AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    let block = [7; 8000];
    for _ in 0..(40 << 20) / block.len() {
        producer.send(&block).unwrap();
    }
    // Into the second file.
    let received = (20 << 20) / block.len() as u64;
    for _ in 0..received {
        worker.receive().unwrap().message().unwrap();
    }
    producer.flush().unwrap();
    drop(producer);
    // As somebody leaves it too who dies when it has removed a file.
    let removed = Archive::open(directory.path()).unwrap().prune(30 << 20, None).unwrap();
    assert_eq!(removed.removed.len(), 1);
    fill_and_receive(&queue, &mut worker, received, &block);
}

#[test]
fn pruning_leaves_what_somebody_has_not_read_unless_it_is_forced() {
    let _alive = watchdog();
    let name = Name::new("prune-unread");
    let directory = Directory::new(&name);
    let skipping = Subscribe::new().named("skipping").from(Start::Oldest).on_lag(Lag::Skip);
    for round in 1..=4 {
        // Each begins a file.
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        queue.declare(&workers()).unwrap();
        queue.declare(&skipping).unwrap();
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 20 * round);
        producer.flush().unwrap();
        drop(producer);
        Queue::remove(&name).unwrap();
    }
    let archive = Archive::open(directory.path()).unwrap();
    let pruned = archive.prune(0, None).unwrap();
    let unread = |sequence| {
        let unread = pruned_unread(&archive.prune(0, None).unwrap());
        assert_eq!(unread, [(Some("workers".into()), Some(sequence))]);
    };
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (0, 3));
    assert!(pruned.kept_size > 3 * 4096, "{}", pruned.kept_size);
    unread(0);
    let work = |queue: &Queue, sequences: std::ops::Range<u64>| {
        let mut worker = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
        for sequence in sequences {
            let message = worker.receive().unwrap().message().unwrap();
            assert_eq!(message.sequence(), sequence);
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
    };
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    work(&queue, 0..31);
    let pruned = archive.prune(0, None).unwrap();
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (1, 2));
    unread(31);
    // Also a consumer without a name, which is there as long as its queue.
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    let early = queue.subscribe(&spilling).unwrap();
    let pruned = pruned_unread(&archive.prune(0, None).unwrap());
    assert_eq!(pruned, [(Some("workers".into()), Some(31)), (None, None)]);
    drop(early);
    work(&queue, 31..61);
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    let spilling = queue.subscribe(&spilling).unwrap();
    let pruned = archive.prune(0, None).unwrap();
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (0, 2));
    assert_eq!(pruned_unread(&pruned), [(None, None)]);
    drop(spilling);
    let pruned = archive.prune(0, None).unwrap();
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (2, 0));
    assert_eq!(pruned_unread(&pruned), []);
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send_durable(&payload(80)).unwrap();
    drop(producer);
    assert_eq!(archive.prune(0, None).unwrap().kept.len(), 1);
    let pruned = archive.force_prune(0, None).unwrap();
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (1, 0));
    assert_eq!(pruned_unread(&pruned), [(Some("workers".into()), Some(61))]);
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(worker.try_receive().unwrap(), Received::Missed { from: 61, to: 80 });
    assert_eq!(receive_all(&mut worker), [80]);
}

#[test]
fn how_far_all_have_come_is_on_both_pages_before_a_file_is_pruned() {
    let _alive = watchdog();
    for is_there in [true, false] {
        let name = Name::new("prune-pages");
        let directory = Directory::new(&name);
        let options = options(&directory).journal(Journal::SyncedAlways);
        made_twice(&name, &options);
        let queue = Queue::open(&name).unwrap();
        let mut worker = queue.subscribe(&workers()).unwrap();
        assert_eq!(receive_all(&mut worker).len(), 40);
        if !is_there {
            drop(worker);
            Queue::remove(&name).unwrap();
        }
        let archive = Archive::open(directory.path()).unwrap();
        assert_eq!(archive.prune(0, None).unwrap().removed.len(), 1);
        let checkpoint = fs::read(directory.file("subscriptions/workers.checkpoint")).unwrap();
        for page in [0, 4096] {
            let sequence = checkpoint[page + 40..][..8].try_into().unwrap();
            let sequence = u64::from_le_bytes(sequence);
            assert!(sequence >= 20, "{sequence} in the page at {page}");
        }
    }
}

/// Has a queue and then its successor send twenty messages each, which are on disk.
fn made_twice(name: &Name, options: &QueueOptions) {
    for round in 1..=2 {
        let _ = Queue::remove(name);
        let queue = Queue::create(name, options).unwrap();
        queue.declare(&workers()).unwrap();
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 20 * round);
        producer.flush().unwrap();
    }
}

#[test]
fn pruning_asks_no_queue_that_has_been_succeeded_or_is_a_strangers() {
    let _alive = watchdog();
    let name = Name::new("prune-believed");
    let directory = Directory::new(&name);
    made_twice(&name, &journalled(&directory));
    // What this one has read, its checkpoint does not say yet.
    let queue = Queue::open(&name).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker).len(), 40);
    let archive = Archive::open(directory.path()).unwrap();
    let assert_kept = || {
        let pruned = archive.prune(0, None).unwrap();
        assert_eq!((pruned.removed.len(), pruned.kept.len()), (0, 1));
        assert_eq!(pruned_unread(&pruned), [(Some("workers".into()), Some(0))]);
    };
    let instance = directory.file("instance");
    let own = fs::read(&instance).unwrap();
    // As whoever makes a queue from it writes, where another /dev/shm is.
    fs::write(&instance, "another\n").unwrap();
    assert_kept();
    fs::write(&instance, own).unwrap();
    if is_root() {
        let give = |user| std::os::unix::fs::chown(name.path(), Some(user), None).unwrap();
        give(NOBODY);
        assert_kept();
        // The history's own user may say what it likes.
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), None).unwrap();
    }
    let pruned = archive.prune(0, None).unwrap();
    assert_eq!((pruned.removed.len(), pruned.kept.len()), (1, 0));
    assert!(pruned.removed_size > 4096 && pruned.failure.is_none());
    if is_root() {
        std::os::unix::fs::chown(name.path(), Some(0), None).unwrap();
    }
    // As if it had died: it has been written down before the file was gone.
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    let written = fs::read(&checkpoint).unwrap();
    drop(worker);
    Queue::remove(&name).unwrap();
    fs::write(&checkpoint, written).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), Vec::<u64>::new());
}

#[test]
fn pruning_removes_nothing_if_it_cannot_tell_who_needs_it_and_says_so_by_force() {
    let _alive = watchdog();
    let name = Name::new("prune-damaged");
    let directory = Directory::new(&name);
    let make_files = |count: u64, has_workers: bool| {
        for round in 1..=count {
            let queue = Queue::create(&name, &journalled(&directory)).unwrap();
            if has_workers {
                queue.declare(&workers()).unwrap();
            }
            let mut producer = queue.producer().unwrap();
            let end = producer.next_sequence() + 20 * round;
            send_until(&mut producer, end);
            producer.flush().unwrap();
            drop(producer);
            Queue::remove(&name).unwrap();
        }
    };
    let damage = |path: &PathBuf| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[7; 64], 0).unwrap();
    };
    make_files(3, true);
    let archive = Archive::open(directory.path()).unwrap();
    damage(&files(&directory, "log")[2]);
    // Where it would end is not known, and nothing went before that was found.
    assert!(matches!(archive.prune(0, None), Err(Error::LogDamaged { .. })));
    assert_eq!(files(&directory, "log").len(), 3);
    fs::write(directory.file("subscriptions/others.checkpoint"), [7; 8192]).unwrap();
    let pruned = archive.force_prune(0, None).unwrap();
    assert_eq!((pruned.removed.len(), pruned_unread(&pruned).len()), (2, 1));
    assert!(matches!(pruned.unasked, Some(Error::LogDamaged { .. })), "{:?}", pruned.unasked);
    archive.remove().unwrap();
    // Who nobody reads from needs no whole file.
    make_files(3, false);
    let archive = Archive::open(directory.path()).unwrap();
    damage(&files(&directory, "log")[1]);
    assert_eq!(archive.prune(0, None).unwrap().removed.len(), 2);
}

/// Who has not read what was kept, or removed, and from where on.
fn pruned_unread(pruned: &Pruned) -> Vec<(Option<String>, Option<u64>)> {
    pruned.unread.iter().map(|one| (one.subscription.clone(), one.sequence)).collect()
}

#[test]
fn a_named_subscription_begins_in_the_journal_if_asked_to() {
    let _alive = watchdog();
    let name = Name::new("begins-in-journal");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 2000);
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), (0..2000).collect::<Vec<_>>());
    // Where everything is on disk, that is what a name means unless something else is asked for.
    let other = Subscribe::new().named("others").from(Start::Sequence(700));
    let mut worker_of_others = queue.subscribe(&other).unwrap();
    assert_eq!(receive_all(&mut worker_of_others), (700..2000).collect::<Vec<_>>());
    drop(worker);
    queue.seek("workers", Start::Sequence(100)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), (100..2000).collect::<Vec<_>>());
    // One that holds is not put where it would hold the producer at once.
    let holding = Subscribe::new().named("holding").from(Start::Sequence(0)).on_lag(Lag::Hold);
    let mut holding = queue.subscribe(&holding).unwrap();
    let Received::Missed { from: 0, to } = holding.try_receive().unwrap() else { panic!() };
    assert_eq!(receive_all(&mut holding), (to..2000).collect::<Vec<_>>());
}

#[test]
fn one_that_spills_is_moved_within_what_it_has_in_files() {
    let _alive = watchdog();
    let name = Name::new("moved-within-spill");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    queue.declare(&workers()).unwrap();
    // Has spilt all of it: that is there, but nobody keeps it for another one.
    queue.declare(&workers().named("others")).unwrap();
    send_until(&mut queue.producer().unwrap(), 2000);
    let mut worker = queue.subscribe(&workers().prefetch(1)).unwrap();
    for sequence in 0..700 {
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), sequence);
    }
    worker.close().unwrap();
    for (start, first) in [
        (Start::Oldest, 700),
        (Start::Sequence(1200), 1200),
        (Start::Sequence(900), 1200),
        (Start::Last(600), 1400),
    ] {
        queue.seek("workers", start).unwrap();
        let info = queue.info().unwrap();
        assert_eq!(info.subscription("workers").unwrap().head_sequence, first, "{start:?}");
    }
    leave_moving_to(&name, 0, 1500);
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), (1500..2000).collect::<Vec<_>>());
    let mut other = queue.subscribe(&workers().named("others")).unwrap();
    assert_eq!(receive_all(&mut other), (0..2000).collect::<Vec<_>>());
}

#[test]
fn work_goes_on_where_it_was_when_the_queue_is_made_anew() {
    let _alive = watchdog();
    let name = Name::new("work-goes-on");
    let directory = Directory::new(&name);
    let members = workers().ack(AckMode::Manual).deliveries_max(9).prefetch(100);
    let mut end = 0;
    let mut first_unsettled = 0;
    for capacity in [CAPACITY, CAPACITY, 4 * CAPACITY, 2 * CAPACITY] {
        let queue = Queue::create(&name, &journalled(&directory).capacity(capacity)).unwrap();
        let mut producer = queue.producer().unwrap();
        end += 800;
        send_until(&mut producer, end);
        producer.flush().unwrap();
        let mut worker = queue.subscribe(&members).unwrap();
        // Also those that were settled behind one that was not.
        for sequence in first_unsettled..end {
            let message = worker.receive().unwrap().message().unwrap();
            assert_eq!((message.sequence(), message.payload()), (sequence, &payload(sequence)[..]));
            if sequence != end - 40 {
                assert_eq!(message.ack().unwrap(), Acked::Done);
            }
        }
        first_unsettled = end - 40;
        drop(worker);
        fs::remove_file(name.path()).unwrap();
    }
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let subscription = &queue.info().unwrap().subscriptions[0];
    assert_eq!((&*subscription.name, subscription.lag), ("workers", Lag::Spill));
    assert_eq!(subscription.head_sequence, first_unsettled);
    // What it was made with is known.
    let error = queue.subscribe(&workers().deliveries_max(3)).unwrap_err();
    assert!(matches!(error, Error::SubscriptionDiffers { .. }), "{error:?}");
    // One that is removed does not come back.
    queue.unsubscribe("workers").unwrap();
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    assert!(queue.info().unwrap().subscriptions.is_empty());
}

#[test]
fn one_that_holds_is_waited_for_when_the_queue_is_made_anew() {
    let _alive = watchdog();
    let name = Name::new("holds-anew");
    let directory = Directory::new(&name);
    let members = Subscribe::new().named("workers").from(Start::Oldest).on_lag(Lag::Hold);
    let block = [9; 4000];
    {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        drop(queue.subscribe(&members).unwrap());
        let mut producer = queue.producer().unwrap();
        while producer.try_send(&block).unwrap() != Sent::Full {}
        // A journaler says how far the others are too, now and then.
        let journal = queue.journaler().unwrap().spawn();
        journal.stop().unwrap();
    }
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    let first = producer.next_sequence();
    assert_eq!(producer.try_send(&block).unwrap(), Sent::Full);
    let holders = producer.held_by();
    assert!(matches!(&holders[..], [Holder::Subscription { .. }]), "{holders:?}");
    let mut worker = queue.subscribe(&members).unwrap();
    for sequence in 0..first {
        let message = worker.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.payload()), (sequence, &block[..]));
    }
    // The last one is its own until it receives again.
    assert_eq!(worker.try_receive().unwrap(), Received::Empty);
    let mut sent = first;
    while producer.try_send(&block).unwrap() != Sent::Full {
        sent += 1;
    }
    for sequence in first..sent {
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), sequence);
    }
}

#[test]
fn one_that_holds_is_moved_within_what_it_holds_when_the_queue_is_made_anew() {
    let _alive = watchdog();
    let name = Name::new("moved-anew");
    let directory = Directory::new(&name);
    let members = Subscribe::new().named("workers").from(Start::Sequence(10)).on_lag(Lag::Hold);
    {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 40);
        queue.declare(&members).unwrap();
        producer.flush().unwrap();
    }
    Queue::remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    // All that was sent is in the files, and it holds nothing of that but from its place on.
    for (start, first) in [
        (Start::Oldest, 10),
        (Start::Sequence(3), 10),
        (Start::Last(25), 15),
        (Start::Sequence(12), 15),
    ] {
        queue.seek("workers", start).unwrap();
        let info = queue.info().unwrap();
        assert_eq!(info.subscription("workers").unwrap().head_sequence, first, "{start:?}");
    }
    let mut worker = queue.subscribe(&members).unwrap();
    assert_eq!(receive_all(&mut worker), (15..40).collect::<Vec<_>>());
}

#[test]
fn a_worker_with_nothing_to_do_sleeps_when_the_queue_is_made_anew() {
    let _alive = watchdog();
    let name = Name::new("sleeps-anew");
    let directory = Directory::new(&name);
    for round in 0..3 {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        let mut worker = queue.subscribe(&workers().wait(ringway::Wait::Park)).unwrap();
        assert_eq!(receive_all(&mut worker), Vec::<u64>::new());
        assert_eq!(worker.receive_timeout(Duration::from_millis(30)).unwrap(), Received::TimedOut);
        let sleeps: u64 = queue.info().unwrap().consumers.iter().map(|one| one.sleeps).sum();
        assert!(sleeps > 0, "round {round}");
        let mut producer = queue.producer().unwrap();
        let end = producer.next_sequence() + 45;
        send_until(&mut producer, end);
        assert_eq!(receive_all(&mut worker).len(), 45);
        drop((worker, producer));
        fs::remove_file(name.path()).unwrap();
    }
}

#[test]
fn a_checkpoint_ahead_of_what_was_saved_does_not_pass_over_what_comes() {
    let _alive = watchdog();
    let name = Name::new("ahead");
    let directory = Directory::new(&name);
    {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 30);
        producer.flush().unwrap();
        let mut worker = queue.subscribe(&workers()).unwrap();
        assert_eq!(receive_all(&mut worker).len(), 30);
    }
    Queue::force_remove(&name).unwrap();
    // As if power had gone before the last ones were on the disk.
    let log = files(&directory, "log").remove(0);
    let size = fs::metadata(&log).unwrap().len();
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(size - 5000).unwrap();
    let mut end = 0;
    for _ in 0..2 {
        // And power goes again before anybody has done anything.
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        end = queue.producer().unwrap().next_sequence();
        assert!((10..30).contains(&end), "{end}");
        Queue::force_remove(&name).unwrap();
    }
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, end + 50);
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), (end..end + 50).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_at_the_end_goes_where_the_queue_goes_on_whatever_its_capacity() {
    let _alive = watchdog();
    let name = Name::new("capacities");
    let directory = Directory::new(&name);
    let create = |capacity| Queue::create(&name, &journalled(&directory).capacity(capacity));
    let send_to = |queue: &Queue, end| {
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, end);
        producer.flush().unwrap();
    };
    send_to(&create(CAPACITY).unwrap(), 10);
    Queue::force_remove(&name).unwrap();
    // At the end, which is the start of a lap of a large ring.
    let queue = create(16 << 20).unwrap();
    queue.declare(&workers().from(Start::Newest)).unwrap();
    Queue::force_remove(&name).unwrap();
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    let of_large_ring = fs::read(&checkpoint).unwrap();
    // Nobody writes a checkpoint while this queue is there.
    send_to(&create(CAPACITY).unwrap(), 40);
    Queue::force_remove(&name).unwrap();
    let receive_rest = || {
        let queue = create(CAPACITY).unwrap();
        let mut worker = queue.subscribe(&workers()).unwrap();
        assert_eq!(receive_all(&mut worker), (10..40).collect::<Vec<_>>());
        drop(worker);
        Queue::force_remove(&name).unwrap();
    };
    receive_rest();
    // Nor is a position believed that no stream has had.
    fs::write(&checkpoint, of_large_ring).unwrap();
    receive_rest();
}

#[test]
fn one_whose_queue_never_sent_anything_begins_with_whatever_the_next_one_does() {
    let _alive = watchdog();
    let name = Name::new("never-sent");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    queue.declare(&workers()).unwrap();
    Queue::remove(&name).unwrap();
    for round in 0..2 {
        let queue = Queue::create(&name, &journalled(&directory).first_sequence(1000)).unwrap();
        let mut worker = queue.subscribe(&workers()).unwrap();
        let end = 1010 + 10 * round;
        send_until(&mut queue.producer().unwrap(), end);
        assert_eq!(receive_all(&mut worker), (end - 10..end).collect::<Vec<_>>());
        queue.producer().unwrap().flush().unwrap();
        drop(worker);
        Queue::remove(&name).unwrap();
    }
}

#[test]
fn members_of_a_queue_that_is_gone_leave_its_successors_checkpoints_alone() {
    let _alive = watchdog();
    let name = Name::new("successor");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 20);
    producer.flush().unwrap();
    // Ten more that the journal does not get, but the worker does.
    send_until(&mut producer, 30);
    let mut old_worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut old_worker).len(), 30);
    drop(producer);
    // By hand, so that nobody saves them.
    fs::remove_file(name.path()).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    assert_eq!(producer.next_sequence(), 20);
    send_until(&mut producer, 40);
    producer.flush().unwrap();
    drop(old_worker);
    drop(producer);
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), (0..40).collect::<Vec<_>>());
}

/// Uses the subscriptions of a queue whose history is another user's.
fn use_subscriptions_as_nobody(arguments: &[&str]) {
    become_nobody();
    let queue = Queue::open(arguments[0]).unwrap();
    let error = queue.unsubscribe("workers").unwrap_err();
    let Error::File { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
    // Whoever has the directory writes down how far these are.
    drop(queue.subscribe(&workers()).unwrap());
    drop(queue.subscribe(&workers().named("others")).unwrap());
}

#[test]
fn a_subscription_that_was_removed_does_not_come_back() {
    let _alive = watchdog();
    let name = Name::new("comes-back");
    let directory = Directory::new(&name);
    let create = || Queue::create(&name, &journalled(&directory).mode(0o666)).unwrap();
    let queue = create();
    drop(queue.subscribe(&workers()).unwrap());
    // That it cannot be told whose the files are is no reason to leave them alone in silence.
    let instance = directory.file("instance");
    let text = fs::read(&instance).unwrap();
    fs::remove_file(&instance).unwrap();
    fs::create_dir(&instance).unwrap();
    assert!(matches!(queue.unsubscribe("workers"), Err(Error::File { .. })));
    let made = queue.subscribe(&workers().named("others"));
    assert!(matches!(made, Err(Error::File { .. })), "{made:?}");
    fs::remove_dir(&instance).unwrap();
    fs::write(&instance, text).unwrap();
    assert!(matches!(queue.unsubscribe("others"), Err(Error::NoSuchSubscription { .. })));
    let names = |queue: &Queue| {
        let subscriptions = queue.info().unwrap().subscriptions.into_iter();
        subscriptions.map(|one| one.name).collect::<Vec<_>>()
    };
    if is_root() {
        let permissions = fs::Permissions::from_mode(0o700);
        fs::set_permissions(directory.path(), permissions).unwrap();
        Peer::start("use subscriptions as nobody", &[&name]).finish();
        queue.unsubscribe("others").unwrap();
    } else {
        eprintln!("skipped in part: only root can become somebody else");
    }
    assert_eq!(names(&queue), ["workers"]);
    queue.unsubscribe("workers").unwrap();
    Queue::remove(&name).unwrap();
    assert_eq!(names(&create()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_written_down_of_one_subscription_is_in_the_way_of_no_other() {
    let _alive = watchdog();
    let name = Name::new("in-the-way");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    send_until(&mut queue.producer().unwrap(), 20);
    let named = |name: &str| Subscribe::new().named(name).from(Start::Oldest).on_lag(Lag::Spill);
    drop(queue.subscribe(&named("workers")).unwrap());
    // What can neither be written nor removed.
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    let obstruct = || {
        fs::remove_file(&checkpoint).unwrap();
        fs::create_dir(&checkpoint).unwrap();
    };
    obstruct();
    let names = || queue.info().unwrap().subscriptions.into_iter().map(|one| one.name);
    for _ in 0..2 {
        let error = queue.unsubscribe("workers").unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        assert!(error.to_string().contains("workers.checkpoint"), "{error}");
        drop(queue.subscribe(&named("others")).unwrap());
        assert_eq!(names().collect::<Vec<_>>(), ["others", "workers"]);
        // It is what it was.
        drop(queue.subscribe(&named("workers")).unwrap());
    }
    let error = queue.seek("workers", Start::Sequence(9)).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    // That has come to nothing, and is in nobody's way.
    drop(queue.subscribe(&named("workers")).unwrap());
    let heads = || queue.info().unwrap().subscriptions.into_iter().map(|one| one.head_sequence);
    assert_eq!(heads().collect::<Vec<_>>(), [0, 0]);
    // Somebody died who moved it before it could not be written.
    leave_moving_to(&name, 0, 7);
    queue.seek("others", Start::Sequence(3)).unwrap();
    queue.unsubscribe("others").unwrap();
    drop(queue.subscribe(&named("others")).unwrap());
    assert!(matches!(queue.subscribe(&named("workers")), Err(Error::File { .. })));
    fs::remove_dir(&checkpoint).unwrap();
    let mut worker = queue.subscribe(&named("workers")).unwrap();
    assert_eq!(receive_all(&mut worker), (7..20).collect::<Vec<_>>());
    drop(worker);
    // One that could not be made is none, and can be made later.
    queue.unsubscribe("workers").unwrap();
    fs::create_dir(&checkpoint).unwrap();
    assert!(matches!(queue.subscribe(&named("workers")), Err(Error::File { .. })));
    drop(queue.subscribe(&named("others")).unwrap());
    fs::remove_dir(&checkpoint).unwrap();
    drop(queue.subscribe(&named("workers")).unwrap());
    queue.unsubscribe("workers").unwrap();
    assert_eq!(names().collect::<Vec<_>>(), ["others"]);
}

#[test]
fn no_bit_of_a_checkpoint_can_flip_unnoticed() {
    // Where the slots are, each at the beginning of a page; between them nothing means anything.
    const SLOTS: [usize; 2] = [0, 4096];
    let _alive = watchdog();
    let name = Name::new("checkpoint-bits");
    let directory = Directory::in_memory(&name);
    for _ in 0..2 {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        let mut producer = queue.producer().unwrap();
        let end = producer.next_sequence() + 20;
        send_until(&mut producer, end);
        producer.flush().unwrap();
        let mut worker = queue.subscribe(&workers().deliveries_max(7)).unwrap();
        assert_eq!(receive_all(&mut worker).len(), 20);
        drop(worker);
        Queue::force_remove(&name).unwrap();
    }
    let path = files(&directory, "subscriptions").remove(0);
    let whole = fs::read(&path).unwrap();
    let slot_size = whole.len() - SLOTS[1];
    let word = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap());
    let [first, second] = SLOTS.map(|slot| (word(slot + 32), word(slot + 40)));
    let (newer, older) = (first.max(second).1, first.min(second).1);
    assert_eq!((newer, older), (40, 20));
    // Where the subscription is in a queue that is made anew.
    let next = |at: usize| {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        let subscriptions = queue.info().unwrap().subscriptions;
        Queue::force_remove(&name).unwrap();
        let [workers] = subscriptions.as_slice() else { return None };
        let terms =
            (workers.name.as_str(), workers.lag, workers.keyed, workers.terms.deliveries_max);
        assert_eq!(terms, ("workers", Lag::Spill, false, Some(7)), "at {at}");
        let rest = (workers.terms.backoff, workers.terms.ack_within, workers.terms.expires_after);
        assert_eq!(rest, (None, None, None), "at {at}");
        Some(workers.head_sequence)
    };
    assert_eq!(next(0), Some(newer));
    for (slot, own) in SLOTS.into_iter().zip([first, second]) {
        // The other one counts, if it is not the older one that is hurt.
        let left = if own.1 == newer { older } else { newer };
        for at in slot..slot + slot_size {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(next(at), Some(left), "byte {at}");
        }
    }
    for size in (slot_size..slot_size + 100).chain(SLOTS[1]..whole.len()) {
        fs::write(&path, &whole[..size]).unwrap();
        assert_eq!(next(size), Some(first.1), "{size} bytes");
    }
    let assert_damaged = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = Queue::create(&name, &journalled(&directory)).unwrap_err();
        assert!(error.to_string().contains("workers.checkpoint"), "{error}");
        let archive = Archive::open(directory.path()).unwrap();
        assert_eq!(archive.verify().unwrap().checkpoint_faults.len(), 1);
        assert!(matches!(archive.prune(0, None), Err(Error::LogDamaged { .. })));
    };
    // None was ever so short, for whatever moment power went in.
    (0..slot_size).for_each(|size| assert_damaged(&whole[..size]));
    assert_damaged(&vec![0x5a; whole.len()]);
    // One that was copied to another name is not that other one's.
    fs::write(&path, &whole).unwrap();
    fs::copy(&path, path.with_file_name("others.checkpoint")).unwrap();
    let error = Queue::create(&name, &journalled(&directory)).unwrap_err();
    assert!(error.to_string().contains("others.checkpoint"), "{error}");
}

#[test]
fn a_checkpoint_that_says_nothing_is_shown_and_put_aside() {
    let _alive = watchdog();
    let name = Name::new("put-aside");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 20);
    producer.flush().unwrap();
    drop(producer);
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker).len(), 20);
    worker.close().unwrap();
    Queue::remove(&name).unwrap();
    let within = |name: &str| directory.file(format_args!("subscriptions/{name}"));
    let whole = fs::read(within("workers.checkpoint")).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    assert!(archive.verify().unwrap().is_whole());
    fs::write(within("others.checkpoint"), &whole).unwrap();
    fs::write(within("damaged.checkpoint"), vec![7; whole.len()]).unwrap();
    fs::write(within("damaged.broken"), "another's").unwrap();
    fs::create_dir(within("stray.checkpoint")).unwrap();
    // One that nobody can open, and what is no text, which is nobody's.
    std::os::unix::fs::symlink("loop.checkpoint", within("loop.checkpoint")).unwrap();
    fs::write(within("").join(OsStr::from_bytes(b"\xff.checkpoint")), "").unwrap();
    let bad =
        ["damaged", "loop", "others", "stray"].map(|name| within(&format!("{name}.checkpoint")));
    let error = Queue::create(&name, &journalled(&directory)).unwrap_err();
    assert!(error.to_string().contains("ringway log repair"), "{error}");
    let verified = archive.verify().unwrap();
    assert_eq!((verified.is_whole(), verified.checkpoint_faults.len()), (false, 4));
    assert!(archive.planned_cuts().unwrap().iter().map(|cut| &cut.path).eq(&bad));
    let cuts = archive.repair().unwrap().cuts;
    let kept = ["damaged.2.broken", "loop.broken", "others.broken", "stray.broken"].map(within);
    assert!(cuts.iter().map(|cut| &cut.path).eq(&bad), "{cuts:?}");
    assert!(cuts.iter().map(|cut| &cut.kept_in).eq(&kept), "{cuts:?}");
    assert_eq!(fs::read(&kept[2]).unwrap(), whole);
    assert!(archive.verify().unwrap().is_whole() && archive.repair().unwrap().cuts.is_empty());
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), Vec::<u64>::new());
    drop(worker);
    Queue::remove(&name).unwrap();
    // All but the directory, which somebody else has made.
    archive.remove().unwrap();
    assert!(kept[3].is_dir() && !kept[2].exists() && kept[1].symlink_metadata().is_err());
}

/// Takes the lock of who changes the subscription table, or gives it back.
fn lock_of_the_table(name: &Name) -> impl Fn(libc::c_int) + use<> {
    let segment = fs::OpenOptions::new().write(true).open(name.path()).unwrap();
    move |kind| {
        let kind = libc::c_short::try_from(kind).unwrap();
        let lock = libc::flock { l_type: kind, l_whence: 0, l_start: 1 << 20, l_len: 1, l_pid: 0 };
        // SAFETY: the struct outlives the call.
        let done = unsafe { libc::fcntl(segment.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        assert_eq!(done, 0);
    }
}

/// Whoever asks may move a head on for a member, which would go wrong while that is moved as a whole.
#[test]
fn pruning_asks_nobody_while_the_subscriptions_are_changed() {
    let _alive = watchdog();
    let name = Name::new("prune-moved");
    let directory = Directory::new(&name);
    for round in 1..=2 {
        // Each begins a file.
        let _ = Queue::force_remove(&name);
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        queue.declare(&workers()).unwrap();
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 20 * round);
        producer.flush().unwrap();
    }
    let archive = Archive::open(directory.path()).unwrap();
    let lock = lock_of_the_table(&name);
    lock(libc::F_WRLCK);
    let error = archive.prune(0, None).unwrap_err().to_string();
    assert!(error.contains("cannot ask the subscriptions"), "{error}");
    assert!(error.contains("log prune --force"), "{error}");
    lock(libc::F_UNLCK);
    let kept = archive.prune(0, None).unwrap();
    assert_eq!((kept.removed.len(), kept.kept.len()), (0, 1));
    lock(libc::F_WRLCK);
    let forced = archive.force_prune(0, None).unwrap();
    assert_eq!((forced.removed.len(), forced.unasked.is_some()), (1, true));
}

#[test]
fn members_that_leave_at_once_all_leave_how_far_they_have_come() {
    let _alive = watchdog();
    let name = Name::new("leave-at-once");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 30);
    producer.flush().unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker).len(), 30);
    // Another one has the table for itself just now, as whoever leaves does.
    let lock = lock_of_the_table(&name);
    let other = queue.subscribe(&workers()).unwrap();
    lock(libc::F_WRLCK);
    let error = other.close().unwrap_err();
    assert!(error.to_string().contains("cannot write the checkpoints"), "{error}");
    lock(libc::F_UNLCK);
    let locked_at = Instant::now();
    lock(libc::F_WRLCK);
    thread::scope(|scope| {
        let leaves = scope.spawn(|| drop(worker));
        thread::sleep(Duration::from_millis(20));
        lock(libc::F_UNLCK);
        leaves.join().unwrap();
    });
    if locked_at.elapsed() > Duration::from_millis(250) {
        // The system had better things to do for longer than who leaves may have waited.
        return;
    }
    drop(producer);
    Queue::remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    assert_eq!(queue.info().unwrap().subscriptions[0].head_sequence, 30);
}

/// As power that goes does to the page that was just being overwritten.
#[test]
fn a_checkpoint_counts_from_the_beginning_whichever_half_is_torn() {
    let name = Name::new("first-torn");
    let directory = Directory::new(&name);
    let path = directory.file("subscriptions/workers.checkpoint");
    for torn in [0, 4096] {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        let worker = queue.subscribe(&workers()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        drop(worker);
        Queue::force_remove(&name).unwrap();
        bytes[torn + 20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        assert_eq!(queue.info().unwrap().subscriptions.len(), 1);
        queue.unsubscribe("workers").unwrap();
        Queue::force_remove(&name).unwrap();
    }
}

#[test]
fn a_name_in_the_segment_that_is_none_leads_to_no_file() {
    let _alive = watchdog();
    let name = Name::new("names");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    drop(queue.subscribe(&workers()).unwrap());
    // Somebody who may write there has put something else in its place.
    let segment = fs::read(name.path()).unwrap();
    let at = segment.windows(8).position(|bytes| bytes == b"workers\0").unwrap();
    let file = fs::OpenOptions::new().write(true).open(name.path()).unwrap();
    file.write_all_at(b"../evil", at as u64).unwrap();
    queue.producer().unwrap().send(b"").unwrap();
    queue.journaler().unwrap().spawn().stop().unwrap();
    assert!(!directory.file("evil.checkpoint").exists());
    fs::write(directory.file("evil.checkpoint"), "another's").unwrap();
    // Neither to be written, nor to be removed.
    let _ = queue.unsubscribe("../evil");
    assert_eq!(fs::read(directory.file("evil.checkpoint")).unwrap(), b"another's");
}

/// Works until it dies, and says what it has acknowledged, after that.
fn work_for_ever(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut worker = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
    say("begins");
    loop {
        let message = worker.receive().unwrap().message().unwrap();
        assert_eq!(message.payload(), payload(message.sequence()), "{}", message.sequence());
        let sequence = message.sequence();
        if message.ack().unwrap() == Acked::Done {
            say(sequence);
        }
    }
}

#[test]
fn whoever_is_killed_every_message_is_worked_on() {
    let mut random = Random::from_environment();
    for journal in [None, Some(Journal::Written)] {
        let name = Name::new("workers-killed");
        let directory = Directory::new(&name);
        let options = match journal {
            None => options(&directory),
            Some(journal) => options(&directory).journal(journal),
        };
        let mut queue = Queue::create(&name, &options).unwrap();
        drop(queue.subscribe(&workers().ack(AckMode::Manual)).unwrap());
        let mut done = BTreeSet::new();
        let mut end = 0;
        for round in 0..kills() {
            let _alive = watchdog();
            let mut producer = Peer::start("send for ever", &[&name]);
            let mut members: Vec<_> =
                (0..2).map(|_| Peer::start("work for ever", &[&name])).collect();
            producer.await_word("begins");
            thread::sleep(Duration::from_micros(random.below(20_000)));
            if random.below(2) == 0 {
                members.reverse();
            }
            producer.kill();
            for member in members {
                let words = member.kill_and_hear();
                done.extend(words.iter().filter_map(|word| word.parse::<u64>().ok()));
            }
            end = queue.producer().unwrap().next_sequence();
            if journal.is_some() && round % 3 == 2 {
                // As after a restart of the machine: what was not written is gone.
                queue.producer().unwrap().flush().unwrap();
                Queue::force_remove(&name).unwrap();
                queue = Queue::create(&name, &options).unwrap();
                assert_eq!(queue.producer().unwrap().next_sequence(), end);
            }
        }
        let _alive = watchdog();
        let mut last = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
        while let Received::Message(message) = last.try_receive().unwrap() {
            assert_eq!(message.payload(), payload(message.sequence()));
            done.insert(message.sequence());
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
        // Of those that a member had acknowledged and could not say any more, two at a time.
        let unheard = (0..end).filter(|sequence| !done.contains(sequence)).count() as u64;
        assert!(unheard <= 2 * kills(), "{unheard} of {end} messages were never worked on");
    }
}

#[test]
fn who_died_moving_a_subscription_has_not_moved_its_checkpoint() {
    let _alive = watchdog();
    let name = Name::new("died-moving");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 500);
    producer.flush().unwrap();
    drop(producer);
    let mut worker = queue.subscribe(&workers()).unwrap();
    for number in 0..100 {
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), number);
    }
    worker.close().unwrap();
    // As it is once the head was put into the ring, and is still looked for in the files.
    let others = Subscribe::new().named("others").on_lag(Lag::Spill);
    let other = queue.subscribe(&others).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
    let [moved, newest] = [0, 1].map(|index| subscription_offset(&name, index) as u64);
    let at = |field_name| field("Subscription", field_name).start as u64;
    for word in ["head_position", "head_sequence"] {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, newest + at(word)).unwrap();
        file.write_all_at(&bytes, moved + at(word)).unwrap();
    }
    file.write_all_at(&MOVING.to_le_bytes(), moved + at("state")).unwrap();
    other.close().unwrap();
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(receive_all(&mut worker), (100..500).collect::<Vec<_>>());
}

#[test]
fn what_a_subscription_needs_stays_in_the_files_while_it_is_moved() {
    const TARGET: u64 = 2000;
    const LIMIT: u64 = 40 << 20;
    let _alive = watchdog();
    let name = Name::new("needed");
    let directory = Directory::new(&name);
    let options = journalled(&directory).history_max(LIMIT, AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    queue.declare(&workers()).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    let mut producer = queue.producer().unwrap();
    let block = [7; 8000];
    // Whatever waits for the journaler alone goes on: that the files are full they say themselves.
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let is_full = || files(&directory, "log").iter().map(size).sum::<u64>() > LIMIT - CAPACITY;
    while !is_full() {
        let _ = producer.send_timeout(&block, Duration::from_millis(20)).unwrap();
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Waits for room, with whoever keeps the journal.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = producer.send_timeout(&block, Duration::from_millis(20)).unwrap();
            }
        });
        let moved = queue.seek("workers", Start::Sequence(TARGET));
        let first = queue.subscribe(&workers()).map(|mut worker| {
            let received = worker.receive().unwrap();
            received.message().map(|message| message.sequence())
        });
        is_over.store(true, Ordering::Relaxed);
        moved.unwrap();
        assert_eq!(first.unwrap(), Some(TARGET));
    });
    drop(journal.stop());
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_in_the_way_of_no_other() {
    let _alive = watchdog();
    let name = Name::new("one-of-two");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let named = |name: &str| workers().named(name);
    queue.declare(&named("first")).unwrap();
    queue.declare(&named("second")).unwrap();
    let checkpoint = directory.file("subscriptions/first.checkpoint");
    fs::remove_file(&checkpoint).unwrap();
    fs::create_dir(&checkpoint).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    send_until(&mut queue.producer().unwrap(), 10);
    let close = |name: &str| {
        let mut worker = queue.subscribe(&named(name)).unwrap();
        assert_eq!(receive_all(&mut worker).len(), 10);
        worker.close()
    };
    let error = close("first").unwrap_err();
    assert!(error.to_string().contains("first.checkpoint"), "{error}");
    close("second").unwrap();
    while journal.error().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!journal.is_finished());
    send_until(&mut queue.producer().unwrap(), 20);
    // All of it is durable; what is not, is said.
    assert!(matches!(journal.stop(), Err(Error::File { .. })));
    assert_eq!(queue.durable_sequence(), Some(20));
    fs::remove_dir(&checkpoint).unwrap();
    Queue::remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let mut worker = queue.subscribe(&named("second")).unwrap();
    assert_eq!(receive_all(&mut worker), (10..20).collect::<Vec<_>>());
}

#[test]
fn a_history_that_was_taken_away_does_not_come_back_by_a_checkpoint() {
    let _alive = watchdog();
    let name = Name::new("taken-away");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    send_until(&mut queue.producer().unwrap(), 1);
    let mut worker = queue.subscribe(&workers()).unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    assert!(worker.receive().unwrap().message().is_some());
    assert!(matches!(worker.close(), Err(Error::File { .. })));
    assert!(matches!(Queue::remove(&name), Err(Error::NotSaved { .. })));
    Queue::force_remove(&name).unwrap();
    assert!(!directory.path().exists());
    drop(Queue::create(&name, &journalled(&directory)).unwrap());
}
