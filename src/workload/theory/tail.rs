//! How likely a time is to be longer than another, and the percentiles that follow.

use std::sync::Arc;

use crate::workload::number;
use crate::workload::theory::fixed::FixedService;

/// The distribution of a time in nanoseconds: a fixed part, and a random one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tail {
    shift_ns: f64,
    law: Law,
}

/// The random part.
#[derive(Clone, Debug, PartialEq)]
enum Law {
    /// There is none.
    Nothing,
    /// With probability `share` exponential, else nothing.
    Exponential { share: f64, mean_ns: f64 },
    /// An exponential time after a wait that is [`Law::Exponential`].
    TwoExponentials { service_ns: f64, share: f64, wait_ns: f64 },
    /// A random number of exponential steps: `beyond[m]` is the probability of more than `m`. Past
    /// the end of the list each step makes it smaller by `ratio`.
    Steps { step_ns: f64, beyond: Arc<[f64]>, ratio: f64 },
    /// The wait in M/D/1.
    FixedService(FixedService),
}

impl Tail {
    /// Always this time.
    pub(super) fn always(shift_ns: f64) -> Self {
        Self { shift_ns, law: Law::Nothing }
    }

    /// With probability `share` exponential, else 0.
    pub(super) fn exponential(share: f64, mean_ns: f64) -> Self {
        Self { shift_ns: 0.0, law: Law::Exponential { share, mean_ns } }
    }

    /// The sum of an exponential service and an independent wait, which is exponential with
    /// probability `share` and else 0.
    pub(super) fn two_exponentials(service_ns: f64, share: f64, wait_ns: f64) -> Self {
        Self { shift_ns: 0.0, law: Law::TwoExponentials { service_ns, share, wait_ns } }
    }

    pub(super) fn steps(step_ns: f64, beyond: Vec<f64>, ratio: f64) -> Self {
        Self { shift_ns: 0.0, law: Law::Steps { step_ns, beyond: beyond.into(), ratio } }
    }

    pub(super) fn fixed_service(shift_ns: f64, wait: FixedService) -> Self {
        Self { shift_ns, law: Law::FixedService(wait) }
    }

    /// The time that only so many in a hundred exceed: the least that no more do. `None` unless
    /// `percentile` is from 0 on and below 100.
    pub(super) fn percentile_ns(&self, percentile: f64) -> Option<f64> {
        if !(0.0..100.0).contains(&percentile) {
            return None;
        }
        let target = (100.0 - percentile) / 100.0;
        Some(self.shift_ns + self.law.least_with_no_more_beyond(target))
    }

    #[cfg(test)]
    pub(super) fn beyond(&self, time_ns: f64) -> f64 {
        if time_ns < self.shift_ns { 1.0 } else { self.law.beyond(time_ns - self.shift_ns) }
    }
}

impl Law {
    /// The probability that it is longer than that, which is not negative.
    fn beyond(&self, time_ns: f64) -> f64 {
        match self {
            Self::Nothing => 0.0,
            Self::Exponential { share, mean_ns } => share * (-time_ns / mean_ns).exp(),
            Self::TwoExponentials { service_ns, share, wait_ns } => {
                let alone = (-time_ns / service_ns).exp();
                (1.0 - share) * alone + share * sum_beyond(*service_ns, *wait_ns, time_ns)
            }
            Self::Steps { step_ns, beyond, ratio } => {
                // As many steps are over by then as a Poisson process makes: uniformisation
                // (A. Jensen, 1953).
                poisson_mean(time_ns / step_ns, |steps| more_steps(beyond, *ratio, steps))
            }
            Self::FixedService(wait) => wait.beyond(time_ns),
        }
    }

    fn least_with_no_more_beyond(&self, target: f64) -> f64 {
        if self.beyond(0.0) <= target {
            return 0.0;
        }
        if let Self::Exponential { share, mean_ns } = self {
            return mean_ns * (share / target).ln();
        }
        let mut high = self.scale_ns();
        while self.beyond(high) > target && high.is_finite() {
            high *= 2.0;
        }
        let mut low = 0.0;
        // Until the two are neighbours, or nearly.
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                break;
            }
            if self.beyond(middle) > target { low = middle } else { high = middle }
        }
        high
    }

    /// A time of the order of its mean.
    fn scale_ns(&self) -> f64 {
        match self {
            Self::Nothing => 1.0,
            Self::Exponential { mean_ns, .. } => *mean_ns,
            Self::TwoExponentials { service_ns, .. } => *service_ns,
            Self::Steps { step_ns, .. } => *step_ns,
            Self::FixedService(wait) => wait.service_ns(),
        }
    }
}

/// The probability that the sum of two exponential times with these means is longer.
fn sum_beyond(one_ns: f64, other_ns: f64, time_ns: f64) -> f64 {
    let (short, long) = (one_ns.min(other_ns), one_ns.max(other_ns));
    // With rates a < b it is (b exp(-a t) - a exp(-b t)) / (b - a), which cancels when they are
    // near each other; exp(-a t) (1 + a (1 - exp(-(b - a) t)) / (b - a)) is the same and does not.
    let difference = (long - short) / (long * short);
    let growth = difference * time_ns;
    // (1 - exp(-x)) / x, which is 1 at 0.
    let mean_decay = if growth > 0.0 { -(-growth).exp_m1() / growth } else { 1.0 };
    (-time_ns / long).exp() * (1.0 + time_ns / long * mean_decay)
}

fn more_steps(beyond: &[f64], ratio: f64, steps: u64) -> f64 {
    let index = usize::try_from(steps).unwrap_or(usize::MAX);
    match (beyond.get(index), beyond.last()) {
        (Some(&probability), _) => probability,
        (None, Some(&last)) if ratio > 0.0 => {
            last * ratio.powf(number::float((index + 1 - beyond.len()) as u64))
        }
        (None, _) => 0.0,
    }
}

/// The mean of a function of a Poisson number. The weights are taken from the likeliest number
/// outwards, so that none underflows before it is small beside the others.
pub(super) fn poisson_mean(mean: f64, value: impl Fn(u64) -> f64) -> f64 {
    const NEGLIGIBLE: f64 = 1e-18;
    let likeliest = number::floor(mean);
    let (mut weights, mut sum) = (1.0, value(likeliest));
    let (mut weight, mut count) = (1.0, likeliest);
    while weight > NEGLIGIBLE {
        count += 1;
        weight *= mean / number::float(count);
        weights += weight;
        sum += weight * value(count);
    }
    let (mut weight, mut count) = (1.0, likeliest);
    while weight > NEGLIGIBLE && count > 0 {
        weight *= number::float(count) / mean;
        count -= 1;
        weights += weight;
        sum += weight * value(count);
    }
    sum / weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_two_exponentials_is_smooth_where_they_are_equal() {
        let erlang = |t: f64| (1.0 + t) * (-t).exp();
        for t in [0.0, 0.3, 1.0, 7.0, 50.0] {
            assert!((sum_beyond(1.0, 1.0, t) - erlang(t)).abs() < 1e-15);
            for near in [1e-14, 1e-9, 1e-6] {
                let sum = sum_beyond(1.0, 1.0 + near, t);
                assert!((sum / erlang(t) - 1.0).abs() < 60.0 * near + 1e-13, "{t} {near}");
            }
            let direct = (3.0 * (-t / 3.0).exp() - (-t).exp()) / 2.0;
            assert!((sum_beyond(3.0, 1.0, t) - direct).abs() < 1e-15);
            assert!((sum_beyond(1.0, 3.0, t) - direct).abs() < 1e-15);
        }
    }

    #[test]
    fn poisson_means_are_right_at_small_and_large_numbers() {
        for mean in [0.0, 1e-9, 0.5, 3.0, 800.0, 1e6] {
            let first = poisson_mean(mean, number::float);
            assert!((first - mean).abs() <= 1e-9 * mean, "{mean}: {first}");
            let second = poisson_mean(mean, |count| (number::float(count) - mean).powi(2));
            assert!((second - mean).abs() <= 1e-9 * mean, "{mean}: {second}");
        }
    }

    #[test]
    fn no_percentile_is_beyond_the_hundredth() {
        let tail = Tail::exponential(0.5, 1.0);
        for none in [-1.0, 100.0, 101.0, f64::NAN, f64::INFINITY] {
            assert_eq!(tail.percentile_ns(none), None, "{none}");
        }
        assert_eq!(tail.percentile_ns(0.0), Some(0.0));
        assert_eq!(tail.percentile_ns(50.0), Some(0.0));
        assert!(tail.percentile_ns(75.0).is_some_and(|t| (t - 2_f64.ln()).abs() < 1e-15));
    }
}
