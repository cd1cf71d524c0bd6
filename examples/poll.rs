//! One thread waits for the lines of its standard input and for the messages of a queue at once.
//!
//! ```text
//! $ (echo buy; sleep 0.15; echo sell) | cargo run --example poll
//! order  buy
//! price  100
//! price  101
//! order  sell
//! price  102
//! price  103
//! price  104
//! the prices have ended
//! ```
//!
//! `epoll` and `io_uring` wait for the descriptor as `poll` does here, and so do tokio's `AsyncFd`
//! and smol's `Async`; a task that needs no descriptor awaits `Readiness::ready`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, stdin};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use ringway::{Queue, QueueOptions, Readiness, Received, Start, Subscribe};

fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("example-poll-{}", std::process::id());
    let queue = Queue::create(&name, &QueueOptions::new())?;
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    let mut producer = queue.producer()?;
    let feed = thread::spawn(move || {
        for price in 100..105 {
            thread::sleep(Duration::from_millis(60));
            producer.send(price.to_string().as_bytes())?;
        }
        producer.close()
    });

    let readiness = Readiness::new()?;
    // Without a buffer, in which a line may lie that `poll` does not know of.
    let mut input = Some(File::from(stdin().as_fd().try_clone_to_owned()?));
    loop {
        match consumer.try_receive()? {
            Received::Message(price) => {
                println!("price  {}", String::from_utf8_lossy(price.payload()));
                continue;
            }
            Received::Closed => break,
            _ => {}
        }
        if !readiness.arm(&mut consumer)? {
            // A price has come just now.
            continue;
        }
        let typed = input.as_ref().map(AsFd::as_fd);
        let [_, is_typed] = wait_for([Some(readiness.as_fd()), typed])?;
        if let Some(file) = input.as_mut().filter(|_| is_typed) {
            let mut text = [0; 256];
            let size = file.read(&mut text)?;
            if size == 0 {
                input = None;
            } else {
                print!("order  {}", String::from_utf8_lossy(&text[..size]));
            }
        }
    }
    println!("the prices have ended");
    feed.join().expect("it does not panic")?;
    drop(consumer);
    Ok(Queue::remove(&name)?)
}

/// Waits for any of them, and tells which.
fn wait_for(fds: [Option<BorrowedFd<'_>>; 2]) -> io::Result<[bool; 2]> {
    let mut polled = fds.map(|fd| {
        // `poll` passes over a negative number.
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
    });
    // SAFETY: the array outlives the call, and has two elements.
    if unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(polled.map(|fd| fd.revents != 0))
}
