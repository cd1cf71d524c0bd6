//! `ringway journal`: writes a queue's journal, for producers that have better to do.

use std::time::Duration;

use crate::args::WriteJournal;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::output::{self, Console};

/// A producer that writes by itself is a journaler for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn run(
    journal: &WriteJournal,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let name = &journal.name;
    let queue = open(name, owner)?;
    let interrupt = Interrupt::catch()?;
    let journaler = queue.journaler_timeout(PATIENCE)?;
    let before = queue.durable_sequence().unwrap_or_default();
    if let Some(directory) = queue.history() {
        let directory = directory.display();
        console.note(format_args!(
            "writing the journal of '{name}' in {directory}, from message {before} on"
        ));
    }
    let ended = journaler.run_on(interrupt.flag(), |error| {
        console.note(format_args!("{error}; trying again every second"));
    });
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
    Err(error.into())
}
