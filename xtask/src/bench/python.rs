//! What counting lines of Python costs: a real package's own tests, beside coverage.py on the same files.

use super::measure::{interleaved, once};
use super::table::row;
use crate::shell::{output, target_dir};
use anyhow::{Result, ensure};
use cov_tests::{SUITE, boltons, monitored_pythons, venv};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tests that prove that it works.
const FEW: [&str; 2] = ["tests/test_iterutils.py", "tests/test_strutils.py"];
/// All but those that wait for a time, and may fail where a machine is busy.
const MOST: [&str; 4] = [
    "tests",
    "--deselect=tests/test_gcutils.py",
    "--deselect=tests/test_socketutils.py",
    "--deselect=tests/test_funcutils.py::test_once_thread_safety",
];
/// An interpreter that has the probe `python:line`.
const PROBED: &str = "/usr/bin/python3.11";
/// How often the suite is run, in each interpreter: traps at each line of any file take long.
const ROUNDS: [usize; 2] = [7, 3];

const PLAIN: &str = "without anything";
const C_TRACER: &str = "coverage.py, C tracer";
const COVERAGE: [&str; 4] = ["-m", "coverage", "run", "--source=boltons"];

/// The same tests under one interpreter, in several ways.
pub(super) struct Python {
    version: String,
    /// Names, and medians in milliseconds: from start to end, and processor time. The first is without anything.
    ways: Vec<(&'static str, f64, f64)>,
}

/// An interpreter, the package that it tests, and the agent.
struct Suite {
    agent: PathBuf,
    dir: PathBuf,
    python: PathBuf,
    tests: &'static [&'static str],
}

type Ways = Vec<(&'static str, Command)>;

/// Measures in turns: under the latest Python that has `sys.monitoring`, and under one in which the kernel counts.
pub(super) fn measure(agent: &Path, dir: &Path, smoke: bool) -> Result<Vec<Python>> {
    let all = target_dir().canonicalize()?.join("venvs");
    let rounds = if smoke { [1, 1] } else { ROUNDS };
    let suite = |python: PathBuf| -> Result<Suite> {
        let dir = dir.join("boltons");
        if !dir.join("tests").exists() {
            fs::create_dir_all(&dir)?;
            boltons(&python, &dir);
        }
        Ok(Suite { agent: agent.into(), dir, python, tests: if smoke { &FEW } else { &MOST } })
    };
    let mut measured = Vec::new();
    if let Some(latest) = monitored_pythons().pop() {
        let suite = suite(venv(&all, &latest, "suite", &SUITE).join("bin/python"))?;
        measured.push(suite.measure(rounds[0], suite.monitored())?);
    }
    if Path::new(PROBED).exists() {
        // The original is everybody's.
        let copy = venv(&all, Path::new(PROBED), "suite-usdt", &SUITE).join("bin/copy");
        fs::copy(PROBED, &copy)?;
        let suite = suite(copy)?;
        measured.push(suite.measure(rounds[1], suite.probed())?);
    }
    Ok(measured)
}

impl Suite {
    fn monitored(&self) -> Ways {
        vec![
            (PLAIN, self.tested(&mut Command::new(&self.python), &[])),
            ("`--lines-only`", self.measured(&["--python", "monitoring", "--lines-only"])),
            ("counts", self.measured(&["--python", "monitoring"])),
            (C_TRACER, self.by_coverage_py("ctrace", false)),
            ("the same and `coverage lcov`", self.by_coverage_py("ctrace", true)),
            ("coverage.py, sysmon", self.by_coverage_py("sysmon", false)),
            ("sysmon and `coverage lcov`", self.by_coverage_py("sysmon", true)),
        ]
    }

    fn probed(&self) -> Ways {
        vec![
            (PLAIN, self.tested(&mut Command::new(&self.python), &[])),
            ("`--python usdt`", self.measured(&["--python", "usdt"])),
            (C_TRACER, self.by_coverage_py("ctrace", false)),
        ]
    }

    fn measured(&self, options: &[&str]) -> Command {
        let mut agent = Command::new(&self.agent);
        agent.args(["run", "--quiet", "--include", "boltons/**", "--cache", "../plans", "--format", "lcov"]);
        agent.args(options).arg("--").arg(&self.python);
        self.tested(&mut agent, &[])
    }

    /// `reported`: with what makes a report of it, which the agent has done at its end.
    fn by_coverage_py(&self, core: &str, reported: bool) -> Command {
        let mut command = Command::new(&self.python);
        if reported {
            command = Command::new("/bin/sh");
            command.args(["-c", "\"$0\" \"$@\" && \"$0\" -m coverage lcov -q -o theirs.info"]).arg(&self.python);
        }
        command.env("COVERAGE_CORE", core);
        self.tested(&mut command, &COVERAGE)
    }

    /// The command, with the tests as its arguments behind `by`.
    fn tested(&self, command: &mut Command, by: &[&str]) -> Command {
        command.args(by).args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).args(self.tests);
        command.current_dir(&self.dir).env("PYTHONHASHSEED", "0");
        std::mem::replace(command, Command::new(""))
    }

    fn measure(&self, rounds: usize, ways: Ways) -> Result<Python> {
        let (names, mut commands): (Vec<_>, Vec<_>) = ways.into_iter().unzip();
        // So that bytecode and plans are where they are looked for.
        commands.iter_mut().take(2).try_for_each(|command| once(command).map(drop))?;
        let series = interleaved(rounds, &mut commands)?;
        let hits = fs::read_to_string(self.dir.join("coverage/lcov.info"))?;
        ensure!(hits.contains("boltons/iterutils.py"), "no line of the package was counted: {hits}");
        let ways = names.into_iter().zip(series).map(|(name, s)| (name, s.millis(), s.cpu_millis())).collect();
        Ok(Python { version: output(Command::new(&self.python).arg("--version"))?.trim().to_owned(), ways })
    }
}

impl Python {
    pub(super) fn render(all: &[Self]) -> String {
        let mut out = String::new();
        row(&mut out, "", ["under", "time", "as a ratio", "processor time", "as a ratio"]);
        row(&mut out, "---", ["---", "---:", "---:", "---:", "---:"]);
        for Self { version, ways } in all {
            let Some(&(_, plain, plain_cpu)) = ways.first() else { continue };
            for (way, wall, cpu) in ways {
                let seconds = |ms: f64| format!("{:.2} s", ms / 1e3);
                let ratio = |of: f64, to: f64| format!("{:.2}", of / to);
                let cells =
                    [version.clone(), seconds(*wall), ratio(*wall, plain), seconds(*cpu), ratio(*cpu, plain_cpu)];
                row(&mut out, way, cells);
            }
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let way = |(way, wall, cpu): &(&str, f64, f64)| json!({ "way": way, "wall_ms": wall, "cpu_ms": cpu });
        json!({ "python": self.version, "ways": self.ways.iter().map(way).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_compared_with_the_same_interpreter() {
        let of = |version: &str, by: f64| Python {
            version: version.to_owned(),
            ways: vec![(PLAIN, 1000.0, 500.0), ("counts", 1000.0 * by, 600.0 * by)],
        };
        let text = Python::render(&[of("Python 3.13.0", 1.5), of("Python 3.11.2", 3.0)]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows[0], "| without anything | Python 3.13.0 | 1.00 s | 1.00 | 0.50 s | 1.00 |");
        assert_eq!(rows[1], "| counts | Python 3.13.0 | 1.50 s | 1.50 | 0.90 s | 1.80 |");
        assert_eq!(rows[3], "| counts | Python 3.11.2 | 3.00 s | 3.00 | 1.80 s | 3.60 |");
    }
}
