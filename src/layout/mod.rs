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

mod identity;
pub(crate) mod time;

use core::mem::{offset_of, size_of};

pub(crate) use identity::{Identity, IdentityError, JournalCode, Keeping};

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

/// A 64-bit word of the segment, by its offset from the start of its region or line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word64(pub(crate) usize);

/// A 32-bit word of the segment, by its offset from the start of its region or line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word32(pub(crate) usize);

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
    let map = control + Geometry::member_map(0).0;
    [
        ("Header", format!("{:#07x}", 0)),
        ("SectorStart", format!("{:#07x}, {SECTORS} of them", sector_position(0).0)),
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
        struct $name:ident: $size:literal {
            $($offset:literal $field:ident: $type:ty = $writer:literal $meaning:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[allow(dead_code, reason = "never built: the compiler checks the offsets")]
        #[allow(clippy::struct_field_names, reason = "names of the format")]
        struct $name {
            $($field: $type,)+
        }

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
    struct Header: 2176 {
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
    struct SectorStart: 32 {
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
    struct Control: 512 {
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
    struct Subscription: 512 {
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
    struct Member: 128 {
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
    struct Share: 384 {
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

impl Header {
    const SIZE: usize = size_of::<Self>();
}

pub(crate) const INSTANCE_OFFSET: usize = offset_of!(Header, instance);

pub(crate) const LICENCE: Word64 = Word64(offset_of!(Header, licence));
pub(crate) const GRANTED: Word64 = Word64(offset_of!(Header, granted));
pub(crate) const EPOCH: Word64 = Word64(offset_of!(Header, epoch));
pub(crate) const CLOSED: Word64 = Word64(offset_of!(Header, closed));
pub(crate) const BARRIER: Word32 = Word32(offset_of!(Header, barrier));
pub(crate) const PRODUCER_PID: Word32 = Word32(offset_of!(Header, producer_pid));
pub(crate) const PRODUCED_SINCE: Word64 = Word64(offset_of!(Header, produced_since));
pub(crate) const MUST_KEEP: Word64 = Word64(offset_of!(Header, must_keep));
pub(crate) const FLUSH_TO: Word64 = Word64(offset_of!(Header, flush_to));

/// The position of the sector index's entry `sector`.
pub(crate) const fn sector_position(sector: usize) -> Word64 {
    assert!(sector < SECTORS);
    Word64(offset_of!(Header, sectors) + sector * size_of::<SectorStart>())
}

/// The sequence of the sector index's entry `sector`.
pub(crate) const fn sector_sequence(sector: usize) -> Word64 {
    Word64(sector_position(sector).0 + offset_of!(SectorStart, sequence))
}

/// When the sector index's entry `sector` was recorded.
pub(crate) const fn sector_recorded_at(sector: usize) -> Word64 {
    Word64(sector_position(sector).0 + offset_of!(SectorStart, recorded_at))
}

pub(crate) const HISTORY_OFFSET: usize = offset_of!(Header, history);
pub(crate) const WRITTEN: Word64 = Word64(offset_of!(Header, written));
pub(crate) const WRITTEN_FROM: Word64 = Word64(offset_of!(Header, written_from));
pub(crate) const DURABLE: Word64 = Word64(offset_of!(Header, durable));
pub(crate) const DURABLE_SEQUENCE: Word64 = Word64(offset_of!(Header, durable_sequence));
pub(crate) const JOURNAL_STATE: Word32 = Word32(offset_of!(Header, journal_state));
/// The values of the journal's state.
pub(crate) const JOURNAL_SOUND: u32 = 0;
pub(crate) const JOURNAL_FAILED: u32 = 1;
pub(crate) const JOURNAL_SYNCING: u32 = 2;

pub(crate) const DATA_EVENT: Word32 = Word32(offset_of!(Control, data_event));
pub(crate) const ROOM_EVENT: Word32 = Word32(offset_of!(Control, room_event));
pub(crate) const REMOVED: Word32 = Word32(offset_of!(Control, removed));
pub(crate) const SHARES_USED: Word32 = Word32(offset_of!(Control, shares_used));
pub(crate) const JOINS: Word64 = Word64(offset_of!(Control, joins));
pub(crate) const EXPIRED: Word64 = Word64(offset_of!(Control, expired));

pub(crate) const MEMBER_SIZE: usize = size_of::<Member>();
pub(crate) const CURSOR: Word64 = Word64(offset_of!(Member, cursor));
pub(crate) const LAG: Word32 = Word32(offset_of!(Member, lag));
pub(crate) const PID: Word32 = Word32(offset_of!(Member, pid));
pub(crate) const LATE_WAKES: Word32 = Word32(offset_of!(Member, late_wakes));
pub(crate) const SINCE: Word64 = Word64(offset_of!(Member, since));
pub(crate) const MISSED: Word64 = Word64(offset_of!(Member, missed));
pub(crate) const SLEEPS: Word64 = Word64(offset_of!(Member, sleeps));
pub(crate) const SUBSCRIPTION: Word32 = Word32(offset_of!(Member, subscription));
pub(crate) const DELIVERED: Word64 = Word64(offset_of!(Member, delivered));
pub(crate) const REDELIVERED: Word64 = Word64(offset_of!(Member, redelivered));
pub(crate) const ACKED: Word64 = Word64(offset_of!(Member, acked));
pub(crate) const DEAD_LETTERS: Word64 = Word64(offset_of!(Member, dead_letters));
pub(crate) const CURRENT: Word32 = Word32(offset_of!(Member, current));
pub(crate) const COUNTED: Word32 = Word32(offset_of!(Member, counted));

/// The words of a [`Subscription`].
pub(crate) mod subscription {
    use super::{SUBSCRIPTION_NAME_SIZE, Subscription, Word32, Word64, offset_of};

    pub(crate) const SIZE: usize = size_of::<Subscription>();
    pub(crate) const HEAD_POSITION: Word64 = Word64(offset_of!(Subscription, head_position));
    pub(crate) const HEAD_SEQUENCE: Word64 = Word64(offset_of!(Subscription, head_sequence));
    pub(crate) const TURN: Word64 = Word64(offset_of!(Subscription, turn));
    pub(crate) const STATE: Word32 = Word32(offset_of!(Subscription, state));
    pub(crate) const LAG: Word32 = Word32(offset_of!(Subscription, lag));
    pub(crate) const KEYED: Word32 = Word32(offset_of!(Subscription, keyed));
    pub(crate) const TERMS: Word32 = Word32(offset_of!(Subscription, terms));
    pub(crate) const CREATED_AT: Word64 = Word64(offset_of!(Subscription, created_at));
    pub(crate) const LEFT_AT: Word64 = Word64(offset_of!(Subscription, left_at));
    pub(crate) const DELIVERED: Word64 = Word64(offset_of!(Subscription, delivered));
    pub(crate) const REDELIVERED: Word64 = Word64(offset_of!(Subscription, redelivered));
    pub(crate) const ACKED: Word64 = Word64(offset_of!(Subscription, acked));
    pub(crate) const DEAD_LETTERS: Word64 = Word64(offset_of!(Subscription, dead_letters));
    pub(crate) const MISSED: Word64 = Word64(offset_of!(Subscription, missed));
    pub(crate) const MOVES_TO: Word64 = Word64(offset_of!(Subscription, moves_to));
    pub(crate) const IDLE_SINCE: Word64 = Word64(offset_of!(Subscription, idle_since));

    /// The words of a subscription's terms.
    #[derive(Debug)]
    pub(crate) struct TermWords {
        pub(crate) deliveries_max: Word32,
        pub(crate) backoff_first: Word64,
        pub(crate) backoff_max: Word64,
        pub(crate) backoff_factor: Word32,
        pub(crate) ack_within: Word64,
        pub(crate) expires_after: Word64,
    }

    /// Both sets of them, of which one counts.
    pub(crate) const TERM_WORDS: [TermWords; 2] = [
        TermWords {
            deliveries_max: Word32(offset_of!(Subscription, deliveries_max)),
            backoff_first: Word64(offset_of!(Subscription, backoff_first)),
            backoff_max: Word64(offset_of!(Subscription, backoff_max)),
            backoff_factor: Word32(offset_of!(Subscription, backoff_factor)),
            ack_within: Word64(offset_of!(Subscription, ack_within)),
            expires_after: Word64(offset_of!(Subscription, expires_after)),
        },
        TermWords {
            deliveries_max: Word32(offset_of!(Subscription, other_deliveries_max)),
            backoff_first: Word64(offset_of!(Subscription, other_backoff_first)),
            backoff_max: Word64(offset_of!(Subscription, other_backoff_max)),
            backoff_factor: Word32(offset_of!(Subscription, other_backoff_factor)),
            ack_within: Word64(offset_of!(Subscription, other_ack_within)),
            expires_after: Word64(offset_of!(Subscription, other_expires_after)),
        },
    ];

    /// The values of the state.
    pub(crate) const FREE: u32 = 0;
    pub(crate) const UNFINISHED: u32 = 1;
    pub(crate) const IN_USE: u32 = 2;
    pub(crate) const MOVING: u32 = 3;

    /// Eight bytes of the name.
    pub(crate) const fn name(index: usize) -> Word64 {
        assert!(index < SUBSCRIPTION_NAME_SIZE / 8);
        Word64(offset_of!(Subscription, name) + index * 8)
    }
}

/// The words of a [`Share`].
pub(crate) mod share {
    use super::{SHARE_COUNT_MAX, Share, Word32, Word64, offset_of};

    pub(crate) const SIZE: usize = size_of::<Share>();
    pub(crate) const TICKET: Word64 = Word64(offset_of!(Share, ticket));
    pub(crate) const STATE: Word64 = Word64(offset_of!(Share, state));
    pub(crate) const FROM_POSITION: Word64 = Word64(offset_of!(Share, from_position));
    pub(crate) const FROM_SEQUENCE: Word64 = Word64(offset_of!(Share, from_sequence));
    pub(crate) const POSITION: Word64 = Word64(offset_of!(Share, position));
    pub(crate) const SEQUENCE: Word64 = Word64(offset_of!(Share, sequence));
    pub(crate) const END: Word64 = Word64(offset_of!(Share, end));
    pub(crate) const SUBSCRIPTION: Word32 = Word32(offset_of!(Share, subscription));
    pub(crate) const COUNT: Word32 = Word32(offset_of!(Share, count));
    pub(crate) const WAITING: Word32 = Word32(offset_of!(Share, waiting));
    pub(crate) const PROGRESS: Word32 = Word32(offset_of!(Share, progress));

    /// The word that has the byte of message `index`.
    pub(crate) const fn retries(index: u32) -> Word64 {
        assert!(index < SHARE_COUNT_MAX);
        Word64(offset_of!(Share, retries) + index as usize / 8 * 8)
    }

    pub(crate) const fn key(index: u32) -> Word32 {
        assert!(index < SHARE_COUNT_MAX);
        Word32(offset_of!(Share, keys) + index as usize * 4)
    }

    pub(crate) const fn pause(index: u32) -> Word32 {
        assert!(index < SHARE_COUNT_MAX);
        Word32(offset_of!(Share, pauses) + index as usize * 4)
    }
}

/// How many entries the tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) members: u32,
    pub(crate) subscriptions: u32,
    pub(crate) shares: u32,
}

/// How large everything is. Built only with sizes that fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    capacity: u64,
    tables: Tables,
}

impl Geometry {
    /// Checks the sizes; the error says which bound is broken.
    pub(crate) fn new(capacity: u64, tables: Tables) -> Result<Self, String> {
        if !(CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity) {
            return Err(format!(
                "a capacity of {capacity} bytes is outside {CAPACITY_MIN} to {CAPACITY_MAX} (64 KiB to 2 GiB)"
            ));
        }
        if !capacity.is_power_of_two() {
            let next = capacity.next_power_of_two() >> 10;
            let next =
                if next < 1 << 10 { format!("{next} KiB") } else { format!("{} MiB", next >> 10) };
            return Err(format!(
                "a capacity of {capacity} bytes is not a power of two, try {next}"
            ));
        }
        let Tables { members, subscriptions, shares } = tables;
        if !(1..=MEMBERS_MAX).contains(&members) {
            return Err(format!("{members} members are outside 1 to {MEMBERS_MAX}"));
        }
        if subscriptions > SUBSCRIPTIONS_MAX {
            return Err(format!(
                "{subscriptions} named subscriptions are more than {SUBSCRIPTIONS_MAX}"
            ));
        }
        if shares > SHARES_MAX {
            return Err(format!("{shares} shares are more than {SHARES_MAX}"));
        }
        Ok(Self { capacity, tables })
    }

    /// Whether a ring can have so many bytes.
    pub(crate) fn is_capacity(bytes: u64) -> bool {
        (CAPACITY_MIN..=CAPACITY_MAX).contains(&bytes) && bytes.is_power_of_two()
    }

    /// A ring too small for a segment, for tests that look at every byte of it.
    #[cfg(test)]
    pub(crate) fn tiny(capacity: u64, tables: Tables) -> Self {
        assert!(capacity.is_power_of_two() && capacity >= 16 * SECTORS as u64);
        Self { capacity, tables }
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) const fn sector_size(&self) -> u64 {
        self.capacity / SECTORS as u64
    }

    /// The largest payload, bytes.
    pub(crate) const fn message_size_max(&self) -> u64 {
        self.capacity / 8
    }

    /// The most bytes of frames that one batch may hold. With the largest frame, the padding
    /// before it and the index's distance from the end, that leaves the newest entry of the
    /// sector index above the floor at all times.
    pub(crate) const fn batch_size_max(&self) -> u64 {
        self.capacity / 4
    }

    pub(crate) const fn tables(&self) -> Tables {
        self.tables
    }

    pub(crate) const fn header_size() -> usize {
        Header::SIZE
    }

    pub(crate) const fn control_offset() -> usize {
        Header::SIZE.next_multiple_of(REGION_ALIGN)
    }

    pub(crate) const fn member_map_words(&self) -> usize {
        map_words(self.tables.members)
    }

    /// From the start of the control region; `word` is below [`Self::member_map_words`].
    pub(crate) const fn member_map(word: usize) -> Word64 {
        Word64(size_of::<Control>() + word * size_of::<u64>())
    }

    pub(crate) const fn subscription_map_words(&self) -> usize {
        map_words(self.tables.subscriptions)
    }

    /// From the start of the control region; `word` is below [`Self::subscription_map_words`].
    pub(crate) const fn subscription_map(&self, word: usize) -> Word64 {
        let map = size_of::<Control>() + map_size(self.tables.members);
        Word64(map + word * size_of::<u64>())
    }

    /// From the start of the control region; `index` is below the table's size.
    pub(crate) const fn subscription(&self, index: u32) -> usize {
        let table = self.subscription_map(0).0 + map_size(self.tables.subscriptions);
        table + index as usize * size_of::<Subscription>()
    }

    /// From the start of the control region; `index` is below the table's size.
    pub(crate) const fn member(&self, index: u32) -> usize {
        self.subscription(self.tables.subscriptions) + index as usize * MEMBER_SIZE
    }

    /// From the start of the control region; `index` is below the table's size.
    pub(crate) const fn share(&self, index: u32) -> usize {
        self.member(self.tables.members) + index as usize * size_of::<Share>()
    }

    pub(crate) const fn control_size(&self) -> usize {
        self.share(self.tables.shares)
    }

    /// Where the pages of the control region end.
    pub(crate) const fn control_end(&self) -> usize {
        (Self::control_offset() + self.control_size()).next_multiple_of(REGION_ALIGN)
    }

    pub(crate) const fn ring_offset(&self) -> usize {
        let is_large = self.capacity >= LARGE_RING_ALIGN as u64;
        self.control_end().next_multiple_of(if is_large { LARGE_RING_ALIGN } else { REGION_ALIGN })
    }

    /// Bytes from the segment's start to its end.
    pub(crate) const fn segment_size(&self) -> u64 {
        self.ring_offset() as u64 + self.capacity
    }

    /// Bytes of memory that it takes: all but what lies between the control region and the ring.
    pub(crate) const fn memory_size(&self) -> u64 {
        self.control_end() as u64 + self.capacity
    }
}

const fn map_words(bits: u32) -> usize {
    bits.div_ceil(u64::BITS) as usize
}

const fn map_size(bits: u32) -> usize {
    (map_words(bits) * size_of::<u64>()).next_multiple_of(LINE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap_at_any_size() {
        for capacity_log2 in 16..=31 {
            for (members, subscriptions, shares) in
                [(1, 0, 0), (64, 64, 128), (65, 3, 7), (16_384, 4_096, 32_768)]
            {
                let tables = Tables { members, subscriptions, shares };
                let geometry = Geometry::new(1 << capacity_log2, tables).unwrap();
                assert!(Geometry::header_size() <= Geometry::control_offset());
                let maps = [
                    (Geometry::member_map(geometry.member_map_words()), members),
                    (geometry.subscription_map(geometry.subscription_map_words()), subscriptions),
                ];
                assert!(geometry.subscription_map(0).0 >= maps[0].0.0);
                assert!(geometry.subscription(0) >= maps[1].0.0);
                for begin in [geometry.subscription(0), geometry.member(0), geometry.share(0)] {
                    assert_eq!(begin % LINE_SIZE, 0);
                }
                let control_end = Geometry::control_offset() + geometry.control_size();
                assert!(control_end <= geometry.control_end());
                assert!(geometry.control_end() <= geometry.ring_offset());
                let is_large = geometry.capacity() >= LARGE_RING_ALIGN as u64;
                let align = if is_large { LARGE_RING_ALIGN } else { REGION_ALIGN };
                assert_eq!(geometry.ring_offset() % align, 0);
                let gap = geometry.ring_offset() - geometry.control_end();
                assert!(gap < align);
                assert_eq!(geometry.memory_size(), geometry.segment_size() - gap as u64);
                assert_eq!(geometry.segment_size() % REGION_ALIGN as u64, 0);
            }
        }
    }
}
