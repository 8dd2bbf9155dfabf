//! Tests in Python told apart: lines of Python, and those of a library in C, test by test, under pytest, pytest-xdist and
//! unittest, with tests that fail, crash and are given up for their time.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use common::venv_of;
use cov_tests::{Agent, Build, Outcome, fixture, kernel, monitored_pythons, scratch, workspace};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `total(n)`: lines 5 and 8 count once, 6 `n + 1` times, 7 `n` times; in the library of case.c `work` loops `n` times.
const WORK: &str = "import ctypes, os
case = ctypes.CDLL(os.environ['CASE'])

def total(n):
    total = case.work(n)
    for i in range(n):
        total += i
    return total
";

const PYTEST: &str = "import os, signal, subprocess, sys, threading, time
import pytest
from work import total

def test_passes():
    total(3)

def test_fails():
    total(4)
    assert False

@pytest.mark.parametrize('n', [5, 6])
def test_twice(n):
    total(n)

def test_thread():
    thread = threading.Thread(target=total, args=[7])
    thread.start()
    thread.join()

def test_starts():
    subprocess.run([sys.executable, '-c', 'from work import total; total(8)'], check=True)

def test_forks():
    child = os.fork()
    if not child:
        total(9)
        os._exit(0)
    os.waitpid(child, 0)

def test_crashes():
    total(10)
    if 'HOW' in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.timeout(5)
def test_hangs():
    total(11)
    time.sleep(1000 if 'HANG' in os.environ else 0)
";

const UNITTEST: &str = "import os, signal, time, unittest
from work import total

class Work(unittest.TestCase):
    def setUp(self):
        total(1)
    def test_a_passes(self):
        total(3)
    def test_b_fails(self):
        total(4)
        self.fail()
    def test_c_parts(self):
        for n in (5, 6):
            with self.subTest(n=n):
                total(n)
    def test_z_ends(self):
        total(7)
        how = os.environ.get('HOW')
        if how == 'crash':
            os.abort()
        if how == 'hang':
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        while how == 'hang':
            time.sleep(1)

class Later(unittest.IsolatedAsyncioTestCase):
    async def test_waits(self):
        total(8)

if __name__ == '__main__':
    total(2)
    unittest.main()
";

/// A project, and a Python with the runners.
fn project(tests: &str) -> Option<(TempDir, PathBuf)> {
    if !kernel() {
        return None;
    }
    let python = monitored_pythons().pop()?;
    let packages =
        ["pytest==9.0.2", "pytest-xdist==3.8.0", "pytest-timeout==2.4.0", "pytest-cov==7.0.0", "coverage==7.17.3"];
    let venv = venv_of(&python, "runners", &packages);
    let dir = scratch();
    Build::with("gcc", dir.path())
        .args(["-g", "-O0", "-shared", "-fPIC", "-o", "case.so"])
        .arg(fixture("c/case.c"))
        .run();
    std::fs::write(dir.path().join("work.py"), WORK).unwrap();
    std::fs::write(dir.path().join("test_work.py"), tests).unwrap();
    Some((dir, venv.join("bin/python")))
}

/// The suite, test by test.
fn suite(dir: &Path, python: &Path, options: &[&str], args: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut agent = Agent::test_with(options, python);
    agent.command().arg("-m").args(args).current_dir(dir);
    agent
        .command()
        .env("CASE", dir.join("case.so"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().copied());
    agent.go()
}

type Counts = BTreeMap<String, [u64; 5]>;

/// What tests count that call `total` with these arguments: lines 5 to 8, and the loop in C.
fn counts(tests: &[(&str, &[u64])]) -> Counts {
    let of = |calls: &[u64]| {
        let (calls, sum) = (calls.len() as u64, calls.iter().sum::<u64>());
        [calls, sum + calls, sum, calls, sum]
    };
    tests.iter().map(|(name, calls)| ((*name).to_owned(), of(calls))).collect()
}

/// What the contexts of an outcome counted.
fn counted(outcome: &Outcome) -> Counts {
    let (python, native) = (outcome.contexts("work.py"), outcome.contexts("case.c"));
    let mut counts = Counts::new();
    for name in python.keys().chain(native.keys()) {
        let line =
            |contexts: &cov_tests::Contexts, line| contexts.get(name).and_then(|lines| lines.get(&line)).copied();
        let [five, six, seven, eight] = [5, 6, 7, 8].map(|number| line(&python, number).unwrap_or(0));
        counts.insert(name.clone(), [five, six, seven, eight, line(&native, 9).unwrap_or(0)]);
    }
    counts.retain(|_, counts| *counts != [0; 5]);
    counts
}

const ALL: &[(&str, &[u64])] = &[
    ("test_work.py::test_passes", &[3]),
    ("test_work.py::test_fails", &[4]),
    ("test_work.py::test_twice[5]", &[5]),
    ("test_work.py::test_twice[6]", &[6]),
    ("test_work.py::test_thread", &[7]),
    ("test_work.py::test_starts", &[8]),
    ("test_work.py::test_forks", &[9]),
    ("test_work.py::test_crashes", &[10]),
    ("test_work.py::test_hangs", &[11]),
];

/// One after the other; two processes of pytest-xdist at the same time; a test that is given up for its time.
#[test]
fn pytest_one_after_the_other_and_in_parallel() {
    let Some((dir, python)) = project(PYTEST) else { return };
    let pytest = ["pytest", "-q", "-p", "no:cacheprovider"];
    for parallel in [&[][..], &["-n", "2"]] {
        let args = [&pytest[..], parallel].concat();
        let outcome = suite(dir.path(), &python, &[], &args, &[("HANG", "1")]);
        assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stdout());
        assert!(outcome.stdout().contains("2 failed, 7 passed"), "{}", outcome.stdout());
        assert_eq!(counted(&outcome), counts(ALL), "{}", outcome.stderr());
        assert!(!outcome.stderr().contains("(losses)"), "{}", outcome.stderr());
    }
}

/// A worker that a test kills is replaced, and the others go on.
#[test]
fn pytest_with_a_test_that_crashes() {
    let Some((dir, python)) = project(PYTEST) else { return };
    let pytest = ["pytest", "-q", "-p", "no:cacheprovider"];
    for (parallel, said) in [(&[][..], None), (&["-n", "2"], Some("2 failed, 7 passed"))] {
        let args = [&pytest[..], parallel].concat();
        let outcome = suite(dir.path(), &python, &[], &args, &[("HOW", "crash")]);
        assert!(said.is_none_or(|said| outcome.stdout().contains(said)), "{}", outcome.stdout());
        let mut want = ALL.to_vec();
        if said.is_none() {
            want.pop();
        }
        assert_eq!(counted(&outcome), counts(&want), "{}", outcome.stderr());
        let failed = "Failed, and counted until then: test_work.py::test_crashes (killed by SIGKILL)\n";
        assert!(outcome.stderr().contains(failed), "{}", outcome.stderr());
    }
}

/// Where only hits are recorded, what was hit in one test is hit anew in the next.
#[test]
fn hits_of_each_test() {
    let Some((dir, python)) = project(PYTEST) else { return };
    let outcome = suite(dir.path(), &python, &["--python-hits"], &["pytest", "-q", "-p", "no:cacheprovider"], &[]);
    let want = counts(ALL).into_iter().map(|(name, counts)| (name, [1, 1, 1, 1, counts[4]]));
    assert_eq!(counted(&outcome), want.collect(), "{}", outcome.stderr());
}

const CASES: &[(&str, &[u64])] = &[
    ("test_work.Later.test_waits", &[8]),
    ("test_work.Work.test_a_passes", &[1, 3]),
    ("test_work.Work.test_b_fails", &[1, 4]),
    ("test_work.Work.test_c_parts", &[1, 5, 6]),
    ("test_work.Work.test_z_ends", &[1, 7]),
];

#[test]
fn unittest_as_it_is() {
    let Some((dir, python)) = project(UNITTEST) else { return };
    let outcome = suite(dir.path(), &python, &[], &["unittest"], &[]);
    assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stderr());
    assert_eq!(counted(&outcome), counts(CASES), "{}", outcome.stderr());
    assert!(!outcome.stderr().contains("share"), "{}", outcome.stderr());
    // The same tests under pytest have the names that pytest gives them.
    let outcome = suite(dir.path(), &python, &[], &["pytest", "-q", "-p", "no:cacheprovider", "-k", "passes"], &[]);
    let want: &[(&str, &[u64])] = &[("test_work.py::Work::test_a_passes", &[1, 3])];
    assert_eq!(counted(&outcome), counts(want), "{}", outcome.stderr());
}

/// A crash, and the end of a time limit.
#[test]
fn unittest_with_a_test_that_ends_all() {
    let Some((dir, python)) = project(UNITTEST) else { return };
    for (how, end) in [("crash", "killed by SIGABRT"), ("hang", "killed by SIGALRM")] {
        let outcome = suite(dir.path(), &python, &[], &["unittest"], &[("HOW", how)]);
        assert_eq!(counted(&outcome), counts(CASES), "{}", outcome.stderr());
        let failed = format!("Failed, and counted until then: test_work.Work.test_z_ends ({end})\n");
        assert!(outcome.stderr().contains(&failed), "{}", outcome.stderr());
    }
}

/// What cannot tell tests apart says so.
#[test]
fn unittest_that_nobody_tells_apart_says_so() {
    let Some((dir, python)) = project(UNITTEST) else { return };
    let outcome = suite(dir.path(), &python, &["--python", "off"], &["unittest"], &[]);
    let said = "all tests of unittest in a process share one context: only Python 3.12 or later";
    assert!(outcome.stderr().contains(said), "{}", outcome.stderr());
    let threads = "import threading, unittest, test_work\n\
        both = threading.Barrier(2)\nclass Two(unittest.TestCase):\n    def test_one(self): both.wait(10)\n    \
        def test_two(self): both.wait(10)\n\
        runs = [threading.Thread(target=lambda n=n: Two(n).run(unittest.TestResult())) for n in ('test_one', 'test_two')]\n\
        [run.start() for run in runs], [run.join() for run in runs]\n";
    std::fs::write(dir.path().join("threads.py"), threads).unwrap();
    let outcome = suite(dir.path(), &python, &[], &["threads"], &[]);
    let said = "1 contexts that were not told apart";
    assert!(outcome.stderr().contains(said), "{}", outcome.stderr());
    assert!(outcome.stderr().contains("tests that ran in several threads at the same time"), "{}", outcome.stderr());
}

/// Data of two workers that coverage.py measured, and the agent's of another part of the suite, become one file, with the
/// contexts of both.
#[test]
fn coverage_py_combines_a_parallel_run_with_ours() {
    let Some((dir, python)) = project(PYTEST) else { return };
    let path = dir.path();
    std::fs::write(path.join(".coveragerc"), "[run]\nplugins = cov_agent_coverage\nparallel = true\n").unwrap();
    let plugin = workspace().join("cov-agent/python/cov_agent_coverage.py");
    std::fs::copy(plugin, path.join("cov_agent_coverage.py")).unwrap();
    let tool = || {
        let mut command = common::tool(python.parent().unwrap().parent().unwrap(), "python", path);
        command.env("CASE", path.join("case.so"));
        command
    };
    let theirs = "-m pytest -q -n 2 -p no:cacheprovider --cov=work --cov-context=test --cov-report= -k twice";
    common::run(tool(), theirs.split(' '));
    let options = ["--include", "**/work.py", "--include", "**/case.c", "--python-hits"];
    let outcome =
        suite(path, &python, &options, &["pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-k", "forks"], &[]);
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stdout());
    std::fs::copy(outcome.output.path().join(".coverage"), path.join(".coverage.ours")).unwrap();
    common::run(tool(), "-m coverage combine --append".split(' '));
    common::run(tool(), "-m coverage json -q --show-contexts -o all.json --include=*/work.py,*/case.c".split(' '));
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("all.json")).unwrap()).unwrap();
    let file = |name: &str| {
        let files = all["files"].as_object().unwrap();
        files.iter().find(|(path, _)| Path::new(path).ends_with(name)).map(|(_, file)| file.clone()).unwrap()
    };
    let work = file("work.py");
    assert_eq!(work["executed_lines"], serde_json::json!([1, 2, 4, 5, 6, 7, 8]));
    let contexts = |file: &serde_json::Value, line: &str| {
        let contexts = file["contexts"][line].as_array().unwrap();
        contexts.iter().map(|name| name.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let want = ["test_work.py::test_forks", "test_work.py::test_twice[5]|run", "test_work.py::test_twice[6]|run"];
    assert_eq!(contexts(&work, "7"), want.map(str::to_owned).into());
    assert_eq!(contexts(&file("case.c"), "9"), ["test_work.py::test_forks".to_owned()].into());
}
