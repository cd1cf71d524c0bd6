//! A POSIX message queue of ten messages, which is what a user may have without asking root.

use std::path::Path;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use zerocopy::IntoBytes;

use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, Receiver, Sender, System, Transport, Wait,
};

const LENGTH: i64 = 10;

pub(crate) struct MessageQueue;

impl System for MessageQueue {
    const FACTS: Facts = Facts {
        name: "posix-mq",
        kind: Kind::Reliable,
        package: None,
        busy: true,
        blocking: true,
        streams: Wait::Blocking,
        batches: false,
        broadcast: false,
        shared: true,
        refuses: true,
        // The usual limit, /proc/sys/fs/mqueue/msgsize_max.
        size_max: 8 << 10,
    };

    fn missing(_: usize) -> Option<String> {
        let there = Path::new("/proc/sys/fs/mqueue").exists();
        (!there).then(|| "this kernel has no POSIX message queues".to_owned())
    }

    fn prepare(channels: &[Channel], size: usize) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        for channel in channels {
            let name = format!("/{}", channel.unique_name());
            let attributes = MqAttr::new(0, LENGTH, i64::try_from(size)?, 0);
            let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR;
            mq_open(name.as_str(), flags, Mode::S_IRWXU, Some(&attributes))?;
            prepared.kept.push(Box::new(Removed(name)));
        }
        Ok(prepared)
    }
}

/// Removes its queue when dropped.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = mq_unlink(self.0.as_str()) {
            eprintln!("the message queue {} stays behind: {error}", self.0);
        }
    }
}

fn open(channel: &Channel, access: MQ_OFlag) -> Result<MqdT> {
    let flags = match channel.wait {
        Wait::Busy => access | MQ_OFlag::O_NONBLOCK,
        Wait::Blocking => access,
    };
    Ok(mq_open(format!("/{}", channel.unique_name()).as_str(), flags, Mode::empty(), None)?)
}

impl<const W: usize> Transport<W> for MessageQueue {
    type Sender = MqSender;
    type Receiver = MqReceiver<W>;

    fn sender(channel: &Channel) -> Result<MqSender> {
        Ok(MqSender(open(channel, MQ_OFlag::O_WRONLY)?))
    }

    fn receiver(channel: &Channel) -> Result<MqReceiver<W>> {
        let queue = open(channel, MQ_OFlag::O_RDONLY)?;
        Ok(MqReceiver { queue, message: Box::new([0; W]) })
    }
}

pub(crate) struct MqSender(MqdT);

impl<const W: usize> Sender<W> for MqSender {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match mq_send(&self.0, message.as_bytes(), 0) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

pub(crate) struct MqReceiver<const W: usize> {
    queue: MqdT,
    message: Box<Message<W>>,
}

impl<const W: usize> Receiver<W> for MqReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        match mq_receive(&self.queue, self.message.as_mut_bytes(), &mut 0) {
            Ok(size) => {
                ensure!(size == size_of_val(&*self.message), "a message of {size} bytes");
                look(&self.message);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
