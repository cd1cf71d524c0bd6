//! Values of options, from what people write.

use std::ffi::{CString, OsString};
use std::fmt::Display;
use std::fs;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use ringway::workload::{Arrival, Error};
use ringway::{Backoff, Journal, Start, UnknownName};

use crate::bench::args::Pins;

/// What stands between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiter {
    /// This byte behind each.
    Byte(u8),
    /// The length before each: 32 bits, little-endian.
    Length,
}

pub fn delimiter(text: &str) -> Result<Delimiter, String> {
    match text {
        "\\n" => Ok(Delimiter::Byte(b'\n')),
        "\\0" => Ok(Delimiter::Byte(0)),
        "\\t" => Ok(Delimiter::Byte(b'\t')),
        "len32" => Ok(Delimiter::Length),
        _ => match text.as_bytes() {
            &[byte] => Ok(Delimiter::Byte(byte)),
            _ => Err("it is one byte, '\\n', '\\0', '\\t', or len32".into()),
        },
    }
}

/// A number of bytes. A unit of one letter is binary, as where memory is meant everywhere.
pub fn size(text: &str) -> Result<ByteSize, String> {
    let is_short = text.ends_with(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T']);
    let unit = if is_short { "iB" } else { "" };
    let size = format!("{text}{unit}").parse();
    size.map_err(|_| "it is a number of bytes, such as 64KiB, 16M or 1000000".into())
}

/// One byte, as it is or as an escape.
pub fn byte(text: &str) -> Result<u8, String> {
    match delimiter(text) {
        Ok(Delimiter::Byte(byte)) => Ok(byte),
        _ => Err("it is one byte, '\\n', '\\0' or '\\t'".into()),
    }
}

/// A command for a shell. One of blanks alone does nothing and succeeds, which would acknowledge
/// messages that nobody has seen.
pub fn command() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|text| {
        let is_blank = text.as_encoded_bytes().iter().all(u8::is_ascii_whitespace);
        let what = "it is a command, and this one is empty: every message would be acknowledged, and nothing done";
        if is_blank { Err(what) } else { Ok(text) }
    })
}

pub fn backoff(text: &str) -> Result<Backoff, String> {
    const FACTOR: f64 = 2.0;
    const MAX: Duration = Duration::from_secs(60);
    let parts: Vec<_> = text.split(':').collect();
    let time = |part: &str| span(part).map_err(|what| format!("'{part}' is no time: {what}"));
    let factor =
        |part: &str| part.parse().map_err(|_| format!("'{part}' is no factor, such as 1.5"));
    match parts[..] {
        [first] => {
            let first = time(first)?;
            Ok(Backoff::new(first, FACTOR, first.max(MAX)))
        }
        [first, by] => {
            let first = time(first)?;
            Ok(Backoff::new(first, factor(by)?, first.max(MAX)))
        }
        [first, by, max] => Ok(Backoff::new(time(first)?, factor(by)?, time(max)?)),
        _ => Err("it is FIRST, FIRST:FACTOR or FIRST:FACTOR:MAX, such as 100ms:2:1m".into()),
    }
}

/// A term of a subscription, or that it has none such.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term<T>(pub Option<T>);

/// Reads what `read` reads, and `none`.
pub fn or_none<T>(
    read: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Term<T>, String> + Clone {
    move |text| match text {
        "none" => Ok(Term(None)),
        _ => read(text).map(|value| Term(Some(value))).map_err(|why| format!("{why}, or none")),
    }
}

pub fn start(text: &str) -> Result<Start, String> {
    let start = text.parse().ok().or_else(|| moment(text).map(Start::Time));
    start.ok_or_else(|| {
        let meant = meant(text).map_or(String::new(), |it| format!("; did you mean {it}?"));
        format!("it is oldest, newest, a sequence, -N, {A_MOMENT}{meant}")
    })
}

/// The last so many messages: `-17`.
fn last(text: &str) -> Option<u64> {
    text.strip_prefix('-').and_then(sequence)
}

/// What others call the ends of a stream.
fn meant(text: &str) -> Option<&'static str> {
    match text {
        "earliest" | "beginning" | "start" | "first" => Some("oldest"),
        "latest" | "end" | "last" => Some("newest"),
        _ => None,
    }
}

/// Where a journal on disk is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    Oldest,
    /// So many messages before its end.
    Last(u64),
    At(Mark),
}

pub fn beginning(text: &str) -> Result<Beginning, String> {
    match (text, last(text)) {
        ("oldest", _) => Ok(Beginning::Oldest),
        (_, Some(count)) => Ok(Beginning::Last(count)),
        _ => mark(text).map(Beginning::At).map_err(|_| {
            let meant = meant(text).filter(|it| *it == "oldest");
            let meant = meant.map_or("", |_| "; did you mean oldest?");
            format!("it is oldest, a sequence, -N, {A_MOMENT}{meant}")
        }),
    }
}

/// A place in a journal on disk: a message, or a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Sequence(u64),
    Time(SystemTime),
}

pub fn mark(text: &str) -> Result<Mark, String> {
    sequence(text)
        .map(Mark::Sequence)
        .or_else(|| moment(text).map(Mark::Time))
        .ok_or_else(|| format!("it is a sequence, {A_MOMENT}"))
}

const A_MOMENT: &str = "-TIME such as -5m, or a time such as 2026-11-21T10:00:00Z";

fn sequence(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// So long ago, as `-5m`, or a time of UTC.
fn moment(text: &str) -> Option<SystemTime> {
    // Of a command all times are so long before the same moment.
    static NOW: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    match text.strip_prefix('-') {
        Some(ago) => NOW.checked_sub(humantime::parse_duration(ago).ok()?),
        None => humantime::parse_rfc3339_weak(text).ok(),
    }
}

/// A time, which may be none at all.
pub fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        without_unit(text).unwrap_or_else(|| "it is a time, such as 500ms, 90s or 7d".into())
    })
}

fn without_unit(text: &str) -> Option<String> {
    let is_some = is_number(text) && text.bytes().any(|byte| byte != b'0');
    is_some.then(|| format!("{text} has no unit: write {text}s or {text}ms"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A time above zero.
pub fn time(text: &str) -> Result<Duration, String> {
    match span(text) {
        Ok(time) if time.is_zero() => Err("it is a time above zero, such as 90s or 7d".into()),
        time => time,
    }
}

/// A number that counts or names something.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| {
        if is_number(text) { "it is too large" } else { "it is a whole number from 0 on" }.into()
    })
}

/// A user, by number or by name.
pub fn user(text: &str) -> Result<u32, String> {
    if is_number(text) {
        return whole(text);
    }
    user_named(text).ok_or_else(|| format!("there is no user '{text}'; give a name, or a number"))
}

fn user_named(name: &str) -> Option<u32> {
    // What an entry has beside numbers, which is a line of a file where it is not somebody's joke.
    const TEXTS_SIZE: usize = 16 << 10;
    let name = CString::new(name).ok()?;
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut texts = vec![0; TEXTS_SIZE];
    let (place, mut found) = (entry.as_mut_ptr(), ptr::null_mut());
    // SAFETY: all of these outlive the call, and the texts are as long as is said.
    unsafe {
        libc::getpwnam_r(name.as_ptr(), place, texts.as_mut_ptr(), TEXTS_SIZE, &raw mut found);
    }
    // SAFETY: found, it is the entry, which was written then.
    (!found.is_null()).then(|| unsafe { (*found).pw_uid })
}

/// A number that counts something, within bounds that an error tells.
pub fn within<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Copy,
{
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("it is a whole number from {least} to {most}"))
    }
}

/// The number of a field.
pub fn field(text: &str) -> Result<NonZeroUsize, String> {
    NonZeroUsize::new(whole(text)?).ok_or_else(|| "fields count from 1".into())
}

/// How often to look.
pub fn interval(text: &str) -> Result<Duration, String> {
    time(text).map_err(|_| {
        without_unit(text).unwrap_or_else(|| {
            "it is a time above zero, such as 500ms; the queue's name comes before it".into()
        })
    })
}

/// When messages of a journal are safe.
pub fn journal(text: &str) -> Result<Journal, String> {
    let what = |_: UnknownName| "it is written, always, or every:TIME such as every:100ms".into();
    text.parse().map_err(what)
}

/// How fast what was sent once is sent again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was sent.
    Times(f64),
    Max,
}

pub fn speed(text: &str) -> Result<Speed, String> {
    let times = text.strip_suffix('x').and_then(|times| positive(times).ok()).map(Speed::Times);
    let speed = if text == "max" { Some(Speed::Max) } else { times };
    speed.ok_or_else(|| "it is max, or a number with an x, such as 1x or 0.5x".into())
}

/// Parses one of the choices that the library has names for, which help and completions list.
pub fn named<T>() -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownName> + Clone + Send + Sync + 'static,
{
    // No choice has no name.
    let known = T::from_str("").err().map_or(&[][..], |unknown| unknown.known());
    PossibleValuesParser::new(known).try_map(|given| given.parse::<T>())
}

pub fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).map_err(|_| "it is octal, as in chmod: 0600, 0660".into())
}

/// The longest that a run is, and its warm-up.
const LENGTH_MAX: Duration = Duration::from_secs(3600);

/// How long a run is: from a hundredth of a second to an hour.
pub fn length(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(10);
    let length = span(text)?;
    if (LEAST..=LENGTH_MAX).contains(&length) {
        return Ok(length);
    }
    Err("it is from 10ms to 1h".into())
}

/// How long its warm-up is: up to an hour.
pub fn warm_up(text: &str) -> Result<Duration, String> {
    let length = span(text)?;
    if length <= LENGTH_MAX { Ok(length) } else { Err("it is from 0s to 1h".into()) }
}

/// When messages are offered by an end of its own, which reads a trace for itself: a file, by the path
/// that leads to it whatever the end's own standard input is. Anything else would be read to its end
/// before it is refused, or for ever.
pub fn offered(text: &str) -> Result<Arrival, String> {
    let arrival = |text: &str| text.parse().map_err(|error: Error| error.to_string());
    let Some((file, found)) =
        text.strip_prefix("trace:").and_then(|file| Some((file, fs::metadata(file).ok()?)))
    else {
        return arrival(text);
    };
    let path = Some(file).filter(|_| found.is_file()).and_then(|it| fs::canonicalize(it).ok());
    match path.as_ref().and_then(|path| path.to_str()) {
        Some(path) => arrival(&format!("trace:{path}")),
        None => Err("each end reads the trace, so it has to be a file".into()),
    }
}

/// Processors by their numbers, or none.
pub fn pins(text: &str) -> Result<Pins, String> {
    if text == "none" {
        return Ok(Pins(Vec::new()));
    }
    let pins = text.split(',').map(|pin| pin.trim().parse());
    let pins = pins.collect::<Result<_, _>>();
    pins.map(Pins).map_err(|_| "it is none, or numbers of processors, such as 0,1".into())
}

/// A percentage as a part of 1, from 0 to 1000 %.
pub fn percent(text: &str) -> Result<f64, String> {
    const MOST: f64 = 1000.0;
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    match number {
        Ok(number) if (0.0..=MOST).contains(&number) => Ok(number / 100.0),
        _ => Err("it is a percentage, such as 5%".into()),
    }
}

pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_normal() && number > 0.0 => Ok(number),
        _ => Err("it is a number above 0".into()),
    }
}

/// Messages a second: a number, in thousands, millions or billions if a letter says so.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.as_bytes() {
        [.., b'k' | b'K'] => (&text[..text.len() - 1], 1e3),
        [.., b'M'] => (&text[..text.len() - 1], 1e6),
        [.., b'G'] => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let number = positive(number).map_err(|it| format!("{it}, as in 80000, 80k, 1.5M or 2G"))?;
    let rate = number * unit;
    if rate.is_finite() { Ok(rate) } else { Err("it is too large a number".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_one_byte_or_a_length() {
        assert_eq!(delimiter("\\n"), Ok(Delimiter::Byte(b'\n')));
        assert_eq!(delimiter("\\0"), Ok(Delimiter::Byte(0)));
        assert_eq!(delimiter(";"), Ok(Delimiter::Byte(b';')));
        assert_eq!(delimiter("\n"), Ok(Delimiter::Byte(b'\n')));
        assert_eq!(delimiter("len32"), Ok(Delimiter::Length));
        for bad in ["", "ab", "len16", "ä"] {
            assert!(delimiter(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_of_one_letter_are_binary() {
        for (text, bytes) in
            [("64K", 64 << 10), ("1m", 1 << 20), ("2GiB", 2 << 30), ("64KB", 64_000), ("17", 17)]
        {
            assert_eq!(size(text), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "K", "abc", "-1", "1X", "KiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn backoffs_have_up_to_three_parts() {
        let of = |first, factor, max| {
            let (first, max) = (Duration::from_millis(first), Duration::from_millis(max));
            Ok(Backoff::new(first, factor, max))
        };
        assert_eq!(backoff("100ms"), of(100, 2.0, 60_000));
        assert_eq!(backoff("2m"), of(120_000, 2.0, 120_000));
        assert_eq!(backoff("1s:1.5"), of(1000, 1.5, 60_000));
        assert_eq!(backoff("10ms:1:10ms"), of(10, 1.0, 10));
        for bad in ["", "fast", "1s:", "1s:x", "1s:2:", "1s:2:1m:1", "1s:2:x"] {
            assert!(backoff(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn starts_are_words_sequences_counts_from_the_end_or_moments() {
        assert_eq!(start("oldest"), Ok(Start::Oldest));
        assert_eq!(start("newest"), Ok(Start::Newest));
        assert_eq!(start("17"), Ok(Start::Sequence(17)));
        assert_eq!(start("-17"), Ok(Start::Last(17)));
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        for text in ["2023-11-14T22:13:20.25Z", "2023-11-14 22:13:20.25"] {
            assert_eq!(start(text), Ok(Start::Time(moment)));
            assert_eq!(mark(text), Ok(Mark::Time(moment)));
        }
        let before = SystemTime::now() - Duration::from_secs(90);
        let Ok(Start::Time(found)) = start("-1m 30s") else { panic!("a moment") };
        let after = SystemTime::now() - Duration::from_secs(90);
        assert!((before..=after).contains(&found));
        for bad in ["", "-", "--1", "+1", "first", "1.5", "18446744073709551616", "5m", "-5 y ago"]
        {
            assert!(start(bad).is_err(), "{bad:?}");
            assert!(mark(bad).is_err(), "{bad:?}");
        }
        assert_eq!(mark("17"), Ok(Mark::Sequence(17)));
        assert!(mark("-17").is_err() && mark("oldest").is_err());
        assert_eq!(beginning("oldest"), Ok(Beginning::Oldest));
        assert_eq!(beginning("-17"), Ok(Beginning::Last(17)));
        assert_eq!(beginning("17"), Ok(Beginning::At(Mark::Sequence(17))));
        assert!(matches!(beginning("-5m"), Ok(Beginning::At(Mark::Time(_)))));
        assert_eq!(beginning("-5m"), mark("-5m").map(Beginning::At));
        assert!(beginning("newest").is_err());
        for (text, meant) in [("earliest", "mean oldest?"), ("latest", "mean newest?")] {
            assert!(start(text).unwrap_err().ends_with(meant));
        }
        assert!(beginning("earliest").unwrap_err().ends_with("mean oldest?"));
    }

    #[test]
    fn journals_are_written_or_synced() {
        assert_eq!(journal("written"), Ok(Journal::Written));
        assert_eq!(journal("always"), Ok(Journal::SyncedAlways));
        let every = Duration::from_millis(100);
        assert_eq!(journal("every:100ms"), Ok(Journal::SyncedEvery(every)));
        for bad in ["", "every", "every:", "every:0s", "every:soon", "every:-1s", "100ms"] {
            assert!(journal(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_are_above_zero() {
        assert_eq!(time("7d"), Ok(Duration::from_secs(7 * 24 * 3600)));
        for bad in ["", "0s", "-1s", "7", "long"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn speeds_are_multiples_or_none() {
        assert_eq!(speed("max"), Ok(Speed::Max));
        assert_eq!((speed("1x"), speed("0.5x")), (Ok(Speed::Times(1.0)), Ok(Speed::Times(0.5))));
        for bad in ["", "x", "1", "0x", "-1x", "infx", "NaNx", "fast"] {
            assert!(speed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_are_above_zero_and_finite() {
        for (text, number) in
            [("0.5", 0.5), ("80k", 8e4), ("1.5M", 1.5e6), ("2G", 2e9), ("1e3K", 1e6)]
        {
            assert_eq!(rate(text), Ok(number), "{text}");
        }
        for bad in
            ["0", "-1", "inf", "NaN", "", "fast", "k", "1 k", "1m", "1kk", "0M", "1e308k", "ä"]
        {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
        assert_eq!(positive("0.5"), Ok(0.5));
        assert!(positive("1k").is_err());
    }

    #[test]
    fn lengths_pins_and_percentages_have_bounds() {
        assert_eq!(length("10ms"), Ok(Duration::from_millis(10)));
        assert!(length("9ms").is_err() && length("61m").is_err() && length("soon").is_err());
        assert_eq!((warm_up("0s"), warm_up("1h")), (Ok(Duration::ZERO), Ok(LENGTH_MAX)));
        assert!(warm_up("61m").is_err() && warm_up("584y").is_err() && warm_up("soon").is_err());
        assert_eq!(pins("3, 1"), Ok(Pins(vec![3, 1])));
        assert_eq!(pins("none"), Ok(Pins(Vec::new())));
        assert!(pins("").is_err() && pins("-1").is_err() && pins("0;1").is_err());
        assert_eq!((percent("5%"), percent("12.5")), (Ok(0.05), Ok(0.125)));
        assert!(percent("-1%").is_err() && percent("NaN").is_err() && percent("").is_err());
    }

    #[test]
    fn numbers_within_bounds_are_whole() {
        let number = within(2_u16, 300);
        assert_eq!((number("2"), number("300")), (Ok(2), Ok(300)));
        for bad in ["1", "301", "70000", "-2", "2.5", "", "few"] {
            assert_eq!(number(bad), Err("it is a whole number from 2 to 300".into()), "{bad:?}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!((mode("0660"), mode("660"), mode("0o660")), (Ok(0o660), Ok(0o660), Ok(0o660)));
        assert!(mode("rw-").is_err() && mode("0680").is_err());
    }
}
