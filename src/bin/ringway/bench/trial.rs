//! What is found out before anything is timed, on a queue like those of the runs.

use std::collections::BTreeSet;

use ringway::workload::check;
use ringway::{Consumer, Producer, Queue, Subscribe};

use crate::bench::crew::Stage;
use crate::bench::setting::Setting;
use crate::failure::Failure;
use crate::output;

/// A queue with both ends here.
pub struct Trial {
    producer: Producer,
    consumer: Consumer,
    size_max: u64,
    batch_max: u64,
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
}

/// How far a batch reaches at most, with the header of each frame, and with the end of a lap in it,
/// where what has no room for one more frame stays empty.
fn span_max(size: usize, batch: usize) -> u64 {
    const HEADER_SIZE: u64 = 8;
    let frame = (size as u64).next_multiple_of(8) + HEADER_SIZE;
    (batch as u64 + 1) * frame + HEADER_SIZE
}
