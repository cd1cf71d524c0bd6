//! GI/M/c: any independent gaps, exponential service.

use crate::workload::Arrival;
use crate::workload::number::NS_PER_S;

/// What a message finds.
pub(super) struct Found {
    /// The probability that it has to wait.
    pub(super) waits: f64,
    /// One less the ratio by which one more that waits is less likely.
    pub(super) free: f64,
}

/// `None` if the gaps are not independent, or their transform has no closed form. The load is above 0
/// and below 1.
///
/// With A the Laplace transform of the gaps, c servers, of mu each, and sigma the [root](free_share), a
/// message waits with the probability (L. Takacs, 1962; D. Gross, C. M. Harris, 1998, chapter 5)
///
/// ```text
///   1 / (1 + (1 - sigma) sum over j from 1 to c of
///                                    (c over j)        c (1 - A(j mu)) - j
///                                -------------------- --------------------- )
///                                C(j) (1 - A(j mu))     c (1 - sigma) - j
/// ```
///
/// where C(j) is the product of A(i mu) / (1 - A(i mu)) for i from 1 to j. No term is negative, because
/// both sides of the last fraction change their sign at the root.
pub(super) fn found(
    arrival: &Arrival,
    rate_per_s: f64,
    service_ns: f64,
    servers: u32,
) -> Option<Found> {
    let service_rate_per_s = NS_PER_S / service_ns;
    let free = free_share(arrival, rate_per_s, service_ns / f64::from(servers))?;
    let all = f64::from(servers);
    let root = all * free;
    let complement = |ends: f64| arrival.laplace_complement(rate_per_s, service_rate_per_s * ends);
    let slope = |ends: f64| Some((all * complement(ends)? - ends) / (root - ends));
    let (mut sum, mut ways) = (0.0, 1.0);
    for busy in 1..=servers {
        let ends = f64::from(busy);
        let longer = complement(ends)?;
        let shorter = 1.0 - longer;
        ways *= (all + 1.0 - ends) / ends * longer / shorter;
        sum += ways / longer * smooth(ends, root, slope)?;
    }
    // So many gaps that are so much longer than service that nobody waits.
    let waits = if sum.is_finite() { (1.0 + free * sum).recip() } else { 0.0 };
    Some(Found { waits, free })
}

/// The value of a function that is smooth, and is computed as a difference over another that both
/// vanish at the root: by its values on both sides where it is nearer than rounding allows.
fn smooth(at: f64, root: f64, of: impl Fn(f64) -> Option<f64>) -> Option<f64> {
    const NEAR: f64 = 1e-4;
    const APART: f64 = 1e-3;
    if (at - root).abs() > NEAR {
        return of(at);
    }
    let around = |apart: f64| Some(f64::midpoint(of(at - apart)?, of(at + apart)?));
    // The two errors by the square of the distance cancel (L. F. Richardson, 1911).
    Some((4.0 * around(APART)? - around(2.0 * APART)?) / 3.0)
}

/// One less sigma: of the equation `sigma = A(mu (1 - sigma))`, with A the Laplace transform of the
/// gaps and mu what all servers can do, the root below 1 (D. G. Kendall, 1953). Each message finds all
/// servers at work and n or more waiting with a probability in proportion to `sigma^n`.
///
/// Returned is `1 - sigma`, which keeps its precision near a load of 1.
fn free_share(arrival: &Arrival, rate_per_s: f64, step_ns: f64) -> Option<f64> {
    let service_rate_per_s = NS_PER_S / step_ns;
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
