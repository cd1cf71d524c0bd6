//! The pictures: what each shows of a run.

use plotters::prelude::*;
use ringway::workload::{Scenario, predict};
use serde_json::Value;

use super::drawing::{
    Axis, Kind, LINES_MAX, Picture, SERIES, Series, decades, lines_with_legend, mesh, picture,
    picture_of_lines, time_mark,
};
use crate::bench;
use crate::model::number;

/// All pictures that a run has the numbers for.
pub fn of(run: &Value) -> Vec<Picture> {
    let mut pictures = Vec::new();
    let points = list(run, "points");
    pictures.extend(hockey_stick(&points));
    pictures.extend(percentiles_of_loads(run, &points));
    pictures.extend(percentiles_of_times(run));
    let mapped = std::iter::once(run).chain(points.iter().copied());
    pictures.extend(mapped.filter_map(heat_map));
    let throughput = list(run, "throughput");
    pictures.extend(by_size(&throughput, "rate_per_s", "Messages a second by size"));
    pictures.extend(by_size(&throughput, "bytes_per_s", "Bytes a second by size"));
    let fanout = list(run, "fanout");
    pictures.extend(by_consumers(if fanout.is_empty() { &throughput } else { &fanout }));
    pictures
}

fn list<'a>(run: &'a Value, name: &str) -> Vec<&'a Value> {
    run.get(name).and_then(Value::as_array).into_iter().flatten().collect()
}

/// Waits by load, beside theory's curve; none without a point.
fn lines_by_load(points: &[&Value]) -> Vec<Series> {
    let Some(first) = points.first() else { return Vec::new() };
    let numbers = |name: &str| -> Vec<(f64, f64)> {
        let of = |point: &&Value| Some((point["load"].as_f64()?, point[name].as_f64()?));
        points.iter().filter_map(of).collect()
    };
    let p99 = |name: &str| -> Vec<(f64, f64)> {
        let of = |point: &&Value| {
            let rows = point["percentiles"].as_array()?;
            let row = rows.iter().find(|row| row["percentile"] == 99.0)?;
            Some((point["load"].as_f64()?, row[name].as_f64()?))
        };
        points.iter().filter_map(of).collect()
    };
    let mut mean = Series::new("mean wait, measured", 0, Kind::Dots, numbers("wait_mean_ns"));
    mean.ranges = points
        .iter()
        .filter_map(|point| {
            let wait = point["wait_mean_ns"].as_f64()?;
            let half_width = point["wait_mean_half_width_ns"].as_f64()?;
            Some((point["load"].as_f64()?, wait - half_width, wait + half_width))
        })
        .collect();
    let model = first["theory_model"].as_str().unwrap_or("theory");
    let is_approximate = points.iter().any(|point| bench::approximates(point, "wait_mean_ns"));
    let approximately = if is_approximate { ", approximately" } else { "" };
    let curve = theory_curve(first);
    let theory = if curve.is_empty() {
        (numbers("theory_wait_mean_ns"), p99("theory_wait_ns"))
    } else {
        let mean = curve.iter().map(|(load, mean, _)| (*load, *mean)).collect();
        (mean, curve.iter().filter_map(|(load, _, p99)| Some((*load, (*p99)?))).collect())
    };
    let all = [
        mean,
        Series::new(format!("mean wait, {model}{approximately}"), 0, Kind::Dashes, theory.0),
        Series::new("99 % wait, measured", 1, Kind::Dots, p99("wait_ns")),
        Series::new(format!("99 % wait, {model}"), 1, Kind::Dashes, theory.1),
        Series::new(
            "mean wait of the same chance without a machine",
            2,
            Kind::LineAndDots,
            numbers("replay_wait_mean_ns"),
        ),
    ];
    all.into_iter().filter(|it| !it.points.is_empty()).collect()
}

fn hockey_stick(points: &[&Value]) -> Option<Picture> {
    let first = points.first()?;
    let all = lines_by_load(points);
    let values = all.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y));
    let most = all.iter().flat_map(|series| series.points.iter().map(|(x, _)| *x));
    let most = most.fold(1.0, f64::max);
    let range = decades(values)?;
    picture_of_lines(
        "Wait by load",
        format!(
            "How long a message waits from its intended time, for {} arrivals and service {}. Bars: \
             95 %. Up to the knee a queue costs little; beyond it everything.{}",
            first["arrival"].as_str().unwrap_or("-"),
            first["service"].as_str().unwrap_or("-"),
            bench::runs(first).map_or(String::new(), |runs| format!(
                " Means are of {runs} runs, percentiles of the one in the middle."
            ))
        ),
        &all,
        |area, look| {
            let x = Axis {
                name: "load: work offered over what the consumers can do",
                mark: &number,
                marks: if look.narrow { 6 } else { 11 },
                range: (0.0, most),
            };
            let x = if look.narrow { Axis { name: "load", ..x } } else { x };
            let y = Axis { name: "wait", mark: &time_mark, marks: 8, range };
            lines_with_legend(area, look, &x, &y, &all)
        },
    )
}

/// Loads with the mean wait and its 99th percentile, by the formula of the point's scenario.
fn theory_curve(point: &Value) -> Vec<(f64, f64, Option<f64>)> {
    let scenario = |load: f64| {
        // A trace is a file that need not be here any more.
        let arrival = point["arrival"].as_str().filter(|text| !text.starts_with("trace:"))?;
        let service: ringway::workload::Service = point["service"].as_str()?.parse().ok()?;
        let servers = if point["broadcast"] == true { 1 } else { point["consumers"].as_u64()? };
        let servers = u32::try_from(servers).ok()?;
        if !point["bound_places"].is_null() {
            return None;
        }
        let rate = service.rate_at_load(load, servers).ok()?;
        Scenario::new(arrival.parse().ok()?, service, rate, servers, None).ok()
    };
    let loads = (4..=97).map(|percent| f64::from(percent) / 100.0);
    loads
        .filter_map(|load| {
            let prediction = predict(&scenario(load)?);
            let mean = prediction.figures?.wait_mean_ns;
            Some((load, mean, prediction.wait_percentile_ns(99.0)))
        })
        .collect()
}

/// Points of a spectrum, on an axis that has as much room for each nine.
fn spectrum(value: &Value) -> Vec<(f64, f64)> {
    let points = value.as_array().into_iter().flatten();
    points
        .filter_map(|point| {
            let beyond = 100.0 - point.get(0)?.as_f64()?;
            (beyond > 0.0).then_some((2.0 - beyond.log10(), point.get(1)?.as_f64()?))
        })
        .collect()
}

fn percentile_mark(nines: f64, unit: &str) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "there are few nines")]
    let whole = nines.round() as i32;
    if (nines - f64::from(whole)).abs() > 0.01 {
        return String::new();
    }
    match whole {
        ..=0 => format!("0{unit}"),
        1 => format!("90{unit}"),
        2 => format!("99{unit}"),
        _ => format!("99.{}{unit}", "9".repeat(whole.unsigned_abs() as usize - 2)),
    }
}

fn percentile_chart(title: &str, caption: &str, name: &str, all: Vec<Series>) -> Option<Picture> {
    let all: Vec<Series> = all.into_iter().filter(|it| !it.points.is_empty()).collect();
    let range = decades(all.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y)))?;
    let most = all.iter().flat_map(|series| series.points.iter().map(|(x, _)| *x));
    let most = most.fold(1.0, f64::max).ceil().clamp(1.0, 6.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 6")]
    let marks = most as usize + 1;
    picture_of_lines(title, caption, &all, |area, look| {
        // Of six marks there is no room for more.
        let unit = if look.narrow { "" } else { " %" };
        let x = Axis {
            name: "percentile of the messages",
            mark: &|nines| percentile_mark(nines, unit),
            marks,
            range: (0.0, most),
        };
        let y = Axis { name, mark: &time_mark, marks: 8, range };
        lines_with_legend(area, look, &x, &y, &all)
    })
}

const SPECTRUM_CAPTION: &str = "Each line ends where fewer than ten messages lie beyond, or those that \
    do came in fewer than ten parts, of which a run has 32. Times count from the intended \
    time of a message: nothing is left out because the sender had to wait.";

fn percentiles_of_loads(run: &Value, points: &[&Value]) -> Option<Picture> {
    if run.get("wait_spectrum").is_some() {
        let theory = |name: &str| {
            let rows = run["percentiles"].as_array().into_iter().flatten();
            let points = rows.filter_map(|row| {
                let beyond = 100.0 - row["percentile"].as_f64()?;
                Some((2.0 - beyond.log10(), row[name].as_f64()?))
            });
            points.collect::<Vec<_>>()
        };
        let model = run["theory_model"].as_str().unwrap_or("theory");
        let all = vec![
            Series::new("wait", 0, Kind::Line, spectrum(&run["wait_spectrum"])),
            Series::new(format!("wait, {model}"), 0, Kind::Dots, theory("theory_wait_ns")),
            Series::new("sojourn", 1, Kind::Line, spectrum(&run["sojourn_spectrum"])),
            Series::new(format!("sojourn, {model}"), 1, Kind::Dots, theory("theory_sojourn_ns")),
        ];
        let caption = format!("{SPECTRUM_CAPTION}{}", whose(run));
        return percentile_chart("Percentiles", &caption, "time", all);
    }
    let wanted = [0.3, 0.5, 0.8, 0.9, 0.95];
    let is_near = |point: &Value, load: f64| {
        point["load"].as_f64().is_some_and(|found| (found - load).abs() < 0.005)
    };
    let chosen = wanted.iter().enumerate().filter_map(|(color, load)| {
        Some((color, load, points.iter().find(|point| is_near(point, *load))?))
    });
    let left_out = points.iter().filter(|point| !wanted.iter().any(|load| is_near(point, *load)));
    let left_out = left_out.map(|point| format!("load {}", point["load"]));
    let left_out: Vec<String> = left_out.collect();
    let all = chosen.map(|(color, load, point)| {
        let points = spectrum(&point["sojourn_spectrum"]);
        Series::new(format!("load {load}"), color, Kind::Line, points)
    });
    let of_middle = points
        .first()
        .and_then(|point| bench::runs(point))
        .map_or("", |_| " Each is of the run whose mean wait is in the middle.");
    percentile_chart(
        "Percentiles of the sojourn by load",
        &but_for(&format!("{SPECTRUM_CAPTION}{of_middle}"), points.len(), &left_out),
        "sojourn",
        all.collect(),
    )
}

/// Which of several runs a picture is of.
fn whose(load: &Value) -> String {
    bench::runs(load).map_or(String::new(), |runs| {
        let seed = &load["run_seed"];
        format!(" Of {runs} runs this is the one of seed {seed}, whose mean wait is in the middle.")
    })
}

/// A caption, with the names of those that it is not of.
fn but_for(caption: &str, all: usize, left_out: &[String]) -> String {
    const NAMED_MAX: usize = 4;
    if left_out.is_empty() {
        return caption.to_owned();
    }
    let names = left_out[..left_out.len().min(NAMED_MAX)].join("; ");
    let more = if left_out.len() > NAMED_MAX { "; and others" } else { "" };
    format!("{caption} Not in this picture, {} of {all}: {names}{more}.", left_out.len())
}

/// Round trips, and one way, by how the ends wait.
fn percentiles_of_times(run: &Value) -> Vec<Picture> {
    let of = |name: &str, title: &str, caption: &str| {
        let cells = list(run, name);
        let name_of = |cell: &Value| {
            format!("{} B, {}", cell["size_bytes"], cell["wait"].as_str().unwrap_or("-"))
        };
        let is_usual = |cell: &&Value| cell["size_bytes"] == 64;
        let has_usual = cells.iter().any(is_usual);
        let (mut shown, others): (Vec<&Value>, Vec<&Value>) =
            cells.iter().partition(|cell| !has_usual || is_usual(cell));
        let rest = shown.split_off(shown.len().min(SERIES.len()));
        let left_out: Vec<String> = rest.into_iter().chain(others).map(name_of).collect();
        let all = shown.iter().enumerate().map(|(color, cell)| {
            Series::new(name_of(cell), color, Kind::Line, spectrum(&cell["spectrum"]))
        });
        let caption = but_for(caption, cells.len(), &left_out);
        percentile_chart(title, &caption, "time", all.collect())
    };
    let round_trips = "A message and its answer between two ends, one at a time. Each line ends where \
        fewer than ten lie beyond, or those that do came in fewer than ten parts, of which a run has 32.";
    let pictures = [
        of("round_trip", "Round trips", round_trips),
        of("one_way", "One way, at random moments", SPECTRUM_CAPTION),
    ];
    pictures.into_iter().flatten().collect()
}

/// When messages took how long.
fn heat_map(run: &Value) -> Option<Picture> {
    let map = run.get("heat_map")?;
    let column_s = map["column_ns"].as_f64()? / 1e9;
    let per_decade = map["rows_per_decade"].as_f64().filter(|it| *it >= 1.0)?;
    let cells: Vec<(f64, f64, f64)> = map["cells"]
        .as_array()?
        .iter()
        .filter_map(|cell| {
            Some((cell.get(0)?.as_f64()?, cell.get(1)?.as_f64()?, cell.get(2)?.as_f64()?))
        })
        .collect();
    let length = |row: f64| 10_f64.powf(row / per_decade);
    // Of both edges: a row that begins where a decade does lies in the next one.
    let edges = cells.iter().flat_map(|(_, row, _)| [length(*row), length(row + 1.0)]);
    let range = decades(edges)?;
    let columns = cells.iter().map(|(column, _, _)| column + 1.0).fold(1.0, f64::max);
    let most = cells.iter().map(|(_, _, count)| *count).fold(1.0, f64::max);
    let load = run["load"].as_f64().map_or("-".into(), number);
    picture(
        format!("Sojourn over time at load {load}"),
        format!(
            "Each field is some messages: the darker, or in the dark the brighter, the more. A stall of \
             the machine is a stripe that falls slowly.{}",
            whose(run)
        ),
        move |area, look| {
            let mut builder = ChartBuilder::on(area);
            builder
                .margin_top(12)
                .margin_right(if look.narrow { 26 } else { 44 })
                .margin_bottom(6)
                .margin_left(2)
                .x_label_area_size(if look.narrow { 52 } else { 58 })
                .y_label_area_size(if look.narrow { 84 } else { 100 });
            let y_range = (range.0..range.1).log_scale();
            let mut chart = builder.build_cartesian_2d(0.0..columns * column_s, y_range)?;
            let seconds = |value: f64| format!("{} s", number(value));
            let x = Axis {
                name: "time since the beginning",
                mark: &seconds,
                marks: if look.narrow { 5 } else { 9 },
                range: (0.0, columns),
            };
            let y = Axis { name: "sojourn", mark: &time_mark, marks: 8, range };
            mesh(&mut chart, look, &x, &y)?;
            let fields = cells.iter().map(|(column, row, count)| {
                // One message is to be seen beside thousands.
                let shade = 0.15 + 0.85 * (count.ln_1p() / most.ln_1p());
                let from = (column * column_s, length(*row).max(range.0));
                let to = ((column + 1.0) * column_s, length(row + 1.0).min(range.1));
                Rectangle::new([from, to], SERIES[0].mix(shade).filled())
            });
            chart.draw_series(fields)?;
            Ok(())
        },
    )
}

/// A line for each kind of stream.
fn lines_by_size(cells: &[&Value], key: &str) -> Vec<Series> {
    type Points = (Vec<(f64, f64)>, Vec<(f64, f64, f64)>);
    let mut kinds: Vec<(String, Points)> = Vec::new();
    for cell in cells {
        let (Some(size), Some(rate)) = (cell["size_bytes"].as_f64(), cell[key].as_f64()) else {
            continue;
        };
        let batch = cell["batch"].as_u64().unwrap_or(1);
        let batch = if batch > 1 { format!(", {batch} at a time") } else { String::new() };
        let consumers = cell["consumers"].as_u64().unwrap_or(1);
        let wait = cell["wait"].as_str().unwrap_or("-");
        let consumers = crate::output::count(consumers, "consumer");
        let name = format!("{consumers}, {wait}{batch}");
        let scale = if key == "bytes_per_s" { size } else { 1.0 };
        let half_width = cell["rate_half_width_per_s"].as_f64().map(|it| it * scale);
        let range = half_width.map(|it| (size.max(1.0).log2(), rate - it, rate + it));
        let place = kinds.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            kinds.push((name, Points::default()));
            kinds.len() - 1
        });
        let (points, ranges) = &mut kinds[place].1;
        points.push((size.max(1.0).log2(), rate));
        ranges.extend(range);
    }
    let lines = kinds.into_iter().enumerate().map(|(color, (name, (points, ranges)))| Series {
        ranges,
        ..Series::new(name, color, Kind::LineAndDots, points)
    });
    lines.collect()
}

fn by_size(cells: &[&Value], key: &str, title: &str) -> Option<Picture> {
    let mut all = lines_by_size(cells, key);
    let count = all.len();
    let rest = all.split_off(count.min(LINES_MAX));
    let left_out: Vec<String> = rest.into_iter().map(|series| series.name).collect();
    let caption =
        "As fast as it goes, the mean of the runs. Bars: 95 %, where there are several runs.";
    let range = decades(all.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y)))?;
    let sizes = all.iter().flat_map(|series| series.points.iter().map(|(x, _)| *x));
    let (least, most) = sizes.fold((f64::INFINITY, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    let (least, most) = (least.floor(), most.ceil().max(least.floor() + 1.0));
    let bytes = key == "bytes_per_s";
    picture_of_lines(title, but_for(caption, count, &left_out), &all, |area, look| {
        let size = |bits: f64| {
            if (bits - bits.round()).abs() > 0.01 {
                return String::new();
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "sizes of messages"
            )]
            let bytes = bits.round().exp2() as u64;
            crate::output::bytes(bytes)
        };
        let rate = |value: f64| if bytes { byte_rate(value) } else { message_rate(value) };
        let x = Axis {
            name: "bytes of a message",
            mark: &size,
            marks: if look.narrow { 4 } else { 8 },
            range: (least, most),
        };
        let name = if bytes { "bytes a second" } else { "messages a second" };
        let y = Axis { name, mark: &rate, marks: 8, range };
        lines_with_legend(area, look, &x, &y, &all)
    })
}

fn message_rate(value: f64) -> String {
    match value {
        _ if value >= 1e9 => format!("{} G", number(value / 1e9)),
        _ if value >= 1e6 => format!("{} M", number(value / 1e6)),
        _ if value >= 1e3 => format!("{} k", number(value / 1e3)),
        _ => number(value),
    }
}

fn byte_rate(value: f64) -> String {
    match value {
        _ if value >= 1e9 => format!("{} GB", number(value / 1e9)),
        _ if value >= 1e6 => format!("{} MB", number(value / 1e6)),
        _ if value >= 1e3 => format!("{} kB", number(value / 1e3)),
        _ => format!("{} B", number(value)),
    }
}

/// What all consumers together receive, of the first kind of cells; none for one number of
/// consumers.
fn by_consumers(cells: &[&Value]) -> Option<Picture> {
    let name_of = |cell: &Value| {
        let batch = cell["batch"].as_u64().unwrap_or(1);
        let batch = if batch > 1 { format!(", {batch} at a time") } else { String::new() };
        let wait = cell["wait"].as_str().unwrap_or("-");
        format!("{} B{batch}, wait {wait}", cell["size_bytes"])
    };
    let kind = name_of(cells.first()?);
    let mut left_out: Vec<String> = Vec::new();
    for name in cells.iter().map(|cell| name_of(cell)) {
        if name != kind && !left_out.contains(&name) {
            left_out.push(name);
        }
    }
    let is_alike = |cell: &&&Value| name_of(cell) == kind;
    let mut points: Vec<(f64, f64, f64)> = cells
        .iter()
        .filter(is_alike)
        .filter_map(|cell| {
            let consumers = cell["consumers"].as_f64()?;
            Some((consumers, cell["delivered_rate_per_s"].as_f64()?, cell["rate_per_s"].as_f64()?))
        })
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (first, last) = (points.first()?, points.last()?);
    if last.0 <= first.0 {
        return None;
    }
    let each = first.1 / first.0.max(1.0);
    let all = vec![
        Series::new(
            "received by all together",
            0,
            Kind::LineAndDots,
            points.iter().map(|(consumers, delivered, _)| (*consumers, *delivered)).collect(),
        ),
        Series::new(
            "if more consumers cost nothing",
            0,
            Kind::Dashes,
            points.iter().map(|(consumers, _, _)| (*consumers, consumers * each)).collect(),
        ),
        Series::new(
            "sent",
            1,
            Kind::LineAndDots,
            points.iter().map(|(consumers, _, sent)| (*consumers, *sent)).collect(),
        ),
    ];
    let range = decades(all.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y)))?;
    let (from, to) = (first.0, last.0.min(first.0 + 1000.0));
    let caption = format!("One producer, each message to every consumer: {kind}.");
    picture_of_lines(
        "Messages a second by consumers",
        but_for(&caption, left_out.len() + 1, &left_out),
        &all,
        |area, look| {
            let whole = |value: f64| {
                if (value - value.round()).abs() > 0.01 { String::new() } else { number(value) }
            };
            let x = Axis { name: "consumers", mark: &whole, marks: 9, range: (from, to) };
            let y = Axis { name: "messages a second", mark: &message_rate, marks: 8, range };
            lines_with_legend(area, look, &x, &y, &all)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A line through cells that differ in more than their consumers would show what is not there.
    #[test]
    fn only_consumers_of_one_kind_of_stream_are_on_a_line() {
        let cell = |consumers: u64, batch: u64, wait: &str| {
            json!({ "size_bytes": 64, "consumers": consumers, "batch": batch, "wait": wait,
                "rate_per_s": 1e6, "delivered_rate_per_s": 2e6 })
        };
        let picture_of = |cells: &[Value]| by_consumers(&cells.iter().collect::<Vec<_>>());
        let dots = |picture: Picture| picture.wide.matches("<circle").count();
        let alike = [cell(1, 1, "spin"), cell(2, 1, "spin")];
        let mixed = [cell(1, 1, "spin"), cell(2, 64, "spin"), cell(2, 1, "park")];
        let all: Vec<Value> = alike.iter().chain(&mixed[1..]).cloned().collect();
        assert_eq!(picture_of(&all).map(dots), picture_of(&alike).map(dots));
        assert!(picture_of(&alike).is_some() && picture_of(&mixed).is_none());
    }

    fn stream(size: u64, consumers: u64, batch: u64, wait: &str) -> Value {
        json!({ "size_bytes": size, "consumers": consumers, "batch": batch, "wait": wait,
            "rate_per_s": 1e6, "rate_half_width_per_s": 2e5 })
    }

    #[test]
    fn lines_of_more_kinds_than_there_are_colours_are_not_alike() {
        let waits = ["spin", "backoff", "park"];
        let of_wait = |wait| [1, 64].map(|batch| [8, 64].map(|size| stream(size, 1, batch, wait)));
        let cells: Vec<Value> = waits.map(of_wait).into_iter().flatten().flatten().collect();
        let cells: Vec<&Value> = cells.iter().collect();
        let lines = lines_by_size(&cells, "rate_per_s");
        assert_eq!(lines.len(), 6);
        for (index, line) in lines.iter().enumerate() {
            let like =
                |it: &Series| (it.color, it.turn, it.kind) == (line.color, line.turn, line.kind);
            assert!(!lines[..index].iter().any(like), "{}", line.name);
        }
        let picture = by_size(&cells, "rate_per_s", "").unwrap();
        // The sixth has two points and an entry of the legend.
        assert_eq!(picture.wide.matches("<polygon").count(), 3, "{}", picture.wide);
        assert!(!picture.caption.contains("Not in"));

        let cells: Vec<Value> = (1..=22).map(|count| stream(64, count, 1, "park")).collect();
        let picture = by_size(&cells.iter().collect::<Vec<_>>(), "rate_per_s", "").unwrap();
        let words = "Not in this picture, 2 of 22: 21 consumers, park; 22 consumers, park.";
        assert!(picture.caption.ends_with(words), "{}", picture.caption);
    }

    #[test]
    fn lines_go_from_left_to_right_in_whatever_order_the_cells_were_asked_for() {
        let ascends = |line: &Series| line.points.is_sorted_by(|one, other| one.0 < other.0);
        let cells = [65536, 8, 1024].map(|size| stream(size, 1, 1, "spin"));
        let lines = lines_by_size(&cells.iter().collect::<Vec<_>>(), "rate_per_s");
        assert!(lines.iter().all(ascends) && lines[0].points.len() == 3, "{:?}", lines[0].points);
        let points = [0.8, 0.3, 0.5].map(|load| {
            json!({ "load": load, "wait_mean_ns": 1e4, "replay_wait_mean_ns": 1e4,
                "arrival": "poisson", "service": "exp:20us", "consumers": 1 })
        });
        let lines = lines_by_load(&points.iter().collect::<Vec<_>>());
        assert!(lines.len() >= 3 && lines.iter().all(ascends));
    }

    #[test]
    fn bars_are_about_the_dots_that_they_are_of() {
        let bar = |line: &Series| (line.points[0].1, line.ranges[0].1, line.ranges[0].2);
        let cell = stream(64, 1, 1, "spin");
        assert_eq!(bar(&lines_by_size(&[&cell], "rate_per_s")[0]), (1e6, 8e5, 1.2e6));
        let run = |wait: f64| json!({ "wait_mean_ns": wait });
        let load = json!({ "load": 0.8, "wait_mean_ns": 40.0, "wait_mean_half_width_ns": 70.0,
            "interval_by": "runs", "runs": [run(30.0), run(40.0), run(95.0)] });
        let sweep = crate::bench::estimate::estimated(&json!({ "points": [load] }));
        assert_eq!(bar(&lines_by_load(&list(&sweep, "points"))[0]), (55.0, -15.0, 125.0));
        let captions = of(&sweep).iter().map(|it| it.caption.clone()).collect::<String>();
        let words = "Means are of 3 runs, percentiles of the one in the middle.";
        assert!(captions.contains(words), "{captions}");
    }

    /// `plotters` draws what is beyond an axis at its end, where it would be taken for another load.
    #[test]
    fn the_axis_of_loads_goes_as_far_as_they_do() {
        let points = [0.5, 20.0].map(|load| {
            json!({ "load": load, "wait_mean_ns": 1e4, "arrival": "poisson", "service": "exp:20us",
                "consumers": 1 })
        });
        let picture = hockey_stick(&points.iter().collect::<Vec<_>>()).unwrap();
        for svg in [picture.wide, picture.narrow] {
            assert!(svg.contains("\n20\n</text>"), "{svg}");
        }
        let odd = json!({ "load": 1e300, "wait_mean_ns": 1e4 });
        assert!(hockey_stick(&[&odd]).is_some());
    }

    /// Eight rows a decade: row 40 is from 100 us on.
    #[test]
    fn a_row_that_begins_with_a_decade_is_as_high_as_the_others() {
        let cells = json!([[0, 39, 5], [0, 40, 9], [1, 39, 5]]);
        let map = json!({ "column_ns": 1_000_000, "rows_per_decade": 8.0, "cells": cells });
        let Picture { wide, narrow, .. } = heat_map(&json!({ "heat_map": map })).unwrap();
        for svg in [wide, narrow] {
            let fields = svg.split("<rect ").skip(1).filter(|it| it.contains("#030303"));
            let heights = fields.map(|field| {
                let height = field.split("height=\"").nth(1).unwrap().split('"').next().unwrap();
                height.parse::<u32>().unwrap()
            });
            let heights: Vec<u32> = heights.collect();
            assert!(heights.len() == 3 && heights.iter().all(|height| *height > 10), "{svg}");
        }
    }

    #[test]
    fn marks_of_percentiles_have_room_in_narrow_windows() {
        let spectrum = vec![(0.0, 1e3), (5.0, 1e6)];
        let all = vec![Series::new("wait", 0, Kind::Line, spectrum)];
        let Picture { wide, narrow, .. } = percentile_chart("", "", "time", all).unwrap();
        let ends = |svg: &str, mark: &str| svg.contains(&format!("\n{mark}\n</text>"));
        assert!(ends(&wide, "99.999 %") && ends(&narrow, "99.999"), "{narrow}");
    }

    #[test]
    fn what_is_not_in_a_picture_is_named_below_it() {
        let cells = [8, 16, 32].map(|size| {
            ["spin", "backoff", "park"].map(|wait| {
                json!({ "size_bytes": size, "wait": wait, "spectrum": [[0.0, 500], [90.0, 900]] })
            })
        });
        let caption_of = |cells: &[Value]| {
            percentiles_of_times(&json!({ "round_trip": cells }))[0].caption.clone()
        };
        let words =
            "Not in this picture, 4 of 9: 16 B, park; 32 B, spin; 32 B, backoff; 32 B, park.";
        let caption = caption_of(&cells.concat());
        assert!(caption.ends_with(words), "{caption}");
        assert!(!caption_of(&cells[0]).contains("Not in"));
        let two = [stream(64, 1, 1, "spin"), stream(8, 2, 1, "spin"), stream(64, 2, 1, "spin")];
        let two = two.map(|mut cell| {
            cell["delivered_rate_per_s"] = json!(2e6);
            cell
        });
        let caption = by_consumers(&two.iter().collect::<Vec<_>>()).unwrap().caption;
        assert!(caption.ends_with("Not in this picture, 1 of 2: 8 B, wait spin."), "{caption}");
    }
}
