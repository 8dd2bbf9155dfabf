//! `cargo xtask demo`: the main job on a sample program, with a visible result.

use crate::shell::{cargo, command, has, is_root, run, target_dir, workspace};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

const ARGUMENTS: [&str; 3] = ["6", "27", "97"];

/// Builds the agent and the sample, measures the sample, and shows its source with counts.
pub(crate) fn run_demo() -> Result<()> {
    if !has("cc") {
        bail!("the demo compiles a C program, and there is no C compiler (cc); install gcc or clang");
    }
    println!("Building cov-agent and the sample program …");
    run(&mut cargo(["build", "--package", "cov-agent"]))?;
    let dir = target_dir().join("demo");
    std::fs::create_dir_all(&dir)?;
    let source = workspace().join("xtask/sample/collatz.c");
    let program = dir.join("collatz");
    run(command("cc", ["-g", "-O0", "-o"]).args([&program, &source]))?;

    let agent = target_dir().join("debug/cov-agent");
    let output = dir.join("coverage");
    let mut measure = if is_root() {
        command("env", [&agent])
    } else {
        println!("\nArming probes needs root: sudo runs cov-agent, nothing else.");
        command("sudo", [&agent])
    };
    measure.args(["run", "--output"]).args([&output]).arg("--").args([&program]).args(ARGUMENTS);
    println!("\n$ cov-agent run --output {} -- {} {}\n", output.display(), program.display(), ARGUMENTS.join(" "));
    run(&mut measure).context("`cov-agent doctor` says what this machine lacks")?;

    println!("\nHow often each line was entered:\n");
    annotate(&source, &output.join("lcov.info"))
}

/// Prints `source` with the counts that the tracefile gives it.
fn annotate(source: &Path, tracefile: &Path) -> Result<()> {
    let mut counts = BTreeMap::new();
    let text = std::fs::read_to_string(tracefile).with_context(|| tracefile.display().to_string())?;
    for line in text.lines().filter_map(|line| line.strip_prefix("DA:")) {
        let (line, count) = line.split_once(',').context("a DA record without count")?;
        counts.insert(line.parse::<usize>()?, count.parse::<u64>()?);
    }
    for (index, line) in std::fs::read_to_string(source)?.lines().enumerate() {
        match counts.get(&(index + 1)) {
            Some(0) => println!("{:>9} | {line}", "never"),
            Some(count) => println!("{count:>9} | {line}"),
            None => println!("{:>9} | {line}", ""),
        }
    }
    if counts.values().all(|&count| count == 0) {
        bail!("no line was counted");
    }
    Ok(())
}
