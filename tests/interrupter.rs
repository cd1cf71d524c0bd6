//! Ending the wait of a handle from elsewhere.

mod support;

use std::fmt::Debug;
use std::hint::spin_loop;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use ringway::{
    Consumer, ConsumerSet, Error, Interrupter, Journal, Queue, QueueOptions, Received, Sent,
    SetReceived, Start, Subscribe, Wait,
};
use support::{Directory, Name, Peer, Random, assert_message, play, watchdog};

const CAPACITY: u64 = 64 << 10;
const WAITS: [Wait; 3] = [Wait::Spin, Wait::Backoff, Wait::Park];

#[test]
fn peer() {
    play(&[("is signalled", is_signalled), ("forks", forks)]);
}

fn new_queue(purpose: &str) -> (Name, Queue) {
    let name = Name::new(purpose);
    let queue = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY)).unwrap();
    (name, queue)
}

fn waiting(wait: Wait) -> Subscribe {
    Subscribe::new().from(Start::Oldest).wait(wait)
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "as the calls give it")]
fn assert_interrupted<T: Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Interrupted { .. })), "{result:?}");
}

/// A stream of bytes, each of which is a message that a consumer receives.
struct Bytes(Consumer);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let message = self.0.receive()?.message();
        Ok(message.map_or(0, |message| message.payload().read(buffer).unwrap()))
    }
}

/// The standard library tries again what it takes for a call that a signal came into: it read to the
/// end of the stream, and nobody was told.
#[test]
fn an_interruption_ends_the_loops_of_the_standard_library() {
    let _watchdog = watchdog();
    let (_removed, queue) = new_queue("bytes");
    let consumer = queue.subscribe(&waiting(Wait::Park)).unwrap();
    let interrupter = consumer.interrupter();
    let mut producer = queue.producer().unwrap();
    for byte in b"all of it".chunks(1) {
        producer.send(byte).unwrap();
    }
    producer.close().unwrap();
    let mut bytes = Bytes(consumer);
    let mut read = Vec::new();
    interrupter.interrupt();
    let error = bytes.read_to_end(&mut read).unwrap_err();
    let within = error.get_ref().and_then(|within| within.downcast_ref());
    assert!(matches!(within, Some(Error::Interrupted { .. })), "{error:?}");
    interrupter.interrupt();
    assert!(io::copy(&mut bytes, &mut read).is_err());
    // Nothing is lost by it.
    assert_eq!(io::copy(&mut bytes, &mut read).unwrap(), 9);
    assert_eq!(read, b"all of it");
}

/// Whenever it comes: before the wait, at its begin, or in the midst of it.
#[test]
fn each_interruption_ends_a_receive_and_the_next_goes_on() {
    const ROUNDS: u64 = 2_000;
    let _watchdog = watchdog();
    let mut random = Random::from_environment();
    for (wait, name) in WAITS.into_iter().flat_map(|wait| [(wait, None), (wait, Some("workers"))]) {
        let (_removed, queue) = new_queue("receive");
        let options = waiting(wait);
        let options = if let Some(name) = name { options.named(name) } else { options };
        let mut consumer = queue.subscribe(&options).unwrap();
        let interrupter = consumer.interrupter();
        let (begin, begun) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    begin.send(()).unwrap();
                    match round % 3 {
                        0 => assert_interrupted(consumer.receive()),
                        1 => assert_interrupted(consumer.receive_batch(8)),
                        _ => assert_interrupted(consumer.receive_timeout(Duration::MAX)),
                    }
                }
                drop(begin);
                assert_message(consumer.receive(), 0, b"goes on");
            });
            for () in begun {
                (0..random.below(3_000)).for_each(|_| spin_loop());
                interrupter.interrupt();
            }
            queue.producer().unwrap().send(b"goes on").unwrap();
        });
    }
}

#[test]
fn whoever_sleeps_is_woken() {
    const ROUNDS: u64 = 20;
    let _watchdog = watchdog();
    for wait in [Wait::Backoff, Wait::Park] {
        let (_name, queue) = new_queue("asleep");
        let mut consumer = queue.subscribe(&waiting(wait)).unwrap();
        let interrupter = consumer.interrupter();
        let (begin, begun) = mpsc::channel();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    begin.send(()).unwrap();
                    assert_interrupted(consumer.receive());
                }
            });
            for (round, ()) in (0..).zip(begun) {
                // However long it takes until it has slept.
                let has_slept = || queue.info().unwrap().consumers[0].sleeps > 0;
                is_over.store(round >= ROUNDS && has_slept(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(3));
                interrupter.clone().interrupt();
            }
        });
    }
}

#[test]
fn one_that_comes_early_ends_the_next_receive_also_of_what_is_there() {
    let (_name, queue) = new_queue("early");
    queue.producer().unwrap().send(b"there").unwrap();
    let mut consumer = queue.subscribe(&waiting(Wait::default())).unwrap();
    let mut observer = queue.observe(Start::Oldest).unwrap();
    let [for_consumer, for_observer] = [consumer.interrupter(), observer.interrupter()];
    for _ in 0..3 {
        for_consumer.interrupt();
        for_observer.interrupt();
    }
    assert_interrupted(consumer.try_receive());
    assert_interrupted(observer.receive());
    assert_message(consumer.try_receive(), 0, b"there");
    assert_message(observer.receive(), 0, b"there");
    assert_eq!(observer.try_receive().unwrap(), Received::Empty);
    // Nobody is left to be interrupted.
    drop((consumer, observer));
    for_consumer.interrupt();
    for_observer.interrupt();
}

#[test]
fn an_observer_finds_out_however_it_waits() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("observer");
    for wait in WAITS {
        let mut observer = queue.observe_with(Start::Newest, wait).unwrap();
        let interrupter = observer.interrupter();
        thread::scope(|scope| {
            scope.spawn(move || assert_interrupted(observer.receive()));
            thread::sleep(Duration::from_millis(3));
            interrupter.interrupt();
        });
    }
}

#[test]
fn a_member_settles_what_it_has_all_the_same() {
    let (_name, queue) = new_queue("settles");
    queue.producer().unwrap().send(b"work").unwrap();
    let workers = waiting(Wait::Park).named("workers").ack(ringway::AckMode::Manual);
    let mut member = queue.subscribe(&workers).unwrap();
    assert_message(member.receive(), 0, b"work");
    member.interrupter().interrupt();
    assert_eq!(member.ack(0).unwrap(), ringway::Acked::Done);
    assert_interrupted(member.receive());
    assert_eq!(member.try_receive().unwrap(), Received::Empty);
}

/// It sleeps on a word of its own then.
#[test]
fn a_member_that_waits_for_its_ackers_is_woken() {
    let _watchdog = watchdog();
    let (_name, queue) = new_queue("full");
    let mut producer = queue.producer().unwrap();
    for number in [b"1", b"2"] {
        producer.send(number).unwrap();
    }
    let options = waiting(Wait::Park).named("workers").ack(ringway::AckMode::Manual).prefetch(1);
    let mut member = queue.subscribe(&options).unwrap();
    let acker = member.acker().unwrap();
    let interrupter = member.interrupter();
    assert_message(member.receive(), 0, b"1");
    for _ in 0..3 {
        thread::scope(|scope| {
            scope.spawn(|| assert_interrupted(member.receive()));
            thread::sleep(Duration::from_millis(5));
            interrupter.interrupt();
        });
    }
    assert_eq!(acker.ack(0).unwrap(), ringway::Acked::Done);
    assert_message(member.receive(), 1, b"2");
}

#[test]
fn a_producer_is_interrupted_where_it_waits_and_nowhere_else() {
    let _watchdog = watchdog();
    for wait in WAITS {
        let (_name, queue) = new_queue("producer");
        let mut consumer = queue.subscribe(&waiting(wait)).unwrap();
        let mut producer = queue.producer().unwrap();
        producer.set_wait(wait);
        let interrupter = producer.interrupter();
        interrupter.interrupt();
        let mut sent = 0;
        while producer.try_send(&[7; 1000]).unwrap() == Sent::Sequence(sent) {
            sent += 1;
        }
        assert_interrupted(producer.send(&[7; 1000]));
        for patience in [None, Some(Duration::MAX)] {
            thread::scope(|scope| {
                scope.spawn(|| match patience {
                    None => assert_interrupted(producer.send(&[7; 1000])),
                    Some(time) => assert_interrupted(producer.send_timeout(&[7; 1000], time)),
                });
                thread::sleep(Duration::from_millis(5));
                interrupter.interrupt();
            });
        }
        // Nothing was sent by what failed.
        for sequence in 0..sent {
            assert_message(consumer.try_receive(), sequence, &[7; 1000]);
        }
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        assert_eq!(producer.send(b"on").unwrap(), sent);
    }
}

#[test]
fn a_flush_that_nobody_serves_ends() {
    let _watchdog = watchdog();
    for wait in WAITS {
        let name = Name::new("flush");
        let directory = Directory::new(&name);
        let options = QueueOptions::new().capacity(CAPACITY).history(directory.path());
        let queue = Queue::create(&name, &options.journal(Journal::SyncedAlways)).unwrap();
        // One that has the files, and does nothing.
        let _idle = queue.journaler().unwrap();
        let mut producer = queue.producer().unwrap();
        producer.set_wait(wait);
        let interrupter = producer.interrupter();
        producer.send(b"one").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| assert_interrupted(producer.flush_timeout(Duration::MAX)));
            thread::sleep(Duration::from_millis(5));
            interrupter.interrupt();
        });
        assert_eq!(queue.durable_sequence(), Some(0));
    }
}

#[test]
fn a_set_is_told_which_of_its_consumers_was_interrupted() {
    let _watchdog = watchdog();
    for wait in WAITS {
        let queues = [new_queue("set-0"), new_queue("set-1"), new_queue("set-2")];
        let consumers = queues.iter().map(|(_, queue)| queue.subscribe(&waiting(wait)).unwrap());
        let mut set: ConsumerSet = consumers.collect();
        set.set_wait(wait);
        // What is closed is slept on too.
        queues[2].1.producer().unwrap().close().unwrap();
        assert_eq!(set.receive().one().map(|(number, _)| number), Some(2));
        for number in [1, 0, 2] {
            let interrupter = set.get(number).unwrap().interrupter();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (told, received) = set.receive().one().unwrap();
                    assert_eq!(told, number);
                    assert_interrupted(received);
                });
                thread::sleep(Duration::from_millis(5));
                interrupter.interrupt();
            });
        }
        assert!(matches!(set.try_receive(), SetReceived::Empty));
    }
}

static OF_SIGNAL: OnceLock<Interrupter> = OnceLock::new();

extern "C" fn interrupt(_signal: libc::c_int) {
    if let Some(interrupter) = OF_SIGNAL.get() {
        interrupter.interrupt();
    }
}

/// Receives until it is signalled.
fn is_signalled(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut consumer = queue.subscribe(&waiting(Wait::Park)).unwrap();
    OF_SIGNAL.set(consumer.interrupter()).unwrap();
    let handler = interrupt as extern "C" fn(libc::c_int);
    // SAFETY: the handler does what a signal handler may.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
    assert_interrupted(consumer.receive());
}

#[test]
fn a_signal_handler_may_interrupt() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("signal");
    let peer = Peer::start("is signalled", &[&name]);
    while queue.info().unwrap().consumers.first().is_none_or(|consumer| consumer.sleeps == 0) {
        thread::yield_now();
    }
    // SAFETY: a process that we started and have not waited for.
    assert_eq!(unsafe { libc::kill(peer.id().cast_signed(), libc::SIGTERM) }, 0);
    peer.finish();
}

/// A child's copy interrupts nobody, and what was interrupted before is no less the parent's.
fn forks(_: &[&str]) {
    let (_name, queue) = new_queue("forks");
    let mut consumer = queue.subscribe(&waiting(Wait::Park)).unwrap();
    let interrupter = consumer.interrupter();
    interrupter.interrupt();
    // SAFETY: the other threads of a peer wait for this one.
    let child = unsafe { libc::fork() };
    if child == 0 {
        interrupter.interrupt();
        let is_refused = matches!(consumer.try_receive(), Err(Error::Forked { .. }));
        // SAFETY: a call without pointers. The parent's drops are not done here.
        unsafe { libc::_exit(i32::from(!is_refused)) };
    }
    let mut status = 0;
    // SAFETY: the status outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
    assert_interrupted(consumer.try_receive());
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
}

#[test]
fn a_forked_child_interrupts_nobody() {
    let _watchdog = watchdog();
    Peer::start("forks", &[]).finish();
}
