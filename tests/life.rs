//! Life and death of processes: whoever is killed, at whatever moment, leaves whole messages
//! behind and nobody waiting; whoever is only stopped is alive.

#![allow(clippy::print_stderr, reason = "times are for whoever reads the test's output")]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use ringway::{
    Consumer, ConsumerInfo, Error, Lag, Message, Observer, Producer, Queue, QueueOptions, Received,
    Sent, Start, Subscribe, Wait, layout,
};
use support::{Name, Peer, holding_members, mix, play, say, watchdog};

const CAPACITY: u64 = 64 << 10;
const WAITS: [Wait; 3] = [Wait::Spin, Wait::Backoff, Wait::Park];
/// What fills the ring up. Something smaller may still find room.
const FILLING: [u8; 500] = [1; 500];
/// Longer than any time after which somebody looks around.
const LONG: Duration = Duration::from_millis(300);

#[test]
fn peer() {
    play(&[
        ("produce", produce),
        ("idle", idle),
        ("be the producer", be_the_producer),
        ("stand by", stand_by),
        ("work", work),
        ("join", join),
        ("read", read),
        ("end in order", end_in_order),
        ("end without a word", end_without_a_word),
    ]);
}

fn small(name: &Name) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(CAPACITY)).unwrap()
}

fn wait_named(name: &str) -> Wait {
    WAITS.into_iter().find(|wait| wait.to_string() == name).unwrap()
}

/// Waits to be killed.
fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

/// Where a message stands: in the stream, in its producer's life, in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    sequence: u64,
    producer: u64,
    index: u64,
    count: u64,
}

impl Position {
    const SIZE: usize = 32;

    /// All of it, and a filler that depends on it.
    fn payload(self) -> Vec<u8> {
        let Self { sequence, producer, index, count } = self;
        let words = [sequence, producer, index, count];
        let filler = mix(words.iter().fold(0, |sum, &word| mix(sum ^ word)));
        let size = match filler % 64 {
            0 if count == 1 => CAPACITY / 8 - Self::SIZE as u64,
            1..8 if count == 1 => (filler >> 8) % 4_000,
            _ => (filler >> 8) % 200,
        };
        // Cheap, so that most of a producer's time, and most deaths, are in the sending of it.
        let size = usize::try_from(size).unwrap();
        let mut payload = words.map(u64::to_le_bytes).concat();
        payload.extend(filler.to_le_bytes().repeat(size.div_ceil(8)));
        payload.truncate(Self::SIZE + size);
        payload
    }

    fn of(message: &Message) -> Self {
        let word = |at: usize| {
            let bytes = message.payload()[at * 8..][..8].try_into().unwrap();
            u64::from_le_bytes(bytes)
        };
        let position =
            Self { sequence: word(0), producer: word(1), index: word(2), count: word(3) };
        assert_eq!(position.sequence, message.sequence());
        assert!(message.payload() == position.payload(), "{position:?} is not whole");
        position
    }

    /// What has to follow, if anything.
    fn next_of_batch(self) -> Option<Self> {
        let next = Self { sequence: self.sequence + 1, index: self.index + 1, ..self };
        (next.index < next.count).then_some(next)
    }
}

/// Sends in every way, until it is killed.
fn produce(arguments: &[&str]) {
    let [name, number, wait] = arguments else { panic!("{arguments:?}") };
    let mut producer = Queue::open(name).unwrap().producer().expect("the lock of a dead producer");
    producer.set_wait(wait_named(wait));
    let number = number.parse().unwrap();
    say("ready");
    loop {
        send_somehow(&mut producer, number);
    }
}

fn send_somehow(producer: &mut Producer, number: u64) {
    let sequence = producer.next_sequence();
    let single = Position { sequence, producer: number, index: 0, count: 1 };
    let payload = single.payload();
    let random = mix(sequence ^ (number << 32));
    match random % 8 {
        0..3 => {
            producer.send(&payload).unwrap();
        }
        3..5 => {
            // Sometimes it thinks better of it, and once more.
            let mut claim = producer.claim(producer.message_size_max()).unwrap();
            claim[..payload.len()].copy_from_slice(&payload);
            claim.truncate(payload.len());
            if random & 0x100 == 0 {
                drop(claim);
                producer.send(&payload).unwrap();
            } else {
                claim.commit().unwrap();
            }
        }
        _ => {
            let count = 1 + (random >> 8) % 50;
            let mut batch = producer.batch();
            let mut next = Some(Position { count, ..single });
            while let Some(position) = next {
                batch.push(&position.payload()).unwrap();
                next = position.next_of_batch();
            }
            if random & 0x1_0000_0000 == 0 {
                drop(batch);
                producer.send(&payload).unwrap();
            } else {
                batch.commit().unwrap();
            }
        }
    }
}

/// A consumer or an observer.
enum Reader {
    Consumer(Consumer),
    Observer(Observer),
}

impl Reader {
    fn receive(&mut self, wait: bool) -> Received<Message<'_>> {
        match (self, wait) {
            (Self::Consumer(consumer), true) => consumer.receive(),
            (Self::Consumer(consumer), false) => consumer.try_receive(),
            (Self::Observer(observer), true) => observer.receive(),
            (Self::Observer(observer), false) => observer.try_receive(),
        }
        .unwrap()
    }

    /// Reads to the end of the stream, and checks that it is one: of all producers, without a
    /// gap that is not told, in whole batches that are there at once. What was got and what was
    /// missed is returned.
    fn read_all(mut self) -> (u64, u64) {
        let (mut next, mut missed, mut producer) = (0, 0, 0);
        let mut due: Option<Position> = None;
        let mut is_after_gap = false;
        loop {
            match self.receive(due.is_none()) {
                Received::Message(message) => {
                    let position = Position::of(&message);
                    assert_eq!(position.sequence, next);
                    assert!(position.producer >= producer, "{position:?} after {producer}");
                    match due {
                        Some(due) => assert_eq!(position, due),
                        None => assert!(position.index == 0 || is_after_gap, "{position:?}"),
                    }
                    is_after_gap = false;
                    next += 1;
                    producer = position.producer;
                    due = position.next_of_batch();
                    if mix(next).is_multiple_of(500) {
                        // Lets the producer come to the end of the ring.
                        thread::sleep(Duration::from_millis(1));
                    }
                }
                Received::Missed { from, to } => {
                    assert_eq!(from, next);
                    assert!(matches!(self, Self::Observer(_)), "a consumer that holds missed");
                    (next, due, is_after_gap) = (to, None, true);
                    missed += to - from;
                }
                Received::Closed if due.is_none() => return (next - missed, missed),
                other => panic!("{other:?}, and {due:?} is due"),
            }
        }
    }
}

#[test]
fn producers_that_are_killed_leave_whole_messages_and_whole_batches() {
    const ROUNDS: u64 = 300;
    let _alive = watchdog();
    let name = Name::new("killed");
    let queue = small(&name);
    let parked = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
    let consumer = Reader::Consumer(queue.subscribe(&parked).unwrap());
    let observer = Reader::Observer(queue.observe(Start::Oldest).unwrap());
    let consumer = thread::spawn(|| consumer.read_all());
    let observer = thread::spawn(|| observer.read_all());
    for round in 0..ROUNDS {
        let wait = WAITS[usize::try_from(round % 3).unwrap()].to_string();
        let mut peer = Peer::start("produce", &[&name, &round.to_string(), &wait]);
        let random = mix(round);
        if random.is_multiple_of(4) {
            // While it comes to life, it may be.
            thread::sleep(Duration::from_micros((random >> 8) % 20_000));
        } else {
            peer.await_word("ready");
            thread::sleep(Duration::from_micros((random >> 8) % 3_000));
        }
        peer.kill();
        if random & 0x80 == 0 {
            let mut producer = queue.producer().expect("the lock of a dead producer");
            send_somehow(&mut producer, round);
        }
    }
    let producer = queue.producer().expect("the lock of a dead producer");
    let end = producer.next_sequence();
    producer.close().unwrap();
    assert_eq!(consumer.join().unwrap(), (end, 0));
    let (got, missed) = observer.join().unwrap();
    assert_eq!(got + missed, end);
    eprintln!("{end} messages of {ROUNDS} producers, of which the observer missed {missed}");
    assert!(end > ROUNDS);
    let producers = queue.info().unwrap().producer.unwrap().epoch;
    assert!(producers > ROUNDS / 2, "{producers}");
}

fn be_the_producer(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    say("ready");
    loop {
        producer.send(b"I am").unwrap();
    }
}

#[test]
fn a_producer_lives_until_it_is_dead_and_not_for_less() {
    let _alive = watchdog();
    let name = Name::new("alive");
    let queue = small(&name);
    let lives = || queue.info().unwrap().producer.unwrap().alive;
    for round in 1..=10 {
        let mut peer = Peer::start("be the producer", &[&name]);
        peer.await_word("ready");
        let refuses = || {
            let error = queue.producer().unwrap_err();
            let expected = peer.id();
            assert!(matches!(error, Error::ProducerAlive { pid, .. } if pid == expected));
            assert!(lives());
            let info = queue.info().unwrap().producer.unwrap();
            assert_eq!((info.pid, info.epoch), (expected, 2 * round - 1));
        };
        refuses();
        peer.stop();
        let start = Instant::now();
        while start.elapsed() < LONG {
            refuses();
        }
        peer.go_on();
        refuses();
        if round % 2 == 0 {
            peer.stop();
        }
        peer.kill();
        assert!(!lives());
        let producer = queue.producer().unwrap();
        assert!(lives());
        drop(producer);
        assert!(!lives());
    }
}

/// What readers do who end with the producer: once it is found dead, they look once more.
#[test]
fn readers_find_out_that_the_producer_was_killed_and_get_all_that_it_sent() {
    let _alive = watchdog();
    let name = Name::new("bereft");
    let queue = small(&name);
    assert!(!queue.producer_is_alive());
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    let mut observer = queue.observe(Start::Newest).unwrap();
    let mut producer = Peer::start("be the producer", &[&name]);
    producer.await_word("ready");
    producer.stop();
    assert!(queue.producer_is_alive(), "who is stopped is alive");
    assert!(consumer.producer_is_alive() && observer.producer_is_alive());
    producer.kill();
    assert!(!queue.producer_is_alive());
    assert!(!consumer.producer_is_alive() && !observer.producer_is_alive());
    let next = loop {
        match consumer.try_receive().unwrap() {
            Received::Message(message) => assert_eq!(message.payload(), b"I am"),
            Received::Empty => break consumer.next_sequence(),
            other => panic!("nobody ended the stream: {other:?}"),
        }
    };
    while observer.next_sequence() < next {
        assert!(matches!(
            observer.try_receive().unwrap(),
            Received::Message(_) | Received::Missed { .. }
        ));
    }
    assert_eq!(observer.try_receive().unwrap(), Received::Empty);
    let mut successor = queue.producer().unwrap();
    assert!(consumer.producer_is_alive());
    assert_eq!(successor.send(b"I am").unwrap(), next);
}

/// Waits for the place of another, and tells what it sent then.
fn stand_by(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    say("ready");
    let mut producer = queue.producer_timeout(Duration::MAX).unwrap();
    say(producer.send(b"I am").unwrap());
    wait_for_the_end();
}

#[test]
fn whoever_stands_by_takes_over_from_one_that_was_killed() {
    let _alive = watchdog();
    let name = Name::new("standby");
    let queue = small(&name);
    let mut first = Peer::start("be the producer", &[&name]);
    first.await_word("ready");
    let start = Instant::now();
    let refused = queue.producer_timeout(LONG).unwrap_err();
    assert!(matches!(refused, Error::ProducerAlive { pid, .. } if pid == first.id()));
    assert!(start.elapsed() >= LONG);
    let mut standby = Peer::start("stand by", &[&name]);
    standby.await_word("ready");
    first.kill();
    let sequence: u64 = standby.hear().parse().unwrap();
    assert_eq!(queue.info().unwrap().next_sequence, sequence + 1);
    standby.stop();
    let mut next = Peer::start("stand by", &[&name]);
    next.await_word("ready");
    standby.kill();
    assert_eq!(next.hear(), (sequence + 1).to_string());

    // Who waits when the queue goes is told.
    let waiting = {
        let queue = queue.clone();
        thread::spawn(move || queue.producer_timeout(Duration::MAX).map(drop))
    };
    Queue::force_remove(&name).unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(Error::Stale { .. })));
}

#[test]
fn a_queue_is_waited_for_until_somebody_makes_it() {
    let _alive = watchdog();
    let name = Name::new("awaited");
    let start = Instant::now();
    let missing = Queue::open_timeout(&name, LONG).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }) && start.elapsed() >= LONG);
    assert!(matches!(Queue::open_timeout("..", Duration::MAX), Err(Error::InvalidName { .. })));
    thread::scope(|scope| {
        let opening = scope.spawn(|| Queue::open_timeout(&name, Duration::MAX).unwrap());
        let made = small(&name);
        assert_eq!(opening.join().unwrap().instance_id(), made.instance_id());
    });
}

/// Is a consumer that does nothing more.
fn idle(arguments: &[&str]) {
    let [name, lag] = arguments else { panic!("{arguments:?}") };
    let lag = if *lag == "hold" { Lag::Hold } else { Lag::Skip };
    let options = Subscribe::new().from(Start::Oldest).on_lag(lag);
    let consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    say(consumer.member());
    wait_for_the_end();
}

/// A peer, and its number in the member table.
fn start_member(role: &str, arguments: &[&str]) -> (Peer, u32) {
    let mut peer = Peer::start(role, arguments);
    let member = peer.hear().parse().unwrap();
    (peer, member)
}

fn consumer_info(queue: &Queue, member: u32) -> Option<ConsumerInfo> {
    queue.info().unwrap().consumers.into_iter().find(|consumer| consumer.member == member)
}

fn fill_up(producer: &mut Producer) {
    while producer.try_send(&FILLING).unwrap() != Sent::Full {}
}

#[test]
fn who_waits_for_consumers_counts_those_that_live() {
    const NOW: Duration = Duration::ZERO;
    let _alive = watchdog();
    let name = Name::new("awaited");
    let queue = small(&name);
    assert!(queue.wait_for_consumers(0, NOW).unwrap());
    assert!(!queue.wait_for_consumers(1, NOW).unwrap());
    let _observer = queue.observe(Start::Newest).unwrap();
    let (first, _) = start_member("idle", &[&name, "hold"]);
    let member = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    assert!(queue.wait_for_consumers(2, NOW).unwrap());
    first.kill();
    let begin = Instant::now();
    assert!(!queue.wait_for_consumers(2, Duration::from_millis(20)).unwrap());
    assert!(begin.elapsed() >= Duration::from_millis(20));
    thread::scope(|scope| {
        let waits = scope.spawn(|| queue.wait_for_consumers(2, Duration::MAX));
        let _second = queue.subscribe(&Subscribe::new()).unwrap();
        assert!(waits.join().unwrap().unwrap());
    });
    drop(member);
    Queue::force_remove(&name).unwrap();
    assert!(queue.wait_for_consumers(0, NOW).unwrap());
    let gone = queue.wait_for_consumers(1, Duration::MAX);
    assert!(matches!(gone, Err(Error::Stale { .. })));
}

#[test]
fn a_dead_consumer_holds_nobody() {
    let _alive = watchdog();
    for wait in WAITS {
        for is_waited_for in [false, true] {
            let name = Name::new("dead");
            let queue = small(&name);
            let mut producer = queue.producer().unwrap();
            producer.set_wait(wait);
            let (first, first_member) = start_member("idle", &[&name, "hold"]);
            let (second, second_member) = start_member("idle", &[&name, "hold"]);
            fill_up(&mut producer);
            assert_eq!(holding_members(&producer), [first_member, second_member]);
            for (peer, member) in [(&first, first_member), (&second, second_member)] {
                let info = consumer_info(&queue, member).unwrap();
                assert!(info.alive && info.holds_producer && info.pid == peer.id(), "{info:?}");
            }

            // One of two: the other one holds as before.
            first.kill();
            let info = consumer_info(&queue, first_member).unwrap();
            assert!(!info.alive, "{info:?}");
            while holding_members(&producer) != [second_member] {
                assert_eq!(producer.try_send(&FILLING).unwrap(), Sent::Full);
            }
            assert_eq!(producer.try_send(&FILLING).unwrap(), Sent::Full);
            assert!(consumer_info(&queue, first_member).is_none());

            let next = producer.next_sequence();
            let kill = || {
                second.kill();
                Instant::now()
            };
            let (killed_at, sent) = if is_waited_for {
                thread::scope(|scope| {
                    let killer = scope.spawn(|| {
                        // The producer is asleep by now, if it sleeps.
                        thread::sleep(Duration::from_millis(20));
                        kill()
                    });
                    let sent = producer.send(&FILLING).unwrap();
                    (killer.join().unwrap(), sent)
                })
            } else {
                (kill(), producer.send(&FILLING).unwrap())
            };
            let time = killed_at.elapsed();
            eprintln!("{wait}, waited for: {is_waited_for}: sent {time:?} after the death");
            assert_eq!(sent, next);
            assert!(queue.info().unwrap().consumers.is_empty());
        }
    }
}

/// Reads to the end, and says how much it was.
fn read(arguments: &[&str]) {
    let [name, wait] = arguments else { panic!("{arguments:?}") };
    let options = Subscribe::new().from(Start::Oldest).wait(wait_named(wait));
    let mut consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    say(consumer.member());
    let mut next = consumer.next_sequence();
    while let Received::Message(message) = consumer.receive().unwrap() {
        assert_eq!(message.sequence(), next);
        let sent = message.payload();
        assert!(sent == FILLING || sent == next.to_le_bytes(), "message {next} is another");
        next += 1;
    }
    say(next);
}

fn send_number(producer: &mut Producer) {
    let sequence = producer.next_sequence();
    assert_eq!(producer.send(&sequence.to_le_bytes()).unwrap(), sequence);
}

#[test]
fn a_stopped_consumer_holds_until_it_goes_on() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("stopped");
        let queue = small(&name);
        let mut producer = queue.producer().unwrap();
        producer.set_wait(wait);
        let (mut peer, member) = start_member("read", &[&name, &wait.to_string()]);
        for _ in 0..4 {
            (0..1_000).for_each(|_| send_number(&mut producer));
            peer.stop();
            fill_up(&mut producer);
            let (start, next) = (Instant::now(), producer.next_sequence());
            while start.elapsed() < LONG {
                assert_eq!(producer.try_send(&FILLING).unwrap(), Sent::Full);
                assert_eq!(holding_members(&producer), [member]);
                let info = consumer_info(&queue, member).unwrap();
                assert!(info.alive && info.holds_producer, "{info:?}");
                assert_eq!(queue.clear_dead().unwrap(), 0);
            }
            let sent = producer.send_timeout(&FILLING, Duration::from_millis(1)).unwrap();
            assert_eq!((sent, producer.next_sequence()), (Sent::TimedOut, next));
            peer.go_on();
            send_number(&mut producer);
        }
        let end = producer.next_sequence();
        producer.close().unwrap();
        peer.await_word(&end.to_string());
        peer.finish();
    }
}

#[test]
fn the_dead_are_shown_as_such_and_cleared_on_request() {
    let _alive = watchdog();
    let name = Name::new("shown");
    let queue = small(&name);
    let lags = ["hold", "skip", "hold", "skip", "hold"];
    let peers = lags.map(|lag| start_member("idle", &[&name, lag]));
    let members = peers.each_ref().map(|&(_, member)| member);
    let [first, second, third, fourth, fifth] = peers.map(|(peer, _)| peer);
    let alive = || -> Vec<_> {
        let consumers = queue.info().unwrap().consumers.into_iter();
        consumers.map(|consumer| (consumer.member, consumer.alive)).collect()
    };
    assert_eq!(members, [0, 1, 2, 3, 4]);
    assert_eq!(alive(), members.map(|member| (member, true)));
    assert_eq!(queue.clear_dead().unwrap(), 0);

    first.kill();
    fourth.kill();
    second.stop();
    assert_eq!(alive(), [(0, false), (1, true), (2, true), (3, false), (4, true)]);
    assert_eq!(queue.clear_dead().unwrap(), 2);
    assert_eq!(alive(), [(1, true), (2, true), (4, true)]);
    assert_eq!(queue.clear_dead().unwrap(), 0);

    [second, third, fifth].into_iter().for_each(Peer::kill);
    assert_eq!(alive(), [(1, false), (2, false), (4, false)]);
    // The dead are no users.
    Queue::remove(&name).unwrap();
}

#[test]
fn the_places_of_the_dead_are_given_to_others() {
    const MEMBERS: u32 = 3;
    let _alive = watchdog();
    let name = Name::new("places");
    let options = QueueOptions::new().capacity(CAPACITY).members(MEMBERS);
    let queue = Queue::create(&name, &options).unwrap();
    let mut peers: Vec<_> = (0..MEMBERS).map(|_| start_member("idle", &[&name, "hold"])).collect();
    let refuses = || {
        let error = queue.subscribe(&Subscribe::new()).unwrap_err();
        assert!(matches!(error, Error::MembersFull { limit: MEMBERS, .. }), "{error}");
    };
    for round in 0..12 {
        refuses();
        let (peer, place) = peers.remove(usize::try_from(mix(round) % 3).unwrap());
        peer.stop();
        refuses();
        peer.kill();
        assert!(!consumer_info(&queue, place).unwrap().alive);
        let consumer = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).unwrap();
        assert_eq!(consumer.member(), place);
        let info = consumer_info(&queue, place).unwrap();
        assert!(info.alive && info.lag == Lag::Skip && info.pid == std::process::id(), "{info:?}");
        refuses();
        drop(consumer);
        assert!(consumer_info(&queue, place).is_none());
        let (peer, member) = start_member("idle", &[&name, "hold"]);
        assert_eq!(member, place);
        peers.push((peer, member));
    }
    // Two places at once, of which one is cleared before.
    let (last, _) = peers.pop().unwrap();
    for (peer, _) in peers {
        peer.kill();
    }
    let joined = [(); 2].map(|()| queue.subscribe(&Subscribe::new()).unwrap());
    refuses();
    drop((joined, last));
}

#[test]
fn whoever_clears_up_after_the_dead_leaves_their_places_to_others() {
    let _alive = watchdog();
    let name = Name::new("left-places");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY).members(2)).unwrap();
    let mut producer = queue.producer().unwrap();
    let (peer, _) = start_member("idle", &[&name, "hold"]);
    peer.kill();
    for _ in 0..2 * CAPACITY / 500 {
        producer.send(&FILLING).unwrap();
    }
    let workers = Subscribe::new().named("workers");
    let mut worker = queue.subscribe(&workers).unwrap();
    let (peer, _) = start_member("work", &[&name]);
    peer.kill();
    while queue.info().unwrap().consumers.len() > 1 {
        assert_eq!(worker.try_receive().unwrap(), Received::Empty);
    }
    // Both of those who did that live.
    let _consumer = queue.subscribe(&workers).unwrap();
}

fn work(arguments: &[&str]) {
    let workers = Subscribe::new().named("workers");
    let consumer = Queue::open(arguments[0]).unwrap().subscribe(&workers).unwrap();
    say(consumer.member());
    wait_for_the_end();
}

fn join(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new().wait(Wait::Park)).unwrap();
    say(consumer.member());
    let _ = consumer.receive();
    wait_for_the_end();
}

fn end_in_order(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let _consumers = [Lag::Hold, Lag::Skip].map(|lag| {
        let mut consumer = queue.subscribe(&Subscribe::new().on_lag(lag)).unwrap();
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        consumer
    });
    queue.producer().unwrap().send(b"last words").unwrap();
}

fn end_without_a_word(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let _consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let _producer = queue.producer().unwrap();
    std::process::exit(0);
}

#[test]
fn whoever_ends_in_order_leaves_no_trace_and_whoever_just_ends_is_dead() {
    let _alive = watchdog();
    let name = Name::new("ends");
    let queue = small(&name);
    for _ in 0..5 {
        Peer::start("end in order", &[&name]).finish();
        let info = queue.info().unwrap();
        assert!(info.consumers.is_empty() && !info.producer.unwrap().alive);
        assert_eq!(queue.clear_dead().unwrap(), 0);

        Peer::start("end without a word", &[&name]).finish();
        let info = queue.info().unwrap();
        assert!(!info.producer.unwrap().alive);
        assert_eq!(info.consumers.len(), 1);
        assert!(!info.consumers[0].alive);
        assert_eq!(queue.clear_dead().unwrap(), 1);
        drop(queue.producer().unwrap());
    }
    assert_eq!(queue.info().unwrap().next_sequence, 5);
    Queue::remove(&name).unwrap();
}

/// The word that sleeping consumers have made odd.
fn data_event(name: &Name) -> u32 {
    let offset = |part, name| {
        let is_it = |field: &layout::Field| field.part == part && field.name == name;
        layout::fields().find(is_it).unwrap().offset as u64
    };
    let file = File::open(name.path()).unwrap();
    let mut control = [0; 8];
    file.read_exact_at(&mut control, offset("Header", "control_offset")).unwrap();
    let mut word = [0; 4];
    let position = u64::from_le_bytes(control) + offset("Control", "data_event");
    file.read_exact_at(&mut word, position).unwrap();
    u32::from_le_bytes(word)
}

#[test]
fn a_consumer_that_dies_in_its_sleep_hinders_nobody() {
    const ROUNDS: u64 = 60;
    let _alive = watchdog();
    let name = Name::new("sleep");
    let queue = small(&name);
    let mut producer = queue.producer().unwrap();
    let die_in_sleep = |round: u64| {
        let (peer, _) = start_member("join", &[&name]);
        // While it polls, when it is about to sleep, or in its sleep.
        thread::sleep(Duration::from_micros(mix(round) % 2_000));
        peer.kill();
    };
    // Nobody else is there.
    for round in 0..ROUNDS / 4 {
        die_in_sleep(round);
        send_number(&mut producer);
        assert_eq!(data_event(&name) % 2, 0, "the dead are called once");
        send_number(&mut producer);
    }
    queue.clear_dead().unwrap();
    // Somebody sleeps beside them.
    let (mut survivor, member) = start_member("read", &[&name, "park"]);
    for round in 0..ROUNDS {
        die_in_sleep(round);
        send_number(&mut producer);
        while consumer_info(&queue, member).unwrap().lag_bytes > 0 {
            thread::yield_now();
        }
    }
    let info = consumer_info(&queue, member).unwrap();
    assert!(info.sleeps > 0 && info.late_wakes == 0, "{info:?}");
    let end = producer.next_sequence();
    producer.close().unwrap();
    survivor.await_word(&end.to_string());
    survivor.finish();
    // The one that died last, or those whose places nobody took.
    assert!(queue.clear_dead().unwrap() >= 1);
}
