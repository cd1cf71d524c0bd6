//! The dead letters of a queue's named subscriptions.

use super::Queue;
use crate::error::Error;
use crate::history::DeadLetters;

impl Queue {
    /// The dead letters of a named subscription, in the queue's history directory. It need not
    /// exist any more. [`DeadLetters::open`] has those in a directory that members were given.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the queue has no history directory; [`Error::InvalidSubscription`] for a
    /// name that no subscription can have.
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
        let directory = self.history().ok_or_else(|| {
            let (queue, what) = (self.name().into(), "it has no history directory".into());
            Error::InvalidOption { queue, what }
        })?;
        DeadLetters::open(directory, self.name(), subscription)
    }
}
