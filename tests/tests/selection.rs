//! Only what is wanted is probed, counted and executable: functions, lines, what earlier runs did not cover.

use cov_tests::{Agent, Build, Outcome, Workdir, agent_command, kernel, scratch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SOURCE: &str = "\
static int twice(int x) {
    return x * 2;
}
static int odd(int x) {
    if (x % 2)
        return 1;
    return 0;
}
int main(void) {
    int sum = 0;
    for (int i = 0; i < 5; i++)
        sum += odd(i) + twice(i);
    return sum != 22;
}
";

const ALL: [(u32, u64); 14] = [
    (1, 5),
    (2, 5),
    (3, 5),
    (4, 5),
    (5, 5),
    (6, 2),
    (7, 3),
    (8, 5),
    (9, 1),
    (10, 1),
    (11, 6),
    (12, 5),
    (13, 1),
    (14, 1),
];

fn compile(dir: &Path, name: &str, source: &str, compiler: &str) -> PathBuf {
    std::fs::write(dir.join(name), source).unwrap();
    Build::with(compiler, dir).args(["-O0", "-g", "-o", "program", name]).run();
    dir.join("program")
}

fn counts(outcome: &Outcome, name: &str) -> BTreeMap<u32, u64> {
    assert!(outcome.process.status.success(), "{}", outcome.stderr());
    outcome.coverage.file(name).lines.clone()
}

/// The counts of all lines that `holds` holds for.
fn all(holds: impl Fn(u32) -> bool) -> BTreeMap<u32, u64> {
    ALL.into_iter().filter(|(line, _)| holds(*line)).collect()
}

#[test]
fn functions_and_lines() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "a.c", SOURCE, "gcc");
    let run = |options: &[&str]| counts(&Agent::run_with(options, &program).dir(dir.path()).go(), "a.c");
    assert_eq!(run(&[]), all(|_| true));
    assert_eq!(run(&["--function", "odd"]), all(|line| (4..=8).contains(&line)));
    assert_eq!(run(&["--function", "o*", "--function", "m?in"]), all(|line| line >= 4));
    assert_eq!(run(&["--lines", "a.c:5-7,13"]), all(|line| (5..=7).contains(&line) || line == 13));
    assert_eq!(run(&["--function", "odd", "--lines", "a.c:1-5"]), all(|line| line == 4 || line == 5));
    std::fs::write(dir.path().join("list"), "# wanted\n\na.c:2\nother/a.c:9\na.c:11-12\n").unwrap();
    assert_eq!(run(&["--lines", "@list"]), all(|line| line == 2 || line == 11 || line == 12));

    let outcome = Agent::run_with(&["--function", "odd"], &program).go();
    assert_eq!(outcome.coverage.file("a.c").functions, BTreeMap::from([("odd".to_owned(), 5)]));
    assert_eq!(outcome.json["cov_agent"]["selection"], "--function 'odd'");
    assert!(
        outcome.stderr().contains("Only what is selected was measured: --function 'odd'\n"),
        "{}",
        outcome.stderr()
    );
}

#[test]
fn names_as_people_read_them() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = "\
namespace shape {
template <class T> T area(T a, T b) { return a * b; }
int sides() { return 4; }
}
int main() { return shape::area(2, 3) + int(shape::area(1.5, 2.0)) + shape::sides() - 13; }
";
    let program = compile(dir.path(), "a.cpp", source, "g++");
    for glob in ["shape::area<*>", "*shape::area<*>(*)", "_ZN5shape4areaI*"] {
        let outcome = Agent::run_with(&["--function", glob], &program).go();
        assert_eq!(counts(&outcome, "a.cpp"), BTreeMap::from([(2, 2)]), "{glob}");
    }
}

#[test]
fn lines_that_differ_from_a_commit() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let work = Workdir::new(&[]);
    // The repository lies where programs may run.
    let git = |args: &[&str]| work.git(&[&["-C", dir.path().to_str().unwrap()], args].concat());
    git(&["init", "-q"]);
    std::fs::write(dir.path().join("a.c"), SOURCE.replace("x * 2", "x + x").replace("return 0", "return 0 * x"))
        .unwrap();
    git(&["add", "a.c"]);
    git(&["commit", "-q", "-m", "one"]);
    let program = compile(dir.path(), "a.c", SOURCE, "gcc");
    let agent = Agent::run_with(&["--lines-diff", "HEAD"], &program).dir(dir.path());
    assert_eq!(counts(&agent.go(), "a.c"), all(|line| line == 2 || line == 7));
}

#[test]
fn what_others_covered_is_left_out_and_merges_to_the_whole() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "a.c", SOURCE, "gcc");
    let first = dir.path().join("first");
    let agent = |options: &[&str], output: &Path| {
        let output = ["--output", output.to_str().unwrap()];
        let status = agent_command()
            .args(["run", "--include", "**/a.c"])
            .args(output)
            .args(options)
            .arg("--")
            .arg(&program)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(status.status.success());
        String::from_utf8(status.stderr).unwrap()
    };
    let lines = |data: &Path| {
        let merged = dir.path().join("merged");
        let mut merge = agent_command();
        merge.args(["convert", "--format", "lcov", "--output"]).arg(&merged).arg(data.join("coverage_raw.dat"));
        assert!(merge.output().unwrap().status.success());
        cov_tests::Coverage::read_lcov(&merged.join("lcov.info")).file("a.c").lines.clone()
    };
    agent(&["--function", "odd"], &first);
    let second = dir.path().join("second");
    let said = agent(&["--only-missing", "first"], &second);
    let merge = format!("merge them: cov-agent merge first {}\n", second.display());
    assert!(said.contains(&format!("Lines that other data cover were not measured; {merge}")), "{said}");
    assert_eq!(lines(&second), all(|line| !(4..=8).contains(&line)));
    let both = dir.path().join("both");
    let merged = agent_command().args(["merge", "--output"]).arg(&both).args([&first, &second]).output();
    assert!(merged.unwrap().status.success());
    assert_eq!(lines(&both), all(|_| true));
    // Now everything is covered.
    let third = dir.path().join("third");
    let said = agent(&["--only-missing", "both"], &third);
    assert!(
        said.contains("none of its lines is selected by --only-missing 'both'; select others (nothing-to-measure)"),
        "{said}"
    );
}

/// A loop whose branch nearly always goes to the longer side, which the shape of the code does not tell.
const SKEWED: &str = "\
volatile int total;
static void work(int n) {
    for (int i = 0; i < n; i++) {
        if (i % 1000 == 0) {
            total += 1;
        } else {
            total += 2;
            if (i % 3 == 0)
                total += 3;
        }
        if (i < 0)
            total -= 1;
    }
}
int main(void) {
    for (int i = 0; i < 3; i++)
        work(1000);
    return 0;
}
";

#[test]
fn an_earlier_run_steers_probes_away_from_hot_code() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "a.c", SKEWED, "gcc");
    let hits = |options: &[&str]| {
        let outcome = Agent::run_with(&[&["-v"], options].concat(), &program).dir(dir.path()).go();
        let said = outcome.stderr();
        let line = said.lines().find_map(|line| line.strip_prefix("cov-agent: counted ")).unwrap();
        let hits: u64 = line.split(' ').next().unwrap().parse().unwrap();
        (hits, counts(&outcome, "a.c"))
    };
    let (cold, plain) = hits(&[]);
    let data: String = plain.iter().map(|(line, count)| format!("DA:{line},{count}\n")).collect();
    let source = dir.path().join("a.c");
    std::fs::write(dir.path().join("before.info"), format!("SF:{}\n{data}end_of_record\n", source.display())).unwrap();
    let (warm, steered) = hits(&["--profile", "before.info"]);
    assert_eq!(steered, plain);
    assert!(warm < cold, "{warm} hits with a profile, {cold} without");
}

#[test]
fn what_cannot_be_selected_is_told() {
    let work = Workdir::new(&[("list", "a.c:1\na.c\n"), ("nested", "@list\n")]);
    let says = |args: &[&str]| {
        let said = work.agent(&[&["lines"], args, &["x"]].concat());
        (said.code, said.err.lines().next().unwrap_or_default().to_owned())
    };
    let list = "cov-agent: error: $DIR/list:2: 'a.c' names no lines; give FILE:10-20,30 or @LIST (usage)";
    assert_eq!(says(&["--lines", "@list"]), (64, list.to_owned()));
    let nested = "cov-agent: error: $DIR/nested:1: a list within a list; give FILE:10-20,30 (usage)";
    assert_eq!(says(&["--lines", "@nested"]), (64, nested.to_owned()));
    let none = "cov-agent: error: $DIR/none: No such file or directory (os error 2) (cannot-read)";
    assert_eq!(says(&["--lines", "@none"]), (125, none.to_owned()));
    assert_eq!(says(&["--lines", "a.c"]).0, 64);
    assert_eq!(says(&["--function", "a["]).0, 64);
    assert_eq!(says(&["--only-missing", "none"]).0, 125);
}
