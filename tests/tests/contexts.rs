//! Hits told apart by context: one process for each test, whatever becomes of the test.

use cov_tests::{Agent, Build, Contexts, KILL_IN_PAUSE, Outcome, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn build(dir: &Path) -> PathBuf {
    Build::with("gcc", dir).args(["-g", "-O0", "-o", "case"]).arg(fixture("c/case.c")).run();
    dir.join("case")
}

/// What one run of case.c counts that loops `n` times and then does as `how` says.
fn case(n: u64, how: &str) -> BTreeMap<u32, u64> {
    let mut lines: BTreeMap<u32, u64> = [6, 7, 10, 11, 13, 14, 15, 16].map(|line| (line, 1)).into();
    lines.insert(8, n + 1);
    let until = |line| [18, 20, 22].into_iter().take_while(move |one| *one <= line).map(|one| (one, 1));
    match how {
        "fails" => lines.extend([(17, 1), (25, 1)]),
        "crashes" => lines.extend(until(18).chain([(19, 1)])),
        "hangs" => lines.extend(until(20).chain([(21, 1)])),
        "forks" => {
            lines.extend(until(22).chain([(23, 1), (24, 1), (25, 1)]));
            lines.extend([(6, 2), (7, 2), (10, 2), (11, 2), (8, n + 1 + 3), (9, n + 2)]);
        }
        _ => lines.extend(until(22).chain([(24, 1), (25, 1)])),
    }
    if n > 0 && how != "forks" {
        lines.insert(9, n);
    }
    lines
}

fn sum<'a>(all: impl IntoIterator<Item = &'a BTreeMap<u32, u64>>) -> BTreeMap<u32, u64> {
    let mut sum = BTreeMap::new();
    for (line, count) in all.into_iter().flatten() {
        *sum.entry(*line).or_default() += count;
    }
    sum
}

/// The contexts are these, and what lines count in all is the sum.
fn assert_contexts(outcome: &Outcome, want: &Contexts) {
    assert_eq!(outcome.contexts("case.c"), *want, "{}", outcome.stderr());
    let all: BTreeMap<u32, u64> =
        outcome.coverage.file("case.c").lines.iter().filter(|(_, n)| **n > 0).map(|(l, n)| (*l, *n)).collect();
    assert_eq!(all, sum(want.values()));
}

const HOWS: [&str; 5] = ["passes", "fails", "crashes", "hangs", "forks"];

/// A suite in the shell, a process for each test; `hangs` is ended from outside.
fn suite(options: &[&str], parallel: bool) -> Outcome {
    let dir = scratch();
    let case = build(dir.path());
    let one = format!("if [ $1 = hangs ]; then {KILL_IN_PAUSE} fi\nTEST=$1 exec {} $2 $1\n", case.display());
    let path = dir.path().join("one.sh");
    std::fs::write(&path, one).unwrap();
    let tests: String = HOWS.iter().enumerate().map(|(n, how)| format!("{how} {n}\\n")).collect();
    let jobs = if parallel { "5" } else { "1" };
    let script = format!("printf '{tests}' | xargs -L 1 -P {jobs} sh -c 'sh {} $1 $2; true' one", path.display());
    Agent::run_with(options, Path::new("/bin/sh")).arg("-c").arg(script).go()
}

fn by_how() -> Contexts {
    (0..).zip(HOWS).map(|(n, how)| (how.to_owned(), case(n, how))).collect()
}

#[test]
fn by_a_variable_one_after_the_other() {
    if kernel() {
        let outcome = suite(&["--context-from", "env:TEST"], false);
        assert_contexts(&outcome, &by_how());
        let said = outcome.stderr();
        for failed in ["fails (exit code 3)", "crashes (killed by SIGSEGV)", "hangs (killed by SIGKILL)"] {
            assert!(said.contains(&format!("Failed, and counted until then: {failed}\n")), "{said}");
        }
        assert_eq!(said.matches("Failed").count(), 3, "{said}");
    }
}

#[test]
fn by_a_variable_all_at_once() {
    if kernel() {
        assert_contexts(&suite(&["--context-from", "env:TEST"], true), &by_how());
    }
}

#[test]
fn by_an_argument_all_at_once() {
    if kernel() {
        assert_contexts(&suite(&["--context-from", "arg:2"], true), &by_how());
    }
}

#[test]
fn by_the_command_line() {
    if !kernel() {
        return;
    }
    let outcome = suite(&["--context-from", "cmdline"], false);
    let contexts = outcome.contexts("case.c");
    let names: Vec<_> = contexts.keys().map(|name| name.rsplit_once("/case ").unwrap().1).collect();
    assert_eq!(names, ["0 passes", "1 fails", "2 crashes", "3 hangs", "4 forks"]);
}

/// Two runs of one command line are two processes, with a number and a start each.
#[test]
fn by_process() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    let script = format!("{0} 2; echo $$; {0} 2 & echo $!; wait", program.display());
    let outcome = Agent::run_with(&["--context-from", "process"], Path::new("/bin/sh")).arg("-c").arg(script).go();
    let contexts = outcome.contexts("case.c");
    assert_eq!(contexts.len(), 2, "{contexts:?}");
    assert!(contexts.values().all(|lines| *lines == case(2, "passes")), "{contexts:?}");
    let second = outcome.stdout().lines().nth(1).unwrap().to_owned();
    let name = format!("{} 2 [pid {second}, started 20", program.display());
    assert!(contexts.keys().any(|context| context.starts_with(&name) && context.ends_with("Z]")), "{contexts:?}");
}

#[test]
fn by_control_group() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let outcome = Agent::run_with(&["--context-from", "cgroup"], &build(dir.path())).arg("1").go();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
    assert_contexts(&outcome, &[(own, case(1, "passes"))].into());
}

/// More processes than there are numbers for contexts at the same time, sixteen at once, with few names.
#[test]
fn numbers_are_used_again() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    let script = format!("seq 3000 | xargs -P 16 -n 1 sh -c 'TEST=t$(($1 % 7)) exec {} 1' one", program.display());
    let outcome = Agent::run_with(&["--context-from", "env:TEST"], Path::new("/bin/sh")).arg("-c").arg(script).go();
    let want = (0..7u64).map(|t| {
        let runs = (1..=3000).filter(|n| n % 7 == t).count() as u64;
        (format!("t{t}"), case(1, "passes").into_iter().map(|(line, count)| (line, count * runs)).collect())
    });
    assert_contexts(&outcome, &want.collect());
    assert!(!outcome.stderr().contains("(losses)"), "{}", outcome.stderr());
}

#[test]
fn a_long_environment_and_long_arguments() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    // The test is behind what the kernel side can tell; the process hangs, so that it can be asked.
    let script = format!("{KILL_IN_PAUSE} exec env -i A=$(printf %09000d 0) TEST=hangs {} 3 hangs", program.display());
    let outcome = Agent::run_with(&["--context-from", "env:TEST"], Path::new("/bin/sh")).arg("-c").arg(script).go();
    assert_contexts(&outcome, &[("hangs".to_owned(), case(3, "hangs"))].into());
    let name = "n".repeat(3000);
    let outcome = Agent::run_with(&["--context-from", "arg:3"], &program).arg("1").arg("passes").arg(&name).go();
    let want = format!("{}…", "n".repeat(1000));
    assert_contexts(&outcome, &[(want, case(1, "passes"))].into());
}

#[test]
fn without_descendants() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let options = ["--context-from", "arg:2", "--no-follow"];
    let outcome = Agent::run_with(&options, &build(dir.path())).arg("4").arg("forks").go();
    let mut want = case(4, "passes");
    want.insert(24, 1);
    let got = outcome.contexts("case.c");
    assert_eq!(got, [("forks".to_owned(), want)].into(), "{}", outcome.stderr());
}
