//! Waiting: no call is ever lost, whoever sleeps uses no processor, and nobody pays for sleepers
//! that do not exist.

#![allow(clippy::print_stderr, reason = "measurements are for whoever reads the test's output")]
#![allow(clippy::disallowed_types, reason = "tests run without loom")]

mod support;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{
    Consumer, Lag, Observer, Producer, Queue, QueueOptions, Received, Sent, Start, Subscribe, Wait,
    layout,
};
use support::{Name, Peer, assert_message, holding_members, play, say, watchdog};

const CAPACITY: u64 = 64 << 10;
const WAITS: [Wait; 3] = [Wait::Spin, Wait::Backoff, Wait::Park];

#[test]
fn peer() {
    play(&[
        ("answer", answer),
        ("fill", fill),
        ("park", park),
        ("park and look on", park_and_look_on),
        ("work in a jail", work_in_a_jail),
        ("send late", send_late),
        ("take late", take_late),
    ]);
}

fn small(name: &Name) -> Queue {
    Queue::create(name, &QueueOptions::new().capacity(CAPACITY)).unwrap()
}

/// About how many sleeps there are to be.
fn sleeps_wanted() -> u64 {
    std::env::var("RINGWAY_SLEEPS").map_or(100_000, |text| text.parse().unwrap())
}

fn parked() -> Subscribe {
    Subscribe::new().from(Start::Oldest).wait(Wait::Park)
}

/// How a peer is to wait: by parking, unless it is told otherwise.
fn wait_of(arguments: &[&str]) -> Wait {
    match arguments.get(1) {
        Some(&"backoff") => Wait::Backoff,
        _ => Wait::Park,
    }
}

/// A segment as it lies in its file, where everybody can look without taking part.
struct View {
    file: File,
    control: u64,
    member: u64,
}

impl View {
    fn of(queue: &str) -> Self {
        let file = File::open(format!("/dev/shm/ringway.{queue}")).unwrap();
        let mut view = Self { file, control: 0, member: 0 };
        view.control = view.word("Header", "control_offset");
        // The members' lines, and behind them the shares, end the control region.
        let table_size = |part, count| {
            let sizes = layout::fields().filter(|field| field.part == part);
            view.word("Header", count) * sizes.map(|field| field.size as u64).sum::<u64>()
        };
        let tables_size = table_size("Member", "members") + table_size("Share", "shares");
        view.member = view.control + view.word("Header", "control_size") - tables_size;
        view
    }

    /// A word of the header, of the events, or of the first member's line.
    fn word(&self, part: &str, name: &str) -> u64 {
        let is_it = |field: &layout::Field| field.part == part && field.name == name;
        let field = layout::fields().find(is_it).unwrap();
        let start = match part {
            "Header" => 0,
            "Control" => self.control,
            _ => self.member,
        };
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes[..field.size], start + field.offset as u64).unwrap();
        u64::from_le_bytes(bytes)
    }
}

#[test]
fn no_call_is_lost_where_the_words_of_sleepers_begin_anew() {
    const ROUNDS: u64 = 8;
    let _alive = watchdog();
    let name = Name::new("wrap");
    let queue = small(&name);
    let view = View::of(&name);
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    for event in ["data_event", "room_event"] {
        let field = layout::fields().find(|field| field.name == event).unwrap();
        let nearly = u32::MAX - 5;
        file.write_all_at(&nearly.to_le_bytes(), view.control + field.offset as u64).unwrap();
    }
    let is_asleep = |event| view.word("Control", event) % 2 == 1;
    let await_sleep = |event| {
        while !is_asleep(event) {
            thread::yield_now();
        }
    };
    let mut consumer = queue.subscribe(&parked()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.set_wait(Wait::Park);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            for sequence in 0..ROUNDS {
                assert_message(consumer.receive(), sequence, &[1; 1_000]);
            }
        });
        for _ in 0..ROUNDS {
            await_sleep("data_event");
            producer.send(&[1; 1_000]).unwrap();
        }
        receiver.join().unwrap();
    });
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut waits = 0;
            while waits < ROUNDS {
                let is_full = producer.try_send(&[1; 1_000]).unwrap() == Sent::Full;
                if is_full {
                    waits += 1;
                    producer.send(&[1; 1_000]).unwrap();
                }
            }
        });
        while !sender.is_finished() {
            if is_asleep("room_event") {
                for _ in 0..10 {
                    let _ = consumer.try_receive().unwrap();
                }
            }
        }
        sender.join().unwrap();
    });
    for event in ["data_event", "room_event"] {
        assert!(view.word("Control", event) < 100, "{event} has not begun anew");
    }
    let info = queue.info().unwrap();
    assert_eq!(info.consumers[0].late_wakes, 0);
}

#[test]
fn the_fence_is_the_producers_while_somebody_sleeps_before_each_message() {
    let _watchdog = watchdog();
    let name = Name::new("whose-fence");
    let queue = small(&name);
    let mut producer = queue.producer().unwrap();
    let view = View::of(&name);
    if view.word("Header", "barrier") == 0 {
        eprintln!("skipped: the kernel has no barrier for other processes");
        return;
    }
    for _ in 0..2 {
        let mut consumer = queue.subscribe(&parked().from(Start::Newest)).unwrap();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                for _ in 0..10 {
                    assert!(consumer.receive().unwrap().message().is_some());
                }
            });
            for _ in 0..10 {
                while view.word("Control", "data_event").is_multiple_of(2) {
                    thread::yield_now();
                }
                producer.send(b"to one who sleeps").unwrap();
            }
            receiver.join().unwrap();
        });
        assert_eq!(view.word("Header", "barrier"), 0);
        assert_eq!(queue.info().unwrap().consumers[0].late_wakes, 0);
        drop(consumer);
        for _ in 0..10_000 {
            producer.send(b"to nobody").unwrap();
        }
        assert_eq!(view.word("Header", "barrier"), 1);
    }
}

#[test]
fn no_call_is_lost_while_the_fence_changes_hands() {
    const ONE_BY_ONE: u64 = 6;
    const BURST: u64 = 3_000;
    let rounds = sleeps_wanted() / 100;
    let _watchdog = watchdog();
    let name = Name::new("hands");
    let queue = small(&name);
    let mut producer = queue.producer().unwrap();
    let mut consumer = queue.subscribe(&parked()).unwrap();
    let view = View::of(&name);
    let send_next = |producer: &mut Producer| {
        let sequence = producer.next_sequence();
        producer.send(&sequence.to_le_bytes()).unwrap();
    };
    let mut given_back = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..rounds * (ONE_BY_ONE + BURST) {
                assert_message(consumer.receive(), sequence, &sequence.to_le_bytes());
            }
        });
        for _ in 0..rounds {
            for _ in 0..ONE_BY_ONE {
                while view.word("Control", "data_event").is_multiple_of(2) {
                    thread::yield_now();
                }
                send_next(&mut producer);
            }
            assert_eq!(view.word("Header", "barrier"), 0);
            for _ in 0..BURST {
                send_next(&mut producer);
            }
            given_back += view.word("Header", "barrier");
        }
    });
    eprintln!("the fence was given back {given_back} times in {rounds} rounds");
    assert_eq!(queue.info().unwrap().consumers[0].late_wakes, 0);
}

/// A thread of a peer, as the kernel sees it.
struct Watched(File);

impl Watched {
    /// The peer has said its thread's number.
    fn new(peer: &mut Peer) -> Self {
        let thread = peer.hear();
        Self(File::open(format!("/proc/{}/task/{thread}/stat", peer.id())).unwrap())
    }

    fn is_asleep(&self) -> bool {
        let mut text = [0; 512];
        let size = self.0.read_at(&mut text, 0).unwrap();
        let name_end = text[..size].iter().rposition(|&byte| byte == b')').unwrap();
        text[name_end + 2] == b'S'
    }
}

fn say_own_thread() {
    // SAFETY: a call that cannot fail.
    say(unsafe { libc::gettid() });
}

/// How long to let somebody wait so that what he waits for comes just when he falls asleep: the
/// more often he was found asleep, the shorter. About four times out of five he is.
struct Aim {
    nanoseconds: u64,
    /// How often in a row it was too long, or too short.
    streak: u32,
    was_asleep: bool,
    random: u64,
}

impl Aim {
    fn new() -> Self {
        let random = 0x2545_f491_4f6c_dd1d;
        Self { nanoseconds: 100_000, streak: 0, was_asleep: false, random }
    }

    fn wait(&mut self, was_asleep: bool) {
        self.streak = if was_asleep == self.was_asleep { self.streak + 1 } else { 0 };
        self.was_asleep = was_asleep;
        // Small steps around the point, larger ones on the way there.
        let step = self.nanoseconds / 256;
        if was_asleep {
            self.nanoseconds -= step << (self.streak / 8).min(3);
        } else {
            self.nanoseconds += (4 * step + 50) << self.streak.min(3);
        }
        if self.nanoseconds > 10_000_000 {
            // Others had the processors.
            self.nanoseconds = 100_000;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let stray = self.random % 1_000;
        let (start, wait) = (Instant::now(), Duration::from_nanos(self.nanoseconds + stray));
        while start.elapsed() < wait {
            if start.elapsed() + Duration::from_micros(20) < wait {
                thread::yield_now();
            }
        }
    }
}

/// What is sent to and fro: so much that the stores of a send are still on their way to the other
/// processor when the sender looks whether anybody sleeps. That is when a fence matters.
fn ball(round: u64) -> Vec<u8> {
    round.to_le_bytes().repeat(256)
}

/// One of two who send each other one message at a time. Each lets the other wait until it has
/// just fallen asleep, or is about to.
struct Player {
    to: Producer,
    from: Consumer,
    /// Where the other's line is the first member's.
    other: View,
    others_sleeps: u64,
    aim: Aim,
    round: u64,
}

impl Player {
    fn new(to: &str, from: &str) -> Self {
        let queue = Queue::open(to).unwrap();
        Self {
            to: queue.producer().unwrap(),
            from: Queue::open(from).unwrap().subscribe(&parked()).unwrap(),
            other: View::of(to),
            others_sleeps: 0,
            aim: Aim::new(),
            round: 0,
        }
    }

    fn send(&mut self) {
        assert_eq!(self.to.send(&ball(self.round)).unwrap(), self.round);
    }

    /// `false` once the other has ended the game.
    fn receive(&mut self) -> bool {
        match self.from.receive().unwrap() {
            Received::Message(message) => {
                assert_eq!(message.sequence(), self.round);
                assert_eq!(message.payload(), ball(self.round));
                self.round += 1;
            }
            Received::Closed => return false,
            other => panic!("{other:?} in round {}", self.round),
        }
        let sleeps = self.other.word("Member", "sleeps");
        self.aim.wait(sleeps > self.others_sleeps);
        self.others_sleeps = sleeps;
        true
    }
}

/// Receives all there is, beside a player, and parks as often.
fn listen(queue: &str) {
    let mut consumer = Queue::open(queue).unwrap().subscribe(&parked()).unwrap();
    let mut next = consumer.next_sequence();
    while let Received::Message(message) = consumer.receive().unwrap() {
        assert_eq!(message.sequence(), next);
        next += 1;
    }
}

fn answer(arguments: &[&str]) {
    let [to, from] = arguments else { panic!("two queues") };
    let mut player = Player::new(to, from);
    thread::scope(|scope| {
        scope.spawn(|| listen(from));
        say("ready");
        while player.receive() {
            player.round -= 1;
            player.send();
            player.round += 1;
        }
        player.to.close().unwrap();
    });
}

#[test]
fn no_call_is_lost_between_two_who_find_each_other_asleep() {
    const ROUNDS_A_WATCH: u64 = 4096;
    let wanted = sleeps_wanted();
    let (there, back) = (Name::new("there"), Name::new("back"));
    let options = QueueOptions::new().capacity(CAPACITY).members(2);
    let queues = [&there, &back].map(|name| Queue::create(name, &options).unwrap());
    let mut player = Player::new(&there, &back);
    let mut peer = Peer::start("answer", &[&back, &there]);
    peer.await_word("ready");
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| listen(&back));
        let (sleeps, late_wakes) = loop {
            let _alive = watchdog();
            for _ in 0..ROUNDS_A_WATCH {
                player.send();
                assert!(player.receive());
            }
            let infos = queues.iter().flat_map(|queue| queue.info().unwrap().consumers);
            let (sleeps, late_wakes) = infos.fold((0, 0), |(sleeps, late_wakes), consumer| {
                (sleeps + consumer.sleeps, late_wakes + consumer.late_wakes)
            });
            if sleeps >= wanted || late_wakes > 0 {
                break (sleeps, late_wakes);
            }
        };
        let (time, rounds) = (start.elapsed(), player.round);
        eprintln!("{sleeps} sleeps, {late_wakes} late wakes, {rounds} rounds in {time:?}");
        player.to.close().unwrap();
        assert_eq!(late_wakes, 0);
    });
    peer.finish();
}

fn filling(sequence: u64) -> Vec<u8> {
    let size = 700 + sequence % 300;
    (0..size).map(|at| (sequence.wrapping_add(at) & 0xff) as u8).collect()
}

/// Sends until the queue is removed.
fn fill(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    producer.set_wait(wait_of(arguments));
    say_own_thread();
    while producer.send(&filling(producer.next_sequence())).is_ok() {}
}

#[test]
fn a_parked_producer_is_called_whenever_there_is_room() {
    const ROUNDS: u32 = 10_000;
    let _alive = watchdog();
    let name = Name::new("room");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(CAPACITY).members(1)).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    let mut peer = Peer::start("fill", &[&name]);
    let producer = Watched::new(&mut peer);
    let view = View::of(&name);
    let licence = || view.word("Header", "licence");
    let room_event = || view.word("Control", "room_event");
    let licence_of_cursor = || view.word("Member", "cursor") + CAPACITY;
    let mut aim = Aim::new();
    let (mut asleep, mut sleeps) = (false, 0);
    let mut next = 0;
    for _ in 0..ROUNDS {
        // It has asked, and been refused.
        while licence() <= licence_of_cursor() {
            thread::yield_now();
        }
        aim.wait(asleep);
        let (refused, before) = (licence(), room_event());
        asleep = before % 2 == 1 && producer.is_asleep();
        while licence_of_cursor() < refused {
            let message = consumer.try_receive().unwrap().message().unwrap();
            assert_eq!(message.sequence(), next);
            assert_eq!(message.payload(), filling(next));
            next += 1;
        }
        if asleep {
            sleeps += 1;
            assert_ne!(room_event(), before, "nobody called the producer");
        }
        // It goes on by itself, unless it has fallen asleep over the room.
        while licence() == refused {
            let before = room_event();
            let asleep = producer.is_asleep();
            let unmoved = (refused, before) == (licence(), room_event());
            assert!(!(before % 2 == 1 && asleep && unmoved), "it sleeps although there is room");
        }
    }
    eprintln!("the producer was found asleep {sleeps} times, and {ROUNDS} times without room");
    assert!(sleeps > 0);
    drop(consumer);
    Queue::force_remove(&name).unwrap();
    peer.finish();
}

/// Waits until the stream ends.
fn park(arguments: &[&str]) {
    let options = parked().wait(wait_of(arguments));
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&options).unwrap();
    say_own_thread();
    let mut next = 0;
    while let Received::Message(message) = consumer.receive().unwrap() {
        assert_eq!(message.sequence(), next);
        next += 1;
    }
}

#[test]
fn one_send_calls_all_who_are_parked() {
    const PEERS: usize = 5;
    const ROUNDS: u64 = 300;
    let _alive = watchdog();
    let name = Name::new("all");
    let queue = small(&name);
    let mut producer = queue.producer().unwrap();
    let mut peers: Vec<_> = (0..PEERS).map(|_| Peer::start("park", &[&name])).collect();
    let threads: Vec<_> = peers.iter_mut().map(Watched::new).collect();
    let view = View::of(&name);
    let data_event = || view.word("Control", "data_event");
    for _ in 0..ROUNDS {
        while !(threads.iter().all(Watched::is_asleep) && data_event() % 2 == 1) {
            thread::yield_now();
        }
        let before = data_event();
        producer.send(b"all of you").unwrap();
        assert_ne!(data_event(), before, "nobody was called");
        for thread in &threads {
            // Who is awake has to announce its next sleep.
            let before = data_event();
            let asleep = thread.is_asleep();
            let unannounced = before.is_multiple_of(2) && before == data_event();
            assert!(!(asleep && unannounced), "one of the sleepers was not called");
        }
        let consumers = || queue.info().unwrap().consumers.into_iter();
        while !consumers().all(|consumer| consumer.lag_bytes == 0) {
            thread::yield_now();
        }
    }
    let consumers = queue.info().unwrap().consumers;
    assert_eq!(consumers.len(), PEERS);
    for consumer in consumers {
        assert_eq!(consumer.late_wakes, 0, "{consumer:?}");
        assert!(consumer.sleeps >= ROUNDS, "{consumer:?}");
    }
    producer.close().unwrap();
    peers.into_iter().for_each(Peer::finish);
}

/// Whoever is killed between the word of a call and the call itself leaves others asleep whom nobody
/// else calls: by the word that has been done. The place of this one is a dead member's.
#[test]
fn whoever_ends_a_dead_member_makes_the_call_that_it_may_have_died_over() {
    let _alive = watchdog();
    let name = Name::new("half-a-call");
    let queue = small(&name);
    for field in ["data_event", "room_event"] {
        let mut peer = Peer::start("park", &[&name]);
        peer.hear();
        peer.kill();
        let word = MappedWord::of(&name, field);
        let asleep = word.load() | 1;
        word.store(asleep);
        thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let word = &word;
            scope.spawn(move || {
                // SAFETY: a call that cannot fail.
                tell.send(unsafe { libc::gettid() }).unwrap();
                word.sleep_while(asleep);
            });
            let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap());
            let sleeper = Watched(File::open(stat).unwrap());
            while !sleeper.is_asleep() {
                thread::yield_now();
            }
            word.store(asleep.wrapping_add(1));
            assert_eq!(queue.clear_dead().unwrap(), 1);
        });
    }
}

/// A word of the control region, where it can be slept on.
struct MappedWord {
    map: *mut libc::c_void,
    offset: usize,
}

// SAFETY: the word is an atomic one, and the mapping stays until it is dropped.
unsafe impl Sync for MappedWord {}

impl MappedWord {
    const SIZE: usize = 4096;

    fn of(queue: &str, field: &str) -> Self {
        let control = View::of(queue).control;
        let found = layout::fields().find(|f| f.part == "Control" && f.name == field).unwrap();
        let path = format!("/dev/shm/ringway.{queue}");
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (access, begin) = (libc::PROT_READ | libc::PROT_WRITE, i64::try_from(control).unwrap());
        let (null, shared) = (std::ptr::null_mut(), libc::MAP_SHARED);
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        // SAFETY: a new mapping, wherever there is room for one.
        let map = unsafe { libc::mmap(null, Self::SIZE, access, shared, descriptor, begin) };
        assert_ne!(map, libc::MAP_FAILED);
        Self { map, offset: found.offset }
    }

    fn word(&self) -> &AtomicU32 {
        assert!(self.offset + 4 <= Self::SIZE);
        // SAFETY: it lies within the mapping.
        let word = unsafe { self.map.byte_add(self.offset) };
        // SAFETY: everybody uses it as an atomic word, as long as it is mapped.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }

    fn load(&self) -> u32 {
        self.word().load(Ordering::SeqCst)
    }

    fn store(&self, value: u32) {
        self.word().store(value, Ordering::SeqCst);
    }

    /// Until it is called, if the word is this one.
    fn sleep_while(&self, value: u32) {
        let no_limit = std::ptr::null::<libc::timespec>();
        let word = std::ptr::from_ref(self.word());
        // SAFETY: the word is there, and no limit is given.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, no_limit) };
    }
}

impl Drop for MappedWord {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { libc::munmap(self.map, Self::SIZE) };
    }
}

fn park_and_look_on(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut observer = queue.observe_with(Start::Newest, Wait::Park).unwrap();
    say_own_thread();
    assert_eq!(observer.receive().unwrap(), Received::Closed);
}

/// The time that a process has had on a processor.
fn processor_time(process: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    // The state is the third field; user's and system's time are the 14th and 15th.
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|f| f.parse::<u64>().unwrap()).sum();
    // SAFETY: a call without pointers.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_millis(ticks * 1000 / ticks_per_second.unsigned_abs())
}

/// The time is the processor's, of which an idle process gets none, however busy others are.
#[test]
fn whoever_waits_for_long_uses_no_processor_unless_it_spins() {
    let _alive = watchdog();
    let (quiet, full) = (Name::new("quiet"), [Name::new("full-1"), Name::new("full-2")]);
    let producer = small(&quiet).producer().unwrap();
    let slow = full.each_ref().map(|full| {
        small(full).subscribe(&Subscribe::new().from(Start::Oldest)).expect("a slow consumer")
    });
    let mut peers = [
        ("park", &quiet, "park"),
        ("park", &quiet, "backoff"),
        ("park and look on", &quiet, "park"),
        ("fill", &full[0], "park"),
        ("fill", &full[1], "backoff"),
    ]
    .map(|(role, name, wait)| Peer::start(role, &[name, wait]));
    let threads: Vec<_> = peers.iter_mut().map(Watched::new).collect();
    while !threads.iter().all(Watched::is_asleep) {
        thread::yield_now();
    }
    let before: Vec<_> = peers.iter().map(|peer| processor_time(peer.id())).collect();
    thread::sleep(Duration::from_secs(1));
    for (peer, before) in peers.iter().zip(before) {
        let used = processor_time(peer.id()).saturating_sub(before);
        eprintln!("waited for a second: {used:?} of a processor");
        assert!(used < Duration::from_millis(200), "{used:?}");
    }
    producer.close().unwrap();
    drop(slow);
    for name in &full {
        Queue::force_remove(name).unwrap();
    }
    peers.into_iter().for_each(Peer::finish);
}

/// What a process may ask of the kernel from then on.
#[derive(Clone, Copy)]
enum Jail {
    /// Nothing but to write to open files, to end, and to ask for the time, which most machines
    /// tell without a call. Not the strict mode of `seccomp(2)`: that forbids the instruction too
    /// that reads the time without one.
    Strict,
    /// Also whether a file is still there.
    Looks,
}

impl Jail {
    fn lock(self) {
        let looks = [libc::SYS_statx, libc::SYS_newfstatat];
        let others = [libc::SYS_write, libc::SYS_exit, libc::SYS_clock_gettime];
        match self {
            Self::Strict => forbid_all_but(&others),
            Self::Looks => forbid_all_but(&[&looks[..], &others].concat()),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "codes that the fields are made for")]
fn forbid_all_but(allowed: &[libc::c_long]) {
    let count = allowed.len() as u8;
    let command = |code: u32, k, jt| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut program = vec![command(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    program.extend(allowed.iter().zip(0..).map(|(&call, at)| {
        command(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            call.cast_unsigned() as u32,
            count - at,
        )
    }));
    program.push(command(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS, 0));
    program.push(command(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a call without pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: the program outlives the call.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0);
}

/// Leaves without the calls that an ordinary end makes.
fn leave(code: i32) -> ! {
    // SAFETY: ends the thread, which is the only one.
    unsafe { libc::syscall(libc::SYS_exit, code) };
    unreachable!("it is over");
}

/// Lets a child do something, and has its status once it has ended. The child has one thread,
/// so that a jail that ends a thread ends the child.
fn status_of_child(act: impl FnOnce()) -> libc::c_int {
    // SAFETY: the child uses nothing that another thread may have locked: not the output, unless
    // it fails, and the allocator sees to itself.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a call without pointers: nobody shall outlive the test.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // The usual hook makes calls that a jail forbids.
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            leave(1);
        }));
        act();
        leave(0);
    }
    let mut status = 0;
    // SAFETY: the status outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

/// All ends of a queue, in one thread. Nobody ever waits.
struct Ends {
    producer: Producer,
    holding: Consumer,
    skipping: Consumer,
    /// A ring behind now and then.
    late: Consumer,
    observer: Observer,
    turns: usize,
    sent: u64,
    missed: u64,
}

impl Ends {
    fn new(name: &Name, capacity: u64) -> Self {
        let queue = Queue::create(name, &QueueOptions::new().capacity(capacity)).unwrap();
        let join = |lag, wait| {
            queue.subscribe(&Subscribe::new().from(Start::Oldest).on_lag(lag).wait(wait)).unwrap()
        };
        Self {
            producer: queue.producer().unwrap(),
            holding: join(Lag::Hold, Wait::Park),
            skipping: join(Lag::Skip, Wait::Backoff),
            late: join(Lag::Skip, Wait::Spin),
            observer: queue.observe(Start::Oldest).unwrap(),
            turns: 0,
            sent: 0,
            missed: 0,
        }
    }

    fn work(&mut self, messages: u64) {
        const LATE_AFTER: u64 = 100_000;
        const EMPTY_LOOKS: u64 = 5_000;
        let payload = [7; 1000];
        let end = self.sent + messages;
        while self.sent < end {
            let first = self.sent;
            let payload = &payload[..[8, 64, 1000][self.turns % 3]];
            self.turns += 1;
            match self.turns / 3 % 4 {
                0 => self.sent = self.producer.send(payload).unwrap() + 1,
                1 => {
                    let mut claim = self.producer.claim(payload.len()).unwrap();
                    claim.copy_from_slice(payload);
                    self.sent = claim.commit().unwrap() + 1;
                }
                2 => {
                    let mut batch = self.producer.batch();
                    batch.extend([payload; 13]).unwrap();
                    batch.push(payload).unwrap();
                    self.sent = batch.commit().unwrap().end;
                }
                _ => {
                    let sent = self.producer.try_send(payload).unwrap();
                    self.sent = sent.sequence().unwrap() + 1;
                }
            }
            while self.holding.next_sequence() < self.sent {
                let batch = self.holding.receive_batch(5).unwrap().message().unwrap();
                assert!(batch.map(|message| message.payload().len()).all(|size| size >= 8));
            }
            for sequence in first..self.sent {
                let message = self.skipping.receive().unwrap().message().unwrap();
                assert_eq!((message.sequence(), message.payload()), (sequence, payload));
                let message = self.observer.try_receive().unwrap().message().unwrap();
                assert_eq!(message.sequence(), sequence);
            }
            if first / LATE_AFTER != self.sent / LATE_AFTER {
                self.catch_up();
            }
        }
        for _ in 0..EMPTY_LOOKS {
            assert_eq!(self.holding.try_receive().unwrap(), Received::Empty);
        }
    }

    fn catch_up(&mut self) {
        while self.late.next_sequence() < self.sent {
            match self.late.try_receive().unwrap() {
                Received::Message(_) => {}
                Received::Missed { from, to } => self.missed += to - from,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Does in a child, behind bars, what the arguments say.
fn work_in_a_jail(arguments: &[&str]) {
    let [jail, work] = arguments else { panic!("a jail, and what to do there") };
    let jail = if *jail == "strict" { Jail::Strict } else { Jail::Looks };
    let status = match *work {
        "yield" => status_of_child(|| {
            jail.lock();
            thread::yield_now();
        }),
        "send" => {
            // The look whether the queue is still there comes once in 1024 sectors.
            let capacity = if let Jail::Strict = jail { 16 << 20 } else { CAPACITY };
            let name = Name::new("jail");
            status_of_child(|| {
                let mut ends = Ends::new(&name, capacity);
                ends.work(100_000);
                jail.lock();
                ends.work(1_000_000);
                assert!(ends.missed > 0);
                leave(0);
            })
        }
        _ => panic!("what to do there"),
    };
    say(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) });
}

#[test]
fn sends_and_receives_make_no_system_call_while_nobody_sleeps() {
    let _alive = watchdog();
    let mut peer = Peer::start("work in a jail", &["strict", "send"]);
    peer.await_word("0");
    peer.finish();
}

#[test]
fn in_a_small_ring_the_look_at_the_name_is_all_that_is_asked_of_the_system() {
    let _alive = watchdog();
    let mut peer = Peer::start("work in a jail", &["looks", "send"]);
    peer.await_word("0");
    peer.finish();
}

/// What the tests above rely on.
#[test]
fn a_jail_ends_whoever_makes_a_system_call() {
    let _alive = watchdog();
    for jail in ["strict", "looks"] {
        let mut peer = Peer::start("work in a jail", &[jail, "yield"]);
        assert_eq!(peer.hear(), (-libc::SIGSYS).to_string());
        peer.finish();
    }
}

#[test]
fn between_processes_nobody_makes_a_system_call_while_nobody_sleeps() {
    const MESSAGES: u64 = 300_000;
    let _alive = watchdog();
    let name = Name::new("spin");
    let queue = small(&name);
    let receive_all = || {
        // Skips, since a producer that is held asks who lives.
        let spinning = Subscribe::new().from(Start::Oldest).on_lag(Lag::Skip).wait(Wait::Spin);
        let mut consumer = queue.subscribe(&spinning).unwrap();
        let mut next = 0;
        let mut receive = |end| {
            while next < end {
                next = match consumer.receive().unwrap() {
                    Received::Message(message) => {
                        assert_eq!((message.sequence(), message.payload()), (next, &[5; 56][..]));
                        next + 1
                    }
                    Received::Missed { from, to } => {
                        assert_eq!(from, next);
                        to
                    }
                    other => panic!("{other:?}"),
                };
            }
        };
        receive(1);
        Jail::Looks.lock();
        receive(MESSAGES);
        leave(0);
    };
    let consumer = thread::scope(|scope| {
        let consumer = scope.spawn(|| status_of_child(receive_all));
        while queue.info().unwrap().consumers.is_empty() && !consumer.is_finished() {
            thread::yield_now();
        }
        let producer = status_of_child(|| {
            let mut producer = queue.producer().unwrap();
            producer.send(&[5; 56]).unwrap();
            Jail::Looks.lock();
            while producer.next_sequence() < MESSAGES {
                producer.send(&[5; 56]).unwrap();
            }
            leave(0);
        });
        assert_eq!(producer, 0, "the producer was killed, or failed");
        consumer.join().unwrap()
    });
    assert_eq!(consumer, 0, "the consumer was killed, or failed");
}

const TINY_TIMES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_micros(1),
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(7),
];

/// Times that end with no clock.
const ENDLESS_TIMES: [Duration; 3] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_secs(i64::MAX.unsigned_abs() / 2),
];

#[test]
fn a_receive_with_a_timeout_waits_that_long_and_then_says_so() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("timeout");
        let queue = small(&name);
        let mut producer = queue.producer().unwrap();
        let join = |lag| {
            queue.subscribe(&Subscribe::new().from(Start::Oldest).on_lag(lag).wait(wait)).unwrap()
        };
        let mut consumers = [Lag::Hold, Lag::Skip].map(join);
        let mut observer = queue.observe_with(Start::Oldest, wait).unwrap();
        for time in TINY_TIMES {
            let start = Instant::now();
            for consumer in &mut consumers {
                assert_eq!(consumer.receive_timeout(time).unwrap(), Received::TimedOut);
                let batch = consumer.receive_batch_timeout(9, time).unwrap();
                assert!(matches!(batch, Received::TimedOut));
            }
            assert_eq!(observer.receive_timeout(time).unwrap(), Received::TimedOut);
            assert!(start.elapsed() >= 5 * time, "{wait}, {time:?}");

            let sequence = producer.send(b"there").unwrap();
            for consumer in &mut consumers {
                let message = consumer.receive_timeout(time).unwrap().message().unwrap();
                assert_eq!(message.sequence(), sequence);
            }
            let message = observer.receive_timeout(time).unwrap().message().unwrap();
            assert_eq!(message.sequence(), sequence);
        }
        let [holding, mut skipping] = consumers;
        drop(holding);
        let from = producer.next_sequence();
        for _ in 0..200 {
            producer.send(&[0; 1000]).unwrap();
        }
        let missed = skipping.receive_timeout(Duration::ZERO).unwrap();
        assert!(matches!(missed, Received::Missed { from: first, .. } if first == from));
        while skipping.receive_timeout(Duration::ZERO).unwrap() != Received::TimedOut {}
        producer.close().unwrap();
        assert_eq!(skipping.receive_timeout(Duration::ZERO).unwrap(), Received::Closed);
    }
}

#[test]
fn a_send_with_a_timeout_waits_that_long_and_then_has_sent_nothing() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("full");
        let queue = small(&name);
        let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
        let mut producer = queue.producer().unwrap();
        producer.set_wait(wait);
        let mut sent = 0;
        while producer.send_timeout(b"fits", Duration::ZERO).unwrap() == Sent::Sequence(sent) {
            sent += 1;
        }
        for time in TINY_TIMES {
            let start = Instant::now();
            assert_eq!(producer.send_timeout(b"no room", time).unwrap(), Sent::TimedOut);
            assert!(producer.claim_timeout(7, time).unwrap().is_none());
            assert!(start.elapsed() >= 2 * time, "{wait}, {time:?}");
            assert_eq!(producer.next_sequence(), sent);
            assert_eq!(holding_members(&producer), [consumer.member()]);
        }
        while consumer.try_receive().unwrap() != Received::Empty {}
        for time in TINY_TIMES {
            assert_eq!(producer.send_timeout(b"room", time).unwrap(), Sent::Sequence(sent));
            producer.claim_timeout(4, time).unwrap().unwrap().commit().unwrap();
            sent += 2;
        }
    }
}

/// Lets whoever waits do so for some time.
fn dawdle() {
    thread::sleep(Duration::from_millis(130));
}

fn send_late(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    for _ in 0..2 * ENDLESS_TIMES.len() {
        dawdle();
        producer.send(b"late").unwrap();
    }
}

#[test]
fn an_endless_timeout_is_ended_by_a_message() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("late");
        let queue = small(&name);
        let mut consumer =
            queue.subscribe(&Subscribe::new().from(Start::Oldest).wait(wait)).unwrap();
        let peer = Peer::start("send late", &[&name]);
        for time in ENDLESS_TIMES {
            let message = consumer.receive_timeout(time).unwrap().message().unwrap();
            assert_eq!(message.payload(), b"late");
            let mut batch = consumer.receive_batch_timeout(2, time).unwrap().message().unwrap();
            assert_eq!(batch.next().unwrap().payload(), b"late");
        }
        peer.finish();
    }
}

fn take_late(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    say("here");
    dawdle();
    while let Received::Message(message) = consumer.receive().unwrap() {
        if message.sequence().is_multiple_of(100) {
            thread::sleep(Duration::from_millis(70));
        }
    }
}

#[test]
fn an_endless_timeout_is_ended_by_room() {
    let _alive = watchdog();
    for wait in WAITS {
        let name = Name::new("late");
        let mut producer = small(&name).producer().unwrap();
        producer.set_wait(wait);
        let mut peer = Peer::start("take late", &[&name]);
        peer.await_word("here");
        for sequence in 0..300 {
            let time = ENDLESS_TIMES[(sequence % 3) as usize];
            let sent = producer.send_timeout(&[1; 1000], time).unwrap();
            assert_eq!(sent, Sent::Sequence(sequence));
        }
        producer.close().unwrap();
        peer.finish();
    }
}
