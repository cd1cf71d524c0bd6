//! Starts the processes of a job, keeps them in step, and ends them whatever happens.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::clock;
use crate::control::{Control, Word};
use crate::job::{Job, Part, Report, Task};
use crate::part::proportional_memory;
use crate::systems::Known;
use crate::transport::{Kind, Wait};

/// The argument that makes this program a part of a job.
pub(crate) const PART: &str = "--part";

/// How long a job may take beyond what it measures.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a stream runs before somebody is killed.
const BEFORE_KILL: Duration = Duration::from_millis(50);

/// What to run, except which of its processes.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) task: Task,
    pub(crate) size: usize,
    pub(crate) wait: Wait,
    pub(crate) receivers: usize,
    pub(crate) duration: Duration,
}

/// Runs a job, and puts together what its processes report.
pub(crate) fn run(known: &Known, order: &Order, processors: &[usize]) -> Result<Report> {
    let place = Place::new()?;
    Control::create(&place.0)?;
    let job = Job {
        system: known.facts.name.to_owned(),
        task: order.task,
        part: Part::Both,
        size: order.size,
        wait: order.wait,
        receivers: order.receivers,
        duration_ns: u64::try_from(order.duration.as_nanos())?,
        directory: place.0.clone(),
        processors: processors.to_vec(),
    };
    // Dropped before the place is: what it removes may lie there.
    let prepared = (known.prepare)(&job.channels(), job.size)?;
    let parts: &[Part] = match (known.facts.kind, order.task) {
        (Kind::Threads, _) => &[Part::Both],
        (_, Task::ReceiverDies | Task::SenderDies) => &[Part::First, Part::Second],
        _ if job.receivers_spread() => &[Part::First, Part::Second, Part::Third],
        _ => &[Part::First, Part::Second],
    };
    let mut processes = parts
        .iter()
        .map(|part| Process::start(&Job { part: *part, ..job.clone() }))
        .collect::<Result<Vec<_>>>()?;
    let deadline = Instant::now() + PATIENCE + order.duration * 2;
    for process in &mut processes {
        process.await_ready(deadline)?;
    }
    for process in &mut processes {
        process.go()?;
    }
    if matches!(order.task, Task::ReceiverDies | Task::SenderDies) {
        return kill_one(&job, processes, deadline);
    }
    let mut report = Report::default();
    for process in &mut processes {
        report = report.merge(process.report(deadline)?);
    }
    if order.task == Task::Memory {
        for pid in &prepared.pids {
            let memory = proportional_memory(&pid.to_string())?;
            report.memory_bytes = Some(report.memory_bytes.unwrap_or(0) + memory);
        }
    }
    drop(processes);
    drop(prepared);
    Ok(report)
}

/// Kills the sender or the receiver of a stream, has another one take its place, and asks the
/// receiver that lives how long it was without news.
fn kill_one(job: &Job, mut processes: Vec<Process>, deadline: Instant) -> Result<Report> {
    let mut standby = Process::start(&Job { part: Part::Standby, ..job.clone() })?;
    standby.await_ready(deadline)?;
    std::thread::sleep(BEFORE_KILL);
    let control = Control::open(&job.directory)?;
    let victim = usize::from(job.task == Task::ReceiverDies);
    let killed = clock::now();
    let mut victim = processes.remove(victim);
    victim.child.kill()?;
    control.word(Word::Killed).store(killed, Ordering::Release);
    standby.go()?;
    let survivor = processes.last_mut().context("one is left")?;
    if job.task == Task::ReceiverDies {
        standby.report(deadline)
    } else {
        survivor.report(deadline)
    }
}

/// A directory in shared memory for one job.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-peers-{}-{number}", std::process::id());
        let path = PathBuf::from("/dev/shm").join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// A part of a job, in its process.
struct Process {
    child: Child,
    part: Part,
    commands: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    fn start(job: &Job) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(PART)
            .arg(serde_json::to_string(job)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().context("piped")?;
        let output = BufReader::new(child.stdout.take().context("piped")?);
        let (sender, lines) = channel();
        // It ends with the process, whose end closes the pipe.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, part: job.part, commands, lines })
    }

    /// The next line that is for the runner: libraries may print others.
    fn line(&self, deadline: Instant) -> Result<String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == "ready" || line.starts_with('{') => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the {:?} part did not come to an end", self.part)
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the {:?} part died", self.part),
            }
        }
    }

    fn await_ready(&self, deadline: Instant) -> Result<()> {
        match self.line(deadline)?.as_str() {
            "ready" => Ok(()),
            report => Err(Self::failure(report)),
        }
    }

    fn go(&mut self) -> Result<()> {
        self.commands.write_all(b"go\n")?;
        Ok(())
    }

    fn report(&self, deadline: Instant) -> Result<Report> {
        let line = self.line(deadline)?;
        let report: Report = serde_json::from_str(&line).context("no report")?;
        if report.failure.is_some() {
            return Err(Self::failure(&line));
        }
        Ok(report)
    }

    fn failure(line: &str) -> anyhow::Error {
        let report = serde_json::from_str::<Report>(line).ok();
        anyhow!(report.and_then(|report| report.failure).unwrap_or_else(|| line.to_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing left to do, or hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
