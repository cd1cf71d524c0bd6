//! What the model says, as JSON: `docs/schema/model.schema.json` describes it.

use ringway::workload::{Measured, PERCENTILES, Prediction, Scenario, Service, Simulated};
use serde_json::{Map, Value, json};

use crate::limits::Limit;
use crate::model::{Broadcasted, Shared, explain};

/// Of what is printed here. A new name keeps it, a changed or a missing one raises it.
const SCHEMA_VERSION: u32 = 1;

pub fn shared(shared: &Shared) -> Value {
    let Shared { scenario, until, prediction, simulated, seed, .. } = shared;
    json!({
        "schema_version": SCHEMA_VERSION,
        "kind": "shared",
        "version": env!("CARGO_PKG_VERSION"),
        "scenario": scenario_value(scenario),
        "until": until.as_ref().map(Limit::to_string),
        "theory": theory(prediction),
        "simulation": simulated.as_ref().map(|it| simulation(it, prediction, *seed)),
    })
}

pub fn broadcast(broadcasted: &Broadcasted) -> Value {
    let Broadcasted { arrival, consumers, broadcast, places, predictions, simulated, seed, .. } =
        broadcasted;
    let each = consumers.iter().zip(&simulated.consumers).enumerate();
    let measured = each.map(|(index, (consumer, measured))| {
        let mut value = measurement(measured);
        let prediction = predictions.as_ref().map(|predictions| &predictions[index]);
        value.insert("service".into(), service(consumer));
        value.insert("ratios".into(), ratios(measured, prediction));
        Value::from(value)
    });
    let theories = predictions.as_ref().map(|all| all.iter().map(theory).collect::<Value>());
    json!({
        "schema_version": SCHEMA_VERSION,
        "kind": "broadcast",
        "version": env!("CARGO_PKG_VERSION"),
        "scenario": {
            "arrival": arrival,
            "rate_per_s": broadcast.rate_per_s(),
            "load": broadcast.load(),
            "bound_places": places,
        },
        "until": null,
        "theory": theories.map(|consumers| json!({ "consumers": consumers })),
        "simulation": {
            "seed": seed,
            "full_share": simulated.full_share,
            "producer_wait_mean_ns": simulated.producer_wait_mean_ns,
            "consumers": measured.collect::<Value>(),
        },
    })
}

/// Adds what introductions get wrong, or that nobody asked for it.
pub fn with_explanation(mut value: Value, asked: bool) -> Value {
    let slips = || {
        explain::slips()
            .iter()
            .map(|slip| {
                json!({
                    "written": slip.written,
                    "as": slip.meant,
                    "is": slip.is,
                    "standard": slip.standard,
                })
            })
            .collect::<Value>()
    };
    value["explanation"] = if asked { slips() } else { Value::Null };
    value
}

fn scenario_value(scenario: &Scenario) -> Value {
    let bound = scenario.bound();
    json!({
        "arrival": scenario.arrival().to_string(),
        "arrival_cv2": scenario.arrival().cv2(scenario.rate_per_s()),
        "rate_per_s": scenario.rate_per_s(),
        "load": scenario.load(),
        "service": service(scenario.service()),
        "servers": scenario.servers(),
        "bound_places": bound.map(|bound| bound.places),
        "when_full": bound.map(|bound| bound.when_full.to_string()),
        "keys": scenario.keys(),
    })
}

fn service(service: &Service) -> Value {
    json!({
        "distribution": service.to_string(),
        "mean_ns": service.mean_ns(),
        "cv2": service.cv2(),
    })
}

fn theory(prediction: &Prediction) -> Value {
    let figures = prediction.figures.map(|figures| figures.named());
    let names = |wanted: &dyn Fn(&str, f64) -> bool| {
        let figures = figures.iter().flatten().filter(|(name, figure)| wanted(name, *figure));
        figures.map(|(name, _)| *name).collect::<Value>()
    };
    json!({
        "model": prediction.model,
        "basis": prediction.basis.to_string(),
        "source": prediction.source,
        "why": prediction.why,
        "stable": prediction.stable,
        "growth_per_s": prediction.growth_per_s,
        "full_share": prediction.full_share,
        "figures": prediction.figures.map(|figures| object(figures.named())),
        "infinite": names(&|_, figure| figure.is_infinite()),
        "approximate": names(&|name, _| prediction.approximates(name)),
        "percentiles": percentiles(
            |percentile| prediction.wait_percentile_ns(percentile),
            |percentile| prediction.sojourn_percentile_ns(percentile),
        ),
    })
}

fn simulation(simulated: &Simulated, prediction: &Prediction, seed: u64) -> Value {
    let mut value = Map::from_iter([
        ("seed".into(), seed.into()),
        ("full_share".into(), simulated.full_share.into()),
        ("little_ratio".into(), simulated.little_ratio().into()),
    ]);
    value.append(&mut measurement(&simulated.measured));
    value.insert("ratios".into(), ratios(&simulated.measured, Some(prediction)));
    value.into()
}

/// What was simulated over what was predicted.
fn ratios(measured: &Measured, prediction: Option<&Prediction>) -> Value {
    let ratios = prediction.and_then(|it| it.figures).map(|theory| {
        let pairs = measured.named().into_iter().zip(theory.named());
        // What is infinite, or nothing over nothing, has no ratio: null.
        pairs
            .map(|((name, measured), (_, predicted))| {
                let ratio = measured.filter(|_| predicted.is_finite()).map(|it| it / predicted);
                (name.to_owned(), Value::from(ratio))
            })
            .collect::<Value>()
    });
    ratios.into()
}

fn measurement(measured: &Measured) -> Map<String, Value> {
    Map::from_iter([
        ("messages".into(), measured.messages.into()),
        ("lost".into(), measured.lost.into()),
        ("figures".into(), object(measured.named())),
        ("confidence".into(), measured.confidence.into()),
        ("half_widths".into(), object(measured.half_widths.named())),
        ("batch_correlation".into(), measured.batch_correlation.into()),
        (
            "percentiles".into(),
            percentiles(
                |percentile| measured.wait_percentile_ns(percentile),
                |percentile| measured.sojourn_percentile_ns(percentile),
            ),
        ),
        ("wait_max_ns".into(), measured.wait_max_ns().into()),
        ("sojourn_max_ns".into(), measured.sojourn_max_ns().into()),
    ])
}

/// The figures by their names. JSON has no infinity: null.
fn object<T: Into<Value>>(named: [(&'static str, T); 7]) -> Value {
    named.into_iter().map(|(name, figure)| (name.to_owned(), figure.into())).collect()
}

fn percentiles(wait: impl Fn(f64) -> Option<f64>, sojourn: impl Fn(f64) -> Option<f64>) -> Value {
    let row = |percentile| {
        json!({
            "percentile": percentile,
            "wait_ns": wait(percentile),
            "sojourn_ns": sojourn(percentile),
        })
    };
    PERCENTILES.into_iter().map(row).collect()
}
