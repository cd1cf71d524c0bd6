//! What a member of a named subscription does with its messages (`ringway sub --as`): it writes
//! them, or gives each to a command, or leaves the word to whoever reads them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use ringway::{AckMode, Acked, Consumer, Message, Nacked, Queue, Subscribe};

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
            let unacked = BTreeSet::new();
            let answers = Answers::of_stdin(interrupt, console)?;
            Box::new(Dialogue { sink, unacked, prefetch: prefetch(member), answers })
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
    unacked: BTreeSet<u64>,
    prefetch: u32,
    answers: Answers<'a>,
}

impl Handler for Dialogue<'_> {
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure> {
        self.unacked.insert(message.sequence());
        self.sink.write(message)
    }

    fn settle(&mut self, end: &ReceivingEnd, was_idle: bool) -> Result<Next, Failure> {
        /// While answers are due they go unheard for so long at most.
        const ATTENTIVE: Duration = Duration::from_millis(2);
        let is_full = self.unacked.len() >= self.prefetch as usize;
        if was_idle || is_full {
            self.sink.flush()?;
        }
        let patience = if is_full { SLICE } else { Duration::ZERO };
        if !self.answers.obey(consumer(end)?, &mut self.unacked, patience)? {
            return Ok(Next::End);
        }
        Ok(match self.unacked.len() {
            0 => Next::Receive(SLICE),
            count if count < self.prefetch as usize => Next::Receive(ATTENTIVE),
            _ => Next::Ask,
        })
    }

    fn unanswered(&self) -> u64 {
        self.unacked.len() as u64
    }

    fn finish(&mut self, end: &ReceivingEnd) -> Result<(), Failure> {
        self.sink.flush()?;
        let consumer = consumer(end)?;
        while !self.unacked.is_empty()
            && self.answers.interrupt.signal().is_none()
            && self.answers.obey(consumer, &mut self.unacked, SLICE)?
        {}
        if !self.unacked.is_empty() {
            let count = output::count(self.unacked.len() as u64, "message");
            self.answers.console.note(format_args!("{count} without an answer went back"));
        }
        Ok(())
    }
}

/// What comes on the standard input: lines such as `ack 17`.
struct Answers<'a> {
    lines: BufReader<std::fs::File>,
    line: Vec<u8>,
    count: u64,
    interrupt: &'a Interrupt,
    console: Console,
}

impl<'a> Answers<'a> {
    /// No line that means something is longer.
    const LINE_SIZE_MAX: usize = 64;

    fn of_stdin(interrupt: &'a Interrupt, console: Console) -> Result<Self, Failure> {
        let stdin: io::Result<OwnedFd> = io::stdin().as_fd().try_clone_to_owned();
        let stdin = stdin.map_err(Self::unreadable)?;
        let lines = BufReader::new(stdin.into());
        Ok(Self { lines, line: Vec::new(), count: 0, interrupt, console })
    }

    fn unreadable(source: io::Error) -> Failure {
        Failure::Input { source, name: "the standard input".into() }
    }

    /// Does what it says, as far as it has been written; waits so long for something. `false` at
    /// the end.
    fn obey(
        &mut self,
        consumer: &Consumer,
        unacked: &mut BTreeSet<u64>,
        mut patience: Duration,
    ) -> Result<bool, Failure> {
        loop {
            if self.lines.buffer().is_empty() {
                let input = self.lines.get_ref().as_fd();
                let ready = self.interrupt.await_readable_within(input, patience);
                if !ready.map_err(Self::unreadable)? {
                    return Ok(true);
                }
            }
            patience = Duration::ZERO;
            let rest = Self::LINE_SIZE_MAX.saturating_sub(self.line.len()) as u64 + 1;
            let mut lines = self.lines.by_ref().take(rest);
            // No more than is there already, so that half a line does not hold up the messages.
            let read = lines.fill_buf().map_err(Self::unreadable)?;
            let end = read.iter().position(|&byte| byte == b'\n');
            let used = end.map_or(read.len(), |end| end + 1);
            self.line.extend_from_slice(&read[..end.unwrap_or(used)]);
            let at_end = used == 0;
            lines.consume(used);
            if end.is_some() || (at_end && !self.line.is_empty()) {
                self.count += 1;
                self.obey_line(consumer, unacked)?;
                self.line.clear();
            } else if self.line.len() > Self::LINE_SIZE_MAX {
                return Err(self.meaningless());
            }
            if at_end {
                return Ok(false);
            }
        }
    }

    fn obey_line(
        &mut self,
        consumer: &Consumer,
        unacked: &mut BTreeSet<u64>,
    ) -> Result<(), Failure> {
        let line = str::from_utf8(&self.line).map_err(|_| self.meaningless())?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, sequence, pause) = match words[..] {
            [] => return Ok(()),
            [verb, sequence] => (verb, sequence, None),
            [verb @ "nack", sequence, pause] => (verb, sequence, Some(pause)),
            _ => return Err(self.meaningless()),
        };
        let sequence = sequence.parse().map_err(|_| self.meaningless())?;
        let pause = pause.map(humantime::parse_duration).transpose();
        let pause = pause.map_err(|_| self.meaningless())?;
        let is_late = match verb {
            "ack" => {
                unacked.remove(&sequence);
                consumer.ack(sequence)? == Acked::Late
            }
            "ack-through" => {
                unacked.retain(|&other| other > sequence);
                consumer.ack_through(sequence)? == Acked::Late
            }
            "nack" => {
                unacked.remove(&sequence);
                let nacked = match pause {
                    Some(pause) => consumer.nack_after(sequence, pause)?,
                    None => consumer.nack(sequence)?,
                };
                if nacked == Nacked::DeadLetter {
                    self.console.note(format_args!("message {sequence} is a dead letter now"));
                }
                nacked == Nacked::Late
            }
            "reject" => {
                unacked.remove(&sequence);
                consumer.reject(sequence)? == Acked::Late
            }
            "extend" => consumer.extend(sequence)? == Acked::Late,
            _ => return Err(self.meaningless()),
        };
        if is_late {
            self.console.note(format_args!(
                "'{verb} {sequence}' is too late, or was not to be answered: no such message is out, or it has passed to another member"
            ));
        }
        Ok(())
    }

    fn meaningless(&self) -> Failure {
        let number = self.count.max(1);
        let line = String::from_utf8_lossy(&self.line);
        Failure::Record(format!(
            "line {number} of the standard input, '{}', is none of ack, ack-through, nack, reject and extend with a sequence (and nack with a time, such as 30s)",
            line.escape_debug()
        ))
    }
}
