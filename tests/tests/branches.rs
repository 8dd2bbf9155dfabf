//! Exact counts of the ways out of conditional jumps: what fixtures announce.

use cov_tests::{Agent, Build, agent_command, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// For each line its jumps, for each jump how often its ways were taken: `2,3`, or `-` where it was never executed.
type Branches = BTreeMap<u32, Vec<String>>;

/// What the comments of a fixture announce for `compiler`.
fn announced(path: &Path, compiler: &str) -> Branches {
    let text = std::fs::read_to_string(path).unwrap();
    let numbers = |text: &str| text.chars().all(|c| c.is_ascii_digit() || ", -".contains(c));
    let line = |(number, line): (u32, &str)| {
        let (_, comment) = line.rsplit_once(" // ")?;
        let (all, clang) = comment.split_once(" clang: ").unwrap_or((comment, comment));
        let jumps = if compiler == "clang" { clang } else { all };
        numbers(jumps).then(|| (number, jumps.split(' ').map(str::to_owned).collect()))
    };
    (1..).zip(text.lines()).filter_map(line).collect()
}

fn said(branches: &BTreeMap<u32, Vec<Vec<Option<u64>>>>) -> Branches {
    let jump = |ways: &Vec<Option<u64>>| match ways.iter().copied().collect::<Option<Vec<u64>>>() {
        Some(counts) => counts.iter().map(u64::to_string).collect::<Vec<_>>().join(","),
        None => "-".to_owned(),
    };
    branches.iter().map(|(line, jumps)| (*line, jumps.iter().map(jump).collect())).collect()
}

fn compile(source: &str, compiler: &str, flags: &[&str], dir: &Path) -> PathBuf {
    let program = dir.join("program");
    Build::with(compiler, dir).args(flags).arg("-o").arg(&program).arg(fixture(source)).run();
    program
}

#[test]
fn as_announced() {
    if !kernel() {
        return;
    }
    let c = ("c/branches.c", &["-O0", "-g", "-w"][..]);
    let rust = ("rust/branches.rs", &["--edition=2024", "-Copt-level=0", "-g"][..]);
    for (compiler, (source, flags)) in [("gcc", c), ("clang", c), ("rustc", rust)] {
        let dir = scratch();
        let program = compile(source, compiler, flags, dir.path());
        let outcome = Agent::run_with(&["--branch"], &program).go();
        assert!(outcome.process.status.success(), "{}", outcome.stderr());
        let name = Path::new(source).file_name().unwrap().to_str().unwrap();
        let file = outcome.coverage.file(name);
        assert_eq!(said(&file.branches), announced(&fixture(source), compiler), "{compiler}");
        // The lines count as they do without.
        let without = Agent::run(&program).go();
        assert_eq!(without.coverage.file(name).lines, file.lines, "{compiler}");
        assert!(without.coverage.file(name).branches.is_empty());
        assert_eq!(without.json["meta"]["branch_coverage"], false);

        let ways = || file.branches.values().flatten().flatten();
        let summary = &outcome.json["totals"];
        assert_eq!(summary["num_branches"], ways().count());
        assert_eq!(summary["covered_branches"], ways().filter(|way| way.is_some_and(|count| count > 0)).count());
    }
}

/// Two runs whose counts add up, of objects compiled alike and otherwise.
#[test]
fn runs_and_objects_add_up() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let run = |flags: &[&str], output: &str| {
        let program = compile("c/branches.c", "gcc", &[&["-g", "-w"], flags].concat(), dir.path());
        let mut agent = agent_command();
        agent.args(["run", "-q", "--branch", "--include", "**/branches.c", "--output", output, "--"]).arg(program);
        assert!(agent.current_dir(dir.path()).status().unwrap().success());
    };
    run(&["-O0"], "one");
    run(&["-O0", "-DOTHER_BUILD"], "two");
    run(&["-O2"], "fast");
    let merged = |data: &[&str]| {
        let mut merge = agent_command();
        merge.args(["merge", "-q", "--output", "all"]).args(data).current_dir(dir.path());
        assert!(merge.status().unwrap().success());
        cov_tests::Coverage::read_lcov(&dir.path().join("all/lcov.info")).file("branches.c").branches.clone()
    };
    let doubled = |jump: &String| {
        let ways = jump.split(',').map(|way| way.parse().map_or("-".to_owned(), |n: u64| (n * 2).to_string()));
        ways.collect::<Vec<_>>().join(",")
    };
    let once = announced(&fixture("c/branches.c"), "gcc");
    let twice = once.iter().map(|(line, jumps)| (*line, jumps.iter().map(doubled).collect())).collect::<Branches>();
    assert_eq!(said(&merged(&["one", "two"])), twice);
    // Jumps of another shape stand beside them, none is lost.
    let all = merged(&["one", "fast"]);
    let ways = |branches: &BTreeMap<u32, Vec<Vec<Option<u64>>>>| branches.values().flatten().flatten().count();
    assert!(ways(&all) >= ways(&merged(&["one"])), "{all:?}");
    assert_eq!(said(&merged(&["one"])), once);

    let mut report = agent_command();
    let output = report.args(["report", "one"]).current_dir(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().next().unwrap().split_whitespace().any(|word| word == "Branches"), "{text}");
    assert!(text.lines().last().unwrap().ends_with(" 21/31"), "{text}");
}

#[test]
fn a_running_process() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = dir.path().join("waits.c");
    let text = "#include <unistd.h>\nint main(void) {\n  char c;\n  int n = 0;\n  while (read(0, &c, 1) > 0)\n    if (c == 'x')\n      n++;\n  return n != 3;\n}\n";
    std::fs::write(&source, text).unwrap();
    let program = dir.path().join("waits");
    Build::with("gcc", dir.path()).args(["-O0", "-g", "-o"]).arg(&program).arg(&source).run();
    let mut waits = Command::new(&program).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut agent = Agent::attach(&[waits.id()]);
    agent.command().arg("--branch");
    let attached = agent.start();
    std::io::Write::write_all(&mut waits.stdin.take().unwrap(), b"xoxox").unwrap();
    assert!(waits.wait().unwrap().success());
    let outcome = attached.finish();
    let branches = said(&outcome.coverage.file("waits.c").branches);
    assert_eq!(branches, Branches::from([(5, vec!["5,1".to_owned()]), (6, vec!["2,3".to_owned()])]));
}
