//! `ringway model`: queueing theory, and the simulation beside it.

mod explain;
mod json;
mod text;

use ringway::workload::{
    Arrival, Basis, Bound, Broadcast, BroadcastSimulated, Plan, Prediction, Scenario, Service,
    Simulated, highest_rate, predict, simulate, simulate_broadcast,
};

pub use self::text::{FIGURES, Show, number, share, time};

use crate::args::Model;
use crate::failure::{Ending, Failure};
use crate::limits::Limit;
use crate::output;

/// The load if nothing else says how many messages come.
pub const LOAD: f64 = 0.8;

/// Scenario, theory and simulation of servers that share messages.
pub struct Shared {
    pub scenario: Scenario,
    /// What its rate is the highest to keep to.
    pub until: Option<Limit>,
    pub prediction: Prediction,
    pub simulated: Option<Simulated>,
    pub seed: u64,
    /// How many messages were to be simulated.
    pub messages: u64,
}

/// Scenario, theory and simulation of consumers that each get all messages.
pub struct Broadcasted {
    pub arrival: String,
    pub consumers: Vec<Service>,
    pub broadcast: Broadcast,
    pub places: Option<u32>,
    /// Of each consumer, unless a ring that can be full couples them.
    pub predictions: Option<Vec<Prediction>>,
    pub simulated: BroadcastSimulated,
    pub seed: u64,
    /// How many messages were to be simulated.
    pub messages: u64,
}

pub fn run(model: &Model) -> Result<Ending, Failure> {
    let plan = Plan::new().seed(model.seed).messages(model.messages)?;
    let (value, text) = if model.broadcast {
        let broadcasted = broadcast(model, &plan)?;
        (json::broadcast(&broadcasted), text::broadcast(&broadcasted))
    } else {
        let shared = shared(model, &plan)?;
        (json::shared(&shared), text::shared(&shared))
    };
    if model.json {
        output::json(&json::with_explanation(value, model.explain))?;
    } else if model.explain {
        output::print(format_args!("{text}\n\n{}", explain::text()))?;
    } else {
        output::print(text)?;
    }
    Ok(Ending::Done)
}

fn shared(model: &Model, plan: &Plan) -> Result<Shared, Failure> {
    let &[service] = model.service.as_slice() else {
        let count = model.service.len();
        return Err(Failure::Usage(format!(
            "--service is there {count} times: servers that share messages have one, \
             consumers that get them all (--broadcast) have one each"
        )));
    };
    // No more servers work than there are keys, and a load is a part of what they can do.
    let at_work = model.keys.map_or(model.servers, |keys| keys.min(model.servers));
    let rate_per_s = rate(model.rate, model.load, &model.arrival, &[service], at_work)?;
    let bound = model.bound.map(|places| Bound { places, when_full: model.when_full });
    let scenario = Scenario::new(model.arrival.clone(), service, rate_per_s, model.servers, bound)?;
    let scenario = match model.keys {
        Some(keys) => scenario.keyed(keys)?,
        None => scenario,
    };
    let scenario = match &model.until {
        Some(limit) => highest(&scenario, limit)?,
        None => scenario,
    };
    let simulated = model.simulate.then(|| simulate(&scenario, plan)).transpose()?;
    let (seed, messages) = (model.seed, model.messages);
    let (prediction, until) = (predict(&scenario), model.until.clone());
    Ok(Shared { scenario, until, prediction, simulated, seed, messages })
}

/// The scenario at the highest rate at which theory keeps to a limit.
fn highest(scenario: &Scenario, limit: &Limit) -> Result<Scenario, Failure> {
    let refused = |why: String| Err(Failure::Usage(format!("--until '{limit}': {why}")));
    let at = |rate: f64| Ok::<_, Failure>(predict(&scenario.clone().at_rate(rate)?));
    let at_ease = at(scenario.rate_per_s() / 2.0)?;
    if limit.is_kept_by(&at_ease).is_none() {
        let has = Limit::numbers_of(&at_ease);
        return refused(match has.as_slice() {
            [] => "theory has no number of this scenario".into(),
            has => format!("of {} theory has only {}", at_ease.model, has.join(", ")),
        });
    }
    let keeps = |prediction: &Prediction| limit.is_kept_by(prediction) == Some(true);
    let Some(found) = highest_rate(scenario, keeps) else {
        return refused("that is so at the lowest rate, of a message that comes alone".into());
    };
    let rate = found.rate_per_s();
    if rate >= Scenario::RATE_MAX_PER_S {
        return refused("theory keeps to that at any rate".into());
    }
    let beyond = at(rate * (1.0 + 1e-6))?;
    if beyond.basis == Basis::NoClosedForm {
        let load = number(found.load());
        return refused(format!("theory keeps to that as far as it goes, to a load of {load}"));
    }
    Ok(found)
}

fn broadcast(model: &Model, plan: &Plan) -> Result<Broadcasted, Failure> {
    let rate_per_s = rate(model.rate, model.load, &model.arrival, &model.service, 1)?;
    let broadcast =
        Broadcast::new(model.arrival.clone(), model.service.clone(), rate_per_s, model.bound)?;
    let simulated = simulate_broadcast(&broadcast, plan)?;
    let alone = |consumer: usize| broadcast.alone(consumer).map(|scenario| predict(&scenario));
    let endless = model.bound.is_none();
    let predictions = endless.then(|| (0..model.service.len()).filter_map(alone).collect());
    Ok(Broadcasted {
        arrival: model.arrival.to_string(),
        consumers: model.service.clone(),
        broadcast,
        places: model.bound,
        predictions,
        simulated,
        seed: model.seed,
        messages: model.messages,
    })
}

/// The rate that was given, or follows from the load of the slowest, or is a trace's own.
pub fn rate(
    rate: Option<f64>,
    load: Option<f64>,
    arrival: &Arrival,
    services: &[Service],
    servers: u32,
) -> Result<f64, Failure> {
    if let Some(rate) = rate {
        return Ok(rate);
    }
    if let (None, Some(own)) = (load, arrival.own_rate_per_s()) {
        return Ok(own);
    }
    let slowest = services.iter().max_by(|one, other| one.mean_ns().total_cmp(&other.mean_ns()));
    let slowest = slowest.copied().unwrap_or(Service::none());
    Ok(slowest.rate_at_load(load.unwrap_or(LOAD), servers)?)
}
