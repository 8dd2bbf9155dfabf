//! Under which paths, with which labels and conflicts data is written.

use cov_tests::{Agent, Build, Workdir, kernel, scratch, tracefile};
use serde_json::{Value, json};

/// Data of `src/a.c` and of a file elsewhere.
fn workdir() -> Workdir {
    let dir = Workdir::new(&[("src/a.c", "a\n"), ("src/b/x", "")]);
    let a = dir.path().join("src/a.c");
    dir.write("one.info", tracefile(&[(a.to_str().unwrap(), &[(1, 2)]), ("/usr/include/x.h", &[(1, 1)])]));
    dir
}

/// The paths in what `cov-agent convert` writes into `out`.
fn paths(dir: &Workdir, from: &str, setting: &str) -> Vec<String> {
    let data = dir.path().join("one.info");
    let out = dir.path().join("out");
    let mut command =
        dir.command(&["convert", data.to_str().unwrap(), "--format", "lcov", "-o", out.to_str().unwrap()]);
    let output = command.current_dir(dir.path().join(from)).env("COV_AGENT_RELATIVE_FILES", setting).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = dir.read("out/lcov.info").replace(dir.path().to_str().unwrap(), "$DIR");
    text.lines().filter_map(|line| line.strip_prefix("SF:")).map(str::to_owned).collect()
}

#[test]
fn paths_are_relative_to_the_directory_or_the_repository_when_asked_for() {
    let dir = workdir();
    assert_eq!(paths(&dir, ".", "false"), ["$DIR/src/a.c", "/usr/include/x.h"]);
    assert_eq!(paths(&dir, ".", "true"), ["/usr/include/x.h", "src/a.c"]);
    assert_eq!(paths(&dir, "src", "true"), ["/usr/include/x.h", "a.c"]);
    assert_eq!(paths(&dir, "src/b", "true"), ["$DIR/src/a.c", "/usr/include/x.h"]);
    // Without a repository the directory stands for it.
    assert_eq!(paths(&dir, "src", "repository"), ["/usr/include/x.h", "a.c"]);
    dir.git(&["init", "-q"]);
    for from in [".", "src", "src/b"] {
        assert_eq!(paths(&dir, from, "repository"), ["/usr/include/x.h", "src/a.c"], "{from}");
    }
}

/// coverage.py's own configuration decides how the files in `.coverage` are named.
#[test]
fn the_data_file_is_relative_where_coverage_py_wants_it() {
    let dir = workdir();
    let named = |config: &str| {
        dir.write(".coveragerc.toml", config);
        let told = dir.agent(&["convert", "one.info", "-o", "out", "--format", "coverage"]);
        assert_eq!(told.code, 0, "{}", told.err);
        let sql = "select path from file order by path";
        let output = std::process::Command::new("sqlite3").args(["out/.coverage", sql]).current_dir(&dir).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.replace(dir.path().to_str().unwrap(), "$DIR").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // The plugin is named, so that files which are not there are in it, too.
    let plugin = "[run]\nplugins = [\"cov_agent_coverage\"]\n";
    assert_eq!(named(plugin), ["$DIR/src/a.c", "/usr/include/x.h"]);
    assert_eq!(named(&format!("{plugin}relative_files = true\n")), ["/usr/include/x.h", "src/a.c"]);
}

#[test]
fn commit_and_shard_are_kept_and_filled_in() {
    let dir = workdir();
    let convert = |from: &str, to: &str, commit: &str| {
        let mut command = dir.command(&["convert", from, "-o", to, "--format", "raw,json"]);
        let output = command.env("COV_AGENT_COMMIT", commit).env("COV_AGENT_SHARD", "3/8").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let json: Value = serde_json::from_str(&dir.read(&format!("{to}/coverage.json"))).unwrap();
        json["cov_agent"].clone()
    };
    let first = convert("one.info", "first", "c0ffee");
    assert_eq!((&first["commit"], &first["shard"]), (&json!("c0ffee"), &json!("3/8")));
    // What a run says of itself stays.
    let second = convert("first", "second", "other");
    assert_eq!(second["commit"], json!("c0ffee"));
}

/// Two builds of different texts under one path: their line numbers mean different things.
#[test]
fn sources_that_differ_between_builds_are_told() {
    let file = |digest: &str| {
        format!(
            r#"{{"meta": {{"format": 3, "version": "7.0", "timestamp": "2024-01-01T00:00:00", "branch_coverage": false,
            "show_contexts": false}}, "files": {{"/p/a.c": {{"executed_lines": [1], "summary": {{}}, "missing_lines": [2],
            "excluded_lines": [], "cov_agent": {{"counts": {{"1": 5}}, "digests": ["md5:{digest}"]}}}}}}, "totals": {{}}}}"#
        )
    };
    let dir =
        Workdir::new(&[("one.json", &file("1")), ("same.json", &format!("{} ", file("1"))), ("two.json", &file("2"))]);
    let merge = |other: &str| dir.agent(&["merge", "one.json", other, "-o", "out", "--format", "json,raw"]);
    let same = merge("same.json");
    assert_eq!((same.code, same.err.lines().count()), (0, 1), "{}", same.err);
    let said = merge("two.json");
    let warning = "cov-agent: warning: 1 source files that differ between runs: /p/a.c (losses)\n";
    assert_eq!((said.code, said.err.lines().next()), (0, Some(warning.trim_end())));
    // Nobody who reads the merged data later misses it.
    let report = dir.agent(&["report", "out"]);
    assert_eq!((report.code, report.err.as_str()), (0, warning));
    let json: Value = serde_json::from_str(&dir.read("out/coverage.json")).unwrap();
    assert_eq!(json["files"]["/p/a.c"]["cov_agent"]["counts"]["1"], json!(10));
}

#[test]
fn what_was_measured_has_the_context_that_was_asked_for() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::write(dir.path().join("a.c"), "int main(void) {\n    return 0;\n}\n").unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-o", "a", "a.c"]).run();
    let mut agent = Agent::run(&dir.path().join("a"));
    agent.command().env("COV_AGENT_CONTEXT", "nightly");
    let outcome = agent.go();
    let files = outcome.json["files"].as_object().unwrap();
    let file = files.values().next().unwrap();
    assert_eq!(file["cov_agent"]["contexts"], json!({ "nightly": { "counts": { "1": 1, "2": 1, "3": 1 } } }));
}
