//! The ends of a run: how they are started, told to begin and heard.
//!
//! Each end is a process of its own, this program once more, unless threads were asked for. It is
//! given a [`Task`] as a line of JSON, says `ready`, begins when it is told the moment of the
//! clock, and answers with a line of JSON and bytes. While it runs nobody else of us does: the one
//! who started it sleeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ringway::Queue;
use ringway::workload::{Board, Clock, MachineClock, pin, thread_cpu_ns};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bench::role::{Answer, AnyError, Role, Set};
use crate::bench::stage::Names;
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// What is in the environment of a process that is an end.
const END: &str = "RINGWAY_BENCH_END";

/// Whether this process was started as an end of a run.
pub fn is_end() -> bool {
    std::env::var_os(END).is_some()
}

/// What an end is to do, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub stage: Names,
    pub processor: Option<usize>,
    pub wait: String,
    /// Whether it sleeps while it works or awaits a moment, because others want its processor.
    pub sleeps: bool,
    pub role: Role,
}

/// Plays the role that comes by the standard input.
pub fn play_here() -> Result<(), Failure> {
    // SAFETY: a call without pointers. Nobody shall outlive who started it.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    play(&mut std::io::stdin().lock(), &mut std::io::stdout().lock()).map_err(Failure::Output)
}

/// Plays the role that comes by `input`, and answers to `output`.
fn play(input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let played = serde_json::from_str::<Task>(&line)
        .map_err(AnyError::from)
        .and_then(|task| perform(&task, input, output));
    let answer =
        played.unwrap_or_else(|error| Answer::of_facts(json!({ "error": error.to_string() })));
    let mut facts = answer.facts;
    facts["bytes"] = answer.bytes.len().into();
    writeln!(output, "{facts}")?;
    output.write_all(&answer.bytes)?;
    output.flush()
}

fn perform(
    task: &Task,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<Answer, AnyError> {
    if let Some(processor) = task.processor {
        pin(processor).map_err(|error| format!("cannot run on processor {processor}: {error}"))?;
    }
    let clock = if task.sleeps { MachineClock::sleeping() } else { MachineClock::spinning() };
    let board = Board::open(&task.stage.board)?;
    let queues = task.stage.queues.iter().map(|name| Queue::open(name));
    let queues = queues.collect::<Result<_, _>>()?;
    let set = Set { board, queues, clock, wait: task.wait.parse()? };
    let act = set.prepare(&task.role)?;
    writeln!(output, "ready").and_then(|()| output.flush())?;
    let mut word = String::new();
    input.read_line(&mut word)?;
    let begin_ns: u64 = word.trim().parse().map_err(|_| "nobody said when to begin")?;
    let cpu_before_ns = thread_cpu_ns();
    let before_ns = clock.now_ns();
    let mut answer = act(begin_ns)?;
    answer.facts["cpu_ns"] = thread_cpu_ns().saturating_sub(cpu_before_ns).into();
    answer.facts["wall_ns"] = clock.now_ns().saturating_sub(before_ns).into();
    Ok(answer)
}

/// An end that has been started.
struct End {
    what: String,
    child: Option<Child>,
    input: Box<dyn Write + Send>,
    output: BufReader<Box<dyn Read + Send>>,
}

impl End {
    fn start(task: &Task, threads: bool) -> std::io::Result<Self> {
        let what = task.role.name();
        if threads {
            let (theirs_in, input) = std::io::pipe()?;
            let (output, mut theirs_out) = std::io::pipe()?;
            std::thread::spawn(move || play(&mut BufReader::new(theirs_in), &mut theirs_out));
            let output: Box<dyn Read + Send> = Box::new(output);
            let output = BufReader::new(output);
            return Ok(Self { what, child: None, input: Box::new(input), output });
        }
        let mut child = Command::new(std::env::current_exe()?)
            .env(END, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || std::io::Error::other("a process without its pipes");
        let input = Box::new(child.stdin.take().ok_or_else(missing)?);
        let output: Box<dyn Read + Send> = Box::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { what, child: Some(child), input, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(format!("{} has died", self.what)),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(format!("{} cannot be heard: {error}", self.what)),
        }
    }

    /// Waits until it is ready; or why it will not be.
    fn await_ready(&mut self) -> Result<(), String> {
        let line = self.line()?;
        if line == "ready" {
            return Ok(());
        }
        let facts: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        Err(format!("{}: {}", self.what, facts["error"].as_str().unwrap_or("no such answer")))
    }

    fn answer(&mut self) -> Result<Answer, String> {
        let line = self.line()?;
        let facts: Value = serde_json::from_str(&line)
            .map_err(|error| format!("{} answers what is no JSON: {error}", self.what))?;
        if let Some(error) = facts["error"].as_str() {
            return Err(format!("{}: {error}", self.what));
        }
        let size = facts["bytes"].as_u64().unwrap_or(0);
        let mut bytes = Vec::new();
        let read = (&mut self.output).take(size).read_to_end(&mut bytes);
        if read.is_ok_and(|read| read as u64 == size) {
            return Ok(Answer { facts, bytes });
        }
        Err(format!("{} has died while it answered", self.what))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a run of several ends came to.
#[derive(Debug)]
pub struct Heard {
    /// In the order of the tasks.
    pub answers: Vec<Answer>,
    pub begin_ns: u64,
}

/// Starts the ends, has them begin at the same moment, and hears what they answer.
pub fn run(tasks: &[Task], threads: bool, interrupt: &Interrupt) -> Result<Heard, Failure> {
    let heard = start_and_hear(tasks, threads, interrupt);
    // Ctrl-C ends the others too, and then they cannot answer.
    match interrupt.signal() {
        Some(signal) => Err(Failure::Interrupted(signal)),
        None => heard,
    }
}

fn start_and_hear(tasks: &[Task], threads: bool, interrupt: &Interrupt) -> Result<Heard, Failure> {
    /// Between the word and the beginning, so that everybody has heard it.
    const LEAD_NS: u64 = 10_000_000;
    const LOOK: Duration = Duration::from_millis(200);
    let system = |doing| move |source| Failure::System { source, doing };
    let mut ends = Vec::new();
    for task in tasks {
        let mut end = End::start(task, threads).map_err(system("start a process"))?;
        let line = serde_json::to_string(task).map_err(|error| Failure::End(error.to_string()))?;
        writeln!(end.input, "{line}").map_err(system("tell a process what to do"))?;
        // One after the other: members of a subscription that is yet to be made, for one.
        end.await_ready().map_err(Failure::End)?;
        ends.push(end);
    }
    let begin_ns = MachineClock::spinning().now_ns() + LEAD_NS;
    for end in &mut ends {
        writeln!(end.input, "{begin_ns}").map_err(system("tell a process when to begin"))?;
    }
    let mut answers = vec![Answer::default(); ends.len()];
    let (tell, hear) = mpsc::channel();
    let mut children: Vec<Option<Child>> = ends.iter_mut().map(|end| end.child.take()).collect();
    for (index, mut end) in ends.into_iter().enumerate() {
        let tell = tell.clone();
        std::thread::spawn(move || tell.send((index, end.answer())));
    }
    drop(tell);
    let mut left = answers.len();
    let mut result = Ok(());
    while left > 0 && result.is_ok() && interrupt.signal().is_none() {
        match hear.recv_timeout(LOOK) {
            Ok((index, Ok(answer))) => {
                answers[index] = answer;
                left -= 1;
            }
            Ok((_, Err(what))) => result = Err(Failure::End(what)),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                result = Err(Failure::End("nobody answers".into()));
            }
        }
    }
    for child in children.iter_mut().flatten() {
        if left > 0 {
            let _ = child.kill();
        }
        let _ = child.wait();
    }
    result.map(|()| Heard { answers, begin_ns })
}
