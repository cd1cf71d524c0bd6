//! GI/M/1: any independent gaps, exponential service.

use crate::workload::Arrival;
use crate::workload::number::NS_PER_S;

/// The probability that a message has to wait, sigma: of the equation
/// `sigma = A(mu (1 - sigma))`, with A the Laplace transform of the gaps, the root below 1
/// (D. G. Kendall, 1953). Each message finds n or more others with probability `sigma^n`.
///
/// Returned is `1 - sigma`, which keeps its precision near a load of 1. `None` if the gaps are not
/// independent, or their transform has no closed form. The load is below 1.
pub(super) fn free_share(arrival: &Arrival, rate_per_s: f64, service_ns: f64) -> Option<f64> {
    let service_rate_per_s = NS_PER_S / service_ns;
    let excess = |free: f64| {
        let complement = arrival.laplace_complement(rate_per_s, service_rate_per_s * free)?;
        Some(complement - free)
    };
    excess(1.0)?;
    // It is above 0 up to the root, as its slope at 0 is 1 / load - 1, and below after it.
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if excess(middle)? > 0.0 { low = middle } else { high = middle }
    }
    Some(high)
}
