use super::*;
use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Snapshot};
use crate::format::{Limits, ReadError, testing};
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn bytes(snapshot: &Snapshot, rows: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::write_groups(snapshot, rows, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_come_back(snapshot in testing::snapshots(), rows in 1..50usize) {
        let first = bytes(&snapshot, rows);
        let back = read(&mut &first[..], Limits::default()).unwrap();
        // A file without executable lines has no row.
        let mut expected = testing::lines(&snapshot, |counter| counter);
        expected.retain(|_, (lines, _)| !lines.is_empty());
        prop_assert_eq!(testing::lines(&back, |counter| counter), expected);
        for (ours, theirs) in back.runs().zip(snapshot.runs()) {
            prop_assert_eq!((&ours.id, ours.end, &ours.commit, &ours.shard), (&theirs.id, theirs.end, &theirs.commit, &theirs.shard));
        }
        for file in back.files() {
            let original = snapshot.file(file.path()).unwrap();
            prop_assert!(file.build_ids().eq(original.build_ids()));
        }
        // Equal data give equal bytes.
        prop_assert_eq!(first, bytes(&snapshot, rows));
        prop_assert_eq!(testing::lines(&read(&mut &bytes(&back, 7)[..], Limits::default()).unwrap(), |c| c), testing::lines(&back, |c| c));
    }
}

fn sample() -> Snapshot {
    let mut a = FileCoverage::new("/w/a.c");
    (1..60).for_each(|line| a.record(line, ExecutionCounter::exact(u64::from(line % 7)), ""));
    a.record(3, ExecutionCounter::at_least(u64::MAX), "test");
    a.compiled_into("ab12");
    a.digest("md5:00");
    let run = Run { directory: "/w".into(), commit: "c0ffee".into(), end: 1_700_000_000, ..Run::default() };
    Snapshot::new(run, BTreeSet::new(), Losses::default(), vec![a])
}

#[test]
fn what_belongs_to_the_whole_comes_back() {
    let sample = sample();
    let back = read(&mut &bytes(&sample, 10)[..], Limits::default()).unwrap();
    assert_eq!((back.directory(), back.end()), ("/w", 1_700_000_000));
    assert_eq!(back.files()[0].digests().collect::<Vec<_>>(), ["md5:00"]);
    assert_eq!(back.common_runs(&sample).count(), 1);
    assert_eq!(read(&mut &bytes(&Snapshot::default(), 10)[..], Limits::default()).unwrap(), Snapshot::default());
}

#[test]
fn merged_runs_are_named_together() {
    let merged = sample().merge(sample());
    let back = read(&mut &bytes(&merged, 1000)[..], Limits::default()).unwrap();
    assert_eq!(back.runs().count(), 2);
    assert!(back.runs().all(|run| run.commit == "c0ffee"));
}

/// A file of one row group as another writer makes it.
fn foreign(
    schema: &str,
    mut column: impl FnMut(usize, &mut ::parquet::file::writer::SerializedColumnWriter<'_>),
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut at = 0;
    while let Some(mut next) = group.next_column().unwrap() {
        column(at, &mut next);
        next.close().unwrap();
        at += 1;
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

/// Three columns, in an order of their own, nulls among them; `count` as the schema says.
fn other_writer(count: &str, exact: bool) -> Result<Snapshot, ReadError> {
    let schema =
        format!("message m {{ optional boolean exact; {count}; optional int64 line; optional binary path (STRING); }}");
    let bytes = foreign(&schema, |at, column| {
        let defined = Some(&[1, 1, 1][..]);
        match at {
            0 => column.typed::<BoolType>().write_batch(&[exact], Some(&[1, 0, 0]), None).unwrap(),
            1 if count.contains("int64") => column.typed::<Int64Type>().write_batch(&[5, -1, 7], None, None).unwrap(),
            1 if count.contains("int32") => column.typed::<Int32Type>().write_batch(&[5, 6, 7], None, None).unwrap(),
            1 if count.contains("double") => {
                column.typed::<DoubleType>().write_batch(&[5.0, 6.0, 7.0], None, None).unwrap()
            }
            1 => {
                let number = |n: u128| FixedLenByteArray::from(n.to_be_bytes()[7..].to_vec());
                let values = [number(5), number(u128::from(u64::MAX)), number(if exact { 7 } else { 1 << 64 })];
                column.typed::<FixedLenByteArrayType>().write_batch(&values, None, None).unwrap()
            }
            2 => column.typed::<Int64Type>().write_batch(&[2, 1, 2], defined, None).unwrap(),
            _ => {
                let paths = ["/b", "/a", "/b"].map(ByteArray::from);
                column.typed::<ByteArrayType>().write_batch(&paths, defined, None).unwrap()
            }
        };
    });
    read(&mut &bytes[..], Limits::default())
}

#[test]
fn other_writers_choose_their_own_types() {
    let got = |snapshot: Result<Snapshot, ReadError>| -> Vec<(String, u32, ExecutionCounter)> {
        let snapshot = snapshot.unwrap();
        let files = snapshot.files().iter();
        files.flat_map(|f| f.lines().iter().map(|(l, c)| (f.path().to_string(), l, c)).collect::<Vec<_>>()).collect()
    };
    let at_least = ExecutionCounter::at_least;
    let rows = |max: u64| vec![("/a".to_owned(), 1, at_least(max)), ("/b".to_owned(), 2, at_least(12))];
    assert_eq!(got(other_writer("required int32 count", true)), rows(6));
    assert_eq!(got(other_writer("required int64 count (INTEGER(64, false))", true)), rows(u64::MAX));
    assert_eq!(got(other_writer("required fixed_len_byte_array(9) count (DECIMAL(20, 0))", true)), rows(u64::MAX));

    let says = |snapshot: Result<Snapshot, ReadError>| snapshot.unwrap_err().to_string();
    let bad = "not a valid Parquet file of coverage: ";
    assert_eq!(
        says(other_writer("required int64 count", true)),
        format!("{bad}a number in the column \"count\" is negative")
    );
    let wide = other_writer("required fixed_len_byte_array(9) count (DECIMAL(20, 0))", false);
    assert_eq!(says(wide), format!("{bad}a number in the column \"count\" has more than 64 bits"));
    let fraction = other_writer("required fixed_len_byte_array(9) count (DECIMAL(20, 2))", true);
    assert_eq!(says(fraction), format!("{bad}the column \"count\" has fractions"));
    let double = other_writer("required double count", true);
    assert_eq!(says(double), format!("{bad}the column \"count\" is not of whole numbers; CAST it AS DECIMAL(20, 0)"));
    assert_eq!(says(other_writer("required int32 counts", true)), format!("{bad}it has no column \"count\""));
}

#[test]
fn rows_that_a_few_bytes_announce_are_refused() {
    let schema = "message m { required binary path (STRING); required int32 line; required int32 count; }";
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::new())).unwrap();
    for _ in 0..3 {
        let mut group = writer.next_row_group().unwrap();
        let ones = vec![1; 100_000];
        let paths = vec![ByteArray::from("/a"); 100_000];
        let mut at = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            for _ in 0..7 {
                match at {
                    0 => column.typed::<ByteArrayType>().write_batch(&paths, None, None).unwrap(),
                    _ => column.typed::<Int32Type>().write_batch(&ones, None, None).unwrap(),
                };
            }
            column.close().unwrap();
            at += 1;
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    assert!(bytes.len() < 50_000, "{} bytes announce 2.1 million rows", bytes.len());
    let error = read(&mut &bytes[..], Limits { records: 2_000_000, files: 1 }).unwrap_err();
    assert_eq!(error.to_string(), "too big: more than 2000000 line records; refused, to bound memory");
    let hits: u64 = read(&mut &bytes[..], Limits { records: 2_100_000, files: 1 }).unwrap().files()[0]
        .lines()
        .iter()
        .map(|(_, c)| c.value())
        .sum();
    assert_eq!(hits, 2_100_000);
}

#[test]
fn foreign_files_are_an_error() {
    for bytes in [&b""[..], b"PAR1", b"PAR1PAR1", b"SQLite format 3\0", &[b'x'; 100]] {
        let error = read(&mut &bytes[..], Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with("not a valid Parquet file of coverage: "), "{error}");
    }
}

#[test]
fn damage_is_an_error_or_harmless() {
    testing::damage(&bytes(&sample(), 20), true, |bytes| read(&mut &bytes[..], Limits::default()));
}
