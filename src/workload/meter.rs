//! What came of a run, from what became of each of its messages.

use hdrhistogram::Histogram;

use crate::workload::number::{self, NS_PER_S, float};
use crate::workload::shape::Shape;
use crate::workload::theory::little;
use crate::workload::{Error, Figures, Interval, Scenario, Service, carries, recurs, student_t};

/// Batches that a run is cut into. More of them would be too short to be unlike each other, fewer
/// would leave the interval wide (B. Schmeiser, 1982).
const BATCHES: usize = 32;

/// Counts what became of messages within a window of time, cut into 32 batches of the same
/// length. What lies before is the warm-up: messages of that time count for how many are there
/// later, and not for waits.
///
/// A simulation and a measurement tell it the same of each message, in any order.
///
/// ```
/// use ringway::workload::Meter;
///
/// // From 1 s on for 10 s. Each second a message that waits 0.2 s, and is served for 0.3 s.
/// const MS: u64 = 1_000_000;
/// let mut meter = Meter::new(1000 * MS, 10_000 * MS, 1)?;
/// for second in 0..12 {
///     let intended = (1000 * second + 100) * MS;
///     meter.served(intended, intended + 200 * MS, intended + 500 * MS);
/// }
/// let measured = meter.measured(0.95)?;
/// assert_eq!(measured.messages, 10);
/// assert!((measured.figures.utilisation - 0.3).abs() < 1e-12);
/// assert!((measured.figures.in_system_mean - 0.5).abs() < 1e-12);
/// assert!((measured.figures.wait_mean_ns - 0.2e9).abs() < 1e-3);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Meter {
    begin_ns: f64,
    batch_ns: f64,
    servers: u32,
    batches: Vec<Batch>,
    wait: Times,
    sojourn: Times,
}

/// Sums over the messages and the time of one batch.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    /// Messages that came in it.
    accepted: u64,
    lost: u64,
    wait_ns: f64,
    sojourn_ns: f64,
    /// What lies in it of whatever message.
    in_system_ns: f64,
    waiting_ns: f64,
    busy_ns: f64,
    departures: u64,
}

impl Meter {
    /// A window of `length_ns` from `begin_ns` on, in nanoseconds since the beginning of the run,
    /// for so many servers. Neither the length nor the number of servers is 0.
    ///
    /// ```
    /// assert!(ringway::workload::Meter::new(0, 0, 1).is_err());
    /// ```
    pub fn new(begin_ns: u64, length_ns: u64, servers: u32) -> Result<Self, Error> {
        let length_ns = number::within("the window's length, in ns,", length_ns, 1, u64::MAX)?;
        Self::over(float(begin_ns), float(length_ns), servers)
    }

    /// The same, for times with fractions. The length is above 0.
    pub(super) fn over(begin_ns: f64, length_ns: f64, servers: u32) -> Result<Self, Error> {
        let servers = number::within("the number of servers", servers, 1, u32::MAX)?;
        Ok(Self {
            begin_ns,
            batch_ns: length_ns / float(BATCHES as u64),
            servers,
            batches: vec![Batch::default(); BATCHES],
            wait: Times::new()?,
            sojourn: Times::new()?,
        })
    }

    /// A message was intended for the first moment, came into service at the second, and was
    /// through at the third. What is earlier than the moment before it counts as at that moment.
    ///
    /// ```
    /// # let mut meter = ringway::workload::Meter::new(0, 1000, 1)?;
    /// meter.served(5, 7, 10);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn served(&mut self, intended_ns: u64, start_ns: u64, end_ns: u64) {
        let wait_ns = start_ns.saturating_sub(intended_ns);
        let sojourn_ns = end_ns.saturating_sub(intended_ns).max(wait_ns);
        self.count_served(float(intended_ns), float(wait_ns), float(sojourn_ns));
    }

    /// A message that was intended for this moment was refused.
    ///
    /// ```
    /// # let mut meter = ringway::workload::Meter::new(0, 1000, 1)?;
    /// meter.lost(5);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn lost(&mut self, intended_ns: u64) {
        self.count_lost(float(intended_ns));
    }

    /// The same by lengths, which moments are too coarse to give: 30,000 years into a run an `f64`
    /// goes in steps of 131 us. So the moments only choose batches. The sojourn is no shorter than
    /// the wait.
    pub(super) fn count_served(&mut self, intended_ns: f64, wait_ns: f64, sojourn_ns: f64) {
        let (start_ns, end_ns) = (intended_ns + wait_ns, intended_ns + sojourn_ns);
        if let Some(index) = self.batch_index(intended_ns) {
            let batch = &mut self.batches[index];
            batch.accepted += 1;
            batch.wait_ns += wait_ns;
            batch.sojourn_ns += sojourn_ns;
            self.wait.record(index, wait_ns);
            self.sojourn.record(index, sojourn_ns);
        }
        if let Some(batch) = self.batch_at(end_ns) {
            batch.departures += 1;
        }
        self.spread(intended_ns, sojourn_ns, |batch, ns| batch.in_system_ns += ns);
        self.spread(intended_ns, wait_ns, |batch, ns| batch.waiting_ns += ns);
        self.spread(start_ns, sojourn_ns - wait_ns, |batch, ns| batch.busy_ns += ns);
    }

    pub(super) fn count_lost(&mut self, intended_ns: f64) {
        if let Some(batch) = self.batch_at(intended_ns) {
            batch.lost += 1;
        }
    }

    /// What all of it comes to, with intervals of this confidence: above 0 and below 1.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// assert_eq!(meter.measured(0.95)?.messages, 0);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn measured(&self, confidence: f64) -> Result<Measured, Error> {
        let whole = self.batches.iter().fold(Batch::default(), Batch::and);
        let figures = whole.figures(self.servers, self.batch_ns * float(BATCHES as u64));
        let of = |batch: &Batch| batch.figures(self.servers, self.batch_ns);
        let all: Vec<Figures> = self.batches.iter().map(of).collect();
        // A batch that no message came in says nothing of waits.
        let in_order = self.batches.iter().map(|batch| (batch.accepted > 0).then(|| of(batch)));
        let in_order: Vec<_> = in_order.collect();
        let waits: Vec<Figures> = in_order.iter().flatten().copied().collect();
        Ok(Measured {
            figures,
            half_widths: half_widths(&all, &waits, confidence)?,
            confidence,
            batch_correlation: correlation(&waits),
            finite_moments: Shape::MOMENTS,
            messages: whole.accepted,
            lost: whole.lost,
            batch_ns: self.batch_ns,
            batches: in_order,
            wait: self.wait.clone(),
            sojourn: self.sojourn.clone(),
        })
    }

    fn batch_at(&mut self, at_ns: f64) -> Option<&mut Batch> {
        self.batch_index(at_ns).map(|index| &mut self.batches[index])
    }

    fn batch_index(&self, at_ns: f64) -> Option<usize> {
        let index = (at_ns - self.begin_ns) / self.batch_ns;
        let whole = usize::try_from(number::floor(index)).ok()?;
        (index >= 0.0 && whole < self.batches.len()).then_some(whole)
    }

    /// Gives each batch its part of a time that begins at that moment.
    fn spread(&mut self, from_ns: f64, length_ns: f64, mut add: impl FnMut(&mut Batch, f64)) {
        let from = (from_ns - self.begin_ns) / self.batch_ns;
        let to = (from_ns + length_ns - self.begin_ns) / self.batch_ns;
        let first = usize::try_from(number::floor(from.max(0.0))).unwrap_or(usize::MAX);
        for (index, batch) in self.batches.iter_mut().enumerate().skip(first) {
            let begin = float(index as u64);
            // What lies in one batch counts as it is, however near to each other its ends are.
            let part_ns = if from >= begin && to <= begin + 1.0 {
                length_ns
            } else {
                (to.min(begin + 1.0) - from.max(begin)) * self.batch_ns
            };
            if part_ns <= 0.0 {
                return;
            }
            add(batch, part_ns);
        }
    }
}

impl Batch {
    fn and(self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            lost: self.lost + other.lost,
            wait_ns: self.wait_ns + other.wait_ns,
            sojourn_ns: self.sojourn_ns + other.sojourn_ns,
            in_system_ns: self.in_system_ns + other.in_system_ns,
            waiting_ns: self.waiting_ns + other.waiting_ns,
            busy_ns: self.busy_ns + other.busy_ns,
            departures: self.departures + other.departures,
        }
    }

    fn figures(&self, servers: u32, length_ns: f64) -> Figures {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let accepted = float(self.accepted);
        Figures {
            utilisation: self.busy_ns / length_ns / f64::from(servers),
            throughput_per_s: float(self.departures) / length_ns * NS_PER_S,
            loss_share: share(float(self.lost), accepted + float(self.lost)),
            in_system_mean: self.in_system_ns / length_ns,
            waiting_mean: self.waiting_ns / length_ns,
            sojourn_mean_ns: share(self.sojourn_ns, accepted),
            wait_mean_ns: share(self.wait_ns, accepted),
        }
    }
}

/// The half width of each figure's interval, by all batches, or by those with messages if it is
/// about messages; infinite if fewer than two of them had any.
fn half_widths(all: &[Figures], waits: &[Figures], confidence: f64) -> Result<Figures, Error> {
    student_t(1, confidence)?;
    let half_width = |batches: &[Figures], figure: fn(&Figures) -> f64| {
        let batches: Vec<f64> = batches.iter().map(figure).collect();
        let interval = Interval::of_batches(&batches, confidence).ok();
        interval.filter(|_| waits.len() > 1).map_or(f64::INFINITY, |it| it.half_width)
    };
    Ok(Figures {
        utilisation: half_width(all, |batch| batch.utilisation),
        throughput_per_s: half_width(all, |batch| batch.throughput_per_s),
        loss_share: half_width(all, |batch| batch.loss_share),
        in_system_mean: half_width(all, |batch| batch.in_system_mean),
        waiting_mean: half_width(all, |batch| batch.waiting_mean),
        sojourn_mean_ns: half_width(waits, |batch| batch.sojourn_mean_ns),
        wait_mean_ns: half_width(waits, |batch| batch.wait_mean_ns),
    })
}

/// Of each batch's mean sojourn with that of the next one; 0 if there is nothing to compare.
fn correlation(batches: &[Figures]) -> f64 {
    let count = float(batches.len().max(1) as u64);
    let mean = batches.iter().map(|batch| batch.sojourn_mean_ns).sum::<f64>() / count;
    let off: Vec<f64> = batches.iter().map(|batch| batch.sojourn_mean_ns - mean).collect();
    let variance: f64 = off.iter().map(|off| off * off).sum();
    let product: f64 = off.iter().zip(off.iter().skip(1)).map(|(one, next)| one * next).sum();
    // Equal means differ by rounding.
    if variance > f64::EPSILON * mean * mean { product / variance } else { 0.0 }
}

/// What came of a run. Made by [`Meter::measured`], and by a simulation.
///
/// ```
/// use ringway::workload::{Arrival, Plan, Scenario, simulate};
///
/// let scenario = Scenario::new(Arrival::poisson(), "exp:1us".parse()?, 500_000.0, 1, None)?;
/// let measured = simulate(&scenario, &Plan::new().messages(20_000)?)?.measured;
/// assert!((19_000..21_000).contains(&measured.messages));
/// assert!((measured.figures.utilisation - 0.5).abs() < 0.03);
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// The figures of the whole window.
    pub figures: Figures,
    /// How far off each may be, more or less, by batch means or
    /// [by runs](Self::take_intervals_of). Infinite if there were too few messages to tell, and
    /// where the [service](Self::served_by) has too few moments. Too narrow if batches are like
    /// their neighbours.
    pub half_widths: Figures,
    /// How likely the true figures are within that, 0 to 1.
    pub confidence: f64,
    /// How much the mean sojourn of a batch is like that of the batch before, from -1 to 1. See
    /// [`Measured::batches_are_alike`].
    pub batch_correlation: f64,
    /// Messages that were intended for a moment within the window and were served.
    pub messages: u64,
    /// Messages that were intended for a moment within the window and were refused.
    pub lost: u64,
    finite_moments: u32,
    batch_ns: f64,
    batches: Vec<Option<Figures>>,
    wait: Times,
    sojourn: Times,
}

impl Measured {
    /// The figures by their names, in the order of [`Figures::named`]; none of those about messages
    /// if there was no message. The [figures](Self::figures) have 0 there, which says of no message
    /// that it had no wait.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 32, 1)?;
    /// let [utilisation, .., wait] = meter.measured(0.95)?.named();
    /// assert_eq!(utilisation, ("utilisation", Some(0.0)));
    /// assert_eq!(wait, ("wait_mean_ns", None));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<f64>); 7] {
        self.figures.named().map(|(name, figure)| {
            let is_known = match name {
                "sojourn_mean_ns" | "wait_mean_ns" => self.messages > 0,
                "loss_share" => self.messages > 0 || self.lost > 0,
                _ => true,
            };
            (name, is_known.then_some(figure))
        })
    }

    /// The figures of each of the 32 batches, in order; none of one that no message came in. Of two
    /// runs of the same seed and length those of the same number had the same arrivals and the same
    /// work, so that their differences say more than the two intervals do.
    ///
    /// ```
    /// # let mut meter = ringway::workload::Meter::new(0, 32, 1)?;
    /// meter.served(1, 3, 5);
    /// let measured = meter.measured(0.95)?;
    /// let waits: Vec<_> = measured.batches().map(|it| Some(it?.wait_mean_ns)).collect();
    /// assert_eq!((waits.len(), waits[0], waits[1]), (32, None, Some(2.0)));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn batches(&self) -> impl Iterator<Item = Option<&Figures>> {
        self.batches.iter().map(Option::as_ref)
    }

    /// Whether batches are so like their neighbours that intervals by them are too narrow: chance alone
    /// makes their correlation 0.4 one time in a hundred.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// assert!(!meter.measured(0.95)?.batches_are_alike());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn batches_are_alike(&self) -> bool {
        const CORRELATION_MAX: f64 = 0.4;
        self.batch_correlation > CORRELATION_MAX
    }

    /// Whether it was too short for this scenario, so that intervals by its batches hold less often
    /// than they say: the [batches are alike](Self::batches_are_alike), or are shorter than 30 times
    /// the time in which the queue forgets how it was, which their likeness seldom shows. Of M/M/1
    /// intervals of 95 % held the mean wait about 94 times in 100 where batches had 43 such times, and
    /// 90 times where they had 10.
    ///
    /// ```
    /// use ringway::workload::{Arrival, Meter, Scenario};
    ///
    /// let at = |load: f64| -> Result<bool, ringway::workload::Error> {
    ///     let (arrival, service) = (Arrival::poisson(), "exp:20us".parse()?);
    ///     let scenario = Scenario::new(arrival, service, load * 50e3, 1, None)?;
    ///     Ok(Meter::new(0, 2_500_000_000, 1)?.measured(0.95)?.is_short_for(&scenario))
    /// };
    /// assert_eq!((at(0.8)?, at(0.9)?), (false, true));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn is_short_for(&self, scenario: &Scenario) -> bool {
        const RELAXATIONS_MIN: f64 = 30.0;
        let is_short = |relaxation_ns: f64| self.batch_ns < RELAXATIONS_MIN * relaxation_ns;
        self.batches_are_alike() || scenario.relaxation_ns().is_some_and(is_short)
    }

    /// The wait in nanoseconds that only `100 - percentile` in a hundred messages exceeded, to
    /// three digits. `None` if there were too few to say, see [`carries`], if too few batches had
    /// them, see [`recurs`], or if it is longer than 53 days.
    ///
    /// ```
    /// # let mut meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// for message in 0..1000 {
    ///     let intended = 1_000_000 * message;
    ///     let wait = message * 389 % 1000;
    ///     meter.served(intended, intended + wait, intended + 5000);
    /// }
    /// let measured = meter.measured(0.95)?;
    /// let p90 = measured.wait_percentile_ns(90.0).expect("it is carried");
    /// assert!((p90 - 900.0).abs() < 2.0);
    /// assert_eq!(measured.wait_percentile_ns(99.9), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn wait_percentile_ns(&self, percentile: f64) -> Option<f64> {
        self.wait.percentile_ns(percentile)
    }

    /// The same of the sojourn, which ends with the service.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// assert_eq!(meter.measured(0.95)?.sojourn_percentile_ns(50.0), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn sojourn_percentile_ns(&self, percentile: f64) -> Option<f64> {
        self.sojourn.percentile_ns(percentile)
    }

    /// The longest wait in nanoseconds, to three digits. `None` if there was no message, or if it was
    /// longer than 53 days.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// assert_eq!(meter.measured(0.95)?.wait_max_ns(), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn wait_max_ns(&self) -> Option<f64> {
        self.wait.max_ns()
    }

    /// The longest sojourn in nanoseconds, to three digits. `None` if there was no message, or if it
    /// was longer than 53 days.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// assert_eq!(meter.measured(0.95)?.sojourn_max_ns(), None);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn sojourn_max_ns(&self) -> Option<f64> {
        self.sojourn.max_ns()
    }

    /// Gives it intervals by all runs of its load instead, by what each of them came to. Every run
    /// has a chance of its own (independent replications), so that these intervals are not too
    /// narrow as those by batches may be. They are infinite of fewer than two runs.
    ///
    /// ```
    /// # use ringway::workload::Figures;
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// let runs = [4.0, 5.0, 6.0].map(|wait_mean_ns| {
    ///     let mut figures = Figures::default();
    ///     figures.wait_mean_ns = wait_mean_ns;
    ///     figures
    /// });
    /// let mut measured = meter.measured(0.95)?;
    /// measured.take_intervals_of(&runs)?;
    /// assert!((measured.half_widths.wait_mean_ns - 4.303 / 3_f64.sqrt()).abs() < 0.001);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn take_intervals_of(&mut self, runs: &[Figures]) -> Result<(), Error> {
        self.half_widths = half_widths(runs, runs, self.confidence)?;
        self.widen();
        Ok(())
    }

    /// Says that this service was among what made these waits. If it has no
    /// [third moment](Service::finite_moments), the waits of one server have no variance, and those of
    /// several may have none: the intervals of waits, sojourns and of how many are there would hold far
    /// less often than they say, however long the run, and are infinite from now on. If it has no second one either, all intervals are. A
    /// simulation has said it already, and so has [`account`](crate::workload::account()) of the
    /// service of its offer.
    ///
    /// ```
    /// use ringway::workload::Meter;
    ///
    /// let mut meter = Meter::new(0, 1_000_000, 1)?;
    /// (0..1000).for_each(|message| meter.served(1000 * message, 1000 * message, 1000 * message + 5));
    /// let mut measured = meter.measured(0.95)?;
    /// assert!(measured.half_widths.wait_mean_ns.is_finite());
    /// measured.served_by(&"pareto:5ns,2.5".parse()?);
    /// assert!(measured.half_widths.wait_mean_ns.is_infinite());
    /// assert!(measured.half_widths.utilisation.is_finite());
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    pub fn served_by(&mut self, service: &Service) {
        let moments = match service.finite_moments() {
            // No more wait behind a service than there are places, so that a wait has as many moments as
            // the service, instead of one less. A bound that some batches have not met is none for them.
            2 if self.every_batch_refused() => 3,
            moments => moments,
        };
        self.finite_moments = self.finite_moments.min(moments);
        self.widen();
    }

    fn every_batch_refused(&self) -> bool {
        self.batches().all(|batch| batch.is_some_and(|batch| batch.loss_share > 0.0))
    }

    /// How many moments of the [service](Self::served_by) are finite, as far as three, and three also of
    /// two where a bound makes them enough: with fewer there are intervals that are infinite, however
    /// long the run.
    ///
    /// ```
    /// # let meter = ringway::workload::Meter::new(0, 1_000_000_000, 1)?;
    /// assert_eq!(meter.measured(0.95)?.finite_moments(), 3);
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn finite_moments(&self) -> u32 {
        self.finite_moments
    }

    fn widen(&mut self) {
        const NONE: f64 = f64::INFINITY;
        let all = &mut self.half_widths;
        if self.finite_moments < 3 {
            (all.in_system_mean, all.waiting_mean) = (NONE, NONE);
            (all.sojourn_mean_ns, all.wait_mean_ns) = (NONE, NONE);
        }
        if self.finite_moments < 2 {
            (all.utilisation, all.throughput_per_s, all.loss_share) = (NONE, NONE, NONE);
        }
    }

    /// Little's law as a check on the run itself: how many messages were there on average by
    /// another count, over how many there must have been by the rate and the mean sojourn. Away
    /// from 1 by more than the intervals it says that messages are missing from one of the two,
    /// or that the queue did not settle. `None` if no message was served.
    ///
    /// ```
    /// # let mut meter = ringway::workload::Meter::new(0, 10, 1)?;
    /// meter.served(1, 2, 5);
    /// let measured = meter.measured(0.95)?;
    /// assert_eq!(measured.little_ratio(0.4), Some(1.0));
    /// assert_eq!(measured.little_ratio(0.8), Some(2.0));
    /// # Ok::<(), ringway::workload::Error>(())
    /// ```
    #[must_use]
    pub fn little_ratio(&self, in_system_mean: f64) -> Option<f64> {
        let Figures { throughput_per_s, sojourn_mean_ns, .. } = self.figures;
        let expected = little(throughput_per_s, sojourn_mean_ns);
        (expected > 0.0).then(|| in_system_mean / expected)
    }
}

/// How often each time came, in picoseconds, to three digits, and the longest that came in each batch.
#[derive(Clone, Debug)]
struct Times {
    all: Histogram<u64>,
    longest: [Option<u64>; BATCHES],
}

const PS_PER_NS: f64 = 1000.0;

/// Longer times, of more than 53 days, count as this, and are told of as unknown. The histogram grows
/// as far as it has to.
const PS_MAX: u64 = 1 << 62;

impl Times {
    fn new() -> Result<Self, Error> {
        const DIGITS: u8 = 3;
        // It refuses digits beyond 5 alone.
        let all = Histogram::new(DIGITS);
        let all = all.map_err(|_| Error::bounds("the digits", DIGITS, "from 0 to 5"))?;
        Ok(Self { all, longest: [None; BATCHES] })
    }

    fn record(&mut self, batch: usize, ns: f64) {
        let ps = number::floor(ns * PS_PER_NS + 0.5).min(PS_MAX);
        self.longest[batch] = self.longest[batch].max(Some(ps));
        // It grows by itself, so that nothing is out of its range.
        let _ = self.all.record(ps);
    }

    fn percentile_ns(&self, percentile: f64) -> Option<f64> {
        if !(percentile >= 0.0 && carries(self.all.len(), percentile)) {
            return None;
        }
        let ps = self.all.value_at_percentile(percentile);
        // Times that differ by less than three digits are the same here.
        let least = self.all.lowest_equivalent(ps);
        recurs(self.longest.into_iter().flatten(), least).then_some(ps).and_then(as_it_was)
    }

    fn max_ns(&self) -> Option<f64> {
        Some(self.all.max()).filter(|_| !self.all.is_empty()).and_then(as_it_was)
    }
}

/// In nanoseconds, if it was not cut off.
fn as_it_was(ps: u64) -> Option<f64> {
    (ps < PS_MAX).then(|| float(ps) / PS_PER_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_across_batches_count_in_each_for_their_part() {
        // 32 batches of 1 ns. A message from before the window to behind it is in all of them.
        let mut meter = Meter::new(100, 32, 2).unwrap();
        meter.served(50, 108, 200);
        meter.count_served(104.5, 0.0, 0.75);
        meter.lost(99);
        meter.lost(131);
        meter.lost(132);
        let measured = meter.measured(0.95).unwrap();
        assert_eq!((measured.messages, measured.lost), (1, 1));
        let figures = measured.figures;
        assert!((figures.in_system_mean - (32.0 + 0.75) / 32.0).abs() < 1e-12);
        assert!((figures.waiting_mean - 8.0 / 32.0).abs() < 1e-12);
        assert!((figures.utilisation - (24.0 + 0.75) / 64.0).abs() < 1e-12);
        assert!((figures.loss_share - 0.5).abs() < 1e-12);
        assert!((figures.throughput_per_s - 1e9 / 32.0).abs() < 1e-3);
        assert!((figures.sojourn_mean_ns - 0.75).abs() < 1e-12);
        assert!(measured.half_widths.wait_mean_ns.is_infinite(), "one batch has no spread");
    }

    #[test]
    fn what_makes_no_sense_does_no_harm() {
        let mut meter = Meter::new(10, 32, 1).unwrap();
        let odd = [0, 1, 10, 11, 41, 42, u64::MAX];
        for intended in odd {
            meter.lost(intended);
            for start in odd {
                for end in odd {
                    meter.served(intended, start, end);
                }
            }
        }
        let measured = meter.measured(0.95).unwrap();
        let figures = measured.figures;
        assert!(figures.named().iter().all(|(_, figure)| *figure >= 0.0), "{figures:?}");
        assert_eq!((measured.messages, measured.lost), (3 * 49, 3));
        assert!(meter.measured(1.0).is_err() && meter.measured(f64::NAN).is_err());
        assert!(Meter::new(0, 1, 0).is_err() && Meter::new(0, 0, 1).is_err());
        assert!(Meter::new(u64::MAX, u64::MAX, u32::MAX).is_ok());
    }

    #[test]
    fn times_below_a_nanosecond_and_of_years_are_kept() {
        let mut times = Times::new().unwrap();
        let record = |times: &mut Times, ns: f64, count: usize| {
            (0..count).for_each(|number| times.record(number % BATCHES, ns));
        };
        record(&mut times, 0.25, 100);
        assert_eq!(times.percentile_ns(50.0), Some(0.25));
        // A month, which is known to three digits.
        record(&mut times, 2.6e15, 1);
        assert!(times.max_ns().is_some_and(|max_ns| (max_ns / 2.6e15 - 1.0).abs() < 1e-3));
        // 53 days and more are not: neither as the longest, nor as a percentile.
        record(&mut times, f64::INFINITY, 1);
        assert_eq!(times.max_ns(), None);
        assert_eq!(times.percentile_ns(50.0), Some(0.25));
        record(&mut times, 5e15, 200);
        assert_eq!(times.percentile_ns(50.0), None);
    }

    #[test]
    fn a_percentile_is_known_where_ten_batches_have_what_exceeds_it() {
        // Of 320 messages 32 wait longer than the others, so many of them in each of the first batches.
        let p90 = |in_each: usize| {
            let mut times = Times::new().unwrap();
            for message in 0..320 {
                let (batch, number) = (message / 10, message % 10);
                let is_long = number < in_each && batch * in_each < 32;
                times.record(batch, if is_long { 1.0 } else { 0.25 });
            }
            times.percentile_ns(90.5)
        };
        assert_eq!([1, 2, 3, 4, 8].map(p90), [Some(1.0), Some(1.0), Some(1.0), None, None]);
        // Where all are the same, each batch has a tenth of the longest.
        let mut times = Times::new().unwrap();
        (0..320).for_each(|message| times.record(message / 10, 0.0));
        assert_eq!(times.percentile_ns(90.0), Some(0.0));
    }
}
