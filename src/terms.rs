//! The terms of a named subscription: what its members go by, and what can be altered.

use std::time::Duration;

use crate::layout::{SUBSCRIPTION, Subscription as Entry, Word, time};
use crate::ring::Subscription;
use crate::sync::{Ordering, load_acquire32};

/// The words of a subscription's terms.
struct TermWords {
    deliveries_max: Word<Entry, u32>,
    backoff_first: Word<Entry, u64>,
    backoff_max: Word<Entry, u64>,
    backoff_factor: Word<Entry, u32>,
    ack_within: Word<Entry, u64>,
    expires_after: Word<Entry, u64>,
}

/// Both sets of them, of which one counts.
const SETS: [TermWords; 2] = [
    TermWords {
        deliveries_max: SUBSCRIPTION.deliveries_max,
        backoff_first: SUBSCRIPTION.backoff_first,
        backoff_max: SUBSCRIPTION.backoff_max,
        backoff_factor: SUBSCRIPTION.backoff_factor,
        ack_within: SUBSCRIPTION.ack_within,
        expires_after: SUBSCRIPTION.expires_after,
    },
    TermWords {
        deliveries_max: SUBSCRIPTION.other_deliveries_max,
        backoff_first: SUBSCRIPTION.other_backoff_first,
        backoff_max: SUBSCRIPTION.other_backoff_max,
        backoff_factor: SUBSCRIPTION.other_backoff_factor,
        ack_within: SUBSCRIPTION.other_ack_within,
        expires_after: SUBSCRIPTION.other_expires_after,
    },
];

const DELIVERIES_MAX: u32 = 250;
const TIME_MIN: Duration = Duration::from_nanos(1);
/// About 31 years.
const TIME_MAX: Duration = Duration::from_secs(1_000_000_000);
const FACTOR_MAX: f64 = 1000.0;

/// What the members of a named subscription go by, as its first one [asked](crate::Subscribe) for it,
/// [`SubscriptionInfo`](crate::SubscriptionInfo) shows it, and [`Queue::alter`](crate::Queue::alter)
/// changes it. The default is none of it.
///
/// ```
/// use std::time::Duration;
///
/// use ringway::{Subscribe, Terms};
///
/// let mut terms = Terms::default();
/// terms.ack_within = Some(Duration::from_secs(60));
/// let options = Subscribe::new().named("workers").terms(terms);
/// assert_eq!(options, Subscribe::new().named("workers").ack_within(Duration::from_secs(60)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Terms {
    /// How often a message is delivered before it is a dead letter, if there is a
    /// [limit](crate::Subscribe::deliveries_max).
    pub deliveries_max: Option<u32>,
    /// How long messages that were refused wait for their next delivery, if they
    /// [do](crate::Subscribe::backoff).
    pub backoff: Option<Backoff>,
    /// How long a member may have messages without a sign of progress, if there is a
    /// [limit](crate::Subscribe::ack_within).
    pub ack_within: Option<Duration>,
    /// How long the subscription has to be without a member until whose way it is in may remove it, if
    /// it [may be](crate::Subscribe::expires_after).
    pub expires_after: Option<Duration>,
}

/// How long messages that were refused wait before they are delivered again.
///
/// ```
/// use ringway::{Backoff, Queue, QueueOptions, Subscribe};
/// use std::time::Duration;
///
/// # let _ = Queue::force_remove("doc-backoff-of");
/// # let queue = Queue::create("doc-backoff-of", &QueueOptions::new())?;
/// let (first, max) = (Duration::from_millis(10), Duration::from_secs(1));
/// queue.declare(&Subscribe::new().named("workers").backoff(first, 1.5, max))?;
/// let terms = queue.info()?.subscriptions[0].terms;
/// assert_eq!(terms.backoff, Some(Backoff::new(first, 1.5, max)));
/// # Queue::force_remove("doc-backoff-of")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// After the first delivery; 1 ns at least.
    pub first: Duration,
    /// How many times as long each pause is as the one before, 1 to 1000; kept to the thousandth.
    pub factor: f64,
    /// But no longer than this: no less than the first, and 31 years (10^9 s) at most.
    pub max: Duration,
}

impl Backoff {
    /// Pauses from `first` to `max`, each `factor` times as long as the one before. What they may be is
    /// checked where they are asked for.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let same = ringway::Backoff::new(Duration::from_secs(1), 1.0, Duration::from_secs(1));
    /// assert_eq!(same.first, same.max);
    /// ```
    #[must_use]
    pub const fn new(first: Duration, factor: f64, max: Duration) -> Self {
        Self { first, factor, max }
    }

    fn is_possible(self) -> bool {
        let Self { first, factor, max } = self;
        let is_factor = (1.0..=FACTOR_MAX).contains(&factor);
        is_possible(first) && is_possible(max) && first <= max && is_factor
    }

    /// As the segment keeps it.
    fn rounded(self) -> Self {
        Self { factor: f64::from(thousandths(self.factor)) / 1e3, ..self }
    }
}

impl Terms {
    pub(crate) fn of(subscription: &Subscription) -> Self {
        let number = |word: Word<_, u32>| subscription.word(word).load(Ordering::Relaxed);
        let time = |word: Word<_, u64>| {
            let nanoseconds = subscription.word(word).load(Ordering::Relaxed);
            Some(Duration::from_nanos(nanoseconds)).filter(|time| !time.is_zero())
        };
        let set = &SETS[set_in_use(subscription)];
        let factor = f64::from(number(set.backoff_factor)) / 1e3;
        Self {
            deliveries_max: Some(number(set.deliveries_max)).filter(|&count| count > 0),
            backoff: time(set.backoff_max)
                .map(|max| Backoff::new(time(set.backoff_first).unwrap_or_default(), factor, max)),
            ack_within: time(set.ack_within),
            expires_after: time(set.expires_after),
        }
    }

    /// Makes them those of a subscription that nobody has found yet.
    pub(crate) fn write_first(&self, subscription: &Subscription) {
        subscription.word(SUBSCRIPTION.terms).store(0, Ordering::Relaxed);
        self.write(subscription, &SETS[0]);
    }

    /// Makes them those of a subscription, and whoever dies over it leaves the old ones or these: one
    /// word says which of two sets counts. `note` may fail; then they are what they were, and it is
    /// called once more.
    pub(crate) fn replace<E>(
        &self,
        subscription: &Subscription,
        note: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let in_use = set_in_use(subscription);
        let choose = |set: usize| {
            let code = u32::from(set == 1);
            // Release: whoever finds them in use finds all of them.
            subscription.word(SUBSCRIPTION.terms).store(code, Ordering::Release);
        };
        self.write(subscription, &SETS[1 - in_use]);
        choose(1 - in_use);
        note().inspect_err(|_| {
            choose(in_use);
            // Perhaps it was written, and only not synced.
            let _ = note();
        })
    }

    fn write(&self, subscription: &Subscription, set: &TermWords) {
        let nanoseconds = |word: Word<_, u64>, time: Option<Duration>| {
            let time = time::nanoseconds(time.unwrap_or_default());
            subscription.word(word).store(time, Ordering::Relaxed);
        };
        let number = |word: Word<_, u32>, value: u32| {
            subscription.word(word).store(value, Ordering::Relaxed);
        };
        number(set.deliveries_max, self.deliveries_max.unwrap_or(0));
        nanoseconds(set.backoff_first, self.backoff.map(|backoff| backoff.first));
        nanoseconds(set.backoff_max, self.backoff.map(|backoff| backoff.max));
        number(set.backoff_factor, self.backoff.map_or(0, |backoff| thousandths(backoff.factor)));
        nanoseconds(set.ack_within, self.ack_within);
        nanoseconds(set.expires_after, self.expires_after);
    }

    /// What no subscription can have.
    pub(crate) fn fault(&self) -> Option<Box<str>> {
        if let Some(count) =
            self.deliveries_max.filter(|count| !(1..=DELIVERIES_MAX).contains(count))
        {
            return Some(format!("{count} deliveries are outside 1 to {DELIVERIES_MAX}").into());
        }
        if let Some(Backoff { first, factor, max }) = self.backoff.filter(|it| !it.is_possible()) {
            return Some(
                format!(
                    "a backoff of {first:?} by {factor} to {max:?} does not go from a time up: the first is {TIME_MIN:?} at least, the longest no less than that and {TIME_MAX:?} at most, the factor 1 to {FACTOR_MAX}"
                )
                .into(),
            );
        }
        let outside = |time: Option<Duration>, what| {
            let time = time.filter(|&time| !is_possible(time))?;
            Some(format!("{time:?} to {what} are outside {TIME_MIN:?} to {TIME_MAX:?}").into())
        };
        outside(self.ack_within, "acknowledge within")
            .or_else(|| outside(self.expires_after, "expire after"))
    }

    /// Which of the terms that are asked for these are not.
    pub(crate) fn difference(&self, asked: &Self) -> Option<Box<str>> {
        let time = |time: &Duration| format!("{time:?}");
        let pauses =
            |Backoff { first, factor, max }: &Backoff| format!("{first:?} by {factor} to {max:?}");
        let backoff = asked.backoff.map(Backoff::rounded);
        differs(
            "its limit of deliveries",
            self.deliveries_max,
            asked.deliveries_max,
            u32::to_string,
        )
        .or_else(|| differs("its backoff", self.backoff, backoff, pauses))
        .or_else(|| differs("its time to acknowledge", self.ack_within, asked.ack_within, time))
        .or_else(|| differs("its time to expire", self.expires_after, asked.expires_after, time))
    }
}

/// In which way what is there is not what was asked for, if anything was.
pub(crate) fn differs<T: Copy + PartialEq>(
    what: &str,
    there: Option<T>,
    asked: Option<T>,
    text: impl Fn(&T) -> String,
) -> Option<Box<str>> {
    let asked = asked.as_ref().filter(|_| asked != there)?;
    let there = there.as_ref().map_or("none".into(), &text);
    Some(format!("{what} is {there} there, {} was asked for", text(asked)).into())
}

fn is_possible(time: Duration) -> bool {
    (TIME_MIN..=TIME_MAX).contains(&time)
}

/// Which of both sets of words counts.
fn set_in_use(subscription: &Subscription) -> usize {
    // Acquire: with all that was written before it was chosen.
    usize::from(load_acquire32(subscription.word(SUBSCRIPTION.terms)) == 1)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "terms are checked")]
fn thousandths(factor: f64) -> u32 {
    (factor * 1e3).round() as u32
}
