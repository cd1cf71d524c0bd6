//! `ringway info --watch`: what a queue does, again and again.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime};

use ringway::{ConsumerInfo, Error, Info, Queue, SubscriptionInfo};
use serde_json::{Value, json};

use crate::failure::{Ending, Failure};
use crate::info::{as_json, as_text};
use crate::interrupt::Interrupt;
use crate::output;

/// Takes a terminal back to an empty page.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub fn run(queue: &Queue, interval: Duration, json: bool) -> Result<Ending, Failure> {
    let interrupt = Interrupt::catch()?;
    let redraws = io::stdout().is_terminal() && !json;
    let mut rates = Rates::default();
    let mut last = Instant::now();
    loop {
        let info = queue.info()?;
        if info.removed {
            return Err(Error::Stale { queue: info.name.into() }.into());
        }
        rates.seconds = last.elapsed().as_secs_f64();
        last = Instant::now();
        if json {
            output::json(&rates.put_into(as_json(&info), &info))?;
        } else if redraws {
            output::print(format_args!("{CLEAR}{}", as_text(&info, Some(&rates))))?;
        } else {
            let gap = if rates.before.is_some() { "\n" } else { "" };
            output::print(format_args!("{gap}{}", as_text(&info, Some(&rates))))?;
        }
        rates.before = Some(info);
        interrupt.sleep(interval.saturating_sub(last.elapsed()))?;
        if let Some(signal) = interrupt.signal() {
            return Ok(Ending::Interrupted(signal));
        }
    }
}

/// What became more since a moment before, by the second.
#[derive(Debug, Default)]
pub struct Rates {
    before: Option<Info>,
    seconds: f64,
}

impl Rates {
    fn of(&self, before: Option<u64>, now: Option<u64>) -> Option<f64> {
        let more = now?.saturating_sub(before?);
        #[allow(clippy::cast_precision_loss, reason = "it is for display")]
        (self.seconds > 0.0).then(|| more as f64 / self.seconds)
    }

    fn sent(&self, info: &Info) -> Option<f64> {
        self.of(self.before.as_ref().map(|it| it.next_sequence), Some(info.next_sequence))
    }

    fn sent_bytes(&self, info: &Info) -> Option<f64> {
        self.of(self.before.as_ref().map(|it| it.position), Some(info.position))
    }

    /// What the producer did, for people.
    pub fn producer_text(&self, info: &Info) -> String {
        let (Some(messages), Some(bytes)) = (self.sent(info), self.sent_bytes(info)) else {
            return "-".into();
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is for display"
        )]
        let bytes = output::bytes(bytes as u64);
        format!("{} messages/s, {bytes}/s of the ring", crate::model::number(messages))
    }

    /// Messages that a consumer received, or that a member acknowledged; unknown of one that is new, or
    /// more than a ring behind.
    pub fn of_consumer(&self, info: &Info, consumer: &ConsumerInfo) -> Option<f64> {
        let before = self.before.as_ref()?;
        let is_it = |other: &&ConsumerInfo| {
            (other.member, other.pid, other.since)
                == (consumer.member, consumer.pid, consumer.since)
        };
        let earlier = before.consumers.iter().find(is_it)?;
        self.of(received(before, earlier), received(info, consumer))
    }

    /// Messages that its members acknowledged; unknown of one that is new.
    pub fn of_subscription(&self, subscription: &SubscriptionInfo) -> Option<f64> {
        let mut before = self.before.as_ref()?.subscriptions.iter();
        let is_it = |other: &&SubscriptionInfo| {
            (&other.name, other.created_at) == (&subscription.name, subscription.created_at)
        };
        self.of(before.find(is_it).map(|it| it.acked), Some(subscription.acked))
    }

    /// Adds them to what programs are told of a queue.
    fn put_into(&self, mut value: Value, info: &Info) -> Value {
        value["time"] = output::exact_time(SystemTime::now()).into();
        value["messages_per_s"] = json!(self.sent(info));
        value["bytes_per_s"] = json!(self.sent_bytes(info));
        for (number, consumer) in info.consumers.iter().enumerate() {
            let rate = self.of_consumer(info, consumer);
            value["consumers"][number]["messages_per_s"] = json!(rate);
        }
        for (number, subscription) in info.subscriptions.iter().enumerate() {
            let rate = self.of_subscription(subscription);
            value["subscriptions"][number]["messages_per_s"] = json!(rate);
        }
        value
    }
}

/// How many messages of the stream a consumer has received, or how many a member has acknowledged.
fn received(info: &Info, consumer: &ConsumerInfo) -> Option<u64> {
    if consumer.subscription.is_some() {
        return Some(consumer.acked);
    }
    let behind = consumer.lag_messages?.saturating_add(consumer.missed);
    Some(info.next_sequence.saturating_sub(behind))
}
