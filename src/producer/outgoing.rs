//! A message with more than a payload.

use std::time::Duration;

use super::{Claim, Producer};
use crate::error::Error;
use crate::key::key_hash;
use crate::outcome::Sent;
use crate::ring::Extensions;
use crate::wait::Patience;

/// A message that is about to be sent, with what it carries beside its payload; made by
/// [`Producer::message`]. Each part takes 8 bytes of the ring.
///
/// ```
/// # use ringway::{Queue, QueueOptions, Sent};
/// # let _ = Queue::force_remove("doc-outgoing");
/// # let queue = Queue::create("doc-outgoing", &QueueOptions::new())?;
/// let mut producer = queue.producer()?;
/// let sequence = producer.message().key(b"customer 7").send(b"an order")?;
/// assert_eq!(sequence, 0);
/// # Queue::force_remove("doc-outgoing")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Outgoing<'a> {
    producer: &'a mut Producer,
    extensions: Extensions,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(producer: &'a mut Producer) -> Self {
        Self { producer, extensions: Extensions::NONE }
    }

    /// Gives the message a key. Messages of one key go to one member at a time of a
    /// [`keyed`](crate::Subscribe::keyed) subscription, in order. The message carries the key's
    /// [hash](key_hash), not the key.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-key");
    /// # let queue = Queue::create("doc-outgoing-key", &QueueOptions::new())?;
    /// queue.producer()?.message().key(b"customer 7").send(b"an order")?;
    /// # Queue::force_remove("doc-outgoing-key")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn key(self, key: &[u8]) -> Self {
        self.key_hash(key_hash(key))
    }

    /// As [`key`](Self::key), for a caller that hashes by itself.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-hash");
    /// # let queue = Queue::create("doc-outgoing-hash", &QueueOptions::new())?;
    /// queue.producer()?.message().key_hash(7).send(b"an order")?;
    /// # Queue::force_remove("doc-outgoing-hash")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn key_hash(mut self, hash: u64) -> Self {
        self.extensions.key = Some(hash);
        self
    }

    /// As [`Producer::send`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-send");
    /// # let queue = Queue::create("doc-outgoing-send", &QueueOptions::new())?;
    /// assert_eq!(queue.producer()?.message().send(b"without a key")?, 0);
    /// # Queue::force_remove("doc-outgoing-send")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn send(self, payload: &[u8]) -> Result<u64, Error> {
        match self.producer.send_now(self.extensions, payload) {
            Some(sequence) => Ok(sequence),
            None => self.producer.send_patiently(self.extensions, payload),
        }
    }

    /// As [`Producer::try_send`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Sent};
    /// # let _ = Queue::force_remove("doc-outgoing-try");
    /// # let queue = Queue::create("doc-outgoing-try", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// assert_eq!(producer.message().key(b"k").try_send(b"x")?, Sent::Sequence(0));
    /// # Queue::force_remove("doc-outgoing-try")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn try_send(self, payload: &[u8]) -> Result<Sent, Error> {
        let sent = self.producer.send_within(self.extensions, payload, Patience::None)?;
        Ok(sent.map_or(Sent::Full, Sent::Sequence))
    }

    /// As [`Producer::send_timeout`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Sent};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-outgoing-timeout");
    /// # let queue = Queue::create("doc-outgoing-timeout", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// let sent = producer.message().key(b"k").send_timeout(b"x", Duration::from_secs(1))?;
    /// assert_eq!(sent, Sent::Sequence(0));
    /// # Queue::force_remove("doc-outgoing-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn send_timeout(self, payload: &[u8], time: Duration) -> Result<Sent, Error> {
        let sent = self.producer.send_within(self.extensions, payload, Patience::Lasting(time))?;
        Ok(sent.map_or(Sent::TimedOut, Sent::Sequence))
    }

    /// As [`Producer::send_value`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-value");
    /// # let queue = Queue::create("doc-outgoing-value", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// assert_eq!(producer.message().key(b"customer 7").send_value(&[3_u32, 5])?, 0);
    /// # Queue::force_remove("doc-outgoing-value")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[cfg(feature = "zerocopy")]
    #[inline]
    pub fn send_value<T>(self, value: &T) -> Result<u64, Error>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable + ?Sized,
    {
        self.send(value.as_bytes())
    }

    /// As [`Producer::claim`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-claim");
    /// # let queue = Queue::create("doc-outgoing-claim", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// let mut claim = producer.message().key(b"k").claim(8)?;
    /// claim.fill(1);
    /// claim.commit()?;
    /// # Queue::force_remove("doc-outgoing-claim")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn claim(self, size: usize) -> Result<Claim<'a>, Error> {
        self.producer.claim_for_sure(self.extensions, size)
    }

    /// As [`Producer::try_claim`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-try-claim");
    /// # let queue = Queue::create("doc-outgoing-try-claim", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// if let Some(mut claim) = producer.message().key(b"customer 7").try_claim(8)? {
    ///     claim.copy_from_slice(b"an order");
    ///     claim.commit()?;
    /// }
    /// # Queue::force_remove("doc-outgoing-try-claim")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn try_claim(self, size: usize) -> Result<Option<Claim<'a>>, Error> {
        self.producer.claim_within(self.extensions, size, Patience::None)
    }

    /// As [`Producer::claim_timeout`].
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-outgoing-claim-timeout");
    /// # let queue = Queue::create("doc-outgoing-claim-timeout", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let message = producer.message().key(b"customer 7");
    /// assert!(message.claim_timeout(8, Duration::from_millis(10))?.is_some());
    /// # Queue::force_remove("doc-outgoing-claim-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn claim_timeout(self, size: usize, time: Duration) -> Result<Option<Claim<'a>>, Error> {
        self.producer.claim_within(self.extensions, size, Patience::Lasting(time))
    }

    /// As [`Producer::send_durable`].
    ///
    /// # Errors
    /// As [`Producer::send_durable`].
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-outgoing-durable");
    /// # let directory = std::env::temp_dir().join("ringway-doc-outgoing-durable");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
    /// # let queue = Queue::create("doc-outgoing-durable", &options)?;
    /// # let mut producer = queue.producer()?;
    /// let sequence = producer.message().key(b"customer 7").send_durable(b"an order")?;
    /// assert_eq!(queue.durable_sequence(), Some(sequence + 1));
    /// # drop(producer);
    /// # Queue::force_remove("doc-outgoing-durable")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn send_durable(self, payload: &[u8]) -> Result<u64, Error> {
        self.producer.send_and_flush(self.extensions, payload)
    }
}
