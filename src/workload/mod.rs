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
//! [`Offer::send`] sends messages at their intended times into any [`SendingEnd`], on any
//! [`Clock`]; [`serve`] takes them out of a [`ReceivingEnd`] and works on each for as long as was
//! drawn; [`account`] makes figures of what both wrote down, and [`replay`] plays the same chance
//! without a machine. [`send_stream`] and [`round_trips`] are the closed loops: as fast as it goes,
//! and to and fro. The queue's own ends are transports; for others there is [`check`], before
//! anything is timed. [`Board::ping`] is what the machine does with nothing in between, [`stalls`]
//! how long it does something else.
//!
//! The parts are there by themselves: [`Schedule`] releases messages at the intended times of
//! [`Arrival::times`], [`Service::times`] says how long to work on each, and a [`Meter`] takes the
//! three moments of each message and gives [`Measured`]. Latency counts from the intended time
//! throughout.
//!
//! # Units
//!
//! Times are nanoseconds (`_ns`), rates are a second (`_per_s`), parts of a whole (`_share`, and
//! the utilisation) are from 0 to 1, percentiles from 0 to 100.

mod arrival;
mod board;
mod error;
mod figures;
mod hdr;
mod load;
mod machine;
mod meter;
mod number;
mod random;
mod scenario;
mod schedule;
mod service;
mod shape;
mod simulation;
mod stats;
mod streaming;
pub mod theory;
mod trace;
mod transport;

#[cfg(test)]
mod tests;

pub use self::arrival::{Arrival, Arrivals};
pub use self::board::Board;
pub use self::error::Error;
pub use self::figures::Figures;
pub use self::hdr::{Timed, write_hdr_log};
pub use self::load::{Account, Offer, Offered, Record, Sample, Served, account, serve};
pub use self::machine::{Machine, MachineClock, Stalls, pin, processors, stalls, thread_cpu_ns};
pub use self::meter::{Measured, Meter};
pub use self::random::Random;
pub use self::scenario::{Bound, Scenario, WhenFull};
pub use self::schedule::{Clock, Due, Lateness, MockClock, Schedule};
pub use self::service::{Service, ServiceTimes};
pub use self::simulation::{
    Broadcast, BroadcastSimulated, Plan, Simulated, replay, replay_broadcast, simulate,
    simulate_broadcast,
};
pub use self::stats::{Interval, PERCENTILES, TimeAverage, carries, recurs, student_t};
pub use self::streaming::{
    StreamReceived, StreamSent, answer_round_trips, receive_stream, round_trips, send_stream,
};
pub use self::theory::{Basis, Prediction, highest_rate, predict};
pub use self::trace::Trace;
pub use self::transport::{ReceivingEnd, SendingEnd, Taken, check, read_lines};
