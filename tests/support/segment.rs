//! Small segments, and where their fields lie.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use ringway::{Queue, QueueOptions, layout};

use super::Name;
use super::users::check;

pub(crate) const CAPACITY: u64 = 64 << 10;
pub(crate) const MEMBERS: u32 = 8;
pub(crate) const SUBSCRIPTIONS: u32 = 2;
/// What the three regions are aligned to.
pub(crate) const REGION_ALIGN: u64 = 64 << 10;

pub(crate) fn options() -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(MEMBERS).subscriptions(SUBSCRIPTIONS)
}

pub(crate) fn new_queue(purpose: &str) -> (Name, Queue) {
    let name = Name::new(purpose);
    let queue = Queue::create(&name, &options()).expect("a queue");
    (name, queue)
}

/// The bytes of a new segment.
pub(crate) fn new_image() -> Vec<u8> {
    let (name, _queue) = new_queue("image");
    fs::read(name.path()).expect("a file")
}

/// Where a field lies in its part of the segment.
pub(crate) fn field(part: &str, name: &str) -> Range<usize> {
    let field = layout::fields().find(|field| (field.part, field.name) == (part, name));
    let field = field.expect("a field of the format");
    field.offset..field.offset + field.size
}

pub(crate) fn header(name: &str) -> Range<usize> {
    field("Header", name)
}

pub(crate) fn header_word(image: &[u8], name: &str) -> u64 {
    u64::from_le_bytes(image[header(name)].try_into().expect("a field of 8 bytes"))
}

pub(crate) fn size_of_part(part: &str) -> usize {
    layout::fields().filter(|field| field.part == part).map(|field| field.size).sum()
}

fn header_number(image: &[u8], name: &str) -> usize {
    u32::from_le_bytes(image[header(name)].try_into().expect("a field of 4 bytes")) as usize
}

/// Where the shares begin, at the end of the tables, and how many there are.
fn shares(image: &[u8]) -> (usize, usize) {
    let number = |name| usize::try_from(header_word(image, name)).expect("a small number");
    let count = header_number(image, "shares");
    (number("control_offset") + number("control_size") - count * size_of_part("Share"), count)
}

/// Reads a word of 32 bits that all consumers have in common.
pub(crate) fn control_word(name: &str, word: &str) -> impl Fn() -> u32 + use<> {
    let path = format!("/dev/shm/ringway.{name}");
    let control = header_word(&fs::read(&path).expect("a segment"), "control_offset");
    let place = control + field("Control", word).start as u64;
    let segment = File::open(path).expect("a segment");
    move || {
        let mut bytes = [0; 4];
        segment.read_exact_at(&mut bytes, place).expect("a word");
        u32::from_le_bytes(bytes)
    }
}

/// Where an entry of the share table begins.
pub(crate) fn share_offset(name: &str, share: usize) -> usize {
    let image = fs::read(format!("/dev/shm/ringway.{name}")).expect("a segment");
    shares(&image).0 + share * size_of_part("Share")
}

/// How often the owner of a share has shown that it is at work.
pub(crate) fn progress_of(name: &str, share: usize) -> impl Fn() -> [u8; 4] + use<> {
    let place = share_offset(name, share) + field("Share", "progress").start;
    let segment = File::open(format!("/dev/shm/ringway.{name}")).expect("a segment");
    move || {
        let mut progress = [0; 4];
        segment.read_exact_at(&mut progress, place as u64).expect("a share");
        progress
    }
}

/// Where a member's line begins, in front of the shares.
pub(crate) fn member_offset(name: &str, member: u32) -> usize {
    let image = fs::read(format!("/dev/shm/ringway.{name}")).expect("a segment");
    let members = header_number(&image, "members");
    shares(&image).0 - (members - member as usize) * size_of_part("Member")
}

/// Where an entry of the subscription table begins, in front of the members.
pub(crate) fn subscription_offset(name: &str, subscription: u32) -> usize {
    let image = fs::read(format!("/dev/shm/ringway.{name}")).expect("a segment");
    let subscriptions = header_number(&image, "subscriptions");
    let behind = (subscriptions - subscription as usize) * size_of_part("Subscription");
    member_offset(name, 0) - behind
}

/// Insists that nobody has any share, and nobody's is left.
#[track_caller]
pub(crate) fn assert_no_share_in_use(name: &str) {
    const UNSETTLED: u64 = 0xffff_ffff;
    const OWNER: u64 = 0x7fff << 38;
    let image = fs::read(format!("/dev/shm/ringway.{name}")).expect("a segment");
    let word = |offset: usize| u64::from_le_bytes(image[offset..offset + 8].try_into().unwrap());
    let (begin, count) = shares(&image);
    for share in 0..count {
        let state = word(begin + share * size_of_part("Share") + field("Share", "state").start);
        assert_eq!(state & (UNSETTLED | OWNER), 0, "share {share} is in use: {state:#x}");
    }
}

/// Gives the memory of a part of a file back.
pub(crate) fn punch_hole(file: &File, offset: u64, size: u64) {
    try_to_punch_hole(file, offset, size).expect("a hole");
}

pub(crate) fn try_to_punch_hole(file: &File, offset: u64, size: u64) -> io::Result<()> {
    let [offset, size] = [offset, size].map(|count| libc::off_t::try_from(count).unwrap());
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a call on an open file.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, size) })
}
