//! Processes that die after any of their instructions, while they keep messages on disk: as
//! `sweep.rs` has it, with the files that each death leaves.
//!
//! Each estate is tried twice: as it is, with nobody living there, and after a restart of the
//! machine, which leaves the files alone.
//!
//! `RINGWAY_SWEEP=all` sweeps everything; without it, a part that `RINGWAY_SEED` decides.

#![allow(clippy::print_stderr, reason = "what was swept is for whoever reads the test's output")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Archive, Consumer, DeadLetter, Journal, Lag, Message, Nacked, Producer, Queue,
    QueueOptions, Received, Start, Subscribe, Terms,
};
use support::trace::{Copy, Estate, Traced, followed, is_all_to_be_swept, some_to_sweep, sweep};
use support::{Directory, Name, Random, mix, play, watchdog_of};

/// All sweeps in a build without optimisation take minutes.
const PATIENCE: Duration = Duration::from_secs(3_600);
const CAPACITY: u64 = 64 << 10;
/// So many messages are there before a work is done in a queue with a journal.
const COUNT: u64 = 6;
/// And so many, of which the next one overwrites the first, in one where they spill.
const FULL: u64 = 63;
const SIZE: usize = 1000;

#[test]
fn peer() {
    play(&[("keep", keep), ("drop", drop_letters)]);
}

fn payload(sequence: u64) -> Vec<u8> {
    mix(sequence).to_le_bytes().into_iter().cycle().take(SIZE).collect()
}

fn options(directory: &Path, journal: Option<Journal>) -> QueueOptions {
    let options = QueueOptions::new().capacity(CAPACITY).members(8).subscriptions(2);
    let options = options.history(directory);
    match journal {
        Some(journal) => options.journal(journal),
        None => options,
    }
}

fn workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").ack(AckMode::Manual);
    workers.from(Start::Oldest).on_lag(Lag::Spill)
}

/// What somebody does with a history, and in what queue.
const WORKS: [(&str, Option<Journal>); 12] = [
    ("spill", None),
    ("spill more", None),
    ("receive what spilled", None),
    ("take over", None),
    ("flush", Some(Journal::SyncedAlways)),
    ("flush more", Some(Journal::SyncedAlways)),
    ("flush more", Some(Journal::Written)),
    ("keep a journal", Some(Journal::SyncedAlways)),
    ("join", Some(Journal::Written)),
    ("leave", Some(Journal::Written)),
    ("move", Some(Journal::Written)),
    ("alter", Some(Journal::Written)),
];

/// What a lease is altered to, in a subscription that has none.
const LEASE: Duration = Duration::from_secs(3_600);
/// And a limit of deliveries.
const LIMIT: u32 = 200;

fn send_one(producer: &mut Producer) {
    let next = producer.next_sequence();
    producer.send(&payload(next)).unwrap();
}

fn receive_one(consumer: &mut Consumer, payload: &[u8]) {
    let message = consumer.try_receive().unwrap().message().expect("a message");
    assert_eq!(message.payload(), payload);
    assert_eq!(message.ack().unwrap(), Acked::Done);
}

/// A queue as it is before a work.
fn queue_before(what: &str, journal: Option<Journal>, name: &Name, directory: &Directory) {
    let queue = Queue::create(name, &options(directory.path(), journal)).unwrap();
    if what != "join" {
        drop(queue.subscribe(&workers()).unwrap());
    }
    let mut producer = queue.producer().unwrap();
    let count = match what {
        "spill" => FULL,
        _ if journal.is_none() => FULL + 2 * CAPACITY / SIZE as u64,
        _ => COUNT / 2,
    };
    (0..count).for_each(|_| send_one(&mut producer));
    if journal.is_some() {
        if what != "flush" {
            producer.flush().unwrap();
        }
        (count..COUNT).for_each(|_| send_one(&mut producer));
    }
}

fn keep(arguments: &[&str]) {
    let [what, name] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    match *what {
        "spill" | "spill more" => {
            let mut producer = queue.producer().unwrap();
            // Made beforehand, so that it is not followed.
            let next = producer.next_sequence();
            let payloads: Vec<_> = (next..next + 4).map(payload).collect();
            followed(|| {
                for payload in &payloads {
                    producer.send(payload).unwrap();
                }
            })
        }
        "receive what spilled" => {
            let mut consumer = queue.subscribe(&workers()).unwrap();
            receive_one(&mut consumer, &payload(0));
            let second = payload(1);
            followed(|| {
                receive_one(&mut consumer, &second);
                std::mem::forget(consumer);
            })
        }
        "take over" => followed(|| drop(queue.producer().unwrap())),
        "flush" | "flush more" => {
            let mut producer = queue.producer().unwrap();
            followed(|| producer.flush().unwrap())
        }
        "keep a journal" => {
            let mut journaler = queue.journaler().unwrap();
            followed(|| journaler.run(&AtomicBool::new(true)).unwrap())
        }
        "join" => followed(|| std::mem::forget(queue.subscribe(&workers()).unwrap())),
        "leave" => {
            let mut consumer = queue.subscribe(&workers()).unwrap();
            (0..3).for_each(|sequence| receive_one(&mut consumer, &payload(sequence)));
            followed(|| drop(consumer))
        }
        "alter" => {
            let alter = |terms: &mut Terms| {
                (terms.ack_within, terms.deliveries_max) = (Some(LEASE), Some(LIMIT));
            };
            followed(|| queue.alter("workers", alter).map(drop).unwrap())
        }
        "move" => followed(|| queue.seek("workers", Start::Sequence(2)).unwrap()),
        other => panic!("{other}"),
    }
}

/// Whoever joins gets all messages up to an end, from the first that is not acknowledged on, which is
/// returned.
fn receive_all(queue: &Queue, end: u64) -> u64 {
    let mut heir = queue.subscribe(&workers()).unwrap();
    let mut first = None;
    let mut next = 0;
    while next < end {
        match heir.receive_timeout(Duration::from_secs(60)).unwrap() {
            Received::Message(message) => {
                let sequence = message.sequence();
                assert!(first.is_none() || sequence == next, "{sequence} instead of {next}");
                assert_eq!(message.payload(), payload(sequence), "message {sequence}");
                assert_eq!(message.ack().unwrap(), Acked::Done);
                first = first.or(Some(sequence));
                next = sequence + 1;
            }
            other => panic!("{other:?} instead of message {next}"),
        }
    }
    assert!(heir.try_receive().unwrap().message().is_none(), "there are no more");
    first.expect("there are some")
}

/// The journal has the messages up to an end, and nothing is wrong with it.
fn assert_whole(directory: &Directory, end: u64) {
    let archive = Archive::open(directory.path()).unwrap();
    assert!(archive.verify().unwrap().is_whole());
    let mut next = 0;
    for message in archive.messages(0).unwrap() {
        let message = message.unwrap();
        assert_eq!((message.sequence, message.payload), (next, payload(next)));
        next += 1;
    }
    assert_eq!(next, end);
}

/// Whether the subscription has other terms than it had when it was made: all of them, or none.
fn is_altered(queue: &Queue) -> bool {
    queue.info().unwrap().subscriptions.first().is_some_and(|info| {
        let found = (info.terms.ack_within, info.terms.deliveries_max);
        assert!([(None, None), (Some(LEASE), Some(LIMIT))].contains(&found), "{found:?}");
        found.0.is_some()
    })
}

/// What was there, in how far that may go on while the work does: see [`Found::follows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The end of the stream.
    end: u64,
    /// And of what was durable.
    durable: u64,
    /// The first message that is not acknowledged.
    first: u64,
    /// The same, after a restart.
    first_after_restart: u64,
    /// Whether the subscription's terms had been altered by then.
    altered: bool,
    altered_after_restart: bool,
}

impl Found {
    /// Nothing that was there is gone, and nothing that was acknowledged is back.
    fn follows(self, before: Self) -> bool {
        self.end >= before.end
            && self.durable >= before.durable
            && self.first >= before.first
            && self.first_after_restart >= before.first_after_restart
            && self.altered >= before.altered
            && self.altered_after_restart >= before.altered_after_restart
    }
}

/// Everybody died; and then the machine was started again.
fn check_after_death(copy: &Copy, estate: &Estate, journal: Option<Journal>) -> Found {
    let queue = copy.open(estate);
    let durable = queue.durable_sequence().unwrap_or(0);
    let altered = is_altered(&queue);
    let mut producer = queue.producer().unwrap();
    let end = producer.next_sequence();
    let first = receive_all(&queue, end);
    // All goes on: what is sent now may spill, and be kept.
    (0..FULL + 2).for_each(|_| send_one(&mut producer));
    receive_all(&queue, end + FULL + 2);
    if journal.is_none() {
        return Found {
            end,
            durable,
            first,
            first_after_restart: 0,
            altered,
            altered_after_restart: altered,
        };
    }
    producer.flush().unwrap();
    assert_whole(&copy.directory, end + FULL + 2);
    drop(producer);

    copy.restart(estate);
    let queue = Queue::create(&copy.name, &options(copy.directory.path(), journal)).unwrap();
    let altered_after_restart = is_altered(&queue);
    let mut producer = queue.producer().unwrap();
    let kept = producer.next_sequence();
    assert!((durable..=end).contains(&kept), "{kept} of {end}, {durable} durable");
    send_one(&mut producer);
    let first_after_restart = receive_all(&queue, kept + 1);
    assert!(first_after_restart <= first, "{first} was not acknowledged");
    producer.flush().unwrap();
    assert_whole(&copy.directory, kept + 1);
    Found { end, durable, first, first_after_restart, altered, altered_after_restart }
}

/// What became of a queue and its files by a work, in the order in which it became that.
fn sweep_work(what: &str, journal: Option<Journal>) -> Vec<Estate> {
    let name = Name::new("swept");
    let directory = Directory::new(&name);
    queue_before(what, journal, &name, &directory);
    let traced = Traced::start("keep", &[what, &name]);
    let copy = Copy::new();
    let mut before: Option<Found> = None;
    let mut estates = Vec::new();
    let swept = sweep(&name, directory.path(), &traced, |estate, is_end| {
        let found = check_after_death(&copy, estate, journal);
        // A checkpoint may go back by being moved.
        let follows = before.is_none_or(|before| what == "move" || found.follows(before));
        assert!(follows, "{what}: {found:?} after {before:?}");
        if is_end {
            let is_flushed = what.starts_with("flush") || what == "keep a journal";
            assert!(!is_flushed || found.durable == found.end, "{what}: {found:?}");
            let is_altered = found.altered && found.altered_after_restart;
            assert!(what != "alter" || is_altered, "{found:?}");
            assert!(what != "leave" || found.first_after_restart == 3, "{found:?}");
        }
        before = Some(found);
        estates.push(estate.clone());
    });
    eprintln!("{what}, {journal:?}: {swept:?}, {:?}", before.expect("at least one"));
    estates
}

#[test]
fn who_dies_after_any_instruction_of_keeping_messages_loses_none() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    for (what, journal) in some_to_sweep(&mut random, 1, WORKS.to_vec()) {
        sweep_work(what, journal);
    }
}

#[test]
fn who_dies_while_taking_a_history_over_leaves_what_was_there() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    let copy = Copy::new();
    let works = [("receive what spilled", None), ("flush", Some(Journal::SyncedAlways))];
    for (what, journal) in some_to_sweep(&mut random, 1, works.to_vec()) {
        for dead in some_to_sweep(&mut random, 1, sweep_work(what, journal)) {
            let found = check_after_death(&copy, &dead, journal);
            let taken = Copy::new();
            drop(taken.open(&dead));
            let traced = Traced::start("keep", &["take over", &taken.name]);
            let swept = sweep(&taken.name, taken.directory.path(), &traced, |estate, _| {
                assert_eq!(check_after_death(&copy, estate, journal), found, "{what}");
            });
            eprintln!("{what}, {journal:?}: taken over: {swept:?}, {found:?}");
        }
    }
}

/// What somebody drops of the letters that there are, and how large the file is at the end.
const DROPS: [(&str, &[usize], u64); 3] =
    [("all", &[0, 1, 2, 3, 4], 88), ("too few to pay", &[1, 2], 1650), ("most", &[2, 1], 1250)];

/// Letters as they were sent: the second makes up most of the file, if it is to be dropped for that.
fn letters_before(what: &str) -> Vec<Vec<u8>> {
    let large = if what == "most" { 66_000 } else { 100 };
    [300, large, 1, 0, 500].map(|size| vec![b'x'; size]).into()
}

/// Whatever is refused once is a letter.
fn refuse(queue: &Queue, directory: &Path, payloads: &[Vec<u8>]) {
    let picky = Subscribe::new().named("workers").from(Start::Oldest).ack(AckMode::Manual);
    let mut picky = queue.subscribe(&picky.deliveries_max(1).dead_letters(directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    for payload in payloads {
        producer.send(payload).unwrap();
        assert_eq!(next_of(&mut picky).nack().unwrap(), Nacked::DeadLetter);
    }
}

fn next_of(consumer: &mut Consumer) -> Message<'_> {
    consumer.try_receive().unwrap().message().expect("a message")
}

fn letters_of(queue: &Queue) -> Vec<DeadLetter> {
    let letters = queue.dead_letters("workers").unwrap();
    let mut all = letters.iter();
    let found = all.by_ref().collect::<Result<_, _>>().unwrap();
    assert_eq!(all.passed_over(), 0);
    found
}

fn drop_letters(arguments: &[&str]) {
    let [what, name] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    let letters = letters_of(&queue);
    let (_, dropped, _) = DROPS.iter().find(|(drop, ..)| drop == what).unwrap();
    let ids: Vec<_> = dropped.iter().map(|&index| letters[index].id).collect();
    let handle = queue.dead_letters("workers").unwrap();
    followed(|| assert_eq!(handle.drop(&ids).unwrap(), ids))
}

/// The letters that are there, with which all goes on: there are more, and none has another's id, and
/// when all of them are dropped nothing is left, nor of who was at work.
fn check_letters(queue: &Queue, directory: &Path) -> Vec<DeadLetter> {
    let found = letters_of(queue);
    refuse(queue, directory, &[b"one more".into()]);
    let more = letters_of(queue);
    let (last, others) = more.split_last().unwrap();
    assert_eq!((others, &last.payload[..]), (&found[..], &b"one more"[..]));
    assert!(others.iter().all(|letter| letter.id < last.id));
    let ids: Vec<_> = more.iter().map(|letter| letter.id).collect();
    assert_eq!(queue.dead_letters("workers").unwrap().drop(&ids).unwrap(), ids);
    assert_eq!(sizes_in(directory), [88]);
    found
}

/// How long the files in the directory for letters are.
fn sizes_in(directory: &Path) -> Vec<u64> {
    let entries = fs::read_dir(directory.join("dead-letters")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
}

#[test]
fn who_dies_after_any_instruction_of_dropping_letters_loses_no_other() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    let mut drops = DROPS.to_vec();
    if !is_all_to_be_swept() {
        // A large letter is many millions of instructions in a build without optimisation.
        drops.truncate(2);
    }
    for (what, dropped, size) in some_to_sweep(&mut random, 1, drops) {
        let (name, before) = (Name::new("swept"), Name::new("before"));
        let directory = Directory::new(&name);
        let large = QueueOptions::new().capacity(1 << 20);
        let payloads = letters_before(what);
        refuse(&Queue::create(&before, &large).unwrap(), directory.path(), &payloads);
        let queue = Queue::create(&name, &options(directory.path(), None)).unwrap();
        let all = letters_of(&queue);
        let mut left = all.clone();
        left.retain(|letter| dropped.iter().all(|&index| letter.id != all[index].id));

        let traced = Traced::start("drop", &[what, &name]);
        let copy = Copy::new();
        let mut was_dropped = false;
        let swept = sweep(&name, directory.path(), &traced, |estate, is_end| {
            let check = |queue: &Queue| {
                let found = check_letters(queue, copy.directory.path());
                assert!(found == all || found == left, "{found:?}");
                found == left
            };
            let is_dropped = check(&copy.open(estate));
            copy.restart(estate);
            let options = options(copy.directory.path(), None);
            assert_eq!(check(&Queue::create(&copy.name, &options).unwrap()), is_dropped);
            assert!(is_dropped || !was_dropped && !is_end, "{what}");
            was_dropped = is_dropped;
        });
        let [found] = sizes_in(directory.path())[..] else { panic!("{directory:?}") };
        assert!(found.abs_diff(size) < size / 5, "{what}: {found} bytes");
        eprintln!("{what}: {swept:?}");
    }
}
