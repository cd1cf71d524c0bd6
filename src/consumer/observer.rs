//! Those who look on.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::look_back;
use crate::error::Error;
use crate::history::{Past, resolve};
use crate::interrupter::{Interrupter, Interruption};
use crate::message::{Batch, Message};
use crate::outcome::Received;
use crate::reception::{AnyReader, Reception};
use crate::ring::{CopyReader, Start};
use crate::segment::{Access, Segment};
use crate::wait::{Patience, Wait};

/// A reader that the queue does not know of. It maps the segment read-only, so that it can
/// disturb nobody, and the permission to read is all it needs.
///
/// It misses what is overwritten before it gets there, and is told exactly which messages. It
/// cannot announce that it sleeps: with [`Wait::Park`] it looks once a millisecond.
///
/// ```
/// use ringway::{Queue, QueueOptions, Start};
///
/// # let _ = Queue::force_remove("doc-observer");
/// let queue = Queue::create("doc-observer", &QueueOptions::new())?;
/// queue.producer()?.send(b"seen")?;
/// let mut observer = queue.observe(Start::Oldest)?;
/// assert_eq!(observer.receive()?.message().unwrap().payload(), b"seen");
/// assert!(queue.info()?.consumers.is_empty());
/// # Queue::force_remove("doc-observer")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub struct Observer {
    reception: Reception,
}

impl Observer {
    pub(crate) fn attach(segment: &Arc<Segment>, start: Start, wait: Wait) -> Result<Self, Error> {
        let interruption = Interruption::new(segment)?;
        let mapping = Arc::new(segment.map_prefaulted(Access::Observe)?);
        let ring = mapping.ring();
        let start = resolve(segment, &ring, start)?;
        let past = look_back(segment, &ring, start, None)?.filter(Past::is_entered);
        let start = if past.is_some() { Start::Newest } else { start };
        let begin = ring.begin(start).map_err(|error| segment.start_error(error))?;
        let reader = AnyReader::Copied(CopyReader::new(ring, None, begin));
        let segment = Arc::clone(segment);
        let reception = Reception::new(segment, mapping, reader, None, interruption, wait);
        Ok(Self { reception: reception.with_past(past) })
    }

    /// How to wait from now on, whatever it was [made with](crate::Queue::observe_with).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Wait};
    /// # let _ = Queue::force_remove("doc-observer-set-wait");
    /// # let queue = Queue::create("doc-observer-set-wait", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// observer.set_wait(Wait::Park);
    /// # Queue::force_remove("doc-observer-set-wait")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn set_wait(&mut self, wait: Wait) {
        self.reception.set_wait(wait);
    }

    /// The same observer, which waits past the end of the stream, as a consumer does by
    /// [`Subscribe::past_the_end`](crate::Subscribe::past_the_end).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-observer-past-the-end");
    /// # let queue = Queue::create("doc-observer-past-the-end", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?.past_the_end();
    /// queue.producer()?.close()?;
    /// assert_eq!(observer.receive()?, Received::Closed);
    /// assert_eq!(observer.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-observer-past-the-end")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn past_the_end(self) -> Self {
        Self { reception: self.reception.past_the_end(true) }
    }

    /// As [`Consumer::receive`](crate::Consumer::receive).
    ///
    /// # Errors
    /// As [`Consumer::receive`](crate::Consumer::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-receive");
    /// # let queue = Queue::create("doc-observer-receive", &QueueOptions::new())?;
    /// queue.producer()?.send(b"seen")?;
    /// let mut observer = queue.observe(Start::Last(1))?;
    /// assert_eq!(observer.receive()?.message().unwrap().sequence(), 0);
    /// # Queue::force_remove("doc-observer-receive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Endless)
    }

    /// As [`Consumer::next_message`](crate::Consumer::next_message).
    ///
    /// # Errors
    /// As [`Consumer::receive`](crate::Consumer::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-next-message");
    /// # let queue = Queue::create("doc-observer-next-message", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// # producer.send(b"seen")?;
    /// # producer.close()?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// let mut missed = 0;
    /// while let Some(message) = observer.next_message(|gone| missed += gone.end - gone.start)? {
    ///     assert_eq!(message.payload(), b"seen");
    /// }
    /// assert_eq!(missed, 0);
    /// # Queue::force_remove("doc-observer-next-message")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn next_message(
        &mut self,
        missed: impl FnMut(Range<u64>),
    ) -> Result<Option<Message<'_>>, Error> {
        self.reception.next_message(missed)
    }

    /// As [`Consumer::try_receive`](crate::Consumer::try_receive).
    ///
    /// # Errors
    /// As [`Consumer::receive`](crate::Consumer::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-observer-try");
    /// # let queue = Queue::create("doc-observer-try", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// assert_eq!(observer.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-observer-try")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::None)
    }

    /// As [`Consumer::receive_timeout`](crate::Consumer::receive_timeout).
    ///
    /// # Errors
    /// As [`Consumer::receive`](crate::Consumer::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-observer-timeout");
    /// # let queue = Queue::create("doc-observer-timeout", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// assert_eq!(observer.receive_timeout(Duration::from_millis(1))?, Received::TimedOut);
    /// # Queue::force_remove("doc-observer-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, Error> {
        self.reception.receive(Patience::Lasting(time))
    }

    /// As [`Consumer::receive_batch`](crate::Consumer::receive_batch).
    ///
    /// # Errors
    /// As [`Consumer::receive`](crate::Consumer::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-batch");
    /// # let queue = Queue::create("doc-observer-batch", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// producer.send(b"a")?;
    /// producer.send(b"b")?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert_eq!(observer.receive_batch(64)?.message().unwrap().count(), 2);
    /// # Queue::force_remove("doc-observer-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch(&mut self, count_max: usize) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::Endless)
    }

    /// As [`Consumer::try_receive_batch`](crate::Consumer::try_receive_batch).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-observer-try-batch");
    /// # let queue = Queue::create("doc-observer-try-batch", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert!(matches!(observer.try_receive_batch(64)?, Received::Empty));
    /// # Queue::force_remove("doc-observer-try-batch")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_receive_batch(&mut self, count_max: usize) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::None)
    }

    /// As [`Consumer::receive_batch_timeout`](crate::Consumer::receive_batch_timeout).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-observer-batch-timeout");
    /// # let queue = Queue::create("doc-observer-batch-timeout", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// let received = observer.receive_batch_timeout(64, Duration::from_millis(1))?;
    /// assert!(matches!(received, Received::TimedOut));
    /// # Queue::force_remove("doc-observer-batch-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn receive_batch_timeout(
        &mut self,
        count_max: usize,
        time: Duration,
    ) -> Result<Received<Batch<'_>>, Error> {
        self.reception.receive_batch(count_max, Patience::Lasting(time))
    }

    pub(crate) fn reception(&self) -> &Reception {
        &self.reception
    }

    pub(crate) fn reception_mut(&mut self) -> &mut Reception {
        &mut self.reception
    }

    /// As [`Consumer::interrupter`](crate::Consumer::interrupter). Where it waits without polling it finds out after a millisecond.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-interrupter");
    /// # let queue = Queue::create("doc-observer-interrupter", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// observer.interrupter().interrupt();
    /// assert!(matches!(observer.receive(), Err(Error::Interrupted { .. })));
    /// # Queue::force_remove("doc-observer-interrupter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        self.reception.interrupter()
    }

    /// The name of its queue.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-name");
    /// # let queue = Queue::create("doc-observer-name", &QueueOptions::new())?;
    /// assert_eq!(queue.observe(Start::Newest)?.queue_name(), "doc-observer-name");
    /// # Queue::force_remove("doc-observer-name")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.reception.segment().name()
    }

    /// The sequence of the message that comes next, unless it will be missed.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-next");
    /// # let queue = Queue::create("doc-observer-next", &QueueOptions::new())?;
    /// assert_eq!(queue.observe(Start::Newest)?.next_sequence(), 0);
    /// # Queue::force_remove("doc-observer-next")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.reception.next_sequence()
    }

    /// As [`Consumer::producer_is_alive`](crate::Consumer::producer_is_alive).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start};
    /// # let _ = Queue::force_remove("doc-observer-producer");
    /// # let queue = Queue::create("doc-observer-producer", &QueueOptions::new())?;
    /// let observer = queue.observe(Start::Newest)?;
    /// assert!(!observer.producer_is_alive());
    /// let _producer = queue.producer()?;
    /// assert!(observer.producer_is_alive());
    /// # Queue::force_remove("doc-observer-producer")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn producer_is_alive(&self) -> bool {
        self.reception.segment().producer_lives()
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("queue", &self.queue_name())
            .field("next_sequence", &self.next_sequence())
            .finish_non_exhaustive()
    }
}
