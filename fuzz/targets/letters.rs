//! A file of dead letters that somebody else has written.

#![no_main]

#[allow(dead_code, reason = "a segment is another target's")]
#[path = "../../tests/support/abuse.rs"]
mod abuse;

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ringway::{Queue, QueueOptions};

static QUEUE: OnceLock<(Queue, PathBuf)> = OnceLock::new();

fn new_queue() -> (Queue, PathBuf) {
    let name = format!("fuzzed-letters-{}", std::process::id());
    let _ = Queue::force_remove(&name);
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10).members(1));
    // Nothing but the handle is needed.
    Queue::force_remove(&name).expect("our own");
    (queue.expect("a queue"), PathBuf::from(format!("/dev/shm/{name}.directory")))
}

fuzz_target!(|input: &[u8]| {
    let (queue, directory) = QUEUE.get_or_init(new_queue);
    let _ = abuse::read_letters(queue, directory, input);
});
