//! Times in nanoseconds, comparable between processes.

use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    u64::try_from(time.tv_sec()).expect("after 1970") * 1_000_000_000
        + u64::try_from(time.tv_nsec()).expect("below a second")
}

/// Since the machine's start.
#[inline]
pub(crate) fn now() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Processor time of this process.
pub(crate) fn process_cpu() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// Processor time of this thread.
#[cfg(feature = "threads")]
pub(crate) fn thread_cpu() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// What one reading costs: the median of some.
pub(crate) fn cost() -> f64 {
    let mut costs = [0; 501];
    for cost in &mut costs {
        let begin = now();
        *cost = now() - begin;
    }
    costs.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let median = costs[costs.len() / 2] as f64;
    median
}

/// For times up to a minute, to a thousandth.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("bounds that it can have")
}
