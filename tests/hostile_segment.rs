//! What stands at a queue's name is no segment, or a segment that somebody has damaged.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::ffi::CString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ringway::{
    Batch, Consumer, Error, Lag, Message, Observer, Producer, Queue, QueueOptions, Received, Sent,
    Start, Subscribe, Wait, layout,
};

use support::{Name, Peer, assert_message, play, say, watchdog};

const CAPACITY: u64 = 64 << 10;
const MEMBERS: u32 = 4;
/// What the three regions are aligned to.
const REGION_ALIGN: u64 = 64 << 10;
const NOBODY: u32 = 65_534;
const NOW: Duration = Duration::ZERO;

/// Insists on an error of one kind.
macro_rules! assert_error {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{} was expected: {other:?}", stringify!($pattern)),
        }
    };
}

#[test]
fn peer() {
    play(&[
        ("stranger reads", stranger_reads),
        ("stranger is refused", stranger_is_refused),
        ("stranger removes", stranger_removes),
        ("late comer", late_comer),
        ("cramped", cramped),
        ("creator", creator),
    ]);
}

fn options() -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(MEMBERS)
}

fn new_queue(purpose: &str) -> (Name, Queue) {
    let name = Name::new(purpose);
    let queue = Queue::create(&name, &options()).expect("a queue");
    (name, queue)
}

/// The bytes of a new segment.
fn new_image() -> Vec<u8> {
    let (name, _queue) = new_queue("image");
    fs::read(name.path()).expect("a file")
}

/// Where a field lies in its part of the segment.
fn field(part: &str, name: &str) -> Range<usize> {
    let field = layout::fields().find(|field| (field.part, field.name) == (part, name));
    let field = field.expect("a field of the format");
    field.offset..field.offset + field.size
}

fn header(name: &str) -> Range<usize> {
    field("Header", name)
}

fn header_word(image: &[u8], name: &str) -> u64 {
    u64::from_le_bytes(image[header(name)].try_into().expect("a field of 8 bytes"))
}

/// A segment's bytes with one field of the header changed.
fn with(image: &[u8], name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image[header(name)].copy_from_slice(bytes);
    image
}

/// A queue's name at which a test puts what it likes.
struct Spot(Name);

impl Spot {
    fn new(purpose: &str) -> Self {
        Self(Name::new(purpose))
    }

    fn holding(contents: &[u8]) -> Self {
        let spot = Self::new("spot");
        fs::write(spot.path(), contents).expect("a file");
        spot
    }
}

impl Deref for Spot {
    type Target = Name;

    fn deref(&self) -> &Name {
        &self.0
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        let path = self.path();
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
}

/// All about what stands at a path that nobody should change.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    inode: u64,
    mode: u32,
    owner: u32,
    links: u64,
    contents: Option<Vec<u8>>,
}

impl Facts {
    fn of(path: impl AsRef<Path>) -> Self {
        let facts = fs::symlink_metadata(&path).expect("something");
        Self {
            inode: facts.ino(),
            mode: facts.mode(),
            owner: facts.uid(),
            links: facts.nlink(),
            contents: facts.is_file().then(|| fs::read(path).expect("a file")),
        }
    }
}

fn user() -> u32 {
    // SAFETY: a call that cannot fail.
    unsafe { libc::geteuid() }
}

fn is_root() -> bool {
    user() == 0
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn make_pipe(path: &str, mode: u32) -> io::Result<()> {
    let c_path = CString::new(path).unwrap();
    // SAFETY: the string outlives the call.
    check(unsafe { libc::mkfifo(c_path.as_ptr(), mode) })?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[track_caller]
fn assert_foreign<T: Debug>(result: Result<T, Error>, queue: &str, is: &str) {
    match result {
        Err(error @ Error::Foreign { .. }) => {
            let text = error.to_string();
            assert!(text.contains(is) && text.contains(queue), "{text}");
        }
        other => panic!("{is} was expected to be foreign: {other:?}"),
    }
}

// What is no file.

#[test]
fn what_is_no_regular_file_is_left_alone_by_every_call() {
    type Make<'a> = &'a dyn Fn(&str) -> io::Result<()>;
    let _watchdog = watchdog();
    let (target, _queue) = new_queue("target");
    let nothing = Name::new("nothing");
    let things: [(&str, Make); 6] = [
        ("a symbolic link", &|path| symlink(target.path(), path)),
        ("a symbolic link", &|path| symlink(nothing.path(), path)),
        ("a symbolic link", &|path| symlink(path, path)),
        ("a directory", &|path| fs::create_dir(path)),
        ("a FIFO", &|path| make_pipe(path, 0o600)),
        ("no regular file", &|path| UnixListener::bind(path).map(drop)),
    ];
    let target_before = Facts::of(target.path());
    for (is, make) in things {
        let spot = Spot::new("no-file");
        make(&spot.path()).expect(is);
        let before = Facts::of(spot.path());
        assert_foreign(Queue::open(&spot), &spot, is);
        assert_foreign(Queue::open_owned_by(&spot, user()), &spot, is);
        assert_foreign(Queue::open_or_create(&spot, &options()), &spot, is);
        assert_error!(Queue::create(&spot, &options()), Error::AlreadyExists { .. });
        assert_foreign(Queue::remove(&spot), &spot, is);
        assert_foreign(Queue::force_remove(&spot), &spot, is);
        assert_eq!(Facts::of(spot.path()), before, "{is}");
    }
    assert!(!Path::new(&nothing.path()).exists(), "a link was followed and its target made");
    assert_eq!(Facts::of(target.path()), target_before, "a link was followed");
}

#[test]
fn a_name_that_cannot_be_is_refused_by_every_call() {
    let too_long = "x".repeat(201);
    let names = [
        "",
        ".",
        "..",
        "/",
        "/name",
        "a/b",
        "../shm/name",
        ".hidden",
        "-",
        "-rf",
        "a\0b",
        "a b",
        "a\n",
        "ä",
        "队列",
        "a\u{202e}b",
        "%s",
        "*",
        &too_long,
    ];
    for name in names {
        assert_error!(Queue::open(name), Error::InvalidName { .. });
        assert_error!(Queue::open_owned_by(name, NOBODY), Error::InvalidName { .. });
        assert_error!(Queue::create(name, &options()), Error::InvalidName { .. });
        assert_error!(Queue::open_or_create(name, &options()), Error::InvalidName { .. });
        assert_error!(Queue::remove(name), Error::InvalidName { .. });
        assert_error!(Queue::force_remove(name), Error::InvalidName { .. });
        let error = Queue::open(name).unwrap_err();
        assert_eq!(error.queue(), name);
        let text = error.to_string();
        assert!(!text.contains(['\0', '\n', '\u{202e}']), "a name reaches the terminal: {text:?}");
    }
}

#[test]
fn the_longest_name_works_to_the_end() {
    let _watchdog = watchdog();
    let mut names = (0..200).rev().map(|length| Name::new(&"x".repeat(length)));
    let name = names.find(|name| name.len() == 200).expect("a name of 200 bytes");
    let queue = Queue::create(&name, &options()).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    queue.producer().unwrap().send(b"far").unwrap();
    assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), b"far");
    drop(consumer);
    assert!(Queue::list().unwrap().contains(&name.to_string()));
    Queue::remove(&name).unwrap();
}

#[test]
fn options_out_of_bounds_make_nothing() {
    let name = Name::new("bounds");
    let bad = [
        options().capacity(0),
        options().capacity(1),
        options().capacity(32 << 10),
        options().capacity((64 << 10) + 1),
        options().capacity(3 << 20),
        options().capacity(4 << 30),
        options().capacity(1 << 63),
        options().capacity(u64::MAX),
        options().members(0),
        options().members((16 << 10) + 1),
        options().members(u32::MAX),
        options().mode(0),
        options().mode(0o400),
        options().mode(0o4600),
        options().mode(0o100_600),
        options().mode(u32::MAX),
        options().first_sequence(1 << 61),
        options().first_sequence(1 << 62),
        options().first_sequence(u64::MAX),
    ];
    for options in &bad {
        assert_error!(Queue::create(&name, options), Error::InvalidOption { .. });
        assert_error!(Queue::open_or_create(&name, options), Error::InvalidOption { .. });
        assert_error!(Queue::open(&name), Error::NotFound { .. });
    }
    let queue = Queue::create(&name, &options()).unwrap();
    for options in &bad {
        // They are for making one.
        let opened = Queue::open_or_create(&name, options).unwrap();
        assert_eq!(opened.instance_id(), queue.instance_id());
    }
}

// What is a file, but no segment, or not the whole of one.

/// What it takes to have an object removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Plain,
    Forced,
}

/// Insists that a file is refused with an error that `is_due`, that nothing changes it, and that
/// it can be removed as it should be.
fn assert_refused(text: &str, image: &[u8], is_due: impl Fn(&Error) -> bool, removal: Removal) {
    let assert_due = |result: Result<(), Error>| {
        let error = result.expect_err(text);
        assert!(is_due(&error), "{text}: {error:?}");
    };
    let spot = Spot::holding(image);
    let before = Facts::of(spot.path());
    assert_due(Queue::open(&spot).map(drop));
    assert_due(Queue::open_owned_by(&spot, user()).map(drop));
    assert_due(Queue::open_or_create(&spot, &options()).map(drop));
    assert_error!(Queue::create(&spot, &options()), Error::AlreadyExists { .. });
    if removal != Removal::Plain {
        assert_due(Queue::remove(&spot));
    }
    assert_eq!(Facts::of(spot.path()), before, "{text}: the file was touched");
    match removal {
        Removal::Plain => Queue::remove(&spot).expect(text),
        Removal::Forced => Queue::force_remove(&spot).expect(text),
    }
    assert_error!(Queue::open(&spot), Error::NotFound { .. });
    Queue::create(&spot, &options()).expect(text);
}

#[test]
fn a_file_without_contents_is_unfinished() {
    let is_due = |error: &Error| matches!(error, Error::Unfinished { .. });
    assert_refused("an empty file", &[], is_due, Removal::Forced);
    assert_refused("256 zeros", &[0; 256], is_due, Removal::Forced);
    assert_refused("all zeros", &vec![0; new_image().len()], is_due, Removal::Forced);
}

#[test]
fn a_file_of_something_else_is_foreign() {
    let image = new_image();
    let is_due = |error: &Error| matches!(error, Error::Foreign { .. });
    for magic in [b"RINGWAY1", b"ringway\0", b"\0YAWGNIR", b"\x7fELF\x02\x01\x01\0", &[0; 8]] {
        assert_refused("wrong magic", &with(&image, "magic", magic), is_due, Removal::Forced);
    }
    let text = "Nothing that ringway wrote. ".repeat(100);
    assert_refused("a text", text.as_bytes(), is_due, Removal::Forced);
    assert_refused("all ones", &vec![0xff; image.len()], is_due, Removal::Forced);
}

#[test]
fn a_segment_of_another_kind_says_which() {
    let image = new_image();
    let swapped: Vec<u8> = image[header("byte_order")].iter().rev().copied().collect();
    let is_byte_order = |error: &Error| matches!(error, Error::ByteOrder { .. });
    let foreign = with(&image, "byte_order", &swapped);
    assert_refused("the other byte order", &foreign, is_byte_order, Removal::Plain);
    for major in [0, layout::MAJOR + 1, u16::MAX] {
        let is_due = |error: &Error| {
            matches!(*error, Error::LayoutMismatch { theirs, ours, .. }
                if (theirs, ours) == (major, layout::MAJOR))
        };
        let other = with(&image, "major", &major.to_le_bytes());
        assert_refused("another layout", &other, is_due, Removal::Plain);
    }
    for features in [1, 6, 1 << 31, u32::MAX] {
        let is_due = |error: &Error| matches!(*error, Error::UnknownFeatures { bits, .. } if bits == features);
        let other = with(&image, "features_required", &features.to_le_bytes());
        assert_refused("unknown features", &other, is_due, Removal::Plain);
    }
}

#[test]
fn a_newer_minor_layout_and_optional_features_are_understood() {
    let image = with(&new_image(), "minor", &9_u16.to_le_bytes());
    let image = with(&image, "features_optional", &u32::MAX.to_le_bytes());
    let spot = Spot::holding(&image);
    let queue = Queue::open(&spot).unwrap();
    assert_eq!(queue.info().unwrap().layout, (layout::MAJOR, 9));
    assert_eq!(queue.producer().unwrap().send(b"understood").unwrap(), 0);
}

#[test]
fn absurd_sizes_are_corrupt() {
    let image = new_image();
    let is_due = |error: &Error| matches!(error, Error::Corrupt { .. });
    let sizes = [0, 1, CAPACITY - 1, CAPACITY + 1, 3 << 20, 1 << 40, 1 << 63, u64::MAX];
    let words = ["segment_size", "capacity", "control_offset", "ring_offset", "control_size"];
    for (name, size) in words.into_iter().flat_map(|name| sizes.map(|size| (name, size))) {
        let absurd = with(&image, name, &size.to_le_bytes());
        assert_refused(&format!("{name} {size}"), &absurd, is_due, Removal::Plain);
    }
    // Sizes that others could have, but not with the rest of this one.
    for size in [CAPACITY * 2, 2 << 30] {
        let other = with(&image, "capacity", &size.to_le_bytes());
        assert_refused(&format!("capacity {size}"), &other, is_due, Removal::Plain);
    }
    for count in [0, MEMBERS + 1, 1 << 14, (1 << 14) + 1, u32::MAX] {
        let other = with(&image, "members", &count.to_le_bytes());
        assert_refused(&format!("members {count}"), &other, is_due, Removal::Plain);
    }
    for count in [0, 1 << 12, (1 << 12) + 1, u32::MAX] {
        let other = with(&image, "subscriptions", &count.to_le_bytes());
        assert_refused(&format!("subscriptions {count}"), &other, is_due, Removal::Plain);
    }
    for sequence in [1 << 61, 1 << 62, u64::MAX] {
        let other = with(&image, "first_sequence", &sequence.to_le_bytes());
        assert_refused(&format!("first sequence {sequence}"), &other, is_due, Removal::Plain);
    }
}

#[test]
fn a_segment_that_was_cut_is_truncated() {
    let image = new_image();
    let whole = image.len();
    let ring = usize::try_from(header_word(&image, "ring_offset")).unwrap();
    let is_due = |held: usize| move |error: &Error| matches!(*error, Error::Truncated { size, .. } if size == held as u64);
    for size in [1, 8, 255] {
        assert_refused("a stump", &image[..size], is_due(size), Removal::Plain);
    }
    for size in [256, 1024, 4096, ring, whole - 4096, whole - 1] {
        let is_due = |error: &Error| {
            matches!(*error, Error::Truncated { expected, .. } if expected == whole as u64)
                && is_due(size)(error)
        };
        assert_refused("a part", &image[..size], is_due, Removal::Plain);
    }
}

#[test]
fn a_segment_that_grew_is_corrupt() {
    let mut image = new_image();
    image.push(0);
    let is_due = |error: &Error| matches!(error, Error::Corrupt { .. });
    assert_refused("a byte more", &image, is_due, Removal::Plain);
    image.resize(image.len() * 2, 0);
    assert_refused("twice as long", &image, is_due, Removal::Plain);
}

fn punch_hole(file: &File, offset: u64, size: u64) {
    let [offset, size] = [offset, size].map(|count| libc::off_t::try_from(count).unwrap());
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a call on an open file.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, size) }).expect("a hole");
}

#[test]
fn a_segment_with_a_hole_is_truncated() {
    let (name, queue) = new_queue("hole");
    let image = fs::read(name.path()).unwrap();
    let whole = image.len() as u64;
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    for region in ["ring_offset", "control_offset"] {
        let offset = header_word(&image, region);
        punch_hole(&file, offset, REGION_ALIGN);
        assert_error!(
            Queue::open(&name),
            Error::Truncated { size, expected, .. }
                if (size, expected) == (whole - REGION_ALIGN, whole)
        );
        file.write_all_at(&vec![0; usize::try_from(REGION_ALIGN).unwrap()], offset).unwrap();
        Queue::open(&name).expect("it is whole again");
    }
    punch_hole(&file, 0, REGION_ALIGN);
    assert_error!(Queue::open(&name), Error::Unfinished { .. });
    // Who had it open before finds that this is not the same any more.
    assert_error!(queue.producer(), Error::Stale { .. });
    assert_error!(queue.subscribe(&Subscribe::new()), Error::Stale { .. });
    assert_error!(Queue::remove(&name), Error::Unfinished { .. });
    Queue::force_remove(&name).unwrap();
}

#[test]
fn a_second_name_makes_a_segment_foreign() {
    let (name, queue) = new_queue("linked");
    let other = Spot::new("link");
    fs::hard_link(name.path(), other.path()).unwrap();
    let before = Facts::of(name.path());
    for name in [&*name, &**other] {
        assert_foreign(Queue::open(name), name, "2 names");
        assert_foreign(Queue::open_or_create(name, &options()), name, "2 names");
        assert_error!(Queue::create(name, &options()), Error::AlreadyExists { .. });
        assert_foreign(Queue::remove(name), name, "2 names");
        assert_foreign(Queue::force_remove(name), name, "2 names");
    }
    assert_eq!(Facts::of(name.path()), before);
    // Who had it open before, or opens it after, is not bothered.
    assert_eq!(queue.producer().unwrap().send(b"still").unwrap(), 0);
    fs::remove_file(other.path()).unwrap();
    assert_eq!(Queue::open(&name).unwrap().info().unwrap().next_sequence, 1);
}

/// Cuts the file of an open queue, then attaches to it in every way.
fn late_comer(arguments: &[&str]) {
    let [name, size] = arguments else { panic!("two arguments") };
    let queue = Queue::open(name).unwrap();
    let file = OpenOptions::new().write(true).open(format!("/dev/shm/ringway.{name}")).unwrap();
    file.set_len(size.parse().unwrap()).unwrap();
    for _ in 0..2 {
        assert_error!(queue.info(), Error::Truncated { .. });
        assert_error!(queue.observe(Start::Oldest), Error::Truncated { .. });
        assert_error!(queue.subscribe(&Subscribe::new()), Error::Truncated { .. });
        assert_error!(queue.producer(), Error::Truncated { .. });
        assert_error!(queue.clear_dead(), Error::Truncated { .. });
    }
    say("unharmed");
}

#[test]
fn who_attaches_to_a_segment_that_was_cut_since_it_was_opened_lives() {
    let _watchdog = watchdog();
    let whole = new_image().len() as u64;
    for size in [0, 1, 1024, REGION_ALIGN, whole - REGION_ALIGN] {
        let (name, _queue) = new_queue("cut");
        let mut peer = Peer::start("late comer", &[&name, &size.to_string()]);
        peer.await_word("unharmed");
        peer.finish();
    }
}

// Whose it is.

#[test]
fn a_file_of_another_user_is_opened_only_by_name_of_the_user() {
    if !is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let (name, _) = new_queue("given");
    chown(name.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let before = Facts::of(name.path());
    let is = "of user 65534";
    assert_foreign(Queue::open(&name), &name, is);
    assert_foreign(Queue::open_owned_by(&name, 0), &name, is);
    assert_foreign(Queue::open_or_create(&name, &options()), &name, is);
    assert_error!(Queue::create(&name, &options()), Error::AlreadyExists { .. });
    assert_foreign(Queue::remove(&name), &name, is);
    assert_foreign(Queue::force_remove(&name), &name, is);
    assert_eq!(Facts::of(name.path()), before);

    let queue = Queue::open_owned_by(&name, NOBODY).unwrap();
    assert_eq!(queue.info().unwrap().owner, NOBODY);
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    queue.producer().unwrap().send(b"trusted").unwrap();
    assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), b"trusted");
    drop(consumer);
    chown(name.path(), Some(0), Some(0)).unwrap();
}

/// From now on this process is nobody's, if it was root's.
fn become_nobody() {
    if !is_root() {
        return;
    }
    // SAFETY: no groups are read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) }).expect("no groups");
    // SAFETY: a call without pointers.
    check(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }).expect("another group");
    // SAFETY: a call without pointers.
    check(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }).expect("another user");
    // SAFETY: a call without pointers. The change of user has undone it.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).expect("a mortal");
}

fn stranger_reads(arguments: &[&str]) {
    become_nobody();
    let queue = Queue::open(arguments[0]).unwrap();
    let info = queue.info().unwrap();
    assert!(info.producer.unwrap().alive && info.consumers[0].alive);
    let mut observer = queue.observe(Start::Oldest).unwrap();
    assert_eq!(observer.receive().unwrap().message().unwrap().payload(), b"public");
    for _ in 0..2 {
        assert_error!(queue.producer(), Error::PermissionDenied { .. });
        assert_error!(queue.subscribe(&Subscribe::new()), Error::PermissionDenied { .. });
        assert_error!(queue.clear_dead(), Error::PermissionDenied { .. });
        assert_error!(Queue::remove(arguments[0]), Error::PermissionDenied { .. });
        assert_error!(Queue::force_remove(arguments[0]), Error::PermissionDenied { .. });
    }
    assert_eq!(observer.try_receive().unwrap(), Received::Empty);
    say("read");
}

#[test]
fn who_may_only_read_observes_and_no_more() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("read-only");
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"public").unwrap();
    fs::set_permissions(name.path(), fs::Permissions::from_mode(0o444)).unwrap();
    let mut peer = Peer::start("stranger reads", &[&name]);
    peer.await_word("read");
    peer.finish();
    assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), b"public");
    assert_eq!(producer.send(b"more").unwrap(), 1);
    assert!(!queue.info().unwrap().removed);
    fs::set_permissions(name.path(), fs::Permissions::from_mode(0o600)).unwrap();
}

fn stranger_is_refused(arguments: &[&str]) {
    let [private, of_a_third, pipe] = arguments else { panic!("three arguments") };
    become_nobody();
    // Opened for reading, it would be waited for.
    assert_foreign(Queue::open(pipe), pipe, "a FIFO");
    assert_error!(Queue::open(private), Error::PermissionDenied { .. });
    assert_error!(Queue::open_owned_by(private, 0), Error::PermissionDenied { .. });
    assert_error!(Queue::open_or_create(private, &options()), Error::PermissionDenied { .. });
    assert_error!(Queue::create(private, &options()), Error::AlreadyExists { .. });
    assert_error!(Queue::remove(private), Error::PermissionDenied { .. });
    assert_error!(Queue::force_remove(private), Error::PermissionDenied { .. });
    // That the mode lets everybody in does not make its owner trusted.
    assert_foreign(Queue::open(of_a_third), of_a_third, "of user 1,");
    assert_foreign(Queue::force_remove(of_a_third), of_a_third, "of user 1,");
    assert!(Queue::open_owned_by(of_a_third, 1).unwrap().producer().is_ok());
    say("refused");
}

#[test]
fn a_queue_is_kept_from_strangers_and_strangers_from_untrusted_ones() {
    if !is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let _watchdog = watchdog();
    let (private, queue) = new_queue("private");
    let of_a_third = Name::new("third");
    let open_to_all = options().mode(0o666);
    drop(Queue::create(&of_a_third, &open_to_all).unwrap());
    chown(of_a_third.path(), Some(1), Some(1)).unwrap();
    let pipe = Spot::new("pipe");
    make_pipe(&pipe.path(), 0o444).unwrap();
    let mut peer = Peer::start("stranger is refused", &[&private, &of_a_third, &pipe]);
    peer.await_word("refused");
    peer.finish();
    assert!(queue.producer().is_ok());
    chown(of_a_third.path(), Some(0), Some(0)).unwrap();
}

fn stranger_removes(arguments: &[&str]) {
    become_nobody();
    // It may write to the file, but not take away what another user has put into the directory.
    drop(Queue::open(arguments[0]).unwrap().subscribe(&Subscribe::new()).unwrap());
    assert_error!(Queue::remove(arguments[0]), Error::PermissionDenied { .. });
    assert_error!(Queue::force_remove(arguments[0]), Error::PermissionDenied { .. });
    say("not removed");
}

#[test]
fn a_removal_that_fails_leaves_the_queue_as_it_was() {
    if !is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let _watchdog = watchdog();
    let name = Name::new("sticky");
    let queue = Queue::create(&name, &options().mode(0o666)).unwrap();
    let before = Facts::of(name.path()).inode;
    let mut peer = Peer::start("stranger removes", &[&name]);
    peer.await_word("not removed");
    peer.finish();
    assert_eq!(Facts::of(name.path()).inode, before);
    assert!(!queue.info().unwrap().removed, "it is announced and has not happened");
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    queue.producer().unwrap().send(b"still here").unwrap();
    assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), b"still here");
}

// No room.

/// Gives this process, which must have one thread, a shared memory of its own of 1 MiB.
fn enter_small_memory() -> io::Result<()> {
    let user = user();
    // SAFETY: a call that cannot fail.
    let group = unsafe { libc::getegid() };
    // SAFETY: a call without pointers.
    if check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }).is_ok() {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    } else {
        // SAFETY: a call without pointers.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    }
    let mount = |directory: &std::ffi::CStr, flags, data: &std::ffi::CStr| {
        let kind = c"tmpfs".as_ptr();
        // SAFETY: the strings outlive the call.
        check(unsafe { libc::mount(kind, directory.as_ptr(), kind, flags, data.as_ptr().cast()) })
    };
    // What is mounted from now on is nobody else's.
    mount(c"/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    mount(c"/dev/shm", libc::MS_NOSUID | libc::MS_NODEV, c"size=1m,mode=1777")
}

fn use_small_memory() {
    if let Err(error) = enter_small_memory() {
        return say(format!("skipped: no namespace of its own: {error}"));
    }
    let create = |name, capacity| Queue::create(name, &options().capacity(capacity));
    let no_space = |error| match error {
        Error::NoSpace { needed, available, .. } => (needed, available),
        other => panic!("there is no room: {other:?}"),
    };
    let all = 1 << 20;
    let (needed, available) = no_space(create("large", all).unwrap_err());
    assert!(needed > all && available <= all && available > all / 2, "{needed} {available}");
    let error = Queue::open_or_create("large", &options().capacity(2 << 30)).unwrap_err();
    assert!(no_space(error).0 > 2 << 30);
    assert_eq!(fs::read_dir("/dev/shm").unwrap().count(), 0);

    let queue = create("small", CAPACITY).expect("room for a small one");
    let used = queue.info().unwrap().segment_size;
    let left = no_space(create("large", all).unwrap_err()).1;
    assert!(left <= available - used, "{left} of {available} are left after {used}");

    // All that is left is taken. What was reserved is still there to be written.
    let mut rest = File::create("/dev/shm/rest").unwrap();
    while io::Write::write(&mut rest, &[1; 4096]).is_ok_and(|count| count > 0) {}
    let (needed, left) = no_space(create("none", CAPACITY).unwrap_err());
    assert!(left < needed, "{left} are left of a full memory, {needed} are needed");
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    for number in 0..3 * CAPACITY / 4096 {
        assert_eq!(producer.send(&[2; 4096]).unwrap(), number);
        assert_eq!(consumer.receive().unwrap().message().unwrap().payload(), [2; 4096]);
    }
    say("cramped");
}

fn cramped(_: &[&str]) {
    // SAFETY: the other threads of this process wait for this one, and hold no locks.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ended = catch_unwind(use_small_memory);
        // SAFETY: a call without pointers, that does not return.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    let mut status = 0;
    // SAFETY: the status outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
}

#[test]
fn a_queue_that_does_not_fit_is_refused_with_the_numbers() {
    let _watchdog = watchdog();
    let mut peer = Peer::start("cramped", &[]);
    match &*peer.hear() {
        "cramped" => {}
        skipped => eprintln!("{skipped}"),
    }
    peer.finish();
}

// Races for a name.

const CREATORS: usize = 8;
const RACES: usize = 20;

/// Makes a queue of each name, or opens it, as soon as there is a queue of another name.
fn creator(arguments: &[&str]) {
    for names in arguments.chunks(3) {
        let [how, start, name] = names else { panic!("three arguments a race") };
        say("ready");
        while Queue::open(start).is_err() {
            thread::yield_now();
        }
        let result = match *how {
            "create" => Queue::create(name, &options()),
            _ => Queue::open_or_create(name, &options()),
        };
        match result {
            Ok(queue) => say(format!("{:x}", u128::from_le_bytes(queue.instance_id()))),
            Err(Error::AlreadyExists { .. }) => say("lost"),
            Err(error) => panic!("{how}: {error:?}"),
        }
    }
}

/// What each creator said, for each race, and the queue that came of it.
fn race(how: &str) -> Vec<(Vec<String>, String)> {
    let names: Vec<_> = (0..RACES).map(|_| (Name::new("start"), Name::new("race"))).collect();
    let arguments: Vec<&str> =
        names.iter().flat_map(|(start, name)| [how, &**start, &**name]).collect();
    let mut peers: Vec<_> = (0..CREATORS).map(|_| Peer::start("creator", &arguments)).collect();
    let outcomes = names.iter().map(|(start, name)| {
        for peer in &mut peers {
            peer.await_word("ready");
        }
        let _start = Queue::create(start, &options()).unwrap();
        let said = peers.iter_mut().map(Peer::hear).collect();
        let instance = Queue::open(name).unwrap().instance_id();
        (said, format!("{:x}", u128::from_le_bytes(instance)))
    });
    let outcomes = outcomes.collect();
    peers.into_iter().for_each(Peer::finish);
    outcomes
}

#[test]
fn of_those_who_create_a_queue_at_once_one_wins() {
    let _watchdog = watchdog();
    for (said, instance) in race("create") {
        let (winners, losers): (Vec<_>, Vec<_>) = said.into_iter().partition(|word| word != "lost");
        assert_eq!(winners, [instance]);
        assert_eq!(losers.len(), CREATORS - 1);
    }
}

#[test]
fn those_who_open_or_create_a_queue_at_once_get_the_same() {
    let _watchdog = watchdog();
    for (said, instance) in race("open or create") {
        assert_eq!(said, vec![instance; CREATORS]);
    }
}

// Queues that are taken away from under their users.

/// How a queue loses its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Removed,
    /// By hand: nothing in the segment says so.
    Unlinked,
    /// By a file of another queue that takes its place.
    Replaced,
}

const LOSSES: [Loss; 3] = [Loss::Removed, Loss::Unlinked, Loss::Replaced];
const WAITS: [Wait; 3] = [Wait::Spin, Wait::Backoff, Wait::Park];

/// Puts a new queue at a name that one has.
fn lose(name: &Name, loss: Loss) -> Queue {
    match loss {
        Loss::Removed => Queue::force_remove(name).unwrap(),
        Loss::Unlinked => fs::remove_file(name.path()).unwrap(),
        Loss::Replaced => {
            let (other, _) = new_queue("other");
            fs::rename(other.path(), name.path()).unwrap();
            return Queue::open(name).unwrap();
        }
    }
    Queue::create(name, &options()).unwrap()
}

#[test]
fn handles_of_a_lost_queue_end_stale_and_leave_its_successor_alone() {
    let _watchdog = watchdog();
    for (loss, wait) in LOSSES.into_iter().flat_map(|loss| WAITS.map(|wait| (loss, wait))) {
        let (name, queue) = new_queue("lost");
        let from_oldest = Subscribe::new().from(Start::Oldest).wait(wait);
        let mut held = queue.subscribe(&from_oldest).unwrap();
        let mut skipping = queue.subscribe(&from_oldest.clone().on_lag(Lag::Skip)).unwrap();
        let mut observer = queue.observe_with(Start::Oldest, wait).unwrap();
        let mut producer = queue.producer().unwrap();
        producer.set_wait(wait);
        for number in 0..3_u8 {
            producer.send(&[number]).unwrap();
        }
        let successor = lose(&name, loss);
        let before = Facts::of(name.path());

        assert_error!(queue.subscribe(&from_oldest), Error::Stale { .. });
        // What is there is received first.
        for number in 0..3_u8 {
            assert_message(held.receive(), number.into(), &[number]);
            assert_message(skipping.try_receive(), number.into(), &[number]);
            assert_message(observer.receive(), number.into(), &[number]);
        }
        for _ in 0..2 {
            assert_error!(held.receive(), Error::Stale { .. });
            assert_error!(skipping.receive(), Error::Stale { .. });
            assert_error!(observer.receive(), Error::Stale { .. });
            assert_error!(held.receive_batch(8), Error::Stale { .. });
        }
        // The producer has no reason to wait, and finds out while it sends.
        drop(held);
        for _ in 0..2 {
            let mut sent = 0;
            let error = loop {
                match producer.send(&[9; 1000]) {
                    Ok(_) => sent += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::Stale { .. }), "{error:?}");
            assert!(loss != Loss::Removed || sent <= 1, "{sent} messages into nowhere");
        }
        drop(producer);
        assert_error!(queue.producer(), Error::Stale { .. });
        drop((skipping, observer, queue));

        assert_eq!(Facts::of(name.path()), before, "{loss:?}: the successor was touched");
        assert!(!successor.info().unwrap().removed);
        let mut consumer = successor.subscribe(&Subscribe::new()).unwrap();
        successor.producer().unwrap().send(b"new").unwrap();
        assert_message(consumer.receive(), 0, b"new");
    }
}

#[test]
fn ends_of_a_lost_queue_and_of_its_successor_live_side_by_side() {
    let _watchdog = watchdog();
    for loss in LOSSES {
        let (name, queue) = new_queue("both");
        let mut old_consumer = queue.subscribe(&Subscribe::new()).unwrap();
        let mut old_producer = queue.producer().unwrap();
        old_producer.send(b"old").unwrap();
        let successor = lose(&name, loss);
        let mut consumer = successor.subscribe(&Subscribe::new()).unwrap();
        let mut producer = successor.producer().expect("the other producer has another queue");
        old_producer.send(b"older").expect("no need to look around yet");
        producer.send(b"new").unwrap();
        assert_message(old_consumer.receive(), 0, b"old");
        assert_message(old_consumer.receive(), 1, b"older");
        assert_message(consumer.receive(), 0, b"new");
        assert_eq!(consumer.try_receive().unwrap(), Received::Empty);
        drop((old_consumer, old_producer));
        let info = successor.info().unwrap();
        assert!(info.producer.unwrap().alive && info.consumers[0].alive);
    }
}

#[test]
fn who_polls_a_lost_queue_learns_it_too() {
    let _watchdog = watchdog();
    for loss in LOSSES {
        let (name, queue) = new_queue("polled");
        let mut held = queue.subscribe(&Subscribe::new()).unwrap();
        let mut observer = queue.observe(Start::Newest).unwrap();
        lose(&name, loss);
        for (what, result) in [
            ("try_receive", polls(|| held.try_receive().map(drop))),
            ("try_receive_batch", polls(|| held.try_receive_batch(8).map(drop))),
            ("an observer's try_receive", polls(|| observer.try_receive().map(drop))),
            ("receive_timeout", polls(|| held.receive_timeout(NOW).map(drop))),
        ] {
            let count =
                result.unwrap_or_else(|| panic!("{what} never learns that it was {loss:?}"));
            assert!(loss != Loss::Removed || count == 1, "{what} learns it after {count} polls");
        }
    }
}

/// How many polls it takes to learn that a queue is lost: the dear look is one in 2^14.
fn polls(mut poll: impl FnMut() -> Result<(), Error>) -> Option<u32> {
    (1..20_000).find(|_| match poll() {
        Ok(()) => false,
        Err(error) => matches!(error, Error::Stale { .. }) || panic!("{error:?}"),
    })
}

#[test]
fn who_waits_when_the_queue_is_lost_is_told() {
    let _watchdog = watchdog();
    for loss in LOSSES {
        let (name, queue) = new_queue("waiting");
        let (other, full) = new_queue("full");
        thread::scope(|scope| {
            let waits = WAITS.map(|wait| Subscribe::new().wait(wait));
            let waiters = waits.map(|options| {
                let mut consumer = queue.subscribe(&options).unwrap();
                scope.spawn(move || consumer.receive().map(drop).unwrap_err())
            });
            let parked = Subscribe::new().on_lag(Lag::Skip).wait(Wait::Park);
            let mut parked_consumer = queue.subscribe(&parked).unwrap();
            let parked = scope.spawn(move || {
                parked_consumer.receive_timeout(Duration::from_secs(3600)).map(drop).unwrap_err()
            });
            let _holds = full.subscribe(&Subscribe::new()).unwrap();
            let mut producer = full.producer().unwrap();
            while producer.try_send(&[0; 1000]).unwrap() != Sent::Full {}
            producer.set_wait(Wait::Park);
            let producer = scope.spawn(move || producer.send(&[0; 1000]).unwrap_err());
            while queue.info().unwrap().consumers.iter().all(|consumer| consumer.sleeps == 0) {
                thread::yield_now();
            }
            lose(&name, loss);
            lose(&other, loss);
            for waiter in waiters.into_iter().chain([parked, producer]) {
                assert!(matches!(waiter.join().unwrap(), Error::Stale { .. }));
            }
        });
    }
}

#[test]
fn a_queue_in_use_is_removed_only_by_force() {
    let (name, queue) = new_queue("in-use");
    let in_use = |result: Result<(), Error>| match result {
        Err(Error::InUse { consumers, producer, .. }) => (consumers, producer),
        other => panic!("it is in use: {other:?}"),
    };
    let producer = queue.producer().unwrap();
    assert_eq!(in_use(Queue::remove(&name)), (0, true));
    let held = queue.subscribe(&Subscribe::new()).unwrap();
    let skipping = queue.subscribe(&Subscribe::new().on_lag(Lag::Skip)).unwrap();
    assert_eq!(in_use(Queue::remove(&name)), (2, true));
    drop(producer);
    assert_eq!(in_use(Queue::remove(&name)), (2, false));
    drop(held);
    assert_eq!(in_use(Queue::remove(&name)), (1, false));
    assert!(!queue.info().unwrap().removed);

    // Whoever uses it counts, even if nobody can read what it is.
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    let start = u64::try_from(header("major").start).unwrap();
    file.write_all_at(&7_u16.to_le_bytes(), start).unwrap();
    in_use(Queue::remove(&name));
    file.write_all_at(&layout::MAJOR.to_le_bytes(), start).unwrap();

    drop(skipping);
    let mut observer = queue.observe(Start::Newest).unwrap();
    Queue::remove(&name).expect("an observer is in nobody's way");
    assert!(queue.info().unwrap().removed);
    assert_error!(observer.receive(), Error::Stale { .. });
    assert_error!(Queue::remove(&name), Error::NotFound { .. });
    assert_error!(Queue::force_remove(&name), Error::NotFound { .. });
}

// Live segments that somebody writes to.

/// Random enough, and the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }
}

/// A queue with one of each end, all in the middle of their work, and its file.
struct Cast {
    queue: Queue,
    producer: Option<Producer>,
    held: Consumer,
    skipping: Consumer,
    observer: Observer,
    /// Whether the readers wait for so long that they fall asleep.
    naps: bool,
    file: File,
    name: Name,
}

/// What became of calls on a damaged queue.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    messages: u32,
    missed: u32,
    corrupt: u32,
    stale: u32,
    other: u32,
}

impl Cast {
    fn assemble() -> Self {
        let (name, queue) = new_queue("cast");
        let parking = Subscribe::new().from(Start::Oldest).wait(Wait::Park);
        let mut held = queue.subscribe(&parking).unwrap();
        let mut skipping = queue.subscribe(&parking.on_lag(Lag::Skip)).unwrap();
        let mut observer = queue.observe_with(Start::Oldest, Wait::Park).unwrap();
        let mut producer = queue.producer().unwrap();
        // More than a lap, so that there is something of everything in the ring.
        for number in 0..120_u64 {
            producer.send(&vec![1; 40 * (number % 36) as usize]).unwrap();
            let unread = 30;
            if number >= unread {
                assert!(held.receive().unwrap().message().is_some());
                assert!(skipping.receive().unwrap().message().is_some());
                assert!(observer.receive().unwrap().message().is_some());
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
        Self { queue, producer: Some(producer), held, skipping, observer, naps: false, file, name }
    }

    fn word(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn overwrite(&self, offset: u64, word: u64) {
        self.file.write_all_at(&word.to_le_bytes(), offset).unwrap();
    }

    /// Uses every end in every way that does not wait, or not for long, and makes new ends.
    /// Anything may come of it.
    fn act(&mut self, tally: &mut Tally) {
        let nap = if self.naps { Duration::from_millis(2) } else { NOW };
        let Self { queue, held, skipping, observer, .. } = self;
        for _ in 0..2 {
            if let Some(info) = tally.note(queue.info()) {
                black_box(format!("{info:?}"));
                assert!(info.consumers.len() as u64 <= u64::from(MEMBERS), "members of nowhere");
            }
            for consumer in [&mut *held, &mut *skipping] {
                tally.look(consumer.try_receive());
                tally.look_all(consumer.try_receive_batch(3));
                tally.look(consumer.receive_timeout(NOW));
            }
            tally.look(observer.try_receive());
            tally.look(observer.receive_timeout(NOW));
            if let Some(producer) = &mut self.producer {
                tally.produce(producer);
            }
            tally.note(queue.clear_dead());
        }
        // Somebody misses something, then all go to the end of what is there, and take a nap.
        for _ in 0..2 * CAPACITY / 4000 {
            if let Some(producer) = &mut self.producer {
                let _ = tally.note(producer.try_send(&[7; 4000]));
            }
            tally.look(held.try_receive());
        }
        let missed = tally.note(skipping.try_receive());
        tally.missed += u32::from(matches!(missed, Some(Received::Missed { .. })));
        for consumer in [held, skipping] {
            while let Ok(Received::Message(message)) = consumer.try_receive() {
                black_box(sum(&message));
            }
            tally.look(consumer.receive_timeout(nap));
            tally.look_all(consumer.receive_batch_timeout(8, NOW));
        }
        while let Ok(Received::Message(message)) = observer.try_receive() {
            black_box(sum(&message));
        }
        self.renew(tally);
    }

    /// Makes new ends of every kind, from the open queue and from the one that can be opened.
    fn renew(&mut self, tally: &mut Tally) {
        let sequences = [0, 100, u64::MAX].map(Start::Sequence);
        let lasts = [0, 7, u64::MAX].map(Start::Last);
        let starts = [Start::Oldest, Start::Newest].into_iter().chain(sequences).chain(lasts);
        let opened = tally.note(Queue::open(&self.name));
        for queue in [Some(&self.queue), opened.as_ref()].into_iter().flatten() {
            for start in starts.clone() {
                let subscribe = Subscribe::new().from(start);
                for options in [subscribe.clone(), subscribe.on_lag(Lag::Skip)] {
                    if let Some(mut consumer) = tally.note(queue.subscribe(&options)) {
                        tally.look(consumer.try_receive());
                        tally.look_all(consumer.try_receive_batch(100));
                    }
                }
                if let Some(mut observer) = tally.note(queue.observe(start)) {
                    tally.look(observer.try_receive());
                }
            }
        }
        drop(self.producer.take());
        self.producer = tally.note(self.queue.producer());
        if let Some(producer) = &mut self.producer {
            tally.produce(producer);
        }
    }
}

impl Tally {
    fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(Error::Corrupt { .. }) => self.corrupt += 1,
            Err(Error::Stale { .. }) => self.stale += 1,
            Err(_) => self.other += 1,
        }
        None
    }

    fn look(&mut self, received: Result<Received<Message<'_>>, Error>) {
        if let Some(Received::Message(message)) = self.note(received) {
            self.messages += 1;
            black_box(sum(&message));
        }
    }

    fn look_all(&mut self, received: Result<Received<Batch<'_>>, Error>) {
        if let Some(Received::Message(batch)) = self.note(received) {
            for message in batch {
                self.messages += 1;
                black_box(sum(&message));
            }
        }
    }

    fn produce(&mut self, producer: &mut Producer) {
        let _ = self.note(producer.try_send(&[3; 100]));
        let _ = self.note(producer.send_timeout(&[4; 8000], NOW));
        let committed = producer.try_claim(300).and_then(|claim| match claim {
            Some(mut claim) => {
                claim.fill(5);
                claim.truncate(299);
                claim.commit().map(Some)
            }
            None => Ok(None),
        });
        self.note(committed);
        let mut batch = producer.batch();
        for size in [0, 5000, 5000] {
            let _ = batch.try_push(&vec![6; size]);
        }
        self.note(batch.commit());
        black_box((producer.held_by(), producer.next_sequence()));
    }
}

/// Looks at every byte of a message that has no more of them than there can be.
fn sum(message: &Message<'_>) -> u64 {
    assert!(message.payload().len() as u64 <= CAPACITY / 8, "a message of too many bytes");
    message.payload().iter().map(|&byte| u64::from(byte)).sum()
}

/// The words of the header and control regions: those that somebody reads, and the others.
fn words(image: &[u8]) -> (Vec<u64>, Vec<u64>) {
    let size_of = |part| {
        let ends = layout::fields().filter(|field| field.part == part);
        ends.map(|field| field.offset + field.size).max().expect("a part of the format") as u64
    };
    let control = header_word(image, "control_offset");
    let control_end = control + header_word(image, "control_size");
    let members = control_end - u64::from(MEMBERS) * size_of("Member");
    let member_map = control + size_of("Control");
    let mut used = vec![member_map];
    for field in layout::fields().filter(|field| !field.name.starts_with('_')) {
        let starts = match field.part {
            "Header" => vec![0],
            "Control" => vec![control],
            "Member" => (members..control_end).step_by(128).collect(),
            _ => continue,
        };
        let (first, last) = (field.offset as u64 & !7, (field.offset + field.size) as u64);
        used.extend(
            starts.iter().flat_map(|start| (first..last).step_by(8).map(move |at| start + at)),
        );
    }
    used.sort_unstable();
    used.dedup();
    let all = (0..size_of("Header")).chain(control..control_end).step_by(8);
    let unused = all.filter(|offset| used.binary_search(offset).is_err()).collect();
    (used, unused)
}

/// Does something to a cast's segment, and has the cast act; a panic ends up in the list.
fn survive(
    panics: &mut Vec<String>,
    what: &str,
    tally: &mut Tally,
    damage: impl FnOnce(&mut Cast),
) {
    let mut cast = Cast::assemble();
    damage(&mut cast);
    let survived = catch_unwind(AssertUnwindSafe(|| cast.act(tally)));
    if survived.is_err() {
        panics.push(what.to_owned());
    }
}

#[test]
fn no_word_of_the_header_or_control_region_does_harm() {
    let _watchdog = watchdog();
    let image = new_image();
    let (used, _) = words(&image);
    let events_end = field("Control", "_reserved_removed").end as u64;
    let members_at = header_word(&image, "control_offset") + events_end;
    assert!(used.len() > 80, "only {} words are used", used.len());
    let (mut noise, mut panics, mut tally) = (Noise(1), Vec::new(), Tally::default());
    for offset in used {
        let values = [0, 1, u64::MAX, 1 << 63, noise.next()];
        // Some that are nearly right, and one that is wrong in its upper half.
        let changes: [fn(u64) -> u64; 4] = [
            |word| word.wrapping_add(1),
            |word| word.wrapping_add(8),
            |word| word.wrapping_sub(8),
            |word| word ^ (1 << 32),
        ];
        for value in values {
            let what = format!("{value:#x} at {offset:#x}");
            survive(&mut panics, &what, &mut tally, |cast| {
                // It is members who count their sleeps.
                cast.naps = offset > members_at;
                cast.overwrite(offset, value);
            });
        }
        for (number, change) in changes.into_iter().enumerate() {
            let what = format!("change {number} at {offset:#x}");
            survive(&mut panics, &what, &mut tally, |cast| {
                cast.overwrite(offset, change(cast.word(offset)));
            });
        }
    }
    assert!(panics.is_empty(), "these words make somebody panic: {panics:#?}");
    // It was no play: the words meant something to somebody.
    assert!(tally.messages > 10_000 && tally.missed > 100, "{tally:?}");
    assert!(tally.corrupt > 100 && tally.stale > 100, "{tally:?}");
}

#[test]
fn words_that_nobody_reads_change_nothing() {
    let _watchdog = watchdog();
    let (_, unused) = words(&new_image());
    assert!(unused.len() > 2000, "only {} words are not used", unused.len());
    let (name, queue) = new_queue("unread");
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    let mut noise = Noise(2);
    for fill in 0..5_u32 {
        for &offset in &unused {
            let word = [0, 1, u64::MAX, 1 << 63, noise.next()][fill as usize];
            file.write_all_at(&word.to_le_bytes(), offset).unwrap();
        }
        for queue in [&queue, &Queue::open(&name).unwrap()] {
            let first = queue.info().unwrap().next_sequence;
            let mut held = queue.subscribe(&Subscribe::new()).unwrap();
            let mut observer = queue.observe(Start::Newest).unwrap();
            let mut producer = queue.producer().unwrap();
            for number in first..first + 2 * CAPACITY / 1000 {
                let payload = vec![fill.to_le_bytes()[0]; 1000];
                assert_eq!(producer.send(&payload).unwrap(), number);
                assert_message(held.receive(), number, &payload);
                assert_message(observer.receive(), number, &payload);
            }
            assert_eq!(queue.info().unwrap().consumers.len(), 1);
        }
    }
}

#[test]
fn no_contents_of_the_ring_do_harm() {
    let _watchdog = watchdog();
    let ring_at = header_word(&new_image(), "ring_offset");
    let (mut noise, mut panics, mut tally) = (Noise(3), Vec::new(), Tally::default());
    let mut fill = |what: &str, word: &mut dyn FnMut(u64) -> u64| {
        survive(&mut panics, what, &mut tally, |cast| {
            let ring: Vec<u8> =
                (0..CAPACITY / 8).flat_map(|index| word(index).to_le_bytes()).collect();
            cast.file.write_all_at(&ring, ring_at).unwrap();
        });
    };
    fill("zeros", &mut |_| 0);
    fill("ones", &mut |_| u64::MAX);
    for round in 0..20 {
        fill(&format!("noise {round}"), &mut |_| noise.next());
    }
    // Frames of 8, 16, .. bytes, each of which leads to the next, of a wrong sequence.
    for (stride, first) in [(1, 0), (1, 90), (1, 120), (2, 0), (3, 91), (125, 89), (1024, 92)] {
        fill(&format!("every {stride} words from sequence {first}"), &mut |index| {
            if index % stride == 0 {
                commit_word(first + index / stride, 1, 0, (stride - 1) * 8)
            } else {
                0
            }
        });
    }
    // And the same of one sequence, or of the one that is due, with a size that leads nowhere.
    for sequence in 85..125 {
        fill(&format!("all {sequence}"), &mut |_| commit_word(sequence, 1, 0, 0));
        fill(&format!("all padding {sequence}"), &mut |_| commit_word(sequence, 2, 0, 8184));
    }
    // With a licence for all of it, padding that leads back to itself.
    let licence_at = header("licence").start as u64;
    for licence in [1 << 40, 1 << 61, u64::MAX] {
        survive(&mut panics, "a lap of padding", &mut tally, |cast| {
            let sequence = cast.held.next_sequence();
            let words = (0..CAPACITY / 8).rev();
            let words = words.map(|after| commit_word(sequence, 2, 0, after * 8));
            let ring: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            cast.file.write_all_at(&ring, ring_at).unwrap();
            cast.overwrite(licence_at, licence);
        });
    }
    assert!(panics.is_empty(), "this makes somebody panic: {panics:#?}");
    assert!(tally.corrupt > 1000, "{tally:?}");
}

#[test]
fn holes_in_a_live_segment_do_no_harm() {
    let _watchdog = watchdog();
    let image = new_image();
    let (mut panics, mut tally) = (Vec::new(), Tally::default());
    for region in [0, header_word(&image, "control_offset"), header_word(&image, "ring_offset")] {
        survive(&mut panics, &format!("a hole at {region:#x}"), &mut tally, |cast| {
            punch_hole(&cast.file, region, REGION_ALIGN);
        });
    }
    assert!(panics.is_empty(), "this makes somebody panic: {panics:#?}");
}

/// A frame's first word.
fn commit_word(sequence: u64, kind: u64, extensions: u64, length: u64) -> u64 {
    let parts =
        [("sequence", sequence), ("kind", kind), ("extensions", extensions), ("length", length)];
    parts.into_iter().fold(0, |word, (part, value)| {
        let &(_, shift, count, _) = layout::commit_word_bits()
            .iter()
            .find(|(name, ..)| *name == part)
            .expect("a part of the word");
        word | (value & ((1 << count) - 1)) << shift
    })
}

/// A queue whose next frame begins at `position`, with a licence that ends soon or `far` beyond.
fn with_licence(position: u64, far: bool) -> (Name, Queue, Producer) {
    let (name, queue) = new_queue("forged");
    let mut producer = queue.producer().unwrap();
    let at = || queue.info().unwrap().position;
    while at() + 8016 < position {
        producer.send(&[1; 8000]).unwrap();
    }
    // A batch has asked for more than a message can, and never happened.
    let mut batch = producer.batch();
    batch.push(&[2; 8]).unwrap();
    while far && batch.push(&[2; 4000]).is_ok() {}
    drop(batch);
    let rest = position - at() - 8;
    producer.send(&vec![4; usize::try_from(rest).unwrap()]).unwrap();
    assert_eq!(at(), position);
    (name, queue, producer)
}

#[test]
fn only_the_frame_that_is_due_is_received() {
    let _watchdog = watchdog();
    let ring_at = header_word(&new_image(), "ring_offset");
    let largest = CAPACITY / 8;
    let mut outcomes = [0; 3];
    // At the start of a lap, in the middle, and at the end of one.
    for (position, far) in [(16, true), (2048, false), (CAPACITY - 1024, true)] {
        let (name, queue, _producer) = with_licence(position, far);
        let file = OpenOptions::new().write(true).open(name.path()).unwrap();
        let info = queue.info().unwrap();
        let room = info.licence - position;
        assert_eq!(far, room > largest + 128, "{room} bytes to the licence");
        let (next, left) = (info.next_sequence, CAPACITY - position);
        if position > CAPACITY / 2 {
            // Nothing comes after a padding that ends this lap.
            file.write_all_at(&[0; 8], ring_at).unwrap();
        }
        let sizes = [0, 1, 8, 1000, largest, largest + 1, largest + 8, CAPACITY, (1 << 29) - 1];
        let limits = [left, room]
            .into_iter()
            .flat_map(|limit| [24, 17, 16, 15, 9, 8, 7, 0].map(|less| limit - less));
        let sizes = sizes.into_iter().chain(limits);
        for (kind, extensions) in (0..16).flat_map(|kind| [0, 1, 7].map(|count| (kind, count))) {
            let mut held = queue.subscribe(&Subscribe::new()).unwrap();
            for (length, sequence) in
                sizes.clone().flat_map(|size| [next - 1, next, next + 1].map(|at| (size, at)))
            {
                let word = commit_word(sequence, kind, extensions, length);
                file.write_all_at(&word.to_le_bytes(), ring_at + position).unwrap();
                let frame_size = 8 + extensions * 8 + length.next_multiple_of(8);
                let is_due = (sequence, kind) == (next, 1)
                    && length <= largest
                    && frame_size + 8 <= left.min(room);
                let is_padding = (sequence, kind, extensions) == (next, 2, 0)
                    && frame_size == left
                    && left <= largest + 72;
                let is_nothing = word == 0 || is_padding;
                let last = Start::Sequence(next - 1);
                let mut skipping =
                    queue.subscribe(&Subscribe::new().from(last).on_lag(Lag::Skip)).unwrap();
                let mut observer = queue.observe(last).unwrap();
                assert!(skipping.receive().unwrap().message().is_some());
                assert!(observer.receive().unwrap().message().is_some());
                // Who goes on behind a frame is elsewhere from then on.
                let held = if is_due || is_padding { None } else { Some(held.try_receive()) };
                let received = [skipping.try_receive(), observer.try_receive()];
                for received in received.into_iter().chain(held) {
                    let outcome = match &received {
                        Ok(Received::Message(message)) if is_due => {
                            assert_eq!(message.sequence(), next);
                            assert_eq!(message.payload().len() as u64, length);
                            0
                        }
                        Ok(Received::Empty) if is_nothing => 1,
                        Err(Error::Corrupt { .. }) if !is_due && !is_nothing => 2,
                        _ => {
                            let sizes = received
                                .map(|received| received.map(|message| message.payload().len()));
                            panic!("{word:#x} at {position}: {sizes:?}");
                        }
                    };
                    outcomes[outcome] += 1;
                }
            }
            file.write_all_at(&[0; 8], ring_at + position).unwrap();
        }
    }
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}
