//! What is damaged in a history, or missing from it, or was never a part of it.

mod support;

use std::fs;
use std::io::Write;
use std::time::SystemTime;

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
