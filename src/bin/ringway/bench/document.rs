//! A run as JSON: `docs/schema/run.schema.json` describes it.

use std::time::SystemTime;

use ringway::workload::{Interval, Machine, carries, recurs};
use serde_json::{Map, Value, json};

use crate::bench::setting::Setting;
use crate::output;

/// Of what is written here. A new name keeps it, a changed or a missing one raises it.
pub const SCHEMA_VERSION: u32 = 1;

/// The percentiles that are reported, as far as there are samples enough.
pub use ringway::workload::PERCENTILES;

/// What every run begins with.
pub fn head(kind: &str, setting: &Setting<'_>) -> Map<String, Value> {
    let command: Vec<String> =
        std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    let value = json!({
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "version": env!("CARGO_PKG_VERSION"),
        "time": output::time(SystemTime::now()),
        "command": command,
        "seed": setting.common.seed,
        "ends": if setting.common.threads { "threads" } else { "processes" },
        "machine": machine(&setting.machine),
    });
    match value {
        Value::Object(head) => head,
        _ => Map::new(),
    }
}

pub fn machine(machine: &Machine) -> Value {
    json!({
        "model": machine.model,
        "processors": machine.processors,
        "processors_online": machine.processors_online,
        "siblings": machine.siblings,
        "virtual_machine": machine.virtual_machine,
        "governor": machine.governor,
        "clock_source": machine.clock_source,
        "kernel": machine.kernel,
        "tmpfs_bytes": machine.tmpfs_size,
        "tmpfs_free_bytes": machine.tmpfs_free,
        "huge_pages": machine.huge_pages,
        "huge_pages_shared": machine.huge_pages_shared,
        "lock_limit_bytes": machine.lock_limit,
        "load_average": machine.load_average,
        "debug_build": machine.debug_build,
    })
}

/// Something not to be relied on, and what to do about it.
pub fn warning(what: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Value {
    json!({ "what": what.to_string(), "remedy": remedy.to_string() })
}

/// What the machine itself, as it was before the run, gives reason to warn of.
pub fn machine_warnings(ends: usize, machine: &Machine) -> Vec<Value> {
    let mut warnings = Vec::new();
    if machine.debug_build {
        warnings.push(warning(
            "this program was built without optimisation",
            "measure with: cargo run --release -- bench",
        ));
    }
    if ends > machine.processors {
        warnings.push(warning(
            format_args!(
                "{ends} ends share {}",
                output::count(machine.processors as u64, "processor")
            ),
            "times have the scheduler in them: take fewer consumers, or more processors",
        ));
    }
    #[allow(clippy::cast_precision_loss, reason = "processors are few")]
    let busy = machine.load_average > 0.5 * machine.processors as f64;
    if busy {
        let average = crate::model::number(machine.load_average);
        warnings.push(warning(
            format_args!("this machine was busy before the run (load average {average})"),
            "measure when it is quiet, and see: ringway doctor",
        ));
    }
    warnings
}

/// Times in the order of their length, and the longest of each of the parts of a run.
pub struct Times {
    sorted: Vec<u64>,
    longest: Vec<u64>,
}

impl Times {
    /// Of a run, in the order in which they came.
    pub fn of(mut times: Vec<u64>) -> Self {
        const PARTS: usize = 32;
        let part = |part: usize| part * times.len() / PARTS..(part + 1) * times.len() / PARTS;
        let longest = |of: usize| times[part(of)].iter().max().copied();
        let longest = (0..PARTS).filter_map(longest).collect();
        times.sort_unstable();
        Self { sorted: times, longest }
    }

    /// Those of all runs, which have parts of their own.
    pub fn together(runs: Vec<Self>) -> Self {
        let longest = runs.iter().flat_map(|run| run.longest.clone()).collect();
        let mut sorted: Vec<u64> = runs.into_iter().flat_map(|run| run.sorted).collect();
        sorted.sort_unstable();
        Self { sorted, longest }
    }

    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    pub fn mean_ns(&self) -> Option<f64> {
        let sum: f64 = self.sorted.iter().map(|ns| float(*ns)).sum();
        (!self.sorted.is_empty()).then(|| sum / float(self.count() as u64))
    }

    pub fn max_ns(&self) -> Option<u64> {
        self.sorted.last().copied()
    }

    /// The time that only `100 - percentile` in a hundred exceed, if there are samples enough, and not
    /// all at a time: the least that so many are no longer than, as a load's is.
    pub fn percentile_ns(&self, percentile: f64) -> Option<u64> {
        // What the product of a whole number has of a fraction by rounding.
        const ROUNDING: f64 = 1e-6;
        if !carries(self.count() as u64, percentile) {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is within the length"
        )]
        let within = (percentile / 100.0 * float(self.count() as u64) - ROUNDING).ceil() as usize;
        let time = self.sorted.get(within.saturating_sub(1)).copied();
        time.filter(|time| recurs(self.longest.iter().copied(), *time))
    }

    /// Those that it has samples enough for.
    pub fn known(&self) -> Known {
        PERCENTILES.map(|at| self.percentile_ns(at))
    }

    /// The percentiles of all runs together, and the means of those that each run has.
    pub fn percentiles(&self, runs: &[Known]) -> Value {
        let rows = PERCENTILES.into_iter().zip(self.known()).enumerate();
        let rows = rows.map(|(index, (at, time_ns))| {
            // Those that some runs have by chance are not of all of them.
            let each: Option<Vec<f64>> = runs.iter().map(|run| run[index].map(float)).collect();
            let each = each.unwrap_or_default();
            json!({
                "percentile": at,
                "time_ns": time_ns,
                "mean_ns": finite(mean(&each)),
                "half_width_ns": half_width(&each),
            })
        });
        rows.collect()
    }

    pub fn spectrum(&self) -> Value {
        spectrum(|at| self.percentile_ns(at).map(float))
    }
}

/// For pictures: the percentiles at even distances of the logarithm of what exceeds them.
pub fn spectrum(percentile_ns: impl Fn(f64) -> Option<f64>) -> Value {
    let steps = (0..=48).map(|step| 100.0 - 100.0 * 10_f64.powf(-f64::from(step) / 8.0));
    steps.filter_map(|at| Some(json!([at, percentile_ns(at)?]))).collect()
}

/// The percentiles of a run, in their order.
pub type Known = [Option<u64>; PERCENTILES.len()];

/// Of none it is no number.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len() as u64)
}

/// How far off their mean may be, if there are two or more.
pub fn half_width(values: &[f64]) -> Option<f64> {
    Interval::of_batches(values, CONFIDENCE).ok().map(|it| it.half_width)
}

/// A number that repeated runs gave: the median, the ends, and the mean with its interval, if there
/// were two runs or more.
pub fn repeated(name: &str, values: &[f64]) -> Map<String, Value> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |at: usize| sorted.get(at).copied();
    // Of an even number, half way between the two in the middle.
    let lower = middle(sorted.len().saturating_sub(1) / 2);
    let median = lower.zip(middle(sorted.len() / 2)).map(|(one, other)| f64::midpoint(one, other));
    Map::from_iter([
        (name.to_owned(), json!(median)),
        (mean_of(name), finite(mean(values))),
        (key_of(name, "min"), json!(sorted.first())),
        (key_of(name, "max"), json!(sorted.last())),
        (half_width_of(name), json!(half_width(values))),
    ])
}

/// How likely the true number is within an interval.
pub const CONFIDENCE: f64 = 0.95;

/// The key of how far off a number may be.
pub fn half_width_of(name: &str) -> String {
    key_of(name, "half_width")
}

/// The key of a number's mean.
pub fn mean_of(name: &str) -> String {
    key_of(name, "mean")
}

/// The key of a figure over theory's.
pub fn ratio_of(name: &str) -> String {
    let (stem, _) = split_unit(name);
    format!("{}_ratio", stem.strip_suffix("_share").unwrap_or(stem))
}

/// The key of something about a number, in the same unit.
fn key_of(name: &str, what: &str) -> String {
    let (stem, unit) = split_unit(name);
    format!("{stem}_{what}{unit}")
}

/// A key's stem, and its unit, which stays at the end.
fn split_unit(name: &str) -> (&str, &str) {
    let unit = ["_per_s", "_ns"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or("");
    (&name[..name.len() - unit.len()], unit)
}

/// A number that JSON has; what is infinite is null.
pub fn finite(number: f64) -> Value {
    Value::from(number)
}

#[allow(clippy::cast_precision_loss, reason = "counts and times are far below 2^53")]
pub fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 1 on, each so far from those that are nearly as long that no two of eleven are in one part.
    fn apart(count: u64) -> Times {
        let apart = (count / 11) | 1;
        let mut times = vec![0; usize::try_from(count).unwrap()];
        (0..count)
            .for_each(|time| times[usize::try_from(time * apart % count).unwrap()] = time + 1);
        assert!(!times.contains(&0));
        Times::of(times)
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = apart(1000);
        assert_eq!(times.percentile_ns(50.0), Some(500));
        assert_eq!(times.percentile_ns(99.0), Some(990));
        assert_eq!(times.percentile_ns(99.9), None);
        assert_eq!((times.max_ns(), times.mean_ns()), (Some(1000), Some(500.5)));
        let none = Times::of(Vec::new());
        assert_eq!((none.percentile_ns(50.0), none.max_ns(), none.mean_ns()), (None, None, None));
        let spectrum = times.spectrum();
        let points = spectrum.as_array().unwrap();
        assert_eq!(points[0], json!([0.0, 1.0]));
        assert!(points.len() == 17, "ten samples beyond the 99th, and no further: {points:?}");
    }

    #[test]
    fn as_many_times_exceed_a_percentile_as_carry_it() {
        for (percentile, least) in
            PERCENTILES.into_iter().zip([20, 100, 1000, 10_000, 100_000, 1_000_000])
        {
            let times = apart(least);
            assert_eq!(times.percentile_ns(percentile), Some(least - 10), "{percentile}");
            let fewer = Times::of((1..least).collect());
            assert_eq!(fewer.percentile_ns(percentile), None, "{percentile}");
            let all_at_a_time = Times::of((1..=32 * least).collect());
            let is_known = percentile < 70.0;
            assert_eq!(all_at_a_time.percentile_ns(percentile).is_some(), is_known, "{percentile}");
        }
        // One more is no longer than half of them, and the least that is.
        let odd = apart(21);
        assert_eq!(odd.percentile_ns(50.0), Some(11));
    }

    #[test]
    fn percentiles_of_runs_have_a_mean_where_each_run_has_them() {
        let run = |base: u64| {
            let mut run = apart(1000);
            run.sorted.iter_mut().chain(&mut run.longest).for_each(|time| *time += base);
            run
        };
        let runs = [0, 3000, 6000].map(run);
        let known: Vec<_> = runs.iter().map(Times::known).collect();
        let rows = Times::together(runs.into()).percentiles(&known);
        let [_, _, p99, p999, ..] = rows.as_array().unwrap().as_slice() else { panic!("{rows}") };
        assert_eq!((&p99["time_ns"], &p99["mean_ns"]), (&json!(6970), &json!(3990.0)));
        let half_width = p99["half_width_ns"].as_f64().unwrap();
        assert!((half_width - 4.302_65 * 3000.0 / 3_f64.sqrt()).abs() < 0.1, "{half_width}");
        assert_eq!((&p999["time_ns"], &p999["mean_ns"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn warnings_are_about_the_machine_as_it_was_found() {
        let mut machine = Machine::default();
        machine.processors = 4;
        assert!(machine_warnings(4, &machine).is_empty(), "whatever this machine is at");
        machine.load_average = 2.5;
        let warnings = machine_warnings(5, &machine);
        assert_eq!(warnings[0]["what"], "5 ends share 4 processors");
        let busy = "this machine was busy before the run (load average 2.5)";
        assert_eq!(warnings[1]["what"], busy);
    }

    #[test]
    fn repeated_numbers_keep_their_unit_at_the_end() {
        let map = repeated("rate_per_s", &[4.5, 1.5, 3.0, 3.0]);
        assert_eq!((&map["rate_per_s"], &map["rate_mean_per_s"]), (&json!(3.0), &json!(3.0)));
        let map = repeated("rate_per_s", &[6.0, 1.0, 2.0]);
        assert_eq!((&map["rate_per_s"], &map["rate_mean_per_s"]), (&json!(2.0), &json!(3.0)));
        assert_eq!((&map["rate_min_per_s"], &map["rate_max_per_s"]), (&json!(1.0), &json!(6.0)));
        let half_width = map["rate_half_width_per_s"].as_f64().unwrap();
        assert!((half_width - 4.303 * 7_f64.sqrt() / 3_f64.sqrt()).abs() < 0.001);
        assert_eq!(repeated("rate_per_s", &[])["rate_mean_per_s"], Value::Null);
        assert_eq!(repeated("time_ns", &[5.0])["time_half_width_ns"], Value::Null);
        for (values, median) in
            [(vec![], json!(null)), (vec![5.0], json!(5.0)), (vec![4.0, 9.0, 1.0, 2.0], json!(3.0))]
        {
            assert_eq!(repeated("time_ns", &values)["time_ns"], median, "{values:?}");
        }
    }
}
