//! Limits that a run is to keep to: `--fail-if 'p99>20us'`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// What a number must not be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    text: String,
    of: Of,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Of {
    /// A percentile of the sojourns, or of round trips.
    Percentile(f64),
    /// A percentile of the waits.
    WaitPercentile(f64),
    /// A number by its key.
    Key(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Keys that a limit can be about.
const KEYS: [&str; 26] = [
    "sent",
    "received",
    "lost",
    "refused",
    "duplicated",
    "out_of_order",
    "achieved_rate_per_s",
    "achieved_rate_ratio",
    "rate_per_s",
    "bytes_per_s",
    "delivered_rate_per_s",
    "utilisation",
    "throughput_per_s",
    "loss_share",
    "in_system_mean",
    "waiting_mean",
    "wait_mean_ns",
    "sojourn_mean_ns",
    "wait_mean_ratio",
    "sojourn_mean_ratio",
    "loss_ratio",
    "wait_max_ns",
    "sojourn_max_ns",
    "max_ns",
    "mean_ns",
    "cpu_share",
];

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
        let percentile = |digits: &str| {
            digits.parse::<f64>().ok().filter(|number| (0.0..100.0).contains(number))
        };
        let of = if let Some(number) = name.strip_prefix('p').and_then(percentile) {
            Of::Percentile(number)
        } else if let Some(number) = name.strip_prefix("wait_p").and_then(percentile) {
            Of::WaitPercentile(number)
        } else if KEYS.contains(&name) {
            Of::Key(name.to_owned())
        } else {
            let keys = KEYS.join(", ");
            return Err(format!(
                "there is no number '{name}': there are p50 to p99.999, wait_p50 and so on, {keys}"
            ));
        };
        let bound = number(bound).ok_or_else(|| {
            format!("'{bound}' is no bound: it is a number, a time with its unit, or a percentage")
        })?;
        Ok(Self { text: text.trim().to_owned(), of, comparison, bound })
    }
}

/// A time in nanoseconds, a percentage as a part of 1, or a number as it is.
fn number(text: &str) -> Option<f64> {
    let plain = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some(percent) = text.strip_suffix('%') {
        return plain(percent).map(|percent| percent / 100.0);
    }
    plain(text).or_else(|| Some(humantime::parse_duration(text).ok()?.as_secs_f64() * 1e9))
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
                        if let Some(number) = map.get(key) {
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
    use super::*;
    use serde_json::json;

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
    fn what_is_no_limit_is_refused_by_name() {
        for (text, words) in [
            ("", "p99>20us"),
            ("p99", "p99>20us"),
            ("p100>1us", "no number 'p100'"),
            ("speed>1", "no number 'speed'"),
            ("p99>soon", "'soon' is no bound"),
            ("p99>", "'' is no bound"),
            ("lost>NaN", "'NaN' is no bound"),
            ("p99==1us", "p99>20us"),
        ] {
            let error = text.parse::<Limit>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
