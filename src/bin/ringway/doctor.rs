//! `ringway doctor`: what this machine does to measurements, and what to do about it.

use ringway::workload::{Machine, MachineClock, Stalls, pin, processors, stalls};
use serde_json::{Value, json};

use crate::bench::args::Doctor;
use crate::bench::document::{SCHEMA_VERSION, machine};
use crate::failure::{Ending, Failure};
use crate::model::{number, share, time};
use crate::output;

pub fn run(doctor: &Doctor) -> Result<Ending, Failure> {
    let facts = Machine::survey();
    let watched = watch(doctor)?;
    let findings = findings(&facts, &watched);
    if doctor.json {
        output::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "kind": "doctor",
            "version": env!("CARGO_PKG_VERSION"),
            "machine": machine(&facts),
            "stalls": watched.iter().map(stalls_value).collect::<Value>(),
            "findings": findings.iter().map(Finding::value).collect::<Value>(),
        }))?;
    } else {
        output::print(text(&findings, &watched))?;
    }
    Ok(Ending::Done)
}

/// One processor, and how long it did something else.
struct Watched {
    processor: usize,
    stalls: Stalls,
}

/// Watches the processors one after the other, on a thread that is kept there.
fn watch(doctor: &Doctor) -> Result<Vec<Watched>, Failure> {
    let watch_ns = output::nanoseconds(doctor.stalls);
    processors()
        .into_iter()
        .map(|processor| {
            let watcher = std::thread::spawn(move || {
                pin(processor)?;
                Ok(stalls(&MachineClock::spinning(), watch_ns))
            });
            let stalls = watcher.join().unwrap_or_else(|_| Ok(Stalls::default()));
            let stalls = stalls.map_err(|source| Failure::System {
                source,
                doing: "keep a thread on its processor",
            })?;
            Ok(Watched { processor, stalls })
        })
        .collect()
}

/// What was found, whether it is well, and what to do if not.
struct Finding {
    what: &'static str,
    found: String,
    remedy: Option<String>,
}

impl Finding {
    fn new(what: &'static str, found: impl Into<String>, remedy: Option<&str>) -> Self {
        Self { what, found: found.into(), remedy: remedy.map(str::to_owned) }
    }

    fn value(&self) -> Value {
        json!({
            "what": self.what,
            "found": self.found,
            "well": self.remedy.is_none(),
            "remedy": self.remedy,
        })
    }
}

fn findings(facts: &Machine, watched: &[Watched]) -> Vec<Finding> {
    let when = |wrong: bool, remedy: &'static str| wrong.then_some(remedy);
    let mut findings = vec![
        Finding::new(
            "build",
            if facts.debug_build { "without optimisation" } else { "optimised" },
            when(facts.debug_build, "measure with a release build: cargo run --release -- bench"),
        ),
        Finding::new(
            "processors",
            format!("{} of {}, {}", facts.processors, facts.processors_online, facts.model),
            when(
                facts.processors < 3,
                "a producer, a consumer and the rest of the system want three: with fewer the tails \
                 of latencies are the scheduler's",
            ),
        ),
        Finding::new(
            "siblings",
            match facts.siblings {
                Some(true) => "two processors share a core",
                Some(false) => "each processor is a core",
                None => "the system does not say",
            },
            when(
                facts.siblings == Some(true),
                "choose processors that share a cache and not a core with --pin; lscpu -e lists them",
            ),
        ),
        Finding::new(
            "hypervisor",
            if facts.virtual_machine { "this is a virtual machine" } else { "none is seen" },
            when(
                facts.virtual_machine,
                "the host may take processors away at any time: compare ratios within one run, \
                 beside the bare line",
            ),
        ),
        Finding::new(
            "governor",
            facts.governor.clone().unwrap_or_else(|| "none is seen".into()),
            when(
                facts.governor.as_deref().is_some_and(|it| it != "performance"),
                "frequencies change during runs: cpupower frequency-set -g performance",
            ),
        ),
        Finding::new(
            "clock",
            facts.clock_source.clone().unwrap_or_else(|| "unknown".into()),
            when(
                facts.clock_source.as_deref().is_some_and(|it| !is_fast_clock(it)),
                "reading it is a system call: boot with clocksource=tsc if the processor's is stable",
            ),
        ),
        Finding::new(
            "tmpfs",
            format!(
                "{} for queues, {} free",
                output::bytes(facts.tmpfs_size),
                output::bytes(facts.tmpfs_free)
            ),
            when(
                facts.tmpfs_free < LEAST_TMPFS,
                "queues of 16 MiB, as bench makes them, may not fit: mount it with a larger size=, or \
                 start the container with --shm-size=1g",
            ),
        ),
        Finding::new(
            "huge pages",
            format!(
                "{}, for shared memory {}",
                facts.huge_pages.as_deref().unwrap_or("unknown"),
                facts.huge_pages_shared.as_deref().unwrap_or("unknown")
            ),
            None,
        ),
        Finding::new("lock limit", facts.lock_limit.map_or("none".into(), output::bytes), None),
    ];
    #[allow(clippy::cast_precision_loss, reason = "processors are few")]
    let busy = facts.load_average > 0.5 * facts.processors as f64;
    findings.push(Finding::new(
        "others",
        format!("load average {}", number(facts.load_average)),
        when(busy, "somebody else works here: end it, or measure later"),
    ));
    findings.extend(stall_finding(watched));
    findings
}

/// A queue, and its like for the way back, with room for the next.
const LEAST_TMPFS: u64 = 64 << 20;

/// Clocks that are read without the kernel.
fn is_fast_clock(name: &str) -> bool {
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"].contains(&name)
}

/// The machine's own floor under all latencies.
fn stall_finding(watched: &[Watched]) -> Option<Finding> {
    const LOST_MAX: f64 = 0.01;
    const STALL_MAX_NS: u64 = 1_000_000;
    let worst =
        watched.iter().max_by(|one, other| one.stalls.share().total_cmp(&other.stalls.share()))?;
    let longest = watched.iter().map(|it| it.stalls.max_ns).max().unwrap_or(0);
    let bad = worst.stalls.share() > LOST_MAX || longest > STALL_MAX_NS;
    #[allow(clippy::cast_precision_loss, reason = "times of a few seconds")]
    let longest = time(longest as f64);
    Some(Finding::new(
        "stalls",
        format!(
            "processor {} was lost for {} of the time, the longest was {longest}",
            worst.processor,
            share(worst.stalls.share())
        ),
        bad.then_some(
            "no queue can be better than this: keep others off with isolcpus= and irqbalance, or \
             cpuset, and give the tails of such a machine no meaning",
        ),
    ))
}

fn stalls_value(watched: &Watched) -> Value {
    let limits = Stalls::LIMITS_NS.into_iter().zip(watched.stalls.at_least);
    json!({
        "processor": watched.processor,
        "watched_ns": watched.stalls.watched_ns,
        "lost_ns": watched.stalls.total_ns,
        "lost_share": watched.stalls.share(),
        "max_ns": watched.stalls.max_ns,
        "at_least": limits
            .map(|(limit_ns, count)| json!({ "limit_ns": limit_ns, "count": count }))
            .collect::<Value>(),
    })
}

fn text(findings: &[Finding], watched: &[Watched]) -> String {
    let mut lines = Vec::new();
    for Finding { what, found, remedy } in findings {
        let state = if remedy.is_none() { "well" } else { "careful" };
        lines.push(format!("{state:<8} {what:<11} {found}"));
        lines.extend(remedy.iter().map(|remedy| format!("{:<20} {remedy}", "")));
    }
    let limits = Stalls::LIMITS_NS.map(|limit_ns| {
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let limit = time(limit_ns as f64);
        format!(">= {limit}")
    });
    let mut header = vec!["PROCESSOR", "WATCHED", "LOST", "LONGEST"];
    header.extend(limits.iter().map(String::as_str));
    let rows = watched.iter().map(|Watched { processor, stalls }| {
        #[allow(clippy::cast_precision_loss, reason = "times of a few seconds")]
        let time = |ns: u64| time(ns as f64);
        let mut row = vec![
            processor.to_string(),
            time(stalls.watched_ns),
            share(stalls.share()),
            time(stalls.max_ns),
        ];
        row.extend(stalls.at_least.iter().map(ToString::to_string));
        row
    });
    format!("{}\n\n{}", lines.join("\n"), output::table(&header, &header, rows))
}
