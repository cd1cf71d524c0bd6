//! A history directory whose files are damaged, and read, mended and written on in turns, as a
//! string of bytes says: the counterpart of [`abuse`](super::abuse) on disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use ringway::{
    AckMode, Archive, AtLimit, Consumer, Journal, Lag, Message, Producer, Queue, QueueOptions,
    Received, Start, Subscribe,
};

use super::abuse::{Input, damaged};

const CAPACITY: u64 = 64 << 10;
const COMMANDS_MAX: usize = 64;
const MESSAGES: u64 = 90;

/// Uses and damages the history of a queue of this name, which is nobody else's. Whatever the input
/// is, it comes to an end, and every call gives a result. What is delivered from the journal is what
/// was sent, or the call fails.
pub(crate) fn abuse_history(name: &str, input: &[u8]) {
    let _ = Queue::force_remove(name);
    let (journal, spill) = (directory(name), spill_directory(name));
    restore(name, &journal, TEMPLATE.get_or_init(new_template));
    let mut users =
        Users { name, journal, spill, queue: None, producer: None, consumers: Vec::new() };
    let mut input = Input(input);
    for _ in 0..COMMANDS_MAX {
        let Some(command) = input.byte() else { break };
        users.obey(command, &mut input);
    }
    drop(users);
    let _ = Queue::force_remove(name);
}

/// Where the journal of a queue lies: where nobody waits for a disk.
fn directory(name: &str) -> PathBuf {
    PathBuf::from(format!("/dev/shm/{name}.directory"))
}

/// And what spills from a queue that has none.
fn spill_directory(name: &str) -> PathBuf {
    directory(name).join("other")
}

/// The files of a directory, by their paths there.
pub(crate) type Contents = BTreeMap<PathBuf, Vec<u8>>;

pub(crate) fn contents(directory: &Path) -> Contents {
    let read = |path: PathBuf| {
        let contents = fs::read(&path).ok()?;
        Some((path.strip_prefix(directory).expect("a path in there").to_path_buf(), contents))
    };
    files(directory).into_iter().filter_map(read).collect()
}

/// Has nothing but these files in a directory, and has it belong to a queue.
pub(crate) fn restore(name: &str, directory: &Path, contents: &Contents) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).expect("a directory");
    for (path, contents) in contents {
        let is_identity = path.as_os_str() == "identity";
        let path = directory.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let contents = if is_identity { owned_by(name, contents) } else { contents.clone() };
        fs::write(path, contents).expect("a file");
    }
}

static TEMPLATE: OnceLock<Contents> = OnceLock::new();

/// A journal of three files, and two checkpoints, by their paths in the directory.
fn new_template() -> Contents {
    let name = format!("abused-history-{}", std::process::id());
    let path = directory(&name);
    let _ = Queue::force_remove(&name);
    let _ = fs::remove_dir_all(&path);
    for part in 1..=3 {
        let queue = Queue::create(&name, &journalled(&path)).expect("a queue");
        let workers = workers().from(Start::Oldest).deliveries_max(1);
        let mut worker = queue.subscribe(&workers).expect("a place");
        let keyed = Subscribe::new().named("keyed").keyed().from(Start::Oldest);
        let keyed = queue.subscribe(&keyed).expect("a place");
        let mut producer = queue.producer().expect("nobody else is");
        send_until(&mut producer, MESSAGES * part / 3);
        producer.flush().expect("room");
        let received = worker.receive().expect("a message");
        let message = received.message().expect("a message");
        let _ = if part == 2 { message.nack().map(drop) } else { message.ack().map(drop) };
        drop((worker, keyed, producer));
        Queue::force_remove(&name).expect("our own");
    }
    let template = contents(&path);
    fs::remove_dir_all(&path).expect("our own");
    template
}

/// The file that says whose a directory is, of a queue of another name.
fn owned_by(name: &str, identity: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(identity).expect("a text");
    let lines = text.lines().map(|line| {
        if line.starts_with("queue ") { format!("queue {name}\n") } else { format!("{line}\n") }
    });
    lines.collect::<String>().into_bytes()
}

/// All files in a directory and those below it, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.into_iter().flat_map(below).collect()
}

fn journalled(directory: &Path) -> QueueOptions {
    let options = QueueOptions::new().capacity(CAPACITY).members(4).subscriptions(3);
    options.history(directory).journal(Journal::Written)
}

fn workers() -> Subscribe {
    Subscribe::new().named("workers").ack(AckMode::Manual).prefetch(4)
}

/// Tells its sequence by every byte.
fn payload(sequence: u64) -> Vec<u8> {
    let size = usize::try_from(sequence * 37 % 700).expect("a size");
    vec![u8::try_from(sequence % 251).expect("a byte"); size]
}

fn send_until(producer: &mut Producer, end: u64) {
    while producer.next_sequence() < end {
        let sequence = producer.next_sequence();
        let message = producer.message().key(&[u8::try_from(sequence % 5).expect("a byte")]);
        if message.try_send(&payload(sequence)).is_err() {
            break;
        }
        if producer.next_sequence() == sequence {
            break;
        }
    }
}

/// Everybody who may have something open.
struct Users<'a> {
    name: &'a str,
    journal: PathBuf,
    spill: PathBuf,
    queue: Option<(Queue, Kind)>,
    producer: Option<Producer>,
    consumers: Vec<Consumer>,
}

/// What keeps a queue's messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Journal,
    /// Its files carry no checksums: of what is damaged there anything may come.
    Spill,
}

impl Users<'_> {
    fn obey(&mut self, command: u8, input: &mut Input<'_>) {
        let one = command >> 4;
        match command & 15 {
            0..3 => self.damage(input),
            3 => self.cut_or_lengthen(one, input),
            4 => self.move_or_remove(one, input),
            5 => self.read_archive(input.number()),
            6 => self.change_archive(one),
            7 | 8 => self.create(one),
            9 => self.join(one, input.number()),
            10 | 11 => self.receive(one, input.number()),
            12 => self.send(one, input.number()),
            13 => self.keep(),
            14 => self.look_after(one, input.number()),
            _ => {
                if !self.consumers.is_empty() {
                    drop(self.consumers.remove(usize::from(one) % self.consumers.len()));
                }
            }
        }
    }

    /// One of the files, as a byte says.
    fn choose(&self, input: &mut Input<'_>) -> Option<PathBuf> {
        let mut files = files(&self.journal);
        let number = usize::try_from(input.number()).unwrap_or(0);
        (!files.is_empty()).then(|| files.swap_remove(number % files.len()))
    }

    fn open(&self, input: &mut Input<'_>) -> Option<(File, u64)> {
        let path = self.choose(input)?;
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let size = file.metadata().ok()?.len();
        Some((file, size))
    }

    /// Changes one word of a file.
    fn damage(&self, input: &mut Input<'_>) {
        let Some((file, size)) = self.open(input) else { return };
        let offset = input.long(2) * 8 % size.max(8);
        let mut bytes = [0; 8];
        if file.read_exact_at(&mut bytes, offset).is_ok() {
            let word = damaged(u64::from_le_bytes(bytes), input);
            let _ = file.write_all_at(&word.to_le_bytes(), offset);
        }
    }

    fn cut_or_lengthen(&self, how: u8, input: &mut Input<'_>) {
        let Some((file, size)) = self.open(input) else { return };
        let by = input.long(2);
        let _ = match how {
            0..6 => file.set_len(size.saturating_sub(by)),
            6..9 => file.set_len(size + by),
            9..12 => file.set_len(by),
            _ => file.write_all_at(&vec![how; usize::from(how) * 9], size),
        };
    }

    fn move_or_remove(&self, how: u8, input: &mut Input<'_>) {
        let (Some(path), Some(other)) = (self.choose(input), self.choose(input)) else { return };
        let _ = match how {
            0..3 => fs::remove_file(&path),
            3..6 => fs::copy(&path, &other).map(drop),
            6 => fs::rename(&path, &other),
            7 => fs::remove_file(&path).and_then(|()| fs::create_dir(&path)),
            8 => fs::remove_dir_all(path.parent().expect("a directory")),
            9 => fs::write(&path, b""),
            _ => {
                // As a file of the log that begins elsewhere.
                let base = input.long(3) * 8;
                fs::copy(&path, path.with_file_name(format!("{base:020}.log"))).map(drop)
            }
        };
    }

    fn read_archive(&self, from: u64) {
        let Ok(archive) = Archive::open(&self.journal) else { return };
        let _ = archive.files();
        let verified = archive.verify();
        let Ok(messages) = archive.messages(from) else { return };
        let mut count = 0;
        for message in messages.take_while(Result::is_ok).flatten() {
            check(message.sequence, &message.payload);
            count += 1;
        }
        if let Ok(verified) = verified
            && from == 0
        {
            assert!(count <= verified.messages, "{count} of {verified:?}");
        }
    }

    fn change_archive(&self, how: u8) {
        let Ok(archive) = Archive::open(&self.journal) else { return };
        let _ = archive.planned_cuts();
        let _ = match how {
            0..8 => archive.repair().map(drop),
            8..12 => archive.prune(u64::from(how - 8) * 20_000, None).map(drop),
            12..15 => archive.prune(u64::MAX, Some(Duration::ZERO)).map(drop),
            _ => archive.remove().map(drop),
        };
    }

    /// Makes the queue anew, as after a restart of the machine, or lets it be.
    fn create(&mut self, how: u8) {
        self.producer = None;
        self.consumers.clear();
        self.queue = None;
        let _ = Queue::force_remove(self.name);
        let journalled = journalled(&self.journal);
        let small = QueueOptions::new().capacity(CAPACITY).members(4).history(&self.spill);
        let (options, kind) = match how {
            0..8 => (journalled, Kind::Journal),
            8 => (journalled.journal(Journal::SyncedAlways), Kind::Journal),
            9 => (journalled.capacity(2 * CAPACITY), Kind::Journal),
            10 => (journalled.history_max(30_000, AtLimit::DropOldest), Kind::Journal),
            11 => (journalled.history_max(30_000, AtLimit::Hold), Kind::Journal),
            12 => (journalled.keep_for(Duration::from_nanos(1)), Kind::Journal),
            _ => (small, Kind::Spill),
        };
        self.queue = Queue::create(self.name, &options).ok().map(|queue| (queue, kind));
    }

    fn join(&mut self, how: u8, number: u64) {
        let Some((queue, _)) = self.queue.as_ref().filter(|_| self.consumers.len() < 4) else {
            return;
        };
        let plain = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
        let options = match how {
            0..4 => plain,
            4 => plain.from(Start::Sequence(number)),
            5 => plain.from(Start::Last(number)),
            6 => plain.from(Start::Time(SystemTime::UNIX_EPOCH)),
            7 => plain.durable_only(),
            8..12 => workers(),
            12 => plain.named("keyed"),
            13 => plain.named("new"),
            _ => Subscribe::new().on_lag(Lag::Skip),
        };
        self.consumers.extend(queue.subscribe(&options));
    }

    fn receive(&mut self, who: u8, count: u64) {
        let Some((_, kind)) = self.queue else { return };
        let consumers = self.consumers.len().max(1);
        let Some(consumer) = self.consumers.get_mut(usize::from(who) % consumers) else { return };
        for _ in 0..=count {
            match consumer.try_receive() {
                Ok(Received::Message(message)) => read(&message, kind, who),
                Ok(Received::Missed { .. }) => {}
                _ => break,
            }
        }
    }

    fn send(&mut self, how: u8, count: u64) {
        let Some((queue, _)) = &self.queue else { return };
        if self.producer.is_none() {
            self.producer = queue.producer().ok();
        }
        let Some(producer) = &mut self.producer else { return };
        let end = producer.next_sequence().saturating_add(count * 2);
        send_until(producer, end);
        let _ = match how {
            0..8 => Ok(true),
            8..13 => producer.flush_timeout(Duration::ZERO),
            _ => {
                self.producer = None;
                Ok(true)
            }
        };
    }

    /// A journaler at work, until there is nothing to do.
    fn keep(&self) {
        let journaler = self.queue.as_ref().and_then(|(queue, _)| queue.journaler().ok());
        if let Some(mut journaler) = journaler {
            let _ = journaler.run(&AtomicBool::new(true));
        }
    }

    fn look_after(&self, how: u8, number: u64) {
        let Some((queue, _)) = &self.queue else { return };
        let _ = match how {
            0..6 => queue.info().map(|info| drop(format!("{info:?} {:?}", queue.log_cuts()))),
            6..8 => queue.seek("workers", Start::Oldest),
            8 => queue.seek("workers", Start::Sequence(number)),
            9 => queue.unsubscribe("workers"),
            10 => queue.unsubscribe("keyed"),
            11 => queue.clear_dead().map(drop),
            _ => queue
                .dead_letters("workers")
                .map(|letters| drop(letters.iter().collect::<Vec<_>>())),
        };
    }
}

/// What a journal delivers is what was sent: damage is found by the checksum. But for a fuzzer,
/// which learns from comparisons how to make one.
fn check(sequence: u64, found: &[u8]) {
    assert!(cfg!(fuzzing) || found == payload(sequence), "message {sequence} is another");
}

fn read(message: &Message<'_>, kind: Kind, how: u8) {
    let sum = message.payload().iter().fold(0_u64, |sum, &byte| sum.wrapping_add(byte.into()));
    std::hint::black_box((sum, message.key_hash(), message.delivery()));
    if kind == Kind::Journal {
        check(message.sequence(), message.payload());
    }
    let _ = match how % 3 {
        0 => message.ack().map(drop),
        1 => message.nack().map(drop),
        _ => Ok(()),
    };
}
