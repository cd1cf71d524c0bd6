//! The `ringway` program, run as its users run it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use ringway::Queue;
use serde_json::Value;

pub(crate) fn ringway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
