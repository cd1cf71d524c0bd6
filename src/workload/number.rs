//! Numbers: from texts, within bounds, and from one type to another.

use std::fmt::{Display, LowerExp};
use std::time::Duration;

use crate::workload::Error;

pub(super) const NS_PER_S: f64 = 1e9;

/// The longest time that an option may name. It keeps sums of them far from any overflow.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// `name:one,two` in its parts.
pub(super) fn name_and_values(text: &str) -> (&str, Vec<&str>) {
    match text.split_once(':') {
        Some((name, values)) => (name, values.split(',').collect()),
        None => (text, Vec::new()),
    }
}

/// A real number, which may not be infinite.
pub(super) fn real(what: &'static str, text: &str) -> Result<f64, Error> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| Error::form(what, text, "a number"))
}

/// A count.
pub(super) fn count(what: &'static str, text: &str) -> Result<u32, Error> {
    text.trim().parse().map_err(|_| Error::form(what, text, "a whole number"))
}

/// A time with its unit.
pub(super) fn time(what: &'static str, text: &str) -> Result<Duration, Error> {
    humantime::parse_duration(text.trim())
        .map_err(|_| Error::form(what, text, "a time with its unit, as in 500ns, 20us, 1.5ms"))
}

/// The time, if it is from 1 ns to a day.
pub(super) fn checked_time(what: &'static str, time: Duration) -> Result<Duration, Error> {
    if time.is_zero() || time > TIME_MAX {
        return Err(Error::bounds(what, show_time(time), "from 1ns to 24h"));
    }
    Ok(time)
}

/// The value, if it is from `least` to `most`. A NaN never is.
pub(super) fn within<T: PartialOrd + Display + LowerExp + Copy>(
    what: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<T, Error> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(Error::bounds(what, show(value), format_args!("from {} to {}", show(least), show(most))))
}

/// A number in full, unless it has more digits than anybody counts.
fn show(number: impl Display + LowerExp) -> String {
    const LENGTH_MAX: usize = 13;
    let full = number.to_string();
    if full.len() > LENGTH_MAX { format!("{number:e}") } else { full }
}

/// The shortest text in one unit that [`time`] reads as this very time.
pub(super) fn show_time(time: Duration) -> String {
    const UNITS: [(u128, &str); 4] =
        [(1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us"), (1, "ns")];
    let ns = time.as_nanos();
    let unit = UNITS.iter().find(|(size, _)| ns.is_multiple_of(*size));
    let (size, name) = unit.unwrap_or(&(1, "ns"));
    format!("{}{name}", ns / size)
}

/// The time in nanoseconds.
pub(super) fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * NS_PER_S
}

/// A count as a real number.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53, where they are exact")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// The whole part of a real number, or the nearest that there is.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion keeps to the bounds, and makes 0 of what is no number"
)]
pub(super) fn floor(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_they_are_read() {
        for text in ["1ns", "1500ns", "20us", "3ms", "61s", "999999999ns"] {
            assert_eq!(show_time(time("a time", text).unwrap()), text);
        }
        assert_eq!(show_time(time("a time", "1.5us").unwrap()), "1500ns");
        assert_eq!(show_time(Duration::ZERO), "0s");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "1", "us", "-1us", "1 parsec", "1e3us", "NaN", "\u{b5}s"] {
            assert!(time("a time", text).is_err(), "{text:?}");
        }
        for text in ["0s", "24h 1ns", "500000000years"] {
            assert!(checked_time("it", time("a time", text).unwrap()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bounds_hold_and_no_number_is_within_them() {
        assert!(within("it", 1.0, 1.0, 2.0).is_ok() && within("it", 2.0, 1.0, 2.0).is_ok());
        for outside in [0.9, 2.1, f64::NAN, f64::INFINITY] {
            assert!(within("it", outside, 1.0, 2.0).is_err());
        }
    }
}
