//! Programs that fight back: they work as they would without the agent, and what runs is counted.

use cov_tests::{Agent, Build, Outcome, fixture, kernel, scratch};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

/// A way of fighter.c, which must work with and without the agent: how often `counted` is called and loops.
fn fighter(way: &str, calls: u64, loops: u64) -> Option<Outcome> {
    if !kernel() {
        return None;
    }
    let dir = scratch();
    let program = dir.path().join("fighter");
    let build = || {
        Build::with("gcc", dir.path()).args(["-g", "-O0", "-o"]).args([&program, &fixture("c/fighter.c")]).run();
    };
    build();
    let plain = Command::new(&program).arg(way).output().unwrap();
    let said = format!("{way} 0\n");
    assert_eq!((plain.status.code(), String::from_utf8_lossy(&plain.stdout)), (Some(0), said.as_str().into()));
    build();
    let outcome = Agent::run(&program).arg(way).go();
    assert_eq!((outcome.process.status.code(), outcome.stdout()), (Some(0), said), "{}", outcome.stderr());
    let lines = &outcome.coverage.file("fighter.c").lines;
    let counted: Vec<u64> = (15..=19).map(|line| lines[&line]).collect();
    assert_eq!(counted, [calls, calls, loops + calls, loops, calls], "{}", outcome.stderr());
    Some(outcome)
}

#[test]
fn a_fork_bomb() {
    fighter("bomb", 255, 510);
}

#[test]
fn a_program_with_breakpoints_of_its_own() {
    fighter("breakpoints", 100, 100);
}

#[test]
fn a_program_that_changes_its_own_code() {
    fighter("patch", 1, 3);
}

#[test]
fn a_program_that_removes_its_file() {
    fighter("remove", 2, 7);
}

#[test]
fn a_program_that_steps_its_child() {
    fighter("steps", 1, 10);
}

/// The debugger's breakpoint is at a measured line, and it stops there: what it runs is not armed, or not any more when
/// it sets breakpoints, which is told. What runs without it is counted.
#[test]
fn a_program_under_a_debugger() {
    if kernel() {
        debugged(&[], 5..=8);
        // Probes that go while a debugger may set breakpoints in their places.
        debugged(&["--lines-only"], 1..=1);
    }
}

/// Runs it so, with these options of the agent; its loop must be counted so often.
fn debugged(options: &[&str], expected: RangeInclusive<u64>) {
    let dir = scratch();
    let program = dir.path().join("work");
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-o"]).args([&program, &fixture("c/work.c")]).run();
    let script = ["break work", "run 3", "print n", "next", "next", "delete", "continue"];
    let args: Vec<&str> = script.iter().flat_map(|command| ["-ex", command]).collect();
    let said = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with('$') || line.contains("exited"));
        lines.map(|line| line.split("(process").next().unwrap_or(line).to_owned()).collect::<Vec<_>>()
    };
    let plain = Command::new("gdb").args(["-nx", "-batch"]).args(&args).arg(&program).output().unwrap();
    let plain = said(&String::from_utf8_lossy(&plain.stdout));
    assert_eq!(plain[0], "$1 = 3");
    let script = "after=$1; shift; \"$@\"; $after 5";
    let agent = Agent::run_with(options, Path::new("/bin/sh")).arg("-c").arg(script).arg("sh").arg(&program);
    let agent = ["gdb", "-nx", "-batch"].iter().chain(&args).fold(agent, |agent, arg| agent.arg(arg));
    let outcome = agent.arg(&program).go();
    assert_eq!(said(&outcome.stdout()), plain, "{}{}", outcome.stdout(), outcome.stderr());
    assert!(outcome.stderr().contains("/gdb ("), "{}", outcome.stderr());
    let loops = outcome.coverage.file("work.c").lines[&7];
    assert!(expected.contains(&loops), "{loops}: {}", outcome.stderr());
}
