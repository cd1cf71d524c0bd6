//! `ringway seek`.

use crate::args::Seek;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::Console;
use crate::subscriptions::find;

pub fn run(seek: &Seek, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Seek { name, subscription, start } = seek;
    let queue = open(name, owner)?;
    queue.seek(subscription, *start)?;
    if let Some(found) = find(&queue.info()?, subscription) {
        let next = found.head_sequence;
        console.note(format_args!("subscription '{subscription}' goes on with message {next}"));
    }
    Ok(Ending::Done)
}
