//! Receiving, for consumers and observers alike: the short way when the next message is there
//! and whole, and the long way for all else, waiting included.

mod past;
mod reader;
mod sleep;

use std::ops::Range;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use self::reader::Along;
pub(crate) use self::reader::AnyReader;
pub(crate) use self::sleep::{Announced, nap};
use crate::calls::call_producer;
use crate::error::Error;
use crate::history::Past;
use crate::interrupter::{Interrupter, Interruption};
use crate::layout::{CONTROL, MEMBER};
use crate::membership::Membership;
use crate::message::{Batch, Message};
use crate::outcome::Received;
use crate::ring::{Buffer, Member, Read, Run, Span};
use crate::segment::{Mapping, Segment};
use crate::sharing::{Handed, SharedReader, Work};
use crate::wait::{Habit, Next, Pace, Patience, StandOff, Wait};

/// Polls of the next commit word before the next thorough look: a few hundred nanoseconds.
const POLLS_PER_LOOK: u32 = 32;
/// What was overtaken is found where it has gone to by the next look, unless words are damaged.
const LOOKS_AGAIN_MAX: u32 = 100;
/// Who polls by itself looks around once in so many looks that find nothing.
const LOOKS_PER_LOOK_AROUND: u32 = 1 << 14;

/// One reader with what it needs to wait and to hand out payloads.
#[derive(Debug)]
pub(crate) struct Reception {
    /// The consumer's place; an observer has none. Dropped first: giving it up needs the mapping.
    membership: Option<Membership>,
    /// On lines of its own: consumers of one process often lie side by side.
    reader: CachePadded<AnyReader>,
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

impl Reception {
    pub(crate) fn new(
        segment: Arc<Segment>,
        mapping: Arc<Mapping>,
        reader: AnyReader,
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
        if let AnyReader::Held(reader) = &mut *self.reader
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
    pub(crate) fn batch<'a>(&'a mut self, first: Message<'a>, left: usize) -> Batch<'a> {
        match &mut *self.reader {
            AnyReader::Held(reader) => Batch::of_held(first, reader, left),
            AnyReader::Copied(reader) => {
                let size_max = self.segment.message_size_max();
                let run = reader.try_run(&mut self.batch_buffer, left, size_max);
                // SAFETY: the copy is in our buffer, which changes with the next batch, and this
                // one borrows us.
                unsafe { Batch::of_copy(first, reader, run) }
            }
            AnyReader::Shared(reader) => {
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
            AnyReader::Held(reader) => {
                reader.release();
                let span = reader.try_next()?;
                let run = reader.track().run();
                // SAFETY: as the caller promises.
                Some(unsafe { lend(run.base(), span, run) })
            }
            AnyReader::Copied(reader) => {
                reader.release();
                let span = reader.try_next(&mut self.buffer)?;
                // SAFETY: as the caller promises.
                Some(unsafe { lend(self.buffer.base(), span, reader.track().run()) })
            }
            AnyReader::Shared(reader) => {
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
            (AnyReader::Held(reader), None) => reader.track().run().base(),
            (AnyReader::Copied(_), None) => self.buffer.base(),
            (AnyReader::Shared(reader), None) => {
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
            AnyReader::Held(reader) => reader.release(),
            AnyReader::Copied(reader) => reader.release(),
            AnyReader::Shared(reader) => reader.release(),
        }
    }

    /// Calls a producer that waits for room, if there is more since the last time.
    fn call_producer(&mut self) {
        if let AnyReader::Held(reader) = &mut *self.reader
            && reader.has_passed_sector()
        {
            call_producer(reader.track().ring());
        }
    }

    fn look(&mut self) -> Result<Read<Option<Handed>>, Error> {
        if let AnyReader::Shared(reader) = &mut *self.reader {
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
            member.count(MEMBER.missed, to - from);
        }
        let sequence = self.reader.run().sequence().wrapping_sub(1);
        let is_copy = !matches!(&*self.reader, AnyReader::Held(_));
        Ok(read.map(|span| Some(Handed { span, sequence, delivery: 1, is_copy })))
    }

    /// [`Self::look`], of one who is no member of a named subscription.
    fn look_for_own(&mut self) -> Result<Read, Error> {
        if let Some(read) = self.look_at_past()? {
            return Ok(read);
        }
        let read = match &mut *self.reader {
            AnyReader::Held(reader) => reader.look(),
            AnyReader::Copied(reader) => reader.look(&mut self.buffer),
            AnyReader::Shared(_) => Ok(Read::Empty),
        };
        read.map_err(|corrupt| self.segment.corrupt(corrupt))
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
            AnyReader::Held(reader) => reader.is_caught_up(),
            AnyReader::Copied(reader) => reader.is_caught_up(),
            AnyReader::Shared(reader) => reader.is_caught_up(),
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
