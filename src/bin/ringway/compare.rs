//! `ringway compare`: two runs, number by number, with what chance may make of each.

use serde_json::{Value, json};

use crate::bench::args::Compare;
use crate::bench::document::SCHEMA_VERSION;
use crate::failure::{Ending, Failure};
use crate::model::{number, time};
use crate::{output, report};

pub fn run(compare: &Compare) -> Result<Ending, Failure> {
    let (before, after) = (report::read(&compare.before)?, report::read(&compare.after)?);
    if before["kind"] != after["kind"] {
        return Err(Failure::Usage(format!(
            "a run of {} and one of {} have nothing to compare",
            before["kind"].as_str().unwrap_or("-"),
            after["kind"].as_str().unwrap_or("-"),
        )));
    }
    let pairs = pairs(&before, &after, compare.threshold);
    if pairs.is_empty() {
        return Err(Failure::Usage("the two runs have no number of the same case".into()));
    }
    let differences = differences(&before, &after);
    let regressed = pairs.iter().any(|pair| pair.judgement == Judgement::Worse);
    if compare.json {
        output::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "kind": "comparison",
            "version": env!("CARGO_PKG_VERSION"),
            "threshold": compare.threshold,
            "regressed": regressed,
            "different": differences,
            "numbers": pairs.iter().map(Pair::value).collect::<Value>(),
        }))?;
    } else {
        output::print(text(&pairs, &differences, compare.threshold))?;
    }
    Ok(if regressed { Ending::LimitMissed } else { Ending::Done })
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
    /// After over before, less 1; above 0 is worse.
    worse_by: f64,
    judgement: Judgement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Same,
    Better,
    Worse,
    /// Beyond the threshold, but chance could have done it.
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

/// Parts of a run, what tells their cells apart, and the numbers of each: the key of the number,
/// that of its half width, and whether more is better.
type Number = (&'static str, &'static str, bool);
const PARTS: [(&str, &[&str], &[Number]); 5] = [
    ("throughput", STREAM, STREAM_NUMBERS),
    ("fanout", STREAM, STREAM_NUMBERS),
    ("round_trip", &["size_bytes", "wait"], &[("median_ns", "median_half_width_ns", false)]),
    ("one_way", &["size_bytes", "wait"], &[("median_ns", "median_half_width_ns", false)]),
    ("points", LOAD, LOAD_NUMBERS),
];
const STREAM: &[&str] = &["size_bytes", "consumers", "batch", "wait"];
const STREAM_NUMBERS: &[Number] = &[("rate_per_s", "rate_half_width_per_s", true)];
const LOAD: &[&str] = &[
    "load",
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
const LOAD_NUMBERS: &[Number] = &[
    ("wait_mean_ns", "wait_mean_half_width_ns", false),
    ("sojourn_mean_ns", "sojourn_mean_half_width_ns", false),
    ("loss_share", "loss_share_half_width", false),
];

fn pairs(before: &Value, after: &Value, threshold: f64) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut add = |part: &str, old: &Value, new: &Value, keys: &[&str], numbers: &[Number]| {
        let words = keys.iter().filter(|key| !old[**key].is_null() && old[**key] != false);
        let words = words.map(|key| match &old[*key] {
            Value::String(text) => text.clone(),
            value => format!("{} {value}", key.trim_end_matches("_bytes")),
        });
        let part = Some(part.replace('_', " ")).filter(|part| part != "points");
        let case = part.into_iter().chain(words).collect::<Vec<_>>().join(", ");
        pairs.extend(numbers.iter().filter_map(|it| pair(&case, old, new, *it, threshold)));
    };
    for (part, keys, numbers) in PARTS {
        for old in before[part].as_array().into_iter().flatten() {
            let same = |new: &&Value| keys.iter().all(|key| old[*key] == new[*key]);
            let new = after[part].as_array().into_iter().flatten().find(same);
            if let Some(new) = new {
                add(part, old, new, keys, numbers);
            }
        }
    }
    if before["kind"] == "load" && LOAD.iter().all(|key| before[*key] == after[*key]) {
        add("points", before, after, LOAD, LOAD_NUMBERS);
    }
    pairs
}

fn pair(
    case: &str,
    old: &Value,
    new: &Value,
    (name, half_width, more_is_better): Number,
    threshold: f64,
) -> Option<Pair> {
    let (before, after) = (old[name].as_f64()?, new[name].as_f64()?);
    let half_width = old[half_width].as_f64().zip(new[half_width].as_f64());
    // Independent errors add up like the sides of a right angle.
    let half_width = half_width.map(|(one, other)| one.hypot(other));
    let off = after - before;
    // Nothing over nothing is no change.
    let change = if off.abs() > 0.0 { off / before.abs() } else { 0.0 };
    let worse_by = if more_is_better { -change } else { change };
    let by_chance = half_width.is_some_and(|half_width| off.abs() <= half_width);
    // A change from nothing has no bound, and is none of "not a number".
    let judgement = match worse_by {
        _ if worse_by.abs() <= threshold => Judgement::Same,
        _ if by_chance => Judgement::Unsure,
        _ if worse_by > 0.0 => Judgement::Worse,
        _ => Judgement::Better,
    };
    Some(Pair { case: case.to_owned(), name, before, after, half_width, worse_by, judgement })
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
fn differences(before: &Value, after: &Value) -> Vec<String> {
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
    if before["ends"] != after["ends"] {
        differences.push(format!("ends: {}, then {}", before["ends"], after["ends"]));
    }
    let bare = |run: &Value| run["bare_line"]["before_ns"].as_f64();
    if let (Some(old), Some(new)) = (bare(before), bare(after))
        && old.max(new) > BARE_CHANGED * old.min(new)
    {
        differences.push(format!("the bare line: {}, then {}", time(old), time(new)));
    }
    differences
}

fn text(pairs: &[Pair], differences: &[String], threshold: f64) -> String {
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
    let careful = |what: &String| format!("careful    not the same is also {what}");
    lines.extend(differences.iter().map(careful));
    let unknown = pairs.iter().filter(|pair| pair.half_width.is_none()).count();
    if unknown > 0 {
        let numbers = output::count(unknown as u64, "number");
        lines.push(format!(
            "careful    {numbers} of one run each, without an interval: give bench more --runs"
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(before: f64, after: f64, half_width: Option<f64>, more_is_better: bool) -> Judgement {
        let run = |value: f64| json!({ "number": value, "half_width": half_width });
        let number = ("number", "half_width", more_is_better);
        pair("", &run(before), &run(after), number, 0.05).unwrap().judgement
    }

    #[test]
    fn worse_is_what_chance_did_not_do_and_the_threshold_does_not_forgive() {
        assert_eq!(judge(100.0, 104.0, None, false), Judgement::Same);
        assert_eq!(judge(100.0, 106.0, None, false), Judgement::Worse);
        assert_eq!(judge(100.0, 106.0, None, true), Judgement::Better);
        assert_eq!(judge(100.0, 94.0, None, true), Judgement::Worse);
        assert_eq!(judge(100.0, 94.0, Some(3.0), true), Judgement::Worse);
        assert_eq!(judge(100.0, 94.0, Some(5.0), true), Judgement::Unsure, "5 and 5 make 7");
        assert_eq!(judge(0.0, 0.0, None, false), Judgement::Same);
        assert_eq!(judge(0.0, 1.0, None, false), Judgement::Worse, "from nothing");
    }

    #[test]
    fn only_the_same_cases_are_compared() {
        let cell = |size: u64, rate: f64| json!({ "size_bytes": size, "consumers": 1, "batch": 1, "wait": "spin", "rate_per_s": rate });
        let before = json!({ "throughput": [cell(8, 10.0), cell(64, 5.0)] });
        let after = json!({ "throughput": [cell(64, 4.0), cell(256, 3.0)] });
        let pairs = pairs(&before, &after, 0.05);
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs[0].case, "throughput, size 64, consumers 1, batch 1, spin");
        assert!((pairs[0].worse_by - 0.2).abs() < 1e-12);
    }
}
