//! Named subscriptions between processes: each message to one member, whoever dies or hangs.
//!
//! What chance decides is decided by a seed, which is printed; `RINGWAY_SEED` gives another one.

#![allow(clippy::print_stderr, reason = "how tests speak")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Consumer, Error, Holder, Lag, Message, Nacked, Producer, Queue, QueueOptions,
    Reason, Received, Sent, Start, Subscribe, SubscriptionInfo, Wait,
};
use support::{Directory, Name, Peer, Random, mix, play, say, watchdog};

#[test]
fn peer() {
    play(&[
        ("work", work),
        ("produce", produce),
        ("hang", hang),
        ("hold", hold),
        ("refuse", refuse),
        ("choke", choke),
    ]);
}

const SMALL: u64 = 256 << 10;

fn queue_of(name: &Name, capacity: u64) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(capacity).members(32)).unwrap()
}

fn workers() -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park)
}

fn info(queue: &Queue, name: &str) -> SubscriptionInfo {
    let info = queue.info().unwrap();
    info.subscriptions.into_iter().find(|of| of.name == name).expect("the subscription")
}

/// Tells its sequence, and is of some length.
fn payload(sequence: u64) -> Vec<u8> {
    let size = 8 + mix(sequence) % 57;
    let bytes = mix(sequence).to_le_bytes();
    bytes.iter().copied().cycle().take(usize::try_from(size).unwrap()).collect()
}

fn check(message: &Message<'_>) {
    assert_eq!(message.payload(), payload(message.sequence()), "message {}", message.sequence());
}

/// Sends so many messages and ends the stream.
fn produce(arguments: &[&str]) {
    let [name, count] = arguments else { panic!("{arguments:?}") };
    let mut producer = Queue::open(name).unwrap().producer().unwrap();
    producer.set_wait(Wait::Park);
    for sequence in 0..count.parse().unwrap() {
        producer.send(&payload(sequence)).unwrap();
    }
    producer.close().unwrap();
}

/// What a worker writes down, so that it outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Received { sequence: u64, delivery: u32 },
    Acked { sequence: u64 },
}

struct Log(File);

impl Log {
    fn open(path: &str) -> Self {
        Self(OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    fn note(&mut self, event: Event) {
        let (kind, sequence, delivery) = match event {
            Event::Received { sequence, delivery } => (0_u32, sequence, delivery),
            Event::Acked { sequence } => (1, sequence, 0),
        };
        let mut record = [0; 16];
        record[..8].copy_from_slice(&sequence.to_le_bytes());
        record[8..12].copy_from_slice(&delivery.to_le_bytes());
        record[12..].copy_from_slice(&kind.to_le_bytes());
        self.0.write_all(&record).unwrap();
    }

    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap_or_default();
        let records = bytes.chunks_exact(16).map(|record| {
            let sequence = u64::from_le_bytes(record[..8].try_into().unwrap());
            let delivery = u32::from_le_bytes(record[8..12].try_into().unwrap());
            if record[12] == 0 {
                Event::Received { sequence, delivery }
            } else {
                Event::Acked { sequence }
            }
        });
        records.collect()
    }
}

/// Works to the end of the stream: writes down what it got and what it acknowledged.
fn work(arguments: &[&str]) {
    let [name, mode, prefetch, log] = arguments else { panic!("{arguments:?}") };
    let mut log = Log::open(log);
    let manual = *mode == "manual";
    let mode = if manual { AckMode::Manual } else { AckMode::Auto };
    let options = workers().ack(mode).prefetch(prefetch.parse().unwrap());
    let mut consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    say("ready");
    let mut last = None;
    loop {
        let received = consumer.receive().unwrap();
        if let Some(sequence) = last.take() {
            log.note(Event::Acked { sequence });
        }
        match received {
            Received::Message(message) => {
                check(&message);
                let (sequence, delivery) = (message.sequence(), message.delivery());
                log.note(Event::Received { sequence, delivery });
                if manual {
                    assert_eq!(message.ack().unwrap(), Acked::Done);
                    log.note(Event::Acked { sequence });
                } else {
                    last = Some(sequence);
                }
            }
            Received::Closed => break,
            other => panic!("{other:?}"),
        }
    }
    say("done");
}

#[test]
fn each_message_goes_to_exactly_one_member() {
    let _alive = watchdog();
    for (members, count, mode, prefetch) in [
        (1, 100_000, "auto", 32),
        (2, 200_000, "auto", 1),
        (4, 200_000, "manual", 32),
        (8, 1_000_000, "auto", 32),
    ] {
        let name = Name::new("shared");
        let directory = Directory::new(&name);
        let queue = queue_of(&name, 1 << 20);
        let logs: Vec<_> = (0..members).map(|number| directory.file(number)).collect();
        let peers: Vec<_> = logs
            .iter()
            .map(|log| {
                let (prefetch, log) = (prefetch.to_string(), log.to_str().unwrap().to_owned());
                let mut peer = Peer::start("work", &[&name, mode, &prefetch, &log]);
                peer.await_word("ready");
                peer
            })
            .collect();
        Peer::start("produce", &[&name, &count.to_string()]).finish();
        for mut peer in peers {
            peer.await_word("done");
            peer.finish();
        }
        let mut all = Vec::new();
        for log in &logs {
            let mut own = Vec::new();
            for event in Log::read(log) {
                match event {
                    Event::Received { sequence, delivery } => {
                        assert_eq!(delivery, 1);
                        own.push(sequence);
                    }
                    Event::Acked { sequence } => assert_eq!(own.last(), Some(&sequence)),
                }
            }
            assert!(own.is_sorted(), "a member's own messages come in order");
            all.extend(own);
        }
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..count), "{members} members, {mode}: {}", all.len());
        let info = info(&queue, "workers");
        assert_eq!((info.acked, info.delivered, info.redelivered), (count, count, 0));
        assert_eq!((info.unacked, info.lag_messages, info.members_alive), (0, Some(0), 0));
    }
}

/// Kills members at random for as long as messages last, and checks that every message was
/// acknowledged, and that each that came again was a dead member's who had not acknowledged it.
fn survive_deaths(mode: &str, prefetch: u32, count: u64, random: &mut Random) {
    let name = Name::new("deaths");
    let directory = Directory::new(&name);
    let queue = queue_of(&name, SMALL);
    // The first makes the subscription, so that none is missed.
    drop(queue.subscribe(&workers()).unwrap());
    let mut logs = Vec::new();
    let mut start = |directory: &Directory| {
        let log = directory.file(logs.len());
        logs.push((log.clone(), false));
        let log = log.to_str().unwrap();
        (logs.len() - 1, Peer::start("work", &[&name, mode, &prefetch.to_string(), log]))
    };
    let mut peers: Vec<_> = (0..4).map(|_| start(&directory)).collect();
    for (_, peer) in &mut peers {
        peer.await_word("ready");
    }
    let producer = Peer::start("produce", &[&name, &count.to_string()]);
    let mut killed = BTreeSet::new();
    while info(&queue, "workers").acked < count * 9 / 10 {
        thread::sleep(Duration::from_micros(random.below(6_000)));
        let victim = usize::try_from(random.below(4)).unwrap();
        let (number, mut next) = start(&directory);
        if random.below(2) == 0 {
            next.await_word("ready");
        }
        let (old, peer) = std::mem::replace(&mut peers[victim], (number, next));
        killed.insert(old);
        peer.kill();
    }
    producer.finish();
    for (_, peer) in peers {
        peer.finish();
    }
    let logs: Vec<_> = logs.into_iter().map(|(log, _)| Log::read(&log)).collect();
    let redelivered = check_deliveries(&logs, &killed, count);
    let info = info(&queue, "workers");
    eprintln!(
        "{mode}, prefetch {prefetch}: {} deaths, {redelivered} of {count} messages again",
        killed.len()
    );
    assert_eq!((info.unacked, info.lag_messages, info.dead_letters), (0, Some(0), 0));
    assert!(!killed.is_empty());
}

/// Returns how many messages were delivered more than once.
fn check_deliveries(logs: &[Vec<Event>], killed: &BTreeSet<usize>, count: u64) -> usize {
    let mut deliveries: BTreeMap<u64, Vec<(u32, usize)>> = BTreeMap::new();
    let mut acked: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (member, log) in logs.iter().enumerate() {
        for event in log {
            match *event {
                Event::Received { sequence, delivery } => {
                    deliveries.entry(sequence).or_default().push((delivery, member));
                }
                Event::Acked { sequence } => acked.entry(sequence).or_default().push(member),
            }
        }
    }
    assert!(deliveries.keys().copied().eq(0..count), "each was delivered");
    let mut again = 0;
    for (sequence, mut times) in deliveries {
        times.sort_unstable();
        let acks = acked.remove(&sequence).unwrap_or_default();
        assert!(acks.len() <= 1, "message {sequence} was acknowledged by {acks:?}");
        again += usize::from(times.len() > 1);
        // The last one had it to the end; all before died with it, and had not acknowledged it.
        let ((last_delivery, last), earlier) = times.split_last().unwrap();
        for (delivery, member) in earlier {
            assert!(killed.contains(member), "{sequence}: {member} lived ({delivery}), {times:?}");
            assert!(!acks.contains(member), "message {sequence} came again after its ack");
        }
        assert!(acks.first().is_none_or(|member| member == last), "{sequence}: {times:?} {acks:?}");
        assert!(acks.first() == Some(last) || killed.contains(last), "{sequence} was not acked");
        // A member may die between its taking the message and writing that down.
        let numbers: BTreeSet<_> = times.iter().map(|(delivery, _)| delivery).collect();
        assert_eq!(numbers.len(), times.len(), "message {sequence}: {times:?}");
        let unseen = *last_delivery as usize - times.len();
        assert!(unseen <= killed.len(), "message {sequence}: {times:?}");
    }
    again
}

#[test]
fn what_the_dead_had_comes_to_the_living_and_nothing_that_was_acknowledged() {
    let _alive = watchdog();
    let mut random = Random::from_environment();
    survive_deaths("auto", 32, 60_000, &mut random);
    survive_deaths("manual", 32, 60_000, &mut random);
    survive_deaths("auto", 1, 30_000, &mut random);
    survive_deaths("manual", 5, 30_000, &mut random);
}

/// Receives one message and hangs with it.
fn hang(arguments: &[&str]) {
    let [name, lease, go_on] = arguments else { panic!("{arguments:?}") };
    let mut options = workers().ack(AckMode::Manual).prefetch(8);
    if let Ok(milliseconds) = lease.parse() {
        options = options.ack_within(Duration::from_millis(milliseconds));
    }
    let mut consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    let message = consumer.receive().unwrap().message().unwrap();
    say(format_args!("has {}", message.sequence()));
    while !Path::new(go_on).exists() {
        thread::sleep(Duration::from_millis(1));
    }
    check(&message);
    say(format_args!("{:?}", message.ack().unwrap()));
}

#[test]
fn only_a_lease_passes_on_what_a_stopped_member_has() {
    let _alive = watchdog();
    for lease in ["none", "100"] {
        let name = Name::new("stopped");
        let directory = Directory::new(&name);
        let go_on = directory.file("go-on");
        let queue = queue_of(&name, SMALL);
        drop(queue.subscribe(&hanging(lease)).unwrap());
        let mut producer = queue.producer().unwrap();
        for sequence in 0..20 {
            producer.send(&payload(sequence)).unwrap();
        }
        let mut peer = Peer::start("hang", &[&name, lease, go_on.to_str().unwrap()]);
        peer.await_word("has 0");
        peer.stop();
        let mut other = queue.subscribe(&hanging(lease)).unwrap();
        let mut got = Vec::new();
        let quiet = Duration::from_millis(600);
        while let Received::Message(message) = other.receive_timeout(quiet).unwrap() {
            check(&message);
            got.push((message.sequence(), message.delivery()));
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
        got.sort_unstable();
        let expected: Vec<_> = if lease == "none" {
            // The stopped member took eight.
            (8..20).map(|sequence| (sequence, 1)).collect()
        } else {
            // It was handed one of them.
            (0..20).map(|sequence| (sequence, if sequence == 0 { 2 } else { 1 })).collect()
        };
        assert_eq!(got, expected, "lease: {lease}");
        File::create(go_on).unwrap();
        peer.go_on();
        peer.await_word(if lease == "none" { "Done" } else { "Late" });
        peer.finish();
        // What it had taken and not handed out is for others now that it is gone.
        let left: Vec<_> = std::iter::from_fn(|| {
            let message = other.receive_timeout(quiet).unwrap().message()?;
            let _ = message.ack().unwrap();
            Some(message.sequence())
        })
        .collect();
        let expected: Vec<u64> = if lease == "none" { (1..8).collect() } else { vec![] };
        assert_eq!(left, expected);
        assert_eq!(info(&queue, "workers").unacked, 0);
    }
}

fn hanging(lease: &str) -> Subscribe {
    let options = workers().ack(AckMode::Manual).prefetch(8);
    match lease.parse() {
        Ok(milliseconds) => options.ack_within(Duration::from_millis(milliseconds)),
        Err(_) => options,
    }
}

#[test]
fn an_extended_lease_does_not_run_out() {
    let _alive = watchdog();
    let name = Name::new("extended");
    let queue = queue_of(&name, SMALL);
    let lease = Duration::from_millis(100);
    let options = workers().ack(AckMode::Manual).ack_within(lease);
    let mut slow = queue.subscribe(&options).unwrap();
    let mut other = queue.subscribe(&options).unwrap();
    queue.producer().unwrap().send(&payload(0)).unwrap();
    let mut begin = std::time::Instant::now();
    let message = slow.receive().unwrap().message().unwrap();
    for _ in 0..20 {
        // Each look of the other's sees a sign of life since the last.
        let received = other.receive_timeout(Duration::from_millis(20)).unwrap();
        if begin.elapsed() >= lease {
            // The system had better things to do for so long that it may have run out.
            return;
        }
        assert_eq!(received, Received::TimedOut);
        begin = std::time::Instant::now();
        assert_eq!(message.extend().unwrap(), Acked::Done);
    }
    assert_eq!(message.ack().unwrap(), Acked::Done);
}

/// Refuses everything; its messages go back without it.
fn refuse(arguments: &[&str]) {
    let [name, seconds] = arguments else { panic!("{arguments:?}") };
    let _ = seconds;
    let mut consumer =
        Queue::open(name).unwrap().subscribe(&workers().ack(AckMode::Manual)).unwrap();
    say("ready");
    while let Received::Message(message) = consumer.receive().unwrap() {
        let _ = message.nack().unwrap();
    }
}

/// Dies of poison: of every message whose sequence is a multiple of ten.
fn choke(arguments: &[&str]) {
    let [name, log] = arguments else { panic!("{arguments:?}") };
    let mut log = Log::open(log);
    let mut consumer = Queue::open(name).unwrap().subscribe(&workers()).unwrap();
    say("ready");
    while let Received::Message(message) = consumer.receive().unwrap() {
        let (sequence, delivery) = (message.sequence(), message.delivery());
        log.note(Event::Received { sequence, delivery });
        if sequence.is_multiple_of(10) {
            // SAFETY: a call without pointers; it does not return.
            unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
        }
    }
    say("done");
}

#[test]
fn poison_becomes_a_dead_letter_after_exactly_as_many_deaths() {
    const LIMIT: u32 = 3;
    const COUNT: u64 = 31;
    let _alive = watchdog();
    let name = Name::new("poison");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(SMALL).history(directory.path());
    let queue = Queue::create(&name, &options).unwrap();
    drop(queue.subscribe(&workers().deliveries_max(LIMIT)).unwrap());
    Peer::start("produce", &[&name, &COUNT.to_string()]).finish();
    let log = directory.file("log");
    loop {
        let mut peer = Peer::start("choke", &[&name, log.to_str().unwrap()]);
        peer.await_word("ready");
        if peer.ends_well() {
            break;
        }
    }
    let mut deliveries = BTreeMap::new();
    for event in Log::read(&log) {
        if let Event::Received { sequence, delivery } = event {
            *deliveries.entry(sequence).or_insert(0) += 1;
            assert_eq!(deliveries[&sequence], delivery, "message {sequence}");
        }
    }
    for sequence in 0..COUNT {
        let expected = if sequence.is_multiple_of(10) { LIMIT } else { 1 };
        assert_eq!(deliveries.get(&sequence), Some(&expected), "message {sequence}");
    }
    let letters = queue.dead_letters("workers").unwrap();
    let letters: Vec<_> = letters.iter().map(Result::unwrap).collect();
    let facts: Vec<_> = letters.iter().map(|of| (of.sequence, of.deliveries, of.reason)).collect();
    let expected = [0, 10, 20, 30].map(|sequence| (sequence, LIMIT, Reason::Unacknowledged));
    assert_eq!(facts, expected);
    for letter in &letters {
        assert_eq!(letter.payload, payload(letter.sequence));
        assert_eq!((letter.queue.as_str(), letter.subscription.as_str()), (&*name, "workers"));
        assert_eq!(letter.instance_id, queue.instance_id());
    }
    let info = info(&queue, "workers");
    assert_eq!((info.dead_letters, info.unacked, info.lag_messages), (4, 0, Some(0)));
    // What the dead had in hand is counted too.
    let all: u32 = deliveries.values().sum();
    assert_eq!((info.delivered, info.acked), (all.into(), COUNT - 4));
}

#[test]
fn what_is_refused_comes_again_after_its_pause_and_ends_as_a_dead_letter() {
    let _alive = watchdog();
    let name = Name::new("refused");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(SMALL).history(directory.path());
    let queue = Queue::create(&name, &options).unwrap();
    let pauses = [20, 40, 50].map(Duration::from_millis);
    let options = workers().ack(AckMode::Manual).deliveries_max(5);
    let options = options.backoff(pauses[0], 2.0, pauses[2]);
    let mut consumer = queue.subscribe(&options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.message().key(b"bad").send(&payload(0)).unwrap();
    producer.send(&payload(1)).unwrap();
    let mut message = next_of(&mut consumer, 0);
    for (delivery, due) in (1..).zip(pauses) {
        assert_eq!((message.delivery(), message.redelivered()), (delivery, delivery > 1));
        let begin = std::time::Instant::now();
        assert_eq!(message.nack().unwrap(), Nacked::Retry(due));
        if delivery == 1 {
            let message = next_of(&mut consumer, 1);
            assert_eq!(message.delivery(), 1);
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
        message = next_of(&mut consumer, 0);
        assert!(begin.elapsed() >= due, "it waits as long as it was told to");
    }
    // One who leaves with it in hand gives it back, and that delivery counts.
    assert_eq!(message.delivery(), 4);
    drop(consumer);
    let mut consumer = queue.subscribe(&options).unwrap();
    let message = next_of(&mut consumer, 0);
    assert_eq!(message.delivery(), 5);
    assert_eq!(message.nack().unwrap(), Nacked::DeadLetter);
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    let letters = queue.dead_letters("workers").unwrap();
    let letter = letters.iter().next().unwrap().unwrap();
    assert_eq!((letter.sequence, letter.deliveries), (0, 5));
    assert_eq!(
        (letter.reason, letter.key_hash),
        (Reason::Refused, Some(ringway::key_hash(b"bad")))
    );
    assert_eq!(letters.drop(&[letter.id]).unwrap(), [letter.id]);
    assert_eq!(letters.iter().count(), 0);
}

#[test]
fn a_message_is_refused_for_as_long_as_is_said_whoever_has_it_then() {
    let _alive = watchdog();
    let name = Name::new("nack-after");
    let queue = queue_of(&name, SMALL);
    let (pause, hour) = (Duration::from_millis(30), Duration::from_secs(3600));
    let options = workers().ack(AckMode::Manual).backoff(hour, 1.0, hour);
    let mut first = queue.subscribe(&options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(&payload(0)).unwrap();
    producer.send(&payload(1)).unwrap();
    // Rounded up, and not for ever.
    let short = Duration::from_micros(29_001);
    for (asked, given) in [(short, pause), (Duration::MAX, Duration::from_millis(0xffff_fffe))] {
        let begin = std::time::Instant::now();
        let message = first.receive().unwrap().message().unwrap();
        let sequence = message.sequence();
        assert_eq!(message.nack_after(asked).unwrap(), Nacked::Retry(given));
        if sequence == 0 {
            continue;
        }
        let again = next_of(&mut first, 0);
        assert!(begin.elapsed() >= pause, "it waits as long as it was told to");
        assert_eq!(again.delivery(), 2);
    }
    // Each by itself, whatever else of its share waits.
    let begin = std::time::Instant::now();
    assert_eq!(first.nack_after(0, pause).unwrap(), Nacked::Retry(pause));
    producer.send(&payload(2)).unwrap();
    let message = next_of(&mut first, 2);
    assert_eq!(message.nack_after(pause).unwrap(), Nacked::Retry(pause));
    // Where both are due by then, either may be first.
    for _ in 0..2 {
        let again = first.receive().unwrap().message().unwrap();
        assert!(begin.elapsed() >= pause, "it waits as long as it was told to");
        match again.sequence() {
            0 => assert_eq!(again.nack_after(hour).unwrap(), Nacked::Retry(hour)),
            sequence => assert_eq!((sequence, again.ack().unwrap()), (2, Acked::Done)),
        }
    }
    assert_eq!(first.try_receive().unwrap(), Received::Empty);
    assert_eq!(info(&queue, "workers").waiting, 2);
    drop(first);
    let mut first = queue.subscribe(&options).unwrap();
    assert!(first.receive_timeout(pause).unwrap().message().is_none());
    // Of an heir's clock.
    producer.send(&payload(3)).unwrap();
    assert_eq!(next_of(&mut first, 3).nack_after(pause).unwrap(), Nacked::Retry(pause));
    let begin = std::time::Instant::now();
    drop(first);
    let mut heir = queue.subscribe(&options).unwrap();
    let again = next_of(&mut heir, 3);
    assert!(begin.elapsed() >= pause, "it waits as long as it was told to");
    assert_eq!(again.delivery(), 2);
    assert_eq!(again.ack().unwrap(), Acked::Done);
    assert!(heir.receive_timeout(pause).unwrap().message().is_none());
    assert_eq!(info(&queue, "workers").waiting, 2);
}

#[test]
fn what_is_missed_is_not_taken_for_acknowledged_nor_off_it() {
    let _alive = watchdog();
    let name = Name::new("missed-counts");
    let queue = queue_of(&name, SMALL);
    let mut consumer = queue.subscribe(&workers().on_lag(Lag::Skip)).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in 0..32 {
        producer.send(&payload(sequence)).unwrap();
    }
    (0..10).for_each(|sequence| check(&next_of(&mut consumer, sequence)));
    // The rest of the share is overwritten.
    for sequence in 32..8_000 {
        producer.send(&payload(sequence)).unwrap();
    }
    let mut missed = 0;
    while let Received::Missed { from, to } = consumer.receive().unwrap() {
        missed += to - from;
    }
    assert!(missed > 22, "{missed}");
    let counts = info(&queue, "workers");
    assert_eq!((counts.delivered, counts.acked, counts.missed), (11, 10, missed));
}

fn next_of(consumer: &mut Consumer, sequence: u64) -> Message<'_> {
    let message = consumer.receive().unwrap().message().expect("a message");
    assert_eq!(message.sequence(), sequence);
    check(&message);
    message
}

#[test]
fn a_refused_message_goes_to_whoever_is_free() {
    let _alive = watchdog();
    let name = Name::new("passed-on");
    let queue = queue_of(&name, SMALL);
    drop(queue.subscribe(&workers()).unwrap());
    let mut peer = Peer::start("refuse", &[&name, "0"]);
    peer.await_word("ready");
    let mut good = queue.subscribe(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut got = BTreeSet::new();
    for sequence in 0..200 {
        producer.send(&payload(sequence)).unwrap();
    }
    while got.len() < 200 {
        let message = good.receive().unwrap().message().unwrap();
        check(&message);
        assert!(got.insert(message.sequence()), "message {} twice", message.sequence());
    }
    peer.kill();
}

#[test]
fn what_is_refused_does_not_wait_for_who_refused_it() {
    let _alive = watchdog();
    let name = Name::new("not-again");
    let queue = queue_of(&name, SMALL);
    let mut producer = queue.producer().unwrap();
    let hour = Some(Duration::from_secs(3600));
    for (name, mode, lease) in [
        ("manual", AckMode::Manual, None),
        ("auto", AckMode::Auto, None),
        ("leased", AckMode::Manual, hour),
        ("leased-auto", AckMode::Auto, hour),
    ] {
        let options = Subscribe::new().named(name).ack(mode).prefetch(2);
        let options = lease.into_iter().fold(options, Subscribe::ack_within);
        let mut one = queue.subscribe(&options).unwrap();
        let mut other = queue.subscribe(&options).unwrap();
        producer.send(&payload(0)).unwrap();
        producer.send(&payload(1)).unwrap();
        let first = one.receive().unwrap().message().unwrap();
        let sequence = first.sequence();
        // It has another one of the same share yet.
        let _ = first.nack().unwrap();
        let second = one.receive().unwrap().message().unwrap();
        assert_eq!(second.sequence(), sequence + 1);
        let pause = Duration::from_millis(20);
        // What lies in the ring is lent as long as there may be the message.
        let refused = if lease.is_some() {
            second.nack_after(pause).unwrap()
        } else {
            one.nack_after(sequence + 1, pause).unwrap()
        };
        assert_eq!(refused, Nacked::Retry(pause));
        // And calls nothing any more.
        for _ in 0..2 {
            let again = other.receive().unwrap().message().unwrap();
            assert_eq!((again.delivery(), again.sequence() - sequence < 2), (2, true));
            let _ = again.ack().unwrap();
        }
        let counts = info(&queue, name);
        assert_eq!((counts.delivered, counts.redelivered, counts.acked), (4, 2, 2));
        assert_eq!(one.try_receive().unwrap(), Received::Empty);
        drop((one, other));
        assert_eq!(info(&queue, name).delivered, 4);
    }
}

/// Where it lies in the ring, it is not for others before that.
#[test]
fn what_is_lent_stays_as_it_is_also_when_it_is_refused() {
    let _alive = watchdog();
    let name = Name::new("lent-refused");
    let queue = queue_of(&name, SMALL);
    let mut producer = queue.producer().unwrap();
    for mode in [AckMode::Manual, AckMode::Auto] {
        let options = Subscribe::new().named("lent").ack(mode).prefetch(2);
        let mut one = queue.subscribe(&options).unwrap();
        let mut other = queue.subscribe(&options).unwrap();
        let sequence = producer.send(&payload(7)).unwrap();
        let message = one.receive().unwrap().message().unwrap();
        let lent = message.payload();
        assert!(matches!(message.nack().unwrap(), Nacked::Retry(_)));
        assert_eq!(other.try_receive().unwrap(), Received::Empty);
        // Some laps, if nobody held it.
        for _ in 0..1_000 {
            let _ = producer.try_send(&[0; 1000]).unwrap();
            while let Received::Message(message) = other.try_receive().unwrap() {
                let _ = message.ack().unwrap();
            }
        }
        assert_eq!(lent, payload(7));
        let again = one.receive().unwrap().message().unwrap();
        assert_eq!((again.sequence(), again.delivery()), (sequence, 2));
        let _ = again.ack().unwrap();
        drop((one, other));
        queue.unsubscribe("lent").unwrap();
    }
}

#[test]
fn messages_are_acknowledged_in_any_order_and_only_once() {
    let _alive = watchdog();
    let name = Name::new("any-order");
    let queue = queue_of(&name, SMALL);
    let options = workers().ack(AckMode::Manual).prefetch(100);
    let mut random = Random::from_environment();
    let mut consumer = queue.subscribe(&options).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in 0..100 {
        producer.send(&payload(sequence)).unwrap();
    }
    let mut sequences: Vec<u64> =
        (0..100).map(|sequence| next_of(&mut consumer, sequence).sequence()).collect();
    let full = consumer.receive();
    assert!(matches!(full, Err(Error::PrefetchFull { unacked: 100, .. })), "{full:?}");
    assert_eq!(info(&queue, "workers").unacked, 100);
    // All but ten, in some order.
    for index in (1..sequences.len()).rev() {
        let other = usize::try_from(random.below(index as u64 + 1)).unwrap();
        sequences.swap(index, other);
    }
    for &sequence in &sequences[..90] {
        assert_eq!(consumer.ack(sequence).unwrap(), Acked::Done);
        let counts = info(&queue, "workers");
        assert_eq!((counts.delivered, counts.acked), (100, 100 - counts.unacked));
        assert_eq!(consumer.ack(sequence).unwrap(), Acked::Late);
        assert_eq!(consumer.nack(sequence).unwrap(), Nacked::Late);
        assert_eq!(consumer.extend(sequence).unwrap(), Acked::Late);
    }
    assert_eq!(consumer.ack(1000).unwrap(), Acked::Late);
    let mut left = sequences[90..].to_vec();
    left.sort_unstable();
    drop(consumer);
    let mut consumer = queue.subscribe(&options).unwrap();
    for &sequence in &left {
        assert_eq!(next_of(&mut consumer, sequence).delivery(), 2);
    }
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    assert_eq!(consumer.ack_through(left[4]).unwrap(), Acked::Done);
    assert_eq!(info(&queue, "workers").unacked, 5);
    assert_eq!(consumer.ack_through(u64::MAX).unwrap(), Acked::Done);
    assert_eq!(consumer.ack_through(u64::MAX).unwrap(), Acked::Late);
    assert_eq!(info(&queue, "workers").unacked, 0);
}

#[test]
fn a_name_alone_is_a_durable_cursor() {
    let _alive = watchdog();
    let name = Name::new("cursor");
    let queue = queue_of(&name, SMALL);
    let mut producer = queue.producer().unwrap();
    drop(queue.subscribe(&workers()).unwrap());
    let mut next = 0;
    for round in 0..50_u64 {
        for _ in 0..20 {
            let sequence = producer.next_sequence();
            producer.send(&payload(sequence)).unwrap();
        }
        let mut consumer = queue.subscribe(&workers()).unwrap();
        for _ in 0..10 + round % 10 {
            next_of(&mut consumer, next);
            next += 1;
        }
        // The last one is not acknowledged yet.
        assert_eq!(consumer.ack_through(next - 1).unwrap(), Acked::Done);
    }
    let info = info(&queue, "workers");
    assert_eq!(info.lag_messages, Some(producer.next_sequence() - next));
    assert_eq!((info.members_alive, info.delivered, info.acked), (0, next, next));
    assert_eq!(info.redelivered, 0);
}

#[test]
fn different_names_each_get_everything_beside_others() {
    let _alive = watchdog();
    let name = Name::new("names");
    let queue = queue_of(&name, SMALL);
    let named = |name: &str| Subscribe::new().named(name).from(Start::Oldest).wait(Wait::Park);
    let mut fast = queue.subscribe(&named("fast")).unwrap();
    let mut slow = queue.subscribe(&named("slow").prefetch(4)).unwrap();
    let mut skips = queue.subscribe(&named("skips").on_lag(Lag::Skip)).unwrap();
    let mut alone = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    let count = 20_000;
    let producer = Peer::start("produce", &[&name, &count.to_string()]);
    let read = |consumer: &mut Consumer, pause: bool| {
        let (mut next, mut missed) = (0, 0);
        loop {
            match consumer.receive().unwrap() {
                Received::Message(message) => {
                    assert_eq!(message.sequence(), next);
                    check(&message);
                    next += 1;
                    if pause && next % 1000 == 0 {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                Received::Missed { from, to } => {
                    assert_eq!(from, next);
                    missed += to - from;
                    next = to;
                }
                Received::Closed => return (next, missed),
                other => panic!("{other:?}"),
            }
        }
    };
    thread::scope(|scope| {
        let fast = scope.spawn(|| read(&mut fast, false));
        let slow = scope.spawn(|| read(&mut slow, true));
        let alone = scope.spawn(|| read(&mut alone, false));
        let skips = scope.spawn(|| read(&mut skips, true));
        for consumer in [fast, slow, alone] {
            assert_eq!(consumer.join().unwrap(), (count, 0));
        }
        assert_eq!(skips.join().unwrap().0, count);
    });
    producer.finish();
}

#[test]
fn a_subscription_that_skips_is_told_exactly_what_it_missed() {
    let _alive = watchdog();
    let name = Name::new("skips");
    let queue = queue_of(&name, 64 << 10);
    let options = workers().on_lag(Lag::Skip).prefetch(32);
    let mut consumer = queue.subscribe(&options).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut random = Random::from_environment();
    let (mut next, mut missed, mut got) = (0, 0, 0);
    for _ in 0..400 {
        for _ in 0..random.below(3000) {
            let sequence = producer.next_sequence();
            producer.send(&payload(sequence)).unwrap();
        }
        for _ in 0..random.below(1500) {
            match consumer.try_receive().unwrap() {
                Received::Message(message) => {
                    check(&message);
                    assert_eq!(message.sequence(), next);
                    (next, got) = (next + 1, got + 1);
                }
                Received::Missed { from, to } => {
                    assert_eq!(from, next);
                    missed += to - from;
                    next = to;
                }
                Received::Empty => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(got > 1000 && missed > 1000, "{got} and {missed}");
    drop(consumer);
    assert_eq!(info(&queue, "workers").missed, missed);
}

#[test]
fn whose_share_has_passed_on_is_not_told_to_have_missed_what_others_got() {
    let _alive = watchdog();
    let name = Name::new("passed");
    let queue = queue_of(&name, 64 << 10);
    let options = workers().on_lag(Lag::Skip).ack(AckMode::Manual);
    let options = options.ack_within(Duration::from_millis(10)).prefetch(32);
    let [mut late, mut heir] = [(); 2].map(|()| queue.subscribe(&options).unwrap());
    let mut producer = queue.producer().unwrap();
    let mut send = |count| {
        for _ in 0..count {
            producer.send(&payload(producer.next_sequence())).unwrap();
        }
    };
    send(4);
    assert_eq!(late.receive().unwrap().message().unwrap().sequence(), 0);
    for sequence in 0..4 {
        let message = heir.receive().unwrap().message().unwrap();
        assert_eq!(message.sequence(), sequence);
        assert_eq!(message.ack().unwrap(), Acked::Done);
    }
    send(10_000);
    let received = late.try_receive().unwrap();
    assert!(matches!(received, Received::Missed { from: 4, .. }), "{received:?}");
    let Received::Missed { from, to } = received else { unreachable!() };
    drop((late, heir));
    assert_eq!(info(&queue, "workers").missed, to - from);
}

/// Handles keyed messages: each key's in order, one at a time.
fn hold(arguments: &[&str]) {
    let [name, log] = arguments else { panic!("{arguments:?}") };
    let mut log = Log::open(log);
    let options = workers().keyed().prefetch(8);
    let mut consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    say("ready");
    let mut last = None;
    loop {
        let received = consumer.receive().unwrap();
        if let Some(sequence) = last.take() {
            log.note(Event::Acked { sequence });
        }
        let Received::Message(message) = received else { break };
        check(&message);
        let (sequence, delivery) = (message.sequence(), message.delivery());
        log.note(Event::Received { sequence, delivery });
        last = Some(sequence);
    }
    say("done");
}

/// Of few keys, so that members meet.
fn key_of(sequence: u64) -> [u8; 1] {
    [u8::try_from(mix(sequence ^ 0x5a5a) % 20).unwrap()]
}

#[test]
fn messages_of_one_key_keep_their_order_whoever_dies() {
    const COUNT: u64 = 20_000;
    let _alive = watchdog();
    let mut random = Random::from_environment();
    let name = Name::new("keyed");
    let directory = Directory::new(&name);
    let queue = queue_of(&name, SMALL);
    drop(queue.subscribe(&workers().keyed()).unwrap());
    // One log for all: its order is the order of what happened.
    let log = directory.file("log");
    let start = || {
        let mut peer = Peer::start("hold", &[&name, log.to_str().unwrap()]);
        peer.await_word("ready");
        peer
    };
    let mut peers: Vec<_> = (0..4).map(|_| start()).collect();
    let sender = {
        let queue = queue.clone();
        thread::spawn(move || {
            let mut producer = queue.producer().unwrap();
            producer.set_wait(Wait::Park);
            for sequence in 0..COUNT {
                producer.message().key(&key_of(sequence)).send(&payload(sequence)).unwrap();
            }
            producer.close().unwrap();
        })
    };
    let mut deaths = 0;
    while info(&queue, "workers").acked < COUNT * 8 / 10 {
        thread::sleep(Duration::from_micros(random.below(10_000)));
        let victim = usize::try_from(random.below(4)).unwrap();
        std::mem::replace(&mut peers[victim], start()).kill();
        deaths += 1;
    }
    sender.join().unwrap();
    for peer in peers {
        peer.finish();
    }
    let mut last_of: BTreeMap<[u8; 1], u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for event in Log::read(&log) {
        if let Event::Received { sequence, .. } = event {
            let last = last_of.insert(key_of(sequence), sequence);
            // Again, if its member died, or the next one of the key; never one before.
            assert!(last.is_none_or(|last| last <= sequence), "{sequence} after {last:?}");
            seen.insert(sequence);
        }
    }
    assert!(seen.into_iter().eq(0..COUNT));
    eprintln!("{deaths} deaths among keyed members");
}

#[test]
fn a_group_catches_up_while_others_are_live() {
    let _alive = watchdog();
    let name = Name::new("catch-up");
    let queue = queue_of(&name, 4 << 20);
    drop(queue.subscribe(&workers()).unwrap());
    let mut producer = queue.producer().unwrap();
    for sequence in 0..20_000 {
        producer.send(&payload(sequence)).unwrap();
    }
    let directory = Directory::new(&name);
    let logs: Vec<_> = (0..3).map(|number| directory.file(number)).collect();
    let mut live = queue.subscribe(&Subscribe::new()).unwrap();
    let peers: Vec<_> = logs
        .iter()
        .map(|log| Peer::start("work", &[&name, "auto", "32", log.to_str().unwrap()]))
        .collect();
    for sequence in 20_000..30_000 {
        producer.send(&payload(sequence)).unwrap();
        let message = live.receive().unwrap().message().unwrap();
        assert_eq!(message.sequence(), sequence);
    }
    producer.close().unwrap();
    for peer in peers {
        peer.finish();
    }
    let events = logs.iter().flat_map(|log| Log::read(log));
    let acked: BTreeSet<_> = events
        .filter_map(|event| match event {
            Event::Acked { sequence } => Some(sequence),
            Event::Received { .. } => None,
        })
        .collect();
    assert!(acked.into_iter().eq(0..30_000));
}

#[test]
fn a_subscription_without_members_holds_the_producer_which_says_so() {
    let _alive = watchdog();
    let name = Name::new("unattended");
    let queue = queue_of(&name, 64 << 10);
    drop(queue.subscribe(&workers()).unwrap());
    // Somebody lives who is no member of it.
    let _other = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).unwrap();
    let mut producer = queue.producer().unwrap();
    while producer.try_send(&[0; 1000]).unwrap() != Sent::Full {}
    let sent = producer.send_timeout(&[0; 1000], Duration::from_millis(20)).unwrap();
    assert_eq!(sent, Sent::TimedOut);
    let expected =
        Holder::Subscription { queue: name.to_string(), name: "workers".into(), members: 0 };
    assert_eq!(producer.held_by(), [expected]);
    assert!(producer.held_for().unwrap() >= Duration::from_millis(20));
    let text = producer.held_by()[0].to_string();
    assert!(text.contains("ringway unsubscribe"), "{text}");
    let held = info(&queue, "workers");
    assert!(held.holds_producer && held.left_at.is_some());
    queue.unsubscribe("workers").unwrap();
    assert!(matches!(producer.try_send(&[0; 1000]).unwrap(), Sent::Sequence(_)));
    assert_eq!((producer.held_by(), producer.held_for()), (vec![], None));
}

#[test]
fn joining_asks_for_what_is_there() {
    let name = Name::new("terms");
    let queue = queue_of(&name, SMALL);
    let lease = Duration::from_secs(5);
    // A factor that cannot be written down as it is.
    let factor = 4.0 / 3.0;
    let first = workers().on_lag(Lag::Skip).ack_within(lease).backoff(lease, factor, 2 * lease);
    let _first = queue.subscribe(&first).unwrap();
    // What is left out is what is there.
    let _second = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    let _third = queue.subscribe(&first).unwrap();
    for other in [
        workers().on_lag(Lag::Hold),
        workers().keyed(),
        workers().ack_within(2 * lease),
        workers().backoff(lease, 2.0, 2 * lease),
        workers().backoff(lease, factor, 3 * lease),
        workers().deliveries_max(3).dead_letters("/tmp"),
    ] {
        let error = queue.subscribe(&other).unwrap_err();
        assert!(matches!(error, Error::SubscriptionDiffers { .. }), "{error}");
        assert!(error.to_string().contains("'workers'"), "{error}");
    }
    for (bad, word) in [
        (workers().prefetch(0), "prefetch"),
        (workers().prefetch(1025), "prefetch"),
        (workers().deliveries_max(0), "deliveries"),
        (workers().deliveries_max(251), "deliveries"),
        (workers().deliveries_max(5), "history"),
        (workers().backoff(lease, 0.5, lease), "backoff"),
        (workers().backoff(lease, f64::NAN, lease), "backoff"),
        (workers().backoff(2 * lease, 1.0, lease), "the factor 1 to 1000"),
        (workers().ack_within(Duration::ZERO), "outside 1ns to 1000000000s"),
        (workers().expires_after(Duration::MAX), "outside 1ns to 1000000000s"),
        (Subscribe::new().ack(AckMode::Manual), "named"),
        (Subscribe::new().keyed(), "named"),
    ] {
        let error = queue.subscribe(&bad).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    for bad in ["", ".", "-x", "a/b", "a b", "\u{e4}", &"x".repeat(65)] {
        let error = queue.subscribe(&Subscribe::new().named(bad)).unwrap_err();
        assert!(matches!(error, Error::InvalidSubscription { .. }), "{error}");
    }
    assert_eq!(queue.info().unwrap().subscriptions.len(), 1);
    assert_eq!(queue.info().unwrap().consumers.len(), 3);
}

fn next(consumer: &mut Consumer) -> Message<'_> {
    consumer.receive().unwrap().message().expect("a message")
}

/// Makes a member wait with a share that another one had, or another subscription, and has the
/// producer go once around the ring.
fn goes_around(queue: &Queue, producer: &mut Producer, worker: &mut Consumer) {
    let mut waiting = queue.subscribe(&workers()).unwrap();
    assert!(waiting.try_receive().unwrap().message().is_none());
    for round in 0..2 * SMALL / 32 {
        let sent = producer.try_send(&[0; 24]).unwrap();
        assert!(matches!(sent, Sent::Sequence(_)), "message {round}: {:?}", queue.info());
        assert!(worker.try_receive().unwrap().message().is_some());
    }
}

#[test]
fn what_is_settled_holds_nobody_when_its_share_changes_hands() {
    let _alive = watchdog();
    let name = Name::new("settled");
    let queue = queue_of(&name, SMALL);
    let mut producer = queue.producer().unwrap();
    let mut worker = queue.subscribe(&workers().prefetch(1)).unwrap();
    // A member that leaves when it has acknowledged all that it had.
    let mut leaving = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
    producer.send(b"settled").unwrap();
    assert_eq!(next(&mut leaving).ack().unwrap(), Acked::Done);
    drop(leaving);
    goes_around(&queue, &mut producer, &mut worker);
    // A subscription that goes, with shares as its last members left them.
    let other = workers().named("other").ack(AckMode::Manual).from(Start::Newest);
    let mut leaving = queue.subscribe(&other).unwrap();
    producer.send(b"given up").unwrap();
    let _unsettled = next(&mut leaving).sequence();
    drop(leaving);
    assert!(worker.try_receive().unwrap().message().is_some());
    queue.unsubscribe("other").unwrap();
    goes_around(&queue, &mut producer, &mut worker);
}

#[test]
fn there_are_as_many_subscriptions_as_there_is_room_for() {
    let name = Name::new("full");
    let options = QueueOptions::new().capacity(64 << 10).subscriptions(3).members(4);
    let queue = Queue::create(&name, &options).unwrap();
    let named = |number: u32| Subscribe::new().named(&format!("name-{number}"));
    let mut consumers: Vec<_> =
        (0..3).map(|number| queue.subscribe(&named(number)).unwrap()).collect();
    let error = queue.subscribe(&named(3)).unwrap_err();
    assert!(matches!(error, Error::SubscriptionsFull { limit: 3, .. }), "{error}");
    consumers.remove(1);
    let error = queue.subscribe(&named(3)).unwrap_err();
    assert!(matches!(error, Error::SubscriptionsFull { .. }), "the place stays: {error}");
    queue.unsubscribe("name-1").unwrap();
    let error = queue.unsubscribe("name-1").unwrap_err();
    assert!(matches!(error, Error::NoSuchSubscription { .. }), "{error}");
    let error = queue.unsubscribe("name-0").unwrap_err();
    assert!(matches!(error, Error::SubscriptionInUse { members: 1, .. }), "{error}");
    consumers.push(queue.subscribe(&named(3)).unwrap());
    let names: Vec<_> = queue.info().unwrap().subscriptions.into_iter().map(|of| of.name).collect();
    assert_eq!(names, ["name-0", "name-2", "name-3"]);
}

#[test]
fn an_idle_subscription_can_be_moved() {
    let name = Name::new("seek");
    let queue = queue_of(&name, SMALL);
    let mut producer = queue.producer().unwrap();
    for sequence in 0..100 {
        producer.send(&payload(sequence)).unwrap();
    }
    let mut consumer = queue.subscribe(&workers().from(Start::Last(10))).unwrap();
    next_of(&mut consumer, 90);
    let error = queue.seek("workers", Start::Oldest).unwrap_err();
    assert!(matches!(error, Error::SubscriptionInUse { .. }), "{error}");
    drop(consumer);
    for (start, first) in [
        (Start::Oldest, 0),
        (Start::Sequence(42), 42),
        (Start::Last(1), 99),
        (Start::Sequence(7), 7),
    ] {
        queue.seek("workers", start).unwrap();
        let found = info(&queue, "workers");
        assert_eq!((found.head_sequence, found.unacked), (first, 0));
        let mut consumer = queue.subscribe(&workers()).unwrap();
        assert_eq!(next_of(&mut consumer, first).delivery(), 1);
    }
    let error = queue.seek("workers", Start::Sequence(101)).unwrap_err();
    assert!(matches!(error, Error::SequenceAhead { .. }), "{error}");
    queue.seek("workers", Start::Newest).unwrap();
    let mut consumer = queue.subscribe(&workers()).unwrap();
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    producer.send(&payload(100)).unwrap();
    next_of(&mut consumer, 100);
}

#[test]
fn one_that_holds_the_producer_is_moved_within_what_it_holds() {
    let _alive = watchdog();
    let name = Name::new("moved-while-held");
    let queue = queue_of(&name, 64 << 10);
    queue.declare(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    while producer.try_send(&[7; 3000]).unwrap() != Sent::Full {}
    // Others are told that some of what it holds is gone, because the producer wants to overwrite it.
    let next = producer.next_sequence();
    assert!(queue.info().unwrap().oldest_sequence > 1);
    for (start, first) in [
        (Start::Oldest, 0),
        (Start::Sequence(1), 1),
        (Start::Sequence(0), 1),
        (Start::Last(next), 1),
        (Start::Last(3), next - 3),
    ] {
        queue.seek("workers", start).unwrap();
        assert_eq!(info(&queue, "workers").head_sequence, first, "{start:?}");
        if first < 2 {
            assert_eq!(producer.try_send(&[7; 3000]).unwrap(), Sent::Full);
        }
    }
    let mut worker = queue.subscribe(&workers()).unwrap();
    for sequence in next - 3..next {
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), sequence);
    }
    producer.send(&[7; 3000]).unwrap();
}

#[test]
fn a_batch_is_acknowledged_by_the_next_receive_and_its_messages_one_by_one() {
    let name = Name::new("batches");
    let queue = queue_of(&name, SMALL);
    let mut producer = queue.producer().unwrap();
    for sequence in 0..100 {
        producer.send(&payload(sequence)).unwrap();
    }
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let mut next = 0;
    while next < 60 {
        for message in consumer.receive_batch(7).unwrap().message().unwrap() {
            assert_eq!(message.sequence(), next);
            check(&message);
            next += 1;
        }
    }
    drop(consumer);
    // The last batch was not acknowledged.
    let mut consumer = queue.subscribe(&workers().ack(AckMode::Manual).prefetch(100)).unwrap();
    let first = consumer.receive().unwrap().message().unwrap();
    assert!(first.redelivered() && first.sequence() >= 53, "{first:?}");
    let mut seen = vec![first.sequence()];
    let _ = first.ack().unwrap();
    while seen.len() < 30 {
        for message in consumer.receive_batch(9).unwrap().message().unwrap() {
            check(&message);
            seen.push(message.sequence());
            if message.sequence() % 2 == 0 {
                assert_eq!(message.ack().unwrap(), Acked::Done);
            }
        }
    }
    let odd = seen.iter().skip(1).filter(|&&sequence| sequence % 2 == 1).count() as u64;
    assert!(info(&queue, "workers").unacked >= odd);
}
