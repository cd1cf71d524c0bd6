//! How a reader sleeps until there is something to receive, or has another thread sleep for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AnyReader, Reception};
use crate::error::Error;
use crate::layout::{CONTROL, HEADER, MEMBER};
use crate::sharing::SharedReader;
use crate::sleeper::{Errand, Order};
use crate::sync::{Ordering, fence};
use crate::sys::process;
use crate::wait::{Event, SLEEP_MAX, SLEEP_UNSURE, Ticket, Wait, fence_before_sleep};

/// How long an observer that backs off does not look: the system makes twice as much of it.
const NAP: Duration = Duration::from_micros(50);

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

impl Reception {
    /// Sleeps until called, so long at most. If the end of the time came first, what was announced
    /// comes back, to check by it whether a message came without a call.
    pub(super) fn sleep(&mut self, limit: Duration) -> Result<Option<Announced>, Error> {
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
        if let AnyReader::Shared(reader) = &mut *self.reader {
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

    /// What it sleeps on, and since when.
    pub(crate) fn sleep_of(&self, announced: &Announced) -> (Event<'_>, Ticket) {
        (self.event(announced.is_full), announced.ticket)
    }

    /// Whether a member looked for no message, since it has as much as it may have, and an acker.
    pub(super) fn awaits_relief(&self) -> bool {
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
            member.count(MEMBER.sleeps, 1);
        }
    }

    /// There is a message after a sleep that nobody ended: it is a late wake if a call was sure to
    /// come with it, unless the producer is just about to call.
    pub(crate) fn check_late_wake(&self, announced: &Announced) {
        if let Some(member) = &self.member
            && announced.is_sure
            && !self.event(announced.is_full).was_called_since(announced.ticket)
        {
            // Relaxed: as all counts of a member.
            let late = member.word(MEMBER.late_wakes);
            late.store(late.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

/// How long one who cannot announce a sleep does not look.
pub(crate) fn nap(wait: Wait) -> Duration {
    if wait == Wait::Park { SLEEP_UNSURE } else { NAP }
}
