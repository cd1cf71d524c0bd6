//! A frame: one message, or the padding before the end of a lap, as it lies in the ring.
//!
//! ```text
//!  0  commit word: sequence (28 bits) | kind (4) | extensions (3) | length (29)
//!  8  extension words: those whose bits the commit word has, in the order of the bits
//!  .. payload, padded to 8
//! ```
//!
//! A commit word of 0 means that nothing is committed here yet.

use crate::layout::COUNT_MAX;
use crate::ring::Corrupt;

/// Bytes of the commit word.
pub(crate) const HEADER_SIZE: usize = 8;

const WORD_SIZE: u64 = HEADER_SIZE as u64;

const LENGTH_BITS: u32 = 29;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;
const EXTENSIONS_MASK: u64 = 7;
const KIND_SHIFT: u32 = 32;
const KIND_MASK: u64 = 15;
const KIND_MESSAGE: u64 = 1;
const KIND_PADDING: u64 = 2;
const SEQUENCE_SHIFT: u32 = 36;

/// A frame boundary: where a frame begins or will begin, and its sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) sequence: u64,
}

impl Place {
    /// Whether a frame may begin there. What stands in a segment may be of somebody's making who breaks
    /// the rules.
    pub(crate) fn is_possible(self) -> bool {
        self.position.is_multiple_of(8) && self.position.max(self.sequence) < COUNT_MAX
    }
}

/// What a frame boundary holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Uncommitted,
    Message {
        shape: Shape,
        /// The next frame boundary.
        end: u64,
    },
    Padding {
        /// The next frame boundary: the start of the next lap.
        end: u64,
    },
}

impl Frame {
    /// The boundary behind a frame that was found at a place; nothing if none is committed there.
    #[inline(always)]
    pub(super) fn next(self, place: Place) -> Option<Place> {
        match self {
            Self::Uncommitted => None,
            Self::Message { end, .. } => {
                Some(Place { position: end, sequence: place.sequence + 1 })
            }
            Self::Padding { end } => Some(Place { position: end, ..place }),
        }
    }
}

/// Which extension words a frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtensionSet(u64);

impl ExtensionSet {
    /// A hash of the message's key: messages of one key keep their order in a keyed
    /// subscription.
    pub(crate) const KEY: Self = Self(1);
    /// When the message was sent, nanoseconds since 1970.
    pub(crate) const TIME: Self = Self(2);
    /// A checksum of all that is in the frame, and of where it stands: see [`Check`].
    pub(crate) const CHECK: Self = Self(4);

    #[inline(always)]
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Bytes of the words.
    #[inline(always)]
    pub(crate) const fn size(self) -> usize {
        self.0.count_ones() as usize * HEADER_SIZE
    }

    /// How far before the payload the word of one of the set begins.
    pub(crate) const fn distance(self, one: Self) -> usize {
        Self(self.0 & !(one.0 - 1)).size()
    }
}

/// The extension words of a message that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) key: Option<u64>,
    pub(crate) time: Option<u64>,
    /// What to make a checksum with, which comes last.
    pub(crate) check: Option<Check>,
}

impl Extensions {
    pub(crate) const NONE: Self = Self { key: None, time: None, check: None };

    /// Whether there are none.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.key.is_none() && self.time.is_none() && self.check.is_none()
    }

    #[inline(always)]
    pub(crate) fn set(self) -> ExtensionSet {
        let bit = |is_there, set: ExtensionSet| if is_there { set.0 } else { 0 };
        ExtensionSet(
            bit(self.key.is_some(), ExtensionSet::KEY)
                | bit(self.time.is_some(), ExtensionSet::TIME)
                | bit(self.check.is_some(), ExtensionSet::CHECK),
        )
    }

    /// In the order in which they lie in the frame, but for the checksum.
    #[inline(always)]
    pub(crate) fn words(self) -> impl Iterator<Item = u64> {
        self.key.into_iter().chain(self.time)
    }
}

/// Makes and checks the checksums of frames: CRC-32C of the history's id, the position, the
/// sequence, the frame's words and its payload. So a frame that was moved, or is of another time
/// or log, is as wrong as one with another bit in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    seed: u32,
}

impl Check {
    pub(crate) fn new(history_id: &[u8; 16]) -> Self {
        Self { seed: crc32c::crc32c(history_id) }
    }

    /// The checksum's word. `words` are those before it in the frame: the commit word and the
    /// other extensions, three at most.
    #[inline]
    pub(crate) fn sum(self, place: Place, words: impl Iterator<Item = u64>, payload: &[u8]) -> u64 {
        let mut head = [0; 40];
        let mut size = 0;
        for word in [place.position, place.sequence].into_iter().chain(words) {
            if let Some(bytes) = head.get_mut(size..size + 8) {
                bytes.copy_from_slice(&word.to_le_bytes());
                size += 8;
            }
        }
        let sum = crc32c::crc32c_append(self.seed, &head[..size]);
        crc32c::crc32c_append(sum, payload).into()
    }

    /// Whether a frame of this shape, all words of it, has the checksum that it has to have.
    pub(crate) fn is_right(self, shape: Shape, place: Place, frame: &[u64]) -> bool {
        if !shape.extensions.contains(ExtensionSet::CHECK) {
            return false;
        }
        let (head, payload) = frame.split_at(shape.payload_offset() / HEADER_SIZE);
        let Some((found, words)) = head.split_last() else { return false };
        let payload = &bytes_of(payload)[..shape.size];
        self.sum(place, words.iter().copied(), payload) == *found
    }
}

/// The bytes of words, which are little-endian as all of the stream.
pub(crate) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: any words are bytes, and those of a slice lie side by side.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// What a message's frame is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) extensions: ExtensionSet,
    /// Payload bytes.
    pub(crate) size: usize,
}

impl Shape {
    /// A commit word says the shape by its lower bits.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "29 bits")]
    pub(crate) const fn of_code(code: u64) -> Self {
        let extensions = ExtensionSet((code >> LENGTH_BITS) & EXTENSIONS_MASK);
        Self { extensions, size: (code & LENGTH_MASK) as usize }
    }

    /// What a commit word has below the sequence, if a message has this shape. `size` fits 29 bits.
    #[inline(always)]
    pub(crate) const fn code(self) -> u64 {
        debug_assert!(self.size as u64 <= LENGTH_MASK);
        (KIND_MESSAGE << KIND_SHIFT) + (self.extensions.0 << LENGTH_BITS) + self.size as u64
    }

    /// The shape whose [`code`](Self::code) this is; nothing if it is none.
    #[inline(always)]
    pub(crate) const fn of_message(code: u64) -> Option<Self> {
        if code >> KIND_SHIFT == KIND_MESSAGE { Some(Self::of_code(code)) } else { None }
    }

    /// Where the payload begins, from the frame's start.
    #[inline(always)]
    pub(crate) const fn payload_offset(self) -> usize {
        HEADER_SIZE + self.extensions.size()
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub(crate) const fn frame_size(self) -> usize {
        self.payload_offset() + self.size.next_multiple_of(8)
    }
}

/// What a commit word has in its upper bits: who takes what is due there from a word that it finds
/// has the rest left, or, of a frame that is not due, more than any code.
#[inline(always)]
pub(crate) fn sequence_bits(sequence: u64) -> u64 {
    sequence << SEQUENCE_SHIFT
}

#[inline(always)]
pub(crate) fn message_word(shape: Shape, sequence: u64) -> u64 {
    sequence_bits(sequence) + shape.code()
}

/// The commit word of padding that ends `size` bytes after the word.
pub(crate) fn padding_word(size: usize, next_sequence: u64) -> u64 {
    debug_assert!(size as u64 <= LENGTH_MASK);
    sequence_bits(next_sequence) | (KIND_PADDING << KIND_SHIFT) | size as u64
}

/// The last sequence up to `end` with the low bits that a commit word has.
pub(crate) fn sequence_before(word: u64, end: u64) -> u64 {
    let low_bits = u64::MAX >> SEQUENCE_SHIFT;
    end.saturating_sub(end.wrapping_sub(word >> SEQUENCE_SHIFT) & low_bits)
}

/// The first sequence from `start` on with the low bits that a commit word has.
pub(crate) fn sequence_after(word: u64, start: u64) -> u64 {
    let low_bits = u64::MAX >> SEQUENCE_SHIFT;
    start + ((word >> SEQUENCE_SHIFT).wrapping_sub(start) & low_bits)
}

/// Padding stands where a frame did not fit. So it never begins a lap, and whoever follows the
/// frames of a ring that does not change comes to an end within one lap.
const fn padding_size_max(capacity: u64) -> u64 {
    let extensions_size_max = ExtensionSet(EXTENSIONS_MASK).size() as u64;
    WORD_SIZE + extensions_size_max + capacity / 8 + WORD_SIZE
}

/// Reads the commit word found at `place` and checks everything about it: that the frame is the
/// one due there, of a known kind, and lies within the lap and the licence together with the
/// word after it. `capacity` is the ring's.
pub(crate) fn parse(
    word: u64,
    place: Place,
    capacity: u64,
    licence: u64,
) -> Result<Frame, Corrupt> {
    if word == 0 {
        return Ok(Frame::Uncommitted);
    }
    let corrupt = Corrupt { position: place.position, found: word };
    if word >> SEQUENCE_SHIFT != (place.sequence << SEQUENCE_SHIFT) >> SEQUENCE_SHIFT {
        return Err(corrupt);
    }
    let shape = Shape::of_code(word);
    let end = place.position + shape.frame_size() as u64;
    let lap_end = (place.position | (capacity - 1)) + 1;
    let frame = match (word >> KIND_SHIFT) & KIND_MASK {
        KIND_MESSAGE if shape.size as u64 <= capacity / 8 && end + WORD_SIZE <= lap_end => {
            Frame::Message { shape, end }
        }
        KIND_PADDING
            if shape.extensions == ExtensionSet::default()
                && end == lap_end
                && end - place.position <= padding_size_max(capacity) =>
        {
            Frame::Padding { end }
        }
        _ => return Err(corrupt),
    };
    if end + WORD_SIZE > licence {
        return Err(corrupt);
    }
    Ok(frame)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const CAPACITY: u64 = 1 << 16;
    const SIZE_MAX: usize = 1 << 13;

    fn message_word(size: usize, sequence: u64) -> u64 {
        super::message_word(Shape { extensions: ExtensionSet::default(), size }, sequence)
    }

    fn parse_at(position: u64, sequence: u64, word: u64) -> Result<Frame, Corrupt> {
        let licence = (position | (CAPACITY - 1)) + 1 + CAPACITY / 16;
        parse(word, Place { position, sequence }, CAPACITY, licence)
    }

    #[test]
    fn words_read_back_as_written_at_every_wrap_of_the_sequence() {
        for sequence in [0, 1, (1 << 28) - 1, 1 << 28, (1 << 32) - 1, 1 << 32, (1 << 62) - 1] {
            for (size, bits) in [0, 1, 7, 8, 9, SIZE_MAX].into_iter().zip((0..8).cycle()) {
                let shape = Shape { extensions: ExtensionSet(bits), size };
                let word = super::message_word(shape, sequence);
                let words = bits.count_ones() as usize;
                let end = 800 + (8 + 8 * words + size.next_multiple_of(8)) as u64;
                assert_eq!(parse_at(800, sequence, word), Ok(Frame::Message { shape, end }));
            }
            let padding = parse_at(CAPACITY - 64, sequence, padding_word(56, sequence));
            assert_eq!(padding, Ok(Frame::Padding { end: CAPACITY }));
            let whole_lap = parse_at(0, sequence, padding_word(8 * SIZE_MAX - 8, sequence));
            assert!(whole_lap.is_err(), "padding that leads back to itself");
        }
    }

    #[test]
    fn a_message_word_is_never_the_uncommitted_one() {
        assert_ne!(message_word(0, 0), 0);
        assert_ne!(message_word(0, 1 << 28), 0);
    }

    #[test]
    fn anything_but_the_frame_that_is_due_is_corrupt() {
        let sequence = 77;
        let good = message_word(100, sequence);
        let bad = [
            message_word(100, sequence + 1),
            message_word(100, sequence - 1),
            message_word(SIZE_MAX + 1, sequence),
            good ^ (4 << 32),
            good ^ (1 << 32),
            padding_word(100, sequence),
            padding_word(8 * SIZE_MAX - 800 - 16, sequence),
            u64::MAX,
            1,
        ];
        for word in bad {
            let corrupt = Corrupt { position: 800, found: word };
            assert_eq!(parse_at(800, sequence, word), Err(corrupt), "{word:#x}");
        }
    }

    #[test]
    fn a_frame_that_leaves_the_lap_or_the_licence_is_corrupt() {
        let place = Place { position: CAPACITY - 32, sequence: 5 };
        // 16 bytes and the next word end the lap exactly.
        assert!(parse(message_word(16, 5), place, CAPACITY, CAPACITY).is_ok());
        assert!(parse(message_word(17, 5), place, CAPACITY, 2 * CAPACITY).is_err());
        assert!(parse(message_word(16, 5), place, CAPACITY, CAPACITY - 8).is_err());
        assert!(parse(padding_word(24, 5), place, CAPACITY, CAPACITY).is_err());
        assert!(parse(padding_word(24, 5), place, CAPACITY, CAPACITY + 8).is_ok());
    }

    #[test]
    fn extension_words_lie_in_the_order_of_their_bits() {
        let all = ExtensionSet(7);
        let [first, second, third] = [1, 2, 4].map(ExtensionSet);
        assert_eq!([first, second, third].map(|one| all.distance(one)), [24, 16, 8]);
        assert_eq!(ExtensionSet(5).distance(first), 16);
        assert_eq!(first.distance(ExtensionSet::KEY), 8);
        assert!(all.contains(second) && !first.contains(second));
    }

    #[test]
    fn every_bit_of_a_word_counts() {
        let word = message_word(96, 9);
        for bit in 0..64 {
            let result = parse_at(0, 9, word ^ (1 << bit));
            assert_ne!(result, parse_at(0, 9, word), "bit {bit}");
        }
    }
}
