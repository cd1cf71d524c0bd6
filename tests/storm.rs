//! A storm of faults: whoever uses two queues is killed or stopped at random, for as long as one
//! likes, and nothing is lost, nothing comes twice, and nothing leaks.
//!
//! `RINGWAY_KILLS` says how many there are to be, `RINGWAY_SOAK` for how many seconds there are to
//! be some; `RINGWAY_ATTACHES` how often somebody comes and goes. `RINGWAY_SEED` chooses whom it
//! hits.

#![allow(clippy::print_stderr, reason = "what happened is for whoever reads the test's output")]
#![allow(clippy::disallowed_types, reason = "what members have done is kept beside the library")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{
    AckMode, Acked, Consumer, Error, Lag, Message, Producer, Queue, QueueOptions, Received, Start,
    Subscribe, Wait,
};
use support::segment::assert_no_share_in_use;
use support::{Directory, Name, Peer, Random, mix, number_from, play, say, watchdog_of};

#[test]
fn peer() {
    play(&[
        ("produce", produce),
        ("consume", consume),
        ("skip", skip),
        ("work", work),
        ("come and go", come_and_go),
    ]);
}

const CAPACITY: u64 = 128 << 10;
const MEMBERS: u32 = 16;

fn options() -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(MEMBERS).subscriptions(4)
}

fn workers() -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park)
}

/// What message `sequence` of a queue consists of.
fn payload(queue: &str, sequence: u64) -> Vec<u8> {
    let tag = mix(sequence ^ queue.bytes().fold(0, |sum, byte| mix(sum ^ u64::from(byte))));
    let size = match tag % 100 {
        0 => tag >> 32 & 0x3fff,
        1..10 => tag >> 32 & 0x3ff,
        _ => tag >> 32 & 0x3f,
    };
    tag.to_le_bytes().into_iter().cycle().take(usize::try_from(size).unwrap()).collect()
}

#[track_caller]
fn check(queue: &str, message: &Message<'_>) {
    let sequence = message.sequence();
    assert!(message.payload() == payload(queue, sequence), "message {sequence} is not whole");
}

/// Sends in bursts, one by one or in batches, until it is killed.
fn produce(arguments: &[&str]) {
    let [name, ..] = arguments else { panic!("{arguments:?}") };
    let mut producer = Queue::open(name).unwrap().producer().unwrap();
    producer.set_wait(Wait::Park);
    say("ready");
    loop {
        send_burst(&mut producer, name);
        thread::sleep(Duration::from_micros(200));
    }
}

fn send_burst(producer: &mut Producer, name: &str) {
    for _ in 0..8 {
        let next = producer.next_sequence();
        if mix(next).is_multiple_of(3) {
            let mut batch = producer.batch();
            for sequence in next..next + 1 + mix(next) % 7 {
                match batch.try_push(&payload(name, sequence)) {
                    Ok(true) => {}
                    Ok(false) | Err(Error::BatchFull { .. }) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            batch.commit().unwrap();
        } else {
            producer.send(&payload(name, next)).unwrap();
        }
    }
}

/// Receives everything from where it joins on, until it is killed.
fn consume(arguments: &[&str]) {
    let [name, ..] = arguments else { panic!("{arguments:?}") };
    let consumer = Queue::open(name).unwrap().subscribe(&Subscribe::new().wait(Wait::Park));
    let mut consumer = consumer.unwrap();
    say("ready");
    consume_all(&mut consumer, name);
}

/// Every message from the next one to the end of the stream, whose sequence is returned.
fn consume_all(consumer: &mut Consumer, name: &str) -> u64 {
    let mut next = consumer.next_sequence();
    loop {
        match consumer.receive().unwrap() {
            Received::Message(message) => {
                assert_eq!(message.sequence(), next);
                check(name, &message);
                next += 1;
            }
            Received::Closed => return next,
            other => panic!("{other:?} before {next}"),
        }
    }
}

/// As [`consume`], but holds nobody, and is told what it misses.
fn skip(arguments: &[&str]) {
    let [name, ..] = arguments else { panic!("{arguments:?}") };
    let options = Subscribe::new().from(Start::Oldest).on_lag(Lag::Skip);
    let mut consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    say("ready");
    let mut next = consumer.next_sequence();
    loop {
        match consumer.receive().unwrap() {
            Received::Message(message) => {
                assert_eq!(message.sequence(), next);
                check(name, &message);
                next += 1;
            }
            Received::Missed { from, to } => {
                assert!(from == next && to > from, "{from} to {to} were missed, {next} was next");
                next = to;
            }
            Received::Closed => break,
            other => panic!("{other:?}"),
        }
    }
}

/// What members have done, in memory that outlives them: for each of them whether it is to die,
/// and for each message who had it last, and whether that one has acknowledged it.
struct Ledger {
    base: *mut libc::c_void,
}

// SAFETY: all that is done with the mapping goes through atomics.
unsafe impl Sync for Ledger {}

impl Ledger {
    const WORKERS_MAX: usize = 1 << 22;
    const MESSAGES_MAX: usize = 1 << 30;
    const SIZE: usize = (Self::WORKERS_MAX + Self::MESSAGES_MAX) * size_of::<u32>();
    const ACKED: u32 = 1 << 31;

    fn open(path: &str) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(Self::SIZE as u64).unwrap();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self { base }
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < Self::SIZE / size_of::<u32>());
        // SAFETY: within the mapping, which lasts as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.cast::<u32>().wrapping_add(index)) }
    }

    fn worker(&self, number: u32) -> &AtomicU32 {
        assert!((number as usize) < Self::WORKERS_MAX);
        self.word(number as usize)
    }

    fn message(&self, sequence: u64) -> &AtomicU32 {
        self.word(Self::WORKERS_MAX + usize::try_from(sequence).unwrap())
    }

    /// A worker, whose number is above 0, was given a message.
    fn note_received(&self, number: u32, message: &Message<'_>) {
        let (sequence, delivery) = (message.sequence(), message.delivery());
        let before = self.message(sequence).swap(number, Ordering::SeqCst);
        assert_eq!(before & Self::ACKED, 0, "{sequence} came again after its ack by {before}");
        let is_dead = || self.worker(before).load(Ordering::SeqCst) != 0;
        assert!(before == 0 || is_dead(), "{sequence} is {before}'s, and {number} was given it");
        assert!(delivery > 1 || before == 0, "{sequence} came again, as if for the first time");
    }

    /// It has acknowledged one.
    fn note_acked(&self, number: u32, sequence: u64) {
        let before = self.message(sequence).fetch_or(Self::ACKED, Ordering::SeqCst);
        assert_eq!(before, number, "{sequence} has gone to somebody else");
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a part of it any more.
        unsafe { libc::munmap(self.base, Self::SIZE) };
    }
}

/// Is a member, until it is killed.
fn work(arguments: &[&str]) {
    let [name, ledger, number] = arguments else { panic!("{arguments:?}") };
    let number: u32 = number.parse().unwrap();
    let mode = if number.is_multiple_of(2) { AckMode::Auto } else { AckMode::Manual };
    let options = workers().ack(mode).prefetch(1 + number % 32);
    let mut consumer = Queue::open(name).unwrap().subscribe(&options).unwrap();
    say("ready");
    work_all(&mut consumer, name, &Ledger::open(ledger), number, mode);
}

fn work_all(consumer: &mut Consumer, name: &str, ledger: &Ledger, number: u32, mode: AckMode) {
    let mut last = None;
    loop {
        let received = consumer.receive().unwrap();
        if let Some(sequence) = last.take() {
            ledger.note_acked(number, sequence);
        }
        match received {
            Received::Message(message) => {
                let sequence = message.sequence();
                check(name, &message);
                ledger.note_received(number, &message);
                if mix(sequence).is_multiple_of(16) {
                    // Most deaths are to be somewhere in the work.
                    thread::sleep(Duration::from_micros(200));
                }
                if mode == AckMode::Manual {
                    assert_eq!(message.ack().unwrap(), Acked::Done);
                    ledger.note_acked(number, sequence);
                } else {
                    last = Some(sequence);
                }
            }
            Received::Closed => return,
            other => panic!("{other:?}"),
        }
    }
}

/// One who can be hit.
struct Actor {
    role: &'static str,
    number: u32,
    peer: Peer,
}

/// A queue in the storm.
struct Stage {
    name: Name,
    queue: Queue,
    directory: Directory,
    ledger: Ledger,
    actors: Vec<Actor>,
    born: u32,
    /// Gets every message, and says how many that were.
    witness: Option<thread::JoinHandle<u64>>,
    /// What this process had of it in the beginning.
    possessions: (usize, usize, u64),
}

const ROLES: [&str; 6] = ["produce", "consume", "skip", "work", "work", "work"];

impl Stage {
    fn new(purpose: &str) -> Self {
        let name = Name::new(purpose);
        let queue = Queue::create(&name, &options()).unwrap();
        let directory = Directory::new(&name);
        let ledger = Ledger::open(directory.file("ledger").to_str().unwrap());
        // Somebody makes the subscription, so that it begins with the first message.
        drop(queue.subscribe(&workers()).unwrap());
        let possessions = possessions(&name);
        let options = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
        let mut consumer = queue.subscribe(&options).unwrap();
        let queue_name = name.to_string();
        let witness = Some(thread::spawn(move || consume_all(&mut consumer, &queue_name)));
        let (actors, born) = (Vec::new(), 0);
        let mut stage = Self { name, queue, directory, ledger, actors, born, witness, possessions };
        for role in ROLES {
            let mut actor = stage.new_actor(role);
            actor.peer.await_word("ready");
            stage.actors.push(actor);
        }
        stage
    }

    fn new_actor(&mut self, role: &'static str) -> Actor {
        self.born += 1;
        let ledger = self.directory.file("ledger");
        let number = self.born.to_string();
        let peer = Peer::start(role, &[&self.name, ledger.to_str().unwrap(), &number]);
        Actor { role, number: self.born, peer }
    }

    /// Kills somebody, or stops him for a while.
    fn hit(&mut self, random: &mut Random) -> bool {
        let victim = usize::try_from(random.below(self.actors.len() as u64)).unwrap();
        if random.below(8) == 0 {
            let peer = &self.actors[victim].peer;
            peer.stop();
            thread::sleep(Duration::from_micros(random.below(20_000)));
            peer.go_on();
            return false;
        }
        let Actor { role, number, peer } = self.actors.swap_remove(victim);
        self.ledger.worker(number).store(1, Ordering::SeqCst);
        peer.kill_living();
        let mut actor = self.new_actor(role);
        // Others are hit while they come to life.
        if random.below(3) > 0 {
            actor.peer.await_word("ready");
        }
        self.actors.push(actor);
        true
    }

    /// Ends the stream, and checks that nothing was lost and nothing is left.
    fn end(mut self) {
        for Actor { number, peer, .. } in self.actors.drain(..) {
            self.ledger.worker(number).store(1, Ordering::SeqCst);
            peer.kill_living();
        }
        let producer = self.queue.producer().unwrap();
        let end = producer.next_sequence();
        producer.close().unwrap();
        let witness = self.witness.take().expect("one");
        assert_eq!(witness.join().unwrap(), end, "a consumer that held got everything");
        let number = self.born + 1;
        let mut last = self.queue.subscribe(&workers()).unwrap();
        work_all(&mut last, &self.name, &self.ledger, number, AckMode::Auto);
        drop(last);
        let lost =
            (0..end).find(|&sequence| self.ledger.message(sequence).load(Ordering::SeqCst) == 0);
        assert_eq!(lost, None, "a message that no member was given");

        self.queue.clear_dead().unwrap();
        let info = self.queue.info().unwrap();
        assert!(info.consumers.is_empty(), "{info:?}");
        assert_eq!(
            (info.subscriptions[0].unacked, info.subscriptions[0].lag_messages),
            (0, Some(0))
        );
        assert_no_share_in_use(&self.name);
        let all = (0..MEMBERS).map(|_| self.queue.subscribe(&Subscribe::new()));
        let all_places: Vec<_> = all.collect();
        assert!(all_places.iter().all(Result::is_ok), "a place is lost: {all_places:?}");
        let subscription = &info.subscriptions[0];
        let (all, again) = (subscription.delivered, subscription.redelivered);
        eprintln!("{end} messages sent, {all} deliveries to members, {again} of them again");
        assert!(end > 0);
        drop(all_places);
        assert_eq!(possessions(&self.name), self.possessions, "files, mappings, blocks");
    }
}

/// What this process has of a queue: open files, mappings, and blocks of memory.
fn possessions(name: &str) -> (usize, usize, u64) {
    let path = format!("/dev/shm/ringway.{name}");
    let files = fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let target = fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|target| target.to_string_lossy().starts_with(&path))
    });
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = maps.lines().filter(|line| line.contains(&path)).count();
    (files.count(), mappings, fs::metadata(&path).unwrap().blocks())
}

/// Objects of a test's in shared memory.
fn objects(purpose: &str) -> usize {
    let prefix = format!("test-{purpose}-{}-", std::process::id());
    Queue::list().unwrap().iter().filter(|name| name.starts_with(&prefix)).count()
}

#[test]
fn in_a_storm_of_deaths_and_stops_nothing_is_lost_and_nothing_leaks() {
    let faults = number_from("RINGWAY_KILLS", 120);
    let soak = Duration::from_secs(number_from("RINGWAY_SOAK", 0));
    let _alive = watchdog_of(Duration::from_secs(240) + soak + Duration::from_secs(faults));
    let mut random = Random::from_environment();
    let mut stages = [(); 2].map(|()| Stage::new("storm"));

    let begin = Instant::now();
    let (mut deaths, mut stops, mut told) = (0, 0, begin);
    while deaths < faults || begin.elapsed() < soak {
        thread::sleep(Duration::from_micros(random.below(4_000)));
        let stage = &mut stages[usize::try_from(random.below(2)).unwrap()];
        if stage.hit(&mut random) {
            deaths += 1;
        } else {
            stops += 1;
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            let sent = stages.each_ref().map(|stage| stage.queue.info().unwrap().next_sequence);
            eprintln!("{:?}: {deaths} deaths, {stops} stops, {sent:?} sent", begin.elapsed());
        }
    }
    assert_eq!(objects("storm"), 2, "the two queues are all there is");
    stages.into_iter().for_each(Stage::end);
    assert_eq!(objects("storm"), 0);
    eprintln!("{deaths} deaths and {stops} stops in {:?}", begin.elapsed());
}

/// Comes and goes in every way, and counts what that leaves.
fn come_and_go(arguments: &[&str]) {
    let [name, count] = arguments else { panic!("{arguments:?}") };
    let kept = Queue::open(name).unwrap();
    let manual = workers().ack(AckMode::Manual);
    let round = |number: u64| {
        let queue = Queue::open(name).unwrap();
        let consumer = queue.subscribe(&Subscribe::new()).unwrap();
        let mut member = queue.subscribe(&manual).unwrap();
        let mut observer = queue.observe(Start::Newest).unwrap();
        let sequence = queue.producer().unwrap().send(&number.to_le_bytes()).unwrap();
        let message = observer.receive().unwrap().message().unwrap();
        assert_eq!((message.sequence(), message.payload()), (sequence, &number.to_le_bytes()[..]));
        let message = member.receive().unwrap().message().unwrap();
        assert_eq!(message.sequence(), sequence);
        assert_eq!(message.ack().unwrap(), Acked::Done);
        drop((consumer, member));
        assert!(Queue::create(name, &options()).is_err());
        assert!(queue.subscribe(&Subscribe::new().from(Start::Sequence(u64::MAX >> 3))).is_err());
    };
    let all = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().count();
        let mappings = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        (files, mappings, possessions(name), heap())
    };
    (0..50).for_each(round);
    let before = all();
    (50..count.parse().unwrap()).for_each(round);
    let after = all();
    assert_eq!((after.0, after.2), (before.0, before.2));
    // The allocator's own may come and go.
    assert!(after.1 <= before.1 + 2, "{} mappings, {} before", after.1, before.1);
    assert!(after.3 <= before.3 + (1 << 20), "{} bytes, {} before", after.3, before.3);
    drop(kept);
    say("gone");
}

/// Bytes of this process's data.
fn heap() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmData:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn coming_and_going_leaks_nothing() {
    let count = number_from("RINGWAY_ATTACHES", 300);
    let _alive = watchdog_of(Duration::from_secs(240) + Duration::from_millis(50 * count));
    let name = Name::new("coming");
    let queue = Queue::create(&name, &options()).unwrap();
    drop(queue.subscribe(&workers()).unwrap());
    let mut peer = Peer::start("come and go", &[&name, &count.to_string()]);
    peer.await_word("gone");
    peer.finish();
    let info = queue.info().unwrap();
    assert!(info.consumers.is_empty() && info.next_sequence == count, "{info:?}");
    assert_no_share_in_use(&name);
    assert_eq!(objects("coming"), 1);
    Queue::remove(&name).expect("nobody lives there");
}
