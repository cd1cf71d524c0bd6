//! What dies, fails or is lost while messages go to disk. `RINGWAY_KILLS` says how many deaths
//! there are, `RINGWAY_SEED` replays a run.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::iter;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ringway::{AckMode, Acked, Archive, Error, Journal, JournalThread, Journaler, Lag, Queue};
use ringway::{Producer, QueueOptions, Received, Sent, Start, Subscribe};
use support::history::{files, payload, receive_until, send_for_ever, send_until, write_files};
use support::namespace::{own_small_disk, own_small_memory};
use support::segment::{field, header, header_word, member_offset};
use support::{
    Directory, Name, Over, Peer, Random, limit_files, number_from, play, refuse, say, stop_here,
    watchdog, watchdog_of,
};

const CAPACITY: u64 = 64 << 10;

#[test]
fn peer() {
    play(&[
        ("send for ever", send_for_ever),
        ("keep a journal", keep_a_journal),
        ("run into a limit", run_into_a_limit),
        ("have no space for a while", have_no_space_for_a_while),
        ("be told twice", be_told_twice),
        ("begin a file without space", begin_a_file_without_space),
        ("have no space at all", have_no_space_at_all),
        ("fall back behind the files", fall_back_behind_the_files),
        ("fill a small disk", fill_a_small_disk),
        ("run out of files", run_out_of_files),
        ("remove without files", remove_without_files),
        ("begin a file without its name", begin_a_file_without_its_name),
        ("make what does not fit", make_what_does_not_fit),
        ("cut without room", cut_without_room),
        ("send a text", send_a_text),
        ("write a text down", write_a_text_down),
        ("share a text", share_a_text),
        ("have no thread", have_no_thread),
    ]);
}

fn kills() -> u64 {
    std::env::var("RINGWAY_KILLS").map_or(12, |text| text.parse().expect("a number"))
}

fn options(directory: &Directory) -> QueueOptions {
    QueueOptions::new().capacity(CAPACITY).members(8).history(directory.path())
}

fn keep_a_journal(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut journaler = loop {
        match queue.journaler() {
            Ok(journaler) => break journaler,
            // The producer writes in its place at this moment.
            Err(Error::JournalerAlive { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    say("begins");
    journaler.run(&AtomicBool::new(false)).unwrap();
}

fn assert_whole(directory: &Directory, durable: u64) {
    let archive = Archive::open(directory.path()).unwrap();
    let mut next = 0;
    for message in archive.messages(0).unwrap() {
        let message = message.unwrap();
        assert_eq!((message.sequence, message.payload), (next, payload(next)));
        next += 1;
    }
    assert!(next >= durable, "{durable} were durable, {next} are there");
}

/// So many deaths meet one journal, which is read as a whole after each.
const DEATHS_PER_JOURNAL: usize = 25;

#[test]
fn what_was_durable_is_there_whoever_was_killed() {
    let mut random = Random::from_environment();
    for begin in (0..kills()).step_by(DEATHS_PER_JOURNAL) {
        let left = kills() - begin;
        kill_those_who_write(left.min(DEATHS_PER_JOURNAL as u64), &mut random);
    }
}

fn kill_those_who_write(kills: u64, random: &mut Random) {
    let name = Name::new("killed");
    let directory = Directory::new(&name);
    let options = options(&directory).journal(Journal::SyncedAlways);
    let mut queue = Queue::create(&name, &options).unwrap();
    for _ in 0..kills {
        let _alive = watchdog();
        let has_journaler = random.below(3) > 0;
        let mut producer = Peer::start("send for ever", &[&name, "flush"]);
        let mut journaler = has_journaler.then(|| Peer::start("keep a journal", &[&name]));
        producer.await_word("begins");
        if let Some(journaler) = &mut journaler {
            journaler.await_word("begins");
        }
        thread::sleep(Duration::from_micros(random.below(30_000)));
        let ends = [Some(producer), journaler];
        // In either order, and sometimes at once.
        let mut ends: Vec<_> = ends.into_iter().flatten().collect();
        if random.below(2) == 0 {
            ends.reverse();
        }
        for end in ends {
            end.kill();
            thread::sleep(Duration::from_micros(random.below(2) * random.below(5_000)));
        }
        let durable = queue.durable_sequence().unwrap();
        if random.below(2) == 0 {
            // As after a restart of the machine.
            fs::remove_file(name.path()).unwrap();
            assert_whole(&directory, durable);
            queue = Queue::create(&name, &options).unwrap();
            assert!(queue.producer().unwrap().next_sequence() >= durable);
        } else {
            assert!(queue.info().unwrap().next_sequence >= durable);
            let mut producer = queue.producer().unwrap();
            producer.flush().unwrap();
            assert_whole(&directory, producer.next_sequence());
        }
    }
}

#[test]
fn who_lags_gets_everything_although_the_producer_is_killed() {
    let mut random = Random::from_environment();
    let name = Name::new("spill-killed");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    let mut near = queue.subscribe(&spilling).unwrap();
    let mut far = queue.subscribe(&spilling).unwrap();
    for _ in 0..kills() {
        let _alive = watchdog();
        let mut producer = Peer::start("send for ever", &[&name]);
        producer.await_word("begins");
        thread::sleep(Duration::from_micros(random.below(30_000)));
        producer.kill();
        // Who takes over finds the end.
        let end = queue.producer().unwrap().next_sequence();
        receive_until(&mut near, end);
        let next = far.next_sequence();
        receive_until(&mut far, next + random.below(end - next + 1));
    }
    let _alive = watchdog();
    let end = near.next_sequence();
    receive_until(&mut far, end);
}

/// Sends where no file may become larger than a megabyte: the same error as on a full disk, for
/// one process alone.
fn run_into_a_limit(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let has_journal = queue.info().unwrap().journal.is_some();
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    let mut slow = (!has_journal).then(|| queue.subscribe(&spilling).unwrap());
    let mut producer = queue.producer().unwrap();
    limit_files(1 << 20).unwrap();
    let error = loop {
        if let Err(error) = producer.send(&payload(producer.next_sequence())) {
            break error;
        }
    };
    let sent = producer.next_sequence();
    let Error::File { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(libc::EFBIG), "{error}");
    // Nothing is sent, nothing is lost, and nothing hangs.
    assert!(producer.send(&payload(sent)).is_err());
    if has_journal {
        let durable = queue.durable_sequence().unwrap();
        assert!(producer.flush_timeout(Duration::from_millis(10)).is_err());
        assert!(queue.durable_sequence().unwrap() >= durable);
        // Whoever could not write keeps nobody from it.
        drop(queue.journaler().unwrap());
    }
    if let Some(slow) = &mut slow {
        receive_until(slow, sent / 2);
    }
    limit_files(libc::RLIM_INFINITY).unwrap();
    send_until(&mut producer, sent + 500);
    if let Some(slow) = &mut slow {
        receive_until(slow, sent + 500);
    } else {
        producer.flush().unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_and_all_goes_on_when_there_is_space() {
    for journal in [None, Some(Journal::SyncedAlways)] {
        let _alive = watchdog();
        let name = Name::new("full");
        let directory = Directory::new(&name);
        let options = options(&directory);
        let options = journal.map_or(options.clone(), |journal| options.journal(journal));
        let queue = Queue::create(&name, &options).unwrap();
        Peer::start("run into a limit", &[&name]).finish();
        if journal.is_some() {
            assert_whole(&directory, queue.durable_sequence().unwrap());
        }
    }
}

/// Begins a file of the journal that has no space for a message, while the ones before are too old,
/// and comes again when there is no space for anything.
fn begin_a_file_without_space(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(&[7; 5000]).unwrap();
    limit_files(5000).unwrap();
    let mut journaler = queue.journaler().unwrap();
    let stopped = AtomicBool::new(true);
    assert!(journaler.run(&stopped).is_err());
    // It looks after old files once a second.
    thread::sleep(Duration::from_millis(1100));
    assert!(journaler.run(&stopped).is_err());
    drop(journaler);
    limit_files(100).unwrap();
    assert!(producer.flush().is_err());
}

#[test]
fn a_file_without_a_message_is_no_reason_to_remove_the_last_messages() {
    let _alive = watchdog();
    let name = Name::new("without-space");
    let directory = Directory::new(&name);
    let options = options(&directory).capacity(2 * CAPACITY).journal(Journal::SyncedAlways);
    let create = || Queue::create(&name, &options.clone().keep_for(Duration::from_millis(1)));
    // By hand, so that nobody saves what the ring has.
    let remove = || fs::remove_file(name.path()).unwrap();
    let queue = create().unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 10);
    producer.flush().unwrap();
    drop(producer);
    Queue::remove(&name).unwrap();
    let _queue = create().unwrap();
    // Its messages go to a file of their own.
    Peer::start("begin a file without space", &[&name]).finish();
    assert_whole(&directory, 10);
    // Somebody's hand leaves the one that has none.
    fs::remove_file(&files(&directory, "log")[0]).unwrap();
    Peer::start("have no space at all", &[&name]).finish();
    remove();
    assert_eq!(create().unwrap().producer().unwrap().next_sequence(), 10);
    remove();
    // Nor is one of another capacity, whose header is another one.
    let smaller = options.clone().capacity(CAPACITY);
    let _smaller = Queue::create(&name, &smaller).unwrap();
    Peer::start("have no space at all", &[&name]).finish();
    remove();
    assert_eq!(create().unwrap().producer().unwrap().next_sequence(), 10);
}

/// Comes to a journal's end where there is no space.
fn have_no_space_at_all(arguments: &[&str]) {
    limit_files(100).unwrap();
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    producer.send(b"not written").unwrap();
    assert!(producer.flush().is_err());
}

/// The error of a journal's thread, once it has one.
fn await_error(journal: &JournalThread) -> Error {
    loop {
        if let Some(error) = journal.error() {
            return error;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Has a thread write the journal, where there is no space for a while, and in the end.
fn have_no_space_for_a_while(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    let mut producer = queue.producer().unwrap();
    let mut send_some = || {
        let end = producer.next_sequence() + 300;
        send_until(&mut producer, end);
        end
    };
    let is_too_large = |error: Error| {
        let Error::File { source, .. } = &error else { panic!("{error}") };
        source.raw_os_error() == Some(libc::EFBIG)
    };
    limit_files(64 << 10).unwrap();
    let end = send_some();
    assert!(is_too_large(await_error(&journal)));
    assert!(!journal.is_finished() && queue.durable_sequence().unwrap() < end);
    limit_files(libc::RLIM_INFINITY).unwrap();
    while queue.durable_sequence().unwrap() < end || journal.error().is_some() {
        assert!(!journal.is_finished());
        thread::sleep(Duration::from_millis(1));
    }
    limit_files(64 << 10).unwrap();
    let end = send_some();
    assert!(is_too_large(await_error(&journal)));
    // Who stops it is told what could not be written.
    assert!(is_too_large(journal.stop().unwrap_err()));
    assert!(queue.durable_sequence().unwrap() < end);
    limit_files(libc::RLIM_INFINITY).unwrap();
    queue.journaler().unwrap().spawn().stop().unwrap();
    assert_eq!(queue.durable_sequence(), Some(end));
}

#[test]
fn a_thread_without_space_for_its_journal_says_so_and_goes_on_when_there_is_some() {
    for journal in [Journal::Written, Journal::SyncedAlways] {
        let _alive = watchdog();
        let name = Name::new("thread-full");
        let directory = Directory::new(&name);
        let options = options(&directory).capacity(1 << 20).journal(journal);
        let _queue = Queue::create(&name, &options).unwrap();
        Peer::start("have no space for a while", &[&name]).finish();
        assert_whole(&directory, 600);
    }
}

/// Writes the journal, and is without space two times, the first one for more than one try.
fn be_told_twice(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let journaler = queue.journaler().unwrap();
    let mut producer = queue.producer().unwrap();
    let (stop, told) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let run = || journaler.run_on(&stop, |error| told.lock().unwrap().push(error.clone()));
        let running = scope.spawn(run);
        let _over = Over(&stop);
        let wait_until = |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                thread::sleep(Duration::from_millis(1));
            }
        };
        for times in 1..=2 {
            limit_files(64 << 10).unwrap();
            let end = producer.next_sequence() + 300;
            send_until(&mut producer, end);
            wait_until(&|| told.lock().unwrap().len() == times);
            if times == 1 {
                thread::sleep(Duration::from_millis(2_500));
            }
            limit_files(libc::RLIM_INFINITY).unwrap();
            wait_until(&|| queue.durable_sequence().unwrap() == end);
            let told = told.lock().unwrap();
            assert_eq!(told.len(), times, "{told:?}");
        }
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap().unwrap();
    });
}

#[test]
fn who_runs_a_journaler_is_told_once_whenever_something_is_in_its_way() {
    let _alive = watchdog();
    let name = Name::new("told");
    let directory = Directory::new(&name);
    let options = options(&directory).capacity(1 << 20).journal(Journal::Written);
    let _queue = Queue::create(&name, &options).unwrap();
    Peer::start("be told twice", &[&name]).finish();
    assert_whole(&directory, 600);
}

#[test]
fn a_thread_whose_journal_cannot_be_mended_ends_and_says_so() {
    let _alive = watchdog();
    let name = Name::new("thread-failed");
    let directory = Directory::new(&name);
    let options = options(&directory).journal(Journal::SyncedAlways);
    let queue = Queue::create(&name, &options).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    let mut producer = queue.producer().unwrap();
    producer.send(b"a").unwrap();
    producer.flush().unwrap();
    assert!(journal.error().is_none());
    fs::remove_dir_all(directory.file("log")).unwrap();
    producer.send(b"b").unwrap();
    let error = await_error(&journal);
    while !journal.is_finished() {
        thread::yield_now();
    }
    assert_eq!(journal.stop().unwrap_err().to_string(), error.to_string());
    // One that is dropped says nothing, but ends.
    assert!(matches!(queue.journaler().map(drop), Err(Error::File { .. })));
    assert_eq!(queue.durable_sequence(), Some(1));
}

/// Has somebody fall back behind where the files begin, as one does for a moment who joins and finds
/// that it was too late, while a file in front of the others cannot be written.
fn fall_back_behind_the_files(arguments: &[&str]) {
    let [name, directory] = arguments else { panic!("{arguments:?}") };
    let spill = Path::new(directory).join("spill");
    let path = |base: u64| spill.join(format!("{base:020}.log"));
    let bases = || {
        let names = fs::read_dir(&spill).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
            .iter()
            .map(|name| name.strip_suffix(".log").unwrap().parse().unwrap())
            .collect::<Vec<u64>>()
    };
    let queue = Queue::open(name).unwrap();
    let _holds = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    let mut producer = queue.producer().unwrap();
    let send = |producer: &mut Producer| producer.try_send(&[7; 504]).unwrap();
    for _ in 0..9 {
        assert!(matches!(send(&mut producer), Sent::Sequence(_)));
    }
    let spilling = Subscribe::new().on_lag(Lag::Spill);
    let (_lags, falls_back) =
        (queue.subscribe(&spilling).unwrap(), queue.subscribe(&spilling).unwrap());
    while let Sent::Sequence(_) = send(&mut producer) {}
    let ask = |producer: &mut Producer| producer.try_send(&[7; 8000]);
    assert_eq!(ask(&mut producer).unwrap(), Sent::Full);
    // From the sector's first boundary on.
    assert_eq!(bases(), [4096]);

    // What somebody who died left in front is nobody's.
    drop(producer);
    fs::write(path(0), "half").unwrap();
    let mut producer = queue.producer().unwrap();
    assert_eq!(bases(), [4096]);
    assert_eq!(ask(&mut producer).unwrap(), Sent::Full);

    // It needs more than the files have.
    let file = OpenOptions::new().write(true).open(format!("/dev/shm/ringway.{name}")).unwrap();
    let cursor = member_offset(name, falls_back.member()) + field("Member", "cursor").start;
    file.write_all_at(&512_u64.to_le_bytes(), cursor as u64).unwrap();
    limit_files(4096).unwrap();
    let error = ask(&mut producer).unwrap_err();
    let Error::File { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(libc::EFBIG), "{error}");
    assert_eq!(bases(), [4096], "half a file would hide what is behind it");
    limit_files(libc::RLIM_INFINITY).unwrap();
    fs::write(path(2048), "half").unwrap();
    assert_eq!(ask(&mut producer).unwrap(), Sent::Full);
    assert_eq!(bases(), [0, 4096]);
}

#[test]
fn what_could_not_be_written_in_front_of_the_files_hides_nothing_of_them() {
    let _alive = watchdog();
    let name = Name::new("in-front");
    let directory = Directory::new(&name);
    let _queue = Queue::create(&name, &options(&directory)).unwrap();
    Peer::start("fall back behind the files", &[&name, directory.text()]).finish();
}

#[test]
fn nobody_writes_for_ever_what_is_damaged_in_front_of_the_files() {
    let _alive = watchdog();
    let name = Name::new("front-damage");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let _holds = queue.subscribe(&Subscribe::new().from(Start::Oldest)).unwrap();
    let mut producer = queue.producer().unwrap();
    for _ in 0..9 {
        assert!(matches!(producer.try_send(&[7; 504]).unwrap(), Sent::Sequence(_)));
    }
    let spilling = Subscribe::new().on_lag(Lag::Spill);
    let [_lags, falls_back] = [(); 2].map(|()| queue.subscribe(&spilling).unwrap());
    while let Sent::Sequence(_) = producer.try_send(&[7; 504]).unwrap() {}
    assert_eq!(producer.try_send(&[7; 8000]).unwrap(), Sent::Full);
    // It needs more than the files have, and that is not all there.
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    let cursor = member_offset(&name, falls_back.member()) + field("Member", "cursor").start;
    file.write_all_at(&512_u64.to_le_bytes(), cursor as u64).unwrap();
    let ring = header_word(&fs::read(name.path()).unwrap(), "ring_offset");
    file.write_all_at(&[0; 8], ring + 1024).unwrap();
    let error = producer.try_send(&[7; 8000]).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(files(&directory, "spill").len(), 1, "half a file would hide what is behind it");
}

/// Zeroes the word that is at a position of the first lap.
fn zero_word(name: &Name, position: u64) {
    let file = OpenOptions::new().write(true).open(name.path()).unwrap();
    let ring = header_word(&fs::read(name.path()).unwrap(), "ring_offset");
    file.write_all_at(&[0; 8], ring + position).unwrap();
}

#[test]
fn nobody_waits_for_ever_for_what_is_damaged_to_be_in_the_files() {
    // Frames of 512 bytes, also with a time and a checksum.
    const BLOCK: [u8; 488] = [7; 488];
    let _alive = watchdog();
    for journal in [None, Some(Journal::Written)] {
        let name = Name::new("damaged-end");
        let directory = Directory::new(&name);
        let options = options(&directory);
        let options = journal.map_or(options.clone(), |journal| options.journal(journal));
        let queue = Queue::create(&name, &options).unwrap();
        let _lags = queue.subscribe(&Subscribe::new().on_lag(Lag::Spill)).unwrap();
        let mut producer = queue.producer().unwrap();
        for _ in 0..10 {
            producer.send(&BLOCK).unwrap();
        }
        zero_word(&name, 0);
        let is_corrupt = |error: &Error| matches!(error, Error::Corrupt { .. });
        if journal.is_some() {
            let flushed = producer.flush_timeout(Duration::ZERO);
            assert!(flushed.as_ref().is_err_and(is_corrupt), "{flushed:?}");
        }
        let mut send = || producer.try_send(&BLOCK);
        let sent = iter::repeat_with(&mut send).find(|sent| !matches!(sent, Ok(Sent::Sequence(_))));
        assert!(sent.as_ref().unwrap().as_ref().is_err_and(is_corrupt), "{sent:?}");
        if journal.is_some() {
            let journal = queue.journaler().unwrap().spawn();
            assert!(is_corrupt(&await_error(&journal)));
            assert!(is_corrupt(&journal.stop().unwrap_err()));
        }
    }
}

/// Fills the disk that its history is on, and goes on when what is there has been read or removed.
fn fill_a_small_disk(arguments: &[&str]) {
    let (name, directory) = (arguments[0], Path::new(arguments[1]));
    let options = QueueOptions::new().capacity(CAPACITY).members(8).history(directory);
    let has_journal = arguments.len() > 2;
    let options = if has_journal { options.journal(Journal::SyncedAlways) } else { options };
    let queue = Queue::create(name, &options).unwrap();
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    let mut slow = (!has_journal).then(|| queue.subscribe(&spilling).unwrap());
    let mut producer = queue.producer().unwrap();
    let error = loop {
        let sequence = producer.next_sequence();
        if let Err(error) = producer.send(&payload(sequence)) {
            break error;
        }
    };
    let sent = producer.next_sequence();
    assert!(sent > 1000, "{sent}: {error}");
    let Error::File { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
    if let Some(slow) = &mut slow {
        // It is read to its end, and more can be sent as it goes.
        receive_until(slow, sent);
        send_until(&mut producer, sent + 2000);
        receive_until(slow, sent + 2000);
    } else {
        let durable = queue.durable_sequence().unwrap();
        assert!(producer.flush_timeout(Duration::from_millis(10)).is_err());
        assert!(queue.durable_sequence().unwrap() >= durable);
        // Nothing goes from a journal that nobody lets go.
        assert!(producer.send(&payload(sent)).is_err());
        let archive = Archive::open(directory).unwrap();
        let there = archive.messages(0).unwrap().map(|message| message.unwrap().sequence);
        assert!(there.last().unwrap() + 1 >= durable);
    }
}

#[test]
fn a_small_disk_that_is_full_is_told_and_nothing_is_lost() {
    for arguments in [&[][..], &["journal"]] {
        let _alive = watchdog();
        let name = Name::new("small-disk");
        let directory = Directory::new(&name);
        fs::create_dir_all(directory.path()).unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let at = path.clone();
        let all = [&[&*name, &*path], arguments].concat();
        let peer = Peer::start_after(move || own_small_disk(&at), "fill a small disk", &all);
        match peer {
            Ok(peer) => peer.finish(),
            Err(error) => eprintln!("skipped: no file system of its own: {error}"),
        }
    }
}

fn make_what_does_not_fit(arguments: &[&str]) {
    let options = QueueOptions::new().history(arguments[1]).journal(Journal::Written);
    let error = Queue::create(arguments[0], &options).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
}

#[test]
fn a_queue_that_could_not_be_made_leaves_its_history_to_whoever_has_it() {
    let _alive = watchdog();
    let name = Name::new("not-made");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory).journal(Journal::Written)).unwrap();
    queue.producer().unwrap().send_durable(b"one").unwrap();
    let arguments = [&*name, directory.path().to_str().unwrap()];
    // Whoever is killed while it reserves memory does not come to undo anything.
    let told = || fs::metadata(directory.file("instance")).unwrap().modified().unwrap();
    let before = told();
    match Peer::start_after(own_small_memory, "make what does not fit", &arguments) {
        Ok(peer) => peer.finish(),
        Err(error) => return eprintln!("skipped: no shared memory of its own: {error}"),
    }
    assert_eq!(told(), before, "it was said that the history is another queue's");
    queue.producer().unwrap().send_durable(b"two").unwrap();
    // A directory that was made before there was such a file has none.
    fs::remove_file(directory.file("instance")).unwrap();
    queue.producer().unwrap().send_durable(b"three").unwrap();
}

/// Tries to cut off a torn end that there is no room to keep, and has room in the end.
fn cut_without_room(arguments: &[&str]) {
    let [name, directory] = arguments else { panic!("{arguments:?}") };
    let options = QueueOptions::new().capacity(64 << 10).members(8);
    let options = options.history(directory).journal(Journal::Written);
    // The queue's memory is a file too.
    limit_files(1_000_000).unwrap();
    for _ in 0..3 {
        let error = Queue::create(name, &options).unwrap_err();
        let Error::File { path, .. } = &error else { panic!("{error:?}") };
        assert!(!path.exists(), "a part of what was to be kept is left in {}", path.display());
    }
    limit_files(libc::RLIM_INFINITY).unwrap();
    let queue = Queue::create(name, &options).unwrap();
    say(queue.log_cuts()[0].kept_in.display());
}

#[test]
fn a_cut_that_there_is_no_room_to_keep_leaves_all_as_it_was() {
    let _alive = watchdog();
    let name = Name::new("cut");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory).journal(Journal::Written)).unwrap();
    queue.producer().unwrap().send_durable(b"to be kept").unwrap();
    Queue::remove(&name).unwrap();
    let torn = vec![0xa5; 2_000_000];
    let log = files(&directory, "log").remove(0);
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(&torn).unwrap();
    let mut peer = Peer::start("cut without room", &[&name, directory.text()]);
    let kept_in = PathBuf::from(peer.hear());
    peer.finish();
    assert_eq!(files(&directory, "log"), [kept_in.clone(), log]);
    assert_eq!(fs::read(kept_in).unwrap(), torn);
}

const OPEN_FILES_MAX: u64 = 1024;

fn limit_open_files(count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: OPEN_FILES_MAX };
    // SAFETY: the struct outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Has all but no files left to be opened when a journal begins a file, and has them again then.
fn run_out_of_files(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let mut producer = queue.producer().unwrap();
    for spare in 0..12 {
        let end = producer.next_sequence() + 1;
        send_until(&mut producer, end);
        let next = fs::File::open("/dev/null").unwrap().as_raw_fd();
        limit_open_files(u64::try_from(next).unwrap() + spare);
        let flushed = producer.flush_timeout(Duration::MAX);
        limit_open_files(OPEN_FILES_MAX);
        assert!(!matches!(flushed, Err(Error::JournalFailed { .. })), "{flushed:?}");
        assert!(producer.flush_timeout(Duration::MAX).unwrap(), "with {spare} files, {flushed:?}");
        if flushed.is_ok() {
            return;
        }
    }
    panic!("it needs more files than there were");
}

#[test]
fn a_journal_without_files_to_open_goes_on_when_there_are_some() {
    let _alive = watchdog();
    let name = Name::new("no-files");
    let directory = Directory::new(&name);
    let _queue = Queue::create(&name, &options(&directory).journal(Journal::SyncedAlways)).unwrap();
    Peer::start("run out of files", &[&name]).finish();
}

/// Removes a queue with a message that its journal does not have, where nothing can be read, and with more
/// and more files to be opened, until that can be done.
fn remove_without_files(arguments: &[&str]) {
    let [name, directory] = arguments else { panic!("{arguments:?}") };
    let is_unread = thread::scope(|scope| {
        let remove = || {
            refuse(&[libc::SYS_pread64], libc::EIO);
            matches!(Queue::remove(name), Err(Error::Os { .. }))
        };
        scope.spawn(remove).join().unwrap()
    });
    assert!(is_unread && Path::new(&format!("/dev/shm/ringway.{name}")).exists());
    for spare in 0..20 {
        let next = fs::File::open("/dev/null").unwrap().as_raw_fd();
        limit_open_files(u64::try_from(next).unwrap() + spare);
        let removed = Queue::remove(name);
        limit_open_files(OPEN_FILES_MAX);
        if removed.is_ok() {
            let count = Archive::open(directory).unwrap().messages(0).unwrap().count();
            assert_eq!(count, 1, "with {spare} files");
            return;
        }
        assert!(matches!(removed, Err(Error::Os { .. } | Error::NotSaved { .. })), "{removed:?}");
    }
    panic!("it needs more files than there were");
}

#[test]
fn a_queue_that_cannot_be_looked_at_is_not_removed() {
    let _alive = watchdog();
    let name = Name::new("remove-no-files");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory).journal(Journal::Written)).unwrap();
    queue.producer().unwrap().send(b"to be kept").unwrap();
    Peer::start("remove without files", &[&name, directory.text()]).finish();
}

/// Begins a file when that can be opened, and not the directory too, which has to be for its name to be
/// synced.
fn begin_a_file_without_its_name(arguments: &[&str]) {
    let queue = Queue::open(arguments[0]).unwrap();
    let size = || fs::metadata(arguments[1]).map_or(0, |facts| facts.len());
    let (mut journaler, mut producer) = (queue.journaler().unwrap(), queue.producer().unwrap());
    let stop = AtomicBool::new(true);
    producer.send(b"first").unwrap();
    journaler.run(&stop).unwrap();
    let can_open_one = |count: &u64| {
        limit_open_files(*count);
        fs::File::open("/dev/null").is_ok()
    };
    let one_more = (0..OPEN_FILES_MAX).find(can_open_one).unwrap();
    let run_with_one_file = |journaler: &mut Journaler| {
        limit_open_files(one_more);
        let ran = journaler.run(&stop);
        limit_open_files(OPEN_FILES_MAX);
        ran
    };
    limit_open_files(OPEN_FILES_MAX);
    // Somebody died making it: to make one takes more, for a moment, than to sync its name.
    fs::write(arguments[1], "").unwrap();
    loop {
        producer.send(&[7; 8000]).unwrap();
        if run_with_one_file(&mut journaler).is_err() {
            break;
        }
    }
    for _ in 0..3 {
        assert_eq!(size(), 4096, "no message is in it before its header is on the disk");
        assert!(matches!(run_with_one_file(&mut journaler), Err(Error::File { .. })));
    }
    journaler.run(&stop).unwrap();
    assert!(size() > 4096);
}

#[test]
fn a_file_whose_header_is_not_synced_stays_without_a_message_however_often_it_is_tried() {
    let _alive = watchdog();
    let name = Name::new("no-name");
    let directory = Directory::in_memory(&name);
    let _queue = Queue::create(&name, &options(&directory).journal(Journal::SyncedAlways)).unwrap();
    let second = directory.file("log/00000000000016777216.log");
    Peer::start("begin a file without its name", &[&name, second.to_str().unwrap()]).finish();
}

/// The lines of a text of some size: of the library itself, over and over.
fn lines() -> Vec<Vec<u8>> {
    const RINGS: u64 = 20;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = Vec::new();
    for file in [
        "queue/mod.rs",
        "layout/identity.rs",
        "error.rs",
        "consumer/mod.rs",
        "producer/mod.rs",
        "copy.rs",
    ] {
        text.extend(fs::read(directory.join(file)).unwrap());
    }
    let lines = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec);
    let lines: Vec<_> = lines.collect();
    let rounds = (RINGS * CAPACITY).div_ceil(text.len() as u64);
    (0..rounds).flat_map(|_| lines.clone()).collect()
}

fn send_a_text(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    for line in lines() {
        producer.send(&line).unwrap();
    }
    producer.close().unwrap();
}

/// Receives until the end, and puts into a file what that was. Stops itself on the way.
fn write_a_text_down(arguments: &[&str]) {
    let spilling = Subscribe::new().from(Start::Oldest).on_lag(Lag::Spill);
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&spilling).unwrap();
    let stops_at: u64 = arguments[2].parse().unwrap();
    say("begins");
    let mut text = Vec::new();
    while let Received::Message(message) = consumer.receive().unwrap() {
        text.extend_from_slice(message.payload());
        if message.sequence() + 1 == stops_at {
            stop_here();
        }
    }
    fs::write(arguments[1], text).unwrap();
}

/// Shares the lines with others of the group: appends each to a file of its own, with its sequence
/// before it, and acknowledges it then.
fn share_a_text(arguments: &[&str]) {
    let group = Subscribe::new().named("group").on_lag(Lag::Spill).ack(AckMode::Manual);
    let mut consumer = Queue::open(arguments[0]).unwrap().subscribe(&group).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(arguments[1]).unwrap();
    say("begins");
    while let Received::Message(message) = consumer.receive().unwrap() {
        let size = message.payload().len() as u64;
        let mut record = [message.sequence().to_le_bytes(), size.to_le_bytes()].concat();
        record.extend_from_slice(message.payload());
        file.write_all(&record).unwrap();
        assert_eq!(message.ack().unwrap(), Acked::Done);
    }
}

/// Adds what a member of a group has put into its file.
fn add_shared_lines(lines: &mut BTreeMap<u64, Vec<u8>>, path: &Path) {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    while let Some((head, behind)) = rest.split_first_chunk::<16>() {
        let [sequence, size] =
            [&head[..8], &head[8..]].map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        // A death may have cut the last one short, where it goes over from one page to the next.
        let size = usize::try_from(size).unwrap();
        let Some((line, behind)) = behind.split_at_checked(size) else { break };
        // One whose acknowledgement the worker did not live to see comes again.
        let before = lines.insert(sequence, line.to_vec());
        assert!(before.is_none_or(|before| before == line));
        rest = behind;
    }
}

#[test]
fn a_text_is_the_same_for_those_who_were_stopped_or_killed_far_behind() {
    let _alive = watchdog();
    let mut random = Random::from_environment();
    let name = Name::new("text");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory)).unwrap();
    let group = Subscribe::new().named("group").from(Start::Oldest).on_lag(Lag::Spill);
    drop(queue.subscribe(&group).unwrap());
    let (early, late) = (directory.file("early"), directory.file("late"));
    let lines = lines();
    let count = lines.len() as u64;
    let reader = |path: &Path, stops_at: u64| {
        let arguments = [&*name, path.to_str().unwrap(), &stops_at.to_string()];
        let mut peer = Peer::start("write a text down", &arguments);
        peer.await_word("begins");
        peer
    };
    // One stops at once, the other somewhere on the way; nobody waits for them.
    let (early_reader, late_reader) = (reader(&early, 1), reader(&late, count / 3));
    let producer = Peer::start("send a text", &[&name]);
    let shared = |number: u32| directory.file(format_args!("shared-{number}"));
    let share = |number| {
        let mut peer = Peer::start("share a text", &[&*name, shared(number).to_str().unwrap()]);
        peer.await_word("begins");
        peer
    };
    for number in 0..5 {
        let worker = share(number);
        thread::sleep(Duration::from_micros(random.below(20_000)));
        worker.kill();
    }
    early_reader.await_stop();
    producer.finish();
    late_reader.await_stop();
    assert!(!files(&directory, "spill").is_empty());
    let worker = share(5);
    for peer in [early_reader, late_reader] {
        peer.go_on();
        peer.finish();
    }
    worker.finish();
    let text = lines.concat();
    assert!(fs::read(early).unwrap() == text && fs::read(late).unwrap() == text);
    let mut shared_lines = BTreeMap::new();
    (0..6).for_each(|number| add_shared_lines(&mut shared_lines, &shared(number)));
    assert!(shared_lines.keys().copied().eq(0..count));
    assert!(shared_lines.values().eq(&lines));
    drop(queue.producer().unwrap());
    assert!(files(&directory, "spill").is_empty());
}

#[test]
fn a_journal_whose_directory_is_gone_is_not_said_to_be_durable() {
    for journal in [Journal::Written, Journal::SyncedAlways] {
        for has_journaler in [false, true] {
            let _alive = watchdog();
            let name = Name::new("gone");
            let directory = Directory::new(&name);
            let queue = Queue::create(&name, &options(&directory).journal(journal)).unwrap();
            let thread = has_journaler.then(|| queue.journaler().unwrap().spawn());
            let mut producer = queue.producer().unwrap();
            send_until(&mut producer, 10);
            producer.flush().unwrap();
            fs::remove_dir_all(directory.path()).unwrap();
            send_until(&mut producer, 20);
            // By the journaler too, which ends then.
            let error = producer.flush().unwrap_err();
            let is_told = matches!(error, Error::File { .. } | Error::JournalFailed { .. });
            assert!(is_told, "{error:?}");
            assert_eq!(queue.durable_sequence(), Some(10));
            let ended = thread.map_or(Ok(()), JournalThread::stop);
            assert_eq!(ended.is_err(), has_journaler, "{ended:?}");
        }
    }
}

/// Of whoever dies in a sync nobody hears what came of it, and the system tells nobody else.
#[test]
fn what_somebody_died_in_the_sync_of_is_written_again_or_never_durable() {
    const BOTH: u64 = 300;
    let _alive = watchdog();
    for is_lost in [false, true] {
        let name = Name::new("in-sync");
        let directory = Directory::new(&name);
        let seldom = Journal::SyncedEvery(Duration::from_secs(1 << 20));
        let options = options(&directory).journal(seldom);
        // A file that ends early is there before.
        let before = Queue::create(&name, &options).unwrap();
        send_until(&mut before.producer().unwrap(), 10);
        before.producer().unwrap().flush().unwrap();
        Queue::remove(&name).unwrap();
        let queue = Queue::create(&name, &options).unwrap();
        let base = queue.info().unwrap().position;
        let mut producer = queue.producer().unwrap();
        send_until(&mut producer, 100);
        producer.flush().unwrap();
        let begin = queue.info().unwrap().position - base + 4096;
        let mut journaler = Peer::start("keep a journal", &[&name]);
        journaler.await_word("begins");
        send_until(&mut producer, BOTH);
        while queue.info().unwrap().history_range.end < queue.info().unwrap().position {
            thread::yield_now();
        }
        journaler.kill_living();
        assert_eq!(queue.durable_sequence(), Some(100));
        let segment = OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
        let word = header("journal_state").start as u64;
        segment.write_all_at(&2_u32.to_le_bytes(), word).unwrap();
        let log = files(&directory, "log").remove(1);
        if is_lost {
            let file = OpenOptions::new().write(true).open(log).unwrap();
            file.write_all_at(&[0; 512], begin + 20_000).unwrap();
            let error = producer.flush().unwrap_err();
            assert!(matches!(error, Error::JournalFailed { .. }), "{error:?}");
            assert!(queue.info().unwrap().journal_failed);
            assert_eq!(queue.durable_sequence(), Some(100));
            continue;
        }
        let long_ago = std::time::UNIX_EPOCH;
        let file = OpenOptions::new().write(true).open(&log).unwrap();
        file.set_modified(long_ago).unwrap();
        producer.flush().unwrap();
        assert_ne!(file.metadata().unwrap().modified().unwrap(), long_ago);
        let mut failed = [1; 4];
        segment.read_exact_at(&mut failed, word).unwrap();
        assert_eq!((failed, queue.durable_sequence()), ([0; 4], Some(BOTH)));
        assert_whole(&directory, BOTH);
    }
}

#[test]
fn a_file_that_was_just_begun_is_no_reason_to_give_up_a_sync_that_somebody_died_in() {
    /// So many messages of a page fill a file, with what does not fit the end of each lap.
    const COUNT: u64 = 15 * 256;
    /// With its word, its time, and its checksum.
    const SIZE: usize = 4096 - 24;
    let _alive = watchdog();
    let name = Name::new("begun-in-sync");
    let directory = Directory::new(&name);
    let seldom = Journal::SyncedEvery(Duration::from_secs(1 << 20));
    let queue = Queue::create(&name, &options(&directory).journal(seldom)).unwrap();
    let mut journaler = Peer::start("keep a journal", &[&name]);
    journaler.await_word("begins");
    let mut producer = queue.producer().unwrap();
    for _ in 0..COUNT {
        producer.send(&[7; SIZE]).unwrap();
    }
    // One that does not come about leaves the end of the lap filled.
    drop(producer.claim(SIZE).unwrap());
    let end = 16 << 20;
    while queue.info().unwrap().history_range.end < end {
        thread::yield_now();
    }
    journaler.kill_living();
    assert_eq!((queue.info().unwrap().position, queue.durable_sequence()), (end, Some(0)));
    // One died before the next file had its header, and another one in the sync after that.
    let begun = directory.file(format!("log/{end:020}.log"));
    fs::write(&begun, []).unwrap();
    let segment = OpenOptions::new().write(true).open(name.path()).unwrap();
    let word = header("journal_state").start as u64;
    segment.write_all_at(&2_u32.to_le_bytes(), word).unwrap();
    producer.flush().unwrap();
    producer.send(b"in the next file").unwrap();
    producer.flush().unwrap();
    assert_eq!(queue.durable_sequence(), Some(COUNT + 1));
    assert!(fs::metadata(&begun).unwrap().len() > 4096);
    let verified = Archive::open(directory.path()).unwrap().verify().unwrap();
    assert_eq!((verified.messages, verified.is_whole()), (COUNT + 1, true));
}

/// `RINGWAY_FLIPS` says how many bits flip, one after the other.
#[test]
fn no_flip_in_a_large_journal_changes_a_message() {
    let flips = number_from("RINGWAY_FLIPS", 20);
    let _alive = watchdog_of(Duration::from_secs(240) + Duration::from_millis(100 * flips));
    let mut random = Random::from_environment();
    let name = Name::new("flips");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory).journal(Journal::Written)).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 30_000);
    producer.flush().unwrap();
    let logs = files(&directory, "log");
    assert_eq!(logs.len(), 2, "more than one file");
    let archive = Archive::open(directory.path()).unwrap();
    let bounds: Vec<_> = archive.files().unwrap().iter().map(|file| file.first_sequence).collect();
    let mut unnoticed = 0;
    for _ in 0..flips {
        let number = usize::try_from(random.below(2)).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&logs[number]).unwrap();
        let offset = random.below(file.metadata().unwrap().len());
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << random.below(8))], offset).unwrap();
        let mut next = bounds[number];
        for message in archive.messages(next).into_iter().flatten() {
            let Ok(message) = message else { break };
            let is_right = message.sequence == next && message.payload == payload(next);
            assert!(is_right, "message {next}, after a flip at {offset} of file {number}");
            next += 1;
        }
        // What pads a payload means nothing, nor does what follows the header.
        unnoticed += u64::from(next == 30_000);
        file.write_all_at(&byte, offset).unwrap();
    }
    assert!(unnoticed <= 1 + flips / 10, "{unnoticed} of {flips}");
    assert_whole(&directory, 30_000);
}

/// What a loss of power may leave of a file that was just begun, behind one that is whole.
#[test]
fn a_file_that_was_just_begun_when_power_went_is_no_damage() {
    let mut random = Random::from_environment();
    let name = Name::new("begun");
    let directory = Directory::new(&name);
    let options = options(&directory).journal(Journal::SyncedAlways);
    write_files(&name, &options, &[20, 40]);
    let begun = files(&directory, "log").remove(1);
    let header = fs::read(&begun).unwrap()[..4096].to_vec();
    for _ in 0..kills() * 5 {
        let _alive = watchdog();
        let mut left = header.clone();
        for sector in left.chunks_mut(512) {
            if random.below(3) == 0 {
                sector.fill(0);
            }
        }
        left.truncate(usize::try_from(random.below(2) * random.below(4097)).unwrap());
        fs::write(&begun, &left).unwrap();
        let archive = Archive::open(directory.path()).unwrap();
        let [files, to_cut] =
            [archive.files().unwrap().len(), archive.planned_cuts().unwrap().len()];
        assert_eq!((files + to_cut, archive.messages(0).unwrap().count()), (2, 20));
        assert!(archive.verify().unwrap().is_whole());
        let queue = Queue::create(&name, &options).unwrap();
        assert_eq!(queue.producer().unwrap().next_sequence(), 20);
        Queue::remove(&name).unwrap();
    }
}

/// What a loss of power may leave: all that was synced, and of what was appended since any sectors
/// at all, the others empty or beyond the end.
#[test]
fn what_was_synced_survives_whatever_is_lost_behind_it() {
    const SECTOR: usize = 512;
    let mut random = Random::from_environment();
    let name = Name::new("power");
    let directory = Directory::new(&name);
    let options = options(&directory).journal(Journal::SyncedAlways);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    send_until(&mut producer, 20);
    producer.flush().unwrap();
    let file = files(&directory, "log").remove(0);
    let synced = fs::read(&file).unwrap();
    send_until(&mut producer, 40);
    producer.flush().unwrap();
    let whole = fs::read(&file).unwrap();
    drop(producer);
    let boundary = synced.len();
    for _ in 0..kills() * 25 {
        let _alive = watchdog();
        let mut left = whole.clone();
        // The mark was made with what came after the first sync.
        left[..4096].copy_from_slice(&synced[..4096]);
        for sector in boundary / SECTOR..left.len().div_ceil(SECTOR) {
            if random.below(3) == 0 {
                let begin = (sector * SECTOR).max(boundary);
                let end = ((sector + 1) * SECTOR).min(left.len());
                left[begin..end].fill(0);
            }
        }
        if random.below(2) == 0 {
            let lost = random.below((left.len() - boundary) as u64 + 1);
            left.truncate(left.len() - usize::try_from(lost).unwrap());
        }
        Queue::force_remove(&name).unwrap();
        fs::write(&file, &left).unwrap();
        let queue = Queue::create(&name, &options).unwrap();
        let next = queue.producer().unwrap().next_sequence();
        assert!((20..=40).contains(&next), "{next}");
        assert_whole(&directory, next);
        for broken in files(&directory, "log") {
            if broken.extension().is_some_and(|extension| extension == "broken") {
                fs::remove_file(broken).unwrap();
            }
        }
    }
    // What was synced is not taken for that.
    let mut damaged = whole.clone();
    damaged[boundary - 1000..boundary - 1000 + 8].fill(0);
    Queue::force_remove(&name).unwrap();
    fs::write(&file, &damaged).unwrap();
    let open = OpenOptions::new().write(true).open(&file).unwrap();
    open.write_all_at(&whole[4080..4096], 4080).unwrap();
    let error = Queue::create(&name, &options).unwrap_err();
    assert!(matches!(error, Error::LogDamaged { .. }), "{error:?}");
}

fn have_no_thread(_: &[&str]) {
    let name = Name::new("no-thread");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &options(&directory).journal(Journal::Written)).unwrap();
    let journaler = queue.journaler().unwrap();
    refuse(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN);
    let journal = journaler.spawn();
    assert!(journal.is_finished());
    let said = format!("cannot make a thread for the journal of queue '{}': ", &*name);
    let error = journal.error().unwrap().to_string();
    assert!(error.starts_with(&said), "{error}");
    // Its place is free.
    drop(queue.journaler().unwrap());
    assert_eq!(journal.stop().unwrap_err().to_string(), error);
}

#[test]
fn a_journal_whose_thread_cannot_be_had_says_so() {
    let _watchdog = watchdog();
    Peer::start("have no thread", &[]).finish();
}
