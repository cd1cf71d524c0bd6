//! Starts the processes of a job, keeps them in step, and ends them whatever happens.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::clock;
use crate::control::{Control, Word};
use crate::interrupt;
use crate::job::{Job, Part, Report, Task};
use crate::part::proportional_memory;
use crate::systems::Known;
use crate::transport::{Kind, Wait};

/// The argument that makes this program a part of a job.
pub(crate) const PART: &str = "--part";

/// How long a job may take beyond what it measures.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the user wants an end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

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

/// What all jobs of a run have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) processors: Vec<usize>,
    pub(crate) ring_bytes: usize,
}

/// Runs a job, and puts together what its processes report.
pub(crate) fn run(known: &Known, order: &Order, setting: &Setting) -> Result<Report> {
    let place = Place::new()?;
    Control::create(&place.0)?;
    let job = Job {
        system: known.facts.name.to_owned(),
        task: order.task,
        part: Part::Both,
        size: order.size,
        wait: order.wait,
        receivers: order.receivers,
        ring_bytes: setting.ring_bytes,
        duration_ns: u64::try_from(order.duration.as_nanos())?,
        directory: place.0.clone(),
        processors: setting.processors.clone(),
    };
    // Dropped before the place is: what it removes may lie there.
    let prepared = (known.prepare)(&job.channels(), job.size)?;
    let parts: &[Part] = match (known.facts.kind, order.task) {
        (Kind::Threads, _) => &[Part::Both],
        (_, Task::ReceiverDies | Task::SenderDies) => &[Part::First, Part::Second],
        _ if job.receivers_spread() => &[Part::First, Part::Second, Part::Third],
        _ => &[Part::First, Part::Second],
    };
    let mut crew = Crew::new(Instant::now() + PATIENCE + order.duration * 2);
    for part in parts {
        crew.start(&Job { part: *part, ..job.clone() })?;
    }
    crew.await_ready()?;
    crew.go()?;
    if matches!(order.task, Task::ReceiverDies | Task::SenderDies) {
        return kill_one(&job, crew);
    }
    let mut report = Report::default();
    for _ in parts {
        report = report.merge(crew.report()?.1);
    }
    if order.task == Task::Memory {
        for pid in &prepared.pids {
            let memory = proportional_memory(&pid.to_string())?;
            report.memory_bytes = Some(report.memory_bytes.unwrap_or(0) + memory);
        }
    }
    drop(crew);
    drop(prepared);
    Ok(report)
}

/// Kills the sender or the receiver of a stream, has another one take its place, and asks the
/// receiver that lives how long it was without news.
fn kill_one(job: &Job, mut crew: Crew) -> Result<Report> {
    let (victim, survivor) = match job.task {
        Task::ReceiverDies => (Part::Second, Part::Standby),
        _ => (Part::First, Part::Second),
    };
    let first = crew.processes.len();
    crew.start(&Job { part: Part::Standby, ..job.clone() })?;
    crew.await_ready()?;
    std::thread::sleep(BEFORE_KILL);
    let control = Control::open(&job.directory)?;
    let killed = clock::now();
    for process in crew.processes.iter_mut().filter(|process| process.part == victim) {
        process.expected_to_die = true;
        process.child.kill()?;
        // Its number is taken until somebody has asked how it ended.
        process.child.wait()?;
    }
    control.word(Word::Killed).store(killed, Ordering::Release);
    crew.processes[first].go()?;
    loop {
        let (part, report) = crew.report()?;
        if part == survivor {
            return Ok(report);
        }
    }
}

/// Has the command's process end with this one, however this one ends.
pub(crate) fn end_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: what it calls is one system call, which may be between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) }
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

/// The processes of a job, and what they say.
struct Crew {
    processes: Vec<Process>,
    /// From which process: a line, or its end.
    lines: Receiver<(usize, Option<String>)>,
    sender: Sender<(usize, Option<String>)>,
    deadline: Instant,
    ready: usize,
}

impl Crew {
    fn new(deadline: Instant) -> Self {
        let (sender, lines) = channel();
        Self { processes: Vec::new(), lines, sender, deadline, ready: 0 }
    }

    fn start(&mut self, job: &Job) -> Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(PART).arg(serde_json::to_string(job)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = end_with_us(&mut command).spawn()?;
        let commands = child.stdin.take().context("piped")?;
        let output = BufReader::new(child.stdout.take().context("piped")?);
        let (number, sender) = (self.processes.len(), self.sender.clone());
        // It ends with the process, whose end closes the pipe.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send((number, Some(line)));
            }
            let _ = sender.send((number, None));
        });
        self.processes.push(Process {
            child,
            part: job.part,
            commands,
            expected_to_die: false,
            reported: Cell::new(false),
        });
        Ok(())
    }

    /// What the next process says that speaks to the runner: libraries may print other lines.
    fn line(&self) -> Result<(&Process, String)> {
        loop {
            interrupt::check()?;
            let Ok((number, line)) = self.lines.recv_timeout(LOOK_INTERVAL) else {
                ensure!(Instant::now() < self.deadline, "it did not come to an end in time");
                continue;
            };
            let process = &self.processes[number];
            match line {
                Some(line) if line == "ready" || line.starts_with('{') => {
                    return Ok((process, line));
                }
                Some(_) => {}
                None if process.expected_to_die || process.reported.get() => {}
                None => bail!("the {:?} part died", process.part),
            }
        }
    }

    /// Waits until all are ready.
    fn await_ready(&mut self) -> Result<()> {
        while self.ready < self.processes.len() {
            let (process, line) = self.line()?;
            if line != "ready" {
                process.read(&line)?;
                bail!("the {:?} part was too early", process.part);
            }
            self.ready += 1;
        }
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::go)
    }

    /// Waits for the next report. The failure of one is that of all.
    fn report(&self) -> Result<(Part, Report)> {
        let (process, line) = self.line()?;
        Ok((process.part, process.read(&line)?))
    }
}

/// A part of a job, in its process.
struct Process {
    child: Child,
    part: Part,
    commands: ChildStdin,
    expected_to_die: bool,
    reported: Cell<bool>,
}

impl Process {
    fn go(&mut self) -> Result<()> {
        self.commands.write_all(b"go\n")?;
        Ok(())
    }

    fn read(&self, line: &str) -> Result<Report> {
        let report: Report = serde_json::from_str(line).context("no report")?;
        self.reported.set(true);
        match report.failure {
            Some(failure) => Err(anyhow!(failure)),
            None => Ok(report),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing left to do, or hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
