//! Processes that do not see the same system: numbers of processes, clocks and directories are each
//! container's own, and numbers are used again. Only the kernel's locks say who lives.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use ringway::{
    AckMode, Acked, ConsumerInfo, Error, Queue, QueueOptions, Received, Start, Subscribe, Wait,
};
use support::namespace::{own_clock, own_container, own_numbers};
use support::segment::{new_queue, options};
use support::{Name, Peer, assert_message, play, say, watchdog};

/// Longer than any time after which somebody looks around.
const LONG: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn peer() {
    play(&[
        ("be the producer", be_the_producer),
        ("consume", consume),
        ("use a number again", use_a_number_again),
        ("hold", hold),
        ("wait for what is held", wait_for_what_is_held),
        ("remove what has expired", remove_expired),
        ("measure", measure),
        ("answer", answer),
        ("ask", ask),
    ]);
}

/// The peer, unless it cannot be had here.
fn or_skip(peer: io::Result<Peer>) -> Option<Peer> {
    peer.inspect_err(|error| eprintln!("skipped: no namespaces of its own: {error}")).ok()
}

fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

fn be_the_producer(arguments: &[&str]) {
    let _producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    say(std::process::id());
    wait_for_the_end()
}

/// Waits for messages, until it is killed.
fn consume(arguments: &[&str]) {
    let options = Subscribe::new().wait(Wait::Park);
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&options).unwrap();
    say(std::process::id());
    loop {
        let received = consumer.receive().unwrap();
        say(String::from_utf8_lossy(received.message().unwrap().payload()));
    }
}

fn consumers(queue: &Queue) -> Vec<ConsumerInfo> {
    queue.info().unwrap().consumers
}

#[test]
fn of_those_who_are_all_process_1_the_dead_are_told_from_the_living() {
    let _alive = watchdog();
    let (name, queue) = new_queue("first");
    let start = |role| or_skip(Peer::start_after(own_numbers, role, &[&name]));
    let Some(mut producer) = start("be the producer") else { return };
    let Some(mut first) = start("consume") else { return };
    let Some(mut second) = start("consume") else { return };
    for peer in [&mut producer, &mut first, &mut second] {
        peer.await_word("1");
    }
    // In no order: they came at the same time.
    let alive = || {
        let consumers = consumers(&queue);
        assert!(consumers.iter().all(|consumer| consumer.pid == 1));
        let living = consumers.iter().filter(|consumer| consumer.alive).count();
        (living, consumers.len() - living)
    };
    assert_eq!(alive(), (2, 0));
    assert!(queue.info().unwrap().producer.unwrap().alive);
    assert!(matches!(queue.producer(), Err(Error::ProducerAlive { pid: 1, .. })));
    assert_eq!(queue.clear_dead().unwrap(), 0);

    // Whoever outlives them has their number too.
    producer.kill();
    let mut mine = loop {
        match queue.producer() {
            Ok(producer) => break producer,
            Err(Error::ProducerAlive { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    mine.send(b"more").unwrap();
    for peer in [&mut first, &mut second] {
        peer.await_word("more");
    }
    first.kill();
    while alive() != (1, 1) {
        thread::yield_now();
    }
    assert_eq!(queue.clear_dead().unwrap(), 1);
    assert_eq!(alive(), (1, 0));
    mine.send(b"once more").unwrap();
    second.await_word("once more");
}

/// Joins in a child with some number, and after its death again in another one with that number.
fn use_a_number_again(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let join = |expected: Option<i32>| {
        // SAFETY: no other thread of this process holds locks: they wait for this one.
        let child = unsafe { libc::fork() };
        if child == 0 {
            if expected.is_some_and(|number| number != std::process::id().cast_signed()) {
                // SAFETY: a call without pointers, that does not return.
                unsafe { libc::_exit(3) };
            }
            let _consumer = queue.subscribe(&Subscribe::new());
            wait_for_the_end();
        }
        child
    };
    let await_consumers = |count| {
        while consumers(&queue).iter().filter(|consumer| consumer.alive).count() != count {
            thread::yield_now();
        }
    };
    let first = join(None);
    await_consumers(1);
    // SAFETY: our child, which nobody has waited for yet.
    unsafe { libc::kill(first, libc::SIGKILL) };
    // SAFETY: a call without pointers that are used.
    unsafe { libc::waitpid(first, std::ptr::null_mut(), 0) };
    await_consumers(0);
    if let Err(error) = fs::write("/proc/sys/kernel/ns_last_pid", (first - 1).to_string()) {
        return say(format!("skipped: numbers cannot be chosen here: {error}"));
    }
    let second = join(Some(first));
    if second != first {
        return say(format!("skipped: the number was given to another: {second}"));
    }
    await_consumers(1);
    say(second);
    wait_for_the_end();
}

#[test]
fn a_number_that_is_used_again_does_not_bring_its_first_owner_back() {
    let _alive = watchdog();
    let (name, queue) = new_queue("again");
    let peer = Peer::start_after(own_numbers, "use a number again", &[&name]);
    let Some(mut peer) = or_skip(peer) else { return };
    let said = peer.hear();
    let Ok(number) = said.parse::<u32>() else { return eprintln!("{said}") };
    let told: Vec<_> =
        consumers(&queue).iter().map(|consumer| (consumer.pid, consumer.alive)).collect();
    assert_eq!(told, [(number, false), (number, true)]);
    assert_eq!(queue.clear_dead().unwrap(), 1);
    let told: Vec<_> = consumers(&queue).iter().map(|consumer| consumer.alive).collect();
    assert_eq!(told, [true]);
}

fn workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    workers.ack(AckMode::Manual).ack_within(HOUR).wait(Wait::Park)
}

/// Has a message until it hears of another one.
fn hold(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut other = queue.subscribe(&Subscribe::new().wait(Wait::Park)).unwrap();
    let mut consumer = queue.subscribe(&workers().prefetch(1)).unwrap();
    let message = consumer.receive().unwrap().message().unwrap();
    say("held");
    other.receive().unwrap().message().expect("the next one");
    say(format_args!("{:?}", message.ack().unwrap()));
}

/// Is a member beside one that has everything.
fn wait_for_what_is_held(arguments: &[&str]) {
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&workers()).unwrap();
    let begin = Instant::now();
    assert_eq!(consumer.receive_timeout(LONG).unwrap(), Received::TimedOut);
    assert!(begin.elapsed() >= LONG);
    say("nothing");
    let message = consumer.receive().unwrap().message().unwrap();
    say(message.delivery());
    assert_eq!(message.ack().unwrap(), Acked::Done);
}

fn remove_expired(arguments: &[&str]) {
    let removed = Queue::open(arguments[0]).unwrap().remove_expired().unwrap();
    say(removed.join(" "));
}

#[test]
fn nothing_expires_by_a_clock_that_is_a_day_ahead() {
    let _alive = watchdog();
    let (name, queue) = new_queue("expires-ahead");
    let kept = Subscribe::new().named("kept").expires_after(HOUR);
    let gone = Subscribe::new().named("gone").expires_after(Duration::from_nanos(1));
    for options in [kept, gone] {
        drop(queue.subscribe(&options).unwrap());
    }
    let role = "remove what has expired";
    let Some(mut peer) = or_skip(Peer::start_after(own_clock, role, &[&name])) else { return };
    peer.await_word("gone");
    peer.finish();
}

#[test]
fn leases_and_waits_are_as_long_by_a_clock_that_is_a_day_ahead() {
    let _alive = watchdog();
    for (is_holder_ahead, role) in [(true, "hold"), (false, "wait for what is held")] {
        let (name, queue) = new_queue("ahead");
        drop(queue.subscribe(&workers()).unwrap());
        let mut producer = queue.producer().unwrap();
        producer.send(b"held").unwrap();
        if is_holder_ahead {
            let Some(mut peer) = or_skip(Peer::start_after(own_clock, role, &[&name])) else {
                return;
            };
            peer.await_word("held");
            let mut consumer = queue.subscribe(&workers()).unwrap();
            assert_eq!(consumer.receive_timeout(LONG).unwrap(), Received::TimedOut);
            producer.send(b"next").unwrap();
            assert_message(consumer.receive(), 1, b"next");
            peer.await_word("Done");
            peer.finish();
        } else {
            let mut consumer = queue.subscribe(&workers()).unwrap();
            let message = consumer.receive().unwrap().message().unwrap();
            let Some(mut peer) = or_skip(Peer::start_after(own_clock, role, &[&name])) else {
                return;
            };
            peer.await_word("nothing");
            assert_eq!(message.ack().unwrap(), Acked::Done);
            // It sleeps, by its own clock, and is called.
            producer.send(b"next").unwrap();
            peer.await_word("1");
            peer.finish();
        }
    }
}

/// Says what the monotonic clock says.
fn measure(_: &[&str]) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    say(time.tv_sec);
}

#[test]
fn a_clock_of_its_own_is_ahead() {
    let _alive = watchdog();
    let mut plain = Peer::start("measure", &[]);
    let Some(mut ahead) = or_skip(Peer::start_after(own_clock, "measure", &[])) else { return };
    let [plain, ahead] = [&mut plain, &mut ahead].map(|peer| peer.hear().parse::<i64>().unwrap());
    assert!(ahead - plain > 90_000, "{ahead} and {plain}");
}

const QUESTIONS: u64 = 200;

/// Makes a queue and answers on a second one, in a container.
fn answer(arguments: &[&str]) {
    let [questions, answers] = arguments else { panic!("{arguments:?}") };
    let answering = Queue::create(answers, &options()).unwrap();
    let asking = Queue::create(questions, &options()).unwrap();
    let from_first = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
    let mut consumer = asking.subscribe(&from_first).unwrap();
    let mut producer = answering.producer().unwrap();
    say(format_args!("{}: {:?}", std::process::id(), Queue::list().unwrap()));
    while let Some(message) = consumer.receive().unwrap().message() {
        producer.send(message.payload()).unwrap();
    }
    producer.close().unwrap();
}

/// Asks from another container.
fn ask(arguments: &[&str]) {
    let [questions, answers] = arguments else { panic!("{arguments:?}") };
    let from_first = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
    let answering = Queue::open(answers).unwrap();
    assert!(matches!(answering.producer(), Err(Error::ProducerAlive { pid: 1, .. })));
    let mut consumer = answering.subscribe(&from_first).unwrap();
    let mut producer = Queue::open(questions).unwrap().producer().unwrap();
    for number in 0..QUESTIONS {
        producer.send(&number.to_le_bytes()).unwrap();
        assert_message(consumer.receive(), number, &number.to_le_bytes());
    }
    producer.close().unwrap();
    assert_eq!(consumer.receive().unwrap(), Received::Closed);
    assert!(answering.info().unwrap().consumers.iter().all(|consumer| consumer.pid == 1));
    Queue::force_remove(questions).unwrap();
    Queue::force_remove(answers).unwrap();
    say(format_args!("{}: {:?}", std::process::id(), Queue::list().unwrap()));
}

/// A directory of shared memory that goes away with it.
struct Shared(String);

impl Shared {
    fn new(name: &Name) -> Self {
        let path = format!("/dev/shm/{}.directory", &**name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn two_containers_share_queues_by_sharing_a_directory() {
    let _alive = watchdog();
    let [questions, answers] = ["questions", "answers"].map(Name::new);
    let shared = Shared::new(&questions);
    let start = |role| {
        let directory = shared.0.clone();
        let arguments: [&str; 2] = [&questions, &answers];
        or_skip(Peer::start_after(move || own_container(&directory), role, &arguments))
    };
    let Some(mut answerer) = start("answer") else { return };
    let mut names = [&*answers, &*questions];
    names.sort_unstable();
    answerer.await_word(&format!("1: {names:?}"));
    // They are nobody else's.
    let from_here = Queue::open(&questions);
    assert!(matches!(from_here, Err(Error::NotFound { .. })), "{from_here:?}");
    let Some(mut asker) = start("ask") else { return };
    asker.await_word("1: []");
    asker.finish();
    answerer.finish();
}

#[test]
fn queues_of_one_name_in_two_containers_are_two() {
    let _alive = watchdog();
    let name = Name::new("two");
    let _outside = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    let other = Name::new("unused");
    let shared = Shared::new(&name);
    let directory = shared.0.clone();
    let peer = Peer::start_after(move || own_container(&directory), "answer", &[&name, &other]);
    let Some(mut peer) = or_skip(peer) else { return };
    let mut names = [&*name, &*other];
    names.sort_unstable();
    peer.await_word(&format!("1: {names:?}"));
    assert!(consumers(&Queue::open(&name).unwrap()).is_empty());
    assert!(matches!(Queue::open(&other), Err(Error::NotFound { .. })));
}
