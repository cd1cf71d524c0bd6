//! What each permission lets one do: those that a queue's mode names, those of whoever may only
//! read, and those of a stranger.

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod support;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::ptr;
use std::time::Duration;

use ringway::{
    AckMode, Acked, Error, Journal, Lag, Nacked, Producer, Queue, QueueOptions, Received, Sent,
    Start, Subscribe,
};
use support::segment::{new_queue, options, try_to_punch_hole};
use support::users::{NOBODY, become_nobody, check, is_root};
use support::{Directory, Name, Peer, assert_message, play, say, stop_here, watchdog};

#[test]
fn peer() {
    play(&[
        ("create with a umask", create_with_a_umask),
        ("nobody's", nobodys),
        ("try everything", try_everything),
        ("observe from the oldest", observe_from_the_oldest),
        ("lock", lock),
        ("send as nobody", send_as_nobody),
        ("send as nobody any more", send_as_nobody_any_more),
        ("flush as nobody any more", flush_as_nobody_any_more),
        ("go on as nobody", go_on_as_nobody),
        ("keep what cannot be removed", keep_what_cannot_be_removed),
    ]);
}

fn mode_of(path: impl AsRef<std::path::Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Makes queues and dead letters under a umask.
fn create_with_a_umask(arguments: &[&str]) {
    let [name, umask, directory] = arguments else { panic!("{arguments:?}") };
    // SAFETY: a call without pointers.
    unsafe { libc::umask(umask.parse().unwrap()) };
    for mode in [0o600, 0o640, 0o644, 0o660, 0o666, 0o604] {
        let queue = Queue::create(name, &options().mode(mode)).unwrap();
        assert_eq!(mode_of(format!("/dev/shm/ringway.{name}")), mode, "umask {umask}");
        assert_eq!(queue.info().unwrap().mode, mode);
        Queue::remove(name).unwrap();
    }
    let letters = format!("{directory}/{umask}");
    let queue = Queue::create(name, &options().history(&letters)).unwrap();
    let workers = Subscribe::new().named("workers").ack(AckMode::Manual).deliveries_max(1);
    let mut worker = queue.subscribe(&workers).unwrap();
    queue.producer().unwrap().send(b"secret").unwrap();
    let message = worker.receive().unwrap().message().unwrap();
    assert_eq!(message.nack().unwrap(), Nacked::DeadLetter);
    drop(worker);
    Queue::remove(name).unwrap();
    say(letters);
}

#[test]
fn the_umask_has_no_part_in_what_a_queue_lets_others_do() {
    let _alive = watchdog();
    let name = Name::new("umask");
    let directory = Directory::new(&name);
    for umask in [0_u32, 0o022, 0o077] {
        let umask = umask.to_string();
        let mut peer = Peer::start("create with a umask", &[&name, &umask, directory.text()]);
        let letters = peer.hear();
        peer.finish();
        // What was said in a queue is for nobody but its user.
        assert_eq!(mode_of(&letters) & 0o077, 0, "{letters}");
        let letters = format!("{letters}/dead-letters");
        assert_eq!(mode_of(&letters) & 0o077, 0);
        assert_eq!(mode_of(format!("{letters}/workers.letters")) & 0o177, 0);
    }
}

/// Uses queues as a user without any rights does.
fn nobodys(arguments: &[&str]) {
    let [own, roots] = arguments else { panic!("{arguments:?}") };
    become_nobody();
    let queue = Queue::create(own, &options()).unwrap();
    let info = queue.info().unwrap();
    assert_eq!((info.owner, info.mode), (NOBODY, 0o600));
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut member = queue.subscribe(&Subscribe::new().named("workers")).unwrap();
    let mut observer = queue.observe(Start::Oldest).unwrap();
    let mut producer = queue.producer().unwrap();
    for sequence in 0..1_000 {
        producer.send(b"mine").unwrap();
        assert_message(consumer.receive(), sequence, b"mine");
        assert_message(member.receive(), sequence, b"mine");
        assert_message(observer.receive(), sequence, b"mine");
    }
    // Root's are trusted, but not open to it.
    assert!(matches!(Queue::open(roots), Err(Error::PermissionDenied { .. })));
    assert!(matches!(Queue::remove(roots), Err(Error::PermissionDenied { .. })));
    say("used");
    stop_here();
    drop((consumer, member, producer));
    Queue::remove(own).unwrap();
    say("removed");
}

#[test]
fn whoever_has_no_rights_has_queues_of_its_own_all_the_same() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let own = Name::new("own");
    let (roots, _queue) = new_queue("roots");
    let mut peer = Peer::start("nobody's", &[&own, &roots]);
    peer.await_word("used");
    peer.await_stop();
    assert!(matches!(Queue::open(&own), Err(Error::Foreign { .. })));
    assert_eq!(Queue::open_owned_by(&own, NOBODY).unwrap().info().unwrap().next_sequence, 1_000);
    peer.go_on();
    peer.await_word("removed");
    peer.finish();
    assert!(matches!(Queue::open_owned_by(&own, NOBODY), Err(Error::NotFound { .. })));
}

/// Tries to harm a queue that it may only read, by every way that there is beside the library.
fn try_everything(arguments: &[&str]) {
    let [name] = arguments else { panic!("{arguments:?}") };
    become_nobody();
    let path = format!("/dev/shm/ringway.{name}");
    let kind = |result: io::Result<()>| result.unwrap_err().raw_os_error().unwrap();
    let write = OpenOptions::new().write(true).open(&path).map(drop);
    assert_eq!(kind(write), libc::EACCES);
    assert_eq!(kind(OpenOptions::new().append(true).open(&path).map(drop)), libc::EACCES);
    let file = File::open(&path).unwrap();
    assert!(file.set_len(0).is_err());
    assert!(try_to_punch_hole(&file, 0, 4096).is_err());
    assert!(fs::set_permissions(&path, Permissions::from_mode(0o666)).is_err());
    assert!(fs::remove_file(&path).is_err());
    assert!(fs::rename(&path, format!("{path}-taken")).is_err());
    let again = OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    assert_eq!(kind(again.map(drop)), libc::EACCES);

    let map = |protection| {
        let fd = file.as_raw_fd();
        // SAFETY: a new mapping at an address that the kernel chooses.
        unsafe { libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0) }
    };
    assert_eq!(map(libc::PROT_READ | libc::PROT_WRITE), libc::MAP_FAILED);
    let page = map(libc::PROT_READ);
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: our own page, of which nobody has a reference.
    let result = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(result, -1);
    assert_eq!(kind(lock_bytes(&file, libc::F_WRLCK)), libc::EBADF);
    say("tried");
}

/// Locks all bytes that show who lives.
fn lock_bytes(file: &File, how: libc::c_int) -> io::Result<()> {
    let kind = libc::c_short::try_from(how).unwrap();
    let whence = libc::c_short::try_from(libc::SEEK_SET).unwrap();
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: the struct outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) })
}

#[test]
fn who_may_only_read_changes_nothing_by_any_way() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let name = Name::new("tried");
    let queue = Queue::create(&name, &options().mode(0o644)).unwrap();
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"before").unwrap();
    let before = fs::read(name.path()).unwrap();
    let mut peer = Peer::start("try everything", &[&name]);
    peer.await_word("tried");
    peer.finish();
    assert!(fs::read(name.path()).unwrap() == before, "something has changed");
    assert_eq!((mode_of(name.path()), fs::metadata(name.path()).unwrap().nlink()), (0o644, 1));
    assert_message(consumer.receive(), 0, b"before");
    producer.send(b"after").unwrap();
    assert_message(consumer.receive(), 1, b"after");
    drop((producer, consumer));
    Queue::remove(&name).expect("nobody is left");
}

/// The rights of this process's mappings of a queue, in the order of their addresses.
fn rights_to(name: &Name) -> Vec<String> {
    let inode = fs::metadata(name.path()).unwrap().ino().to_string();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let fields = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[4] == inode).map(|fields| fields[1].into()).collect()
}

#[test]
fn nobody_can_write_where_it_need_not_but_a_consumer_unless_it_gives_that_up() {
    let (name, queue) = new_queue("rights");
    assert_eq!(rights_to(&name), [""; 0], "a handle of the queue maps nothing");
    let observer = queue.observe(Start::Newest).unwrap();
    assert_eq!(rights_to(&name), ["r--s"]);
    drop(observer);
    let consumer = queue.subscribe(&Subscribe::new()).unwrap();
    assert_eq!(rights_to(&name), ["r--s", "rw-s"], "a header, and the rest");
    drop(consumer);
    for options in [Subscribe::new(), Subscribe::new().named("workers")] {
        let mut consumer = queue.subscribe(&options.write_protected()).unwrap();
        assert_eq!(rights_to(&name), ["r--s", "rw-s", "r--s"], "a header, the tables, a ring");
        queue.producer().unwrap().send(b"read").unwrap();
        let received = consumer.receive().unwrap().message().unwrap();
        assert_eq!(received.payload(), b"read");
    }
}

/// Begins at the oldest message, while the ring has that and when only the files do.
fn observe_from_the_oldest(arguments: &[&str]) {
    become_nobody();
    let queue = Queue::open(arguments[0]).unwrap();
    let mut observer = queue.observe(Start::Oldest).unwrap();
    assert_message(observer.receive(), 0, b"first");
    say("has it");
    stop_here();
    assert_message(queue.observe(Start::Last(1)).unwrap().receive(), 100, &[7; 1000]);
    let error = queue.observe(Start::Oldest).unwrap_err();
    let Error::File { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::PermissionDenied, "{error}");
}

#[test]
fn who_may_only_read_a_journalled_queue_begins_where_the_ring_does() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let name = Name::new("journal-of-root");
    let directory = Directory::new(&name);
    let options = options().mode(0o644).history(directory.path()).journal(Journal::Written);
    let queue = Queue::create(&name, &options).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send(b"first").unwrap();
    let mut peer = Peer::start("observe from the oldest", &[&name]);
    peer.await_word("has it");
    for _ in 0..100 {
        producer.send(&[7; 1000]).unwrap();
    }
    peer.await_stop();
    peer.go_on();
    peer.finish();
}

/// Has all the locks that somebody who may only read can have.
fn lock(arguments: &[&str]) {
    become_nobody();
    let file = File::open(format!("/dev/shm/ringway.{}", arguments[0])).unwrap();
    say(format_args!("{:?}", lock_bytes(&file, libc::F_RDLCK).is_ok()));
    loop {
        std::thread::park();
    }
}

/// The system lets whoever may read a file keep others from locking it. So a reader can keep
/// newcomers out for as long as it lives, which is why a queue is for its user alone unless asked
/// otherwise; those who are there it cannot hold up.
#[test]
fn who_may_read_can_keep_newcomers_out_while_it_lives_and_no_more() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let name = Name::new("locked");
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10).mode(0o644)).unwrap();
    let mut observer = queue.observe(Start::Oldest).unwrap();
    let mut peer = Peer::start("lock", &[&name]);
    peer.await_word("true");
    assert!(matches!(queue.producer(), Err(Error::ProducerAlive { .. })));
    assert!(matches!(queue.subscribe(&Subscribe::new()), Err(Error::MembersFull { .. })));
    assert!(matches!(Queue::remove(&name), Err(Error::InUse { .. })));
    let other = Name::new("locked-too");
    Queue::create(&other, &QueueOptions::new().capacity(64 << 10).mode(0o644)).unwrap();
    let mut others_peer = Peer::start("lock", &[&other]);
    others_peer.await_word("true");
    Queue::force_remove(&other).expect("a reader keeps nobody from that");
    others_peer.kill();
    assert_eq!(observer.try_receive().unwrap(), Received::Empty);
    peer.kill();
    let mut consumer = queue.subscribe(&Subscribe::new()).unwrap();
    let mut producer = queue.producer().unwrap();

    // Now that others are there, it gets no lock over all, and they work.
    let mut peer = Peer::start("lock", &[&name]);
    peer.await_word("false");
    for sequence in 0..1_000 {
        producer.send(b"undisturbed").unwrap();
        assert_message(consumer.receive(), sequence, b"undisturbed");
    }
    peer.kill();
}

fn send_as_nobody(arguments: &[&str]) {
    become_nobody();
    let queue = Queue::open(arguments[0]).unwrap();
    send_past_one_that_has_expired(&mut queue.producer().unwrap());
}

fn send_as_nobody_any_more(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    become_nobody();
    send_past_one_that_has_expired(&mut producer);
}

/// Sends until somebody is in the way, and goes on when nobody is.
fn send_past_one_that_has_expired(producer: &mut Producer) {
    while producer.held_by().is_empty() {
        let _ = producer.send_timeout(&[0; 1_000], Duration::from_millis(10)).unwrap();
    }
    assert_eq!(producer.try_send(&[0; 1_000]).unwrap(), Sent::Full);
    say("held");
    for _ in 0..200 {
        producer.send(&[0; 1_000]).unwrap();
    }
    say("went on");
}

/// Has a producer wait that may not do what root does then.
fn remove_for(role: &str, name: &Name, queue: &Queue) {
    let at_once = Duration::from_nanos(1);
    let workers = Subscribe::new().named("workers").on_lag(Lag::Hold).expires_after(at_once);
    assert!(queue.declare(&workers).unwrap());
    let mut peer = Peer::start(role, &[name]);
    peer.await_word("held");
    assert_eq!(queue.remove_expired().unwrap(), ["workers"]);
    peer.await_word("went on");
    peer.finish();
}

#[test]
fn a_producer_that_may_not_remove_who_has_expired_waits_for_somebody_who_may() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let name = Name::new("history-of-root");
    let directory = Directory::new(&name);
    let with_journal = options().history(directory.path()).journal(Journal::Written).mode(0o666);
    let queue = Queue::create(&name, &with_journal).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    remove_for("send as nobody", &name, &queue);
    journal.stop().unwrap();
    // One that may not even open the segment again.
    let (name, queue) = new_queue("of-root");
    remove_for("send as nobody any more", &name, &queue);
}

fn flush_as_nobody_any_more(arguments: &[&str]) {
    let mut producer = Queue::open(arguments[0]).unwrap().producer().unwrap();
    become_nobody();
    for sequence in 0..1_000 {
        assert_eq!(producer.send_durable(&[0; 1_000]).unwrap(), sequence);
    }
}

#[test]
fn a_producer_that_may_not_write_the_journal_leaves_it_to_who_does() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let name = Name::new("journal-of-root");
    let directory = Directory::new(&name);
    let options = options().history(directory.path()).journal(Journal::Written);
    let queue = Queue::create(&name, &options).unwrap();
    let journal = queue.journaler().unwrap().spawn();
    Peer::start("flush as nobody any more", &[&name]).finish();
    journal.stop().unwrap();
}

fn spilling_workers() -> Subscribe {
    let workers = Subscribe::new().named("workers").from(Start::Oldest).on_lag(Lag::Spill);
    workers.ack(AckMode::Manual).deliveries_max(1)
}

/// Goes on with a history that is nobody's, where root has left off.
fn go_on_as_nobody(arguments: &[&str]) {
    let [name, directory] = arguments else { panic!("{arguments:?}") };
    become_nobody();
    let with_journal = options().history(directory).journal(Journal::Written);
    let queue = Queue::create(name, &with_journal).unwrap();
    let mut worker = queue.subscribe(&spilling_workers()).unwrap();
    queue.producer().unwrap().send_durable(b"nobody's").unwrap();
    for sequence in 1..3 {
        let message = worker.receive().unwrap().message().unwrap();
        assert_eq!(message.sequence(), sequence);
        assert_eq!(message.ack().unwrap(), Acked::Done);
    }
    // It is for it alone to write down how far that one is.
    say("works");
    stop_here();
    let error = worker.close().unwrap_err();
    assert!(error.to_string().contains("workers.checkpoint"), "{error}");
    Queue::force_remove(name).unwrap();
}

#[test]
fn what_root_makes_in_the_history_of_another_user_is_that_users() {
    if !is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let _alive = watchdog();
    let name = Name::new("history-of-nobody");
    let directory = Directory::new(&name);
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let plain = options().history(directory.path());
    let with_journal = plain.clone().journal(Journal::Written);
    for (options, has_journal) in [(plain, false), (with_journal, true)] {
        let queue = Queue::create(&name, &options).unwrap();
        let mut spilling = queue.subscribe(&spilling_workers()).unwrap();
        let mut producer = queue.producer().unwrap();
        for _ in 0..2 {
            producer.send(b"root's").unwrap();
        }
        let message = spilling.receive().unwrap().message().unwrap();
        assert_eq!(message.nack().unwrap(), Nacked::DeadLetter);
        spilling.receive().unwrap().message().unwrap();
        if has_journal {
            producer.flush().unwrap();
        } else {
            for _ in 0..100 {
                producer.send(&[0; 1_000]).unwrap();
            }
        }
        let mut kinds = 0;
        let mut directories = vec![directory.path().to_path_buf()];
        while let Some(within) = directories.pop() {
            for entry in fs::read_dir(within).unwrap() {
                let path = entry.unwrap().path();
                let facts = fs::metadata(&path).unwrap();
                assert_eq!((facts.uid(), facts.gid()), (NOBODY, NOBODY), "{}", path.display());
                if facts.is_dir() {
                    kinds += 1;
                    directories.push(path);
                }
            }
        }
        assert!(kinds >= 2, "{kinds}");
        drop((spilling, producer));
        Queue::force_remove(&name).unwrap();
    }
    let path = directory.path().to_str().unwrap();
    let mut peer = Peer::start("go on as nobody", &[&name, path]);
    peer.await_word("works");
    peer.await_stop();
    let checkpoint = directory.file("subscriptions/workers.checkpoint");
    std::os::unix::fs::chown(&checkpoint, Some(0), Some(0)).unwrap();
    peer.go_on();
    peer.finish();
}

/// Has files of a journal that are too old, in a directory where nothing can be removed.
fn keep_what_cannot_be_removed(arguments: &[&str]) {
    let [name, directory] = arguments else { panic!("{arguments:?}") };
    become_nobody();
    let options = options().history(directory).journal(Journal::Written);
    let options = options.keep_for(Duration::from_millis(1));
    for _ in 0..2 {
        // Each begins a file.
        let _ = Queue::remove(name);
        let queue = Queue::create(name, &options).unwrap();
        queue.producer().unwrap().send_durable(b"too old soon").unwrap();
    }
    let log = format!("{directory}/log");
    let count = || fs::read_dir(&log).unwrap().count();
    assert_eq!(count(), 2);
    let set_mode = |mode| fs::set_permissions(&log, Permissions::from_mode(mode)).unwrap();
    set_mode(0o500);
    let queue = Queue::open(name).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.send_durable(b"there is room for this").unwrap();
    let journal = queue.journaler().unwrap().spawn();
    let error = loop {
        if let Some(error) = journal.error() {
            break error;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(error.to_string().contains("remove"), "{error}");
    producer.send(b"and for this").unwrap();
    assert!(producer.flush_timeout(Duration::from_secs(60)).unwrap());
    assert!(!journal.is_finished());
    let error = journal.stop().unwrap_err();
    assert!(error.to_string().contains("remove"), "{error}");
    let journal = queue.journaler().unwrap().spawn();
    set_mode(0o700);
    while count() > 1 || journal.error().is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
    journal.stop().unwrap();
    drop(producer);
    Queue::remove(name).unwrap();
}

#[test]
fn an_old_file_that_cannot_be_removed_is_told_and_in_the_way_of_nothing() {
    let _alive = watchdog();
    let name = Name::new("not-removed");
    let directory = Directory::new(&name);
    if is_root() {
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let path = directory.path().to_str().unwrap();
    Peer::start("keep what cannot be removed", &[&name, path]).finish();
}
