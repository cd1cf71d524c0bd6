//! What all runs of a command have in common, checked once.

use ringway::Wait;
use ringway::workload::{Clock, Machine, MachineClock, processors};
use serde_json::{Map, Value};

use crate::bench::args::{Common, Length, Pins};
use crate::bench::crew::{self, Heard, Task};
use crate::bench::document::{Times, float};
use crate::bench::role::Role;
use crate::bench::stage::{Names, Stage};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Console, nanoseconds};

/// Where and how the ends of runs are started.
pub struct Setting<'a> {
    pub common: &'a Common,
    pub interrupt: &'a Interrupt,
    /// As it was before anything ran: afterwards its load is ours.
    pub machine: Machine,
    console: Console,
    available: Vec<usize>,
}

impl Length {
    /// What a cell says of it.
    pub fn value(self) -> Map<String, Value> {
        Map::from_iter([
            ("warm_up_ns".into(), nanoseconds(self.warm_up).into()),
            ("window_ns".into(), nanoseconds(self.duration).into()),
        ])
    }
}

impl<'a> Setting<'a> {
    pub fn new(
        common: &'a Common,
        interrupt: &'a Interrupt,
        console: Console,
    ) -> Result<Self, Failure> {
        let available = processors();
        if let Some(Pins(pins)) = &common.pin
            && let Some(other) = pins.iter().find(|pin| !available.contains(pin))
        {
            let available: Vec<_> = available.iter().map(ToString::to_string).collect();
            return Err(Failure::Usage(format!(
                "no end can be kept on processor {other}: there are {}",
                available.join(", ")
            )));
        }
        Ok(Self { common, interrupt, machine: Machine::survey(), console, available })
    }

    /// Says what is about to be measured, to people who watch; nobody speaks while it is.
    pub fn progress(&self, what: impl std::fmt::Display) {
        use std::io::IsTerminal;
        if std::io::stderr().is_terminal() {
            self.console.note(what);
        }
    }

    /// Processors that the ends may use.
    pub fn processors(&self) -> usize {
        match &self.common.pin {
            Some(Pins(pins)) if !pins.is_empty() => {
                let mut pins = pins.clone();
                pins.sort_unstable();
                pins.dedup();
                pins.len()
            }
            _ => self.available.len(),
        }
    }

    /// Whether so many ends have to share processors.
    pub fn is_crowded(&self, ends: usize) -> bool {
        ends > self.processors()
    }

    fn pin(&self, end: usize, ends: usize) -> Option<usize> {
        match &self.common.pin {
            Some(Pins(pins)) if pins.is_empty() => None,
            Some(Pins(pins)) => Some(pins[end % pins.len()]),
            None if self.is_crowded(ends) => None,
            None => self.available.get(end).copied(),
        }
    }

    /// With so many queues: none for a bare line, a second one if messages come back.
    pub fn stage(&self, queues: usize, consumers: usize) -> Result<Stage, Failure> {
        Stage::new(queues, self.common.capacity.as_u64(), consumers)
    }

    /// Runs these roles, the first processor being for the first of them. They are started from
    /// the last to the first, so that who sends finds who receives.
    pub fn run(
        &self,
        stage: &Names,
        wait: Wait,
        sleeps: bool,
        roles: Vec<Role>,
    ) -> Result<Heard, Failure> {
        let ends = roles.len();
        let tasks = roles.into_iter().enumerate().rev().map(|(end, role)| Task {
            stage: stage.clone(),
            processor: self.pin(end, ends),
            wait: wait.to_string(),
            sleeps,
            role,
        });
        let tasks: Vec<Task> = tasks.collect();
        let mut heard = crew::run(&tasks, self.common.threads, self.interrupt)?;
        heard.answers.reverse();
        Ok(heard)
    }

    /// The round trip of a bare line between the first two processors, in nanoseconds: the median,
    /// reading the clock left out.
    pub fn bracket_ns(&self) -> Result<Option<f64>, Failure> {
        const ROUNDS: u64 = 100_000;
        // Two ends on one processor would measure the scheduler.
        if self.is_crowded(2) {
            return Ok(None);
        }
        self.progress("the round trip of a bare line");
        let stage = self.stage(0, 0)?;
        let roles = vec![Role::BarePing { rounds: ROUNDS }, Role::BareAnswer { rounds: ROUNDS }];
        let heard = self.run(&stage.names, Wait::Spin, false, roles)?;
        let trips = Times::of(heard.answers[0].numbers());
        Ok(trips.percentile_ns(50.0).map(|ns| (float(ns) - clock_cost_ns()).max(0.0)))
    }
}

/// What reading the clock once more adds to a time.
pub fn clock_cost_ns() -> f64 {
    reading_ns(&MachineClock::spinning())
}

/// The middle one of short rounds: who takes the processor away meanwhile is in few of them.
fn reading_ns(clock: &impl Clock) -> f64 {
    const ROUNDS: u64 = 101;
    const READINGS: u64 = 100;
    let round = |_| {
        let begin_ns = clock.now_ns();
        (0..READINGS).fold(begin_ns, |_, _| clock.now_ns()) - begin_ns
    };
    let rounds = Times::of((0..ROUNDS).map(round).collect());
    float(rounds.percentile_ns(50.0).unwrap_or(0)) / float(READINGS)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ringway::workload::MockClock;

    /// Of ends that are kept on these processors.
    pub fn pinned(pins: &[usize]) -> Setting<'static> {
        let common = Common {
            seed: 1,
            threads: false,
            pin: Some(Pins(pins.to_vec())),
            capacity: bytesize::ByteSize::mib(1),
            fail_if: Vec::new(),
            report: None,
            hdr: None,
            json: false,
        };
        Setting {
            common: Box::leak(common.into()),
            interrupt: Box::leak(Interrupt::catch().unwrap().into()),
            machine: Machine::default(),
            console: Console::silent(),
            available: pins.to_vec(),
        }
    }

    /// A clock that takes 20 ns to be read, but once a time slice of somebody else's.
    struct Disturbed(MockClock);

    impl Clock for Disturbed {
        fn now_ns(&self) -> u64 {
            let before_ns = self.0.now_ns();
            self.0.advance(if before_ns == 2000 { 4_000_000 } else { 20 });
            self.0.now_ns()
        }
        fn wait_until(&self, at_ns: u64) {
            self.0.wait_until(at_ns);
        }
    }

    /// With the slice in it, the clock would take longer than what it times.
    #[test]
    fn what_reading_the_clock_takes_has_no_time_slice_of_others_in_it() {
        let cost_ns = reading_ns(&Disturbed(MockClock::new()));
        assert!((cost_ns - 20.0).abs() < 1e-9, "{cost_ns}");
    }
}
