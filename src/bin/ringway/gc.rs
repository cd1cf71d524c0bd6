//! `ringway gc`.

use ringway::ConsumerInfo;
use serde_json::{Value, json};

use crate::args::Gc;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::list::names;
use crate::output::{self, Console};

pub fn run(gc: &Gc, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let all = gc.names.is_empty();
    let names = if all { names()? } else { gc.names.clone() };
    let mut cleared = Vec::new();
    let mut failures = Vec::new();
    for name in &names {
        match clear(name, owner, gc.dry_run) {
            Ok(dead) => cleared.push((name, dead)),
            Err(failure) => failures.push(failure),
        }
    }
    if gc.json {
        output::json(&cleared.iter().map(|(name, dead)| as_json(name, dead)).collect())?;
    }
    let verb = if gc.dry_run { "would clear" } else { "cleared" };
    for (name, dead) in cleared.iter().filter(|(_, dead)| !dead.is_empty()) {
        let pids: Vec<_> = dead.iter().map(|consumer| consumer.pid.to_string()).collect();
        let count = output::count(dead.len() as u64, "dead consumer");
        console
            .note(format_args!("{verb} {count} of queue '{name}' (process {})", pids.join(", ")));
    }
    if cleared.iter().all(|(_, dead)| dead.is_empty()) {
        console.note("the dead left nothing");
    }
    if all {
        // What cannot be opened matters to those who named it.
        for failure in &failures {
            console.note(failure);
        }
        return Ok(Ending::Done);
    }
    output::end_of_many(failures, names.len())
}

/// The consumers that were, or would be, cleared.
fn clear(name: &str, owner: Option<u32>, dry_run: bool) -> Result<Vec<ConsumerInfo>, Failure> {
    let queue = open(name, owner)?;
    let mut dead = queue.info()?.consumers;
    dead.retain(|consumer| !consumer.alive);
    if !dry_run && !dead.is_empty() {
        queue.clear_dead()?;
    }
    Ok(dead)
}

fn as_json(name: &str, dead: &[ConsumerInfo]) -> Value {
    let dead: Value =
        dead.iter().map(|dead| json!({ "member": dead.member, "pid": dead.pid })).collect();
    json!({ "name": name, "dead_consumers": dead })
}
