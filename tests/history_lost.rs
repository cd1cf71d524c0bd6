//! Readers of a history whose queue is lost, while others go on in the same directory.

mod support;

use ringway::{Consumer, Error, Lag, Producer, Queue, QueueOptions, Received, Start, Subscribe};
use support::{Directory, Name, watchdog};

const CAPACITY: u64 = 64 << 10;
/// Of these the first file has two thousand.
const SIZE: usize = 8_000;

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(8).history(directory.path())
}

fn spilling() -> Subscribe {
    Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill)
}

fn send_all(producer: &mut Producer, byte: u8, count: u32) {
    for _ in 0..count {
        producer.send(&[byte; SIZE]).unwrap();
    }
}

/// Receives so many messages at most, all of this byte. `false` if the queue is lost, and nothing is left.
fn receive(consumer: &mut Consumer, byte: u8, count: u32) -> bool {
    for _ in 0..count {
        match consumer.try_receive() {
            Ok(Received::Message(message)) => assert!(*message.payload() == [byte; SIZE]),
            Ok(Received::Missed { .. }) => {}
            Err(Error::Stale { .. }) => return false,
            other => panic!("{other:?}"),
        }
    }
    true
}

#[test]
fn who_reads_on_behind_a_lost_queue_gets_nothing_of_its_successor() {
    const COUNT: u32 = 2_500;
    let _alive = watchdog();
    // One of its own, and a member; a file of theirs is open by then, or none.
    for (is_named, received) in [(false, 0), (false, 50), (true, 0), (true, 50)] {
        let name = Name::new("lost-behind");
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &options(&directory)).unwrap();
        let who = if is_named { spilling().named("workers") } else { spilling() };
        let mut behind = queue.subscribe(&who).unwrap();
        send_all(&mut queue.producer().unwrap(), 1, COUNT);
        assert!(receive(&mut behind, 1, received));
        Queue::force_remove(&name).unwrap();

        let successor = Queue::create(&name, &options(&directory)).unwrap();
        let mut slow = successor.subscribe(&spilling()).unwrap();
        send_all(&mut successor.producer().unwrap(), 2, COUNT);
        assert!(!receive(&mut behind, 1, 2 * COUNT), "it has no end");
        assert!(receive(&mut slow, 2, COUNT));
    }
}
