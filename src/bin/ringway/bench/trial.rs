//! What is found out before anything is timed, on a queue like those of the runs.

use std::collections::BTreeSet;

use ringway::workload::check;
use ringway::{Consumer, Producer, Queue, Subscribe};

use crate::bench::setting::Setting;
use crate::bench::stage::Stage;
use crate::failure::Failure;
use crate::output;

/// A queue with both ends here.
pub struct Trial {
    producer: Producer,
    consumer: Consumer,
    size_max: u64,
    batch_max: u64,
    capacity: u64,
    sector_size: u64,
    checked: BTreeSet<usize>,
    _stage: Stage,
}

impl Trial {
    pub fn new(setting: &Setting<'_>) -> Result<Self, Failure> {
        let stage = setting.stage(1, 1)?;
        let queue = Queue::open(&stage.names.queues[0])?;
        let info = queue.info()?;
        Ok(Self {
            producer: queue.producer()?,
            consumer: queue.subscribe(&Subscribe::new())?,
            size_max: info.message_size_max,
            batch_max: info.capacity / 4,
            capacity: info.capacity,
            sector_size: info.sector_size,
            checked: BTreeSet::new(),
            _stage: stage,
        })
    }

    /// Finds that the ring holds so many messages of this size at a time, or that they are wrong
    /// usage; and that it gives them back whole, once and in order: what loses messages is fast.
    pub fn check(&mut self, size: usize, batch: usize) -> Result<(), Failure> {
        const MOST: u64 = 10_000;
        let shown = output::bytes(size as u64);
        if size as u64 > self.size_max {
            return Err(Failure::Usage(format!(
                "a message of {shown} is more than an eighth of the ring, {}: send smaller ones, or \
                 give a larger --capacity",
                output::bytes(self.size_max)
            )));
        }
        if batch > 1 && span_max(size, batch) > self.batch_max {
            return Err(Failure::Usage(format!(
                "{batch} messages of {shown} may be more than a quarter of the ring, {}, which a \
                 batch can have: send fewer at a time, or give a larger --capacity",
                output::bytes(self.batch_max)
            )));
        }
        if self.checked.insert(size) {
            check(&mut self.producer, &mut self.consumer, size, MOST)
                .map_err(|error| Failure::End(error.to_string()))?;
        }
        Ok(())
    }

    /// Finds that the ring holds as many messages of this size as a bound has places, or that they
    /// are wrong usage: what the ring has no room for would be taken for what found no place. Each
    /// of the servers that share them holds on to a message that is through until it asks for the
    /// next, and room is given out by sectors.
    pub fn check_places(&self, size: usize, places: u32, servers: usize) -> Result<(), Failure> {
        let messages = (places as usize).saturating_add(servers);
        let taken = span_max(size, messages).saturating_add(self.sector_size);
        if taken <= self.capacity {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{places} messages of {} take {} of the ring with what comes between them, and it has {}: \
             give a larger --capacity, or a smaller --bound",
            output::bytes(size as u64),
            output::bytes(taken),
            output::bytes(self.capacity)
        )))
    }
}

/// How far so many messages reach at most, with the header of each frame, and with the end of a lap in it,
/// where what has no room for one more frame stays empty.
fn span_max(size: usize, messages: usize) -> u64 {
    const HEADER_SIZE: u64 = 8;
    let frame = (size as u64).next_multiple_of(8) + HEADER_SIZE;
    (messages as u64 + 1).saturating_mul(frame).saturating_add(HEADER_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway::{QueueOptions, Sent};

    #[test]
    fn what_is_said_to_have_room_has_it_wherever_a_lap_ends() {
        let name = format!("trial-{}", std::process::id());
        let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
        let info = queue.info().unwrap();
        for size in [24, 1000, 4096, 5456, 6552, 8000] {
            let fits = |count: &usize| span_max(size, *count) + info.sector_size <= info.capacity;
            let most = (1..10_000).take_while(fits).last().unwrap();
            let mut producer = queue.producer().unwrap();
            let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
            let mut send = || assert_ne!(producer.try_send(&vec![7; size]).unwrap(), Sent::Full);
            (2..most).for_each(|_| send());
            for _ in 0..10 * most {
                send();
                // It holds on to this one until it asks for the next.
                assert!(consumer.try_receive().unwrap().message().is_some());
            }
        }
        Queue::force_remove(&name).unwrap();
    }
}
