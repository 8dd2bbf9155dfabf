//! However the agent ends, its breakpoints go: from the processes that run on, and for those to come.

use cov_tests::{Agent, Build, fixture, kernel, own_run_directory, scratch};
use std::fs::{File, read_to_string};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BREAKPOINT: u8 = 0xcc;

/// How long the kernel may take to disarm a handful of probes; it takes a twentieth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that waits for input, past its beginning.
fn start(program: &Path) -> Child {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    child
}

/// Lets it end.
fn finish(mut child: Child) {
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

/// How many bytes of the program's code are other in the memory of `pid` than in the file: breakpoints, all of them.
fn breakpoints(pid: u32, program: &Path) -> usize {
    let maps = read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let text = maps.lines().find(|line| line.contains(" r-xp ") && line.ends_with("/echo")).unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let (start, end) = text.split_whitespace().next().unwrap().split_once('-').unwrap();
    let from = number(text.split_whitespace().nth(2).unwrap());
    let read = |file: &str, at: u64| {
        let mut bytes = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
        let length = File::open(file).unwrap().read_at(&mut bytes, at).unwrap();
        bytes.truncate(length);
        bytes
    };
    let (memory, file) = (read(&format!("/proc/{pid}/mem"), number(start)), read(program.to_str().unwrap(), from));
    let changed: Vec<u8> = memory.iter().zip(&file).filter(|(now, then)| now != then).map(|(now, _)| *now).collect();
    assert!(changed.iter().all(|byte| *byte == BREAKPOINT), "{changed:x?}");
    changed.len()
}

/// Ends the agent by `signal` while it measures, with `option`, a program that goes on.
fn ended_by(signal: &str, option: &str) {
    own_run_directory("size=64m");
    let dir = scratch();
    let program = dir.path().join("echo");
    Build::with("gcc", dir.path()).args(["-g", "-o"]).args([&program, &fixture("cli/echo.c")]).run();
    let child = start(&program);
    assert_eq!(breakpoints(child.id(), &program), 0);

    let agent = Agent::attach(&[child.id()]).arg(option).start();
    assert!(breakpoints(child.id(), &program) > 3, "it is armed");
    assert!(Command::new("kill").args([signal, &agent.id().to_string()]).status().unwrap().success());

    let begun = Instant::now();
    while breakpoints(child.id(), &program) > 0 {
        assert!(begun.elapsed() < PATIENCE, "breakpoints stay after {signal}");
        std::thread::yield_now();
    }
    finish(child);
    let later = start(&program);
    assert_eq!(breakpoints(later.id(), &program), 0, "a process that starts later has none");
    finish(later);
}

#[test]
fn an_interrupted_agent_leaves_no_breakpoint() {
    if kernel() {
        ended_by("-INT", "--color=never");
        ended_by("-INT", "--lines-only");
    }
}

/// The kernel does not take away the breakpoints of a process that is killed: another one must.
#[test]
fn a_killed_agent_leaves_no_breakpoint() {
    if kernel() {
        ended_by("-KILL", "--color=never");
        ended_by("-KILL", "--lines-only");
    }
}

/// The same for what the measured program has started.
#[test]
fn a_killed_agent_leaves_no_breakpoint_in_what_was_started() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = dir.path().join("echo");
    Build::with("gcc", dir.path()).args(["-g", "-o"]).args([&program, &fixture("cli/echo.c")]).run();
    let started = format!("exec 3<&0; {} <&3 & echo $!; wait", program.display());
    let mut agent = Agent::run(Path::new("/bin/sh")).arg("-c").arg(started);
    let mut shell = agent.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut words: Vec<String> = (0..2).map(|_| said.next().unwrap().unwrap()).collect();
    words.retain(|word| word != "ready");
    let pid: u32 = words[0].parse().unwrap();
    assert!(breakpoints(pid, &program) > 3, "it is armed");
    // Without its end of the pipe closed, which `wait` does, what was started goes on.
    let input = shell.stdin.take().unwrap();
    shell.kill().unwrap();
    shell.wait().unwrap();
    let begun = Instant::now();
    while breakpoints(pid, &program) > 0 {
        assert!(begun.elapsed() < PATIENCE, "breakpoints stay");
        std::thread::yield_now();
    }
    drop(input);
    let later = start(&program);
    while breakpoints(later.id(), &program) > 0 {
        assert!(begun.elapsed() < PATIENCE, "a process that starts later has breakpoints");
        std::thread::yield_now();
    }
    finish(later);
}
