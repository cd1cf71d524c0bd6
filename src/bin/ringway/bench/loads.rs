//! Open loops beside what theory says: `bench load` and `bench sweep`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ringway::Wait;
use ringway::workload::{
    Account, Arrival, Bound, Broadcast, Figures, Measured, Offered, PERCENTILES, Plan, Prediction,
    Record, Scenario, Service, WhenFull, account, predict, replay, replay_broadcast,
};
use serde_json::{Map, Value, json};

use crate::bench::cautions::Balance;
use crate::bench::document::{CONFIDENCE, finite, float, half_width_of, ratio_of, spectrum};
use crate::bench::done::{Done, Logged};
use crate::bench::role::{Answer, OfferTask, Role, ServeTask};
use crate::bench::setting::Setting;
use crate::failure::Failure;
use crate::limits::Limit;
use crate::model::number;
use crate::output::nanoseconds;

/// One load to run.
#[derive(Clone, Debug)]
pub struct Case {
    pub arrival: Arrival,
    /// One for all servers that share the messages, or one for each consumer of a broadcast.
    pub services: Vec<Service>,
    pub rate_per_s: f64,
    pub consumers: usize,
    pub broadcast: bool,
    pub bound: Option<Bound>,
    pub sleeps: bool,
    pub size: usize,
    pub wait: Wait,
    pub duration: Duration,
    pub warm_up: Duration,
    pub seed: u64,
}

/// What a run of it came to.
pub struct Outcome {
    pub case: Case,
    pub offered: Offered,
    /// Of all servers together; of a broadcast, of each consumer.
    pub accounts: Vec<Account>,
    /// What each consumer used of its processor.
    cpu_shares: Vec<f64>,
    producer_cpu_share: f64,
    /// The same chance without a machine, if it has a message: as the accounts.
    replayed: Vec<Option<Figures>>,
    pub began: SystemTime,
    /// This run as one of all runs of its load.
    pub runs: Vec<Value>,
    /// Of all these runs together.
    pub faults: Faults,
    /// Of each consumer in each of these runs.
    pub balances: Vec<Balance>,
}

/// Messages that are gone though they had a place, came twice, or too late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
}

impl Faults {
    fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            late: self.late + other.late,
        }
    }

    fn count(self) -> u64 {
        self.lost + self.doubled + self.late
    }
}

impl Case {
    pub fn has_work(&self) -> bool {
        self.services.iter().any(|service| *service != Service::none())
    }

    fn warm_up_ns(&self) -> u64 {
        nanoseconds(self.warm_up)
    }

    pub fn length_ns(&self) -> u64 {
        self.warm_up_ns().saturating_add(nanoseconds(self.duration))
    }

    /// A load that cannot be is wrong usage.
    pub fn check(&self) -> Result<(), Failure> {
        self.scenario(0)?;
        Ok(self.offer_task().offer().map(drop)?)
    }

    /// That theory, or the replay, has a figure where a limit is about a ratio to it.
    pub fn check_ratio(&self, limit: &Limit) -> Result<(), Failure> {
        let waits = |replayed: &Option<Figures>| replayed.is_some_and(|it| it.wait_mean_ns > 0.0);
        if limit.is_over_replay() && !self.replayed()?.iter().all(waits) {
            return Err(Failure::Usage(format!(
                "{limit}: without a machine no message of this load waits, so that there is nothing to \
                 compare with"
            )));
        }
        let Some(figure) = limit.theory_figure() else { return Ok(()) };
        for consumer in 0..if self.broadcast { self.consumers } else { 1 } {
            let figures = self.theory(&self.scenario(consumer)?).and_then(|it| it.figures);
            let predicted = figures.and_then(|it| it.named().into_iter().find(|it| it.0 == figure));
            if !predicted.is_some_and(|(_, number)| number.is_finite() && number > 0.0) {
                return Err(Failure::Usage(format!(
                    "{limit}: theory has no {figure} of this load to compare with"
                )));
            }
        }
        Ok(())
    }

    /// What theory says of what was asked for; nothing of consumers that a bounded ring couples.
    fn theory(&self, scenario: &Scenario) -> Option<Prediction> {
        let coupled = self.broadcast && self.bound.is_some();
        (!coupled).then(|| predict(scenario))
    }

    fn service_of(&self, consumer: usize) -> Service {
        self.services[consumer.min(self.services.len() - 1)]
    }

    /// Whose service is in the waits of a consumer: of a broadcast through a bounded ring everybody's.
    fn served_by(&self, consumer: usize) -> Vec<Service> {
        match self.bound {
            Some(_) => self.services.clone(),
            None => vec![self.service_of(consumer)],
        }
    }

    /// The consumer that the figures are of, in all runs: of a broadcast the one whose work takes
    /// longest on average, of several the first.
    pub fn busiest(&self) -> usize {
        let consumers = if self.broadcast { self.consumers } else { 1 };
        let mean_ns = |consumer: usize| self.service_of(consumer).mean_ns();
        let longest =
            (0..consumers).rev().max_by(|one, other| mean_ns(*one).total_cmp(&mean_ns(*other)));
        longest.unwrap_or(0)
    }

    /// Servers that share, as theory knows them; for a broadcast the given consumer by itself.
    pub fn scenario(&self, consumer: usize) -> Result<Scenario, Failure> {
        let service = self.service_of(consumer);
        let (servers, bound) =
            if self.broadcast { (1, None) } else { (self.consumers, self.bound) };
        let servers = u32::try_from(servers).unwrap_or(u32::MAX);
        Ok(Scenario::new(self.arrival.clone(), service, self.rate_per_s, servers, bound)?)
    }

    /// What its chance comes to without a machine: of all servers together or, of a broadcast, of each
    /// consumer; nothing where there is no message.
    fn replayed(&self) -> Result<Vec<Option<Figures>>, Failure> {
        let plan = Plan::new().seed(self.seed);
        let (from_ns, to_ns) = (self.warm_up_ns(), self.length_ns());
        let of = |it: &Measured| (it.messages > 0).then_some(it.figures);
        if !self.broadcast {
            let replayed = replay(&self.scenario(0)?, &plan, from_ns, to_ns)?;
            return Ok(vec![of(&replayed.measured)]);
        }
        let services = (0..self.consumers).map(|consumer| self.service_of(consumer)).collect();
        let places = self.bound.map(|bound| bound.places);
        let broadcast = Broadcast::new(self.arrival.clone(), services, self.rate_per_s, places)?;
        let replayed = replay_broadcast(&broadcast, &plan, from_ns, to_ns)?;
        Ok(replayed.consumers.iter().map(of).collect())
    }

    fn offer_task(&self) -> OfferTask {
        let service = if self.broadcast { Service::none() } else { self.services[0] };
        OfferTask {
            arrival: self.arrival.to_string(),
            rate_per_s: self.rate_per_s,
            length_ns: self.length_ns(),
            service: service.to_string(),
            seed: self.seed,
            size: self.size,
            places: self.bound.map(|bound| bound.places),
            rejects: self.bound.is_some_and(|bound| bound.when_full == WhenFull::Reject),
            consumers: self.consumers,
            broadcast: self.broadcast,
        }
    }
}

/// Runs loads in turn, each time by another seed, having found that all of them can be.
pub fn measure(
    setting: &Setting<'_>,
    cases: &[Case],
    runs: u16,
    done: &mut Done,
) -> Result<Vec<Vec<Outcome>>, Failure> {
    cases.iter().try_for_each(Case::check)?;
    done.in_turn(cases, runs, |case, run_number| {
        setting.progress(format_args!(
            "{} messages a second of {} B, {}, run {} of {runs}",
            number(case.rate_per_s),
            case.size,
            case.wait,
            run_number + 1
        ));
        let seed = case.seed.wrapping_add(run_number.into());
        run(setting, &Case { seed, ..case.clone() })
    })
}

fn run(setting: &Setting<'_>, case: &Case) -> Result<Outcome, Failure> {
    let task = case.offer_task();
    let offer = task.offer()?;
    let stage = setting.stage(1, case.consumers)?;
    let mut roles = vec![Role::Offer(task.clone())];
    roles.extend((0..case.consumers).map(|consumer| {
        let own = case.broadcast.then(|| case.service_of(consumer));
        Role::Serve(ServeTask {
            offer: task.clone(),
            consumer: u16::try_from(consumer).unwrap_or(u16::MAX),
            own: own.map(|service| service.to_string()),
        })
    }));
    let began = SystemTime::now();
    let heard = setting.run(&stage.names, case.wait, case.sleeps, roles)?;
    let (producer, consumers) = heard.answers.split_at(1);
    let producer = &producer[0];
    let offered = Offered {
        offered: producer.count("offered"),
        refused: producer.numbers(),
        held: producer.count("held"),
        behind: producer.count("behind"),
        late_mean_ns: producer.float("late_mean_ns"),
        late_max_ns: producer.count("late_max_ns"),
        end_ns: producer.count("end_ns"),
    };
    let samples: Vec<_> = consumers.iter().map(Answer::samples).collect();
    let of = |samples: &[_]| {
        account(&offer, &offered, heard.begin_ns, case.warm_up_ns(), samples, CONFIDENCE)
    };
    let mut accounts = if case.broadcast {
        samples.chunks(1).map(of).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![of(&samples)?]
    };
    for (consumer, account) in accounts.iter_mut().enumerate() {
        case.served_by(consumer).iter().for_each(|service| account.measured.served_by(service));
    }
    let mut outcome = Outcome {
        case: case.clone(),
        offered,
        accounts,
        cpu_shares: consumers.iter().map(Answer::cpu_share).collect(),
        producer_cpu_share: producer.cpu_share(),
        replayed: case.replayed()?,
        began,
        runs: Vec::new(),
        faults: Faults::default(),
        balances: Vec::new(),
    };
    outcome.stand_for_itself()?;
    Ok(outcome)
}

/// One of the figures of each batch, in order.
fn batch_means(measured: &Measured, figure: fn(&Figures) -> f64) -> Vec<Option<f64>> {
    measured.batches().map(|batch| batch.map(figure)).collect()
}

/// Of all runs of a load the one whose mean wait is in the middle, of those with messages as long as
/// there are any, the longer of two; it has the
/// list of all, their faults and their balances, and if they are several its intervals are by them, of each consumer
/// by its own.
pub fn middle(mut outcomes: Vec<Outcome>) -> Result<Option<Outcome>, Failure> {
    let figures_of = |consumer: usize| -> Vec<Figures> {
        let accounts = outcomes.iter().filter_map(|it| it.accounts.get(consumer));
        // A run without a message says nothing of waits.
        let measured = accounts.map(|account| &account.measured).filter(|it| it.messages > 0);
        measured.map(|it| it.figures).collect()
    };
    let consumers = outcomes.first().map_or(0, |it| it.accounts.len());
    let figures: Vec<_> = (0..consumers).map(figures_of).collect();
    let runs: Vec<_> = outcomes.iter().flat_map(|it| it.runs.clone()).collect();
    let faults = outcomes.iter().map(|it| it.faults).fold(Faults::default(), Faults::and);
    let balances: Vec<_> = outcomes.iter().flat_map(|it| it.balances.clone()).collect();
    if outcomes.iter().any(|it| it.account().measured.messages > 0) {
        outcomes.retain(|it| it.account().measured.messages > 0);
    }
    outcomes.sort_by(|one, other| {
        let wait = |it: &Outcome| it.account().measured.figures.wait_mean_ns;
        wait(one).total_cmp(&wait(other))
    });
    if outcomes.is_empty() {
        return Ok(None);
    }
    let mut outcome = outcomes.swap_remove(outcomes.len() / 2);
    outcome.runs = runs;
    outcome.faults = faults;
    outcome.balances = balances;
    if outcome.runs.len() > 1 {
        for (account, figures) in outcome.accounts.iter_mut().zip(&figures) {
            account.measured.take_intervals_of(figures)?;
        }
    }
    Ok(Some(outcome))
}

impl Outcome {
    pub fn account(&self) -> &Account {
        &self.accounts[self.case.busiest()]
    }

    /// What the consumer with the fewest received.
    pub fn received(&self) -> u64 {
        self.accounts.iter().map(|it| it.received).min().unwrap_or(0)
    }

    /// What the consumer that lost most did.
    pub fn lost(&self) -> u64 {
        self.accounts.iter().map(|it| it.lost).max().unwrap_or(0)
    }

    /// What came twice to any.
    pub fn duplicated(&self) -> u64 {
        self.accounts.iter().map(|it| it.duplicated).sum()
    }

    /// What came too late to any: those who share a subscription take turns, and each has its own
    /// in order.
    pub fn out_of_order(&self) -> u64 {
        self.accounts.iter().map(|it| it.out_of_order).sum()
    }

    /// As the only one of its load, so far.
    fn stand_for_itself(&mut self) -> Result<(), Failure> {
        self.runs = vec![self.run_value()?];
        self.faults = self.own_faults();
        let window_ns = nanoseconds(self.case.duration);
        self.balances = self.accounts.iter().map(|it| Balance::of(it, window_ns)).collect();
        Ok(())
    }

    /// One of several runs, by its seed, with all that a limit can be about.
    fn run_value(&self) -> Result<Value, Failure> {
        let measured = &self.account().measured;
        let theory = self.case.theory(&self.case.scenario(self.case.busiest())?);
        let theory_figures = theory.as_ref().and_then(|it| it.figures);
        let named = measured.figures.named();
        let mut figures = figures(measured, theory_figures.as_ref(), theory.as_ref());
        let is_figure = |key: &str| named.iter().any(|(name, _)| *name == key);
        figures.retain(|key, _| is_figure(key) || key.ends_with("_ratio"));
        let mut map = object(json!({ "run_seed": self.case.seed }));
        map.extend(self.counts());
        map.extend(figures);
        map.extend(self.beside_waits()?);
        map.extend(longest(measured, theory.as_ref()));
        map.insert("each".into(), self.each_value()?.into());
        Ok(map.into())
    }

    /// How many messages, at which rate, and what consumers used of their processors.
    fn counts(&self) -> Map<String, Value> {
        let account = self.account();
        object(json!({
            "sent": account.sent,
            "received": self.received(),
            "lost": self.lost(),
            "refused": account.refused,
            "duplicated": self.duplicated(),
            "out_of_order": self.out_of_order(),
            "achieved_rate_per_s": account.achieved_rate_per_s,
            "achieved_rate_ratio": account.achieved_rate_per_s / self.case.rate_per_s,
            "cpu_share": self.cpu_share(),
        }))
    }

    pub fn waits_in_window(&self) -> Vec<u64> {
        self.in_window().map(Record::wait_ns).collect()
    }

    /// Messages after the warm-up.
    pub fn in_window(&self) -> impl Iterator<Item = &Record> {
        let from = self.case.warm_up_ns();
        self.account().records.iter().filter(move |record| record.intended_ns >= from)
    }

    /// Logs its waits and sojourns, which are the same without work, under names that end so.
    pub fn log(&self, cell: &str, logged: &mut Logged) {
        logged.add_load(&format!("wait{cell}"), self, Record::wait_ns);
        if self.case.has_work() {
            logged.add_load(&format!("sojourn{cell}"), self, Record::sojourn_ns);
        }
    }

    /// What a consumer used of its processor, on average.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_shares.iter().sum::<f64>() / float(self.cpu_shares.len().max(1) as u64)
    }

    /// How many messages are gone though they had a place, came twice, or too late.
    pub fn faults(&self) -> u64 {
        self.faults.count()
    }

    fn own_faults(&self) -> Faults {
        Faults {
            lost: self.lost().saturating_sub(self.account().refused),
            doubled: self.duplicated(),
            late: self.out_of_order(),
        }
    }

    /// The run as JSON, without its head. The heat map is for pictures.
    pub fn value(&self, with_heat_map: bool) -> Result<Map<String, Value>, Failure> {
        let Self { case, offered, .. } = self;
        let account = self.account();
        let measured = &account.measured;
        let scenario = case.scenario(case.busiest())?;
        let theory = self.case.theory(&scenario);
        let theory_figures = theory.as_ref().and_then(|it| it.figures);
        let replayed = self.replayed[case.busiest()];
        let mut map = self.settings(&scenario);
        map.extend(self.counts());
        map.extend(object(json!({
            "held": offered.held,
            "target_rate_per_s": case.rate_per_s,
            "generator_late_mean_ns": offered.late_mean_ns,
            "generator_late_max_ns": offered.late_max_ns,
            "generator_behind_share":
                float(offered.behind) / float(offered.offered.max(1)),
            "producer_cpu_share": self.producer_cpu_share,
            "service_mean_ns": account.service_mean_ns,
            "service_cv2": account.service_cv2,
            "drawn_mean_ns": account.drawn_mean_ns,
            "stalls": account.stalls,
            "stalls_total_ns": account.stalls_total_ns,
            "stalls_max_ns": account.stalls_max_ns,
            "messages": measured.messages,
            "confidence": measured.confidence,
            "batch_correlation": measured.batch_correlation,
            "wait_batch_means_ns": batch_means(measured, |batch| batch.wait_mean_ns),
            "sojourn_batch_means_ns": batch_means(measured, |batch| batch.sojourn_mean_ns),
            "little_ratio": account.little_ratio(),
            "theory_model": theory.as_ref().map(|it| it.model.as_str()),
            "theory_basis": theory.as_ref().map(|it| it.basis.to_string()),
            "theory_source": theory.as_ref().map(|it| it.source),
            "theory_why": theory.as_ref().map(|it| it.why),
            "theory_stable": theory.as_ref().and_then(|it| it.stable),
        })));
        map.extend(figures(measured, theory_figures.as_ref(), theory.as_ref()));
        map.extend(longest(measured, theory.as_ref()));
        map.extend(self.beside_waits()?);
        map.extend(object(json!({
            "replay_sojourn_mean_ns": replayed.map(|it| it.sojourn_mean_ns),
            "replay_loss_share": replayed.map(|it| it.loss_share),
            "wait_spectrum": spectrum(|at| measured.wait_percentile_ns(at)),
            "sojourn_spectrum": spectrum(|at| measured.sojourn_percentile_ns(at)),
            "heat_map": if with_heat_map { self.heat_map() } else { Value::Null },
            "each": self.each_value()?,
            "interval_by": if self.runs.len() > 1 { "runs" } else { "batches" },
            "runs": self.runs,
        })));
        Ok(map)
    }

    fn settings(&self, scenario: &Scenario) -> Map<String, Value> {
        let case = &self.case;
        object(json!({
            "arrival": case.arrival.to_string(),
            "arrival_cv2": case.arrival.cv2(case.rate_per_s),
            "service": case.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            "consumers": case.consumers,
            "broadcast": case.broadcast,
            "bound_places": case.bound.map(|bound| bound.places),
            "when_full": case.bound.map(|bound| bound.when_full.to_string()),
            "load": scenario.load(),
            "work": if case.sleeps { "sleep" } else { "spin" },
            "wait": case.wait.to_string(),
            "size_bytes": case.size,
            "run_seed": case.seed,
            "warm_up_ns": case.warm_up_ns(),
            "window_ns": nanoseconds(case.duration),
        }))
    }

    /// What the mean wait of a run stands beside, for this chance alone.
    fn beside_waits(&self) -> Result<Map<String, Value>, Failure> {
        let busiest = self.case.busiest();
        let theory = self.theory_of_measured(&self.case.scenario(busiest)?);
        let mut map = self.beside_replay(busiest);
        map.insert("theory_of_measured_wait_mean_ns".into(), theory.into());
        Ok(map)
    }

    /// What a consumer's chance comes to without a machine, and its mean wait over that.
    fn beside_replay(&self, consumer: usize) -> Map<String, Value> {
        let measured = &self.accounts[consumer].measured;
        let replayed = self.replayed[consumer].map(|it| it.wait_mean_ns);
        let over = replayed
            .filter(|_| measured.messages > 0)
            .and_then(|replayed| ratio(measured.figures.wait_mean_ns, replayed));
        object(json!({ "replay_wait_mean_ns": replayed, "wait_mean_replay_ratio": over }))
    }

    /// What theory says of the rate that came about, and of work that takes as much longer than
    /// asked for as it took longer than was drawn. What chance drew is no doing of the machine's.
    fn theory_of_measured(&self, scenario: &Scenario) -> Option<f64> {
        let Account { service_mean_ns, drawn_mean_ns, achieved_rate_per_s, .. } = *self.account();
        let mean_ns = scenario.service().mean_ns() * service_mean_ns / drawn_mean_ns;
        let service = scenario.service().with_mean_ns(mean_ns).ok()?;
        let scenario = Scenario::new(
            self.case.arrival.clone(),
            service,
            achieved_rate_per_s,
            scenario.servers(),
            scenario.bound(),
        );
        let wait = self.case.theory(&scenario.ok()?)?.figures?.wait_mean_ns;
        wait.is_finite().then_some(wait)
    }

    /// The time in columns, and in each how many messages had a sojourn of which length.
    fn heat_map(&self) -> Value {
        const COLUMNS: u64 = 60;
        const ROWS_PER_DECADE: f64 = 8.0;
        let column_ns = self.case.length_ns().div_ceil(COLUMNS).max(1);
        let row = |ns: u64| (float(ns.max(1)).log10() * ROWS_PER_DECADE).floor();
        let mut cells: BTreeMap<(u64, i64), u64> = BTreeMap::new();
        for record in &self.account().records {
            #[allow(clippy::cast_possible_truncation, reason = "logarithms are small")]
            let key = (record.intended_ns / column_ns, row(record.sojourn_ns()) as i64);
            *cells.entry(key).or_default() += 1;
        }
        let cells: Vec<Value> =
            cells.iter().map(|((column, row), count)| json!([column, row, count])).collect();
        json!({
            "column_ns": column_ns,
            "rows_per_decade": ROWS_PER_DECADE,
            "cells": cells,
        })
    }

    fn each_value(&self) -> Result<Vec<Value>, Failure> {
        let each = if self.case.broadcast { self.accounts.as_slice() } else { &[] };
        let accounts = each.iter().zip(&self.cpu_shares).enumerate();
        accounts
            .map(|(consumer, (account, cpu_share))| {
                let scenario = self.case.scenario(consumer)?;
                let theory = self.case.theory(&scenario);
                let mut map = object(json!({
                    "service": scenario.service().to_string(),
                    "received": account.received,
                    "lost": account.lost,
                    "duplicated": account.duplicated,
                    "out_of_order": account.out_of_order,
                    "cpu_share": cpu_share,
                    "theory_model": theory.as_ref().map(|it| it.model.as_str()),
                }));
                map.extend(longest(&account.measured, theory.as_ref()));
                let theory_figures = theory.as_ref().and_then(|it| it.figures);
                map.extend(figures(&account.measured, theory_figures.as_ref(), theory.as_ref()));
                map.extend(self.beside_replay(consumer));
                Ok(map.into())
            })
            .collect()
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Each figure, how far off it may be, what theory says, and measured over theory.
fn figures(
    measured: &Measured,
    theory: Option<&Figures>,
    prediction: Option<&Prediction>,
) -> Map<String, Value> {
    let mut map = Map::new();
    let named = measured.named().into_iter().zip(measured.half_widths.named());
    for (index, ((name, figure), (_, half_width))) in named.enumerate() {
        let predicted = theory.map(|theory| theory.named()[index].1);
        map.insert(name.into(), json!(figure));
        map.insert(half_width_of(name), finite(half_width));
        map.insert(format!("theory_{name}"), predicted.map_or(Value::Null, finite));
        map.insert(
            ratio_of(name),
            json!(figure.zip(predicted).and_then(|(figure, predicted)| ratio(figure, predicted))),
        );
    }
    let approximate = |name: &&str| prediction.is_some_and(|it| it.approximates(name));
    let names = measured.figures.named().map(|(name, _)| name);
    let approximate: Vec<_> = names.into_iter().filter(approximate).collect();
    map.insert("theory_approximate".into(), json!(approximate));
    map
}

/// None of nothing over nothing, or of what is infinite.
fn ratio(measured: f64, predicted: f64) -> Option<f64> {
    let ratio = measured / predicted;
    (predicted.is_finite() && ratio.is_finite()).then_some(ratio)
}

/// The percentiles, and what was longest of all.
fn longest(measured: &Measured, theory: Option<&Prediction>) -> Map<String, Value> {
    let rows = PERCENTILES.into_iter().map(|at| {
        json!({
            "percentile": at,
            "wait_ns": measured.wait_percentile_ns(at),
            "sojourn_ns": measured.sojourn_percentile_ns(at),
            "theory_wait_ns": theory.and_then(|it| it.wait_percentile_ns(at)),
            "theory_sojourn_ns": theory.and_then(|it| it.sojourn_percentile_ns(at)),
        })
    });
    object(json!({
        "percentiles": rows.collect::<Value>(),
        "wait_max_ns": measured.wait_max_ns(),
        "sojourn_max_ns": measured.sojourn_max_ns(),
    }))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::bench::estimate::estimated;
    use crate::limits::Verdict;
    use ringway::workload::Sample;

    const MS: u64 = 1_000_000;

    /// A message each millisecond for a tenth of a second, and what became of each.
    pub fn outcome(service: &str, sample: impl Fn(u64) -> Sample) -> Outcome {
        let case = Case {
            arrival: Arrival::fixed(),
            services: vec![service.parse().unwrap()],
            rate_per_s: 1000.0,
            consumers: 1,
            broadcast: false,
            bound: None,
            sleeps: false,
            size: 64,
            wait: Wait::Spin,
            duration: Duration::from_millis(100),
            warm_up: Duration::ZERO,
            seed: 1,
        };
        let samples: Vec<Sample> = (0..99).map(sample).collect();
        let offered = Offered { offered: 99, end_ns: 100 * MS, ..Offered::default() };
        outcome_of(case, offered, samples)
    }

    fn outcome_of(case: Case, offered: Offered, samples: Vec<Sample>) -> Outcome {
        let offer = case.offer_task().offer().unwrap();
        let account = account(&offer, &offered, 0, 0, &[samples], CONFIDENCE).unwrap();
        let replayed = case.replayed().unwrap();
        let mut outcome = Outcome {
            case,
            offered,
            accounts: vec![account],
            cpu_shares: vec![0.5],
            producer_cpu_share: 1.0,
            replayed,
            began: SystemTime::now(),
            runs: Vec::new(),
            faults: Faults::default(),
            balances: Vec::new(),
        };
        outcome.stand_for_itself().unwrap();
        outcome
    }

    /// Received when it was intended, with this work drawn, which took so long.
    pub fn served(number: u64, service_ns: u64, took_ns: u64) -> Sample {
        let start_ns = MS * (number + 1);
        Sample { number, start_ns, end_ns: start_ns + took_ns, service_ns }
    }

    fn warns(outcome: &Outcome, words: &str) -> bool {
        outcome.cautions().iter().any(|it| it.what.contains(words))
    }

    #[test]
    fn work_is_held_against_what_was_drawn_and_not_against_what_chance_left_out() {
        let theory = |outcome: &Outcome| {
            outcome.theory_of_measured(&outcome.case.scenario(0).unwrap()).unwrap()
        };
        // Chance drew twice as much as the mean, and that is what it took.
        let drawn = outcome("exp:100us", |number| served(number, 200_000, 200_000));
        assert!(!warns(&drawn, "work took"), "{:?}", drawn.cautions());
        // Half as much was drawn, and it took a fifth longer.
        let overrun = outcome("exp:100us", |number| served(number, 50_000, 60_000));
        assert!(warns(&overrun, "work took 60 us on average instead of 50 us"));
        assert!(theory(&overrun) > 1.2 * theory(&drawn));
    }

    #[test]
    fn a_run_that_is_short_for_its_load_says_so_unless_its_intervals_are_by_runs() {
        let run = |service: &str| outcome(service, |number| served(number, 1000, 1000));
        let words = "its intervals hold less often than they say";
        assert!(warns(&run("exp:900us"), words) && !warns(&run("exp:10us"), words));
        let two = middle(vec![run("exp:900us"), run("exp:900us")]).unwrap().unwrap();
        assert!(!warns(&two, words));
    }

    /// Each works so long on a message, of which one comes each millisecond.
    fn alone(took_ns: u64) -> Outcome {
        outcome("fixed:500us", |number| {
            let start_ns = MS.max(took_ns) * number + MS;
            Sample { number, start_ns, end_ns: start_ns + took_ns, service_ns: took_ns }
        })
    }

    #[test]
    fn a_queue_that_did_not_settle_is_told_whichever_run_had_it() {
        let words =
            "the queue did not settle: 99 messages came in the window and 82 were through in it";
        let [steady, growing] = [900_000, 1_200_000].map(alone);
        assert!(warns(&growing, words), "{:?}", growing.cautions());
        assert!(!warns(&growing, "Little's law"), "which holds of it");
        assert!(!warns(&steady, "did not settle"), "{:?}", steady.cautions());
        let runs = [500_000, 1_200_000, 500_000, 500_000, 500_000].map(alone).into();
        let shown = middle(runs).unwrap().unwrap();
        assert!(
            warns(&shown, &format!("{words}, in the worst of 5 runs")),
            "{:?}",
            shown.cautions()
        );
    }

    #[test]
    fn that_littles_law_does_not_hold_is_told_whichever_run_had_it() {
        // The last of them stays for a second, of which the window has a millisecond.
        let run = |last_ns: u64| {
            outcome("none", |number| {
                let start_ns = MS * (number + 1);
                let stays_ns = if number == 98 { last_ns } else { MS };
                Sample { number, start_ns, end_ns: start_ns + stays_ns, service_ns: stays_ns }
            })
        };
        let words = "times that by Little's law";
        assert!(warns(&run(1000 * MS), words) && !warns(&run(MS), words));
        let shown = middle([MS, 1000 * MS, MS].map(run).into()).unwrap().unwrap();
        assert!(warns(&shown, words), "{:?}", shown.cautions());
    }

    #[test]
    fn work_that_is_too_short_to_sleep_is_told() {
        let sleeping = |work_ns: u64| {
            let mut outcome = outcome("exp:100us", |number| served(number, work_ns, work_ns));
            outcome.case.sleeps = true;
            outcome
        };
        let words = "the last 60 us of each work, which took 50 us on average";
        assert!(warns(&sleeping(50_000), words));
        assert!(!warns(&sleeping(200_000), "servers were to sleep"));
        assert!(!warns(&outcome("exp:100us", |it| served(it, 50_000, 50_000)), "to sleep"));
    }

    #[test]
    fn waits_without_a_variance_have_no_interval_and_the_run_says_so() {
        let run = |service: &str| outcome(service, |number| served(number, 1000, 1000));
        let half_width =
            |outcome: &Outcome, figure: &str| outcome.value(false).unwrap()[figure].clone();
        let heavy = run("pareto:100us,2.5");
        assert!(warns(&heavy, "without a third moment"));
        assert_eq!(half_width(&heavy, "wait_mean_half_width_ns"), Value::Null);
        assert!(half_width(&heavy, "utilisation_half_width").is_number());
        let of_runs = middle(vec![run("pareto:100us,2.5"), heavy]).unwrap().unwrap();
        assert_eq!(half_width(&of_runs, "wait_mean_half_width_ns"), Value::Null);
        let heavier = run("pareto:100us,2");
        assert!(warns(&heavier, "without a variance leaves no figure"));
        assert_eq!(half_width(&heavier, "utilisation_half_width"), Value::Null);
        let light = run("pareto:100us,3.5");
        assert!(!warns(&light, "moment") && !warns(&light, "variance"));
        assert!(half_width(&light, "wait_mean_half_width_ns").is_number());
        let mut coupled = run("exp:1us").case;
        coupled.services.push("pareto:1us,2.5".parse().unwrap());
        (coupled.broadcast, coupled.consumers) = (true, 2);
        let moments = |case: &Case| case.served_by(0).iter().map(Service::finite_moments).min();
        assert_eq!(moments(&coupled), Some(3));
        coupled.bound = Some(Bound { places: 8, when_full: WhenFull::Wait });
        assert_eq!(moments(&coupled), Some(2), "who is held up waits as others do");
    }

    #[test]
    fn the_warm_up_is_not_logged() {
        let mut outcome = outcome("exp:100us", |number| served(number, 1000, 1000));
        outcome.case.warm_up = Duration::from_millis(40);
        let mut logged = crate::bench::done::Done::new("load").logged;
        outcome.log("", &mut logged);
        let counts: Vec<_> =
            logged.series.iter().map(|(tag, times)| (tag.as_str(), times.len())).collect();
        assert_eq!(counts, [("wait", 60), ("sojourn", 60)], "those of 40 to 99 ms");
    }

    #[test]
    fn of_several_runs_the_middle_one_is_shown_with_the_interval_of_all() {
        // Each message waits so long.
        let run = |wait_ns: u64| {
            outcome("none", |number| {
                let start_ns = MS * (number + 1) + wait_ns;
                Sample { number, start_ns, end_ns: start_ns, service_ns: 0 }
            })
        };
        let shown = |waits: &[u64]| {
            let outcome = middle(waits.iter().copied().map(run).collect()).unwrap().unwrap();
            outcome.value(false).unwrap()
        };
        let three = shown(&[600, 400, 500]);
        assert_eq!(three["wait_mean_ns"], 500.0);
        assert_eq!(estimated(&three.clone().into())["wait_mean_ns"], 500.0);
        let skewed = shown(&[600, 400, 410]);
        assert_eq!(skewed["wait_mean_ns"], 410.0, "and what is shown is what +- is about:");
        assert_eq!(estimated(&skewed.into())["wait_mean_ns"], 470.0);
        let half_width = three["wait_mean_half_width_ns"].as_f64().unwrap();
        assert!((half_width - 430.3 / 3_f64.sqrt()).abs() < 0.1, "{half_width}");
        let waits: Vec<_> =
            three["runs"].as_array().unwrap().iter().map(|it| &it["wait_mean_ns"]).collect();
        assert_eq!(waits, [&json!(600.0), &json!(400.0), &json!(500.0)], "in their order");
        assert_eq!(three["interval_by"], "runs");
        assert_eq!(shown(&[400, 700, 500, 600])["wait_mean_ns"], 600.0, "the longer of two");
        let one = shown(&[500]);
        assert_eq!(
            (&one["interval_by"], &one["wait_mean_half_width_ns"]),
            (&json!("batches"), &json!(0.0))
        );
        assert!(middle(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn a_window_without_a_message_has_no_waits_and_no_limit_is_kept_by_that() {
        let some = || outcome("exp:100us", |number| served(number, 1000, 1000));
        let none = || outcome_of(some().case, Offered::default(), Vec::new());
        let shown = Value::from(middle(vec![none()]).unwrap().unwrap().value(false).unwrap());
        for run in [&shown, &shown["runs"][0]] {
            for name in ["wait_mean_ns", "sojourn_mean_ns", "loss_share", "wait_max_ns"] {
                assert_eq!(run[name], Value::Null, "{name}");
            }
            assert_eq!((&run["wait_mean_ratio"], &run["utilisation"]), (&Value::Null, &json!(0.0)));
        }
        for limit in ["wait_mean_ns>1s", "sojourn_max_ns>1s", "wait_mean_ratio>9", "loss_share>0"] {
            let verdict = limit.parse::<Limit>().unwrap().judge(&shown);
            assert_eq!(verdict, Verdict::Unknown, "{limit}");
        }
        // Of two that have waits and one that has none, the longer, by the interval of the two.
        let wait = |ns: u64| {
            outcome("none", |number| {
                let start_ns = MS * (number + 1) + ns;
                Sample { number, start_ns, end_ns: start_ns, service_ns: 0 }
            })
        };
        let shown = middle(vec![none(), wait(400), wait(500)]).unwrap().unwrap();
        let shown = shown.value(false).unwrap();
        assert_eq!(
            (&shown["wait_mean_ns"], &shown["interval_by"]),
            (&json!(500.0), &json!("runs"))
        );
        let half_width = shown["wait_mean_half_width_ns"].as_f64().unwrap();
        assert!((half_width - 12.706 * 50.0).abs() < 0.1, "{half_width}");
    }

    #[test]
    fn faults_are_told_whichever_run_had_them() {
        // Message 7 comes once more instead of message 8.
        let run = |wait_ns: u64, is_faulty: bool| {
            outcome("none", |number| {
                let number = if is_faulty && number == 8 { 7 } else { number };
                let start_ns = MS * (number + 1) + wait_ns;
                Sample { number, start_ns, end_ns: start_ns, service_ns: 0 }
            })
        };
        let runs = vec![run(400, false), run(500, false), run(600, true)];
        let shown = middle(runs).unwrap().unwrap();
        assert_eq!((shown.lost(), shown.duplicated()), (0, 0), "the one in the middle has none");
        let words = "1 messages were lost, 1 came twice, 0 came too late, in all 3 runs together";
        assert!(warns(&shown, words), "{:?}", shown.cautions());
        let alone = middle(vec![run(400, true)]).unwrap().unwrap();
        assert!(warns(&alone, "came too late") && !warns(&alone, "together"));
        assert_eq!(alone.faults(), 2);
        assert!(!warns(&run(400, false), "were lost"));
    }

    #[test]
    fn all_runs_of_a_broadcast_are_of_the_same_consumer_and_each_has_its_own_intervals() {
        // Chance has now one and now the other busier, both of which are to work as long.
        let run = |took_us: [u64; 2]| {
            let [mut first, second] =
                took_us.map(|us| outcome("exp:20us", |number| served(number, 20_000, us * 1000)));
            first.accounts.extend(second.accounts);
            first.cpu_shares.push(0.5);
            first.case.services.push("fixed:20us".parse().unwrap());
            (first.case.broadcast, first.case.consumers) = (true, 2);
            first.replayed = first.case.replayed().unwrap();
            first.stand_for_itself().unwrap();
            first
        };
        let shown = middle([[20, 40], [60, 10], [30, 90]].map(run).into()).unwrap().unwrap();
        let shown = shown.value(false).unwrap();
        let sojourns = shown["runs"].as_array().unwrap().iter().map(|it| &it["sojourn_mean_ns"]);
        assert_eq!(sojourns.collect::<Vec<_>>(), [&json!(20e3), &json!(60e3), &json!(30e3)]);
        let half_width = |of: &Value| of["sojourn_mean_half_width_ns"].as_f64().unwrap();
        let each = shown["each"].as_array().unwrap();
        // Student's t of three runs, by their standard deviations.
        for (of, deviation_ns) in [(&each[0], 20_816.7), (&each[1], 40_414.5)] {
            let expected = 4.302_65 * deviation_ns / 3_f64.sqrt();
            assert!(
                (half_width(of) / expected - 1.0).abs() < 1e-4,
                "{} {expected}",
                half_width(of)
            );
        }
        assert_eq!(shown["sojourn_mean_half_width_ns"], each[0]["sojourn_mean_half_width_ns"]);
        assert_eq!(shown["interval_by"], "runs");
    }

    #[test]
    fn the_busiest_consumer_is_the_one_with_the_longest_work() {
        let mut case = outcome("exp:20us", |number| served(number, 0, 0)).case;
        case.services.extend(["fixed:30us", "exp:30us"].map(|it| it.parse::<Service>().unwrap()));
        case.consumers = 3;
        assert_eq!(case.busiest(), 0, "they share the messages");
        case.broadcast = true;
        assert_eq!(case.busiest(), 1);
    }
}
