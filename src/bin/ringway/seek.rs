//! `ringway seek`.

use ringway::Start;

use crate::args::Seek;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::{self, Console};
use crate::subscriptions::{find, one_as_json};

pub fn run(seek: &Seek, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Seek { name, subscription, start, json } = seek;
    let queue = open(name, owner)?;
    let before = queue.info()?;
    queue.seek(subscription, *start)?;
    if let Some(found) = find(&queue.info()?, subscription) {
        let next = found.head_sequence;
        let over = find(&before, subscription).map_or(0, |found| {
            // Of what members had taken, only how much of it they left undone is known: here, that
            // it was the newest. If it was not, there is more.
            let left = before.next_sequence.saturating_sub(found.head_sequence) + found.unacked;
            left.saturating_sub(before.next_sequence.saturating_sub(next))
        });
        let is_known = find(&before, subscription).is_none_or(|it| it.head_sequence <= next);
        let least = if is_known { "" } else { "at least " };
        let over = match over {
            0 => String::new(),
            1 => format!("; {least}1 message that nobody had acknowledged is passed over"),
            over => {
                format!("; {least}{over} messages that nobody had acknowledged are passed over")
            }
        };
        console
            .note(format_args!("subscription '{subscription}' goes on with message {next}{over}"));
        note_gone(*start, next, console);
        if *json {
            output::json(&one_as_json(found))?;
        }
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
