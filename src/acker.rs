//! Settling what a consumer has, from other threads.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::outcome::{Acked, Nacked};
use crate::sharing::DeskPart;

/// Acknowledges and refuses a member's messages by their sequences, from any thread, while the
/// [`Consumer`](crate::Consumer) receives.
///
/// [`Consumer::acker`](crate::Consumer::acker) makes one; clones of it serve as well. The consumer's
/// thread goes on to receive, also when it waits, and hands each message to whoever works on it. A
/// payload is lent until the next receive, so the worker needs a copy of it.
///
/// ```
/// use std::sync::mpsc::channel;
///
/// use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-acker");
/// # let queue = Queue::create("doc-acker", &QueueOptions::new())?;
/// # let mut producer = queue.producer()?;
/// # for _ in 0..100 { producer.send(b"a task")?; }
/// # producer.close()?;
/// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
/// let mut consumer = queue.subscribe(&workers.prefetch(8))?;
/// std::thread::scope(|scope| {
///     let mut pool = Vec::new();
///     for _ in 0..4 {
///         let (tasks, own_tasks) = channel::<(u64, Vec<u8>)>();
///         let acker = consumer.acker()?;
///         scope.spawn(move || {
///             for (sequence, payload) in own_tasks {
///                 assert_eq!(payload, b"a task");
///                 assert_eq!(acker.ack(sequence).unwrap(), Acked::Done);
///             }
///         });
///         pool.push(tasks);
///     }
///     let mut pool = pool.iter().cycle();
///     // With 8 messages out this waits until one of them is settled.
///     while let Some(message) = consumer.next_message(|gone| eprintln!("{gone:?} are gone"))? {
///         let task = (message.sequence(), message.payload().to_vec());
///         pool.next().unwrap().send(task).unwrap();
///     }
///     Ok::<(), ringway::Error>(())
/// })?;
/// # drop(consumer);
/// # Queue::force_remove("doc-acker")?;
/// # Ok::<(), ringway::Error>(())
/// ```
///
/// What comes of it is what comes of the consumer's own methods. A sequence that the consumer does
/// not have now is late: one that was settled before (of two who settle a message at once one is
/// late), that was never received, or whose lease was over and that others have. So is every one
/// once the consumer is dropped: what it had then is for others. In a child that was forked since
/// all of it is [`Error::Forked`]. A queue that is removed makes no difference. The end of the stream
/// ([`Received::Closed`](crate::Received::Closed)) is told while others have messages: what they
/// refuse from then on comes by another receive.
///
/// While there is an acker, a consumer that has as many messages as it may have
/// ([`prefetch`](crate::Subscribe::prefetch)) is not told [`Error::PrefetchFull`]:
/// [`receive`](crate::Consumer::receive) waits until one of them is settled, and the other ways to
/// receive have nothing until then. So an acker that the consumer's own thread keeps for itself may
/// make it wait for ever. When the last acker is gone, it is told.
#[derive(Clone)]
pub struct Acker {
    desk: DeskPart,
}

impl Acker {
    pub(crate) fn new(desk: DeskPart) -> Self {
        Self { desk }
    }

    /// Acknowledges a message, as [`Message::ack`](crate::Message::ack).
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-acker-ack");
    /// # let queue = Queue::create("doc-acker-ack", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers)?;
    /// let acker = consumer.acker()?;
    /// queue.producer()?.send(b"a task")?;
    /// let message = consumer.receive()?.message().unwrap();
    /// let sequence = message.sequence();
    /// let worker = std::thread::spawn(move || acker.ack(sequence));
    /// assert_eq!(worker.join().unwrap()?, Acked::Done);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-acker-ack")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn ack(&self, sequence: u64) -> Result<Acked, Error> {
        self.desk.settler().ack(sequence)
    }

    /// Acknowledges every message that the consumer has at this moment, up to this sequence and with
    /// it, as [`Consumer::ack_through`](crate::Consumer::ack_through).
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-acker-through");
    /// # let queue = Queue::create("doc-acker-through", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers)?;
    /// let acker = consumer.acker()?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"a task")?;
    /// producer.send(b"another")?;
    /// consumer.receive()?.message().unwrap();
    /// let last = consumer.receive()?.message().unwrap().sequence();
    /// assert_eq!(acker.ack_through(last)?, Acked::Done);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-acker-through")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn ack_through(&self, sequence: u64) -> Result<Acked, Error> {
        self.desk.settler().ack_through(sequence)
    }

    /// Refuses a message, as [`Message::nack`](crate::Message::nack).
    ///
    /// # Errors
    /// As [`Message::nack`](crate::Message::nack).
    ///
    /// ```
    /// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-acker-nack");
    /// # let queue = Queue::create("doc-acker-nack", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers)?;
    /// let acker = consumer.acker()?;
    /// queue.producer()?.send(b"a task")?;
    /// let sequence = consumer.receive()?.message().unwrap().sequence();
    /// let worker = std::thread::spawn(move || acker.nack(sequence));
    /// assert_eq!(consumer.receive()?.message().unwrap().delivery(), 2);
    /// assert!(matches!(worker.join().unwrap()?, Nacked::Retry(_)));
    /// # drop(consumer);
    /// # Queue::force_remove("doc-acker-nack")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn nack(&self, sequence: u64) -> Result<Nacked, Error> {
        self.desk.settler().nack(sequence, None)
    }

    /// Refuses a message for a time, as [`Message::nack_after`](crate::Message::nack_after).
    ///
    /// # Errors
    /// As [`Message::nack`](crate::Message::nack).
    ///
    /// ```
    /// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-acker-nack-after");
    /// # let queue = Queue::create("doc-acker-nack-after", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers)?;
    /// let acker = consumer.acker()?;
    /// queue.producer()?.send(b"a task")?;
    /// let sequence = consumer.receive()?.message().unwrap().sequence();
    /// let pause = Duration::from_secs(60);
    /// assert_eq!(acker.nack_after(sequence, pause)?, Nacked::Retry(pause));
    /// # drop(consumer);
    /// # Queue::force_remove("doc-acker-nack-after")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn nack_after(&self, sequence: u64, pause: Duration) -> Result<Nacked, Error> {
        self.desk.settler().nack(sequence, Some(pause))
    }

    /// Gives a message up, as [`Message::reject`](crate::Message::reject). While its dead letter is
    /// written, the consumer and other ackers go on; only the consumer's drop waits for that.
    ///
    /// # Errors
    /// As [`Message::reject`](crate::Message::reject).
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-acker-reject");
    /// # let directory = std::env::temp_dir().join("ringway-doc-acker-reject");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let queue = Queue::create("doc-acker-reject", &QueueOptions::new().history(&directory))?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers)?;
    /// let acker = consumer.acker()?;
    /// queue.producer()?.send(b"no task at all")?;
    /// let sequence = consumer.receive()?.message().unwrap().sequence();
    /// assert_eq!(acker.reject(sequence)?, Acked::Done);
    /// assert_eq!(queue.dead_letters("workers")?.iter().count(), 1);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-acker-reject")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn reject(&self, sequence: u64) -> Result<Acked, Error> {
        self.desk.settler().reject(sequence)
    }

    /// Says that a message is still being worked on, as [`Message::extend`](crate::Message::extend).
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-acker-extend");
    /// # let queue = Queue::create("doc-acker-extend", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers.ack_within(Duration::from_secs(30)))?;
    /// let acker = consumer.acker()?;
    /// queue.producer()?.send(b"a long task")?;
    /// let sequence = consumer.receive()?.message().unwrap().sequence();
    /// assert_eq!(acker.extend(sequence)?, Acked::Done);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-acker-extend")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn extend(&self, sequence: u64) -> Result<Acked, Error> {
        self.desk.settler().extend(sequence)
    }
}

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acker")
            .field("queue", &self.desk.segment().name())
            .field("member", &self.desk.member())
            .finish_non_exhaustive()
    }
}
