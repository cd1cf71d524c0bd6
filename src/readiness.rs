//! A file descriptor to wait on, for those who wait for other things too.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use self::sealed::Sealed;
use crate::consumer::{Consumer, Observer};
use crate::consumer_set::ConsumerSet;
use crate::error::Error;
use crate::message::Message;
use crate::outcome::{Received, Sent};
use crate::producer::Producer;
use crate::sleeper::{Order, Sleeper};
use crate::wait::Patience;

/// A file descriptor that becomes readable when it is time to receive, or to send: for `poll`, `epoll`
/// and `io_uring`, beside sockets and timers, and for tasks of an async runtime.
///
/// It has a thread that does nothing but sleep: on what [`arm`](Self::arm) was told last, one
/// [`Consumer`], [`Observer`], [`ConsumerSet`] or [`Producer`] at a time. Sends and receives cost what
/// they did, and nobody is called who is not armed.
///
/// ```
/// use ringway::{Queue, QueueOptions, Readiness, Received, Start, Subscribe};
/// use std::os::fd::AsRawFd;
///
/// # let _ = Queue::force_remove("doc-readiness");
/// let queue = Queue::create("doc-readiness", &QueueOptions::new())?;
/// let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
/// let readiness = Readiness::new()?;
/// # let sender = std::thread::spawn(move || {
/// #     let mut producer = queue.producer().unwrap();
/// #     (0..3_u8).for_each(|number| drop(producer.send(&[number]).unwrap()));
/// #     producer.close().unwrap();
/// # });
/// let mut count = 0;
/// loop {
///     match consumer.try_receive()? {
///         Received::Message(message) => {
///             assert_eq!(message.payload(), [count]);
///             count += 1;
///         }
///         Received::Closed => break,
///         _ => {
///             if readiness.arm(&mut consumer)? {
///                 // And whatever else the program waits for.
///                 let fd = readiness.as_raw_fd();
///                 let mut polled = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
///                 assert!(unsafe { libc::poll(polled.as_mut_ptr(), 1, -1) } >= 0);
///             }
///         }
///     }
/// }
/// assert_eq!(count, 3);
/// # sender.join().unwrap();
/// # Queue::force_remove("doc-readiness")?;
/// # Ok::<(), ringway::Error>(())
/// ```
///
/// As long as it is armed, nobody has to arm it anew: a loop that is awake for another reason may
/// wait on. Nobody has to read from the descriptor, and nobody is to write to it. A forked child's copy
/// is of no use.
///
/// # Async runtimes
///
/// A task awaits [`receive`](Self::receive) and [`send`](Self::send), or [`ready`](Self::ready) before
/// whatever else it does with a consumer, a set or a producer. None of them needs the descriptor, nor a
/// runtime that watches it. Each `Readiness` is a thread, so that a hundred tasks which wait for a
/// consumer each are a hundred threads, all asleep; a [`ConsumerSet`] of a hundred consumers needs one.
///
/// Who wants the descriptor watched has tokio's `AsyncFd` or smol's `Async` take it as it is. What
/// `AsyncFd::register` asks of its caller is so: the descriptor is this one's own, and the same one, open,
/// until this is dropped.
///
/// ```text
/// // SAFETY: a `Readiness` keeps its descriptor for as long as it lives.
/// let fd = unsafe { AsyncFd::register(Readiness::new()?) }?;
/// loop {
///     match consumer.try_receive()? {
///         Received::Message(message) => work_on(message),
///         Received::Missed { .. } => {}
///         Received::Closed => return Ok(()),
///         _ => {
///             if fd.get_ref().arm(&mut consumer)? {
///                 fd.readable().await?.clear_ready();
///             }
///         }
///     }
/// }
/// ```
pub struct Readiness {
    sleeper: Sleeper,
}

impl Readiness {
    /// One that is not armed, nor readable.
    ///
    /// # Errors
    /// [`Error::Os`], which names no queue, if there is no descriptor or no thread to be had.
    ///
    /// ```
    /// # use ringway::Readiness;
    /// let readiness = Readiness::new()?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn new() -> Result<Self, Error> {
        let failed = |source| {
            let doing = "make a Readiness, which takes a file descriptor and a thread";
            Error::Os { queue: "".into(), doing, source: std::sync::Arc::new(source) }
        };
        Ok(Self { sleeper: Sleeper::new().map_err(failed)? })
    }

    /// Has the descriptor be readable when there may be something to receive, and not before: to be
    /// called when a receive has found nothing. `false`: do not wait, but receive, since there is
    /// something by now, a message or something else to be told; or, of a set, nobody to wait for.
    ///
    /// Of a producer the same for what [`try_send`](Producer::try_send), or whatever else sends, did not
    /// find room for; or [`try_flush`](Producer::try_flush) not durable, if that was tried last.
    ///
    /// What ends the wait of a receive makes it readable: a message, the end of the stream, the
    /// queue's removal, an [`Interrupter`](crate::Interrupter), an [`Acker`](crate::Acker) that
    /// settles something for a member that has as much as it may have, a lease or a pause that is
    /// over. So do 0.1 s without any of that: the receive that follows looks whether the queue is
    /// still there. For an observer, which nobody calls, for a set with one or with more than 127
    /// consumers, and before Linux 5.16, it is a millisecond instead; for a producer, which has to look whether who
    /// holds it lives, 1 to 50.
    ///
    /// As a receive does, it gives back what was lent. Only the last call that said `true`
    /// counts: what the descriptor was armed for before is forgotten, but for the same consumer it
    /// costs little. The
    /// queue's memory stays mapped until the wait has ended, also if the consumer is dropped.
    ///
    /// # Errors
    /// [`Error::Forked`], in a child that was forked since this one or the consumer was made. All
    /// else is told by the next receive. For a producer this is where it waits, and so where it is told
    /// [`Error::Interrupted`] or [`Error::Stale`].
    ///
    /// ```
    /// # use ringway::{Queue, QueueOptions, Readiness, Received, Subscribe};
    /// # let _ = Queue::force_remove("doc-arm");
    /// # let queue = Queue::create("doc-arm", &QueueOptions::new())?;
    /// let mut consumer = queue.subscribe(&Subscribe::new())?;
    /// let readiness = Readiness::new()?;
    /// assert_eq!(consumer.try_receive()?, Received::Empty);
    /// assert!(readiness.arm(&mut consumer)?);
    /// queue.producer()?.send(b"by now")?;
    /// assert!(!readiness.arm(&mut consumer)?);
    /// assert!(consumer.try_receive()?.message().is_some());
    /// # drop(consumer);
    /// # Queue::force_remove("doc-arm")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn arm(&self, awaited: &mut (impl Awaited + ?Sized)) -> Result<bool, Error> {
        if !self.sleeper.is_own() {
            return Err(Error::Forked { queue: awaited.any_queue_name().into() });
        }
        let order = awaited.order()?;
        Ok(order.map(|order| self.sleeper.send(order)).is_some())
    }

    /// Waits, as a task of any async runtime, until there may be something to receive, or room to send:
    /// to be called when a receive has found nothing, or a send no room, and followed by one. The thread
    /// wakes the task; the runtime need not know the descriptor.
    ///
    /// A future that is dropped loses nothing.
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    ///
    /// ```
    /// use ringway::{Consumer, Error, Producer, Queue, QueueOptions, Readiness, Received, Sent};
    /// use ringway::{Start, Subscribe};
    ///
    /// async fn count(mut producer: Producer) -> Result<(), Error> {
    ///     let mut readiness = Readiness::new()?;
    ///     for number in 0..4_u8 {
    ///         while producer.try_send(&[number])? == Sent::Full {
    ///             readiness.ready(&mut producer).await?;
    ///         }
    ///     }
    ///     producer.close()
    /// }
    ///
    /// async fn sum_up(mut consumer: Consumer) -> Result<u64, Error> {
    ///     let mut readiness = Readiness::new()?;
    ///     let mut sum = 0;
    ///     loop {
    ///         match consumer.try_receive()? {
    ///             Received::Message(message) => sum += u64::from(message.payload()[0]),
    ///             Received::Closed => return Ok(sum),
    ///             _ => readiness.ready(&mut consumer).await?,
    ///         }
    ///     }
    /// }
    /// # // An executor for one task.
    /// # use std::{pin::pin, sync::Arc, task::{Context, Poll, Wake}, thread};
    /// # struct Unpark(thread::Thread);
    /// # impl Wake for Unpark { fn wake(self: Arc<Self>) { self.0.unpark(); } }
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let waker = Arc::new(Unpark(thread::current())).into();
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    /// #     loop {
    /// #         match future.as_mut().poll(&mut context) {
    /// #             Poll::Ready(output) => return output,
    /// #             Poll::Pending => thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// # let _ = Queue::force_remove("doc-ready");
    /// # let queue = Queue::create("doc-ready", &QueueOptions::new())?;
    /// # let consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// # let producer = queue.producer()?;
    /// let sender = thread::spawn(|| block_on(count(producer)));
    /// assert_eq!(block_on(sum_up(consumer))?, 6);
    /// # sender.join().unwrap()?;
    /// # Queue::force_remove("doc-ready")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub async fn ready(&mut self, awaited: &mut (impl Awaited + ?Sized)) -> Result<(), Error> {
        if self.arm(awaited)? {
            poll_fn(|context| self.sleeper.poll(context)).await;
        }
        Ok(())
    }

    /// Receives, as a task of any async runtime: as [`Consumer::receive`], but that the task waits, and
    /// not the thread. A future that is dropped loses nothing.
    ///
    /// It gives the thread to nobody else while there is something to receive.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    ///
    /// ```
    /// use ringway::{Consumer, Error, Readiness, Received};
    ///
    /// async fn print_all(mut consumer: Consumer) -> Result<(), Error> {
    ///     let mut readiness = Readiness::new()?;
    ///     loop {
    ///         match readiness.receive(&mut consumer).await? {
    ///             Received::Message(message) => println!("{} bytes", message.payload().len()),
    ///             Received::Missed { from, to } => println!("{from} to {} are gone", to - 1),
    ///             _ => return Ok(()), // the stream has ended
    ///         }
    ///     }
    /// }
    /// # use ringway::{Queue, QueueOptions, Start, Subscribe};
    /// # let _ = Queue::force_remove("doc-receive-async");
    /// # let queue = Queue::create("doc-receive-async", &QueueOptions::new())?;
    /// # let consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest))?;
    /// # let mut producer = queue.producer()?;
    /// # producer.send(b"there already")?;
    /// # producer.close()?;
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # let printed = std::pin::pin!(print_all(consumer)).poll(&mut context);
    /// # assert!(matches!(printed, std::task::Poll::Ready(Ok(()))));
    /// # Queue::force_remove("doc-receive-async")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub async fn receive<'a>(
        &mut self,
        from: &'a mut Consumer,
    ) -> Result<Received<Message<'a>>, Error> {
        loop {
            // SAFETY: the message is bound to the borrow, and nothing is received after it.
            match unsafe { from.reception_mut().receive_unbound(Patience::None) }? {
                Received::Empty | Received::TimedOut => self.ready(from).await?,
                received => return Ok(received),
            }
        }
    }

    /// Sends, as a task of any async runtime: as [`Producer::send`], but that the task waits for room, and
    /// not the thread. A future that is dropped before it is done has sent nothing.
    ///
    /// # Errors
    /// As [`Producer::send`].
    ///
    /// ```
    /// use ringway::{Error, Producer, Readiness};
    ///
    /// async fn count(mut producer: Producer) -> Result<(), Error> {
    ///     let mut readiness = Readiness::new()?;
    ///     for number in 0..100_u64 {
    ///         readiness.send(&mut producer, &number.to_le_bytes()).await?;
    ///     }
    ///     producer.close()
    /// }
    /// # use ringway::{Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-send-async");
    /// # let queue = Queue::create("doc-send-async", &QueueOptions::new())?;
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # let counted = std::pin::pin!(count(queue.producer()?)).poll(&mut context);
    /// # assert!(matches!(counted, std::task::Poll::Ready(Ok(()))));
    /// # Queue::force_remove("doc-send-async")?;
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub async fn send(&mut self, to: &mut Producer, payload: &[u8]) -> Result<u64, Error> {
        loop {
            match to.try_send(payload)? {
                Sent::Sequence(sequence) => return Ok(sequence),
                Sent::Full | Sent::TimedOut => self.ready(to).await?,
            }
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// What a [`Readiness`] is armed for: a [`Consumer`], an [`Observer`], a [`ConsumerSet`], a
/// [`Producer`].
///
/// ```
/// use ringway::{Awaited, ConsumerSet, Error, Readiness};
///
/// fn must_wait(readiness: &Readiness, awaited: &mut dyn Awaited) -> Result<bool, Error> {
///     readiness.arm(awaited)
/// }
/// // Nobody to wait for.
/// assert!(!must_wait(&Readiness::new()?, &mut ConsumerSet::new())?);
/// # Ok::<(), Error>(())
/// ```
pub trait Awaited: Sealed {}

impl Awaited for Consumer {}
impl Awaited for Observer {}
impl Awaited for ConsumerSet {}
impl Awaited for Producer {}

mod sealed {
    use super::{Error, Order};

    pub trait Sealed {
        fn order(&mut self) -> Result<Option<Order>, Error>;
        fn any_queue_name(&self) -> &str;
    }
}

impl Sealed for Consumer {
    fn order(&mut self) -> Result<Option<Order>, Error> {
        self.reception_mut().order_sleep()
    }

    fn any_queue_name(&self) -> &str {
        self.queue_name()
    }
}

impl Sealed for Observer {
    fn order(&mut self) -> Result<Option<Order>, Error> {
        self.reception_mut().order_sleep()
    }

    fn any_queue_name(&self) -> &str {
        self.queue_name()
    }
}

impl Sealed for ConsumerSet {
    fn order(&mut self) -> Result<Option<Order>, Error> {
        self.order_sleep()
    }

    fn any_queue_name(&self) -> &str {
        self.iter().next().map_or("", |(_, reader)| reader.queue_name())
    }
}

impl Sealed for Producer {
    fn order(&mut self) -> Result<Option<Order>, Error> {
        self.order_sleep()
    }

    fn any_queue_name(&self) -> &str {
        self.queue_name()
    }
}
