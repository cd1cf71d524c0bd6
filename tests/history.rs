//! What is kept on disk: messages that a consumer has not read when they leave the ring, and all of
//! them in a queue with a journal.

mod support;

use std::fs;
use std::path::PathBuf;

use ringway::{AtLimit, Consumer, Error, Holder, Lag, Queue, QueueOptions, Received, Sent, Start};
use ringway::{Producer, Subscribe};
use support::{Name, watchdog};

const CAPACITY: u64 = 64 << 10;

/// A history directory of a test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(purpose: &str) -> Self {
        let name = format!("ringway-test-{purpose}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.0.join(kind)) else { return Vec::new() };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(8).history(&directory.0)
}

fn spilling() -> Subscribe {
    Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill)
}

/// A payload that tells its sequence by every byte.
fn payload(sequence: u64) -> Vec<u8> {
    let size = usize::try_from(sequence.wrapping_mul(2_654_435_761) % 1500).unwrap();
    (0..size).map(|at| (sequence.wrapping_mul(31).wrapping_add(at as u64) & 0xff) as u8).collect()
}

fn send_until(producer: &mut Producer, end: u64) {
    while producer.next_sequence() < end {
        producer.send(&payload(producer.next_sequence())).unwrap();
    }
}

/// Receives the messages up to `end`, each whole and in its turn.
fn receive_until(consumer: &mut Consumer, end: u64) {
    while consumer.next_sequence() < end {
        let next = consumer.next_sequence();
        match consumer.try_receive().unwrap() {
            Received::Message(message) => {
                assert_eq!(message.sequence(), next);
                assert_eq!(message.payload(), payload(next), "message {next}");
            }
            other => panic!("{other:?} instead of message {next}"),
        }
    }
}

#[test]
fn nothing_is_written_while_all_keep_up() {
    let _alive = watchdog();
    let (name, directory) = (Name::new("keeps-up"), Directory::new("keeps-up"));
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut consumer = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    for end in (0..2000).step_by(10) {
        send_until(&mut producer, end);
        receive_until(&mut consumer, end);
    }
    assert_eq!(directory.files("spill"), Vec::<PathBuf>::new());
}

#[test]
fn who_is_many_rings_behind_misses_nothing_and_leaves_no_file() {
    let _alive = watchdog();
    let (name, directory) = (Name::new("behind"), Directory::new("behind"));
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let mut slow = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    // 25 MB: 400 rings, and more than one file.
    send_until(&mut producer, 35_000);
    assert!(directory.files("spill").len() > 1);
    receive_until(&mut slow, 35_000);
    assert_eq!(slow.try_receive().unwrap(), Received::Empty);
    send_until(&mut producer, 36_000);
    receive_until(&mut slow, 36_000);
    drop(producer);
    assert_eq!(directory.files("spill"), Vec::<PathBuf>::new());
}

#[test]
fn two_who_are_behind_by_different_distances_both_get_everything() {
    let _alive = watchdog();
    let (name, directory) = (Name::new("two-behind"), Directory::new("two-behind"));
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
fn at_the_limit_the_producer_waits_or_the_oldest_go() {
    let _alive = watchdog();
    const LIMIT: u64 = 40 << 20;
    for at_limit in [AtLimit::Hold, AtLimit::DropOldest] {
        let (name, directory) = (Name::new("limit"), Directory::new("limit"));
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
        assert!(directory.files("spill").iter().map(size).sum::<u64>() <= LIMIT);
        match at_limit {
            AtLimit::Hold => {
                assert!(sent < 2 * LIMIT / 8000);
                let holders = producer.held_by();
                let [Holder::Consumer { member, .. }] = holders[..] else { panic!("{holders:?}") };
                assert_eq!(member, slow.member());
                for sequence in 0..sent {
                    let message = slow.try_receive().unwrap().message().unwrap();
                    assert_eq!((message.sequence(), message.payload()), (sequence, &block[..]));
                }
                assert_eq!(producer.try_send(&block).unwrap(), Sent::Sequence(sent));
            }
            _ => {
                let Received::Missed { from: 0, to } = slow.try_receive().unwrap() else {
                    panic!("nothing was missed")
                };
                for sequence in to..sent {
                    let message = slow.try_receive().unwrap().message().unwrap();
                    assert_eq!(message.sequence(), sequence);
                }
            }
        }
    }
}

#[test]
fn a_directory_belongs_to_one_queue() {
    let (one, other) = (Name::new("owner"), Name::new("intruder"));
    let directory = Directory::new("owned");
    Queue::create(&one, &options(&directory)).unwrap();
    let error = Queue::create(&other, &options(&directory)).unwrap_err();
    assert!(matches!(&error, Error::ForeignHistory { .. }), "{error:?}");
    assert!(error.to_string().contains(&*one) && error.to_string().contains(&*other), "{error}");
    Queue::remove(&one).unwrap();
    Queue::create(&one, &options(&directory)).unwrap();
    fs::write(directory.0.join("identity"), "something else").unwrap();
    Queue::remove(&one).unwrap();
    let error = Queue::create(&one, &options(&directory)).unwrap_err();
    assert!(matches!(&error, Error::LogDamaged { .. }), "{error:?}");
}

#[test]
fn who_spills_needs_a_directory_and_a_place_of_its_own() {
    let name = Name::new("no-directory");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY)).unwrap();
    let error = queue.subscribe(&spilling()).unwrap_err();
    assert!(matches!(&error, Error::InvalidOption { .. }), "{error:?}");
}
