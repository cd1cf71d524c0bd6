//! `ringway sub` of several queues: one thread receives from all of them in turn.

use std::time::{Duration, Instant};

use ringway::{ConsumerSet, Error, Message, Queue, Reader, Received, SetReceived};

use crate::args::{Ack, Format, Sub};
use crate::dialogue::Dialogue;
use crate::failure::{Ending, Failure};
use crate::interrupt::Interrupt;
use crate::member::{self, Executor, Unacked};
use crate::output::Console;
use crate::sink::{Printed, Sink};
use crate::subscribe::{
    Handler, Next, SLICE, SLICE_OF_ANSWERS, Tally, end_of_waiting, is_at_end, open_one, options,
};

pub fn run(subscribe: &Sub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    check(subscribe)?;
    let interrupt = Interrupt::catch()?;
    let mut set = ConsumerSet::new();
    set.set_wait(subscribe.wait);
    let mut sources = Vec::new();
    for name in &subscribe.names {
        let queue = open_one(subscribe, name, owner)?;
        subscribe.note_place(&queue, console)?;
        // Its number is its place among the sources.
        set.add(queue.subscribe(&options(subscribe))?);
        sources.push(Source {
            queue,
            tally: Tally::default(),
            unacked: Unacked::default(),
            ends_at: None,
            failed: None,
        });
    }
    let work = Work::of(subscribe, &set, &sources, &interrupt, console)?;
    let mut several = Several { subscribe, set, sources, work, console };
    let ending = match several.follow(&interrupt).and_then(|ending| several.finish(ending)) {
        Err(Failure::Interrupted(signal)) => Ending::Interrupted(signal),
        ended => ended?,
    };
    several.end(ending)
}

/// What several queues cannot have.
fn check(subscribe: &Sub) -> Result<(), Failure> {
    let several = subscribe.names.len() > 1;
    let refused = [
        (subscribe.observe, "--observe"),
        // A file there is the subscription's, whatever its queue.
        (several && subscribe.member.dead_letters.is_some(), "--dead-letters"),
    ];
    if let Some((_, option)) = refused.into_iter().find(|(given, _)| *given) {
        let what = format!("{option} takes one queue: start a `ringway sub` for each");
        return Err(Failure::Usage(what));
    }
    let names = &subscribe.names;
    let mut rest = names.iter().enumerate();
    match rest.find(|(place, name)| names[..*place].contains(name)) {
        Some((_, name)) => Err(Failure::Usage(format!("queue '{name}' is named twice"))),
        None => Ok(()),
    }
}

struct Several<'a> {
    subscribe: &'a Sub,
    set: ConsumerSet,
    /// By the numbers of their consumers.
    sources: Vec<Source>,
    work: Work<'a>,
    console: Console,
}

/// A queue, and what came of it.
struct Source {
    queue: Queue,
    tally: Tally,
    /// Nothing, if nothing is to be acknowledged.
    unacked: Unacked,
    /// Where the stream ended when that was asked for first.
    ends_at: Option<u64>,
    /// The exit code of what went wrong there, if something did.
    failed: Option<u8>,
}

impl Several<'_> {
    fn follow(&mut self, interrupt: &Interrupt) -> Result<Ending, Failure> {
        let subscribe = self.subscribe;
        let mut last = Instant::now();
        let mut received = 0;
        let mut was_idle = false;
        while subscribe.count.is_none_or(|count| received < count) {
            if let Some(signal) = interrupt.signal() {
                return Ok(Ending::Interrupted(signal));
            }
            if let Next::End = self.settle(was_idle)? {
                return Ok(Ending::Done);
            }
            let found =
                if was_idle { self.set.receive_timeout(SLICE) } else { self.set.try_receive() };
            was_idle = !matches!(found, SetReceived::One(..));
            match found {
                SetReceived::One(number, Ok(Received::Message(message))) => {
                    received += 1;
                    if subscribe.timeout.is_some() {
                        last = Instant::now();
                    }
                    let source = &mut self.sources[number];
                    match source.take(number, message, subscribe, &mut self.work) {
                        Err(Failure::Queue { error, .. }) => self.give_up(number, error),
                        taken => taken?,
                    }
                }
                SetReceived::One(number, Ok(Received::Missed { from, to })) => {
                    self.sources[number].tally.missed += to - from;
                    self.console.note_missed_of(&subscribe.names[number], from, to);
                }
                // What it has is to be settled first.
                SetReceived::One(_, Err(Error::PrefetchFull { .. })) => {
                    interrupt.sleep(Duration::from_millis(1))?;
                    was_idle = true;
                }
                SetReceived::One(number, Err(error)) => self.give_up(number, error),
                SetReceived::One(_, Ok(_)) => {}
                nothing => {
                    let has_ended = matches!(nothing, SetReceived::Ended);
                    if (has_ended || subscribe.exit_on_end) && self.is_at_end() {
                        return Ok(Ending::Done);
                    }
                    self.give_up_removed();
                    if let Some(ending) = end_of_waiting(subscribe, last) {
                        return Ok(ending);
                    }
                    if has_ended {
                        interrupt.sleep(SLICE_OF_ANSWERS)?;
                    }
                }
            }
        }
        Ok(Ending::Done)
    }

    /// Does what was put off, before more is received; all of it if nothing was there.
    fn settle(&mut self, was_idle: bool) -> Result<Next, Failure> {
        match &mut self.work {
            Work::Write(sink) => {
                let most = member::prefetch(&self.subscribe.member);
                if was_idle || self.sources.iter().any(|source| source.unacked.count() >= most) {
                    sink.flush()?;
                    self.acknowledge();
                }
            }
            Work::Run(_) => {}
            Work::Ask(dialogue) => return dialogue.settle(was_idle),
        }
        Ok(Next::Receive(SLICE))
    }

    /// Acknowledges what was written.
    fn acknowledge(&mut self) {
        for number in 0..self.sources.len() {
            let Some(consumer) = self.set.consumer(number) else { continue };
            if let Err(error) = self.sources[number].unacked.acknowledge(consumer) {
                self.give_up(number, error);
            }
        }
    }

    /// Goes on without a queue that was removed or is damaged.
    fn give_up(&mut self, number: usize, error: Error) {
        drop(self.set.remove(number));
        let failure = Failure::from(error);
        let rest = if self.set.is_empty() { "" } else { "; the others go on" };
        self.console.note(format_args!("{failure}{rest}"));
        self.sources[number].failed = Some(failure.code());
    }

    /// What a member has of a queue that was removed goes back to nobody. Others are told by receiving.
    fn give_up_removed(&mut self) {
        if self.subscribe.member.subscription.is_none() {
            return;
        }
        for number in 0..self.sources.len() {
            let queue = &self.sources[number].queue;
            if self.set.get(number).is_some() && queue.is_removed() {
                let error = Error::Stale { queue: queue.name().into() };
                self.give_up(number, error);
            }
        }
    }

    /// Whether nothing is left anywhere, now that nothing was there to receive.
    fn is_at_end(&mut self) -> bool {
        let Some(subscription) = &self.subscribe.member.subscription else { return true };
        for number in 0..self.sources.len() {
            let Some(consumer) = self.set.consumer(number) else { continue };
            let Source { queue, unacked, ends_at, .. } = &mut self.sources[number];
            match is_at_end(queue, subscription, consumer, unacked.count().into(), ends_at) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => self.give_up(number, error),
            }
        }
        true
    }

    fn finish(&mut self, ending: Ending) -> Result<Ending, Failure> {
        if let Work::Ask(dialogue) = &mut self.work {
            return dialogue.finish().map(|()| ending);
        }
        self.settle(true).map(|_| ending)
    }

    /// Says what came of it.
    fn end(&self, ending: Ending) -> Result<Ending, Failure> {
        let mut missed = 0;
        for ((number, source), name) in self.sources.iter().enumerate().zip(&self.subscribe.names) {
            missed += source.tally.missed;
            if ending != Ending::Done || source.tally.missed > 0 {
                let next = self.set.get(number).map(Reader::next_sequence);
                source.tally.note(name, next, self.console);
            }
        }
        let failed: Vec<u8> = self.sources.iter().filter_map(|source| source.failed).collect();
        if ending != Ending::Done || failed.is_empty() {
            return Ok(self.subscribe.ending(ending, missed));
        }
        Err(Failure::Some { failed: failed.len(), of: self.sources.len(), code: failed[0] })
    }
}

/// What is done with messages.
enum Work<'a> {
    /// They are written, and acknowledged then.
    Write(Sink<'a>),
    /// A command is run for each, by the one that belongs to its queue.
    Run(Vec<Executor<'a>>),
    /// They are written, and whoever reads them says what to do with them.
    Ask(Dialogue<'a>),
}

impl<'a> Work<'a> {
    fn of(
        subscribe: &'a Sub,
        set: &ConsumerSet,
        sources: &[Source],
        interrupt: &'a Interrupt,
        console: Console,
    ) -> Result<Self, Failure> {
        let Sub { names, member, .. } = subscribe;
        if let Some(command) = &member.exec {
            let run = |source: &Source| {
                Executor::new(command, &source.queue, subscribe, interrupt, console)
            };
            return Ok(Self::Run(sources.iter().map(run).collect::<Result<_, _>>()?));
        }
        let shared = member.subscription.is_some();
        let sink = subscribe.sink(shared, interrupt)?;
        if member.ack == Ack::Auto {
            return Ok(Self::Write(sink));
        }
        let consumers = set.iter().filter_map(|(_, reader)| reader.consumer());
        let ackers = names.iter().zip(consumers);
        let ackers = ackers.map(|(name, consumer)| Ok((name.clone(), consumer.acker()?)));
        let ackers = ackers.collect::<Result<_, Failure>>()?;
        Ok(Self::Ask(Dialogue::new(sink, ackers, subscribe.timeout, interrupt, console)))
    }
}

impl Source {
    fn take(
        &mut self,
        number: usize,
        message: Message<'_>,
        subscribe: &Sub,
        work: &mut Work<'_>,
    ) -> Result<(), Failure> {
        self.tally.received += 1;
        self.tally.bytes += message.payload().len() as u64;
        let mut printed = Printed::from(message);
        // Lines of JSON always tell it; what is raw stays as it is unless that was asked for.
        if subscribe.with_queue || subscribe.format == Format::Jsonl {
            printed = printed.of_queue(self.queue.name());
        }
        match work {
            Work::Write(sink) => {
                if subscribe.member.subscription.is_some() {
                    self.unacked.note(printed.sequence());
                }
                sink.write(printed)
            }
            Work::Run(executors) => executors[number].take(message),
            Work::Ask(dialogue) => dialogue.ask(number, printed),
        }
    }
}
