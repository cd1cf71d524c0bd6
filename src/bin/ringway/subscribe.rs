//! `ringway sub`: from a queue, or from several in turn, to the standard output, or to whatever a
//! member is to do.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ringway::{
    Consumer, ConsumerSet, Error, Lag, Message, Queue, QueueOptions, Reader, Received, SetReceived,
    Start, Subscribe,
};

use crate::args::{Ack, Format, Sub};
use crate::create::open_or_create;
use crate::dialogue::Dialogue;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::{Interrupt, is_abandoned};
use crate::member::{self, Executor, Unacked};
use crate::options::Delimiter;
use crate::output::{self, Console};
use crate::seek::note_place;
use crate::sink::{Printed, Sink};

/// A signal, or that nobody reads the output any more, goes unseen for so long at most.
pub const SLICE: Duration = Duration::from_millis(100);
/// At the end of the stream somebody may yet refuse a message, so that it comes again. Who waits for
/// that looks so often.
const SLICE_OF_ANSWERS: Duration = Duration::from_millis(10);

pub fn run(subscribe: &Sub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    subscribe.check_form()?;
    subscribe.check_names()?;
    let interrupt = Interrupt::catch()?;
    let mut set = ConsumerSet::new();
    set.set_wait(subscribe.wait);
    let mut sources = Vec::new();
    for name in &subscribe.names {
        let queue = subscribe.open(name, owner)?;
        subscribe.note_place(&queue, console)?;
        // Its number is its place among the sources.
        set.add(subscribe.reader(&queue)?);
        sources.push(Source::new(queue));
    }
    let work = Work::of(subscribe, &set, &sources, &interrupt, console)?;
    let mut reception = Reception { subscribe, set, sources, work, console };
    let ending = match reception.follow(&interrupt).and_then(|ending| reception.finish(ending)) {
        // Nobody reads what is left.
        Err(Failure::Interrupted(signal)) => Ending::Interrupted(signal),
        ended => ended?,
    };
    reception.end(ending)
}

impl Sub {
    /// What a way to print cannot have.
    fn check_form(&self) -> Result<(), Failure> {
        let what = match (self.format, self.delimiter) {
            (Format::Jsonl, Some(_)) => {
                "--format jsonl has a delimiter, the line's end: leave --delimiter out, or --format"
            }
            (Format::Raw, Some(Delimiter::Length)) if self.with_queue => {
                "--with-queue has no place in len32: give --format jsonl, or another delimiter"
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage(what.into()))
    }

    /// What several queues cannot have.
    fn check_names(&self) -> Result<(), Failure> {
        // A file there is the subscription's, whatever its queue.
        if self.names.len() > 1 && self.member.dead_letters.is_some() {
            let what = "--dead-letters takes one queue: start a `ringway sub` for each";
            return Err(Failure::Usage(what.into()));
        }
        let mut names = self.names.iter().enumerate();
        match names.find(|(place, name)| self.names[..*place].contains(name)) {
            Some((_, name)) => Err(Failure::Usage(format!("queue '{name}' is named twice"))),
            None => Ok(()),
        }
    }

    /// Whether a note about a message says of which queue it is.
    fn tells_queue(&self) -> bool {
        self.with_queue || self.names.len() > 1
    }

    /// Opens a queue to receive from, or makes it.
    fn open(&self, name: &str, owner: Option<u32>) -> Result<Queue, Failure> {
        if self.create {
            return open_or_create(name, owner, &QueueOptions::new());
        }
        open(name, owner)
    }

    /// Who receives from a queue.
    fn reader(&self, queue: &Queue) -> Result<Reader, Error> {
        if self.observe {
            return Ok(queue.observe(self.begin())?.into());
        }
        Ok(queue.subscribe(&self.options())?.into())
    }

    /// What consumers, and members, are to be like.
    fn options(&self) -> Subscribe {
        let mut options = Subscribe::new().from(self.begin());
        if let Some(lag) = self.lag {
            options = options.on_lag(lag);
        }
        if self.durable {
            options = options.durable_only();
        }
        match &self.member.subscription {
            Some(name) => member::options(options, name, &self.member),
            None => options,
        }
    }

    /// Where to begin.
    fn begin(&self) -> Start {
        self.from.unwrap_or(Start::Newest)
    }

    /// Says that where to begin does not count, where the subscription has a place already. Who comes to
    /// others that are at work asks for what they did.
    fn note_place(&self, queue: &Queue, console: Console) -> Result<(), Failure> {
        let (Some(name), Some(_)) = (&self.member.subscription, self.from) else { return Ok(()) };
        let info = queue.info()?;
        if info.subscription(name).is_some_and(|it| it.members_alive == 0) {
            note_place(&info.name, name, console);
        }
        Ok(())
    }

    /// How it ends with nothing received, if it does: what came last came too long ago, or whoever reads
    /// the output has gone.
    fn end_of_waiting(&self, last: Instant) -> Option<Ending> {
        if self.timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
            return Some(Ending::TimedOut);
        }
        is_abandoned(io::stdout().as_fd()).then_some(Ending::Done)
    }

    /// What missed messages make of an end: nothing, if they were not to be waited for.
    fn ending(&self, ending: Ending, missed: u64) -> Ending {
        let is_missed = missed > 0 && self.minds_missing();
        if ending == Ending::Done && is_missed { Ending::Missed } else { ending }
    }

    /// Whether it was not asked for that messages may be missed.
    fn minds_missing(&self) -> bool {
        !self.observe && self.lag != Some(Lag::Skip)
    }
}

/// All that is received from, and what is done with it.
struct Reception<'a> {
    subscribe: &'a Sub,
    set: ConsumerSet,
    /// By the numbers of who receives from them.
    sources: Vec<Source>,
    work: Work<'a>,
    console: Console,
}

impl Reception<'_> {
    fn follow(&mut self, interrupt: &Interrupt) -> Result<Ending, Failure> {
        let subscribe = self.subscribe;
        let mut last = Instant::now();
        let mut received = 0;
        let mut was_idle = false;
        while subscribe.count.is_none_or(|count| received < count) {
            if let Some(signal) = interrupt.signal() {
                return Ok(Ending::Interrupted(signal));
            }
            if self.settle(was_idle)? {
                return self.give_up_removed().map(|()| Ending::Done);
            }
            let found =
                if was_idle { self.set.receive_timeout(SLICE) } else { self.set.try_receive() };
            was_idle = false;
            let found = match found {
                // Every share of the queue is in use: what it has is to be settled first.
                SetReceived::One(_, Err(Error::PrefetchFull { .. })) => {
                    interrupt.sleep(Duration::from_millis(1))?;
                    SetReceived::Empty
                }
                found => found,
            };
            match found {
                SetReceived::One(number, Ok(Received::Message(message))) => {
                    received += 1;
                    let source = &mut self.sources[number];
                    match source.take(number, message, subscribe, &mut self.work) {
                        Err(Failure::Queue { error, .. }) => self.give_up(number, error)?,
                        taken => taken?,
                    }
                    if subscribe.timeout.is_some() {
                        last = Instant::now();
                    }
                }
                SetReceived::One(number, Ok(Received::Missed { from, to })) => {
                    self.note_missed(number, from, to);
                }
                SetReceived::One(number, Err(error)) => self.give_up(number, error)?,
                // Closed. Once all are, that is told too.
                SetReceived::One(_, Ok(_)) => {}
                SetReceived::Ended => {
                    if self.is_at_end()? {
                        return Ok(Ending::Done);
                    }
                    self.give_up_removed()?;
                    if let Some(ending) = subscribe.end_of_waiting(last) {
                        return Ok(ending);
                    }
                    interrupt.sleep(SLICE_OF_ANSWERS)?;
                    was_idle = true;
                }
                SetReceived::Empty | SetReceived::TimedOut => {
                    self.give_up_removed()?;
                    if subscribe.exit_on_end && self.is_at_end()? {
                        return Ok(Ending::Done);
                    }
                    if let Some(ending) = subscribe.end_of_waiting(last) {
                        return Ok(ending);
                    }
                    was_idle = true;
                }
            }
        }
        Ok(Ending::Done)
    }

    /// Does what was put off, before more is received; all of it if nothing was there. Tells whether it
    /// is to end.
    fn settle(&mut self, was_idle: bool) -> Result<bool, Failure> {
        match &mut self.work {
            Work::Write(sink) => {
                let most = member::prefetch(&self.subscribe.member);
                if was_idle || self.sources.iter().any(|source| source.unacked.count() >= most) {
                    sink.flush()?;
                    self.acknowledge()?;
                }
            }
            Work::Run(_) => {}
            Work::Ask(dialogue) => return dialogue.settle(was_idle),
        }
        Ok(false)
    }

    /// Acknowledges what was written.
    fn acknowledge(&mut self) -> Result<(), Failure> {
        for number in 0..self.sources.len() {
            let Some(consumer) = self.set.consumer(number) else { continue };
            if let Err(error) = self.sources[number].unacked.acknowledge(consumer) {
                self.give_up(number, error)?;
            }
        }
        Ok(())
    }

    fn note_missed(&mut self, number: usize, from: u64, to: u64) {
        self.sources[number].tally.missed += to - from;
        let console = self.console.explaining(self.subscribe.minds_missing());
        if self.subscribe.tells_queue() {
            console.note_missed_of(&self.subscribe.names[number], from, to);
        } else {
            console.note_missed(from, to);
        }
    }

    /// Goes on without a queue that was removed or is damaged. Of the only one that is the failure.
    fn give_up(&mut self, number: usize, error: Error) -> Result<(), Failure> {
        let failure = Failure::from(error);
        if self.sources.len() == 1 {
            return Err(failure);
        }
        drop(self.set.remove(number));
        let rest = if self.set.is_empty() { "" } else { "; the others go on" };
        self.console.explaining(true).note(format_args!("{failure}{rest}"));
        self.sources[number].failed = Some(failure.code());
        Ok(())
    }

    /// What a member has of a queue that was removed goes back to nobody. Others are told by receiving.
    fn give_up_removed(&mut self) -> Result<(), Failure> {
        if self.subscribe.member.subscription.is_none() {
            return Ok(());
        }
        for number in 0..self.sources.len() {
            let queue = &self.sources[number].queue;
            if self.set.get(number).is_some() && queue.is_removed() {
                let error = Error::Stale { queue: queue.name().into() };
                self.give_up(number, error)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is left anywhere, now that nothing was there to receive.
    fn is_at_end(&mut self) -> Result<bool, Failure> {
        let Some(subscription) = &self.subscribe.member.subscription else { return Ok(true) };
        for number in 0..self.sources.len() {
            let Some(consumer) = self.set.consumer(number) else { continue };
            match self.sources[number].is_at_end(subscription, consumer) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => self.give_up(number, error)?,
            }
        }
        Ok(true)
    }

    /// Does the rest, when no more will be received.
    fn finish(&mut self, ending: Ending) -> Result<Ending, Failure> {
        if let Work::Ask(dialogue) = &mut self.work {
            return dialogue.finish().map(|()| ending);
        }
        self.settle(true).map(|_| ending)
    }

    /// Says what came of it.
    fn end(&self, ending: Ending) -> Result<Ending, Failure> {
        let missed = self.sources.iter().map(|source| source.tally.missed).sum();
        let ended = self.subscribe.ending(ending, missed);
        for ((number, source), name) in self.sources.iter().enumerate().zip(&self.subscribe.names) {
            if ending != Ending::Done || source.tally.missed > 0 {
                let next = self.set.get(number).map(Reader::next_sequence);
                source.tally.note(name, next, self.console.explaining(ended.needs_words()));
            }
        }
        let failed: Vec<u8> = self.sources.iter().filter_map(|source| source.failed).collect();
        if ending != Ending::Done || failed.is_empty() {
            return Ok(ended);
        }
        Err(Failure::Some { failed: failed.len(), of: self.sources.len(), code: failed[0] })
    }
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

impl Source {
    fn new(queue: Queue) -> Self {
        let (tally, unacked) = (Tally::default(), Unacked::default());
        Self { queue, tally, unacked, ends_at: None, failed: None }
    }

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
        // Lines of JSON tell it where there are several; what is raw stays as it is unless that was
        // asked for.
        let tells_queue = subscribe.format == Format::Jsonl && subscribe.names.len() > 1;
        if subscribe.with_queue || tells_queue {
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

    /// Whether nothing of a subscription is left: but for what other members have, and what this one
    /// has and acknowledges when it ends. That may keep others of its key back. A member may be given
    /// nothing although there is something, because all that it could have it with is in use; so the
    /// end is where the stream ended when this was asked first, and not where nothing comes.
    fn is_at_end(&mut self, subscription: &str, consumer: &Consumer) -> Result<bool, Error> {
        let info = self.queue.info()?;
        let Some(shared) = info.subscription(subscription) else { return Ok(true) };
        let ends_at = *self.ends_at.get_or_insert(info.next_sequence);
        let members = info
            .consumers
            .iter()
            .filter(|member| member.alive && member.subscription.as_deref() == Some(subscription));
        let (own, others): (Vec<_>, Vec<_>) =
            members.partition(|member| member.member == consumer.member());
        let of_others: u64 = others.iter().map(|member| member.unacked).sum();
        let own: u64 = own.iter().map(|member| member.unacked).sum();
        // What one that skips has lost is told with the next message, of which there may be none.
        let is_gone = shared.lag == Lag::Skip && info.oldest_sequence >= ends_at;
        let is_taken = is_gone || shared.head_sequence >= ends_at;
        let is_own_written = own <= self.unacked.count().into();
        Ok(is_taken && shared.waiting == 0 && is_own_written && shared.unacked <= own + of_others)
    }
}

/// What came from a queue.
#[derive(Debug, Default)]
struct Tally {
    received: u64,
    bytes: u64,
    missed: u64,
}

impl Tally {
    fn note(&self, name: &str, next: Option<u64>, console: Console) {
        let Self { received, bytes, missed } = *self;
        let received = output::count(received, "message");
        let bytes = output::bytes(bytes);
        let next = next.map(|next| format!("; next is {next}")).unwrap_or_default();
        console.note(format_args!(
            "received {received} ({bytes}) from '{name}', missed {missed}{next}"
        ));
    }
}

/// What is done with messages.
enum Work<'a> {
    /// They are written, and a member's acknowledged then.
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
        let delimiter = subscribe.delimiter.unwrap_or(Delimiter::Byte(b'\n'));
        let shared = member.subscription.is_some();
        let sink = Sink::new(subscribe.format, delimiter, shared, interrupt)?;
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
