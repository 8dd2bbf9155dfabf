//! `cargo xtask bench`: what the agent costs, measured on real programs.

mod data;
mod execs;
mod measure;
mod said;
mod table;

pub(crate) use data::run_data;

use crate::shell::{cargo, is_root, run, target_dir, workspace};
use anyhow::{Result, bail};
use cov_tests::{Build, Project, package_dir};
use measure::{adopt_orphans, interleaved};
use said::Said;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many processes the suite of short ones has.
const PROCESSES: u32 = 200;

/// A program in two builds.
struct Program {
    name: String,
    plain: PathBuf,
    /// Compiled so that it measures its coverage itself.
    compiled: Option<PathBuf>,
    args: Vec<String>,
    /// How many processes it runs.
    processes: u32,
}

/// What was measured of a program.
struct Measured {
    name: String,
    processes: u32,
    plain_ms: f64,
    agent_ms: f64,
    /// With the plan out of the cache.
    cached_ms: f64,
    /// Finding the plan there.
    from_cache_ms: f64,
    compiled_ms: Option<f64>,
    disarm_ms: f64,
    said: Said,
}

/// Measures; `smoke` proves only that it works, on little, with the agent as tests build it.
pub(crate) fn run_bench(smoke: bool, as_json: bool) -> Result<()> {
    if !is_root() {
        bail!("arming probes needs root: sudo -E cargo xtask bench");
    }
    adopt_orphans()?;
    let mut build = cargo(["build", "--quiet", "--package", "cov-agent"]);
    run(if smoke { &mut build } else { build.arg("--release") })?;
    let agent = target_dir().join(if smoke { "debug/cov-agent" } else { "release/cov-agent" });
    let dir = target_dir().join("bench");
    std::fs::create_dir_all(&dir)?;

    let mut results = Vec::new();
    for (program, rounds) in programs(&dir, smoke) {
        results.push(measure(&agent, &dir, &program, if smoke { 1 } else { rounds })?);
    }
    let execs = execs::measure(&agent, &dir, smoke)?;
    if as_json {
        let all: Vec<Value> = results.iter().map(Measured::json).chain([execs.json()]).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}{}", table::render(&results), execs.render());
    }
    Ok(())
}

/// The programs, each with how often it is to be run.
fn programs(dir: &Path, smoke: bool) -> Vec<(Program, usize)> {
    let mut programs = vec![(small(dir), 31)];
    if smoke {
        programs.push((suite(dir, 3), 1));
    } else {
        programs.extend([Project::sqlite(), Project::lua(), Project::zstd()].map(|project| (real(dir, &project), 5)));
        programs.extend([(rust_tests(dir), 15), (suite(dir, PROCESSES), 3)]);
    }
    programs
}

/// The fixed cost: a program that does nearly nothing.
fn small(dir: &Path) -> Program {
    let plain = dir.join("collatz");
    let source = workspace().join("xtask/sample/collatz.c");
    Build::with("gcc", dir).args(["-O0", "-g", "-o"]).arg(&plain).arg(source).run();
    Program { name: "a small C program, -O0".into(), plain, compiled: None, args: vec!["6".into()], processes: 1 }
}

/// A real project, and the same built for gcov.
fn real(dir: &Path, project: &Project) -> Program {
    let plain = compile(project, dir, "", &["-O1"]);
    let compiled = Some(compile(project, dir, "-gcov", &["-O1", "--coverage"]));
    Program { name: format!("{}, -O1", project.name), plain, compiled, args: Vec::new(), processes: 1 }
}

/// Many short processes, one after the other.
fn suite(dir: &Path, processes: u32) -> Program {
    let args = vec![processes.to_string()];
    let name = format!("{processes} processes of lua, -O1");
    Program { name, args, processes, ..real(dir, &Project::suite()) }
}

/// A Rust crate's own tests, and the same built for LLVM's source-based coverage.
fn rust_tests(dir: &Path) -> Program {
    let source = package_dir("strsim").join("src/lib.rs");
    let compile = |output: &str, flags: &[&str]| {
        let rustc = Build::with("rustc", dir).args(["--test", "--edition=2015", "-g", "-Copt-level=1", "-o", output]);
        rustc.args(flags).arg(&source).run();
        dir.join(output)
    };
    Program {
        name: "the tests of the crate strsim".into(),
        plain: compile("strsim", &[]),
        compiled: Some(compile("strsim-llvm", &["-Cinstrument-coverage"])),
        args: Vec::new(),
        processes: 1,
    }
}

/// Compiles unless it is there from an earlier time: SQLite takes long.
fn compile(project: &Project, dir: &Path, suffix: &str, flags: &[&str]) -> PathBuf {
    let output = format!("{}{suffix}", project.name);
    let program = dir.join(&output);
    if program.exists() { program } else { project.compile(dir, &output, flags) }
}

fn measure(agent: &Path, dir: &Path, program: &Program, rounds: usize) -> Result<Measured> {
    let call = |path: &Path| {
        let mut command = Command::new(path);
        command.args(&program.args).current_dir(dir).env("LLVM_PROFILE_FILE", dir.join("default.profraw"));
        command
    };
    let with = |options: &[&str]| {
        let mut measured = Command::new(agent);
        measured.args(["run", "--verbose"]).args(options).args(cov_tests::sources()).args(["--format", "lcov,json"]);
        measured.arg("--output").arg(dir.join("coverage")).arg("--").arg(&program.plain).args(&program.args);
        measured.current_dir(dir);
        measured
    };
    // So that the cache has its plan.
    measure::once(&mut with(&["--cache", "plans"]))?;
    // A build for coverage is run in any case: where there is none, the plain one once more.
    let compiled = call(program.compiled.as_deref().unwrap_or(&program.plain));
    let commands = [call(&program.plain), with(&["--no-cache"]), with(&["--cache", "plans"]), compiled];
    let [plain, measured, cached, compiled] = interleaved(rounds, commands)?;
    Ok(Measured {
        name: program.name.clone(),
        processes: program.processes,
        plain_ms: plain.millis(),
        agent_ms: measured.millis(),
        cached_ms: cached.millis(),
        from_cache_ms: said::from_cache(cached.said())?,
        compiled_ms: program.compiled.as_ref().map(|_| compiled.millis()),
        disarm_ms: measured.median(|cost| cost.after.as_secs_f64() * 1e3),
        said: Said::read(measured.said())?,
    })
}

impl Measured {
    fn json(&self) -> Value {
        let Said { lines, probes, emulated, hits, read_ms, plan_ms, arm_ms, write_ms, agent_mib, program_mib } =
            self.said;
        json!({
            "program": self.name,
            "processes": self.processes,
            "lines": lines,
            "probes": probes,
            "emulated": emulated,
            "hits": hits,
            "plain_ms": self.plain_ms,
            "agent_ms": self.agent_ms,
            "cached_ms": self.cached_ms,
            "from_cache_ms": self.from_cache_ms,
            "compiled_ms": self.compiled_ms,
            "read_ms": read_ms,
            "plan_ms": plan_ms,
            "arm_ms": arm_ms,
            "write_ms": write_ms,
            "disarm_ms": self.disarm_ms,
            "agent_peak_mib": agent_mib,
            "program_peak_mib": program_mib,
        })
    }
}
