//! What loads are not to be relied on for, told once where several have the like.

use std::fmt::Display;

use serde_json::Value;

use crate::bench::document::warning;
use crate::output;

/// What it is about: those of several loads that are about the same are told as one, whatever
/// their numbers and remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Faults,
    LateGenerator,
    Rate,
    FewMessages,
    ShortRun,
    NoInterval,
    LongWork,
    ShortSleeps,
    HeldUp,
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
        warning(&self.what, self.remedy)
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
        warning(format_args!("{load}: {}{others}", caution.what), caution.remedy)
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
