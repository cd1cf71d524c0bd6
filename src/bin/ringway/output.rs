//! How the program speaks: data on the standard output, everything else on the standard error.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use ringway::LogCut;
use serde_json::{Value, json};

use crate::failure::{Ending, Failure};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default();

/// Tells people what happens, unless they asked for quiet.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    says: Says,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    All,
    /// What explains a failure.
    Failures,
    Nothing,
}

impl Console {
    pub fn new(quiet: bool) -> Self {
        Self { says: if quiet { Says::Failures } else { Says::All } }
    }

    /// For what is said elsewhere.
    pub fn silent() -> Self {
        Self { says: Says::Nothing }
    }

    /// For what explains an exit code other than 0, if it does: no quiet keeps that back.
    pub fn explaining(self, fails: bool) -> Self {
        if fails && self.says == Says::Failures { Self { says: Says::All } } else { self }
    }

    /// One line for people. That nobody may be there to read it is no reason to stop.
    pub fn note(self, text: impl std::fmt::Display) {
        if self.says == Says::All {
            let _ = writeln!(anstream::stderr(), "{NOTE}ringway:{NOTE:#} {text}");
        }
    }

    /// That the messages `from..to` are gone.
    pub fn note_missed(self, from: u64, to: u64) {
        let count = count(to - from, "message");
        self.note(format_args!("missed {count}: {}", range(from, to)));
    }

    /// That messages of one of several queues are gone.
    pub fn note_missed_of(self, queue: &str, from: u64, to: u64) {
        let count = count(to - from, "message");
        self.note(format_args!("missed {count} of '{queue}': {}", range(from, to)));
    }
}

/// The last words of a program that failed.
pub fn error(failure: &Failure) {
    let _ = writeln!(anstream::stderr(), "{ERROR}error:{ERROR:#} {failure}");
}

/// The end of a command that several queues were named to: one that fails does not keep the
/// others from being dealt with.
pub fn end_of_many(mut failures: Vec<Failure>, of: usize) -> Result<Ending, Failure> {
    match failures.len() {
        0 => Ok(Ending::Done),
        1 if of == 1 => Err(failures.remove(0)),
        failed => {
            for failure in &failures {
                error(failure);
            }
            Err(Failure::Some { failed, of, code: failures[0].code() })
        }
    }
}

/// Prints one value as a line of JSON.
pub fn json(value: &Value) -> Result<(), Failure> {
    print(format_args!("{value}"))
}

/// Prints values as they come, as an array on a line of JSON.
pub fn json_array(
    values: impl IntoIterator<Item = Result<Value, ringway::Error>>,
) -> Result<(), Failure> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut separator = "[";
    for value in values {
        write!(stdout, "{separator}{}", value?).map_err(Failure::Output)?;
        separator = ",";
    }
    let end = if separator == "[" { "[]" } else { "]" };
    writeln!(stdout, "{end}").and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// Prints a line, or several.
pub fn print(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// Whether a path stands for the standard input, or the standard output.
pub fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Finds out whether a file can be written there, and leaves all as it is.
pub fn probe(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        // Who opens a pipe waits for its other side.
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
        Ok(_) => File::options().append(true).open(path).map(drop),
        Err(_) => File::create_new(path).and_then(|_| fs::remove_file(path)),
    }
}

/// Whether two paths lead to one file, so that what is written to the one is gone from the other.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(found), Ok(same)) => found == same && found.is_file(),
        (Err(_), Err(_)) => one == other,
        _ => false,
    }
}

/// A table without lines; the columns named in `numbers` are set to the right.
pub fn table(
    header: &[&str],
    numbers: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec()).add_rows(rows);
    for (index, title) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if numbers.contains(title) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.trim_fmt()
}

/// How much something came to in a second, if that is known.
pub type Rate<'a, T> = &'a dyn Fn(&T) -> Option<f64>;

/// The columns of a table; those of `words` are set to the left, the others are numbers.
pub struct Columns<'a> {
    header: &'a [&'a str],
    words: &'a [&'a str],
}

impl<'a> Columns<'a> {
    pub const fn new(header: &'a [&'a str], words: &'a [&'a str]) -> Self {
        Self { header, words }
    }

    /// A row for each, with what it came to in a second, before how far it is behind, if that is
    /// to be told.
    pub fn show<T>(
        &self,
        all: &[T],
        row: fn(&T) -> Vec<String>,
        rate: Option<Rate<'_, T>>,
    ) -> String {
        let mut header = self.header.to_vec();
        let place = header.iter().position(|title| *title == "BEHIND").unwrap_or(header.len());
        if rate.is_some() {
            header.insert(place, "RATE");
        }
        let numbers: Vec<_> =
            header.iter().copied().filter(|title| !self.words.contains(title)).collect();
        let rows = all.iter().map(|one| {
            let mut row = row(one);
            if let Some(rate) = rate {
                row.insert(place, per_second(rate(one)));
            }
            row
        });
        table(&header, &numbers, rows)
    }
}

/// How many in a second, for people.
pub fn per_second(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |rate| format!("{}/s", crate::model::number(rate)))
}

/// What was cut off of a journal, for people.
pub fn cut_text(cut: &LogCut) -> String {
    let LogCut { path, offset, size, kept_in, .. } = cut;
    let (path, kept_in) = (path.display(), kept_in.display());
    let is_checkpoint = cut.path.extension().is_some_and(|extension| extension == "checkpoint");
    if is_checkpoint {
        return format!(
            "put {path} aside as {kept_in}: its subscription begins again where its first member asks"
        );
    }
    format!("cut {size} bytes off {path}, from byte {offset} on; they are in {kept_in} now")
}

/// A path for programs: what is no UTF-8 in it is replaced.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|one| path(one)).collect()
}

/// What was cut off of a journal, for programs.
pub fn cut_as_json(cut: &LogCut) -> Value {
    let LogCut { path: file, offset, size, kept_in, .. } = cut;
    let (file, kept_in) = (path(file), path(kept_in));
    json!({ "file": file, "offset": offset, "size_bytes": size, "kept_in": kept_in })
}

/// A number of bytes for people: `16 MiB`.
pub fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string().replace(".0 ", " ")
}

/// A moment for people and programs alike: `2026-11-21T10:00:00Z`.
pub fn time(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// A moment to the nanosecond: what messages carry.
pub fn exact_time(moment: SystemTime) -> String {
    humantime::format_rfc3339_nanos(moment).to_string()
}

/// A time for people, to the precision that they read: `2m 5s`, `310ms`, `7d`. Of months nobody knows
/// how long they are.
pub fn duration(time: Duration) -> String {
    const MS: Duration = Duration::from_millis(1);
    const YEAR: u64 = 31_557_600;
    const DAY: u64 = 24 * 3600;
    let precise = match time {
        _ if time >= Duration::from_secs(10) => Duration::from_secs(time.as_secs()),
        _ if time >= MS => Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0)),
        _ => time,
    };
    let seconds = precise.as_secs();
    if seconds >= YEAR && seconds.is_multiple_of(YEAR) {
        return format!("{}y", seconds / YEAR);
    }
    let days = seconds / DAY;
    let rest = precise.saturating_sub(Duration::from_secs(days * DAY));
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(rest).to_string(),
        (_, true) => format!("{days}d"),
        (_, false) => format!("{days}d {}", humantime::format_duration(rest)),
    }
}

/// A time for programs.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The messages `from..to`, of which there is one at least: `17`, `17 to 20`.
pub fn range(from: u64, to: u64) -> String {
    if to == from + 1 { from.to_string() } else { format!("{from} to {}", to - 1) }
}

/// "1 message", "2 messages".
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        const DAY: u64 = 24 * 3600;
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!((of(90), of(DAY), of(7 * DAY)), ("1m 30s".into(), "1d".into(), "7d".into()));
        assert_eq!((of(90 * DAY + 3600), of(31_557_600)), ("90d 1h".into(), "1y".into()));
        assert_eq!(duration(Duration::from_micros(1_500)), "1ms");
        assert_eq!(duration(Duration::ZERO), "0s");
    }
}
