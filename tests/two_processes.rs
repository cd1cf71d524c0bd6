//! Producers, consumers and observers in processes of their own: everybody gets what was sent,
//! all of it or with the gaps told, and nothing else.

#![allow(clippy::print_stderr, reason = "counts are for whoever reads the test's output")]

mod support;

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::thread;
use std::time::Duration;

use ringway::{
    Consumer, Error, Info, Lag, Message, Observer, Producer, Queue, QueueOptions, Received, Sent,
    Start, Subscribe, Wait, layout,
};
use support::users::become_nobody;
use support::{Name, Peer, holding_members, mix, number_from, play, say, watchdog, watchdog_of};

const CAPACITY: u64 = 64 << 10;
const SIZE_MAX: u64 = CAPACITY / 8;
const WAITS: [Wait; 3] = [Wait::Spin, Wait::Backoff, Wait::Park];
const KINDS: [&str; 3] = ["hold", "skip", "observe"];

#[test]
fn peer() {
    play(&[
        ("read", read),
        ("stream", stream),
        ("follow", follow),
        ("read batches", read_batches),
        ("read after the end", read_after_the_end),
        ("keep", keep),
        ("look on", look_on),
    ]);
}

fn small(name: &Name) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(CAPACITY)).unwrap()
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().expect("a number")
}

/// What messages consist of: a function of the sequence, so that each process knows.
#[derive(Clone, Copy, Debug)]
enum Contents {
    /// Of all sizes: empty ones, the largest, many small ones.
    Mixed,
    /// Commit words, as those of frames that have been where the payload lies, that will be
    /// there, or that come next.
    Imitations,
}

impl Contents {
    fn named(name: &str) -> Self {
        if name == "mixed" { Self::Mixed } else { Self::Imitations }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Imitations => "imitations",
        }
    }

    fn size(self, sequence: u64) -> u64 {
        let seed = mix(sequence);
        match (self, seed % 16) {
            (Self::Imitations, _) => (seed >> 8) % 600,
            (_, 0) => 0,
            (_, 1) => SIZE_MAX,
            (_, 2) => SIZE_MAX - (seed >> 8) % 16,
            (_, 3 | 4) => (seed >> 8) % SIZE_MAX,
            _ => (seed >> 8) % 200,
        }
    }

    fn of(self, sequence: u64) -> Vec<u8> {
        let size = self.size(sequence);
        let seed = mix(sequence ^ (size << 40));
        let words = (0..size.div_ceil(8)).map(|at| match self {
            Self::Mixed => mix(seed ^ at),
            Self::Imitations => imitation(sequence, mix(seed ^ at)),
        });
        let mut payload: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        payload.truncate(usize::try_from(size).unwrap());
        payload
    }
}

/// A commit word that somebody could be looking for who looks at a payload of this sequence.
fn imitation(sequence: u64, random: u64) -> u64 {
    // About 207 frames of that size are a lap.
    let lap = 180 + (random >> 8) % 60;
    let expected = match random % 3 {
        0 => sequence.wrapping_add(lap),
        1 => sequence.wrapping_sub(lap),
        _ => sequence.wrapping_add(1 + (random >> 8) % 4),
    };
    let is_message = !(random >> 16).is_multiple_of(8);
    let kind = if is_message { 1 } else { 2 };
    (expected << 36) | (kind << 32) | ((random >> 24) % 600)
}

/// Checks that messages and gaps follow each other without a gap, and counts them.
#[derive(Clone, Debug)]
struct Ledger {
    contents: Contents,
    next: u64,
    got: u64,
    missed: u64,
    gaps: u64,
    gap_end: u64,
}

impl Ledger {
    fn new(contents: Contents, next: u64) -> Self {
        Self { contents, next, got: 0, missed: 0, gaps: 0, gap_end: 0 }
    }

    /// `false` if there was nothing.
    fn note(&mut self, received: &Received<Message>) -> bool {
        match *received {
            Received::Message(message) => {
                assert_eq!(message.sequence(), self.next);
                let expected = self.contents.of(self.next);
                assert!(message.payload() == expected, "message {} is another", self.next);
                self.next += 1;
                self.got += 1;
                true
            }
            Received::Missed { from, to } => {
                assert_eq!(from, self.next);
                assert!(to > from);
                self.next = to;
                self.missed += to - from;
                self.gaps += 1;
                self.gap_end = to;
                true
            }
            _ => false,
        }
    }
}

/// A consumer or an observer.
#[derive(Debug)]
enum Reader {
    Consumer(Consumer),
    Observer(Observer),
}

impl Reader {
    fn join(queue: &Queue, kind: &str, wait: Wait, start: Start) -> Result<Self, Error> {
        let options = Subscribe::new().from(start).wait(wait);
        match kind {
            "hold" => queue.subscribe(&options).map(Self::Consumer),
            "skip" => queue.subscribe(&options.on_lag(Lag::Skip)).map(Self::Consumer),
            "observe" => queue.observe_with(start, wait).map(Self::Observer),
            _ => panic!("{kind}?"),
        }
    }

    fn receive(&mut self) -> Received<Message<'_>> {
        match self {
            Self::Consumer(consumer) => consumer.receive(),
            Self::Observer(observer) => observer.receive(),
        }
        .unwrap()
    }

    fn try_receive(&mut self) -> Received<Message<'_>> {
        match self {
            Self::Consumer(consumer) => consumer.try_receive(),
            Self::Observer(observer) => observer.try_receive(),
        }
        .unwrap()
    }

    fn next_sequence(&self) -> u64 {
        match self {
            Self::Consumer(consumer) => consumer.next_sequence(),
            Self::Observer(observer) => observer.next_sequence(),
        }
    }

    /// What the queue says that it has missed.
    fn missed_by_the_queue(&self, queue: &Queue) -> Option<u64> {
        let Self::Consumer(consumer) = self else { return None };
        let consumers = queue.info().unwrap().consumers;
        Some(consumers.into_iter().find(|info| info.member == consumer.member()).unwrap().missed)
    }
}

fn wait_named(name: &str) -> Wait {
    WAITS.into_iter().find(|wait| wait.to_string() == name).unwrap()
}

fn send(producer: &mut Producer, contents: Contents) {
    let sequence = producer.next_sequence();
    assert_eq!(producer.send(&contents.of(sequence)).unwrap(), sequence);
}

fn send_many(producer: &mut Producer, contents: Contents, count: u64) {
    for _ in 0..count {
        send(producer, contents);
    }
}

fn all_say(peers: &mut [Peer], word: &str) {
    for peer in peers {
        peer.await_word(word);
    }
}

/// Reads from the oldest message to the end, and says how much there was.
fn read(arguments: &[&str]) {
    let [name, kind, wait, contents] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    let mut reader = Reader::join(&queue, kind, wait_named(wait), Start::Oldest).unwrap();
    let mut ledger = Ledger::new(Contents::named(contents), reader.next_sequence());
    say("ready");
    while ledger.note(&reader.receive()) {}
    assert_eq!(reader.receive(), Received::Closed);
    if let Some(missed) = reader.missed_by_the_queue(&queue) {
        assert_eq!(missed, ledger.missed);
    }
    say(format_args!("{} {}", ledger.next, ledger.missed));
}

fn start_reading(name: &Name, kind: &str, wait: Wait, contents: Contents) -> Peer {
    Peer::start("read", &[name, kind, &wait.to_string(), contents.name()])
}

#[test]
fn all_who_hold_get_everything_in_order_and_once() {
    let _alive = watchdog();
    for count in 1..=8 {
        for wait in WAITS {
            // Those who spin all need their turns on the processors, once a lap.
            let messages = if wait == Wait::Spin { 500 } else { 2_000 };
            let name = Name::new("hold");
            let mut producer = small(&name).producer().unwrap();
            producer.set_wait(wait);
            let start = |_| start_reading(&name, "hold", wait, Contents::Mixed);
            let mut peers: Vec<_> = (0..count).map(start).collect();
            all_say(&mut peers, "ready");
            send_many(&mut producer, Contents::Mixed, messages);
            producer.close().unwrap();
            for mut peer in peers {
                peer.await_word(&format!("{messages} 0"));
                peer.finish();
            }
        }
    }
}

#[test]
fn payloads_that_look_like_frames_are_only_payloads() {
    const MESSAGES: u64 = 60_000;
    let _alive = watchdog();
    let name = Name::new("imitations");
    let mut producer = small(&name).producer().unwrap();
    let start = |kind| start_reading(&name, kind, Wait::Backoff, Contents::Imitations);
    let mut peers = KINDS.map(start);
    all_say(&mut peers, "ready");
    send_many(&mut producer, Contents::Imitations, MESSAGES);
    producer.close().unwrap();
    for (mut peer, kind) in peers.into_iter().zip(KINDS) {
        let (next, missed) = heard_numbers(&mut peer);
        assert_eq!(next, MESSAGES);
        assert!(kind != "hold" || missed == 0);
        peer.finish();
    }
}

fn heard_numbers(peer: &mut Peer) -> (u64, u64) {
    let heard = peer.hear();
    let (first, second) = heard.split_once(' ').unwrap();
    (number(first), number(second))
}

/// `RINGWAY_LAPPED` says how many messages go past them.
#[test]
fn those_who_do_not_hold_are_told_what_they_miss_of_a_stream_at_full_speed() {
    let messages = number_from("RINGWAY_LAPPED", 40_000);
    let _alive = watchdog_of(Duration::from_secs(240) + Duration::from_micros(10 * messages));
    for contents in [Contents::Mixed, Contents::Imitations] {
        let name = Name::new("rush");
        let mut producer = small(&name).producer().unwrap();
        let start = |kind| start_reading(&name, kind, Wait::Spin, contents);
        let mut peers = ["skip", "observe"].map(start);
        all_say(&mut peers, "ready");
        send_many(&mut producer, contents, messages);
        producer.close().unwrap();
        for mut peer in peers {
            let (next, missed) = heard_numbers(&mut peer);
            assert_eq!(next, messages);
            eprintln!("missed {missed} of {messages} {contents:?}");
            peer.finish();
        }
    }
}

/// Reads, and reports on another queue how far it is whenever it has caught up.
fn follow(arguments: &[&str]) {
    let [name, reports, kind, contents] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    let mut reader = Reader::join(&queue, kind, Wait::Spin, Start::Oldest).unwrap();
    let mut reports = Queue::open(reports).unwrap().producer().unwrap();
    let mut ledger = Ledger::new(Contents::named(contents), reader.next_sequence());
    let mut reported = None;
    loop {
        let received = reader.try_receive();
        if ledger.note(&received) {
            continue;
        }
        let closed = received == Received::Closed;
        if reported != Some(ledger.next) {
            reported = Some(ledger.next);
            let Ledger { next, got, missed, gaps, gap_end, .. } = ledger;
            let report = [next, got, missed, gaps, gap_end].map(u64::to_le_bytes);
            reports.send(&report.concat()).unwrap();
        }
        if closed {
            break;
        }
    }
    if let Some(missed) = reader.missed_by_the_queue(&queue) {
        assert_eq!(missed, ledger.missed);
    }
}

/// What [`follow`] reports.
#[derive(Clone, Copy, Debug)]
struct Report {
    next: u64,
    got: u64,
    missed: u64,
    gaps: u64,
    gap_end: u64,
}

/// Where the reports come from.
struct Reports {
    queue: Queue,
    consumer: Consumer,
}

impl Reports {
    fn new(name: &Name) -> Self {
        let queue = small(name);
        let consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
        Self { queue, consumer }
    }

    /// Waits until the reader has caught up.
    fn await_next(&mut self, next: u64) -> Report {
        loop {
            match self.consumer.receive_timeout(Duration::from_millis(100)).unwrap() {
                Received::Message(message) => {
                    let words = message.payload().chunks_exact(8);
                    let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap()));
                    let [found, got, missed, gaps, gap_end] = *words.collect::<Vec<_>>() else {
                        panic!("{message:?}");
                    };
                    if found == next {
                        return Report { next, got, missed, gaps, gap_end };
                    }
                }
                _ => assert!(self.queue.info().unwrap().producer.is_none_or(|peer| peer.alive)),
            }
        }
    }
}

/// A reader is stopped at any point, and the producer goes on for as much as four rings.
fn overtake(kind: &str, contents: Contents) {
    const ROUNDS: u64 = 330;
    // A reader before this much of overwritten frames has missed a message: the rest of a lap
    // that is only padding is less.
    const FRAME_SIZE_MAX: u64 = SIZE_MAX + 16;
    let (name, reports) = (Name::new("overtake"), Name::new("reports"));
    let queue = small(&name);
    let mut reported = Reports::new(&reports);
    let mut producer = queue.producer().unwrap();
    let peer = Peer::start("follow", &[&name, &reports, kind, contents.name()]);
    send(&mut producer, contents);
    let mut last = reported.await_next(1);
    let mut overtaken = 0;
    for round in 0..ROUNDS {
        let random = mix(round);
        let caught_up_at = queue.info().unwrap().position;
        send_many(&mut producer, contents, random % 30);
        peer.stop();
        let stopped_before = queue.info().unwrap().position;
        let goal = (random >> 8) % (4 * CAPACITY);
        let mut sent = 0;
        while sent < goal {
            sent += contents.size(producer.next_sequence()).next_multiple_of(8) + 8;
            send(&mut producer, contents);
        }
        let floor = queue.info().unwrap().floor;
        peer.go_on();
        // The reader has to report another sequence than last time.
        send(&mut producer, contents);
        let report = reported.await_next(producer.next_sequence());
        assert_eq!(report.got + report.missed, report.next);
        let info = queue.info().unwrap();
        assert!(report.gap_end <= info.oldest_sequence, "round {round}: missed what is there");
        if info.floor <= caught_up_at {
            assert_eq!(report.missed, last.missed, "round {round}: nothing was overwritten");
        }
        if floor >= stopped_before + FRAME_SIZE_MAX {
            assert!(report.missed > last.missed, "round {round}: read what was overwritten");
            overtaken += 1;
        }
        last = report;
    }
    producer.close().unwrap();
    peer.finish();
    eprintln!("{kind}, {contents:?}: {last:?}, overtaken {overtaken} times");
    assert!(overtaken > 200);
    assert!(last.gaps >= overtaken && last.got > 1000);
}

#[test]
fn a_skipping_consumer_is_told_exactly_what_it_missed() {
    let _alive = watchdog();
    overtake("skip", Contents::Mixed);
    overtake("skip", Contents::Imitations);
}

#[test]
fn an_observer_is_told_exactly_what_it_missed() {
    let _alive = watchdog();
    overtake("observe", Contents::Mixed);
    overtake("observe", Contents::Imitations);
}

/// Joins at `start`, and checks what comes first by what the queue tells before and after.
fn join(queue: &Queue, kind: &str, start: Start, contents: Contents) -> Option<(Reader, Ledger)> {
    let before = queue.info().unwrap();
    let joined = Reader::join(queue, kind, Wait::Backoff, start);
    let after = queue.info().unwrap();
    let context = format!("{kind} {start:?}, {}", summary(&before, &after));
    let next = before.next_sequence..=after.next_sequence;
    let oldest = before.oldest_sequence..=after.oldest_sequence;
    let mut reader = match joined {
        Ok(reader) => reader,
        Err(Error::SequenceAhead { asked, next: found, .. }) => {
            assert_eq!(start, Start::Sequence(asked), "{context}");
            assert!(next.contains(&found) && asked > found, "{found}: {context}");
            return None;
        }
        Err(error) => panic!("{error}: {context}"),
    };
    let first = reader.next_sequence();
    let mut ledger = Ledger::new(contents, first);
    match start {
        Start::Newest => assert!(next.contains(&first), "{first}: {context}"),
        Start::Oldest => assert!(oldest.contains(&first), "{first}: {context}"),
        Start::Last(count) => {
            let lowest = next.start().saturating_sub(count).max(*oldest.start());
            let highest = next.end().saturating_sub(count).max(*oldest.end());
            assert!((lowest..=highest).contains(&first), "{first}: {context}");
        }
        Start::Sequence(asked) if first == asked => {
            assert!((*oldest.start()..=*next.end()).contains(&asked), "{context}");
        }
        Start::Sequence(asked) => {
            assert!(asked < first && oldest.contains(&first), "{first}: {context}");
            let gone = Received::Missed { from: asked, to: first };
            assert_eq!(reader.try_receive(), gone, "{context}");
            ledger.next = asked;
            ledger.note(&gone);
        }
        other => panic!("nobody begins with {other:?}"),
    }
    assert_eq!(reader.next_sequence(), first, "{context}");
    let missed_at_first = ledger.missed;
    // What an observer looks at may be gone by now, what is held for is not.
    while ledger.got < 20 {
        if !ledger.note(&reader.try_receive()) {
            break;
        }
    }
    assert!(kind != "hold" || ledger.missed == missed_at_first, "{context}");
    Some((reader, ledger))
}

fn summary(before: &Info, after: &Info) -> String {
    let mut text = String::new();
    for info in [before, after] {
        write!(text, "{}..{} ", info.oldest_sequence, info.next_sequence).unwrap();
    }
    text
}

/// Every way to start, seen from a queue that holds these messages.
fn starts(Range { start: oldest, end }: Range<u64>) -> Vec<Start> {
    // The two are of different moments.
    let next = end.max(oldest);
    let middle = oldest.midpoint(next);
    let sequences =
        [0, oldest.saturating_sub(1), oldest, middle, next, next + 1, next + 1_000_000_000];
    let counts = [0, 1, 7, next - middle, next - oldest, next - oldest + 1, u64::MAX];
    let all = sequences.map(Start::Sequence).into_iter().chain(counts.map(Start::Last));
    all.chain([Start::Oldest, Start::Newest]).collect()
}

fn messages_of(info: &Info) -> Range<u64> {
    info.oldest_sequence..info.next_sequence
}

/// Streams, in bursts, until the other queue is closed.
fn stream(arguments: &[&str]) {
    let [name, orders] = arguments else { panic!("{arguments:?}") };
    let mut orders = Queue::open(orders).unwrap().subscribe(&Subscribe::new()).unwrap();
    let mut producer = Queue::open(name).unwrap().producer().unwrap();
    say("ready");
    while orders.try_receive().unwrap() != Received::Closed {
        let random = mix(producer.next_sequence());
        send_many(&mut producer, Contents::Mixed, 1 + random % 30);
        thread::sleep(Duration::from_micros((random >> 8) % 300));
    }
    producer.close().unwrap();
}

#[test]
fn whoever_joins_late_begins_where_it_asked_to() {
    const ROUNDS: u32 = 30;
    let _alive = watchdog();
    let (name, orders) = (Name::new("late"), Name::new("orders"));
    let queue = small(&name);
    let orders_producer = small(&orders).producer().unwrap();
    let mut peer = Peer::start("stream", &[&name, &orders]);
    peer.await_word("ready");
    let mut joined = 0;
    for round in 0..ROUNDS {
        // In every second round the producer stands still in the middle of something, and all
        // answers are exact.
        let is_stopped = round % 2 == 1;
        for kind in KINDS {
            if is_stopped {
                peer.stop();
            }
            for start in starts(messages_of(&queue.info().unwrap())) {
                let before = queue.info().unwrap().next_sequence;
                joined += u32::from(join(&queue, kind, start, Contents::Mixed).is_some());
                let after = queue.info().unwrap().next_sequence;
                assert!(!is_stopped || before == after);
            }
            if is_stopped {
                peer.go_on();
            }
        }
    }
    eprintln!("{joined} joined late, the last at {:?}", messages_of(&queue.info().unwrap()));

    let mut readers = Vec::new();
    for kind in KINDS {
        for start in starts(messages_of(&queue.info().unwrap())) {
            readers.extend(join(&queue, kind, start, Contents::Mixed));
            // Those who hold must not hold each other up.
            follow_all(&mut readers);
        }
    }
    orders_producer.close().unwrap();
    while follow_all(&mut readers) < readers.len() {}
    peer.finish();
    let end = queue.info().unwrap().next_sequence;
    for (reader, ledger) in readers {
        assert_eq!(ledger.next, end);
        assert!(reader.missed_by_the_queue(&queue).is_none_or(|missed| missed == ledger.missed));
    }
}

/// Lets all receive what there is, and counts those who have come to the end.
fn follow_all(readers: &mut [(Reader, Ledger)]) -> usize {
    let ended = readers.iter_mut().map(|(reader, ledger)| {
        for _ in 0..20 {
            let received = reader.try_receive();
            if !ledger.note(&received) {
                return received == Received::Closed;
            }
        }
        false
    });
    ended.filter(|&ended| ended).count()
}

#[test]
fn sequences_go_on_where_their_low_bits_wrap() {
    const MESSAGES: u64 = 3_000;
    let _alive = watchdog();
    for first in [(1 << 28) - 1_000, (1 << 32) - 1_000, (1 << 61) - 10_000] {
        let name = Name::new("wrap");
        let options = QueueOptions::new().capacity(CAPACITY).first_sequence(first);
        let queue = Queue::create(&name, &options).unwrap();
        let mut producer = queue.producer().unwrap();
        let start = |kind| start_reading(&name, kind, Wait::Park, Contents::Mixed);
        let mut peers = KINDS.map(start);
        all_say(&mut peers, "ready");
        for sequence in first..first + MESSAGES {
            send(&mut producer, Contents::Mixed);
            let info = queue.info().unwrap();
            assert_eq!(info.next_sequence, sequence + 1);
            // All around the wrap, and now and then.
            let from_wrap = (sequence + 1).abs_diff(first + 1_000);
            if from_wrap <= 3 || sequence.is_multiple_of(97) {
                for start in starts(messages_of(&info)) {
                    for kind in KINDS {
                        join(&queue, kind, start, Contents::Mixed);
                    }
                }
            }
        }
        producer.close().unwrap();
        for (mut peer, kind) in peers.into_iter().zip(KINDS) {
            let (next, missed) = heard_numbers(&mut peer);
            assert_eq!(next, first + MESSAGES);
            assert!(kind != "hold" || missed == 0);
            peer.finish();
        }
        assert_eq!(queue.info().unwrap().next_sequence, first + MESSAGES);
    }
}

/// A message of a batch: which it is, of how many.
fn part(index: u64, count: u64) -> Vec<u8> {
    let filler = mix(index ^ (count << 32)).to_le_bytes().repeat(7);
    let size = usize::try_from(mix(index) % 56).unwrap();
    [&index.to_le_bytes(), &count.to_le_bytes(), &filler[..size]].concat()
}

/// Reads to the end. A batch that has begun goes on at once.
fn read_batches(arguments: &[&str]) {
    let [name, kind] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    let mut reader = Reader::join(&queue, kind, Wait::Backoff, Start::Oldest).unwrap();
    say("ready");
    let (mut next, mut batches) = (0, 0);
    // The index of the next message of a batch, and how many there are.
    let mut rest = None;
    let mut after_gap = false;
    loop {
        let received = if rest.is_some() { reader.try_receive() } else { reader.receive() };
        match received {
            Received::Message(message) => {
                assert_eq!(message.sequence(), next);
                next += 1;
                let (index, count) = message.payload()[..16].split_at(8);
                let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
                let (index, count) = (word(index), word(count));
                assert_eq!(message.payload(), part(index, count));
                match rest {
                    Some(expected) => assert_eq!((index, count), expected),
                    None => assert!(index == 0 || after_gap),
                }
                after_gap = false;
                batches += u64::from(index == 0);
                rest = (index + 1 < count).then_some((index + 1, count));
            }
            Received::Missed { from, to } => {
                assert!(from == next && *kind != "hold");
                (next, rest, after_gap) = (to, None, true);
            }
            Received::Closed => {
                assert_eq!(rest, None);
                break;
            }
            other => panic!("{other:?}, but {rest:?} is due"),
        }
    }
    say(format_args!("{next} {batches}"));
}

#[test]
fn a_batch_is_there_as_a_whole_or_not_at_all() {
    const BATCHES: u64 = 3_000;
    let _alive = watchdog();
    let name = Name::new("batch");
    let mut committed = 0;
    let mut producer = small(&name).producer().unwrap();
    let mut peers = KINDS.map(|kind| Peer::start("read batches", &[&name, kind]));
    all_say(&mut peers, "ready");
    for number in 0..BATCHES {
        let random = mix(number);
        // The largest is nearly the quarter of a ring that a batch may have.
        let count = 1 + random % 200;
        let first = producer.next_sequence();
        let mut batch = producer.batch();
        if random & 0x100 == 0 {
            (0..count).for_each(|index| batch.push(&part(index, count)).unwrap());
        } else {
            batch.extend((0..count).map(|index| part(index, count))).unwrap();
        }
        assert_eq!(batch.len(), count);
        if random & 0x600 == 0 {
            drop(batch);
            assert_eq!(producer.next_sequence(), first);
        } else {
            assert_eq!(batch.commit().unwrap(), first..first + count);
            committed += 1;
        }
    }
    let sent = producer.next_sequence();
    producer.close().unwrap();
    for (mut peer, kind) in peers.into_iter().zip(KINDS) {
        let (next, batches) = heard_numbers(&mut peer);
        assert_eq!(next, sent);
        assert!(kind != "hold" || batches == committed);
        peer.finish();
    }
}

/// Says where the stream ends, as often as it does.
fn read_after_the_end(arguments: &[&str]) {
    let [name, kind, wait, ends] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    let mut reader = Reader::join(&queue, kind, wait_named(wait), Start::Oldest).unwrap();
    let mut ledger = Ledger::new(Contents::Mixed, 0);
    say("ready");
    for _ in 0..number(ends) {
        let begin = ledger.next;
        loop {
            let received = reader.receive();
            if !ledger.note(&received) {
                assert_eq!(received, Received::Closed);
                if ledger.next > begin {
                    break;
                }
                // Nobody has gone on yet.
                thread::yield_now();
            }
        }
        say(ledger.next);
    }
}

#[test]
fn all_are_told_of_the_end_and_a_later_producer_goes_on() {
    const ENDS: u64 = 6;
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("end");
        let queue = small(&name);
        let (wait, ends) = (wait.to_string(), ENDS.to_string());
        let start = |kind| Peer::start("read after the end", &[&name, kind, &wait, &ends]);
        let mut peers = KINDS.map(start);
        all_say(&mut peers, "ready");
        for round in 1..=ENDS {
            let mut producer = queue.producer().unwrap();
            assert!(!queue.info().unwrap().closed);
            send_many(&mut producer, Contents::Mixed, 7 * round);
            let end = producer.next_sequence();
            producer.close().unwrap();
            assert!(queue.info().unwrap().closed);
            all_say(&mut peers, &end.to_string());
        }
        peers.into_iter().for_each(Peer::finish);
        assert_eq!(queue.info().unwrap().producer.unwrap().epoch, ENDS);
    }
}

/// Keeps what it has been lent until told otherwise, then reads to the end.
fn keep(arguments: &[&str]) {
    let [name, orders, before, count] = arguments else { panic!("{arguments:?}") };
    let queue = Queue::open(name).unwrap();
    let mut orders = Queue::open(orders).unwrap().subscribe(&Subscribe::new()).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    say(consumer.member());
    let mut ledger = Ledger::new(Contents::Imitations, 0);
    let before = number(before);
    while ledger.next < before {
        ledger.note(&consumer.receive().unwrap());
    }
    let batch = consumer.receive_batch(number(count)).unwrap().message().unwrap();
    let kept: Vec<_> = batch.collect();
    say(kept.len());
    loop {
        let is_over = orders.try_receive().unwrap() != Received::Empty;
        ledger.next = before;
        for message in &kept {
            ledger.note(&Received::Message(*message));
        }
        if is_over {
            break;
        }
    }
    while ledger.note(&consumer.receive().unwrap()) {}
    say(ledger.next);
}

#[test]
fn what_is_lent_stays_as_it_is_until_the_next_call() {
    let _alive = watchdog();
    // Sectors have about 13 such messages: some of those kept end one, or lie in two.
    for before in 0..30 {
        for count in [1, 1_000] {
            let (name, orders) = (Name::new("keep"), Name::new("orders"));
            let orders_producer = small(&orders).producer().unwrap();
            let mut producer = small(&name).producer().unwrap();
            send_many(&mut producer, Contents::Imitations, 50);
            let arguments = [before, count].map(|number: u64| number.to_string());
            let mut peer = Peer::start("keep", &[&name, &orders, &arguments[0], &arguments[1]]);
            let member: u32 = number(&peer.hear());
            let kept: u64 = number(&peer.hear());
            assert!((1..=count).contains(&kept), "{kept}");
            loop {
                let payload = Contents::Imitations.of(producer.next_sequence());
                if producer.try_send(&payload).unwrap() == Sent::Full {
                    break;
                }
            }
            let largest = vec![0; producer.message_size_max()];
            for _ in 0..1_000 {
                assert_eq!(producer.try_send(&largest).unwrap(), Sent::Full);
                assert_eq!(holding_members(&producer), [member]);
            }
            orders_producer.close().unwrap();
            send_many(&mut producer, Contents::Imitations, 500);
            let end = producer.next_sequence();
            producer.close().unwrap();
            peer.await_word(&end.to_string());
            peer.finish();
        }
    }
}

/// Observes to the end, as somebody who may write too or only read.
fn look_on(arguments: &[&str]) {
    let [name, owner, rights] = arguments else { panic!("{arguments:?}") };
    let queue = if *rights == "read" {
        // Root may write what nobody else may.
        become_nobody();
        let queue = Queue::open_owned_by(name, number(owner)).unwrap();
        let refused = [
            queue.subscribe(&Subscribe::new()).map(drop),
            queue.producer().map(drop),
            queue.clear_dead().map(drop),
        ];
        for refused in refused.map(Result::unwrap_err) {
            assert!(matches!(refused, Error::PermissionDenied { .. }), "{refused}");
        }
        queue
    } else {
        Queue::open(name).unwrap()
    };
    let mut reader = Reader::join(&queue, "observe", Wait::Park, Start::Oldest).unwrap();
    let mut ledger = Ledger::new(Contents::Mixed, reader.next_sequence());
    let seen = queue.info().unwrap().next_sequence;
    while ledger.next < seen {
        assert!(ledger.note(&reader.receive()));
    }
    assert_eq!(reader.try_receive(), Received::Empty);
    say("seen");
    while ledger.note(&reader.receive()) {}
    say(ledger.next);
    while !queue.info().unwrap().removed {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(reader.receive(), Received::Closed);
}

/// The bytes of the control region, which is all that consumers write.
fn control_region(file: &File) -> Vec<u8> {
    let word = |name| {
        let is_it = |field: &layout::Field| field.part == "Header" && field.name == name;
        let field = layout::fields().find(is_it).unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, field.offset as u64).unwrap();
        u64::from_le_bytes(bytes)
    };
    let mut bytes = vec![0; usize::try_from(word("control_size")).unwrap()];
    file.read_exact_at(&mut bytes, word("control_offset")).unwrap();
    bytes
}

fn observe_and_compare(rights: &str) {
    let name = Name::new("look-on");
    let queue = small(&name);
    // A consumer has been here, and left what consumers leave.
    drop(queue.subscribe(&Subscribe::new()).unwrap());
    let mut producer = queue.producer().unwrap();
    send_many(&mut producer, Contents::Mixed, 50);
    let file = File::open(name.path()).unwrap();
    let (control, all) = (control_region(&file), std::fs::read(name.path()).unwrap());
    if rights == "read" {
        std::fs::set_permissions(name.path(), Permissions::from_mode(0o444)).unwrap();
    }

    let owner = file.metadata().unwrap().uid().to_string();
    let mut peer = Peer::start("look on", &[&name, &owner, rights]);
    peer.await_word("seen");
    // It sleeps between its looks.
    thread::sleep(Duration::from_millis(20));
    assert!(all == std::fs::read(name.path()).unwrap(), "the observer has written");
    for _ in 0..100 {
        send_many(&mut producer, Contents::Mixed, 200);
        assert!(control == control_region(&file), "the observer has written");
        assert!(queue.info().unwrap().consumers.is_empty());
    }
    let end = producer.next_sequence();
    producer.close().unwrap();
    peer.await_word(&end.to_string());
    assert!(control == control_region(&file), "the observer has written");
    // Whoever removes a queue opens it to write.
    std::fs::set_permissions(name.path(), Permissions::from_mode(0o600)).unwrap();
    // An observer does not count as a user.
    Queue::remove(&name).unwrap();
    peer.finish();
}

#[test]
fn an_observer_changes_nothing_and_needs_no_right_to() {
    let _alive = watchdog();
    observe_and_compare("read and write");
    observe_and_compare("read");
}
