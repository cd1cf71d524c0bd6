//! Waiting until what was sent is durable.

use std::time::Duration;

use super::Producer;
use super::room::Want;
use crate::error::Error;
use crate::ring::Extensions;
use crate::wait::{Next, Pace, Patience};

impl Producer {
    /// Waits until everything that was sent is durable. A journaler that syncs now and then does so
    /// now; where none lives, this writes itself. Where a history of limited size is full, and a named
    /// subscription holds it, this waits for that too.
    ///
    /// # Errors
    /// [`Error::NoJournal`], [`Error::JournalFailed`], [`Error::File`], [`Error::Forked`],
    /// [`Error::Stale`]; [`Error::Interrupted`] if an [interrupter](Self::interrupter) ended the wait.
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

    fn flush_within(&mut self, patience: Patience) -> Result<bool, Error> {
        let fences = self.check_process()?;
        if self.check.is_none() {
            return Err(Error::NoJournal { queue: self.queue_name().into() });
        }
        let end = self.writer.place().position;
        if !self.is_durable(end) {
            self.writer.ring().ask_to_flush(end);
            self.call_sleepers(fences);
        }
        let mut pace = Pace::for_message(self.wait, patience.begin());
        loop {
            if !self.is_durable(end) {
                self.write_journal(end)?;
            }
            if self.is_durable(end) {
                if self.unflushed.take().is_some() {
                    self.tell_what_is_missing(None);
                }
                return Ok(true);
            }
            self.interruption.check(&self.segment)?;
            let next = pace.next();
            if !matches!(next, Next::Look) || pace.looks_around() {
                self.unflushed = Some(end);
                self.tell_what_is_missing(self.may_lack_space_below(end));
            }
            match next {
                Next::Look if pace.looks_around() => self.look_around()?,
                Next::Look => {}
                Next::Sleep(limit) => self.sleep(Want::Durable(end), limit)?,
                Next::TimedOut => return Ok(false),
            }
        }
    }

    pub(super) fn is_durable(&self, end: u64) -> bool {
        self.writer.ring().durable() >= end
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

    pub(super) fn send_and_flush(
        &mut self,
        extensions: Extensions,
        payload: &[u8],
    ) -> Result<u64, Error> {
        if self.check.is_none() {
            return Err(Error::NoJournal { queue: self.queue_name().into() });
        }
        let sequence = self.send_patiently(extensions, payload)?;
        self.flush()?;
        Ok(sequence)
    }

    /// Has the journal go as far as that, if nobody else writes it and as far as there is space.
    pub(super) fn write_journal(&mut self, until: u64) -> Result<(), Error> {
        if self.writer.ring().has_journal_failed() {
            return Err(Error::JournalFailed { queue: self.queue_name().into() });
        }
        if let Some(historian) = self.historian()? {
            let written = historian.keep(until).and_then(|_| historian.make_durable());
            self.make_way();
            written?;
        }
        Ok(())
    }

    /// Where somebody needs something below, the files may have no space for what is to be durable up to
    /// `end`. Nobody does who keeps up with them.
    pub(super) fn may_lack_space_below(&self, end: u64) -> Option<u64> {
        let written = self.writer.ring().written();
        (written < end).then_some(written)
    }
}
