//! `cargo xtask coverage`: how much of the library its own tests execute.
//!
//! cargo-llvm-cov compiles the agent with LLVM's counters and runs the tests; its tracefile goes
//! through `cov-agent check`, which leaves out the unit tests (`.config/coverage.ini`): that they run
//! says nothing.

use crate::shell::{cargo, command, has, is_root, run, target_dir, workspace};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// What is built, and where its counters go. Not what `cargo build` makes: that has none.
fn directory() -> PathBuf {
    target_dir().join("llvm-cov-target")
}

/// The process that holds programs until they are armed has no environment and works in `/`, where
/// LLVM's counters then end. Takes them to the others.
fn fetch_from_root() -> Result<()> {
    for entry in std::fs::read_dir("/")? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("default_"))
            && rest.ends_with(".profraw")
        {
            std::fs::copy(entry.path(), directory().join(format!("cov-agent-{rest}")))?;
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Runs the tests and fails below the percentage that `.config/coverage.ini` wants.
pub(crate) fn run_coverage() -> Result<()> {
    if !is_root() {
        bail!("the tests arm probes, which needs root: sudo -E cargo xtask coverage");
    }
    let agent = directory().join("debug/cov-agent");
    let report = target_dir().join("lcov.info");
    // Programs of an earlier build would count their lines, at other numbers, as missed.
    run(&mut cargo(["llvm-cov", "clean", "--workspace"]))?;
    // The real projects take minutes and execute nothing that the fixtures do not.
    let few = ["nextest", "--retries", "0", "-E", "not (binary(real) + binary(optimised))"];
    let kind = if has("cargo-nextest") { &few[..] } else { &["test"] };
    let mut tests = cargo(["llvm-cov"]);
    // Some tests compare all that an agent says and leaves behind, and this one leaves its counters:
    // whether tests pass is another check's to judge.
    tests.args(kind).args(["--no-report", "--ignore-run-fail", "--package", "cov-agent", "--package", "cov-tests"]);
    tests.env("COV_AGENT", &agent).env("COV_REQUIRE_KERNEL", "1");
    // Agents by the hundred add to few files instead of leaving one each.
    tests.env("LLVM_PROFILE_FILE_NAME", "cov-agent-%4m.profraw");
    run(&mut tests)?;
    fetch_from_root()?;
    let mut lcov = cargo(["llvm-cov", "report", "--lcov", "--ignore-filename-regex", "/(tests|xtask)/"]);
    run(lcov.arg("--output-path").arg(&report))?;
    let config = workspace().join(".config/coverage.ini");
    // Quietly: the source of the markers is full of markers without partner.
    for words in [&["report", "--quiet", "--missing"][..], &["check", "--quiet"]] {
        let mut show = command(&agent.display().to_string(), words);
        // Its own counters are of no interest any more.
        run(show.arg("--config").arg(&config).arg(&report).env("LLVM_PROFILE_FILE", "/dev/null"))?;
    }
    Ok(())
}
