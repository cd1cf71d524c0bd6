//! The laboratory: when messages are offered, and how long servers take for them.

mod arrival;
mod error;
mod figures;
mod number;
mod random;
mod scenario;
mod service;
mod shape;
pub mod theory;
mod trace;

#[cfg(test)]
mod tests;

pub use self::arrival::{Arrival, Arrivals};
pub use self::error::Error;
pub use self::figures::Figures;
pub use self::random::Random;
pub use self::scenario::{Bound, Scenario, WhenFull};
pub use self::service::{Service, ServiceTimes};
pub use self::theory::{Basis, Prediction, predict};
pub use self::trace::Trace;
