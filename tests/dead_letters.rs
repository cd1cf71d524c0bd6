//! Dead letters between processes, and on disks that do not do what they should.
//!
//! What chance decides is decided by a seed, which is printed; `RINGWAY_SEED` gives another one.

#![allow(clippy::print_stderr, reason = "how tests speak")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::thread;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Consumer, Error, Nacked, Queue, QueueOptions, Received, Start, Subscribe,
};
use support::segment::progress_of;
use support::trace::{Traced, followed};
use support::{Directory, Name, Peer, Random, limit_files, mix, play, say, watchdog};

#[test]
fn peer() {
    play(&[
        ("refuse", refuse),
        ("drop odd ones", drop_odd_ones),
        ("write-little", write_little),
        ("reject", reject),
    ]);
}

/// Whatever they refuse once is a dead letter.
fn workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    workers.ack(AckMode::Manual).deliveries_max(1)
}

fn queue_with(name: &Name, directory: &Directory) -> Queue {
    let options = QueueOptions::new().capacity(4 << 20).members(32).history(directory.path());
    Queue::create(name, &options).unwrap()
}

/// Tells its sequence; some are larger than a page.
fn payload(sequence: u64) -> Vec<u8> {
    let size = if sequence.is_multiple_of(7) { 9000 } else { 8 + mix(sequence) % 57 };
    let bytes = mix(sequence).to_le_bytes();
    bytes.iter().copied().cycle().take(usize::try_from(size).unwrap()).collect()
}

/// Sends so many messages and ends the stream.
fn send(queue: &Queue, count: u64) {
    let mut producer = queue.producer().unwrap();
    for sequence in 0..count {
        producer.send(&payload(sequence)).unwrap();
    }
    producer.close().unwrap();
}

/// How often each message is among the letters, and the bytes that are none. No letter is wrong.
fn letters(queue: &Queue) -> (BTreeMap<u64, u64>, u64) {
    let handle = queue.dead_letters("workers").unwrap();
    let (mut all, mut times) = (handle.iter(), BTreeMap::new());
    for letter in all.by_ref() {
        let letter = letter.unwrap();
        assert_eq!(letter.payload, payload(letter.sequence), "letter {}", letter.id);
        assert_eq!(
            (letter.queue.as_str(), letter.subscription.as_str()),
            (queue.name(), "workers")
        );
        *times.entry(letter.sequence).or_default() += 1;
    }
    (times, all.passed_over())
}

/// Refuses messages to the end of the stream.
fn refuse(arguments: &[&str]) {
    let [name] = arguments else { panic!("{arguments:?}") };
    let mut consumer = Queue::open(name).unwrap().subscribe(&workers()).unwrap();
    say("ready");
    while let Received::Message(message) = consumer.receive().unwrap() {
        assert_eq!(message.nack().unwrap(), Nacked::DeadLetter);
    }
    say("done");
}

#[test]
fn letters_of_several_members_at_once_are_all_there_and_whole() {
    const COUNT: u64 = 400;
    let _alive = watchdog();
    let name = Name::new("letters");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    let peers: Vec<_> = (0..4)
        .map(|_| {
            let mut peer = Peer::start("refuse", &[&name]);
            peer.await_word("ready");
            peer
        })
        .collect();
    let sender = {
        let queue = queue.clone();
        thread::spawn(move || send(&queue, COUNT))
    };
    // Who reads meanwhile finds some of them, and none that is wrong.
    while letters(&queue).0.len() < 100 {}
    sender.join().unwrap();
    for mut peer in peers {
        peer.await_word("done");
        peer.finish();
    }
    let (times, passed_over) = letters(&queue);
    assert!(times.into_iter().eq((0..COUNT).map(|sequence| (sequence, 1))));
    assert_eq!(passed_over, 0);
}

#[test]
fn members_that_are_killed_at_their_letters_lose_none() {
    const COUNT: u64 = 1000;
    let _alive = watchdog();
    let mut random = Random::from_environment();
    let name = Name::new("killed");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    drop(queue.subscribe(&workers()).unwrap());
    send(&queue, COUNT);
    let start = || {
        let mut peer = Peer::start("refuse", &[&name]);
        peer.await_word("ready");
        peer
    };
    let mut peers: Vec<_> = (0..3).map(|_| start()).collect();
    let mut deaths = 0;
    while (letters(&queue).0.len() as u64) < COUNT * 9 / 10 {
        thread::sleep(Duration::from_micros(random.below(5_000)));
        let victim = usize::try_from(random.below(3)).unwrap();
        std::mem::replace(&mut peers[victim], start()).kill();
        deaths += 1;
    }
    for peer in peers {
        peer.finish();
    }
    let (times, passed_over) = letters(&queue);
    assert!(times.keys().copied().eq(0..COUNT), "{} of {COUNT}", times.len());
    // Who dies between a letter and its settling leaves both to an heir, who sees to that.
    let again = times.values().sum::<u64>() - COUNT;
    eprintln!("{deaths} deaths, {again} letters again, {passed_over} bytes torn");
    assert_eq!(again, 0);
    let info = queue.info().unwrap();
    assert_eq!((info.subscriptions[0].unacked, info.subscriptions[0].lag_messages), (0, Some(0)));
}

/// Drops each letter whose message has an odd sequence, and tells its id, until it is killed.
fn drop_odd_ones(arguments: &[&str]) {
    let handle = Queue::open(arguments[0]).unwrap().dead_letters("workers").unwrap();
    loop {
        let all = handle.iter().map(Result::unwrap);
        let odd = all.filter(|letter| letter.sequence % 2 == 1).map(|letter| letter.id);
        let odd: Vec<_> = odd.collect();
        handle.drop(&odd).unwrap().into_iter().for_each(say);
        thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn letters_are_dropped_and_the_dead_at_that_lose_no_other_while_members_write_more() {
    const COUNT: u64 = 600;
    /// What a file begins with that was rewritten.
    const EMPTY: u64 = 88;
    let _alive = watchdog();
    let mut random = Random::from_environment();
    let name = Name::new("dropping");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    let start = |role| Peer::start(role, &[&name]);
    let mut refusers = [start("refuse"), start("refuse")];
    for peer in &mut refusers {
        peer.await_word("ready");
    }
    let sender = {
        let queue = queue.clone();
        thread::spawn(move || send(&queue, COUNT))
    };
    let mut droppers = vec![start("drop odd ones"), start("drop odd ones")];
    let mut told = Vec::new();
    for _ in 0..20 {
        thread::sleep(Duration::from_micros(random.below(20_000)));
        let victim = usize::try_from(random.below(2)).unwrap();
        told.extend(
            std::mem::replace(&mut droppers[victim], start("drop odd ones")).kill_and_hear(),
        );
    }
    sender.join().unwrap();
    for mut peer in refusers {
        peer.await_word("done");
        peer.finish();
    }
    told.extend(droppers.into_iter().flat_map(Peer::kill_and_hear));
    // A last word that was cut off.
    told.retain(|id| !id.is_empty());
    let count = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), count, "two have dropped the same letter");

    // What is left of the odd ones nobody came to.
    let handle = queue.dead_letters("workers").unwrap();
    let left = handle.iter().map(Result::unwrap);
    let left: Vec<_> = left.filter(|letter| letter.sequence % 2 == 1).map(|it| it.id).collect();
    assert!(left.iter().all(|id| !told.contains(&id.to_string())), "a letter is back");
    assert_eq!(handle.drop(&left).unwrap(), left);
    let (times, _) = letters(&queue);
    assert!(times.into_iter().eq((0..COUNT).step_by(2).map(|sequence| (sequence, 1))));

    let ids: Vec<_> = handle.iter().map(|letter| letter.unwrap().id).collect();
    assert_eq!(handle.drop(&ids).unwrap(), ids);
    // Who is killed in a write may leave the part of a record that lies before the end of a page.
    let (times, torn) = letters(&queue);
    assert!(times.is_empty() && torn < 22 * 4096, "{times:?}, {torn} bytes torn");
    let files = fs::read_dir(directory.file("dead-letters")).unwrap().map(Result::unwrap);
    let sizes: Vec<_> = files.map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!(sizes, [EMPTY + torn], "something else is left of them, or beside");
}

#[test]
fn a_file_of_beginnings_that_all_promise_the_rest_of_it_is_read_in_one_go() {
    const SIZE: usize = 16 << 20;
    const HEADER_SIZE: usize = 80;
    let _alive = watchdog();
    let name = Name::new("promises");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    drop(queue.subscribe(&workers()).unwrap());
    send(&queue, 1);
    let mut worker = queue.subscribe(&workers()).unwrap();
    let nacked = worker.receive().unwrap().message().unwrap().nack().unwrap();
    assert_eq!(nacked, Nacked::DeadLetter);
    let path = directory.file("dead-letters").join("workers.letters");
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    while bytes.len() < SIZE {
        let payload_size = u32::try_from(SIZE - bytes.len()).unwrap();
        let mut header = [0; HEADER_SIZE];
        header[..8].copy_from_slice(b"RWLETTER");
        header[8..12].copy_from_slice(&(80 + payload_size).to_le_bytes());
        header[64..68].copy_from_slice(&payload_size.to_le_bytes());
        bytes.extend(header);
    }
    bytes.extend_from_within(..length);
    fs::write(&path, &bytes).unwrap();
    let (times, passed_over) = letters(&queue);
    assert_eq!(times[&0], 2);
    assert_eq!(passed_over, (bytes.len() - 2 * length) as u64);
    let handle = queue.dead_letters("workers").unwrap();
    let ids: Vec<_> = handle.iter().map(|letter| letter.unwrap().id).collect();
    assert_eq!(handle.drop(&ids).unwrap(), ids);
}

/// Writes with a limit to the size of files: what a full disk does, without filling one.
fn write_little(arguments: &[&str]) {
    let [name, limit] = arguments else { panic!("{arguments:?}") };
    let (queue, limit) = (Queue::open(name).unwrap(), limit.parse().unwrap());
    let mut consumer = queue.subscribe(&workers()).unwrap();
    limit_files(limit).unwrap();
    let mut written = 0;
    loop {
        let message = consumer.receive().unwrap().message().unwrap();
        match message.nack() {
            Ok(nacked) => assert_eq!(nacked, Nacked::DeadLetter),
            Err(error) => {
                assert!(matches!(error, Error::File { .. }), "{error}");
                assert!(error.to_string().contains("workers.letters"), "{error}");
                // A little room again and again, and never enough.
                for more in 1..5 {
                    limit_files(limit + more).unwrap();
                    assert!(matches!(message.nack(), Err(Error::File { .. })));
                }
                // It is still to be dealt with: there is room again, and it is refused again.
                limit_files(libc::RLIM_INFINITY).unwrap();
                assert_eq!(message.nack().unwrap(), Nacked::DeadLetter);
                break;
            }
        }
        written += 1;
    }
    say(written);
}

#[test]
fn a_full_disk_leaves_the_message_to_be_refused_again_and_nothing_torn() {
    let _alive = watchdog();
    for limit in [0, 50, 600, 601, 700] {
        let name = Name::new("full-disk");
        let directory = Directory::new(&name);
        let queue = queue_with(&name, &directory);
        drop(queue.subscribe(&workers()).unwrap());
        let mut producer = queue.producer().unwrap();
        let text = |sequence: u64| vec![b'a'; 10 + 3 * usize::try_from(sequence).unwrap()];
        for sequence in 0..9 {
            producer.send(&text(sequence)).unwrap();
        }
        let mut peer = Peer::start("write-little", &[&name, &limit.to_string()]);
        let written: u64 = peer.hear().parse().unwrap();
        peer.finish();
        let handle = queue.dead_letters("workers").unwrap();
        let mut found = handle.iter();
        let letters: Vec<_> = found.by_ref().map(Result::unwrap).collect();
        assert_eq!(letters.len() as u64, written + 1, "limit {limit}");
        for (sequence, letter) in (0..).zip(&letters) {
            assert_eq!((letter.sequence, &letter.payload), (sequence, &text(sequence)));
        }
        assert_eq!(found.passed_over(), 0, "limit {limit}: what did not fit is there");
    }
}

/// Does something without root's power over files, if the test runs with that.
fn without_privilege<T>(act: impl FnOnce() -> T + Send) -> T
where
    T: Send,
{
    thread::scope(|scope| {
        let powerless = scope.spawn(|| {
            // SAFETY: calls without pointers; they are about this thread alone.
            if unsafe { libc::geteuid() } == 0 {
                // SAFETY: as above.
                unsafe { libc::setfsuid(65_534) };
            }
            act()
        });
        powerless.join().unwrap()
    })
}

fn next_of(consumer: &mut Consumer) -> ringway::Message<'_> {
    consumer.receive().unwrap().message().unwrap()
}

#[test]
fn a_directory_that_cannot_be_written_keeps_the_message_alive() {
    let _alive = watchdog();
    let name = Name::new("read-only");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    let letters_directory = directory.path().join("dead-letters");
    fs::DirBuilder::new().mode(0o555).create(&letters_directory).unwrap();
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(&payload(0)).unwrap();
    producer.send(&payload(1)).unwrap();
    let message = next_of(&mut consumer);
    // Whatever the umask is.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = without_privilege(|| message.nack());
    let Err(Error::File { source, path, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(path.ends_with("dead-letters/workers.letters"), "{}", path.display());
    assert_eq!(letters(&queue), (BTreeMap::new(), 0));
    // Somebody mends it.
    fs::set_permissions(&letters_directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(message.nack().unwrap(), Nacked::DeadLetter);
    assert_eq!(letters(&queue).0, BTreeMap::from([(0, 1)]));
    assert_eq!(next_of(&mut consumer).sequence(), 1);
}

#[test]
fn what_could_not_be_given_up_is_not_acknowledged_by_the_next_receive() {
    let _alive = watchdog();
    for (is_rejected, is_closed) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = Name::new("not-given-up");
        let directory = Directory::new(&name);
        let queue = queue_with(&name, &directory);
        let letters_directory = directory.file("dead-letters");
        fs::write(&letters_directory, "no directory").unwrap();
        let deliveries_max = if is_rejected { 9 } else { 1 };
        let options = workers().ack(AckMode::Auto).deliveries_max(deliveries_max);
        let mut consumer = queue.subscribe(&options).unwrap();
        let mut producer = queue.producer().unwrap();
        (0..2).for_each(|sequence| _ = producer.send(&payload(sequence)).unwrap());
        producer.close().unwrap();
        let message = next_of(&mut consumer);
        let is_refused =
            if is_rejected { message.reject().is_ok() } else { message.nack().is_ok() };
        assert!(!is_refused);
        if is_closed {
            consumer.close().unwrap();
            consumer = queue.subscribe(&options).unwrap();
        } else {
            assert_eq!(next_of(&mut consumer).sequence(), 1);
        }
        // Somebody mends it.
        fs::remove_file(&letters_directory).unwrap();
        while let Received::Message(message) = consumer.receive().unwrap() {
            if message.sequence() == 0 {
                assert_eq!((message.delivery(), message.reject().unwrap()), (2, Acked::Done));
            }
        }
        assert_eq!(letters(&queue).0, BTreeMap::from([(0, 1)]));
    }
}

/// The letter is the heir's to write, or of whoever comes after that.
#[test]
fn a_letter_that_an_heir_cannot_write_is_not_in_the_way_of_what_follows() {
    let _alive = watchdog();
    let name = Name::new("in-the-way");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    let letters_directory = directory.file("dead-letters");
    fs::write(&letters_directory, "no directory").unwrap();
    let options = workers().deliveries_max(1).prefetch(1);
    let mut producer = queue.producer().unwrap();
    (0..3).for_each(|sequence| _ = producer.send(&payload(sequence)).unwrap());
    let mut dead = queue.subscribe(&options).unwrap();
    assert_eq!(next_of(&mut dead).sequence(), 0);
    drop(dead);
    let mut heir = queue.subscribe(&options).unwrap();
    let error = heir.receive().map(Received::message).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert_eq!(next_of(&mut heir).ack().unwrap(), Acked::Done);
    drop(heir);
    let mut heir = queue.subscribe(&options).unwrap();
    let next = next_of(&mut heir);
    assert_eq!((next.sequence(), next.ack().unwrap()), (2, Acked::Done));
    // Somebody mends it.
    fs::remove_file(&letters_directory).unwrap();
    producer.close().unwrap();
    assert_eq!(heir.receive().unwrap(), Received::Closed);
    assert_eq!(letters(&queue).0, BTreeMap::from([(0, 1)]));
}

/// Without a journal a queue that is made anew begins with the first sequence again.
#[test]
fn a_letter_of_an_earlier_queue_is_not_taken_for_that_of_a_message_of_the_same_sequence() {
    let _alive = watchdog();
    let name = Name::new("earlier");
    let directory = Directory::new(&name);
    for count in 1..=2 {
        let queue = queue_with(&name, &directory);
        queue.producer().unwrap().send(&payload(0)).unwrap();
        let mut dead = queue.subscribe(&workers()).unwrap();
        assert_eq!(next_of(&mut dead).sequence(), 0);
        drop(dead);
        let mut heir = queue.subscribe(&workers()).unwrap();
        assert_eq!(heir.try_receive().unwrap(), Received::Empty);
        assert_eq!(letters(&queue).0, BTreeMap::from([(0, count)]));
        drop(heir);
        Queue::remove(&name).unwrap();
    }
}

#[test]
fn a_directory_that_went_missing_is_made_again() {
    let _alive = watchdog();
    let name = Name::new("missing");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in 0..2 {
        producer.send(&payload(sequence)).unwrap();
        fs::remove_dir_all(directory.path()).unwrap();
        assert_eq!(letters(&queue), (BTreeMap::new(), 0));
        assert_eq!(next_of(&mut consumer).nack().unwrap(), Nacked::DeadLetter);
        assert_eq!(letters(&queue).0, BTreeMap::from([(sequence, 1)]));
        let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "what was in messages is nobody else's business");
    }
}

#[test]
fn a_message_that_fails_again_after_its_letter_was_dropped_has_another_letter() {
    let _alive = watchdog();
    let name = Name::new("again");
    let directory = Directory::new(&name);
    let queue = queue_with(&name, &directory);
    let mut consumer = queue.subscribe(&workers()).unwrap();
    queue.producer().unwrap().send(&payload(0)).unwrap();
    assert_eq!(next_of(&mut consumer).nack().unwrap(), Nacked::DeadLetter);
    drop(consumer);
    let handle = queue.dead_letters("workers").unwrap();
    let id = handle.iter().next().unwrap().unwrap().id;
    assert_eq!(handle.drop(&[id]).unwrap(), [id]);
    queue.seek("workers", Start::Oldest).unwrap();
    // Whoever has it goes away with it.
    let mut consumer = queue.subscribe(&workers()).unwrap();
    next_of(&mut consumer);
    drop(consumer);
    let mut consumer = queue.subscribe(&workers()).unwrap();
    assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
    assert_eq!(letters(&queue).0, BTreeMap::from([(0, 1)]));
}

/// Whoever is too slow with them loses what it has.
fn lessees() -> Subscribe {
    let lessees = Subscribe::new().named("workers").from(Start::Oldest).ack(AckMode::Manual);
    lessees.ack_within(Duration::from_millis(2))
}

/// Gives its second message up, followed.
fn reject(arguments: &[&str]) {
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&lessees()).unwrap();
    assert_eq!(next_of(&mut consumer).ack().unwrap(), Acked::Done);
    assert_eq!(next_of(&mut consumer).sequence(), 1);
    followed(|| {
        say(consumer.reject(1).map_or_else(|error| error.to_string(), |done| format!("{done:?}")));
    });
}

/// At instructions in between, from when it has shown that it is at work until it writes the letter, and
/// each time for longer than its lease and a lap.
#[test]
fn who_is_stopped_while_it_gives_a_message_up_writes_no_letter_of_another() {
    const STEPS: u64 = 97;
    let _alive = watchdog();
    let mut outcomes = BTreeMap::new();
    for stop in 0..60 {
        let name = Name::new("stopped");
        let directory = Directory::new(&name);
        let options = QueueOptions::new().capacity(64 << 10).members(4);
        let queue = Queue::create(&name, &options.history(directory.path())).unwrap();
        let mut producer = queue.producer().unwrap();
        producer.send(b"acknowledged").unwrap();
        producer.send(&payload(1)).unwrap();
        let mut slow = Traced::start("reject", &[&name]);
        let progress = progress_of(&name, 0);
        let before = progress();
        while progress() == before {
            assert!(slow.step());
        }
        (0..stop * STEPS).for_each(|_| assert!(slow.step()));
        let mut heir = queue.subscribe(&lessees()).unwrap();
        let is_settled = || queue.info().unwrap().subscriptions[0].lag_messages == Some(0);
        while !is_settled() || producer.next_sequence() < 130 {
            if let Received::Message(message) = heir.try_receive().unwrap() {
                let _ = message.ack().unwrap();
            } else if is_settled() {
                producer.send(&[7; 1000]).unwrap();
            }
        }
        slow.go_on();
        let outcome = slow.hear();
        assert!(["Done", "Late"].contains(&&*outcome), "stop {stop}: {outcome}");
        let (times, _) = letters(&queue);
        assert!(times.keys().all(|&sequence| sequence == 1), "stop {stop}: {times:?}");
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    eprintln!("{outcomes:?}");
    assert!(outcomes["Late"] > 30, "{outcomes:?}");
}
