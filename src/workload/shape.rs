//! Distributions of mean 1: what gaps between arrivals and service times have in common.

use rand_distr::{Exp1, Gamma, LogNormal, Pareto};

use crate::workload::Random;

/// The form of a distribution. Its parameters were checked by whoever made it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Fixed,
    Exponential,
    /// The sum of so many exponential phases.
    Erlang(u32),
    /// One of two exponential phases, the balanced pair with this squared coefficient of
    /// variation: each phase has half of the mean (W. Whitt, 1982).
    Hyper(f64),
    /// With this squared coefficient of variation.
    LogNormal(f64),
    /// With this exponent of the tail, above 1.
    Pareto(f64),
}

impl Shape {
    /// How many moments intervals ask for: a wait for service has a variance if the service has a
    /// third moment (Pollaczek-Khinchine). The mean of many waits, of which each depends on those before,
    /// has one only with a fourth (N. Blomqvist, 1967; D. J. Daley, 1968); that is not asked for, because
    /// with an alpha just below it intervals still hold nearly as often as they say.
    pub(super) const MOMENTS: u32 = 3;

    /// Variance over squared mean.
    pub(super) fn cv2(self) -> f64 {
        match self {
            Self::Fixed => 0.0,
            Self::Exponential => 1.0,
            Self::Erlang(phases) => 1.0 / f64::from(phases),
            Self::Hyper(cv2) | Self::LogNormal(cv2) => cv2,
            Self::Pareto(alpha) if alpha > 2.0 => 1.0 / (alpha * (alpha - 2.0)),
            Self::Pareto(_) => f64::INFINITY,
        }
    }

    /// How many of its moments are finite, as far as [`MOMENTS`](Self::MOMENTS).
    pub(super) fn finite_moments(self) -> u32 {
        match self {
            Self::Pareto(alpha) if alpha <= 2.0 => 1,
            Self::Pareto(alpha) if alpha <= 3.0 => 2,
            _ => Self::MOMENTS,
        }
    }

    /// Whether it is the exponential distribution, by whatever name.
    pub(super) fn is_exponential(self) -> bool {
        match self {
            Self::Exponential => true,
            Self::Erlang(phases) => phases == 1,
            Self::Hyper(cv2) => cv2 <= 1.0,
            Self::Fixed | Self::LogNormal(_) | Self::Pareto(_) => false,
        }
    }

    /// Its letter in Kendall's notation (D. G. Kendall, 1953).
    pub(super) fn symbol(self) -> String {
        match self {
            _ if self.is_exponential() => "M".into(),
            Self::Fixed => "D".into(),
            Self::Erlang(phases) => format!("E{phases}"),
            Self::Hyper(_) => "H2".into(),
            Self::Exponential | Self::LogNormal(_) | Self::Pareto(_) => "G".into(),
        }
    }

    /// 1 less its Laplace transform at `s`, as exact at a small `s` as at a large one. The
    /// lognormal and the Pareto distribution have no closed form.
    pub(super) fn laplace_complement(self, s: f64) -> Option<f64> {
        match self {
            Self::Fixed => Some(-(-s).exp_m1()),
            Self::Exponential => Some(s / (s + 1.0)),
            Self::Erlang(phases) => {
                let phases = f64::from(phases);
                Some(-(-phases * (s / phases).ln_1p()).exp_m1())
            }
            Self::Hyper(cv2) => {
                let likely = likely_phase(cv2);
                let phase = |probability: f64| probability * s / (s + 2.0 * probability);
                Some(phase(likely) + phase(1.0 - likely))
            }
            Self::LogNormal(_) | Self::Pareto(_) => None,
        }
    }

    pub(super) fn sampler(self) -> Sampler {
        // The constructors refuse parameters that `Shape` does not have. Should one of them
        // refuse all the same, the mean is right at least.
        match self {
            Self::Fixed => Sampler::Fixed,
            Self::Exponential => Sampler::Exponential,
            Self::Erlang(phases) => {
                let phases = f64::from(phases);
                Gamma::new(phases, phases.recip()).map_or(Sampler::Fixed, Sampler::Erlang)
            }
            Self::Hyper(cv2) => {
                let likely = likely_phase(cv2);
                let means = [0.5 / likely, 0.5 / (1.0 - likely)];
                Sampler::Hyper { likely, means }
            }
            Self::LogNormal(cv2) => {
                LogNormal::from_mean_cv(1.0, cv2.sqrt()).map_or(Sampler::Fixed, Sampler::LogNormal)
            }
            Self::Pareto(alpha) => {
                let least = (alpha - 1.0) / alpha;
                Pareto::new(least, alpha).map_or(Sampler::Fixed, Sampler::Pareto)
            }
        }
    }
}

/// The probability of the shorter, more likely phase of the balanced pair.
fn likely_phase(cv2: f64) -> f64 {
    f64::midpoint(1.0, ((cv2 - 1.0) / (cv2 + 1.0)).sqrt())
}

/// Draws from a distribution of mean 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sampler {
    Fixed,
    Exponential,
    Erlang(Gamma<f64>),
    Hyper { likely: f64, means: [f64; 2] },
    LogNormal(LogNormal<f64>),
    Pareto(Pareto<f64>),
}

impl Sampler {
    pub(super) fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Self::Fixed => 1.0,
            Self::Exponential => random.draw(&Exp1),
            Self::Erlang(gamma) => random.draw(gamma),
            Self::Hyper { likely, means } => {
                let mean = means[usize::from(random.unit() >= *likely)];
                mean * random.draw(&Exp1)
            }
            Self::LogNormal(lognormal) => random.draw(lognormal),
            Self::Pareto(pareto) => random.draw(pareto),
        }
    }
}
