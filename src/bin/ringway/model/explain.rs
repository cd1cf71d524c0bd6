//! What some introductions to queues get wrong, with the standard forms in numbers.

use ringway::workload::{Arrival, Figures, Scenario, predict};

use crate::model::text::{number, time};

/// A formula that is something else than it is said to be.
pub struct Slip {
    /// The formula, for messages that come at a rate l and are served at a rate m.
    pub written: &'static str,
    /// What it is given as.
    pub meant: &'static str,
    /// What it is, with its value in the example.
    pub is: String,
    /// What belongs there, with its value in the example.
    pub standard: String,
}

/// The example, a second: the two differ from 1, so that a count and a time cannot look alike.
const ARRIVAL_RATE: f64 = 8.0;
const SERVICE_RATE: f64 = 10.0;

/// The slips, with the numbers of M/M/1 as the rest of the program has them.
pub fn slips() -> [Slip; 3] {
    let Figures {
        throughput_per_s,
        in_system_mean,
        sojourn_mean_ns,
        wait_mean_ns,
        utilisation,
        ..
    } = example();
    let service_ns = 1e9 / SERVICE_RATE;
    [
        Slip {
            written: "W = l/(m-l)",
            meant: "the mean time in the queue",
            is: format!(
                "L, a count: {} messages are there on average, waiting or in service",
                number(in_system_mean)
            ),
            standard: format!(
                "W = 1/(m-l) = {} from a message's intended time to the end of its service, of which Wq = l/(m(m-l)) = {} is the wait",
                time(sojourn_mean_ns),
                time(wait_mean_ns)
            ),
        },
        Slip {
            written: "X = m/l",
            meant: "the throughput",
            is: format!("1/utilisation, without a unit: {}", number(utilisation.recip())),
            standard: format!(
                "X = l = {} a second while l < m, m from there on, and l(1-P_K) when messages are lost",
                number(throughput_per_s)
            ),
        },
        Slip {
            written: "D = 1/m",
            meant: "the delay from the producer to the end of the work",
            is: format!("the mean service alone: {}", time(service_ns)),
            standard: format!(
                "W = Wq + 1/m = {} + {} = {}",
                time(wait_mean_ns),
                time(service_ns),
                time(sojourn_mean_ns)
            ),
        },
    ]
}

pub fn text() -> String {
    let head = format!(
        "Some introductions have other formulas, for messages that come at a rate l and are served\n\
         at a rate m. With l = {} and m = {} a second (M/M/1):",
        number(ARRIVAL_RATE),
        number(SERVICE_RATE)
    );
    let slips = slips().map(|slip| {
        let Slip { written, meant, is, standard } = slip;
        format!("{written}, as {meant}\n    is        {is}\n    standard  {standard}")
    });
    format!(
        "{head}\n\n{}\n\nWith m = 1 the numbers of L and Wq are the same, and the first slip goes unnoticed.",
        slips.join("\n\n")
    )
}

/// The figures of the example. It is within all bounds; should it not be, they are all 0.
fn example() -> Figures {
    "exp:100ms"
        .parse()
        .and_then(|service| Scenario::new(Arrival::poisson(), service, ARRIVAL_RATE, 1, None))
        .ok()
        .and_then(|scenario| predict(&scenario).figures)
        .unwrap_or_default()
}
