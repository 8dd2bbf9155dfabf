//! Lines of Python before 3.12, counted in the kernel at the probe `python:line` of Debian's interpreter. Of a copy of it:
//! the original is everybody's.

use cov_tests::{Agent, Coverage, Workdir, agent_command, assert_counts, copy_python, expected, fixture, kernel};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PYTHON: &str = "/usr/bin/python3.11";

/// A directory with a copy of the interpreter, if the agent can run here.
fn workdir() -> Option<(Workdir, PathBuf)> {
    if !kernel() {
        return None;
    }
    let dir = Workdir::new(&[]);
    let python = dir.path().join("python");
    std::fs::copy(PYTHON, &python).unwrap_or_else(|e| panic!("{PYTHON}, of the package python3.11: {e}"));
    Some((dir, python))
}

fn run(dir: &Workdir, python: &Path, args: &[&str]) -> String {
    let mut command = agent_command();
    command.args(["run", "--python", "usdt", "--"]).arg(python).args(args).current_dir(dir.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

#[test]
fn every_line_is_counted() {
    let Some((dir, python)) = workdir() else { return };
    copy_python(&dir.path(), &["counts.py"]);
    let stderr = run(&dir, &python, &["counts.py"]);
    assert!(stderr.contains("cov-agent: each line that Python enters, of whatever file, costs "), "{stderr}");
    assert!(stderr.contains("cov-agent: the probe python:line counted the lines of 1 process of "), "{stderr}");
    assert!(!stderr.contains("warning"), "{stderr}");
    let coverage = Coverage::read_lcov(&dir.path().join("coverage/lcov.info"));
    assert_counts("usdt", &expected(&fixture("python/counts.py"), "usdt"), coverage.file("counts.py"));
    assert_eq!(coverage.files.len(), 1, "{:?}", coverage.files.keys());
}

/// Programs that are started are counted from their first line, each process by itself.
#[test]
fn processes_that_are_started_are_counted() {
    let Some((dir, python)) = workdir() else { return };
    dir.write("child.py", "import sys\nfor _ in range(int(sys.argv[1])):\n    pass\n");
    let main = "import os, subprocess, sys\nfor n in (1, 2):\n    subprocess.run([sys.executable, 'child.py', str(n)])\n\
                os.execv(sys.executable, [sys.executable, 'child.py', '5'])\n";
    dir.write("main.py", main);
    let stderr = run(&dir, &python, &["main.py"]);
    assert!(stderr.contains(" counted the lines of 3 processes of "), "{stderr}");
    let coverage = Coverage::read_lcov(&dir.path().join("coverage/lcov.info"));
    let lines = |name: &str| coverage.file(name).lines.iter().map(|(line, count)| (*line, *count)).collect::<Vec<_>>();
    assert_eq!(lines("main.py"), [(1, 1), (2, 3), (3, 2), (4, 1)]);
    assert_eq!(lines("child.py"), [(1, 3), (2, 11), (3, 8)]);
}

/// A process of the program, its input, and the lines that it prints.
struct Program(Child, BufReader<std::process::ChildStdout>);

impl Program {
    fn start(python: &Path, dir: &Path) -> Self {
        let mut command = Command::new(python);
        command.arg("attached.py").current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut program = Self(child, stdout);
        program.expect("ready\n");
        program
    }

    fn expect(&mut self, line: &str) {
        let mut said = String::new();
        self.1.read_line(&mut said).unwrap();
        assert_eq!(said, line);
    }

    fn round(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.expect("done\n");
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Only what the process enters while it is attached to, and nothing of another process of the same interpreter.
#[test]
fn a_running_process_is_counted_and_no_other() {
    let Some((dir, python)) = workdir() else { return };
    copy_python(&dir.path(), &["attached.py"]);
    let mut program = Program::start(&python, &dir.path());
    let mut other = Program::start(&python, &dir.path());
    program.round();
    let mut agent = Agent::attach(&[program.0.id()]);
    agent.command().arg("--include").arg(dir.path().join("**")).current_dir(dir.path());
    let attached = agent.start();
    program.round();
    other.round();
    program.round();
    other.end();
    program.end();
    let outcome = attached.finish();
    let mut want = expected(&fixture("python/attached.py"), "python");
    // The lines that ran before, and those of the module that are executed once.
    for line in [2, 5, 12] {
        want.insert(line, cov_tests::Want { count: 0..=0, must: true });
    }
    // The agent attaches while the loop waits in its line: that was entered before, and is once more at the end.
    assert_counts("attached", &want, outcome.coverage.file("attached.py"));
    assert!(!outcome.stderr().contains("warning"), "{}", outcome.stderr());
}

#[test]
fn an_interpreter_without_the_probe_says_so() {
    let Some((dir, _)) = workdir() else { return };
    dir.write("main.sh", "#!/bin/sh\ntrue\n");
    let stderr = run(&dir, Path::new("/bin/sh"), &["main.sh"]);
    assert!(stderr.contains("cov-agent: warning: no Python process was counted: none began, or the interpreter lacks"));
    assert!(stderr.contains("(python)\n"), "{stderr}");
}
