//! A real package's own test suite: executable and executed lines against those of coverage.py.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use common::{output, run, tool, venv_of};
use cov_tests::{Workdir, agent_path, kernel, monitored_pythons};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// coverage.py excludes a string that stands alone as a statement; here it is executable, as the compiler has it.
const LONE_STRING: (&str, u64) = ("boltons/socketutils.py", 742);

const TESTS: [&str; 3] = ["tests/test_iterutils.py", "tests/test_strutils.py", "tests/test_socketutils.py"];

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

#[test]
fn boltons_agrees_with_coverage_py() {
    if !kernel() {
        return;
    }
    let Some(python) = monitored_pythons().pop() else { return };
    let suite = venv_of(&python, "suite", &["pytest==9.0.2", "coverage==7.17.3"]);
    let dir = Workdir::new(&[]);
    let download = ["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "boltons==26.2.0"];
    run(tool(&suite, "python", &dir.path()), download);
    let untar = ["xzf", "boltons-26.2.0.tar.gz", "--strip-components=1"];
    output(Command::new("tar").args(untar).current_dir(dir.path()));

    let pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"].into_iter().chain(TESTS);
    let mut agent = Command::new(agent_path());
    agent.args(["run", "-q", "--include", "boltons/**", "--"]).arg(suite.join("bin/python")).args(pytest.clone());
    output(agent.current_dir(dir.path()).env("PYTHONHASHSEED", "0"));
    let mut coverage_py = tool(&suite, "python", &dir.path());
    coverage_py.args(["-m", "coverage", "run", "--source=boltons"]).env("PYTHONHASHSEED", "0");
    run(coverage_py, pytest);
    run(tool(&suite, "python", &dir.path()), ["-m", "coverage", "json", "-q", "-o", "theirs.json"]);

    let (ours, theirs) = (lines(&dir.read("coverage/coverage.json")), lines(&dir.read("theirs.json")));
    assert!(theirs.len() > 7000 && theirs.values().filter(|executed| **executed).count() > 1000, "{}", theirs.len());
    let all: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differ: Vec<_> = all.into_iter().filter(|line| ours.get(line) != theirs.get(line)).collect();
    assert_eq!(differ, [&(LONE_STRING.0.to_owned(), LONE_STRING.1)]);
}
