//! What lies in a history directory that somebody else has put there, or has changed.

mod support;

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway::{
    AckMode, Archive, DeadLetters, Error, Journal, Lag, Nacked, Queue, QueueOptions, Start,
    Subscribe,
};
use support::history::files;
use support::program::{code, print, run, said};
use support::{Directory, Name, Peer, assert_message, limit_files, play, say, watchdog};

#[test]
fn peer() {
    play(&[("create without memory", create_without_memory)]);
}

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(64 << 10).members(8).history(directory.path())
}

fn journalled(directory: &Directory) -> QueueOptions {
    options(directory).journal(Journal::Written)
}

/// Gives the first message of a queue up, into a directory.
fn give_up(queue: &Queue, directory: &Directory) {
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    let workers = workers.ack(AckMode::Manual).deliveries_max(1);
    let mut worker = queue.subscribe(&workers.dead_letters(directory.path())).unwrap();
    queue.producer().unwrap().send(b"poison").unwrap();
    let nacked = worker.receive().unwrap().message().unwrap().nack().unwrap();
    assert_eq!(nacked, Nacked::DeadLetter);
}

#[test]
fn a_history_is_removed_without_what_is_not_its_own() {
    const BASE: &str = "00000000000000000000";
    let _alive = watchdog();
    let name = Name::new("not-its-own");
    let (directory, elsewhere) = (Directory::new(&name), Directory::in_memory(&name));
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    give_up(&queue, &directory);
    queue.producer().unwrap().send_durable(b"to be kept").unwrap();
    Queue::remove(&name).unwrap();
    let random = "0123456789abcdef".repeat(2);
    let of = |text: &str| directory.file(text);
    let ours = [
        format!("log/{BASE}-4096.broken"),
        format!("log/{BASE}-4096-2.broken"),
        format!("dead-letters/a.b.{random}.new"),
        "subscriptions/workers.broken".to_owned(),
        format!("subscriptions/workers.{random}.new"),
        format!("subscriptions/{}.2.broken", "n".repeat(64)),
    ];
    let others = [
        "log/notes.log",
        "log/1.log",
        "log/00000000000000000000.log.broken",
        "log/00000000000000000000-.broken",
        "log/mine.broken",
        "dead-letters/my letters.letters",
        "dead-letters/workers.new",
        "subscriptions/.hidden.checkpoint",
        "subscriptions/a checkpoint.broken",
    ];
    fs::create_dir_all(of("subscriptions")).unwrap();
    for path in ours.iter().map(String::as_str).chain(others) {
        fs::write(of(path), "bytes").unwrap();
    }
    // A directory in the place of one of ours may be anywhere.
    let theirs = elsewhere.file(format!("{BASE}.log"));
    fs::write(&theirs, "bytes").unwrap();
    symlink(elsewhere.path(), of("spill")).unwrap();
    let removed = Archive::open(directory.path()).unwrap().remove().unwrap();
    assert!(theirs.exists() && of("spill").is_symlink());
    for path in ours.iter().map(|path| of(path)) {
        assert!(removed.contains(&path) && !path.exists(), "{} is left", path.display());
    }
    assert!(files(&directory, "log").iter().all(|path| !removed.contains(path)));
    assert!(
        !of(&format!("log/{BASE}.log")).exists() && !of("dead-letters/workers.letters").exists()
    );
    for path in others.map(of) {
        assert!(path.exists(), "{} is gone", path.display());
    }
    assert!(!of("identity").exists() && !of("instance").exists());
}

#[test]
fn what_goes_with_its_history_need_not_be_saved_there() {
    let _alive = watchdog();
    let name = Name::new("not-saved");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    queue.producer().unwrap().send(b"of no use").unwrap();
    fs::write(directory.file("log"), "in the way").unwrap();
    let refused = run(&["rm", &name]);
    assert_eq!(code(&refused), 1, "{}", said(&refused));
    assert!(!queue.is_removed());
    print(&["rm", "--history", "--yes", &name]);
    assert!(queue.is_removed());
}

#[test]
fn dead_letters_of_another_queue_stay_where_a_history_is_removed() {
    let _alive = watchdog();
    for program in [false, true] {
        let (name, other) = (Name::new("letters-of"), Name::new("letters-of-another"));
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &options(&directory)).unwrap();
        let theirs = Queue::create(&other, &QueueOptions::new()).unwrap();
        give_up(&queue, &directory);
        give_up(&theirs, &directory);
        let letters = directory.file("dead-letters/workers.letters");
        if program {
            let output = run(&["rm", "--history", "--yes", &name]);
            assert!(output.status.success(), "{output:?}");
            let left = format!("left {}, which is not of this queue alone", letters.display());
            assert!(said(&output).contains(&left), "{}", said(&output));
        } else {
            Queue::remove(&name).unwrap();
            let removed = Archive::open(directory.path()).unwrap().remove().unwrap();
            assert!(!removed.contains(&letters));
        }
        let all = DeadLetters::open(directory.path(), &other, "workers").unwrap();
        let letters_of = all.iter().map(Result::unwrap).filter(|letter| letter.queue == *other);
        let ids: Vec<_> = letters_of.map(|letter| letter.id).collect();
        assert_eq!(ids.len(), 1);
        // What was dropped is nobody's any more.
        assert_eq!(all.drop(&ids).unwrap(), ids);
        Queue::create(&name, &options(&directory)).unwrap();
        print(&["rm", "--history", "--yes", &name]);
        assert!(!letters.exists());
    }
}

#[test]
fn what_stands_for_a_historys_own_files_and_is_none_is_told_and_not_waited_for() {
    let _alive = watchdog();
    let name = Name::new("no-files");
    let directory = Directory::new(&name);
    let make_pipe = |path: &Path| {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path outlives the call.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    };
    let make_endless = |path: &Path| symlink("/dev/zero", path).unwrap();
    let makers: [&dyn Fn(&Path); 2] = [&make_pipe, &make_endless];
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let archive = Archive::open(directory.path()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"to be kept").unwrap();
    for file in ["identity", "instance"] {
        let path = directory.file(file);
        let before = fs::read(&path).unwrap();
        for make in makers {
            fs::remove_file(&path).unwrap();
            make(&path);
            let opened = Archive::open(directory.path()).map(drop);
            let told = match file {
                "identity" => opened,
                _ => opened.and_then(|()| archive.check_of(queue.instance_id())),
            };
            for told in [told, producer.flush()] {
                let Err(Error::File { path: theirs, .. }) = told else { panic!("{told:?}") };
                assert_eq!(theirs, path);
            }
            fs::remove_file(&path).unwrap();
            fs::write(&path, &before).unwrap();
        }
    }
    producer.flush().unwrap();
}

/// Leaves a journal of one message, and something torn behind it.
fn torn_journal(name: &Name, directory: &Directory) -> PathBuf {
    let queue = Queue::create(name, &journalled(directory)).unwrap();
    queue.producer().unwrap().send_durable(b"to be kept").unwrap();
    queue.declare(&Subscribe::new().named("workers")).unwrap();
    Queue::remove(name).unwrap();
    let file = files(directory, "log").remove(0);
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"half of it").unwrap();
    file
}

/// Makes a queue for which there is no memory at first.
fn create_without_memory(arguments: &[&str]) {
    let [name, directory] = arguments else { panic!("{arguments:?}") };
    let options = QueueOptions::new().capacity(64 << 10).members(8);
    let options = options.history(directory).journal(Journal::Written);
    limit_files(10_000).unwrap();
    assert!(matches!(Queue::create(name, &options), Err(Error::Os { .. })));
    limit_files(libc::RLIM_INFINITY).unwrap();
    say(Queue::create(name, &options).unwrap().log_cuts()[0].size);
}

#[test]
fn what_is_torn_is_cut_off_only_for_a_queue_that_is_told() {
    let _alive = watchdog();
    let name = Name::new("told");
    let directory = Directory::new(&name);
    let file = torn_journal(&name, &directory);
    let torn = fs::read(&file).unwrap();
    // Of one subscription it cannot be read how far it is, and then there are too many.
    fs::write(directory.file("subscriptions/others.checkpoint"), [7; 8192]).unwrap();
    let refused = Queue::create(&name, &journalled(&directory));
    assert!(matches!(refused, Err(Error::LogDamaged { .. })), "{refused:?}");
    fs::remove_file(directory.file("subscriptions/others.checkpoint")).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    assert_eq!(queue.log_cuts().len(), 1);
    let others = Subscribe::new().named("others");
    queue.declare(&others).unwrap();
    Queue::remove(&name).unwrap();
    fs::write(&file, &torn).unwrap();
    let refused = Queue::create(&name, &journalled(&directory).subscriptions(1));
    assert!(matches!(refused, Err(Error::InvalidOption { .. })), "{refused:?}");
    assert_eq!(fs::read(&file).unwrap(), torn);
    let mut peer = Peer::start("create without memory", &[&name, directory.text()]);
    assert_eq!(peer.hear(), "10");
    peer.finish();
    assert_eq!(fs::read(&file).unwrap(), torn[..torn.len() - 10]);
}

#[test]
fn each_of_several_cuts_is_told() {
    let _alive = watchdog();
    let name = Name::new("several-cuts");
    let directory = Directory::new(&name);
    let file = torn_journal(&name, &directory);
    // What was just being made when the machine stopped.
    let begun = directory.file("log/00000000000016777216.log");
    fs::write(&begun, b"header").unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let cuts = queue.log_cuts();
    let told: Vec<_> = cuts.iter().map(|cut| (&cut.path, cut.size)).collect();
    assert_eq!(told, [(&file, 10), (&begun, 6)]);
    let kept: Vec<_> = cuts.iter().map(|cut| fs::read(&cut.kept_in).unwrap()).collect();
    assert_eq!(kept, [&b"half of it"[..], b"header"]);
    assert_eq!(queue.producer().unwrap().next_sequence(), 1);
    Queue::remove(&name).unwrap();
    // One that nothing is before, too.
    fs::remove_file(&file).unwrap();
    fs::write(&begun, b"header").unwrap();
    let queue = Queue::create(&name, &journalled(&directory).first_sequence(7)).unwrap();
    assert_eq!(queue.log_cuts().len(), 1);
    assert_eq!(queue.producer().unwrap().next_sequence(), 7);
}

/// How many messages a full file of the journal has, of frames of 8192 bytes: of these a lap has 7, and
/// padding.
const IN_FULL_FILE: u64 = (16 << 20) / (64 << 10) * 7;

/// Leaves a journal whose one file is full, and returns that.
fn full_journal(name: &Name, directory: &Directory) -> PathBuf {
    let queue = Queue::create(name, &journalled(directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..=IN_FULL_FILE {
        producer.send(&[7; 8192 - 3 * 8]).unwrap();
    }
    producer.flush().unwrap();
    drop(producer);
    Queue::remove(name).unwrap();
    let files = files(directory, "log");
    assert_eq!(files.len(), 2);
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(fs::metadata(&files[0]).unwrap().len(), 4096 + (16 << 20));
    files[0].clone()
}

#[test]
fn what_a_full_file_has_beyond_its_end_is_shown_and_put_aside() {
    let _alive = watchdog();
    let name = Name::new("surplus");
    let directory = Directory::in_memory(&name);
    let file = full_journal(&name, &directory);
    let end = 4096 + (16 << 20);
    assert!(Archive::open(directory.path()).unwrap().verify().unwrap().is_whole());
    for (surplus, begun) in [(&b"surplus"[..], false), (&[0; 10_000], true)] {
        OpenOptions::new().append(true).open(&file).unwrap().write_all(surplus).unwrap();
        if begun {
            fs::write(directory.file("log/00000000000016777216.log"), b"header").unwrap();
        }
        let refused = Queue::create(&name, &journalled(&directory));
        let Err(Error::LogDamaged { path, offset, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((&path, offset), (&file, end));
        let archive = Archive::open(directory.path()).unwrap();
        let verified = archive.verify().unwrap();
        assert_eq!((verified.is_whole(), verified.messages), (false, IN_FULL_FILE));
        let damage = verified.damage.unwrap().to_string();
        assert!(damage.contains("byte 16781312"), "{damage}");
        assert!(archive.planned_cuts().unwrap().iter().any(|cut| cut.path == file));
        let cuts = archive.repair().unwrap().cuts;
        let cut = cuts.iter().find(|cut| cut.path == file).unwrap();
        assert_eq!((cut.offset, cut.size), (end, surplus.len() as u64));
        assert_eq!(fs::read(&cut.kept_in).unwrap(), surplus);
        assert!(archive.verify().unwrap().is_whole());
        assert_eq!(archive.messages(0).unwrap().count() as u64, IN_FULL_FILE);
    }
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    assert_eq!(queue.producer().unwrap().next_sequence(), IN_FULL_FILE);
}

#[test]
fn where_a_full_file_ends_a_queue_of_whatever_capacity_goes_on() {
    let _alive = watchdog();
    let name = Name::new("full-and-larger");
    let directory = Directory::in_memory(&name);
    full_journal(&name, &directory);
    // Its first lap begins behind the limit of that file.
    let queue = Queue::create(&name, &journalled(&directory).capacity(32 << 20)).unwrap();
    let oldest = Subscribe::new().from(Start::Oldest);
    let ways = [oldest.clone(), oldest.clone().on_lag(Lag::Spill), oldest.named("workers")];
    let mut consumers = ways.map(|way| queue.subscribe(&way).unwrap());
    for consumer in &mut consumers {
        let mut received = 0;
        while consumer.try_receive().unwrap().message().is_some() {
            received += 1;
        }
        assert_eq!(received, IN_FULL_FILE);
    }
    queue.producer().unwrap().send(b"next").unwrap();
    for mut consumer in consumers {
        assert_message(consumer.try_receive(), IN_FULL_FILE, b"next");
    }
}

#[test]
fn a_damaged_old_file_is_in_the_way_of_nobody_who_begins_behind_it() {
    let _alive = watchdog();
    let (name, into) = (Name::new("old-file"), Name::new("old-file-into"));
    let directory = Directory::new(&name);
    for payload in ["first", "second", "third"] {
        let queue = Queue::create(&name, &journalled(&directory)).unwrap();
        queue.producer().unwrap().send_durable(payload.as_bytes()).unwrap();
        Queue::remove(&name).unwrap();
    }
    let archive = Archive::open(directory.path()).unwrap();
    let third = archive.messages(2).unwrap().next().unwrap().unwrap();
    let time = humantime::format_rfc3339_nanos(third.time).to_string();
    fs::write(files(&directory, "log").remove(0), [7; 5000]).unwrap();
    assert!(matches!(archive.files(), Err(Error::LogDamaged { .. })));
    assert_eq!(archive.next_sequence().unwrap(), 3);
    assert_eq!(archive.messages_since(third.time).unwrap().next().unwrap().unwrap(), third);
    let dump = ["log", "dump", directory.text(), "--from"];
    for (from, expected) in [("-1", "third\n"), ("-2", "second\nthird\n"), (&time, "third\n")] {
        assert_eq!(print(&[&dump[..], &[from]].concat()), expected.as_bytes(), "{from}");
    }
    let queue = Queue::create(&into, &QueueOptions::new()).unwrap();
    for (from, next) in [("-2", 2), (&time, 3)] {
        print(&["replay", directory.text(), "--into", &into, "--from", from]);
        assert_eq!(queue.info().unwrap().next_sequence, next);
    }
    // Who needs it is told.
    let refused = run(&[&dump[..], &["-3"]].concat());
    assert!(said(&refused).contains("00000000000000000000.log"), "{}", said(&refused));
}

/// A journal of three files, whose queue has a subscription at its beginning.
fn journal_of_three(name: &Name, directory: &Directory) -> Queue {
    let queue = Queue::create(name, &journalled(directory)).unwrap();
    queue.declare(&Subscribe::new().named("workers").from(Start::Oldest)).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..=2 * IN_FULL_FILE {
        producer.send(&[7; 8192 - 3 * 8]).unwrap();
    }
    producer.flush().unwrap();
    drop(producer);
    assert_eq!(files(directory, "log").len(), 3);
    queue
}

/// Takes away what is at a path, and brings it back.
fn without(path: &Path, act: impl FnOnce()) {
    let aside = path.with_extension("away");
    fs::rename(path, &aside).unwrap();
    act();
    fs::rename(&aside, path).unwrap();
}

#[test]
fn what_a_queue_has_in_files_and_is_not_there_is_passed_over_by_nobody() {
    let _alive = watchdog();
    let name = Name::new("absent");
    let directory = Directory::in_memory(&name);
    let queue = journal_of_three(&name, &directory);
    let all = 2 * IN_FULL_FILE + 1;
    let log = files(&directory, "log");
    let (whole, of_log) = (directory.path().to_path_buf(), directory.file("log"));
    let workers = Subscribe::new().named("workers");
    let place = || queue.info().unwrap().subscription("workers").unwrap().head_sequence;
    for path in [&whole, &of_log, &log[0]] {
        without(path, || {
            let is_told = |error: Error| matches!(error, Error::File { .. });
            for start in [Start::Oldest, Start::Sequence(1), Start::Time(std::time::UNIX_EPOCH)] {
                assert!(queue.observe(start).is_err_and(is_told), "{}", path.display());
            }
            let member = queue.subscribe(&workers);
            assert!(
                member.and_then(|mut member| member.try_receive().map(drop)).is_err_and(is_told)
            );
            assert_eq!(place(), 0);
            let output = run(&["sub", &name, "--from", "oldest", "-e"]);
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            assert!(output.stdout.is_empty() && said(&output).contains("bring them back"));
        });
    }
    // Also those behind which others are.
    let mut observer = queue.observe(Start::Oldest).unwrap();
    without(&log[1], || {
        for sequence in 0..IN_FULL_FILE {
            assert_eq!(observer.receive().unwrap().message().unwrap().sequence(), sequence);
        }
        assert!(matches!(observer.receive(), Err(Error::File { .. })));
    });
    for sequence in IN_FULL_FILE..all {
        assert_eq!(observer.receive().unwrap().message().unwrap().sequence(), sequence);
    }
    let verify = ["log", "verify", directory.text()];
    for path in [&of_log, &log[0], &log[1], &log[2]] {
        without(path, || assert_eq!(run(&verify).status.code(), Some(4), "{}", path.display()));
    }
    print(&verify);
    let mut member = queue.subscribe(&workers).unwrap();
    for sequence in 0..all {
        assert_eq!(member.receive().unwrap().message().unwrap().sequence(), sequence);
    }
}

#[test]
fn no_subscription_is_removed_while_its_history_is_not_there() {
    let _alive = watchdog();
    let name = Name::new("not-removed");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    let expiring = Subscribe::new().named("expiring").expires_after(Duration::from_nanos(1));
    queue.declare(&Subscribe::new().named("workers")).unwrap();
    queue.declare(&expiring).unwrap();
    let names = |queue: &Queue| {
        let subscriptions = queue.info().unwrap().subscriptions.into_iter();
        subscriptions.map(|one| one.name).collect::<Vec<_>>()
    };
    let is_refused = |removed| matches!(removed, Err(Error::File { .. }));
    let refuse = || {
        assert!(is_refused(queue.unsubscribe("workers")));
        assert!(is_refused(queue.remove_expired().map(drop)));
    };
    without(directory.path(), refuse);
    without(directory.path(), || {
        // As where something is to be mounted.
        fs::create_dir(directory.path()).unwrap();
        refuse();
        fs::remove_dir(directory.path()).unwrap();
    });
    assert_eq!(names(&queue), ["expiring", "workers"]);
    // What is gone from it is gone.
    fs::remove_file(directory.file("subscriptions/workers.checkpoint")).unwrap();
    queue.unsubscribe("workers").unwrap();
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    assert_eq!(names(&queue), ["expiring"]);
}

#[test]
fn what_was_pruned_is_missed_also_by_a_queue_that_could_not_be_told() {
    let _alive = watchdog();
    let name = Name::new("pruned-elsewhere");
    let directory = Directory::in_memory(&name);
    let queue = journal_of_three(&name, &directory);
    let elsewhere = Name::new("pruned-meanwhile");
    let place = |name: &Name| Path::new("/dev/shm").join(format!("ringway.{}", &**name));
    // As from a container that has another `/dev/shm`.
    fs::rename(place(&name), place(&elsewhere)).unwrap();
    let pruned = Archive::open(directory.path()).unwrap().force_prune(20 << 20, None).unwrap();
    assert_eq!(pruned.removed.len(), 1);
    fs::rename(place(&elsewhere), place(&name)).unwrap();
    let mut observer = queue.observe(Start::Sequence(0)).unwrap();
    let missed = observer.receive().unwrap();
    assert!(
        matches!(missed, ringway::Received::Missed { from: 0, to: IN_FULL_FILE }),
        "{missed:?}"
    );
    assert_eq!(observer.receive().unwrap().message().unwrap().sequence(), IN_FULL_FILE);
    let mut member = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    let missed = member.receive().unwrap();
    assert!(
        matches!(missed, ringway::Received::Missed { from: 0, to: IN_FULL_FILE }),
        "{missed:?}"
    );
    drop((observer, member));
    print(&["log", "verify", directory.text()]);
}

/// A journal of these numbers, and its one file, in which a message is damaged: flipped bits of its
/// payload, or of where the next one begins, too.
fn journal_with_damage(name: &Name, directory: &Directory, at: u64, whole_frame: bool) -> Queue {
    let queue = Queue::create(name, &journalled(directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    for number in 0..5000_u64 {
        producer.send(&number.to_le_bytes()).unwrap();
    }
    producer.flush().unwrap();
    let file = files(directory, "log").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let frame = find(&bytes, at);
    let damaged = if whole_frame { frame - 24..frame + 8 } else { frame..frame + 1 };
    bytes[damaged].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&file, bytes).unwrap();
    queue
}

/// Where a number stands in a file.
fn find(bytes: &[u8], number: u64) -> usize {
    bytes.windows(8).position(|found| found == number.to_le_bytes()).unwrap()
}

#[test]
fn what_is_damaged_is_in_the_way_of_nobody_who_begins_behind_it() {
    let _alive = watchdog();
    for whole_frame in [false, true] {
        let (name, into) = (Name::new("behind"), Name::new("behind-into"));
        let directory = Directory::new(&name);
        let queue = journal_with_damage(&name, &directory, 1000, whole_frame);
        let archive = Archive::open(directory.path()).unwrap();
        let first_of = |from| archive.messages(from).unwrap().next().unwrap();
        let third = first_of(1003).unwrap();
        assert_eq!((first_of(1001).unwrap().sequence, third.sequence), (1001, 1003));
        assert!(matches!(first_of(1000), Err(Error::LogDamaged { .. })));
        assert_eq!(archive.messages(1001).unwrap().map(Result::unwrap).count(), 3999);
        let since = archive.messages_since(third.time).unwrap().next().unwrap();
        // Clocks may tell the same time for what is damaged.
        assert!(since.is_err() || since.is_ok_and(|found| found.time == third.time));
        assert_eq!(archive.next_sequence().unwrap(), 5000);
        let dump = ["log", "dump", directory.text(), "--from"];
        for from in ["-5", "4995"] {
            let dumped = print(&[&dump[..], &[from, "--json"]].concat());
            assert_eq!(dumped.lines().count(), 5, "{from}");
        }
        let target = Queue::create(&into, &QueueOptions::new()).unwrap();
        print(&["replay", directory.text(), "--into", &into, "--from", "1001"]);
        assert_eq!(target.info().unwrap().next_sequence, 3999);
        for start in [Start::Sequence(1001), Start::Last(3999)] {
            let mut observer = queue.observe(start).unwrap();
            let named = Subscribe::new().named("behind").from(start);
            let mut member = queue.subscribe(&named).unwrap();
            for sequence in 1001..5000 {
                assert_eq!(observer.receive().unwrap().message().unwrap().sequence(), sequence);
                assert_eq!(member.receive().unwrap().message().unwrap().sequence(), sequence);
            }
            drop(member);
            queue.unsubscribe("behind").unwrap();
        }
        // Who needs it is told.
        for start in [Start::Sequence(1000), Start::Sequence(999), Start::Oldest] {
            let begun = queue.observe(start).and_then(|mut observer| {
                (0..=1000).try_for_each(|_| observer.try_receive().map(drop))
            });
            assert!(matches!(begun, Err(Error::LogDamaged { .. })), "{start:?}: {begun:?}");
        }
        let cut = archive.planned_cuts().unwrap().remove(0);
        assert_eq!(
            (cut.messages, cut.offset + cut.size),
            (3999, fs::metadata(&cut.path).unwrap().len())
        );
        assert!(archive.verify().unwrap().damage.is_some());
    }
}

#[test]
fn whose_a_history_is_that_has_lost_it_its_journal_says() {
    let _alive = watchdog();
    let name = Name::new("identity");
    let directory = Directory::new(&name);
    torn_journal(&name, &directory);
    let identity = directory.file("identity");
    let before = fs::read(&identity).unwrap();
    fs::write(&identity, "something else").unwrap();
    let refused = run(&["create", &name, "--history", directory.text(), "--journal", "written"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("ringway log repair"), "{}", said(&refused));
    let verified = run(&["log", "verify", directory.text()]);
    assert_eq!(verified.status.code(), Some(4));
    assert!(said(&verified).contains("ringway log repair"), "{}", said(&verified));
    let unasked = run(&["log", "repair", directory.text()]);
    assert_eq!(unasked.status.code(), Some(2), "{}", said(&unasked));
    assert_eq!(fs::read(&identity).unwrap(), b"something else");
    print(&["log", "repair", directory.text(), "--yes"]);
    assert_eq!(fs::read(&identity).unwrap(), before);
    // One that is gone, too.
    fs::remove_file(&identity).unwrap();
    let verified = run(&["log", "verify", directory.text()]);
    assert_eq!(verified.status.code(), Some(4));
    assert!(said(&verified).contains("ringway log repair"), "{}", said(&verified));
    let repaired = run(&["log", "repair", directory.text(), "--yes"]);
    let words =
        format!("wrote {} anew: the history is that of queue '{}'", identity.display(), &*name);
    assert!(said(&repaired).contains(&words), "{}", said(&repaired));
    assert_eq!(fs::read(&identity).unwrap(), before);
    // Not as another queue's.
    fs::remove_file(&identity).unwrap();
    fs::remove_file(directory.file("instance")).unwrap();
    let other = Name::new("identity-of-another");
    let refused = Queue::create(&other, &journalled(&directory));
    assert!(matches!(refused, Err(Error::ForeignHistory { .. })), "{refused:?}");
    assert!(!identity.exists() && !directory.file("instance").exists());
    Queue::create(&name, &journalled(&directory)).unwrap();
    assert_eq!(fs::read(&identity).unwrap(), before);
    // Not under a queue that is there, and not where nothing says it.
    fs::write(&identity, "something else").unwrap();
    let restored = Archive::restore(directory.path()).map(drop);
    assert!(matches!(restored, Err(Error::HistoryInUse { .. })), "{restored:?}");
    Queue::force_remove(&name).unwrap();
    fs::remove_dir_all(directory.file("log")).unwrap();
    let restored = Archive::restore(directory.path()).map(drop);
    assert!(matches!(restored, Err(Error::LogDamaged { .. })), "{restored:?}");
}

#[test]
fn a_history_that_was_moved_and_linked_is_in_use_while_its_queue_is_there() {
    let _alive = watchdog();
    let name = Name::new("moved-and-linked");
    let (directory, other) = (Directory::new(&name), Name::new("moved-to"));
    let moved = Directory::new(&other);
    let queue = Queue::create(&name, &journalled(&directory)).unwrap();
    queue.producer().unwrap().send_durable(b"first").unwrap();
    fs::rename(directory.path(), moved.path()).unwrap();
    symlink(moved.path(), directory.path()).unwrap();
    queue.producer().unwrap().send_durable(b"second").unwrap();
    for path in [directory.path(), moved.path()] {
        let archive = Archive::open(path).unwrap();
        for refused in [archive.repair().map(drop), archive.remove().map(drop)] {
            assert!(matches!(refused, Err(Error::HistoryInUse { .. })), "{refused:?}");
        }
        assert_eq!(archive.messages(0).unwrap().count(), 2);
    }
    fs::remove_file(directory.path()).unwrap();
}
