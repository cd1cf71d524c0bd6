//! How long a server works on a message.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::workload::arrival::{CV2_MAX, PHASES_MAX};
use crate::workload::number::{self, NS_PER_S, nanoseconds};
use crate::workload::scenario::checked_servers;
use crate::workload::shape::{Sampler, Shape};
use crate::workload::{Error, Random};

const FORMS: &str = "exp:MEAN, fixed:TIME, erlang:MEAN,K, hyper:MEAN,CV2, lognormal:MEAN,CV2, \
    pareto:MEAN,ALPHA or none";

const ALPHA_MAX: f64 = 1000.0;

/// The distribution of service times. A server is whatever takes messages one after the other:
/// a consumer, for one.
///
/// It is read from, and shown as, one of these:
///
/// | text | service times |
/// |---|---|
/// | `exp:MEAN` | exponential |
/// | `fixed:TIME` | all the same |
/// | `erlang:MEAN,K` | sums of K exponential phases |
/// | `hyper:MEAN,CV2` | of two exponential lengths, with this squared coefficient of variation |
/// | `lognormal:MEAN,CV2` | lognormal, with this squared coefficient of variation |
/// | `pareto:MEAN,ALPHA` | Pareto, with a tail that falls as a power: none has a variance up to 2 |
/// | `none` | no time at all |
///
/// ```
/// use ringway::workload::Service;
///
/// let service: Service = "pareto:20us,2.5".parse()?;
/// assert_eq!(service.mean_ns(), 20_000.0);
/// assert_eq!(service.cv2(), 0.8);
/// assert_eq!("pareto:20us,1.5".parse::<Service>()?.cv2(), f64::INFINITY);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    mean: Duration,
    /// None if service takes no time.
    shape: Option<Shape>,
}

impl Service {
    /// No time at all: what the queue itself takes is all there is.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Service::none().mean_ns(), 0.0);
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self { mean: Duration::ZERO, shape: None }
    }

    /// Exponential times with this mean, from 1 ns to a day.
    ///
    /// ```
    /// use std::time::Duration;
    /// let service = ringway::workload::Service::exponential(Duration::from_micros(1))?;
    /// assert_eq!((service.mean_ns(), service.cv2()), (1000.0, 1.0));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn exponential(mean: Duration) -> Result<Self, Error> {
        Self::new(mean, Shape::Exponential)
    }

    /// Always this time, from 1 ns to a day.
    ///
    /// ```
    /// use std::time::Duration;
    /// let service = ringway::workload::Service::fixed(Duration::from_micros(1))?;
    /// assert_eq!((service.mean_ns(), service.cv2()), (1000.0, 0.0));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn fixed(time: Duration) -> Result<Self, Error> {
        Self::new(time, Shape::Fixed)
    }

    /// Sums of `phases` exponential times, 1 to 1000; their mean is from 1 ns to a day.
    ///
    /// ```
    /// use std::time::Duration;
    /// let service = ringway::workload::Service::erlang(Duration::from_micros(1), 2)?;
    /// assert_eq!(service.cv2(), 0.5);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn erlang(mean: Duration, phases: u32) -> Result<Self, Error> {
        let phases = number::within("the number of phases of erlang", phases, 1, PHASES_MAX)?;
        Self::new(mean, Shape::Erlang(phases))
    }

    /// Hyperexponential times with this squared coefficient of variation, 1 to a million: one of
    /// two exponential times, each of which makes up half of the work (balanced means). Their
    /// mean is from 1 ns to a day.
    ///
    /// ```
    /// use std::time::Duration;
    /// let service = ringway::workload::Service::hyper(Duration::from_micros(1), 4.0)?;
    /// assert_eq!(service.cv2(), 4.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn hyper(mean: Duration, cv2: f64) -> Result<Self, Error> {
        Self::new(mean, Shape::Hyper(number::within("the cv2 of hyper", cv2, 1.0, CV2_MAX)?))
    }

    /// Lognormal times with this squared coefficient of variation, above 0 and up to a million.
    /// Their mean is from 1 ns to a day.
    ///
    /// ```
    /// use std::time::Duration;
    /// let service = ringway::workload::Service::lognormal(Duration::from_micros(1), 4.0)?;
    /// assert_eq!(service.cv2(), 4.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn lognormal(mean: Duration, cv2: f64) -> Result<Self, Error> {
        const CV2_MIN: f64 = 1e-6;
        let cv2 = number::within("the cv2 of lognormal", cv2, CV2_MIN, CV2_MAX)?;
        Self::new(mean, Shape::LogNormal(cv2))
    }

    /// Pareto times: the probability that one is longer than `t` falls as `t` to the power of
    /// `-alpha`, which is from 1.2 to 1000. Their mean is from 1 ns to a day. Up to an alpha of 3
    /// the waits of one server have no variance, and those of several may have none, so that there are
    /// no intervals for waits. Up to one of 2 the variance of the service is infinite, and so is the
    /// mean wait of one server; what is measured or simulated then depends on how long it runs.
    ///
    /// ```
    /// use std::time::Duration;
    /// let service = ringway::workload::Service::pareto(Duration::from_micros(1), 3.0)?;
    /// assert!((service.cv2() - 1.0 / 3.0).abs() < 1e-12);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn pareto(mean: Duration, alpha: f64) -> Result<Self, Error> {
        // A draw is a power of one of 2^53 numbers, so that the mean of all that can be drawn is
        // less than the one asked for by 2^(-53 (1 - 1/alpha)) of it: a fifth of a percent here,
        // and 70 % at 1.01.
        const ALPHA_MIN: f64 = 1.2;
        let alpha = number::within("the alpha of pareto", alpha, ALPHA_MIN, ALPHA_MAX)?;
        Self::new(mean, Shape::Pareto(alpha))
    }

    /// The mean in nanoseconds; 0 if service takes no time.
    ///
    /// ```
    /// assert_eq!("exp:2ms".parse::<ringway::workload::Service>()?.mean_ns(), 2e6);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        nanoseconds(self.mean)
    }

    /// The same distribution with another mean, from 1 ns to a day, to the nanosecond. An error if
    /// service takes no time.
    ///
    /// ```
    /// let service: ringway::workload::Service = "exp:20us".parse()?;
    /// assert_eq!(service.with_mean_ns(20_250.0)?.to_string(), "exp:20250ns");
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn with_mean_ns(&self, mean_ns: f64) -> Result<Self, Error> {
        let shape = self.shape.ok_or(Error::NoLoad)?;
        Self::new(Duration::from_nanos(number::floor(mean_ns + 0.5)), shape)
    }

    /// The squared coefficient of variation: variance over squared mean. It may be infinite.
    ///
    /// ```
    /// assert_eq!("fixed:2ms".parse::<ringway::workload::Service>()?.cv2(), 0.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn cv2(&self) -> f64 {
        self.shape.map_or(0.0, Shape::cv2)
    }

    /// How many of its moments are finite, as far as three. Two are a variance of the service; three
    /// are one of the waits of one server, without which their intervals do not hold.
    ///
    /// ```
    /// use ringway::workload::Service;
    ///
    /// let moments = |text: &str| text.parse().map(|service: Service| service.finite_moments());
    /// assert_eq!(moments("exp:1us")?, 3);
    /// assert_eq!((moments("pareto:1us,2.5")?, moments("pareto:1us,2")?), (2, 1));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn finite_moments(&self) -> u32 {
        self.shape.map_or(Shape::MOMENTS, Shape::finite_moments)
    }

    /// The rate, a second, that loads so many servers so much: 1 is all that they can do. An
    /// error if service takes no time, since no rate is a load then. The load is from a billionth
    /// to a million.
    ///
    /// ```
    /// let service: ringway::workload::Service = "exp:1us".parse()?;
    /// assert_eq!(service.rate_at_load(0.5, 2)?, 1e6);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn rate_at_load(&self, load: f64, servers: u32) -> Result<f64, Error> {
        if self.shape.is_none() {
            return Err(Error::NoLoad);
        }
        let load = number::within("the load", load, 1e-9, 1e6)?;
        let servers = checked_servers(servers)?;
        Ok(load * f64::from(servers) * NS_PER_S / self.mean_ns())
    }

    /// Service times as they come.
    ///
    /// ```
    /// use ringway::workload::{Random, Service};
    ///
    /// let mut times = "exp:1us".parse::<Service>()?.times(Random::new(1, 1));
    /// let sum: f64 = (0..1000).map(|_| times.next_ns()).sum();
    /// assert!((900_000.0..1_100_000.0).contains(&sum));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn times(&self, random: Random) -> ServiceTimes {
        let sampler = self.shape.map_or(Sampler::Fixed, Shape::sampler);
        ServiceTimes { mean_ns: self.mean_ns(), sampler, random }
    }

    pub(super) fn is_none(&self) -> bool {
        self.shape.is_none()
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.shape == Some(Shape::Fixed)
    }

    /// Whether it is exponential, by whatever name.
    pub(super) fn is_exponential(&self) -> bool {
        self.shape.is_some_and(Shape::is_exponential)
    }

    /// Its letter in Kendall's notation; 0 is no service.
    pub(super) fn symbol(&self) -> String {
        self.shape.map_or("0".into(), Shape::symbol)
    }

    fn new(mean: Duration, shape: Shape) -> Result<Self, Error> {
        let mean = number::checked_time("the mean service time", mean)?;
        Ok(Self { mean, shape: Some(shape) })
    }
}

impl FromStr for Service {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, values) = number::name_and_values(text);
        let mean = |text| number::time("mean service time", text);
        match (name, values.as_slice()) {
            ("none", []) => Ok(Self::none()),
            ("exp", [time]) => Self::exponential(mean(time)?),
            ("fixed", [time]) => Self::fixed(mean(time)?),
            ("erlang", [time, phases]) => {
                Self::erlang(mean(time)?, number::count("number of phases of erlang", phases)?)
            }
            ("hyper", [time, cv2]) => Self::hyper(mean(time)?, number::real("cv2 of hyper", cv2)?),
            ("lognormal", [time, cv2]) => {
                Self::lognormal(mean(time)?, number::real("cv2 of lognormal", cv2)?)
            }
            ("pareto", [time, alpha]) => {
                Self::pareto(mean(time)?, number::real("alpha of pareto", alpha)?)
            }
            _ => Err(Error::form("service", text, FORMS)),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = number::show_time(self.mean);
        match self.shape {
            None => f.write_str("none"),
            Some(Shape::Exponential) => write!(f, "exp:{mean}"),
            Some(Shape::Fixed) => write!(f, "fixed:{mean}"),
            Some(Shape::Erlang(phases)) => write!(f, "erlang:{mean},{phases}"),
            Some(Shape::Hyper(cv2)) => write!(f, "hyper:{mean},{cv2}"),
            Some(Shape::LogNormal(cv2)) => write!(f, "lognormal:{mean},{cv2}"),
            Some(Shape::Pareto(alpha)) => write!(f, "pareto:{mean},{alpha}"),
        }
    }
}

/// Service times in nanoseconds, without an end. Made by [`Service::times`].
///
/// ```
/// use ringway::workload::{Random, Service};
///
/// let mut times = "fixed:3us".parse::<Service>()?.times(Random::new(1, 1));
/// assert_eq!((times.next_ns(), times.next_ns()), (3000.0, 3000.0));
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServiceTimes {
    mean_ns: f64,
    sampler: Sampler,
    random: Random,
}

impl ServiceTimes {
    /// The next one, in nanoseconds.
    ///
    /// ```
    /// use ringway::workload::{Random, Service};
    /// assert_eq!(Service::none().times(Random::new(1, 1)).next_ns(), 0.0);
    /// ```
    pub fn next_ns(&mut self) -> f64 {
        self.mean_ns * self.sampler.draw(&mut self.random)
    }
}
