//! The laboratory: arrivals, service times, what theory says of them, and simulation.
//!
//! A [`Scenario`] is messages that come in a pattern ([`Arrival`]) at a rate, and servers that take
//! so long for each ([`Service`]). [`predict`] says what queueing theory makes of it, and how
//! exactly; [`simulate`] plays it message by message. Both, and a measurement that feeds a
//! [`Meter`], come to the same [`Figures`], so that each can be held against the others.
//!
//! ```
//! use ringway::workload::{Arrival, Plan, Scenario, predict, simulate};
//!
//! // 800 messages a second for one consumer that takes a millisecond on average.
//! let scenario = Scenario::new(Arrival::poisson(), "exp:1ms".parse()?, 800.0, 1, None)?;
//! let theory = predict(&scenario).figures.expect("M/M/1 has closed forms");
//! assert!((theory.in_system_mean - 4.0).abs() < 1e-9); // L, a count
//! assert!((theory.sojourn_mean_ns - 5e6).abs() < 1e-3); // W, 5 ms
//! assert!((theory.wait_mean_ns - 4e6).abs() < 1e-3); // Wq, 4 ms
//!
//! let simulated = simulate(&scenario, &Plan::new().messages(20_000)?)?.measured;
//! println!("W is {} ns, more or less {} ns", simulated.figures.sojourn_mean_ns,
//!     simulated.half_widths.sojourn_mean_ns);
//! # Ok::<(), ringway::workload::Error>(())
//! ```
//!
//! # A run of one's own
//!
//! [`Schedule`] releases messages at the intended times of [`Arrival::times`], on any [`Clock`];
//! [`Service::times`] says how long to work on each; a [`Meter`] takes the three moments of each
//! message and gives [`Measured`]. Latency counts from the intended time throughout.
//!
//! Nothing here touches a queue, or the machine's clock.
//!
//! # Units
//!
//! Times are nanoseconds (`_ns`), rates are a second (`_per_s`), parts of a whole (`_share`, and
//! the utilisation) are from 0 to 1, percentiles from 0 to 100.

mod arrival;
mod error;
mod figures;
mod meter;
mod number;
mod random;
mod scenario;
mod schedule;
mod service;
mod shape;
mod simulation;
mod stats;
pub mod theory;
mod trace;

#[cfg(test)]
mod tests;

pub use self::arrival::{Arrival, Arrivals};
pub use self::error::Error;
pub use self::figures::Figures;
pub use self::meter::{Measured, Meter};
pub use self::random::Random;
pub use self::scenario::{Bound, Scenario, WhenFull};
pub use self::schedule::{Clock, Due, Lateness, MockClock, Schedule};
pub use self::service::{Service, ServiceTimes};
pub use self::simulation::{
    Broadcast, BroadcastSimulated, Plan, Simulated, simulate, simulate_broadcast,
};
pub use self::stats::{Interval, PERCENTILES, TimeAverage, carries, student_t};
pub use self::theory::{Basis, Prediction, predict};
pub use self::trace::Trace;
