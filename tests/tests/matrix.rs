//! Every way to start a process × C and Rust: exact counts, and the same output and exit status as without the agent.
//! The ways of `fixtures/c/spawn.c` are in `follow.rs`; libraries that are opened late, and another root, in `late.rs`.

use cov_tests::{Agent, Build, Outcome, compile, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::path::Path;
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

/// A way of spawn.rs: `work` is called so often, and loops so often.
fn rust(way: &str, calls: u64, loops: u64) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = dir.path().join("spawn");
    let flags = ["--edition=2024", "-Copt-level=0", "-g", "-o"];
    Build::with("rustc", dir.path()).args(flags).args([&program, &fixture("rust/spawn.rs")]).run();
    let outcome = same_under_the_agent(&program, &[Path::new(way)]);
    let lines = &outcome.coverage.file("spawn.rs").lines;
    assert_eq!((lines[&13], lines[&14], lines[&16], lines[&18]), (calls, calls, loops, calls), "{}", outcome.stderr());
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
}
