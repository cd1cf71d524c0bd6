//! What runs that were repeated say together: the means that their intervals are about.

use serde_json::{Map, Value};

use crate::bench::document::{float, mean_of, ratio_of};
use crate::model::FIGURES;

/// What each run of a load has by that key; nothing if its intervals are not by runs.
pub fn of_runs<'a>(load: &'a Value, key: &str) -> Option<Vec<&'a Value>> {
    let runs = load["runs"].as_array().filter(|_| load["interval_by"] == "runs")?;
    Some(runs.iter().map(|it| &it[key]).collect())
}

/// What the interval of a number is about: the mean of all runs, while the number itself is that of
/// the run in the middle, or of rates and medians the median.
pub fn estimate(cell: &Value, name: &str) -> Option<f64> {
    match of_runs(cell, name) {
        Some(numbers) => mean(numbers),
        None => cell[mean_of(name)].as_f64().or_else(|| cell[name].as_f64()),
    }
}

/// Of those that are known; none if none is.
fn mean<'a>(numbers: impl IntoIterator<Item = &'a Value>) -> Option<f64> {
    let known: Vec<f64> = numbers.into_iter().filter_map(Value::as_f64).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / float(known.len() as u64))
}

/// The same run with the means of all runs wherever it has an interval by them: figures, ratios, rates
/// and medians. What has none stays that of the run in the middle.
pub fn estimated(run: &Value) -> Value {
    let mut run = run.clone();
    estimate_load(&mut run);
    for part in ["points", "throughput", "fanout", "round_trip", "one_way"] {
        let cells = run.get_mut(part).and_then(Value::as_array_mut);
        for cell in cells.into_iter().flatten() {
            match part {
                "points" => estimate_load(cell),
                "throughput" | "fanout" => estimate_stream(cell),
                _ => estimate_times(cell),
            }
        }
    }
    run
}

/// What each run of a load has beside its figures.
const BESIDE: [&str; 3] =
    ["replay_wait_mean_ns", "wait_mean_replay_ratio", "theory_of_measured_wait_mean_ns"];

fn estimate_load(load: &mut Value) {
    let figures = FIGURES.iter().flat_map(|(name, ..)| [(*name).to_owned(), ratio_of(name)]);
    let keys: Vec<String> = figures.chain(BESIDE.map(str::to_owned)).collect();
    let means_of = |mean: &dyn Fn(&str) -> Option<f64>| {
        known(keys.iter().map(|key| (key.as_str(), mean(key))))
    };
    let Some(consumers) = of_runs(load, "each") else { return };
    let each = (0..load["each"].as_array().map_or(0, Vec::len)).map(|index| {
        means_of(&|key| mean(consumers.iter().map(|consumers| &consumers[index][key])))
    });
    let each: Vec<_> = each.collect();
    let means = means_of(&|key| estimate(load, key));
    put(load, means);
    let consumers = load.get_mut("each").and_then(Value::as_array_mut);
    consumers.into_iter().flatten().zip(each).for_each(|(consumer, means)| put(consumer, means));
}

fn estimate_stream(cell: &mut Value) {
    let Some(rate) = estimate(cell, "rate_per_s") else { return };
    let times = |name: &str| cell[name].as_f64().map(|factor| rate * factor);
    let (bytes, delivered) = (times("size_bytes"), times("consumers"));
    let rates =
        [("rate_per_s", Some(rate)), ("bytes_per_s", bytes), ("delivered_rate_per_s", delivered)];
    put(cell, known(rates));
}

fn estimate_times(cell: &mut Value) {
    let number = |name: &str| cell[name].as_f64();
    let median = estimate(cell, "median_ns");
    let ratio = || {
        let clock = number("clock_ns")?;
        let ratio = number("bare_ratio")? * (median? - clock) / (number("median_ns")? - clock);
        ratio.is_finite().then_some(ratio)
    };
    let numbers = [("median_ns", median), ("bare_ratio", ratio())];
    put(cell, known(numbers));
}

fn known<'a>(numbers: impl IntoIterator<Item = (&'a str, Option<f64>)>) -> Map<String, Value> {
    let numbers = numbers.into_iter();
    numbers.filter_map(|(name, number)| Some((name.to_owned(), number?.into()))).collect()
}

fn put(cell: &mut Value, numbers: Map<String, Value>) {
    if let Some(map) = cell.as_object_mut() {
        map.extend(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_and_ratios_are_the_means_that_their_intervals_are_about() {
        let run = |wait: f64, of_second: f64| {
            json!({ "wait_mean_ns": wait, "wait_mean_ratio": wait / 5.0, "lost": wait,
                "each": [{ "wait_mean_ns": wait }, { "wait_mean_ns": of_second }] })
        };
        let mut load = run(40.0, 1.0);
        load["interval_by"] = json!("runs");
        load["runs"] =
            json!([run(30.0, 5.0), run(40.0, 1.0), run(95.0, 3.0), { "wait_mean_ns": null }]);
        let sweep = json!({ "kind": "sweep", "points": [load] });
        for shown in [estimated(&load), estimated(&sweep)["points"][0].clone()] {
            assert_eq!(
                (&shown["wait_mean_ns"], &shown["wait_mean_ratio"]),
                (&json!(55.0), &json!(11.0))
            );
            assert_eq!(shown["each"][1]["wait_mean_ns"], 3.0);
            assert_eq!((&shown["lost"], &shown["runs"]), (&json!(40.0), &load["runs"]));
            assert_eq!(estimated(&shown), shown);
        }
        load["interval_by"] = json!("batches");
        assert_eq!(estimated(&load), load);
    }

    #[test]
    fn rates_and_medians_are_the_means_of_their_runs() {
        let run = json!({
            "throughput": [{ "size_bytes": 64, "consumers": 2, "rate_per_s": 10.0,
                "rate_mean_per_s": 12.0, "bytes_per_s": 640.0, "delivered_rate_per_s": 20.0 }],
            "round_trip": [{ "median_ns": 110.0, "median_mean_ns": 120.0, "clock_ns": 10.0,
                "bare_ratio": 2.0 }],
        });
        let shown = estimated(&run);
        let stream = &shown["throughput"][0];
        let rates = ["rate_per_s", "bytes_per_s", "delivered_rate_per_s"].map(|it| &stream[it]);
        assert_eq!(rates, [&json!(12.0), &json!(768.0), &json!(24.0)]);
        let trips = &shown["round_trip"][0];
        assert_eq!((&trips["median_ns"], &trips["bare_ratio"]), (&json!(120.0), &json!(2.2)));
        assert_eq!(estimated(&shown), shown);
    }
}
