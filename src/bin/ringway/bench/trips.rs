//! How long a message takes: `bench latency`.

use ringway::Wait;
use ringway::workload::{Arrival, Offer, Record, Service};
use serde_json::{Map, Value, json};

use crate::bench::args::Length;
use crate::bench::cautions::{About, Caution, once_each};
use crate::bench::document::{Known, Times, float, repeated};
use crate::bench::done::Done;
use crate::bench::loads::{self, Case};
use crate::bench::role::Role;
use crate::bench::setting::{Setting, clock_cost_ns};
use crate::failure::Failure;
use crate::output::nanoseconds;

/// The fewest bytes of a message that goes to and fro.
pub const SIZE_MIN: usize = 1;

/// Bytes of a message, and how both ends wait.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub size: usize,
    pub wait: Wait,
}

impl Cell {
    /// What its times are logged under.
    fn tag(self, what: &str) -> String {
        format!("{what}-{}-{}B", self.wait, self.size)
    }
}

/// Round trips of each cell, in turn. The time of each is logged by the moment of its end as if
/// there had been nothing in between.
pub fn round_trips(
    setting: &Setting<'_>,
    cells: &[Cell],
    length: Length,
    bracket_ns: Option<f64>,
    done: &mut Done,
) -> Result<Vec<Value>, Failure> {
    let all = done.in_turn(cells, length.runs, |cell, number| {
        setting.progress(format_args!(
            "round trips of {} B, {}, run {} of {}",
            cell.size,
            cell.wait,
            number + 1,
            length.runs
        ));
        run(setting, *cell, length)
    })?;
    let mut at_ns = 0;
    for (cell, runs) in cells.iter().zip(&all) {
        let times = runs.iter().flat_map(|run| &run.times_ns).map(|time_ns| {
            at_ns += time_ns;
            (at_ns, *time_ns)
        });
        done.logged.add(&cell.tag("round-trip"), times);
    }
    let measured = cells.iter().zip(all).filter(|(_, runs)| !runs.is_empty());
    Ok(measured.map(|(cell, runs)| value(*cell, length, runs, bracket_ns)).collect())
}

/// The times of one run, and how much of a processor the answering end took.
struct Trips {
    times_ns: Vec<u64>,
    cpu_share: f64,
}

fn run(setting: &Setting<'_>, cell: Cell, length: Length) -> Result<Trips, Failure> {
    let stage = setting.stage(2, 1)?;
    let ask = Role::Ask {
        size: cell.size,
        warm_up_ns: nanoseconds(length.warm_up),
        for_ns: nanoseconds(length.duration),
    };
    let heard = setting.run(&stage.names, cell.wait, false, vec![ask, Role::Answer])?;
    Ok(Trips { times_ns: heard.answers[0].numbers(), cpu_share: heard.answers[1].cpu_share() })
}

fn value(cell: Cell, length: Length, runs: Vec<Trips>, bracket_ns: Option<f64>) -> Value {
    let clock_ns = clock_cost_ns();
    let cpu_shares: Vec<f64> = runs.iter().map(|run| run.cpu_share).collect();
    let runs: Vec<Times> = runs.into_iter().map(|run| Times::of(run.times_ns)).collect();
    let (medians, known) = of_each(&runs);
    let times = Times::together(runs);
    let mut map = Map::from_iter([
        ("size_bytes".into(), json!(cell.size)),
        ("wait".into(), json!(cell.wait.to_string())),
        ("runs".into(), json!(cpu_shares.len())),
        ("round_trips".into(), json!(times.count())),
        ("clock_ns".into(), json!(clock_ns)),
        ("mean_ns".into(), json!(times.mean_ns())),
        ("max_ns".into(), json!(times.max_ns())),
        ("percentiles".into(), times.percentiles(&known)),
        ("spectrum".into(), times.spectrum()),
        ("cpu_share".into(), json!(mean(&cpu_shares))),
    ]);
    map.extend(length.value());
    map.extend(repeated("median_ns", &medians));
    let ratio = bracket_ns.filter(|bare| *bare > 0.0).zip(map["median_ns"].as_f64());
    let ratio = ratio.map(|(bare, median)| (median - clock_ns) / bare);
    map.insert("bare_ratio".into(), json!(ratio));
    map.into()
}

/// Loads without work for the cells that have room for a stamp: one way, at this rate, from the
/// intended time of each message, which comes by chance so that it meets consumers in all states.
pub fn one_ways(
    setting: &Setting<'_>,
    cells: &[Cell],
    length: Length,
    rate_per_s: f64,
) -> Vec<Case> {
    let stampable = cells.iter().filter(|cell| cell.size >= Offer::SIZE_MIN);
    let case = |cell: &Cell| Case {
        arrival: Arrival::poisson(),
        services: vec![Service::none()],
        rate_per_s,
        consumers: 1,
        broadcast: false,
        bound: None,
        sleeps: setting.is_crowded(2),
        size: cell.size,
        wait: cell.wait,
        duration: length.duration,
        warm_up: length.warm_up,
        seed: setting.common.seed,
    };
    stampable.map(case).collect()
}

/// The times of each, in turn.
pub fn one_way(
    setting: &Setting<'_>,
    cases: &[Case],
    length: Length,
    done: &mut Done,
) -> Result<Vec<Value>, Failure> {
    let all = loads::measure(setting, cases, length.runs, done)?;
    let cells = cases.iter().map(|case| Cell { size: case.size, wait: case.wait });
    let (mut values, mut cautions) = (Vec::new(), Vec::new());
    for (cell, outcomes) in cells.zip(&all).filter(|(_, outcomes)| !outcomes.is_empty()) {
        let tag = cell.tag("one-way");
        for outcome in outcomes {
            done.logged.add_load(&tag, outcome, Record::wait_ns);
        }
        values.push(one_way_value(cell, length, outcomes));
        cautions.extend(one_way_cautions(cell, outcomes));
    }
    done.warnings.extend(once_each(&cautions, "other cell"));
    Ok(values)
}

/// Those of its runs, but for those that are about the length of a run: the times of all runs are
/// taken together, and no interval is by parts of a run.
fn one_way_cautions(cell: Cell, outcomes: &[loads::Outcome]) -> Vec<(String, Caution)> {
    let name = format!("one way of {} B, {}", cell.size, cell.wait);
    let all = outcomes.iter().flat_map(loads::Outcome::cautions);
    let meant = all.filter(|it| !matches!(it.about, About::FewMessages | About::ShortRun));
    meant.map(|caution| (name.clone(), caution)).collect()
}

fn one_way_value(cell: Cell, length: Length, outcomes: &[loads::Outcome]) -> Value {
    let sum = |of: fn(&loads::Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let waits = outcomes.iter().map(loads::Outcome::waits_in_window);
    let waits: Vec<Times> = waits.map(Times::of).collect();
    let (medians, known) = of_each(&waits);
    let times = Times::together(waits);
    let achieved: Vec<f64> = outcomes.iter().map(|it| it.account().achieved_rate_per_s).collect();
    let late: Vec<f64> = outcomes.iter().map(|it| it.offered.late_mean_ns).collect();
    let shares: Vec<f64> = outcomes.iter().map(loads::Outcome::cpu_share).collect();
    let mut map = Map::from_iter([
        ("size_bytes".into(), json!(cell.size)),
        ("wait".into(), json!(cell.wait.to_string())),
        ("runs".into(), json!(outcomes.len())),
        ("sent".into(), json!(sum(|it| it.account().sent))),
        ("received".into(), json!(sum(loads::Outcome::received))),
        ("lost".into(), json!(sum(loads::Outcome::lost))),
        ("duplicated".into(), json!(sum(loads::Outcome::duplicated))),
        ("out_of_order".into(), json!(sum(loads::Outcome::out_of_order))),
        ("target_rate_per_s".into(), json!(outcomes.first().map(|it| it.case.rate_per_s))),
        ("achieved_rate_per_s".into(), json!(mean(&achieved))),
        ("generator_late_mean_ns".into(), json!(mean(&late))),
        ("mean_ns".into(), json!(times.mean_ns())),
        ("max_ns".into(), json!(times.max_ns())),
        ("percentiles".into(), times.percentiles(&known)),
        ("spectrum".into(), times.spectrum()),
        ("cpu_share".into(), json!(mean(&shares))),
    ]);
    map.extend(length.value());
    map.extend(repeated("median_ns", &medians));
    map.into()
}

/// The medians of those runs that have one, and the percentiles of each run.
fn of_each(runs: &[Times]) -> (Vec<f64>, Vec<Known>) {
    let medians = runs.iter().filter_map(|times| times.percentile_ns(50.0)).map(float);
    (medians.collect(), runs.iter().map(Times::known).collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len().max(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::loads::tests::{outcome, served};
    use crate::bench::setting::tests::pinned;
    use std::time::Duration;

    /// It would keep who receives from what it has sent, for a time slice at a time.
    #[test]
    fn a_producer_that_shares_its_processor_sleeps_between_messages() {
        let length = Length { duration: Duration::ZERO, warm_up: Duration::ZERO, runs: 1 };
        let cells = [Cell { size: 64, wait: Wait::Park }];
        let sleeps = |pins: &[usize]| one_ways(&pinned(pins), &cells, length, 1.0)[0].sleeps;
        assert!(sleeps(&[0]) && sleeps(&[0, 0]) && !sleeps(&[0, 1]));
    }

    #[test]
    fn what_loads_one_way_are_not_to_be_relied_on_for_is_told_by_cell() {
        let run = |late_mean_ns: f64| {
            let mut run = outcome("none", |number| served(number, 0, 0));
            run.offered.late_mean_ns = late_mean_ns;
            run
        };
        let told = |late_ns: &[f64], wait: Wait| {
            let runs: Vec<_> = late_ns.iter().copied().map(run).collect();
            one_way_cautions(Cell { size: 64, wait }, &runs)
        };
        assert!(told(&[0.0, 0.0], Wait::Spin).is_empty(), "the 198 of both runs are not few");
        let late = told(&[0.0, 1e6, 1e6], Wait::Park);
        let all = [late, told(&[1e6], Wait::Spin)].concat();
        let warnings = once_each(&all, "other cell");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let remedy = warnings[0]["remedy"].as_str().unwrap();
        assert!(remedy.ends_with("or take a lower rate"), "there is no --service: {remedy}");
        assert_eq!(
            warnings[0]["what"],
            "one way of 64 B, park: the generator was 1 ms late on average, 0 at most, and the \
             like with 1 other cell"
        );
    }
}
