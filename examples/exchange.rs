//! A real exchange between processes: one producer, two consumers that hold it, one that is too
//! slow and skips, and an observer. Each of the four checks every byte that it is given.
//!
//! `cargo run --release --example exchange` prints a line for each of them. The program starts
//! itself again for each process, and is done within a second or two.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it shows what it did")]

use std::error::Error;
use std::io::{BufRead, BufReader, Lines};
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::{env, thread, time::Duration, time::Instant};

use ringway::{Lag, Message, Queue, QueueOptions, Received, Start, Subscribe};

type Fallible<T> = Result<T, Box<dyn Error>>;
const COUNT: u64 = 5_000_000;

fn main() -> Fallible<()> {
    if let [_, role, name] = &env::args().collect::<Vec<_>>()[..] {
        // Should anything hang, every process but the first ends by itself, and then that one.
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(60));
            process::exit(1);
        });
        let queue = Queue::open(name)?;
        return if role == "producer" { produce(&queue) } else { consume(&queue, role) };
    }
    let name = format!("exchange-{}", process::id());
    let queue = Queue::create(&name, &QueueOptions::new().capacity(1 << 20))?;
    let result = exchange(&queue);
    Queue::force_remove(&name)?; // If something went wrong, that ends whoever still waits.
    result
}

/// The first process: starts the others, and shows what they report.
fn exchange(queue: &Queue) -> Fallible<()> {
    println!("{COUNT} messages of 64 bytes through a ring of {} KiB\n", queue.capacity() >> 10);
    println!("process      received    missed   million/s");
    let roles = ["hold 1", "hold 2", "skip, slow", "observer"];
    let readers = roles.map(|role| start(queue, role));
    if !start(queue, "producer")?.0.wait()?.success() {
        return Err("the producer failed".into());
    }
    let mut tallies = Vec::new();
    for (role, reader) in roles.into_iter().zip(readers) {
        let report = reader?.1.next().transpose()?.unwrap_or("0 0 1".into()); // It failed.
        let numbers = report.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [received, missed, micros] = numbers[..] else { return Err(report.into()) };
        let rate = received as f64 / micros as f64;
        println!("{role:<10} {received:>10} {missed:>9} {rate:>11.2}");
        tallies.push((received, missed));
    }
    if tallies[..2] != [(COUNT, 0); 2] || tallies.iter().any(|tally| tally.0 + tally.1 != COUNT) {
        return Err("a reader failed, or lost messages".into());
    }
    println!("\nEvery message arrived once and in order at both Hold consumers. The Skip consumer");
    println!("got {} and knows exactly which {} it missed.", tallies[2].0, tallies[2].1);
    Ok(())
}

/// Starts a process, and waits until it says that it is ready.
fn start(queue: &Queue, role: &str) -> Fallible<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.args([role, queue.name()]).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    said.next().ok_or_else(|| format!("{role} did not start"))??;
    Ok((child, said))
}

/// A message is its number, eight times over.
fn produce(queue: &Queue) -> Fallible<()> {
    let mut producer = queue.producer()?;
    println!("ready");
    for number in 0..COUNT {
        producer.send([number.to_le_bytes(); 8].as_flattened())?;
    }
    Ok(producer.close()?)
}

fn consume(queue: &Queue, role: &str) -> Fallible<()> {
    if role == "observer" {
        let mut observer = queue.observe(Start::Oldest)?;
        return receive_all(|| Ok(observer.receive()?.map(whole)));
    }
    let lag = if role.starts_with("hold") { Lag::Hold } else { Lag::Skip };
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest).on_lag(lag))?;
    receive_all(|| {
        if lag == Lag::Skip && consumer.next_sequence() % 1000 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(consumer.receive()?.map(whole))
    })
}

/// The message's sequence, if the payload is what belongs to it.
fn whole(message: Message) -> Option<u64> {
    let number = message.sequence();
    (message.payload() == [number.to_le_bytes(); 8].as_flattened()).then_some(number)
}

/// Says that it is ready, and at the end what it has received, which has to be all in order.
fn receive_all(mut receive: impl FnMut() -> Fallible<Received<Option<u64>>>) -> Fallible<()> {
    println!("ready");
    let (mut received, mut missed, mut begin) = (0, 0, Instant::now());
    loop {
        let next = received + missed;
        match receive()? {
            Received::Message(sequence) if sequence == Some(next) => received += 1,
            Received::Missed { from, to } if from == next => missed += to - from,
            Received::Closed => break,
            other => return Err(format!("{other:?} instead of message {next}").into()),
        }
        if next == 0 {
            begin = Instant::now();
        }
    }
    println!("{received} {missed} {}", begin.elapsed().as_micros());
    Ok(())
}
