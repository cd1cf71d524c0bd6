//! Header, tables and frames of a live segment, damaged while everybody works.

#![no_main]

#[allow(dead_code, reason = "letters are another target's")]
#[path = "../../tests/support/abuse.rs"]
mod abuse;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| abuse::abuse(&format!("fuzzed-{}", std::process::id()), input));
