//! Messages on their way to the standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringway::{ArchivedMessage, Message};
use serde_json::{Value, json};

use crate::args::Format;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::options::Delimiter;
use crate::output::exact_time;
use crate::records;

/// Writes messages, and does not let them out before it is told to or has a buffer full.
#[derive(Debug)]
pub struct Sink<'a> {
    output: BufWriter<Output<'a>>,
    format: Format,
    delimiter: Delimiter,
    /// Whether to tell how often a message has been delivered.
    shared: bool,
}

impl<'a> Sink<'a> {
    const BUFFER_SIZE: usize = 64 << 10;

    pub fn new(
        format: Format,
        delimiter: Delimiter,
        shared: bool,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        let output = Output::open(interrupt).map_err(Failure::Output)?;
        let output = BufWriter::with_capacity(Self::BUFFER_SIZE, output);
        Ok(Self { output, format, delimiter, shared })
    }

    pub fn write<'p>(&mut self, message: impl Into<Printed<'p>>) -> Result<(), Failure> {
        let message = message.into();
        let written = match self.format {
            Format::Raw => {
                let name = message.queue.map_or(Ok(()), |name| write!(self.output, "{name}\t"));
                name.and_then(|()| {
                    records::write(&mut self.output, message.payload, self.delimiter)
                })
            }
            Format::Jsonl => writeln!(self.output, "{}", message.as_json(self.shared)),
        };
        written.map_err(|error| self.failure(error))
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(|error| self.failure(error))
    }

    fn failure(&self, error: io::Error) -> Failure {
        match self.output.get_ref().interrupt.signal() {
            Some(signal) if error.kind() == ErrorKind::WouldBlock => Failure::Interrupted(signal),
            _ => Failure::Output(error),
        }
    }
}

/// The standard output. Whoever waits for its reader is not deaf to signals meanwhile.
#[derive(Debug)]
struct Output<'a> {
    file: File,
    is_socket: bool,
    interrupt: &'a Interrupt,
}

impl<'a> Output<'a> {
    fn open(interrupt: &'a Interrupt) -> io::Result<Self> {
        let mut file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            // Opened anew, because others who have it may not expect that it does not wait.
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(libc::O_NONBLOCK);
            file = options.open("/proc/self/fd/1").unwrap_or(file);
        }
        Ok(Self { file, is_socket: kind.is_socket(), interrupt })
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_socket {
            return self.file.write(bytes);
        }
        // It cannot be opened anew, so each call says that it does not wait.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the kernel reads that many bytes from there, which outlive the call.
        let sent =
            unsafe { libc::send(self.file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.interrupt.await_writable(self.file.as_fd())? {
                        return Err(error);
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is printed of a message, wherever it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a> {
    /// Where it comes from, if that is to be told.
    queue: Option<&'a str>,
    sequence: u64,
    delivery: u32,
    key_hash: Option<u64>,
    time: Option<SystemTime>,
    payload: &'a [u8],
}

impl<'a> From<Message<'a>> for Printed<'a> {
    fn from(message: Message<'a>) -> Self {
        Self {
            queue: None,
            sequence: message.sequence(),
            delivery: message.delivery(),
            key_hash: message.key_hash(),
            time: message.time(),
            payload: message.payload(),
        }
    }
}

impl<'a> From<&'a ArchivedMessage> for Printed<'a> {
    fn from(message: &'a ArchivedMessage) -> Self {
        let ArchivedMessage { sequence, key_hash, .. } = *message;
        let (time, payload) = (Some(message.time), &message.payload);
        Self { queue: None, sequence, delivery: 1, key_hash, time, payload }
    }
}

impl<'a> Printed<'a> {
    /// Tells the queue too.
    pub fn of_queue(self, name: &'a str) -> Self {
        Self { queue: Some(name), ..self }
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    fn as_json(&self, shared: bool) -> Value {
        let mut value = json!({});
        if let Some(name) = self.queue {
            value["queue"] = name.into();
        }
        value["sequence"] = self.sequence.into();
        if shared {
            value["delivery"] = self.delivery.into();
        }
        if let Some(hash) = self.key_hash {
            value["key_hash"] = key_hash(hash).into();
        }
        if let Some(time) = self.time {
            value["time"] = exact_time(time).into();
        }
        put_payload(&mut value, self.payload);
        value
    }
}

/// Adds a payload to an object: as it is if it is text, else in base64.
pub fn put_payload(object: &mut Value, payload: &[u8]) {
    object["length"] = payload.len().into();
    match str::from_utf8(payload) {
        Ok(text) => object["data"] = text.into(),
        Err(_) => object["base64"] = STANDARD.encode(payload).into(),
    }
}

/// The hash of a key. A number of JSON would not keep all of its digits everywhere.
pub fn key_hash(hash: u64) -> String {
    format!("{hash:016x}")
}
