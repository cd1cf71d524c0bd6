//! What is damaged in a history, or missing from it, or was never a part of it.

mod support;

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use ringway::{Archive, Error, Journal, Lag, Queue, QueueOptions, Received, Start, Subscribe};
use support::history::files;
use support::{Directory, Name, assert_message, watchdog};

const CAPACITY: u64 = 64 << 10;

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(8).history(directory.path())
}

fn journalled(directory: &Directory, journal: Journal) -> QueueOptions {
    options(directory).journal(journal)
}

#[test]
fn who_begins_behind_what_is_damaged_is_not_told_of_it() {
    const COUNT: u8 = 200;
    let _alive = watchdog();
    let name = Name::new("begins-behind");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    let payload = |sequence: u8| [sequence; 1000];
    for sequence in 0..COUNT {
        producer.send(&payload(sequence)).unwrap();
    }
    producer.flush().unwrap();
    let file = &files(&directory, "log")[0];
    let mut bytes = fs::read(file).unwrap();
    for damaged in [19, 20] {
        let at = bytes.windows(1000).position(|bytes| bytes == payload(damaged)).unwrap();
        bytes[at] ^= 1;
    }
    fs::write(file, bytes).unwrap();

    for start in [Start::Sequence(21), Start::Last(u64::from(COUNT) - 21)] {
        let mut consumer = queue.subscribe(&Subscribe::new().from(start)).unwrap();
        for sequence in 21..COUNT {
            assert_message(consumer.try_receive(), sequence.into(), &payload(sequence));
        }
    }
    // Whoever comes there is, and has had all that lies before.
    let error = queue.subscribe(&Subscribe::new().from(Start::Sequence(20))).unwrap_err();
    assert!(matches!(error, Error::LogDamaged { .. }), "{error}");
    let oldest = Subscribe::new().from(Start::Oldest);
    for options in [oldest.clone(), oldest.named("workers")] {
        let mut consumer = queue.subscribe(&options).unwrap();
        for sequence in 0..19 {
            assert_message(consumer.try_receive(), sequence.into(), &payload(sequence));
        }
        let error = consumer.try_receive().map(Received::message).unwrap_err();
        assert!(matches!(error, Error::LogDamaged { .. }), "{error}");
    }
    queue.seek("workers", Start::Sequence(21)).unwrap();
    let mut worker = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    for sequence in 21..COUNT {
        assert_message(worker.try_receive(), sequence.into(), &payload(sequence));
    }
}

/// A disk may not be mounted, or somebody has renamed a directory.
#[test]
fn who_begins_in_files_that_are_not_there_is_told_so_and_has_missed_nothing() {
    let _alive = watchdog();
    let name = Name::new("not-there");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..200 {
        producer.send(&[7; 1000]).unwrap();
    }
    producer.flush().unwrap();
    let (log, elsewhere) = (directory.file("log"), directory.file("elsewhere"));
    fs::rename(&log, &elsewhere).unwrap();
    let starts =
        [Start::Oldest, Start::Sequence(5), Start::Last(190), Start::Time(SystemTime::UNIX_EPOCH)];
    for start in starts {
        let error = queue.subscribe(&Subscribe::new().from(start)).unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if *path == log), "{start:?}: {error}");
    }
    fs::rename(&elsewhere, &log).unwrap();
    for (start, first) in starts.into_iter().zip([0, 5, 10, 0]) {
        let mut consumer = queue.subscribe(&Subscribe::new().from(start)).unwrap();
        assert_message(consumer.try_receive(), first, &[7; 1000]);
    }
}

/// When power goes, what was not synced may have lost any sector. A mark that was written just then says
/// nothing of what was.
#[test]
fn a_sector_of_zeros_is_damage_before_the_mark_and_torn_if_there_is_none() {
    let _alive = watchdog();
    for has_mark in [true, false] {
        let name = Name::new("mark");
        let directory = Directory::new(&name);
        let options = journalled(&directory, Journal::SyncedAlways);
        let queue = Queue::create(&name, &options).unwrap();
        let mut producer = queue.producer().unwrap();
        for _ in 0..3 {
            producer.send_durable(&[7; 2000]).unwrap();
        }
        Queue::force_remove(&name).unwrap();
        let file = &files(&directory, "log")[0];
        let mut bytes = fs::read(file).unwrap();
        // The first message, and behind it others that are whole.
        bytes[4608..5120].fill(0);
        if !has_mark {
            bytes[4080..4096].fill(0xff);
        }
        fs::write(file, bytes).unwrap();
        match Queue::create(&name, &options) {
            Err(Error::LogDamaged { offset: 4096, .. }) if has_mark => {}
            Ok(queue) if !has_mark => assert_eq!(queue.log_cuts()[0].offset, 4096),
            made => panic!("{has_mark}: {made:?}"),
        }
    }
}

#[test]
fn who_comes_to_a_file_that_is_not_there_waits_until_it_is_brought_back() {
    const COUNT: u64 = (40 << 20) / 8000;
    let _alive = watchdog();
    let name = Name::new("brought-back");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..COUNT {
        producer.send(&[7; 8000]).unwrap();
    }
    producer.flush().unwrap();
    let [_, middle, _] = &files(&directory, "log")[..] else { panic!("three files") };
    let elsewhere = directory.file("elsewhere");
    fs::rename(middle, &elsewhere).unwrap();
    let oldest = Subscribe::new().from(Start::Oldest);
    for options in [oldest.clone(), oldest.named("workers")] {
        let mut consumer = queue.subscribe(&options).unwrap();
        let mut next = 0;
        let error = loop {
            match consumer.try_receive() {
                Ok(received) => assert_message(Ok(received), next, &[7; 8000]),
                Err(error) => break error,
            }
            next += 1;
        };
        assert!(matches!(error, Error::File { .. }), "{next}: {error}");
        fs::rename(&elsewhere, middle).unwrap();
        for sequence in next..COUNT {
            assert_message(consumer.try_receive(), sequence, &[7; 8000]);
        }
        fs::rename(middle, &elsewhere).unwrap();
    }
}

#[test]
fn pruning_goes_by_size_and_by_age_whichever_is_too_much() {
    let _alive = watchdog();
    let hour = Duration::from_secs(3_600);
    for (size_max, age_max) in [(0, Some(hour)), (0, None), (1 << 30, Some(Duration::ZERO))] {
        let name = Name::new("too-much");
        let directory = Directory::new(&name);
        for _ in 0..3 {
            // Each begins a file.
            let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
            queue.producer().unwrap().send_durable(b"old").unwrap();
            Queue::remove(&name).unwrap();
        }
        let archive = Archive::open(directory.path()).unwrap();
        assert!(archive.prune(1 << 30, Some(hour)).unwrap().removed.is_empty());
        assert_eq!(archive.prune(size_max, age_max).unwrap().removed.len(), 2);
    }
}

/// Somebody died making a file, which says nothing yet.
#[test]
fn the_last_file_that_has_a_message_is_not_pruned_for_one_that_was_just_begun() {
    let _alive = watchdog();
    let name = Name::new("just-begun");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    let send = || Queue::create(&name, &options).unwrap().producer().unwrap().send_durable(b"one");
    assert_eq!(send().unwrap(), 0);
    Queue::remove(&name).unwrap();
    fs::write(directory.file(format!("log/{:020}.log", 16 << 20)), "").unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    for pruned in [archive.prune(0, None), archive.force_prune(0, None)] {
        assert!(pruned.unwrap().removed.is_empty());
    }
    assert_eq!(send().unwrap(), 1);
}

/// Somebody has put it there, from a backup say.
#[test]
fn a_checkpoint_of_another_history_is_not_taken_for_one_of_this() {
    let _alive = watchdog();
    let names = ["of-this", "of-another"].map(Name::new);
    let directories = names.each_ref().map(Directory::new);
    let options = directories.each_ref().map(|directory| journalled(directory, Journal::Written));
    for (name, options) in names.iter().zip(&options) {
        let queue = Queue::create(name, options).unwrap();
        queue.declare(&Subscribe::new().named("workers")).unwrap();
        Queue::remove(name).unwrap();
    }
    let [this, another] =
        directories.each_ref().map(|it| it.file("subscriptions/workers.checkpoint"));
    fs::copy(&another, &this).unwrap();
    let error = Queue::create(&names[0], &options[0]).unwrap_err();
    assert!(matches!(&error, Error::LogDamaged { path, .. } if *path == this), "{error}");
}

#[test]
fn what_is_cut_off_at_one_place_twice_is_kept_both_times() {
    let _alive = watchdog();
    let name = Name::new("cut-twice");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    Queue::create(&name, &options).unwrap().producer().unwrap().send_durable(b"whole").unwrap();
    let file = files(&directory, "log").remove(0);
    for (times, torn) in [(1, "half of it"), (2, "less")] {
        Queue::remove(&name).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&file).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        let queue = Queue::create(&name, &options).unwrap();
        let [cut] = queue.log_cuts() else { panic!("one cut, the {times}. time") };
        assert_eq!(fs::read_to_string(&cut.kept_in).unwrap(), torn);
    }
    let kept = files(&directory, "log").into_iter().filter(|path| *path != file);
    let mut kept: Vec<_> = kept.map(|path| fs::read_to_string(path).unwrap()).collect();
    kept.sort();
    assert_eq!(kept, ["half of it", "less"]);
}

#[test]
fn what_an_earlier_queue_has_left_in_files_is_not_taken_for_what_a_later_one_has_there() {
    let _alive = watchdog();
    let name = Name::new("left-over");
    let directory = Directory::new(&name);
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    // One file and another one, and then less than one.
    for (round, count, files_left) in [(1, 20_000, 2), (2, 500, 1)] {
        let payload = [round; 1000];
        let queue = Queue::create(&name, &options(&directory)).unwrap();
        let mut slow = queue.subscribe(&spilling).unwrap();
        let mut producer = queue.producer().unwrap();
        for sequence in 0..count {
            assert_eq!(producer.send(&payload).unwrap(), sequence);
        }
        assert_eq!(files(&directory, "spill").len(), files_left);
        for sequence in 0..count / 2 {
            assert_message(slow.try_receive(), sequence, &payload);
        }
        Queue::force_remove(&name).unwrap();
    }
}
