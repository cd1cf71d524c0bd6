//! Tables in Markdown of what earlier runs found, for documents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::report::{figure, size_name, unit};
use crate::systems::SIZES;
use crate::transport::{Kind, RING_BYTES_MIN};

/// What the rows of each run but the first are marked with.
const MARKS: [&str; 4] = ["", " †", " ‡", " §"];

/// What a table has rows of, if they were measured.
const FIGURES: [Figure; 9] = [
    Figure { metric: "round_trip_p50_ns", consumers: 1, name: "round trip of {size}" },
    Figure { metric: "round_trip_p999_ns", consumers: 1, name: "round trip of {size}, 99.9 %" },
    Figure { metric: "stream_messages_per_s", consumers: 1, name: "stream of {size}" },
    Figure { metric: "batch_messages_per_s", consumers: 1, name: "in batches of 64, of {size}" },
    Figure { metric: "stream_messages_per_s", consumers: 2, name: "to 2 consumers, of {size}" },
    Figure { metric: "shared_messages_per_s", consumers: 2, name: "shared by 2, of {size}" },
    Figure { metric: "receiver_crash_ns", consumers: 1, name: "a killed receiver's place" },
    Figure { metric: "sender_crash_ns", consumers: 1, name: "a killed sender's place" },
    Figure { metric: "wake_cpu_percent", consumers: 1, name: "woken every 2 ms" },
];

struct Figure {
    metric: &'static str,
    consumers: usize,
    name: &'static str,
}

/// Of the JSON of a run, what tables are made of.
#[derive(Deserialize)]
struct Run {
    /// Those that do not say so had the smallest.
    #[serde(default = "ring_bytes_min")]
    ring_bytes: usize,
    versions: BTreeMap<String, String>,
    cells: Vec<Found>,
}

fn ring_bytes_min() -> usize {
    RING_BYTES_MIN
}

#[derive(Deserialize)]
struct Found {
    system: String,
    kind: Kind,
    metric: String,
    size_bytes: usize,
    consumers: usize,
    median: f64,
    min: f64,
    max: f64,
    class: Option<String>,
}

/// A table of processors that are near each other, and one of such as are far apart. Each row is of one
/// run, the first that has it; the systems are those named, or all that deliver reliably.
pub(crate) fn tables(files: &[PathBuf], only: &[String]) -> Result<String> {
    ensure!(files.len() <= MARKS.len(), "{} runs are more than {}", files.len(), MARKS.len());
    let runs = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    for (file, run) in files.iter().zip(&runs) {
        let (ring, first) = (size_name(run.ring_bytes), size_name(runs[0].ring_bytes));
        let (file, other) = (file.display(), files[0].display());
        ensure!(ring == first, "{file} has rings of {ring}, and {other} of {first}");
    }
    let cells = || runs.iter().flat_map(|run| &run.cells);
    for system in only {
        ensure!(cells().any(|cell| cell.system == *system), "no run has figures of '{system}'");
    }
    let systems = if only.is_empty() { reliable(cells()) } else { only.to_vec() };
    let heads: Vec<_> = systems.iter().map(|system| with_version(&runs, system)).collect();
    let mut text = String::new();
    for class in ["near", "far"] {
        let rows: String = FIGURES
            .iter()
            .flat_map(|figure| SIZES.map(|size| figure.row(&runs, &systems, class, size)))
            .flatten()
            .collect();
        if !rows.is_empty() {
            let line = "|---".repeat(systems.len());
            write!(text, "\n{class}\n\n| | {} |\n|---{line}|\n{rows}", heads.join(" | "))?;
        }
    }
    ensure!(!text.is_empty(), "no run has figures of 'ringway' that a table is made of");
    Ok(text)
}

fn read(file: &Path) -> Result<Run> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what --json has written", file.display()))
}

fn reliable<'a>(cells: impl Iterator<Item = &'a Found>) -> Vec<String> {
    let mut systems = Vec::new();
    for cell in cells {
        if cell.kind == Kind::Reliable && !systems.contains(&cell.system) {
            systems.push(cell.system.clone());
        }
    }
    systems
}

/// Its name, with its package's version if it is of one.
fn with_version(runs: &[Run], system: &str) -> String {
    let version = runs.iter().find_map(|run| run.versions.get(system));
    match version.filter(|version| version.starts_with(|first: char| first.is_ascii_digit())) {
        Some(version) => format!("{system} {version}"),
        None => system.to_owned(),
    }
}

impl Figure {
    /// A row, if any run has ringway's figure.
    fn row(&self, runs: &[Run], systems: &[String], class: &str, size: usize) -> Option<String> {
        let (run, mark, own) = runs
            .iter()
            .zip(MARKS)
            .find_map(|(run, mark)| Some((run, mark, self.of(run, "ringway", class, size)?)))?;
        let name = self.name.replace("{size}", &size_name(size));
        let figures = systems.iter().map(|system| {
            let Some(cell) = self.of(run, system, class, size) else { return String::new() };
            let text = figure(self.metric, [cell.median, cell.min, cell.max]);
            if self.is_ahead(cell, own) { format!("**{text}**") } else { text }
        });
        let figures: Vec<_> = figures.collect();
        Some(format!("| {name}{}{mark} | {} |\n", unit(self.metric), figures.join(" | ")))
    }

    fn of<'a>(&self, run: &'a Run, system: &str, class: &str, size: usize) -> Option<&'a Found> {
        run.cells.iter().find(|cell| {
            let figure = (&*cell.metric, cell.consumers, cell.size_bytes);
            cell.system == system
                && figure == (self.metric, self.consumers, size)
                // What has no class is slow enough to be the same near and far.
                && cell.class.as_deref().unwrap_or("near") == class
        })
    }

    /// Whether somebody who delivers reliably, and to another process, is better.
    fn is_ahead(&self, peer: &Found, own: &Found) -> bool {
        peer.kind == Kind::Reliable
            && if self.metric.ends_with("_per_s") {
                peer.median > own.median
            } else {
                peer.median < own.median
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cell(system: &str, class: Option<&str>, size: usize, median: f64) -> serde_json::Value {
        json!({
            "system": system,
            "kind": if system == "rtrb" { "threads" } else { "reliable" },
            "metric": if class.is_some() { "stream_messages_per_s" } else { "sender_crash_ns" },
            "size_bytes": size,
            "consumers": 1,
            "median": median,
            "min": median,
            "max": median + 1e6,
            "class": class,
        })
    }

    #[test]
    fn a_row_is_of_the_first_run_that_has_it_and_who_is_ahead_is_bold() {
        let one = json!({ "versions": { "shaq": "4.3.0", "pipe": "the kernel's" }, "cells": [
            cell("ringway", Some("near"), 8, 3e8),
            cell("pipe", Some("near"), 8, 2e6),
            cell("rtrb", Some("near"), 8, 4e8),
            cell("shaq", Some("near"), 8, 3.1e8),
            cell("shaq", Some("far"), 64, 1e6),
            cell("ringway", None, 64, 840_000.0),
        ]});
        let other = json!({ "versions": {}, "cells": [
            cell("ringway", Some("near"), 8, 9e9),
            cell("ringway", Some("far"), 64, 7e6),
        ]});
        let directory = std::env::temp_dir().join(format!("peers-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let files: Vec<_> = [one, other]
            .iter()
            .enumerate()
            .map(|(index, run)| {
                let file = directory.join(format!("{index}.json"));
                fs::write(&file, run.to_string()).unwrap();
                file
            })
            .collect();
        let text = tables(&files, &[]).unwrap();
        let some = tables(&files, &["ringway".into(), "rtrb".into()]).unwrap();
        let unknown = tables(&files, &["zmq".into()]).unwrap_err();
        fs::write(&files[1], r#"{ "ring_bytes": 67108864, "versions": {}, "cells": [] }"#).unwrap();
        let mixed = tables(&files, &[]).unwrap_err();
        fs::write(&files[0], r#"{ "versions": {}, "cells": [] }"#).unwrap();
        let empty = tables(&files[..1], &[]).unwrap_err();
        fs::write(&files[0], "{").unwrap();
        let damaged = tables(&files, &[]).unwrap_err();
        fs::remove_dir_all(&directory).unwrap();
        let near = "\nnear\n\n| | ringway | pipe | shaq 4.3.0 |\n|---|---|---|---|\n\
            | stream of 8 B, million a second | 300 (300-301) | 2.00 (2.00-3.00) | **310 (310-311)** |\n\
            | a killed sender's place | 840 us (840-1840 us) |  |  |\n";
        let far = "\nfar\n\n| | ringway | pipe | shaq 4.3.0 |\n|---|---|---|---|\n\
            | stream of 64 B, million a second † | 7.00 (7.00-8.00) |  |  |\n";
        assert_eq!(text, format!("{near}{far}"));
        assert!(some.contains("| 300 (300-301) | 400 (400-401) |\n"), "{some}");
        assert!(empty.to_string().contains("no run has figures of 'ringway'"), "{empty}");
        assert_eq!(unknown.to_string(), "no run has figures of 'zmq'");
        let mixed = mixed.to_string();
        assert!(mixed.contains("1.json has rings of 65536 KiB, and"), "{mixed}");
        assert!(mixed.ends_with("0.json of 4096 KiB"), "{mixed}");
        assert!(format!("{damaged:#}").contains("0.json is not what --json has written"));
    }
}
