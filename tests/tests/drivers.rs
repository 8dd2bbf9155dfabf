//! `cov-agent test`: the tests of a suite are told apart by whoever drives them, and its report and status stay.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use common::venv;
use cov_tests::{Agent, Build, KILL_IN_PAUSE, Outcome, fixture, kernel, scratch, workspace};
use std::collections::BTreeMap;
use std::path::Path;

/// How often each context called the function `work` of case.c, and how often it looped there.
fn work(outcome: &Outcome) -> BTreeMap<String, (u64, u64)> {
    let count = |lines: &BTreeMap<u32, u64>| (lines.get(&7).copied().unwrap_or(0), lines.get(&9).copied().unwrap_or(0));
    outcome.contexts("case.c").iter().map(|(name, lines)| (name.clone(), count(lines))).collect()
}

const CMAKE: &str = "cmake_minimum_required(VERSION 3.14)
project(cases C)
enable_testing()
set(CMAKE_BUILD_TYPE Debug)
add_executable(case case.c)
add_test(NAME passes COMMAND case 1 passes)
add_test(NAME fails COMMAND case 2 fails)
add_test(NAME crashes COMMAND case 3 crashes)
add_test(NAME hangs COMMAND case 4 hangs)
add_test(NAME fork COMMAND case 5 forks)
add_test(NAME once COMMAND case 6 passes)
add_test(NAME again COMMAND case 6 passes)
set_tests_properties(hangs PROPERTIES TIMEOUT 1)
";

#[test]
fn ctest_one_after_the_other_and_in_parallel() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::write(dir.path().join("CMakeLists.txt"), CMAKE).unwrap();
    std::fs::copy(fixture("c/case.c"), dir.path().join("case.c")).unwrap();
    Build::with("cmake", dir.path()).args(["-S", ".", "-B", "build"]).run();
    Build::with("cmake", dir.path()).args(["--build", "build"]).run();
    let want = [
        ("fork", (2, 7)),
        ("crashes", (1, 3)),
        ("fails", (1, 2)),
        ("hangs", (1, 4)),
        ("once | again", (2, 12)),
        ("passes", (1, 1)),
    ];
    let want: BTreeMap<_, _> = want.into_iter().map(|(name, counts)| (name.to_owned(), counts)).collect();
    for jobs in ["-j1", "-j4"] {
        let outcome = Agent::test(Path::new("/usr/bin/ctest")).arg(jobs).dir(&dir.path().join("build")).go();
        assert_eq!(outcome.process.status.code(), Some(8), "{}", outcome.stdout());
        assert!(outcome.stdout().contains("57% tests passed, 3 tests failed out of 7"), "{}", outcome.stdout());
        assert_eq!(work(&outcome), want, "{}", outcome.stderr());
        let said = outcome.stderr();
        assert!(said.contains("share a context: once, again\n"), "{said}");
        for failed in ["crashes (killed by SIGSEGV)", "fails (exit code 3)", "hangs (killed by SIGKILL)"] {
            assert!(said.contains(&format!("Failed, and counted until then: {failed}\n")), "{said}");
        }
    }
}

#[test]
fn nextest_runs_a_process_for_each() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let manifest = "[package]\nname = \"suite\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::copy(fixture("frameworks/suite.rs"), dir.path().join("src/lib.rs")).unwrap();
    let target = dir.path().join("target");
    Build::with("cargo", dir.path())
        .args(["nextest", "run", "--no-run", "--offline"])
        .env("CARGO_TARGET_DIR", &target)
        .run();
    // What never ends is given up for its time.
    std::fs::create_dir(dir.path().join(".config")).unwrap();
    let limit = "[profile.default]\nslow-timeout = { period = \"10s\", terminate-after = 1, grace-period = \"1s\" }\n";
    let profile = "[[profile.default.overrides]]\nfilter = \"not test(ends)\"\nslow-timeout = \"60s\"\n";
    std::fs::write(dir.path().join(".config/nextest.toml"), format!("{limit}{profile}")).unwrap();
    let hangs = dir.path().join("hangs");
    let hangs = hangs.to_str().unwrap();
    for (threads, how, end) in [("1", "crash", "SIGABRT"), ("4", "crash", "SIGABRT"), ("4", hangs, "SIGTERM")] {
        let mut agent = Agent::test(Path::new("cargo"));
        agent.command().env("CARGO_TARGET_DIR", &target).env("HOW", how);
        let agent = agent.arg("nextest").arg("run").arg("--offline").arg("--no-fail-fast").arg("-j").arg(threads);
        let outcome = agent.dir(dir.path()).go();
        assert_eq!(outcome.process.status.code(), Some(100), "{}", outcome.stderr());
        // sum's first line and its loop, by test.
        let counts = |lines: BTreeMap<u32, u64>| Some((*lines.get(&3)?, lines[&6]));
        let counts = outcome.contexts("lib.rs").into_iter().filter_map(|(name, lines)| Some((name, counts(lines)?)));
        let want = [
            ("ends", (1, 8)),
            ("fails", (1, 4)),
            ("panics", (1, 5)),
            ("passes", (1, 3)),
            ("starts_a_thread", (1, 6)),
            ("sums_often", (500, 3500)),
        ];
        let want: Vec<_> = want.iter().map(|(name, count)| (format!("suite::tests::{name}"), *count)).collect();
        assert_eq!(counts.collect::<Vec<_>>(), want, "{}", outcome.stderr());
        let said = outcome.stderr();
        let failed = format!("Failed, and counted until then: suite::tests::ends (killed by {end})\n");
        assert!(said.contains(&failed), "{said}");
        assert!(said.contains("Failed, and counted until then: suite::tests::fails (exit code 101)\n"), "{said}");
    }
}

const PYTEST: &str = "import ctypes, os, signal, threading
import pytest
case = ctypes.CDLL(os.environ['CASE'])

def test_passes():
    case.work(3)

def test_fails():
    case.work(4)
    assert False

@pytest.mark.parametrize('n', [5, 6])
def test_twice(n):
    thread = threading.Thread(target=lambda: case.work(n))
    thread.start()
    thread.join()

def test_forks():
    child = os.fork()
    if not child:
        case.work(7)
        os._exit(0)
    os.waitpid(child, 0)

def test_crashes():
    case.work(8)
    if 'HOW' in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
";

/// A library in C under tests in Python.
fn python(dir: &Path) {
    Build::with("gcc", dir).args(["-g", "-O0", "-shared", "-fPIC", "-o", "case.so"]).arg(fixture("c/case.c")).run();
}

#[test]
fn pytest_with_a_library_in_c() {
    if !kernel() {
        return;
    }
    let venv = venv("pytest-8.3.4", &["pytest==8.3.4"]);
    let dir = scratch();
    python(dir.path());
    std::fs::write(dir.path().join("test_work.py"), PYTEST).unwrap();
    let run = |how: &[(&str, &str)]| {
        let mut agent = Agent::test_with(&["--python", "off"], &venv.join("bin/python"));
        agent.command().env("CASE", dir.path().join("case.so")).envs(how.iter().copied());
        agent.arg("-m").arg("pytest").arg("-q").arg("-p").arg("no:cacheprovider").dir(dir.path()).go()
    };
    let counts = |tests: &[(&str, u64)]| -> BTreeMap<String, (u64, u64)> {
        tests.iter().map(|(name, n)| (format!("test_work.py::{name}"), (1, *n))).collect()
    };
    let all = [
        ("test_passes", 3),
        ("test_fails", 4),
        ("test_twice[5]", 5),
        ("test_twice[6]", 6),
        ("test_forks", 7),
        ("test_crashes", 8),
    ];
    let outcome = run(&[]);
    assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stdout());
    assert!(outcome.stdout().contains("1 failed, 5 passed"), "{}", outcome.stdout());
    assert_eq!(work(&outcome), counts(&all), "{}", outcome.stderr());
    let outcome = run(&[("HOW", "crash")]);
    assert_eq!(work(&outcome), counts(&all), "{}", outcome.stderr());
    let said = outcome.stderr();
    assert!(
        said.contains("Failed, and counted until then: test_work.py::test_crashes (killed by SIGKILL)\n"),
        "{said}"
    );
}

const UNITTEST: &str = "import ctypes, os, unittest
import cov_agent
case = ctypes.CDLL(os.environ['CASE'])

class Work(cov_agent.TestCase):
    def test_a(self):
        case.work(3)
    def test_b(self):
        case.work(4)
        self.fail()

if __name__ == '__main__':
    case.work(1)
    unittest.main()
";

#[test]
fn unittest_that_tells_what_it_does() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    python(dir.path());
    std::fs::write(dir.path().join("tests.py"), UNITTEST).unwrap();
    std::fs::copy(workspace().join("cov-agent/marker/cov_agent.py"), dir.path().join("cov_agent.py")).unwrap();
    let python = venv("pytest-8.3.4", &["pytest==8.3.4"]).join("bin/python");
    let mut agent = Agent::test_with(&["--python", "off", "--context-from", "test"], &python);
    agent.command().env("CASE", dir.path().join("case.so"));
    let outcome = agent.arg("tests.py").dir(dir.path()).go();
    assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stderr());
    let mut counts = work(&outcome);
    // What ran before the first test is the program's.
    counts.retain(|name, _| name.starts_with("__main__"));
    let want = [("__main__.Work.test_a", (1, 3)), ("__main__.Work.test_b", (1, 4))];
    assert_eq!(counts, want.into_iter().map(|(name, counts)| (name.to_owned(), counts)).collect());
}

/// A script, or a program whose framework nobody knows, is one test.
#[test]
fn a_script_judged_by_its_status() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-o", "case"]).arg(fixture("c/case.c")).run();
    let last = [
        ("./case 4 fails", 3, "exit code 3"),
        ("exec ./case 4 crashes", 139, "killed by SIGSEGV"),
        (&format!("{KILL_IN_PAUSE} exec ./case 4 hangs"), 137, "killed by SIGKILL"),
    ];
    for (last, status, end) in last {
        std::fs::write(dir.path().join("check.sh"), format!("./case 3\n{last}\n")).unwrap();
        let outcome = Agent::test(Path::new("/bin/sh")).arg("check.sh").dir(dir.path()).go();
        assert_eq!(outcome.process.status.code(), Some(status), "{}", outcome.stderr());
        assert_eq!(work(&outcome), [("/bin/sh check.sh".to_owned(), (2, 7))].into(), "{}", outcome.stderr());
        let failed = format!("Failed, and counted until then: /bin/sh check.sh ({end})\n");
        assert!(outcome.stderr().contains(&failed), "{}", outcome.stderr());
    }
}
