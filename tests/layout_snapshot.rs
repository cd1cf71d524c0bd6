//! The segment's layout as it was last agreed on, in `layout.txt`: nobody changes a byte of the
//! format without noticing.

use std::fmt::Write;
use std::fs;

use ringway::layout::{MAGIC, MAJOR, MINOR, commit_word_bits, fields, places};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout.txt");
const UPDATE: &str = "RINGWAY_UPDATE_SNAPSHOTS";

#[test]
fn the_layout_is_the_agreed_one() {
    let printed = print();
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(SNAPSHOT, printed).expect("the snapshot can be written");
        return;
    }
    let agreed = fs::read_to_string(SNAPSHOT).expect("the snapshot is there");
    let changes = changes(&agreed, &printed);
    assert!(
        changes.is_empty(),
        "the segment's layout has changed:\n\n{changes}\n\
         Raise MAJOR in src/layout/mod.rs if an older build must not attach to such a segment, MINOR \
         if it may;\nneither if only words have changed that a reader of the table reads. Then \
         renew tests/layout.txt with\n\n    {UPDATE}=1 cargo test --test layout_snapshot\n"
    );
}

/// Every part of the format that `ringway::layout` tells, a line for each.
fn print() -> String {
    let mut text = format!("layout {MAJOR}.{MINOR}, magic {}\n", MAGIC.escape_ascii());
    let mut line = |line: std::fmt::Arguments| writeln!(text, "{line}").expect("a string");

    line(format_args!("\nplaces"));
    for (part, place) in places() {
        line(format_args!("  {part:13} {place}"));
    }
    let mut last = "";
    for field in fields() {
        if field.part != last {
            line(format_args!("\n{}", field.part));
            last = field.part;
        }
        let (offset, size, name) = (field.offset, field.size, field.name);
        line(format_args!(
            "  {offset:#05x} {size:4}  {name:18} {:9} {}",
            field.writer, field.meaning
        ));
    }
    line(format_args!("\ncommit word"));
    for (name, first, count, meaning) in commit_word_bits() {
        line(format_args!("  bit {first:2} {count:4}  {name:18} {meaning}"));
    }
    text
}

/// The lines that only one of the texts has.
fn changes(agreed: &str, printed: &str) -> String {
    let missing = |from: &str, other: &str, sign: &str| -> Vec<String> {
        let lines = from.lines().filter(|line| !other.lines().any(|there| there == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    let changes = [missing(agreed, printed, "-"), missing(printed, agreed, "+")].concat().concat();
    if changes.is_empty() && agreed != printed {
        "the order of the lines\n".into()
    } else {
        changes
    }
}
