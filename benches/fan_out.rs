//! One producer and more and more consumers, each a process on a processor of its own: what each
//! message costs the producer, and how much all together receive.
//!
//! `cargo bench --bench fan_out` goes as far as there are processors; more consumers than that
//! would measure the scheduler. `cargo test --benches` runs two consumers, few messages.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![allow(clippy::cast_precision_loss, reason = "counts and times far below 2^52")]

mod common;

use std::time::Instant;

use common::{Peer, Spread, obey, pin};
use ringway::workload::read_lines;
use ringway::{Queue, QueueOptions, Subscribe, Wait};

const SIZES: [usize; 2] = [8, 64];
const ROUNDS: usize = 7;

fn main() {
    match std::env::var(common::ROLE) {
        Ok(role) => consume(&role),
        Err(_) => measure(std::env::args().any(|argument| argument == "--bench")),
    }
}

fn measure(full: bool) {
    let name = format!("ringway-fan-out-{}", std::process::id());
    let options = QueueOptions::new().capacity(4 << 20);
    let queue = Queue::create(&name, &options).expect("queue");
    pin(0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let consumers_max = if full { (processors - 1).max(1) } else { 2 };
    let (count, rounds) = if full { (5_000_000, ROUNDS) } else { (1_000, 1) };
    let mut peers = Vec::new();
    let mut rows = Vec::new();
    while peers.len() < consumers_max {
        peers.push(Peer::start(&format!("{name} {}", peers.len() + 1)));
        // 1, 2, 4, 8 ... and as many as there can be.
        if !peers.len().is_power_of_two() && peers.len() != consumers_max {
            continue;
        }
        for size in SIZES {
            let costs: Vec<f64> =
                (0..rounds).map(|_| stream(&queue, &mut peers, count, size)).collect();
            rows.push((peers.len(), size, Spread::of(&costs)));
        }
    }
    drop(peers);
    Queue::force_remove(&name).expect("remove");
    if !full {
        println!("up to {consumers_max} consumers: works");
        return;
    }
    println!("{:>9} {:>5} {:>26} {:>26}", "consumers", "bytes", "sent", "received by all");
    for (consumers, size, Spread { median, min, max }) in rows {
        let rate = |cost: f64| 1e3 / cost;
        let all = |cost: f64| rate(cost) * consumers as f64;
        println!(
            "{consumers:>9} {size:>5} {:>26} {:>26}",
            format!("{:.1} ({:.1}-{:.1}) M/s", rate(median), rate(max), rate(min)),
            format!("{:.0} ({:.0}-{:.0}) M/s", all(median), all(max), all(min)),
        );
    }
}

/// Nanoseconds for each message, until all have received it.
fn stream(queue: &Queue, peers: &mut [Peer], count: u64, size: usize) -> f64 {
    let mut producer = queue.producer().expect("producer");
    producer.set_wait(Wait::Spin);
    for peer in &mut *peers {
        peer.tell(&count.to_string());
    }
    let payload = vec![7; size];
    let begin = Instant::now();
    for _ in 0..count {
        producer.send(&payload).expect("send");
    }
    // Each leaves when it has received the last.
    while !queue.info().expect("info").consumers.is_empty() {}
    begin.elapsed().as_nanos() as f64 / count as f64
}

fn consume(role: &str) {
    let (name, processor) = role.split_once(' ').expect("a name and a processor");
    pin(processor.parse().expect("a number"));
    let queue = Queue::open(name).expect("queue");
    obey(|command, ready| {
        let count: u64 = command[0].parse().expect("a number");
        let mut consumer = queue.subscribe(&Subscribe::new()).expect("consumer");
        ready();
        for _ in 0..count {
            let message = consumer.receive().expect("receive").message().expect("message");
            read_lines(message.payload());
        }
    });
}
