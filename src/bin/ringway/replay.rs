//! `ringway replay`: from a journal on disk into a queue.

use std::time::{Duration, Instant, SystemTime};

use crate::args::Replay;
use crate::excerpt::{self, Excerpt, Part};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::Interrupt;
use crate::options::Speed;
use crate::output::Console;
use crate::sender::Sender;

pub fn run(replay: &Replay, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let archive = excerpt::open(&replay.directory)?;
    let excerpt = Excerpt::of(&archive, &replay.extent)?;
    let interrupt = Interrupt::catch()?;
    let queue = open(&replay.into, owner)?;
    let sender = Sender::open(queue, replay.sending.patience, &interrupt, console)?;
    let mut missed = false;
    let ending = sender.run(&replay.sending, "replayed", |sender| {
        missed = send_all(sender, excerpt, replay.speed)?;
        Ok(())
    })?;
    Ok(if ending == Ending::Done && missed { Ending::Missed } else { ending })
}

/// Whether something was missing.
fn send_all(sender: &mut Sender<'_>, excerpt: Excerpt, speed: Speed) -> Result<bool, Failure> {
    let begin = Instant::now();
    let mut first = None;
    let mut missed = false;
    for part in excerpt {
        match part? {
            Part::Message(message) => {
                let first = *first.get_or_insert(message.time);
                let due = due(first, message.time, speed);
                if !sender.send(message.key_hash, &message.payload, begin, due)? {
                    break;
                }
            }
            Part::Missed { from, to } => {
                missed = true;
                sender.console.explaining(true).note_missed(from, to);
            }
        }
    }
    Ok(missed)
}

/// When a message is due, from the first one on. One whose clock had gone back is at once.
fn due(first: SystemTime, time: SystemTime, speed: Speed) -> Duration {
    let Speed::Times(times) = speed else { return Duration::ZERO };
    let since = time.duration_since(first).unwrap_or_default();
    Duration::try_from_secs_f64(since.as_secs_f64() / times).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_far_apart_as_they_were_or_nearer() {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let due = |ms, speed| due(at(1000), at(ms), speed);
        assert_eq!(due(1000, Speed::Times(1.0)), Duration::ZERO);
        assert_eq!(due(1250, Speed::Times(1.0)), Duration::from_millis(250));
        assert_eq!(due(1250, Speed::Times(10.0)), Duration::from_millis(25));
        assert_eq!(due(1250, Speed::Times(0.5)), Duration::from_millis(500));
        assert_eq!(due(900, Speed::Times(1.0)), Duration::ZERO);
        assert_eq!(due(1250, Speed::Max), Duration::ZERO);
        assert_eq!(due(u64::from(u32::MAX), Speed::Times(f64::MIN_POSITIVE)), Duration::MAX);
    }
}
