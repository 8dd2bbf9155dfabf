use super::*;
use crate::coverage::synthetic::synthetic;
use crate::coverage::testing::snapshot;
use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Way};
use crate::format::{Limits, ReadError};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Cursor;

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
        prop_assert_eq!(read_all(&bytes(&snapshot)).unwrap(), snapshot);
    }

    #[test]
    fn segments_one_after_another_are_merged(a in snapshot(1), b in snapshot(2), c in snapshot(3)) {
        let parts = [&a, &b, &c].map(bytes);
        let file = parts.concat();
        let want = a.merge(b).merge(c);
        prop_assert_eq!(&read_all(&file).unwrap(), &want);

        let starts = segments(&mut Cursor::new(&file)).unwrap();
        let ends = [0, parts[0].len(), parts[0].len() + parts[1].len()];
        prop_assert_eq!(&starts, &ends.map(|n| n as u64));
        let readers = starts.iter().map(|&s| RawReader::new(&file[usize::try_from(s).unwrap()..], Limits::default()));
        let mut merged = crate::format::source::Merged::new(readers.map(Result::unwrap).collect()).unwrap();
        let mut files = Vec::new();
        while let Some(file) = merged.next_file().unwrap() {
            files.push(file);
        }
        prop_assert_eq!(merged.head().clone().into_snapshot(files), want);
    }

    #[test]
    fn noise_is_an_error(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read_all(&noise).is_err());
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&noise);
        prop_assert!(read_all(&file).is_err());
    }

    /// Noise behind right checksums: what a hostile writer can do.
    #[test]
    fn records_of_noise_do_no_harm(noise in proptest::collection::vec(0..40u8, 0..200)) {
        let mut budget = crate::format::error::Budget::new(Limits::default());
        for branches in [false, true] {
            let mut cursor = decode::Cursor::new(&noise, branches);
            while cursor.left() > 0 && cursor.file(&mut budget).is_ok() {}
        }
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_found() {
    let file = bytes(&synthetic(1, 3, 50));
    for length in 0..file.len() {
        let error = read_all(&file[..length]).unwrap_err();
        assert!(matches!(error, ReadError::Truncated { .. }), "cut at {length}: {error}");
    }
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << bit;
            assert!(read_all(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn big_files_are_split_and_joined() {
    let mut file = FileCoverage::new("/big.c");
    for line in 1..250_000 {
        file.record(line, ExecutionCounter::exact(u64::from(line)), ["", "t"][line as usize % 2]);
    }
    file.function(240_000, "f", ExecutionCounter::exact(1));
    file.compiled_into("id");
    let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![file]);
    assert_eq!(read_all(&bytes(&snapshot)).unwrap(), snapshot);
}

#[test]
fn very_many_contexts_are_split() {
    let mut file = FileCoverage::new("/a.c");
    for context in 0..400 {
        let context = format!("{context:050000}");
        // Twenty megabytes of names on each line, more than a section can be.
        file.record(7, ExecutionCounter::exact(1), &context);
        file.record(9, ExecutionCounter::at_least(2), &context);
    }
    file.function(7, "f", ExecutionCounter::exact(1));
    file.exclude(8);
    let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![file]);
    assert_eq!(read_all(&bytes(&snapshot)).unwrap(), snapshot);
}

#[test]
fn other_and_newer_files_are_named() {
    let text = |bytes: &[u8]| read_all(bytes).unwrap_err().to_string();
    assert_eq!(text(b"SF:/a.c\nend_of_record\n"), "not a valid raw coverage file: it begins otherwise");
    let mut newer = bytes(&Snapshot::default());
    newer[8] = 7;
    assert_eq!(text(&newer), "a raw coverage file of version 7; this version of cov-agent reads version 1 to 2");
    assert!(text(b"").contains("cut off after 0 bytes"));
}

/// A file of one section whose checksum is right.
fn section(plain: &[u8]) -> Vec<u8> {
    let mut start = MAGIC.to_vec();
    start.extend_from_slice(&VERSION_WITHOUT_BRANCHES.to_le_bytes());
    let mut file = Vec::new();
    let mut writer = section::SectionWriter::new(&mut file, &start).unwrap();
    writer.section(section::Kind::Head, &head::encode(&Head::default()).unwrap()).unwrap();
    for _ in 0..80 {
        writer.section(section::Kind::Files, plain).unwrap();
    }
    drop(writer);
    file
}

#[test]
fn what_a_hostile_writer_announces_takes_no_memory() {
    let says = |plain: &[u8]| read_all(&section(plain)).unwrap_err().to_string();
    // 10^9 executable lines, in five bytes.
    assert!(says(&[1, b'a', 0x80, 0x94, 0xeb, 0xdc, 0x03]).contains("a length is beyond the record"));
    // Sixteen megabytes of one function's name, 80 times, in half a kilobyte each.
    let mut name = vec![1, b'a', 0, 0, 1, 1, 0x80, 0x80, 0x80, 7];
    name.resize(10 + (7 << 21), b'x');
    name.extend_from_slice(&[0; 6]);
    let bomb = section(&name);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let error = read_all(&bomb).unwrap_err().to_string();
    assert_eq!(error, "too big: more than 1073741824 bytes of names; refused, to bound memory");
    // Records of nothing: each counts as one.
    let error = read(&section(&[0; 1 << 20])[..], Limits { files: 9, records: 1 << 18 }).unwrap_err().to_string();
    assert_eq!(error, "too big: more than 262144 line records; refused, to bound memory");
}

#[test]
fn what_is_beyond_the_limits_is_refused() {
    let file = bytes(&synthetic(1, 3, 50));
    let text = |limits| read(&file[..], limits).unwrap_err().to_string();
    assert_eq!(text(Limits { records: 99, files: 9 }), "too big: more than 99 line records; refused, to bound memory");
    assert_eq!(text(Limits { records: 9999, files: 2 }), "too big: more than 2 source files; refused, to bound memory");
}

#[test]
fn the_version_tells_whether_there_are_branches() {
    let mut file = FileCoverage::new("/a");
    file.record(1, ExecutionCounter::exact(2), "t");
    let snapshot = |file: &FileCoverage| Snapshot::of_runs([], BTreeSet::new(), Losses::default(), vec![file.clone()]);
    let without = bytes(&snapshot(&file));
    file.way(Way { line: 1, shape: 5, jump: 1, number: 1, to: 3 }, ExecutionCounter::at_least(300));
    let with = bytes(&snapshot(&file));
    assert_eq!((without[8], with[8]), (1, 2));
    assert_eq!(read_all(&with).unwrap(), snapshot(&file));
    // Files of both versions one after another.
    let both = read_all(&[without, with].concat()).unwrap();
    assert_eq!(both.files()[0].ways().collect::<Vec<_>>(), file.ways().collect::<Vec<_>>());
    assert_eq!(both.files()[0].lines().get(1), Some(ExecutionCounter::exact(4)));
    let mut writer = RawWriter::new(Vec::new(), &Head::default()).unwrap();
    assert_eq!(writer.file(&file).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn unsorted_files_are_refused() {
    let mut writer = RawWriter::new(Vec::new(), &Head::default()).unwrap();
    writer.file(&FileCoverage::new("/b")).unwrap();
    assert_eq!(writer.file(&FileCoverage::new("/a")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// The bytes that the manual shows.
#[test]
fn the_documented_example() {
    let page = include_str!("../../../../docs/src/reference/raw-format.md");
    let example = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let hex = |line: &str| -> Vec<u8> {
        let digits = line.get(..48).unwrap_or(line).split_whitespace();
        digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    let shown: Vec<u8> = example.lines().flat_map(hex).collect();
    let mut file = FileCoverage::new("/a.c");
    file.executable(2);
    file.record(1, ExecutionCounter::exact(3), "");
    file.record(4, ExecutionCounter::at_least(300), "t");
    let snapshot = Snapshot::of_runs([], BTreeSet::new(), Losses::default(), vec![file]);
    let written: Vec<String> = bytes(&snapshot).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "), written.join(" "));
    assert_eq!(read_all(&shown).unwrap(), snapshot);
}
