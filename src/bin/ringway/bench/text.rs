//! What a run says to people: from its JSON, so that both say the same.

use serde_json::Value;

use crate::bench::document::{half_width_of, ratio_of};
use crate::bench::estimate::estimated;
use crate::model::{FIGURES, Show, number, share, time};
use crate::output;

/// The whole run, of what was repeated the means.
pub fn run(run: &Value) -> String {
    let run = &estimated(run);
    let mut parts = vec![host(run)];
    if let Some(cells) = list(run, "throughput").or_else(|| list(run, "fanout")) {
        parts.push(streams(cells));
    }
    if let Some(cells) = list(run, "round_trip") {
        parts.push(format!("to and fro\n{}", times(cells, true)));
    }
    if let Some(cells) = list(run, "one_way") {
        parts.push(format!("one way, from the intended time\n{}", times(cells, false)));
    }
    if run.get("sent").is_some() {
        parts.push(load(run));
    }
    if let Some(points) = list(run, "points") {
        parts.push(sweep(points));
    }
    parts.extend(warnings(run));
    parts.extend(next(run).map(|command| format!("next       {command}")));
    parts.join("\n\n")
}

fn list<'a>(run: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    run.get(name)?.as_array().filter(|list| !list.is_empty())
}

/// What was run, and where.
fn host(run: &Value) -> String {
    let machine = &run["machine"];
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let virtual_machine = if machine["virtual_machine"] == true { ", virtual" } else { "" };
    let mut lines = vec![
        format!(
            "machine    {} of {} processors, {}{virtual_machine}",
            machine["processors"],
            machine["processors_online"],
            word(&machine["model"])
        ),
        format!(
            "system     Linux {}, clock {}; ends are {}; seed {}",
            word(&machine["kernel"]),
            word(&machine["clock_source"]),
            word(&run["ends"]),
            run["seed"]
        ),
    ];
    if let (Some(before), Some(after)) =
        (run["bare_line"]["before_ns"].as_f64(), run["bare_line"]["after_ns"].as_f64())
    {
        lines.push(format!(
            "bare line  {} there and back before, {} after: the least that is possible",
            time(before),
            time(after)
        ));
    }
    lines.join("\n")
}

fn streams(cells: &[Value]) -> String {
    let header = [
        "BYTES",
        "CONSUMERS",
        "BATCH",
        "WAIT",
        "MILLION/S",
        "+-",
        "FROM",
        "TO",
        "GIB/S",
        "LOST",
        "DOUBLE",
        "LATE",
    ];
    let numbers: Vec<&str> = header.iter().copied().filter(|title| *title != "WAIT").collect();
    let rows = cells.iter().map(|cell| {
        let million = |name: &str| optional(&cell[name], |rate| number(rate / 1e6));
        vec![
            cell["size_bytes"].to_string(),
            cell["consumers"].to_string(),
            cell["batch"].to_string(),
            plain(&cell["wait"]),
            million("rate_per_s"),
            million("rate_half_width_per_s"),
            million("rate_min_per_s"),
            million("rate_max_per_s"),
            optional(&cell["bytes_per_s"], |bytes| number(bytes / f64::from(1 << 30))),
            cell["lost"].to_string(),
            cell["duplicated"].to_string(),
            cell["out_of_order"].to_string(),
        ]
    });
    output::table(&header, &numbers, rows)
}

fn times(cells: &[Value], round_trips: bool) -> String {
    let mut header = vec!["BYTES", "WAIT"];
    let percentiles: Vec<String> =
        crate::bench::document::PERCENTILES.iter().map(|it| format!("{it} %")).collect();
    header.extend(percentiles.iter().map(String::as_str));
    header.extend(["MAX", "PROCESSOR"]);
    header.push(if round_trips { "OVER BARE" } else { "LOST" });
    let numbers: Vec<&str> = header.iter().copied().filter(|title| *title != "WAIT").collect();
    let rows = cells.iter().map(|cell| {
        let mut row = vec![cell["size_bytes"].to_string(), plain(&cell["wait"])];
        let found = cell["percentiles"].as_array().into_iter().flatten();
        row.extend(found.map(|it| optional(&it["time_ns"], time)));
        row.push(optional(&cell["max_ns"], time));
        row.push(optional(&cell["cpu_share"], share));
        row.push(if round_trips {
            optional(&cell["bare_ratio"], number)
        } else {
            cell["lost"].to_string()
        });
        row
    });
    output::table(&header, &numbers, rows)
}

fn load(run: &Value) -> String {
    let kind = if run["broadcast"] == true { "each get all" } else { "share the messages" };
    let bound = run["bound_places"].as_u64().map_or(String::new(), |places| {
        format!("; {places} places, when full {}", plain(&run["when_full"]))
    });
    let mut facts = vec![
        format!(
            "load       {}: {}, {} B, service {}{bound}",
            optional(&run["load"], number),
            plain(&run["arrival"]),
            run["size_bytes"],
            plain(&run["service"]),
        ),
        format!(
            "consumers  {} that {kind}, wait {}, work {}; processor {} of each, producer {}",
            run["consumers"],
            plain(&run["wait"]),
            plain(&run["work"]),
            optional(&run["cpu_share"], share),
            optional(&run["producer_cpu_share"], share),
        ),
        format!(
            "rate       {} a second asked for, {} achieved; the generator was late by {}, {} at most",
            optional(&run["target_rate_per_s"], number),
            optional(&run["achieved_rate_per_s"], number),
            optional(&run["generator_late_mean_ns"], time),
            optional(&run["generator_late_max_ns"], time),
        ),
        format!(
            "messages   {} sent, {} received, {} lost ({} refused), {} duplicated, {} out of order",
            run["sent"],
            run["received"],
            run["lost"],
            run["refused"],
            run["duplicated"],
            run["out_of_order"],
        ),
    ];
    facts.extend(beside(run));
    if let Some(runs) = runs(run) {
        facts.push(format!(
            "runs       {runs}; figures, their ratios and waits beside them are the means of all, and +- \
             is by all; the rest is of the one of seed {}, whose mean wait is in the middle",
            run["run_seed"]
        ));
    }
    let mut parts = vec![facts.join("\n"), figures(run)];
    parts.extend(percentiles(run));
    let each = run["each"].as_array().filter(|each| !each.is_empty());
    parts.extend(each.map(|each| consumers(each)));
    parts.join("\n\n")
}

/// How many runs of a load its intervals are by, if they are.
pub fn runs(load: &Value) -> Option<usize> {
    load["runs"].as_array().map(Vec::len).filter(|_| load["interval_by"] == "runs")
}

/// What the figures stand beside, and are checked by.
fn beside(run: &Value) -> Vec<String> {
    let mut facts = Vec::new();
    if run["broadcast"] == true {
        facts.push(
            "figures    of the consumer whose work takes longest on average, of several the first; \
             all are below"
                .into(),
        );
    }
    facts.push(match run["theory_model"].as_str() {
        Some(model) => {
            let basis = plain(&run["theory_basis"]);
            format!("theory     {model}, {basis} ({})", plain(&run["theory_source"]))
        }
        None => "theory     none: the ring couples the consumers, see the replay".into(),
    });
    let little = optional(&run["little_ratio"], number);
    facts.push(format!("checked    L by events over L by Little's law: {little}"));
    let replay = optional(&run["replay_wait_mean_ns"], time);
    let over = optional(&run["wait_mean_replay_ratio"], number);
    facts.push(format!(
        "replayed   the same chance without a machine waits {replay}, of which the measured wait is {over} \
         times; for the rate and the overrun of work that came about theory says {}",
        optional(&run["theory_of_measured_wait_mean_ns"], marked(run, "wait_mean_ns", time))
    ));
    facts
}

fn figures(run: &Value) -> String {
    let rows = FIGURES.into_iter().map(|(key, title, show)| {
        vec![
            title.to_owned(),
            optional(&run[key], show),
            optional(&run[half_width_of(key)], show),
            predicted(run, key, show),
            optional(&run[ratio_of(key)], number),
        ]
    });
    let header = ["", "MEASURED", "+-", "THEORY", "RATIO"];
    output::table(&header, &header[1..], rows)
}

/// None if there were too few messages for any.
fn percentiles(run: &Value) -> Option<String> {
    let rows: Vec<Vec<String>> = run["percentiles"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| !row["wait_ns"].is_null())
        .map(|row| {
            let mut cells = vec![format!("{} %", row["percentile"].as_f64().unwrap_or(0.0))];
            let names = ["wait_ns", "theory_wait_ns", "sojourn_ns", "theory_sojourn_ns"];
            cells.extend(names.map(|name| optional(&row[name], time)));
            cells
        })
        .collect();
    let header = ["PERCENTILE", "WAIT", "THEORY", "SOJOURN", "THEORY"];
    (!rows.is_empty()).then(|| output::table(&header, &header, rows))
}

fn consumers(each: &[Value]) -> String {
    let header = [
        "CONSUMER",
        "SERVICE",
        "RECEIVED",
        "UTILISATION",
        "W",
        "THEORY",
        "WQ",
        "THEORY",
        "RATIO",
        "OVER REPLAY",
    ];
    let rows = each.iter().enumerate().map(|(consumer, it)| {
        vec![
            consumer.to_string(),
            plain(&it["service"]),
            it["received"].to_string(),
            optional(&it["utilisation"], share),
            optional(&it["sojourn_mean_ns"], time),
            predicted(it, "sojourn_mean_ns", time),
            optional(&it["wait_mean_ns"], time),
            predicted(it, "wait_mean_ns", time),
            optional(&it["wait_mean_ratio"], number),
            optional(&it["wait_mean_replay_ratio"], number),
        ]
    });
    output::table(&header, &header[2..], rows)
}

fn sweep(points: &[Value]) -> String {
    let header = [
        "LOAD",
        "RATE",
        "ACHIEVED",
        "LOST",
        "UTILISATION",
        "WQ",
        "+-",
        "THEORY",
        "RATIO",
        "REPLAY",
        "OVER REPLAY",
        "W 99 %",
        "THEORY",
    ];
    let rows = points.iter().map(|point| {
        let mut rows = point["percentiles"].as_array().into_iter().flatten();
        let p99 = rows.find(|row| row["percentile"] == 99.0).unwrap_or(&Value::Null);
        vec![
            optional(&point["load"], number),
            optional(&point["target_rate_per_s"], number),
            optional(&point["achieved_rate_per_s"], number),
            point["lost"].to_string(),
            optional(&point["utilisation"], share),
            optional(&point["wait_mean_ns"], time),
            optional(&point["wait_mean_half_width_ns"], time),
            predicted(point, "wait_mean_ns", time),
            optional(&point["wait_mean_ratio"], number),
            optional(&point["replay_wait_mean_ns"], time),
            optional(&point["wait_mean_replay_ratio"], number),
            optional(&p99["sojourn_ns"], time),
            optional(&p99["theory_sojourn_ns"], time),
        ]
    });
    let first = &points[0];
    let model = first["theory_model"].as_str().unwrap_or("no closed form");
    let is_approximate = points.iter().any(|point| approximates(point, "wait_mean_ns"));
    let approximately = if is_approximate { ", approximately (~)" } else { "" };
    let table = output::table(&header, &header, rows);
    let runs = runs(first).map_or(String::new(), |runs| {
        format!(
            "; figures, ratios and replays are the means of {runs} runs, +- by all, the rest of the one in \
             the middle"
        )
    });
    format!(
        "{} of {} for {}, beside {model}{approximately}; replay is the same chance without a machine{runs}\n{table}",
        plain(&first["arrival"]),
        plain(&first["service"]),
        output::count(first["consumers"].as_u64().unwrap_or(1), "consumer"),
    )
}

fn warnings(run: &Value) -> Option<String> {
    let lines = list(run, "warnings")?.iter().map(|warning| {
        format!("careful    {}\n           {}", plain(&warning["what"]), plain(&warning["remedy"]))
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// What to try next.
fn next(run: &Value) -> Option<String> {
    const LOAD: &str = "ringway bench load --load 0.8 --service exp:20us";
    Some(match run["kind"].as_str()? {
        "throughput" => "ringway bench latency".into(),
        "fanout" => "ringway bench load --broadcast --consumers 2 --service exp:50us".into(),
        "load" if run["broadcast"] == true => {
            let rate = number(run["target_rate_per_s"].as_f64()?);
            format!(
                "ringway model --rate {rate} {}: what simulation says of it",
                workload(run, For::Model)
            )
        }
        // Without work there is no load that could grow.
        "latency" => LOAD.into(),
        "load" if run["service"] == "none" => LOAD.into(),
        "load" => format!(
            "ringway bench sweep {}, or ringway model --load {} {} --simulate",
            workload(run, For::Bench),
            number(run["load"].as_f64()?),
            workload(run, For::Model)
        ),
        "sweep" => format!(
            "ringway bench sweep {} --report sweep.html",
            workload(run["points"].get(0)?, For::Bench)
        ),
        _ => "ringway bench load --load 0.8 -d 30s, or ringway doctor".into(),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum For {
    Bench,
    Model,
}

/// The options that ask for the messages and the servers of a load once more, but for the rate.
fn workload(load: &Value, command: For) -> String {
    let mut options = Vec::new();
    let mut give = |name: &str, value: &str| options.push(format!("--{name} {value}"));
    if let Some(arrival) = load["arrival"].as_str().filter(|it| *it != "poisson") {
        give("arrival", arrival);
    }
    let is_broadcast = load["broadcast"] == true;
    let consumers = load["consumers"].as_u64().filter(|count| *count > 1);
    let services = load["service"].as_str().unwrap_or("exp:20us").split(' ');
    // A model has a consumer for each service.
    if let Some(each) = list(load, "each").filter(|_| command == For::Model) {
        each.iter().filter_map(|it| it["service"].as_str()).for_each(|it| give("service", it));
    } else {
        let is_one_for_all = services.clone().count() == 1;
        services.for_each(|service| give("service", service));
        if let Some(count) = consumers.filter(|_| is_one_for_all) {
            let name = if command == For::Model { "servers" } else { "consumers" };
            give(name, &count.to_string());
        }
    }
    if let Some(places) = load["bound_places"].as_u64() {
        give("bound", &places.to_string());
        if load["when_full"] == "wait" && !is_broadcast {
            give("when-full", "wait");
        }
    }
    if is_broadcast {
        options.push("--broadcast".into());
    }
    options.join(" ")
}

/// Whether theory has no more than an approximation of a figure of a load.
pub fn approximates(load: &Value, figure: &str) -> bool {
    let names = load["theory_approximate"].as_array();
    names.is_some_and(|names| names.iter().any(|name| name == figure))
}

/// What theory says of a figure, marked if that is an approximation.
pub fn predicted(load: &Value, figure: &str, show: Show) -> String {
    optional(&load[format!("theory_{figure}")], marked(load, figure, show))
}

fn marked(load: &Value, figure: &str, show: Show) -> impl Fn(f64) -> String {
    let mark = if approximates(load, figure) { "~" } else { "" };
    move |number| format!("{mark}{}", show(number))
}

fn plain(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn optional(value: &Value, show: impl Fn(f64) -> String) -> String {
    value.as_f64().map_or("-".into(), show)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_to_try_next_is_about_the_same_load() {
        let four = json!({ "kind": "load", "load": 1.2, "arrival": "onoff:1ms,9ms", "consumers": 4,
            "service": "fixed:50us", "bound_places": 8, "when_full": "wait", "each": [] });
        let words = "--arrival onoff:1ms,9ms --service fixed:50us --";
        assert_eq!(
            next(&four).unwrap(),
            format!(
                "ringway bench sweep {words}consumers 4 --bound 8 --when-full wait, or ringway model \
                 --load 1.2 {words}servers 4 --bound 8 --when-full wait --simulate"
            )
        );
        let sweep = json!({ "kind": "sweep", "points": [{ "service": "fixed:50us" }] });
        assert_eq!(
            next(&sweep).unwrap(),
            "ringway bench sweep --service fixed:50us --report sweep.html"
        );
        let none = json!({ "kind": "load", "load": 0.0, "service": "none" });
        assert_eq!(next(&none), next(&json!({ "kind": "latency" })), "it has no load to sweep");
        let all = json!({ "kind": "load", "broadcast": true, "consumers": 2, "service": "exp:50us",
            "target_rate_per_s": 16e3, "each": [{ "service": "exp:50us" }, { "service": "exp:50us" }] });
        assert_eq!(
            next(&all).unwrap(),
            "ringway model --rate 16000 --service exp:50us --service exp:50us --broadcast: what \
             simulation says of it"
        );
    }

    #[test]
    fn what_theory_approximates_is_marked_wherever_it_stands() {
        let figures = |approximate: Value| {
            json!({ "kind": "sweep", "load": 0.8, "theory_model": "E4/D/1", "wait_mean_ns": 80e3,
                "theory_wait_mean_ns": 50e3, "theory_of_measured_wait_mean_ns": 60e3,
                "theory_approximate": approximate })
        };
        let (exact, near) = (figures(json!([])), figures(json!(["wait_mean_ns"])));
        let of = |load: &Value| {
            let mut whole = load.clone();
            whole["sent"] = json!(1);
            let of_points = run(&json!({ "points": [load] }));
            [of_points, run(&whole), run(&json!({ "sent": 1, "each": [load] }))]
        };
        assert!(of(&exact).iter().all(|text| !text.contains('~')), "{:?}", of(&exact));
        let [points, whole, each] = of(&near);
        assert!(points.contains("beside E4/D/1, approximately (~);"), "{points}");
        assert!(points.contains(" ~50 us") && each.contains(" ~50 us"), "{points}\n{each}");
        assert!(whole.contains(" ~50 us") && whole.contains("theory says ~60 us"), "{whole}");
    }
}
