//! Messages on their way to the standard output.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringway::{ArchivedMessage, Message};
use serde_json::{Value, json};

use crate::args::Format;
use crate::failure::Failure;
use crate::options::Delimiter;
use crate::output::exact_time;
use crate::records;

/// Writes messages, and does not let them out before it is told to or has a buffer full.
#[derive(Debug)]
pub struct Sink {
    output: BufWriter<StdoutLock<'static>>,
    format: Format,
    delimiter: Delimiter,
    /// Whether to tell how often a message has been delivered.
    shared: bool,
}

impl Sink {
    const BUFFER_SIZE: usize = 64 << 10;

    pub fn new(format: Format, delimiter: Delimiter, shared: bool) -> Self {
        let output = BufWriter::with_capacity(Self::BUFFER_SIZE, io::stdout().lock());
        Self { output, format, delimiter, shared }
    }

    pub fn write<'a>(&mut self, message: impl Into<Printed<'a>>) -> Result<(), Failure> {
        let message = message.into();
        match self.format {
            Format::Raw => records::write(&mut self.output, message.payload, self.delimiter),
            Format::Jsonl => writeln!(self.output, "{}", message.as_json(self.shared)),
        }
        .map_err(Failure::Output)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(Failure::Output)
    }
}

/// What is printed of a message, wherever it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a> {
    sequence: u64,
    delivery: u32,
    key_hash: Option<u64>,
    time: Option<SystemTime>,
    payload: &'a [u8],
}

impl<'a> From<Message<'a>> for Printed<'a> {
    fn from(message: Message<'a>) -> Self {
        Self {
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
        Self { sequence, delivery: 1, key_hash, time, payload }
    }
}

impl Printed<'_> {
    fn as_json(&self, shared: bool) -> Value {
        let mut value = json!({ "sequence": self.sequence });
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
