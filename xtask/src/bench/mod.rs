//! `cargo xtask bench`: what the agent costs, measured on real programs.

mod data;
mod execs;
mod linear;
mod measure;
mod page;
mod peak;
mod programs;
mod python;
mod said;
mod table;
mod ways;

pub(crate) use data::run_data;

use crate::shell::{cargo, is_root, run, target_dir, workspace};
use anyhow::{Result, bail};
use execs::Execs;
use linear::Linear;
use measure::{adopt_orphans, interleaved, once};
use peak::Peak;
use programs::{Program, call};
use python::Python;
use said::Said;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use ways::{Agent, Way};

/// How long a long run takes at least without the agent.
const LONG: Duration = Duration::from_millis(1200);
/// How often long runs are repeated.
const LONG_ROUNDS: usize = 3;
/// Where the figures stand in the manual.
const PAGE: &str = "docs/src/explanation/figures.md";

/// What is wanted of the benchmark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Only prove that it works, on little, with the agent as tests build it.
    pub(crate) smoke: bool,
    /// Print JSON instead of the tables.
    pub(crate) json: bool,
    /// Write the page of the manual that has the figures.
    pub(crate) write: bool,
}

impl Wanted {
    /// The check that it works.
    pub(crate) fn smoke() -> Self {
        Self { smoke: true, json: false, write: false }
    }
}

/// Everything that was measured.
struct Figures {
    programs: Vec<Measured>,
    execs: Execs,
    python: Vec<Python>,
    linear: Vec<Linear>,
}

/// A program's figures.
struct Measured {
    name: String,
    processes: u32,
    short: Vec<Outcome>,
    long: Vec<Outcome>,
    /// How often it does its work in a long run.
    rounds: u64,
}

/// What one way of running it came to; times are medians.
struct Outcome {
    way: &'static str,
    wall_ms: f64,
    cpu_ms: f64,
    /// From its end until the probes were gone.
    after_ms: f64,
    /// Times and memory as ratios to the plain program by the same compiler.
    ratio: f64,
    cpu_ratio: f64,
    plain_ms: f64,
    peak_mib: Option<f64>,
    memory_ratio: Option<f64>,
    said: Option<Said>,
}

/// Measures, and prints or writes what came of it.
pub(crate) fn run_bench(wanted: Wanted) -> Result<()> {
    if !is_root() {
        bail!("arming probes needs root: sudo -E cargo xtask bench");
    }
    let smoke = wanted.smoke;
    adopt_orphans()?;
    let mut build = cargo(["build", "--quiet", "--package", "cov-agent"]);
    run(if smoke { &mut build } else { build.arg("--release") })?;
    let path = target_dir().join(if smoke { "debug/cov-agent" } else { "release/cov-agent" });
    let dir = target_dir().join("bench");
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let agent = Agent::new(&path, &dir)?;

    eprintln!("compiling the programs");
    let programs = programs::all(&dir, smoke)?;
    let peak = Peak::new(&dir)?;
    let mut measured = Vec::new();
    for program in &programs {
        eprintln!("measuring {}", program.name);
        measured.push(measure(&agent, &peak, &dir, program, smoke)?);
    }
    eprintln!("measuring execs");
    let execs = execs::measure(&path, &dir, smoke)?;
    eprintln!("measuring Python");
    let python = python::measure(&path.canonicalize()?, &dir, smoke)?;
    eprintln!("measuring what grows");
    let linear = linear::measure(&agent, &dir, smoke)?;
    let figures = Figures { programs: measured, execs, python, linear };
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&figures.json())?);
    } else {
        print!("{}", page::render(&figures));
    }
    if wanted.write {
        std::fs::write(workspace().join(PAGE), page::render(&figures))?;
    }
    Ok(())
}

fn measure(agent: &Agent, peak: &Peak, dir: &Path, program: &Program, smoke: bool) -> Result<Measured> {
    // So that the cache has its plan.
    once(&mut agent.run(&["--cache", "plans", "--lines-only"], &program.plain, &program.short))?;
    let ways = agent.ways(program, &program.short, true)?;
    let short = outcomes(ways, if smoke { 1 } else { program.rounds }, Some(peak))?;
    let (mut long, mut rounds) = (Vec::new(), 1);
    if program.repeats && !smoke {
        rounds = enough(|rounds| call(dir, &program.plain, &[rounds.to_string()]))?;
        let ways = agent.ways(program, &[rounds.to_string()], false)?;
        long = outcomes(ways, LONG_ROUNDS, None)?;
    }
    Ok(Measured { name: program.name.clone(), processes: program.processes, short, long, rounds })
}

/// How often the work must be done so that it takes [`LONG`].
fn enough(command: impl Fn(u64) -> Command) -> Result<u64> {
    let mut rounds = 16;
    loop {
        let took = once(&mut command(rounds))?.wall;
        if took >= LONG {
            return Ok(rounds);
        }
        let wanted = u128::from(rounds) * LONG.as_micros() * 6 / 5 / took.as_micros().max(1);
        rounds = u64::try_from(wanted).unwrap_or(u64::MAX).clamp(rounds + rounds / 8, rounds * 16);
    }
}

fn outcomes(ways: Vec<Way>, rounds: usize, peak: Option<&Peak>) -> Result<Vec<Outcome>> {
    let (ways, mut commands): (Vec<_>, Vec<_>) =
        ways.into_iter().map(|w| ((w.name, w.base, w.program), w.command)).unzip();
    let series = interleaved(rounds, &mut commands)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (((way, base, program), series), command) in ways.into_iter().zip(&series).zip(&mut commands) {
        let (wall_ms, cpu_ms) = (series.millis(), series.cpu_millis());
        // A debugger does not let what it runs load a library for it.
        let peak_mib = match peak {
            Some(peak) if way != ways::BREAKPOINTS => Some(peak.of(command, &program)?),
            _ => None,
        };
        let said = ways::is_agent(way).then(|| Said::read(series.said())).transpose()?;
        let plain = outcomes.get(base);
        let plain_ms = plain.map_or(wall_ms, |o| o.wall_ms);
        let cpu_ratio = cpu_ms / plain.map_or(cpu_ms, |o| o.cpu_ms);
        let memory_ratio = peak_mib.zip(plain.map_or(peak_mib, |o| o.peak_mib)).map(|(own, plain)| own / plain);
        let after_ms = series.median(|cost| cost.after.as_secs_f64() * 1e3);
        let ratio = wall_ms / plain_ms;
        outcomes.push(Outcome {
            way,
            wall_ms,
            cpu_ms,
            after_ms,
            plain_ms,
            ratio,
            cpu_ratio,
            peak_mib,
            memory_ratio,
            said,
        });
    }
    Ok(outcomes)
}

impl Figures {
    fn json(&self) -> Value {
        json!({
            "programs": self.programs.iter().map(Measured::json).collect::<Vec<_>>(),
            "execs": self.execs.json(),
            "python": self.python.iter().map(Python::json).collect::<Vec<_>>(),
            "linear": self.linear.iter().map(Linear::json).collect::<Vec<_>>(),
        })
    }
}

impl Measured {
    fn json(&self) -> Value {
        let all = |outcomes: &[Outcome]| outcomes.iter().map(Outcome::json).collect::<Vec<_>>();
        json!({
            "program": self.name,
            "processes": self.processes,
            "short": all(&self.short),
            "long": all(&self.long),
            "long_rounds": self.rounds,
        })
    }
}

impl Outcome {
    fn json(&self) -> Value {
        json!({
            "way": self.way,
            "wall_ms": self.wall_ms,
            "cpu_ms": self.cpu_ms,
            "after_ms": self.after_ms,
            "ratio": self.ratio,
            "cpu_ratio": self.cpu_ratio,
            "peak_mib": self.peak_mib,
            "memory_ratio": self.memory_ratio,
            "agent": self.said.map(|said| said.json()),
        })
    }
}
