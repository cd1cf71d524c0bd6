//! ipc-channel: a channel of bytes, whose receiving end travels through a one-shot server. The
//! server's name stands in the channel's file.

use std::fs;
use std::time::Duration;

use anyhow::{Result, anyhow};
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, bytes_channel,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::transport::{Channel, Facts, Kind, Message, Receiver, Sender, System, Transport, Wait};

pub(crate) struct IpcChannel;

impl System for IpcChannel {
    const FACTS: Facts = Facts {
        name: "ipc-channel",
        kind: Kind::Reliable,
        package: Some("ipc-channel"),
        busy: true,
        blocking: true,
        streams: Wait::Blocking,
        batches: false,
        broadcast: false,
        shared: false,
        // A send waits for room, and cannot be asked not to.
        refuses: false,
        size_max: 64 << 10,
    };
}

impl<const W: usize> Transport<W> for IpcChannel {
    type Sender = IpcBytesSender;
    type Receiver = IpcReceiver;

    fn sender(channel: &Channel) -> Result<IpcBytesSender> {
        loop {
            // Nobody may be there yet, or the name may be that of a server that is gone.
            if let Ok(name) = fs::read_to_string(channel.path())
                && let Ok(server) = IpcSender::<IpcBytesReceiver>::connect(name)
            {
                let (sender, receiver) = bytes_channel()?;
                server.send(receiver)?;
                return Ok(sender);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn receiver(channel: &Channel) -> Result<IpcReceiver> {
        let (server, name) = IpcOneShotServer::<IpcBytesReceiver>::new()?;
        let path = channel.path();
        let written = path.with_extension("written");
        fs::write(&written, name)?;
        fs::rename(&written, &path)?;
        let (_, receiver) = server.accept()?;
        Ok(IpcReceiver { receiver, wait: channel.wait })
    }
}

impl<const W: usize> Sender<W> for IpcBytesSender {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        IpcBytesSender::send(self, message.as_bytes())?;
        Ok(true)
    }
}

pub(crate) struct IpcReceiver {
    receiver: IpcBytesReceiver,
    wait: Wait,
}

fn show<const W: usize>(bytes: &[u8], mut look: impl FnMut(&Message<W>)) -> Result<()> {
    let message = Message::<W>::ref_from_bytes(bytes);
    look(message.map_err(|_| anyhow!("{} bytes, or not where words may lie", bytes.len()))?);
    Ok(())
}

impl<const W: usize> Receiver<W> for IpcReceiver {
    #[inline]
    fn try_receive(&mut self, look: impl FnMut(&Message<W>)) -> Result<bool> {
        match self.receiver.try_recv() {
            Ok(bytes) => show(&bytes, look).map(|()| true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::IpcError(error)) => Err(error.into()),
        }
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        if self.wait == Wait::Blocking {
            return show(&self.receiver.recv()?, look);
        }
        while !self.try_receive(&mut look)? {
            std::hint::spin_loop();
        }
        Ok(())
    }
}
