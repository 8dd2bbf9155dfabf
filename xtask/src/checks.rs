//! `cargo xtask test`: every check, one after the other, and a summary.

use crate::shell::{cargo, command, has, is_root, run, target_dir};
use crate::{bench, coverage, ebpf, setup, tidy, vm};
use anyhow::{Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};

struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// In this order: quick ones first; the tests, and what they cover, last, so that their summary ends the output.
const CHECKS: &[Check] = &[
    Check { name: "format", run: || run(&mut cargo(["fmt", "--all", "--", "--check"])) },
    Check { name: "tidy", run: tidy::run },
    Check { name: "deny", run: deny },
    Check { name: "ebpf", run: || ebpf::run_ebpf(true) },
    Check { name: "clippy", run: || clippy(&["--workspace"]) },
    Check { name: "clippy-laptop", run: || clippy(&["--package", "cov-agent", "--no-default-features"]) },
    Check { name: "doc", run: doc },
    Check { name: "bench", run: || bench::run_bench(bench::Wanted::smoke()) },
    Check { name: "bench-data", run: || bench::run_data(true, false) },
    Check { name: "doc-tests", run: || run(&mut cargo(["test", "--quiet", "--package", "cov-agent", "--doc"])) },
    Check { name: "tests-laptop", run: laptop_tests },
    Check { name: "vm", run: || vm::run_vm("6.1") },
    Check { name: "tests", run: tests },
    Check { name: "coverage", run: coverage },
];

/// Runs the checks whose name contains `only`, all of them even where one fails.
pub(crate) fn run_all(only: Option<&str>, set_up: bool) -> Result<()> {
    let mut results = Vec::new();
    if set_up {
        results.push(timed("setup", setup::install));
    }
    for check in CHECKS.iter().filter(|check| only.is_none_or(|only| check.name.contains(only))) {
        results.push(timed(check.name, check.run));
    }
    println!();
    for (name, time, error) in &results {
        let verdict = error.as_deref().unwrap_or("ok");
        println!("{name:16} {:6.1} s  {verdict}", time.as_secs_f64());
    }
    let failed: Vec<_> = results.iter().filter(|(_, _, error)| error.is_some()).map(|(name, _, _)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("all {} checks passed", results.len());
    Ok(())
}

fn timed(name: &'static str, check: fn() -> Result<()>) -> (&'static str, Duration, Option<String>) {
    println!("\n=== {name}");
    let start = Instant::now();
    let error = check().err().map(|error| format!("FAILED: {error:#}"));
    if let Some(error) = &error {
        println!("{error}");
    }
    (name, start.elapsed(), error)
}

fn clippy(what: &[&str]) -> Result<()> {
    run(cargo(["clippy", "--quiet", "--all-targets"]).args(what).args(["--", "-D", "warnings"]))
}

fn doc() -> Result<()> {
    let flags = format!("{} -D warnings", std::env::var("RUSTDOCFLAGS").unwrap_or_default());
    run(cargo(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", flags))
}

/// Licences, duplicates and origins need only what is here. The advisories need a database that is
/// fetched; where it cannot be, that is said and the rest still counts.
fn deny() -> Result<()> {
    let deny = || command("cargo-deny", ["--log-level", "error", "check"]);
    run(deny().args(["bans", "licenses", "sources"]))?;
    let advisories = deny().arg("advisories").output()?;
    if advisories.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&advisories.stderr);
    if said.contains("failed to fetch advisory database") {
        println!("advisories: NOT checked, their database cannot be fetched from here");
        return Ok(());
    }
    eprint!("{said}");
    bail!("advisories")
}

fn laptop_tests() -> Result<()> {
    run(&mut test_command(&["--package", "cov-agent", "--no-default-features"]))
}

/// Every test; those that need the kernel must run. A person who is not root runs the test programs
/// through sudo, nothing else.
fn tests() -> Result<()> {
    run(&mut cargo(["build", "--quiet", "--package", "cov-agent"]))?;
    let mut tests = test_command(&["--workspace"]);
    tests.env("COV_AGENT", target_dir().join("debug/cov-agent")).env("COV_REQUIRE_KERNEL", "1");
    if !is_root() {
        println!("the tests arm probes, which needs root: sudo runs them");
        tests.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "sudo -E");
    }
    run(&mut tests)
}

/// How much of the library the tests execute. Only root can say: without probes much of it has nothing to do.
fn coverage() -> Result<()> {
    if is_root() {
        return coverage::run_coverage();
    }
    println!("coverage: NOT measured, which needs root: sudo -E cargo xtask coverage");
    Ok(())
}

/// nextest where it is installed, since it runs the test programs side by side.
fn test_command(what: &[&str]) -> Command {
    let mut command = if has("cargo-nextest") {
        cargo(["nextest", "run", "--no-fail-fast"])
    } else {
        cargo(["test", "--no-fail-fast"])
    };
    command.args(what);
    command
}
