//! Chance that replays.

use rand_distr::Distribution;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::workload::number::float;

/// A seeded source of random numbers.
///
/// A seed gives the same numbers on every machine. Each seed has 65,536 streams that do not
/// overlap within 2^128 draws: one for the arrivals, one for each server, and so on.
///
/// The generator is xoshiro256++ (D. Blackman and S. Vigna, 2021).
///
/// ```
/// use ringway::workload::Random;
///
/// let mut one = Random::new(7, 0);
/// let mut same = Random::new(7, 0);
/// let mut other = Random::new(7, 1);
/// let drawn = one.unit();
/// assert!((0.0..1.0).contains(&drawn));
/// assert!(drawn == same.unit() && drawn != other.unit());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The given stream of a seed.
    ///
    /// ```
    /// let random = ringway::workload::Random::new(1, 0);
    /// ```
    #[must_use]
    pub fn new(seed: u64, stream: u16) -> Self {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..stream {
            generator.jump();
        }
        Self(generator)
    }

    /// A number from 0 on and below 1, all equally likely.
    ///
    /// ```
    /// assert!(ringway::workload::Random::new(1, 0).unit() < 1.0);
    /// ```
    pub fn unit(&mut self) -> f64 {
        // As many bits as a number holds exactly.
        const STEP: f64 = f64::EPSILON / 2.0;
        float(self.0.next_u64() >> 11) * STEP
    }

    pub(super) fn draw(&mut self, distribution: &impl Distribution<f64>) -> f64 {
        distribution.sample(&mut self.0)
    }

    /// A whole number below `end`, all as good as equally likely.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        let scaled = (self.0.next_u64() >> 32) * u64::from(end);
        u32::try_from(scaled >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_also_in_later_versions() {
        // If this fails, recorded seeds mean something else from now on: say so in CHANGELOG.md.
        let mut random = Random::new(42, 0);
        let drawn: Vec<u64> = (0..3).map(|_| random.0.next_u64()).collect();
        assert_eq!(drawn, [0xd076_4d4f_4476_689f, 0x519e_4174_576f_3791, 0xfbe0_7cfb_0c24_ed8c]);
    }

    #[test]
    fn whole_numbers_are_below_their_end_and_all_come() {
        let mut random = Random::new(1, 0);
        let mut counts = [0_u32; 5];
        for _ in 0..10_000 {
            counts[random.below(5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (1850..2150).contains(count)), "{counts:?}");
    }
}
