//! History on disk, as the program's users see it.

mod support;

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use ringway::{Journal, Queue, QueueOptions, key_hash};
use serde_json::{Value, json};
use support::history::files;
use support::program::{
    answer, await_consumers, await_words, code, limit_files_of, limited, print, print_json,
    ringway, run, run_with, said, signal, that_can_be_limited,
};
use support::{Directory, Name, Random, watchdog};

const CAPACITY: &str = "64KiB";
/// Of a file of the log.
const HEADER_SIZE: u64 = 4096;
/// A payload of up to 8 bytes in a queue with a journal: commit word, time, checksum, payload.
const FRAME_SIZE: u64 = 32;

/// A name, and a directory for its history.
fn place(purpose: &str) -> (Name, Directory) {
    let name = Name::new(purpose);
    let directory = Directory::new(&name);
    (name, directory)
}

fn create(name: &str, directory: &Directory, options: &[&str]) -> Output {
    let fixed = ["create", name, "--capacity", CAPACITY, "--history", directory.text()];
    run(&[&fixed, options].concat())
}

/// A queue with a journal, which is not synced.
fn create_journalled(name: &str, directory: &Directory) {
    let made = create(name, directory, &["--journal", "written"]);
    assert_eq!(code(&made), 0, "{}", said(&made));
}

fn numbers(from: u64, to: u64) -> Vec<u8> {
    (from..to).flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

fn publish(name: &str, input: &[u8]) {
    let sent = run_with(&["pub", name], input);
    assert_eq!(code(&sent), 0, "{}", said(&sent));
}

fn lines_of_json(output: &[u8]) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// A journal of these numbers, whose queue is gone, and its only file.
fn journal_of(purpose: &str, count: u64) -> (Name, Directory, PathBuf) {
    let (name, directory) = place(purpose);
    create_journalled(&name, &directory);
    publish(&name, &numbers(0, count));
    print(&["rm", &name]);
    let [file] = &files(&directory, "log")[..] else { panic!("one file") };
    let file = file.clone();
    (name, directory, file)
}

fn append(file: &PathBuf, bytes: &[u8]) {
    OpenOptions::new().append(true).open(file).unwrap().write_all(bytes).unwrap();
}

/// Flips a bit of a message's payload, and returns where its frame begins.
fn damage(file: &PathBuf, sequence: u64) -> u64 {
    let frame = HEADER_SIZE + sequence * FRAME_SIZE;
    let open = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, frame + FRAME_SIZE - 8).unwrap();
    open.write_all_at(&[byte[0] ^ 1], frame + FRAME_SIZE - 8).unwrap();
    frame
}

/// The first message of a time or later, as printed: clocks may tell the same time twice.
fn first_since(lines: &[Value], time: &str) -> u64 {
    lines.iter().position(|line| line["time"].as_str().unwrap() >= time).unwrap() as u64
}

/// Waits until so many messages of a queue are durable.
fn await_durable(queue: &Queue, next: u64) {
    while queue.durable_sequence().unwrap() < next {
        std::thread::yield_now();
    }
}

/// Starts a journaler, and waits until it is one.
fn start_journaler(name: &str) -> (Child, impl FnOnce() -> String) {
    let mut child = ringway(&["journal", name]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains("writing the journal"), "{first}");
    (child, move || lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_queue_made_anew_goes_on_where_its_journal_ends() {
    let _watchdog = watchdog();
    let (name, directory) = place("goes-on");
    let options = ["--journal", "every:50ms", "--history-max", "1GiB", "--keep", "7d", "--json"];
    for round in 0..3 {
        let next = 1000 * round;
        let made = create(&name, &directory, &options);
        assert_eq!(code(&made), 0, "{}", said(&made));
        let value: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(value["journal"], "every:50ms");
        assert_eq!(
            (&value["history_max_bytes"], &value["at_limit"]),
            (&json!(1 << 30), &json!("hold"))
        );
        assert_eq!(value["keep_ns"], json!(7 * 24 * 3600 * 1_000_000_000_u64));
        assert_eq!((&value["next_sequence"], &value["cuts"]), (&json!(next), &json!([])));
        let goes_on = said(&made).contains(&format!("the journal goes on with message {next}"));
        assert_eq!(goes_on, round > 0);

        let sent = run_with(&["pub", &name], &numbers(next, next + 1000));
        assert!(said(&sent).contains("sent 1000 messages"), "{}", said(&sent));
        assert!(said(&sent).contains("all durable"), "{}", said(&sent));
        let info = print_json(&["info", &name, "--json"]);
        assert_eq!(info["journal"], "every:50ms");
        let told = String::from_utf8(print(&["info", &name])).unwrap();
        assert!(told.contains("; up to 1 GiB, then the producer waits"), "{told}");
        assert!(told.contains("; kept for 7d"), "{told}");
        assert_eq!(info["durable_sequence"], next + 1000);
        assert_eq!(
            (&info["journaler_alive"], &info["journal_failed"]),
            (&json!(false), &json!(false))
        );
        assert_eq!(info["history_range"]["from"], 0);
        assert_eq!(info["history_range"]["to"], info["position"]);
        let text = String::from_utf8(print(&["info", &name])).unwrap();
        assert!(text.contains("every:50ms, no journaler; all messages are durable"), "{text}");

        let all = numbers(0, next + 1000);
        assert_eq!(print(&["sub", &name, "--from", "oldest", "-e"]), all);
        assert_eq!(print(&["sub", &name, "--from", "0", "-e", "--durable"]), all);
        assert_eq!(print(&["sub", &name, "--from", "3", "-n", "1"]), b"3\n");
        print(&["rm", &name]);
        assert_eq!(print(&["log", "dump", directory.text()]), all);
    }
}

#[test]
fn a_torn_end_is_told_cut_off_and_kept() {
    let _watchdog = watchdog();
    let (name, directory, file) = journal_of("torn", 100);
    append(&file, b"half a message");
    let offset = HEADER_SIZE + 100 * FRAME_SIZE;
    let verified = print_json(&["log", "verify", directory.text(), "--json"]);
    assert_eq!((&verified["torn_size_bytes"], &verified["whole"]), (&json!(14), &json!(true)));
    let text = String::from_utf8(print(&["log", "verify", directory.text()])).unwrap();
    assert!(text.contains("14 bytes of a message that was not written whole"), "{text}");
    assert_eq!(print(&["log", "dump", directory.text()]), numbers(0, 100));

    let made = create(&name, &directory, &["--journal", "written", "--json"]);
    assert_eq!(code(&made), 0, "{}", said(&made));
    let told = format!("cut 14 bytes off {}, from byte {offset} on", file.display());
    assert!(said(&made).contains(&told), "{}", said(&made));
    let value: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(
        (&value["cuts"][0]["offset"], &value["cuts"][0]["size_bytes"]),
        (&json!(offset), &json!(14))
    );
    assert_eq!(value["cuts"][0]["file"], file.to_str().unwrap());
    assert_eq!(fs::read(value["cuts"][0]["kept_in"].as_str().unwrap()).unwrap(), b"half a message");
    publish(&name, &numbers(100, 200));
    assert_eq!(print(&["sub", &name, "--from", "0", "-e"]), numbers(0, 200));
}

#[test]
fn damage_is_found_and_mended_only_when_somebody_says_so() {
    let _watchdog = watchdog();
    let (name, directory, file) = journal_of("damage", 100);
    let offset = damage(&file, 40);
    let made = create(&name, &directory, &["--journal", "written"]);
    assert_eq!(code(&made), 4);
    assert!(
        said(&made).contains(&format!("{} at byte {offset}", file.display())),
        "{}",
        said(&made)
    );

    let verified = run(&["log", "verify", directory.text(), "--json"]);
    assert_eq!(code(&verified), 4);
    assert!(said(&verified).contains("ringway log repair"), "{}", said(&verified));
    let value: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&value["messages"], &value["next_sequence"]), (&json!(40), &json!(40)));
    assert_eq!((&value["damage"]["offset"], &value["whole"]), (&json!(offset), &json!(false)));
    assert_eq!(value["damage"]["file"], file.to_str().unwrap());
    let behind = &value["behind_damage"][0];
    assert_eq!((&behind["file"], &behind["messages"]), (&value["damage"]["file"], &json!(59)));
    let save = format!("`ringway log dump {} --from 41 --to 99 > FILE`", directory.text());
    assert!(said(&verified).contains(&save), "{}", said(&verified));
    let text = run(&["log", "verify", directory.text()]).stdout;
    assert!(String::from_utf8(text).unwrap().ends_with("behind it  59 whole messages, 41 to 99\n"));
    let saved = print(&["log", "dump", directory.text(), "--from", "41", "--to", "99"]);
    assert_eq!(saved, numbers(41, 100));

    let dumped = run(&["log", "dump", directory.text(), "--from", "30"]);
    assert_eq!((code(&dumped), dumped.stdout), (4, numbers(30, 40)));
    let (copy, target) = (Name::new("damage-copy"), ["replay", directory.text(), "--into"]);
    print(&["create", &copy, "--capacity", CAPACITY, "-q"]);
    let replayed = run(&[&target[..], &[&copy, "--speed", "max"]].concat());
    assert_eq!(code(&replayed), 4);
    assert!(said(&replayed).contains("replayed 40 messages"), "{}", said(&replayed));

    let whole = fs::read(&file).unwrap();
    let unattended = run(&["log", "repair", directory.text()]);
    assert_eq!(code(&unattended), 2);
    for words in [
        &format!("{} from byte {offset} on", file.display()),
        "with 59 whole messages, 41 to 99",
        "40 messages are left, 0 to 39",
        "--yes",
        &save,
    ] {
        assert!(said(&unattended).contains(words), "{words}: {}", said(&unattended));
    }
    let declined = answer(&["log", "repair", directory.text()], b"no\n");
    assert_eq!(code(&declined), 1, "{}", said(&declined));
    assert!(said(&declined).contains("nothing was changed"), "{}", said(&declined));
    assert_eq!(fs::read(&file).unwrap(), whole);

    let repaired = answer(&["log", "repair", directory.text(), "--json"], b"y\n");
    assert_eq!(code(&repaired), 0, "{}", said(&repaired));
    let cuts: Value = serde_json::from_slice(&repaired.stdout).unwrap();
    assert_eq!((&cuts[0]["offset"], cuts.as_array().unwrap().len()), (&json!(offset), 1));
    let kept = fs::read(cuts[0]["kept_in"].as_str().unwrap()).unwrap();
    assert_eq!([fs::read(&file).unwrap(), kept].concat(), whole);
    print(&["log", "verify", directory.text()]);
    assert_eq!(print_json(&["log", "repair", directory.text(), "--json"]), json!([]));

    create_journalled(&name, &directory);
    publish(&name, &numbers(40, 50));
    assert_eq!(print(&["sub", &name, "--from", "0", "-e"]), numbers(0, 50));
    // Not under a queue that is there.
    damage(&file, 3);
    let refused = run(&["log", "repair", directory.text(), "--yes"]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains(&format!("ringway rm {}", &*name)), "{}", said(&refused));
}

#[test]
fn a_journaler_ends_when_interrupted_or_when_the_queue_does() {
    let _watchdog = watchdog();
    let (name, directory) = place("journaler");
    assert_eq!(code(&create(&name, &directory, &["--journal", "always"])), 0);
    for (number, code_expected) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let (mut journaler, says) = start_journaler(&name);
        let second = run(&["journal", &name, "--standby", "0s"]);
        assert_eq!(code(&second), 1);
        assert!(said(&second).contains("has a journaler already"), "{}", said(&second));
        assert_eq!(print_json(&["info", &name, "--json"])["journaler_alive"], true);
        let sent = run_with(&["pub", &name], b"a\nb\n");
        assert!(said(&sent).contains("sent 2 messages"), "{}", said(&sent));
        assert!(said(&sent).contains("all durable"), "{}", said(&sent));
        signal(&journaler, number);
        assert_eq!(journaler.wait().unwrap().code(), Some(code_expected));
        let says = says();
        assert!(says.contains("interrupted; 2 messages ("), "{says}");
    }
    let (mut journaler, says) = start_journaler(&name);
    let refused = run(&["rm", &name]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("a journaler"), "{}", said(&refused));
    print(&["rm", "--force", &name]);
    assert_eq!(journaler.wait().unwrap().code(), Some(0));
    assert!(says().contains("the queue was removed; 0 messages"));
}

#[test]
fn pub_writes_the_journal_where_nobody_does_and_leaves_nothing_undone() {
    let _watchdog = watchdog();
    let (name, directory) = place("pub");
    assert_eq!(code(&create(&name, &directory, &["--journal", "always"])), 0);
    let queue = Queue::open(&name).unwrap();
    let mut producer = ringway(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"a\nb\nhalf").unwrap();
    // Long before it ends.
    await_durable(&queue, 2);
    assert!(queue.info().unwrap().journaler_alive);
    signal(&producer, libc::SIGINT);
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    let words = format!("interrupted; sent 2 messages to '{}' (0 to 1), all durable", &*name);
    assert!(said(&output).contains(&words), "{}", said(&output));

    // However seldom it is synced.
    let (name, directory) = place("seldom");
    assert_eq!(code(&create(&name, &directory, &["--journal", "every:1h"])), 0);
    publish(&name, b"a\nb\n");
    assert_eq!(Queue::open(&name).unwrap().durable_sequence(), Some(2));
}

#[test]
fn pub_takes_over_from_a_journaler_that_dies_also_while_it_waits_for_input() {
    let _watchdog = watchdog();
    let (name, directory) = place("pub-takes-over");
    assert_eq!(code(&create(&name, &directory, &["--journal", "always"])), 0);
    let queue = Queue::open(&name).unwrap();
    let (mut journaler, _) = start_journaler(&name);
    let mut producer = ringway(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"a\n").unwrap();
    await_durable(&queue, 1);
    // With something left that it has not written.
    signal(&journaler, libc::SIGSTOP);
    input.write_all(b"b\n").unwrap();
    journaler.kill().unwrap();
    journaler.wait().unwrap();
    await_durable(&queue, 2);
    input.write_all(b"c\n").unwrap();
    await_durable(&queue, 3);
    drop(input);
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("writing the journal of"), "{}", said(&output));
    assert!(said(&output).contains("sent 3 messages"), "{}", said(&output));
}

#[test]
fn a_journal_that_cannot_be_written_is_an_error() {
    let _watchdog = watchdog();
    let (name, directory) = place("unwritable");
    assert_eq!(code(&create(&name, &directory, &["--journal", "always"])), 0);
    let queue = Queue::open(&name).unwrap();
    let mut producer = ringway(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"a\n").unwrap();
    await_durable(&queue, 1);
    // Somebody removes it under us.
    fs::remove_dir_all(directory.file("log")).unwrap();
    input.write_all(b"b\n").unwrap();
    drop(input);
    let output = producer.wait_with_output().unwrap();
    assert_eq!(code(&output), 1, "{}", said(&output));
    let words = "those from 1 on are not durable";
    assert!(said(&output).contains(words), "{}", said(&output));
    let info = print_json(&["info", &name, "--json"]);
    assert_eq!((&info["durable_sequence"], &info["journal_failed"]), (&json!(1), &json!(true)));
    let again = run(&["pub", &name, "c"]);
    assert_eq!(code(&again), 1);
}

#[test]
fn pub_says_at_once_that_its_journal_has_no_space_and_goes_on_when_there_is_some() {
    let _watchdog = watchdog();
    let (name, directory) = place("pub-space");
    assert_eq!(code(&create(&name, &directory, &["--journal", "written"])), 0);
    let queue = Queue::open(&name).unwrap();
    let mut producer = that_can_be_limited(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    input.write_all(b"a\n").unwrap();
    await_durable(&queue, 1);
    limit_files_of(&producer, 8 << 10);
    // Less than a ring, so that the producer need not write itself.
    input.write_all(&[&[b'x'; 7999][..], b"\n"].concat().repeat(4)).unwrap();
    let mut lines = BufReader::new(producer.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.next().unwrap();
    assert!(told.contains("too large") && told.contains("trying again"), "{told}");
    limit_files_of(&producer, libc::RLIM_INFINITY);
    await_durable(&queue, 5);
    drop(input);
    assert!(producer.wait().unwrap().success());
    let rest: Vec<_> = lines.collect();
    assert!(rest.len() == 1 && rest[0].contains("all durable"), "{rest:?}");
}

#[test]
fn a_journaler_without_space_waits_for_some() {
    let _watchdog = watchdog();
    let (name, directory) = place("space");
    assert_eq!(code(&create(&name, &directory, &["--journal", "written"])), 0);
    let queue = Queue::open(&name).unwrap();
    let mut journaler = that_can_be_limited(&["journal", &name]).spawn().unwrap();
    let mut lines = BufReader::new(journaler.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("writing the journal"));
    limit_files_of(&journaler, 64 << 10);
    let mut producer = queue.producer().unwrap();
    for _ in 0..20 {
        producer.send(&[7; 8000]).unwrap();
    }
    let told = lines.next().unwrap();
    assert!(told.contains("too large") && told.contains("trying again"), "{told}");
    assert!(queue.durable_sequence().unwrap() < 20);
    limit_files_of(&journaler, libc::RLIM_INFINITY);
    await_durable(&queue, 20);
    signal(&journaler, libc::SIGINT);
    assert_eq!(journaler.wait().unwrap().code(), Some(130));
    let last = lines.last().unwrap();
    assert!(last.contains("interrupted; 20 messages"), "{last}");
}

#[test]
fn whoever_is_killed_what_was_durable_is_there() {
    const ROUNDS: u64 = 6;
    let _watchdog = watchdog();
    let mut random = Random::from_environment();
    let (name, directory) = place("kill");
    let mut next = 0;
    for round in 0..ROUNDS {
        let made = create(&name, &directory, &["--journal", "every:1ms", "--json"]);
        assert_eq!(code(&made), 0, "{}", said(&made));
        let queue = Queue::open(&name).unwrap();
        // Every other time it is the producer that writes.
        let mut journaler = (round % 2 == 0).then(|| start_journaler(&name).0);
        let mut producer = ringway(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = producer.stdin.take().unwrap();
        // Until there is nobody to read it.
        let begin = next;
        let writer = std::thread::spawn(move || {
            let _ = (begin..).try_for_each(|number| writeln!(input, "{number}"));
        });
        await_durable(&queue, next + random.below(5000));
        let mut victims: Vec<_> = journaler.iter_mut().chain([&mut producer]).collect();
        if random.below(2) == 0 {
            victims.reverse();
        }
        for victim in victims {
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        writer.join().unwrap();
        let durable = queue.durable_sequence().unwrap();
        drop(queue);
        // As a restart of the machine does.
        fs::remove_file(name.path()).unwrap();
        let made = create(&name, &directory, &["--journal", "every:1ms", "--json"]);
        assert_eq!(code(&made), 0, "{}", said(&made));
        let value: Value = serde_json::from_slice(&made.stdout).unwrap();
        next = value["next_sequence"].as_u64().unwrap();
        assert!(next >= durable, "{next} of {durable} messages");
        assert_eq!(print(&["sub", &name, "--from", "0", "-e"]), numbers(0, next));
        print(&["rm", &name]);
        assert_eq!(print(&["log", "dump", directory.text()]), numbers(0, next));
    }
}

#[test]
fn a_consumer_that_spills_misses_nothing_and_holds_nobody() {
    let _watchdog = watchdog();
    let (name, directory) = place("spill");
    assert_eq!(code(&create(&name, &directory, &[])), 0);
    let consumer = ringway(&["sub", &name, "--lag", "spill", "--from", "oldest"]);
    let consumer = { consumer }.spawn().unwrap();
    await_consumers(&name, 1);
    signal(&consumer, libc::SIGSTOP);
    // More than twenty rings.
    publish(&name, &numbers(0, 100_000));
    let info = print_json(&["info", &name, "--json"]);
    let kept = &info["history_range"];
    assert!(kept["to"].as_u64() > kept["from"].as_u64(), "{info}");
    assert!(!files(&directory, "spill").is_empty());
    run(&["pub", &name, "--close", "the end"]);
    signal(&consumer, libc::SIGCONT);
    let output = consumer.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(output.stdout == [numbers(0, 100_000), b"the end\n".to_vec()].concat());
}

#[test]
fn who_wants_durable_messages_gets_no_others() {
    let _watchdog = watchdog();
    let (name, directory) = place("durable");
    assert_eq!(code(&create(&name, &directory, &["--journal", "every:1h"])), 0);
    let mut producer = Queue::open(&name).unwrap().producer().unwrap();
    producer.send(b"a").unwrap();
    let arguments = ["sub", &name, "--from", "oldest", "-e"];
    let durable = [&arguments[..], &["--durable"]].concat();
    assert_eq!((print(&arguments), print(&durable)), (b"a\n".to_vec(), vec![]));
    let text = String::from_utf8(print(&["info", &name])).unwrap();
    assert!(text.contains("1 message from 0 on not durable yet"), "{text}");
    assert!(producer.flush_timeout(Duration::from_secs(60)).unwrap());
    assert_eq!(print(&durable), b"a\n");
}

#[test]
fn a_time_is_a_beginning() {
    let _watchdog = watchdog();
    let (name, directory) = place("time");
    create_journalled(&name, &directory);
    print(&["sub", &name, "--as", "workers", "--lag", "skip", "-e"]);
    // Far more than the ring has.
    publish(&name, &numbers(0, 5000));
    let lines = print(&["sub", &name, "--from", "oldest", "-e", "-f", "jsonl"]);
    let lines = lines_of_json(&lines);
    for number in [0, 2499, 4999] {
        let time = lines[number]["time"].as_str().unwrap();
        let first = first_since(&lines, time);
        let expected = numbers(first, 5000);
        assert_eq!(print(&["sub", &name, "--from", time, "-e"]), expected, "{time}");
        assert_eq!(print(&["log", "dump", directory.text(), "--from", time]), expected, "{time}");
    }
    assert_eq!(print(&["sub", &name, "--from", "-1h", "-e"]), numbers(0, 5000));
    assert_eq!(print(&["sub", &name, "--from", "2999-01-01 00:00:00", "-e"]), b"");
    assert_eq!(print(&["log", "dump", directory.text(), "--to", "-1h"]), b"");
    let late = lines[4990]["time"].as_str().unwrap();
    let first = first_since(&lines, late);
    print(&["seek", &name, "workers", late]);
    assert_eq!(print(&["sub", &name, "--as", "workers", "-e"]), numbers(first, 5000));
    print(&["sub", &name, "--as", "others", "--from", late, "-n", "1"]);
    assert_eq!(print(&["sub", &name, "--as", "others", "-e"]), numbers(first + 1, 5000));
}

#[test]
fn what_is_dumped_is_what_was_asked_for() {
    let _watchdog = watchdog();
    let (_name, directory, _) = journal_of("dump", 20);
    let dump = |options: &[&str]| run(&[&["log", "dump", directory.text()], options].concat());
    for (options, expected) in [
        (&[][..], numbers(0, 20)),
        (&["--from", "15"], numbers(15, 20)),
        (&["--to", "3"], numbers(0, 4)),
        (&["--from", "3", "--to", "3"], numbers(3, 4)),
        (&["--from", "20"], vec![]),
        (&["--from", "3", "--to", "4", "-D", "\\0"], b"3\x004\x00".to_vec()),
        (&["--to", "0", "-D", "len32"], b"\x01\0\0\x000".to_vec()),
    ] {
        let output = dump(options);
        assert_eq!((code(&output), &output.stdout), (0, &expected), "{options:?}");
    }
    let lines = lines_of_json(&dump(&["--json", "--from", "19"]).stdout);
    assert_eq!((&lines[0]["sequence"], &lines[0]["data"]), (&json!(19), &json!("19")));
    assert!(lines[0]["time"].is_string() && lines.len() == 1);
}

#[test]
fn a_repair_that_fails_tells_what_it_has_cut_off() {
    let _watchdog = watchdog();
    let (name, directory, first) = journal_of("repair-fails", 20);
    create_journalled(&name, &directory);
    publish(&name, &numbers(20, 60));
    print(&["rm", &name]);
    let second = files(&directory, "log").remove(1);
    let offset = damage(&first, 18);
    damage(&second, 0);
    let history = directory.text();
    // There is room for the two messages of the first, and not for those of the second.
    let repaired = limited(&["log", "repair", history, "--yes", "--json"], 1000).output().unwrap();
    assert_eq!(code(&repaired), 1, "{}", said(&repaired));
    assert!(said(&repaired).contains("too large"), "{}", said(&repaired));
    let cuts: Value = serde_json::from_slice(&repaired.stdout).unwrap();
    assert_eq!((cuts.as_array().unwrap().len(), &cuts[0]["offset"]), (1, &json!(offset)));
    assert_eq!(fs::metadata(&first).unwrap().len(), offset);
    assert_eq!(print_json(&["log", "repair", history, "--yes", "--json"])[0]["offset"], 4096);
    print(&["log", "repair", history]);
}

#[test]
fn a_file_that_was_just_begun_is_in_the_way_of_nobody() {
    let _watchdog = watchdog();
    let (_name, directory, file) = journal_of("just-begun", 20);
    let history = directory.text();
    // Where the next one begins, if the queue has been made anew.
    let begun = file.with_file_name(format!("{:020}.log", 64 << 10));
    for begun_size in [0, 100] {
        fs::write(&begun, vec![0; begun_size]).unwrap();
        assert_eq!(print(&["log", "dump", history, "--from", "-5"]), numbers(15, 20));
        assert_eq!(print(&["log", "dump", history, "--from", "-1h"]), numbers(0, 20));
        let verified = print_json(&["log", "verify", history, "--json"]);
        assert_eq!(verified["torn_size_bytes"], begun_size);
        // It does not say where the sequence goes on.
        let pruned = print_json(&["log", "prune", history, "--max-size", "0", "--json"]);
        assert_eq!(pruned["removed"], json!([]));
        let repaired = run(&["log", "repair", history, "--yes"]);
        assert!(said(&repaired).contains("a file that was just begun"), "{}", said(&repaired));
        assert_eq!((code(&repaired), begun.exists(), file.exists()), (0, false, true));
    }
    // Nor is one that is all there is.
    fs::remove_file(&file).unwrap();
    fs::write(&begun, []).unwrap();
    assert_eq!(print_json(&["log", "verify", history, "--json"])["whole"], true);
    assert_eq!(print(&["log", "dump", history, "--from", "-5"]), b"");
}

#[test]
fn a_replay_keeps_keys_and_says_what_is_missing() {
    let _watchdog = watchdog();
    let (name, directory) = place("replay");
    create_journalled(&name, &directory);
    let input = b"a 1\nb 2\nc 3\n\xff\xfe 4\n";
    assert_eq!(code(&run_with(&["pub", &name, "--key-field", "1"], input)), 0);
    let (copy, copies) = place("replay-copy");
    assert_eq!(code(&create(&copy, &copies, &["--journal", "always"])), 0);
    let replay = ["replay", directory.text(), "--into", &copy];
    // In their own time, which is short.
    let all = run(&replay);
    assert_eq!(code(&all), 0, "{}", said(&all));
    let words = format!("replayed 4 messages to '{}' (0 to 3), all durable", &*copy);
    assert!(said(&all).contains(&words), "{}", said(&all));
    print(&[&replay[..], &["--speed", "max", "--from", "1", "--to", "2", "--close"]].concat());
    let lines = lines_of_json(&print(&["sub", &copy, "--from", "0", "-f", "jsonl"]));
    let facts: Vec<_> = lines
        .iter()
        .map(|line| (line["key_hash"].clone(), line["data"].clone(), line["base64"].clone()))
        .collect();
    let fact = |key: &[u8], data: &str| {
        (json!(format!("{:016x}", key_hash(key))), json!(data), Value::Null)
    };
    let last = (json!(format!("{:016x}", key_hash(b"\xff\xfe"))), Value::Null, json!("//4gNA=="));
    let expected = [
        fact(b"a", "a 1"),
        fact(b"b", "b 2"),
        fact(b"c", "c 3"),
        last,
        fact(b"b", "b 2"),
        fact(b"c", "c 3"),
    ];
    assert_eq!(facts, expected);
    assert_eq!(print(&["log", "dump", copies.text(), "--from", "4"]), b"b 2\nc 3\n");

    // A message that does not fit.
    let (small, (large, directory)) = (Name::new("replay-small"), place("replay-large"));
    let options = ["--history", directory.text(), "--journal", "written", "-q"];
    print(&[&["create", &large][..], &options].concat());
    publish(&large, &[b"fits\n", &*vec![b'x'; 10_000], b"\n"].concat());
    print(&["create", &small, "--capacity", CAPACITY, "-q"]);
    let replayed = run(&["replay", directory.text(), "--into", &small, "--speed", "max"]);
    assert_eq!(code(&replayed), 1);
    assert!(said(&replayed).contains("replayed 1 message"), "{}", said(&replayed));
    assert!(said(&replayed).contains("10000 bytes is too large"), "{}", said(&replayed));
}

#[test]
fn files_that_are_gone_are_missed_and_told() {
    let _watchdog = watchdog();
    let (name, directory) = place("prune");
    // A queue that is made anew begins a file.
    for round in 0..4 {
        create_journalled(&name, &directory);
        publish(&name, &numbers(10 * round, 10 * round + 10));
        print(&["rm", &name]);
    }
    assert_eq!(files(&directory, "log").len(), 4);
    assert_eq!(code(&run(&["log", "prune", directory.text()])), 2);
    let nothing = run(&["log", "prune", directory.text(), "--older-than", "1h"]);
    assert_eq!(code(&nothing), 0);
    assert!(said(&nothing).contains("removed nothing"), "{}", said(&nothing));
    let size = fs::metadata(&files(&directory, "log")[0]).unwrap().len();
    let limit = (3 * size).to_string();
    let first = files(&directory, "log")[0].clone();
    let pruned = run(&["log", "prune", directory.text(), "--max-size", &limit, "--json"]);
    assert_eq!(code(&pruned), 0, "{}", said(&pruned));
    let removed: Value = serde_json::from_slice(&pruned.stdout).unwrap();
    assert_eq!(removed["removed"], json!([first]));
    // From the oldest on it is whole; somebody who asks for another is told.
    print(&["log", "verify", directory.text()]);
    assert_eq!(print(&["log", "dump", directory.text()]), numbers(10, 40));
    let dumped = run(&["log", "dump", directory.text(), "--from", "3"]);
    assert_eq!((code(&dumped), &dumped.stdout), (4, &numbers(10, 40)));
    assert!(said(&dumped).contains("missed 7 messages: 3 to 9"), "{}", said(&dumped));

    // The same between two files. There is nothing to repair: what is there is whole.
    fs::remove_file(&files(&directory, "log")[1]).unwrap();
    let verified = run(&["log", "verify", directory.text()]);
    assert_eq!(code(&verified), 4);
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(text.contains("missing    20 to 29"), "{text}");
    let dumped = run(&["log", "dump", directory.text()]);
    let rest = [numbers(10, 20), numbers(30, 40)].concat();
    assert_eq!((code(&dumped), &dumped.stdout), (4, &rest));
    assert!(said(&dumped).contains("missed 10 messages: 20 to 29"), "{}", said(&dumped));
    print(&["log", "repair", directory.text(), "--yes"]);
    create_journalled(&name, &directory);
    let (mut journaler, _) = start_journaler(&name);
    let refused = run(&["log", "prune", directory.text(), "--max-size", "1"]);
    assert_eq!(code(&refused), 1, "{}", said(&refused));
    journaler.kill().unwrap();
    journaler.wait().unwrap();
}

#[test]
fn messages_between_others_are_missed_and_told() {
    const SIZE: usize = 60_000;
    const COUNT: u64 = 600;
    let _watchdog = watchdog();
    let (name, directory) = place("gap");
    let options = ["--history", directory.text(), "--journal", "written"];
    print(&[&["create", &name][..], &options].concat());
    // So much that the second of three files is full.
    let messages = |from: u64, to: u64| {
        let message = |number| format!("{number:0SIZE$}\n").into_bytes();
        (from..to).map(message).collect::<Vec<_>>().concat()
    };
    publish(&name, &messages(0, COUNT));
    let [_, second, _] = &files(&directory, "log")[..] else { panic!("three files") };
    fs::remove_file(second).unwrap();
    let verified = run(&["log", "verify", directory.text(), "--json"]);
    assert_eq!(code(&verified), 4);
    let value: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let missing = value["missing"].as_array().unwrap();
    let [from, to] =
        ["first_sequence", "next_sequence"].map(|end| missing[0][end].as_u64().unwrap());
    assert_eq!((missing.len(), &value["damage"]), (1, &Value::Null));
    let told = format!("{from} to {}", to - 1);
    let text = run(&["log", "verify", directory.text()]).stdout;
    assert!(String::from_utf8(text).unwrap().contains(&format!("missing    {told}")));
    let words = format!("missed {} messages: {told}", to - from);
    let expected = [messages(0, from), messages(to, COUNT)].concat();
    // While the queue is there that had them there, they may come back.
    let refused = run(&["sub", &name, "--from", "0", "-e"]);
    assert_eq!(code(&refused), 1, "{}", said(&refused));
    assert!(refused.stdout == messages(0, from));
    print(&["rm", &name]);
    print(&[&["create", &name][..], &options].concat());
    for arguments in [&["sub", &name, "--from", "0", "-e"][..], &["log", "dump", directory.text()]]
    {
        let output = run(arguments);
        assert_eq!(code(&output), 4);
        assert!(said(&output).contains(&words), "{}", said(&output));
        assert!(output.stdout == expected, "{arguments:?}");
    }
}

#[test]
fn rm_takes_the_history_only_when_told_to() {
    let _watchdog = watchdog();
    let (name, directory) = place("rm");
    create_journalled(&name, &directory);
    publish(&name, &numbers(0, 10));
    print(&["rm", &name]);
    assert_eq!(print(&["log", "dump", directory.text()]), numbers(0, 10));
    create_journalled(&name, &directory);
    let foreign = directory.file("log").join("notes");
    fs::write(&foreign, "somebody else's").unwrap();
    let unattended = run(&["rm", &name, "--history"]);
    assert_eq!(code(&unattended), 2, "{}", said(&unattended));
    let declined = answer(&["rm", &name, "--history"], b"\n");
    assert_eq!(code(&declined), 1, "{}", said(&declined));
    assert!(said(&declined).contains("left alone"), "{}", said(&declined));
    let (mut journaler, _) = start_journaler(&name);
    let refused = run(&["rm", &name, "--history", "--yes"]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("in use by a journaler"), "{}", said(&refused));
    assert_eq!(print(&["log", "dump", directory.text()]), numbers(0, 10));

    let file = files(&directory, "log")[0].clone();
    let removed = run(&["rm", &name, "--history", "--force", "--json"]);
    assert_eq!(code(&removed), 0, "{}", said(&removed));
    assert_eq!(journaler.wait().unwrap().code(), Some(0));
    assert!(said(&removed).contains(&format!("removed {}", file.display())), "{}", said(&removed));
    let value: Value = serde_json::from_slice(&removed.stdout).unwrap();
    let identity = directory.file("identity");
    assert_eq!(value[0]["history"], json!([file, directory.file("instance"), identity]));
    assert_eq!(files(&directory, "log"), [foreign]);
    assert!(!identity.exists());

    // What was spilt, and dead letters.
    let (name, directory) = place("rm-spill");
    assert_eq!(code(&create(&name, &directory, &[])), 0);
    let mut consumer =
        ringway(&["sub", &name, "--lag", "spill", "--from", "oldest"]).spawn().unwrap();
    await_consumers(&name, 1);
    signal(&consumer, libc::SIGSTOP);
    let workers = ["sub", &name, "--as", "w", "--from", "oldest", "--max-deliveries", "1"];
    publish(&name, b"poison\n");
    print(&[&workers[..], &["-n", "1", "--exec", "false"]].concat());
    print(&["unsubscribe", &name, "w"]);
    publish(&name, &numbers(0, 10_000));
    consumer.kill().unwrap();
    consumer.wait().unwrap();
    assert!(
        !files(&directory, "spill").is_empty() && !files(&directory, "dead-letters").is_empty()
    );
    let removed = run(&["rm", &name, "--history", "--yes"]);
    assert_eq!(code(&removed), 0, "{}", said(&removed));
    assert!(!directory.path().exists(), "{}", said(&removed));

    // What a group has not done is in the journal, until that goes too.
    let (name, directory) = place("rm-backlog");
    create_journalled(&name, &directory);
    publish(&name, &numbers(0, 3));
    print(&["sub", &name, "--as", "w", "--from", "oldest", "-n", "1"]);
    assert_eq!(code(&run(&["rm", &name, "--if-empty"])), 1);
    let removed = run(&["rm", &name]);
    assert_eq!((code(&removed), said(&removed).contains("acknowledged")), (0, false));
    create_journalled(&name, &directory);
    let declined = answer(&["rm", &name, "--history"], b"n\n");
    assert!(said(&declined).contains("2 messages of 'w'"), "{}", said(&declined));
    let removed = run(&["rm", &name, "--history", "--yes"]);
    assert!(said(&removed).contains("2 messages of 'w'"), "{}", said(&removed));

    let plain = Name::new("rm-plain");
    print(&["create", &plain, "-q"]);
    let removed = run(&["rm", &plain, "--history", "--yes"]);
    assert_eq!(code(&removed), 0);
    assert!(said(&removed).contains("had no history"), "{}", said(&removed));
}

#[test]
fn each_wrong_use_has_its_exit_code() {
    let _watchdog = watchdog();
    let (name, directory, _) = journal_of("wrong", 1);
    let history = directory.text();
    let plain = Name::new("wrong-plain");
    print(&["create", &plain, "-q"]);
    for (arguments, expected, words) in [
        (&["create", "odd", "--journal", "always"][..], 2, "--history"),
        (&["create", "odd", "--history-max", "1GiB"], 2, "--history"),
        (&["create", "odd", "--history", history, "--at-limit", "hold"], 2, "--history-max"),
        (&["create", "odd", "--history", history, "--keep", "7d"], 2, "--journal"),
        (&["create", "odd", "--history", history, "--journal", "often"], 2, "every:100ms"),
        (&["create", "odd", "--history", history, "--journal", "every:0s"], 2, "every:100ms"),
        (&["create", "odd", "--history", history], 1, &name),
        (&["sub", &plain, "--durable"], 2, "has no journal"),
        (&["sub", &plain, "--durable", "--as", "w"], 2, "--as"),
        (&["sub", &plain, "--lag", "spill"], 2, "history directory"),
        (&["sub", &plain, "--from", "-5m"], 2, "has no journal"),
        (&["sub", &plain, "--from", "5m"], 2, "-5m"),
        (&["seek", &plain, "w", "-5 minute moments"], 2, "-5m"),
        (&["journal", &plain], 2, "has no journal"),
        (&["journal", "no-such-queue"], 3, "no queue"),
        (&["log", "verify", "/no/such/directory"], 3, "no history directory"),
        (&["log", "verify", "/"], 3, "no history directory"),
        (&["log", "dump", history, "--from", "newest"], 2, "a sequence"),
        (&["log", "dump", history, "--json", "-D", ";"], 2, "--delimiter"),
        (&["log", "prune", history], 2, "--max-size"),
        (&["log", "prune", history, "--older-than", "0s"], 2, "above zero"),
        (&["replay", history], 2, "--into"),
        (&["replay", history, "--into", "no-such-queue"], 3, "no queue"),
        (&["replay", history, "--into", &plain, "--speed", "fast"], 2, "1x"),
        (&["replay", "/no/such/directory", "--into", &plain], 3, "no history directory"),
        (&["rm", "no-such-queue", "--history", "--yes"], 3, "no queue"),
        (&["rm", &plain, "--if-empty", "--force"], 2, "--force"),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    fs::write(directory.file("identity"), "something else").unwrap();
    for arguments in [&["log", "verify", history][..], &["log", "dump", history]] {
        let output = run(arguments);
        assert_eq!(code(&output), 4, "{}", said(&output));
        assert!(said(&output).contains("identity"), "{}", said(&output));
    }
}

#[test]
fn help_and_manual_name_the_commands() {
    let manual = String::from_utf8(print(&["man"])).unwrap();
    for words in ["journal", "log", "replay", "queue or journal is damaged"] {
        assert!(manual.contains(words), "{words:?} is not in {manual}");
    }
    for (arguments, words) in [
        (&["create", "--help"][..], "every:100ms"),
        (&["sub", "--help"], "spill"),
        (&["log", "--help"], "verify"),
        (&["replay", "--help"], "--speed"),
        (&["metrics", "--help"], "node_exporter"),
        (&["completions", "bash"], "older-than"),
    ] {
        let text = String::from_utf8(print(arguments)).unwrap();
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn a_history_that_is_another_queues_by_now_is_not_removed_with_the_queue() {
    let _watchdog = watchdog();
    let (name, directory) = place("rm-succeeded");
    create_journalled(&name, &directory);
    publish(&name, &numbers(0, 10));
    // As whoever makes a queue of that name from it writes, where another /dev/shm is.
    fs::write(directory.file("instance"), "another\n").unwrap();
    let kept = run(&["rm", &name, "--history", "--yes", "--json"]);
    assert_eq!(code(&kept), 1);
    let value: Value = serde_json::from_slice(&kept.stdout).unwrap();
    assert_eq!((&value[0]["removed"], &value[0]["history"]), (&json!(false), &Value::Null));
    assert!(said(&kept).contains("another queue was made from the history"), "{}", said(&kept));
    // Before anybody is asked, and by force neither.
    for how in ["--json", "--force"] {
        assert_eq!(code(&run(&["rm", &name, "--history", how])), 1);
    }
    print(&["rm", &name]);
    assert_eq!(print(&["log", "dump", directory.text()]), numbers(0, 10));

    let unattended = run(&["log", "rm", directory.text()]);
    assert_eq!(code(&unattended), 2, "{}", said(&unattended));
    let declined = answer(&["log", "rm", directory.text()], b"n\n");
    assert_eq!(code(&declined), 1, "{}", said(&declined));
    create_journalled(&name, &directory);
    let refused = run(&["log", "rm", directory.text(), "--yes"]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("is there and goes on in"), "{}", said(&refused));
    // What cannot be removed is told when the queue is gone.
    let in_the_way = directory.file("spill/00000000000000000000.log");
    fs::create_dir_all(&in_the_way).unwrap();
    let left = run(&["rm", &name, "--history", "--yes", "--json"]);
    assert_eq!(code(&left), 1);
    let value: Value = serde_json::from_slice(&left.stdout).unwrap();
    assert_eq!((&value[0]["removed"], &value[0]["history"]), (&json!(true), &Value::Null));
    let told = said(&left);
    assert!(told.contains(&format!("ringway log rm {}", directory.text())), "{told}");
    fs::remove_dir(&in_the_way).unwrap();
    let gone = print_json(&["log", "rm", directory.text(), "--yes", "--json"]);
    assert!(gone["removed"].as_array().unwrap().contains(&json!(directory.file("identity"))));
    assert!(!directory.path().exists());
}

#[test]
fn a_journaler_ends_when_its_queue_lost_its_name_and_nobody_says_so() {
    let _watchdog = watchdog();
    let (name, directory) = place("unnamed");
    create_journalled(&name, &directory);
    let (mut journaler, _) = start_journaler(&name);
    publish(&name, &numbers(0, 10));
    fs::remove_file(name.path()).unwrap();
    assert_eq!(journaler.wait().unwrap().code(), Some(0));
    assert_eq!(print(&["log", "dump", directory.text()]), numbers(0, 10));
    create_journalled(&name, &directory);
}

#[test]
fn a_directory_whose_name_is_no_text_is_told_all_the_same() {
    let _watchdog = watchdog();
    let (name, directory) = place("no-text");
    let path = directory.path().join(OsStr::from_bytes(b"h\xff"));
    let options = QueueOptions::new().capacity(64 << 10).history(&path).journal(Journal::Written);
    Queue::create(&name, &options).unwrap();
    let told = |output: &[u8]| String::from_utf8(output.to_vec()).unwrap().contains("/h\u{fffd}");
    for arguments in [&["info", &name, "--json"][..], &["ls", "--json"], &["info", &name]] {
        assert!(told(&print(arguments)), "{arguments:?}");
    }
    assert!(told(&print(&["rm", &name, "--history", "--yes", "--json"])));
    assert!(!path.exists());
}

#[test]
fn a_producer_that_a_full_history_holds_says_so_and_so_does_ls() {
    let _watchdog = watchdog();
    let name = Name::new("held-by-files");
    let directory = Directory::new(&name);
    let path = directory.path().to_str().unwrap();
    let history = ["--history", path, "--journal", "written", "--history-max", "1MiB"];
    print(&[&["create", &name, "-q", "-c", "64KiB"][..], &history].concat());
    print(&["declare", &name, "audit"]);
    let mut producer = ringway(&["pub", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let writer = std::thread::spawn(move || input.write_all(&line.repeat(20_000)));
    await_words(&mut producer, "its history has the size that it may have, and is needed by");
    let queue = Queue::open(&name).unwrap();
    assert!(queue.info().unwrap().subscriptions[0].holds_producer);
    let list = String::from_utf8(print(&["ls"])).unwrap();
    let line = list.lines().find(|line| line.starts_with(&*name)).unwrap();
    assert!(line.contains("holds the producer"), "{line}");
    print(&["unsubscribe", &name, "audit"]);
    assert!(producer.wait().unwrap().success());
    writer.join().unwrap().unwrap();
    assert_eq!(queue.info().unwrap().next_sequence, 20_000);
}

#[test]
fn a_producer_whose_last_messages_do_not_fit_into_a_full_history_says_so_and_gives_up() {
    let _watchdog = watchdog();
    let (name, directory) = place("last-ring");
    let history = ["--journal", "written", "--history-max", "1MiB", "-q"];
    assert_eq!(code(&create(&name, &directory, &history)), 0);
    print(&["declare", &name, "audit"]);
    let queue = Queue::open(&name).unwrap();
    let mut producer = queue.producer().unwrap();
    // As long as there is space on disk. There is a ring beyond it.
    loop {
        producer.send(&[b'x'; 999]).unwrap();
        if !producer.flush_timeout(Duration::from_millis(200)).unwrap() {
            break;
        }
    }
    drop(producer);

    let limited = run(&["pub", &name, "a", "b", "c", "--timeout", "500ms"]);
    assert_eq!(code(&limited), 5, "{}", said(&limited));
    for words in [
        "it is as large as it may be",
        "not durable in time; sent 3 messages to",
        "are not durable",
    ] {
        assert!(said(&limited).contains(words), "{words:?}: {}", said(&limited));
    }
    assert!(!said(&limited).contains("the journaler of"), "{}", said(&limited));

    // Without a limit it waits for space, and a signal does not hide why.
    let mut waiting = ringway(&["pub", &name, "d"]).spawn().unwrap();
    await_words(&mut waiting, "it is as large as it may be");
    signal(&waiting, libc::SIGINT);
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    let mut waiting = ringway(&["pub", &name, "e"]).spawn().unwrap();
    await_words(&mut waiting, "it is as large as it may be");
    print(&["unsubscribe", &name, "audit"]);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(queue.durable_sequence(), Some(queue.info().unwrap().next_sequence));
}
