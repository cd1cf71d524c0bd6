//! Ending somebody's wait from another thread, or from a signal handler.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::layout::{Control, Word};
use crate::segment::{Mapping, Segment};
use crate::sync::{AtomicU32, Ordering, fence};
use crate::sys::fork::SharedWitness;
use crate::wait::Event;

/// The values of the witness of a handle that can be interrupted. 0 is a forked child's.
const CALM: u32 = 1;
const INTERRUPTED: u32 = 2;

/// Ends the waits of one [`Consumer`](crate::Consumer), [`Observer`](crate::Observer) or
/// [`Producer`](crate::Producer): from any thread, and from a signal handler too, since it takes no
/// lock and no memory.
///
/// What it ends fails with [`Error::Interrupted`], once. A receive that is not there yet fails when
/// it comes, whether or not there is a message; so a loop of receives ends also where the stream
/// never rests. Of a producer the wait under way fails, or the next: for room, or for what it sent to
/// be durable. A send that finds room does not wait.
///
/// # Signals
///
/// No signal ends a wait by itself: a handler returns, and the wait goes on. Who is to end by one gives an
/// interrupter to the handler: with the crate `signal-hook`,
/// `unsafe { signal_hook::low_level::register(SIGTERM, move || interrupter.interrupt()) }`, whose action
/// may do nothing else but what is safe in a handler, as this is.
///
/// As long as one is left, the queue's memory stays mapped.
///
/// ```
/// use ringway::{Error, Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-interrupter");
/// let queue = Queue::create("doc-interrupter", &QueueOptions::new())?;
/// let mut consumer = queue.subscribe(&Subscribe::new())?;
/// let interrupter = consumer.interrupter();
/// let worker = std::thread::spawn(move || loop {
///     match consumer.receive() {
///         Ok(_received) => {}
///         Err(Error::Interrupted { .. }) => return Ok(()),
///         Err(error) => return Err(error),
///     }
/// });
/// interrupter.interrupt();
/// worker.join().unwrap()?;
/// # Queue::force_remove("doc-interrupter")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone)]
pub struct Interrupter {
    witness: SharedWitness,
    /// What the handle sleeps on. An observer's is nothing: it may not write there.
    events: &'static [Word<Control, u32>],
    /// What a member sleeps on that waits for its ackers.
    relief: Option<Arc<AtomicU32>>,
    mapping: Arc<Mapping>,
}

impl Interrupter {
    /// Ends the wait, now or when it comes. Several before that are as one. In a forked child
    /// nothing happens.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-interrupt");
    /// # let queue = Queue::create("doc-interrupt", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Newest)?;
    /// observer.interrupter().interrupt();
    /// assert!(matches!(observer.receive(), Err(Error::Interrupted { .. })));
    /// assert_eq!(observer.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-interrupt")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn interrupt(&self) {
        if !self.witness.exchange(CALM, INTERRUPTED) {
            return;
        }
        // SeqCst: INTERRUPT.
        fence(Ordering::SeqCst);
        let ring = self.mapping.ring();
        self.events.iter().for_each(|&event| Event::new(ring.control(event)).call_anyway());
        self.relief.iter().for_each(|relief| Event::new(relief).call_anyway());
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}

/// What a handle looks at to see whether it was interrupted, and whether it is a forked child's.
#[derive(Debug)]
pub(crate) struct Interruption {
    witness: SharedWitness,
}

impl Interruption {
    pub(crate) fn new(segment: &Segment) -> Result<Self, Error> {
        Ok(Self { witness: SharedWitness::new(segment.witness(CALM)?) })
    }

    /// Neither interrupted nor a child's.
    #[inline(always)]
    pub(crate) fn is_calm(&self) -> bool {
        self.witness.value() == CALM
    }

    /// Whether it is that of a child that was forked since.
    pub(crate) fn is_child(&self) -> bool {
        self.witness.value() == 0
    }

    /// Ends it, and says why it was not calm.
    pub(crate) fn check(&self, segment: &Segment) -> Result<(), Error> {
        match self.witness.value() {
            CALM => Ok(()),
            INTERRUPTED if self.witness.exchange(INTERRUPTED, CALM) => {
                Err(Error::Interrupted { queue: segment.name().into() })
            }
            _ => Err(segment.forked()),
        }
    }

    /// One who interrupts the handle, which has this mapping and sleeps on these words of it.
    pub(crate) fn interrupter(
        &self,
        events: &'static [Word<Control, u32>],
        mapping: &Arc<Mapping>,
        relief: Option<Arc<AtomicU32>>,
    ) -> Interrupter {
        let (witness, mapping) = (self.witness.clone(), Arc::clone(mapping));
        Interrupter { witness, events, relief, mapping }
    }
}
