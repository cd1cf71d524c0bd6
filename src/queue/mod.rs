//! A queue, by its name: making one, opening one, and what hangs on it.

mod letters;
mod options;
mod removal;

pub use self::options::{AtLimit, QueueOptions};

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls;
use crate::consumer::{Consumer, Observer};
use crate::error::Error;
use crate::history::{self, Journaler, LogCut};
use crate::info::Info;
use crate::membership;
use crate::producer::Producer;
use crate::registry::{self, Registry};
use crate::ring::Start;
use crate::segment::{Access, Owner, Segment};
use crate::subscribe::Subscribe;
use crate::terms::Terms;
use crate::wait::Wait;

/// An open queue. It hands out the ends; it is neither, and holds nobody up.
///
/// A queue outlives all its users, until it is removed or the machine restarts. Any thread may
/// use the handle, and its clones are the same queue. The ends that it hands out are independent
/// of it, and of each other: several queues, and both ends of one, work in one process.
///
/// ```
/// use ringway::{Queue, QueueOptions, Start, Subscribe};
///
/// # let _ = Queue::force_remove("doc-queue");
/// let queue = Queue::create("doc-queue", &QueueOptions::new().capacity(1 << 20))?;
/// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// queue.producer()?.send(b"hello")?;
/// assert_eq!(consumer.receive()?.message().unwrap().payload(), b"hello");
/// drop(consumer);
/// Queue::remove("doc-queue")?;
/// # Ok::<(), ringway::Error>(())
/// ```
#[derive(Clone)]
pub struct Queue {
    segment: Arc<Segment>,
    log_cuts: Arc<[LogCut]>,
}

impl Queue {
    /// Makes a queue. All its memory is reserved now, so that nobody runs out of it later.
    ///
    /// A name has 1 to 200 letters, digits, dots, dashes and underscores of ASCII, and begins with
    /// neither a dot nor a dash.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::InvalidName`], [`Error::InvalidOption`],
    /// [`Error::NoSpace`], [`Error::PermissionDenied`]; with a history [`Error::ForeignHistory`], [`Error::LogDamaged`],
    /// [`Error::File`], and [`Error::JournalerAlive`] while somebody else is at work on it.
    ///
    /// ```
    /// use ringway::{Error, Queue, QueueOptions};
    ///
    /// # let _ = Queue::force_remove("doc-create");
    /// let queue = Queue::create("doc-create", &QueueOptions::new())?;
    /// let again = Queue::create("doc-create", &QueueOptions::new());
    /// assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    /// # Queue::force_remove("doc-create")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn create(name: &str, options: &QueueOptions) -> Result<Self, Error> {
        if Segment::exists(name)? {
            // Before its history is touched.
            return Err(Error::AlreadyExists { queue: name.into() });
        }
        let (birth, mut adopted) = options.birth(name)?;
        let mut cuts = Vec::new();
        // Whose the history is is said at the last moment: whoever dies before leaves it to whoever has
        // it.
        let tell_and_cut = || {
            let Some(adopted) = &mut adopted else { return Ok(()) };
            adopted.tell(&birth.instance)?;
            cuts = adopted.cut()?;
            Ok(())
        };
        let segment = Segment::create(name, &birth, tell_and_cut)?;
        if let Some(adopted) = adopted {
            adopted.keep();
        }
        Ok(Self { log_cuts: cuts.into(), ..Self::of(segment) })
    }

    /// Opens a queue of this process's user, or of root. Where the queue's mode lets the
    /// process read only, the handle can be asked for [`info`](Self::info) and observers.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidName`], [`Error::PermissionDenied`], and one for each way in
    /// which the object of that name is no segment that this build can use.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-open");
    /// # Queue::create("doc-open", &QueueOptions::new())?;
    /// let queue = Queue::open("doc-open")?;
    /// assert_eq!(queue.name(), "doc-open");
    /// # Queue::force_remove("doc-open")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn open(name: &str) -> Result<Self, Error> {
        Segment::open(name, Owner::Trusted).map(Self::of)
    }

    fn of(segment: Segment) -> Self {
        Self { segment: Arc::new(segment), log_cuts: Arc::default() }
    }

    /// As [`open`](Self::open), but waits up to `time` for somebody to make the queue, then says
    /// [`Error::NotFound`]. It looks every 5 ms.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-open-timeout");
    /// let none = Queue::open_timeout("doc-open-timeout", Duration::from_millis(1));
    /// assert!(matches!(none, Err(Error::NotFound { .. })));
    /// std::thread::spawn(|| Queue::create("doc-open-timeout", &QueueOptions::new()));
    /// let queue = Queue::open_timeout("doc-open-timeout", Duration::from_secs(60))?;
    /// # Queue::force_remove("doc-open-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn open_timeout(name: &str, time: Duration) -> Result<Self, Error> {
        let end = Instant::now().checked_add(time);
        loop {
            match Self::open(name) {
                Err(Error::NotFound { .. }) if rest_before(end) => {}
                result => return result,
            }
        }
    }

    /// Opens a queue that belongs to another user, named by its number. Whoever may write a
    /// segment is trusted by all who attach to it, so this is never done unasked.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Foreign`] if the queue is not that user's.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-open-owned-by");
    /// # Queue::create("doc-open-owned-by", &QueueOptions::new())?;
    /// let nobody = 65_534;
    /// let queue = Queue::open_owned_by("doc-open-owned-by", nobody);
    /// # if unsafe { libc::geteuid() } != nobody {
    /// assert!(matches!(queue, Err(Error::Foreign { .. })));
    /// # }
    /// # Queue::force_remove("doc-open-owned-by")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn open_owned_by(name: &str, user: u32) -> Result<Self, Error> {
        Segment::open(name, Owner::User(user)).map(Self::of)
    }

    /// Opens a queue, or makes it if there is none. If there is one, the options have no part
    /// in this, but for what is kept: who asks for a history gets no queue without, nor one that has
    /// it in another directory, and who asks for a journal none that keeps less: `Written` is less than
    /// `SyncedEvery`, that is the more the sooner it is, and `SyncedAlways` is most. Limits of the
    /// history are those that the queue was made with.
    ///
    /// It waits up to ten seconds for somebody else who is at work on the history that the queue is to
    /// be made with: to make the same queue, perhaps.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create`](Self::create); [`Error::InvalidOption`] also if the queue
    /// that is there does not keep what is asked for; and [`Error::File`] of the history directory, not
    /// [`Error::JournalerAlive`], if that wait was in vain.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-open-or-create");
    /// let made = Queue::open_or_create("doc-open-or-create", &QueueOptions::new())?;
    /// let opened = Queue::open_or_create("doc-open-or-create", &QueueOptions::new())?;
    /// assert_eq!(made.instance_id(), opened.instance_id());
    /// # Queue::force_remove("doc-open-or-create")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn open_or_create(name: &str, options: &QueueOptions) -> Result<Self, Error> {
        // Each round that ends in neither has seen somebody else make the queue and a third take it
        // away again, or somebody who is at work on its history: making it too, perhaps.
        const ROUNDS: u32 = 1000;
        const PAUSE: Duration = Duration::from_millis(10);
        let mut round = 0;
        loop {
            match Self::open(name) {
                Err(Error::NotFound { .. }) => {}
                Ok(queue) => return options.check_found(&queue).map(|()| queue),
                refused => return refused,
            }
            match Self::create(name, options) {
                Err(Error::AlreadyExists { .. }) if round < ROUNDS => {}
                Err(Error::JournalerAlive { .. }) if round < ROUNDS => std::thread::sleep(PAUSE),
                Err(Error::JournalerAlive { .. }) => return Err(options.history_busy(name)),
                result => return result,
            }
            round += 1;
        }
    }

    /// Takes a queue's name away, unless a producer, a consumer or a journaler lives there. Its memory
    /// is freed when the last process has let go of it. What its journal does not have yet is saved
    /// there first, as safe as the queue was made to have it.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::NotFound`], [`Error::InvalidName`], [`Error::PermissionDenied`];
    /// [`Error::Foreign`] or [`Error::Unfinished`] if what stands there is no queue; [`Error::NotSaved`] if
    /// something of it would be nowhere, and [`Error::Os`] if that cannot be looked at.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-remove");
    /// let queue = Queue::create("doc-remove", &QueueOptions::new())?;
    /// let producer = queue.producer()?;
    /// assert!(matches!(Queue::remove("doc-remove"), Err(Error::InUse { .. })));
    /// drop(producer);
    /// Queue::remove("doc-remove")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove(name: &str) -> Result<(), Error> {
        removal::remove(name, Owner::Trusted)
    }

    /// As [`remove`](Self::remove), but this very queue: whoever cleans up what it made itself removes no
    /// other one that was given the name since.
    ///
    /// # Errors
    /// As [`remove`](Self::remove); [`Error::Stale`] if it was removed before.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-remove-this");
    /// let mine = Queue::create("doc-remove-this", &QueueOptions::new())?;
    /// Queue::remove("doc-remove-this")?; // by somebody else, who makes another one
    /// let theirs = Queue::create("doc-remove-this", &QueueOptions::new())?;
    /// assert!(matches!(mine.remove_this(), Err(Error::Stale { .. })));
    /// theirs.remove_this()?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove_this(&self) -> Result<(), Error> {
        removal::remove_this(&self.segment)
    }

    /// Takes a queue's name away whoever lives there, also if it is damaged, and also if what its
    /// journal does not have yet cannot be saved there. Consumers receive what is in the ring, and then
    /// [`Error::Stale`]; a producer gets that for its second message from now on, or, if members or a
    /// journaler call each other meanwhile, when it next needs room, which is a sixteenth of the ring
    /// later at the latest.
    ///
    /// # Errors
    /// As [`remove`](Self::remove), without [`Error::InUse`], [`Error::Unfinished`] and
    /// [`Error::NotSaved`].
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-force-remove");
    /// let queue = Queue::create("doc-force-remove", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// Queue::force_remove("doc-force-remove")?;
    /// assert!(matches!(consumer.receive(), Err(Error::Stale { .. })));
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn force_remove(name: &str) -> Result<(), Error> {
        removal::force_remove(name, Owner::Trusted)
    }

    /// As [`remove`](Self::remove), a queue that belongs to another user, named by its number.
    /// The system lets its owner and root do that.
    ///
    /// # Errors
    /// As [`remove`](Self::remove); [`Error::Foreign`] if the queue is not that user's.
    ///
    /// ```
    /// # use ringway::{Error, Queue};
    /// let removed = Queue::remove_owned_by("no-such-queue", 65_534);
    /// assert!(matches!(removed, Err(Error::NotFound { .. })));
    /// ```
    pub fn remove_owned_by(name: &str, user: u32) -> Result<(), Error> {
        removal::remove(name, Owner::User(user))
    }

    /// As [`force_remove`](Self::force_remove), a queue that belongs to another user.
    ///
    /// # Errors
    /// As [`remove_owned_by`](Self::remove_owned_by), without [`Error::InUse`], [`Error::Unfinished`] and
    /// [`Error::NotSaved`].
    ///
    /// ```
    /// # use ringway::{Error, Queue};
    /// let removed = Queue::force_remove_owned_by("no-such-queue", 65_534);
    /// assert!(matches!(removed, Err(Error::NotFound { .. })));
    /// ```
    pub fn force_remove_owned_by(name: &str, user: u32) -> Result<(), Error> {
        removal::force_remove(name, Owner::User(user))
    }

    /// The names of all queues on this machine, in order. Some may be gone, or not ours to
    /// open, by the time they are opened.
    ///
    /// # Errors
    /// [`Error::File`] if the directory of the shared memory cannot be read.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-list");
    /// # Queue::create("doc-list", &QueueOptions::new())?;
    /// assert!(Queue::list()?.contains(&"doc-list".to_owned()));
    /// # Queue::force_remove("doc-list")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn list() -> Result<Vec<String>, Error> {
        Segment::list()
    }

    /// Becomes the queue's producer. What a producer that died left half done never happened;
    /// a stream that was closed is open again.
    ///
    /// # Errors
    /// [`Error::ProducerAlive`] while there is one, [`Error::Corrupt`],
    /// [`Error::PermissionDenied`], [`Error::Stale`], [`Error::Truncated`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-queue-producer");
    /// # let queue = Queue::create("doc-queue-producer", &QueueOptions::new())?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"hello")?;
    /// # Queue::force_remove("doc-queue-producer")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn producer(&self) -> Result<Producer, Error> {
        Producer::take_over(&self.segment)
    }

    /// As [`producer`](Self::producer), but waits up to `time` for the one that there is to end or
    /// die, then says [`Error::ProducerAlive`]: for a standby. It asks the kernel every 5 ms, which
    /// costs the producer nothing; of several that wait, one gets the place, whichever asks first.
    ///
    /// # Errors
    /// As [`producer`](Self::producer).
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-producer-timeout");
    /// # let queue = Queue::create("doc-producer-timeout", &QueueOptions::new())?;
    /// let mut first = queue.producer()?;
    /// let standby = queue.producer_timeout(Duration::from_millis(1));
    /// assert!(matches!(standby, Err(Error::ProducerAlive { .. })));
    /// first.send(b"first")?;
    /// std::thread::spawn(move || drop(first)); // or its process dies
    /// let mut standby = queue.producer_timeout(Duration::from_secs(60))?;
    /// assert_eq!(standby.send(b"second")?, 1);
    /// # Queue::force_remove("doc-producer-timeout")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn producer_timeout(&self, time: Duration) -> Result<Producer, Error> {
        let end = Instant::now().checked_add(time);
        let mut result = self.producer();
        while let Err(Error::ProducerAlive { .. }) = result {
            // Much less than an attempt costs.
            while self.segment.producer_lives() && !self.segment.is_stale() {
                if !rest_before(end) {
                    return result;
                }
            }
            result = self.producer();
        }
        result
    }

    /// Whether the queue's name was taken away since this handle was opened, or is another queue's by
    /// now: whatever is sent from then on nobody receives but who is there already. A producer finds
    /// that out by itself when it needs room. It is one short system call.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-is-removed");
    /// let queue = Queue::create("doc-is-removed", &QueueOptions::new())?;
    /// assert!(!queue.is_removed());
    /// Queue::remove("doc-is-removed")?;
    /// assert!(queue.is_removed());
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.segment.is_stale()
    }

    /// Whether the queue has a producer at this moment, in whichever process. The kernel says so,
    /// by the producer's lock: one that was killed is dead at once, one that is stopped lives. It is
    /// one short system call. `true` also if it cannot be asked, and while somebody removes the
    /// queue.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-producer-is-alive");
    /// let queue = Queue::create("doc-producer-is-alive", &QueueOptions::new())?;
    /// assert!(!queue.producer_is_alive());
    /// let producer = queue.producer()?;
    /// assert!(queue.producer_is_alive());
    /// drop(producer);
    /// assert!(!queue.producer_is_alive());
    /// # Queue::force_remove("doc-producer-is-alive")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn producer_is_alive(&self) -> bool {
        self.segment.producer_lives()
    }

    /// Joins the queue as a consumer of its own, which receives every message, or, with a
    /// [name](Subscribe::named), as a member of a named subscription, which is made if it is not
    /// there.
    ///
    /// Who gives a name waits while another process changes the table of subscriptions. That takes
    /// microseconds, unless it was stopped over it: then this gives up after ten seconds
    /// ([`Error::Os`]).
    ///
    /// # Errors
    /// [`Error::MembersFull`], [`Error::SequenceAhead`], [`Error::InvalidOption`],
    /// [`Error::Corrupt`], [`Error::PermissionDenied`], [`Error::Stale`], [`Error::Truncated`]; with a name
    /// also [`Error::InvalidSubscription`], [`Error::SubscriptionsFull`], and
    /// [`Error::SubscriptionDiffers`] if it is there with other terms. Of what is on disk, which
    /// who begins behind the ring reads, and where a journal has how far a subscription has come:
    /// [`Error::File`], [`Error::LogDamaged`], [`Error::ForeignHistory`]; and [`Error::NoJournal`] if there
    /// is none and it begins at a [time](Start::Time), or is to receive what is
    /// [durable alone](Subscribe::durable_only).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-queue-subscribe");
    /// # let queue = Queue::create("doc-queue-subscribe", &QueueOptions::new())?;
    /// let consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// # Queue::force_remove("doc-queue-subscribe")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn subscribe(&self, options: &Subscribe) -> Result<Consumer, Error> {
        Consumer::join(&self.segment, options)
    }

    /// Waits up to `time` until this many consumers are there, in whichever processes, and says whether
    /// they are: for a producer whose first message all of them are to have. Members of named
    /// subscriptions count, observers do not. It looks every 5 ms, and asks the kernel which of them live.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Truncated`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-wait-for-consumers");
    /// # let queue = Queue::create("doc-wait-for-consumers", &QueueOptions::new())?;
    /// assert!(!queue.wait_for_consumers(1, Duration::from_millis(1))?);
    /// # let same = queue.clone();
    /// let other = std::thread::spawn(move || {
    ///     let mut consumer = same.subscribe(&Subscribe::new())?;
    ///     consumer.receive()?.message().map(|message| message.sequence());
    ///     Ok::<_, ringway::Error>(())
    /// });
    /// assert!(queue.wait_for_consumers(1, Duration::from_secs(60))?);
    /// queue.producer()?.send(b"first")?;
    /// other.join().unwrap()?;
    /// # Queue::force_remove("doc-wait-for-consumers")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn wait_for_consumers(&self, count: u32, time: Duration) -> Result<bool, Error> {
        let end = Instant::now().checked_add(time);
        let mapping = self.segment.map(Access::Observe)?;
        let ring = mapping.ring();
        loop {
            let living = ring.active_members().filter(|&index| self.segment.member_lives(index));
            if living.count() >= count as usize {
                return Ok(true);
            }
            if self.segment.is_stale() {
                return Err(self.segment.stale());
            }
            if !rest_before(end) {
                return Ok(false);
            }
        }
    }

    /// Makes a named subscription without joining it, so that it has every message from its
    /// [beginning](Subscribe::from) on before its first member comes; or finds it, if it is there
    /// already. Says whether it was made. What the options say of a member has no part in it.
    ///
    /// A subscription without members holds the producer like any other, if it is of that kind. This
    /// waits for others, ten seconds at most, as [`subscribe`](Self::subscribe) does.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe), but [`Error::MembersFull`]. [`Error::InvalidOption`] also if
    /// the options have no [name](Subscribe::named).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-declare");
    /// # let queue = Queue::create("doc-declare", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers");
    /// assert!(queue.declare(&workers)?);
    /// assert!(!queue.declare(&workers)?); // it is there
    /// queue.producer()?.send(b"a task")?;
    /// let mut worker = queue.subscribe(&workers)?;
    /// assert_eq!(worker.receive()?.message().unwrap().payload(), b"a task");
    /// # drop(worker);
    /// # Queue::force_remove("doc-declare")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn declare(&self, options: &Subscribe) -> Result<bool, Error> {
        let name = self.name_in(options)?;
        options.check(&self.segment)?;
        let mapping = self.segment.map(Access::Control)?;
        let ring = mapping.ring();
        let start = history::resolve(&self.segment, &ring, options.start)?;
        let registry = Registry::lock(&self.segment, &ring)?;
        let found = registry.find_or_make(name, start, options)?;
        // One that somebody left half made on the way may have held the producer.
        calls::call_producer(&ring);
        Ok(found.is_new)
    }

    /// The subscription that is asked for.
    fn name_in<'a>(&self, options: &'a Subscribe) -> Result<&'a str, Error> {
        options.name.as_deref().ok_or_else(|| {
            let what = "the subscription that is meant has to be named (`Subscribe::named`)".into();
            Error::InvalidOption { queue: self.name().into(), what }
        })
    }

    /// Looks on, in nobody's way. Waits with [`Wait::Backoff`];
    /// [`observe_with`](Self::observe_with) lets you choose.
    ///
    /// # Errors
    /// [`Error::SequenceAhead`], [`Error::Corrupt`], [`Error::Truncated`]; where it begins in a
    /// journal's files, because the ring does not go so far back, [`Error::File`], also if its user may not
    /// read them, [`Error::LogDamaged`] and [`Error::ForeignHistory`]; [`Error::NoJournal`] if it begins at
    /// a [time](Start::Time) and there is none.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Received, Start};
    /// # let _ = Queue::force_remove("doc-observe");
    /// # let queue = Queue::create("doc-observe", &QueueOptions::new())?;
    /// let mut observer = queue.observe(Start::Oldest)?;
    /// assert_eq!(observer.try_receive()?, Received::Empty);
    /// # Queue::force_remove("doc-observe")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn observe(&self, start: Start) -> Result<Observer, Error> {
        self.observe_with(start, Wait::default())
    }

    /// As [`observe`](Self::observe), waiting in a way of the caller's choice.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Wait};
    /// # let _ = Queue::force_remove("doc-observe-with");
    /// # let queue = Queue::create("doc-observe-with", &QueueOptions::new())?;
    /// let observer = queue.observe_with(Start::Newest, Wait::Park)?;
    /// # Queue::force_remove("doc-observe-with")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn observe_with(&self, start: Start, wait: Wait) -> Result<Observer, Error> {
        Observer::attach(&self.segment, start, wait)
    }

    /// All that the segment tells, at some moment during the call; while others work, its parts
    /// are of slightly different moments.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Truncated`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-queue-info");
    /// # let queue = Queue::create("doc-queue-info", &QueueOptions::new())?;
    /// let consumer = queue.subscribe(&Subscribe::new())?;
    /// queue.producer()?.send(b"unread")?;
    /// assert_eq!(queue.info()?.consumers[0].lag_messages, Some(1));
    /// # drop(consumer);
    /// # Queue::force_remove("doc-queue-info")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn info(&self) -> Result<Info, Error> {
        Info::of(&self.segment)
    }

    /// Ends the membership of consumers that have died, and returns how many there were. The
    /// producer and new consumers do that when it matters to them; this is for whoever wants
    /// the table clean.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`], [`Error::Truncated`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-clear-dead");
    /// # let queue = Queue::create("doc-clear-dead", &QueueOptions::new())?;
    /// assert_eq!(queue.clear_dead()?, 0);
    /// # Queue::force_remove("doc-clear-dead")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn clear_dead(&self) -> Result<u32, Error> {
        let mapping = self.segment.map(Access::Control)?;
        let ring = mapping.ring();
        membership::clear_dead(&ring, &self.segment.lock_file()?, ring.active_members())
    }

    /// Removes named subscriptions that have been without a member for longer than they
    /// [may](Subscribe::expires_after), and returns their names. Whoever they are in the way of
    /// removes them too; this is for whoever wants the table clean. It waits for others who change that,
    /// ten seconds at most, as [`subscribe`](Self::subscribe) does.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`], [`Error::Stale`], [`Error::Truncated`], [`Error::Os`] if the wait was
    /// in vain; in a queue with a journal [`Error::File`] if a checkpoint cannot be removed.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-remove-expired");
    /// # let queue = Queue::create("doc-remove-expired", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers").expires_after(Duration::from_nanos(1));
    /// let worker = queue.subscribe(&workers)?;
    /// assert!(queue.remove_expired()?.is_empty()); // it has a member
    /// drop(worker);
    /// assert_eq!(queue.remove_expired()?, ["workers"]);
    /// # Queue::force_remove("doc-remove-expired")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn remove_expired(&self) -> Result<Vec<String>, Error> {
        let mapping = self.segment.map(Access::Control)?;
        let ring = mapping.ring();
        Registry::lock(&self.segment, &ring)?.remove_expired(ring.active_subscriptions())
    }

    /// Changes the [terms](Terms) of a named subscription without members: `change` gets those that it
    /// has, while nobody else changes any, and leaves those that it is to have, which are returned. Its
    /// place in the queue stays, and so does what its members left undone: a message that was delivered
    /// as often as is allowed now becomes a dead letter when it is its turn.
    ///
    /// Neither the [lag policy](Subscribe::on_lag) nor whether it is [keyed](Subscribe::keyed) can be
    /// changed. It waits for others, ten seconds at most, as [`subscribe`](Self::subscribe) does; others
    /// wait while `change` runs, which is to touch no subscription of the queue itself.
    ///
    /// # Errors
    /// As [`unsubscribe`](Self::unsubscribe); [`Error::InvalidOption`] if no subscription can have such
    /// terms; [`Error::File`] if the queue has a journal and the terms cannot be written there: then they
    /// are what they were.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Subscribe};
    /// use std::time::Duration;
    ///
    /// # let _ = Queue::force_remove("doc-alter");
    /// # let queue = Queue::create("doc-alter", &QueueOptions::new())?;
    /// let second = Duration::from_secs(1);
    /// queue.declare(&Subscribe::new().named("workers").ack_within(second))?;
    /// let terms = queue.alter("workers", |terms| terms.expires_after = Some(600 * second))?;
    /// assert_eq!((terms.ack_within, terms.expires_after), (Some(second), Some(600 * second)));
    /// # Queue::force_remove("doc-alter")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn alter(
        &self,
        subscription: &str,
        change: impl FnOnce(&mut Terms),
    ) -> Result<Terms, Error> {
        let mapping = self.segment.map(Access::Control)?;
        let ring = mapping.ring();
        Registry::lock(&self.segment, &ring)?.alter(subscription, change)
    }

    /// Removes a named subscription: its place in the queue, and what its members left undone. Its
    /// dead letters stay. It waits for others, ten seconds at most, as [`subscribe`](Self::subscribe)
    /// does.
    ///
    /// # Errors
    /// [`Error::NoSuchSubscription`]; [`Error::SubscriptionInUse`] while it has live members;
    /// [`Error::PermissionDenied`], [`Error::Corrupt`], [`Error::Stale`], [`Error::Truncated`];
    /// [`Error::Os`] if the wait was in vain; in a queue with a journal [`Error::File`] if its checkpoint
    /// cannot be removed: it stays then.
    ///
    /// ```
    /// # use ringway::{Error, Queue, QueueOptions, Subscribe};
    /// # let _ = Queue::force_remove("doc-unsubscribe");
    /// # let queue = Queue::create("doc-unsubscribe", &QueueOptions::new())?;
    /// let worker = queue.subscribe(&Subscribe::new().named("workers"))?;
    /// let removed = queue.unsubscribe("workers");
    /// assert!(matches!(removed, Err(Error::SubscriptionInUse { .. })));
    /// drop(worker);
    /// queue.unsubscribe("workers")?;
    /// # Queue::force_remove("doc-unsubscribe")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn unsubscribe(&self, subscription: &str) -> Result<(), Error> {
        let mapping = self.segment.map(Access::Control)?;
        let ring = mapping.ring();
        Registry::lock(&self.segment, &ring)?.remove(subscription)
    }

    /// Moves a named subscription without members elsewhere in the stream. What its members left
    /// undone is forgotten. Where a sequence is gone it is moved to the oldest message that is there;
    /// nobody is told what lay between. What is kept for it, in the ring or in files, is there. A message
    /// that comes again, has a dead letter already and is given up again may get no second one. It waits
    /// for others, ten seconds at most, as [`subscribe`](Self::subscribe) does.
    ///
    /// # Errors
    /// As [`unsubscribe`](Self::unsubscribe); [`Error::SequenceAhead`]; [`Error::NoJournal`] for a
    /// time. Where it is to begin in files, of those [`Error::File`], [`Error::LogDamaged`],
    /// [`Error::ForeignHistory`]. [`Error::File`] also if its checkpoint in a
    /// journal cannot be written: it stays where it is then. What begins to fail only in the middle of
    /// the call leaves it to whoever wants it next to move it there; until that can be done, it is an
    /// error for them.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-seek");
    /// # let queue = Queue::create("doc-seek", &QueueOptions::new())?;
    /// let workers = Subscribe::new().named("workers");
    /// queue.declare(&workers)?;
    /// let mut producer = queue.producer()?;
    /// producer.send(b"first")?;
    /// producer.send(b"second")?;
    /// queue.seek("workers", Start::Sequence(1))?;
    /// let mut worker = queue.subscribe(&workers)?;
    /// assert_eq!(worker.receive()?.message().unwrap().payload(), b"second");
    /// # drop(worker);
    /// # Queue::force_remove("doc-seek")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn seek(&self, subscription: &str, start: Start) -> Result<(), Error> {
        let mapping = self.segment.map(Access::Control)?;
        let ring = mapping.ring();
        let start = history::resolve(&self.segment, &ring, start)?;
        Registry::lock(&self.segment, &ring)?.seek(subscription, start)
    }

    /// The queue's history directory, if it has one.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-history-of");
    /// # let queue = Queue::create("doc-history-of", &QueueOptions::new())?;
    /// assert_eq!(queue.history(), None);
    /// # Queue::force_remove("doc-history-of")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn history(&self) -> Option<&Path> {
        self.segment.history()
    }

    /// Becomes the one who writes the queue's journal.
    ///
    /// # Errors
    /// [`Error::NoJournal`] if the queue was made without one, [`Error::JournalerAlive`] while
    /// there is another, [`Error::File`], [`Error::LogDamaged`], [`Error::ForeignHistory`],
    /// [`Error::PermissionDenied`], [`Error::Corrupt`], [`Error::Stale`], [`Error::Truncated`].
    ///
    /// ```
    /// # use ringway::{Error, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-queue-journaler");
    /// # let directory = std::env::temp_dir().join("ringway-doc-queue-journaler");
    /// let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// let queue = Queue::create("doc-queue-journaler", &options)?;
    /// let journal = queue.journaler()?.spawn();
    /// assert!(matches!(queue.journaler(), Err(Error::JournalerAlive { .. })));
    /// # journal.stop()?;
    /// # Queue::force_remove("doc-queue-journaler")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn journaler(&self) -> Result<Journaler, Error> {
        Journaler::attach(&self.segment, registry::remove_expired)
    }

    /// As [`journaler`](Self::journaler), but waits up to `time` for the one that there is to end or
    /// die, then says [`Error::JournalerAlive`]: for a standby. A producer that writes by itself is one
    /// for a moment, so that also who expects to be alone had better wait for some tenths of a second.
    ///
    /// # Errors
    /// As [`journaler`](Self::journaler).
    ///
    /// ```
    /// # use ringway::{Error, Journal, Queue, QueueOptions};
    /// # use std::time::Duration;
    /// # let _ = Queue::force_remove("doc-journaler-timeout");
    /// # let directory = std::env::temp_dir().join("ringway-doc-journaler-timeout");
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-journaler-timeout", &options)?;
    /// let journal = queue.journaler()?.spawn();
    /// let standby = queue.journaler_timeout(Duration::from_millis(1));
    /// assert!(matches!(standby, Err(Error::JournalerAlive { .. })));
    /// journal.stop()?;
    /// let standby = queue.journaler_timeout(Duration::from_secs(60))?;
    /// # drop(standby);
    /// # Queue::force_remove("doc-journaler-timeout")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn journaler_timeout(&self, time: Duration) -> Result<Journaler, Error> {
        Journaler::attach_within(&self.segment, registry::remove_expired, time)
    }

    /// The sequence of the first message that is not durable yet, at this moment; `None` in a
    /// queue without a journal, or if the segment cannot be read any more.
    ///
    /// ```
    /// # use ringway::{Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-durable-sequence");
    /// # let directory = std::env::temp_dir().join("ringway-doc-durable-sequence");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-durable-sequence", &options)?;
    /// let mut producer = queue.producer()?;
    /// let sequence = producer.send(b"to be kept")?;
    /// assert_eq!(queue.durable_sequence(), Some(sequence));
    /// producer.flush_timeout(std::time::Duration::from_secs(60))?;
    /// assert_eq!(queue.durable_sequence(), Some(sequence + 1));
    /// # Queue::force_remove("doc-durable-sequence")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn durable_sequence(&self) -> Option<u64> {
        self.segment.identity().keeping.journal?;
        self.segment.durable_sequence()
    }

    /// What was cut off at the end of the journal when this handle created the queue, in the order in
    /// which it was: a message that was not written whole when the machine stopped, say, and a file
    /// behind it that was just being made.
    ///
    /// ```
    /// use ringway::{Journal, Queue, QueueOptions};
    ///
    /// # let _ = Queue::force_remove("doc-log-cut");
    /// # let directory = std::env::temp_dir().join("ringway-doc-log-cut");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// let queue = Queue::create("doc-log-cut", &options)?;
    /// assert!(queue.log_cuts().is_empty());
    /// # Queue::force_remove("doc-log-cut")?;
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn log_cuts(&self) -> &[LogCut] {
        &self.log_cuts
    }

    /// The queue's name.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-name");
    /// assert_eq!(Queue::create("doc-name", &QueueOptions::new())?.name(), "doc-name");
    /// # Queue::force_remove("doc-name")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.segment.name()
    }

    /// Bytes of its ring.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-capacity");
    /// let queue = Queue::create("doc-capacity", &QueueOptions::new().capacity(1 << 20))?;
    /// assert_eq!(queue.capacity(), 1 << 20);
    /// # Queue::force_remove("doc-capacity")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.segment.geometry().capacity()
    }

    /// The largest message, in bytes: an eighth of the capacity.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-queue-max");
    /// let queue = Queue::create("doc-queue-max", &QueueOptions::new().capacity(1 << 20))?;
    /// assert_eq!(queue.message_size_max(), 1 << 17);
    /// # Queue::force_remove("doc-queue-max")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn message_size_max(&self) -> usize {
        self.segment.message_size_max()
    }

    /// 16 random bytes, different for every queue ever made, also for later ones of this name.
    /// With it a [sequence](crate::Message::sequence) identifies one message of all. One that is made
    /// anew with the journal of another has its messages, and another id: see [there](crate::Message::sequence)
    /// what identifies a message then.
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-instance");
    /// let first = Queue::create("doc-instance", &QueueOptions::new())?.instance_id();
    /// Queue::remove("doc-instance")?;
    /// let second = Queue::create("doc-instance", &QueueOptions::new())?.instance_id();
    /// assert_ne!(first, second);
    /// # Queue::force_remove("doc-instance")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    #[must_use]
    pub fn instance_id(&self) -> [u8; 16] {
        self.segment.identity().instance
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Passes the time until the next look for what nobody calls for; `false` once the end has come, if
/// there is one.
fn rest_before(end: Option<Instant>) -> bool {
    const INTERVAL: Duration = Duration::from_millis(5);
    let left = end.map_or(INTERVAL, |end| end.saturating_duration_since(Instant::now()));
    std::thread::sleep(left.min(INTERVAL));
    !left.is_zero()
}
