//! The ends of a run: what each does, and how they are started, told to begin and heard.
//!
//! Each end is a process of its own, this program once more, unless threads were asked for. It is
//! given a [`Task`] as a line of JSON, says `ready`, begins when it is told the moment of the
//! clock, and answers with a line of JSON and bytes. While it runs nobody else of us does: the one
//! who started it sleeps.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ringway::workload::{
    Board, Bound, Clock, MachineClock, Offer, Sample, Service, WhenFull, answer_round_trips, pin,
    receive_stream, round_trips, send_stream, serve, thread_cpu_ns,
};
use ringway::{Consumer, Queue, QueueOptions, Subscribe, Wait};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// What is in the environment of a process that is an end.
const END: &str = "RINGWAY_BENCH_END";

/// Whether this process was started as an end of a run.
pub fn is_end() -> bool {
    std::env::var_os(END).is_some()
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

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

/// What the ends of a run share, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Names {
    pub board: String,
    /// None for a bare line, a second one for the way back of round trips.
    pub queues: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// The bare line, to and fro.
    BarePing {
        rounds: u64,
    },
    BareAnswer {
        rounds: u64,
    },
    /// As fast as it goes.
    Send {
        size: usize,
        batch: usize,
        for_ns: u64,
    },
    Receive {
        batch: usize,
        warm_up_ns: u64,
    },
    /// To and fro.
    Ask {
        size: usize,
        warm_up_ns: u64,
        for_ns: u64,
    },
    Answer,
    /// In an open loop.
    Offer(OfferTask),
    Serve(ServeTask),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfferTask {
    pub arrival: String,
    pub rate_per_s: f64,
    pub length_ns: u64,
    /// For servers that share the messages.
    pub service: String,
    pub seed: u64,
    pub size: usize,
    pub places: Option<u32>,
    pub rejects: bool,
    pub consumers: usize,
    pub broadcast: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServeTask {
    pub offer: OfferTask,
    pub consumer: u16,
    /// Its own work, if every consumer gets all messages.
    pub own: Option<String>,
}

impl OfferTask {
    pub fn offer(&self) -> Result<Offer, ringway::workload::Error> {
        let when_full = if self.rejects { WhenFull::Reject } else { WhenFull::Wait };
        let bound = self.places.map(|places| Bound { places, when_full });
        let offer = Offer::new(self.arrival.parse()?, self.rate_per_s, self.length_ns)?;
        offer.serving(self.service.parse()?).bound(bound).seed(self.seed).size(self.size)
    }

    /// How many of the messages are through, by the counts on the board.
    fn departed(&self, board: &Board) -> u64 {
        let counts = (0..self.consumers).map(|consumer| board.get(Board::COUNTS + consumer));
        if self.broadcast { counts.min().unwrap_or(0) } else { counts.sum() }
    }
}

/// What an end answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub facts: Value,
    bytes: Vec<u8>,
}

impl Answer {
    /// A number among the facts; 0 if there is none.
    pub fn count(&self, name: &str) -> u64 {
        self.facts[name].as_u64().unwrap_or(0)
    }

    pub fn float(&self, name: &str) -> f64 {
        self.facts[name].as_f64().unwrap_or(0.0)
    }

    /// The part of the time that it ran on a processor.
    pub fn cpu_share(&self) -> f64 {
        self.float("cpu_ns") / self.float("wall_ns").max(1.0)
    }

    pub fn numbers(&self) -> Vec<u64> {
        let (numbers, _) = self.bytes.as_chunks();
        numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
    }

    pub fn samples(&self) -> Vec<Sample> {
        let (samples, _) = self.bytes.as_chunks();
        samples.iter().map(|bytes| Sample::from_bytes(*bytes)).collect()
    }

    fn of_facts(facts: Value) -> Self {
        Self { facts, bytes: Vec::new() }
    }

    fn of_numbers(facts: Value, numbers: &[u64]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { facts, bytes }
    }
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

/// Where an end stands when it may begin.
struct Set<'a> {
    task: &'a Task,
    board: Board,
    queues: Vec<Queue>,
    clock: MachineClock,
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
    let set = Set { task, board, queues: queues.collect::<Result<_, _>>()?, clock };
    let act = set.prepare()?;
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

type Act<'a> = Box<dyn FnOnce(u64) -> Result<Answer, AnyError> + 'a>;

impl Set<'_> {
    /// Everything that takes time before the beginning; what is returned is what is measured.
    fn prepare(&self) -> Result<Act<'_>, AnyError> {
        let clock = self.clock;
        Ok(match &self.task.role {
            Role::BarePing { rounds } => Box::new(move |begin_ns| {
                clock.wait_until(begin_ns);
                let begin_ns = clock.now_ns();
                let times = (1..=*rounds).map(|round| {
                    self.board.ping(round);
                    clock.now_ns()
                });
                let times: Vec<u64> = times.collect();
                let before = std::iter::once(&begin_ns).chain(&times);
                let trips: Vec<u64> =
                    times.iter().zip(before).map(|(end, begin)| end - begin).collect();
                Ok(Answer::of_numbers(json!({}), &trips))
            }),
            Role::BareAnswer { rounds } => Box::new(move |_| {
                self.board.answer(*rounds);
                Ok(Answer::of_facts(json!({})))
            }),
            Role::Send { size, batch, for_ns } => {
                let producer = self.producer(self.queue()?)?;
                Box::new(move |begin_ns| {
                    clock.wait_until(begin_ns);
                    // Who was late all the same runs for as long.
                    let until_ns = clock.now_ns().saturating_add(*for_ns);
                    let sent = send_stream(producer, &clock, *size, *batch, until_ns)?;
                    Ok(Answer::of_facts(json!({ "sent": sent.sent, "begin_ns": sent.begin_ns })))
                })
            }
            Role::Receive { batch, warm_up_ns } => {
                let mut consumer = self.consumer(self.queue()?, None)?;
                Box::new(move |begin_ns| {
                    // Without a warm-up the first message counts, whenever it comes.
                    let from_ns =
                        if *warm_up_ns > 0 { begin_ns.saturating_add(*warm_up_ns) } else { 0 };
                    let all = receive_stream(&mut consumer, &clock, *batch, from_ns)?;
                    Ok(Answer::of_facts(json!({
                        "received": all.received, "duplicated": all.duplicated, "late": all.late,
                        "before": all.before, "begin_ns": all.begin_ns, "end_ns": all.end_ns,
                    })))
                })
            }
            Role::Ask { size, warm_up_ns, for_ns } => {
                let producer = self.producer(self.queue()?)?;
                let mut answers = self.consumer(self.back()?, None)?;
                Box::new(move |begin_ns| {
                    clock.wait_until(begin_ns);
                    let from_ns = clock.now_ns().saturating_add(*warm_up_ns);
                    let until_ns = from_ns.saturating_add(*for_ns);
                    let trips =
                        round_trips(producer, &mut answers, &clock, *size, from_ns, until_ns)?;
                    Ok(Answer::of_numbers(json!({}), &trips))
                })
            }
            Role::Answer => {
                let mut questions = self.consumer(self.queue()?, None)?;
                let mut producer = self.producer(self.back()?)?;
                Box::new(move |_| {
                    let answered = answer_round_trips(&mut questions, &mut producer)?;
                    Ok(Answer::of_facts(json!({ "answered": answered })))
                })
            }
            Role::Offer(task) => {
                let producer = self.producer(self.queue()?)?;
                let offer = task.offer()?;
                Box::new(move |begin_ns| {
                    let departed = || task.departed(&self.board);
                    let offered = offer.send(producer, &clock, begin_ns, departed)?;
                    let facts = json!({
                        "offered": offered.offered,
                        "held": offered.held,
                        "behind": offered.behind,
                        "late_mean_ns": offered.late_mean_ns,
                        "late_max_ns": offered.late_max_ns,
                        "end_ns": offered.end_ns,
                    });
                    Ok(Answer::of_numbers(facts, &offered.refused))
                })
            }
            Role::Serve(task) => {
                let offer = task.offer.offer()?;
                let shared = !task.offer.broadcast && task.offer.consumers > 1;
                let mut consumer = self.consumer(self.queue()?, shared.then_some(SUBSCRIPTION))?;
                let own = task.own.as_deref().map(str::parse::<Service>).transpose()?;
                let own = own.map(|service| offer.work_of(task.consumer, &service));
                let share = if shared { task.offer.consumers } else { 1 };
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "an estimate, of 20 million at most"
                )]
                let expected = offer.messages_mean() as usize / share;
                let line = Board::COUNTS + usize::from(task.consumer);
                Box::new(move |_| {
                    let count = |through| self.board.set(line, through);
                    let served = serve(&mut consumer, &clock, own, expected, count)?;
                    let bytes = served.samples.iter().flat_map(|sample| sample.to_bytes());
                    Ok(Answer { facts: json!({}), bytes: bytes.collect() })
                })
            }
        })
    }

    fn queue(&self) -> Result<&Queue, AnyError> {
        self.queues.first().ok_or_else(|| "there is no queue".into())
    }

    fn back(&self) -> Result<&Queue, AnyError> {
        self.queues.get(1).ok_or_else(|| "there is no way back".into())
    }

    fn wait(&self) -> Result<Wait, AnyError> {
        Ok(self.task.wait.parse()?)
    }

    fn producer(&self, queue: &Queue) -> Result<ringway::Producer, AnyError> {
        let mut producer = queue.producer()?;
        producer.set_wait(self.wait()?);
        Ok(producer)
    }

    fn consumer(&self, queue: &Queue, shared: Option<&str>) -> Result<Consumer, AnyError> {
        let options = Subscribe::new().wait(self.wait()?);
        Ok(match shared {
            // One message at a time, or a busy member would keep some from an idle one.
            Some(name) => queue.subscribe(&options.named(name).prefetch(1))?,
            None => queue.subscribe(&options)?,
        })
    }
}

/// What those who share the messages of a load are members of.
const SUBSCRIPTION: &str = "servers";

/// The board and the queues of one run; they are gone with it.
#[derive(Debug)]
pub struct Stage {
    pub names: Names,
    _board: Board,
    _queues: Vec<Removed>,
}

#[derive(Debug)]
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        // A queue that is already gone, or not to be removed by us, is none of our business.
        let _ = Queue::force_remove(&self.0);
    }
}

impl Stage {
    /// With so many queues, each of so many bytes.
    pub fn new(queues: usize, capacity: u64, consumers: usize) -> Result<Self, Failure> {
        const SPARE: u32 = 4;
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Processes in containers that share their memory may have the same id, and what one that
        // was killed had stays.
        let chance = RandomState::new().hash_one(number);
        let name = format!("bench-{}-{number}-{chance:016x}", std::process::id());
        let board_name = format!("ringway-{name}");
        let board = Board::create(&board_name, Board::COUNTS + consumers)
            .map_err(|source| Failure::System { source, doing: "share a page of memory" })?;
        let members = u32::try_from(consumers).unwrap_or(u32::MAX).saturating_add(SPARE);
        let options = QueueOptions::new().capacity(capacity).members(members).subscriptions(1);
        let names = [name.clone(), format!("{name}-back")].into_iter().take(queues);
        let mut removed = Vec::new();
        for name in names.clone() {
            Queue::create(&name, &options)?;
            removed.push(Removed(name));
        }
        let names = Names { board: board_name, queues: names.collect() };
        Ok(Self { names, _board: board, _queues: removed })
    }
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

impl Role {
    fn name(&self) -> String {
        match self {
            Self::Serve(ServeTask { consumer, .. }) => format!("consumer {consumer}"),
            Self::Offer(_) | Self::Send { .. } | Self::Ask { .. } => "the producer".into(),
            Self::Receive { .. } => "a consumer".into(),
            Self::Answer | Self::BareAnswer { .. } => "the answering end".into(),
            Self::BarePing { .. } => "the asking end".into(),
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
