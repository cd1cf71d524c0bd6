//! `ringway rm`.

use ringway::Queue;
use serde_json::json;

use crate::args::Rm;
use crate::failure::{Ending, Failure};
use crate::output;

pub fn run(remove: &Rm, owner: Option<u32>) -> Result<Ending, Failure> {
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    for name in &remove.names {
        match take_away(name, owner, remove.force) {
            Ok(()) => outcomes.push(json!({ "name": name, "removed": true })),
            Err(failure) => {
                let error = failure.to_string();
                outcomes.push(json!({ "name": name, "removed": false, "error": error }));
                failures.push(failure);
            }
        }
    }
    if remove.json {
        output::json(&outcomes.into())?;
    }
    output::end_of_many(failures, remove.names.len())
}

fn take_away(name: &str, owner: Option<u32>, force: bool) -> Result<(), Failure> {
    let result = match (owner, force) {
        (None, false) => Queue::remove(name),
        (None, true) => Queue::force_remove(name),
        (Some(user), false) => Queue::remove_owned_by(name, user),
        (Some(user), true) => Queue::force_remove_owned_by(name, user),
    };
    Ok(result?)
}
