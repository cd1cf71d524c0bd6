//! `ringway log`: what lies in the journal of a history directory.

use std::fs;
use std::path::{Path, PathBuf};

use ringway::{Archive, Error, PlannedCut, Repaired, Unread, Verified};
use serde_json::{Value, json};

use crate::args::{Dump, Format, LogAction, Prune, Repair, RmLog, Verify};
use crate::confirm::confirm;
use crate::excerpt::{Excerpt, Part, has_lost_its_identity, open};
use crate::failure::{Ending, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, Console, bytes};
use crate::sink::Sink;

pub fn run(action: &LogAction, console: Console) -> Result<Ending, Failure> {
    match action {
        LogAction::Verify(of) => verify(of, console),
        LogAction::Dump(dump) => print_messages(dump, console),
        LogAction::Repair(of) => repair(of, console),
        LogAction::Prune(of) => prune(of, console),
        LogAction::Rm(of) => remove(of, console),
    }
}

fn verify(verify: &Verify, console: Console) -> Result<Ending, Failure> {
    let archive = open(&verify.directory)?;
    let verified = archive.verify()?;
    // What can be saved before a repair.
    let mut behind = Vec::new();
    if verified.damage.is_some() {
        behind = archive.planned_cuts()?;
        behind.retain(|cut| cut.messages > 0);
    }
    if verify.json {
        output::json(&as_json(&verify.directory, &archive, &verified, &behind))?;
    } else {
        output::print(as_text(&verify.directory, &archive, &verified, &behind))?;
    }
    note_savable(&verify.directory, &behind, console);
    if verified.damage.is_some() || !verified.checkpoint_faults.is_empty() {
        let directory = verify.directory.display();
        console.note(format_args!(
            "`ringway log repair {directory}` cuts off what is damaged, and all behind it in the same file, and puts aside what does not say how far a subscription is"
        ));
    }
    Ok(if verified.is_whole() { Ending::Done } else { Ending::Damaged })
}

/// Says how to save what is whole behind damage, which a repair cuts off with it.
fn note_savable(directory: &Path, plan: &[PlannedCut], console: Console) {
    let directory = directory.display();
    for PlannedCut { first_sequence, next_sequence, .. } in plan.iter().filter(|it| it.messages > 0)
    {
        let last = next_sequence - 1;
        console.note(format_args!(
            "`ringway log dump {directory} --from {first_sequence} --to {last} > FILE` saves what is whole behind the damage: a repair cuts that off too"
        ));
    }
}

fn as_text(
    directory: &Path,
    archive: &Archive,
    verified: &Verified,
    behind: &[PlannedCut],
) -> String {
    let messages = match messages_of(verified) {
        None => "none".into(),
        Some(range) => format!("{}: {range}", verified.messages),
    };
    let gaps = verified.gaps.iter().map(|gap| output::range(gap.start, gap.end));
    let absent = verified.absent.iter().map(|error| damage_of(error).2);
    let gaps: Vec<_> = gaps.chain(absent).collect();
    let or_none = |text: String| if text.is_empty() { "none".into() } else { text };
    let torn = match verified.torn_size {
        0 => String::new(),
        size => format!("{size} bytes of a message that was not written whole"),
    };
    let damage = verified.damage.as_ref().map(|damage| {
        let (path, offset, what) = damage_of(damage);
        format!("{} at byte {offset}: {what}", path.display())
    });
    let of_checkpoints = verified.checkpoint_faults.iter().map(|damage| {
        let (path, _, what) = damage_of(damage);
        format!("{}: {what}", path.display())
    });
    let damage: Vec<_> = damage.into_iter().chain(of_checkpoints).collect();
    let facts = [
        ("history", directory.display().to_string()),
        ("queue", archive.queue_name().to_owned()),
        ("id", output::hex(&archive.id())),
        ("files", format!("{}, {}", verified.files, bytes(verified.size))),
        ("messages", messages),
        ("missing", or_none(gaps.join(", "))),
        ("torn end", or_none(torn)),
        ("damage", or_none(damage.join("\n           "))),
        (
            "behind it",
            or_none(behind.iter().map(whole_text).collect::<Vec<_>>().join("\n           ")),
        ),
    ];
    facts.map(|(name, fact)| format!("{name:<10} {fact}")).join("\n")
}

/// The messages that are whole, and those that are missing between them.
fn messages_of(verified: &Verified) -> Option<String> {
    let (first, next) = (verified.first_sequence, verified.next_sequence);
    (verified.messages > 0).then(|| output::range(first, next))
}

/// How many messages are whole behind damage, and which.
fn whole_text(cut: &PlannedCut) -> String {
    let which = output::range(cut.first_sequence, cut.next_sequence);
    let count = output::count(cut.messages, "whole message");
    format!("{count}, {which}")
}

fn as_json(
    directory: &Path,
    archive: &Archive,
    verified: &Verified,
    behind: &[PlannedCut],
) -> Value {
    let range = |from, to| json!({ "first_sequence": from, "next_sequence": to });
    json!({
        "directory": output::path(directory),
        "queue": archive.queue_name(),
        "id": output::hex(&archive.id()),
        "files": verified.files,
        "size_bytes": verified.size,
        "messages": verified.messages,
        "first_sequence": verified.first_sequence,
        "next_sequence": verified.next_sequence,
        "missing": verified.gaps.iter().map(|gap| range(gap.start, gap.end)).collect::<Value>(),
        "absent": verified.absent.as_ref().map(damage_as_json),
        "torn_size_bytes": verified.torn_size,
        "damage": verified.damage.as_ref().map(damage_as_json),
        "behind_damage": behind.iter().map(|cut| json!({
            "file": output::path(&cut.path),
            "messages": cut.messages,
            "first_sequence": cut.first_sequence,
            "next_sequence": cut.next_sequence,
        })).collect::<Value>(),
        "checkpoint_faults": verified.checkpoint_faults.iter().map(damage_as_json).collect::<Value>(),
        "whole": verified.is_whole(),
    })
}

fn damage_as_json(damage: &Error) -> Value {
    let (path, offset, what) = damage_of(damage);
    json!({ "file": output::path(path), "offset": offset, "what": what })
}

/// The file, the byte in it, and what is wrong there.
fn damage_of(damage: &Error) -> (&Path, u64, String) {
    match damage {
        Error::LogDamaged { path, offset, what, .. } => (path, *offset, what.to_string()),
        Error::ForeignHistory { path, theirs, .. } => (path, 0, format!("it belongs to {theirs}")),
        Error::File { path, doing, source, .. } => {
            (path, 0, format!("cannot {doing} {}: {source}", path.display()))
        }
        other => (Path::new(""), 0, other.to_string()),
    }
}

fn print_messages(dump: &Dump, console: Console) -> Result<Ending, Failure> {
    let archive = open(&dump.directory)?;
    let format = if dump.json { Format::Jsonl } else { Format::Raw };
    let interrupt = Interrupt::catch()?;
    let mut sink = Sink::new(format, dump.delimiter, false, &interrupt)?;
    let mut ending = Ending::Done;
    for part in Excerpt::of(&archive, &dump.extent)? {
        if let Some(signal) = interrupt.signal() {
            ending = Ending::Interrupted(signal);
            break;
        }
        match part {
            Ok(Part::Message(message)) => sink.write(&message)?,
            Ok(Part::Missed { from, to }) => {
                ending = Ending::Missed;
                console.explaining(true).note_missed(from, to);
            }
            Err(error) => {
                // What is whole before it.
                sink.flush()?;
                return Err(error.into());
            }
        }
    }
    sink.flush()?;
    Ok(ending)
}

fn repair(repair: &Repair, console: Console) -> Result<Ending, Failure> {
    let Some(archive) = open_or_restore(repair, console)? else {
        console.explaining(true).note("nothing was changed");
        return Ok(Ending::Declined);
    };
    let verified = archive.verify()?;
    let plan = archive.planned_cuts()?;
    if !plan.is_empty() {
        archive.check_unused()?;
        let lines: Vec<_> = plan.iter().map(|cut| cut_text(cut, &verified)).collect();
        let left = match messages_of(&verified) {
            None => "no message is left".into(),
            Some(range) => format!("{} messages are left, {range}", verified.messages),
        };
        console.note(format_args!("to be cut off or put aside:\n{}\n{left}", lines.join("\n")));
        note_savable(&repair.directory, &plan, console);
        let question = "Do that? What is cut off is kept beside, in files that end in .broken.";
        if !repair.yes && !confirm(question)? {
            console.explaining(true).note("nothing was changed");
            return Ok(Ending::Declined);
        }
    }
    let repaired = if plan.is_empty() { Repaired::default() } else { archive.repair()? };
    if repair.json {
        output::json(&repaired.cuts.iter().map(output::cut_as_json).collect())?;
    }
    for cut in &repaired.cuts {
        console.note(output::cut_text(cut));
    }
    if repaired.cuts.is_empty() {
        console.note("nothing is to be cut off or put aside");
    }
    repaired.failure.map_or(Ok(Ending::Done), |error| Err(error.into()))
}

/// The journal that is to be mended, after its identity was if that had to be and may be.
fn open_or_restore(repair: &Repair, console: Console) -> Result<Option<Archive>, Failure> {
    let directory = &repair.directory;
    let opened = Archive::open(directory);
    if !opened.is_err_and(|error| has_lost_its_identity(directory, &error)) {
        return open(directory).map(Some);
    }
    let identity = directory.join("identity");
    let question =
        format!("Write {} anew, as the files of the journal have it?", identity.display());
    if !repair.yes && !confirm(&question)? {
        return Ok(None);
    }
    let archive = Archive::restore(directory)?;
    let (identity, queue) = (identity.display(), archive.queue_name());
    console.note(format_args!("wrote {identity} anew: the history is that of queue '{queue}'"));
    Ok(Some(archive))
}

/// What would be cut off of a file of the plan.
fn cut_text(cut: &PlannedCut, verified: &Verified) -> String {
    let PlannedCut { path, offset, size, .. } = cut;
    let (file, size) = (path.display(), bytes(*size));
    let whole = match cut.messages {
        0 => String::new(),
        _ => format!(" with {}", whole_text(cut)),
    };
    let mut of_checkpoints = verified.checkpoint_faults.iter().map(damage_of);
    if let Some((.., what)) = of_checkpoints.find(|(damaged, ..)| *damaged == path) {
        let name = path.file_stem().unwrap_or_default().display();
        return format!(
            "  {file}, all of it: {what}; subscription '{name}' then begins where its first member asks"
        );
    }
    let mut damage = verified.damage.iter().map(damage_of);
    match damage.find(|(damaged, ..)| *damaged == path) {
        Some((_, 0, what)) => format!("  {file}, all of it, {size}: {what}"),
        Some((_, offset, what)) => {
            format!("  {file} from byte {offset} on, {size}{whole}: {what}")
        }
        None if verified.damage.is_some() => {
            format!("  {file} from byte {offset} on, {size}{whole}: it is damaged or torn there")
        }
        None if fs::metadata(path).is_ok_and(|facts| facts.len() == verified.torn_size) => {
            format!("  {file}, all of it: a file that was just begun")
        }
        None => {
            let size = verified.torn_size;
            format!("  {file}, its last {size} bytes: a message that was not written whole")
        }
    }
}

fn prune(prune: &Prune, console: Console) -> Result<Ending, Failure> {
    let archive = open(&prune.directory)?;
    let size_max = prune.size_max.map_or(u64::MAX, |size| size.as_u64());
    let prune_as_told = if prune.force { Archive::force_prune } else { Archive::prune };
    let pruned = prune_as_told(&archive, size_max, prune.age_max)?;
    if prune.json {
        output::json(&json!({
            "removed": output::paths(&pruned.removed),
            "removed_size_bytes": pruned.removed_size,
            "kept": output::paths(&pruned.kept),
            "kept_size_bytes": pruned.kept_size,
            "unread": pruned.unread.iter().map(unread_as_json).collect::<Value>(),
            "unasked": pruned.unasked.as_ref().map(ToString::to_string),
        }))?;
    }
    note_removed(&pruned.removed, console);
    let unread: Vec<_> = pruned.unread.iter().map(unread_text).collect();
    let unread = unread.join(", ");
    if !pruned.kept.is_empty() {
        let kept = output::count(pruned.kept.len() as u64, "file");
        let size = bytes(pruned.kept_size);
        console.note(format_args!("kept {kept} ({size}): {unread}; --force removes that too"));
    } else if !unread.is_empty() && !pruned.removed.is_empty() {
        console.note(format_args!("removed what was not read: {unread}"));
    }
    if let Some(error) = pruned.unasked.filter(|_| !pruned.removed.is_empty()) {
        console.note(format_args!("others may not have read it either: {error}"));
    }
    pruned.failure.map_or(Ok(Ending::Done), |error| Err(error.into()))
}

fn unread_text(unread: &Unread) -> String {
    match (&unread.subscription, unread.sequence) {
        (Some(name), Some(sequence)) => {
            format!("subscription '{name}' has not read from message {sequence} on")
        }
        (Some(name), None) => format!("subscription '{name}' has not read all of them"),
        (None, _) => "a consumer that spills has not read all of them".into(),
    }
}

fn unread_as_json(unread: &Unread) -> Value {
    json!({ "subscription": unread.subscription, "sequence": unread.sequence })
}

fn remove(remove: &RmLog, console: Console) -> Result<Ending, Failure> {
    let archive = open(&remove.directory)?;
    archive.check_unused()?;
    let (queue, directory) = (archive.queue_name(), archive.directory().display());
    let question = format!(
        "Remove journal, spilt messages and dead letters of queue '{queue}' from {directory}?"
    );
    if !remove.yes && !confirm(&question)? {
        console.explaining(true).note("nothing was changed");
        return Ok(Ending::Declined);
    }
    let removed = archive.remove()?;
    if remove.json {
        output::json(&json!({ "removed": output::paths(&removed) }))?;
    }
    note_removed(&removed, console);
    note_left(archive.directory(), console);
    Ok(Ending::Done)
}

/// Names the files of dead letters that stay in a history that was removed.
pub fn note_left(directory: &Path, console: Console) {
    let Ok(entries) = fs::read_dir(directory.join("dead-letters")) else { return };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_one = |path: &PathBuf| path.extension().is_some_and(|found| found == "letters");
    let mut left: Vec<_> = paths.filter(is_one).collect();
    left.sort();
    for path in left {
        console.note(format_args!("left {}, which is not of this queue alone", path.display()));
    }
}

/// Names the files that are gone.
pub fn note_removed(removed: &[PathBuf], console: Console) {
    for path in removed {
        console.note(format_args!("removed {}", path.display()));
    }
    if removed.is_empty() {
        console.note("removed nothing");
    }
}
