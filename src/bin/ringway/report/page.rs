//! The page: what was run, what came of it, its pictures, and the runs themselves as data.

use serde_json::Value;

use super::drawing::{Picture, themed};
use super::{charts, peers};
use crate::bench;
use crate::bench::document::{half_width, half_width_of};
use crate::bench::estimate::{estimated, of_runs};
use crate::model::{number, share, time};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn of(runs: &[Value]) -> String {
    let sections: String = runs.iter().map(section).collect();
    let data: String = runs.iter().map(data).collect();
    let title = match runs {
        [run] => title(run),
        _ => format!("{} runs", runs.len()),
    };
    let title = escaped(&title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>ringway: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n{sections}</main>\n{data}</body>\n</html>\n"
    )
}

fn title(run: &Value) -> String {
    let text = |name: &str| run[name].as_str().unwrap_or("-").to_owned();
    match run["kind"].as_str().unwrap_or_default() {
        "bench" => "This machine, measured".into(),
        "throughput" => "Throughput".into(),
        "latency" => "Latency".into(),
        "fanout" => "One producer, more and more consumers".into(),
        "sweep" => "Waits from light to heavy load".into(),
        "peers" => "Side by side".into(),
        _ => format!("{} messages, service {}", text("arrival"), text("service")),
    }
}

fn section(run: &Value) -> String {
    let mut parts = vec![format!("<h1>{}</h1>", escaped(&title(run)))];
    let numbers = if run["kind"] == "peers" {
        parts.extend([paragraph(&peers::facts(run)), careful(peers::warnings(run))]);
        parts.extend(peers::pictures(run).iter().map(figure));
        peers::text(run)
    } else {
        let means = estimated(run);
        parts.extend([facts(run), tiles(&means), warnings(run)]);
        parts.extend(charts::of(&means).iter().map(figure));
        bench::text(run)
    };
    let numbers = escaped(&numbers);
    parts
        .push(format!("<details><summary>All numbers</summary>\n<pre>{numbers}</pre>\n</details>"));
    format!("<section>\n{}\n</section>\n", parts.join("\n"))
}

fn paragraph(facts: &str) -> String {
    format!("<p class=\"facts\">{}</p>\n", escaped(facts))
}

fn facts(run: &Value) -> String {
    let machine = &run["machine"];
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let virtual_machine = if machine["virtual_machine"] == true { ", virtual" } else { "" };
    let bare = match (run["bare_line"]["before_ns"].as_f64(), run["bare_line"]["after_ns"].as_f64())
    {
        (Some(before), Some(after)) => format!(
            " A bare line took {} there and back before, {} after.",
            time(before),
            time(after)
        ),
        _ => String::new(),
    };
    let command = run["command"].as_array().into_iter().flatten().enumerate();
    let command: Vec<String> = command
        .filter_map(|(index, word)| {
            let word = word.as_str()?;
            Some(if index == 0 { word.rsplit('/').next()?.to_owned() } else { word.to_owned() })
        })
        .collect();
    let sentence = format!(
        "{}, {} of {} processors{virtual_machine}; Linux {}, clock {}; load average {} before. {}, \
         version {}, seed {}; the ends are {}.{bare}",
        text(&machine["model"]),
        machine["processors"],
        machine["processors_online"],
        text(&machine["kernel"]),
        text(&machine["clock_source"]),
        machine["load_average"].as_f64().map_or("unknown".into(), number),
        text(&run["time"]),
        text(&run["version"]),
        run["seed"],
        text(&run["ends"]),
    );
    let command = escaped(&command.join(" "));
    format!("{}<pre class=\"command\">{command}</pre>\n", paragraph(&sentence))
}

/// The few numbers that are looked for first.
fn tiles(run: &Value) -> String {
    let mut tiles: Vec<(String, String)> = Vec::new();
    let mut tile = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            tiles.push((name.to_owned(), value));
        }
    };
    let cells = |name: &str| run[name].as_array().cloned().unwrap_or_default();
    let of_size = |cells: &[Value], size: u64, wait: Option<&str>| {
        let fits = |cell: &&Value| {
            cell["size_bytes"] == size && wait.is_none_or(|wait| cell["wait"] == wait)
        };
        cells.iter().find(fits).cloned()
    };
    if let Some(cell) = of_size(&cells("throughput"), 64, None) {
        let million = |rate: f64| format!("{} million", number(rate / 1e6));
        tile("messages of 64 B a second", with_interval(&cell, "rate_per_s", million));
    }
    if let Some(cell) = of_size(&cells("round_trip"), 64, Some("spin")) {
        tile("round trip of 64 B, median", with_interval(&cell, "median_ns", time));
    }
    for wait in ["spin", "park"] {
        if let Some(cell) = of_size(&cells("one_way"), 64, Some(wait)) {
            let mut rows = cell["percentiles"].as_array().into_iter().flatten();
            let p99 = rows.find(|row| row["percentile"] == 99.0);
            let name = format!("one way of 64 B, {wait}, 99 %");
            tile(&name, p99.and_then(|row| row["time_ns"].as_f64()).map(time));
        }
    }
    if run.get("sent").is_some() {
        tile("load", run["load"].as_f64().map(number));
        tile(&format!("mean wait{}", of_all(", ", run)), with_interval(run, "wait_mean_ns", time));
        let predicted = bench::predicted(run, "wait_mean_ns", time);
        tile("theory's mean wait", run["theory_wait_mean_ns"].as_f64().map(|_| predicted));
        tile(&over_theory("measured", run), over_theory_with_interval(run));
        tile("measured over replay", over_replay_with_interval(run));
        tile("lost", with_interval(run, "loss_share", share));
    }
    let points = cells("points");
    let near = points
        .iter()
        .find(|point| point["load"].as_f64().is_some_and(|load| (load - 0.8).abs() < 0.01));
    if let Some(point) = near {
        let name = format!("wait{} at load 0.8,", of_all(" ", point));
        tile(&over_theory(&name, point), over_theory_with_interval(point));
        tile(&format!("{name} over replay"), over_replay_with_interval(point));
    }
    if tiles.is_empty() {
        return String::new();
    }
    let tiles: Vec<String> = tiles
        .iter()
        .map(|(name, value)| {
            format!("<div><b>{}</b><span>{}</span></div>", escaped(value), escaped(name))
        })
        .collect();
    format!("<div class=\"tiles\">\n{}\n</div>", tiles.join("\n"))
}

/// A number and, where several runs were made, how far off their mean may be.
fn with_interval(cell: &Value, name: &str, show: impl Fn(f64) -> String) -> Option<String> {
    let is_of_runs = cell.get("interval_by").is_none_or(|it| it == "runs");
    let half_width = cell[half_width_of(name)].as_f64().filter(|_| is_of_runs);
    Some(with(cell[name].as_f64()?, half_width, show))
}

fn with(number: f64, half_width: Option<f64>, show: impl Fn(f64) -> String) -> String {
    let half_width = half_width.map_or(String::new(), |it| format!(" ± {}", show(it)));
    format!("{}{half_width}", show(number))
}

/// The mean wait over theory's.
fn over_theory_with_interval(load: &Value) -> Option<String> {
    let half_width =
        load["wait_mean_half_width_ns"].as_f64().filter(|_| bench::runs(load).is_some());
    let theory = load["theory_wait_mean_ns"].as_f64();
    let half_width = half_width.zip(theory).map(|(half_width, theory)| half_width / theory);
    Some(with(load["wait_mean_ratio"].as_f64()?, half_width, number))
}

/// The mean wait over what the same chance comes to without a machine, which each run has a ratio of its
/// own to.
fn over_replay_with_interval(load: &Value) -> Option<String> {
    let half_width_of = |ratios: Vec<&Value>| {
        let ratios: Vec<f64> = ratios.into_iter().filter_map(Value::as_f64).collect();
        half_width(&ratios).filter(|_| load["wait_mean_half_width_ns"].is_number())
    };
    let half_width = of_runs(load, "wait_mean_replay_ratio").and_then(half_width_of);
    Some(with(load["wait_mean_replay_ratio"].as_f64()?, half_width, number))
}

/// Of how many runs a figure is the mean, if they are several.
fn of_all(separator: &str, load: &Value) -> String {
    bench::runs(load).map_or(String::new(), |runs| format!("{separator}of {runs} runs"))
}

/// The name of a ratio of waits, which says if theory's is an approximation.
fn over_theory(what: &str, load: &Value) -> String {
    let is_approximate = bench::approximates(load, "wait_mean_ns");
    format!("{what} over theory{}", if is_approximate { ", approximately" } else { "" })
}

fn warnings(run: &Value) -> String {
    let warnings = run["warnings"].as_array().into_iter().flatten();
    let text = |warning: &Value, name: &str| warning[name].as_str().unwrap_or("-").to_owned();
    careful(warnings.map(|warning| (text(warning, "what"), text(warning, "remedy"))).collect())
}

/// What to be careful about, and what to do.
fn careful(warnings: Vec<(String, String)>) -> String {
    let lines: Vec<String> = warnings
        .into_iter()
        .map(|(what, remedy)| {
            let text = |words: &str| escaped(&sentence(words));
            format!("<li>{} <em>{}</em></li>", text(&what), text(&remedy))
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("<div class=\"careful\"><b>Careful</b><ul>\n{}\n</ul></div>", lines.join("\n"))
}

/// With a capital at its beginning and a stop at its end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}

fn figure(picture: &Picture) -> String {
    let label = escaped(&picture.title);
    let svg = |class: &str, svg: &str| {
        let body = svg.replacen(
            "<svg ",
            &format!("<svg class=\"{class}\" role=\"img\" aria-label=\"{label}\" "),
            1,
        );
        themed(&body)
    };
    format!(
        "<figure>\n<h2>{label}</h2>\n{}\n{}\n<figcaption>{}</figcaption>\n</figure>\n",
        svg("wide", &picture.wide),
        svg("narrow", &picture.narrow),
        escaped(&picture.caption)
    )
}

/// A run as data within the page, to be taken out again.
fn data(run: &Value) -> String {
    // Nothing in it may end the element.
    let json = run.to_string().replace('<', "\\u003c");
    format!("<script type=\"application/json\" class=\"run\">{json}</script>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_in_a_run_becomes_a_part_of_the_page() {
        let evil = "</script><script>alert(1)</script>\"><img src=x>";
        let run = json!({
            "kind": "load", "schema_version": 1, "arrival": evil, "service": evil, "sent": 1,
            "time": evil, "machine": { "model": evil }, "command": [evil],
            "warnings": [{ "what": evil, "remedy": evil }],
        });
        let page = of(std::slice::from_ref(&run));
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
        let begin = "<script type=\"application/json\" class=\"run\">";
        let data = page.split(begin).nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), run);
    }

    #[test]
    fn tiles_of_several_runs_have_their_mean_and_how_far_off_it_may_be() {
        let run = |wait: f64| {
            json!({ "wait_mean_ns": wait, "wait_mean_ratio": wait / 50e3,
                "wait_mean_replay_ratio": 1.0 + wait / 1e6 })
        };
        let load = json!({ "kind": "load", "schema_version": 1, "sent": 1, "load": 0.8,
            "theory_wait_mean_ns": 50e3, "wait_mean_ns": 40e3, "wait_mean_ratio": 0.8,
            "wait_mean_half_width_ns": 5e3, "interval_by": "runs",
            "runs": [run(30e3), run(40e3), run(95e3)] });
        let sweep = json!({ "kind": "sweep", "schema_version": 1, "points": [load] });
        let stream = json!({ "kind": "throughput", "schema_version": 1, "throughput": [
            { "size_bytes": 64, "rate_per_s": 2e6, "rate_mean_per_s": 3e6, "rate_half_width_per_s": 1e6 },
        ] });
        let page = of(&[load, sweep, stream]);
        for words in [
            "<b>55 us ± 5 us</b><span>mean wait, of 3 runs</span>",
            "<b>1.1 ± 0.1</b><span>measured over theory</span>",
            "<b>1.1 ± 0.1</b><span>wait of 3 runs at load 0.8, over theory</span>",
            "<b>1.055 ± 0.08694</b><span>measured over replay</span>",
            "<b>1.055 ± 0.08694</b><span>wait of 3 runs at load 0.8, over replay</span>",
            "<b>3 million ± 1 million</b>",
        ] {
            assert!(page.contains(words), "no {words} in {page}");
        }
    }

    #[test]
    fn whatever_is_missing_or_odd_is_left_out() {
        for kind in super::super::KINDS {
            for value in
                [json!(null), json!([]), json!([{}]), json!([null, 5, "x", [1]]), json!(-1)]
            {
                let run = json!({
                    "kind": kind, "schema_version": 1, "throughput": value, "round_trip": value,
                    "one_way": value, "points": value, "fanout": value, "heat_map": value,
                    "cells": value, "missing": value, "failures": value,
                    "sent": value, "wait_spectrum": value, "percentiles": value, "each": value,
                });
                assert!(of(&[run]).contains("</html>"), "{kind} {value}");
            }
        }
    }

    #[test]
    fn what_theory_approximates_is_marked_in_tiles_and_legends() {
        let page_of = |approximate: Value| {
            let load = json!({ "kind": "load", "schema_version": 1, "sent": 1, "load": 0.8,
                "arrival": "erlang:4", "service": "fixed:100us", "consumers": 1,
                "theory_model": "E4/D/1", "theory_wait_mean_ns": 50e3, "wait_mean_ns": 80e3,
                "wait_mean_ratio": 1.6, "theory_approximate": approximate });
            of(&[load.clone(), json!({ "kind": "sweep", "schema_version": 1, "points": [load] })])
        };
        let page = page_of(json!(["wait_mean_ns"]));
        for words in [
            "<b>~50 us</b>",
            "<span>measured over theory, approximately</span>",
            "<span>wait at load 0.8, over theory, approximately</span>",
            "mean wait, E4/D/1, approximately\n</text>",
        ] {
            assert!(page.contains(words), "no {words} in {page}");
        }
        let page = page_of(json!([]));
        assert!(!page.contains('~') && !page.contains("approximately"), "{page}");
    }
}
