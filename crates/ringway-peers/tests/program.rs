//! The program as it is run: every system that needs nothing else passes its check, and what is
//! not built in is named.

use std::process::Command;

/// Of the kernel's and our own, so that the test says the same in every build.
const SYSTEMS: &str = "ringway,ceiling,pipe,unix-stream,unix-seqpacket,posix-mq";

fn program(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway-peers"))
        .args(arguments)
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn systems_take_refuse_and_deliver_as_they_promise() {
    // Whatever is measured, the checks come first; this takes no time.
    let text = program(&["--only", SYSTEMS, "--measure", "memory", "--quick"]);
    assert!(!text.contains("failed"), "{text}");
}

#[test]
fn what_is_missing_is_named() {
    let text = program(&["--list"]);
    for name in [
        "ringway",
        "ringfire",
        "shaq",
        "iceoryx2",
        "aeron",
        "zeromq",
        "redis-streams",
        "rabbitmq",
        "rtrb",
    ] {
        assert!(text.contains(&format!("{name}: ")), "{name} is not in\n{text}");
    }
}

#[test]
fn a_choice_of_nothing_is_an_error_that_names_what_there_is() {
    for (arguments, wrong, right) in [
        (["--only", "carrier-pigeon"], "'carrier-pigeon'", "posix-mq"),
        (["--measure", "patience"], "'patience'", "round trip, busy"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringway-peers"))
            .args(arguments)
            .output()
            .expect("the program starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(wrong) && errors.contains(right), "{errors}");
    }
}
