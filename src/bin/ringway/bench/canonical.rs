//! `ringway bench` with nothing more: this machine, in less than a minute.

use std::time::Duration;

use ringway::Wait;

use super::{Done, Lab, streams, trips, usual_workload};
use crate::bench::args::Length;
use crate::failure::{Ending, Failure};

const LOADS: [f64; 8] = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// Where the report goes if nobody says.
pub(super) const REPORT: &str = "ringway-report.html";

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Lab<'_> {
    /// About 46 s: 12 of streams, 10 of times, 24 of loads. Three runs of what has no batches, so that
    /// `compare` knows what chance may make of it.
    pub(super) fn canonical(&self) -> Result<Ending, Failure> {
        let mut done = Done::new("bench");
        done.warnings = self.machine_warnings(2);
        self.measure_all(&mut done)?;
        self.finish(done)
    }

    fn measure_all(&self, done: &mut Done) -> Result<(), Failure> {
        let setting = &self.setting;
        let cell = |size| streams::Cell { size, consumers: 1, batch: 1, wait: Wait::Backoff };
        let mut cells = streams::SIZES.map(cell).to_vec();
        // What limits are about is to be known before anything is measured.
        let workload = usual_workload(ms(2500), ms(500))?;
        self.cases(&workload, &LOADS)?;
        let stamped = [Wait::Spin, Wait::Backoff, Wait::Park];
        let stamped = stamped.map(|wait| trips::Cell { size: 64, wait });
        let one_way = Length { duration: ms(400), warm_up: ms(100), runs: 3 };
        let one_ways = trips::one_ways(setting, &stamped, one_way, 10_000.0);
        self.check_samples(&one_ways, one_way.runs)?;
        self.try_streams(&mut cells, true, &mut done.warnings)?;
        let before = setting.bracket_ns()?;
        let length = Length { duration: ms(500), warm_up: ms(100), runs: 3 };
        let streams = streams::measure(setting, &cells, length, done)?;
        done.put_cells("throughput", streams);

        let cell = |size, wait| trips::Cell { size, wait };
        let (spin, others) = (Wait::Spin, [Wait::Backoff, Wait::Park]);
        let mut cells = [8, 64, 1024].map(|size| cell(size, spin)).to_vec();
        cells.extend(others.map(|wait| cell(64, wait)));
        let length = Length { duration: ms(300), warm_up: ms(50), runs: 3 };
        let round_trips = trips::round_trips(setting, &cells, length, before, done)?;
        done.put_cells("round_trip", round_trips);

        let one_way = trips::one_way(setting, &one_ways, one_way, done)?;
        done.put_cells("one_way", one_way);

        let points = self.points(&workload, &LOADS, done)?;
        done.put("points", points);
        self.bracket(before, done)
    }
}
