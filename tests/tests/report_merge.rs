//! `cov-agent merge` and `convert`: any readable formats in, any writable formats out.

use cov_tests::{Workdir, tracefile};

const ONE: &[(&str, &[(u32, u64)])] = &[("/p/a.c", &[(1, 1), (2, 0)]), ("/p/b.c", &[(1, 5)])];
const TWO: &[(&str, &[(u32, u64)])] =
    &[("/p/a.c", &[(1, 2), (3, 4)]), ("/p/c d.c", &[(9, 18_446_744_073_709_551_615)])];

fn workdir() -> Workdir {
    let dir = Workdir::new(&[]);
    dir.write("one.info", tracefile(ONE));
    dir.write("two.info", tracefile(TWO));
    dir
}

/// Runs the agent, which tells what it wrote.
fn writes(dir: &Workdir, args: &[&str]) -> String {
    let said = dir.agent(args);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{args:?}: {}", said.err);
    said.err
}

/// The lines `DA` of a tracefile.
fn counts(dir: &Workdir, name: &str) -> String {
    let text = dir.read(name);
    let lines = text.lines().filter_map(|l| l.strip_prefix("SF:").or_else(|| l.strip_prefix("DA:")));
    lines.collect::<Vec<_>>().join(" ")
}

const SUM: &str = "/p/a.c 1,3 2,0 3,4 /p/b.c 1,5 /p/c d.c 9,18446744073709551615";

#[test]
fn counts_add_up_whatever_the_order_and_format() {
    let dir = workdir();
    let told = writes(&dir, &["merge", "one.info", "two.info", "-o", "out", "--format", "raw,lcov,json,cobertura"]);
    let files = "out/coverage_raw.dat, out/lcov.info, out/coverage.json, out/cobertura.xml";
    assert_eq!(told, format!("2 runs, 3 source files. Written: {files}\n"));
    assert_eq!(counts(&dir, "out/lcov.info"), SUM);
    writes(&dir, &["convert", "one.info", "-o", "one", "--format", "raw"]);
    writes(&dir, &["convert", "two.info", "-o", "two", "--format", "json"]);
    for (number, inputs) in [["one", "two"], ["two", "one"], ["one.info", "two/coverage.json"]].iter().enumerate() {
        let out = format!("mixed{number}");
        writes(&dir, &["merge", inputs[0], inputs[1], "-o", &out, "--format", "lcov"]);
        assert_eq!(counts(&dir, &format!("{out}/lcov.info")), SUM, "{inputs:?}");
    }
    let same = |name: &str| std::fs::read(dir.path().join(name).join("coverage_raw.dat")).unwrap();
    writes(&dir, &["merge", "one", "two", "-o", "ab", "--format", "raw"]);
    writes(&dir, &["merge", "two", "one", "-o", "ba", "--format", "raw"]);
    assert_eq!(same("ab"), same("ba"));
}

#[test]
fn convert_keeps_every_count_through_every_lossless_format() {
    let dir = workdir();
    for format in ["raw", "json", "lcov", "cobertura"] {
        let there = format!("to-{format}");
        let back = format!("from-{format}");
        writes(&dir, &["convert", "two.info", "-o", &there, "--format", format]);
        writes(&dir, &["convert", &there, "-o", &back, "--format", "lcov"]);
        assert_eq!(
            counts(&dir, &format!("{back}/lcov.info")),
            "/p/a.c 1,2 3,4 /p/c d.c 9,18446744073709551615",
            "{format}"
        );
    }
}

#[test]
fn standard_input_is_data_too() {
    let dir = workdir();
    let input = std::fs::File::open(dir.path().join("one.info")).unwrap();
    let output =
        dir.command(&["merge", "-", "two.info", "-o", "out", "--format", "lcov"]).stdin(input).output().unwrap();
    assert_eq!(dir.said(&output).code, 0);
    assert_eq!(counts(&dir, "out/lcov.info"), SUM);
}

#[test]
fn the_same_data_twice_is_refused() {
    let dir = workdir();
    let refused = |args: &[&str], which: &str| {
        let said = dir.agent(&[&["merge", "-o", "out"], args].concat());
        let end = "which would count twice; leave one out, or say --allow-duplicates (duplicate-data)\n";
        assert_eq!(said.code, 125, "{args:?}");
        let begin = format!("cov-agent: error: {which} hold the same data (");
        assert!(said.err.starts_with(&begin) && said.err.ends_with(end), "{}", said.err);
        assert!(!dir.path().join("out").exists());
    };
    refused(&["one.info", "./one.info"], "one.info and ./one.info");
    std::fs::hard_link(dir.path().join("one.info"), dir.path().join("link.info")).unwrap();
    refused(&["one.info", "link.info"], "one.info and link.info");
    // The same content under another name, and merged data that holds a run already.
    std::fs::copy(dir.path().join("one.info"), dir.path().join("copy.info")).unwrap();
    refused(&["one.info", "copy.info"], "one.info and copy.info");
    writes(&dir, &["merge", "one.info", "two.info", "-o", "both", "--format", "raw"]);
    refused(&["both", "two.info"], "both/coverage_raw.dat and two.info");
    writes(&dir, &["merge", "one.info", "one.info", "--allow-duplicates", "-o", "twice", "--format", "lcov"]);
    assert_eq!(counts(&dir, "twice/lcov.info"), "/p/a.c 1,2 2,0 /p/b.c 1,10");
}

#[test]
fn earlier_data_is_kept_and_merged_when_asked_for() {
    let dir = workdir();
    let three: &[(&str, &[(u32, u64)])] = &[("/p/a.c", &[(1, 10)])];
    dir.write("three.info", tracefile(three));
    writes(&dir, &["convert", "one.info", "-o", "out", "--format", "raw,lcov"]);
    // Without preserve_data new data takes the old one's place.
    writes(&dir, &["convert", "two.info", "-o", "out", "--format", "raw,lcov"]);
    assert_eq!(counts(&dir, "out/lcov.info"), "/p/a.c 1,2 3,4 /p/c d.c 9,18446744073709551615");
    dir.write("coverage.ini", "[cov-agent]\npreserve_data = true\noutput = out\noutput_format = raw, lcov\n");
    writes(&dir, &["convert", "one.info"]);
    assert_eq!(counts(&dir, "out/lcov.info"), SUM);
    assert_eq!(dir.names("out"), ["coverage_raw.1.dat", "coverage_raw.2.dat", "coverage_raw.dat", "lcov.info"]);
    writes(&dir, &["convert", "three.info"]);
    assert_eq!(counts(&dir, "out/lcov.info"), SUM.replace("1,3", "1,13"));
    // Each number is one run's own data; the directory stands for all of them, once.
    let expected = ["/p/a.c 1,2 3,4 /p/c d.c 9,18446744073709551615", "/p/a.c 1,1 2,0 /p/b.c 1,5", "/p/a.c 1,10"];
    for (number, expected) in (1..).zip(expected) {
        let raw = format!("out/coverage_raw.{number}.dat");
        std::fs::remove_file(dir.path().join("coverage.ini")).unwrap_or_default();
        writes(&dir, &["convert", &raw, "-o", "single", "--format", "lcov"]);
        assert_eq!(counts(&dir, "single/lcov.info"), expected);
    }
    writes(&dir, &["convert", "out", "-o", "again", "--format", "lcov"]);
    assert_eq!(counts(&dir, "again/lcov.info"), SUM.replace("1,3", "1,13"));
    // The same run once more adds nothing, and is refused.
    let again =
        dir.command(&["convert", "three.info", "-o", "out"]).env("COV_AGENT_PRESERVE_DATA", "1").output().unwrap();
    let said = dir.said(&again);
    assert_eq!(said.code, 125, "{said:?}");
    assert!(said.err.contains("out holds some of the same runs"), "{}", said.err);
}

#[test]
fn the_data_file_may_lie_elsewhere() {
    let dir = workdir();
    dir.write("coverage.ini", "[run]\ndata_file = data/.cov\n[cov-agent]\noutput_format = coverage, lcov\n");
    let told = writes(&dir, &["convert", "one.info", "-o", "out"]);
    assert_eq!(told, "1 run, 2 source files. Written: out/lcov.info, data/.cov\n");
    assert_eq!((dir.names("out"), dir.names("data")), (vec!["lcov.info".to_owned()], vec![".cov".to_owned()]));
}

#[test]
fn output_that_cannot_be_written_leaves_all_as_it_was() {
    let dir = workdir();
    dir.write("file", "x");
    let said = dir.agent(&["convert", "one.info", "-o", "file/out"]);
    assert_eq!(said.code, 125);
    assert!(said.err.starts_with("cov-agent: error: cannot open the output directory file/out: "), "{}", said.err);
    assert!(said.err.ends_with("(output-not-writable)\n"), "{}", said.err);
    assert_eq!(dir.read("file"), "x");
}
