//! Named subscriptions, as the program's users see them.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Output, Stdio};

use ringway::{Queue, QueueOptions, Sent, Subscribe, key_hash};
use serde_json::{Value, json};
use support::program::{
    agree_after, answer, await_words, code, limited, of_careless_parents, print, print_json,
    ringway, run, run_with, said, signal,
};
use support::{Directory, Name, Random, watchdog};

fn text(output: &[u8]) -> &str {
    str::from_utf8(output).unwrap()
}

fn lines_of_json(output: &[u8]) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn subscription(queue: &str, name: &str) -> Value {
    let all = print_json(&["subscriptions", queue, "--json"]);
    all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

#[test]
fn members_share_the_lines_and_the_place_outlives_them() {
    let _watchdog = watchdog();
    let name = Name::new("share");
    Queue::create(&name, &QueueOptions::new().capacity(256 << 10)).unwrap();
    print(&["sub", &name, "--as", "workers", "-e"]);
    let members: Vec<_> = (0..3)
        .map(|_| {
            let member = ringway(&["sub", &name, "--as", "workers"]).spawn().unwrap();
            std::thread::spawn(|| member.wait_with_output().unwrap())
        })
        .collect();
    let sent = run_with(&["pub", &name, "--wait-for", "3", "--close"], &numbers(30_000));
    assert_eq!(code(&sent), 0, "{}", said(&sent));
    let mut received = Vec::new();
    for member in members {
        let output = member.join().unwrap();
        assert_eq!(code(&output), 0, "{}", said(&output));
        received.extend(text(&output.stdout).lines().map(|line| line.parse::<u32>().unwrap()));
    }
    received.sort_unstable();
    assert!(received.into_iter().eq(0..30_000));

    run_with(&["pub", &name], b"one more\n");
    let shown = subscription(&name, "workers");
    assert_eq!((&shown["lag_messages"], &shown["members_alive"]), (&1.into(), &0.into()));
    assert_eq!(print(&["sub", &name, "--as", "workers", "-e"]), b"one more\n");
    assert_eq!(subscription(&name, "workers")["acked_messages"], 30_001);
}

#[test]
fn nothing_is_over_that_nobody_could_be_given() {
    const SHARES: &str = "64";
    let _watchdog = watchdog();
    let name = Name::new("barred");
    Queue::create(&name, &QueueOptions::new().capacity(64 << 10).members(1)).unwrap();
    run_with(&["pub", &name], &numbers(70));
    // Each that waits to be delivered again has a share of its own, and there are no more of them.
    let refusing = ["--exec", "false", "--backoff", "1h", "-n", SHARES];
    run(&[&["sub", &name, "--as", "refusing", "--from", "oldest"], &refusing[..]].concat());
    let other = ["sub", &name, "--as", "other", "--from", "oldest", "-e", "--timeout", "200ms"];
    let output = run(&other);
    assert_eq!((code(&output), output.stdout), (5, vec![]));
}

#[test]
fn nobody_waits_for_what_one_that_skips_has_lost_with_its_queue() {
    let _alive = watchdog();
    let name = Name::new("cli-lost");
    let directory = Directory::new(&name);
    let create = ["create", &name, "--history", directory.text(), "--journal", "written"];
    print(&create);
    print(&["declare", &name, "workers", "--lag", "skip", "--from", "oldest"]);
    assert_eq!(code(&run_with(&["pub", &name], &numbers(5))), 0);
    print(&["rm", &name]);
    print(&create);
    let members = ["sub", &name, "--as", "workers", "--lag", "skip", "-e"];
    assert_eq!(print(&members), b"");
    assert_eq!(code(&run_with(&["pub", &name, "--close"], &numbers(3))), 0);
    let received = run(&members);
    assert_eq!((code(&received), &received.stdout[..]), (0, &numbers(3)[..]));
    assert!(text(&received.stderr).contains("missed 5 messages: 0 to 4"));
}

#[test]
fn a_member_that_is_killed_loses_nothing() {
    const COUNT: u32 = 20_000;
    let _watchdog = watchdog();
    let mut random = Random::from_environment();
    let name = Name::new("killed");
    Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    print(&["sub", &name, "--as", "w", "-e"]);
    let mut producer = ringway(&["pub", &name, "--close"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&numbers(COUNT)));
    let mut received = BTreeMap::<u32, u32>::new();
    let mut kills = 0;
    loop {
        let mut member = ringway(&["sub", &name, "--as", "w"]).spawn().unwrap();
        let mut output = BufReader::new(member.stdout.take().unwrap());
        let until_kill = random.below(u64::from(COUNT) / 10);
        let mut line = String::new();
        let mut count = 0;
        while output.read_line(&mut line).unwrap() > 0 {
            // Half a line was not acknowledged.
            if let Some(number) = line.strip_suffix('\n') {
                *received.entry(number.parse().unwrap()).or_default() += 1;
            }
            line.clear();
            count += 1;
            if count == until_kill {
                member.kill().unwrap();
            }
        }
        match member.wait().unwrap().code() {
            Some(0) => break,
            Some(code) => panic!("ended with {code}"),
            None => kills += 1,
        }
    }
    writer.join().unwrap().unwrap();
    assert!(producer.wait().unwrap().success());
    assert!(received.keys().copied().eq(0..COUNT), "{} of {COUNT}", received.len());
    let again = received.values().filter(|&&times| times > 1).count();
    assert!(again <= kills * 32, "{again} came again, for {kills} kills");
}

#[test]
fn a_command_acknowledges_by_success_and_what_it_never_does_is_a_dead_letter() {
    let _watchdog = watchdog();
    let name = Name::new("exec");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    run_with(&["pub", &name], b"good\npoison\n\nbetter\n");
    let command = "read -r m; echo \"$m|$RINGWAY_SEQUENCE|$RINGWAY_DELIVERY|$RINGWAY_SUBSCRIPTION\"; \
                   test \"$m\" != poison";
    let done = run(&[
        "sub",
        &name,
        "--as",
        "w",
        "--from",
        "oldest",
        "-e",
        "--exec",
        command,
        "--max-deliveries",
        "3",
        "--backoff",
        "1ms:2:10ms",
    ]);
    assert_eq!(code(&done), 0, "{}", said(&done));
    let mut lines: Vec<_> = text(&done.stdout).lines().collect();
    lines.sort_unstable();
    let expected =
        ["better|3|1|w", "good|0|1|w", "poison|1|1|w", "poison|1|2|w", "poison|1|3|w", "|2|1|w"];
    assert_eq!(lines, expected);
    let words =
        "message 1, delivery 3: the command failed (exit status: 1); it is a dead letter now";
    assert!(said(&done).contains(words), "{}", said(&done));

    let letters = print_json(&["dead-letters", "ls", &name, "w", "--json"]);
    assert_eq!(letters.as_array().unwrap().len(), 1);
    let letter = &letters[0];
    assert_eq!(
        [&letter["sequence"], &letter["deliveries"], &letter["size_bytes"]],
        [&json!(1), &json!(3), &json!(6)]
    );
    let id = letter["id"].to_string();
    assert_eq!(print(&["dead-letters", "show", &name, "w", &id]), b"poison\n");
    let table = print(&["dead-letters", "ls", &name, "w"]);
    assert!(text(&table).contains("refused"), "{}", text(&table));

    // Somebody mended what was wrong with it.
    print(&["dead-letters", "send-again", &name, "w", "--all"]);
    assert_eq!(print_json(&["dead-letters", "ls", &name, "w", "--json"]), json!([]));
    assert_eq!(print(&["sub", &name, "--as", "w", "-e", "--exec", "cat"]), b"poison");

    let none = run(&["dead-letters", "drop", &name, "w", &id]);
    assert_eq!(code(&none), 3);
    assert!(said(&none).contains("has no dead letter"), "{}", said(&none));
}

#[test]
fn what_was_sent_again_is_told_also_if_its_letter_could_not_be_dropped() {
    let _watchdog = watchdog();
    let name = Name::new("again-full");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--capacity", "64KiB", "--history", directory.text()]);
    print(&["pub", &name, "-q", "one"]);
    let exec = ["--max-deliveries", "1", "--exec", "exit 1"];
    run(&[&["sub", &name, "--as", "w", "--from", "oldest", "-e"][..], &exec].concat());
    let letters = std::fs::metadata(directory.file("dead-letters/w.letters")).unwrap().len();
    let again = ["dead-letters", "send-again", &name, "w", "--all", "--json"];
    let sent = limited(&again, letters).output().unwrap();
    assert_eq!(code(&sent), 1, "{}", said(&sent));
    let told: Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(told, json!([{ "id": 0, "sequence": 1 }]));
    assert_eq!(print_json(&["dead-letters", "ls", &name, "w", "--json"])[0]["id"], 0);
}

#[test]
fn how_a_command_ends_is_learnt_also_where_children_are_ignored() {
    let _watchdog = watchdog();
    let name = Name::new("careless");
    print(&["create", &name, "-q", "--capacity", "64KiB"]);
    print(&["pub", &name, "-q", "--", "one", "two"]);
    let sub = ["sub", &name, "--as", "w", "--from", "oldest", "-e", "--exec", "cat; echo"];
    let output = of_careless_parents(&sub).output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(output.stdout, b"one\ntwo\n");
    assert_eq!(print_json(&["subscriptions", &name, "--json"])[0]["lag_messages"], 0);
}

#[test]
fn dead_letters_are_sent_again_when_the_producer_has_gone_or_into_another_queue() {
    let _watchdog = watchdog();
    let (name, other) = (Name::new("again"), Name::new("again-other"));
    let directory = Directory::new(&name);
    let options = QueueOptions::new().history(directory.path());
    let queue = Queue::create(&name, &options).unwrap();
    let journal = Directory::new(&other);
    print(&["create", &other, "--history", journal.text(), "--journal", "written", "-q"]);
    print(&["pub", &name, "--key", "k", "one", "two", "-q"]);
    let exec = ["--max-deliveries", "1", "--exec", "exit 1"];
    run(&[&["sub", &name, "--as", "w", "--from", "oldest", "-e"][..], &exec].concat());
    print(&["sub", &name, "--as", "audit", "-e"]);
    let ids: Vec<String> = print_json(&["dead-letters", "ls", &name, "w", "--json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["id"].to_string())
        .collect();
    let again = |options: &[&str]| {
        run(&[&["dead-letters", "send-again", &name, "w", "--json"][..], options].concat())
    };
    let sent = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();

    let service = queue.producer().unwrap();
    let refused = again(&["--all"]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("--standby"), "{}", said(&refused));
    assert_eq!(code(&again(&["--all", "--standby", "50ms"])), 5);
    assert_eq!(code(&again(&["--all", "--into", "no-such-queue"])), 3);

    // Elsewhere, and safe there before the letter goes.
    let elsewhere = again(&["--into", &other, &ids[0]]);
    assert_eq!(code(&elsewhere), 0, "{}", said(&elsewhere));
    assert_eq!(sent(&elsewhere), json!([{ "id": 0, "sequence": 0 }]));
    assert!(said(&elsewhere).contains("all durable"), "{}", said(&elsewhere));
    assert!(!said(&elsewhere).contains("second time"), "{}", said(&elsewhere));
    let received = lines_of_json(&print(&["sub", &other, "--from", "0", "-e", "-f", "jsonl"]));
    assert_eq!(received[0]["data"], "one");
    assert_eq!(received[0]["key_hash"], format!("{:016x}", key_hash(b"k")));
    assert_eq!(code(&again(&[&ids[0]])), 3, "it is no letter any more");

    // Here, when the place is free; the others are told of.
    let _consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let arguments = ["dead-letters", "send-again", &name, "w", "--all", "--standby", "1h"];
    let mut waiting = ringway(&arguments).spawn().unwrap();
    await_words(&mut waiting, "waiting for the place of another");
    drop(service);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(queue.info().unwrap().next_sequence, 3);
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), b"two\n");
    let none = again(&["--all"]);
    assert_eq!((code(&none), sent(&none)), (0, json!([])));
    let misspelt = run(&["dead-letters", "send-again", &name, "v", "--all"]);
    assert_eq!(code(&misspelt), 3, "{}", said(&misspelt));
}

#[test]
fn a_letter_that_somebody_dealt_with_meanwhile_does_not_keep_the_others_from_being_sent() {
    let _watchdog = watchdog();
    let name = Name::new("again-meanwhile");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    print(&["pub", &name, "one", "two", "-q"]);
    let exec = ["--max-deliveries", "1", "--exec", "exit 1"];
    print(&[&["sub", &name, "--as", "w", "--from", "oldest", "-e"][..], &exec].concat());
    let service = Queue::open(&name).unwrap().producer().unwrap();
    let letters = print_json(&["dead-letters", "ls", &name, "w", "--json"]);
    let [one, two] = [0, 1].map(|place| letters[place]["id"].to_string());
    let again = ["dead-letters", "send-again", &name, "w", &one, &two, "--standby", "1h"];
    let mut waiting = ringway(&again).spawn().unwrap();
    await_words(&mut waiting, "waiting for the place of another");
    print(&["dead-letters", "drop", &name, "w", &one]);
    drop(service);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), b"two\n");
    assert_eq!(print_json(&["dead-letters", "ls", &name, "w", "--json"]), json!([]));
}

#[test]
fn who_else_gets_what_is_sent_again_is_told() {
    let _watchdog = watchdog();
    let name = Name::new("again-others");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(64 << 10).history(directory.path());
    let queue = Queue::create(&name, &options).unwrap();
    print(&["pub", &name, "poison", "-q"]);
    let exec = ["--max-deliveries", "1", "--exec", "exit 1"];
    run(&[&["sub", &name, "--as", "w", "--from", "oldest", "-e"][..], &exec].concat());
    print(&["sub", &name, "--as", "audit", "-e"]);
    print(&["sub", &name, "--as", "index", "-e"]);
    let mut slow = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    while producer.try_send(b"filler").unwrap() != Sent::Full {}
    drop(producer);
    let again = ["dead-letters", "send-again", &name, "w", "--all"];
    let told = run(&[&again[..], &["--timeout", "50ms"]].concat());
    assert_eq!(code(&told), 5, "{}", said(&told));
    assert!(said(&told).contains("2 other subscriptions and 1 consumer of"), "{}", said(&told));
    assert!(said(&told).contains("second time"), "{}", said(&told));
    let letters = print_json(&["dead-letters", "ls", &name, "w", "--json"]);
    assert_eq!(letters.as_array().unwrap().len(), 1, "what was not sent is a letter still");
    assert!(slow.receive().unwrap().message().is_some());
}

#[test]
fn what_nobody_has_acknowledged_is_not_removed_in_silence() {
    let _watchdog = watchdog();
    let name = Name::new("rm-backlog");
    let make = || {
        print(&["pub", &name, "a", "b", "c", "--create", "-q"]);
        print(&["sub", &name, "--as", "done", "--from", "oldest", "-e"]);
        print(&["sub", &name, "--as", "jobs", "--from", "oldest", "-n", "1"]);
        print(&["sub", &name, "--as", "audit", "-n", "0", "--from", "2"]);
    };
    let backlog = "1 message of 'audit', 2 messages of 'jobs'";
    make();
    let refused = run(&["rm", &name, "--if-empty", "--yes"]);
    assert_eq!(code(&refused), 1);
    let words = format!("'{}' is not empty: nobody has acknowledged {backlog}", &*name);
    assert!(said(&refused).contains(&words), "{}", said(&refused));
    let declined = answer(&["rm", &name], b"\n");
    assert_eq!(code(&declined), 1);
    assert!(said(&declined).contains(backlog), "{}", said(&declined));
    assert!(said(&declined).contains("is left alone"), "{}", said(&declined));
    assert_eq!(code(&answer(&["rm", &name], b"y\n")), 0);

    // Without anybody to ask, or told not to.
    for options in [&["--json"][..], &["--yes", "--json"], &["--force", "--json"]] {
        make();
        let removed = run(&[&["rm", &name][..], options].concat());
        assert_eq!(code(&removed), 0, "{}", said(&removed));
        assert!(said(&removed).contains(backlog), "{}", said(&removed));
        let value: Value = serde_json::from_slice(&removed.stdout).unwrap();
        assert_eq!(value[0]["lost"][1], json!({ "subscription": "jobs", "messages": 2 }));
    }
    make();
    print(&["sub", &name, "--as", "audit", "-e"]);
    print(&["sub", &name, "--as", "jobs", "-e"]);
    let removed = answer(&["rm", &name, "--if-empty"], b"");
    assert_eq!((code(&removed), said(&removed).as_str()), (0, ""));
    assert_eq!(code(&run(&["rm", &name, "--if-empty"])), 3);
}

#[test]
fn what_came_while_it_was_asked_is_not_removed() {
    let _watchdog = watchdog();
    let name = Name::new("rm-meanwhile");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    print(&["declare", &name, "jobs"]);
    print(&["pub", &name, "a", "b", "-q"]);
    let more = || drop(print(&["pub", &name, "c", "-q"]));
    let refused = agree_after(&["rm", &name], more);
    assert_eq!(code(&refused), 1, "{}", said(&refused));
    assert!(said(&refused).contains("got more messages meanwhile"), "{}", said(&refused));
    assert!(said(&refused).contains("3 messages of 'jobs'"), "{}", said(&refused));
    // What is done meanwhile is no loss.
    let all_but_one = || drop(print(&["sub", &name, "--as", "jobs", "-n", "2"]));
    let removed = agree_after(&["rm", &name], all_but_one);
    assert_eq!(code(&removed), 0, "{}", said(&removed));
    assert!(said(&removed).contains("1 message of 'jobs'"), "{}", said(&removed));

    print(&["create", &name, "-q", "--history", directory.text()]);
    print(&["declare", &name, "jobs"]);
    let refused = agree_after(&["rm", &name, "--if-empty", "--history"], more);
    assert_eq!(code(&refused), 1, "{}", said(&refused));
    assert!(said(&refused).contains("is not empty"), "{}", said(&refused));
    assert_eq!(print(&["sub", &name, "--as", "jobs", "-e"]), b"c\n");
}

#[test]
fn dead_letters_lie_where_a_member_was_told_to_put_them() {
    let _watchdog = watchdog();
    let name = Name::new("letters");
    let directory = Directory::new(&name);
    run_with(&["pub", &name, "--create"], b"a\nb\n");
    let member = |options: &[&str]| {
        let all = ["sub", &*name, "--as", "w", "--from", "oldest", "-e", "--exec", "exit 7"];
        run(&[&all, options].concat())
    };
    let nowhere = member(&["--max-deliveries", "1"]);
    assert_eq!(code(&nowhere), 2);
    assert!(said(&nowhere).contains("a place for dead letters"), "{}", said(&nowhere));
    let done = member(&["--max-deliveries", "1", "--dead-letters", directory.text()]);
    assert_eq!(code(&done), 0, "{}", said(&done));
    assert_eq!(code(&run(&["dead-letters", "ls", &name, "w"])), 2);
    let within = ["w", "--dir", directory.text()];
    let listed = print_json(&[&["dead-letters", "ls", &name, "--json"], &within[..]].concat());
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let shown = print(&[&["dead-letters", "show", &name, "--all", "--json"], &within[..]].concat());
    let data: Vec<_> = lines_of_json(&shown).iter().map(|one| one["data"].clone()).collect();
    assert_eq!(data, ["a", "b"]);
    let first = listed[0]["id"].to_string();
    let dropped =
        print_json(&[&["dead-letters", "drop", &name, "--json"], &within[..], &[&first]].concat());
    assert_eq!(dropped, json!([listed[0]["id"]]));
    let left = print_json(&[&["dead-letters", "ls", &name, "--json"], &within[..]].concat());
    assert_eq!(left, json!([listed[1]]));
}

#[test]
fn dead_letters_of_another_queue_are_left_alone_unless_they_are_named() {
    let _watchdog = watchdog();
    let (one, other) = (Name::new("one"), Name::new("other"));
    let directory = Directory::new(&one);
    for name in [&one, &other] {
        run_with(&["pub", name, "--create"], format!("for {}\n", &**name).as_bytes());
        let member = ["sub", name, "--as", "w", "--from", "oldest", "-e", "--exec", "exit 7"];
        let letters = ["--max-deliveries", "1", "--dead-letters", directory.text()];
        print(&[&member[..], &letters].concat());
    }
    let letters = |action: &[&str]| {
        let within = [&one, "w", "--dir", directory.text(), "--json"];
        run(&[&["dead-letters"], action, &within].concat())
    };
    let queues = || {
        let listed: Value = serde_json::from_slice(&letters(&["ls"]).stdout).unwrap();
        let listed = listed.as_array().unwrap().iter();
        listed.map(|letter| letter["queue"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(queues(), [&*one, &*other]);
    let sent = letters(&["send-again", "--all"]);
    assert_eq!(code(&sent), 0, "{}", said(&sent));
    assert!(said(&sent).contains("1 dead letter of other queues"), "{}", said(&sent));
    assert_eq!(queues(), [&*other]);
    assert_eq!(text(&letters(&["drop", "--all"]).stdout), "[]\n");
    assert_eq!(text(&letters(&["drop", "--keep", "0"]).stdout), "[]\n");
    assert_eq!(queues(), [&*other]);
    let listed: Value = serde_json::from_slice(&letters(&["ls"]).stdout).unwrap();
    let id = listed[0]["id"].to_string();
    print(&["dead-letters", "drop", &one, "w", "--dir", directory.text(), &id]);
    assert!(queues().is_empty());
}

#[test]
fn dead_letters_are_dropped_by_their_age_and_their_number() {
    let _watchdog = watchdog();
    let name = Name::new("old-letters");
    let directory = Directory::new(&name);
    print(&["create", &name, "--history", directory.text(), "-q"]);
    run_with(&["pub", &name], &numbers(5));
    let failing = ["--max-deliveries", "1", "--exec", "exit 7", "-e"];
    print(&[&["sub", &*name, "--as", "w", "--from", "oldest"], &failing[..]].concat());
    let ids = || -> Vec<Value> {
        let letters = print_json(&["dead-letters", "ls", &name, "w", "--json"]);
        letters.as_array().unwrap().iter().map(|letter| letter["id"].clone()).collect()
    };
    let drop = |options: &[&str]| {
        print_json(&[&["dead-letters", "drop", &name, "w", "--json"], options].concat())
    };
    let all = ids();
    assert_eq!(all.len(), 5);
    assert_eq!(drop(&["--older-than", "1h"]), json!([]));
    assert_eq!(drop(&["--keep", "5"]), json!([]));
    assert_eq!(drop(&["--keep", "3"]), json!(all[..2]));
    assert_eq!(ids(), all[2..]);
    let told = run(&["dead-letters", "drop", &name, "w", "--keep", "2"]);
    let words = format!("dropped 1 dead letter of 'w' of queue '{}'", &*name);
    assert!(said(&told).contains(&words), "{}", said(&told));
    let size = || directory.path().join("dead-letters/w.letters").metadata().unwrap().len();
    let before = size();
    assert_eq!(drop(&["--older-than", "0s"]), json!(all[3..]));
    assert!(size() < before, "their space is given back");
    assert_eq!(ids(), [] as [Value; 0]);
    // Numbers are not used again.
    run_with(&["pub", &name], b"more\n");
    print(&[&["sub", &*name, "--as", "w"], &failing[..]].concat());
    assert!(ids()[0].as_u64() > all[4].as_u64(), "{:?} after {all:?}", ids());

    for wrong in [
        &["--keep", "2", "--all"][..],
        &["--keep", "2", "0"],
        &["--older-than", "soon"],
        &["--older-than", "1h", "--keep", "2"],
        &["--keep", "-1"],
        &[],
    ] {
        let refused = run(&[&["dead-letters", "drop", &name, "w"], wrong].concat());
        assert_eq!(code(&refused), 2, "{wrong:?}: {}", said(&refused));
    }
    assert_eq!(code(&run(&["dead-letters", "drop", &name, "v", "--keep", "2"])), 3);
    assert_eq!(ids().len(), 1);
}

#[test]
fn a_command_that_is_none_harms_no_message() {
    let _watchdog = watchdog();
    let name = Name::new("no-command");
    run_with(&["pub", &name, "--create"], b"a\n");
    let options = ["sub", &name, "--as", "w", "--from", "oldest", "-e", "--exec"];
    let failed = run(&[&options[..], &["./no-such-command"]].concat());
    assert_eq!(code(&failed), 1);
    assert!(said(&failed).contains("cannot run './no-such-command'"), "{}", said(&failed));
    // A command may end before it has read its input, and may not read it at all.
    run_with(&["pub", &name, "-D", "\\0"], &vec![b'x'; 1 << 20]);
    assert_eq!(print(&[&options[..], &["echo $RINGWAY_DELIVERY"]].concat()), b"2\n1\n");
}

#[test]
fn a_message_that_a_command_has_no_command_for_ends_no_worker() {
    let _watchdog = watchdog();
    let name = Name::new("no-command-inside");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    print(&["pub", &name, "-q", "true", "no-such-command", "true"]);
    let sub = ["sub", &name, "--as", "w", "--from", "oldest", "-e", "--max-deliveries", "2"];
    let worker = run(&[&sub[..], &["--exec", "read -r it; $it"]].concat());
    assert_eq!(code(&worker), 0, "{}", said(&worker));
    assert!(said(&worker).contains("exit status: 127"), "{}", said(&worker));
    let shown = subscription(&name, "w");
    assert_eq!((&shown["dead_letters"], &shown["acked_messages"]), (&1.into(), &2.into()));
}

#[test]
fn a_command_whose_output_nobody_reads_any_more_has_not_failed() {
    let _watchdog = watchdog();
    let name = Name::new("abandoned");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    run_with(&["pub", &name], &numbers(3));
    // The command waits for as long as there is this, which goes with the test.
    let busy = directory.file("busy");
    std::fs::create_dir(&busy).unwrap();
    let wait = format!("while [ -d {} ]; do sleep 0.01; done", busy.display());
    let command = format!("{wait}; cat");
    let sub = ["sub", &*name, "--as", "w", "--from", "oldest", "--max-deliveries", "2"];
    let mut member = ringway(&[&sub[..], &["--exec", &command]].concat()).spawn().unwrap();
    drop(member.stdout.take());
    std::fs::remove_dir(&busy).unwrap();
    let output = member.wait_with_output().unwrap();
    assert_eq!((code(&output), said(&output).as_str()), (0, ""));
    assert_eq!(subscription(&name, "w")["dead_letters"], 0);
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), numbers(3));
}

/// Starts a member that is told by the test what to do with its messages.
fn dialogue(name: &str, options: &[&str]) -> Child {
    let all = ["sub", name, "--as", "w", "--ack", "manual", "-f", "jsonl", "--from", "oldest"];
    ringway(&[&all, options].concat()).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_standard_input_says_what_is_acknowledged() {
    let _watchdog = watchdog();
    let name = Name::new("dialogue");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    run_with(&["pub", &name], &numbers(7));
    let mut member = dialogue(&name, &["--prefetch", "2", "--max-deliveries", "2"]);
    let mut input = member.stdin.take().unwrap();
    let mut lines = BufReader::new(member.stdout.take().unwrap()).lines();
    let mut next = || -> (u64, u64) {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        (line["sequence"].as_u64().unwrap(), line["delivery"].as_u64().unwrap())
    };
    assert_eq!((next(), next()), ((0, 1), (1, 1)));
    // It has as many as it may have, and nothing that high.
    writeln!(input, "ack-through 2\nack-through 1").unwrap();
    assert_eq!((next(), next()), ((2, 1), (3, 1)));
    writeln!(input, "  nack   2  0ms \n\nextend 3").unwrap();
    assert_eq!(next(), (2, 2));
    writeln!(input, "nack 2\nack 3\nack 3").unwrap();
    assert_eq!((next(), next()), ((4, 1), (5, 1)));
    writeln!(input, "ack 5").unwrap();
    let mut told = BufReader::new(member.stderr.take().unwrap()).lines().map(Result::unwrap);
    for late in [
        "'ack-through 2' acknowledges nothing: the last message written is 1",
        "'ack 3' is too late",
    ] {
        assert!(told.any(|line| line.contains(late)), "{late}");
    }
    writeln!(input, "reject 4").unwrap();
    assert_eq!(next(), (6, 1));
    // What has no answer goes back.
    drop(input);
    assert!(member.wait().unwrap().success());
    let shown = subscription(&name, "w");
    assert_eq!((&shown["dead_letters"], &shown["acked_messages"]), (&2.into(), &4.into()));
    let rest = print(&["sub", &name, "--as", "w", "-e", "-f", "jsonl"]);
    assert_eq!(
        lines_of_json(&rest),
        [json!({ "sequence": 6, "delivery": 2, "length": 1, "data": "6" })]
    );
}

#[test]
fn what_is_refused_at_the_end_comes_again() {
    let _watchdog = watchdog();
    for (ending, options) in [(&["--close"][..], &[][..]), (&[], &["-e"])] {
        let name = Name::new("refused-last");
        print(&[&["pub", &*name, "--create", "-q", "last"][..], ending].concat());
        let mut member = dialogue(&name, options);
        let mut input = member.stdin.take().unwrap();
        let mut lines = BufReader::new(member.stdout.take().unwrap()).lines();
        for (delivery, answer) in [(1, "nack 0"), (2, "nack 0 1ms"), (3, "ack 0")] {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(line["delivery"], delivery);
            writeln!(input, "{answer}").unwrap();
        }
        assert!(lines.next().is_none());
        let output = member.wait_with_output().unwrap();
        assert_eq!((code(&output), said(&output).as_str()), (0, ""));
        assert_eq!(subscription(&name, "w")["acked_messages"], 1);
    }
}

#[test]
fn who_gets_no_answer_any_more_ends_and_leaves_the_messages_to_others() {
    let _watchdog = watchdog();
    // A stream that is closed or not, by a time limit or a reader that has gone, of one queue or two.
    for number in 0..8 {
        let (is_closed, is_limited, is_one) = (number & 1 > 0, number & 2 > 0, number & 4 > 0);
        let names = [Name::new("unanswered"), Name::new("unanswered-too")];
        let names = if is_one { &names[..1] } else { &names };
        for name in names {
            let close = if is_closed { &["--close"][..] } else { &[] };
            print(&[&["pub", &**name, "--create", "-q", "a", "b"][..], close].concat());
        }
        let limit = if is_limited { &["--timeout", "300ms"][..] } else { &[] };
        let manual = ["--as", "w", "--ack", "manual", "--from", "oldest"];
        let named: Vec<&str> = names.iter().map(|name| &**name).collect();
        let sub = [&["sub"], &named[..], &manual, limit].concat();
        let mut member = ringway(&sub).stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(member.stdout.take().unwrap()).lines();
        for _ in 0..2 * names.len() {
            lines.next().unwrap().unwrap();
        }
        // Its input stays open, and says nothing.
        let _input = member.stdin.take();
        let lines = is_limited.then_some(lines);
        let output = member.wait_with_output().unwrap();
        assert_eq!(code(&output), if is_limited { 5 } else { 0 }, "{number}: {}", said(&output));
        let words = format!("{} messages without an answer went back", 2 * names.len());
        assert!(said(&output).contains(&words), "{number}: {}", said(&output));
        for name in names {
            assert_eq!(print(&["sub", name, "--as", "w", "-e"]), b"a\nb\n");
        }
        drop(lines);
    }
}

#[test]
fn what_means_nothing_ends_a_dialogue() {
    let _watchdog = watchdog();
    let name = Name::new("nonsense");
    run_with(&["pub", &name, "--create"], &numbers(1));
    let long = "a".repeat(1000);
    for nonsense in [
        "jump 0",
        "ack",
        "ack zero",
        "ack 0 0",
        "ack 0 1s",
        "nack 0 soon",
        "\u{1b}[2J",
        &long,
        &"a b ".repeat(99),
    ] {
        let mut member = dialogue(&name, &[]);
        let mut input = member.stdin.take().unwrap();
        writeln!(input, "extend 99\n{nonsense}").unwrap();
        let output = member.wait_with_output().unwrap();
        assert_eq!(code(&output), 1, "{nonsense:?}");
        assert!(said(&output).contains("is none of ack, ack-through"), "{}", said(&output));
        assert!(!said(&output).contains('\u{1b}'));
    }
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), b"0\n");
}

#[test]
fn a_signal_ends_a_member_when_its_command_has() {
    let _watchdog = watchdog();
    let name = Name::new("signal");
    let directory = Directory::new(&name);
    run_with(&["pub", &name, "--create"], b"a\nb\n");
    // The command waits for as long as there is this, which goes with the test.
    let busy = directory.file("busy");
    std::fs::create_dir(&busy).unwrap();
    let wait = format!("while [ -d {} ]; do sleep 0.01; done", busy.display());
    let command = format!("cat; echo; {wait}; echo done");
    let options = ["sub", &name, "--as", "w", "--from", "oldest", "--exec", &command];
    let mut member = ringway(&options).process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(member.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a");
    // As a terminal does it. The command is to end by itself.
    // SAFETY: the group of our child, which nobody has waited for yet.
    assert_eq!(unsafe { libc::kill(-member.id().cast_signed(), libc::SIGTERM) }, 0);
    std::fs::remove_dir(&busy).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    assert_eq!(code(&member.wait_with_output().unwrap()), 128 + libc::SIGTERM);
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), b"b\n");
}

#[test]
fn a_command_that_is_ended_together_with_its_member_has_not_failed() {
    let _watchdog = watchdog();
    let name = Name::new("ended");
    let directory = Directory::new(&name);
    run_with(&["pub", &name, "--create"], b"a\n");
    // The command waits for as long as there is this, which goes with the test.
    let busy = directory.file("busy");
    std::fs::create_dir(&busy).unwrap();
    let wait = format!("while [ -d {} ]; do sleep 0.01; done", busy.display());
    let command = format!("cat; echo; {wait}; kill -TERM $$");
    let options = ["sub", &name, "--as", "w", "--from", "oldest", "--exec", &command];
    let mut member = ringway(&options).spawn().unwrap();
    let mut lines = BufReader::new(member.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a");
    signal(&member, libc::SIGTERM);
    std::fs::remove_dir(&busy).unwrap();
    let output = member.wait_with_output().unwrap();
    assert_eq!(code(&output), 128 + libc::SIGTERM);
    assert!(!said(&output).contains("failed"), "{}", said(&output));
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), b"a\n");
}

#[test]
fn subscriptions_are_listed_moved_and_removed() {
    let _watchdog = watchdog();
    let name = Name::new("looked-after");
    let made = print_json(&["create", &name, "--subscriptions", "2", "--members", "8", "--json"]);
    assert_eq!((&made["subscriptions_max"], &made["subscriptions"]), (&2.into(), &json!([])));
    let size = made["memory_size_bytes"].as_u64().unwrap();
    assert!(size > made["capacity_bytes"].as_u64().unwrap());
    run_with(&["pub", &name], &numbers(10));
    for subscription in ["one", "two"] {
        print(&["sub", &name, "--as", subscription, "--from", "oldest", "-n", "4"]);
    }
    let table = print(&["subscriptions", &name]);
    let rows: Vec<_> = text(&table).lines().map(|line| line.split_whitespace()).collect();
    assert_eq!(rows.len(), 3);
    let row: Vec<_> = rows[1].clone().collect();
    assert_eq!(row[..4], ["one", "0", "idle", "10"]);
    let shown = print_json(&["info", &name, "--json"]);
    assert_eq!(shown["subscriptions"][1]["lag_messages"], 6);

    let full = run(&["sub", &name, "--as", "three", "-e"]);
    assert_eq!(code(&full), 1);
    assert!(said(&full).contains("subscriptions"), "{}", said(&full));
    print(&["seek", &name, "one", "-2"]);
    assert_eq!(print(&["sub", &name, "--as", "one", "-e"]), b"8\n9\n");
    print(&["seek", &name, "one", "oldest"]);
    assert_eq!(print(&["sub", &name, "--as", "one", "-e"]), numbers(10));

    let mut member = ringway(&["sub", &name, "--as", "two"]).spawn().unwrap();
    let mut first = [0; 2];
    std::io::Read::read_exact(member.stdout.as_mut().unwrap(), &mut first).unwrap();
    for command in [&["unsubscribe", &name, "two"][..], &["seek", &name, "two", "0"]] {
        let refused = run(command);
        assert_eq!(code(&refused), 1);
        assert!(said(&refused).contains("1 live member"), "{}", said(&refused));
    }
    signal(&member, libc::SIGINT);
    member.wait().unwrap();
    print(&["unsubscribe", &name, "two"]);
    for (command, words) in [
        (&["unsubscribe", &name, "two"][..], "no subscription 'two'"),
        (&["unsubscribe", &name, "onee"], "did you mean 'one'?"),
        (&["seek", &name, "two", "0"], "no subscription 'two'"),
    ] {
        let missing = run(command);
        assert_eq!(code(&missing), 3);
        assert!(said(&missing).contains(words), "{}", said(&missing));
    }
}

#[test]
fn where_a_subscription_begins_instead_of_a_message_that_is_gone_is_said() {
    let _watchdog = watchdog();
    let name = Name::new("gone");
    run_with(&["pub", &name, "--create", "--capacity", "64KiB"], &numbers(50_000));
    for command in [&["declare", &name, "work", "--from", "5"][..], &["seek", &name, "work", "7"]] {
        let done = run(command);
        assert_eq!(code(&done), 0, "{}", said(&done));
        assert!(said(&done).contains("are gone"), "{}", said(&done));
    }
}

#[test]
fn a_member_with_messages_of_a_removed_queue_is_told() {
    let _watchdog = watchdog();
    let name = Name::new("removed-member");
    run_with(&["pub", &name, "--create"], &numbers(3));
    let arguments = ["sub", &name, "--as", "w", "--from", "oldest", "--prefetch", "2"];
    let mut member = ringway(&arguments);
    let mut member = member.args(["--ack", "manual"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(member.stdout.as_mut().unwrap(), &mut [0; 4]).unwrap();
    print(&["rm", "-f", &name]);
    let output = member.wait_with_output().unwrap();
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("was removed"), "{}", said(&output));
}

#[test]
fn who_waits_for_a_command_to_end_says_so() {
    let _watchdog = watchdog();
    let name = Name::new("waits-for-command");
    run_with(&["pub", &name, "--create"], b"x\n");
    // It begins by writing, and ends when nobody keeps its directory.
    let directory = Directory::new(&name);
    let busy = directory.file("busy");
    std::fs::create_dir_all(&busy).unwrap();
    let command = format!("echo begun; while [ -d {} ]; do sleep 0.05; done", busy.display());
    let arguments = ["sub", &name, "--as", "w", "--from", "oldest", "--exec", &command];
    let mut member = ringway(&arguments).spawn().unwrap();
    std::io::Read::read_exact(member.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    signal(&member, libc::SIGTERM);
    await_words(&mut member, "waiting for the command of message 0");
    std::fs::remove_dir(&busy).unwrap();
    assert_eq!(member.wait().unwrap().code(), Some(128 + libc::SIGTERM));
    // It was acknowledged.
    assert_eq!(print(&["sub", &name, "--as", "w", "-e"]), b"");
}

#[test]
fn wrong_wishes_for_a_subscription_are_refused() {
    let _watchdog = watchdog();
    let name = Name::new("wishes");
    print(&["create", &name, "-q"]);
    print(&["sub", &name, "--as", "w", "-e"]);
    for (options, expected, words) in [
        (&["--prefetch", "4"][..], 2, "--as"),
        (&["--exec", "true"], 2, "--as"),
        (&["--as", "w", "--observe"], 2, "--observe"),
        (&["--as", "w", "--exec", "true", "--ack", "manual"], 2, "--ack"),
        (&["--as", "a/b"], 2, "cannot name a subscription"),
        (&["--as", ""], 2, "cannot name a subscription"),
        (&["--as", "w", "--prefetch", "0"], 2, "prefetch"),
        (&["--as", "w", "--ack-within", "soon"], 2, "--ack-within"),
        (&["--expires-after", "1h"], 2, "--as"),
        (&["--as", "w", "--expires-after", "0s"], 2, "expire"),
        (&["--as", "w", "--backoff", "1s:0.5"], 2, "backoff"),
        (&["--as", "w", "--lag", "skip"], 1, "lag policy is hold"),
        (&["--as", "w", "--keyed"], 1, "keyed is false"),
    ] {
        let output = run(&[&["sub", &*name, "-e"], options].concat());
        assert_eq!(code(&output), expected, "{options:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{options:?}: {}", said(&output));
    }
    for arguments in [&["--key", "a", "--key-field", "1"][..], &["--key-field", "0"]] {
        assert_eq!(code(&run(&[&["pub", &*name, "x"], arguments].concat())), 2);
    }
    let none = run(&["subscriptions", "no-such-queue"]);
    assert_eq!(code(&none), 3);
}

#[test]
fn a_member_that_ends_with_the_messages_leaves_none_that_its_own_kept_back() {
    let _watchdog = watchdog();
    let name = Name::new("kept-back");
    run_with(&["pub", &name, "--create", "--key", "a"], &numbers(100));
    let member = ["sub", &name, "--as", "w", "--keyed", "--from", "oldest", "-e"];
    assert_eq!(print(&member), numbers(100));
    let left = subscription(&name, "w");
    assert_eq!((&left["unacked_messages"], &left["acked_messages"]), (&json!(0), &json!(100)));
}

#[test]
fn who_holds_the_producer_is_named_and_what_to_do() {
    let name = Name::new("holder");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    print(&["sub", &name, "--as", "w", "-e"]);
    let mut producer = queue.producer().unwrap();
    while let Sent::Sequence(_) = producer.try_send(&[7; 1000]).unwrap() {}
    for command in ["info", "subscriptions"] {
        let shown = print(&[command, &name]);
        let shown = text(&shown);
        for words in [
            "held by subscription 'w', which has no live member",
            &format!("`ringway unsubscribe {} w`", &*name),
            "its last member left ",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
    }
    assert!(subscription(&name, "w")["lag_time_ns"].as_u64().unwrap() > 0);
    print(&["unsubscribe", &name, "w"]);
    assert!(!text(&print(&["info", &name])).contains("held by"));
    assert!(matches!(producer.try_send(&[7; 1000]).unwrap(), Sent::Sequence(_)));
}

#[test]
fn keys_come_from_an_option_or_a_field() {
    let _watchdog = watchdog();
    let name = Name::new("keys");
    let hashes = |options: &[&str], input: &[u8], count: &str| -> Vec<Value> {
        let sent = run_with(&[&["pub", &*name, "--create"], options].concat(), input);
        assert_eq!(code(&sent), 0, "{}", said(&sent));
        let from = format!("-{count}");
        let received = print(&["sub", &name, "--from", &from, "-e", "-f", "jsonl"]);
        lines_of_json(&received).iter().map(|line| line["key_hash"].clone()).collect()
    };
    let hash = |key: &[u8]| Value::from(format!("{:016x}", key_hash(key)));
    let (a, b, empty, none) = (hash(b"a"), hash(b"b"), hash(b""), Value::Null);
    assert_eq!(hashes(&[], b"x\ny\n", "2"), [none.clone(), none.clone()]);
    assert_eq!(hashes(&["--key", "a"], b"x\ny\n", "2"), [a.clone(), a.clone()]);
    let found = hashes(&["--key-field", "2"], b"x  a y\n b\n\tx b\n", "3");
    assert_eq!(found, [a.clone(), none, b.clone()]);
    let separated = ["--key-field", "2", "--key-separator", ","];
    assert_eq!(hashes(&separated, b"x,a,y\n,,\nx,b\n", "3"), [a, empty, b]);
    let sent = run_with(&["pub", &name, "--key-field", "3"], b"x y\n");
    assert!(said(&sent).contains("1 message had no field 3"), "{}", said(&sent));
}

const DAY: u64 = 86_400_000_000_000;

#[test]
fn a_subscription_is_declared_and_its_terms_are_altered_while_it_has_no_member() {
    let _watchdog = watchdog();
    let name = Name::new("declared");
    let letters = Directory::new(&name);
    print(&["create", &name, "-q"]);
    let terms = ["--max-deliveries", "3", "--backoff", "100ms:2:1m", "--keyed"];
    let declare = [&["declare", &name, "workers"][..], &terms].concat();
    for told in ["is made", "is there already"] {
        let declared = run(&declare);
        assert_eq!(code(&declared), 0, "{}", said(&declared));
        assert!(said(&declared).contains(told), "{}", said(&declared));
    }
    run_with(&["pub", &name], &numbers(3));
    let member = ["sub", &name, "--as", "workers", "--dead-letters", letters.text()];
    assert_eq!(print(&[&member[..], &["-n", "1"]].concat()), b"0\n");

    let altered = print_json(&["alter", &name, "workers", "--max-deliveries", "5", "--json"]);
    assert_eq!((&altered["deliveries_max"], &altered["keyed"]), (&5.into(), &true.into()));
    assert_eq!(altered["backoff"]["first_ns"], 100_000_000);
    let altered = run(&["alter", &name, "workers", "--backoff", "none", "--ack-within", "1h"]);
    let told = said(&altered);
    assert!(told.contains("5 deliveries at most; no pauses; passed on after 1h"), "{told}");
    assert!(told.contains("never removed by itself"), "{told}");
    let altered = print_json(&["alter", &name, "workers", "--expires-after", "1day", "--json"]);
    assert_eq!((&altered["expires_after_ns"], &altered["expired"]), (&DAY.into(), &false.into()));
    assert_eq!(altered["ack_within_ns"], 3_600_000_000_000_u64, "it is as it was");
    // Its place is what it was.
    assert_eq!(print(&[&member[..], &["-e"]].concat()), b"1\n2\n");

    let differs = run(&[&member[..], &["--max-deliveries", "3", "-e"]].concat());
    assert_eq!(code(&differs), 1);
    assert!(said(&differs).contains("ringway alter"), "{}", said(&differs));
    assert_eq!(code(&run(&["alter", &name, "workers"])), 2, "nothing is to be altered");
    let unknown = run(&["alter", &name, "wrkers", "--max-deliveries", "5"]);
    assert_eq!(code(&unknown), 3);
    assert!(said(&unknown).contains("did you mean 'workers'?"), "{}", said(&unknown));
    for wrong in ["never", "-1", "0"] {
        let wrong = format!("--max-deliveries={wrong}");
        assert_eq!(code(&run(&["alter", &name, "workers", &wrong])), 2, "{wrong}");
    }
    let workers = Subscribe::new().named("workers").dead_letters(letters.path());
    let _member = Queue::open(&name).unwrap().subscribe(&workers).unwrap();
    let in_use = run(&["alter", &name, "workers", "--max-deliveries", "none"]);
    assert_eq!(code(&in_use), 1);
    assert!(said(&in_use).contains("live member"), "{}", said(&in_use));
}
