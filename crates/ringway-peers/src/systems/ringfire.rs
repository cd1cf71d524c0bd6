//! ringfire: a ring of fixed slots in shared memory. Lossless, which wants registered readers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use ringfire::{
    FlowControl, FutexWait, RecvStatus, RingConsumer, RingProducer, RingProducerBuilder,
    RingfireError,
};

use crate::transport::{
    Channel, Facts, Kind, Message, Receiver, Sender, System, TAKEN_MAX, Transport, Wait,
};

pub(crate) struct Ringfire;

impl System for Ringfire {
    const FACTS: Facts = Facts {
        name: "ringfire",
        kind: Kind::Reliable,
        package: Some("ringfire"),
        busy: true,
        blocking: true,
        streams: Wait::Busy,
        batches: true,
        broadcast: true,
        shared: false,
        refuses: true,
        size_max: 64 << 10,
    };
}

impl<const W: usize> Transport<W> for Ringfire {
    type Sender = RingProducer<Message<W>>;
    type Receiver = RingfireReceiver<W>;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        let count = channel.slots(8 + size_of::<Message<W>>());
        let builder =
            RingProducerBuilder::new(count as u64).flow_control(FlowControl::LosslessBackpressure);
        Ok(builder.build(channel.path())?)
    }

    fn receiver(channel: &Channel) -> Result<Self::Receiver> {
        let path = channel.path();
        loop {
            // The sender may not have made it yet, or not to its end.
            if let Ok(inode) = fs::metadata(&path).map(|file| file.ino())
                && let Ok(consumer) = RingConsumer::builder().start_from_head().attach(&path)
            {
                let count = (BUFFER_BYTES / size_of::<Message<W>>()).clamp(1, TAKEN_MAX);
                let buffer = vec![[0; W]; count];
                let wait = channel.wait;
                return Ok(RingfireReceiver {
                    consumer,
                    wait,
                    path,
                    inode,
                    empty_polls: 0,
                    buffer,
                });
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Longer messages had better be copied to where they are wanted at once.
const LONG_WORDS: usize = 32;

/// What received messages are copied to, if they are many: small against the caches.
const BUFFER_BYTES: usize = 64 << 10;

impl<const W: usize> Sender<W> for RingProducer<Message<W>> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match self.try_push(message) {
            Ok(()) => Ok(true),
            Err(RingfireError::BackpressureBufferFull) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        self.push(message);
        Ok(())
    }

    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        self.push_batch(messages);
        Ok(())
    }
}

pub(crate) struct RingfireReceiver<const W: usize> {
    consumer: RingConsumer<Message<W>>,
    wait: Wait,
    /// A new sender replaces the file of a dead one. Readers are not told, so they look.
    path: PathBuf,
    inode: u64,
    empty_polls: u32,
    buffer: Vec<Message<W>>,
}

impl<const W: usize> RingfireReceiver<W> {
    #[inline]
    fn count_empty(&mut self) -> Result<()> {
        self.empty_polls = self.empty_polls.wrapping_add(1);
        if self.empty_polls.is_multiple_of(1 << 14)
            && fs::metadata(&self.path).map(|file| file.ino()).ok() != Some(self.inode)
        {
            bail!("the ring was replaced");
        }
        Ok(())
    }
}

impl<const W: usize> Receiver<W> for RingfireReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        if W > LONG_WORDS {
            // By the other call it is copied more than once.
            let received = self.consumer.recv_batch(&mut self.buffer[..1]) > 0;
            if received {
                look(&self.buffer[0]);
            } else {
                self.count_empty()?;
            }
            return Ok(received);
        }
        match self.consumer.recv_status() {
            RecvStatus::Ok(message) => look(&message),
            RecvStatus::Lapped { skipped, .. } => bail!("{skipped} messages lost"),
            RecvStatus::Empty => return self.count_empty().map(|()| false),
        }
        Ok(true)
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        match self.wait {
            Wait::Blocking => {
                look(&self.consumer.recv_blocking(&mut FutexWait::default()));
                Ok(())
            }
            Wait::Busy => {
                while !self.try_receive(&mut look)? {
                    std::hint::spin_loop();
                }
                Ok(())
            }
        }
    }

    #[inline]
    fn receive_batch(&mut self, look: impl FnMut(&Message<W>)) -> Result<()> {
        let received = loop {
            match self.consumer.recv_batch(&mut self.buffer) {
                0 => std::hint::spin_loop(),
                received => break received,
            }
        };
        self.buffer[..received].iter().for_each(look);
        Ok(())
    }
}
