//! `ringway seek`.

use ringway::Start;

use crate::args::Seek;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::{self, Console};
use crate::subscriptions::find;

pub fn run(seek: &Seek, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Seek { name, subscription, start } = seek;
    let queue = open(name, owner)?;
    queue.seek(subscription, *start)?;
    if let Some(found) = find(&queue.info()?, subscription) {
        let next = found.head_sequence;
        console.note(format_args!("subscription '{subscription}' goes on with message {next}"));
        note_gone(*start, next, console);
    }
    Ok(Ending::Done)
}

/// Says what of it is gone, if a subscription was to begin at a sequence.
pub fn note_gone(start: Start, found: u64, console: Console) {
    if let Start::Sequence(asked) = start
        && asked < found
    {
        let gone = output::range(asked, found);
        console.note(format_args!("messages {gone} are gone, and it is told nothing of them"));
    }
}
