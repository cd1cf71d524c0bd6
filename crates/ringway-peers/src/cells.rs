//! Which cells there are, and how the rounds of a cell become a line of the table.

use std::time::Duration;

use serde::Serialize;

use crate::job::{Report, Task};
use crate::runner::Order;
use crate::systems::SIZES;
use crate::transport::{Facts, Kind, Wait};

/// The size of messages where the size is not what matters.
const USUAL_SIZE: usize = 64;

/// Something to measure of every system that can do it.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) title: &'static str,
    pub(crate) order: Order,
    /// Streams wait as their users would have it.
    as_streams: bool,
    /// Of how many rounds; some are long, and not about nanoseconds.
    pub(crate) rounds: usize,
    /// What a report says of it.
    pub(crate) metrics: &'static [Metric],
}

/// A figure of a report, and its name in the JSON.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Report) -> Option<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn whole(count: u64) -> f64 {
    count as f64
}

const ROUND_TRIP: &[Metric] = &[
    Metric { name: "round_trip_p50_ns", of: |report| report.p50_ns },
    Metric { name: "round_trip_p99_ns", of: |report| report.p99_ns },
    Metric { name: "round_trip_p999_ns", of: |report| report.p999_ns },
    Metric { name: "round_trip_cpu_percent", of: |report| report.cpu_percent },
];
const BLOCKING_ROUND_TRIP: &[Metric] = &[
    Metric { name: "blocking_round_trip_p50_ns", of: |report| report.p50_ns },
    Metric { name: "blocking_round_trip_p99_ns", of: |report| report.p99_ns },
    Metric { name: "blocking_round_trip_p999_ns", of: |report| report.p999_ns },
    Metric { name: "blocking_round_trip_cpu_percent", of: |report| report.cpu_percent },
];
const STREAM: &[Metric] =
    &[Metric { name: "stream_messages_per_s", of: |report| report.messages_per_s }];
const BATCHES: &[Metric] =
    &[Metric { name: "batch_messages_per_s", of: |report| report.messages_per_s }];
const SHARED: &[Metric] =
    &[Metric { name: "shared_messages_per_s", of: |report| report.messages_per_s }];
const WAKE: &[Metric] = &[
    Metric { name: "wake_p50_ns", of: |report| report.p50_ns },
    Metric { name: "wake_p99_ns", of: |report| report.p99_ns },
    Metric { name: "wake_cpu_percent", of: |report| report.cpu_percent },
];
const MEMORY: &[Metric] = &[
    Metric { name: "memory_bytes", of: |report| report.memory_bytes.map(whole) },
    Metric { name: "files", of: |report| Some(whole(report.files.len() as u64)) },
];
const RECEIVER_DIES: &[Metric] =
    &[Metric { name: "receiver_crash_ns", of: |report| report.recovered_ns.map(whole) }];
const SENDER_DIES: &[Metric] =
    &[Metric { name: "sender_crash_ns", of: |report| report.recovered_ns.map(whole) }];

impl Measurement {
    /// The order for one system, if it can do that.
    pub(crate) fn order_for(&self, facts: &Facts) -> Option<Order> {
        let mut order = self.order.clone();
        if self.as_streams {
            order.wait = facts.streams;
        }
        let bare = facts.kind == Kind::Bare;
        if bare && order.task == Task::Wake {
            order.size = facts.size_max;
        }
        let waits = match order.wait {
            Wait::Busy => facts.busy,
            Wait::Blocking => facts.blocking,
        };
        let does = match order.task {
            Task::RoundTrip | Task::Wake => true,
            Task::Check | Task::Memory | Task::Stream if order.receivers == 1 => !bare,
            Task::Check | Task::Memory | Task::Stream => facts.broadcast,
            Task::Batches => facts.batches,
            Task::Shared => facts.shared,
            Task::ReceiverDies | Task::SenderDies => !bare && facts.kind != Kind::Threads,
        };
        (waits && does && order.size <= facts.size_max).then_some(order)
    }
}

/// All that is measured, in the order in which it is.
pub(crate) fn measurements(quick: bool) -> Vec<Measurement> {
    let duration = Duration::from_millis(if quick { 40 } else { 120 });
    let rounds = if quick { 3 } else { 7 };
    let sizes: &[usize] = if quick { &[8, 64, 1 << 10] } else { &SIZES };
    let usual = |title, task, wait, metrics| Measurement {
        title,
        order: Order { task, size: USUAL_SIZE, wait, receivers: 1, duration },
        as_streams: false,
        rounds,
        metrics,
    };
    let streams = |title, task, receivers, metrics| {
        let mut measurement = usual(title, task, Wait::Busy, metrics);
        measurement.as_streams = true;
        measurement.order.receivers = receivers;
        measurement
    };
    let every_size = |measurement: Measurement| {
        sizes.iter().map(move |size| {
            let mut measurement = measurement.clone();
            measurement.order.size = *size;
            measurement
        })
    };

    let mut all = Vec::new();
    let round_trip = usual("round trip, busy", Task::RoundTrip, Wait::Busy, ROUND_TRIP);
    all.extend(every_size(round_trip));
    let blocking =
        usual("round trip, blocking", Task::RoundTrip, Wait::Blocking, BLOCKING_ROUND_TRIP);
    all.extend(every_size(blocking));
    all.extend(every_size(streams("stream", Task::Stream, 1, STREAM)));
    all.extend(every_size(streams("stream to 2 receivers", Task::Stream, 2, STREAM)));
    all.extend(every_size(streams("stream in batches of 64", Task::Batches, 1, BATCHES)));
    // In turn, so never asleep.
    let mut shared = streams("stream shared by 2 receivers", Task::Shared, 2, SHARED);
    shared.as_streams = false;
    all.extend(every_size(shared));
    let mut wake = usual("wake-up every 2 ms", Task::Wake, Wait::Blocking, WAKE);
    wake.order.duration = Duration::from_millis(if quick { 100 } else { 400 });
    all.push(wake);
    let mut seldom = |title, task, metrics| {
        let mut measurement = usual(title, task, Wait::Busy, metrics);
        measurement.rounds = rounds.min(5);
        all.push(measurement);
    };
    seldom("memory and files", Task::Memory, MEMORY);
    seldom("receiver killed", Task::ReceiverDies, RECEIVER_DIES);
    seldom("sender killed", Task::SenderDies, SENDER_DIES);
    all
}

/// The check that comes before everything else.
pub(crate) fn check_order(size: usize) -> Order {
    let duration = Duration::ZERO;
    Order { task: Task::Check, size, wait: Wait::Busy, receivers: 1, duration }
}

/// How far apart the two processors are, by the round trip of one line.
pub(crate) fn class(round_trip_ns: f64) -> &'static str {
    match round_trip_ns {
        _ if round_trip_ns < 75.0 => "smt",
        _ if round_trip_ns < 220.0 => "near",
        _ => "far",
    }
}

/// How much the brackets of a round may differ.
const BRACKETS_APART: f64 = 1.5;

/// The class of a round, if its brackets agree on one.
pub(crate) fn class_of(brackets: [f64; 2]) -> Option<&'static str> {
    let [before, after] = brackets;
    let apart = before.max(after) / before.min(after).max(1.0);
    (class(before) == class(after) && apart <= BRACKETS_APART).then(|| class(before))
}

/// A line of the table: one figure of one system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) system: String,
    pub(crate) kind: Kind,
    pub(crate) metric: &'static str,
    pub(crate) size_bytes: usize,
    pub(crate) consumers: usize,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The median of the brackets; none where nothing is so quick that it would matter.
    pub(crate) bracket_ns: Option<f64>,
    pub(crate) class: Option<&'static str>,
    /// How many rounds that is of, and how many of this measurement were thrown out.
    pub(crate) rounds: usize,
    pub(crate) thrown_out: usize,
    /// Of what a lossy system was sent, how much its receiver missed at the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missed: Option<u64>,
}

/// The middle one, or the mean of the middle two; the least and the greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
    Some([median, min, max])
}

/// The cells that the rounds of one system make: one for each figure and class.
pub(crate) fn cells(
    facts: &Facts,
    measurement: &Measurement,
    order: &Order,
    reports: &[Report],
) -> Vec<Cell> {
    let classes: Vec<Option<&'static str>> =
        reports.iter().map(|report| report.brackets_ns.and_then(class_of)).collect();
    let thrown_out = reports
        .iter()
        .zip(&classes)
        .filter(|(report, class)| report.brackets_ns.is_some() && class.is_none())
        .count();
    let mut cells = Vec::new();
    for class in [None, Some("smt"), Some("near"), Some("far")] {
        let of_class: Vec<&Report> = reports
            .iter()
            .zip(&classes)
            .filter(|(report, found)| {
                // Without brackets there is no class, and with brackets there has to be one.
                **found == class && report.brackets_ns.is_some() == class.is_some()
            })
            .map(|(report, _)| report)
            .collect();
        let brackets =
            of_class.iter().filter_map(|report| report.brackets_ns).flatten().collect::<Vec<_>>();
        let missed: Vec<f64> =
            of_class.iter().filter_map(|report| report.missed).map(whole).collect();
        for metric in measurement.metrics {
            let values: Vec<f64> = of_class.iter().filter_map(|it| (metric.of)(it)).collect();
            let rounds = values.len();
            let Some([median, min, max]) = spread(values) else { continue };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let missed = spread(Vec::clone(&missed)).map(|[median, ..]| median as u64);
            cells.push(Cell {
                system: facts.name.to_owned(),
                kind: facts.kind,
                metric: metric.name,
                size_bytes: order.size,
                consumers: order.receivers,
                median,
                min,
                max,
                bracket_ns: spread(brackets.clone()).map(|[median, ..]| median),
                class,
                rounds,
                thrown_out,
                missed: missed.filter(|_| facts.kind == Kind::Lossy),
            });
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems;

    fn report(bracket: [f64; 2], p50_ns: f64) -> Report {
        Report { brackets_ns: Some(bracket), p50_ns: Some(p50_ns), ..Report::default() }
    }

    #[test]
    fn rounds_whose_brackets_disagree_are_thrown_out_and_classes_kept_apart() {
        let known = systems::find("ringway").unwrap();
        let measurement = &measurements(true)[0];
        let reports = [
            report([100.0, 110.0], 130.0),
            report([100.0, 230.0], 999.0), // the host has moved a processor
            report([120.0, 200.0], 999.0), // one class, and yet not the same
            report([100.0, 100.0], 150.0),
            report([105.0, 100.0], 140.0),
            report([400.0, 410.0], 500.0),
        ];
        let cells = cells(&known.facts, measurement, &measurement.order, &reports);
        let shown: Vec<_> = cells
            .iter()
            .map(|cell| (cell.class, cell.min, cell.median, cell.max, cell.rounds, cell.thrown_out))
            .collect();
        assert_eq!(
            shown,
            [(Some("near"), 130.0, 140.0, 150.0, 3, 2), (Some("far"), 500.0, 500.0, 500.0, 1, 2),]
        );
        assert_eq!(cells[0].bracket_ns, Some(100.0));
        assert_eq!(cells[0].metric, "round_trip_p50_ns");
    }

    #[test]
    fn the_median_of_two_is_neither_of_them() {
        assert_eq!(spread(vec![3.0, 1.0]), Some([2.0, 1.0, 3.0]));
        assert_eq!(spread(vec![3.0, 1.0, 1.5]), Some([1.5, 1.0, 3.0]));
        assert_eq!(spread(Vec::new()), None);
    }

    #[test]
    fn nobody_is_asked_for_what_it_cannot_do() {
        for known in systems::all() {
            let facts = known.facts;
            for order in measurements(false).iter().filter_map(|it| it.order_for(&facts)) {
                assert!(order.size <= facts.size_max);
                assert!(order.task != Task::Batches || facts.batches);
                assert!(order.task != Task::Shared || facts.shared);
                assert!(order.wait != Wait::Blocking || facts.blocking);
            }
        }
    }
}
