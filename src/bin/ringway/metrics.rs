//! `ringway metrics`: what queues tell, for Prometheus and what reads its text.

mod families;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use ringway::{Error, Info};

use crate::args::Metrics;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::list;
use crate::output::{self, Console};

pub fn run(metrics: &Metrics, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    if let (Some(path), Some(interval)) = (&metrics.output, metrics.every) {
        return keep_writing(path, interval, &metrics.names, owner, console);
    }
    let Survey { infos, failures } = Survey::of(&metrics.names, owner)?;
    let text = families::text(infos, failures.len())?;
    match &metrics.output {
        Some(path) => replace(path, &text)?,
        None => output::print(text.trim_end())?,
    }
    if metrics.names.is_empty() {
        // What cannot be examined matters to those who named it.
        for failure in &failures {
            console.note(failure);
        }
        return Ok(Ending::Done);
    }
    output::end_of_many(failures, metrics.names.len())
}

fn keep_writing(
    path: &Path,
    interval: Duration,
    names: &[String],
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let interrupt = Interrupt::catch()?;
    let mut said = Vec::new();
    loop {
        let begin = Instant::now();
        let Survey { infos, failures } = Survey::of(names, owner)?;
        replace(path, &families::text(infos, failures.len())?)?;
        let complaints: Vec<_> = failures.iter().map(Failure::to_string).collect();
        // Not the same every time.
        for complaint in complaints.iter().filter(|complaint| !said.contains(*complaint)) {
            console.note(complaint);
        }
        said = complaints;
        interrupt.sleep(interval.saturating_sub(begin.elapsed()))?;
        if let Some(signal) = interrupt.signal() {
            return Ok(Ending::Interrupted(signal));
        }
    }
}

/// What queues told at one moment, and why others did not.
struct Survey {
    infos: Vec<Info>,
    failures: Vec<Failure>,
}

impl Survey {
    fn of(names: &[String], owner: Option<u32>) -> Result<Self, Failure> {
        let all = names.is_empty();
        let names = if all { list::names()? } else { names.to_vec() };
        let mut survey = Self { infos: Vec::new(), failures: Vec::new() };
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| seen.insert(*name)) {
            match open(name, owner).and_then(|queue| Ok(queue.info()?)) {
                // Removed meanwhile.
                Ok(info) if info.removed => {}
                Err(Failure::Queue { error: Error::NotFound { .. }, .. }) if all => {}
                Ok(info) => survey.infos.push(info),
                Err(failure) => survey.failures.push(failure),
            }
        }
        Ok(survey)
    }
}

/// Writes a file so that whoever reads it finds this text or the one before, and all of it.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    if output::is_standard(path) {
        return output::print(text.trim_end());
    }
    write_beside(path, text).map_err(|source| Failure::File { source, path: path.into() })
}

fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    // A link goes on to lead there.
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("something is there that is no file"));
    }
    let mut aside = path.clone().into_os_string();
    aside.push(format!(".{}.new", process::id()));
    // Left by one of the same number that was killed.
    let _ = fs::remove_file(&aside);
    let written = File::create_new(&aside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&aside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}
