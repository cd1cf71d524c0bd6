//! Readers that wait past the end of the stream: it is told once, and what comes after it calls them.

mod support;

use std::time::{Duration, Instant};
use std::{fs, thread};

use ringway::{
    AckMode, Acked, Consumer, ConsumerSet, Error, Lag, Message, Nacked, Observer, Queue,
    QueueOptions, Readiness, Received, SetReceived, Start, Subscribe, Wait,
};
use support::{Name, watchdog};

const WAITS: [Wait; 3] = [Wait::Spin, Wait::Backoff, Wait::Park];
/// Long for a call, and short for a wait.
const A_WHILE: Duration = Duration::from_millis(60);

fn small(name: &Name) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(64 << 10)).unwrap()
}

fn past_the_end() -> Subscribe {
    Subscribe::new().from(Start::Oldest).past_the_end()
}

fn workers() -> Subscribe {
    past_the_end().named("workers").ack(AckMode::Manual)
}

/// Sends one message as a producer of its own, and ends the stream.
fn send_and_close(queue: &Queue, payload: &[u8]) {
    let mut producer = queue.producer().unwrap();
    producer.send(payload).unwrap();
    producer.close().unwrap();
}

enum Reader {
    Consumer(Consumer),
    Observer(Observer),
}

impl Reader {
    /// One of each kind.
    fn all_of(queue: &Queue, wait: Wait) -> Vec<Self> {
        let options = past_the_end().wait(wait);
        let consumers = [
            options.clone(),
            options.clone().on_lag(Lag::Skip),
            options.clone().named("auto"),
            options.named("leased").ack_within(Duration::from_secs(60)),
        ];
        let consumers = consumers.map(|options| Self::Consumer(queue.subscribe(&options).unwrap()));
        let observer = queue.observe_with(Start::Oldest, wait).unwrap().past_the_end();
        consumers.into_iter().chain([Self::Observer(observer)]).collect()
    }

    fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, Error> {
        match self {
            Self::Consumer(consumer) => consumer.receive_timeout(time),
            Self::Observer(observer) => observer.receive_timeout(time),
        }
    }

    fn receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        match self {
            Self::Consumer(consumer) => consumer.receive(),
            Self::Observer(observer) => observer.receive(),
        }
    }

    fn assert_next(&mut self, payload: &[u8]) {
        assert_eq!(self.receive().unwrap().message().expect("a message").payload(), payload);
    }
}

#[test]
fn each_end_is_told_once_and_then_waited_past() {
    let _watchdog = watchdog();
    for wait in WAITS {
        let name = Name::new("told-once");
        let queue = small(&name);
        let mut readers = Reader::all_of(&queue, wait);
        for payload in [b"first", b"other"] {
            send_and_close(&queue, payload);
            for reader in &mut readers {
                reader.assert_next(payload);
                assert_eq!(reader.receive().unwrap(), Received::Closed);
                assert_eq!(reader.receive_timeout(Duration::ZERO).unwrap(), Received::TimedOut);
                let begin = Instant::now();
                assert_eq!(reader.receive_timeout(A_WHILE).unwrap(), Received::TimedOut);
                assert!(begin.elapsed() >= A_WHILE);
            }
        }
        // One that nothing came before is the same end.
        queue.producer().unwrap().close().unwrap();
        for reader in &mut readers {
            assert_eq!(reader.receive_timeout(Duration::ZERO).unwrap(), Received::TimedOut);
        }
    }
}

#[test]
fn who_sleeps_past_the_end_is_called_by_what_comes_after_it() {
    let _watchdog = watchdog();
    for wait in WAITS {
        let name = Name::new("called-past");
        let queue = small(&name);
        let readers = Reader::all_of(&queue, wait);
        queue.producer().unwrap().close().unwrap();
        thread::scope(|scope| {
            for mut reader in readers {
                scope.spawn(move || {
                    assert_eq!(reader.receive().unwrap(), Received::Closed);
                    reader.assert_next(b"after the end");
                    assert_eq!(reader.receive().unwrap(), Received::Closed);
                    // It would wait for ever if that were not told.
                    assert!(matches!(reader.receive(), Err(Error::Stale { .. })));
                });
            }
            thread::sleep(A_WHILE);
            send_and_close(&queue, b"after the end");
            thread::sleep(A_WHILE);
            Queue::force_remove(&name).unwrap();
        });
    }
}

#[test]
fn who_waits_past_the_end_finds_out_that_the_name_was_taken_away_without_a_word() {
    let _watchdog = watchdog();
    let name = Name::new("gone-past");
    let queue = small(&name);
    let readers = Reader::all_of(&queue, Wait::Park);
    queue.producer().unwrap().close().unwrap();
    thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || {
                assert_eq!(reader.receive().unwrap(), Received::Closed);
                assert!(matches!(reader.receive(), Err(Error::Stale { .. })));
            });
        }
        thread::sleep(A_WHILE);
        fs::remove_file(name.path()).unwrap();
    });
}

#[test]
fn a_readiness_waits_past_the_end() {
    let _watchdog = watchdog();
    let name = Name::new("armed-past");
    let queue = small(&name);
    let readiness = Readiness::new().unwrap();
    for options in [past_the_end(), workers()] {
        let mut consumer = queue.subscribe(&options.from(Start::Newest)).unwrap();
        queue.producer().unwrap().close().unwrap();
        assert_eq!(consumer.receive().unwrap(), Received::Closed);
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        assert!(readiness.arm(&mut consumer).unwrap());
        queue.producer().unwrap().send(b"there").unwrap();
        assert!(!readiness.arm(&mut consumer).unwrap());
        let message = consumer.try_receive().unwrap().message().unwrap();
        assert_eq!(message.ack().unwrap(), Acked::Done);
    }
}

#[test]
fn what_a_member_refuses_past_the_end_comes_again() {
    let _watchdog = watchdog();
    let name = Name::new("refused-past");
    let queue = small(&name);
    let mut worker = queue.subscribe(&workers().wait(Wait::Park)).unwrap();
    send_and_close(&queue, b"a task");
    let sequence = worker.receive().unwrap().message().unwrap().sequence();
    assert_eq!(worker.receive().unwrap(), Received::Closed);
    let acker = worker.acker().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_WHILE);
            assert_eq!(acker.nack(sequence).unwrap(), Nacked::Retry(Duration::ZERO));
        });
        assert_eq!(worker.receive().unwrap().message().unwrap().delivery(), 2);
    });
}

#[test]
fn a_full_member_past_the_end_receives_again_once_it_may() {
    let _watchdog = watchdog();
    let name = Name::new("full-past");
    let queue = small(&name);
    let mut worker = queue.subscribe(&workers().wait(Wait::Park).prefetch(2)).unwrap();
    let acker = worker.acker().unwrap();
    send_and_close(&queue, b"a task");
    assert!(worker.receive().unwrap().message().is_some());
    assert_eq!(worker.receive().unwrap(), Received::Closed);
    // Now it has as much as it may have, and the stream has gone on.
    send_and_close(&queue, b"another");
    assert!(worker.receive().unwrap().message().is_some());
    assert_eq!(worker.receive_timeout(A_WHILE).unwrap(), Received::TimedOut);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_WHILE);
            assert_eq!(acker.ack(0).unwrap(), Acked::Done);
            assert_eq!(acker.ack(1).unwrap(), Acked::Done);
            thread::sleep(A_WHILE);
            send_and_close(&queue, b"a third");
        });
        assert_eq!(worker.receive().unwrap(), Received::Closed);
        assert_eq!(worker.receive().unwrap().message().unwrap().sequence(), 2);
    });
}

#[test]
fn a_set_goes_on_past_the_end_with_whoever_does() {
    let _watchdog = watchdog();
    let name = Name::new("set-past");
    let queue = small(&name);
    let mut set = ConsumerSet::from_iter([queue.subscribe(&past_the_end()).unwrap()]);
    set.set_wait(Wait::Park);
    for payload in [b"first", b"other"] {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(A_WHILE);
                send_and_close(&queue, payload);
            });
            let (_, received) = set.receive().one().expect("it has not ended");
            assert_eq!(received.unwrap().message().unwrap().payload(), payload);
            let (_, received) = set.receive().one().expect("nor now");
            assert_eq!(received.unwrap(), Received::Closed);
        });
        assert!(matches!(set.receive_timeout(Duration::from_millis(1)), SetReceived::TimedOut));
    }
}
