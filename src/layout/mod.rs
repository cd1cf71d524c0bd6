//! Every byte of the segment: where it lies, who writes it, what it means.
//!
//! A segment is one shared-memory object of three regions. Each begins on a 64 KiB
//! boundary, so that a mapping can have other rights to each; a large ring on one of 2 MiB, so
//! that whole huge pages map it.
//!
//! ```text
//! header    identity | licence | state | sector index    written by the producer and the historian
//! control   events | maps | subscriptions | members | shares                 written by consumers
//! ring      capacity bytes of frames                                       written by the producer
//! ```
//!
//! Nothing else in the crate computes an offset. The structs below are never built: they exist
//! so that the compiler checks the offsets, and [`fields`] prints them. Their fields have fixed
//! widths, every reserved byte is named, and words that different processes write while messages
//! pass stand on different 128-byte lines (Intel processors fetch lines in pairs); those that change
//! when somebody comes or goes may share one. A change here is a change
//! of the format: raise [`MAJOR`] when an older build must not attach, [`MINOR`] when it may.

mod geometry;
mod identity;
pub(crate) mod time;
mod word;

use core::mem::{offset_of, size_of};

pub(crate) use geometry::{Geometry, Tables};
pub(crate) use identity::{Identity, IdentityError, JournalCode, Keeping};
pub(crate) use word::{Part, Word};

/// First bytes of every segment.
pub const MAGIC: [u8; 8] = *b"RINGWAY\0";
/// Builds of different major layouts refuse each other's segments.
pub const MAJOR: u16 = 1;
/// Builds of different minor layouts understand each other's segments.
pub const MINOR: u16 = 0;

pub(crate) const BYTE_ORDER: u32 = 0x0102_0304;
/// A feature that a build must know to attach: messages carry a time and a checksum.
const FEATURE_JOURNAL: u32 = 1;
/// All of those; every other bit is refused.
pub(crate) const FEATURES_KNOWN: u32 = FEATURE_JOURNAL;

/// The largest page size of a Linux that runs with 64-bit words.
pub(crate) const REGION_ALIGN: usize = 64 << 10;
/// Where a ring of that size or more begins, so that nothing but whole huge pages map it.
pub(crate) const LARGE_RING_ALIGN: usize = 2 << 20;
/// Words that different processes write are this far apart at least.
pub(crate) const LINE_SIZE: usize = 128;

pub(crate) const CAPACITY_MIN: u64 = 64 << 10;
pub(crate) const CAPACITY_MAX: u64 = 2 << 30;
pub(crate) const MEMBERS_MAX: u32 = 16 << 10;
pub(crate) const SUBSCRIPTIONS_MAX: u32 = 4 << 10;
/// Shares that every queue has room for at least.
pub(crate) const SHARES_MIN: u32 = 64;
pub(crate) const SHARES_MAX: u32 = 32 << 10;
/// Messages of one share.
pub(crate) const SHARE_COUNT_MAX: u32 = 32;
/// Bytes of a subscription's name.
pub(crate) const SUBSCRIPTION_NAME_SIZE: usize = 64;
/// Bytes of its entry.
pub(crate) const SUBSCRIPTION_SIZE: usize = Subscription::SIZE;
/// Bytes of the path of a history directory.
pub(crate) const HISTORY_PATH_SIZE: usize = 1024;
/// The ring is that many sectors.
pub(crate) const SECTORS: usize = 16;
/// The `position` of a sector's entry that holds nothing.
pub(crate) const NO_POSITION: u64 = u64::MAX;
/// Positions and sequences lie below this, so that sums of two of them cannot overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 62;
/// Enough is left from here to [`COUNT_MAX`] for centuries.
pub(crate) const FIRST_SEQUENCE_MAX: u64 = 1 << 61;

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!(
    "a ringway segment is little-endian and up to 2 GiB: the crate needs a 64-bit little-endian target"
);

/// One field of the segment, as [`fields`] lists it.
///
/// ```
/// let written = ringway::layout::fields().find(|field| field.name == "written").unwrap();
/// assert_eq!((written.writer, written.size), ("historian", 8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// Which struct of the segment it belongs to.
    pub part: &'static str,
    /// Bytes from the start of that struct.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Its name; reserved bytes have names that begin with an underscore.
    pub name: &'static str,
    /// Who writes it after the segment is born.
    pub writer: &'static str,
    /// What it holds.
    pub meaning: &'static str,
}

/// Every byte of the segment's fixed parts, in order, and the bits of a frame's commit word.
///
/// `ringway layout` prints this table.
///
/// ```
/// let licence = ringway::layout::fields().find(|field| field.name == "licence").unwrap();
/// assert_eq!((licence.part, licence.offset, licence.size), ("Header", 256, 8));
/// ```
pub fn fields() -> impl Iterator<Item = Field> {
    [
        Header::FIELDS,
        SectorStart::FIELDS,
        Control::FIELDS,
        Subscription::FIELDS,
        Member::FIELDS,
        Share::FIELDS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Where the parts lie in the segment, from its start on: each part, and where it begins.
///
/// ```
/// let (first, place) = ringway::layout::places().next().unwrap();
/// assert_eq!((first, place.as_str()), ("Header", "0x00000"));
/// ```
pub fn places() -> impl Iterator<Item = (&'static str, String)> {
    let control = Geometry::control_offset();
    let map = control + Geometry::member_map(0);
    [
        ("Header", format!("{:#07x}", 0)),
        ("SectorStart", format!("{:#07x}, {SECTORS} of them", HEADER.sectors.offset())),
        ("Control", format!("{control:#07x}")),
        ("member map", format!("{map:#07x}, a bit for each member, in whole {LINE_SIZE} bytes")),
        ("subscription map", "behind it, a bit for each, as the member map".into()),
        ("Subscription", "behind the maps, as many as the header says".into()),
        ("Member", "behind the subscriptions, as many as the header says".into()),
        ("Share", "behind the members, as many as the header says".into()),
        (
            "ring",
            format!(
                "at the next multiple of {REGION_ALIGN:#x}, one of {LARGE_RING_ALIGN:#x} bytes or \
                 more at the next multiple of that, to the segment's end"
            ),
        ),
    ]
    .into_iter()
}

/// The bits of a frame's commit word, from the lowest: name, first bit, count of bits, meaning.
///
/// ```
/// let bits: u32 = ringway::layout::commit_word_bits().iter().map(|(_, _, count, _)| count).sum();
/// assert_eq!(bits, 64);
/// ```
#[must_use]
pub fn commit_word_bits() -> &'static [(&'static str, u32, u32, &'static str)] {
    &[
        ("length", 0, 29, "payload bytes; of padding, the bytes after this word"),
        (
            "extensions",
            29,
            3,
            "which words lie between this one and the payload: 1 key hash, 2 time, 4 checksum",
        ),
        ("kind", 32, 4, "1 message, 2 padding; a word of 0 is a frame that is not committed"),
        ("sequence", 36, 28, "low bits of the message's sequence; of padding, of the next one's"),
    ]
}

/// Declares one struct of the segment together with the check of its offsets and its table.
macro_rules! part {
    (
        $(#[$meta:meta])*
        struct $name:ident: $size:literal, $words:ident: $Words:ident {
            $($offset:literal $field:ident: $type:ty = $writer:literal $meaning:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        #[allow(dead_code, reason = "never built: the compiler checks the offsets")]
        #[allow(clippy::struct_field_names, reason = "names of the format")]
        pub(crate) struct $name {
            $($field: $type,)+
        }

        impl Part for $name {
            const SIZE: usize = $size;
        }

        /// The fields of that part.
        #[allow(dead_code, reason = "of some fields only the table is used")]
        #[allow(clippy::struct_field_names, reason = "names of the format")]
        pub(crate) struct $Words {
            $(pub(crate) $field: Word<$name, $type>,)+
        }

        pub(crate) const $words: $Words = $Words {
            $($field: Word::at($offset),)+
        };

        impl $name {
            const FIELDS: &[Field] = &[$(Field {
                part: stringify!($name),
                offset: $offset,
                size: size_of::<$type>(),
                name: stringify!($field),
                writer: $writer,
                meaning: $meaning,
            },)+];
        }

        const _: () = {
            $(assert!(offset_of!($name, $field) == $offset);)+
            assert!(size_of::<$name>() == $size);
            assert!(0 $(+ size_of::<$type>())+ == $size, "the compiler added padding");
        };
    };
}

part! {
    /// The first region.
    struct Header: 2176, HEADER: HeaderWords {
        0x000 magic: [u8; 8] = "creator" "the bytes RINGWAY and a zero";
        0x008 byte_order: u32 = "creator" "0x01020304 as the creator's machine stores it";
        0x00c major: u16 = "creator" "major layout; others are refused";
        0x00e minor: u16 = "creator" "minor layout; others are understood";
        0x010 features_required: u32 = "creator" "features that a build must know to attach";
        0x014 features_optional: u32 = "creator" "features that a build may ignore";
        0x018 segment_size: u64 = "creator" "bytes of the three regions";
        0x020 capacity: u64 = "creator" "bytes of the ring, a power of two";
        0x028 control_offset: u64 = "creator" "where the control region begins";
        0x030 ring_offset: u64 = "creator" "where the ring begins";
        0x038 members: u32 = "creator" "lines in the member table";
        0x03c subscriptions: u32 = "creator" "entries in the subscription table";
        0x040 instance: [u8; 16] = "creator" "random, different for every segment ever made";
        0x050 created_at: u64 = "creator" "nanoseconds since 1970, for display";
        0x058 first_sequence: u64 = "creator" "the first message's sequence";
        0x060 creator_pid: u32 = "creator" "for display";
        0x064 shares: u32 = "creator" "entries in the share table";
        0x068 control_size: u64 = "creator" "bytes of the control region's tables";
        0x070 history_id: [u8; 16] = "creator" "random, of the history directory; zeros: there is none";
        0x080 history_max: u64 = "creator" "bytes that the history may take; all ones: no limit";
        0x088 at_limit: u32 = "creator" "what gives way at that limit: 0 the producer, 1 the oldest messages";
        0x08c journal: u32 = "creator" "0 no journal, 1 written, 2 synced every so often, 3 synced always";
        0x090 sync_every: u64 = "creator" "nanoseconds between two syncs of the journal";
        0x098 keep_for: u64 = "creator" "nanoseconds that the journal keeps its files; 0: for ever";
        0x0a0 first_position: u64 = "creator" "the first message's position";
        0x0a8 _reserved_identity: [u8; 88] = "nobody" "zero";
        0x100 licence: u64 = "producer" "position up to which the producer has asked to write; never goes back";
        0x108 granted: u64 = "producer" "the licence that nobody objected to, in a queue with a history: what is below it, less the capacity, may be overwritten";
        0x110 _reserved_licence: [u8; 112] = "nobody" "zero";
        0x180 epoch: u64 = "producer" "how many producers there have been";
        0x188 closed: u64 = "producer" "0 while open, else 1 + the position where the stream ended";
        0x190 barrier: u32 = "producer" "1: a sleeper must issue the barrier for both sides (membarrier)";
        0x194 producer_pid: u32 = "producer" "for display";
        0x198 produced_since: u64 = "producer" "nanoseconds since 1970 when it took over, for display";
        0x1a0 flush_to: u64 = "producer" "position up to which it wants the journal durable now";
        0x1a8 must_keep: u64 = "producer" "while the producer waits for the history: whoever spills and needs what lies below this position is in the way; 0: it does not wait";
        0x1b0 _reserved_state: [u8; 80] = "nobody" "zero";
        0x200 written: u64 = "historian" "position up to which the history has the stream";
        0x208 written_from: u64 = "historian" "position from which on it has it, without a gap";
        0x210 durable: u64 = "historian" "position up to which the journal is as safe as was asked for";
        0x218 durable_sequence: u64 = "historian" "sequence of the first message that is not";
        0x220 journal_state: u32 = "historian" "0 sound, 1 failed by a sync, so that nothing is durable any more, 2 being synced";
        0x224 _reserved_history: [u8; 92] = "nobody" "zero";
        0x280 sectors: [u64; 64] = "producer" "the sector index: 16 x SectorStart";
        0x480 history: [u8; 1024] = "creator" "path of the history directory, padded with zeros; zeros: there is none";
    }
}

part! {
    /// The sector index's entry for one sixteenth of the ring: its first frame boundary.
    struct SectorStart: 32, SECTOR_START: SectorStartWords {
        0x00 position: u64 = "producer" "all ones while the entry holds nothing or changes";
        0x08 sequence: u64 = "producer" "of the frame that begins there";
        0x10 recorded_at: u64 = "producer" "nanoseconds since 1970 when it was recorded, for display";
        0x18 _reserved_sector: u64 = "nobody" "zero";
    }
}

part! {
    /// The start of the second region. The member map and the subscription map (a bit for each,
    /// rounded up to whole lines), the subscription table, the member table and the share table
    /// follow.
    struct Control: 512, CONTROL: ControlWords {
        0x000 data_event: u32 = "anyone" "odd while a consumer may sleep on it; the producer's sends wake it";
        0x004 _reserved_data: [u8; 124] = "nobody" "zero";
        0x080 room_event: u32 = "anyone" "odd while the producer may sleep on it; consumers wake it";
        0x084 _reserved_room: [u8; 124] = "nobody" "zero";
        0x100 removed: u32 = "remover" "1 once the queue's name has been taken away";
        0x104 _reserved_removed: [u8; 124] = "nobody" "zero";
        0x180 shares_used: u32 = "members" "entries of the share table from here on were never in use";
        0x184 _reserved_used: u32 = "nobody" "zero";
        0x188 joins: u64 = "members, registrar" "how often somebody has said anew from where on it needs messages";
        0x190 expired: u64 = "registrar" "subscriptions that were removed because they had had no member for too long, for display";
        0x198 _reserved_shares: [u8; 104] = "nobody" "zero";
    }
}

part! {
    /// A named subscription. Its bit in the subscription map says that it holds the producer, if
    /// it is of that kind.
    struct Subscription: 512, SUBSCRIPTION: SubscriptionWords {
        0x000 head_position: u64 = "members" "of the next frame that is in no share";
        0x008 head_sequence: u64 = "members" "of that frame";
        0x010 turn: u64 = "members" "how often the head has moved (48 bits); below, 1 + the share that moves it, or 0";
        0x018 _reserved_hot: [u8; 104] = "nobody" "zero";
        0x080 name: [u8; 64] = "registrar" "UTF-8, padded with zeros";
        0x0c0 state: u32 = "registrar" "0 free, 1 being made or removed, 2 in use, 3 being moved to `moves_to`";
        0x0c4 lag: u32 = "registrar" "0 skip, 1 hold, 2 spill";
        0x0c8 keyed: u32 = "registrar" "1: messages of one key go to one member at a time, in order";
        0x0cc deliveries_max: u32 = "registrar" "a message that was delivered so often is a dead letter; 0: never";
        0x0d0 backoff_first: u64 = "registrar" "nanoseconds before the second delivery after a nack";
        0x0d8 backoff_max: u64 = "registrar" "nanoseconds before a delivery at most";
        0x0e0 backoff_factor: u32 = "registrar" "each pause in thousandths of the last";
        0x0e4 terms: u32 = "registrar" "which set of terms counts: 1 those whose names begin with `other_`, else those of the same names without it";
        0x0e8 ack_within: u64 = "registrar" "nanoseconds without a sign of progress after which a share passes on; 0: never";
        0x0f0 created_at: u64 = "registrar" "nanoseconds since 1970 when it was made; counts towards expiry";
        0x0f8 left_at: u64 = "members" "nanoseconds since 1970 when a member was last seen to leave; counts towards expiry";
        0x100 delivered: u64 = "members" "deliveries by members that have left, for display";
        0x108 redelivered: u64 = "members" "of these, not the first of their message";
        0x110 acked: u64 = "members" "messages acknowledged by members that have left, for display";
        0x118 dead_letters: u64 = "members" "messages given up by members that have left, for display";
        0x120 missed: u64 = "members" "messages that members that have left were too slow for, for display";
        0x128 moves_to: u64 = "registrar" "sequence that the head is being moved to";
        0x130 other_deliveries_max: u32 = "registrar" "as `deliveries_max`";
        0x134 other_backoff_factor: u32 = "registrar" "as `backoff_factor`";
        0x138 other_backoff_first: u64 = "registrar" "as `backoff_first`";
        0x140 other_backoff_max: u64 = "registrar" "as `backoff_max`";
        0x148 other_ack_within: u64 = "registrar" "as `ack_within`";
        0x150 expires_after: u64 = "registrar" "nanoseconds without a member after which it is removed when it is in somebody's way; 0: never";
        0x158 other_expires_after: u64 = "registrar" "as `expires_after`";
        0x160 idle_since: u64 = "members, registrar" "nanoseconds of the machine's running (CLOCK_BOOTTIME) when it was last made, asked for, altered or moved, or a member was seen to leave";
        0x168 _reserved_cold: [u8; 152] = "nobody" "zero";
    }
}

part! {
    /// One consumer. Its bit in the member map says whether the line is in use, its lock
    /// whether its owner lives.
    struct Member: 128, MEMBER: MemberWords {
        0x00 cursor: u64 = "member" "position below which it needs nothing any more; of no meaning in a named subscription";
        0x08 lag: u32 = "member" "0 skip, 1 hold, 2 spill";
        0x0c subscription: u32 = "member" "1 + its entry in the subscription table, 0 when anonymous";
        0x10 pid: u32 = "member" "for display";
        0x14 late_wakes: u32 = "member" "sleeps that ended by their time limit although there was a message";
        0x18 since: u64 = "member" "nanoseconds since 1970 when it joined, for display";
        0x20 missed: u64 = "member" "messages it was too slow for";
        0x28 sleeps: u64 = "member" "times it slept";
        0x30 delivered: u64 = "member" "deliveries from its shares, for display";
        0x38 redelivered: u64 = "member" "of these, not the first of their message";
        0x40 acked: u64 = "member" "messages it acknowledged, for display";
        0x48 dead_letters: u64 = "member" "messages it gave up, for display";
        0x50 current: u32 = "member" "1 + the share that it works through in order, 0 if none; what it delivers and acknowledges of that is counted when it is through";
        0x54 counted: u32 = "member" "settled messages of that share which are counted already";
        0x58 _reserved_member: [u8; 40] = "nobody" "zero";
    }
}

part! {
    /// A share: messages of a named subscription that follow each other and are one member's to
    /// work on.
    struct Share: 384, SHARE: ShareWords {
        0x00 ticket: u64 = "owner, helpers" "1 + the subscription (bits 48 to 62) and the turn it was taken at; bit 63: the head has passed it";
        0x08 state: u64 = "owner, heirs" "unsettled messages (32 bits) | how many were handed out (6) | 1 + owner (15) | generation (11)";
        0x10 from_position: u64 = "owner" "the head's position before it";
        0x18 from_sequence: u64 = "owner" "the head's sequence before it; lower than `sequence` if messages were missed";
        0x20 position: u64 = "owner" "of the first message";
        0x28 sequence: u64 = "owner" "of the first message";
        0x30 end: u64 = "owner" "the head's position after it";
        0x38 subscription: u32 = "owner" "1 + its entry in the subscription table";
        0x3c count: u32 = "owner" "messages, 32 at most";
        0x40 waiting: u32 = "owner" "messages (a bit each) that wait to be delivered again";
        0x44 progress: u32 = "owner" "how often the owner has shown others that it is at work";
        0x48 retries: [u8; 32] = "owner" "deliveries of each message beside the one that the state counts";
        0x68 _reserved_share: [u8; 24] = "nobody" "zero";
        0x80 keys: [u8; 128] = "owner" "lower half of each key's hash (32 bits), in a keyed subscription; 0: no key";
        0x100 pauses: [u8; 128] = "owner" "1 + the milliseconds (32 bits each) that a message waits to be delivered again; 0: as long as the subscription says";
    }
}

impl Subscription {
    /// All of its bytes.
    pub(crate) const WHOLE: Word<Self, [u8; Self::SIZE]> = Word::at(0);
}

/// A field of the sector index's entry `sector`.
pub(crate) const fn in_sector<Value>(
    sector: usize,
    word: Word<SectorStart, Value>,
) -> Word<Header, Value> {
    assert!(sector < SECTORS);
    Word::at(HEADER.sectors.offset() + sector * SectorStart::SIZE + word.offset())
}

/// The values of `journal_state`.
pub(crate) const JOURNAL_SOUND: u32 = 0;
pub(crate) const JOURNAL_FAILED: u32 = 1;
pub(crate) const JOURNAL_SYNCING: u32 = 2;

/// The values of a subscription's `state`.
pub(crate) const FREE: u32 = 0;
pub(crate) const UNFINISHED: u32 = 1;
pub(crate) const IN_USE: u32 = 2;
pub(crate) const MOVING: u32 = 3;
