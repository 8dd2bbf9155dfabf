//! Running the agent as a person does.

use crate::executable::{PATIENCE, agent_command};
use crate::{Coverage, workspace};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

/// The options that choose what is measured: sources of this repository, and of registry packages.
/// Never all there are: where the C library has debug info, that would arm probes in every process of
/// the machine.
#[must_use]
pub fn sources() -> [String; 4] {
    let here = format!("{}/**", workspace().display());
    ["--include".to_owned(), here, "--include".to_owned(), "**/registry/src/**".to_owned()]
}

/// One call of the agent, its output going to a directory of its own.
#[derive(Debug)]
pub struct Agent {
    command: Command,
    output: tempfile::TempDir,
}

/// What the line begins with that the agent prints when its probes are armed.
const ATTACHED: [&str; 2] = ["cov-agent: attached", "cov-agent: watching"];

/// The agent's process. It is told to end where a test fails before it has.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let process = self.0.id().cast_signed();
            [libc::SIGTERM, libc::SIGCONT].into_iter().for_each(|signal| send(process, signal));
        }
    }
}

/// An agent that has armed its probes.
#[derive(Debug)]
pub struct Attached {
    agent: Agent,
    process: Process,
    stderr: BufReader<ChildStderr>,
    said: String,
}

/// A program under the agent that a test speaks with.
#[derive(Debug)]
pub struct Talk {
    agent: Agent,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    heard: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Status, standard output and error of the agent, and so of the program.
    pub process: Output,
    /// `lcov.info`, read.
    pub coverage: Coverage,
    /// `coverage.json`, read.
    pub json: serde_json::Value,
    /// Where all of it lies.
    pub output: tempfile::TempDir,
}

impl Agent {
    /// `cov-agent run -- PROGRAM`, for the sources that tests compile.
    #[must_use]
    pub fn run(program: &Path) -> Self {
        Self::run_with::<&str>(&[], program)
    }

    /// The same with further options before `--`.
    #[must_use]
    pub fn run_with<S: AsRef<OsStr>>(options: &[S], program: &Path) -> Self {
        Self::command_with("run", options, program)
    }

    /// `cov-agent test -- PROGRAM`, for the sources that tests compile.
    #[must_use]
    pub fn test(program: &Path) -> Self {
        Self::test_with::<&str>(&[], program)
    }

    /// The same with further options before `--`.
    #[must_use]
    pub fn test_with<S: AsRef<OsStr>>(options: &[S], program: &Path) -> Self {
        Self::command_with("test", options, program)
    }

    fn command_with<S: AsRef<OsStr>>(command: &str, options: &[S], program: &Path) -> Self {
        let mut agent = Self::new();
        agent.command.arg(command).args(sources()).arg("--output").arg(agent.output.path());
        agent.command.args(options).arg("--").arg(program);
        agent
    }

    /// `cov-agent --pid PID…`, for the sources that tests compile.
    #[must_use]
    pub fn attach(pids: &[u32]) -> Self {
        let mut agent = Self::new();
        for pid in pids {
            agent.command.arg("--pid").arg(pid.to_string());
        }
        agent.command.args(sources()).arg("--output").arg(agent.output.path());
        agent
    }

    /// `cov-agent watch`, for the sources that tests compile.
    #[must_use]
    pub fn watch<S: AsRef<OsStr>>(options: &[S]) -> Self {
        let mut agent = Self::new();
        agent.command.arg("watch").args(sources()).arg("--output").arg(agent.output.path()).args(options);
        agent
    }

    fn new() -> Self {
        let mut command = agent_command();
        // Each test plans for itself, and leaves nothing in the home directory; most are about exact counts.
        command.stdin(Stdio::null()).env("COV_AGENT_PLAN_CACHE", "false").env("COV_AGENT_OVERHEAD", "none");
        Self { command, output: crate::scratch() }
    }

    /// Adds an argument: after [`Agent::run`] one of the program.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments, likewise.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Sets the directory that the agent, and so the program, starts in.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Has programs let go as users have it, after half a second: for tests that keep the agent from answering.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.command.env_remove(PATIENCE.0);
        self
    }

    /// The call itself, to start or change it by hand.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Where the agent writes.
    #[must_use]
    pub fn output_dir(&self) -> &Path {
        self.output.path()
    }

    /// Starts it and returns once its probes are armed.
    ///
    /// # Panics
    /// Where it ends before.
    #[must_use]
    pub fn start(self) -> Attached {
        self.try_start().unwrap_or_else(|said| panic!("the agent ended before it was attached\n{said}"))
    }

    /// The same; where it ends before, what it said.
    ///
    /// # Errors
    /// It ends before.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn try_start(mut self) -> Result<Attached, String> {
        let mut child = self.command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().any(|line| ATTACHED.iter().any(|start| line.starts_with(start))) {
            let read = stderr.read_line(&mut said).unwrap();
            if read == 0 {
                child.wait().unwrap();
                return Err(said);
            }
        }
        Ok(Attached { agent: self, process: Process(child), stderr, said })
    }

    /// Starts it with its input and output in the test's hand.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn talk(mut self) -> Talk {
        let command = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Talk { agent: self, process: Process(child), stdin, stdout, heard: String::new() }
    }

    /// Runs it to its end and reads what it wrote.
    ///
    /// # Panics
    /// Where it wrote nothing, with what it said.
    #[must_use]
    pub fn go(mut self) -> Outcome {
        let process = self.command.output().unwrap();
        self.collect(process)
    }

    /// Reads what a call that has ended with `process` wrote.
    ///
    /// # Panics
    /// Where it wrote nothing, with what it said.
    #[must_use]
    pub fn collect(self, process: Output) -> Outcome {
        let lcov = self.output.path().join("lcov.info");
        assert!(
            lcov.exists(),
            "{:?}: {}, nothing written\n{}",
            self.command,
            process.status,
            String::from_utf8_lossy(&process.stderr)
        );
        let json = std::fs::read(self.output.path().join("coverage.json")).unwrap();
        Outcome {
            process,
            coverage: Coverage::read_lcov(&lcov),
            json: serde_json::from_slice(&json).expect("coverage.json"),
            output: self.output,
        }
    }
}

impl Talk {
    /// The agent's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends the agent a signal.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn signal(&self, signal: i32) {
        send(self.id().cast_signed(), signal);
    }

    /// Sends a signal to the process group that it leads.
    ///
    /// # Panics
    /// Where there is none.
    pub fn signal_group(&self, signal: i32) {
        send(-self.id().cast_signed(), signal);
    }

    /// Waits for a line of the program's.
    ///
    /// # Panics
    /// Where its output ends before.
    pub fn hear(&mut self, line: &str) {
        loop {
            let from = self.heard.len();
            let read = self.stdout.read_line(&mut self.heard).unwrap();
            assert_ne!(read, 0, "{line} was not said: {}", self.heard);
            if self.heard.get(from..).map(str::trim_end) == Some(line) {
                return;
            }
        }
    }

    /// Gives the program an empty line.
    ///
    /// # Panics
    /// Where it does not read any more.
    pub fn say(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Ends the program's input, waits until the agent ends and reads what it wrote.
    ///
    /// # Panics
    /// Where it wrote nothing, with what it said.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        drop(self.stdin.take());
        self.stdout.read_to_string(&mut self.heard).unwrap();
        let mut stderr = Vec::new();
        self.process.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        let status = self.process.0.wait().unwrap();
        self.agent.collect(Output { status, stdout: self.heard.into_bytes(), stderr })
    }
}

impl Attached {
    /// The agent's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn signal(&self, signal: i32) {
        send(self.id().cast_signed(), signal);
    }

    /// Where the agent writes.
    #[must_use]
    pub fn output_dir(&self) -> &Path {
        self.agent.output.path()
    }

    /// Kills it and reads what it had written.
    ///
    /// # Panics
    /// Where that is nothing.
    #[must_use]
    pub fn kill(mut self) -> Outcome {
        self.process.0.kill().unwrap();
        self.finish()
    }

    /// Waits until it ends and reads what it wrote.
    ///
    /// # Panics
    /// Where it wrote nothing, with what it said.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let status = self.process.0.wait().unwrap();
        self.agent.collect(Output { status, stdout: Vec::new(), stderr: self.said.into_bytes() })
    }
}

/// Sends a signal to a process that was not waited for, or to a group.
///
/// # Panics
/// Where there is none.
pub fn send(process: i32, signal: i32) {
    // SAFETY: takes two integers.
    #[expect(unsafe_code, reason = "a signal has no other way")]
    let sent = unsafe { libc::kill(process, signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

impl Outcome {
    /// The lines of the file whose path ends in `name` that the report calls not measurable.
    ///
    /// # Panics
    /// Where `coverage.json` has another form.
    #[must_use]
    pub fn not_measurable(&self, name: &str) -> BTreeSet<u32> {
        let files = self.json["files"].as_object().unwrap();
        let mut files = files.iter().filter(|(path, _)| Path::new(path).ends_with(name));
        let lines = files.next().map(|(_, file)| &file["cov_agent"]["not_measurable"]).and_then(|v| v.as_object());
        lines.into_iter().flatten().map(|(line, _)| line.parse().unwrap()).collect()
    }

    /// The agent's standard error, as text.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.process.stderr).into_owned()
    }

    /// The program's standard output, as text.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.process.stdout).into_owned()
    }
}
