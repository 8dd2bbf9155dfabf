//! A real package's own test suite: executable and executed lines against those of coverage.py, counts against those of
//! `sys.settrace`.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use common::{output, run, tool, venv_of};
use cov_tests::{Coverage, SUITE, Workdir, agent_command, kernel, monitored_pythons};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// coverage.py excludes a string that stands alone as a statement; here it is executable, as the compiler has it.
const LONE_STRING: (&str, u64) = ("boltons/socketutils.py", 742);

const TESTS: [&str; 3] = ["tests/test_iterutils.py", "tests/test_strutils.py", "tests/test_socketutils.py"];

const PYTEST: [&str; 5] = ["-m", "pytest", "-q", "-p", "no:cacheprovider"];

/// The package's sources, and a virtual environment of `python` in which its tests run.
fn boltons(python: &Path, name: &str) -> (Workdir, PathBuf) {
    let suite = venv_of(python, name, &SUITE);
    let dir = Workdir::new(&[]);
    cov_tests::boltons(&suite.join("bin/python"), &dir.path());
    (dir, suite)
}

/// Runs tests of it under the agent.
fn measure(dir: &Workdir, options: &[&str], python: &Path, tests: &[&str]) {
    let mut agent = agent_command();
    agent.args(["run", "-q", "--include", "boltons/**"]).args(options).arg("--").arg(python);
    output(agent.args(PYTEST).args(tests).current_dir(dir.path()).env("PYTHONHASHSEED", "0"));
}

/// Executable lines of each file, and whether they were executed.
fn lines(report: &str) -> BTreeMap<(String, u64), bool> {
    let report: Value = serde_json::from_str(report).unwrap();
    let mut all = BTreeMap::new();
    for (path, file) in report["files"].as_object().unwrap() {
        for (key, executed) in [("executed_lines", true), ("missing_lines", false)] {
            let lines = file[key].as_array().unwrap().iter().map(|line| line.as_u64().unwrap());
            all.extend(lines.map(|line| ((path.clone(), line), executed)));
        }
    }
    all
}

/// Lines of which the agent and coverage.py, running the same tests, say different things.
fn differ(dir: &Workdir, suite: &Path, tests: &[&str]) -> Vec<(String, u64)> {
    let mut coverage_py = tool(suite, "python", &dir.path());
    coverage_py.args(["-m", "coverage", "run", "--source=boltons"]).env("PYTHONHASHSEED", "0");
    run(coverage_py, PYTEST.iter().chain(tests));
    run(tool(suite, "python", &dir.path()), ["-m", "coverage", "json", "-q", "-o", "theirs.json"]);
    let (ours, theirs) = (lines(&dir.read("coverage/coverage.json")), lines(&dir.read("theirs.json")));
    assert!(theirs.len() > 7000 && theirs.values().filter(|executed| **executed).count() > 1000, "{}", theirs.len());
    let all: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    all.into_iter().filter(|line| ours.get(line) != theirs.get(line)).cloned().collect()
}

#[test]
fn boltons_agrees_with_coverage_py() {
    if !kernel() {
        return;
    }
    for (number, python) in monitored_pythons().into_iter().rev().enumerate() {
        let name = if number == 0 { "suite".to_owned() } else { format!("suite-{number}") };
        let (dir, suite) = boltons(&python, &name);
        measure(&dir, &[], &suite.join("bin/python"), &TESTS);
        assert_eq!(differ(&dir, &suite, &TESTS), [(LONE_STRING.0.to_owned(), LONE_STRING.1)], "{}", python.display());
    }
}

/// Counted in the kernel, by the probe of Debian's interpreter: of a copy of it, since the original is everybody's.
#[test]
fn boltons_agrees_with_coverage_py_where_the_kernel_counts() {
    const PYTHON: &str = "/usr/bin/python3.11";
    if !kernel() {
        return;
    }
    let (dir, suite) = boltons(Path::new(PYTHON), "suite-usdt");
    let python = suite.join("bin/copy");
    std::fs::copy(PYTHON, &python).unwrap();
    measure(&dir, &["--python", "usdt"], &python, &TESTS);
    assert_eq!(differ(&dir, &suite, &TESTS), [(LONE_STRING.0.to_owned(), LONE_STRING.1)]);
}

/// Counts `line` events of files below boltons, as a debugger sees them.
const TRACER: &str = "import collections, json, os, sys, threading
counts = collections.Counter()
below = os.path.abspath('boltons') + os.sep

def trace(frame, event, argument):
    name = frame.f_code.co_filename
    if not name.startswith(below):
        return None
    if event == 'line':
        counts[os.path.relpath(name), frame.f_lineno] += 1
    return trace

threading.settrace(trace)
sys.settrace(trace)
import pytest
status = pytest.main(sys.argv[1:])
sys.settrace(None)
with open('traced.json', 'w') as file:
    json.dump([[*place, count] for place, count in counts.items()], file)
sys.exit(status)
";

#[test]
fn counts_are_those_of_settrace() {
    if !kernel() {
        return;
    }
    let Some(python) = monitored_pythons().pop() else { return };
    let (dir, suite) = boltons(&python, "suite");
    let tests =
        ["tests/test_iterutils.py", "tests/test_strutils.py", "tests/test_urlutils.py", "tests/test_dictutils.py"];
    measure(&dir, &["--format", "lcov"], &suite.join("bin/python"), &tests);
    dir.write("tracer.py", TRACER);
    let mut tracer = tool(&suite, "python", &dir.path());
    tracer.arg("tracer.py").args(&PYTEST[2..]).args(tests).env("PYTHONHASHSEED", "0");
    output(&mut tracer);
    let traced: Vec<(String, u32, u64)> = serde_json::from_str(&dir.read("traced.json")).unwrap();
    let traced: BTreeMap<_, _> = traced.into_iter().map(|(file, line, count)| ((file, line), count)).collect();
    let coverage = Coverage::read_lcov(&dir.path().join("coverage/lcov.info"));
    let mut compared = 0;
    for (path, file) in &coverage.files {
        let name = path.strip_prefix(dir.path()).unwrap_or(path).display().to_string();
        for (line, count) in file.lines.iter().filter(|(_, count)| **count > 0) {
            // A statement over several lines counts where its code is, which need not be its first line.
            if let Some(wanted) = traced.get(&(name.clone(), *line)) {
                assert_eq!(count, wanted, "{name}:{line}");
                compared += 1;
            }
        }
    }
    let executed = coverage.files.values().flat_map(|file| file.lines.values()).filter(|count| **count > 0).count();
    assert!(compared > 1500 && compared * 100 >= executed * 98, "{compared} of {executed}");
}
