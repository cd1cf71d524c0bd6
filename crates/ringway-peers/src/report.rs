//! What came out: tables for people, JSON for programs (`schema/peers.schema.json`).

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::SystemTime;

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde::Serialize;

use crate::cells::Cell;
use crate::runner::Setting;
use crate::transport::Kind;

/// Of the JSON. A new name keeps it, a changed or a missing one raises it.
const SCHEMA_VERSION: u32 = 1;

/// All that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) schema_version: u32,
    pub(crate) kind: &'static str,
    pub(crate) program: String,
    pub(crate) command: String,
    pub(crate) date: String,
    pub(crate) commit: Option<String>,
    pub(crate) quick: bool,
    /// About how much the rings held.
    pub(crate) ring_bytes: usize,
    pub(crate) machine: Machine,
    /// Of each system: its package's, or what it is part of.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) checks: Vec<Check>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: Option<String>,
    pub(crate) processors: usize,
    pub(crate) kernel: Option<String>,
    /// Processes that wanted a processor, on average over a minute, before and after.
    pub(crate) load_before: Option<f64>,
    pub(crate) load_after: Option<f64>,
}

/// What filling, refusing and draining found.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) system: String,
    pub(crate) size_bytes: usize,
    /// How many messages it took that nobody received.
    pub(crate) filled: u64,
    pub(crate) refused: bool,
}

/// A system that did not take part.
#[derive(Debug, Serialize)]
pub(crate) struct Missing {
    pub(crate) system: String,
    pub(crate) why: String,
}

/// Something that a system that took part did not do.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) system: String,
    pub(crate) measurement: String,
    pub(crate) size_bytes: usize,
    pub(crate) consumers: usize,
    pub(crate) why: String,
}

impl Outcome {
    /// Nothing measured yet, by this program, here and now.
    pub(crate) fn new(quick: bool, setting: &Setting) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "peers",
            program: format!("ringway-peers {}", env!("CARGO_PKG_VERSION")),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: commit(),
            quick,
            ring_bytes: setting.ring_bytes,
            machine: Machine {
                processor: processor(),
                processors: setting.processors.len(),
                kernel: read("/proc/sys/kernel/osrelease"),
                load_before: load(),
                load_after: None,
            },
            versions: BTreeMap::new(),
            checks: Vec::new(),
            cells: Vec::new(),
            missing: Vec::new(),
            failures: Vec::new(),
        }
    }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

pub(crate) fn load() -> Option<f64> {
    read("/proc/loadavg")?.split(' ').next()?.parse().ok()
}

/// The processor's name, with the numbers that tell apart what a host calls the same.
fn processor() -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let value = |key: &str| {
        let line = text.lines().find(|line| line.split('\t').next() == Some(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = value("model name")?;
    match (value("cpu family"), value("model")) {
        (Some(family), Some(model)) => Some(format!("{name}, family {family} model {model}")),
        _ => Some(name),
    }
}

fn commit() -> Option<String> {
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(git.stdout).ok()?.trim().to_owned();
    (git.status.success() && !commit.is_empty()).then_some(commit)
}

/// The version of a package that this program was built with.
pub(crate) fn version(package: &str) -> Option<&'static str> {
    let lock = include_str!("../../../Cargo.lock");
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(after.split_once('"')?.0)
}

/// Nanoseconds, percent, a rate or a count: by the metric's name.
fn shown(metric: &str, value: f64) -> String {
    if metric.ends_with("_per_s") {
        let millions = value / 1e6;
        return if millions >= 100.0 { format!("{millions:.0}") } else { digits(millions) };
    }
    if metric.ends_with("_ns") {
        return match value {
            _ if value < 10_000.0 => format!("{value:.0} ns"),
            _ if value < 10_000_000.0 => format!("{:.0} us", value / 1e3),
            _ => format!("{:.0} ms", value / 1e6),
        };
    }
    if metric.ends_with("_bytes") {
        return format!("{:.0} KiB", value / 1024.0);
    }
    digits(value)
}

/// Two or three digits that mean something.
fn digits(value: f64) -> String {
    match value {
        _ if value >= 10.0 => format!("{value:.1}"),
        _ if value >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn unit(metric: &str) -> &'static str {
    match metric {
        _ if metric.ends_with("_per_s") => ", million a second",
        _ if metric.ends_with("_percent") => ", % of a processor",
        _ => "",
    }
}

/// A table for each figure, number of consumers and class: a line for each system, a column for
/// each size.
pub(crate) fn tables(cells: &[Cell]) -> String {
    let mut groups: Vec<(&str, usize, Option<&str>)> = Vec::new();
    for cell in cells {
        let group = (cell.metric, cell.consumers, cell.class);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.into_iter().map(|group| table(cells, group)).collect()
}

fn table(cells: &[Cell], group: (&str, usize, Option<&str>)) -> String {
    let (metric, consumers, class) = group;
    let of_group: Vec<&Cell> =
        cells.iter().filter(|cell| (cell.metric, cell.consumers, cell.class) == group).collect();
    let mut sizes: Vec<usize> = of_group.iter().map(|cell| cell.size_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut systems: Vec<(&str, Kind)> = Vec::new();
    for cell in &of_group {
        if !systems.contains(&(&cell.system, cell.kind)) {
            systems.push((&cell.system, cell.kind));
        }
    }
    let header = ["system".to_owned(), "kind".to_owned()];
    let header = header.into_iter().chain(sizes.iter().map(|size| size_name(*size)));
    let (of_group, sizes) = (&of_group, &sizes);
    let rows = systems.into_iter().map(|(system, kind)| {
        let figures = sizes.iter().map(move |size| {
            let cell = of_group.iter().find(|it| it.size_bytes == *size && it.system == system);
            cell.map_or_else(
                || "-".to_owned(),
                |cell| figure(cell.metric, [cell.median, cell.min, cell.max]),
            )
        });
        [system.to_owned(), format!("{kind:?}").to_lowercase()].into_iter().chain(figures)
    });
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    for index in 0..2 + sizes.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if index >= 2 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let class = class.map_or_else(String::new, |class| format!(", {class}"));
    let receivers = if consumers == 1 { "" } else { ", 2 consumers" };
    format!("\n{metric}{}{receivers}{class}\n{}\n", unit(metric), table.trim_fmt())
}

/// The median, and the least and the greatest if they look different.
pub(crate) fn figure(metric: &str, spread: [f64; 3]) -> String {
    let [median, min, max] = spread.map(|value| shown(metric, value));
    match (min.split_once(' '), max.split_once(' ')) {
        _ if min == max => median,
        (Some((least, unit)), Some((_, same))) if unit == same => {
            format!("{median} ({least}-{max})")
        }
        _ => format!("{median} ({min}-{max})"),
    }
}

pub(crate) fn size_name(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::{Measurement, cells, measurements};
    use crate::job::Report;
    use crate::{schema, systems};

    fn some_cells() -> Vec<Cell> {
        let known = systems::find("ringway").unwrap();
        let ceiling = systems::find("ceiling").unwrap();
        let report = Report {
            brackets_ns: Some([100.0, 101.0]),
            p50_ns: Some(130.0),
            messages_per_s: Some(2.5e8),
            missed: Some(3),
            ..Report::default()
        };
        let of = |facts, measurement: &Measurement| {
            cells(facts, measurement, &measurement.order, &[report.clone(), report.clone()])
        };
        measurements(false)
            .iter()
            .flat_map(|it| of(&known.facts, it).into_iter().chain(of(&ceiling.facts, it)))
            .collect()
    }

    #[test]
    fn the_json_is_as_the_schema_says() {
        let mut outcome =
            Outcome::new(true, &Setting { processors: vec![0, 1], ring_bytes: 4 << 20 });
        outcome.cells = some_cells();
        outcome.versions.insert("ringway".into(), version("ringway").unwrap().into());
        outcome.checks.push(Check {
            system: "pipe".into(),
            size_bytes: 8,
            filled: 8192,
            refused: true,
        });
        let why = String::from("not installed");
        outcome.missing.push(Missing { system: "zmq".into(), why: why.clone() });
        outcome.failures.push(Failure {
            system: "pipe".into(),
            measurement: "stream".into(),
            size_bytes: 8,
            consumers: 1,
            why,
        });
        let schema = include_str!("../schema/peers.schema.json");
        let schema = serde_json::from_str(schema).unwrap();
        schema::assert_valid(&schema, &serde_json::to_value(&outcome).unwrap());
    }

    #[test]
    fn tables_have_a_line_for_each_system() {
        let text = tables(&some_cells());
        assert!(text.contains("round_trip_p50_ns, near\nsystem   kind"), "{text}");
        assert!(text.contains("ringway  reliable  130 ns"), "{text}");
        assert!(text.contains("ceiling  lossy"), "{text}");
        assert!(text.contains("stream_messages_per_s, million a second, 2 consumers, near"));
    }

    #[test]
    fn the_lock_file_tells_versions() {
        assert_eq!(version("ringway"), Some("0.1.0"));
        assert_eq!(version("no-such-package"), None);
    }
}
