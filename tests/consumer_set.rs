//! Several consumers received from as one: their turns, their ends, and sleeping on all of them.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::hint::spin_loop;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Consumer, ConsumerSet, Error, Journal, Lag, Nacked, Queue, QueueOptions,
    Reader, Readiness, Received, SetReceived, Start, Subscribe, Wait,
};
use support::{Calls, Directory, Name, Random, watchdog};

const CAPACITY: u64 = 64 << 10;

fn queue_of(name: &Name) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(CAPACITY).members(200)).unwrap()
}

fn oldest() -> Subscribe {
    Subscribe::new().from(Start::Oldest)
}

/// Who has a message, and its sequence.
fn next(set: &mut ConsumerSet) -> (usize, u64) {
    let (number, received) = set.receive().one().expect("somebody's queue is open");
    (number, received.unwrap().message().expect("a message").sequence())
}

/// Whose queue is closed.
fn ends(set: &mut ConsumerSet) -> usize {
    let (number, received) = set.receive().one().expect("an end");
    assert_eq!(received.unwrap(), Received::Closed);
    number
}

#[test]
fn all_have_their_turns_and_each_its_order() {
    const COUNT: u64 = 300;
    let _watchdog = watchdog();
    let (one, two, idle) = (Name::new("turns-1"), Name::new("turns-2"), Name::new("turns-0"));
    let queues = [queue_of(&idle), queue_of(&one), queue_of(&two)];
    let mut producers = [&queues[1], &queues[2]].map(|queue| queue.producer().unwrap());
    let members = oldest().named("members");
    let spares = [oldest(), oldest().on_lag(Lag::Skip), members];
    let mut set: ConsumerSet = queues
        .iter()
        .zip(&spares)
        .map(|(queue, options)| queue.subscribe(options).unwrap())
        .collect();
    for sequence in 0..COUNT {
        for producer in &mut producers {
            producer.send(&sequence.to_le_bytes()).unwrap();
        }
    }
    let mut due = [0; 3];
    for _ in 0..2 * COUNT {
        let (number, sequence) = next(&mut set);
        assert_eq!(sequence, due[number], "of {number}");
        due[number] += 1;
        assert!(due[1].abs_diff(due[2]) <= 1, "{due:?}");
    }
    assert_eq!(due, [0, COUNT, COUNT]);
    assert!(matches!(set.try_receive(), SetReceived::Empty));
    // Nothing is lent any more, and nothing unacknowledged.
    assert_eq!(queues[2].info().unwrap().subscriptions[0].unacked, 0);
}

#[test]
fn who_is_taken_out_takes_nobodys_turn_along() {
    let _watchdog = watchdog();
    let name = Name::new("taken-out");
    let queue = queue_of(&name);
    let consumers = || (0..5).map(|_| queue.subscribe(&oldest()).unwrap());
    let mut sets = [(); 3].map(|()| consumers().collect::<ConsumerSet>());
    let mut producer = queue.producer().unwrap();
    for _ in 0..5 {
        producer.send(b"for all").unwrap();
    }
    // One that had its turn, the one that has it next, and one that has it later.
    for (set, (out, rest)) in
        sets.iter_mut().zip([(0, [2, 3, 4, 1]), (2, [3, 4, 0, 1]), (4, [2, 3, 0, 1])])
    {
        assert_eq!([next(set).0, next(set).0], [0, 1]);
        assert!(set.remove(out).is_some());
        assert_eq!(rest.map(|_| next(set).0), rest, "without {out}");
    }
}

#[test]
fn who_comes_has_its_turn_behind_all_others() {
    let _watchdog = watchdog();
    let name = Name::new("newcomers");
    let queue = queue_of(&name);
    let mut producer = queue.producer().unwrap();
    for _ in 0..5 {
        producer.send(b"for all").unwrap();
    }
    let mut set = ConsumerSet::new();
    let mut turns = Vec::new();
    for _ in 0..4 {
        set.add(queue.subscribe(&oldest()).unwrap());
        turns.push(next(&mut set).0);
    }
    turns.extend((0..4).map(|_| next(&mut set).0));
    assert_eq!(turns, [0, 0, 1, 2, 3, 0, 1, 2]);
}

#[test]
fn nobody_waits_for_those_who_have_always_something() {
    const COUNT: u64 = 500;
    let _watchdog = watchdog();
    // One at a time: no message of its is there for the short way before somebody looked for it.
    let members = [oldest().named("members"), oldest().named("members").prefetch(1)];
    for (busy, member) in (1..=5).flat_map(|busy| members.each_ref().map(|member| (busy, member))) {
        let names: Vec<Name> =
            (0..=busy).map(|number| Name::new(&format!("busy-{number}"))).collect();
        let queues: Vec<Queue> = names.iter().map(queue_of).collect();
        let options = |number| if number == busy { member.clone() } else { oldest() };
        let consumers = queues.iter().enumerate();
        let consumers = consumers.map(|(number, queue)| queue.subscribe(&options(number)).unwrap());
        let mut set: ConsumerSet = consumers.collect();
        for queue in &queues {
            let mut producer = queue.producer().unwrap();
            for _ in 0..COUNT {
                producer.send(b"something").unwrap();
            }
        }
        let mut counts = vec![0_u64; busy + 1];
        for _ in 0..COUNT {
            counts[next(&mut set).0] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        // Each at its turn, but for the first one of those that were looked at without success.
        assert!(most - least <= 16, "{busy} busy: {counts:?}");
    }
}

#[test]
fn a_batch_is_of_the_one_whose_turn_it_is() {
    let _watchdog = watchdog();
    let names = [Name::new("batch-a"), Name::new("batch-b"), Name::new("batch-c")];
    let queues = names.each_ref().map(queue_of);
    let mut set = ConsumerSet::new();
    set.add(queues[0].subscribe(&oldest()).unwrap());
    set.add(queues[1].subscribe(&oldest().named("members").on_lag(Lag::Hold)).unwrap());
    set.add(queues[2].observe(Start::Oldest).unwrap());
    for queue in &queues {
        let mut producer = queue.producer().unwrap();
        for number in 0..10_u64 {
            producer.send(&number.to_le_bytes()).unwrap();
        }
        producer.close().unwrap();
    }
    let mut due = [0_u64; 3];
    let mut turns = Vec::new();
    loop {
        match set.receive_batch(4) {
            SetReceived::One(number, received) => {
                let Some(batch) = received.unwrap().message() else { continue };
                turns.push(number);
                let mut count = 0;
                for message in batch {
                    assert_eq!(message.sequence(), due[number], "of {number}");
                    assert_eq!(message.payload(), due[number].to_le_bytes());
                    due[number] += 1;
                    count += 1;
                }
                assert!((1..=4).contains(&count), "{count}");
            }
            SetReceived::Ended => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(due, [10; 3]);
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    // All was acknowledged, that of the member by its next turns.
    assert_eq!(queues[1].info().unwrap().subscriptions[0].unacked, 0);
    assert!(matches!(set.try_receive_batch(4), SetReceived::Ended));
}

/// A member that may have one message, and has to acknowledge it.
fn careful() -> Subscribe {
    oldest().named("members").ack(AckMode::Manual).prefetch(1)
}

/// One of the first queue, and a consumer of the second.
fn soon_full(queues: &[Queue; 2]) -> ConsumerSet {
    let mut set = ConsumerSet::new();
    set.set_wait(Wait::Park);
    set.add(queues[0].subscribe(&careful()).unwrap());
    set.add(queues[1].subscribe(&oldest()).unwrap());
    set
}

#[test]
fn a_member_that_has_as_much_as_it_may_keeps_nobody_awake() {
    let _watchdog = watchdog();
    let (full, other) = (Name::new("full"), Name::new("other"));
    let queues = [queue_of(&full), queue_of(&other)];
    let mut set = soon_full(&queues);
    let mut producers = queues.each_ref().map(|queue| queue.producer().unwrap());
    producers[0].send(b"one").unwrap();
    producers[0].send(b"one more").unwrap();
    let (number, sequence) = next(&mut set);
    assert_eq!((number, sequence), (0, 0));
    assert!(matches!(set.receive_timeout(Duration::from_millis(20)), SetReceived::TimedOut));
    producers[1].send(b"meanwhile").unwrap();
    assert_eq!(next(&mut set), (1, 0));
    // Nobody else is there to wait for.
    let other = set.remove(1).unwrap();
    let (number, received) = set.receive().one().unwrap();
    let error = received.map(drop).unwrap_err();
    assert!(number == 0 && matches!(error, Error::PrefetchFull { unacked: 1, .. }), "{error}");
    set.add(other);
    assert_eq!(set.consumer(0).unwrap().ack(0).unwrap(), Acked::Done);
    assert_eq!(next(&mut set), (0, 1));
}

/// A sleep ends ten times a second without a call.
#[test]
fn a_full_member_is_woken_neither_by_what_others_leave_nor_by_messages() {
    const SLEEPS_MAX: u64 = 100;
    let _watchdog = watchdog();
    let (full, other) = (Name::new("full-sleeps"), Name::new("other-sleeps"));
    let queues = [queue_of(&full), queue_of(&other)];
    let mut set = soon_full(&queues);
    let mut producer = queues[0].producer().unwrap();
    producer.send(b"what it has").unwrap();
    producer.send(b"what another has").unwrap();
    assert_eq!(next(&mut set), (0, 0));
    let mut another = queues[0].subscribe(&careful()).unwrap();
    assert_eq!(another.receive().unwrap().message().unwrap().sequence(), 1);
    drop(another);
    let sleeps = || queues[1].info().unwrap().consumers[0].sleeps;

    assert!(matches!(set.receive_timeout(Duration::from_secs(1)), SetReceived::TimedOut));
    assert!(sleeps() < SLEEPS_MAX, "{} sleeps beside what another left", sleeps());
    let before = sleeps();
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..2 * SLEEPS_MAX {
                producer.send(b"one more").unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(matches!(set.receive_timeout(Duration::from_millis(500)), SetReceived::TimedOut));
    });
    assert!(sleeps() - before < SLEEPS_MAX, "{} sleeps beside messages", sleeps() - before);

    assert_eq!(set.consumer(0).unwrap().ack(0).unwrap(), Acked::Done);
    assert_eq!(next(&mut set).0, 0);
}

#[test]
fn a_queue_that_goes_on_calls_again() {
    const TIMES: u64 = 1_000;
    let _watchdog = watchdog();
    let (ends, open) = (Name::new("goes-on"), Name::new("open"));
    let queues = [queue_of(&ends), queue_of(&open)];
    let mut set: ConsumerSet =
        queues.iter().map(|queue| queue.subscribe(&oldest()).unwrap()).collect();
    set.set_wait(Wait::Park);
    let mut calls = Calls::in_rounds(TIMES);
    for sequence in 0..TIMES {
        thread::scope(|scope| {
            scope.spawn(|| {
                // When it sleeps.
                thread::sleep(Duration::from_micros(200));
                let mut producer = queues[0].producer().unwrap();
                producer.send(b"more").unwrap();
                producer.close().unwrap();
            });
            assert_eq!(calls.round(|| next(&mut set)), (0, sequence));
            assert_eq!(self::ends(&mut set), 0);
        });
    }
}

#[test]
fn an_end_is_told_once_also_at_the_moment_in_which_the_queue_goes_on() {
    const TIMES: u64 = 2_000;
    let _watchdog = watchdog();
    let (ends, open) = (Name::new("goes-on-now"), Name::new("open-still"));
    let queues = [queue_of(&ends), queue_of(&open)];
    let mut set: ConsumerSet =
        queues.iter().map(|queue| queue.subscribe(&oldest()).unwrap()).collect();
    set.set_wait(Wait::Spin);
    let (again, is_told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for () in is_told {
                let mut producer = queues[0].producer().unwrap();
                producer.send(b"more").unwrap();
                producer.close().unwrap();
            }
        });
        for sequence in 0..TIMES {
            again.send(()).unwrap();
            assert_eq!(next(&mut set), (0, sequence));
            assert_eq!(self::ends(&mut set), 0);
        }
        drop(again);
    });
}

#[test]
fn the_end_of_each_queue_is_told_once_and_again_if_it_had_gone_on() {
    let _watchdog = watchdog();
    let (one, two) = (Name::new("ends-1"), Name::new("ends-2"));
    let queues = [queue_of(&one), queue_of(&two)];
    let [mut first, mut second] = queues.each_ref().map(|queue| queue.producer().unwrap());
    let mut set: ConsumerSet =
        queues.iter().map(|queue| queue.subscribe(&oldest()).unwrap()).collect();
    first.send(b"last").unwrap();
    first.close().unwrap();
    assert_eq!(next(&mut set), (0, 0));
    assert_eq!(ends(&mut set), 0);
    assert!(matches!(set.receive_timeout(Duration::from_millis(1)), SetReceived::TimedOut));
    second.send(b"more").unwrap();
    assert_eq!(next(&mut set), (1, 0));
    // A later producer goes on.
    let mut again = queues[0].producer().unwrap();
    again.send(b"yet more").unwrap();
    assert_eq!(next(&mut set), (0, 1));
    again.close().unwrap();
    assert_eq!(ends(&mut set), 0);
    second.close().unwrap();
    assert_eq!(ends(&mut set), 1);
    assert!(matches!(set.receive(), SetReceived::Ended));
    assert!(matches!(set.try_receive(), SetReceived::Ended));
    let timed = set.receive_timeout(Duration::from_secs(60));
    assert!(matches!(timed, SetReceived::Ended), "{timed:?}");
    queues[1].producer().unwrap().send(b"and more").unwrap();
    assert_eq!(next(&mut set), (1, 1));
    assert!(matches!(set.try_receive(), SetReceived::Empty), "one has gone on");
    assert!(matches!(ConsumerSet::new().receive(), SetReceived::Ended));
}

#[test]
fn who_sleeps_on_several_queues_is_called_by_each_of_them() {
    const COUNT: u64 = 4_000;
    let _watchdog = watchdog();
    let names = ["calls-0", "calls-1", "calls-2"].map(Name::new);
    let queues = names.each_ref().map(queue_of);
    let mut producers = queues.each_ref().map(|queue| queue.producer().unwrap());
    let mut set: ConsumerSet =
        queues.iter().map(|queue| queue.subscribe(&Subscribe::new()).unwrap()).collect();
    set.set_wait(Wait::Park);
    let (ask, asked) = mpsc::channel();
    let sender = thread::spawn(move || {
        let mut random = Random::from_environment();
        for asked in asked.iter().enumerate() {
            match asked {
                // Any time from before it looks to when it sleeps.
                (0..2_000, ()) => (0..random.below(2_000)).for_each(|_| spin_loop()),
                // When it sleeps.
                _ => thread::sleep(Duration::from_micros(200)),
            }
            let number = usize::try_from(random.below(3)).unwrap();
            producers[number].send(&number.to_le_bytes()).unwrap();
        }
        producers
    });
    // Whoever is called by one of them only is late in two rounds of three.
    let mut calls = Calls::in_rounds(COUNT);
    for _ in 0..COUNT {
        ask.send(()).unwrap();
        let (number, received) = calls.round(|| set.receive()).one().expect("all are open");
        let message = received.unwrap().message().expect("a message");
        assert_eq!(message.payload(), number.to_le_bytes());
    }
    // A time in which it is sure to fall asleep.
    assert!(matches!(set.receive_timeout(Duration::from_millis(50)), SetReceived::TimedOut));
    for queue in &queues {
        let consumer = &queue.info().unwrap().consumers[0];
        assert!(consumer.sleeps > 0 && consumer.late_wakes == 0, "{consumer:?}");
    }
    drop(ask);
    sender.join().unwrap();
}

#[test]
fn a_queue_that_is_gone_is_named_and_keeps_nobody_from_theirs() {
    let _watchdog = watchdog();
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        let (kept, gone) = (Name::new("kept"), Name::new("gone"));
        let queues = [queue_of(&gone), queue_of(&kept)];
        let mut producer = queues[1].producer().unwrap();
        let mut set: ConsumerSet =
            queues.iter().map(|queue| queue.subscribe(&Subscribe::new()).unwrap()).collect();
        set.set_wait(wait);
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                Queue::force_remove(&gone).unwrap();
            });
            let (number, received) = set.receive().one().expect("somebody's queue is open");
            assert_eq!(number, 0);
            received.map(drop).unwrap_err()
        });
        assert!(matches!(&error, Error::Stale { queue, .. } if **queue == *gone), "{error}");
        producer.send(b"all the same").unwrap();
        // It is told whenever it is that one's turn.
        while set.receive().one().expect("one is open").0 == 0 {}
        assert_eq!(set.remove(0).unwrap().queue_name(), &*gone);
        assert!(set.remove(0).is_none() && set.get(0).is_none() && set.remove(7).is_none());
        producer.send(b"and again").unwrap();
        assert_eq!(next(&mut set), (1, 1));
        assert_eq!(set.iter().map(|(number, _)| number).collect::<Vec<_>>(), [1]);
    }
}

/// Nobody calls then: it is found out by a look around.
#[test]
fn a_queue_whose_name_was_taken_away_without_a_word_is_found_to_be_gone() {
    let _watchdog = watchdog();
    for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
        let names = ["stays", "unlinked"].map(Name::new);
        let queues = names.each_ref().map(queue_of);
        let consumers = queues.each_ref().map(|queue| queue.subscribe(&oldest()).unwrap());
        let mut set = ConsumerSet::from_iter(consumers);
        set.set_wait(wait);
        fs::remove_file(names[1].path()).unwrap();
        let (number, received) = set.receive().one().expect("all are open, as far as they know");
        let error = received.unwrap_err();
        assert!(number == 1 && matches!(error, Error::Stale { .. }), "{number}: {error}");
    }
}

#[test]
fn members_in_a_set_are_members_like_all_others() {
    const PAUSE: Duration = Duration::from_millis(5);
    let _watchdog = watchdog();
    let name = Name::new("set-members");
    let queue = queue_of(&name);
    let workers = oldest().named("workers").ack(AckMode::Manual);
    let mut set: ConsumerSet = (0..2).map(|_| queue.subscribe(&workers).unwrap()).collect();
    set.set_wait(Wait::Park);
    let mut producer = queue.producer().unwrap();
    for _ in 0..100 {
        producer.send(b"a task").unwrap();
    }
    let mut acked = BTreeSet::new();
    while acked.len() < 100 {
        let (number, received) = set.receive().one().expect("the queue is open");
        let message = received.unwrap().message().expect("a message");
        let (sequence, delivery) = (message.sequence(), message.delivery());
        let consumer = set.consumer(number).unwrap();
        if sequence % 10 == 0 && delivery == 1 {
            // It comes again without a call from the producer.
            assert_eq!(consumer.nack_after(sequence, PAUSE).unwrap(), Nacked::Retry(PAUSE));
        } else {
            assert_eq!(consumer.ack(sequence).unwrap(), Acked::Done);
            assert!(acked.insert(sequence), "{sequence} twice");
        }
    }
    let workers = &queue.info().unwrap().subscriptions[0];
    assert_eq!((workers.redelivered, workers.acked, workers.unacked), (10, 100, 0));
}

/// Two queues, the second one's reader an observer, or both's.
fn watched(names: &[Name; 2], both: bool) -> ([Queue; 2], ConsumerSet) {
    let queues = names.each_ref().map(queue_of);
    let mut set = ConsumerSet::new();
    if both {
        set.add(queues[0].observe(Start::Oldest).unwrap());
    } else {
        set.add(queues[0].subscribe(&oldest()).unwrap());
    }
    set.add(queues[1].observe(Start::Oldest).unwrap());
    (queues, set)
}

#[test]
fn observers_have_their_turns_and_ends_beside_consumers_and_without() {
    let _watchdog = watchdog();
    for both in [false, true] {
        for wait in [Wait::Spin, Wait::Backoff, Wait::Park] {
            let names = ["seen-0", "seen-1"].map(Name::new);
            let (queues, mut set) = watched(&names, both);
            set.set_wait(wait);
            assert!(matches!(set.try_receive(), SetReceived::Empty));
            let short = Duration::from_millis(3);
            assert!(matches!(set.receive_timeout(short), SetReceived::TimedOut));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut producers = queues.each_ref().map(|queue| queue.producer().unwrap());
                    for sequence in 0..200_usize {
                        // When it sleeps.
                        thread::sleep(Duration::from_micros(200));
                        producers[sequence % 2].send(b"seen").unwrap();
                    }
                    for producer in producers {
                        producer.close().unwrap();
                    }
                });
                let mut due = [0, 0];
                let mut ends = 0;
                while let SetReceived::One(number, received) = set.receive() {
                    match received.unwrap() {
                        Received::Message(message) => {
                            assert_eq!(message.sequence(), due[number]);
                            due[number] += 1;
                        }
                        Received::Closed => ends += 1,
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!((due, ends), ([100, 100], 2));
            });
            let counted: Vec<_> =
                queues.iter().flat_map(|queue| queue.info().unwrap().consumers).collect();
            assert_eq!(counted.len(), usize::from(!both));
            assert!(counted.iter().all(|consumer| consumer.late_wakes == 0), "{counted:?}");
            set.close().unwrap();
        }
    }
}

#[test]
fn an_observer_of_a_set_is_told_what_it_missed_that_its_queue_is_gone_and_an_interruption() {
    let _watchdog = watchdog();
    for (both, wait) in [(false, Wait::Park), (true, Wait::Park), (true, Wait::Backoff)] {
        let names = ["told-0", "told-1"].map(Name::new);
        let (queues, mut set) = watched(&names, both);
        set.set_wait(wait);
        let mut producer = queues[1].producer().unwrap();
        while producer.next_sequence() < 1_000 {
            producer.send(&[7; 1_000]).unwrap();
        }
        let (number, received) = set.receive().one().unwrap();
        let received = received.unwrap();
        assert!(number == 1 && matches!(received, Received::Missed { from: 0, .. }));
        while let SetReceived::One(number, received) = set.try_receive() {
            assert!(number == 1 && received.unwrap().message().is_some());
        }

        let interrupter = set.get(1).unwrap().interrupter();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                interrupter.interrupt();
            });
            let told = set.receive();
            assert!(matches!(told, SetReceived::One(1, Err(Error::Interrupted { .. }))));
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                fs::remove_file(names[1].path()).unwrap();
            });
            let told = set.receive();
            assert!(matches!(told, SetReceived::One(1, Err(Error::Stale { .. }))), "{told:?}");
        });
        let Some(Reader::Observer(observer)) = set.remove(1) else { panic!("no observer") };
        assert_eq!(observer.next_sequence(), 1_000);
        assert_eq!(set.consumer(0).map(Consumer::queue_name), (!both).then_some(&*names[0]));
        assert_eq!(set.get(0).unwrap().queue_name(), &*names[0]);
    }
}

#[test]
fn a_descriptor_tells_of_a_set_with_an_observer() {
    let _watchdog = watchdog();
    for both in [false, true] {
        let names = ["ready-0", "ready-1"].map(Name::new);
        let (queues, mut set) = watched(&names, both);
        let readiness = Readiness::new().unwrap();
        let mut producers = queues.each_ref().map(|queue| queue.producer().unwrap());
        for sequence in 0..100_usize {
            let number = sequence % 2;
            assert!(matches!(set.try_receive(), SetReceived::Empty));
            let _ = readiness.arm(&mut set).unwrap();
            producers[number].send(b"seen").unwrap();
            loop {
                match set.try_receive() {
                    SetReceived::One(told, received) => {
                        assert!(told == number && received.unwrap().message().is_some());
                        break;
                    }
                    _ => {
                        if readiness.arm(&mut set).unwrap() {
                            await_readable(&readiness);
                        }
                    }
                }
            }
        }
    }
}

fn await_readable(readiness: &Readiness) {
    let mut polled = [libc::pollfd { fd: readiness.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    // SAFETY: one entry, which outlives the call.
    assert!(unsafe { libc::poll(polled.as_mut_ptr(), 1, -1) } >= 0);
}

#[test]
fn more_consumers_than_the_system_can_wait_for_at_once_are_served_too() {
    let _watchdog = watchdog();
    let name = Name::new("many");
    let queue = queue_of(&name);
    let mut set: ConsumerSet =
        (0..130).map(|_| queue.subscribe(&Subscribe::new()).unwrap()).collect();
    set.set_wait(Wait::Park);
    assert!(matches!(set.receive_timeout(Duration::from_millis(5)), SetReceived::TimedOut));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(5));
            queue.producer().unwrap().send(b"to all").unwrap();
        });
        let mut numbers: Vec<_> = (0..130).map(|_| next(&mut set).0).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..130));
    });
}

/// The first one cannot write down how far its subscription has come.
#[test]
fn all_of_a_set_are_closed_and_the_first_error_is_told() {
    let _watchdog = watchdog();
    let names = ["close-1", "close-2"].map(Name::new);
    let directories = names.each_ref().map(Directory::new);
    let queues = [0, 1].map(|at| {
        let options = QueueOptions::new().capacity(CAPACITY).members(8);
        let options = options.history(directories[at].path()).journal(Journal::Written);
        let queue = Queue::create(&names[at], &options).unwrap();
        queue.producer().unwrap().send(b"work").unwrap();
        queue
    });
    let workers = oldest().named("workers");
    let consumers = queues.each_ref().map(|queue| queue.subscribe(&workers).unwrap());
    let mut set = ConsumerSet::from_iter(consumers);
    assert_eq!([next(&mut set), next(&mut set)], [(0, 0), (1, 0)]);
    let checkpoints = directories[0].file("subscriptions");
    fs::rename(&checkpoints, directories[0].file("elsewhere")).unwrap();
    fs::write(&checkpoints, "in the way").unwrap();
    let error = set.close().unwrap_err();
    let Error::File { path, .. } = &error else { panic!("{error}") };
    assert!(path.starts_with(&checkpoints), "{error}");
    for queue in &queues {
        let info = queue.info().unwrap();
        assert_eq!((info.subscriptions[0].acked, info.consumers.len()), (1, 0));
    }
}

#[test]
fn what_a_set_receives_is_not_to_be_dropped_in_silence() {
    let mut empty = ConsumerSet::new();
    #[expect(unused_must_use, reason = "this is the test")]
    empty.receive();
    #[expect(unused_must_use, reason = "this is the test")]
    empty.try_receive();
    #[expect(unused_must_use, reason = "this is the test")]
    empty.receive_timeout(Duration::ZERO);
}
