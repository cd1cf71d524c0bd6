//! What a member of a named subscription does with its messages (`ringway sub --as`): it writes
//! them, or gives each to a command, or leaves the word to whoever reads them.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt, parent_id};
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use ringway::{AckMode, Acked, Consumer, Error, Message, Nacked, Queue, Subscribe};

use crate::args::{Member, Sub};
use crate::failure::Failure;
use crate::interrupt::{Interrupt, is_abandoned};
use crate::output::{self, Console};
use crate::sink::key_hash;

/// What a member that writes has at most that is not acknowledged.
const PREFETCH: u32 = 32;

/// Makes a consumer that was asked for a member.
pub fn options(options: Subscribe, name: &str, member: &Member) -> Subscribe {
    let options = options.named(name).prefetch(prefetch(member)).ack(AckMode::Manual);
    let mut options = options.terms(member.terms.asked());
    if member.keyed {
        options = options.keyed();
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

/// What was written and is not acknowledged yet.
#[derive(Debug, Default)]
pub struct Unacked {
    count: u32,
    /// The highest sequence of them.
    highest: u64,
}

impl Unacked {
    pub fn note(&mut self, sequence: u64) {
        self.count += 1;
        self.highest = self.highest.max(sequence);
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Acknowledges all of it. It is out of this process's hands.
    pub fn acknowledge(&mut self, consumer: &Consumer) -> Result<(), Error> {
        let Self { count, highest } = std::mem::take(self);
        if count > 0 {
            // Those whose time was over come again, from whoever has them now; they are written.
            let _ = consumer.ack_through(highest)?;
        }
        Ok(())
    }
}

/// Runs a command for each message.
pub struct Executor<'a> {
    command: &'a OsStr,
    queue: Queue,
    subscription: &'a str,
    /// How many messages of the subscription were dead letters when this began.
    dead_letters: u64,
    /// Of which queue a message is, where there are several.
    of: String,
    /// Whether it is a command: it ended once with another code than those of a shell that finds none.
    is_known: bool,
    interrupt: &'a Interrupt,
    console: Console,
}

impl<'a> Executor<'a> {
    pub fn new(
        command: &'a OsStr,
        queue: &Queue,
        subscribe: &'a Sub,
        interrupt: &'a Interrupt,
        console: Console,
    ) -> Result<Self, Failure> {
        let subscription = subscribe.member.subscription.as_deref().unwrap_or_default();
        let is_of_several = subscribe.names.len() > 1;
        let of = if is_of_several { format!(" of '{}'", queue.name()) } else { String::new() };
        let info = queue.info()?;
        let dead_letters = info.subscription(subscription).map_or(0, |found| found.dead_letters);
        let (queue, is_known) = (queue.clone(), false);
        Ok(Self { command, queue, subscription, dead_letters, of, is_known, interrupt, console })
    }

    pub fn take(&mut self, message: Message<'_>) -> Result<(), Failure> {
        let status = self.run(message).map_err(|source| {
            let doing = "run a shell";
            Failure::System { source, doing }
        })?;
        let (of, sequence, delivery) = (&self.of, message.sequence(), message.delivery());
        let none = status.code().filter(|code| matches!(code, 126 | 127));
        self.is_known |= none.is_none();
        if status.success() {
            if message.ack()? == Acked::Late {
                self.console.note(format_args!(
                    "message {sequence}{of} took too long and has passed to another member"
                ));
            }
            return Ok(());
        }
        if let Some(code) = none.filter(|_| !self.is_known) {
            // By no fault of the message, as far as can be told: it goes back as it is. Later it is
            // this message alone that a command of the command's own is missing for.
            let and = self.going_back(sequence, delivery);
            return Err(Failure::Command { command: self.command.into(), code, and });
        }
        if is_abandoned(io::stdout().as_fd()) {
            // Whatever it writes fails. The message goes back, and we end as we do when we write.
            return Err(Failure::Output(ErrorKind::BrokenPipe.into()));
        }
        let is_ended_by = |signal| status.signal().is_some() || status.code() == Some(128 + signal);
        if let Some(signal) = self.interrupt.signal().filter(|&signal| is_ended_by(signal)) {
            // By no fault of the message either: it goes back with us.
            return Err(Failure::Interrupted(signal));
        }
        let what = match message.nack()? {
            Nacked::Retry(Duration::ZERO) => "it will be delivered again".into(),
            Nacked::Retry(pause) => {
                format!("it will be delivered again in {}", output::duration(pause))
            }
            Nacked::DeadLetter => "it is a dead letter now".into(),
            Nacked::Late => "it has passed to another member".into(),
        };
        self.console.note(format_args!(
            "message {sequence}{of}, delivery {delivery}: the command failed ({status}); {what}"
        ));
        Ok(())
    }

    /// What becomes of a message that goes back, which has been delivered once more all the same.
    fn going_back(&self, sequence: u64, delivery: u32) -> String {
        let Self { queue, subscription, of, .. } = self;
        let back = format!("message {sequence}{of} went back");
        let Ok(info) = queue.info() else { return back };
        let Some(found) = info.subscription(subscription) else { return back };
        let what = match found.terms.deliveries_max {
            Some(most) if delivery >= most => format!(
                "that was delivery {delivery} of {most} of message {sequence}{of}: the next member makes it a dead letter (`ringway alter {} {subscription} --max-deliveries NUMBER` allows more, while no member lives)",
                queue.name()
            ),
            Some(most) => format!("{back}, after delivery {delivery} of {most}"),
            None => back,
        };
        match found.dead_letters.saturating_sub(self.dead_letters) {
            0 => what,
            1 => format!("{what}; meanwhile 1 message became a dead letter"),
            more => format!("{what}; meanwhile {more} messages became dead letters"),
        }
    }

    fn run(&self, message: Message<'_>) -> io::Result<ExitStatus> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(self.command).stdin(Stdio::piped());
        // What asks us to end, a Ctrl-C say, lets it end by itself; what kills us ends it too, because
        // another member has the message then: the shell, that is, which most commands take the place of.
        command.process_group(0);
        let parent = process::id();
        // SAFETY: it makes system calls, and does nothing else.
        unsafe { command.pre_exec(move || end_with_parent(parent)) };
        command.env("RINGWAY_QUEUE", self.queue.name());
        command.env("RINGWAY_SUBSCRIPTION", self.subscription);
        command.env("RINGWAY_SEQUENCE", message.sequence().to_string());
        command.env("RINGWAY_DELIVERY", message.delivery().to_string());
        command.env("RINGWAY_KEY_HASH", message.key_hash().map(key_hash).unwrap_or_default());
        let mut child = command.spawn()?;
        let written = child.stdin.take().map_or(Ok(()), |mut input| {
            // Dropped at once, which is the end of the input.
            input.write_all(message.payload())
        });
        let is_over = self.interrupt.await_end(&child)?;
        if !is_over {
            let sequence = message.sequence();
            self.console.note(format_args!(
                "waiting for the command of message {sequence}{} to end; a second signal does not wait",
                self.of
            ));
        }
        let status = child.wait()?;
        match written {
            // It need not read all of it.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(status),
        }
    }
}

/// Has the system end this process when the thread that made it does, or ends it if that process has
/// gone already.
fn end_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: it takes numbers alone.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Of who died before that there is no sign, but the child has another parent.
    if parent_id() != parent {
        // SAFETY: nobody waits for what this process might still do.
        unsafe { libc::_exit(1) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_lost_its_parent_runs_nothing() {
        // The second one's parent, as far as it can see, was another process.
        for (parent, expected) in [(process::id(), 7), (process::id() + 1, 1)] {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "exit 7"]);
            // SAFETY: it makes system calls, and does nothing else.
            unsafe { command.pre_exec(move || end_with_parent(parent)) };
            assert_eq!(command.status().unwrap().code(), Some(expected));
        }
    }
}
