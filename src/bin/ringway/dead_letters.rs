//! `ringway dead-letters`: messages that a named subscription gave up.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ringway::{ConsumerInfo, DeadLetter, DeadLetters, Error, Queue};
use serde_json::{Value, json};

use crate::args::{
    DeadLetterAction, DropLetters, LettersOf, ListLetters, SendAgain, Sending, SomeLetters,
};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::output::{self, Console, bytes, time};
use crate::sender::Sender;
use crate::sink::{key_hash, put_payload};

const HEADER: [&str; 7] = ["ID", "SEQUENCE", "KEY HASH", "DELIVERIES", "REASON", "SIZE", "TIME"];

pub fn run(
    action: &DeadLetterAction,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    match action {
        DeadLetterAction::Ls(list) => {
            let ListLetters { name, subscription, dir, json } = list;
            let Some(subscription) = subscription else {
                return list_subscriptions(list, owner, console);
            };
            let (name, subscription) = (name.clone(), subscription.clone());
            let of = LettersOf { name, subscription, dir: dir.clone(), json: *json };
            self::list(&of, owner, console)
        }
        DeadLetterAction::Show(some) => show(some, owner, console),
        DeadLetterAction::SendAgain(again) => send_again(again, owner, console),
        DeadLetterAction::Drop(some) => drop_letters(some, owner, console),
    }
}

fn list(of: &LettersOf, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let found = Letters::open(of, owner)?;
    let mut letters = found.file.iter();
    // One after the other: what they say may be more than there is memory for.
    let mut each = letters.by_ref().peekable();
    let has_none = each.peek().is_none();
    if has_none {
        found.check_name()?;
    }
    if of.json {
        output::json_array(each.map(|letter| letter.map(|letter| as_json(&letter))))?;
    } else if has_none {
        found.note_none(console);
    } else {
        let rows = each.map(|letter| letter.map(|letter| row(&letter)));
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let numbers = ["ID", "SEQUENCE", "DELIVERIES", "SIZE"];
        output::print(output::table(&HEADER, &numbers, rows))?;
    }
    Ok(note_damage(&found.file, letters.passed_over(), console))
}

/// Tells which subscriptions have letters of a queue, those that were unsubscribed too.
fn list_subscriptions(
    list: &ListLetters,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let (_, directory) = place_of(&list.name, list.dir.as_deref(), owner)?;
    let (mut found, mut ending) = (Vec::new(), Ending::Done);
    for subscription in subscriptions_in(&directory)? {
        let letters = DeadLetters::open(&directory, &list.name, &subscription)?;
        let (mut each, mut count) = (letters.iter(), 0_u64);
        for letter in each.by_ref() {
            count += u64::from(letter?.queue == list.name);
        }
        if note_damage(&letters, each.passed_over(), console) != Ending::Done {
            ending = Ending::Damaged;
        }
        found.extend((count > 0).then_some((subscription, count)));
    }
    if list.json {
        let of = |(name, count): &_| json!({ "subscription": name, "dead_letters": count });
        output::json(&found.iter().map(of).collect())?;
    } else if found.is_empty() {
        console.note(format_args!("queue '{}' has no dead letters", list.name));
    } else {
        let rows = found.into_iter().map(|(name, count)| vec![name, count.to_string()]);
        let rows = rows.collect::<Vec<_>>();
        output::print(output::table(&["SUBSCRIPTION", "LETTERS"], &["LETTERS"], rows))?;
    }
    Ok(ending)
}

/// The subscriptions that have a file of dead letters in a directory, in order.
fn subscriptions_in(directory: &Path) -> Result<Vec<String>, Failure> {
    let within = directory.join("dead-letters");
    let failed = |source| Failure::NoDirectory { source, directory: within.clone() };
    let entries = match fs::read_dir(&within) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".letters"));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn show(some: &SomeLetters, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let which = some.which()?;
    let letters = Letters::open(&some.of, owner)?;
    let (ids, ending) = letters.choose(which, console)?;
    let mut stdout = io::stdout().lock();
    for letter in letters.of(&ids) {
        let letter = letter?;
        let written = if some.of.json {
            let mut value = as_json(&letter);
            put_payload(&mut value, &letter.payload);
            writeln!(stdout, "{value}")
        } else {
            stdout.write_all(&letter.payload).and_then(|()| stdout.write_all(b"\n"))
        };
        written.map_err(Failure::Output)?;
    }
    stdout.flush().map_err(Failure::Output)?;
    Ok(ending)
}

fn send_again(again: &SendAgain, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let SendAgain { some, into, patience } = again;
    let which = some.which()?;
    let letters = Letters::open(&some.of, owner)?;
    // What is not there is to be known before anybody waits for a place.
    let (chosen, ending) = letters.choose(which, console)?;
    if chosen.is_empty() {
        letters.note_none(console);
        if some.of.json {
            output::json(&json!([]))?;
        }
        return Ok(ending);
    }
    let target = match into {
        Some(name) => open(name, owner)?,
        None => letters.queue.clone().ok_or_else(|| Failure::NoQueueOfLetters {
            queue: some.of.name.clone(),
            meant: None,
        })?,
    };
    let interrupt = Interrupt::catch()?;
    let sender = Sender::open(target.clone(), *patience, &interrupt, console)?;
    if let Some(others) = letters.others_at(&target)? {
        let hint = if into.is_none() { "; --into sends it to another queue" } else { "" };
        console.note(format_args!(
            "{others} of '{}' will get this too, perhaps for the second time{hint}",
            some.of.name
        ));
    }
    let mut sent = Vec::new();
    let sending = Sending { wait_for: 0, close: false, patience: *patience };
    let ended = sender.run(&sending, "sent", |sender| {
        // While it waited others may have dealt with some, which are passed over, and given up more.
        let ids = match which {
            Which::Ids(_) => chosen,
            which => letters.choose(which, Console::silent())?.0,
        };
        for letter in letters.of(&ids) {
            let letter = letter?;
            let Some(sequence) = sender.send_safely(letter.key_hash, &letter.payload)? else {
                break;
            };
            // After it was sent, and is as safe: who dies in between sends it twice, and never not at all.
            sent.push(json!({ "id": letter.id, "sequence": sequence }));
            letters.file.drop(&[letter.id])?;
        }
        Ok(())
    });
    // Also what was sent before a failure.
    if some.of.json {
        output::json(&sent.into())?;
    }
    ended.map(|ended| if ended == Ending::Done { ending } else { ended })
}

fn drop_letters(
    some: &DropLetters,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let which = some.which()?;
    let letters = Letters::open(&some.of, owner)?;
    let (chosen, ending) = letters.choose(which, console)?;
    // Others may have dropped some since.
    let dropped = letters.file.drop(&chosen)?;
    if some.of.json {
        output::json(&dropped.into())?;
    } else {
        let count = output::count(dropped.len() as u64, "dead letter");
        let LettersOf { name, subscription, .. } = &some.of;
        console.note(format_args!("dropped {count} of '{subscription}' of queue '{name}'"));
    }
    Ok(ending)
}

/// Which letters are meant.
#[derive(Clone, Copy)]
enum Which<'a> {
    All,
    Ids(&'a [u64]),
    OlderThan(Duration),
    AllButNewest(usize),
}

impl<'a> Which<'a> {
    /// Those with these ids, of which there is one at least.
    fn ids(ids: &'a [u64], others: &str) -> Result<Self, Failure> {
        if ids.is_empty() {
            let what = format!(
                "name dead letters by their ids, which `ringway dead-letters ls` lists, or give {others}"
            );
            return Err(Failure::Usage(what));
        }
        Ok(Self::Ids(ids))
    }
}

impl SomeLetters {
    fn which(&self) -> Result<Which<'_>, Failure> {
        if self.all { Ok(Which::All) } else { Which::ids(&self.ids, "--all") }
    }
}

impl DropLetters {
    fn which(&self) -> Result<Which<'_>, Failure> {
        Ok(match (self.older_than, self.keep) {
            (Some(age), _) => Which::OlderThan(age),
            (None, Some(count)) => Which::AllButNewest(count),
            (None, None) if self.all => Which::All,
            (None, None) => return Which::ids(&self.ids, "--all, --older-than or --keep"),
        })
    }
}

/// The dead letters of one subscription.
struct Letters<'a> {
    /// If it is there.
    queue: Option<Queue>,
    name: &'a str,
    subscription: &'a str,
    directory: PathBuf,
    file: DeadLetters,
}

/// A queue, and where its dead letters are. If that is said, it need not be there.
fn place_of(
    name: &str,
    directory: Option<&Path>,
    owner: Option<u32>,
) -> Result<(Option<Queue>, PathBuf), Failure> {
    if let Some(directory) = directory {
        let is_there = fs::metadata(directory).and_then(|found| {
            if found.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
        });
        let directory = directory.to_path_buf();
        return match is_there {
            Ok(()) => Ok((open(name, owner).ok(), directory)),
            Err(source) => Err(Failure::NoDirectory { source, directory }),
        };
    }
    let queue = open(name, owner).map_err(|failure| match failure {
        Failure::Queue { error: Error::NotFound { queue }, meant } => {
            Failure::NoQueueOfLetters { queue: queue.into(), meant }
        }
        failure => failure,
    })?;
    match queue.history().map(Into::into) {
        Some(directory) => Ok((Some(queue), directory)),
        None => Err(Failure::NoLetters { queue: name.into() }),
    }
}

impl<'a> Letters<'a> {
    fn open(of: &'a LettersOf, owner: Option<u32>) -> Result<Self, Failure> {
        let (queue, directory) = place_of(&of.name, of.dir.as_deref(), owner)?;
        let (name, subscription) = (of.name.as_str(), of.subscription.as_str());
        let file = DeadLetters::open(&directory, name, subscription)?;
        Ok(Self { queue, name, subscription, directory, file })
    }

    /// Whether there is such a subscription, or was.
    fn check_name(&self) -> Result<(), Failure> {
        let is_there = match &self.queue {
            Some(queue) => queue.info()?.subscription(self.subscription).is_some(),
            None => subscriptions_in(&self.directory)?.iter().any(|it| it == self.subscription),
        };
        if is_there {
            return Ok(());
        }
        let (queue, subscription) = (self.name.into(), self.subscription.into());
        Err(Error::NoSuchSubscription { queue, subscription }.into())
    }

    fn note_none(&self, console: Console) {
        let Self { name, subscription, .. } = self;
        console.note(format_args!(
            "subscription '{subscription}' of queue '{name}' has no dead letters"
        ));
    }

    /// Who gets what is sent to a queue beside the subscription: all that is known of, if that is the
    /// queue where the letters had been sent to. Who is at another one had nothing yet.
    fn others_at(&self, target: &Queue) -> Result<Option<String>, Error> {
        if self.queue.as_ref().map(Queue::instance_id) != Some(target.instance_id()) {
            return Ok(None);
        }
        let info = target.info()?;
        let subscriptions =
            info.subscriptions.iter().filter(|other| other.name != self.subscription).count();
        let alone = |consumer: &&ConsumerInfo| consumer.alive && consumer.subscription.is_none();
        let consumers = info.consumers.iter().filter(alone).count();
        let all = [(subscriptions, "other subscription"), (consumers, "consumer")];
        let all = all.into_iter().filter(|(number, _)| *number > 0);
        let all: Vec<_> = all.map(|(number, who)| output::count(number as u64, who)).collect();
        Ok((!all.is_empty()).then(|| all.join(" and ")))
    }

    /// The ids of those that are meant, in the order of the file: of other queues, which may have been
    /// given the same directory, those alone that are named. A subscription that is gone may have left
    /// letters; one that has none may be a slip of the pen. And how to end if all else goes well.
    fn choose(&self, which: Which<'_>, console: Console) -> Result<(Vec<u64>, Ending), Failure> {
        let mut letters = self.file.iter();
        let (mut all, mut of_others) = (Vec::new(), 0);
        for letter in letters.by_ref() {
            let DeadLetter { id, time, queue, .. } = letter?;
            if matches!(which, Which::Ids(_)) || queue == self.name {
                all.push((id, time));
            } else {
                of_others += 1;
            }
        }
        let ending = note_damage(&self.file, letters.passed_over(), console);
        if of_others > 0 {
            let count = output::count(of_others, "dead letter");
            console.note(format_args!("{count} of other queues left alone: their ids name them"));
        }
        if all.is_empty() {
            self.check_name()?;
        }
        match which {
            Which::All => {}
            Which::Ids(ids) => {
                let there: HashSet<_> = all.iter().map(|(id, _)| *id).collect();
                if let Some(&id) = ids.iter().find(|id| !there.contains(*id)) {
                    let (queue, subscription) = (self.name.into(), self.subscription.into());
                    return Err(Failure::NoSuchLetter { queue, subscription, id });
                }
                let ids: HashSet<_> = ids.iter().collect();
                all.retain(|(id, _)| ids.contains(id));
            }
            Which::OlderThan(age) => {
                let limit = SystemTime::now().checked_sub(age);
                all.retain(|(_, time)| limit.is_some_and(|limit| *time < limit));
            }
            Which::AllButNewest(count) => all.truncate(all.len().saturating_sub(count)),
        }
        Ok((all.into_iter().map(|(id, _)| id).collect(), ending))
    }

    /// Those with these ids, as far as they are there, one after the other.
    fn of(&self, ids: &[u64]) -> impl Iterator<Item = Result<DeadLetter, Error>> {
        let ids: HashSet<_> = ids.iter().copied().collect();
        let is_meant = move |letter: &Result<DeadLetter, Error>| {
            letter.as_ref().map_or(true, |letter| ids.contains(&letter.id))
        };
        self.file.iter().filter(is_meant)
    }
}

/// Says what is damaged, and how to end then.
fn note_damage(letters: &DeadLetters, passed_over: u64, console: Console) -> Ending {
    if passed_over == 0 {
        return Ending::Done;
    }
    let (file, damaged) = (letters.path().display(), bytes(passed_over));
    console.explaining(true).note(format_args!(
        "{file} is damaged: {damaged} of it are no whole dead letters, and some may be lost; or somebody was killed who wrote one there, and wrote it again"
    ));
    Ending::Damaged
}

fn row(letter: &DeadLetter) -> Vec<String> {
    vec![
        letter.id.to_string(),
        letter.sequence.to_string(),
        letter.key_hash.map_or("-".into(), key_hash),
        letter.deliveries.to_string(),
        letter.reason.to_string(),
        bytes(letter.payload.len() as u64),
        time(letter.time),
    ]
}

fn as_json(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id,
        "queue": letter.queue,
        "instance_id": output::hex(&letter.instance_id),
        "subscription": letter.subscription,
        "sequence": letter.sequence,
        "key_hash": letter.key_hash.map(key_hash),
        "deliveries": letter.deliveries,
        "reason": letter.reason.to_string(),
        "time": time(letter.time),
        "size_bytes": letter.payload.len(),
    })
}
