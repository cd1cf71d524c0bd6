//! `ringway journal` where another process writes the journal, and `ringway log prune` where somebody
//! has not read it, as their users see them.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use ringway::{AckMode, Acked, Journal, Queue, QueueOptions, Start, Subscribe};
use serde_json::{Value, json};
use support::history::files;
use support::program::{code, print, print_json, ringway, run, said, signal};
use support::{Directory, Name, watchdog};

fn create(name: &Name, directory: &Directory) -> Queue {
    let options = QueueOptions::new().capacity(64 << 10).journal(Journal::Written);
    Queue::create(name, &options.history(directory.path())).unwrap()
}

/// Starts a producer that writes the journal, and waits until it does.
fn start_producer(name: &str, queue: &Queue) -> (Child, ChildStdin) {
    let mut producer = ringway(&["pub", name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    let before = queue.durable_sequence();
    input.write_all(b"a\n").unwrap();
    while queue.durable_sequence() == before || !queue.info().unwrap().journaler_alive {
        thread::sleep(Duration::from_millis(1));
    }
    (producer, input)
}

/// Starts a journaler, and says what it says next each time.
fn start_journaler(name: &str) -> (Child, impl FnMut() -> String) {
    let mut child = ringway(&["journal", name]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    (child, move || lines.next().unwrap_or_default())
}

#[test]
fn a_journaler_waits_for_the_place_of_whoever_has_it() {
    let _watchdog = watchdog();
    let name = Name::new("stands-by");
    let directory = Directory::new(&name);
    let queue = create(&name, &directory);
    let waits = format!("writes the journal of queue '{}'; waits for its place", &*name);
    let (mut producer, input) = start_producer(&name, &queue);

    let refused = run(&["journal", &name, "--standby", "0s"]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("has a journaler already"), "{}", said(&refused));
    let late = run(&["journal", &name, "--standby", "50ms"]);
    assert_eq!(code(&late), 5);
    assert!(said(&late).contains("has a journaler already"), "{}", said(&late));

    for (number, code_expected) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let (mut journaler, mut says) = start_journaler(&name);
        let said = says();
        assert!(said.contains(&waits), "{said}");
        signal(&journaler, number);
        assert_eq!(journaler.wait().unwrap().code(), Some(code_expected));
        let said = says();
        assert!(said.contains("interrupted; nothing was written"), "{said}");
    }

    let (mut journaler, mut says) = start_journaler(&name);
    assert!(says().contains(&waits));
    producer.kill().unwrap();
    producer.wait().unwrap();
    drop(input);
    let said = says();
    assert!(said.contains("writing the journal"), "{said}");
    signal(&journaler, libc::SIGTERM);
    assert_eq!(journaler.wait().unwrap().code(), Some(143));
}

#[test]
fn log_prune_says_for_whom_it_keeps_files_and_removes_them_by_force() {
    let _watchdog = watchdog();
    let name = Name::new("prune-unread");
    let directory = Directory::new(&name);
    for _ in 0..3 {
        // Each begins a file.
        let queue = create(&name, &directory);
        queue.declare(&Subscribe::new().named("workers").from(Start::Oldest)).unwrap();
        queue.producer().unwrap().send_durable(b"to be worked on").unwrap();
        print(&["rm", &name]);
    }
    let prune = ["log", "prune", directory.text(), "--max-size", "1"];
    let kept = run(&prune);
    assert_eq!(code(&kept), 0);
    let words = "subscription 'workers' has not read from message 0 on; --force removes that too";
    assert!(said(&kept).contains("kept 2 files ("), "{}", said(&kept));
    assert!(said(&kept).contains(words), "{}", said(&kept));
    assert!(said(&kept).contains("removed nothing"), "{}", said(&kept));
    let as_json = print_json(&[&prune[..], &["--json"]].concat());
    assert_eq!(as_json["unread"], json!([{ "subscription": "workers", "sequence": 0 }]));
    assert_eq!(as_json["kept"].as_array().unwrap().len(), 2);
    let forced = run(&[&prune[..], &["--force"]].concat());
    assert_eq!(code(&forced), 0);
    let words = "removed what was not read: subscription 'workers' has not read from message 0 on";
    assert!(said(&forced).contains(words), "{}", said(&forced));
    assert_eq!(files(&directory, "log").len(), 1);
}

#[test]
fn log_verify_and_log_repair_look_at_checkpoints_too() {
    let _watchdog = watchdog();
    let name = Name::new("checkpoints");
    let directory = Directory::new(&name);
    let queue = create(&name, &directory);
    queue.declare(&Subscribe::new().named("workers").from(Start::Oldest)).unwrap();
    queue.producer().unwrap().send_durable(b"to be worked on").unwrap();
    print(&["rm", &name]);
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    fs::write(&checkpoint, [7; 8192]).unwrap();
    let verified = run(&["log", "verify", directory.text()]);
    assert_eq!(code(&verified), 4);
    let text = String::from_utf8(verified.stdout.clone()).unwrap();
    let words = format!("damage     {}: no checkpoint in it is whole", checkpoint.display());
    assert!(text.contains(&words), "{text}");
    assert!(said(&verified).contains("ringway log repair"), "{}", said(&verified));
    let verified = run(&["log", "verify", directory.text(), "--json"]);
    let as_json: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&as_json["damage"], &as_json["whole"]), (&Value::Null, &json!(false)));
    assert_eq!(as_json["checkpoint_faults"][0]["file"], json!(checkpoint));
    let repaired = run(&["log", "repair", directory.text(), "--yes"]);
    assert_eq!(code(&repaired), 0);
    let words = format!("{}, all of it: no checkpoint in it is whole", checkpoint.display());
    assert!(said(&repaired).contains(&words), "{}", said(&repaired));
    let words = format!("put {} aside as", checkpoint.display());
    assert!(said(&repaired).contains(&words), "{}", said(&repaired));
    print(&["log", "verify", directory.text()]);
    print(&["log", "rm", directory.text(), "--yes"]);
    assert!(!directory.path().exists());
}

#[test]
fn a_journaler_that_waits_ends_when_the_history_is_nobodys_any_more() {
    let _watchdog = watchdog();
    let name = Name::new("taken-meanwhile");
    let directory = Directory::new(&name);
    let queue = create(&name, &directory);
    let (mut producer, input) = start_producer(&name, &queue);
    let (mut journaler, mut says) = start_journaler(&name);
    assert!(says().contains("waits for its place"));
    fs::remove_file(directory.file("identity")).unwrap();
    producer.kill().unwrap();
    producer.wait().unwrap();
    drop(input);
    assert_eq!(journaler.wait().unwrap().code(), Some(1));
    let said = says();
    assert!(said.contains("identity"), "{said}");
}

#[test]
fn a_journaler_that_waits_ends_when_the_queue_is_removed() {
    let _watchdog = watchdog();
    let name = Name::new("removed-meanwhile");
    let directory = Directory::new(&name);
    let queue = create(&name, &directory);
    let (mut producer, _input) = start_producer(&name, &queue);
    let (mut journaler, mut says) = start_journaler(&name);
    assert!(says().contains("waits for its place"));
    // Who has the place does not leave it.
    signal(&producer, libc::SIGSTOP);
    print(&["rm", "--force", &name]);
    assert_eq!(journaler.wait().unwrap().code(), Some(0));
    let said = says();
    assert!(said.contains("the queue was removed; nothing was written"), "{said}");
    producer.kill().unwrap();
    producer.wait().unwrap();
}

#[test]
fn how_old_and_how_much_is_left_is_told_of_the_first_message_that_is_not_acknowledged() {
    let _watchdog = watchdog();
    let name = Name::new("exact-age");
    let directory = Directory::in_memory(&name);
    let journal = ["--history", directory.text(), "--journal", "written", "-q"];
    print(&[&["create", &name, "--capacity", "64KiB"][..], &journal].concat());
    let queue = Queue::open(&name).unwrap();
    let member = Subscribe::new().named("w").from(Start::Oldest).ack(AckMode::Manual);
    let mut member = queue.subscribe(&member).unwrap();
    print(&["pub", &name, "-q", "a", "b"]);
    // The ring's sectors are as old as these.
    thread::sleep(Duration::from_millis(20));
    print(&["pub", &name, "-q", "c"]);
    let alone = queue.subscribe(&Subscribe::new().from(Start::Last(1))).unwrap();
    let frame_size = queue.info().unwrap().subscriptions[0].lag_bytes / 3;
    let mut sent_at = SystemTime::UNIX_EPOCH;
    for sequence in 0..3 {
        let message = member.receive().unwrap().message().unwrap();
        sent_at = message.time().unwrap();
        if sequence < 2 {
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
    }
    let before = SystemTime::now().duration_since(sent_at).unwrap();
    let info = queue.info().unwrap();
    let after = SystemTime::now().duration_since(sent_at).unwrap();
    let shared = &info.subscriptions[0];
    assert_eq!((shared.lag_messages, shared.lag_bytes), (Some(1), frame_size));
    let ages = [shared.lag_time, info.consumers[1].lag_time].map(Option::unwrap);
    assert!(ages.iter().all(|age| (before..=after).contains(age)), "{ages:?}");
    // Also once it has left the ring.
    drop(alone);
    let mut producer = queue.producer().unwrap();
    while queue.info().unwrap().oldest_sequence < 3 {
        producer.send(&[0; 4000]).unwrap();
    }
    let before = SystemTime::now().duration_since(sent_at).unwrap();
    let info = queue.info().unwrap();
    let after = SystemTime::now().duration_since(sent_at).unwrap();
    let shared = &info.subscriptions[0];
    assert_eq!(shared.lag_bytes, info.position - 2 * frame_size);
    assert!((before..=after).contains(&shared.lag_time.unwrap()), "{:?}", shared.lag_time);
}
