//! `cargo xtask bench`: what the agent costs, measured on real programs.

mod measure;

use crate::shell::{cargo, is_root, run, target_dir};
use anyhow::{Context as _, Result, bail};
use cov_tests::{Build, Project};
use measure::interleaved;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measures; `smoke` proves only that it works, on little, with the agent as tests build it.
pub(crate) fn run_bench(smoke: bool, as_json: bool) -> Result<()> {
    if !is_root() {
        bail!("arming probes needs root: sudo -E cargo xtask bench");
    }
    let mut build = cargo(["build", "--quiet", "--package", "cov-agent"]);
    run(if smoke { &mut build } else { build.arg("--release") })?;
    let agent = target_dir().join(if smoke { "debug/cov-agent" } else { "release/cov-agent" });
    let dir = target_dir().join("bench");
    std::fs::create_dir_all(&dir)?;

    let mut results = vec![small(&agent, &dir, if smoke { 2 } else { 31 })?];
    let projects: &[fn() -> Project] =
        if smoke { &[Project::lua] } else { &[Project::sqlite, Project::lua, Project::zstd] };
    for project in projects {
        results.push(real(&agent, &dir, &project(), if smoke { 1 } else { 3 })?);
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        table(&results);
    }
    Ok(())
}

fn agent_run(agent: &Path, dir: &Path, program: &Path) -> Command {
    let mut command = Command::new(agent);
    command
        .args(["run", "--quiet"])
        .args(cov_tests::sources())
        .arg("--output")
        .arg(dir.join("coverage"))
        .arg("--")
        .arg(program);
    command
}

/// The fixed cost: a program that does nearly nothing.
fn small(agent: &Path, dir: &Path, rounds: usize) -> Result<Value> {
    let program = dir.join("collatz");
    let source = crate::shell::workspace().join("xtask/sample/collatz.c");
    Build::with("gcc", dir).args(["-O0", "-g", "-o"]).arg(&program).arg(source).run();
    let mut plain = Command::new(&program);
    plain.arg("6");
    let mut measured = agent_run(agent, dir, &program);
    measured.arg("6");
    let [plain, measured] = interleaved(rounds, [plain, measured])?;
    Ok(json!({
        "program": "small C program, -O0",
        "probes": probes(agent, &program)?,
        "plain_ms": plain.millis(),
        "agent_ms": measured.millis(),
        "agent_peak_mib": measured.peak(),
    }))
}

/// A real project at -O1, against itself without the agent and built for gcov.
fn real(agent: &Path, dir: &Path, project: &Project, rounds: usize) -> Result<Value> {
    let program = compile(project, dir, "", &["-O1"]);
    let gcov_program = compile(project, dir, "-gcov", &["-O1", "--coverage"]);
    let mut gcov = Command::new(&gcov_program);
    gcov.current_dir(dir);
    let [plain, measured, gcov] = interleaved(rounds, [Command::new(&program), agent_run(agent, dir, &program), gcov])?;
    Ok(json!({
        "program": format!("{}, -O1", project.name),
        "probes": probes(agent, &program)?,
        "plain_ms": plain.millis(),
        "agent_ms": measured.millis(),
        "gcov_ms": gcov.millis(),
        "agent_peak_mib": measured.peak(),
    }))
}

/// Compiles unless it is there from an earlier time: SQLite takes long.
fn compile(project: &Project, dir: &Path, suffix: &str, flags: &[&str]) -> PathBuf {
    let output = format!("{}{suffix}", project.name);
    let program = dir.join(&output);
    if program.exists() { program } else { project.compile(dir, &output, flags) }
}

/// How many probes the agent arms in `program`.
fn probes(agent: &Path, program: &Path) -> Result<usize> {
    let output = Command::new(agent).args(["lines", "--json"]).args(cov_tests::sources()).arg(program).output()?;
    let lines: Value = serde_json::from_slice(&output.stdout).context("cov-agent lines --json")?;
    let probes = lines["probes"].as_array().context("cov-agent lines --json has no probes")?;
    Ok(probes.len())
}

fn table(results: &[Value]) {
    println!("| program | probes | plain | agent | gcov | ratio agent | ratio gcov | peak memory |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for result in results {
        let number = |key: &str| result[key].as_f64();
        let millis = |key: &str| number(key).map_or("–".to_owned(), |ms| format!("{ms:.1} ms"));
        let ratio = |key: &str| match (number(key), number("plain_ms")) {
            (Some(ms), Some(plain)) if plain > 0.0 => format!("{:.1}", ms / plain),
            _ => "–".to_owned(),
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.0} MiB |",
            result["program"].as_str().unwrap_or_default(),
            result["probes"],
            millis("plain_ms"),
            millis("agent_ms"),
            millis("gcov_ms"),
            ratio("agent_ms"),
            ratio("gcov_ms"),
            number("agent_peak_mib").unwrap_or_default()
        );
    }
}
