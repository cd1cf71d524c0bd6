//! What a load came to, from what was written down at both ends.

use crate::workload::number::{NS_PER_S, float};
use crate::workload::{Error, Measured, Meter, Offer, Offered, Sample, TimeAverage};

/// A message that was served. Moments are nanoseconds from the beginning of the load on.
///
/// ```
/// use ringway::workload::Record;
///
/// let record = Record { number: 0, intended_ns: 5, start_ns: 7, end_ns: 10, service_ns: 3 };
/// assert_eq!((record.wait_ns(), record.sojourn_ns()), (2, 5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The message's number.
    pub number: u64,
    /// When it should have been sent.
    pub intended_ns: u64,
    /// When it was received.
    pub start_ns: u64,
    /// When the server was through with it.
    pub end_ns: u64,
    /// How long the server was to work on it.
    pub service_ns: u64,
}

impl Record {
    /// From the intended time to the beginning of service.
    ///
    /// ```
    /// # use ringway::workload::Record;
    /// # let record = Record { number: 0, intended_ns: 5, start_ns: 7, end_ns: 10, service_ns: 3 };
    /// assert_eq!(record.wait_ns(), 2);
    /// ```
    #[must_use]
    pub fn wait_ns(&self) -> u64 {
        self.start_ns.saturating_sub(self.intended_ns)
    }

    /// From the intended time to the end of service.
    ///
    /// ```
    /// # use ringway::workload::Record;
    /// # let record = Record { number: 0, intended_ns: 5, start_ns: 7, end_ns: 10, service_ns: 3 };
    /// assert_eq!(record.sojourn_ns(), 5);
    /// ```
    #[must_use]
    pub fn sojourn_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.intended_ns)
    }
}

/// What a load came to. Made by [`account()`].
///
/// ```
/// use ringway::workload::{Arrival, Offer, Offered, account};
///
/// // All of ten messages were lost.
/// let offer = Offer::new(Arrival::fixed(), 1e6, 10_001)?;
/// let offered = Offered { offered: 10, ..Offered::default() };
/// let account = account(&offer, &offered, 0, 0, &[vec![]], 0.95)?;
/// assert_eq!((account.sent, account.received, account.lost), (10, 0, 10));
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Account {
    /// Messages of the whole run, the warm-up included. Those that were refused count as sent.
    pub sent: u64,
    /// Different ones that came.
    pub received: u64,
    /// Those that did not: `sent` less `received`.
    pub lost: u64,
    /// Those of them that found no place.
    pub refused: u64,
    /// Messages that came once more.
    pub duplicated: u64,
    /// Messages that came to a server after one with a greater number.
    pub out_of_order: u64,
    /// Messages offered, a second, until the last one was.
    pub achieved_rate_per_s: f64,
    /// How long a server worked on a message, in nanoseconds, the mean of all in the window.
    pub service_mean_ns: f64,
    /// The squared coefficient of variation of that.
    pub service_cv2: f64,
    /// How long it was to work on them, as was drawn: the mean of the same messages.
    pub drawn_mean_ns: f64,
    /// How often a server was held up for [`Account::STALL_NS`] or more beyond its work, how long
    /// in all, and at most.
    pub stalls: u64,
    /// In nanoseconds.
    pub stalls_total_ns: u64,
    /// In nanoseconds.
    pub stalls_max_ns: u64,
    /// The figures of the window.
    pub measured: Measured,
    /// L once more, counted by events and not by messages.
    pub in_system_by_events: f64,
    /// What became of each message that came, in the order of their numbers.
    pub records: Vec<Record>,
}

impl Account {
    /// What a server is held up for at least if it counts as a stall of the machine's.
    ///
    /// ```
    /// assert_eq!(ringway::workload::Account::STALL_NS, 50_000);
    /// ```
    pub const STALL_NS: u64 = 50_000;

    /// Little's law as a check on the laboratory itself: [`Measured::little_ratio`] of the count
    /// by events.
    ///
    /// ```
    /// # use ringway::workload::{Arrival, Offer, Offered, account};
    /// # let offer = Offer::new(Arrival::fixed(), 1e6, 10_001)?;
    /// let account = account(&offer, &Offered::default(), 0, 0, &[vec![]], 0.95)?;
    /// assert_eq!(account.little_ratio(), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn little_ratio(&self) -> Option<f64> {
        self.measured.little_ratio(self.in_system_by_events)
    }
}

/// What an offer that began at this moment of the clock came to, by what each of its servers wrote
/// down. The first `warm_up_ns` of it do not count for the figures, the rest is the window; it has
/// to be longer than that. The intervals have the confidence given, above 0 and below 1.
///
/// ```
/// use ringway::workload::{Arrival, Offer, Offered, Sample, account};
///
/// // Every microsecond a message that is received at once and served for half of one.
/// let offer = Offer::new(Arrival::fixed(), 1e6, 10_001)?;
/// let samples: Vec<Sample> = (0..10)
///     .map(|number| {
///         let start_ns = 500 + 1000 * (number + 1);
///         Sample { number, start_ns, end_ns: start_ns + 500, service_ns: 500 }
///     })
///     .collect();
/// let offered = Offered { offered: 10, end_ns: 10_500, ..Offered::default() };
/// let account = account(&offer, &offered, 500, 0, &[samples], 0.95)?;
/// assert_eq!((account.sent, account.received, account.lost), (10, 10, 0));
/// assert_eq!(account.measured.figures.wait_mean_ns, 0.0);
/// assert_eq!(account.measured.figures.sojourn_mean_ns, 500.0);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
pub fn account(
    offer: &Offer,
    offered: &Offered,
    begin_ns: u64,
    warm_up_ns: u64,
    served: &[Vec<Sample>],
    confidence: f64,
) -> Result<Account, Error> {
    let window_ns = offer.length_ns.saturating_sub(warm_up_ns);
    let servers = u32::try_from(served.len()).unwrap_or(u32::MAX);
    let mut meter = Meter::new(warm_up_ns, window_ns, servers)?;
    let times: Vec<u64> = offer.times().collect();
    let Came { records, duplicated, out_of_order } = came(&times, served, begin_ns);
    for record in &records {
        meter.served(record.intended_ns, record.start_ns, record.end_ns);
    }
    for number in &offered.refused {
        if let Some(intended_ns) = usize::try_from(*number).ok().and_then(|at| times.get(at)) {
            meter.lost(*intended_ns);
        }
    }
    let received = records.len() as u64;
    let taken_ns = offered.end_ns.saturating_sub(begin_ns).max(offer.length_ns);
    let in_window = records.iter().filter(|record| record.intended_ns >= warm_up_ns);
    let services = in_window.clone().map(|it| float(it.end_ns.saturating_sub(it.start_ns)));
    let (service_mean_ns, service_cv2) = mean_and_cv2(services);
    let (drawn_mean_ns, _) = mean_and_cv2(in_window.map(|record| float(record.service_ns)));
    let stalls = records.iter().map(held_up_ns).filter(|held_ns| *held_ns >= Account::STALL_NS);
    let stalls: Vec<u64> = stalls.collect();
    let mut measured = meter.measured(confidence)?;
    measured.served_by(&offer.service);
    Ok(Account {
        sent: offered.offered,
        received,
        lost: offered.offered.saturating_sub(received),
        refused: offered.refused.len() as u64,
        duplicated,
        out_of_order,
        achieved_rate_per_s: float(offered.offered) / float(taken_ns.max(1)) * NS_PER_S,
        service_mean_ns,
        service_cv2,
        drawn_mean_ns,
        stalls: stalls.len() as u64,
        stalls_total_ns: stalls.iter().sum(),
        stalls_max_ns: stalls.into_iter().max().unwrap_or(0),
        measured,
        in_system_by_events: in_system(&records, warm_up_ns, offer.length_ns),
        records,
    })
}

/// What came of the messages that were intended for some times.
struct Came {
    /// Of each that came, in the order of their numbers.
    records: Vec<Record>,
    duplicated: u64,
    out_of_order: u64,
}

fn came(times: &[u64], served: &[Vec<Sample>], begin_ns: u64) -> Came {
    let (mut duplicated, mut out_of_order) = (0, 0);
    let mut found: Vec<Option<Record>> = vec![None; times.len()];
    for samples in served {
        let mut greatest = None;
        for sample in samples {
            out_of_order += u64::from(greatest.is_some_and(|greatest| sample.number < greatest));
            greatest = greatest.max(Some(sample.number));
            let number = usize::try_from(sample.number).unwrap_or(usize::MAX);
            let Some((intended_ns, place)) = times.get(number).zip(found.get_mut(number)) else {
                // Nobody sent it.
                duplicated += 1;
                continue;
            };
            if place.is_some() {
                duplicated += 1;
                continue;
            }
            *place = Some(Record {
                number: sample.number,
                intended_ns: *intended_ns,
                start_ns: sample.start_ns.saturating_sub(begin_ns),
                end_ns: sample.end_ns.saturating_sub(begin_ns),
                service_ns: sample.service_ns,
            });
        }
    }
    Came { records: found.into_iter().flatten().collect(), duplicated, out_of_order }
}

fn held_up_ns(record: &Record) -> u64 {
    record.end_ns.saturating_sub(record.start_ns).saturating_sub(record.service_ns)
}

/// 0 and 0 of nothing.
fn mean_and_cv2(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let off = value - mean;
        mean += off / count;
        squares += off * (value - mean);
    }
    let cv2 = if mean > 0.0 { squares / count / mean / mean } else { 0.0 };
    (mean, cv2)
}

/// How many messages there were on average, by their comings and goings in the order of time.
fn in_system(records: &[Record], from_ns: u64, to_ns: u64) -> f64 {
    let mut events: Vec<(u64, i64)> = records
        .iter()
        .flat_map(|record| [(record.intended_ns, 1), (record.end_ns.max(record.intended_ns), -1)])
        .collect();
    events.sort_unstable();
    let mut average = TimeAverage::new(from_ns, to_ns);
    for (at_ns, change) in events {
        average.change(at_ns, change);
    }
    average.mean()
}
