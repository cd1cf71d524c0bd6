//! Laws that hold for themselves, and that more than one model stands on.

use crate::workload::number::NS_PER_S;

/// Erlang's loss formula, B: the part of the messages that find all of `servers` busy, when
/// messages come as a Poisson process, none may wait, and `offered` servers would be busy on
/// average if there were enough. NaN if `offered` is negative or infinite.
///
/// By the recursion over the number of servers, which neither overflows nor cancels (A. K.
/// Erlang, 1917).
///
/// ```
/// use ringway::workload::theory::erlang_b;
///
/// assert_eq!(erlang_b(1, 1.0), 0.5);
/// assert!((erlang_b(10, 5.0) - 0.01838).abs() < 1e-5);
/// ```
#[must_use]
pub fn erlang_b(servers: u32, offered: f64) -> f64 {
    if !(offered >= 0.0 && offered.is_finite()) {
        return f64::NAN;
    }
    (1..=servers).fold(1.0, |blocked, servers| {
        let busy = offered * blocked;
        busy / (f64::from(servers) + busy)
    })
}

/// Erlang's delay formula, C: the part of the messages that have to wait in M/M/c. It is 1 from
/// a load of 1 on, and NaN if `offered` is negative or infinite. (A. K. Erlang, 1917.)
///
/// ```
/// use ringway::workload::theory::erlang_c;
///
/// assert!((erlang_c(4, 3.2) - 0.5964).abs() < 5e-5);
/// assert_eq!(erlang_c(4, 4.0), 1.0);
/// ```
#[must_use]
pub fn erlang_c(servers: u32, offered: f64) -> f64 {
    let blocked = erlang_b(servers, offered);
    let load = offered / f64::from(servers);
    if load >= 1.0 && offered.is_finite() {
        return 1.0;
    }
    blocked / (1.0 - load * (1.0 - blocked))
}

/// Little's law: how many are there on average, when so many a second come and each stays so
/// long (J. D. C. Little, 1961). It holds for the whole, for what waits, and for what is in
/// service: then it is the utilisation law (P. J. Denning and J. P. Buzen, 1978).
///
/// ```
/// use ringway::workload::theory::little;
///
/// // 800 messages a second that stay 5 ms each: 4 are there.
/// assert_eq!(little(800.0, 5e6), 4.0);
/// // 800 a second that are served for 1 ms each keep 0.8 servers busy.
/// assert_eq!(little(800.0, 1e6), 0.8);
/// ```
#[must_use]
pub fn little(rate_per_s: f64, mean_ns: f64) -> f64 {
    rate_per_s * mean_ns / NS_PER_S
}

/// How long until so many places are full, in seconds, when messages come and go at these rates:
/// what is left of a queue if chance is taken out of it, the fluid model (G. F. Newell, 1971).
/// Infinite if no more come than go.
///
/// ```
/// use ringway::workload::theory::time_to_fill_s;
///
/// assert_eq!(time_to_fill_s(1000.0, 1200.0, 1000.0), 5.0);
/// assert_eq!(time_to_fill_s(1000.0, 1000.0, 1000.0), f64::INFINITY);
/// ```
#[must_use]
pub fn time_to_fill_s(places: f64, rate_in_per_s: f64, rate_out_per_s: f64) -> f64 {
    let growth = rate_in_per_s - rate_out_per_s;
    if growth > 0.0 { places / growth } else { f64::INFINITY }
}

/// How long until a backlog of so many messages is worked off, in seconds, when messages come
/// and go at these rates: the fluid model again. Infinite if no more go than come.
///
/// ```
/// use ringway::workload::theory::time_to_drain_s;
///
/// assert_eq!(time_to_drain_s(1000.0, 800.0, 1000.0), 5.0);
/// ```
#[must_use]
pub fn time_to_drain_s(backlog: f64, rate_in_per_s: f64, rate_out_per_s: f64) -> f64 {
    time_to_fill_s(backlog, rate_out_per_s, rate_in_per_s)
}
