//! What a queue is asked to do.

use std::f64::consts::PI;
use std::str::FromStr;

use crate::UnknownName;
use crate::workload::number::{self, NS_PER_S};
use crate::workload::{Arrival, Error, Service};

/// A load within this of 1 is 1: it came about by division.
const LOAD_ROUNDING: f64 = 1e-12;

pub(super) fn rounded(load: f64) -> f64 {
    if (load - 1.0).abs() < LOAD_ROUNDING { 1.0 } else { load }
}

/// How many messages are served in a mean service if there is always one more.
pub(super) enum Capacity {
    Exactly(f64),
    AtMost(f64),
}

/// Messages that come in a pattern at a rate, and servers that share them: first come, first
/// served, each message by one server.
///
/// ```
/// use ringway::workload::{Bound, Scenario, WhenFull};
///
/// let bound = Bound { places: 8, when_full: WhenFull::Reject };
/// let scenario =
///     Scenario::new("poisson".parse()?, "exp:20us".parse()?, 60_000.0, 1, Some(bound))?;
/// assert!((scenario.load() - 1.2).abs() < 1e-12);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    arrival: Arrival,
    service: Service,
    rate_per_s: f64,
    servers: u32,
    bound: Option<Bound>,
    keys: Option<u32>,
}

/// How many messages can be there at a time, and what becomes of the next one.
///
/// ```
/// use ringway::workload::{Bound, WhenFull};
/// let bound = Bound { places: 8, when_full: WhenFull::Wait };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Places for messages, those in service included.
    pub places: u32,
    /// What a message does that finds none free.
    pub when_full: WhenFull,
}

/// What a message does that finds all places taken.
///
/// ```
/// use ringway::workload::WhenFull;
///
/// assert_eq!(WhenFull::Reject.to_string(), "reject");
/// assert_eq!("wait".parse(), Ok(WhenFull::Wait));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is lost.
    Reject,
    /// It waits with the producer, and so do all behind it: back-pressure.
    Wait,
}

/// By the name that its text is; else an error that says which there are.
impl FromStr for WhenFull {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "reject" => Ok(Self::Reject),
            "wait" => Ok(Self::Wait),
            _ => {
                let what = "choice for a message without a place";
                Err(UnknownName::new(text, what, &["reject", "wait"]))
            }
        }
    }
}

impl std::fmt::Display for WhenFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reject => "reject",
            Self::Wait => "wait",
        })
    }
}

impl Scenario {
    /// The lowest rate, messages a second.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Scenario::RATE_MIN_PER_S, 1e-6);
    /// ```
    pub const RATE_MIN_PER_S: f64 = 1e-6;

    /// The highest rate, messages a second.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Scenario::RATE_MAX_PER_S, 1e12);
    /// ```
    pub const RATE_MAX_PER_S: f64 = 1e12;

    /// The most servers.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Scenario::SERVERS_MAX, 10_000);
    /// ```
    pub const SERVERS_MAX: u32 = 10_000;

    /// The most places of a bound, and the most keys.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Scenario::PLACES_MAX, 1_000_000);
    /// ```
    pub const PLACES_MAX: u32 = 1_000_000;

    /// Messages at `rate_per_s` on average, from a millionth to 10^12 a second; 1 to 10,000
    /// servers; a bound of places, if there is one, of a million at most and no less than there
    /// are servers.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Scenario, Service};
    ///
    /// let error = Scenario::new(Arrival::poisson(), Service::none(), -1.0, 1, None).unwrap_err();
    /// assert!(error.to_string().starts_with("the rate cannot be -1: it is from 0.000001 to "));
    /// ```
    pub fn new(
        arrival: Arrival,
        service: Service,
        rate_per_s: f64,
        servers: u32,
        bound: Option<Bound>,
    ) -> Result<Self, Error> {
        let rate_per_s = checked_rate(rate_per_s)?;
        let servers = checked_servers(servers)?;
        if let Some(Bound { places, .. }) = bound {
            // Fewer would leave servers without work for ever.
            if !(servers..=Self::PLACES_MAX).contains(&places) {
                let most = Self::PLACES_MAX;
                let bounds = format!("from {servers}, the number of servers, to {most}");
                return Err(Error::bounds("the bound", places, bounds));
            }
        }
        Ok(Self { arrival, service, rate_per_s, servers, bound, keys: None })
    }

    /// The same, with a key for each message, one of so many, all equally likely. Messages of
    /// one key are served one after the other, in their order.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Scenario};
    ///
    /// let scenario = Scenario::new(Arrival::poisson(), "exp:1us".parse()?, 1e6, 4, None)?;
    /// assert_eq!(scenario.keyed(100)?.keys(), Some(100));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn keyed(self, keys: u32) -> Result<Self, Error> {
        let keys = number::within("the number of keys", keys, 1, Self::PLACES_MAX)?;
        Ok(Self { keys: Some(keys), ..self })
    }

    /// The same at another rate.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 1.0, 1, None)?;
    /// assert_eq!(scenario.at_rate(5.0)?.rate_per_s(), 5.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn at_rate(self, rate_per_s: f64) -> Result<Self, Error> {
        Ok(Self { rate_per_s: checked_rate(rate_per_s)?, ..self })
    }

    /// When messages are offered.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 1.0, 1, None)?;
    /// assert_eq!(scenario.arrival(), &Arrival::fixed());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// How long each takes.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 1.0, 1, None)?;
    /// assert_eq!(scenario.service(), &Service::none());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Messages offered, a second.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 5.0, 1, None)?;
    /// assert_eq!(scenario.rate_per_s(), 5.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn rate_per_s(&self) -> f64 {
        self.rate_per_s
    }

    /// How many serve.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 5.0, 2, None)?;
    /// assert_eq!(scenario.servers(), 2);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn servers(&self) -> u32 {
        self.servers
    }

    /// How many messages can be there, if not any number.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 5.0, 2, None)?;
    /// assert_eq!(scenario.bound(), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn bound(&self) -> Option<Bound> {
        self.bound
    }

    /// How many keys messages have, if they have any.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario, Service};
    /// # let scenario = Scenario::new(Arrival::fixed(), Service::none(), 5.0, 2, None)?;
    /// assert_eq!(scenario.keys(), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn keys(&self) -> Option<u32> {
        self.keys
    }

    /// The work offered over what the servers can do: rate times mean service over servers, or over
    /// keys if there are fewer of them, because no more servers work then. Above 1 a queue without a
    /// bound grows without end; at 1 it does unless nothing in it is random.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Scenario};
    /// let scenario = Scenario::new(Arrival::fixed(), "fixed:1s".parse()?, 1.0, 8, None)?;
    /// assert_eq!(scenario.load(), 0.125);
    /// assert_eq!(scenario.keyed(2)?.load(), 0.5);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn load(&self) -> f64 {
        rounded(self.offered() / f64::from(self.most_at_work()))
    }

    /// No more servers can work at a time than there are keys.
    fn most_at_work(&self) -> u32 {
        self.keys.map_or(self.servers, |keys| keys.min(self.servers))
    }

    /// How many messages are served in a mean service if there is always one more, by servers among
    /// whom only keys keep any from messages that wait.
    pub(super) fn capacity(&self) -> Capacity {
        let most = f64::from(self.most_at_work());
        match (self.bound, self.keys) {
            (Some(Bound { places, when_full: WhenFull::Wait }), Some(keys)) if keys > 1 => {
                // With a server for each key the places are customers that go from key to key: a
                // closed network of equal stations, all of whose states are equally likely (W. J.
                // Gordon, G. F. Newell, 1967). A key has a message in K of K + k - 1 of them.
                if keys <= self.servers && self.service.is_exponential() {
                    let (places, keys) = (f64::from(places), f64::from(keys));
                    Capacity::Exactly(keys * places / (places + keys - 1.0))
                } else {
                    Capacity::AtMost(most)
                }
            }
            _ => Capacity::Exactly(most),
        }
    }

    /// The scenario as so many that are equal and know nothing of each other, each with one server
    /// and without keys, if it is that: where one server serves all, or Poisson arrivals find a
    /// server for their key.
    pub(super) fn by_keys(&self) -> Option<(u32, Self)> {
        let keys = self.keys?;
        let one = Self { servers: 1, keys: None, ..self.clone() };
        if self.most_at_work() == 1 {
            return Some((1, one));
        }
        let apart = self.has_a_server_for_each_key() && self.bound.is_none();
        let rate_per_s = self.rate_per_s / f64::from(keys);
        (apart && self.arrival.is_poisson()).then_some((keys, Self { rate_per_s, ..one }))
    }

    fn has_a_server_for_each_key(&self) -> bool {
        self.keys.is_some_and(|keys| keys <= self.servers)
    }

    /// About how long the queue remembers how it was, in nanoseconds: the longest of the times in which
    /// the birth-death chain forgets, and as much more or less as its times vary (A. R. Odoni, E. Roth,
    /// 1983). Servers to spare remember for as long as their service takes, however many they are (E. A.
    /// van Doorn, 1985). A key with a server of its own remembers as one server does, and its gaps are
    /// sums of as many of all gaps as chance makes it. `None` if it grows without end.
    pub(super) fn relaxation_ns(&self) -> Option<f64> {
        let (Capacity::Exactly(most) | Capacity::AtMost(most)) = self.capacity();
        let load = rounded(self.offered() / most);
        let root = load.sqrt();
        let apart = (1.0 - root).powi(2);
        let forgetting = match self.bound {
            Some(Bound { places, when_full: WhenFull::Reject }) => {
                apart + 2.0 * root * (1.0 - (PI / (f64::from(places) + 1.0)).cos())
            }
            _ if load < 1.0 => apart,
            _ => return None,
        };
        let (together, parts) = match self.keys {
            Some(keys) if self.has_a_server_for_each_key() => (1, keys),
            _ => (self.servers, 1),
        };
        let in_a_service = forgetting * f64::from(together);
        let in_a_service = if load < 1.0 { in_a_service.min(1.0) } else { in_a_service };
        let arrival_cv2 = 1.0 + (self.arrival_cv2() - 1.0) / f64::from(parts);
        let variation = f64::midpoint(arrival_cv2, self.service.cv2());
        Some(variation * self.service.mean_ns() / in_a_service)
    }

    /// How many servers would be busy if there were always one free: rate times mean service.
    pub(super) fn offered(&self) -> f64 {
        self.rate_per_s * self.service.mean_ns() / NS_PER_S
    }

    /// The squared coefficient of variation of the gaps.
    pub(super) fn arrival_cv2(&self) -> f64 {
        self.arrival.cv2(self.rate_per_s)
    }
}

pub(super) fn checked_servers(servers: u32) -> Result<u32, Error> {
    number::within("the number of servers", servers, 1, Scenario::SERVERS_MAX)
}

pub(super) fn checked_rate(rate_per_s: f64) -> Result<f64, Error> {
    number::within("the rate", rate_per_s, Scenario::RATE_MIN_PER_S, Scenario::RATE_MAX_PER_S)
}
