//! `ringway dead-letters`: messages that a named subscription gave up.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use ringway::{DeadLetter, Error, Producer, Queue};
use serde_json::{Value, json};

use crate::args::{DeadLetterAction, LettersOf, SomeLetters};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::output::{self, Console, bytes, time};
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
        DeadLetterAction::SendAgain(some) => send_again(some, owner, console),
        DeadLetterAction::Drop(some) => drop_letters(some, owner, console),
    }
}

fn list(of: &LettersOf, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let found = Letters::open(of, owner)?;
    let letters = found.read(console)?;
    if letters.is_empty() {
        found.check_name()?;
    }
    if of.json {
        output::json(&letters.iter().map(as_json).collect())?;
    } else if letters.is_empty() {
        console.note(format_args!("subscription '{}' has no dead letters", of.subscription));
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

fn send_again(some: &SomeLetters, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let letters = Letters::open(&some.of, owner)?;
    let chosen = letters.choose(some, console)?;
    let mut producer = letters.queue.producer()?;
    let is_journalled = letters.queue.durable_sequence().is_some();
    let mut sent = Vec::new();
    for letter in &chosen {
        let sequence = send(&mut producer, letter)?;
        if is_journalled {
            while !producer.flush(Duration::MAX)? {}
        }
        // After it was sent, and is as safe: who dies in between sends it twice, and never not at all.
        letters.drop(letter)?;
        sent.push(json!({ "id": letter.id, "sequence": sequence }));
    }
    if some.of.json {
        output::json(&sent.into())?;
    } else {
        let count = output::count(chosen.len() as u64, "message");
        console.note(format_args!("sent {count} to '{}' again", some.of.name));
    }
    Ok(Ending::Done)
}

fn send(producer: &mut Producer, letter: &DeadLetter) -> Result<u64, Error> {
    match letter.key_hash {
        Some(hash) => producer.message().key_hash(hash).send(&letter.payload),
        None => producer.send(&letter.payload),
    }
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

    /// Whether there is such a subscription. One that is gone may have left letters; one that has none
    /// may be a slip of the pen.
    fn check_name(&self) -> Result<(), Failure> {
        if subscriptions::find(&self.queue.info()?, self.subscription).is_some() {
            return Ok(());
        }
        let (queue, subscription) = (self.queue.name().into(), self.subscription.into());
        Err(Error::NoSuchSubscription { queue, subscription }.into())
    }

    /// Those that were asked for, in the order of the file.
    fn choose(&self, some: &SomeLetters, console: Console) -> Result<Vec<DeadLetter>, Failure> {
        let mut letters = self.read(console)?;
        if some.all {
            return Ok(letters);
        }
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
