//! How the cost grows with probes, processes and objects: made-up programs of several sizes.

use super::measure::interleaved;
use super::programs::call;
use super::ways::Agent;
use anyhow::Result;
use cov_tests::Build;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How many functions each library has, and the program that starts itself often.
const FUNCTIONS: u32 = 200;
/// How often a program starts itself where the cost of an exec is asked for.
const EXECS: u32 = 10;
/// How often each is run.
const ROUNDS: usize = 3;

/// What one thing costs more the more there is of another.
pub(super) struct Linear {
    /// What grows.
    pub(super) of: &'static str,
    /// What it makes slower, by milliseconds.
    pub(super) what: &'static str,
    /// How many there are, and what they cost.
    pub(super) points: Vec<(f64, f64)>,
}

impl Linear {
    /// The straight line through the points by least squares: where it begins and how it rises.
    pub(super) fn line(&self) -> (f64, f64) {
        let n = self.points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let both: f64 = self.points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let own: f64 = self.points.iter().map(|p| (p.0 - x).powi(2)).sum();
        let rise = both / own;
        (y - rise * x, rise)
    }

    pub(super) fn json(&self) -> Value {
        let (at_zero, each) = self.line();
        json!({ "of": self.of, "what": self.what, "points": self.points, "at_zero_ms": at_zero, "each_ms": each })
    }
}

/// Measures all of it.
pub(super) fn measure(agent: &Agent, dir: &Path, smoke: bool) -> Result<Vec<Linear>> {
    let (functions, processes, objects): (&[u32], &[u32], &[u32]) = match smoke {
        true => (&[100, 200], &[2, 4], &[1, 2]),
        false => (&[500, 1000, 2000, 4000, 8000, 16_000], &[25, 50, 100, 200, 400], &[1, 2, 4, 8, 16, 32]),
    };
    let rounds = if smoke { 1 } else { ROUNDS };
    let mut start = Linear { of: "probes", what: "the start", points: Vec::new() };
    let mut exec = Linear { of: "probes", what: "an exec", points: Vec::new() };
    for &functions in functions {
        let program = program(dir, functions)?;
        let [none, some] = [0, EXECS].map(|execs| more(agent, dir, rounds, &program, &[execs.to_string()]));
        let (none, some) = (none?, some?);
        start.points.push((none.probes, none.ms));
        exec.points.push((none.probes, (some.ms - none.ms) / f64::from(EXECS)));
    }
    let mut suite = Linear { of: "processes", what: "a suite", points: Vec::new() };
    let runs_itself = program(dir, FUNCTIONS)?;
    for &processes in processes {
        let more = more(agent, dir, rounds, &runs_itself, &[processes.to_string()])?;
        suite.points.push((f64::from(processes), more.ms));
    }
    let mut libraries = Linear { of: "objects", what: "the start", points: Vec::new() };
    for &objects in objects {
        let more = more(agent, dir, rounds, &with_libraries(dir, objects)?, &[])?;
        libraries.points.push((f64::from(objects), more.ms));
    }
    Ok(vec![start, exec, suite, libraries])
}

/// What a run takes more under the agent.
struct More {
    ms: f64,
    probes: f64,
}

fn more(agent: &Agent, dir: &Path, rounds: usize, program: &Path, arguments: &[String]) -> Result<More> {
    // Once for the caches of files.
    super::once(&mut agent.run(&["--no-cache"], program, arguments))?;
    let mut commands = [call(dir, program, arguments), agent.run(&["--no-cache"], program, arguments)];
    let series = interleaved(rounds, &mut commands)?;
    let [plain, measured] = &series[..] else { anyhow::bail!("two commands gave {} series", series.len()) };
    let probes = super::said::armed(measured.said())?;
    Ok(More { ms: measured.millis() - plain.millis(), probes })
}

/// `count` functions whose names begin with `name`, in lines of their own.
fn functions(name: &str, count: u32) -> String {
    let mut source = String::new();
    for n in 0..count {
        let _ = writeln!(source, "int {name}_{n}(int x) {{\n    if (x > {n})\n        x += 2;\n    return x * 3;\n}}");
    }
    source
}

/// A program with that many functions, none of which runs, that starts itself as often as it is told.
fn program(dir: &Path, count: u32) -> Result<PathBuf> {
    let program = dir.join(format!("grown-{count}"));
    let main = "#include <stdlib.h>\n#include <sys/wait.h>\n#include <unistd.h>\nint main(int argc, char **argv) {\n\
        for (int left = argc > 1 ? atoi(argv[1]) : 0; left > 0; left--) {\n\
        int status;\n\
        pid_t child = fork();\n\
        if (child == 0) {\n\
        execl(\"/proc/self/exe\", argv[0], (char *)0);\n\
        _exit(127);\n}\n\
        if (waitpid(child, &status, 0) != child || status != 0)\n\
        return 1;\n}\n\
        return 0;\n}\n";
    compile(dir, &(functions("f", count) + main), &program, &[])?;
    Ok(program)
}

/// A program that is linked with that many libraries.
fn with_libraries(dir: &Path, count: u32) -> Result<PathBuf> {
    let program = dir.join(format!("libraries-{count}"));
    let mut main = "int main(void) {\n    int sum = 0;\n".to_owned();
    let mut flags = vec!["-Wl,-rpath,$ORIGIN".to_owned()];
    for n in 0..count {
        let library = dir.join(format!("libgrown{n}.so"));
        if !library.exists() {
            let shared = ["-shared", "-fPIC"].map(str::to_owned);
            compile(dir, &functions(&format!("f{n}"), FUNCTIONS), &library, &shared)?;
        }
        main.insert_str(0, &format!("int f{n}_0(int);\n"));
        let _ = writeln!(main, "    sum += f{n}_0(1);");
        flags.push(library.display().to_string());
    }
    compile(dir, &(main + "    return sum == 0;\n}\n"), &program, &flags)?;
    Ok(program)
}

fn compile(dir: &Path, text: &str, to: &Path, flags: &[String]) -> Result<()> {
    // Each has a source of its own.
    let source = to.with_file_name(format!("{}.c", to.file_stem().unwrap_or_default().to_string_lossy()));
    std::fs::write(&source, text)?;
    Build::with("gcc", dir).args(["-O0", "-g", "-o"]).arg(to).arg(&source).args(flags).run();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found() {
        let linear = Linear { of: "", what: "", points: vec![(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)] };
        assert_eq!(linear.line(), (3.0, 2.0));
    }
}
