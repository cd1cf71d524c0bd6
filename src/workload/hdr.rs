//! Interval logs of HDR histograms, which tools of that name read and draw.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

/// Moments from the beginning of a run on, and times, both in nanoseconds: as in
/// [`Record::wait_ns`](crate::workload::Record::wait_ns) by
/// [`Record::intended_ns`](crate::workload::Record).
pub type Timed = (u64, u64);

/// Writes times as an interval log of HDR histograms (version 2, compressed), in nanoseconds and to
/// three digits: one histogram for each interval and tag that has any. A tag has no comma, space
/// or line break. The run began at the given moment of the day.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use ringway::workload::write_hdr_log;
///
/// let waits = [(100, 5_000), (2_000_000_000, 7_000)];
/// let mut log = Vec::new();
/// let second = Duration::from_secs(1);
/// write_hdr_log(&mut log, SystemTime::UNIX_EPOCH, second, &[("wait", &waits)])?;
/// let log = String::from_utf8(log).expect("it is text");
/// let lines = log.lines().filter(|line| line.starts_with("Tag=wait,"));
/// assert_eq!(lines.count(), 2);
/// assert!(log.contains("HISTFAAA"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_hdr_log(
    to: &mut impl Write,
    began: SystemTime,
    interval: Duration,
    series: &[(&str, &[Timed])],
) -> io::Result<()> {
    let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Logged by ringway; values are nanoseconds, the divisor is 1]")
        .with_start_time(began)
        .with_base_time(began)
        .begin_log_with(to, &mut serializer)?;
    let mut intervals: Vec<(u64, usize, Histogram<u64>)> = Vec::new();
    for (index, (_, times)) in series.iter().enumerate() {
        for (at_ns, time_ns) in *times {
            let number = at_ns / interval_ns;
            let place = intervals.binary_search_by_key(&(number, index), |it| (it.0, it.1));
            let place = match place {
                Ok(place) => place,
                Err(place) => {
                    let histogram = Histogram::new(3).map_err(io::Error::other)?;
                    intervals.insert(place, (number, index, histogram));
                    place
                }
            };
            // It grows by itself; beyond 2^62 it counts as that.
            let _ = intervals[place].2.record((*time_ns).min(1 << 62));
        }
    }
    for (number, index, histogram) in &intervals {
        let start = Duration::from_nanos(number.saturating_mul(interval_ns));
        let tag = Tag::new(series[*index].0);
        log.write_histogram(histogram, start, interval, tag).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error.to_string()),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn what_is_written_is_read_again() {
        let waits: Vec<Timed> = (0..1000).map(|n| (n * 5_000_000, 1000 + n)).collect();
        let sojourns: Vec<Timed> = waits.iter().map(|(at, wait)| (*at, wait + 20_000)).collect();
        let mut log = Vec::new();
        let second = Duration::from_secs(1);
        let series: [(&str, &[Timed]); 2] = [("wait", &waits), ("sojourn", &sojourns)];
        write_hdr_log(&mut log, SystemTime::UNIX_EPOCH, second, &series).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            let Ok(LogEntry::Interval(interval)) = entry else { continue };
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(interval.encoded_histogram())
                .unwrap();
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let tag = interval.tag().unwrap().as_str().to_owned();
            found.push((interval.start_timestamp().as_secs(), tag, histogram));
        }
        assert_eq!(found.len(), 10);
        for (index, (second, tag, histogram)) in found.iter().enumerate() {
            assert_eq!(*second, index as u64 / 2);
            assert_eq!(tag, ["wait", "sojourn"][index % 2]);
            assert_eq!(histogram.len(), 200);
            let first = 1000 + 200 * second + if index % 2 == 1 { 20_000 } else { 0 };
            assert!(histogram.min().abs_diff(first) <= first / 500, "{}", histogram.min());
        }
    }
}
