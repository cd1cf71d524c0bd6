//! The files of a journal and its checkpoints, damaged while everybody reads and writes them.

#![no_main]

#[allow(dead_code, reason = "a segment and letters are other targets'")]
#[path = "../../tests/support/abuse.rs"]
mod abuse;
#[path = "../../tests/support/abuse_history.rs"]
mod abuse_history;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    abuse_history::abuse_history(&format!("fuzzed-history-{}", std::process::id()), input);
});
