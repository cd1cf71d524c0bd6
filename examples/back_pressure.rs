//! A consumer that is a whole ring behind makes the producer wait, or loses messages: its choice.
//!
//! ```text
//! $ cargo run --example back_pressure
//! A consumer that holds:
//!   after 65 messages the ring is full
//!   held by consumer 0 (process 4711); ours is consumer 0
//!   sent with 100ms of patience: TimedOut
//!   10 received, sent again: Sequence(65)
//! A consumer that skips:
//!   100 messages sent, no wait
//!   the consumer has missed 66 to 101, and goes on with 102
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ringway::{Error, Lag, Queue, QueueOptions, Received, Sent, Subscribe};

const PAYLOAD: [u8; 1000] = [7; 1000];

fn main() -> Result<(), Error> {
    let queue = Queue::create("back-pressure", &QueueOptions::new().capacity(64 << 10))?;
    let mut producer = queue.producer()?;

    println!("A consumer that holds:");
    let mut consumer = queue.subscribe(&Subscribe::new().on_lag(Lag::Hold))?;
    let mut sent = 0;
    while let Sent::Sequence(_) = producer.try_send(&PAYLOAD)? {
        sent += 1;
    }
    println!("  after {sent} messages the ring is full");
    let holders: Vec<_> = producer.held_by().iter().map(ToString::to_string).collect();
    println!("  held by {}; ours is consumer {}", holders.join(", "), consumer.member());
    let patience = Duration::from_millis(100);
    let late = producer.send_timeout(&PAYLOAD, patience)?;
    println!("  sent with {patience:?} of patience: {late:?}");

    // Room comes a sector at a time, which is a sixteenth of the ring. What was lent last counts
    // as read with the next receive.
    for _ in 0..10 {
        let _ = consumer.try_receive()?;
    }
    println!("  10 received, sent again: {:?}", producer.send_timeout(&PAYLOAD, patience)?);
    drop(consumer);

    println!("A consumer that skips:");
    let mut consumer = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip))?;
    for _ in 0..100 {
        producer.send(&PAYLOAD)?;
    }
    println!("  100 messages sent, no wait");
    if let Received::Missed { from, to } = consumer.try_receive()? {
        println!("  the consumer has missed {from} to {}, and goes on with {to}", to - 1);
    }
    drop((consumer, producer));
    Queue::remove("back-pressure")
}
