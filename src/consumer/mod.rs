//! The receiving ends: consumers, which the queue knows, and observers, which it does not.

mod observer;

pub use self::observer::Observer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::acker::Acker;
use crate::calls::call_producer;
use crate::error::Error;
use crate::history::{Past, resolve};
use crate::interrupter::{Interrupter, Interruption};
use crate::membership::Membership;
use crate::message::{Batch, Message};
use crate::outcome::{Acked, Nacked, Received};
use crate::reception::{AnyReader, Reception};
use crate::registry::Registry;
use crate::ring::{CopyReader, HeldReader, Lag, MemberIndex, Place, Ring, Start};
use crate::segment::{Access, Segment};
use crate::sharing::SharedReader;
use crate::subscribe::Subscribe;
use crate::wait::{Patience, Wait};

/// A handle that receives every message of a queue, from where it began; or, as a member of a
/// [named subscription](Subscribe::named), those that the other members do not get.
///
/// One thread at a time uses it; it may move between threads. When it is dropped, or its
/// process dies in whatever way, its place ends and it stops holding the producer. A named
/// subscription's place stays, and what this member had and did not acknowledge goes to another; with
/// [`AckMode::Auto`](crate::AckMode::Auto) that is what it received last, unless it was
/// [closed](Self::close).
///
/// What a race may change: a message, once lent, stays as it is until the next call. Nothing
/// else that a call says of the queue is sure to be so still: an empty queue may have a message
/// by then.
///
/// ```
/// use ringway::{Queue, QueueOptions, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-consumer");
/// let queue = Queue::create("doc-consumer", &QueueOptions::new())?;
/// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// let mut producer = queue.producer()?;
/// producer.send(b"first")?;
/// producer.close()?;
/// while let Some(message) = consumer.next_message(|gone| eprintln!("{gone:?} are gone"))? {
///     assert_eq!(message.payload(), b"first");
/// }
/// # Queue::force_remove("doc-consumer")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub struct Consumer {
    reception: Reception,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Before the membership is given up: the counts are in its line, and ackers settle what is its own.
        self.reception.end_work();
    }
}

impl Consumer {
    pub(crate) fn join(segment: &Arc<Segment>, options: &Subscribe) -> Result<Self, Error> {
        options.check(segment)?;
        options.check_letters(segment, options.terms.deliveries_max)?;
        let interruption = Interruption::new(segment)?;
        let access = if options.write_protected { Access::Control } else { Access::Consume };
        let mapping = Arc::new(segment.map_prefaulted(access)?);
        let membership = Membership::find(segment, mapping.ring())?;
        let (ring, index) = (membership.ring(), membership.index());
        let start = resolve(segment, ring, options.start)?;
        let explain = |error| segment.start_error(error);
        let mut past = None;
        let reader = if let Some(name) = &options.name {
            let registry = Registry::lock(segment, ring)?;
            let found = registry.find_or_make(name, start, options)?;
            // The limit may be what others asked for.
            options.check_letters(segment, found.terms.deliveries_max)?;
            ring.join_named(index, found.subscription.index(), found.lag);
            // Nobody moves or removes the subscription from here on.
            drop(registry);
            AnyReader::Shared(Box::new(SharedReader::new(
                segment, &mapping, index, found, options,
            )?))
        } else {
            let (lag, only) = (options.lag.unwrap_or_default(), options.durable_only);
            let join = |place: Place| ring.join(index, lag, place.position);
            let mut begin = match lag {
                Lag::Hold | Lag::Spill => ring.begin_holding(start, join),
                Lag::Skip => ring.begin(start).inspect(|begin| {
                    join(begin.place);
                }),
            }
            .map_err(explain)?;
            // Only then: what has left the ring by now is in the files.
            past = look_back(segment, ring, start, (lag == Lag::Hold).then_some(index))?;
            let in_files = past.as_ref().is_some_and(Past::is_entered);
            past = past.filter(|_| in_files || lag == Lag::Spill);
            past = past.map(|past| past.durable_only(only));
            if in_files {
                begin.missed_from = None;
            }
            if in_files && lag == Lag::Hold {
                // Holds nobody before it is in the ring.
                ring.join(index, Lag::Skip, begin.place.position);
            }
            let copied = |begin| CopyReader::new(ring.clone(), Some(ring.member(index)), begin);
            match lag {
                Lag::Hold => {
                    AnyReader::Held(HeldReader::new(ring.clone(), index, begin).durable_only(only))
                }
                // In the files it needs them from where it begins there, as soon as it has them.
                Lag::Spill => AnyReader::Copied(copied(begin).spilling().durable_only(only)),
                Lag::Skip => AnyReader::Copied(copied(begin).durable_only(only)),
            }
        };
        // The line may have been a dead member's that held the producer, or we did on the way.
        call_producer(ring);
        let segment = Arc::clone(segment);
        let place = Some(membership);
        let reception = Reception::new(segment, mapping, reader, place, interruption, options.wait);
        let reception = reception.with_past(past).past_the_end(options.past_the_end);
        Ok(Self { reception })
    }

    /// How to wait from now on, whatever it was [made with](Subscribe::wait). In a
    /// [`ConsumerSet`](crate::ConsumerSet) the set says that.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe, Wait};
    /// # let _ = Queue::force_remove("doc-consumer-set-wait");
    /// # let queue = Queue::create("doc-consumer-set-wait", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// consumer.set_wait(Wait::Park);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-consumer-set-wait")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn set_wait(&mut self, wait: Wait) {
        self.reception.set_wait(wait);
    }

    /// Waits for the next message, and lends it. Never [`Received::Empty`] or
    /// [`Received::TimedOut`].
    ///
    /// The message before is given back by this: a [`Hold`](Lag::Hold) consumer keeps the
    /// producer from overwriting it until then. With [`AckMode::Auto`](crate::AckMode::Auto) a
    /// member acknowledges it so; with `Manual` the message stays the member's, and is kept from
    /// being overwritten, until it is acknowledged or refused.
    ///
    /// A member is told [`Received::Closed`] when the stream has ended and no member has anything
    /// left that might yet come to it. The end is told again by each receive, at once: it is
    /// [`Subscribe::past_the_end`] that has them wait for a producer that goes on.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Forked`], and [`Error::Stale`] once nothing is left to
    /// receive. To a member also [`Error::PrefetchFull`], if it has as many messages as it may
    /// have and has not acknowledged any, unless it has an [acker](Self::acker), for which it waits,
    /// and [`Error::File`], if a message of the dead is due to
    /// become a dead letter and that cannot be written: the next receive goes on, and the letter is
    /// tried again in a second. To whoever reads what has left the ring also [`Error::File`],
    /// [`Error::LogDamaged`] and [`Error::ForeignHistory`]. [`Error::Interrupted`] if an
    /// [interrupter](Self::interrupter) ended the wait.
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
    // Wherever somebody receives, and so the two below: as a call it takes more than twice as long
    // (perf-notes.md, "Receiving, in line and called").
    #[inline(always)]
    pub fn receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Endless)
    }

    /// As [`receive`](Self::receive), for who wants messages one after the other until the stream ends:
    /// `missed` is given the sequences of those that are gone, and the wait goes on; `None` is the end of
    /// the stream.
    ///
    /// A loop over `receive` that ends with whatever is no message ends with [`Received::Missed`] too,
    /// and leaves the rest of the stream unread. That is not for consumers that skip alone: whoever
    /// begins at a sequence that is gone is told so first, and so is a member of a named subscription that
    /// skips, or whose history was pruned.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-next-message");
    /// # let queue = Queue::create("doc-next-message", &QueueOptions::new().capacity(64 << 10))?;
    /// let mut producer = queue.producer()?;
    /// for number in 0..10_000_u32 {
    ///     producer.send(&number.to_le_bytes())?; // more than the ring has room for
    /// }
    /// producer.close()?;
    /// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Sequence(0)))?;
    /// let (mut missed, mut received) = (0, 0);
    /// while let Some(message) = consumer.next_message(|gone| missed += gone.end - gone.start)? {
    ///     assert_eq!(message.payload().len(), 4);
    ///     received += 1;
    /// }
    /// assert!(missed > 0 && missed + received == 10_000);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-next-message")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline(always)]
    pub fn next_message(
        &mut self,
        missed: impl FnMut(Range<u64>),
    ) -> Result<Option<Message<'_>>, Error> {
        self.reception.next_message(missed)
    }

    /// Lends the next message if it is there, else says [`Received::Empty`] at once. A
    /// [`Readiness`](crate::Readiness) tells when to try again. Who reads what has left the ring may wait
    /// for the disk all the same, and so may a member that gives a message of the dead up as a dead
    /// letter.
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
    #[inline(always)]
    pub fn try_receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::None)
    }

    /// Waits up to `time` for the next message, then says [`Received::TimedOut`].
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
    #[inline(always)]
    pub fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Lasting(time))
    }

    /// Waits for a message, and lends it with up to `count_max - 1` more that are there when it
    /// comes to them: always one, also with a `count_max` of 0. The producer is kept from overwriting any
    /// of them until the next call.
    ///
    /// A member's batch is of what it has taken at one time: 32 messages at most, and one alone if
    /// its payloads are copied ([`Lag::Skip`], [`Lag::Spill`], [`ack_within`](Subscribe::ack_within)).
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

    /// As [`receive_batch`](Self::receive_batch), but waits up to `time` for the first
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

    /// Acknowledges a message by its sequence, also after others were received. As
    /// [`Message::ack`]. Other threads do so by an [acker](Self::acker), while this one receives.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-ack");
    /// # let queue = Queue::create("doc-consumer-ack", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"a task")?;
    /// producer.send(b"another")?;
    /// let first = worker.receive()?.message().unwrap().sequence();
    /// let second = worker.receive()?.message().unwrap().sequence();
    /// assert_eq!((worker.ack(second)?, worker.ack(first)?), (Acked::Done, Acked::Done));
    /// # drop(worker);
    /// # Queue::force_remove("doc-consumer-ack")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn ack(&self, sequence: u64) -> Result<Acked, Error> {
        self.reception.work()?.map_or(Ok(Acked::Done), |work| work.settler().ack(sequence))
    }

    /// Acknowledges every message that this consumer has, up to this sequence and with it.
    /// [`Acked::Late`] if there was none, or if any of them came too late: others have those by now.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-ack-through");
    /// # let queue = Queue::create("doc-ack-through", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"a task")?;
    /// producer.send(b"another")?;
    /// worker.receive()?.message().unwrap();
    /// let last = worker.receive()?.message().unwrap().sequence();
    /// assert_eq!(worker.ack_through(last)?, Acked::Done);
    /// # drop(worker);
    /// # Queue::force_remove("doc-ack-through")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn ack_through(&self, sequence: u64) -> Result<Acked, Error> {
        self.reception.work()?.map_or(Ok(Acked::Done), |work| work.settler().ack_through(sequence))
    }

    /// Refuses a message by its sequence, as [`Message::nack`].
    ///
    /// # Errors
    /// As [`Message::nack`].
    ///
    /// ```
    /// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-nack");
    /// # let queue = Queue::create("doc-consumer-nack", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// let sequence = worker.receive()?.message().unwrap().sequence();
    /// assert!(matches!(worker.nack(sequence)?, Nacked::Retry(_)));
    /// # drop(worker);
    /// # Queue::force_remove("doc-consumer-nack")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn nack(&self, sequence: u64) -> Result<Nacked, Error> {
        self.reception.work()?.map_or(Ok(Nacked::Late), |work| work.settler().nack(sequence, None))
    }

    /// Refuses a message by its sequence, for a time, as [`Message::nack_after`].
    ///
    /// # Errors
    /// As [`Message::nack`].
    ///
    /// ```
    /// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-consumer-nack-after");
    /// # let queue = Queue::create("doc-consumer-nack-after", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// let sequence = worker.receive()?.message().unwrap().sequence();
    /// let pause = Duration::from_secs(60);
    /// assert_eq!(worker.nack_after(sequence, pause)?, Nacked::Retry(pause));
    /// # drop(worker);
    /// # Queue::force_remove("doc-consumer-nack-after")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn nack_after(&self, sequence: u64, pause: Duration) -> Result<Nacked, Error> {
        self.reception
            .work()?
            .map_or(Ok(Nacked::Late), |work| work.settler().nack(sequence, Some(pause)))
    }

    /// Gives a message up by its sequence, as [`Message::reject`].
    ///
    /// # Errors
    /// As [`Message::reject`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-reject");
    /// # let directory = std::env::temp_dir().join("ringway-doc-consumer-reject");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let queue = Queue::create("doc-consumer-reject", &QueueOptions::new().history(&directory))?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"no task at all")?;
    /// let sequence = worker.receive()?.message().unwrap().sequence();
    /// assert_eq!(worker.reject(sequence)?, Acked::Done);
    /// assert_eq!(queue.dead_letters("workers")?.iter().count(), 1);
    /// # drop(worker);
    /// # Queue::force_remove("doc-consumer-reject")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn reject(&self, sequence: u64) -> Result<Acked, Error> {
        self.reception.work()?.map_or(Ok(Acked::Late), |work| work.settler().reject(sequence))
    }

    /// Says that a message is still being worked on, as [`Message::extend`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-consumer-extend");
    /// # let queue = Queue::create("doc-consumer-extend", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers.ack_within(Duration::from_secs(30)))?;
    /// queue.producer()?.send(b"a long task")?;
    /// let sequence = worker.receive()?.message().unwrap().sequence();
    /// assert_eq!(worker.extend(sequence)?, Acked::Done);
    /// # drop(worker);
    /// # Queue::force_remove("doc-consumer-extend")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn extend(&self, sequence: u64) -> Result<Acked, Error> {
        self.reception.work()?.map_or(Ok(Acked::Done), |work| work.settler().extend(sequence))
    }

    /// Makes an acker, which settles this member's messages from other threads while this one
    /// receives.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if it is no member of a named subscription with
    /// [`AckMode::Manual`](crate::AckMode::Manual); [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Received, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-acker");
    /// # let queue = Queue::create("doc-consumer-acker", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut consumer = queue.subscribe(&workers)?;
    /// let acker = consumer.acker()?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"a task")?;
    /// producer.close()?;
    /// let sequence = consumer.receive()?.message().unwrap().sequence();
    /// let worker = std::thread::spawn(move || acker.ack(sequence));
    /// assert_eq!(consumer.receive()?, Received::Closed);
    /// assert_eq!(worker.join().unwrap()?, Acked::Done);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-consumer-acker")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn acker(&self) -> Result<Acker, Error> {
        let no_member = || {
            let queue = self.queue_name().into();
            let what = "only a member of a named subscription acknowledges, and has an acker";
            Error::InvalidOption { queue, what: what.into() }
        };
        let work = self.reception.work()?.ok_or_else(no_member)?;
        work.share_desk().map(Acker::new)
    }

    /// Ends the consumer in order: the message or batch that was received last counts as dealt with.
    /// A member with [`AckMode::Auto`](crate::AckMode::Auto) acknowledges it; one that is just dropped
    /// does not, since it may be dropped by a panic in the middle of the work. With `Manual` it is as
    /// if dropped: what is not acknowledged is for others.
    ///
    /// [`ConsumerSet::close`](crate::ConsumerSet::close) does that for all of a set.
    ///
    /// # Errors
    /// [`Error::Forked`]. In a queue with a journal also [`Error::File`] if it cannot be written down
    /// how far the subscription has come, and [`Error::Os`] if somebody else changes the subscriptions for
    /// a second: its place in the queue is right all the same, but more may
    /// come again when the queue is made anew. The consumer has ended in either case.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-close");
    /// # let queue = Queue::create("doc-consumer-close", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// let task = worker.receive()?.message().unwrap();
    /// // ... the task is done, and it is time to end ...
    /// worker.close()?;
    /// let mut next = queue.subscribe(&workers)?;
    /// assert_eq!(next.try_receive()?, Received::Empty);
    /// # drop(next);
    /// # Queue::force_remove("doc-consumer-close")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn close(mut self) -> Result<(), Error> {
        self.reception.close()
    }

    /// The sequence of the message that comes next, unless it will be missed; of a member, unless
    /// another member gets it or one has to be delivered again.
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

    /// Whether its queue has a producer at this moment, as
    /// [`Queue::producer_is_alive`](crate::Queue::producer_is_alive).
    ///
    /// A producer that dies, or is dropped, does not end the stream: its successor goes on. A consumer
    /// that is to end then asks this where nothing came for a while, and looks once more after that,
    /// for what the producer sent before it died.
    ///
    /// ```
    /// use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-consumer-producer");
    /// # let queue = Queue::create("doc-consumer-producer", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// queue.producer()?.send(b"its last")?; // and it is dropped, without `close`
    /// let mut last_look = false;
    /// let mut payloads = Vec::new();
    /// loop {
    ///     match consumer.receive_timeout(Duration::from_millis(10))? {
    ///         Received::Message(message) => payloads.push(message.payload().to_vec()),
    ///         Received::Missed { .. } => {}
    ///         Received::Closed => break,
    ///         Received::Empty | Received::TimedOut if last_look => break,
    ///         Received::Empty | Received::TimedOut => last_look = !consumer.producer_is_alive(),
    ///     }
    /// }
    /// assert_eq!(payloads, [b"its last"]);
    /// # drop(consumer);
    /// # Queue::force_remove("doc-consumer-producer")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn producer_is_alive(&self) -> bool {
        self.reception.segment().producer_lives()
    }

    pub(crate) fn reception(&self) -> &Reception {
        &self.reception
    }

    pub(crate) fn reception_mut(&mut self) -> &mut Reception {
        &mut self.reception
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
        // A consumer has one.
        self.reception.member().unwrap_or_default()
    }

    /// The named subscription that it is a member of, if it is one.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-subscription");
    /// # let queue = Queue::create("doc-consumer-subscription", &QueueOptions::new())?;
    /// let worker = queue.subscribe(&Subscribe::new().named("workers"))?;
    /// assert_eq!(worker.subscription(), Some("workers"));
    /// assert_eq!(queue.subscribe(&Subscribe::new())?.subscription(), None);
    /// # drop(worker);
    /// # Queue::force_remove("doc-consumer-subscription")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn subscription(&self) -> Option<&str> {
        self.reception.subscription()
    }

    /// One that ends a receive from another thread, or from a signal handler.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-consumer-interrupter");
    /// # let queue = Queue::create("doc-consumer-interrupter", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// let interrupter = consumer.interrupter();
    /// let other = std::thread::spawn(move || interrupter.interrupt());
    /// assert!(matches!(consumer.receive(), Err(Error::Interrupted { .. })));
    /// # other.join().unwrap();
    /// # Queue::force_remove("doc-consumer-interrupter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.reception.interrupter()
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

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("queue", &self.queue_name())
            .field("member", &self.member())
            .field("subscription", &self.subscription())
            .field("next_sequence", &self.next_sequence())
            .finish_non_exhaustive()
    }
}

/// The way back for somebody who may have to begin in the files, entered if that is so.
fn look_back(
    segment: &Segment,
    ring: &Ring,
    start: Start,
    holder: Option<MemberIndex>,
) -> Result<Option<Past>, Error> {
    let mut past = Past::of(segment, holder);
    if let Some(past) = past.as_mut().filter(|_| segment.identity().keeping.journal.is_some()) {
        past.begin(start, ring)?;
    }
    Ok(past)
}
