use super::*;
use crate::coverage::testing::snapshot;
use crate::coverage::{Losses, Run, Way};
use crate::format::testing::{damage, lines};
use crate::format::{Limits, ReadError};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn branches() {
    let mut file = FileCoverage::new("/a.c");
    file.record(3, ExecutionCounter::exact(5), "");
    file.executable(4);
    let counts = [(3, 9, 0, [2, 3]), (3, 9, 1, [0, 2]), (3, 77, 0, [0, 0]), (4, 9, 0, [0, 0])];
    for (line, shape, jump, taken) in counts {
        for (number, count) in (0..).zip(taken) {
            file.way(Way { line, shape, jump, number, to: 7 }, ExecutionCounter::exact(count));
        }
    }
    let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![file]);
    let text = String::from_utf8(bytes(&snapshot)).unwrap();
    let want = "FNH:0\nBRDA:3,0,0,2\nBRDA:3,0,1,3\nBRDA:3,1,0,0\nBRDA:3,1,1,2\nBRDA:3,2,0,-\nBRDA:3,2,1,-\n\
        BRDA:4,0,0,-\nBRDA:4,0,1,-\nBRF:8\nBRH:3\nDA:3,5\n";
    assert!(text.contains(want), "{text}");
}

#[test]
fn a_tracefile() {
    let mut file = FileCoverage::new("/w/grüße a.cc");
    file.record(7, ExecutionCounter::exact(u64::MAX), "");
    file.record(9, ExecutionCounter::at_least(2), "test");
    file.executable(8);
    file.unmeasurable(10, "no");
    file.function(7, "_ZN4PairIiiE3getEv", ExecutionCounter::exact(4)); // Pair<int, int>::get()
    file.function(9, "main", ExecutionCounter::ZERO);
    file.function(7, "_ZN3foo3bar17h0000000000000001E", ExecutionCounter::exact(1));
    file.function(7, "_ZN3foo3bar17h0000000000000002E", ExecutionCounter::exact(2));
    file.function(8, "_ZN3foo3bar17h0000000000000003E", ExecutionCounter::exact(5));
    let run = Run { program: "a.out --x".into(), ..Run::default() };
    let snapshot = Snapshot::new(run, BTreeSet::new(), Losses::default(), vec![file, FileCoverage::new("/empty.c")]);
    let mut got = Vec::new();
    write(&snapshot, &mut got).unwrap();
    let want = "TN:a_out___x\nSF:/w/grüße a.cc\nFN:7,Pair<int; int>::get()\nFN:7,foo::bar\nFN:8,foo::bar@8\n\
        FN:9,main\nFNDA:4,Pair<int; int>::get()\nFNDA:3,foo::bar\nFNDA:5,foo::bar@8\n\
        FNDA:0,main\nFNF:4\nFNH:3\nDA:7,18446744073709551615\nDA:8,0\nDA:9,2\n\
        LF:3\nLH:2\nend_of_record\n";
    assert_eq!(String::from_utf8(got).unwrap(), want);
}

fn bytes(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(snapshot, &mut bytes).unwrap();
    bytes
}

fn read_all(text: &[u8]) -> Result<Snapshot, ReadError> {
    read(text, Limits::default())
}

proptest! {
    #[test]
    fn reading_gives_the_counts_that_were_written(snapshot in snapshot(1)) {
        let written = bytes(&snapshot);
        let got = read_all(&written).unwrap();
        let totals = |snapshot: &Snapshot| -> Vec<_> {
            let exact = |c: ExecutionCounter| ExecutionCounter::exact(c.value());
            let kept = lines(snapshot, exact).into_iter().map(|(path, (lines, _))| (path, lines));
            kept.filter(|(_, lines)| !lines.is_empty()).collect()
        };
        prop_assert_eq!(totals(&got), totals(&snapshot));
        prop_assert_eq!(bytes(&got), written);
    }

    #[test]
    fn noise_does_no_harm(noise in "((SF|DA|FN|FNDA|FNL|FNA|TN|LF):[0-9a,/-]{0,9}\n|end_of_record\n|.{0,9}\n){0,30}") {
        drop(read_all(noise.as_bytes()));
    }
}

#[test]
fn damage_does_no_harm() {
    damage(&bytes(&crate::coverage::synthetic::synthetic(1, 3, 40)), false, read_all);
}

#[test]
fn what_lcov_2_and_others_write() {
    let text = "# made by hand\nTN:unit_test\nSF:src\\a.c\nVER:1\nFNL:0,3,9\nFNA:0,4,f(int, char)\nFNF:1\nFNH:1\n\
        FN:12,14,g\nFN:20,h\nFNDA:2,g\nFNDA:1,unknown\nBRDA:3,0,0,-\nBRDA:3,0,1,2\nBRDA:3,e4,x < 1,7\nBRDA:3,e4,x >= 1,-\nBRF:4\nMCDC:3,1,t,1,0,e\nDA:3,4,aGVsbG8\nDA:5,-1\r\n\
        DA:6,1e3\nDA:3,1\nDA:7,99999999999999999999\nLF:4\nLH:2\nend_of_record\n";
    let got = read_all(text.as_bytes()).unwrap();
    let mut want = FileCoverage::new("src\\a.c");
    want.record(3, ExecutionCounter::exact(5), "");
    want.executable(5);
    want.record(6, ExecutionCounter::exact(1000), "");
    want.record(7, ExecutionCounter::at_least(u64::MAX), "");
    let way = |shape, jump, number| Way { line: 3, shape, jump, number, to: 0 };
    want.way(way(0, 0, 0), ExecutionCounter::ZERO);
    want.way(way(0, 0, 1), ExecutionCounter::exact(2));
    want.way(way(1, 4, 0), ExecutionCounter::exact(7));
    want.way(way(1, 4, 1), ExecutionCounter::ZERO);
    want.function(3, "f(int, char)", ExecutionCounter::exact(4));
    want.function(12, "g", ExecutionCounter::exact(2));
    want.function(20, "h", ExecutionCounter::ZERO);
    assert_eq!(got.files(), [want]);
    assert_eq!(got.program(), "unit_test");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let cases = [
        ("SF:/a\nDA:x,1\n", "not a valid LCOV tracefile: \"x\" is no line number (line 2)"),
        ("SF:/a\nDA:0,1\n", "not a valid LCOV tracefile: \"0\" is no line number (line 2)"),
        ("SF:/a\nDA:1\n", "not a valid LCOV tracefile: \"\" is no count (line 2)"),
        ("SF:/a\nDA:1,many\n", "not a valid LCOV tracefile: \"many\" is no count (line 2)"),
        ("SF:/a\nBRDA:1,x,0,1\n", "not a valid LCOV tracefile: \"x\" is no block of branches (line 2)"),
        ("DA:1,1\n", "not a valid LCOV tracefile: DA before any SF (line 1)"),
        ("SF:/a\nSF:/b\n", "not a valid LCOV tracefile: SF before the end of the last record (line 2)"),
        ("<html>\n", "not a valid LCOV tracefile: \"<html>\" is no LCOV record (line 1)"),
        (
            "SF:/a\nDA:1,1\n",
            "the LCOV tracefile is cut off after line 2: was it copied whole, and its writer not killed?",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(read_all(text.as_bytes()).unwrap_err().to_string(), want);
    }
    assert!(read_all(&[b'S'; 1 << 20]).unwrap_err().to_string().contains("longer than 65536 bytes"));
    let two = b"SF:/a\nDA:1,1\nend_of_record\nSF:/b\nDA:1,1\nend_of_record\n";
    assert!(matches!(read(&two[..], Limits { files: 1, records: 9 }), Err(ReadError::TooBig(_))));
    assert!(matches!(read(&two[..], Limits { files: 9, records: 1 }), Err(ReadError::TooBig(_))));
}
