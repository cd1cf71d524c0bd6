//! Live segments that somebody writes to who should not.

mod support;

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ringway::{
    AckMode, Acked, Batch, Consumer, Error, Lag, Message, Nacked, Observer, Producer, Queue,
    Received, Start, Subscribe, Wait, layout,
};
use support::segment::{
    CAPACITY, MEMBERS, REGION_ALIGN, SUBSCRIPTIONS, field, header, header_word, new_image,
    new_queue, punch_hole, share_offset,
};
use support::{Name, assert_message, watchdog};

const NOW: Duration = Duration::ZERO;
/// Before the last delivery of what was refused.
const BACKOFF_MAX: Duration = Duration::from_micros(9);

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
    /// A member that has all done by receiving, and one that has every wish there is.
    plain: Consumer,
    choosy: Consumer,
    observer: Observer,
    /// Whether the readers wait for so long that they fall asleep.
    naps: bool,
    file: File,
    name: Name,
}

impl Drop for Cast {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Self::letters(&self.name));
    }
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
        let mut plain = queue.subscribe(&Self::plain()).unwrap();
        let mut choosy = queue.subscribe(&Self::choosy(&name)).unwrap();
        let mut observer = queue.observe_with(Start::Oldest, Wait::Park).unwrap();
        let mut producer = queue.producer().unwrap();
        // More than a lap, so that there is something of everything in the ring.
        for number in 0..120_u64 {
            let size = 40 * (number % 36) as usize;
            producer.message().key_hash(number / 2).send(&vec![1; size]).unwrap();
            let unread = 30;
            if number >= unread {
                assert!(held.receive().unwrap().message().is_some());
                assert!(skipping.receive().unwrap().message().is_some());
                assert!(observer.receive().unwrap().message().is_some());
                assert!(plain.receive().unwrap().message().is_some());
                let message = choosy.receive().unwrap().message().unwrap();
                // Some stay with it, refused or without an answer.
                match number {
                    ..110 => assert_eq!(message.ack().unwrap(), Acked::Done),
                    110..115 => assert!(!matches!(message.nack().unwrap(), Nacked::Late)),
                    _ => {}
                }
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
        let producer = Some(producer);
        Self { queue, producer, held, skipping, plain, choosy, observer, naps: false, file, name }
    }

    /// In memory: a disk would take its time for each.
    fn letters(name: &Name) -> String {
        format!("/dev/shm/letters-of-{}", &**name)
    }

    fn plain() -> Subscribe {
        Subscribe::new().named("plain").from(Start::Oldest).wait(Wait::Park)
    }

    fn choosy(name: &Name) -> Subscribe {
        let choosy = Subscribe::new().named("choosy").from(Start::Oldest).wait(Wait::Park);
        let choosy = choosy.keyed().ack(AckMode::Manual).prefetch(64);
        let choosy = choosy.deliveries_max(3).dead_letters(Self::letters(name));
        choosy
            .backoff(Duration::from_micros(1), 2.0, BACKOFF_MAX)
            .ack_within(Duration::from_secs(1))
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
        let Self { queue, held, skipping, plain, choosy, observer, .. } = self;
        for _ in 0..2 {
            if let Some(info) = tally.note(queue.info()) {
                black_box(format!("{info:?}"));
                assert!(info.consumers.len() as u64 <= u64::from(MEMBERS), "members of nowhere");
            }
            for consumer in [&mut *held, &mut *skipping, &mut *plain] {
                tally.look(consumer.try_receive());
                tally.look_all(consumer.try_receive_batch(3));
                tally.look(consumer.receive_timeout(NOW));
            }
            tally.work(choosy);
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
            tally.look(plain.try_receive());
            // What was refused is due again, however fast the machine is, and nothing stays without an
            // answer until more comes: nobody holds for ever.
            std::thread::sleep(BACKOFF_MAX);
            tally.work(choosy);
            tally.note(choosy.ack_through(u64::MAX));
        }
        let missed = tally.note(skipping.try_receive());
        tally.missed += u32::from(matches!(missed, Some(Received::Missed { .. })));
        for consumer in [held, skipping, plain] {
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
                    tally.join(queue, &options);
                }
                if let Some(mut observer) = tally.note(queue.observe(start)) {
                    tally.look(observer.try_receive());
                }
            }
            tally.join(queue, &Self::plain());
            tally.join(queue, &Self::choosy(&self.name));
            tally.join(queue, &Subscribe::new().named("one too many"));
            tally.note(queue.seek("plain", Start::Oldest));
            tally.note(queue.unsubscribe("choosy"));
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

    fn join(&mut self, queue: &Queue, options: &Subscribe) {
        if let Some(mut consumer) = self.note(queue.subscribe(options)) {
            self.look(consumer.try_receive());
            self.look_all(consumer.try_receive_batch(100));
        }
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

    /// Settles messages in every way.
    fn work(&mut self, choosy: &mut Consumer) {
        for number in 0..4 {
            let lent = self.note(choosy.try_receive());
            let Some(Received::Message(message)) = lent else { continue };
            self.messages += 1;
            black_box(sum(&message));
            match number {
                0 => drop(self.note(message.ack())),
                1 => drop(self.note(message.nack())),
                2 => drop(self.note(message.extend())),
                _ => {
                    let sequence = message.sequence();
                    self.note(choosy.ack_through(sequence.saturating_sub(1)));
                }
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
    // From behind: the tables, and before them the maps of 128 bytes.
    let shares = u32::from_le_bytes(image[header("shares")].try_into().unwrap());
    let shares_at = control_end - u64::from(shares) * size_of("Share");
    let members_at = shares_at - u64::from(MEMBERS) * size_of("Member");
    let subscriptions_at = members_at - u64::from(SUBSCRIPTIONS) * size_of("Subscription");
    let maps = subscriptions_at - 2 * 128;
    assert_eq!(maps, control + size_of("Control"));
    let mut used = vec![maps, maps + 128];
    for field in layout::fields().filter(|field| !field.name.starts_with('_')) {
        let table = |start: u64, count: u32| {
            (0..u64::from(count)).map(|index| start + index * size_of(field.part)).collect()
        };
        let starts = match field.part {
            "Header" => vec![0],
            "Control" => vec![control],
            "Subscription" => table(subscriptions_at, SUBSCRIPTIONS),
            "Member" => table(members_at, MEMBERS.min(5)),
            // As many as the cast uses.
            "Share" => table(shares_at, 3),
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
fn no_word_of_the_header_does_harm() {
    damage_words(|offset, control| {
        // Of the path of the history a few.
        let path = field("Header", "history");
        offset < control && !(path.start as u64 + 16..path.end as u64 - 8).contains(&offset)
    });
}

#[test]
fn no_word_of_the_control_region_does_harm() {
    damage_words(|offset, control| offset >= control);
}

/// Overwrites one word after the other, each with one value after the other: with every third, in
/// turn, unless `RINGWAY_DAMAGE` asks for all.
fn damage_words(choose: impl Fn(u64, u64) -> bool) {
    let image = new_image();
    let control = header_word(&image, "control_offset");
    let (mut used, _) = words(&image);
    used.retain(|&offset| choose(offset, control));
    assert!(used.len() > 80, "only {} words are used", used.len());
    let events_end = control + field("Control", "_reserved_removed").end as u64;
    let (mut noise, mut panics, mut tally) = (Noise(1), Vec::new(), Tally::default());
    let takes_all = std::env::var_os("RINGWAY_DAMAGE").is_some();
    for (turn, offset) in used.into_iter().enumerate() {
        let is_meant = |number: usize| takes_all || (turn + number).is_multiple_of(3);
        // One for each word: all of them take as long as the machine makes them.
        let _watchdog = watchdog();
        let values = [0, 1, u64::MAX, 1 << 63, noise.next()];
        // Some that are nearly right, and one that is wrong in its upper half.
        let changes: [fn(u64) -> u64; 4] = [
            |word| word.wrapping_add(1),
            |word| word.wrapping_add(8),
            |word| word.wrapping_sub(8),
            |word| word ^ (1 << 32),
        ];
        for (_, value) in values.into_iter().enumerate().filter(|&(number, _)| is_meant(number)) {
            let what = format!("{value:#x} at {offset:#x}");
            survive(&mut panics, &what, &mut tally, |cast| {
                // It is members who count their sleeps.
                cast.naps = offset > events_end;
                cast.overwrite(offset, value);
            });
        }
        for (number, change) in changes.into_iter().enumerate() {
            if !is_meant(values.len() + number) {
                continue;
            }
            let what = format!("change {number} at {offset:#x}");
            survive(&mut panics, &what, &mut tally, |cast| {
                cast.overwrite(offset, change(cast.word(offset)));
            });
        }
    }
    assert!(panics.is_empty(), "these words make somebody panic: {panics:#?}");
    // It was no play: the words meant something to somebody.
    assert!(tally.messages > 10_000 && tally.missed > 100, "{tally:?}");
    // A hundred are stale whatever happens, and as many as half more by who looks when.
    assert!(tally.corrupt > 100 && tally.stale > 50, "{tally:?}");
}

#[test]
fn words_that_nobody_reads_change_nothing() {
    let _watchdog = watchdog();
    let (_, unused) = words(&new_image());
    assert!(unused.len() > 500, "only {} words are not used", unused.len());
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

#[test]
fn a_frame_that_changes_within_a_members_batch_is_not_lent_beyond_the_ring() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("outgrown");
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    let ring_at = header_word(&new_image(), "ring_offset");
    let frame_size = 16;
    let mut producer = queue.producer().unwrap();
    let mut member = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    // Near the end of the lap, and in the midst of a share.
    let first = CAPACITY / frame_size - 70;
    let end = first + 60;
    for number in 0..end {
        producer.send(&number.to_le_bytes()).unwrap();
    }
    for number in 0..first {
        assert_message(member.receive(), number, &number.to_le_bytes());
    }
    let mut batch = member.receive_batch(2).unwrap().message().unwrap();
    assert_eq!(batch.next().unwrap().sequence(), first);
    let word = commit_word(first + 1, 1, 0, CAPACITY / 8);
    file.write_all_at(&word.to_le_bytes(), ring_at + (first + 1) * frame_size).unwrap();
    assert!(batch.next().is_none());
    drop(batch);
    let received = member.receive().map(|received| received.map(|message| message.payload().len()));
    assert!(matches!(received, Err(Error::Corrupt { .. })), "{received:?}");
}

/// Its state counts 63 that were handed out.
#[test]
fn frames_that_multiply_within_a_members_share_make_nobody_panic() {
    let _watchdog = watchdog();
    let (name, queue) = new_queue("multiplied");
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    let ring_at = header_word(&new_image(), "ring_offset");
    let mut producer = queue.producer().unwrap();
    let mut member = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    producer.send(b"").unwrap();
    assert_message(member.try_receive(), 0, b"");
    assert_eq!(member.try_receive().unwrap(), Received::Empty);
    // All bits above that count will be set when the next share is taken.
    let (last_generation, owner) = (0x7fe_u64 << 53, 0x7fff_u64 << 38);
    let state_at = share_offset(&name, 0) + field("Share", "state").start;
    file.write_all_at(&(last_generation | owner).to_le_bytes(), state_at as u64).unwrap();
    producer.send(b"").unwrap();
    producer.send(&[0; 1000]).unwrap();
    assert_message(member.try_receive(), 1, b"");
    for sequence in 2..102 {
        let word = commit_word(sequence, 1, 0, 0);
        file.write_all_at(&word.to_le_bytes(), ring_at + 8 * sequence).unwrap();
    }
    for sequence in 2..102 {
        assert_message(member.try_receive(), sequence, b"");
    }
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
