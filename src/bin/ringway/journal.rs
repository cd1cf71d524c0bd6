//! `ringway journal`: writes a queue's journal, for producers that have better to do.

use std::time::Duration;

use ringway::{Error, Journaler, Queue};

use crate::args::WriteJournal;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::journaling::succeed;
use crate::output::{self, Console};

/// To wait for longer is worth a word: a producer that writes by itself is a journaler for a moment.
const UNREMARKABLE: Duration = Duration::from_secs(1);

pub fn run(
    journal: &WriteJournal,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let name = &journal.name;
    let queue = open(name, owner)?;
    let interrupt = Interrupt::catch()?;
    let standby = journal.standby.unwrap_or(Duration::MAX);
    let Some(journaler) = stand_by(&queue, standby, &interrupt, console)? else {
        return Ok(end(&interrupt, "nothing was written", console));
    };
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
    let Err(error) = ended else { return Ok(end(&interrupt, &summary, console)) };
    console.note(summary);
    Err(error.into())
}

/// An end that was asked for, by a signal or by who removed the queue.
fn end(interrupt: &Interrupt, summary: &str, console: Console) -> Ending {
    let signal = interrupt.signal();
    let why = if signal.is_some() { "interrupted" } else { "the queue was removed" };
    console.note(format_args!("{why}; {summary}"));
    signal.map_or(Ending::Done, Ending::Interrupted)
}

/// The queue's journaler, once nobody else is; none if this is to end before that.
fn stand_by(
    queue: &Queue,
    patience: Duration,
    interrupt: &Interrupt,
    console: Console,
) -> Result<Option<Journaler>, Failure> {
    // What is in the way of the first try is not what another one may have died of.
    match queue.journaler() {
        Err(Error::JournalerAlive { .. }) if !patience.is_zero() => {}
        journaler => return Ok(Some(journaler?)),
    }
    match succeed(queue, interrupt.flag(), patience, UNREMARKABLE, console) {
        Err(error @ Error::JournalerAlive { .. }) => Err(Failure::TimedOut(error)),
        Err(_) if queue.is_removed() => Ok(None),
        found => Ok(found?),
    }
}
