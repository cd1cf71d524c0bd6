//! `ringway sub --ack manual`: messages are written, and whoever reads them says on the standard input
//! what to do with each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{Acked, Acker, Nacked};

use crate::failure::Failure;
use crate::interrupt::{Interrupt, is_abandoned};
use crate::output::{self, Console};
use crate::sink::{Printed, Sink};
use crate::subscribe::SLICE;

/// Writes messages, and is told what to do with them.
pub struct Dialogue<'a> {
    sink: Sink<'a>,
    answers: Arc<Answers>,
    /// How long to wait for an answer once there is nothing else to do.
    timeout: Option<Duration>,
    interrupt: &'a Interrupt,
    console: Console,
}

impl<'a> Dialogue<'a> {
    /// Whoever has closed our output may have read it, and be about to answer.
    const GRACE: Duration = Duration::from_secs(1);

    /// With the names of the queues and what settles their messages, by their numbers from 0 on. If
    /// there are several, each answer says of which.
    pub fn new(
        sink: Sink<'a>,
        ackers: Vec<(String, Acker)>,
        timeout: Option<Duration>,
        interrupt: &'a Interrupt,
        console: Console,
    ) -> Self {
        let answers = Arc::new(Answers::new());
        let obedient = Obedient { ackers, console, answers: Arc::clone(&answers), count: 0 };
        thread::spawn(move || obedient.obey_all());
        Self { sink, answers, timeout, interrupt, console }
    }

    /// Writes a message of the queue of this number.
    pub fn ask(&mut self, number: usize, message: Printed<'_>) -> Result<(), Failure> {
        // Before anybody can answer.
        let mut state = self.answers.state();
        state.unacked.insert((number, message.sequence()));
        let highest = state.highest.entry(number).or_insert(0);
        *highest = message.sequence().max(*highest);
        state.moved_at = Instant::now();
        drop(state);
        self.sink.write(message)
    }

    /// Lets out what was written, if nothing else is to be done, and tells whether there will be no
    /// more answers.
    pub fn settle(&mut self, was_idle: bool) -> Result<bool, Failure> {
        if was_idle {
            self.sink.flush()?;
        }
        let ended = self.answers.state().ended.take();
        ended.map_or(Ok(false), |ended| ended.map(|()| true))
    }

    /// Waits for the answers that are left, unless none comes for too long, or from a reader that has
    /// gone.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.sink.flush()?;
        let mut abandoned_at = None;
        let mut state = self.answers.state();
        while (!state.unacked.is_empty() || state.is_obeying)
            && !state.is_over
            && self.interrupt.signal().is_none()
        {
            if abandoned_at.is_none() && is_abandoned(io::stdout().as_fd()) {
                abandoned_at = Some(Instant::now());
            }
            let has_gone = abandoned_at
                .is_some_and(|since| state.moved_at.max(since).elapsed() >= Self::GRACE);
            let is_late = self.timeout.is_some_and(|time| state.moved_at.elapsed() >= time);
            if (has_gone || is_late) && !state.is_obeying {
                break;
            }
            let waited = self.answers.changed.wait_timeout(state, SLICE);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if !state.unacked.is_empty() {
            let count = output::count(state.unacked.len() as u64, "message");
            self.console.note(format_args!("{count} without an answer went back"));
        }
        state.ended.take().unwrap_or(Ok(()))
    }
}

/// What comes on the standard input, and what it was about: lines such as `ack 17`. A thread of its
/// own obeys them, which ends with the program.
struct Answers {
    state: Mutex<Answered>,
    changed: Condvar,
}

struct Answered {
    /// The queue's number and the sequence of each.
    unacked: BTreeSet<(usize, u64)>,
    /// The highest sequence that was written of each queue, by its number.
    highest: BTreeMap<usize, u64>,
    /// Whether what was taken out of these is being done.
    is_obeying: bool,
    /// When a message was written, or an answer came.
    moved_at: Instant,
    /// Whether there will be no more, and, until somebody takes it, how it ended.
    is_over: bool,
    ended: Option<Result<(), Failure>>,
}

impl Answers {
    fn new() -> Self {
        let state = Answered {
            unacked: BTreeSet::new(),
            highest: BTreeMap::new(),
            is_obeying: false,
            moved_at: Instant::now(),
            is_over: false,
            ended: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, Answered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Answered)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

/// Does what the standard input says.
struct Obedient {
    ackers: Vec<(String, Acker)>,
    console: Console,
    answers: Arc<Answers>,
    /// How many lines there were.
    count: u64,
}

impl Obedient {
    /// No line that means something is longer, with the name of a queue in it.
    const LINE_SIZE_MAX: u64 = 64 + 200;

    fn obey_all(mut self) {
        let ended = self.obey_lines();
        self.answers.change(|state| {
            (state.is_obeying, state.is_over) = (false, true);
            state.ended = Some(ended);
        });
    }

    fn obey_lines(&mut self) -> Result<(), Failure> {
        let mut lines = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.by_ref().take(Self::LINE_SIZE_MAX + 1).read_until(b'\n', &mut line);
            let name = "the standard input".into();
            if read.map_err(|source| Failure::Input { source, name })? == 0 {
                return Ok(());
            }
            self.count += 1;
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if line.len() as u64 > Self::LINE_SIZE_MAX {
                return Err(self.meaningless(&line));
            }
            self.obey(&line)?;
        }
    }

    fn obey(&self, line: &[u8]) -> Result<(), Failure> {
        let meaningless = || self.meaningless(line);
        let text = str::from_utf8(line).map_err(|_| meaningless())?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some((&verb, rest)) = words.split_first() else { return Ok(()) };
        let (number, rest) = self.queue_of(rest).ok_or_else(meaningless)?;
        let (sequence, pause) = match *rest {
            [sequence] => (sequence, None),
            [sequence, pause] if verb == "nack" => (sequence, Some(pause)),
            _ => return Err(meaningless()),
        };
        let sequence = sequence.parse().map_err(|_| meaningless())?;
        let pause = pause.map(humantime::parse_duration).transpose();
        let pause = pause.map_err(|_| meaningless())?;
        let (name, acker) = &self.ackers[number];
        // Beyond all that was written: a slip of the pen would acknowledge everything.
        let highest = self.answers.state().highest.get(&number).copied();
        if verb == "ack-through" && highest.is_none_or(|highest| sequence > highest) {
            let last = highest.map_or("none yet".into(), |highest| highest.to_string());
            self.console.note(format_args!(
                "'{}' acknowledges nothing: the last message written is {last}",
                words.join(" ")
            ));
            return Ok(());
        }
        self.answers.change(|state| {
            (state.is_obeying, state.moved_at) = (true, Instant::now());
            // First of all: it may come again before this goes on.
            state.unacked.retain(|&(queue, other)| match verb {
                _ if queue != number => true,
                "ack" | "nack" | "reject" => other != sequence,
                "ack-through" => other > sequence,
                _ => true,
            });
        });
        let is_late = match verb {
            "ack" => acker.ack(sequence)? == Acked::Late,
            "ack-through" => acker.ack_through(sequence)? == Acked::Late,
            "nack" => {
                let nacked = match pause {
                    Some(pause) => acker.nack_after(sequence, pause)?,
                    None => acker.nack(sequence)?,
                };
                if nacked == Nacked::DeadLetter {
                    let of =
                        if self.is_of_several() { format!(" of '{name}'") } else { String::new() };
                    self.console.note(format_args!("message {sequence}{of} is a dead letter now"));
                }
                nacked == Nacked::Late
            }
            "reject" => acker.reject(sequence)? == Acked::Late,
            "extend" => acker.extend(sequence)? == Acked::Late,
            _ => return Err(meaningless()),
        };
        self.answers.change(|state| state.is_obeying = false);
        if is_late {
            self.note_late(&words);
        }
        Ok(())
    }

    fn note_late(&self, words: &[&str]) {
        let answer = words.join(" ");
        self.console.note(format_args!(
            "'{answer}' is too late, or was not to be answered: no such message is out, or it has passed to another member"
        ));
    }

    fn is_of_several(&self) -> bool {
        self.ackers.len() > 1
    }

    /// The number of the queue that an answer is about, and what follows its name.
    fn queue_of<'w>(&self, words: &'w [&'w str]) -> Option<(usize, &'w [&'w str])> {
        if !self.is_of_several() {
            return Some((0, words));
        }
        let (name, rest) = words.split_first()?;
        Some((self.ackers.iter().position(|(other, _)| other == name)?, rest))
    }

    fn meaningless(&self, line: &[u8]) -> Failure {
        let number = self.count;
        let line = String::from_utf8_lossy(line);
        let with =
            if self.is_of_several() { "one of the queues and a sequence" } else { "a sequence" };
        Failure::Record(format!(
            "line {number} of the standard input, '{}', is none of ack, ack-through, nack, reject and extend with {with} (and nack with a time, such as 30s)",
            line.escape_debug()
        ))
    }
}
