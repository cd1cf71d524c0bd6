//! How long a message takes: `bench latency`.

use std::time::Duration;

use ringway::Wait;
use ringway::workload::{Arrival, Timed};
use serde_json::{Map, Value, json};

use crate::bench::crew::Role;
use crate::bench::document::{Times, float, repeated};
use crate::bench::loads::{self, Case};
use crate::bench::setting::{Setting, clock_cost_ns, nanoseconds};
use crate::failure::Failure;

/// Bytes of a message, and how both ends wait.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub size: usize,
    pub wait: Wait,
}

/// How long runs are.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    pub duration: Duration,
    pub warm_up: Duration,
    pub runs: u16,
}

/// What the runs of a cell came to: all times, the median of each run, and the processor time of
/// the side that waits.
#[derive(Default)]
struct Trips {
    times_ns: Vec<u64>,
    medians_ns: Vec<f64>,
    cpu_shares: Vec<f64>,
}

/// Round trips of each cell, in turn; and the time of each, by the moment of its end as if there
/// had been nothing in between.
pub fn round_trips(
    setting: &Setting<'_>,
    cells: &[Cell],
    length: Length,
    bracket_ns: Option<f64>,
) -> Result<(Vec<Value>, Vec<Timed>), Failure> {
    let mut logged = Vec::new();
    let mut at_ns = 0;
    let mut all: Vec<Trips> = cells.iter().map(|_| Trips::default()).collect();
    for number in 0..length.runs {
        for (cell, trips) in cells.iter().zip(&mut all) {
            setting.progress(format_args!(
                "round trips of {} B, {}, run {} of {}",
                cell.size,
                cell.wait,
                number + 1,
                length.runs
            ));
            if number == 0 && !length.warm_up.is_zero() {
                run(setting, *cell, length.warm_up)?;
            }
            let (times, cpu_share) = run(setting, *cell, length.duration)?;
            logged.extend(times.iter().map(|time_ns| {
                at_ns += time_ns;
                (at_ns, *time_ns)
            }));
            let times = Times::of(times);
            trips.medians_ns.extend(times.percentile_ns(50.0).map(float));
            trips.cpu_shares.push(cpu_share);
            trips.times_ns.extend(times.into_inner());
        }
    }
    let values = cells.iter().zip(all).map(|(cell, trips)| value(*cell, trips, bracket_ns));
    Ok((values.collect(), logged))
}

/// The times of one run, and how much of a processor the answering end took.
fn run(setting: &Setting<'_>, cell: Cell, duration: Duration) -> Result<(Vec<u64>, f64), Failure> {
    let stage = setting.stage(1, true)?;
    let ask = Role::Ask { size: cell.size, for_ns: nanoseconds(duration) };
    let heard = setting.run(&stage.names, cell.wait, false, vec![ask, Role::Answer])?;
    Ok((heard.answers[0].numbers(), heard.answers[1].cpu_share()))
}

fn value(cell: Cell, trips: Trips, bracket_ns: Option<f64>) -> Value {
    let times = Times::of(trips.times_ns);
    let mut map = Map::from_iter([
        ("size_bytes".into(), json!(cell.size)),
        ("wait".into(), json!(cell.wait.to_string())),
        ("runs".into(), json!(trips.cpu_shares.len())),
        ("round_trips".into(), json!(times.count())),
        ("clock_ns".into(), json!(clock_cost_ns())),
        ("mean_ns".into(), json!(times.mean_ns())),
        ("max_ns".into(), json!(times.max_ns())),
        ("percentiles".into(), times.percentiles()),
        ("spectrum".into(), times.spectrum()),
        ("cpu_share".into(), json!(mean(&trips.cpu_shares))),
    ]);
    map.extend(repeated("median_ns", &trips.medians_ns));
    let ratio = bracket_ns.filter(|bare| *bare > 0.0).zip(map["median_ns"].as_f64());
    let ratio = ratio.map(|(bare, median)| (median - clock_cost_ns()) / bare);
    map.insert("bare_ratio".into(), json!(ratio));
    map.into()
}

/// One-way times of each cell, in turn, at this rate: from the intended time of each message, which
/// comes by chance so that it meets consumers in all states, to its receipt.
pub fn one_way(
    setting: &Setting<'_>,
    cells: &[Cell],
    length: Length,
    rate_per_s: f64,
) -> Result<(Vec<Value>, Vec<loads::Outcome>), Failure> {
    let mut all: Vec<Vec<loads::Outcome>> = cells.iter().map(|_| Vec::new()).collect();
    for number in 0..length.runs {
        for (cell, outcomes) in cells.iter().zip(&mut all) {
            setting.progress(format_args!(
                "one way, {} B, {}, run {} of {}",
                cell.size,
                cell.wait,
                number + 1,
                length.runs
            ));
            let case = Case {
                arrival: Arrival::poisson(),
                services: vec![ringway::workload::Service::none()],
                rate_per_s,
                consumers: 1,
                broadcast: false,
                bound: None,
                sleeps: false,
                size: cell.size,
                wait: cell.wait,
                duration: length.duration,
                warm_up: length.warm_up,
                seed: setting.common.seed.wrapping_add(number.into()),
            };
            outcomes.push(loads::run(setting, &case)?);
        }
    }
    let values = cells.iter().zip(&all).map(|(cell, outcomes)| one_way_value(*cell, outcomes));
    let values = values.collect();
    Ok((values, all.into_iter().flatten().collect()))
}

fn one_way_value(cell: Cell, outcomes: &[loads::Outcome]) -> Value {
    let sum = |of: fn(&loads::Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let waits = outcomes.iter().map(loads::Outcome::waits_in_window);
    let waits: Vec<Times> = waits.map(Times::of).collect();
    let medians: Vec<f64> =
        waits.iter().filter_map(|times| times.percentile_ns(50.0)).map(float).collect();
    let times = Times::of(waits.into_iter().flat_map(Times::into_inner).collect());
    let achieved: Vec<f64> = outcomes.iter().map(|it| it.account.achieved_rate_per_s).collect();
    let late: Vec<f64> = outcomes.iter().map(|it| it.offered.late_mean_ns).collect();
    let shares: Vec<f64> = outcomes.iter().map(loads::Outcome::cpu_share).collect();
    let mut map = Map::from_iter([
        ("size_bytes".into(), json!(cell.size)),
        ("wait".into(), json!(cell.wait.to_string())),
        ("runs".into(), json!(outcomes.len())),
        ("sent".into(), json!(sum(|it| it.account.sent))),
        ("received".into(), json!(sum(|it| it.account.received))),
        ("lost".into(), json!(sum(|it| it.account.lost))),
        ("duplicated".into(), json!(sum(|it| it.account.duplicated))),
        ("out_of_order".into(), json!(sum(|it| it.account.out_of_order))),
        ("target_rate_per_s".into(), json!(outcomes.first().map(|it| it.case.rate_per_s))),
        ("achieved_rate_per_s".into(), json!(mean(&achieved))),
        ("generator_late_mean_ns".into(), json!(mean(&late))),
        ("mean_ns".into(), json!(times.mean_ns())),
        ("max_ns".into(), json!(times.max_ns())),
        ("percentiles".into(), times.percentiles()),
        ("spectrum".into(), times.spectrum()),
        ("cpu_share".into(), json!(mean(&shares))),
    ]);
    map.extend(repeated("median_ns", &medians));
    map.into()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len().max(1) as u64)
}
