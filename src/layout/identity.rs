//! What the first bytes of a segment say about it, written once and parsed once.

use core::fmt;

use super::{
    BYTE_ORDER, FEATURE_JOURNAL, FEATURES_KNOWN, FIRST_SEQUENCE_MAX, Geometry, HEADER, Header,
    MAGIC, MAJOR, NO_POSITION, Part, SECTOR_START, SECTORS, Tables, Word, in_sector,
};

/// What a segment says about itself. Constant from its birth on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) geometry: Geometry,
    pub(crate) minor: u16,
    pub(crate) instance: [u8; 16],
    pub(crate) created_at: u64,
    pub(crate) first_sequence: u64,
    /// A multiple of the capacity.
    pub(crate) first_position: u64,
    pub(crate) creator_pid: u32,
    pub(crate) keeping: Keeping,
}

/// What a queue keeps of its messages on disk. The times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keeping {
    /// Of the history directory; zeros if there is none.
    pub(crate) history_id: [u8; 16],
    pub(crate) size_max: u64,
    /// Whether the oldest messages go when that is reached; else the producer waits.
    pub(crate) drops_oldest: bool,
    pub(crate) journal: Option<JournalCode>,
    /// How long files are kept at least; 0 is for ever.
    pub(crate) keep_for: u64,
}

/// When a journal's messages are safe, as the segment says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalCode {
    Written,
    SyncedEvery(u64),
    SyncedAlways,
}

impl JournalCode {
    fn of(code: u32, every: u64) -> Result<Option<Self>, IdentityError> {
        match code {
            0 => Ok(None),
            1 => Ok(Some(Self::Written)),
            2 => Ok(Some(Self::SyncedEvery(every))),
            3 => Ok(Some(Self::SyncedAlways)),
            _ => Err(IdentityError::Geometry(format!("its journal is of an unknown kind, {code}"))),
        }
    }

    fn words(code: Option<Self>) -> (u32, u64) {
        match code {
            None => (0, 0),
            Some(Self::Written) => (1, 0),
            Some(Self::SyncedEvery(every)) => (2, every),
            Some(Self::SyncedAlways) => (3, 0),
        }
    }
}

/// Why the first bytes of an object are not an identity that this build can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityError {
    /// All zero: a segment that was never finished, or lost its contents.
    Unfinished,
    Magic,
    ByteOrder,
    Major(u16),
    Features(u32),
    Geometry(String),
}

impl Identity {
    pub(crate) const SIZE: usize = HEADER.licence.offset();

    /// The header region of a new segment: the identity, and an index that knows where the
    /// first frame will begin. All other bytes of a new segment are zero. The history may have
    /// something from `written_from` on.
    pub(crate) fn birth_image(&self, written_from: u64) -> [u8; Header::SIZE] {
        let mut image = [0; Header::SIZE];
        let geometry = &self.geometry;
        HEADER.magic.put(&mut image, MAGIC);
        HEADER.byte_order.put(&mut image, BYTE_ORDER.to_le_bytes());
        HEADER.major.put(&mut image, MAJOR.to_le_bytes());
        HEADER.minor.put(&mut image, self.minor.to_le_bytes());
        HEADER.segment_size.put(&mut image, geometry.segment_size().to_le_bytes());
        HEADER.capacity.put(&mut image, geometry.capacity().to_le_bytes());
        HEADER.control_offset.put(&mut image, (Geometry::control_offset() as u64).to_le_bytes());
        HEADER.ring_offset.put(&mut image, (geometry.ring_offset() as u64).to_le_bytes());
        let Tables { members, subscriptions, shares } = geometry.tables();
        HEADER.members.put(&mut image, members.to_le_bytes());
        HEADER.subscriptions.put(&mut image, subscriptions.to_le_bytes());
        HEADER.shares.put(&mut image, shares.to_le_bytes());
        HEADER.control_size.put(&mut image, (geometry.control_size() as u64).to_le_bytes());
        HEADER.instance.put(&mut image, self.instance);
        HEADER.created_at.put(&mut image, self.created_at.to_le_bytes());
        HEADER.first_sequence.put(&mut image, self.first_sequence.to_le_bytes());
        HEADER.creator_pid.put(&mut image, self.creator_pid.to_le_bytes());
        let keeping = &self.keeping;
        let (journal, sync_every) = JournalCode::words(keeping.journal);
        let features = if keeping.journal.is_some() { FEATURE_JOURNAL } else { 0 };
        HEADER.features_required.put(&mut image, features.to_le_bytes());
        HEADER.history_id.put(&mut image, keeping.history_id);
        HEADER.history_max.put(&mut image, keeping.size_max.to_le_bytes());
        HEADER.at_limit.put(&mut image, u32::from(keeping.drops_oldest).to_le_bytes());
        HEADER.journal.put(&mut image, journal.to_le_bytes());
        HEADER.sync_every.put(&mut image, sync_every.to_le_bytes());
        HEADER.keep_for.put(&mut image, keeping.keep_for.to_le_bytes());
        for position in [
            HEADER.first_position,
            HEADER.written,
            HEADER.durable,
            in_sector(0, SECTOR_START.position),
        ] {
            position.put(&mut image, self.first_position.to_le_bytes());
        }
        HEADER.written_from.put(&mut image, written_from.to_le_bytes());
        // Up to here everything may be written, and nothing below is there.
        let licence =
            if self.first_position == 0 { 0 } else { self.first_position + geometry.capacity() };
        HEADER.licence.put(&mut image, licence.to_le_bytes());
        HEADER.granted.put(&mut image, licence.to_le_bytes());
        HEADER.durable_sequence.put(&mut image, self.first_sequence.to_le_bytes());
        for sector in 1..SECTORS {
            in_sector(sector, SECTOR_START.position).put(&mut image, NO_POSITION.to_le_bytes());
        }
        let sequence = self.first_sequence.to_le_bytes();
        in_sector(0, SECTOR_START.sequence).put(&mut image, sequence);
        let recorded_at = self.created_at.to_le_bytes();
        in_sector(0, SECTOR_START.recorded_at).put(&mut image, recorded_at);
        image
    }

    /// Reads and checks what another process wrote.
    pub(crate) fn parse(bytes: &[u8; Self::SIZE]) -> Result<Self, IdentityError> {
        let u16_of = |field: Word<_, u16>| u16::from_le_bytes(field.get(bytes));
        let u32_of = |field: Word<_, u32>| u32::from_le_bytes(field.get(bytes));
        let u64_of = |field: Word<_, u64>| u64::from_le_bytes(field.get(bytes));

        if bytes.iter().all(|&byte| byte == 0) {
            return Err(IdentityError::Unfinished);
        }
        if HEADER.magic.get(bytes) != MAGIC {
            return Err(IdentityError::Magic);
        }
        if u32_of(HEADER.byte_order) != BYTE_ORDER {
            return Err(IdentityError::ByteOrder);
        }
        let major = u16_of(HEADER.major);
        if major != MAJOR {
            return Err(IdentityError::Major(major));
        }
        let features = u32_of(HEADER.features_required);
        let unknown = features & !FEATURES_KNOWN;
        if unknown != 0 {
            return Err(IdentityError::Features(unknown));
        }
        let tables = Tables {
            members: u32_of(HEADER.members),
            subscriptions: u32_of(HEADER.subscriptions),
            shares: u32_of(HEADER.shares),
        };
        let geometry =
            Geometry::new(u64_of(HEADER.capacity), tables).map_err(IdentityError::Geometry)?;
        let derived = [
            (HEADER.segment_size, geometry.segment_size()),
            (HEADER.control_offset, Geometry::control_offset() as u64),
            (HEADER.control_size, geometry.control_size() as u64),
            (HEADER.ring_offset, geometry.ring_offset() as u64),
        ];
        for (field, expected) in derived {
            let found = u64_of(field);
            if found != expected {
                return Err(IdentityError::Geometry(format!(
                    "the word at {:#x} is {found}, but the other sizes make it {expected}",
                    field.offset()
                )));
            }
        }
        let first_sequence = u64_of(HEADER.first_sequence);
        if first_sequence >= FIRST_SEQUENCE_MAX {
            return Err(IdentityError::Geometry(format!(
                "a first sequence of {first_sequence} is not below 2^61"
            )));
        }
        let first_position = u64_of(HEADER.first_position);
        if first_position >= FIRST_SEQUENCE_MAX
            || !first_position.is_multiple_of(geometry.capacity())
        {
            return Err(IdentityError::Geometry(format!(
                "a first position of {first_position} is no start of a lap below 2^61"
            )));
        }
        let journal = u32_of(HEADER.journal);
        if (journal != 0) != (features & FEATURE_JOURNAL != 0) {
            return Err(IdentityError::Geometry(format!(
                "its features are {features:#x}, but its journal is {journal}"
            )));
        }
        let keeping = Keeping {
            history_id: HEADER.history_id.get(bytes),
            size_max: u64_of(HEADER.history_max),
            drops_oldest: u32_of(HEADER.at_limit) != 0,
            journal: JournalCode::of(journal, u64_of(HEADER.sync_every))?,
            keep_for: u64_of(HEADER.keep_for),
        };
        Ok(Self {
            geometry,
            minor: u16_of(HEADER.minor),
            instance: HEADER.instance.get(bytes),
            created_at: u64_of(HEADER.created_at),
            first_sequence,
            first_position,
            creator_pid: u32_of(HEADER.creator_pid),
            keeping,
        })
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => write!(f, "its identity is all zero"),
            Self::Magic => write!(f, "it does not begin with RINGWAY"),
            Self::ByteOrder => write!(f, "it was made on a machine of the other byte order"),
            Self::Major(major) => write!(f, "its layout is {major}, this build's is {MAJOR}"),
            Self::Features(bits) => write!(f, "it uses features {bits:#x}, unknown to this build"),
            Self::Geometry(what) => write!(f, "{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MEMBERS_MAX, MINOR};
    use super::*;

    fn identity() -> Identity {
        Identity {
            geometry: Geometry::new(
                1 << 20,
                Tables { members: 64, subscriptions: 64, shares: 128 },
            )
            .unwrap(),
            minor: MINOR,
            instance: [7; 16],
            created_at: 1_700_000_000_000_000_000,
            first_sequence: 42,
            first_position: 3 << 20,
            creator_pid: 1,
            keeping: Keeping {
                history_id: [9; 16],
                size_max: 1 << 30,
                drops_oldest: true,
                journal: Some(JournalCode::SyncedEvery(100_000_000)),
                keep_for: 0,
            },
        }
    }

    fn image() -> [u8; Identity::SIZE] {
        *identity().birth_image(0).first_chunk().expect("a header is longer")
    }

    fn with(offset: usize, bytes: &[u8]) -> Result<Identity, IdentityError> {
        let mut image = image();
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
        Identity::parse(&image)
    }

    #[test]
    fn an_identity_reads_back_as_written() {
        assert_eq!(Identity::parse(&image()), Ok(identity()));
    }

    #[test]
    fn every_kind_of_foreign_identity_has_its_own_error() {
        assert_eq!(Identity::parse(&[0; Identity::SIZE]), Err(IdentityError::Unfinished));
        assert_eq!(with(0, b"SQLite"), Err(IdentityError::Magic));
        assert_eq!(with(8, &BYTE_ORDER.swap_bytes().to_le_bytes()), Err(IdentityError::ByteOrder));
        assert_eq!(with(12, &(MAJOR + 1).to_le_bytes()), Err(IdentityError::Major(MAJOR + 1)));
        assert_eq!(with(16, &4_u32.to_le_bytes()), Err(IdentityError::Features(4)));
    }

    #[test]
    fn sizes_that_do_not_fit_together_are_refused() {
        for (offset, value) in [
            (HEADER.segment_size.offset(), 1 << 21),
            (HEADER.capacity.offset(), 3 << 20),
            (HEADER.capacity.offset(), 1 << 40),
            (HEADER.capacity.offset(), 0),
            (HEADER.control_offset.offset(), 0),
            (HEADER.ring_offset.offset(), u64::MAX),
            (HEADER.first_sequence.offset(), FIRST_SEQUENCE_MAX),
        ] {
            let result = with(offset, &u64::to_le_bytes(value));
            assert!(matches!(result, Err(IdentityError::Geometry(_))), "{offset:#x}: {result:?}");
        }
        for members in [0, MEMBERS_MAX + 1, u32::MAX] {
            let result = with(HEADER.members.offset(), &members.to_le_bytes());
            assert!(matches!(result, Err(IdentityError::Geometry(_))), "{members}: {result:?}");
        }
    }

    #[test]
    fn an_unknown_minor_and_optional_features_are_no_obstacle() {
        assert_eq!(with(14, &9_u16.to_le_bytes()).unwrap().minor, 9);
        assert!(with(20, &u32::MAX.to_le_bytes()).is_ok());
    }

    #[test]
    fn every_single_byte_change_is_refused_or_harmless() {
        // The bytes from `instance` on may hold anything; all before are determined by the sizes.
        for offset in 0..HEADER.instance.offset() {
            for bit in 0..8 {
                let mut image = image();
                image[offset] ^= 1 << bit;
                if let Ok(parsed) = Identity::parse(&image) {
                    assert_eq!(parsed.geometry, identity().geometry, "bit {bit} of {offset:#x}");
                }
            }
        }
    }
}
