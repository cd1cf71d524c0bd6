//! `ringway bench`: the laboratory's runs.

pub mod args;
mod canonical;
pub mod cautions;
pub mod crew;
pub mod document;
mod done;
pub mod estimate;
pub mod loads;
mod role;
mod setting;
mod stage;
mod streams;
mod text;
mod trial;
mod trips;

pub use self::text::{approximates, predicted, run as text, runs};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use ringway::workload::{Arrival, Bound, Offer, Service, WhenFull};
use serde_json::{Value, json};

use crate::bench::args::{
    Bench, BenchCommand, Common, Fanout, Latency, Length, Load, Sweep, Throughput, Work, Workload,
};
use crate::bench::cautions::{Caution, once_each};
use crate::bench::done::Done;
use crate::bench::loads::{Case, Outcome};
use crate::bench::setting::Setting;
use crate::bench::trial::Trial;
use crate::failure::{Ending, Failure};
use crate::interrupt::Interrupt;
use crate::limits::{Part, Verdict};
use crate::output::{self, Console};
use crate::{model, report};

pub fn run(bench: &Bench, console: Console) -> Result<Ending, Failure> {
    let common = match &bench.command {
        None => &bench.common,
        Some(BenchCommand::Throughput(it)) => &it.common,
        Some(BenchCommand::Latency(it)) => &it.common,
        Some(BenchCommand::Load(it)) => &it.common,
        Some(BenchCommand::Sweep(it)) => &it.common,
        Some(BenchCommand::Fanout(it)) => &it.common,
    };
    check_limits(bench, common)?;
    if common.report.iter().chain(&common.hdr).any(|path| output::is_standard(path)) {
        return Err(Failure::Usage(
            "the standard output has the run itself: `ringway bench --json | ringway report -` draws it"
                .into(),
        ));
    }
    if let (Some(report), Some(log)) = (&common.report, &common.hdr)
        && output::is_same_file(report, log)
    {
        return Err(Failure::Usage("--report and --hdr are the same file".into()));
    }
    let interrupt = Interrupt::catch()?;
    let setting = Setting::new(common, &interrupt, console)?;
    // What cannot be written is to be known before anything is measured.
    for path in common.report.iter().chain(&common.hdr) {
        output::probe(path).map_err(|source| Failure::File { source, path: path.clone() })?;
    }
    let mut lab = Lab { setting, console, report: common.report.clone() };
    if bench.command.is_none() && common.report.is_none() {
        let path = PathBuf::from(canonical::REPORT);
        match output::probe(&path) {
            Ok(()) => lab.report = Some(path),
            Err(error) => console.note(format_args!(
                "cannot write {}, and draws no report: {error}; see --report",
                path.display()
            )),
        }
    }
    match &bench.command {
        None => lab.canonical(),
        Some(BenchCommand::Throughput(it)) => lab.throughput(it),
        Some(BenchCommand::Latency(it)) => lab.latency(it),
        Some(BenchCommand::Load(it)) => lab.load(it),
        Some(BenchCommand::Sweep(it)) => lab.sweep(it),
        Some(BenchCommand::Fanout(it)) => lab.fanout(it),
    }
}

/// That the run has all that limits are about.
fn check_limits(bench: &Bench, common: &Common) -> Result<(), Failure> {
    let (command, parts) = match &bench.command {
        None => ("bench", &Part::ALL[..]),
        Some(BenchCommand::Throughput(_)) => ("bench throughput", &[Part::Stream][..]),
        Some(BenchCommand::Fanout(_)) => ("bench fanout", &[Part::Stream][..]),
        Some(BenchCommand::Load(_)) => ("bench load", &[Part::Load][..]),
        Some(BenchCommand::Sweep(_)) => ("bench sweep", &[Part::Load][..]),
        Some(BenchCommand::Latency(it)) => {
            let stampable = it.sizes.iter().any(|size| bytes(*size) >= Offer::SIZE_MIN);
            let both = &[Part::RoundTrip, Part::OneWay][..];
            ("bench latency", if stampable { both } else { &both[..1] })
        }
    };
    common.fail_if.iter().try_for_each(|limit| limit.check(command, parts))
}

/// What a run needs, and what it ends with.
struct Lab<'a> {
    setting: Setting<'a>,
    console: Console,
    /// Where the page goes.
    report: Option<PathBuf>,
}

impl<'a> Lab<'a> {
    fn common(&self) -> &'a Common {
        self.setting.common
    }

    fn machine_warnings(&self, ends: usize) -> Vec<Value> {
        document::machine_warnings(ends, &self.setting.machine)
    }

    fn throughput(&self, options: &Throughput) -> Result<Ending, Failure> {
        let mut sizes: Vec<usize> = options.sizes.iter().copied().map(bytes).collect();
        let by_default = sizes.is_empty();
        if by_default {
            sizes.extend(streams::SIZES);
        }
        let mut cells = Vec::new();
        for wait in &options.wait {
            for consumers in &options.consumers {
                for batch in &options.batch {
                    cells.extend(sizes.iter().map(|size| streams::Cell {
                        size: *size,
                        consumers: usize::from(*consumers),
                        batch: usize::from(*batch),
                        wait: *wait,
                    }));
                }
            }
        }
        self.streams("throughput", cells, by_default, options.length)
    }

    fn fanout(&self, options: &Fanout) -> Result<Ending, Failure> {
        let mut consumers = options.consumers.clone();
        if consumers.is_empty() {
            let free = self.setting.processors().saturating_sub(1).clamp(2, 64);
            let free = u16::try_from(free).unwrap_or(2);
            consumers = std::iter::successors(Some(1_u16), |count| Some(count * 2))
                .take_while(|count| *count <= free)
                .collect();
        }
        let cells: Vec<_> = consumers
            .iter()
            .map(|consumers| streams::Cell {
                size: bytes(options.size),
                consumers: usize::from(*consumers),
                batch: 1,
                wait: options.wait,
            })
            .collect();
        self.streams("fanout", cells, false, options.length)
    }

    /// The name of what is measured is the kind of the run, too.
    fn streams(
        &self,
        kind: &'static str,
        mut cells: Vec<streams::Cell>,
        by_default: bool,
        length: Length,
    ) -> Result<Ending, Failure> {
        if self.common().hdr.is_some() {
            return Err(Failure::Usage("a stream has no times for --hdr to log".into()));
        }
        check_least(cells.iter().map(|cell| cell.size), streams::SIZE_MIN)?;
        let mut done = Done::new(kind);
        let ends = 1 + cells.iter().map(|cell| cell.consumers).max().unwrap_or(1);
        done.warnings = self.machine_warnings(ends);
        self.try_streams(&mut cells, by_default, &mut done.warnings)?;
        let before = self.setting.bracket_ns()?;
        let values = streams::measure(&self.setting, &cells, length, &mut done)?;
        self.bracket(before, &mut done)?;
        done.put_cells(kind, values);
        self.finish(done)
    }

    /// Tries the ring with what is to be sent. Where nobody asked for the sizes, those that do not
    /// fit are left out, and told.
    fn try_streams(
        &self,
        cells: &mut Vec<streams::Cell>,
        by_default: bool,
        warnings: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let mut trial = Trial::new(&self.setting)?;
        let kinds: BTreeSet<_> = cells.iter().map(|cell| (cell.size, cell.batch)).collect();
        for (size, batch) in kinds {
            match trial.check(size, batch) {
                Err(Failure::Usage(why)) if by_default => {
                    cells.retain(|cell| (cell.size, cell.batch) != (size, batch));
                    let size = output::bytes(size as u64);
                    warnings.push(document::warning(
                        format_args!("messages of {size}, {batch} at a time, were left out"),
                        why,
                    ));
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn latency(&self, options: &Latency) -> Result<Ending, Failure> {
        let mut done = Done::new("latency");
        done.warnings = self.machine_warnings(2);
        let cells: Vec<_> = options
            .wait
            .iter()
            .flat_map(|wait| {
                options.sizes.iter().map(|size| trips::Cell { size: bytes(*size), wait: *wait })
            })
            .collect();
        let Latency { length, rate, .. } = *options;
        check_least(cells.iter().map(|cell| cell.size), trips::SIZE_MIN)?;
        self.try_sizes(cells.iter().map(|cell| cell.size))?;
        let one_ways = trips::one_ways(&self.setting, &cells, length, rate);
        one_ways.iter().try_for_each(Case::check)?;
        self.check_samples(&one_ways, length.runs)?;
        let before = self.setting.bracket_ns()?;
        let round_trips = trips::round_trips(&self.setting, &cells, length, before, &mut done)?;
        let one_way = trips::one_way(&self.setting, &one_ways, length, &mut done)?;
        self.bracket(before, &mut done)?;
        done.put_cells("round_trip", round_trips);
        done.put_cells("one_way", one_way);
        self.finish(done)
    }

    fn try_sizes(&self, sizes: impl IntoIterator<Item = usize>) -> Result<(), Failure> {
        let mut trial = Trial::new(&self.setting)?;
        sizes.into_iter().try_for_each(|size| trial.check(size, 1))
    }

    /// Tries the ring with a message of the load's, and finds that it has room for its places.
    fn try_workload(&self, workload: &Workload) -> Result<(), Failure> {
        let size = bytes(workload.size);
        let mut trial = Trial::new(&self.setting)?;
        trial.check(size, 1)?;
        let Some(places) = workload.bound else { return Ok(()) };
        // Of a broadcast, what counts is the consumer that is behind all others.
        let servers = if workload.broadcast { 1 } else { workload.ends() - 1 };
        trial.check_places(size, places, servers)
    }

    fn load(&self, options: &Load) -> Result<Ending, Failure> {
        let mut done = Done::new("load");
        let workload = &options.workload;
        self.try_workload(workload)?;
        let case = self.case(workload, workload.rate(options.rate, options.part)?)?;
        self.check_loads(std::slice::from_ref(&case))?;
        let all = loads::measure(&self.setting, &[case], workload.runs, &mut done)?;
        let outcomes: Vec<Outcome> = all.into_iter().flatten().collect();
        done.warnings = self.machine_warnings(workload.ends());
        done.faults = outcomes.iter().map(Outcome::faults).sum();
        for outcome in &outcomes {
            outcome.log("", &mut done.logged);
        }
        if let Some(outcome) = loads::middle(outcomes)? {
            done.parts = outcome.value(true)?;
            done.warnings.extend(outcome.cautions().iter().map(Caution::value));
        }
        self.finish(done)
    }

    fn sweep(&self, options: &Sweep) -> Result<Ending, Failure> {
        let mut done = Done::new("sweep");
        self.try_workload(&options.workload)?;
        done.warnings = self.machine_warnings(options.workload.ends());
        let points = self.points(&options.workload, &options.loads, &mut done)?;
        done.put("points", points);
        self.finish(done)
    }

    /// The loads in turn, the middle run of each.
    fn points(
        &self,
        workload: &Workload,
        loads: &[f64],
        done: &mut Done,
    ) -> Result<Vec<Value>, Failure> {
        let cases = self.cases(workload, loads)?;
        let all = loads::measure(&self.setting, &cases, workload.runs, done)?;
        // One picture of a run in time is enough: the one nearest to the usual load.
        let from_usual = |load: &f64| (load - model::LOAD).abs();
        let usual = loads.iter().map(from_usual).fold(f64::INFINITY, f64::min);
        let (mut points, mut cautions) = (Vec::new(), Vec::new());
        for (load, outcomes) in loads.iter().zip(all) {
            done.faults += outcomes.iter().map(Outcome::faults).sum::<u64>();
            for outcome in &outcomes {
                outcome.log(&format!("-load-{load}"), &mut done.logged);
            }
            let Some(outcome) = loads::middle(outcomes)? else { continue };
            points.push(outcome.value(from_usual(load) <= usual)?.into());
            cautions.extend(outcome.cautions().into_iter().map(|caution| (*load, caution)));
        }
        done.warnings.extend(heaviest_first(cautions));
        Ok(points)
    }

    /// A load of each kind, which limits can be about.
    fn cases(&self, workload: &Workload, loads: &[f64]) -> Result<Vec<Case>, Failure> {
        let case = |load: &f64| self.case(workload, workload.rate(None, Some(*load))?);
        let cases = loads.iter().map(case).collect::<Result<Vec<_>, _>>()?;
        self.check_loads(&cases)?;
        Ok(cases)
    }

    /// That loads have what limits are about. The percentiles are of one run.
    fn check_loads(&self, cases: &[Case]) -> Result<(), Failure> {
        self.check_samples(cases, 1)?;
        for limit in &self.common().fail_if {
            cases.iter().try_for_each(|case| case.check_ratio(limit))?;
        }
        Ok(())
    }

    fn check_samples(&self, cases: &[Case], runs: u16) -> Result<(), Failure> {
        for limit in &self.common().fail_if {
            for case in cases {
                let messages = case.rate_per_s * case.duration.as_secs_f64();
                limit.check_samples(messages * f64::from(runs))?;
            }
        }
        Ok(())
    }

    fn case(&self, workload: &Workload, rate_per_s: f64) -> Result<Case, Failure> {
        let services = workload.service.clone();
        let consumers = workload.ends() - 1;
        if services.len() > 1 && !workload.broadcast {
            return Err(Failure::Usage(
                "several services need consumers of their own: give --broadcast".into(),
            ));
        }
        if workload.broadcast && workload.consumers > 1 && services.len() > 1 {
            return Err(Failure::Usage(
                "there is a consumer for each --service: leave --consumers out".into(),
            ));
        }
        if workload.broadcast && workload.when_full == Some(WhenFull::Reject) {
            return Err(Failure::Usage(
                "a message of a broadcast waits for its place: --when-full reject is for sharing"
                    .into(),
            ));
        }
        let usual = if workload.broadcast { WhenFull::Wait } else { WhenFull::Reject };
        let when_full = workload.when_full.unwrap_or(usual);
        let sleeps = match workload.work {
            Some(work) => work == Work::Sleep,
            None => self.setting.is_crowded(workload.ends()),
        };
        Ok(Case {
            arrival: workload.arrival.clone(),
            services,
            rate_per_s,
            consumers,
            broadcast: workload.broadcast,
            bound: workload.bound.map(|places| Bound { places, when_full }),
            sleeps,
            size: bytes(workload.size),
            wait: workload.wait,
            duration: workload.duration,
            warm_up: workload.warm_up,
            seed: self.common().seed,
        })
    }

    /// The bare line before and after, and a warning if the machine changed between.
    fn bracket(&self, before: Option<f64>, done: &mut Done) -> Result<(), Failure> {
        const CHANGED: f64 = 1.5;
        let after = done.go_on(|| self.setting.bracket_ns())?.flatten();
        if let (Some(before), Some(after)) = (before, after)
            && before.max(after) > CHANGED * before.min(after)
        {
            done.warnings.push(document::warning(
                format_args!(
                    "the bare line took {} before and {} after: the machine changed meanwhile",
                    crate::model::time(before),
                    crate::model::time(after)
                ),
                "measure again, and compare only what has the same bare line",
            ));
        }
        done.put("bare_line", json!({ "before_ns": before, "after_ns": after }));
        Ok(())
    }

    /// Judges the limits, writes what was asked for, and says what came of it.
    fn finish(&self, done: Done) -> Result<Ending, Failure> {
        let common = self.common();
        if let (Some(signal), true) = (done.interrupted, done.is_empty) {
            return Err(Failure::Interrupted(signal));
        }
        let mut run = document::head(done.kind, &self.setting);
        run.extend(done.parts);
        run.insert("warnings".into(), done.warnings.into());
        let mut run = Value::from(run);
        let verdicts: Vec<_> =
            common.fail_if.iter().map(|limit| (limit, limit.judge(&run))).collect();
        let limits = verdicts.iter().map(|(limit, verdict)| {
            json!({
                "limit": limit.to_string(),
                "kept": *verdict == Verdict::Kept,
                "worst": match verdict {
                    Verdict::Missed(worst) => json!(worst),
                    _ => Value::Null,
                },
            })
        });
        run["limits"] = limits.collect();
        run["interrupted"] = done.interrupted.is_some().into();
        if let Some(path) = &common.hdr {
            done.logged.write(path)?;
        }
        if let Some(path) = &self.report {
            report::write(path, std::slice::from_ref(&run))?;
        }
        if common.json {
            output::json(&run)?;
        } else {
            output::print(text::run(&run))?;
        }
        for path in common.hdr.iter().chain(&self.report) {
            self.console.note(format_args!("wrote {}", path.display()));
        }
        let console = self.console.explaining(true);
        for (limit, verdict) in &verdicts {
            match verdict {
                Verdict::Kept => {}
                Verdict::Missed(worst) => {
                    console.note(format_args!("{limit} came true: {}", limit.number_text(*worst)));
                }
                Verdict::Unknown => console.note(format_args!(
                    "{limit} cannot be judged: this run has no such number, or too few samples for it, or \
                     those beyond it in too few parts of the run"
                )),
            }
        }
        if let Some(signal) = done.interrupted {
            self.console.note("interrupted; this is what was measured until then");
            return Ok(Ending::Interrupted(signal));
        }
        if done.faults > 0 {
            return Ok(Ending::Missed);
        }
        let kept = verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Kept);
        Ok(if kept { Ending::Done } else { Ending::LimitMissed })
    }
}

/// That no message is shorter than that: it would be sent longer than it is said to be.
fn check_least(mut sizes: impl Iterator<Item = usize>, least: usize) -> Result<(), Failure> {
    match sizes.find(|size| *size < least) {
        None => Ok(()),
        Some(size) => Err(Failure::Usage(format!(
            "the size of a message cannot be {size}: it takes {} at least, for what the \
             laboratory writes into each message",
            output::count(least as u64, "byte")
        ))),
    }
}

/// Cautions of several loads, the heaviest that has one of a kind standing for all that have it.
fn heaviest_first(mut cautions: Vec<(f64, Caution)>) -> Vec<Value> {
    cautions.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let named = cautions.into_iter().map(|(load, caution)| (format!("at load {load}"), caution));
    once_each(&named.collect::<Vec<_>>(), "other load")
}

fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Poisson arrivals and the usual work: the canonical sweep's.
fn usual_workload(duration: Duration, warm_up: Duration) -> Result<Workload, Failure> {
    Ok(Workload {
        arrival: Arrival::poisson(),
        service: vec![Service::exponential(Duration::from_micros(20))?],
        consumers: 1,
        broadcast: false,
        bound: None,
        when_full: None,
        work: None,
        size: bytesize::ByteSize(64),
        wait: ringway::Wait::Backoff,
        duration,
        warm_up,
        runs: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cautions::About;

    #[test]
    fn each_service_of_a_broadcast_is_an_end() {
        let mut workload = usual_workload(Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(workload.ends(), 2);
        workload.service = vec![workload.service[0]; 3];
        workload.broadcast = true;
        assert_eq!(workload.ends(), 4);
        workload.service.truncate(1);
        workload.consumers = 2;
        assert_eq!(workload.ends(), 3);
    }

    #[test]
    fn the_heaviest_load_stands_for_all_in_whatever_order_they_were_given() {
        let late = |load| (load, Caution::new(About::LateGenerator, "late", "use a quiet machine"));
        let told = heaviest_first(vec![late(0.5), late(0.9), late(0.1)]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["what"], "at load 0.9: late, and the like with 2 other loads");
    }
}
