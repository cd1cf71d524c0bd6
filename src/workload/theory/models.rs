//! Which model a scenario is, and what the model says.

use crate::workload::number::NS_PER_S;
use crate::workload::scenario::{Capacity, rounded};
use crate::workload::theory::chain::Chain;
use crate::workload::theory::fixed::FixedService;
use crate::workload::theory::renewal::{Found, found};
use crate::workload::theory::tail::Tail;
use crate::workload::theory::{Basis, Prediction, erlang_b, erlang_c, little};
use crate::workload::{Bound, Figures, Scenario, WhenFull};

/// What theory says of a scenario: by an exact formula if there is one here, else by an approximation,
/// else that there is none.
///
/// Times count from a message's intended time. So a bound at which the producer waits changes
/// nothing but where messages wait: the servers work whenever there is a message, as without it.
/// Keys are the exception: places that are taken by messages of one key leave other servers without
/// work, so that less can be served than without the bound. A single key makes one server of all, and
/// with a server for each key nobody waits for a server: without a bound, Poisson arrivals then are a
/// Poisson process for each key (J. F. C. Kingman, 1993), and each key is M/G/1, whose model is told.
///
/// | scenario | formula | |
/// |---|---|---|
/// | Poisson arrivals, exponential service | M/M/1, M/M/c (Erlang C) | exact |
/// | the same, and refused when full | M/M/1/K, M/M/c/K | exact |
/// | Poisson arrivals, fixed service, one server, refused when full, below a load of 1 | M/D/1/K (Tijms) | exact |
/// | Poisson arrivals, any service, refused when all servers work | M/G/c/c (Erlang B) | exact |
/// | Poisson arrivals, one server | M/D/1, M/G/1 (Pollaczek-Khinchine) | exact |
/// | other independent gaps, exponential service | GI/M/1, GI/M/c (Takacs) | exact |
/// | fixed gaps, fixed service, up to a load of 1 | D/D/c | exact |
/// | anything else without a bound, but service of infinite variance by several servers | Kingman, Allen-Cunneen | approximation |
///
/// ```
/// use ringway::workload::{Arrival, Scenario, predict};
///
/// // Fixed service halves the wait of exponential service.
/// let wait = |service: &str| -> Result<f64, ringway::workload::Error> {
///     let scenario = Scenario::new(Arrival::poisson(), service.parse()?, 800.0, 1, None)?;
///     Ok(predict(&scenario).figures.expect("a closed form").wait_mean_ns)
/// };
/// assert!((wait("exp:1ms")? - 4e6).abs() < 1.0);
/// assert!((wait("fixed:1ms")? - 2e6).abs() < 1.0);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[must_use]
pub fn predict(scenario: &Scenario) -> Prediction {
    if scenario.service().is_none() {
        return without_service(scenario);
    }
    if let Some((parts, part)) = scenario.by_keys() {
        return in_parts(scenario, parts, predict(&part));
    }
    if scenario.keys().is_some() {
        let why = if scenario.bound().is_some_and(|bound| bound.when_full == WhenFull::Wait) {
            "keys keep free servers from messages that wait, and so do places that are full of a few keys"
        } else {
            "keys keep free servers from messages that wait"
        };
        return no_closed_form(scenario, why);
    }
    match scenario.bound() {
        Some(Bound { places, when_full: WhenFull::Reject }) => refusing(scenario, places),
        Some(Bound { places, when_full: WhenFull::Wait }) => unbounded(scenario, Some(places)),
        None => unbounded(scenario, None),
    }
}

/// So many equal queues, each with a key and a server of its own, of which one is as predicted.
fn in_parts(scenario: &Scenario, parts: u32, of_one: Prediction) -> Prediction {
    let all = f64::from(parts);
    let settles = of_one.basis == Basis::Exact && of_one.stable == Some(true);
    let figures = of_one.figures.map(|one| Figures {
        utilisation: one.utilisation * all / f64::from(scenario.servers()),
        throughput_per_s: one.throughput_per_s * all,
        in_system_mean: one.in_system_mean * all,
        waiting_mean: one.waiting_mean * all,
        ..one
    });
    let why = match parts {
        _ if !settles || scenario.servers() == 1 => of_one.why,
        1 => "messages of one key are served one after the other, as by one server",
        _ => "a server for each key: each is a queue by itself, whose arrivals are Poisson too",
    };
    let growth_per_s = of_one.growth_per_s.map(|growth| growth * all);
    Prediction { why, growth_per_s, figures, ..of_one }
}

/// What a formula gives beside the means that all of them have.
struct Formula {
    basis: Basis,
    source: &'static str,
    why: &'static str,
    wait_mean_ns: f64,
    wait: Option<Tail>,
    sojourn: Option<Tail>,
    /// The probability that a message finds so many others or more.
    finds: Option<Box<dyn Fn(u32) -> f64>>,
}

fn unbounded(scenario: &Scenario, places: Option<u32>) -> Prediction {
    let even = scenario.arrival().is_fixed() && scenario.service().is_fixed();
    let is_full = scenario.load().total_cmp(&1.0).is_eq();
    if is_full && scenario.arrival().is_trace() && scenario.service().is_fixed() {
        let why = "a trace comes over and over, and so does its queue at a load of 1";
        return no_closed_form(scenario, why);
    }
    if scenario.load() > 1.0 || scenario.load() >= 1.0 && !even {
        return overloaded(scenario, places.is_some());
    }
    if scenario.servers() > 1 && scenario.service().cv2().is_infinite() {
        // With k servers to spare the mean wait is finite if the moment (k + 1)/k of the service is
        // (A. Scheller-Wolf, K. Sigman, 1997), so that scaling by the variance would be wrong.
        return no_closed_form(
            scenario,
            "service without a variance: servers to spare can keep the mean wait finite all the same",
        );
    }
    let formula = if even {
        never_waiting(scenario)
    } else if scenario.arrival().is_poisson() && scenario.service().is_exponential() {
        markov(scenario)
    } else if scenario.arrival().is_poisson() && scenario.servers() == 1 {
        pollaczek_khinchine(scenario)
    } else {
        renewal(scenario).unwrap_or_else(|| general(scenario))
    };
    let Formula { basis, source, why, wait_mean_ns, wait, sojourn, finds } = formula;
    let rate = scenario.rate_per_s();
    let sojourn_mean_ns = wait_mean_ns + scenario.service().mean_ns();
    Prediction {
        model: notation(scenario, None),
        basis,
        source,
        why,
        stable: Some(true),
        growth_per_s: Some(0.0),
        figures: Some(Figures {
            utilisation: scenario.load(),
            throughput_per_s: rate,
            loss_share: 0.0,
            in_system_mean: little(rate, sojourn_mean_ns),
            waiting_mean: little(rate, wait_mean_ns),
            sojourn_mean_ns,
            wait_mean_ns,
        }),
        full_share: places.zip(finds).map(|(places, finds)| finds(places)),
        wait,
        sojourn,
    }
}

/// M/M/c, M/M/1 among them.
fn markov(scenario: &Scenario) -> Formula {
    let service_ns = scenario.service().mean_ns();
    let (servers, load) = (scenario.servers(), scenario.load());
    let waits = erlang_c(servers, scenario.offered());
    let wait_if_any_ns = service_ns / (f64::from(servers) * (1.0 - load));
    Formula {
        basis: Basis::Exact,
        source: "the birth-death chain; A. K. Erlang, 1917",
        why: "Poisson arrivals and exponential service",
        wait_mean_ns: waits * wait_if_any_ns,
        wait: Some(Tail::exponential(waits, wait_if_any_ns)),
        sojourn: Some(Tail::two_exponentials(service_ns, waits, wait_if_any_ns)),
        finds: Some(Box::new(move |places| {
            waits * load.powf(f64::from(places) - f64::from(servers))
        })),
    }
}

/// M/G/1, M/D/1 among them.
fn pollaczek_khinchine(scenario: &Scenario) -> Formula {
    let (service, load) = (scenario.service(), scenario.load());
    let service_ns = service.mean_ns();
    let fixed = service.is_fixed().then(|| FixedService::new(load, service_ns));
    Formula {
        basis: Basis::Exact,
        source: if fixed.is_some() {
            "Pollaczek-Khinchine; percentiles: G. J. Franx, 2001"
        } else {
            "Pollaczek-Khinchine; F. Pollaczek, 1930, A. Khinchine, 1932"
        },
        why: if service.cv2().is_finite() {
            "Poisson arrivals, any service, one server"
        } else {
            "Poisson arrivals, one server; service without a variance makes the mean wait infinite"
        },
        wait_mean_ns: load / (1.0 - load) * (1.0 + service.cv2()) / 2.0 * service_ns,
        wait: fixed.clone().map(|wait| Tail::fixed_service(0.0, wait)),
        sojourn: fixed.clone().map(|wait| Tail::fixed_service(service_ns, wait)),
        finds: fixed.map(|wait| -> Box<dyn Fn(u32) -> f64> {
            Box::new(move |places| wait.more_than(u64::from(places) - 1))
        }),
    }
}

/// GI/M/c, GI/M/1 among them.
fn renewal(scenario: &Scenario) -> Option<Formula> {
    if !scenario.service().is_exponential() {
        return None;
    }
    let (service_ns, servers) = (scenario.service().mean_ns(), scenario.servers());
    let Found { waits, free } =
        found(scenario.arrival(), scenario.rate_per_s(), service_ns, servers)?;
    let wait_if_any_ns = service_ns / (f64::from(servers) * free);
    let alone = servers == 1;
    Some(Formula {
        basis: Basis::Exact,
        source: if alone {
            "the embedded chain; D. G. Kendall, 1953"
        } else {
            "the embedded chain; L. Takacs, 1962"
        },
        why: if alone {
            "independent gaps of any kind and exponential service, one server"
        } else {
            "independent gaps of any kind and exponential service"
        },
        wait_mean_ns: waits * wait_if_any_ns,
        wait: Some(Tail::exponential(waits, wait_if_any_ns)),
        sojourn: Some(Tail::two_exponentials(service_ns, waits, wait_if_any_ns)),
        finds: Some(Box::new(move |places| {
            waits * (1.0 - free).powf(f64::from(places) - f64::from(servers))
        })),
    })
}

/// D/D/c up to a load of 1: each message finds a server free, if only just.
fn never_waiting(scenario: &Scenario) -> Formula {
    Formula {
        basis: Basis::Exact,
        source: "nothing is random",
        why: "fixed gaps and fixed service: whoever comes finds a server that is just free",
        wait_mean_ns: 0.0,
        wait: Some(Tail::always(0.0)),
        sojourn: Some(Tail::always(scenario.service().mean_ns())),
        // There are no fewer places than servers.
        finds: Some(Box::new(|_| 0.0)),
    }
}

/// G/G/1 and G/G/c.
fn general(scenario: &Scenario) -> Formula {
    let servers = scenario.servers();
    let markov = markov(scenario);
    let variation = f64::midpoint(scenario.arrival_cv2(), scenario.service().cv2());
    Formula {
        basis: Basis::Approximation,
        source: if servers == 1 {
            "Kingman; J. F. C. Kingman, 1961"
        } else {
            "Allen-Cunneen; A. O. Allen, 1978"
        },
        why: if scenario.arrival().is_trace() {
            "the wait of exponential times, scaled by the variation; it takes the trace's gaps for independent of each other, which they may not be"
        } else {
            "the wait of exponential times, scaled by the variation; near at high loads; at low ones too large for even arrivals, too small or too large for bursts, and with several servers too small for even service, too large for service that varies"
        },
        wait_mean_ns: markov.wait_mean_ns * variation,
        wait: None,
        sojourn: None,
        finds: None,
    }
}

/// More comes than can be served, or as much.
fn overloaded(scenario: &Scenario, bounded: bool) -> Prediction {
    let capacity = f64::from(scenario.servers()) * NS_PER_S / scenario.service().mean_ns();
    Prediction {
        model: notation(scenario, None),
        basis: Basis::Exact,
        source: "the fluid model; G. F. Newell, 1971",
        why: "at a load of 1 and above the queue grows without end, and the wait with it",
        stable: Some(false),
        growth_per_s: Some((scenario.load() - 1.0).max(0.0) * capacity),
        figures: Some(Figures {
            utilisation: 1.0,
            throughput_per_s: capacity.min(scenario.rate_per_s()),
            loss_share: 0.0,
            in_system_mean: f64::INFINITY,
            waiting_mean: f64::INFINITY,
            sojourn_mean_ns: f64::INFINITY,
            wait_mean_ns: f64::INFINITY,
        }),
        full_share: bounded.then_some(1.0),
        wait: None,
        sojourn: None,
    }
}

/// A bound, and what finds no place is lost.
fn refusing(scenario: &Scenario, places: u32) -> Prediction {
    let poisson = scenario.arrival().is_poisson();
    let even = scenario.arrival().is_fixed() && scenario.service().is_fixed();
    if poisson && scenario.service().is_exponential() {
        return bounded_markov(scenario, places);
    }
    if poisson && places == scenario.servers() {
        return loss_system(scenario);
    }
    if poisson && scenario.service().is_fixed() && scenario.servers() == 1 && scenario.load() < 1.0
    {
        return bounded_fixed(scenario, places);
    }
    if even && scenario.load() <= 1.0 {
        let prediction = unbounded(scenario, Some(places));
        return Prediction {
            model: notation(scenario, Some(places)),
            full_share: Some(0.0),
            ..prediction
        };
    }
    let why = if poisson {
        "what finds no place depends on how far each service has got"
    } else if scenario.service().is_exponential() {
        "what finds no place depends on how long ago the last message came"
    } else {
        "what finds no place depends on how long ago the last message came, and on how far each service has got"
    };
    no_closed_form(scenario, why)
}

/// M/M/c/K, M/M/1/K among them.
fn bounded_markov(scenario: &Scenario, places: u32) -> Prediction {
    let service_ns = scenario.service().mean_ns();
    let chain = Chain::new(scenario.servers(), scenario.offered(), places);
    let loss_share = chain.full();
    let throughput_per_s = scenario.rate_per_s() * chain.free();
    let (in_system_mean, waiting_mean) = chain.means();
    let mean_ns = |count: f64| count / throughput_per_s * NS_PER_S;
    let (wait, sojourn) = chain.tails(service_ns);
    Prediction {
        model: notation(scenario, Some(places)),
        basis: Basis::Exact,
        source: "the birth-death chain with a last state; L. Kleinrock, 1975",
        why: "Poisson arrivals, exponential service, refused when full",
        stable: Some(true),
        growth_per_s: Some(0.0),
        figures: Some(Figures {
            utilisation: little(throughput_per_s, service_ns) / f64::from(scenario.servers()),
            throughput_per_s,
            loss_share,
            in_system_mean,
            waiting_mean,
            sojourn_mean_ns: mean_ns(in_system_mean),
            wait_mean_ns: mean_ns(waiting_mean),
        }),
        full_share: Some(loss_share),
        wait: Some(wait),
        sojourn: Some(sojourn),
    }
}

/// M/D/1/K below a load of 1.
fn bounded_fixed(scenario: &Scenario, places: u32) -> Prediction {
    let service_ns = scenario.service().mean_ns();
    let bounded = FixedService::new(scenario.load(), service_ns).bounded(places);
    let throughput_per_s = scenario.rate_per_s() * bounded.served_share;
    let utilisation = little(throughput_per_s, service_ns);
    let wait_mean_ns = bounded.waiting_mean / throughput_per_s * NS_PER_S;
    Prediction {
        model: notation(scenario, Some(places)),
        basis: Basis::Exact,
        source: "M/D/1 cut off; H. C. Tijms, 2003",
        why: "Poisson arrivals, fixed service, one server, refused when full: below its bound the queue is in proportion to the one without",
        stable: Some(true),
        growth_per_s: Some(0.0),
        figures: Some(Figures {
            utilisation,
            throughput_per_s,
            loss_share: bounded.loss_share,
            in_system_mean: bounded.waiting_mean + utilisation,
            waiting_mean: bounded.waiting_mean,
            sojourn_mean_ns: wait_mean_ns + service_ns,
            wait_mean_ns,
        }),
        full_share: Some(bounded.loss_share),
        wait: None,
        sojourn: None,
    }
}

/// M/G/c/c: nobody waits, and the loss is the same for every service of that mean.
fn loss_system(scenario: &Scenario) -> Prediction {
    let service_ns = scenario.service().mean_ns();
    let (servers, offered) = (scenario.servers(), scenario.offered());
    let loss_share = erlang_b(servers, offered);
    // One less the loss, by the recursion, and right also when that is nearly one.
    let blocked_before = erlang_b(servers - 1, offered);
    let free_share = f64::from(servers) / (f64::from(servers) + offered * blocked_before);
    let throughput_per_s = scenario.rate_per_s() * free_share;
    let in_system_mean = little(throughput_per_s, service_ns);
    Prediction {
        model: notation(scenario, Some(scenario.servers())),
        basis: Basis::Exact,
        source: "Erlang B, for any service; A. K. Erlang, 1917, B. A. Sevastyanov, 1957",
        why: "Poisson arrivals, refused when all servers work: the loss depends on the mean alone",
        stable: Some(true),
        growth_per_s: Some(0.0),
        figures: Some(Figures {
            utilisation: in_system_mean / f64::from(scenario.servers()),
            throughput_per_s,
            loss_share,
            in_system_mean,
            waiting_mean: 0.0,
            sojourn_mean_ns: service_ns,
            wait_mean_ns: 0.0,
        }),
        full_share: Some(loss_share),
        wait: Some(Tail::always(0.0)),
        sojourn: scenario.service().is_fixed().then(|| Tail::always(service_ns)),
    }
}

fn without_service(scenario: &Scenario) -> Prediction {
    let places = scenario.bound().map(|bound| bound.places);
    Prediction {
        model: notation(scenario, places),
        basis: Basis::Exact,
        source: "nothing takes time",
        why: "without service nothing waits",
        stable: Some(true),
        growth_per_s: Some(0.0),
        figures: Some(Figures { throughput_per_s: scenario.rate_per_s(), ..Figures::default() }),
        full_share: places.map(|_| 0.0),
        wait: Some(Tail::always(0.0)),
        sojourn: Some(Tail::always(0.0)),
    }
}

fn no_closed_form(scenario: &Scenario, why: &'static str) -> Prediction {
    let bound = scenario.bound().filter(|bound| bound.when_full == WhenFull::Reject);
    let (stable, growth) = match scenario.capacity() {
        _ if bound.is_some() => (Some(true), Some(0.0)),
        Capacity::Exactly(most) => {
            let load = rounded(scenario.offered() / most);
            let excess = (load - 1.0).max(0.0) * most;
            let growth = excess / scenario.service().mean_ns() * NS_PER_S;
            (Some(load < 1.0 || load <= 1.0 && comes_over(scenario)), Some(growth))
        }
        Capacity::AtMost(most) if rounded(scenario.offered() / most) >= 1.0 => (Some(false), None),
        // One server works for certain while there is a message.
        Capacity::AtMost(_) if scenario.offered() < 1.0 => (Some(true), Some(0.0)),
        Capacity::AtMost(_) => (None, None),
    };
    Prediction {
        model: notation(scenario, bound.map(|bound| bound.places)),
        basis: Basis::NoClosedForm,
        source: "none",
        why,
        stable,
        growth_per_s: growth,
        figures: None,
        full_share: None,
        wait: None,
        sojourn: None,
    }
}

/// Whether the same times come over and over, and with them the same queue: nothing is random, and
/// there are no keys to choose.
fn comes_over(scenario: &Scenario) -> bool {
    let arrival = scenario.arrival();
    (arrival.is_fixed() || arrival.is_trace())
        && scenario.service().is_fixed()
        && scenario.keys().is_none()
}

/// Kendall's notation: `M/D/1`, `E3/G/4/32`.
fn notation(scenario: &Scenario, places: Option<u32>) -> String {
    let (arrival, service) = (scenario.arrival().symbol(), scenario.service().symbol());
    let servers = scenario.servers();
    match places {
        Some(places) => format!("{arrival}/{service}/{servers}/{places}"),
        None => format!("{arrival}/{service}/{servers}"),
    }
}
