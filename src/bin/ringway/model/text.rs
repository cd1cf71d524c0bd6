//! What the model says, as text.

use ringway::workload::{
    Basis, Figures, Measured, PERCENTILES, Prediction, Scenario, Service, WhenFull, theory,
};

use crate::model::{Broadcasted, Shared};
use crate::output;

pub fn shared(shared: &Shared) -> String {
    let Shared { scenario, until, prediction, simulated, seed, messages } = shared;
    let mut facts = vec![("arrivals", arrivals_text(scenario))];
    facts.extend(
        until
            .as_ref()
            .map(|limit| ("until", format!("{limit}: at no higher rate does theory keep to that"))),
    );
    facts.extend([
        ("service", service_text(scenario.service())),
        ("servers", servers_text(scenario)),
        ("model", model_text(prediction, simulated.is_some())),
        ("because", prediction.why.to_owned()),
    ]);
    facts.extend(bound_text(scenario, prediction).map(|text| ("full", text)));
    facts.extend(growth_text(scenario, prediction).map(|text| ("growth", text)));
    if let Some(simulated) = simulated {
        facts.push(("simulated", simulated_text(&simulated.measured, *seed)));
        facts.extend(warnings(&simulated.measured, *messages, scenario, prediction.stable));
        let little = simulated.little_ratio().map_or("-".into(), number);
        facts.push(("checked", format!("L by events over L by Little's law: {little}")));
    }
    let measured = simulated.as_ref().map(|simulated| &simulated.measured);
    let mut text = lines(&facts);
    if prediction.figures.is_some() || measured.is_some() {
        text += "\n\n";
        text += &figures_table(prediction, measured);
    }
    if let Some(table) = percentiles_table(prediction, measured) {
        text += "\n\n";
        text += &table;
    }
    text
}

pub fn broadcast(broadcasted: &Broadcasted) -> String {
    format!("{}\n\n{}", lines(&broadcast_facts(broadcasted)), consumers_table(broadcasted))
}

fn broadcast_facts(broadcasted: &Broadcasted) -> Vec<Fact> {
    let Broadcasted { arrival, broadcast, places, predictions, simulated, seed, messages, .. } =
        broadcasted;
    let ring = places.map_or("without an end".into(), |places| format!("of {places} places"));
    let arrivals = format!("{arrival}, {} a second", number(broadcast.rate_per_s()));
    let held = format!(
        "{} of the messages wait for a place with the producer, {} on average of all",
        share(simulated.full_share),
        time(simulated.producer_wait_mean_ns)
    );
    let mut facts = vec![
        ("arrivals", arrivals),
        ("ring", format!("{ring}; load of the slowest consumer {}", number(broadcast.load()))),
        ("model", broadcast_model_text(predictions.as_deref())),
    ];
    facts.extend(places.map(|_| ("full", held)));
    facts.push(("simulated", simulated_text(&simulated.consumers[0], *seed)));
    let slowest = simulated.consumers.iter().enumerate().max_by(|(_, one), (_, other)| {
        one.figures.utilisation.total_cmp(&other.figures.utilisation)
    });
    let stable = broadcast.stable();
    let alone = slowest.and_then(|(index, slowest)| Some((slowest, broadcast.alone(index)?)));
    let careful = |(slowest, alone): &(&_, _)| warnings(slowest, *messages, alone, stable);
    facts.extend(alone.iter().flat_map(careful));
    if slowest.is_some_and(|(_, slowest)| slowest.finite_moments() == 3) {
        let heaviest = simulated.consumers.iter().min_by_key(|it| it.finite_moments());
        facts.extend(heaviest.and_then(moments_warning));
    }
    facts
}

fn consumers_table(broadcasted: &Broadcasted) -> String {
    let Broadcasted { consumers, predictions, simulated, .. } = broadcasted;
    let mut header = vec!["CONSUMER", "SERVICE", "UTILISATION", "W", "+-", "WQ", "+-"];
    if predictions.is_some() {
        header = vec!["CONSUMER", "SERVICE", "MODEL", "UTILISATION"];
        header.extend(["THEORY W", "W", "+-", "THEORY WQ", "WQ", "+-"]);
    }
    let shown = PERCENTILES.map(|percentile| (percentile, format!("W {percentile} %")));
    let carried = shown.iter().filter(|(percentile, _)| {
        simulated.consumers.iter().all(|it| it.sojourn_percentile_ns(*percentile).is_some())
    });
    let carried: Vec<_> = carried.collect();
    header.extend(carried.iter().map(|(_, title)| title.as_str()));
    let rows = consumers.iter().zip(&simulated.consumers).enumerate();
    let rows = rows.map(|(index, (service, measured))| {
        let [(_, utilisation), .., (_, sojourn_mean_ns), (_, wait_mean_ns)] = measured.named();
        let prediction = predictions.as_ref().map(|predictions| &predictions[index]);
        let theory = prediction.map(|prediction| &prediction.figures);
        let predicted = |figure: fn(&Figures) -> f64, name| {
            let mark = prediction.is_some_and(|it| it.approximates(name));
            let mark = if mark { "~" } else { "" };
            theory.map(|it| it.map_or("-".into(), |it| format!("{mark}{}", time(figure(&it)))))
        };
        let mut row = vec![index.to_string(), service.to_string()];
        row.extend(prediction.map(|prediction| prediction.model.clone()));
        row.push(utilisation.map_or("-".into(), share));
        row.extend(predicted(|it| it.sojourn_mean_ns, "sojourn_mean_ns"));
        row.extend([optional_time(sojourn_mean_ns), time(measured.half_widths.sojourn_mean_ns)]);
        row.extend(predicted(|it| it.wait_mean_ns, "wait_mean_ns"));
        row.extend([optional_time(wait_mean_ns), time(measured.half_widths.wait_mean_ns)]);
        let percentiles = carried.iter().map(|(percentile, _)| *percentile);
        row.extend(percentiles.map(|it| optional_time(measured.sojourn_percentile_ns(it))));
        row
    });
    let words = ["CONSUMER", "SERVICE", "MODEL"];
    let numbers: Vec<_> = header.iter().copied().filter(|it| !words.contains(it)).collect();
    output::table(&header, &numbers, rows)
}

/// What theory makes of consumers that a ring couples, or of each by itself.
fn broadcast_model_text(predictions: Option<&[Prediction]>) -> String {
    let Some(predictions) = predictions else {
        return "broadcast has no closed form, because the ring couples the consumers".into();
    };
    let approximate = predictions.iter().any(|it| it.basis == Basis::Approximation);
    let mark = if approximate { "; ~ marks an approximation" } else { "" };
    format!("each consumer is a queue by itself, because the ring is never full{mark}")
}

fn lines(facts: &[(&str, String)]) -> String {
    let lines: Vec<_> = facts.iter().map(|(name, fact)| format!("{name:<10} {fact}")).collect();
    lines.join("\n")
}

fn arrivals_text(scenario: &Scenario) -> String {
    let (arrival, rate) = (scenario.arrival(), scenario.rate_per_s());
    format!("{arrival}, {} a second; cv2 {}", number(rate), number(arrival.cv2(rate)))
}

fn service_text(service: &Service) -> String {
    format!("{service}, mean {}; cv2 {}", time(service.mean_ns()), number(service.cv2()))
}

fn servers_text(scenario: &Scenario) -> String {
    let servers = scenario.servers();
    let keys = scenario.keys().map_or(String::new(), |keys| {
        let fewer = if keys < servers { ", and no more servers at work" } else { "" };
        format!("; {}{fewer}", output::count(keys.into(), "key"))
    });
    format!("{servers}, load {}{keys}", number(scenario.load()))
}

fn model_text(prediction: &Prediction, simulated: bool) -> String {
    let Prediction { model, basis, source, .. } = prediction;
    match basis {
        Basis::NoClosedForm if simulated => format!("{model}, no closed form"),
        Basis::NoClosedForm => format!("{model}, no closed form; --simulate has its numbers"),
        Basis::Approximation => format!("{model}, ~ marks an approximation ({source})"),
        _ => format!("{model}, {basis} ({source})"),
    }
}

fn bound_text(scenario: &Scenario, prediction: &Prediction) -> Option<String> {
    let bound = scenario.bound()?;
    let found = match prediction.full_share {
        Some(full) => format!("{} of the messages find them taken", share(full)),
        None => "how many find them taken has no closed form".into(),
    };
    let then = match bound.when_full {
        WhenFull::Reject => "and are lost",
        WhenFull::Wait => "and wait with the producer: L, W and waits count that too",
    };
    Some(format!("{} places; {found} {then}", bound.places))
}

fn growth_text(scenario: &Scenario, prediction: &Prediction) -> Option<String> {
    let growth = match (prediction.growth_per_s, prediction.stable) {
        (Some(growth), _) => growth,
        (None, Some(_)) => {
            return Some("more than can be served; how much more is not known".into());
        }
        (None, None) => return Some("not known: it may grow without end".into()),
    };
    if growth <= 0.0 {
        return None;
    }
    // With keys not as many are served before the places are full as after that.
    let bound = scenario.bound().filter(|_| scenario.keys().is_none());
    let filled = bound.map_or(String::new(), |bound| {
        let capacity = scenario.rate_per_s() - growth;
        let seconds = theory::time_to_fill_s(bound.places.into(), scenario.rate_per_s(), capacity);
        format!("; the places are full after {}", time(seconds * 1e9))
    });
    Some(format!("{} messages a second more than can be served{filled}", number(growth)))
}

fn simulated_text(measured: &Measured, seed: u64) -> String {
    format!(
        "{} served, {} lost, after a warm-up of a tenth; seed {seed}; +- is {} by batch means",
        output::count(measured.messages, "message"),
        measured.lost,
        share(measured.confidence),
    )
}

type Fact = (&'static str, String);

/// Why the figures are not to be relied on, as far as there are reasons. So many messages should
/// have come.
fn warnings(
    measured: &Measured,
    asked: u64,
    scenario: &Scenario,
    stable: Option<bool>,
) -> impl Iterator<Item = Fact> + use<> {
    let length = length_warning(measured, asked, scenario, stable);
    length.into_iter().chain(moments_warning(measured))
}

/// That service has so few moments that intervals are infinite.
fn moments_warning(measured: &Measured) -> Option<Fact> {
    let text = match measured.finite_moments() {
        3.. => return None,
        2 => {
            "service without a third moment can leave waits without a variance, and so without a +- that holds, however long the run"
        }
        _ => "service without a variance leaves no figure a +- that holds, however long the run",
    };
    Some(("careful", text.into()))
}

fn length_warning(
    measured: &Measured,
    asked: u64,
    scenario: &Scenario,
    stable: Option<bool>,
) -> Option<Fact> {
    // A part that says that the arrivals had no time to come to their rate.
    const CAME_MIN: f64 = 0.8;
    const CAME_MAX: f64 = 1.25;
    let came = measured.messages + measured.lost;
    #[allow(clippy::cast_precision_loss, reason = "both are far below 2^53")]
    let part = came as f64 / asked as f64;
    let text = if !(CAME_MIN..CAME_MAX).contains(&part) {
        "the run was short for its arrivals, which did not come to their rate: see --messages"
    } else if stable == Some(false) {
        "what grows without end depends on how long it ran: see --messages"
    } else if stable.is_none() && measured.batches_are_alike() {
        "either the run was short for its load, or it grows without end: compare runs of other --messages"
    } else if measured.is_short_for(scenario) && measured.finite_moments() == 3 {
        "the run was short for its load, so that +- holds less often than it says: give it more --messages"
    } else {
        return None;
    };
    Some(("careful", text.into()))
}

pub type Show = fn(f64) -> String;

/// The figures in the order of their names: the name, what they are called in tables, and how they are
/// written.
pub const FIGURES: [(&str, &str, Show); 7] = [
    ("utilisation", "utilisation", share),
    ("throughput_per_s", "throughput X, a second", number),
    ("loss_share", "lost", share),
    ("in_system_mean", "in the system, L", number),
    ("waiting_mean", "waiting, Lq", number),
    ("sojourn_mean_ns", "sojourn, W", time),
    ("wait_mean_ns", "wait, Wq", time),
];

fn figures_table(prediction: &Prediction, measured: Option<&Measured>) -> String {
    let theory = prediction.figures.map(|figures| figures.named());
    let mut header = vec!["", "THEORY"];
    if measured.is_some() {
        header.extend(["SIMULATED", "+-", "RATIO"]);
    }
    let rows = FIGURES.into_iter().enumerate().map(|(index, (name, title, show))| {
        let predicted = theory.map(|figures| figures[index].1);
        let mut row = vec![title.to_owned()];
        row.push(predicted.map_or("-".into(), |figure| {
            let mark = if prediction.approximates(name) { "~" } else { "" };
            format!("{mark}{}", show(figure))
        }));
        if let Some(measured) = measured {
            let (_, figure) = measured.named()[index];
            let (_, half_width) = measured.half_widths.named()[index];
            let finite = predicted.filter(|predicted| predicted.is_finite());
            let ratio = finite.zip(figure).map(|(predicted, figure)| figure / predicted);
            // Nothing over nothing is no ratio.
            let ratio = ratio.filter(|ratio| ratio.is_finite());
            row.push(figure.map_or("-".into(), show));
            row.extend([show(half_width), ratio.map_or("-".into(), number)]);
        }
        row
    });
    output::table(&header, &header[1..], rows)
}

/// None if nobody knows any.
fn percentiles_table(prediction: &Prediction, measured: Option<&Measured>) -> Option<String> {
    let rows: Vec<_> = PERCENTILES
        .into_iter()
        .filter_map(|percentile| {
            let theory = [
                prediction.wait_percentile_ns(percentile),
                prediction.sojourn_percentile_ns(percentile),
            ];
            let simulated = measured.map(|measured| {
                [
                    measured.wait_percentile_ns(percentile),
                    measured.sojourn_percentile_ns(percentile),
                ]
            });
            let all: Vec<_> = theory.into_iter().chain(simulated.into_iter().flatten()).collect();
            let known = all.iter().any(Option::is_some);
            let cells = std::iter::once(format!("{percentile} %"));
            known.then(|| cells.chain(all.into_iter().map(optional_time)).collect())
        })
        .collect();
    let mut header = vec!["PERCENTILE", "WAIT", "SOJOURN"];
    if measured.is_some() {
        header.extend(["SIMULATED WAIT", "SIMULATED SOJOURN"]);
    }
    (!rows.is_empty()).then(|| output::table(&header, &header, rows))
}

/// Four digits, and no more of them than say something.
pub fn number(value: f64) -> String {
    const DIGITS: i32 = 4;
    if !value.is_finite() {
        return "infinite".into();
    }
    // The exponent, having rounded: 9.9996 is 10.
    let written = format!("{:.*e}", DIGITS.unsigned_abs() as usize - 1, value);
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..=14).contains(&exponent) {
        return format!("{}e{exponent}", trimmed(digits));
    }
    let decimals = (DIGITS - 1 - exponent).max(0).unsigned_abs() as usize;
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// Without zeros that end a fraction.
fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// A time, from its nanoseconds, in the unit that suits it.
pub fn time(ns: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    // What four digits would round up to the next unit belongs to it.
    const ROUNDING: f64 = 0.99995;
    if !ns.is_finite() {
        return "infinite".into();
    }
    let unit = UNITS.into_iter().find(|(size, _)| ns.abs() >= size * ROUNDING);
    let (size, unit) = unit.unwrap_or((1.0, "ns"));
    if ns == 0.0 { "0".into() } else { format!("{} {unit}", number(ns / size)) }
}

fn optional_time(ns: Option<f64>) -> String {
    ns.map_or("-".into(), time)
}

/// A part of the whole, from 0 to 1, as a percentage.
pub fn share(part: f64) -> String {
    if part.is_finite() { format!("{} %", number(100.0 * part)) } else { number(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_those_of_the_figures_beside_them() {
        let names = Figures::default().named().map(|(name, _)| name);
        assert_eq!(FIGURES.map(|(name, ..)| name), names);
    }

    #[test]
    fn numbers_have_four_digits_at_most() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.8, "0.8"),
            (1.0 / 3.0, "0.3333"),
            (9.99996, "10"),
            (1234.5678, "1235"),
            (800_000.0, "800000"),
            (-0.12346, "-0.1235"),
            (0.000_123_46, "0.0001235"),
            (1.5e-9, "1.5e-9"),
            (2e15, "2e15"),
            (f64::INFINITY, "infinite"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn times_are_in_the_unit_that_suits_them() {
        for (ns, text) in [
            (0.0, "0"),
            (0.25, "0.25 ns"),
            (999.0, "999 ns"),
            (999.97, "1 us"),
            (4e3, "4 us"),
            (1.5e6, "1.5 ms"),
            (5e9, "5 s"),
            (1e13, "10000 s"),
            (f64::INFINITY, "infinite"),
        ] {
            assert_eq!(time(ns), text);
        }
    }
}
