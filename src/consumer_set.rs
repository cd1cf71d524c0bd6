//! Several consumers, of one queue or of many, received from as if they were one.

use std::time::Duration;

use crate::consumer::Consumer;
use crate::error::Error;
use crate::message::Message;
use crate::outcome::Received;
use crate::reception::Announced;
use crate::sleeper::Order;
use crate::sys::process;
use crate::wait::{self, Next, Pace, Patience, SLEEP_MAX, Wait};

/// Consumers that one thread receives from in turn, and that it waits for together: for whichever
/// queue has a message first.
///
/// Each keeps the number that [`add`](Self::add) gave it, and all else that it is: its lag policy,
/// its subscription, its place. Only how to wait is for the set to say ([`set_wait`](Self::set_wait)).
///
/// They have their turns: while several have something, each of them gives one message after the
/// other. Across consumers there is no order; from each the messages come in its own.
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
/// while let Some((number, received)) = set.receive() {
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

/// What a consumer came up with, and which one that was.
type Found<'a> = (usize, Result<Received<Message<'a>>, Error>);

#[derive(Debug)]
struct Entry {
    number: usize,
    consumer: Consumer,
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
        let number = self.next_number;
        self.next_number += 1;
        self.entries.push(Entry::new(number, consumer));
        number
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
        let place = self.place_of(number)?;
        Some(self.entries.remove(place).consumer)
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
    /// let (_, received) = set.receive().unwrap();
    /// assert!(received?.message().is_some());
    /// set.close()?;
    /// assert_eq!(queue.subscribe(&workers)?.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-set-close")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn close(self) -> Result<(), Error> {
        let closed = self.entries.into_iter().map(|entry| entry.consumer.close());
        closed.fold(Ok(()), Result::and)
    }

    /// The consumer of this number, to acknowledge messages by their sequence, for example, or to
    /// make an [acker](Consumer::acker) for other threads.
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, ConsumerSet, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-get");
    /// # let queue = Queue::create("doc-set-get", &QueueOptions::new())?;
    /// # queue.producer()?.send(b"a task")?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&workers)?]);
    /// let (number, received) = set.receive().unwrap();
    /// let sequence = received?.message().unwrap().sequence();
    /// assert_eq!(set.get(number).unwrap().ack(sequence)?, Acked::Done);
    /// # drop(set);
    /// # Queue::force_remove("doc-set-get")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Consumer> {
        Some(&self.entries[self.place_of(number)?].consumer)
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
        self.entries.iter().map(|entry| (entry.number, &entry.consumer))
    }

    /// How many consumers it has.
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert_eq!(ConsumerSet::new().len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no consumer.
    ///
    /// ```
    /// # use ringway::ConsumerSet;
    /// assert!(ConsumerSet::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is no consumer whose queue is open, as far as they were told: then
    /// [`receive`](Self::receive) waits for nothing.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-ended");
    /// # let queue = Queue::create("doc-set-ended", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(!set.has_ended());
    /// queue.producer()?.close()?;
    /// let (number, received) = set.receive().unwrap();
    /// assert!(number == 0 && received?.message().is_none());
    /// assert!(set.has_ended());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-ended")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.entries.iter().all(|entry| entry.ended_at.is_some())
    }

    fn place_of(&self, number: usize) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
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
    /// What a consumer lent is given back when it is its turn again, or when nobody has anything: until
    /// then it goes on to hold the producer there, or has the message unacknowledged. Where others may
    /// have something first, a lease ([`ack_within`](crate::Subscribe::ack_within)) has to allow for
    /// one of their messages each.
    ///
    /// A member that has as many messages as it may have, and has to acknowledge some, is passed over
    /// while others are there to wait for; or an [acker](Consumer::acker) of its own.
    ///
    /// # Errors
    /// As of [`Consumer::receive`], of the consumer whose number comes with it. It is told again
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
    /// let (number, received) = set.receive().unwrap();
    /// assert_eq!((number, received?.message().unwrap().payload()), (0, &b"hello"[..]));
    /// # drop(set);
    /// # Queue::force_remove("doc-set-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use = "what it lends is received, and what it is else, an error say, goes unseen"]
    pub fn receive(&mut self) -> Option<(usize, Result<Received<Message<'_>>, Error>)> {
        self.receive_within(Patience::Endless)
    }

    /// As [`receive`](Self::receive), but `None` at once also if there is nothing yet:
    /// [`has_ended`](Self::has_ended) tells. A [`Readiness`](crate::Readiness) tells when to try again.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-set-try");
    /// # let queue = Queue::create("doc-set-try", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(set.try_receive().is_none());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-try")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use = "what it lends is received, and what it is else, an error say, goes unseen"]
    pub fn try_receive(&mut self) -> Option<(usize, Result<Received<Message<'_>>, Error>)> {
        self.receive_within(Patience::None)
    }

    /// As [`receive`](Self::receive), but `None` also if nothing comes within `time`:
    /// [`has_ended`](Self::has_ended) tells.
    ///
    /// ```
    /// # use ringway::{ConsumerSet, Queue, QueueOptions, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-set-timeout");
    /// # let queue = Queue::create("doc-set-timeout", &QueueOptions::new())?;
    /// let mut set = ConsumerSet::from_iter([queue.subscribe(&Subscribe::new())?]);
    /// assert!(set.receive_timeout(Duration::from_millis(1)).is_none());
    /// # drop(set);
    /// # Queue::force_remove("doc-set-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use = "what it lends is received, and what it is else, an error say, goes unseen"]
    pub fn receive_timeout(
        &mut self,
        time: Duration,
    ) -> Option<(usize, Result<Received<Message<'_>>, Error>)> {
        self.receive_within(Patience::Lasting(time))
    }

    fn receive_within(&mut self, patience: Patience) -> Option<Found<'_>> {
        let patience = patience.begin();
        let mut pace = Pace::for_message(self.wait, patience).at_many(self.entries.len());
        loop {
            // SAFETY: what was found is bound to the borrow of the set, which owns the consumers.
            if let Some(found) = unsafe { self.ask_all() } {
                return Some(found);
            }
            if self.has_ended() || matches!(patience, Patience::None) {
                return None;
            }
            match pace.next() {
                Next::Look => {}
                Next::Sleep(limit) => {
                    if let Err((number, error)) = self.sleep(limit) {
                        return Some((number, Err(error)));
                    }
                }
                Next::TimedOut => return None,
            }
        }
    }

    /// Asks each in its turn: first for what is there, whole and usual, and for anything those that
    /// had something lately; then all of them for anything.
    ///
    /// # Safety
    /// A message must not be used after the next call, nor when its consumer is gone.
    unsafe fn ask_all<'a>(&mut self) -> Option<Found<'a>> {
        let mut full = None;
        for is_thorough in [false, true] {
            for place in self.in_turn() {
                let entry = &mut self.entries[place];
                let number = entry.number;
                // SAFETY: as the caller promises.
                if let Some(message) = unsafe { entry.consumer.reception_mut().receive_now() } {
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
        let Announcement { sleepers, limit, is_idle } = self.announce_sleep(limit);
        let mut called = true;
        if is_idle {
            let words: Vec<_> = sleepers
                .iter()
                .map(|(entry, announced)| entry.consumer.reception().sleep_of(announced))
                .collect();
            called = wait::sleep_on_any(&words, limit);
        }
        for (entry, announced) in sleepers {
            let reception = entry.consumer.reception();
            if is_idle {
                reception.note_sleep();
            }
            if !called && entry.ended_at.is_none() {
                reception.look_around().map_err(|error| (entry.number, error))?;
                entry.uncalled = Some(announced);
            }
        }
        Ok(())
    }

    /// Lets another thread sleep: announces that, and says what to sleep on. `None` if somebody has
    /// something to receive, or to be told, or if there is nobody to wait for.
    pub(crate) fn order_sleep(&mut self) -> Result<Option<Order>, Error> {
        for entry in &mut self.entries {
            entry.consumer.reception_mut().begin_order()?;
        }
        let has_looked = |entry: &Entry| {
            entry.ended_at.is_some() || entry.is_full || entry.consumer.reception().has_looked()
        };
        if self.has_ended() || !self.entries.iter().all(has_looked) {
            return Ok(None);
        }
        let Announcement { sleepers, limit, is_idle } = self.announce_sleep(SLEEP_MAX);
        if !is_idle {
            return Ok(None);
        }
        let errands = sleepers.into_iter().map(|(entry, announced)| {
            let errand = entry.consumer.reception_mut().errand(&announced);
            entry.uncalled = Some(announced);
            errand
        });
        Ok(Some(Order::new(errands.collect(), limit)))
    }

    /// Announces a sleep on all, and looks at each for the last time.
    fn announce_sleep(&mut self, mut limit: Duration) -> Announcement<'_> {
        let entries = self.entries.iter_mut();
        let mut sleepers: Vec<_> = entries
            .filter_map(|entry| {
                let reception = entry.consumer.reception();
                let is_full = entry.is_full && reception.is_full();
                let announced = reception.announce_sleep(limit, is_full)?;
                Some((entry, announced))
            })
            .collect();
        // One for all, since all are announced.
        let mut barrier = None;
        let mut issue = || *barrier.get_or_insert_with(process::global_barrier);
        let mut is_idle = true;
        for (entry, announced) in &mut sleepers {
            let reception = entry.consumer.reception_mut();
            reception.confirm_sleep(announced, &mut issue);
            limit = limit.min(announced.limit());
            is_idle &= reception.is_calm();
            is_idle &= match entry.ended_at {
                // It may have gone on.
                Some(end) => reception.is_closed_at(end) && !reception.is_something_due(),
                // What there is comes later, unless some of what it has is settled by now.
                None if entry.is_full && announced.is_full() => reception.is_full(),
                None => reception.may_sleep(),
            };
        }
        Announcement { sleepers, limit, is_idle }
    }
}

/// A sleep of all that was announced.
struct Announcement<'a> {
    sleepers: Vec<(&'a mut Entry, Announced)>,
    /// How long it may be.
    limit: Duration,
    /// Whether nobody has anything.
    is_idle: bool,
}

impl Entry {
    fn new(number: usize, consumer: Consumer) -> Self {
        Self { number, consumer, ended_at: None, is_full: false, turns_off: 0, uncalled: None }
    }

    /// What it has, if it has something, whatever that is.
    ///
    /// # Safety
    /// As of [`ConsumerSet::ask_all`].
    #[cold]
    unsafe fn ask<'a>(&mut self) -> Option<Result<Received<Message<'a>>, Error>> {
        // SAFETY: as the caller promises.
        let received = unsafe { self.consumer.reception_mut().receive_unbound(Patience::None) };
        if matches!(received, Err(Error::Interrupted { .. })) {
            // It says nothing of what there is.
            return Some(received);
        }
        self.turns_off = TURNS_OFF;
        self.is_full = matches!(received, Err(Error::PrefetchFull { .. }));
        let is_closed = matches!(received, Ok(Received::Closed));
        let ended_at = self.consumer.reception().ended_at().filter(|_| is_closed);
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
            self.consumer.reception().check_late_wake(&announced);
        }
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
