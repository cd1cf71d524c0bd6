//! How fast the producer sends.

use std::time::{Duration, Instant};

/// The bytes that went through the ring, looked at about once a sector: in a large ring it may be a while
/// before it is found out that a stream has ended.
#[derive(Debug)]
pub(super) struct Rate {
    position: u64,
    at: Instant,
}

impl Rate {
    /// A producer that writes so many bytes a nanosecond does nothing else, nor does it wait. Streams
    /// of long messages come to 20 and more where consumers are near, to 4 where they are far; round
    /// trips of 1 KiB to 7, and a faster machine's to 10 (perf-notes.md, "The lines of the next
    /// message").
    const STREAM: u128 = 16;

    pub(super) fn new(position: u64) -> Self {
        Self { position, at: Instant::now() }
    }

    /// Whether the producer was in a stream since the last time, if it has gone on by `enough` bytes.
    pub(super) fn measure(&mut self, position: u64, enough: u64) -> Option<bool> {
        let bytes = position - self.position;
        if bytes < enough {
            return None;
        }
        let now = Instant::now();
        let time = now.duration_since(self.at);
        *self = Self { position, at: now };
        Some(is_stream(bytes, time))
    }
}

fn is_stream(bytes: u64, time: Duration) -> bool {
    u128::from(bytes) >= time.as_nanos() * Rate::STREAM
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_what_a_round_trip_cannot_be() {
        let sector = 64 << 10;
        let messages =
            |size: u64, time: u64| is_stream(sector, Duration::from_nanos(sector / size * time));
        assert!(messages(256, 8) && messages(1024, 30));
        assert!(!messages(256, 75) && !messages(1024, 100));
        assert!(!is_stream(sector, Duration::from_secs(1)));
    }

    #[test]
    fn too_few_bytes_tell_nothing() {
        let mut rate = Rate::new(100);
        assert_eq!(rate.measure(199, 100), None);
        std::thread::sleep(Duration::from_micros(100));
        assert_eq!(rate.measure(200, 100), Some(false));
        assert_eq!(rate.measure(200, 100), None);
    }
}
