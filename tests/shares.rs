//! What becomes of shares that nobody gets on with: those that are blocked, that pass on, whose last
//! message was settled late, and of which something is gone.

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Consumer, Lag, Message, Nacked, Producer, Queue, QueueOptions, Received, Sent,
    Start, Subscribe, Wait,
};
use support::segment::progress_of;
use support::trace::{Traced, followed};
use support::{Directory, Name, Peer, play, say, watchdog};

const CAPACITY: u64 = 64 << 10;
const LEASE: Duration = Duration::from_millis(30);

#[test]
fn peer() {
    play(&[("receive", receive), ("hang", hang)]);
}

fn options() -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(8)
}

fn new_queue(name: &Name) -> (Queue, Producer) {
    let queue = Queue::create(name, &options()).unwrap();
    let producer = queue.producer().unwrap();
    (queue, producer)
}

fn workers() -> Subscribe {
    let options = Subscribe::new().named("workers").from(Start::Oldest).wait(Wait::Park);
    options.ack(AckMode::Manual)
}

fn next(consumer: &mut Consumer) -> Message<'_> {
    consumer.receive().unwrap().message().expect("a message")
}

fn send_of(producer: &mut Producer, key: &[u8]) {
    producer.message().key(key).send(b"work").unwrap();
}

/// Sends until the ring is full, and has another member acknowledge all that it can get.
fn fill(producer: &mut Producer, rest: &mut Consumer) {
    while producer.try_send(&[7; 1000]).unwrap() != Sent::Full {
        while rest.try_receive().unwrap().message().is_some() {}
    }
    while rest.try_receive().unwrap().message().is_some() {}
    assert_eq!(producer.try_send(&[7; 1000]).unwrap(), Sent::Full);
}

#[test]
fn what_is_blocked_and_has_passed_on_leaves_room_to_who_had_it() {
    let _watchdog = watchdog();
    let name = Name::new("blocked");
    let (queue, mut producer) = new_queue(&name);
    let options = workers().keyed().ack_within(LEASE);
    let [mut one, mut other] =
        [(), ()].map(|()| queue.subscribe(&options.clone().prefetch(2)).unwrap());
    let mut busy = queue.subscribe(&options.clone().prefetch(1)).unwrap();
    send_of(&mut producer, b"a");
    assert_eq!(next(&mut busy).sequence(), 0);
    send_of(&mut producer, b"a");
    send_of(&mut producer, b"a");
    assert_eq!(one.try_receive().unwrap(), Received::Empty);
    let passed_on = |of: &Consumer| {
        let info = queue.info().unwrap();
        info.consumers.iter().any(|member| member.member == of.member() && member.unacked == 2)
    };
    while !passed_on(&other) {
        assert_eq!(busy.extend(0).unwrap(), Acked::Done);
        assert_eq!(other.try_receive().unwrap(), Received::Empty);
    }
    send_of(&mut producer, b"b");
    loop {
        assert_eq!(busy.extend(0).unwrap(), Acked::Done);
        let found = [&mut one, &mut other].map(|member| {
            member.try_receive().unwrap().message().map(|message| message.sequence())
        });
        if let Some(found) = found.into_iter().flatten().next() {
            assert_eq!(found, 3);
            return;
        }
    }
}

#[test]
fn what_is_refused_is_for_others_once_the_rest_is_acknowledged() {
    let _watchdog = watchdog();
    let pause = Duration::from_millis(20);
    for lease in [None, Some(Duration::from_secs(3600))] {
        let name = Name::new("rest");
        let (queue, mut producer) = new_queue(&name);
        let options = lease.map_or(workers(), |lease| workers().ack_within(lease));
        let mut one = queue.subscribe(&options.clone().prefetch(8)).unwrap();
        producer.send(b"refused").unwrap();
        producer.send(b"acknowledged").unwrap();
        assert_eq!(next(&mut one).sequence(), 0);
        assert_eq!(one.nack_after(0, pause).unwrap(), Nacked::Retry(pause));
        if lease.is_some() {
            assert_eq!(next(&mut one).ack().unwrap(), Acked::Done);
        } else {
            assert_eq!(next(&mut one).sequence(), 1);
            assert_eq!(one.ack(1).unwrap(), Acked::Done);
        }
        // It does something else now.
        let mut other = queue.subscribe(&options).unwrap();
        let message = next(&mut other);
        assert_eq!((message.sequence(), message.delivery()), (0, 2));
    }
}

/// Of two shares that are not worked through in order: one was somebody else's before, and the other
/// has a message that waits for its key.
#[test]
fn what_is_refused_of_a_share_in_no_order_does_not_wait_for_who_refused_it() {
    let _watchdog = watchdog();
    let pause = Duration::from_millis(20);
    for (is_keyed, has_acker) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = Name::new("no-order");
        let (queue, mut producer) = new_queue(&name);
        let options = if is_keyed { workers().keyed() } else { workers() }.prefetch(8);
        let mut before = queue.subscribe(&options).unwrap();
        (0..3).for_each(|_| send_of(&mut producer, b"a"));
        if !is_keyed {
            assert_eq!(next(&mut before).sequence(), 0);
        }
        drop(before);
        let mut one = queue.subscribe(&options).unwrap();
        let acker = has_acker.then(|| one.acker().unwrap());
        for sequence in 0..2 {
            assert_eq!(next(&mut one).sequence(), sequence);
            assert_eq!(one.ack(sequence).unwrap(), Acked::Done);
        }
        assert_eq!(next(&mut one).sequence(), 2);
        let refused = if let Some(acker) = acker {
            // What lies in the ring is lent until then.
            assert_eq!(one.try_receive().unwrap(), Received::Empty);
            acker.nack_after(2, pause)
        } else {
            one.nack_after(2, pause)
        };
        assert_eq!(refused.unwrap(), Nacked::Retry(pause));
        // It calls nothing any more.
        let mut other = queue.subscribe(&options).unwrap();
        let message = next(&mut other);
        assert_eq!((message.sequence(), message.delivery()), (2, 2), "{is_keyed} {has_acker}");
    }
}

/// One message is refused whenever it comes, and another one was left by a member that is gone.
#[test]
fn what_is_refused_again_and_again_keeps_nothing_else_waiting() {
    let _watchdog = watchdog();
    let name = Name::new("again");
    let (queue, mut producer) = new_queue(&name);
    let [mut one, mut gone] = [(), ()].map(|()| queue.subscribe(&workers().prefetch(1)).unwrap());
    for _ in 0..100 {
        producer.send(b"work").unwrap();
    }
    assert_eq!(next(&mut one).sequence(), 0);
    assert_eq!(next(&mut gone).sequence(), 1);
    drop(gone);
    let mut had = vec![0];
    while had[had.len() - 1] != 1 && had.len() < 20 {
        let last = had[had.len() - 1];
        if last == 0 {
            assert_eq!(one.nack(last).unwrap(), Nacked::Retry(Duration::ZERO));
        } else {
            assert_eq!(one.ack(last).unwrap(), Acked::Done);
        }
        had.push(next(&mut one).sequence());
    }
    assert_eq!(had, [0, 0, 2, 1]);
}

#[test]
fn what_is_refused_again_and_again_keeps_nothing_of_its_own_share_waiting() {
    let _watchdog = watchdog();
    let name = Name::new("share-mates");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(4)).unwrap();
    for _ in 0..4 {
        producer.send(b"work").unwrap();
    }
    for sequence in 0..4 {
        assert_eq!(next(&mut one).sequence(), sequence);
    }
    for sequence in 0..4 {
        assert_eq!(one.nack(sequence).unwrap(), Nacked::Retry(Duration::ZERO));
    }
    let had = [(); 12].map(|()| {
        let message = next(&mut one);
        assert_eq!(message.nack().unwrap(), Nacked::Retry(Duration::ZERO));
        message.sequence()
    });
    assert_eq!(had, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
}

/// Its share is the member's alone as long as that has another message of it in hand.
#[test]
fn what_is_refused_beside_one_in_hand_keeps_nothing_new_waiting() {
    let _watchdog = watchdog();
    let name = Name::new("in-hand");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(3)).unwrap();
    for _ in 0..20 {
        producer.send(b"work").unwrap();
    }
    assert_eq!(next(&mut one).sequence(), 0);
    let mut new = BTreeSet::new();
    for _ in 0..60 {
        let message = next(&mut one);
        if message.sequence() == 1 {
            assert_eq!(message.nack().unwrap(), Nacked::Retry(Duration::ZERO));
        } else {
            assert_eq!(message.ack().unwrap(), Acked::Done);
            new.insert(message.sequence());
        }
    }
    assert_eq!(new, (2..20).collect());
}

#[test]
fn what_is_refused_comes_again_before_many_others_do() {
    let _watchdog = watchdog();
    let name = Name::new("soon");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(1)).unwrap();
    for _ in 0..3_000 {
        producer.send(b"").unwrap();
    }
    let (mut waiting, mut acked) = (0, 0);
    while acked < 3_000 {
        let message = next(&mut one);
        waiting -= i32::from(message.redelivered());
        if message.sequence() % 4 == 0 && !message.redelivered() {
            assert_eq!(message.nack().unwrap(), Nacked::Retry(Duration::ZERO));
            waiting += 1;
        } else {
            assert_eq!(message.ack().unwrap(), Acked::Done);
            acked += 1;
        }
        assert!(waiting <= 1, "{waiting} after {acked}");
    }
}

/// Receives one message and hangs with it.
fn hang(arguments: &[&str]) {
    let mut options = workers().prefetch(1);
    if arguments[1] == "leased" {
        options = options.ack_within(LEASE);
    }
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&options).unwrap();
    say(next(&mut consumer).sequence());
    thread::sleep(Duration::MAX);
}

/// Its tasks take longer than anybody should have to be waited for who is dead, or has had its lease.
#[test]
fn who_is_busy_looks_between_two_tasks_for_what_others_left() {
    const TASK: Duration = Duration::from_millis(100);
    let _watchdog = watchdog();
    for (others, due) in [("dead", &[0, 1][..]), ("leased", &[0, 2, 1])] {
        let name = Name::new("busy");
        let (queue, mut producer) = new_queue(&name);
        let options = workers().prefetch(1);
        let options = if others == "leased" { options.ack_within(LEASE) } else { options };
        let mut busy = queue.subscribe(&options).unwrap();
        for _ in 0..20 {
            producer.send(b"work").unwrap();
        }
        let mut had = vec![next(&mut busy).sequence()];
        let mut peer = Some(Peer::start("hang", &[&name, others]));
        peer.as_mut().unwrap().await_word("1");
        if others == "dead" {
            peer.take().unwrap().kill();
        }
        while had[had.len() - 1] != 1 && had.len() < 10 {
            thread::sleep(TASK);
            assert_eq!(busy.ack(had[had.len() - 1]).unwrap(), Acked::Done);
            had.push(next(&mut busy).sequence());
        }
        assert_eq!(had, due, "{others}");
        peer.into_iter().for_each(Peer::kill);
    }
}

/// Those of one member that hangs lie between those of another.
#[test]
fn of_many_shares_each_passes_on_when_its_lease_is_over() {
    const EACH: u64 = 12;
    let _watchdog = watchdog();
    let name = Name::new("many");
    let (queue, mut producer) = new_queue(&name);
    let options = workers().ack_within(LEASE).prefetch(100);
    let mut hanging = [(), ()].map(|()| queue.subscribe(&options).unwrap());
    for _ in 0..EACH {
        for member in &mut hanging {
            producer.send(b"work").unwrap();
            // Either may have the other's, if the machine was busy with something else.
            let _ = next(member);
        }
    }
    let mut heir = queue.subscribe(&options).unwrap();
    let mut settled = BTreeSet::new();
    while settled.len() < 2 * usize::try_from(EACH).unwrap() {
        let message = next(&mut heir);
        assert_eq!(message.ack().unwrap(), Acked::Done);
        assert!(settled.insert(message.sequence()));
    }
}

#[test]
fn what_is_blocked_and_was_left_is_not_in_the_way_of_what_is_not() {
    let _watchdog = watchdog();
    let name = Name::new("left-blocked");
    let (queue, mut producer) = new_queue(&name);
    let options = workers().keyed().prefetch(1);
    let [mut busy, mut one, mut other] = [(), (), ()].map(|()| queue.subscribe(&options).unwrap());
    for key in [b"a", b"a", b"b"] {
        send_of(&mut producer, key);
    }
    assert_eq!(next(&mut busy).sequence(), 0);
    assert_eq!(one.try_receive().unwrap(), Received::Empty);
    assert_eq!(next(&mut other).sequence(), 2);
    drop((one, other));
    let mut heir = queue.subscribe(&options).unwrap();
    let message = heir.try_receive().unwrap().message().expect("it waits for nobody");
    assert_eq!((message.sequence(), message.delivery()), (2, 2));
}

#[test]
fn a_pause_counts_from_the_refusal() {
    const PAUSE: Duration = Duration::from_millis(20);
    let _watchdog = watchdog();
    let hour = Duration::from_secs(3600);
    for options in [workers(), workers().on_lag(Lag::Skip), workers().ack_within(hour)] {
        let name = Name::new("pause");
        let (queue, mut producer) = new_queue(&name);
        let mut one = queue.subscribe(&options.prefetch(1)).unwrap();
        producer.send(b"refused").unwrap();
        assert_eq!(next(&mut one).nack_after(PAUSE).unwrap(), Nacked::Retry(PAUSE));
        // It does something else meanwhile.
        thread::sleep(PAUSE);
        let message = one.try_receive().unwrap().message().expect("the pause is over");
        assert_eq!((message.sequence(), message.delivery()), (0, 2));
    }
}

#[test]
fn no_pause_is_longer_than_whoever_has_the_message_next_would_keep_it() {
    const LONGEST: Duration = Duration::from_millis(u32::MAX as u64 - 1);
    let _watchdog = watchdog();
    let name = Name::new("longest");
    let (queue, mut producer) = new_queue(&name);
    let year = Duration::from_secs(365 * 86_400);
    let mut one = queue.subscribe(&workers().backoff(year, 1.0, year).prefetch(1)).unwrap();
    producer.send(b"refused").unwrap();
    producer.send(b"for a time").unwrap();
    assert_eq!(next(&mut one).sequence(), 0);
    assert_eq!(one.nack(0).unwrap(), Nacked::Retry(LONGEST));
    assert_eq!(next(&mut one).sequence(), 1);
    assert_eq!(one.nack_after(1, year).unwrap(), Nacked::Retry(LONGEST));
}

#[test]
fn a_pause_is_over_with_the_share_that_it_was_in() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let _watchdog = watchdog();
    let name = Name::new("over");
    let (queue, mut producer) = new_queue(&name);
    producer.send(b"work").unwrap();
    let mut one = queue.subscribe(&workers()).unwrap();
    assert_eq!(next(&mut one).nack_after(HOUR).unwrap(), Nacked::Retry(HOUR));
    drop(one);
    // What is taken from there on is in another share, which has the same place.
    queue.seek("workers", Start::Oldest).unwrap();
    for delivery in 1..=2 {
        let mut one = queue.subscribe(&workers()).unwrap();
        let message = one.try_receive().unwrap().message().expect("it waits for nobody");
        assert_eq!(message.delivery(), delivery);
    }
}

#[test]
fn deliveries_are_counted_as_far_as_they_can_be_and_never_from_the_beginning() {
    let _watchdog = watchdog();
    let name = Name::new("counted");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers()).unwrap();
    producer.send(b"work").unwrap();
    for delivery in 1..600 {
        let message = next(&mut one);
        assert_eq!(message.delivery(), delivery.min(256));
        assert_eq!(message.nack().unwrap(), Nacked::Retry(Duration::ZERO));
    }
}

#[test]
fn no_pause_is_shorter_than_was_asked_for() {
    let _watchdog = watchdog();
    let name = Name::new("shortest");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(1)).unwrap();
    producer.send(b"refused").unwrap();
    let nacked = next(&mut one).nack_after(Duration::from_micros(1_001)).unwrap();
    // Whole milliseconds can be written down for whoever has it next.
    assert_eq!(nacked, Nacked::Retry(Duration::from_millis(2)));
}

#[test]
fn the_last_acknowledgement_of_a_share_makes_room_at_once() {
    let _watchdog = watchdog();
    let name = Name::new("room");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(1)).unwrap();
    let mut rest = queue.subscribe(&workers().ack(AckMode::Auto)).unwrap();
    producer.send(&[7; 1000]).unwrap();
    assert_eq!(next(&mut one).sequence(), 0);
    fill(&mut producer, &mut rest);
    let holds = || queue.info().unwrap().subscriptions[0].holds_producer;
    assert!(holds());
    assert_eq!(one.ack(0).unwrap(), Acked::Done);
    assert!(matches!(producer.try_send(&[7; 1000]).unwrap(), Sent::Sequence(_)));

    // A message that is acknowledged itself may be read as long as it is there.
    let mut one = queue.subscribe(&workers().prefetch(1)).unwrap();
    let message = next(&mut one);
    assert_eq!(message.ack().unwrap(), Acked::Done);
    let payload = message.payload();
    fill(&mut producer, &mut rest);
    assert_eq!(payload, [7; 1000]);
    assert!(holds(), "{:?}", producer.held_by());
}

#[test]
fn a_dead_letter_that_was_the_last_of_a_share_makes_room_at_once() {
    let _watchdog = watchdog();
    let name = Name::new("poison");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options().history(directory.path())).unwrap();
    let mut producer = queue.producer().unwrap();
    let options = workers().deliveries_max(1);
    let mut one = queue.subscribe(&options.clone().prefetch(1)).unwrap();
    let mut rest = queue.subscribe(&options.ack(AckMode::Auto)).unwrap();
    producer.send(&[7; 1000]).unwrap();
    assert_eq!(next(&mut one).sequence(), 0);
    fill(&mut producer, &mut rest);
    drop(one);
    while queue.info().unwrap().subscriptions[0].dead_letters == 0 {
        assert_eq!(rest.try_receive().unwrap(), Received::Empty);
    }
    assert!(matches!(producer.try_send(&[7; 1000]).unwrap(), Sent::Sequence(_)));
}

#[test]
fn a_member_that_has_several_shares_at_a_time_gives_them_all_back() {
    let _watchdog = watchdog();
    let name = Name::new("given-back");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(3)).unwrap();
    // More often than there are shares.
    for _ in 0..100 {
        let sequences = [(); 3].map(|()| {
            producer.send(b"work").unwrap();
            one.try_receive().unwrap().message().expect("a share for it").sequence()
        });
        assert_eq!(one.ack_through(sequences[2]).unwrap(), Acked::Done);
    }
}

/// A share has half of a hash, and 0 for a message without a key.
#[test]
fn a_key_is_a_key_whatever_half_of_its_hash_is() {
    let _watchdog = watchdog();
    for hash in [0, 1 << 32, 1, u64::MAX] {
        let name = Name::new("hashes");
        let (queue, mut producer) = new_queue(&name);
        let [mut busy, mut one] =
            [(), ()].map(|()| queue.subscribe(&workers().keyed().prefetch(1)).unwrap());
        let mut batch = producer.batch();
        (0..2).for_each(|_| batch.push_with_key_hash(hash, b"work").unwrap());
        batch.push(b"no key").unwrap();
        batch.commit().unwrap();
        assert_eq!(next(&mut busy).sequence(), 0);
        assert_eq!(one.try_receive().unwrap(), Received::Empty, "{hash:#x} waits for itself");
        assert_eq!(busy.ack(0).unwrap(), Acked::Done);
        assert_eq!(next(&mut one).sequence(), 1);
    }
}

#[test]
fn no_message_waits_for_its_key_in_another_subscription() {
    let _watchdog = watchdog();
    let name = Name::new("own-keys");
    let (queue, mut producer) = new_queue(&name);
    let options = workers().keyed().prefetch(1);
    let [mut busy, mut one] =
        ["workers", "others"].map(|of| queue.subscribe(&options.clone().named(of)).unwrap());
    (0..2).for_each(|_| send_of(&mut producer, b"a"));
    assert_eq!(next(&mut busy).sequence(), 0);
    for sequence in 0..2 {
        let message = one.try_receive().unwrap().message().expect("it waits for nobody");
        assert_eq!((message.sequence(), message.ack().unwrap()), (sequence, Acked::Done));
    }
}

#[test]
fn what_is_behind_a_share_that_is_blocked_is_had_by_one_look() {
    let _watchdog = watchdog();
    let name = Name::new("behind");
    let (queue, mut producer) = new_queue(&name);
    let [mut busy, mut one] =
        [1, 200].map(|prefetch| queue.subscribe(&workers().keyed().prefetch(prefetch)).unwrap());
    send_of(&mut producer, b"a");
    assert_eq!(next(&mut busy).sequence(), 0);
    for _ in 0..100 {
        send_of(&mut producer, b"a");
    }
    send_of(&mut producer, b"b");
    let message = one.try_receive().unwrap().message().expect("it waits for nobody");
    assert_eq!(message.sequence(), 101);
}

/// The heir of a poison message has another one in hand when the first one has become a letter.
#[test]
fn a_dead_letter_holds_nobody_while_its_member_is_busy() {
    let _watchdog = watchdog();
    let name = Name::new("poison-busy");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options().history(directory.path())).unwrap();
    let mut producer = queue.producer().unwrap();
    let options = workers().deliveries_max(1);
    let mut one = queue.subscribe(&options.clone().prefetch(1)).unwrap();
    let mut rest = queue.subscribe(&options.clone().ack(AckMode::Auto)).unwrap();
    producer.send(&[7; 904]).unwrap();
    assert_eq!(next(&mut one).sequence(), 0);
    fill(&mut producer, &mut rest);
    // There is room for a small one yet.
    let last = producer.try_send(b"last").unwrap();
    drop((one, rest));
    let mut heir = queue.subscribe(&options).unwrap();
    let message = next(&mut heir);
    assert_eq!(Sent::Sequence(message.sequence()), last);
    assert!(matches!(producer.try_send(&[7; 1000]).unwrap(), Sent::Sequence(_)));
    assert_eq!(message.payload(), b"last");
}

#[test]
fn what_a_member_has_in_hand_is_not_missed() {
    let _watchdog = watchdog();
    let name = Name::new("in-hand");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().on_lag(Lag::Skip).prefetch(8)).unwrap();
    for _ in 0..4 {
        producer.send(b"work").unwrap();
    }
    for sequence in 0..3 {
        assert_eq!(next(&mut one).sequence(), sequence);
    }
    assert_eq!(one.nack_after(0, Duration::ZERO).unwrap(), Nacked::Retry(Duration::ZERO));
    for _ in 0..2 * CAPACITY / 1000 {
        producer.send(&[7; 1000]).unwrap();
    }
    let mut missed = Vec::new();
    while missed.len() < 2 {
        if let Received::Missed { from, to } = one.try_receive().unwrap() {
            missed.push((from, to));
            assert!(one.next_sequence() >= 4, "those before are lent, or missed");
        }
    }
    assert_eq!(missed, [(3, 4), (0, 1)]);
    for sequence in 1..3 {
        assert_eq!(one.ack(sequence).unwrap(), Acked::Done);
    }
}

/// At the last delivery there is one, whoever finds that a message is gone.
#[test]
fn what_is_gone_at_its_last_delivery_is_told_with_what_follows_it() {
    let _watchdog = watchdog();
    for by in ["an heir", "its member", "an acker"] {
        let name = Name::new("gone-last");
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &options().history(directory.path())).unwrap();
        let mut producer = queue.producer().unwrap();
        let options = workers().on_lag(Lag::Skip).deliveries_max(1).prefetch(8);
        let mut one = queue.subscribe(&options).unwrap();
        for _ in 0..4 {
            producer.send(b"work").unwrap();
        }
        assert_eq!(next(&mut one).sequence(), 0);
        for _ in 0..2 * CAPACITY / 1000 {
            producer.send(&[7; 1000]).unwrap();
        }
        if by == "its member" {
            assert_eq!(one.nack(0).unwrap(), Nacked::Late);
        } else if by == "an acker" {
            assert_eq!(one.acker().unwrap().reject(0).unwrap(), Acked::Late);
        }
        let mut heir = None;
        let receiver = if by == "an heir" {
            drop(one);
            heir.insert(queue.subscribe(&options).unwrap())
        } else {
            &mut one
        };
        let mut missed = Vec::new();
        let first = loop {
            match receiver.receive().unwrap() {
                Received::Missed { from, to } => missed.extend(from..to),
                received => break received.message().expect("a message").sequence(),
            }
        };
        missed.sort_unstable();
        assert!(missed.iter().copied().eq(0..first), "{by}: {missed:?}");
        let info = queue.info().unwrap();
        let counts = &info.subscriptions[0];
        assert_eq!((counts.missed, counts.dead_letters), (first, 0), "{by}");
    }
}

#[test]
fn the_progress_of_who_is_too_late_is_not_that_of_its_heir() {
    let _watchdog = watchdog();
    let name = Name::new("late");
    let (queue, mut producer) = new_queue(&name);
    let options = workers().ack_within(LEASE).prefetch(1);
    let [mut late, mut heir, mut third] = [(), (), ()].map(|()| queue.subscribe(&options).unwrap());
    producer.send(b"work").unwrap();
    assert_eq!(next(&mut late).delivery(), 1);
    assert_eq!(next(&mut heir).delivery(), 2);
    let delivery = loop {
        assert_eq!(late.extend(0).unwrap(), Acked::Late);
        if let Some(message) = third.try_receive().unwrap().message() {
            break message.delivery();
        }
    };
    assert_eq!(delivery, 3);
}

/// Its member goes without having looked for anything since.
#[test]
fn what_a_member_had_before_its_lease_was_over_was_delivered() {
    let _watchdog = watchdog();
    let name = Name::new("delivered");
    let (queue, mut producer) = new_queue(&name);
    let [mut late, mut heir] = [(), ()].map(|()| queue.subscribe(&lessees()).unwrap());
    producer.send(b"work").unwrap();
    assert_eq!(next(&mut late).delivery(), 1);
    let message = next(&mut heir);
    assert_eq!(late.nack(0).unwrap(), Nacked::Late);
    assert_eq!((message.delivery(), message.ack().unwrap()), (2, Acked::Done));
    drop((late, heir));
    let info = queue.info().unwrap();
    let counts = &info.subscriptions[0];
    assert_eq!((counts.delivered, counts.redelivered, counts.acked), (2, 1, 1));
}

/// It waits in a share of which something else is lent.
#[test]
fn what_a_member_refused_comes_again_also_when_its_queue_is_removed_meanwhile() {
    const PAUSE: Duration = Duration::from_millis(20);
    let _watchdog = watchdog();
    let name = Name::new("removed");
    let (queue, mut producer) = new_queue(&name);
    let mut one = queue.subscribe(&workers().prefetch(8)).unwrap();
    for _ in 0..2 {
        producer.send(b"work").unwrap();
    }
    for sequence in 0..2 {
        assert_eq!(next(&mut one).sequence(), sequence);
    }
    assert_eq!(one.nack_after(0, PAUSE).unwrap(), Nacked::Retry(PAUSE));
    Queue::force_remove(&name).unwrap();
    let delivery = loop {
        match one.try_receive().unwrap() {
            Received::Empty => {}
            received => break received.message().map(|message| message.delivery()),
        }
    };
    assert_eq!(delivery, Some(2));
}

fn lessees() -> Subscribe {
    workers().ack_within(Duration::from_millis(2))
}

/// Receives what is left of another member's share, the second one followed.
fn receive(arguments: &[&str]) {
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&lessees()).unwrap();
    assert_eq!(next(&mut consumer).ack().unwrap(), Acked::Done);
    followed(|| match consumer.try_receive().unwrap() {
        Received::Message(message) => {
            assert_eq!(message.sequence(), 1);
            say(message.delivery());
        }
        received => say(format!("{received:?}")),
    });
}

/// At instructions in between, after it has shown for the last time but one that it is at work, and each
/// time for longer than its lease.
#[test]
fn who_is_stopped_while_it_is_given_a_message_does_not_have_it_when_others_had_it_as_new() {
    const STEPS: u64 = 47;
    let _watchdog = watchdog();
    let mut seen = Vec::new();
    for stop in 0..24 {
        let name = Name::new("given");
        let (queue, mut producer) = new_queue(&name);
        (0..2).for_each(|_| _ = producer.send(b"work").unwrap());
        let mut before = queue.subscribe(&lessees()).unwrap();
        assert_eq!(next(&mut before).sequence(), 0);
        drop(before);
        let mut slow = Traced::start("receive", &[&name]);
        let progress = progress_of(&name, 0);
        for _ in 0..2 {
            let before = progress();
            while progress() == before {
                assert!(slow.step());
            }
        }
        if !(0..stop * STEPS).all(|_| slow.step()) {
            // Not as many instructions as without optimisation.
            break;
        }
        let mut heir = queue.subscribe(&lessees()).unwrap();
        let message = next(&mut heir);
        let delivery = message.delivery();
        assert_eq!((message.sequence(), message.ack().unwrap()), (1, Acked::Done));
        // What its share was is another one by now.
        producer.send(b"more").unwrap();
        assert_eq!(next(&mut heir).ack().unwrap(), Acked::Done);
        slow.go_on();
        let outcome = slow.hear();
        let is_counted = outcome == "1" && delivery == 2;
        assert!(is_counted || outcome == "Empty", "stop {stop}: {outcome}, and {delivery}");
        seen.push((outcome, delivery));
    }
    assert!(seen.contains(&("Empty".to_owned(), 1)), "{seen:?}");
}
