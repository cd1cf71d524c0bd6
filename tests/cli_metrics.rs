//! `ringway metrics`, as those who collect it see it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringway::{Journal, Lag, Queue, QueueOptions, Start, Subscribe};
use serde_json::Value;
use support::program::{await_words, code, print, print_json, ringway, run, said, signal};
use support::{Directory, Name, watchdog};

/// What is counted or measured by what, and where `info --json` has it.
const OF_QUEUE: [(&str, &str); 13] = [
    ("sent_messages_total", "next_sequence"),
    ("sent_bytes_total", "position"),
    ("producers_total", "producer/epoch"),
    ("producer_alive", "producer/alive"),
    ("closed", "closed"),
    ("capacity_bytes", "capacity_bytes"),
    ("segment_bytes", "memory_size_bytes"),
    ("message_max_bytes", "message_size_max_bytes"),
    ("consumers_max", "members_max"),
    ("subscriptions_max", "subscriptions_max"),
    ("expired_subscriptions_total", "subscriptions_expired"),
    ("journaler_alive", "journaler_alive"),
    ("journal_failed", "journal_failed"),
];
const OF_SUBSCRIPTION: [(&str, &str); 11] = [
    ("members", "members_alive"),
    ("lag_messages", "lag_messages"),
    ("lag_bytes", "lag_bytes"),
    ("unacked_messages", "unacked_messages"),
    ("waiting_messages", "waiting_messages"),
    ("holds_producer", "holds_producer"),
    ("deliveries_total", "deliveries"),
    ("redeliveries_total", "redeliveries"),
    ("acked_messages_total", "acked_messages"),
    ("dead_letters_total", "dead_letters"),
    ("missed_messages_total", "missed_messages"),
];
const OF_ANY_CONSUMER: [(&str, &str); 4] = [
    ("alive", "alive"),
    ("missed_messages_total", "missed_messages"),
    ("sleeps_total", "sleeps"),
    ("late_wakes_total", "late_wakes"),
];
const OF_CONSUMER_ALONE: [(&str, &str); 3] = [
    ("lag_messages", "lag_messages"),
    ("lag_bytes", "lag_bytes"),
    ("holds_producer", "holds_producer"),
];
const OF_MEMBER: [(&str, &str); 3] = [
    ("unacked_messages", "unacked_messages"),
    ("deliveries_total", "deliveries"),
    ("acked_messages_total", "acked_messages"),
];

/// The lines of some metrics.
fn lines(
    of: &str,
    labels: &str,
    metrics: &[(&str, &str)],
    value: impl Fn(&str) -> Value,
) -> Vec<String> {
    let line = |(name, place): &(&str, &str)| {
        let number = match value(place) {
            Value::Bool(holds) => u64::from(holds),
            number => number.as_u64().unwrap_or_else(|| panic!("{place}: {number}")),
        };
        format!("ringway_{of}_{name}{{{labels}}} {number}")
    };
    metrics.iter().map(line).collect()
}

/// Those whose values `info --json` has.
fn expected(info: &Value) -> BTreeSet<String> {
    let queue = format!("queue={}", info["name"]);
    let at = |value: &Value, place: &str| value.pointer(&format!("/{place}")).unwrap().clone();
    let mut all = lines("queue", &queue, &OF_QUEUE, |place| at(info, place));
    for subscription in info["subscriptions"].as_array().unwrap() {
        let labels = format!("{queue},subscription={}", subscription["name"]);
        let more =
            lines("subscription", &labels, &OF_SUBSCRIPTION, |place| at(subscription, place));
        all.extend(more);
    }
    for consumer in info["consumers"].as_array().unwrap() {
        let labels = format!("{queue},member=\"{}\"", consumer["member"]);
        let alone = consumer["subscription"].is_null();
        let own = if alone { &OF_CONSUMER_ALONE } else { &OF_MEMBER };
        for metrics in [&OF_ANY_CONSUMER[..], own] {
            all.extend(lines("consumer", &labels, metrics, |place| at(consumer, place)));
        }
    }
    all.into_iter().collect()
}

fn metrics(arguments: &[&str]) -> String {
    String::from_utf8(print(&[&["metrics"], arguments].concat())).unwrap()
}

/// The value of the only line of a name.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut found = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let is_it = series == name || series.starts_with(&format!("{name}{{"));
        is_it.then_some(value)
    });
    let value = found.next();
    assert_eq!(found.next(), None, "{name} is there twice");
    value
}

#[test]
fn metrics_are_what_info_tells() {
    let _watchdog = watchdog();
    let name = Name::new("metrics");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(64 << 10).history(directory.path());
    let queue = Queue::create(&name, &options.journal(Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    let workers = Subscribe::new().named("w").from(Start::Oldest).deliveries_max(2);
    let mut worker = queue.subscribe(&workers).unwrap();
    let mut alone = queue.subscribe(&Subscribe::new()).unwrap();
    for _ in 0..9 {
        producer.send(b"x").unwrap();
    }
    for _ in 0..2 {
        let _ = worker.receive().unwrap().message().unwrap().nack().unwrap();
    }
    for _ in 0..3 {
        let _ = worker.receive().unwrap().message().unwrap().ack().unwrap();
    }
    let _ = worker.receive().unwrap();
    let _ = alone.receive().unwrap();
    let _ = alone.receive().unwrap();

    let info = print_json(&["info", &name, "--json"]);
    let text = metrics(&[&name]);
    let expected = expected(&info);
    let found: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:#?} are not in {text}");
    assert_eq!(found.len(), text.lines().count(), "a line is there twice: {text}");

    // What else there is, and the head of each.
    let (mut seen, mut more) = (BTreeSet::new(), Vec::new());
    let mut rest = text.lines().peekable();
    while let Some(help) = rest.next() {
        let (metric, words) =
            help.strip_prefix("# HELP ").and_then(|help| help.split_once(' ')).expect(help);
        assert!(metric.starts_with("ringway_") && !words.is_empty(), "{help}");
        assert!(seen.insert(metric), "{metric} begins twice");
        let kind = if metric.ends_with("_total") { "counter" } else { "gauge" };
        assert_eq!(rest.next(), Some(&*format!("# TYPE {metric} {kind}")));
        let mut has_lines = false;
        while let Some(line) = rest.next_if(|line| !line.starts_with('#')) {
            has_lines = true;
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), Some(metric));
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
            if !expected.contains(line) {
                more.push(series);
            }
        }
        assert!(has_lines, "{metric} has no value");
    }
    let known =
        info["next_sequence"].as_u64().unwrap() - info["durable_sequence"].as_u64().unwrap();
    for (metric, expected) in [
        ("queues", 1),
        ("unreadable_queues", 0),
        ("build_info", 1),
        ("queue_info", 1),
        ("queue_ring_messages", 9),
        ("queue_consumers", 2),
        ("queue_dead_consumers", 0),
        ("queue_subscriptions", 1),
        ("queue_producer_held", 0),
        ("queue_undurable_messages", known),
        ("queue_history_bytes", 0),
        ("subscription_info", 1),
    ] {
        let metric = format!("ringway_{metric}");
        assert_eq!(value(&text, &metric), Some(&*expected.to_string()), "{metric}");
        more.retain(|series| series.split('{').next() != Some(&metric));
    }
    more.retain(|series| !series.starts_with("ringway_consumer_info"));
    let times: BTreeSet<_> = more.iter().map(|series| series.split('{').next().unwrap()).collect();
    let expected = [
        "ringway_consumer_joined_timestamp_seconds",
        "ringway_consumer_lag_seconds",
        "ringway_queue_created_timestamp_seconds",
        "ringway_subscription_created_timestamp_seconds",
        "ringway_subscription_lag_seconds",
    ];
    assert_eq!(times, BTreeSet::from(expected));
    let instance = info["instance_id"].as_str().unwrap();
    assert!(
        text.contains(&format!("instance_id=\"{instance}\",layout=\"1.0\",journal=\"written\""))
    );
    let pid = std::process::id();
    assert!(text.contains(&format!(
        "ringway_consumer_info{{queue=\"{}\",member=\"0\",pid=\"{pid}\",subscription=\"w\",lag=\"spill\"}} 1",
        &*name
    )));
    drop(producer);
}

#[test]
fn who_is_far_behind_is_told_of_all_the_same() {
    let _watchdog = watchdog();
    let name = Name::new("metrics-behind");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    let text = metrics(&[&name]);
    assert_eq!(value(&text, "ringway_queue_sent_messages_total"), Some("0"));
    assert_eq!(value(&text, "ringway_queue_producers_total"), Some("0"));
    for absent in ["queue_history_bytes", "queue_journal_failed", "queue_undurable_messages"] {
        assert!(!text.contains(absent), "{text}");
    }
    let skip = Subscribe::new().on_lag(Lag::Skip);
    let _member = queue.subscribe(&skip.clone().named("w")).unwrap();
    let _alone = queue.subscribe(&skip).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..10_000 {
        producer.send(b"x").unwrap();
    }
    let text = metrics(&[&name]);
    assert_eq!(value(&text, "ringway_subscription_lag_messages"), Some("10000"));
    let position = queue.info().unwrap().position.to_string();
    assert_eq!(value(&text, "ringway_subscription_lag_bytes"), Some(&*position));
    assert_eq!(value(&text, "ringway_consumer_lag_bytes"), Some(&*position));
    assert_eq!(value(&text, "ringway_consumer_lag_messages"), None);
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let _watchdog = watchdog();
    let name = Name::new("metrics-file");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q"]);
    let (file, link) = (directory.file("ringway.prom"), directory.file("link.prom"));
    symlink(&file, &link).unwrap();
    for path in [&file, &file, &link] {
        assert!(print(&["metrics", &name, "-o", path.to_str().unwrap()]).is_empty());
        assert_eq!(fs::read_to_string(&file).unwrap(), metrics(&[&name]));
    }
    assert!(link.is_symlink());
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["link.prom", "ringway.prom"]);

    let nowhere = directory.file("no/such.prom");
    for (arguments, expected, words) in [
        (&["-o", nowhere.to_str().unwrap()][..], 1, "cannot write"),
        (&["-o", directory.text()], 1, "that is no file"),
        (&["-o", "/dev/null"], 1, "that is no file"),
        (&["--every", "15s"], 2, "--output"),
        (&["-o", "x.prom", "--every", "0s"], 2, "above zero"),
    ] {
        let output = run(&[&["metrics", &name], arguments].concat());
        assert_eq!(code(&output), expected, "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_file_is_kept_up_to_date_until_ctrl_c() {
    let _watchdog = watchdog();
    let (name, late) = (Name::new("metrics-every"), Name::new("metrics-late"));
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &QueueOptions::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    let file = directory.file("ringway.prom");
    let path = file.to_str().unwrap();
    let arguments = ["metrics", &name, &late, "-o", path, "--every", "1ms"];
    let mut child = ringway(&arguments).spawn().unwrap();
    await_words(&mut child, &format!("no queue '{}'", &*late));
    let await_value = |metric: &str, expected: u64| {
        let path: &Path = &file;
        loop {
            let text = fs::read_to_string(path).unwrap();
            // Never a half.
            assert!(text.starts_with("# HELP ringway_build_info ") && text.ends_with('\n'));
            let found = value(&text, &format!("ringway_{metric}")).unwrap();
            let found = found.parse::<u64>().unwrap();
            assert!(found <= expected, "{metric}: {found}");
            if found == expected {
                return text;
            }
        }
    };
    let text = await_value("queues", 1);
    assert_eq!(value(&text, "ringway_unreadable_queues"), Some("1"));
    for number in 1..100 {
        producer.send(b"x").unwrap();
        await_value("queue_sent_messages_total", number);
    }
    // One that was named comes later.
    print(&["create", &late, "-q"]);
    loop {
        let text = fs::read_to_string(&file).unwrap();
        if value(&text, "ringway_queues") == Some("2") {
            assert_eq!(value(&text, "ringway_unreadable_queues"), Some("0"));
            break;
        }
    }
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(file.exists());
}

#[test]
fn what_cannot_be_examined_is_said_and_counted() {
    let _watchdog = watchdog();
    let (good, bad) = (Name::new("metrics-good"), Name::new("metrics-bad"));
    print(&["create", &good, "-q"]);
    fs::write(bad.path(), "no segment").unwrap();
    // Of all that are named the others are told, once each.
    let output = run(&["metrics", &good, &bad, "no-such-queue", &good]);
    assert_eq!(code(&output), run(&["info", &bad]).status.code().unwrap());
    let told = said(&output);
    assert!(told.contains(&*bad) && told.contains("no queue 'no-such-queue'"), "{told}");
    assert!(told.contains("2 of 4 queues failed"), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(value(&text, "ringway_queues"), Some("1"));
    assert_eq!(value(&text, "ringway_unreadable_queues"), Some("2"));
    assert_eq!(code(&run(&["metrics", "no-such-queue"])), 3);

    // Of all that there are it is said, as by `ls`.
    let output = run(&["metrics"]);
    assert_eq!(code(&output), 0);
    assert!(said(&output).contains(&*bad), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("ringway_queue_info{{queue=\"{}\"", &*good)));
    assert_ne!(value(&text, "ringway_unreadable_queues"), Some("0"));
    assert_eq!(said(&run(&["metrics", "-q"])), "");
}

#[test]
fn queues_that_come_and_go_meanwhile_are_no_failures() {
    let _watchdog = watchdog();
    let name = Name::new("metrics-fleeting");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
                Queue::remove(&name).unwrap();
            }
        });
        let outputs: Vec<_> = (0..50).map(|_| run(&["metrics"])).collect();
        done.store(true, Ordering::Relaxed);
        for output in outputs {
            assert_eq!(code(&output), 0);
            assert!(!said(&output).contains(&*name), "{}", said(&output));
        }
    });
}

#[test]
fn what_bytes_are_where_a_queue_was_made_anew_is_said() {
    const CAPACITY: u64 = 1 << 20;
    let _alive = watchdog();
    let name = Name::new("anew");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().history(directory.path()).journal(Journal::Written);
    let queue = Queue::create(&name, &options.clone().capacity(64 << 10)).unwrap();
    queue.declare(&Subscribe::new().named("workers").from(Start::Oldest)).unwrap();
    queue.producer().unwrap().send_durable(b"to be worked on").unwrap();
    Queue::remove(&name).unwrap();
    Queue::create(&name, &options.capacity(CAPACITY)).unwrap();
    let subscription = &print_json(&["subscriptions", &name, "--json"])[0];
    assert_eq!(subscription["lag_messages"], 1);
    assert_eq!(subscription["lag_bytes"], CAPACITY);
    let metrics = String::from_utf8(print(&["metrics", &name])).unwrap();
    for family in ["queue_sent_bytes", "queue_history_bytes", "subscription_lag_bytes"] {
        let help = format!("# HELP ringway_{family}");
        let help = metrics.lines().find(|line| line.starts_with(&help)).unwrap();
        assert!(help.contains("made anew"), "{help}");
    }
    for page in ["subscriptions", "info", "ls"] {
        let help = String::from_utf8(print(&["help", page])).unwrap();
        assert!(help.contains("made anew"), "{help}");
    }
}
