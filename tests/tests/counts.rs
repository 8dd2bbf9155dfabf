//! Exact counts: what fixtures announce, in every language, built without optimisation.

use cov_tests::{Agent, Build, Outcome, assert_counts, expected, fixture, kernel, scratch, workspace};
use std::ffi::OsStr;
use std::path::Path;

/// Compiles a fixture with its own compiler flags, runs it under the agent and checks its counts.
fn check(source: &str, compiler: &str, build: impl FnOnce(&Path) -> Build) -> Option<Outcome> {
    if !kernel() {
        return None;
    }
    let dir = scratch();
    let program = dir.path().join("program");
    let path = fixture(source);
    build(dir.path()).args([OsStr::new("-o"), program.as_os_str(), path.as_os_str()]).run();
    let plain = std::process::Command::new(&program).output().unwrap();
    let outcome = Agent::run(&program).go();
    assert_eq!(outcome.process.stdout, plain.stdout, "{}", outcome.stderr());
    let mut counts = outcome.coverage.file(path.file_name().unwrap().to_str().unwrap()).clone();
    // Mojo gives some rows of its library the right line and the wrong file.
    let length = std::fs::read_to_string(&path).unwrap().lines().count();
    counts.lines.retain(|&line, _| line as usize <= length);
    assert_counts(&format!("{source} by {compiler}"), &expected(&path, compiler), &counts);
    Some(outcome)
}

fn c(source: &str, compiler: &str) -> Option<Outcome> {
    check(source, compiler, |dir| Build::with(compiler, dir).args(["-O0", "-g", "-pthread", "-w"]))
}

fn cpp(source: &str, compiler: &str) -> Option<Outcome> {
    let driver = if compiler == "gcc" { "g++" } else { "clang++" };
    check(source, compiler, |dir| Build::with(driver, dir).args(["-std=c++17", "-O0", "-g"]))
}

macro_rules! c_fixtures {
    ($($name:ident)*) => {
        mod gcc { $(#[test] fn $name() { super::c(concat!("c/", stringify!($name), ".c"), "gcc"); })* }
        mod clang { $(#[test] fn $name() { super::c(concat!("c/", stringify!($name), ".c"), "clang"); })* }
    };
}
c_fixtures!(loops rows recursion setjmp signals stops threads fork);

macro_rules! cpp_fixtures {
    ($($name:ident)*) => {
        mod gxx { $(#[test] fn $name() { super::cpp(concat!("cpp/", stringify!($name), ".cpp"), "gcc"); })* }
        mod clangxx { $(#[test] fn $name() { super::cpp(concat!("cpp/", stringify!($name), ".cpp"), "clang"); })* }
    };
}
cpp_fixtures!(objects exceptions);

/// Lines that `#line` gives to a file which does not exist are reported under that file's name.
#[test]
fn generated_source() {
    if let Some(outcome) = c("c/rows.c", "gcc") {
        let generated = outcome.coverage.file("generated.y");
        assert_eq!(generated.lines.get(&2), Some(&1), "{generated:?}");
    }
}

#[test]
fn rust() {
    check("rust/main.rs", "rustc", |dir| Build::with("rustc", dir).args(["--edition=2024", "-Copt-level=0", "-g"]));
}

#[test]
fn go() {
    check("go/main.go", "go", |dir| {
        Build::with("go", dir)
            .env("GOFLAGS", "-buildvcs=false")
            .env("GO111MODULE", "off")
            .env("GOCACHE", workspace().join("target/go"))
            .args(["build", "-gcflags=all=-N -l"])
    });
}

#[test]
fn mojo() {
    check("mojo/main.mojo", "mojo", |dir| {
        // What the compiler keeps of earlier builds names the sources as they were called then.
        Build::with(workspace().join("target/venv/bin/mojo"), dir)
            .env("MODULAR_CACHE_DIR", dir.join("cache"))
            .args(["build", "-O0", "-g"])
    });
}
