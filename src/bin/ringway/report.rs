//! `ringway report`: runs as one page of HTML that needs nothing from anywhere.

mod charts;
mod drawing;
mod page;
mod peers;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bench::args::Report;
use crate::bench::document::SCHEMA_VERSION;
use crate::failure::{Ending, Failure};
use crate::output::{self, Console};

pub fn run(report: &Report, console: Console) -> Result<Ending, Failure> {
    check_inputs(&report.runs)?;
    let is_page =
        |run: &&PathBuf| !output::is_standard(run) && output::is_same_file(run, &report.output);
    if let Some(run) = report.runs.iter().find(is_page) {
        return Err(Failure::Usage(format!(
            "{} is a run, which the page would take the place of: give another file with -o",
            run.display()
        )));
    }
    let runs = report.runs.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    if output::is_standard(&report.output) {
        output::print(page::of(&runs).trim_end())?;
        return Ok(Ending::Done);
    }
    write(&report.output, &runs)?;
    console.note(format_args!("wrote {}", report.output.display()));
    Ok(Ending::Done)
}

/// Writes the page of some runs.
pub fn write(path: &Path, runs: &[Value]) -> Result<(), Failure> {
    let failed = |source| Failure::File { source, path: path.to_owned() };
    fs::write(path, page::of(runs)).map_err(failed)
}

/// The kinds of runs there are.
pub const KINDS: [&str; 7] = ["bench", "throughput", "latency", "load", "sweep", "fanout", "peers"];

/// That not two runs are to come from the standard input.
pub fn check_inputs<'a>(runs: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    if runs.into_iter().filter(|run| output::is_standard(run)).count() > 1 {
        return Err(Failure::Usage("the standard input (-) is one run".into()));
    }
    Ok(())
}

/// Reads a run that `bench --json` has printed.
pub fn read(path: &Path) -> Result<Value, Failure> {
    const SIZE_MAX: u64 = 256 << 20;
    let is_standard = output::is_standard(path);
    let name = if is_standard { Path::new("the standard input") } else { path };
    let unreadable = |source| Failure::Input { source, name: name.display().to_string() };
    let no_run = |what: String| Failure::NoRun { path: name.to_owned(), what };
    let input: Box<dyn Read> = if is_standard {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut text = Vec::new();
    input.take(SIZE_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(no_run("it has more than 256 MiB".into()));
    }
    let run: Value = serde_json::from_slice(&text).map_err(|error| no_run(error.to_string()))?;
    let kind = run.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err(no_run(
            "it is not what 'ringway bench --json' prints, nor 'ringway-peers --json'".into(),
        ));
    }
    match run["schema_version"].as_u64() {
        Some(version) if version == u64::from(SCHEMA_VERSION) => Ok(run),
        Some(version) => Err(no_run(format!(
            "its schema has version {version}, this program knows {SCHEMA_VERSION}: measure again, or \
             use the program that measured it"
        ))),
        None => Err(no_run("it has no schema_version".into())),
    }
}
