//! What one message costs each end by itself: one process, one thread, no waiting.
//!
//! `cargo bench --bench send_receive` measures everything; with `-- send/64` behind it, what has
//! that in its name. Two ends at work at the same time also cost each other cache lines: that
//! shows in `two_processes`, and not here. A consumer that holds reads payloads where they lie,
//! so receiving costs it the same at any size; the other readers copy them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway::{Consumer, Lag, Observer, Producer, Queue, QueueOptions, Start, Subscribe};

const SIZES: [usize; 5] = [8, 64, 256, 1024, 64 << 10];
/// Messages of a batch.
const BATCH: usize = 64;

/// A queue for messages of one size, which goes away with this.
struct Ring {
    queue: Queue,
    size: usize,
}

impl Ring {
    fn new(size: usize) -> Self {
        // Large enough for a batch, small enough for the caches where that can be.
        let capacity = (8 * BATCH * size).next_power_of_two().max(1 << 20) as u64;
        let name = format!("bench-{}", std::process::id());
        let queue = Queue::create(&name, &QueueOptions::new().capacity(capacity)).expect("queue");
        Self { queue, size }
    }

    /// Messages that are sure to fit, so many that reading the clock does not count.
    fn messages(&self) -> u64 {
        self.queue.capacity() / 2 / (self.size as u64 + 16)
    }

    fn throughput(&self, elements: u64) -> Throughput {
        Throughput::ElementsAndBytes { elements, bytes: elements * self.size as u64 }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = Queue::force_remove(self.queue.name());
    }
}

/// Measures a way of sending `messages` messages, with nobody there to receive them.
fn sending(
    criterion: &mut Criterion,
    way: &str,
    messages: usize,
    send: impl Fn(&mut Producer, &[u8]),
) {
    let mut group = criterion.benchmark_group(way);
    for size in SIZES {
        let ring = Ring::new(size);
        let mut producer = ring.queue.producer().expect("producer");
        let payload = vec![7; size];
        group.throughput(ring.throughput(messages as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter(|| send(&mut producer, black_box(&payload)));
        });
    }
}

fn send(criterion: &mut Criterion) {
    sending(criterion, "send", 1, |producer, payload| {
        producer.send(payload).expect("sent");
    });
    sending(criterion, "claim", 1, |producer, payload| {
        let mut claim = producer.claim(payload.len()).expect("room");
        claim.copy_from_slice(payload);
        claim.commit().expect("sent");
    });
    sending(criterion, "batch_push", BATCH, |producer, payload| {
        let mut batch = producer.batch();
        for _ in 0..BATCH {
            batch.push(payload).expect("room");
        }
        batch.commit().expect("sent");
    });
    sending(criterion, "batch_extend", BATCH, |producer, payload| {
        let mut batch = producer.batch();
        batch.extend((0..BATCH).map(|_| payload)).expect("room");
        batch.commit().expect("sent");
    });
}

/// Measures a way of receiving, which says how many messages it has received, and whether it
/// copies them. Filling the ring beforehand is not measured.
fn receiving<R>(
    criterion: &mut Criterion,
    (way, copies): (&str, bool),
    join: impl Fn(&Queue) -> R,
    receive: impl Fn(&mut R) -> u64,
) {
    let mut group = criterion.benchmark_group(way);
    for size in SIZES {
        let ring = Ring::new(size);
        let mut producer = ring.queue.producer().expect("producer");
        let mut reader = join(&ring.queue);
        let payload = vec![7; size];
        group.throughput(if copies { ring.throughput(1) } else { Throughput::Elements(1) });
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter_custom(|count| {
                let mut time = Duration::ZERO;
                let mut left = count;
                while left > 0 {
                    let round = left.min(ring.messages());
                    for _ in 0..round {
                        producer.send(&payload).expect("sent");
                    }
                    let mut received = 0;
                    let begin = Instant::now();
                    while received < round {
                        received += receive(&mut reader);
                    }
                    time += begin.elapsed();
                    left -= round;
                }
                time
            });
        });
    }
}

fn receive(criterion: &mut Criterion) {
    let one = |consumer: &mut Consumer| {
        let message = consumer.receive().expect("received").message().expect("a message");
        black_box(message.payload());
        1
    };
    let batch = |consumer: &mut Consumer| {
        let batch = consumer.receive_batch(BATCH).expect("received").message().expect("a message");
        let mut count = 0;
        for message in batch {
            black_box(message.payload());
            count += 1;
        }
        count
    };
    let hold = |queue: &Queue| queue.subscribe(&Subscribe::new()).expect("consumer");
    let skip =
        |queue: &Queue| queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).expect("consumer");
    receiving(criterion, ("receive_hold", false), hold, one);
    receiving(criterion, ("receive_skip", true), skip, one);
    receiving(criterion, ("receive_batch_hold", false), hold, batch);
    receiving(criterion, ("receive_batch_skip", true), skip, batch);

    let observe = |queue: &Queue| queue.observe(Start::Newest).expect("observer");
    receiving(criterion, ("receive_observer", true), observe, |observer: &mut Observer| {
        let message = observer.receive().expect("received").message().expect("a message");
        black_box(message.payload());
        1
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = send, receive
}
criterion_main!(benches);
