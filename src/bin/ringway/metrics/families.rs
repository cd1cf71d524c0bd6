//! The metrics by their names.
//!
//! What has no value at the moment has no line. Labels are few and take few values: a consumer is
//! told by its line in the member table, which another one has after it, and by its process only in
//! `ringway_consumer_info`. How far a member of a named subscription is behind is told of that
//! alone, so that sums count it once.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use ringway::{ConsumerInfo, Info, SubscriptionInfo};

use crate::failure::Failure;
use crate::output;

/// All that some queues tell, and how many more there are that do not.
pub fn text(infos: Vec<Info>, unreadable: usize) -> Result<String, Failure> {
    let mut registry = Registry::with_prefix("ringway");
    registry.register_collector(Box::new(Page { infos, unreadable }));
    let mut text = String::new();
    let written = prometheus_text::encode(&mut text, &registry);
    written.map_err(|error| Failure::Record(error.to_string()))?;
    Ok(text)
}

/// A metric of queues, or of their `T`s.
struct Family<T> {
    /// With its unit last; without `ringway`, and the `total` of a counter.
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: fn(&Info, &T) -> Option<Value>,
}

const fn counter<T>(
    name: &'static str,
    help: &'static str,
    read: fn(&Info, &T) -> Option<Value>,
) -> Family<T> {
    Family { name, help, kind: MetricType::Counter, read }
}

const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    read: fn(&Info, &T) -> Option<Value>,
) -> Family<T> {
    Family { name, help, kind: MetricType::Gauge, read }
}

const OF_QUEUE: &[Family<()>] = &[
    gauge("queue_created_timestamp_seconds", "When the queue was made", |queue, ()| {
        some(queue.created_at)
    }),
    counter(
        "queue_sent_messages",
        "Messages sent, by the sequence of the next one",
        |queue, ()| some(queue.next_sequence),
    ),
    counter(
        "queue_sent_bytes",
        "Bytes of the stream, which are positions: what messages took with what is put around them, and from one lap to the next where the queue was made anew from a journal",
        |queue, ()| some(queue.position),
    ),
    gauge(
        "queue_ring_messages",
        "Messages in the ring that a new consumer can begin with",
        |queue, ()| some(queue.next_sequence.saturating_sub(queue.oldest_sequence)),
    ),
    gauge("queue_capacity_bytes", "Bytes of the ring", |queue, ()| some(queue.capacity)),
    gauge("queue_segment_bytes", "Bytes of shared memory in all", |queue, ()| {
        some(queue.memory_size)
    }),
    gauge("queue_message_max_bytes", "Bytes that a message can have", |queue, ()| {
        some(queue.message_size_max)
    }),
    gauge("queue_closed", "Whether the stream was ended", |queue, ()| some(queue.closed)),
    counter("queue_producers", "Producers that there have been", |queue, ()| {
        some(queue.producer.as_ref().map_or(0, |producer| producer.epoch))
    }),
    gauge("queue_producer_alive", "Whether the producer lives", |queue, ()| {
        some(queue.producer.as_ref().is_some_and(|producer| producer.alive))
    }),
    gauge(
        "queue_producer_held",
        "Whether a consumer, a named subscription or a history that lacks what is to be overwritten keeps the producer from going on",
        |queue, ()| {
            let waits = queue.producer.as_ref().is_some_and(|of| of.waits_for_history);
            let consumers = queue.consumers.iter().map(|consumer| consumer.holds_producer);
            let subscriptions = queue.subscriptions.iter().map(|of| of.holds_producer);
            some(waits || consumers.chain(subscriptions).any(|holds| holds))
        },
    ),
    gauge("queue_consumers", "Consumers that live", |queue, ()| {
        some(queue.consumers.iter().filter(|consumer| consumer.alive).count() as u64)
    }),
    gauge("queue_dead_consumers", "Consumers that died and were not cleared yet", |queue, ()| {
        some(queue.consumers.iter().filter(|consumer| !consumer.alive).count() as u64)
    }),
    gauge("queue_consumers_max", "How many consumers there can be", |queue, ()| {
        some(u64::from(queue.members_max))
    }),
    gauge("queue_subscriptions", "Named subscriptions", |queue, ()| {
        some(queue.subscriptions.len() as u64)
    }),
    counter(
        "queue_expired_subscriptions",
        "Named subscriptions that were removed because they had no member for too long",
        |queue, ()| some(queue.subscriptions_expired),
    ),
    gauge("queue_subscriptions_max", "How many named subscriptions there can be", |queue, ()| {
        some(u64::from(queue.subscriptions_max))
    }),
    gauge(
        "queue_history_bytes",
        "Bytes of the stream that the files have; as positions count, also to the next lap where the queue was made anew",
        |queue, ()| {
            let range = &queue.history_range;
            queue.history.as_ref()?;
            some(range.end.saturating_sub(range.start))
        },
    ),
    gauge("queue_journaler_alive", "Whether somebody writes the journal", |queue, ()| {
        queue.journal?;
        some(queue.journaler_alive)
    }),
    gauge("queue_journal_failed", "Whether the disk has failed the journal", |queue, ()| {
        queue.journal?;
        some(queue.journal_failed)
    }),
    gauge("queue_undurable_messages", "Messages that are not durable yet", |queue, ()| {
        some(queue.next_sequence.saturating_sub(queue.durable_sequence?))
    }),
];

const OF_SUBSCRIPTION: &[Family<SubscriptionInfo>] = &[
    gauge(
        "subscription_created_timestamp_seconds",
        "When the named subscription was made",
        |_, of| some(of.created_at),
    ),
    gauge("subscription_members", "Members of the named subscription that live", |_, of| {
        some(u64::from(of.members_alive))
    }),
    gauge(
        "subscription_lag_messages",
        "Messages that are not acknowledged, taken or not",
        |queue, of| {
            // What was overwritten by now counts too: who looks wants to know when it is most.
            let not_taken = queue.next_sequence.saturating_sub(of.head_sequence);
            some(of.lag_messages.unwrap_or(not_taken.saturating_add(of.unacked)))
        },
    ),
    gauge(
        "subscription_lag_bytes",
        "Bytes of the stream from the first message on that is not acknowledged; as positions count, also to the next lap where the queue was made anew",
        |_, of| some(of.lag_bytes),
    ),
    gauge(
        "subscription_lag_seconds",
        "How old the first message is that is not acknowledged; without a journal at most, since the sixteenth of the ring that it lies in was begun, which may be hours before on a quiet queue; not told once the ring has lost it",
        |_, of| lag_time(of.lag_messages, of.lag_time),
    ),
    gauge(
        "subscription_unacked_messages",
        "Messages that members have taken and not acknowledged",
        |_, of| some(of.unacked),
    ),
    gauge(
        "subscription_waiting_messages",
        "Refused messages that wait for their next delivery",
        |_, of| some(of.waiting),
    ),
    gauge(
        "subscription_holds_producer",
        "Whether the named subscription keeps the producer from going on",
        |_, of| some(of.holds_producer),
    ),
    counter("subscription_deliveries", "Deliveries to members", |_, of| some(of.delivered)),
    counter(
        "subscription_redeliveries",
        "Deliveries that were not the first of their message",
        |_, of| some(of.redelivered),
    ),
    counter("subscription_acked_messages", "Messages acknowledged", |_, of| some(of.acked)),
    counter("subscription_dead_letters", "Messages that became dead letters", |_, of| {
        some(of.dead_letters)
    }),
    counter(
        "subscription_missed_messages",
        "Messages that were overwritten before anybody took them",
        |_, of| some(of.missed),
    ),
];

const OF_CONSUMER: &[Family<ConsumerInfo>] = &[
    gauge("consumer_alive", "Whether the consumer lives", |_, of| some(of.alive)),
    gauge("consumer_joined_timestamp_seconds", "When the consumer joined", |_, of| some(of.since)),
    gauge(
        "consumer_lag_messages",
        "Messages that the consumer has not received or not given back; not told when it is more than a ring behind",
        |_, of| some(alone(of)?.lag_messages?),
    ),
    gauge(
        "consumer_lag_bytes",
        "Bytes of the stream from the first message on that the consumer has not received or not given back; as positions count, also to the next lap where the queue was made anew",
        |_, of| some(alone(of)?.lag_bytes),
    ),
    gauge(
        "consumer_lag_seconds",
        "How old the first message is that the consumer has not received or not given back; without a journal at most, since the sixteenth of the ring that it lies in was begun, which may be hours before on a quiet queue; not told once the ring has lost it",
        |_, of| lag_time(alone(of)?.lag_messages, of.lag_time),
    ),
    gauge(
        "consumer_holds_producer",
        "Whether the consumer keeps the producer from going on",
        |_, of| some(alone(of)?.holds_producer),
    ),
    gauge(
        "consumer_unacked_messages",
        "Messages that the consumer has taken as a member and not acknowledged",
        |_, of| some(member(of)?.unacked),
    ),
    counter("consumer_deliveries", "Deliveries to the consumer as a member", |_, of| {
        some(member(of)?.delivered)
    }),
    counter(
        "consumer_acked_messages",
        "Messages that the consumer acknowledged as a member",
        |_, of| some(member(of)?.acked),
    ),
    counter("consumer_missed_messages", "Messages that the consumer was too slow for", |_, of| {
        some(of.missed)
    }),
    counter("consumer_sleeps", "How often the consumer slept", |_, of| some(of.sleeps)),
    counter(
        "consumer_late_wakes",
        "Sleeps that ended by their time limit although there was a message",
        |_, of| some(u64::from(of.late_wakes)),
    ),
];

/// A consumer that is behind by itself.
fn alone(consumer: &ConsumerInfo) -> Option<&ConsumerInfo> {
    Some(consumer).filter(|consumer| consumer.subscription.is_none())
}

/// A member of a named subscription.
fn member(consumer: &ConsumerInfo) -> Option<&ConsumerInfo> {
    Some(consumer).filter(|consumer| consumer.subscription.is_some())
}

fn lag_time(messages: Option<u64>, time: Option<Duration>) -> Option<Value> {
    if messages == Some(0) { some(Duration::ZERO) } else { some(time?) }
}

#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Seconds(f64),
}

#[allow(clippy::unnecessary_wraps, reason = "the tables are shorter by it")]
fn some(value: impl Into<Value>) -> Option<Value> {
    Some(value.into())
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Count(holds.into())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Seconds(time.as_secs_f64())
    }
}

impl From<SystemTime> for Value {
    fn from(moment: SystemTime) -> Self {
        moment.duration_since(UNIX_EPOCH).unwrap_or_default().into()
    }
}

impl Value {
    fn encode(self, kind: MetricType, encoder: MetricEncoder<'_>) -> fmt::Result {
        match (self, kind) {
            (Self::Count(count), MetricType::Counter) => ConstCounter::new(count).encode(encoder),
            (Self::Count(count), _) => ConstGauge::new(count).encode(encoder),
            (Self::Seconds(seconds), _) => ConstGauge::new(seconds).encode(encoder),
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// A queue, or a part of one.
struct Row<'a, T> {
    queue: &'a Info,
    of: &'a T,
    /// What tells it from others.
    labels: Labels,
    /// What else is known of it that is no number.
    facts: Labels,
}

impl<'a> Row<'a, ()> {
    fn of_queue(queue: &'a Info) -> Self {
        let journal = queue.journal.map_or("none".into(), |journal| journal.to_string());
        Self {
            queue,
            of: &(),
            labels: vec![("queue", queue.name.clone())],
            facts: vec![
                ("instance_id", output::hex(&queue.instance_id)),
                ("layout", format!("{}.{}", queue.layout.0, queue.layout.1)),
                ("journal", journal),
            ],
        }
    }
}

impl<'a> Row<'a, SubscriptionInfo> {
    fn of_subscription(queue: &'a Info, of: &'a SubscriptionInfo) -> Self {
        Self {
            queue,
            of,
            labels: vec![("queue", queue.name.clone()), ("subscription", of.name.clone())],
            facts: vec![("lag", of.lag.to_string()), ("keyed", of.keyed.to_string())],
        }
    }
}

impl<'a> Row<'a, ConsumerInfo> {
    fn of_consumer(queue: &'a Info, of: &'a ConsumerInfo) -> Self {
        Self {
            queue,
            of,
            labels: vec![("queue", queue.name.clone()), ("member", of.member.to_string())],
            facts: vec![
                ("pid", of.pid.to_string()),
                ("subscription", of.subscription.clone().unwrap_or_default()),
                ("lag", of.lag.to_string()),
            ],
        }
    }
}

#[derive(Debug)]
struct Page {
    infos: Vec<Info>,
    unreadable: usize,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "The program that wrote this";
        encoder.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&version)?;
        for (name, help, count) in [
            ("queues", "Queues that are told of here", self.infos.len()),
            ("unreadable_queues", "Queues that could not be examined", self.unreadable),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            Value::from(count as u64).encode(MetricType::Gauge, metric)?;
        }
        let queues: Vec<_> = self.infos.iter().map(Row::of_queue).collect();
        encode(encoder, ("queue", "What the queue is"), OF_QUEUE, &queues)?;
        let subscriptions = self
            .infos
            .iter()
            .flat_map(|queue| queue.subscriptions.iter().map(|of| Row::of_subscription(queue, of)));
        let subscriptions: Vec<_> = subscriptions.collect();
        let info = ("subscription", "What the named subscription is");
        encode(encoder, info, OF_SUBSCRIPTION, &subscriptions)?;
        let consumers = self
            .infos
            .iter()
            .flat_map(|queue| queue.consumers.iter().map(|of| Row::of_consumer(queue, of)));
        let consumers: Vec<_> = consumers.collect();
        let info = ("consumer", "Who the consumer is, and a member of what");
        encode(encoder, info, OF_CONSUMER, &consumers)
    }
}

/// Writes all lines of one name together, as the format wants it.
fn encode<T>(
    encoder: &mut DescriptorEncoder<'_>,
    (info, help): (&str, &str),
    families: &[Family<T>],
    rows: &[Row<'_, T>],
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(info, help, None, MetricType::Info)?;
    for row in rows {
        metric.encode_family(&row.labels)?.encode_info(&row.facts)?;
    }
    for &Family { name, help, kind, read } in families {
        let values = rows.iter().map(|row| (row, read(row.queue, row.of)));
        let mut values = values.filter_map(|(row, value)| Some((row, value?))).peekable();
        if values.peek().is_none() {
            continue;
        }
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for (row, value) in values {
            value.encode(kind, metric.encode_family(&row.labels)?)?;
        }
    }
    Ok(())
}
