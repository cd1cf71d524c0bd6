//! A run that is over, or was interrupted with some of it done.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ringway::workload::{Record, Timed, write_hdr_log};
use serde_json::{Map, Value};

use crate::bench::loads::Outcome;
use crate::failure::Failure;
use crate::output::nanoseconds;

pub struct Done {
    pub kind: &'static str,
    pub parts: Map<String, Value>,
    pub warnings: Vec<Value>,
    /// How many messages were lost, repeated or out of order though they should not have been.
    pub faults: u64,
    pub interrupted: Option<i32>,
    /// Whether nothing has been run to its end yet.
    pub is_empty: bool,
    pub logged: Logged,
}

impl Done {
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            parts: Map::new(),
            warnings: Vec::new(),
            faults: 0,
            interrupted: None,
            is_empty: true,
            logged: Logged::new(),
        }
    }

    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.parts.insert(name.into(), value.into());
    }

    /// Puts cells that count what became of their messages.
    pub fn put_cells(&mut self, name: &str, cells: Vec<Value>) {
        let names = ["lost", "duplicated", "out_of_order"];
        let counts = cells.iter().flat_map(|cell| names.map(|name| cell[name].as_u64()));
        self.faults += counts.flatten().sum::<u64>();
        self.put(name, cells);
    }

    /// Goes on with this, unless there was an interrupt: what was done before it is shown.
    pub fn go_on<T>(
        &mut self,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        if self.interrupted.is_some() {
            return Ok(None);
        }
        match run() {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Interrupted(signal)) => {
                self.interrupted = Some(signal);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Runs each of the cells, all of them once more, and so on, and gives the runs of each: as
    /// many as were asked for, or fewer, or none, after an interrupt.
    pub fn in_turn<C, T>(
        &mut self,
        cells: &[C],
        runs: u16,
        mut run: impl FnMut(&C, u16) -> Result<T, Failure>,
    ) -> Result<Vec<Vec<T>>, Failure> {
        let mut all: Vec<Vec<T>> = cells.iter().map(|_| Vec::new()).collect();
        for number in 0..runs {
            for (cell, results) in cells.iter().zip(&mut all) {
                results.extend(self.go_on(|| run(cell, number))?);
                self.is_empty &= results.is_empty();
            }
        }
        Ok(all)
    }
}

/// All times of a run that count, by the moment of each, under a name for each cell; for the log of
/// histograms.
pub struct Logged {
    began: SystemTime,
    pub series: Vec<(String, Vec<Timed>)>,
}

impl Logged {
    fn new() -> Self {
        Self { began: SystemTime::now(), series: Vec::new() }
    }

    pub fn add(&mut self, tag: &str, times: impl IntoIterator<Item = Timed>) {
        match self.series.iter_mut().find(|(known, _)| known == tag) {
            Some((_, all)) => all.extend(times),
            None => self.series.push((tag.to_owned(), times.into_iter().collect())),
        }
    }

    /// One kind of the times of a load.
    pub fn add_load(&mut self, tag: &str, outcome: &Outcome, time_ns: fn(&Record) -> u64) {
        let offset = outcome.began.duration_since(self.began).unwrap_or_default();
        let offset_ns = nanoseconds(offset);
        let at_ns = |record: &Record| offset_ns.saturating_add(record.intended_ns);
        self.add(tag, outcome.in_window().map(|record| (at_ns(record), time_ns(record))));
    }

    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        const INTERVAL: Duration = Duration::from_secs(1);
        let mut log = Vec::new();
        let series: Vec<(&str, &[Timed])> =
            self.series.iter().map(|(tag, times)| (tag.as_str(), times.as_slice())).collect();
        write_hdr_log(&mut log, self.began, INTERVAL, &series)
            .and_then(|()| fs::write(path, log))
            .map_err(|source| Failure::File { source, path: path.to_owned() })
    }
}
