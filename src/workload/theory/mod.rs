//! What queueing theory says of a scenario, how exactly, and by which formula.

mod chain;
mod fixed;
mod laws;
mod models;
mod renewal;
mod search;
mod tail;
#[cfg(test)]
mod tests;

pub use self::laws::{erlang_b, erlang_c, little, time_to_drain_s, time_to_fill_s};
pub use self::models::predict;
pub use self::search::highest_rate;

use std::fmt;

use crate::workload::Figures;
use crate::workload::theory::tail::Tail;

/// What theory says of a scenario. Made by [`predict`].
///
/// ```
/// use ringway::workload::{Arrival, Basis, Scenario, predict};
///
/// let scenario = Scenario::new(Arrival::poisson(), "exp:1ms".parse()?, 800.0, 1, None)?;
/// let prediction = predict(&scenario);
/// assert_eq!((prediction.model.as_str(), prediction.basis), ("M/M/1", Basis::Exact));
/// // 99 in 100 are through within 4.6 mean sojourns.
/// let p99 = prediction.sojourn_percentile_ns(99.0).expect("it has a closed form");
/// assert!((p99 / 5e6 - 100_f64.ln()).abs() < 1e-12);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The model in Kendall's notation: arrivals, service, servers, and places if there is a bound.
    pub model: String,
    /// Whether its figures are exact.
    pub basis: Basis,
    /// The formula by its name, and where it comes from.
    pub source: &'static str,
    /// Why this one, and what to know about it.
    pub why: &'static str,
    /// Whether the queue settles, instead of growing without end; `None` if that is not known,
    /// as of keys with a bound at which the producer waits.
    pub stable: Option<bool>,
    /// How much the queue grows, in messages a second: what comes less what can be served. 0 if
    /// it is stable, `None` if it is not known.
    pub growth_per_s: Option<f64>,
    /// The figures, unless there is no closed form. If the basis is an approximation, the
    /// utilisation, the throughput and the loss are exact all the same.
    pub figures: Option<Figures>,
    /// The part of the messages that find all places taken, if there is a bound and this has a
    /// closed form. They are lost, or wait with the producer.
    pub full_share: Option<f64>,
    wait: Option<Tail>,
    sojourn: Option<Tail>,
}

/// How far a prediction can be relied on.
///
/// ```
/// assert_eq!(ringway::workload::Basis::Approximation.to_string(), "approximation");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// It holds for the model as it stands.
    Exact,
    /// It is near, most of all at a high load.
    Approximation,
    /// There is no formula for it here: simulate.
    NoClosedForm,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Approximation => "approximation",
            Self::NoClosedForm => "no closed form",
        })
    }
}

impl Prediction {
    /// The wait in nanoseconds that only `100 - percentile` in a hundred messages exceed, if its
    /// distribution has a closed form. `None` too unless the percentile is from 0 on and below 100.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Scenario, predict};
    ///
    /// let scenario = Scenario::new(Arrival::poisson(), "exp:1ms".parse()?, 800.0, 1, None)?;
    /// // One in five does not wait at all.
    /// assert_eq!(predict(&scenario).wait_percentile_ns(20.0), Some(0.0));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn wait_percentile_ns(&self, percentile: f64) -> Option<f64> {
        self.wait.as_ref()?.percentile_ns(percentile)
    }

    /// The sojourn in nanoseconds that only `100 - percentile` in a hundred messages exceed, if
    /// its distribution has a closed form. `None` too unless the percentile is from 0 on and below
    /// 100.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Scenario, predict};
    ///
    /// let scenario = Scenario::new(Arrival::poisson(), "hyper:1ms,4".parse()?, 800.0, 1, None)?;
    /// // Of M/G/1 only the means are computed here, unless the service is fixed.
    /// assert_eq!(predict(&scenario).sojourn_percentile_ns(99.0), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn sojourn_percentile_ns(&self, percentile: f64) -> Option<f64> {
        self.sojourn.as_ref()?.percentile_ns(percentile)
    }

    /// Whether one of the figures, by its name in [`Figures::named`], is an approximation.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Scenario, predict};
    ///
    /// let scenario = Scenario::new(Arrival::erlang(2)?, "fixed:1ms".parse()?, 800.0, 1, None)?;
    /// let prediction = predict(&scenario);
    /// assert!(prediction.approximates("wait_mean_ns"));
    /// assert!(!prediction.approximates("utilisation"));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn approximates(&self, figure: &str) -> bool {
        const ALWAYS_EXACT: [&str; 3] = ["utilisation", "throughput_per_s", "loss_share"];
        self.basis == Basis::Approximation
            && self.stable == Some(true)
            && !ALWAYS_EXACT.contains(&figure)
    }
}
