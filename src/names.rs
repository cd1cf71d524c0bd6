//! The names of choices, as people write them: in options of programs, in configurations.

use std::fmt;
use std::str::FromStr;

use crate::queue::AtLimit;
use crate::ring::Lag;
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
                    _ => Err(UnknownName { given: text.into(), what: $what, known: KNOWN }),
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
}
