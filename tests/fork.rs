//! What becomes of handles in a child that their process forks.

#![allow(clippy::print_stderr, reason = "the helpers pass on what peers write")]

mod support;

use std::fmt::Debug;
use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ringway::{
    Consumer, Error, Journal, Journaler, Lag, Observer, Producer, Queue, QueueOptions, Start,
    Subscribe,
};

use support::{Directory, Name, Peer, assert_message, play, say, watchdog};

#[test]
fn peer() {
    play(&[
        ("has no handles", has_no_handles),
        ("has no journal thread", has_no_journal_thread),
        ("has no open claim", has_no_open_claim),
        ("has no open batch", has_no_open_batch),
        ("has nothing more of a batch", has_nothing_more_of_a_batch),
        ("drops all", drops_all),
        ("keeps numbers", keeps_numbers),
        ("dies before its child", dies_before_its_child),
        ("forks a grandchild", forks_a_grandchild),
        ("opens anew", opens_anew),
        ("forks all the time", forks_all_the_time),
        ("dies opening", dies_opening),
    ]);
}

/// Plays a role in a process of its own, so that nobody else's handles are in the child.
fn play_alone(role: &str) {
    let _watchdog = watchdog();
    Peer::start(role, &[]).finish();
}

fn new_queue(purpose: &str) -> (Name, Queue) {
    let name = Name::new(purpose);
    let options = QueueOptions::new().capacity(64 << 10).members(64);
    let queue = Queue::create(&name, &options).expect("a queue");
    (name, queue)
}

/// A child of this process.
#[derive(Debug)]
struct Child(libc::pid_t);

/// Splits the process in two. `None` in the child, which goes on in [`end`].
fn fork() -> Option<Child> {
    // SAFETY: the other threads of a peer wait for the one that plays its role, or hold no lock
    // but those of the allocator, which every child gets free.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no more processes");
    if child > 0 {
        return Some(Child(child));
    }
    // SAFETY: a call without pointers: nobody shall outlive the test.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    None
}

/// The whole life of a child.
fn end(work: impl FnOnce()) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(work));
    // SAFETY: a call without pointers. What the parent will do at its end is not done here.
    unsafe { libc::_exit(i32::from(ended.is_err())) }
}

impl Child {
    /// Waits for the end, and how it came.
    fn status(&self) -> i32 {
        let mut status = 0;
        // SAFETY: the status outlives the call.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        status
    }

    fn finish(self) {
        assert_eq!(self.status(), 0, "the child failed");
    }

    fn kill(self) {
        // SAFETY: a child that nobody has waited for.
        assert_eq!(unsafe { libc::kill(self.0, libc::SIGKILL) }, 0);
        assert_eq!(self.status(), libc::SIGKILL);
    }
}

/// A pipe, for one byte at a time.
struct Signal {
    reading: File,
    writing: File,
}

impl Signal {
    fn new() -> Self {
        let (reading, writing) = std::io::pipe().expect("a pipe");
        let [reading, writing] = [std::os::fd::OwnedFd::from(reading), writing.into()];
        Self { reading: reading.into(), writing: writing.into() }
    }

    fn give(&self) {
        std::io::Write::write_all(&mut &self.writing, &[1]).expect("somebody who reads");
    }

    fn take(&self) {
        std::io::Read::read_exact(&mut &self.reading, &mut [0]).expect("somebody who writes");
    }
}

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "as the calls give it")]
fn assert_forked(result: Result<impl Debug, Error>) {
    assert!(matches!(result, Err(Error::Forked { .. })), "a child can do this: {result:?}");
}

/// Every end of a queue, with a message that nobody has received yet, after one that all have.
struct Ends {
    producer: Producer,
    held: Consumer,
    skipping: Consumer,
    /// Of a named subscription.
    shared: Consumer,
    observer: Observer,
    queue: Queue,
    name: Name,
}

impl Ends {
    fn open(purpose: &str) -> Self {
        let (name, queue) = new_queue(purpose);
        let held = queue.subscribe(&Subscribe::new()).unwrap();
        let skipping = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).unwrap();
        let shared = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
        let observer = queue.observe(Start::Newest).unwrap();
        let mut producer = queue.producer().unwrap();
        producer.send(b"first").unwrap();
        producer.send(b"before").unwrap();
        let mut ends = Self { producer, held, skipping, shared, observer, queue, name };
        // So all know that there is more, and where.
        ends.assert_next(0, b"first");
        ends
    }

    /// Insists that the readers receive this next.
    #[track_caller]
    fn assert_next(&mut self, sequence: u64, payload: &[u8]) {
        assert_message(self.held.receive(), sequence, payload);
        assert_message(self.skipping.receive(), sequence, payload);
        assert_message(self.shared.receive(), sequence, payload);
        assert_message(self.observer.receive(), sequence, payload);
    }

    /// Insists that nothing has happened to the ends since they were opened.
    fn assert_untouched(&mut self) {
        let info = self.queue.info().unwrap();
        assert!(info.producer.unwrap().alive);
        assert_eq!(info.next_sequence, 2);
        assert!(!info.closed && !info.removed);
        let consumers: Vec<_> = info.consumers.iter().map(|consumer| consumer.member).collect();
        assert_eq!(consumers, [&self.held, &self.skipping, &self.shared].map(Consumer::member));
        for consumer in info.consumers {
            assert!(consumer.alive);
            assert_eq!((consumer.lag_messages, consumer.pid), (Some(2), std::process::id()));
        }
        assert!(matches!(self.queue.producer(), Err(Error::ProducerAlive { .. })));
        assert!(matches!(
            Queue::remove(&self.name),
            Err(Error::InUse { consumers: 3, producer: true, .. })
        ));
        assert_eq!(self.queue.clear_dead().unwrap(), 0);

        self.assert_next(1, b"before");
        for sequence in 2..200 {
            assert_eq!(self.producer.send(&[7; 1000]).unwrap(), sequence);
            self.assert_next(sequence, &[7; 1000]);
        }
    }
}

const NOW: Duration = Duration::ZERO;

fn assert_no_consumer(mut consumer: Consumer) {
    for _ in 0..2 {
        assert_forked(consumer.receive());
        assert_forked(consumer.try_receive());
        assert_forked(consumer.receive_timeout(NOW));
        assert_forked(consumer.receive_batch(8));
        assert_forked(consumer.try_receive_batch(8));
        assert_forked(consumer.receive_batch_timeout(8, NOW));
    }
    assert_forked(consumer.close());
}

fn assert_no_observer(mut observer: Observer) {
    for _ in 0..2 {
        assert_forked(observer.receive());
        assert_forked(observer.try_receive());
        assert_forked(observer.receive_timeout(NOW));
        assert_forked(observer.receive_batch(8));
    }
}

fn assert_no_producer(producer: &mut Producer) {
    // One that the room at hand is enough for, and one that it is not.
    for payload in [&[8; 1][..], &[8; 8192]] {
        assert_forked(producer.send(payload));
        assert_forked(producer.try_send(payload));
        assert_forked(producer.send_timeout(payload, NOW));
        assert_forked(producer.claim(payload.len()));
        assert_forked(producer.try_claim(payload.len()));
        assert_forked(producer.claim_timeout(payload.len(), NOW));
        let mut batch = producer.batch();
        assert_forked(batch.push(payload));
        assert_forked(batch.try_push(payload));
        assert_forked(batch.extend([payload, payload]));
        assert_forked(batch.commit());
    }
    assert_forked(producer.batch().extend([b""; 0]));
    assert_forked(producer.batch().commit());
}

fn has_no_handles(_: &[&str]) {
    let mut ends = Ends::open("handles");
    let Some(child) = fork() else {
        end(move || {
            let Ends { mut producer, held, skipping, shared, observer, queue, name } = ends;
            assert_no_producer(&mut producer);
            assert_forked(producer.close());
            assert_forked(shared.ack(0));
            assert_forked(shared.ack_through(0));
            assert_forked(shared.nack(0));
            assert_forked(shared.nack_after(0, Duration::ZERO));
            assert_forked(shared.extend(0));
            for consumer in [held, skipping, shared] {
                assert_no_consumer(consumer);
            }
            assert_no_observer(observer);
            drop(queue);
            std::mem::forget(name);
        })
    };
    child.finish();
    ends.assert_untouched();
}

#[test]
fn a_forked_child_has_no_handles() {
    play_alone("has no handles");
}

fn has_no_journal_thread(_: &[&str]) {
    let name = Name::new("journal-thread");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(64 << 10).history(directory.path());
    let queue = Queue::create(&name, &options.journal(Journal::Written)).unwrap();
    let threads = [(); 2].map(|()| queue.journaler().map(Journaler::spawn));
    let [Ok(thread), Err(Error::JournalerAlive { .. })] = threads else { panic!("{threads:?}") };
    let Some(child) = fork() else {
        end(move || {
            assert!(thread.is_finished());
            assert!(matches!(thread.error(), Some(Error::Forked { .. })));
            let _kept = ManuallyDrop::new((name, directory));
            assert_forked(thread.stop());
        })
    };
    child.finish();
    let Some(child) = fork() else {
        end(move || {
            let _kept = ManuallyDrop::new((name, directory));
            drop(thread);
        })
    };
    child.finish();
    queue.producer().unwrap().send(b"kept").unwrap();
    thread.stop().unwrap();
    assert_eq!(queue.durable_sequence(), Some(1));
}

#[test]
fn a_forked_child_has_no_journal_thread() {
    play_alone("has no journal thread");
}

fn has_no_open_claim(_: &[&str]) {
    let mut ends = Ends::open("claim");
    let mut claim = ends.producer.claim(5).unwrap();
    claim.copy_from_slice(b"claim");
    // Each child ends it in another way.
    for way in 0..2 {
        let Some(child) = fork() else {
            if way == 0 {
                end(|| assert_forked(claim.commit()));
            }
            drop(claim);
            end(|| assert_no_producer(&mut ends.producer))
        };
        child.finish();
        assert_eq!(ends.queue.info().unwrap().next_sequence, 2);
    }
    assert_eq!(claim.commit().unwrap(), 2);
    ends.assert_next(1, b"before");
    ends.assert_next(2, b"claim");
}

#[test]
fn a_forked_child_has_no_open_claim() {
    play_alone("has no open claim");
}

fn has_no_open_batch(_: &[&str]) {
    let mut ends = Ends::open("batch");
    let mut batch = ends.producer.batch();
    batch.push(b"one").unwrap();
    for way in 0..3 {
        let Some(child) = fork() else {
            if way == 0 {
                end(|| assert_forked(batch.commit()));
            }
            if way == 1 {
                end(|| {
                    assert_forked(batch.push(b"child's"));
                    assert_forked(batch.try_push(b"child's"));
                    assert_forked(batch.extend([b"child's"]));
                    assert_forked(batch.push(&[8; 8000]));
                    assert_eq!(batch.len(), 1);
                    assert_forked(batch.commit());
                });
            }
            drop(batch);
            end(|| assert_no_producer(&mut ends.producer))
        };
        child.finish();
        assert_eq!(ends.queue.info().unwrap().next_sequence, 2);
    }
    batch.push(b"two").unwrap();
    assert_eq!(batch.commit().unwrap(), 2..4);
    ends.assert_next(1, b"before");
    ends.assert_next(2, b"one");
    ends.assert_next(3, b"two");
}

#[test]
fn a_forked_child_has_no_open_batch() {
    play_alone("has no open batch");
}

fn has_nothing_more_of_a_batch(_: &[&str]) {
    let (_name, queue) = new_queue("received");
    let mut producer = queue.producer().unwrap();
    (0..3).for_each(|_| _ = producer.send(b"work").unwrap());
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    let mut worker = queue.subscribe(&workers).unwrap();
    let mut batch = worker.receive_batch(3).unwrap().message().unwrap();
    assert_eq!(batch.next().unwrap().sequence(), 0);
    let Some(child) = fork() else { end(|| assert!(batch.next().is_none())) };
    child.finish();
    assert_eq!(queue.info().unwrap().subscriptions[0].delivered, 1);
    assert_eq!(batch.map(|message| message.sequence()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_forked_child_has_nothing_more_of_a_members_batch() {
    play_alone("has nothing more of a batch");
}

fn drops_all(_: &[&str]) {
    let mut ends = Ends::open("drops");
    // Both ways: one handle after the other, and none.
    for way in 0..2 {
        let Some(child) = fork() else {
            end(move || {
                let Ends { producer, held, skipping, shared, observer, queue, name } = ends;
                std::mem::forget(name);
                if way == 0 {
                    drop((held, skipping, shared, observer, producer, queue));
                } else {
                    std::mem::forget((held, skipping, shared, observer, producer, queue));
                }
            })
        };
        child.finish();
    }
    ends.assert_untouched();
}

#[test]
fn what_a_child_drops_stays_its_parents() {
    play_alone("drops all");
}

/// In a child the numbers of the parent's lock files are free, and may be other files' by the
/// time the handles are dropped.
fn keeps_numbers(_: &[&str]) {
    let mut ends = Ends::open("numbers");
    let Some(child) = fork() else {
        end(move || {
            let files: Vec<_> = (0..16).map(|_| File::open("/dev/null").unwrap()).collect();
            let Ends { producer, held, skipping, shared, observer, queue, name } = ends;
            std::mem::forget(name);
            drop((producer, held, skipping, shared, observer, queue));
            for file in files {
                let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
                assert_eq!(path.expect("an open file"), Path::new("/dev/null"));
            }
        })
    };
    child.finish();
    ends.assert_untouched();
}

#[test]
fn what_a_child_drops_closes_none_of_its_own_files() {
    play_alone("keeps numbers");
}

fn path(name: &str) -> String {
    format!("/dev/shm/ringway.{name}")
}

/// Lives until the queue is gone or the test is, whatever becomes of the parent.
fn outlive_parent(name: &str, test: &str, born: &Signal) -> ! {
    // SAFETY: a call without pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    born.give();
    end(|| {
        while Path::new(&path(name)).exists() && Path::new(&format!("/proc/{test}")).exists() {
            thread::sleep(Duration::from_millis(10));
        }
    })
}

fn dies_before_its_child(arguments: &[&str]) {
    let [name, test, how] = arguments else { panic!("three arguments") };
    let queue = Queue::open(name).unwrap();
    let held = queue.subscribe(&Subscribe::new()).unwrap();
    let skipping = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"last").unwrap();
    let born = Signal::new();
    let Some(child) = fork() else {
        if *how == "drops" {
            drop((held, skipping, producer, queue));
        } else {
            std::mem::forget((held, skipping, producer, queue));
        }
        outlive_parent(name, test, &born);
    };
    born.take();
    say(format!("{} of {}", child.0, std::process::id()));
    loop {
        thread::park();
    }
}

/// Whether a process runs: a dead one that nobody has waited for does not.
fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// Kills the parent of a child that lives on, and insists that the parent's places are free.
fn assert_places_are_free(role: &str, how: &str) {
    let (name, queue) = new_queue("outlived");
    let mut parent = Peer::start(role, &[&name, &std::process::id().to_string(), how]);
    let said = parent.hear();
    let (child, parent_of_child) = said.split_once(" of ").expect("a child of somebody");
    let before = queue.info().unwrap();
    assert!(before.producer.unwrap().alive);
    assert!(before.consumers.iter().all(|consumer| consumer.alive));
    assert!(matches!(queue.producer(), Err(Error::ProducerAlive { .. })));
    parent.kill();
    while runs(parent_of_child) {
        thread::yield_now();
    }

    let after = queue.info().unwrap();
    assert!(!after.producer.unwrap().alive);
    assert_eq!(
        after.consumers.iter().map(|consumer| consumer.alive).collect::<Vec<_>>(),
        [false, false]
    );
    let mut producer = queue.producer().expect("a free place");
    let mut observer = queue.observe(Start::Oldest).unwrap();
    assert_message(observer.receive(), 0, b"last");
    // The dead consumer holds nobody.
    for sequence in 1..200 {
        assert_eq!(producer.send(&[7; 1000]).unwrap(), sequence);
        assert_message(observer.receive(), sequence, &[7; 1000]);
    }
    queue.clear_dead().unwrap();
    assert!(queue.info().unwrap().consumers.is_empty());
    drop(producer);
    assert!(runs(child), "the child had to live until here");
    Queue::remove(&name).expect("nobody lives there");
}

#[test]
fn a_child_that_outlives_its_parent_keeps_none_of_its_places() {
    let _watchdog = watchdog();
    assert_places_are_free("dies before its child", "keeps");
    assert_places_are_free("dies before its child", "drops");
}

/// The child has handles of its own, forks, and dies before the grandchild.
fn forks_a_grandchild(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let dropped = Signal::new();
    let Some(child) = fork() else {
        end(move || {
            assert_no_consumer(consumer);
            dropped.take();
            dies_before_its_child(arguments);
        })
    };
    drop(consumer);
    dropped.give();
    child.finish();
}

#[test]
fn a_grandchild_keeps_none_of_the_childs_places() {
    let _watchdog = watchdog();
    assert_places_are_free("forks a grandchild", "keeps");
    assert_places_are_free("forks a grandchild", "drops");
}

fn opens_anew(_: &[&str]) {
    let mut ends = Ends::open("anew");
    let (opened, freed, sent) = (Signal::new(), Signal::new(), Signal::new());
    let Some(child) = fork() else {
        end(|| {
            // By the handle that the parent had, and by one of its own.
            let again = Queue::open(&ends.name).unwrap();
            for queue in [&ends.queue, &again] {
                let subscribe = Subscribe::new().from(Start::Oldest);
                let mut consumer = queue.subscribe(&subscribe).unwrap();
                let mut observer = queue.observe(Start::Last(1)).unwrap();
                assert_message(consumer.receive(), 0, b"first");
                assert_message(observer.receive(), 1, b"before");
                let consumers = queue.info().unwrap().consumers;
                assert_eq!(consumers.len(), 4);
                assert_eq!(consumers[3].pid, std::process::id());
                assert!(matches!(queue.producer(), Err(Error::ProducerAlive { .. })));
                assert_eq!(queue.clear_dead().unwrap(), 0);
            }
            let mut consumer = ends.queue.subscribe(&Subscribe::new()).unwrap();
            opened.give();
            freed.take();
            assert_message(consumer.receive(), 2, b"the parent's");
            let mut producer = ends.queue.producer().expect("a free place");
            assert_eq!(producer.send(b"the child's").unwrap(), 3);
            assert_message(consumer.receive(), 3, b"the child's");
            sent.give();
            // It ends without giving up its places.
            std::mem::forget((consumer, producer));
        })
    };
    opened.take();
    assert_eq!(ends.producer.send(b"the parent's").unwrap(), 2);
    let members = |queue: &Queue| {
        let consumers = queue.info().unwrap().consumers.into_iter();
        consumers.map(|consumer| (consumer.pid, consumer.alive)).collect::<Vec<_>>()
    };
    let (parent, child_id) = (std::process::id(), child.0.cast_unsigned());
    let [own, child_lives, child_is_dead] = [(parent, true), (child_id, true), (child_id, false)];
    assert_eq!(members(&ends.queue), [own, own, own, child_lives]);
    ends.assert_next(1, b"before");
    ends.assert_next(2, b"the parent's");
    let Ends { producer, mut held, queue, .. } = ends;
    drop(producer);
    freed.give();
    sent.take();
    assert_message(held.receive(), 3, b"the child's");
    child.finish();
    assert_eq!(members(&queue), [own, own, own, child_is_dead]);
    assert_eq!(queue.clear_dead().unwrap(), 1);
    assert_eq!(queue.producer().unwrap().send(b"next").unwrap(), 4);
}

#[test]
fn a_child_opens_ends_of_its_own() {
    play_alone("opens anew");
}

const ROUNDS: usize = 1000;

/// One thread forks, others open ends and close them. No child may come to hold what its parent
/// closed, nor be left with a lock that nobody gives up.
fn forks_all_the_time(_: &[&str]) {
    let (_one_place, consumers) = new_queue("places");
    let (_one_producer, producers) = new_queue("producers");
    let members = consumers.info().unwrap().members_max;
    let _others: Vec<_> =
        (1..members).map(|_| consumers.subscribe(&Subscribe::new()).unwrap()).collect();
    let done = AtomicBool::new(false);
    let (joins, takeovers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let opening_consumers = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let consumer = consumers.subscribe(&Subscribe::new());
                drop(consumer.expect("the only free place is free"));
                joins.fetch_add(1, Ordering::Relaxed);
            }
        });
        let opening_producers = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(producers.producer().expect("the producer's place is free"));
                takeovers.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..ROUNDS {
            let Some(child) = fork() else {
                end(|| {
                    if round.is_multiple_of(10) {
                        // What the other threads had locked is not locked here.
                        let queue = Queue::open(consumers.name()).unwrap();
                        drop(queue.observe(Start::Newest).unwrap());
                        let _ = queue.clear_dead().unwrap();
                    }
                    loop {
                        thread::park();
                    }
                })
            };
            // Whoever had a place at the fork gives it up, and gets it once more.
            for (thread, count) in [(&opening_consumers, &joins), (&opening_producers, &takeovers)]
            {
                let before = count.load(Ordering::Relaxed);
                while count.load(Ordering::Relaxed) < before + 2 && !thread.is_finished() {
                    thread::yield_now();
                }
            }
            child.kill();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn forking_goes_along_with_opening_and_closing() {
    play_alone("forks all the time");
}

const PLACES: u32 = 400;
const ORPHANS_MAX: usize = 100;

/// Forks children while another thread opens ends, and keeps them. The children live on.
fn dies_opening(arguments: &[&str]) {
    let [name, test] = arguments else { panic!("two arguments") };
    let queue = Queue::open(name).unwrap();
    let forking = Signal::new();
    thread::scope(|scope| {
        let opening = scope.spawn(|| {
            // Or all might be open before the first child is there.
            forking.take();
            for _ in 0..PLACES {
                std::mem::forget(queue.subscribe(&Subscribe::new()).unwrap());
            }
        });
        let born = Signal::new();
        let mut children = Vec::new();
        while !opening.is_finished() && children.len() < ORPHANS_MAX {
            let Some(child) = fork() else { outlive_parent(name, test, &born) };
            born.take();
            if children.is_empty() {
                forking.give();
            }
            children.push(child.0.to_string());
        }
        opening.join().unwrap();
        say(children.join(" "));
    });
    loop {
        thread::park();
    }
}

#[test]
fn no_child_comes_between_the_opening_of_a_place_and_its_lock() {
    const TRIES: usize = 8;
    let _watchdog = watchdog();
    for _ in 0..TRIES {
        let name = Name::new("born");
        let options = QueueOptions::new().capacity(64 << 10).members(PLACES);
        let queue = Queue::create(&name, &options).unwrap();
        let mut parent = Peer::start("dies opening", &[&name, &std::process::id().to_string()]);
        let children = parent.hear();
        assert!(queue.info().unwrap().consumers.iter().all(|consumer| consumer.alive));
        parent.kill();

        let alive = queue.info().unwrap().consumers.into_iter().filter(|consumer| consumer.alive);
        assert_eq!(alive.map(|consumer| consumer.member).collect::<Vec<_>>(), [0; 0]);
        assert_eq!(queue.clear_dead().unwrap(), PLACES);
        assert!(children.split(' ').all(runs), "the children had to live until here");
    }
}
