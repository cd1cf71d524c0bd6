//! What a run sends into and receives from: any transport that has two ends.
//!
//! A [`Producer`] and a [`Consumer`] are such ends; a pipe, a socket or another queue can be made
//! some, and is then measured by the same runs.

use std::error::Error;
use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use crate::{Consumer, Producer, Received, Sent};

/// The end that sends.
///
/// ```
/// use ringway::workload::SendingEnd;
/// use ringway::{Queue, QueueOptions};
///
/// # let _ = Queue::force_remove("doc-sending-end");
/// let queue = Queue::create("doc-sending-end", &QueueOptions::new())?;
/// let mut end = queue.producer()?;
/// SendingEnd::send(&mut end, b"a message")?;
/// SendingEnd::close(end)?;
/// # Queue::force_remove("doc-sending-end")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub trait SendingEnd {
    /// Why it cannot send at all.
    type Error: Error + Send + Sync + 'static;

    /// Sends a message, having waited for room if there was none.
    fn send(&mut self, payload: &[u8]) -> Result<(), Self::Error>;

    /// Sends a message if there is room: whether there was.
    fn try_send(&mut self, payload: &[u8]) -> Result<bool, Self::Error>;

    /// Sends so many messages, the transport's way of sending several if it has one. `stamp` is
    /// called on the payload before each.
    fn send_batch(
        &mut self,
        payload: &mut [u8],
        count: usize,
        mut stamp: impl FnMut(&mut [u8]),
    ) -> Result<(), Self::Error> {
        for _ in 0..count {
            stamp(payload);
            self.send(payload)?;
        }
        Ok(())
    }

    /// Nothing more comes: whoever receives gets [`Taken::Closed`] after the last message.
    fn close(self) -> Result<(), Self::Error>;
}

/// The end that receives.
///
/// ```
/// use std::time::Duration;
/// use ringway::workload::{ReceivingEnd, Taken};
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-receiving-end");
/// let queue = Queue::create("doc-receiving-end", &QueueOptions::new())?;
/// let mut end = queue.subscribe(&Subscribe::new())?;
/// queue.producer()?.send(b"a message")?;
/// let mut bytes = 0;
/// let taken = ReceivingEnd::receive(&mut end, 1, Duration::from_secs(1), |payload| {
///     bytes += payload.len();
/// })?;
/// assert_eq!((taken, bytes), (Taken::Messages(1), 9));
/// # Queue::force_remove("doc-receiving-end")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub trait ReceivingEnd {
    /// Why it cannot receive at all.
    type Error: Error + Send + Sync + 'static;

    /// Hands over what is there, so many messages at most, having waited so long at most for the
    /// first one. A limit of 0 is a look, and no wait. A message counts as being worked on until
    /// `take` returns.
    fn receive(
        &mut self,
        count_max: usize,
        limit: Duration,
        take: impl FnMut(&[u8]),
    ) -> Result<Taken, Self::Error>;
}

/// Reads a byte of each cache line of a payload, as whoever uses it does: only then all of it has
/// come to this processor. Lines that a reader leaves alone are another load: each stays with the
/// producer, and those between them come to this side and have to be taken back.
///
/// ```
/// ringway::workload::read_lines(&[7; 1000]);
/// ```
#[inline]
pub fn read_lines(payload: &[u8]) {
    const LINE: usize = 64;
    for line in payload.chunks(LINE) {
        black_box(line[0]);
    }
    // In a line more where the payload does not begin with one.
    black_box(payload.last().copied());
}

/// What came of receiving.
///
/// ```
/// assert_ne!(ringway::workload::Taken::Nothing, ringway::workload::Taken::Closed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many messages, one at least.
    Messages(usize),
    /// None within the time.
    Nothing,
    /// So many were overwritten before they could be received.
    Missed(u64),
    /// There will be none any more.
    Closed,
}

impl SendingEnd for Producer {
    type Error = crate::Error;

    // As what it calls.
    #[inline(always)]
    fn send(&mut self, payload: &[u8]) -> Result<(), Self::Error> {
        Producer::send(self, payload).map(drop)
    }

    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool, Self::Error> {
        Ok(matches!(Producer::try_send(self, payload)?, Sent::Sequence(_)))
    }

    #[inline]
    fn send_batch(
        &mut self,
        payload: &mut [u8],
        count: usize,
        mut stamp: impl FnMut(&mut [u8]),
    ) -> Result<(), Self::Error> {
        let mut batch = self.batch();
        for _ in 0..count {
            stamp(payload);
            batch.push(payload)?;
        }
        batch.commit().map(drop)
    }

    fn close(self) -> Result<(), Self::Error> {
        Producer::close(self)
    }
}

impl ReceivingEnd for Consumer {
    type Error = crate::Error;

    #[inline]
    fn receive(
        &mut self,
        count_max: usize,
        limit: Duration,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Taken, Self::Error> {
        let is_look = limit.is_zero();
        if count_max > 1 {
            let received = if is_look {
                self.try_receive_batch(count_max)?
            } else {
                self.receive_batch_timeout(count_max, limit)?
            };
            return Ok(match received {
                Received::Message(batch) => {
                    let mut count = 0;
                    for message in batch {
                        take(message.payload());
                        count += 1;
                    }
                    Taken::Messages(count)
                }
                other => taken(&other),
            });
        }
        let received = if is_look { self.try_receive()? } else { self.receive_timeout(limit)? };
        Ok(match received {
            Received::Message(message) => {
                take(message.payload());
                Taken::Messages(1)
            }
            other => taken(&other),
        })
    }
}

/// What came of a receive that brought no message.
fn taken<M>(received: &Received<M>) -> Taken {
    match received {
        Received::Missed { from, to } => Taken::Missed(to - from),
        Received::Closed => Taken::Closed,
        Received::Message(_) | Received::Empty | Received::TimedOut => Taken::Nothing,
    }
}

/// Fills a transport until it refuses a message, of so many bytes (8 at least) and `most`
/// messages at most, and drains it: every message has to come, whole, once and in order. How many
/// it took. To be done once before a transport is timed, because what loses messages is fast.
///
/// ```
/// use ringway::workload::check;
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-check");
/// let queue = Queue::create("doc-check", &QueueOptions::new().capacity(1 << 16))?;
/// let mut receiving = queue.subscribe(&Subscribe::new())?;
/// let places = check(&mut queue.producer()?, &mut receiving, 56, 1_000_000)?;
/// assert!((900..=1024).contains(&places));
/// # Queue::force_remove("doc-check")?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn check<S: SendingEnd, R: ReceivingEnd>(
    sending: &mut S,
    receiving: &mut R,
    size: usize,
    most: u64,
) -> Result<u64, Box<dyn Error + Send + Sync>> {
    const LIMIT: Duration = Duration::from_secs(10);
    let size = size.max(8);
    let payload = |number: u64| {
        let filler = u8::try_from(number % 251).unwrap_or_default();
        let mut payload = vec![filler; size];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        payload
    };
    let mut sent = 0;
    while sent < most && sending.try_send(&payload(sent))? {
        sent += 1;
    }
    let (mut received, mut wrong) = (0, None);
    while received < sent {
        let taken = receiving.receive(1, LIMIT, |found| {
            if found != payload(received) && wrong.is_none() {
                wrong = Some(received);
            }
            received += 1;
        })?;
        if !matches!(taken, Taken::Messages(_)) {
            return Err(Unfit { sent, received, what: "did not come" }.into());
        }
        if let Some(received) = wrong {
            return Err(Unfit { sent, received, what: "is not what was sent" }.into());
        }
    }
    Ok(sent)
}

#[derive(Debug)]
struct Unfit {
    sent: u64,
    received: u64,
    what: &'static str,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, what } = self;
        write!(f, "of {sent} messages that the transport took, number {received} {what}")
    }
}

impl Error for Unfit {}
