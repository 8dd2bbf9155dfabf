//! Real projects that nobody here wrote: the same output as without the agent, and the same hits as
//! gcov or LLVM tell.

use cov_tests::{
    Agent, Agreement, Build, Coverage, Outcome, Project, gcc_gcov, keep_report, kernel, package_dir, scratch,
};
use std::collections::BTreeMap;
use std::process::Command;

/// At least this share of hits must agree with gcov's; the report of the rest is kept.
fn check(project: &Project, least: f64) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let instrumented = project.compile(dir.path(), "instrumented", &["-O0", "--coverage"]);
    let program = project.compile(dir.path(), "program", &["-O0"]);
    let plain = Command::new(&program).output().unwrap();
    let gcov_run = Command::new(&instrumented).current_dir(dir.path()).output().unwrap();
    assert_eq!(plain.stdout, gcov_run.stdout);

    let outcome = Agent::run(&program).go();
    assert_eq!(outcome.process.stdout, plain.stdout, "{}", outcome.stderr());
    assert_eq!(outcome.process.status.code(), plain.status.code(), "{}", outcome.stderr());
    let agreement = Agreement::of(&outcome.coverage, &gcc_gcov(dir.path()));
    let (lines, not_measurable) = measurable(&outcome);
    keep_report(project.name, &format!("{agreement}{lines} executable lines, {not_measurable} more not measurable\n"));
    assert!(agreement.common > 100, "{agreement}");
    assert!(agreement.hits() >= least, "{agreement}");
    assert!(not_measurable * 100 <= lines, "{not_measurable} of {lines} are not measurable");
}

/// Executable lines, and those that are not measurable.
fn measurable(outcome: &Outcome) -> (usize, usize) {
    let names = outcome.coverage.files.keys().filter_map(|path| path.file_name());
    let not = names.map(|name| outcome.not_measurable(name.to_str().unwrap()).len()).sum();
    (outcome.coverage.files.values().map(|file| file.lines.len()).sum(), not)
}

#[test]
fn sqlite_as_gcov() {
    check(&Project::sqlite(), 0.999);
}

#[test]
fn lua_as_gcov() {
    check(&Project::lua(), 0.999);
}

#[test]
fn zstd_as_gcov() {
    check(&Project::zstd(), 0.999);
}

#[test]
fn esaxx_as_gcov() {
    check(&Project::esaxx(), 0.999);
}

/// The test binaries of the crate `semver`, against rustc's own source coverage.
#[test]
fn rust_crate_as_llvm() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let package = package_dir("semver");
    let compile = |out: &str, flags: &[&str]| {
        let out = dir.path().join(out);
        std::fs::create_dir(&out).unwrap();
        let rustc =
            || Build::with("rustc", &package).args(["--edition=2021", "-g", "-Copt-level=0", "--cap-lints=allow"]);
        let library = out.join("libsemver.rlib");
        rustc().args(flags).args(["--crate-type=rlib", "--crate-name=semver", "src/lib.rs", "-o"]).arg(&library).run();
        let program = out.join("test_version_req");
        let with = format!("semver={}", library.display());
        rustc().args(flags).args(["--test", "tests/test_version_req.rs", "--extern", &with, "-o"]).arg(&program).run();
        program
    };
    let plain = compile("plain", &[]);
    let instrumented = compile("instrumented", &["-Cinstrument-coverage"]);
    let profile = dir.path().join("run.profraw");
    let status = Command::new(&instrumented).arg("--quiet").env("LLVM_PROFILE_FILE", &profile).output().unwrap().status;
    assert!(status.success());
    let merged = dir.path().join("run.profdata");
    Build::with("llvm-profdata-22", dir.path()).args(["merge", "-o"]).args([&merged, &profile]).run();
    let lcov = Build::with("llvm-cov-22", dir.path())
        .args(["export", "-format=lcov"])
        .arg(format!("-instr-profile={}", merged.display()))
        .arg(&instrumented)
        .run();
    let theirs = dir.path().join("theirs.info");
    std::fs::write(&theirs, lcov).unwrap();

    let outcome = Agent::run(&plain).arg("--test-threads=1").go();
    assert!(outcome.process.status.success(), "{}", outcome.stderr());
    let llvm: BTreeMap<_, _> = Coverage::read_lcov(&theirs)
        .files
        .into_iter()
        .map(|(path, file)| (path.file_name().unwrap().to_string_lossy().into_owned(), file.lines))
        .collect();
    let agreement = Agreement::of(&outcome.coverage, &llvm);
    keep_report("semver", &agreement.to_string());
    assert!(agreement.common > 300, "{agreement}");
    // A constant that rustc stores where the function begins, before the way parts.
    assert_eq!(agreement.hits_differ, [("identifier.rs".to_owned(), 249, 630, 0)], "{agreement}");
}
