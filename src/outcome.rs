//! What a send or a receive came to. These are states, not errors: they pass, or they are news.

/// What [`Producer::try_send`](crate::Producer::try_send) and
/// [`Producer::send_timeout`](crate::Producer::send_timeout) came to.
///
/// ```
/// use ringway::Sent;
///
/// assert_eq!(Sent::Sequence(7).sequence(), Some(7));
/// assert_eq!(Sent::Full.sequence(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that was not sent is lost unless the caller keeps it"]
pub enum Sent {
    /// The message is in the ring, with this sequence.
    Sequence(u64),
    /// A consumer that holds the producer is a ring behind. Nothing was sent.
    Full,
    /// It was still so when the time was over. Nothing was sent.
    TimedOut,
}

impl Sent {
    /// The message's sequence, if it was sent.
    ///
    /// ```
    /// # use ringway::Sent;
    /// assert_eq!((Sent::Sequence(7).sequence(), Sent::Full.sequence()), (Some(7), None));
    /// ```
    #[must_use]
    pub fn sequence(self) -> Option<u64> {
        match self {
            Self::Sequence(sequence) => Some(sequence),
            Self::Full | Self::TimedOut => None,
        }
    }
}

/// Who keeps a producer from going on, as [`Producer::held_by`](crate::Producer::held_by) tells. Its
/// text says what to do about it.
///
/// ```
/// use ringway::Holder;
///
/// let holder = Holder::Consumer { member: 3, pid: 4711 };
/// assert_eq!(holder.to_string(), "consumer 3 (process 4711)");
///
/// let (queue, name) = ("orders".to_owned(), "workers".to_owned());
/// let abandoned = Holder::Subscription { queue, name, members: 0 };
/// assert!(abandoned.to_string().contains("`ringway unsubscribe orders workers`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A consumer of its own.
    Consumer {
        /// Its line in the member table.
        member: u32,
        /// Its process, as it saw itself.
        pid: u32,
    },
    /// A named subscription: what is at its head, or what its members have not settled.
    Subscription {
        /// The queue.
        queue: String,
        /// The subscription.
        name: String,
        /// How many of its members live.
        members: u32,
    },
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Consumer { member, pid } => write!(f, "consumer {member} (process {pid})"),
            Self::Subscription { queue, name, members: 0 } => write!(
                f,
                "subscription '{name}', which has no live member; start one, or remove the subscription with `ringway unsubscribe {queue} {name}`"
            ),
            Self::Subscription { name, members: 1, .. } => {
                write!(f, "subscription '{name}' (1 live member)")
            }
            Self::Subscription { name, members, .. } => {
                write!(f, "subscription '{name}' ({members} live members)")
            }
        }
    }
}

/// What an acknowledgement came to.
///
/// ```
/// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
/// # let _ = Queue::force_remove("doc-acked");
/// # let queue = Queue::create("doc-acked", &QueueOptions::new())?;
/// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
/// let mut worker = queue.subscribe(&workers)?;
/// queue.producer()?.send(b"a task")?;
/// let message = worker.receive()?.message().unwrap();
/// assert_eq!(message.ack()?, Acked::Done);
/// assert_eq!(worker.ack(0)?, Acked::Late); // it was acknowledged before
/// # drop(worker);
/// # Queue::force_remove("doc-acked")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was acknowledged too late may be done twice"]
pub enum Acked {
    /// The message is done; nobody will get it again.
    Done,
    /// The message was not this consumer's any more, and nothing was changed: its time was over
    /// and it has passed to another member, or it was settled before.
    Late,
}

/// What a refusal came to.
///
/// ```
/// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
/// # use std::time::Duration;
/// # let _ = Queue::force_remove("doc-nacked");
/// # let queue = Queue::create("doc-nacked", &QueueOptions::new())?;
/// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
/// let mut worker = queue.subscribe(&workers)?;
/// queue.producer()?.send(b"a task")?;
/// let message = worker.receive()?.message().unwrap();
/// assert_eq!(message.nack()?, Nacked::Retry(Duration::ZERO));
/// assert_eq!(worker.receive()?.message().unwrap().delivery(), 2);
/// # drop(worker);
/// # Queue::force_remove("doc-nacked")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it may be a dead letter by now"]
pub enum Nacked {
    /// It will be delivered again, to whichever member is free, after this pause at the earliest.
    Retry(std::time::Duration),
    /// It had been delivered as often as it may be. It is a dead letter now.
    DeadLetter,
    /// As [`Acked::Late`].
    Late,
}

/// What a receive came to. `M` is a [`Message`](crate::Message) or a [`Batch`](crate::Batch).
///
/// ```
/// use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-received");
/// let queue = Queue::create("doc-received", &QueueOptions::new())?;
/// let mut producer = queue.producer()?;
/// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// producer.send(b"one")?;
/// producer.close()?;
/// loop {
///     match consumer.receive()? {
///         Received::Message(message) => assert_eq!(message.payload(), b"one"),
///         Received::Missed { from, to } => println!("{} messages are gone", to - from),
///         Received::Closed => break,
///         Received::Empty | Received::TimedOut => unreachable!("receive waits"),
///     }
/// }
/// # Queue::force_remove("doc-received")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the message is received, and the next call goes on behind it"]
pub enum Received<M> {
    /// What was waiting.
    Message(M),
    /// Nothing is there now. Only the `try_` forms say so.
    Empty,
    /// Nothing came within the time given.
    TimedOut,
    /// The messages `from..to`, so `to - from` of them, were overwritten before they could be
    /// read, or were about to be; `to` comes next. The subscription goes on. A consumer that holds the
    /// producer is told so too, of what was gone before it began: a loop that is to go on to the end of
    /// the stream goes past this, as [`Consumer::next_message`](crate::Consumer::next_message) does.
    Missed {
        /// The first message missed.
        from: u64,
        /// The first message after those missed.
        to: u64,
    },
    /// The producer ended the stream, and everything before has been received; of a named
    /// subscription, by whichever member, and nothing is left that might be delivered again but what
    /// this member has itself and may yet refuse. So members that acknowledge many at once do that before
    /// they wait: else each waits for what the other has. Should a later producer go on, so do the messages.
    /// Until then every receive tells this again, at once and whatever time it may take: who is to wait for
    /// that producer asks for it ([`Subscribe::past_the_end`](crate::Subscribe::past_the_end)).
    ///
    /// Only [`Producer::close`](crate::Producer::close) ends a stream. One whose producer was dropped,
    /// or died, has not ended: consumers go on waiting, for its successor.
    /// [`Consumer::producer_is_alive`](crate::Consumer::producer_is_alive) tells that there is none.
    Closed,
}

impl<M> Received<M> {
    /// The message, if it is one.
    ///
    /// ```
    /// assert_eq!(ringway::Received::Message(5).message(), Some(5));
    /// assert_eq!(ringway::Received::<u8>::Closed.message(), None);
    /// ```
    #[must_use = "what it is else, missed messages say, goes unseen"]
    pub fn message(self) -> Option<M> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The same, with something made of the message.
    ///
    /// ```
    /// use ringway::Received;
    ///
    /// assert_eq!(Received::Message("3").map(str::len), Received::Message(1));
    /// assert_eq!(Received::Closed.map(str::len), Received::Closed);
    /// ```
    #[inline]
    pub fn map<N>(self, make: impl FnOnce(M) -> N) -> Received<N> {
        match self {
            Self::Message(message) => Received::Message(make(message)),
            Self::Empty => Received::Empty,
            Self::TimedOut => Received::TimedOut,
            Self::Missed { from, to } => Received::Missed { from, to },
            Self::Closed => Received::Closed,
        }
    }
}
