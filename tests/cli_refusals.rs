//! What the program says where it cannot do what was meant, or would do something else.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use support::program::{code, print, print_json, ringway, run, said};
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
fn a_delimiter_is_refused_where_it_has_no_effect() {
    let _watchdog = watchdog();
    let name = queue("delimiter", &["a"]);
    for sub in [&["sub", &name][..], &["sub", &name, "--as", "w"], &["sub", &name, "--with-queue"]]
    {
        let sub = [sub, &["-e", "--from", "oldest"]].concat();
        refuse(&[&sub[..], &["-f", "jsonl", "-D", ";"]].concat(), 2, &["leave --delimiter out"]);
    }
    refuse(&["sub", &name, "--with-queue", "-D", "len32"], 2, &["no place in len32"]);
    let shown = print_json(&["subscriptions", &name, "--json"]);
    assert_eq!(shown, serde_json::json!([]), "made all the same");
}

#[test]
fn only_the_user_that_is_named_is_trusted() {
    let _watchdog = watchdog();
    let name = queue("owner", &["a"]);
    refuse(&["info", &name, "--owner", "4242"], 3, &["and only user 4242 was named"]);
    let by_name = code(&run(&["info", &name, "--owner", "root"]));
    assert_eq!(by_name, code(&run(&["info", &name, "--owner", "0"])));
}

#[test]
fn dead_letters_are_looked_for_where_they_can_be() {
    let _watchdog = watchdog();
    let (name, bare) = (Name::new("letters"), queue("no-letters", &["a"]));
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text()]);
    print(&["sub", &name, "--as", "w", "-e"]);
    for action in [&["ls"][..], &["show", "--all"], &["drop", "--all"]] {
        let of = [&["dead-letters"], action, &[&name, "w"]].concat();
        refuse(&[&of[..], &["--dir", "/dev/null"]].concat(), 3, &["/dev/null"]);
    }
    let missing = directory.file("nowhere").display().to_string();
    refuse(&["dead-letters", "ls", &name, "w", "--dir", &missing], 3, &[&missing]);
    let none = format!("'w' of queue '{}' has no dead letters", &*name);
    assert!(note(&["dead-letters", "ls", &name, "w"]).contains(&none));
    refuse(&["dead-letters", "ls", &bare, "w"], 2, &["no history directory", "--dir DIR"]);
    for action in ["show", "drop", "send-again"] {
        refuse(&["dead-letters", action, &name, "zzz", "77"], 3, &["has no subscription 'zzz'"]);
        refuse(&["dead-letters", action, &name, "w", "77"], 3, &["has no dead letter 77"]);
    }
    print(&["rm", &name, "--history", "--yes", "-q"]);
}

#[test]
fn what_never_comes_is_not_waited_for() {
    let _watchdog = watchdog();
    let name = Name::new("places");
    print(&["create", &name, "-q", "-m", "1"]);
    refuse(&["pub", &name, "-w", "2", "x"], 2, &["has places for 1 consumer", "--members"]);
    let place = ringway::Queue::open(&name).unwrap();
    let _consumer = place.subscribe(&ringway::Subscribe::new()).unwrap();
    refuse(&["sub", &name], 1, &["the 1 place for a consumer of", "`ringway create --members`"]);
}

#[test]
fn rm_says_where_the_history_stays() {
    let _watchdog = watchdog();
    let name = Name::new("left");
    let directory = Directory::new(&name);
    print(&["create", &name, "-q", "--history", directory.text(), "--journal", "written"]);
    let said = note(&["rm", &name]);
    let words = format!("stays in {0}; `ringway log rm {0}` removes it", directory.text());
    assert!(said.contains(&words), "{said}");
    print(&["log", "rm", directory.text(), "--yes"]);
    print(&["create", &name, "-q"]);
    assert_eq!(note(&["rm", &name]), "");
}

#[test]
fn rm_can_do_without_a_queue() {
    let _watchdog = watchdog();
    let (name, other) = (queue("if-exists", &[]), Name::new("if-exists-not"));
    refuse(&["rm", &other], 3, &["there is no queue"]);
    for options in [&[][..], &["--if-empty"], &["--force"], &["--history", "--yes"]] {
        assert_eq!(print(&[&["rm", &other, "--if-exists"], options].concat()), b"");
    }
    let removed = print_json(&["rm", &other, &name, "--if-exists", "--json"]);
    assert_eq!((&removed[0]["removed"], &removed[1]["removed"]), (&false.into(), &true.into()));
}

#[test]
fn a_limit_of_history_below_the_size_of_a_file_is_remarked_upon() {
    let _watchdog = watchdog();
    for (capacity, limit, file) in
        [("64KiB", "1K", Some("16 MiB")), ("32M", "16M", Some("32 MiB")), ("64KiB", "16M", None)]
    {
        let name = Name::new("small-limit");
        let directory = Directory::new(&name);
        let made = ["create", &name, "-c", capacity, "--history", directory.text()];
        let said = note(&[&made[..], &["--history-max", limit]].concat());
        match file {
            Some(file) => {
                assert!(
                    said.contains(&format!("less than a file of its history ({file})")),
                    "{said}"
                );
            }
            None => assert!(!said.contains("less than"), "{said}"),
        }
        print(&["rm", &name, "--history", "--yes", "-q"]);
    }
}

#[test]
fn a_journal_is_read_from_where_it_can_be() {
    let _watchdog = watchdog();
    let (name, into) = (Name::new("extent"), queue("extent-into", &[]));
    let directory = Directory::new(&name);
    let directory = directory.text();
    print(&["create", &name, "-q", "--history", directory, "--journal", "written"]);
    let dump = |from: &str| print(&["log", "dump", directory, "--from", from]);
    assert_eq!(dump("-3"), b"");
    refuse(&["log", "dump", directory, "--from", "1"], 1, &["no message 1 yet: it ends before 0"]);
    print(&["pub", &name, "-q", "a", "b", "c"]);
    assert_eq!((dump("oldest"), dump("-2")), (b"a\nb\nc\n".to_vec(), b"b\nc\n".to_vec()));
    assert_eq!((dump("-9"), dump("3")), (b"a\nb\nc\n".to_vec(), Vec::new()));
    print(&["replay", directory, "--into", &into, "--from", "-1", "-q"]);
    assert_eq!(print(&["sub", &into, "--from", "oldest", "-e"]), b"c\n");

    for command in [&["log", "dump", directory][..], &["replay", directory, "--into", &into]] {
        let from = |extent: &[&'static str]| [command, extent].concat();
        refuse(&from(&["--from", "4"]), 1, &["no message 4 yet: it ends before 3"]);
        refuse(&from(&["--from", "2", "--to", "1"]), 2, &["--from is behind --to"]);
        refuse(&from(&["--from", "-1m", "--to", "-2m"]), 2, &["--from is behind --to"]);
        refuse(&from(&["--from", "earliest"]), 2, &["did you mean oldest?"]);
    }
    refuse(&["sub", &into, "--from", "latest"], 2, &["did you mean newest?"]);
    print(&["rm", &name, "--history", "--yes", "-q"]);
}
#[test]
fn what_is_sent_and_what_is_passed_over_is_told() {
    let _watchdog = watchdog();
    let name = queue("told", &["a", "b"]);
    assert!(note(&["pub", &name, "c"]).contains(&format!("sent 1 message to '{}' (2)", &*name)));
    let said = note(&["pub", &name, "d", "e", "f"]);
    assert!(said.contains(&format!("sent 3 messages to '{}' (3 to 5)", &*name)), "{said}");
    let none = note(&["pub", &name]);
    assert!(none.ends_with(&format!("sent 0 messages to '{}'\n", &*name)), "{none}");

    print(&["sub", &name, "--as", "w", "--from", "oldest", "-n", "1"]);
    let seek = |to: &str| note(&["seek", &name, "w", to]);
    let said = seek("3");
    let words = "goes on with message 3; what lies before that and nobody had acknowledged is passed over\n";
    assert!(said.ends_with(words), "{said}");
    assert!(seek("4").contains("4; 1 message that nobody had acknowledged is passed over"));
    let of_queue = format!("subscription 'w' of queue '{}' goes on with message 1\n", &*name);
    assert!(seek("1").ends_with(&of_queue));
    // Of what lies before the oldest there is nothing to be told.
    print(&["sub", &name, "--as", "w", "-n", "1"]);
    assert!(seek("oldest").ends_with("goes on with message 0\n"));
    let said = note(&["unsubscribe", &name, "w"]);
    assert!(said.contains("which had 6 messages that nobody had acknowledged"), "{said}");
    print(&["declare", &name, "w"]);
    let said = note(&["unsubscribe", &name, "w"]);
    assert!(said.ends_with(&format!("removed subscription 'w' of queue '{}'\n", &*name)), "{said}");
}
#[test]
fn what_is_wrong_is_said_in_words_that_help() {
    let _watchdog = watchdog();
    let name = queue("words", &["a"]);
    let none = Name::new("words-none");
    print(&["create", &none, "-q", "--subscriptions", "0"]);
    print(&["declare", &name, "w"]);
    let queue = &*name;
    for (arguments, expected, words) in [
        (&["create", queue][..], 1, "`create --if-missing` accepts"),
        (&["create", "odd", "--history", "/dev/null"], 2, "/dev/null is not a directory"),
        (&["create", "odd", "--members", "-1"], 2, "it is a whole number"),
        (&["create", "odd", "--members", "99999999999"], 2, "it is too large"),
        (&["info", queue, "--owner", "nobody-at-all"], 2, "there is no user 'nobody-at-all'"),
        (&["info", queue, "--owner", "99999999999"], 2, "it is too large"),
        (&["info", queue, "--watch", "5"], 2, "5 has no unit: write 5s or 5ms"),
        (&["pub", queue, "b", "--timeout", "5"], 2, "5 has no unit: write 5s or 5ms"),
        (&["sub", queue, "--timeout", "5"], 2, "5 has no unit: write 5s or 5ms"),
        (&["pub", queue, "b", "--key-field", "0"], 2, "fields count from 1"),
        (&["dead-letters", "show", queue, "w", "x"], 2, "it is a whole number"),
        (&["dead-letters", "show", queue, "w"], 2, "or give --all"),
        (&["dead-letters", "send-again", queue, "w"], 2, "or give --all"),
        (&["dead-letters", "drop", queue, "w"], 2, "--older-than or --keep"),
        (&["sub", queue, "--as", "w", "--backoff", "1s"], 1, "its backoff is none there"),
        (&["sub", queue, "--as", "w", "--max-deliveries", "3"], 2, "--dead-letters DIR"),
        (&["sub", queue, "--as", "v", "--lag", "spill"], 2, "create --history DIR"),
        (&["declare", &none, "w"], 1, "`ringway create --subscriptions`"),
    ] {
        refuse(arguments, expected, &[words]);
        let said = said(&run(arguments));
        assert!(!said.contains("::") && !said.contains("tip:"), "{said}");
    }
    let consumer = ringway::Queue::open(&name).unwrap();
    let member = consumer.subscribe(&ringway::Subscribe::new().named("w")).unwrap();
    let whose = format!("`ringway info {queue}` names the process");
    refuse(&["unsubscribe", queue, "w"], 1, &["has 1 live member; end it first", &whose]);
    refuse(&["rm", queue], 1, &["in use by a consumer; end it first"]);
    drop(member);
    // What looks like a number below zero is a message like any other.
    print(&["pub", queue, "-q", "-1"]);
    assert_eq!(print(&["sub", queue, "--from", "-1", "-e"]), b"-1\n");
    let said = note(&["alter", queue, "w", "--expires-after", "7d"]);
    assert!(said.contains("removed after 7d without a member"), "{said}");
}

#[test]
fn what_is_changed_is_told_as_json_too() {
    let _watchdog = watchdog();
    let name = queue("told-json", &["a", "b"]);
    let declared = print_json(&["declare", &name, "w", "--from", "oldest", "--json"]);
    assert_eq!((&declared["made"], &declared["head_sequence"]), (&true.into(), &0.into()));
    assert_eq!(print_json(&["declare", &name, "w", "--json"])["made"], false);
    assert_eq!(print_json(&["seek", &name, "w", "1", "--json"])["head_sequence"], 1);
    let removed = print_json(&["unsubscribe", &name, "w", "--json"]);
    assert_eq!((&removed["name"], &removed["lag_messages"]), (&"w".into(), &1.into()));
}
#[test]
fn help_says_what_the_columns_mean() {
    let _watchdog = watchdog();
    let name = queue("columns", &["a"]);
    let consumer = ringway::Queue::open(&name).unwrap();
    let member = consumer.subscribe(&ringway::Subscribe::new().named("w")).unwrap();
    for (command, first) in [("info", "MEMBER "), ("subscriptions", "NAME ")] {
        let shown = String::from_utf8(print(&[command, &name])).unwrap();
        let help = String::from_utf8(print(&["help", command])).unwrap();
        let header = shown.lines().find(|line| line.starts_with(first)).unwrap();
        for column in header.split_whitespace() {
            assert!(help.contains(&format!("\n  {column} ")), "{column} is not in {help}");
        }
    }
    drop(member);
}

#[test]
fn who_begins_where_a_subscription_is_already_is_told_so() {
    let _watchdog = watchdog();
    let name = queue("begin", &["a", "b"]);
    let sub = |options: &[&str]| note(&[&["sub", &name, "--as", "w", "-e"], options].concat());
    assert_eq!(sub(&["--from", "oldest", "-n", "1"]), "");
    let said = sub(&["--from", "oldest"]);
    assert!(said.contains("keeps its place: --from does not count; `ringway seek"), "{said}");
    assert_eq!(sub(&[]), "");
    let declare = |options: &[&str]| note(&[&["declare", &name, "w"], options].concat());
    let said = declare(&["--from", "oldest"]);
    assert!(said.contains("keeps its place: --from does not count; `ringway seek"), "{said}");
    assert!(
        !declare(&[]).contains("--from")
            && !note(&["declare", &name, "v", "--from", "0"]).contains("--from")
    );
}

#[test]
fn a_queue_that_cannot_be_mapped_is_not_left_behind() {
    const STEP: u64 = 4 << 20;
    let _watchdog = watchdog();
    let name = Name::new("no-room");
    let directory = Directory::new(&name);
    let journal = ["--history", directory.text(), "--journal", "written"];
    // From what the program cannot even begin with to what suffices.
    let outputs = (2..).map(|steps| {
        let arguments = ["create", &name, "--capacity", "32MiB"];
        let mut command = ringway(&[&arguments[..], &journal].concat());
        let limit = libc::rlimit { rlim_cur: steps * STEP, rlim_max: libc::RLIM_INFINITY };
        let be_limited = move || {
            // SAFETY: the struct outlives the call.
            unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
            Ok(())
        };
        // SAFETY: it may be called between fork and exec.
        unsafe { command.pre_exec(be_limited) };
        command.output()
    });
    let mut told = false;
    for output in outputs {
        // Less than a process can have is no process.
        let Ok(output) = output else { continue };
        if output.status.success() {
            break;
        }
        told |= said(&output).contains("cannot map queue");
        assert!(!Path::new(&name.path()).exists(), "{}", said(&output));
    }
    assert!(told);
}

#[test]
fn a_segment_that_was_cut_or_emptied_is_damaged() {
    let _watchdog = watchdog();
    let name = queue("cut", &["a"]);
    for size in [70_000, 100, 0] {
        fs::OpenOptions::new().write(true).open(name.path()).unwrap().set_len(size).unwrap();
        for arguments in [&["info", &name][..], &["sub", &name, "-e"], &["pub", &name, "b"]] {
            refuse(arguments, 4, &["remove it with `ringway rm"]);
        }
    }
}

#[test]
fn a_queue_that_keeps_less_is_not_taken_for_one_that_is_missing() {
    let _watchdog = watchdog();
    let name = Name::new("weaker");
    let (directory, elsewhere) = (Directory::new(&name), Directory::in_memory(&name));
    let create = |options: &[&'static str], directory: &Directory| {
        let create = ["create", &name, "-c", "64KiB", "--history", directory.text()];
        run(&[&create, options].concat())
    };
    assert_eq!(code(&create(&["--journal", "written"], &directory)), 0);
    let user = id_of_user();
    let again: [&[&str]; 2] = [&["--if-missing"], &["--if-missing", "--owner", &user]];
    for again in again {
        let again = |options: &[&'static str], directory| {
            let create = ["create", &name, "-c", "64KiB", "--history", Directory::text(directory)];
            run(&[&create[..], again, options].concat())
        };
        let refused = again(&["--journal", "always"], &directory);
        assert_eq!(code(&refused), 2, "{}", said(&refused));
        assert!(said(&refused).contains("keeps less than 'always'"), "{}", said(&refused));
        let refused = again(&["--journal", "written"], &elsewhere);
        assert_eq!(code(&refused), 2, "{}", said(&refused));
        let taken = again(&["--journal", "written"], &directory);
        assert_eq!(code(&taken), 0, "{}", said(&taken));
    }
}

fn id_of_user() -> String {
    // SAFETY: a call that cannot fail.
    unsafe { libc::getuid() }.to_string()
}

#[test]
fn what_is_no_queue_is_named_and_goes_by_force_alone() {
    let _watchdog = watchdog();
    let name = Name::new("junk");
    fs::write(name.path(), "junk").unwrap();
    let removes = format!("`ringway rm --force {}` removes it", &*name);
    for arguments in [&["rm", &*name][..], &["create", &name], &["info", &name]] {
        refuse(arguments, 3, &[&name.path(), "does not begin like a segment", &removes]);
    }
    assert!(note(&["rm", "--force", &name]).contains("was no queue, and is removed"));
    assert!(!Path::new(&name.path()).exists());
    print(&["create", &name, "-q"]);
    assert_eq!(note(&["rm", "--force", &name]), "");
}

#[test]
fn what_stands_in_the_way_of_a_queue_is_named_with_what_helps() {
    let _watchdog = watchdog();
    let name = Name::new("in-the-way");
    symlink("/dev/null", name.path()).unwrap();
    refuse(&["create", &name], 3, &["is a symbolic link", "take another name"]);
    fs::remove_file(name.path()).unwrap();
    fs::create_dir(name.path()).unwrap();
    refuse(&["create", &name], 3, &["is a directory", "take another name"]);
    fs::remove_dir(name.path()).unwrap();
    fs::write(name.path(), "").unwrap();
    refuse(&["create", &name], 4, &["remove it with `ringway rm --force"]);
    print(&["rm", "--force", &name]);
    // Somebody may use what is damaged.
    print(&["create", &name, "-q", "--capacity", "64KiB"]);
    let _producer = ringway::Queue::open(&name).unwrap().producer().unwrap();
    fs::OpenOptions::new().write(true).open(name.path()).unwrap().set_len(3000).unwrap();
    refuse(&["create", &name], 4, &["`ringway rm --force"]);
    refuse(&["rm", &name], 1, &[]);
    print(&["rm", "--force", &name]);
}

#[test]
fn a_queue_is_removed_also_where_its_history_is_gone() {
    let _watchdog = watchdog();
    let name = Name::new("history-gone");
    let directory = Directory::new(&name);
    let journal = ["--history", directory.text(), "--journal", "written"];
    print(&[&["create", &name, "-q", "-c", "64KiB"][..], &journal].concat());
    print(&["pub", &name, "-q", "a"]);
    fs::remove_dir_all(directory.path()).unwrap();
    let said = note(&["rm", "--history", "--yes", &name]);
    let words = format!("is not in {} any more", directory.text());
    assert!(said.contains(&words), "{said}");
    assert!(!Path::new(&name.path()).exists());
}

/// A queue with two dead letters of a subscription, and the file that has them.
fn queue_with_letters(name: &Name, directory: &Directory) -> PathBuf {
    print(&["create", name, "-q", "--capacity", "64KiB", "--history", directory.text()]);
    print(&["pub", name, "-q", "one", "two"]);
    let failing = ["--max-deliveries", "1", "--exec", "exit 7"];
    run(&[&["sub", name, "--as", "w", "--from", "oldest", "-e"][..], &failing].concat());
    directory.file("dead-letters/w.letters")
}

#[test]
fn damaged_dead_letters_are_told_and_end_with_a_code() {
    let _watchdog = watchdog();
    let name = Name::new("damaged-letters");
    let directory = Directory::new(&name);
    let file = queue_with_letters(&name, &directory);
    let mut bytes = fs::read(&file).unwrap();
    let payload = bytes.windows(3).position(|found| found == b"one").unwrap();
    bytes[payload] ^= 1;
    fs::write(&file, bytes).unwrap();
    let told = format!("{} is damaged", file.display());
    for action in [&["ls"][..], &["show", "--all"], &["drop", "--keep", "1"]] {
        let arguments = [&["dead-letters"], action, &[&name, "w"]].concat();
        refuse(&arguments, 4, &[&told, "some may be lost"]);
    }
    let again = ["dead-letters", "send-again", &name, "w", "--all"];
    refuse(&again, 4, &[&told, "sent 1 message"]);
}

#[test]
fn dead_letters_are_there_without_their_queue_and_by_subscription() {
    let _watchdog = watchdog();
    let (name, other) = (Name::new("orphans"), queue("orphans-into", &[]));
    let directory = Directory::new(&name);
    queue_with_letters(&name, &directory);
    let by_subscription = ["dead-letters", "ls", &name, "--json"];
    let expected = serde_json::json!([{ "subscription": "w", "dead_letters": 2 }]);
    assert_eq!(print_json(&by_subscription), expected);
    print(&["unsubscribe", &name, "w"]);
    assert_eq!(print_json(&by_subscription), expected);
    let shown = String::from_utf8(print(&["dead-letters", "ls", &name])).unwrap();
    assert!(shown.lines().any(|line| line.starts_with("w ") && line.ends_with(" 2")), "{shown}");
    print(&["rm", &name]);

    let gone = run(&["dead-letters", "ls", &name, "w"]);
    assert_eq!(code(&gone), 3, "{}", said(&gone));
    assert!(said(&gone).contains("--dir DIR") && !said(&gone).contains("ringway create"));
    let within = ["--dir", directory.text()];
    let letters = |action: &[&str]| run(&[&["dead-letters"], action, &within[..]].concat());
    assert_eq!(print_json(&[&by_subscription[..], &within].concat()), expected);
    let listed = letters(&["ls", &name, "w", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(letters(&["show", &name, "w", "--all"]).stdout, b"one\ntwo\n");
    assert_eq!(code(&letters(&["ls", &name, "v"])), 3);
    let again = letters(&["send-again", &name, "w", "--all"]);
    assert_eq!(code(&again), 3, "{}", said(&again));
    assert!(said(&again).contains("--into QUEUE"), "{}", said(&again));
    let again = letters(&["send-again", &name, "w", "0", "--into", &other]);
    assert_eq!(code(&again), 0, "{}", said(&again));
    let dropped = letters(&["drop", &name, "w", "--all"]);
    assert_eq!(code(&dropped), 0, "{}", said(&dropped));
    assert_eq!(print_json(&[&by_subscription[..], &within].concat()), serde_json::json!([]));
}

#[test]
fn options_are_refused_where_they_say_nothing_and_others_verbs_are_understood() {
    let _watchdog = watchdog();
    for option in ["-n", "--seed"] {
        refuse(&["model", option, "2000"], 2, &["--simulate|--broadcast"]);
        print(&["model", option, "2000", "--simulate"]);
    }
    let help = String::from_utf8(print(&["dead-letters", "send-again", "--help"])).unwrap();
    assert!(help.contains("Give up when there has been no room") && !help.contains("--wait-for"));
    let name = queue("verbs", &[]);
    print(&["send", &name, "-q", "a"]);
    assert_eq!(print(&["receive", &name, "--from", "oldest", "-e"]), b"a\n");
    print(&["delete", &name]);
}

#[test]
fn consumers_are_waited_for_no_longer_than_for_room() {
    let _watchdog = watchdog();
    let (name, into) = (Name::new("nobody-comes"), queue("nobody-comes-into", &[]));
    let directory = Directory::new(&name);
    let journal = ["--history", directory.text(), "--journal", "written"];
    print(&[&["create", &name, "-q", "-c", "64KiB"][..], &journal].concat());
    print(&["pub", &name, "-q", "a"]);
    let waiting = ["--wait-for", "1", "--timeout", "30ms"];
    for arguments in [&["pub", &name, "b"][..], &["replay", directory.text(), "--into", &into]] {
        refuse(&[arguments, &waiting].concat(), 5, &["fewer consumers", "0 messages"]);
    }
    for queue in [&*name, &*into] {
        let sent = u64::from(queue == &*name);
        assert_eq!(print_json(&["info", queue, "--json"])["next_sequence"], sent);
    }
}

#[test]
fn terms_that_members_cannot_keep_are_told_at_once_and_none_is_none_everywhere() {
    let _watchdog = watchdog();
    let name = queue("terms", &["a"]);
    let told = ["has no history directory for dead letters", "--dead-letters DIR"];
    let declared = note(&["declare", &name, "w", "--max-deliveries", "3"]);
    print(&["declare", &name, "v", "-q"]);
    let altered = note(&["alter", &name, "v", "--max-deliveries", "3"]);
    assert!(told.iter().all(|words| declared.contains(words) && altered.contains(words)));
    assert!(!note(&["alter", &name, "v", "--max-deliveries", "none"]).contains(told[0]));
    let none = ["--max-deliveries", "--backoff", "--ack-within", "--expires-after"];
    let none: Vec<_> = none.iter().flat_map(|option| [*option, "none"]).collect();
    let sub = ["sub", &name, "--as", "u", "--from", "oldest", "-e"];
    assert_eq!(print(&[&sub[..], &none].concat()), b"a\n");
    print(&[&["declare", &name, "u"][..], &none].concat());
    let help = |page| {
        let help = String::from_utf8(print(&["help", page])).unwrap();
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for page in ["sub", "declare", "alter"] {
        assert!(help(page).contains("1 to 250"), "{}", help(page));
    }
    assert!(help("sub").contains("1 to 1024"));
}

#[test]
fn quiet_does_not_keep_back_what_explains_an_exit_code() {
    let _watchdog = watchdog();
    let (name, into) = (Name::new("quiet"), queue("quiet-into", &[]));
    print(&["create", &name, "-q", "-c", "64KiB", "-m", "2"]);
    let message = "x".repeat(8000);
    for _ in 0..10 {
        print(&["pub", &name, "-q", &message]);
    }
    refuse(&["sub", &name, "-q", "--from", "0", "-e"], 4, &["missed ", " messages: 0 to "]);
    for options in [&["--observe"][..], &["--lag", "skip"]] {
        let asked_for = run(&[&["sub", &name, "-q", "--from", "0", "-e"], options].concat());
        assert_eq!((code(&asked_for), said(&asked_for)), (0, String::new()));
    }
    let sub = ["sub", &name, "-q", "--timeout", "10ms"];
    refuse(&sub, 5, &["received 0 messages"]);
    refuse(&["sub", &into, &name, "-q", "--from", "0", "-e"], 4, &["missed ", "': 0 to "]);
    let waiting = ["pub", &name, "-q", "-w", "2", "-t", "10ms", "x"];
    refuse(&waiting, 5, &["fewer consumers than were waited for came in time"]);
    print(&["declare", &name, "w", "-q", "--from", "oldest"]);
    let messages = [&*message; 10];
    let full = [&["pub", &name, "-q", "-t", "10ms"][..], &messages].concat();
    refuse(&full, 5, &["no room in time; sent "]);
}
