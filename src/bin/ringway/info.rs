//! `ringway info`.

use std::time::Duration;

use ringway::{AtLimit, ConsumerInfo, Info, ProducerInfo, Queue};
use serde_json::{Value, json};

use crate::args;
use crate::failure::{Ending, Failure};
use crate::output::{self, Columns, bytes, time};
use crate::subscriptions;
use crate::watch::{self, Rates};

const HEADER: [&str; 12] = [
    "MEMBER", "OF", "PROCESS", "STATE", "LAG", "BEHIND", "BYTES", "AGE", "UNACKED", "MISSED",
    "SLEEPS", "SINCE",
];

pub fn run(info: &args::Info, owner: Option<u32>) -> Result<Ending, Failure> {
    let queue = open(&info.name, owner)?;
    if let Some(interval) = info.watch {
        return watch::run(&queue, interval, info.json);
    }
    let found = queue.info()?;
    if info.json {
        output::json(&as_json(&found))?;
    } else {
        output::print(as_text(&found, None))?;
    }
    Ok(Ending::Done)
}

/// Opens a queue of a user whom the caller trusts.
pub fn open(name: &str, owner: Option<u32>) -> Result<Queue, Failure> {
    let queue = match owner {
        Some(user) => Queue::open_owned_by(name, user),
        None => Queue::open(name),
    };
    Ok(queue?)
}

/// All of it, with units in the names.
pub fn as_json(info: &Info) -> Value {
    json!({
        "name": info.name,
        "instance_id": output::hex(&info.instance_id),
        "layout": format!("{}.{}", info.layout.0, info.layout.1),
        "capacity_bytes": info.capacity,
        "sector_size_bytes": info.sector_size,
        "message_size_max_bytes": info.message_size_max,
        "memory_size_bytes": info.memory_size,
        "members_max": info.members_max,
        "subscriptions_max": info.subscriptions_max,
        "history": info.history.as_deref().map(output::path),
        "history_range": { "from": info.history_range.start, "to": info.history_range.end },
        "history_max_bytes": info.history_max,
        "at_limit": info.history_max.map(|_| at_limit(info).to_string()),
        "keep_ns": info.keep_for.map(output::nanoseconds),
        "journal": info.journal.map(|journal| journal.to_string()),
        "journaler_alive": info.journaler_alive,
        "journal_failed": info.journal_failed,
        "durable_sequence": info.durable_sequence,
        "owner": info.owner,
        "mode": format!("{:04o}", info.mode),
        "created_at": time(info.created_at),
        "creator_pid": info.creator_pid,
        "producer": info.producer.as_ref().map(|producer| json!({
            "alive": producer.alive,
            "pid": producer.pid,
            "epoch": producer.epoch,
            "since": time(producer.since),
            "waits_for_history": producer.waits_for_history,
        })),
        "closed": info.closed,
        "next_sequence": info.next_sequence,
        "oldest_sequence": info.oldest_sequence,
        "position": info.position,
        "licence": info.licence,
        "floor": info.floor,
        "consumers": info.consumers.iter().map(consumer_as_json).collect::<Value>(),
        "subscriptions": subscriptions::as_json(info),
        "subscriptions_expired": info.subscriptions_expired,
    })
}

fn consumer_as_json(consumer: &ConsumerInfo) -> Value {
    json!({
        "member": consumer.member,
        "alive": consumer.alive,
        "pid": consumer.pid,
        "since": time(consumer.since),
        "subscription": consumer.subscription,
        "lag": consumer.lag.to_string(),
        "position": consumer.position,
        "lag_bytes": consumer.lag_bytes,
        "lag_messages": consumer.lag_messages,
        "lag_time_ns": consumer.lag_time.map(output::nanoseconds),
        "unacked_messages": consumer.unacked,
        "deliveries": consumer.delivered,
        "acked_messages": consumer.acked,
        "holds_producer": consumer.holds_producer,
        "missed_messages": consumer.missed,
        "sleeps": consumer.sleeps,
        "late_wakes": consumer.late_wakes,
    })
}

/// All of it, with how much there was in a second if that is to be told.
pub fn as_text(info: &Info, rates: Option<&Rates>) -> String {
    let mut facts = vec![
        ("queue", info.name.clone()),
        ("instance", output::hex(&info.instance_id)),
        ("layout", format!("{}.{}", info.layout.0, info.layout.1)),
        (
            "ring",
            format!(
                "{}, messages up to {}; {} of shared memory in all",
                bytes(info.capacity),
                bytes(info.message_size_max),
                bytes(info.memory_size)
            ),
        ),
        ("access", format!("user {}, mode {:04o}", info.owner, info.mode)),
        ("made", format!("{} by process {}", time(info.created_at), info.creator_pid)),
        ("producer", info.producer.as_ref().map_or("none yet".into(), producer_text)),
        ("stream", stream_text(info)),
        ("licence", format!("{}, floor {}", info.licence, info.floor)),
        ("history", history_text(info)),
        ("journal", journal_text(info)),
        ("consumers", format!("{} of {}", info.consumers.len(), info.members_max)),
        ("named", named_text(info)),
    ];
    if let Some(rates) = rates {
        let place = facts.iter().position(|(name, _)| *name == "licence").unwrap_or(facts.len());
        facts.insert(place, ("rate", rates.producer_text(info)));
    }
    let facts: Vec<_> = facts.iter().map(|(name, fact)| format!("{name:<10} {fact}")).collect();
    let mut parts = vec![facts.join("\n")];
    if !info.consumers.is_empty() {
        let table = Columns::new(&HEADER, &["OF", "STATE", "LAG", "SINCE"]);
        let rate = |consumer: &_| rates?.of_consumer(info, consumer);
        parts.push(table.show(&info.consumers, row, rates.map(|_| &rate as &_)));
    }
    if !info.subscriptions.is_empty() {
        parts.push(subscriptions::as_text(info, rates));
    }
    parts.join("\n\n")
}

/// How old what somebody has not received is at most, for people; of nothing there is none.
pub fn age(lag_messages: Option<u64>, lag_time: Option<Duration>) -> String {
    let time = lag_time.filter(|_| lag_messages != Some(0));
    time.map_or("-".into(), output::duration)
}

fn named_text(info: &Info) -> String {
    let count = format!("{} of {}", info.subscriptions.len(), info.subscriptions_max);
    match info.subscriptions_expired {
        0 => count,
        expired => format!("{count}; {expired} removed after too long without a member"),
    }
}

fn history_text(info: &Info) -> String {
    let Some(directory) = &info.history else { return "none".into() };
    let range = &info.history_range;
    let has = if range.is_empty() {
        "nothing of the stream in it".into()
    } else {
        format!("has positions {} to {}", range.start, range.end)
    };
    let limits = history_limits(info.history_max, at_limit(info), info.keep_for);
    format!("{}, {has}{limits}", directory.display())
}

/// How much of a history there is, and for how long, behind what is said of it before; nothing where
/// nothing bounds it.
pub fn history_limits(size_max: Option<u64>, at_limit: AtLimit, keep: Option<Duration>) -> String {
    let gives_way = match at_limit {
        AtLimit::DropOldest => "the oldest messages go",
        _ => "the producer waits for those who have not read the oldest messages",
    };
    let size = size_max.map(|most| format!("; up to {}, then {gives_way}", bytes(most)));
    let age = keep.map(|time| format!("; kept for {}", output::duration(time)));
    size.into_iter().chain(age).collect()
}

fn at_limit(info: &Info) -> AtLimit {
    if info.history_drops_oldest { AtLimit::DropOldest } else { AtLimit::Hold }
}

fn journal_text(info: &Info) -> String {
    let (Some(journal), Some(durable)) = (info.journal, info.durable_sequence) else {
        return "none".into();
    };
    let state = if info.journaler_alive { "a journaler lives" } else { "no journaler" };
    let due = info.next_sequence.saturating_sub(durable);
    let durable = match (due, info.journal_failed) {
        (_, true) => {
            format!("the disk has failed it, nothing from message {durable} on is durable")
        }
        (0, false) => "all messages are durable".into(),
        (due, false) => {
            format!("{} from {durable} on not durable yet", output::count(due, "message"))
        }
    };
    format!("{journal}, {state}; {durable}")
}

fn producer_text(producer: &ProducerInfo) -> String {
    let ProducerInfo { alive, pid, epoch, since, waits_for_history, .. } = producer;
    let state = match (alive, waits_for_history) {
        (true, true) => "lives, and waits until the history has more of the stream",
        (true, false) => "lives",
        (false, _) => "is gone",
    };
    format!("process {pid} {state}; number {epoch}, since {}", time(*since))
}

fn stream_text(info: &Info) -> String {
    let state = if info.closed { "closed" } else { "open" };
    let held = if info.next_sequence <= info.oldest_sequence {
        "nothing in the ring".into()
    } else {
        format!("{} to {} in the ring", info.oldest_sequence, info.next_sequence - 1)
    };
    format!("{state}, {held}; next {}, at position {}", info.next_sequence, info.position)
}

fn row(consumer: &ConsumerInfo) -> Vec<String> {
    let state = match (consumer.alive, consumer.holds_producer) {
        (false, _) => "dead",
        (true, true) => "holds the producer",
        (true, false) => "alive",
    };
    vec![
        consumer.member.to_string(),
        consumer.subscription.clone().unwrap_or("-".into()),
        consumer.pid.to_string(),
        state.into(),
        consumer.lag.to_string(),
        consumer.lag_messages.map_or("over a ring".into(), |count| count.to_string()),
        bytes(consumer.lag_bytes),
        age(consumer.lag_messages, consumer.lag_time),
        consumer.unacked.to_string(),
        consumer.missed.to_string(),
        consumer.sleeps.to_string(),
        time(consumer.since),
    ]
}
