//! Processes that die after any of their instructions, while they send, join, receive, acknowledge,
//! leave, or take over from others that died so.
//!
//! A second process works one instruction at a time. Whatever it has made of the segment after each
//! of them is copied, and the copy is what a queue is after a death at that point: nobody lives
//! there. A fresh user of the copy has to find what was before the work, or what is after it.
//!
//! `RINGWAY_SWEEP=all` sweeps everything; without it, a part that `RINGWAY_SEED` decides.

#![allow(clippy::print_stderr, reason = "what was swept is for whoever reads the test's output")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Backoff, Consumer, DeadLetters, Error, Message, Nacked, Observer, Producer,
    Queue, Received, Sent, Start, Subscribe, Terms,
};
use support::segment::{MEMBERS, SUBSCRIPTIONS, assert_no_share_in_use, new_queue};
use support::trace::{Copy, Estate, Swept, Traced, followed, some_to_sweep, sweep};
use support::{Directory, Name, Random, mix, play, watchdog_of};

/// All sweeps in a build without optimisation take minutes.
const PATIENCE: Duration = Duration::from_secs(3_600);

#[test]
fn peer() {
    play(&[("send", send), ("share", share)]);
}

/// What message `sequence` consists of, if it is so long.
fn payload(sequence: u64, size: usize) -> Vec<u8> {
    mix(sequence).to_le_bytes().into_iter().cycle().take(size).collect()
}

#[track_caller]
fn check_message(message: &Message<'_>) {
    let (sequence, found) = (message.sequence(), message.payload());
    assert!(found == payload(sequence, found.len()), "message {sequence} is not whole");
}

// The producer.

/// What a producer does, and how many messages it makes visible at once by that.
const SENDS: [(&str, u64); 7] = [
    ("send", 1),
    ("send much", 1),
    ("claim", 1),
    ("batch", 3),
    ("long batch", 7),
    ("close", 0),
    ("take over", 0),
];

/// So many messages of 56 bytes, 64 with their headers, fill a ring.
const LAP: u64 = 1024;
const SIZE: usize = 56;
/// Such a message goes beyond any sector that it does not begin.
const LARGE: usize = 1_000;
/// In the first sector, at the end of it, and at the end of the lap.
const ORIGINS: [u64; 4] = [0, 5, LAP / 16 - 2, LAP - 1];

fn send(arguments: &[&str]) {
    let queue = Queue::open(arguments[1]).unwrap();
    if arguments[0] == "take over" {
        followed(|| drop(queue.producer().unwrap()));
    }
    let mut producer = queue.producer().unwrap();
    let next = producer.next_sequence();
    let [small, large] = [SIZE, LARGE]
        .map(|size| (next..next + 9).map(|sequence| payload(sequence, size)).collect::<Vec<_>>());
    match arguments[0] {
        "send" => followed(|| assert_eq!(producer.send(&small[0]).unwrap(), next)),
        "send much" => followed(|| assert_eq!(producer.send(&large[0]).unwrap(), next)),
        "claim" => followed(|| {
            let mut claim = producer.claim(SIZE).unwrap();
            claim.copy_from_slice(&small[0]);
            claim.commit().unwrap();
        }),
        "batch" => followed(|| send_batch(&mut producer, &small[..3])),
        "long batch" => followed(|| send_batch(&mut producer, &large[..7])),
        "close" => followed(|| producer.close().unwrap()),
        other => panic!("{other}"),
    }
}

fn send_one(producer: &mut Producer, size: usize) {
    let next = producer.next_sequence();
    producer.send(&payload(next, size)).unwrap();
}

fn send_batch(producer: &mut Producer, payloads: &[Vec<u8>]) {
    let mut batch = producer.batch();
    for payload in payloads {
        batch.push(payload).unwrap();
    }
    batch.commit().unwrap();
}

/// Sees to it that all messages are whole and follow each other, and returns their end.
fn observe(queue: &Queue) -> u64 {
    let mut observer = queue.observe(Start::Oldest).unwrap();
    let first = observer.next_sequence();
    let end = observe_to_the_end(&mut observer);
    assert_eq!(queue.info().unwrap().next_sequence, end);
    assert!(first == 0 || end - first >= LAP / 2, "{first} to {end}");
    end
}

fn observe_to_the_end(observer: &mut Observer) -> u64 {
    loop {
        let next = observer.next_sequence();
        match observer.try_receive().unwrap() {
            Received::Message(message) => {
                assert_eq!(message.sequence(), next);
                check_message(&message);
            }
            Received::Empty | Received::Closed => return next,
            other => panic!("nobody sends anything: {other:?}"),
        }
    }
}

/// A producer died, and the next one goes on: behind what had been sent before, or behind that and
/// the whole of what was being sent. How many messages there are is returned.
fn check_after_producer(queue: &Queue, before: u64, messages: u64) -> u64 {
    let found = observe(queue);
    let mut observer = queue.observe(Start::Newest).unwrap();
    let mut producer = queue.producer().unwrap();
    let next = producer.next_sequence();
    assert!(next == before || next == before + messages, "{next} after {before}");
    assert_eq!(found, next, "readers and the next producer find the same");
    for _ in 0..3 {
        send_one(&mut producer, SIZE);
        let batch = [1, 2].map(|more| payload(producer.next_sequence() + more - 1, SIZE + 1));
        send_batch(&mut producer, &batch);
    }
    assert_eq!(observe(queue), next + 9);
    assert_eq!(observe_to_the_end(&mut observer), next + 9);
    next
}

/// A queue that has seen so many messages of 56 bytes and has no producer.
fn queue_after(messages: u64) -> (Name, Queue) {
    let (name, queue) = new_queue("swept");
    let mut producer = queue.producer().unwrap();
    for _ in 0..messages {
        send_one(&mut producer, SIZE);
    }
    drop(producer);
    (name, queue)
}

/// What became of the queue, in the order in which it became that.
fn sweep_producer(what: &str, before: u64, messages: u64) -> (Swept, Vec<Estate>) {
    let (name, queue) = queue_after(before);
    let directory = Directory::new(&name);
    let traced = Traced::start("send", &[what, &name]);
    let copy = Copy::new();
    let mut has_happened = false;
    let mut estates = Vec::new();
    let swept = sweep(&name, directory.path(), &traced, |estate, is_end| {
        // It is stopped, and so it lives. Who reads finds before or after now too.
        let found = observe(&queue);
        if what != "take over" && what != "close" {
            let refused = queue.producer().unwrap_err();
            assert!(matches!(refused, Error::ProducerAlive { pid, .. } if pid == traced.id()));
        }
        let next = check_after_producer(&copy.open(estate), before, messages);
        assert_eq!(found, next);
        let happens = next == before + messages;
        assert!(happens || !has_happened, "it has happened, and then it has not");
        assert!(happens || !is_end, "it is done");
        has_happened = happens;
        estates.push(estate.clone());
    });
    (swept, estates)
}

#[test]
fn a_producer_that_dies_after_any_instruction_has_sent_all_or_nothing() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    let all = SENDS.iter().flat_map(|&send| ORIGINS.map(|before| (send, before))).collect();
    for ((what, messages), before) in some_to_sweep(&mut random, 3, all) {
        let (swept, _) = sweep_producer(what, before, messages);
        eprintln!("{what} after {before}: {swept:?}");
    }
}

#[test]
fn a_recovery_that_dies_after_any_instruction_is_no_worse_than_none() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    let copy = Copy::new();
    let all = ["batch", "long batch"].iter().flat_map(|what| ORIGINS.map(|before| (what, before)));
    for (what, before) in some_to_sweep(&mut random, 1, all.collect()) {
        let messages = SENDS.iter().find(|(name, _)| name == what).unwrap().1;
        let (_, estates) = sweep_producer(what, before, messages);
        let deaths = some_to_sweep(&mut random, 1, estates);
        let (mut all, count) = (Swept::default(), deaths.len());
        for dead in deaths {
            let recovered = Copy::new();
            let found = observe(&recovered.open(&dead));
            let traced = Traced::start("send", &["take over", &recovered.name]);
            all += sweep(&recovered.name, recovered.directory.path(), &traced, |estate, _| {
                assert_eq!(check_after_producer(&copy.open(estate), found, 0), found);
            });
        }
        eprintln!("{what} after {before}: recoveries from {count} deaths: {all:?}");
    }
}

// Consumers, and members of a named subscription.

/// What each message of a subscription that is not acknowledged is to its next consumer: how often
/// it has been delivered then.
type Left = BTreeMap<u64, u32>;

const COUNT: u64 = 6;

/// All messages, but those of which something else is said.
fn left(others: &[(u64, Option<u32>)]) -> Left {
    let mut left: Left = (0..COUNT).map(|sequence| (sequence, 1)).collect();
    for &(sequence, delivery) in others {
        match delivery {
            Some(delivery) => left.insert(sequence, delivery),
            None => left.remove(&sequence),
        };
    }
    left
}

/// What a consumer does, and what there is for others before it and after it.
fn shares() -> Vec<(&'static str, Left, Left)> {
    let (fresh, first) = (left(&[]), left(&[(0, Some(2))]));
    let three = left(&[(0, Some(2)), (1, Some(2)), (2, Some(2))]);
    let of_the_dead = left(&[(0, Some(2)), (1, None), (2, Some(2))]);
    let two_of_three = of_the_dead.clone();
    vec![
        ("make", fresh.clone(), fresh.clone()),
        ("join", fresh.clone(), fresh.clone()),
        ("receive", fresh.clone(), first.clone()),
        ("receive keyed", fresh.clone(), first.clone()),
        ("receive next", first.clone(), left(&[(0, None), (1, Some(2))])),
        ("receive next leased", first.clone(), left(&[(0, None), (1, Some(2))])),
        ("ack", three.clone(), two_of_three.clone()),
        ("ack leased", three.clone(), two_of_three.clone()),
        ("ack through", three.clone(), left(&[(0, None), (1, None), (2, Some(2))])),
        ("nack", first.clone(), first.clone()),
        ("bury", left(&[(0, None)]), left(&[(0, None)])),
        ("leave", two_of_three.clone(), two_of_three),
        ("inherit", of_the_dead.clone(), left(&[(0, Some(3)), (1, None), (2, Some(2))])),
        ("clear", of_the_dead.clone(), of_the_dead),
        ("remove", fresh.clone(), fresh.clone()),
        ("expire", fresh.clone(), fresh.clone()),
        ("move", fresh.clone(), left(&[(0, None), (1, None), (2, None)])),
        ("alter", fresh.clone(), fresh.clone()),
        ("join alone", fresh.clone(), fresh.clone()),
        ("receive alone", fresh.clone(), fresh.clone()),
        ("leave alone", fresh.clone(), fresh),
    ]
}

fn workers(directory: &str) -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest).dead_letters(directory)
}

/// The terms of the subscription that a work is done in, if it is to be there before.
fn terms(what: &str, directory: &str) -> Option<Subscribe> {
    let plain = workers(directory);
    match what {
        "make" | "join alone" | "receive alone" | "leave alone" => None,
        "receive keyed" => Some(plain.keyed()),
        "receive next leased" | "ack leased" => Some(plain.ack_within(Duration::from_secs(3_600))),
        "bury" => Some(plain.deliveries_max(1)),
        "expire" => Some(plain.expires_after(Duration::from_nanos(1))),
        "alter" => Some(plain.terms(altered(ALTERED[0]))),
        _ => Some(plain),
    }
}

/// What a subscription's terms are before they are altered, and after that: its limit, and
/// milliseconds of its first pause, and of its lease and its expiry.
const ALTERED: [(u32, u64, u64); 2] = [(200, 1, 3_600_000), (100, 2, 7_200_000)];

fn altered((limit, pause, lease): (u32, u64, u64)) -> Terms {
    let [pause, lease] = [pause, lease].map(Duration::from_millis);
    let mut terms = Terms::default();
    terms.deliveries_max = Some(limit);
    terms.backoff = Some(Backoff::new(pause, 1.0, pause));
    terms.ack_within = Some(lease);
    terms.expires_after = Some(lease);
    terms
}

/// Whether the terms are the new ones; else they are the old ones.
fn is_altered(queue: &Queue) -> bool {
    let terms = queue.info().unwrap().subscriptions[0].terms;
    let possible = ALTERED.map(altered);
    assert!(possible.contains(&terms), "{terms:?}");
    terms == possible[1]
}

fn take(consumer: &mut Consumer, (sequence, payload): &(u64, Vec<u8>)) {
    let message = consumer.try_receive().unwrap().message().expect("a message");
    assert_eq!((message.sequence(), message.payload()), (*sequence, &payload[..]));
}

fn share(arguments: &[&str]) {
    let [what, name, directory] = arguments else { panic!("{arguments:?}") };
    // Made beforehand, so that it is not followed.
    let sent: Vec<_> = (0..COUNT).map(|sequence| (sequence, payload(sequence, SIZE))).collect();
    let queue = Queue::open(name).unwrap();
    let manual = workers(directory).ack(AckMode::Manual);
    let join = |options: &Subscribe| queue.subscribe(options).unwrap();
    let alone = || join(&Subscribe::new().from(Start::Oldest));
    let after = |options: &Subscribe, count| {
        let mut consumer = join(options);
        sent[..count].iter().for_each(|message| take(&mut consumer, message));
        consumer
    };
    match *what {
        "make" | "join" => followed(|| std::mem::forget(join(&workers(directory)))),
        "receive" | "receive keyed" => {
            let mut consumer = join(&workers(directory));
            followed(|| take(&mut consumer, &sent[0]))
        }
        "receive next" | "receive next leased" => {
            let mut consumer = after(&workers(directory), 1);
            followed(|| take(&mut consumer, &sent[1]))
        }
        "ack" | "ack leased" => {
            let consumer = after(&manual, 3);
            followed(|| assert_eq!(consumer.ack(1).unwrap(), Acked::Done))
        }
        "ack through" => {
            let consumer = after(&manual, 3);
            followed(|| assert_eq!(consumer.ack_through(1).unwrap(), Acked::Done))
        }
        "nack" | "bury" => {
            let consumer = after(&manual, 1);
            let expected =
                if *what == "nack" { Nacked::Retry(Duration::ZERO) } else { Nacked::DeadLetter };
            followed(|| assert_eq!(consumer.nack(0).unwrap(), expected))
        }
        "leave" => {
            let consumer = after(&manual, 3);
            assert_eq!(consumer.ack(1).unwrap(), Acked::Done);
            followed(|| drop(consumer))
        }
        // What somebody who died with three messages left.
        "die" => {
            let consumer = after(&manual, 3);
            assert_eq!(consumer.ack(1).unwrap(), Acked::Done);
            std::process::exit(0);
        }
        "inherit" => followed(|| {
            let mut consumer = join(&manual);
            let message = consumer.try_receive().unwrap().message().expect("a message");
            let sent = sent.iter().find(|(sequence, _)| *sequence == message.sequence());
            assert_eq!(Some(message.payload()), sent.map(|(_, payload)| &payload[..]));
            std::mem::forget(consumer);
        }),
        "clear" => followed(|| assert_eq!(queue.clear_dead().unwrap(), 1)),
        "remove" => followed(|| queue.unsubscribe("workers").unwrap()),
        "expire" => followed(|| assert_eq!(queue.remove_expired().unwrap(), ["workers"])),
        "move" => followed(|| queue.seek("workers", Start::Sequence(3)).unwrap()),
        "alter" => {
            let new = altered(ALTERED[1]);
            followed(|| queue.alter("workers", |terms| *terms = new).map(drop).unwrap())
        }
        "join alone" => followed(|| std::mem::forget(alone())),
        "receive alone" => {
            let mut consumer = alone();
            followed(|| sent.iter().for_each(|message| take(&mut consumer, message)))
        }
        "leave alone" => {
            let consumer = alone();
            followed(|| drop(consumer))
        }
        other => panic!("{other}"),
    }
}

/// Everybody died. What others find is returned; that they find nothing else is checked: no place
/// is lost, nobody is held up, and no dead letter is missing or written twice.
fn check_after_member(queue: &Queue, what: &str, directory: &Directory) -> Left {
    assert!(queue.info().unwrap().subscriptions.len() <= 1);
    queue.producer().unwrap().close().unwrap();
    let mut left = Left::new();
    let mut heir = queue.subscribe(&workers(directory.text())).unwrap();
    while let Some(message) = heir.receive().unwrap().message() {
        check_message(&message);
        assert!(left.insert(message.sequence(), message.delivery()).is_none(), "twice");
    }
    let mut late = queue.subscribe(&workers(directory.text())).unwrap();
    assert_eq!(late.receive().unwrap(), Received::Closed);
    drop((heir, late));
    let buried = DeadLetters::open(directory.text(), queue.name(), "workers").unwrap();
    let buried: Vec<_> = buried.iter().map(|letter| letter.unwrap().sequence).collect();
    assert_eq!(buried, if what == "bury" { vec![0] } else { vec![] });

    queue.clear_dead().unwrap();
    let info = queue.info().unwrap();
    assert!(info.consumers.is_empty(), "{info:?}");
    let subscription = &info.subscriptions[0];
    assert_eq!((subscription.unacked, subscription.lag_messages), (0, Some(0)), "{info:?}");
    queue.unsubscribe("workers").unwrap();
    assert_no_share_in_use(queue.name());

    let mut producer = queue.producer().unwrap();
    for _ in 0..2 * LAP {
        assert!(matches!(producer.try_send(&[0; SIZE]).unwrap(), Sent::Sequence(_)), "it is held");
    }
    let names: Vec<_> = (0..SUBSCRIPTIONS).map(|number| format!("s{number}")).collect();
    let named = names.iter().map(|name| Subscribe::new().named(name));
    let alone = std::iter::repeat_n(Subscribe::new(), (MEMBERS - SUBSCRIPTIONS) as usize);
    let all: Vec<_> = named.chain(alone).map(|options| queue.subscribe(&options)).collect();
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert!(matches!(queue.subscribe(&Subscribe::new()), Err(Error::MembersFull { .. })));
    left
}

/// A queue as it is before a work.
fn queue_before(what: &str) -> (Name, Directory, Queue) {
    let (name, queue) = new_queue("swept");
    let directory = Directory::new(&name);
    if let Some(options) = terms(what, directory.text()) {
        drop(queue.subscribe(&options).unwrap());
    }
    let mut producer = queue.producer().unwrap();
    for sequence in 0..COUNT {
        let message = producer.message().key(&[u8::from(sequence % 3 == 0)]);
        message.send(&payload(sequence, SIZE)).unwrap();
    }
    drop(producer);
    if matches!(what, "inherit" | "clear") {
        support::Peer::start("share", &["die", &name, directory.text()]).finish();
    }
    (name, directory, queue)
}

fn sweep_member(what: &str, before: &Left, after: &Left) -> (Swept, Vec<Estate>) {
    let (name, directory, _queue) = queue_before(what);
    let traced = Traced::start("share", &[what, &name, directory.text()]);
    let copy = Copy::new();
    let mut has_happened = false;
    let mut was_altered = false;
    let mut estates = Vec::new();
    let swept = sweep(&name, directory.path(), &traced, |estate, is_end| {
        if what == "alter" {
            let is_altered = is_altered(&copy.open(estate));
            assert!(is_altered || !was_altered && !is_end, "it is altered, and then it is not");
            was_altered = is_altered;
        }
        let found = check_after_member(&copy.open(estate), what, &copy.directory);
        let happens = found == *after;
        assert!(
            happens || found == *before,
            "{what}: {found:?} is between {before:?} and {after:?}"
        );
        assert!(happens || !has_happened, "{what}: it has happened, and then it has not");
        assert!(happens || !is_end, "{what}: it is done");
        has_happened = happens;
        estates.push(estate.clone());
    });
    (swept, estates)
}

#[test]
fn a_member_that_dies_after_any_instruction_has_done_all_or_nothing() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    for (what, before, after) in some_to_sweep(&mut random, 2, shares()) {
        let (swept, _) = sweep_member(what, &before, &after);
        eprintln!("{what}: {swept:?}");
    }
}

#[test]
fn an_heir_that_dies_after_any_instruction_leaves_what_it_found() {
    let _alive = watchdog_of(PATIENCE);
    let mut random = Random::from_environment();
    let copy = Copy::new();
    // Of the last one nobody would be given the first message.
    let works = shares().into_iter().filter(|(what, ..)| *what != "bury");
    for (what, before, after) in some_to_sweep(&mut random, 1, works.collect()) {
        let (_, estates) = sweep_member(what, &before, &after);
        let deaths = some_to_sweep(&mut random, 1, estates);
        let (mut all, count) = (Swept::default(), deaths.len());
        for dead in deaths {
            let found = check_after_member(&copy.open(&dead), what, &copy.directory);
            let inherited = Copy::new();
            drop(inherited.open(&dead));
            let path = inherited.directory.text();
            let traced = Traced::start("share", &["inherit", &inherited.name, path]);
            all += sweep(&inherited.name, inherited.directory.path(), &traced, |estate, _| {
                let mut now = check_after_member(&copy.open(estate), what, &copy.directory);
                // One of them may have been handed out once more.
                let again =
                    found.iter().find(|&(sequence, _)| now.get(sequence) != found.get(sequence));
                if let Some((&sequence, &delivery)) = again {
                    assert_eq!(now.insert(sequence, delivery), Some(delivery + 1), "{what}");
                }
                assert_eq!(now, found, "{what}");
            });
        }
        eprintln!("{what}: heirs of {count} deaths: {all:?}");
    }
}
