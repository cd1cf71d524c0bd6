//! What the benches share: pinning, other processes, and [`bare`] memory to compare with.

#![allow(dead_code, reason = "each bench uses a part of it")]

pub(crate) mod bare;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Keeps the calling thread on one processor, where there are so many.
pub(crate) fn pin(processor: usize) {
    let _ = ringway::workload::pin(processor);
}

/// The other process: this program once more, in another role.
pub(crate) struct Peer {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Says in which role a process of the bench runs.
pub(crate) const ROLE: &str = "RINGWAY_BENCH_ROLE";

impl Peer {
    pub(crate) fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("second process");
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, commands, answers }
    }

    /// Tells the peer what to do, and waits until it says that it is ready.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("peer reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("peer answers");
        assert_eq!(answer.trim(), "ready", "the peer did not understand {command:?}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.commands.write_all(b"end\n");
        let _ = self.child.wait();
    }
}

/// The peer's side of [`Peer::tell`]: calls `act` with each command, after the answer.
pub(crate) fn obey(mut act: impl FnMut(&[&str], &dyn Fn())) {
    let ready = || {
        let mut out = std::io::stdout().lock();
        out.write_all(b"ready\n").and_then(|()| out.flush()).expect("parent reads");
    };
    for line in std::io::stdin().lines() {
        let line = line.expect("parent writes text");
        if line == "end" {
            return;
        }
        act(&line.split(' ').collect::<Vec<_>>(), &ready);
    }
}

/// Counts the polls of a wait that is to have an end.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    polls: u32,
    begin: Option<Instant>,
}

impl Patience {
    const LIMIT: Duration = Duration::from_secs(60);

    #[inline]
    pub(crate) fn poll(&mut self) {
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(1 << 22) {
            let begin = *self.begin.get_or_insert_with(Instant::now);
            assert!(begin.elapsed() < Self::LIMIT, "the other process has died");
        }
    }
}

/// The middle one of some measurements, with the least and the greatest.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        Self {
            median,
            min: sorted.first().copied().unwrap_or(f64::NAN),
            max: sorted.last().copied().unwrap_or(f64::NAN),
        }
    }
}
