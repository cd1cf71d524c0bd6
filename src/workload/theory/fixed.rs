//! The distribution of the wait in M/D/1, without a sum of terms that cancel.
//!
//! The textbook's series (A. K. Erlang, 1909) has terms of both signs that grow without bound.
//! G. J. Franx (2001) gives the distribution of the wait by that of the number waiting, with
//! positive terms alone; and that of the number follows, with positive terms alone, from the
//! balance of steps up and steps down across each level (V. Ramaswami, 1988).

use std::sync::Arc;

use crate::workload::number::{float, floor};
use crate::workload::theory::tail::poisson_mean;

/// Levels whose probability is computed at most; those above fall in proportion.
const LEVELS_MAX: usize = 256;

/// No level above one as unlikely as this matters.
const NEGLIGIBLE: f64 = 1e-30;

/// The queue M/D/1 at a load below 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FixedService {
    load: f64,
    service_ns: f64,
    /// The probability of just so many messages, for each number that was computed.
    levels: Arc<[f64]>,
    /// The probability of more than so many, for each number that was computed.
    beyond: Arc<[f64]>,
    /// By which it becomes smaller from each number to the next above those.
    ratio: f64,
}

/// M/D/1/K.
pub(super) struct Bounded {
    /// The part of the messages that is lost.
    pub(super) loss_share: f64,
    /// One less that, and right also when it is small.
    pub(super) served_share: f64,
    /// How many wait on average.
    pub(super) waiting_mean: f64,
}

impl FixedService {
    /// The load is above 0 and below 1.
    pub(super) fn new(load: f64, service_ns: f64) -> Self {
        let more = more_arrivals(load);
        let none = (-load).exp();
        let mut levels = vec![1.0 - load];
        let (mut ratio, mut top) = (0.0, 0);
        while top + 1 < LEVELS_MAX && levels[top] > NEGLIGIBLE {
            // A service that begins with k messages ends above the top if more than top - k + 1
            // come meanwhile; one that begins with the first arrival, if more than the top do.
            let up = levels[0] * beyond(&more, top);
            let up = (1..=top).fold(up, |up, k| up + levels[k] * beyond(&more, top - k + 1));
            levels.push(up / none);
            top += 1;
            ratio = levels[top] / levels[top - 1];
        }
        let above = levels[top] * ratio / (1.0 - ratio);
        let mut beyond = vec![above; levels.len()];
        for level in (0..top).rev() {
            beyond[level] = beyond[level + 1] + levels[level + 1];
        }
        Self { load, service_ns, levels: levels.into(), beyond: beyond.into(), ratio }
    }

    pub(super) fn service_ns(&self) -> f64 {
        self.service_ns
    }

    /// The probability of more than so many messages, the one in service included, at any moment
    /// and for a message that comes.
    pub(super) fn more_than(&self, count: u64) -> f64 {
        let last = self.beyond.len() - 1;
        let index = usize::try_from(count).unwrap_or(usize::MAX);
        match self.beyond.get(index) {
            Some(&probability) => probability,
            None => self.beyond[last] * self.ratio.powf(float((index - last) as u64)),
        }
    }

    /// The same queue with so many places, and what finds none lost. Below as many the numbers that
    /// departures leave behind are in the same proportions as without a bound (H. C. Tijms, 2003, chapter
    /// 9), and those at any moment follow from them.
    pub(super) fn bounded(&self, places: u32) -> Bounded {
        let places = u64::from(places);
        // A message would find as many others or more without a bound, or fewer. Both are sums of
        // what is positive, because near a load of 1 the second is little.
        let full = self.more_than(places - 1);
        let (mut free, mut waiting) = (0.0, 0.0);
        for count in 0..places {
            let level = self.level(count);
            free += level;
            waiting += float(count.saturating_sub(1)) * level;
        }
        let all = (1.0 - self.load) + self.load * free;
        let loss_share = (1.0 - self.load) * full / all;
        Bounded {
            loss_share,
            served_share: free / all,
            waiting_mean: waiting / all + float(places - 1) * loss_share,
        }
    }

    /// The probability of just so many messages.
    fn level(&self, count: u64) -> f64 {
        let known = usize::try_from(count).ok().and_then(|index| self.levels.get(index));
        known.copied().unwrap_or_else(|| self.more_than(count - 1) * (1.0 - self.ratio))
    }

    /// The probability of a wait longer than that, which is not negative (G. J. Franx, 2001).
    pub(super) fn beyond(&self, time_ns: f64) -> f64 {
        let services = time_ns / self.service_ns;
        let whole = services.floor();
        let arrivals = self.load * (whole + 1.0 - services);
        let whole = floor(whole);
        poisson_mean(arrivals, |count| match whole.checked_sub(count) {
            Some(left) => self.more_than(left + 1),
            None => 1.0,
        })
    }
}

/// The probabilities of more than so many arrivals during a service: Poisson with this mean,
/// which is below 1. Summed from the small ones on.
fn more_arrivals(mean: f64) -> Vec<f64> {
    const COUNTS: u64 = 40;
    let mut probability = (-mean).exp();
    let mut more: Vec<f64> = (1..=COUNTS)
        .map(|count| {
            probability *= mean / float(count);
            probability
        })
        .collect();
    for count in (0..more.len() - 1).rev() {
        more[count] += more[count + 1];
    }
    more
}

fn beyond(more: &[f64], count: usize) -> f64 {
    more.get(count).copied().unwrap_or(0.0)
}
