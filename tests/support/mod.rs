//! What the tests share: names for queues, a watchdog, and second processes.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::print_stderr, reason = "how tests speak")]

pub(crate) mod abuse;
pub(crate) mod abuse_history;
pub(crate) mod history;
pub(crate) mod namespace;
pub(crate) mod program;
pub(crate) mod schema;
pub(crate) mod segment;
pub(crate) mod trace;
pub(crate) mod users;

use std::fs;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ringway::{Error, Holder, Message, Producer, Queue, Received};

/// From now on no file of this process may become larger, which is to one process what a full disk is
/// to all. May be called between fork and exec, and lasts beyond that.
pub(crate) fn limit_files(size: u64) -> io::Result<()> {
    // SAFETY: ignoring a signal has no handler to be unsafe.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = libc::rlimit { rlim_cur: size, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the struct outlives the call.
    users::check(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) })
}

/// From now on the system refuses these calls of this thread, and of those that it makes.
#[allow(clippy::cast_possible_truncation, reason = "codes that the fields are made for")]
pub(crate) fn refuse(calls: &[libc::c_long], errno: libc::c_int) {
    let step = |code: u32, k, jt| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut steps = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    let is_one = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    // Over the calls behind it, and what lets others pass.
    let jumps = calls.iter().zip((1..=calls.len() as u8).rev());
    steps.extend(jumps.map(|(call, over)| step(is_one, call.cast_unsigned() as u32, over)));
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    let refused = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    steps.push(step(libc::BPF_RET | libc::BPF_K, refused, 0));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: a call without pointers.
    users::check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).unwrap();
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program and its steps outlive the call.
    users::check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) }).unwrap();
}

/// A queue's name that no other test has. The queue goes away with it.
#[derive(Debug)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(purpose: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("test-{purpose}-{}-{count}", std::process::id()))
    }

    /// Where the segment's file stands.
    pub(crate) fn path(&self) -> String {
        format!("/dev/shm/ringway.{}", self.0)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Queue::force_remove(&self.0);
        // Where that is refused: what is somebody else's, or no queue.
        let _ = fs::remove_file(self.path());
    }
}

/// A directory for files that no other test has. It goes away with all that is in it.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &Name) -> Self {
        Self::within(&std::env::temp_dir(), name)
    }

    /// One where nobody waits for a disk.
    pub(crate) fn in_memory(name: &Name) -> Self {
        Self::within(Path::new("/dev/shm"), name)
    }

    fn within(parent: &Path, name: &Name) -> Self {
        let path = parent.join(format!("ringway-{}", &**name));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path as an argument of a program.
    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn file(&self, name: impl std::fmt::Display) -> PathBuf {
        self.0.join(name.to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Tells the threads of a test that it is over, also if it fails: whoever leaves their scope waits for
/// them.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends the whole process if a test hangs. Nothing timed decides whether a test passes.
pub(crate) struct Watchdog(Sender<()>);

/// To be kept for the length of a test.
pub(crate) fn watchdog() -> Watchdog {
    watchdog_of(Duration::from_secs(240))
}

/// One with more patience, for tests that are told to take their time.
pub(crate) fn watchdog_of(patience: Duration) -> Watchdog {
    let (alive, ended) = channel::<()>();
    let test = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(patience) {
            // `eprintln` would keep it with what the test printed, which the abort takes along.
            let mut stderr = io::stderr();
            let _ =
                writeln!(stderr, "the watchdog ends {test}, which has not ended in {patience:?}");
            std::process::abort();
        }
    });
    Watchdog(alive)
}

/// Rounds in each of which somebody who sleeps is to be called. Who is not called wakes up all the same
/// after a tenth of a second; so long a round may take on a busy machine too, but not one in eight.
pub(crate) struct Calls {
    late: u64,
    late_max: u64,
}

impl Calls {
    pub(crate) fn in_rounds(count: u64) -> Self {
        Self { late: 0, late_max: count / 8 }
    }

    pub(crate) fn round<T>(&mut self, play: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let outcome = play();
        self.late += u64::from(begin.elapsed() >= Duration::from_millis(100));
        assert!(self.late <= self.late_max, "nobody calls");
        outcome
    }
}

const ROLE: &str = "RINGWAY_TEST_ROLE";
const SAYS: &str = "peer says: ";

/// A second process: this test program once more, in a role that its test `peer` plays.
pub(crate) struct Peer {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Peer {
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Self {
        Self::spawn(role, arguments, |_| {}).expect("a second process")
    }

    /// Starts a peer by way of another program, which runs it.
    pub(crate) fn start_by(program: &[&str], role: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(std::env::current_exe()?);
        Self::spawn_as(command, role, arguments, |_| {})
    }

    fn spawn(
        role: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        Self::spawn_as(Command::new(std::env::current_exe()?), role, arguments, prepare)
    }

    fn spawn_as(
        mut command: Command,
        role: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        let role = [&[role], arguments].concat().join("\n");
        command.args(["--exact", "peer", "--nocapture"]).env(ROLE, role);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn()?;
        let said = BufReader::new(child.stderr.take().expect("piped")).lines();
        Ok(Self { child, said })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that the peer [`say`]s. What else it writes, a panic's message say, is
    /// passed on.
    pub(crate) fn hear(&mut self) -> String {
        for line in self.said.by_ref() {
            let line = line.expect("text");
            match line.split_once(SAYS) {
                Some((_, said)) => return said.to_owned(),
                None => eprintln!("{line}"),
            }
        }
        panic!("the peer ended without a word: {:?}", self.child.wait());
    }

    /// Waits until the peer has said this.
    pub(crate) fn await_word(&mut self, word: &str) {
        assert_eq!(self.hear(), word);
    }

    /// Kills the peer, wherever it is (`SIGKILL`).
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our child");
        let _ = self.child.wait();
    }

    /// Kills the peer, which has not ended by itself.
    pub(crate) fn kill_living(mut self) {
        self.child.kill().expect("our child");
        let status = self.child.wait().expect("our child");
        if status.signal() != Some(libc::SIGKILL) {
            for line in self.said.by_ref() {
                eprintln!("{}", line.expect("text"));
            }
            panic!("it had ended before: {status}");
        }
    }

    /// Waits for the peer to end, and tells how it did and what it has said since it was last heard.
    pub(crate) fn ending_and_words(mut self) -> (ExitStatus, Vec<String>) {
        let lines = self.said.by_ref().map(|line| line.expect("text"));
        let said = lines.filter_map(|line| {
            let word = line.split_once(SAYS).map(|(_, word)| word.to_owned());
            if word.is_none() {
                eprintln!("{line}");
            }
            word
        });
        let said = said.collect();
        (self.child.wait().expect("our child"), said)
    }

    /// Kills the peer, which has not ended by itself, and tells what it has said since it was last
    /// heard. A last word that was cut off is none.
    pub(crate) fn kill_and_hear(mut self) -> Vec<String> {
        self.child.kill().expect("our child");
        let status = self.child.wait().expect("our child");
        let lines: Vec<_> = self.said.by_ref().map(|line| line.expect("text")).collect();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it had ended before: {lines:#?}");
        let said = lines.iter().filter_map(|line| line.split_once(SAYS));
        said.map(|(_, word)| word.to_owned()).collect()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: the process is our child, and not waited for yet.
        assert_eq!(unsafe { libc::kill(self.id().cast_signed(), signal) }, 0);
    }

    /// Stops the peer, wherever it is.
    pub(crate) fn stop(&self) {
        self.signal(libc::SIGSTOP);
        self.await_stop();
    }

    /// Waits until it has been stopped, by whomever.
    pub(crate) fn await_stop(&self) {
        let (id, mut status) = (self.id().cast_signed(), 0);
        // SAFETY: the status outlives the call. A child that is stopped is not waited for by this.
        let stopped = unsafe { libc::waitpid(id, &raw mut status, libc::WUNTRACED) };
        assert_eq!(stopped, id);
        assert!(libc::WIFSTOPPED(status), "the peer ended: {status}");
    }

    /// Lets a stopped peer go on.
    pub(crate) fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for the peer to end, and says how it did.
    pub(crate) fn ending(mut self) -> ExitStatus {
        for line in self.said.by_ref() {
            eprintln!("{}", line.expect("text"));
        }
        self.child.wait().expect("our child")
    }

    /// Waits for the peer to end, and says whether that was with success.
    pub(crate) fn ends_well(self) -> bool {
        self.ending().success()
    }

    /// Waits for the peer to end, which is to be with success.
    pub(crate) fn finish(self) {
        let status = self.ending();
        assert!(status.success(), "the peer failed: {status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a role does, with its arguments.
pub(crate) type Role = fn(&[&str]);

/// The whole of the test `peer`: plays the role that this process was started for, if any.
pub(crate) fn play(roles: &[(&str, Role)]) {
    let Ok(role) = std::env::var(ROLE) else { return };
    // SAFETY: a call without pointers: nobody shall outlive the test.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let words: Vec<&str> = role.split('\n').collect();
    let (_, act) = roles.iter().find(|(name, _)| *name == words[0]).expect("a role that exists");
    act(&words[1..]);
}

/// Stops this process, until another lets it go on.
pub(crate) fn stop_here() {
    // SAFETY: a call without pointers.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Tells the process that started this one.
pub(crate) fn say(word: impl std::fmt::Display) {
    eprintln!("{SAYS}{word}");
}

/// Insists on the message that was due.
#[track_caller]
pub(crate) fn assert_message(
    received: Result<Received<Message<'_>>, Error>,
    sequence: u64,
    payload: &[u8],
) {
    match received.unwrap() {
        Received::Message(message) => {
            assert_eq!((message.sequence(), message.payload()), (sequence, payload));
        }
        other => panic!("message {sequence} was expected: {other:?}"),
    }
}

/// The consumers that hold a producer, by their lines in the member table.
pub(crate) fn holding_members(producer: &Producer) -> Vec<u32> {
    let holders = producer.held_by().into_iter();
    holders
        .map(|holder| match holder {
            Holder::Consumer { member, .. } => member,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// A number that the environment may set.
pub(crate) fn number_from(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect("a number in the environment"))
}

/// A number that looks random, and is the same whenever the same is asked.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let number = (number ^ (number >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    number ^ (number >> 32)
}

/// Numbers that a seed decides.
pub(crate) struct Random(u64);

impl Random {
    /// By `RINGWAY_SEED`, or else by the clock; the seed is printed, to be given again.
    pub(crate) fn from_environment() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let by_clock = now.expect("after 1970").subsec_nanos().into();
        let seed = number_from("RINGWAY_SEED", by_clock);
        eprintln!("RINGWAY_SEED={seed}");
        Self(seed)
    }

    /// By a seed of its own.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % limit
    }
}
