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
    #[must_use]
    pub fn sequence(self) -> Option<u64> {
        match self {
            Self::Sequence(sequence) => Some(sequence),
            Self::Full | Self::TimedOut => None,
        }
    }
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
    /// read, or were about to be; `to` comes next. The subscription goes on.
    Missed {
        /// The first message missed.
        from: u64,
        /// The first message after those missed.
        to: u64,
    },
    /// The producer ended the stream, and everything before has been received. Should a later
    /// producer go on, so do the messages.
    Closed,
}

impl<M> Received<M> {
    /// The message, if it is one.
    ///
    /// ```
    /// assert_eq!(ringway::Received::Message(5).message(), Some(5));
    /// assert_eq!(ringway::Received::<u8>::Closed.message(), None);
    /// ```
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
