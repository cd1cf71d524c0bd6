//! `ringway compare`: two runs, number by number, with what chance may make of each.

use serde_json::{Value, json};

use crate::bench::args::Compare;
use crate::bench::cautions::About;
use crate::bench::document::{SCHEMA_VERSION, half_width, mean};
use crate::bench::estimate::{estimate, of_runs};
use crate::failure::{Ending, Failure};
use crate::model::{number, time};
use crate::output::Console;
use crate::{output, report};

pub fn run(compare: &Compare, console: Console) -> Result<Ending, Failure> {
    report::check_inputs([&compare.before, &compare.after])?;
    let (before, after) = (report::read(&compare.before)?, report::read(&compare.after)?);
    if before["kind"] != after["kind"] {
        return Err(Failure::Usage(format!(
            "a run of {} and one of {} have nothing to compare",
            before["kind"].as_str().unwrap_or("-"),
            after["kind"].as_str().unwrap_or("-"),
        )));
    }
    if before["kind"] == "peers" {
        return Err(Failure::Usage(
            "runs of peers are not compared with each other: ringway report draws one beside the other"
                .into(),
        ));
    }
    let compared = compared(&before, &after, compare.threshold);
    let Compared { pairs, missing, differences, warnings } = &compared;
    if pairs.is_empty() {
        return Err(Failure::Usage("the two runs have no number of the same case".into()));
    }
    let regressed = pairs.iter().any(|pair| pair.judgement == Judgement::Worse);
    if compare.json {
        output::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "kind": "comparison",
            "version": env!("CARGO_PKG_VERSION"),
            "threshold": compare.threshold,
            "regressed": regressed,
            "different": differences,
            "missing": missing,
            "warnings": warnings,
            "numbers": pairs.iter().map(Pair::value).collect::<Value>(),
        }))?;
    } else {
        output::print(text(&compared, compare.threshold))?;
    }
    // Nobody knows of what is missing that it is no worse.
    if !missing.is_empty() {
        console.explaining(true).note(format_args!(
            "{} lacks {} of {}, which may have become worse: measure both with the same options",
            compare.after.display(),
            output::count(missing.len() as u64, "case"),
            compare.before.display()
        ));
    }
    Ok(if regressed || !missing.is_empty() { Ending::LimitMissed } else { Ending::Done })
}

/// What two runs have to say to each other.
#[derive(Debug, Default)]
struct Compared {
    pairs: Vec<Pair>,
    /// Cases and numbers that the second run lacks.
    missing: Vec<String>,
    /// What was not the same about the runs, and about cases that are.
    differences: Vec<String>,
    /// What the runs themselves are not to be relied on for, and which run it is.
    warnings: Vec<Value>,
}

/// A number of both runs.
#[derive(Debug)]
struct Pair {
    case: String,
    name: &'static str,
    before: f64,
    after: f64,
    /// How far off the difference may be, if both runs say.
    half_width: Option<f64>,
    /// Whether one of the two is of a load that was run once.
    of_one_run: bool,
    /// After over before, less 1; above 0 is worse.
    worse_by: f64,
    judgement: Judgement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Same,
    Better,
    Worse,
    /// Beyond the threshold, but chance could have done it, or what disturbed a run.
    Unsure,
}

impl Judgement {
    fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Unsure => "unsure",
        }
    }
}

/// A number of a cell: its key, that of its half width, and whether more is better.
#[derive(Clone, Copy)]
struct Number {
    name: &'static str,
    half_width: &'static str,
    more_is_better: bool,
    /// What a half width of null is: nobody knows it after a single run; of a load it is infinite,
    /// because too few messages came, or because no interval of its service's would hold.
    without: Option<f64>,
    /// Its means of batches, of a load.
    batches: Option<&'static str>,
    /// Which percentile it is, and the key of its time in the row of that.
    percentile: Option<(f64, &'static str)>,
}

const MEDIAN: Number = Number {
    name: "median_ns",
    half_width: "median_half_width_ns",
    more_is_better: false,
    without: None,
    batches: None,
    percentile: None,
};
const TIMES: &[Number] =
    &[MEDIAN, percentile("p99_ns", 99.0, "time_ns"), percentile("p99.9_ns", 99.9, "time_ns")];
const STREAM_NUMBERS: &[Number] = &[Number {
    name: "rate_per_s",
    half_width: "rate_half_width_per_s",
    more_is_better: true,
    without: None,
    batches: None,
    percentile: None,
}];
const LOAD_NUMBERS: &[Number] = &[
    of_load("wait_mean_ns", "wait_mean_half_width_ns", Some("wait_batch_means_ns")),
    of_load("sojourn_mean_ns", "sojourn_mean_half_width_ns", Some("sojourn_batch_means_ns")),
    of_load("loss_share", "loss_share_half_width", None),
    percentile("wait_p99_ns", 99.0, "wait_ns"),
    percentile("wait_p99.9_ns", 99.9, "wait_ns"),
    percentile("sojourn_p99_ns", 99.0, "sojourn_ns"),
    percentile("sojourn_p99.9_ns", 99.9, "sojourn_ns"),
];

const fn of_load(
    name: &'static str,
    half_width: &'static str,
    batches: Option<&'static str>,
) -> Number {
    let without = Some(f64::INFINITY);
    Number { name, half_width, more_is_better: false, without, batches, percentile: None }
}

const fn percentile(name: &'static str, at: f64, time: &'static str) -> Number {
    let percentile = Some((at, time));
    // Where there is one, it is in the row.
    let half_width = "half_width_ns";
    Number { name, half_width, more_is_better: false, without: None, batches: None, percentile }
}

/// Parts of a run, what tells their cells apart, and the numbers of each.
const PARTS: [(&str, &[&str], &[Number]); 5] = [
    ("throughput", STREAM, STREAM_NUMBERS),
    ("fanout", STREAM, STREAM_NUMBERS),
    ("round_trip", &["size_bytes", "wait"], TIMES),
    ("one_way", &["target_rate_per_s", "size_bytes", "wait"], TIMES),
    ("points", LOAD, LOAD_NUMBERS),
];
const STREAM: &[&str] = &["size_bytes", "consumers", "batch", "wait"];
const LOAD: &[&str] = &[
    "load",
    "target_rate_per_s",
    "arrival",
    "service",
    "consumers",
    "broadcast",
    "bound_places",
    "when_full",
    "size_bytes",
    "wait",
    "work",
];

/// What is forgiven.
#[derive(Clone, Copy)]
struct Terms {
    threshold: f64,
    /// Whether one of the two runs was disturbed, as it says itself.
    is_disturbed: bool,
}

fn compared(before: &Value, after: &Value, threshold: f64) -> Compared {
    let warnings = warnings_of(before, "first").chain(warnings_of(after, "second")).collect();
    let differences = differences_of_runs(before, after);
    let mut all = Compared { differences, warnings, ..Compared::default() };
    let terms = Terms { threshold, is_disturbed: all.warnings.iter().any(is_disturbance) };
    // A load is a single point, and the run itself.
    let cells = |run: &Value, part: &str| match run[part].as_array() {
        Some(cells) => cells.clone(),
        None if part == "points" && run["kind"] == "load" => vec![run.clone()],
        None => Vec::new(),
    };
    for (part, keys, numbers) in PARTS {
        let new_cells = cells(after, part);
        for old in cells(before, part) {
            let case = case(part, &old, keys);
            match new_cells.iter().find(|new| keys.iter().all(|key| old[*key] == new[*key])) {
                Some(new) => all.compare(&case, &old, new, numbers, terms),
                None => all.missing.push(case),
            }
        }
    }
    all
}

/// What a run is not to be relied on for.
fn warnings_of<'a>(run: &'a Value, which: &'a str) -> impl Iterator<Item = Value> + 'a {
    let warnings = run["warnings"].as_array().into_iter().flatten();
    warnings.filter_map(move |warning| {
        let mut warning = warning.as_object()?.clone();
        warning.insert("run".into(), which.into());
        Some(warning.into())
    })
}

fn is_disturbance(warning: &Value) -> bool {
    About::DISTURBANCES.iter().any(|about| warning["about"] == about.name())
}

/// A cell by what tells it apart.
fn case(part: &str, cell: &Value, keys: &[&str]) -> String {
    let words = keys.iter().filter(|key| !cell[**key].is_null() && cell[**key] != false);
    let words = words.map(|key| {
        let name = key.trim_start_matches("target_");
        let name = name.trim_end_matches("_bytes").trim_end_matches("_per_s");
        match &cell[*key] {
            Value::String(text) => text.clone(),
            Value::Number(value) => format!("{name} {}", number(value.as_f64().unwrap_or(0.0))),
            _ => name.to_owned(),
        }
    });
    let part = Some(part.replace('_', " ")).filter(|part| part != "points");
    part.into_iter().chain(words).collect::<Vec<_>>().join(", ")
}

impl Compared {
    fn compare(&mut self, case: &str, old: &Value, new: &Value, numbers: &[Number], terms: Terms) {
        for number in numbers.iter().filter(|number| number.of(old).is_some()) {
            match pair(case, old, new, *number, terms) {
                Some(pair) => self.pairs.push(pair),
                // Chance may leave a percentile with too few samples beyond it.
                None if number.percentile.is_some() => self.differences.push(format!(
                    "what is known of {case}: only the first run has samples enough for {}",
                    number.name
                )),
                None => self.missing.push(format!("{case}: {}", number.name)),
            }
        }
        for (key, name) in [("window_ns", "the length of runs"), ("warm_up_ns", "the warm-up")] {
            let times = old[key].as_f64().zip(new[key].as_f64());
            if let Some((old, new)) = times.filter(|(old, new)| (old - new).abs() > 0.0) {
                let difference = format!("{name}: {}, then {}", time(old), time(new));
                if !self.differences.contains(&difference) {
                    self.differences.push(difference);
                }
            }
        }
    }
}

impl Number {
    /// What it is of a cell, and how far off that may be, if the cell says.
    fn of(self, cell: &Value) -> Option<(f64, Option<f64>)> {
        let Some((_, time)) = self.percentile else {
            let half_width = cell[self.half_width].as_f64().or(self.without);
            return Some((estimate(cell, self.name)?, half_width));
        };
        if let Some(runs) = self.of_runs(cell) {
            // Those that some runs have by chance are not of all of them.
            let runs: Vec<f64> = runs.into_iter().collect::<Option<_>>()?;
            return Some((mean(&runs), half_width(&runs)));
        }
        let row = self.row(cell)?;
        let of_runs = row["mean_ns"].as_f64().zip(Some(row[self.half_width].as_f64()));
        of_runs.or_else(|| Some((row[time].as_f64()?, None)))
    }

    /// The row of its percentile.
    fn row(self, cell: &Value) -> Option<&Value> {
        let (at, _) = self.percentile?;
        cell["percentiles"].as_array()?.iter().find(|row| row["percentile"] == at)
    }

    /// What it is of each run of a load; nothing if its intervals are not by runs.
    fn of_runs(self, load: &Value) -> Option<Vec<Option<f64>>> {
        let Some((_, time)) = self.percentile else {
            return Some(of_runs(load, self.name)?.into_iter().map(Value::as_f64).collect());
        };
        let runs = load["runs"].as_array().filter(|_| load["interval_by"] == "runs")?;
        Some(runs.iter().map(|run| self.row(run)?[time].as_f64()).collect())
    }
}

fn pair(case: &str, old: &Value, new: &Value, number: Number, terms: Terms) -> Option<Pair> {
    // How much a percentile that nobody knows the interval of may differ by chance.
    const LARGE: f64 = 2.0;
    let Number { name, more_is_better, .. } = number;
    let ((before, one), (after, other)) = (number.of(old)?, number.of(new)?);
    let half_width = one.zip(other).map(|(one, other)| {
        // Independent errors add up like the sides of a right angle.
        let independent = one.hypot(other);
        if independent.is_finite() {
            half_width_of_differences(old, new, number).unwrap_or(independent)
        } else {
            independent
        }
    });
    let off = after - before;
    // Nothing over nothing is no change.
    let change = if off.abs() > 0.0 { off / before.abs() } else { 0.0 };
    // Not -change, which would make -0 of none.
    let worse_by = if more_is_better { 0.0 - change } else { change };
    // Of one run each nobody knows.
    let by_chance = half_width.is_none_or(|half_width| off.abs() <= half_width);
    // Nor is in the batches of one run what disturbs the next one more.
    let of_one_run = [old, new].iter().any(|run| run["interval_by"] == "batches");
    let by_disturbance = of_one_run && terms.is_disturbed;
    // A change from nothing has no bound, and is none of "not a number".
    let is_large = before.max(after) > LARGE * before.min(after);
    let judgement = match worse_by {
        _ if worse_by.abs() <= terms.threshold => Judgement::Same,
        _ if number.percentile.is_some() && half_width.is_none() && !is_large => Judgement::Same,
        _ if by_chance || by_disturbance => Judgement::Unsure,
        _ if worse_by > 0.0 => Judgement::Worse,
        _ => Judgement::Better,
    };
    let case = case.to_owned();
    Some(Pair { case, name, before, after, half_width, of_one_run, worse_by, judgement })
}

/// How far off the difference may be of two loads that had the same chance, draw by draw: what that
/// made of the one it has made of the other, so that it is not in their differences, batch by batch or
/// run by run (common random numbers). Nothing if they had not.
fn half_width_of_differences(old: &Value, new: &Value, number: Number) -> Option<f64> {
    let is_same = |key: &str| !old[key].is_null() && old[key] == new[key];
    if !["warm_up_ns", "window_ns", "interval_by"].into_iter().all(is_same) {
        return None;
    }
    let (ones, others) = match (number.of_runs(old), number.of_runs(new)) {
        // Not by the seed of the run that is shown: which one is in the middle is chance, too.
        (Some(ones), Some(others)) if of_runs(old, "run_seed") == of_runs(new, "run_seed") => {
            (ones, others)
        }
        (None, None) if is_same("run_seed") => {
            let batches = |run: &Value| -> Option<Vec<_>> {
                Some(run[number.batches?].as_array()?.iter().map(Value::as_f64).collect())
            };
            (batches(old)?, batches(new)?)
        }
        _ => return None,
    };
    let pairs = ones.iter().zip(&others);
    let differences: Vec<f64> =
        pairs.filter_map(|(one, other)| Some((*other)? - (*one)?)).collect();
    // What the two are shown with are the means of all their runs.
    if old["interval_by"] == "runs" && differences.len() < ones.len() {
        return None;
    }
    half_width(&differences)
}

impl Pair {
    fn value(&self) -> Value {
        json!({
            "case": self.case,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "half_width": self.half_width,
            "worse_by": self.worse_by,
            "judgement": self.judgement.name(),
        })
    }
}

/// What else than the code was not the same.
fn differences_of_runs(before: &Value, after: &Value) -> Vec<String> {
    const FACTS: [&str; 7] = [
        "model",
        "processors",
        "processors_online",
        "virtual_machine",
        "governor",
        "kernel",
        "debug_build",
    ];
    const BARE_CHANGED: f64 = 1.2;
    let mut differences: Vec<String> = FACTS
        .iter()
        .filter(|fact| before["machine"][**fact] != after["machine"][**fact])
        .map(|fact| {
            let (old, new) = (&before["machine"][*fact], &after["machine"][*fact]);
            format!("the machine's {fact}: {old}, then {new}")
        })
        .collect();
    for name in ["ends", "seed"] {
        if before[name] != after[name] {
            differences.push(format!("{name}: {}, then {}", before[name], after[name]));
        }
    }
    for (run, which) in [(before, "first"), (after, "second")] {
        if run["interrupted"] == true {
            differences.push(format!("the {which} run's end: it was interrupted"));
        }
    }
    let bare = |run: &Value| run["bare_line"]["before_ns"].as_f64();
    if let (Some(old), Some(new)) = (bare(before), bare(after))
        && old.max(new) > BARE_CHANGED * old.min(new)
    {
        differences.push(format!("the bare line: {}, then {}", time(old), time(new)));
    }
    differences
}

fn text(compared: &Compared, threshold: f64) -> String {
    let Compared { pairs, missing, differences, warnings } = compared;
    let rows = pairs.iter().map(|pair| {
        let show = |value: f64| match pair.name {
            name if name.ends_with("_ns") => time(value),
            _ => number(value),
        };
        let change = if pair.worse_by.is_finite() {
            format!("{} %", number(100.0 * pair.worse_by))
        } else {
            "from nothing".into()
        };
        vec![
            pair.case.clone(),
            pair.name.to_owned(),
            show(pair.before),
            show(pair.after),
            pair.half_width.map_or("-".into(), show),
            change,
            pair.judgement.name().to_owned(),
        ]
    });
    let header = ["CASE", "NUMBER", "BEFORE", "AFTER", "+-", "WORSE BY", ""];
    let table = output::table(&header, &header[2..6], rows);
    let count = |judgement| pairs.iter().filter(|pair| pair.judgement == judgement).count();
    let sum = format!(
        "{} worse by more than {} %, {} better, {} unsure, {} the same",
        count(Judgement::Worse),
        number(100.0 * threshold),
        count(Judgement::Better),
        count(Judgement::Unsure),
        count(Judgement::Same),
    );
    let mut lines = vec![table, String::new(), sum];
    lines.extend(missing.iter().map(|case| format!("missing    {case}")));
    let careful = |what: &String| format!("careful    not the same is also {what}");
    lines.extend(differences.iter().map(careful));
    lines.extend(warnings.iter().map(|warning| {
        let [run, what] = ["run", "what"].map(|name| warning[name].as_str().unwrap_or("-"));
        format!("careful    the {run} run says: {what}")
    }));
    let count = |fits: fn(&Pair) -> bool| match pairs.iter().filter(|pair| fits(pair)).count() {
        0 => None,
        count => Some(output::count(count as u64, "number")),
    };
    lines.extend(count(|pair| pair.half_width.is_none()).map(|numbers| {
        format!("careful    {numbers} of one run each, without an interval: give bench more --runs")
    }));
    lines.extend(count(|pair| pair.of_one_run).map(|numbers| {
        format!("careful    {numbers} of loads that were run once, whose +- leaves out what another run makes of the machine: give bench load or sweep --runs")
    }));
    let is_disturbed = warnings.iter().any(is_disturbance);
    let are_unsure = |pair: &Pair| pair.of_one_run && pair.judgement == Judgement::Unsure;
    lines.extend(count(are_unsure).filter(|_| is_disturbed).map(|numbers| {
        format!("careful    {numbers} of loads that were run once, of which nobody knows whether it was what disturbed the runs: give bench load or sweep --runs")
    }));
    lines.extend(count(|pair| pair.half_width.is_some_and(f64::is_infinite)).map(|numbers| {
        format!("careful    {numbers} without an interval that holds: of too few messages (run longer, -d), or of service without a third moment (pareto)")
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { threshold: 0.05, is_disturbed: false };

    fn judge(before: f64, after: f64, half_width: Option<f64>, more_is_better: bool) -> Judgement {
        judge_without(None, before, after, half_width, more_is_better)
    }

    fn judge_without(
        without: Option<f64>,
        before: f64,
        after: f64,
        half_width: Option<f64>,
        more_is_better: bool,
    ) -> Judgement {
        let run = |value: f64| json!({ "number": value, "half_width": half_width });
        let (name, half_width) = ("number", "half_width");
        let (batches, percentile) = (None, None);
        let number = Number { name, half_width, more_is_better, without, batches, percentile };
        pair("", &run(before), &run(after), number, TERMS).unwrap().judgement
    }

    #[test]
    fn worse_is_what_chance_did_not_do_and_the_threshold_does_not_forgive() {
        let none = Some(0.0);
        assert_eq!(judge(100.0, 104.0, none, false), Judgement::Same);
        assert_eq!(judge(100.0, 106.0, none, false), Judgement::Worse);
        assert_eq!(judge(100.0, 106.0, none, true), Judgement::Better);
        assert_eq!(judge(100.0, 94.0, none, true), Judgement::Worse);
        assert_eq!(judge(100.0, 104.0, None, false), Judgement::Same);
        assert_eq!(judge(100.0, 200.0, None, false), Judgement::Unsure, "of one run each");
        assert_eq!(judge(100.0, 94.0, Some(3.0), true), Judgement::Worse);
        assert_eq!(judge(100.0, 94.0, Some(5.0), true), Judgement::Unsure, "5 and 5 make 7");
        assert_eq!(judge(0.0, 0.0, none, false), Judgement::Same);
        let rate = json!({ "rate_per_s": 5.0 });
        let same = pair("", &rate, &rate, STREAM_NUMBERS[0], TERMS).unwrap();
        assert_eq!(number(same.worse_by), "0", "and not -0");
        assert_eq!(judge(0.0, 1.0, none, false), Judgement::Worse, "from nothing");
        let of_load = |after| judge_without(Some(f64::INFINITY), 100.0, after, None, false);
        assert_eq!(of_load(104.0), Judgement::Same);
        assert_eq!(of_load(500.0), Judgement::Unsure, "null is an infinite interval");
    }

    #[test]
    fn of_two_loads_of_the_same_chance_the_differences_count() {
        let load = |seed: u64, slower: f64| {
            let means: Vec<f64> = (0..32_u32).map(|it| 100.0 + f64::from(it % 7) * 20.0).collect();
            let means: Vec<f64> = means.into_iter().map(|mean| slower * mean).collect();
            json!({
                "kind": "load", "load": 0.8, "run_seed": seed, "warm_up_ns": 1, "window_ns": 2,
                "interval_by": "batches", "wait_batch_means_ns": means,
                "wait_mean_ns": slower * 155.0, "wait_mean_half_width_ns": 14.0,
            })
        };
        let judged = |old: &Value, new: &Value| {
            let pairs = compared(old, new, 0.05).pairs;
            (pairs[0].judgement, pairs[0].half_width.unwrap())
        };
        let (judgement, half_width) = judged(&load(1, 1.0), &load(1, 1.1));
        assert!(judgement == Judgement::Worse && half_width < 2.0, "{half_width}");
        let (judgement, half_width) = judged(&load(1, 1.0), &load(2, 1.1));
        assert!(judgement == Judgement::Unsure && half_width > 19.0, "{half_width}");

        let runs = |first_seed: u64, slower: f64| {
            let run = |(seed, mean): (u64, f64)| json!({ "run_seed": seed, "wait_mean_ns": slower * mean });
            let mut load = load(2, slower);
            load["interval_by"] = "runs".into();
            load["runs"] = [(first_seed, 100.0), (2, 155.0), (3, 200.0)].map(run).into();
            load
        };
        let (judgement, half_width) = judged(&runs(1, 1.0), &runs(1, 1.1));
        assert!(judgement == Judgement::Worse && half_width < 13.0, "{half_width}");
        assert_eq!(judged(&runs(1, 1.0), &runs(4, 1.1)).0, Judgement::Unsure);
        let mut none = load(1, 1.1);
        none["wait_mean_half_width_ns"] = Value::Null;
        assert_eq!(judged(&load(1, 1.0), &none).0, Judgement::Unsure);
    }

    #[test]
    fn loads_that_were_run_several_times_are_compared_by_the_means_of_all_runs() {
        // The shown figure is the middle run's, of whichever seed that is.
        let load = |waits: [f64; 5]| {
            let mut order: Vec<usize> = (0..5).collect();
            order.sort_by(|one, other| waits[*one].total_cmp(&waits[*other]));
            let run =
                |(seed, wait): (usize, f64)| json!({ "run_seed": seed, "wait_mean_ns": wait });
            json!({
                "kind": "load", "warm_up_ns": 1, "window_ns": 2, "interval_by": "runs",
                "run_seed": order[2], "wait_mean_ns": waits[order[2]],
                "wait_mean_half_width_ns": 40.0,
                "runs": waits.into_iter().enumerate().map(run).collect::<Value>(),
            })
        };
        let old = load([100.0, 120.0, 140.0, 160.0, 180.0]);
        let pair = |new: &Value| compared(&old, new, 0.05).pairs.remove(0);
        let shown = |pair: &Pair| {
            let rounded = |value: f64| (10.0 * value).round() / 10.0;
            let half_width = rounded(pair.half_width.unwrap());
            (pair.before, rounded(pair.after), half_width, rounded(100.0 * pair.worse_by))
        };
        // The one in the middle is longer by 9, and what is in the middle of them is not.
        let same = pair(&load([100.5, 119.5, 149.0, 160.5, 179.5]));
        assert_eq!(shown(&same), (140.0, 141.8, 5.0, 1.3));
        assert_eq!(same.judgement, Judgement::Same);
        let worse = pair(&load([110.0, 131.0, 141.0, 175.0, 197.0]));
        assert_eq!(shown(&worse), (140.0, 150.8, 7.7, 7.7));
        assert_eq!(worse.judgement, Judgement::Worse);
        // The order changes, and with it the seed of the middle one, but not the chance of each.
        let turned = pair(&load([150.0, 151.0, 149.0, 160.0, 180.0]));
        assert!((turned.half_width.unwrap() - 28.0).abs() < 2.0, "{turned:?}");
    }

    #[test]
    fn percentiles_of_several_runs_are_compared_by_their_means_and_of_one_only_doubted() {
        let rows = |p99: f64| {
            json!([{ "percentile": 99.0, "wait_ns": p99, "sojourn_ns": p99 + 50.0 },
                { "percentile": 99.9, "wait_ns": null, "sojourn_ns": 2.0 * p99 }])
        };
        let load = |p99s: [f64; 3], interval_by: &str| {
            let run =
                |(seed, p99): (usize, f64)| json!({ "run_seed": seed, "percentiles": rows(p99) });
            json!({ "kind": "load", "warm_up_ns": 1, "window_ns": 2, "interval_by": interval_by,
                "percentiles": rows(p99s[1]), "runs": p99s.into_iter().enumerate().map(run).collect::<Value>() })
        };
        let of_runs = |p99s| load(p99s, "runs");
        let judged = |old: &Value, new: &Value| {
            let Compared { pairs, missing, .. } = compared(old, new, 0.05);
            assert!(missing.is_empty(), "{missing:?}");
            let judged = |pair: Pair| (pair.name, pair.before, pair.after, pair.judgement);
            pairs.into_iter().map(judged).collect::<Vec<_>>()
        };
        let old = [100.0, 130.0, 160.0];
        assert_eq!(
            judged(&of_runs(old), &of_runs([120.0, 152.0, 178.0])),
            [
                ("wait_p99_ns", 130.0, 150.0, Judgement::Worse),
                ("sojourn_p99_ns", 180.0, 200.0, Judgement::Worse),
                ("sojourn_p99.9_ns", 260.0, 300.0, Judgement::Worse),
            ]
        );
        let by_chance = judged(&of_runs(old), &of_runs([160.0, 100.0, 190.0]));
        assert!(by_chance.iter().all(|it| it.3 == Judgement::Unsure), "{by_chance:?}");
        let once = |p99| load([0.0, p99, 0.0], "batches");
        for (after, judgement) in [
            (190.0, Judgement::Same),
            (60.0, Judgement::Same),
            (210.0, Judgement::Unsure),
            (40.0, Judgement::Unsure),
        ] {
            assert_eq!(judged(&once(100.0), &once(after))[0].3, judgement, "{after}");
        }
        let mut few = of_runs(old);
        few["runs"][2]["percentiles"][1]["sojourn_ns"] = Value::Null;
        let differences = compared(&of_runs(old), &few, 0.05).differences;
        let words = "only the first run has samples enough for sojourn_p99.9_ns";
        assert!(differences[0].ends_with(words), "{differences:?}");

        let trips = |mean: f64, half_width: f64| {
            let row = json!({ "percentile": 99.0, "time_ns": 1.0, "mean_ns": mean, "half_width_ns": half_width });
            json!({ "round_trip": [{ "size_bytes": 8, "wait": "spin", "percentiles": [row] }] })
        };
        let worse = judged(&trips(100.0, 5.0), &trips(120.0, 5.0));
        assert_eq!(worse, [("p99_ns", 100.0, 120.0, Judgement::Worse)]);
    }

    #[test]
    fn a_load_that_was_run_once_is_told_from_one_that_was_run_often() {
        let load = |interval_by: &str| {
            json!({ "kind": "load", "wait_mean_ns": 1.0, "wait_mean_half_width_ns": 0.1,
                "runs": [{ "wait_mean_ns": 1.0 }, { "wait_mean_ns": 1.0 }],
                "interval_by": interval_by })
        };
        let told = |one: &str, other: &str| {
            let compared = compared(&load(one), &load(other), 0.05);
            text(&compared, 0.05)
                .contains("careful    1 number of loads that were run once, whose +-")
        };
        assert!(told("batches", "batches") && told("runs", "batches"));
        assert!(!told("runs", "runs"));
    }

    /// Four sweeps of the same on a machine that others used gave three regressions in six pairs.
    #[test]
    fn no_difference_of_single_runs_is_sure_that_a_disturbance_may_have_made() {
        let load = |wait: f64, interval_by: &str, about: &str| {
            json!({ "kind": "load", "wait_mean_ns": wait, "wait_mean_half_width_ns": 1.0,
                "runs": [{ "wait_mean_ns": wait }, { "wait_mean_ns": wait }],
                "interval_by": interval_by,
                "warnings": [{ "about": about, "what": "held up", "remedy": "wait" }] })
        };
        let judged = |interval_by: &str, first: &str, second: &str| {
            let (old, new) = (load(100.0, interval_by, first), load(200.0, interval_by, second));
            let compared = compared(&old, &new, 0.05);
            let said = text(&compared, 0.05);
            assert!(said.contains("careful    the first run says: held up"), "{said}");
            assert!(said.contains("careful    the second run says: held up"), "{said}");
            let is_told = said.contains("whether it was what disturbed the runs");
            assert_eq!(is_told, compared.pairs[0].judgement == Judgement::Unsure, "{said}");
            compared.pairs[0].judgement
        };
        assert_eq!(judged("batches", "few_messages", "short_run"), Judgement::Worse);
        for about in ["held_up", "late_generator", "long_work"] {
            assert_eq!(judged("batches", about, "short_run"), Judgement::Unsure, "{about}");
            assert_eq!(judged("batches", "short_run", about), Judgement::Unsure, "{about}");
            assert_eq!(judged("runs", about, about), Judgement::Worse, "{about}");
        }
    }

    #[test]
    fn only_the_same_cases_are_compared() {
        let cell = |size: u64, rate: f64| json!({ "size_bytes": size, "consumers": 1, "batch": 1, "wait": "spin", "rate_per_s": rate });
        let before = json!({ "throughput": [cell(8, 10.0), cell(64, 5.0)] });
        let after = json!({ "throughput": [cell(64, 4.0), cell(256, 3.0)] });
        let Compared { pairs, missing, .. } = compared(&before, &after, 0.05);
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs[0].case, "throughput, size 64, consumers 1, batch 1, spin");
        assert!((pairs[0].worse_by - 0.2).abs() < 1e-12);
        assert_eq!(missing, ["throughput, size 8, consumers 1, batch 1, spin"]);
    }

    #[test]
    fn a_rate_tells_cases_apart_and_the_length_of_runs_does_not() {
        let load = |rate: f64, window_ns: u64| {
            json!({
                "kind": "load", "load": 0.0, "target_rate_per_s": rate, "service": "none",
                "window_ns": window_ns, "wait_mean_ns": 100.0, "wait_mean_half_width_ns": 1.0,
            })
        };
        let compare = |one: &Value, other: &Value| compared(one, other, 0.05);
        let other = compare(&load(1e3, 1), &load(1e4, 1));
        assert_eq!((other.pairs.len(), other.missing.len()), (0, 1));
        let longer = compare(&load(1e3, 1_000_000_000), &load(1e3, 2_000_000_000));
        assert_eq!(longer.pairs[0].case, "load 0, rate 1000, none");
        assert_eq!(longer.differences, ["the length of runs: 1 s, then 2 s"]);

        let way = |rate: f64| json!({ "one_way": [{ "target_rate_per_s": rate, "size_bytes": 64, "wait": "park", "median_ns": 5.0 }] });
        assert_eq!(compare(&way(1.0), &way(1.0)).pairs.len(), 1);
        assert_eq!(compare(&way(1.0), &way(2.0)).missing, ["one way, rate 1, size 64, park"]);
        let unknown = json!({ "one_way": [{ "target_rate_per_s": 1.0, "size_bytes": 64, "wait": "park", "median_ns": null }] });
        let lost = compare(&way(1.0), &unknown).missing;
        assert_eq!(lost, ["one way, rate 1, size 64, park: median_ns"]);
    }
}
