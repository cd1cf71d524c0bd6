//! The floor of everything that sleeps: a word, and the kernel's futex call on it. No queue, one
//! message on its way at most.

use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Result, bail};
use memmap2::MmapRaw;

use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, Receiver, Sender, System, Transport, Wait,
};

pub(crate) struct BareFutex;

impl System for BareFutex {
    const FACTS: Facts = Facts {
        name: "bare futex",
        kind: Kind::Bare,
        package: None,
        busy: false,
        blocking: true,
        streams: Wait::Blocking,
        batches: false,
        broadcast: false,
        shared: false,
        refuses: false,
        size_max: 8,
    };

    fn prepare(channels: &[Channel], _: usize) -> Result<Prepared> {
        for channel in channels {
            File::create_new(channel.path())?.set_len(SIZE)?;
        }
        Ok(Prepared::default())
    }
}

const SIZE: u64 = 4096;

impl<const W: usize> Transport<W> for BareFutex {
    type Sender = Futex;
    type Receiver = Futex;

    fn sender(channel: &Channel) -> Result<Futex> {
        let file = OpenOptions::new().read(true).write(true).open(channel.path())?;
        Ok(Futex { memory: MmapRaw::map_raw(&file)?, seen: 0 })
    }

    fn receiver(channel: &Channel) -> Result<Futex> {
        <Self as Transport<W>>::sender(channel)
    }
}

/// Both ends: a count that is slept on, and a word of payload.
pub(crate) struct Futex {
    memory: MmapRaw,
    seen: u32,
}

impl Futex {
    fn count(&self) -> &AtomicU32 {
        // SAFETY: the mapping is a page, and both ends use the word atomically.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().cast()) }
    }

    fn payload(&self) -> &AtomicU64 {
        let place = self.memory.as_mut_ptr().wrapping_add(8).cast();
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(place) }
    }

    fn call(&self, operation: i32, value: u32) {
        let time = std::ptr::null::<libc::timespec>();
        // SAFETY: the word outlives the call; an error means that there was nothing to do.
        unsafe { libc::syscall(libc::SYS_futex, self.count().as_ptr(), operation, value, time) };
    }
}

impl<const W: usize> Sender<W> for Futex {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        self.payload().store(message[0], Ordering::Relaxed);
        self.count().fetch_add(1, Ordering::Release);
        self.call(libc::FUTEX_WAKE, 1);
        Ok(true)
    }
}

impl<const W: usize> Receiver<W> for Futex {
    fn try_receive(&mut self, _: impl FnMut(&Message<W>)) -> Result<bool> {
        bail!("it cannot poll")
    }

    #[inline]
    fn receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<()> {
        while self.count().load(Ordering::Acquire) == self.seen {
            self.call(libc::FUTEX_WAIT, self.seen);
        }
        self.seen = self.seen.wrapping_add(1);
        look(&[self.payload().load(Ordering::Relaxed); W]);
        Ok(())
    }
}
