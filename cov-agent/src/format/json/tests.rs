use super::*;
use crate::coverage::testing::snapshot;
use crate::coverage::{ExecutionCounter, FileCoverage, LossKind, Losses, Object, Run, Snapshot, Way};
use crate::format::testing::damage;
use crate::format::{Limits, ReadError};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn the_keys_of_coverage_py_and_one_more() {
    let mut file = FileCoverage::new("/w/src/a.cc");
    file.record(3, ExecutionCounter::exact(7), "");
    file.record(3, ExecutionCounter::at_least(1), "t");
    file.executable(4);
    file.unmeasurable(5, "its address is not in executable code");
    file.exclude(6);
    file.function(3, "_ZN3foo3barIiEEvT_", ExecutionCounter::exact(8));
    let run = Run { program: "p".into(), directory: "/w".into(), end: 1_714_564_801, ..Run::default() };
    let objects = BTreeSet::from([Object { build_id: "ab".into(), path: "/w/p".into() }]);
    let mut losses = Losses::default();
    losses.add_detail(LossKind::UnattachedObjects, "/lib/x.so: no room");
    let snapshot = Snapshot::new(run, objects, losses, vec![file]);
    let mut got = Vec::new();
    write(&snapshot, &mut got).unwrap();
    let got: Value = serde_json::from_slice(&got).unwrap();
    let summary = json!({
        "covered_lines": 1, "num_statements": 2, "percent_covered": 50.0, "percent_covered_display": "50",
        "missing_lines": 1, "excluded_lines": 1,
        "percent_statements_covered": 50.0, "percent_statements_covered_display": "50",
    });
    let version = env!("CARGO_PKG_VERSION");
    let want = json!({
        "meta": { "format": 3, "version": version, "timestamp": got["meta"]["timestamp"],
            "branch_coverage": false, "show_contexts": true },
        "files": { "src/a.cc": {
            "executed_lines": [3], "summary": summary, "missing_lines": [4], "excluded_lines": [6],
            "contexts": { "3": ["", "t"] },
            "cov_agent": {
                "counts": { "3": 8 }, "lower_bounds": [3],
                "contexts": { "": { "counts": { "3": 7 } }, "t": { "counts": { "3": 1 }, "lower_bounds": [3] } },
                "not_measurable": { "5": "its address is not in executable code" },
                "functions": [
                    { "name": "void foo::bar<int>(int)", "mangled": "_ZN3foo3barIiEEvT_", "line": 3, "count": 8 },
                ],
            },
        } },
        "totals": summary,
        "cov_agent": {
            "format": 1, "tool": version, "program": "p", "directory": "/w", "commit": "", "shard": "",
            "objects": [{ "build_id": "ab", "path": "/w/p" }],
            "losses": { "unattached-objects": { "count": 1, "details": ["/lib/x.so: no room"] } },
        },
    });
    assert_eq!(got, want);
}

fn bytes(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(snapshot, &mut bytes).unwrap();
    bytes
}

fn read_all(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    read(bytes, Limits::default())
}

proptest! {
    #[test]
    fn reading_gives_what_was_written(snapshot in snapshot(1)) {
        let got = read_all(&bytes(&snapshot)).unwrap();
        prop_assert_eq!(got.files(), snapshot.files());
        prop_assert_eq!(got.losses(), snapshot.losses());
        prop_assert!(got.objects().eq(snapshot.objects()));
        let run = |snapshot: &Snapshot| Run { id: Default::default(), ..snapshot.runs().next().unwrap().clone() };
        prop_assert_eq!(run(&got), run(&snapshot));
        prop_assert_eq!(bytes(&got), bytes(&snapshot));
    }

    #[test]
    fn noise_is_an_error(noise in "[\\[\\]{}\":,0-9a-z]{0,60}") {
        prop_assert!(read_all(noise.as_bytes()).is_err());
    }
}

#[test]
fn damage_does_no_harm() {
    let snapshot = crate::coverage::synthetic::synthetic(1, 3, 40);
    damage(bytes(&snapshot).trim_ascii_end(), true, read_all);
}

#[test]
fn coverage_py_says_hit_or_not_and_in_which_context() {
    let text = r#"{"meta": {"format": 3, "version": "7.17.3", "timestamp": "2026-11-22T17:16:18.345781",
        "branch_coverage": true, "show_contexts": true},
        "files": {"m.py": {"executed_lines": [1, 2], "summary": {"covered_lines": 2}, "missing_lines": [5],
            "excluded_lines": [7], "contexts": {"1": ["", "t1"]}, "executed_branches": [[1, -1]],
            "functions": {"A.f": {"executed_lines": [1]}}}},
        "totals": {}}"#;
    let got = read_all(text.as_bytes()).unwrap();
    assert_eq!(got.end(), 1_795_367_778);
    let mut want = FileCoverage::new("m.py");
    want.record(1, ExecutionCounter::at_least(1), "");
    want.record(1, ExecutionCounter::at_least(1), "t1");
    want.record(2, ExecutionCounter::at_least(1), "");
    want.executable(5);
    want.exclude(7);
    want.way(Way { line: 1, number: 1, ..Way::default() }, ExecutionCounter::at_least(1));
    assert_eq!(got.files(), [want]);
}

#[test]
fn branches_count_as_those_of_coverage_py() {
    let mut file = FileCoverage::new("/a.c");
    file.record(1, ExecutionCounter::exact(4), "");
    file.executable(2);
    for (line, number, to, count) in [(1, 0, 2, 4), (1, 1, 9, 0), (2, 0, 3, 0), (2, 1, 4, 0)] {
        file.way(Way { line, shape: 6, jump: 0, number, to }, ExecutionCounter::exact(count));
    }
    let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![file]);
    let got: Value = serde_json::from_slice(&bytes(&snapshot)).unwrap();
    assert_eq!(got["meta"]["branch_coverage"], true);
    let file = &got["files"]["/a.c"];
    assert_eq!(
        (&file["executed_branches"], &file["missing_branches"]),
        (&json!([[1, 2]]), &json!([[1, 9], [2, 3], [2, 4]]))
    );
    assert_eq!(
        file["summary"],
        json!({
            "covered_lines": 1, "num_statements": 2, "percent_covered": 100.0 / 3.0, "percent_covered_display": "33",
            "missing_lines": 1, "excluded_lines": 0,
            "percent_statements_covered": 50.0, "percent_statements_covered_display": "50",
            "num_branches": 4, "num_partial_branches": 1, "covered_branches": 1, "missing_branches": 3,
            "percent_branches_covered": 25.0, "percent_branches_covered_display": "25",
        })
    );
    assert_eq!(got["totals"], file["summary"]);
    let first = json!({ "line": 1, "shape": 6, "jump": 0, "way": 0, "to": 2, "count": 4 });
    assert_eq!(file["cov_agent"]["branches"][0], first);
}

#[test]
fn what_cannot_be_read_is_named() {
    let cases = [
        (r#"{"a": 1}"#, "not a valid coverage.py JSON file: missing field `meta` at line 1 column 8"),
        (
            r#"{"meta": {"format": 9}, "files": {}}"#,
            "a coverage.py JSON file of version 9; this version of cov-agent reads version 1 to 3",
        ),
        (
            r#"{"meta": {"format": 3}, "files": {}, "cov_agent": {"format": 2}}"#,
            "a coverage.py JSON file with counts of version 2; this version of cov-agent reads version 1",
        ),
        (
            r#"{"meta": {"format": 3}, "files": {"a": {"executed_lines": [4294967296]}}}"#,
            "not a valid coverage.py JSON file: invalid value: integer `4294967296`, expected u32 at line 1 column 70",
        ),
        (
            r#"{"meta": {"format": 3}, "fil"#,
            "the coverage.py JSON file is cut off after line 1: was it copied whole, and its writer not killed?",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(read_all(text.as_bytes()).unwrap_err().to_string(), want);
    }
    let two = r#"{"meta": {"format": 3}, "files": {"a": {"executed_lines": [1]}, "b": {"executed_lines": [1]}}}"#;
    assert!(matches!(read(two.as_bytes(), Limits { files: 1, records: 9 }), Err(ReadError::TooBig(_))));
    assert!(matches!(read(two.as_bytes(), Limits { files: 9, records: 1 }), Err(ReadError::TooBig(_))));
}
