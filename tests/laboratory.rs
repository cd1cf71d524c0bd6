//! The laboratory's commands, as their users see them.

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use support::{program, schema};

fn model(arguments: &str) -> Output {
    program::run(&[&["model"], &arguments.split_whitespace().collect::<Vec<_>>()[..]].concat())
}

/// What it printed, having succeeded and said nothing else.
fn text(arguments: &str) -> String {
    let Output { status, stdout, stderr } = model(arguments);
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success() && said.is_empty(), "{arguments}: {said}");
    String::from_utf8(stdout).unwrap()
}

/// The same in JSON, having found that it is as the schema says.
fn json_of(arguments: &str) -> Value {
    let value: Value = serde_json::from_str(&text(&format!("{arguments} --json"))).unwrap();
    schema::assert_valid(&model_schema(), &value);
    value
}

fn model_schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/model.schema.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The row of the table that begins so, in its cells.
fn row(text: &str, title: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.trim_start().starts_with(title));
    let line = line.unwrap_or_else(|| panic!("no {title} in\n{text}"));
    let cells = line.trim_start().strip_prefix(title).unwrap().split("  ");
    cells.map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[test]
fn without_options_it_is_the_queue_that_everybody_knows() {
    let text = text("");
    assert!(text.contains("M/M/1, exact"), "{text}");
    for (title, value) in [
        ("utilisation", "80 %"),
        ("throughput X, a second", "800000"),
        ("lost", "0 %"),
        ("in the system, L", "4"),
        ("waiting, Lq", "3.2"),
        ("sojourn, W", "5 us"),
        ("wait, Wq", "4 us"),
    ] {
        assert_eq!(row(&text, title), [value], "{title}");
    }
    assert_eq!(row(&text, "99 %"), ["21.91 us", "23.03 us"]);
}

#[test]
fn every_kind_of_scenario_is_as_the_schema_says() {
    let directory = std::env::temp_dir();
    let trace = directory.join(format!("ringway-trace-{}", std::process::id()));
    std::fs::write(&trace, "1us\n3us\n2000\n").unwrap();
    for (arguments, model, basis) in [
        ("", "M/M/1", "exact"),
        ("--service fixed:20us --load 0.9", "M/D/1", "exact"),
        ("--service pareto:1us,1.5", "M/G/1", "exact"),
        ("--arrival erlang:2 --load 0.7", "E2/M/1", "exact"),
        ("--arrival hyper:2 --service lognormal:1us,2", "H2/G/1", "approximation"),
        ("--servers 4 --service fixed:1us", "M/D/4", "approximation"),
        ("--rate 3.2 --service exp:1s -c 4", "M/M/4", "exact"),
        ("--load 1.2 --bound 8", "M/M/1/8", "exact"),
        ("--load 1.2 --bound 8 --when-full wait", "M/M/1", "exact"),
        ("--bound 8 --service fixed:1us", "M/D/1/8", "exact"),
        ("--bound 8 --service fixed:1us --load 1.2", "M/D/1/8", "no closed form"),
        ("--servers 4 --keys 16", "M/M/4", "no closed form"),
        ("--servers 8 --keys 2 --rate 1.8e6", "M/M/1", "exact"),
        ("--arrival fixed --service fixed:1s --load 1", "D/D/1", "exact"),
        ("--service none --rate 5", "M/0/1", "exact"),
        (&format!("--arrival trace:{}", trace.display()), "G/M/1", "approximation"),
    ] {
        for simulate in ["", " --simulate -n 2000 --explain"] {
            let value = json_of(&format!("{arguments}{simulate}"));
            assert_eq!(value["theory"]["model"], model, "{arguments}");
            assert_eq!(value["theory"]["basis"], basis, "{arguments}");
            assert_eq!(value["simulation"].is_null(), simulate.is_empty(), "{arguments}");
            assert!(!text(&format!("{arguments}{simulate}")).contains("NaN"), "{arguments}");
        }
    }
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn what_is_infinite_is_null_and_named() {
    let value = json_of("--service pareto:1us,2");
    assert_eq!(value["scenario"]["service"]["cv2"], Value::Null);
    let infinite = ["in_system_mean", "waiting_mean", "sojourn_mean_ns", "wait_mean_ns"];
    assert_eq!(value["theory"]["infinite"], json!(infinite));
    assert_eq!(value["theory"]["figures"]["wait_mean_ns"], Value::Null);
    assert_eq!(value["theory"]["stable"], true);

    let value = json_of("--load 1.5");
    assert_eq!(value["theory"]["infinite"], json!(infinite));
    assert_eq!(
        (&value["theory"]["stable"], &value["theory"]["growth_per_s"]),
        (&json!(false), &json!(5e5))
    );
    assert!(text("--load 1.5 --bound 10 --when-full wait").contains("full after 20 us"));
}

#[test]
fn a_load_of_fewer_keys_than_servers_is_that_of_the_servers_at_work() {
    let value = json_of("--servers 8 --keys 2 --load 0.9");
    assert_eq!(value["scenario"]["rate_per_s"], 1.8e6);
    assert_eq!(value["scenario"]["load"], 0.9);
    let said = text("--servers 8 --keys 2 --rate 1.9e6 --simulate -n 200000");
    assert!(said.contains("8, load 0.95; 2 keys, and no more servers at work"), "{said}");
    assert!(said.contains("short for its load") && row(&said, "wait, Wq")[0] == "19 us", "{said}");
    assert!(text("--servers 2 --keys 9").contains("2, load 0.8; 9 keys\n"));
}

#[test]
fn approximations_are_marked() {
    let value = json_of("--servers 4 --service fixed:1us");
    let marked = ["in_system_mean", "waiting_mean", "sojourn_mean_ns", "wait_mean_ns"];
    assert_eq!(value["theory"]["approximate"], json!(marked));
    let text = text("--servers 4 --service fixed:1us");
    assert!(row(&text, "wait, Wq")[0].starts_with('~') && row(&text, "utilisation") == ["80 %"]);
    assert!(text.contains("Allen-Cunneen"));
    assert_eq!(json_of("")["theory"]["approximate"], json!([]));
}

#[test]
fn the_simulation_stands_beside_the_theory_and_replays() {
    let arguments = "--load 0.5 --simulate -n 50000 --seed 7";
    let value = json_of(arguments);
    let ratio = value["simulation"]["ratios"]["wait_mean_ns"].as_f64().unwrap();
    assert!((ratio - 1.0).abs() < 0.1, "{value}");
    let little = value["simulation"]["little_ratio"].as_f64().unwrap();
    assert!((little - 1.0).abs() < 0.01, "{value}");
    assert_eq!(value["simulation"]["percentiles"][4]["wait_ns"], Value::Null, "too few samples");
    assert_eq!(json_of(arguments), value);
    assert_ne!(json_of(&arguments.replace('7', "8")), value);
    let text = text(arguments);
    let [predicted, simulated, half_width, ratio] = row(&text, "wait, Wq").try_into().unwrap();
    assert!(predicted == "1 us" && simulated.ends_with('s') && half_width.ends_with("ns"));
    assert!(ratio.parse::<f64>().is_ok_and(|ratio| (ratio - 1.0).abs() < 0.1), "{text}");
}

#[test]
fn what_is_not_to_be_relied_on_is_said() {
    assert!(text("--load 0.995 --simulate -n 5000").contains("short for its load"));
    assert!(text("--load 0.95 --simulate -n 200000").contains("+- holds less often than it says"));
    assert!(text("--load 1.5 --simulate -n 5000").contains("depends on how long it ran"));
    assert!(text("--arrival onoff:1s,9s --simulate -n 5000").contains("short for its arrivals"));
    let broadcast = "--broadcast --service exp:1us --load 1.5 -n 5000";
    assert!(text(broadcast).contains("depends on how long it ran"));
    assert!(!text("--load 0.5 --simulate -n 20000").contains("careful"));
    let heavy = text("--service pareto:20us,2.1 --load 0.5 --simulate -n 20000");
    assert!(heavy.contains("careful    service without a third moment"), "{heavy}");
    assert_eq!(row(&heavy, "wait, Wq")[2], "infinite");
    let heavier = text("--service pareto:20us,1.5 --load 0.5 --simulate -n 20000");
    assert!(heavier.contains("careful    service without a variance"), "{heavier}");
    let value = json_of("--service pareto:20us,2.1 --load 0.5 --simulate -n 20000");
    assert_eq!(value["simulation"]["half_widths"]["wait_mean_ns"], Value::Null);
    let one_of_two = "--broadcast --service exp:3us --service pareto:1us,2.5 -n 20000";
    assert!(text(one_of_two).contains("careful    service without a third moment"));
}

#[test]
fn broadcast_is_simulated_and_says_so() {
    let arguments = "--broadcast --service exp:1us --service exp:3us --bound 8 -n 20000";
    let value = json_of(arguments);
    assert_eq!((&value["kind"], &value["theory"]), (&json!("broadcast"), &Value::Null));
    let consumers = value["simulation"]["consumers"].as_array().unwrap();
    let waits: Vec<_> =
        consumers.iter().map(|it| it["figures"]["wait_mean_ns"].as_f64().unwrap()).collect();
    assert!(waits[0] < waits[1], "{waits:?}");
    assert!(value["simulation"]["full_share"].as_f64().unwrap() > 0.05);
    let said = text(arguments);
    assert!(said.contains("no closed form") && !said.contains("without end"), "{said}");
    // The longer of two takes 1.5 us on average, and each alone would have time to spare.
    let grows = "--broadcast --service exp:1us --service exp:1us --bound 1 --load 0.9 -n 20000";
    assert!(text(grows).contains("or it grows without end: compare runs"), "{}", text(grows));
    let even = text("--broadcast --arrival fixed --service fixed:1us --load 1 -n 20000");
    assert!(!even.contains("careful"), "{even}");
    let text = said;
    assert!(row(&text, "1         exp:3us").len() > 4, "{text}");
}

#[test]
fn broadcast_through_a_ring_without_an_end_is_predicted_for_each_consumer() {
    let services = "--service exp:1us --service fixed:2us --service exp:3us";
    let arguments = format!("--broadcast {services} --load 0.6 -n 200000");
    let value = json_of(&arguments);
    for (consumer, model) in ["M/M/1", "M/D/1", "M/M/1"].into_iter().enumerate() {
        let theory = &value["theory"]["consumers"][consumer];
        assert_eq!((&theory["model"], &theory["basis"]), (&json!(model), &json!("exact")));
        let simulated = &value["simulation"]["consumers"][consumer];
        let wait = |of: &Value| of["wait_mean_ns"].as_f64().unwrap();
        let off = wait(&simulated["figures"]) - wait(&theory["figures"]);
        assert!(off.abs() < wait(&simulated["half_widths"]), "{consumer}: {value}");
        assert!((wait(&simulated["ratios"]) - 1.0).abs() < 0.1, "{consumer}: {value}");
    }
    let said = text(&arguments);
    assert!(!said.contains("couples") && !said.contains("no closed form"), "{said}");
    let cells = row(&said, "2         exp:3us");
    assert_eq!([&cells[0], &cells[2], &cells[5]], ["M/M/1", "7.5 us", "4.5 us"], "{said}");
    let rough = text("--broadcast --arrival erlang:2 --service fixed:1us -n 2000");
    assert!(rough.contains("~ marks an approximation"), "{rough}");
    assert!(row(&rough, "0         fixed:1us")[2].starts_with('~'), "{rough}");
}

#[test]
fn keys_that_fill_the_places_are_not_called_stable() {
    let keyed = "--servers 4 --keys 4 --bound 4 --when-full wait --simulate -n 20000";
    let over = format!("{keyed} --service exp:1ms --load 0.7");
    let value = json_of(&over);
    assert_eq!(value["theory"]["stable"], false);
    let growth = value["theory"]["growth_per_s"].as_f64().unwrap();
    assert!((growth - (2800.0 - 16_000.0 / 7.0)).abs() < 1e-6, "{growth}");
    let said = text(&over);
    assert!(said.contains("depends on how long it ran") && !said.contains("short for its load"));
    let unknown = format!("{keyed} --service fixed:1ms --load 0.7");
    let theory = &json_of(&unknown)["theory"];
    assert_eq!((&theory["stable"], &theory["growth_per_s"]), (&Value::Null, &Value::Null));
    let said = text(&unknown);
    assert!(said.contains("growth     not known: it may grow without end"), "{said}");
    assert!(said.contains("or it grows without end: compare runs"), "{said}");
}

#[test]
fn what_introductions_get_wrong_is_named_with_numbers() {
    let text = text("--explain");
    for words in [
        "W = l/(m-l)",
        "L, a count: 4 messages",
        "W = 1/(m-l) = 500 ms",
        "Wq = l/(m(m-l)) = 400 ms",
        "X = m/l",
        "1/utilisation, without a unit: 1.25",
        "X = l = 8 a second",
        "D = 1/m",
        "the mean service alone: 100 ms",
        "400 ms + 100 ms = 500 ms",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let value = json_of("--explain");
    assert_eq!(value["explanation"].as_array().map(Vec::len), Some(3));
    assert_eq!(json_of("")["explanation"], Value::Null);
}

#[test]
fn the_highest_rate_is_where_the_limit_begins_to_be_missed() {
    // Of M/M/1 the wait is load/(mu - rate), the sojourn exponential at mu - rate.
    let rate = |arguments: &str| {
        let value = json_of(&format!("--service exp:10us {arguments}"));
        value["scenario"]["rate_per_s"].as_f64().unwrap()
    };
    let near = |found: f64, due: f64| assert!((found / due - 1.0).abs() < 1e-6, "{found}, {due}");
    near(rate("--until p99>200us"), 1e5 - 100_f64.ln() / 200e-6);
    near(rate("--until wait_mean_ns>=40us"), 8e4);
    near(rate("--until utilisation>60% --servers 4"), 2.4e5);
    // One place: what is lost is load/(1 + load).
    near(rate("--until loss_share>50% --bound 1"), 1e5);
    let text = text("--until p99>200us --service exp:10us");
    assert!(text.contains("until      p99>200us: at no higher rate"), "{text}");
    assert_eq!(row(&text, "99 %")[1], "200 us");
}

#[test]
fn what_cannot_be_is_usage_and_named() {
    for (arguments, words) in [
        ("--arrival sometimes", "'--arrival <PATTERN>': 'sometimes' is no arrival"),
        ("--arrival hyper:0.5", "cv2 of hyper cannot be 0.5: it is from 1"),
        ("--arrival trace:/no/such/file", "trace '/no/such/file' cannot be read"),
        ("--arrival trace:/dev/null", "no gap above 0"),
        ("--service exp:1", "'--service <TIMES>': '1' is no mean service time"),
        ("--service pareto:1us,1", "alpha of pareto cannot be 1"),
        ("--service pareto:20us,1.01", "cannot be 1.01: it is from 1.2 to 1000"),
        ("--service none", "give the rate"),
        ("--service exp:1us --service exp:2us", "--broadcast"),
        ("--rate 1 --load 1", "cannot be used with"),
        ("--rate -3", "'--rate <NUMBER>': it is a number above 0"),
        ("--rate 1e20", "the rate cannot be 1e20: it is from 0.000001 to 1000000000000"),
        ("--load 0", "'--load <NUMBER>'"),
        ("--load 1e300", "the load cannot be 1e300"),
        ("--servers 0", "it is a whole number from 1 to 10000"),
        ("--servers many", "it is a whole number from 1 to 10000"),
        ("--servers 4 --bound 2", "the bound cannot be 2: it is from 4, the number of servers"),
        ("--bound 0", "'--bound <PLACES>'"),
        ("--when-full wait", "--bound"),
        ("--bound 1 --when-full drop", "reject, wait"),
        ("--keys 0", "'--keys <COUNT>'"),
        ("--messages 5", "it is a whole number from 1000 to 100000000"),
        ("--seed soon", "--seed"),
        ("--broadcast --servers 2", "cannot be used with"),
        ("--until p99>1us --load 0.5", "cannot be used with"),
        ("--until p98>1us", "there is no number 'p98'"),
        ("--until lost>0", "of M/M/1 theory has only p50, p90"),
        ("--until p99>1ms --keys 16 -c 4", "theory has no number of this scenario"),
        ("--until p99>1us --service fixed:2us", "that is so at the lowest rate"),
        ("--until loss_share>0", "theory keeps to that at any rate"),
        (
            "--until loss_share>40% --service fixed:1us --bound 8",
            "as far as it goes, to a load of 1",
        ),
        ("--broadcast --bound 1 --when-full wait", "cannot be used with"),
    ] {
        let Output { status, stdout, stderr } = model(arguments);
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(words), "{arguments}: {said}");
        assert!(stdout.is_empty(), "{arguments}");
    }
}

/// Guards the guard: a schema that lets everything pass would be of no use.
#[test]
fn the_schema_finds_what_is_wrong() {
    let schema = model_schema();
    let right = json_of("--simulate -n 2000");
    for (place, wrong) in [
        ("/schema_version", json!(2)),
        ("/kind", json!("broadcast")),
        ("/scenario/servers", json!(0)),
        ("/scenario/servers", json!(1.5)),
        ("/scenario/when_full", json!("drop")),
        ("/theory/basis", json!("rough")),
        ("/theory/figures/wait_mean_ns", json!("long")),
        ("/theory/full_share", json!(1.5)),
        ("/theory/percentiles/0/percentile", json!(101)),
        ("/simulation/messages", json!(-1)),
        ("/simulation/figures", json!({})),
    ] {
        let mut value = right.clone();
        *value.pointer_mut(place).unwrap() = wrong;
        assert!(!schema::problems(&schema, &schema, &value, "").is_empty(), "{place}");
    }
    let mut more = right.clone();
    more["theory"]["figures"]["colour"] = json!("red");
    assert!(!schema::problems(&schema, &schema, &more, "").is_empty());
}
