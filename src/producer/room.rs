//! Room for messages: what has to be on disk before it is overwritten, who is in the way, and waiting
//! for them.

use std::time::{Duration, Instant};

use super::Producer;
use crate::error::Error;
use crate::history::{Historian, Kept};
use crate::layout::{CONTROL, Control, HEADER, MEMBER, Word};
use crate::membership;
use crate::outcome::Holder;
use crate::registry;
use crate::ring::{Shape, Writer};
use crate::sleeper::{Errand, Order};
use crate::sync::{Ordering, fence};
use crate::wait::{Event, Next, Pace, Patience, Ticket};

/// A producer that is held looks whether those who hold it still live: at the first sign, and again
/// after as long as it has been held, within these limits.
const CLEAR_INTERVAL_MIN: Duration = Duration::from_millis(1);
const CLEAR_INTERVAL_MAX: Duration = Duration::from_millis(50);
/// Asking the kernel after many may take long; so many times as long passes until the next time.
const CLEAR_COST_FACTOR: u32 = 100;
/// Room for a message is asked for ahead if so many like it fill a sector: the licence, and with it
/// what readers that are not held for lose, is further on by one.
const PREPARED_PER_SECTOR: u64 = 16;

/// What a producer waits for.
#[derive(Clone, Copy)]
pub(super) enum Want {
    Room,
    /// That the journal has the stream up to there.
    Durable(u64),
}

impl Want {
    fn event(self) -> Word<Control, u32> {
        match self {
            Self::Room => CONTROL.room_event,
            Self::Durable(_) => CONTROL.data_event,
        }
    }
}

impl Producer {
    /// Has `reserve` make room, and waits for it as long as the patience lasts; `false` if it
    /// came to an end.
    #[cold]
    pub(super) fn make_room(
        &mut self,
        shape: Shape,
        patience: Patience,
        mut reserve: impl FnMut(&mut Writer, Shape) -> bool,
    ) -> Result<bool, Error> {
        self.check_size(shape.size)?;
        self.check_process()?;
        self.look_around_sometimes()?;
        let patience = patience.begin();
        while !reserve(&mut self.writer, shape) {
            if self.keep()? {
                continue;
            }
            self.held_since.get_or_insert_with(Instant::now);
            if !self.wait_for_room(patience)? {
                self.unflushed = None;
                return Ok(false);
            }
        }
        if self.held_since.take().is_some() || self.unflushed.is_some() {
            self.tell_what_is_missing(None);
        }
        self.fences.note_sector(self.writer.ring(), self.writer.next_sequence());
        self.note_rate();
        if let Some(historian) = &mut self.historian {
            // Refused is the message for which there is room by now.
            historian.tidy().inspect_err(|_| self.writer.confine())?;
            if !historian.has_files() {
                // Its directory is for whoever makes the next queue, however long this one idles.
                self.historian = None;
            }
        }
        Ok(true)
    }

    /// Tells the writer whether it is in a stream.
    fn note_rate(&mut self) {
        let enough = self.segment.geometry().sector_size() / 2;
        if let Some(is_stream) = self.rate.measure(self.writer.place().position, enough) {
            self.writer.set_stream(is_stream);
        }
    }

    /// Behind a message for which room had to be asked for: has the next one find it, unless that is to
    /// find out that the queue was removed.
    pub(super) fn prepare(&mut self, last: Shape) {
        let sector_size = self.segment.geometry().sector_size();
        let is_small = last.frame_size() as u64 <= sector_size / PREPARED_PER_SECTOR;
        if is_small && !self.writer.ring().is_removed() {
            self.writer.prepare(last);
        }
    }

    /// For who asks why the producer waits: who needs in files what lies below.
    pub(super) fn tell_what_is_missing(&self, in_files: Option<u64>) {
        let word = self.writer.ring().header(HEADER.must_keep);
        word.store(in_files.unwrap_or(0), Ordering::Relaxed);
    }

    /// Has what is about to be overwritten in the history, if anybody needs it; `false` if that was
    /// not what was missing, or cannot be done now.
    fn keep(&mut self) -> Result<bool, Error> {
        if self.writer.must_keep().is_none() {
            return Ok(false);
        }
        self.clear_dead_holders()?;
        let Some(until) = self.writer.must_keep() else { return Ok(true) };
        let has_journal = self.check.is_some();
        let Some(historian) = self.historian()? else { return Ok(false) };
        let kept = historian.keep(until);
        if has_journal {
            self.make_way();
        }
        if kept.is_err() {
            // Whoever gets the error may try again, and is held until there is room all the same.
            self.held_since.get_or_insert_with(Instant::now);
            self.tell_what_is_missing(Some(until));
        }
        Ok(kept? == Kept::Done && self.writer.must_keep().is_none())
    }

    /// Who is in the way of what was last waited for: consumers of their own, and named subscriptions.
    pub(super) fn holders(&self) -> Vec<Holder> {
        let ring = self.writer.ring();
        let (members, subscriptions) = match self.unflushed {
            Some(end) => {
                let below = self.may_lack_space_below(end).unwrap_or(0);
                ring.in_need_of_files(below, true)
            }
            None => (
                self.writer.holding_members().collect(),
                self.writer.holding_subscriptions().collect(),
            ),
        };
        let consumers = members.into_iter().map(|index| Holder::Consumer {
            member: index.get(),
            pid: ring.member(index).word(MEMBER.pid).load(Ordering::Relaxed),
        });
        let subscriptions = subscriptions.into_iter().filter_map(|index| {
            let members = ring.members_of(index);
            let living = members.filter(|&member| self.segment.member_lives(member)).count();
            Some(Holder::Subscription {
                queue: self.queue_name().to_owned(),
                name: ring.subscription(index)?.name(),
                members: u32::try_from(living).unwrap_or(u32::MAX),
            })
        });
        consumers.chain(subscriptions).collect()
    }

    /// For a journaler that is about to come. Whatever is in the way of removing what is too old, or of
    /// space, each message is not to pay for that.
    pub(super) fn make_way(&mut self) {
        if let Some(historian) = self.historian.take() {
            self.looks = historian.looks();
        }
    }

    /// Who appends to the history, if that can be the producer.
    pub(super) fn historian(&mut self) -> Result<Option<&mut Historian>, Error> {
        let now = Instant::now();
        let refused_lately = |last| now.duration_since(last) < CLEAR_INTERVAL_MAX;
        if self.historian.is_none() && !self.refused_at.is_some_and(refused_lately) {
            // Who cannot open its files, without its rights say, has no need to where another one lives.
            if !self.segment.historian_lives() {
                let ring = self.writer.ring();
                let mut taken = Historian::take(&self.segment, ring, registry::remove_expired)?;
                if let Some(historian) = &mut taken {
                    historian.set_looks(self.looks);
                }
                self.historian = taken;
            }
            self.refused_at = self.historian.is_none().then_some(now);
        }
        Ok(self.historian.as_mut())
    }

    fn wait_for_room(&mut self, patience: Patience) -> Result<bool, Error> {
        let sector_size = self.segment.geometry().sector_size();
        let mut pace = Pace::for_room(self.wait, patience, sector_size);
        loop {
            self.clear_dead_holders()?;
            self.keep()?;
            self.tell_what_is_missing(self.writer.must_keep());
            if self.writer.has_room() {
                return Ok(true);
            }
            if let Patience::None = patience {
                return Ok(false);
            }
            self.interruption.check(&self.segment)?;
            match pace.next() {
                Next::Look if pace.looks_around() => self.look_around()?,
                Next::Look => {}
                Next::Sleep(limit) => self.sleep(Want::Room, limit)?,
                Next::TimedOut => return Ok(false),
            }
        }
    }

    /// Sleeps until there may be what it wants, so long at most.
    pub(super) fn sleep(&self, want: Want, limit: Duration) -> Result<(), Error> {
        let limit = limit.min(self.sleep_max(want));
        if let Some(ticket) = self.announce_sleep(want) {
            Event::new(self.writer.ring().control(want.event())).sleep(ticket, limit);
        }
        self.look_around()
    }

    /// Lets another thread sleep until there may be what was last refused: announces that, and says
    /// what to sleep on. `None` if it may be there.
    pub(crate) fn order_sleep(&self) -> Result<Option<Order>, Error> {
        self.check_process()?;
        self.look_around()?;
        let want = self.unflushed.map_or(Want::Room, Want::Durable);
        let Some(ticket) = self.announce_sleep(want) else {
            self.interruption.check(&self.segment)?;
            return Ok(None);
        };
        let errand = Errand::new(&self.mapping, want.event(), None, ticket);
        Ok(Some(Order::new(vec![errand], self.sleep_max(want))))
    }

    /// Announces a sleep on the event of what it wants, and looks for that the last time; `None` if
    /// there is a reason not to sleep.
    fn announce_sleep(&self, want: Want) -> Option<Ticket> {
        let ticket = Event::new(self.writer.ring().control(want.event())).announce();
        // SeqCst: ROOM; WAKE where it is a journaler that calls.
        fence(Ordering::SeqCst);
        let has_to_wait = match want {
            Want::Room => !self.writer.has_room(),
            Want::Durable(end) => !self.is_durable(end),
        };
        (has_to_wait && self.interruption.is_calm()).then_some(ticket)
    }

    /// By then it has to look itself: who holds it, or writes the journal, may be dead.
    fn sleep_max(&self, want: Want) -> Duration {
        match want {
            Want::Room => {
                self.clear_at.map_or(CLEAR_INTERVAL_MIN, |at| at.duration_since(Instant::now()))
            }
            Want::Durable(_) => CLEAR_INTERVAL_MAX,
        }
    }

    /// Ends the membership of those who hold the producer and have died, if it is time to ask the
    /// kernel about them.
    fn clear_dead_holders(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.clear_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let ring = self.writer.ring();
        let holding: Vec<_> = self.writer.holding_subscriptions().collect();
        let members = self.writer.holding_members();
        let cleared = membership::clear_dead_holders(ring, &self.lock, members, &holding);
        let held = self.held_since.map_or(CLEAR_INTERVAL_MAX, |since| now.duration_since(since));
        let interval = held.max(now.elapsed() * CLEAR_COST_FACTOR);
        self.clear_at = Some(now + interval.clamp(CLEAR_INTERVAL_MIN, CLEAR_INTERVAL_MAX));
        cleared?;
        registry::remove_expired(&self.segment, ring, &holding)
    }
}
