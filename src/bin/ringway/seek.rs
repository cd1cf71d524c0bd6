//! `ringway seek`.

use ringway::{Info, Start, SubscriptionInfo};

use crate::args::Seek;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::{self, Console};
use crate::subscriptions::{left_of, one_as_json};

pub fn run(seek: &Seek, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Seek { name, subscription, start, json } = seek;
    let queue = open(name, owner)?;
    let before = queue.info()?;
    queue.seek(subscription, *start)?;
    if let Some(found) = queue.info()?.subscription(subscription) {
        let next = found.head_sequence;
        // Nothing that is there lies before the oldest.
        let moved = before.subscription(subscription).filter(|_| *start != Start::Oldest);
        let over = moved.map(|found| passed_over(&before, found, next)).unwrap_or_default();
        console.note(format_args!(
            "subscription '{subscription}' of queue '{name}' goes on with message {next}{over}"
        ));
        note_gone(*start, next, console);
        if *json {
            output::json(&one_as_json(found))?;
        }
    }
    Ok(Ending::Done)
}

/// What a subscription had not acknowledged that lies before the message it goes on with.
fn passed_over(before: &Info, found: &SubscriptionInfo, next: u64) -> String {
    if found.head_sequence > next {
        // Of what members had taken it is only known how many they left undone, and not which.
        return if found.unacked == 0 {
            String::new()
        } else {
            "; what lies before that and nobody had acknowledged is passed over".into()
        };
    }
    let over = left_of(before, found).saturating_sub(before.next_sequence.saturating_sub(next));
    match over {
        0 => String::new(),
        1 => "; 1 message that nobody had acknowledged is passed over".into(),
        over => format!("; {over} messages that nobody had acknowledged are passed over"),
    }
}

/// Says that where to begin does not count for a subscription that has a place already.
pub fn note_place(queue: &str, subscription: &str, console: Console) {
    console.note(format_args!(
        "subscription '{subscription}' of queue '{queue}' is there already and keeps its place: --from does not count; `ringway seek {queue} {subscription} START` moves it"
    ));
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
