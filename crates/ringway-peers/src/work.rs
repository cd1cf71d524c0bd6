//! What open ends do while they are measured: the same for every system.

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::clock;
use crate::control::{BRACKET_ROUNDS, Control, Word};
use crate::job::{Job, Report};
use crate::transport::{Kind, Message, Receiver, Sender};

/// First words that are no sequence numbers.
const BEGIN: u64 = u64::MAX - 1;
const END: u64 = u64::MAX;

/// A batch: large enough to divide what a step costs, small against the rings.
const BATCH: usize = 64;

/// Between two messages that have to wake somebody.
const WAKE_PERIOD_NS: u64 = 2_000_000;

/// Refusing for so long is being full: some systems make room a little later.
const FULL_AFTER_NS: u64 = 50_000_000;

/// How many times what a ring holds a check fills in at most.
const FILL_RINGS_MAX: usize = 4;

/// What a part of a job works with, whatever its ends are.
pub(crate) struct Stage<'a> {
    pub(crate) job: &'a Job,
    pub(crate) control: &'a Control,
    pub(crate) kind: Kind,
    pub(crate) refuses: bool,
    /// Processor time of the part, in nanoseconds: the process's or the thread's.
    pub(crate) cpu: fn() -> u64,
}

/// Reads a word of each line, so that the payload has to come to this processor: also of the last
/// one, which is a line more where the payload does not begin with a line.
#[inline]
fn touch<const W: usize>(message: &Message<W>) -> u64 {
    for word in message.iter().skip(8).step_by(8) {
        black_box(*word);
    }
    if W > 1 {
        black_box(message[W - 1]);
    }
    message[0]
}

/// The content of a message, which tells it from every other one.
fn pattern<const W: usize>(sequence: u64) -> Message<W> {
    let mut message = [sequence; W];
    for (index, word) in (1_u64..).zip(&mut message[1..]) {
        *word = (sequence + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(7) ^ index;
    }
    message
}

/// How long something has lasted, asked for often.
struct Deadline {
    end: u64,
    calls: u32,
    every: u32,
}

impl Deadline {
    fn after(duration_ns: u64, size: usize) -> Self {
        // The clock is read once for some KiB.
        let every = u32::try_from((16 << 10) / size).unwrap_or(1).clamp(1, 256);
        Self { end: clock::now() + duration_ns, calls: 0, every }
    }

    #[inline]
    fn over(&mut self) -> bool {
        self.calls += 1;
        self.calls.is_multiple_of(self.every) && clock::now() >= self.end
    }
}

impl Stage<'_> {
    /// Brackets `work`: the first part's side.
    fn bracketed(&self, work: impl FnOnce() -> Result<Report>) -> Result<Report> {
        let before = self.control.bracket(0);
        let report = work()?;
        let after = self.control.bracket(BRACKET_ROUNDS);
        Ok(Report { brackets_ns: Some([before, after]), ..report })
    }

    /// The second part's side.
    fn answered(&self, work: impl FnOnce() -> Result<Report>) -> Result<Report> {
        self.control.answer(0);
        let report = work()?;
        self.control.answer(BRACKET_ROUNDS);
        Ok(report)
    }

    /// Sends messages to and fro, one at a time.
    pub(crate) fn ping<const W: usize>(
        &self,
        there: &mut impl Sender<W>,
        back: &mut impl Receiver<W>,
    ) -> Result<Report> {
        self.bracketed(|| {
            let mut message = [7; W];
            let mut times = clock::histogram();
            let clock_cost = clock::cost();
            let duration = self.job.duration_ns;
            let begin = clock::now();
            let mut sequence = 0;
            loop {
                message[0] = sequence;
                let mut answer = END;
                let sent = clock::now();
                there.send(&message)?;
                back.receive(|message| answer = touch(message))?;
                let received = clock::now();
                ensure!(answer == sequence, "answer {answer} to message {sequence}");
                // What runs in, counts not.
                if received - begin > duration / 8 {
                    times.saturating_record(received - sent);
                }
                if received - begin > duration + duration / 8 {
                    break;
                }
                sequence += 1;
            }
            message[0] = END;
            there.send(&message)?;
            back.receive(|_| {})?;
            let quantile = |part| {
                #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
                let time = times.value_at_quantile(part) as f64;
                Some((time - clock_cost).max(0.0))
            };
            Ok(Report {
                p50_ns: quantile(0.5),
                p99_ns: quantile(0.99),
                p999_ns: quantile(0.999),
                ..Report::default()
            })
        })
    }

    /// The other side of [`Self::ping`].
    pub(crate) fn answer<const W: usize>(
        &self,
        there: &mut impl Receiver<W>,
        back: &mut impl Sender<W>,
    ) -> Result<Report> {
        self.answered(|| {
            let mut message = [7; W];
            let (begin, cpu_begin) = (clock::now(), (self.cpu)());
            loop {
                there.receive(|received| message[0] = touch(received))?;
                back.send(&message)?;
                if message[0] == END {
                    break;
                }
            }
            Ok(Report {
                cpu_percent: Some(self.cpu_percent(begin, cpu_begin)),
                ..Report::default()
            })
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "times far below 2^52 ns")]
    fn cpu_percent(&self, begin: u64, cpu_begin: u64) -> f64 {
        let used = (self.cpu)() - cpu_begin;
        100.0 * used as f64 / (clock::now() - begin) as f64
    }

    /// Sends as many as go through.
    pub(crate) fn stream<const W: usize>(&self, sender: &mut impl Sender<W>) -> Result<Report> {
        self.bracketed(|| {
            let mut message = [7; W];
            let mut sequence = 0;
            for (duration, mark) in self.phases() {
                let mut deadline = Deadline::after(duration, size_of_val(&message));
                while !deadline.over() {
                    message[0] = sequence;
                    sender.send(&message)?;
                    sequence += 1;
                }
                message[0] = mark;
                sender.send(&message)?;
            }
            Ok(Report::default())
        })
    }

    /// The same, a batch at a time.
    pub(crate) fn stream_batches<const W: usize>(
        &self,
        sender: &mut impl Sender<W>,
    ) -> Result<Report> {
        self.bracketed(|| {
            let mut messages = vec![[7; W]; BATCH];
            let mut sequence = 0;
            for (duration, mark) in self.phases() {
                let mut deadline = Deadline::after(duration, BATCH * size_of::<Message<W>>());
                while !deadline.over() {
                    for message in &mut messages {
                        message[0] = sequence;
                        sequence += 1;
                    }
                    sender.send_batch(&messages)?;
                }
                sender.send(&[mark; W])?;
            }
            Ok(Report::default())
        })
    }

    /// Running in, and measuring; each ends with a mark.
    fn phases(&self) -> [(u64, u64); 2] {
        let duration = self.job.duration_ns;
        [(duration / 4, BEGIN), (duration, END)]
    }

    /// Receives a stream with one receiver, or with several in turn.
    pub(crate) fn drain<const W: usize, R: Receiver<W>>(
        &self,
        receivers: &mut [R],
        first: bool,
    ) -> Result<Report> {
        let work = || match receivers {
            [one] => {
                self.drain_one(one, |one, meter| one.receive(|message| meter.see(touch(message))))
            }
            several => self.drain_in_turn(several),
        };
        if first { self.answered(work) } else { work() }
    }

    /// Receives a stream in batches.
    pub(crate) fn drain_batches<const W: usize, R: Receiver<W>>(
        &self,
        receiver: &mut R,
    ) -> Result<Report> {
        self.answered(|| {
            self.drain_one(receiver, |receiver, meter| {
                receiver.receive_batch(|message| meter.see(touch(message)))
            })
        })
    }

    fn drain_one<R>(
        &self,
        receiver: &mut R,
        mut receive: impl FnMut(&mut R, &mut Meter) -> Result<()>,
    ) -> Result<Report> {
        let mut meter = Meter::default();
        while meter.end.is_none() {
            receive(receiver, &mut meter)?;
        }
        self.reported(meter.rate(), meter.missed)
    }

    /// Every receiver gets everything, so that each can be waited for in its turn.
    fn drain_in_turn<const W: usize, R: Receiver<W>>(&self, receivers: &mut [R]) -> Result<Report> {
        let mut meters: Vec<Meter> = receivers.iter().map(|_| Meter::default()).collect();
        while meters.iter().any(|meter| meter.end.is_none()) {
            for (receiver, meter) in receivers.iter_mut().zip(&mut meters) {
                if meter.end.is_none() {
                    receiver.receive(|message| meter.see(touch(message)))?;
                }
            }
        }
        let missed = meters.iter().map(|meter| meter.missed).sum();
        let rates = meters.iter().map(Meter::rate);
        self.reported(rates.fold(f64::INFINITY, f64::min), missed)
    }

    fn reported(&self, rate: f64, missed: u64) -> Result<Report> {
        ensure!(missed == 0 || self.kind == Kind::Lossy, "{missed} messages lost");
        ensure!(rate.is_finite(), "the stream had no beginning");
        Ok(Report { messages_per_s: Some(rate), missed: Some(missed), ..Report::default() })
    }

    /// Receives a stream that several share. They are asked in turn, by one process: what is
    /// measured is what sharing costs, not how far it scales.
    pub(crate) fn drain_shared<const W: usize, R: Receiver<W>>(
        &self,
        receivers: &mut [R],
    ) -> Result<Report> {
        self.answered(|| {
            let mut meter = Meter { unordered: true, ..Meter::default() };
            while meter.end.is_none() {
                for receiver in &mut *receivers {
                    receiver.try_receive(|message| meter.see(touch(message)))?;
                }
            }
            self.reported(meter.rate(), 0)
        })
    }

    /// Wakes the other side now and then.
    pub(crate) fn wake<const W: usize>(&self, sender: &mut impl Sender<W>) -> Result<Report> {
        self.bracketed(|| {
            let mut due = clock::now();
            let end = due + self.job.duration_ns;
            while due < end {
                due += WAKE_PERIOD_NS;
                while clock::now() < due {
                    std::hint::spin_loop();
                }
                sender.send(&[clock::now(); W])?;
            }
            sender.send(&[END; W])?;
            Ok(Report::default())
        })
    }

    /// Sleeps until it is woken, and says how late that was.
    pub(crate) fn be_woken<const W: usize>(
        &self,
        receiver: &mut impl Receiver<W>,
    ) -> Result<Report> {
        self.answered(|| {
            let mut delays = clock::histogram();
            let (begin, cpu_begin) = (clock::now(), (self.cpu)());
            loop {
                let mut sent = 0;
                receiver.receive(|message| sent = message[0])?;
                if sent == END {
                    break;
                }
                delays.saturating_record(clock::now().saturating_sub(sent));
            }
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            let quantile = |part| Some(delays.value_at_quantile(part) as f64);
            Ok(Report {
                p50_ns: quantile(0.5),
                p99_ns: quantile(0.99),
                p999_ns: quantile(0.999),
                cpu_percent: Some(self.cpu_percent(begin, cpu_begin)),
                ..Report::default()
            })
        })
    }

    /// Fills until there is no room, and sends again when there is.
    pub(crate) fn fill<const W: usize>(&self, sender: &mut impl Sender<W>) -> Result<Report> {
        let fill_max = if self.refuses || self.kind == Kind::Lossy {
            FILL_RINGS_MAX * self.job.ring_bytes / size_of::<Message<W>>()
        } else {
            // Who cannot refuse would wait for ever.
            2
        };
        let mut filled = 0;
        let mut refused_at = None;
        while filled < fill_max as u64 {
            if sender.try_send(&pattern(filled))? {
                filled += 1;
                refused_at = None;
            } else {
                let since = *refused_at.get_or_insert_with(clock::now);
                if clock::now() - since > FULL_AFTER_NS {
                    break;
                }
            }
        }
        let refused = refused_at.is_some();
        if self.refuses {
            ensure!(refused, "took {filled} messages that nobody received, and refused none");
        }
        self.control.word(Word::Filled).store(filled + 1, Ordering::Release);
        while self.control.word(Word::Drained).load(Ordering::Acquire) == 0 {
            sender.settle()?;
            std::thread::yield_now();
        }
        let begin = clock::now();
        while !sender.try_send(&pattern(filled))? {
            ensure!(clock::now() - begin < 1_000_000_000, "no room after everything was received");
        }
        while self.control.word(Word::Again).load(Ordering::Acquire) == 0 {
            sender.settle()?;
            std::thread::yield_now();
        }
        Ok(Report { filled: Some(filled), refused: Some(refused), ..Report::default() })
    }

    /// Receives what [`Self::fill`] sent, every byte of it.
    pub(crate) fn empty<const W: usize>(&self, receiver: &mut impl Receiver<W>) -> Result<Report> {
        let filled = self.control.wait_for(Word::Filled) - 1;
        let mut content = Content { gaps: self.kind == Kind::Lossy, ..Content::default() };
        while receiver.try_receive(|message| content.see(message))? || content.expected < filled {
            // The sender may still have to pass on the end of what it was let in with.
            std::hint::spin_loop();
        }
        self.control.word(Word::Drained).store(1, Ordering::Release);
        receiver.receive(|message| content.see(message))?;
        self.control.word(Word::Again).store(1, Ordering::Release);
        if let Some((expected, found)) = content.wrong {
            bail!("message {found} where {expected} was due, or not as it was sent");
        }
        let arrived = content.expected;
        ensure!(arrived == filled + 1, "{arrived} of {} messages arrived", filled + 1);
        Ok(Report::default())
    }

    /// Waits until the other part has come here as well.
    pub(crate) fn meet(&self, first: bool) {
        let (mine, other) = if first { (Word::Ping, Word::Pong) } else { (Word::Pong, Word::Ping) };
        let times = self.control.word(mine).fetch_add(1, Ordering::AcqRel) + 1;
        while self.control.word(other).load(Ordering::Acquire) < times {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Passes some messages, so that what is used is there.
    pub(crate) fn pass_some<const W: usize>(sender: &mut impl Sender<W>) -> Result<()> {
        (0..SOME).try_for_each(|sequence| sender.send(&[sequence; W]))
    }

    /// The other side of [`Self::pass_some`].
    pub(crate) fn take_some<const W: usize>(receiver: &mut impl Receiver<W>) -> Result<()> {
        (0..SOME).try_for_each(|_| {
            receiver.receive(|message| {
                touch(message);
            })
        })
    }

    /// Sends the time for ever; who is in trouble is opened anew.
    pub(crate) fn send_times<const W: usize, S: Sender<W>>(
        mut sender: S,
        open: impl Fn() -> Result<S>,
    ) -> Result<Report> {
        loop {
            if sender.try_send(&[clock::now(); W]).is_err() {
                drop(sender);
                sender = open_at_last(&open);
            }
        }
    }

    /// Receives until a message comes that was sent after the runner killed somebody.
    pub(crate) fn receive_after_kill<const W: usize, R: Receiver<W>>(
        &self,
        mut receiver: R,
        open: impl Fn() -> Result<R>,
    ) -> Result<Report> {
        loop {
            let mut sent = 0;
            if receiver.try_receive(|message| sent = message[0]).is_err() {
                drop(receiver);
                receiver = open_at_last(&open);
            }
            let killed = self.control.word(Word::Killed).load(Ordering::Acquire);
            if killed != 0 && sent > killed {
                let recovered_ns = Some(clock::now() - killed);
                return Ok(Report { recovered_ns, ..Report::default() });
            }
        }
    }
}

/// Opens an end as soon as it can be opened: who died may not be gone yet.
pub(crate) fn open_at_last<E>(open: impl Fn() -> Result<E>) -> E {
    loop {
        match open() {
            Ok(end) => return end,
            Err(_) => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

const SOME: u64 = 1000;

/// Compares what a receiver sees with what was sent.
#[derive(Default)]
struct Content {
    expected: u64,
    /// What was due, and what came first that was not as it should be.
    wrong: Option<(u64, u64)>,
    /// Messages may be missing.
    gaps: bool,
}

impl Content {
    fn see<const W: usize>(&mut self, message: &Message<W>) {
        let sequence = message[0];
        let due = if self.gaps { sequence >= self.expected } else { sequence == self.expected };
        if !due || *message != pattern(sequence) {
            self.wrong.get_or_insert((self.expected, sequence));
        }
        self.expected = sequence + 1;
    }
}

/// Counts what a receiver of a stream sees between the marks.
#[derive(Default)]
struct Meter {
    expected: u64,
    missed: u64,
    counted: u64,
    begin: Option<u64>,
    end: Option<u64>,
    /// Others receive too, so that gaps mean nothing.
    unordered: bool,
}

impl Meter {
    #[inline]
    fn see(&mut self, word: u64) {
        if word >= BEGIN {
            self.mark(word);
            return;
        }
        self.counted += 1;
        if word != self.expected {
            self.skip(word);
        }
        self.expected = word + 1;
    }

    #[cold]
    fn skip(&mut self, word: u64) {
        if self.unordered {
            return;
        }
        self.missed += word.wrapping_sub(self.expected);
        if self.begin.is_none() {
            // The mark may be among what was lost.
            self.mark(BEGIN);
        }
    }

    #[cold]
    fn mark(&mut self, word: u64) {
        if word == BEGIN {
            self.begin = Some(clock::now());
            self.counted = 0;
        } else {
            self.end.get_or_insert_with(clock::now);
        }
    }

    /// Messages a second, if both marks came.
    fn rate(&self) -> f64 {
        match (self.begin, self.end) {
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            (Some(begin), Some(end)) => self.counted as f64 * 1e9 / (end - begin).max(1) as f64,
            _ => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_counts_between_the_marks_and_tells_gaps() {
        let mut meter = Meter::default();
        for word in [0, 1, BEGIN, 2, 3, 6, 7, END] {
            meter.see(word);
        }
        assert_eq!((meter.counted, meter.missed), (4, 2));
        assert!(meter.rate() > 0.0);
    }

    #[test]
    fn patterns_differ_in_every_word() {
        let (one, other) = (pattern::<8>(1), pattern::<8>(2));
        assert!(one.iter().zip(&other).all(|(one, other)| one != other));
    }
}
