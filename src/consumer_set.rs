//! Several consumers, of one queue or of many, received from as if they were one.

use std::time::Duration;

use crate::consumer::Consumer;
use crate::error::Error;
use crate::message::Message;
use crate::outcome::Received;
use crate::reception::Announced;
use crate::wait::{self, Next, Pace, Patience, Wait};

/// Consumers that one thread receives from in turn, and that it waits for together: for whichever
/// queue has a message first.
///
/// Each keeps the number that [`add`](Self::add) gave it, and all else that it is: its lag policy,
/// its subscription, its place. Only how to wait is for the set to say ([`set_wait`](Self::set_wait)).
///
/// They have their turns: one that has always something holds up no other one for more than a few
/// messages. Across consumers there is no order; from each the messages come in its own.
///
/// ```
/// use ringway::{ConsumerSet, Queue, QueueOptions, Received, Start, Subscribe};
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
/// while let Some((number, received)) = set.receive()? {
///     if let Received::Message(message) = received {
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
    /// By number; those that were removed are `None`.
    entries: Vec<Option<Entry>>,
    /// Whose turn is next.
    next: usize,
    turns: u32,
    wait: Wait,
}

#[derive(Debug)]
struct Entry {
    consumer: Consumer,
    /// Whether it was told that its queue is closed, and nothing has come since.
    has_ended: bool,
    /// How it announced its last sleep, if that ended for want of time.
    uncalled: Option<Announced>,
}

/// Once in so many turns all consumers are asked whatever the others have, and not only those whose
/// next message can be had without further ado.
const TURNS_PER_THOROUGH_ONE: u32 = 16;

impl ConsumerSet {
    /// One without consumers, that waits by [`Wait::Backoff`].
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert!(ConsumerSet::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a consumer in, and gives it a number that no other one of this set had: 0 and so on.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-add");
    /// let queue = Queue::create("doc-set-add", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::new();
    /// assert_eq!(set.add(queue.subscribe(&Subscribe::new())?), 0);
    /// assert_eq!(set.add(queue.subscribe(&Subscribe::new())?), 1);
    /// # drop(set);
    /// # Queue::force_remove("doc-set-add")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn add(&mut self, consumer: Consumer) -> usize {
        self.entries.push(Some(Entry { consumer, has_ended: false, uncalled: None }));
        self.entries.len() - 1
    }

    /// Takes the consumer of this number out, if there is one.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-remove");
    /// # let queue = Queue::create("doc-set-remove", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::new();
    /// let number = set.add(queue.subscribe(&Subscribe::new())?);
    /// let consumer = set.remove(number).unwrap();
    /// assert_eq!(consumer.queue_name(), "doc-set-remove");
    /// assert!(set.is_empty() && set.remove(number).is_none());
    /// # drop(consumer);
    /// # Queue::force_remove("doc-set-remove")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove(&mut self, number: usize) -> Option<Consumer> {
        self.entries.get_mut(number)?.take().map(|entry| entry.consumer)
    }

    /// The consumer of this number, to acknowledge messages by their sequence, for example.
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-get");
    /// # let queue = Queue::create("doc-set-get", &QueueOptions::new())?;
    /// # queue.producer()?.send(b"a task")?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&workers)?]);
    /// let (number, received) = set.receive()?.unwrap();
    /// let sequence = received.message().unwrap().sequence();
    /// assert_eq!(set.get(number).unwrap().ack(sequence)?, Acked::Done);
    /// # drop(set);
    /// # Queue::force_remove("doc-set-get")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Consumer> {
        self.entries.get(number)?.as_ref().map(|entry| &entry.consumer)
    }

    /// The consumers with their numbers.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-iter");
    /// # let queue = Queue::create("doc-set-iter", &QueueOptions::new())?;
    /// # let set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// for (number, consumer) in set.iter() {
    ///     println!("{number}: {}, from {} on", consumer.queue_name(), consumer.next_sequence());
    /// }
    /// # drop(set);
    /// # Queue::force_remove("doc-set-iter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Consumer)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(number, entry)| Some((number, &entry.as_ref()?.consumer)))
    }

    /// Whether it has no consumer.
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert!(ConsumerSet::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    /// How to wait, whatever the consumers were made with. With [`Wait::Park`] it sleeps on all
    /// queues together (`futex_waitv`, Linux 5.16; where that is missing, and with more than 128
    /// consumers, it looks once a millisecond).
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Wait};
    /// let mut set = ConsumerSet::new();
    /// set.set_wait(Wait::Park);
    /// ```
    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Waits for the next thing that any of the consumers receives, and says which: a message, or
    /// that it missed some, or, once each, that its queue is closed. `None` if there is no consumer
    /// whose queue is open.
    ///
    /// The last message is given back by this if it is the same consumer's turn; else it stays lent
    /// to that one, and a [`Hold`](crate::Lag::Hold) consumer goes on to hold the producer there, or
    /// a member has it unacknowledged, until its next turn, which is soon.
    ///
    /// # Errors
    /// As [`Consumer::receive`]; the error names the queue. The others go on by the next call, and
    /// so does this one; [`remove`](Self::remove) it, if it is [`Error::Stale`] or
    /// [`Error::Corrupt`].
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-receive");
    /// # let queue = Queue::create("doc-set-receive", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// # producer.send(b"hello")?;
    /// let oldest = Subscribe::new().from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&oldest)?]);
    /// let (number, received) = set.receive()?.unwrap();
    /// assert_eq!((number, received.message().unwrap().payload()), (0, &b"hello"[..]));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive(&mut self) -> Result<Option<(usize, Received<Message<'_>>)>, Error> {
        self.receive_within(Patience::Endless)
    }

    /// As [`receive`](Self::receive), but `None` at once if there is nothing.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-try");
    /// # let queue = Queue::create("doc-set-try", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(set.try_receive()?.is_none());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-try")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive(&mut self) -> Result<Option<(usize, Received<Message<'_>>)>, Error> {
        self.receive_within(Patience::None)
    }

    /// As [`receive`](Self::receive), but `None` if there is nothing for so long.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-set-timeout");
    /// # let queue = Queue::create("doc-set-timeout", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(set.receive_timeout(Duration::from_millis(1))?.is_none());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_timeout(
        &mut self,
        time: Duration,
    ) -> Result<Option<(usize, Received<Message<'_>>)>, Error> {
        self.receive_within(Patience::Lasting(time))
    }

    fn receive_within(
        &mut self,
        patience: Patience,
    ) -> Result<Option<(usize, Received<Message<'_>>)>, Error> {
        let patience = patience.begin();
        let mut pace = Pace::for_message(self.wait, patience);
        loop {
            if let Some(found) = self.ask_all()? {
                return Ok(Some(found));
            }
            let is_open = |entry: &Option<Entry>| entry.as_ref().is_some_and(|it| !it.has_ended);
            if matches!(patience, Patience::None) || !self.entries.iter().any(is_open) {
                return Ok(None);
            }
            match pace.next() {
                Next::Look => {}
                Next::Sleep(limit) => self.sleep(limit)?,
                Next::TimedOut => return Ok(None),
            }
        }
    }

    /// Asks each in its turn, first for what is there, whole and usual; then for anything. The
    /// message must not be used after the next call: those who call this bind it to a borrow of the
    /// set.
    fn ask_all<'a>(&mut self) -> Result<Option<(usize, Received<Message<'a>>)>, Error> {
        self.turns = self.turns.wrapping_add(1);
        if !self.turns.is_multiple_of(TURNS_PER_THOROUGH_ONE) {
            for number in self.in_turn() {
                if let Some(entry) = &mut self.entries[number]
                    && let Some(message) = entry.consumer.reception_mut().receive_now()
                {
                    self.next = number + 1;
                    return Ok(Some((number, entry.note(Received::Message(message)))));
                }
            }
        }
        for number in self.in_turn() {
            let Some(entry) = &mut self.entries[number] else { continue };
            self.next = number + 1;
            match entry.consumer.reception_mut().receive_unbound(Patience::None)? {
                Received::Empty | Received::TimedOut => entry.has_ended = false,
                Received::Closed if entry.has_ended => {}
                received => return Ok(Some((number, entry.note(received)))),
            }
        }
        Ok(None)
    }

    /// The numbers, from that whose turn it is on.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (next, count) = (self.next, self.entries.len());
        (next.min(count)..count).chain(0..next.min(count))
    }

    /// Sleeps until a queue calls, so long at most.
    fn sleep(&mut self, limit: Duration) -> Result<(), Error> {
        let announce = |entry: &Entry| entry.consumer.reception().announce_sleep(limit);
        let open = || self.entries.iter().flatten().filter(|entry| !entry.has_ended);
        let announced: Option<Vec<Announced>> = open().map(announce).collect();
        // Consumers have places to announce it by.
        let Some(announced) = announced else { return Ok(()) };
        let mut called = true;
        if open().all(|entry| entry.consumer.reception().may_sleep()) {
            let limit = announced.iter().map(Announced::limit).min().unwrap_or(limit);
            let sleepers = || open().map(|entry| entry.consumer.reception()).zip(&announced);
            let sleeps: Vec<_> = sleepers().map(|(it, sleep)| it.sleep_of(sleep)).collect();
            called = wait::sleep_on_any(&sleeps, limit);
            open().for_each(|entry| entry.consumer.reception().note_sleep());
        }
        let open = self.entries.iter_mut().flatten().filter(|entry| !entry.has_ended);
        for (entry, announced) in open.zip(announced) {
            if !called {
                entry.consumer.reception().look_around()?;
                entry.uncalled = Some(announced);
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Something was received.
    fn note<'a>(&mut self, received: Received<Message<'a>>) -> Received<Message<'a>> {
        self.has_ended = matches!(received, Received::Closed);
        if let (Some(announced), Received::Message(_)) = (self.uncalled.take(), &received) {
            self.consumer.reception().check_late_wake(&announced);
        }
        received
    }
}

impl FromIterator<Consumer> for ConsumerSet {
    fn from_iter<I: IntoIterator<Item = Consumer>>(consumers: I) -> Self {
        let mut set = Self::new();
        for consumer in consumers {
            set.add(consumer);
        }
        set
    }
}
