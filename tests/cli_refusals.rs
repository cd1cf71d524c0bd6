//! What the program says where it cannot do what was meant, or would do something else.

mod support;

use support::program::{code, print, print_json, run, said};
use support::{Directory, Name, watchdog};

/// Has the program fail with this exit code and these words.
fn refuse(arguments: &[&str], expected: i32, words: &[&str]) {
    let output = run(arguments);
    assert_eq!(code(&output), expected, "{arguments:?}: {}", said(&output));
    for words in words {
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
}

/// What the program says besides, having succeeded.
fn note(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", said(&output));
    said(&output)
}

fn queue(purpose: &str, messages: &[&str]) -> Name {
    let name = Name::new(purpose);
    print(&["create", &name, "-q", "--capacity", "64KiB"]);
    print(&[&["pub", &name, "-q", "--"], messages].concat());
    name
}

#[test]
fn only_the_user_that_is_named_is_trusted() {
    let _watchdog = watchdog();
    let name = queue("owner", &["a"]);
    refuse(&["info", &name, "--owner", "4242"], 3, &["and only user 4242 was named"]);
}

