//! What a member of a named subscription does with its messages (`ringway sub --as`): it writes
//! them, or gives each to a command, or leaves the word to whoever reads them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ringway::{AckMode, Acked, Acker, Consumer, Message, Nacked, Queue, Subscribe};

use crate::args::{Ack, Member, Sub};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::options::Backoff;
use crate::output::{self, Console};
use crate::sink::{Sink, key_hash};
use crate::subscribe::{Handler, Next, ReceivingEnd, SLICE};

/// What a member that writes has at most that is not acknowledged.
const PREFETCH: u32 = 32;

/// Makes a consumer that was asked for a member.
pub fn options(options: Subscribe, name: &str, member: &Member) -> Subscribe {
    let mut options = options.named(name).prefetch(prefetch(member)).ack(AckMode::Manual);
    if member.keyed {
        options = options.keyed();
    }
    if let Some(count) = member.max_deliveries {
        options = options.max_deliveries(count);
    }
    if let Some(Backoff { first, factor, max }) = member.backoff {
        options = options.backoff(first, factor, max);
    }
    if let Some(time) = member.ack_within {
        options = options.ack_within(time);
    }
    if let Some(time) = member.expires_after {
        options = options.expires_after(time);
    }
    if let Some(directory) = &member.dead_letters {
        options = options.dead_letters(directory);
    }
    options
}

/// How many messages it may have that are not acknowledged.
pub fn prefetch(member: &Member) -> u32 {
    // A command takes its time, in which others can do what comes next.
    let alone = member.exec.is_some();
    member.prefetch.unwrap_or(if alone { 1 } else { PREFETCH })
}

pub fn handler<'a>(
    queue: &'a Queue,
    subscribe: &'a Sub,
    end: &ReceivingEnd,
    interrupt: &'a Interrupt,
    console: Console,
) -> Result<Box<dyn Handler + 'a>, Failure> {
    let member = &subscribe.member;
    if let Some(command) = &member.exec {
        let subscription = member.subscription.as_deref().unwrap_or_default();
        let queue = queue.name();
        return Ok(Box::new(Executor { command, queue, subscription, interrupt, console }));
    }
    let sink = Sink::new(subscribe.format, subscribe.delimiter, true, interrupt)?;
    Ok(match member.ack {
        Ack::Auto => Box::new(Writer { sink, unacked: 0, highest: 0, prefetch: prefetch(member) }),
        Ack::Manual => {
            let answers = Answers::of_stdin(consumer(end)?.acker()?, console);
            Box::new(Dialogue { sink, answers, interrupt, console })
        }
    })
}

fn consumer(end: &ReceivingEnd) -> Result<&Consumer, Failure> {
    // The program never makes a handler of this file for an observer.
    end.consumer().ok_or_else(|| Failure::Usage("an observer acknowledges nothing".into()))
}

/// Writes messages, and acknowledges them once they are out of this process's hands.
struct Writer<'a> {
    sink: Sink<'a>,
    /// How many were written since, and the highest sequence of them.
    unacked: u32,
    highest: u64,
    prefetch: u32,
}

impl Handler for Writer<'_> {
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure> {
        self.sink.write(message)?;
        self.unacked += 1;
        self.highest = self.highest.max(message.sequence());
        Ok(())
    }

    fn settle(&mut self, end: &ReceivingEnd, was_idle: bool) -> Result<Next, Failure> {
        if was_idle || self.unacked >= self.prefetch {
            self.finish(end)?;
        }
        Ok(Next::Receive(SLICE))
    }

    fn unanswered(&self) -> u64 {
        self.unacked.into()
    }

    fn finish(&mut self, end: &ReceivingEnd) -> Result<(), Failure> {
        self.sink.flush()?;
        if self.unacked > 0 {
            // Those whose time was over come again, from whoever has them now; they are written.
            let _ = consumer(end)?.ack_through(self.highest)?;
            (self.unacked, self.highest) = (0, 0);
        }
        Ok(())
    }
}

/// Runs a command for each message.
struct Executor<'a> {
    command: &'a OsStr,
    queue: &'a str,
    subscription: &'a str,
    interrupt: &'a Interrupt,
    console: Console,
}

impl Handler for Executor<'_> {
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure> {
        let status = self.run(message).map_err(|source| {
            let doing = "run a shell";
            Failure::System { source, doing }
        })?;
        let (sequence, delivery) = (message.sequence(), message.delivery());
        if status.success() {
            if message.ack()? == Acked::Late {
                self.console.note(format_args!(
                    "message {sequence} took too long and has passed to another member"
                ));
            }
            return Ok(());
        }
        if let Some(code @ (126 | 127)) = status.code() {
            // By no fault of the message: it goes back as it is.
            return Err(Failure::Command { command: self.command.into(), code });
        }
        let is_ended_by = |signal| status.signal().is_some() || status.code() == Some(128 + signal);
        if let Some(signal) = self.interrupt.signal().filter(|&signal| is_ended_by(signal)) {
            // By no fault of the message either: it goes back with us.
            return Err(Failure::Interrupted(signal));
        }
        let what = match message.nack()? {
            Nacked::Retry(Duration::ZERO) => "it will be delivered again".into(),
            Nacked::Retry(pause) => {
                format!("it will be delivered again in {}", humantime::format_duration(pause))
            }
            Nacked::DeadLetter => "it is a dead letter now".into(),
            Nacked::Late => "it has passed to another member".into(),
        };
        self.console.note(format_args!(
            "message {sequence}, delivery {delivery}: the command failed ({status}); {what}"
        ));
        Ok(())
    }

    fn settle(&mut self, _end: &ReceivingEnd, _was_idle: bool) -> Result<Next, Failure> {
        Ok(Next::Receive(SLICE))
    }

    fn unanswered(&self) -> u64 {
        0
    }

    fn finish(&mut self, _end: &ReceivingEnd) -> Result<(), Failure> {
        Ok(())
    }
}

impl Executor<'_> {
    fn run(&self, message: Message<'_>) -> io::Result<ExitStatus> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(self.command).stdin(Stdio::piped());
        // What asks us to end, a Ctrl-C say, lets it end by itself; what kills us ends it too, because
        // another member has the message then.
        command.process_group(0);
        // SAFETY: it makes a system call, and does nothing else.
        unsafe { command.pre_exec(end_with_parent) };
        command.env("RINGWAY_QUEUE", self.queue);
        command.env("RINGWAY_SUBSCRIPTION", self.subscription);
        command.env("RINGWAY_SEQUENCE", message.sequence().to_string());
        command.env("RINGWAY_DELIVERY", message.delivery().to_string());
        command.env("RINGWAY_KEY_HASH", message.key_hash().map(key_hash).unwrap_or_default());
        let mut child = command.spawn()?;
        let written = child.stdin.take().map_or(Ok(()), |mut input| {
            // Dropped at once, which is the end of the input.
            input.write_all(message.payload())
        });
        let status = child.wait()?;
        match written {
            // It need not read all of it.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(status),
        }
    }
}

/// Has the system end this process when the thread that made it does.
fn end_with_parent() -> io::Result<()> {
    // SAFETY: it takes numbers alone.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes messages, and is told on the standard input what to do with them.
struct Dialogue<'a> {
    sink: Sink<'a>,
    answers: Arc<Answers>,
    interrupt: &'a Interrupt,
    console: Console,
}

impl Handler for Dialogue<'_> {
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure> {
        // Before anybody can answer.
        self.answers.state().unacked.insert(message.sequence());
        self.sink.write(message)
    }

    fn settle(&mut self, _end: &ReceivingEnd, was_idle: bool) -> Result<Next, Failure> {
        if was_idle {
            self.sink.flush()?;
        }
        let ended = self.answers.state().ended.take();
        ended.map_or(Ok(Next::Receive(SLICE)), |ended| ended.map(|()| Next::End))
    }

    fn unanswered(&self) -> u64 {
        self.answers.state().unacked.len() as u64
    }

    fn finish(&mut self, _end: &ReceivingEnd) -> Result<(), Failure> {
        self.sink.flush()?;
        let mut state = self.answers.state();
        while (!state.unacked.is_empty() || state.is_obeying)
            && !state.is_over
            && self.interrupt.signal().is_none()
        {
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
#[derive(Default)]
struct Answers {
    state: Mutex<Answered>,
    changed: Condvar,
}

#[derive(Default)]
struct Answered {
    unacked: BTreeSet<u64>,
    /// Whether what was taken out of these is being done.
    is_obeying: bool,
    /// Whether there will be no more, and, until somebody takes it, how it ended.
    is_over: bool,
    ended: Option<Result<(), Failure>>,
}

impl Answers {
    fn of_stdin(acker: Acker, console: Console) -> Arc<Self> {
        let answers = Arc::new(Self::default());
        let obedient = Obedient { acker, console, answers: Arc::clone(&answers), count: 0 };
        thread::spawn(move || obedient.obey_all());
        answers
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
    acker: Acker,
    console: Console,
    answers: Arc<Answers>,
    /// How many lines there were.
    count: u64,
}

impl Obedient {
    /// No line that means something is longer.
    const LINE_SIZE_MAX: u64 = 64;

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
        let (verb, sequence, pause) = match words[..] {
            [] => return Ok(()),
            [verb, sequence] => (verb, sequence, None),
            [verb @ "nack", sequence, pause] => (verb, sequence, Some(pause)),
            _ => return Err(meaningless()),
        };
        let sequence = sequence.parse().map_err(|_| meaningless())?;
        let pause = pause.map(humantime::parse_duration).transpose();
        let pause = pause.map_err(|_| meaningless())?;
        let acker = &self.acker;
        self.answers.change(|state| {
            state.is_obeying = true;
            // First of all: it may come again before this goes on.
            state.unacked.retain(|&other| match verb {
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
                    self.console.note(format_args!("message {sequence} is a dead letter now"));
                }
                nacked == Nacked::Late
            }
            "reject" => acker.reject(sequence)? == Acked::Late,
            "extend" => acker.extend(sequence)? == Acked::Late,
            _ => return Err(meaningless()),
        };
        self.answers.change(|state| state.is_obeying = false);
        if is_late {
            self.console.note(format_args!(
                "'{verb} {sequence}' is too late, or was not to be answered: no such message is out, or it has passed to another member"
            ));
        }
        Ok(())
    }

    fn meaningless(&self, line: &[u8]) -> Failure {
        let number = self.count;
        let line = String::from_utf8_lossy(line);
        Failure::Record(format!(
            "line {number} of the standard input, '{}', is none of ack, ack-through, nack, reject and extend with a sequence (and nack with a time, such as 30s)",
            line.escape_debug()
        ))
    }
}
