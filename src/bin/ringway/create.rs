//! `ringway create`.

use std::path::{Path, PathBuf};

use ringway::{AtLimit, Error, Queue, QueueOptions};
use serde_json::Value;

use crate::args::{Create, History};
use crate::failure::{Ending, Failure};
use crate::info::{self, open};
use crate::output::{self, Console, bytes};

pub fn run(create: &Create, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Create { name, capacity, members, subscriptions, if_missing, mode, json, history } = create;
    let options = QueueOptions::new().capacity(capacity.as_u64()).mode(*mode);
    let options = options.members(*members).subscriptions(*subscriptions);
    let options = with_history(options, history);
    let queue = match Queue::create(name, &options) {
        Err(Error::AlreadyExists { .. }) if *if_missing => {
            // What stands there need not be a queue, nor one that can be used.
            let queue = open(name, owner)?;
            options.check_found(&queue)?;
            if *json {
                output::json(&as_json(&queue, false)?)?;
            }
            console.note(format_args!("queue '{name}' is there"));
            return Ok(Ending::Done);
        }
        Err(error @ Error::AlreadyExists { .. }) => {
            // What stands there need not be a queue, nor one that can be removed like any other.
            open(name, owner)?;
            return Err(error.into());
        }
        Err(Error::File { .. }) if history.directory.as_ref().is_some_and(is_no_directory) => {
            let directory = history.directory.as_deref().unwrap_or(Path::new("")).display();
            return Err(Failure::Usage(format!("{directory} is not a directory")));
        }
        created => created?,
    };
    // What cannot be mapped here is of no use to who made it, and its memory is taken.
    let info = queue.info().inspect_err(|_| {
        let _ = Queue::remove(name);
    })?;
    let besides = info.memory_size - queue.capacity();
    if *json {
        output::json(&as_json(&queue, true)?)?;
    } else {
        console.note(format_args!(
            "made queue '{name}': a ring of {}, messages up to {}; {} for {} and {}",
            bytes(queue.capacity()),
            bytes(queue.message_size_max() as u64),
            bytes(besides),
            output::count((*members).into(), "consumer"),
            output::count((*subscriptions).into(), "named subscription"),
        ));
        if let Some(text) = history_text(&queue, history) {
            console.note(text);
        }
    }
    if let Some(text) = small_limit_text(&queue, history) {
        console.note(text);
    }
    for cut in queue.log_cuts() {
        console.note(output::cut_text(cut));
    }
    if history.journal.is_some() && info.next_sequence > 0 {
        console.note(format_args!("the journal goes on with message {}", info.next_sequence));
    }
    Ok(Ending::Done)
}

#[allow(clippy::ptr_arg, reason = "as it is in an option")]
fn is_no_directory(path: &PathBuf) -> bool {
    path.metadata().is_ok_and(|found| !found.is_dir())
}

/// Opens a queue of a user whom the caller trusts, or makes it if there is none.
pub fn open_or_create(
    name: &str,
    owner: Option<u32>,
    options: &QueueOptions,
) -> Result<Queue, Failure> {
    if owner.is_none() {
        return Ok(Queue::open_or_create(name, options)?);
    }
    let open = || {
        let found = open(name, owner)?;
        options.check_found(&found)?;
        Ok(found)
    };
    match open() {
        Err(Failure::Queue { error: Error::NotFound { .. }, .. }) => {}
        found => return found,
    }
    match Queue::create(name, options) {
        // Somebody was faster.
        Err(Error::AlreadyExists { .. }) => open(),
        made => Ok(made?),
    }
}

fn with_history(mut options: QueueOptions, history: &History) -> QueueOptions {
    if let Some(directory) = &history.directory {
        options = options.history(directory);
    }
    if let Some(journal) = history.journal {
        options = options.journal(journal);
    }
    if let Some(size) = history.size_max {
        options = options.history_max(size.as_u64(), history.at_limit);
    }
    if let Some(time) = history.keep {
        options = options.keep_for(time);
    }
    options
}

fn history_text(queue: &Queue, history: &History) -> Option<String> {
    let directory = queue.history()?.display();
    let what = match history.journal {
        Some(journal) => format!("a journal, {journal}"),
        None => "what spills, and dead letters".into(),
    };
    let size_max = history.size_max.map(|size| size.as_u64());
    let limits = info::history_limits(size_max, history.at_limit, history.keep);
    Some(format!("its history in {directory}: {what}{limits}"))
}

/// What a limit below the size of a file comes to.
fn small_limit_text(queue: &Queue, history: &History) -> Option<String> {
    const FILE_SIZE_MIN: u64 = 16 << 20;
    let file = queue.capacity().max(FILE_SIZE_MIN);
    let limit = history.size_max?.as_u64();
    let (limit, file) = (limit < file).then(|| (bytes(limit), bytes(file)))?;
    let comes_to = match history.at_limit {
        AtLimit::DropOldest => "files go whole, and the last one stays, so that much may be there",
        _ => "whoever lags soon holds the producer",
    };
    Some(format!("a limit of {limit} is less than a file of its history ({file}): {comes_to}"))
}

/// What `ringway info` tells, whether it was made just now, and what was cut off of its journal then.
fn as_json(queue: &Queue, made: bool) -> Result<Value, Failure> {
    let mut value = info::as_json(&queue.info()?);
    value["made"] = made.into();
    value["cuts"] = queue.log_cuts().iter().map(output::cut_as_json).collect();
    Ok(value)
}
