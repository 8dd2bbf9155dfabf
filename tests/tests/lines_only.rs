//! Probes that go when they were hit: harmless to what the program does, and no line is lost by it.

use cov_tests::{Agent, Build, Outcome, Project, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `cli/NAME.c` in `dir`.
fn build(dir: &Path, name: &str) -> PathBuf {
    let program = dir.join(name);
    Build::with("gcc", dir).args(["-g", "-pthread", "-o"]).args([&program, &fixture(&format!("cli/{name}.c"))]).run();
    program
}

/// Runs it without the agent, with `--lines-only`, and with exact counts: it must print the same, and the same lines must
/// be executed.
fn compare(program: &Path, args: &[&str]) -> Outcome {
    let run = |options: &[&str]| args.iter().fold(Agent::run_with(options, program), |agent, arg| agent.arg(arg)).go();
    let plain = Command::new(program).args(args).output().unwrap();
    let (exact, lines) = (run(&[]), run(&["--lines-only", "--verbose"]));
    for outcome in [&exact, &lines] {
        assert_eq!(outcome.process.status, plain.status, "{}", outcome.stderr());
        assert_eq!(outcome.stdout(), String::from_utf8_lossy(&plain.stdout), "{}", outcome.stderr());
    }
    let hit = |outcome: &Outcome| -> BTreeMap<PathBuf, Vec<(u32, bool)>> {
        let files = outcome.coverage.files.iter();
        files.map(|(path, file)| (path.clone(), file.lines.iter().map(|(&l, &n)| (l, n > 0)).collect())).collect()
    };
    assert_eq!(hit(&lines), hit(&exact));
    lines
}

/// The number that stands before `after` in what the agent said.
fn said(outcome: &Outcome, after: &str) -> u64 {
    let text = outcome.stderr();
    let before = text.split(after).next().unwrap_or_default();
    assert_ne!(before.len(), text.len(), "no `{after}`: {text}");
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// Eight threads run through the probed instructions at that moment, and children inherit the pages.
#[test]
fn threads_and_forked_children() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let outcome = compare(&build(dir.path(), "hammer"), &[]);
    assert!(said(&outcome, " breakpoints out of") >= 5, "{}", outcome.stderr());
    // 13 times 30 000 rounds of several hits each, if nothing went.
    assert!(said(&outcome, " hits, read in") < 13 * 30_000, "{}", outcome.stderr());
    let lines: Vec<u64> = outcome.coverage.file("hammer.c").lines.values().copied().filter(|&n| n > 0).collect();
    assert!(lines.iter().all(|&count| count == 1), "lower bounds: {lines:?}");
    let json = &outcome.json["files"].as_object().unwrap().values().next().unwrap()["cov_agent"];
    assert!(json.to_string().contains("lower"), "{json}");
}

/// The bytes are those of the file again; changing the mapping brings the probe back, and then it goes again.
#[test]
fn code_that_looks_at_itself() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let outcome = Agent::run_with(&["--lines-only"], &build(dir.path(), "itself")).go();
    assert_eq!(outcome.stdout(), "at first: as in the file\nprotected anew: as in the file\nmoved: as in the file\n");
}

/// A debugger may have breakpoints in the same places: nothing is written to what it traces, and all hits are counted.
#[test]
fn a_traced_process_is_left_alone() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let outcome = Agent::run_with(&["--lines-only", "--verbose"], &build(dir.path(), "traced")).go();
    assert_eq!(outcome.stdout(), "child: 0\n");
    assert!(said(&outcome, " hits, read in") >= 2 * 20_000, "{}", outcome.stderr());
    let hot = outcome.coverage.file("traced.c").lines.get(&9).copied();
    assert_eq!(hot, Some(1), "{}", outcome.stderr());
}

/// Later processes have fewer probes, and what only they execute is found all the same.
#[test]
fn many_processes_that_each_do_something_else() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let script = "import subprocess,sys\nfor n in range(40): subprocess.run([sys.argv[1], str(n)], check=True)\n";
    let source = dir.path().join("one.c");
    let cases: String = (0..40).map(|n| format!("case {n}:\nputs(\"{n}\");\nbreak;\n")).collect();
    let text = format!(
        "#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) {{\nswitch (atoi(v[1])) {{\n{cases}}}\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let program = dir.path().join("one");
    Build::with("gcc", dir.path()).args(["-g", "-o"]).args([&program, &source]).run();
    let outcome = Agent::run_with(&["--lines-only", "--verbose"], Path::new("/usr/bin/python3"))
        .arg("-c")
        .arg(script)
        .arg(&program)
        .go();
    let stdout: String = (0..40).map(|n| format!("{n}\n")).collect();
    assert_eq!(outcome.stdout(), stdout);
    let lines = &outcome.coverage.file("one.c").lines;
    assert_eq!(lines.values().filter(|&&count| count == 1).count(), lines.len(), "{lines:?}\n{}", outcome.stderr());
    assert!(said(&outcome, " times\n") >= 1, "{}", outcome.stderr());
}

/// Where the command line asks for one and the configuration for the other, which clap cannot see.
#[test]
fn branches_are_not_left_out_silently() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "again");
    let mut agent = Agent::run_with(&["--lines-only"], &program).arg("2");
    agent.command().env("COV_AGENT_BRANCH", "true");
    let outcome = agent.go();
    let said = "branch: no branches are counted with lines_only; ask for one of the two (config)";
    assert!(outcome.stderr().contains(said), "{}", outcome.stderr());
    assert_eq!(outcome.stdout(), "2 10000\n");
}

/// A real program, optimised.
#[test]
fn lua() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compare(&Project::lua().compile(dir.path(), "lua", &["-O1"]), &[]);
}
