//! Both ends of a queue in one process: the least there is.
//!
//! ```text
//! $ cargo run --example hello
//! message 0: hello
//! message 1: world
//! the producer has closed the stream
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use ringway::{Error, Queue, QueueOptions, Subscribe};

fn main() -> Result<(), Error> {
    let queue = Queue::create("hello", &QueueOptions::new())?;
    let mut consumer = queue.subscribe(&Subscribe::new())?;
    let mut producer = queue.producer()?;

    producer.send(b"hello")?;
    producer.send(b"world")?;
    producer.close()?;

    while let Some(message) = consumer.next_message(|gone| println!("{gone:?} are gone"))? {
        let text = String::from_utf8_lossy(message.payload());
        println!("message {}: {text}", message.sequence());
    }
    println!("the producer has closed the stream");

    // A queue stays until somebody takes it away, or the machine restarts.
    drop(consumer);
    Queue::remove("hello")
}
