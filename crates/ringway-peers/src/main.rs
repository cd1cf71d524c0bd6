//! ringway and its peers, measured side by side: the same work for all, in separate pinned
//! processes, interleaved, each round between two round trips of a bare line.

mod cells;
mod clock;
mod control;
mod erased;
mod interrupt;
mod job;
mod markdown;
mod part;
mod report;
mod runner;
#[cfg(test)]
#[path = "../../../tests/support/schema.rs"]
mod schema;
mod systems;
mod transport;
mod work;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use clap::Parser;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use cells::{Measurement, measurements};
use job::Job;
use report::{Check, Failure, Missing, Outcome};
use runner::Setting;

use systems::Known;
use transport::{Kind, RING_BYTES_MIN};

/// Measures ringway and its peers side by side: round trips, streams, wake-ups, memory, crashes.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Fewer rounds and sizes: a first look in a minute or two
    #[arg(long)]
    quick: bool,
    /// Writes everything to this file as well, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these systems
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    only: Vec<String>,
    /// Only measurements whose title contains this, such as 'round trip'
    #[arg(long, value_name = "TEXT")]
    measure: Option<String>,
    /// About how much the rings hold: a power of two from 4 MiB, which fits the caches, to 1 GiB
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = ring_bytes)]
    ring: usize,
    /// Tells which systems there are and which are missing, and measures nothing
    #[arg(long)]
    list: bool,
    /// Prints tables in Markdown of what earlier runs wrote by --json, and measures nothing
    #[arg(long, value_name = "FILE,..", value_delimiter = ',', conflicts_with_all = ["quick", "json", "measure", "ring", "list"])]
    markdown: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match (arguments.next().as_deref(), arguments.next()) {
        (Some(runner::PART), Some(job)) => be_part(&job),
        #[cfg(feature = "aeron")]
        (Some(systems::aeron::DRIVER), Some(directory)) => systems::aeron::drive(&directory),
        _ => run(&Arguments::parse()),
    };
    systems::end();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn be_part(job: &str) -> Result<()> {
    let job: Job = serde_json::from_str(job).context("this is for the program's own processes")?;
    let known = systems::find(&job.system)?;
    part::play(&job, known.run)
}

fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.markdown.is_empty() {
        let tables = markdown::tables(&arguments.markdown, &arguments.only)?;
        return Ok(io::stdout().write_all(tables.as_bytes())?);
    }
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; its figures mean nothing. Use --release.");
    }
    let setting = Setting { processors: processors()?, ring_bytes: arguments.ring };
    let mut outcome = Outcome::new(arguments.quick, &setting);
    let systems = chosen(&arguments.only, &setting, &mut outcome)?;
    for system in &systems {
        let package = system.facts.package.and_then(report::version);
        let version = package.map_or_else(|| "the kernel's or our own".to_owned(), str::to_owned);
        outcome.versions.insert(system.facts.name.to_owned(), version);
    }
    for Missing { system, why } in &outcome.missing {
        println!("missing: {system}: {why}");
    }
    if arguments.list {
        for (system, version) in &outcome.versions {
            println!("{system}: {version}");
        }
        return Ok(());
    }
    ensure!(
        setting.processors.len() >= 2,
        "two processors are needed, and this process may use one"
    );
    let measurements = wanted(arguments)?;
    if let Some(path) = &arguments.json {
        // Now, and not when all has been measured: what is there stays until then.
        let file = File::options().create(true).append(true).open(path);
        file.with_context(|| format!("cannot write {}", path.display()))?;
    }
    interrupt::catch()?;
    check(&systems, &setting, &mut outcome)?;
    for measurement in &measurements {
        measure(measurement, &systems, &setting, &mut outcome)?;
    }
    outcome.machine.load_after = report::load();
    println!("{}", report::tables(&outcome.cells));
    for Failure { system, measurement, size_bytes, why, .. } in &outcome.failures {
        println!("failed: {system}: {measurement}, {size_bytes} B: {why}");
    }
    if let Some(path) = &arguments.json {
        let mut text = serde_json::to_string_pretty(&outcome)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failures = outcome.failures.len();
    ensure!(failures == 0, "{failures} of the checks and measurements failed, as said above");
    Ok(())
}

/// The measurements that were asked for, one at least.
fn wanted(arguments: &Arguments) -> Result<Vec<Measurement>> {
    let mut measurements = measurements(arguments.quick);
    let Some(text) = &arguments.measure else { return Ok(measurements) };
    let mut titles: Vec<_> = measurements.iter().map(|it| it.title).collect();
    measurements.retain(|it| it.title.contains(text.as_str()));
    if measurements.is_empty() {
        titles.dedup();
        bail!("no measurement's title contains '{text}'; there are: {}", titles.join("; "));
    }
    Ok(measurements)
}

fn ring_bytes(text: &str) -> Result<usize, String> {
    const MAX: usize = 1 << 30;
    let bytes = text.parse::<ByteSize>().map(|size| usize::try_from(size.as_u64()));
    match bytes {
        Ok(Ok(bytes)) if bytes.is_power_of_two() && (RING_BYTES_MIN..=MAX).contains(&bytes) => {
            Ok(bytes)
        }
        _ => Err("it is a power of two from 4MiB to 1GiB".to_owned()),
    }
}

/// The processors that this process may use.
fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|index| set.is_set(*index) == Ok(true)).collect())
}

/// The systems that take part; the others are noted as missing.
fn chosen(only: &[String], setting: &Setting, outcome: &mut Outcome) -> Result<Vec<Known>> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
    let absent = systems::absent();
    for name in only {
        if !absent.iter().any(|it| it.name == name) {
            systems::find(name)?;
        }
    }
    let missing = absent.into_iter().filter(|it| wanted(it.name));
    outcome
        .missing
        .extend(missing.map(|it| Missing { system: it.name.to_owned(), why: it.why.to_owned() }));
    let mut chosen = Vec::new();
    for known in systems::all().into_iter().filter(|it| wanted(it.facts.name)) {
        match (known.missing)(setting.ring_bytes) {
            None => chosen.push(known),
            Some(why) => outcome.missing.push(Missing { system: known.facts.name.to_owned(), why }),
        }
    }
    Ok(chosen)
}

/// Fills, drains and fills again every system at every size.
fn check(systems: &[Known], setting: &Setting, outcome: &mut Outcome) -> Result<()> {
    for system in systems.iter().filter(|system| system.facts.kind != Kind::Bare) {
        for size in systems::SIZES.into_iter().filter(|size| *size <= system.facts.size_max) {
            let name = system.facts.name.to_owned();
            eprintln!("checking {name}, {size} B");
            let report = runner::run(system, &cells::check_order(size), setting);
            interrupt::check()?;
            match report {
                Ok(report) => outcome.checks.push(Check {
                    system: name,
                    size_bytes: size,
                    filled: report.filled.unwrap_or(0),
                    refused: report.refused.unwrap_or(false),
                }),
                Err(error) => outcome.failures.push(Failure {
                    system: name,
                    measurement: "check".to_owned(),
                    size_bytes: size,
                    consumers: 1,
                    why: format!("{error:#}"),
                }),
            }
        }
    }
    Ok(())
}

/// Runs a measurement: all systems in turn, again and again. Who failed is not asked again.
fn measure(
    measurement: &Measurement,
    systems: &[Known],
    setting: &Setting,
    outcome: &mut Outcome,
) -> Result<()> {
    let failed_check = |name: &str, size: usize| {
        let mut failures = outcome.failures.iter();
        failures.any(|it| it.measurement == "check" && it.system == name && it.size_bytes == size)
    };
    let mut runs: Vec<_> = systems
        .iter()
        .filter_map(|system| Some((system, measurement.order_for(&system.facts)?)))
        .filter(|(system, order)| !failed_check(system.facts.name, order.size))
        .map(|(system, order)| (system, order, Vec::new(), None))
        .collect();
    eprintln!("{}, {} B", measurement.title, measurement.order.size);
    for _ in 0..measurement.rounds {
        for (system, order, reports, failure) in &mut runs {
            if failure.is_some() {
                continue;
            }
            let report = runner::run(system, order, setting);
            interrupt::check()?;
            match report {
                Ok(report) => reports.push(report),
                Err(error) => *failure = Some(format!("{error:#}")),
            }
        }
    }
    for (system, order, reports, failure) in runs {
        outcome.cells.extend(cells::cells(&system.facts, measurement, &order, &reports));
        if let Some(why) = failure {
            outcome.failures.push(Failure {
                system: system.facts.name.to_owned(),
                measurement: measurement.title.to_owned(),
                size_bytes: order.size,
                consumers: order.receivers,
                why,
            });
        }
    }
    Ok(())
}
