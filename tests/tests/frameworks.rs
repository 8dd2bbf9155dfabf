//! Tests told apart inside a process: frameworks with their real versions, unmodified, one test after the other and in
//! parallel, with tests that fail, crash and never end.

use cov_tests::{Agent, Build, Contexts, Outcome, fixture, kernel, scratch, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

type Lines = BTreeMap<u32, u64>;

/// Where a suite has its two functions: `sum(n)`, whose lines count once, `n + 1` or `n` times a call, and `twice`.
struct Functions {
    file: &'static str,
    once: &'static [u32],
    head: u32,
    body: &'static [u32],
    twice: &'static [u32],
}

const CPP: Functions =
    Functions { file: "suite.cpp", once: &[8, 9, 12, 13], head: 10, body: &[11], twice: &[15, 16, 17] };
const RUST: Functions =
    Functions { file: "suite.rs", once: &[2, 3, 4, 9, 10], head: 5, body: &[6, 7], twice: &[12, 13, 14] };
const GO: Functions = Functions { file: "work.go", once: &[3, 4, 8], head: 5, body: &[6], twice: &[11, 12] };

impl Functions {
    /// What a test counts in them that calls `sum` with these arguments, and `twice` so often.
    fn lines(&self, sums: &[u64], twice: u64) -> Lines {
        let mut lines = Lines::new();
        for n in sums {
            self.once.iter().for_each(|line| *lines.entry(*line).or_default() += 1);
            *lines.entry(self.head).or_default() += n + 1;
            self.body.iter().for_each(|line| *lines.entry(*line).or_default() += n);
        }
        self.twice.iter().for_each(|line| *lines.entry(*line).or_default() += twice);
        lines.retain(|_, count| *count > 0);
        lines
    }

    /// What the contexts of an outcome counted in them.
    fn of(&self, outcome: &Outcome) -> Contexts {
        let last = self.twice.iter().chain(self.once).max().unwrap();
        let mut contexts = outcome.contexts(self.file);
        // The first line of a file in Rust is where the harness's own main counts.
        contexts.values_mut().for_each(|lines| lines.retain(|line, _| (2..=*last).contains(line)));
        contexts.retain(|_, lines| !lines.is_empty());
        contexts
    }

    fn wanted(&self, tests: &[(&str, &[u64], u64)]) -> Contexts {
        tests.iter().map(|(name, sums, twice)| ((*name).to_owned(), self.lines(sums, *twice))).collect()
    }

    /// The contexts are these: name, calls of `sum`, calls of `twice`.
    fn assert(&self, outcome: &Outcome, tests: &[(&str, &[u64], u64)]) {
        assert_eq!(self.of(outcome), self.wanted(tests), "{}\n{}", outcome.stdout(), outcome.stderr());
        assert!(!outcome.stderr().contains("(losses)"), "{}", outcome.stderr());
    }
}

/// A suite, with a variable that says how its last test ends.
fn suite(program: &Path, args: &[&str], how: &str) -> Outcome {
    let mut agent = Agent::run_with(&["--context-from", "test"], program);
    for arg in args {
        agent = agent.arg(arg);
    }
    if !how.is_empty() {
        agent.command().env("HOW", how);
    }
    agent.go()
}

/// A suite whose last test writes its process's number into a file and never ends: somebody ends it then.
fn hanging_suite(program: &Path, args: &[&str]) -> Outcome {
    let dir = scratch();
    let file = dir.path().join("hangs");
    let watched = file.clone();
    let timer = std::thread::spawn(move || {
        let begun = Instant::now();
        loop {
            match std::fs::read_to_string(&watched).ok().and_then(|text| text.parse::<u32>().ok()) {
                Some(pid) => break Command::new("kill").arg(pid.to_string()).status().unwrap(),
                None => assert!(begun.elapsed() < Duration::from_secs(100), "the test did not get so far"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let outcome = suite(program, args, file.to_str().unwrap());
    assert!(timer.join().unwrap().success());
    outcome
}

fn libtest(dir: &Path, flags: &[&str]) -> PathBuf {
    Build::with("rustc", dir)
        .args(["--test", "-g", "-A", "warnings", "-o", "suite-0123456789abcdef"])
        .args(flags)
        .arg(fixture("frameworks/suite.rs"))
        .run();
    dir.join("suite-0123456789abcdef")
}

const LIBTEST: &[(&str, &[u64], u64)] = &[
    ("suite::tests::fails", &[4], 0),
    ("suite::tests::panics", &[5], 1),
    ("suite::tests::passes", &[3], 0),
    ("suite::tests::starts_a_thread", &[6], 0),
    ("suite::tests::sums_often", &[7; 500], 0),
];

/// The test that multiplies too much panics amid a line that it has entered.
#[test]
fn libtest_one_after_the_other_and_in_parallel() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = libtest(dir.path(), &[]);
    for threads in ["--test-threads=1", "--test-threads=6"] {
        let outcome = suite(&program, &[threads], "");
        assert_eq!(outcome.process.status.code(), Some(101), "{}", outcome.stdout());
        assert!(outcome.stdout().contains("5 passed; 1 failed"), "{}", outcome.stdout());
        RUST.assert(&outcome, LIBTEST);
    }
}

#[test]
fn libtest_with_a_test_that_crashes() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = libtest(dir.path(), &[]);
    let outcome = suite(&program, &["--test-threads=1", "ends", "passes"], "crash");
    RUST.assert(&outcome, &[("suite::tests::ends", &[8], 0)]);
    let said = outcome.stderr();
    assert!(said.contains("Failed, and counted until then: suite::tests::ends (killed by SIGABRT)\n"), "{said}");
}

#[test]
fn libtest_with_a_test_that_never_ends() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let outcome = hanging_suite(&libtest(dir.path(), &[]), &["--test-threads=2", "ends", "passes"]);
    RUST.assert(&outcome, &[("suite::tests::ends", &[8], 0), ("suite::tests::passes", &[3], 0)]);
    assert!(outcome.stderr().contains("suite::tests::ends (killed by SIGTERM)\n"), "{}", outcome.stderr());
}

/// Optimised, tests have no symbols of their own.
#[test]
fn libtest_optimised() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let outcome = suite(&libtest(dir.path(), &["-O"]), &["--test-threads=4"], "");
    let contexts = outcome.contexts("suite.rs");
    let names: Vec<_> = contexts.keys().filter(|name| !name.is_empty()).map(String::as_str).collect();
    let mut want: Vec<_> = LIBTEST.iter().map(|(name, ..)| *name).collect();
    want.push("suite::tests::ends");
    want.sort_unstable();
    assert_eq!(names, want);
}

fn google_test(dir: &Path) -> PathBuf {
    Build::with("g++", dir)
        .args(["-g", "-O0", "-o", "suite"])
        .arg(fixture("frameworks/suite.cpp"))
        .args(["-lgtest", "-lgtest_main", "-pthread"])
        .run();
    dir.join("suite")
}

const GOOGLE_TEST: &[(&str, &[u64], u64)] = &[
    ("Fixture.StartsAThread", &[5], 1),
    ("Some/Numbers.Sum/0", &[6], 0),
    ("Some/Numbers.Sum/1", &[7], 0),
    ("Sum.Fails", &[4], 1),
    ("Sum.Passes", &[3], 0),
    ("Zone.Throws", &[8], 0),
];

#[test]
fn google_test_in_any_order() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = google_test(dir.path());
    for args in [&[][..], &["--gtest_shuffle", "--gtest_random_seed=7"]] {
        let outcome = suite(&program, args, "");
        assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stdout());
        CPP.assert(&outcome, GOOGLE_TEST);
    }
}

#[test]
fn google_test_with_tests_that_crash_and_never_end() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = google_test(dir.path());
    let mut want = GOOGLE_TEST.to_vec();
    want.push(("Zone.Ends", &[9], 0));
    // What comes after the crash does not run.
    let args = ["--gtest_filter=-Some*"];
    want.retain(|(name, ..)| !name.starts_with("Some"));
    let outcomes = [(suite(&program, &args, "crash"), "SIGSEGV"), (hanging_suite(&program, &args), "SIGTERM")];
    for (outcome, signal) in outcomes {
        CPP.assert(&outcome, &want);
        let said = outcome.stderr();
        assert!(said.contains(&format!("Failed, and counted until then: Zone.Ends (killed by {signal})\n")), "{said}");
    }
}

/// Shards are processes that run at the same time.
#[test]
fn google_test_in_parallel() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = google_test(dir.path());
    // On a busy machine the first exec may be let go before the program is read: it runs no test.
    let script = "$0 --gtest_list_tests; for i in 0 1 2; do GTEST_TOTAL_SHARDS=3 GTEST_SHARD_INDEX=$i $0 & done; wait";
    let agent = Agent::run_with(&["--context-from", "test"], Path::new("/bin/sh"));
    let outcome = agent.arg("-c").arg(script).arg(&program).go();
    assert_eq!(CPP.of(&outcome), CPP.wanted(GOOGLE_TEST), "{}", outcome.stderr());
}

fn go_test(dir: &Path) -> PathBuf {
    Build::with("go", &fixture("frameworks/go"))
        .args(["test", "-c", "-gcflags=all=-N -l", "-o"])
        .arg(dir.join("work.test"))
        .env("GOFLAGS", "-mod=mod")
        .run();
    dir.join("work.test")
}

/// Goroutines wander from thread to thread, and start others.
#[test]
fn go_test_in_parallel_goroutines() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = go_test(dir.path());
    let want: &[(&str, &[u64], u64)] = &[
        ("work.TestFails", &[4], 0),
        ("work.TestGoroutine", &[5], 1),
        ("work.TestParallel/eight", &[8; 100], 0),
        ("work.TestParallel/seven", &[7; 100], 0),
        ("work.TestParallel/six", &[6; 100], 0),
        ("work.TestPasses", &[3], 0),
    ];
    for parallel in ["-test.parallel=1", "-test.parallel=3"] {
        let outcome = suite(&program, &[parallel], "");
        assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stdout());
        GO.assert(&outcome, want);
    }
}

#[test]
fn go_test_with_tests_that_crash_and_never_end() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = go_test(dir.path());
    let outcome = suite(&program, &["-test.run=Passes|Crashes"], "crash");
    GO.assert(&outcome, &[("work.TestCrashes", &[9], 0), ("work.TestPasses", &[3], 0)]);
    let outcome = suite(&program, &["-test.run=Passes|Hangs", "-test.timeout=10s"], "hang");
    GO.assert(&outcome, &[("work.TestHangs", &[10], 0), ("work.TestPasses", &[3], 0)]);
}

/// Each thread says what it does; what it does after it has said that nothing is told apart is in no context.
#[test]
fn markers_in_c() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    Build::with("gcc", dir.path())
        .args(["-g", "-O0", "-pthread", "-o", "marked", "-I"])
        .arg(workspace().join("cov-agent/marker"))
        .arg(fixture("frameworks/marked.c"))
        .run();
    let outcome = suite(&dir.path().join("marked"), &[], "");
    let work = |calls: &[u64]| -> Lines {
        let calls_of = calls.len() as u64;
        [4, 5, 8, 9]
            .map(|line| (line, calls_of))
            .into_iter()
            .chain([(6, calls.iter().map(|n| n + 1).sum()), (7, calls.iter().sum())])
            .collect()
    };
    let mut want: Contexts = ["one", "two", "three", "four"].map(|name| (name.to_owned(), work(&[3; 100]))).into();
    want.extend([
        ("main".to_owned(), work(&[5])),
        ("main, again".to_owned(), work(&[7])),
        (String::new(), work(&[1; 4])),
    ]);
    let mut got = outcome.contexts("marked.c");
    got.values_mut().for_each(|lines| lines.retain(|line, _| *line <= 9));
    assert_eq!(got, want, "{}", outcome.stderr());
}

const MARKED: &str = "mod cov_agent;
fn work(n: u32) -> u32 {
    n + 1
}
fn main() {
    cov_agent::context(Some(c\"first\"));
    work(3);
    cov_agent::context(Some(c\"second\"));
    work(4);
    work(5);
    cov_agent::context(None);
    work(6);
}
";

#[test]
fn markers_in_rust() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::write(dir.path().join("main.rs"), MARKED).unwrap();
    std::fs::copy(workspace().join("cov-agent/marker/cov_agent.rs"), dir.path().join("cov_agent.rs")).unwrap();
    Build::with("rustc", dir.path()).args(["-g", "--edition=2024", "main.rs"]).run();
    let outcome = suite(&dir.path().join("main"), &[], "");
    let counts = outcome.contexts("main.rs").into_iter().map(|(name, lines)| (name, lines[&3]));
    let want = [("", 1), ("first", 1), ("second", 2)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts.collect::<Vec<_>>(), want, "{}", outcome.stderr());
}
