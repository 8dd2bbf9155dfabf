//! Programs built with -O2: no line is counted that did not run, and most lines that count without
//! optimisation still do.

use cov_tests::{
    Agent, Build, Coverage, FileLines, Project, fixture, gcc_gcov, keep_report, kernel, lines_that_ran, scratch,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The lines that ran, by file name.
fn hits_of(coverage: &Coverage) -> FileLines {
    let files = coverage.files.iter().map(|(path, file)| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, file.lines.iter().filter(|(_, count)| **count > 0).map(|(line, _)| *line).collect())
    });
    files.collect()
}

/// Every line that the agent counts has an instruction that ran, or is that of a function that ran.
fn assert_ran(what: &str, ours: &FileLines, program: &Path, dir: &Path) {
    let ran = lines_that_ran(program, dir);
    let none = BTreeSet::new();
    let mut invented = Vec::new();
    for (file, lines) in ours {
        let ran = ran.get(file).unwrap_or(&none);
        invented.extend(lines.difference(ran).map(|line| format!("{file}:{line}")));
    }
    assert!(invented.is_empty(), "{what}: counted, but did not run: {invented:?}");
}

/// The share, in percent, of the lines with a count by gcov at -O0 that the agent counts at -O2.
fn kept(ours: &FileLines, gcov: &BTreeMap<String, BTreeMap<u32, u64>>) -> (usize, usize) {
    let (mut kept, mut all) = (0, 0);
    for (file, lines) in gcov {
        for line in lines.iter().filter(|(_, count)| **count > 0).map(|(line, _)| line) {
            all += 1;
            kept += usize::from(ours.get(file).is_some_and(|lines| lines.contains(line)));
        }
    }
    (kept, all)
}

/// A real project at -O2: what it counts ran, and at least `percent` of gcov's lines are counted.
fn check(project: &Project, percent: usize) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let instrumented = project.compile(dir.path(), "instrumented", &["-O0", "--coverage"]);
    Build::with(&instrumented, dir.path()).run();
    let program = project.compile(dir.path(), "program", &["-O2"]);
    let outcome = Agent::run(&program).go();
    let ours = hits_of(&outcome.coverage);
    assert_ran(project.name, &ours, &program, dir.path());
    let (kept, all) = kept(&ours, &gcc_gcov(dir.path()));
    let report =
        format!("{} at -O2: {kept} of {all} lines that gcov counts at -O0, at least {percent} %\n", project.name);
    keep_report(&format!("{}-O2", project.name), &report);
    assert!(kept * 100 >= all * percent, "{report}");
}

#[test]
fn lua() {
    check(&Project::lua(), 85);
}

#[test]
fn zstd() {
    check(&Project::zstd(), 85);
}

#[test]
fn esaxx() {
    check(&Project::esaxx(), 70);
}

/// A small program, whose loops the optimiser unrolls, merges and moves: what it counts ran.
fn nothing_is_invented(source: &str, compilers: [&str; 2]) {
    if !kernel() {
        return;
    }
    for compiler in compilers {
        for level in ["-O1", "-O2", "-O3"] {
            let dir = scratch();
            let program = dir.path().join("program");
            Build::with(compiler, dir.path())
                .args([level, "-gdwarf-4", "-w", "-o"])
                .arg(&program)
                .arg(fixture(source))
                .run();
            let outcome = Agent::run(&program).go();
            let ours = hits_of(&outcome.coverage);
            assert!(!ours.is_empty(), "{source}: {}", outcome.stderr());
            assert_ran(&format!("{source} by {compiler} {level}"), &ours, &program, dir.path());
        }
    }
}

mod nothing_is_invented {
    #[test]
    fn loops() {
        super::nothing_is_invented("c/loops.c", ["gcc", "clang"]);
    }

    #[test]
    fn rows() {
        super::nothing_is_invented("c/rows.c", ["gcc", "clang"]);
    }

    #[test]
    fn recursion() {
        super::nothing_is_invented("c/recursion.c", ["gcc", "clang"]);
    }

    #[test]
    fn objects() {
        super::nothing_is_invented("cpp/objects.cpp", ["g++", "clang++"]);
    }

    #[test]
    fn exceptions() {
        super::nothing_is_invented("cpp/exceptions.cpp", ["g++", "clang++"]);
    }
}
