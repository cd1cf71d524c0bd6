//! `ringway pub`: from arguments, a file or the standard input into a queue.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use ringway::{QueueOptions, key_hash};

use crate::args::Pub;
use crate::create::open_or_create;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::output::{self, Console};
use crate::records::{RecordError, Records};
use crate::sender::Sender;

pub fn run(publish: &Pub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let queue = if publish.create {
        let options = QueueOptions::new().capacity(publish.capacity.as_u64());
        open_or_create(&publish.name, owner, &options)?
    } else {
        open(&publish.name, owner)?
    };
    // Who waits here, for somebody to open the other end of a pipe, is ended by the first signal.
    let input = open_input(publish)?;
    let interrupt = Interrupt::catch()?;
    let mut source = Source::of(publish, input, queue.message_size_max(), &interrupt);
    let sender = Sender::open(queue, publish.sending.patience, &interrupt, console)?;
    sender.run(&publish.sending, "sent", |sender| send_all(sender, publish, &mut source))
}

fn send_all(
    sender: &mut Sender<'_>,
    publish: &Pub,
    source: &mut Source<'_>,
) -> Result<(), Failure> {
    let keys = Keys::of(publish);
    let mut keyless = 0;
    let begin = Instant::now();
    let mut message = Vec::new();
    while publish.count.is_none_or(|count| sender.sent < count) && source.next(&mut message)? {
        let key = keys.hash_of(&message);
        let due = publish.rate.map_or(Duration::ZERO, |rate| due(sender.sent, rate));
        if !sender.send(key, &message, begin, due)? {
            break;
        }
        keyless += u64::from(key.is_none() && keys.are_wanted());
    }
    if let Some(number) = publish.key_field.filter(|_| keyless > 0) {
        let keyless = output::count(keyless, "message");
        sender
            .console
            .note(format_args!("{keyless} had no field {number}, and went without a key"));
    }
    Ok(())
}

/// Messages are due at fixed times from the beginning, so that a late one does not put off those
/// after it.
fn due(number: u64, rate: f64) -> Duration {
    #[allow(clippy::cast_precision_loss, reason = "2^53 messages are years at any rate")]
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX)
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
        input: Option<(File, String)>,
        message_size_max: usize,
        interrupt: &'a Interrupt,
    ) -> Self {
        let Some((file, name)) = input else {
            return Self::Arguments(publish.messages.iter());
        };
        let input = BufReader::with_capacity(BUFFER_SIZE, Input { file, interrupt });
        let records = Records::new(input, publish.delimiter, message_size_max);
        Self::Input { records, name }
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

/// What messages are read from, and its name, unless they are arguments.
fn open_input(publish: &Pub) -> Result<Option<(File, String)>, Failure> {
    if !publish.messages.is_empty() {
        return Ok(None);
    }
    let path = publish.file.as_ref().filter(|path| !output::is_standard(path));
    let (file, name) = if let Some(path) = path {
        (File::open(path), path.display().to_string())
    } else {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        (stdin.map(File::from), "the standard input".into())
    };
    match file {
        Ok(file) => Ok(Some((file, name))),
        Err(source) => Err(Failure::Input { source, name }),
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
