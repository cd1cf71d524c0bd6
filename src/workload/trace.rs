//! Gaps between messages, as somebody recorded them.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::workload::Error;
use crate::workload::number;

/// How many bytes a trace's file may have.
const SIZE_MAX: u64 = 256 << 20;

/// The longest gap: a day.
const GAP_MAX_NS: f64 = 24.0 * 3600.0 * 1e9;

/// Recorded gaps between messages, in their order.
///
/// A file has one gap a line, from the message before it: a number of nanoseconds, or a time
/// with its unit. Empty lines and what follows a `#` do not count. A gap of 0 is a message at
/// the same moment.
///
/// Two traces are equal if their names and their gaps are.
///
/// ```
/// use ringway::workload::Trace;
///
/// let trace = Trace::from_lines("bursts", "# two at a time\n0\n2us\n0\n4000\n".as_bytes())?;
/// assert_eq!(trace.gaps_ns(), [0.0, 2000.0, 0.0, 4000.0]);
/// assert_eq!(trace.mean_ns(), 1500.0);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Trace {
    name: Arc<str>,
    gaps_ns: Arc<[f64]>,
    mean_ns: f64,
    cv2: f64,
}

impl Trace {
    /// A trace of these gaps, each from 0 to a day and not all 0. The name is for display.
    ///
    /// ```
    /// let trace = ringway::workload::Trace::new("my own", vec![1.0, 2.0, 3.0])?;
    /// assert_eq!(trace.name(), "my own");
    /// assert!(ringway::workload::Trace::new("none", vec![]).is_err());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn new(name: &str, gaps_ns: Vec<f64>) -> Result<Self, Error> {
        if let Some(gap) = gaps_ns.iter().find(|gap| !is_gap(**gap)) {
            return Err(Error::trace(name, format_args!("a gap of {gap} ns is not from 0 to 24h")));
        }
        let count = number::float(gaps_ns.len() as u64);
        let mean_ns = gaps_ns.iter().sum::<f64>() / count;
        // That of no gaps is not a number.
        if mean_ns.is_nan() || mean_ns <= 0.0 {
            return Err(Error::trace(name, "it has no gap above 0"));
        }
        // By gaps over their mean, because the squares of tiny ones would be nothing.
        let cv2 = gaps_ns.iter().map(|gap| (gap / mean_ns - 1.0).powi(2)).sum::<f64>() / count;
        Ok(Self { name: name.into(), gaps_ns: gaps_ns.into(), mean_ns, cv2 })
    }

    /// Reads a file of gaps, of 256 MiB at most.
    ///
    /// ```
    /// let error = ringway::workload::Trace::read("no-such-file").unwrap_err();
    /// assert!(error.to_string().starts_with("trace 'no-such-file' cannot be read: "));
    /// ```
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let name = path.as_ref().to_string_lossy();
        let unreadable = |source| Error::TraceUnreadable { name: name.as_ref().into(), source };
        let file = File::open(&path).map_err(unreadable)?;
        Self::from_lines(&name, file)
    }

    /// Reads gaps from their lines, 256 MiB of them at most. The name is for display.
    ///
    /// ```
    /// let lines = "1\n2 parsec".as_bytes();
    /// let error = ringway::workload::Trace::from_lines("x", lines).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "trace 'x' cannot be replayed: line 2, '2 parsec', is no gap: it is a number of \
    ///      nanoseconds, or a time with its unit, from 0 to 24h",
    /// );
    /// ```
    pub fn from_lines(name: &str, lines: impl Read) -> Result<Self, Error> {
        let mut lines = BufReader::new(lines.take(SIZE_MAX + 1));
        let (mut size, mut line, mut number, mut gaps_ns) = (0, String::new(), 0_u64, Vec::new());
        loop {
            line.clear();
            let read = lines.read_line(&mut line);
            let read =
                read.map_err(|source| Error::TraceUnreadable { name: name.into(), source })?;
            size += read as u64;
            number += 1;
            if size > SIZE_MAX {
                return Err(Error::trace(name, "it has more than 256 MiB"));
            }
            if read == 0 {
                return Self::new(name, gaps_ns);
            }
            let text = line.split('#').next().unwrap_or_default().trim();
            if !text.is_empty() {
                gaps_ns.push(gap(text).ok_or_else(|| no_gap(name, number, text))?);
            }
        }
    }

    /// What it is called: its file, if it was read from one.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Trace::new("a", vec![1.0])?.name(), "a");
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The gaps in nanoseconds, one at least.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Trace::new("a", vec![1.0])?.gaps_ns(), [1.0]);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn gaps_ns(&self) -> &[f64] {
        &self.gaps_ns
    }

    /// Their mean in nanoseconds, above 0.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Trace::new("a", vec![1.0, 3.0])?.mean_ns(), 2.0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        self.mean_ns
    }

    /// Their squared coefficient of variation: variance over squared mean. It says nothing of
    /// their order, which matters as much to a queue.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Trace::new("a", vec![1.0, 3.0])?.cv2(), 0.25);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn cv2(&self) -> f64 {
        self.cv2
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, gaps_ns, mean_ns, cv2 } = self;
        write!(
            f,
            "Trace {{ name: {name:?}, gaps: {}, mean_ns: {mean_ns}, cv2: {cv2} }}",
            gaps_ns.len()
        )
    }
}

fn gap(text: &str) -> Option<f64> {
    let time = || humantime::parse_duration(text).ok().map(number::nanoseconds);
    text.parse().ok().or_else(time).filter(|ns| is_gap(*ns))
}

fn is_gap(ns: f64) -> bool {
    (0.0..=GAP_MAX_NS).contains(&ns)
}

fn no_gap(name: &str, number: u64, text: &str) -> Error {
    const SHOWN_MAX: usize = 40;
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let shown = shown.escape_debug();
    Error::trace(
        name,
        format_args!(
            "line {number}, '{shown}', is no gap: it is a number of nanoseconds, or a time with its \
             unit, from 0 to 24h"
        ),
    )
}
