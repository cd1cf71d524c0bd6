//! What history costs: the checksum, spilling, reading back, and a journal beside plain writes to
//! the same disk.
//!
//! `cargo bench --bench history`. Files go to `RINGWAY_BENCH_DIR`, or else to the directory for
//! temporary files: what is measured is as fast as that, so each figure stands beside another of
//! the same run.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway::{Consumer, Journal, Lag, Producer, Queue, QueueOptions, Received, Start, Subscribe};

const CAPACITY: u64 = 16 << 20;
/// Bytes of payload that go to files, or come from there, in one round: several rings.
const ROUND: u64 = 64 << 20;

/// A queue and its history directory, which go away with this.
struct Bench {
    queue: Queue,
    directory: PathBuf,
}

fn directory() -> PathBuf {
    let parent = std::env::var_os("RINGWAY_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    parent.join(format!("ringway-bench-history-{}", std::process::id()))
}

impl Bench {
    fn new(journal: Option<Journal>) -> Self {
        let directory = directory();
        let _ = fs::remove_dir_all(&directory);
        let options = QueueOptions::new().capacity(CAPACITY).members(8).history(&directory);
        let options = match journal {
            Some(journal) => options.journal(journal),
            None => options,
        };
        let name = format!("bench-history-{}", std::process::id());
        Self { queue: Queue::create(&name, &options).expect("queue"), directory }
    }

    fn producer(&self) -> Producer {
        self.queue.producer().expect("producer")
    }

    fn spilling(&self) -> Consumer {
        let options = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
        self.queue.subscribe(&options).expect("consumer")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = Queue::force_remove(self.queue.name());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn send(producer: &mut Producer, payload: &[u8], count: u64) {
    for _ in 0..count {
        producer.send(black_box(payload)).expect("sent");
    }
}

/// A send with a time and a checksum, beside one without; nothing is written in either.
fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for size in [8, 64, 256, 1024, 16 << 10] {
        group.throughput(Throughput::Bytes(size));
        let payload = vec![7; usize::try_from(size).expect("small")];
        let fitting = CAPACITY / 2 / (size + 32);
        for (name, journal) in [("without", None), ("with", Some(Journal::Written))] {
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter_custom(|count| {
                    let mut time = Duration::ZERO;
                    let mut left = count;
                    while left > 0 {
                        let round = left.min(fitting);
                        let bench = Bench::new(journal);
                        let mut producer = bench.producer();
                        // The ring's pages are in the page table from here on.
                        let begin = Instant::now();
                        send(&mut producer, &payload, round);
                        time += begin.elapsed();
                        left -= round;
                    }
                    time
                });
            });
        }
    }
    group.finish();
}

/// The producer's rate with a consumer that has stopped, beside one without.
fn spill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spill");
    for size in [64, 1024] {
        let count = ROUND / size;
        group.throughput(Throughput::Elements(count));
        let payload = vec![7; usize::try_from(size).expect("small")];
        for (name, lags) in [("nobody lags", false), ("one has stopped", true)] {
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter_custom(|rounds| {
                    let round = |_| {
                        let bench = Bench::new(None);
                        let _stopped = lags.then(|| bench.spilling());
                        let mut producer = bench.producer();
                        send(&mut producer, &payload, CAPACITY / size);
                        let begin = Instant::now();
                        send(&mut producer, &payload, count);
                        begin.elapsed()
                    };
                    (0..rounds).map(round).sum()
                });
            });
        }
    }
    group.finish();
}

/// Reading from files what has left the ring.
fn catch_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catch up");
    for size in [64, 1024] {
        let count = ROUND / size;
        group.throughput(Throughput::Elements(count));
        let payload = vec![7; usize::try_from(size).expect("small")];
        let alone = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
        for (name, options) in
            [("from files", alone.clone()), ("from files, a group", alone.named("group"))]
        {
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter_custom(|rounds| {
                    let round = |_| {
                        let bench = Bench::new(None);
                        let mut late = bench.queue.subscribe(&options).expect("consumer");
                        let mut producer = bench.producer();
                        send(&mut producer, &payload, count + CAPACITY / size);
                        let begin = Instant::now();
                        for _ in 0..count {
                            let received = late.try_receive().expect("whole");
                            assert!(matches!(black_box(received), Received::Message(_)));
                        }
                        begin.elapsed()
                    };
                    (0..rounds).map(round).sum()
                });
            });
        }
    }
    group.finish();
}

/// Messages of 1 KiB until they are synced, beside as many bytes written to a file in pieces of
/// 1 MiB, and synced.
fn journal(criterion: &mut Criterion) {
    const COUNT: u64 = ROUND / 1024;
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Bytes(ROUND));
    group.bench_function("written and synced to a file", |bench| {
        bench.iter_custom(|rounds| {
            let (path, piece) = (directory().with_extension("plain"), vec![7; 1 << 20]);
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                let begin = Instant::now();
                let mut file = File::create(&path).expect("a file");
                for _ in 0..ROUND >> 20 {
                    file.write_all(&piece).expect("written");
                }
                file.sync_data().expect("synced");
                time += begin.elapsed();
            }
            let _ = fs::remove_file(&path);
            time
        });
    });
    group.bench_function("sent and flushed", |bench| {
        bench.iter_custom(|rounds| {
            let payload = [7; 1024];
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                let bench = Bench::new(Some(Journal::SyncedAlways));
                let thread = bench.queue.journaler().expect("journaler").spawn();
                let mut producer = bench.producer();
                let begin = Instant::now();
                send(&mut producer, &payload, COUNT);
                producer.flush().expect("flushed");
                time += begin.elapsed();
                thread.stop().expect("durable");
            }
            time
        });
    });
    group.finish();
}

/// The time until so many messages are synced, sent one after the other and then waited for.
fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable");
    let bench = Bench::new(Some(Journal::SyncedAlways));
    let thread = bench.queue.journaler().expect("journaler").spawn();
    let mut producer = bench.producer();
    for in_flight in [1, 10, 100] {
        group.throughput(Throughput::Elements(in_flight));
        group.bench_function(BenchmarkId::new("in flight", in_flight), |bench| {
            bench.iter(|| {
                send(&mut producer, &[7; 64], in_flight);
                producer.flush().expect("flushed");
            });
        });
    }
    drop(producer);
    thread.stop().expect("durable");
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = checksum, spill, catch_up, journal, durable
}
criterion_main!(benches);
