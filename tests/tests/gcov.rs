//! Without optimisation, every line that gcov also calls executable has gcov's count. The exceptions
//! have names, which docs/src/explanation/counts.md explains, and stand here, one by one.

use cov_tests::{Agent, Agreement, Build, fixture, gcc_gcov, kernel, llvm_gcov, scratch};
use std::path::Path;

/// A line whose count is not gcov's.
struct Named {
    /// The difference's name in the manual.
    name: &'static str,
    compiler: &'static str,
    /// File and line.
    at: (&'static str, u32),
    /// Our count, and gcov's.
    counts: (u64, u64),
}

/// Short for an entry of the list.
const fn named(
    name: &'static str,
    compiler: &'static str,
    file: &'static str,
    line: u32,
    ours: u64,
    theirs: u64,
) -> Named {
    Named { name, compiler, at: (file, line), counts: (ours, theirs) }
}

const BACK: &str = "a line that clang's gcov comes back to";
const LOOP_END: &str = "clang's ends of loops";
const EXCEPTIONS: &str = "clang's gcov after exceptions";
const ARRAY: &str = "arrays of objects that end";
const LAMBDA: &str = "lambdas";

/// The fixtures' own announcements, which hold for both compilers, say that the first count is right.
const NAMED: &[Named] = &[
    // Lines 10, 11, 10, 12, 10 in one block without a jump: gcov says 6 for two executions.
    named(BACK, "clang", "rows.c", 10, 2, 6),
    named(BACK, "clang", "rows.c", 11, 2, 4),
    // The `if` is reached three times, which gcc's gcov says too; once the code comes back from `c`.
    named(BACK, "clang", "rows.c", 33, 3, 4),
    // Four calls; the inner loop's end, which clang puts on its last statement, is passed twice.
    named(LOOP_END, "clang", "loops.c", 159, 4, 6),
    named(EXCEPTIONS, "clang++", "exceptions.cpp", 32, 10, 15),
    // The `throw` is reached once, by the innermost of four calls.
    named(EXCEPTIONS, "clang++", "exceptions.cpp", 36, 1, 4),
    named(EXCEPTIONS, "clang++", "exceptions.cpp", 40, 3, 4),
    named(EXCEPTIONS, "clang++", "exceptions.cpp", 74, 1, 2),
    // gcov's own blocks of this line ran four times and once.
    named(ARRAY, "g++", "objects.cpp", 100, 4, 6),
    // Three rounds of a loop over the array, all of it on this line.
    named(ARRAY, "clang++", "objects.cpp", 100, 3, 1),
    named(LAMBDA, "g++", "objects.cpp", 111, 5, 1),
];

/// Builds `source` by `compiler` with `flags`.
fn build(compiler: &str, dir: &Path, source: &str, output: &str, flags: &[&str]) {
    let standard = if source.ends_with(".cpp") { &["-std=c++17"][..] } else { &[] };
    let flags = ["-O0", "-g", "-pthread", "-w"].iter().chain(standard).chain(flags);
    Build::with(compiler, dir).args(flags).args(["-o", output]).arg(fixture(source)).run();
}

fn compare(source: &str, compilers: &[&'static str]) {
    if !kernel() {
        return;
    }
    for &compiler in compilers {
        let dir = scratch();
        build(compiler, dir.path(), source, "instrumented", &["--coverage", "-fprofile-update=atomic"]);
        build(compiler, dir.path(), source, "program", &[]);
        let status = std::process::Command::new(dir.path().join("instrumented")).output().unwrap().status;
        assert!(status.code().is_some(), "killed programs write no gcov data");
        let gcov = if compiler.starts_with('g') { gcc_gcov(dir.path()) } else { llvm_gcov(dir.path()) };
        let outcome = Agent::run(&dir.path().join("program")).go();

        let agreement = Agreement::of(&outcome.coverage, &gcov);
        assert!(agreement.common > 10, "{agreement}");
        let file = source.rsplit('/').next().unwrap();
        let mut named: Vec<_> = NAMED.iter().filter(|named| named.compiler == compiler && named.at.0 == file).collect();
        let mut wrong = Vec::new();
        for (file, line, ours, theirs) in &agreement.counts_differ {
            let at = named.iter().position(|n| n.at == (file.as_str(), *line) && n.counts == (*ours, *theirs));
            match at {
                Some(at) => drop(named.remove(at)),
                None => wrong.push(format!("{file}:{line}: {ours}, gcov {theirs}")),
            }
        }
        wrong.extend(named.iter().map(|named| format!("{}:{}: no longer \"{}\"", named.at.0, named.at.1, named.name)));
        assert!(wrong.is_empty(), "{source} by {compiler}:\n  {}", wrong.join("\n  "));
    }
}

#[test]
fn loops() {
    compare("c/loops.c", &["gcc", "clang"]);
}

#[test]
fn rows() {
    compare("c/rows.c", &["gcc", "clang"]);
}

#[test]
fn recursion() {
    compare("c/recursion.c", &["gcc", "clang"]);
}

#[test]
fn setjmp() {
    // Not clang: its gcov works counts out as if every call returned.
    compare("c/setjmp.c", &["gcc"]);
}

#[test]
fn threads() {
    compare("c/threads.c", &["gcc", "clang"]);
}

#[test]
fn objects() {
    compare("cpp/objects.cpp", &["g++", "clang++"]);
}

#[test]
fn exceptions() {
    compare("cpp/exceptions.cpp", &["g++", "clang++"]);
}

#[test]
fn containers() {
    // Not clang: what it writes itself (members of a class, the clean-up at the ends of a block) its gcov counts otherwise.
    compare("cpp/containers.cpp", &["g++"]);
}
