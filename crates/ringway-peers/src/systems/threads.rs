//! Queues between threads of one process: what can be had without another process to protect.

use anyhow::{Context, Result, anyhow, ensure};
use crossbeam_channel::{RecvError, TryRecvError, TrySendError};
use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, Polling, Producer as _, SingleConsumerBarrier,
    SingleProducer, SingleProducerBarrier, build_single_producer,
};
use photon_ring::PublishError;

use crate::transport::{
    Channel, Ends, Facts, Kind, Message, RING_BYTES_MIN, Receiver, Sender, System, TAKEN_MAX,
    Threads, Wait,
};

const FACTS: Facts = Facts {
    name: "",
    kind: Kind::Threads,
    package: None,
    busy: true,
    blocking: false,
    streams: Wait::Busy,
    batches: false,
    broadcast: false,
    shared: false,
    refuses: true,
    size_max: 64 << 10,
};

/// One sender, one receiver; chunks.
pub(crate) struct Rtrb;

impl System for Rtrb {
    const FACTS: Facts = Facts { name: "rtrb", package: Some("rtrb"), batches: true, ..FACTS };
}

impl<const W: usize> Threads<W> for Rtrb {
    type Sender = rtrb::Producer<Message<W>>;
    type Receiver = rtrb::Consumer<Message<W>>;

    fn ends(channel: &Channel) -> Result<Ends<Self::Sender, Self::Receiver>> {
        ensure!(channel.receivers == 1, "one receiver only");
        let (sender, receiver) = rtrb::RingBuffer::new(channel.slots(size_of::<Message<W>>()));
        Ok((sender, vec![receiver]))
    }
}

impl<const W: usize> Sender<W> for rtrb::Producer<Message<W>> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        Ok(self.push(*message).is_ok())
    }

    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        let mut rest = messages;
        while !rest.is_empty() {
            (_, rest) = self.push_partial_slice(rest);
        }
        Ok(())
    }
}

impl<const W: usize> Receiver<W> for rtrb::Consumer<Message<W>> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        let Ok(message) = self.pop() else { return Ok(false) };
        look(&message);
        Ok(true)
    }

    #[inline]
    fn receive_batch(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        let available = loop {
            match self.slots() {
                0 => std::hint::spin_loop(),
                available => break available.min(TAKEN_MAX),
            }
        };
        let chunk = self.read_chunk(available)?;
        let (one, other) = chunk.as_slices();
        one.iter().chain(other).for_each(&mut look);
        chunk.commit_all();
        Ok(())
    }
}

/// Many senders, many receivers, each message to one of them.
pub(crate) struct Crossbeam;

impl System for Crossbeam {
    const FACTS: Facts = Facts {
        name: "crossbeam-channel",
        package: Some("crossbeam-channel"),
        blocking: true,
        shared: true,
        ..FACTS
    };
}

impl<const W: usize> Threads<W> for Crossbeam {
    type Sender = CrossbeamEnd<crossbeam_channel::Sender<Message<W>>>;
    type Receiver = CrossbeamEnd<crossbeam_channel::Receiver<Message<W>>>;

    fn ends(channel: &Channel) -> Result<Ends<Self::Sender, Self::Receiver>> {
        let (sender, receiver) = crossbeam_channel::bounded(channel.slots(size_of::<Message<W>>()));
        let receivers = (0..channel.receivers)
            .map(|_| CrossbeamEnd { end: receiver.clone(), wait: channel.wait })
            .collect();
        Ok((CrossbeamEnd { end: sender, wait: channel.wait }, receivers))
    }
}

pub(crate) struct CrossbeamEnd<E> {
    end: E,
    wait: Wait,
}

impl<const W: usize> Sender<W> for CrossbeamEnd<crossbeam_channel::Sender<Message<W>>> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match self.end.try_send(*message) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(anyhow!("nobody receives")),
        }
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        self.end.send(*message).ok().context("nobody receives")
    }
}

impl<const W: usize> Receiver<W> for CrossbeamEnd<crossbeam_channel::Receiver<Message<W>>> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        match self.end.try_recv() {
            Ok(message) => look(&message),
            Err(TryRecvError::Empty) => return Ok(false),
            Err(error @ TryRecvError::Disconnected) => return Err(error.into()),
        }
        Ok(true)
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        if self.wait == Wait::Blocking {
            look(&self.end.recv().map_err(|error: RecvError| error)?);
            return Ok(());
        }
        while !self.try_receive(&mut look)? {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// One sender, and receivers that each poll for themselves; batches.
pub(crate) struct Disruptor;

impl System for Disruptor {
    const FACTS: Facts = Facts {
        name: "disruptor",
        package: Some("disruptor"),
        batches: true,
        broadcast: true,
        ..FACTS
    };
}

impl<const W: usize> Threads<W> for Disruptor {
    type Sender = DisruptorSender<W>;
    type Receiver = EventPoller<Message<W>, SingleProducerBarrier>;

    fn ends(channel: &Channel) -> Result<Ends<Self::Sender, Self::Receiver>> {
        let size = channel.slots(size_of::<Message<W>>());
        let (one, builder) = build_single_producer(size, || [0; W], BusySpin).new_event_poller();
        match channel.receivers {
            1 => Ok((DisruptorSender::ToOne(builder.build()), vec![one])),
            2 => {
                let (other, builder) = builder.new_event_poller();
                Ok((DisruptorSender::ToMany(builder.build()), vec![one, other]))
            }
            more => Err(anyhow!("{more} receivers were not foreseen")),
        }
    }
}

/// Its type depends on how many receive.
pub(crate) enum DisruptorSender<const W: usize> {
    ToOne(SingleProducer<Message<W>, SingleConsumerBarrier>),
    ToMany(SingleProducer<Message<W>, MultiConsumerBarrier>),
}

impl<const W: usize> Sender<W> for DisruptorSender<W> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        Ok(match self {
            Self::ToOne(producer) => producer.try_publish(|slot| *slot = *message).is_ok(),
            Self::ToMany(producer) => producer.try_publish(|slot| *slot = *message).is_ok(),
        })
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        match self {
            Self::ToOne(producer) => producer.publish(|slot| *slot = *message),
            Self::ToMany(producer) => producer.publish(|slot| *slot = *message),
        }
        Ok(())
    }

    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        // A ring of large messages holds fewer than a batch.
        for messages in messages.chunks(RING_BYTES_MIN / 2 / size_of::<Message<W>>()) {
            match self {
                Self::ToOne(producer) => producer.batch_publish(messages.len(), |slots| {
                    slots.zip(messages).for_each(|(slot, message)| *slot = *message);
                }),
                Self::ToMany(producer) => producer.batch_publish(messages.len(), |slots| {
                    slots.zip(messages).for_each(|(slot, message)| *slot = *message);
                }),
            }
        }
        Ok(())
    }
}

impl<const W: usize> Receiver<W> for EventPoller<Message<W>, SingleProducerBarrier> {
    #[inline]
    fn try_receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<bool> {
        match self.take(1) {
            Ok(mut messages) => (&mut messages).for_each(look),
            Err(Polling::NoEvents) => return Ok(false),
            Err(error @ Polling::Shutdown) => return Err(error.into()),
        }
        Ok(true)
    }

    #[inline]
    fn receive_batch(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        loop {
            match self.poll() {
                Ok(mut messages) => {
                    (&mut messages).for_each(&mut look);
                    return Ok(());
                }
                Err(Polling::NoEvents) => std::hint::spin_loop(),
                Err(error @ Polling::Shutdown) => return Err(error.into()),
            }
        }
    }
}

/// A stamped ring, bounded so that nothing is lost. Its batches are single sends when bounded.
pub(crate) struct Photon;

impl System for Photon {
    const FACTS: Facts =
        Facts { name: "photon-ring", package: Some("photon-ring"), broadcast: true, ..FACTS };
}

impl<const W: usize> Threads<W> for Photon {
    type Sender = photon_ring::Publisher<Message<W>>;
    type Receiver = photon_ring::Subscriber<Message<W>>;

    fn ends(channel: &Channel) -> Result<Ends<Self::Sender, Self::Receiver>> {
        let (sender, receivers) =
            photon_ring::channel_bounded(channel.slots(8 + size_of::<Message<W>>()), 0);
        let receivers = (0..channel.receivers).map(|_| receivers.subscribe()).collect();
        Ok((sender, receivers))
    }
}

impl<const W: usize> Sender<W> for photon_ring::Publisher<Message<W>> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match self.try_publish(*message) {
            Ok(()) => Ok(true),
            Err(PublishError::Full(_)) => Ok(false),
        }
    }
}

impl<const W: usize> Receiver<W> for photon_ring::Subscriber<Message<W>> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        match self.try_recv() {
            Ok(message) => look(&message),
            Err(photon_ring::TryRecvError::Empty) => return Ok(false),
            Err(photon_ring::TryRecvError::Lagged { skipped }) => {
                return Err(anyhow!("{skipped} messages lost"));
            }
        }
        Ok(true)
    }
}
