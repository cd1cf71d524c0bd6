//! What is damaged in a history, or missing from it, or was never a part of it.

mod support;

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ringway::{Archive, AtLimit, Error, Journal, Lag, Queue};
use ringway::{QueueOptions, Received, Start, Subscribe};
use support::history::{files, payload, receive_until, send_until, write_files};
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
        // Whoever asks for what is gone is told so, and nobody else.
        let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
        for start in [Start::Oldest, Start::Last(3), Start::Sequence(0)] {
            let mut consumer = queue.subscribe(&Subscribe::new().from(start)).unwrap();
            if start == Start::Sequence(0) {
                let received = consumer.try_receive().unwrap();
                assert_eq!(received, Received::Missed { from: 0, to: 2 });
            }
            assert_message(consumer.try_receive(), 2, b"old");
        }
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

#[test]
fn what_is_missing_between_files_is_told_exactly() {
    let _alive = watchdog();
    let name = Name::new("between");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    write_files(&name, &options, &[100, 200]);
    let time = SystemTime::now();
    write_files(&name, &options, &[300]);
    let queue = Queue::create(&name, &options).unwrap();
    fs::remove_file(&files(&directory, "log")[1]).unwrap();
    let verified = Archive::open(directory.path()).unwrap().verify().unwrap();
    assert!(!verified.is_whole() && verified.damage.is_none(), "{verified:?}");
    assert_eq!((verified.messages, verified.gaps), (200, vec![Range { start: 100, end: 200 }]));
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    receive_until(&mut consumer, 100);
    assert_eq!(consumer.try_receive().unwrap(), Received::Missed { from: 100, to: 200 });
    receive_until(&mut consumer, 300);
    // Also to who begins there, or behind it.
    let from = |start| queue.subscribe(&Subscribe::new().from(start)).unwrap();
    let mut consumer = from(Start::Sequence(150));
    assert_eq!(consumer.try_receive().unwrap(), Received::Missed { from: 150, to: 200 });
    receive_until(&mut consumer, 300);
    for start in [Start::Sequence(200), Start::Time(time)] {
        let mut consumer = from(start);
        assert_eq!(consumer.next_sequence(), 200);
        receive_until(&mut consumer, 300);
    }
}

/// A journal of so many messages, and its only file.
fn small_journal(purpose: &str, messages: u64) -> (Name, Directory, PathBuf) {
    let name = Name::new(purpose);
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in 0..messages {
        producer.message().key_hash(sequence).send(&[7; 5]).unwrap();
    }
    assert!(producer.flush_timeout(Duration::from_secs(60)).unwrap());
    drop(producer);
    Queue::remove(&name).unwrap();
    let file = files(&directory, "log").remove(0);
    (name, directory, file)
}

#[test]
fn who_finds_the_newest_file_gone_goes_on_in_the_ring_where_it_was() {
    // Of frames of 4096 bytes a lap has 15, and padding.
    const SIZE: usize = 4096 - 3 * 8;
    const FIRST_FILE: u64 = (16 << 20) / CAPACITY * 15;
    let _alive = watchdog();
    let name = Name::new("newest");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..FIRST_FILE + 4 {
        producer.send(&[7; SIZE]).unwrap();
    }
    producer.flush().unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    let mut next = || consumer.try_receive().unwrap().message().map(|message| message.sequence());
    (0..FIRST_FILE).for_each(|sequence| assert_eq!(next(), Some(sequence)));
    fs::remove_file(&files(&directory, "log")[1]).unwrap();
    (FIRST_FILE..FIRST_FILE + 4).for_each(|sequence| assert_eq!(next(), Some(sequence)));
}

#[test]
fn a_torn_end_is_cut_off_and_kept_wherever_it_is_torn() {
    const FRAME: u64 = 8 + 3 * 8 + 8;
    let _alive = watchdog();
    let (name, directory, file) = small_journal("torn", 10);
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole.len() as u64, 4096 + 10 * FRAME);
    for size in whole.len() as u64 - 3 * FRAME..=whole.len() as u64 {
        fs::write(&file, &whole[..usize::try_from(size).unwrap()]).unwrap();
        let messages = (size - 4096) / FRAME;
        let torn_size = (size - 4096) % FRAME;
        let archive = Archive::open(directory.path()).unwrap();
        let verified = archive.verify().unwrap();
        assert!(verified.is_whole(), "{verified:?}");
        assert_eq!((verified.messages, verified.torn_size), (messages, torn_size));
        assert_eq!(archive.messages(0).unwrap().map(Result::unwrap).count() as u64, messages);
        let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
        let cut = queue.log_cuts().first();
        assert_eq!(cut.map_or(0, |cut| cut.size), torn_size);
        if let Some(cut) = cut {
            assert_eq!((&cut.path, cut.offset), (&file, 4096 + messages * FRAME));
            assert_eq!(fs::read(&cut.kept_in).unwrap().len() as u64, torn_size);
        }
        assert_eq!(queue.producer().unwrap().next_sequence(), messages);
        Queue::remove(&name).unwrap();
    }
}

#[test]
fn a_repair_costs_what_lies_behind_the_damage_in_its_file_and_no_more() {
    let _alive = watchdog();
    let name = Name::new("repaired");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    write_files(&name, &options, &[100, 200, 300]);
    // One byte of a message in the middle of the first file, the header of the second one, and the end
    // of the third.
    let files = files(&directory, "log");
    let change = |path: &std::path::Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    change(&files[0], &|bytes| {
        let middle = 4096 + (bytes.len() - 4096) / 2;
        bytes[middle] ^= 1;
    });
    change(&files[1], &|bytes| bytes[16] ^= 1);
    change(&files[2], &|bytes| bytes.extend(b"half of it"));
    let archive = Archive::open(directory.path()).unwrap();
    let verified = archive.verify().unwrap();
    let [Range { start: whole, end: 200 }] = verified.gaps[..] else { panic!("{verified:?}") };
    assert!((1..100).contains(&whole), "{verified:?}");
    assert_eq!((verified.messages, verified.next_sequence), (whole + 100, 300));
    assert_eq!((verified.torn_size, verified.damage.is_some()), (10, true));
    assert!(archive.planned_cuts().unwrap().iter().map(|cut| &cut.path).eq(&files));
    assert_eq!(archive.repair().unwrap().cuts.len(), 3);
    let verified = archive.verify().unwrap();
    assert!(verified.damage.is_none() && verified.torn_size == 0, "{verified:?}");
    let gap = Range { start: whole, end: 200 };
    assert_eq!((verified.messages, verified.gaps), (whole + 100, vec![gap]));
    let queue = Queue::create(&name, &options).unwrap();
    assert_eq!(queue.producer().unwrap().next_sequence(), 300);
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    receive_until(&mut consumer, whole);
    assert_eq!(consumer.try_receive().unwrap(), Received::Missed { from: whole, to: 200 });
    receive_until(&mut consumer, 300);
}

#[test]
fn a_repair_that_leaves_no_message_leaves_where_the_sequence_goes_on() {
    let _alive = watchdog();
    let name = Name::new("goes-on");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    for _ in 0..2 {
        let queue = Queue::create(&name, &options).unwrap();
        let mut producer = queue.producer().unwrap();
        for _ in 0..3 {
            producer.send_durable(b"to be kept").unwrap();
        }
        drop(producer);
        Queue::remove(&name).unwrap();
    }
    let archive = Archive::open(directory.path()).unwrap();
    assert_eq!(archive.prune(0, None).unwrap().removed.len(), 1);
    let [file] = &archive.files().unwrap()[..] else { panic!("one file") };
    assert_eq!(file.first_sequence, 3);
    fs::OpenOptions::new().write(true).open(&file.path).unwrap().set_len(4106).unwrap();
    let cuts = archive.repair().unwrap().cuts;
    assert_eq!((cuts.len(), cuts[0].offset, cuts[0].size), (1, 4096, 10));
    assert_eq!(archive.messages(0).unwrap().count(), 0);
    assert!(archive.verify().unwrap().is_whole() && archive.repair().unwrap().cuts.is_empty());
    let queue = Queue::create(&name, &options).unwrap();
    assert_eq!(queue.producer().unwrap().send_durable(b"the next one").unwrap(), 3);
}

#[test]
fn where_the_files_begin_is_told_when_some_were_pruned_under_a_live_queue() {
    let _alive = watchdog();
    let name = Name::new("pruned-under");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    for _ in 0..2 {
        // Each begins a file.
        let _ = Queue::remove(&name);
        let queue = Queue::create(&name, &options).unwrap();
        queue.producer().unwrap().send_durable(b"to be kept").unwrap();
    }
    let queue = Queue::open(&name).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    let first = || archive.files().unwrap()[0].position;
    let told = || queue.info().unwrap().history_range.start;
    assert_eq!((first(), told()), (0, 0));
    assert_eq!(archive.prune(0, None).unwrap().removed.len(), 1);
    assert_eq!((first(), told()), (CAPACITY, CAPACITY));
    queue.producer().unwrap().send_durable(b"also").unwrap();
    assert_eq!((first(), told()), (CAPACITY, CAPACITY));
    assert!(archive.verify().unwrap().is_whole());
}

#[test]
fn a_file_from_a_backup_is_believed_up_to_where_the_next_one_begins() {
    let _alive = watchdog();
    let name = Name::new("backup");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    let send = |payload: &[u8], count: u64| {
        let queue = Queue::create(&name, &options).unwrap();
        let mut producer = queue.producer().unwrap();
        for _ in 0..count {
            producer.send(payload).unwrap();
        }
        producer.flush().unwrap();
        drop(producer);
        Queue::remove(&name).unwrap();
    };
    // More than three laps.
    send(&[7; 1000], 200);
    let first = files(&directory, "log").remove(0);
    let backup = fs::read(&first).unwrap();
    for (kept, count) in [(10, 20), (5, 100)] {
        // Power goes, with what was not synced, and messages are sent in the place of those.
        for other in &files(&directory, "log")[1..] {
            fs::remove_file(other).unwrap();
        }
        fs::OpenOptions::new()
            .write(true)
            .open(&first)
            .unwrap()
            .set_len(4096 + kept * 1024)
            .unwrap();
        send(&[8; 500], count);
        fs::write(&first, &backup).unwrap();
        let archive = Archive::open(directory.path()).unwrap();
        let mut messages = archive.messages(0).unwrap().map(Result::unwrap);
        for sequence in 0..kept + count {
            let message = messages.next().unwrap();
            let size = if sequence < kept { 1000 } else { 500 };
            assert_eq!((message.sequence, message.payload.len()), (sequence, size));
        }
        assert!(messages.next().is_none());
        let verified = archive.verify().unwrap();
        assert!(verified.is_whole() && verified.torn_size == 0, "{verified:?}");
        assert_eq!((verified.messages, verified.next_sequence), (kept + count, kept + count));
        assert!(archive.repair().unwrap().cuts.is_empty());
        let queue = Queue::create(&name, &options).unwrap();
        let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
        for sequence in 0..kept + count {
            let message = consumer.try_receive().unwrap().message().unwrap();
            assert_eq!(message.sequence(), sequence);
        }
        assert_eq!(queue.producer().unwrap().next_sequence(), kept + count);
        drop(consumer);
        Queue::remove(&name).unwrap();
    }
}

#[test]
fn a_file_longer_than_any_is_an_error_at_once() {
    let _alive = watchdog();
    let (name, directory, file) = small_journal("endless", 10);
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
    let error = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap_err();
    assert!(matches!(error, Error::LogDamaged { offset, .. } if offset == 4096 + (16 << 20)));
    let archive = Archive::open(directory.path()).unwrap();
    let verified = archive.verify().unwrap();
    assert!(verified.messages == 10 && verified.damage.is_some(), "{verified:?}");
}

/// In memory, where a file may be as long as can be said without taking any space.
#[test]
fn files_that_are_longer_together_than_can_be_said_are_counted_without_a_panic() {
    let _alive = watchdog();
    let name = Name::new("countless");
    let directory = Directory::in_memory(&name);
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    queue.producer().unwrap().send_durable(&[7; 500]).unwrap();
    let first = files(&directory, "log").remove(0);
    for base in [8, 16, 24] {
        let file = fs::File::create(first.with_file_name(format!("{base:020}.log"))).unwrap();
        file.set_len(u64::MAX / 2).unwrap();
    }
    let archive = Archive::open(directory.path()).unwrap();
    assert_eq!(archive.verify().unwrap().size, u64::MAX);
    drop(queue.journaler());
    let pruned = archive.force_prune(0, None).unwrap();
    assert!(pruned.removed.len() == 3 && pruned.removed_size == u64::MAX, "{pruned:?}");
}

#[test]
fn what_has_not_quite_the_name_of_a_file_is_none() {
    let _alive = watchdog();
    let (name, directory, file) = small_journal("names", 10);
    let others = ["0.log", "00.log", "+1.log", "000000000000000000000.log"];
    let others = others.map(|name| file.with_file_name(name));
    for other in &others {
        fs::copy(&file, other).unwrap();
    }
    assert_eq!(Archive::open(directory.path()).unwrap().files().unwrap().len(), 1);
    let options = journalled(&directory, Journal::Written);
    let options = options.history_max(1 << 20, AtLimit::DropOldest);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 3000);
    producer.flush().unwrap();
    // The first one has gone, and these are nobody's.
    assert!(!file.exists() && others.iter().all(|other| other.exists()));
}

#[test]
fn a_link_that_leads_nowhere_is_no_file() {
    let _alive = watchdog();
    let (_name, directory, file) = small_journal("nowhere", 10);
    let link = file.with_file_name("00000000000000065536.log");
    std::os::unix::fs::symlink("nowhere", link).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    assert_eq!(archive.messages(0).unwrap().map(Result::unwrap).count(), 10);
    assert!(archive.verify().unwrap().is_whole());
}

#[test]
fn a_link_that_cannot_be_followed_may_be_a_file() {
    let _alive = watchdog();
    let (_name, directory, file) = small_journal("no-way", 10);
    let link = file.with_file_name("00000000000000065536.log");
    // To itself: nobody is told that there is nothing.
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    assert!(matches!(archive.verify(), Err(Error::File { .. })));
    assert!(matches!(archive.messages(0), Err(Error::File { .. })));
}

#[test]
fn a_message_that_was_half_there_when_somebody_looked_is_no_damage() {
    let _alive = watchdog();
    let (_name, directory, file) = small_journal("growing", 10);
    let whole = fs::read(&file).unwrap();
    for size in 4096..whole.len() {
        fs::write(&file, &whole[..size]).unwrap();
        let messages = Archive::open(directory.path()).unwrap().messages(0).unwrap();
        // Meanwhile the append goes on.
        fs::write(&file, &whole).unwrap();
        let read: Vec<_> = messages.map(|message| message.unwrap().sequence).collect();
        assert!(read.iter().copied().eq(0..read.len() as u64), "{read:?}");
    }
}

/// Reads a journal to its end or to where it is damaged, and insists that all up to there is as it
/// was; how many messages that is.
fn read_whole(directory: &Directory, what: &str) -> u64 {
    let archive = Archive::open(directory.path()).unwrap();
    let Ok(messages) = archive.messages(0) else { return 0 };
    let mut next = 0;
    for message in messages {
        match message {
            Ok(message) => {
                assert_eq!((message.sequence, message.payload), (next, payload(next)), "{what}");
                next += 1;
            }
            Err(Error::LogDamaged { .. } | Error::ForeignHistory { .. }) => break,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    next
}

#[test]
fn what_is_no_part_of_a_journal_is_not_taken_for_it() {
    const MESSAGES: u64 = 60;
    let _alive = watchdog();
    let name = Name::new("sectors");
    let directory = Directory::new(&name);
    let options = journalled(&directory, Journal::Written);
    write_files(&name, &options, &[MESSAGES / 2, MESSAGES]);
    let [first, second] = &files(&directory, "log")[..] else { panic!("two files") };
    let [first_whole, second_whole] = [first, second].map(|file| fs::read(file).unwrap());
    assert_eq!(read_whole(&directory, "whole"), MESSAGES);

    // Sectors that were never written.
    for (file, whole) in [(first, &first_whole), (second, &second_whole)] {
        for sector_size in [512, 4096] {
            for begin in (0..whole.len()).step_by(sector_size) {
                let mut zeroed = whole.clone();
                let end = whole.len().min(begin + sector_size);
                zeroed[begin..end].fill(0);
                fs::write(file, &zeroed).unwrap();
                let what = format!("zeros from {begin} to {end} of {}", file.display());
                let read = read_whole(&directory, &what);
                assert!(zeroed == *whole || begin < 4096 || read < MESSAGES, "{what}: all is read");
            }
        }
        fs::write(file, whole).unwrap();
    }

    // What lay there before: frames of this journal, each with its checksum, of another place.
    let recycled = [&second_whole[..], &first_whole[4096..]].concat();
    let grown = [&second_whole[..], &[0xa5; 3000]].concat();
    for (contents, what) in [(recycled, "recycled"), (grown, "garbage")] {
        fs::write(second, contents).unwrap();
        assert_eq!(read_whole(&directory, what), MESSAGES, "{what}");
    }
    let swapped = [&second_whole[..4096], &first_whole[4096..]].concat();
    fs::write(second, swapped).unwrap();
    assert_eq!(read_whole(&directory, "another's frames"), MESSAGES / 2);
    // A whole file of another position, and of another journal.
    fs::write(second, &first_whole).unwrap();
    assert_eq!(read_whole(&directory, "another file"), MESSAGES / 2);
    let (_other, other_directory, other_file) = small_journal("other", 9);
    fs::write(second, fs::read(other_file).unwrap()).unwrap();
    assert_eq!(read_whole(&directory, "another journal"), MESSAGES / 2);
    drop(other_directory);
    fs::write(second, &second_whole).unwrap();
    assert_eq!(read_whole(&directory, "whole again"), MESSAGES);
}

/// Each word of it is the beginning of a message that is as long as all of the rest, or it would be
/// if its checksum were right: to try them all takes a day.
#[test]
fn an_end_that_looks_like_messages_throughout_is_not_pondered_for_long() {
    const WORDS: usize = 1 << 18;
    let _alive = watchdog();
    let (name, directory) = (Name::new("lookalike"), Directory::new(&Name::new("lookalike")));
    let options = journalled(&directory, Journal::Written).capacity(16 << 20);
    let queue = Queue::create(&name, &options).unwrap();
    queue.producer().unwrap().send_durable(&[7; 8]).unwrap();
    Queue::remove(&name).unwrap();
    let file = files(&directory, "log").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let whole = bytes.len();
    let first_word = u64::from_le_bytes(bytes[4096..4104].try_into().unwrap());
    // Its lowest bits are the payload's size, its highest the sequence's.
    let lookalike = |index: usize| (first_word & !0xff) | (4 * (WORDS - index)) as u64;
    bytes.extend((0..WORDS).flat_map(|index| lookalike(index).to_le_bytes()));
    fs::write(&file, &bytes).unwrap();
    let error = Queue::create(&name, &options).unwrap_err();
    assert!(matches!(error, Error::LogDamaged { offset, .. } if offset == whole as u64), "{error}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "nothing is cut off");
}

#[test]
fn no_bit_of_a_journal_can_flip_unnoticed() {
    let _alive = watchdog();
    let (name, directory, file) = small_journal("bits", 6);
    let whole = fs::read(&file).unwrap();
    let expected: Vec<_> = {
        let archive = Archive::open(directory.path()).unwrap();
        archive.messages(0).unwrap().map(Result::unwrap).collect()
    };
    // All that means something, and some of the zeros behind the header.
    let bits = (0..8 * 160).chain((8 * 160..8 * 4096).step_by(97)).chain(8 * 4096..8 * whole.len());
    for bit in bits {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let archive = Archive::open(directory.path()).unwrap();
        let Ok(messages) = archive.messages(0) else { continue };
        // As many as are whole from the beginning on, and then the end or an error.
        let (mut read, mut error) = (Vec::new(), None);
        for message in messages {
            match message {
                Ok(message) => read.push(message),
                Err(found) => error = Some(found),
            }
        }
        assert_eq!(read, expected[..read.len()], "bit {bit}");
        let damaged = matches!(error, None | Some(Error::LogDamaged { .. }));
        assert!(damaged || matches!(error, Some(Error::ForeignHistory { .. })), "{error:?}");
        // The last message's looks torn; of any other the damage is told. What pads a payload
        // means nothing, and a damaged mark only that it is not known what was synced.
        let frame = (bit / 8).checked_sub(4096).map(|at| at / 40);
        let is_padding = (bit / 8).checked_sub(4096).is_some_and(|at| at % 40 >= 37)
            || (4080..4096).contains(&(bit / 8));
        assert_eq!(error.is_none(), is_padding || frame == Some(5), "bit {bit}: {error:?}");
        assert_eq!(read.len() == 6, is_padding, "bit {bit}");
    }
    // A queue is not made over damage; it is after a repair.
    let mut damaged = whole.clone();
    damaged[4096 + 2 * 40 + 33] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let error = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap_err();
    let Error::LogDamaged { path, offset, .. } = &error else { panic!("{error:?}") };
    assert_eq!((path, *offset), (&file, 4096 + 2 * 40));
    let archive = Archive::open(directory.path()).unwrap();
    assert!(archive.planned_cuts().unwrap().iter().map(|cut| &cut.path).eq([&file]));
    assert_eq!(archive.repair().unwrap().cuts.len(), 1);
    assert!(archive.verify().unwrap().is_whole());
    let queue = Queue::create(&name, &journalled(&directory, Journal::Written)).unwrap();
    assert_eq!(queue.producer().unwrap().next_sequence(), 2);
}
