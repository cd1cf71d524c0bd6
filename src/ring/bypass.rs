//! Whether stores are to go past this processor's caches.
//!
//! To the caches each line has to come that the readers' processors had last, and past them none. Of a
//! distant processor's lines that takes several times as long, of a near one's a fraction, and nothing
//! tells which it is but the time that it takes (perf-notes.md, "Long messages, past the caches", "Batches
//! past the caches" and "Batches past the caches, judged by a stretch").

use std::time::{Duration, Instant};

/// What goes past the caches comes to pass in any order, so that a fence has to stand behind it, and
/// who reads it waits for the memory. It has to pay for what is written up to one fence: now and then
/// a stretch goes to the caches by the clock, and if that is slow the next past them, by the clock too.
/// A stretch, since the first lines in another manner than before take longer than those that follow.
#[derive(Debug)]
pub(super) struct Bypass {
    /// Whether what is written next goes past the caches.
    pub(super) is_on: bool,
    /// Whether it is to be timed.
    is_due: bool,
    /// Whether that paid when it was found out last.
    paid: bool,
    /// Bytes a nanosecond of the last stretch to the caches, if it was slow and the next is to be
    /// compared with it.
    slow: Option<f64>,
    /// Bytes that make a stretch; what comes before them in the same manner, a quarter of that and the
    /// first of all at least, does not count.
    stretch: u64,
    /// Bytes in this manner so far; those of them that count, and the time that they took.
    seen: u64,
    timed: u64,
    timed_for: Duration,
    /// After how many steps one is due, the next time and each time.
    left: u32,
    interval: u32,
    /// How many in a row have been too small.
    small: u32,
}

impl Bypass {
    /// For as long as the answer stays the same, it is asked for half as often each time.
    const INTERVALS: core::ops::RangeInclusive<u32> = 8..=256;
    /// Bytes a nanosecond. From near caches lines come at 10 and more also on a busy machine, from distant
    /// ones at 3 and less.
    const SLOW: f64 = 5.0;
    const FASTER: f64 = 1.5;
    /// So many in a row are no rest of something larger.
    const SMALL_MAX: u32 = 8;
    /// A model check has no caches, and has to find the same each time.
    const IS_POSSIBLE: bool = cfg!(all(target_arch = "x86_64", not(loom)));

    pub(super) fn new(stretch: u64) -> Self {
        let interval = *Self::INTERVALS.start();
        Self {
            is_on: false,
            is_due: false,
            paid: false,
            slow: None,
            stretch,
            seen: 0,
            timed: 0,
            timed_for: Duration::ZERO,
            left: interval,
            interval,
            small: 0,
        }
    }

    /// One that never asks.
    #[cfg(test)]
    pub(super) fn always(is_on: bool) -> Self {
        Self { is_on, left: u32::MAX, ..Self::new(0) }
    }

    /// Comes a step nearer to the next time. There is about one a sector.
    pub(super) fn step(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.is_due = self.left == 0 && Self::IS_POSSIBLE;
    }

    /// Whether there is anything but to write to the caches, and to know nothing of it.
    #[inline(always)]
    pub(super) fn is_in_question(&self) -> bool {
        self.is_on || self.is_due
    }

    /// Before something is written for which the answer counts: when it began, if it is to be timed.
    /// Then it goes to [`Self::learn`], or the next one is timed in its stead.
    #[inline(always)]
    pub(super) fn begin(&mut self) -> Option<Instant> {
        if self.is_due { Some(self.begin_timed()) } else { None }
    }

    #[cold]
    fn begin_timed(&mut self) -> Instant {
        self.is_on = self.slow.is_some();
        Instant::now()
    }

    /// What follows from how long so many bytes took.
    pub(super) fn learn(&mut self, begun: Instant, size: u64) {
        self.keep();
        self.add(size, begun.elapsed());
    }

    fn add(&mut self, size: u64, time: Duration) {
        let before = self.seen;
        self.seen += size;
        if before == 0 || before < self.stretch / 4 {
            return;
        }
        self.timed += size;
        self.timed_for += time;
        if self.timed >= self.stretch {
            #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
            let rate = self.timed as f64 / self.timed_for.as_nanos() as f64;
            (self.seen, self.timed, self.timed_for) = (0, 0, Duration::ZERO);
            self.judge(rate);
        }
    }

    /// Something was not timed, and large enough.
    pub(super) fn keep(&mut self) {
        self.small = 0;
    }

    /// Something was too small to be worth the fence.
    pub(super) fn decline(&mut self) {
        self.small += 1;
        if self.small == Self::SMALL_MAX {
            self.conclude(false);
        }
    }

    fn judge(&mut self, rate: f64) {
        if self.slow.is_none() && rate < Self::SLOW {
            self.slow = Some(rate);
            return;
        }
        self.conclude(self.slow.is_some_and(|slow| rate > slow * Self::FASTER));
    }

    fn conclude(&mut self, pays: bool) {
        let (min, max) = Self::INTERVALS.into_inner();
        let interval = if pays == self.paid { max.min(self.interval * 2) } else { min };
        let (is_on, paid, left) = (pays, pays, interval);
        *self = Self { is_on, paid, left, interval, ..Self::new(self.stretch) };
    }
}

#[cfg(all(test, target_arch = "x86_64", not(loom)))]
mod tests {
    use super::{Bypass, Duration};

    const FAST: f64 = 2.0 * Bypass::SLOW;

    #[test]
    fn the_caches_are_gone_past_while_that_is_faster() {
        let mut bypass = Bypass::new(0);
        let mut after = |rates: &[f64]| {
            for &rate in rates {
                bypass.judge(rate);
            }
            (bypass.is_on, bypass.slow.is_some())
        };
        assert_eq!(after(&[FAST]), (false, false));
        assert_eq!(after(&[1.0]), (false, true), "the next one is timed too");
        assert_eq!(after(&[1.2]), (false, false), "slow both ways");
        assert_eq!(after(&[1.0, 2.0]), (true, false));
        assert_eq!(after(&[2.0, 2.2]), (false, false));
        assert_eq!(after(&[1.0, 2.0, FAST]), (false, false), "it has come near");
        // A clock that stands still.
        assert_eq!(after(&[f64::INFINITY]), (false, false));
    }

    #[test]
    fn an_answer_that_stays_the_same_is_asked_for_less_often() {
        let mut bypass = Bypass::new(0);
        let mut asked_after = |rates: &[f64]| {
            let mut count = 0;
            while bypass.begin().is_none() {
                bypass.step();
                count += 1;
            }
            for &rate in rates {
                assert!(bypass.begin().is_some(), "until it is known");
                bypass.judge(rate);
            }
            count
        };
        assert_eq!([(); 7].map(|()| asked_after(&[FAST])), [8, 16, 32, 64, 128, 256, 256]);
        assert_eq!([(); 3].map(|()| asked_after(&[1.0, 2.0])), [256, 8, 16]);
        assert_eq!([(); 3].map(|()| asked_after(&[FAST])), [32, 8, 16]);
    }

    /// What was slow because it was the first in its manner would turn a fast stream round.
    #[test]
    fn a_stretch_is_judged_and_not_how_it_begins() {
        for (stretch, [first, rest]) in [(64, [2, 8]), (0, [1, 1])] {
            let mut bypass = Bypass::new(stretch);
            (0..8).for_each(|_| bypass.step());
            for _ in 0..first {
                bypass.add(8, Duration::from_micros(1));
            }
            for _ in 0..rest {
                assert!(bypass.begin().is_some() && !bypass.is_on);
                bypass.add(8, Duration::from_nanos(1));
            }
            assert!(bypass.begin().is_none() && !bypass.is_on, "it is fast");
            (0..16).for_each(|_| bypass.step());
            for ns in [8, 1] {
                assert!(bypass.begin().is_some());
                (0..first + rest).for_each(|_| bypass.add(8, Duration::from_nanos(ns)));
            }
            assert!(bypass.begin().is_none() && bypass.is_on, "slow, and fast past the caches");
        }
    }

    #[test]
    fn what_came_to_nothing_is_not_learnt_from() {
        let mut bypass = Bypass::new(0);
        (0..8).for_each(|_| bypass.step());
        assert!(bypass.begin().is_some());
        bypass.judge(1.0);
        for _ in 0..3 {
            assert!(bypass.begin().is_some());
            assert!(bypass.is_on, "as long as it is to be compared");
        }
    }

    #[test]
    fn what_is_always_too_small_goes_to_the_caches_and_is_not_timed() {
        let mut bypass = Bypass::new(0);
        (0..8).for_each(|_| bypass.step());
        bypass.judge(1.0);
        bypass.judge(2.0);
        for _ in 0..3 {
            (1..Bypass::SMALL_MAX).for_each(|_| bypass.decline());
            assert!(bypass.is_on, "it may be the rest of something larger");
            bypass.keep();
        }
        (0..Bypass::SMALL_MAX).for_each(|_| bypass.decline());
        assert!(!bypass.is_on);
        assert!(bypass.begin().is_none());
        (0..8).for_each(|_| bypass.step());
        assert!(bypass.begin().is_some());
    }
}
