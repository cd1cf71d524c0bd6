//! `ringway sub`: from a queue to the standard output, or to whatever a member is to do.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ringway::{Consumer, Error, Lag, Message, Observer, Queue, QueueOptions, Received, Subscribe};

use crate::args::Sub;
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::interrupt::{Interrupt, is_abandoned};
use crate::member;
use crate::output::{self, Console};
use crate::sink::Sink;
use crate::subscriptions;

/// A signal, or that nobody reads the output any more, goes unseen for so long at most.
pub const SLICE: Duration = Duration::from_millis(100);

pub fn run(subscribe: &Sub, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let queue = if subscribe.create {
        Queue::open_or_create(&subscribe.name, &QueueOptions::new())?
    } else {
        open(&subscribe.name, owner)?
    };
    let interrupt = Interrupt::catch()?;
    let mut end = ReceivingEnd::of(&queue, subscribe)?;
    let mut handler = handler(&queue, subscribe, &interrupt, console)?;
    let mut tally = Tally::default();
    let followed = follow(&mut end, subscribe, &interrupt, &mut *handler, &mut tally, console);
    let finished = followed.and_then(|ending| handler.finish(&end).map(|()| ending));
    let ending = match finished {
        // Nobody reads what is left.
        Err(Failure::Interrupted(signal)) => Ending::Interrupted(signal),
        ended => ended?,
    };
    let Tally { received, bytes, missed } = tally;
    if ending != Ending::Done || missed > 0 {
        console.note(format_args!(
            "received {} ({}) from '{}', missed {missed}; next is {}",
            output::count(received, "message"),
            output::bytes(bytes),
            subscribe.name,
            end.next_sequence(),
        ));
    }
    let skips = subscribe.observe || subscribe.lag == Some(Lag::Skip);
    Ok(if ending == Ending::Done && missed > 0 && !skips { Ending::Missed } else { ending })
}

#[derive(Debug, Default)]
struct Tally {
    received: u64,
    bytes: u64,
    missed: u64,
}

/// What is done with messages.
pub trait Handler {
    /// Takes the next message.
    fn take(&mut self, message: Message<'_>) -> Result<(), Failure>;

    /// Does what was put off, before more is received; all of it if nothing was there.
    fn settle(&mut self, end: &ReceivingEnd, was_idle: bool) -> Result<Next, Failure>;

    /// How many messages it has that it has neither acknowledged nor refused.
    fn unanswered(&self) -> u64;

    /// Does the rest, when no more will be received.
    fn finish(&mut self, end: &ReceivingEnd) -> Result<(), Failure>;
}

/// What a handler wants to be done next.
pub enum Next {
    /// Receive, and wait so long for a message if it comes to that.
    Receive(Duration),
    /// Ask again; it has more messages than it may have, and has waited for a while.
    Ask,
    /// End.
    End,
}

fn handler<'a>(
    queue: &'a Queue,
    subscribe: &'a Sub,
    interrupt: &'a Interrupt,
    console: Console,
) -> Result<Box<dyn Handler + 'a>, Failure> {
    if subscribe.member.subscription.is_some() {
        return member::handler(queue, subscribe, interrupt, console);
    }
    Ok(Box::new(Sink::new(subscribe.format, subscribe.delimiter, false, interrupt)?))
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

    fn unanswered(&self) -> u64 {
        0
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
            Next::Ask => Ok(Received::TimedOut),
            Next::End => return Ok(Ending::Done),
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
            Received::Closed => return Ok(Ending::Done),
            Received::Empty | Received::TimedOut => {
                if subscribe.exit_on_end && end.is_at_end(handler.unanswered())? {
                    return Ok(Ending::Done);
                }
                if subscribe.timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
                    return Ok(Ending::TimedOut);
                }
                if is_abandoned(io::stdout().as_fd()) {
                    return Ok(Ending::Done);
                }
                was_idle = true;
            }
        }
    }
    Ok(Ending::Done)
}

/// A consumer or an observer.
pub enum ReceivingEnd {
    Consumer(Consumer),
    Member { consumer: Consumer, queue: Queue, subscription: String },
    Observer(Observer),
}

impl ReceivingEnd {
    fn of(queue: &Queue, subscribe: &Sub) -> Result<Self, Failure> {
        if subscribe.observe {
            return Ok(Self::Observer(queue.observe_with(subscribe.from, subscribe.wait)?));
        }
        let options = Subscribe::new().from(subscribe.from).wait(subscribe.wait);
        let options = match subscribe.lag {
            Some(lag) => options.on_lag(lag),
            None => options,
        };
        let options = if subscribe.durable { options.durable_only() } else { options };
        Ok(match &subscribe.member.subscription {
            None => Self::Consumer(queue.subscribe(&options)?),
            Some(name) => {
                let consumer =
                    queue.subscribe(&member::options(options, name, &subscribe.member))?;
                Self::Member { consumer, queue: queue.clone(), subscription: name.clone() }
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

    /// Whether nothing is left, now that nothing was there to receive: but for what other members
    /// have, and what this one has and has not answered. That may keep others of its key back.
    fn is_at_end(&self, unanswered: u64) -> Result<bool, Error> {
        let Self::Member { consumer, queue, subscription } = self else { return Ok(true) };
        let info = queue.info()?;
        let Some(shared) = subscriptions::find(&info, subscription) else { return Ok(true) };
        let members = info.consumers.iter().filter(|member| {
            member.alive && member.subscription.as_deref() == Some(subscription.as_str())
        });
        let (own, others): (Vec<_>, Vec<_>) =
            members.partition(|member| member.member == consumer.member());
        let of_others: u64 = others.iter().map(|member| member.unacked).sum();
        let own: u64 = own.iter().map(|member| member.unacked).sum();
        Ok(shared.waiting == 0 && own <= unanswered && shared.unacked <= own + of_others)
    }

    /// The consumer, whose messages are acknowledged.
    pub fn consumer(&self) -> Option<&Consumer> {
        match self {
            Self::Consumer(consumer) | Self::Member { consumer, .. } => Some(consumer),
            Self::Observer(_) => None,
        }
    }
}
