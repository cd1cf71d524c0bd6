//! `ringway unsubscribe`.

use crate::args::Unsubscribe;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::{self, Console};
use crate::subscriptions::{left_of, one_as_json};

pub fn run(
    unsubscribe: &Unsubscribe,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let Unsubscribe { name, subscription, json } = unsubscribe;
    let queue = open(name, owner)?;
    let info = queue.info()?;
    queue.unsubscribe(subscription)?;
    let found = info.subscription(subscription);
    if let Some(found) = found.filter(|_| *json) {
        output::json(&one_as_json(found))?;
    }
    let left = match found.map_or(0, |found| left_of(&info, found)) {
        0 => String::new(),
        left => {
            format!(", which had {} that nobody had acknowledged", output::count(left, "message"))
        }
    };
    console.note(format_args!("removed subscription '{subscription}' of queue '{name}'{left}"));
    Ok(Ending::Done)
}
