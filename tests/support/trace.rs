//! Another process, one instruction at a time.

use std::fs::{self, File};
use std::io;
use std::ops::AddAssign;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;

use ringway::Queue;

use super::abuse_history::{Contents, contents, restore};
use super::segment::header;
use super::{Directory, Name, Peer, Random, say};

/// A peer that takes a step when it is told to.
pub(crate) struct Traced {
    peer: Peer,
    thread: libc::pid_t,
}

impl Traced {
    /// Starts a peer in a role that calls [`followed`], and lets it run until it does.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Self {
        let mut peer = Peer::start(role, arguments);
        let thread = peer.hear().parse().expect("the thread's number");
        let traced = Self { peer, thread };
        assert_eq!(traced.await_stop(), libc::SIGSTOP, "it waits to be followed");
        traced
    }

    /// Lets it carry out one instruction; `false` if it has done all that was to be followed.
    pub(crate) fn step(&self) -> bool {
        self.request(libc::PTRACE_SINGLESTEP);
        match self.await_stop() {
            libc::SIGTRAP => true,
            libc::SIGSTOP => false,
            signal => panic!("it got signal {signal}"),
        }
    }

    /// Lets it do the rest of what was to be followed.
    pub(crate) fn go_on(&self) {
        self.request(libc::PTRACE_CONT);
        assert_eq!(self.await_stop(), libc::SIGSTOP);
    }

    /// What it says.
    pub(crate) fn hear(&mut self) -> String {
        self.peer.hear()
    }

    pub(crate) fn id(&self) -> u32 {
        self.peer.id()
    }

    fn request(&self, request: libc::c_uint) {
        let none = ptr::null_mut::<libc::c_void>();
        // SAFETY: the thread is traced by this one, and stopped; the request has no data.
        let result = unsafe { libc::ptrace(request, self.thread, none, none) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    fn await_stop(&self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: the status outlives the call.
        let stopped = unsafe { libc::waitpid(self.thread, &raw mut status, libc::__WALL) };
        assert_eq!(stopped, self.thread, "{}", io::Error::last_os_error());
        assert!(libc::WIFSTOPPED(status), "it ended: {status:#x}");
        libc::WSTOPSIG(status)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.peer.signal(libc::SIGKILL);
        // Its process is waited for when its thread has been.
        let mut status = 0;
        loop {
            // SAFETY: the status outlives the call.
            let ended = unsafe { libc::waitpid(self.thread, &raw mut status, libc::__WALL) };
            if ended != self.thread || !libc::WIFSTOPPED(status) {
                break;
            }
        }
    }
}

/// Does something step by step, as whoever started this process says, and then waits to be killed.
pub(crate) fn followed(act: impl FnOnce()) -> ! {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: a request without data. The process that started this one follows it from now on.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) }, 0);
    // SAFETY: a call without pointers.
    say(unsafe { libc::gettid() });
    halt();
    act();
    halt();
    unreachable!("it is not followed any further");
}

/// Stops this thread alone, until whoever follows it lets it go on.
fn halt() {
    // SAFETY: a call without pointers.
    let thread = unsafe { libc::gettid() };
    // SAFETY: a signal to this thread, which its tracer takes for itself.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGSTOP) };
}

/// A segment's bytes as they are, to be looked at while nobody changes them.
struct View {
    base: *mut libc::c_void,
    size: usize,
}

impl View {
    fn new(file: &File) -> Self {
        let size = usize::try_from(file.metadata().expect("a file").len()).expect("a small file");
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { base, size }
    }

    /// Nobody changes the segment while the result is in use.
    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is as long as that; callers see to the rest.
        unsafe { std::slice::from_raw_parts(self.base.cast(), self.size) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a part of it any more.
        unsafe { libc::munmap(self.base, self.size) };
    }
}

/// What a death leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Estate {
    segment: Vec<u8>,
    /// The files that belong to the queue.
    files: Contents,
}

/// A queue as somebody's death left it.
pub(crate) struct Copy {
    pub(crate) name: Name,
    pub(crate) directory: Directory,
}

impl Copy {
    pub(crate) fn new() -> Self {
        let name = Name::new("copy");
        let directory = Directory::new(&name);
        Self { name, directory }
    }

    /// Makes it what the dead left, and nobody lives there.
    pub(crate) fn open(&self, estate: &Estate) -> Queue {
        self.restart(estate);
        let mut segment = estate.segment.clone();
        let history = &mut segment[header("history")];
        if history[0] != 0 {
            history.fill(0);
            let path = self.directory.text().as_bytes();
            history[..path.len()].copy_from_slice(path);
        }
        fs::write(self.name.path(), segment).unwrap();
        Queue::open(&self.name).unwrap()
    }

    /// Makes it what is left of that when the machine is started again.
    pub(crate) fn restart(&self, estate: &Estate) {
        let _ = Queue::force_remove(&self.name);
        restore(&self.name, self.directory.path(), &estate.files);
    }
}

/// What a sweep met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Swept {
    pub(crate) instructions: u64,
    /// How often the estate was another after an instruction than before it.
    pub(crate) states: u64,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, more: Self) {
        self.instructions += more.instructions;
        self.states += more.states;
    }
}

/// Whether everything is to be swept.
pub(crate) fn is_all_to_be_swept() -> bool {
    std::env::var("RINGWAY_SWEEP").is_ok_and(|what| what == "all")
}

/// All of them if everything is to be swept, or else so many, at random.
pub(crate) fn some_to_sweep<T>(random: &mut Random, count: usize, mut all: Vec<T>) -> Vec<T> {
    if is_all_to_be_swept() {
        return all;
    }
    let mut pick = || {
        let index = random.below(all.len() as u64);
        all.swap_remove(usize::try_from(index).unwrap())
    };
    (0..count).map(|_| pick()).collect()
}

/// Follows a peer from one instruction to the next. The segment and the files in the queue's
/// directory are looked at after each; whenever they are not as they were, and at the end, they are
/// given to `check`, with whether it is the end.
pub(crate) fn sweep(
    name: &Name,
    directory: &Path,
    traced: &Traced,
    mut check: impl FnMut(&Estate, bool),
) -> Swept {
    let view = View::new(&File::open(name.path()).expect("the queue's file"));
    let mut estate = Estate { segment: view.bytes().to_vec(), files: contents(directory) };
    let mut swept = Swept { instructions: 0, states: 1 };
    check(&estate, false);
    while traced.step() {
        swept.instructions += 1;
        let files = contents(directory);
        if view.bytes() != estate.segment || files != estate.files {
            estate.segment.copy_from_slice(view.bytes());
            estate.files = files;
            swept.states += 1;
            check(&estate, false);
        }
    }
    check(&estate, true);
    swept
}
