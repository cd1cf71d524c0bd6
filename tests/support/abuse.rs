//! A queue that is used and damaged in turns, as a string of bytes says: what the fuzzer makes up,
//! and what tests replay. It stands on the library's interface alone, since the fuzzer includes it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use ringway::{
    AckMode, Consumer, DeadLetters, Lag, Message, Observer, Producer, Queue, QueueOptions,
    Received, Start, Subscribe, layout,
};

const CAPACITY: u64 = 64 << 10;
/// No input does more.
const COMMANDS_MAX: usize = 256;
/// Words that mean something somewhere.
pub(crate) const WORDS: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    255,
    CAPACITY / 16,
    CAPACITY - 8,
    CAPACITY,
    2 * CAPACITY,
    1 << 28,
    1 << 32,
    1 << 61,
    1 << 62,
    1 << 63,
    u64::MAX,
];

/// Uses and damages a queue of this name, which is nobody else's. Whatever the input is, it comes
/// to an end, and every call gives a result.
pub(crate) fn abuse(name: &str, input: &[u8]) {
    let path = format!("/dev/shm/ringway.{name}");
    let image = IMAGE.get_or_init(new_image);
    if fs::metadata(&path).map_or(0, |facts| facts.len()) != image.bytes.len() as u64 {
        fs::write(&path, &image.bytes).expect("a segment");
    }
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("a segment");
    file.write_all_at(&image.bytes, 0).expect("room for it");
    let _ = fs::remove_dir_all(letters(name));
    let mut users = Users {
        name,
        file,
        image,
        queue: None,
        producer: None,
        consumers: Vec::new(),
        observer: None,
    };
    let mut input = Input(input);
    for _ in 0..COMMANDS_MAX {
        let Some(command) = input.byte() else { break };
        users.obey(command, &mut input);
    }
}

/// Reads what somebody else has written into a directory's file of dead letters; returns how many
/// letters that were.
pub(crate) fn read_letters(queue: &Queue, directory: &Path, contents: &[u8]) -> usize {
    let letters = directory.join("dead-letters");
    fs::create_dir_all(&letters).expect("a directory");
    fs::write(letters.join("workers.letters"), contents).expect("a file");
    let letters = DeadLetters::open(directory, queue.name(), "workers").expect("a name");
    let all: Vec<_> = letters.iter().collect::<Result<_, _>>().expect("a file that can be read");
    let count = all.len();
    assert!(count <= contents.len() / 72, "{count} letters in {} bytes", contents.len());
    count
}

/// What everybody was doing when they all died.
struct Image {
    bytes: Vec<u8>,
    /// Where the regions begin.
    control: u64,
    ring: u64,
}

static IMAGE: OnceLock<Image> = OnceLock::new();

fn new_image() -> Image {
    let name = format!("abused-{}", std::process::id());
    let _ = Queue::force_remove(&name);
    let options = QueueOptions::new().capacity(CAPACITY).members(8).subscriptions(2);
    let queue = Queue::create(&name, &options).expect("a queue");
    let join = |options: &Subscribe| queue.subscribe(options).expect("a place");
    let mut held = join(&Subscribe::new().from(Start::Oldest));
    let _skipping = join(&Subscribe::new().on_lag(Lag::Skip));
    let workers = Subscribe::new().named("workers").ack(AckMode::Manual).from(Start::Oldest);
    let workers = workers.deliveries_max(3).dead_letters(letters(&name));
    let mut worker = join(&workers.prefetch(4));
    let _keyed = join(&Subscribe::new().named("keyed").keyed().from(Start::Oldest));
    let mut producer = queue.producer().expect("nobody else is");
    for sequence in 0..60_u8 {
        let payload = vec![sequence; usize::from(sequence) * 20];
        producer.message().key(&[sequence % 5]).send(&payload).expect("room");
    }
    let first = worker.receive().expect("a message");
    let _ = first.message().expect("a message").ack();
    let _ = worker.receive().expect("a message");
    let _ = held.receive().expect("a message");
    let bytes = fs::read(format!("/dev/shm/ringway.{name}")).expect("a segment");
    let word = |name| {
        let is_it = |field: &layout::Field| field.part == "Header" && field.name == name;
        let offset = layout::fields().find(is_it).expect("a field").offset;
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("8 bytes"))
    };
    let (control, ring) = (word("control_offset"), word("ring_offset"));
    drop((held, worker, producer));
    Queue::force_remove(&name).expect("our own");
    Image { bytes, control, ring }
}

/// Where a queue's dead letters lie: where nobody waits for a disk.
fn letters(name: &str) -> String {
    format!("/dev/shm/{name}.directory")
}

/// A word as damage leaves it.
pub(crate) fn damaged(word: u64, input: &mut Input<'_>) -> u64 {
    let kind = input.byte().unwrap_or(0);
    let known = WORDS[usize::from(kind) % WORDS.len()];
    let byte = (kind % 8) * 8;
    match kind {
        0..16 => known,
        16..32 => word.wrapping_add(known),
        32..48 => word.wrapping_sub(known),
        48..112 => word ^ (1 << (kind - 48)),
        112..176 => word & !(0xff << byte) | input.number() << byte,
        _ => input.long(8),
    }
}

/// What is left of the input.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl Input<'_> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.byte().unwrap_or(0).into()
    }

    pub(crate) fn long(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | self.number())
    }
}

/// Everybody who may have something open.
struct Users<'a> {
    name: &'a str,
    file: File,
    image: &'a Image,
    queue: Option<Queue>,
    producer: Option<Producer>,
    consumers: Vec<Consumer>,
    observer: Option<Observer>,
}

impl Users<'_> {
    fn obey(&mut self, command: u8, input: &mut Input) {
        let one = command >> 4;
        match command & 15 {
            0 => self.damage(0, self.image.control, input),
            1 => self.damage(self.image.control, self.image.ring, input),
            2 => self.damage(self.image.ring, self.image.bytes.len() as u64, input),
            3 => self.queue = Queue::open(self.name).ok(),
            4 => {
                self.producer = None;
                self.producer = self.queue.as_ref().and_then(|queue| queue.producer().ok());
            }
            5 => {
                let size = usize::try_from(input.long(2)).unwrap_or(0) % 10_000;
                if let Some(producer) = &mut self.producer {
                    let _ = producer.message().key(&[one]).try_send(&vec![one; size]);
                }
            }
            6 => self.send_batch(one, input.number()),
            7 => self.join(one),
            8 => self.receive(one, input.number()),
            9 => self.receive_batch(one),
            10 => self.settle(one, input.number()),
            11 => {
                if !self.consumers.is_empty() {
                    drop(self.consumers.remove(usize::from(one) % self.consumers.len()));
                }
            }
            12 => {
                let start = [Start::Oldest, Start::Newest, Start::Last(3), Start::Sequence(5)];
                let start = start[usize::from(one) % start.len()];
                self.observer = self.queue.as_ref().and_then(|queue| queue.observe(start).ok());
            }
            13 => self.observe(input.number()),
            14 => self.look_after(one),
            _ => {
                if let Some(producer) = self.producer.take() {
                    let _ = (producer.held_by(), producer.held_for());
                    let _ = if one & 1 == 0 { producer.close() } else { Ok(()) };
                }
            }
        }
    }

    /// Changes one word of a region.
    fn damage(&self, begin: u64, end: u64, input: &mut Input) {
        // The history's directory is left alone: whoever may write it may have files written
        // anywhere.
        let history = layout::fields().find(|field| field.name == "history").expect("a field");
        let history = history.offset as u64..(history.offset + history.size) as u64;
        let offset = begin + (input.long(2) * 8) % (end - begin);
        if history.contains(&offset) {
            return;
        }
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, offset).expect("a word");
        let word = damaged(u64::from_le_bytes(bytes), input);
        self.file.write_all_at(&word.to_le_bytes(), offset).expect("a word");
    }

    fn send_batch(&mut self, count: u8, size: u64) {
        let Some(producer) = &mut self.producer else { return };
        let mut batch = producer.batch();
        for number in 0..=count {
            let payload = vec![number; usize::try_from(size).unwrap_or(0) * 4];
            if !batch.try_push(&payload).unwrap_or(false) {
                break;
            }
        }
        if !count.is_multiple_of(3) {
            let _ = batch.commit();
        }
    }

    fn join(&mut self, how: u8) {
        let Some(queue) = self.queue.as_ref().filter(|_| self.consumers.len() < 4) else { return };
        let plain = Subscribe::new().from(Start::Oldest).dead_letters(letters(self.name));
        let options = match how {
            0 => plain,
            1 => plain.on_lag(Lag::Skip),
            2 => plain.named("workers"),
            3 => plain.named("workers").ack(AckMode::Manual).prefetch(2),
            4 => plain.named("keyed").ack(AckMode::Manual),
            5 => plain.named("other").on_lag(Lag::Skip),
            6 => Subscribe::new().from(Start::Last(5)),
            _ => Subscribe::new(),
        };
        self.consumers.extend(queue.subscribe(&options));
    }

    fn receive(&mut self, who: u8, count: u64) {
        let Some(consumer) = choose(&mut self.consumers, who) else { return };
        for _ in 0..=count % 64 {
            match consumer.try_receive() {
                Ok(Received::Message(message)) => read(&message),
                Ok(Received::Missed { .. }) => {}
                _ => break,
            }
        }
    }

    fn receive_batch(&mut self, who: u8) {
        let Some(consumer) = choose(&mut self.consumers, who) else { return };
        if let Ok(Received::Message(batch)) = consumer.try_receive_batch(20) {
            batch.into_iter().for_each(|message| read(&message));
        }
    }

    fn settle(&mut self, how: u8, distance: u64) {
        let Some(consumer) = choose(&mut self.consumers, how >> 2) else { return };
        let sequence = consumer.next_sequence().wrapping_sub(distance);
        let _ = match how & 3 {
            0 => consumer.ack(sequence).map(drop),
            1 => consumer.ack_through(sequence).map(drop),
            2 => consumer.nack(sequence).map(drop),
            _ => consumer.extend(sequence).map(drop),
        };
    }

    fn observe(&mut self, count: u64) {
        let Some(observer) = &mut self.observer else { return };
        for _ in 0..=count % 64 {
            match observer.try_receive() {
                Ok(Received::Message(message)) => read(&message),
                Ok(Received::Missed { .. }) => {}
                _ => break,
            }
        }
    }

    fn look_after(&mut self, how: u8) {
        let Some(queue) = &self.queue else { return };
        let _ = match how {
            0..8 => queue.info().map(|info| drop(format!("{info:?}"))),
            8..11 => queue.clear_dead().map(drop),
            11 => queue.unsubscribe("workers"),
            12 => queue.unsubscribe("keyed"),
            13 => queue.seek("workers", Start::Oldest),
            14 => queue.seek("keyed", Start::Newest),
            _ => queue.seek("workers", Start::Sequence(3)),
        };
    }
}

fn choose(consumers: &mut [Consumer], who: u8) -> Option<&mut Consumer> {
    let count = consumers.len().max(1);
    consumers.get_mut(usize::from(who) % count)
}

/// Looks at every byte.
fn read(message: &Message<'_>) {
    let sum = message.payload().iter().fold(0_u64, |sum, &byte| sum.wrapping_add(byte.into()));
    std::hint::black_box((sum, message.sequence(), message.key_hash(), message.delivery()));
}
