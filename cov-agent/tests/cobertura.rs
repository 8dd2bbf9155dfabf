//! `cobertura.xml` against its grammar, gcovr, pycobertura, diff-cover, and coverage.py's own reports.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::expect_used, clippy::panic, reason = "so do what it shares with other tests")]

mod common;

use common::{git, output, put, reports, run, tool};
use cov_agent::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Snapshot, Way};
use cov_agent::format::{Limits, cobertura};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const NAMES: [&str; 3] = ["src/a.cpp", "src/grüße λ/x & <y>.cpp", "main.c"];

/// A project whose three files have five lines; lines 2 to 4 are executable, 2 and 3 ran.
fn project() -> (tempfile::TempDir, Snapshot) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let mut files: Vec<_> =
        NAMES.iter().map(|name| file(put(&root, name, "1\n2\n3\n4\n5\n").to_str().unwrap())).collect();
    files.push(FileCoverage::new(put(&root, "src/empty.h", "").to_str().unwrap()));
    let snapshot = snapshot(root.to_str().unwrap(), files);
    write(&snapshot, &root.join("cobertura.xml"));
    (directory, snapshot)
}

fn file(path: &str) -> FileCoverage {
    let mut file = FileCoverage::new(path);
    file.function(2, "_ZNSt6vectorIiSaIiEE9push_backERKi", ExecutionCounter::exact(5));
    file.record(2, ExecutionCounter::exact(5), "");
    file.record(3, ExecutionCounter::exact(u64::MAX), "test");
    file.executable(4);
    file
}

fn snapshot(directory: &str, files: Vec<FileCoverage>) -> Snapshot {
    let run = Run { directory: directory.into(), ..Run::default() };
    Snapshot::new(run, BTreeSet::new(), Losses::default(), files)
}

fn write(snapshot: &Snapshot, path: &Path) {
    cobertura::write(snapshot, &mut fs::File::create(path).unwrap()).unwrap();
}

fn validate(path: &Path) {
    let dtd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cobertura.dtd");
    output(Command::new("xmllint").args(["--noout", "--nonet", "--dtdvalid", dtd]).arg(path));
}

#[test]
fn the_grammar_holds() {
    let (directory, snapshot) = project();
    validate(&directory.path().join("cobertura.xml"));
    let empty = directory.path().join("empty.xml");
    write(&Snapshot::default(), &empty);
    validate(&empty);
    // The grammar can refuse.
    let text = fs::read_to_string(directory.path().join("cobertura.xml")).unwrap();
    put(directory.path(), "bad.xml", text.replacen("<methods/>", "", 1));
    let dtd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cobertura.dtd");
    let bad =
        Command::new("xmllint").args(["--noout", "--dtdvalid", dtd]).arg(directory.path().join("bad.xml")).output();
    assert!(!bad.unwrap().status.success());
    drop(snapshot);
}

#[test]
fn branches_are_valid_and_read_by_gcovr_and_pycobertura() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let mut file = file(put(&root, "a.cpp", "1\n2\n3\n4\n5\n").to_str().unwrap());
    for (line, number, count) in [(2, 0, 5), (2, 1, 0), (4, 0, 0), (4, 1, 0), (3, 0, 1), (3, 1, 9)] {
        file.way(Way { line, number, ..Way::default() }, ExecutionCounter::exact(count));
    }
    let snapshot = snapshot(root.to_str().unwrap(), vec![file]);
    write(&snapshot, &root.join("cobertura.xml"));
    validate(&root.join("cobertura.xml"));
    let text = fs::read_to_string(root.join("cobertura.xml")).unwrap();
    for line in [
        "<line number=\"2\" hits=\"5\" branch=\"true\" condition-coverage=\"50% (1/2)\"/>",
        "<line number=\"4\" hits=\"0\" branch=\"true\" condition-coverage=\"0% (0/2)\"/>",
        "branch-rate=\"0.5000\" complexity=\"0\" lines-covered=\"2\" lines-valid=\"3\" branches-covered=\"3\" branches-valid=\"6\"",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let args = ["--root", ".", "--cobertura-add-tracefile", "cobertura.xml", "--json-summary", "out.json"];
    run(tool(&reports(), "gcovr", &root), args);
    let json: Value = serde_json::from_slice(&fs::read(root.join("out.json")).unwrap()).unwrap();
    assert_eq!((&json["branch_total"], &json["branch_covered"]), (&Value::from(6), &Value::from(3)), "{json}");
    const ASK: &str = "import pycobertura; print(pycobertura.Cobertura('cobertura.xml').branch_rate('a.cpp'))";
    assert_eq!(run(tool(&reports(), "python", &root), ["-c", ASK]).trim(), "0.5");
    let back = cobertura::read(&mut fs::File::open(root.join("cobertura.xml")).unwrap(), Limits::default()).unwrap();
    let branches = back.files()[0].branches();
    assert_eq!((branches.total, branches.covered), (6, 3));
}

#[test]
fn gcovr_reads_the_counts() {
    let (directory, _) = project();
    let args = ["--root", ".", "--cobertura-add-tracefile", "cobertura.xml", "--json", "out.json"];
    run(tool(&reports(), "gcovr", directory.path()), args);
    let json: Value = serde_json::from_slice(&fs::read(directory.path().join("out.json")).unwrap()).unwrap();
    for name in NAMES {
        let file = json["files"].as_array().unwrap().iter().find(|file| file["file"] == *name).unwrap();
        let lines = file["lines"].as_array().unwrap().iter();
        let lines: Vec<_> = lines.map(|l| (l["line_number"].as_u64().unwrap(), l["count"].as_u64().unwrap())).collect();
        assert_eq!(lines, [(2, 5), (3, u64::MAX), (4, 0)], "{name}");
    }
}

#[test]
fn pycobertura_reads_the_lines() {
    let (directory, _) = project();
    const ASK: &str = "
import json, pycobertura
report = pycobertura.Cobertura('cobertura.xml')
print(json.dumps({f: [report.hit_statements(f), report.missed_statements(f), report.line_rate(f)] for f in report.files()}))
";
    let said: Value = serde_json::from_str(&run(tool(&reports(), "python", directory.path()), ["-c", ASK])).unwrap();
    for name in NAMES {
        assert_eq!(said[name].to_string(), "[[2,3],[4],0.6667]", "{name}");
    }
    run(tool(&reports(), "pycobertura", directory.path()), ["show", "cobertura.xml"]);
}

#[test]
fn diff_cover_finds_the_changed_lines() {
    let (directory, _) = project();
    let git = |args: &[&str]| git(directory.path(), args);
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "1"]);
    git(&["branch", "base"]);
    put(directory.path(), "src/a.cpp", "1\n2\nthree\nfour\n5\n");
    git(&["commit", "-qam", "2"]);
    let args = ["cobertura.xml", "--compare-branch", "base", "--format", "json:diff.json"];
    run(tool(&reports(), "diff-cover", directory.path()), args);
    let json: Value = serde_json::from_slice(&fs::read(directory.path().join("diff.json")).unwrap()).unwrap();
    assert_eq!(json["src_stats"]["src/a.cpp"]["covered_lines"].to_string(), "[3]", "{json}");
    assert_eq!(json["src_stats"]["src/a.cpp"]["violation_lines"].to_string(), "[4]", "{json}");
}

/// A report of ten thousand files.
fn many() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = (0..10_000).map(|at| file(&format!("/p/{}/{}.cpp", at / 100, at % 100))).collect();
    write(&snapshot("/p", files), &directory.path().join("cobertura.xml"));
    directory
}

#[test]
fn pycobertura_reads_ten_thousand_files() {
    let directory = many();
    validate(&directory.path().join("cobertura.xml"));
    const ASK: &str = "
import pycobertura
report = pycobertura.Cobertura('cobertura.xml')
print(len(report.files()), report.total_hits(), report.total_misses())
";
    let said = run(tool(&reports(), "python", directory.path()), ["-c", ASK]);
    assert_eq!(said.trim(), "10000 20000 10000");
}

#[test]
fn gcovr_reads_ten_thousand_files() {
    let directory = many();
    let args = ["--root", "/p", "--cobertura-add-tracefile", "cobertura.xml", "--json-summary", "out.json"];
    run(tool(&reports(), "gcovr", directory.path()), args);
    let json: Value = serde_json::from_slice(&fs::read(directory.path().join("out.json")).unwrap()).unwrap();
    assert_eq!((&json["line_total"], &json["line_covered"]), (&30_000.into(), &20_000.into()));
}

#[test]
fn big_reports_are_split_below_what_gitlab_takes() {
    let directory = tempfile::tempdir().unwrap();
    let files = (0..10_000).map(|i| {
        let mut file = file(&format!("/p/{}/{}.c", i / 100, i % 100));
        (5..65).for_each(|line| file.executable(line));
        file
    });
    let whole = snapshot("/p", files.collect());
    let parts = cobertura::parts(&whole, cobertura::GITLAB_MAX_BYTES);
    assert!(parts.len() > 1);
    let path = directory.path().join("part.xml");
    for part in &parts {
        write(part, &path);
        let size = fs::metadata(&path).unwrap().len();
        assert!(size <= cobertura::GITLAB_MAX_BYTES, "{size}");
        validate(&path);
        assert_eq!(fs::read_to_string(&path).unwrap().matches("<source>").count(), 1);
    }
    // As few as there can be, nearly.
    write(&whole, &path);
    let needed = fs::metadata(&path).unwrap().len().div_ceil(cobertura::GITLAB_MAX_BYTES);
    assert!(parts.len() as u64 <= needed + 1, "{} parts for {needed}", parts.len());
}

#[test]
fn reports_of_coverage_py_are_read() {
    let (directory, _) = project();
    put(directory.path(), "pkg/b.py", "import sys\nif len(sys.argv) > 1:\n    print('two')\nelse:\n    print('one')\n");
    run(tool(&reports(), "coverage", directory.path()), ["run", "--branch", "pkg/b.py"]);
    run(tool(&reports(), "coverage", directory.path()), ["xml", "-q", "-o", "theirs.xml"]);
    let path = directory.path().canonicalize().unwrap().join("theirs.xml");
    validate(&path);
    let snapshot = cobertura::read(&mut fs::File::open(&path).unwrap(), Limits::default()).unwrap();
    let file = &snapshot.files()[0];
    assert_eq!(&**file.path(), path.with_file_name("pkg").join("b.py").to_str().unwrap());
    let lines: Vec<_> = file.lines().iter().map(|(line, count)| (line, count.value())).collect();
    assert_eq!(lines, [(1, 1), (2, 1), (3, 0), (5, 1)]);
}
