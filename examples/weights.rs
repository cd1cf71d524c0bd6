//! Nobody tells three unequal workers how to divide the work. Each takes the next message when it
//! has done the last, so each gets as much as it can do: weights fall out of who is fast.
//!
//! ```text
//! $ cargo run --example weights
//! 1000 messages for three workers:
//!   1 ms for a message: 571
//!   2 ms for a message: 286
//!   4 ms for a message: 143
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::thread;
use std::time::Duration;

use ringway::{Error, Queue, QueueOptions, Start, Subscribe, Wait};

const MESSAGES: u32 = 1000;

fn main() -> Result<(), Error> {
    let queue = Queue::create("weights", &QueueOptions::new())?;
    // One message at a time. Whoever takes several for itself takes them from the others too.
    let options = Subscribe::new().named("workers").from(Start::Oldest).prefetch(1);
    let options = options.wait(Wait::Park);
    let workers = [1, 2, 4].map(|ms| {
        let worker = queue.subscribe(&options);
        let worker = thread::spawn(move || {
            let mut worker = worker?;
            let mut count = 0;
            while worker.next_message(|_| {})?.is_some() {
                thread::sleep(Duration::from_millis(ms));
                count += 1;
            }
            Ok::<_, Error>(count)
        });
        (ms, worker)
    });
    println!("{MESSAGES} messages for three workers:");
    let mut producer = queue.producer()?;
    for _ in 0..MESSAGES {
        producer.send(b"some work")?;
    }
    producer.close()?;
    let mut sum = 0;
    for (ms, worker) in workers {
        let count = worker.join().expect("no worker panics")?;
        println!("  {ms} ms for a message: {count}");
        sum += count;
    }
    assert_eq!(sum, MESSAGES);
    Queue::remove("weights")
}
