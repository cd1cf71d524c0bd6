//! What a job is, and what its processes report. Both travel as lines of JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::transport::{Channel, Delivery, Wait};

/// What the two ends do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Fill until it refuses, drain, send again: everything has to arrive as it was sent.
    Check,
    /// One message to and fro.
    RoundTrip,
    /// As many as go through, one at a time.
    Stream,
    /// The same in batches.
    Batches,
    /// The same, shared between the receivers.
    Shared,
    /// A message now and then, to a receiver that sleeps.
    Wake,
    /// What open ends take.
    Memory,
    /// The receiver is killed, and another one takes its place.
    ReceiverDies,
    /// The sender is killed, and another one takes its place.
    SenderDies,
}

/// Which of the job's processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// It sends, and begins.
    First,
    /// It receives, or answers.
    Second,
    /// It receives too, where there is a processor for it.
    Third,
    /// It takes the place of the one that is killed.
    Standby,
    /// Both ends, in threads.
    Both,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) system: String,
    pub(crate) task: Task,
    pub(crate) part: Part,
    /// Of a message, in bytes.
    pub(crate) size: usize,
    pub(crate) wait: Wait,
    pub(crate) receivers: usize,
    /// About how much the rings hold.
    pub(crate) ring_bytes: usize,
    /// For how long to measure.
    pub(crate) duration_ns: u64,
    pub(crate) directory: PathBuf,
    /// Where the first, the second and the third part run.
    pub(crate) processors: Vec<usize>,
}

impl Job {
    pub(crate) fn channel(&self, name: &str) -> Channel {
        let delivery =
            if self.task == Task::Shared { Delivery::Shared } else { Delivery::Broadcast };
        Channel {
            directory: self.directory.clone(),
            name: name.to_owned(),
            wait: self.wait,
            delivery,
            receivers: self.receivers,
            ring_bytes: self.ring_bytes,
            tries: matches!(self.task, Task::Check | Task::ReceiverDies | Task::SenderDies),
            answered: self.task == Task::RoundTrip,
        }
    }

    /// There, and back if the task needs it.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        let there = self.channel("there");
        match self.task {
            Task::RoundTrip => vec![there, self.channel("back")],
            _ => vec![there],
        }
    }

    /// A process for each receiver, if there are processors enough; else one for all. Those that share
    /// are always in one: the marks around what is measured come to one of them each.
    pub(crate) fn receivers_spread(&self) -> bool {
        self.task != Task::Shared && self.receivers > 1 && self.processors.len() > self.receivers
    }
}

/// What a process found, as far as its part goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// Bare round trips of a line, before and after.
    pub(crate) brackets_ns: Option<[f64; 2]>,
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p999_ns: Option<f64>,
    pub(crate) messages_per_s: Option<f64>,
    pub(crate) missed: Option<u64>,
    /// The waiting side's share of its processor.
    pub(crate) cpu_percent: Option<f64>,
    /// How many messages it took until there was no room.
    pub(crate) filled: Option<u64>,
    pub(crate) refused: Option<bool>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) files: Vec<String>,
    pub(crate) recovered_ns: Option<u64>,
    /// Why it did not work.
    pub(crate) failure: Option<String>,
}

impl Report {
    /// One report of several: each says something else, or the slowest counts.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        let least = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.files.extend(other.files);
        self.files.sort();
        self.files.dedup();
        Self {
            brackets_ns: self.brackets_ns.or(other.brackets_ns),
            p50_ns: self.p50_ns.or(other.p50_ns),
            p99_ns: self.p99_ns.or(other.p99_ns),
            p999_ns: self.p999_ns.or(other.p999_ns),
            messages_per_s: least(self.messages_per_s, other.messages_per_s),
            missed: sum(self.missed, other.missed),
            cpu_percent: self.cpu_percent.or(other.cpu_percent),
            filled: self.filled.or(other.filled),
            refused: self.refused.or(other.refused),
            memory_bytes: sum(self.memory_bytes, other.memory_bytes),
            files: self.files,
            recovered_ns: self.recovered_ns.or(other.recovered_ns),
            failure: self.failure.or(other.failure),
        }
    }
}
