//! `ringway declare` and `ringway alter`: what belongs to a named subscription.

use ringway::{Queue, Start, Subscribe, SubscriptionInfo};

use crate::args::{Alter, Declare, Terms};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::options::Term;
use crate::output::{self, Console};
use crate::seek::{note_gone, note_place};
use crate::subscriptions::one_as_json;

pub fn declare(declare: &Declare, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Declare { name, subscription, from, lag, keyed, terms, json } = declare;
    let start = from.unwrap_or(Start::Newest);
    let mut options = Subscribe::new().named(subscription).from(start).terms(terms.asked());
    if let Some(lag) = *lag {
        options = options.on_lag(lag);
    }
    if *keyed {
        options = options.keyed();
    }
    let queue = open(name, owner)?;
    let is_new = queue.declare(&options)?;
    if !is_new && from.is_some() {
        note_place(name, subscription, console);
    } else {
        let what = if is_new { "is made" } else { "is there already" };
        console.note(format_args!("subscription '{subscription}' of queue '{name}' {what}"));
    }
    if let Some(found) = queue.info()?.subscription(subscription) {
        note_no_place(&queue, found, console);
        if is_new {
            note_gone(start, found.head_sequence, console);
        }
        if *json {
            let mut value = one_as_json(found);
            value["made"] = is_new.into();
            output::json(&value)?;
        }
    }
    Ok(Ending::Done)
}

pub fn alter(alter: &Alter, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Alter { name, subscription, terms: change, json } = alter;
    let queue = open(name, owner)?;
    queue.alter(subscription, |terms| change.apply(terms))?;
    let after = queue.info()?;
    // Who removed it meanwhile did so knowing what it had become.
    let Some(found) = after.subscription(subscription) else { return Ok(Ending::Done) };
    if *json {
        output::json(&one_as_json(found))?;
    }
    console.note(format_args!(
        "subscription '{subscription}' of queue '{name}': {}",
        text(&found.terms)
    ));
    note_no_place(&queue, found, console);
    Ok(Ending::Done)
}

/// Says what members have to do who would be refused, for want of a place for dead letters.
fn note_no_place(queue: &Queue, found: &SubscriptionInfo, console: Console) {
    if found.terms.deliveries_max.is_some() && queue.history().is_none() {
        let name = queue.name();
        console.note(format_args!(
            "queue '{name}' has no history directory for dead letters: each member of '{}' has to name a place (`ringway sub --dead-letters DIR`), or is refused",
            found.name
        ));
    }
}

fn text(terms: &ringway::Terms) -> String {
    let deliveries = match terms.deliveries_max {
        Some(1) => "1 delivery at most".into(),
        Some(count) => format!("{count} deliveries at most"),
        None => "no limit of deliveries".into(),
    };
    let backoff = match terms.backoff {
        Some(pauses) => format!(
            "pauses of {}, each {} times the one before, {} at most",
            output::duration(pauses.first),
            pauses.factor,
            output::duration(pauses.max)
        ),
        None => "no pauses".into(),
    };
    let lease = match terms.ack_within {
        Some(time) => format!("passed on after {} without progress", output::duration(time)),
        None => "no lease".into(),
    };
    let expiry = match terms.expires_after {
        Some(time) => format!("removed after {} without a member", output::duration(time)),
        None => "never removed by itself".into(),
    };
    format!("{deliveries}; {backoff}; {lease}; {expiry}")
}

impl Terms {
    /// What is asked for; where nothing is said, nothing is.
    pub fn asked(&self) -> ringway::Terms {
        let mut terms = ringway::Terms::default();
        self.apply(&mut terms);
        terms
    }

    /// Changes what is said.
    fn apply(&self, terms: &mut ringway::Terms) {
        fn set<T: Copy>(term: &mut Option<T>, said: Option<Term<T>>) {
            if let Some(Term(said)) = said {
                *term = said;
            }
        }
        set(&mut terms.deliveries_max, self.deliveries_max);
        set(&mut terms.backoff, self.backoff);
        set(&mut terms.ack_within, self.ack_within);
        set(&mut terms.expires_after, self.expires_after);
    }
}
