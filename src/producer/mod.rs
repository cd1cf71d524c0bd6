//! The sending end.

mod batch;
mod claim;
mod fences;
mod flush;
mod outgoing;
mod rate;
mod room;

pub use self::{batch::SendBatch, claim::Claim, outgoing::Outgoing};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use self::claim::Unusual;
use self::fences::{BY_SLEEPERS, FORKED, Fences};
use self::rate::Rate;
use crate::error::Error;
use crate::history::{self, Historian, Looks};
use crate::interrupter::{Interrupter, Interruption};
use crate::layout::{CONTROL, HEADER};
use crate::outcome::{Holder, Sent};
use crate::registry;
use crate::ring::{Check, Extensions, Keeps, Shape, Writer};
use crate::segment::{Access, Lock, Mapping, Segment};
use crate::sync::{Ordering, compiler_fence, fence};
use crate::sys::process;
use crate::wait::{Event, Patience, Wait};

/// The one handle that sends to a queue.
///
/// There is one at a time, in whichever process; it lives as long as this handle, and if it dies
/// in the middle of a send, in whatever way, the next one goes on behind the last message that
/// was sent whole. One thread at a time uses it; it may move between threads.
///
/// ```
/// use ringway::{Error, Queue, QueueOptions};
///
/// # let _ = Queue::force_remove("doc-producer");
/// let queue = Queue::create("doc-producer", &QueueOptions::new())?;
/// let mut producer = queue.producer()?;
/// assert!(matches!(queue.producer(), Err(Error::ProducerAlive { .. })));
/// assert_eq!(producer.send(b"first")?, 0);
/// assert_eq!(producer.send(b"second")?, 1);
/// # Queue::force_remove("doc-producer")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub struct Producer {
    /// On lines of its own: a thread may hold the ends of several queues side by side.
    writer: CachePadded<Writer>,
    fences: Fences,
    interruption: Interruption,
    wait: Wait,
    /// When to look again whether those who hold the producer live.
    clear_at: Option<Instant>,
    held_since: Option<Instant>,
    /// Up to where the stream was to be durable in the last wait that gave up, if that was for this and
    /// not for room; and in one that lasts.
    unflushed: Option<u64>,
    reserves: u32,
    rate: Rate,
    /// What to make checksums with, in a queue with a journal.
    check: Option<Check>,
    /// What is unusual about the claim in hand.
    claimed: Option<Unusual>,
    /// Once something has gone to the history.
    historian: Option<Historian>,
    /// When another one was last found to do that.
    refused_at: Option<Instant>,
    /// When this one last looked at what a historian looks at now and then.
    looks: Looks,
    lock: Lock,
    segment: Arc<Segment>,
    /// Last: the writer's view is of this.
    mapping: Arc<Mapping>,
}

impl Producer {
    pub(crate) fn take_over(segment: &Arc<Segment>) -> Result<Self, Error> {
        let check = history::check_of(segment);
        // Before there is a lock: it may take the kernel a while, and whoever is killed meanwhile
        // does not die before that is over.
        let registered = check.is_none() && process::register_for_global_barrier();
        let lock = segment.lock_file()?;
        if !lock.try_producer()? {
            if segment.is_stale() {
                // Whoever removes a queue has all locks for that time.
                return Err(segment.stale());
            }
            let pid = segment.producer_pid();
            return Err(Error::ProducerAlive { queue: segment.name().into(), pid });
        }
        let mapping = segment.map_prefaulted(Access::Produce)?;
        let ring = mapping.ring();
        if segment.is_stale() {
            return Err(segment.stale());
        }
        let writer = Writer::recover(ring).map_err(|corrupt| segment.corrupt(corrupt))?;
        let keeps = match segment.history() {
            Some(_) if segment.identity().keeping.journal.is_some() => Keeps::Everything,
            Some(_) => Keeps::Lagging,
            None => Keeps::Nothing,
        };
        let mut writer = writer.keeping(keeps);
        let ring = writer.ring();
        if keeps == Keeps::Lagging && ring.written_from() < ring.written() {
            // Its end removes what nobody needs any more. What fails will fail again when it counts.
            drop(Historian::take(segment, ring, registry::remove_expired));
        }
        let epoch = ring.header(HEADER.epoch);
        epoch.store(epoch.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        ring.header(HEADER.producer_pid).store(std::process::id(), Ordering::Relaxed);
        ring.header(HEADER.must_keep).store(0, Ordering::Relaxed);
        ring.header(HEADER.produced_since).store(process::time_of_day(), Ordering::Relaxed);
        let interruption = Interruption::new(segment)?;
        let fences = Fences::new(segment, check.is_some(), registered)?;
        fences.tell(ring);
        writer.reopen();
        let rate = Rate::new(writer.place().position);
        Ok(Self {
            writer: CachePadded::new(writer),
            fences,
            interruption,
            wait: Wait::default(),
            clear_at: None,
            held_since: None,
            unflushed: None,
            reserves: 0,
            rate,
            check,
            claimed: None,
            historian: None,
            refused_at: None,
            looks: Looks::default(),
            lock,
            segment: Arc::clone(segment),
            mapping: Arc::new(mapping),
        })
    }

    /// How to wait for room, when a consumer holds the producer, and for a [`flush`](Self::flush);
    /// [`Wait::Backoff`] until set.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Wait};
    /// # let _ = Queue::force_remove("doc-set-wait");
    /// # let queue = Queue::create("doc-set-wait", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// producer.set_wait(Wait::Park);
    /// # Queue::force_remove("doc-set-wait")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// One that ends a wait for room, or for what was sent to be durable, from another thread or from
    /// a signal handler.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-producer-interrupter");
    /// # let queue = Queue::create("doc-producer-interrupter", &QueueOptions::new().capacity(64 << 10))?;
    /// let holds_it = queue.subscribe(&Subscribe::new())?;
    /// let mut producer = queue.producer()?;
    /// producer.interrupter().interrupt();
    /// let error = loop {
    ///     if let Err(error) = producer.send(&[0; 1024]) {
    ///         break error;
    ///     }
    /// };
    /// assert!(matches!(error, Error::Interrupted { .. }));
    /// # drop(holds_it);
    /// # Queue::force_remove("doc-producer-interrupter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        let events = &[CONTROL.room_event, CONTROL.data_event];
        self.interruption.interrupter(events, &self.mapping, None)
    }

    /// Sends a message, and returns its sequence. Waits while a consumer that holds the
    /// producer is a ring behind.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::Forked`], [`Error::Stale`]. In a queue with a history also
    /// [`Error::File`], [`Error::LogDamaged`], [`Error::ForeignHistory`] or [`Error::Corrupt`] if what is
    /// about to be overwritten has to be on disk and cannot be written (the message was not sent, and the
    /// next send tries again), and [`Error::JournalFailed`], which cannot be mended. [`Error::Interrupted`] if an
    /// [interrupter](Self::interrupter) ended the wait; nothing was sent.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-send");
    /// # let queue = Queue::create("doc-send", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// let sequence = producer.send(b"payload")?;
    /// assert_eq!(sequence, 0);
    /// # Queue::force_remove("doc-send")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    // Wherever somebody sends, and so the three below: what a call saves of the registers are stores,
    // which stand in the processor's queue behind those to the ring (perf-notes.md, "Sending, in line
    // and called").
    #[inline(always)]
    pub fn send(&mut self, payload: &[u8]) -> Result<u64, Error> {
        match self.send_now(Extensions::NONE, payload) {
            Some(sequence) => Ok(sequence),
            None => self.send_patiently(Extensions::NONE, payload),
        }
    }

    /// Sends a message if there is room, else says [`Sent::Full`] at once. In a queue with a history it
    /// may wait for the disk all the same, as every send may: what is about to be overwritten may have
    /// yet to be written there. Of a journal a [`Journaler`](crate::Journaler) has done that before; who
    /// must not wait had better have one. A [`Readiness`](crate::Readiness) tells when to try again.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Sent, Subscribe};
    /// # let _ = Queue::force_remove("doc-try-send");
    /// let queue = Queue::create("doc-try-send", &QueueOptions::new().capacity(64 << 10))?;
    /// let _holds = queue.subscribe(&Subscribe::new())?;
    /// let mut producer = queue.producer()?;
    /// let mut sent = 0;
    /// while let Sent::Sequence(_) = producer.try_send(&[0; 4096])? {
    ///     sent += 1;
    /// }
    /// assert!(sent > 10);
    /// # Queue::force_remove("doc-try-send")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline(always)]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<Sent, Error> {
        let sent = self.send_within(Extensions::NONE, payload, Patience::None)?;
        Ok(sent.map_or(Sent::Full, Sent::Sequence))
    }

    /// Sends a message, waiting up to `time` for room, then says [`Sent::TimedOut`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Sent};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-send-timeout");
    /// # let queue = Queue::create("doc-send-timeout", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// assert_eq!(producer.send_timeout(b"x", Duration::from_secs(1))?, Sent::Sequence(0));
    /// # Queue::force_remove("doc-send-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline(always)]
    pub fn send_timeout(&mut self, payload: &[u8], time: Duration) -> Result<Sent, Error> {
        let sent = self.send_within(Extensions::NONE, payload, Patience::Lasting(time))?;
        Ok(sent.map_or(Sent::TimedOut, Sent::Sequence))
    }

    /// Sends a plain value as a payload; [`Message::value`](crate::Message::value) reads it where it
    /// lies, unless its alignment is stricter than 8, and [`Message::read_value`](crate::Message::read_value)
    /// copies it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-send-value");
    /// # let queue = Queue::create("doc-send-value", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// producer.send_value(&[1_u32, 2, 3])?;
    /// # Queue::force_remove("doc-send-value")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    #[inline(always)]
    pub fn send_value<T>(&mut self, value: &T) -> Result<u64, Error>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
    {
        self.send(value.as_bytes())
    }

    /// As [`send_value`](Self::send_value), but says [`Sent::Full`] at once if there is no room, as
    /// [`try_send`](Self::try_send) does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Sent};
    /// # let _ = Queue::force_remove("doc-try-send-value");
    /// # let queue = Queue::create("doc-try-send-value", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// assert_eq!(producer.try_send_value(&17_u64)?, Sent::Sequence(0));
    /// # Queue::force_remove("doc-try-send-value")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    #[inline(always)]
    pub fn try_send_value<T>(&mut self, value: &T) -> Result<Sent, Error>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
    {
        self.try_send(value.as_bytes())
    }

    /// Room for a message of `size` bytes, to be written in place. Waits as [`send`](Self::send)
    /// does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-claim");
    /// # let queue = Queue::create("doc-claim", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// let mut claim = producer.claim(5)?;
    /// claim.copy_from_slice(b"hello");
    /// claim.commit()?;
    /// drop(producer.claim(100)?); // never happened
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert_eq!(observer.receive()?.message().unwrap().payload(), b"hello");
    /// # Queue::force_remove("doc-claim")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn claim(&mut self, size: usize) -> Result<Claim<'_>, Error> {
        self.claim_for_sure(Extensions::NONE, size)
    }

    /// As [`claim`](Self::claim), but `None` at once if there is no room. It may wait for the disk as
    /// [`try_send`](Self::try_send) may.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-try-claim");
    /// # let queue = Queue::create("doc-try-claim", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// if let Some(mut claim) = producer.try_claim(8)? {
    ///     claim.fill(1);
    ///     claim.commit()?;
    /// }
    /// # Queue::force_remove("doc-try-claim")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn try_claim(&mut self, size: usize) -> Result<Option<Claim<'_>>, Error> {
        self.claim_within(Extensions::NONE, size, Patience::None)
    }

    /// As [`claim`](Self::claim), but `None` if there is still no room after the time given.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-claim-timeout");
    /// # let queue = Queue::create("doc-claim-timeout", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// assert!(producer.claim_timeout(8, Duration::from_secs(1))?.is_some());
    /// # Queue::force_remove("doc-claim-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn claim_timeout(
        &mut self,
        size: usize,
        time: Duration,
    ) -> Result<Option<Claim<'_>>, Error> {
        self.claim_within(Extensions::NONE, size, Patience::Lasting(time))
    }

    /// Begins a batch: messages that become visible together, by one store. Dropped without a
    /// [`commit`](SendBatch::commit), it never happened.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-send-batch");
    /// # let queue = Queue::create("doc-send-batch", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// let mut batch = producer.batch();
    /// batch.push(b"debit")?;
    /// batch.push(b"credit")?;
    /// assert_eq!(observer.try_receive()?, Received::Empty);
    /// assert_eq!(batch.commit()?, 0..2);
    /// assert_eq!(observer.receive_batch(8)?.message().unwrap().count(), 2);
    /// # Queue::force_remove("doc-send-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn batch(&mut self) -> SendBatch<'_> {
        SendBatch::new(self)
    }

    /// Begins a message that has more than a payload: a key.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, key_hash};
    /// # let _ = Queue::force_remove("doc-producer-message");
    /// # let queue = Queue::create("doc-producer-message", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// producer.message().key(b"customer 7").send(b"an order")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// let message = observer.receive()?.message().unwrap();
    /// assert_eq!(message.key_hash(), Some(key_hash(b"customer 7")));
    /// # Queue::force_remove("doc-producer-message")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn message(&mut self) -> Outgoing<'_> {
        Outgoing::new(self)
    }

    /// Waits until everything that was sent is durable. A journaler that syncs now and then does so
    /// now; where none lives, this writes itself. Where a history of limited size is full, and a named
    /// subscription holds it, this waits for that too.
    ///
    /// # Errors
    /// [`Error::NoJournal`], [`Error::JournalFailed`], [`Error::File`], [`Error::LogDamaged`],
    /// [`Error::ForeignHistory`], [`Error::Corrupt`], [`Error::Forked`], [`Error::Stale`];
    /// [`Error::Interrupted`] if an [interrupter](Self::interrupter) ended the wait.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-flush");
    /// # let directory = std::env::temp_dir().join("ringway-doc-flush");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
    /// let queue = Queue::create("doc-flush", &options)?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"one")?;
    /// producer.send(b"two")?;
    /// producer.flush()?;
    /// assert_eq!(queue.durable_sequence(), Some(2));
    /// # drop(producer);
    /// # Queue::force_remove("doc-flush")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn flush(&mut self) -> Result<(), Error> {
        self.flush_within(Patience::Endless).map(drop)
    }

    /// As [`flush`](Self::flush), but `false` if a journaler has yet to make something durable. It was
    /// asked to; a [`Readiness`](crate::Readiness) tells when to ask again. Where none lives, this
    /// writes itself, and so may wait for the disk all the same.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-try-flush");
    /// # let directory = std::env::temp_dir().join("ringway-doc-try-flush");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
    /// # let queue = Queue::create("doc-try-flush", &options)?;
    /// # let mut producer = queue.producer()?;
    /// producer.send(b"one")?;
    /// // There is no journaler.
    /// assert!(producer.try_flush()?);
    /// # drop(producer);
    /// # Queue::force_remove("doc-try-flush")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_flush(&mut self) -> Result<bool, Error> {
        self.flush_within(Patience::None)
    }

    /// As [`flush`](Self::flush), but waits up to `time`; `false` if that was over first. What is not
    /// durable by then may be so at any moment after.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-flush-timeout");
    /// # let directory = std::env::temp_dir().join("ringway-doc-flush-timeout");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
    /// # let queue = Queue::create("doc-flush-timeout", &options)?;
    /// # let mut producer = queue.producer()?;
    /// producer.send(b"one")?;
    /// if !producer.flush_timeout(Duration::from_secs(60))? {
    ///     eprintln!("the disk is slow");
    /// }
    /// # drop(producer);
    /// # Queue::force_remove("doc-flush-timeout")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn flush_timeout(&mut self, time: Duration) -> Result<bool, Error> {
        self.flush_within(Patience::Lasting(time))
    }

    /// [Sends](Self::send) a message, and waits until it is durable, for as long as that takes.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`flush`](Self::flush). After an error of the latter kind the
    /// message was sent, and may or may not become durable.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-send-durable");
    /// # let directory = std::env::temp_dir().join("ringway-doc-send-durable");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
    /// let queue = Queue::create("doc-send-durable", &options)?;
    /// let mut producer = queue.producer()?;
    /// let sequence = producer.send_durable(b"one")?;
    /// assert_eq!(queue.durable_sequence(), Some(sequence + 1));
    /// # drop(producer);
    /// # Queue::force_remove("doc-send-durable")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn send_durable(&mut self, payload: &[u8]) -> Result<u64, Error> {
        self.send_and_flush(Extensions::NONE, payload)
    }

    /// Ends the stream: consumers that have received everything before are told
    /// [`Received::Closed`](crate::Received::Closed). A later producer takes it up again.
    ///
    /// It waits for nobody, nor does it [flush](Self::flush). Of a journal that no journaler writes, the
    /// files have by then what was flushed and what has been overwritten; the rest is in the ring alone,
    /// and is lost with the queue, unless a later producer or a journaler writes it.
    ///
    /// A producer that is dropped without this, or dies, does not end the stream: consumers wait for
    /// its successor. [`Consumer::producer_is_alive`](crate::Consumer::producer_is_alive) tells them
    /// that there is none.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-close");
    /// # let queue = Queue::create("doc-close", &QueueOptions::new())?;
    /// queue.producer()?.close()?;
    /// assert_eq!(queue.observe(Start::Newest)?.receive()?, Received::Closed);
    /// # Queue::force_remove("doc-close")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn close(mut self) -> Result<(), Error> {
        let fences = self.check_process()?;
        self.writer.close();
        self.call_sleepers(fences);
        Ok(())
    }

    /// The sequence that the next message will have.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-producer-next");
    /// # let queue = Queue::create("doc-producer-next", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"")?;
    /// assert_eq!(producer.next_sequence(), 1);
    /// # Queue::force_remove("doc-producer-next")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.writer.next_sequence()
    }

    /// The largest message, in bytes: an eighth of the queue's capacity.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-producer-max");
    /// let queue = Queue::create("doc-producer-max", &QueueOptions::new().capacity(1 << 20))?;
    /// assert_eq!(queue.producer()?.message_size_max(), 1 << 17);
    /// # Queue::force_remove("doc-producer-max")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn message_size_max(&self) -> usize {
        self.segment.message_size_max()
    }

    /// Who held the producer when it last asked for room: each was a ring behind. Smaller messages may
    /// have found room since, without asking. Empty if there was room. After a [flush](Self::flush) that
    /// gave up: who needs what is in the history, where there may be no space for more.
    ///
    /// ```
    /// # use ringway::{Holder, Queue, QueueOptions, Sent, Subscribe};
    /// # let _ = Queue::force_remove("doc-held-by");
    /// # let queue = Queue::create("doc-held-by", &QueueOptions::new().capacity(64 << 10))?;
    /// let slow = queue.subscribe(&Subscribe::new())?;
    /// let mut producer = queue.producer()?;
    /// while producer.try_send(&[0; 1000])? != Sent::Full {}
    /// let holders = producer.held_by();
    /// assert!(matches!(holders[..], [Holder::Consumer { member, .. }] if member == slow.member()));
    /// # Queue::force_remove("doc-held-by")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn held_by(&self) -> Vec<Holder> {
        self.holders()
    }

    /// For how long the producer has been held: since it first asked for room and found none. Messages
    /// that need not ask may have been sent since.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Sent, Subscribe};
    /// # let _ = Queue::force_remove("doc-held-for");
    /// # let queue = Queue::create("doc-held-for", &QueueOptions::new().capacity(64 << 10))?;
    /// let slow = queue.subscribe(&Subscribe::new())?;
    /// let mut producer = queue.producer()?;
    /// assert_eq!(producer.held_for(), None);
    /// while producer.try_send(&[0; 1000])? != Sent::Full {}
    /// assert!(producer.held_for().is_some());
    /// # Queue::force_remove("doc-held-for")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn held_for(&self) -> Option<Duration> {
        self.held_since.map(|since| since.elapsed())
    }

    /// The name of its queue.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-producer-name");
    /// let queue = Queue::create("doc-producer-name", &QueueOptions::new())?;
    /// assert_eq!(queue.producer()?.queue_name(), "doc-producer-name");
    /// # Queue::force_remove("doc-producer-name")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.segment.name()
    }

    /// Sends if there is room for another such message as well without asking, in a queue without a
    /// journal.
    #[inline(always)]
    fn send_now(&mut self, extensions: Extensions, payload: &[u8]) -> Option<u64> {
        let fences = self.fences.value();
        if fences < BY_SLEEPERS {
            return None;
        }
        let sequence = self.writer.try_append(extensions, payload)?;
        self.call_sleepers(fences);
        Some(sequence)
    }

    /// Sends if there is room without asking, in any queue.
    #[inline(never)]
    fn send_slowly_now(&mut self, extensions: Extensions, payload: &[u8]) -> Option<u64> {
        let fences = self.fences.value();
        if fences == FORKED {
            return None;
        }
        let extensions = self.stamp(extensions);
        let sequence = self.writer.try_append_last(extensions, payload)?;
        self.call_sleepers(fences);
        Some(sequence)
    }

    /// With all that messages of this queue carry.
    fn stamp(&self, extensions: Extensions) -> Extensions {
        if self.check.is_none() {
            return extensions;
        }
        Extensions { time: Some(process::time_of_day()), check: self.check, ..extensions }
    }

    fn shape(&self, extensions: Extensions, size: usize) -> Shape {
        Shape { extensions: self.stamp(extensions).set(), size }
    }

    /// Waits for room, then sends. What comes before the message was sent, if it was, comes
    /// back as it went: the short way keeps no register for this one.
    #[cold]
    #[inline(never)]
    fn send_patiently(&mut self, extensions: Extensions, payload: &[u8]) -> Result<u64, Error> {
        let sent = self.send_in_time(extensions, payload, Patience::Endless)?;
        Ok(sent.expect("endless patience does not end"))
    }

    #[inline(always)]
    fn send_within(
        &mut self,
        extensions: Extensions,
        payload: &[u8],
        patience: Patience,
    ) -> Result<Option<u64>, Error> {
        match self.send_now(extensions, payload) {
            Some(sequence) => Ok(Some(sequence)),
            None => self.send_in_time(extensions, payload, patience),
        }
    }

    /// Waits for room as long as the patience lasts, then sends.
    #[inline(never)]
    fn send_in_time(
        &mut self,
        extensions: Extensions,
        payload: &[u8],
        patience: Patience,
    ) -> Result<Option<u64>, Error> {
        let shape = self.shape(extensions, payload.len());
        let mut asked = false;
        loop {
            if let Some(sequence) = self.send_slowly_now(extensions, payload) {
                if asked {
                    self.prepare(shape);
                }
                return Ok(Some(sequence));
            }
            if !self.make_room(shape, patience, Writer::reserve)? {
                return Ok(None);
            }
            asked = true;
        }
    }

    #[inline]
    fn check_process(&self) -> Result<u32, Error> {
        match self.fences.value() {
            FORKED => Err(self.segment.forked()),
            fences => Ok(fences),
        }
    }

    fn check_size(&self, size: usize) -> Result<(), Error> {
        let limit = self.message_size_max();
        if size > limit {
            let (queue, limit) = (self.segment.name().into(), limit as u64);
            return Err(Error::MessageTooLarge { queue, size, limit });
        }
        Ok(())
    }

    /// WAKE: calls the consumers that sleep, if any do.
    #[inline(always)]
    fn call_sleepers(&mut self, fences: u32) {
        if fences == BY_SLEEPERS {
            // SeqCst: WAKE, of which the sleepers issue the rest.
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        if Event::new(self.writer.ring().control(CONTROL.data_event)).is_awaited() {
            self.call();
        }
    }

    #[cold]
    fn call(&mut self) {
        let (ring, sequence) = (self.writer.ring(), self.writer.next_sequence());
        Event::new(ring.control(CONTROL.data_event)).call();
        self.fences.note_call(ring, sequence);
        if ring.is_removed() {
            // It was the remover. The next message asks for room, and finds out.
            self.writer.forget_room();
        }
    }

    /// Once in so many reserves, the dearer look too.
    fn look_around_sometimes(&mut self) -> Result<(), Error> {
        const RESERVES_PER_LOOK_AROUND: u32 = 1 << 10;
        self.reserves = self.reserves.wrapping_add(1);
        if self.writer.ring().is_removed() || self.reserves.is_multiple_of(RESERVES_PER_LOOK_AROUND)
        {
            self.look_around()?;
        }
        Ok(())
    }

    /// Whether the queue is still there.
    fn look_around(&self) -> Result<(), Error> {
        if self.segment.is_stale() { Err(self.segment.stale()) } else { Ok(()) }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("queue", &self.queue_name())
            .field("next_sequence", &self.next_sequence())
            .finish_non_exhaustive()
    }
}
