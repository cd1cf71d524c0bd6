//! What every system has to do to be compared: the one interface that the measurements know.

use std::any::Any;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A message of `W` words: a plain value of a size known when compiling, as the typed peers want
/// it. The first word is a sequence number or a time, and a mark at times.
pub(crate) type Message<const W: usize> = [u64; W];

/// The smallest ring. Whose batches have to fit into a ring cuts them to fit into this one.
pub(crate) const RING_BYTES_MIN: usize = 4 << 20;

/// So many slots of that size are a ring: the power of two that comes nearest, so that who keeps a
/// word beside each message has not half a ring.
pub(crate) const fn slots(ring_bytes: usize, slot_size: usize) -> usize {
    1 << (ring_bytes / 3 * 4 / slot_size).ilog2()
}

/// So many messages a receiver takes in one step at most, where it can say so.
pub(crate) const TAKEN_MAX: usize = 256;

/// What a system promises, and where its two ends live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Between processes; nothing is lost.
    Reliable,
    /// Between processes; who falls behind loses.
    Lossy,
    /// Between threads of one process.
    Threads,
    /// No transport: memory and the kernel's call alone.
    Bare,
}

/// How an end waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// It polls.
    Busy,
    /// It sleeps in the kernel.
    Blocking,
}

/// Who gets a message where there are several receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Delivery {
    /// Each of them.
    Broadcast,
    /// One of them.
    Shared,
}

/// What is known of a system before anything runs.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Its package in the lock file, if it is one.
    pub(crate) package: Option<&'static str>,
    /// It can be polled without sleeping.
    pub(crate) busy: bool,
    /// It can sleep until something comes.
    pub(crate) blocking: bool,
    /// How its streams wait: as its users would have it.
    pub(crate) streams: Wait,
    /// Several messages go in one step.
    pub(crate) batches: bool,
    /// Several receivers can each get everything.
    pub(crate) broadcast: bool,
    /// Several receivers can share the messages.
    pub(crate) shared: bool,
    /// It says so when there is no room, instead of waiting or overwriting.
    pub(crate) refuses: bool,
    /// The largest message in bytes.
    pub(crate) size_max: usize,
}

/// One direction between one sender and its receivers: a name that both ends find.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Channel {
    /// In the shared memory's file system, for this job alone, removed after it.
    pub(crate) directory: PathBuf,
    pub(crate) name: String,
    pub(crate) wait: Wait,
    pub(crate) delivery: Delivery,
    /// How many receivers there will be.
    pub(crate) receivers: usize,
    /// The sender will ask whether there is room, instead of waiting for it.
    pub(crate) tries: bool,
    /// About how much its ring holds, whatever the size of a message.
    pub(crate) ring_bytes: usize,
    /// Each message is answered before the next one is sent.
    #[cfg_attr(not(feature = "shaq"), allow(dead_code))]
    pub(crate) answered: bool,
}

impl Channel {
    /// The channel's file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// So many slots of that size are its ring.
    #[cfg_attr(
        not(any(feature = "ringfire", feature = "shaq", feature = "threads")),
        allow(dead_code)
    )]
    pub(crate) fn slots(&self, slot_size: usize) -> usize {
        slots(self.ring_bytes, slot_size)
    }

    /// A name like no other on this machine: letters, digits, dots and dashes.
    pub(crate) fn unique_name(&self) -> String {
        let directory = self.directory.file_name().map(|name| name.to_string_lossy());
        format!("{}.{}", directory.unwrap_or_default(), self.name)
    }
}

/// What has to stand before the ends open, for as long as the job runs.
#[derive(Default)]
pub(crate) struct Prepared {
    /// Processes that the system needs besides the two ends.
    pub(crate) pids: Vec<u32>,
    /// Dropped when the job is over.
    #[allow(dead_code, reason = "kept for its drop")]
    pub(crate) kept: Vec<Box<dyn Any>>,
}

/// A system that can be compared.
pub(crate) trait System {
    const FACTS: Facts;

    /// Makes what both ends expect to find. `size` is that of a message in bytes.
    fn prepare(channels: &[Channel], size: usize) -> Result<Prepared> {
        let _ = (channels, size);
        Ok(Prepared::default())
    }

    /// Why it cannot run on this machine, or with such rings, and what to do about it, if so.
    fn missing(ring_bytes: usize) -> Option<String> {
        let _ = ring_bytes;
        None
    }
}

/// A system between processes. Both ends open at the same time, each in its own process, and
/// wait for the other if they have to.
pub(crate) trait Transport<const W: usize>: System {
    type Sender: Sender<W>;
    type Receiver: Receiver<W>;

    fn sender(channel: &Channel) -> Result<Self::Sender>;
    fn receiver(channel: &Channel) -> Result<Self::Receiver>;
}

/// The ends of a channel within one process.
#[cfg(feature = "threads")]
pub(crate) type Ends<S, R> = (S, Vec<R>);

/// A system between threads of one process.
#[cfg(feature = "threads")]
pub(crate) trait Threads<const W: usize>: System {
    type Sender: Sender<W> + Send;
    type Receiver: Receiver<W> + Send;

    fn ends(channel: &Channel) -> Result<Ends<Self::Sender, Self::Receiver>>;
}

/// The end that sends.
pub(crate) trait Sender<const W: usize> {
    /// Sends if there is room.
    fn try_send(&mut self, message: &Message<W>) -> Result<bool>;

    /// Sends, and waits for room in the channel's manner.
    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        while !self.try_send(message)? {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Goes on with what an earlier call has begun, if anything; without waiting.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Sends all, in one step if the system can.
    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        messages.iter().try_for_each(|message| self.send(message))
    }
}

/// The end that receives. What `look` is shown lies where the system delivers it: its own memory
/// if it delivers in place, the receiver's if it copies.
pub(crate) trait Receiver<const W: usize> {
    /// Receives a message if there is one.
    fn try_receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<bool>;

    /// Waits for a message in the channel's manner.
    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        while !self.try_receive(&mut look)? {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Waits for some messages, and receives them in one step if the system can.
    #[inline]
    fn receive_batch(&mut self, look: impl FnMut(&Message<W>)) -> Result<()> {
        self.receive(look)
    }
}
