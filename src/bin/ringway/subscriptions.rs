//! `ringway subscriptions`.

use std::iter;

use ringway::{Holder, Info, SubscriptionInfo};
use serde_json::{Value, json};

use crate::args::Subscriptions;
use crate::failure::{Ending, Failure};
use crate::info::{age, open};
use crate::output::{self, Columns, Console, bytes, time};
use crate::watch::Rates;

const HEADER: [&str; 14] = [
    "NAME",
    "MEMBERS",
    "STATE",
    "HEAD",
    "UNACKED",
    "WAITING",
    "BEHIND",
    "BYTES",
    "AGE",
    "DELIVERED",
    "AGAIN",
    "ACKED",
    "DEAD",
    "MISSED",
];

pub fn run(
    subscriptions: &Subscriptions,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let name = &subscriptions.name;
    let info = open(name, owner)?.info()?;
    if subscriptions.json {
        output::json(&as_json(&info))?;
    } else if info.subscriptions.is_empty() {
        console.note(format_args!(
            "queue '{name}' has no named subscriptions; `ringway sub {name} --as SUBSCRIPTION` makes one"
        ));
    } else {
        output::print(as_text(&info, None))?;
    }
    Ok(Ending::Done)
}

/// How many messages of a subscription nobody has acknowledged, taken or not, also where it is more
/// than a ring behind.
pub fn left_of(info: &Info, subscription: &SubscriptionInfo) -> u64 {
    let not_taken = info.next_sequence.saturating_sub(subscription.head_sequence);
    not_taken.saturating_add(subscription.unacked)
}

/// The table of subscriptions, and who of them holds the producer and what to do about it.
pub fn as_text(info: &Info, rates: Option<&Rates>) -> String {
    let holders = info.subscriptions.iter().filter(|subscription| subscription.holds_producer);
    let complaints = holders.map(|holder| complaint(info, holder));
    iter::once(table(info, rates)).chain(complaints).collect::<Vec<_>>().join("\n\n")
}

fn complaint(info: &Info, subscription: &SubscriptionInfo) -> String {
    let SubscriptionInfo { name, members_alive, left_at, .. } = subscription.clone();
    let holder = Holder::Subscription { queue: info.name.clone(), name, members: members_alive };
    let since = left_at.filter(|_| members_alive == 0).and_then(|at| at.elapsed().ok());
    let since = since.map(|time| format!(" (its last member left {} ago)", output::duration(time)));
    format!("The producer is held by {holder}{}.", since.unwrap_or_default())
}

fn table(info: &Info, rates: Option<&Rates>) -> String {
    let rate = |subscription: &_| rates?.of_subscription(subscription);
    let table = Columns::new(&HEADER, &["NAME", "STATE"]);
    table.show(&info.subscriptions, row, rates.map(|_| &rate as &_))
}

fn row(subscription: &SubscriptionInfo) -> Vec<String> {
    let SubscriptionInfo { members_alive, holds_producer, expired, .. } = subscription;
    let state = match (holds_producer, members_alive) {
        (true, _) => "holds the producer",
        (false, _) if *expired => "expired",
        (false, 0) => "idle",
        (false, _) => "alive",
    };
    vec![
        subscription.name.clone(),
        members_alive.to_string(),
        state.into(),
        subscription.head_sequence.to_string(),
        subscription.unacked.to_string(),
        subscription.waiting.to_string(),
        subscription.lag_messages.map_or("over a ring".into(), |count| count.to_string()),
        bytes(subscription.lag_bytes),
        age(subscription.lag_messages, subscription.lag_time),
        subscription.delivered.to_string(),
        subscription.redelivered.to_string(),
        subscription.acked.to_string(),
        subscription.dead_letters.to_string(),
        subscription.missed.to_string(),
    ]
}

/// All of it, with units in the names.
pub fn as_json(info: &Info) -> Value {
    info.subscriptions.iter().map(one_as_json).collect()
}

pub fn one_as_json(subscription: &SubscriptionInfo) -> Value {
    let terms = subscription.terms;
    json!({
        "name": subscription.name,
        "lag": subscription.lag.to_string(),
        "keyed": subscription.keyed,
        "deliveries_max": terms.deliveries_max,
        "backoff": terms.backoff.map(|backoff| json!({
            "first_ns": output::nanoseconds(backoff.first),
            "factor": backoff.factor,
            "max_ns": output::nanoseconds(backoff.max),
        })),
        "ack_within_ns": terms.ack_within.map(output::nanoseconds),
        "expires_after_ns": terms.expires_after.map(output::nanoseconds),
        "expired": subscription.expired,
        "created_at": time(subscription.created_at),
        "members_alive": subscription.members_alive,
        "left_at": subscription.left_at.map(time),
        "head_sequence": subscription.head_sequence,
        "head_position": subscription.head_position,
        "unacked_messages": subscription.unacked,
        "waiting_messages": subscription.waiting,
        "lag_messages": subscription.lag_messages,
        "lag_bytes": subscription.lag_bytes,
        "lag_time_ns": subscription.lag_time.map(output::nanoseconds),
        "holds_producer": subscription.holds_producer,
        "deliveries": subscription.delivered,
        "redeliveries": subscription.redelivered,
        "acked_messages": subscription.acked,
        "dead_letters": subscription.dead_letters,
        "missed_messages": subscription.missed,
    })
}
