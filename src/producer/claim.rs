//! A message that is written where it will lie.

use std::ops::{Deref, DerefMut};

use super::Producer;
use super::fences::BY_SLEEPERS;
use crate::error::Error;
use crate::ring::{Extensions, Shape, Writer};
use crate::wait::Patience;

/// A message that is being written in place, at an address that is a multiple of 8. It begins with
/// whatever lay there before. Dropped without a [`commit`](Self::commit), it never happened.
///
/// ```
/// # use ringway::{Queue, QueueOptions, Start};
/// # let _ = Queue::force_remove("doc-claim-type");
/// # let queue = Queue::create("doc-claim-type", &QueueOptions::new())?;
/// use std::io::Write;
///
/// let mut producer = queue.producer()?;
/// let mut claim = producer.claim(64)?;
/// let mut rest = &mut claim[..];
/// write!(rest, "{} of {}", 3, 7).unwrap();
/// let left = rest.len();
/// claim.truncate(64 - left);
/// claim.commit()?;
/// let mut observer = queue.observe(Start::Oldest)?;
/// assert_eq!(observer.receive()?.message().unwrap().payload(), b"3 of 7");
/// # Queue::force_remove("doc-claim-type")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a claim that is not committed never happened"]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    /// Where the payload lies in the ring.
    offset: usize,
    size: usize,
}

impl<'a> Claim<'a> {
    /// The writer has given out these bytes.
    #[inline]
    pub(super) fn new(producer: &'a mut Producer, offset: usize, size: usize) -> Self {
        Self { producer, offset, size }
    }

    /// Shortens the message; a size that is no shorter changes nothing.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-truncate");
    /// # let queue = Queue::create("doc-truncate", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// let mut claim = producer.claim(100)?;
    /// claim.truncate(10);
    /// assert_eq!(claim.len(), 10);
    /// # drop(claim);
    /// # Queue::force_remove("doc-truncate")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
    }

    /// Sends the message, and returns its sequence.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-claim-commit");
    /// # let queue = Queue::create("doc-claim-commit", &QueueOptions::new())?;
    /// # let mut producer = queue.producer()?;
    /// assert_eq!(producer.claim(0)?.commit()?, 0);
    /// # Queue::force_remove("doc-claim-commit")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[inline]
    pub fn commit(self) -> Result<u64, Error> {
        let fences = self.producer.check_process()?;
        if let Some(unusual) = self.producer.claimed {
            return Ok(unusual.commit(self.producer, self.size, fences));
        }
        let sequence = self.producer.writer.commit_claim(Extensions::NONE, self.size);
        self.producer.call_sleepers(fences);
        Ok(sequence)
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        self.producer.writer.ring().payloads().wrapping_add(self.offset)
    }
}

impl Producer {
    #[inline(always)]
    pub(super) fn claim_for_sure(
        &mut self,
        extensions: Extensions,
        size: usize,
    ) -> Result<Claim<'_>, Error> {
        let claim = self.claim_within(extensions, size, Patience::Endless)?;
        Ok(claim.expect("endless patience does not end"))
    }

    /// Claims room, and waits for it as long as the patience lasts.
    #[inline(always)]
    pub(super) fn claim_within(
        &mut self,
        extensions: Extensions,
        size: usize,
        patience: Patience,
    ) -> Result<Option<Claim<'_>>, Error> {
        if self.fences.value() >= BY_SLEEPERS && extensions.is_empty() {
            let plain = Shape { extensions: extensions.set(), size };
            if let Some(offset) = self.writer.try_claim(plain) {
                self.claimed = None;
                return Ok(Some(Claim::new(self, offset, size)));
            }
        }
        self.claim_patiently(extensions, size, patience)
    }

    /// [`Self::claim_within`] where there is no room without asking, or where the message carries
    /// more than a payload.
    #[inline(never)]
    fn claim_patiently(
        &mut self,
        extensions: Extensions,
        size: usize,
        patience: Patience,
    ) -> Result<Option<Claim<'_>>, Error> {
        self.check_process()?;
        let extensions = self.stamp(extensions);
        let shape = Shape { extensions: extensions.set(), size };
        let mut asked = false;
        loop {
            if let Some(offset) = self.writer.try_claim(shape) {
                self.writer.confine();
                let is_unusual = asked || !extensions.is_empty();
                self.claimed = is_unusual.then_some(Unusual { extensions, asked });
                return Ok(Some(Claim::new(self, offset, size)));
            }
            if !self.make_room(shape, patience, Writer::reserve)? {
                return Ok(None);
            }
            asked = true;
        }
    }
}

/// A claim that carries more than a payload, or for which room had to be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unusual {
    pub(super) extensions: Extensions,
    pub(super) asked: bool,
}

impl Unusual {
    /// Apart, so that a usual claim keeps registers for none of it.
    #[inline(never)]
    fn commit(self, producer: &mut Producer, size: usize, fences: u32) -> u64 {
        // Anew: it is sent now, however long it was written.
        let extensions = producer.stamp(self.extensions);
        let sequence = producer.writer.commit_claim(extensions, size);
        producer.call_sleepers(fences);
        if self.asked {
            producer.prepare(Shape { extensions: extensions.set(), size });
        }
        sequence
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the writer gave out these bytes of the ring, which are mapped and initialised;
        // the producer's lock keeps other writers away, the borrow of the producer this one.
        unsafe { core::slice::from_raw_parts(self.start(), self.size) }
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`. No member relies on these bytes; a reader that is not held for
        // and still copies them finds out by LICENCE and drops the copy.
        unsafe { core::slice::from_raw_parts_mut(self.start(), self.size) }
    }
}
