//! The journal: everything that is sent, on disk.
//!
//! A journaler follows the ring and appends what is committed, as much as is there each time: while
//! one sync is under way messages gather for the next (group commit). A message is *durable* once
//! it is as safe as the queue was made to have it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering as FlagOrdering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::historian::{Historian, Kept, RemoveExpired};
use crate::calls::call_producer;
use crate::error::Error;
use crate::layout::{CONTROL, JournalCode, time};
use crate::ring::Ring;
use crate::segment::{Access, Mapping, Segment};
use crate::sync::{Ordering, fence};
use crate::sys::fork::SharedWitness;
use crate::sys::process::Undisturbed;
use crate::wait::{Event, Next, Pace};

/// It looks around so often: whether the queue is still there, whether files are too old, and how far
/// the named subscriptions have come.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// And so often whether there is space again, where the files are as large as they may be.
const FULL_INTERVAL: Duration = Duration::from_millis(5);
/// After an error that can pass it tries again so often, if it was told to go on.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// It waits so long for a producer that writes in its place for a moment.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);
const PLACE_INTERVAL: Duration = Duration::from_millis(20);

/// When a queue's messages are safe on disk.
///
/// ```
/// use ringway::{Journal, QueueOptions};
/// use std::time::Duration;
///
/// let options = QueueOptions::new().history("/var/lib/orders");
/// let options = options.journal(Journal::SyncedEvery(Duration::from_millis(100)));
/// // As options of programs and configurations say it.
/// assert_eq!("every:100ms".parse(), Ok(Journal::SyncedEvery(Duration::from_millis(100))));
/// assert_eq!(Journal::SyncedAlways.to_string(), "always");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Journal {
    /// When the system has them: they survive the death of any process, but not of the machine.
    Written,
    /// When they are synced, which is done so often, a time above zero, and when a producer
    /// [flushes](crate::Producer::flush): they survive the loss of power.
    SyncedEvery(Duration),
    /// When they are synced, which is done as soon as there are any.
    SyncedAlways,
}

impl Journal {
    pub(crate) fn code(self) -> JournalCode {
        match self {
            Self::Written => JournalCode::Written,
            Self::SyncedEvery(every) => JournalCode::SyncedEvery(time::nanoseconds(every)),
            Self::SyncedAlways => JournalCode::SyncedAlways,
        }
    }

    pub(crate) fn of_code(code: JournalCode) -> Self {
        match code {
            JournalCode::Written => Self::Written,
            JournalCode::SyncedEvery(every) => Self::SyncedEvery(Duration::from_nanos(every)),
            JournalCode::SyncedAlways => Self::SyncedAlways,
        }
    }
}

/// Writes a queue's journal. There is one at a time, in whichever process; made by
/// [`Queue::journaler`](crate::Queue::journaler).
///
/// Without one the producer writes what it is about to overwrite, and whoever waits for a message to be
/// durable writes as far as that. It takes their time, and what nobody waits for is in the ring alone
/// until then: a restart of the machine loses it.
///
/// ```
/// use ringway::{Journal, Queue, QueueOptions};
/// use std::time::Duration;
///
/// # let _ = Queue::force_remove("doc-journaler");
/// # let directory = std::env::temp_dir().join("ringway-doc-journaler");
/// # let _ = std::fs::remove_dir_all(&directory);
/// let options = QueueOptions::new().history(&directory).journal(Journal::SyncedAlways);
/// let queue = Queue::create("doc-journaler", &options)?;
/// let journal = queue.journaler()?.spawn();
/// let mut producer = queue.producer()?;
/// let sequence = producer.send(b"to be kept")?;
/// assert!(producer.flush_timeout(Duration::from_secs(60))?);
/// assert_eq!(queue.durable_sequence(), Some(sequence + 1));
/// journal.stop()?;
/// # drop(producer);
/// # Queue::force_remove("doc-journaler")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct Journaler {
    historian: Historian,
    journal: JournalCode,
    /// Whether the files have reached the size that they may have.
    is_full: bool,
    synced_at: Instant,
    /// When it last looked after old files and checkpoints.
    looked_at: Instant,
    /// 1, or 0 in a forked child.
    witness: SharedWitness,
    segment: Arc<Segment>,
    /// Last: the historian's view is of this.
    _mapping: Mapping,
}

impl Journaler {
    pub(crate) fn attach(
        segment: &Arc<Segment>,
        remove_expired: RemoveExpired,
    ) -> Result<Self, Error> {
        let Some(journal) = segment.identity().keeping.journal else {
            return Err(Error::NoJournal { queue: segment.name().into() });
        };
        let witness = SharedWitness::new(segment.witness(1)?);
        let mapping = segment.map(Access::Produce)?;
        let Some(historian) = Historian::take(segment, &mapping.ring(), remove_expired)? else {
            return Err(Error::JournalerAlive { queue: segment.name().into() });
        };
        let now = Instant::now();
        let segment = Arc::clone(segment);
        Ok(Self {
            historian,
            journal,
            is_full: false,
            synced_at: now,
            looked_at: now,
            witness,
            segment,
            _mapping: mapping,
        })
    }

    /// Writes until told to stop, or until the queue is removed; then what has been sent by that
    /// time, and has it durable. The flag is looked at every 50 ms.
    ///
    /// # Errors
    /// [`Error::File`] if something cannot be written: nothing more is durable then, and the
    /// journaler can be made anew. Also if, in the end, the history is as large as it
    /// [may be](crate::QueueOptions::history_max), and what is in the ring alone is left; or if a file
    /// that is too old cannot be removed, or how far a subscription has come cannot be written, which is
    /// in the way of nothing else.
    /// [`Error::JournalFailed`] if a sync has failed: that cannot be mended. [`Error::Corrupt`],
    /// [`Error::Forked`].
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// use std::sync::atomic::AtomicBool;
    /// # let _ = Queue::force_remove("doc-journaler-run");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journaler-run");
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journaler-run", &options)?;
    /// queue.producer()?.send(b"to be kept")?;
    /// queue.journaler()?.run(&AtomicBool::new(true))?; // to be stopped at once
    /// assert_eq!(queue.durable_sequence(), Some(1));
    /// # Queue::force_remove("doc-journaler-run")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        self.run_noting(stop, &mut |_| {})
    }

    /// [`run`](Self::run) that goes on after errors that can pass, trying again every second: a full
    /// disk, too many open files, a write that failed (`EIO`), somebody else who writes in its place.
    /// Nothing more is durable meanwhile, and nothing is lost. `tell` is called with the error when
    /// one comes; not again before something has been written. Told to stop, it tries once more.
    ///
    /// # Errors
    /// As [`run`](Self::run), but for what can pass: that only where it was told to stop and the last
    /// try has failed.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// use std::sync::atomic::AtomicBool;
    /// # let _ = Queue::force_remove("doc-journaler-run-on");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journaler-run-on");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journaler-run-on", &options)?;
    /// queue.producer()?.send(b"to be kept")?;
    /// let stop = AtomicBool::new(true); // at once
    /// queue.journaler()?.run_on(&stop, |error| eprintln!("{error}; trying again"))?;
    /// assert_eq!(queue.durable_sequence(), Some(1));
    /// # Queue::force_remove("doc-journaler-run-on")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn run_on(self, stop: &AtomicBool, mut tell: impl FnMut(&Error)) -> Result<(), Error> {
        let mut is_told = false;
        self.go_on(stop, |failing| {
            if let Some(error) = failing.filter(|_| !is_told) {
                tell(error);
            }
            is_told = failing.is_some();
        })
    }

    /// [`Self::run_on`], noting each error that can pass, and `None` when it has.
    fn go_on(self, stop: &AtomicBool, mut note: impl FnMut(Option<&Error>)) -> Result<(), Error> {
        let segment = Arc::clone(&self.segment);
        let remove_expired = self.historian.remove_expired();
        let mut journaler = Ok(self);
        let mut is_failing = false;
        loop {
            let is_last = stop.load(FlagOrdering::Relaxed);
            // It ends with this, for a producer, which may be able to write before it is.
            let ended = journaler.and_then(|mut journaler| {
                journaler.run_noting(stop, &mut |failing| {
                    if is_failing || failing.is_some() {
                        is_failing = failing.is_some();
                        note(failing);
                    }
                })
            });
            let error = match ended {
                Err(error) if can_pass(&error) && !is_last && !segment.is_stale() => error,
                ended => return ended,
            };
            is_failing = true;
            note(Some(&error));
            let failed_at = Instant::now();
            while failed_at.elapsed() < RETRY_INTERVAL && !stop.load(FlagOrdering::Relaxed) {
                thread::sleep(LOOK_INTERVAL);
            }
            journaler = Self::attach_within(&segment, remove_expired, PLACE_PATIENCE);
        }
    }

    /// [`Self::attach`], up to a time after there is another one.
    pub(crate) fn attach_within(
        segment: &Arc<Segment>,
        remove_expired: RemoveExpired,
        time: Duration,
    ) -> Result<Self, Error> {
        let begin = Instant::now();
        loop {
            match Self::attach(segment, remove_expired) {
                Err(Error::JournalerAlive { .. }) if begin.elapsed() < time => {}
                result => return result,
            }
            thread::sleep(PLACE_INTERVAL.min(time.saturating_sub(begin.elapsed())));
        }
    }

    /// [`Self::run`], noting whenever all that was there has been written, or what of it has not.
    fn run_noting(
        &mut self,
        stop: &AtomicBool,
        note: &mut dyn FnMut(Option<&Error>),
    ) -> Result<(), Error> {
        if self.witness.value() == 0 {
            return Err(self.segment.forked());
        }
        // No reason to keep no journal.
        let mut looked_after = Ok(());
        // Relaxed: a flag alone.
        while !stop.load(FlagOrdering::Relaxed) && !self.historian.ring().is_removed() {
            self.write()?;
            note(looked_after.as_ref().err());
            if self.looked_at.elapsed() >= LOOK_INTERVAL {
                self.looked_at = Instant::now();
                if self.segment.is_stale() {
                    // Whoever took the name away did not live to say so, or did not mean to.
                    break;
                }
                let removed = self.historian.remove_old();
                looked_after = removed.and(self.historian.write_checkpoints());
            }
            self.wait(stop);
        }
        // Others may go on sending for ever.
        let kept = self.write_all()?;
        self.historian.remove_old().and(self.historian.write_checkpoints())?;
        if kept == Kept::Full {
            return Err(self.too_small());
        }
        note(None);
        Ok(())
    }

    /// Appends what is committed by now, and has it durable.
    fn write_all(&mut self) -> Result<Kept, Error> {
        let kept = self.historian.keep_all()?;
        call_producer(self.historian.ring());
        self.make_durable()?;
        Ok(kept)
    }

    /// Why what is left has not been written.
    fn too_small(&self) -> Error {
        let why = "it is as large as it may be, and somebody needs all of it";
        let source = io::Error::new(ErrorKind::StorageFull, why);
        let directory = self.segment.history().unwrap_or(Path::new(""));
        Error::file(self.segment.name(), "write the rest of the journal to", directory, source)
    }

    /// [`run_on`](Self::run_on) in a thread of its own, until that is stopped or dropped. Where no thread
    /// is to be had it [has ended](JournalThread::is_finished) at once, by [that](JournalThread::error).
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-journaler-spawn");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journaler-spawn");
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journaler-spawn", &options)?;
    /// let journal = queue.journaler()?.spawn();
    /// queue.producer()?.send(b"to be kept")?;
    /// journal.stop()?;
    /// assert_eq!(queue.durable_sequence(), Some(1));
    /// # Queue::force_remove("doc-journaler-spawn")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use = "it ends when this is dropped"]
    pub fn spawn(self) -> JournalThread {
        let (witness, segment) = (self.witness.clone(), Arc::clone(&self.segment));
        let state = Arc::new(ThreadState::default());
        let theirs = Arc::clone(&state);
        let _signals = Undisturbed::new();
        let run_on = move || {
            let ended = self.go_on(&theirs.stop, |failing| theirs.note(failing));
            theirs.note(ended.as_ref().err());
            ended
        };
        let thread = match thread::Builder::new().name("ringway-journal".into()).spawn(run_on) {
            Ok(thread) => Some(thread),
            Err(source) => {
                let doing = "make a thread for the journal of";
                state.note(Some(&Error::os(segment.name(), doing, source)));
                None
            }
        };
        JournalThread { state, thread, witness, segment }
    }

    /// Appends what is committed, and has it durable if that is due.
    fn write(&mut self) -> Result<(), Error> {
        // At most a ring at a time, so that nothing else is put off for ever.
        let from = self.historian.end();
        self.is_full = self.historian.catch_up()? == Kept::Full;
        if self.historian.end() != from {
            call_producer(self.historian.ring());
        }
        if self.is_sync_due() {
            self.make_durable()?;
        }
        Ok(())
    }

    fn is_sync_due(&self) -> bool {
        match self.journal {
            JournalCode::Written | JournalCode::SyncedAlways => true,
            JournalCode::SyncedEvery(every) => {
                self.synced_at.elapsed() >= Duration::from_nanos(every)
                    || self.historian.ring().is_flush_awaited()
            }
        }
    }

    fn is_to_sync(&self) -> bool {
        !self.historian.is_all_durable() && self.is_sync_due()
    }

    fn make_durable(&mut self) -> Result<(), Error> {
        self.synced_at = Instant::now();
        self.historian.make_durable()
    }

    /// Waits until there is something to do.
    fn wait(&mut self, stop: &AtomicBool) {
        if self.is_full {
            // Nobody calls when somebody has read on.
            thread::sleep(FULL_INTERVAL);
            return;
        }
        let mut pace = Pace::for_journal();
        loop {
            if stop.load(FlagOrdering::Relaxed)
                || self.historian.is_behind()
                || self.is_to_sync()
                || self.looked_at.elapsed() >= LOOK_INTERVAL
            {
                return;
            }
            if let Next::Sleep(_) = pace.next() {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        let event = Event::new(self.historian.ring().control(CONTROL.data_event));
        let ticket = event.announce();
        // SeqCst: WAKE. The producers of queues with a journal issue theirs.
        fence(Ordering::SeqCst);
        if self.historian.is_behind() || self.is_to_sync() {
            return;
        }
        let until_sync = match self.journal {
            JournalCode::SyncedEvery(every) if !self.historian.is_all_durable() => {
                Duration::from_nanos(every).saturating_sub(self.synced_at.elapsed())
            }
            _ => LOOK_INTERVAL,
        };
        event.sleep(ticket, until_sync.min(LOOK_INTERVAL));
    }
}

/// Whether a queue's journal has all that is in the ring, as safe as it is to be, if there is a journal.
pub(crate) fn is_saved(segment: &Segment, ring: &Ring) -> bool {
    let is_durable = || ring.end().is_ok_and(|end| ring.durable() >= end.position);
    segment.identity().keeping.journal.is_none() || is_durable()
}

/// Has a queue's journal have what is in the ring by now, where nobody else does that.
pub(crate) fn save(segment: &Arc<Segment>, remove_expired: RemoveExpired) -> Result<(), Error> {
    if is_saved(segment, &segment.map(Access::Observe)?.ring()) {
        return Ok(());
    }
    let mut journaler = Journaler::attach(segment, remove_expired)?;
    match journaler.write_all()? {
        Kept::Done => Ok(()),
        Kept::Full => Err(journaler.too_small()),
    }
}

/// Whether what kept a journaler from writing may be over by itself. A sync that fails never is, and
/// is [`Error::JournalFailed`] at the next try.
fn can_pass(error: &Error) -> bool {
    // For which there is no kind.
    const ERRNOS: [i32; 3] = [libc::EMFILE, libc::ENFILE, libc::EIO];
    const KINDS: [ErrorKind; 7] = [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::FileTooLarge,
        ErrorKind::OutOfMemory,
        ErrorKind::Interrupted,
        ErrorKind::WouldBlock,
        ErrorKind::TimedOut,
    ];
    match error {
        Error::JournalerAlive { .. } => true,
        Error::File { source, .. } | Error::Os { source, .. } => {
            KINDS.contains(&source.kind())
                || source.raw_os_error().is_some_and(|errno| ERRNOS.contains(&errno))
        }
        _ => false,
    }
}

/// A thread that writes a queue's journal. When it is dropped, or [stopped](Self::stop), it writes
/// what is there, and ends. Where it cannot write, for want of space say, it tries again every second,
/// as [`Journaler::run_on`] does, and [`error`](Self::error) says why.
///
/// ```
/// # use ringway::{Journal, Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-journal-thread");
/// # let directory = std::env::temp_dir().join("ringway-doc-journal-thread");
/// # let _ = std::fs::remove_dir_all(&directory);
/// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
/// # let queue = Queue::create("doc-journal-thread", &options)?;
/// let journal = queue.journaler()?.spawn();
/// queue.producer()?.send(b"to be kept")?;
/// drop(journal); // or `stop`, to be told what came of it
/// assert_eq!(queue.durable_sequence(), Some(1));
/// # Queue::force_remove("doc-journal-thread")?;
/// # std::fs::remove_dir_all(&directory).unwrap();
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Debug)]
pub struct JournalThread {
    state: Arc<ThreadState>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    /// 1, or 0 in a forked child, where there is no such thread.
    witness: SharedWitness,
    segment: Arc<Segment>,
}

#[derive(Debug, Default)]
struct ThreadState {
    stop: AtomicBool,
    /// What it has not got over.
    error: Mutex<Option<Error>>,
}

impl ThreadState {
    fn note(&self, error: Option<&Error>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error.cloned();
    }

    fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl JournalThread {
    /// Has all that was sent durable, ends the thread, and tells what came of it.
    ///
    /// # Errors
    /// As [`Journaler::run_on`], also if that ended long ago.
    ///
    /// # Panics
    /// If the thread has.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-journal-stop");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journal-stop");
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journal-stop", &options)?;
    /// queue.journaler()?.spawn().stop()?;
    /// # Queue::force_remove("doc-journal-stop")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn stop(mut self) -> Result<(), Error> {
        self.end().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether it has ended by itself, because the queue was removed or by an
    /// [`error`](Self::error) that does not pass. Nothing more becomes durable by it then; another
    /// journaler can take its place.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-journal-finished");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journal-finished");
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journal-finished", &options)?;
    /// let journal = queue.journaler()?.spawn();
    /// assert!(!journal.is_finished());
    /// # drop(journal);
    /// # Queue::force_remove("doc-journal-finished")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_child() || self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What it cannot do at this moment: it tries again, or, if it [is finished](Self::is_finished), has
    /// ended by that. `None` while all is well. Mostly nothing becomes durable meanwhile; but that a file
    /// which is too old cannot be removed, or how far a subscription has come cannot be written, is in
    /// the way of nothing else.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-journal-error");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journal-error");
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journal-error", &options)?;
    /// let journal = queue.journaler()?.spawn();
    /// if let Some(error) = journal.error() {
    ///     eprintln!("the journal: {error}");
    /// }
    /// # assert!(journal.error().is_none());
    /// # drop(journal);
    /// # Queue::force_remove("doc-journal-error")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        if self.is_child() {
            return Some(self.segment.forked());
        }
        self.state.error()
    }

    fn is_child(&self) -> bool {
        self.witness.value() == 0
    }

    fn end(&mut self) -> thread::Result<Result<(), Error>> {
        if self.is_child() {
            // To join it would be to wait for ever, or to panic.
            core::mem::forget(self.thread.take());
            return Ok(Err(self.segment.forked()));
        }
        self.state.stop.store(true, FlagOrdering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        // There was none to be had, or it has ended before.
        ended.unwrap_or_else(|| Ok(self.state.error().map_or(Ok(()), Err)))
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        // Who wants to know what came of it stops it.
        let _ = self.end();
    }
}
