//! `ringway sub` of several queues at once.

mod support;

use std::io::{BufRead, BufReader};

use ringway::{Queue, QueueOptions, Sent};
use serde_json::{Value, json};
use support::program::{
    await_consumers, await_words, code, print, print_json, ringway, run, said, signal,
};
use support::{Name, watchdog};

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
fn what_several_queues_cannot_have_is_refused() {
    let _watchdog = watchdog();
    let [one, two] = &two_queues("refused", 0);
    for (arguments, expected, words) in [
        (&["sub", one, two, "--observe"][..], 2, "--observe takes one queue"),
        (&["sub", one, two, "--as", "w", "--exec", "cat"], 2, "--exec takes one queue"),
        (&["sub", one, two, "--as", "w", "--ack", "manual"], 2, "--ack manual takes one queue"),
        (&["sub", one, two, one], 2, "is named twice"),
        (&["sub", one, two, "--with-queue", "-D", "len32"], 2, "no place in len32"),
        (&["sub", one, "--with-queue", "--observe"], 2, "--observe"),
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
