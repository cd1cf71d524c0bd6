//! Random use of a named subscription by its members, beside a plain model of what is to come of it.
//!
//! Without leases: with them a clock would say whose a message is.

#![allow(clippy::print_stderr, reason = "the helpers pass on what peers write")]

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner, contextualize_config};

use ringway::{
    AckMode, Acked, Acker, Consumer, Error, Journal, Lag, Nacked, Producer, Queue, QueueOptions,
    Received, Sent, Start, Subscribe,
};

use support::{Directory, Name, watchdog_of};

const WORKERS: &str = "workers";
/// Messages wait for less than three milliseconds. Who has got nothing in so many rounds, each of a
/// millisecond at least, and has nothing in hand, gets nothing any more.
const IDLE_ROUNDS_MAX: u32 = 2000;

type Outcome = Result<(), TestCaseError>;

fn failed(doing: &str) -> impl Fn(Error) -> TestCaseError {
    move |error| TestCaseError::fail(format!("{doing}: {error:?}"))
}

/// What the queue and the subscription are made with.
#[derive(Clone, Debug)]
struct Setting {
    lag: Lag,
    keyed: bool,
    deliveries_max: Option<u32>,
    journal: bool,
    members: u32,
}

/// What a member does with a message.
#[derive(Clone, Copy, Debug)]
enum Deal {
    Keep,
    Ack,
    /// With all that it has before it.
    AckThrough,
    Nack,
    NackAfter(Duration),
    Reject,
}

#[derive(Clone, Debug)]
enum Step {
    /// So many of this size, in percent of the largest, with a key of the four that there are.
    Send {
        count: usize,
        percent: usize,
        key: Option<u8>,
    },
    Join {
        mode: AckMode,
        prefetch: u32,
    },
    Leave {
        member: usize,
        in_order: bool,
    },
    /// One, or some of a batch of so many at most; and what is done with each.
    Receive {
        member: usize,
        batch: Option<usize>,
        deals: Vec<Deal>,
    },
    /// Of what it has in hand, or of any message at all, itself or by an acker.
    Settle {
        member: usize,
        in_hand: bool,
        which: usize,
        deal: Deal,
        by_acker: bool,
    },
    Seek(Start),
    /// The queue is removed, and made anew from its journal.
    Renew {
        by_force: bool,
        capacity_log2: u32,
    },
    Inform,
}

fn setting() -> impl Strategy<Value = Setting> {
    let lag = prop_oneof![2 => Just(Lag::Hold), 1 => Just(Lag::Skip), 1 => Just(Lag::Spill)];
    let limit = prop::option::of(1..5_u32);
    (lag, any::<bool>(), limit, any::<bool>(), 1..6_u32).prop_map(
        |(lag, keyed, deliveries_max, journal, members)| Setting {
            lag,
            keyed,
            deliveries_max,
            journal,
            members,
        },
    )
}

fn deal() -> impl Strategy<Value = Deal> {
    prop_oneof![
        6 => Just(Deal::Keep),
        3 => Just(Deal::Ack),
        1 => Just(Deal::AckThrough),
        2 => Just(Deal::Nack),
        1 => (0..3000_u64).prop_map(|us| Deal::NackAfter(Duration::from_micros(us))),
        1 => Just(Deal::Reject),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![2 => 0..6_usize, 1 => 0..100_usize];
    let percent = prop_oneof![4 => Just(0_usize), 1 => 0..=100_usize];
    let key = prop::option::of(0..4_u8);
    let mode = prop_oneof![Just(AckMode::Manual), Just(AckMode::Auto)];
    let prefetch = prop::sample::select(vec![1, 2, 3, 31, 32, 33, 64, 200, 1024]);
    let start = prop_oneof![
        Just(Start::Oldest),
        Just(Start::Newest),
        (0..100_u64).prop_map(Start::Last),
        (0..100_u64).prop_map(Start::Sequence),
    ];
    prop_oneof![
        6 => (count, percent, key).prop_map(|(count, percent, key)| Step::Send { count, percent, key }),
        4 => (mode, prefetch).prop_map(|(mode, prefetch)| Step::Join { mode, prefetch }),
        2 => any::<(usize, bool)>().prop_map(|(member, in_order)| Step::Leave { member, in_order }),
        24 => (any::<usize>(), prop::option::of(1..40_usize), prop::collection::vec(deal(), 1..40))
            .prop_map(|(member, batch, deals)| Step::Receive { member, batch, deals }),
        8 => (any::<(usize, bool, usize, bool)>(), deal()).prop_map(
            |((member, in_hand, which, by_acker), deal)| {
                Step::Settle { member, in_hand, which, deal, by_acker }
            },
        ),
        2 => start.prop_map(Step::Seek),
        1 => (any::<bool>(), 16..19_u32)
            .prop_map(|(by_force, capacity_log2)| Step::Renew { by_force, capacity_log2 }),
        3 => Just(Step::Inform),
    ]
}

/// What a message with this sequence and size holds: no other one does.
fn payload(sequence: u64, size: usize) -> Vec<u8> {
    let bytes = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    bytes.iter().copied().cycle().take(size).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Acked,
    Letter,
    /// Told as missed, or passed over by whoever moved the subscription.
    Missed,
}

#[derive(Clone, Debug)]
struct Sending {
    size: usize,
    key: Option<u8>,
    fate: Fate,
    deliveries: u32,
    /// Who has it in hand.
    holder: Option<usize>,
    /// When it may come again at the earliest.
    not_before: Option<Instant>,
}

/// What `info` counts of the subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    delivered: u64,
    redelivered: u64,
    acked: u64,
    letters: u64,
    missed: u64,
}

struct Member {
    consumer: Consumer,
    mode: AckMode,
    prefetch: u32,
    acker: Option<Acker>,
    in_hand: BTreeSet<u64>,
}

/// How often things came to pass that only some plays have.
#[derive(Default)]
struct Seen(RefCell<BTreeMap<&'static str, u64>>);

impl Seen {
    fn note(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }
}

/// What is to come of all that was sent.
struct Model {
    setting: Setting,
    sent: Vec<Sending>,
    counts: Counts,
    /// A queue that is made anew counts from 0 on, and nobody knows what of that it had counted.
    counts_hold: bool,
    /// Whether what was settled may have come again.
    was_moved: bool,
}

impl Model {
    fn next(&self) -> u64 {
        self.sent.len() as u64
    }

    fn at(&mut self, sequence: u64) -> &mut Sending {
        &mut self.sent[usize::try_from(sequence).expect("a small number")]
    }

    fn open(&self) -> impl Iterator<Item = u64> {
        let open = (0..).zip(&self.sent).filter(|(_, sending)| sending.fate == Fate::Open);
        open.map(|(sequence, _)| sequence)
    }

    fn deliver(&mut self, member: usize, sequence: u64, delivery: u32, bytes: &[u8]) -> Outcome {
        let Setting { keyed, deliveries_max, .. } = self.setting;
        prop_assert!(sequence < self.next());
        let sending = self.at(sequence).clone();
        prop_assert_eq!(bytes, payload(sequence, sending.size));
        prop_assert_eq!(sending.fate, Fate::Open, "{} came again: {:?}", sequence, sending);
        prop_assert_eq!(sending.holder, None, "{} is in two hands", sequence);
        prop_assert_eq!(delivery, sending.deliveries + 1, "of {}", sequence);
        prop_assert!(deliveries_max.is_none_or(|most| delivery <= most));
        let is_due = sending.not_before.is_none_or(|at| Instant::now() >= at);
        prop_assert!(is_due, "{} came before its pause was over", sequence);
        if keyed && sending.key.is_some() {
            let before = self.open().take_while(|before| *before < sequence);
            let waits = before.into_iter().find(|before| {
                let before = &self.sent[usize::try_from(*before).expect("a small number")];
                before.key == sending.key
            });
            prop_assert_eq!(waits, None, "of its key, is open, and {} came", sequence);
        }
        self.counts.delivered += 1;
        self.counts.redelivered += u64::from(delivery > 1);
        let sending = self.at(sequence);
        (sending.deliveries, sending.holder, sending.not_before) = (delivery, Some(member), None);
        Ok(())
    }

    /// A member, which had it in hand if `was_in_hand`, was told that it settled a message, or came too
    /// late.
    fn settle(&mut self, sequence: u64, fate: Fate, done: bool, was_in_hand: bool) -> Outcome {
        if !done {
            return self.come_too_late(sequence, was_in_hand);
        }
        prop_assert!(was_in_hand, "{} was settled by who did not have it", sequence);
        let sending = self.at(sequence);
        prop_assert_eq!(sending.fate, Fate::Open);
        (sending.fate, sending.holder) = (fate, None);
        match fate {
            Fate::Acked => self.counts.acked += 1,
            Fate::Letter => self.counts.letters += 1,
            Fate::Open | Fate::Missed => unreachable!(),
        }
        Ok(())
    }

    fn come_too_late(&mut self, sequence: u64, was_in_hand: bool) -> Outcome {
        // What one that skips has in hand may have been overtaken.
        prop_assert!(!was_in_hand || self.setting.lag == Lag::Skip, "{} was taken away", sequence);
        if was_in_hand {
            self.at(sequence).holder = None;
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        sequence: u64,
        nacked: Nacked,
        asked_at: Instant,
        was_in_hand: bool,
    ) -> Outcome {
        let deliveries = self.at(sequence).deliveries;
        let is_last = self.setting.deliveries_max == Some(deliveries);
        match nacked {
            Nacked::Late => self.come_too_late(sequence, was_in_hand),
            Nacked::DeadLetter => {
                prop_assert!(is_last, "{} was given up early", sequence);
                self.settle(sequence, Fate::Letter, true, was_in_hand)
            }
            Nacked::Retry(pause) => {
                prop_assert!(was_in_hand && !is_last, "{} was refused", sequence);
                let sending = self.at(sequence);
                (sending.holder, sending.not_before) = (None, Some(asked_at + pause));
                Ok(())
            }
        }
    }

    fn miss(&mut self, from: u64, to: u64) -> Outcome {
        prop_assert!(self.setting.lag == Lag::Skip && from < to && to <= self.next());
        for sequence in from..to {
            let sending = self.at(sequence);
            prop_assert_eq!(sending.fate, Fate::Open, "{} was missed", sequence);
            prop_assert_eq!(sending.holder, None, "{} was missed, and is in hand", sequence);
            sending.fate = Fate::Missed;
            self.counts.missed += 1;
        }
        Ok(())
    }

    /// What was at its limit, and in nobody's hand, has a letter by now.
    fn note_letters(&mut self, letters: impl Iterator<Item = u64>) -> Outcome {
        for sequence in letters {
            let most = self.setting.deliveries_max;
            let sending = self.at(sequence);
            if sending.fate == Fate::Open && sending.holder.is_none() {
                prop_assert_eq!(Some(sending.deliveries), most, "{} has a letter", sequence);
                sending.fate = Fate::Letter;
                self.counts.letters += 1;
            }
        }
        Ok(())
    }

    /// The subscription goes on at a message, as if what follows had never been delivered.
    fn go_on_at(&mut self, sequence: u64) {
        for (number, sending) in (0..).zip(&mut self.sent) {
            (sending.holder, sending.not_before) = (None, None);
            if number >= sequence {
                (sending.fate, sending.deliveries) = (Fate::Open, 0);
            } else if sending.fate == Fate::Open {
                sending.fate = Fate::Missed;
            }
        }
        self.was_moved = true;
    }
}

struct Play<'a> {
    model: Model,
    members: BTreeMap<usize, Member>,
    /// The number of the one that joins next.
    next_member: usize,
    producer: Option<Producer>,
    queue: Option<Queue>,
    options: QueueOptions,
    /// Bytes of dead letters when they were read last, and how many those were.
    letters_size: u64,
    letters_read: usize,
    seen: &'a Seen,
    name: Name,
    _history: Directory,
}

impl<'a> Play<'a> {
    fn new(setting: Setting, seen: &'a Seen) -> Self {
        let name = Name::new("sharing-model");
        let history = Directory::in_memory(&name);
        let options = QueueOptions::new().capacity(64 << 10).history(history.path());
        let options = options.members(setting.members).subscriptions(1);
        let options = if setting.journal { options.journal(Journal::Written) } else { options };
        let queue = Queue::create(&name, &options).expect("a queue");
        let producer = queue.producer().expect("a producer");
        let model = Model {
            setting,
            sent: Vec::new(),
            counts: Counts::default(),
            counts_hold: true,
            was_moved: false,
        };
        let play = Self {
            model,
            members: BTreeMap::new(),
            next_member: 0,
            producer: Some(producer),
            queue: Some(queue),
            options,
            letters_size: 0,
            letters_read: 0,
            seen,
            name,
            _history: history,
        };
        play.queue().declare(&play.workers()).expect("a subscription");
        play
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().expect("it is there between two steps")
    }

    fn workers(&self) -> Subscribe {
        let Setting { lag, keyed, deliveries_max, .. } = self.model.setting;
        let options = Subscribe::new().named(WORKERS).from(Start::Oldest).on_lag(lag);
        let options = if keyed { options.keyed() } else { options };
        match deliveries_max {
            Some(most) => options.deliveries_max(most),
            None => options,
        }
    }

    fn member(&self, member: usize) -> Option<usize> {
        let numbers: Vec<_> = self.members.keys().copied().collect();
        (!numbers.is_empty()).then(|| numbers[member % numbers.len()])
    }

    fn act(&mut self, step: &Step) -> Outcome {
        match step {
            &Step::Send { count, percent, key } => self.send(count, percent, key),
            &Step::Join { mode, prefetch } => self.join(mode, prefetch),
            &Step::Leave { member, in_order } => self.leave(member, in_order),
            Step::Receive { member, batch, deals } => match self.member(*member) {
                Some(member) => self.receive(member, *batch, deals).map(drop),
                None => Ok(()),
            },
            &Step::Settle { member, in_hand, which, deal, by_acker } => {
                self.settle(member, in_hand, which, deal, by_acker)
            }
            &Step::Seek(start) => self.seek(start),
            &Step::Renew { by_force, capacity_log2 } => self.renew(by_force, capacity_log2),
            Step::Inform => self.inform(),
        }
    }

    fn send(&mut self, count: usize, percent: usize, key: Option<u8>) -> Outcome {
        const SMALL: usize = 24;
        let producer = self.producer.as_mut().expect("it is there between two steps");
        let size = (producer.message_size_max().min(8 << 10) * percent / 100).max(SMALL);
        for _ in 0..count {
            let sequence = self.model.next();
            let bytes = payload(sequence, size);
            let sent = match key {
                Some(key) => producer.message().key(&[key]).try_send(&bytes),
                None => producer.try_send(&bytes),
            };
            match sent.map_err(failed("send"))? {
                Sent::Sequence(found) => prop_assert_eq!(found, sequence),
                Sent::Full | Sent::TimedOut => {
                    prop_assert!(self.model.setting.lag == Lag::Hold, "nobody holds it");
                    self.seen.note("full");
                    return Ok(());
                }
            }
            self.model.sent.push(Sending {
                size,
                key,
                fate: Fate::Open,
                deliveries: 0,
                holder: None,
                not_before: None,
            });
        }
        Ok(())
    }

    fn join(&mut self, mode: AckMode, prefetch: u32) -> Outcome {
        match self.queue().subscribe(&self.workers().ack(mode).prefetch(prefetch)) {
            Ok(consumer) => {
                let in_hand = BTreeSet::new();
                let member = Member { consumer, mode, prefetch, acker: None, in_hand };
                self.members.insert(self.next_member, member);
                self.next_member += 1;
                Ok(())
            }
            Err(Error::MembersFull { limit, .. }) => {
                prop_assert_eq!(limit as usize, self.members.len());
                self.seen.note("members full");
                Ok(())
            }
            Err(error) => Err(failed("join")(error)),
        }
    }

    /// What one that leaves has in hand comes again; if it acknowledges by receiving, and leaves in
    /// order, it is done.
    fn leave(&mut self, member: usize, in_order: bool) -> Outcome {
        let Some(number) = self.member(member) else { return Ok(()) };
        let Member { consumer, mode, acker, in_hand, .. } =
            self.members.remove(&number).expect("it is there");
        for &sequence in &in_hand {
            if in_order && mode == AckMode::Auto {
                self.model.settle(sequence, Fate::Acked, true, true)?;
            } else {
                self.model.at(sequence).holder = None;
            }
        }
        if in_order {
            consumer.close().map_err(failed("close"))?;
        } else {
            drop(consumer);
        }
        if let (Some(acker), Some(&sequence)) = (acker, in_hand.first()) {
            prop_assert_eq!(acker.ack(sequence).map_err(failed("ack"))?, Acked::Late);
            prop_assert_eq!(acker.nack(sequence).map_err(failed("nack"))?, Nacked::Late);
        }
        Ok(())
    }

    /// Whether it got something, or was told something.
    fn receive(
        &mut self,
        number: usize,
        batch: Option<usize>,
        deals: &[Deal],
    ) -> Result<bool, TestCaseError> {
        let member = self.members.get_mut(&number).expect("it is there");
        if member.mode == AckMode::Auto {
            // What it got last is done by this call.
            for sequence in std::mem::take(&mut member.in_hand) {
                self.model.settle(sequence, Fate::Acked, true, true)?;
            }
        }
        let was_empty_handed = member.in_hand.is_empty();
        // As long as messages are lent: what was got, and what was done with it.
        let mut got = Vec::new();
        let mut take = |message: ringway::Message<'_>, deal| {
            let asked_at = Instant::now();
            let dealt = match deal {
                Deal::Ack => Some(Dealt::Settled(Fate::Acked, message.ack()?)),
                Deal::Reject => Some(Dealt::Settled(Fate::Letter, message.reject()?)),
                Deal::Nack => Some(Dealt::Refused(message.nack()?, asked_at)),
                Deal::NackAfter(pause) => {
                    Some(Dealt::Refused(message.nack_after(pause)?, asked_at))
                }
                Deal::Keep | Deal::AckThrough => None,
            };
            let (sequence, delivery) = (message.sequence(), message.delivery());
            got.push((sequence, delivery, message.payload().to_vec(), dealt));
            Ok::<(), Error>(())
        };
        let received = match batch {
            Some(most) => member.consumer.try_receive_batch(most).and_then(|received| {
                let taken = received.map(|batch| {
                    // In this order: what is taken out of the batch is delivered.
                    deals.iter().zip(batch).try_for_each(|(&deal, message)| take(message, deal))
                });
                settled(taken)
            }),
            None => member
                .consumer
                .try_receive()
                .and_then(|received| settled(received.map(|message| take(message, deals[0])))),
        };
        let told = match received {
            Ok(Received::Missed { from, to }) => Some((from, to)),
            Ok(Received::Message(()) | Received::Empty) => None,
            Ok(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            Err(Error::PrefetchFull { .. }) => {
                prop_assert!(!was_empty_handed, "full, with nothing in hand");
                self.seen.note("prefetch full");
                None
            }
            Err(error) => return Err(failed("receive")(error)),
        };
        let is_something = told.is_some() || !got.is_empty();
        // Those that were at their limit have been given up on the way; of what was got, see below.
        let in_hand: BTreeSet<_> = got.iter().map(|(sequence, ..)| *sequence).collect();
        self.read_letters(&in_hand)?;
        for (sequence, delivery, bytes, dealt) in got {
            self.model.deliver(number, sequence, delivery, &bytes)?;
            if delivery > 1 {
                self.seen.note("redelivered");
            }
            if let Some(dealt) = dealt {
                self.note_dealt(sequence, &dealt, true)?;
                continue;
            }
            let member = self.members.get_mut(&number).expect("it is there");
            member.in_hand.insert(sequence);
            let is_auto = member.mode == AckMode::Auto;
            prop_assert!(is_auto || member.in_hand.len() <= member.prefetch as usize);
        }
        if let Some((from, to)) = told {
            self.model.miss(from, to)?;
            self.seen.note("missed");
        }
        Ok(is_something)
    }

    fn settle(
        &mut self,
        member: usize,
        in_hand: bool,
        which: usize,
        deal: Deal,
        by_acker: bool,
    ) -> Outcome {
        let Some(number) = self.member(member) else { return Ok(()) };
        let member = self.members.get_mut(&number).expect("it is there");
        let sequence = if in_hand && !member.in_hand.is_empty() {
            *member.in_hand.iter().nth(which % member.in_hand.len()).expect("one of them")
        } else if self.model.sent.is_empty() {
            return Ok(());
        } else {
            which as u64 % self.model.next()
        };
        let by_acker = by_acker && member.mode == AckMode::Manual;
        if by_acker && member.acker.is_none() {
            member.acker = Some(member.consumer.acker().map_err(failed("acker"))?);
        }
        let asked_at = Instant::now();
        let dealt = match member.acker.as_ref().filter(|_| by_acker) {
            Some(acker) => match deal {
                Deal::Keep => return Ok(()),
                Deal::Ack => acker.ack(sequence).map(|it| Dealt::Settled(Fate::Acked, it)),
                Deal::AckThrough => acker.ack_through(sequence).map(Dealt::Through),
                Deal::Nack => acker.nack(sequence).map(|it| Dealt::Refused(it, asked_at)),
                Deal::NackAfter(pause) => {
                    acker.nack_after(sequence, pause).map(|it| Dealt::Refused(it, asked_at))
                }
                Deal::Reject => acker.reject(sequence).map(|it| Dealt::Settled(Fate::Letter, it)),
            },
            None => match deal {
                Deal::Keep => return Ok(()),
                Deal::Ack => {
                    member.consumer.ack(sequence).map(|it| Dealt::Settled(Fate::Acked, it))
                }
                Deal::AckThrough => member.consumer.ack_through(sequence).map(Dealt::Through),
                Deal::Nack => member.consumer.nack(sequence).map(|it| Dealt::Refused(it, asked_at)),
                Deal::NackAfter(pause) => {
                    let nacked = member.consumer.nack_after(sequence, pause);
                    nacked.map(|it| Dealt::Refused(it, asked_at))
                }
                Deal::Reject => {
                    member.consumer.reject(sequence).map(|it| Dealt::Settled(Fate::Letter, it))
                }
            },
        };
        let dealt = dealt.map_err(failed("settle"))?;
        if let Dealt::Through(acked) = dealt {
            let through: Vec<_> = member.in_hand.range(..=sequence).copied().collect();
            member.in_hand.retain(|in_hand| *in_hand > sequence);
            // Of one that skips what was overtaken is late, whatever else there is.
            let is_sure = self.model.setting.lag != Lag::Skip;
            prop_assert!(!is_sure || (acked == Acked::Done) != through.is_empty());
            for sequence in through {
                self.model.settle(sequence, Fate::Acked, true, true)?;
            }
            return Ok(());
        }
        let was_in_hand = member.in_hand.remove(&sequence);
        self.note_dealt(sequence, &dealt, was_in_hand)
    }

    fn note_dealt(&mut self, sequence: u64, dealt: &Dealt, was_in_hand: bool) -> Outcome {
        match *dealt {
            Dealt::Settled(fate, acked) => {
                self.model.settle(sequence, fate, acked == Acked::Done, was_in_hand)
            }
            Dealt::Refused(nacked, asked_at) => {
                self.model.refuse(sequence, nacked, asked_at, was_in_hand)
            }
            Dealt::Through(_) => unreachable!("it is of several"),
        }
    }

    /// Whether the subscription can be moved: nobody is a member. Not with a limit of deliveries here: what
    /// has a letter, comes again and is given up again gets no second one, by which that could be told.
    fn is_free(&self) -> bool {
        self.members.is_empty() && self.model.setting.deliveries_max.is_none()
    }

    fn seek(&mut self, start: Start) -> Outcome {
        if !self.is_free() {
            return Ok(());
        }
        self.read_letters(&BTreeSet::new())?;
        let next = self.model.next();
        let start = match start {
            Start::Sequence(percent) => Start::Sequence(next * percent / 100),
            Start::Last(percent) => Start::Last(next * percent / 100),
            start => start,
        };
        let first_open = self.model.open().next().unwrap_or(next);
        self.queue().seek(WORKERS, start).map_err(failed("seek"))?;
        let head = self.head()?;
        let asked = match start {
            Start::Oldest => 0,
            Start::Newest => next,
            Start::Last(count) => next.saturating_sub(count),
            Start::Sequence(sequence) => sequence,
            other => unreachable!("{other:?}"),
        };
        // What it has not settled is there, and what comes before that perhaps.
        if self.model.setting.lag != Lag::Skip {
            let most = asked.max(first_open);
            prop_assert!((asked..=most).contains(&head), "{:?} is {}", start, head);
        }
        self.model.go_on_at(head);
        self.seen.note("moved");
        Ok(())
    }

    /// Makes the queue anew, if it has a journal, and its subscription can be moved.
    fn renew(&mut self, by_force: bool, capacity_log2: u32) -> Outcome {
        if !self.model.setting.journal || !self.is_free() {
            return Ok(());
        }
        self.read_letters(&BTreeSet::new())?;
        let mut producer = self.producer.take().expect("it is there between two steps");
        if by_force {
            producer.flush().map_err(failed("flush"))?;
        }
        drop((producer, self.queue.take()));
        let removed =
            if by_force { Queue::force_remove(&self.name) } else { Queue::remove(&self.name) };
        removed.map_err(failed("remove"))?;
        self.options = self.options.clone().capacity(1 << capacity_log2);
        let queue = Queue::create(&self.name, &self.options).map_err(failed("create"))?;
        let producer = queue.producer().map_err(failed("produce"))?;
        let next = self.model.next();
        prop_assert_eq!(producer.next_sequence(), next);
        (self.queue, self.producer) = (Some(queue), Some(producer));
        let first_open = self.model.open().next().unwrap_or(next);
        prop_assert_eq!(self.head()?, first_open, "it goes on elsewhere");
        self.model.go_on_at(first_open);
        self.model.counts_hold = false;
        self.seen.note("made anew");
        Ok(())
    }

    fn head(&self) -> Result<u64, TestCaseError> {
        let info = self.queue().info().map_err(failed("info"))?;
        Ok(info.subscription(WORKERS).expect("it is there").head_sequence)
    }

    fn inform(&mut self) -> Outcome {
        self.read_letters(&BTreeSet::new())?;
        let info = self.queue().info().map_err(failed("info"))?;
        let found = info.subscription(WORKERS).expect("it is there");
        let Model { setting, counts, counts_hold, .. } = &self.model;
        let as_told = Counts {
            delivered: found.delivered,
            redelivered: found.redelivered,
            acked: found.acked,
            letters: found.dead_letters,
            missed: found.missed,
        };
        prop_assert!(!counts_hold || *counts == as_told, "{:?}, due {:?}", as_told, counts);
        let open = self.model.open().count() as u64;
        if let (Some(lag), true) = (found.lag_messages, setting.lag != Lag::Skip) {
            prop_assert_eq!(lag, open, "{:?}", found);
        }
        Ok(())
    }

    /// Notes the letters that have come, but those of what is just being received.
    fn read_letters(&mut self, but: &BTreeSet<u64>) -> Outcome {
        if self.model.setting.deliveries_max.is_none() {
            return Ok(());
        }
        let letters = self.queue().dead_letters(WORKERS).map_err(failed("letters"))?;
        let size = std::fs::metadata(letters.path()).map_or(0, |facts| facts.len());
        if size == self.letters_size {
            return Ok(());
        }
        self.letters_size = size;
        let new = letters.iter().skip(self.letters_read);
        let sequences: Result<Vec<_>, _> = new.map(|it| Ok(it?.sequence)).collect();
        let sequences = sequences.map_err(failed("read letters"))?;
        self.letters_read += sequences.len();
        self.model.note_letters(sequences.into_iter().filter(|it| !but.contains(it)))
    }

    /// All is received and acknowledged, and nothing is left.
    fn end(mut self) -> Outcome {
        if self.model.setting.lag == Lag::Skip {
            // With it comes what was missed before.
            self.send(1, 0, None)?;
        }
        let mut idle_rounds = 0;
        while self.model.open().next().is_some() {
            if self.members.is_empty() {
                self.join(AckMode::Manual, 64)?;
            }
            let mut is_idle = true;
            for number in self.members.keys().copied().collect::<Vec<_>>() {
                is_idle &= !self.receive(number, Some(64), &[Deal::Keep; 64])?;
                let member = self.members.get_mut(&number).expect("it is there");
                if member.mode == AckMode::Manual {
                    let which = usize::try_from(self.model.next()).expect("a small number") - 1;
                    let place = self.members.keys().position(|it| *it == number);
                    let place = place.expect("it is there");
                    self.settle(place, false, which, Deal::AckThrough, false)?;
                }
            }
            if !is_idle {
                idle_rounds = 0;
                continue;
            }
            idle_rounds += 1;
            let first = self.model.open().next();
            prop_assert!(idle_rounds < IDLE_ROUNDS_MAX, "{:?} does not come", first);
            std::thread::sleep(Duration::from_millis(1));
        }
        while !self.members.is_empty() {
            self.leave(0, true)?;
        }
        self.inform()?;
        let info = self.queue().info().map_err(failed("info"))?;
        let found = info.subscription(WORKERS).expect("it is there");
        prop_assert_eq!((found.unacked, found.waiting), (0, 0), "{:?}", found);
        let letters = self.queue().dead_letters(WORKERS).map_err(failed("letters"))?;
        let mut with_letter = BTreeSet::new();
        for letter in &letters {
            let letter = letter.map_err(failed("read letters"))?;
            let sending = self.model.at(letter.sequence).clone();
            prop_assert_eq!(letter.payload, payload(letter.sequence, sending.size));
            let is_first = with_letter.insert(letter.sequence);
            let is_due = is_first && sending.fate == Fate::Letter;
            prop_assert!(is_due || self.model.was_moved, "a letter of {}", letter.sequence);
        }
        drop(self.producer.take());
        Queue::remove(&self.name).map_err(failed("remove"))
    }
}

/// What came of dealing with a message.
enum Dealt {
    Settled(Fate, Acked),
    Through(Acked),
    Refused(Nacked, Instant),
}

/// An error of what was done with a message is one of the receive.
fn settled(received: Received<Result<(), Error>>) -> Result<Received<()>, Error> {
    if let Received::Message(dealt) = received {
        return dealt.map(Received::Message);
    }
    Ok(received.map(drop))
}

#[test]
fn members_share_as_a_list_of_messages_would_be_shared() {
    const CASES: u32 = 150;
    // A runner of one's own does not look at `PROPTEST_CASES` by itself.
    let config = contextualize_config(Config {
        cases: CASES,
        failure_persistence: None,
        // What does not come is waited for each time.
        max_shrink_time: 120_000,
        max_shrink_iters: 2_000,
        ..Config::default()
    });
    let is_short = config.cases < CASES;
    let _watchdog = watchdog_of(Duration::from_secs(240) * config.cases.div_ceil(CASES).max(1));
    let steps = prop::collection::vec(step(), 1..150);
    let seen = Seen::default();
    let result = TestRunner::new(config).run(&(setting(), steps), |(setting, steps)| {
        let mut play = Play::new(setting, &seen);
        steps.iter().try_for_each(|step| play.act(step))?;
        play.end()
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // The play was not all about nothing, unless it was to be shorter.
    let seen = seen.0.into_inner();
    for what in
        ["full", "made anew", "members full", "missed", "moved", "prefetch full", "redelivered"]
    {
        assert!(is_short || seen.contains_key(what), "nobody has seen '{what}': {seen:?}");
    }
}
