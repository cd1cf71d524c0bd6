//! `ringway sub`: from a queue to the standard output, or to whatever a member is to do.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ringway::{
    Consumer, Error, Lag, Message, Observer, Queue, QueueOptions, Received, Start, Subscribe,
};

use crate::args::{Format, Sub};
use crate::create::open_or_create;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::{Interrupt, is_abandoned};
use crate::member;
use crate::options::Delimiter;
use crate::output::{self, Console};
use crate::several;
use crate::sink::Sink;

/// A signal, or that nobody reads the output any more, goes unseen for so long at most.
pub const SLICE: Duration = Duration::from_millis(100);
/// At the end of the stream somebody may yet refuse a message, so that it comes again. Who waits for
/// that looks so often.
pub const SLICE_OF_ANSWERS: Duration = Duration::from_millis(10);

pub fn run(subscribe: &Sub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    subscribe.check_form()?;
    let name = match subscribe.names.as_slice() {
        [name] if !subscribe.with_queue => name,
        _ => return several::run(subscribe, owner, console),
    };
    let queue = open_one(subscribe, name, owner)?;
    let interrupt = Interrupt::catch()?;
    subscribe.note_place(&queue, console)?;
    let mut end = ReceivingEnd::of(&queue, subscribe)?;
    let mut handler = handler(&queue, subscribe, &end, &interrupt, console)?;
    let mut tally = Tally::default();
    let followed = follow(&mut end, subscribe, &interrupt, &mut *handler, &mut tally, console);
    let finished = followed.and_then(|ending| handler.finish(&end).map(|()| ending));
    let ending = match finished {
        // Nobody reads what is left.
        Err(Failure::Interrupted(signal)) => Ending::Interrupted(signal),
        ended => ended?,
    };
    if ending != Ending::Done || tally.missed > 0 {
        tally.note(name, Some(end.next_sequence()), console);
    }
    Ok(subscribe.ending(ending, tally.missed))
}

/// Opens a queue to receive from, or makes it.
pub fn open_one(subscribe: &Sub, name: &str, owner: Option<u32>) -> Result<Queue, Failure> {
    if subscribe.create {
        return open_or_create(name, owner, &QueueOptions::new());
    }
    open(name, owner)
}

/// What consumers, and members, are to be like.
pub fn options(subscribe: &Sub) -> Subscribe {
    let mut options = Subscribe::new().from(subscribe.begin()).wait(subscribe.wait);
    if let Some(lag) = subscribe.lag {
        options = options.on_lag(lag);
    }
    if subscribe.durable {
        options = options.durable_only();
    }
    match &subscribe.member.subscription {
        Some(name) => member::options(options, name, &subscribe.member),
        None => options,
    }
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

    /// Where messages are written to.
    pub fn sink<'a>(&self, shared: bool, interrupt: &'a Interrupt) -> Result<Sink<'a>, Failure> {
        let delimiter = self.delimiter.unwrap_or(Delimiter::Byte(b'\n'));
        Sink::new(self.format, delimiter, shared, interrupt)
    }

    /// Where to begin.
    fn begin(&self) -> Start {
        self.from.unwrap_or(Start::Newest)
    }

    /// Says that where to begin does not count, where the subscription has a place already. Who comes to
    /// others that are at work asks for what they did.
    pub fn note_place(&self, queue: &Queue, console: Console) -> Result<(), Failure> {
        let (Some(name), Some(_)) = (&self.member.subscription, self.from) else { return Ok(()) };
        let info = queue.info()?;
        if info.subscription(name).is_some_and(|it| it.members_alive == 0) {
            let queue = &info.name;
            console.note(format_args!(
                "subscription '{name}' of queue '{queue}' is there already and keeps its place: --from does not count; `ringway seek {queue} {name} START` moves it"
            ));
        }
        Ok(())
    }

    /// What missed messages make of an end: nothing, if they were not to be waited for.
    pub fn ending(&self, ending: Ending, missed: u64) -> Ending {
        let skips = self.observe || self.lag == Some(Lag::Skip);
        if ending == Ending::Done && missed > 0 && !skips { Ending::Missed } else { ending }
    }
}

/// What came from a queue.
#[derive(Debug, Default)]
pub struct Tally {
    pub received: u64,
    pub bytes: u64,
    pub missed: u64,
}

impl Tally {
    pub fn note(&self, name: &str, next: Option<u64>, console: Console) {
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
pub trait Handler {
    /// Takes the next message.
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure>;

    /// Does what was put off, before more is received; all of it if nothing was there.
    fn settle(&mut self, end: &ReceivingEnd, was_idle: bool) -> Result<Next, Failure>;

    /// How many messages it has that it acknowledges when it ends.
    fn unacked(&self) -> u64 {
        0
    }

    /// Does the rest, when no more will be received.
    fn finish(&mut self, end: &ReceivingEnd) -> Result<(), Failure>;
}

/// What a handler wants to be done next.
pub enum Next {
    /// Receive, and wait so long for a message if it comes to that.
    Receive(Duration),
    /// End.
    End,
}

fn handler<'a>(
    queue: &'a Queue,
    subscribe: &'a Sub,
    end: &ReceivingEnd,
    interrupt: &'a Interrupt,
    console: Console,
) -> Result<Box<dyn Handler + 'a>, Failure> {
    if subscribe.member.subscription.is_some() {
        return member::handler(queue, subscribe, end, interrupt, console);
    }
    Ok(Box::new(subscribe.sink(false, interrupt)?))
}

/// Messages are written, and nobody waits for an answer.
impl Handler for Sink<'_> {
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure> {
        self.write(message)
    }

    fn settle(&mut self, _end: &ReceivingEnd, was_idle: bool) -> Result<Next, Failure> {
        if was_idle {
            self.flush()?;
        }
        Ok(Next::Receive(SLICE))
    }

    fn finish(&mut self, _end: &ReceivingEnd) -> Result<(), Failure> {
        self.flush()
    }
}

fn follow(
    end: &mut ReceivingEnd,
    subscribe: &Sub,
    interrupt: &Interrupt,
    handler: &mut dyn Handler,
    tally: &mut Tally,
    console: Console,
) -> Result<Ending, Failure> {
    let mut last = Instant::now();
    let mut was_idle = false;
    while subscribe.count.is_none_or(|count| tally.received < count) {
        if let Some(signal) = interrupt.signal() {
            return Ok(Ending::Interrupted(signal));
        }
        let received = match handler.settle(end, was_idle)? {
            Next::Receive(time) if was_idle => end.receive_timeout(time),
            Next::Receive(_) => end.try_receive(),
            Next::End => return end.check_queue().map(|()| Ending::Done).map_err(Into::into),
        };
        was_idle = false;
        let received = match received {
            // Every share of the queue is in use: what it has is to be settled first.
            Err(Error::PrefetchFull { .. }) => {
                interrupt.sleep(Duration::from_millis(1))?;
                Received::Empty
            }
            received => received?,
        };
        match received {
            Received::Message(message) => {
                tally.received += 1;
                tally.bytes += message.payload().len() as u64;
                handler.take(message)?;
                if subscribe.timeout.is_some() {
                    last = Instant::now();
                }
            }
            Received::Missed { from, to } => {
                tally.missed += to - from;
                console.note_missed(from, to);
            }
            Received::Closed => {
                if end.is_at_end(handler.unacked())? {
                    return Ok(Ending::Done);
                }
                end.check_queue()?;
                if let Some(ending) = end_of_waiting(subscribe, last) {
                    return Ok(ending);
                }
                interrupt.sleep(SLICE_OF_ANSWERS)?;
                was_idle = true;
            }
            Received::Empty | Received::TimedOut => {
                end.check_queue()?;
                if subscribe.exit_on_end && end.is_at_end(handler.unacked())? {
                    return Ok(Ending::Done);
                }
                if let Some(ending) = end_of_waiting(subscribe, last) {
                    return Ok(ending);
                }
                was_idle = true;
            }
        }
    }
    Ok(Ending::Done)
}

/// How it ends with nothing received, if it does: what came last came too long ago, or whoever reads
/// the output has gone.
pub fn end_of_waiting(subscribe: &Sub, last: Instant) -> Option<Ending> {
    if subscribe.timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
        return Some(Ending::TimedOut);
    }
    is_abandoned(io::stdout().as_fd()).then_some(Ending::Done)
}

/// A consumer or an observer.
pub enum ReceivingEnd {
    Consumer(Consumer),
    Member { consumer: Consumer, queue: Queue, subscription: String, ends_at: Option<u64> },
    Observer(Observer),
}

impl ReceivingEnd {
    fn of(queue: &Queue, subscribe: &Sub) -> Result<Self, Failure> {
        if subscribe.observe {
            return Ok(Self::Observer(queue.observe_with(subscribe.begin(), subscribe.wait)?));
        }
        let consumer = queue.subscribe(&options(subscribe))?;
        Ok(match &subscribe.member.subscription {
            None => Self::Consumer(consumer),
            Some(name) => {
                let (queue, subscription) = (queue.clone(), name.clone());
                Self::Member { consumer, queue, subscription, ends_at: None }
            }
        })
    }

    fn try_receive(&mut self) -> Result<Received<Message<'_>>, Error> {
        match self {
            Self::Consumer(consumer) | Self::Member { consumer, .. } => consumer.try_receive(),
            Self::Observer(observer) => observer.try_receive(),
        }
    }

    fn receive_timeout(&mut self, time: Duration) -> Result<Received<Message<'_>>, Error> {
        match self {
            Self::Consumer(consumer) | Self::Member { consumer, .. } => {
                consumer.receive_timeout(time)
            }
            Self::Observer(observer) => observer.receive_timeout(time),
        }
    }

    fn next_sequence(&self) -> u64 {
        match self {
            Self::Consumer(consumer) | Self::Member { consumer, .. } => consumer.next_sequence(),
            Self::Observer(observer) => observer.next_sequence(),
        }
    }

    /// What a member has of a queue that was removed goes back to nobody. Others are told by receiving.
    fn check_queue(&self) -> Result<(), Error> {
        match self {
            Self::Member { queue, .. } if queue.is_removed() => {
                Err(Error::Stale { queue: queue.name().into() })
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing is left, now that nothing was there to receive.
    fn is_at_end(&mut self, unacked: u64) -> Result<bool, Error> {
        match self {
            Self::Member { consumer, queue, subscription, ends_at } => {
                is_at_end(queue, subscription, consumer, unacked, ends_at)
            }
            Self::Consumer(_) | Self::Observer(_) => Ok(true),
        }
    }

    /// The consumer, whose messages are acknowledged.
    pub fn consumer(&self) -> Option<&Consumer> {
        match self {
            Self::Consumer(consumer) | Self::Member { consumer, .. } => Some(consumer),
            Self::Observer(_) => None,
        }
    }
}

/// Whether nothing of a subscription is left: but for what other members have, and what this one has
/// and acknowledges when it ends. That may keep others of its key back. A member may be given nothing
/// although there is something, because all that it could have it with is in use; so the end is where
/// the stream ended when this was asked first, and not where nothing comes.
pub fn is_at_end(
    queue: &Queue,
    subscription: &str,
    consumer: &Consumer,
    unacked: u64,
    ends_at: &mut Option<u64>,
) -> Result<bool, Error> {
    let info = queue.info()?;
    let Some(shared) = info.subscription(subscription) else { return Ok(true) };
    let ends_at = *ends_at.get_or_insert(info.next_sequence);
    let members = info
        .consumers
        .iter()
        .filter(|member| member.alive && member.subscription.as_deref() == Some(subscription));
    let (own, others): (Vec<_>, Vec<_>) =
        members.partition(|member| member.member == consumer.member());
    let of_others: u64 = others.iter().map(|member| member.unacked).sum();
    let own: u64 = own.iter().map(|member| member.unacked).sum();
    let is_taken = shared.head_sequence >= ends_at;
    Ok(is_taken && shared.waiting == 0 && own <= unacked && shared.unacked <= own + of_others)
}
