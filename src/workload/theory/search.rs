//! The highest rate that keeps to a limit.

use crate::workload::Scenario;
use crate::workload::theory::{Prediction, predict};

/// Rates are known to this part of themselves.
const PRECISION: f64 = 1e-9;

/// The scenario at the highest rate at which what theory says of it is as `keeps` asks, which has to
/// get worse as the rate rises, as waits, percentiles and losses do. `None` if it is not so even at the
/// lowest rate, and the one at [the highest](Scenario::RATE_MAX_PER_S) if it is so even there.
///
/// ```
/// use ringway::workload::{Arrival, Scenario, highest_rate};
///
/// // How much for one consumer of 10 us, if 99 in 100 messages are to be through within 200 us?
/// let scenario = Scenario::new(Arrival::poisson(), "exp:10us".parse()?, 1.0, 1, None)?;
/// let found = highest_rate(&scenario, |theory| {
///     theory.sojourn_percentile_ns(99.0).is_some_and(|p99| p99 <= 200e3)
/// });
/// // Of M/M/1 the sojourn is exponential, with what the server has to spare as its rate.
/// let rate = found.expect("one message alone is in time").rate_per_s();
/// assert!((rate - (1e5 - 100_f64.ln() / 200e-6)).abs() < 0.01);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[must_use]
pub fn highest_rate(scenario: &Scenario, keeps: impl Fn(&Prediction) -> bool) -> Option<Scenario> {
    let keeping = |rate: f64| {
        let scenario = scenario.clone().at_rate(rate).ok()?;
        keeps(&predict(&scenario)).then_some(scenario)
    };
    let (mut low, mut high) = (Scenario::RATE_MIN_PER_S, Scenario::RATE_MAX_PER_S);
    if let Some(highest) = keeping(high) {
        return Some(highest);
    }
    let mut best = keeping(low)?;
    while high / low > 1.0 + PRECISION {
        let middle = low.sqrt() * high.sqrt();
        match keeping(middle) {
            Some(scenario) => (low, best) = (middle, scenario),
            None => high = middle,
        }
    }
    Some(best)
}
