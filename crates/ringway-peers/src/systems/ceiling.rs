//! The ceiling of rings with fixed slots: a sequence in each slot, no cursors, no floor. Who is
//! lapped loses messages and is told how many; the sender never looks at anybody.
//!
//! A slot is written between two stores of its sequence, and read between two loads of it. Slots
//! begin at lines, as in the fast rings of this kind.

use std::fs::{File, OpenOptions};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use anyhow::Result;
use memmap2::MmapRaw;

use crate::transport::{
    Channel, Facts, Kind, Message, Prepared, RING_BYTES_MIN, Receiver, Sender, System, Transport,
    Wait, slots,
};

const LINE: usize = 64;
/// No message has it: the slot is being written.
const WRITING: u64 = u64::MAX;

const fn slot_size(message_size: usize) -> usize {
    (8 + message_size).next_multiple_of(LINE)
}

const fn slot_count(message_size: usize) -> usize {
    slots(RING_BYTES_MIN, slot_size(message_size))
}

pub(crate) struct Ceiling;

impl System for Ceiling {
    const FACTS: Facts = Facts {
        name: "ceiling",
        kind: Kind::Lossy,
        package: None,
        busy: true,
        blocking: false,
        streams: Wait::Busy,
        batches: false,
        broadcast: true,
        shared: false,
        refuses: false,
        size_max: 64 << 10,
    };

    /// The number of slots is a constant, as it is in the fast rings of this kind: as a field it takes a
    /// third of the speed.
    fn missing(ring_bytes: usize) -> Option<String> {
        (ring_bytes != RING_BYTES_MIN).then(|| "it has rings of 4 MiB and no others".to_owned())
    }

    fn prepare(channels: &[Channel], size: usize) -> Result<Prepared> {
        for channel in channels {
            let file = File::create_new(channel.path())?;
            file.set_len((slot_size(size) * slot_count(size)) as u64)?;
        }
        Ok(Prepared::default())
    }
}

impl<const W: usize> Transport<W> for Ceiling {
    type Sender = CeilingSender<W>;
    type Receiver = CeilingReceiver<W>;

    fn sender(channel: &Channel) -> Result<CeilingSender<W>> {
        let slots = Slots::open(channel)?;
        // A successor goes on behind what lies there.
        let newest = (0..Slots::<W>::COUNT as u64).map(|index| slots.sequence(index));
        let next =
            newest.map(|word| word.load(Ordering::Acquire)).filter(|it| *it != WRITING).max();
        Ok(CeilingSender { slots, next: next.unwrap_or(0) + 1 })
    }

    fn receiver(channel: &Channel) -> Result<CeilingReceiver<W>> {
        let sender: CeilingSender<W> = <Self as Transport<W>>::sender(channel)?;
        Ok(CeilingReceiver { slots: sender.slots, next: sender.next })
    }
}

struct Slots<const W: usize> {
    memory: MmapRaw,
    size: PhantomData<Message<W>>,
}

impl<const W: usize> Slots<W> {
    const SIZE: usize = slot_size(size_of::<Message<W>>());
    const COUNT: usize = slot_count(size_of::<Message<W>>());

    fn open(channel: &Channel) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(channel.path())?;
        Ok(Self { memory: MmapRaw::map_raw(&file)?, size: PhantomData })
    }

    #[inline]
    fn place(&self, sequence: u64) -> *mut u8 {
        #[allow(clippy::cast_possible_truncation, reason = "cut to the ring right away")]
        let index = sequence as usize & (Self::COUNT - 1);
        self.memory.as_mut_ptr().wrapping_add(index * Self::SIZE)
    }

    #[inline]
    fn sequence(&self, sequence: u64) -> &AtomicU64 {
        // SAFETY: slots begin at lines of the mapping, and all use the word atomically.
        unsafe { AtomicU64::from_ptr(self.place(sequence).cast()) }
    }

    #[inline]
    fn payload(&self, sequence: u64) -> *mut Message<W> {
        self.place(sequence).wrapping_add(8).cast()
    }
}

pub(crate) struct CeilingSender<const W: usize> {
    slots: Slots<W>,
    next: u64,
}

impl<const W: usize> Sender<W> for CeilingSender<W> {
    #[inline]
    fn try_send(&mut self, message: &Message<W>) -> Result<bool> {
        let word = self.slots.sequence(self.next);
        word.store(WRITING, Ordering::Relaxed);
        fence(Ordering::Release);
        // SAFETY: within the slot, and only this process writes it. Readers that race it drop
        // what they have copied.
        unsafe { self.slots.payload(self.next).write(*message) };
        word.store(self.next, Ordering::Release);
        self.next += 1;
        Ok(true)
    }
}

pub(crate) struct CeilingReceiver<const W: usize> {
    slots: Slots<W>,
    next: u64,
}

impl<const W: usize> Receiver<W> for CeilingReceiver<W> {
    #[inline]
    fn try_receive(&mut self, mut look: impl FnMut(&Message<W>)) -> Result<bool> {
        let word = self.slots.sequence(self.next);
        let before = word.load(Ordering::Acquire);
        if before < self.next || before == WRITING {
            return Ok(false);
        }
        let mut copy = MaybeUninit::<Message<W>>::uninit();
        // SAFETY: within the slot. What a writer does to it meanwhile shows in the sequence
        // below, and then the copy is dropped: words have no values that are not allowed.
        unsafe { copy.as_mut_ptr().copy_from_nonoverlapping(self.slots.payload(self.next), 1) };
        fence(Ordering::Acquire);
        if word.load(Ordering::Relaxed) != before {
            return Ok(false);
        }
        // Lapped or not, this is the message to go on with.
        self.next = before + 1;
        // SAFETY: copied above, every word of it.
        look(unsafe { copy.assume_init_ref() });
        Ok(true)
    }
}
