//! Statement rows where a probe would crash or falsify the program.

use cov_tests::{Agent, Build, fixture, kernel, scratch};
use std::process::Command;

/// What becomes of a line.
#[derive(Clone, Copy)]
enum Line {
    /// Counted, exactly.
    Counts(u64),
    /// Counted exactly by a probe elsewhere in its block, or "not measurable"; nothing else.
    CountsOrNot(u64),
    /// "Not measurable".
    Not,
}
use Line::{Counts, CountsOrNot, Not};

const LINES: &[(u32, Line)] = &[
    (10, CountsOrNot(100)), // lock
    (11, Counts(100)),
    (20, CountsOrNot(100)), // notrack jmp
    (21, Counts(100)),
    (30, CountsOrNot(100)), // syscall
    (31, Counts(100)),
    (39, Counts(100)),
    (40, CountsOrNot(100)), // a five-byte nop above a red zone
    (41, Counts(100)),
    (49, Counts(100)),
    (50, Not), // inside an instruction
    (51, Counts(100)),
    (59, Counts(200)),
    (60, Not), // a jump table
    (61, Counts(100)),
    (62, Counts(100)),
    (70, CountsOrNot(100)), // rep
    (71, Counts(100)),
    (90, Counts(100)),
    (91, Counts(100)),
    (92, Counts(1)),
];

/// Of code that lies about where its instructions are, what cannot be told for certain may be not measurable.
const OBFUSCATED: &[(u32, Line)] = &[
    (10, Counts(200)), // a jump into an instruction
    (11, CountsOrNot(200)),
    (12, CountsOrNot(100)),
    (13, CountsOrNot(100)),
    (20, Counts(100)), // functions that overlap
    (21, CountsOrNot(200)),
    (22, CountsOrNot(200)),
    (23, CountsOrNot(200)),
    (30, Counts(200)), // a table with false entries
    (31, Counts(200)),
    (32, Counts(100)),
    (33, Counts(100)),
    (34, Counts(100)),
    (35, Counts(100)),
    (40, Counts(100)), // no code behind a call
    (41, CountsOrNot(100)),
    (42, CountsOrNot(100)),
    (50, CountsOrNot(100)), // a jump that is always taken
    (51, CountsOrNot(100)),
    (52, CountsOrNot(100)),
    (90, Counts(100)),
    (91, Counts(100)),
    (92, Counts(1)),
];

#[test]
fn hostile_rows() {
    check("hostile", LINES);
}

#[test]
fn obfuscated_code() {
    check("obfuscated", OBFUSCATED);
}

/// Measures `c/NAME.s`, whose rows are of the file `NAME.c`: it does what it does otherwise, and its counts are these.
fn check(name: &str, lines: &[(u32, Line)]) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = dir.path().join("program");
    Build::with("gcc", dir.path()).arg(fixture(&format!("c/{name}.s"))).arg("-o").arg(&program).run();
    let plain = Command::new(&program).output().unwrap();
    assert!(plain.status.success());
    let outcome = Agent::run(&program).go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.process.stdout, plain.stdout);

    let counts = &outcome.coverage.file(&format!("{name}.c")).lines;
    let not_measurable = outcome.not_measurable(&format!("{name}.c"));
    let mut wrong = Vec::new();
    for (line, want) in lines {
        let count = counts.get(line).copied();
        let not = not_measurable.contains(line);
        let right = match *want {
            Counts(n) => count == Some(n) && !not,
            CountsOrNot(n) => (count == Some(n)) != (count.is_none() && not),
            Not => count.is_none() && not,
        };
        if !right {
            wrong.push(format!("line {line}: {count:?}, not measurable: {not}"));
        }
    }
    assert!(wrong.is_empty(), "\n  {}\n{}", wrong.join("\n  "), outcome.stderr());
    let known: Vec<_> = lines.iter().map(|(line, _)| line).collect();
    assert!(counts.keys().all(|line| known.contains(&line)), "{counts:?}");
}
