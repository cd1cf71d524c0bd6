//! `ringway gc`.

use ringway::{ConsumerInfo, Error};
use serde_json::{Value, json};

use crate::args::Gc;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::list::names;
use crate::output::{self, Console};

/// What was, or would be, cleared of a queue.
struct Cleared<'a> {
    queue: &'a str,
    dead: Vec<ConsumerInfo>,
    /// Named subscriptions that had no member for too long.
    expired: Vec<String>,
}

pub fn run(gc: &Gc, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let all = gc.names.is_empty();
    let names = if all { names()? } else { gc.names.clone() };
    let mut cleared = Vec::new();
    let mut failures = Vec::new();
    for name in &names {
        match clear(name, owner, gc.dry_run) {
            Ok(of_one) => cleared.push(of_one),
            Err(failure) => failures.push(failure),
        }
    }
    if gc.json {
        output::json(&cleared.iter().map(Cleared::as_json).collect())?;
    }
    let verb = if gc.dry_run { "would clear" } else { "cleared" };
    for Cleared { queue, dead, expired } in &cleared {
        if !dead.is_empty() {
            let pids: Vec<_> = dead.iter().map(|consumer| consumer.pid.to_string()).collect();
            let (count, pids) =
                (output::count(dead.len() as u64, "dead consumer"), pids.join(", "));
            console.note(format_args!("{verb} {count} of queue '{queue}' (process {pids})"));
        }
        if !expired.is_empty() {
            let count = output::count(expired.len() as u64, "expired subscription");
            let names = expired.join(", ");
            console.note(format_args!("{verb} {count} of queue '{queue}' ({names})"));
        }
    }
    let is_clear = |of_one: &Cleared<'_>| of_one.dead.is_empty() && of_one.expired.is_empty();
    let has_looked = all || !cleared.is_empty();
    if has_looked && cleared.iter().all(is_clear) {
        console.note("there is nothing to clear");
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

fn clear(name: &str, owner: Option<u32>, dry_run: bool) -> Result<Cleared<'_>, Failure> {
    let queue = open(name, owner)?;
    let info = queue.info()?;
    let mut dead = info.consumers;
    dead.retain(|consumer| !consumer.alive);
    let mut subscriptions = info.subscriptions;
    subscriptions.retain(|subscription| subscription.expired);
    let mut expired: Vec<_> = subscriptions.into_iter().map(|expired| expired.name).collect();
    if !dry_run && !dead.is_empty() {
        queue.clear_dead()?;
    }
    if !dry_run {
        // Also what somebody died over making, of which `info` tells nothing.
        match queue.remove_expired() {
            // Nor need one that may only read the queue know of it.
            Err(Error::PermissionDenied { .. }) if expired.is_empty() => {}
            removed => expired = removed?,
        }
    }
    Ok(Cleared { queue: name, dead, expired })
}

impl Cleared<'_> {
    fn as_json(&self) -> Value {
        let Self { queue, dead, expired } = self;
        let dead: Value =
            dead.iter().map(|dead| json!({ "member": dead.member, "pid": dead.pid })).collect();
        json!({ "name": queue, "dead_consumers": dead, "expired_subscriptions": expired })
    }
}
