//! A journal whose process dies, or meets an error, at each of its system calls in turn, by strace:
//! `cargo test --release --test history_calls -- --ignored`.

#![allow(clippy::print_stderr, reason = "a long test says how far it is")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ringway::{AckMode, Acked, Archive, Error, Journal, Lag, Queue, QueueOptions, Received};
use ringway::{Start, Subscribe};
use support::{Directory, Name, Peer, play, say, watchdog_of};

/// The calls by which a history changes what is on the disk.
const CALLS: [&str; 10] = [
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "ftruncate",
    "openat",
    "linkat",
    "rename",
    "unlink",
    "mkdir",
];
/// Of those, what can fail on a disk that is full or broken.
const ERRORS: [(&str, &str); 6] = [
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("fdatasync", "EIO"),
    ("fsync", "EIO"),
    ("ftruncate", "EIO"),
    ("openat", "ENOSPC"),
];
const PATIENCE: Duration = Duration::from_secs(1800);
/// Messages that are there before, of which the last is torn: a file all but full.
const BEFORE: u64 = 2030;
const SIZE: usize = 8000;

#[test]
fn peer() {
    play(&[
        ("send, flush and work", send_flush_and_work),
        ("begin in new directories", begin_in_new_directories),
        ("remove a history", remove_a_history),
        ("send twice", send_twice),
        ("reject and end", reject_and_end),
        ("inherit", inherit),
    ]);
}

fn options(directory: &Path) -> QueueOptions {
    let options = QueueOptions::new().capacity(64 << 10).members(4).subscriptions(4);
    options.history(directory).journal(Journal::SyncedAlways)
}

fn workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest).on_lag(Lag::Spill);
    workers.ack(AckMode::Manual)
}

fn block(sequence: u64) -> Vec<u8> {
    sequence.to_le_bytes().repeat(SIZE / 8)
}

/// Goes on with a journal across the end of a file, and says what is promised.
fn send_flush_and_work(arguments: &[&str]) {
    if let Err(error) = go_on(arguments[0], Path::new(arguments[1])) {
        say(format_args!("error {error}"));
    }
}

fn go_on(name: &str, directory: &Path) -> Result<(), Error> {
    let queue = Queue::create(name, &options(directory))?;
    let mut worker = queue.subscribe(&workers())?;
    let mut producer = queue.producer()?;
    for _ in 0..4 {
        for _ in 0..7 {
            let sequence = producer.next_sequence();
            producer.send(&block(sequence))?;
        }
        if producer.flush_timeout(Duration::MAX)? {
            say(format_args!("durable {}", producer.next_sequence()));
        }
        for _ in 0..5 {
            if let Received::Message(message) = worker.try_receive()? {
                let sequence = message.sequence();
                if message.ack()? == Acked::Done {
                    say(format_args!("acked {sequence}"));
                }
            }
        }
    }
    Ok(())
}

/// What there is at the beginning: a journal with a torn end, and a subscription that is near it.
fn template(name: &str, directory: &Path) {
    let queue = Queue::create(name, &options(directory)).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in 0..BEFORE {
        producer.send(&block(sequence)).unwrap();
    }
    producer.flush().unwrap();
    let near_the_end = workers().from(Start::Sequence(BEFORE - 10));
    drop(queue.subscribe(&near_the_end).unwrap());
    Queue::force_remove(name).unwrap();
    let log = fs::read_dir(directory.join("log")).unwrap().next().unwrap().unwrap().path();
    let size = fs::metadata(&log).unwrap().len();
    assert!((16 << 20) - size < 28 * SIZE as u64, "{size}: the file is to end soon");
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(size - 100).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The peer, run by strace with these options.
fn traced(options: &[&str], name: &str, directory: &Path) -> Peer {
    let strace = [&["strace", "-f", "-qq"], options].concat();
    let arguments = [name, directory.to_str().expect("text")];
    Peer::start_by(&strace, "send, flush and work", &arguments).expect("strace, which this needs")
}

/// Looks whether all that was said is so.
fn check(name: &str, directory: &Path, words: &[String], what: &str) {
    let numbers = |of: &str| {
        let after = words.iter().filter_map(|word| word.strip_prefix(of));
        // A last word may be cut off.
        after.filter_map(|number| number.trim().parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let durable = numbers("durable").last().copied().unwrap_or(0);
    let acked = numbers("acked");
    if Queue::list().unwrap().iter().any(|one| one == name) {
        Queue::force_remove(name).unwrap();
    }
    let queue = Queue::create(name, &options(directory)).unwrap_or_else(|error| {
        panic!("{what}: {error}");
    });
    let mut producer = queue.producer().unwrap();
    let end = producer.next_sequence();
    assert!(end >= durable, "{what}: {durable} were durable, {end} are there");
    let mut worker = queue.subscribe(&workers()).unwrap();
    let mut next = None;
    loop {
        match worker.try_receive().unwrap() {
            Received::Message(message) => {
                let sequence = message.sequence();
                assert_eq!(message.payload(), block(sequence), "{what}");
                assert!(next.is_none_or(|next| next == sequence), "{what}: {sequence}");
                if next.is_none() {
                    let first_unacked = (BEFORE - 10..=end).find(|one| !acked.contains(one));
                    assert!(Some(sequence) <= first_unacked, "{what}: begins at {sequence}");
                }
                next = Some(sequence + 1);
                assert_eq!(message.ack().unwrap(), Acked::Done);
            }
            Received::Empty => break,
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(next.unwrap_or(end), end, "{what}");
    producer.send(&block(end)).unwrap();
    assert!(producer.flush_timeout(Duration::MAX).unwrap(), "{what}");
    drop((producer, worker));
    Queue::force_remove(name).unwrap();
    let archive = Archive::open(directory).unwrap();
    let mut sequence = 0;
    for message in archive.messages(0).unwrap() {
        let message = message.unwrap();
        assert_eq!((message.sequence, message.payload), (sequence, block(sequence)), "{what}");
        sequence += 1;
    }
    assert_eq!(sequence, end + 1, "{what}");
}

/// So that what a loss of power leaves of it is never in front of messages.
#[test]
#[ignore = "needs strace"]
fn a_file_is_synced_before_a_message_is_in_it() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls-order");
    let directory = Directory::new(&name);
    template(&name, directory.path());
    let trace = directory.path().with_extension("trace");
    let options = ["-y", "-o", trace.to_str().unwrap(), "-e", "trace=pwrite64,fdatasync,fsync"];
    let (status, _) = traced(&options, &name, directory.path()).ending_and_words();
    assert!(status.success());
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(&trace).unwrap();
    let mut headers = 0;
    let mut unsynced = Vec::new();
    for line in text.lines().filter(|line| line.contains(".log>")) {
        let file = line.split(['<', '>']).nth(1).unwrap().to_owned();
        if line.contains("fdatasync(") || line.contains("fsync(") {
            unsynced.retain(|other| *other != file);
        } else if line.contains("RINGWLOG") {
            unsynced.push(file);
            headers += 1;
        } else {
            assert!(!unsynced.contains(&file), "{line}");
        }
    }
    assert!(headers > 1 && unsynced.is_empty(), "{text}");
}

/// So that power that goes then cannot take both.
#[test]
#[ignore = "needs strace"]
fn what_is_cut_off_is_kept_on_the_disk_before_it_is_cut() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls-cut");
    let directory = Directory::new(&name);
    template(&name, directory.path());
    let trace = directory.path().with_extension("trace");
    let options = ["-y", "-o", trace.to_str().unwrap(), "-e", "trace=write,fsync,ftruncate"];
    let (status, _) = traced(&options, &name, directory.path()).ending_and_words();
    assert!(status.success());
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(&trace).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let is_kept = |line: &&str| line.contains("fsync(") && line.contains(".broken>");
    let kept = lines.iter().position(is_kept).unwrap();
    assert!(lines[kept - 1].contains("write(") && lines[kept - 1].contains(".broken>"), "{text}");
    assert!(lines[kept + 1].contains("fsync(") && lines[kept + 1].contains("/log>"), "{text}");
    assert!(lines[kept + 2].contains("ftruncate("), "{text}");
}

/// Makes a queue, and a dead letter, in directories that are not there.
fn begin_in_new_directories(arguments: &[&str]) {
    let (name, directory) = (arguments[0], Path::new(arguments[1]));
    let queue = Queue::create(name, &options(&directory.join("a/b/c"))).unwrap();
    let gives_up = workers().deliveries_max(1).dead_letters(directory.join("d/e/f"));
    let mut worker = queue.subscribe(&gives_up).unwrap();
    queue.producer().unwrap().send(b"poison").unwrap();
    assert_eq!(worker.receive().unwrap().message().unwrap().reject().unwrap(), Acked::Done);
}

#[test]
#[ignore = "needs strace"]
fn the_names_of_all_directories_that_are_made_are_synced() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls-names");
    let directory = Directory::new(&name);
    let trace = directory.path().with_extension("trace");
    let strace = ["strace", "-f", "-qq", "-y", "-o", trace.to_str().unwrap(), "-e", "trace=fsync"];
    let arguments = [&*name, directory.text()];
    Peer::start_by(&strace, "begin in new directories", &arguments).expect("strace").finish();
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(&trace).unwrap();
    for within in ["", "/a", "/a/b", "/a/b/c", "/d", "/d/e", "/d/e/f"] {
        assert!(text.contains(&format!("<{}{within}>)", directory.text())), "{within}: {text}");
    }
}

fn remove_a_history(arguments: &[&str]) {
    Archive::open(arguments[0]).unwrap().remove().unwrap();
}

/// So that files which come back when power goes are somebody's, who can remove them again.
#[test]
#[ignore = "needs strace"]
fn a_history_is_gone_on_the_disk_before_it_is_nobodys() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls-remove");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(directory.path())).unwrap();
    queue.declare(&workers()).unwrap();
    queue.producer().unwrap().send_durable(b"to be removed").unwrap();
    // Somebody else's, so that one of the directories stays.
    fs::write(directory.file("log/notes"), "").unwrap();
    Queue::remove(&name).unwrap();
    let trace = directory.path().with_extension("trace");
    let calls = ["-y", "-o", trace.to_str().unwrap(), "-e", "trace=unlink,rmdir,fsync"];
    let strace = [&["strace", "-f", "-qq"], &calls[..]].concat();
    Peer::start_by(&strace, "remove a history", &[directory.text()]).expect("strace").finish();
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(&trace).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let last = |call: &str, what: &str| {
        let found = lines.iter().rposition(|line| line.contains(call) && line.contains(what));
        found.unwrap_or_else(|| panic!("no {call} of {what}: {text}"))
    };
    let gone = last("unlink(", "/identity\"");
    let synced = |what: &str| last("fsync(", &format!("<{}{what}>", directory.text()));
    assert!(last("unlink(", ".log\"") < synced("/log") && synced("/log") < gone, "{text}");
    assert!(last("rmdir(", "/subscriptions\"") < gone, "{text}");
    assert!(lines[gone - 1].contains(&format!("<{}>", directory.text())), "{text}");
    assert!(lines[gone + 1].contains(&format!("<{}>", directory.text())), "{text}");
}

/// Begins a file, and has the one before it removed.
fn send_twice(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    for _ in 0..2 {
        queue.producer().unwrap().send_durable(b"new").unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// So that nobody is told, when power has gone, that it missed what it had.
#[test]
#[ignore = "needs strace"]
fn how_far_all_have_come_is_on_the_disk_before_retention_removes_a_file() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls-retention");
    let directory = Directory::new(&name);
    let options = options(directory.path()).keep_for(Duration::from_millis(1));
    let queue = Queue::create(&name, &options).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    queue.producer().unwrap().send_durable(b"old").unwrap();
    assert_eq!(worker.receive().unwrap().message().unwrap().ack().unwrap(), Acked::Done);
    worker.close().unwrap();
    Queue::remove(&name).unwrap();
    let _queue = Queue::create(&name, &options).unwrap();
    let trace = directory.path().with_extension("trace");
    let calls = ["-y", "-o", trace.to_str().unwrap(), "-e", "trace=pwrite64,fsync,unlink"];
    let strace = [&["strace", "-f", "-qq"], &calls[..]].concat();
    Peer::start_by(&strace, "send twice", &[&name]).expect("strace").finish();
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(&trace).unwrap();
    let place = |call: &str, what: &str| {
        let found = text.lines().position(|line| line.contains(call) && line.contains(what));
        found.unwrap_or_else(|| panic!("no {call} of {what}: {text}"))
    };
    let written = place("pwrite64(", ".checkpoint>");
    let synced = place("fsync(", ".checkpoint>");
    let named = place("fsync(", "/subscriptions>");
    let gone = place("unlink(", ".log\"");
    assert!(written < synced && synced < named && named < gone, "{text}");
}

fn giving_up() -> Subscribe {
    workers().on_lag(Lag::Hold).deliveries_max(1)
}

/// Ends as a program does that meets an error: the message is left to an heir.
fn reject_and_end(arguments: &[&str]) {
    let mut worker = Queue::open(arguments[0]).unwrap().subscribe(&giving_up()).unwrap();
    let rejected = worker.receive().unwrap().message().unwrap().reject();
    assert!(matches!(rejected, Err(Error::File { .. })), "{rejected:?}");
    std::process::exit(0);
}

fn inherit(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut worker = queue.subscribe(&giving_up()).unwrap();
    while queue.info().unwrap().subscriptions[0].dead_letters == 0 {
        assert_eq!(worker.try_receive().unwrap(), Received::Empty);
    }
}

/// The system counts as written what it could not write, once it has told somebody.
#[test]
#[ignore = "needs strace"]
fn a_letter_whose_sync_failed_is_written_again_by_the_heir_before_it_is_synced() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls-heir");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &QueueOptions::new().history(directory.path())).unwrap();
    queue.declare(&giving_up()).unwrap();
    queue.producer().unwrap().send(b"poison").unwrap();
    let fails = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    let strace = [&["strace", "-f", "-qq"], &fails[..]].concat();
    Peer::start_by(&strace, "reject and end", &[&name]).expect("strace").finish();
    let trace = directory.file("trace");
    let calls = ["-y", "-o", trace.to_str().unwrap(), "-e", "trace=pwrite64,fdatasync"];
    let strace = [&["strace", "-f", "-qq"], &calls[..]].concat();
    Peer::start_by(&strace, "inherit", &[&name]).expect("strace").finish();
    let text = fs::read_to_string(&trace).unwrap();
    let calls: Vec<_> = text.lines().filter(|line| line.contains("workers.letters>")).collect();
    assert_eq!(calls.len(), 2, "{text}");
    assert!(calls[0].contains("pwrite64(") && calls[0].contains("RWLETTER"), "{text}");
    assert!(calls[1].contains("fdatasync("), "{text}");
    assert_eq!(queue.dead_letters("workers").unwrap().iter().map(Result::unwrap).count(), 1);
}

#[test]
#[ignore = "needs strace, and minutes"]
fn whatever_call_is_the_last_or_fails_what_was_promised_is_there() {
    let _alive = watchdog_of(PATIENCE);
    let name = Name::new("calls");
    let (before, now) = (Directory::new(&name), Name::new("calls-now"));
    let directory = Directory::new(&now);
    template(&name, before.path());
    let trace = directory.path().with_extension("trace");
    let trace_text = trace.to_str().unwrap();
    let kills = CALLS.map(|call| (call, "signal=SIGKILL"));
    let errors = ERRORS.map(|(call, error)| (call, error));
    let mut runs = 0;
    for (call, fault) in kills.into_iter().chain(errors) {
        copy(before.path(), directory.path());
        let filter = format!("trace={call}");
        let (status, words) =
            traced(&["-o", trace_text, "-e", &filter], &name, directory.path()).ending_and_words();
        assert!(status.success() && words.len() == 24, "{status} {words:?}");
        Queue::force_remove(&name).unwrap();
        let count = fs::read_to_string(&trace).unwrap().lines().count();
        assert!(count > 0, "{call} is never called");
        let fault = if fault.contains('=') { fault.into() } else { format!("error={fault}") };
        for when in 1..=count {
            let inject = format!("inject={call}:{fault}:when={when}");
            copy(before.path(), directory.path());
            let options = ["-o", trace_text, "-e", &filter, "-e", &inject];
            let (_, words) = traced(&options, &name, directory.path()).ending_and_words();
            check(&name, directory.path(), &words, &inject);
            runs += 1;
        }
        eprintln!("{call}, {fault}: {count} times");
    }
    let _ = fs::remove_file(trace);
    eprintln!("{runs} runs");
}
