//! The roles of a run: what each of its ends does.
//!
//! An end [prepares](Set::prepare) all that takes time, and gives back what is then to be done at the
//! moment that everybody is told.

use ringway::workload::{
    Board, Bound, Clock, MachineClock, Offer, Sample, Service, WhenFull, answer_round_trips,
    receive_stream, round_trips, send_stream, serve,
};
use ringway::{Consumer, Queue, Subscribe, Wait};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What those who share the messages of a load are members of.
const SUBSCRIPTION: &str = "servers";

pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

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

impl Role {
    /// What it is called where it fails.
    pub fn name(&self) -> String {
        match self {
            Self::Serve(ServeTask { consumer, .. }) => format!("consumer {consumer}"),
            Self::Offer(_) | Self::Send { .. } | Self::Ask { .. } => "the producer".into(),
            Self::Receive { .. } => "a consumer".into(),
            Self::Answer | Self::BareAnswer { .. } => "the answering end".into(),
            Self::BarePing { .. } => "the asking end".into(),
        }
    }
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
    pub bytes: Vec<u8>,
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

    pub fn of_facts(facts: Value) -> Self {
        Self { facts, bytes: Vec::new() }
    }

    pub fn of_numbers(facts: Value, numbers: &[u64]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { facts, bytes }
    }
}

/// What an end has when it may begin.
pub struct Set {
    pub board: Board,
    pub queues: Vec<Queue>,
    pub clock: MachineClock,
    pub wait: Wait,
}

/// What is done, and measured, from a moment on.
pub type Act<'a> = Box<dyn FnOnce(u64) -> Result<Answer, AnyError> + 'a>;

impl Set {
    /// Everything that takes time before the beginning; what is returned is what is measured.
    pub fn prepare<'a>(&'a self, role: &'a Role) -> Result<Act<'a>, AnyError> {
        match role {
            Role::BarePing { rounds } => Ok(self.bare_ping(*rounds)),
            Role::BareAnswer { rounds } => Ok(self.bare_answer(*rounds)),
            Role::Send { size, batch, for_ns } => self.send(*size, *batch, *for_ns),
            Role::Receive { batch, warm_up_ns } => self.receive(*batch, *warm_up_ns),
            Role::Ask { size, warm_up_ns, for_ns } => self.ask(*size, *warm_up_ns, *for_ns),
            Role::Answer => self.answer(),
            Role::Offer(task) => self.offer(task),
            Role::Serve(task) => self.serve(task),
        }
    }

    fn bare_ping(&self, rounds: u64) -> Act<'_> {
        Box::new(move |begin_ns| {
            self.clock.wait_until(begin_ns);
            let begin_ns = self.clock.now_ns();
            let times = (1..=rounds).map(|round| {
                self.board.ping(round);
                self.clock.now_ns()
            });
            let times: Vec<u64> = times.collect();
            let before = std::iter::once(&begin_ns).chain(&times);
            let trips: Vec<u64> =
                times.iter().zip(before).map(|(end, begin)| end - begin).collect();
            Ok(Answer::of_numbers(json!({}), &trips))
        })
    }

    fn bare_answer(&self, rounds: u64) -> Act<'_> {
        Box::new(move |_| {
            self.board.answer(rounds);
            Ok(Answer::of_facts(json!({})))
        })
    }

    fn send(&self, size: usize, batch: usize, for_ns: u64) -> Result<Act<'_>, AnyError> {
        let producer = self.producer(self.queue()?)?;
        Ok(Box::new(move |begin_ns| {
            self.clock.wait_until(begin_ns);
            // Who was late all the same runs for as long.
            let until_ns = self.clock.now_ns().saturating_add(for_ns);
            let sent = send_stream(producer, &self.clock, size, batch, until_ns)?;
            Ok(Answer::of_facts(json!({ "sent": sent.sent, "begin_ns": sent.begin_ns })))
        }))
    }

    fn receive(&self, batch: usize, warm_up_ns: u64) -> Result<Act<'_>, AnyError> {
        let mut consumer = self.consumer(self.queue()?, None)?;
        Ok(Box::new(move |begin_ns| {
            // Without a warm-up the first message counts, whenever it comes.
            let from_ns = if warm_up_ns > 0 { begin_ns.saturating_add(warm_up_ns) } else { 0 };
            let all = receive_stream(&mut consumer, &self.clock, batch, from_ns)?;
            Ok(Answer::of_facts(json!({
                "received": all.received, "duplicated": all.duplicated, "late": all.late,
                "before": all.before, "begin_ns": all.begin_ns, "end_ns": all.end_ns,
            })))
        }))
    }

    fn ask(&self, size: usize, warm_up_ns: u64, for_ns: u64) -> Result<Act<'_>, AnyError> {
        let producer = self.producer(self.queue()?)?;
        let mut answers = self.consumer(self.back()?, None)?;
        Ok(Box::new(move |begin_ns| {
            let clock = &self.clock;
            clock.wait_until(begin_ns);
            let from_ns = clock.now_ns().saturating_add(warm_up_ns);
            let until_ns = from_ns.saturating_add(for_ns);
            let trips = round_trips(producer, &mut answers, clock, size, from_ns, until_ns)?;
            Ok(Answer::of_numbers(json!({}), &trips))
        }))
    }

    fn answer(&self) -> Result<Act<'_>, AnyError> {
        let mut questions = self.consumer(self.queue()?, None)?;
        let mut producer = self.producer(self.back()?)?;
        Ok(Box::new(move |_| {
            let answered = answer_round_trips(&mut questions, &mut producer)?;
            Ok(Answer::of_facts(json!({ "answered": answered })))
        }))
    }

    fn offer<'a>(&'a self, task: &'a OfferTask) -> Result<Act<'a>, AnyError> {
        let producer = self.producer(self.queue()?)?;
        let offer = task.offer()?;
        Ok(Box::new(move |begin_ns| {
            let departed = || task.departed(&self.board);
            let offered = offer.send(producer, &self.clock, begin_ns, departed)?;
            let facts = json!({
                "offered": offered.offered,
                "held": offered.held,
                "behind": offered.behind,
                "late_mean_ns": offered.late_mean_ns,
                "late_max_ns": offered.late_max_ns,
                "end_ns": offered.end_ns,
            });
            Ok(Answer::of_numbers(facts, &offered.refused))
        }))
    }

    fn serve(&self, task: &ServeTask) -> Result<Act<'_>, AnyError> {
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
        Ok(Box::new(move |_| {
            let count = |through| self.board.set(line, through);
            let served = serve(&mut consumer, &self.clock, own, expected, count)?;
            let bytes = served.samples.iter().flat_map(|sample| sample.to_bytes());
            Ok(Answer { facts: json!({}), bytes: bytes.collect() })
        }))
    }

    fn queue(&self) -> Result<&Queue, AnyError> {
        self.queues.first().ok_or_else(|| "there is no queue".into())
    }

    fn back(&self) -> Result<&Queue, AnyError> {
        self.queues.get(1).ok_or_else(|| "there is no way back".into())
    }

    fn producer(&self, queue: &Queue) -> Result<ringway::Producer, AnyError> {
        let mut producer = queue.producer()?;
        producer.set_wait(self.wait);
        Ok(producer)
    }

    fn consumer(&self, queue: &Queue, shared: Option<&str>) -> Result<Consumer, AnyError> {
        let options = Subscribe::new().wait(self.wait);
        Ok(match shared {
            // One message at a time, or a busy member would keep some from an idle one.
            Some(name) => queue.subscribe(&options.named(name).prefetch(1))?,
            None => queue.subscribe(&options)?,
        })
    }
}
