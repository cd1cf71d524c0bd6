//! `ringway sub` of several queues at once.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use ringway::{Queue, QueueOptions, Sent};
use serde_json::{Value, json};
use support::program::{
    await_consumers, await_words, code, print, print_json, ringway, run, run_with, said, signal,
};
use support::{Directory, Name, watchdog};

fn lines_of_json(output: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Two queues with so many messages each: `one 0`, `two 0` and so on.
fn two_queues(purpose: &str, count: u32) -> [Name; 2] {
    ["one", "two"].map(|which| {
        let name = Name::new(&format!("{purpose}-{which}"));
        let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
        let mut producer = queue.producer().unwrap();
        for number in 0..count {
            producer.send(format!("{which} {number}").as_bytes()).unwrap();
        }
        name
    })
}

#[test]
fn several_queues_come_in_turn_each_in_its_order() {
    const COUNT: u32 = 100;
    let _watchdog = watchdog();
    let [one, two] = &two_queues("in-turn", COUNT);
    let sub = ["sub", one, two, "--from", "oldest", "-e"];
    let raw = String::from_utf8(print(&sub)).unwrap();
    for which in ["one", "two"] {
        let lines = raw.lines().filter(|line| line.starts_with(which));
        assert!(lines.eq((0..COUNT).map(|number| format!("{which} {number}"))), "{raw}");
    }
    let first: Vec<&str> = raw.lines().take(10).collect();
    assert!(first.iter().any(|line| line.starts_with("two")), "{first:?}");

    let told = lines_of_json(&print(&[&sub[..], &["-f", "jsonl"]].concat()));
    assert_eq!(told.len(), 2 * COUNT as usize);
    for (which, name) in [("one", one), ("two", two)] {
        let mut of_it = told.iter().filter(|line| line["queue"] == **name);
        let data = format!("{which} 0");
        let first = json!({ "queue": **name, "sequence": 0, "length": 5, "data": data });
        assert_eq!(of_it.next(), Some(&first));
        assert_eq!(of_it.count(), COUNT as usize - 1);
    }
    let named = String::from_utf8(print(&[&sub[..], &["--with-queue", "-n", "3"]].concat()));
    let named = named.unwrap();
    assert_eq!(named.lines().count(), 3);
    assert!(named.contains(&format!("{}\tone 0\n", &**one)), "{named}");
    let alone = print(&["sub", one, "--with-queue", "--from", "99", "-e"]);
    assert_eq!(alone, format!("{}\tone 99\n", &**one).into_bytes());
    let alone = print(&["sub", one, "--from", "99", "-e", "-f", "jsonl"]);
    assert_eq!(lines_of_json(&alone)[0]["queue"], Value::Null);
}

#[test]
fn a_member_of_several_queues_acknowledges_what_it_wrote() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("member", 50);
    let sub = ["sub", one, two, "--as", "w", "--from", "oldest"];
    let some = print(&[&sub[..], &["-n", "30", "-f", "jsonl"]].concat());
    assert_eq!(lines_of_json(&some)[0]["delivery"], 1);
    let acked = |name: &Name| {
        let all = print_json(&["subscriptions", name, "--json"]);
        all[0]["acked_messages"].as_u64().unwrap()
    };
    assert_eq!(acked(one) + acked(two), 30);
    let rest = print(&[&sub[..], &["-e"]].concat());
    assert_eq!(rest.split(|&byte| byte == b'\n').count(), 70 + 1);
    assert_eq!((acked(one), acked(two)), (50, 50));
    assert_eq!(print(&[&sub[..], &["-e"]].concat()), b"");
}

#[test]
fn a_queue_that_is_closed_or_removed_leaves_the_others_to_go_on() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("goes-on", 1);
    let closed = Name::new("goes-on-closed");
    print(&["pub", &closed, "--create", "--close", "-q", "last"]);
    let sub = ["sub", &closed, one, two, "--from", "oldest", "--with-queue"];
    let mut child = ringway(&sub).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..3 {
        lines.next().unwrap();
    }
    print(&["rm", "--force", one]);
    await_words(&mut child, "was removed");
    print(&["pub", two, "--close", "-q", "still there"]);
    assert_eq!(lines.next(), Some(format!("{}\tstill there", &**two)));
    assert_eq!(lines.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(3), "one of three failed");

    // All of them are closed.
    let done = run(&["sub", two, &closed, "--from", "oldest"]);
    assert_eq!((code(&done), said(&done).as_str()), (0, ""));
    assert_eq!(done.stdout.split(|&byte| byte == b'\n').count(), 3 + 1);
}

#[test]
fn each_of_several_queues_has_its_place_and_its_lag() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("lag", 1);
    let queue = Queue::open(one).unwrap();
    // Overwritten, but for the end.
    let mut producer = queue.producer().unwrap();
    for _ in 0..10_000 {
        assert!(matches!(producer.try_send(b"filler").unwrap(), Sent::Sequence(_)));
    }
    for (options, expected) in [(&[][..], 4), (&["--lag", "skip"], 0)] {
        let sub = ["sub", one, two, "--from", "0", "-e"];
        let output = run(&[&sub, options].concat());
        assert_eq!(code(&output), expected, "{}", said(&output));
        let told = said(&output);
        assert!(told.contains(&format!("messages of '{}': 0 to", &**one)), "{told}");
        assert!(told.contains(&format!("from '{}', missed", &**one)), "{told}");
        assert!(!told.contains(&**two), "{told}");
    }
    let mut child = ringway(&["sub", one, two, "--lag", "hold"]).spawn().unwrap();
    await_consumers(one, 1);
    await_consumers(two, 1);
    assert_eq!(print_json(&["info", two, "--json"])["consumers"][0]["lag"], "hold");
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let idle = run(&["sub", one, two, "--timeout", "30ms"]);
    assert_eq!(code(&idle), 5, "{}", said(&idle));
    assert!(said(&idle).contains("received 0 messages"), "{}", said(&idle));
}

#[test]
fn several_queues_are_observed_without_being_counted() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("observed", 3);
    let sub = ["sub", one, two, "--observe", "--from", "oldest"];
    let told = print(&[&sub[..], &["--with-queue", "-e"]].concat());
    let mut lines: Vec<_> = str::from_utf8(&told).unwrap().lines().collect();
    lines.sort_unstable();
    let line = |name: &Name, which, number| format!("{}\t{which} {number}", &**name);
    let of = |name, which| (0..3).map(move |number| line(name, which, number));
    assert_eq!(lines, of(one, "one").chain(of(two, "two")).collect::<Vec<_>>());

    let mut child = ringway(&sub).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().take(6).count(), 6);
    assert_eq!(print_json(&["info", two, "--json"])["consumers"], json!([]));
    print(&["rm", "--force", one]);
    await_words(&mut child, "the others go on");
    print(&["pub", two, "--close", "-q", "still there"]);
    assert_eq!(lines.next().as_deref(), Some("still there"));
    assert_eq!(child.wait().unwrap().code(), Some(3), "one of two failed");
}

#[test]
fn the_only_queue_fails_in_its_own_words_however_it_is_received_from() {
    let _watchdog = watchdog();
    let options: [&[&str]; 4] = [&[], &["--as", "w"], &["--observe"], &["--with-queue"]];
    for options in options {
        let name = Name::new("only");
        print(&["pub", &name, "--create", "-q", "here"]);
        let sub = ["sub", &*name, "--from", "oldest"];
        let mut child = ringway(&[&sub, options].concat()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        print(&["rm", "--force", &name]);
        let output = child.wait_with_output().unwrap();
        let words =
            format!("error: queue '{}' was removed, or replaced by another of that name\n", &*name);
        assert_eq!((code(&output), said(&output)), (3, words), "{options:?}");
    }
}

#[test]
fn what_several_queues_cannot_have_is_refused() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("refused", 0);
    for (arguments, expected, words) in [
        (
            &["sub", one, two, "--as", "w", "--dead-letters", "x"][..],
            2,
            "--dead-letters takes one queue",
        ),
        (&["sub", one, two, one], 2, "is named twice"),
        (&["sub", one, two, "--with-queue", "-D", "len32"], 2, "no place in len32"),
        (&["sub", one, "no-such-queue", two], 3, "no queue 'no-such-queue'"),
        (&["sub", one, two, "--from", "7"], 1, "no message 7 yet"),
        (&["sub", one, two, "--durable"], 2, "has no journal"),
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_command_works_on_several_queues() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("exec", 20);
    let command = "read -r data; echo \"$RINGWAY_QUEUE $RINGWAY_SEQUENCE $data\"
        test \"$RINGWAY_SEQUENCE-$RINGWAY_DELIVERY\" != 7-1";
    let sub = ["sub", one, two, "--as", "w", "--from", "oldest"];
    let worker = run(&[&sub[..], &["-e", "--exec", command]].concat());
    assert_eq!(code(&worker), 0, "{}", said(&worker));
    let printed = String::from_utf8(worker.stdout.clone()).unwrap();
    for (which, name) in [("one", one), ("two", two)] {
        let mut found: Vec<_> = printed.lines().filter(|line| line.contains(&**name)).collect();
        found.sort_unstable();
        let mut sequences: Vec<_> = (0..20).chain([7]).collect();
        sequences.sort_unstable_by_key(u32::to_string);
        let line = |number: &u32| format!("{} {number} {which} {number}", &**name);
        let mut expected: Vec<_> = sequences.iter().map(line).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let words = format!("message 7 of '{}', delivery 1: the command failed", &**name);
        assert!(said(&worker).contains(&words), "{}", said(&worker));
        let all = print_json(&["subscriptions", name, "--json"]);
        assert_eq!((&all[0]["acked_messages"], &all[0]["redeliveries"]), (&json!(20), &json!(1)));
    }

    // What is no command is so for all of them.
    print(&["pub", two, "-q", "left alone"]);
    let none = run(&[&sub[..], &["--exec", "no-such-command"]].concat());
    assert_eq!(code(&none), 1, "{}", said(&none));
    assert!(said(&none).contains("cannot run 'no-such-command'"), "{}", said(&none));
    assert_eq!(print(&[&sub[..], &["-e"]].concat()), b"left alone\n");
}

#[test]
fn a_command_goes_on_with_other_queues_when_one_is_removed() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("exec-removed", 1);
    let exec = "echo \"$RINGWAY_QUEUE\"";
    let sub = ["sub", one, two, "--as", "w", "--from", "oldest", "--exec", exec];
    let mut child = ringway(&sub).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!([lines.next(), lines.next()].iter().flatten().count(), 2);
    print(&["rm", "--force", one, "-q"]);
    await_words(&mut child, "the others go on");
    print(&["pub", two, "--close", "-q", "still there"]);
    assert_eq!(lines.next().as_deref(), Some(&**two));
    assert_eq!(lines.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(3), "one of two failed");
}

#[test]
fn answers_name_one_of_several_queues() {
    let _watchdog = watchdog();
    let [one, two] = &["manual-one", "manual-two"].map(Name::new);
    let directories = [one, two].map(Directory::new);
    for (name, directory) in [one, two].into_iter().zip(&directories) {
        print(&["create", name, "-q", "--history", directory.text()]);
        print(&["pub", name, "-q", "a", "b", "c"]);
    }
    let sub = ["sub", one, two, "--as", "w", "--from", "oldest", "-f", "jsonl"];
    let manual = [&sub[..], &["--ack", "manual", "--max-deliveries", "1"]].concat();
    let mut child =
        ringway(&[&manual[..], &["-e"]].concat()).stdin(Stdio::piped()).spawn().unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut asked = Vec::new();
    for _ in 0..6 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        asked
            .push((line["queue"].as_str().unwrap().to_owned(), line["sequence"].as_u64().unwrap()));
    }
    asked.sort();
    let expected: Vec<_> = [one, two]
        .iter()
        .flat_map(|name| (0..3).map(|number| (name.to_string(), number)))
        .collect();
    assert_eq!(asked, expected);
    write!(answers, "ack {0} 0\nack {0} 0\nack-through {0} 2\n", &**one).unwrap();
    write!(answers, "ack {0} 1\nreject {0} 0\nnack {0} 2 1ms\n", &**two).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    for words in [
        format!("'ack {} 0' is too late", &**one),
        format!("message 2 of '{}' is a dead letter now", &**two),
    ] {
        assert!(said(&output).contains(&words), "{}", said(&output));
    }
    let counts = [one, two].map(|name| {
        let all = print_json(&["subscriptions", name, "--json"]);
        ["acked_messages", "dead_letters", "unacked_messages"]
            .map(|it| all[0][it].as_u64().unwrap())
    });
    assert_eq!(counts, [[3, 0, 0], [1, 2, 0]]);

    // What has no answer goes back.
    let sub = ["sub", one, two, "--as", "v", "--from", "oldest", "-f", "jsonl"];
    let manual = [&sub[..], &["--ack", "manual", "-n", "1"]].concat();
    for answer in [
        "ack 0",
        "ack no-such-queue 0",
        &format!("ack {} 0 30s", &**one),
        &format!("ack {}", &**one),
    ] {
        let output = run_with(&manual, format!("{answer}\n").as_bytes());
        assert_eq!(code(&output), 1, "{answer}: {}", said(&output));
        let words = "with one of the queues and a sequence";
        assert!(said(&output).contains(words), "{answer}: {}", said(&output));
    }
    let mut child = ringway(&manual).stdin(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("1 message without an answer went back"), "{}", said(&output));
    assert_eq!(lines_of_json(&print(&[&sub[..], &["-e"]].concat())).len(), 6);
}

#[test]
fn what_is_refused_at_the_end_of_several_queues_comes_again() {
    let _watchdog = watchdog();
    for (ending, options) in [(&["--close"][..], &[][..]), (&[], &["-e"])] {
        let [one, two] = &two_queues("refused-last", 1);
        for name in [one, two] {
            print(&[&["pub", &**name, "-q", "last"][..], ending].concat());
        }
        let sub = ["sub", one, two, "--as", "w", "--from", "oldest", "-f", "jsonl"];
        let manual = [&sub[..], &["--ack", "manual"], options].concat();
        let mut child = ringway(&manual).stdin(Stdio::piped()).spawn().unwrap();
        let mut answers = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut deliveries = Vec::new();
        for line in lines {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let name = line["queue"].as_str().unwrap().to_owned();
            let (sequence, delivery) = (&line["sequence"], line["delivery"].as_u64().unwrap());
            // Each is refused at first.
            let answer = if delivery == 1 { "nack" } else { "ack" };
            writeln!(answers, "{answer} {name} {sequence}").unwrap();
            deliveries.push(delivery);
        }
        deliveries.sort_unstable();
        assert_eq!(deliveries, [1, 1, 1, 1, 2, 2, 2, 2]);
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), said(&output).as_str()), (0, ""));
    }
}
