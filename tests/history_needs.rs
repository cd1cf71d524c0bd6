//! Who needs what the files of a journal have, and is not there any more.

mod support;

use std::fs::{self, OpenOptions};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use ringway::{
    AtLimit, Holder, Journal, Lag, Producer, Queue, QueueOptions, Received, Start, Subscribe,
};
use support::history::files;
use support::{Directory, Name, Peer, play, say, stop_here, watchdog};

const CAPACITY: u64 = 64 << 10;
/// Less than one file may have.
const LIMIT: u64 = 1 << 20;
const PAYLOAD: [u8; 8_000] = [7; 8_000];
const AT_ONCE: Duration = Duration::from_nanos(1);
const LITTLE: Duration = Duration::from_millis(20);

#[test]
fn peer() {
    play(&[("read", read)]);
}

/// One of its own, or a member if a name is said; it never goes on.
fn read(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let options = arguments.get(1).map_or(spilling(), |_| expiring());
    let _reader = queue.subscribe(&options).unwrap();
    say("reads");
    stop_here();
}

fn spilling() -> Subscribe {
    Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill)
}

fn expiring() -> Subscribe {
    spilling().named("workers").expires_after(AT_ONCE)
}

fn options(directory: &Directory) -> QueueOptions {
    let options = QueueOptions::new().capacity(CAPACITY).members(8).history(directory.path());
    options.journal(Journal::Written)
}

fn limited(directory: &Directory) -> QueueOptions {
    options(directory).history_max(LIMIT, AtLimit::Hold)
}

/// Sends until the files are as large as they may be, and the ring alone has a message, and room for more.
fn fill(producer: &mut Producer) {
    while producer.flush_timeout(LITTLE).unwrap() {
        producer.send(&PAYLOAD).unwrap();
    }
}

/// Has the files of a journal be older than any may be.
fn age(directory: &Directory) {
    for path in files(directory, "log") {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
}

#[test]
fn who_was_killed_keeps_no_flush_waiting_for_space() {
    let _alive = watchdog();
    for (arguments, has_journaler) in
        [(&[][..], false), (&["member"], false), (&[], true), (&["member"], true)]
    {
        let name = Name::new("killed");
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &limited(&directory)).unwrap();
        let mut reader = Peer::start("read", &[&[&*name], arguments].concat());
        reader.await_word("reads");
        let journal = has_journaler.then(|| queue.journaler().unwrap().spawn());
        let mut producer = queue.producer().unwrap();
        fill(&mut producer);
        reader.kill_living();
        producer.flush().unwrap();
        assert!(producer.held_by().is_empty());
        let info = queue.info().unwrap();
        assert!(info.consumers.is_empty() && info.subscriptions.is_empty(), "{info:?}");
        drop(journal);
    }
}

#[test]
fn a_flush_names_who_needs_what_there_is_no_space_beside() {
    let _alive = watchdog();
    let name = Name::new("named");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &limited(&directory)).unwrap();
    let mut slow = queue.subscribe(&spilling()).unwrap();
    let mut quick = queue.subscribe(&spilling()).unwrap();
    let mut producer = queue.producer().unwrap();
    fill(&mut producer);
    while quick.try_receive().unwrap() != Received::Empty {}
    let holding = || {
        let consumers = queue.info().unwrap().consumers.into_iter();
        consumers.filter(|one| one.holds_producer).map(|one| one.member).collect::<Vec<_>>()
    };
    for is_tried in [true, false] {
        let is_flushed =
            if is_tried { producer.try_flush() } else { producer.flush_timeout(LITTLE) };
        assert!(!is_flushed.unwrap());
        assert_eq!(holding(), [slow.member()]);
        let holders = producer.held_by();
        let [Holder::Consumer { member, .. }] = holders[..] else { panic!("{holders:?}") };
        assert_eq!(member, slow.member());
    }
    while slow.try_receive().unwrap() != Received::Empty {}
    producer.flush().unwrap();
    assert!(producer.held_by().is_empty() && holding().is_empty());
}

#[test]
fn a_queue_is_removed_whose_dead_need_what_there_is_no_space_beside() {
    let _alive = watchdog();
    let name = Name::new("removed");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &limited(&directory)).unwrap();
    let mut reader = Peer::start("read", &[&name]);
    reader.await_word("reads");
    fill(&mut queue.producer().unwrap());
    reader.kill_living();
    Queue::remove(&name).unwrap();
}

#[test]
fn who_was_killed_or_has_expired_keeps_no_file_that_is_too_old() {
    let _alive = watchdog();
    for arguments in [&[][..], &["member"]] {
        let name = Name::new("too-old");
        let directory = Directory::new(&name);
        let options = options(&directory).keep_for(Duration::from_secs(3_600));
        let queue = Queue::create(&name, &options).unwrap();
        let mut reader = Peer::start("read", &[&[&*name], arguments].concat());
        reader.await_word("reads");
        let mut producer = queue.producer().unwrap();
        while files(&directory, "log").len() < 2 {
            producer.send(&PAYLOAD).unwrap();
        }
        producer.flush().unwrap();
        let stop = AtomicBool::new(true);
        age(&directory);
        queue.journaler().unwrap().run(&stop).unwrap();
        assert_eq!(files(&directory, "log").len(), 2, "somebody needs it");
        reader.kill_living();
        queue.journaler().unwrap().run(&stop).unwrap();
        assert_eq!(files(&directory, "log").len(), 1);
    }
}

#[test]
fn who_was_moved_back_misses_nothing_that_it_had_when_a_file_went() {
    /// Of seven a lap is full, and of sixteen laps a file.
    const LAP: u64 = 7;
    const FILE: u64 = 16 * LAP;
    let _alive = watchdog();
    let name = Name::new("moved-back");
    let directory = Directory::in_memory(&name);
    let options = options(&directory).capacity(1 << 20).journal(Journal::SyncedAlways);
    // Three files, and no message more.
    let options = options.history_max((48 << 20) + (64 << 10), AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    queue.declare(&workers).unwrap();
    let (mut journaler, stop) = (queue.journaler().unwrap(), AtomicBool::new(true));
    let mut producer = queue.producer().unwrap();
    let message = vec![7; (128 << 10) - 3 * 8];
    let mut send_to = |end| {
        while producer.next_sequence() < end {
            producer.send(&message).unwrap();
            journaler.run(&stop).unwrap();
        }
    };
    let work_to = |end| {
        let mut worker = queue.subscribe(&workers).unwrap();
        while worker.next_sequence() < end {
            assert!(worker.try_receive().unwrap().message().is_some());
        }
        worker
    };
    send_to(3 * FILE);
    drop(work_to(2 * FILE + 50));
    // The first file goes, and how far they are is on the disk.
    send_to(4 * FILE);
    assert_eq!(files(&directory, "log").len(), 3);
    queue.seek("workers", Start::Sequence(FILE + 50)).unwrap();
    let worker = work_to(2 * FILE + 60);
    send_to(4 * FILE + LAP);
    assert_eq!(files(&directory, "log").len(), 3, "the second file has gone");
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    let pages = fs::read(&checkpoint).unwrap();
    drop((worker, producer, journaler));
    for page in [0, 4096] {
        Queue::force_remove(&name).unwrap();
        // What was not synced is lost.
        let mut torn = pages.clone();
        torn[page..page + 100].fill(0);
        fs::write(&checkpoint, torn).unwrap();
        let queue = Queue::create(&name, &options).unwrap();
        let mut worker = queue.subscribe(&workers).unwrap();
        let received = worker.try_receive().unwrap();
        assert!(received.message().is_some(), "one that they had is missed, by page {page}");
    }
}
