//! Discrete-event simulation: what becomes of each message of a scenario, by the rules alone.
//!
//! It knows no formula, so that it checks them, and it answers where there are none.

mod broadcast;
mod sharing;
#[cfg(test)]
mod tests;

pub use self::broadcast::{Broadcast, BroadcastSimulated, replay_broadcast, simulate_broadcast};
pub use self::sharing::{Simulated, replay, simulate};

use crate::workload::arrival::Gaps;
use crate::workload::number::{self, NS_PER_S, float};
use crate::workload::{Arrival, Error, Random, ServiceTimes};

/// How long a simulation is, and by which chance.
///
/// ```
/// use ringway::workload::Plan;
///
/// let plan = Plan::new().messages(100_000)?.seed(7);
/// assert_eq!(plan, Plan::new().seed(7).messages(100_000)?);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Plan {
    messages: u64,
    seed: u64,
    confidence: f64,
}

impl Plan {
    /// The fewest messages.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Plan::MESSAGES_MIN, 1000);
    /// ```
    pub const MESSAGES_MIN: u64 = 1000;

    /// The most messages.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Plan::MESSAGES_MAX, 100_000_000);
    /// ```
    pub const MESSAGES_MAX: u64 = 100_000_000;

    /// A million messages, seed 1, intervals of 95 %.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Plan::new(), ringway::workload::Plan::default());
    /// ```
    pub fn new() -> Self {
        Self { messages: 1_000_000, seed: 1, confidence: 0.95 }
    }

    /// For so many messages on average, 1000 to 10^8. A tenth of them comes first, as a warm-up
    /// that does not count.
    ///
    /// ```
    /// let error = ringway::workload::Plan::new().messages(1).unwrap_err();
    /// assert!(error.to_string().contains("cannot be 1: it is from 1000 to 100000000"));
    /// ```
    pub fn messages(self, messages: u64) -> Result<Self, Error> {
        let messages = number::within(
            "the number of messages",
            messages,
            Self::MESSAGES_MIN,
            Self::MESSAGES_MAX,
        )?;
        Ok(Self { messages, ..self })
    }

    /// The seed of all chance in it. The same seed gives the same run.
    ///
    /// ```
    /// let plan = ringway::workload::Plan::new().seed(7);
    /// ```
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How likely the true figures are within their intervals, above 0 and below 1.
    ///
    /// ```
    /// let plan = ringway::workload::Plan::new().confidence(0.99)?;
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn confidence(self, confidence: f64) -> Result<Self, Error> {
        if !(confidence > 0.0 && confidence < 1.0) {
            return Err(Error::bounds("the confidence", confidence, "above 0 and below 1"));
        }
        Ok(Self { confidence, ..self })
    }

    /// When the window begins and how long it is, in nanoseconds.
    fn window_ns(&self, rate_per_s: f64) -> (f64, f64) {
        const WARM_UP: f64 = 0.1;
        let length = float(self.messages) / rate_per_s * NS_PER_S;
        (WARM_UP * length, length)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

/// When a window begins that is from one moment to another, and how long it is.
fn window_ns(from_ns: u64, to_ns: u64) -> Result<(f64, f64), Error> {
    let length_ns = to_ns.saturating_sub(from_ns);
    let length_ns = number::within("the window's length, in ns,", length_ns, 1, u64::MAX)?;
    Ok((float(from_ns), float(length_ns)))
}

/// Streams of the seed: who draws what.
pub(super) const ARRIVALS: u16 = 0;
const KEYS: u16 = 1;
pub(super) const SERVICES: u16 = 2;

/// A moment, or a length of time, in picoseconds. Whole numbers, so that what happens at the same
/// moment does: a server that becomes free just when the next message comes. Wide enough that the
/// longest draw of the heaviest tail cannot overflow the sum.
type Ticks = u128;

const TICKS_PER_NS: f64 = 1000.0;

fn to_ns(ticks: Ticks) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "53 bits are enough for what is averaged")]
    let ticks = ticks as f64;
    ticks / TICKS_PER_NS
}

/// The nearest, and 10^18 seconds for all that is longer.
fn to_ticks(ns: f64) -> Ticks {
    const LONGEST: f64 = 1e30;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is neither negative nor too large"
    )]
    let ticks = (ns * TICKS_PER_NS).clamp(0.0, LONGEST).round() as Ticks;
    ticks
}

/// When messages come, as ticks. What rounding takes from one gap, the next one gets.
struct Arrivals {
    gaps: Gaps,
    now: Ticks,
    part: f64,
}

impl Arrivals {
    fn new(arrival: &Arrival, rate_per_s: f64, seed: u64) -> Self {
        Self { gaps: arrival.gaps(rate_per_s, Random::new(seed, ARRIVALS)), now: 0, part: 0.0 }
    }

    fn next(&mut self) -> Ticks {
        let exact = self.gaps.next_ns() + self.part;
        let ticks = to_ticks(exact);
        self.part = exact - to_ns(ticks);
        self.now = self.now.saturating_add(ticks);
        self.now
    }
}

fn next_service(times: &mut ServiceTimes) -> Ticks {
    to_ticks(times.next_ns())
}
