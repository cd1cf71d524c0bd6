//! Settling from other threads while a consumer receives.
//!
//! What chance decides is decided by a seed, which is printed; `RINGWAY_SEED` gives another one.

#![allow(clippy::print_stderr, reason = "how tests speak")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{
    AckMode, Acked, Acker, Consumer, ConsumerSet, Error, Lag, Nacked, Producer, Queue,
    QueueOptions, Received, Sent, SetReceived, Start, Subscribe, SubscriptionInfo, Wait,
};
use support::segment::progress_of;
use support::{Directory, Name, Peer, Random, mix, play, say, watchdog};

#[test]
fn peer() {
    play(&[("pool", pool), ("forks", forks)]);
}

const SMALL: u64 = 256 << 10;
const LEAST: u64 = 64 << 10;
const A_WHILE: Duration = Duration::from_millis(20);
const WAITS: [Wait; 3] = [Wait::Park, Wait::Backoff, Wait::Spin];

fn queue_of(name: &Name, capacity: u64) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(capacity).members(32)).unwrap()
}

fn workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park);
    workers.ack(AckMode::Manual)
}

fn info(queue: &Queue) -> SubscriptionInfo {
    let info = queue.info().unwrap();
    info.subscriptions.into_iter().find(|of| of.name == "workers").expect("the subscription")
}

/// Tells its sequence, and is of some length.
fn payload(sequence: u64) -> Vec<u8> {
    let size = 8 + mix(sequence) % 57;
    let bytes = mix(sequence).to_le_bytes();
    bytes.iter().copied().cycle().take(usize::try_from(size).unwrap()).collect()
}

fn send(producer: &mut Producer, count: u64) {
    for _ in 0..count {
        let sequence = producer.next_sequence();
        producer.send(&payload(sequence)).unwrap();
    }
}

fn next(consumer: &mut Consumer) -> u64 {
    let message = consumer.receive().unwrap().message().expect("a message");
    assert_eq!(message.payload(), payload(message.sequence()));
    message.sequence()
}

/// What a thread of a pool has been given.
#[derive(Debug)]
struct Task {
    sequence: u64,
    delivery: u32,
    payload: Vec<u8>,
}

/// Receives to the end of the stream, and gives what it gets to a pool's threads in turn.
fn hand_round(queue: &Queue, mut consumer: Consumer, pool: &[Sender<Task>]) {
    let mut threads = pool.iter().cycle();
    loop {
        match consumer.receive().unwrap() {
            Received::Message(message) => {
                let (sequence, delivery) = (message.sequence(), message.delivery());
                let task = Task { sequence, delivery, payload: message.payload().to_vec() };
                threads.next().unwrap().send(task).unwrap();
            }
            // What threads have may yet be refused.
            Received::Closed if info(queue).unacked > 0 => thread::sleep(Duration::from_millis(1)),
            Received::Closed => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Gives the tasks in another order, up to so many later as long as there are others.
fn in_disorder(
    tasks: &Receiver<Task>,
    hoard: usize,
    random: &mut Random,
    mut take: impl FnMut(Task, &mut Random),
) {
    let mut hoarded = Vec::new();
    loop {
        let task = tasks.recv_timeout(Duration::from_millis(1));
        let ended = matches!(task, Err(RecvTimeoutError::Disconnected));
        let is_idle = task.is_err();
        hoarded.extend(task);
        while !hoarded.is_empty() && (is_idle || hoarded.len() > hoard) {
            let place = usize::try_from(random.below(hoarded.len() as u64)).unwrap();
            take(hoarded.swap_remove(place), random);
        }
        if ended {
            return;
        }
    }
}

#[test]
fn pools_of_threads_settle_in_any_order_while_their_receivers_wait() {
    const COUNT: u64 = 40_000;
    let _alive = watchdog();
    let random = Mutex::new(Random::from_environment());
    let seed = || Random::of(random.lock().unwrap().below(u64::MAX));
    for (prefetch, options) in [
        (16, workers()),
        (64, workers().wait(Wait::Backoff)),
        (200, workers().keyed()),
        (32, workers().ack_within(Duration::from_secs(100))),
        (1, workers()),
    ] {
        let name = Name::new("pools");
        let queue = queue_of(&name, LEAST);
        let options = options.prefetch(prefetch);
        let count = if prefetch == 1 { COUNT / 10 } else { COUNT };
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..2 {
                let consumer = queue.subscribe(&options).unwrap();
                let mut pool = Vec::new();
                for _ in 0..4 {
                    let (tasks, own_tasks) = channel();
                    pool.push(tasks);
                    let (acker, mut random, done) = (consumer.acker().unwrap(), seed(), &done);
                    scope.spawn(move || {
                        in_disorder(&own_tasks, prefetch as usize / 8, &mut random, |task, _| {
                            assert_eq!(task.payload, payload(task.sequence));
                            assert_eq!(acker.ack(task.sequence).unwrap(), Acked::Done);
                            done.lock().unwrap().push(task.sequence);
                        });
                    });
                }
                let queue = &queue;
                scope.spawn(move || hand_round(queue, consumer, &pool));
            }
            let mut producer = queue.producer().unwrap();
            producer.set_wait(Wait::Park);
            for sequence in 0..count {
                let key = [u8::try_from(sequence % 100).unwrap()];
                producer.message().key(&key).send(&payload(sequence)).unwrap();
            }
            producer.close().unwrap();
        });
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert!(done.into_iter().eq(0..count), "each is settled once");
        let info = info(&queue);
        assert_eq!((info.acked, info.delivered, info.redelivered), (count, count, 0));
        assert_eq!((info.unacked, info.lag_messages), (0, Some(0)));
    }
}

/// Acknowledges, refuses and gives up at random, from four threads for each of two members.
fn settle_at_random(options: &Subscribe, count: u64, random: &mut Random) {
    let name = Name::new("mixed");
    let directory = Directory::new(&name);
    let made = QueueOptions::new().capacity(LEAST).members(64).history(directory.path());
    let queue = Queue::create(&name, &made).unwrap();
    // By sequence: the deliveries, and which of them was the last.
    let deliveries: Mutex<BTreeMap<u64, Vec<u32>>> = Mutex::default();
    let ended: Mutex<BTreeMap<u64, u32>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..2 {
            let consumer = queue.subscribe(options).unwrap();
            let mut pool = Vec::new();
            for _ in 0..4 {
                let (tasks, own_tasks) = channel();
                pool.push(tasks);
                let (acker, mut random) =
                    (consumer.acker().unwrap(), Random::of(random.below(u64::MAX)));
                let (deliveries, ended) = (&deliveries, &ended);
                scope.spawn(move || {
                    in_disorder(&own_tasks, 3, &mut random, |task, random| {
                        let Task { sequence, delivery, payload: bytes } = task;
                        assert_eq!(bytes, payload(sequence));
                        deliveries.lock().unwrap().entry(sequence).or_default().push(delivery);
                        let end = || {
                            let before = ended.lock().unwrap().insert(sequence, delivery);
                            assert_eq!(before, None, "message {sequence} ended twice");
                        };
                        match random.below(100) {
                            0 => {
                                end();
                                assert_eq!(acker.reject(sequence).unwrap(), Acked::Done);
                            }
                            // The fifth delivery is the last.
                            1..30 if delivery < 5 => {
                                let nacked = if random.below(2) == 0 {
                                    acker.nack(sequence).unwrap()
                                } else {
                                    let pause = Duration::from_micros(random.below(3_000));
                                    acker.nack_after(sequence, pause).unwrap()
                                };
                                assert!(matches!(nacked, Nacked::Retry(_)), "{nacked:?}");
                            }
                            1..30 => {
                                end();
                                assert_eq!(acker.nack(sequence).unwrap(), Nacked::DeadLetter);
                            }
                            _ => {
                                end();
                                assert_eq!(acker.extend(sequence).unwrap(), Acked::Done);
                                assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
                            }
                        }
                        if random.below(10) == 0 {
                            assert_eq!(acker.ack(count + sequence).unwrap(), Acked::Late);
                        }
                    });
                });
            }
            let queue = &queue;
            scope.spawn(move || hand_round(queue, consumer, &pool));
        }
        let mut producer = queue.producer().unwrap();
        producer.set_wait(Wait::Park);
        send(&mut producer, count);
        producer.close().unwrap();
    });
    let (deliveries, ended) = (deliveries.into_inner().unwrap(), ended.into_inner().unwrap());
    assert!(ended.keys().copied().eq(0..count), "each has ended");
    for (sequence, mut times) in deliveries {
        times.sort_unstable();
        assert!(times.iter().copied().eq(1..=ended[&sequence]), "message {sequence}: {times:?}");
    }
    let letters = queue.dead_letters("workers").unwrap().iter().count() as u64;
    let counts = info(&queue);
    assert_eq!((counts.acked + counts.dead_letters, counts.dead_letters), (count, letters));
    let delivered: u64 = ended.values().copied().map(u64::from).sum();
    assert_eq!((counts.delivered, counts.redelivered), (delivered, delivered - count));
    assert_eq!((counts.unacked, counts.lag_messages), (0, Some(0)));
}

#[test]
fn what_threads_do_at_random_settles_each_message_once_or_brings_it_again() {
    let _alive = watchdog();
    let mut random = Random::from_environment();
    let millisecond = Duration::from_millis(1);
    let options = workers().deliveries_max(5).backoff(millisecond, 1.5, 2 * millisecond);
    let hour = Duration::from_secs(3600);
    settle_at_random(&options.clone().prefetch(24), 3_000, &mut random);
    settle_at_random(&options.clone().prefetch(100).ack_within(hour), 3_000, &mut random);
    settle_at_random(&options.clone().wait(Wait::Backoff).prefetch(64), 3_000, &mut random);
    settle_at_random(&options.on_lag(Lag::Spill).prefetch(48), 3_000, &mut random);
}

#[test]
fn of_two_threads_that_settle_a_message_at_once_one_is_late() {
    const COUNT: u64 = 2_000;
    let _alive = watchdog();
    for lease in [None, Some(Duration::from_secs(3600))] {
        let name = Name::new("double");
        let queue = queue_of(&name, SMALL);
        let options = lease.into_iter().fold(workers(), Subscribe::ack_within);
        let mut consumer = queue.subscribe(&options).unwrap();
        let acker = consumer.acker().unwrap();
        let barrier = Barrier::new(3);
        let mut producer = queue.producer().unwrap();
        let done = [const { Mutex::new(false) }; 2];
        thread::scope(|scope| {
            for (thread, done) in done.iter().enumerate() {
                let (acker, barrier) = (acker.clone(), &barrier);
                scope.spawn(move || {
                    for sequence in 0..COUNT {
                        barrier.wait();
                        *done.lock().unwrap() = if thread == 1 && sequence % 3 == 0 {
                            acker.nack(sequence).unwrap() != Nacked::Late
                        } else {
                            acker.ack(sequence).unwrap() == Acked::Done
                        };
                        barrier.wait();
                    }
                });
            }
            for sequence in 0..COUNT {
                send(&mut producer, 1);
                assert_eq!(next(&mut consumer), sequence);
                barrier.wait();
                barrier.wait();
                let done = done.each_ref().map(|done| *done.lock().unwrap());
                assert_ne!(done[0], done[1], "message {sequence}");
                if done[1] && sequence % 3 == 0 {
                    assert_eq!(next(&mut consumer), sequence);
                    assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
                }
            }
        });
        assert_eq!((info(&queue).acked, info(&queue).unacked), (COUNT, 0));
    }
}

#[test]
fn what_the_consumer_does_not_have_is_late() {
    let _alive = watchdog();
    let name = Name::new("late");
    let directory = Directory::new(&name);
    let made = QueueOptions::new().capacity(SMALL).history(directory.path());
    let queue = Queue::create(&name, &made).unwrap();
    let mut consumer = queue.subscribe(&workers().prefetch(8)).unwrap();
    let acker = consumer.acker().unwrap();
    let all_late = |sequence| {
        assert_eq!(acker.ack(sequence).unwrap(), Acked::Late);
        assert_eq!(acker.nack(sequence).unwrap(), Nacked::Late);
        assert_eq!(acker.nack_after(sequence, A_WHILE).unwrap(), Nacked::Late);
        assert_eq!(acker.reject(sequence).unwrap(), Acked::Late);
        assert_eq!(acker.extend(sequence).unwrap(), Acked::Late);
    };
    all_late(0);
    send(&mut queue.producer().unwrap(), 5);
    // Sent, and not received.
    all_late(0);
    (0..4).for_each(|sequence| assert_eq!(next(&mut consumer), sequence));
    // Taken, and not received.
    all_late(4);
    all_late(u64::MAX - 1);
    assert_eq!(acker.ack(1).unwrap(), Acked::Done);
    assert_eq!(acker.reject(2).unwrap(), Acked::Done);
    // What the consumer itself does is as good.
    assert_eq!(consumer.ack(3).unwrap(), Acked::Done);
    (2..5).for_each(all_late);
    drop(consumer);
    (0..5).for_each(all_late);
    assert_eq!(acker.ack_through(u64::MAX).unwrap(), Acked::Late);
    let mut other = queue.subscribe(&workers()).unwrap();
    assert_eq!((next(&mut other), next(&mut other)), (0, 4));
    (0..5).for_each(all_late);
    assert_eq!(info(&queue).unacked, 2);
    assert!(format!("{acker:?}").contains(&*name), "{acker:?}");
    // Of a queue that is gone.
    let acker = other.acker().unwrap();
    Queue::force_remove(&name).unwrap();
    assert_eq!(acker.ack(0).unwrap(), Acked::Done);
    assert_eq!(acker.ack(0).unwrap(), Acked::Late);
    drop(other);
    assert_eq!(acker.ack(4).unwrap(), Acked::Late);
}

#[test]
fn only_who_acknowledges_by_itself_has_an_acker() {
    fn assert_shared<T: Clone + Send + Sync + std::fmt::Debug>() {}
    assert_shared::<Acker>();
    let name = Name::new("no-acker");
    let queue = queue_of(&name, SMALL);
    for options in [Subscribe::new(), workers().ack(AckMode::Auto)] {
        let error = queue.subscribe(&options).unwrap().acker().unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
        assert!(error.to_string().contains("acker"), "{error}");
    }
}

#[test]
fn a_receiver_with_as_much_as_it_may_have_waits_for_an_acker() {
    let _alive = watchdog();
    for (wait, lag) in WAITS.into_iter().flat_map(|wait| [(wait, Lag::Hold), (wait, Lag::Skip)]) {
        let name = Name::new("limit");
        let queue = queue_of(&name, SMALL);
        let options = workers().wait(wait).on_lag(lag).prefetch(3);
        let mut consumer = queue.subscribe(&options).unwrap();
        send(&mut queue.producer().unwrap(), 50);
        (0..3).for_each(|sequence| assert_eq!(next(&mut consumer), sequence));
        let full = consumer.receive();
        assert!(matches!(full, Err(Error::PrefetchFull { unacked: 3, .. })), "{full:?}");
        let acker = consumer.acker().unwrap();
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        assert_eq!(consumer.receive_timeout(A_WHILE).unwrap(), Received::TimedOut);
        let (received, settle) = channel();
        let worker = thread::spawn(move || {
            for sequence in settle {
                thread::sleep(Duration::from_millis(1));
                assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
            }
        });
        for sequence in 3..50 {
            // In turn the oldest, and the newest.
            received.send(if sequence % 2 == 0 { sequence - 1 } else { sequence - 3 }).unwrap();
            assert_eq!(next(&mut consumer), sequence);
        }
        drop(received);
        worker.join().unwrap();
        // The last acker went with it.
        let full = consumer.receive();
        assert!(matches!(full, Err(Error::PrefetchFull { unacked: 3, .. })), "{full:?}");
    }
}

#[test]
fn a_receiver_that_waits_for_ackers_is_told_when_there_are_none_any_more() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("no-more");
        let queue = queue_of(&name, SMALL);
        let mut consumer = queue.subscribe(&workers().wait(wait).prefetch(1)).unwrap();
        send(&mut queue.producer().unwrap(), 2);
        next(&mut consumer);
        let acker = consumer.acker().unwrap();
        let other = acker.clone();
        let worker = thread::spawn(move || {
            drop(acker);
            thread::sleep(A_WHILE);
            drop(other);
        });
        let full = consumer.receive();
        assert!(matches!(full, Err(Error::PrefetchFull { unacked: 1, .. })), "{full:?}");
        worker.join().unwrap();
    }
}

#[test]
fn what_ackers_settle_holds_nobody_while_the_receiver_waits() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("holds");
        let queue = queue_of(&name, LEAST);
        let mut consumer = queue.subscribe(&workers().wait(wait).prefetch(64)).unwrap();
        let acker = consumer.acker().unwrap();
        let mut producer = queue.producer().unwrap();
        send(&mut producer, 40);
        (0..40).for_each(|sequence| assert_eq!(next(&mut consumer), sequence));
        thread::scope(|scope| {
            // Another one takes what comes.
            let rest = scope.spawn(|| {
                let mut other = queue.subscribe(&workers().wait(wait)).unwrap();
                while let Received::Message(message) = other.receive().unwrap() {
                    assert_eq!(message.ack().unwrap(), Acked::Done);
                }
            });
            let waiting = scope.spawn(|| {
                let mut own = Vec::new();
                while let Received::Message(message) = consumer.receive().unwrap() {
                    own.push(message.sequence());
                    assert_eq!(acker.ack(message.sequence()).unwrap(), Acked::Done);
                }
            });
            thread::sleep(A_WHILE);
            for sequence in (0..40).rev() {
                assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
            }
            // Several times around the ring.
            for _ in 0..10 * LEAST / 64 {
                let sequence = producer.next_sequence();
                producer.send(&payload(sequence)).unwrap();
            }
            producer.close().unwrap();
            waiting.join().unwrap();
            rest.join().unwrap();
        });
    }
}

#[test]
fn a_producer_goes_on_by_what_an_acker_settles_while_everybody_sleeps() {
    let _alive = watchdog();
    let name = Name::new("asleep");
    let queue = queue_of(&name, LEAST);
    let mut consumer = queue.subscribe(&workers().prefetch(1024)).unwrap();
    let acker = consumer.acker().unwrap();
    let mut producer = queue.producer().unwrap();
    while let Sent::Sequence(_) = producer.try_send(&[1; 1000]).unwrap() {}
    let count = producer.next_sequence();
    let received = Mutex::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Received::Message(message) = consumer.receive().unwrap() {
                assert_eq!(message.payload(), [1; 1000]);
                *received.lock().unwrap() += 1;
            }
        });
        while *received.lock().unwrap() < count {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(A_WHILE);
        assert_eq!(producer.try_send(&[1; 1000]).unwrap(), Sent::Full);
        assert_eq!(acker.ack_through(count).unwrap(), Acked::Done);
        // At once, and not when the receiver looks around.
        assert!(matches!(producer.try_send(&[1; 1000]).unwrap(), Sent::Sequence(_)));
        producer.close().unwrap();
    });
}

#[test]
fn what_is_lent_where_it_lies_stays_whatever_ackers_do() {
    let _alive = watchdog();
    let name = Name::new("lent");
    let queue = queue_of(&name, LEAST);
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let acker = consumer.acker().unwrap();
    let mut producer = queue.producer().unwrap();
    let second = |nack: bool, acker: &Acker, sequence| {
        if nack {
            assert!(matches!(acker.nack(sequence).unwrap(), Nacked::Retry(_)));
        } else {
            assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
        }
    };
    for nack in [false, true] {
        send(&mut producer, 1);
        let message = consumer.receive().unwrap().message().unwrap();
        let (sequence, bytes) = (message.sequence(), message.payload());
        thread::scope(|scope| {
            scope.spawn(|| second(nack, &acker, sequence));
        });
        // It would go to another one, and the producer over it.
        let mut other = queue.subscribe(&workers().prefetch(1)).unwrap();
        let mut sent = 0;
        while let Sent::Sequence(_) = producer.try_send(&[0xff; 1000]).unwrap() {
            sent += 1;
            let again = other.receive_timeout(Duration::from_millis(1)).unwrap().message().unwrap();
            assert_ne!(again.sequence(), sequence);
            assert_eq!(again.ack().unwrap(), Acked::Done);
        }
        assert!(sent > 10, "{sent}");
        assert_eq!(bytes, payload(sequence));
        drop(other);
        if nack {
            assert_eq!(next(&mut consumer), sequence);
            assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
        }
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        assert!(matches!(producer.try_send(&[0xff; 1000]).unwrap(), Sent::Sequence(_)));
        let message = consumer.receive().unwrap().message().unwrap();
        assert_eq!(message.ack().unwrap(), Acked::Done);
    }
}

#[test]
fn what_a_worker_refuses_comes_again_to_who_sleeps() {
    let _alive = watchdog();
    let pause = Duration::from_millis(30);
    // Alone in its share, or beside one that its worker keeps.
    for (beside, lease) in [(0, None), (1, None), (1, Some(Duration::from_secs(3600)))] {
        let name = Name::new("comes-again");
        let queue = queue_of(&name, SMALL);
        let options = lease.into_iter().fold(workers(), Subscribe::ack_within);
        let mut consumer = queue.subscribe(&options).unwrap();
        let acker = consumer.acker().unwrap();
        send(&mut queue.producer().unwrap(), 1 + beside);
        (0..=beside).for_each(|sequence| assert_eq!(next(&mut consumer), sequence));
        let worker = thread::spawn(move || {
            thread::sleep(A_WHILE);
            let refused = Instant::now();
            assert_eq!(acker.nack_after(0, pause).unwrap(), Nacked::Retry(pause));
            (refused, acker)
        });
        let message = consumer.receive().unwrap().message().unwrap();
        let came = Instant::now();
        assert_eq!((message.sequence(), message.delivery()), (0, 2));
        let (refused, acker) = worker.join().unwrap();
        assert!(came >= refused + pause, "it waits as long as it was told to");
        eprintln!("{beside} beside: it came after {:?}", came - refused);
        assert_eq!(acker.ack_through(beside).unwrap(), Acked::Done);
        assert_eq!(info(&queue).unacked, 0);
    }
}

#[test]
fn what_a_worker_refuses_goes_to_whoever_is_free() {
    let _alive = watchdog();
    for lease in [None, Some(Duration::from_secs(3600))] {
        let name = Name::new("who-is-free");
        let queue = queue_of(&name, SMALL);
        let options = lease.into_iter().fold(workers(), Subscribe::ack_within);
        let mut consumer = queue.subscribe(&options).unwrap();
        let acker = consumer.acker().unwrap();
        let mut other = queue.subscribe(&options).unwrap();
        let mut producer = queue.producer().unwrap();
        // Each in a share of its own.
        for sequence in 0..2 {
            send(&mut producer, 1);
            assert_eq!(next(&mut consumer), sequence);
        }
        // The consumer is busy with something else.
        assert!(matches!(acker.nack(0).unwrap(), Nacked::Retry(_)));
        let message = other.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.delivery()), (0, 2));
        assert_eq!(message.ack().unwrap(), Acked::Done);
        assert!(matches!(acker.nack(1).unwrap(), Nacked::Retry(_)));
        if lease.is_none() {
            // It may be reading the last one where it lies.
            assert_eq!(other.receive_timeout(A_WHILE).unwrap(), Received::TimedOut);
            drop(consumer);
        }
        let message = other.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.delivery()), (1, 2));
        assert_eq!(message.ack().unwrap(), Acked::Done);
        assert_eq!(info(&queue).unacked, 0);
    }
}

/// Keeps everybody from appending to a file of letters until it is dropped, as a slow disk does.
fn keep_from_appending(path: &Path) -> File {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let kind = libc::c_short::try_from(libc::F_WRLCK).unwrap();
    let lock = libc::flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 1, l_pid: 0 };
    // SAFETY: the lock outlives the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(done, 0);
    file
}

/// A member whose messages are dead letters once they are refused, with four of them, of which the
/// first one is a letter; a part of each, and whether it has shown once more that it is at work.
fn with_a_letter(name: &Name, directory: &Directory) -> (Queue, Consumer, impl Fn() -> bool) {
    let options = QueueOptions::new().capacity(LEAST).members(8).history(directory.path());
    let queue = Queue::create(name, &options).unwrap();
    send(&mut queue.producer().unwrap(), 4);
    let options = workers().deliveries_max(1).ack_within(Duration::from_secs(3_600));
    let mut consumer = queue.subscribe(&options).unwrap();
    for sequence in 0..4 {
        assert_eq!(next(&mut consumer), sequence);
    }
    assert_eq!(consumer.reject(0).unwrap(), Acked::Done);
    let progress = progress_of(name, 0);
    let before = progress();
    (queue, consumer, move || progress() != before)
}

#[test]
fn what_is_being_given_up_is_nobody_elses_to_settle() {
    let _alive = watchdog();
    let name = Name::new("being-given-up");
    let directory = Directory::new(&name);
    let (queue, consumer, is_begun) = with_a_letter(&name, &directory);
    let letters = keep_from_appending(&directory.file("dead-letters/workers.letters"));
    let acker = consumer.acker().unwrap();
    thread::scope(|scope| {
        let rejecting = scope.spawn(|| acker.reject(1));
        while !is_begun() {
            thread::yield_now();
        }
        let (acked, nacked) = (acker.ack(1).unwrap(), acker.nack(1).unwrap());
        let (rejected, other) = (acker.reject(1).unwrap(), acker.ack(2).unwrap());
        drop(letters);
        assert_eq!((acked, nacked, rejected), (Acked::Late, Nacked::Late, Acked::Late));
        assert_eq!((other, rejecting.join().unwrap().unwrap()), (Acked::Done, Acked::Done));
    });
    assert_eq!((info(&queue).acked, info(&queue).dead_letters), (1, 2));
    assert_eq!(queue.dead_letters("workers").unwrap().iter().count(), 2);
}

#[test]
fn a_member_does_not_go_before_what_it_gives_up_is_a_letter() {
    let _alive = watchdog();
    for is_rejected in [false, true] {
        let name = Name::new("not-before");
        let directory = Directory::new(&name);
        let (queue, consumer, is_begun) = with_a_letter(&name, &directory);
        let letters = keep_from_appending(&directory.file("dead-letters/workers.letters"));
        let acker = consumer.acker().unwrap();
        thread::scope(|scope| {
            let refusing = scope.spawn(|| {
                if is_rejected {
                    assert_eq!(acker.reject(1).unwrap(), Acked::Done);
                } else {
                    assert_eq!(acker.nack(1).unwrap(), Nacked::DeadLetter);
                }
            });
            while !is_begun() {
                thread::yield_now();
            }
            scope.spawn(|| {
                thread::sleep(A_WHILE);
                drop(letters);
            });
            drop(consumer);
            assert_eq!(queue.dead_letters("workers").unwrap().iter().count(), 2);
            refusing.join().unwrap();
        });
        let mut heir = queue.subscribe(&workers()).unwrap();
        assert!((heir.try_receive().unwrap().message()).is_none(), "all were delivered once");
        assert_eq!(info(&queue).dead_letters, 4);
    }
}

#[test]
fn a_lease_that_is_over_makes_an_acker_late_and_a_full_receiver_go_on() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("lease");
        let queue = queue_of(&name, SMALL);
        let lease = Duration::from_millis(50);
        let options = workers().wait(wait).prefetch(1).ack_within(lease);
        let mut consumer = queue.subscribe(&options).unwrap();
        let acker = consumer.acker().unwrap();
        let mut producer = queue.producer().unwrap();
        send(&mut producer, 1);
        assert_eq!(next(&mut consumer), 0);
        let mut other = queue.subscribe(&options).unwrap();
        thread::scope(|scope| {
            // An extended one is not.
            let extends = Instant::now() + 4 * lease;
            while Instant::now() < extends {
                let begin = Instant::now();
                assert_eq!(acker.extend(0).unwrap(), Acked::Done);
                let received = other.receive_timeout(lease / 10).unwrap();
                if begin.elapsed() >= lease {
                    // The system had better things to do for so long that it may have run out.
                    return;
                }
                assert_eq!(received, Received::TimedOut);
            }
            // The receiver has as much as it may have, until that passes on.
            let waiting = scope.spawn(|| next(&mut consumer));
            let (begin, message) = loop {
                let begin = Instant::now();
                let received = other.receive_timeout(lease / 10).unwrap();
                if let Received::Message(message) = received {
                    break (begin, message);
                }
            };
            assert_eq!((message.sequence(), message.delivery()), (0, 2));
            send(&mut producer, 1);
            let sequence = waiting.join().unwrap();
            if begin.elapsed() >= lease {
                // Likewise: the receiver may have had it back.
                return;
            }
            assert_eq!(sequence, 1);
            assert_eq!(acker.ack(0).unwrap(), Acked::Late);
            assert_eq!(acker.nack(0).unwrap(), Nacked::Late);
            assert_eq!(message.ack().unwrap(), Acked::Done);
            assert_eq!(acker.ack(1).unwrap(), Acked::Done);
            assert_eq!(info(&queue).unacked, 0);
        });
    }
}

#[test]
fn a_set_goes_on_when_an_acker_settles() {
    let _alive = watchdog();
    for wait in WAITS {
        let names = [Name::new("set"), Name::new("set")];
        let mut set = ConsumerSet::new();
        set.set_wait(wait);
        let queues = names.each_ref().map(|name| queue_of(name, SMALL));
        let numbers = queues
            .each_ref()
            .map(|queue| set.add(queue.subscribe(&workers().prefetch(2)).unwrap()));
        let ackers = numbers.map(|number| set.consumer(number).unwrap().acker().unwrap());
        let (tasks, own_tasks) = channel::<(usize, u64)>();
        let worker = thread::spawn(move || {
            for (number, sequence) in own_tasks {
                thread::sleep(Duration::from_micros(500));
                assert_eq!(ackers[number].ack(sequence).unwrap(), Acked::Done);
            }
        });
        for queue in &queues {
            let mut producer = queue.producer().unwrap();
            send(&mut producer, 100);
            producer.close().unwrap();
        }
        let mut counts = [0, 0];
        while let SetReceived::One(number, received) = set.receive() {
            if let Received::Message(message) = received.unwrap() {
                assert_eq!(message.sequence(), counts[number]);
                counts[number] += 1;
                tasks.send((number, message.sequence())).unwrap();
            }
        }
        assert_eq!(counts, [100, 100]);
        drop(tasks);
        worker.join().unwrap();
        for queue in &queues {
            assert_eq!(info(queue).acked, 100);
        }
    }
}

/// Acknowledges what is even by a pool of threads, until it is killed.
fn pool(arguments: &[&str]) {
    let [name] = arguments else { panic!("{arguments:?}") };
    let mut consumer = Queue::open(name).unwrap().subscribe(&workers().prefetch(256)).unwrap();
    let acker = consumer.acker().unwrap();
    let (done, all_done) = channel();
    let pool = [(); 3].map(|()| {
        let (tasks, own_tasks) = channel::<u64>();
        let (acker, done) = (acker.clone(), done.clone());
        thread::spawn(move || {
            for sequence in own_tasks {
                if sequence % 2 == 0 {
                    assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
                }
                done.send(()).unwrap();
            }
        });
        tasks
    });
    thread::spawn(move || {
        all_done.iter().take(200).for_each(drop);
        say("worked");
    });
    let mut threads = pool.iter().cycle();
    loop {
        let sequence = next(&mut consumer);
        threads.next().unwrap().send(sequence).unwrap();
    }
}

#[test]
fn what_the_threads_of_a_killed_process_had_not_acknowledged_goes_to_others() {
    let _alive = watchdog();
    let name = Name::new("killed");
    let queue = queue_of(&name, SMALL);
    let mut peer = Peer::start("pool", &[&name]);
    while queue.info().unwrap().consumers.is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    let mut producer = queue.producer().unwrap();
    send(&mut producer, 200);
    peer.await_word("worked");
    peer.kill_living();
    producer.close().unwrap();
    let mut heir = queue.subscribe(&workers().prefetch(256)).unwrap();
    let mut left = Vec::new();
    while let Received::Message(message) = heir.receive().unwrap() {
        assert!(message.redelivered());
        left.push(message.sequence());
        assert_eq!(message.ack().unwrap(), Acked::Done);
    }
    left.sort_unstable();
    assert!(left.iter().copied().eq((0..200).filter(|sequence| sequence % 2 == 1)), "{left:?}");
    assert_eq!(info(&queue).acked, 200);
}

/// Forks with an acker, and a thread that settles all the time.
fn forks(_: &[&str]) {
    let name = Name::new("forks");
    let directory = Directory::new(&name);
    let made = QueueOptions::new().capacity(SMALL).history(directory.path());
    let queue = Queue::create(&name, &made).unwrap();
    let mut consumer = queue.subscribe(&workers().prefetch(1024)).unwrap();
    let acker = consumer.acker().unwrap();
    send(&mut queue.producer().unwrap(), 1_000);
    (0..1_000).for_each(|sequence| assert_eq!(next(&mut consumer), sequence));
    let busy = acker.clone();
    let worker = thread::spawn(move || {
        for sequence in 1..1_000 {
            assert_eq!(busy.ack(sequence).unwrap(), Acked::Done);
            thread::sleep(Duration::from_micros(50));
        }
    });
    for _ in 0..20 {
        // SAFETY: the child calls what takes no lock there, and ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let refused = matches!(acker.ack(0), Err(Error::Forked { .. }))
                && matches!(acker.ack_through(0), Err(Error::Forked { .. }))
                && matches!(acker.nack(0), Err(Error::Forked { .. }))
                && matches!(acker.nack_after(0, A_WHILE), Err(Error::Forked { .. }))
                && matches!(acker.reject(0), Err(Error::Forked { .. }))
                && matches!(acker.extend(0), Err(Error::Forked { .. }))
                && matches!(consumer.acker(), Err(Error::Forked { .. }));
            drop(acker);
            drop(consumer);
            // SAFETY: it does not return, and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child was not refused");
    }
    worker.join().unwrap();
    assert_eq!(acker.extend(0).unwrap(), Acked::Done);
    assert_eq!(acker.ack(0).unwrap(), Acked::Done);
    assert_eq!(info(&queue).acked, 1_000);
}

#[test]
fn a_forked_child_has_no_acker() {
    let _alive = watchdog();
    Peer::start("forks", &[]).finish();
}

/// As threads do that are made for a message each, and have an acker of their own.
#[test]
fn the_last_acker_leaves_room_when_it_has_settled_all_and_goes() {
    const ROUNDS: u64 = 20_000;
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("last-acker");
        let queue = queue_of(&name, SMALL);
        let mut consumer = queue.subscribe(&workers().wait(wait).prefetch(1)).unwrap();
        let mut producer = queue.producer().unwrap();
        let (tasks, own_tasks) = std::sync::mpsc::channel::<(u64, Acker)>();
        thread::scope(|scope| {
            scope.spawn(|| {
                for (sequence, acker) in own_tasks {
                    assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
                }
            });
            for sequence in 0..ROUNDS {
                send(&mut producer, 1);
                assert_eq!(next(&mut consumer), sequence);
                tasks.send((sequence, consumer.acker().unwrap())).unwrap();
            }
            drop(tasks);
        });
        assert_eq!(info(&queue).unacked, 0);
    }
}

#[test]
fn a_receiver_that_sleeps_for_its_last_acker_is_told_when_that_goes() {
    let _alive = watchdog();
    let name = Name::new("acker-gone");
    let queue = queue_of(&name, SMALL);
    let mut consumer = queue.subscribe(&workers().wait(Wait::Park).prefetch(1)).unwrap();
    let mut producer = queue.producer().unwrap();
    send(&mut producer, 2);
    assert_eq!(next(&mut consumer), 0);
    let acker = consumer.acker().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| consumer.receive().map(|_| ()));
        thread::sleep(A_WHILE);
        drop(acker);
        assert!(matches!(waiting.join().unwrap(), Err(Error::PrefetchFull { unacked: 1, .. })));
    });
}
