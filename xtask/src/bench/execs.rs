//! What the gate costs those who execute programs: others on the machine, and those that are measured.

use anyhow::{Context as _, Result, bail};
use cov_tests::{Build, fixture};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The pace of 10 000 execs a minute.
const PACE: Duration = Duration::from_millis(6);

/// The medians of the times from start to end of a small program, in microseconds.
pub(super) struct Execs {
    /// Without the agent: a program of the system, and one with debug info.
    plain: [f64; 2],
    /// A program of the system while the agent watches others.
    unmatched: f64,
    /// The same while the agent measures a program that has not started it.
    foreign: f64,
    /// The one with debug info, which is known and armed.
    known: f64,
}

/// An agent that is ready.
struct Agent(Child);

impl Agent {
    /// Starts it and waits for a line that begins with `ready`.
    fn start(command: &mut Command, ready: &str) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (out, err) = (child.stdout.take().context("stdout")?, child.stderr.take().context("stderr")?);
        let from: Box<dyn std::io::Read> = if ready.starts_with("cov-agent") { Box::new(err) } else { Box::new(out) };
        let mut lines = BufReader::new(from).lines();
        while let Some(line) = lines.next().transpose()? {
            if line.starts_with(ready) {
                return Ok(Self(child));
            }
        }
        bail!("{command:?} ended before it was ready")
    }

    /// Ends it.
    fn stop(mut self) -> Result<()> {
        // A program that reads its input ends with that; a watching agent needs the signal.
        drop(self.0.stdin.take());
        // SAFETY: takes two integers; the process is a child that was not waited for.
        #[expect(unsafe_code, reason = "a signal other than SIGKILL")]
        unsafe {
            libc::kill(self.0.id().cast_signed(), libc::SIGTERM)
        };
        self.0.wait()?;
        Ok(())
    }
}

/// Measures, in turns with and without the agent.
pub(super) fn measure(agent: &Path, dir: &Path, smoke: bool) -> Result<Execs> {
    let (rounds, execs) = if smoke { (1, 3) } else { (7, 120) };
    let known = dir.canonicalize()?.join("execs");
    Build::with("gcc", dir).args(["-g", "-O1", "-o"]).arg(&known).arg(fixture("c/work.c")).run();
    let output = dir.join("execs-out");
    let watch = |object: String| {
        let mut command = Command::new(agent);
        command.args(["watch", "--object", &object, "--include", "**/work.c", "--output"]).arg(&output);
        command
    };
    let system = Path::new("/bin/true");
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        times[0].extend(run(system, execs)?);
        times[1].extend(run(&known, execs)?);
        let others = Agent::start(&mut watch("/nowhere/**".into()), "cov-agent: watching")?;
        times[2].extend(run(system, execs)?);
        others.stop()?;
        let mut cat = Command::new(agent);
        cat.args(["run", "--quiet", "--output"]).arg(&output).args(["--", "/bin/sh", "-c", "echo ready; read line"]);
        let cat = Agent::start(&mut cat, "ready")?;
        times[3].extend(run(system, execs)?);
        cat.stop()?;
        let matching = Agent::start(&mut watch(known.display().to_string()), "cov-agent: watching")?;
        // The first is held until it is read and armed.
        run(&known, 1)?;
        times[4].extend(run(&known, execs)?);
        matching.stop()?;
    }
    let [plain, plain_known, unmatched, foreign, known] = times.map(median);
    Ok(Execs { plain: [plain, plain_known], unmatched, foreign, known })
}

/// How long each of `execs` runs took, in microseconds; they begin at the pace.
fn run(program: &Path, execs: u32) -> Result<Vec<f64>> {
    let first = Instant::now();
    (0..execs)
        .map(|n| {
            std::thread::sleep((PACE * n).saturating_sub(first.elapsed()));
            let begun = Instant::now();
            let status = Command::new(program).arg("1").stdin(Stdio::null()).status()?;
            if !status.success() {
                bail!("{}: {status}", program.display());
            }
            Ok(begun.elapsed().as_secs_f64() * 1e6)
        })
        .collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

impl Execs {
    pub(super) fn render(&self) -> String {
        let [plain, plain_known] = self.plain;
        let line = |what: &str, plain: f64, with: f64| {
            let (held, percent) = (with - plain, (with / plain - 1.0) * 100.0);
            format!("| {what} | {plain:.0} µs | {with:.0} µs | {held:+.0} µs | {percent:+.1} % |\n")
        };
        let head =
            "| a small program, from start to end | plain | with the agent | held | |\n|---|---:|---:|---:|---:|\n";
        [
            head.to_owned(),
            line("one of the system, while others are watched", plain, self.unmatched),
            line("the same, while a program is measured that did not start it", plain, self.foreign),
            line("one that is known and armed", plain_known, self.known),
        ]
        .concat()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "name": "execs",
            "plain_us": self.plain,
            "unmatched_us": self.unmatched,
            "foreign_us": self.foreign,
            "known_us": self.known,
        })
    }
}
