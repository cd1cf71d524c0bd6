//! Named subscriptions that nobody has joined yet, or any more: making them, and changing their terms.

mod support;

use std::fs;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Backoff, DeadLetters, Error, Journal, Lag, Nacked, Queue, QueueOptions, Reason,
    Received, Start, Subscribe, SubscriptionInfo, Terms, Wait,
};
use support::{Directory, Name, assert_message, watchdog};

const CAPACITY: u64 = 64 << 10;

fn queue_of(name: &Name) -> Queue {
    let options = QueueOptions::new().capacity(CAPACITY).members(1).subscriptions(2);
    Queue::create(name, &options).unwrap()
}

fn workers() -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest)
}

#[test]
fn a_subscription_is_declared_before_anybody_joins_it() {
    let _alive = watchdog();
    let name = Name::new("declared");
    let queue = queue_of(&name);
    let mut producer = queue.producer().unwrap();
    producer.send(b"before").unwrap();
    // The only place for a consumer is not needed for that.
    let alone = queue.subscribe(&Subscribe::new()).unwrap();
    assert!(queue.declare(&workers().from(Start::Newest)).unwrap());
    producer.send(b"first").unwrap();
    // Once it is there, it stays where it is.
    assert!(!queue.declare(&workers()).unwrap());
    drop(alone);
    let info = &queue.info().unwrap().subscriptions[0];
    assert_eq!((info.name.as_str(), info.members_alive), ("workers", 0));
    assert_eq!((info.lag, info.lag_messages), (Lag::Hold, Some(1)));
    let mut worker = queue.subscribe(&workers()).unwrap();
    assert!(!queue.declare(&workers()).unwrap(), "also while it has members");
    assert_message(worker.receive(), 1, b"first");
}

#[test]
fn what_cannot_be_declared_is_refused_and_leaves_nothing() {
    let _alive = watchdog();
    let name = Name::new("not-declared");
    let queue = queue_of(&name);
    let refused = |options: &Subscribe| queue.declare(options).unwrap_err();
    assert!(matches!(refused(&Subscribe::new()), Error::InvalidOption { .. }));
    let nameless = Subscribe::new().named("..");
    assert!(matches!(refused(&nameless), Error::InvalidSubscription { .. }));
    assert!(matches!(refused(&workers().on_lag(Lag::Spill)), Error::InvalidOption { .. }));
    let ahead = workers().from(Start::Sequence(1));
    assert!(matches!(refused(&ahead), Error::SequenceAhead { .. }));
    assert!(queue.info().unwrap().subscriptions.is_empty());
    for name in ["one", "two"] {
        assert!(queue.declare(&Subscribe::new().named(name)).unwrap());
    }
    assert!(matches!(refused(&workers()), Error::SubscriptionsFull { .. }));
    let differs = refused(&Subscribe::new().named("one").keyed());
    assert!(matches!(differs, Error::SubscriptionDiffers { .. }));
}

fn info(queue: &Queue) -> SubscriptionInfo {
    let info = queue.info().unwrap();
    info.subscriptions.into_iter().find(|of| of.name == "workers").expect("the subscription")
}

fn terms(queue: &Queue) -> Terms {
    info(queue).terms
}

/// A limit, a first pause, and a lease.
fn terms_of(limit: Option<u32>, pause: Option<Duration>, lease: Option<Duration>) -> Terms {
    let mut terms = Terms::default();
    terms.deliveries_max = limit;
    terms.backoff = pause.map(|pause| Backoff::new(pause, 1.5, 2 * pause));
    terms.ack_within = lease;
    terms
}

fn workers_of(terms: Terms, directory: &Directory) -> Subscribe {
    workers().terms(terms).dead_letters(directory.path())
}

/// Gives it these terms, whatever it had.
fn give(queue: &Queue, new: Terms) -> Result<Terms, Error> {
    queue.alter("workers", |terms| *terms = new)
}

#[test]
fn the_terms_of_an_idle_subscription_change_and_its_place_stays() {
    let _alive = watchdog();
    let name = Name::new("altered");
    let directory = Directory::new(&name);
    let queue = queue_of(&name);
    queue.declare(&workers()).unwrap();
    let mut producer = queue.producer().unwrap();
    for payload in [b"a", b"b", b"c"] {
        producer.send(payload).unwrap();
    }
    let mut worker = queue.subscribe(&workers().ack(AckMode::Manual)).unwrap();
    let acked = worker.receive().unwrap().message().unwrap().ack();
    assert_eq!(acked.unwrap(), Acked::Done);
    assert_message(worker.receive(), 1, b"b");
    let in_use = queue.alter("workers", |_| panic!("it has a member")).unwrap_err();
    assert!(matches!(in_use, Error::SubscriptionInUse { members: 1, .. }), "{in_use}");
    drop(worker);

    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    for new in [
        (Some(3), Some(second), Some(hour)),
        (Some(4), None, None),
        (None, Some(2 * second), None),
        (None, None, Some(second)),
        (None, None, None),
        (Some(2), None, Some(hour)),
    ] {
        let (limit, pause, lease) = new;
        let new = terms_of(limit, pause, lease);
        assert_eq!(give(&queue, new).unwrap(), new);
        assert_eq!(terms(&queue), new);
        // What is not changed stays.
        assert_eq!(queue.alter("workers", |_| ()).unwrap(), new);
        assert_eq!(terms(&queue), new);
        assert!(!queue.declare(&workers_of(new, &directory)).unwrap());
        assert_eq!((info(&queue).lag_messages, info(&queue).unacked), (Some(2), 2));
    }
    // They are what members go by: the second delivery is the last one.
    let mut worker = queue.subscribe(&workers().dead_letters(directory.path())).unwrap();
    assert_message(worker.receive(), 1, b"b");
    drop(worker);
    let options = workers().dead_letters(directory.path()).ack(AckMode::Manual);
    let mut worker = queue.subscribe(&options).unwrap();
    assert_message(worker.receive(), 2, b"c");
    let letters = DeadLetters::open(directory.path(), &name, "workers").unwrap();
    let mut letters = letters.iter();
    let letter = letters.next().unwrap().unwrap();
    assert_eq!((letter.sequence, letter.reason), (1, Reason::Unacknowledged));
    assert!(letters.next().is_none());
}

#[test]
fn one_that_is_made_in_the_place_of_another_has_nothing_of_it() {
    let _alive = watchdog();
    let name = Name::new("in-its-place");
    let directory = Directory::new(&name);
    let queue = queue_of(&name);
    let mut producer = queue.producer().unwrap();
    let before = workers_of(Terms::default(), &directory).on_lag(Lag::Skip);
    let mut worker = queue.subscribe(&before.clone().ack(AckMode::Manual)).unwrap();
    for payload in [b"a", b"b"] {
        producer.send(payload).unwrap();
    }
    let nacked = worker.receive().unwrap().message().unwrap().nack();
    assert_eq!(nacked.unwrap(), Nacked::Retry(Duration::ZERO));
    assert_eq!(worker.receive().unwrap().message().unwrap().reject().unwrap(), Acked::Done);
    assert_eq!(worker.receive().unwrap().message().unwrap().ack().unwrap(), Acked::Done);
    for _ in 0..2 * CAPACITY / 4096 {
        producer.send(&[0; 4096]).unwrap();
    }
    assert!(matches!(worker.receive().unwrap(), Received::Missed { .. }));
    drop(worker);
    let hour = Duration::from_secs(3_600);
    give(&queue, terms_of(Some(2), Some(hour), Some(hour))).unwrap();
    assert_eq!(info(&queue).lag, Lag::Skip);
    let counts = |info: &SubscriptionInfo| {
        [info.delivered, info.redelivered, info.acked, info.dead_letters, info.missed]
    };
    let old = info(&queue);
    assert!(counts(&old).iter().all(|&count| count > 0) && old.left_at.is_some(), "{old:?}");

    queue.unsubscribe("workers").unwrap();
    queue.declare(&workers().from(Start::Newest)).unwrap();
    let new = info(&queue);
    assert_eq!((counts(&new), new.left_at), ([0; 5], None));
    assert_eq!((terms(&queue), new.lag), (Terms::default(), Lag::Hold));
}

#[test]
fn whoever_has_the_place_of_a_member_next_has_nothing_of_it() {
    let _alive = watchdog();
    let name = Name::new("next-member");
    let queue = queue_of(&name);
    let mut worker = queue.subscribe(&workers().wait(Wait::Park)).unwrap();
    let sleeps = || queue.info().unwrap().consumers[0].sleeps;
    while sleeps() == 0 {
        let received = worker.receive_timeout(Duration::from_millis(1));
        assert_eq!(received.unwrap(), Received::TimedOut);
    }
    drop(worker);
    let left_at = info(&queue).left_at;
    let ahead = Subscribe::new().on_lag(Lag::Skip).from(Start::Sequence(1));
    let ahead = queue.subscribe(&ahead).unwrap_err();
    assert!(matches!(ahead, Error::SequenceAhead { .. }), "{ahead}");
    assert_eq!(info(&queue).left_at, left_at, "it has never been the subscription's");
    let _next = queue.subscribe(&Subscribe::new()).unwrap();
    assert_eq!(sleeps(), 0);
}

#[test]
fn a_limit_that_is_set_later_counts_deliveries_from_before() {
    let _alive = watchdog();
    let name = Name::new("altered-limit");
    let directory = Directory::new(&name);
    let queue = queue_of(&name);
    let plain = workers_of(Terms::default(), &directory).ack(AckMode::Manual);
    let mut worker = queue.subscribe(&plain).unwrap();
    queue.producer().unwrap().send(b"a").unwrap();
    for delivery in 1..=3 {
        let message = worker.receive().unwrap().message().unwrap();
        assert_eq!(message.delivery(), delivery);
        assert_eq!(message.nack().unwrap(), Nacked::Retry(Duration::ZERO));
    }
    drop(worker);
    let limited = give(&queue, terms_of(Some(2), None, None)).unwrap();
    let mut worker = queue.subscribe(&workers_of(limited, &directory)).unwrap();
    assert_eq!(worker.receive_timeout(Duration::from_millis(20)).unwrap(), Received::TimedOut);
    let letters = DeadLetters::open(directory.path(), &name, "workers").unwrap();
    assert_eq!(letters.iter().count(), 1);
}

#[test]
fn what_cannot_be_altered_is_refused_and_changes_nothing() {
    let _alive = watchdog();
    let name = Name::new("not-altered");
    let directory = Directory::new(&name);
    let queue = queue_of(&name);
    let missing = give(&queue, Terms::default()).unwrap_err();
    assert!(matches!(missing, Error::NoSuchSubscription { .. }), "{missing}");
    let minute = Duration::from_secs(60);
    let made = terms_of(Some(5), Some(minute), Some(minute));
    queue.declare(&workers_of(made, &directory)).unwrap();
    let falling = Some(Backoff::new(minute, 1.0, minute / 2));
    let bad: [&dyn Fn(&mut Terms); 5] = [
        &|terms| terms.deliveries_max = Some(0),
        &|terms| terms.deliveries_max = Some(251),
        &|terms| terms.backoff = falling,
        &|terms| terms.ack_within = Some(Duration::ZERO),
        &|terms| terms.expires_after = Some(Duration::MAX),
    ];
    for change in bad {
        let error = queue.alter("workers", change).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
        assert_eq!(terms(&queue), made);
    }
    // Those who ask for what it is not are told what, and how it can be had.
    for (other, word) in [
        (workers().on_lag(Lag::Skip), "lag policy is hold there, skip was asked for"),
        (workers().keyed(), "keyed is false there, true was asked for"),
        (workers().deliveries_max(6), "limit of deliveries is 5 there, 6 was asked for"),
        (workers().backoff(minute, 1.0, minute), "60s by 1.5 to 120s there, 60s by 1 to 60s was"),
        (workers().ack_within(2 * minute), "time to acknowledge is 60s there, 120s was asked for"),
        (workers().expires_after(minute), "time to expire is none there, 60s was asked for"),
    ] {
        let error = queue.subscribe(&other.dead_letters(directory.path())).unwrap_err();
        assert!(matches!(error, Error::SubscriptionDiffers { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.to_string().contains("`Queue::alter`"), "{error}");
    }
}

#[test]
fn of_many_who_alter_a_subscription_at_once_nobody_undoes_what_another_did() {
    let _alive = watchdog();
    let name = Name::new("altered-at-once");
    let queue = queue_of(&name);
    let minute = Duration::from_secs(60);
    let plain = workers().deliveries_max(1).ack_within(minute);
    queue.declare(&plain).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let queue = Queue::open(&name).unwrap();
            scope.spawn(move || {
                for _ in 0..50 {
                    let one_more = |terms: &mut Terms| *terms.deliveries_max.as_mut().unwrap() += 1;
                    queue.alter("workers", one_more).unwrap();
                }
            });
        }
    });
    assert_eq!(terms(&queue), terms_of(Some(201), None, Some(minute)));
    // Whoever fails over it keeps nobody from it, and changes nothing.
    let fails = || queue.alter("workers", |_| panic!("on purpose"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(fails)).unwrap_err();
    assert_eq!(queue.alter("workers", |_| ()).unwrap(), terms(&queue));
}

/// A queue with a synced journal, workers and a message.
fn journalled(name: &Name, directory: &Directory) -> (QueueOptions, Queue) {
    let options = QueueOptions::new().capacity(CAPACITY).members(8);
    let options = options.history(directory.path()).journal(Journal::SyncedAlways);
    let queue = Queue::create(name, &options).unwrap();
    queue.declare(&workers()).unwrap();
    queue.producer().unwrap().send_durable(b"a").unwrap();
    (options, queue)
}

#[test]
fn altered_terms_are_there_again_after_a_restart_or_were_never_altered() {
    let _alive = watchdog();
    let name = Name::new("altered-journal");
    let directory = Directory::new(&name);
    let (options, queue) = journalled(&name, &directory);
    let minute = Duration::from_secs(60);
    let new = terms_of(Some(5), Some(minute), Some(2 * minute));
    give(&queue, new).unwrap();
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &options).unwrap();
    assert_eq!((terms(&queue), info(&queue).head_sequence), (new, 0));

    // Where the terms cannot be written they do not change.
    let checkpoints = directory.file("subscriptions");
    fs::rename(&checkpoints, directory.file("elsewhere")).unwrap();
    fs::write(&checkpoints, "in the way").unwrap();
    let error = give(&queue, Terms::default()).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert_eq!(terms(&queue), new);
    fs::remove_file(&checkpoints).unwrap();
    give(&queue, Terms::default()).unwrap();
    assert_eq!(terms(&queue), Terms::default());
    assert_message(queue.subscribe(&workers()).unwrap().receive(), 0, b"a");
}

/// Power goes while one page of a checkpoint is written to the disk, which leaves the other one as it is
/// there.
#[test]
fn altered_terms_are_not_undone_by_a_later_checkpoint_that_is_torn() {
    let _alive = watchdog();
    let name = Name::new("altered-torn");
    let directory = Directory::new(&name);
    let (options, queue) = journalled(&name, &directory);
    queue.producer().unwrap().send_durable(b"b").unwrap();
    let minute = Duration::from_secs(60);
    let new = terms_of(Some(5), Some(minute), Some(2 * minute));
    give(&queue, new).unwrap();
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    let synced = fs::read(&checkpoint).unwrap();
    // Members that leave overwrite both pages, and do not wait for the disk.
    for payload in [b"a", b"b"] {
        let mut worker = queue.subscribe(&workers_of(new, &directory)).unwrap();
        let message = worker.receive().unwrap().message().unwrap();
        assert_eq!((message.payload(), message.ack().unwrap()), (&payload[..], Acked::Done));
    }
    let later = fs::read(&checkpoint).unwrap();
    for torn in [0..4096, 4096..synced.len()] {
        assert_ne!(later[torn.clone()], synced[torn.clone()]);
        Queue::force_remove(&name).unwrap();
        let mut left = synced.clone();
        left[torn].fill(0);
        fs::write(&checkpoint, left).unwrap();
        assert_eq!(terms(&Queue::create(&name, &options).unwrap()), new);
    }
}
