//! `ringway unsubscribe`.

use crate::args::Unsubscribe;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::Console;

pub fn run(
    unsubscribe: &Unsubscribe,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let Unsubscribe { name, subscription } = unsubscribe;
    open(name, owner)?.unsubscribe(subscription)?;
    console.note(format_args!("removed subscription '{subscription}' of queue '{name}'"));
    Ok(Ending::Done)
}
