//! Inputs of the fuzzer: those that ever found something (`fuzz/finds`), and some at random.
//!
//! `RINGWAY_FUZZ` says how many at random, `RINGWAY_SEED` which. `fuzz/run` looks for more, guided
//! by what each input made the library do.

#![allow(clippy::print_stderr, reason = "which input it was is for whoever reads the output")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ringway::{Queue, QueueOptions};
use support::abuse::{WORDS, abuse, read_letters};
use support::abuse_history::abuse_history;
use support::{Directory, Name, Random, number_from, watchdog_of};

/// Takes the damaged queue away, whatever has become of it.
struct Abused(Name);

impl Drop for Abused {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.path());
        let _ = fs::remove_dir_all(format!("/dev/shm/{}.directory", &*self.0));
    }
}

/// Its inputs for a target that are kept, by their names.
fn finds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/finds").join(target);
    let paths = fs::read_dir(directory).expect("a directory of finds");
    let find =
        |path: std::path::PathBuf| (path.display().to_string(), fs::read(path).expect("a file"));
    paths.map(|entry| find(entry.expect("a find").path())).collect()
}

#[test]
fn what_the_fuzzer_ever_found_is_harmless() {
    let _alive = watchdog_of(Duration::from_secs(240));
    let abused = Abused(Name::new("finds"));
    for (find, input) in finds("segment") {
        eprintln!("{find}");
        abuse(&abused.0, &input);
    }
    let name = Name::new("letters");
    let directory = Directory::new(&name);
    let queue = Queue::create(&name, &QueueOptions::new().capacity(64 << 10)).unwrap();
    for (find, input) in finds("letters") {
        eprintln!("{find}: {} letters", read_letters(&queue, directory.path(), &input));
    }
    let abused = Abused(Name::new("history-finds"));
    for (find, input) in finds("history") {
        eprintln!("{find}");
        abuse_history(&abused.0, &input);
    }
}

/// Tries inputs at random, on a queue of its own.
fn try_some(purpose: &str, new_input: fn(&mut Random) -> Vec<u8>, abuse: fn(&str, &[u8])) {
    let count = number_from("RINGWAY_FUZZ", 150);
    let _alive = watchdog_of(Duration::from_secs(240) + Duration::from_millis(100 * count));
    let abused = Abused(Name::new(purpose));
    let mut random = Random::from_environment();
    for _ in 0..count {
        let input = new_input(&mut random);
        let result = std::panic::catch_unwind(|| abuse(&abused.0, &input));
        assert!(result.is_ok(), "{input:?}");
    }
}

#[test]
fn no_use_of_a_damaged_queue_does_harm() {
    try_some("abused", new_input, abuse);
}

#[test]
fn no_use_of_a_damaged_history_does_harm() {
    try_some("abused-history", new_history_input, abuse_history);
}

/// Damages files, reads and mends them, and then has a queue go on with what there is.
fn new_history_input(random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..=random.below(3) {
        // Mostly in the first frames, of any file, and mostly by a bit or a byte.
        let mut byte = |limit| u8::try_from(random.below(limit)).expect("a byte");
        input.extend([0, byte(256), byte(8), byte(256), 48 + byte(128), byte(256)]);
        if byte(4) == 0 {
            input.extend([3 | byte(16) << 4, byte(256), byte(6), byte(256)]);
        }
    }
    // Reads it, has the queue again, joins by a reader and a member, receives, sends, receives.
    input.extend([5, 0, 7, 9, 0, 0x89, 0, 10, 255, 0x1a, 255, 12, 40, 13, 10, 255]);
    for _ in 0..random.below(30) {
        input.push(u8::try_from(random.below(256)).expect("a byte"));
    }
    input
}

/// Opens everything, and then uses it and damages it in turns.
fn new_input(random: &mut Random) -> Vec<u8> {
    let mut input = vec![3, 4, 0x07, 0x17, 0x27, 0x47, 12];
    for _ in 0..random.below(60) {
        let mut byte = |limit| u8::try_from(random.below(limit)).expect("a byte");
        let command = byte(256);
        input.push(command);
        match command & 15 {
            0..3 => {
                // Mostly where the tables and the next frames are.
                let place =
                    if command & 0x80 == 0 { [0, byte(256)] } else { [byte(32), byte(256)] };
                input.extend(place);
                input.push(byte(WORDS.len() as u64 + 96));
            }
            5 => input.extend([byte(40), byte(256)]),
            6 | 8 | 10 | 13 => input.push(byte(64)),
            _ => {}
        }
    }
    input
}
