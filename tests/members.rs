//! What a member of a named subscription may rely on at the edges: batches that others settle, or that
//! are forgotten, ends of streams that somebody still works on, and how much it is lent.

mod support;

use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{
    AckMode, Acked, Consumer, DeadLetters, Error, Journal, Lag, Message, Nacked, Producer, Queue,
    QueueOptions, Reason, Received, Start, Subscribe, Wait,
};
use support::{Directory, Name, watchdog};

const CAPACITY: u64 = 64 << 10;

fn queue_of(name: &Name) -> (Queue, Producer) {
    let queue = Queue::create(name, &QueueOptions::new().capacity(CAPACITY).members(8)).unwrap();
    let producer = queue.producer().unwrap();
    (queue, producer)
}

fn workers() -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park)
}

fn next(consumer: &mut Consumer) -> Message<'_> {
    consumer.receive().unwrap().message().expect("a message")
}

/// Waits until a consumer has slept some times more: one that polls does not.
fn await_sleeps(queue: &Queue, member: u32) {
    let sleeps = || {
        let info = queue.info().unwrap();
        info.consumers.iter().find(|of| of.member == member).expect("the consumer").sleeps
    };
    let before = sleeps();
    while sleeps() < before + 3 {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn messages_of_a_batch_are_settled_by_other_threads_while_it_goes_on() {
    let _watchdog = watchdog();
    for mode in [AckMode::Manual, AckMode::Auto] {
        let name = Name::new("batch-threads");
        let (queue, mut producer) = queue_of(&name);
        let mut consumer = queue.subscribe(&workers().ack(mode).prefetch(32)).unwrap();
        let mut due = 0;
        while due < 64_000 {
            // Not all of a batch may be in one share.
            if due % 32 == 0 {
                producer.batch_of(32);
            }
            thread::scope(|scope| {
                let (lent, to_settle) = mpsc::channel::<Message<'_>>();
                let settler = scope.spawn(move || {
                    for message in to_settle {
                        assert_eq!(message.ack().unwrap(), Acked::Done, "{message:?}");
                    }
                });
                let batch = consumer.receive_batch(32).unwrap().message().unwrap();
                for message in batch {
                    assert_eq!((message.sequence(), message.delivery()), (due, 1));
                    due += 1;
                    lent.send(message).unwrap();
                }
                drop(lent);
                // The thread sanitizer knows what a join orders, and not what a scope's end does.
                settler.join().unwrap();
            });
        }
        drop(consumer);
        let info = queue.info().unwrap();
        assert_eq!(
            (info.subscriptions[0].unacked, info.subscriptions[0].lag_messages),
            (0, Some(0))
        );
    }
}

trait BatchOf {
    fn batch_of(&mut self, count: u32);
}

impl BatchOf for Producer {
    fn batch_of(&mut self, count: u32) {
        let mut batch = self.batch();
        (0..count).for_each(|number| batch.push(&number.to_le_bytes()).unwrap());
        batch.commit().unwrap();
    }
}

/// Of two that make a share of the same message ready, one takes it.
#[test]
fn a_member_that_was_too_late_for_a_message_does_not_have_it() {
    const ROUNDS: u64 = 2000;
    let _watchdog = watchdog();
    let name = Name::new("too-late");
    let (queue, mut producer) = queue_of(&name);
    let members = [(), ()].map(|()| queue.subscribe(&workers().ack(AckMode::Manual)).unwrap());
    let (sent, at_end) = (Barrier::new(3), Barrier::new(3));
    let mut unacked = 0;
    thread::scope(|scope| {
        for mut member in members {
            let (sent, at_end) = (&sent, &at_end);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    sent.wait();
                    while let Received::Message(message) = member.try_receive().unwrap() {
                        assert_eq!(message.ack().unwrap(), Acked::Done);
                    }
                    at_end.wait();
                    at_end.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            producer.send(b"a message").unwrap();
            sent.wait();
            at_end.wait();
            unacked += queue.info().unwrap().consumers.iter().map(|of| of.unacked).sum::<u64>();
            at_end.wait();
        }
    });
    assert_eq!(unacked, 0);
}

#[test]
fn a_forgotten_batch_of_a_member_was_received_as_far_as_it_went() {
    let _watchdog = watchdog();
    let name = Name::new("forgotten");
    let (queue, mut producer) = queue_of(&name);
    let mut consumer = queue.subscribe(&workers()).unwrap();
    let mut due = 0;
    for round in 0..200 {
        producer.batch_of(40);
        let goes_as_far = round % 33;
        let mut batch = consumer.receive_batch(40).unwrap().message().unwrap();
        for message in batch.by_ref().take(goes_as_far) {
            assert_eq!(message.sequence(), due);
            due += 1;
        }
        std::mem::forget(batch);
        // The first of a batch is received in any case.
        due += u64::from(goes_as_far == 0);
        let message = next(&mut consumer);
        assert_eq!((message.sequence(), message.delivery()), (due, 1));
        due += 1;
        while let Received::Message(message) = consumer.try_receive().unwrap() {
            assert_eq!((message.sequence(), message.delivery()), (due, 1));
            due += 1;
        }
        assert_eq!(due, 40 * (round as u64 + 1));
    }
}

#[test]
fn whoever_waits_for_the_end_sleeps_until_the_last_message_is_settled() {
    let _watchdog = watchdog();
    let name = Name::new("end");
    let (queue, mut producer) = queue_of(&name);
    let workers = workers().ack(AckMode::Manual);
    let mut busy = queue.subscribe(&workers).unwrap();
    let mut idle = queue.subscribe(&workers).unwrap();
    producer.send(b"a long task").unwrap();
    let task = next(&mut busy).sequence();
    producer.close().unwrap();
    let member = idle.member();
    thread::scope(|scope| {
        let end = scope.spawn(|| idle.receive().unwrap() == Received::Closed);
        await_sleeps(&queue, member);
        assert_eq!(busy.ack(task).unwrap(), Acked::Done);
        assert!(end.join().unwrap());
    });
    // Whoever has something left to do does not keep others from finding out that the queue is gone.
    producer = queue.producer().unwrap();
    producer.send(b"another").unwrap();
    next(&mut busy);
    producer.close().unwrap();
    Queue::force_remove(&name).unwrap();
    assert!(matches!(idle.receive(), Err(Error::Stale { .. })));
}

#[test]
fn whoever_may_not_take_what_is_there_sleeps() {
    let _watchdog = watchdog();
    let name = Name::new("blocked");
    let (queue, mut producer) = queue_of(&name);
    let keyed = workers().keyed().ack(AckMode::Manual).prefetch(1);
    let mut one = queue.subscribe(&keyed).unwrap();
    let mut other = queue.subscribe(&keyed).unwrap();
    for text in [b"first", b"again", b"after"] {
        producer.message().key(b"alice").send(text).unwrap();
    }
    let first = next(&mut one).sequence();
    let member = other.member();
    thread::scope(|scope| {
        let next = scope.spawn(|| next(&mut other).sequence());
        // It has the second one in hand, which waits for the first, and may have no third.
        await_sleeps(&queue, member);
        assert_eq!(one.ack(first).unwrap(), Acked::Done);
        assert_eq!(next.join().unwrap(), first + 1);
    });
}

#[test]
fn a_member_takes_what_is_behind_a_share_that_is_blocked() {
    let _watchdog = watchdog();
    let name = Name::new("behind");
    let (queue, mut producer) = queue_of(&name);
    let keyed = workers().keyed().ack(AckMode::Manual);
    let mut one = queue.subscribe(&keyed.clone().prefetch(1)).unwrap();
    let mut other = queue.subscribe(&keyed.prefetch(100)).unwrap();
    let member = other.member();
    let mut send = |key: &[u8]| producer.message().key(key).send(b"").unwrap();
    send(b"alice");
    next(&mut one);
    let free = thread::scope(|scope| {
        let next = scope.spawn(|| next(&mut other).sequence());
        // It sleeps before there is anything for it. What wakes it is a share that is all alice's.
        await_sleeps(&queue, member);
        for _ in 0..40 {
            send(b"alice");
        }
        let free = send(b"bob");
        assert_eq!(next.join().unwrap(), free);
        free
    });
    assert!(free > 40);
}

/// A member that has received everything, and a producer that stands at the last word of the ring: what
/// comes next is padding, made behind the message before it.
fn at_the_end_of_a_lap(name: &Name) -> (Queue, Producer, Consumer) {
    let (queue, mut producer) = queue_of(name);
    let mut consumer = queue.subscribe(&workers()).unwrap();
    // Frames of 16 bytes.
    for _ in 0..CAPACITY / 16 - 1 {
        producer.send(b"x").unwrap();
        next(&mut consumer);
    }
    (queue, producer, consumer)
}

#[test]
fn whoever_waits_where_a_lap_has_ended_sleeps() {
    let _watchdog = watchdog();
    let name = Name::new("lap");
    let (queue, mut producer, mut consumer) = at_the_end_of_a_lap(&name);
    let member = consumer.member();
    thread::scope(|scope| {
        let next = scope.spawn(|| next(&mut consumer).sequence());
        await_sleeps(&queue, member);
        let sequence = producer.send(b"x").unwrap();
        assert_eq!(next.join().unwrap(), sequence);
    });
}

#[test]
fn whoever_waits_where_a_lap_has_ended_is_told_that_the_queue_is_gone() {
    let _watchdog = watchdog();
    let name = Name::new("lap-gone");
    let (queue, _producer, mut consumer) = at_the_end_of_a_lap(&name);
    let member = consumer.member();
    thread::scope(|scope| {
        let end = scope.spawn(|| matches!(consumer.receive(), Err(Error::Stale { .. })));
        await_sleeps(&queue, member);
        Queue::force_remove(&name).unwrap();
        assert!(end.join().unwrap());
    });
}

#[test]
fn a_member_is_lent_as_much_as_it_may_have_wherever_it_comes_from() {
    let _watchdog = watchdog();
    let name = Name::new("prefetch");
    let (queue, mut producer) = queue_of(&name);
    let manual = workers().ack(AckMode::Manual);
    let mut generous = queue.subscribe(&manual.clone().prefetch(32)).unwrap();
    producer.batch_of(32);
    generous.receive_batch(32).unwrap().message().unwrap().for_each(drop);
    drop(generous);
    let mut careful = queue.subscribe(&manual.prefetch(2)).unwrap();
    let lent = [next(&mut careful).sequence(), next(&mut careful).sequence()];
    assert!(matches!(careful.try_receive(), Err(Error::PrefetchFull { unacked: 2, .. })));
    assert_eq!(careful.ack(lent[0]).unwrap(), Acked::Done);
    assert!(next(&mut careful).redelivered());
}

#[test]
fn a_member_that_uses_up_all_shares_is_told_to_acknowledge() {
    let _watchdog = watchdog();
    let name = Name::new("shares");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY).members(1)).unwrap();
    let mut producer = queue.producer().unwrap();
    let skips = workers().ack(AckMode::Manual).on_lag(Lag::Skip).prefetch(1_000);
    let mut consumer = queue.subscribe(&skips).unwrap();
    // More than half a sector each: no two are in one share.
    let payload = vec![7; usize::try_from(CAPACITY / 16 / 2).unwrap()];
    let mut lent = Vec::new();
    let full = loop {
        producer.send(&payload).unwrap();
        match consumer.receive() {
            Ok(received) => lent.push(received.message().unwrap().sequence()),
            Err(error) => break error,
        }
        assert!(lent.len() < 1_000, "there are not so many shares");
    };
    assert!(matches!(full, Error::PrefetchFull { unacked, .. } if unacked as usize == lent.len()));
    assert!(lent.len() >= 60, "{} shares", lent.len());
    assert_eq!(consumer.ack(lent[0]).unwrap(), Acked::Done);
    assert!(next(&mut consumer).sequence() > lent[lent.len() - 1]);
}

#[test]
fn a_member_that_uses_up_all_shares_gets_what_others_left_before_it_is_told() {
    let _watchdog = watchdog();
    let name = Name::new("shares-left");
    let (queue, mut producer) = queue_of(&name);
    let manual = workers().ack(AckMode::Manual).prefetch(1_000);
    let [mut one, mut gone] = [(), ()].map(|()| queue.subscribe(&manual).unwrap());
    // No two are in one share.
    let mut receive = |consumer: &mut Consumer| {
        producer.send(b"work").unwrap();
        consumer.receive().map(|received| received.message().unwrap().sequence())
    };
    assert_eq!(receive(&mut one).unwrap(), 0);
    assert_eq!(receive(&mut gone).unwrap(), 1);
    drop(gone);
    let mut lent = Vec::new();
    let full = loop {
        match receive(&mut one) {
            Ok(sequence) => lent.push(sequence),
            Err(error) => break error,
        }
        assert!(lent.len() < 1_000, "there are not so many shares");
    };
    assert!(matches!(full, Error::PrefetchFull { .. }), "{full}");
    assert!(lent.contains(&1), "{lent:?}");
}

#[test]
fn a_share_that_could_not_be_taken_is_there_for_the_next() {
    let _watchdog = watchdog();
    let name = Name::new("damaged");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(CAPACITY).members(8).history(directory.path());
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.subscribe(&workers().on_lag(Lag::Spill)).unwrap();
    // Three rings of it.
    for _ in 0..48 {
        producer.send(&[7; 4_000]).unwrap();
    }
    for file in std::fs::read_dir(directory.path().join("spill")).unwrap() {
        std::fs::write(file.unwrap().path(), b"not a file of a log").unwrap();
    }
    for _ in 0..500 {
        assert!(matches!(consumer.try_receive(), Err(Error::LogDamaged { .. })));
    }
    let mut other = queue.subscribe(&workers().named("others").on_lag(Lag::Skip)).unwrap();
    next(&mut other);
}

#[test]
fn acknowledging_all_up_to_a_message_leaves_what_comes_after_it() {
    let _watchdog = watchdog();
    for has_acker in [false, true] {
        let name = Name::new("through");
        let (queue, mut producer) = queue_of(&name);
        let options = workers().ack(AckMode::Manual).prefetch(8);
        let mut one = queue.subscribe(&options).unwrap();
        let acker = has_acker.then(|| one.acker().unwrap());
        // Two shares of two messages each.
        for first in [0, 2] {
            let mut batch = producer.batch();
            (0..2).for_each(|_| batch.push(b"work").unwrap());
            batch.commit().unwrap();
            assert_eq!([(); 2].map(|()| next(&mut one).sequence()), [first, first + 1]);
        }
        let through = |sequence| match &acker {
            Some(acker) => acker.ack_through(sequence).unwrap(),
            None => one.ack_through(sequence).unwrap(),
        };
        let unacked = || queue.info().unwrap().subscriptions[0].unacked;
        for (sequence, left) in [(0, 3), (2, 1), (3, 0)] {
            assert_eq!((through(sequence), unacked()), (Acked::Done, left), "{has_acker}");
        }
    }
}

#[test]
fn acknowledging_all_is_late_if_some_of_it_is() {
    let _watchdog = watchdog();
    let name = Name::new("ack-through");
    let (queue, mut producer) = queue_of(&name);
    let leased = workers().ack(AckMode::Manual).prefetch(2).ack_within(Duration::from_millis(20));
    let mut slow = queue.subscribe(&leased).unwrap();
    let mut heir = queue.subscribe(&leased).unwrap();
    // Each is a share of its own.
    let payload = vec![7; usize::try_from(CAPACITY / 16 / 2).unwrap()];
    producer.send(&payload).unwrap();
    producer.send(&payload).unwrap();
    let (first, second) = (next(&mut slow).sequence(), next(&mut slow).sequence());
    // One of them passes on. The other one is to be in time, unless the scheduler has it otherwise.
    while heir.try_receive().unwrap() == Received::Empty {
        let _ = slow.extend(second).unwrap();
    }
    assert_eq!(slow.ack_through(second).unwrap(), Acked::Late);
    assert!(first < second);
}

#[test]
fn a_message_that_is_rejected_is_a_dead_letter_at_once_if_there_is_a_place() {
    let _watchdog = watchdog();
    let name = Name::new("rejected");
    let (queue, mut producer) = queue_of(&name);
    let directory = Directory::new(&name);
    let manual = workers().ack(AckMode::Manual);
    let mut placeless = queue.subscribe(&manual).unwrap();
    producer.send(b"nonsense").unwrap();
    let refused = next(&mut placeless).reject().unwrap_err();
    assert!(matches!(&refused, Error::InvalidOption { .. }), "{refused}");
    // It was not settled.
    drop(placeless);
    let mut worker = queue.subscribe(&manual.dead_letters(directory.path())).unwrap();
    let message = next(&mut worker);
    let sequence = message.sequence();
    assert_eq!((message.delivery(), message.reject().unwrap()), (2, Acked::Done));
    assert_eq!(worker.reject(sequence).unwrap(), Acked::Late);
    assert_eq!(worker.try_receive().unwrap(), Received::Empty);
    let letters = DeadLetters::open(directory.path(), &name, "workers").unwrap();
    let letters: Vec<_> = letters.iter().map(Result::unwrap).collect();
    assert_eq!((letters.len(), &letters[0].payload[..]), (1, &b"nonsense"[..]));
    assert_eq!((letters[0].reason, letters[0].deliveries), (Reason::Refused, 2));
    let counts = &queue.info().unwrap().subscriptions[0];
    assert_eq!((counts.dead_letters, counts.acked), (1, 0));
}

/// Whoever rejects a message may die when its letter is written and the message is not settled yet.
#[test]
fn what_was_had_before_and_is_a_dead_letter_does_not_become_another_one() {
    let _watchdog = watchdog();
    let name = Name::new("rejected-again");
    let (queue, mut producer) = queue_of(&name);
    let directory = Directory::new(&name);
    let options = workers().ack(AckMode::Manual).dead_letters(directory.path());
    let mut worker = queue.subscribe(&options).unwrap();
    producer.send(b"nonsense").unwrap();
    assert_eq!(next(&mut worker).reject().unwrap(), Acked::Done);
    drop(worker);
    // As if it were not settled.
    queue.seek("workers", Start::Oldest).unwrap();
    let mut worker = queue.subscribe(&options).unwrap();
    assert_eq!(next(&mut worker).nack().unwrap(), Nacked::Retry(Duration::ZERO));
    let message = next(&mut worker);
    assert_eq!((message.delivery(), message.reject().unwrap()), (2, Acked::Done));
    assert_eq!(worker.try_receive().unwrap(), Received::Empty);
    let letters = DeadLetters::open(directory.path(), &name, "workers").unwrap();
    assert_eq!(letters.iter().count(), 1);
}

#[test]
fn dead_letters_need_a_place_whoever_set_the_limit() {
    let _watchdog = watchdog();
    let name = Name::new("letters");
    let (queue, _producer) = queue_of(&name);
    let directory = Directory::new(&name);
    let limited = workers().deliveries_max(3).dead_letters(directory.path());
    let _first = queue.subscribe(&limited).unwrap();
    let refused = queue.subscribe(&workers()).unwrap_err();
    assert!(matches!(&refused, Error::InvalidOption { .. }), "{refused}");
    assert!(refused.to_string().contains("dead letters"), "{refused}");
    let _second = queue.subscribe(&workers().dead_letters(directory.path())).unwrap();
}

/// Every way of taking messages; what was received last is not delivered again, and what was not
/// received is.
#[test]
fn who_closes_has_done_what_it_received_and_who_is_dropped_has_not() {
    let _alive = watchdog();
    let lease = Duration::from_secs(3_600);
    for options in [
        workers(),
        workers().keyed(),
        workers().ack_within(lease),
        workers().on_lag(Lag::Skip),
        workers().prefetch(1),
    ] {
        let name = Name::new("closed");
        let (queue, mut producer) = queue_of(&name);
        for _ in 0..5 {
            producer.message().key(b"one").send(b"a task").unwrap();
        }
        let mut worker = queue.subscribe(&options).unwrap();
        assert_eq!(next(&mut worker).sequence(), 0);
        drop(worker);
        let mut worker = queue.subscribe(&options).unwrap();
        let again = next(&mut worker);
        assert_eq!((again.sequence(), again.delivery()), (0, 2), "{options:?}");
        worker.close().unwrap();
        let info = &queue.info().unwrap().subscriptions[0];
        assert_eq!((info.members_alive, info.acked), (0, 1), "{options:?}");
        let mut worker = queue.subscribe(&options).unwrap();
        let mut batch = worker.receive_batch(2).unwrap().message().unwrap();
        assert_eq!(batch.next().unwrap().sequence(), 1);
        // What the batch did not come to was not received.
        let more = batch.next().map(|message| message.sequence());
        assert!(more.is_none_or(|more| more == 2));
        let due = 2 + u64::from(more.is_some());
        drop(batch);
        worker.close().unwrap();
        let mut worker = queue.subscribe(&options).unwrap();
        let message = next(&mut worker);
        assert_eq!((message.sequence(), message.delivery()), (due, 1), "{options:?}");
    }
}

#[test]
fn who_closes_and_acknowledges_by_itself_leaves_the_rest_to_others() {
    let _alive = watchdog();
    let name = Name::new("closed-manual");
    let (queue, mut producer) = queue_of(&name);
    producer.send(b"a").unwrap();
    producer.send(b"b").unwrap();
    let manual = workers().ack(AckMode::Manual);
    let mut worker = queue.subscribe(&manual).unwrap();
    assert_eq!(next(&mut worker).ack().unwrap(), Acked::Done);
    assert_eq!(next(&mut worker).sequence(), 1);
    worker.close().unwrap();
    let mut worker = queue.subscribe(&manual).unwrap();
    let again = next(&mut worker);
    assert_eq!((again.sequence(), again.delivery()), (1, 2));
    // One on its own has nothing to acknowledge.
    let mut alone = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    assert_eq!(next(&mut alone).sequence(), 0);
    alone.close().unwrap();
    assert_eq!(queue.info().unwrap().consumers.len(), 1);
}

#[test]
fn what_was_done_when_its_member_closed_does_not_come_again_after_a_restart() {
    let _alive = watchdog();
    let name = Name::new("closed-journal");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(CAPACITY).members(8);
    let options = options.history(directory.path()).journal(Journal::Written);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send_durable(b"a").unwrap();
    producer.send_durable(b"b").unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(next(&mut worker).sequence(), 0);
    worker.close().unwrap();
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &options).unwrap();
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(next(&mut worker).sequence(), 1);
    // That it cannot be written down is told; the member has ended all the same.
    let checkpoints = directory.file("subscriptions");
    std::fs::rename(&checkpoints, directory.file("elsewhere")).unwrap();
    std::fs::write(&checkpoints, "in the way").unwrap();
    assert!(matches!(worker.close(), Err(Error::File { .. })));
    std::fs::remove_file(&checkpoints).unwrap();
    let info = queue.info().unwrap();
    assert!(info.consumers.is_empty() && info.subscriptions[0].unacked == 0);
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert_eq!(worker.try_receive().unwrap(), Received::Empty);
}

/// Members of a lease that is over soon.
fn lessees() -> Subscribe {
    workers().ack(AckMode::Manual).ack_within(Duration::from_millis(20))
}

/// A member takes over what others are too slow with, and is done with so many messages.
fn settle(heir: &mut Consumer, count: usize) {
    let mut settled = 0;
    while settled < count {
        if let Received::Message(message) = heir.receive().unwrap() {
            settled += usize::from(message.ack().unwrap() == Acked::Done);
        }
    }
}

/// Sends a whole ring, which a member is done with.
fn go_round(producer: &mut Producer, worker: &mut Consumer) {
    let end = producer.next_sequence() + CAPACITY / 1000;
    while producer.next_sequence() < end {
        let _ = producer.try_send(&[7; 1000]).unwrap();
        while let Received::Message(message) = worker.try_receive().unwrap() {
            assert_eq!(message.ack().unwrap(), Acked::Done);
        }
    }
}

#[test]
fn what_was_lost_to_others_and_overwritten_is_no_damage() {
    let _watchdog = watchdog();
    for is_inherited in [false, true] {
        let name = Name::new("lost-and-overwritten");
        let (queue, mut producer) = queue_of(&name);
        producer.batch_of(8);
        if is_inherited {
            let mut dies = queue.subscribe(&lessees()).unwrap();
            for number in 0..4 {
                assert_eq!(next(&mut dies).sequence(), number);
            }
        }
        let mut slow = queue.subscribe(&lessees()).unwrap();
        assert_eq!(next(&mut slow).sequence(), 0);
        let mut other = queue.subscribe(&lessees()).unwrap();
        settle(&mut other, 8);
        go_round(&mut producer, &mut other);
        for _ in 0..3 {
            assert_eq!(slow.try_receive().unwrap(), Received::Empty);
        }
    }
}

#[test]
fn what_others_are_done_with_becomes_no_dead_letter() {
    let _watchdog = watchdog();
    for can_be_written in [true, false] {
        let name = Name::new("no-letter");
        let (queue, mut producer) = queue_of(&name);
        let directory = Directory::new(&name);
        if !can_be_written {
            std::fs::remove_dir_all(directory.path()).unwrap();
            std::fs::write(directory.path(), b"no directory").unwrap();
        }
        let lease = Duration::from_millis(300);
        let terms = lessees().ack_within(lease).deliveries_max(3).dead_letters(directory.path());
        let place = queue.subscribe(&terms).unwrap();
        let mut slow = queue.subscribe(&terms).unwrap();
        drop(place);
        // In front of the other one in the table: it looks for free shares from there on.
        let mut other = queue.subscribe(&terms).unwrap();
        assert_eq!((other.member(), slow.member()), (0, 1));
        producer.batch_of(2);
        assert_eq!((next(&mut slow).sequence(), next(&mut slow).sequence()), (0, 1));
        assert!(matches!(slow.nack_after(0, Duration::from_millis(1)).unwrap(), Nacked::Retry(_)));
        settle(&mut other, 2);
        assert_eq!(other.try_receive().unwrap(), Received::Empty);
        // What was its share has others by now, the first of which was delivered as often as can be.
        for _ in 0..2 {
            producer.batch_of(2);
            next(&mut other);
            next(&mut other);
        }
        for _ in 0..2 {
            assert_ne!(other.nack(4).unwrap(), Nacked::Late);
            assert_eq!(next(&mut other).sequence(), 4);
        }
        let waiting = || queue.info().unwrap().subscriptions[0].waiting;
        let before = waiting();
        assert_eq!(slow.try_receive().unwrap(), Received::Empty);
        assert_eq!(waiting(), before);
        if can_be_written {
            let letters = DeadLetters::open(directory.path(), &name, "workers").unwrap();
            assert_eq!(letters.iter().count(), 0);
        } else {
            std::fs::remove_file(directory.path()).unwrap();
        }
    }
}

#[test]
fn what_was_lost_to_others_does_not_count_as_unacknowledged() {
    let _watchdog = watchdog();
    let name = Name::new("lost-count");
    let (queue, mut producer) = queue_of(&name);
    producer.batch_of(2);
    let mut slow = queue.subscribe(&lessees().prefetch(2)).unwrap();
    next(&mut slow);
    next(&mut slow);
    let mut other = queue.subscribe(&lessees()).unwrap();
    settle(&mut other, 2);
    drop(other);
    producer.send(b"for whoever is free").unwrap();
    assert_eq!(next(&mut slow).payload(), b"for whoever is free");
}

#[test]
fn who_extends_shows_that_it_is_at_work_however_often_it_does() {
    /// After so many the state of a share is what it was.
    const GENERATIONS: u32 = 2048;
    let _watchdog = watchdog();
    let name = Name::new("extends");
    let (queue, mut producer) = queue_of(&name);
    let lease = Duration::from_millis(200);
    let terms = lessees().ack_within(lease);
    loop {
        let (mut one, mut other) =
            (queue.subscribe(&terms).unwrap(), queue.subscribe(&terms).unwrap());
        producer.send(b"").unwrap();
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let sequence = next(&mut one).sequence();
        let look = |other: &mut Consumer| {
            // An idle member looks at others now and then.
            (0..40).any(|_| matches!(other.try_receive().unwrap(), Received::Message(_)))
        };
        let was_taken = look(&mut other);
        let begin = Instant::now();
        while begin.elapsed() < lease * 3 / 2 {
            for _ in 0..GENERATIONS {
                let _ = one.extend(sequence).unwrap();
                let now = Instant::now();
                (longest, last) = (longest.max(now - last), now);
            }
        }
        let is_taken = look(&mut other);
        // The machine may have kept it from extending for as long as the lease is.
        if longest.max(last.elapsed()) < lease / 2 {
            assert!(!was_taken && !is_taken);
            assert_eq!(one.ack(sequence).unwrap(), Acked::Done);
            return;
        }
        drop((one, other));
        queue.unsubscribe("workers").unwrap();
    }
}
