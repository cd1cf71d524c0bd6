//! What sharing costs: a message received and acknowledged as a member of a named subscription,
//! beside one received by a consumer of its own. One process, one thread, no waiting.
//!
//! `cargo bench --bench subscriptions`. Several members take turns at every message, so that each
//! has a share of its own; on one thread they cost each other cache lines no more than one would.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway::{AckMode, Consumer, Producer, Queue, QueueOptions, Received, Subscribe};

const SIZE: usize = 64;
const CAPACITY: u64 = 1 << 20;
/// Messages that are sure to fit.
const ROUND: u64 = CAPACITY / 2 / (SIZE as u64 + 24);

/// A queue that goes away with this.
struct Ring(Queue);

impl Ring {
    fn new() -> Self {
        let name = format!("bench-subscriptions-{}", std::process::id());
        Self(Queue::create(&name, &QueueOptions::new().capacity(CAPACITY)).expect("queue"))
    }

    fn join(&self, options: &Subscribe, members: usize) -> Vec<Consumer> {
        (0..members).map(|_| self.0.subscribe(options).expect("consumer")).collect()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = Queue::force_remove(self.0.name());
    }
}

fn send(producer: &mut Producer, sequence: u64) {
    producer.message().key_hash(sequence).send(&[7; SIZE]).expect("sent");
}

/// Measures a way of receiving by members who take turns. Filling the ring is not measured.
fn receiving(
    criterion: &mut Criterion,
    group: &str,
    options: &Subscribe,
    members: &[usize],
    receive: impl Fn(&mut Consumer) -> bool,
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    for &members in members {
        let ring = Ring::new();
        let mut consumers = ring.join(options, members);
        let mut producer = ring.0.producer().expect("producer");
        group.bench_function(BenchmarkId::new("members", members), |bench| {
            bench.iter_custom(|count| {
                let mut time = Duration::ZERO;
                let mut left = count;
                while left > 0 {
                    let round = left.min(ROUND);
                    for sequence in 0..round {
                        send(&mut producer, sequence);
                    }
                    let mut received = 0;
                    let begin = Instant::now();
                    while received < round {
                        for consumer in &mut consumers {
                            received += u64::from(receive(consumer));
                        }
                    }
                    time += begin.elapsed();
                    left -= round;
                }
                time
            });
        });
    }
}

fn receive(consumer: &mut Consumer) -> bool {
    match consumer.try_receive().expect("received") {
        Received::Message(message) => {
            black_box(message.payload());
            true
        }
        _ => false,
    }
}

fn receive_and_ack(consumer: &mut Consumer) -> bool {
    match consumer.try_receive().expect("received") {
        Received::Message(message) => {
            black_box(message.payload());
            let _ = black_box(message.ack().expect("acknowledged"));
            true
        }
        _ => false,
    }
}

fn sharing(criterion: &mut Criterion) {
    let workers = Subscribe::new().named("workers");
    let manual = workers.clone().ack(AckMode::Manual);
    let leased = manual.clone().ack_within(Duration::from_secs(60));
    let keyed = workers.clone().keyed();
    let all = [1, 2, 4, 8];
    receiving(criterion, "alone", &Subscribe::new(), &[1], receive);
    receiving(criterion, "shared", &workers, &all, receive);
    receiving(criterion, "shared_one_at_a_time", &workers.clone().prefetch(1), &all, receive);
    receiving(criterion, "shared_manual", &manual, &all, receive_and_ack);
    receiving(criterion, "shared_leased", &leased, &all, receive_and_ack);
    receiving(criterion, "shared_keyed", &keyed, &all, receive);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = sharing
}
criterion_main!(benches);
