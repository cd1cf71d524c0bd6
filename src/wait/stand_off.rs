//! How a consumer keeps off the producer's heels.
//!
//! A consumer that has caught up polls the line that the producer is about to write, and its
//! processor fetches those behind it, to be ready for them. Each line that it takes away has
//! to be brought back before the producer can write there: at full speed the two spend most
//! of their time on that. A pause after catching up lets the producer get some pages ahead,
//! and costs as much latency.
//!
//! No rate tells a producer that is slowed down so from one that has no more to send. So it is
//! tried out: in a stream without a gap, another pause now and then, for as long as it takes
//! to measure a rate. A longer one is kept if the stream becomes faster by it, a shorter one
//! if it does not become slower. None is tried in which the producer would fill half of the
//! ring, and the trial of a longer one ends with the first pause that brought one message: that
//! is somebody who waits for an answer, and was just busy when the last one came. Nor is one tried,
//! or kept, in a stream so slow that no line can be what it waits for.

use std::time::{Duration, Instant};

use super::pace::rest;

/// Pauses after catching up, as long as pays.
#[derive(Debug)]
pub(crate) struct StandOff {
    /// Bytes of the ring.
    capacity: f64,
    /// Which of the pauses is in use, and which is being tried out.
    usual: usize,
    trial: Option<usize>,
    /// The last that was tried out.
    tried: usize,
    /// Bytes a second with the usual pause, when it was last measured.
    usual_rate: f64,
    /// Measurements before the next trial. Doubled by each that did not pay.
    trial_in: u32,
    trial_interval: u32,
    /// The measurement under way.
    measured_from: Option<(Instant, u64)>,
    catch_ups: u32,
    /// Whether there was a pause at the last catch-up in a stream.
    has_paused: bool,
    /// Where the reader caught up last.
    sequence: u64,
}

impl StandOff {
    /// Pauses, and how many make a measurement: the long ones stretch over more.
    const PAUSES: [(Duration, u32); 4] = [
        (Duration::ZERO, 64),
        (Duration::from_micros(2), 64),
        (Duration::from_micros(16), 16),
        (Duration::from_micros(128), 8),
    ];
    const TRIAL_INTERVAL_MAX: u32 = 1 << 10;
    const FASTER: f64 = 1.15;
    const NO_SLOWER: f64 = 0.97;
    /// Bytes a second, a line in a microsecond: one line comes and goes in less time however far it is,
    /// so that what is slower than this is not slowed down by its reader.
    const SLOW: f64 = 64e6;

    #[allow(clippy::cast_precision_loss, reason = "a power of two")]
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            capacity: capacity as f64,
            usual: 0,
            trial: None,
            tried: 0,
            usual_rate: 0.0,
            trial_in: 0,
            trial_interval: 1,
            measured_from: None,
            catch_ups: 0,
            has_paused: false,
            sequence: 0,
        }
    }

    /// Pauses, if that pays. The reader has caught up, at these numbers.
    pub(crate) fn pause(&mut self, position: u64, sequence: u64) {
        let run = sequence.wrapping_sub(self.sequence);
        self.sequence = sequence;
        match run {
            // The same catch-up, told twice.
            0 => {}
            1 => {
                let has_paused = core::mem::take(&mut self.has_paused);
                if has_paused && self.trial.is_some_and(|trial| trial > self.usual) {
                    (self.trial, self.measured_from) = (None, None);
                    self.put_off_trials();
                }
            }
            _ => self.pause_in_stream(position),
        }
    }

    /// Nothing has come for some time: what comes next is another stream.
    pub(crate) fn forget_stream(&mut self) {
        self.measured_from = None;
        self.has_paused = false;
    }

    fn pause_in_stream(&mut self, position: u64) {
        self.catch_ups += 1;
        let Some((begin, from)) = self.measured_from else {
            self.measure_from(position);
            return;
        };
        let (_, enough) = self.pause_now();
        if self.catch_ups >= enough {
            #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
            let bytes = position.saturating_sub(from) as f64;
            self.judge(bytes / begin.elapsed().as_secs_f64());
            self.measure_from(position);
        }
        let (pause, _) = self.pause_now();
        self.has_paused = !pause.is_zero();
        if self.has_paused {
            rest(pause);
        }
    }

    fn pause_now(&self) -> (Duration, u32) {
        Self::PAUSES[self.trial.unwrap_or(self.usual)]
    }

    fn measure_from(&mut self, position: u64) {
        self.measured_from = Some((Instant::now(), position));
        self.catch_ups = 0;
    }

    fn judge(&mut self, rate: f64) {
        let trial = self.trial.take();
        if rate < Self::SLOW {
            self.usual = 0;
            return;
        }
        let Some(trial) = trial else {
            self.usual_rate = rate;
            match self.trial_in.checked_sub(1) {
                Some(left) => self.trial_in = left,
                None => self.trial = self.other_pause(),
            }
            return;
        };
        let factor = if trial > self.usual { Self::FASTER } else { Self::NO_SLOWER };
        if rate >= self.usual_rate * factor {
            self.usual = trial;
            (self.trial_interval, self.trial_in) = (1, 1);
        } else {
            self.put_off_trials();
        }
    }

    /// The last one did not pay.
    fn put_off_trials(&mut self) {
        self.trial_interval = (self.trial_interval * 2).min(Self::TRIAL_INTERVAL_MAX);
        self.trial_in = self.trial_interval;
    }

    /// Another one, each in its turn: one may pay where those before it do not.
    fn other_pause(&mut self) -> Option<usize> {
        let count = Self::PAUSES.len();
        let mut in_turn = (1..=count).map(|step| (self.tried + step) % count);
        let bytes_in = |(pause, _): (Duration, u32)| self.usual_rate * pause.as_secs_f64();
        let fits = |pause: usize| bytes_in(Self::PAUSES[pause]) < self.capacity / 2.0;
        let other = in_turn.find(|&pause| pause != self.usual && fits(pause))?;
        self.tried = other;
        Some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a message: so many that a test that is held up is no slow stream.
    const SIZE: u64 = 1 << 30;

    /// Catches up so often, each time with this many more messages.
    fn catch_up(
        stand_off: &mut StandOff,
        times: u64,
        run: u64,
        mut after: impl FnMut(&mut StandOff),
    ) {
        for _ in 0..times {
            let sequence = stand_off.sequence + run;
            stand_off.pause(SIZE * sequence, sequence);
            after(stand_off);
        }
    }

    #[test]
    fn a_catch_up_that_is_told_twice_is_one() {
        let mut stand_off = StandOff::new(1 << 60);
        // As by a batch that found no more, and by the receive that follows it.
        catch_up(&mut stand_off, 65, 64, |it| it.pause(SIZE * it.sequence, it.sequence));
        assert!(stand_off.usual_rate > 0.0, "nothing was measured");
        assert_eq!(stand_off.trial, Some(1));
    }

    #[test]
    fn what_comes_one_by_one_or_after_a_while_is_no_stream() {
        let mut stand_off = StandOff::new(1 << 60);
        catch_up(&mut stand_off, 1_000, 1, |_| ());
        catch_up(&mut stand_off, 1_000, 64, StandOff::forget_stream);
        assert!(stand_off.usual_rate == 0.0 && stand_off.trial.is_none());
    }

    #[test]
    fn a_trial_ends_with_the_first_pause_that_brought_one_message() {
        let mut stand_off = StandOff::new(1 << 60);
        catch_up(&mut stand_off, 66, 2, |_| ());
        assert!(stand_off.trial == Some(1) && stand_off.has_paused);
        catch_up(&mut stand_off, 1, 1, |_| ());
        assert_eq!((stand_off.trial, stand_off.trial_in), (None, 2));
        // The usual pause was measured, and stays until one that is measured is better.
        stand_off.usual = 1;
        catch_up(&mut stand_off, 2, 2, |_| ());
        catch_up(&mut stand_off, 1, 1, |_| ());
        assert_eq!((stand_off.usual, stand_off.trial_in), (1, 2));
        // Nor does a shorter one have to be better than it to go on.
        (stand_off.usual, stand_off.trial) = (2, Some(1));
        catch_up(&mut stand_off, 2, 2, |_| ());
        catch_up(&mut stand_off, 1, 1, |_| ());
        assert_eq!(stand_off.trial, Some(1));
    }

    #[test]
    fn a_slow_stream_has_no_pause_and_no_trial() {
        let mut stand_off = StandOff::new(1 << 60);
        (stand_off.usual, stand_off.trial) = (3, Some(2));
        stand_off.judge(0.9 * StandOff::SLOW);
        assert_eq!((stand_off.usual, stand_off.trial), (0, None));
        stand_off.judge(0.9 * StandOff::SLOW);
        assert_eq!(stand_off.trial, None);
        stand_off.judge(1.1 * StandOff::SLOW);
        assert_eq!(stand_off.trial, Some(1));
    }

    #[test]
    fn each_other_pause_has_its_turn_if_the_ring_does_not_fill_in_it() {
        let mut stand_off = StandOff::new(1 << 20);
        (stand_off.usual, stand_off.usual_rate) = (1, 1e9);
        let turns = |it: &mut StandOff| [(); 4].map(|()| it.other_pause());
        assert_eq!(turns(&mut stand_off), [2, 3, 0, 2].map(Some));
        // 2, 16 and 128 us at 10 GB/s are 20 KB, 160 KB and more than half of the ring.
        (stand_off.usual, stand_off.usual_rate) = (0, 1e10);
        assert_eq!(turns(&mut stand_off), [1, 2, 1, 2].map(Some));
        stand_off.usual_rate = 1e12;
        assert_eq!(stand_off.other_pause(), None);
    }
}
