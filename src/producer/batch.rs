//! Messages that are sent together.

use std::ops::Range;

use super::Producer;
use super::fences::{BY_SLEEPERS, FORKED, STAMPED};
use crate::error::Error;
use crate::key::key_hash;
use crate::ring::{Extensions, PastCaches, Shape, Staging};
use crate::wait::Patience;

/// Messages that become visible together. Dropped without a [`commit`](Self::commit), they
/// never happened.
///
/// ```
/// # use ringway::{Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-send-batch-type");
/// # let queue = Queue::create("doc-send-batch-type", &QueueOptions::new())?;
/// # let mut producer = queue.producer()?;
/// let mut batch = producer.batch();
/// for number in 0..1000_u32 {
///     batch.push(&number.to_le_bytes())?;
/// }
/// assert_eq!(batch.commit()?, 0..1000);
/// # Queue::force_remove("doc-send-batch-type")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a batch that is not committed never happened"]
pub struct SendBatch<'a> {
    producer: &'a mut Producer,
    staging: Staging,
}

impl<'a> SendBatch<'a> {
    pub(super) fn new(producer: &'a mut Producer) -> Self {
        Self { staging: producer.writer.stage(), producer }
    }

    /// Adds a message. Waits for room as [`Producer::send`] does.
    ///
    /// # Errors
    /// [`Error::BatchFull`] once the batch's frames would be more than a quarter of the ring, and the
    /// sixteenth of it that they end in has no room; what was pushed before can still be committed. Else as [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-push");
    /// let queue = Queue::create("doc-push", &QueueOptions::new().capacity(64 << 10))?;
    /// let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// batch.push(&[1; 8000])?;
    /// batch.push(&[2; 8000])?;
    /// assert!(matches!(batch.push(&[3; 8000]), Err(Error::BatchFull { .. })));
    /// assert_eq!(batch.commit()?, 0..2);
    /// # Queue::force_remove("doc-push")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline(always)]
    pub fn push(&mut self, payload: &[u8]) -> Result<(), Error> {
        if self.push_now(Extensions::NONE, payload) {
            Ok(())
        } else {
            self.push_patiently(Extensions::NONE, payload)
        }
    }

    /// Adds a message that has a key, as [`push`](Self::push) does.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, key_hash};
    /// # let _ = Queue::force_remove("doc-push-keyed");
    /// # let queue = Queue::create("doc-push-keyed", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// batch.push_keyed(b"customer 7", b"an order")?;
    /// batch.push_keyed(b"customer 8", b"another")?;
    /// batch.commit()?;
    /// let mut observer = queue.observe(Start::Last(1))?;
    /// let message = observer.receive()?.message().unwrap();
    /// assert_eq!(message.key_hash(), Some(key_hash(b"customer 8")));
    /// # Queue::force_remove("doc-push-keyed")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn push_keyed(&mut self, key: &[u8], payload: &[u8]) -> Result<(), Error> {
        self.push_with_key_hash(key_hash(key), payload)
    }

    /// Adds a message that has a key of this [hash](crate::key_hash): one that was received with it, say,
    /// and is passed on.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-push-hash");
    /// # let _ = Queue::force_remove("doc-push-hash-on");
    /// # let (queue, on) = ("doc-push-hash", "doc-push-hash-on");
    /// # let queue = Queue::create(queue, &QueueOptions::new())?;
    /// # let on = Queue::create(on, &QueueOptions::new())?;
    /// queue.producer()?.message().key(b"customer 7").send(b"an order")?;
    /// let (mut observer, mut producer) = (queue.observe(Start::Oldest)?, on.producer()?);
    /// let mut batch = producer.batch();
    /// while let Some(message) = observer.try_receive()?.message() {
    ///     match message.key_hash() {
    ///         Some(hash) => batch.push_with_key_hash(hash, message.payload())?,
    ///         None => batch.push(message.payload())?,
    ///     }
    /// }
    /// assert_eq!(batch.commit()?, 0..1);
    /// # Queue::force_remove("doc-push-hash")?;
    /// # Queue::force_remove("doc-push-hash-on")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn push_with_key_hash(&mut self, hash: u64, payload: &[u8]) -> Result<(), Error> {
        let extensions = Extensions { key: Some(hash), ..Extensions::NONE };
        if self.push_now(extensions, payload) {
            Ok(())
        } else {
            self.push_patiently(extensions, payload)
        }
    }

    /// Adds messages, as one [`push`](Self::push) after the other would, and faster: several times, if
    /// they are 1 KiB or more together and readers run on distant processors. The iterator must not fork
    /// the process: what a child adds then stands in its parent's messages.
    ///
    /// # Errors
    /// As [`push`](Self::push); what came before the message that failed is in the batch.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-extend");
    /// # let queue = Queue::create("doc-extend", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// batch.extend(["to", "be", "or", "not"])?;
    /// assert_eq!(batch.commit()?, 0..4);
    /// # Queue::force_remove("doc-extend")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn extend<P: AsRef<[u8]>>(
        &mut self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<(), Error> {
        let fences = self.producer.check_process()?;
        let way = self.staging.begin_many(&mut self.producer.writer);
        let from = self.staging.place().position;
        let mut payloads = payloads.into_iter();
        if let Some(way) = &way {
            payloads.try_for_each(|payload| self.push_past_caches(way, payload.as_ref()))?;
        } else if fences == STAMPED {
            payloads.try_for_each(|payload| self.push(payload.as_ref()))?;
        } else {
            while let Some(refused) =
                self.staging.try_append_all(&self.producer.writer, &mut payloads)
            {
                self.push_patiently(Extensions::NONE, refused.as_ref())?;
            }
        }
        self.staging.end_many(&mut self.producer.writer, way, from);
        Ok(())
    }

    /// Adds a message if there is room; `false` if there is none now.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-try-push");
    /// # let queue = Queue::create("doc-try-push", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// assert!(batch.try_push(b"x")?);
    /// # drop(batch);
    /// # Queue::force_remove("doc-try-push")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn try_push(&mut self, payload: &[u8]) -> Result<bool, Error> {
        if self.push_now(Extensions::NONE, payload) {
            return Ok(true);
        }
        self.push_in_time(Extensions::NONE, payload, Patience::None)
    }

    /// Adds a message that has a key if there is room, as [`try_push`](Self::try_push) does.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-try-push-keyed");
    /// # let queue = Queue::create("doc-try-push-keyed", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// assert!(batch.try_push_keyed(b"customer 7", b"an order")?);
    /// # drop(batch);
    /// # Queue::force_remove("doc-try-push-keyed")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn try_push_keyed(&mut self, key: &[u8], payload: &[u8]) -> Result<bool, Error> {
        let extensions = Extensions { key: Some(key_hash(key)), ..Extensions::NONE };
        if self.push_now(extensions, payload) {
            return Ok(true);
        }
        self.push_in_time(extensions, payload, Patience::None)
    }

    /// Adds a plain value, as [`Producer::send_value`] sends one.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-push-value");
    /// # let queue = Queue::create("doc-push-value", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// for price in [17_u64, 18, 21] {
    ///     batch.push_value(&price)?;
    /// }
    /// assert_eq!(batch.commit()?, 0..3);
    /// # Queue::force_remove("doc-push-value")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    #[inline(always)]
    pub fn push_value<T>(&mut self, value: &T) -> Result<(), Error>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
    {
        self.push(value.as_bytes())
    }

    /// How many messages were pushed.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-batch-len");
    /// # let queue = Queue::create("doc-batch-len", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let mut batch = producer.batch();
    /// batch.push(b"x")?;
    /// assert_eq!(batch.len(), 1);
    /// # drop(batch);
    /// # Queue::force_remove("doc-batch-len")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> u64 {
        self.staging.place().sequence - self.producer.writer.next_sequence()
    }

    /// Whether nothing was pushed.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-batch-empty");
    /// # let queue = Queue::create("doc-batch-empty", &QueueOptions::new())?;
    /// assert!(queue.producer()?.batch().is_empty());
    /// # Queue::force_remove("doc-batch-empty")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends all of it by one store, and returns the sequences.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-batch-commit");
    /// # let queue = Queue::create("doc-batch-commit", &QueueOptions::new())?;
    /// assert_eq!(queue.producer()?.batch().commit()?, 0..0);
    /// # Queue::force_remove("doc-batch-commit")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn commit(self) -> Result<Range<u64>, Error> {
        let Self { producer, staging } = self;
        let fences = producer.check_process()?;
        let first = producer.writer.next_sequence();
        staging.commit(&mut producer.writer);
        producer.call_sleepers(fences);
        Ok(first..producer.writer.next_sequence())
    }

    #[inline(always)]
    fn push_now(&mut self, extensions: Extensions, payload: &[u8]) -> bool {
        self.producer.fences.value() >= BY_SLEEPERS
            && self.staging.try_append(&self.producer.writer, extensions, payload)
    }

    /// [`Self::push_now`] in any queue.
    #[inline(never)]
    fn push_slowly_now(&mut self, extensions: Extensions, payload: &[u8]) -> bool {
        let extensions = self.producer.stamp(extensions);
        self.producer.fences.value() != FORKED
            && self.staging.try_append(&self.producer.writer, extensions, payload)
    }

    #[cold]
    #[inline(never)]
    fn push_patiently(&mut self, extensions: Extensions, payload: &[u8]) -> Result<(), Error> {
        self.push_in_time(extensions, payload, Patience::Endless).map(drop)
    }

    #[inline(never)]
    fn push_in_time(
        &mut self,
        extensions: Extensions,
        payload: &[u8],
        patience: Patience,
    ) -> Result<bool, Error> {
        while !self.push_slowly_now(extensions, payload) {
            let shape = self.producer.shape(extensions, payload.len());
            if !self.make_room(shape, patience)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[cold]
    #[inline(never)]
    fn push_past_caches(&mut self, way: &PastCaches, payload: &[u8]) -> Result<(), Error> {
        let extensions = self.producer.stamp(Extensions::NONE);
        let shape = Shape { extensions: extensions.set(), size: payload.len() };
        while !self.staging.try_append_past_caches(&self.producer.writer, way, extensions, payload)
        {
            self.make_room(shape, Patience::Endless)?;
        }
        Ok(())
    }

    fn make_room(&mut self, shape: Shape, patience: Patience) -> Result<bool, Error> {
        let Self { producer, staging } = self;
        producer.check_process()?;
        producer.check_size(shape.size)?;
        let limit = producer.segment.geometry().batch_size_max();
        if !staging.has_space(shape, limit) {
            return Err(Error::BatchFull { queue: producer.segment.name().into(), limit });
        }
        let made =
            producer.make_room(shape, patience, |writer, shape| staging.reserve(writer, shape));
        made.inspect_err(|_| staging.confine())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use crate::{Queue, QueueOptions, Received, Subscribe};

    #[test]
    fn a_batch_arrives_whichever_way_it_goes() {
        let name = format!("test-past-caches-{}", std::process::id());
        let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
        let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
        let mut producer = queue.producer().unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(2500).collect();
        let mut extended = [0; 2];
        for round in 0..400_usize {
            // Now and then it changes in mid-ring, and is as short as may be.
            let past_caches = round % 5 < 3;
            producer.writer.set_past_caches(past_caches);
            let sizes = (0..round % 7).map(|number| (round * 37 + number * 911) % 2400);
            let payloads: Vec<&[u8]> = sizes.map(|size| &bytes[round % 13..][..size]).collect();
            extended[usize::from(past_caches)] += 1;
            let mut batch = producer.batch();
            let (front, back) = payloads.split_at(payloads.len() * (round % 4) / 4);
            for payload in front {
                batch.push(payload).unwrap();
            }
            batch.extend(back).unwrap();
            let more: &[&[u8]] = if round % 3 == 0 { &[b"keyed", b"tried", b"keyed"] } else { &[] };
            if !more.is_empty() {
                batch.push_keyed(b"key", b"keyed").unwrap();
                assert!(batch.try_push(b"tried").unwrap());
                assert!(batch.try_push_keyed(b"key", b"keyed").unwrap());
            }
            batch.commit().unwrap();
            for expected in payloads.iter().chain(more) {
                let received = consumer.receive().unwrap().message().unwrap();
                assert_eq!(received.payload(), *expected, "round {round}");
                assert_eq!(received.key_hash().is_some(), *expected == b"keyed");
            }
            assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        }
        assert!(extended.iter().all(|&count| count > 100));
        Queue::force_remove(&name).unwrap();
    }

    /// Without the fence behind what goes past the caches some of it comes too late.
    #[test]
    fn who_receives_while_batches_go_past_the_caches_has_all_of_them() {
        const BATCHES: u64 = 200_000;
        const COUNT: u64 = 3;
        const PATIENCE: Duration = Duration::from_secs(60);
        let name = format!("test-fenced-{}", std::process::id());
        let queue = Queue::create(&name, &QueueOptions::new().capacity(256 << 10)).unwrap();
        let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
        let mut producer = queue.producer().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..BATCHES * COUNT {
                    let received = consumer.receive_timeout(PATIENCE).unwrap().message().unwrap();
                    let (words, rest) = received.payload().as_chunks::<8>();
                    let all = words.iter().all(|word| *word == number.to_le_bytes());
                    assert!(all && rest.is_empty(), "message {number}: {words:?}");
                }
            });
            for batch in 0..BATCHES {
                let numbers = batch * COUNT..(batch + 1) * COUNT;
                let payloads = numbers.map(|number| [number.to_le_bytes(); 9]);
                // Each time: batches as small as these soon go to the caches.
                producer.writer.set_past_caches(true);
                let mut batch = producer.batch();
                batch.extend(payloads.map(|payload| payload.concat())).unwrap();
                batch.commit().unwrap();
            }
        });
        Queue::force_remove(&name).unwrap();
    }
}
