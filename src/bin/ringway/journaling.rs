//! A queue's journal, written beside what else a program does, while nobody else writes it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringway::{Error, Journaler, Queue};

use crate::output::Console;

/// So long the place of a journaler that has died is empty at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Whether nothing can be written because there is no space, which there may be later.
pub fn is_without_space(error: &Error) -> bool {
    const KINDS: [ErrorKind; 3] =
        [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    match error {
        Error::File { source, .. } | Error::Os { source, .. } => KINDS.contains(&source.kind()),
        _ => false,
    }
}

/// A thread that is the queue's journaler, or waits for the one that there is to end or die. Says
/// what keeps it from writing.
pub struct Journaling {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Journaling {
    /// Begins. An error that is there from the beginning is the caller's, but for a lack of space.
    pub fn begin(queue: Queue, console: Console) -> Result<Self, Error> {
        let journaler = match queue.journaler() {
            Err(Error::JournalerAlive { .. }) => None,
            Err(error) if is_without_space(&error) => None,
            journaler => Some(journaler?),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = thread::spawn(move || write_or_wait(&queue, journaler, &theirs, console));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Has everything written and durable at once, however seldom it is synced, and ends the thread.
    /// Where another one writes, it is left to that.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.stop.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            // It came between, and writes.
            Err(Error::JournalerAlive { .. }) => Ok(()),
            ended => ended,
        }
    }
}

impl Drop for Journaling {
    fn drop(&mut self) {
        // Who wants to know what came of it stops it.
        let _ = self.end();
    }
}

fn write_or_wait(
    queue: &Queue,
    journaler: Option<Journaler>,
    stop: &AtomicBool,
    console: Console,
) -> Result<(), Error> {
    // Whoever stops it is told by what comes of it.
    let is_to_tell = || !stop.load(Ordering::Relaxed);
    let journaler = match journaler {
        Some(journaler) => journaler,
        None => match succeed(queue, stop, Duration::MAX, Duration::MAX, console) {
            Ok(Some(journaler)) => {
                let name = queue.name();
                console.note(format_args!("writing the journal of '{name}' now"));
                journaler
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                if !queue.is_removed() {
                    console.note(&error);
                }
                return Err(error);
            }
        },
    };
    let ended = journaler.run_on(stop, |error| {
        if is_to_tell() {
            console.note(format_args!("{error}; trying again every second"));
        }
    });
    if let Err(error) = &ended
        && is_to_tell()
        && !queue.is_removed()
    {
        console.note(error);
    }
    ended
}

/// Takes the place of the journaler that there is, once that has ended or died; none if it is still
/// there when this is to stop, or the queue is removed. An error if it is there for so long. To wait for
/// longer than `unremarkable` is worth a word.
pub fn succeed(
    queue: &Queue,
    stop: &AtomicBool,
    patience: Duration,
    unremarkable: Duration,
    console: Console,
) -> Result<Option<Journaler>, Error> {
    let begin = Instant::now();
    let (mut has_said_it_waits, mut last_said) = (false, String::new());
    loop {
        let is_to_stop = stop.load(Ordering::Relaxed);
        let is_last = is_to_stop || begin.elapsed() >= patience;
        match queue.journaler() {
            Err(Error::JournalerAlive { .. }) if is_to_stop || queue.is_removed() => {
                return Ok(None);
            }
            Err(Error::JournalerAlive { .. }) if !is_last => {
                if !has_said_it_waits && begin.elapsed() >= unremarkable {
                    let name = queue.name();
                    console.note(format_args!(
                        "another process writes the journal of queue '{name}'; waits for its place"
                    ));
                    has_said_it_waits = true;
                }
            }
            // As what the other one died of may.
            Err(error) if !is_last && may_pass(&error) => {
                let error = error.to_string();
                if error != last_said {
                    console.note(format_args!("{error}; trying again"));
                    last_said = error;
                }
            }
            journaler => return journaler.map(Some),
        }
        thread::park_timeout(LOOK_INTERVAL.min(patience.saturating_sub(begin.elapsed())));
    }
}

/// Whether what keeps one from writing may be over by itself: not that one may not, or that the history
/// is gone.
fn may_pass(error: &Error) -> bool {
    const NEVER: [ErrorKind; 2] = [ErrorKind::PermissionDenied, ErrorKind::NotFound];
    match error {
        Error::File { source, .. } | Error::Os { source, .. } => !NEVER.contains(&source.kind()),
        _ => false,
    }
}
