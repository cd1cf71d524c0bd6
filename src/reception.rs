//! Receiving, for consumers and observers alike: the short way when the next message is there
//! and whole, and the long way for all else, waiting included.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::calls::call_producer;
use crate::error::Error;
use crate::history::{Past, PastRead};
use crate::interrupter::{Interrupter, Interruption};
use crate::layout::{CONTROL, HEADER, MEMBER};
use crate::membership::Membership;
use crate::message::{Batch, Message};
use crate::outcome::Received;
use crate::ring::{
    Buffer, CopyReader, HeldReader, Lag, Member, Place, Read, Ring, Run, Span, Start, Track,
};
use crate::segment::{Mapping, Segment};
use crate::sharing::{Handed, SharedReader, Work};
use crate::sleeper::{Errand, Order};
use crate::sync::{Ordering, fence};
use crate::sys::process;
use crate::wait::{
    Event, Habit, Next, Pace, Patience, SLEEP_MAX, SLEEP_UNSURE, StandOff, Ticket, Wait,
    fence_before_sleep,
};

/// Polls of the next commit word before the next thorough look: a few hundred nanoseconds.
const POLLS_PER_LOOK: u32 = 32;
/// How long an observer that backs off does not look: the system makes twice as much of it.
const NAP: Duration = Duration::from_micros(50);
/// What was overtaken is found where it has gone to by the next look, unless words are damaged.
const LOOKS_AGAIN_MAX: u32 = 100;
/// Who comes back to the ring from the files holds by the second attempt, unless words are damaged.
const RACES_LOST_MAX: u32 = 100;
/// Who polls by itself looks around once in so many looks that find nothing.
const LOOKS_PER_LOOK_AROUND: u32 = 1 << 14;

/// One reader with what it needs to wait and to hand out payloads.
#[derive(Debug)]
pub(crate) struct Reception {
    /// The consumer's place; an observer has none. Dropped first: giving it up needs the mapping.
    membership: Option<Membership>,
    /// On lines of its own: consumers of one process often lie side by side.
    reader: CachePadded<Reader>,
    interruption: Interruption,
    /// Where payloads are copied to, those of a batch's first message and of single ones, and
    /// those of the others; a held reader's stay where they are.
    buffer: Buffer,
    batch_buffer: Buffer,
    /// Where it finds what has left the ring, if it may look there.
    past: Option<Box<Past>>,
    /// The consumer's line in the member table; an observer has none.
    member: Option<Member>,
    wait: Wait,
    stand_off: StandOff,
    habit: Habit,
    empty_looks: u32,
    /// Where it last found the stream closed.
    ended_at: Option<u64>,
    /// Whether an end that was told is waited past, and not told again.
    past_the_end: bool,
    /// The last sleep that another thread was sent to, and the sequence that was next then.
    sent: Option<(Announced, u64)>,
    segment: Arc<Segment>,
    /// Last: the reader's view is of this.
    mapping: Arc<Mapping>,
}

/// A sleep that was announced.
#[derive(Debug)]
pub(crate) struct Announced {
    ticket: Ticket,
    /// Whether it is for want of relief, by ackers of its own, that it sleeps.
    is_full: bool,
    /// How long it may be.
    limit: Duration,
    /// Whether a call is sure to come with a message.
    is_sure: bool,
}

impl Announced {
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }
}

/// How messages are come by.
#[derive(Debug)]
pub(crate) enum Reader {
    Held(HeldReader),
    Copied(CopyReader),
    Shared(Box<SharedReader>),
}

/// What a reader follows: a track of its own, or what it takes of a named subscription.
enum Along<'a> {
    Track(&'a Track),
    Shares(&'a SharedReader),
}

impl Reception {
    pub(crate) fn new(
        segment: Arc<Segment>,
        mapping: Arc<Mapping>,
        reader: Reader,
        membership: Option<Membership>,
        interruption: Interruption,
        wait: Wait,
    ) -> Self {
        let member = membership.as_ref().map(|place| place.ring().member(place.index()));
        let stand_off = StandOff::new(reader.ring().capacity());
        Self {
            membership,
            reader: CachePadded::new(reader),
            interruption,
            buffer: Buffer::default(),
            batch_buffer: Buffer::default(),
            past: None,
            member,
            wait,
            stand_off,
            habit: Habit::default(),
            empty_looks: 0,
            ended_at: None,
            past_the_end: false,
            sent: None,
            segment,
            mapping,
        }
    }

    /// The same reception, of one who reads what has left the ring.
    pub(crate) fn with_past(mut self, past: Option<Past>) -> Self {
        if let Some(past) = past.as_ref().filter(|past| past.is_entered()) {
            self.reader.move_to(past.place());
            // Who spills needs the files from there on.
            self.let_go();
        }
        Self { past: past.map(Box::new), ..self }
    }

    /// The same reception, of one who waits past each end of the stream, or not.
    pub(crate) fn past_the_end(self, past_the_end: bool) -> Self {
        Self { past_the_end, ..self }
    }

    pub(crate) fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// What the consumer has of its shares, if it is a member of a named subscription.
    pub(crate) fn work(&self) -> Result<Option<&Work>, Error> {
        if self.interruption.is_child() {
            return Err(self.segment.forked());
        }
        Ok(self.reader.shared().map(SharedReader::work))
    }

    /// The number of the consumer's line in the member table.
    pub(crate) fn member(&self) -> Option<u32> {
        Some(self.membership.as_ref()?.index().get())
    }

    /// The named subscription that it is for.
    pub(crate) fn subscription(&self) -> Option<&str> {
        self.reader.shared().map(|reader| reader.work().subscription())
    }

    /// The sequence of the message that the next receive is about.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.reader.run().sequence()
    }

    #[inline(always)]
    pub(crate) fn receive(&mut self, patience: Patience) -> Result<Received<Message<'_>>, Error> {
        // SAFETY: the message is bound to the borrow.
        unsafe { self.receive_unbound(patience) }
    }

    /// Waits for a message, and tells on the way what is missed. `None` is the end of the stream.
    #[inline]
    pub(crate) fn next_message(
        &mut self,
        mut missed: impl FnMut(Range<u64>),
    ) -> Result<Option<Message<'_>>, Error> {
        loop {
            // SAFETY: the message is bound to the borrow, and nothing is received after it.
            match unsafe { self.receive_unbound(Patience::Endless) }? {
                Received::Message(message) => return Ok(Some(message)),
                Received::Missed { from, to } => missed(from..to),
                Received::Closed => return Ok(None),
                // Nobody says so whose patience has no end.
                Received::Empty | Received::TimedOut => {}
            }
        }
    }

    #[inline]
    pub(crate) fn receive_batch(
        &mut self,
        count_max: usize,
        patience: Patience,
    ) -> Result<Received<Batch<'_>>, Error> {
        // The end of a batch is where its receiver catches up, whatever has come since.
        if let Reader::Held(reader) = &mut *self.reader
            && reader.take_catch_up()
            && !matches!(patience, Patience::None)
        {
            self.stand_off();
        }
        // SAFETY: the message is bound to the borrow.
        let received = unsafe { self.receive_unbound(patience) }?;
        Ok(received.map(|first| self.batch(first, count_max.saturating_sub(1))))
    }

    /// A message, and up to `left` more that follow it without a gap.
    #[inline]
    fn batch<'a>(&'a mut self, first: Message<'a>, left: usize) -> Batch<'a> {
        match &mut *self.reader {
            Reader::Held(reader) => Batch::of_held(first, reader, left),
            Reader::Copied(reader) => {
                let size_max = self.segment.message_size_max();
                let run = reader.try_run(&mut self.batch_buffer, left, size_max);
                // SAFETY: the copy is in our buffer, which changes with the next batch, and this
                // one borrows us.
                unsafe { Batch::of_copy(first, reader, run) }
            }
            Reader::Shared(reader) => {
                // Copies go one by one: each is checked when it is lent.
                let left = if reader.work().copies() { 0 } else { left };
                Batch::of_shared(first, reader, left)
            }
        }
    }

    /// As [`Self::receive`].
    ///
    /// # Safety
    /// The message must not be used after the next receive, nor when the reception is gone.
    #[inline(always)]
    pub(crate) unsafe fn receive_unbound<'a>(
        &mut self,
        patience: Patience,
    ) -> Result<Received<Message<'a>>, Error> {
        // SAFETY: as the caller promises.
        if let Some(message) = unsafe { self.receive_now() } {
            return Ok(Received::Message(message));
        }
        // SAFETY: as the caller promises.
        unsafe { self.receive_patiently(patience) }
    }

    /// The short way: lends the next message if it is there, and nothing about it is unusual.
    ///
    /// # Safety
    /// As of [`Self::receive_unbound`].
    #[inline(always)]
    pub(crate) unsafe fn receive_now<'a>(&mut self) -> Option<Message<'a>> {
        if !self.interruption.is_calm() {
            return None;
        }
        match &mut *self.reader {
            Reader::Held(reader) => {
                reader.release();
                let span = reader.try_next()?;
                let run = reader.track().run();
                // SAFETY: as the caller promises.
                Some(unsafe { lend(run.base(), span, run) })
            }
            Reader::Copied(reader) => {
                reader.release();
                let span = reader.try_next(&mut self.buffer)?;
                // SAFETY: as the caller promises.
                Some(unsafe { lend(self.buffer.base(), span, reader.track().run()) })
            }
            Reader::Shared(reader) => {
                let span = reader.try_next(&mut self.buffer)?;
                let sequence = reader.run().sequence() - 1;
                let is_copy = reader.work().copies();
                let handed = Handed { span, sequence, delivery: 1, is_copy };
                // SAFETY: as the caller promises.
                Some(unsafe { lend_shared(reader, &self.buffer, handed) })
            }
        }
    }

    /// The long way: all that the short way does not do. A call, so that the short way is little
    /// wherever somebody receives; and not a cold one, which the compiler would make small and slow:
    /// each share of a member begins here (perf-notes.md, "Receiving, in line and called").
    ///
    /// # Safety
    /// As of [`Self::receive_unbound`].
    #[inline(never)]
    unsafe fn receive_patiently<'a>(
        &mut self,
        mut patience: Patience,
    ) -> Result<Received<Message<'a>>, Error> {
        loop {
            if let Some(found) = self.receive_slowly(&mut patience)? {
                // SAFETY: as the caller promises.
                return Ok(found.map(|handed| unsafe { self.lend_found(handed) }));
            }
            // SAFETY: as the caller promises.
            if let Some(message) = unsafe { self.receive_now() } {
                return Ok(Received::Message(message));
            }
        }
    }

    /// The message that the long way found, wherever that was.
    ///
    /// # Safety
    /// As of [`Self::receive_unbound`].
    unsafe fn lend_found<'a>(&self, handed: Handed) -> Message<'a> {
        let past = self.past.as_ref().filter(|past| past.is_entered());
        let base = match (&*self.reader, past) {
            (_, Some(past)) => past.base(),
            (Reader::Held(reader), None) => reader.track().run().base(),
            (Reader::Copied(_), None) => self.buffer.base(),
            (Reader::Shared(reader), None) => {
                // SAFETY: as the caller promises.
                return unsafe { lend_shared(reader, &self.buffer, handed) };
            }
        };
        // SAFETY: as the caller promises.
        unsafe { lend(base, handed.span, self.reader.run()) }
    }

    /// Nothing if it is the short way's turn, which takes what is there now sooner than this one could
    /// hand it over.
    fn receive_slowly(
        &mut self,
        patience: &mut Patience,
    ) -> Result<Option<Received<Handed>>, Error> {
        self.interruption.check(&self.segment)?;
        if patience.is_over() {
            // Only what the short way was to take and did not brings a wait back here: a frame that
            // begins a sector, or one that was overtaken meanwhile.
            return Ok(Some(Received::TimedOut));
        }
        *patience = patience.begin();
        self.let_go();
        self.call_producer();
        let mut pace = Pace::for_message(self.wait, *patience).with_habit(&self.habit);
        let mut uncalled = None;
        if !matches!(*patience, Patience::None) {
            self.stand_off();
        }
        loop {
            let uncalled_before = uncalled.take();
            match self.look()? {
                Read::Message(handed) => {
                    if let Some(announced) = uncalled_before {
                        self.check_late_wake(&announced);
                    }
                    return Ok(handed.map(Received::Message));
                }
                Read::Missed { from, to } => return Ok(Some(Received::Missed { from, to })),
                Read::Closed { end } if !self.past_the_end || self.ended_at != Some(end) => {
                    self.ended_at = Some(end);
                    return Ok(Some(Received::Closed));
                }
                Read::Closed { .. } | Read::Empty => {}
            }
            if let Patience::None = *patience {
                self.look_around_sometimes()?;
                return Ok(Some(Received::Empty));
            }
            let polls = if pace.sleeps_at_once() { 0 } else { POLLS_PER_LOOK };
            if self.reader.awaits_frame() && self.reader.run().poll(polls) {
                self.habit.note_poll();
                return Ok(None);
            }
            self.interruption.check(&self.segment)?;
            let next = pace.next();
            if pace.is_gap() {
                self.stand_off.forget_stream();
            }
            match next {
                Next::Look if pace.looks_around() => self.look_around()?,
                Next::Look => {}
                Next::Sleep(limit) => uncalled = self.sleep(limit)?,
                Next::TimedOut => {
                    self.look_around_sometimes()?;
                    return Ok(Some(Received::TimedOut));
                }
            }
        }
    }

    /// Gives the last message back for good; of a member that acknowledges by receiving it is done.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        if self.interruption.is_child() {
            return Err(self.segment.forked());
        }
        self.let_go();
        self.reader.shared().map_or(Ok(()), |reader| reader.work().checkpoint())
    }

    /// To be called before the consumer gives up its place.
    pub(crate) fn end_work(&self) {
        if let Some(reader) = self.reader.shared() {
            reader.end();
        }
    }

    /// Pauses if that pays, unless it is not for want of a message that the short way ended.
    fn stand_off(&mut self) {
        let caught_up = match self.reader.along() {
            Along::Track(track) => !track.run().is_limited(),
            Along::Shares(reader) => reader.is_at_end(),
        };
        if caught_up {
            self.stand_off.pause(self.reader.position(), self.reader.run().sequence());
        }
    }

    /// Gives the last message back.
    fn let_go(&mut self) {
        match &mut *self.reader {
            Reader::Held(reader) => reader.release(),
            Reader::Copied(reader) => reader.release(),
            Reader::Shared(reader) => reader.release(),
        }
    }

    /// Calls a producer that waits for room, if there is more since the last time.
    fn call_producer(&mut self) {
        if let Reader::Held(reader) = &mut *self.reader
            && reader.has_passed_sector()
        {
            call_producer(reader.track().ring());
        }
    }

    fn look(&mut self) -> Result<Read<Option<Handed>>, Error> {
        if let Reader::Shared(reader) = &mut *self.reader {
            return reader.look(&mut self.buffer);
        }
        let mut read = self.look_for_own()?;
        let mut looks = 0;
        while read == Read::Empty && self.overtaken_at().is_some() && looks < LOOKS_AGAIN_MAX {
            // Just now: it has left the ring, and is to be had all the same.
            read = self.look_for_own()?;
            looks += 1;
        }
        if let (Read::Missed { from, to }, Some(member)) = (read, &self.member) {
            // Relaxed: only this consumer stores it, and others only show it.
            let missed = member.word(MEMBER.missed);
            let sum = missed.load(Ordering::Relaxed).wrapping_add(to - from);
            missed.store(sum, Ordering::Relaxed);
        }
        let sequence = self.reader.run().sequence().wrapping_sub(1);
        let is_copy = !matches!(&*self.reader, Reader::Held(_));
        Ok(read.map(|span| Some(Handed { span, sequence, delivery: 1, is_copy })))
    }

    /// [`Self::look`], of one who is no member of a named subscription.
    fn look_for_own(&mut self) -> Result<Read, Error> {
        if let Some(read) = self.look_at_past()? {
            return Ok(read);
        }
        let read = match &mut *self.reader {
            Reader::Held(reader) => reader.look(),
            Reader::Copied(reader) => reader.look(&mut self.buffer),
            Reader::Shared(_) => Ok(Read::Empty),
        };
        read.map_err(|corrupt| self.segment.corrupt(corrupt))
    }

    /// Where one who spills goes on, if that has left the ring, and nobody has looked for it in the
    /// files yet.
    fn overtaken_at(&self) -> Option<Place> {
        let looks_there = self.past.as_ref().is_some_and(|past| past.is_entered());
        match &*self.reader {
            Reader::Copied(reader) if !looks_there => reader.overtaken_at(),
            _ => None,
        }
    }

    /// What comes next, if it has left the ring and is to be had all the same.
    fn look_at_past(&mut self) -> Result<Option<Read>, Error> {
        let overtaken_at = self.overtaken_at();
        let Some(past) = &mut self.past else { return Ok(None) };
        if let Some((from, to)) = past.missed() {
            return Ok(Some(Read::Missed { from, to }));
        }
        if let Some(place) = overtaken_at {
            past.enter(place);
        }
        let corrupt = |corrupt| self.segment.corrupt(corrupt);
        let ring = self.reader.ring().clone();
        let mut lost = 0;
        while past.is_entered() {
            let read = past.read(&ring)?;
            self.reader.move_to(past.place());
            match read {
                PastRead::Message(span) => return Ok(Some(Read::Message(span))),
                PastRead::Missed { from, to } => return Ok(Some(Read::Missed { from, to })),
                PastRead::NotYet => return Ok(Some(Read::Empty)),
                PastRead::Present(place) => {
                    let join = |index| ring.join(index, Lag::Hold, place.position);
                    let floor = past.holder().map_or(0, join);
                    if floor <= place.position {
                        past.leave();
                    } else if let Some(index) = past.holder() {
                        // Lost the race of JOIN: the files have more by now.
                        ring.join(index, Lag::Skip, place.position);
                        // A producer that found it in the way meanwhile has room.
                        call_producer(&ring);
                        lost += 1;
                        if lost > RACES_LOST_MAX {
                            return Ok(Some(Read::Empty));
                        }
                    }
                }
                PastRead::Gone => {
                    let from = past.place().sequence;
                    let begin = match past.holder() {
                        None => ring.oldest().map_err(corrupt)?,
                        Some(index) => {
                            let join = |place: Place| ring.join(index, Lag::Hold, place.position);
                            let begin = ring.begin_holding(Start::Oldest, join);
                            // As above: it may have been in the way further back.
                            call_producer(&ring);
                            begin.map_err(|error| self.segment.start_error(error))?.place
                        }
                    };
                    past.leave();
                    self.reader.move_to(begin);
                    if from < begin.sequence {
                        return Ok(Some(Read::Missed { from, to: begin.sequence }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Sleeps until called, so long at most. If the end of the time came first, what was announced
    /// comes back, to check by it whether a message came without a call.
    fn sleep(&mut self, limit: Duration) -> Result<Option<Announced>, Error> {
        let Some(mut announced) = self.announce_sleep(limit, false) else {
            // Whoever may not write cannot announce a sleep.
            std::thread::sleep(limit.min(nap(self.wait)));
            self.look_around()?;
            return Ok(None);
        };
        self.confirm_sleep(&mut announced, process::global_barrier);
        let mut called = true;
        if self.may_sleep() {
            let begin = Instant::now();
            let (event, ticket) = self.sleep_of(&announced);
            called = event.sleep(ticket, announced.limit);
            self.habit.note_sleep(begin.elapsed());
            self.note_sleep();
        }
        // Who was called has no need to ask the system: the queue's end is called out too.
        if !called || self.reader.ring().is_removed() {
            self.look_around()?;
        }
        Ok((!called).then_some(announced))
    }

    /// Lets another thread sleep: announces that, and says what to sleep on. `None` if there is
    /// something to receive, or to be told.
    pub(crate) fn order_sleep(&mut self) -> Result<Option<Order>, Error> {
        self.begin_order()?;
        if let Some((announced, sequence)) = self.sent.take()
            && sequence != self.next_sequence()
        {
            self.check_late_wake(&announced);
        }
        if !self.has_looked() {
            return Ok(None);
        }
        let Some(mut announced) = self.announce_sleep(SLEEP_MAX, false) else {
            self.look_around_next();
            return Ok(self.may_sleep().then(|| Order::new(Vec::new(), SLEEP_UNSURE)));
        };
        self.confirm_sleep(&mut announced, process::global_barrier);
        if !self.may_sleep() {
            return Ok(None);
        }
        let order = Order::new(vec![self.errand(&announced)], announced.limit);
        self.sent = Some((announced, self.next_sequence()));
        Ok(Some(order))
    }

    /// What comes before a wait, whoever sleeps then.
    pub(crate) fn begin_order(&mut self) -> Result<(), Error> {
        if self.interruption.is_child() {
            return Err(self.segment.forked());
        }
        self.let_go();
        self.call_producer();
        Ok(())
    }

    /// Whether anybody has looked for a message, and found none: what is missed before the first one is
    /// told by a look alone.
    pub(crate) fn has_looked(&self) -> bool {
        self.empty_looks != 0
    }

    /// Has another thread sleep as was announced. Should nobody call, the next receive looks around.
    pub(crate) fn errand(&mut self, announced: &Announced) -> Errand {
        self.note_sleep();
        self.look_around_next();
        let relief = self.reader.shared().filter(|_| announced.is_full);
        let relief = relief.map(|reader| Arc::clone(reader.relief_word()));
        Errand::new(&self.mapping, CONTROL.data_event, relief, announced.ticket)
    }

    /// Announces that it is going to sleep, if it is allowed to. [`Self::confirm_sleep`] has to follow,
    /// then [`Self::may_sleep`], and then the sleep. A full member among others has been told that it
    /// is.
    pub(crate) fn announce_sleep(&self, limit: Duration, is_full: bool) -> Option<Announced> {
        self.member.as_ref()?;
        let is_full = is_full || self.awaits_relief();
        let ticket = self.event(is_full).announce();
        Some(Announced { ticket, is_full, limit, is_sure: false })
    }

    /// Makes sure that the producer sees what was announced, or sleeps less long. `issue` has the
    /// kernel issue all producers' fences, if it has not done that since the announcement.
    pub(crate) fn confirm_sleep(
        &mut self,
        announced: &mut Announced,
        issue: impl FnOnce() -> bool,
    ) {
        if announced.is_full {
            // SeqCst: INTERRUPT. No producer calls it.
            fence(Ordering::SeqCst);
            return;
        }
        let barrier = self.reader.ring().header(HEADER.barrier);
        announced.is_sure = fence_before_sleep(barrier, issue);
        if !announced.is_sure {
            announced.limit = announced.limit.min(SLEEP_UNSURE);
        }
        if let Reader::Shared(reader) = &mut *self.reader {
            // What another member leaves comes without a call from the producer.
            announced.is_sure = false;
            announced.limit = announced.limit.min(reader.idle_time());
        }
    }

    /// The last look before a sleep. Of a queue that is gone only a member has something to wait for:
    /// what it refused itself, or that it may have more.
    pub(crate) fn may_sleep(&self) -> bool {
        let has_own_left = |reader: &SharedReader| reader.has_own_left() || reader.awaits_relief();
        self.is_caught_up()
            && (!self.reader.ring().is_removed() || self.reader.shared().is_some_and(has_own_left))
            && self.interruption.is_calm()
    }

    /// Whether a member has something to be given of what was taken before.
    pub(crate) fn is_something_due(&self) -> bool {
        self.reader.shared().is_some_and(SharedReader::is_something_due)
    }

    /// Whether a member has as much as it may have by now.
    pub(crate) fn is_full(&self) -> bool {
        self.reader.shared().is_some_and(SharedReader::is_full)
    }

    /// Neither interrupted, nor of a forked child.
    pub(crate) fn is_calm(&self) -> bool {
        self.interruption.is_calm()
    }

    pub(crate) fn interrupter(&self) -> Interrupter {
        // An observer may not write, and so sleeps on nothing.
        let events: &[_] = if self.member.is_some() { &[CONTROL.data_event] } else { &[] };
        let relief = self.reader.shared().map(|reader| Arc::clone(reader.relief_word()));
        self.interruption.interrupter(events, &self.mapping, relief)
    }

    /// Where the stream ended that was last said to be closed.
    pub(crate) fn ended_at(&self) -> Option<u64> {
        self.ended_at
    }

    /// Whether it is closed there still.
    pub(crate) fn is_closed_at(&self, end: u64) -> bool {
        self.reader.ring().closed_at() == Some(end)
    }

    /// What it sleeps on, and since when.
    pub(crate) fn sleep_of(&self, announced: &Announced) -> (Event<'_>, Ticket) {
        (self.event(announced.is_full), announced.ticket)
    }

    /// Whether a member looked for no message, since it has as much as it may have, and an acker.
    fn awaits_relief(&self) -> bool {
        self.reader.shared().is_some_and(SharedReader::awaits_relief)
    }

    /// What a call comes by: a full member's is its ackers' alone.
    fn event(&self, is_full: bool) -> Event<'_> {
        Event::new(match self.reader.shared() {
            Some(reader) if is_full => reader.relief_word(),
            _ => self.reader.ring().control(CONTROL.data_event),
        })
    }

    /// It has slept.
    pub(crate) fn note_sleep(&self) {
        if let Some(member) = &self.member {
            // Relaxed: only this consumer stores it, and others only show it.
            let sleeps = member.word(MEMBER.sleeps);
            sleeps.store(sleeps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// There is a message after a sleep that nobody ended: it is a late wake if a call was sure to
    /// come with it, unless the producer is just about to call.
    pub(crate) fn check_late_wake(&self, announced: &Announced) {
        if let Some(member) = &self.member
            && announced.is_sure
            && !self.event(announced.is_full).was_called_since(announced.ticket)
        {
            // Relaxed: as for the sleeps.
            let late = member.word(MEMBER.late_wakes);
            late.store(late.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Whether the stream still ends where that was told, and the next look would find no more than that,
    /// which is nothing to whoever waits past it.
    fn is_past_the_end(&self) -> bool {
        self.past_the_end
            && self.ended_at.is_some_and(|end| self.is_closed_at(end))
            // Who is full is not called for messages, but looks for them when it is not any more.
            && !self.awaits_relief()
            && !self.is_something_due()
    }

    /// Whether the next look would find nothing.
    fn is_caught_up(&self) -> bool {
        if self.is_past_the_end() {
            return true;
        }
        if let Some(past) = self.past.as_ref().filter(|past| past.is_entered()) {
            return past.is_at_end(self.reader.ring());
        }
        match &*self.reader {
            Reader::Held(reader) => reader.is_caught_up(),
            Reader::Copied(reader) => reader.is_caught_up(),
            Reader::Shared(reader) => reader.is_caught_up(),
        }
    }

    /// Whether the queue is still there.
    pub(crate) fn look_around(&self) -> Result<(), Error> {
        let gone = self.reader.ring().is_removed() || self.segment.is_stale();
        let has_nothing_left = || match self.reader.shared() {
            Some(reader) => {
                reader.has_nothing_left() || (self.is_past_the_end() && !reader.has_own_left())
            }
            None => self.is_caught_up(),
        };
        if gone && has_nothing_left() { Err(self.segment.stale()) } else { Ok(()) }
    }

    /// Has the next look that finds nothing look around.
    pub(crate) fn look_around_next(&mut self) {
        self.empty_looks = LOOKS_PER_LOOK_AROUND - 1;
    }

    /// For callers that poll by themselves: the cheap part each time, the other one seldom.
    fn look_around_sometimes(&mut self) -> Result<(), Error> {
        self.empty_looks = self.empty_looks.wrapping_add(1);
        let often = self.reader.ring().is_removed();
        if often || self.empty_looks.is_multiple_of(LOOKS_PER_LOOK_AROUND) {
            self.look_around()?;
        }
        Ok(())
    }
}

impl Reader {
    #[inline(always)]
    fn along(&self) -> Along<'_> {
        match self {
            Self::Held(reader) => Along::Track(reader.track()),
            Self::Copied(reader) => Along::Track(reader.track()),
            Self::Shared(reader) => Along::Shares(reader),
        }
    }

    /// What a member of a named subscription has that others have not.
    fn shared(&self) -> Option<&SharedReader> {
        if let Self::Shared(reader) = self { Some(reader) } else { None }
    }

    fn run(&self) -> &Run {
        match self.along() {
            Along::Track(track) => track.run(),
            Along::Shares(reader) => reader.run(),
        }
    }

    /// Whether the next frame of its run is what it waits for.
    fn awaits_frame(&self) -> bool {
        match self.along() {
            Along::Track(track) => !track.is_durable_only(),
            Along::Shares(reader) => reader.is_at_head(),
        }
    }

    /// Goes elsewhere. Members of named subscriptions go where their shares are.
    fn move_to(&mut self, place: Place) {
        match self {
            Self::Held(reader) => reader.move_to(place),
            Self::Copied(reader) => reader.move_to(place),
            Self::Shared(_) => {}
        }
    }

    fn ring(&self) -> &Ring {
        match self.along() {
            Along::Track(track) => track.ring(),
            Along::Shares(reader) => reader.work().ring(),
        }
    }

    fn position(&self) -> u64 {
        match self.along() {
            Along::Track(track) => track.position(),
            Along::Shares(reader) => reader.position(),
        }
    }
}

/// How long one who cannot announce a sleep does not look.
pub(crate) fn nap(wait: Wait) -> Duration {
    if wait == Wait::Park { SLEEP_UNSURE } else { NAP }
}

/// The message that a run has just passed; the span counts from `base`.
///
/// # Safety
/// As of [`Reception::receive_unbound`].
#[inline(always)]
unsafe fn lend<'a>(base: *const u8, span: Span, run: &Run) -> Message<'a> {
    // SAFETY: a held reader's span is of a frame that the writer leaves alone until the cursor
    // moves, a copying reader's lies in its own buffer. Either changes by the next receive, before
    // which the message's lifetime ends, as the caller promises.
    unsafe { Message::at(base, span, run.sequence().wrapping_sub(1)) }
}

/// The message that a member was just handed.
///
/// # Safety
/// As of [`Reception::receive_unbound`].
#[inline(always)]
unsafe fn lend_shared<'a>(reader: &SharedReader, buffer: &Buffer, handed: Handed) -> Message<'a> {
    let work = reader.work();
    let base = if handed.is_copy { buffer.base() } else { reader.run().base() };
    // SAFETY: a payload in the ring is of a share that holds the writer until it is retired, settled or
    // not, and is this member's as long as it lives; else it lies in the buffer. Both, and the work,
    // change by the next receive, before which the message's lifetime ends, as the caller promises.
    unsafe { Message::of_member(base, handed, work) }
}
