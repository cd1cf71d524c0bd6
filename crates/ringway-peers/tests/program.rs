//! The program as it is run: every system that needs nothing else passes its check, and what is
//! not built in is named.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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
    for ring in ["4MiB", "16MiB"] {
        let text = program(&["--only", SYSTEMS, "--measure", "memory", "--quick", "--ring", ring]);
        assert!(!text.contains("failed"), "{text}");
    }
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

/// What the program says when it fails.
fn errors_of(arguments: &[&str]) -> String {
    errors_by(Command::new(env!("CARGO_BIN_EXE_ringway-peers")).args(arguments))
}

fn errors_by(program: &mut Command) -> String {
    let output = program.output().expect("the program starts");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_wrong_choice_is_an_error_that_names_what_there_is() {
    for (arguments, wrong, right) in [
        (["--only", "carrier-pigeon"], "'carrier-pigeon'", "posix-mq"),
        (["--measure", "patience"], "'patience'", "round trip, busy"),
        (["--ring", "5MiB"], "'5MiB'", "a power of two from 4MiB to 1GiB"),
        (["--ring", "2MiB"], "'2MiB'", "a power of two from 4MiB to 1GiB"),
    ] {
        let errors = errors_of(&arguments);
        assert!(errors.contains(wrong) && errors.contains(right), "{errors}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_is_measured() {
    let errors = errors_of(&["--only", "pipe", "--json", "/no/such/directory/peers.json"]);
    assert!(errors.contains("cannot write") && !errors.contains("checking"), "{errors}");
}

#[test]
fn what_could_not_be_measured_is_an_error_when_all_else_has_been() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringway-peers"));
    program.args(["--only", "pipe,posix-mq", "--measure", "memory", "--quick"]);
    let no_queues = || setrlimit(Resource::RLIMIT_MSGQUEUE, 0, 0).map_err(Into::into);
    // SAFETY: one system call.
    unsafe { program.pre_exec(no_queues) };
    let errors = errors_by(&mut program);
    assert!(errors.contains("\nmemory and files") && errors.contains("error: 4 of"), "{errors}");
}

#[test]
fn no_process_outlives_a_runner_that_is_interrupted_or_killed() {
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let program = Command::new(env!("CARGO_BIN_EXE_ringway-peers"))
            .args(["--only", "ringway", "--measure", "receiver killed", "--quick"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let job = format!("ringway-peers-{}-", program.id());
        // By then a sender runs that sends for ever.
        until(|| parts(&job).iter().any(|part| part.contains("standby")));
        kill(Pid::from_raw(program.id().try_into().unwrap()), signal).expect("it is there");
        let output = program.wait_with_output().expect("it ends");
        assert!(!output.status.success());
        until(|| parts(&job).is_empty());
        let left = left(&job);
        if signal == Signal::SIGINT {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.ends_with("error: interrupted\n"), "{errors}");
            assert!(left.is_empty(), "{left:?}");
        } else {
            for path in left {
                fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).expect("removed");
            }
        }
    }
}

fn until(happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The command lines of a job's processes that live.
fn parts(job: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("there are processes").flatten();
    let lines = processes.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(job)).collect()
}

/// What a job has made in shared memory.
fn left(job: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/shm").expect("there is shared memory").flatten();
    entries.map(|it| it.path()).filter(|it| it.to_string_lossy().contains(job)).collect()
}
