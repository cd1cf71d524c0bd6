//! How far numbers from a run can be trusted.

use crate::workload::number::float;
use crate::workload::{Error, number};

/// The percentiles that a run reports, as far as its samples [carry](carries) them and [recur](recurs).
///
/// ```
/// assert_eq!(ringway::workload::PERCENTILES[0], 50.0);
/// ```
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999];

/// Whether so many samples carry a percentile: ten of them or more have to lie beyond it. With
/// fewer it is one sample's chance. Samples that follow each other in a queue are alike, so that
/// this alone asks for too few, and [`recurs`] for more.
///
/// ```
/// use ringway::workload::carries;
///
/// assert!(carries(1000, 99.0) && !carries(999, 99.0));
/// assert!(!carries(1000, 100.0));
/// ```
#[must_use]
pub fn carries(samples: u64, percentile: f64) -> bool {
    const BEYOND_MIN: f64 = 10.0;
    // 100 - 99.999 is a little less than it should be.
    const ROUNDING: f64 = 1e-9;
    float(samples) * (100.0 - percentile) / 100.0 >= BEYOND_MIN * (1.0 - ROUNDING)
}

/// Whether times as long as this came again and again, by the longest time of each of about 32 parts
/// of a run: in ten of them or more. The longest waits of a run are those of a few busy periods, in each
/// of which many messages wait as long, so that ten messages beyond a percentile may be of one: of
/// M/M/1 at a load of 0.95 the 99.99th percentile of 2.5 s was within a tenth of the true one in 5 of
/// 100 runs.
///
/// ```
/// use ringway::workload::recurs;
///
/// let longest = [7, 9, 8, 7, 9, 7, 8, 9, 7, 7, 1, 2];
/// assert!(recurs(longest, 7) && !recurs(longest, 8));
/// ```
#[must_use]
pub fn recurs(longest_of_parts: impl IntoIterator<Item = u64>, time: u64) -> bool {
    const PARTS_MIN: usize = 10;
    longest_of_parts.into_iter().filter(|longest| *longest >= time).count() >= PARTS_MIN
}

/// A mean, and how far the true one may be from it.
///
/// ```
/// use ringway::workload::Interval;
///
/// // Five batches of a run, and where the mean is with a confidence of 95 %.
/// let interval = Interval::of_batches(&[4.0, 5.0, 6.0, 5.0, 5.0], 0.95)?;
/// assert_eq!(interval.mean, 5.0);
/// assert!((interval.half_width - 0.878).abs() < 0.001);
/// assert!(interval.contains(5.5) && !interval.contains(6.0));
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the batches.
    pub mean: f64,
    /// The interval is this much less and this much more.
    pub half_width: f64,
}

impl Interval {
    /// The mean of batches, and its interval by Student's t distribution (Student, 1908). The
    /// batches of a run are far less alike than its samples are, if they are long enough: that
    /// is the method of batch means (R. W. Conway, 1963). Two batches at least, and a confidence
    /// above 0 and below 1.
    ///
    /// ```
    /// assert!(ringway::workload::Interval::of_batches(&[1.0], 0.95).is_err());
    /// ```
    pub fn of_batches(batches: &[f64], confidence: f64) -> Result<Self, Error> {
        let count = u32::try_from(batches.len()).unwrap_or(u32::MAX);
        let count = number::within("the number of batches", count, 2, u32::MAX)?;
        let quantile = student_t(count - 1, confidence)?;
        let mean = batches.iter().sum::<f64>() / f64::from(count);
        let squares: f64 = batches.iter().map(|batch| (batch - mean).powi(2)).sum();
        let variance_of_mean = squares / f64::from(count - 1) / f64::from(count);
        Ok(Self { mean, half_width: quantile * variance_of_mean.sqrt() })
    }

    /// Whether the value is in it, its ends included.
    ///
    /// ```
    /// let interval = ringway::workload::Interval { mean: 1.0, half_width: 0.5 };
    /// assert!(interval.contains(1.5));
    /// ```
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (value - self.mean).abs() <= self.half_width
    }
}

/// The time average of a number that goes up and down: how many messages there are, from the
/// moments at which they come and go.
///
/// ```
/// use ringway::workload::TimeAverage;
///
/// // One message from 2 to 6, another from 3 to 5: six in all within ten.
/// let mut average = TimeAverage::new(0, 10);
/// for (at_ns, change) in [(2, 1), (3, 1), (5, -1), (6, -1)] {
///     average.change(at_ns, change);
/// }
/// assert_eq!(average.mean(), 0.6);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TimeAverage {
    begin: u128,
    end: u128,
    now: u128,
    level: i64,
    /// Level times length of time within the window.
    area: f64,
}

impl TimeAverage {
    /// From one moment to another, in nanoseconds since the beginning of the run; at level 0
    /// before the first change.
    ///
    /// ```
    /// assert_eq!(ringway::workload::TimeAverage::new(0, 1).mean(), 0.0);
    /// ```
    #[must_use]
    pub fn new(begin_ns: u64, end_ns: u64) -> Self {
        Self::over(begin_ns.into(), end_ns.max(begin_ns).into())
    }

    /// The same in whatever unit of time. The end is not before the beginning.
    pub(super) fn over(begin: u128, end: u128) -> Self {
        Self { begin, end, now: 0, level: 0, area: 0.0 }
    }

    /// The level goes up, or down, by so much at this moment. Changes come in the order of time,
    /// those before and after the window too; one that is late counts from the last one on.
    ///
    /// ```
    /// let mut average = ringway::workload::TimeAverage::new(10, 20);
    /// average.change(5, 3);
    /// assert_eq!(average.mean(), 3.0);
    /// ```
    pub fn change(&mut self, at_ns: u64, by: i64) {
        self.change_at(at_ns.into(), by);
    }

    pub(super) fn change_at(&mut self, at: u128, by: i64) {
        self.area += self.area_until(at);
        self.now = self.now.max(at);
        self.level = self.level.saturating_add(by);
    }

    /// The average over the whole window, if nothing changes any more; 0 if the window has no
    /// length.
    ///
    /// ```
    /// let mut average = ringway::workload::TimeAverage::new(0, 4);
    /// average.change(3, 1);
    /// assert_eq!(average.mean(), 0.25);
    /// ```
    #[must_use]
    pub fn mean(&self) -> f64 {
        let length = self.end - self.begin;
        #[allow(clippy::cast_precision_loss, reason = "53 bits are enough of a divisor")]
        if length > 0 { (self.area + self.area_until(self.end)) / length as f64 } else { 0.0 }
    }

    fn area_until(&self, at: u128) -> f64 {
        let from = self.now.clamp(self.begin, self.end);
        let to = at.clamp(self.begin, self.end);
        // A difference of whole numbers, which late in a long run one of `f64` would not be.
        #[allow(clippy::cast_precision_loss, reason = "levels are far below 2^53")]
        let (level, length) = (self.level as f64, to.saturating_sub(from) as f64);
        level * length
    }
}

/// By how many standard errors a mean may be off, to either side, with this confidence: the
/// two-sided quantile of Student's t distribution. The confidence is above 0 and below 1, and
/// there is one degree of freedom or more.
///
/// ```
/// use ringway::workload::student_t;
///
/// assert!((student_t(10, 0.95)? - 2.228).abs() < 0.0005);
/// assert!((student_t(1, 0.9)? - 6.314).abs() < 0.0005);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
pub fn student_t(degrees: u32, confidence: f64) -> Result<f64, Error> {
    let degrees = number::within("the degrees of freedom", degrees, 1, u32::MAX)?;
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::bounds("the confidence", confidence, "above 0 and below 1"));
    }
    // Above so many the distribution is normal to four digits, and the series has as many terms.
    let degrees = degrees.min(DEGREES_MAX);
    // By the angle atan(t / sqrt(degrees)), which has bounds.
    let (mut low, mut high) = (0.0, std::f64::consts::FRAC_PI_2);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if within_angle(middle, degrees) < confidence { low = middle } else { high = middle }
    }
    Ok(low.tan() * f64::from(degrees).sqrt())
}

const DEGREES_MAX: u32 = 10_000;

/// The probability of a t within `sqrt(degrees) tan(angle)` of 0, by the finite series of odd and
/// even degrees (M. Abramowitz and I. Stegun, 1964, 26.7.3 and 26.7.4).
fn within_angle(angle: f64, degrees: u32) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = if degrees == 1 { 0.0 } else { term };
    let mut next = if odd { 3 } else { 2 };
    while next < degrees {
        term *= cosine * cosine * f64::from(next - 1) / f64::from(next);
        sum += term;
        next += 2;
    }
    if odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_t_is_that_of_the_tables() {
        for (degrees, confidence, table) in [
            (1, 0.95, 12.706),
            (2, 0.95, 4.303),
            (3, 0.99, 5.841),
            (5, 0.9, 2.015),
            (9, 0.95, 2.262),
            (30, 0.95, 2.042),
            (31, 0.99, 2.744),
            (60, 0.95, 2.000),
            (120, 0.99, 2.617),
            (1_000_000, 0.95, 1.960),
        ] {
            let found = student_t(degrees, confidence).unwrap();
            assert!((found - table).abs() < 0.0006, "{degrees} {confidence}: {found} {table}");
        }
    }

    #[test]
    fn no_confidence_is_beyond_its_bounds() {
        for confidence in [0.0, 1.0, -1.0, 1.1, f64::NAN] {
            assert!(student_t(5, confidence).is_err());
        }
        assert!(student_t(0, 0.95).is_err());
    }

    #[test]
    fn percentiles_want_ten_samples_beyond_them() {
        let carried = |samples| PERCENTILES.into_iter().filter(|p| carries(samples, *p)).count();
        assert_eq!([0, 19, 20, 100, 1000, 1_000_000].map(carried), [0, 0, 1, 2, 3, 6]);
        assert!(!carries(u64::MAX, f64::NAN));
    }

    #[test]
    fn time_averages_count_what_lies_in_the_window() {
        let mut average = TimeAverage::new(10, 20);
        average.change(5, 2);
        average.change(12, -1);
        average.change(25, -1);
        assert!((average.mean() - 1.2).abs() < 1e-12);
        // One that is late goes back in time no further than the last.
        let mut average = TimeAverage::new(0, 10);
        average.change(6, 1);
        average.change(3, 1);
        assert!((average.mean() - 0.8).abs() < 1e-12);
        for (begin, end) in [(5, 5), (7, 3), (u64::MAX, u64::MAX)] {
            let mut average = TimeAverage::new(begin, end);
            average.change(4, i64::MAX);
            average.change(u64::MAX, i64::MAX);
            assert!(average.mean().abs() <= 0.0);
        }
    }
}
