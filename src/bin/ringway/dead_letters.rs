//! `ringway dead-letters`: messages that a named subscription gave up.

use std::io::{self, Write};
use std::path::Path;

use ringway::{ConsumerInfo, DeadLetter, Error, Queue};
use serde_json::{Value, json};

use crate::args::{DeadLetterAction, LettersOf, SendAgain, Sending, SomeLetters};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::output::{self, Console, bytes, time};
use crate::sender::Sender;
use crate::sink::{key_hash, put_payload};
use crate::subscriptions;

const HEADER: [&str; 7] = ["ID", "SEQUENCE", "KEY HASH", "DELIVERIES", "REASON", "SIZE", "TIME"];

pub fn run(
    action: &DeadLetterAction,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    match action {
        DeadLetterAction::Ls(of) => list(of, owner, console),
        DeadLetterAction::Show(some) => show(some, owner, console),
        DeadLetterAction::SendAgain(again) => send_again(again, owner, console),
        DeadLetterAction::Drop(some) => drop_letters(some, owner, console),
    }
}

fn list(of: &LettersOf, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let found = Letters::open(of, owner)?;
    let letters = found.read_all(console)?;
    if of.json {
        output::json(&letters.iter().map(as_json).collect())?;
    } else if letters.is_empty() {
        found.note_none(console);
    } else {
        let numbers = ["ID", "SEQUENCE", "DELIVERIES", "SIZE"];
        output::print(output::table(&HEADER, &numbers, letters.iter().map(row)))?;
    }
    Ok(Ending::Done)
}

fn show(some: &SomeLetters, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let letters = Letters::open(&some.of, owner)?.choose(some, console)?;
    let mut stdout = io::stdout().lock();
    for letter in &letters {
        let written = if some.of.json {
            let mut value = as_json(letter);
            put_payload(&mut value, &letter.payload);
            writeln!(stdout, "{value}")
        } else {
            stdout.write_all(&letter.payload).and_then(|()| stdout.write_all(b"\n"))
        };
        written.map_err(Failure::Output)?;
    }
    stdout.flush().map_err(Failure::Output)?;
    Ok(Ending::Done)
}

fn send_again(again: &SendAgain, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let SendAgain { some, into, patience } = again;
    let letters = Letters::open(&some.of, owner)?;
    // What is not there is to be known before anybody waits for a place.
    if letters.choose(some, console)?.is_empty() {
        letters.note_none(console);
        if some.of.json {
            output::json(&json!([]))?;
        }
        return Ok(Ending::Done);
    }
    let target = match into {
        Some(name) => open(name, owner)?,
        None => letters.queue.clone(),
    };
    let interrupt = Interrupt::catch()?;
    let sender = Sender::open(target.clone(), *patience, &interrupt, console)?;
    if let Some(others) = letters.others_at(&target)? {
        console.note(format_args!(
            "{others} of '{}' will get this too, perhaps for the second time; --into sends it to another queue",
            some.of.name
        ));
    }
    let mut sent = Vec::new();
    let sending = Sending { wait_for: 0, close: false, patience: *patience };
    let ended = sender.run(&sending, "sent", |sender| {
        // Others may have dealt with some while it waited.
        for letter in letters.choose(some, Console::new(true))? {
            let Some(sequence) = sender.send_safely(letter.key_hash, &letter.payload)? else {
                break;
            };
            // After it was sent, and is as safe: who dies in between sends it twice, and never not at all.
            letters.drop(&letter)?;
            sent.push(json!({ "id": letter.id, "sequence": sequence }));
        }
        Ok(())
    });
    // Also what was sent before a failure.
    if some.of.json {
        output::json(&sent.into())?;
    }
    ended
}

fn drop_letters(
    some: &SomeLetters,
    owner: Option<u32>,
    console: Console,
) -> Result<Ending, Failure> {
    let letters = Letters::open(&some.of, owner)?;
    let chosen = letters.choose(some, console)?;
    for letter in &chosen {
        letters.drop(letter)?;
    }
    if some.of.json {
        output::json(&chosen.iter().map(|letter| letter.id).collect())?;
    } else {
        let count = output::count(chosen.len() as u64, "dead letter");
        console.note(format_args!("dropped {count} of '{}'", some.of.subscription));
    }
    Ok(Ending::Done)
}

/// The dead letters of one subscription.
struct Letters<'a> {
    queue: Queue,
    subscription: &'a str,
    directory: Option<&'a Path>,
}

impl<'a> Letters<'a> {
    fn open(of: &'a LettersOf, owner: Option<u32>) -> Result<Self, Failure> {
        let queue = open(&of.name, owner)?;
        Ok(Self { queue, subscription: &of.subscription, directory: of.dir.as_deref() })
    }

    fn read(&self, console: Console) -> Result<Vec<DeadLetter>, Failure> {
        let mut letters = match self.directory {
            Some(directory) => self.queue.dead_letters_in(directory, self.subscription)?,
            None => self.queue.dead_letters(self.subscription)?,
        };
        let found: Vec<_> = letters.by_ref().collect::<Result<_, _>>()?;
        if letters.passed_over() > 0 {
            let damaged = bytes(letters.passed_over());
            console.note(format_args!("{damaged} of the file are no dead letters"));
        }
        Ok(found)
    }

    /// All of them. A subscription that is gone may have left letters; one that has none may be a slip
    /// of the pen.
    fn read_all(&self, console: Console) -> Result<Vec<DeadLetter>, Failure> {
        let letters = self.read(console)?;
        if letters.is_empty() {
            self.check_name()?;
        }
        Ok(letters)
    }

    /// Whether there is such a subscription.
    fn check_name(&self) -> Result<(), Failure> {
        if subscriptions::find(&self.queue.info()?, self.subscription).is_some() {
            return Ok(());
        }
        let (queue, subscription) = (self.queue.name().into(), self.subscription.into());
        Err(Error::NoSuchSubscription { queue, subscription }.into())
    }

    fn note_none(&self, console: Console) {
        console.note(format_args!("subscription '{}' has no dead letters", self.subscription));
    }

    /// Who gets what is sent to a queue beside the subscription: all that is known of, if that is the
    /// queue where the letters had been sent to. Who is at another one had nothing yet.
    fn others_at(&self, target: &Queue) -> Result<Option<String>, Error> {
        if target.instance_id() != self.queue.instance_id() {
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

    /// Those that were asked for, in the order of the file.
    fn choose(&self, some: &SomeLetters, console: Console) -> Result<Vec<DeadLetter>, Failure> {
        if some.all {
            return self.read_all(console);
        }
        let mut letters = self.read(console)?;
        let missing = some.ids.iter().find(|&&id| !letters.iter().any(|letter| letter.id == id));
        if let Some(id) = missing {
            let (queue, subscription) = (self.queue.name().into(), self.subscription.into());
            return Err(Error::NoSuchDeadLetter { queue, subscription, id: *id }.into());
        }
        letters.retain(|letter| some.ids.contains(&letter.id));
        Ok(letters)
    }

    fn drop(&self, letter: &DeadLetter) -> Result<(), Error> {
        self.queue.drop_dead_letter(self.subscription, letter.id, self.directory)
    }
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
