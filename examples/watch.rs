//! The receiving one of two programs: prints what `feed` sends, from now on, until it closes.
//!
//! ```text
//! $ cargo run --example watch
//! waiting for prices in the queue ticks
//!      0  ACME 99.88
//!      1  ACME 99.95
//! ...
//! the feed has ended
//! ```
//!
//! Start `feed` in another terminal, before or after; start a second `watch`, and both see all.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use ringway::{Error, Lag, Queue, QueueOptions, Received, Start, Subscribe, Wait};

fn main() -> Result<(), Error> {
    // The same options as in `feed`: whoever comes first makes the queue.
    let queue = Queue::open_or_create("ticks", &QueueOptions::new().capacity(1 << 20))?;
    // Prices are rare, so it sleeps between them, and old ones are of no use, so it never makes
    // the feed wait.
    let options = Subscribe::new().from(Start::Newest).on_lag(Lag::Skip).wait(Wait::Park);
    let mut consumer = queue.subscribe(&options)?;
    println!("waiting for prices in the queue ticks");

    loop {
        match consumer.receive()? {
            Received::Message(price) => {
                let text = String::from_utf8_lossy(price.payload());
                println!("{:6}  {text}", price.sequence());
            }
            Received::Missed { from, to } => println!("{} prices went by too fast", to - from),
            Received::Closed => break,
            Received::Empty | Received::TimedOut => unreachable!("receive waits"),
        }
    }
    println!("the feed has ended");

    // Whoever is the last to leave takes the queue away.
    drop(consumer);
    match Queue::remove("ticks") {
        Err(Error::InUse { .. } | Error::NotFound { .. }) => Ok(()),
        removed => removed,
    }
}
