//! How a consumer wants its messages.

use crate::ring::{Lag, Start};
use crate::wait::Wait;

/// What a consumer asks for when it joins a queue.
///
/// ```
/// use ringway::{Lag, Queue, QueueOptions, Start, Subscribe, Wait};
///
/// # let _ = Queue::force_remove("doc-subscribe");
/// let queue = Queue::create("doc-subscribe", &QueueOptions::new())?;
/// let options = Subscribe::new().from(Start::Oldest).on_lag(Lag::Skip).wait(Wait::Park);
/// let consumer = queue.subscribe(&options)?;
/// assert_eq!(consumer.next_sequence(), 0);
/// # Queue::force_remove("doc-subscribe")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Subscribe {
    pub(crate) start: Start,
    pub(crate) lag: Lag,
    pub(crate) wait: Wait,
}

impl Subscribe {
    /// From the newest message on, holding the producer when a ring behind, waiting with
    /// [`Wait::Backoff`].
    ///
    /// ```
    /// assert_eq!(ringway::Subscribe::new(), ringway::Subscribe::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The first message to receive.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().from(ringway::Start::Last(10));
    /// ```
    pub fn from(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// What happens when the consumer falls a whole ring behind.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().on_lag(ringway::Lag::Skip);
    /// ```
    pub fn on_lag(self, lag: Lag) -> Self {
        Self { lag, ..self }
    }

    /// How it waits for messages.
    ///
    /// ```
    /// let options = ringway::Subscribe::new().wait(ringway::Wait::Park);
    /// ```
    pub fn wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }
}
