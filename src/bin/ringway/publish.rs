//! `ringway pub`: from arguments, a file or the standard input into a queue.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use ringway::{Producer, Queue, QueueOptions, Sent, Wait, key_hash};

use crate::args::Pub;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::output::{self, Console};
use crate::records::{RecordError, Records};

pub fn run(publish: &Pub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let queue = if publish.create {
        let options = QueueOptions::new().capacity(publish.capacity.as_u64());
        Queue::open_or_create(&publish.name, &options)?
    } else {
        open(&publish.name, owner)?
    };
    let interrupt = Interrupt::catch()?;
    let mut source = Source::of(publish, queue.message_size_max(), &interrupt)?;
    let mut producer = queue.producer()?;
    producer.set_wait(Wait::Park);
    let keys = Keys::of(publish);
    let mut sender =
        Sender { queue, producer, keys, interrupt: &interrupt, console, sent: 0, keyless: 0 };
    sender.wait_for(publish.wait_for)?;
    let ended = sender.send_all(&mut source, publish.rate, publish.count);
    let sent = output::count(sender.sent, "message");
    if let Some(signal) = interrupt.signal() {
        console.note(format_args!("interrupted; sent {sent} to '{}'", publish.name));
        return Ok(Ending::Interrupted(signal));
    }
    ended.map_err(|failure| match failure {
        Failure::Record(what) => Failure::Record(format!("{what}; sent {sent} before it")),
        other => other,
    })?;
    if publish.close {
        sender.producer.close()?;
    }
    if let Some(number) = publish.key_field.filter(|_| sender.keyless > 0) {
        let keyless = output::count(sender.keyless, "message");
        console.note(format_args!("{keyless} had no field {number}, and went without a key"));
    }
    console.note(format_args!("sent {sent} to '{}'", publish.name));
    Ok(Ending::Done)
}

/// Sends messages for as long as nobody interrupts.
struct Sender<'a> {
    queue: Queue,
    producer: Producer,
    keys: Keys,
    interrupt: &'a Interrupt,
    console: Console,
    sent: u64,
    /// How many should have had a key, and did not.
    keyless: u64,
}

impl Sender<'_> {
    fn wait_for(&self, subscriptions: usize) -> Result<(), Failure> {
        const INTERVAL: Duration = Duration::from_millis(20);
        let mut noted = false;
        while subscriptions > 0 && self.interrupt.signal().is_none() {
            let consumers = self.queue.info()?.consumers;
            let found = consumers.iter().filter(|consumer| consumer.alive).count();
            if found >= subscriptions {
                return Ok(());
            }
            if !noted {
                let name = self.queue.name();
                self.console.note(format_args!(
                    "waiting for subscriptions of '{name}': {found} of {subscriptions} are there"
                ));
                noted = true;
            }
            self.sleep(INTERVAL)?;
        }
        Ok(())
    }

    fn send_all(
        &mut self,
        source: &mut Source<'_>,
        rate: Option<f64>,
        count: Option<u64>,
    ) -> Result<(), Failure> {
        let begin = Instant::now();
        let mut message = Vec::new();
        while count.is_none_or(|count| self.sent < count) && source.next(&mut message)? {
            if let Some(rate) = rate {
                self.await_turn(begin, rate)?;
            }
            if self.interrupt.signal().is_some() {
                break;
            }
            let key = self.keys.hash_of(&message);
            if let Sent::Full | Sent::TimedOut = self.try_send(key, &message, Duration::ZERO)? {
                self.send_when_there_is_room(key, &message)?;
            }
            self.sent += 1;
            self.keyless += u64::from(key.is_none() && self.keys.are_wanted());
        }
        Ok(())
    }

    /// Messages are due at fixed times from the beginning, so that a late one does not put off
    /// those after it.
    fn await_turn(&self, begin: Instant, rate: f64) -> Result<(), Failure> {
        #[allow(clippy::cast_precision_loss, reason = "2^53 messages are years at any rate")]
        let due = Duration::try_from_secs_f64(self.sent as f64 / rate).unwrap_or(Duration::MAX);
        match due.checked_sub(begin.elapsed()) {
            Some(rest) => self.sleep(rest),
            None => Ok(()),
        }
    }

    fn try_send(
        &mut self,
        key: Option<u64>,
        payload: &[u8],
        patience: Duration,
    ) -> Result<Sent, ringway::Error> {
        let message = self.producer.message();
        let message = match key {
            Some(hash) => message.key_hash(hash),
            None => message,
        };
        if patience.is_zero() {
            message.try_send(payload)
        } else {
            message.send_timeout(payload, patience)
        }
    }

    fn send_when_there_is_room(&mut self, key: Option<u64>, message: &[u8]) -> Result<(), Failure> {
        /// How long a signal goes unseen at most.
        const SLICE: Duration = Duration::from_millis(100);
        /// To be held for longer is worth a word.
        const UNREMARKABLE: Duration = Duration::from_secs(1);
        let begin = Instant::now();
        let mut noted = false;
        while self.interrupt.signal().is_none() {
            if let Sent::Sequence(_) = self.try_send(key, message, SLICE)? {
                return Ok(());
            }
            if !noted && begin.elapsed() >= UNREMARKABLE {
                self.note_who_holds();
                noted = true;
            }
        }
        Ok(())
    }

    fn note_who_holds(&self) {
        let holders: Vec<_> = self.producer.held_by().iter().map(ToString::to_string).collect();
        if let Some(time) = self.producer.held_for()
            && !holders.is_empty()
        {
            let (name, holders) = (self.queue.name(), holders.join("; "));
            let time = output::duration(time);
            self.console
                .note(format_args!("held at '{name}' for {time}, a ring ahead of {holders}"));
        }
    }

    fn sleep(&self, time: Duration) -> Result<(), Failure> {
        self.interrupt.sleep(time).map_err(|source| Failure::System { source, doing: "sleep" })
    }
}

/// Where the keys of messages come from.
enum Keys {
    None,
    Same(u64),
    /// The field of this number, from 0, between such bytes, or between blanks.
    Field(usize, Option<u8>),
}

impl Keys {
    fn of(publish: &Pub) -> Self {
        match (&publish.key, publish.key_field) {
            (Some(key), _) => Self::Same(key_hash(key.as_bytes())),
            (None, Some(number)) => Self::Field(number.get() - 1, publish.key_separator),
            (None, None) => Self::None,
        }
    }

    fn are_wanted(&self) -> bool {
        !matches!(self, Self::None)
    }

    fn hash_of(&self, message: &[u8]) -> Option<u64> {
        match *self {
            Self::None => None,
            Self::Same(hash) => Some(hash),
            Self::Field(number, Some(separator)) => {
                message.split(|&byte| byte == separator).nth(number).map(key_hash)
            }
            Self::Field(number, None) => message
                .split(u8::is_ascii_whitespace)
                .filter(|field| !field.is_empty())
                .nth(number)
                .map(key_hash),
        }
    }
}

/// Where the messages come from.
enum Source<'a> {
    Arguments(std::slice::Iter<'a, OsString>),
    Input { records: Records<BufReader<Input<'a>>>, name: String },
}

const BUFFER_SIZE: usize = 64 << 10;

impl<'a> Source<'a> {
    fn of(
        publish: &'a Pub,
        message_size_max: usize,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        if !publish.messages.is_empty() {
            return Ok(Self::Arguments(publish.messages.iter()));
        }
        let (file, name) = if let Some(path) = &publish.file {
            (File::open(path), path.display().to_string())
        } else {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            (stdin.map(File::from), "the standard input".into())
        };
        let file = file.map_err(|source| Failure::Input { source, name: name.clone() })?;
        let input = BufReader::with_capacity(BUFFER_SIZE, Input { file, interrupt });
        let records = Records::new(input, publish.delimiter, message_size_max);
        Ok(Self::Input { records, name })
    }

    /// Puts the next message into `record`; `false` at the end.
    fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, Failure> {
        match self {
            Self::Arguments(messages) => {
                let message = messages.next();
                record.clear();
                record.extend_from_slice(message.map_or(&[], |message| message.as_bytes()));
                Ok(message.is_some())
            }
            Self::Input { records, name } => records.next(record).map_err(|error| match error {
                RecordError::Input(source) => Failure::Input { source, name: name.clone() },
                RecordError::Malformed(which, what) => {
                    Failure::Record(format!("{which} of {name} {what}"))
                }
            }),
        }
    }
}

/// An input that ends when the program is interrupted.
struct Input<'a> {
    file: File,
    interrupt: &'a Interrupt,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.await_readable(self.file.as_fd())? {
            self.file.read(buffer)
        } else {
            Ok(0)
        }
    }
}
