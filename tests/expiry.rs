//! Named subscriptions that everybody has left: they are in nobody's way for longer than they may.

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use ringway::{
    AckMode, AtLimit, Error, Journal, Lag, Producer, Queue, QueueOptions, Readiness, Received,
    Sent, Start, Subscribe, Wait,
};
use support::segment::{
    CAPACITY, SUBSCRIPTIONS, field, header_word, new_queue, options, size_of_part,
    subscription_offset,
};
use support::trace::{Traced, followed};
use support::{Directory, Name, Peer, assert_message, play, watchdog};

const AT_ONCE: Duration = Duration::from_nanos(1);
const LITTLE: Duration = Duration::from_millis(20);
const HOUR: Duration = Duration::from_secs(3_600);
const PAYLOAD: [u8; 1_000] = [7; 1_000];

#[test]
fn peer() {
    play(&[("join", join), ("unsubscribe", unsubscribe)]);
}

fn join(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let _member = queue.subscribe(&workers(LITTLE)).unwrap();
    support::say("joined");
    support::stop_here();
}

fn unsubscribe(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    followed(|| _ = queue.unsubscribe("workers"));
}

fn workers(expires_after: Duration) -> Subscribe {
    Subscribe::new().named("workers").from(Start::Oldest).expires_after(expires_after)
}

fn names(queue: &Queue) -> Vec<String> {
    queue.info().unwrap().subscriptions.into_iter().map(|of| of.name).collect()
}

/// Sends more than the ring has room for.
fn go_on(producer: &mut Producer) {
    for _ in 0..2 * CAPACITY / 1_000 {
        producer.send(&PAYLOAD).unwrap();
    }
}

/// Sends as much as there is room for, and says whether there was an end to that.
fn is_held(producer: &mut Producer) -> bool {
    (0..2 * CAPACITY / 1_000).any(|_| producer.try_send(&PAYLOAD).unwrap() == Sent::Full)
}

#[test]
fn a_producer_goes_on_when_who_holds_it_has_expired() {
    let _alive = watchdog();
    let (_name, queue) = new_queue("expires");
    let mut producer = queue.producer().unwrap();
    drop(queue.subscribe(&workers(HOUR)).unwrap());
    assert!(is_held(&mut producer), "it has not been for so long");
    assert_eq!(queue.remove_expired().unwrap(), [""; 0]);

    queue.alter("workers", |terms| terms.expires_after = Some(AT_ONCE)).unwrap();
    let info = &queue.info().unwrap().subscriptions[0];
    assert_eq!((info.terms.expires_after, info.expired), (Some(AT_ONCE), true));
    go_on(&mut producer);
    assert!(names(&queue).is_empty());
    assert_eq!(queue.info().unwrap().subscriptions_expired, 1);
    // Who comes now begins as anybody does.
    let missed = queue.info().unwrap().oldest_sequence;
    let mut late = queue.subscribe(&workers(AT_ONCE)).unwrap();
    assert_message(late.receive(), missed, &PAYLOAD);
}

#[test]
fn whoever_is_in_nobodys_way_keeps_its_place_however_long() {
    let _alive = watchdog();
    let (_name, queue) = new_queue("no-way");
    drop(queue.subscribe(&workers(AT_ONCE)).unwrap());
    let mut producer = queue.producer().unwrap();
    for payload in [b"a", b"b"] {
        producer.send(payload).unwrap();
    }
    assert_message(queue.subscribe(&workers(AT_ONCE)).unwrap().receive(), 0, b"a");
    // One that skips is never in the producer's.
    let skips = workers(AT_ONCE).named("skips").on_lag(Lag::Skip);
    assert!(queue.declare(&skips).unwrap());
    go_on(&mut producer);
    assert_eq!(names(&queue), ["skips"]);
    assert_eq!(queue.remove_expired().unwrap(), ["skips"]);
}

const TIMES: [&str; 3] = ["created_at", "left_at", "idle_since"];

/// Has the subscription in the first entry be without a member since the machine was started.
fn forsake(name: &Name) {
    forsake_by(name, &TIMES);
}

/// The same, by these times alone.
fn forsake_by(name: &Name, times: &[&str]) {
    let segment = OpenOptions::new().write(true).open(name.path()).unwrap();
    for time in times {
        let place = subscription_offset(name, 0) + field("Subscription", time).start;
        segment.write_all_at(&[0; 8], place as u64).unwrap();
    }
}

/// As long as the machine has been running for twice.
fn half_of_the_uptime() -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime = uptime.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(uptime).div_f64(2.0)
}

#[test]
fn one_that_is_declared_again_has_its_time_again() {
    let _alive = watchdog();
    let (name, queue) = new_queue("again");
    let limit = half_of_the_uptime();
    assert!(queue.declare(&workers(limit)).unwrap());
    forsake(&name);
    let is_expired = || queue.info().unwrap().subscriptions[0].expired;
    assert!(is_expired());
    // Whoever declares it is told that messages wait from now on.
    assert!(!queue.declare(&workers(limit)).unwrap());
    assert!(!is_expired());
    assert!(is_held(&mut queue.producer().unwrap()));
}

#[test]
fn one_that_is_altered_or_moved_has_its_time_again() {
    let _alive = watchdog();
    let (name, queue) = new_queue("altered");
    let limit = half_of_the_uptime();
    assert!(queue.declare(&workers(HOUR + 2 * limit)).unwrap());
    forsake(&name);
    queue.alter("workers", |terms| terms.expires_after = Some(limit)).unwrap();
    let is_expired = || queue.info().unwrap().subscriptions[0].expired;
    assert!(!is_expired());
    forsake(&name);
    assert!(is_expired());
    queue.seek("workers", Start::Oldest).unwrap();
    assert!(!is_expired());
}

/// One clock may be set, and the other may be a container's own.
#[test]
fn one_has_expired_if_all_times_say_so_and_not_before() {
    let _alive = watchdog();
    for recent in TIMES {
        let (name, queue) = new_queue("times");
        let workers = workers(half_of_the_uptime());
        drop(queue.subscribe(&workers).unwrap());
        let others: Vec<_> = TIMES.into_iter().filter(|time| *time != recent).collect();
        forsake_by(&name, &others);
        let is_expired = || queue.info().unwrap().subscriptions[0].expired;
        assert!(!is_expired(), "{recent}");
        forsake_by(&name, &[recent]);
        assert!(is_expired());
    }
}

#[test]
fn one_that_has_a_member_does_not_expire() {
    let _alive = watchdog();
    let (_name, queue) = new_queue("member");
    let mut producer = queue.producer().unwrap();
    let mut members = [(); 2].map(|()| queue.subscribe(&workers(AT_ONCE)).unwrap());
    assert!(is_held(&mut producer));
    assert_message(members[0].receive(), 0, &PAYLOAD);
    drop(members);
    let _member = queue.subscribe(&workers(AT_ONCE)).unwrap();
    assert_eq!(queue.remove_expired().unwrap(), [""; 0]);
    assert!(is_held(&mut producer));
    assert!(!queue.info().unwrap().subscriptions[0].expired);
}

#[test]
fn the_time_of_one_whose_members_were_killed_begins_when_that_is_found() {
    let _alive = watchdog();
    let (name, queue) = new_queue("killed");
    let mut producer = queue.producer().unwrap();
    for _ in 0..3 {
        let mut member = Peer::start("join", &[&name]);
        member.await_word("joined");
        thread::sleep(LITTLE);
        member.kill_living();
        // Who waits comes to it; nobody else looks.
        let info = queue.info().unwrap();
        let [subscription] = &info.subscriptions[..] else { panic!("{info:?}") };
        assert!(subscription.members_alive == 0 && !subscription.expired);
        go_on(&mut producer);
        assert!(names(&queue).is_empty());
    }
    assert_eq!(queue.info().unwrap().subscriptions_expired, 3);
}

#[test]
fn a_new_one_takes_the_place_of_one_that_has_expired() {
    let _alive = watchdog();
    let (_name, queue) = new_queue("place");
    for number in 0..SUBSCRIPTIONS {
        let expires_after = if number == 1 { AT_ONCE } else { HOUR };
        let name = format!("s{number}");
        assert!(queue.declare(&workers(expires_after).named(&name)).unwrap());
    }
    assert!(queue.declare(&workers(HOUR)).unwrap());
    assert_eq!(names(&queue), ["s0", "workers"]);
    let full = queue.declare(&workers(HOUR).named("more")).unwrap_err();
    assert!(matches!(full, Error::SubscriptionsFull { limit: SUBSCRIPTIONS, .. }), "{full}");
}

#[test]
fn one_that_somebody_died_over_making_or_removing_holds_nobody() {
    const UNFINISHED: u32 = 1;
    let _alive = watchdog();
    let (name, queue) = new_queue("half");
    assert!(queue.declare(&Subscribe::new().named("half")).unwrap());
    let segment = OpenOptions::new().write(true).open(name.path()).unwrap();
    let state = subscription_offset(&name, 0) + field("Subscription", "state").start;
    segment.write_all_at(&UNFINISHED.to_le_bytes(), state as u64).unwrap();
    // Nobody is shown it, and so nobody can tell who is in the way.
    assert!(names(&queue).is_empty());
    assert!(!is_held(&mut queue.producer().unwrap()));
    assert_eq!(queue.info().unwrap().subscriptions_expired, 0);
}

#[test]
fn who_has_expired_no_longer_keeps_files_for_which_there_is_no_space() {
    let _alive = watchdog();
    let name = Name::new("spills");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(CAPACITY).history(directory.path());
    let options = options.history_max(40 << 20, AtLimit::Hold);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    let spills = workers(HOUR).on_lag(Lag::Spill);
    assert!(queue.declare(&spills).unwrap());
    let sent = (0..100_000).take_while(|_| producer.try_send(&PAYLOAD).unwrap() != Sent::Full);
    assert!((1_000..100_000).contains(&sent.count()));
    queue.alter("workers", |terms| terms.expires_after = Some(AT_ONCE)).unwrap();
    go_on(&mut producer);
    assert!(names(&queue).is_empty());
}

#[test]
fn of_a_journalled_queue_an_expired_one_is_not_there_again_and_a_restart_begins_its_time_anew() {
    let _alive = watchdog();
    let name = Name::new("expires-journal");
    let directory = Directory::new(&name);
    let options = QueueOptions::new().capacity(CAPACITY).history(directory.path());
    let options = options.journal(Journal::Written);
    let queue = Queue::create(&name, &options).unwrap();
    assert!(queue.declare(&workers(AT_ONCE)).unwrap());
    assert!(queue.declare(&workers(LITTLE).named("restarted")).unwrap());
    assert_eq!(queue.info().unwrap().subscriptions.len(), 2);
    while !queue.info().unwrap().subscriptions.iter().all(|of| of.expired) {
        thread::yield_now();
    }
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &options).unwrap();
    assert_eq!(names(&queue), ["restarted", "workers"]);
    let restarted = queue.info().unwrap().subscriptions[0].terms.expires_after;
    assert_eq!(restarted, Some(LITTLE));
    assert!(queue.remove_expired().unwrap().contains(&"workers".to_owned()));
    Queue::force_remove(&name).unwrap();
    let queue = Queue::create(&name, &options).unwrap();
    assert!(!names(&queue).contains(&"workers".to_owned()));
}

#[test]
fn one_that_cannot_be_removed_keeps_no_other_that_has_expired() {
    let _alive = watchdog();
    let name = Name::new("stuck");
    let directory = Directory::new(&name);
    let journalled = options().history(directory.path()).journal(Journal::Written);
    let queue = Queue::create(&name, &journalled).unwrap();
    let make = |name| queue.declare(&workers(AT_ONCE).named(name));
    assert!(make("stuck").unwrap() && make("goes").unwrap());
    let checkpoint = directory.file("subscriptions/stuck.checkpoint");
    fs::remove_file(&checkpoint).unwrap();
    fs::create_dir(&checkpoint).unwrap();
    // There is a place for it.
    assert!(make("new").unwrap());
    assert_eq!(names(&queue), ["new", "stuck"]);
    let failed = queue.remove_expired().unwrap_err();
    assert!(matches!(failed, Error::File { .. }), "{failed}");
    assert_eq!(names(&queue), ["stuck"]);
}

#[test]
fn members_that_come_back_while_a_producer_wants_room_lose_nothing_that_they_were_promised() {
    let _alive = watchdog();
    let (_name, queue) = new_queue("races");
    let mut producer = queue.producer().unwrap();
    thread::scope(|scope| {
        let member = scope.spawn(|| {
            let mut next = 0;
            for _ in 0..500 {
                // What is gone when it comes is not made up for by older ones.
                let options = workers(AT_ONCE).from(Start::Newest);
                let mut member = queue.subscribe(&options).unwrap();
                // While it is there nothing goes; between two of them everything may.
                let mut expected = None;
                for _ in 0..50 {
                    match member.receive().unwrap() {
                        Received::Message(message) => {
                            let sequence = message.sequence();
                            assert!(sequence >= next, "{sequence} was acknowledged: {next}");
                            assert!(expected.is_none_or(|expected| expected == sequence));
                            expected = Some(sequence + 1);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                next = expected.unwrap();
                member.close().unwrap();
            }
        });
        while !member.is_finished() {
            let _ = producer.send_timeout(&PAYLOAD, Duration::from_millis(10)).unwrap();
        }
    });
    go_on(&mut producer);
    assert!(names(&queue).is_empty());
}

#[test]
fn what_cannot_expire_so_is_refused() {
    let _alive = watchdog();
    let (_name, queue) = new_queue("not-so");
    let years = Duration::from_secs(2_000_000_000);
    for bad in [workers(Duration::ZERO), workers(years), Subscribe::new().expires_after(HOUR)] {
        let error = queue.subscribe(&bad).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
    }
    assert!(queue.declare(&workers(HOUR)).unwrap());
    let differs = queue.declare(&workers(2 * HOUR)).unwrap_err();
    assert!(matches!(differs, Error::SubscriptionDiffers { .. }), "{differs}");
    assert!(differs.to_string().contains("its time to expire is 3600s there"), "{differs}");
    // Who asks for nothing gets what there is.
    assert!(!queue.declare(&Subscribe::new().named("workers")).unwrap());
}

/// By unsubscribing, seeking, or expiring: whoever waits for a free share is called, and need not look
/// for one.
#[test]
fn shares_that_are_free_when_a_subscription_goes_call_who_waits_for_them() {
    let _alive = watchdog();
    let ways: [fn(&Queue); 3] = [
        |queue| queue.unsubscribe("workers").unwrap(),
        |queue| queue.seek("workers", Start::Newest).unwrap(),
        |queue| assert_eq!(queue.remove_expired().unwrap(), ["workers"]),
    ];
    for (go, sleeps) in ways.into_iter().flat_map(|go| [(go, false), (go, true)]) {
        let name = Name::new("free-shares");
        let queue = Queue::create(&name, &options().members(2)).unwrap();
        let mut producer = queue.producer().unwrap();
        let leaving = workers(AT_ONCE).on_lag(Lag::Skip).ack(AckMode::Manual).prefetch(1_000);
        let mut leaving = queue.subscribe(&leaving).unwrap();
        loop {
            // More than half a sector each: no two are in one share.
            producer.send(&[7; 2_100]).unwrap();
            let Received::Message(message) = leaving.try_receive().unwrap() else { break };
            let _ = message.nack_after(HOUR).unwrap();
        }
        drop(leaving);
        let others = Subscribe::new().named("others").from(Start::Oldest).wait(Wait::Park);
        let mut waiting = queue.subscribe(&others).unwrap();
        assert_eq!(waiting.try_receive().unwrap(), Received::Empty, "there is a free share");
        if !sleeps {
            // Who goes to sleep looks once more.
            go(&queue);
            assert!(!Readiness::new().unwrap().arm(&mut waiting).unwrap());
            assert!(waiting.try_receive().unwrap().message().is_some());
            continue;
        }
        thread::scope(|scope| {
            let received = scope.spawn(|| waiting.receive().unwrap().message().is_some());
            // Odd while somebody sleeps; only calls make it another then.
            let before = loop {
                let word = data_event(&name);
                if word % 2 == 1 {
                    break word;
                }
                thread::yield_now();
            };
            go(&queue);
            assert_ne!(data_event(&name), before);
            assert!(received.join().unwrap());
        });
    }
}

fn data_event(name: &Name) -> u32 {
    let image = fs::read(name.path()).unwrap();
    let control = usize::try_from(header_word(&image, "control_offset")).unwrap();
    let event = field("Control", "data_event");
    let bytes = &image[control + event.start..][..event.len()];
    u32::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn who_takes_a_dead_members_place_at_once_is_no_member_of_what_is_to_go() {
    let _alive = watchdog();
    let name = Name::new("dead-place");
    let queue = Queue::create(&name, &options().members(1)).unwrap();
    let mut dead = Peer::start("join", &[&name]);
    dead.await_word("joined");
    dead.kill();
    let image = fs::read(name.path()).unwrap();
    let map =
        usize::try_from(header_word(&image, "control_offset")).unwrap() + size_of_part("Control");
    let segment = fs::File::open(name.path()).unwrap();
    let is_free = || {
        let mut members = [0];
        segment.read_exact_at(&mut members, map as u64).unwrap();
        members == [0]
    };
    assert!(!is_free());
    let remover = Traced::start("unsubscribe", &[&name]);
    let mut other = None;
    while remover.step() {
        if other.is_none() && is_free() {
            // As soon as whoever found the dead has given up its place.
            other = queue.subscribe(&Subscribe::new()).ok();
        }
    }
    assert!(other.is_some() && names(&queue).is_empty());
}
