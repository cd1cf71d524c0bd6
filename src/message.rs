//! What a consumer is lent: a message, or a batch of them.

use core::fmt;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::layout::time;
use crate::outcome::{Acked, Nacked};
use crate::ring::{CopyReader, ExtensionSet, HeldReader, Run, Span};
use crate::sharing::{Handed, SharedReader, Work};

/// What the addresses of all payloads are multiples of.
#[cfg(feature = "zerocopy")]
const ALIGNMENT: usize = 8;

/// A message, lent until the next call on the consumer or observer it came from.
///
/// A [`Hold`](crate::Lag::Hold) consumer's payload is read where the producer wrote it; the
/// others' is their own copy. Either way it begins at an address that is a multiple of 8. In a child that
/// is forked meanwhile the former stays as it is for no longer than in the parent.
///
/// ```
/// # use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
/// # let _ = Queue::force_remove("doc-message");
/// # let queue = Queue::create("doc-message", &QueueOptions::new())?;
/// # let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// queue.producer()?.send(b"payload")?;
/// if let Received::Message(message) = consumer.receive()? {
///     assert_eq!((message.sequence(), message.payload()), (0, &b"payload"[..]));
/// }
/// # Queue::force_remove("doc-message")?;
/// # Ok::<(), ringway::Error>(())
/// ```
///
/// A member of a named subscription acknowledges its messages: by [`ack`](Self::ack), or, with
/// [`AckMode::Auto`](crate::AckMode::Auto), by receiving the next one.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    payload: &'a [u8],
    sequence: u64,
    key_hash: Option<u64>,
    /// Nanoseconds since 1970.
    time: Option<u64>,
    delivery: u32,
    /// Of a member's message: where it is acknowledged.
    work: Option<&'a Work>,
}

impl<'a> Message<'a> {
    /// The message of a span that counts from `base`.
    ///
    /// # Safety
    /// The span's payload and the extension words before it are readable for `'a`, and nobody
    /// writes them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn at(base: *const u8, span: Span, sequence: u64) -> Self {
        let start = base.wrapping_add(span.offset);
        // SAFETY: by the caller's promise.
        let payload = unsafe { core::slice::from_raw_parts(start, span.size) };
        let extension = |one| {
            let word = start.wrapping_sub(span.extensions.distance(one)).cast::<[u8; 8]>();
            // SAFETY: a word of the set lies there, by the caller's promise.
            span.extensions.contains(one).then(|| u64::from_le_bytes(unsafe { word.read() }))
        };
        let (mut key_hash, mut time) = (None, None);
        if span.extensions_size > 0 {
            key_hash = extension(ExtensionSet::KEY);
            time = extension(ExtensionSet::TIME);
        }
        Self { payload, sequence, key_hash, time, delivery: 1, work: None }
    }

    /// A member's message.
    ///
    /// # Safety
    /// As [`Self::at`], and the work lives for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn of_member(base: *const u8, handed: Handed, work: *const Work) -> Self {
        let Handed { span, sequence, delivery, .. } = handed;
        // SAFETY: by the caller's promise.
        let message = unsafe { Self::at(base, span, sequence) };
        // SAFETY: by the caller's promise.
        let work = unsafe { work.as_ref() };
        Self { delivery, work, ..message }
    }

    /// Its number: the producer counts messages from 0, or from the queue's
    /// [`first_sequence`](crate::QueueOptions::first_sequence), without gaps.
    ///
    /// # What identifies a message
    ///
    /// As long as the queue is there, its sequence: no other message that anybody receives has it.
    /// Among all queues ever made, its sequence with the queue's
    /// [`instance_id`](crate::Queue::instance_id).
    ///
    /// A queue with a [journal](crate::QueueOptions::journal) that is made anew, after a restart say,
    /// goes on with the sequences, under another instance id. A message that was durable has the
    /// sequence it had. One that was received before it was durable may have been lost, and then
    /// *another message has its sequence*. So who writes down what it has dealt with, and goes by that
    /// after a restart, writes down sequence and [`time`](Self::time), which a message keeps as it
    /// keeps its sequence, or has the producer put an identity of its own into the payload. Or it
    /// receives [durable messages alone](crate::Subscribe::durable_only): of those the sequence is
    /// enough. Durable is what the journal was made for: of one that is only
    /// [written](crate::Journal::Written), a loss of power takes durable messages too.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-message-sequence");
    /// # let directory = std::env::temp_dir().join("ringway-doc-message-sequence");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
    /// let identity = || -> Result<_, ringway::Error> {
    ///     let queue = Queue::open("doc-message-sequence")?;
    ///     let mut observer = queue.observe(Start::Oldest)?;
    ///     let message = observer.receive()?.message().unwrap();
    ///     Ok((message.sequence(), message.time()))
    /// };
    /// let queue = Queue::create("doc-message-sequence", &options)?;
    /// queue.producer()?.send_durable(b"first")?;
    /// let before = identity()?;
    /// assert_eq!(before.0, 0);
    /// Queue::force_remove("doc-message-sequence")?; // or the machine restarts
    /// let again = Queue::create("doc-message-sequence", &options)?;
    /// assert_eq!(identity()?, before);
    /// assert_ne!(again.instance_id(), queue.instance_id());
    /// # Queue::force_remove("doc-message-sequence")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Its bytes, as they were sent.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-message-payload");
    /// # let queue = Queue::create("doc-message-payload", &QueueOptions::new())?;
    /// queue.producer()?.send(b"as it was sent")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert_eq!(observer.receive()?.message().unwrap().payload(), b"as it was sent");
    /// # Queue::force_remove("doc-message-payload")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The [hash](crate::key_hash) of its key, if the producer gave it one.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, key_hash};
    /// # let _ = Queue::force_remove("doc-message-key");
    /// # let queue = Queue::create("doc-message-key", &QueueOptions::new())?;
    /// queue.producer()?.message().key(b"customer 7").send(b"an order")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// let message = observer.receive()?.message().unwrap();
    /// assert_eq!(message.key_hash(), Some(key_hash(b"customer 7")));
    /// # Queue::force_remove("doc-message-key")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn key_hash(&self) -> Option<u64> {
        self.key_hash
    }

    /// When it was sent, or pushed to its batch, by the clock of whoever sent it: in a queue with a
    /// [journal](crate::QueueOptions::journal).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-message-time");
    /// # let queue = Queue::create("doc-message-time", &QueueOptions::new())?;
    /// queue.producer()?.send(b"without a time")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert_eq!(observer.receive()?.message().unwrap().time(), None);
    /// # Queue::force_remove("doc-message-time")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.time.map(time::moment)
    }

    /// How often it has been delivered, this time included: 1 is the first. 256 means at
    /// least that often. Only members of named subscriptions get a message more than once.
    ///
    /// ```
    /// # use ringway::{AckMode, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-delivery");
    /// # let queue = Queue::create("doc-delivery", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// let mut one = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// assert_eq!(one.receive()?.message().unwrap().delivery(), 1);
    /// drop(one); // without having acknowledged it
    /// let mut other = queue.subscribe(&workers)?;
    /// assert_eq!(other.receive()?.message().unwrap().delivery(), 2);
    /// # drop(other);
    /// # Queue::force_remove("doc-delivery")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.delivery
    }

    /// Whether somebody got it before, and did not acknowledge it.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-redelivered");
    /// # let queue = Queue::create("doc-redelivered", &QueueOptions::new())?;
    /// queue.producer()?.send(b"seen")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert!(!observer.receive()?.message().unwrap().redelivered());
    /// # Queue::force_remove("doc-redelivered")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.delivery > 1
    }

    /// Acknowledges the message: it is done, and nobody gets it again, whoever dies. Messages can
    /// be acknowledged in any order; one that is lent, from any thread, and others by an
    /// [`Acker`](crate::Acker). For a consumer that is no member of a named subscription this does
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-ack");
    /// # let queue = Queue::create("doc-ack", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// let message = worker.receive()?.message().unwrap();
    /// // ... the task is done ...
    /// assert_eq!(message.ack()?, Acked::Done);
    /// # drop(worker);
    /// # Queue::force_remove("doc-ack")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn ack(self) -> Result<Acked, Error> {
        self.work.map_or(Ok(Acked::Done), |work| work.settler_of_lent().ack(self.sequence))
    }

    /// Refuses the message: it is delivered again, to whichever member is free, after the
    /// subscription's [`backoff`](crate::Subscribe::backoff), until it has been delivered as often
    /// as it may be and becomes a dead letter. For a consumer that is no member of a named
    /// subscription this does nothing, and says [`Nacked::Late`].
    ///
    /// The other messages that the member took together with it go first: it is for others when those
    /// are dealt with, and nothing but refused ones is left. [`prefetch`](crate::Subscribe::prefetch)
    /// says how many it takes together. Where payloads are lent as they lie in the queue, with
    /// [`Lag::Hold`](crate::Lag::Hold) and without a lease, that is when this consumer receives
    /// again, since it may look at this one until then; who does something else first refuses by
    /// [`Consumer::nack`](crate::Consumer::nack).
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::File`] if the dead letter could not be written: then the message
    /// is still to be dealt with; with [`AckMode::Auto`](crate::AckMode::Auto) it comes again.
    ///
    /// ```
    /// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-nack");
    /// # let queue = Queue::create("doc-nack", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// assert!(matches!(worker.receive()?.message().unwrap().nack()?, Nacked::Retry(_)));
    /// assert!(worker.receive()?.message().unwrap().redelivered());
    /// # drop(worker);
    /// # Queue::force_remove("doc-nack")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn nack(self) -> Result<Nacked, Error> {
        self.work.map_or(Ok(Nacked::Late), |work| work.settler_of_lent().nack(self.sequence, None))
    }

    /// Refuses the message as [`nack`](Self::nack), but says itself how long it is not to be
    /// delivered again, whoever is free: until what it needs is likely to be there. To the
    /// millisecond, rounded up, and 49 days at most. The pause is measured by the clock of whoever
    /// has the message. When it passes on, because all that is left of those that were taken together
    /// waits, or because its member ends, the next one measures what is left from the moment at which
    /// it finds it: so it gets longer, but never shorter.
    ///
    /// # Errors
    /// As [`nack`](Self::nack).
    ///
    /// ```
    /// # use ringway::{AckMode, Nacked, Queue, QueueOptions, Start, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-nack-after");
    /// # let queue = Queue::create("doc-nack-after", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"a task")?;
    /// let pause = Duration::from_millis(5);
    /// let nacked = worker.receive()?.message().unwrap().nack_after(pause)?;
    /// assert_eq!(nacked, Nacked::Retry(pause));
    /// assert!(worker.receive()?.message().unwrap().redelivered());
    /// # drop(worker);
    /// # Queue::force_remove("doc-nack-after")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn nack_after(self, pause: Duration) -> Result<Nacked, Error> {
        self.work.map_or(Ok(Nacked::Late), |work| {
            work.settler_of_lent().nack(self.sequence, Some(pause))
        })
    }

    /// Gives the message up at once: it becomes a dead letter, however often it was delivered, for one
    /// that nobody can make anything of. For a consumer that is no member of a named subscription
    /// this does nothing, and says [`Acked::Late`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the member has no place for dead letters: neither has the queue a
    /// [history directory](crate::QueueOptions::history), nor was it
    /// [given one](crate::Subscribe::dead_letters). Else as [`nack`](Self::nack).
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Received, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-reject");
    /// # let directory = std::env::temp_dir().join("ringway-doc-reject");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let queue = Queue::create("doc-reject", &QueueOptions::new().history(&directory))?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers)?;
    /// queue.producer()?.send(b"no task at all")?;
    /// assert_eq!(worker.receive()?.message().unwrap().reject()?, Acked::Done);
    /// assert_eq!(worker.try_receive()?, Received::Empty);
    /// let letter = queue.dead_letters("workers")?.iter().next().unwrap()?;
    /// assert_eq!(letter.payload, b"no task at all");
    /// # drop(worker);
    /// # Queue::force_remove("doc-reject")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn reject(self) -> Result<Acked, Error> {
        self.work.map_or(Ok(Acked::Late), |work| work.settler_of_lent().reject(self.sequence))
    }

    /// Says that the message is still being worked on: the time that
    /// [`ack_within`](crate::Subscribe::ack_within) gives begins anew, for it and what was taken
    /// together with it.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{AckMode, Acked, Queue, QueueOptions, Start, Subscribe};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-extend-lease");
    /// # let queue = Queue::create("doc-extend-lease", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    /// let mut worker = queue.subscribe(&workers.ack_within(Duration::from_secs(30)))?;
    /// queue.producer()?.send(b"a long task")?;
    /// let message = worker.receive()?.message().unwrap();
    /// assert_eq!(message.extend()?, Acked::Done);
    /// # drop(worker);
    /// # Queue::force_remove("doc-extend-lease")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn extend(&self) -> Result<Acked, Error> {
        self.work.map_or(Ok(Acked::Done), |work| work.settler_of_lent().extend(self.sequence))
    }

    /// The payload as a value of `T`, or as a slice of such; `None` if its size does not fit. Payloads
    /// lie at multiples of 8, and some of them at multiples of more: so it is always `None` for a `T`
    /// of a stricter alignment, such as `u128`, and not by where this one happens to lie;
    /// [`read_value`](Self::read_value) has those too.
    ///
    /// ```
    /// use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    ///
    /// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    /// #[repr(C)]
    /// struct Tick {
    ///     price: u64,
    ///     volume: u64,
    /// }
    ///
    /// # let _ = Queue::force_remove("doc-value");
    /// # let queue = Queue::create("doc-value", &QueueOptions::new())?;
    /// # let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// queue.producer()?.send_value(&Tick { price: 17, volume: 4 })?;
    /// let message = consumer.receive()?.message().unwrap();
    /// assert_eq!(message.value::<Tick>().unwrap().price, 17);
    /// queue.producer()?.send_value(&[1_u32, 2, 3][..])?;
    /// let message = consumer.receive()?.message().unwrap();
    /// assert_eq!(message.value::<[u32]>(), Some(&[1, 2, 3][..]));
    /// # let mut producer = queue.producer()?;
    /// # // Of payloads that are 24 bytes apart each second one lies at a multiple of 16.
    /// # for _ in 0..4 {
    /// #     producer.send_value(&7_u128)?;
    /// #     let message = consumer.receive()?.message().unwrap();
    /// #     assert_eq!(message.value::<u128>(), None);
    /// #     assert_eq!(message.value::<[u128]>(), None);
    /// # }
    /// # Queue::force_remove("doc-value")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    #[must_use]
    pub fn value<T>(&self) -> Option<&'a T>
    where
        T: zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + ?Sized,
    {
        let value = T::ref_from_bytes(self.payload).ok()?;
        (align_of_val(value) <= ALIGNMENT).then_some(value)
    }

    /// A copy of the payload as a value of `T`, which may outlive the message and have any alignment;
    /// `None` if its size is not the payload's.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-read-value");
    /// # let queue = Queue::create("doc-read-value", &QueueOptions::new())?;
    /// queue.producer()?.send_value(&7_u128)?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// let message = observer.receive()?.message().unwrap();
    /// assert_eq!((message.read_value(), message.read_value::<u64>()), (Some(7_u128), None));
    /// # Queue::force_remove("doc-read-value")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    #[must_use]
    pub fn read_value<T: zerocopy::FromBytes>(&self) -> Option<T> {
        T::read_from_bytes(self.payload).ok()
    }
}

/// Its payload: a batch that was received can be sent on as it is, but without its keys.
///
/// ```
/// # use ringway::{Queue, QueueOptions, Start, Subscribe};
/// # for name in ["doc-message-from", "doc-message-to"] { let _ = Queue::force_remove(name); }
/// # let from = Queue::create("doc-message-from", &QueueOptions::new())?;
/// # let to = Queue::create("doc-message-to", &QueueOptions::new())?;
/// # let mut source = from.producer()?;
/// # for payload in ["to", "be"] { source.send(payload.as_bytes())?; }
/// let mut consumer = from.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// let mut producer = to.producer()?;
/// let received = consumer.receive_batch(64)?.message().unwrap();
/// let mut batch = producer.batch();
/// batch.extend(received)?;
/// assert_eq!(batch.commit()?, 0..2);
/// # for name in ["doc-message-from", "doc-message-to"] { Queue::force_remove(name)?; }
/// # Ok::<(), ringway::Error>(())
/// ```
impl AsRef<[u8]> for Message<'_> {
    fn as_ref(&self) -> &[u8] {
        self.payload
    }
}

/// Two messages are equal if they say the same: sequence, key, delivery and payload.
impl PartialEq for Message<'_> {
    fn eq(&self, other: &Self) -> bool {
        let facts = |message: &Self| (message.sequence, message.key_hash, message.delivery);
        facts(self) == facts(other) && self.payload == other.payload
    }
}

impl Eq for Message<'_> {}

/// All that it says, but of a long payload the beginning only.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 64;
        let shown = &self.payload[..self.payload.len().min(SHOWN_MAX)];
        let more = if shown.len() < self.payload.len() { ".." } else { "" };
        let mut fields = f.debug_struct("Message");
        fields.field("sequence", &self.sequence).field("delivery", &self.delivery);
        if let Some(hash) = self.key_hash {
            fields.field("key_hash", &format_args!("{hash:#018x}"));
        }
        if let Some(time) = self.time() {
            fields.field("time", &time);
        }
        fields.field("size", &self.payload.len());
        fields.field("payload", &format_args!("\"{}\"{more}", shown.escape_ascii())).finish()
    }
}

/// Messages that follow each other, lent until the next call on the consumer or observer they
/// came from: an iterator, over at least one.
///
/// A message counts as received when the iterator has passed it; the first one always does. What
/// it has not reached by the time it is dropped comes with the next receive.
///
/// ```
/// # use ringway::{Queue, QueueOptions, Received, Start, Subscribe};
/// # let _ = Queue::force_remove("doc-batch");
/// # let queue = Queue::create("doc-batch", &QueueOptions::new())?;
/// # let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// let mut producer = queue.producer()?;
/// producer.send(b"a")?;
/// producer.send(b"b")?;
/// producer.send(b"c")?;
/// if let Received::Message(batch) = consumer.receive_batch(2)? {
///     let letters: Vec<u8> = batch.map(|message| message.payload()[0]).collect();
///     assert_eq!(letters, b"ab");
/// }
/// # Queue::force_remove("doc-batch")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct Batch<'a> {
    first: Option<Message<'a>>,
    /// What follows. By value, so that a loop over it keeps it in registers.
    run: Run,
    /// How many of that may be taken.
    left: usize,
    /// Whether it ended because nothing more was there.
    has_caught_up: bool,
    /// Whose run this is: to be told how far it went.
    reader: ReaderOf<'a>,
}

#[derive(Debug)]
enum ReaderOf<'a> {
    Held(&'a mut HeldReader),
    Copied(&'a mut CopyReader),
    Shared(&'a mut Run, &'a Work),
}

impl<'a> Batch<'a> {
    /// A message, and up to `left` more as they lie in the ring.
    #[inline]
    pub(crate) fn of_held(first: Message<'a>, reader: &'a mut HeldReader, left: usize) -> Self {
        let run = reader.track().run().clone();
        let reader = ReaderOf::Held(reader);
        Self { first: Some(first), run, left, has_caught_up: false, reader }
    }

    /// A message, and more in a copy of what comes next.
    ///
    /// # Safety
    /// The copy outlives `'a`, and nobody writes it meanwhile.
    pub(crate) unsafe fn of_copy(
        first: Message<'a>,
        reader: &'a mut CopyReader,
        copy: Run,
    ) -> Self {
        let reader = ReaderOf::Copied(reader);
        let left = usize::MAX;
        Self { first: Some(first), run: copy, left, has_caught_up: false, reader }
    }

    /// A member's message, and up to `left` more of the same share.
    pub(crate) fn of_shared(first: Message<'a>, reader: &'a mut SharedReader, left: usize) -> Self {
        let (run, work) = reader.split();
        // Anew: what it was lent with is over by the borrow above.
        let first = Message { work: Some(work), ..first };
        let (run, reader) = (run.clone(), ReaderOf::Shared(run, work));
        Self { first: Some(first), run, left, has_caught_up: false, reader }
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Message<'a>;

    /// Inlined for the caller's loop to keep the run, and what it needs of the message, in registers.
    #[inline(always)]
    fn next(&mut self) -> Option<Message<'a>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        self.left = self.left.checked_sub(1)?;
        if let ReaderOf::Shared(run, work) = &mut self.reader {
            let sequence = run.sequence();
            let Some(span) = next_of_member(run, work) else {
                self.left = 0;
                return None;
            };
            let handed = Handed { span, sequence, delivery: 1, is_copy: false };
            // SAFETY: its share holds the writer until the next receive at least, settled or not;
            // that needs the reader, which is borrowed for `'a`, and so is the work.
            return Some(unsafe { Message::of_member(run.base(), handed, *work) });
        }
        let sequence = self.run.sequence();
        let Some(span) = self.run.next() else {
            self.has_caught_up = !self.run.is_limited();
            // What comes from now on is for the next batch.
            self.left = 0;
            return None;
        };
        // SAFETY: a held reader's frames stay as they are until its cursor moves, which needs
        // the reader that is borrowed for `'a`; a copy does by the promise of `of_copy`.
        Some(unsafe { Message::at(self.run.base(), span, sequence) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let first = usize::from(self.first.is_some());
        (first, self.left.checked_add(first))
    }
}

impl core::iter::FusedIterator for Batch<'_> {}

/// The next message of a member's share. The member's own run goes on at once, as its share does: a
/// batch may be forgotten.
#[inline(never)]
fn next_of_member(run: &mut Run, work: &Work) -> Option<Span> {
    work.next_in_batch(run)
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        match &mut self.reader {
            ReaderOf::Held(reader) => reader.end_batch(&self.run, self.has_caught_up),
            ReaderOf::Copied(reader) => reader.pass(&self.run),
            ReaderOf::Shared(..) => {}
        }
    }
}
