//! Every way to start a process × C and Rust: exact counts, and the same output and exit status as without the agent.
//! The ways of `fixtures/c/spawn.c` are in `follow.rs`; libraries that are opened late, and another root, in `late.rs`.

use cov_tests::{Agent, Build, Outcome, compile, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run prints and how it ends, without the agent; then with it: the same.
fn same_under_the_agent(program: &Path, args: &[&Path]) -> Outcome {
    let seen = |output: &Output| (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned());
    let plain = seen(&Command::new(program).args(args).output().unwrap());
    let outcome = args.iter().fold(Agent::run(program), |agent, arg| agent.arg(arg)).go();
    assert_eq!(seen(&outcome.process), plain, "{}", outcome.stderr());
    outcome
}

/// A way of places.c: how often `counted` is called, its loops, and whether work.c runs, which loops thrice.
fn place(way: &str, calls: u64, loops: u64, runs: bool) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let starter = compile(dir.path(), "c/places.c", "places", &[]);
    std::fs::create_dir(dir.path().join("inner")).unwrap();
    std::fs::create_dir(dir.path().join("place")).unwrap();
    let program = compile(dir.path(), "c/work.c", "inner/work", &[]);
    let place = dir.path().join("place");
    let outcome = same_under_the_agent(&starter, &[Path::new(way), &place, &program, Path::new("3")]);
    assert_eq!(outcome.process.status.code(), Some(0), "{}{}", outcome.stdout(), outcome.stderr());
    let lines = &outcome.coverage.file("places.c").lines;
    let counted: Vec<u64> = (19..=23).map(|line| lines[&line]).collect();
    assert_eq!(counted, [calls, calls, loops + calls, loops, calls], "{}", outcome.stderr());
    let work = outcome.coverage.files.iter().find(|(path, _)| path.ends_with("work.c"));
    let expected = [(4, 1), (5, 1), (6, 4), (7, 3), (8, 1), (9, 1), (11, 1), (12, 1), (13, 1)];
    assert_eq!(
        work.map(|(_, file)| file.lines.clone()),
        runs.then(|| BTreeMap::from(expected)),
        "{}",
        outcome.stderr()
    );
}

#[test]
fn a_session_killed_as_a_group() {
    place("session", 2, 10, false);
}

#[test]
fn a_program_that_traces_its_child() {
    place("trace", 1, 4, true);
}

#[test]
fn a_child_that_may_only_read_and_write() {
    place("strict", 1, 4, false);
}

#[test]
fn another_mount_namespace() {
    place("mounts", 0, 0, true);
}

#[test]
fn another_user_namespace() {
    place("users", 0, 0, true);
}

#[test]
fn another_pid_namespace() {
    place("pids", 0, 0, true);
}

/// What makes a library in Rust.
const LIBRARY: [&str; 2] = ["--crate-type=cdylib", "-Cpanic=abort"];

/// Compiles a fixture in Rust.
fn rustc(dir: &Path, source: &str, output: &str, flags: &[&str]) -> PathBuf {
    let common = ["--edition=2024", "-Copt-level=0", "-g", "-o", output];
    Build::with("rustc", dir).args(common).args(flags).arg(fixture(source)).run();
    dir.join(output)
}

/// That `work` of spawn.rs was called so often, and looped so often.
fn assert_rust(outcome: &Outcome, calls: u64, loops: u64) {
    let lines = &outcome.coverage.file("spawn.rs").lines;
    assert_eq!((lines[&23], lines[&24], lines[&26], lines[&28]), (calls, calls, loops, calls), "{}", outcome.stderr());
}

/// A way of spawn.rs: `work` is called so often, and loops so often.
fn rust(way: &str, calls: u64, loops: u64) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = rustc(dir.path(), "rust/spawn.rs", "spawn", &[]);
    assert_rust(&same_under_the_agent(&program, &[Path::new(way)]), calls, loops);
}

macro_rules! rust_ways {
    ($($way:ident: $calls:literal, $loops:literal;)+) => {
        mod rust {
            $(#[test]
            fn $way() {
                super::rust(stringify!($way), $calls, $loops);
            })+
        }
    };
}

rust_ways! {
    command: 1, 5;
    before_exec: 1, 5;
    exec: 1, 5;
    thread: 1, 5;
    threads: 4, 10;
    fork: 1, 5;
    fork_in_thread: 1, 5;
    pipe: 1, 5;
    daemon: 1, 5;
    session: 2, 10;
    trace: 1, 5;
    strict: 1, 5;
    mounts: 1, 5;
    users: 1, 5;
    pids: 1, 5;
}

/// A library in Rust that a program in Rust loads: how often `twice` is called.
fn rust_library(way: &str, calls: u64) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = rustc(dir.path(), "rust/spawn.rs", "spawn", &[]);
    let library = rustc(dir.path(), "rust/plugin.rs", "plugin.so", &LIBRARY);
    let outcome = same_under_the_agent(&program, &[Path::new(way), &library]);
    let lines = &outcome.coverage.file("plugin.rs").lines;
    assert_eq!((lines[&13], lines[&18], lines[&19], lines[&21]), (1, calls, 0, calls), "{}", outcome.stderr());
}

#[test]
fn a_rust_library_that_a_program_opens() {
    rust_library("load", 5);
}

#[test]
fn a_rust_library_that_is_opened_before_a_fork() {
    rust_library("load_and_fork", 6);
}

#[test]
fn a_rust_library_that_the_environment_preloads() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = rustc(dir.path(), "rust/spawn.rs", "spawn", &[]);
    let library = rustc(dir.path(), "rust/plugin.rs", "plugin.so", &LIBRARY);
    let outcome = same_under_the_agent(&program, &[Path::new("preload"), &library]);
    assert_rust(&outcome, 1, 5);
    assert_eq!(outcome.coverage.file("plugin.rs").lines[&13], 1, "{}", outcome.stderr());
}

/// Without a dynamic loader; in another root directory, where there is none.
#[test]
fn a_static_rust_program_in_another_root() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = rustc(dir.path(), "rust/spawn.rs", "spawn", &["-Ctarget-feature=+crt-static"]);
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    assert_rust(&same_under_the_agent(&program, &[Path::new("root"), &root]), 1, 5);
}

#[test]
fn a_script_with_a_rust_interpreter() {
    use std::os::unix::fs::PermissionsExt as _;
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = rustc(dir.path(), "rust/spawn.rs", "spawn", &[]);
    let script = dir.path().join("script");
    std::fs::write(&script, format!("#!{} script\n", program.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_rust(&same_under_the_agent(&script, &[]), 1, 5);
}
