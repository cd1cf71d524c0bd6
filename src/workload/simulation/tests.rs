//! The simulation against closed forms where they exist, and against rules of its own where not.

use crate::workload::number::float;
use crate::workload::theory::{little, predict};
use crate::workload::{
    Arrival, Bound, Broadcast, Figures, Measured, Meter, Plan, Random, Scenario, Service, WhenFull,
    simulate, simulate_broadcast,
};

const SEED: u64 = 3;

fn plan(messages: u64) -> Plan {
    Plan::new().messages(messages).unwrap().seed(SEED).confidence(0.9999).unwrap()
}

fn scenario(arrival: &str, service: &str, rate: f64, servers: u32) -> Scenario {
    let (arrival, service) = (arrival.parse().unwrap(), service.parse().unwrap());
    Scenario::new(arrival, service, rate, servers, None).unwrap()
}

fn bounded(scenario: &Scenario, places: u32, when_full: WhenFull) -> Scenario {
    let bound = Some(Bound { places, when_full });
    let (arrival, service) = (scenario.arrival().clone(), *scenario.service());
    Scenario::new(arrival, service, scenario.rate_per_s(), scenario.servers(), bound).unwrap()
}

/// Each figure is within its interval, and the interval of the mean wait is narrow enough to say
/// something.
#[track_caller]
fn assert_agrees(measured: &Measured, theory: &Figures, name: &str) {
    let half_widths = measured.half_widths.named();
    let pairs = measured.figures.named().into_iter().zip(theory.named());
    for (((figure, found), (_, expected)), (_, half_width)) in pairs.zip(half_widths) {
        assert!(
            (found - expected).abs() <= half_width + 1e-6 * expected.abs(),
            "{name}, seed {SEED}: {figure} is {found}, not {expected}, and should be within {half_width}"
        );
    }
    let sojourn = theory.sojourn_mean_ns;
    assert!(measured.half_widths.sojourn_mean_ns < 0.2 * sojourn, "{name}: it says nothing");
}

#[test]
fn it_agrees_with_every_exact_formula() {
    let reject = |scenario: Scenario, places| bounded(&scenario, places, WhenFull::Reject);
    for scenario in [
        scenario("poisson", "exp:1us", 0.5e6, 1),
        scenario("poisson", "exp:1us", 0.8e6, 1),
        scenario("poisson", "exp:1us", 3.2e6, 4),
        scenario("poisson", "fixed:1us", 0.8e6, 1),
        scenario("poisson", "erlang:1us,3", 0.7e6, 1),
        scenario("poisson", "hyper:1us,4", 0.6e6, 1),
        scenario("poisson", "lognormal:1us,2", 0.6e6, 1),
        scenario("erlang:2", "exp:1us", 0.7e6, 1),
        scenario("fixed", "exp:1us", 0.8e6, 1),
        scenario("hyper:3", "exp:1us", 0.6e6, 1),
        scenario("onoff:10us,10us", "exp:1us", 0.4e6, 1),
        scenario("fixed", "exp:1us", 3.2e6, 4),
        scenario("erlang:4", "exp:1us", 3.2e6, 4),
        scenario("fixed", "fixed:1us", 3e6, 3),
        reject(scenario("poisson", "exp:1us", 0.8e6, 1), 8),
        reject(scenario("poisson", "fixed:1us", 0.8e6, 1), 4),
        reject(scenario("poisson", "fixed:1us", 0.95e6, 1), 8),
        reject(scenario("poisson", "exp:1us", 1e6, 1), 8),
        reject(scenario("poisson", "exp:1us", 1.2e6, 1), 8),
        reject(scenario("poisson", "exp:1us", 1.2e6, 1), 32),
        reject(scenario("poisson", "exp:1us", 4e6, 4), 10),
        reject(scenario("poisson", "lognormal:1us,2", 3e6, 4), 4),
    ] {
        let name = format!("{scenario:?}");
        let prediction = predict(&scenario);
        let theory = prediction.figures.unwrap();
        let simulated = simulate(&scenario, &plan(60_000)).unwrap();
        assert_agrees(&simulated.measured, &theory, &name);
        let little = simulated.little_ratio().unwrap();
        assert!((little - 1.0).abs() < 0.01, "{name}: {little}");
        for percentile in [50.0, 90.0, 99.0] {
            let measured = &simulated.measured;
            for (expected, found) in [
                (
                    prediction.wait_percentile_ns(percentile),
                    measured.wait_percentile_ns(percentile),
                ),
                (
                    prediction.sojourn_percentile_ns(percentile),
                    measured.sojourn_percentile_ns(percentile),
                ),
            ] {
                let (Some(expected), Some(found)) = (expected, found) else { continue };
                let off = (found - expected).abs();
                assert!(off < 0.12 * expected + 40.0, "{name} {percentile}: {found} {expected}");
            }
        }
    }
}

#[test]
fn it_is_near_every_approximation() {
    for (arrival, service, rate, servers) in [
        ("erlang:2", "erlang:1us,2", 0.85e6, 1),
        ("hyper:2", "lognormal:1us,2", 0.8e6, 1),
        ("poisson", "fixed:1us", 3.4e6, 4),
        ("erlang:2", "exp:1us", 2.5e6, 3),
    ] {
        let scenario = scenario(arrival, service, rate, servers);
        let expected = predict(&scenario).figures.unwrap().wait_mean_ns;
        let found = simulate(&scenario, &plan(60_000)).unwrap().measured.figures.wait_mean_ns;
        let ratio = found / expected;
        assert!((0.75..1.25).contains(&ratio), "{scenario:?}: {ratio}");
    }
}

/// The recursion of D. V. Lindley (1952), which knows neither events nor places.
#[test]
fn one_server_is_lindleys_recursion() {
    for (arrival, service) in [
        ("poisson", "exp:1us"),
        ("hyper:4", "pareto:1us,2.5"),
        ("onoff:5us,5us", "lognormal:1us,2"),
    ] {
        let scenario = scenario(arrival, service, 0.7e6, 1);
        let simulated = simulate(&scenario, &plan(20_000)).unwrap();
        let (begin_ns, length_ns) = plan(20_000).window_ns(0.7e6);
        let mut meter = Meter::over(begin_ns, length_ns, 1).unwrap();
        let mut gaps = scenario.arrival().gaps(0.7e6, Random::new(SEED, super::ARRIVALS));
        let mut services = scenario.service().times(Random::new(SEED, super::SERVICES));
        let (mut now, mut wait) = (gaps.next_ns(), 0.0);
        while now < begin_ns + length_ns {
            let service = services.next_ns();
            meter.count_served(now, wait, wait + service);
            let gap = gaps.next_ns();
            wait = (wait + service - gap).max(0.0);
            now += gap;
        }
        let recursion = meter.measured(0.9999).unwrap();
        assert_eq!(simulated.measured.messages, recursion.messages);
        let pairs = simulated.measured.figures.named().into_iter().zip(recursion.figures.named());
        for ((name, found), (_, expected)) in pairs {
            assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{name} {found} {expected}");
        }
    }
}

#[test]
fn one_a_second_served_for_one_second_never_waits_nor_finds_its_place_taken() {
    for places in [1, 2] {
        let scenario = scenario("fixed", "fixed:1s", 1.0, 1);
        let scenario = bounded(&scenario, places, WhenFull::Reject);
        let simulated = simulate(&scenario, &plan(1000)).unwrap();
        let figures = simulated.measured.figures;
        let exact = [("wait", figures.wait_mean_ns), ("loss", figures.loss_share)];
        assert!(exact.iter().all(|(_, figure)| figure.abs() < 1e-300), "{exact:?}");
        assert!((figures.in_system_mean - 1.0).abs() < 1e-9);
        assert!((figures.utilisation - 1.0).abs() < 1e-9);
    }
    // Also when the gap is no whole number of anything: it is rounded as the service is.
    let scenario = scenario("fixed", "fixed:7ns", 1e9 / 7.0, 1);
    let scenario = bounded(&scenario, 1, WhenFull::Reject);
    assert_eq!(simulate(&scenario, &plan(1000)).unwrap().measured.lost, 0);
}

/// At a message in eleven days, where a run lasts so long that moments alone have no microseconds.
#[test]
fn times_are_as_exact_late_in_a_long_run_as_at_its_beginning() {
    let twenty_us = |ns: f64| (ns / 20_000.0 - 1.0).abs() < 0.002;
    for arrival in ["poisson", "fixed"] {
        let alone = scenario(arrival, "fixed:20us", 1e-6, 1);
        let simulated = simulate(&alone, &plan(20_000)).unwrap();
        let consumers = vec![*alone.service()];
        let broadcast = Broadcast::new(alone.arrival().clone(), consumers, 1e-6, None).unwrap();
        let broadcasted = simulate_broadcast(&broadcast, &plan(20_000)).unwrap();
        for measured in [&simulated.measured, &broadcasted.consumers[0]] {
            let sojourn = |percentile| measured.sojourn_percentile_ns(percentile).unwrap();
            assert!(twenty_us(sojourn(50.0)) && twenty_us(sojourn(99.0)), "{}", sojourn(50.0));
            assert!(twenty_us(measured.figures.sojourn_mean_ns));
            let worked = measured.figures.utilisation / measured.figures.throughput_per_s * 1e9;
            assert!(twenty_us(worked), "{worked}");
        }
        let little = simulated.little_ratio().unwrap();
        assert!((little - 1.0).abs() < 0.01, "{little}");
    }
}

#[test]
fn a_producer_that_waits_changes_no_wait_as_long_as_servers_have_work() {
    for (rate, servers) in [(0.9e6, 1), (2.7e6, 3)] {
        let open = scenario("poisson", "exp:1us", rate, servers);
        let held = bounded(&open, 4, WhenFull::Wait);
        let simulated_open = simulate(&open, &plan(20_000)).unwrap();
        let simulated = simulate(&held, &plan(20_000)).unwrap();
        assert_eq!(simulated.measured.figures, simulated_open.measured.figures);
        let expected = predict(&held).full_share.unwrap();
        let full = simulated.full_share;
        assert!((full - expected).abs() < 0.1 * expected, "seed {SEED}: {full} {expected}");
        assert!(simulated_open.full_share <= 0.0);
    }
}

#[test]
fn more_than_can_be_served_grows_by_the_difference() {
    let scenario = scenario("poisson", "exp:1us", 1.5e6, 1);
    let simulated = simulate(&scenario, &plan(20_000)).unwrap();
    let figures = simulated.measured.figures;
    assert!((figures.utilisation - 1.0).abs() < 1e-3);
    assert!((figures.throughput_per_s / 1e6 - 1.0).abs() < 0.05);
    // From a tenth before the window to its end, half of it on average: 0.6 of 20,000 / 3.
    let expected = 0.6 * 20_000.0 / 3.0;
    assert!((figures.in_system_mean / expected - 1.0).abs() < 0.1, "{figures:?}");
}

#[test]
fn one_key_makes_one_server_of_many_and_many_keys_hinder_nobody() {
    let one_key = scenario("poisson", "exp:1us", 0.7e6, 4).keyed(1).unwrap();
    let simulated = simulate(&one_key, &plan(40_000)).unwrap().measured;
    let theory = predict(&scenario("poisson", "exp:1us", 0.7e6, 1)).figures.unwrap();
    assert!(
        (simulated.figures.wait_mean_ns - theory.wait_mean_ns).abs()
            < simulated.half_widths.wait_mean_ns,
        "seed {SEED}: {simulated:?}"
    );
    assert!((simulated.figures.utilisation - 0.7 / 4.0).abs() < 0.01);
    assert_agrees(&simulated, &predict(&one_key).figures.unwrap(), "one key");
    // A server for each key: nobody waits for a server, and each key is a queue by itself.
    for service in ["exp:1us", "fixed:1us", "hyper:1us,3"] {
        let apart = scenario("poisson", service, 1.4e6, 8).keyed(2).unwrap();
        let simulated = simulate(&apart, &plan(80_000)).unwrap().measured;
        assert_agrees(&simulated, &predict(&apart).figures.unwrap(), service);
    }

    let open = scenario("poisson", "exp:1us", 3.2e6, 4);
    let many = open.clone().keyed(1_000_000).unwrap();
    let open = simulate(&open, &plan(20_000)).unwrap().measured.figures;
    let many = simulate(&many, &plan(20_000)).unwrap().measured.figures;
    assert!((many.wait_mean_ns / open.wait_mean_ns - 1.0).abs() < 0.01);

    // Few keys: in between, and the fewer the worse.
    let wait = |keys| {
        let scenario = scenario("poisson", "exp:1us", 2e6, 4).keyed(keys).unwrap();
        simulate(&scenario, &plan(20_000)).unwrap().measured.figures.wait_mean_ns
    };
    let [few, more, most] = [4, 16, 100_000].map(wait);
    assert!(few > 1.2 * more && more > 1.2 * most, "seed {SEED}: {few} {more} {most}");
}

#[test]
fn keys_and_a_producer_that_waits_lose_nothing() {
    let held = bounded(&scenario("poisson", "exp:1us", 2e6, 4), 6, WhenFull::Wait);
    let simulated = simulate(&held.keyed(8).unwrap(), &plan(20_000)).unwrap();
    let little = simulated.little_ratio().unwrap();
    assert!((little - 1.0).abs() < 0.02, "{little}");
    assert!(simulated.full_share > 0.0 && simulated.measured.lost == 0);
}

/// What theory says can be served is what is served, if there is always one more.
#[test]
fn places_full_of_a_few_keys_serve_as_much_as_theory_says() {
    for (keys, places) in [(4, 4), (2, 4), (4, 12)] {
        let open = scenario("poisson", "exp:1ms", 4000.0, 4);
        let held = bounded(&open, places, WhenFull::Wait).keyed(keys).unwrap();
        let prediction = predict(&held);
        assert_eq!(prediction.stable, Some(false));
        let expected = 4000.0 - prediction.growth_per_s.unwrap();
        let found = simulate(&held, &plan(60_000)).unwrap().measured.figures.throughput_per_s;
        assert!((found / expected - 1.0).abs() < 0.02, "seed {SEED}: {found} {expected}");
    }
    // At less than all that servers can do it is the same, if that is more than the keys let them.
    let held = bounded(&scenario("poisson", "exp:1ms", 2800.0, 4), 4, WhenFull::Wait);
    let found = simulate(&held.keyed(4).unwrap(), &plan(60_000)).unwrap().measured.figures;
    assert!((found.throughput_per_s * 7.0 / 16_000.0 - 1.0).abs() < 0.02, "{found:?}");
}

fn broadcast(services: &[&str], rate: f64, places: Option<u32>) -> Broadcast {
    let services: Vec<Service> = services.iter().map(|text| text.parse().unwrap()).collect();
    Broadcast::new(Arrival::poisson(), services, rate, places).unwrap()
}

#[test]
fn broadcast_without_a_bound_is_a_queue_for_each_consumer() {
    let services = ["exp:1us", "fixed:700ns", "hyper:500ns,4"];
    let simulated = simulate_broadcast(&broadcast(&services, 0.7e6, None), &plan(60_000)).unwrap();
    assert!(simulated.full_share <= 0.0 && simulated.producer_wait_mean_ns <= 0.0);
    for (service, measured) in services.iter().zip(&simulated.consumers) {
        let theory = predict(&scenario("poisson", service, 0.7e6, 1)).figures.unwrap();
        assert_agrees(measured, &theory, service);
    }
}

#[test]
fn broadcast_to_one_consumer_is_the_queue_whose_producer_waits() {
    let alone = simulate_broadcast(&broadcast(&["exp:1us"], 0.8e6, Some(3)), &plan(20_000));
    let alone = alone.unwrap();
    let held = bounded(&scenario("poisson", "exp:1us", 0.8e6, 1), 3, WhenFull::Wait);
    let queue = simulate(&held, &plan(20_000)).unwrap();
    assert_eq!(alone.consumers[0].figures, queue.measured.figures);
    assert!((alone.full_share - queue.full_share).abs() < 1e-12);
}

/// With a single place all read the same message, and the next goes in when the last has read it:
/// that is M/G/1 whose service is the longest of theirs.
#[test]
fn broadcast_through_one_place_serves_as_the_slowest_of_each_message_does() {
    const RATE: f64 = 0.5e6;
    let simulated =
        simulate_broadcast(&broadcast(&["exp:1us", "exp:500ns"], RATE, Some(1)), &plan(60_000));
    let simulated = simulated.unwrap();
    let (fast, slow) = (2.0, 1.0);
    // Of the longer of two exponential times, in microseconds.
    let mean: f64 = 1.0 / fast + 1.0 / slow - 1.0 / (fast + slow);
    let second = 2.0 / fast.powi(2) + 2.0 / slow.powi(2) - 2.0 / (fast + slow).powi(2);
    let rate = RATE / 1e6;
    let wait_ns = rate * second / (2.0 * (1.0 - rate * mean)) * 1000.0;
    for consumer in &simulated.consumers {
        let off = (consumer.figures.wait_mean_ns - wait_ns).abs();
        assert!(off < consumer.half_widths.wait_mean_ns, "seed {SEED}: {consumer:?} {wait_ns}");
    }
    // Who comes finds the place taken as often as it is.
    assert!((simulated.full_share - rate * mean).abs() < 0.01, "seed {SEED}: {simulated:?}");
    assert!((simulated.producer_wait_mean_ns - wait_ns).abs() < 0.1 * wait_ns);
}

#[test]
fn whether_a_broadcast_settles_is_said_as_far_as_it_is_known() {
    let stable = |services: &[&str], rate: f64, places| broadcast(services, rate, places).stable();
    let (some, unknown) = (&["exp:1s", "exp:1s"][..], None);
    assert_eq!(stable(some, 0.9, None), Some(true), "each is a queue by itself");
    assert_eq!(stable(some, 0.9, Some(1)), unknown, "it grows: the longer of two takes 1.5 s");
    assert_eq!(stable(some, 0.6, Some(1)), unknown, "it settles, but nobody says");
    assert_eq!(stable(some, 0.49, Some(1)), Some(true));
    for (rate, settles) in [(0.9, true), (1.0, false), (1.1, false)] {
        for places in [None, Some(1)] {
            assert_eq!(stable(&["exp:1s"], rate, places), Some(settles), "{rate} {places:?}");
            assert_eq!(stable(&["fixed:1s", "fixed:900ms"], rate, places), Some(settles));
            let even = |arrival: &str, load: f64| {
                let services = vec!["fixed:3us".parse().unwrap(), "none".parse().unwrap()];
                // A load of 1 that came about by division.
                let rate = load / 3e-6;
                Broadcast::new(arrival.parse().unwrap(), services, rate, places).unwrap().stable()
            };
            assert_eq!(even("fixed", rate), Some(rate <= 1.0));
            assert_eq!(even("poisson", rate), Some(settles));
        }
    }
}

#[test]
fn a_larger_ring_keeps_the_slow_from_holding_the_fast() {
    let wait = |places| {
        let services = ["fixed:1us", "exp:1700ns"];
        let simulated =
            simulate_broadcast(&broadcast(&services, 0.5e6, Some(places)), &plan(20_000)).unwrap();
        assert!((simulated.consumers[1].figures.utilisation - 0.85).abs() < 0.05);
        simulated.consumers[0].figures.wait_mean_ns
    };
    let [small, large, huge] = [2, 8, 1000].map(wait);
    let alone = predict(&scenario("poisson", "fixed:1us", 0.5e6, 1)).figures.unwrap();
    assert!(small > 2.0 * large && large > 1.1 * huge, "{small} {large} {huge}");
    assert!((huge / alone.wait_mean_ns - 1.0).abs() < 0.1, "{huge} {alone:?}");
}

#[test]
fn bad_broadcasts_are_refused() {
    let make = |count, rate, places| {
        Broadcast::new(Arrival::poisson(), vec![Service::none(); count], rate, places).is_err()
    };
    assert!(make(0, 1.0, None) && make(1001, 1.0, None));
    assert!(make(1, 0.0, None) && make(1, f64::NAN, None) && make(1, 1.0, Some(0)));
}

#[test]
fn a_broadcast_is_replayed_by_the_chance_of_its_offer() {
    use crate::workload::{Offer, replay_broadcast};

    let (from, to, rate) = (20_000_000, 120_000_000, 8000.0);
    let services: Vec<Service> = vec!["exp:100us".parse().unwrap(), "exp:60us".parse().unwrap()];
    let broadcast = Broadcast::new(Arrival::poisson(), services.clone(), rate, None).unwrap();
    let replayed = replay_broadcast(&broadcast, &plan(1000), from, to).unwrap();
    let offer = Offer::new(Arrival::poisson(), rate, to).unwrap().seed(SEED);
    for (consumer, service) in (0..).zip(&services) {
        // Alone it would be the recursion of Lindley, and the ring without an end couples nobody.
        let mut meter = Meter::new(from, to - from, 1).unwrap();
        let (mut work, mut free_ns) = (offer.work_of(consumer, service), 0.0_f64);
        for at_ns in offer.times() {
            let at_ns = float(at_ns);
            let start_ns = free_ns.max(at_ns);
            free_ns = start_ns + work.next_ns();
            meter.count_served(at_ns, start_ns - at_ns, free_ns - at_ns);
        }
        let expected = meter.measured(0.95).unwrap();
        let found = &replayed.consumers[usize::from(consumer)];
        assert_eq!(found.messages, expected.messages);
        let (found, expected) = (found.figures.wait_mean_ns, expected.figures.wait_mean_ns);
        assert!((found - expected).abs() < 1e-4 * expected, "{consumer}: {found} {expected}");
    }
}

#[test]
fn the_wildest_draws_overflow_nothing() {
    for service in ["pareto:24h,1.2", "lognormal:24h,1e6", "hyper:24h,1e6", "none", "fixed:1ns"] {
        for rate in [1e-6, 1e12] {
            let open = scenario("hyper:1000000", service, rate, 1);
            for scenario in [open.clone(), bounded(&open, 2, WhenFull::Wait)] {
                let measured = simulate(&scenario, &plan(1000)).unwrap().measured;
                assert!(measured.figures.named().iter().all(|(_, figure)| !figure.is_nan()));
            }
        }
    }
}

/// Of 200,000 messages at a load of 0.5, seeds 1 to 30, intervals of 95 % held the mean wait that
/// Pollaczek and Khinchine have 3 times with an alpha of 2.1, 17 times with 2.5 and 29 with 3.5.
#[test]
fn waits_that_have_no_variance_have_no_interval() {
    let half_widths = |service: &str| {
        let scenario = scenario("poisson", service, 0.5e6, 1);
        simulate(&scenario, &plan(2000)).unwrap().measured.half_widths
    };
    let waits =
        |it: &Figures| [it.in_system_mean, it.waiting_mean, it.sojourn_mean_ns, it.wait_mean_ns];
    let rest = |it: &Figures| [it.utilisation, it.throughput_per_s, it.loss_share];
    for (alpha, waits_hold, rest_holds) in [
        ("1.5", false, false),
        ("2", false, false),
        ("2.5", false, true),
        ("3", false, true),
        ("3.5", true, true),
    ] {
        let found = half_widths(&format!("pareto:1us,{alpha}"));
        assert!(waits(&found).iter().all(|it| it.is_finite() == waits_hold), "{alpha}: {found:?}");
        assert!(rest(&found).iter().all(|it| it.is_finite() == rest_holds), "{alpha}: {found:?}");
    }
    // A ring that can be full hands waits on to those whose own service has all moments.
    let found = |places| {
        let broadcast = broadcast(&["exp:1us", "pareto:1us,2.5"], 0.5e6, places);
        let simulated = simulate_broadcast(&broadcast, &plan(2000)).unwrap();
        [0, 1].map(|consumer| simulated.consumers[consumer].half_widths.wait_mean_ns.is_finite())
    };
    assert_eq!((found(None), found(Some(8))), ([true, false], [false, false]));
}

/// With few places no more than so many wait behind a long service, and with many as without any.
#[test]
fn a_bound_that_every_batch_meets_makes_a_second_moment_enough() {
    let runs = 80;
    let found: Vec<_> = (0..runs)
        .map(|seed| {
            let open = scenario("poisson", "pareto:1us,2.5", 0.8e6, 1);
            let plan = Plan::new().messages(10_000).unwrap().seed(seed).confidence(0.9).unwrap();
            simulate(&bounded(&open, 4, WhenFull::Reject), &plan).unwrap().measured
        })
        .collect();
    let waits = found.iter().map(|measured| measured.figures.wait_mean_ns);
    let mean = waits.sum::<f64>() / float(runs);
    let held = found.iter().filter(|measured| {
        (measured.figures.wait_mean_ns - mean).abs() <= measured.half_widths.wait_mean_ns
    });
    let held = held.count();
    let widest = found.iter().map(|it| it.half_widths.wait_mean_ns).fold(0.0, f64::max);
    assert!((66..=78).contains(&held) && widest < 0.5 * mean, "{held} of {runs}, {widest} {mean}");

    for (service, places, waits_hold) in
        [("pareto:1us,2.5", 1000, false), ("pareto:1us,1.9", 4, false), ("exp:1us", 1000, true)]
    {
        let open = scenario("poisson", service, 0.8e6, 1);
        let rejecting = bounded(&open, places, WhenFull::Reject);
        let measured = simulate(&rejecting, &plan(10_000)).unwrap().measured;
        let half_width = measured.half_widths.wait_mean_ns;
        assert_eq!(half_width.is_finite(), waits_hold, "{service} {places}");
    }
}

#[test]
fn intervals_hold_the_truth_about_as_often_as_they_say() {
    let scenario = scenario("poisson", "exp:1us", 0.5e6, 1);
    let theory = predict(&scenario).figures.unwrap();
    let runs = 60;
    let held = (0..runs).filter(|seed| {
        let plan = Plan::new().messages(4000).unwrap().seed(*seed).confidence(0.9).unwrap();
        let measured = simulate(&scenario, &plan).unwrap().measured;
        let off = measured.figures.wait_mean_ns - theory.wait_mean_ns;
        off.abs() <= measured.half_widths.wait_mean_ns
    });
    let share = float(held.count() as u64) / float(runs);
    assert!((0.8..=1.0).contains(&share), "seeds 0 to {runs}: {share}");
}

#[test]
fn a_run_that_is_too_short_for_its_load_shows_it() {
    let correlation = |load: f64, messages| {
        let scenario = scenario("poisson", "exp:1us", load * 1e6, 1);
        simulate(&scenario, &plan(messages)).unwrap().measured.batch_correlation
    };
    let [long, short] = [correlation(0.5, 40_000), correlation(0.995, 5000)];
    assert!(long.abs() < 0.4 && short > 0.4, "seed {SEED}: {long} {short}");
    let even = simulate(&scenario("fixed", "fixed:1us", 0.5e6, 1), &plan(1000)).unwrap();
    assert!(even.measured.batch_correlation.abs() < 1e-9);
}

#[test]
fn a_run_whose_batches_have_no_time_to_be_unlike_is_short_for_its_load() {
    let is_short = |arrival: &str, service: &str, load: f64, bound: Option<Bound>| {
        let rate = load / 20e-6;
        let scenario =
            Scenario::new(arrival.parse().unwrap(), service.parse().unwrap(), rate, 1, bound);
        // What `ringway bench` has for each of its loads.
        let measured = Meter::new(0, 2_500_000_000, 1).unwrap().measured(0.95).unwrap();
        measured.is_short_for(&scenario.unwrap())
    };
    for (load, short) in [(0.1, false), (0.8, false), (0.85, true), (0.9, true), (0.95, true)] {
        assert_eq!(is_short("poisson", "exp:20us", load, None), short, "{load}");
    }
    // What varies more forgets later, and what does not vary has nothing to forget.
    assert!(is_short("hyper:4", "exp:20us", 0.8, None));
    assert!(
        !is_short("fixed", "fixed:20us", 0.95, None) && !is_short("fixed", "fixed:20us", 1.0, None)
    );
    assert!(!is_short("poisson", "none", 0.8, None));
    // A few places are forgotten soon, whatever the load, if what finds none goes away.
    for (when_full, short) in [(WhenFull::Reject, false), (WhenFull::Wait, true)] {
        let bound = Some(Bound { places: 8, when_full });
        assert_eq!(is_short("poisson", "exp:20us", 0.95, bound), short, "{when_full}");
    }
    let bound = Some(Bound { places: 8, when_full: WhenFull::Reject });
    assert!(!is_short("poisson", "exp:20us", 1.0, bound));
}

/// No more servers work than there are keys, and a key with a server of its own remembers as one
/// server does.
#[test]
fn keys_make_the_load_that_a_run_is_short_for() {
    let is_short = |services: u64, keys: Option<u32>, rate: f64| {
        let open = scenario("poisson", "exp:1us", rate, 8);
        let keyed = keys.map_or(Ok(open.clone()), |keys| open.keyed(keys)).unwrap();
        let meter = Meter::new(0, 32 * services * 1000, 8).unwrap();
        meter.measured(0.95).unwrap().is_short_for(&keyed)
    };
    // The longest memory at 0.95 is 1560 services of one server, and an eighth of that of eight.
    assert!(is_short(40_000, Some(2), 1.9e6) && !is_short(50_000, Some(2), 1.9e6));
    assert!(is_short(40_000, Some(8), 7.6e6) && !is_short(50_000, Some(8), 7.6e6));
    assert!(is_short(5000, None, 7.6e6) && !is_short(6500, None, 7.6e6));
    assert!(!is_short(100, None, 1.9e6));
}

/// As M/M/c with more and more servers at the same load becomes one in which nobody waits, the time
/// in which it forgets becomes the service and not nothing.
#[test]
fn many_servers_remember_what_is_in_service() {
    let scenario = scenario("poisson", "exp:1ms", 0.5e6, 1000);
    let rejecting = bounded(&scenario, 1000, WhenFull::Reject);
    for (services, short) in [(20, true), (40, false)] {
        let meter = Meter::new(0, 32 * services * 1_000_000, 1000).unwrap();
        let measured = meter.measured(0.95).unwrap();
        for scenario in [&scenario, &rejecting] {
            assert_eq!(measured.is_short_for(scenario), short, "{services} {scenario:?}");
        }
    }
}

#[test]
fn littles_law_finds_what_is_missing() {
    let scenario = scenario("poisson", "exp:1us", 0.8e6, 1);
    let simulated = simulate(&scenario, &plan(20_000)).unwrap();
    let Figures { throughput_per_s, sojourn_mean_ns, .. } = simulated.measured.figures;
    // A count that had lost every tenth message would stand out.
    let missing = 0.9 * little(throughput_per_s, sojourn_mean_ns);
    assert!(simulated.measured.little_ratio(missing).is_some_and(|ratio| ratio < 0.91));
}
