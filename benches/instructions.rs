//! How many instructions a message takes, as callgrind counts them: a number that does not
//! depend on the machine's mood.
//!
//! `cargo bench --bench instructions` prints a table, if there is a `valgrind`. Each number is
//! the difference of two counts, of 64,000 and of 128,000 messages, so that all but the messages
//! themselves falls out. It includes the loop around them, which the row `loop` shows, and what
//! a message costs seldom: a step of the licence, a lap's padding, a pause.
//!
//! `instructions WORK SIZE COUNT` does the counted work alone, for any tool that watches.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::process::{self, Command};

use ringway::{AckMode, Consumer, Lag, Producer, Queue, QueueOptions, Subscribe};

type Fallible<T> = Result<T, Box<dyn Error>>;

const COUNT: u64 = 64_000;
const BATCH: u64 = 64;

/// What is counted, and for which sizes.
const WORKS: [(&str, Work, &[usize]); 11] = [
    ("loop", run_loop, &[8]),
    ("send", send, &[8, 64, 1024]),
    ("send-receive", send_receive, &[8, 64]),
    ("skip", skip, &[8, 64]),
    ("claim", claim, &[8, 64]),
    ("batch", batch, &[8, 64]),
    ("extend", extend, &[8, 64]),
    ("batch-receive", batch_receive, &[8, 64]),
    ("rounds", rounds, &[64]),
    ("rounds-shared", rounds_shared, &[64]),
    ("rounds-acked", rounds_acked, &[64]),
];

type Work = fn(&Queue, &[u8], u64) -> Result<(), ringway::Error>;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    match &arguments[..] {
        [work, size, count] => run(work, size.parse()?, count.parse()?),
        [] if cfg!(debug_assertions) => try_all("counts of a build for debugging tell nothing"),
        [] if !has_valgrind() => try_all("there is no valgrind"),
        [] => print_table(),
        _ => Err("usage: instructions [WORK SIZE COUNT]".into()),
    }
}

/// Does each work a few times, to see that it can be done.
fn try_all(why: &str) -> Fallible<()> {
    for (work, _, sizes) in WORKS {
        for &size in sizes {
            run(work, size, 2 * BATCH)?;
        }
    }
    println!("nothing counted: {why}");
    Ok(())
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn print_table() -> Fallible<()> {
    println!("{:14} {:>6} {:>24}", "work", "bytes", "instructions a message");
    for (work, _, sizes) in WORKS {
        for &size in sizes {
            let counted = counted(work, size, 2 * COUNT)? - counted(work, size, COUNT)?;
            // Tenths.
            let each = (10 * counted + COUNT / 2) / COUNT;
            println!("{work:14} {size:>6} {:>22}.{}", each / 10, each % 10);
        }
    }
    Ok(())
}

/// The instructions of a process that does so much.
fn counted(work: &str, size: usize, count: u64) -> Fallible<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([work, &size.to_string(), &count.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected {
        Some((_, number)) if output.status.success() => Ok(number.trim().parse()?),
        _ => Err(format!("valgrind failed at {work}: {said}").into()),
    }
}

fn run(work: &str, size: usize, count: u64) -> Fallible<()> {
    let (_, act, _) = WORKS.iter().find(|(name, ..)| *name == work).ok_or("no such work")?;
    let name = format!("instructions-{}", process::id());
    // So large that none of what is counted is a trial of another way for batches: within valgrind
    // each way is slow.
    let queue = Queue::create(&name, &QueueOptions::new().capacity(32 << 20))?;
    let result = act(&queue, &vec![7; size], count);
    Queue::force_remove(&name)?;
    Ok(result?)
}

#[inline(never)]
fn run_loop(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let _producer = queue.producer()?;
    for _ in 0..count {
        black_box(payload);
    }
    Ok(())
}

#[inline(never)]
fn send(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let mut producer = queue.producer()?;
    for _ in 0..count {
        producer.send(payload)?;
    }
    Ok(())
}

#[inline(never)]
fn claim(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let mut producer = queue.producer()?;
    for _ in 0..count {
        producer.claim(payload.len())?.commit()?;
    }
    Ok(())
}

fn send_receive(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let consumer = queue.subscribe(&Subscribe::new())?;
    send_and_receive(queue.producer()?, consumer, payload, count)
}

fn skip(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let consumer = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip))?;
    send_and_receive(queue.producer()?, consumer, payload, count)
}

/// As many messages sent as a batch has, then as many received.
fn rounds(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    send_then_receive(queue, &Subscribe::new(), false, payload, count)
}

/// The same by a member of a named subscription.
fn rounds_shared(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    send_then_receive(queue, &Subscribe::new().named("workers"), false, payload, count)
}

/// The same, each message acknowledged by name.
fn rounds_acked(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let workers = Subscribe::new().named("workers").ack(AckMode::Manual);
    send_then_receive(queue, &workers, true, payload, count)
}

#[inline(never)]
fn send_then_receive(
    queue: &Queue,
    options: &Subscribe,
    acked: bool,
    payload: &[u8],
    count: u64,
) -> Result<(), ringway::Error> {
    let mut consumer = queue.subscribe(options)?;
    let mut producer = queue.producer()?;
    for _ in 0..count / BATCH {
        for _ in 0..BATCH {
            producer.send(payload)?;
        }
        for _ in 0..BATCH {
            let message = consumer.receive()?.message().expect("just sent");
            black_box(message.payload());
            if acked {
                let _ = black_box(message.ack()?);
            }
        }
    }
    Ok(())
}

#[inline(never)]
fn send_and_receive(
    mut producer: Producer,
    mut consumer: Consumer,
    payload: &[u8],
    count: u64,
) -> Result<(), ringway::Error> {
    for _ in 0..count {
        producer.send(payload)?;
        let message = consumer.receive()?.message().expect("just sent");
        black_box(message.payload());
    }
    Ok(())
}

#[inline(never)]
fn batch(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let mut producer = queue.producer()?;
    for _ in 0..count / BATCH {
        let mut batch = producer.batch();
        for _ in 0..BATCH {
            batch.push(payload)?;
        }
        batch.commit()?;
    }
    Ok(())
}

#[inline(never)]
fn extend(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let mut producer = queue.producer()?;
    for _ in 0..count / BATCH {
        let mut batch = producer.batch();
        batch.extend((0..BATCH).map(|_| payload))?;
        batch.commit()?;
    }
    Ok(())
}

#[inline(never)]
fn batch_receive(queue: &Queue, payload: &[u8], count: u64) -> Result<(), ringway::Error> {
    let mut consumer = queue.subscribe(&Subscribe::new())?;
    let mut producer = queue.producer()?;
    for _ in 0..count / BATCH {
        let mut batch = producer.batch();
        for _ in 0..BATCH {
            batch.push(payload)?;
        }
        batch.commit()?;
        let received = consumer.receive_batch(64)?.message().expect("just sent");
        for message in received {
            black_box(message.payload());
        }
    }
    Ok(())
}
