//! Unix sockets: the receiver listens, the sender connects. A stream of bytes, or packets, of
//! which each is a message.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, connect, listen,
    recv, send, socket,
};
use zerocopy::IntoBytes;

use super::bytes::{Reader, Writer, set_wait};
use crate::transport::{Channel, Facts, Kind, Message, Receiver, Sender, System, Transport, Wait};

fn receiving_end(channel: &Channel, kind: SockType) -> Result<OwnedFd> {
    let path = channel.path();
    if let Err(error) = fs::remove_file(&path) {
        ensure!(error.kind() == ErrorKind::NotFound, "{error}");
    }
    let listener = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
    listen(&listener, Backlog::new(1)?)?;
    let accepted = accept(listener.as_raw_fd())?;
    // SAFETY: accept made it, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(accepted) };
    set_wait(&fd, channel.wait)?;
    Ok(fd)
}

fn sending_end(channel: &Channel, kind: SockType) -> Result<OwnedFd> {
    let address = UnixAddr::new(&channel.path())?;
    loop {
        let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => {
                set_wait(&fd, channel.wait)?;
                return Ok(fd);
            }
            // Nobody listens yet.
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => {
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

const FACTS: Facts = Facts {
    name: "",
    kind: Kind::Reliable,
    package: None,
    busy: true,
    blocking: true,
    streams: Wait::Blocking,
    batches: true,
    broadcast: false,
    shared: false,
    refuses: true,
    size_max: 64 << 10,
};

pub(crate) struct Stream;

impl System for Stream {
    const FACTS: Facts = Facts { name: "unix-stream", ..FACTS };
}

impl<const W: usize> Transport<W> for Stream {
    type Sender = Writer;
    type Receiver = Reader<W>;

    fn sender(channel: &Channel) -> Result<Writer> {
        Ok(Writer::new(sending_end(channel, SockType::Stream)?))
    }

    fn receiver(channel: &Channel) -> Result<Reader<W>> {
        Ok(Reader::new(receiving_end(channel, SockType::Stream)?))
    }
}

pub(crate) struct Packets;

impl System for Packets {
    const FACTS: Facts = Facts { name: "unix-seqpacket", batches: false, ..FACTS };
}

impl<const W: usize> Transport<W> for Packets {
    type Sender = PacketSender;
    type Receiver = PacketReceiver<W>;

    fn sender(channel: &Channel) -> Result<PacketSender> {
        Ok(PacketSender(sending_end(channel, SockType::SeqPacket)?))
    }

    fn receiver(channel: &Channel) -> Result<PacketReceiver<W>> {
        let fd = receiving_end(channel, SockType::SeqPacket)?;
        Ok(PacketReceiver { fd, message: Box::new([0; W]) })
    }
}

pub(crate) struct PacketSender(OwnedFd);

impl<const W: usize> Sender<W> for PacketSender {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        match send(self.0.as_raw_fd(), message.as_bytes(), MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

pub(crate) struct PacketReceiver<const W: usize> {
    fd: OwnedFd,
    message: Box<Message<W>>,
}

impl<const W: usize> Receiver<W> for PacketReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        match recv(self.fd.as_raw_fd(), self.message.as_mut_bytes(), MsgFlags::empty()) {
            Ok(0) => anyhow::bail!("the sender is gone"),
            Ok(size) => {
                ensure!(size == size_of_val(&*self.message), "a packet of {size} bytes");
                look(&self.message);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
