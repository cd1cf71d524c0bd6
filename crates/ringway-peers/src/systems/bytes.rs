//! A stream of bytes that the kernel keeps, as messages of one size: for pipes and sockets.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd;
use zerocopy::IntoBytes;

use crate::transport::{Message, Receiver, Sender, Wait};

/// A reader asks for so much at a time, as who reads a stream in small pieces would.
const BUFFER_BYTES: usize = 64 << 10;

/// Makes a descriptor one that never sleeps, if its end is to poll.
pub(super) fn set_wait(fd: &OwnedFd, wait: Wait) -> Result<()> {
    if wait == Wait::Busy {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(())
}

pub(crate) struct Writer {
    fd: OwnedFd,
    /// What the kernel has not taken of a message that it has taken the beginning of.
    rest: Vec<u8>,
}

impl Writer {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, rest: Vec::new() }
    }

    /// Writes the bytes, or as many as there is room for; whether it was all.
    fn write(&self, bytes: &mut &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            match unistd::write(self.fd.as_fd(), bytes) {
                Ok(written) => *bytes = &bytes[written..],
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

impl<const W: usize> Sender<W> for Writer {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        if !self.settle_rest()? {
            return Ok(false);
        }
        let mut bytes = message.as_bytes();
        if !self.write(&mut bytes)? {
            if bytes.len() == size_of_val(message) {
                return Ok(false);
            }
            self.rest.extend_from_slice(bytes);
        }
        Ok(true)
    }

    fn settle(&mut self) -> Result<()> {
        self.settle_rest().map(drop)
    }

    #[inline]
    fn send_batch(&mut self, messages: &[Message<W>]) -> Result<()> {
        while !self.settle_rest()? {}
        let mut bytes = messages.as_bytes();
        while !self.write(&mut bytes)? {
            std::hint::spin_loop();
        }
        Ok(())
    }

    #[inline]
    fn send(&mut self, message: &Message<W>) -> Result<()> {
        while !self.try_send(message)? {
            std::hint::spin_loop();
        }
        // The other side may wait for the rest of this one.
        while !self.settle_rest()? {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

impl Writer {
    /// Whether nothing is left of an earlier message.
    #[inline]
    fn settle_rest(&mut self) -> Result<bool> {
        if self.rest.is_empty() {
            return Ok(true);
        }
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        let all = self.write(&mut left)?;
        self.rest = left.to_vec();
        Ok(all)
    }
}

pub(crate) struct Reader<const W: usize> {
    fd: OwnedFd,
    buffer: Vec<Message<W>>,
    /// The first message that was not received.
    next: usize,
    /// How many bytes of the buffer are filled.
    filled: usize,
}

impl<const W: usize> Reader<W> {
    const SIZE: usize = size_of::<Message<W>>();

    pub(super) fn new(fd: OwnedFd) -> Self {
        let count = (BUFFER_BYTES / Self::SIZE).max(1);
        Self { fd, buffer: vec![[0; W]; count], next: 0, filled: 0 }
    }

    /// Reads what there is behind what is left; whether there was anything.
    #[cold]
    fn refill(&mut self) -> Result<bool> {
        let bytes = self.buffer.as_mut_slice().as_mut_bytes();
        bytes.copy_within(self.next * Self::SIZE..self.filled, 0);
        self.filled -= self.next * Self::SIZE;
        self.next = 0;
        match unistd::read(self.fd.as_fd(), &mut bytes[self.filled..]) {
            Ok(read) => {
                ensure!(read > 0, "the sender is gone");
                self.filled += read;
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl<const W: usize> Receiver<W> for Reader<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        while (self.next + 1) * Self::SIZE > self.filled {
            if !self.refill()? {
                return Ok(false);
            }
        }
        look(&self.buffer[self.next]);
        self.next += 1;
        Ok(true)
    }
}
