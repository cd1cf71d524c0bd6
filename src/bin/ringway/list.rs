//! `ringway ls`.

use ringway::{Info, Queue};
use serde_json::{Value, json};

use crate::args::Ls;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::{self, Console};

const HEADER: [&str; 8] = [
    "NAME",
    "CAPACITY",
    "MESSAGES",
    "NEXT",
    "PRODUCER",
    "CONSUMERS",
    "SUBSCRIPTIONS",
    "FURTHEST BEHIND",
];

pub fn run(list: &Ls, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let queues = examine(&names()?, owner);
    if list.json {
        output::json(&queues.iter().map(as_json).collect())?;
        return Ok(Ending::Done);
    }
    let infos: Vec<_> = queues.iter().filter_map(|(_, info)| info.as_ref().ok()).collect();
    if infos.is_empty() {
        console.note("no queues; `ringway create NAME` makes one");
    } else {
        output::print(output::table(&HEADER, &HEADER[1..], infos.into_iter().map(row)))?;
    }
    for failure in queues.iter().filter_map(|(_, info)| info.as_ref().err()) {
        console.note(failure);
    }
    Ok(Ending::Done)
}

/// The names of all queues.
pub fn names() -> Result<Vec<String>, Failure> {
    Ok(Queue::list()?)
}

type Examined = (String, Result<Info, Failure>);

fn examine(names: &[String], owner: Option<u32>) -> Vec<Examined> {
    let examine = |name: &String| open(name, owner).and_then(|queue| Ok(queue.info()?));
    names.iter().map(|name| (name.clone(), examine(name))).collect()
}

fn row(info: &Info) -> Vec<String> {
    let alive = info.consumers.iter().filter(|consumer| consumer.alive);
    vec![
        info.name.clone(),
        output::bytes(info.capacity),
        info.next_sequence.saturating_sub(info.oldest_sequence).to_string(),
        info.next_sequence.to_string(),
        match &info.producer {
            Some(producer) if producer.alive => producer.pid.to_string(),
            _ if info.closed => "closed".into(),
            _ => "-".into(),
        },
        alive.count().to_string(),
        info.subscriptions.len().to_string(),
        furthest_behind(info).unwrap_or("-".into()),
    ]
}

/// How far whoever is furthest behind is, by whatever name, and whether anybody holds the producer.
fn furthest_behind(info: &Info) -> Option<String> {
    let consumers = info.consumers.iter().filter(|consumer| consumer.alive);
    let consumers = consumers.map(|consumer| (consumer.lag_bytes, consumer.holds_producer));
    let subscriptions = info.subscriptions.iter();
    let subscriptions = subscriptions.map(|of| (of.lag_bytes, of.holds_producer));
    let all = consumers.chain(subscriptions);
    let furthest = all.reduce(|one, other| (one.0.max(other.0), one.1 || other.1));
    let lag = furthest.map(|(lag, _)| output::bytes(lag));
    let by = match &info.producer {
        _ if furthest.is_some_and(|(_, holds)| holds) => "holds the producer",
        Some(producer) if producer.waits_for_history => "the history holds the producer",
        _ => return lag,
    };
    Some(lag.map_or(by.into(), |lag| format!("{lag}, {by}")))
}

fn as_json((name, info): &Examined) -> Value {
    match info {
        Ok(info) => crate::info::as_json(info),
        Err(failure) => json!({ "name": name, "error": failure.to_string() }),
    }
}
