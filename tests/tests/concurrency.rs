//! Many processes, many threads, many agents: counts are sums, exactly.

use cov_tests::{Agent, Build, Coverage, agent_command, assert_counts, expected, fixture, kernel, scratch, sources};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Builds a fixture without optimisation.
fn compile(dir: &Path, name: &str, output: &str, flags: &[&str]) -> PathBuf {
    let program = dir.join(output);
    Build::with("gcc", dir).args(["-O0", "-g", "-pthread"]).arg(fixture(name)).args(["-o", output]).args(flags).run();
    program
}

/// `crowd.c` twice, with the shared library of both.
fn crowd(dir: &Path) -> [PathBuf; 2] {
    compile(dir, "c/library.c", "libwork.so", &["-fPIC", "-shared"]);
    let link = ["-L.", "-lwork", "-Wl,-rpath,$ORIGIN"];
    [("fifty", "-DROUNDS=50"), ("seventy", "-DROUNDS=70")].map(|(output, rounds)| {
        let flags: Vec<_> = [rounds].into_iter().chain(link).collect();
        compile(dir, "c/crowd.c", output, &flags)
    })
}

const LOOP: &str = "for (int i = 0; i < ROUNDS; i++)";
const CALL: &str = "sum += library_twice(i);";

/// The count of the line of `source` that contains `text`.
fn count(coverage: &Coverage, source: &str, text: &str) -> u64 {
    let contents = std::fs::read_to_string(fixture(source)).unwrap();
    let line = contents.lines().position(|line| line.contains(text)).unwrap() + 1;
    let file = coverage.file(Path::new(source).file_name().unwrap().to_str().unwrap());
    file.lines[&u32::try_from(line).unwrap()]
}

/// Reads `n` bytes of the child's output: each is a process that is ready.
fn wait_for(child: &mut Child, n: usize) {
    child.stdout.as_mut().unwrap().read_exact(&mut vec![0; n]).unwrap();
}

fn release(child: &mut Child, n: usize) {
    child.stdin.take().unwrap().write_all(&vec![b'g'; n]).unwrap();
}

/// Eight agents at once, each running one of two programs that share a library; each program forks
/// four workers, each of which forks again.
#[test]
fn eight_agents_with_four_workers_each() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let programs = crowd(dir.path());
    let mut running: Vec<_> = (0..8)
        .map(|i| {
            let mut agent = Agent::run(&programs[i % 2]).arg("4");
            let command = agent.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().unwrap();
            (agent, child)
        })
        .collect();
    for (_, child) in &mut running {
        wait_for(child, 4);
    }
    for (_, child) in &mut running {
        release(child, 4);
    }
    for (i, (agent, child)) in running.into_iter().enumerate() {
        let outcome = agent.collect(child.wait_with_output().unwrap());
        assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
        let rounds = [50, 70][i % 2];
        assert_eq!(count(&outcome.coverage, "c/crowd.c", LOOP), 8 * (rounds + 1), "agent {i}");
        assert_eq!(count(&outcome.coverage, "c/crowd.c", CALL), 8 * rounds, "agent {i}");
        // Once more for the library's constructor, which runs once, before the forks.
        assert_eq!(count(&outcome.coverage, "c/library.c", "return 2 * x;"), 8 * rounds + 1, "agent {i}");
    }
}

/// One agent begins before another one writes into their directory, and ends after it: it adds its counts.
#[test]
fn two_agents_in_one_directory() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let [fifty, seventy] = crowd(dir.path());
    let mut long = Agent::run(&fifty).arg("4");
    let piped = |command: &mut Command| {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut begun = piped(long.command());
    wait_for(&mut begun, 4);
    let mut short = agent_command();
    short.arg("run").args(sources()).arg("--output").arg(long.output_dir()).arg("--").arg(&seventy).arg("4");
    let mut other = piped(&mut short);
    wait_for(&mut other, 4);
    release(&mut other, 4);
    let done = other.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    release(&mut begun, 4);
    let outcome = long.collect(begun.wait_with_output().unwrap());
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(count(&outcome.coverage, "c/crowd.c", LOOP), 8 * 51 + 8 * 71);
    assert_eq!(count(&outcome.coverage, "c/crowd.c", CALL), 8 * 50 + 8 * 70);
}

/// One agent attached to 32 processes of two programs that share a library; each forks once.
#[test]
fn one_agent_with_32_pids() {
    attached_to_a_crowd(1, 32);
}

/// Agents do not take counts from each other: each counts all that the processes do.
#[test]
fn eight_agents_on_the_same_pids() {
    attached_to_a_crowd(8, 4);
}

fn attached_to_a_crowd(agents: usize, processes: usize) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let programs = crowd(dir.path());
    let mut children: Vec<_> = (0..processes)
        .map(|i| Command::new(&programs[i % 2]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in &mut children {
        wait_for(child, 1);
    }
    let pids: Vec<_> = children.iter().map(Child::id).collect();
    let attached: Vec<_> = (0..agents).map(|_| Agent::attach(&pids).start()).collect();
    for child in &mut children {
        release(child, 1);
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let pairs = u64::try_from(processes / 2).unwrap();
    for attached in attached {
        let outcome = attached.finish();
        assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
        assert_eq!(count(&outcome.coverage, "c/crowd.c", LOOP), pairs * 2 * (51 + 71));
        assert_eq!(count(&outcome.coverage, "c/crowd.c", CALL), pairs * 2 * (50 + 70));
        assert_eq!(count(&outcome.coverage, "c/library.c", "return 2 * x;"), pairs * 2 * (50 + 70));
    }
}

/// Increments are atomic: two processes that take one CPU from each other lose no count.
#[test]
fn two_processes_pinned_to_one_cpu() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/pinned.c", "pinned", &[]);
    let outcome = Agent::run(&program).go();
    assert_counts("pinned.c", &expected(&fixture("c/pinned.c"), "gcc"), outcome.coverage.file("pinned.c"));
}

/// Attaching to 16 threads while they create more: nothing crashes, and what runs afterwards is
/// counted exactly.
#[test]
fn attach_to_threads_that_create_more() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/spawner.c", "spawner", &[]);
    let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for(&mut child, "ready\n".len());
    let attached = Agent::attach(&[child.id()]).start();
    child.stdin.as_mut().unwrap().write_all(b"c").unwrap();
    wait_for(&mut child, ".\n".len());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let outcome = attached.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(count(&outcome.coverage, "c/spawner.c", "atomic_fetch_add(&sum, x);"), 16 * 500);
}
