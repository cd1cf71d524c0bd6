//! Messages on their way to the standard output.

use std::io::{self, BufWriter, StdoutLock, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringway::Message;
use serde_json::{Value, json};

use crate::args::Format;
use crate::failure::Failure;
use crate::options::Delimiter;
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

    pub fn write(&mut self, message: Message<'_>) -> Result<(), Failure> {
        match self.format {
            Format::Raw => records::write(&mut self.output, message.payload(), self.delimiter),
            Format::Jsonl => writeln!(self.output, "{}", as_json(message, self.shared)),
        }
        .map_err(Failure::Output)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(Failure::Output)
    }
}

fn as_json(message: Message<'_>, shared: bool) -> Value {
    let mut value = json!({ "sequence": message.sequence() });
    if shared {
        value["delivery"] = message.delivery().into();
    }
    if let Some(hash) = message.key_hash() {
        value["key_hash"] = key_hash(hash).into();
    }
    put_payload(&mut value, message.payload());
    value
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
