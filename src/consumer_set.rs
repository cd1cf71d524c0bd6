//! Several consumers and observers, of one queue or of many, received from as if they were one.

use std::time::Duration;

use crate::consumer::{Consumer, Observer};
use crate::error::Error;
use crate::interrupter::Interrupter;
use crate::message::{Batch, Message};
use crate::outcome::Received;
use crate::reception::{Announced, Reception, nap};
use crate::sleeper::Order;
use crate::sys::process;
use crate::wait::{self, Next, Pace, Patience, SLEEP_MAX, SLEEP_UNSURE, Wait};

/// Consumers, and observers, that one thread receives from in turn, and that it waits for together:
/// for whichever queue has a message first.
///
/// Each keeps the number that [`add`](Self::add) gave it, and all else that it is: its lag policy,
/// its subscription, its place. Only how to wait is for the set to say ([`set_wait`](Self::set_wait)).
///
/// They have their turns: while several have something, each of them gives one message after the
/// other. Across consumers there is no order; from each the messages come in its own.
///
/// ```
/// use ringway::{ConsumerSet, Queue, QueueOptions, Received, SetReceived, Start, Subscribe};
///
/// # for name in ["doc-set-orders", "doc-set-prices"] { let _ = Queue::force_remove(name); }
/// let orders = Queue::create("doc-set-orders", &QueueOptions::new())?;
/// let prices = Queue::create("doc-set-prices", &QueueOptions::new())?;
/// for (queue, payload) in [(&orders, b"order"), (&prices, b"price")] {
///     let mut producer = queue.producer()?;
///     producer.send(payload)?;
///     producer.close()?;
/// }
///
/// let from_the_start = Subscribe::new().from(Start::Oldest);
/// let mut set = ConsumerSet::new();
/// let of_orders = set.add(orders.subscribe(&from_the_start)?);
/// let of_prices = set.add(prices.subscribe(&from_the_start)?);
/// // It ends when all queues are closed.
/// while let SetReceived::One(number, received) = set.receive() {
///     if let Received::Message(message) = received? {
///         let expected = if number == of_orders { b"order" } else { b"price" };
///         assert_eq!(message.payload(), expected);
///     }
/// }
/// # drop(set);
/// # for name in ["doc-set-orders", "doc-set-prices"] { Queue::force_remove(name)?; }
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ConsumerSet {
    /// In the order of their numbers.
    entries: Vec<Entry>,
    /// The number of the one that is added next.
    next_number: usize,
    /// The place of the one whose turn is next.
    next: usize,
    wait: Wait,
}

/// What a receive from a [`ConsumerSet`] came to.
///
/// ```
/// use ringway::{ConsumerSet, Queue, QueueOptions, Received, SetReceived, Subscribe};
///
/// # let _ = Queue::force_remove("doc-set-received");
/// let queue = Queue::create("doc-set-received", &QueueOptions::new())?;
/// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
/// assert!(matches!(set.try_receive(), SetReceived::Empty));
/// queue.producer()?.close()?;
/// assert!(matches!(set.try_receive(), SetReceived::One(0, Ok(Received::Closed))));
/// assert!(matches!(set.try_receive(), SetReceived::Ended));
/// # drop(set);
/// # Queue::force_remove("doc-set-received")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "what it lends is received, and what it is else, an error say, goes unseen"]
pub enum SetReceived<M> {
    /// What the one of this number received: a message, or a batch of its own, or that it missed some, or,
    /// once each, that its queue is closed; or its error.
    One(usize, Result<Received<M>, Error>),
    /// Nothing is there now. Only [`try_receive`](ConsumerSet::try_receive) says so.
    Empty,
    /// Nothing came within the time given.
    TimedOut,
    /// Nobody's queue is open, or nobody is there, so that there is nothing to wait for: every receive says
    /// so at once, and whoever goes on has to pause. Should a later producer go on, so do the messages.
    Ended,
}

impl<M> SetReceived<M> {
    /// Who received something, and what, if anybody did.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-one");
    /// # let queue = Queue::create("doc-set-one", &QueueOptions::new())?;
    /// # queue.producer()?.send(b"hello")?;
    /// let mut set = ConsumerSet::from_iter([queue.observe(Start::Oldest)?]);
    /// let (number, received) = set.try_receive().one().unwrap();
    /// assert_eq!((number, received?.message().unwrap().payload()), (0, &b"hello"[..]));
    /// assert!(set.try_receive().one().is_none());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-one")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use = "what it is else, an error say, goes unseen"]
    pub fn one(self) -> Option<(usize, Result<Received<M>, Error>)> {
        match self {
            Self::One(number, received) => Some((number, received)),
            Self::Empty | Self::TimedOut | Self::Ended => None,
        }
    }
}

/// Who receives in a [`ConsumerSet`]: a consumer, or an observer.
///
/// ```
/// use ringway::{Queue, QueueOptions, Reader, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-reader");
/// let queue = Queue::create("doc-reader", &QueueOptions::new())?;
/// let is_counted = |reader: &Reader| matches!(reader, Reader::Consumer(_));
/// assert!(is_counted(&queue.subscribe(&Subscribe::new())?.into()));
/// assert!(!is_counted(&queue.observe(Start::Newest)?.into()));
/// # Queue::force_remove("doc-reader")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub enum Reader {
    /// One that the queue counts.
    Consumer(Consumer),
    /// One that it does not know of.
    Observer(Observer),
}

impl Reader {
    /// The consumer, if it is one.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Reader, Start};
    /// # let _ = Queue::force_remove("doc-reader-consumer");
    /// # let queue = Queue::create("doc-reader-consumer", &QueueOptions::new())?;
    /// assert!(Reader::from(queue.observe(Start::Newest)?).consumer().is_none());
    /// # Queue::force_remove("doc-reader-consumer")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn consumer(&self) -> Option<&Consumer> {
        match self {
            Self::Consumer(consumer) => Some(consumer),
            Self::Observer(_) => None,
        }
    }

    /// The name of its queue.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Reader, Start};
    /// # let _ = Queue::force_remove("doc-reader-name");
    /// # let queue = Queue::create("doc-reader-name", &QueueOptions::new())?;
    /// assert_eq!(Reader::from(queue.observe(Start::Newest)?).queue_name(), "doc-reader-name");
    /// # Queue::force_remove("doc-reader-name")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.reception().segment().name()
    }

    /// As [`Consumer::next_sequence`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Reader, Start};
    /// # let _ = Queue::force_remove("doc-reader-next");
    /// # let queue = Queue::create("doc-reader-next", &QueueOptions::new())?;
    /// assert_eq!(Reader::from(queue.observe(Start::Newest)?).next_sequence(), 0);
    /// # Queue::force_remove("doc-reader-next")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.reception().next_sequence()
    }

    /// As [`Consumer::producer_is_alive`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Reader, Start};
    /// # let _ = Queue::force_remove("doc-reader-producer");
    /// # let queue = Queue::create("doc-reader-producer", &QueueOptions::new())?;
    /// assert!(!Reader::from(queue.observe(Start::Newest)?).producer_is_alive());
    /// # Queue::force_remove("doc-reader-producer")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn producer_is_alive(&self) -> bool {
        self.reception().segment().producer_lives()
    }

    /// As [`Consumer::interrupter`]: it ends a wait of the set.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Error, Queue, QueueOptions, SetReceived, Start};
    /// # let _ = Queue::force_remove("doc-reader-interrupter");
    /// # let queue = Queue::create("doc-reader-interrupter", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.observe(Start::Newest)?]);
    /// set.get(0).unwrap().interrupter().interrupt();
    /// assert!(matches!(set.receive(), SetReceived::One(0, Err(Error::Interrupted { .. }))));
    /// # drop(set);
    /// # Queue::force_remove("doc-reader-interrupter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.reception().interrupter()
    }

    /// Either is nothing but a reception, so that nobody has to look which it is on the way there.
    #[inline(always)]
    fn reception(&self) -> &Reception {
        match self {
            Self::Consumer(consumer) => consumer.reception(),
            Self::Observer(observer) => observer.reception(),
        }
    }

    #[inline(always)]
    fn reception_mut(&mut self) -> &mut Reception {
        match self {
            Self::Consumer(consumer) => consumer.reception_mut(),
            Self::Observer(observer) => observer.reception_mut(),
        }
    }
}

impl From<Consumer> for Reader {
    fn from(consumer: Consumer) -> Self {
        Self::Consumer(consumer)
    }
}

impl From<Observer> for Reader {
    fn from(observer: Observer) -> Self {
        Self::Observer(observer)
    }
}

/// What somebody came up with, and who that was.
type Found<'a> = (usize, Result<Received<Message<'a>>, Error>);

#[derive(Debug)]
struct Entry {
    number: usize,
    reader: Reader,
    /// Where its queue was closed when it was told so, if nothing has come since.
    ended_at: Option<u64>,
    /// Whether it has as many messages as it may have, and has to acknowledge some first.
    is_full: bool,
    /// How many turns may pass without a thorough look for what the short way does not find.
    turns_off: u32,
    /// How it announced the last sleep that was over before anybody called, or that another thread
    /// was sent to.
    uncalled: Option<Announced>,
}

/// So many turns are off for one that was looked at thoroughly and had nothing, as long as others have
/// something.
const TURNS_OFF: u32 = 16;

impl ConsumerSet {
    /// One without readers, that waits by [`Wait::Backoff`].
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert!(ConsumerSet::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a consumer or an observer in, and gives it a number that no other one of this set had: 0
    /// and so on.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-add");
    /// let queue = Queue::create("doc-set-add", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::new();
    /// assert_eq!(set.add(queue.subscribe(&Subscribe::new())?), 0);
    /// assert_eq!(set.add(queue.observe(Start::Newest)?), 1);
    /// # drop(set);
    /// # Queue::force_remove("doc-set-add")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn add(&mut self, reader: impl Into<Reader>) -> usize {
        let number = self.next_number;
        self.next_number += 1;
        // Behind the last one it is the first one's turn, and not that of who is new.
        self.next = self.in_turn().next().unwrap_or(0);
        self.entries.push(Entry::new(number, reader.into()));
        number
    }

    /// Takes the one of this number out, if it is there.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-remove");
    /// # let queue = Queue::create("doc-set-remove", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::new();
    /// let number = set.add(queue.subscribe(&Subscribe::new())?);
    /// let reader = set.remove(number).unwrap();
    /// assert_eq!(reader.queue_name(), "doc-set-remove");
    /// assert!(set.is_empty() && set.remove(number).is_none());
    /// # drop(reader);
    /// # Queue::force_remove("doc-set-remove")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove(&mut self, number: usize) -> Option<Reader> {
        let place = self.place_of(number)?;
        // It stays the turn of whoever had it next.
        self.next -= usize::from(place < self.next);
        Some(self.entries.remove(place).reader)
    }

    /// [Closes](Consumer::close) all its consumers: what each received last counts as dealt with.
    ///
    /// # Errors
    /// The first one's of [`Consumer::close`]; the others are closed all the same.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Received, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-close");
    /// # let queue = Queue::create("doc-set-close", &QueueOptions::new())?;
    /// # queue.producer()?.send(b"a task")?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&workers)?]);
    /// let (_, received) = set.receive().one().unwrap();
    /// assert!(received?.message().is_some());
    /// set.close()?;
    /// assert_eq!(queue.subscribe(&workers)?.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-set-close")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn close(self) -> Result<(), Error> {
        let closed = self.entries.into_iter().map(|entry| match entry.reader {
            Reader::Consumer(consumer) => consumer.close(),
            Reader::Observer(_) => Ok(()),
        });
        closed.fold(Ok(()), Result::and)
    }

    /// The consumer of this number, to acknowledge messages by their sequence, for example, or to
    /// make an [acker](Consumer::acker) for other threads.
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-consumer");
    /// # let queue = Queue::create("doc-set-consumer", &QueueOptions::new())?;
    /// # queue.producer()?.send(b"a task")?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&workers)?]);
    /// let (number, received) = set.receive().one().unwrap();
    /// let sequence = received?.message().unwrap().sequence();
    /// assert_eq!(set.consumer(number).unwrap().ack(sequence)?, Acked::Done);
    /// # drop(set);
    /// # Queue::force_remove("doc-set-consumer")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn consumer(&self, number: usize) -> Option<&Consumer> {
        self.get(number)?.consumer()
    }

    /// The one of this number, consumer or observer.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-set-get");
    /// # let queue = Queue::create("doc-set-get", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::new();
    /// let number = set.add(queue.observe(Start::Newest)?);
    /// assert_eq!(set.get(number).unwrap().next_sequence(), 0);
    /// assert!(set.consumer(number).is_none());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-get")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Reader> {
        Some(&self.entries[self.place_of(number)?].reader)
    }

    /// All with their numbers.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-iter");
    /// # let queue = Queue::create("doc-set-iter", &QueueOptions::new())?;
    /// # let set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// for (number, reader) in set.iter() {
    ///     println!("{number}: {}, from {} on", reader.queue_name(), reader.next_sequence());
    /// }
    /// # drop(set);
    /// # Queue::force_remove("doc-set-iter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Reader)> {
        self.entries.iter().map(|entry| (entry.number, &entry.reader))
    }

    /// How many consumers and observers it has.
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert_eq!(ConsumerSet::new().len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert!(ConsumerSet::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nobody's queue is open, as far as they were told.
    fn has_ended(&self) -> bool {
        self.entries.iter().all(|entry| entry.ended_at.is_some())
    }

    fn place_of(&self, number: usize) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    /// How to wait, whatever its readers were made with. With [`Wait::Park`] it sleeps on all
    /// queues together (`futex_waitv`, Linux 5.16; where that is missing, with more than 128
    /// consumers, and beside an observer, which nobody calls, it looks once a millisecond).
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Wait};
    /// let mut set = ConsumerSet::new();
    /// set.set_wait(Wait::Park);
    /// ```
    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Waits for the next thing that anybody receives, and says who: a message, or that it missed
    /// some, or, once each, that its queue is closed. [`SetReceived::Ended`] if nobody's queue is open.
    ///
    /// What a consumer lent is given back when it is its turn again, or when nobody has anything: until
    /// then it goes on to hold the producer there, or has the message unacknowledged. Where others may
    /// have something first, a lease ([`ack_within`](crate::Subscribe::ack_within)) has to allow for
    /// one of their messages each.
    ///
    /// A member that has as many messages as it may have, and has to acknowledge some, is passed over
    /// while others are there to wait for; or an [acker](Consumer::acker) of its own.
    ///
    /// # Errors
    /// As of [`Consumer::receive`], with the number of the one whose error it is. It is told again
    /// whenever it is that one's turn; the others have theirs all the same. [`remove`](Self::remove)
    /// one that is [`Error::Stale`] or [`Error::Corrupt`]. Any one's
    /// [`interrupter`](Consumer::interrupter) ends the wait with [`Error::Interrupted`].
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-receive");
    /// # let queue = Queue::create("doc-set-receive", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// # producer.send(b"hello")?;
    /// let oldest = Subscribe::new().from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&oldest)?]);
    /// let (number, received) = set.receive().one().unwrap();
    /// assert_eq!((number, received?.message().unwrap().payload()), (0, &b"hello"[..]));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive(&mut self) -> SetReceived<Message<'_>> {
        self.receive_within(Patience::Endless)
    }

    /// As [`receive`](Self::receive), but [`SetReceived::Empty`] at once if there is nothing yet. A
    /// [`Readiness`](crate::Readiness) tells when to try again.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, SetReceived, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-try");
    /// # let queue = Queue::create("doc-set-try", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(matches!(set.try_receive(), SetReceived::Empty));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-try")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive(&mut self) -> SetReceived<Message<'_>> {
        self.receive_within(Patience::None)
    }

    /// As [`receive`](Self::receive), but [`SetReceived::TimedOut`] if nothing comes within `time`.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, SetReceived, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-set-timeout");
    /// # let queue = Queue::create("doc-set-timeout", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// let received = set.receive_timeout(Duration::from_millis(1));
    /// assert!(matches!(received, SetReceived::TimedOut));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_timeout(&mut self, time: Duration) -> SetReceived<Message<'_>> {
        self.receive_within(Patience::Lasting(time))
    }

    /// As [`receive`](Self::receive), but up to `count_max` messages at a time, all of the same reader: as
    /// [`Consumer::receive_batch`] of the one whose turn it is.
    ///
    /// # Errors
    /// As of [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-batch");
    /// # let queue = Queue::create("doc-set-batch", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// for payload in [b"one", b"two"] {
    ///     producer.send(payload)?;
    /// }
    /// let oldest = Subscribe::new().from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&oldest)?]);
    /// let (_, received) = set.receive_batch(256).one().unwrap();
    /// assert_eq!(received?.message().unwrap().count(), 2);
    /// # drop(set);
    /// # Queue::force_remove("doc-set-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch(&mut self, count_max: usize) -> SetReceived<Batch<'_>> {
        self.receive_batch_within(count_max, Patience::Endless)
    }

    /// As [`receive_batch`](Self::receive_batch), but [`SetReceived::Empty`] at once if there is nothing
    /// yet.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, SetReceived, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-try-batch");
    /// # let queue = Queue::create("doc-set-try-batch", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(matches!(set.try_receive_batch(256), SetReceived::Empty));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-try-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive_batch(&mut self, count_max: usize) -> SetReceived<Batch<'_>> {
        self.receive_batch_within(count_max, Patience::None)
    }

    /// As [`receive_batch`](Self::receive_batch), but [`SetReceived::TimedOut`] if nothing comes within
    /// `time`.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, SetReceived, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-set-batch-timeout");
    /// # let queue = Queue::create("doc-set-batch-timeout", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// let time = Duration::from_millis(1);
    /// assert!(matches!(set.receive_batch_timeout(256, time), SetReceived::TimedOut));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-batch-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch_timeout(
        &mut self,
        count_max: usize,
        time: Duration,
    ) -> SetReceived<Batch<'_>> {
        self.receive_batch_within(count_max, Patience::Lasting(time))
    }

    fn receive_within(&mut self, patience: Patience) -> SetReceived<Message<'_>> {
        // SAFETY: what is received is bound to the borrow of the set, which owns the readers.
        unsafe { self.receive_unbound(patience) }
    }

    fn receive_batch_within(
        &mut self,
        count_max: usize,
        patience: Patience,
    ) -> SetReceived<Batch<'_>> {
        // SAFETY: as in `receive_within`; the others of the batch follow it in the same reader.
        match unsafe { self.receive_unbound(patience) } {
            SetReceived::One(number, received) => {
                let place = self.place_of(number).expect("whoever received is there");
                let reception = self.entries[place].reader.reception_mut();
                let left = count_max.saturating_sub(1);
                let received = received.map(|it| it.map(|first| reception.batch(first, left)));
                SetReceived::One(number, received)
            }
            SetReceived::Empty => SetReceived::Empty,
            SetReceived::TimedOut => SetReceived::TimedOut,
            SetReceived::Ended => SetReceived::Ended,
        }
    }

    /// # Safety
    /// As of [`Self::ask_all`].
    unsafe fn receive_unbound<'a>(&mut self, patience: Patience) -> SetReceived<Message<'a>> {
        let patience = patience.begin();
        let mut pace = Pace::for_message(self.wait, patience).at_many(self.entries.len());
        loop {
            // SAFETY: as the caller promises.
            if let Some((number, received)) = unsafe { self.ask_all() } {
                return SetReceived::One(number, received);
            }
            if self.has_ended() {
                return SetReceived::Ended;
            }
            if matches!(patience, Patience::None) {
                return SetReceived::Empty;
            }
            match pace.next() {
                Next::Look => {}
                Next::Sleep(limit) => {
                    if let Err((number, error)) = self.sleep(limit) {
                        return SetReceived::One(number, Err(error));
                    }
                }
                Next::TimedOut => return SetReceived::TimedOut,
            }
        }
    }

    /// Asks each in its turn: first for what is there, whole and usual, and for anything those that
    /// had something lately; then all of them for anything.
    ///
    /// # Safety
    /// A message must not be used after the next call, nor when who received it is gone.
    unsafe fn ask_all<'a>(&mut self) -> Option<Found<'a>> {
        let mut full = None;
        for is_thorough in [false, true] {
            for place in self.in_turn() {
                let entry = &mut self.entries[place];
                let number = entry.number;
                // SAFETY: as the caller promises.
                if let Some(message) = unsafe { entry.reader.reception_mut().receive_now() } {
                    entry.note_message();
                    self.next = place + 1;
                    return Some((number, Ok(Received::Message(message))));
                }
                if !is_thorough && entry.turns_off > 0 {
                    entry.turns_off -= 1;
                    continue;
                }
                // SAFETY: as the caller promises.
                match unsafe { entry.ask() } {
                    None => {}
                    Some(Err(error @ Error::PrefetchFull { .. })) => {
                        full = Some((number, Err(error)));
                    }
                    Some(found) => {
                        self.next = place + 1;
                        return Some((number, found));
                    }
                }
            }
        }
        // Nobody else will have anything either.
        let mut others = self.entries.iter();
        full.filter(|_| others.all(|entry| entry.ended_at.is_some() || entry.is_full))
    }

    /// The entries' places, from that whose turn it is on.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.entries.len();
        let next = if self.next < count { self.next } else { 0 };
        (next..count).chain(0..next)
    }

    /// Sleeps until a queue calls, so long at most.
    fn sleep(&mut self, limit: Duration) -> Result<(), (usize, Error)> {
        let nap = nap(self.wait);
        let Announcement { sleepers, limit, is_idle } = self.announce_sleep(limit, nap);
        let mut called = true;
        if is_idle {
            let words: Vec<_> = sleepers
                .iter()
                .filter_map(|(entry, announced)| {
                    Some(entry.reader.reception().sleep_of(announced.as_ref()?))
                })
                .collect();
            called = wait::sleep_on_any(&words, limit);
        }
        for (entry, announced) in sleepers {
            let reception = entry.reader.reception();
            if is_idle {
                reception.note_sleep();
            }
            if !called && entry.ended_at.is_none() {
                reception.look_around().map_err(|error| (entry.number, error))?;
                entry.uncalled = announced;
            }
        }
        Ok(())
    }

    /// Lets another thread sleep: announces that, and says what to sleep on. `None` if somebody has
    /// something to receive, or to be told, or if there is nobody to wait for.
    pub(crate) fn order_sleep(&mut self) -> Result<Option<Order>, Error> {
        for entry in &mut self.entries {
            entry.reader.reception_mut().begin_order()?;
        }
        let has_looked = |entry: &Entry| {
            entry.ended_at.is_some() || entry.is_full || entry.reader.reception().has_looked()
        };
        if self.has_ended() || !self.entries.iter().all(has_looked) {
            return Ok(None);
        }
        let Announcement { sleepers, limit, is_idle } =
            self.announce_sleep(SLEEP_MAX, SLEEP_UNSURE);
        if !is_idle {
            return Ok(None);
        }
        let errands = sleepers.into_iter().filter_map(|(entry, announced)| {
            let reception = entry.reader.reception_mut();
            let errand = announced.as_ref().map(|announced| reception.errand(announced));
            if errand.is_none() {
                reception.look_around_next();
            }
            entry.uncalled = announced;
            errand
        });
        Ok(Some(Order::new(errands.collect(), limit)))
    }

    /// Announces a sleep on all, and looks at each for the last time. Beside one who cannot announce it,
    /// it is a nap.
    fn announce_sleep(&mut self, mut limit: Duration, nap: Duration) -> Announcement<'_> {
        let entries = self.entries.iter_mut();
        let mut sleepers: Vec<_> = entries
            .map(|entry| {
                let reception = entry.reader.reception();
                let is_full = entry.is_full && reception.is_full();
                let announced = reception.announce_sleep(limit, is_full);
                (entry, announced)
            })
            .collect();
        // One for all, since all are announced.
        let mut barrier = None;
        let mut issue = || *barrier.get_or_insert_with(process::global_barrier);
        let mut is_idle = true;
        for (entry, announced) in &mut sleepers {
            let reception = entry.reader.reception_mut();
            if let Some(announced) = announced.as_mut() {
                reception.confirm_sleep(announced, &mut issue);
                limit = limit.min(announced.limit());
            } else {
                limit = limit.min(nap);
            }
            let sleeps_full = announced.as_ref().is_some_and(Announced::is_full);
            is_idle &= reception.is_calm();
            is_idle &= match entry.ended_at {
                // It may have gone on.
                Some(end) => reception.is_closed_at(end) && !reception.is_something_due(),
                // What there is comes later, unless some of what it has is settled by now.
                None if entry.is_full && sleeps_full => reception.is_full(),
                None => reception.may_sleep(),
            };
        }
        Announcement { sleepers, limit, is_idle }
    }
}

/// A sleep of all that was announced, but by those who cannot.
struct Announcement<'a> {
    sleepers: Vec<(&'a mut Entry, Option<Announced>)>,
    /// How long it may be.
    limit: Duration,
    /// Whether nobody has anything.
    is_idle: bool,
}

impl Entry {
    fn new(number: usize, reader: Reader) -> Self {
        Self { number, reader, ended_at: None, is_full: false, turns_off: 0, uncalled: None }
    }

    /// What it has, if it has something, whatever that is.
    ///
    /// # Safety
    /// As of [`ConsumerSet::ask_all`].
    #[cold]
    unsafe fn ask<'a>(&mut self) -> Option<Result<Received<Message<'a>>, Error>> {
        // SAFETY: as the caller promises.
        let received = unsafe { self.reader.reception_mut().receive_unbound(Patience::None) };
        if matches!(received, Err(Error::Interrupted { .. })) {
            // It says nothing of what there is.
            return Some(received);
        }
        self.turns_off = TURNS_OFF;
        self.is_full = matches!(received, Err(Error::PrefetchFull { .. }));
        let is_closed = matches!(received, Ok(Received::Closed));
        let ended_at = self.reader.reception().ended_at().filter(|_| is_closed);
        let is_told = self.ended_at.is_some() && self.ended_at == ended_at;
        self.ended_at = ended_at;
        match &received {
            Ok(Received::Empty | Received::TimedOut) => return None,
            Ok(Received::Closed) if is_told => return None,
            Ok(Received::Message(_)) => self.note_message(),
            Ok(Received::Missed { .. } | Received::Closed) | Err(_) => {}
        }
        Some(received)
    }

    /// A message was received: there may be more soon.
    #[inline]
    fn note_message(&mut self) {
        (self.turns_off, self.ended_at, self.is_full) = (0, None, false);
        if let Some(announced) = self.uncalled.take() {
            self.reader.reception().check_late_wake(&announced);
        }
    }
}

impl<R: Into<Reader>> FromIterator<R> for ConsumerSet {
    fn from_iter<I: IntoIterator<Item = R>>(readers: I) -> Self {
        let mut set = Self::new();
        for reader in readers {
            set.add(reader);
        }
        set
    }
}
