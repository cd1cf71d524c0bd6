//! Waiting until what was sent is durable.

use super::Producer;
use super::room::Want;
use crate::error::Error;
use crate::ring::Extensions;
use crate::wait::{Next, Pace, Patience};

impl Producer {
    pub(super) fn flush_within(&mut self, patience: Patience) -> Result<bool, Error> {
        let fences = self.check_process()?;
        if self.check.is_none() {
            return Err(Error::NoJournal { queue: self.queue_name().into() });
        }
        let end = self.writer.place().position;
        if !self.is_durable(end) {
            self.writer.ring().ask_to_flush(end);
            self.call_sleepers(fences);
        }
        let mut pace = Pace::for_message(self.wait, patience.begin());
        loop {
            if !self.is_durable(end) {
                self.write_journal(end)?;
            }
            if self.is_durable(end) {
                if self.unflushed.take().is_some() {
                    self.tell_what_is_missing(None);
                }
                return Ok(true);
            }
            self.interruption.check(&self.segment)?;
            let next = pace.next();
            if !matches!(next, Next::Look) || pace.looks_around() {
                self.unflushed = Some(end);
                self.tell_what_is_missing(self.may_lack_space_below(end));
            }
            match next {
                Next::Look if pace.looks_around() => self.look_around()?,
                Next::Look => {}
                Next::Sleep(limit) => self.sleep(Want::Durable(end), limit)?,
                Next::TimedOut => return Ok(false),
            }
        }
    }

    pub(super) fn is_durable(&self, end: u64) -> bool {
        self.writer.ring().durable() >= end
    }

    pub(super) fn send_and_flush(
        &mut self,
        extensions: Extensions,
        payload: &[u8],
    ) -> Result<u64, Error> {
        if self.check.is_none() {
            return Err(Error::NoJournal { queue: self.queue_name().into() });
        }
        let sequence = self.send_patiently(extensions, payload)?;
        self.flush()?;
        Ok(sequence)
    }

    /// Has the journal go as far as that, if nobody else writes it and as far as there is space.
    pub(super) fn write_journal(&mut self, until: u64) -> Result<(), Error> {
        if self.writer.ring().has_journal_failed() {
            return Err(Error::JournalFailed { queue: self.queue_name().into() });
        }
        if let Some(historian) = self.historian()? {
            let written = historian.keep(until).and_then(|_| historian.make_durable());
            self.make_way();
            written?;
        }
        Ok(())
    }

    /// Where somebody needs something below, the files may have no space for what is to be durable up to
    /// `end`. Nobody does who keeps up with them.
    pub(super) fn may_lack_space_below(&self, end: u64) -> Option<u64> {
        let written = self.writer.ring().written();
        (written < end).then_some(written)
    }
}
