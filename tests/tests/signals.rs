//! Signals reach the program as they would without the agent, and what was counted until then is
//! written, whoever is killed.

use cov_tests::{Agent, Build, agent_path, fixture, kernel, scratch};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

fn send(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes two numbers.
    #[expect(unsafe_code, reason = "kill(2) has no safe wrapper in libc")]
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "kill {pid} {signal}: {}", std::io::Error::last_os_error());
}

fn build(dir: &Path) -> PathBuf {
    let program = dir.join("echo");
    Build::with("gcc", dir).args(["-g", "-o"]).args([&program, &fixture("cli/echo.c")]).run();
    program
}

/// `echo`, running, its input and output held here.
struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Conversation {
    /// Starts `command` in a process group of its own and waits until the program is ready.
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut conversation = Self { child, input, output };
        assert_eq!(conversation.line(), "ready\n");
        conversation
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Has `count` bytes echoed.
    fn echo(&mut self, count: usize) {
        let bytes = vec![b'x'; count];
        self.input.as_mut().unwrap().write_all(&bytes).unwrap();
        let mut echoed = vec![0; count];
        self.output.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, bytes);
    }

    /// Ends the input, and gives the rest of the output, the status and what stderr said.
    fn end(mut self) -> (String, ExitStatus, String) {
        drop(self.input.take());
        let (mut rest, mut errors) = (String::new(), String::new());
        self.output.read_to_string(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (rest, self.child.wait().unwrap(), errors)
    }
}

/// The program: the agent has other children, which look after signals and probes.
fn child_of(pid: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let name = |child: &str| std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    let mut children = children.split_whitespace().filter(|child| name(child) == "echo\n");
    let child = children.next().unwrap().parse().unwrap();
    assert_eq!(children.next(), None, "the agent has one program");
    child
}

/// The count of the line of the fixture that `mark` ends.
fn count(output: &Path, mark: &str) -> Option<u64> {
    let text = std::fs::read_to_string(fixture("cli/echo.c")).unwrap();
    let line = 1 + text.lines().position(|line| line.ends_with(&format!("// counts: {mark}"))).unwrap();
    let coverage = cov_tests::Coverage::read_lcov(&output.join("lcov.info"));
    coverage.file("cli/echo.c").lines.get(&u32::try_from(line).unwrap()).copied()
}

/// A conversation with a measured `echo`.
fn measured(args: &[&str]) -> Option<(tempfile::TempDir, Agent, Conversation)> {
    if !kernel() {
        return None;
    }
    let dir = scratch();
    let mut agent = Agent::run_with(&["--include", "**", "-q"], &build(dir.path()));
    agent.command().args(args);
    let conversation = Conversation::start(agent.command());
    Some((dir, agent, conversation))
}

#[test]
fn deadly_signals_to_the_agent_reach_the_program() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1] {
        let Some((_dir, agent, mut talk)) = measured(&["catch nothing"]) else { return };
        talk.echo(5);
        send(talk.pid(), signal);
        // Its output ends with it; its input must not end before.
        assert_eq!(talk.line(), "");
        let (rest, status, errors) = talk.end();
        assert_eq!((rest.as_str(), status.code()), ("", Some(128 + signal)), "{errors}");
        assert_eq!(count(agent.output_dir(), "byte"), Some(5));
        assert_eq!(count(agent.output_dir(), "end"), Some(0));
    }
}

/// A suite that is interrupted keeps what its tests had run until then, each for itself.
#[test]
fn an_interrupted_suite_keeps_its_contexts() {
    if !kernel() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let dir = scratch();
        let mut agent = Agent::test_with(&["--include", "**", "-q"], &build(dir.path())).arg("catch nothing");
        let mut talk = Conversation::start(agent.command());
        talk.echo(5);
        send(talk.pid(), signal);
        assert_eq!(talk.line(), "");
        let (_, status, errors) = talk.end();
        assert_eq!(status.code(), Some(128 + signal), "{errors}");
        assert_eq!(count(agent.output_dir(), "byte"), Some(5));
        let json: Value =
            serde_json::from_slice(&std::fs::read(agent.output_dir().join("coverage.json")).unwrap()).unwrap();
        let (_, file) = json["files"].as_object().unwrap().iter().find(|(path, _)| path.ends_with("echo.c")).unwrap();
        let contexts = file["cov_agent"]["contexts"].as_object().unwrap();
        let named: Vec<_> = contexts.iter().filter(|(name, _)| name.contains("echo")).collect();
        assert_eq!(named.len(), 1, "{contexts:?}");
        assert!(named[0].1["counts"].as_object().unwrap().values().any(|count| *count == 5), "{contexts:?}");
    }
}

#[test]
fn signals_that_the_program_catches_are_the_programs_affair() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1] {
        let Some((_dir, agent, mut talk)) = measured(&[]) else { return };
        send(talk.pid(), signal);
        assert_eq!(talk.line(), format!("signal {signal:02}\n"));
        talk.echo(2);
        let (rest, status, errors) = talk.end();
        assert_eq!((rest.as_str(), status.code()), ("", Some(3)), "{errors}");
        assert_eq!(count(agent.output_dir(), "signal"), Some(1));
        assert_eq!(count(agent.output_dir(), "byte"), Some(2));
        assert_eq!(count(agent.output_dir(), "end"), Some(1));
    }
}

/// `kill -SIGNAL -- -PGID`, as `timeout` and CI systems do it: the program gets it from the sender, and
/// not a second time from the agent. What comes to the agent alone afterwards is passed on.
#[test]
fn a_signal_to_the_group_arrives_once() {
    for signal in [libc::SIGINT, libc::SIGHUP] {
        let Some((_dir, agent, mut talk)) = measured(&[]) else { return };
        for _ in 0..3 {
            send(-talk.pid(), signal);
            assert_eq!(talk.line(), format!("signal {signal:02}\n"));
            // Once the agent has passed this on, it has read the one before: it reads the lowest first.
            send(talk.pid(), libc::SIGUSR1);
            assert_eq!(talk.line(), "signal 10\n");
        }
        send(talk.pid(), signal);
        assert_eq!(talk.line(), format!("signal {signal:02}\n"));
        talk.echo(2);
        let (rest, status, errors) = talk.end();
        assert_eq!((rest.as_str(), status.code()), ("", Some(3)), "{errors}");
        assert_eq!(count(agent.output_dir(), "signal"), Some(7));
    }
}

/// Who looks for the agent by its command line finds no other process to signal in its place.
#[test]
fn a_signal_by_name_reaches_the_program() {
    let Some((_dir, agent, mut talk)) = measured(&[]) else { return };
    let output = agent.output_dir().to_str().unwrap();
    assert!(Command::new("pkill").args(["-TERM", "-f", "--", output]).status().unwrap().success());
    assert_eq!(talk.line(), "signal 15\n");
    let (rest, status, errors) = talk.end();
    assert_eq!((rest.as_str(), status.code()), ("", Some(3)), "{errors}");
    assert_eq!(count(agent.output_dir(), "signal"), Some(1));
}

/// Ctrl-C on a terminal goes to the foreground group: the agent and the program.
#[test]
fn an_interrupt_from_the_terminal_arrives_once() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    let output = dir.path().join("coverage");
    let words = format!(
        "exec {} run -q --include '**/cli/*' --output {} -- {}",
        agent_path().display(),
        output.display(),
        program.display()
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &words, "/dev/null"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut screen = BufReader::new(terminal.stdout.take().unwrap());
    wait_for(&mut screen, "ready");
    keys.write_all(b"\x03").unwrap();
    wait_for(&mut screen, "signal 02");
    keys.write_all(b"\x04").unwrap();
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("signal"), "{rest}");
    assert_eq!(terminal.wait().unwrap().code(), Some(3), "{rest}");
    assert_eq!(count(&output, "signal"), Some(1));
    assert_eq!(count(&output, "end"), Some(1));
}

#[test]
fn killed_program() {
    for signal in [libc::SIGKILL, libc::SIGSEGV] {
        let Some((_dir, agent, mut talk)) = measured(&[]) else { return };
        talk.echo(7);
        send(child_of(talk.pid()), signal);
        assert_eq!(talk.line(), "");
        let (rest, status, errors) = talk.end();
        assert_eq!((rest.as_str(), status.code()), ("", Some(128 + signal)), "{errors}");
        assert_eq!(count(agent.output_dir(), "byte"), Some(7));
    }
}

#[test]
fn a_stopped_program_stops_the_agent_and_both_go_on() {
    let Some((_dir, agent, mut talk)) = measured(&[]) else { return };
    let pid = talk.pid();
    send(-pid, libc::SIGTSTP);
    // As a shell waits for its job.
    let mut status = 0;
    // SAFETY: `status` lives for the call.
    #[expect(unsafe_code, reason = "std cannot wait for a stop")]
    let stopped = unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
    assert_eq!(stopped, pid);
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
    send(-pid, libc::SIGCONT);
    talk.echo(3);
    let (_, status, errors) = talk.end();
    assert_eq!(status.code(), Some(3), "{errors}");
    assert_eq!(count(agent.output_dir(), "byte"), Some(3));
}

#[test]
fn the_program_outlives_a_killed_agent() {
    let Some((_dir, _agent, mut talk)) = measured(&[]) else { return };
    talk.echo(2);
    send(talk.pid(), libc::SIGKILL);
    assert_eq!(talk.child.wait().unwrap().signal(), Some(9));
    talk.echo(3);
    drop(talk.input.take());
    let mut rest = String::new();
    talk.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn attached_agent_ends_at_a_signal_and_leaves_the_program() {
    if !kernel() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let dir = scratch();
        let program = build(dir.path());
        let mut talk = Conversation::start(&mut Command::new(&program));
        let mut agent = Agent::attach(&[talk.child.id()]);
        agent.command().arg("-v").stderr(Stdio::piped());
        let mut attached = agent.command().spawn().unwrap();
        let mut said = BufReader::new(attached.stderr.take().unwrap());
        wait_for(&mut said, "attached");
        talk.echo(4);
        send(i32::try_from(attached.id()).unwrap(), signal);
        let status = attached.wait().unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert_eq!(status.code(), Some(0), "{rest}");
        assert_eq!(count(agent.output_dir(), "byte"), Some(4));
        talk.echo(1);
        assert_eq!(talk.end().1.code(), Some(3));
    }
}

#[test]
fn attached_agent_ends_with_the_program_or_after_its_time() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    let mut talk = Conversation::start(&mut Command::new(&program));
    let mut agent = Agent::attach(&[talk.child.id()]);
    let mut attached = agent.command().arg("-v").stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(attached.stderr.take().unwrap());
    wait_for(&mut said, "attached");
    talk.echo(9);
    // A second agent, for no time at all.
    let timed = Agent::attach(&[talk.child.id()]).arg("--duration").arg("0.05").go();
    assert_eq!(timed.process.status.code(), Some(0), "{}", timed.stderr());
    assert_eq!(talk.end().1.code(), Some(3));
    assert_eq!(attached.wait().unwrap().code(), Some(0));
    assert_eq!(count(agent.output_dir(), "byte"), Some(9));
    assert_eq!(count(agent.output_dir(), "end"), Some(1));
    assert!(agent_path().exists());
}

/// Reads on until a line of `said` holds `word`.
fn wait_for(said: &mut impl std::io::BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "the agent ended without saying {word:?}");
    }
}
