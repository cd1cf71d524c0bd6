//! `ringway sub`: from a queue to the standard output.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringway::{Consumer, Lag, Message, Observer, Queue, QueueOptions, Received, Subscribe};
use serde_json::json;

use crate::args::{Format, Sub};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::{Interrupt, is_abandoned};
use crate::options::Delimiter;
use crate::output::{self, Console};
use crate::records;

/// A signal, or that nobody reads the output any more, goes unseen for so long at most.
const SLICE: Duration = Duration::from_millis(100);

pub fn run(subscribe: &Sub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let queue = if subscribe.create {
        Queue::open_or_create(&subscribe.name, &QueueOptions::new())?
    } else {
        open(&subscribe.name, owner)?
    };
    let interrupt = Interrupt::catch()?;
    let mut end = ReceivingEnd::of(&queue, subscribe)?;
    let mut sink = Sink::new(subscribe.format, subscribe.delimiter);
    let mut tally = Tally::default();
    let ending = follow(&mut end, subscribe, &interrupt, &mut sink, &mut tally, console)?;
    sink.flush()?;
    let Tally { received, bytes, missed } = tally;
    if ending != Ending::Done || missed > 0 {
        console.note(format_args!(
            "received {} ({}) from '{}', missed {missed}; next is {}",
            output::count(received, "message"),
            output::bytes(bytes),
            subscribe.name,
            end.next_sequence(),
        ));
    }
    let skips = subscribe.observe || subscribe.lag == Lag::Skip;
    Ok(if ending == Ending::Done && missed > 0 && !skips { Ending::Missed } else { ending })
}

#[derive(Debug, Default)]
struct Tally {
    received: u64,
    bytes: u64,
    missed: u64,
}

fn follow(
    end: &mut ReceivingEnd,
    subscribe: &Sub,
    interrupt: &Interrupt,
    sink: &mut Sink,
    tally: &mut Tally,
    console: Console,
) -> Result<Ending, Failure> {
    let mut last = Instant::now();
    let mut wait = false;
    while subscribe.count.is_none_or(|count| tally.received < count) {
        if let Some(signal) = interrupt.signal() {
            return Ok(Ending::Interrupted(signal));
        }
        let received = if wait { end.receive_timeout(SLICE)? } else { end.try_receive()? };
        wait = false;
        match received {
            Received::Message(message) => {
                sink.write(message)?;
                tally.received += 1;
                tally.bytes += message.payload().len() as u64;
                if subscribe.timeout.is_some() {
                    last = Instant::now();
                }
            }
            Received::Missed { from, to } => {
                tally.missed += to - from;
                let count = output::count(to - from, "message");
                console.note(format_args!("missed {count}: {from} to {}", to - 1));
            }
            Received::Closed => return Ok(Ending::Done),
            Received::Empty | Received::TimedOut => {
                sink.flush()?;
                if subscribe.exit_on_end {
                    return Ok(Ending::Done);
                }
                if subscribe.timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
                    return Ok(Ending::TimedOut);
                }
                if is_abandoned(io::stdout().as_fd()) {
                    return Ok(Ending::Done);
                }
                wait = true;
            }
        }
    }
    Ok(Ending::Done)
}

/// A consumer or an observer.
enum ReceivingEnd {
    Consumer(Consumer),
    Observer(Observer),
}

impl ReceivingEnd {
    fn of(queue: &Queue, subscribe: &Sub) -> Result<Self, Failure> {
        Ok(if subscribe.observe {
            Self::Observer(queue.observe_with(subscribe.from, subscribe.wait)?)
        } else {
            let options =
                Subscribe::new().from(subscribe.from).on_lag(subscribe.lag).wait(subscribe.wait);
            Self::Consumer(queue.subscribe(&options)?)
        })
    }

    fn try_receive(&mut self) -> Result<Received<Message<'_>>, ringway::Error> {
        match self {
            Self::Consumer(consumer) => consumer.try_receive(),
            Self::Observer(observer) => observer.try_receive(),
        }
    }

    fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, ringway::Error> {
        match self {
            Self::Consumer(consumer) => consumer.receive_timeout(time),
            Self::Observer(observer) => observer.receive_timeout(time),
        }
    }

    fn next_sequence(&self) -> u64 {
        match self {
            Self::Consumer(consumer) => consumer.next_sequence(),
            Self::Observer(observer) => observer.next_sequence(),
        }
    }
}

/// Where the messages go.
struct Sink {
    output: BufWriter<StdoutLock<'static>>,
    format: Format,
    delimiter: Delimiter,
}

impl Sink {
    const BUFFER_SIZE: usize = 64 << 10;

    fn new(format: Format, delimiter: Delimiter) -> Self {
        let output = BufWriter::with_capacity(Self::BUFFER_SIZE, io::stdout().lock());
        Self { output, format, delimiter }
    }

    fn write(&mut self, message: Message<'_>) -> Result<(), Failure> {
        match self.format {
            Format::Raw => records::write(&mut self.output, message.payload(), self.delimiter),
            Format::Jsonl => writeln!(self.output, "{}", as_json(message)),
        }
        .map_err(Failure::Output)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(Failure::Output)
    }
}

fn as_json(message: Message<'_>) -> serde_json::Value {
    let (sequence, payload) = (message.sequence(), message.payload());
    if let Ok(text) = str::from_utf8(payload) {
        json!({ "sequence": sequence, "length": payload.len(), "data": text })
    } else {
        let base64 = STANDARD.encode(payload);
        json!({ "sequence": sequence, "length": payload.len(), "base64": base64 })
    }
}
