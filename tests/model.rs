//! Random use of a queue, beside a plain model of what is to come of it.

#![allow(clippy::print_stderr, reason = "the helpers pass on what peers write")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner, contextualize_config};

use ringway::{
    Claim, Consumer, Error, Info, Lag, Message, Observer, Producer, Queue, QueueOptions, Received,
    Sent, Start, Subscribe, layout,
};

use support::{Name, holding_members, watchdog_of};

const NOW: Duration = Duration::ZERO;

type Outcome = Result<(), TestCaseError>;

/// How large a message is, whatever the capacity.
#[derive(Clone, Copy, Debug)]
enum Size {
    Bytes(usize),
    /// Of the largest.
    Percent(usize),
    /// So much smaller than the largest.
    Almost(usize),
    /// So much larger than the largest.
    Beyond(usize),
}

/// Which of the calls that do the same.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Waits, so it is called only where it must not come to that.
    Patient,
    Try,
    Timed,
}

/// What becomes of a claim or a batch.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Commit,
    Drop,
    Forget,
}

#[derive(Clone, Copy, Debug)]
enum Begin {
    Oldest,
    Newest,
    /// Percent of all there ever was.
    Sequence(u64),
    /// So far ahead of the next, with 0 the next itself.
    Ahead(u64),
    /// Percent of all there ever was.
    Last(u64),
    /// More than there ever was.
    LastOfMore(u64),
}

/// What a reader is asked for.
#[derive(Clone, Copy, Debug)]
enum Take {
    One(Form),
    /// A batch of so many at most, of which so many are looked at.
    Batch(Form, usize, usize),
}

#[derive(Clone, Debug)]
enum Step {
    Send { sizes: Vec<Size>, form: Form },
    Claim { size: Size, keep: Size, form: Form, ending: Ending },
    Batch { sizes: Vec<Size>, form: Form, ending: Ending },
    Extend { sizes: Vec<Size>, ending: Ending },
    Join { begin: Begin, lag: Lag },
    Observe { begin: Begin },
    Receive { reader: usize, takes: Vec<Take>, meanwhile: Vec<Size> },
    CatchUp,
    Leave { reader: usize },
    TakeOver,
    Resign,
    Close,
    Reopen,
    Inform,
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        6 => (0..100_usize).prop_map(Size::Bytes),
        6 => (0..100_usize).prop_map(Size::Percent),
        2 => (0..20_usize).prop_map(Size::Almost),
        1 => prop_oneof![1..20_usize, usize::MAX / 2..usize::MAX].prop_map(Size::Beyond),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<Size>> {
    prop_oneof![
        3 => prop::collection::vec(size(), 1..4),
        // Many of a kind.
        2 => (size(), 1..80_usize).prop_map(|(size, count)| vec![size; count]),
        1 => prop::collection::vec(size(), 10..40),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Patient), Just(Form::Try), Just(Form::Timed)]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![6 => Just(Ending::Commit), 2 => Just(Ending::Drop), 1 => Just(Ending::Forget)]
}

fn begin() -> impl Strategy<Value = Begin> {
    prop_oneof![
        Just(Begin::Oldest),
        Just(Begin::Newest),
        (0..=100_u64).prop_map(Begin::Sequence),
        prop_oneof![0..3_u64, Just(1 << 62)].prop_map(Begin::Ahead),
        (0..=100_u64).prop_map(Begin::Last),
        prop_oneof![0..3_u64, Just(1 << 62)].prop_map(Begin::LastOfMore),
    ]
}

fn take() -> impl Strategy<Value = Take> {
    prop_oneof![
        form().prop_map(Take::One),
        (form(), 0..40_usize, 0..40_usize)
            .prop_map(|(form, most, some)| { Take::Batch(form, most, some) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lag = prop_oneof![Just(Lag::Hold), Just(Lag::Skip)];
    let few = prop::collection::vec(size(), 0..8);
    prop_oneof![
        10 => (sizes(), form()).prop_map(|(sizes, form)| Step::Send { sizes, form }),
        4 => (size(), size(), form(), ending())
            .prop_map(|(size, keep, form, ending)| Step::Claim { size, keep, form, ending }),
        4 => (sizes(), form(), ending())
            .prop_map(|(sizes, form, ending)| Step::Batch { sizes, form, ending }),
        2 => (sizes(), ending()).prop_map(|(sizes, ending)| Step::Extend { sizes, ending }),
        4 => (begin(), lag).prop_map(|(begin, lag)| Step::Join { begin, lag }),
        2 => begin().prop_map(|begin| Step::Observe { begin }),
        20 => (any::<usize>(), prop::collection::vec(take(), 1..30), few)
            .prop_map(|(reader, takes, meanwhile)| Step::Receive { reader, takes, meanwhile }),
        4 => Just(Step::CatchUp),
        3 => any::<usize>().prop_map(|reader| Step::Leave { reader }),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Resign),
        1 => Just(Step::Close),
        1 => Just(Step::Reopen),
        4 => Just(Step::Inform),
    ]
}

/// What a message with this sequence and size holds: a piece of noise that begins elsewhere for
/// each, so that no two are mixed up, nor halves of two.
fn payload(sequence: u64, size: usize) -> &'static [u8] {
    const LARGEST: usize = 128 << 10;
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let words = (1..=2 * LARGEST as u64 / 8).map(|number| {
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
        });
        words.flat_map(u64::to_le_bytes).collect()
    });
    let mixed = (sequence ^ ((size as u64) << 40)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let begin = usize::try_from(mixed >> 47).expect("17 bits");
    &NOISE[begin..begin + size]
}

/// Bytes of a message's frame.
fn frame_size(size: usize) -> u64 {
    8 + size.next_multiple_of(8) as u64
}

/// A queue as it ought to be. Everything is in there for ever; the ring's limits are bounds on
/// what the queue may answer.
struct Model {
    capacity: u64,
    first: u64,
    sizes: Vec<usize>,
    /// Bytes of the frames before each message, and of all.
    frames_before: Vec<u64>,
    /// For each holding consumer the first message that it needs.
    holds: BTreeMap<u32, u64>,
    closed: bool,
    /// A forgotten batch costs entries of the index.
    forgot: bool,
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.sizes.len() as u64
    }

    fn index(&self, sequence: u64) -> usize {
        usize::try_from(sequence - self.first).expect("a small number")
    }

    /// Bytes of frames from a message to the end, without padding.
    fn bytes_from(&self, sequence: u64) -> u64 {
        self.frames_before[self.sizes.len()] - self.frames_before[self.index(sequence)]
    }

    fn append(&mut self, size: usize) {
        let before = self.frames_before[self.sizes.len()];
        self.sizes.push(size);
        self.frames_before.push(before + frame_size(size));
    }

    /// The most padding that a stretch shorter than the ring can have.
    fn padding_max(&self) -> u64 {
        self.capacity / 8 + 16
    }

    /// What the holding consumer that is the furthest behind still needs.
    fn held(&self) -> u64 {
        self.holds.values().map(|&sequence| self.bytes_from(sequence)).max().unwrap_or(0)
    }

    /// Whether there must be room for a message behind so many bytes of a batch: a padding, the
    /// largest frame and a sector come on top of what is held.
    fn has_room(&self, staged: u64) -> bool {
        self.holds.is_empty() || self.held() + staged <= self.capacity * 5 / 8
    }

    fn check_room(&self, staged: u64) -> Outcome {
        prop_assert!(!self.has_room(staged), "full, with {} bytes held", self.held());
        Ok(())
    }

    /// Insists that nothing that is held was overwritten.
    fn check_held(&self, staged: u64) -> Outcome {
        prop_assert!(
            self.holds.is_empty() || self.held() + staged + 8 <= self.capacity,
            "{} bytes were held before {staged} more",
            self.held()
        );
        Ok(())
    }

    /// Fills a claim of `size` bytes, ends it, and expects what comes of that.
    fn fill(&mut self, mut claim: Claim<'_>, size: usize, keep: usize, ending: Ending) -> Outcome {
        prop_assert_eq!(claim.len(), size);
        // All of it can be written, also what is given back.
        claim.fill(0xa5);
        claim.truncate(keep);
        let size = size.min(keep);
        prop_assert_eq!(claim.len(), size);
        claim.copy_from_slice(payload(self.next(), size));
        match ending {
            Ending::Commit => {
                prop_assert_eq!(claim.commit().expect("a commit"), self.next());
                self.append(size);
                self.check_held(0)?;
            }
            // A claim does nothing when it is dropped.
            Ending::Drop | Ending::Forget => {}
        }
        Ok(())
    }

    /// Insists that `oldest` can be the oldest message that is whole: no more is gone than has to
    /// be, for the largest batch and the gaps between entries of the index.
    fn check_oldest(&self, oldest: u64) -> Outcome {
        prop_assert!((self.first..=self.next()).contains(&oldest));
        let kept = self.bytes_from(oldest);
        if self.bytes_from(self.first) <= self.capacity * 3 / 8 {
            prop_assert_eq!(oldest, self.first, "gone for no reason");
        } else if !self.forgot {
            prop_assert!(kept >= self.capacity / 8, "no more than {kept} bytes are left");
        }
        prop_assert!(kept <= self.capacity);
        Ok(())
    }
}

enum End {
    Consumer(Consumer, Lag),
    Observer(Observer),
}

/// A reader, and what it ought to be told.
struct Reader {
    end: End,
    /// What comes next.
    next: u64,
    /// What came next when it was last asked for something, as the others see it.
    shown: u64,
    /// What it asked for at the beginning, if that was gone by then.
    asked: Option<u64>,
    missed: u64,
}

impl Reader {
    fn is_holding(&self) -> bool {
        matches!(self.end, End::Consumer(_, Lag::Hold))
    }

    fn member(&self) -> Option<u32> {
        match &self.end {
            End::Consumer(consumer, _) => Some(consumer.member()),
            End::Observer(_) => None,
        }
    }

    fn next_sequence(&self) -> u64 {
        match &self.end {
            End::Consumer(consumer, _) => consumer.next_sequence(),
            End::Observer(observer) => observer.next_sequence(),
        }
    }
}

/// What was received, as far as it is to be looked at later: the sequences of the messages that
/// are lent, with their payloads.
type Lent<'a> = Received<Vec<(u64, &'a [u8])>>;

fn lend<'a>(messages: impl Iterator<Item = Message<'a>>) -> Vec<(u64, &'a [u8])> {
    messages.map(|message| (message.sequence(), message.payload())).collect()
}

/// The same calls on either kind of reader. `sure`: there is something, so that nobody waits.
fn receive(end: &mut End, take: Take, sure: bool) -> Result<Lent<'_>, Error> {
    Ok(match (end, take) {
        (End::Consumer(consumer, _), Take::One(form)) => match form {
            Form::Patient if sure => consumer.receive()?,
            Form::Timed => consumer.receive_timeout(NOW)?,
            _ => consumer.try_receive()?,
        }
        .map(|message| lend([message].into_iter())),
        (End::Consumer(consumer, _), Take::Batch(form, most, some)) => match form {
            Form::Patient if sure => consumer.receive_batch(most)?,
            Form::Timed => consumer.receive_batch_timeout(most, NOW)?,
            _ => consumer.try_receive_batch(most)?,
        }
        .map(|batch| lend(batch.take(some))),
        (End::Observer(observer), take) => match take {
            Take::Batch(Form::Patient, most, some) if sure => {
                return Ok(observer.receive_batch(most)?.map(|batch| lend(batch.take(some))));
            }
            Take::One(Form::Patient) if sure => observer.receive()?,
            Take::One(Form::Timed) | Take::Batch(Form::Timed, ..) => {
                observer.receive_timeout(NOW)?
            }
            _ => observer.try_receive()?,
        }
        .map(|message| lend([message].into_iter())),
    })
}

/// How often things came to pass that only some plays have.
#[derive(Default)]
struct Seen(RefCell<BTreeMap<&'static str, u64>>);

impl Seen {
    fn note(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }
}

struct Play<'a> {
    model: Model,
    readers: Vec<Reader>,
    producer: Option<Producer>,
    epoch: u64,
    members: u32,
    queue: Queue,
    name: Name,
    seen: &'a Seen,
}

impl<'a> Play<'a> {
    fn new(capacity: u64, members: u32, first: u64, seen: &'a Seen) -> Self {
        let name = Name::new("model");
        let options = QueueOptions::new().capacity(capacity).members(members).first_sequence(first);
        let queue = Queue::create(&name, &options).expect("a queue");
        let model = Model {
            capacity,
            first,
            sizes: Vec::new(),
            frames_before: vec![0],
            holds: BTreeMap::new(),
            closed: false,
            forgot: false,
        };
        Self { model, readers: Vec::new(), producer: None, epoch: 0, members, queue, name, seen }
    }

    fn size(&self, size: Size) -> usize {
        let largest = self.queue.message_size_max();
        match size {
            Size::Bytes(bytes) => bytes,
            Size::Percent(percent) => largest * percent / 100,
            Size::Almost(less) => largest - less,
            Size::Beyond(more) => largest.saturating_add(more),
        }
    }

    fn act(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Send { sizes, form } => sizes.iter().try_for_each(|&size| self.send(size, *form)),
            &Step::Claim { size, keep, form, ending } => self.claim(size, keep, form, ending),
            Step::Batch { sizes, form, ending } => self.batch(sizes, *form, *ending),
            Step::Extend { sizes, ending } => self.extend(sizes, *ending),
            &Step::Join { begin, lag } => self.join(begin, Some(lag)),
            &Step::Observe { begin } => self.join(begin, None),
            Step::Receive { reader, takes, meanwhile } => self.receive(*reader, takes, meanwhile),
            Step::CatchUp => self.catch_up(),
            Step::Leave { reader } => {
                self.leave(*reader);
                Ok(())
            }
            Step::TakeOver => self.take_over(),
            Step::Resign => {
                self.producer = None;
                Ok(())
            }
            Step::Close => self.close(),
            Step::Reopen => {
                self.queue = Queue::open(&self.name).expect("the queue");
                Ok(())
            }
            Step::Inform => self.inform(),
        }
    }

    fn take_over(&mut self) -> Outcome {
        match (&self.producer, self.queue.producer()) {
            (Some(_), Err(Error::ProducerAlive { pid, .. })) => {
                prop_assert_eq!(pid, std::process::id());
                self.seen.note("producer alive");
            }
            (None, Ok(producer)) => {
                prop_assert_eq!(producer.next_sequence(), self.model.next());
                prop_assert!(producer.held_by().is_empty());
                self.producer = Some(producer);
                self.epoch += 1;
                self.model.closed = false;
            }
            (_, result) => prop_assert!(false, "{result:?}"),
        }
        Ok(())
    }

    /// Takes the producer's place if nobody has it.
    fn ensure_producer(&mut self) -> Outcome {
        if self.producer.is_none() { self.take_over() } else { Ok(()) }
    }

    fn close(&mut self) -> Outcome {
        self.ensure_producer()?;
        self.producer.take().expect("a producer").close().expect("a close");
        self.model.closed = true;
        Ok(())
    }

    /// Insists that the producer tells right who holds it, or held it when it last asked for room.
    fn check_holders(&self, held: bool) -> Outcome {
        let by = holding_members(self.producer.as_ref().expect("a producer"));
        prop_assert!(!held || !by.is_empty());
        prop_assert!(by.iter().all(|member| self.model.holds.contains_key(member)));
        // Of two with the same next message, one may stand before a padding and one behind it.
        let last = self.model.holds.values().min();
        prop_assert!(!held || by.iter().any(|member| self.model.holds.get(member) == last));
        Ok(())
    }

    fn send(&mut self, size: Size, form: Form) -> Outcome {
        self.ensure_producer()?;
        let size = self.size(size);
        let producer = self.producer.as_mut().expect("a producer");
        let next = self.model.next();
        let largest = producer.message_size_max();
        let too_large = size > largest;
        let noise = if too_large { &vec![0; largest + 1] } else { payload(next, size) };
        let sent = match form {
            Form::Patient if too_large || self.model.has_room(0) => {
                producer.send(noise).map(Sent::Sequence)
            }
            Form::Timed => producer.send_timeout(noise, NOW),
            _ => producer.try_send(noise),
        };
        match sent {
            Err(Error::MessageTooLarge { size, limit, .. }) => {
                prop_assert!(too_large);
                prop_assert_eq!((size, limit), (largest + 1, self.model.capacity / 8));
                self.seen.note("too large");
                return Ok(());
            }
            Ok(Sent::Sequence(sequence)) => {
                prop_assert_eq!(sequence, next);
                prop_assert!(!too_large);
                self.model.append(size);
                self.model.check_held(0)?;
                self.check_holders(false)?;
            }
            Ok(full @ (Sent::Full | Sent::TimedOut)) => {
                prop_assert_eq!(full == Sent::TimedOut, matches!(form, Form::Timed));
                self.seen.note("full");
                self.model.check_room(0)?;
                self.check_holders(true)?;
            }
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        let producer = self.producer.as_ref().expect("a producer");
        prop_assert_eq!(producer.next_sequence(), self.model.next());
        Ok(())
    }

    fn claim(&mut self, size: Size, keep: Size, form: Form, ending: Ending) -> Outcome {
        self.ensure_producer()?;
        let (size, keep) = (self.size(size), self.size(keep));
        let Self { model, producer, .. } = self;
        let producer = producer.as_mut().expect("a producer");
        let too_large = size > producer.message_size_max();
        let held = {
            let claimed = match form {
                Form::Patient if too_large || model.has_room(0) => producer.claim(size).map(Some),
                Form::Timed => producer.claim_timeout(size, NOW),
                _ => producer.try_claim(size),
            };
            match claimed {
                Err(Error::MessageTooLarge { size: found, .. }) => {
                    prop_assert!(too_large);
                    prop_assert_eq!(found, size);
                    return Ok(());
                }
                Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
                Ok(None) => {
                    model.check_room(0)?;
                    true
                }
                Ok(Some(claim)) => {
                    prop_assert!(!too_large);
                    model.fill(claim, size, keep, ending)?;
                    false
                }
            }
        };
        if held {
            self.seen.note("no claim");
        }
        self.check_holders(held)
    }

    fn batch(&mut self, sizes: &[Size], form: Form, ending: Ending) -> Outcome {
        self.ensure_producer()?;
        let sizes: Vec<_> = sizes.iter().map(|&size| self.size(size)).collect();
        let Self { model, producer, queue, seen, .. } = self;
        let first = model.next();
        let largest = queue.message_size_max();
        let mut batch = producer.as_mut().expect("a producer").batch();
        let (mut pushed, mut staged) = (Vec::new(), 0);
        for size in sizes {
            let sequence = first + pushed.len() as u64;
            let too_large = size > largest;
            let noise = if too_large { &vec![0; largest + 1] } else { payload(sequence, size) };
            let result = match form {
                Form::Patient if too_large || model.has_room(staged) => {
                    batch.push(noise).map(|()| true)
                }
                _ => batch.try_push(noise),
            };
            let bytes = frame_size(noise.len());
            match result {
                Ok(true) => {
                    prop_assert!(!too_large);
                    pushed.push(size);
                    staged += bytes;
                    // A quarter of the ring, and what was left of a sector.
                    prop_assert!(staged <= model.capacity * 5 / 16);
                    model.check_held(staged)?;
                }
                Ok(false) => {
                    model.check_room(staged)?;
                    seen.note("no room in a batch");
                }
                Err(Error::MessageTooLarge { .. }) => prop_assert!(too_large),
                Err(Error::BatchFull { limit, .. }) => {
                    prop_assert_eq!(limit, model.capacity / 4);
                    seen.note("batch full");
                    prop_assert!(!too_large);
                    prop_assert!(staged + bytes + model.padding_max() > limit, "{staged}");
                }
                Err(error) => prop_assert!(false, "{error:?}"),
            }
            prop_assert_eq!(batch.len(), pushed.len() as u64);
        }
        prop_assert_eq!(batch.is_empty(), pushed.is_empty());
        prop_assert_eq!(queue.info().expect("a whole queue").next_sequence, first);
        match ending {
            Ending::Commit => {
                let count = pushed.len() as u64;
                prop_assert_eq!(batch.commit().expect("a commit"), first..first + count);
                for size in pushed {
                    model.append(size);
                }
                model.check_held(0)?;
            }
            Ending::Drop => drop(batch),
            Ending::Forget => {
                std::mem::forget(batch);
                model.forgot = true;
            }
        }
        Ok(())
    }

    /// A batch of many messages by one call, which must not have to wait.
    fn extend(&mut self, sizes: &[Size], ending: Ending) -> Outcome {
        self.ensure_producer()?;
        let sizes: Vec<_> = sizes.iter().map(|&size| self.size(size)).collect();
        let Self { model, producer, queue, .. } = self;
        // So much more than the batch can hold that there is always room.
        if !model.has_room(model.capacity * 5 / 16) {
            return Ok(());
        }
        let first = model.next();
        let largest = queue.message_size_max();
        let too_much = vec![0; largest + 1];
        let mut batch = producer.as_mut().expect("a producer").batch();
        let payloads = sizes.iter().zip(first..).map(|(&size, sequence)| {
            if size > largest { &too_much[..] } else { payload(sequence, size) }
        });
        let result = batch.extend(payloads);
        let count = usize::try_from(batch.len()).expect("a small number");
        match result {
            Ok(()) => prop_assert_eq!(count, sizes.len()),
            Err(Error::MessageTooLarge { .. }) => prop_assert!(sizes[count] > largest),
            Err(Error::BatchFull { limit, .. }) => {
                let bytes: u64 = sizes[..=count].iter().map(|&size| frame_size(size)).sum();
                prop_assert!(bytes + model.padding_max() > limit);
            }
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        prop_assert!(sizes[..count].iter().all(|&size| size <= largest));
        if let Ending::Commit = ending {
            prop_assert_eq!(batch.commit().expect("a commit"), first..first + count as u64);
            sizes[..count].iter().for_each(|&size| model.append(size));
            model.check_held(0)?;
        }
        Ok(())
    }

    fn info(&self) -> Info {
        self.queue.info().expect("a whole queue")
    }

    /// Joins, or observes if there is no lag.
    fn join(&mut self, begin: Begin, lag: Option<Lag>) -> Outcome {
        let (first, next) = (self.model.first, self.model.next());
        let part = |percent| (next - first) * percent / 100;
        let start = match begin {
            Begin::Oldest => Start::Oldest,
            Begin::Newest => Start::Newest,
            Begin::Sequence(percent) => Start::Sequence(first + part(percent)),
            Begin::Ahead(count) => Start::Sequence(next + count),
            Begin::Last(percent) => Start::Last(part(percent)),
            Begin::LastOfMore(more) => Start::Last(next + more),
        };
        let oldest = self.info().oldest_sequence;
        self.model.check_oldest(oldest)?;
        let due = match start {
            Start::Oldest => oldest,
            Start::Newest => next,
            Start::Sequence(sequence) => sequence.max(oldest),
            Start::Last(count) => next.saturating_sub(count).max(oldest),
            other => unreachable!("{other:?} without a journal"),
        };
        let asked = match start {
            Start::Sequence(sequence) if sequence < oldest => Some(sequence),
            _ => None,
        };
        let full = self.readers.iter().filter_map(Reader::member).count() as u64
            == u64::from(self.members);
        let joined = match lag {
            None => self.queue.observe(start).map(End::Observer),
            Some(lag) => {
                let options = Subscribe::new().from(start).on_lag(lag);
                self.queue.subscribe(&options).map(|consumer| End::Consumer(consumer, lag))
            }
        };
        let end = match joined {
            Err(Error::MembersFull { limit, .. }) => {
                prop_assert!(full && lag.is_some());
                prop_assert_eq!(limit, self.members);
                self.seen.note("members full");
                return Ok(());
            }
            Err(Error::SequenceAhead { asked, next: found, .. }) => {
                prop_assert_eq!((start, found), (Start::Sequence(asked), next));
                prop_assert!(asked > next);
                self.seen.note("ahead");
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
            Ok(end) => end,
        };
        prop_assert!(!full || lag.is_none());
        prop_assert!(due <= next, "it began ahead");
        let reader = Reader { end, next: due, shown: due, asked, missed: 0 };
        prop_assert_eq!(reader.next_sequence(), due, "from {:?}", start);
        if let (true, Some(member)) = (reader.is_holding(), reader.member()) {
            prop_assert_eq!(self.model.holds.insert(member, due), None);
        }
        self.readers.push(reader);
        Ok(())
    }

    fn leave(&mut self, reader: usize) {
        if self.readers.is_empty() {
            return;
        }
        let reader = self.readers.remove(reader % self.readers.len());
        if let Some(member) = reader.member() {
            self.model.holds.remove(&member);
        }
    }

    /// Has a reader receive; after the last call the producer sends more, and what is lent has to
    /// stay as it is.
    fn receive(&mut self, reader: usize, takes: &[Take], meanwhile: &[Size]) -> Outcome {
        if self.readers.is_empty() {
            return Ok(());
        }
        let index = reader % self.readers.len();
        let mut reader = self.readers.remove(index);
        for (number, &take) in takes.iter().enumerate() {
            let is_last = number + 1 == takes.len();
            self.take(&mut reader, take, if is_last { meanwhile } else { &[] })?;
        }
        self.readers.insert(index, reader);
        Ok(())
    }

    fn take(&mut self, reader: &mut Reader, take: Take, meanwhile: &[Size]) -> Outcome {
        let next = self.model.next();
        reader.shown = reader.next;
        if let (true, Some(member)) = (reader.is_holding(), reader.member()) {
            self.model.holds.insert(member, reader.shown);
        }
        let is_caught_up = reader.next == next && reader.asked.is_none();
        let sure = !is_caught_up || self.model.closed;
        let holding = reader.is_holding();
        match receive(&mut reader.end, take, sure)
            .map_err(|error| TestCaseError::fail(format!("a receive has failed: {error:?}")))?
        {
            Received::Message(lent) => {
                prop_assert!(!is_caught_up && reader.asked.is_none());
                let most = match take {
                    Take::One(_) => 1,
                    Take::Batch(_, most, some) => most.min(some).max(1),
                };
                prop_assert!(lent.len() <= most);
                self.check_payloads(reader.next, &lent)?;
                meanwhile.iter().try_for_each(|&size| self.send(size, Form::Try))?;
                self.check_payloads(reader.next, &lent)?;
                // The first is received, also if nobody has looked at it.
                if lent.len() > 1 {
                    self.seen.note("batch received");
                }
                reader.next += lent.len().max(1) as u64;
                prop_assert!(reader.next <= next);
            }
            Received::Missed { from, to } => {
                if let Some(asked) = reader.asked.take() {
                    prop_assert_eq!((from, to), (asked, reader.next));
                    self.seen.note("missed at the beginning");
                } else {
                    prop_assert!(!holding, "a holding consumer misses {from}..{to}");
                    prop_assert_eq!(from, reader.next);
                    self.seen.note("missed");
                    prop_assert!(from < to && to <= next);
                    let behind = self.model.bytes_from(from);
                    prop_assert!(behind > self.model.capacity * 3 / 8, "missed for no reason");
                    self.model.check_oldest(to)?;
                    reader.next = to;
                }
                reader.missed += to - from;
            }
            Received::Closed => {
                prop_assert!(is_caught_up && self.model.closed);
                self.seen.note("closed");
            }
            Received::Empty => {
                prop_assert!(is_caught_up && !self.model.closed);
                self.seen.note("empty");
            }
            Received::TimedOut => {
                self.seen.note("timed out");
                prop_assert!(is_caught_up && !self.model.closed);
                prop_assert!(matches!(take, Take::One(Form::Timed) | Take::Batch(Form::Timed, ..)));
            }
        }
        prop_assert_eq!(reader.next_sequence(), reader.next);
        Ok(())
    }

    fn check_payloads(&self, first: u64, lent: &[(u64, &[u8])]) -> Outcome {
        for (&(sequence, found), due) in lent.iter().zip(first..) {
            prop_assert_eq!(sequence, due);
            let size = self.model.sizes[self.model.index(sequence)];
            prop_assert_eq!(found.len(), size, "of message {}", sequence);
            prop_assert!(found == payload(sequence, size), "message {sequence} is another");
            prop_assert_eq!(found.as_ptr().addr() % 8, 0);
        }
        Ok(())
    }

    /// All readers receive all there is.
    fn catch_up(&mut self) -> Outcome {
        for index in 0..self.readers.len() {
            let mut reader = self.readers.remove(index);
            while reader.next < self.model.next() || reader.asked.is_some() {
                self.take(&mut reader, Take::One(Form::Patient), &[])?;
            }
            self.take(&mut reader, Take::One(Form::Try), &[])?;
            self.readers.insert(index, reader);
        }
        Ok(())
    }

    fn inform(&self) -> Outcome {
        let (info, model) = (self.info(), &self.model);
        let next = model.next();
        prop_assert_eq!((info.capacity, info.members_max), (model.capacity, self.members));
        prop_assert_eq!((info.next_sequence, info.closed), (next, model.closed));
        prop_assert_eq!(info.floor, info.licence.saturating_sub(info.capacity));
        prop_assert!(info.position <= info.licence && info.floor <= info.position);
        prop_assert!(info.position >= model.bytes_from(model.first));
        prop_assert!(!info.removed);
        model.check_oldest(info.oldest_sequence)?;
        let producer = info.producer.map(|producer| (producer.alive, producer.epoch));
        let due = (self.epoch > 0).then_some((self.producer.is_some(), self.epoch));
        prop_assert_eq!(producer, due);

        let mut due: Vec<_> =
            self.readers.iter().filter(|reader| reader.member().is_some()).collect();
        due.sort_by_key(|reader| reader.member());
        prop_assert_eq!(info.consumers.len(), due.len());
        for (consumer, reader) in info.consumers.iter().zip(due) {
            prop_assert_eq!(Some(consumer.member), reader.member());
            prop_assert!(consumer.alive && consumer.pid == std::process::id());
            prop_assert_eq!(consumer.lag == Lag::Hold, reader.is_holding());
            prop_assert_eq!((consumer.missed, consumer.late_wakes), (reader.missed, 0));
            let lag = next - reader.shown;
            let unknown = consumer.lag_messages.is_none() && consumer.position < info.floor;
            let unknown = unknown && consumer.lag == Lag::Skip;
            if unknown {
                self.seen.note("lag unknown");
            }
            prop_assert!(unknown || consumer.lag_messages == Some(lag), "{consumer:?}, due {lag}");
            let bytes = model.bytes_from(reader.shown);
            prop_assert!(consumer.lag_bytes >= bytes);
            prop_assert!(!reader.is_holding() || consumer.lag_bytes <= bytes + model.padding_max());
            prop_assert!(!consumer.holds_producer || reader.is_holding());
        }
        Ok(())
    }

    /// Everybody receives the rest and goes, and nobody is left.
    fn end(mut self) -> Outcome {
        self.catch_up()?;
        self.inform()?;
        self.close()?;
        self.catch_up()?;
        self.inform()?;
        self.readers.clear();
        self.model.holds.clear();
        self.inform()?;
        Queue::remove(&self.name).map_err(|error| TestCaseError::fail(error.to_string()))
    }
}

#[test]
fn a_queue_does_what_a_list_of_messages_would() {
    const CASES: u32 = 400;
    // A runner of one's own does not look at `PROPTEST_CASES` by itself.
    let config = contextualize_config(Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    });
    let is_short = config.cases < CASES;
    let _watchdog = watchdog_of(Duration::from_secs(240) * config.cases.div_ceil(CASES).max(1));
    let first = prop::sample::select(vec![0, 3, (1 << 28) - 30, (1 << 32) - 30, (1 << 61) - 1]);
    let queue = (16..=20_u32, 1..=4_u32, first);
    let steps = prop::collection::vec(step(), 1..120);
    let seen = Seen::default();
    let result = TestRunner::new(config).run(&(queue, steps), |(queue, steps)| {
        let (capacity_log2, members, first) = queue;
        let mut play = Play::new(1 << capacity_log2, members, first, &seen);
        steps.iter().try_for_each(|step| play.act(step))?;
        play.end()
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // The play was not all about nothing, unless it was to be shorter.
    let seen = seen.0.into_inner();
    for what in [
        "ahead",
        "batch full",
        "batch received",
        "closed",
        "empty",
        "full",
        "lag unknown",
        "members full",
        "missed",
        "missed at the beginning",
        "no claim",
        "no room in a batch",
        "producer alive",
        "timed out",
        "too large",
    ] {
        assert!(is_short || seen.contains_key(what), "nobody has seen '{what}': {seen:?}");
    }
}

/// The first word of a message's frame.
fn commit_word(sequence: u64, size: usize) -> u64 {
    let parts = [("sequence", sequence), ("kind", 1), ("length", size as u64)];
    let bits = layout::commit_word_bits().iter();
    bits.fold(0, |word, &(name, shift, count, _)| {
        let part = parts.iter().find(|(part, _)| *part == name);
        word | (part.map_or(0, |(_, value)| value & ((1 << count) - 1)) << shift)
    })
}

/// Where an old message stood there is a claim that is open, and in it what looks like that very
/// message. Only the licence says that it is not.
#[test]
fn what_an_open_claim_or_batch_has_overwritten_is_missed() {
    const SIZE: usize = 24;
    let name = Name::new("open-claim");
    let capacity = 64 << 10;
    let queue = Queue::create(&name, &QueueOptions::new().capacity(capacity)).unwrap();
    // What does not fit at the end of a lap is padding, so that all laps are the same.
    let lap = capacity / frame_size(SIZE) - 1;
    for claims in [true, false] {
        let mut producer = queue.producer().unwrap();
        let send = |producer: &mut Producer, count| {
            for _ in 0..count {
                producer.send(payload(producer.next_sequence(), SIZE)).unwrap();
            }
        };
        // To the start of a lap.
        let sent = producer.next_sequence();
        send(&mut producer, sent.next_multiple_of(lap) - sent);
        let first = producer.next_sequence();
        let skip = Subscribe::new().on_lag(Lag::Skip);
        let mut readers = [
            End::Consumer(queue.subscribe(&skip).unwrap(), Lag::Skip),
            End::Consumer(queue.subscribe(&skip).unwrap(), Lag::Skip),
            End::Observer(queue.observe(Start::Newest).unwrap()),
            End::Observer(queue.observe(Start::Newest).unwrap()),
        ];
        // Each receives two, and knows that there are more.
        send(&mut producer, 4);
        for reader in &mut readers {
            for sequence in [first, first + 1] {
                let received = receive(reader, Take::One(Form::Try), true).unwrap();
                assert_eq!(received, Received::Message(vec![(sequence, payload(sequence, SIZE))]));
            }
        }
        send(&mut producer, lap + 1 - 4);

        // From behind the first message of this lap, over what was the third of the last one.
        let mut forged = [0xa5; SIZE + 8 + SIZE];
        forged[SIZE..SIZE + 8].copy_from_slice(&commit_word(first + 2, SIZE).to_le_bytes());
        let mut batch;
        if claims {
            let mut claim = producer.claim(forged.len()).unwrap();
            claim.copy_from_slice(&forged);
        } else {
            batch = producer.batch();
            batch.push(&forged).unwrap();
        }
        for (number, reader) in readers.iter_mut().enumerate() {
            let take = match number % 2 {
                0 => Take::One(Form::Try),
                _ => Take::Batch(Form::Patient, 8, 8),
            };
            let received = receive(reader, take, true).unwrap();
            let missed = matches!(received, Received::Missed { from, .. } if from == first + 2);
            assert!(missed, "reader {number}: {received:?}");
        }
    }
}
