//! Whoever is stopped, in the middle of whatever it does, is alive: it keeps what it has, nobody
//! else is held up who need not be, and it goes on where it was.
//!
//! `RINGWAY_STOP` says for how many seconds they are stopped.

#![allow(clippy::print_stderr, reason = "how tests speak")]

mod support;

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use ringway::{
    AckMode, Acked, Consumer, Error, Lag, Producer, Queue, Received, Sent, Start, Subscribe, Wait,
};
use support::segment::new_queue;
use support::{Peer, assert_message, number_from, play, say, stop_here, watchdog_of};

#[test]
fn peer() {
    play(&[
        ("claim", claim),
        ("batch", batch),
        ("consume", consume),
        ("observe", observe),
        ("member", member),
        ("poll", poll),
    ]);
}

/// For how long somebody is stopped: longer than any time after which somebody looks around.
fn pause() -> Duration {
    let seconds = number_from("RINGWAY_STOP", 0);
    if seconds == 0 { Duration::from_millis(300) } else { Duration::from_secs(seconds) }
}

fn patience() -> Duration {
    Duration::from_secs(240) + pause() * 16
}

/// Does something again and again for as long as somebody is stopped.
fn meanwhile(mut act: impl FnMut()) {
    let begin = Instant::now();
    while begin.elapsed() < pause() {
        act();
        std::thread::sleep(Duration::from_millis(1));
    }
}

const SIZE: usize = 500;

fn payload(sequence: u64) -> Vec<u8> {
    sequence.to_le_bytes().into_iter().cycle().take(SIZE).collect()
}

fn send(producer: &mut Producer) -> bool {
    let payload = payload(producer.next_sequence());
    producer.try_send(&payload).unwrap() != Sent::Full
}

/// Stops in the middle of writing a message.
fn claim(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    let payload = payload(producer.next_sequence());
    let mut claim = producer.claim(SIZE).unwrap();
    claim[..SIZE / 2].copy_from_slice(&payload[..SIZE / 2]);
    stop_here();
    claim[SIZE / 2..].copy_from_slice(&payload[SIZE / 2..]);
    claim.commit().unwrap();
    say("sent");
}

/// Stops in the middle of a batch.
fn batch(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    let next = producer.next_sequence();
    let mut batch = producer.batch();
    batch.push(&payload(next)).unwrap();
    stop_here();
    batch.push(&payload(next + 1)).unwrap();
    batch.commit().unwrap();
    say("sent");
}

#[test]
fn a_producer_that_is_stopped_in_the_middle_of_a_message_finishes_it() {
    let _alive = watchdog_of(patience());
    for (role, count) in [("claim", 1), ("batch", 2)] {
        let (name, queue) = new_queue("half");
        let mut producer = queue.producer().unwrap();
        (0..20).for_each(|_| assert!(send(&mut producer)));
        drop(producer);
        let mut consumer = queue.subscribe(&Subscribe::new().wait(Wait::Park)).unwrap();
        let mut peer = Peer::start(role, &[&name]);
        peer.await_stop();
        meanwhile(|| {
            let refused = queue.producer().unwrap_err();
            assert!(matches!(refused, Error::ProducerAlive { pid, .. } if pid == peer.id()));
            let refused = Queue::remove(&name).unwrap_err();
            assert!(matches!(refused, Error::InUse { producer: true, .. }));
            assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
            assert_eq!(queue.clear_dead().unwrap(), 0);
            let info = queue.info().unwrap();
            assert!(info.producer.unwrap().alive && info.next_sequence == 20);
        });
        peer.go_on();
        peer.await_word("sent");
        for sequence in 20..20 + count {
            assert_message(consumer.receive(), sequence, &payload(sequence));
        }
        peer.finish();
        assert!(send(&mut queue.producer().unwrap()));
    }
}

fn read_on(mut receive: impl FnMut() -> (Option<u64>, u64), first: u64) {
    let (mut next, mut missed) = (first, 0);
    loop {
        let (sequence, gap) = receive();
        missed += gap;
        next += gap;
        match sequence {
            Some(sequence) => assert_eq!(sequence, next),
            None if gap > 0 => continue,
            None => break,
        }
        next += 1;
    }
    say(format_args!("{next}, {missed} missed"));
}

fn look(received: Received<ringway::Message<'_>>) -> (Option<u64>, u64) {
    match received {
        Received::Message(message) => {
            assert_eq!(message.payload(), payload(message.sequence()));
            (Some(message.sequence()), 0)
        }
        Received::Missed { from, to } => (None, to - from),
        Received::Closed => (None, 0),
        other => panic!("{other:?}"),
    }
}

/// Stops while it has a message, and then reads to the end.
fn consume(arguments: &[&str]) {
    let [name, lag] = arguments else { panic!("{arguments:?}") };
    let lag = if *lag == "hold" { Lag::Hold } else { Lag::Skip };
    let options = Subscribe::new().from(Start::Oldest).on_lag(lag).wait(Wait::Park);
    let mut consumer: Consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    let message = consumer.receive().unwrap().message().unwrap();
    stop_here();
    assert_eq!((message.sequence(), message.payload()), (0, &payload(0)[..]));
    read_on(|| look(consumer.receive().unwrap()), 1);
}

fn observe(arguments: &[&str]) {
    let mut observer = Queue::open(arguments[0]).unwrap().observe(Start::Oldest).unwrap();
    let message = observer.receive().unwrap().message().unwrap();
    stop_here();
    assert_eq!((message.sequence(), message.payload()), (0, &payload(0)[..]));
    read_on(|| look(observer.receive().unwrap()), 1);
}

#[test]
fn a_reader_that_is_stopped_loses_nothing_that_it_holds_and_is_told_the_rest() {
    let _alive = watchdog_of(patience());
    for (role, lag) in [("consume", "hold"), ("consume", "skip"), ("observe", "skip")] {
        let (name, queue) = new_queue("reader");
        let mut producer = queue.producer().unwrap();
        assert!(send(&mut producer));
        let mut peer = Peer::start(role, &[&name, lag]);
        peer.await_stop();
        let mut beside = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).unwrap();
        meanwhile(|| {
            for _ in 0..50 {
                let is_sent = send(&mut producer);
                assert!(is_sent || lag == "hold", "nobody holds it");
                if is_sent {
                    let next = producer.next_sequence() - 1;
                    assert_message(beside.receive(), next, &payload(next));
                }
            }
            assert_eq!(queue.clear_dead().unwrap(), 0);
            let consumers = queue.info().unwrap().consumers;
            let stopped = consumers.iter().find(|consumer| consumer.pid == peer.id());
            assert!(stopped.is_none_or(|consumer| consumer.alive));
        });
        assert_eq!(send(&mut producer), lag != "hold");
        let end = producer.next_sequence();
        assert!(end > 100, "{end} were sent");
        producer.close().unwrap();
        peer.go_on();
        let said = peer.hear();
        let (next, missed) = said.split_once(", ").unwrap();
        assert_eq!(next, end.to_string());
        assert_eq!(missed == "0 missed", lag == "hold", "{missed}");
        peer.finish();
    }
}

fn workers(lease: &str) -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park);
    let workers = workers.ack(AckMode::Manual).prefetch(1);
    match lease.parse() {
        Ok(milliseconds) => workers.ack_within(Duration::from_millis(milliseconds)),
        Err(_) => workers,
    }
}

/// Stops while it has a message.
fn member(arguments: &[&str]) {
    let [name, lease] = arguments else { panic!("{arguments:?}") };
    let mut consumer = Queue::open(name).unwrap().subscribe(&workers(lease)).unwrap();
    let message = consumer.receive().unwrap().message().unwrap();
    assert_eq!(message.sequence(), 0);
    stop_here();
    say(format_args!("{:?}", message.ack().unwrap()));
}

#[test]
fn a_member_that_is_stopped_keeps_its_message_unless_a_lease_says_otherwise() {
    let _alive = watchdog_of(patience());
    for lease in ["none", "20"] {
        let (name, queue) = new_queue("member");
        drop(queue.subscribe(&workers(lease)).unwrap());
        let mut producer = queue.producer().unwrap();
        (0..10).for_each(|_| assert!(send(&mut producer)));
        let mut peer = Peer::start("member", &[&name, lease]);
        peer.await_stop();
        let mut beside = queue.subscribe(&workers(lease)).unwrap();
        let mut got = Vec::new();
        let mut receive = |got: &mut Vec<_>| {
            if let Some(message) = beside.try_receive().unwrap().message() {
                assert_eq!(message.payload(), payload(message.sequence()));
                got.push((message.sequence(), message.delivery()));
                assert_eq!(message.ack().unwrap(), Acked::Done);
            }
        };
        meanwhile(|| receive(&mut got));
        let all = if lease == "none" { 9 } else { 10 };
        while got.len() < all {
            receive(&mut got);
        }
        got.sort_unstable();
        let expected = (0..10).map(|sequence| (sequence, if sequence == 0 { 2 } else { 1 }));
        assert!(got.iter().copied().eq(expected.skip(10 - all)), "{got:?}");
        peer.go_on();
        peer.await_word(if lease == "none" { "Done" } else { "Late" });
        peer.finish();
        meanwhile(|| receive(&mut got));
        assert_eq!(got.len(), all, "each was counted once");
        assert_eq!(queue.info().unwrap().subscriptions[0].unacked, 0);
    }
}

/// Polls for ever.
fn poll(arguments: &[&str]) {
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&Subscribe::new()).unwrap();
    say("ready");
    loop {
        let _ = consumer.try_receive();
    }
}

#[test]
fn whoever_uses_a_segment_that_is_cut_ends_by_a_signal_and_others_are_told() {
    let _alive = watchdog_of(patience());
    let (name, queue) = new_queue("cut");
    let mut peer = Peer::start("poll", &[&name]);
    peer.await_word("ready");
    OpenOptions::new().write(true).open(name.path()).unwrap().set_len(0).unwrap();
    assert_eq!(peer.ending().signal(), Some(libc::SIGBUS));
    assert!(matches!(queue.info(), Err(Error::Truncated { .. })));
    assert!(matches!(queue.producer(), Err(Error::Truncated { .. })));
    assert!(matches!(Queue::open(&name), Err(Error::Unfinished { .. })));
}
