//! `ringway declare` and `ringway alter`: what belongs to a named subscription.

use ringway::{Error, Queue, Subscribe, SubscriptionInfo};

use crate::args::{Alter, Declare, Terms};
use crate::failure::{Ending, Failure};
use crate::info::open;
use crate::options::{Backoff, Term};
use crate::output::{self, Console};
use crate::seek::note_gone;
use crate::subscriptions::one_as_json;

pub fn declare(declare: &Declare, owner: Option<u32>, console: Console) -> Result<Ending, Failure> {
    let Declare { name, subscription, from, lag, keyed, terms, json } = declare;
    let mut options = Subscribe::new().named(subscription).from(*from);
    if let Some(lag) = *lag {
        options = options.on_lag(lag);
    }
    if *keyed {
        options = options.keyed();
    }
    let queue = open(name, owner)?;
    let is_new = queue.declare(&terms.put_on(options, None))?;
    let what = if is_new { "is made" } else { "is there already" };
    console.note(format_args!("subscription '{subscription}' of queue '{name}' {what}"));
    if let Some(found) = queue.info()?.subscription(subscription) {
        note_no_place(&queue, found, console);
        if is_new {
            note_gone(*from, found.head_sequence, console);
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
    let Alter { name, subscription, terms, json, .. } = alter;
    let queue = open(name, owner)?;
    let before = queue.info()?;
    let no_such = || Error::NoSuchSubscription {
        queue: name.as_str().into(),
        subscription: subscription.as_str().into(),
    };
    let found = before.subscription(subscription).ok_or_else(no_such)?;
    queue.alter(&terms.put_on(Subscribe::new().named(subscription), Some(found)))?;
    let after = queue.info()?;
    let found = after.subscription(subscription).ok_or_else(no_such)?;
    if *json {
        output::json(&one_as_json(found))?;
    }
    console.note(format_args!("subscription '{subscription}' of queue '{name}': {}", text(found)));
    note_no_place(&queue, found, console);
    Ok(Ending::Done)
}

/// Says what members have to do who would be refused, for want of a place for dead letters.
fn note_no_place(queue: &Queue, found: &SubscriptionInfo, console: Console) {
    if found.deliveries_max.is_some() && queue.history().is_none() {
        let name = queue.name();
        console.note(format_args!(
            "queue '{name}' has no history directory for dead letters: each member of '{}' has to name a place (`ringway sub --dead-letters DIR`), or is refused",
            found.name
        ));
    }
}

fn text(found: &SubscriptionInfo) -> String {
    let deliveries = match found.deliveries_max {
        Some(1) => "1 delivery at most".into(),
        Some(count) => format!("{count} deliveries at most"),
        None => "no limit of deliveries".into(),
    };
    let backoff = match found.backoff {
        Some(pauses) => format!(
            "pauses of {}, each {} times the one before, {} at most",
            output::duration(pauses.first),
            pauses.factor,
            output::duration(pauses.max)
        ),
        None => "no pauses".into(),
    };
    let lease = match found.ack_within {
        Some(time) => format!("passed on after {} without progress", output::duration(time)),
        None => "no lease".into(),
    };
    let expiry = match found.expires_after {
        Some(time) => format!("removed after {} without a member", output::duration(time)),
        None => "never removed by itself".into(),
    };
    format!("{deliveries}; {backoff}; {lease}; {expiry}")
}

impl Terms {
    /// Asks for these terms, and where nothing is said, for what there is.
    fn put_on(&self, mut options: Subscribe, there: Option<&SubscriptionInfo>) -> Subscribe {
        fn chosen<T: Copy>(said: Option<Term<T>>, there: Option<T>) -> Option<T> {
            said.map_or(there, |Term(term)| term)
        }
        let deliveries_max = there.and_then(|it| it.deliveries_max);
        if let Some(count) = chosen(self.deliveries_max, deliveries_max) {
            options = options.deliveries_max(count);
        }
        let backoff = there.and_then(|it| it.backoff);
        let backoff = backoff.map(|it| Backoff { first: it.first, factor: it.factor, max: it.max });
        if let Some(Backoff { first, factor, max }) = chosen(self.backoff, backoff) {
            options = options.backoff(first, factor, max);
        }
        if let Some(time) = chosen(self.ack_within, there.and_then(|it| it.ack_within)) {
            options = options.ack_within(time);
        }
        if let Some(time) = chosen(self.expires_after, there.and_then(|it| it.expires_after)) {
            options = options.expires_after(time);
        }
        options
    }
}
