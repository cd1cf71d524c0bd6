//! Where a reader that comes late can begin, and what happens to one that is too slow.
//!
//! ```text
//! $ cargo run --example late_joiner
//!      Oldest: 0 1 2 3 4 5 6 7 8 9
//!     Last(3): 7 8 9
//! Sequence(5): 5 6 7 8 9
//!      Newest:
//! The producer sends 10000 more, which is more than the ring holds.
//! The observer has missed 10 to 6142, and goes on with 6143.
//! It received 3867, up to 10009.
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use ringway::{Error, Queue, QueueOptions, Received, Start, Subscribe};

fn main() -> Result<(), Error> {
    let queue = Queue::create("late-joiner", &QueueOptions::new().capacity(64 << 10))?;
    let mut producer = queue.producer()?;
    for number in 0..10_u64 {
        producer.send(&number.to_le_bytes())?;
    }

    for start in [Start::Oldest, Start::Last(3), Start::Sequence(5), Start::Newest] {
        let mut consumer = queue.subscribe(&Subscribe::new().from(start))?;
        print!("{:>11}:", format!("{start:?}"));
        while let Received::Message(message) = consumer.try_receive()? {
            print!(" {}", message.sequence());
        }
        println!();
    }

    // Nobody waits for an observer, nor for a consumer with `Lag::Skip`.
    let mut observer = queue.observe(Start::Newest)?;
    println!("The producer sends 10000 more, which is more than the ring holds.");
    for number in 10..10_010_u64 {
        producer.send(&number.to_le_bytes())?;
    }
    producer.close()?;

    let (mut received, mut last) = (0, 0);
    loop {
        match observer.receive()? {
            Received::Message(message) => (received, last) = (received + 1, message.sequence()),
            // The place to note the gap, or to fetch what is missing from elsewhere.
            Received::Missed { from, to } => {
                println!("The observer has missed {from} to {}, and goes on with {to}.", to - 1);
            }
            Received::Closed => break,
            Received::Empty | Received::TimedOut => unreachable!("receive waits"),
        }
    }
    println!("It received {received}, up to {last}.");
    Queue::remove("late-joiner")
}
