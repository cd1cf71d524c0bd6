//! How a consumer wants its messages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::ring::{Lag, Start};
use crate::segment::Segment;
use crate::terms::{Backoff, Terms};
use crate::wait::Wait;

const PREFETCH_MAX: u32 = 1024;

/// What a consumer asks for when it joins a queue.
///
/// Without a name it is on its own: it receives every message, and its place ends with it. With a
/// [name](Self::named) it is a member of a named subscription: all members share the messages,
/// each message goes to one of them, and the place in the queue outlives them all.
///
/// The first member of a name makes the subscription, with what it asks for. Later ones may leave
/// out what belongs to all (marked *of the subscription* below) and get what the first one asked
/// for; if they ask for something else, joining fails. [`Queue::declare`](crate::Queue::declare) makes
/// one without a member, [`Queue::alter`](crate::Queue::alter) changes one that has none.
///
/// ```
/// use ringway::{Lag, Queue, QueueOptions, Start, Subscribe, Wait};
///
/// # let _ = Queue::force_remove("doc-subscribe");
/// let queue = Queue::create("doc-subscribe", &QueueOptions::new())?;
/// let options = Subscribe::new().from(Start::Oldest).on_lag(Lag::Skip).wait(Wait::Park);
/// let consumer = queue.subscribe(&options)?;
/// assert_eq!(consumer.next_sequence(), 0);
/// # Queue::force_remove("doc-subscribe")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Subscribe {
    pub(crate) start: Start,
    pub(crate) lag: Option<Lag>,
    pub(crate) wait: Wait,
    pub(crate) name: Option<Box<str>>,
    pub(crate) ack: AckMode,
    pub(crate) prefetch: Prefetch,
    pub(crate) keyed: Option<bool>,
    pub(crate) terms: Terms,
    pub(crate) dead_letters: Option<PathBuf>,
    pub(crate) durable_only: bool,
    pub(crate) write_protected: bool,
    pub(crate) past_the_end: bool,
}

/// When a message counts as acknowledged.
///
/// ```
/// use ringway::AckMode;
///
/// assert_eq!(AckMode::default(), AckMode::Auto);
/// assert_eq!("manual".parse(), Ok(AckMode::Manual));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckMode {
    /// When its consumer receives again, or is [closed](crate::Consumer::close), and all messages of a
    /// batch at once. A message that its consumer was working on when it died, or was dropped, is
    /// delivered again: whoever ends in order closes the consumer. So does who ends by an
    /// [`Interrupter`](crate::Interrupter): a receive that finds itself interrupted
    /// ([`Error::Interrupted`]) before it waits acknowledges nothing.
    #[default]
    Auto,
    /// When the consumer says so: [`Message::ack`](crate::Message::ack),
    /// [`Consumer::ack`](crate::Consumer::ack) and
    /// [`Consumer::ack_through`](crate::Consumer::ack_through).
    Manual,
}

/// How many messages a member may have that it has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefetch(pub(crate) u32);

impl Default for Prefetch {
    fn default() -> Self {
        Self(32)
    }
}

impl Subscribe {
    /// A consumer on its own, from the newest message on, holding the producer when a ring
    /// behind, waiting with [`Wait::Backoff`].
    ///
    /// ```
    /// assert_eq!(ringway::Subscribe::new(), ringway::Subscribe::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The first message to receive. Of a named subscription: the first that its members will
    /// receive, if it has to be made; else this has no part in joining, but that a time has to be one
    /// that can be looked up.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().from(ringway::Start::Last(10));
    /// ```
    pub fn from(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// What happens when the consumer falls a whole ring behind; until set it holds the producer,
    /// but for a named subscription in a queue with a [journal](crate::QueueOptions::journal), which
    /// reads from that ([`Lag::Spill`]). *Of the subscription*, if it is a named one.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().on_lag(ringway::Lag::Skip);
    /// ```
    pub fn on_lag(self, lag: Lag) -> Self {
        Self { lag: Some(lag), ..self }
    }

    /// How it waits for messages.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().wait(ringway::Wait::Park);
    /// ```
    pub fn wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Makes the consumer a member of the subscription of that name: 1 to 64 letters, digits,
    /// dots, dashes and underscores of ASCII, of which the first is neither a dot nor a dash.
    ///
    /// ```
    /// use ringway::{Queue, QueueOptions, Start, Subscribe};
    ///
    /// # let _ = Queue::force_remove("doc-named");
    /// let queue = Queue::create("doc-named", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// let mut one = queue.subscribe(&workers)?;
    /// let mut other = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// assert!(one.try_receive()?.message().is_some());
    /// assert!(other.try_receive()?.message().is_none());
    /// # Queue::force_remove("doc-named")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// When messages count as acknowledged; [`AckMode::Auto`] until set. For members of a named
    /// subscription.
    ///
    /// ```
    /// use ringway::{AckMode, Subscribe};
    ///
    /// let options = Subscribe::new().named("workers").ack(AckMode::Manual);
    /// ```
    pub fn ack(self, mode: AckMode) -> Self {
        Self { ack: mode, ..self }
    }

    /// How many messages a member may have that it has not acknowledged, 1 to 1024; 32 until set.
    /// A member takes up to 32 messages at a time for itself: fewer spread the work more evenly,
    /// more cost less. With [`AckMode::Manual`] it gets no further message while it has as many
    /// ([`Error::PrefetchFull`]), whether it would be a new one or one that comes again; while there
    /// is an [`Acker`](crate::Acker) it waits for that one to settle some.
    ///
    /// What a member takes at a time is a share, and the queue has twice as many shares as it has
    /// room for [members](crate::QueueOptions::members), 64 at least. A share is in use until all of
    /// it is settled: by a message that waits for its [backoff](Self::backoff), too.
    ///
    /// ```
    /// use ringway::{AckMode, Error, Queue, QueueOptions, Start, Subscribe};
    ///
    /// # let _ = Queue::force_remove("doc-prefetch");
    /// # let queue = Queue::create("doc-prefetch", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest).prefetch(1);
    /// let mut worker = queue.subscribe(&workers.ack(AckMode::Manual))?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"first")?;
    /// producer.send(b"second")?;
    /// let first = worker.receive()?.message().unwrap().sequence();
    /// assert!(matches!(worker.receive(), Err(Error::PrefetchFull { unacked: 1, .. })));
    /// let _ = worker.ack(first)?;
    /// assert_eq!(worker.receive()?.message().unwrap().payload(), b"second");
    /// # drop(worker);
    /// # Queue::force_remove("doc-prefetch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn prefetch(self, count: u32) -> Self {
        Self { prefetch: Prefetch(count), ..self }
    }

    /// Messages of one key go to one member at a time, in order; those without a key to anybody.
    /// *Of the subscription.*
    ///
    /// ```
    /// use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
    ///
    /// # let _ = Queue::force_remove("doc-keyed");
    /// # let queue = Queue::create("doc-keyed", &QueueOptions::new())?;
    /// let accounts = Subscribe::new().named("accounts").keyed().from(Start::Oldest).prefetch(1);
    /// let mut one = queue.subscribe(&accounts)?;
    /// let mut other = queue.subscribe(&accounts)?;
    /// let mut producer = queue.producer()?;
    /// producer.message().key(b"alice").send(b"+ 5")?;
    /// producer.message().key(b"alice").send(b"- 3")?;
    /// assert_eq!(one.receive()?.message().unwrap().payload(), b"+ 5");
    /// assert_eq!(other.try_receive()?, Received::Empty); // as long as that is not acknowledged
    /// one.try_receive()?.message(); // which this does
    /// assert_eq!(other.receive()?.message().unwrap().payload(), b"- 3");
    /// # drop((one, other));
    /// # Queue::force_remove("doc-keyed")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn keyed(self) -> Self {
        Self { keyed: Some(true), ..self }
    }

    /// Gives a message up as a dead letter when it was delivered this often, 1 to 250, and not
    /// acknowledged. Without this it is delivered again for ever. *Of the subscription.*
    ///
    /// Dead letters go to the queue's [history directory](crate::QueueOptions::history), or to
    /// [one given](Self::dead_letters).
    ///
    /// ```
    /// let options = ringway::Subscribe::new().named("workers").deliveries_max(5);
    /// ```
    pub fn deliveries_max(self, count: u32) -> Self {
        self.with(|terms| terms.deliveries_max = Some(count))
    }

    /// How long a message that was refused ([`Message::nack`](crate::Message::nack)) waits before
    /// it is delivered again: `first` after the first delivery, then each time `factor` times as
    /// long, but no longer than `max`, and 49 days at most. Not at all until set. *Of the subscription.*
    ///
    /// `first` is 1 ns at least, `max` no less than that and 31 years (10^9 s) at most, `factor` 1 to
    /// 1000.
    ///
    /// A message that waits holds the producer, if the subscription is of that kind, once it is a
    /// whole ring behind.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let workers = ringway::Subscribe::new().named("workers");
    /// let options = workers.backoff(Duration::from_millis(10), 2.0, Duration::from_secs(1));
    /// ```
    pub fn backoff(self, first: Duration, factor: f64, max: Duration) -> Self {
        self.with(|terms| terms.backoff = Some(Backoff::new(first, factor, max)))
    }

    /// Passes what a member took at a time, up to 32 messages that follow each other, on to others
    /// when there was no progress with them for this long: none of them acknowledged, refused or handed
    /// out, and no [`extend`](crate::Message::extend). What it does with others is no progress with
    /// these. For members that may hang without dying; those that die pass on what they had anyway.
    /// 1 ns to 31 years (10^9 s). *Of the subscription.*
    ///
    /// Payloads are copied out of the ring then, because a member that hangs may still be reading
    /// when others have gone on.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    ///
    /// # let _ = Queue::force_remove("doc-ack-within");
    /// # let queue = Queue::create("doc-ack-within", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let workers = workers.ack_within(Duration::from_millis(1));
    /// let mut hanging = queue.subscribe(&workers)?;
    /// let mut other = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// let first = hanging.receive()?.message().unwrap();
    /// let again = other.receive()?.message().unwrap(); // a millisecond later
    /// assert!(again.redelivered());
    /// assert_eq!((first.ack()?, again.ack()?), (Acked::Late, Acked::Done));
    /// # drop((hanging, other));
    /// # Queue::force_remove("doc-ack-within")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn ack_within(self, time: Duration) -> Self {
        self.with(|terms| terms.ack_within = Some(time))
    }

    /// Has the subscription removed when it is in somebody's way and has had no member for this long: by
    /// a producer that it holds, by whoever writes a history that has no space or files that are too old,
    /// when a new one finds no place in the table, or by
    /// [`Queue::remove_expired`](crate::Queue::remove_expired). Until set a subscription that everybody has
    /// left keeps its place, and with it the messages that nobody has acknowledged, until it is
    /// [removed by name](crate::Queue::unsubscribe). 1 ns to 31 years (10^9 s). *Of the subscription.*
    ///
    /// The time begins anew when a member leaves or is found to be dead, and when the subscription is
    /// [declared](crate::Queue::declare) again, altered or moved. It goes on while the machine sleeps. In
    /// a queue with a journal a restart begins it anew. Who comes back in time goes on where the last one
    /// was, also if the time was over and it was in nobody's way; who comes later makes another
    /// subscription.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ringway::{Queue, QueueOptions, Sent, Start, Subscribe};
    ///
    /// # let _ = Queue::force_remove("doc-expires-after");
    /// # let queue = Queue::create("doc-expires-after", &QueueOptions::new().capacity(64 << 10))?;
    /// let workers = Subscribe::new().named("workers").expires_after(Duration::from_millis(1));
    /// drop(queue.subscribe(&workers)?); // and never comes back
    /// let mut producer = queue.producer()?;
    /// for _ in 0..1000 {
    ///     producer.send(&[0; 1000])?; // many times what the ring has room for
    /// }
    /// assert!(queue.info()?.subscriptions.is_empty());
    /// # Queue::force_remove("doc-expires-after")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn expires_after(self, time: Duration) -> Self {
        self.with(|terms| terms.expires_after = Some(time))
    }

    /// The four before this at once, for who has them from elsewhere: what these leave out is not asked
    /// for. *Of the subscription.*
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-terms");
    /// # let queue = Queue::create("doc-terms", &QueueOptions::new())?;
    /// queue.declare(&Subscribe::new().named("workers").deliveries_max(5))?;
    /// // Another one like it.
    /// let terms = queue.info()?.subscription("workers").unwrap().terms;
    /// queue.declare(&Subscribe::new().named("auditors").terms(terms))?;
    /// # Queue::force_remove("doc-terms")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.terms);
        self
    }

    /// Where this member puts dead letters; the queue's history directory until set.
    /// [`DeadLetters::open`](crate::DeadLetters::open) finds them there.
    ///
    /// ```
    /// let workers = ringway::Subscribe::new().named("workers").deliveries_max(5);
    /// let options = workers.dead_letters("/var/lib/orders");
    /// ```
    pub fn dead_letters(self, directory: impl AsRef<Path>) -> Self {
        Self { dead_letters: Some(directory.as_ref().into()), ..self }
    }

    /// Receives messages only once they are durable: in a queue with a
    /// [journal](crate::QueueOptions::journal), else joining fails ([`Error::NoJournal`]), and by a
    /// consumer of its own, not a named subscription's. What it receives it would receive again after a
    /// restart, with the same [sequence](crate::Message::sequence).
    ///
    /// ```
    /// let options = ringway::Subscribe::new().durable_only();
    /// ```
    pub fn durable_only(self) -> Self {
        Self { durable_only: true, ..self }
    }

    /// Takes the right to write to the ring away from this consumer, which does not need it: a wild
    /// pointer of its process then ends the process, and cannot change a message that others are yet
    /// to receive. Without this it has the right, because it is faster so: on AMD's processors (Zen 4)
    /// a line that is read where nothing may be written comes and goes back later, which makes a short
    /// round trip a quarter longer, and takes up to three quarters of the rate of members that share.
    /// An [`Observer`](crate::Observer) may never write.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().write_protected();
    /// ```
    pub fn write_protected(self) -> Self {
        Self { write_protected: true, ..self }
    }

    /// Tells each end of the stream ([`Received::Closed`](crate::Received::Closed)) once, and waits past
    /// it: for what a later producer sends, or the next end behind that. For a service that outlives
    /// producers which end in order. Without this every receive tells the end again, at once, and nothing
    /// waits: neither a [`receive_timeout`](crate::Consumer::receive_timeout) nor a
    /// [`Readiness`](crate::Readiness). A [set](crate::ConsumerSet) with such a consumer does not end.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-past-the-end");
    /// # let queue = Queue::create("doc-past-the-end", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new().past_the_end())?;
    /// queue.producer()?.close()?;
    /// assert_eq!(consumer.receive()?, Received::Closed);
    /// assert_eq!(consumer.receive_timeout(Duration::from_millis(1))?, Received::TimedOut);
    /// queue.producer()?.send(b"from a later one")?;
    /// assert_eq!(consumer.receive()?.message().unwrap().payload(), b"from a later one");
    /// # drop(consumer);
    /// # Queue::force_remove("doc-past-the-end")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn past_the_end(self) -> Self {
        Self { past_the_end: true, ..self }
    }

    /// Whether all of it can be had.
    pub(crate) fn check(&self, segment: &Segment) -> Result<(), Error> {
        if self.durable_only && segment.identity().keeping.journal.is_none() {
            return Err(Error::NoJournal { queue: segment.name().into() });
        }
        match self.fault(segment.history().is_some()) {
            None => Ok(()),
            Some(what) => Err(Error::InvalidOption { queue: segment.name().into(), what }),
        }
    }

    /// Whether a member has a place for dead letters, if its subscription's limit makes any.
    pub(crate) fn check_letters(
        &self,
        segment: &Segment,
        deliveries_max: Option<u32>,
    ) -> Result<(), Error> {
        if deliveries_max.is_none() || self.dead_letters.is_some() || segment.history().is_some() {
            return Ok(());
        }
        let what = "a limit of deliveries needs a place for dead letters: the queue has no history directory, and this member names none; make the queue with one (`ringway create --history DIR`), or have members name a directory (`ringway sub --dead-letters DIR`)".into();
        Err(Error::InvalidOption { queue: segment.name().into(), what })
    }

    fn fault(&self, has_history: bool) -> Option<Box<str>> {
        if self.durable_only && self.name.is_some() {
            return Some(
                "a named subscription does not wait for its messages to be durable".into(),
            );
        }
        if self.lag == Some(Lag::Spill) && !has_history {
            return Some(
                "what a consumer that spills has not read goes to a history directory, and the queue has none; make it with one (`ringway create --history DIR`)".into(),
            );
        }
        let Prefetch(prefetch) = self.prefetch;
        if self.name.is_none()
            && let Some(option) = self.option_of_members()
        {
            return Some(
                format!("`{option}` is for members of a named subscription: name one with `Subscribe::named`").into(),
            );
        }
        if !(1..=PREFETCH_MAX).contains(&prefetch) {
            return Some(format!("a prefetch of {prefetch} is outside 1 to {PREFETCH_MAX}").into());
        }
        self.terms.fault()
    }

    /// An option that was set, and that only members of a named subscription have.
    fn option_of_members(&self) -> Option<&'static str> {
        let Terms { deliveries_max, backoff, ack_within, expires_after } = &self.terms;
        let options = [
            ("ack", self.ack != AckMode::default()),
            ("prefetch", self.prefetch != Prefetch::default()),
            ("keyed", self.keyed.is_some()),
            ("deliveries_max", deliveries_max.is_some()),
            ("backoff", backoff.is_some()),
            ("ack_within", ack_within.is_some()),
            ("expires_after", expires_after.is_some()),
            ("dead_letters", self.dead_letters.is_some()),
        ];
        options.into_iter().find_map(|(option, is_set)| is_set.then_some(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_members_without_a_name_is_named_with_what_to_do() {
        let new = Subscribe::new;
        let second = Duration::from_secs(1);
        for (option, options) in [
            ("ack", new().ack(AckMode::Manual)),
            ("prefetch", new().prefetch(1)),
            ("keyed", new().keyed()),
            ("deliveries_max", new().deliveries_max(1)),
            ("backoff", new().backoff(second, 2.0, second)),
            ("ack_within", new().ack_within(second)),
            ("expires_after", new().expires_after(second)),
            ("dead_letters", new().dead_letters("/")),
        ] {
            let fault = options.fault(true).unwrap();
            assert!(fault.starts_with(&format!("`{option}` is for members")), "{fault}");
            assert!(fault.contains("`Subscribe::named`"), "{fault}");
            assert_eq!(options.named("workers").fault(true), None);
        }
        let own = new().from(Start::Oldest).on_lag(Lag::Skip).wait(Wait::Park).durable_only();
        assert_eq!(own.write_protected().past_the_end().fault(true), None);
    }
}
