//! Keeps the structure that the documents promise: who may use whom, how large a file may be,
//! where atomics come from, what the library depends on, and that orderings give their reasons.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library's modules from the top to the bottom, and what each uses of those below it.
const MODULES: [(&str, &str); 31] = [
    // On the public interface, as a program is, and on shared words.
    ("workload", "sync"),
    ("names", "queue subscribe history ring wait"),
    (
        "queue",
        "consumer producer info membership registry subscribe history segment calls terms error ring wait layout",
    ),
    ("readiness", "consumer_set consumer producer message sleeper outcome error wait"),
    ("consumer_set", "consumer reception message interrupter sleeper outcome error wait sys"),
    (
        "consumer",
        "acker reception membership interrupter message sharing registry history subscribe segment calls outcome error ring wait",
    ),
    (
        "producer",
        "key registry history membership interrupter sleeper segment outcome error ring wait sys sync layout",
    ),
    (
        "reception",
        "message sharing history membership interrupter sleeper segment calls outcome error ring wait sys sync layout",
    ),
    ("message", "sharing outcome error ring layout"),
    ("acker", "sharing outcome error"),
    (
        "sharing",
        "membership registry subscribe history segment calls terms outcome error ring wait sys sync layout",
    ),
    ("info", "registry history segment terms error ring sync layout"),
    ("registry", "membership subscribe history segment calls terms error ring sync sys layout"),
    ("history", "membership segment calls error ring wait sys sync layout"),
    ("membership", "segment calls error ring sys sync layout"),
    ("interrupter", "segment error wait sys sync layout"),
    ("sleeper", "segment ring wait sys sync layout"),
    ("key", ""),
    ("subscribe", "segment terms error ring wait"),
    ("terms", "ring sync layout"),
    ("segment", "calls error ring region wait sys sync layout"),
    ("calls", "ring wait sync layout"),
    ("outcome", ""),
    ("error", ""),
    ("ring", "region copy sync layout"),
    ("region", "copy sync layout"),
    ("copy", "sync"),
    ("wait", "sys sync"),
    ("sys", "sync"),
    ("sync", ""),
    ("layout", ""),
];

/// All that a program takes in which uses the library without the `ringway` program.
const DEPENDENCIES: [&str; 15] = [
    "ringway",
    // The checksum of what is kept on disk; by the processor's own instructions where it has them.
    "crc32c",
    "crossbeam-utils",
    "libc",
    "shared_memory",
    // What shared_memory brings:
    "bitflags",
    "cfg-if",
    "getrandom",
    "memoffset",
    "nix",
    "ppv-lite86",
    "rand",
    "rand_chacha",
    "rand_core",
    "zerocopy",
];

const LINES_MAX: usize = 1000;

/// The lines that may name the core library's atomics.
const ATOMICS: [(&str, &str); 5] = [
    ("sync.rs", "pub(crate) use core::sync::atomic::{Ordering, compiler_fence, fence};"),
    ("sync.rs", "pub(crate) type AtomicU32 = core::sync::atomic::AtomicU32;"),
    ("sync.rs", "pub(crate) type AtomicU64 = core::sync::atomic::AtomicU64;"),
    // Flags of the process's own, no part of the protocol.
    ("copy.rs", "use core::sync::atomic::{AtomicBool, Ordering};"),
    ("history/journal.rs", "use std::sync::atomic::{AtomicBool, Ordering as FlagOrdering};"),
];

/// What orders memory, and how the comment begins that says why.
const REASONS: [(&str, &str); 5] = [
    ("Ordering::Acquire", "// Acquire: "),
    ("load_acquire", "// Acquire: "),
    ("Ordering::Release", "// Release: "),
    ("Ordering::AcqRel", "// AcqRel: "),
    ("Ordering::SeqCst", "// SeqCst: "),
];
/// The comment is on the line itself, or so many above it at most.
const REASON_DISTANCE: usize = 3;

#[test]
fn modules_use_only_those_that_they_may() {
    let mut found: Vec<(&str, BTreeSet<String>)> =
        MODULES.iter().map(|&(module, _)| (module, BTreeSet::new())).collect();
    for file in library() {
        let module = file.module();
        let row = found.iter_mut().find(|(name, _)| *name == module);
        let (_, uses) = row.unwrap_or_else(|| panic!("the module {module} is not in the table"));
        let mut mentioned = mentioned_modules(&file.code());
        if module == "workload" {
            // What begins with a capital is an item of the public interface.
            mentioned.retain(|used| !used.starts_with(char::is_uppercase));
        }
        uses.extend(mentioned.into_iter().filter(|used| *used != module));
    }
    let problems = MODULES.iter().zip(&found).flat_map(|((module, allowed), (_, used))| {
        let allowed: BTreeSet<String> = allowed.split_whitespace().map(str::to_owned).collect();
        let more = used.difference(&allowed).map(|other| format!("it uses {other}, and may not"));
        let less =
            allowed.difference(used).map(|other| format!("it may use {other}, and does not"));
        let problems: Vec<_> = more.chain(less).map(|what| format!("{module}: {what}")).collect();
        problems
    });
    assert_none(problems);
}

#[test]
fn modules_use_only_those_below_them() {
    let place = |name: &str| MODULES.iter().position(|(module, _)| *module == name);
    let problems = MODULES.iter().enumerate().flat_map(|(row, (module, uses))| {
        uses.split_whitespace()
            .filter(move |used| place(used).is_none_or(|below| below <= row))
            .map(move |used| format!("{module} is not above {used}"))
    });
    assert_none(problems);
}

#[test]
fn no_module_is_reached_by_another_way() {
    let by_super = |line: &str| {
        let mut parents = line.split("super::").skip(1);
        line.contains("super::super::")
            || parents.any(|rest| MODULES.iter().any(|(module, _)| *module == identifier(rest)))
    };
    let by_file = |line: &str| line.contains("#[path") || line.contains("include!(");
    assert_none(library().into_iter().flat_map(|file| file.lines_where(by_super)));
    assert_none(sources().into_iter().flat_map(|file| file.lines_where(by_file)));
}

#[test]
fn the_program_stands_on_the_public_interface_alone() {
    // The compiler sees to it that `ringway::` is public; the rest is what lies below that.
    const BELOW: [&str; 3] = ["shared_memory", "crossbeam_utils", "/dev/shm"];
    let lines = sources()
        .into_iter()
        .filter(Source::is_program)
        .flat_map(|file| file.lines_where(|line| BELOW.iter().any(|below| line.contains(below))));
    assert_none(lines);
}

#[test]
fn no_file_is_too_long() {
    let problems = sources().into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{} has {lines} lines", file.path.display()))
    });
    assert_none(problems);
}

#[test]
fn atomics_come_from_one_place() {
    let lines = library().into_iter().flat_map(|file| {
        let path = file.path.clone();
        file.lines_where(move |line| {
            let names = ["core::sync", "std::sync"].iter().any(|sync| line.contains(sync));
            let allowed = ATOMICS
                .iter()
                .any(|(allowed, what)| path == Path::new(allowed) && *what == line.trim());
            names && line.contains("atomic") && !allowed
        })
    });
    assert_none(lines);
}

#[test]
fn every_ordering_says_why() {
    // `sync` has the helpers; who calls them says why.
    let cited = library().into_iter().filter(|file| file.module() != "sync");
    let problems = cited.flat_map(|file| {
        let code = file.code();
        let commented: Vec<&str> = file.text.lines().collect();
        let lines = code.lines().enumerate().filter(|(_, line)| !line.starts_with("use "));
        let unexplained = lines.filter(|(number, line)| {
            let near = &commented[number.saturating_sub(REASON_DISTANCE)..=*number];
            REASONS.iter().any(|(ordering, reason)| {
                line.contains(ordering) && !near.iter().any(|near| near.contains(reason))
            })
        });
        unexplained.map(|(number, line)| file.show(number, line)).collect::<Vec<_>>()
    });
    assert_none(problems);
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "tests"].map(|part| sources_below(&root.join(part)));
    let tests: String = sources.iter().flatten().map(|file| file.text.as_str()).collect();
    let mut problems = Vec::new();
    for document in ["docs/guarantees.md", "SECURITY.md"] {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        // What stands between two backticks, and reads like the name of a test.
        let names =
            text.split('`').skip(1).step_by(2).filter(|name| {
                identifier(name).len() == name.len() && name.matches('_').count() > 2
            });
        let missing = names.filter(|name| !tests.contains(&format!("fn {name}(")));
        problems.extend(missing.map(|name| format!("{document} names {name}, which is no test")));
    }
    assert_none(problems);
}

#[test]
fn the_library_depends_on_nothing_new() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-e", "normal", "--no-default-features", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree failed: {complaint}");
    let tree = String::from_utf8(output.stdout).expect("cargo writes text");
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    let found: BTreeSet<&str> = names.collect();
    assert_eq!(found, BTreeSet::from(DEPENDENCIES), "an addition needs a reason, and a line here");
}

/// A file of `src`.
struct Source {
    /// From `src` on.
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_program(&self) -> bool {
        self.path.starts_with("bin")
    }

    /// Modules are files or directories right below `src`.
    fn module(&self) -> String {
        let first = self.path.iter().next().expect("a file's path is not empty");
        Path::new(first).file_stem().expect("a file has a name").to_string_lossy().into_owned()
    }

    /// The text without comments and without its tests, with all its line breaks.
    fn code(&self) -> String {
        let end = ["#[cfg(test)]\nmod tests {", "#[cfg(all(test, not(loom)))]\nmod tests {"]
            .iter()
            .find_map(|start| self.text.find(start))
            .unwrap_or(self.text.len());
        let lines = self.text[..end].lines();
        lines.map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
    }

    fn lines_where(self, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
        let code = self.code();
        let wrong = code.lines().enumerate().filter(|(_, line)| is_wrong(line));
        wrong.map(|(number, line)| self.show(number, line)).collect()
    }

    fn show(&self, number: usize, line: &str) -> String {
        format!("{}:{}: {}", self.path.display(), number + 1, line.trim())
    }
}

/// Every file of `src`.
fn sources() -> Vec<Source> {
    sources_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Every file below a directory, its path from there on.
fn sources_below(root: &Path) -> Vec<Source> {
    let mut directories = vec![root.to_owned()];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a text file");
            let path = path.strip_prefix(root).expect("below the root").to_owned();
            sources.push(Source { path, text });
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The library's files, without its root, which names every module, and its tests.
fn library() -> Vec<Source> {
    let mut sources = sources();
    sources.retain(|file| {
        let is_test = file.path.iter().any(|part| {
            let name = Path::new(part).file_stem().unwrap_or_default();
            name == "tests" || name.to_string_lossy().ends_with("_tests")
        });
        !file.is_program() && !is_test && file.path != Path::new("lib.rs")
    });
    sources
}

/// The modules that code names by a path from the crate's root.
fn mentioned_modules(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            modules.insert(identifier(path).to_owned());
            continue;
        };
        // A group: what begins it, and what follows its commas, but not those of inner groups.
        let mut depth = 0;
        let mut begins = true;
        for (index, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !character.is_whitespace() => {
                    modules.insert(identifier(&group[index..]).to_owned());
                    begins = false;
                }
                _ => {}
            }
        }
    }
    modules
}

/// What stands at the beginning of a text.
fn identifier(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn groups_of_modules_are_read_to_their_end() {
    let code =
        "use crate::{\n    a,\n    b::{c, d},\n    e::f,\n};\nuse crate::g::{h, i}; crate::j";
    let modules: Vec<String> = mentioned_modules(code).into_iter().collect();
    assert_eq!(modules, ["a", "b", "e", "g", "j"]);
}

#[track_caller]
fn assert_none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
}
