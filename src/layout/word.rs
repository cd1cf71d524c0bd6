//! Words of the segment, each known by the part that it stands in and by what it holds, so that the
//! compiler refuses a word of another part.

use core::marker::PhantomData;
use core::mem::size_of;

/// A struct of the segment.
pub(crate) trait Part {
    /// Bytes.
    const SIZE: usize;
}

/// Where a field begins in its part. Nothing but the table of parts makes one, so that it lies
/// within the part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<P, Value> {
    offset: usize,
    is: PhantomData<fn() -> (P, Value)>,
}

impl<P, Value> Word<P, Value> {
    pub(super) const fn at(offset: usize) -> Self {
        Self { offset, is: PhantomData }
    }

    /// Bytes from the start of the part.
    pub(crate) const fn offset(self) -> usize {
        self.offset
    }

    /// Its bytes, of all those of the part.
    pub(crate) fn get<const SIZE: usize>(self, part: &[u8]) -> [u8; SIZE] {
        const { assert!(SIZE == size_of::<Value>()) };
        let mut bytes = [0; SIZE];
        bytes.copy_from_slice(&part[self.offset..][..SIZE]);
        bytes
    }

    /// Changes its bytes, of all those of the part.
    pub(crate) fn put<const SIZE: usize>(self, part: &mut [u8], bytes: [u8; SIZE]) {
        const { assert!(SIZE == size_of::<Value>()) };
        part[self.offset..][..SIZE].copy_from_slice(&bytes);
    }
}

impl<P, const SIZE: usize> Word<P, [u8; SIZE]> {
    /// Its eight bytes number `index`, as one word.
    pub(crate) const fn word64(self, index: usize) -> Word<P, u64> {
        assert!(self.offset.is_multiple_of(size_of::<u64>()));
        assert!(index < SIZE / size_of::<u64>());
        Word::at(self.offset + index * size_of::<u64>())
    }

    /// Its four bytes number `index`, as one word.
    pub(crate) const fn word32(self, index: usize) -> Word<P, u32> {
        assert!(self.offset.is_multiple_of(size_of::<u32>()));
        assert!(index < SIZE / size_of::<u32>());
        Word::at(self.offset + index * size_of::<u32>())
    }
}
