//! What loads are not to be relied on for, told once where several have the like.

use std::fmt::Display;

use ringway::workload::{Account, MachineClock};
use serde_json::{Value, json};

use crate::bench::document::float;
use crate::bench::loads::{Faults, Outcome};
use crate::model::{number, time};
use crate::output;

/// What it is about: those of several loads that are about the same are told as one, whatever
/// their numbers and remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Faults,
    LateGenerator,
    Rate,
    FewMessages,
    Unsettled,
    Little,
    ShortRun,
    NoInterval,
    LongWork,
    ShortSleeps,
    HeldUp,
}

impl About {
    /// What disturbs measurements from outside, now more and now less: the difference of two runs may be its
    /// doing, and no interval by the batches of one run knows.
    pub const DISTURBANCES: [Self; 3] = [Self::LateGenerator, Self::LongWork, Self::HeldUp];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::LateGenerator => "late_generator",
            Self::Rate => "rate",
            Self::FewMessages => "few_messages",
            Self::Unsettled => "unsettled",
            Self::Little => "little",
            Self::ShortRun => "short_run",
            Self::NoInterval => "no_interval",
            Self::LongWork => "long_work",
            Self::ShortSleeps => "short_sleeps",
            Self::HeldUp => "held_up",
        }
    }
}

/// Something not to be relied on, and what to do about it.
#[derive(Clone, Debug)]
pub struct Caution {
    pub about: About,
    pub what: String,
    pub remedy: &'static str,
}

impl Caution {
    pub fn new(about: About, what: impl Display, remedy: &'static str) -> Self {
        Self { about, what: what.to_string(), remedy }
    }

    pub fn value(&self) -> Value {
        self.told_as(&self.what)
    }

    fn told_as(&self, what: &str) -> Value {
        json!({ "about": self.about.name(), "what": what, "remedy": self.remedy })
    }
}

/// Whether as many messages went as came in the window of a run, and whether they were there as long as
/// Little's law says.
#[derive(Clone, Copy, Debug)]
pub struct Balance {
    came: u64,
    went: f64,
    little_ratio: Option<f64>,
}

impl Balance {
    pub fn of(account: &Account, window_ns: u64) -> Self {
        let measured = &account.measured;
        let went = measured.figures.throughput_per_s * float(window_ns) / 1e9;
        Self { came: measured.messages, went, little_ratio: account.little_ratio() }
    }

    /// Which part of those that came is still there, or came before and went; 0 if it is a few messages,
    /// as there are at any moment.
    fn growth_share(&self) -> f64 {
        const FEW: f64 = 10.0;
        let growth = (float(self.came) - self.went).abs();
        if growth > FEW { growth / float(self.came.max(1)) } else { 0.0 }
    }

    fn little_off(&self) -> f64 {
        self.little_ratio.map_or(0.0, |ratio| (ratio - 1.0).abs())
    }
}

impl Outcome {
    /// What is not to be relied on, and what to do.
    pub fn cautions(&self) -> Vec<Caution> {
        const LATE_SHARE_MAX: f64 = 0.05;
        const RATE_OFF_MAX: f64 = 0.05;
        const FEW: u64 = 10_000;
        let Self { case, offered, .. } = self;
        let account = self.account();
        let mut cautions = Vec::new();
        cautions.extend(self.fault_caution());
        let gap_ns = 1e9 / case.rate_per_s;
        let service_ns = account.service_mean_ns.max(1000.0);
        if offered.late_mean_ns > LATE_SHARE_MAX * service_ns.max(gap_ns.min(1e6)) {
            cautions.push(Caution::new(
                About::LateGenerator,
                format_args!(
                    "the generator was {} late on average, {} at most",
                    time(offered.late_mean_ns),
                    time(float(offered.late_max_ns))
                ),
                if case.has_work() {
                    "that is in the waits: give it a processor of its own (--pin), or longer --service"
                } else {
                    "that is in the waits: give it a processor of its own (--pin), or take a lower rate"
                },
            ));
        }
        let off = account.achieved_rate_per_s / case.rate_per_s;
        if !(1.0 - RATE_OFF_MAX..1.0 + RATE_OFF_MAX).contains(&off) {
            cautions.push(Caution::new(
                About::Rate,
                format_args!(
                    "the rate was {} a second instead of {}",
                    number(account.achieved_rate_per_s),
                    number(case.rate_per_s)
                ),
                if offered.held > 0 {
                    "messages waited for a place with the producer: take a lower rate, or more places"
                } else {
                    "run longer (-d), or at a lower rate"
                },
            ));
        }
        if account.measured.messages < FEW {
            let measured = output::count(account.measured.messages, "message");
            cautions.push(Caution::new(
                About::FewMessages,
                format_args!("no more than {measured} counted: percentiles end early"),
                "run longer (-d)",
            ));
        }
        cautions.extend(self.balance_cautions());
        cautions.extend(self.interval_caution());
        cautions.extend(self.work_cautions());
        cautions
    }

    /// That the queue of whichever run did not settle, or that Little's law does not hold of it. The law
    /// alone does not tell a queue that grows: its waits grow as the messages there do.
    fn balance_cautions(&self) -> Vec<Caution> {
        const OFF_MAX: f64 = 0.05;
        let worst = |off: fn(&Balance) -> f64| {
            let worst = self.balances.iter().max_by(|one, other| off(one).total_cmp(&off(other)));
            worst.filter(|it| off(it) > OFF_MAX)
        };
        let of_runs = match self.runs.len() {
            1 => String::new(),
            runs => format!(", in the worst of {runs} runs"),
        };
        let unsettled = worst(Balance::growth_share).map(|Balance { came, went, .. }| {
            Caution::new(
                About::Unsettled,
                format_args!(
                    "the queue did not settle: {came} messages came in the window and {went:.0} were \
                     through in it{of_runs}"
                ),
                "its waits depend on how long it ran: take a lower load, or run longer (-d, -w)",
            )
        });
        let little = worst(Balance::little_off).and_then(|it| it.little_ratio).map(|ratio| {
            Caution::new(
                About::Little,
                format_args!(
                    "L by events was {} times that by Little's law{of_runs}",
                    number(ratio)
                ),
                "the queue did not settle, or messages are missing: run longer (-d, -w)",
            )
        });
        unsettled.into_iter().chain(little).collect()
    }

    /// Of whichever run: a run in the middle without faults does not undo those of others.
    fn fault_caution(&self) -> Option<Caution> {
        let Faults { lost, doubled, late } = self.faults;
        let together = match self.runs.len() {
            1 => String::new(),
            runs => format!(", in all {runs} runs together"),
        };
        (self.faults() > 0).then(|| {
            Caution::new(
                About::Faults,
                format_args!(
                    "{lost} messages were lost, {doubled} came twice, {late} came too late{together}"
                ),
                "no queue of ours does that: please report it, with the run's JSON",
            )
        })
    }

    /// That intervals do not hold, or are not there because they would not.
    fn interval_caution(&self) -> Option<Caution> {
        let scenario = self.case.scenario(self.case.busiest()).ok()?;
        let moments = self.accounts.iter().map(|it| it.measured.finite_moments()).min();
        let no_help = "a longer run does not help: compare percentiles instead";
        Some(match moments.unwrap_or(3) {
            ..=1 => Caution::new(
                About::NoInterval,
                "service without a variance leaves no figure an interval that holds",
                no_help,
            ),
            2 => Caution::new(
                About::NoInterval,
                "service without a third moment leaves waits without a variance, and so without an interval that holds",
                no_help,
            ),
            _ if self.runs.len() == 1 && self.account().measured.is_short_for(&scenario) => {
                Caution::new(
                    About::ShortRun,
                    "the run was short for its load, so that its intervals hold less often than they say",
                    "run longer (-d), or several times (--runs): bench load and bench sweep can",
                )
            }
            _ => return None,
        })
    }

    /// Those of them that are about what the servers did.
    fn work_cautions(&self) -> Vec<Caution> {
        const LONGER_MAX: f64 = 1.05;
        const STALLED_SHARE_MAX: f64 = 0.01;
        let (case, account) = (&self.case, self.account());
        let mut cautions = Vec::new();
        let drawn_ns = account.drawn_mean_ns;
        if drawn_ns > 0.0 && account.service_mean_ns > LONGER_MAX * drawn_ns {
            cautions.push(Caution::new(
                About::LongWork,
                format_args!(
                    "work took {} on average instead of {}",
                    time(account.service_mean_ns),
                    time(drawn_ns)
                ),
                "the load was higher than asked for: longer --service, or a quieter machine",
            ));
        }
        let awake_ns = float(MachineClock::WAKE_EARLY_NS);
        if case.sleeps && drawn_ns > 0.0 && drawn_ns < awake_ns {
            cautions.push(Caution::new(
                About::ShortSleeps,
                format_args!(
                    "servers were to sleep, but look at the time for the last {} of each work, which \
                     took {} on average",
                    time(awake_ns),
                    time(account.service_mean_ns)
                ),
                "ends that share processors keep them from each other: longer --service",
            ));
        }
        let length_ns = float(case.length_ns().max(1));
        if float(account.stalls_total_ns) > STALLED_SHARE_MAX * length_ns {
            cautions.push(Caution::new(
                About::HeldUp,
                format_args!(
                    "servers were held up {} times for 50 us or more, {} in all, {} at most",
                    account.stalls,
                    time(float(account.stalls_total_ns)),
                    time(float(account.stalls_max_ns))
                ),
                "others use the processors: ringway doctor measures how much",
            ));
        }
        cautions
    }
}

/// Those of several loads, each by the words for its load, such as `at load 0.9`: the first of each
/// kind stands for all. What the other loads are called is in the singular.
pub fn once_each(cautions: &[(String, Caution)], other: &str) -> Vec<Value> {
    let is_first = |(index, (_, caution)): &(usize, &(String, Caution))| {
        cautions[..*index].iter().all(|(_, before)| before.about != caution.about)
    };
    let told = cautions.iter().enumerate().filter(is_first).map(|(_, (load, caution))| {
        let alike = cautions.iter().filter(|(_, it)| it.about == caution.about);
        let mut others: Vec<&String> = alike.map(|(load, _)| load).collect();
        others.sort_unstable();
        others.dedup();
        let others = match others.len() {
            1 => String::new(),
            count => format!(", and the like with {}", output::count(count as u64 - 1, other)),
        };
        caution.told_as(&format!("{load}: {}{others}", caution.what))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_kind_is_told_once_and_its_loads_are_counted() {
        const LONGER: &str = "run longer (-d)";
        let few = |load: &str, count: u64| {
            (load.into(), Caution::new(About::FewMessages, format_args!("{count} are few"), LONGER))
        };
        let short =
            |load: &str| (load.into(), Caution::new(About::ShortRun, "the run was short", LONGER));
        let told = |cautions: &[(String, Caution)]| {
            let values = once_each(cautions, "other load").into_iter();
            values.map(|it| it["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let one = [few("at load 0.9", 5), short("at load 0.9")];
        assert_eq!(told(&one), ["at load 0.9: 5 are few", "at load 0.9: the run was short"]);
        let again = [few("at load 0.9", 5), few("at load 0.9", 6)];
        assert_eq!(told(&again), ["at load 0.9: 5 are few"], "there is no other load");
        let three = [few("at load 0.9", 5), short("at load 0.9"), few("at load 0.3", 4)];
        assert_eq!(
            told(&three),
            [
                "at load 0.9: 5 are few, and the like with 1 other load",
                "at load 0.9: the run was short"
            ]
        );
    }
}
