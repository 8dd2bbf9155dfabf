//! `coverage.parquet` read by DuckDB, pyarrow and pandas, and the SQL that comes with the project, judged by our own
//! merge of the same shards.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::expect_used, clippy::panic, reason = "so do what it shares with other tests")]

mod common;

use common::{run, tool, venv};
use cov_agent::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Snapshot};
use cov_agent::format::{Limits, parquet};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

fn tools() -> PathBuf {
    venv("parquet", &["duckdb==2.0.0", "pyarrow==26.0.1", "pandas==3.1.1", "pytz"])
}

fn snapshot(commit: &str, shard: &str, files: Vec<FileCoverage>) -> Snapshot {
    let run = Run { commit: commit.into(), shard: shard.into(), end: 1_700_000_000, ..Run::default() };
    Snapshot::new(run, BTreeSet::new(), Losses::default(), files)
}

fn write(snapshot: &Snapshot, directory: &Path, name: &str) {
    parquet::write(snapshot, &mut File::create(directory.join(name)).unwrap()).unwrap();
}

/// `path`, then `(line, count, context)`.
fn file(path: &str, lines: &[(u32, u64, &str)]) -> FileCoverage {
    let mut file = FileCoverage::new(path);
    lines.iter().for_each(|&(line, count, context)| file.record(line, ExecutionCounter::exact(count), context));
    file
}

/// Runs a Python program in `directory` and gives the JSON that it prints.
fn python(directory: &Path, program: &str, args: &[&str]) -> Value {
    let args = ["-c", program].into_iter().chain(args.iter().copied());
    let said = run(tool(&tools(), "python", directory), args);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Runs one of the project's queries on all of `shard*.parquet`, in DuckDB.
fn query(directory: &Path, name: &str, also: &str) -> Value {
    const PROGRAM: &str = "
import decimal, duckdb, json, sys
db = duckdb.connect()
db.execute(\"create view coverage as select * from read_parquet('shard*.parquet')\")
db.execute(sys.argv[2])
rows = db.execute(open(sys.argv[1]).read()).fetchall()
print(json.dumps([[int(v) if isinstance(v, decimal.Decimal) else v for v in row] for row in rows]))
";
    python(directory, PROGRAM, &[sql(name).to_str().unwrap(), also])
}

fn sql(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(name)
}

/// Three shards with contexts, a count that saturates, and lines that only some shards call executable.
fn shards(directory: &Path) -> Vec<Snapshot> {
    let mut bound = file("/w/c.rs", &[(1, 4, "")]);
    bound.record(2, ExecutionCounter::at_least(3), "a");
    let shards = vec![
        snapshot("old", "1", vec![file("/w/a.c", &[(1, 5, ""), (2, 0, ""), (3, 1, "test")]), bound]),
        snapshot("old", "2", vec![file("/w/a.c", &[(1, u64::MAX, ""), (2, 7, "test"), (4, 0, "")])]),
        snapshot("old", "2", vec![file("/w/grüße λ.cpp", &[(1, 0, "")]), file("/w/a.c", &[(2, 1, "")])]),
    ];
    for (at, shard) in shards.iter().enumerate() {
        write(shard, directory, &format!("shard{at}.parquet"));
    }
    shards
}

#[test]
fn duckdb_pandas_and_pyarrow_read_every_column() {
    let directory = tempfile::tempdir().unwrap();
    let mut a = file("/w/a.c", &[(1, u64::MAX, ""), (2, 0, ""), (3, 4, "test λ")]);
    a.record(4, ExecutionCounter::at_least(2), "");
    a.compiled_into("ab12");
    a.compiled_into("cd34");
    a.digest("md5:77");
    write(&snapshot("c0ffee", "3/8", vec![a]), directory.path(), "coverage.parquet");
    const PROGRAM: &str = "
import duckdb, json, pandas, pyarrow.parquet
name = 'coverage.parquet'
keep = ['path', 'line', 'context', 'count', 'exact', 'build_id', 'source', 'commit', 'shard']
rows = lambda frame: [[row[k] for k in keep] for row in frame]
arrow = pyarrow.parquet.read_table(name).to_pylist()
times = sorted({int(row['time'].timestamp()) for row in arrow})
frame = json.loads(pandas.read_parquet(name)[keep].astype({'count': str}).to_json(orient='records'))
for row in frame: row['count'] = int(row['count'])
duck = duckdb.execute(f\"select {', '.join(keep)} from '{name}'\").fetchall()
types = [str(field.type) for field in pyarrow.parquet.read_schema(name)]
print(json.dumps([rows(arrow), rows(frame), [list(row) for row in duck], times, types]))
";
    let row = |line: u64, context: &str, count: u64, exact: bool| {
        json!(["/w/a.c", line, context, count, exact, "ab12,cd34", "md5:77", "c0ffee", "3/8"])
    };
    let rows =
        json!([row(1, "", u64::MAX, true), row(2, "", 0, true), row(3, "test λ", 4, true), row(4, "", 2, false)]);
    let said = python(directory.path(), PROGRAM, &[]);
    assert_eq!((&said[0], &said[1], &said[2]), (&rows, &rows, &rows));
    assert_eq!(said[3], json!([1_700_000_000]));
    let text = "string";
    let types = json!([text, "uint32", text, "uint64", "bool", text, text, text, text, text, "timestamp[us, tz=UTC]"]);
    assert_eq!(said[4], types);
}

#[test]
fn merging_in_sql_is_our_merge() {
    let directory = tempfile::tempdir().unwrap();
    let shards = shards(directory.path());
    // Uploaded twice, counted once.
    write(&shards[1], directory.path(), "shard-again.parquet");
    let merged = shards.into_iter().reduce(Snapshot::merge).unwrap();
    let mut rows = Vec::new();
    for file in merged.files() {
        for (line, total) in file.lines().iter() {
            let of = |(name, lines): (&str, &cov_agent::coverage::LineTracker)| {
                let counter = lines.get(line).filter(|counter| *counter != ExecutionCounter::ZERO)?;
                Some(json!(["old", &**file.path(), line, name, counter.value(), !counter.is_lower_bound()]))
            };
            let before = rows.len();
            rows.extend(file.contexts().filter_map(of));
            if rows.len() == before {
                assert_eq!(total, ExecutionCounter::ZERO);
                rows.push(json!(["old", &**file.path(), line, "", 0, true]));
            }
        }
    }
    assert_eq!(rows.len(), 8);
    assert_eq!(query(directory.path(), "merge.sql", "select 1"), Value::Array(rows));

    // What an engine made of the shards is data again.
    const COPY: &str = "
import duckdb, sys
sql = open(sys.argv[1]).read().rstrip().rstrip(';')
duckdb.execute(\"create view coverage as select * from read_parquet('shard*.parquet')\")
duckdb.execute(f\"copy ({sql}) to 'merged.parquet' (format parquet, compression zstd)\")
print(1)
";
    python(directory.path(), COPY, &[sql("merge.sql").to_str().unwrap()]);
    let back = File::open(directory.path().join("merged.parquet")).unwrap();
    let back = parquet::read_file(&back, Limits::default()).unwrap();
    assert_eq!(back.files().len(), merged.files().len());
    for (ours, theirs) in merged.files().iter().zip(back.files()) {
        assert_eq!((ours.path(), ours.lines()), (theirs.path(), theirs.lines()));
        let contexts = |file: &FileCoverage| file.contexts().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(contexts(ours), contexts(theirs));
    }
}

#[test]
fn what_other_writers_make_is_data() {
    let directory = tempfile::tempdir().unwrap();
    let ours = shards(directory.path()).swap_remove(0);
    // snappy is everybody's default.
    const PROGRAM: &str = "
import duckdb, json, pandas, pyarrow.parquet as parquet
table = parquet.read_table('shard0.parquet')
parquet.write_table(table, 'arrow.parquet')
parquet.write_table(table, 'arrow2.parquet', data_page_version='2.0', use_dictionary=False, compression='none')
parquet.write_table(table, 'brotli.parquet', compression='brotli')
parquet.write_table(table, 'gzip.parquet', compression='gzip')
pandas.read_parquet('shard0.parquet').to_parquet('pandas.parquet')
duckdb.execute(\"copy (from 'shard0.parquet') to 'duckdb.parquet' (format parquet)\")
duckdb.execute(\"copy (from 'shard0.parquet') to 'duckdb2.parquet' (format parquet, parquet_version v2)\")
names = ['arrow', 'arrow2', 'pandas', 'duckdb', 'duckdb2']
codec = lambda name: parquet.ParquetFile(name + '.parquet').metadata.row_group(0).column(0).compression
print(json.dumps([codec(name) for name in names]))
";
    let codecs = python(directory.path(), PROGRAM, &[]);
    assert_eq!(codecs, json!(["SNAPPY", "UNCOMPRESSED", "SNAPPY", "SNAPPY", "SNAPPY"]));
    let read = |name: &str| {
        let file = File::open(directory.path().join(name).with_extension("parquet")).unwrap();
        parquet::read_file(&file, Limits::default())
    };
    for name in ["shard0", "arrow", "arrow2", "pandas", "duckdb", "duckdb2"] {
        assert_eq!(read(name).unwrap().files(), ours.files(), "{name}");
    }
    for (name, codec) in [("brotli", "BROTLI"), ("gzip", "GZIP")] {
        let want = format!(
            "not a valid Parquet file of coverage: it is compressed with {codec}; write it with zstd or snappy, or not \
             compressed"
        );
        assert_eq!(read(name).unwrap_err().to_string(), want);
    }
}

#[test]
fn ten_thousand_files() {
    let directory = tempfile::tempdir().unwrap();
    let files = (0..10_000).map(|at| file(&format!("/p/{}/{}.c", at / 100, at % 100), &[(1, at, ""), (2, 0, "")]));
    write(&snapshot("c0ffee", "1", files.collect()), directory.path(), "shard.parquet");
    const PROGRAM: &str = "
import duckdb, json, pandas, pyarrow.parquet
frame = pandas.read_parquet('shard.parquet')
duck = duckdb.execute(\"select count(distinct path), count(*), sum(count) from 'shard.parquet'\").fetchone()
arrow = pyarrow.parquet.read_table('shard.parquet')
print(json.dumps([list(map(int, duck)), [frame.path.nunique(), len(frame), int(frame['count'].sum())], len(arrow)]))
";
    let want = json!([10_000, 20_000, 49_995_000]);
    assert_eq!(python(directory.path(), PROGRAM, &[]), json!([want, want, 20_000]));
}

#[test]
fn percentages_in_sql_are_ours() {
    let directory = tempfile::tempdir().unwrap();
    let many: Vec<_> = (1..=30_000).map(|line| (line, u64::from(line == 1), "")).collect();
    let most: Vec<_> = (1..=30_000).map(|line| (line, u64::from(line != 1), "")).collect();
    let files = vec![
        file("/w/few.c", &many),
        file("/w/most.c", &most),
        file("/w/two.c", &[(1, 1, "x"), (2, 3, ""), (3, 0, "")]),
    ];
    write(&snapshot("old", "", files), directory.path(), "shard.parquet");
    let want = json!([
        ["old", "/w/few.c", 30_000, 1, 0.01],
        ["old", "/w/most.c", 30_000, 29_999, 99.99],
        ["old", "/w/two.c", 3, 2, 66.67],
    ]);
    assert_eq!(query(directory.path(), "files.sql", "select 1"), want);
}

#[test]
fn lost_lines_are_those_of_unchanged_text() {
    let directory = tempfile::tempdir().unwrap();
    let with_digest = |mut file: FileCoverage, digest: &str| {
        file.digest(digest);
        file
    };
    let (before, after) = ([(1, 5, ""), (2, 6, "t"), (3, 0, "")], [(1, 0, ""), (2, 1, ""), (3, 0, ""), (4, 0, "")]);
    let old = vec![
        with_digest(file("/w/same.c", &before), "md5:1"),
        with_digest(file("/w/changed.c", &before), "md5:1"),
        file("/w/unknown.c", &before),
        file("/w/gone.c", &before),
    ];
    let new = vec![
        with_digest(file("/w/same.c", &after), "md5:1"),
        with_digest(file("/w/changed.c", &after), "md5:2"),
        file("/w/unknown.c", &after),
    ];
    write(&snapshot("old", "", old), directory.path(), "shard1.parquet");
    write(&snapshot("new", "", new), directory.path(), "shard2.parquet");
    let commits = "create temporary view commits as select 'old' as old, 'new' as new";
    let want = json!([["/w/changed.c", null, 2, 1], ["/w/same.c", 1, 5, 0], ["/w/unknown.c", 1, 5, 0]]);
    assert_eq!(query(directory.path(), "lost_lines.sql", commits), want);
}

#[test]
fn flaky_lines_are_those_that_some_runs_of_a_shard_executed() {
    let directory = tempfile::tempdir().unwrap();
    shards(directory.path());
    let want = json!([["old", "2", "/w/a.c", 1, 1, 2]]);
    assert_eq!(query(directory.path(), "flaky_lines.sql", "select 1"), want);
}

/// Spark answers every query as DuckDB does, and its own merge is data again. Spark is a download of half a gigabyte:
/// `cargo xtask spark`.
#[test]
#[ignore = "cargo xtask spark"]
fn spark_answers_as_duckdb_does() {
    let directory = tempfile::tempdir().unwrap();
    let shards = shards(directory.path());
    let new = snapshot("new", "1", vec![file("/w/a.c", &[(1, 0, ""), (2, 1, "")])]);
    write(&new, directory.path(), "shard-new.parquet");
    const PROGRAM: &str = "
import decimal, json, pathlib, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.master('local[2]').config('spark.ui.enabled', 'false').getOrCreate()
spark.sparkContext.setLogLevel('ERROR')
spark.read.parquet('shard*.parquet').createOrReplaceTempView('coverage')
spark.sql(sys.argv[1])
answers = {}
for path in sys.argv[2:]:
    rows = spark.sql(pathlib.Path(path).read_text())
    answers[path] = [[int(v) if isinstance(v, decimal.Decimal) else v for v in row] for row in rows.collect()]
    if path.endswith('merge.sql'):
        rows.where(\"commit = 'old'\").coalesce(1).write.option('compression', 'zstd').parquet('merged')
print(json.dumps(answers))
";
    let commits = "create temporary view commits as select 'old' as old, 'new' as new";
    let names = ["merge.sql", "files.sql", "lost_lines.sql", "flaky_lines.sql"];
    let paths = names.map(|name| sql(name).to_str().unwrap().to_owned());
    let spark = venv("spark", &["pyspark==4.3.0"]);
    let args = ["-c", PROGRAM, commits].into_iter().chain(paths.iter().map(String::as_str));
    let said = run(tool(&spark, "python", directory.path()), args);
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    for (name, path) in names.iter().zip(&paths) {
        let duckdb = query(directory.path(), name, commits);
        assert!(!duckdb.as_array().unwrap().is_empty(), "{name}");
        assert_eq!(said[path], duckdb, "{name}");
    }

    let merged = shards.into_iter().reduce(Snapshot::merge).unwrap();
    let parts = std::fs::read_dir(directory.path().join("merged")).unwrap().map(|entry| entry.unwrap().path());
    let part = parts.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "parquet")).unwrap();
    let back = parquet::read_file(&File::open(part).unwrap(), Limits::default()).unwrap();
    for (ours, theirs) in merged.files().iter().zip(back.files()) {
        assert_eq!((ours.path(), ours.lines()), (theirs.path(), theirs.lines()));
    }
}
