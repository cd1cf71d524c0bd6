//! The forms that people write, and the moments of what is drawn.

use super::number::float;
use super::{Arrival, Bound, Error, Random, Scenario, Service, Trace, WhenFull};

const SAMPLES: u64 = 100_000;
const SEED: u64 = 20;

#[test]
fn arrivals_are_read_as_they_are_shown() {
    for text in
        ["poisson", "fixed", "erlang:3", "hyper:4", "hyper:2.5", "onoff:1ms,9ms", "onoff:500ns,2s"]
    {
        let arrival: Arrival = text.parse().unwrap();
        assert_eq!(arrival.to_string(), text);
        assert_eq!(arrival.to_string().parse::<Arrival>().unwrap(), arrival);
    }
    assert_eq!("onoff:1500us,0.5ms".parse::<Arrival>().unwrap().to_string(), "onoff:1500us,500us");
}

#[test]
fn services_are_read_as_they_are_shown() {
    for text in [
        "none",
        "exp:1us",
        "fixed:20us",
        "erlang:1ms,4",
        "hyper:1us,4",
        "lognormal:1500ns,0.25",
        "pareto:20us,2.5",
    ] {
        let service: Service = text.parse().unwrap();
        assert_eq!(service.to_string(), text);
        assert_eq!(service.to_string().parse::<Service>().unwrap(), service);
    }
    assert_eq!("exp:1.5us".parse::<Service>().unwrap().to_string(), "exp:1500ns");
}

#[test]
fn what_has_no_form_is_refused_by_name() {
    for (text, words) in [
        ("", "no arrival"),
        ("Poisson", "poisson, fixed"),
        ("poisson:", "no arrival"),
        ("poisson:1", "no arrival"),
        ("fixed:1us", "no arrival"),
        ("erlang", "no arrival"),
        ("erlang:", "phases of erlang"),
        ("erlang:0", "cannot be 0: it is from 1 to 1000"),
        ("erlang:1001", "cannot be 1001"),
        ("erlang:-1", "a whole number"),
        ("erlang:1.5", "a whole number"),
        ("erlang:1,2", "no arrival"),
        ("hyper:0.99", "cv2 of hyper cannot be 0.99"),
        ("hyper:NaN", "a number"),
        ("hyper:inf", "a number"),
        ("hyper:1e7", "cannot be 10000000"),
        ("onoff:1ms", "no arrival"),
        ("onoff:1ms,0s", "off of onoff cannot be 0s"),
        ("onoff:1,2", "a time with its unit"),
        ("onoff:1ms,1day 1h", "from 1ns to 24h"),
        ("trace:", "cannot be read"),
        ("trace:/no/such/file", "trace '/no/such/file' cannot be read"),
        ("trace:/", "cannot be read"),
    ] {
        let error = text.parse::<Arrival>().expect_err(text).to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    for (text, words) in [
        ("", "no service"),
        ("none:", "no service"),
        ("exp", "exp:MEAN"),
        ("exp:", "a time with its unit"),
        ("exp:1", "a time with its unit"),
        ("exp:0us", "the mean service time cannot be 0s"),
        ("exp:2days", "from 1ns to 24h"),
        ("lognormal:1us", "no service"),
        ("lognormal:1us,0", "cv2 of lognormal cannot be 0"),
        ("pareto:1us,1", "alpha of pareto cannot be 1: it is from 1.2"),
        ("pareto:1us,1us", "a number"),
        ("hyper:1us,0.5", "cv2 of hyper cannot be 0.5"),
        ("erlang:1us,0", "phases of erlang cannot be 0"),
        ("exp:1us,2", "no service"),
        ("ex\u{1b}p:1us", "ex\\u{1b}p"),
    ] {
        let error = text.parse::<Service>().expect_err(text).to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn scenarios_have_bounds() {
    let scenario = |rate, servers, bound| {
        Scenario::new(Arrival::poisson(), Service::none(), rate, servers, bound)
    };
    for rate in [0.0, -1.0, 1e13, f64::NAN, f64::INFINITY] {
        assert!(scenario(rate, 1, None).is_err(), "{rate}");
    }
    for servers in [0, 10_001, u32::MAX] {
        assert!(scenario(1.0, servers, None).is_err(), "{servers}");
    }
    for places in [0, 3, u32::MAX] {
        let bound = Bound { places, when_full: WhenFull::Wait };
        let error = scenario(1.0, 4, Some(bound)).unwrap_err();
        assert!(
            error.to_string().contains("it is from 4, the number of servers, to 1000000"),
            "{error}"
        );
    }
    assert!(scenario(1.0, 4, None).unwrap().keyed(0).is_err());
    let error = "exp:1us".parse::<Service>().unwrap().rate_at_load(1e300, 1).unwrap_err();
    assert_eq!(error.to_string(), "the load cannot be 1e300: it is from 0.000000001 to 1000000");
    assert!(matches!(Service::none().rate_at_load(0.5, 1), Err(Error::NoLoad)));
}

#[test]
fn a_load_that_came_about_by_division_is_one() {
    for ns in [3_u32, 7, 49, 1_000_003] {
        let service: Service = format!("fixed:{ns}ns").parse().unwrap();
        for servers in [1, 3, 7] {
            let rate = service.rate_at_load(1.0, servers).unwrap();
            let scenario = Scenario::new(Arrival::fixed(), service, rate, servers, None).unwrap();
            assert!(scenario.load() >= 1.0 && scenario.load() <= 1.0, "{ns} {servers}");
        }
    }
}

#[test]
fn traces_are_read_with_their_line_numbers() {
    let trace = Trace::from_lines("t", "\n# all\n 10 \r\n1.5us # a time\n0\n".as_bytes()).unwrap();
    assert_eq!(trace.gaps_ns(), [10.0, 1500.0, 0.0]);
    for (lines, words) in [
        ("", "no gap above 0"),
        ("# nothing\n", "no gap above 0"),
        ("0\n0\n", "no gap above 0"),
        ("1\n\nsoon\n", "line 3, 'soon', is no gap"),
        ("1\n-5\n", "line 2, '-5', is no gap"),
        ("1\nNaN\n", "line 2, 'NaN', is no gap"),
        ("inf\n", "line 1, 'inf', is no gap"),
        ("2days\n", "line 1, '2days', is no gap"),
    ] {
        let error = Trace::from_lines("t", lines.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{lines:?}: {error}");
    }
    for (gap_ns, words) in [(-5.0, "-5 ns is not from 0 to 24h"), (f64::NAN, "NaN ns is not from")]
    {
        let error = Trace::new("t", vec![1.0, gap_ns]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let tiny = Trace::from_lines("t", "1e-200\n3e-200\n".as_bytes()).unwrap();
    assert!((tiny.cv2() - 0.25).abs() < 1e-12, "as of 1 and 3: {}", tiny.cv2());
    assert!(matches!(
        Trace::from_lines("t", &b"1\n\xff\n"[..]),
        Err(Error::TraceUnreadable { .. })
    ));
}

#[test]
fn a_trace_comes_again_and_again_at_the_rate_asked_for() {
    let arrival = Arrival::trace(Trace::new("t", vec![100.0, 0.0, 500.0]).unwrap());
    let times = |rate| arrival.times(rate, Random::new(SEED, 0));
    assert!(times(5e6).take(6).eq([100, 100, 600, 700, 700, 1200]));
    assert!(times(2.5e6).take(6).eq([200, 200, 1200, 1400, 1400, 2400]));
    assert!(arrival.own_rate_per_s().is_some_and(|rate| (rate - 5e6).abs() < 1e-6));
    let missing = arrival.to_string().parse::<Arrival>();
    assert!(matches!(missing, Err(Error::TraceUnreadable { .. })), "'t' is a name, and no file");
}

#[test]
fn a_seed_gives_the_same_times_and_another_gives_others() {
    for text in ["poisson", "fixed", "erlang:3", "hyper:4", "onoff:1ms,9ms"] {
        let arrival: Arrival = text.parse().unwrap();
        let times =
            |seed| arrival.times(1e6, Random::new(seed, 0)).take(1000).collect::<Vec<u64>>();
        assert_eq!(times(3), times(3), "{text}");
        assert_eq!(times(3) == times(4), text == "fixed", "{text}");
        assert!(times(3).is_sorted(), "{text}");
    }
}

/// If this fails, recorded seeds mean something else from now on: say so in CHANGELOG.md.
#[test]
fn a_seed_replays_also_in_later_versions() {
    let times = |text: &str| {
        let arrival: Arrival = text.parse().unwrap();
        arrival.times(1e6, Random::new(42, 0)).take(4).collect::<Vec<u64>>()
    };
    let found = ["poisson", "erlang:3", "hyper:4", "onoff:10us,10us"].map(times);
    let recorded = [
        [1064, 1531, 3031, 3756],
        [1424, 3321, 4836, 5167],
        [263, 3483, 4050, 4924],
        [5422, 6152, 6294, 6385],
    ];
    assert_eq!(found, recorded);
    let services = |text: &str| {
        let mut services = text.parse::<Service>().unwrap().times(Random::new(42, 2));
        [(); 3].map(|()| super::number::floor(services.next_ns()))
    };
    let found = ["exp:1us", "lognormal:1us,2", "pareto:1us,2.5"].map(services);
    assert_eq!(found, [[1823, 741, 184], [1514, 365, 428], [677, 890, 942]]);
}

/// What a sample should be like: mean, squared coefficient of variation, kurtosis.
struct Moments {
    mean: f64,
    cv2: f64,
    /// The fourth central moment over the squared variance.
    kurtosis: f64,
}

impl Moments {
    /// Of a distribution of mean 1 with these further raw moments.
    fn of_raw(second: f64, third: f64, fourth: f64) -> Self {
        let variance = second - 1.0;
        let central = fourth - 4.0 * third + 6.0 * second - 3.0;
        Self { mean: 1.0, cv2: variance, kurtosis: central / variance.powi(2) }
    }

    /// Within five standard errors, which one sample in two million is not.
    fn check(&self, name: &str, sample: &[f64]) {
        let count = float(sample.len() as u64);
        let mean = sample.iter().sum::<f64>() / count;
        let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let error_of_mean = (self.cv2 / count).sqrt() * self.mean;
        assert!(
            (mean - self.mean).abs() <= 5.0 * error_of_mean + 1e-9 * self.mean,
            "{name}, seed {SEED}: mean {mean}, not {}",
            self.mean
        );
        let cv2 = variance / self.mean.powi(2);
        let error_of_cv2 = self.cv2 * ((self.kurtosis - 1.0).max(0.0) / count).sqrt();
        assert!(
            (cv2 - self.cv2).abs() <= 5.0 * error_of_cv2 + 1e-9,
            "{name}, seed {SEED}: cv2 {cv2}, not {}",
            self.cv2
        );
    }
}

/// Raw moments of the balanced hyperexponential distribution of mean 1, the k-th by k! over powers
/// of the rates.
fn hyper(cv2: f64) -> Moments {
    let likely = 0.5 * (1.0 + ((cv2 - 1.0) / (cv2 + 1.0)).sqrt());
    let raw = |power: i32, factorial: f64| {
        let phase = |p: f64| p * factorial / (2.0 * p).powi(power);
        phase(likely) + phase(1.0 - likely)
    };
    Moments::of_raw(raw(2, 2.0), raw(3, 6.0), raw(4, 24.0))
}

fn erlang(phases: f64) -> Moments {
    Moments { mean: 1.0, cv2: 1.0 / phases, kurtosis: 3.0 + 6.0 / phases }
}

#[test]
fn services_have_the_moments_that_they_claim() {
    // Of e to a normal number: the ratio of moments is a power of 1 + cv2.
    let w: f64 = 1.5;
    let lognormal = Moments::of_raw(w, w.powi(3), w.powi(6));
    // The k-th raw moment is alpha least^k / (alpha - k).
    let alpha: f64 = 8.0;
    let pareto = |k: f64| alpha * ((alpha - 1.0) / alpha).powf(k) / (alpha - k);
    for (text, moments) in [
        ("exp:1us", erlang(1.0)),
        ("fixed:1us", Moments { mean: 1.0, cv2: 0.0, kurtosis: 1.0 }),
        ("erlang:1us,4", erlang(4.0)),
        ("hyper:1us,4", hyper(4.0)),
        ("hyper:1us,1", erlang(1.0)),
        ("lognormal:1us,0.5", lognormal),
        ("pareto:1us,8", Moments::of_raw(pareto(2.0), pareto(3.0), pareto(4.0))),
    ] {
        let service: Service = text.parse().unwrap();
        assert!((service.cv2() - moments.cv2).abs() < 1e-12, "{text}: {}", service.cv2());
        let mut times = service.times(Random::new(SEED, 2));
        let sample: Vec<f64> = (0..SAMPLES).map(|_| times.next_ns() / service.mean_ns()).collect();
        moments.check(text, &sample);
    }
    // No moments to compare: but the tail is a power.
    let mut times = "pareto:1us,1.5".parse::<Service>().unwrap().times(Random::new(SEED, 2));
    let least = 1000.0 / 3.0;
    let sample: Vec<f64> = (0..SAMPLES).map(|_| times.next_ns()).collect();
    assert!(sample.iter().all(|time| *time >= least));
    for factor in [2.0, 10.0, 100.0_f64] {
        let expected = factor.powf(-1.5);
        let beyond = sample.iter().filter(|time| **time > least * factor).count();
        let share = float(beyond as u64) / float(SAMPLES);
        let error = (expected / float(SAMPLES)).sqrt();
        assert!((share - expected).abs() < 5.0 * error, "seed {SEED}: {share} {expected}");
    }
}

#[test]
fn arrivals_have_the_moments_and_transforms_that_theory_takes() {
    const RATE_PER_S: f64 = 2e6;
    for (text, moments) in [
        ("poisson", erlang(1.0)),
        ("fixed", Moments { mean: 1.0, cv2: 0.0, kurtosis: 1.0 }),
        ("erlang:3", erlang(3.0)),
        ("hyper:4", hyper(4.0)),
        // On for 10 messages on average, then off for as long. Kurtosis from the moments of the
        // equivalent pair of exponentials would do as well; this is a bound.
        ("onoff:2500ns,2500ns", Moments { mean: 1.0, cv2: 11.0, kurtosis: 60.0 }),
    ] {
        let arrival: Arrival = text.parse().unwrap();
        let cv2 = arrival.cv2(RATE_PER_S);
        let mut gaps = arrival.gaps(RATE_PER_S, Random::new(SEED, 0));
        let sample: Vec<f64> = (0..SAMPLES).map(|_| gaps.next_ns() / 500.0).collect();
        if text.starts_with("onoff") {
            Moments { cv2, ..moments }.check(text, &sample);
        } else {
            assert!((cv2 - moments.cv2).abs() < 1e-12, "{text}: {cv2}");
            moments.check(text, &sample);
        }
        for s in [0.1, 1.0, 5.0] {
            let mean = sample.iter().map(|gap| -(-s * gap).exp_m1()).sum::<f64>() / float(SAMPLES);
            let transform = arrival.laplace_complement(RATE_PER_S, s * RATE_PER_S).unwrap();
            let error = 0.5 / float(SAMPLES).sqrt();
            assert!((mean - transform).abs() < 5.0 * error, "{text} {s}: {mean} {transform}");
        }
    }
}

/// Some 17, 51 and 501 times off for each message, of which no more than 16 are drawn by themselves.
#[test]
fn bursts_that_are_drawn_at_once_have_the_law_of_bursts() {
    let arrival: Arrival = "onoff:1us,3us".parse().unwrap();
    for while_on_ns in [16e3, 50e3, 500e3] {
        let rate = 1e9 / while_on_ns / 4.0;
        let mut gaps = arrival.gaps(rate, Random::new(SEED, 0));
        let sample: Vec<f64> = (0..SAMPLES).map(|_| gaps.next_ns() * rate / 1e9).collect();
        Moments { mean: 1.0, cv2: arrival.cv2(rate), kurtosis: 9.0 }.check("onoff", &sample);
        for s in [0.1, 1.0, 5.0, 50.0] {
            let mean = sample.iter().map(|gap| -(-s * gap).exp_m1()).sum::<f64>() / float(SAMPLES);
            let transform = arrival.laplace_complement(rate, s * rate).unwrap();
            let error = 0.5 / float(SAMPLES).sqrt();
            assert!((mean - transform).abs() < 5.0 * error, "{rate} {s}: {mean} {transform}");
        }
    }
}

/// Bursts that come and go a hundred million times for each message: turn after turn would take
/// minutes for a few of them. They are as good as Poisson arrivals.
#[test]
fn bursts_far_shorter_than_the_gaps_have_an_end() {
    let arrival: Arrival = "onoff:3ns,7ns".parse().unwrap();
    let mut gaps = arrival.gaps(1.0, Random::new(SEED, 0));
    let sample: Vec<f64> = (0..3000).map(|_| gaps.next_ns() / 1e9).collect();
    erlang(1.0).check("onoff", &sample);
    let beyond = sample.iter().filter(|gap| **gap > 1.0).count();
    let (share, expected) = (float(beyond as u64) / 3000.0, (-1_f64).exp());
    assert!((share - expected).abs() < 5.0 * (expected / 3000.0).sqrt(), "seed {SEED}: {share}");
}

#[test]
fn nobody_comes_at_a_rate_that_is_none() {
    for text in ["poisson", "fixed", "erlang:3", "hyper:4", "onoff:10us,10us"] {
        let arrival: Arrival = text.parse().unwrap();
        for rate in [f64::NAN, -5.0, 0.0, f64::INFINITY] {
            assert_eq!(arrival.times(rate, Random::new(SEED, 0)).next(), None, "{text} {rate}");
        }
    }
    let trace = Arrival::trace(Trace::new("pairs", vec![0.0, 1000.0]).unwrap());
    assert_eq!(trace.times(f64::NAN, Random::new(SEED, 0)).next(), None);
}

#[test]
fn intended_times_keep_to_the_rate() {
    for text in ["poisson", "fixed", "erlang:3", "hyper:4", "onoff:10us,10us"] {
        let arrival: Arrival = text.parse().unwrap();
        let last = arrival.times(3e6, Random::new(SEED, 0)).nth(99_999).unwrap();
        let expected = 1e9 / 30.0;
        // Bursts vary most.
        let error = (arrival.cv2(3e6) / 1e5).sqrt() * expected;
        assert!((float(last) - expected).abs() <= 5.0 * error + 1.0, "{text}: {last}");
    }
}
