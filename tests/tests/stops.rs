//! Counts where threads end amid code: what is worked out of other counters is right all the same. `counts.rs` has the
//! lines of `c/stops.c` one by one, without optimisation.

use cov_tests::{Agent, Build, Coverage, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::path::Path;

/// The counts of the lines of `c/NAME.c` that end with `// mark: …`, by mark.
fn marked(name: &str, coverage: &Coverage) -> BTreeMap<String, Option<u64>> {
    let source = fixture(&format!("c/{name}.c"));
    let text = std::fs::read_to_string(source).unwrap();
    let lines = &coverage.file(&format!("c/{name}.c")).lines;
    let marked = (1u32..).zip(text.lines()).filter_map(|(n, line)| Some((n, line.split_once("// mark: ")?.1)));
    marked.map(|(n, mark)| (mark.to_owned(), lines.get(&n).copied())).collect()
}

fn build(dir: &Path, source: &str, flags: &[&str]) -> std::path::PathBuf {
    let program = dir.join("program");
    Build::with("gcc", dir).args(flags).arg("-o").arg(&program).arg(fixture(source)).run();
    program
}

/// Threads that never leave a loop, killed by the end of their process: everything before the loop counts, nothing
/// behind it does.
#[test]
fn threads_that_end_with_their_process() {
    if !kernel() {
        return;
    }
    for level in ["-O0", "-O2"] {
        let dir = scratch();
        let program = build(dir.path(), "c/spinning.c", &[level, "-g", "-pthread"]);
        let outcome = Agent::run(&program).go();
        assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
        let counts = marked("spinning", &outcome.coverage);
        let want = [("before", 3), ("after", 0), ("caller before", 3), ("caller after", 0)];
        let want = want.into_iter().map(|(mark, count)| (mark.to_owned(), Some(count))).collect();
        assert_eq!(counts, want, "{level}: {}", outcome.stderr());
    }
}

/// An object that the kernel cannot name is measured as before: lines behind a fault may count what was to come there.
#[test]
fn an_object_without_a_build_id() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "c/stops.c", &["-O0", "-g", "-w", "-Wl,--build-id=none"]);
    let outcome = Agent::run(&program).go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let text = std::fs::read_to_string(fixture("c/stops.c")).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("a -= b;")).unwrap();
    let lines = &outcome.coverage.file("c/stops.c").lines;
    assert_eq!(lines.get(&u32::try_from(line).unwrap()), Some(&2));
}

/// Copies of one object have one name in the kernel: that a thread stopped in one of them says nothing of what the others
/// counted.
#[test]
fn a_thread_that_stopped_in_one_of_two_copies() {
    if !kernel() {
        return;
    }
    // Which of them is read first, or runs first, makes no difference.
    for (first, second) in [("$0 x; $1", ("program", "copy")), ("$0; $1 x", ("copy", "program"))] {
        let dir = scratch();
        let program = build(dir.path(), "c/faults_if_told.c", &["-O1", "-g"]);
        std::fs::copy(&program, dir.path().join("copy")).unwrap();
        let [one, other] = [second.0, second.1].map(|name| dir.path().join(name));
        let mut agent = Agent::run(Path::new("/bin/sh")).args(&["-c", &format!("{first}; true")]);
        agent.command().args([&one, &other]);
        let outcome = agent.go();
        assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
        let counts = marked("faults_if_told", &outcome.coverage);
        let want = [("before", 2), ("after", 1)].map(|(mark, count)| (mark.to_owned(), Some(count)));
        assert_eq!(counts, want.into_iter().collect(), "{first}: {}", outcome.stderr());
        assert!(!outcome.stderr().contains("contradict"), "{}", outcome.stderr());
    }
}
