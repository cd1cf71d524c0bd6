//! `ringway rm`.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringway::{Archive, Error, Info, Queue, SubscriptionInfo};
use serde_json::{Value, json};

use crate::args::Rm;
use crate::confirm;
use crate::excerpt;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::log::{note_left, note_removed};
use crate::output::{self, Console};
use crate::subscriptions::left_of;

pub fn run(remove: &Rm, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    let mut declined = false;
    for name in &remove.names {
        match take_away(name, owner, remove, console) {
            Ok(Outcome::Declined) => {
                declined = true;
                let left = if remove.history { " and its history are" } else { " is" };
                let console = console.explaining(true);
                console.note(format_args!("queue '{name}'{left} left alone"));
                outcomes.push(json!({ "name": name, "removed": false }));
            }
            Err(Failure::Queue { error: Error::NotFound { .. }, .. }) if remove.if_exists => {
                console.note(format_args!("there is no queue '{name}'"));
                outcomes.push(json!({ "name": name, "removed": false }));
            }
            Ok(Outcome::Removed { lost, history, left, gone }) => {
                let mut outcome = json!({ "name": name, "removed": true, "lost": lost.as_json() });
                if !lost.is_empty() {
                    console.note(format_args!(
                        "with queue '{name}' went what nobody had acknowledged: {lost}"
                    ));
                }
                if let Some(directory) = left {
                    let directory = directory.display();
                    console.note(format_args!(
                        "the history of queue '{name}' stays in {directory}; `ringway log rm {directory}` removes it"
                    ));
                }
                if remove.history {
                    match history {
                        Ok(files) if files.is_empty() => {
                            console.note(match gone {
                                Some(directory) => format!(
                                    "the history of queue '{name}' is not in {} any more",
                                    directory.display()
                                ),
                                None => format!("queue '{name}' had no history"),
                            });
                            outcome["history"] = json!([]);
                        }
                        Ok(files) => {
                            note_removed(&files, console);
                            outcome["history"] = json!(output::paths(&files));
                        }
                        Err(failure) => {
                            outcome["error"] = failure.to_string().into();
                            failures.push(failure);
                        }
                    }
                }
                outcomes.push(outcome);
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
    /// And these files of its history, if they could be.
    Removed {
        lost: Backlog,
        history: Result<Vec<PathBuf>, Failure>,
        /// Where its history is left.
        left: Option<PathBuf>,
        /// Where it was to go and is not.
        gone: Option<PathBuf>,
    },
    Declined,
}

fn take_away(
    name: &str,
    owner: Option<u32>,
    remove: &Rm,
    console: Console,
) -> Result<Outcome, Failure> {
    let gone = if remove.history { missing_history(name, owner)? } else { None };
    let is_to_go = remove.history && gone.is_none();
    let history = if is_to_go { History::find(name, owner)? } else { None };
    let mut lost = what_goes(name, owner, remove)?;
    let left = if remove.history { None } else { history_of(name, owner) };
    let is_to_ask = !remove.yes && !remove.force;
    if is_to_ask && (history.is_some() || (!lost.is_empty() && confirm::is_possible())) {
        if !confirm::confirm(&question(name, &lost, history.as_ref()))? {
            return Ok(Outcome::Declined);
        }
        // Others went on while somebody thought.
        let asked = std::mem::replace(&mut lost, what_goes(name, owner, remove)?);
        if lost.exceeds(&asked) {
            let (queue, backlog) = (name.into(), lost.to_string());
            return Err(Failure::Grown { queue, backlog });
        }
    }
    let handle = open(name, owner);
    let is_foreign = matches!(&handle, Err(Failure::Queue { error: Error::Foreign { .. }, .. }));
    match take_name_away(name, owner, remove.force) {
        // What cannot be saved in a history that goes too need not be.
        Err(Error::NotSaved { .. }) if remove.history => take_name_away(name, owner, true),
        removed => removed,
    }?;
    if is_foreign {
        console.note(format_args!(
            "what stood at the name of queue '{name}' was no queue, and is removed"
        ));
    }
    // By force too, what a journal did not have was saved there if it could be.
    if let Some(info) = handle.ok().and_then(|queue| queue.info().ok())
        && let Some(durable) = info.durable_sequence.filter(|_| !remove.history)
    {
        lost = lost.up_to(info.next_sequence.saturating_sub(durable));
    }
    let history = history.map_or(Ok(Vec::new()), |history| {
        let removed = history.remove(name)?;
        note_left(history.archive.directory(), console);
        Ok(removed)
    });
    Ok(Outcome::Removed { lost, history, left, gone })
}

fn take_name_away(name: &str, owner: Option<u32>, force: bool) -> Result<(), Error> {
    match (owner, force) {
        (None, false) => Queue::remove(name),
        (None, true) => Queue::force_remove(name),
        (Some(user), false) => Queue::remove_owned_by(name, user),
        (Some(user), true) => Queue::force_remove_owned_by(name, user),
    }
}

/// The history directory of a queue that can be opened, if it has one and that is there.
fn history_of(name: &str, owner: Option<u32>) -> Option<PathBuf> {
    let queue = open(name, owner).ok()?;
    queue.history().filter(|directory| directory.is_dir()).map(Into::into)
}

/// Where a queue has its history, if there is nothing there.
fn missing_history(name: &str, owner: Option<u32>) -> Result<Option<PathBuf>, Failure> {
    let queue = open(name, owner)?;
    let is_missing = |directory: &&Path| {
        directory.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    Ok(queue.history().filter(is_missing).map(Into::into))
}

/// What nobody has acknowledged and nobody will have again.
fn what_goes(name: &str, owner: Option<u32>, remove: &Rm) -> Result<Backlog, Failure> {
    let info = match open(name, owner).and_then(|queue| Ok(queue.info()?)) {
        Ok(info) => info,
        Err(failure) if remove.if_empty => return Err(failure),
        // Whether it can be removed all the same is for others to say.
        Err(_) => return Ok(Backlog::default()),
    };
    let backlog = Backlog::of(&info);
    if remove.if_empty && !backlog.is_empty() {
        let (queue, backlog) = (name.into(), backlog.to_string());
        return Err(Failure::NotEmpty { queue, backlog });
    }
    Ok(match info.durable_sequence {
        // It is saved there before, or the queue is left.
        Some(_) if !remove.history && !remove.force => Backlog::default(),
        Some(durable) if !remove.history => {
            backlog.up_to(info.next_sequence.saturating_sub(durable))
        }
        _ => backlog,
    })
}

fn question(name: &str, lost: &Backlog, history: Option<&History>) -> String {
    let with = if lost.is_empty() {
        String::new()
    } else {
        format!(", with {lost} that nobody has acknowledged")
    };
    let and = history.map(|history| {
        let directory = history.archive.directory().display();
        format!(", and from {directory} its journal, spilt messages and dead letters")
    });
    format!("Remove queue '{name}'{with}{}?", and.unwrap_or_default())
}

/// What the members of named subscriptions have not acknowledged, taken or not: each
/// subscription's name, and how many messages.
#[derive(Debug, Default)]
struct Backlog(Vec<(String, u64)>);

impl Backlog {
    fn of(info: &Info) -> Self {
        let of = |subscription: &SubscriptionInfo| {
            (subscription.name.clone(), left_of(info, subscription))
        };
        Self(info.subscriptions.iter().map(of).collect()).up_to(u64::MAX)
    }

    /// Of each at most so many messages: those that a journal does not have.
    fn up_to(self, most: u64) -> Self {
        let of_each = self.0.into_iter().map(|(name, messages)| (name, messages.min(most)));
        Self(of_each.filter(|(_, messages)| *messages > 0).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some subscription has more than another backlog has of it.
    fn exceeds(&self, other: &Self) -> bool {
        let has = |name: &str| other.0.iter().find(|(theirs, _)| theirs == name);
        let is_more = |(name, messages): &(String, u64)| {
            *messages > has(name).map_or(0, |(_, messages)| *messages)
        };
        self.0.iter().any(is_more)
    }

    fn as_json(&self) -> Value {
        let of = |(name, messages): &_| json!({ "subscription": name, "messages": messages });
        self.0.iter().map(of).collect()
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |(name, messages): &(String, u64)| {
            format!("{} of '{name}'", output::count(*messages, "message"))
        };
        f.write_str(&self.0.iter().map(of).collect::<Vec<_>>().join(", "))
    }
}

/// The history of a queue.
struct History {
    archive: Archive,
    /// That queue's: another one may be made from it meanwhile.
    instance_id: [u8; 16],
}

impl History {
    /// A queue's, if it has any, and no other one was made from it since.
    fn find(name: &str, owner: Option<u32>) -> Result<Option<Self>, Failure> {
        let queue = open(name, owner)?;
        let Some(directory) = queue.history() else { return Ok(None) };
        let (archive, instance_id) = (excerpt::open(directory)?, queue.instance_id());
        archive.check_of(instance_id).map_err(|error| match error {
            Error::ForeignHistory { .. } => {
                Failure::HistoryOfAnother { queue: name.into(), directory: directory.into() }
            }
            error => error.into(),
        })?;
        Ok(Some(Self { archive, instance_id }))
    }

    fn remove(&self, name: &str) -> Result<Vec<PathBuf>, Failure> {
        /// A journaler needs a moment to find that the queue is gone.
        const PATIENCE: Duration = Duration::from_secs(10);
        const INTERVAL: Duration = Duration::from_millis(20);
        let begin = Instant::now();
        loop {
            match self.archive.remove_of(self.instance_id) {
                Err(Error::JournalerAlive { .. }) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(INTERVAL);
                }
                result => {
                    return result.map_err(|error| {
                        let directory = self.archive.directory().into();
                        Failure::HistoryLeft { queue: name.into(), directory, error }
                    });
                }
            }
        }
    }
}
