//! Two processes on two processors: round trips and streams of the queue beside what the bare
//! memory does between the same two processors in the same minute.
//!
//! `cargo bench --bench two_processes` prints a table. Every cell stands between two round trips
//! of one cache line (the bracket); rounds whose brackets are of different classes are thrown
//! out, because the host has moved a processor meanwhile, and each class has a line of its own.
//! Baseline and queue alternate, and the ratio is taken within a round. `cargo test --benches`
//! runs each cell once, small, and measures nothing.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![allow(clippy::cast_precision_loss, reason = "counts and times far below 2^52")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::bare::{Bare, DONE, PING, PONG, RING_SIZE};
use common::{Peer, Spread, obey, pin};
use ringway::workload::read_lines;
use ringway::{Consumer, Lag, Message, Queue, QueueOptions, Received, Start, Subscribe, Wait};

fn main() {
    match std::env::var(common::ROLE) {
        Ok(role) => be_peer(&role),
        Err(_) => measure(std::env::args().any(|argument| argument == "--bench")),
    }
}

/// One cell of the table.
struct Cell {
    name: String,
    unit: Unit,
    baseline: Work,
    queue: Work,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// Nanoseconds for each; less is better.
    Nanoseconds,
    /// Millions in a second; more is better.
    MillionsPerSecond,
}

/// What the two processes do together.
#[derive(Clone, Copy)]
enum Work {
    BareRoundTrip,
    QueueRoundTrip {
        size: usize,
    },
    /// A line a message, its sequence inside.
    LineStream {
        pauses: u32,
    },
    /// `memcpy` in, sequence behind it, `memcpy` out.
    CopyStream {
        size: usize,
    },
    /// A number in each message, which has just been written when it is sent.
    QueueStream {
        size: usize,
        copy: bool,
    },
    BatchStream {
        size: usize,
        batch: usize,
    },
    SkipStream {
        size: usize,
    },
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for size in [8, 16, 32, 48, 64, 256, 1024] {
        cells.push(Cell {
            name: format!("round trip {size} B / bare line"),
            unit: Unit::Nanoseconds,
            baseline: Work::BareRoundTrip,
            queue: Work::QueueRoundTrip { size },
        });
    }
    for size in [8, 64, 256] {
        cells.push(Cell {
            name: format!("stream {size} B / lines"),
            unit: Unit::MillionsPerSecond,
            baseline: Work::LineStream { pauses: 1 },
            queue: Work::QueueStream { size, copy: false },
        });
    }
    for pauses in [0, 16, 64] {
        cells.push(Cell {
            name: format!("stream 64 B / lines, their reader pausing {pauses}"),
            unit: Unit::MillionsPerSecond,
            baseline: Work::LineStream { pauses },
            queue: Work::QueueStream { size: 64, copy: false },
        });
    }
    for size in [1 << 10, 64 << 10] {
        cells.push(Cell {
            name: format!("stream {} KiB, copied out / memcpy", size >> 10),
            unit: Unit::MillionsPerSecond,
            baseline: Work::CopyStream { size },
            queue: Work::QueueStream { size, copy: true },
        });
    }
    for size in [8, 64] {
        cells.push(Cell {
            name: format!("batches of 64 of {size} B / single"),
            unit: Unit::MillionsPerSecond,
            baseline: Work::QueueStream { size, copy: false },
            queue: Work::BatchStream { size, batch: 64 },
        });
    }
    cells.push(Cell {
        name: "skip consumer 64 B / hold".into(),
        unit: Unit::MillionsPerSecond,
        baseline: Work::QueueStream { size: 64, copy: false },
        queue: Work::SkipStream { size: 64 },
    });
    cells
}

fn measure(full: bool) {
    let name = format!("ringway-bench-{}", std::process::id());
    let bare = Bare::create(&name);
    let options = QueueOptions::new().capacity(RING_SIZE as u64);
    let queue = Queue::create(&name, &options).expect("queue");
    let mut peer = Peer::start(&name);
    pin(0);
    let mut bench = Bench { bare, queue, peer: &mut peer, scale: if full { 1.0 } else { 0.001 } };

    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let chosen = |cell: &Cell| only.is_empty() || only.iter().any(|name| cell.name.contains(name));
    if full {
        println!("{:45} {:>24} {:>24} {:>18}  bracket", "cell", "baseline", "queue", "ratio");
    }
    for cell in cells().into_iter().filter(chosen) {
        if full {
            bench.show(&cell, ROUNDS);
        } else {
            bench.run(cell.baseline);
            bench.run(cell.queue);
            println!("{}: works", cell.name);
        }
    }
    drop(peer);
    Queue::force_remove(&name).expect("remove");
}

const ROUNDS: usize = 11;

/// Nanoseconds for each round trip or message.
struct Round {
    bracket: f64,
    baseline: f64,
    queue: f64,
}

fn line(cell: &Cell, rounds: &[&Round]) -> String {
    let spread = |of: &dyn Fn(&Round) -> f64| {
        Spread::of(&rounds.iter().map(|round| of(round)).collect::<Vec<_>>())
    };
    let show = |Spread { median, min, max }| match cell.unit {
        Unit::Nanoseconds => format!("{median:.0} ({min:.0}-{max:.0}) ns"),
        Unit::MillionsPerSecond => {
            let rate = |each: f64| 1e3 / each;
            format!("{:.3} ({:.3}-{:.3}) M/s", rate(median), rate(max), rate(min))
        }
    };
    let ratio = spread(&|round| match cell.unit {
        Unit::Nanoseconds => round.queue / round.baseline,
        Unit::MillionsPerSecond => round.baseline / round.queue,
    });
    let bracket = spread(&|round| round.bracket);
    format!(
        "{:45} {:>24} {:>24} {:>18}  {:.0} ({:.0}-{:.0}) ns",
        cell.name,
        show(spread(&|round| round.baseline)),
        show(spread(&|round| round.queue)),
        format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max),
        bracket.median,
        bracket.min,
        bracket.max,
    )
}

struct Bench<'a> {
    bare: Bare,
    queue: Queue,
    peer: &'a mut Peer,
    /// Of the usual amount of work.
    scale: f64,
}

impl Bench<'_> {
    /// A line for each class that enough rounds were of.
    fn show(&mut self, cell: &Cell, rounds: usize) {
        const ENOUGH: usize = 3;
        let mut kept: Vec<Round> = Vec::new();
        for _ in 0..rounds {
            let before = self.bracket();
            let baseline = self.run(cell.baseline);
            let queue = self.run(cell.queue);
            let after = self.bracket();
            if class(before) == class(after) {
                kept.push(Round { bracket: before, baseline, queue });
            }
        }
        for name in ["smt", "near", "far"] {
            let of_class: Vec<&Round> =
                kept.iter().filter(|round| class(round.bracket) == name).collect();
            if of_class.len() >= ENOUGH {
                println!(
                    "{}, {name}, {} of {rounds} rounds",
                    line(cell, &of_class),
                    of_class.len()
                );
            }
        }
    }

    fn bracket(&mut self) -> f64 {
        self.run(Work::BareRoundTrip)
    }

    /// Nanoseconds for each round trip or message.
    fn run(&mut self, work: Work) -> f64 {
        let count = |full: f64| (full * self.scale).max(64.0) as u64;
        match work {
            Work::BareRoundTrip => {
                let count = count(100_000.0);
                self.peer.tell(&format!("bare-round-trip {count}"));
                let times = (1..=count).map(|round| {
                    let begin = Instant::now();
                    self.bare.ping(round);
                    begin.elapsed()
                });
                let trip = median_of_blocks(times);
                self.finish();
                self.bare.word(PING).store(0, Ordering::Relaxed);
                self.bare.word(PONG).store(0, Ordering::Relaxed);
                trip
            }
            Work::QueueRoundTrip { size } => {
                let count = count(100_000.0);
                let back = self.back_queue();
                let mut consumer = back.subscribe(&spinning()).expect("consumer");
                let mut producer = self.queue.producer().expect("producer");
                self.peer.tell(&format!("queue-round-trip {count} {size}"));
                let payload = vec![7; size];
                let times = (0..count).map(|_| {
                    let begin = Instant::now();
                    producer.send(&payload).expect("send");
                    read_lines(next(&mut consumer).payload());
                    begin.elapsed()
                });
                let trip = median_of_blocks(times);
                self.finish();
                trip
            }
            Work::LineStream { pauses } => {
                let count = count(20_000_000.0);
                self.peer.tell(&format!("line-stream {count} {pauses}"));
                let begin = Instant::now();
                self.bare.write_lines(count);
                self.finish();
                begin.elapsed().as_nanos() as f64 / count as f64
            }
            Work::CopyStream { size } => {
                let count = count(4e9 / size as f64);
                self.peer.tell(&format!("copy-stream {count} {size}"));
                let begin = Instant::now();
                self.bare.write_copies(count, size);
                self.finish();
                begin.elapsed().as_nanos() as f64 / count as f64
            }
            Work::QueueStream { size, copy } => {
                let count = count(if copy { 4e9 / size as f64 } else { 10_000_000.0 });
                let mut producer = self.queue.producer().expect("producer");
                producer.set_wait(Wait::Spin);
                self.peer.tell(&format!("queue-stream {count} {}", u8::from(copy)));
                let mut payload = vec![7; size];
                let begin = Instant::now();
                for number in 0..count {
                    payload[..8].copy_from_slice(&number.to_le_bytes());
                    producer.send(&payload).expect("send");
                }
                self.finish();
                begin.elapsed().as_nanos() as f64 / count as f64
            }
            Work::BatchStream { size, batch } => {
                let batches = count(10_000_000.0).div_ceil(batch as u64);
                let count = batches * batch as u64;
                let mut producer = self.queue.producer().expect("producer");
                producer.set_wait(Wait::Spin);
                self.peer.tell(&format!("batch-stream {count} {batch}"));
                let payload = vec![7; size];
                let begin = Instant::now();
                for _ in 0..batches {
                    let mut sending = producer.batch();
                    sending.extend((0..batch).map(|_| &payload)).expect("room");
                    sending.commit().expect("commit");
                }
                self.finish();
                begin.elapsed().as_nanos() as f64 / count as f64
            }
            Work::SkipStream { size } => {
                let count = count(10_000_000.0);
                let mut producer = self.queue.producer().expect("producer");
                self.peer.tell(&format!("skip-stream {count}"));
                let payload = vec![7; size];
                let begin = Instant::now();
                for _ in 0..count {
                    producer.send(&payload).expect("send");
                }
                producer.close().expect("close");
                self.finish();
                begin.elapsed().as_nanos() as f64 / count as f64
            }
        }
    }

    /// Waits for the peer to have done its part.
    fn finish(&self) {
        self.bare.await_value(DONE, 1);
        self.bare.word(DONE).store(0, Ordering::Release);
    }

    fn back_queue(&self) -> Queue {
        let options = QueueOptions::new().capacity(RING_SIZE as u64);
        let name = format!("{}-back", self.queue.name());
        let _ = Queue::force_remove(&name);
        Queue::create(&name, &options).expect("queue")
    }
}

/// The median of single round trips would count the clock; that of means of blocks does not, and
/// still leaves out what the scheduler did.
fn median_of_blocks(times: impl Iterator<Item = std::time::Duration>) -> f64 {
    let each: Vec<f64> = times.map(|time| time.as_nanos() as f64).collect();
    let blocks: Vec<f64> =
        each.chunks(100).map(|block| block.iter().sum::<f64>() / block.len() as f64).collect();
    Spread::of(&blocks).median - clock_cost()
}

/// What reading the clock twice adds to a time.
fn clock_cost() -> f64 {
    let costs: Vec<f64> = (0..1000)
        .map(|_| {
            let begin = Instant::now();
            begin.elapsed().as_nanos() as f64
        })
        .collect();
    Spread::of(&costs).median
}

/// How far apart the two processors are, by the round trip of one line.
fn class(round_trip: f64) -> &'static str {
    match round_trip {
        _ if round_trip < 75.0 => "smt",
        _ if round_trip < 220.0 => "near",
        _ => "far",
    }
}

fn spinning() -> Subscribe {
    Subscribe::new().from(Start::Newest).wait(Wait::Spin)
}

/// Receives a message that is sure to come, unless the other process dies.
#[inline(always)]
fn next(consumer: &mut Consumer) -> Message<'_> {
    let received = consumer.receive_timeout(Duration::from_secs(60)).expect("receive");
    received.message().expect("the other process sends")
}

fn be_peer(name: &str) {
    pin(1);
    let bare = Bare::open(name);
    let queue = Queue::open(name).expect("queue");
    obey(|command, ready| {
        let number = |index: usize| command[index].parse::<u64>().expect("a number");
        match command[0] {
            "bare-round-trip" => {
                ready();
                bare.answer(number(1));
            }
            "queue-round-trip" => {
                let mut consumer = queue.subscribe(&spinning()).expect("consumer");
                let back = Queue::open(&format!("{name}-back")).expect("queue");
                let mut producer = back.producer().expect("producer");
                let payload = vec![7; number(2) as usize];
                ready();
                for _ in 0..number(1) {
                    read_lines(next(&mut consumer).payload());
                    producer.send(&payload).expect("send");
                }
                Queue::force_remove(&format!("{name}-back")).expect("remove");
            }
            "line-stream" => {
                ready();
                bare.read_lines(number(1), number(2));
            }
            "copy-stream" => {
                ready();
                bare.read_copies(number(1), number(2) as usize);
            }
            "queue-stream" => {
                let mut consumer = queue.subscribe(&spinning()).expect("consumer");
                let mut buffer = vec![0; queue.message_size_max()];
                let (count, copy) = (number(1), number(2) == 1);
                ready();
                for _ in 0..count {
                    let message = next(&mut consumer);
                    if copy {
                        buffer[..message.payload().len()].copy_from_slice(message.payload());
                        std::hint::black_box(&mut buffer);
                    } else {
                        read_lines(message.payload());
                    }
                }
            }
            "batch-stream" => {
                let mut consumer = queue.subscribe(&spinning()).expect("consumer");
                ready();
                let mut left = number(1);
                while left > 0 {
                    let received = consumer.receive_batch(256).expect("receive");
                    let batch = received.message().expect("batch");
                    for message in batch {
                        read_lines(message.payload());
                        left -= 1;
                    }
                }
            }
            "skip-stream" => {
                let options = spinning().on_lag(Lag::Skip);
                let mut consumer = queue.subscribe(&options).expect("consumer");
                ready();
                loop {
                    match consumer.receive().expect("receive") {
                        Received::Message(message) => {
                            read_lines(message.payload());
                        }
                        Received::Closed => break,
                        _ => {}
                    }
                }
            }
            other => panic!("no such work: {other}"),
        }
        bare.word(DONE).store(1, Ordering::Release);
    });
}
