//! shaq: its queue for one sender and one receiver, its broadcast for more receivers, and its
//! queue for many where they share. The sender makes the file; a successor joins it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use shaq::broadcast::{Broadcast, BroadcastConfig, ProducerId};
use shaq::error::WaitError;
use shaq::{broadcast, mpmc, spsc};

use crate::transport::{
    Channel, Delivery, Facts, Kind, Message, Receiver, Sender, System, TAKEN_MAX, Transport, Wait,
};

pub(crate) struct Shaq;

impl System for Shaq {
    const FACTS: Facts = Facts {
        name: "shaq",
        kind: Kind::Reliable,
        package: Some("shaq"),
        busy: true,
        blocking: true,
        streams: Wait::Busy,
        batches: true,
        broadcast: true,
        shared: true,
        refuses: true,
        size_max: 64 << 10,
    };
}

/// What stands before the ring in its file.
const HEAD_BYTES: usize = 64 << 10;

/// Messages that are received in one step.
const BATCH: NonZeroUsize = NonZeroUsize::new(TAKEN_MAX).unwrap();

enum Flavour {
    One,
    Broadcast,
    Shared,
}

fn flavour(channel: &Channel) -> Flavour {
    match channel.delivery {
        Delivery::Shared => Flavour::Shared,
        Delivery::Broadcast if channel.receivers > 1 => Flavour::Broadcast,
        Delivery::Broadcast => Flavour::One,
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(path)
}

impl<const W: usize> Transport<W> for Shaq {
    type Sender = ShaqSender<W>;
    type Receiver = ShaqReceiver<W>;

    fn sender(channel: &Channel) -> Result<ShaqSender<W>> {
        let path = channel.path();
        let made = path.with_extension("made");
        let (file, new) = match open(&path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = File::options();
                let file = file.clone().read(true).write(true).create_new(true).open(&made)?;
                (file, true)
            }
            Err(error) => return Err(error.into()),
        };
        let id = ProducerId::new(1);
        let file_size = channel.ring_bytes + HEAD_BYTES;
        // SAFETY: the file is made by the first sender alone, which nobody finds before it is
        // renamed; later senders come when the one before is dead. Messages are plain words.
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one of them, for one reason")]
        let sender = unsafe {
            match (flavour(channel), new) {
                (Flavour::One, true) => ShaqSender::One(spsc::Producer::create(&file, file_size)?),
                (Flavour::One, false) => ShaqSender::One(spsc::Producer::join(&file)?),
                (Flavour::Shared, true) => {
                    ShaqSender::Shared(mpmc::Producer::create(&file, file_size)?)
                }
                (Flavour::Shared, false) => ShaqSender::Shared(mpmc::Producer::join(&file)?),
                (Flavour::Broadcast, true) => {
                    let capacity = channel.slots(size_of::<Message<W>>());
                    let config = BroadcastConfig {
                        capacity,
                        producer_slots: 1,
                        consumer_slots: channel.receivers,
                    };
                    ShaqSender::Broadcast(Broadcast::create(&file, config)?.producer(id)?)
                }
                (Flavour::Broadcast, false) => {
                    ShaqSender::Broadcast(broadcast::Producer::join(&file, id)?)
                }
            }
        };
        if new {
            fs::rename(&made, &path)?;
        }
        Ok(sender)
    }

    fn receiver(channel: &Channel) -> Result<ShaqReceiver<W>> {
        let file = wait_for(&channel.path())?;
        // SAFETY: the file is whole once it has its name; a receiver comes when the one before
        // is dead, or has a place of its own. Messages are plain words.
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one of them, for one reason")]
        let end = unsafe {
            match flavour(channel) {
                Flavour::One => End::One(spsc::Consumer::join(&file)?),
                Flavour::Shared => End::Shared(mpmc::Consumer::join(&file)?),
                Flavour::Broadcast => End::Broadcast(broadcast::Consumer::join(&file)?),
            }
        };
        Ok(ShaqReceiver { end, wait: channel.wait, answered: channel.answered })
    }
}

fn wait_for(path: &Path) -> Result<File> {
    loop {
        match open(path) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) enum ShaqSender<const W: usize> {
    One(spsc::Producer<Message<W>>),
    Broadcast(broadcast::Producer<Message<W>>),
    Shared(mpmc::Producer<Message<W>>),
}

impl<const W: usize> Sender<W> for ShaqSender<W> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        Ok(match self {
            Self::One(producer) => producer.try_write(*message).is_ok(),
            Self::Broadcast(producer) => producer.try_write(*message).is_ok(),
            Self::Shared(producer) => producer.try_write(*message).is_ok(),
        })
    }

    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        let Self::One(producer) = self else {
            return messages.iter().try_for_each(|message| self.send(message));
        };
        let mut rest = messages;
        while !rest.is_empty() {
            let mut batch = producer.write_batch();
            while let Some((first, others)) = rest.split_first() {
                if batch.try_write(*first).is_err() {
                    break;
                }
                rest = others;
            }
        }
        Ok(())
    }
}

pub(crate) struct ShaqReceiver<const W: usize> {
    end: End<W>,
    wait: Wait,
    answered: bool,
}

enum End<const W: usize> {
    One(spsc::Consumer<Message<W>>),
    Broadcast(broadcast::Consumer<Message<W>>),
    Shared(mpmc::Consumer<Message<W>>),
}

impl<const W: usize> Receiver<W> for ShaqReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        let received = match &mut self.end {
            // It writes where it is also when it finds nothing, which keeps that line here: an
            // answer leaves sooner by a quarter, and the sender of a stream waits for the line.
            End::One(consumer) if self.answered => consumer.try_read().map(|it| look(&it)),
            End::One(consumer) => {
                consumer.try_reserve_read_batch(NonZeroUsize::MIN).map(|it| look(&it[0]))
            }
            End::Broadcast(consumer) => consumer.try_reserve_read().map(|it| look(it.as_ref())),
            End::Shared(consumer) => consumer.try_reserve_read().map(|it| look(it.as_ref())),
        };
        Ok(received.is_some())
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        const TIME: Duration = Duration::from_secs(1);
        if self.wait == Wait::Busy {
            while !self.try_receive(&mut look)? {
                std::hint::spin_loop();
            }
            return Ok(());
        }
        loop {
            let message = match &mut self.end {
                End::One(consumer) => consumer.read_timeout(TIME),
                End::Broadcast(consumer) => consumer.read_timeout(TIME),
                End::Shared(consumer) => consumer.read_timeout(TIME),
            };
            match message {
                Ok(message) => {
                    look(&message);
                    return Ok(());
                }
                Err(WaitError::Timeout) => {}
            }
        }
    }

    #[inline]
    fn receive_batch(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        let End::One(consumer) = &mut self.end else { return self.receive(look) };
        loop {
            if let Some(batch) = consumer.try_reserve_read_batch(BATCH) {
                let (one, other) = batch.as_slices();
                one.iter().chain(other).for_each(&mut look);
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }
}
