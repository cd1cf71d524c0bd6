//! When messages are offered.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand_distr::Gamma;

use crate::workload::number::{self, NS_PER_S, nanoseconds};
use crate::workload::shape::{Sampler, Shape};
use crate::workload::{Error, Random, Trace};

const FORMS: &str = "poisson, fixed, erlang:K, hyper:CV2, onoff:ON,OFF or trace:FILE";

pub(super) const PHASES_MAX: u32 = 1000;
pub(super) const CV2_MAX: f64 = 1e6;

/// The pattern in which messages are offered. The rate is said apart from it.
///
/// It is read from, and shown as, one of these:
///
/// | text | the gaps between messages |
/// |---|---|
/// | `poisson` | exponential: a Poisson process |
/// | `fixed` | all the same |
/// | `erlang:K` | sums of K exponential phases: more even than Poisson |
/// | `hyper:CV2` | of two exponential lengths, with this squared coefficient of variation |
/// | `onoff:ON,OFF` | bursts: Poisson while on; on and off for exponential times of these means |
/// | `trace:FILE` | as recorded, over and over; see [`Trace`] |
///
/// ```
/// use ringway::workload::Arrival;
///
/// let bursts: Arrival = "onoff:1ms,9ms".parse()?;
/// assert_eq!(bursts.to_string(), "onoff:1ms,9ms");
/// assert!(bursts.cv2(1e6) > 1000.0);
/// assert!("sometimes".parse::<Arrival>().is_err());
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Independent gaps of this form.
    Renewal(Shape),
    OnOff {
        on: Duration,
        off: Duration,
    },
    Trace(Trace),
}

impl Arrival {
    /// A Poisson process: whoever sends does not know of the others.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Arrival::poisson().cv2(1.0), 1.0);
    /// ```
    #[must_use]
    pub fn poisson() -> Self {
        Self(Kind::Renewal(Shape::Exponential))
    }

    /// All gaps the same.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Arrival::fixed().cv2(1.0), 0.0);
    /// ```
    #[must_use]
    pub fn fixed() -> Self {
        Self(Kind::Renewal(Shape::Fixed))
    }

    /// Gaps that are sums of `phases` exponential times, 1 to 1000.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Arrival::erlang(4)?.cv2(1.0), 0.25);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn erlang(phases: u32) -> Result<Self, Error> {
        let phases = number::within("the number of phases of erlang", phases, 1, PHASES_MAX)?;
        Ok(Self(Kind::Renewal(Shape::Erlang(phases))))
    }

    /// Hyperexponential gaps with this squared coefficient of variation, 1 to a million: one of
    /// two exponential times, each of which makes up half of the whole (balanced means).
    ///
    /// ```
    /// assert_eq!(ringway::workload::Arrival::hyper(4.0)?.cv2(1.0), 4.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn hyper(cv2: f64) -> Result<Self, Error> {
        let cv2 = number::within("the cv2 of hyper", cv2, 1.0, CV2_MAX)?;
        Ok(Self(Kind::Renewal(Shape::Hyper(cv2))))
    }

    /// A Poisson process that is interrupted: on and off for exponential times of these means,
    /// each from 1 ns to a day. The rate while on is such that the rate over all is the one
    /// asked for.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ms = Duration::from_millis(1);
    /// let bursts = ringway::workload::Arrival::on_off(ms, 9 * ms)?;
    /// assert_eq!(bursts.to_string(), "onoff:1ms,9ms");
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn on_off(on: Duration, off: Duration) -> Result<Self, Error> {
        let on = number::checked_time("the on of onoff", on)?;
        let off = number::checked_time("the off of onoff", off)?;
        Ok(Self(Kind::OnOff { on, off }))
    }

    /// Recorded gaps, from the first on and, after the last, from the first again.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Trace};
    ///
    /// let arrival = Arrival::trace(Trace::new("my own", vec![1000.0, 3000.0])?);
    /// assert_eq!(arrival.own_rate_per_s(), Some(500_000.0));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn trace(trace: Trace) -> Self {
        Self(Kind::Trace(trace))
    }

    /// The rate, a second, that a recorded trace has by itself. Nothing else has one.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Arrival::poisson().own_rate_per_s(), None);
    /// ```
    #[must_use]
    pub fn own_rate_per_s(&self) -> Option<f64> {
        match &self.0 {
            Kind::Trace(trace) => Some(NS_PER_S / trace.mean_ns()),
            _ => None,
        }
    }

    /// The squared coefficient of variation of the gaps, variance over squared mean, at so many
    /// messages a second. Only that of bursts depends on the rate (A. Kuczura, 1973).
    ///
    /// ```
    /// use ringway::workload::Arrival;
    ///
    /// // The off times weigh more the more messages there are between them.
    /// let bursts: Arrival = "onoff:1ms,1ms".parse()?;
    /// assert!((bursts.cv2(1000.0) - 2.0).abs() < 1e-12);
    /// assert!((bursts.cv2(2000.0) - 3.0).abs() < 1e-12);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn cv2(&self, rate_per_s: f64) -> f64 {
        match &self.0 {
            Kind::Renewal(shape) => shape.cv2(),
            Kind::OnOff { on, off } => {
                let Switching { turning_on, turning_off, while_on } =
                    Switching::new(*on, *off, rate_per_s);
                1.0 + 2.0 * while_on * turning_off / (turning_on + turning_off).powi(2)
            }
            Kind::Trace(trace) => trace.cv2(),
        }
    }

    /// The intended times of messages in nanoseconds, from the beginning on, at so many messages
    /// a second on average. None come at a rate that is not above 0, or is infinite.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Random};
    ///
    /// let every_ms = Arrival::fixed().times(1000.0, Random::new(1, 0));
    /// assert!(every_ms.take(3).eq([1_000_000, 2_000_000, 3_000_000]));
    /// ```
    #[must_use]
    pub fn times(&self, rate_per_s: f64, random: Random) -> Arrivals {
        Arrivals { gaps: self.gaps(rate_per_s, random), whole_ns: 0, part_ns: 0.0 }
    }

    pub(super) fn gaps(&self, rate_per_s: f64, mut random: Random) -> Gaps {
        let is_rate = rate_per_s > 0.0 && rate_per_s.is_finite();
        let mean_ns = if is_rate { NS_PER_S / rate_per_s } else { f64::NAN };
        let source = match &self.0 {
            Kind::Renewal(shape) => Source::Renewal { mean_ns, sampler: shape.sampler() },
            Kind::OnOff { on, off } => {
                let (on_ns, off_ns) = (nanoseconds(*on), nanoseconds(*off));
                let share_on = on_ns / (on_ns + off_ns);
                let is_on = random.unit() < share_on;
                Source::OnOff { is_on, gap_while_on_ns: mean_ns * share_on, on_ns, off_ns }
            }
            Kind::Trace(trace) => {
                Source::Trace { trace: trace.clone(), next: 0, scale: mean_ns / trace.mean_ns() }
            }
        };
        Gaps { source, random }
    }

    /// Whether it is a Poisson process, by whatever name.
    pub(super) fn is_poisson(&self) -> bool {
        matches!(&self.0, Kind::Renewal(shape) if shape.is_exponential())
    }

    pub(super) fn is_fixed(&self) -> bool {
        matches!(&self.0, Kind::Renewal(Shape::Fixed))
    }

    pub(super) fn is_trace(&self) -> bool {
        matches!(&self.0, Kind::Trace(_))
    }

    /// Its letter in Kendall's notation, or that of the interrupted Poisson process.
    pub(super) fn symbol(&self) -> String {
        match &self.0 {
            Kind::Renewal(shape) => shape.symbol(),
            Kind::OnOff { .. } => "IPP".into(),
            Kind::Trace(_) => "G".into(),
        }
    }

    /// 1 less the Laplace transform of the gaps in seconds, if gaps are independent and it has
    /// a closed form. An interrupted Poisson process begins anew with each message: it is on
    /// then (A. Kuczura, 1973).
    pub(super) fn laplace_complement(&self, rate_per_s: f64, s: f64) -> Option<f64> {
        match &self.0 {
            Kind::Renewal(shape) => shape.laplace_complement(s / rate_per_s),
            Kind::OnOff { on, off } => {
                let Switching { turning_on, turning_off, while_on } =
                    Switching::new(*on, *off, rate_per_s);
                let switching = s * (s + turning_on + turning_off);
                Some(switching / (switching + while_on * (s + turning_on)))
            }
            Kind::Trace(_) => None,
        }
    }
}

impl FromStr for Arrival {
    type Err = Error;

    /// Reads one of the forms; that of a trace reads the file.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(file) = text.strip_prefix("trace:") {
            return Trace::read(file).map(Self::trace);
        }
        let (name, values) = number::name_and_values(text);
        match (name, values.as_slice()) {
            ("poisson", []) => Ok(Self::poisson()),
            ("fixed", []) => Ok(Self::fixed()),
            ("erlang", [phases]) => {
                Self::erlang(number::count("number of phases of erlang", phases)?)
            }
            ("hyper", [cv2]) => Self::hyper(number::real("cv2 of hyper", cv2)?),
            ("onoff", [on, off]) => {
                Self::on_off(number::time("on of onoff", on)?, number::time("off of onoff", off)?)
            }
            _ => Err(Error::form("arrival", text, FORMS)),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Renewal(Shape::Fixed) => f.write_str("fixed"),
            Kind::Renewal(Shape::Erlang(phases)) => write!(f, "erlang:{phases}"),
            Kind::Renewal(Shape::Hyper(cv2)) => write!(f, "hyper:{cv2}"),
            // Gaps have no other form.
            Kind::Renewal(_) => f.write_str("poisson"),
            Kind::OnOff { on, off } => {
                write!(f, "onoff:{},{}", number::show_time(*on), number::show_time(*off))
            }
            Kind::Trace(trace) => write!(f, "trace:{}", trace.name()),
        }
    }
}

/// The rates of an interrupted Poisson process, a second.
struct Switching {
    /// At which it goes on while it is off.
    turning_on: f64,
    /// At which it goes off while it is on.
    turning_off: f64,
    /// Of messages while it is on.
    while_on: f64,
}

impl Switching {
    fn new(on: Duration, off: Duration, rate_per_s: f64) -> Self {
        let (on, off) = (on.as_secs_f64(), off.as_secs_f64());
        let while_on = rate_per_s * (on + off) / on;
        Self { turning_on: off.recip(), turning_off: on.recip(), while_on }
    }
}

/// Intended times of messages, in nanoseconds from the beginning of a run on. It ends after 584
/// years.
///
/// Made by [`Arrival::times`].
///
/// ```
/// use ringway::workload::{Arrival, Random};
///
/// // Each second has its million, whatever the length of the run: nothing drifts.
/// let mut times = Arrival::fixed().times(3e6, Random::new(1, 0));
/// assert_eq!(times.nth(3_000_000 - 1), Some(1_000_000_000));
/// ```
#[derive(Clone, Debug)]
pub struct Arrivals {
    gaps: Gaps,
    whole_ns: u64,
    /// What is left of the gaps so far, below 1 ns.
    part_ns: f64,
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // Half a picosecond of rounding must not push a whole number below itself.
        const ROUNDING_NS: f64 = 0.0005;
        let gap_ns = self.gaps.next_ns();
        if gap_ns.is_nan() {
            return None;
        }
        self.part_ns += gap_ns;
        let whole = number::floor(self.part_ns + ROUNDING_NS);
        self.part_ns -= number::float(whole);
        self.whole_ns = self.whole_ns.checked_add(whole)?;
        Some(self.whole_ns)
    }
}

/// The gaps themselves, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    source: Source,
    random: Random,
}

#[derive(Clone, Debug)]
enum Source {
    Renewal { mean_ns: f64, sampler: Sampler },
    OnOff { is_on: bool, gap_while_on_ns: f64, on_ns: f64, off_ns: f64 },
    Trace { trace: Trace, next: usize, scale: f64 },
}

impl Gaps {
    pub(super) fn next_ns(&mut self) -> f64 {
        let random = &mut self.random;
        match &mut self.source {
            Source::Renewal { mean_ns, sampler } => *mean_ns * sampler.draw(random),
            Source::OnOff { is_on, gap_while_on_ns, on_ns, off_ns } => {
                let mut exponential =
                    |mean_ns: f64| mean_ns * Sampler::Exponential.draw(&mut *random);
                let mut gap = 0.0;
                for _ in 0..TURNS_MAX {
                    if !*is_on {
                        gap += exponential(*off_ns);
                        *is_on = true;
                    }
                    // Neither race remembers how long it has run: both may begin anew.
                    let to_message = exponential(*gap_while_on_ns);
                    let to_off = exponential(*on_ns);
                    if to_message <= to_off {
                        return gap + to_message;
                    }
                    gap += to_off;
                    *is_on = false;
                }
                // So many more turns, all at once: each is a time off and a race.
                let turns = (exponential(1.0) / (*on_ns / *gap_while_on_ns).ln_1p()).floor() + 1.0;
                let race_ns = (on_ns.recip() + gap_while_on_ns.recip()).recip();
                *is_on = true;
                gap + sum_of(turns, *off_ns, random) + sum_of(turns, race_ns, random)
            }
            Source::Trace { trace, next, scale } => {
                let gaps = trace.gaps_ns();
                let gap = gaps[*next];
                *next = (*next + 1) % gaps.len();
                gap * *scale
            }
        }
    }
}

/// How often bursts come and go without a message before what is left of its gap is drawn at once:
/// where they are far shorter than the gap, turn after turn would never end. Any number leaves the gap
/// the same law, because each turn is won by the message as likely as any other, and how long a race
/// takes does not depend on who wins it; most gaps have fewer turns, which take fewer draws.
const TURNS_MAX: u32 = 16;

/// So many exponential times of this mean, one at least, together.
fn sum_of(count: f64, mean_ns: f64, random: &mut Random) -> f64 {
    Gamma::new(count, mean_ns).map_or(count * mean_ns, |sum| random.draw(&sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_ever_so_many_bursts_takes_few_draws() {
        let begun = Random::new(1, 0);
        let arrival: Arrival = "onoff:1us,1us".parse().unwrap();
        let mut gaps = arrival.gaps(1.0, begun.clone());
        let count = 100;
        let gaps_ns: f64 = (0..count).map(|_| gaps.next_ns()).sum();
        assert!(gaps_ns > 0.0);
        let mut passed = begun;
        let draws = (0..100 * count).take_while(|_| {
            passed.unit();
            passed != gaps.random
        });
        let draws = draws.count();
        assert!(draws < 100 * count, "three a turn, and some for the rest");
    }
}
