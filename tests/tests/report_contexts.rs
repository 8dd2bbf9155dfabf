//! Questions to data that tell contexts apart: who ran a line, which tests to run for a change, which add nothing.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use common::{output, tool, venv};
use cov_tests::Workdir;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A file, a line of it, and how often it ran.
type Ran = (&'static str, u32, u64);

/// What each test ran.
const RUNS: &[(&str, &[Ran])] = &[
    ("", &[("a.c", 1, 1)]),
    ("suite::add", &[("a.c", 1, 2), ("a.c", 2, 7), ("b.c", 5, 1)]),
    ("suite::sub", &[("a.c", 1, 1), ("a.c", 3, 3)]),
    ("suite::all", &[("a.c", 1, 1), ("a.c", 2, 1), ("b.c", 5, 4), ("b.c", 6, 1)]),
];

/// A workdir with `coverage.json`: lines 1 to 4 of a.c and 5 to 7 of b.c are executable.
fn workdir() -> Workdir {
    let dir = Workdir::new(&[]);
    let mut files = serde_json::Map::new();
    for (path, lines) in [("a.c", 1..=4), ("b.c", 5..=7)] {
        let mut counts = BTreeMap::<u32, u64>::new();
        let mut contexts = serde_json::Map::new();
        for (test, runs) in RUNS {
            let own: BTreeMap<u32, u64> =
                runs.iter().filter(|(file, ..)| *file == path).map(|(_, l, n)| (*l, *n)).collect();
            own.iter().for_each(|(line, count)| *counts.entry(*line).or_default() += count);
            if !own.is_empty() {
                contexts.insert((*test).to_owned(), json!({ "counts": own }));
            }
        }
        let executed: Vec<u32> = counts.keys().copied().collect();
        let missing: Vec<u32> = lines.filter(|line| !counts.contains_key(line)).collect();
        let file = json!({
            "executed_lines": executed, "missing_lines": missing, "excluded_lines": [],
            "cov_agent": { "counts": counts, "contexts": contexts },
        });
        files.insert(dir.path().join(path).display().to_string(), file);
    }
    let whole = json!({ "meta": { "format": 3, "version": "7.0", "branch_coverage": false }, "files": files });
    dir.write("coverage/coverage.json", whole.to_string());
    dir
}

#[test]
fn who_ran_a_line() {
    let dir = workdir();
    assert_eq!(
        dir.prints(&["who", "a.c:1-2,4"]),
        "\
Line   Count  Context
---------------------
a.c:1      2  suite::add
a.c:1      1  (none)
a.c:1      1  suite::all
a.c:1      1  suite::sub
a.c:2      7  suite::add
a.c:2      1  suite::all
a.c:4      0  nobody
"
    );
    let json: Value = serde_json::from_str(&dir.prints(&["who", "--json", "b.c:5"])).unwrap();
    let want = json!([{ "path": "b.c", "line": 5, "contexts": [
        { "name": "suite::all", "count": 4, "lower_bound": false },
        { "name": "suite::add", "count": 1, "lower_bound": false },
    ]}]);
    assert_eq!(json["lines"], want);
    let said = dir.agent(&["who", "a.c:99"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (125, "cov-agent: error: a.c:99: no executable line is there (no-source)\n")
    );
    assert_eq!(dir.agent(&["who", "a.c"]).code, 64);
}

#[test]
fn which_tests_there_are() {
    let dir = workdir();
    assert_eq!(
        dir.prints(&["tests"]),
        "\
Context             Files  Lines  Alone
---------------------------------------
suite::add              2      3      0
suite::all              2      4      1
suite::sub              1      2      1
---------------------------------------
Total (3 contexts)      2      5
"
    );
    assert_eq!(dir.prints(&["tests", "--touching", "b.c"]), "suite::add\nsuite::all\n");
    assert_eq!(dir.prints(&["tests", "--touching", "b.c:6-9"]), "suite::all\n");
    assert_eq!(dir.prints(&["tests", "--touching", "b.c:7"]), "");
    assert_eq!(dir.prints(&["tests", "--alone"]), "b.c:6\tsuite::all\na.c:3\tsuite::sub\n");
    assert_eq!(dir.prints(&["tests", "--redundant"]), "suite::add\n");
    let plain = Workdir::new(&[("x.info", "TN:\nSF:/a.c\nDA:1,1\nend_of_record\n")]);
    let said = plain.agent(&["tests", "x.info"]);
    let text = "cov-agent: error: the data tell no contexts apart; measure with cov-agent test, or with --context-from (no-data)\n";
    assert_eq!((said.code, said.err.as_str()), (125, text));
}

/// The data are of the commit before the change: lines are looked up as they were numbered there.
#[test]
fn which_tests_to_run_for_a_change() {
    let dir = workdir();
    dir.write("a.c", "1\n2\n3\n4\n");
    dir.write("b.c", "\n\n\n\n5\n6\n7\n");
    dir.write(".gitignore", "coverage\n");
    dir.git(&["init", "-q"]);
    dir.git(&["add", "-A"]);
    dir.git(&["commit", "-q", "-m", "measured"]);
    let tests = || dir.prints(&["tests", "--diff", "HEAD"]);
    assert_eq!(tests(), "");
    dir.write("a.c", "new\nnew\n1\n2\nchanged\n4\n");
    assert_eq!(tests(), "suite::add\nsuite::all\nsuite::sub\n", "what is put before line 1 touches it");
    dir.write("a.c", "1\n2\nchanged\n4\n");
    assert_eq!(tests(), "suite::sub\n");
    dir.write("a.c", "1\n2\n3\n4\n");
    dir.write("b.c", "\n\n\n\n5\n6\nbetween\n7\n");
    assert_eq!(tests(), "suite::all\n");
    dir.git(&["mv", "b.c", "c.c"]);
    assert_eq!(tests(), "suite::all\n", "the data know it by its old name");
    dir.write("d.c", "x\n");
    dir.git(&["add", "-A"]);
    dir.git(&["commit", "-q", "-m", "change"]);
    assert_eq!(dir.prints(&["tests", "--diff", "HEAD~1"]), "suite::all\n", "a new file is in no data");
    dir.git(&["rm", "-q", "a.c"]);
    assert_eq!(dir.prints(&["tests", "--diff", "HEAD~1"]), "suite::add\nsuite::all\nsuite::sub\n");
}

#[test]
fn a_report_of_some_contexts() {
    let dir = workdir();
    let report = dir.prints(&["report", "--context", "*::sub", "--contexts", "--missing"]);
    assert_eq!(
        report,
        "\
File             Lines  Covered  Percent  Hottest  Count  Missing
-----------------------------------------------------------------
a.c                  4        2      50%        3      3  2, 4
b.c                  3        0       0%                  5-7
-----------------------------------------------------------------
Total (2 files)      7        2      29%

Context     Files  Lines  Executions
------------------------------------
suite::sub      1      2           4
"
    );
    let said = dir.agent(&["report", "--context", "x*"]);
    let text = "cov-agent: error: no context matches; there are suite::add, suite::all, suite::sub (no-data)\n";
    assert_eq!((said.code, said.err.as_str()), (125, text));
}

/// `.coverage` of such data: coverage.py shows who ran each line.
#[test]
fn coverage_py_shows_contexts() {
    let dir = workdir();
    dir.write("a.py", "x = 1\ny = 2\nz = 3\nw = 4\n");
    let text = dir.read("coverage/coverage.json").replace("a.c", "a.py");
    dir.write("coverage/coverage.json", text);
    let said = dir.agent(&["convert", "coverage", "--include", "**/a.py", "-o", "out", "--format", "coverage"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let venv = venv("coverage-7.17.3", &["coverage==7.17.3"]);
    let html = ["html", "--show-contexts", "--data-file", "out/.coverage", "-d", "html"];
    output(tool(&venv, "coverage", &dir.path()).args(html));
    let html =
        dir.read(&format!("html/{}", dir.names("html").iter().find(|name| name.ends_with("a_py.html")).unwrap()));
    for (test, _) in RUNS.iter().skip(1) {
        assert!(html.contains(test), "{test} is not in the report");
    }
}
