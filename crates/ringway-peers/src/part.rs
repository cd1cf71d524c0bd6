//! A part of a job: opens its ends, says that it is ready, works, and reports.
//!
//! The runner talks to it by lines: it prints `ready`, reads `go`, and prints its report as JSON.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::clock;
use crate::control::Control;
use crate::erased;
use crate::job::{Job, Part, Report, Task};
use crate::transport::{Channel, Facts, Receiver, Sender, Transport};
#[cfg(feature = "threads")]
use crate::transport::{Ends, Threads};
use crate::work::{Stage, open_at_last};

/// Keeps the calling thread on one processor.
pub(crate) fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot pin")
}

/// What the program does in the role of a part.
pub(crate) fn play(job: &Job, run: impl FnOnce(&Job) -> Result<Report>) -> Result<()> {
    let report = run(job).unwrap_or_else(|error| Report {
        failure: Some(format!("{error:#}")),
        ..Report::default()
    });
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&report)?)?;
    stdout.flush()?;
    Ok(())
}

/// Says that this process is ready, and waits for the others to be.
fn gate() -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    ensure!(line.trim() == "go", "the runner said {line:?}");
    Ok(())
}

/// A part that is a process.
pub(crate) fn between<T: Transport<W>, const W: usize>(job: &Job) -> Result<Report> {
    let place = match job.part {
        Part::First | Part::Both => 0,
        Part::Second => 1,
        Part::Third => 2,
        Part::Standby => usize::from(job.task == Task::ReceiverDies),
    };
    pin(job.processors[place % job.processors.len()])?;
    let control = Control::open(&job.directory)?;
    let stage = stage(job, &control, &T::FACTS, clock::process_cpu);
    let (there, back) = (job.channel("there"), job.channel("back"));
    let sender = || T::sender(&there);
    let receiver = || T::receiver(&there);
    match (job.task, job.part) {
        (Task::RoundTrip, Part::First) => {
            let (mut there, mut back) = (sender()?, T::receiver(&back)?);
            gate()?;
            stage.ping(&mut there, &mut back)
        }
        (Task::RoundTrip, _) => {
            let (mut there, mut back) = (receiver()?, T::sender(&back)?);
            gate()?;
            stage.answer(&mut there, &mut back)
        }
        (Task::Memory, part) => {
            let before = Usage::now()?;
            // The ends stay open until the usage is read.
            let _ends: (Option<T::Sender>, Option<T::Receiver>) = if part == Part::First {
                let mut sender = sender()?;
                gate()?;
                Stage::pass_some(&mut erased::sender(&mut sender))?;
                (Some(sender), None)
            } else {
                let mut receiver = receiver()?;
                gate()?;
                Stage::take_some(&mut erased::receiver(&mut receiver))?;
                (None, Some(receiver))
            };
            // Both have to be there when either looks.
            stage.meet(part == Part::First);
            let report = before.grown_to(&Usage::now()?);
            stage.meet(part == Part::First);
            Ok(report)
        }
        (Task::ReceiverDies | Task::SenderDies, Part::Standby) => {
            gate()?;
            match job.task {
                Task::SenderDies => send_times::<T, W>(open_at_last(sender), &there),
                _ => receive_after_kill::<T, W>(&stage, open_at_last(receiver), &there),
            }
        }
        (Task::ReceiverDies | Task::SenderDies, Part::First) => {
            let ready = sender()?;
            gate()?;
            send_times::<T, W>(ready, &there)
        }
        (Task::ReceiverDies | Task::SenderDies, _) => {
            let ready = receiver()?;
            gate()?;
            receive_after_kill::<T, W>(&stage, ready, &there)
        }
        (_, Part::First) => {
            let mut sender = sender()?;
            gate()?;
            first(&stage, &mut sender)
        }
        (_, part) => {
            let mine = if job.receivers_spread() { 1 } else { job.receivers };
            let mut receivers = (0..mine).map(|_| receiver()).collect::<Result<Vec<_>>>()?;
            gate()?;
            second(&stage, &mut receivers, part == Part::Second)
        }
    }
}

fn send_times<T: Transport<W>, const W: usize>(
    ready: T::Sender,
    channel: &Channel,
) -> Result<Report> {
    Stage::send_times(erased::boxed_sender(ready), || Ok(erased::boxed_sender(T::sender(channel)?)))
}

fn receive_after_kill<T: Transport<W>, const W: usize>(
    stage: &Stage<'_>,
    ready: T::Receiver,
    channel: &Channel,
) -> Result<Report> {
    let open = || Ok(erased::boxed_receiver(T::receiver(channel)?));
    stage.receive_after_kill(erased::boxed_receiver(ready), open)
}

/// Both parts, as threads of this process.
#[cfg(feature = "threads")]
pub(crate) fn in_one<T: Threads<W>, const W: usize>(job: &Job) -> Result<Report> {
    let control = Control::open(&job.directory)?;
    let stage = stage(job, &control, &T::FACTS, clock::thread_cpu);
    let before = Usage::now()?;
    let (mut sender, mut receivers) = T::ends(&job.channel("there"))?;
    let (mut sender_back, mut receivers_back): Ends<_, _> = T::ends(&job.channel("back"))?;
    gate()?;
    let processor = |place: usize| job.processors[place % job.processors.len()];
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(processor(1))?;
            match job.task {
                Task::RoundTrip => stage.answer(&mut receivers[0], &mut sender_back),
                Task::Memory => Stage::take_some(&mut erased::receiver(&mut receivers[0]))
                    .map(|()| Report::default()),
                _ => second(&stage, &mut receivers, true),
            }
        });
        pin(processor(0))?;
        let report = match job.task {
            Task::RoundTrip => stage.ping(&mut sender, &mut receivers_back[0]),
            Task::Memory => Stage::pass_some(&mut erased::sender(&mut sender))
                .and_then(|()| Ok(before.grown_to(&Usage::now()?))),
            _ => first(&stage, &mut sender),
        }?;
        let Ok(other) = other.join() else { bail!("the other thread panicked") };
        Ok(report.merge(other?))
    })
}

fn stage<'a>(job: &'a Job, control: &'a Control, facts: &Facts, cpu: fn() -> u64) -> Stage<'a> {
    Stage { job, control, kind: facts.kind, refuses: facts.refuses, cpu }
}

/// The sending side of what goes one way.
fn first<const W: usize>(stage: &Stage<'_>, sender: &mut impl Sender<W>) -> Result<Report> {
    match stage.job.task {
        Task::Check => stage.fill(&mut erased::sender(sender)),
        Task::Stream | Task::Shared => stage.stream(sender),
        Task::Batches => stage.stream_batches(sender),
        Task::Wake => stage.wake(&mut erased::sender(sender)),
        other => bail!("{other:?} goes both ways"),
    }
}

/// The receiving side.
fn second<const W: usize, R: Receiver<W>>(
    stage: &Stage<'_>,
    receivers: &mut [R],
    bracketed: bool,
) -> Result<Report> {
    match stage.job.task {
        Task::Check => stage.empty(&mut erased::receiver(&mut receivers[0])),
        Task::Stream => stage.drain(receivers, bracketed),
        Task::Shared => stage.drain_shared(receivers),
        Task::Batches => stage.drain_batches(&mut receivers[0]),
        Task::Wake => stage.be_woken(&mut erased::receiver(&mut receivers[0])),
        other => bail!("{other:?} goes both ways"),
    }
}

/// What a process has in memory and open.
struct Usage {
    memory_bytes: u64,
    files: BTreeSet<String>,
}

impl Usage {
    fn now() -> Result<Self> {
        Ok(Self { memory_bytes: proportional_memory("self")?, files: files()? })
    }

    fn grown_to(&self, after: &Self) -> Report {
        Report {
            memory_bytes: Some(after.memory_bytes.saturating_sub(self.memory_bytes)),
            files: after.files.difference(&self.files).cloned().collect(),
            ..Report::default()
        }
    }
}

/// A process's own memory and its share of what it shares: those of all processes add up.
pub(crate) fn proportional_memory(pid: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("smaps_rollup has no Pss")?.parse::<u64>()? << 10)
}

/// The files, sockets and pipes that this process has open or mapped.
fn files() -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // The directory's own descriptor is closed by the time it is asked.
        if let Ok(path) = fs::read_link(entry?.path()) {
            files.insert(path.to_string_lossy().into_owned());
        }
    }
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let path = line.split_whitespace().nth(5).map(Path::new);
        if let Some(path) = path.filter(|path| path.is_absolute()) {
            files.insert(path.to_string_lossy().into_owned());
        }
    }
    files.retain(|path| !path.starts_with("/proc/"));
    Ok(files)
}
