//! The dead letters of a queue's named subscriptions.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::Queue;
use crate::error::Error;
use crate::history::{DeadLetterFile, DeadLetters};
use crate::registry;

impl Queue {
    /// The dead letters of a named subscription, in the queue's history directory. It need not
    /// exist any more.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the queue has no history directory; [`Error::InvalidSubscription`] for a
    /// name that no subscription can have; [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-queue-letters");
    /// # let queue = Queue::create("doc-queue-letters", &QueueOptions::new())?;
    /// let letters = queue.dead_letters("workers");
    /// assert!(matches!(letters, Err(Error::InvalidOption { .. })));
    /// # Queue::force_remove("doc-queue-letters")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn dead_letters(&self, subscription: &str) -> Result<DeadLetters, Error> {
        self.dead_letters_in(self.history_or_refuse()?, subscription)
    }

    /// As [`dead_letters`](Self::dead_letters), in a directory that members were given.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`], [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-letters-in");
    /// # let queue = Queue::create("doc-letters-in", &QueueOptions::new())?;
    /// let letters = queue.dead_letters_in("/var/lib/nobody", "workers")?;
    /// assert_eq!(letters.count(), 0);
    /// # Queue::force_remove("doc-letters-in")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn dead_letters_in(
        &self,
        directory: impl AsRef<Path>,
        subscription: &str,
    ) -> Result<DeadLetters, Error> {
        self.letter_file(directory.as_ref(), subscription)?.read()
    }

    /// Drops a dead letter that was dealt with: [`dead_letters`](Self::dead_letters) does not show
    /// it any more. `id` is [`DeadLetter::id`](crate::DeadLetter::id). Of several who drop a letter at
    /// the same time, one does.
    ///
    /// Letters that were dropped give their space back when they are more than half of the file and
    /// 64 KiB, or none is left: then the file is written anew without them, and needs the space of
    /// the others once more for that time. [`drop_dead_letters`](Self::drop_dead_letters) is faster
    /// for many.
    ///
    /// # Errors
    /// [`Error::NoSuchDeadLetter`], also if it was dropped already; as
    /// [`dead_letters`](Self::dead_letters).
    ///
    /// ```
    /// # use ringway::{AckMode, Error, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-drop-letter");
    /// # let directory = std::env::temp_dir().join("ringway-doc-drop-letter");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let queue = Queue::create("doc-drop-letter", &QueueOptions::new().history(&directory))?;
    /// # let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// # let mut worker = queue.subscribe(&workers.ack(AckMode::Manual).deliveries_max(1))?;
    /// # queue.producer()?.send(b"poison")?;
    /// # let _ = worker.receive()?.message().unwrap().nack()?;
    /// let letter = queue.dead_letters("workers")?.next().unwrap()?;
    /// queue.drop_dead_letter("workers", letter.id)?;
    /// assert_eq!(queue.dead_letters("workers")?.count(), 0);
    /// let missing = queue.drop_dead_letter("workers", letter.id);
    /// assert!(matches!(missing, Err(Error::NoSuchDeadLetter { .. })));
    /// # Queue::force_remove("doc-drop-letter")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn drop_dead_letter(&self, subscription: &str, id: u64) -> Result<(), Error> {
        self.letters_to_drop(self.history_or_refuse()?, subscription)?.drop_letter(id)
    }

    /// As [`drop_dead_letter`](Self::drop_dead_letter), of many at once: the disk is waited for
    /// once. Returns which of them were there; others were dropped already, or never were.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters). Some may be dropped then.
    ///
    /// ```
    /// # use ringway::{AckMode, Error, Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-drop-letters");
    /// # let directory = std::env::temp_dir().join("ringway-doc-drop-letters");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let queue = Queue::create("doc-drop-letters", &QueueOptions::new().history(&directory))?;
    /// # let workers = Subscribe::new().named("workers").from(Start::Oldest);
    /// # let mut worker = queue.subscribe(&workers.ack(AckMode::Manual).deliveries_max(1))?;
    /// # queue.producer()?.send(b"poison")?;
    /// # let _ = worker.receive()?.message().unwrap().nack()?;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let week_ago = SystemTime::now() - Duration::from_secs(7 * 24 * 3600);
    /// let mut old = Vec::new();
    /// for letter in queue.dead_letters("workers")? {
    ///     let letter = letter?;
    ///     if letter.time < week_ago {
    ///         old.push(letter.id);
    ///     }
    /// }
    /// let dropped = queue.drop_dead_letters("workers", &old)?;
    /// assert_eq!(dropped, []);
    /// assert_eq!(queue.dead_letters("workers")?.count(), 1);
    /// # Queue::force_remove("doc-drop-letters")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn drop_dead_letters(&self, subscription: &str, ids: &[u64]) -> Result<Vec<u64>, Error> {
        self.drop_dead_letters_in(self.history_or_refuse()?, subscription, ids)
    }

    /// As [`drop_dead_letters`](Self::drop_dead_letters), in a directory that members were given.
    ///
    /// # Errors
    /// [`Error::InvalidSubscription`], [`Error::File`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-drop-letters-in");
    /// # let queue = Queue::create("doc-drop-letters-in", &QueueOptions::new())?;
    /// let dropped = queue.drop_dead_letters_in("/var/lib/nobody", "workers", &[0, 1])?;
    /// assert_eq!(dropped, []);
    /// # Queue::force_remove("doc-drop-letters-in")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn drop_dead_letters_in(
        &self,
        directory: impl AsRef<Path>,
        subscription: &str,
        ids: &[u64],
    ) -> Result<Vec<u64>, Error> {
        self.letters_to_drop(directory.as_ref(), subscription)?.drop_letters(ids)
    }

    fn history_or_refuse(&self) -> Result<&Path, Error> {
        self.segment.history().ok_or_else(|| {
            let (queue, what) = (self.name().into(), "it has no history directory".into());
            Error::InvalidOption { queue, what }
        })
    }

    fn letters_to_drop(
        &self,
        directory: &Path,
        subscription: &str,
    ) -> Result<Arc<DeadLetterFile>, Error> {
        let mut last = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = last.as_ref().filter(|file| file.is_of(directory, subscription)) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.letter_file(directory, subscription)?);
        *last = Some(Arc::clone(&file));
        Ok(file)
    }

    fn letter_file(&self, directory: &Path, subscription: &str) -> Result<DeadLetterFile, Error> {
        registry::check_name(self.name(), subscription)?;
        let instance = self.segment.identity().instance;
        Ok(DeadLetterFile::new(directory, self.name(), instance, subscription))
    }
}
