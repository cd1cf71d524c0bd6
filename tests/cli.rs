//! The program, as its users see it: what it takes, what it prints, how it ends.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use ringway::{Queue, QueueOptions, Start, Subscribe};
use serde_json::Value;
use support::program::{
    answer, await_consumers, await_words, code, print, print_json, ringway, run, run_with, said,
    signal, that_can_be_hung_up,
};
use support::segment::{field, subscription_offset};
use support::users::{NOBODY, become_nobody, is_root};
use support::{Directory, Name, Peer, play, stop_here, watchdog};

#[test]
fn peer() {
    play(&[("have a queue", have_a_queue)]);
}

#[test]
fn lines_arrive_as_they_were_sent() {
    let _watchdog = watchdog();
    let name = Name::new("lines");
    let input = b"one\n\n two \r\n\0\xff\xfe\nlast";
    let sent = run_with(&["pub", &name, "--create"], input);
    assert_eq!((code(&sent), sent.stdout.len()), (0, 0), "{}", said(&sent));
    assert!(said(&sent).contains("sent 5 messages"));
    let expected = [&input[..], b"\n"].concat();
    assert_eq!(print(&["sub", &name, "--from", "oldest", "-e"]), expected);
    assert_eq!(print(&["sub", &name, "--from", "-2", "-e"]), b"\0\xff\xfe\nlast\n");
    assert_eq!(print(&["sub", &name, "--from", "3", "-n", "1"]), b"\0\xff\xfe\n");
    assert_eq!(print(&["sub", &name, "--observe", "--from", "0", "-n", "2"]), b"one\n\n");
    assert_eq!(print(&["sub", &name, "-e"]), b"");
}

#[test]
fn every_delimiter_goes_in_and_comes_out() {
    let _watchdog = watchdog();
    let length = |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text].concat();
    let framed = [length(b"a\nb"), length(b""), length(b"\0c")].concat();
    for (delimiter, input) in [
        ("\\n", &b"a b\n\nc\n"[..]),
        ("\\0", b"a\nb\0\0c\0"),
        (";", b"a;;c\n;"),
        ("len32", &framed),
    ] {
        let name = Name::new("delimiter");
        let sent = run_with(&["pub", &name, "--create", "-D", delimiter], input);
        assert_eq!(code(&sent), 0, "{}", said(&sent));
        assert_eq!(Queue::open(&name).unwrap().info().unwrap().next_sequence, 3, "{delimiter}");
        let received = print(&["sub", &name, "--from", "oldest", "-e", "-D", delimiter]);
        assert_eq!(received, input, "{delimiter}");
    }
}

#[test]
fn arguments_and_files_are_sources_too() {
    let _watchdog = watchdog();
    let name = Name::new("sources");
    print(&["pub", &name, "--create", "two words", "", "-q"]);
    let path = std::env::temp_dir().join(&*name);
    std::fs::write(&path, "from\na file\n").unwrap();
    print(&["pub", &name, "--file", path.to_str().unwrap(), "-n", "1"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(print(&["sub", &name, "--from", "oldest", "-e"]), b"two words\n\nfrom\n");

    let missing = run(&["pub", &name, "--file", path.to_str().unwrap()]);
    assert_eq!(code(&missing), 1);
    assert!(said(&missing).contains("cannot read"), "{}", said(&missing));
}

#[test]
fn a_dash_is_the_standard_input_or_output_and_a_terminal_that_ended_is_not_asked_again() {
    const END: u8 = 4;
    let _watchdog = watchdog();
    let name = Name::new("dash");
    let sent = run_with(&["pub", &name, "--create", "--file", "-"], b"one\n");
    assert_eq!(code(&sent), 0, "{}", said(&sent));
    // One end closes the line that was begun, the other one the input.
    let sent = answer(&["pub", &name], &[b"part", &[END, END][..]].concat());
    assert_eq!(code(&sent), 0, "{}", said(&sent));
    assert_eq!(print(&["sub", &name, "--from", "oldest", "-e"]), b"one\npart\n");
    let metrics = String::from_utf8(print(&["metrics", &name, "-o", "-"])).unwrap();
    assert!(metrics.starts_with("# HELP") && !std::path::Path::new("-").exists(), "{metrics}");
}

#[test]
fn a_message_beyond_the_limit_is_named() {
    let _watchdog = watchdog();
    let name = Name::new("too-long");
    Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    let limit = 8 << 10;
    let input =
        [b"short\n", &*vec![b'x'; limit], b"\n", &*vec![b'y'; limit + 1], b"\nnever\n"].concat();
    let sent = run_with(&["pub", &name], &input);
    assert_eq!(code(&sent), 1);
    let words = "line 3 of the standard input has more than the 8192 bytes that the queue takes";
    assert!(said(&sent).contains(words), "{}", said(&sent));
    assert!(said(&sent).ends_with("larger capacity; sent 2 messages before it\n"));
    let received = print(&["sub", &name, "--from", "oldest", "-e"]);
    assert_eq!(received, input[.."short\n".len() + limit + "\n".len()]);

    let cut = run_with(&["pub", &name, "-D", "len32"], b"\x05\0\0\0abc");
    assert_eq!(code(&cut), 1);
    assert!(said(&cut).contains("message 1 of the standard input ends after 3 of 5 bytes"));
}

#[test]
fn json_lines_hold_text_or_base64() {
    let _watchdog = watchdog();
    let name = Name::new("jsonl");
    run_with(&["pub", &name, "--create", "-D", "\\0"], b"gr\xc3\xbc\xc3\x9fe \"\n\0\xff\x00");
    run_with(&["pub", &name, "-D", "len32"], b"\x02\0\0\0\xff\xfe");
    let printed = print(&["sub", &name, "--from", "oldest", "-e", "-f", "jsonl"]);
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(
        lines,
        [
            serde_json::json!({ "sequence": 0, "length": 10, "data": "grüße \"\n" }),
            serde_json::json!({ "sequence": 1, "length": 1, "base64": "/w==" }),
            serde_json::json!({ "sequence": 2, "length": 2, "base64": "//4=" }),
        ]
    );
}

#[test]
fn several_consumers_follow_to_the_close() {
    let _watchdog = watchdog();
    let name = Name::new("close");
    Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    let consumers = ["spin", "backoff", "park"].map(|wait| {
        let consumer = ringway(&["sub", &name, "--wait", wait]).spawn().unwrap();
        std::thread::spawn(|| consumer.wait_with_output().unwrap())
    });
    let input: Vec<u8> = (0..20_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let sent = run_with(&["pub", &name, "--wait-for", "3", "--close"], &input);
    assert_eq!(code(&sent), 0, "{}", said(&sent));
    for consumer in consumers {
        let output = consumer.join().unwrap();
        assert_eq!(code(&output), 0);
        assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
    }
    assert_eq!(print_json(&["info", &name, "--json"])["closed"], true);
}

#[test]
fn what_was_missed_is_told_and_counts_unless_asked_for() {
    let _watchdog = watchdog();
    let name = Name::new("missed");
    Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    run_with(&["pub", &name], &b"x\n".repeat(10_000));
    let info = print_json(&["info", &name, "--json"]);
    let oldest = info["oldest_sequence"].as_u64().unwrap();
    assert!(oldest > 0);
    for (options, expected) in [(&[][..], 4), (&["--lag", "skip"], 0), (&["--observe"], 0)] {
        let output = run(&[&["sub", &name, "--from", "0", "-e"], options].concat());
        assert_eq!(code(&output), expected, "{options:?}");
        assert_eq!(output.stdout.len() as u64, 2 * (10_000 - oldest));
        let words = format!("missed {oldest} messages: 0 to {}", oldest - 1);
        assert!(said(&output).contains(&words), "{}", said(&output));
    }
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let _watchdog = watchdog();
    let name = Name::new("codes");
    print(&["create", &name, "-q"]);
    for (arguments, expected, words) in [
        (&["sub"][..], 2, "Usage"),
        (&["sub", &name, "--from", "soon"], 2, "oldest, newest"),
        (&["sub", &name, "--lag", "late"], 2, "hold, skip"),
        (&["pub", &name, "-D", "ab"], 2, "len32"),
        (&["pub", &name, "--rate", "0"], 2, "above 0"),
        (&["create", "a/b"], 2, "cannot name a queue"),
        (&["create", "odd", "--capacity", "17MB"], 2, "not a power of two"),
        (&["create", "odd", "--capacity", "large"], 2, "--capacity"),
        (&["create", "odd", "--mode", "0400"], 2, "mode"),
        (&["create", &name], 1, "exists already"),
        (&["sub", &name, "--from", "5"], 1, "no message 5 yet"),
        (&["sub", "no-such-queue"], 3, "no queue 'no-such-queue'"),
        (&["info", "no-such-queue"], 3, "no queue"),
        (&["info", "no-such-queue", "--watch"], 3, "no queue"),
        (&["info", &name, "--watch", "0s"], 2, "above zero"),
        (&["info", "--watch", &name], 2, "the queue's name comes before it"),
        (&["info", &name, "--owner", "4242"], 3, "--owner"),
        (&["rm", "no-such-queue"], 3, "no queue"),
        (&["sub", &name, "--timeout", "20ms"], 5, "received 0 messages"),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let _alive = Queue::open(&name).unwrap().producer().unwrap();
    let second = run(&["pub", &name, "x"]);
    assert_eq!(code(&second), 1);
    assert!(said(&second).contains(&format!("process {}", std::process::id())));
}

#[test]
fn a_wrong_name_suggests_a_near_one() {
    let _watchdog = watchdog();
    let name = Name::new("suggestion");
    print(&["create", &name, "-q"]);
    let wrong = name.replace("suggestion", "sugestion");
    let output = run(&["sub", &wrong]);
    assert!(said(&output).contains(&format!("did you mean '{}'?", &*name)), "{}", said(&output));
}

#[test]
fn ctrl_c_ends_with_a_summary() {
    let _watchdog = watchdog();
    let name = Name::new("ctrl-c");
    run_with(&["pub", &name, "--create"], b"a\nb\n");
    let mut consumer = ringway(&["sub", &name, "--from", "oldest"]).spawn().unwrap();
    let mut first = [0; 4];
    consumer.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    signal(&consumer, libc::SIGINT);
    let output = consumer.wait_with_output().unwrap();
    assert_eq!((code(&output), &first), (130, b"a\nb\n"));
    assert!(said(&output).contains("received 2 messages"), "{}", said(&output));

    // Also while it waits for input that does not come.
    let queue = Queue::open(&name).unwrap();
    let halves: [(&str, &[u8]); 2] = [("\\n", b"c\nhalf"), ("len32", b"\x01\0\0\0c\x04\0\0\0ha")];
    for (next, (delimiter, text)) in (3..).zip(halves) {
        let arguments = ["pub", &name, "--delimiter", delimiter];
        let mut producer = ringway(&arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = producer.stdin.take().unwrap();
        input.write_all(text).unwrap();
        while queue.info().unwrap().next_sequence < next {
            std::thread::yield_now();
        }
        signal(&producer, libc::SIGINT);
        let output = producer.wait_with_output().unwrap();
        assert_eq!(code(&output), 130, "{delimiter}: {}", said(&output));
        assert!(said(&output).contains("interrupted; sent 1 message "), "{}", said(&output));
        assert_eq!(queue.info().unwrap().next_sequence, next, "a half is no message");
    }
}

#[test]
fn ctrl_c_ends_who_waits_for_a_reader_of_its_output() {
    let _watchdog = watchdog();
    let name = Name::new("unread");
    run_with(&["pub", &name, "--create"], &b"x\n".repeat(200_000));
    for options in [&[][..], &["--as", "w"]] {
        for is_socket in [false, true] {
            let subscribe = [&["sub", &name, "--from", "oldest"], options].concat();
            let mut command = ringway(&subscribe);
            let (socket, end) = UnixStream::pair().unwrap();
            if is_socket {
                command.stdout(OwnedFd::from(end));
            }
            let mut consumer = command.spawn().unwrap();
            let output = consumer.stdout.take().map(OwnedFd::from);
            let mut output = File::from(output.unwrap_or_else(|| OwnedFd::from(socket)));
            // What is there is more than a pipe or a socket holds. It sleeps once that is full.
            output.read_exact(&mut [0; 2]).unwrap();
            await_sleep(&consumer);
            signal(&consumer, libc::SIGTERM);
            assert_eq!(code(&consumer.wait_with_output().unwrap()), 128 + libc::SIGTERM);
            drop(output);
        }
    }
}

/// Waits until the program waits for something.
fn await_sleep(child: &Child) {
    let state = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&state).unwrap().contains(") S ") {
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_ends_who_waits_for_a_writer_of_its_input() {
    let _watchdog = watchdog();
    let name = Name::new("no-writer");
    let path = std::env::temp_dir().join(&*name);
    let made = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(made.as_ptr(), 0o600) }, 0);
    let arguments = ["pub", &name, "--create", "--file", path.to_str().unwrap()];
    let mut producer = ringway(&arguments).spawn().unwrap();
    // It waits once it has its queue.
    while Queue::open(&name).is_err() {
        std::thread::yield_now();
    }
    await_sleep(&producer);
    signal(&producer, libc::SIGTERM);
    let status = producer.wait().unwrap();
    std::fs::remove_file(&path).unwrap();
    let ended_by = status.signal().or(status.code().map(|code| code - 128));
    assert_eq!(ended_by, Some(libc::SIGTERM));
}

#[test]
fn a_second_producer_stands_by_if_it_is_told_to() {
    let _watchdog = watchdog();
    let name = Name::new("standby");
    let queue = Queue::create(&name, &QueueOptions::new()).unwrap();
    let first = queue.producer().unwrap();
    assert_eq!(code(&run(&["pub", &name, "x"])), 1);
    let refused = run(&["pub", &name, "x", "--standby", "50ms"]);
    assert_eq!(code(&refused), 5);
    assert!(said(&refused).contains("has a producer already"), "{}", said(&refused));
    let mut second = ringway(&["pub", &name, "x", "--standby", "1h"]).spawn().unwrap();
    await_words(&mut second, "waiting for the place of another");
    signal(&second, libc::SIGTERM);
    assert_eq!(second.wait().unwrap().code(), Some(128 + libc::SIGTERM));
    let mut second = ringway(&["pub", &name, "x", "--standby", "1h"]).spawn().unwrap();
    await_words(&mut second, "waiting for the place of another");
    drop(first);
    assert!(second.wait().unwrap().success());
    assert_eq!(queue.info().unwrap().next_sequence, 1);
}

#[test]
fn who_gives_up_for_want_of_room_says_so() {
    let _watchdog = watchdog();
    let name = Name::new("no-room");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    let _slow = queue.subscribe(&Subscribe::new()).unwrap();
    let output = run_with(&["pub", &name, "--timeout", "50ms"], &b"x\n".repeat(10_000));
    assert_eq!(code(&output), 5, "{}", said(&output));
    assert!(said(&output).contains("no room in time; sent"), "{}", said(&output));
    assert!(said(&output).contains("held at"), "{}", said(&output));
    let text = String::from_utf8(print(&["ls"])).unwrap();
    let row = text.lines().find(|line| line.contains(&*name)).unwrap();
    assert!(row.contains("holds the producer"), "{row}");
}

#[test]
fn what_is_there_need_not_be_made() {
    let _watchdog = watchdog();
    let name = Name::new("if-missing");
    let create = ["create", &name, "-c", "1M", "--if-missing"];
    let new = print_json(&[&create[..], &["--json"]].concat());
    let made = print_json(&["info", &name, "--json"]);
    let again = run(&create);
    assert_eq!((code(&again), said(&again).contains("is there")), (0, true));
    assert_eq!(print_json(&["info", &name, "--json"])["instance_id"], made["instance_id"]);
    assert_eq!(code(&run(&["create", &name])), 1);
    let again = print_json(&["create", &name, "-c", "2M", "--if-missing", "--json"]);
    assert_eq!((&again["made"], &again["capacity_bytes"]), (&false.into(), &(1 << 20).into()));
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((&new["made"], names(&new)), (&true.into(), names(&again)));

    // What is no queue is not there.
    let stray = Name::new("if-missing-stray");
    std::fs::write(stray.path(), "").unwrap();
    let refused = run(&["create", &stray, "--if-missing"]);
    std::fs::remove_file(stray.path()).unwrap();
    assert_ne!(code(&refused), 0, "{}", said(&refused));
    assert!(!said(&refused).contains("is there"), "{}", said(&refused));
}

#[test]
fn nobody_left_to_read_the_output_is_a_good_end() {
    let _watchdog = watchdog();
    let name = Name::new("pipe");
    run_with(&["pub", &name, "--create"], b"a\n");
    // Without another message to write it has to look.
    let mut consumer = ringway(&["sub", &name, "--from", "oldest"]).spawn().unwrap();
    let mut first = [0; 2];
    let mut output = consumer.stdout.take().unwrap();
    output.read_exact(&mut first).unwrap();
    drop(output);
    let output = consumer.wait_with_output().unwrap();
    assert_eq!((code(&output), said(&output).as_str()), (0, ""));
    // With many it is told by the system.
    run_with(&["pub", &name], &b"x\n".repeat(100_000));
    let mut consumer = ringway(&["sub", &name, "--from", "oldest", "-e"]).spawn().unwrap();
    drop(consumer.stdout.take());
    let output = consumer.wait_with_output().unwrap();
    assert_eq!((code(&output), said(&output).as_str()), (0, ""));
}

#[test]
fn a_held_producer_says_who_holds_it() {
    let _watchdog = watchdog();
    let name = Name::new("held");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    let slow = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = ringway(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&b"x\n".repeat(10_000)));
    await_words(&mut producer, &format!("consumer 0 (process {})", std::process::id()));
    drop(slow);
    assert!(producer.wait().unwrap().success());
    writer.join().unwrap().unwrap();
    assert_eq!(queue.info().unwrap().next_sequence, 10_000);
}

#[test]
fn queues_are_made_listed_shown_and_removed() {
    let _watchdog = watchdog();
    let name = Name::new("operate");
    let made = print_json(&["create", &name, "--capacity", "1MiB", "--members", "7", "--json"]);
    assert_eq!((&made["capacity_bytes"], &made["members_max"]), (&(1 << 20).into(), &7.into()));
    run_with(&["pub", &name], b"a\nb\nc\n");
    let queue = Queue::open(&name).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Last(1))).unwrap();

    let listed = print_json(&["ls", "--json"]);
    let listed = listed.as_array().unwrap().iter().find(|one| one["name"] == *name).unwrap();
    let shown = print_json(&["info", &name, "--json"]);
    assert_eq!(listed["instance_id"], made["instance_id"]);
    assert_eq!(shown["instance_id"], made["instance_id"]);
    assert_eq!(shown["next_sequence"], 3);
    assert_eq!(shown["consumers"][0]["lag_messages"], 1);
    assert!(shown["consumers"][0]["lag_time_ns"].as_u64().unwrap() > 0);
    assert_eq!(shown["consumers"][0]["pid"], std::process::id());
    assert_eq!(shown["producer"]["alive"], false);
    let text = String::from_utf8(print(&["ls"])).unwrap();
    let row: Vec<_> =
        text.lines().find(|line| line.contains(&*name)).unwrap().split_whitespace().collect();
    assert_eq!(row, [&*name, "1", "MiB", "3", "3", "-", "1", "0", "16", "B"]);
    let text = String::from_utf8(print(&["info", &name])).unwrap();
    assert!(text.contains("0 to 2 in the ring; next 3"), "{text}");

    let refused = run(&["rm", &name]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("in use by a consumer"), "{}", said(&refused));
    let other = Name::new("operate-other");
    print(&["create", &other, "-q"]);
    let some = run(&["rm", &name, &other, "--json"]);
    assert_eq!(code(&some), 1);
    let some: Value = serde_json::from_slice(&some.stdout).unwrap();
    assert_eq!((&some[0]["removed"], &some[1]["removed"]), (&false.into(), &true.into()));
    print(&["rm", "--force", &name]);
    assert!(consumer.receive().unwrap().message().is_some(), "what is there can be received");
    assert!(matches!(consumer.receive(), Err(ringway::Error::Stale { .. })));
    assert_eq!(code(&run(&["info", &name])), 3);
}

#[test]
fn a_consumer_of_a_removed_queue_ends() {
    let _watchdog = watchdog();
    let name = Name::new("removed");
    print(&["create", &name, "-q"]);
    let consumer = ringway(&["sub", &name]).spawn().unwrap();
    await_consumers(&name, 1);
    print(&["rm", "-f", &name]);
    let output = consumer.wait_with_output().unwrap();
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("was removed"), "{}", said(&output));
}

#[test]
fn a_producer_whose_queue_is_removed_while_it_idles_sends_no_more() {
    let _watchdog = watchdog();
    let name = Name::new("removed-idle");
    let mut producer = ringway(&["pub", &name, "--create"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"first\n").unwrap();
    let mut consumer =
        ringway(&["sub", &name, "--create", "--from", "oldest", "-n", "1"]).spawn().unwrap();
    assert!(consumer.wait().unwrap().success());
    print(&["rm", "-f", &name]);
    // It looks before a message, but not before each.
    std::thread::sleep(Duration::from_millis(150));
    input.write_all(b"second\n").unwrap();
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("sent 1 message "), "{}", said(&output));

    print(&["create", &name, "-q"]);
    let mut waits = ringway(&["pub", &name, "--wait-for", "1", "x"]).spawn().unwrap();
    await_words(&mut waits, "0 of 1 are there");
    print(&["rm", "-f", &name]);
    assert_eq!(waits.wait().unwrap().code(), Some(3));
}

#[test]
fn a_terminal_that_is_closed_ends_what_does_not_ignore_it() {
    let _watchdog = watchdog();
    let name = Name::new("hangup");
    run_with(&["pub", &name, "--create"], b"a\n");
    let mut consumer = that_can_be_hung_up(&["sub", &name, "--from", "oldest"]).spawn().unwrap();
    consumer.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    signal(&consumer, libc::SIGHUP);
    let output = consumer.wait_with_output().unwrap();
    assert_eq!(code(&output), 129);
    assert!(said(&output).contains("received 1 message "), "{}", said(&output));
}

#[test]
fn a_watched_queue_shows_its_rates_until_it_is_removed() {
    let _watchdog = watchdog();
    let name = Name::new("watched");
    let queue = Queue::create(&name, &QueueOptions::new()).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let workers = Subscribe::new().named("workers").from(Start::Oldest);
    let mut worker = queue.subscribe(&workers).unwrap();
    let mut producer = queue.producer().unwrap();
    let watch = ["info", &name, "--watch", "20ms"];
    let mut child = ringway(&[&watch[..], &["--json"]].concat()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = move || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let first = next();
    assert_eq!(first["messages_per_s"], Value::Null, "there was nothing before");
    assert_eq!(first["next_sequence"], 0);
    for _ in 0..100 {
        producer.send(b"message").unwrap();
        consumer.receive().unwrap().message().unwrap();
        worker.receive().unwrap().message().unwrap();
    }
    // Acknowledged and given back by the next look.
    assert!(consumer.try_receive().unwrap().message().is_none());
    assert!(worker.try_receive().unwrap().message().is_none());
    let above_zero = |value: &Value| value.as_f64().is_some_and(|rate| rate > 0.0);
    // Each within a look of its own, perhaps.
    let mut due = vec!["/messages_per_s", "/bytes_per_s", "/subscriptions/0/messages_per_s"];
    due.extend(["/consumers/0/messages_per_s", "/consumers/1/messages_per_s"]);
    while !due.is_empty() {
        let shown = next();
        due.retain(|rate| !above_zero(shown.pointer(rate).unwrap()));
    }
    // And then nothing more comes.
    let is_last = |shown: &Value| {
        let acked = &shown["consumers"][1]["acked_messages"];
        (&shown["next_sequence"], acked) == (&100.into(), &100.into())
            && shown["messages_per_s"] == 0.0
    };
    while !is_last(&next()) {}
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let mut child = ringway(&watch).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // One after the other, and no terminal.
    assert!(lines.next().unwrap().starts_with("queue "));
    for words in ["rate       -", "RATE  BEHIND", "queue ", "rate       0 messages/s"] {
        assert!(lines.any(|line| line.contains(words)), "{words}");
    }
    drop((consumer, worker, producer));
    print(&["rm", &name]);
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("was removed"), "{}", said(&output));
}

#[test]
fn gc_clears_what_the_dead_left_and_nothing_else() {
    let _watchdog = watchdog();
    let name = Name::new("gc");
    let queue = Queue::create(&name, &QueueOptions::new()).unwrap();
    let _alive = queue.subscribe(&Subscribe::new()).unwrap();
    let mut dead = ringway(&["sub", &name]).spawn().unwrap();
    await_consumers(&name, 2);
    dead.kill().unwrap();
    dead.wait().unwrap();
    for options in [&["--dry-run"][..], &[]] {
        let cleared = print_json(&[&["gc", &name, "--json"], options].concat());
        assert_eq!(cleared[0]["dead_consumers"][0]["pid"], dead.id(), "{options:?}");
    }
    assert_eq!(queue.info().unwrap().consumers.len(), 1);
    let cleared = print_json(&["gc", &name, "--json"]);
    assert_eq!(cleared[0]["dead_consumers"], serde_json::json!([]));

    for (subscription, time) in [("gone", "1ns"), ("stays", "1h")] {
        print(&["sub", &name, "--as", subscription, "--expires-after", time, "-e"]);
    }
    assert!(said(&run(&["gc", &name, "-n"])).contains("would clear 1 expired subscription"));
    for expected in [serde_json::json!(["gone"]), serde_json::json!([])] {
        let cleared = print_json(&["gc", &name, "--json"]);
        assert_eq!(cleared[0]["expired_subscriptions"], expected);
    }
    let info = print(&["info", &name]);
    assert!(String::from_utf8_lossy(&info).contains("1 removed after too long without a member"));
    // What somebody died over making is shown to nobody, and is in the way.
    print(&["unsubscribe", &name, "stays"]);
    print(&["declare", &name, "half"]);
    let segment = File::options().read(true).write(true).open(name.path()).unwrap();
    let state = subscription_offset(&name, 0) + field("Subscription", "state").start;
    let read = || {
        let mut bytes = [0; 4];
        segment.read_exact_at(&mut bytes, state as u64).unwrap();
        u32::from_le_bytes(bytes)
    };
    let (free, unfinished) = (0, 1_u32);
    assert_ne!(read(), free);
    segment.write_all_at(&unfinished.to_le_bytes(), state as u64).unwrap();
    print(&["gc", &name, "-n"]);
    assert_eq!(read(), unfinished);
    print(&["gc", &name]);
    assert_eq!(read(), free);
    let output = run(&["gc", "no-such-queue"]);
    assert!(code(&output) == 3 && !said(&output).contains("nothing to clear"), "{output:?}");
}

#[test]
fn quiet_is_quiet_and_colour_comes_when_asked_for() {
    let _watchdog = watchdog();
    let name = Name::new("quiet");
    let quiet = run(&["create", &name, "-q"]);
    assert_eq!((quiet.stdout.len(), quiet.stderr.len()), (0, 0));
    let quiet = run_with(&["pub", &name, "--quiet"], b"x\n");
    assert_eq!((quiet.stdout.len(), quiet.stderr.len()), (0, 0));
    let plain = run(&["sub", "no-such-queue"]);
    assert!(!said(&plain).contains('\x1b'));
    let coloured = run(&["sub", "no-such-queue", "--color", "always"]);
    assert!(said(&coloured).contains('\x1b'));
}

#[test]
fn a_rate_loses_nothing() {
    let _watchdog = watchdog();
    let name = Name::new("rate");
    run_with(&["pub", &name, "--create", "--rate", "2000"], &b"x\n".repeat(100));
    assert_eq!(Queue::open(&name).unwrap().info().unwrap().next_sequence, 100);
}

#[test]
fn layout_help_manual_and_completions_are_there() {
    let layout = print_json(&["layout", "--json"]);
    let names: Vec<_> = layout["fields"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    assert!(names.contains(&&Value::from("licence")) && names.contains(&&Value::from("cursor")));
    assert!(String::from_utf8(print(&["layout"])).unwrap().contains("commit word"));
    let help = String::from_utf8(print(&["--help"])).unwrap();
    let manual = String::from_utf8(print(&["man"])).unwrap();
    for text in [help, manual] {
        for words in ["pub", "sub", "130", "interrupted"] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }
    let pages = Directory::in_memory(&Name::new("manual"));
    print(&["man", "--dir", pages.text()]);
    for (page, words) in [
        ("ringway.1", &[".SH \"EXIT STATUS\"\n.nf\n0    done"][..]),
        ("ringway-info.1", &[".SH \"COLUMNS OF CONSUMERS\"\n.nf\nMEMBER     its line"]),
        ("ringway-pub.1", &["[OPTIONS] <NAME> [MESSAGE]...\n", ".SH NOTES\n.PP\nIn a queue with"]),
        ("ringway-dead-letters-drop.1", &[".SH EXAMPLES\n.nf\nringway dead\\-letters drop"]),
    ] {
        let page = std::fs::read_to_string(pages.file(page)).unwrap();
        let version = concat!("\"ringway ", env!("CARGO_PKG_VERSION"), "\"");
        for words in words.iter().chain(&[version]) {
            assert!(page.contains(words), "{words:?} is not in {page}");
        }
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(print(&["completions", shell])).unwrap();
        assert!(script.contains("wait-for"), "{shell}");
    }
}

/// Has a queue until somebody else has used it.
fn have_a_queue(arguments: &[&str]) {
    become_nobody();
    let queue = Queue::create(arguments[0], &QueueOptions::new()).unwrap();
    stop_here();
    assert_eq!(queue.info().unwrap().next_sequence, 1);
    Queue::remove(arguments[0]).unwrap();
}

#[test]
fn the_program_uses_the_queue_of_another_user_that_is_named_also_where_it_would_make_it() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _watchdog = watchdog();
    let name = Name::new("owned");
    let peer = Peer::start("have a queue", &[&name]);
    peer.await_stop();
    let owner = NOBODY.to_string();
    print(&["pub", &name, "x", "--create", "--owner", &owner]);
    let sub = ["sub", &name, "--create", "--from", "oldest", "-e"];
    assert_eq!(print(&[&sub[..], &["--owner", &owner]].concat()), b"x\n");
    assert_eq!(code(&run(&sub)), 3);
    let create = ["create", &name, "--if-missing"];
    print(&[&create[..], &["--owner", &owner]].concat());
    assert_eq!(code(&run(&create)), 3);
    peer.go_on();
    peer.finish();
    // There is none any more, so it is made.
    print(&["pub", &name, "x", "--create", "--owner", &owner]);
    assert_eq!(print(&sub), b"x\n");
}
