//! Closed loops: as fast as it goes, and to and fro.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::workload::{Clock, ReceivingEnd, SendingEnd, Taken, read_lines};

/// Messages between two looks at the clock, which takes as long as several sends.
const BETWEEN_LOOKS: u64 = 256;

/// How long a receiving end waits at a time before it looks around.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// What a sender put into a transport. Made by [`send_stream`].
///
/// ```
/// assert_eq!(ringway::workload::StreamSent::default().sent, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSent {
    /// Messages.
    pub sent: u64,
    /// When the first one was sent, as the clock counts.
    pub begin_ns: u64,
    /// When the last one had been sent.
    pub end_ns: u64,
}

/// What came out at the other end. Made by [`receive_stream`].
///
/// ```
/// assert_eq!(ringway::workload::StreamReceived::default().received, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamReceived {
    /// Messages, repeated ones included.
    pub received: u64,
    /// Messages that came once more.
    pub duplicated: u64,
    /// Messages that came after one with a greater number. They are told from repeated ones unless
    /// numbers are left out in 4096 places at a time, which then count as repeated if they come.
    pub late: u64,
    /// Numbers below `next` that did not come.
    pub gaps: u64,
    /// The number after the greatest that came.
    pub next: u64,
    /// Messages that came before the time that counts.
    pub before: u64,
    /// When that began, as the clock counts.
    pub begin_ns: u64,
    /// When the last one was there.
    pub end_ns: u64,
}

/// Sends numbered messages of so many bytes, 8 at least, in batches of so many, until the clock
/// shows `until_ns`, a few hundred at least; then closes.
///
/// ```
/// use ringway::workload::{MachineClock, Clock, receive_stream, send_stream};
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-stream");
/// let queue = Queue::create("doc-stream", &QueueOptions::new())?;
/// let mut receiving = queue.subscribe(&Subscribe::new())?;
/// let producer = queue.producer()?;
/// let receiver = std::thread::spawn(move || {
///     receive_stream(&mut receiving, &MachineClock::spinning(), 1, 0)
/// });
/// let clock = MachineClock::spinning();
/// let sent = send_stream(producer, &clock, 64, 1, clock.now_ns() + 1_000_000)?;
/// let received = receiver.join().expect("it received")?;
/// assert_eq!((received.received, received.gaps), (sent.sent, 0));
/// # Queue::force_remove("doc-stream")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub fn send_stream<S: SendingEnd>(
    mut end: S,
    clock: &impl Clock,
    size: usize,
    batch: usize,
    until_ns: u64,
) -> Result<StreamSent, S::Error> {
    let mut payload = vec![7; size.max(8)];
    let batch = batch.max(1);
    let begin_ns = clock.now_ns();
    let mut sent = 0_u64;
    let mut stamp = |payload: &mut [u8]| {
        payload[..8].copy_from_slice(&sent.to_le_bytes());
        sent += 1;
    };
    let batches = BETWEEN_LOOKS.div_ceil(batch as u64);
    let end_ns = loop {
        for _ in 0..batches {
            if batch == 1 {
                stamp(&mut payload);
                end.send(&payload)?;
            } else {
                end.send_batch(&mut payload, batch, &mut stamp)?;
            }
        }
        let now_ns = clock.now_ns();
        if now_ns >= until_ns {
            break now_ns;
        }
    };
    end.close()?;
    Ok(StreamSent { sent, begin_ns, end_ns })
}

/// Receives what [`send_stream`] sends until the transport is closed, up to so many messages at a
/// time, [reads](read_lines) them and checks their numbers. What comes before the clock shows
/// `from_ns` is a warm-up: the time that counts begins within a few hundred messages after that, or at
/// once if it is past.
///
/// ```
/// use ringway::workload::{MockClock, receive_stream};
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-receive-stream");
/// let queue = Queue::create("doc-receive-stream", &QueueOptions::new())?;
/// let mut receiving = queue.subscribe(&Subscribe::new())?;
/// let mut producer = queue.producer()?;
/// producer.send(&5_u64.to_le_bytes())?;
/// producer.close()?;
/// let received = receive_stream(&mut receiving, &MockClock::new(), 1, 0)?;
/// assert_eq!((received.received, received.gaps, received.next), (1, 5, 6));
/// # Queue::force_remove("doc-receive-stream")?;
/// # Ok::<(), ringway::Error>(())
/// ```
pub fn receive_stream<R: ReceivingEnd>(
    end: &mut R,
    clock: &impl Clock,
    batch: usize,
    from_ns: u64,
) -> Result<StreamReceived, R::Error> {
    let batch = batch.max(1);
    let mut others = Others::default();
    let WarmedUp { mut received, mut next, mut is_open } =
        warm_up(end, clock, batch, from_ns, &mut others)?;
    let before = received;
    let begin_ns = clock.now_ns();
    // From here on nobody looks at the clock, and what is counted stays in registers.
    while is_open {
        let taken = end.receive(batch, LOOK, |payload| {
            received += 1;
            next = others.next_after(number_of(payload), next);
        })?;
        is_open = taken != Taken::Closed;
    }
    let end_ns = clock.now_ns();
    let Others { duplicated, late, gaps, .. } = others;
    Ok(StreamReceived { received, duplicated, late, gaps, next, before, begin_ns, end_ns })
}

/// What a stream came to before the time that counts.
struct WarmedUp {
    received: u64,
    next: u64,
    is_open: bool,
}

/// Receives until the clock shows that moment. A loop of its own, which leaves the other one alone.
#[cold]
#[inline(never)]
fn warm_up<R: ReceivingEnd>(
    end: &mut R,
    clock: &impl Clock,
    batch: usize,
    from_ns: u64,
    others: &mut Others,
) -> Result<WarmedUp, R::Error> {
    let mut all = WarmedUp { received: 0, next: 0, is_open: true };
    while all.is_open && clock.now_ns() < from_ns {
        for _ in 0..BETWEEN_LOOKS.div_ceil(batch as u64) {
            let taken = end.receive(batch, LOOK, |payload| {
                all.received += 1;
                all.next = others.next_after(number_of(payload), all.next);
            })?;
            all.is_open = taken != Taken::Closed;
            if matches!(taken, Taken::Closed | Taken::Nothing) {
                break;
            }
        }
    }
    Ok(all)
}

/// The number of a message, all of whose payload is read.
#[inline]
fn number_of(payload: &[u8]) -> u64 {
    read_lines(payload);
    payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// Messages that are not the next one.
#[derive(Default)]
struct Others {
    duplicated: u64,
    late: u64,
    gaps: u64,
    left_out: LeftOut,
}

impl Others {
    /// The number after the greatest, this one included.
    #[inline(always)]
    fn next_after(&mut self, number: u64, next: u64) -> u64 {
        if number == next { number.saturating_add(1) } else { self.count(number, next) }
    }

    /// Away from the path that is timed.
    #[cold]
    #[inline(never)]
    fn count(&mut self, number: u64, next: u64) -> u64 {
        if number > next {
            self.gaps += number - next;
            self.left_out.add(next, number);
            return number.saturating_add(1);
        }
        if self.left_out.take(number) {
            self.gaps -= 1;
            self.late += 1;
        } else {
            self.duplicated += 1;
        }
        next
    }
}

/// Numbers that have not come yet though greater ones have: ranges by where they begin, with where
/// they end.
#[derive(Default)]
struct LeftOut(BTreeMap<u64, u64>);

impl LeftOut {
    /// Forgets it if there are as many as a transport that works never has.
    fn add(&mut self, begin: u64, end: u64) {
        const MOST: usize = 4096;
        if begin < end && self.0.len() < MOST {
            self.0.insert(begin, end);
        }
    }

    /// Whether it was one of them.
    fn take(&mut self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back();
        let Some((&begin, &end)) = before.filter(|(_, end)| number < **end) else { return false };
        self.0.remove(&begin);
        self.add(begin, number);
        self.add(number + 1, end);
        true
    }
}

/// Sends a message of so many bytes there and awaits its like from the other side, again and again,
/// once at least, until the clock shows `until_ns`; how long each took that began when it showed
/// `from_ns` or later, in nanoseconds. Whoever gets one [reads](read_lines) it. It waits for ever
/// for an answer that does not come, unless the transport is closed.
///
/// ```
/// use ringway::workload::{Clock, MachineClock, answer_round_trips, round_trips};
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-there");
/// # let _ = Queue::force_remove("doc-back");
/// let there = Queue::create("doc-there", &QueueOptions::new())?;
/// let back = Queue::create("doc-back", &QueueOptions::new())?;
/// let (mut question, mut answer) = (there.subscribe(&Subscribe::new())?, back.producer()?);
/// let mut answers = back.subscribe(&Subscribe::new())?;
/// let other = std::thread::spawn(move || answer_round_trips(&mut question, &mut answer));
/// let clock = MachineClock::spinning();
/// let until = clock.now_ns() + 1_000_000;
/// let times = round_trips(there.producer()?, &mut answers, &clock, 64, 0, until)?;
/// assert!(!times.is_empty());
/// other.join().expect("it answered")?;
/// # Queue::force_remove("doc-there")?;
/// # Queue::force_remove("doc-back")?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn round_trips<S: SendingEnd, R: ReceivingEnd>(
    mut there: S,
    back: &mut R,
    clock: &impl Clock,
    size: usize,
    from_ns: u64,
    until_ns: u64,
) -> Result<Vec<u64>, Box<dyn std::error::Error + Send + Sync>> {
    let payload = vec![7; size.max(1)];
    let mut times = Vec::new();
    let mut begin_ns = clock.now_ns();
    loop {
        there.send(&payload)?;
        loop {
            match back.receive(1, LOOK, read_lines)? {
                Taken::Messages(_) => break,
                Taken::Closed => return Ok(times),
                Taken::Nothing | Taken::Missed(_) => {}
            }
        }
        let end_ns = clock.now_ns();
        if begin_ns >= from_ns {
            times.push(end_ns.saturating_sub(begin_ns));
        }
        if end_ns >= until_ns {
            break;
        }
        begin_ns = end_ns;
    }
    there.close()?;
    Ok(times)
}

/// The other side of [`round_trips`]: sends a message of the same length for each that comes, until
/// there is the end. How many messages that were.
///
/// See [`round_trips`] for an example.
///
/// ```
/// use ringway::workload::answer_round_trips;
/// use ringway::{Queue, QueueOptions, Subscribe};
///
/// # let _ = Queue::force_remove("doc-answer");
/// let queue = Queue::create("doc-answer", &QueueOptions::new())?;
/// let mut end = queue.subscribe(&Subscribe::new())?;
/// queue.producer()?.close()?;
/// # let _ = Queue::force_remove("doc-answer-back");
/// let back = Queue::create("doc-answer-back", &QueueOptions::new())?;
/// assert_eq!(answer_round_trips(&mut end, &mut back.producer()?)?, 0);
/// # Queue::force_remove("doc-answer")?;
/// # Queue::force_remove("doc-answer-back")?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn answer_round_trips<S: SendingEnd, R: ReceivingEnd>(
    there: &mut R,
    back: &mut S,
) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let mut answered = 0;
    let mut payload = Vec::new();
    loop {
        let mut size = 0;
        let taken = there.receive(1, LOOK, |question| {
            read_lines(question);
            size = question.len();
        })?;
        match taken {
            Taken::Messages(_) => {
                payload.resize(size, 7);
                back.send(&payload)?;
                answered += 1;
            }
            Taken::Closed => return Ok(answered),
            Taken::Nothing | Taken::Missed(_) => {}
        }
    }
}
