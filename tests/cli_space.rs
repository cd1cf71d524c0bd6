//! `ringway pub` where the disk has no space for its journal.

mod support;

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use support::program::{code, limit_files_of, limited, print, print_json, run, said, signal};
use support::{Directory, Name, watchdog};

/// A queue whose ring has room for some hundred messages.
fn queue(purpose: &str) -> (Name, Directory) {
    let name = Name::new(purpose);
    let directory = Directory::new(&name);
    let journal = ["--history", directory.text(), "--journal", "written", "-q"];
    print(&[&["create", &name, "--capacity", "64KiB"][..], &journal].concat());
    (name, directory)
}

/// Starts a `pub` that has no space from the beginning, and gives it this.
fn publish(name: &str, options: &[&str], input: &[u8]) -> Child {
    let publish = [&["pub", name], options].concat();
    let mut producer = limited(&publish, 1 << 10).stdin(Stdio::piped()).spawn().unwrap();
    producer.stdin.take().unwrap().write_all(input).unwrap();
    producer
}

/// Reads what it says until it has met the limit.
fn await_limit(producer: &mut Child) {
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("too large") {
        let mut byte = [0];
        producer.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
}

#[test]
fn a_producer_without_space_waits_as_long_as_it_was_told_to_and_says_what_it_sent() {
    let _watchdog = watchdog();
    let (name, _directory) = queue("no-space");
    let producer = publish(&name, &["--timeout", "300ms"], b"a\nb\n");
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 5, "{}", said(&output));
    for words in ["too large", "not durable in time; sent 2 messages", "from 0 on are not durable"]
    {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    // Also where that is for want of room.
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let producer = publish(&name, &["--timeout", "300ms"], &line.repeat(100));
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 5, "{}", said(&output));
    for words in ["until there is space", "no room in time; sent", "from 0 on are not durable"] {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    print(&["rm", &name, "--history", "--yes", "-q"]);
}

#[test]
fn a_producer_that_waits_for_space_is_seen_to_wait() {
    let _watchdog = watchdog();
    let (name, _directory) = queue("space-seen");
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let producer = publish(&name, &[], &line.repeat(100));
    let waits = || print_json(&["info", &name, "--json"])["producer"]["waits_for_history"] == true;
    while !waits() {
        std::thread::yield_now();
    }
    let shown = |arguments: &[&str]| String::from_utf8(print(arguments)).unwrap();
    assert!(shown(&["info", &name]).contains("waits until the history has more of the stream"));
    let listed = shown(&["ls"]);
    let mut listed = listed.lines().filter(|line| line.contains(&*name));
    assert!(listed.next().unwrap().ends_with("the history holds the producer"));
    let held = format!("ringway_queue_producer_held{{queue=\"{}\"}} 1\n", &*name);
    assert!(shown(&["metrics", &name]).contains(&held));
    limit_files_of(&producer, libc::RLIM_INFINITY);
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(!waits());
    print(&["rm", &name, "--history", "--yes", "-q"]);
}

#[test]
fn a_producer_without_space_goes_on_when_there_is_some_or_is_interrupted() {
    let _watchdog = watchdog();
    let (name, _directory) = queue("space-later");
    let line = [&[b'x'; 999][..], b"\n"].concat();
    for input in [line.clone(), line.repeat(100)] {
        let before = print_json(&["info", &name, "--json"])["next_sequence"].as_u64().unwrap();
        let mut producer = publish(&name, &[], &input);
        await_limit(&mut producer);
        assert!(producer.try_wait().unwrap().is_none());
        limit_files_of(&producer, libc::RLIM_INFINITY);
        let output = producer.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert!(said(&output).contains("all durable"), "{}", said(&output));
        let after = &print_json(&["info", &name, "--json"])["durable_sequence"];
        assert_eq!(after.as_u64().unwrap() - before, input.len() as u64 / 1000);
    }
    let mut producer = publish(&name, &[], &line);
    await_limit(&mut producer);
    signal(&producer, libc::SIGINT);
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", said(&output));
    assert!(said(&output).contains("interrupted; sent 1 message"), "{}", said(&output));
    assert_eq!(code(&run(&["rm", &name, "--history", "--yes", "-q"])), 0);
}
