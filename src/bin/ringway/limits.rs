//! Limits that a run, or theory, is to keep to: `--fail-if 'p99>20us'`, `--until 'p99>20us'`.

use std::fmt;
use std::str::FromStr;

use ringway::workload::{Figures, Prediction, carries};
use serde_json::Value;

use crate::bench::document::{PERCENTILES, float};
use crate::failure::Failure;
use crate::{model, output};

/// What a number must not be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    text: String,
    of: Of,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// A percentile of the sojourns, or of round trips and one-way times.
    Percentile(f64),
    /// A percentile of the waits.
    WaitPercentile(f64),
    /// A number by its key.
    Key(Key),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What is measured in a run, each with numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Stream,
    RoundTrip,
    OneWay,
    Load,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Stream, Self::RoundTrip, Self::OneWay, Self::Load];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Messages,
    MessagesPerSecond,
    BytesPerSecond,
    Share,
    Ratio,
    Time,
}

/// A number by its key in the JSON of a run, and the parts that have it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Key {
    name: &'static str,
    unit: Unit,
    parts: &'static [Part],
}

const STREAM: &[Part] = &[Part::Stream];
const LOAD: &[Part] = &[Part::Load];
const TRIPS: &[Part] = &[Part::RoundTrip, Part::OneWay];
const TIMES: &[Part] = &[Part::RoundTrip, Part::OneWay, Part::Load];
const OFFERS: &[Part] = &[Part::OneWay, Part::Load];
const COUNTS: &[Part] = &[Part::Stream, Part::OneWay, Part::Load];

const fn key(name: &'static str, unit: Unit, parts: &'static [Part]) -> Key {
    Key { name, unit, parts }
}

/// Keys that a limit can be about.
const KEYS: [Key; 27] = [
    key("sent", Unit::Messages, COUNTS),
    key("received", Unit::Messages, COUNTS),
    key("lost", Unit::Messages, COUNTS),
    key("refused", Unit::Messages, LOAD),
    key("duplicated", Unit::Messages, COUNTS),
    key("out_of_order", Unit::Messages, COUNTS),
    key("achieved_rate_per_s", Unit::MessagesPerSecond, OFFERS),
    key("achieved_rate_ratio", Unit::Ratio, LOAD),
    key("rate_per_s", Unit::MessagesPerSecond, STREAM),
    key("bytes_per_s", Unit::BytesPerSecond, STREAM),
    key("delivered_rate_per_s", Unit::MessagesPerSecond, STREAM),
    key("utilisation", Unit::Share, LOAD),
    key("throughput_per_s", Unit::MessagesPerSecond, LOAD),
    key("loss_share", Unit::Share, LOAD),
    key("in_system_mean", Unit::Messages, LOAD),
    key("waiting_mean", Unit::Messages, LOAD),
    key("wait_mean_ns", Unit::Time, LOAD),
    key("sojourn_mean_ns", Unit::Time, LOAD),
    key("wait_mean_ratio", Unit::Ratio, LOAD),
    key("wait_mean_replay_ratio", Unit::Ratio, LOAD),
    key("sojourn_mean_ratio", Unit::Ratio, LOAD),
    key("loss_ratio", Unit::Ratio, LOAD),
    key("wait_max_ns", Unit::Time, LOAD),
    key("sojourn_max_ns", Unit::Time, LOAD),
    key("max_ns", Unit::Time, TRIPS),
    key("mean_ns", Unit::Time, TRIPS),
    key("cpu_share", Unit::Share, &Part::ALL),
];

impl Of {
    fn by_name(name: &str) -> Option<Self> {
        let percentile = |digits: &str| {
            let number = digits.parse::<f64>().ok()?;
            PERCENTILES.into_iter().find(|known| (known - number).abs() < 1e-9)
        };
        let prefixed = |prefix| name.strip_prefix(prefix).and_then(percentile);
        prefixed("p")
            .map(Self::Percentile)
            .or_else(|| prefixed("wait_p").map(Self::WaitPercentile))
            .or_else(|| KEYS.into_iter().find(|key| key.name == name).map(Self::Key))
    }

    /// Everything that a limit can be about, and its name.
    fn all() -> impl Iterator<Item = (Self, String)> {
        let percentiles = PERCENTILES.map(|it| (Self::Percentile(it), format!("p{it}")));
        let waits = PERCENTILES.map(|it| (Self::WaitPercentile(it), format!("wait_p{it}")));
        let keys = KEYS.map(|key| (Self::Key(key), key.name.to_owned()));
        percentiles.into_iter().chain(waits).chain(keys)
    }

    /// The names of all that these parts have.
    fn names(parts: &[Part]) -> String {
        let there = Self::all().filter(|(of, _)| of.is_in(parts));
        there.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }

    /// The number as theory has it, if it does.
    fn of_theory(self, prediction: &Prediction) -> Option<f64> {
        match self {
            Self::Percentile(percentile) => prediction.sojourn_percentile_ns(percentile),
            Self::WaitPercentile(percentile) => prediction.wait_percentile_ns(percentile),
            Self::Key(key) => {
                let mut figures = prediction.figures.iter().flat_map(Figures::named);
                figures.find_map(|(name, figure)| (name == key.name).then_some(figure))
            }
        }
    }

    fn is_in(self, parts: &[Part]) -> bool {
        let has_it = match self {
            Self::Percentile(_) => TIMES,
            Self::WaitPercentile(_) => LOAD,
            Self::Key(key) => key.parts,
        };
        has_it.iter().any(|part| parts.contains(part))
    }

    const fn unit(self) -> Unit {
        match self {
            Self::Percentile(_) | Self::WaitPercentile(_) => Unit::Time,
            Self::Key(key) => key.unit,
        }
    }
}

impl Unit {
    /// A time in nanoseconds, a percentage as a part of 1, or a number as it is.
    fn number(self, text: &str) -> Option<f64> {
        let plain = |text: &str| text.trim().parse::<f64>().ok().filter(|it| it.is_finite());
        let percent = || Some(plain(text.strip_suffix('%')?)? / 100.0);
        let time = || Some(humantime::parse_duration(text).ok()?.as_secs_f64() * 1e9);
        plain(text).or_else(|| match self {
            Self::Share | Self::Ratio => percent(),
            Self::Time => time(),
            Self::Messages | Self::MessagesPerSecond | Self::BytesPerSecond => None,
        })
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Share | Self::Ratio => "a number, or a percentage such as 90%",
            Self::Time => "a time with its unit, such as 20us, or nanoseconds",
            Self::Messages => "a number of messages",
            Self::MessagesPerSecond => "a number of messages a second",
            Self::BytesPerSecond => "a number of bytes a second",
        }
    }

    fn text(self, number: f64) -> String {
        match self {
            Self::Messages if (number - 1.0).abs() < f64::EPSILON => "1 message".into(),
            Self::Messages => format!("{} messages", model::number(number)),
            Self::MessagesPerSecond => format!("{} messages/s", model::number(number)),
            Self::BytesPerSecond => {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is for people"
                )]
                let bytes = number as u64;
                output::bytes(bytes) + "/s"
            }
            Self::Share => model::share(number),
            Self::Ratio => model::number(number),
            Self::Time => model::time(number),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str =
            "it is a number's name, > >= < or <=, and a bound, as in p99>20us or lost>0";
        let at = text.find(['<', '>']).ok_or(FORM)?;
        let (name, rest) = text.split_at(at);
        let (comparison, bound) = match rest.as_bytes() {
            [b'>', b'=', ..] => (Comparison::AtLeast, &rest[2..]),
            [b'>', ..] => (Comparison::Above, &rest[1..]),
            [b'<', b'=', ..] => (Comparison::AtMost, &rest[2..]),
            _ => (Comparison::Below, &rest[1..]),
        };
        let (name, bound) = (name.trim(), bound.trim());
        let of = Of::by_name(name).ok_or_else(|| {
            format!("there is no number '{name}': there are {}", Of::names(&Part::ALL))
        })?;
        let unit = of.unit();
        let bound = unit
            .number(bound)
            .ok_or_else(|| format!("'{bound}' is no bound of {name}: it is {}", unit.form()))?;
        Ok(Self { text: text.trim().to_owned(), of, comparison, bound })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What became of a limit.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Kept,
    /// With the number that is worst.
    Missed(f64),
    /// The run has no such number.
    Unknown,
}

impl Limit {
    /// That a run of these parts has the number at all.
    pub fn check(&self, command: &str, parts: &[Part]) -> Result<(), Failure> {
        if self.of.is_in(parts) {
            return Ok(());
        }
        let has = Of::names(parts);
        Err(Failure::Usage(format!("{self}: {command} does not measure that, but {has}")))
    }

    /// That so many times are enough for a percentile. Where it is close, chance may give a run fewer, or
    /// those beyond it all at a time.
    pub fn check_samples(&self, expected: f64) -> Result<(), Failure> {
        let (Of::Percentile(percentile) | Of::WaitPercentile(percentile)) = self.of else {
            return Ok(());
        };
        let least = least_carrying(percentile);
        if expected >= float(least) {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{self}: some {} messages are too few for that, it takes {least} and a longer run",
            expected.round()
        )))
    }

    /// Whether theory keeps to it; `None` if it does not have the number.
    pub fn is_kept_by(&self, prediction: &Prediction) -> Option<bool> {
        self.of.of_theory(prediction).map(|number| !self.is_beyond(number))
    }

    /// The names of all that theory has.
    pub fn numbers_of(prediction: &Prediction) -> Vec<String> {
        Of::all()
            .filter(|(of, _)| of.of_theory(prediction).is_some())
            .map(|(_, name)| name)
            .collect()
    }

    /// The figure of theory's that the number is a ratio to, if it is one.
    pub fn theory_figure(&self) -> Option<&'static str> {
        match self.of {
            Of::Key(Key { name: "wait_mean_ratio", .. }) => Some("wait_mean_ns"),
            Of::Key(Key { name: "sojourn_mean_ratio", .. }) => Some("sojourn_mean_ns"),
            Of::Key(Key { name: "loss_ratio", .. }) => Some("loss_share"),
            _ => None,
        }
    }

    /// Whether the number is a ratio to what the same chance comes to without a machine.
    pub fn is_over_replay(&self) -> bool {
        matches!(self.of, Of::Key(Key { name: "wait_mean_replay_ratio", .. }))
    }

    /// One of its numbers, for people.
    pub fn number_text(&self, number: f64) -> String {
        self.of.unit().text(number)
    }

    /// Whether the run keeps to it, with all of its parts: each cell, each run of a load, each
    /// consumer of a broadcast.
    pub fn judge(&self, run: &Value) -> Verdict {
        let mut numbers = Numbers { limit: self, found: Vec::new(), unknown: false };
        numbers.collect(run);
        let mut missed: Vec<f64> =
            numbers.found.iter().copied().filter(|number| self.is_beyond(*number)).collect();
        missed.sort_by(f64::total_cmp);
        let worst = match self.comparison {
            Comparison::Above | Comparison::AtLeast => missed.last(),
            Comparison::Below | Comparison::AtMost => missed.first(),
        };
        match worst {
            Some(worst) => Verdict::Missed(*worst),
            None if numbers.found.is_empty() || numbers.unknown => Verdict::Unknown,
            None => Verdict::Kept,
        }
    }

    fn is_beyond(&self, number: f64) -> bool {
        match self.comparison {
            Comparison::Above => number > self.bound,
            Comparison::AtLeast => number >= self.bound,
            Comparison::Below => number < self.bound,
            Comparison::AtMost => number <= self.bound,
        }
    }
}

/// The fewest samples that carry a percentile.
fn least_carrying(percentile: f64) -> u64 {
    let (mut too_few, mut enough) = (0, 1_u64 << 62);
    if !carries(enough, percentile) {
        return u64::MAX;
    }
    while enough - too_few > 1 {
        let middle = u64::midpoint(too_few, enough);
        if carries(middle, percentile) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    enough
}

/// Numbers that a limit is about, wherever they are in a run.
struct Numbers<'a> {
    limit: &'a Limit,
    found: Vec<f64>,
    /// Whether there was one that had too few samples.
    unknown: bool,
}

impl Numbers<'_> {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(map) => {
                match &self.limit.of {
                    Of::Key(key) => {
                        if let Some(number) = map.get(key.name) {
                            self.take(number);
                        }
                    }
                    Of::Percentile(percentile) => {
                        self.percentile(
                            map.get("percentiles"),
                            *percentile,
                            &["sojourn_ns", "time_ns"],
                        );
                    }
                    Of::WaitPercentile(percentile) => {
                        self.percentile(map.get("percentiles"), *percentile, &["wait_ns"]);
                    }
                }
                let parts =
                    ["throughput", "round_trip", "one_way", "points", "fanout", "each", "runs"];
                parts.iter().filter_map(|part| map.get(*part)).for_each(|part| self.collect(part));
            }
            _ => {}
        }
    }

    fn percentile(&mut self, rows: Option<&Value>, percentile: f64, names: &[&str]) {
        let rows = rows.and_then(Value::as_array).into_iter().flatten();
        let near = |row: &&Value| {
            row["percentile"].as_f64().is_some_and(|found| (found - percentile).abs() < 1e-9)
        };
        for row in rows.filter(near) {
            for number in names.iter().filter_map(|name| row.get(*name)) {
                self.take(number);
            }
        }
    }

    fn take(&mut self, number: &Value) {
        match number.as_f64() {
            Some(number) => self.found.push(number),
            None => self.unknown = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway::workload::Sample;
    use serde_json::json;

    use super::*;
    use crate::bench::loads::middle;

    fn judge(limit: &str, run: &Value) -> Verdict {
        limit.parse::<Limit>().unwrap().judge(run)
    }

    #[test]
    fn limits_are_about_percentiles_and_keys_in_any_part() {
        let run = json!({
            "points": [
                { "wait_mean_ns": 5e3, "lost": 0, "percentiles": [
                    { "percentile": 99.0, "wait_ns": 9e3, "sojourn_ns": 19e3 },
                    { "percentile": 99.9, "wait_ns": null, "sojourn_ns": null },
                ] },
                { "wait_mean_ns": 7e3, "lost": 0, "percentiles": [
                    { "percentile": 99.0, "wait_ns": 8e3, "sojourn_ns": 21e3 },
                ] },
            ],
        });
        assert_eq!(judge("p99>20us", &run), Verdict::Missed(21e3));
        assert_eq!(judge("p99 > 21us", &run), Verdict::Kept);
        assert_eq!(judge("p99>=21us", &run), Verdict::Missed(21e3));
        assert_eq!(judge("wait_p99>8500", &run), Verdict::Missed(9e3));
        assert_eq!(judge("wait_mean_ns<6us", &run), Verdict::Missed(5e3));
        assert_eq!(judge("wait_mean_ns<=1us", &run), Verdict::Kept);
        assert_eq!(judge("lost>0", &run), Verdict::Kept);
        assert_eq!(judge("p99.9>1s", &run), Verdict::Unknown);
        assert_eq!(judge("utilisation>90%", &run), Verdict::Unknown);
        assert_eq!(
            judge("utilisation>90%", &json!({ "utilisation": 0.95 })),
            Verdict::Missed(0.95)
        );
    }

    #[test]
    fn limits_are_about_each_consumer_and_each_run_too() {
        let run = json!({
            "points": [{
                "wait_mean_ns": 5e3,
                "runs": [{ "wait_mean_ns": 5e3, "lost": 0 }, { "wait_mean_ns": 9e3, "lost": 1 }],
                "each": [{ "sojourn_mean_ns": 3e3, "percentiles": [
                    { "percentile": 99.0, "wait_ns": 9e3, "sojourn_ns": 19e3 },
                ] }],
            }],
            "throughput": [{ "runs": 3, "rate_per_s": 1e6 }],
        });
        assert_eq!(judge("wait_mean_ns>8us", &run), Verdict::Missed(9e3));
        assert_eq!(judge("lost>0", &run), Verdict::Missed(1.0));
        assert_eq!(judge("p99>18us", &run), Verdict::Missed(19e3));
        assert_eq!(judge("sojourn_mean_ns>3us", &run), Verdict::Kept);
        assert_eq!(judge("rate_per_s<1000", &run), Verdict::Kept);
    }

    #[test]
    fn limits_are_about_all_that_each_run_of_a_load_has() {
        use crate::bench::loads::tests::{outcome, served};

        // Each message waits so many nanoseconds, and is worked on for as many.
        let run = |ns: u64| {
            outcome("exp:500us", |number| {
                let sample = served(number, ns, ns);
                Sample { start_ns: sample.start_ns + ns, end_ns: sample.end_ns + ns, ..sample }
            })
        };
        let three = [1000, 9000, 5000].map(run).into();
        let shown = Value::from(middle(three).unwrap().unwrap().value(false).unwrap());
        let ratios = ["sojourn_mean_ratio", "wait_mean_replay_ratio"];
        let ratios = ratios.map(|name| (name, shown[name].as_f64().unwrap()));
        for key in KEYS.iter().filter(|key| Of::Key(**key).is_in(LOAD)) {
            assert!(!shown["runs"][1][key.name].is_null() || key.name == "loss_ratio", "{key:?}");
        }
        for (limit, worst) in [
            ("p50>11us", 18e3),
            ("wait_p50>6us", 9e3),
            ("sojourn_max_ns>11us", 18e3),
            ("wait_max_ns>6us", 9e3),
        ] {
            let Verdict::Missed(found) = judge(limit, &shown) else { panic!("{limit}") };
            assert!((found / worst - 1.0).abs() < 1e-3, "{limit}: {found}");
        }
        for (name, ratio) in ratios {
            let verdict = judge(&format!("{name}>{ratio}"), &shown);
            assert!(matches!(verdict, Verdict::Missed(_)), "{name}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused_by_name() {
        for (text, words) in [
            ("", "p99>20us"),
            ("p99", "p99>20us"),
            ("p100>1us", "no number 'p100'"),
            ("speed>1", "no number 'speed'"),
            ("p99>soon", "'soon' is no bound"),
            ("p99>", "'' is no bound"),
            ("lost>NaN", "'NaN' is no bound"),
            ("lost>5us", "'5us' is no bound of lost: it is a number of messages"),
            ("rate_per_s<5%", "a number of messages a second"),
            ("p99>5%", "a time with its unit"),
            ("p95>1us", "no number 'p95': there are p50, p90, p99, p99.9,"),
            ("wait_p95>1us", "no number 'wait_p95'"),
            ("p99==1us", "p99>20us"),
        ] {
            let error = text.parse::<Limit>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_have_their_units() {
        for (limit, number, text) in [
            ("p99>20us", 23_450.0, "23.45 us"),
            ("lost>0", 1.0, "1 message"),
            ("in_system_mean>2", 2.386, "2.386 messages"),
            ("rate_per_s<1e6", 5e5, "500000 messages/s"),
            ("bytes_per_s<1e9", 1_048_576.0, "1 MiB/s"),
            ("utilisation>90%", 0.953, "95.3 %"),
            ("wait_mean_ratio>1.1", 1.25, "1.25"),
        ] {
            assert_eq!(limit.parse::<Limit>().unwrap().number_text(number), text);
        }
    }

    #[test]
    fn what_is_not_measured_or_too_seldom_is_known_before() {
        let limit = |text: &str| text.parse::<Limit>().unwrap();
        let refusal = limit("p99>1us").check("bench throughput", STREAM).unwrap_err().to_string();
        let words = "p99>1us: bench throughput does not measure that, but sent, received, lost, duplicated, out_of_order, rate_per_s, bytes_per_s, delivered_rate_per_s, cpu_share";
        assert_eq!(refusal, words);
        assert!(limit("p99>1us").check("bench latency", TRIPS).is_ok());
        assert!(limit("wait_p99>1us").check("bench latency", TRIPS).is_err());
        assert!(limit("p99>1us").check_samples(1000.0).is_ok());
        assert!(limit("p99>1us").check_samples(600.0).is_err());
        assert!(limit("lost>0").check_samples(0.0).is_ok());
        let refusal = limit("wait_p99.9>1us").check_samples(4999.0).unwrap_err().to_string();
        assert!(refusal.contains("some 4999 messages are too few"), "{refusal}");
        assert!(refusal.contains("it takes 10000 and"), "{refusal}");
        assert!(limit("p50>1us").check_samples(20.0).is_ok(), "20 carry it");
        assert!(limit("p50>1us").check_samples(19.0).is_err());
        let least = PERCENTILES.map(least_carrying);
        assert_eq!(least, [20, 100, 1000, 10_000, 100_000, 1_000_000]);
    }
}
