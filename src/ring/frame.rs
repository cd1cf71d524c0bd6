//! A frame: one message, or the padding before the end of a lap, as it lies in the ring.
//!
//! ```text
//!  0  commit word: sequence (28 bits) | kind (4) | extensions (3) | length (29)
//!  8  extension words, as many as the commit word says
//!  .. payload, padded to 8
//! ```
//!
//! A commit word of 0 means that nothing is committed here yet.

use crate::ring::Corrupt;

/// Bytes of the commit word.
pub(crate) const HEADER_SIZE: usize = 8;

const WORD_SIZE: u64 = HEADER_SIZE as u64;

const LENGTH_BITS: u32 = 29;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;
const EXTENSIONS_MASK: u64 = 7;
const KIND_MASK: u64 = 15;
const KIND_MESSAGE: u64 = 1;
const KIND_PADDING: u64 = 2;
const SEQUENCE_SHIFT: u32 = 36;

/// A frame boundary: where a frame begins or will begin, and its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) sequence: u64,
}

/// What a frame boundary holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Uncommitted,
    Message {
        /// Payload bytes; they begin `HEADER_SIZE` and the extensions after the position.
        size: u64,
        /// Bytes of extension words.
        extensions_size: u64,
        /// The next frame boundary.
        end: u64,
    },
    Padding {
        /// The next frame boundary: the start of the next lap.
        end: u64,
    },
}

/// The commit word of a message without extensions is this plus its size: a reader who takes
/// its own sum from a word it finds has the size left, or, of any other word, a number larger
/// than all sizes.
#[inline(always)]
pub(crate) fn message_base(sequence: u64) -> u64 {
    ((sequence << 4) | KIND_MESSAGE) << 32
}

/// The commit word of a message without extensions. `size` fits 29 bits.
#[inline(always)]
pub(crate) fn message_word(size: usize, sequence: u64) -> u64 {
    debug_assert!(size as u64 <= LENGTH_MASK);
    message_base(sequence) + size as u64
}

/// The commit word of padding that ends `size` bytes after the word.
pub(crate) fn padding_word(size: usize, next_sequence: u64) -> u64 {
    debug_assert!(size as u64 <= LENGTH_MASK);
    (next_sequence << SEQUENCE_SHIFT) | (KIND_PADDING << 32) | size as u64
}

/// Bytes of the frame of a message without extensions.
#[inline(always)]
pub(crate) fn message_frame_size(payload_size: usize) -> usize {
    HEADER_SIZE + payload_size.next_multiple_of(8)
}

/// The last sequence up to `end` with the low bits that a commit word has.
pub(crate) fn sequence_before(word: u64, end: u64) -> u64 {
    let low_bits = u64::MAX >> SEQUENCE_SHIFT;
    end.saturating_sub(end.wrapping_sub(word >> SEQUENCE_SHIFT) & low_bits)
}

/// Padding stands where a frame did not fit. So it never begins a lap, and whoever follows the
/// frames of a ring that does not change comes to an end within one lap.
const fn padding_size_max(capacity: u64) -> u64 {
    let frame_size_max = WORD_SIZE + EXTENSIONS_MASK * 8 + capacity / 8;
    frame_size_max + WORD_SIZE
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
    let size = word & LENGTH_MASK;
    let extensions_size = ((word >> LENGTH_BITS) & EXTENSIONS_MASK) * 8;
    let end = place.position + WORD_SIZE + extensions_size + size.next_multiple_of(8);
    let lap_end = (place.position | (capacity - 1)) + 1;
    let frame = match (word >> 32) & KIND_MASK {
        KIND_MESSAGE if size <= capacity / 8 && end + WORD_SIZE <= lap_end => {
            Frame::Message { size, extensions_size, end }
        }
        KIND_PADDING
            if extensions_size == 0
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

    fn parse_at(position: u64, sequence: u64, word: u64) -> Result<Frame, Corrupt> {
        let licence = (position | (CAPACITY - 1)) + 1 + CAPACITY / 16;
        parse(word, Place { position, sequence }, CAPACITY, licence)
    }

    #[test]
    fn words_read_back_as_written_at_every_wrap_of_the_sequence() {
        for sequence in [0, 1, (1 << 28) - 1, 1 << 28, (1 << 32) - 1, 1 << 32, (1 << 62) - 1] {
            for size in [0, 1, 7, 8, 9, SIZE_MAX] {
                let frame = parse_at(800, sequence, message_word(size, sequence)).unwrap();
                let end = 800 + message_frame_size(size) as u64;
                let size = size as u64;
                assert_eq!(frame, Frame::Message { size, extensions_size: 0, end });
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
    fn every_bit_of_a_word_counts() {
        let word = message_word(96, 9);
        for bit in 0..64 {
            let result = parse_at(0, 9, word ^ (1 << bit));
            assert_ne!(result, parse_at(0, 9, word), "bit {bit}");
        }
    }
}
