//! What can be wrong with what the laboratory is asked for.

use std::{fmt, io};

/// Why an arrival, a service, a scenario or a plan cannot be.
///
/// The text names what is wrong, the value, and what it may be.
///
/// ```
/// use ringway::workload::{Arrival, Error};
///
/// let error = "hyper:0.5".parse::<Arrival>().unwrap_err();
/// assert!(matches!(error, Error::OutOfBounds { .. }));
/// assert_eq!(error.to_string(), "the cv2 of hyper cannot be 0.5: it is from 1 to 1000000");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A text that has none of the forms.
    Form {
        /// What it should have been.
        what: &'static str,
        /// The text.
        text: Box<str>,
        /// The forms there are.
        expected: &'static str,
    },
    /// A load of servers whose service takes no time.
    NoLoad,
    /// A value out of its bounds.
    OutOfBounds {
        /// Whose value.
        what: &'static str,
        /// The value.
        value: Box<str>,
        /// What it may be.
        bounds: Box<str>,
    },
    /// A trace that cannot be replayed.
    Trace {
        /// Its name.
        name: Box<str>,
        /// What is wrong, and where.
        what: Box<str>,
    },
    /// A trace that cannot be read.
    TraceUnreadable {
        /// Its file.
        name: Box<str>,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn form(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self::Form { what, text: text.into(), expected }
    }

    pub(super) fn bounds(
        what: &'static str,
        value: impl fmt::Display,
        bounds: impl fmt::Display,
    ) -> Self {
        let (value, bounds) = (value.to_string().into(), bounds.to_string().into());
        Self::OutOfBounds { what, value, bounds }
    }

    pub(super) fn trace(name: &str, what: impl fmt::Display) -> Self {
        Self::Trace { name: name.into(), what: what.to_string().into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { what, text, expected } => {
                write!(f, "'{}' is no {what}: it is {expected}", text.escape_debug())
            }
            Self::NoLoad => {
                f.write_str("no rate is a load, because service takes no time; give the rate")
            }
            Self::OutOfBounds { what, value, bounds } => {
                write!(f, "{what} cannot be {value}: it is {bounds}")
            }
            Self::Trace { name, what } => write!(f, "trace '{name}' cannot be replayed: {what}"),
            Self::TraceUnreadable { name, source } => {
                write!(f, "trace '{name}' cannot be read: {source}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The text has that of the cause itself.
            Self::TraceUnreadable { source, .. } => source.source(),
            _ => None,
        }
    }
}
