//! The names of choices, as people write them: in options of programs, in configurations.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::history::Journal;
use crate::queue::AtLimit;
use crate::ring::{Lag, Start};
use crate::subscribe::AckMode;
use crate::wait::Wait;

/// A text that names none of the choices that there are. It says which there are.
///
/// ```
/// use ringway::{Lag, Wait};
///
/// assert_eq!("skip".parse::<Lag>(), Ok(Lag::Skip));
/// assert_eq!("skip", Lag::Skip.to_string());
/// let unknown = "sleep".parse::<Wait>().unwrap_err();
/// assert_eq!(unknown.known(), ["spin", "backoff", "park"]);
/// assert_eq!(unknown.to_string(), "'sleep' is no way to wait; it is spin, backoff or park");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    given: Box<str>,
    what: &'static str,
    known: &'static [&'static str],
}

impl UnknownName {
    pub(crate) fn new(given: &str, what: &'static str, known: &'static [&'static str]) -> Self {
        Self { given: given.into(), what, known }
    }

    /// The names that there are.
    ///
    /// ```
    /// let unknown = "".parse::<ringway::AckMode>().unwrap_err();
    /// assert_eq!(unknown.known(), ["auto", "manual"]);
    /// ```
    #[must_use]
    pub fn known(&self) -> &'static [&'static str] {
        self.known
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, what, known } = self;
        let (last, others) = known.split_last().unwrap_or((&"nothing", &[]));
        write!(f, "'{}' is no {what}; it is {} or {last}", given.escape_debug(), others.join(", "))
    }
}

impl std::error::Error for UnknownName {}

/// Gives a type the names of its values, as texts and from them.
macro_rules! names {
    ($type:ident, $what:literal, $($name:literal $value:ident),+) => {
        /// By the name that its text is; else an error that says which there are.
        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                const KNOWN: &[&str] = &[$($name),+];
                match text {
                    $($name => Ok(Self::$value),)+
                    _ => Err(UnknownName::new(text, $what, KNOWN)),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $name,)+
                })
            }
        }
    };
}

names!(Wait, "way to wait", "spin" Spin, "backoff" Backoff, "park" Park);
names!(Lag, "lag policy", "hold" Hold, "skip" Skip, "spill" Spill);
names!(AtLimit, "choice of what gives way", "hold" Hold, "drop-oldest" DropOldest);
names!(AckMode, "way to acknowledge", "auto" Auto, "manual" Manual);

/// By the text that it has: `oldest`, `newest`, a sequence such as `17`, or `-17`, which is the last so
/// many. No text names a time.
impl FromStr for Start {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        const KNOWN: &[&str] = &["oldest", "newest", "SEQUENCE", "-COUNT"];
        let start = match (text, text.strip_prefix('-')) {
            ("oldest", _) => Some(Self::Oldest),
            ("newest", _) => Some(Self::Newest),
            (_, Some(count)) => number_of(count).map(Self::Last),
            (sequence, None) => number_of(sequence).map(Self::Sequence),
        };
        start.ok_or_else(|| UnknownName::new(text, "place to start", KNOWN))
    }
}

/// As it is read; a time is `@` and the seconds since 1970, for people.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oldest => f.write_str("oldest"),
            Self::Newest => f.write_str("newest"),
            Self::Sequence(sequence) => write!(f, "{sequence}"),
            Self::Last(count) => write!(f, "-{count}"),
            Self::Time(time) => {
                // Nothing was sent before.
                let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                write!(f, "@{}.{:09}", since_1970.as_secs(), since_1970.subsec_nanos())
            }
        }
    }
}

/// A whole number without a sign.
fn number_of(text: &str) -> Option<u64> {
    let has_sign = text.starts_with(['+', '-']);
    text.parse().ok().filter(|_| !has_sign)
}

/// By the text that it has: `written`, `always`, or `every:` with a time above zero, which is a whole
/// number of `ns`, `us`, `ms`, `s`, `m`, `h` or `d`.
impl FromStr for Journal {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "written" => Ok(Self::Written),
            "always" => Ok(Self::SyncedAlways),
            _ => {
                let every = text.strip_prefix("every:").and_then(time_of);
                let known = &["written", "always", "every:TIME"];
                every.map(Self::SyncedEvery).ok_or(UnknownName::new(text, "journal", known))
            }
        }
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("written"),
            Self::SyncedEvery(every) => write!(f, "every:{}", text_of(*every)),
            Self::SyncedAlways => f.write_str("always"),
        }
    }
}

/// Units of time, the longest first, in nanoseconds.
const UNITS: [(u64, &str); 7] = [
    (24 * 3600 * 1_000_000_000, "d"),
    (3600 * 1_000_000_000, "h"),
    (60 * 1_000_000_000, "m"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1000, "us"),
    (1, "ns"),
];

/// A time above zero, of one unit.
fn time_of(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (size, _) = UNITS.into_iter().find(|(_, name)| *name == unit)?;
    let time = number.parse::<u64>().ok()?.checked_mul(size)?;
    (time > 0).then_some(Duration::from_nanos(time))
}

/// The shortest text of one unit that is the very time.
fn text_of(time: Duration) -> String {
    let time = time.as_nanos();
    let whole = |size: u64| time >= size.into() && time.is_multiple_of(size.into());
    let (size, unit) = UNITS.into_iter().find(|(size, _)| whole(*size)).unwrap_or((1, "ns"));
    format!("{}{unit}", time / u128::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name is the text of the value that it names.
    fn round_trip<T: FromStr<Err = UnknownName> + fmt::Display>() {
        let unknown = T::from_str("no such name").err().expect("there is none");
        for name in unknown.known() {
            let value = T::from_str(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(value.to_string(), *name);
            assert!(
                T::from_str(&name.to_uppercase()).is_err() && unknown.to_string().contains(name)
            );
        }
    }

    #[test]
    fn names_are_the_texts_of_what_they_name() {
        round_trip::<Wait>();
        round_trip::<Lag>();
        round_trip::<AtLimit>();
        round_trip::<AckMode>();
    }

    #[test]
    fn a_start_is_the_one_that_its_text_names() {
        let starts = [
            ("oldest", Start::Oldest),
            ("newest", Start::Newest),
            ("0", Start::Sequence(0)),
            ("18446744073709551615", Start::Sequence(u64::MAX)),
            ("-17", Start::Last(17)),
        ];
        for (text, start) in starts {
            assert_eq!((text.parse(), start.to_string().as_str()), (Ok(start), text));
        }
        for text in ["", "-", "+1", "-+1", "--1", "1.5", "18446744073709551616", "Oldest", "@1.5"] {
            assert!(text.parse::<Start>().is_err(), "{text}");
        }
        let unknown = "first".parse::<Start>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "'first' is no place to start; it is oldest, newest, SEQUENCE or -COUNT"
        );
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(Start::Time(time).to_string(), "@1.500000000");
    }

    #[test]
    fn a_journal_is_the_one_that_its_text_names() {
        for text in ["written", "always", "every:100ms", "every:1500us", "every:90s", "every:7d"] {
            assert_eq!(text.parse::<Journal>().unwrap().to_string(), text);
        }
        for (text, short) in [("60s", "1m"), ("3600000ms", "1h"), ("001us", "1us")] {
            let journal: Journal = format!("every:{text}").parse().unwrap();
            assert_eq!(journal.to_string(), format!("every:{short}"));
        }
        let refused = ["", "every", "every:", "every:0s", "every:7", "every:s", "every:-1s"];
        let too_much = ["every:300000d", "every:99999999999999999999ns", "every:1s 1s", "Always"];
        for text in refused.into_iter().chain(too_much) {
            assert!(text.parse::<Journal>().is_err(), "{text}");
        }
        let unknown = "often".parse::<Journal>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "'often' is no journal; it is written, always or every:TIME"
        );
    }
}
