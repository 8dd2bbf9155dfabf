use super::*;
use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run};
use crate::format::{Limits, ReadError, testing};
use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::BTreeSet;

fn bytes(snapshot: &Snapshot, options: &Options) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(snapshot, options, &mut bytes).unwrap();
    bytes
}

fn with_plugin() -> Options {
    Options { plugin: true, ..Options::default() }
}

fn one(counter: ExecutionCounter) -> ExecutionCounter {
    if counter.is_hit() { ExecutionCounter::at_least(1) } else { ExecutionCounter::ZERO }
}

/// What is expected back: a hit is "≥1" in each context, and of Python files only hits are known.
fn expected(snapshot: &Snapshot) -> std::collections::BTreeMap<String, testing::Lines> {
    let mut files = testing::lines(snapshot, one);
    for (path, (lines, contexts)) in &mut files {
        if path.ends_with(".py") {
            lines.retain(|_, counter| counter.is_hit());
        }
        for (line, counter) in lines.iter_mut() {
            *counter = contexts.values().filter_map(|lines| lines.get(line)).copied().sum();
        }
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_contexts_and_exclusions_come_back(snapshot in testing::snapshots(), branch: bool) {
        let bytes = bytes(&snapshot, &Options { branch, ..with_plugin() });
        let back = read(&mut &bytes[..], Limits::default()).unwrap();
        prop_assert_eq!(testing::lines(&back, |c| c), expected(&snapshot));
        let excluded = |s: &Snapshot| -> Vec<Vec<u32>> {
            s.files().iter().filter(|f| !f.path().ends_with(".py")).map(|f| f.excluded_lines().collect()).collect()
        };
        prop_assert_eq!(excluded(&back), excluded(&snapshot));
    }

    #[test]
    fn equal_data_give_equal_bytes(snapshot in testing::snapshots()) {
        let first = bytes(&snapshot, &with_plugin());
        prop_assert_eq!(&first, &bytes(&snapshot, &with_plugin()));
        let back = read(&mut &first[..], Limits::default()).unwrap();
        prop_assert_eq!(first, bytes(&back, &with_plugin()));
    }
}

fn sample() -> Snapshot {
    let mut c = FileCoverage::new("/w/src/a.c");
    (3..400).for_each(|line| c.executable(line));
    c.record(3, ExecutionCounter::exact(5), "");
    c.record(4, ExecutionCounter::exact(1), "test");
    let mut py = FileCoverage::new("/w/b.py");
    py.record(1, ExecutionCounter::exact(1), "");
    Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![c, py])
}

fn query(bytes: &[u8], sql: &str) -> Vec<String> {
    let mut database = Connection::open_in_memory().unwrap();
    database.deserialize_read_exact("main", bytes, bytes.len(), true).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn without_the_plugin_nothing_stops_coverage_py() {
    let mut files = vec![FileCoverage::new(file!()), FileCoverage::new("/nowhere/x.c"), FileCoverage::new("/w/y.py")];
    let header = tempfile::Builder::new().prefix("vector").tempfile().unwrap();
    files.push(FileCoverage::new(header.path().to_str().unwrap()));
    files[0] = FileCoverage::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"));
    let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), files);
    let plain = bytes(&snapshot, &Options::default());
    let kept = [concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"), "/w/y.py"];
    let mut paths = query(&plain, "select path from file order by path");
    paths.sort();
    let mut want = kept.to_vec();
    want.sort_unstable();
    assert_eq!(paths, want);
    assert_eq!(query(&plain, "select tracer from tracer"), [""; 0]);
    assert_eq!(left_out(&snapshot, &Options::default()).count(), 2);
    assert_eq!(left_out(&snapshot, &with_plugin()).count(), 0);

    let tracers = query(
        &bytes(&snapshot, &with_plugin()),
        "select path from file natural join (select file_id as id from tracer)",
    );
    assert_eq!(tracers.len(), 3);
    assert!(!tracers.contains(&"/w/y.py".to_owned()));
}

#[test]
fn relative_files_are_named_from_the_directory() {
    let options = Options { relative_to: Some("/w".into()), ..with_plugin() };
    assert_eq!(query(&bytes(&sample(), &options), "select path from file order by id"), ["b.py", "src/a.c"]);
}

#[test]
fn parallel_names_are_known() {
    let name = parallel_name(Path::new("/x/.coverage"), "a.b/c", 1, "abcdef");
    assert_eq!(name, Path::new("/x/.coverage.a_b_c.pid1.Xabcdefx"));
    assert!(is_data_file_name(&name, ".coverage"));
    assert!(is_data_file_name(Path::new(".coverage"), ".coverage"));
    for other in [".coveragerc", ".coverage.h.pid1.Xabcdefx-journal", "coverage.json"] {
        assert!(!is_data_file_name(Path::new(other), ".coverage"), "{other}");
    }
}

/// A data file that `sql` changed.
fn changed(sql: &str) -> Result<Snapshot, ReadError> {
    let mut database = Connection::open_in_memory().unwrap();
    database.execute_batch("pragma foreign_keys = off").unwrap();
    database.execute_batch(SCHEMA).unwrap();
    database.execute_batch("insert into coverage_schema values (7); insert into context values (1, '')").unwrap();
    database.execute_batch(sql).unwrap();
    read(&mut &*database.serialize("main").unwrap(), Limits::default())
}

#[test]
fn arcs_become_the_lines_at_their_ends() {
    let snapshot = changed(
        "insert into meta values ('has_arcs', '1'); insert into file values (1, '/w/a.py');
         insert into arc values (1, 1, -1, 1), (1, 1, 1, 2), (1, 1, 2, 5), (1, 1, 5, -1), (1, 1, 2, 1)",
    );
    let hits: Vec<_> = snapshot.unwrap().files()[0].lines().iter().collect();
    assert_eq!(hits, [1, 2, 5].map(|line| (line, ExecutionCounter::at_least(1))));
}

#[test]
fn errors_say_what_is_wrong() {
    let says = |result: Result<Snapshot, ReadError>| result.unwrap_err().to_string();
    let cases = [
        (
            "update coverage_schema set version = 8",
            "a coverage.py data file of version 8; this version of cov-agent reads version 7",
        ),
        ("delete from coverage_schema", "not a valid coverage.py data file: it does not say which schema it follows"),
        ("drop table arc", "not a valid coverage.py data file: no table \"arc\""),
        (
            "drop table file; create view file as with recursive n(id) as (select 1 union all select id + 1 from n)
             select id, '/x' || id as path from n",
            "not a valid coverage.py data file: no table \"file\"",
        ),
        (
            "drop table file; create table file (id integer primary key, path text as (hex(zeroblob(100000))))",
            "not a valid coverage.py data file: \"file\" is no plain table",
        ),
        ("insert into line_bits values (1, 1, x'02')", "not a valid coverage.py data file: a line of no file"),
        (
            "insert into file values (1, 'a'); insert into line_bits values (1, 9, x'02')",
            "not a valid coverage.py data file: a line of no context",
        ),
        (
            "insert into file values (1, 'a'); insert into line_bits values (1, 1, 'text')",
            "not a valid coverage.py data file: Invalid type",
        ),
        (
            "insert into file values (1, 'a'); insert into line_bits values (1, 1, zeroblob(50000000))",
            "too big: line 399999999; the highest that is read is 16777216",
        ),
        (
            "insert into file values (1, 'a'); insert into arc values (1, 1, 1, 1000000000)",
            "too big: line 1000000000; the highest that is read is 16777216",
        ),
        (
            "insert into context values (2, 'cov-agent:lines:1:x')",
            "not a valid coverage.py data file: the lines of a native file are damaged",
        ),
    ];
    for (sql, message) in cases {
        assert_eq!(says(changed(sql)), message, "{sql}");
    }
    assert!(
        says(read(&mut &b"SQLite format 3\0 and no more"[..], Limits::default()))
            .starts_with("not a valid coverage.py data file: ")
    );
    assert!(says(read(&mut &b""[..], Limits::default())).starts_with("not a valid coverage.py data file: "));
    assert!(says(read(&mut &b"<xml/>"[..], Limits::default())).starts_with("not a valid coverage.py data file: "));
}

#[test]
fn what_is_announced_is_bounded() {
    let bytes = bytes(&sample(), &with_plugin());
    // Two contexts and a carrier, two files, 397 carried lines, three hits in three rows.
    let used = 3 + 2 + 397 + 3 + 3;
    let limited = |files, records| read(&mut &bytes[..], Limits { files, records }).map_err(|e| e.to_string());
    assert!(limited(2, used).is_ok());
    for records in [0, 1, 100, used - 1] {
        let error = format!("too big: more than {records} line records; refused, to bound memory");
        assert_eq!(limited(2, records), Err(error));
    }
    assert_eq!(limited(1, used), Err("too big: more than 1 source files; refused, to bound memory".into()));
}

#[test]
fn damage_is_an_error_or_harmless() {
    testing::damage(&bytes(&sample(), &with_plugin()), true, |bytes| read(&mut &bytes[..], Limits::default()));
}
