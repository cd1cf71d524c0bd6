//! The receiving ends: consumers, which the queue knows, and observers, which it does not.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::membership::{Membership, announce_room};
use crate::message::{Batch, Message};
use crate::outcome::Received;
use crate::reception::{Reader, Reception};
use crate::ring::{CopyReader, HeldReader, Lag, Start, StartError};
use crate::segment::{Access, Segment};
use crate::subscribe::Subscribe;
use crate::wait::{Patience, Wait};

/// A handle that receives every message of a queue, from where it began.
///
/// One thread at a time uses it; it may move between threads. When it is dropped, or its
/// process dies in whatever way, its place ends and it stops holding the producer.
///
/// What a race may change: a message, once lent, stays as it is until the next call. Nothing
/// else that a call says of the queue is sure to be so still: an empty queue may have a message
/// by then.
///
/// ```
/// use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-consumer");
/// let queue = Queue::create("doc-consumer", &QueueOptions::new())?;
/// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// let mut producer = queue.producer()?;
/// producer.send(b"first")?;
/// producer.close()?;
/// while let Received::Message(message) = consumer.receive()? {
///     assert_eq!(message.payload(), b"first");
/// }
/// # Queue::force_remove("doc-consumer")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct Consumer {
    /// Dropped first: giving up the place needs the mapping, which the reception owns.
    membership: Membership,
    reception: Reception,
}

impl Consumer {
    pub(crate) fn join(segment: &Arc<Segment>, options: &Subscribe) -> Result<Self, Error> {
        let witness = segment.witness(1)?;
        let mapping = segment.map(Access::Consume)?;
        let membership = Membership::find(segment, mapping.ring())?;
        let (ring, index) = (membership.ring(), membership.index());
        let explain = |error| start_error(segment, error);
        let reader = match options.lag {
            Lag::Hold => {
                let begin = ring.begin_holding(options.start, index).map_err(explain)?;
                Reader::Held(HeldReader::new(ring.clone(), index, begin))
            }
            Lag::Skip => {
                let begin = ring.begin(options.start).map_err(explain)?;
                ring.join(index, Lag::Skip, begin.place.position);
                Reader::Copied(CopyReader::new(ring.clone(), Some(ring.member(index)), begin))
            }
        };
        let member = Some(ring.member(index));
        // The line may have been a dead member's that held the producer, or we did on the way.
        announce_room(ring);
        let segment = Arc::clone(segment);
        // From here on the mapping is the reception's: nothing may fail with the membership alive.
        let reception = Reception::new(segment, mapping, reader, member, witness, options.wait);
        Ok(Self { membership, reception })
    }

    /// Waits for the next message, and lends it. Never [`Received::Empty`] or
    /// [`Received::TimedOut`].
    ///
    /// The message before is given back by this: a [`Hold`](Lag::Hold) consumer keeps the
    /// producer from overwriting it until then.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Forked`], and [`Error::Stale`] once nothing is left to
    /// receive.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-receive");
    /// # let queue = Queue::create("doc-receive", &QueueOptions::new())?;
    /// # let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// queue.producer()?.send(b"hello")?;
    /// let message = consumer.receive()?.message().unwrap();
    /// assert_eq!(message.payload(), b"hello");
    /// # Queue::force_remove("doc-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Endless)
    }

    /// Lends the next message if it is there, else says [`Received::Empty`] at once.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Subscribe};
    /// # let _ = Queue::force_remove("doc-try-receive");
    /// # let queue = Queue::create("doc-try-receive", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// assert_eq!(consumer.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-try-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn try_receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::None)
    }

    /// Waits so long for the next message, then says [`Received::TimedOut`].
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Subscribe};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-receive-timeout");
    /// # let queue = Queue::create("doc-receive-timeout", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// assert_eq!(consumer.receive_timeout(Duration::from_millis(1))?, Received::TimedOut);
    /// # Queue::force_remove("doc-receive-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Lasting(time))
    }

    /// Waits for a message, and lends it with up to `count_max - 1` more that are there when it
    /// comes to them. The producer is kept from overwriting any of them until the next call.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-receive-batch");
    /// # let queue = Queue::create("doc-receive-batch", &QueueOptions::new())?;
    /// # let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// # let mut producer = queue.producer()?;
    /// producer.send(b"a")?;
    /// producer.send(b"b")?;
    /// let batch = consumer.receive_batch(64)?.message().unwrap();
    /// assert_eq!(batch.map(|message| message.payload()[0]).collect::<Vec<_>>(), b"ab");
    /// # Queue::force_remove("doc-receive-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch(&mut self, count_max: usize) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::Endless)
    }

    /// As [`receive_batch`](Self::receive_batch), but says [`Received::Empty`] at once if there
    /// is no message.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Subscribe};
    /// # let _ = Queue::force_remove("doc-try-receive-batch");
    /// # let queue = Queue::create("doc-try-receive-batch", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// assert!(matches!(consumer.try_receive_batch(8)?, Received::Empty));
    /// # Queue::force_remove("doc-try-receive-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive_batch(&mut self, count_max: usize) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::None)
    }

    /// As [`receive_batch`](Self::receive_batch), but waits so long at most for the first
    /// message, then says [`Received::TimedOut`].
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-receive-batch-timeout");
    /// # let queue = Queue::create("doc-receive-batch-timeout", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// let received = consumer.receive_batch_timeout(8, Duration::from_millis(1))?;
    /// assert!(matches!(received, Received::TimedOut));
    /// # Queue::force_remove("doc-receive-batch-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch_timeout(
        &mut self,
        count_max: usize,
        time: Duration,
    ) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::Lasting(time))
    }

    /// The sequence of the message that comes next, unless it will be missed.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-next-sequence");
    /// let queue = Queue::create("doc-next-sequence", &QueueOptions::new().first_sequence(100))?;
    /// let consumer = queue.subscribe(&Subscribe::new())?;
    /// assert_eq!(consumer.next_sequence(), 100);
    /// # Queue::force_remove("doc-next-sequence")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.reception.next_sequence()
    }

    /// The number of its line in the member table, as [`Queue::info`](crate::Queue::info) shows
    /// it.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-member");
    /// # let queue = Queue::create("doc-member", &QueueOptions::new())?;
    /// let consumer = queue.subscribe(&Subscribe::new())?;
    /// assert_eq!(queue.info()?.consumers[0].member, consumer.member());
    /// # Queue::force_remove("doc-member")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn member(&self) -> u32 {
        self.membership.index().get()
    }

    /// The name of its queue.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-name");
    /// let queue = Queue::create("doc-consumer-name", &QueueOptions::new())?;
    /// assert_eq!(queue.subscribe(&Subscribe::new())?.queue_name(), "doc-consumer-name");
    /// # Queue::force_remove("doc-consumer-name")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.reception.segment().name()
    }
}

/// A reader that the queue does not know of. It maps the segment read-only, so that it can
/// disturb nobody, and the permission to read is all it needs.
///
/// It misses what is overwritten before it gets there, and is told exactly which messages. It
/// cannot announce that it sleeps: with [`Wait::Park`] it looks once a millisecond.
///
/// ```
/// use ringway::{Queue, QueueOptions, Start};
///
/// # let _ = Queue::force_remove("doc-observer");
/// let queue = Queue::create("doc-observer", &QueueOptions::new())?;
/// queue.producer()?.send(b"seen")?;
/// let mut observer = queue.observe(Start::Oldest)?;
/// assert_eq!(observer.receive()?.message().unwrap().payload(), b"seen");
/// assert!(queue.info()?.consumers.is_empty());
/// # Queue::force_remove("doc-observer")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct Observer {
    reception: Reception,
}

impl Observer {
    pub(crate) fn attach(segment: &Arc<Segment>, start: Start, wait: Wait) -> Result<Self, Error> {
        let witness = segment.witness(1)?;
        let mapping = segment.map(Access::Observe)?;
        let ring = mapping.ring();
        let begin = ring.begin(start).map_err(|error| start_error(segment, error))?;
        let reader = Reader::Copied(CopyReader::new(ring, None, begin));
        let segment = Arc::clone(segment);
        let reception = Reception::new(segment, mapping, reader, None, witness, wait);
        Ok(Self { reception })
    }

    /// As [`Consumer::receive`].
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-receive");
    /// # let queue = Queue::create("doc-observer-receive", &QueueOptions::new())?;
    /// queue.producer()?.send(b"seen")?;
    /// let mut observer = queue.observe(Start::Last(1))?;
    /// assert_eq!(observer.receive()?.message().unwrap().sequence(), 0);
    /// # Queue::force_remove("doc-observer-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Endless)
    }

    /// As [`Consumer::try_receive`].
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-observer-try");
    /// # let queue = Queue::create("doc-observer-try", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// assert_eq!(observer.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-observer-try")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::None)
    }

    /// As [`Consumer::receive_timeout`].
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-observer-timeout");
    /// # let queue = Queue::create("doc-observer-timeout", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// assert_eq!(observer.receive_timeout(Duration::from_millis(1))?, Received::TimedOut);
    /// # Queue::force_remove("doc-observer-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Lasting(time))
    }

    /// As [`Consumer::receive_batch`].
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-batch");
    /// # let queue = Queue::create("doc-observer-batch", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// producer.send(b"a")?;
    /// producer.send(b"b")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert_eq!(observer.receive_batch(64)?.message().unwrap().count(), 2);
    /// # Queue::force_remove("doc-observer-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch(&mut self, count_max: usize) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::Endless)
    }

    /// The sequence of the message that comes next, unless it will be missed.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-next");
    /// # let queue = Queue::create("doc-observer-next", &QueueOptions::new())?;
    /// assert_eq!(queue.observe(Start::Newest)?.next_sequence(), 0);
    /// # Queue::force_remove("doc-observer-next")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.reception.next_sequence()
    }
}

fn start_error(segment: &Segment, error: StartError) -> Error {
    match error {
        StartError::Corrupt(corrupt) => segment.corrupt(corrupt),
        StartError::Ahead { asked, next } => {
            Error::SequenceAhead { queue: segment.name().into(), asked, next }
        }
    }
}
