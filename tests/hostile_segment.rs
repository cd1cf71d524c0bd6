//! What stands at a queue's name is no segment, or a segment that somebody has damaged.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::ffi::CString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::thread::JoinHandleExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ringway::{ConsumerSet, Error, Lag, Queue, Received, Sent, Start, Subscribe, Wait, layout};

use support::namespace::own_small_memory;
use support::segment::{
    CAPACITY, MEMBERS, REGION_ALIGN, header, header_word, new_image, new_queue, options, punch_hole,
};
use support::users::{NOBODY, become_nobody, check, is_root, user};
use support::{
    Directory, Name, Peer, assert_message, number_from, play, say, watchdog, watchdog_of,
};

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
        ("barred", barred),
        ("creator", creator),
    ]);
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

fn make_pipe(path: &str, mode: u32) -> io::Result<()> {
    let c_path = CString::new(path).unwrap();
    // SAFETY: the string outlives the call.
    check(unsafe { libc::mkfifo(c_path.as_ptr(), mode) })?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// A device that does no harm, and can be opened.
fn make_device(path: &str) -> io::Result<()> {
    let c_path = CString::new(path).unwrap();
    let null = libc::makedev(1, 3);
    // SAFETY: the string outlives the call.
    check(unsafe { libc::mknod(c_path.as_ptr(), libc::S_IFCHR | 0o600, null) })?;
    File::open(path).map(drop)
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
    let things: [(&str, Make); 7] = [
        ("a symbolic link", &|path| symlink(target.path(), path)),
        ("a symbolic link", &|path| symlink(nothing.path(), path)),
        ("a symbolic link", &|path| symlink(path, path)),
        ("a directory", &|path| fs::create_dir(path)),
        ("a FIFO", &|path| make_pipe(path, 0o600)),
        ("no regular file", &|path| UnixListener::bind(path).map(drop)),
        ("no regular file", &make_device),
    ];
    let device = make_device(&Spot::new("device").path());
    if let Err(error) = &device {
        eprintln!("skipped: a device, which takes root and a mount that has some: {error}");
    }
    let count = things.len() - usize::from(device.is_err());
    let target_before = Facts::of(target.path());
    for (is, make) in things.into_iter().take(count) {
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
    assert_refused("a few zeros", &[0; 6], is_due, Removal::Forced);
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
    // Too short for a segment's beginning, and no part of one: it was removed for a segment that
    // was cut.
    for note in ["hello\n", "RINGWAY1", "RINGWAY, a note of somebody's", "S"] {
        assert_refused(note, note.as_bytes(), is_due, Removal::Forced);
    }
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
    // The lowest is known: a journal. But this one has none.
    let other = with(&image, "features_required", &1_u32.to_le_bytes());
    let is_due = |error: &Error| matches!(error, Error::Corrupt { .. });
    assert_refused("a journal that is none", &other, is_due, Removal::Plain);
    for features in [2, 6, 1 << 31, u32::MAX] {
        let unknown = features & !1;
        let is_due = |error: &Error| matches!(*error, Error::UnknownFeatures { bits, .. } if bits == unknown);
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
        // It does not say how long it was.
        let is_due = |error: &Error| {
            matches!(*error, Error::Truncated { expected: 0, .. }) && is_due(size)(error)
        };
        assert_refused("a stump", &image[..size], is_due, Removal::Plain);
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

/// Nothing stands between the control region and a ring of huge pages, and nothing is kept there.
#[test]
fn a_gap_before_a_large_ring_is_no_hole() {
    let name = Name::new("gap");
    let queue = Queue::create(&name, &options().capacity(4 << 20)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
    let facts = file.metadata().unwrap();
    let memory = queue.info().unwrap().memory_size;
    assert!(memory < facts.len(), "{memory} of {} bytes", facts.len());
    assert_eq!(facts.blocks() * 512, memory);
    Queue::open(&name).expect("it is whole");
    punch_hole(&file, facts.len() - REGION_ALIGN, REGION_ALIGN);
    assert_error!(
        Queue::open(&name),
        Error::Truncated { size, expected, .. }
            if (size, expected) == (memory - REGION_ALIGN, memory)
    );
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
        assert_error!(queue.producer_timeout(Duration::MAX), Error::PermissionDenied { .. });
        let named = Subscribe::new().named("workers");
        assert_error!(queue.declare(&named), Error::PermissionDenied { .. });
        assert_error!(queue.alter("workers", |_| ()), Error::PermissionDenied { .. });
        assert!(queue.producer_is_alive());
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
    for refused in [Queue::remove(arguments[0]), Queue::force_remove(arguments[0])] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
        // The mode of the queue is no remedy.
        assert!(error.to_string().ends_with("; its owner can do that, and root"), "{error}");
    }
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

fn cramped(_: &[&str]) {
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
    let used = queue.info().unwrap().memory_size;
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

fn barred(_: &[&str]) {
    fs::set_permissions("/dev/shm", fs::Permissions::from_mode(0o755)).unwrap();
    become_nobody();
    for refused in [Queue::create("new", &options()), Queue::open_or_create("new", &options())] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error}");
        // There is no queue whose mode would be a remedy.
        assert!(error.to_string().contains("create queue 'new': it would lie in /dev/shm"));
    }
    say("refused");
}

#[test]
fn who_may_make_no_files_in_the_shared_memory_is_told_so() {
    if !is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let _watchdog = watchdog();
    match Peer::start_after(own_small_memory, "barred", &[]) {
        Err(error) => eprintln!("skipped: no memory of its own: {error}"),
        Ok(mut peer) => {
            peer.await_word("refused");
            peer.finish();
        }
    }
}

#[test]
fn a_queue_that_does_not_fit_is_refused_with_the_numbers() {
    let _watchdog = watchdog();
    match Peer::start_after(own_small_memory, "cramped", &[]) {
        Err(error) => eprintln!("skipped: no memory of its own: {error}"),
        Ok(mut peer) => {
            peer.await_word("cramped");
            peer.finish();
        }
    }
}

// Races for a name.

const CREATORS: usize = 8;
/// Races that the same processes run.
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
    let rounds = number_from("RINGWAY_RACES", 1);
    let _watchdog = watchdog_of(Duration::from_secs(240 * rounds));
    for (said, instance) in (0..rounds).flat_map(|_| race("create")) {
        let (winners, losers): (Vec<_>, Vec<_>) = said.into_iter().partition(|word| word != "lost");
        assert_eq!(winners, [instance]);
        assert_eq!(losers.len(), CREATORS - 1);
    }
}

#[test]
fn those_who_open_or_create_a_queue_at_once_get_the_same() {
    let rounds = number_from("RINGWAY_RACES", 1);
    let _watchdog = watchdog_of(Duration::from_secs(240 * rounds));
    for (said, instance) in (0..rounds).flat_map(|_| race("open or create")) {
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

/// A handler that restarts system calls, and does nothing.
fn take_signals(signal: libc::c_int) {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: `signal` installs it so that system calls are restarted, and it does nothing.
    let before = unsafe { libc::signal(signal, handler) };
    assert_ne!(before, libc::SIG_ERR);
}

#[test]
fn who_is_disturbed_by_signals_finds_out_that_its_queue_is_lost() {
    const DISTURBED_EVERY: Duration = Duration::from_millis(5);
    let _watchdog = watchdog();
    take_signals(libc::SIGUSR2);
    for (wait, in_a_set) in [(Wait::Park, false), (Wait::Backoff, false), (Wait::Park, true)] {
        let (name, queue) = new_queue("disturbed");
        let mut consumer = queue.subscribe(&Subscribe::new().wait(wait)).unwrap();
        let sleeper = thread::spawn(move || {
            if !in_a_set {
                return consumer.receive().map(drop);
            }
            let mut set = ConsumerSet::from_iter([consumer]);
            set.set_wait(wait);
            set.receive().one().expect("an end").1.map(drop)
        });
        fs::remove_file(name.path()).unwrap();
        while !sleeper.is_finished() {
            // SAFETY: its thread is not joined, so that its handle is of nobody else.
            unsafe { libc::pthread_kill(sleeper.as_pthread_t(), libc::SIGUSR2) };
            thread::sleep(DISTURBED_EVERY);
        }
        assert_error!(sleeper.join().unwrap(), Error::Stale { .. });
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
fn no_message_is_sent_behind_a_claim_that_the_removal_came_into() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("claimed");
    let mut producer = queue.producer().unwrap();
    // The first one asks for room.
    let claim = producer.claim(8).unwrap();
    lose(&name, Loss::Removed);
    claim.commit().unwrap();
    assert!(matches!(producer.send(b"x"), Err(Error::Stale { .. })));
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

#[test]
fn more_granted_than_was_ever_asked_for_is_corrupt() {
    let _watchdog = watchdog();
    let spilling = Subscribe::new().on_lag(Lag::Spill).from(Start::Oldest);
    for subscribe in [spilling.clone(), spilling.named("workers")] {
        let name = Name::new("granted");
        let directory = Directory::new(&name);
        let queue = Queue::create(&name, &options().history(directory.path())).unwrap();
        queue.producer().unwrap().send(b"there").unwrap();
        let mut consumer = queue.subscribe(&subscribe).unwrap();
        let file = OpenOptions::new().write(true).open(name.path()).unwrap();
        let granted = header("granted").start as u64;
        file.write_all_at(&(1_u64 << 40).to_le_bytes(), granted).unwrap();
        assert!(matches!(consumer.receive(), Err(Error::Corrupt { .. })));
    }
}
