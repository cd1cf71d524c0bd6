//! The descriptor to wait on: whatever ends the wait of a receive makes it readable.
//!
//! It would be readable after 0.1 s in any case. So what is to end a wait ends so many of them that the
//! watchdog ends the test if it does not, and no call for a message may be late.

#![allow(clippy::disallowed_types, reason = "what was received is counted beside the library")]

mod support;

use std::collections::BTreeSet;
use std::hint::spin_loop;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use std::{fs, thread};

use ringway::{
    AckMode, Acked, Awaited, Consumer, ConsumerSet, Error, Journal, Journaler, Lag, Nacked,
    Observer, Producer, Queue, QueueOptions, Readiness, Received, Sent, SetReceived, Start,
    Subscribe, Wait,
};
use support::segment::control_word;
use support::{Calls, Directory, Name, Peer, Random, assert_message, play, refuse, say, watchdog};

#[test]
fn peer() {
    play(&[
        ("answers", answers),
        ("drops", drops),
        ("forks", forks),
        ("has no descriptors", has_no_descriptors),
        ("has signals", has_signals),
        ("holds", holds),
        ("sleeps on one word", sleeps_on_one_word),
    ]);
}

/// Waits that something is to end.
const ROUNDS: u64 = 2_000;

fn new_queue(purpose: &str) -> (Name, Queue) {
    let name = Name::new(purpose);
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    (name, queue)
}

fn oldest() -> Subscribe {
    Subscribe::new().from(Start::Oldest)
}

fn workers() -> Subscribe {
    oldest().named("workers").ack(AckMode::Manual)
}

fn is_readable_within(readiness: &Readiness, milliseconds: i32) -> bool {
    let mut polled = libc::pollfd { fd: readiness.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the struct outlives the call.
    let count = unsafe { libc::poll(&raw mut polled, 1, milliseconds) };
    assert!(count >= 0, "{}", std::io::Error::last_os_error());
    polled.revents == libc::POLLIN
}

/// Waits unless there is something; afterwards there may be.
fn wait_for(readiness: &Readiness, awaited: &mut impl Awaited) {
    if readiness.arm(awaited).unwrap() {
        assert!(is_readable_within(readiness, -1));
    }
}

/// What comes next but `Empty`.
fn next(readiness: &Readiness, consumer: &mut Consumer) -> Result<Received<u64>, Error> {
    loop {
        match consumer.try_receive()?.map(|message| message.sequence()) {
            Received::Empty => wait_for(readiness, consumer),
            received => return Ok(received),
        }
    }
}

#[track_caller]
fn assert_no_late_wake(queue: &Queue) {
    for consumer in queue.info().unwrap().consumers {
        assert!(consumer.sleeps > 0 && consumer.late_wakes == 0, "{consumer:?}");
    }
}

/// Sends back what it receives, until the end.
fn answers(arguments: &[&str]) {
    let [from, to] = arguments else { panic!("two queues") };
    let mut producer = Queue::open(to).unwrap().producer().unwrap();
    let queue = Queue::open(from).unwrap();
    let mut consumer = queue.subscribe(&oldest().wait(Wait::Park)).unwrap();
    say("ready");
    while let Received::Message(message) = consumer.receive().unwrap() {
        producer.send(message.payload()).unwrap();
    }
    producer.close().unwrap();
}

#[test]
fn no_answer_of_another_process_is_late() {
    const COUNT: u64 = 20_000;
    let _watchdog = watchdog();
    let mut random = Random::from_environment();
    let ((there, questions), (back, answers)) = (new_queue("there"), new_queue("back"));
    let mut peer = Peer::start("answers", &[&there, &back]);
    peer.await_word("ready");
    let mut producer = questions.producer().unwrap();
    let mut consumer = answers.subscribe(&oldest()).unwrap();
    let readiness = Readiness::new().unwrap();
    for sequence in 0..COUNT {
        producer.send(&sequence.to_le_bytes()).unwrap();
        // So that the answer comes before the arming, in its midst, or long after.
        (0..random.below(1_000)).for_each(|_| spin_loop());
        assert_eq!(next(&readiness, &mut consumer).unwrap(), Received::Message(sequence));
    }
    producer.close().unwrap();
    assert_eq!(next(&readiness, &mut consumer).unwrap(), Received::Closed);
    peer.finish();
    assert_no_late_wake(&answers);
}

/// A thread sends the next one when the last one was received, at any time.
fn send_one_by_one(producers: &mut [Producer], received: &AtomicU64, count: u64) {
    let mut random = Random::of(count);
    for sent in 0..count {
        while received.load(Ordering::Acquire) < sent {
            thread::yield_now();
        }
        (0..random.below(3_000)).for_each(|_| spin_loop());
        let chosen = usize::try_from(random.below(producers.len() as u64)).unwrap();
        producers[chosen].send(&sent.to_le_bytes()).unwrap();
    }
}

#[test]
fn no_message_is_late_of_many_that_come_one_by_one() {
    const COUNT: u64 = 30_000;
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("one-by-one");
    let mut producers = [queue.producer().unwrap()];
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let readiness = Readiness::new().unwrap();
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| send_one_by_one(&mut producers, &received, COUNT));
        for sequence in 0..COUNT {
            loop {
                match consumer.try_receive().unwrap().map(|message| message.sequence()) {
                    Received::Empty => {
                        // Also of one who arms more often than it waits.
                        for _ in 0..sequence % 3 {
                            let _ = readiness.arm(&mut consumer).unwrap();
                        }
                        wait_for(&readiness, &mut consumer);
                    }
                    received => break assert_eq!(received, Received::Message(sequence)),
                }
            }
            received.store(sequence + 1, Ordering::Release);
        }
    });
    assert_no_late_wake(&queue);
}

#[test]
fn a_set_is_told_of_whichever_queue_has_something() {
    const COUNT: u64 = 20_000;
    let _watchdog = watchdog();
    let queues = [new_queue("set-0"), new_queue("set-1"), new_queue("set-2")];
    let mut producers = [0, 1, 2].map(|number: usize| queues[number].1.producer().unwrap());
    let options = [oldest(), oldest().on_lag(Lag::Skip), oldest().named("workers")];
    let consumers = queues.iter().zip(&options);
    let mut set: ConsumerSet =
        consumers.map(|((_, queue), options)| queue.subscribe(options).unwrap()).collect();
    let readiness = Readiness::new().unwrap();
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            send_one_by_one(&mut producers, &received, COUNT);
            for producer in producers {
                producer.close().unwrap();
            }
        });
        let mut next = 0_u64;
        loop {
            match set.try_receive() {
                SetReceived::One(_, message) => {
                    if let Some(message) = message.unwrap().message() {
                        assert_eq!(message.payload(), next.to_le_bytes());
                        next += 1;
                        received.store(next, Ordering::Release);
                    }
                }
                SetReceived::Ended => break,
                _ => wait_for(&readiness, &mut set),
            }
        }
        assert_eq!(next, COUNT);
    });
    assert!(!readiness.arm(&mut set).unwrap(), "there is nobody to wait for");
    for (_, queue) in &queues {
        assert_no_late_wake(queue);
    }
}

#[test]
fn it_serves_one_consumer_after_the_other() {
    const COUNT: u64 = 10_000;
    let _watchdog = watchdog();
    let queues = [new_queue("in-turn-0"), new_queue("in-turn-1")];
    let mut producers = queues.each_ref().map(|(_, queue)| queue.producer().unwrap());
    let mut consumers = queues.each_ref().map(|(_, queue)| queue.subscribe(&oldest()).unwrap());
    let readiness = Readiness::new().unwrap();
    let (ask, asked) = channel::<usize>();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in asked {
                producers[number].send(b"here").unwrap();
            }
        });
        for sequence in 0..COUNT {
            for number in [0, 1] {
                for consumer in &mut consumers {
                    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
                    assert!(readiness.arm(consumer).unwrap());
                }
                ask.send(number).unwrap();
                let received = next(&readiness, &mut consumers[number]).unwrap();
                assert_eq!(received, Received::Message(sequence));
            }
        }
        drop(ask);
    });
    for (_, queue) in &queues {
        assert_no_late_wake(queue);
    }
}

#[test]
fn an_end_of_the_stream_is_told() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("close");
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let readiness = Readiness::new().unwrap();
    let (begin, begun) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for producer in begun {
                Producer::close(producer).unwrap();
            }
        });
        let mut calls = Calls::in_rounds(ROUNDS);
        for _ in 0..ROUNDS {
            // The last one may not be quite gone.
            begin.send(queue.producer_timeout(Duration::MAX).unwrap()).unwrap();
            let told = calls.round(|| next(&readiness, &mut consumer));
            assert_eq!(told.unwrap(), Received::Closed);
            assert!(!readiness.arm(&mut consumer).unwrap());
        }
        drop(begin);
    });
}

#[test]
fn a_removal_is_told() {
    const REMOVALS: u64 = 1_000;
    let _watchdog = watchdog();
    let readiness = Readiness::new().unwrap();
    let mut calls = Calls::in_rounds(REMOVALS);
    for _ in 0..REMOVALS {
        let (name, queue) = new_queue("removal");
        let mut consumer = queue.subscribe(&oldest()).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || drop(name));
            let told = calls.round(|| next(&readiness, &mut consumer));
            assert!(matches!(told, Err(Error::Stale { .. })), "{told:?}");
        });
    }
}

/// Nobody calls then: it is found out by a look around.
#[test]
fn a_removal_without_a_word_is_found_out() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("unlinked");
    let mut set = ConsumerSet::from_iter([queue.subscribe(&oldest()).unwrap()]);
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let mut observer = queue.observe(Start::Newest).unwrap();
    let readiness = Readiness::new().unwrap();
    fs::remove_file(name.path()).unwrap();
    assert!(matches!(next(&readiness, &mut consumer), Err(Error::Stale { .. })));
    let told = loop {
        match observer.try_receive() {
            Ok(_) => wait_for(&readiness, &mut observer),
            Err(error) => break error,
        }
    };
    assert!(matches!(told, Error::Stale { .. }), "{told:?}");
    let told = loop {
        match set.try_receive() {
            SetReceived::One(number, received) => break (number, received.unwrap_err()),
            _ => wait_for(&readiness, &mut set),
        }
    };
    assert!(matches!(told, (0, Error::Stale { .. })), "{told:?}");
}

#[test]
fn an_interruption_is_told() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("interrupted");
    let readiness = Readiness::new().unwrap();
    for options in [oldest(), workers()] {
        let mut consumer = queue.subscribe(&options).unwrap();
        let interrupter = consumer.interrupter();
        let (begin, begun) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || begun.into_iter().for_each(|()| interrupter.interrupt()));
            let mut calls = Calls::in_rounds(ROUNDS);
            for _ in 0..ROUNDS {
                begin.send(()).unwrap();
                let told = calls.round(|| next(&readiness, &mut consumer));
                assert!(matches!(told, Err(Error::Interrupted { .. })), "{told:?}");
            }
            drop(begin);
        });
    }
}

#[test]
fn what_an_acker_settles_is_told_to_who_has_as_much_as_it_may_have() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("acker");
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.subscribe(&workers().prefetch(1)).unwrap();
    let acker = consumer.acker().unwrap();
    let readiness = Readiness::new().unwrap();
    let (tasks, of_worker) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for sequence in of_worker {
                assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
            }
        });
        producer.send(b"the first").unwrap();
        let mut calls = Calls::in_rounds(ROUNDS);
        for sequence in 0..ROUNDS {
            let told = calls.round(|| next(&readiness, &mut consumer));
            assert_eq!(told.unwrap(), Received::Message(sequence));
            producer.send(b"one more").unwrap();
            assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
            tasks.send(sequence).unwrap();
        }
        drop(tasks);
    });
    // With the last acker there is nothing left to wait for.
    assert_eq!(next(&readiness, &mut consumer).unwrap(), Received::Message(ROUNDS));
    producer.send(b"the last").unwrap();
    let told = next(&readiness, &mut consumer);
    assert!(matches!(told, Err(Error::PrefetchFull { .. })), "{told:?}");
}

#[test]
fn a_member_of_a_set_that_may_have_more_by_now_needs_no_wait() {
    let _watchdog = watchdog();
    let ((_name, queue), (_other_name, other)) = (new_queue("more"), new_queue("none"));
    let mut producer = queue.producer().unwrap();
    producer.send(b"one").unwrap();
    producer.send(b"one more").unwrap();
    let full = queue.subscribe(&workers().prefetch(1)).unwrap();
    let mut set = ConsumerSet::from_iter([full, other.subscribe(&oldest()).unwrap()]);
    let readiness = Readiness::new().unwrap();
    assert!(set.try_receive().one().unwrap().1.unwrap().message().is_some());
    assert!(matches!(set.try_receive(), SetReceived::Empty));
    assert!(readiness.arm(&mut set).unwrap());
    assert_eq!(set.consumer(0).unwrap().ack(0).unwrap(), Acked::Done);
    assert!(!readiness.arm(&mut set).unwrap());
    assert!(set.try_receive().one().unwrap().1.unwrap().message().is_some());
}

#[test]
fn a_pause_that_is_over_is_told() {
    const PAUSE: Duration = Duration::from_millis(1);
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("pause");
    queue.producer().unwrap().send(b"again").unwrap();
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let readiness = Readiness::new().unwrap();
    let mut calls = Calls::in_rounds(1_000);
    for _ in 0..1_000 {
        let told = calls.round(|| next(&readiness, &mut consumer));
        assert_eq!(told.unwrap(), Received::Message(0));
        assert_eq!(consumer.nack_after(0, PAUSE).unwrap(), Nacked::Retry(PAUSE));
    }
}

#[test]
fn a_pause_that_began_after_the_last_look_is_told() {
    const PAUSE: Duration = Duration::from_millis(1);
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("later-pause");
    let mut producer = queue.producer().unwrap();
    producer.send(b"again").unwrap();
    producer.send(b"in hand").unwrap();
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let readiness = Readiness::new().unwrap();
    assert_message(consumer.try_receive(), 0, b"again");
    assert_message(consumer.try_receive(), 1, b"in hand");
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    let mut calls = Calls::in_rounds(1_000);
    for _ in 0..1_000 {
        assert_eq!(consumer.nack_after(0, PAUSE).unwrap(), Nacked::Retry(PAUSE));
        calls.round(|| {
            loop {
                wait_for(&readiness, &mut consumer);
                if consumer.try_receive().unwrap().message().is_some() {
                    break;
                }
            }
        });
    }
}

#[test]
fn a_pause_that_another_began_just_after_the_last_look_is_told() {
    const PAUSE: Duration = Duration::from_millis(2);
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("others-pause");
    queue.producer().unwrap().send(b"again").unwrap();
    let [mut one, mut other] = [(), ()].map(|()| queue.subscribe(&workers()).unwrap());
    let readiness = Readiness::new().unwrap();
    assert_message(one.try_receive(), 0, b"again");
    let mut calls = Calls::in_rounds(1_000);
    for _ in 0..1_000 {
        // It has seen all there is, and looks again too soon to do so again.
        assert_eq!(other.try_receive().unwrap(), Received::Empty);
        assert_eq!(one.nack_after(0, PAUSE).unwrap(), Nacked::Retry(PAUSE));
        calls.round(|| {
            while other.try_receive().unwrap().message().is_none() {
                wait_for(&readiness, &mut other);
            }
        });
        std::mem::swap(&mut one, &mut other);
    }
}

#[test]
fn what_is_there_needs_no_wait() {
    let (name, queue) = new_queue("there");
    let mut producer = queue.producer().unwrap();
    let readiness = Readiness::new().unwrap();
    let mut consumer = queue.subscribe(&oldest().on_lag(Lag::Skip)).unwrap();
    // Nobody has looked yet.
    assert!(!readiness.arm(&mut consumer).unwrap());
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    assert!(readiness.arm(&mut consumer).unwrap());
    producer.send(b"here").unwrap();
    for _ in 0..3 {
        assert!(!readiness.arm(&mut consumer).unwrap());
    }
    assert_message(consumer.try_receive(), 0, b"here");
    while producer.next_sequence() < 1_000 {
        producer.send(&[7; 1_000]).unwrap();
    }
    assert!(!readiness.arm(&mut consumer).unwrap());
    let missed = consumer.try_receive().unwrap();
    assert!(matches!(missed, Received::Missed { from: 1, .. }), "{missed:?}");
    while consumer.try_receive().unwrap() != Received::Empty {}
    consumer.interrupter().interrupt();
    assert!(!readiness.arm(&mut consumer).unwrap());
    assert!(matches!(consumer.try_receive(), Err(Error::Interrupted { .. })));
    let mut set = ConsumerSet::from_iter([consumer]);
    assert!(matches!(set.try_receive(), SetReceived::Empty));
    assert!(readiness.arm(&mut set).unwrap());
    producer.close().unwrap();
    assert!(!readiness.arm(&mut set).unwrap());
    assert!(set.try_receive().one().is_some());
    assert!(matches!(set.try_receive(), SetReceived::Ended));
    drop(name);
}

/// It holds the producer no longer than a wait of its own would.
#[test]
fn what_was_lent_is_given_back() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("lent");
    let mut producer = queue.producer().unwrap();
    let mut workers = queue.subscribe(&oldest().named("workers")).unwrap();
    assert_eq!(workers.try_receive().unwrap(), Received::Empty);
    producer.send(b"work").unwrap();
    assert_message(workers.try_receive(), 0, b"work");
    assert_eq!(queue.info().unwrap().subscriptions[0].unacked, 1);
    assert!(Readiness::new().unwrap().arm(&mut workers).unwrap());
    assert_eq!(queue.info().unwrap().subscriptions[0].unacked, 0);
}

#[test]
fn an_observer_is_told_after_a_moment() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("observer");
    let mut observer = queue.observe(Start::Newest).unwrap();
    let readiness = Readiness::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| queue.producer().unwrap().send(b"seen").unwrap());
        while observer.try_receive().unwrap() == Received::Empty {
            wait_for(&readiness, &mut observer);
        }
    });
}

/// Sends until there is no room, and says how many.
fn fill(producer: &mut Producer) -> u64 {
    let mut sent = 0;
    while producer.try_send(&[0; 1000]).unwrap() != Sent::Full {
        sent += 1;
    }
    sent
}

#[test]
fn a_producer_is_called_whenever_there_is_room() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("room");
    let room_event = control_word(&name, "room_event");
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let mut producer = queue.producer().unwrap();
    let readiness = Readiness::new().unwrap();
    assert!(!readiness.arm(&mut producer).unwrap(), "nothing has been refused");
    let mut held = 0;
    let mut calls = Calls::in_rounds(ROUNDS);
    for _ in 0..ROUNDS {
        held += fill(&mut producer);
        assert!(producer.held_for().is_some());
        assert!(readiness.arm(&mut producer).unwrap());
        let armed = room_event();
        assert!(armed % 2 == 1, "no sleep was announced");
        for _ in 0..held {
            assert!(consumer.try_receive().unwrap().message().is_some());
        }
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        assert_ne!(room_event(), armed, "nobody called");
        assert!(calls.round(|| is_readable_within(&readiness, -1)));
        assert!(!readiness.arm(&mut producer).unwrap(), "there is room");
        assert!(matches!(producer.try_send(b"on").unwrap(), Sent::Sequence(_)));
        held = 1;
    }
}

/// Holds the producer, until it is killed.
fn holds(arguments: &[&str]) {
    let _consumer = Queue::open(arguments[0]).unwrap().subscribe(&oldest()).unwrap();
    say("ready");
    loop {
        thread::park();
    }
}

#[test]
fn a_producer_that_the_dead_hold_is_told() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("dead");
    let mut peer = Peer::start("holds", &[&name]);
    peer.await_word("ready");
    let mut producer = queue.producer().unwrap();
    let readiness = Readiness::new().unwrap();
    fill(&mut producer);
    assert!(readiness.arm(&mut producer).unwrap());
    peer.kill();
    while producer.try_send(b"on").unwrap() == Sent::Full {
        wait_for(&readiness, &mut producer);
    }
}

#[test]
fn a_producer_is_told_where_it_waits() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("told");
    let _holds = queue.subscribe(&oldest()).unwrap();
    let mut producer = queue.producer().unwrap();
    let readiness = Readiness::new().unwrap();
    fill(&mut producer);
    let interrupter = producer.interrupter();
    assert!(readiness.arm(&mut producer).unwrap());
    interrupter.interrupt();
    assert!(is_readable_within(&readiness, -1));
    // A try does not wait.
    assert_eq!(producer.try_send(b"on").unwrap(), Sent::Full);
    let told = readiness.arm(&mut producer);
    assert!(matches!(told, Err(Error::Interrupted { .. })), "{told:?}");
    assert!(readiness.arm(&mut producer).unwrap(), "it is told once");
    fs::remove_file(name.path()).unwrap();
    let told = readiness.arm(&mut producer);
    assert!(matches!(told, Err(Error::Stale { .. })), "{told:?}");
}

#[test]
fn tasks_wait_for_room_and_until_it_is_durable() {
    const COUNT: u64 = 2_000;
    let _watchdog = watchdog();
    let name = Name::new("task-room");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(64 << 10).history(directory.path());
    let queue = Queue::create(&name, &options.journal(Journal::Written)).unwrap();
    let journal = queue.journaler().map(Journaler::spawn).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.subscribe(&oldest().on_lag(Lag::Hold)).unwrap();
    let send = async {
        let mut readiness = Readiness::new().unwrap();
        for sequence in 0..COUNT {
            while producer.try_send(&[0; 1000]).unwrap() == Sent::Full {
                readiness.ready(&mut producer).await.unwrap();
            }
            if sequence % 8 == 7 {
                while !producer.try_flush().unwrap() {
                    readiness.ready(&mut producer).await.unwrap();
                }
                assert!(queue.durable_sequence().unwrap() > sequence);
            }
        }
        producer.close().unwrap();
    };
    let receive = async {
        let mut readiness = Readiness::new().unwrap();
        for sequence in 0..COUNT {
            assert_eq!(next_ready(&mut readiness, &mut consumer).await, Some(sequence));
        }
        assert_eq!(next_ready(&mut readiness, &mut consumer).await, None);
    };
    block_on_all(vec![Box::pin(send), Box::pin(receive)]);
    journal.stop().unwrap();
}

/// How many of this process's threads are a [`Readiness`]'s.
fn sleepers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "ringway-sleeper").count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Nothing is left of one that is dropped, whatever its thread is at.
fn drops(_: &[&str]) {
    let (_name, queue) = new_queue("drops");
    let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches("/ringway.").count();
    let before = (sleepers(), descriptors(), maps());
    for round in 0..200_u32 {
        let mut consumer = queue.subscribe(&oldest()).unwrap();
        let readiness = Readiness::new().unwrap();
        if !round.is_multiple_of(4) {
            assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
            assert!(readiness.arm(&mut consumer).unwrap());
        }
        (0..round * 50).for_each(|_| spin_loop());
        // It may live longer than the consumer, or less long.
        if round.is_multiple_of(2) {
            drop(consumer);
        }
    }
    while (sleepers(), descriptors(), maps()) != before {
        thread::yield_now();
    }
}

#[test]
fn nothing_is_left_of_one_that_is_dropped() {
    let _watchdog = watchdog();
    Peer::start("drops", &[]).finish();
}

/// A child has no thread: it is refused, and what it drops is its own.
fn forks(_: &[&str]) {
    let (_name, queue) = new_queue("forks");
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let readiness = Readiness::new().unwrap();
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    assert!(readiness.arm(&mut consumer).unwrap());
    let mut producer = queue.producer().unwrap();
    // SAFETY: the other threads of a peer wait, or sleep.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut own = Queue::open(queue.name()).unwrap().subscribe(&oldest()).unwrap();
        let armed = [
            readiness.arm(&mut consumer),
            readiness.arm(&mut own),
            Readiness::new().unwrap().arm(&mut producer),
        ];
        let is_refused = armed.iter().all(|armed| matches!(armed, Err(Error::Forked { .. })));
        drop(readiness);
        let renewed = Readiness::new().unwrap();
        let is_empty = own.try_receive().unwrap() == Received::Empty;
        let is_told =
            is_empty && renewed.arm(&mut own).unwrap() && is_readable_within(&renewed, -1);
        // SAFETY: a call without pointers. The parent's drops are not done here.
        unsafe { libc::_exit(i32::from(!is_refused || !is_told)) };
    }
    let mut status = 0;
    // SAFETY: the status outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
    producer.send(b"on").unwrap();
    assert_eq!(next(&readiness, &mut consumer).unwrap(), Received::Message(0));
}

#[test]
fn a_forked_child_cannot_arm_it() {
    let _watchdog = watchdog();
    Peer::start("forks", &[]).finish();
}

fn has_no_descriptors(_: &[&str]) {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) }, 0);
    let error = Readiness::new().unwrap_err();
    assert!(matches!(error, Error::Os { .. }) && error.queue().is_empty());
    let said = "cannot make a Readiness, which takes a file descriptor and a thread: ";
    assert!(error.to_string().starts_with(said), "{error}");
}

#[test]
fn one_that_cannot_be_had_is_an_error() {
    let _watchdog = watchdog();
    Peer::start("has no descriptors", &[]).finish();
}

/// The signals that a thread does not get, a bit for each from 1 on.
fn blocked(task: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{task}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

/// One that is made before the program blocks a signal, to have it from a descriptor too, must not
/// get it in the program's place.
fn has_signals(_: &[&str]) {
    let name = Name::new("signals");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().history(directory.path()).journal(Journal::Written);
    let queue = Queue::create(&name, &options).unwrap();
    let tasks = || -> BTreeSet<String> {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
    };
    let is_blocked = |mask: u64, signal: i32| mask & 1 << (signal - 1) != 0;
    let is_deaf = |mask| [libc::SIGSEGV, libc::SIGBUS].iter().any(|&fault| is_blocked(mask, fault));
    // Who makes a thread, or has just been made, gets none at all for a moment.
    let masks = |tasks: &BTreeSet<String>| -> Vec<u64> {
        loop {
            let masks: Vec<_> = tasks.iter().map(|task| blocked(task)).collect();
            if !masks.iter().copied().any(is_deaf) {
                return masks;
            }
            thread::yield_now();
        }
    };
    let others = tasks();
    let before = masks(&others);
    let (_readiness, _journal) = (Readiness::new().unwrap(), queue.journaler().unwrap().spawn());
    let ours: BTreeSet<_> = tasks().difference(&others).cloned().collect();
    assert_eq!(ours.len(), 2);
    for mask in masks(&ours) {
        let wanted = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1];
        assert!(wanted.iter().all(|&signal| is_blocked(mask, signal)), "{mask:x}");
    }
    assert_eq!(masks(&others), before);
}

#[test]
fn no_signal_of_the_program_comes_to_our_threads() {
    let _watchdog = watchdog();
    Peer::start("has signals", &[]).finish();
}

/// As before Linux 5.16.
fn sleeps_on_one_word(_: &[&str]) {
    refuse(&[libc::SYS_futex_waitv], libc::ENOSYS);
    let (_name, queue) = new_queue("one-word");
    let mut producers = [queue.producer().unwrap()];
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let readiness = Readiness::new().unwrap();
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| send_one_by_one(&mut producers, &received, 200));
        for sequence in 0..200 {
            assert_eq!(next(&readiness, &mut consumer).unwrap(), Received::Message(sequence));
            received.store(sequence + 1, Ordering::Release);
        }
    });
    drop(readiness);
    while sleepers() != 0 {
        thread::yield_now();
    }
}

#[test]
fn where_nobody_can_sleep_on_several_words_it_is_told_after_a_moment() {
    let _watchdog = watchdog();
    Peer::start("sleeps on one word", &[]).finish();
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor of as many tasks as there are, which are all polled whenever one is woken.
fn block_on_all(mut tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        if tasks.is_empty() {
            return;
        }
        thread::park();
    }
}

async fn next_ready(readiness: &mut Readiness, consumer: &mut Consumer) -> Option<u64> {
    loop {
        match consumer.try_receive().unwrap() {
            Received::Message(message) => return Some(message.sequence()),
            Received::Closed => return None,
            _ => readiness.ready(consumer).await.unwrap(),
        }
    }
}

/// Two tasks of one thread send each other one message at a time.
#[test]
fn tasks_are_woken() {
    const COUNT: u64 = 10_000;
    let _watchdog = watchdog();
    let queues = [new_queue("task-0"), new_queue("task-1")];
    let [one, two] = queues.each_ref().map(|(_, queue)| queue);
    let play = async |from: &Queue, to: &Queue| {
        let (mut producer, mut readiness) = (to.producer().unwrap(), Readiness::new().unwrap());
        let mut consumer = from.subscribe(&oldest()).unwrap();
        for sequence in 0..COUNT {
            producer.send(b"your turn").unwrap();
            assert_eq!(next_ready(&mut readiness, &mut consumer).await, Some(sequence));
        }
        producer.close().unwrap();
        assert_eq!(next_ready(&mut readiness, &mut consumer).await, None);
    };
    block_on_all(vec![Box::pin(play(one, two)), Box::pin(play(two, one))]);
}

/// A queue of a few messages, so that both ends wait.
#[test]
fn tasks_send_and_receive() {
    const COUNT: u64 = 10_000;
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("task-ends");
    let mut consumers =
        [oldest(), oldest().named("auto")].map(|options| queue.subscribe(&options).unwrap());
    let mut producer = queue.producer().unwrap();
    let count = async move {
        let mut readiness = Readiness::new().unwrap();
        let mut payload = [0; 1000];
        for number in 0..COUNT {
            payload[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(readiness.send(&mut producer, &payload).await.unwrap(), number);
        }
        producer.close().unwrap();
    };
    let mut tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![Box::pin(count)];
    for consumer in &mut consumers {
        tasks.push(Box::pin(async move {
            let mut readiness = Readiness::new().unwrap();
            for number in 0..COUNT {
                let message = readiness.receive(consumer).await.unwrap().message().unwrap();
                assert_eq!(message.payload()[..8], number.to_le_bytes());
            }
            assert_eq!(readiness.receive(consumer).await.unwrap(), Received::Closed);
        }));
    }
    block_on_all(tasks);
    assert_no_late_wake(&queue);
}

#[test]
fn a_task_that_waits_for_a_set_is_woken() {
    const COUNT: u64 = 10_000;
    let _watchdog = watchdog();
    let queues = [new_queue("task-set-0"), new_queue("task-set-1")];
    let mut producers = queues.each_ref().map(|(_, queue)| queue.producer().unwrap());
    let consumers = queues.iter().map(|(_, queue)| queue.subscribe(&oldest()).unwrap());
    let mut set: ConsumerSet = consumers.collect();
    let received = AtomicU64::new(0);
    let receive = async {
        let mut readiness = Readiness::new().unwrap();
        loop {
            match set.try_receive() {
                SetReceived::One(_, message) if message.as_ref().unwrap() != &Received::Closed => {
                    received.fetch_add(1, Ordering::Release);
                }
                SetReceived::One(..) => {}
                SetReceived::Ended => break,
                _ => readiness.ready(&mut set).await.unwrap(),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            send_one_by_one(&mut producers, &received, COUNT);
            for producer in producers {
                producer.close().unwrap();
            }
        });
        block_on_all(vec![Box::pin(receive)]);
    });
    assert_eq!(received.into_inner(), COUNT);
    for (_, queue) in &queues {
        assert_no_late_wake(queue);
    }
}

/// Counts how often it was woken, and panics.
struct Panics(AtomicU64);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
        panic!("as it does");
    }
}

/// Neither a future that was dropped nor a waker that panics is the end.
#[test]
fn whoever_waits_next_is_told() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("next");
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    let mut readiness = Readiness::new().unwrap();
    let mut producer = queue.producer().unwrap();
    let panics = Arc::new(Panics(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&panics));
    for sequence in 0..3 {
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        let pending = pin!(readiness.ready(&mut consumer)).poll(&mut Context::from_waker(&waker));
        assert!(pending.is_pending());
        while panics.0.load(Ordering::Acquire) == sequence {
            thread::yield_now();
        }
        assert!(readiness.arm(&mut consumer).unwrap());
        producer.send(b"here").unwrap();
        assert!(is_readable_within(&readiness, -1));
        assert_message(consumer.try_receive(), sequence, b"here");
    }
}

/// A waker whose end comes back: with a task there may end whatever it had.
struct Returns(fn());

impl Wake for Returns {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Returns {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn a_waker_that_is_not_needed_any_more_may_come_back_with_its_end() {
    static READINESS: RwLock<Option<Readiness>> = RwLock::new(None);
    static OBSERVER: Mutex<Option<Observer>> = Mutex::new(None);
    static RETURNS: AtomicU64 = AtomicU64::new(0);

    let come_back = || {
        if let (Some(readiness), Some(observer)) =
            (&*READINESS.read().unwrap(), &mut *OBSERVER.lock().unwrap())
        {
            readiness.arm(observer).unwrap();
            RETURNS.fetch_add(1, Ordering::Relaxed);
        }
    };
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("returns");
    let mut consumer = queue.subscribe(&oldest()).unwrap();
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    let mut observer = queue.observe(Start::Newest).unwrap();
    assert_eq!(observer.try_receive().unwrap(), Received::Empty);
    *OBSERVER.lock().unwrap() = Some(observer);
    // Where the sleep is over before, the waker ends elsewhere.
    while RETURNS.load(Ordering::Relaxed) == 0 {
        let mut readiness = Readiness::new().unwrap();
        let waker = Waker::from(Arc::new(Returns(come_back)));
        let pending = pin!(readiness.ready(&mut consumer)).poll(&mut Context::from_waker(&waker));
        assert!(pending.is_pending());
        drop(waker);
        *READINESS.write().unwrap() = Some(readiness);
        READINESS.read().unwrap().as_ref().unwrap().arm(&mut consumer).unwrap();
        *READINESS.write().unwrap() = None;
    }
}
