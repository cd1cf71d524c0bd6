//! The sending one of two programs: ten prices a second to the queue `ticks`.
//!
//! ```text
//! $ cargo run --example feed 50
//! sending 50 prices to the queue ticks
//! ```
//!
//! `watch` shows them in another terminal. Either may be started first, and any number of
//! `watch` at any time. An interrupted `feed` is no end of the stream: the next one goes on.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::{env, thread, time::Duration};

use ringway::{Queue, QueueOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let count = env::args().nth(1).map_or(Ok(50), |argument| argument.parse::<u64>())?;
    let queue = Queue::open_or_create("ticks", &QueueOptions::new().capacity(1 << 20))?;
    let mut producer = queue.producer()?;
    println!("sending {count} prices to the queue ticks");

    let mut cents = 10_000;
    for _ in 0..count {
        cents += price_step(producer.next_sequence());
        producer.send(format!("ACME {}.{:02}", cents / 100, cents % 100).as_bytes())?;
        thread::sleep(Duration::from_millis(100));
    }
    producer.close()?;

    // Whoever is the last to leave takes the queue away.
    match Queue::remove("ticks") {
        Err(ringway::Error::InUse { .. } | ringway::Error::NotFound { .. }) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Something between -12 and 12 that looks like chance.
fn price_step(sequence: u64) -> i64 {
    let mixed = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    mixed.cast_signed() % 25 - 12
}
