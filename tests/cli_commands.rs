//! `ringway sub --exec`: commands that are none.

mod support;

use support::program::{code, print, print_json, run, said};
use support::{Directory, Name, watchdog};

#[test]
fn a_command_that_is_empty_acknowledges_nothing() {
    let _watchdog = watchdog();
    let name = Name::new("empty-command");
    print(&["pub", &name, "--create", "-q", "a"]);
    for command in ["", " ", "\n\t"] {
        let refused =
            run(&["sub", &name, "--as", "w", "--from", "oldest", "-e", "--exec", command]);
        assert_eq!(code(&refused), 2, "{}", said(&refused));
        assert!(said(&refused).contains("this one is empty"), "{}", said(&refused));
    }
    assert_eq!(print(&["sub", &name, "--as", "w", "--from", "oldest", "-e"]), b"a\n");
}

#[test]
fn a_command_that_is_none_says_what_becomes_of_its_message() {
    let _watchdog = watchdog();
    let name = Name::new("lost-command");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    print(&["pub", &name, "-q", "a", "b"]);
    let sub = ["sub", &name, "--as", "w", "--from", "oldest", "-e", "--max-deliveries", "2"];
    let try_it = || {
        let failed = run(&[&sub[..], &["--exec", "./no-such-command"]].concat());
        assert_eq!(code(&failed), 1, "{}", said(&failed));
        said(&failed)
    };
    let said = try_it();
    assert!(said.contains("message 0 went back, after delivery 1 of 2\n"), "{said}");
    let said = try_it();
    assert!(
        said.contains("delivery 2 of 2 of message 0: the next member makes it a dead letter"),
        "{said}"
    );
    let said = try_it();
    let words =
        "message 1 went back, after delivery 1 of 2; meanwhile 1 message became a dead letter\n";
    assert!(said.contains(words), "{said}");
    assert_eq!(print_json(&["subscriptions", &name, "--json"])[0]["dead_letters"], 1);
    print(&["rm", &name, "--history", "--yes", "-q"]);
}
