//! `lcov.info` read by lcov and genhtml 1.16 and by diff-cover.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::expect_used, clippy::panic, reason = "so do what it shares with other tests")]

mod common;

use common::{git, output, put, reports, run, tool};
use cov_agent::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Snapshot, Way};
use cov_agent::format::{Limits, lcov};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

const NAMES: [&str; 3] = ["src/a.cpp", "src/grüße λ/x y.cpp", "main.c"];
const TEMPLATE: &str = "_ZN4PairIiiE3getEv"; // Pair<int, int>::get()

fn file(path: &str) -> FileCoverage {
    let mut file = FileCoverage::new(path);
    file.function(2, TEMPLATE, ExecutionCounter::exact(5));
    file.function(4, "_ZNSt6vectorIiSaIiEE9push_backERKi", ExecutionCounter::ZERO);
    file.record(2, ExecutionCounter::exact(5), "");
    file.record(3, ExecutionCounter::exact(1 << 40), "test one");
    file.executable(4);
    file
}

fn write(directory: &Path, name: &str, files: Vec<FileCoverage>) -> Snapshot {
    let run = Run { program: "a.out --x".into(), ..Run::default() };
    let snapshot = Snapshot::new(run, BTreeSet::new(), Losses::default(), files);
    lcov::write(&snapshot, &mut File::create(directory.join(name)).unwrap()).unwrap();
    snapshot
}

/// A project whose three files have five lines; lines 2 to 4 are executable, 2 and 3 ran. A fourth is empty.
fn project() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let source = |name: &str| put(&root, name, "1\n2\n3\n4\n5\n").to_str().unwrap().to_owned();
    let mut files: Vec<_> = NAMES.iter().map(|name| file(&source(name))).collect();
    files.push(FileCoverage::new(put(&root, "src/empty.h", "").to_str().unwrap()));
    write(&root, "lcov.info", files);
    directory
}

/// A tool of LCOV, which is to be silent on its standard error: there it warns of what it could not read.
fn silent(directory: &Path, name: &str, args: &[&str]) -> String {
    let done = Command::new(name).current_dir(directory).args(args).output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && err.is_empty(), "{name} {args:?}: {}\n{err}", done.status);
    String::from_utf8(done.stdout).unwrap()
}

/// Lines with counts, by path.
fn counts(snapshot: &Snapshot) -> BTreeMap<String, Vec<(u32, u64)>> {
    let lines = |file: &FileCoverage| file.lines().iter().map(|(line, c)| (line, c.value())).collect();
    snapshot.files().iter().map(|file| (file.path().to_string(), lines(file))).collect()
}

#[test]
fn lcov_sums_up_and_adds() {
    let directory = project();
    let at = directory.path();
    let summary = silent(at, "lcov", &["--summary", "lcov.info"]);
    assert!(summary.contains("lines......: 66.7% (6 of 9 lines)"), "{summary}");
    assert!(summary.contains("functions..: 50.0% (3 of 6 functions)"), "{summary}");

    silent(at, "lcov", &["-q", "-a", "lcov.info", "-a", "lcov.info", "-o", "twice.info"]);
    let twice = lcov::read(File::open(at.join("twice.info")).unwrap(), Limits::default()).unwrap();
    let root = at.canonicalize().unwrap();
    let want = NAMES.map(|n| (root.join(n).to_str().unwrap().to_owned(), vec![(2, 10), (3, 1 << 41), (4, 0)]));
    assert_eq!(counts(&twice), BTreeMap::from(want));
    for file in twice.files() {
        let functions: Vec<_> = file.functions().map(|(f, c)| (f.line, f.name.to_string(), c.value())).collect();
        let push_back = "std::vector<int; std::allocator<int> >::push_back(int const&)".to_owned();
        assert_eq!(functions, [(2, "Pair<int; int>::get()".to_owned(), 10), (4, push_back, 0)]);
    }
}

#[test]
fn genhtml_shows_every_count() {
    let directory = project();
    let at = directory.path();
    let said = silent(at, "genhtml", &["lcov.info", "-o", "html", "--legend"]);
    assert!(said.contains("lines......: 66.7% (6 of 9 lines)"), "{said}");
    let pages = output(Command::new("find").arg(at.join("html")).args(["-name", "*.gcov.html"]));
    assert_eq!(pages.lines().count(), 3, "{pages}");
    for page in pages.lines() {
        // Without the tags: the line number, the count, a colon, the text.
        let text = fs::read_to_string(page).unwrap();
        let plain: String = text.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
        let rows: Vec<Vec<_>> = plain.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.iter().any(|row| row[..] == ["2", "5", ":", "2"]), "{plain}");
        // 2^40, as genhtml shortens what is wider than its column.
        assert!(rows.iter().any(|row| row[..] == ["3", ">10995*10^8", ":", "3"]), "{plain}");
        assert!(rows.iter().any(|row| row[..] == ["4", "0", ":", "4"]), "{plain}");
    }
}

#[test]
fn lcov_and_genhtml_show_branches() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let mut file = file(put(&root, "a.cpp", "1\n2\n3\n4\n5\n").to_str().unwrap());
    for (line, jump, number, count) in
        [(2, 0, 0, 5), (2, 0, 1, 0), (2, 1, 0, 1), (2, 1, 1, 4), (4, 0, 0, 0), (4, 0, 1, 0)]
    {
        file.way(Way { line, jump, number, ..Way::default() }, ExecutionCounter::exact(count));
    }
    let snapshot = write(&root, "lcov.info", vec![file]);
    let rc = ["--rc", "lcov_branch_coverage=1"];
    let summary = silent(&root, "lcov", &[&rc[..], &["--summary", "lcov.info"]].concat());
    assert!(summary.contains("branches...: 50.0% (3 of 6 branches)"), "{summary}");
    silent(&root, "lcov", &[&rc[..], &["-q", "-a", "lcov.info", "-a", "lcov.info", "-o", "twice.info"]].concat());
    let twice = lcov::read(File::open(root.join("twice.info")).unwrap(), Limits::default()).unwrap();
    let doubled = |snapshot: &Snapshot, factor| {
        let ways = snapshot.files()[0].ways();
        ways.map(|(way, counter)| (way.line, way.jump, way.number, counter.value() * factor)).collect::<Vec<_>>()
    };
    assert_eq!(doubled(&twice, 1), doubled(&snapshot, 2));
    let said = silent(&root, "genhtml", &["lcov.info", "-o", "html", "--branch-coverage"]);
    assert!(said.contains("branches...: 50.0% (3 of 6 branches)"), "{said}");
    let page = output(Command::new("find").arg(root.join("html")).args(["-name", "a.cpp.gcov.html"]));
    let page = fs::read_to_string(page.trim()).unwrap();
    assert!(page.contains("Branch 0 was taken 5 times") && page.contains("Branch 1 was not taken"), "{page}");
    assert!(page.contains("Branch 0 was not executed"), "{page}");
}

#[test]
fn diff_cover_finds_the_changed_lines() {
    let directory = project();
    git(directory.path(), &["init", "-q"]);
    git(directory.path(), &["add", "."]);
    git(directory.path(), &["commit", "-qm", "1"]);
    git(directory.path(), &["branch", "base"]);
    put(directory.path(), NAMES[0], "1\n2\nthree\nfour\n5\n");
    put(directory.path(), NAMES[1], "1\ntwo\n3\nfour\n5\n");
    git(directory.path(), &["commit", "-qam", "2"]);
    let tools = reports();
    let args = ["lcov.info", "--compare-branch", "base", "--format", "json:diff.json"];
    run(tool(&tools, "diff-cover", directory.path()), args);
    let json: Value = serde_json::from_slice(&fs::read(directory.path().join("diff.json")).unwrap()).unwrap();
    let found = |name: &str, key: &str| json["src_stats"][name][key].to_string();
    assert_eq!((found(NAMES[0], "covered_lines"), found(NAMES[0], "violation_lines")), ("[3]".into(), "[4]".into()));
    assert_eq!((found(NAMES[1], "covered_lines"), found(NAMES[1], "violation_lines")), ("[2]".into(), "[4]".into()));
}

#[test]
fn ten_thousand_files() {
    let directory = tempfile::tempdir().unwrap();
    let files = (0..10_000).map(|at| file(&format!("/p/{}/{}.cpp", at / 100, at % 100))).collect();
    write(directory.path(), "lcov.info", files);
    let summary = silent(directory.path(), "lcov", &["--summary", "lcov.info"]);
    assert!(summary.contains("lines......: 66.7% (20000 of 30000 lines)"), "{summary}");
    assert!(summary.contains("functions..: 50.0% (10000 of 20000 functions)"), "{summary}");
}
