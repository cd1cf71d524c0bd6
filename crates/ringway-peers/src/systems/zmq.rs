//! `ZeroMQ` over ipc: push and pull, which waits for room, and shares between several receivers.

use anyhow::{Result, ensure};
use zerocopy::IntoBytes;
use zmq::{Context, DONTWAIT, Error, POLLOUT, Socket};

use crate::transport::{Channel, Facts, Kind, Message, Receiver, Sender, System, Transport, Wait};

pub(crate) struct Zmq;

impl System for Zmq {
    const FACTS: Facts = Facts {
        name: "zeromq",
        kind: Kind::Reliable,
        package: Some("zmq"),
        busy: true,
        blocking: true,
        streams: Wait::Blocking,
        batches: false,
        // Publishing drops what a subscriber is too slow for, and the binding cannot forbid it.
        broadcast: false,
        shared: true,
        refuses: true,
        size_max: 64 << 10,
    };
}

fn socket<const W: usize>(channel: &Channel, kind: zmq::SocketType) -> Result<Socket> {
    let socket = Context::new().socket(kind)?;
    // On each side as much as half a ring, and no more than is usual.
    let messages = i32::try_from((channel.ring_bytes / 2 / size_of::<Message<W>>()).min(1000))?;
    socket.set_sndhwm(messages)?;
    socket.set_rcvhwm(messages)?;
    socket.set_linger(0)?;
    Ok(socket)
}

fn endpoint(channel: &Channel) -> String {
    format!("ipc://{}", channel.path().display())
}

fn flags(channel: &Channel) -> i32 {
    if channel.wait == Wait::Busy { DONTWAIT } else { 0 }
}

impl<const W: usize> Transport<W> for Zmq {
    type Sender = ZmqSender;
    type Receiver = ZmqReceiver<W>;

    fn sender(channel: &Channel) -> Result<ZmqSender> {
        let socket = socket::<W>(channel, zmq::PUSH)?;
        socket.bind(&endpoint(channel))?;
        // There is room once somebody is connected.
        socket.poll(POLLOUT, -1)?;
        Ok(ZmqSender { socket, flags: flags(channel) })
    }

    fn receiver(channel: &Channel) -> Result<ZmqReceiver<W>> {
        let socket = socket::<W>(channel, zmq::PULL)?;
        socket.connect(&endpoint(channel))?;
        Ok(ZmqReceiver { socket, flags: flags(channel), message: Box::new([0; W]) })
    }
}

pub(crate) struct ZmqSender {
    socket: Socket,
    flags: i32,
}

impl<const W: usize> Sender<W> for ZmqSender {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match self.socket.send(message.as_bytes(), self.flags) {
            Ok(()) => Ok(true),
            Err(Error::EAGAIN | Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        while !self.try_send(message)? {
            // A thread of its own makes room, which has no other processor.
            std::thread::yield_now();
        }
        Ok(())
    }
}

pub(crate) struct ZmqReceiver<const W: usize> {
    socket: Socket,
    flags: i32,
    message: Box<Message<W>>,
}

impl<const W: usize> Receiver<W> for ZmqReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        match self.socket.recv_into(self.message.as_mut_bytes(), self.flags) {
            Ok(size) => {
                ensure!(size == size_of_val(&*self.message), "a message of {size} bytes");
                look(&self.message);
                Ok(true)
            }
            Err(Error::EAGAIN | Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        while !self.try_receive(&mut look)? {
            std::thread::yield_now();
        }
        Ok(())
    }
}
