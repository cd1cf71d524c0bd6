//! What a queue tells whoever asks.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::history::{Journal, Past};
use crate::layout::{self, CONTROL, HEADER, Keeping, MEMBER, SUBSCRIPTION, Word, time};
use crate::registry::is_expired;
use crate::ring::{Lag, Member, MemberIndex, Place, Ring, SeenShare, Subscription};
use crate::segment::{Access, Segment};
use crate::sync::{Ordering, load_acquire};
use crate::terms::Terms;

/// All that a segment tells, as [`Queue::info`](crate::Queue::info) found it.
///
/// Numbers that others are changing are of slightly different moments. Process numbers and times
/// are what the processes themselves wrote down, and are for display; whether somebody lives is
/// the kernel's word.
///
/// ```
/// use ringway::{Queue, QueueOptions};
///
/// # let _ = Queue::force_remove("doc-info");
/// let queue = Queue::create("doc-info", &QueueOptions::new().capacity(1 << 20))?;
/// queue.producer()?.send(b"one")?;
/// let info = queue.info()?;
/// assert_eq!((info.capacity, info.oldest_sequence, info.next_sequence), (1 << 20, 0, 1));
/// # Queue::force_remove("doc-info")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Info {
    /// The queue's name.
    pub name: String,
    /// Different for every queue ever made.
    pub instance_id: [u8; 16],
    /// Major and minor layout of the segment.
    pub layout: (u16, u16),
    /// Bytes of the ring.
    pub capacity: u64,
    /// Bytes of a sector, a sixteenth of the ring.
    pub sector_size: u64,
    /// The largest message, bytes.
    pub message_size_max: u64,
    /// Bytes of memory that it takes.
    pub memory_size: u64,
    /// How many consumers there can be.
    pub members_max: u32,
    /// How many named subscriptions there can be.
    pub subscriptions_max: u32,
    /// How many have been removed because they had had no member
    /// [for too long](crate::Subscribe::expires_after).
    pub subscriptions_expired: u64,
    /// The directory of what it keeps on disk, if it has one.
    pub history: Option<PathBuf>,
    /// Bytes that the messages there may take, if there is a limit.
    pub history_max: Option<u64>,
    /// Whether the oldest of them give way then, and the producer does not wait.
    pub history_drops_oldest: bool,
    /// How long files of the journal are kept, if not for ever.
    pub keep_for: Option<Duration>,
    /// When messages are safe there, if all of them go there.
    pub journal: Option<Journal>,
    /// Whether somebody writes the journal at this moment.
    pub journaler_alive: bool,
    /// Whether the disk has failed it: nothing more will be durable, until the queue is made anew.
    pub journal_failed: bool,
    /// The sequence of the first message that is not durable yet, in a queue with a journal.
    pub durable_sequence: Option<u64>,
    /// The positions from which and up to which the files have the stream; empty if they have
    /// nothing.
    pub history_range: Range<u64>,
    /// User number of the owner.
    pub owner: u32,
    /// Permissions.
    pub mode: u32,
    /// When it was made.
    pub created_at: SystemTime,
    /// The process that made it.
    pub creator_pid: u32,
    /// The producer that lives, or the last one.
    pub producer: Option<ProducerInfo>,
    /// Whether the stream was ended, and nobody has taken it up again.
    pub closed: bool,
    /// Whether the queue's name was taken away, and only attached processes still see it.
    pub removed: bool,
    /// The sequence of the next message.
    pub next_sequence: u64,
    /// The position where it will begin.
    pub position: u64,
    /// The sequence of the oldest message that a new consumer can begin with; the next one's if
    /// there is none.
    pub oldest_sequence: u64,
    /// Up to which position the producer has asked to write. It may, unless somebody who holds it still
    /// needs what would be overwritten.
    pub licence: u64,
    /// The lowest position whose bytes are whole.
    pub floor: u64,
    /// The consumers, in the order of the member table.
    pub consumers: Vec<ConsumerInfo>,
    /// The named subscriptions, in the order of their names.
    pub subscriptions: Vec<SubscriptionInfo>,
}

/// The producer that a queue has or had last.
///
/// ```
/// # use ringway::{Queue, QueueOptions};
/// # let _ = Queue::force_remove("doc-producer-info");
/// # let queue = Queue::create("doc-producer-info", &QueueOptions::new())?;
/// assert!(queue.info()?.producer.is_none());
/// let producer = queue.producer()?;
/// let info = queue.info()?.producer.unwrap();
/// assert!(info.alive);
/// assert_eq!((info.pid, info.epoch), (std::process::id(), 1));
/// # drop(producer);
/// # Queue::force_remove("doc-producer-info")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProducerInfo {
    /// Whether it lives.
    pub alive: bool,
    /// Its process, as it saw itself.
    pub pid: u32,
    /// How many producers there have been, it included.
    pub epoch: u64,
    /// When it became the producer.
    pub since: SystemTime,
    /// Whether it cannot go on because the files do not have enough of the stream yet: nobody writes
    /// them, the disk is full, or they have the size that they may have.
    pub waits_for_history: bool,
}

/// A named subscription of a queue.
///
/// ```
/// # use ringway::{Queue, QueueOptions, Start, Subscribe};
/// # let _ = Queue::force_remove("doc-subscription-info");
/// # let queue = Queue::create("doc-subscription-info", &QueueOptions::new())?;
/// let workers = Subscribe::new().named("workers").from(Start::Oldest);
/// let mut worker = queue.subscribe(&workers)?;
/// let mut producer = queue.producer()?;
/// producer.send(b"first")?;
/// producer.send(b"second")?;
/// worker.receive()?.message().unwrap();
/// let info = &queue.info()?.subscriptions[0];
/// assert_eq!((info.name.as_str(), info.members_alive), ("workers", 1));
/// assert_eq!((info.lag_messages, info.unacked), (Some(2), 2));
/// assert!(info.lag_time.is_some() && !info.holds_producer);
/// # drop(worker);
/// # Queue::force_remove("doc-subscription-info")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionInfo {
    /// Its name.
    pub name: String,
    /// What happens when it falls a ring behind.
    pub lag: Lag,
    /// Whether messages of one key keep their order.
    pub keyed: bool,
    /// What its members go by.
    pub terms: Terms,
    /// Whether it has been without a member for as long as it [may](Terms::expires_after). Not before members that died are found to be dead: by whose way they are
    /// in, or by [`Queue::clear_dead`](crate::Queue::clear_dead).
    pub expired: bool,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its live members.
    pub members_alive: u32,
    /// When a member was last seen to leave or to be dead.
    pub left_at: Option<SystemTime>,
    /// The sequence of the next message that no member has taken.
    pub head_sequence: u64,
    /// The position of that.
    pub head_position: u64,
    /// Messages that members have taken and not acknowledged.
    pub unacked: u64,
    /// Of these, refused ones that wait for their next delivery.
    pub waiting: u64,
    /// Messages that are not acknowledged, taken or not; unknown when it skips and is more than a
    /// ring behind.
    pub lag_messages: Option<u64>,
    /// Bytes of the stream from the first message that is not acknowledged on: of frames, and of what
    /// lies before the start of a lap where the queue was made anew from a journal.
    pub lag_bytes: u64,
    /// How old that message is, also where it is in files alone, of a [journal](crate::QueueOptions::journal)
    /// that this process may read. In a queue without one, at most: since the sixteenth of the ring in
    /// which it lies was begun, which may be long before on a queue where little is sent; unknown once
    /// it has left the ring.
    pub lag_time: Option<Duration>,
    /// Whether the producer cannot go on because of it.
    pub holds_producer: bool,
    /// Deliveries, those of members that have left included. While members work, those of one share
    /// may be counted twice for a moment; with a lease, those of a share that has passed on are
    /// counted when its former owner goes on, and never if that is killed first.
    pub delivered: u64,
    /// Of these, those that were not the first of their message.
    pub redelivered: u64,
    /// Messages acknowledged, counted likewise.
    pub acked: u64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
    /// Messages that were overwritten before anybody took them, those included that it was to begin with,
    /// once its first member is told.
    pub missed: u64,
}

/// A consumer of a queue.
///
/// ```
/// # use ringway::{Lag, Queue, QueueOptions, Subscribe};
/// # let _ = Queue::force_remove("doc-consumer-info");
/// # let queue = Queue::create("doc-consumer-info", &QueueOptions::new())?;
/// let consumer = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip))?;
/// queue.producer()?.send(&[0; 24])?;
/// let info = &queue.info()?.consumers[0];
/// assert!(info.alive);
/// assert_eq!((info.lag, info.lag_bytes, info.lag_messages), (Lag::Skip, 32, Some(1)));
/// assert!(info.lag_time.is_some());
/// # drop(consumer);
/// # Queue::force_remove("doc-consumer-info")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its line in the member table.
    pub member: u32,
    /// Whether it lives; one that does not is cleared when it matters.
    pub alive: bool,
    /// Its process, as it saw itself.
    pub pid: u32,
    /// When it joined.
    pub since: SystemTime,
    /// The named subscription that it is a member of. Its place, and how far it is behind, are
    /// then the subscription's.
    pub subscription: Option<String>,
    /// What happens when it falls a ring behind.
    pub lag: Lag,
    /// The position below which it needs nothing any more.
    pub position: u64,
    /// Bytes of the stream that it has not received or not given back: of frames, and of what lies
    /// before the start of a lap where the queue was made anew from a journal.
    pub lag_bytes: u64,
    /// Messages that it has not received or not given back; unknown when it is more than a ring
    /// behind.
    pub lag_messages: Option<u64>,
    /// How old the first of them is; as [`SubscriptionInfo::lag_time`], but unknown of a consumer of its
    /// own once that message has left the ring.
    pub lag_time: Option<Duration>,
    /// Messages that it has taken from its named subscription and not acknowledged.
    pub unacked: u64,
    /// Deliveries to it, as a member of a named subscription; counted as
    /// [`SubscriptionInfo::delivered`] is.
    pub delivered: u64,
    /// Messages that it acknowledged there.
    pub acked: u64,
    /// Whether the producer cannot go on because of it.
    pub holds_producer: bool,
    /// Messages that it was too slow for.
    pub missed: u64,
    /// How often it slept.
    pub sleeps: u64,
    /// Sleeps that ended by their time limit although there was a message: not one is expected.
    pub late_wakes: u32,
}

impl Info {
    /// The named subscription of that name, if there is one.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-info-subscription");
    /// # let queue = Queue::create("doc-info-subscription", &QueueOptions::new())?;
    /// queue.declare(&Subscribe::new().named("workers"))?;
    /// let info = queue.info()?;
    /// assert_eq!(info.subscription("workers").unwrap().members_alive, 0);
    /// assert!(info.subscription("painters").is_none());
    /// # Queue::force_remove("doc-info-subscription")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn subscription(&self, name: &str) -> Option<&SubscriptionInfo> {
        self.subscriptions.iter().find(|subscription| subscription.name == name)
    }

    pub(crate) fn of(segment: &Segment) -> Result<Self, Error> {
        let mapping = segment.map(Access::Observe)?;
        let ring = mapping.ring();
        let corrupt = |corrupt| segment.corrupt(corrupt);
        let identity = segment.identity();
        let geometry = segment.geometry();
        let (owner, mode) = segment.owner_and_mode();
        let consumers: Vec<_> = ring.active_members().collect();
        // In this order: the oldest may move on past an end that was looked at before.
        let oldest = ring.oldest().map_err(corrupt)?;
        let end = ring.end().map_err(corrupt)?;
        let licence = ring.licence().load(Ordering::Relaxed);
        let epoch = ring.header(HEADER.epoch).load(Ordering::Relaxed);
        let alive = epoch > 0 && segment.producer_lives();
        let must_keep = ring.header(HEADER.must_keep).load(Ordering::Relaxed);
        let holding =
            Holding { floor: ring.floor(licence), must_keep: if alive { must_keep } else { 0 } };
        let subscriptions = SubscriptionInfo::all(segment, &ring, end, holding);
        let producer = (epoch > 0).then(|| ProducerInfo {
            alive,
            pid: ring.header(HEADER.producer_pid).load(Ordering::Relaxed),
            epoch,
            since: time::moment(ring.header(HEADER.produced_since).load(Ordering::Relaxed)),
            waits_for_history: holding.must_keep > ring.written(),
        });
        let Keeping { journal, size_max, drops_oldest, keep_for, .. } = identity.keeping;
        Ok(Self {
            name: segment.name().to_owned(),
            instance_id: identity.instance,
            layout: (layout::MAJOR, identity.minor),
            capacity: geometry.capacity(),
            sector_size: geometry.sector_size(),
            message_size_max: geometry.message_size_max(),
            memory_size: geometry.memory_size(),
            members_max: geometry.tables().members,
            subscriptions_max: geometry.tables().subscriptions,
            subscriptions_expired: ring.control(CONTROL.expired).load(Ordering::Relaxed),
            history: segment.history().map(Into::into),
            history_max: Some(size_max).filter(|&size| size != u64::MAX),
            history_drops_oldest: drops_oldest,
            keep_for: Some(keep_for).filter(|&time| time > 0).map(Duration::from_nanos),
            journal: journal.map(Journal::of_code),
            journaler_alive: journal.is_some() && segment.historian_lives(),
            journal_failed: ring.has_journal_failed(),
            durable_sequence: journal.map(|_| ring.durable_sequence()),
            history_range: ring.written_from().min(ring.written())..ring.written(),
            owner,
            mode,
            created_at: time::moment(identity.created_at),
            creator_pid: identity.creator_pid,
            producer,
            closed: ring.closed_at() == Some(end.position),
            removed: ring.is_removed() || segment.is_stale(),
            next_sequence: end.sequence,
            position: end.position,
            oldest_sequence: oldest.sequence,
            licence,
            floor: ring.floor(licence),
            consumers: consumers
                .into_iter()
                .map(|index| ConsumerInfo::of(segment, &ring, index, end, holding, &subscriptions))
                .collect(),
            subscriptions,
        })
    }
}

impl SubscriptionInfo {
    fn all(segment: &Segment, ring: &Ring, end: Place, holding: Holding) -> Vec<Self> {
        let in_use = ring.subscriptions().filter(Subscription::is_in_use);
        let of = |found| Self::of(segment, ring, &found, end, holding);
        let mut all: Vec<_> = in_use.map(of).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn of(
        segment: &Segment,
        ring: &Ring,
        subscription: &Subscription,
        end: Place,
        holding: Holding,
    ) -> Self {
        let lag = subscription.lag().unwrap_or_default();
        // The head before the shares: what is in neither has been acknowledged meanwhile.
        // Acquire: HEAD.
        let head_position = load_acquire(subscription.head_position());
        let head_sequence = load_acquire(subscription.head_sequence());
        let (mut unacked, mut waiting) = (0, 0);
        let mut first = Place { position: head_position, sequence: head_sequence };
        // How many messages before it are settled, from that boundary on.
        let mut settled = 0;
        let mut held_from = head_position;
        for seen in ring.shares_of(subscription.index()).filter(SeenShare::is_passed) {
            let unsettled = seen.state.unsettled();
            let Ok(extent) = ring.extent(seen.index) else { continue };
            if seen.state.is_free() || !seen.is_same() {
                continue;
            }
            // Its member may still lend what is settled.
            held_from = held_from.min(extent.begin.position);
            if unsettled == 0 {
                continue;
            }
            unacked += u64::from(unsettled.count_ones());
            let waits = seen.share.waiting().load(Ordering::Relaxed) & unsettled;
            waiting += u64::from(waits.count_ones());
            if extent.begin.position < first.position {
                (first, settled) = (extent.begin, unsettled.trailing_zeros());
            }
        }
        let members: Vec<_> = ring.members_of(subscription.index()).collect();
        let alive = members.iter().filter(|&&index| segment.member_lives(index)).count();
        let count = |of_left: Word<_, u64>, of_member: Word<_, u64>| {
            let left = subscription.word(of_left).load(Ordering::Relaxed);
            let members = members.iter().map(|&index| ring.member(index));
            members.fold(left, |sum, member| {
                sum.wrapping_add(member.word(of_member).load(Ordering::Relaxed))
            })
        };
        let uncounted = members.iter().map(|&index| ring.uncounted(index));
        let (delivered, acked) =
            uncounted.fold((0, 0), |(delivered, acked), more| (delivered + more.0, acked + more.1));
        let display = |word: Word<_, u64>| subscription.word(word).load(Ordering::Relaxed);
        let has_all = lag != Lag::Skip || head_position >= holding.floor;
        let message = ring.message_after(first, settled).or_else(|| {
            let is_in_files = lag != Lag::Skip && first.position < ring.granted_floor();
            let past = is_in_files.then(|| Past::of(segment, None)).flatten();
            past?.message_after(first, settled, ring)
        });
        let (first, sent_at) = message.unwrap_or((first, None));
        let lag_bytes = end.position.saturating_sub(first.position);
        Self {
            name: subscription.name(),
            lag,
            keyed: subscription.is_keyed(),
            terms: Terms::of(subscription),
            expired: members.is_empty() && is_expired(subscription),
            created_at: time::moment(display(SUBSCRIPTION.created_at)),
            members_alive: u32::try_from(alive).unwrap_or(u32::MAX),
            left_at: Some(display(SUBSCRIPTION.left_at)).filter(|&at| at > 0).map(time::moment),
            head_sequence,
            head_position,
            unacked,
            waiting,
            lag_messages: has_all
                .then(|| end.sequence.saturating_sub(head_sequence).saturating_add(unacked)),
            lag_bytes,
            lag_time: age_from(ring, first.position, sent_at, end),
            holds_producer: holding.is_by(lag, held_from),
            delivered: count(SUBSCRIPTION.delivered, MEMBER.delivered).wrapping_add(delivered),
            redelivered: count(SUBSCRIPTION.redelivered, MEMBER.redelivered),
            acked: count(SUBSCRIPTION.acked, MEMBER.acked).wrapping_add(acked),
            dead_letters: count(SUBSCRIPTION.dead_letters, MEMBER.dead_letters),
            missed: count(SUBSCRIPTION.missed, MEMBER.missed),
        }
    }
}

impl ConsumerInfo {
    fn of(
        segment: &Segment,
        ring: &Ring,
        index: MemberIndex,
        end: Place,
        holding: Holding,
        subscriptions: &[SubscriptionInfo],
    ) -> Self {
        let member = ring.member(index);
        let lag = member.lag().unwrap_or(Lag::Skip);
        let subscription = member.subscription().and_then(|index| ring.subscription(index));
        let subscription = subscription.as_ref().map(Subscription::name);
        let shared = subscriptions.iter().find(|info| Some(&info.name) == subscription.as_ref());
        let (position, lag_bytes, lag_messages, lag_time) = if let Some(shared) = shared {
            (shared.head_position, shared.lag_bytes, shared.lag_messages, shared.lag_time)
        } else {
            let (position, sequence) = whereabouts(ring, &member, lag, end);
            let lag_messages = sequence.map(|sequence| end.sequence.saturating_sub(sequence));
            let lag_bytes = end.position.saturating_sub(position);
            let message =
                sequence.and_then(|sequence| ring.message_after(Place { position, sequence }, 0));
            let sent_at = message.and_then(|(_, sent_at)| sent_at);
            (position, lag_bytes, lag_messages, age_from(ring, position, sent_at, end))
        };
        let owned = ring.used_shares().map(|share| ring.share(share)).filter_map(|share| {
            let state = share.load_state();
            // One that the head has not passed is only made ready, as by a member that was too late.
            (state.owner() == Some(index) && share.is_passed()).then_some(state)
        });
        let (delivered, acked) = ring.uncounted(index);
        let counted = |word: Word<_, u64>| member.word(word).load(Ordering::Relaxed);
        Self {
            member: index.get(),
            alive: segment.member_lives(index),
            pid: member.word(MEMBER.pid).load(Ordering::Relaxed),
            since: time::moment(member.word(MEMBER.since).load(Ordering::Relaxed)),
            lag,
            position,
            lag_bytes,
            lag_messages,
            lag_time,
            unacked: owned.map(|state| u64::from(state.unsettled().count_ones())).sum(),
            delivered: counted(MEMBER.delivered).wrapping_add(delivered),
            acked: counted(MEMBER.acked).wrapping_add(acked),
            holds_producer: subscription.is_none() && holding.is_by(lag, position),
            subscription,
            missed: member.word(MEMBER.missed).load(Ordering::Relaxed),
            sleeps: member.word(MEMBER.sleeps).load(Ordering::Relaxed),
            late_wakes: member.word(MEMBER.late_wakes).load(Ordering::Relaxed),
        }
    }
}

/// What a producer that waits for room, or in a flush, waits for.
#[derive(Clone, Copy)]
struct Holding {
    /// What is below is to be overwritten, once nobody holds it.
    floor: u64,
    /// What is below and needed keeps files from having what they are to have first.
    must_keep: u64,
}

impl Holding {
    /// Whether it is somebody who needs what lies at a position.
    fn is_by(self, lag: Lag, position: u64) -> bool {
        match lag {
            Lag::Hold => position < self.floor,
            Lag::Spill => position < self.must_keep,
            Lag::Skip => false,
        }
    }
}

/// How old what begins at a position is, if there is something, and the ring still tells: at most, if it
/// does not say itself when it was sent.
fn age_from(ring: &Ring, position: u64, sent_at: Option<u64>, end: Place) -> Option<Duration> {
    let is_there = position < end.position;
    let since = is_there.then(|| sent_at.or_else(|| ring.recorded_at(position)))??;
    SystemTime::now().duration_since(time::moment(since)).ok()
}

/// A member's cursor, and the sequence there if the frame was whole when it was read.
fn whereabouts(ring: &Ring, member: &Member, lag: Lag, end: Place) -> (u64, Option<u64>) {
    const LOOKS: u32 = 100;
    // Acquire: RETIRE. Whoever sees a cursor sees what its member had seen below it.
    let mut position = load_acquire(member.cursor());
    for _ in 0..LOOKS {
        let sequence = ring.sequence_at(position, end);
        let whole = match lag {
            // Held for, if the cursor has not moved.
            Lag::Hold => {
                // Acquire: RETIRE, for the next look.
                let again = load_acquire(member.cursor());
                let unmoved = again == position;
                position = again;
                unmoved
            }
            Lag::Skip | Lag::Spill => {
                position >= ring.floor(ring.licence().load(Ordering::Relaxed))
            }
        };
        if whole {
            return (position, Some(sequence));
        }
    }
    (position, None)
}
