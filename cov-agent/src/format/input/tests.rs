use super::*;
use crate::coverage::synthetic::synthetic;
use crate::coverage::testing::snapshot;
use crate::format::write;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn bytes(format: Format, snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(format, snapshot, &mut bytes).unwrap();
    bytes
}

fn put(path: &Path, format: Format, snapshot: &Snapshot) -> Input {
    fs::write(path, bytes(format, snapshot)).unwrap();
    Input::File(path.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// In any order and grouping, from memory or file by file: the same bytes.
    #[test]
    fn merging_files_is_merging_snapshots(a in snapshot(1), b in snapshot(2), c in snapshot(3)) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let inputs = [("a", &a), ("b", &b), ("c", &c)].map(|(name, s)| put(&path(name), Format::Raw, s));
        fs::write(path("ca"), [bytes(Format::Raw, &c), bytes(Format::Raw, &a)].concat()).unwrap();
        let want = a.merge(b).merge(c);
        let options = Options::default();
        prop_assert_eq!(&merge(&inputs, &options).unwrap(), &want);
        let mut streamed = Vec::new();
        let [_, b, _] = inputs;
        merge_to_raw(&[Input::File(path("ca")), b], &options, &mut streamed).unwrap();
        prop_assert_eq!(streamed, bytes(Format::Raw, &want));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// In any order and grouping, in every format.
    #[test]
    fn equal_data_give_equal_bytes(a in snapshot(1), b in snapshot(2), c in snapshot(3)) {
        let [one, other, third] = [
            a.clone().merge(b.clone()).merge(c.clone()),
            c.clone().merge(a.clone().merge(b.clone())),
            b.merge(c).merge(Snapshot::default()).merge(a),
        ];
        for format in Format::ALL {
            let bytes = |snapshot: &Snapshot| -> Vec<u8> {
                let mut bytes = Vec::new();
                let options = coverage_db::Options { plugin: true, ..coverage_db::Options::default() };
                match format {
                    Format::Coverage => coverage_db::write(snapshot, &options, &mut bytes),
                    format => write(format, snapshot, &mut bytes),
                }
                .unwrap();
                bytes
            };
            let want = bytes(&one);
            prop_assert!(bytes(&other) == want && bytes(&third) == want, "{}", format);
        }
    }
}

#[test]
fn every_format_is_recognised_and_read() {
    let snapshot = synthetic(1, 3, 20);
    for format in [Format::Raw, Format::Json, Format::Coverage, Format::Lcov, Format::Cobertura] {
        let mut bytes = bytes(format, &snapshot);
        if format == Format::Coverage {
            // Without its plugin the sources would have to be there.
            bytes.clear();
            let options = coverage_db::Options { plugin: true, ..coverage_db::Options::default() };
            coverage_db::write(&snapshot, &options, &mut bytes).unwrap();
        }
        assert_eq!(detect(&bytes), Some(format));
        let files = read(&bytes[..], Limits::default()).unwrap().into_files();
        let hit: usize = files.iter().map(|file| file.lines().hit()).sum();
        let want: usize = snapshot.files().iter().map(|file| file.lines().hit()).sum();
        assert_eq!((files.len(), hit), (3, want), "{format}");
    }
    let error = |bytes: &[u8]| read(bytes, Limits::default()).unwrap_err().to_string();
    assert_eq!(error(b""), "not a valid coverage data file: it is empty");
    assert!(error(b"PK\x03\x04").contains("it looks like none of raw"), "{}", error(b"PK"));
}

#[test]
fn of_a_directory_the_best_format_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("one/deep")).unwrap();
    for format in [Format::Json, Format::Raw, Format::Lcov, Format::Coverage] {
        put(&root.join("one").join(format.file_name()), format, &synthetic(1, 1, 5));
    }
    put(&root.join("one/deep/.coverage.host.pid7.Xabcdefx"), Format::Coverage, &synthetic(2, 1, 5));
    put(&root.join("one/deep/lcov.info"), Format::Lcov, &synthetic(2, 1, 5));
    fs::write(root.join("one/notes.txt"), "no data").unwrap();
    symlink(root.join("one"), root.join("one/deep/circle")).unwrap();
    symlink("coverage.json", root.join("one/coverage.self.json")).unwrap();
    let found = find([root.join("one")]).unwrap();
    let file = |name: &str| Input::File(root.join(name));
    assert_eq!(found, [file("one/coverage_raw.dat"), file("one/deep/.coverage.host.pid7.Xabcdefx")]);
    fs::create_dir(root.join("empty")).unwrap();
    let error = find([root.join("empty")]).unwrap_err().to_string();
    assert!(error.contains("empty: no coverage data in it or below"), "{error}");
    assert_eq!(find(["-".into()]).unwrap(), [Input::Stdin]);
}

#[test]
fn the_same_run_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let one = put(&path("one"), Format::Raw, &synthetic(1, 2, 5));
    let copy = put(&path("copy"), Format::Raw, &synthetic(1, 2, 5));
    let info = put(&path("info"), Format::Coverage, &synthetic(1, 2, 5));
    symlink(path("info"), path("link")).unwrap();
    let refused = |inputs: &[Input]| merge(inputs, &Options::default()).unwrap_err().to_string();
    let error = refused(&[one.clone(), copy.clone()]);
    assert!(error.contains("one and ") && error.contains("copy hold the same data (run 0100000000000000"), "{error}");
    assert!(refused(&[one.clone(), one.clone()]).contains("(the same file)"));
    assert!(refused(&[info, Input::File(path("link"))]).contains("(the same file)"));
    let twice = merge(&[one.clone(), copy], &Options { allow_duplicates: true, ..Options::default() }).unwrap();
    let once = merge(&[one], &Options::default()).unwrap();
    let total = |s: &Snapshot| s.files().iter().flat_map(|f| f.lines().iter()).map(|(_, c)| c.value()).sum::<u64>();
    assert_eq!(total(&twice), 2 * total(&once));
}

#[test]
fn more_inputs_than_descriptors_are_merged_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let inputs: Vec<_> =
        (1..=600).map(|run| put(&dir.path().join(run.to_string()), Format::Raw, &synthetic(run, 2, 3))).collect();
    let want = (1..=600).map(|run| synthetic(run, 2, 3)).fold(Snapshot::default(), Snapshot::merge);
    assert_eq!(merge(&inputs, &Options::default()).unwrap(), want);
    let mut streamed = Vec::new();
    merge_to_raw(&inputs, &Options::default(), &mut streamed).unwrap();
    assert_eq!(streamed, bytes(Format::Raw, &want));
}

#[test]
fn an_error_names_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let good = put(&dir.path().join("good"), Format::Raw, &synthetic(1, 2, 5));
    let mut damaged = bytes(Format::Raw, &synthetic(2, 2, 5));
    let last = damaged.len() - 40;
    damaged[last] ^= 1;
    fs::write(dir.path().join("bad"), damaged).unwrap();
    let bad = Input::File(dir.path().join("bad"));
    let error = merge(&[good.clone(), bad], &Options::default()).unwrap_err().to_string();
    assert!(error.contains("/bad: not a valid raw coverage file: the checksum"), "{error}");
    let missing = Input::File(dir.path().join("missing"));
    let error = merge(&[good, missing], &Options::default()).unwrap_err().to_string();
    assert!(error.contains("/missing: No such file"), "{error}");
}
