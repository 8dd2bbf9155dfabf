//! `cov-agent report`: exact texts, from data in several formats.

use cov_tests::{Workdir, tracefile};

/// Two files, one of them half executed.
fn workdir() -> Workdir {
    let dir = Workdir::new(&[]);
    let root = dir.path();
    let (a, b) = (root.join("src/a.c"), root.join("src/b|`x`.c"));
    let data = tracefile(&[
        (a.to_str().unwrap(), &[(1, 7), (2, 0), (4, 0), (5, 12_000_000_000)]),
        (b.to_str().unwrap(), &[(3, 1)]),
        ("/usr/include/empty.h", &[]),
    ]);
    dir.write("cov/lcov.info", data);
    dir
}

#[test]
fn the_table_is_exact() {
    let expected = "\
File             Lines  Covered  Percent  Hottest        Count
--------------------------------------------------------------
src/a.c              4        2      50%        5  12000000000
src/b|`x`.c          1        1     100%        3            1
--------------------------------------------------------------
Total (2 files)      5        3      60%
";
    assert_eq!(workdir().prints(&["report", "cov"]), expected);
}

#[test]
fn the_output_directory_is_the_default() {
    let dir = workdir();
    let expected = dir.prints(&["report", "cov"]);
    dir.write("coverage.ini", "[cov-agent]\noutput = cov\n");
    assert_eq!(dir.prints(&["report"]), expected);
    let piped =
        dir.command(&["report", "-"]).stdin(std::fs::File::open(dir.path().join("cov/lcov.info")).unwrap()).output();
    assert_eq!(dir.said(&piped.unwrap()).out, expected);
}

#[test]
fn missing_lines_precision_and_order_can_be_chosen() {
    let expected = "\
File             Lines  Covered  Percent  Hottest        Count  Missing
-----------------------------------------------------------------------
src/b|`x`.c          1        1  100.00%        3            1
src/a.c              4        2   50.00%        5  12000000000  2-4
-----------------------------------------------------------------------
Total (2 files)      5        3   60.00%
";
    let args = ["report", "cov", "--missing", "--precision", "2", "--sort", "-cover"];
    assert_eq!(workdir().prints(&args), expected);
}

#[test]
fn markdown_survives_odd_names() {
    let expected = "\
## Coverage: 60%

3 of 5 lines were executed, in 2 files.

| File | Lines | Covered | Percent | Missing |
|:---|---:|---:|---:|:---|
| `src/a.c` | 4 | 2 | 50% | 2-4 |
| `` src/b\\|`x`.c `` | 1 | 1 | 100% |  |
| **Total** | 5 | 3 | 60% | |
";
    assert_eq!(workdir().prints(&["report", "cov", "--markdown", "--missing"]), expected);
}

#[test]
fn json_has_every_number() {
    let dir = workdir();
    let json: serde_json::Value = serde_json::from_str(&dir.prints(&["report", "cov", "--json"])).unwrap();
    let expected = serde_json::json!({
        "format": 1,
        "totals": {
            "lines": 5, "covered": 3, "percent": 60.0, "percent_display": "60", "not_measurable": 0, "excluded": 0,
        },
        "files": [
            {
                "path": "src/a.c", "lines": 4, "covered": 2, "percent": 50.0, "percent_display": "50",
                "missing": [[2, 4]], "executions": 12_000_000_007_u64,
                "hottest": {"line": 5, "count": 12_000_000_000_u64, "lower_bound": false},
                "not_measurable": [], "excluded": [],
            },
            {
                "path": "src/b|`x`.c", "lines": 1, "covered": 1, "percent": 100.0, "percent_display": "100",
                "missing": [], "executions": 1, "hottest": {"line": 3, "count": 1, "lower_bound": false},
                "not_measurable": [], "excluded": [],
            },
        ],
        "directories": {
            "src": {
                "lines": 5, "covered": 3, "percent": 60.0, "percent_display": "60", "executions": 12_000_000_008_u64,
            },
        },
        "hottest": [
            {"path": "src/a.c", "line": 5, "count": 12_000_000_000_u64, "lower_bound": false},
            {"path": "src/a.c", "line": 1, "count": 7, "lower_bound": false},
            {"path": "src/b|`x`.c", "line": 3, "count": 1, "lower_bound": false},
        ],
        "losses": {},
    });
    assert_eq!(json, expected);
}

#[test]
fn files_are_filtered_and_their_paths_mapped() {
    let dir = workdir();
    let files = |args: &[&str]| {
        let text = dir.prints(&[&["report", "cov", "--json"], args].concat());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(files(&["--include", "src/a*"]), ["src/a.c"]);
    assert_eq!(files(&["--exclude", "**/a.c"]), ["src/b|`x`.c"]);
    let map = format!("{}/src=/elsewhere", dir.path().display());
    assert_eq!(files(&["--prefix-map", &map, "--include", "/elsewhere/a.c"]), ["/elsewhere/a.c"]);
    let said = dir.agent(&["report", "cov", "--include", "none"]);
    let expected =
        "cov-agent: error: no source file with executable lines is in the data, or none is included (no-data)\n";
    assert_eq!((said.code, said.err.as_str()), (125, expected));
    dir.write("coverage.ini", "[cov-agent]\nline_threshold = 2\n");
    assert_eq!(files(&[]), ["src/a.c"]);
}

#[test]
fn since_shows_only_what_changed() {
    let dir = Workdir::new(&[]);
    let old: &[(&str, &[(u32, u64)])] = &[
        ("/p/gone.c", &[(1, 1)]),
        ("/p/moved.c", &[(1, 1), (2, 0)]),
        ("/p/same.c", &[(1, 1)]),
        ("/p/up.c", &[(1, 0), (2, 1)]),
    ];
    let new: &[(&str, &[(u32, u64)])] = &[
        ("/p/moved.c", &[(1, 0), (2, 1)]),
        ("/p/new.c", &[(1, 0)]),
        ("/p/same.c", &[(1, 99)]),
        ("/p/up.c", &[(1, 5), (2, 1), (3, 1)]),
    ];
    dir.write("old/lcov.info", tracefile(old));
    dir.write("new/lcov.info", tracefile(new));
    let expected = "\
File               Lines  +/-  Covered  +/-  Percent  Before
------------------------------------------------------------
/p/moved.c             2             1           50%     50%
/p/new.c               1   +1        0            0%       -
/p/up.c                3   +1        3   +2     100%     50%
/p/gone.c              0   -1        0   -1        -    100%
------------------------------------------------------------
Total (all files)      7   +1        5   +1      71%     67%
";
    assert_eq!(dir.prints(&["report", "new", "--since", "old"]), expected);
    let same = dir.prints(&["report", "new", "--since", "new/lcov.info"]);
    assert_eq!(same, "no file's numbers changed: 71% of 7 lines\n");
    let json: serde_json::Value =
        serde_json::from_str(&dir.prints(&["report", "new", "--since", "old", "--json"])).unwrap();
    assert_eq!(json["files"][1]["before"], serde_json::Value::Null);
    assert_eq!(json["files"][2]["before"]["covered"], 1);
    assert_eq!(json["gone"][0]["path"], "/p/gone.c");
    let markdown = dir.prints(&["report", "new", "--since", "old", "--markdown"]);
    let expected = "\
## Coverage: 71%

5 of 7 lines were executed; before, 4 of 6 (67%).

| File | Lines | Covered | Percent | Before |
|:---|---:|---:|---:|---:|
| `/p/moved.c` | 2 | 1 | 50% | 50% |
| `/p/new.c` | 1 | 0 | 0% | - |
| `/p/up.c` | 3 (+1) | 3 (+2) | 100% | 50% |
| `/p/gone.c` | gone | | | 100% |
| **Total** | 7 | 5 | 71% | 67% |
";
    assert_eq!(markdown, expected);
}

/// Lines that are no part of the numbers, and what each test executed, in every form of the report.
#[test]
fn contexts_and_lines_that_do_not_count_are_in_every_form() {
    let json = r#"{"meta": {"format": 3, "version": "7.0", "timestamp": "2024-01-01T00:00:00", "branch_coverage": false,
        "show_contexts": true}, "files": {"a.c": {"executed_lines": [1, 2], "summary": {}, "missing_lines": [3],
        "excluded_lines": [4, 5], "cov_agent": {"counts": {"1": 7, "2": 2}, "not_measurable": {"9": "why"},
        "contexts": {"": {"counts": {"1": 5}}, "t|1": {"counts": {"1": 2, "2": 2}}}}}}, "totals": {}}"#;
    let dir = Workdir::new(&[("coverage.json", json)]);
    let text = dir.prints(&["report", "coverage.json", "--contexts", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let contexts = serde_json::json!([
        {"name": "", "files": 1, "lines": 1, "executions": 5},
        {"name": "t|1", "files": 1, "lines": 2, "executions": 4},
    ]);
    assert_eq!(report["contexts"], contexts);
    let each = serde_json::json!({"": {"covered": 1, "executions": 5}, "t|1": {"covered": 2, "executions": 4}});
    let file = &report["files"][0];
    assert_eq!(file["contexts"], each);
    assert_eq!((&file["excluded"], &file["not_measurable"]), (&serde_json::json!([4, 5]), &serde_json::json!([9])));
    assert_eq!(report["totals"]["excluded"], 2);
    let markdown = dir.prints(&["report", "coverage.json", "--contexts", "--markdown"]);
    let expected = "\
## Coverage: 67%

2 of 3 lines were executed, in 1 file.

| File | Lines | Covered | Percent |
|:---|---:|---:|---:|
| `a.c` | 3 | 2 | 67% |
| **Total** | 3 | 2 | 67% |

| Context | Files | Lines | Executions |
|:---|---:|---:|---:|
| (none) | 1 | 1 | 5 |
| `t\\|1` | 1 | 2 | 4 |

1 line is not measurable and not counted.

2 lines are excluded and not counted.
";
    assert_eq!(markdown, expected);
}

/// coverage.py's own data has contexts.
#[test]
fn contexts_are_listed() {
    let json = r#"{"meta": {"format": 3, "version": "7.0", "timestamp": "2024-01-01T00:00:00", "branch_coverage": false,
        "show_contexts": true}, "files": {"a.py": {"executed_lines": [1, 2], "summary": {}, "missing_lines": [3],
        "excluded_lines": [], "contexts": {"1": ["", "t1"], "2": ["t1"]}}}, "totals": {}}"#;
    let dir = Workdir::new(&[("coverage.json", json)]);
    let text = dir.prints(&["report", "coverage.json", "--contexts"]);
    let (_, contexts) = text.split_once("\n\n").unwrap();
    let expected = "\
Context  Files  Lines  Executions
---------------------------------
(none)       1      1         >=1
t1           1      2         >=2
";
    assert_eq!(contexts, expected);
}

#[test]
fn what_cannot_be_read_is_one_clear_error() {
    let dir =
        Workdir::new(&[("notes.txt", "hello\n"), ("empty", ""), ("cut.info", "TN:\nSF:/a.c\nDA:1,1\n"), ("d/x", "")]);
    dir.write("elf", b"\x7fELF\x02\x01\x01");
    let looked = "no coverage data in it or below (looked for *.dat, coverage*.json, .coverage*, *.info, cobertura*.xml, \
                  coverage.xml, *.parquet)";
    let unknown = "not a valid coverage data file: it looks like none of raw, coverage.py's .coverage and JSON, LCOV, \
                   Cobertura and Parquet (not-coverage-data)";
    let cases = [
        ("gone", "gone: No such file or directory (os error 2) (no-data)".to_owned()),
        ("d", format!("d: {looked} (no-data)")),
        ("notes.txt", format!("notes.txt: {unknown}")),
        ("elf", format!("elf: {unknown}")),
        ("empty", "empty: not a valid coverage data file: it is empty (not-coverage-data)".to_owned()),
    ];
    for (name, expected) in cases {
        let said = dir.agent(&["report", name]);
        let expected = format!("cov-agent: error: {expected}\n");
        assert_eq!((said.code, said.out.as_str(), said.err), (125, "", expected));
    }
    let said = dir.agent(&["report", "cut.info"]);
    assert_eq!(said.code, 125);
    assert!(said.err.starts_with("cov-agent: error: cut.info: ") && said.err.contains("cut off"), "{}", said.err);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = workdir();
    let status = std::process::Command::new("sh")
        .args(["-c", "\"$0\" report cov | head -c 1 >/dev/null; exit 0"])
        .arg(cov_tests::agent_path())
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(status.stderr.is_empty(), "{}", String::from_utf8_lossy(&status.stderr));
    let full = dir.command(&["report", "cov"]).stdout(std::fs::File::create("/dev/full").unwrap()).output().unwrap();
    assert_eq!(full.status.code(), Some(125));
    assert_eq!(
        dir.said(&full).err,
        "cov-agent: error: cannot write to stdout: No space left on device (os error 28) (disk-full)\n"
    );
}
