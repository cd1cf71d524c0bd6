//! What is kept on disk: messages that a consumer has not read when they leave the ring, and all of
//! them in a queue with a journal.

#![allow(clippy::disallowed_types, reason = "what was sent is counted beside the library")]

mod support;

use std::fs;
use std::hint::spin_loop;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use ringway::{Archive, AtLimit, Error, Holder, Journal, Lag, Queue};
use ringway::{QueueOptions, Received, Sent, Start, Subscribe};
use support::history::{files, payload, receive_until, send_until};
use support::{Directory, Name, Over, assert_message, watchdog};

const CAPACITY: u64 = 64 << 10;

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(8).history(directory.path())
}

fn spilling() -> Subscribe {
    Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill)
}

#[test]
fn nothing_is_written_while_all_keep_up() {
    let _alive = watchdog();
    let name = Name::new("keeps-up");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut consumer = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    for end in (0..2000).step_by(10) {
        send_until(&mut producer, end);
        receive_until(&mut consumer, end);
    }
    assert_eq!(files(&directory, "spill"), Vec::<PathBuf>::new());
}

#[test]
fn who_is_many_rings_behind_misses_nothing_and_leaves_no_file() {
    let _alive = watchdog();
    let name = Name::new("behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut slow = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    // 25 MB: 400 rings, and more than one file.
    send_until(&mut producer, 35_000);
    assert!(files(&directory, "spill").len() > 1);
    receive_until(&mut slow, 35_000);
    assert_eq!(slow.try_receive().unwrap(), Received::Empty);
    send_until(&mut producer, 36_000);
    receive_until(&mut slow, 36_000);
    drop(producer);
    assert_eq!(files(&directory, "spill"), Vec::<PathBuf>::new());
}

#[test]
fn who_spills_is_told_first_and_once_what_was_gone_when_it_began() {
    let _alive = watchdog();
    let name = Name::new("gone-before");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 500);
    let mut consumer = queue.subscribe(&spilling().from(Start::Sequence(10))).unwrap();
    // What it begins with leaves the ring before it looks.
    send_until(&mut producer, 1000);
    let received = consumer.try_receive().unwrap();
    let Received::Missed { from: 10, to } = received else { panic!("{received:?}") };
    assert_eq!(consumer.next_sequence(), to);
    receive_until(&mut consumer, 1000);
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
}

#[test]
fn who_is_overtaken_in_the_middle_of_a_look_does_not_find_nothing() {
    const COUNT: u64 = 30_000;
    const RING: u64 = CAPACITY / 4096;
    let _alive = watchdog();
    let name = Name::new("overtaken");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut consumer = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..COUNT {
                producer.send(&[7; 4000]).unwrap();
                sent.store(sequence + 1, Ordering::Release);
            }
        });
        while consumer.next_sequence() < COUNT {
            // About to be overtaken.
            let next = consumer.next_sequence();
            let there = sent.load(Ordering::Acquire);
            if there < COUNT && there < next + RING - 2 {
                spin_loop();
                continue;
            }
            let received = consumer.try_receive().unwrap().map(|message| message.sequence());
            assert_eq!(received, Received::Message(next));
        }
    });
}

#[test]
fn two_who_are_behind_by_different_distances_both_get_everything() {
    let _alive = watchdog();
    let name = Name::new("two-behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut first = queue.subscribe(&spilling()).unwrap();
    let mut second = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..300 {
        let end = producer.next_sequence() + draw(400);
        send_until(&mut producer, end);
        for consumer in [&mut first, &mut second] {
            let next = consumer.next_sequence();
            receive_until(consumer, next + draw(end - next + 1));
        }
        if draw(20) == 0 {
            // Goes, and another one joins where the ring begins.
            second = queue.subscribe(&spilling()).unwrap();
        }
        if draw(20) == 0 {
            drop(producer);
            producer = queue.producer().unwrap();
        }
    }
    let end = producer.next_sequence();
    receive_until(&mut first, end);
    receive_until(&mut second, end);
}

#[test]
fn who_spills_may_be_anywhere_when_the_ring_comes_round() {
    const COUNT: u64 = 100;
    let _alive = watchdog();
    let name = Name::new("round");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    for behind in 0..20 {
        let mut consumer = queue.subscribe(&spilling().from(Start::Newest)).unwrap();
        let mut producer = queue.producer().unwrap();
        let first = producer.next_sequence();
        // Nearly a sector each: padding is behind one of them, first of all in its sector.
        for _ in 0..behind {
            producer.send(&[7; 4000]).unwrap();
            assert!(consumer.try_receive().unwrap().message().is_some());
        }
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        for _ in behind..COUNT {
            producer.send(&[7; 4000]).unwrap();
        }
        for sequence in first + behind..first + COUNT {
            let message = consumer.try_receive().unwrap().message().unwrap();
            assert_eq!(message.sequence(), sequence);
        }
    }
}

#[test]
fn nothing_is_said_to_be_left_while_there_is_something_wherever_it_is_by_then() {
    const ROUNDS: u64 = 100;
    let _alive = watchdog();
    for lag in [Lag::Hold, Lag::Spill] {
        let name = Name::new("wherever");
        let directory = Directory::new(&name);
        let journal = Journal::Written;
        let queue = Queue::create(&name, &options(&directory).journal(journal)).unwrap();
        let mut producer = queue.producer().unwrap();
        let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut untrue = 0;
        thread::scope(|scope| {
            let over = Over(&is_over);
            let sender = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let sequence = producer.send(&[7; 1000]).unwrap();
                    sent.store(sequence + 1, Ordering::Release);
                }
            });
            for _ in 0..ROUNDS {
                // It begins in the files, and comes to the ring.
                let options = Subscribe::new().on_lag(lag).from(Start::Last(300));
                let mut consumer = queue.subscribe(&options).unwrap();
                for _ in 0..1000 {
                    let there = sent.load(Ordering::Acquire);
                    let is_empty = consumer.try_receive().unwrap() == Received::Empty;
                    untrue += u32::from(is_empty && consumer.next_sequence() < there);
                }
            }
            drop(over);
            // The thread sanitizer knows what a join orders, and not what a scope's end does.
            sender.join().unwrap();
        });
        assert_eq!(untrue, 0, "{lag}");
    }
}

#[test]
fn at_the_limit_the_producer_waits_or_the_oldest_go() {
    const LIMIT: u64 = 40 << 20;
    let _alive = watchdog();
    for at_limit in [AtLimit::Hold, AtLimit::DropOldest] {
        let name = Name::new("limit");
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &options(&directory).history_max(LIMIT, at_limit));
        let queue = queue.unwrap();
        let mut slow = queue.subscribe(&spilling()).unwrap();
        let mut producer = queue.producer().unwrap();
        let block = [7; 8000];
        let mut sent = 0_u64;
        while sent < 2 * LIMIT / 8000 && producer.try_send(&block).unwrap() != Sent::Full {
            sent += 1;
        }
        let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
        assert!(files(&directory, "spill").iter().map(size).sum::<u64>() <= LIMIT);
        let mut next = 0;
        if at_limit == AtLimit::Hold {
            assert!(sent < 2 * LIMIT / 8000);
            let holders = producer.held_by();
            let [Holder::Consumer { member, .. }] = holders[..] else { panic!("{holders:?}") };
            assert_eq!(member, slow.member());
            let holds = || queue.info().unwrap().consumers[0].holds_producer;
            assert!(holds());
            drop(producer);
            producer = queue.producer().unwrap();
            assert!(!holds(), "it has not asked for room");
            while producer.try_send(&block).unwrap() == Sent::Full {
                assert!(holds());
                assert_message(slow.try_receive(), next, &block);
                next += 1;
            }
            sent += 1;
            assert!(!holds(), "it is behind, but there is room");
        } else {
            let received = slow.try_receive().unwrap();
            let Received::Missed { from: 0, to } = received else { panic!("{received:?}") };
            next = to;
        }
        while next < sent {
            let message = slow.try_receive().unwrap().message().unwrap();
            assert_eq!((message.sequence(), message.payload()), (next, &block[..]));
            next += 1;
        }
        assert_eq!(producer.try_send(&block).unwrap(), Sent::Sequence(sent));
    }
}

#[test]
fn a_directory_belongs_to_one_queue() {
    let (one, other) = (Name::new("owner"), Name::new("intruder"));
    let directory = Directory::new(&one);
    Queue::create(&one, &options(&directory)).unwrap();
    let error = Queue::create(&other, &options(&directory)).unwrap_err();
    assert!(matches!(&error, Error::ForeignHistory { .. }), "{error:?}");
    assert!(error.to_string().contains(&*one) && error.to_string().contains(&*other), "{error}");
    Queue::remove(&one).unwrap();
    Queue::create(&one, &options(&directory)).unwrap();
    fs::write(directory.path().join("identity"), "something else").unwrap();
    Queue::remove(&one).unwrap();
    let error = Queue::create(&one, &options(&directory)).unwrap_err();
    assert!(matches!(&error, Error::LogDamaged { .. }), "{error:?}");
}

#[test]
fn whoever_makes_a_queue_from_a_history_has_it_alone() {
    let _alive = watchdog();
    for journal in [None, Some(Journal::SyncedAlways)] {
        let name = Name::new("succeeded");
        let directory = Directory::new(&name);
        let options = options(&directory);
        let options = journal.map_or(options.clone(), |journal| options.journal(journal));
        // As in containers that have a shared memory each, and this directory in common.
        let put_aside = || {
            let aside = Name::new("aside");
            fs::rename(name.path(), aside.path()).unwrap();
            aside
        };
        let first = Queue::create(&name, &options).unwrap();
        let mut slow = first.subscribe(&spilling()).unwrap();
        let mut producer = first.producer().unwrap();
        send_until(&mut producer, 300);
        let at_work = journal.map(|_| first.journaler().unwrap());
        let aside = put_aside();
        let error = Queue::create(&name, &options).unwrap_err();
        assert!(matches!(error, Error::JournalerAlive { .. }), "{error:?}");
        drop((at_work, producer));
        let second = Queue::create(&name, &options).unwrap();
        let mut producer = second.producer().unwrap();
        let end = producer.next_sequence() + 300;
        let mut reader = second.subscribe(&spilling().from(Start::Newest)).unwrap();
        send_until(&mut producer, end);
        let aside_too = put_aside();
        fs::rename(aside.path(), name.path()).unwrap();
        let mut late = first.producer().unwrap();
        let error = loop {
            match late.send(&[1; 1000]) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::ForeignHistory { .. }), "{error:?}");
        assert!(error.to_string().contains("another queue, which was made"), "{error}");
        fs::rename(aside_too.path(), name.path()).unwrap();
        receive_until(&mut reader, end);
        send_until(&mut producer, end + 300);
        receive_until(&mut reader, end + 300);
        // What was spilled is gone, and told; what is in the journal is there.
        let received = slow.try_receive().unwrap();
        assert_eq!(matches!(received, Received::Missed { from: 0, .. }), journal.is_none());
    }
}

#[test]
fn what_somebody_left_half_made_is_removed_with_the_rest() {
    let name = Name::new("half-made");
    let directory = Directory::new(&name);
    Queue::create(&name, &options(&directory)).unwrap();
    Queue::remove(&name).unwrap();
    let left = ["identity.0123.new", "identity.new", "instance.0123.new", "mine.0123.new"];
    let left = left.map(|name| directory.file(name));
    for path in &left {
        fs::write(path, "half").unwrap();
    }
    let removed = Archive::open(directory.path()).unwrap().remove().unwrap();
    assert!(left[..3].iter().all(|path| removed.contains(path) && !path.exists()));
    assert!(left[3].exists());
}

/// It waits for others, for ten seconds. Then a queue was named that is not there.
#[test]
fn who_waits_in_vain_for_a_history_is_told_which() {
    let _alive = watchdog();
    let name = Name::new("in-vain");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    let _at_work = Queue::create(&name, &options).unwrap().journaler().unwrap();
    Queue::force_remove(&name).unwrap();
    let error = Queue::open_or_create(&name, &options).unwrap_err();
    let Error::File { path, source, .. } = &error else { panic!("{error}") };
    assert_eq!((path.as_path(), source.kind()), (directory.path(), ErrorKind::ResourceBusy));
    assert!(error.to_string().contains("somebody else has been at work on it"), "{error}");
}

#[test]
fn what_a_journal_does_not_have_yet_is_saved_before_its_queue_is_removed() {
    let _alive = watchdog();
    let every = Journal::SyncedEvery(Duration::from_secs(3600));
    for journal in [Journal::Written, every, Journal::SyncedAlways] {
        let name = Name::new("saved");
        let directory = Directory::new(&name);
        let mut end = 0;
        for remove in [Queue::remove, Queue::force_remove] {
            let queue = Queue::create(&name, &journalled(&directory, journal)).unwrap();
            end += 20;
            send_until(&mut queue.producer().unwrap(), end);
            assert_eq!(queue.durable_sequence(), Some(end - 20));
            remove(&name).unwrap();
            assert_eq!(queue.durable_sequence(), Some(end));
            let archive = Archive::open(directory.path()).unwrap();
            let verified = archive.verify().unwrap();
            assert_eq!((verified.is_whole(), verified.messages), (true, end));
        }
        // What never had a message leaves no file.
        Archive::open(directory.path()).unwrap().remove().unwrap();
        Queue::create(&name, &journalled(&directory, journal)).unwrap();
        Queue::remove(&name).unwrap();
        assert!(!directory.file("log").exists());
    }
}

#[test]
fn a_queue_whose_journal_cannot_be_completed_is_removed_by_force_only() {
    let _alive = watchdog();
    let name = Name::new("not-saved");
    let directory = Directory::new(&name);
    let create = || {
        let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
        let mut producer = queue.producer().unwrap();
        producer.send(b"to be kept").unwrap();
        // Whoever lives there comes first.
        assert!(matches!(Queue::remove(&name), Err(Error::InUse { .. })));
        queue
    };
    let queue = create();
    fs::write(directory.file("log"), "in the way").unwrap();
    let error = Queue::remove(&name).unwrap_err();
    let Error::NotSaved { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, Error::File { .. }), "{source:?}");
    assert!(error.to_string().contains(&format!("ringway rm --force {}", &*name)), "{error}");
    assert!(!queue.is_removed());
    Queue::force_remove(&name).unwrap();
    assert!(queue.is_removed());
    // What can be done later is done then.
    fs::remove_file(directory.file("log")).unwrap();
    create();
    Queue::remove(&name).unwrap();
    assert_eq!(Archive::open(directory.path()).unwrap().messages(0).unwrap().count(), 1);
}

#[test]
fn those_who_open_or_create_a_queue_with_one_history_get_the_same() {
    let _alive = watchdog();
    for _ in 0..20 {
        let name = Name::new("at-once");
        let directory = Directory::new(&name);
        let options = journalled(&directory, Journal::SyncedAlways);
        let begin = Barrier::new(4);
        let open_or_create = || {
            begin.wait();
            Queue::open_or_create(&name, &options).unwrap().instance_id()
        };
        let instances: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(open_or_create)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(instances, [instances[0]; 4]);
        let id = Archive::open(directory.path()).unwrap().id();
        let queue = Queue::open(&name).unwrap();
        // It is the one that the directory names, and can be written.
        queue.producer().unwrap().send_durable(b"to be kept").unwrap();
        assert_eq!(Archive::open(directory.path()).unwrap().id(), id);
        let kept = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(kept, 3, "`identity`, `instance` and `log`");
    }
}

#[test]
fn who_spills_needs_a_directory_and_a_place_of_its_own() {
    let name = Name::new("no-directory");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY)).unwrap();
    let error = queue.subscribe(&spilling()).unwrap_err();
    assert!(matches!(&error, Error::InvalidOption { .. }), "{error:?}");
}

fn journalled(directory: &Directory, journal: Journal) -> QueueOptions {
    options(directory).journal(journal)
}

#[test]
fn everything_that_was_sent_is_in_the_journal() {
    let _alive = watchdog();
    for journal in
        [Journal::Written, Journal::SyncedEvery(Duration::from_millis(20)), Journal::SyncedAlways]
    {
        let name = Name::new("journal");
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &journalled(&directory, journal)).unwrap();
        let thread = queue.journaler().unwrap().spawn();
        assert!(matches!(queue.journaler(), Err(Error::JournalerAlive { .. })));
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 5000);
        assert!(producer.flush_timeout(Duration::from_secs(60)).unwrap());
        assert_eq!(queue.durable_sequence(), Some(5000));
        send_until(&mut producer, 5010);
        thread.stop().unwrap();
        assert_eq!(queue.durable_sequence(), Some(5010));
        let archive = Archive::open(directory.path()).unwrap();
        let mut next = 0;
        for message in archive.messages(0).unwrap() {
            let message = message.unwrap();
            assert_eq!((message.sequence, message.payload), (next, payload(next)));
            next += 1;
        }
        assert_eq!(next, 5010);
    }
}

#[test]
fn a_journaler_looks_around_and_ends_while_messages_keep_coming() {
    let _alive = watchdog();
    let name = Name::new("steady");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let workers = Subscribe::new().named("workers").from(Start::Oldest).on_lag(Lag::Spill);
    let mut worker = queue.subscribe(&workers).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            let mut producer = queue.producer().unwrap();
            while !is_over.load(Ordering::Relaxed) {
                producer.send(b"one more").unwrap();
            }
        });
        let checkpoint = || fs::read(directory.file("subscriptions/workers.checkpoint")).unwrap();
        let before = checkpoint();
        for _ in 0..2 {
            worker.receive().unwrap().message().unwrap();
        }
        while checkpoint() == before {
            thread::yield_now();
        }
        journal.stop().unwrap();
    });
}

#[test]
fn a_journaler_ends_when_its_queue_is_gone_whether_it_was_told_or_not() {
    let _alive = watchdog();
    let name = Name::new("untold");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::SyncedAlways);
    let queue = Queue::create(&name, &options).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    let mut producer = queue.producer().unwrap();
    producer.send(b"to be kept").unwrap();
    // As whoever removes a queue does, and is killed before it has told anybody.
    fs::remove_file(name.path()).unwrap();
    let next = loop {
        match Queue::create(&name, &options) {
            Err(Error::JournalerAlive { .. }) => thread::yield_now(),
            made => break made.unwrap(),
        }
    };
    assert_eq!(next.producer().unwrap().next_sequence(), 1);
    journal.stop().unwrap();
}

#[test]
fn a_producer_that_has_nothing_more_in_files_keeps_nobody_from_their_directory() {
    let _alive = watchdog();
    let name = Name::new("idle");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut slow = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 500);
    assert!(!files(&directory, "spill").is_empty());
    receive_until(&mut slow, 500);
    while !files(&directory, "spill").is_empty() {
        let next = producer.next_sequence() + 1;
        send_until(&mut producer, next);
        receive_until(&mut slow, next);
    }
    Queue::force_remove(&name).unwrap();
    Queue::create(&name, &options(&directory)).unwrap();
}

#[test]
fn a_journaler_removes_files_that_are_too_old_when_nothing_is_sent() {
    let _alive = watchdog();
    let name = Name::new("too-old");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    for _ in 0..2 {
        let queue = Queue::create(&name, &options).unwrap();
        queue.producer().unwrap().send_durable(b"to be kept for a while").unwrap();
        Queue::remove(&name).unwrap();
    }
    assert_eq!(files(&directory, "log").len(), 2);
    let options = options.keep_for(Duration::from_millis(1));
    let queue = Queue::create(&name, &options).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    while files(&directory, "log").len() == 2 {
        thread::yield_now();
    }
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Sequence(0))).unwrap();
    assert_eq!(consumer.try_receive().unwrap(), Received::Missed { from: 0, to: 1 });
    assert!(consumer.try_receive().unwrap().message().is_some());
    journal.stop().unwrap();
}

#[test]
fn a_flush_is_synced_at_once_however_seldom_that_is_done_otherwise() {
    let _alive = watchdog();
    let name = Name::new("flushed");
    let directory = Directory::new(&name);
    let seldom = Journal::SyncedEvery(Duration::from_secs(1 << 20));
    let queue = Queue::create(&name, &journalled(&directory, seldom)).unwrap();
    let thread = queue.journaler().unwrap().spawn();
    let mut producer = queue.producer().unwrap();
    for round in 1..=20 {
        producer.send(b"an order").unwrap();
        if round % 5 == 0 {
            // By now the journaler has all of it in the files, and sleeps.
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(queue.durable_sequence(), Some(round - 1));
        producer.flush().unwrap();
        assert_eq!(queue.durable_sequence(), Some(round));
    }
    thread.stop().unwrap();
}

#[test]
fn without_a_journaler_the_producer_writes_what_it_overwrites() {
    let _alive = watchdog();
    let name = Name::new("no-journaler");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 3000);
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    receive_until(&mut consumer, 3000);
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    // It holds the producer from now on, as any.
    while producer.try_send(&payload(producer.next_sequence())).unwrap() != Sent::Full {}
    let end = producer.next_sequence();
    receive_until(&mut consumer, end);
    send_until(&mut producer, end + 10);
    receive_until(&mut consumer, end + 10);
}

#[test]
fn a_queue_that_is_made_anew_goes_on_where_its_journal_ends() {
    let _alive = watchdog();
    let name = Name::new("anew");
    let directory = Directory::new(&name);
    let mut end = 0;
    // Also with rings of other sizes.
    for (round, capacity) in [CAPACITY, CAPACITY, 4 * CAPACITY, 2 * CAPACITY].iter().enumerate() {
        let options = journalled(&directory, Journal::SyncedAlways).capacity(*capacity);
        let queue = Queue::create(&name, &options).unwrap();
        assert!(queue.log_cuts().is_empty());
        let mut producer = queue.producer().unwrap();
        assert_eq!(producer.next_sequence(), end);
        for start in [Start::Oldest, Start::Sequence(0)] {
            let mut consumer = queue.subscribe(&Subscribe::new().from(start)).unwrap();
            receive_until(&mut consumer, end);
            assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        }
        end += 700 + 50 * round as u64;
        send_until(&mut producer, end);
        let mut observer = queue.observe(Start::Last(end - 3)).unwrap();
        let message = observer.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.payload()), (3, &payload(3)[..]));
        let mut consumer = queue.subscribe(&spilling()).unwrap();
        receive_until(&mut consumer, end);
        assert!(producer.flush_timeout(Duration::from_secs(60)).unwrap());
        assert_eq!(queue.durable_sequence(), Some(end));
        Queue::force_remove(&name).unwrap();
    }
}

#[test]
fn a_time_leads_to_the_first_message_since() {
    let _alive = watchdog();
    let name = Name::new("time");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut times = Vec::new();
    for end in (100..4000).step_by(100) {
        std::thread::sleep(Duration::from_millis(1));
        times.push((SystemTime::now(), producer.next_sequence()));
        send_until(&mut producer, end);
    }
    for (time, sequence) in times {
        let mut observer = queue.observe(Start::Time(time)).unwrap();
        let message = observer.receive().unwrap().message().unwrap();
        assert_eq!(message.sequence(), sequence);
        let sent_at = message.time().unwrap();
        assert!(sent_at >= time);
        let mut observer = queue.observe(Start::Time(sent_at)).unwrap();
        assert_eq!(observer.receive().unwrap().message().unwrap().sequence(), sequence);
    }
    let mut observer = queue.observe(Start::Time(SystemTime::now())).unwrap();
    assert_eq!(observer.try_receive().unwrap(), Received::Empty);
    // What is written in place is sent when it is committed.
    let claim = producer.claim(8).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    let time = SystemTime::now();
    let sequence = claim.commit().unwrap();
    let mut observer = queue.observe(Start::Time(time)).unwrap();
    assert_eq!(observer.try_receive().unwrap().message().unwrap().sequence(), sequence);
    // Named subscriptions begin in the ring: at a time too, and elsewhere by another.
    let (time, sequence) = (SystemTime::now(), producer.next_sequence());
    send_until(&mut producer, sequence + 20);
    let workers = Subscribe::new().named("workers").from(Start::Time(time));
    let mut worker = queue.subscribe(&workers).unwrap();
    assert_eq!(worker.next_sequence(), sequence);
    receive_until(&mut worker, sequence + 5);
    drop(worker);
    queue.seek("workers", Start::Time(time)).unwrap();
    assert_eq!(queue.subscribe(&workers).unwrap().next_sequence(), sequence);
    let workers = Subscribe::new().named("all").from(Start::Oldest).on_lag(Lag::Hold);
    let oldest = queue.info().unwrap().oldest_sequence;
    assert_eq!(queue.subscribe(&workers).unwrap().next_sequence(), oldest);
    let (name, plain) = (Name::new("no-time"), QueueOptions::new().capacity(CAPACITY));
    let plain = Queue::create(&name, &plain).unwrap();
    let error = plain.observe(Start::Time(SystemTime::now())).unwrap_err();
    assert!(matches!(error, Error::NoJournal { .. }), "{error:?}");
}

#[test]
fn who_wants_durable_messages_sees_no_others() {
    let _alive = watchdog();
    let name = Name::new("durable");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::SyncedAlways)).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut consumers = [Lag::Hold, Lag::Skip, Lag::Spill].map(|lag| {
        let options = Subscribe::new().from(Start::Oldest).on_lag(lag).durable_only();
        queue.subscribe(&options).unwrap()
    });
    for end in (10..500).step_by(10) {
        send_until(&mut producer, end);
        for consumer in &mut consumers {
            assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        }
        assert!(producer.flush_timeout(Duration::from_secs(60)).unwrap());
        for consumer in &mut consumers {
            receive_until(consumer, end);
        }
    }
}

#[test]
fn a_sequence_that_was_not_durable_may_be_anothers_after_a_restart() {
    let _alive = watchdog();
    let name = Name::new("identity");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::SyncedAlways);
    let oldest = Subscribe::new().from(Start::Oldest);
    let received = |queue: &Queue, options: &Subscribe| {
        let mut consumer = queue.subscribe(options).unwrap();
        let mut found = Vec::new();
        while let Received::Message(message) = consumer.try_receive().unwrap() {
            found.push((message.sequence(), message.time().unwrap(), message.payload().to_vec()));
        }
        found
    };
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send_durable(b"durable").unwrap();
    producer.send(b"to be lost").unwrap();
    let before = received(&queue, &oldest);
    let durable_before = received(&queue, &oldest.clone().durable_only());
    assert_eq!((before.len(), &durable_before[..]), (2, &before[..1]));
    drop(producer);
    // As a restart does: the segment goes, and what was in it alone.
    fs::remove_file(name.path()).unwrap();
    let anew = Queue::create(&name, &options).unwrap();
    anew.producer().unwrap().send_durable(b"another").unwrap();
    let after = received(&anew, &oldest);
    assert_eq!((after[0].clone(), after.len()), (before[0].clone(), 2));
    assert_eq!(after[1].0, before[1].0, "the sequence of what was lost");
    assert_ne!((after[1].0, after[1].1), (before[1].0, before[1].1));
    assert_ne!(anew.instance_id(), queue.instance_id());
}

#[test]
fn who_holds_and_begins_in_the_files_holds_nobody_before_it_is_in_the_ring() {
    let _alive = watchdog();
    let name = Name::new("holds-later");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 300);
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    for sequence in 300..600 {
        assert_eq!(producer.try_send(&payload(sequence)).unwrap(), Sent::Sequence(sequence));
    }
    receive_until(&mut consumer, 600);
    // Now it is.
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    let mut end = 600;
    while producer.try_send(&payload(end)).unwrap() != Sent::Full {
        end += 1;
        assert!(end < 900, "nobody holds the producer");
    }
    receive_until(&mut consumer, end);
}

#[test]
fn who_spills_and_begins_in_the_files_misses_nothing() {
    let _alive = watchdog();
    let name = Name::new("begins-behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 500);
    let mut consumer = queue.subscribe(&spilling().from(Start::Sequence(10))).unwrap();
    assert_eq!(consumer.next_sequence(), 10);
    receive_until(&mut consumer, 500);
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
}

#[test]
fn what_somebody_who_spills_begins_with_stays_although_it_has_not_looked() {
    const LIMIT: u64 = 40 << 20;
    const BLOCK: [u8; 8000] = [7; 8000];
    let _alive = watchdog();
    let name = Name::new("not-looked");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written).history_max(LIMIT, AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..4_000 {
        producer.send(&BLOCK).unwrap();
    }
    let mut consumer = queue.subscribe(&spilling()).unwrap();
    while producer.try_send(&BLOCK).unwrap() != Sent::Full {
        assert!(producer.next_sequence() < 2 * LIMIT / 8000, "a file went that it begins with");
    }
    assert_eq!(consumer.try_receive().unwrap().message().unwrap().sequence(), 0);
}

#[test]
fn who_begins_with_what_leaves_the_ring_at_that_moment_misses_nothing() {
    const RING: u64 = CAPACITY / 1024;
    let _alive = watchdog();
    let name = Name::new("leaves");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    let queue = Queue::create(&name, &options.history_max(80 << 20, AtLimit::DropOldest)).unwrap();
    let mut producer = queue.producer().unwrap();
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                sent.store(1 + producer.send(&[7; 1000]).unwrap(), Ordering::Release);
            }
        });
        while sent.load(Ordering::Acquire) < RING {
            spin_loop();
        }
        let begin = |round: u64| {
            let from = sent.load(Ordering::Acquire).saturating_sub(RING - round % 16);
            let lag = if round.is_multiple_of(3) { Lag::Hold } else { Lag::Spill };
            let options = Subscribe::new().on_lag(lag).from(Start::Sequence(from));
            let mut consumer = queue.subscribe(&options).unwrap();
            let received = consumer.try_receive().unwrap().map(|message| message.sequence());
            (lag, from, received)
        };
        let rounds: Vec<_> = (0..1_000).map(begin).collect();
        for (lag, from, received) in rounds {
            assert!(received == Received::Message(from), "{lag}: {received:?}, not {from}");
        }
    });
}

#[test]
fn a_queue_that_could_not_be_opened_is_not_made_from_a_journal() {
    let _alive = watchdog();
    let name = Name::new("far-on");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written).first_sequence((1 << 61) - 1);
    let queue = Queue::create(&name, &options).unwrap();
    queue.producer().unwrap().send_durable(b"the last one of all").unwrap();
    Queue::remove(&name).unwrap();
    let error = Queue::create(&name, &options).unwrap_err();
    assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
    assert!(error.to_string().contains("name another directory"), "{error}");
    assert!(matches!(Queue::open(&name), Err(Error::NotFound { .. })));
}

#[test]
fn a_queue_that_would_pass_over_what_was_asked_for_is_refused() {
    let _alive = watchdog();
    let name = Name::new("passed-over");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    queue.producer().unwrap().send_durable(b"to be kept").unwrap();
    Queue::remove(&name).unwrap();
    let without = QueueOptions::new().capacity(CAPACITY).history(directory.path());
    let plain = QueueOptions::new().capacity(CAPACITY);
    for options in [
        without.clone(),
        without.keep_for(Duration::from_secs(1)),
        plain.clone().keep_for(Duration::from_secs(1)),
        plain.clone().history_max(1 << 30, AtLimit::Hold),
        plain.journal(Journal::Written),
    ] {
        let refused = Queue::create(&name, &options).unwrap_err();
        assert!(matches!(refused, Error::InvalidOption { .. }), "{refused}");
    }
    assert!(Queue::create(&name, &journalled(&directory, Journal::Written)).is_ok());
    // Nor does one that is there already pass for one that keeps messages.
    let plain = Name::new("plain");
    let queue = Queue::open_or_create(&plain, &QueueOptions::new().capacity(CAPACITY)).unwrap();
    let keeping = Directory::new(&plain);
    for options in [options(&keeping), journalled(&keeping, Journal::Written)] {
        let refused = Queue::open_or_create(&plain, &options).unwrap_err();
        assert!(refused.to_string().contains("is there already, and has no"), "{refused}");
    }
    assert!(Queue::open_or_create(&plain, &QueueOptions::new()).is_ok());
    drop(queue);
    assert!(Queue::open_or_create(&name, &journalled(&directory, Journal::Written)).is_ok());
}

/// It was opened, and what was sent was less safe than whoever opened it had asked for.
#[test]
fn a_queue_that_keeps_less_than_is_asked_for_is_not_opened_in_its_place() {
    let _alive = watchdog();
    let every = |milliseconds| Journal::SyncedEvery(Duration::from_millis(milliseconds));
    let by_strength = [Journal::Written, every(100), every(50), Journal::SyncedAlways];
    let name = Name::new("keeps-less");
    let directory = Directory::new(&name);
    for (strength, made) in by_strength.into_iter().enumerate() {
        Queue::create(&name, &journalled(&directory, made)).unwrap();
        for (wanted, journal) in by_strength.into_iter().enumerate() {
            let opened = Queue::open_or_create(&name, &journalled(&directory, journal));
            match opened {
                Ok(_) => assert!(wanted <= strength, "{journal} got {made}"),
                Err(error) => {
                    assert!(wanted > strength, "{error}");
                    let expected = format!("its journal is '{made}', which keeps less than");
                    assert!(error.to_string().contains(&expected), "{error}");
                }
            }
        }
        Queue::remove(&name).unwrap();
    }
}

/// It was opened, and what was to be kept in one directory went to another.
#[test]
fn a_queue_with_its_history_elsewhere_is_not_opened_in_its_place() {
    let _alive = watchdog();
    let name = Name::new("kept-elsewhere");
    let directory = Directory::new(&name);
    let other = directory.path().join("other");
    let elsewhere = QueueOptions::new().history(&other);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let found = queue.history().unwrap();
    let error = Queue::open_or_create(&name, &elsewhere).unwrap_err();
    assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
    let expected = format!("its history is in {}, not in {}", found.display(), other.display());
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(!other.exists(), "a directory was made that nobody uses");
    // By another way it is the same one.
    let link = directory.path().with_extension("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let opened = Queue::open_or_create(&name, &QueueOptions::new().history(&link));
    fs::remove_file(&link).unwrap();
    assert_eq!(opened.unwrap().instance_id(), queue.instance_id());
    // Also if somebody has taken it away.
    fs::remove_dir_all(found).unwrap();
    assert!(Queue::open_or_create(&name, &QueueOptions::new().history(found)).is_ok());
    assert!(Queue::open_or_create(&name, &elsewhere).is_err());
}

/// They take turns as chance has it; whoever has the queue has its history.
#[test]
fn makers_and_removers_of_a_history_do_not_take_it_from_each_others_queues() {
    const ROUNDS: u32 = 150;
    let _watchdog = watchdog();
    let name = Name::new("in-turns");
    let directory = Directory::new(&name);
    let options = options(&directory).journal(Journal::Written);
    // The other one may have the directory locked, to find that there is a queue already.
    let remove_of = |archive: &Archive, queue: &Queue| loop {
        match archive.remove_of(queue.instance_id()) {
            Err(Error::JournalerAlive { .. }) => thread::yield_now(),
            result => return result,
        }
    };
    let take_turns = || {
        let mut made = 0;
        while made < ROUNDS {
            let queue = match Queue::create(&name, &options) {
                Ok(queue) => queue,
                Err(Error::AlreadyExists { .. } | Error::JournalerAlive { .. }) => {
                    thread::yield_now();
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            made += 1;
            let sequence = queue.producer().unwrap().send_durable(b"kept").unwrap();
            let archive = Archive::open(directory.path()).unwrap();
            let in_use = remove_of(&archive, &queue);
            assert!(matches!(in_use, Err(Error::HistoryInUse { .. })), "{in_use:?}");
            let kept = archive.messages(sequence).unwrap().next().unwrap().unwrap();
            assert_eq!(kept.payload, b"kept");
            Queue::remove(&name).unwrap();
            match remove_of(&archive, &queue) {
                // The other one may have been faster.
                Ok(_) | Err(Error::HistoryInUse { .. } | Error::ForeignHistory { .. }) => {}
                Err(Error::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(take_turns);
        take_turns();
    });
}

#[test]
fn a_history_is_removed_for_the_queue_that_had_it_last() {
    let name = Name::new("had-last");
    let directory = Directory::new(&name);
    let options = options(&directory).journal(Journal::Written);
    let made = [(); 2].map(|()| {
        let queue = Queue::create(&name, &options).unwrap();
        queue.producer().unwrap().send_durable(b"kept").unwrap();
        Queue::remove(&name).unwrap();
        queue.instance_id()
    });
    let archive = Archive::open(directory.path()).unwrap();
    assert!(matches!(archive.remove_of(made[0]), Err(Error::ForeignHistory { .. })));
    // One that has the name and another history, or none, is no hindrance.
    let _other = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY)).unwrap();
    archive.remove_of(made[1]).unwrap();
    assert!(!directory.path().exists());
}

#[test]
fn a_journaler_that_is_stopped_tells_what_a_full_history_has_not() {
    let _alive = watchdog();
    let name = Name::new("not-all");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written).history_max(1 << 20, AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    let workers = Subscribe::new().named("workers").from(Start::Oldest).on_lag(Lag::Spill);
    queue.declare(&workers).unwrap();
    let mut producer = queue.producer().unwrap();
    while producer.try_send(&[7; 1000]).unwrap() != Sent::Full {}
    for is_removed in [false, true] {
        let journal = queue.journaler().unwrap().spawn();
        if is_removed {
            Queue::force_remove(&name).unwrap();
        }
        let error = journal.stop().unwrap_err();
        assert!(
            matches!(&error, Error::File { source, .. } if source.kind() == ErrorKind::StorageFull)
        );
        assert!(error.to_string().contains("as large as it may be"), "{error}");
    }
    assert!(queue.durable_sequence().unwrap() < producer.next_sequence());
}
