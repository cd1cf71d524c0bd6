//! `ringway journal`: writes a queue's journal, for producers that have better to do.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use ringway::{Error, Journaler, Queue};

use crate::args::WriteJournal;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::output::{self, Console};

pub fn run(
    journal: &WriteJournal,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let name = &journal.name;
    let queue = open(name, owner)?;
    let interrupt = Interrupt::catch()?;
    let journaler = attach(&queue, &interrupt)?;
    let before = queue.durable_sequence().unwrap_or_default();
    if let Some(directory) = queue.history() {
        let directory = directory.display();
        console.note(format_args!(
            "writing the journal of '{name}' in {directory}, from message {before} on"
        ));
    }
    let ended = write(journaler, &queue, &interrupt, console);
    let after = queue.durable_sequence().unwrap_or(before).max(before);
    let mut summary = output::count(after - before, "message");
    if after > before {
        summary = format!("{summary} ({})", output::range(before, after));
    }
    let summary = format!("{summary} of '{name}' became durable");
    let Err(error) = ended else {
        let signal = interrupt.signal();
        let why = if signal.is_some() { "interrupted" } else { "the queue was removed" };
        console.note(format_args!("{why}; {summary}"));
        return Ok(signal.map_or(Ending::Done, Ending::Interrupted));
    };
    console.note(summary);
    Err(error)
}

/// Writes until told to stop. Where there is no space it waits for some: nothing more is durable
/// meanwhile, and nothing is lost.
fn write(
    mut journaler: Journaler,
    queue: &Queue,
    interrupt: &Interrupt,
    console: Console,
) -> Result<(), Failure> {
    const INTERVAL: Duration = Duration::from_secs(1);
    let mut error = journaler.run(interrupt.flag()).err();
    let mut is_told = false;
    while let Some(failed) = error {
        if interrupt.signal().is_some() || !is_for_want_of_space(&failed) {
            return Err(failed.into());
        }
        if !is_told {
            console.note(format_args!("{failed}; trying again every second"));
        }
        // For a producer, which may find some before this does.
        drop(journaler);
        interrupt.sleep(INTERVAL)?;
        let before = queue.durable_sequence();
        journaler = attach(queue, interrupt)?;
        error = journaler.run(interrupt.flag()).err();
        is_told = queue.durable_sequence() == before;
    }
    Ok(())
}

fn is_for_want_of_space(error: &Error) -> bool {
    let Error::File { source, .. } = error else { return false };
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    kinds.contains(&source.kind())
}

/// Becomes the journaler. A producer that writes by itself is one for a moment, so that this is
/// tried for a while.
fn attach(queue: &Queue, interrupt: &Interrupt) -> Result<Journaler, Failure> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_millis(20);
    let begin = Instant::now();
    loop {
        match queue.journaler() {
            Err(Error::JournalerAlive { .. })
                if begin.elapsed() < PATIENCE && interrupt.signal().is_none() => {}
            result => return Ok(result?),
        }
        interrupt.sleep(INTERVAL)?;
    }
}
