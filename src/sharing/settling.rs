//! What a member does with messages while they are lent: it acknowledges them, or refuses them, or
//! gives them up.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::portion::Portion;
use super::{Whereabouts, Work};
use crate::error::Error;
use crate::history::{Letter, Reason};
use crate::layout::{self, Word64};
use crate::membership::announce_messages;
use crate::outcome::{Acked, Nacked};
use crate::ring::Buffer;

impl Work {
    pub(crate) fn ack(&self, sequence: u64) -> Result<Acked, Error> {
        let _settling = self.settling()?;
        Ok(self.find_lent(sequence).map_or(Acked::Late, |(portion, number)| {
            portion.set_lent(portion.lent() & !(1 << number));
            self.settle(portion, 1 << number)
        }))
    }

    /// Acknowledges everything that is lent up to a sequence; late if any of that is, or nothing is
    /// lent.
    pub(crate) fn ack_through(&self, sequence: u64) -> Result<Acked, Error> {
        let _settling = self.settling()?;
        let mut all = None;
        for portion in self.portions() {
            let messages = portion.lent() & portion.through(sequence);
            if messages != 0 {
                portion.set_lent(portion.lent() & !messages);
                let acked = self.settle(portion, messages);
                all = all.filter(|&before| before == Acked::Late).or(Some(acked));
            }
        }
        Ok(all.unwrap_or(Acked::Late))
    }

    /// Refuses a message, to be delivered again after a pause, or after the usual one.
    pub(crate) fn nack(&self, sequence: u64, pause: Option<Duration>) -> Result<Nacked, Error> {
        let _settling = self.settling()?;
        let Some((portion, number)) = self.find_lent(sequence) else { return Ok(Nacked::Late) };
        let deliveries = portion.deliveries(number);
        if self.is_last_delivery(deliveries) {
            return Ok(match self.give_up(portion, number)? {
                Acked::Done => Nacked::DeadLetter,
                Acked::Late => Nacked::Late,
            });
        }
        portion.set_lent(portion.lent() & !(1 << number));
        if !self.show_progress(portion) {
            return Ok(Nacked::Late);
        }
        let pause = portion.set_pause(number, pause);
        let pause = pause.unwrap_or_else(|| self.pause_after(deliveries));
        portion.retry_at(number, Instant::now() + pause);
        if portion.is_handed_out() && portion.in_work() == 0 {
            // Somebody else may be free before this member receives again.
            self.open(portion);
        }
        Ok(Nacked::Retry(pause))
    }

    pub(crate) fn reject(&self, sequence: u64) -> Result<Acked, Error> {
        let _settling = self.settling()?;
        if self.dead_letters.is_none() {
            let queue = self.segment.name().into();
            let what = "a message cannot be rejected without a place for dead letters: the queue has no history directory, and this member names none".into();
            return Err(Error::InvalidOption { queue, what });
        }
        self.find_lent(sequence)
            .map_or(Ok(Acked::Late), |(portion, number)| self.give_up(portion, number))
    }

    /// Has a message that is lent become a dead letter.
    fn give_up(&self, portion: &Portion, number: u32) -> Result<Acked, Error> {
        let buried = self.bury(portion, number, Reason::Refused)?;
        portion.set_lent(portion.lent() & !(1 << number));
        Ok(buried)
    }

    pub(crate) fn extend(&self, sequence: u64) -> Result<Acked, Error> {
        let _settling = self.settling()?;
        Ok(match self.find_lent(sequence) {
            Some((portion, _)) if self.show_progress(portion) => Acked::Done,
            _ => Acked::Late,
        })
    }

    /// Keeps other threads from settling meanwhile.
    pub(super) fn settling(&self) -> Result<MutexGuard<'_, ()>, Error> {
        if !self.lock.is_own() {
            return Err(self.segment.forked());
        }
        Ok(self.settling.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find_lent(&self, sequence: u64) -> Option<(&Portion, u32)> {
        self.portions().find_map(|portion| {
            let number = portion.number_of(sequence)?;
            (portion.lent() & (1 << number) != 0).then_some((portion, number))
        })
    }

    /// Settles messages; late if another member has taken the share away.
    pub(super) fn settle(&self, portion: &Portion, messages: u32) -> Acked {
        self.settle_as(layout::ACKED, portion, messages)
    }

    /// [`Self::settle`], where they are counted as something.
    fn settle_as(&self, what: Word64, portion: &Portion, messages: u32) -> Acked {
        let state = portion.state().settle(messages);
        if !self.replace(portion, state) {
            return Acked::Late;
        }
        self.count(what, messages.count_ones().into());
        self.note_counted(portion, messages);
        self.announce_settled();
        Acked::Done
    }

    /// Calls those who may have waited for the key of what was settled.
    pub(super) fn announce_settled(&self) {
        if self.terms.keyed {
            announce_messages(&self.ring);
        }
    }

    pub(super) fn is_last_delivery(&self, deliveries: u32) -> bool {
        self.terms.deliveries_max.is_some_and(|max| deliveries >= max)
    }

    pub(super) fn pause_after(&self, deliveries: u32) -> Duration {
        let backoff = self.terms.backoff;
        let times = i32::try_from(deliveries.saturating_sub(1)).unwrap_or(i32::MAX);
        let pause = backoff.first.as_secs_f64() * backoff.factor.powi(times);
        Duration::try_from_secs_f64(pause).unwrap_or(backoff.max).min(backoff.max)
    }

    /// Makes a dead letter of a message, and settles it.
    pub(super) fn bury(
        &self,
        portion: &Portion,
        number: u32,
        reason: Reason,
    ) -> Result<Acked, Error> {
        let mut buffer = Buffer::default();
        let copy = match self.find(portion, number, &mut buffer)? {
            Whereabouts::Message { span, is_copy: true } => span,
            Whereabouts::Message { span, is_copy: false } => buffer.copy(&self.ring, span),
            Whereabouts::Gone { to } => {
                self.miss(portion, number, to);
                return Ok(Acked::Late);
            }
        };
        if !self.show_progress(portion) {
            return Ok(Acked::Late);
        }
        let letter = Letter {
            sequence: portion.extent().begin.sequence + u64::from(number),
            key_hash: buffer.key_hash(copy),
            deliveries: portion.deliveries(number),
            reason,
            payload: buffer.payload(copy),
        };
        if let Some(file) = &self.dead_letters {
            // Whoever had it before may have died between the letter and the settling.
            if reason == Reason::Refused || !file.has_on_disk(letter.sequence)? {
                file.append(&letter)?;
            }
        }
        Ok(self.settle_as(layout::DEAD_LETTERS, portion, 1 << number))
    }
}
