//! The `ringway` program, run as its users run it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use ringway::Queue;
use serde_json::Value;

pub(crate) fn ringway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let be_mortal = || {
        // SAFETY: a call without pointers: nobody shall outlive the test.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Ok(())
    };
    // SAFETY: what it calls may be called between fork and exec.
    unsafe { command.pre_exec(be_mortal) };
    command
}

/// Runs it to its end, with this input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = ringway(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    run_with(arguments, b"")
}

/// Runs the program at a terminal, where somebody answers this.
pub(crate) fn answer(arguments: &[&str], answer: &[u8]) -> Output {
    let (child, mut terminal) = start_at_terminal(arguments);
    terminal.write_all(answer).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs the program at a terminal, where somebody does this once there is a question, and then agrees.
pub(crate) fn agree_after(arguments: &[&str], act: impl FnOnce()) -> Output {
    let (mut child, mut terminal) = start_at_terminal(arguments);
    let mut asked = Vec::new();
    while !asked.ends_with(b"[y/N]") {
        let mut byte = [0];
        child.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
        asked.extend(byte);
    }
    act();
    terminal.write_all(b"y\n").unwrap();
    child.wait_with_output().unwrap()
}

/// Starts the program with a terminal as its standard input, which is at the other end of the file.
fn start_at_terminal(arguments: &[&str]) -> (Child, File) {
    let (mut terminal, mut end) = (-1, -1);
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: two places for descriptors, and nothing else.
    let made = unsafe { libc::openpty(&raw mut terminal, &raw mut end, name, settings, size) };
    assert_eq!(made, 0);
    // SAFETY: a descriptor that was made just now, and is nobody else's.
    let terminal = File::from(unsafe { OwnedFd::from_raw_fd(terminal) });
    // SAFETY: likewise.
    let end = unsafe { OwnedFd::from_raw_fd(end) };
    (ringway(arguments).stdin(Stdio::from(end)).spawn().unwrap(), terminal)
}

/// What it printed, having succeeded.
pub(crate) fn print(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", said(&output));
    output.stdout
}

pub(crate) fn print_json(arguments: &[&str]) -> Value {
    serde_json::from_slice(&print(arguments)).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit, not a signal")
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits until the program has said something with these words in it.
pub(crate) fn await_words(child: &mut Child, words: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(words)), "it never said {words:?}");
    // What it says later has a place to go.
    std::thread::spawn(move || lines.for_each(drop));
}

/// Waits until so many consumers live.
pub(crate) fn await_consumers(name: &str, count: usize) {
    let queue = Queue::open(name).unwrap();
    while queue.info().unwrap().consumers.iter().filter(|consumer| consumer.alive).count() != count
    {
        std::thread::yield_now();
    }
}

pub(crate) fn signal(child: &Child, signal: i32) {
    // SAFETY: our child, which nobody has waited for yet.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

/// [`limit_files`](super::limit_files), of a program that can be limited.
pub(crate) fn limit_files_of(process: &Child, size: u64) {
    let limit = libc::rlimit { rlim_cur: size, rlim_max: libc::RLIM_INFINITY };
    let id = process.id().cast_signed();
    // SAFETY: the struct outlives the call.
    let result =
        unsafe { libc::prlimit(id, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The program, which a limit for the size of files does not kill.
pub(crate) fn that_can_be_limited(arguments: &[&str]) -> Command {
    with_signal(arguments, libc::SIGXFSZ, libc::SIG_IGN)
}

/// The program, where from the beginning no file may become larger.
pub(crate) fn limited(arguments: &[&str], size: u64) -> Command {
    let mut command = ringway(arguments);
    // SAFETY: it may be called between fork and exec.
    unsafe { command.pre_exec(move || super::limit_files(size)) };
    command
}

/// The program, which a terminal that is closed ends, also where whoever runs the tests ignores that.
pub(crate) fn that_can_be_hung_up(arguments: &[&str]) -> Command {
    with_signal(arguments, libc::SIGHUP, libc::SIG_DFL)
}

/// The program, started by somebody who does not ask how its children end.
pub(crate) fn of_careless_parents(arguments: &[&str]) -> Command {
    with_signal(arguments, libc::SIGCHLD, libc::SIG_IGN)
}

fn with_signal(arguments: &[&str], signal: i32, disposition: libc::sighandler_t) -> Command {
    let mut command = ringway(arguments);
    let dispose = move || {
        // SAFETY: neither ignoring a signal nor not doing so has a handler to be unsafe.
        unsafe { libc::signal(signal, disposition) };
        Ok(())
    };
    // SAFETY: what it calls may be called between fork and exec.
    unsafe { command.pre_exec(dispose) };
    command
}
