//! The ways in which a program is run: as it is, under the agent, and by other tools' means.

use super::programs::{Peer, Program, call};
use crate::shell::{command, output};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const PLAIN: &str = "plain";
/// What a person gets who asks for nothing.
pub(super) const DEFAULT: &str = "default";
/// The same with the plan out of the cache.
pub(super) const KEPT: &str = "plan kept";
/// Every count exact, whatever it costs.
pub(super) const EXACT: &str = "exact";
pub(super) const LINES_ONLY: &str = "lines only";
/// A breakpoint on every statement, counted each time.
pub(super) const BREAKPOINTS: &str = "gdb";

/// The plain program by the other compiler.
pub(super) const CLANG: &str = "plain, clang";

/// Whether it is the agent that runs the program.
pub(super) fn is_agent(way: &str) -> bool {
    [DEFAULT, KEPT, EXACT, LINES_ONLY].contains(&way)
}

/// The agent that is measured.
pub(super) struct Agent {
    path: PathBuf,
    dir: PathBuf,
    /// Whether it takes `--overhead`; else what it does by default is exact.
    has_overhead: bool,
}

/// One way to run a program.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Which of the ways it is compared with.
    pub(super) base: usize,
    /// What runs in the end.
    pub(super) program: PathBuf,
    pub(super) command: Command,
}

impl Agent {
    /// The agent at `path`, which writes into `dir`.
    pub(super) fn new(path: &Path, dir: &Path) -> Result<Self> {
        let help = output(Command::new(path).args(["run", "--help"]))?;
        Ok(Self { path: path.into(), dir: dir.into(), has_overhead: help.contains("--overhead") })
    }

    /// A call that measures `program`.
    pub(super) fn run(&self, options: &[&str], program: &Path, arguments: &[String]) -> Command {
        let mut measured = Command::new(&self.path);
        measured.args(["run", "--verbose"]).args(options).args(cov_tests::sources());
        measured.args(["--include", &format!("{}/**", self.dir.display()), "--format", "lcov,json", "--output"]);
        measured.arg(self.dir.join("coverage")).arg("--").arg(program).args(arguments).current_dir(&self.dir);
        measured
    }

    /// Where `program` has statements, in its own terms.
    fn statements(&self, program: &Path) -> Result<Vec<String>> {
        let mut lines = Command::new(&self.path);
        lines.args(["lines", "--json"]).args(cov_tests::sources()).arg(program).current_dir(&self.dir);
        let known: Value = serde_json::from_str(&output(&mut lines)?)?;
        let files = known["files"].as_array().context("files")?;
        let lines = files.iter().filter_map(|file| file["lines"].as_array()).flatten();
        let addresses = lines.filter_map(|line| line["addresses"].as_array()).flatten().filter_map(Value::as_str);
        let mut addresses: Vec<String> = addresses.map(str::to_owned).collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// The ways to run `program` with `arguments`; `short`: it takes milliseconds, so that every hit may cost.
    pub(super) fn ways(&self, program: &Program, arguments: &[String], short: bool) -> Result<Vec<Way>> {
        let way = |name, command| Way { name, base: 0, program: program.plain.clone(), command };
        let run = |name, options: &[&str]| way(name, self.run(options, &program.plain, arguments));
        let itself = |name, base, program: &Path| {
            let command = call(&self.dir, program, arguments);
            Way { name, base, program: program.into(), command }
        };
        let mut ways = vec![itself(PLAIN, 0, &program.plain)];
        if self.has_overhead {
            ways.push(run(DEFAULT, &["--no-cache"]));
        }
        if short {
            let exact: &[&str] =
                if self.has_overhead { &["--no-cache", "--overhead", "none"] } else { &["--no-cache"] };
            ways.push(run(EXACT, exact));
        }
        ways.push(run(LINES_ONLY, &["--no-cache", "--lines-only"]));
        if short {
            ways.push(run(KEPT, &["--cache", "plans", "--lines-only"]));
        }
        for Peer { way: name, program: compiled, plain } in &program.peers {
            let mut base = 0;
            if *plain != program.plain {
                base = ways.len();
                ways.push(itself(CLANG, base, plain));
            }
            ways.push(itself(name, base, compiled));
        }
        if short && program.breakpoints && crate::shell::has("gdb") {
            ways.push(way(BREAKPOINTS, self.breakpoints(&program.plain, arguments)?));
        }
        Ok(ways)
    }

    /// A debugger that counts hits of a breakpoint on every statement.
    fn breakpoints(&self, program: &Path, arguments: &[String]) -> Result<Command> {
        let (script, list) = (self.dir.join("breakpoints.py"), self.dir.join("statements"));
        std::fs::write(&script, include_str!("breakpoints.py"))?;
        std::fs::write(&list, self.statements(program)?.join("\n"))?;
        let mut gdb = command("gdb", ["-nx", "-q", "-batch", "-x"]);
        gdb.arg(script).arg("--args").arg(program).args(arguments).env("STATEMENTS", list).current_dir(&self.dir);
        Ok(gdb)
    }
}
