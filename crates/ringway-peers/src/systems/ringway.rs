//! ringway itself: a queue for each direction.

use anyhow::{Context, Result, bail};
use ringway::{Consumer, Producer, Queue, QueueOptions, Received, Start, Subscribe};
use zerocopy::{FromBytes, IntoBytes};

use crate::transport::{
    Channel, Delivery, Facts, Kind, Message, Prepared, RING_BYTES_MIN, Receiver, Sender, System,
    TAKEN_MAX, Transport, Wait,
};

pub(crate) struct Ringway;

impl System for Ringway {
    const FACTS: Facts = Facts {
        name: "ringway",
        kind: Kind::Reliable,
        package: Some("ringway"),
        busy: true,
        blocking: true,
        streams: Wait::Busy,
        batches: true,
        broadcast: true,
        shared: true,
        refuses: true,
        size_max: 64 << 10,
    };

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        for channel in channels {
            let options = QueueOptions::new().capacity(channel.ring_bytes as u64);
            let name = channel.unique_name();
            Queue::create(&name, &options)?;
            prepared.kept.push(Box::new(Removed(name)));
        }
        Ok(prepared)
    }
}

/// Removes its queue when dropped.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = Queue::force_remove(&self.0) {
            eprintln!("the queue {} stays behind: {error}", self.0);
        }
    }
}

impl<const W: usize> Transport<W> for Ringway {
    type Sender = Producer;
    type Receiver = Consumer;

    fn sender(channel: &Channel) -> Result<Producer> {
        let mut producer = Queue::open(&channel.unique_name())?.producer()?;
        producer.set_wait(wait(channel));
        Ok(producer)
    }

    fn receiver(channel: &Channel) -> Result<Consumer> {
        let options = Subscribe::new().from(Start::Newest).wait(wait(channel));
        let options = match channel.delivery {
            Delivery::Broadcast => options,
            Delivery::Shared => options.named("workers"),
        };
        Ok(Queue::open(&channel.unique_name())?.subscribe(&options)?)
    }
}

fn wait(channel: &Channel) -> ringway::Wait {
    match channel.wait {
        Wait::Busy => ringway::Wait::Spin,
        Wait::Blocking => ringway::Wait::Park,
    }
}

/// A batch has a quarter of the ring at most: of the smallest ring, with a header for each message.
const BATCH_BYTES_MAX: usize = RING_BYTES_MIN / 4;
const HEADER_BYTES: usize = 8;

impl<const W: usize> Sender<W> for Producer {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        Ok(Producer::try_send(self, message.as_bytes())?.sequence().is_some())
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        Producer::send(self, message.as_bytes())?;
        Ok(())
    }

    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        let count_max = BATCH_BYTES_MAX / (size_of::<Message<W>>() + HEADER_BYTES);
        for messages in messages.chunks(count_max) {
            let mut batch = self.batch();
            batch.extend(messages.iter().map(IntoBytes::as_bytes))?;
            batch.commit()?;
        }
        Ok(())
    }
}

#[inline]
fn show<const W: usize>(payload: &[u8], mut look: impl FnMut(&Message<W>)) -> Result<()> {
    let message = Message::<W>::ref_from_bytes(payload).ok().context("another size")?;
    look(message);
    Ok(())
}

impl<const W: usize> Receiver<W> for Consumer {
    #[inline]
    fn try_receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<bool> {
        match Consumer::try_receive(self)? {
            Received::Message(message) => show(message.payload(), look).map(|()| true),
            Received::Empty | Received::TimedOut => Ok(false),
            Received::Missed { from, to } => bail!("missed {from} to {to}, though held for"),
            Received::Closed => bail!("the sender has closed the queue"),
        }
    }

    #[inline]
    fn receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<()> {
        let message = Consumer::receive(self)?.message().context("no message came")?;
        show(message.payload(), look)
    }

    #[inline]
    fn receive_batch(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        let batch =
            Consumer::receive_batch(self, TAKEN_MAX)?.message().context("no message came")?;
        for message in batch {
            show(message.payload(), &mut look)?;
        }
        Ok(())
    }
}
