//! What is done with messages while they are lent: they are acknowledged, or refused, or given up.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Work;
use super::desk::{Burial, Desk, Shown};
use super::portion::{Portion, bit};
use crate::calls::call_consumers;
use crate::error::Error;
use crate::history::Reason;
use crate::layout::MEMBER;
use crate::outcome::{Acked, Nacked};
use crate::subscribe::AckMode;

/// Whoever settles a member's messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settler<'a> {
    desk: &'a Desk,
    /// What the member has, for one who has borrowed the receiver, so that it does nothing
    /// meanwhile. An acker sees what is shown.
    work: Option<&'a Work>,
    /// Whether payloads of the share in question may be lent where they lie, for longer than the call.
    lends: bool,
}

impl Desk {
    /// For an acker: the receiver may be at work.
    pub(crate) fn settler(&self) -> Settler<'_> {
        Settler { desk: self, work: None, lends: false }
    }
}

impl Work {
    /// For one who has borrowed the receiver: nothing is lent any more.
    pub(crate) fn settler(&self) -> Settler<'_> {
        Settler { desk: self.desk(), work: Some(self), lends: false }
    }

    /// For a message.
    pub(crate) fn settler_of_lent(&self) -> Settler<'_> {
        Settler { lends: !self.copies(), ..self.settler() }
    }
}

/// Keeps others from settling, and then calls a receiver that waits for what was done meanwhile.
struct Settling<'a> {
    shown: MutexGuard<'a, Shown>,
    /// Behind the lock: it is dropped after that.
    _relief: Relief<'a>,
}

/// Calls the receiver when it is dropped.
struct Relief<'a>(&'a Desk);

impl Drop for Relief<'_> {
    fn drop(&mut self) {
        self.0.relief().call_if_awaited();
    }
}

impl<'a> Settler<'a> {
    pub(crate) fn ack(self, sequence: u64) -> Result<Acked, Error> {
        let settling = self.begin()?;
        Ok(self.find(&settling, sequence).map_or(Acked::Late, |(portion, number)| {
            self.acknowledge(&settling, portion, 1 << number)
        }))
    }

    /// Acknowledges everything that is lent up to a sequence; late if any of that is, or nothing is
    /// lent.
    pub(crate) fn ack_through(self, sequence: u64) -> Result<Acked, Error> {
        let settling = self.begin()?;
        let mut all = None;
        let portions: &mut dyn Iterator<Item = &Arc<Portion>> = match self.work {
            Some(work) => &mut work.portions(),
            None => &mut settling.shown.portions(),
        };
        for portion in portions {
            let messages = portion.in_hand() & portion.through(sequence);
            if messages != 0 {
                let acked = self.acknowledge(&settling, portion, messages);
                all = all.filter(|&before| before == Acked::Late).or(Some(acked));
            }
        }
        Ok(all.unwrap_or(Acked::Late))
    }

    /// Refuses a message, to be delivered again after a pause, or after the usual one.
    pub(crate) fn nack(self, sequence: u64, pause: Option<Duration>) -> Result<Nacked, Error> {
        let _leaving = self.keep_member()?;
        let settling = self.begin()?;
        let Some((portion, number)) = self.find(&settling, sequence) else {
            return Ok(Nacked::Late);
        };
        let deliveries = portion.deliveries(number);
        if self.desk.is_last_delivery(deliveries) {
            let portion = Arc::clone(portion);
            return Ok(match self.give_up(settling, &portion, number)? {
                Acked::Done => Nacked::DeadLetter,
                Acked::Late => Nacked::Late,
            });
        }
        portion.set_lent(portion.lent() & !bit(number));
        if !self.desk.show_progress(portion) {
            return Ok(Nacked::Late);
        }
        let pause = portion.set_pause(number, pause);
        let pause = pause.unwrap_or_else(|| self.desk.pause_after(deliveries));
        portion.retry_at(number, Instant::now() + pause);
        // Somebody else may be free before this member receives again.
        let is_left = self.pass_on(&settling, portion);
        if !is_left && self.work.is_none() {
            // The receiver may sleep, and has to do so no longer than the pause.
            call_consumers(&self.desk.ring);
        }
        Ok(Nacked::Retry(pause))
    }

    pub(crate) fn reject(self, sequence: u64) -> Result<Acked, Error> {
        let _leaving = self.keep_member()?;
        let settling = self.begin()?;
        if self.desk.dead_letters.is_none() {
            let queue = self.desk.segment.name().into();
            let what = "a message cannot be rejected without a place for dead letters: the queue has no history directory, and this member names none; make the queue with one (`ringway create --history DIR`), or have members name a directory (`ringway sub --dead-letters DIR`)".into();
            return Err(Error::InvalidOption { queue, what });
        }
        let Some((portion, number)) = self.find(&settling, sequence) else {
            return Ok(Acked::Late);
        };
        let portion = Arc::clone(portion);
        self.give_up(settling, &portion, number)
    }

    pub(crate) fn extend(self, sequence: u64) -> Result<Acked, Error> {
        let settling = self.begin()?;
        Ok(match self.find(&settling, sequence) {
            Some((portion, _)) if self.desk.show_progress(portion) => Acked::Done,
            _ => Acked::Late,
        })
    }

    fn begin(self) -> Result<Settling<'a>, Error> {
        self.desk.check_own()?;
        Ok(self.hold())
    }

    fn hold(self) -> Settling<'a> {
        Settling { shown: self.desk.shown(), _relief: Relief(self.desk) }
    }

    /// Keeps the member from giving up its place, for one who may write a dead letter.
    fn keep_member(self) -> Result<impl Sized + use<'a>, Error> {
        self.desk.check_own()?;
        Ok(self.desk.letters.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn find<'b>(self, settling: &'b Settling<'_>, sequence: u64) -> Option<(&'b Arc<Portion>, u32)>
    where
        'a: 'b,
    {
        let lent = |portion: &'b Arc<Portion>| {
            let number = portion.number_of(sequence)?;
            let is_own = portion.in_hand() & bit(number) != 0 && !portion.is_lost();
            is_own.then_some((portion, number))
        };
        match self.work {
            Some(work) => work.portions().find_map(lent),
            None => settling.shown.portions_with(sequence).find_map(lent),
        }
    }

    /// Settles messages that are lent; late if another member has taken the share away.
    fn acknowledge(self, settling: &Settling<'_>, portion: &Portion, messages: u32) -> Acked {
        let acked = self.desk.settle_as(MEMBER.acked, portion, messages);
        // Behind that, so that the receiver never takes it for something that is left.
        portion.set_lent(portion.lent() & !messages);
        self.pass_on(settling, portion);
        if acked { Acked::Done } else { Acked::Late }
    }

    /// Has a message that is lent become a dead letter.
    fn give_up(
        self,
        settling: Settling<'_>,
        portion: &Portion,
        number: u32,
    ) -> Result<Acked, Error> {
        let hold = || self.hold();
        let (settling, burial) = self.desk.bury(portion, number, Reason::Refused, settling, hold);
        // By itself the next receive would acknowledge what could not be given up.
        if burial.is_ok() || self.desk.mode == AckMode::Auto {
            portion.set_lent(portion.lent() & !bit(number));
        }
        let burial = burial?;
        if matches!(burial, Burial::Gone { .. }) && self.work.is_none() {
            // Only the receiver can tell what is missed, and it may sleep.
            call_consumers(&self.desk.ring);
        }
        self.pass_on(&settling, portion);
        Ok(if matches!(burial, Burial::Done) { Acked::Done } else { Acked::Late })
    }

    /// Does at once what the receiver does else when it looks after the share: lets go of it when all
    /// is settled, and leaves it to others when all that is left waits; tells whether it was that.
    /// Where the receiver may have lent something in the ring, that is for the receiver to do.
    #[inline]
    fn pass_on(self, settling: &Settling<'_>, portion: &Portion) -> bool {
        let lends_it = || settling.shown.lent_from == Some(portion.index());
        let is_lent = self.lends || self.work.is_none() && lends_it();
        !is_lent && !portion.is_lost() && self.pass_on_what_is_not_lent(portion)
    }

    fn pass_on_what_is_not_lent(self, portion: &Portion) -> bool {
        if portion.state().unsettled() == 0 {
            self.desk.retire(portion);
        }
        let is_left = Desk::is_all_waiting(portion);
        if is_left {
            self.desk.open(portion);
        }
        is_left
    }
}
