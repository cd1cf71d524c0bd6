//! M/M/c/K: the stationary distribution of a birth-death chain with a last state.

use crate::workload::number::float;
use crate::workload::theory::tail::Tail;

/// The probabilities of 0 to K messages (L. Kleinrock, 1975, chapter 3).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    servers: usize,
    probabilities: Vec<f64>,
}

impl Chain {
    /// `offered` is above 0; there are no fewer places than servers, and one at least.
    pub(super) fn new(servers: u32, offered: f64, places: u32) -> Self {
        // By logarithms, because the products overflow and underflow within a few hundred steps.
        let steps = (1..=places).map(|count| (offered / f64::from(count.min(servers))).ln());
        let logarithms: Vec<f64> = std::iter::once(0.0)
            .chain(steps.scan(0.0, |sum, step| {
                *sum += step;
                Some(*sum)
            }))
            .collect();
        let greatest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut probabilities: Vec<f64> =
            logarithms.into_iter().map(|logarithm| (logarithm - greatest).exp()).collect();
        let sum: f64 = probabilities.iter().sum();
        for probability in &mut probabilities {
            *probability /= sum;
        }
        Self { servers: servers as usize, probabilities }
    }

    /// The probability that all places are taken, at any moment and for a message that comes.
    pub(super) fn full(&self) -> f64 {
        self.probabilities[self.probabilities.len() - 1]
    }

    /// The probability that a place is free. One less [`Self::full`], and right also when that is
    /// nearly one.
    pub(super) fn free(&self) -> f64 {
        self.accepted().iter().sum()
    }

    /// The mean number of messages, and of those that wait.
    pub(super) fn means(&self) -> (f64, f64) {
        let mean_above = |servers: usize| {
            let above = self.probabilities.iter().skip(servers).enumerate();
            above.map(|(count, probability)| float(count as u64) * probability).sum::<f64>()
        };
        (mean_above(0), mean_above(self.servers))
    }

    /// The wait and the sojourn of a message that finds a place. While all servers work, one of
    /// them ends after an exponential time, whatever they are at: a message that finds n others
    /// waits for n - c + 1 such ends. Its own service is then as if each further end were its own
    /// with probability 1/c.
    pub(super) fn tails(&self, service_ns: f64) -> (Tail, Tail) {
        let servers = float(self.servers as u64);
        let step_ns = service_ns / servers;
        let found = self.free();
        // More than m ends are to be waited for if it finds m + c others or more.
        let mut waits: Vec<f64> = self.accepted().iter().skip(self.servers).copied().collect();
        let mut more = 0.0;
        for probability in waits.iter_mut().rev() {
            more += *probability / found;
            *probability = more;
        }
        let not_its_own = 1.0 - servers.recip();
        let mut sojourns = Vec::with_capacity(waits.len() + 1);
        let mut in_service = 0.0;
        let mut more_before = 1.0;
        for more in waits.iter().copied().chain([0.0]) {
            in_service = not_its_own * in_service + (more_before - more);
            sojourns.push(in_service + more);
            more_before = more;
        }
        (Tail::steps(step_ns, waits, 0.0), Tail::steps(step_ns, sojourns, not_its_own))
    }

    /// The probabilities of the numbers that a message finds which gets a place.
    fn accepted(&self) -> &[f64] {
        &self.probabilities[..self.probabilities.len() - 1]
    }
}
