//! `ringway rm`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringway::{Archive, Error, Queue};
use serde_json::json;

use crate::args::Rm;
use crate::confirm::confirm;
use crate::excerpt;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::log::note_removed;
use crate::output::{self, Console};

pub fn run(remove: &Rm, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    let mut declined = false;
    for name in &remove.names {
        match take_away(name, owner, remove) {
            Ok(Outcome::Declined) => {
                declined = true;
                console.note(format_args!("queue '{name}' and its history are left alone"));
                outcomes.push(json!({ "name": name, "removed": false }));
            }
            Ok(Outcome::Removed(history)) => {
                if remove.history {
                    if history.is_empty() {
                        console.note(format_args!("queue '{name}' had no history"));
                    } else {
                        note_removed(&history, console);
                    }
                    outcomes.push(json!({ "name": name, "removed": true, "history": history }));
                } else {
                    outcomes.push(json!({ "name": name, "removed": true }));
                }
            }
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
    let ending = output::end_of_many(failures, remove.names.len())?;
    Ok(if declined { Ending::Declined } else { ending })
}

enum Outcome {
    /// Of its history these files.
    Removed(Vec<PathBuf>),
    Declined,
}

fn take_away(name: &str, owner: Option<u32>, remove: &Rm) -> Result<Outcome, Failure> {
    let archive = if remove.history { find_history(name, owner)? } else { None };
    if let Some(archive) = &archive {
        let directory = archive.directory().display();
        let question = format!(
            "Remove queue '{name}', and from {directory} its journal, spilt messages and dead letters?"
        );
        if !remove.yes && !remove.force && !confirm(&question)? {
            return Ok(Outcome::Declined);
        }
    }
    match (owner, remove.force) {
        (None, false) => Queue::remove(name),
        (None, true) => Queue::force_remove(name),
        (Some(user), false) => Queue::remove_owned_by(name, user),
        (Some(user), true) => Queue::force_remove_owned_by(name, user),
    }?;
    Ok(Outcome::Removed(archive.as_ref().map_or(Ok(Vec::new()), remove_history)?))
}

/// A queue's history, if it has any.
fn find_history(name: &str, owner: Option<u32>) -> Result<Option<Archive>, Failure> {
    let queue = open(name, owner)?;
    queue.history().map(excerpt::open).transpose()
}

fn remove_history(archive: &Archive) -> Result<Vec<PathBuf>, Failure> {
    /// A journaler needs a moment to find that the queue is gone.
    const PATIENCE: Duration = Duration::from_secs(10);
    const INTERVAL: Duration = Duration::from_millis(20);
    let begin = Instant::now();
    loop {
        match archive.remove() {
            Err(Error::JournalerAlive { .. }) if begin.elapsed() < PATIENCE => {
                std::thread::sleep(INTERVAL);
            }
            result => return Ok(result?),
        }
    }
}
