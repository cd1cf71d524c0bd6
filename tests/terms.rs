//! Named subscriptions that nobody has joined yet, or any more: making them, and changing their terms.

mod support;

use ringway::{Error, Lag, Queue, QueueOptions, Start, Subscribe};
use support::{Name, assert_message, watchdog};

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
