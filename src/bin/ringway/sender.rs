//! The sending end of a queue, as `pub`, `replay` and `dead-letters` use it: waits for those who are to receive,
//! has the journal written where nobody else does, and has everything durable at the end.

use std::time::{Duration, Instant};

use ringway::{Error, Info, Lag, Producer, Queue, Sent, Wait};

use crate::args::{Patience, Sending};
use crate::failure::{Ending, Failure, in_our_words};
use crate::interrupt::Interrupt;
use crate::journaling::{Journaling, is_without_space};
use crate::output::{self, Console};

/// How long a signal goes unseen at most.
const SLICE: Duration = Duration::from_millis(100);
/// How often to look whether the queue is still there, while messages are sent or waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// To wait for longer is worth a word.
const UNREMARKABLE: Duration = Duration::from_secs(1);

/// Sends messages for as long as nobody interrupts.
pub struct Sender<'a> {
    queue: Queue,
    producer: Producer,
    has_journal: bool,
    /// Until what was sent is to be durable.
    journaling: Option<Journaling>,
    /// How long there may be no room for a message, and what was not there in time.
    timeout: Option<Duration>,
    timed_out: Option<&'static str>,
    /// What kept the producer from writing the journal itself for the sake of room, if that was a lack of
    /// space.
    without_space: Option<Error>,
    looked_at: Instant,
    interrupt: &'a Interrupt,
    pub console: Console,
    pub sent: u64,
    /// The sequence of the first message that was sent. The others follow it.
    first: Option<u64>,
}

impl<'a> Sender<'a> {
    /// Becomes the queue's producer, after the one that is there if that is worth waiting for.
    pub fn open(
        queue: Queue,
        patience: Patience,
        interrupt: &'a Interrupt,
        console: Console,
    ) -> Result<Self, Failure> {
        let mut producer = stand_by(&queue, patience.standby, interrupt, console)?;
        producer.set_wait(Wait::Park);
        let has_journal = queue.durable_sequence().is_some();
        let journaling = has_journal.then(|| Journaling::begin(queue.clone(), console));
        Ok(Self {
            queue,
            producer,
            has_journal,
            journaling: journaling.transpose()?,
            timeout: patience.timeout,
            timed_out: None,
            without_space: None,
            looked_at: Instant::now(),
            interrupt,
            console,
            sent: 0,
            first: None,
        })
    }

    /// Sends all that `send_all` sends, with what is to be done before and after; `verb` says what
    /// that was.
    pub fn run(
        mut self,
        sending: &Sending,
        verb: &str,
        send_all: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<Ending, Failure> {
        let there = self.wait_for(sending.wait_for);
        let ended = match there.and_then(|are| if are { send_all(&mut self) } else { Ok(()) }) {
            // What the signal cut off is no message, and that is no failure.
            Err(Failure::Record(_)) if self.interrupt.signal().is_some() => Ok(()),
            ended => ended,
        };
        // Also what was sent before a failure.
        let durable = self.make_durable();
        let summary = self.summary(verb, durable.as_ref().is_ok_and(|durable| *durable));
        ended.map_err(|failure| match failure {
            Failure::Record(what) => {
                let sent = output::count(self.sent, "message");
                Failure::Record(format!("{what}; {verb} {sent} before it"))
            }
            other if self.sent == 0 => other,
            other => {
                self.console.note(&summary);
                other
            }
        })?;
        durable.inspect_err(|_| self.console.note(&summary))?;
        if let Some(signal) = self.interrupt.signal() {
            self.console.note(format_args!("interrupted; {summary}"));
            return Ok(Ending::Interrupted(signal));
        }
        if let Some(what) = self.timed_out {
            self.console.explaining(true).note(format_args!("{what}; {summary}"));
            return Ok(Ending::TimedOut);
        }
        if sending.close {
            self.producer.close()?;
        }
        self.console.note(summary);
        Ok(Ending::Done)
    }

    fn summary(&self, verb: &str, durable: bool) -> String {
        let sent = output::count(self.sent, "message");
        let which = self.first.map(|first| output::range(first, first + self.sent));
        let which = which.map_or(String::new(), |which| format!(" ({which})"));
        let summary = format!("{verb} {sent} to '{}'{which}", self.queue.name());
        match (self.has_journal, self.queue.durable_sequence()) {
            _ if self.sent == 0 => summary,
            (true, _) if durable => summary + ", all durable",
            (true, Some(sequence)) => {
                let next = self.producer.next_sequence();
                summary + &format!("; those from {} on are not durable", sequence.min(next))
            }
            _ => summary,
        }
    }

    /// Waits until so many consumers are there. `false` if a signal came first, or the time limit was
    /// over.
    fn wait_for(&mut self, consumers: u32) -> Result<bool, Failure> {
        const SLICE: Duration = Duration::from_millis(20);
        let places = self.queue.info()?.members_max;
        if consumers > places {
            return Err(Failure::Usage(format!(
                "queue '{}' has places for {} (`create --members`), so {consumers} never come",
                self.queue.name(),
                output::count(places.into(), "consumer")
            )));
        }
        let begin = Instant::now();
        let mut slice = Duration::ZERO;
        while self.interrupt.signal().is_none() {
            if self.queue.wait_for_consumers(consumers, slice)? {
                return Ok(true);
            }
            if self.timeout.is_some_and(|timeout| begin.elapsed() >= timeout) {
                self.timed_out = Some("fewer consumers than were waited for came in time");
                return Ok(false);
            }
            if slice.is_zero() {
                let info = self.queue.info()?;
                let found = info.consumers.iter().filter(|consumer| consumer.alive).count();
                self.console.note(format_args!(
                    "waiting for consumers of '{}': {found} of {consumers} are there",
                    info.name
                ));
                slice = SLICE;
            }
        }
        Ok(false)
    }

    /// Sends a message that is due so long after the beginning. `false` if it was not sent, because
    /// a signal came first, or the time limit was over.
    pub fn send(
        &mut self,
        key_hash: Option<u64>,
        payload: &[u8],
        begin: Instant,
        due: Duration,
    ) -> Result<bool, Failure> {
        if let Some(rest) = due.checked_sub(begin.elapsed())
            && !rest.is_zero()
        {
            self.interrupt.sleep(rest)?;
        }
        if self.interrupt.signal().is_some() {
            return Ok(false);
        }
        if self.looked_at.elapsed() >= LOOK_INTERVAL {
            self.looked_at = Instant::now();
            self.check_queue()?;
        }
        let sent = match self.try_send(key_hash, payload, Duration::ZERO)? {
            Sent::Full | Sent::TimedOut => self.send_when_there_is_room(key_hash, payload)?,
            Sent::Sequence(_) => true,
        };
        if sent {
            let last = self.producer.next_sequence() - 1;
            self.first.get_or_insert(last);
            self.sent += 1;
        }
        Ok(sent)
    }

    /// Sends a message at once, and waits until it is durable where there is a journal. Its sequence,
    /// or nothing if a signal came first, or the time limit was over.
    pub fn send_safely(
        &mut self,
        key_hash: Option<u64>,
        payload: &[u8],
    ) -> Result<Option<u64>, Failure> {
        if !self.send(key_hash, payload, Instant::now(), Duration::ZERO)? {
            return Ok(None);
        }
        if self.has_journal && !self.await_durable(None)? {
            return Ok(None);
        }
        Ok(Some(self.producer.next_sequence() - 1))
    }

    /// Nobody who comes now would receive what is sent to a queue that was removed.
    fn check_queue(&self) -> Result<(), Error> {
        let stale = || Error::Stale { queue: self.queue.name().into() };
        if self.queue.is_removed() { Err(stale()) } else { Ok(()) }
    }

    fn try_send(
        &mut self,
        key_hash: Option<u64>,
        payload: &[u8],
        patience: Duration,
    ) -> Result<Sent, Error> {
        let message = self.producer.message();
        let message = match key_hash {
            Some(hash) => message.key_hash(hash),
            None => message,
        };
        let sent = if patience.is_zero() {
            message.try_send(payload)
        } else {
            message.send_timeout(payload, patience)
        };
        match sent {
            Err(error) if is_without_space(&error) => {
                self.without_space = Some(error);
                Ok(Sent::Full)
            }
            sent => {
                self.without_space = None;
                sent
            }
        }
    }

    fn send_when_there_is_room(
        &mut self,
        key_hash: Option<u64>,
        payload: &[u8],
    ) -> Result<bool, Failure> {
        let begin = Instant::now();
        let mut noted = false;
        while self.interrupt.signal().is_none() {
            let left =
                self.timeout.map_or(SLICE, |timeout| timeout.saturating_sub(begin.elapsed()));
            if let Sent::Sequence(_) = self.try_send(key_hash, payload, left.min(SLICE))? {
                return Ok(true);
            }
            if self.without_space.is_some() {
                // It has not waited.
                self.interrupt.sleep(left.min(SLICE))?;
            }
            let is_late = self.timeout.is_some_and(|timeout| begin.elapsed() >= timeout);
            if !noted && (is_late || begin.elapsed() >= UNREMARKABLE) {
                self.note_who_holds();
                noted = true;
            }
            if is_late {
                self.timed_out = Some("no room in time");
                break;
            }
        }
        Ok(false)
    }

    fn note_who_holds(&self) {
        if let Some(error) = &self.without_space {
            let name = self.queue.name();
            self.console.note(format_args!("held at '{name}' until there is space: {error}"));
            return;
        }
        let Some(time) = self.producer.held_for() else { return };
        let (name, time) = (self.queue.name(), output::duration(time));
        let holders: Vec<_> = self.producer.held_by().iter().map(ToString::to_string).collect();
        let holders = holders.join("; ");
        if self.queue.info().is_ok_and(|info| is_for_files(&info)) {
            self.console.note(format_args!(
                "held at '{name}' for {time}: its history has the size that it may have, and is needed by {holders}"
            ));
        } else if !holders.is_empty() {
            self.console
                .note(format_args!("held at '{name}' for {time}, a ring ahead of {holders}"));
        } else if self.queue.history().is_some() {
            self.console.note(format_args!(
                "held at '{name}' for {time}: its history has the size that it may have, or whoever writes it does not go on"
            ));
        }
    }

    /// Has all that was sent durable, in a queue with a journal. Waits for whoever writes that;
    /// `false` if a signal or the time limit ended the waiting.
    fn make_durable(&mut self) -> Result<bool, Failure> {
        if !self.has_journal {
            return Ok(true);
        }
        // Has everything written and durable at once, however seldom it is synced.
        let journalled = self.journaling.take().map_or(Ok(()), Journaling::stop);
        self.await_durable(journalled.err())
    }

    /// Waits until all that was sent is durable, and says what keeps it from that, if that is known.
    /// `false` if a signal came, or nothing more became durable for as long as there may be no room.
    fn await_durable(&mut self, mut reason: Option<Error>) -> Result<bool, Failure> {
        let begin = Instant::now();
        let (mut durable, mut grown_at) = (self.queue.durable_sequence(), begin);
        let mut noted = false;
        loop {
            match self.producer.flush_timeout(SLICE) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if is_without_space(&error) => {
                    reason = Some(error);
                    // An interrupt does not end this.
                    std::thread::sleep(SLICE);
                }
                Err(error) => return Err(error.into()),
            }
            let before = std::mem::replace(&mut durable, self.queue.durable_sequence());
            if durable != before {
                grown_at = Instant::now();
            }
            let is_late = self.timeout.is_some_and(|timeout| grown_at.elapsed() >= timeout);
            let is_long = begin.elapsed() >= UNREMARKABLE;
            let is_to_end = self.timed_out.is_some() || self.interrupt.signal().is_some();
            let gives_up = is_late || (is_to_end && is_long);
            if !noted && (gives_up || is_long) {
                self.note_what_is_awaited(reason.as_ref().map(|error| (error, gives_up)));
                noted = true;
            }
            if gives_up {
                if is_late {
                    self.timed_out.get_or_insert("not durable in time");
                }
                return Ok(false);
            }
        }
        if let Some(error) = reason.filter(|_| !noted) {
            // What it could not do the flush has done.
            self.console.note(format_args!("the journal stood still for a while: {error}"));
        }
        Ok(true)
    }

    /// With what is in the way, and whether it is not waited for any more.
    fn note_what_is_awaited(&self, reason: Option<(&Error, bool)>) {
        let name = self.queue.name();
        let another_writes = || self.queue.info().is_ok_and(|info| info.journaler_alive);
        if let Some((error, gives_up)) = reason {
            let is_for_space = is_without_space(error) && !gives_up;
            let until = if is_for_space { "; waiting for space" } else { "" };
            self.console
                .note(format_args!("not all messages of '{name}' are durable: {error}{until}"));
            return;
        }
        let holders: Vec<_> = self.producer.held_by().iter().map(ToString::to_string).collect();
        let has_limit = self.queue.info().is_ok_and(|info| info.history_max.is_some());
        let why = match holders.join("; ") {
            holders if has_limit && !holders.is_empty() => format!(
                "; its history may have the size that it may have, and is needed by {holders}"
            ),
            _ => String::new(),
        };
        if self.journaling.is_none() && another_writes() {
            self.console.note(format_args!(
                "waiting for the journaler of '{name}' to have all messages durable{why}"
            ));
        } else {
            self.console
                .note(format_args!("waiting for all messages of '{name}' to be durable{why}"));
        }
    }
}

/// The queue's producer, once nobody else is, as long as that is worth waiting for.
fn stand_by(
    queue: &Queue,
    patience: Option<Duration>,
    interrupt: &Interrupt,
    console: Console,
) -> Result<Producer, Failure> {
    let begin = Instant::now();
    let mut noted = false;
    loop {
        let left = patience.unwrap_or_default().saturating_sub(begin.elapsed());
        match queue.producer_timeout(left.min(SLICE)) {
            Err(error @ Error::ProducerAlive { .. }) => {
                if let Some(signal) = interrupt.signal() {
                    return Err(Failure::Interrupted(signal));
                }
                match patience {
                    None => return Err(Failure::NoPlace(error)),
                    Some(patience) if begin.elapsed() >= patience => {
                        return Err(Failure::TimedOut(error));
                    }
                    Some(_) => {}
                }
                if !noted && begin.elapsed() >= UNREMARKABLE {
                    let whose = in_our_words(&error);
                    console.note(format_args!("waiting for the place of another: {whose}"));
                    noted = true;
                }
            }
            producer => return Ok(producer?),
        }
    }
}

/// Whether a producer is held for the sake of those alone who read what they have not read in files.
fn is_for_files(info: &Info) -> bool {
    let consumers = info.consumers.iter().map(|one| (one.holds_producer, one.lag));
    let subscriptions = info.subscriptions.iter().map(|one| (one.holds_producer, one.lag));
    let mut lags = consumers.chain(subscriptions).filter(|(holds, _)| *holds).map(|(_, lag)| lag);
    lags.next() == Some(Lag::Spill) && lags.all(|lag| lag == Lag::Spill)
}
