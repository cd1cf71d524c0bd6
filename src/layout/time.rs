//! Times, as segments and files have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time in nanoseconds; one too long for that is as long as can be.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds from 1970 to a moment; 0 for one before.
pub(crate) fn since_1970(moment: SystemTime) -> u64 {
    nanoseconds(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The moment that many nanoseconds after 1970 began.
pub(crate) fn moment(since_1970: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(since_1970)
}
