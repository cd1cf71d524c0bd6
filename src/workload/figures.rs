//! The numbers that describe a queue in the long run.

/// What a queue does in the long run: predicted, simulated or measured, always the same numbers.
///
/// Those that have no bound are infinite: a queue that gets more than it can serve.
///
/// ```
/// use ringway::workload::{Arrival, Scenario, predict};
///
/// let scenario = Scenario::new(Arrival::poisson(), "exp:1us".parse()?, 800_000.0, 1, None)?;
/// let figures = predict(&scenario).figures.expect("M/M/1 has closed forms");
/// let [utilisation, .., wait] = figures.named();
/// assert!((utilisation.1 - 0.8).abs() < 1e-12);
/// assert_eq!(wait, ("wait_mean_ns", figures.wait_mean_ns));
/// # Ok::<(), ringway::workload::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// The part of the time that a server works, 0 to 1.
    pub utilisation: f64,
    /// X: messages served, a second.
    pub throughput_per_s: f64,
    /// The part of the messages that found no place and were refused, 0 to 1.
    pub loss_share: f64,
    /// L: how many messages are there on average, waiting or in service.
    pub in_system_mean: f64,
    /// Lq: how many of them wait on average.
    pub waiting_mean: f64,
    /// W: from a message's intended time to the end of its service, in nanoseconds, the mean of
    /// those served.
    pub sojourn_mean_ns: f64,
    /// Wq: from a message's intended time to the beginning of its service, in nanoseconds, the
    /// mean of those served.
    pub wait_mean_ns: f64,
}

impl Figures {
    /// All of them with their names, units last, in the order above.
    ///
    /// ```
    /// let names = ringway::workload::Figures::default().named().map(|(name, _)| name);
    /// assert_eq!(names[1], "throughput_per_s");
    /// ```
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("utilisation", self.utilisation),
            ("throughput_per_s", self.throughput_per_s),
            ("loss_share", self.loss_share),
            ("in_system_mean", self.in_system_mean),
            ("waiting_mean", self.waiting_mean),
            ("sojourn_mean_ns", self.sojourn_mean_ns),
            ("wait_mean_ns", self.wait_mean_ns),
        ]
    }
}
