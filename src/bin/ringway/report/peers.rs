//! What `ringway-peers --json` has measured: who, beside whom, as words and as pictures.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::drawing::{Picture, Row, rows};
use crate::model::{number, time};
use crate::output::bytes;

/// What is drawn, in this order, and what it is called.
const METRICS: [(&str, &str); 11] = [
    ("round_trip_p50_ns", "Round trip, median"),
    ("round_trip_p999_ns", "Round trip, 99.9 %"),
    ("blocking_round_trip_p50_ns", "Round trip of those who may sleep, median"),
    ("stream_messages_per_s", "Stream"),
    ("batch_messages_per_s", "Stream in batches of 64"),
    ("shared_messages_per_s", "Stream that two share"),
    ("wake_p50_ns", "Wake-up from sleep, median"),
    ("wake_cpu_percent", "What the woken side takes of a processor"),
    ("receiver_crash_ns", "Until all goes on when the receiver was killed"),
    ("sender_crash_ns", "Until all goes on when the sender was killed"),
    ("memory_bytes", "Memory with open ends"),
];

/// One figure of one system.
struct Cell<'a> {
    system: &'a str,
    kind: &'a str,
    metric: &'a str,
    class: &'a str,
    size: u64,
    consumers: u64,
    median: f64,
    range: (f64, f64),
}

fn cells(run: &Value) -> Vec<Cell<'_>> {
    let cells = run["cells"].as_array().into_iter().flatten();
    cells
        .filter_map(|cell| {
            Some(Cell {
                system: cell["system"].as_str()?,
                kind: cell["kind"].as_str()?,
                metric: cell["metric"].as_str()?,
                class: cell["class"].as_str().unwrap_or("any"),
                size: cell["size_bytes"].as_u64()?,
                consumers: cell["consumers"].as_u64()?,
                median: cell["median"].as_f64()?,
                range: (cell["min"].as_f64()?, cell["max"].as_f64()?),
            })
        })
        .collect()
}

/// Where and when, in a sentence.
pub fn facts(run: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let machine = &run["machine"];
    let load = |name: &str| machine[name].as_f64().map_or("unknown".into(), number);
    let rings = run["ring_bytes"].as_u64();
    let rings = rings.map_or_else(String::new, |size| format!(" Rings of {}.", bytes(size)));
    format!(
        "{}, {} processors; Linux {}; load average {} before and {} after.{rings} {}, commit {}.",
        text(&machine["processor"]),
        machine["processors"],
        text(&machine["kernel"]),
        load("load_before"),
        load("load_after"),
        text(&run["date"]),
        text(&run["commit"]),
    )
}

/// What keeps the figures from being the whole truth.
pub fn warnings(run: &Value) -> Vec<(String, String)> {
    let list = |name: &str| run[name].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let missing = list("missing")
        .map(|it| (format!("{} took no part", text(&it["system"])), text(&it["why"])));
    let failed = list("failures").map(|it| {
        let of = format!("{} failed at {}", text(&it["system"]), text(&it["measurement"]));
        (of, text(&it["why"]))
    });
    let quick = (run["quick"] == true).then(|| {
        let what = "these are a few short rounds, a first look".to_owned();
        (what, "measure without --quick".to_owned())
    });
    missing.chain(failed).chain(quick).collect()
}

/// All figures.
pub fn text(run: &Value) -> String {
    let line = |cell: &Cell<'_>| {
        let value = |value| figure(cell.metric, value);
        format!(
            "{:28} {:5} {:>6} B {:>2}  {:18} {:9} {} ({} to {})\n",
            cell.metric,
            cell.class,
            cell.size,
            cell.consumers,
            cell.system,
            cell.kind,
            value(cell.median),
            value(cell.range.0),
            value(cell.range.1),
        )
    };
    cells(run).iter().map(line).collect()
}

fn figure(metric: &str, value: f64) -> String {
    match metric {
        _ if metric.ends_with("_ns") => time(value),
        _ if metric.ends_with("_per_s") => format!("{} M/s", number(value / 1e6)),
        _ if metric.ends_with("_percent") => format!("{} %", number(value)),
        _ if metric.ends_with("_bytes") => format!("{} KiB", number(value / 1024.0)),
        _ => number(value),
    }
}

/// A picture for each measurement, of the class in which most was measured.
pub fn pictures(run: &Value) -> Vec<Picture> {
    let cells = cells(run);
    let mut pictures = Vec::new();
    for (metric, title) in METRICS {
        let of_it = cells.iter().filter(|cell| cell.metric == metric);
        let consumers: BTreeSet<u64> = of_it.clone().map(|cell| cell.consumers).collect();
        for count in consumers {
            let of_it: Vec<_> = of_it.clone().filter(|cell| cell.consumers == count).collect();
            let title = match (metric, count) {
                ("stream_messages_per_s", 2) => "Stream to two who each get everything".to_owned(),
                _ => title.to_owned(),
            };
            pictures.extend(of_measurement(&title, metric, &of_it));
        }
    }
    pictures
}

fn of_measurement(title: &str, metric: &str, cells: &[&Cell<'_>]) -> Option<Picture> {
    let mut counts = BTreeMap::new();
    for cell in cells {
        *counts.entry(cell.class).or_insert(0_u32) += 1;
    }
    let (&class, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    let cells: Vec<_> = cells.iter().filter(|cell| cell.class == class).collect();
    let sizes: BTreeSet<u64> = cells.iter().map(|cell| cell.size).collect();
    let mut systems: Vec<&str> = Vec::new();
    for cell in &cells {
        if !systems.contains(&cell.system) {
            systems.push(cell.system);
        }
    }
    let names = systems.iter().map(|&system| {
        let kind = cells.iter().find(|cell| cell.system == system).map_or("", |cell| cell.kind);
        match kind {
            "threads" => format!("{system} *"),
            "lossy" => format!("{system} ~"),
            _ => system.to_owned(),
        }
    });
    let names: Vec<String> = names.collect();
    let series: Vec<(String, Vec<Row>)> = sizes
        .iter()
        .map(|&size| {
            let of_size = cells.iter().filter(|cell| cell.size == size);
            let row = |cell: &&Cell<'_>| Row {
                place: systems.iter().position(|&it| it == cell.system).unwrap_or(0),
                value: cell.median,
                range: cell.range,
            };
            (format!("{size} B"), of_size.map(|cell| row(cell)).collect())
        })
        .collect();
    let better = if metric.ends_with("_per_s") { "more is better" } else { "less is better" };
    let processors = match class {
        "smt" => "on two threads of one core",
        "near" => "on two cores that are near each other",
        "far" => "on two cores that are far from each other",
        _ => "wherever they were",
    };
    let caption = format!(
        "Dots are medians, lines go from the least round to the greatest; processes {processors}; \
         {better}. * between threads of one process. ~ loses what its receiver is too slow for."
    );
    rows(title, caption, &names, &series, &|value| figure(metric, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_say_how_large_the_rings_were_if_the_run_does() {
        let mut run = json!({
            "machine": { "processor": "P", "processors": 2, "kernel": "6.18", "load_before": 0.5 },
            "date": "2026-11-30T19:06:42Z", "commit": "87e171e",
        });
        let before = "P, 2 processors; Linux 6.18; load average 0.5 before and unknown after.";
        let after = "2026-11-30T19:06:42Z, commit 87e171e.";
        assert_eq!(facts(&run), format!("{before} {after}"));
        run["ring_bytes"] = json!(64 << 20);
        assert_eq!(facts(&run), format!("{before} Rings of 64 MiB. {after}"));
    }
}
