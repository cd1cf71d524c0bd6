//! A queue's journal, written beside what else a program does, while nobody else writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringway::{Error, Journaler, Queue};

use crate::output::Console;

/// So long the place of a journaler that has died is empty at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// After an error it tries again so often.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A thread that is the queue's journaler, or waits for the one that there is to end or die. Says
/// what keeps it from writing.
pub struct Journaling {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Journaling {
    /// Begins. An error that is there from the beginning is the caller's.
    pub fn begin(queue: Queue, console: Console) -> Result<Self, Error> {
        let journaler = match queue.journaler() {
            Err(Error::JournalerAlive { .. }) => None,
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
    let mut is_successor = journaler.is_none();
    let mut attached = journaler.map_or_else(|| queue.journaler(), Ok);
    let mut told = String::new();
    loop {
        let ended = attached.and_then(|journaler| {
            if is_successor {
                let name = queue.name();
                console.note(format_args!(
                    "writing the journal of '{name}', which nobody else does any more"
                ));
            }
            journaler.run_on(stop, |error| {
                // Whoever stops it is told by what comes of it.
                if !stop.load(Ordering::Relaxed) {
                    console.note(format_args!("{error}; trying again every second"));
                }
            })
        });
        let Err(error) = ended else { return Ok(()) };
        if stop.load(Ordering::Relaxed) || queue.is_removed() {
            return Err(error);
        }
        let pause = match error {
            Error::JournalerAlive { .. } => {
                is_successor = true;
                LOOK_INTERVAL
            }
            Error::File { .. } | Error::Os { .. } => {
                let text = format!("{error}; trying again every second");
                if text != told {
                    console.note(&text);
                    told = text;
                }
                is_successor = false;
                RETRY_INTERVAL
            }
            error => {
                console.note(&error);
                return Err(error);
            }
        };
        let begin = Instant::now();
        while !stop.load(Ordering::Relaxed) && begin.elapsed() < pause {
            thread::park_timeout(pause.saturating_sub(begin.elapsed()));
        }
        attached = queue.journaler();
    }
}
