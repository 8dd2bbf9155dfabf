//! What an agent had counted survives it, and nothing else of it does.

use cov_tests::{Agent, Coverage, agent_command, compile, kernel, mount, own_run_directory, scratch, send};
use std::fs::{read_dir, read_to_string};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that nobody holds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The agent at a shell that does `script`, with its output in `dir`.
fn start(dir: &Path, script: &str) -> Child {
    start_with(&[], dir, script)
}

fn start_with(options: &[&str], dir: &Path, script: &str) -> Child {
    let mut command = agent_command();
    command.args(["run", "--include", "**/tests/fixtures/**", "--output"]).arg(dir.join("out"));
    command.args(options).args(["--", "/bin/sh", "-c", script]).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(agent: &Child, signal: i32) {
    send(agent.id().cast_signed(), signal);
}

/// Kills the agent. Nobody waits for what it held.
fn kill(agent: &mut Child) {
    signal(agent, libc::SIGKILL);
    agent.wait().unwrap();
    let begun = Instant::now();
    assert!(Command::new("true").status().unwrap().success());
    assert!(begun.elapsed() < PATIENCE, "an exec was held");
}

fn recover(args: &[&str]) -> Output {
    let output = agent_command().arg("recover").args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn recovered(dir: &Path) -> (Coverage, serde_json::Value) {
    recover(&[]);
    assert_nothing_left();
    let json = std::fs::read(dir.join("out/coverage.json")).unwrap();
    (Coverage::read_lcov(&dir.join("out/lcov.info")), serde_json::from_slice(&json).unwrap())
}

fn assert_nothing_left() {
    for directory in ["/run/cov-agent", "/sys/fs/bpf/cov-agent"] {
        let left: Vec<_> = read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

#[test]
fn a_clean_end_leaves_nothing_behind() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = Agent::run(&program).arg("3").go();
    assert_eq!(outcome.coverage.file("work.c").lines[&7], 3);
    assert_nothing_left();

    let echo = compile(dir.path(), "cli/echo.c", "echo", &[]);
    let mut child = Command::new(echo).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let agent = Agent::attach(&[child.id()]).start();
    assert_eq!(read_dir("/run/cov-agent").unwrap().count(), 1, "it has a journal");
    assert!(Command::new("kill").args(["-INT", &agent.id().to_string()]).status().unwrap().success());
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_nothing_left();
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&recover(&[]).stderr), "cov-agent: nothing to recover\n");
}

/// The agent is stopped, so that it cannot write anything, while the program goes on to its end.
#[test]
fn counts_are_exact_where_the_program_had_ended() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let mut agent = start(dir.path(), &format!("{} 3 && echo $$ && read x && exec {0} 4", program.display()));
    let mut pid = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    signal(&agent, libc::SIGSTOP);
    agent.stdin.take().unwrap().write_all(b"\n").unwrap();
    // The known program is let go without the agent.
    let begun = Instant::now();
    while !read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap().contains(") Z ") {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::yield_now();
    }
    kill(&mut agent);
    let (coverage, json) = recovered(dir.path());
    let lines = &coverage.file("work.c").lines;
    assert_eq!((lines[&4], lines[&6], lines[&7], lines[&13]), (2, 9, 7, 2));
    let losses: Vec<_> = json["cov_agent"]["losses"].as_object().unwrap().keys().collect();
    assert_eq!(losses, ["disarmed-counters"]);
    let (_, file) = json["files"].as_object().unwrap().iter().next().unwrap();
    assert!(file["cov_agent"].get("lower_bounds").is_none(), "{file}");
}

/// Of most contexts the agent has taken the counters from the kernel when it is killed, of others not.
#[test]
fn contexts_survive() {
    const PROGRAMS: u64 = 200;
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let one = |name: &str, rounds: &str| format!("TEST={name} {} {rounds};", program.display());
    let many = format!("n=0; while [ $n -lt {PROGRAMS} ]; do n=$((n+1)); {} done;", one("t$((n % 3))", "$((n % 3))"));
    let script = format!("{many} {} echo done; read x", one("last", "5"));
    let mut agent = start_with(&["--context-from", "env:TEST"], dir.path(), &script);
    let mut line = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "done\n");
    // The agent hears of them in their order.
    let run = read_dir("/run/cov-agent").unwrap().next().unwrap().unwrap().path();
    let heard = |name: &[u8]| std::fs::read(run.join("contexts")).unwrap().windows(name.len()).any(|one| one == name);
    let begun = Instant::now();
    while !heard(b"last") {
        assert!(begun.elapsed() < PATIENCE, "it does not hear");
        std::thread::yield_now();
    }
    let pins = PathBuf::from("/sys/fs/bpf/cov-agent").join(run.file_name().unwrap());
    assert!(pins.join("CONTEXT_COUNTERS").exists());
    kill(&mut agent);
    let (coverage, json) = recovered(dir.path());
    let of = |remainder: u64| (1..=PROGRAMS).filter(|n| n % 3 == remainder).count() as u64;
    let (_, file) = json["files"].as_object().unwrap().iter().next().unwrap();
    let contexts = file["cov_agent"]["contexts"].as_object().unwrap();
    let count = |name: &str, line: &str| contexts[name]["counts"][line].as_u64().unwrap_or(0);
    for (name, runs, rounds) in [("t0", of(0), 0), ("t1", of(1), 1), ("t2", of(2), 2), ("last", 1, 5)] {
        assert_eq!((count(name, "12"), count(name, "7")), (runs, runs * rounds), "{name}: {contexts:?}");
    }
    assert_eq!(contexts.len(), 4, "{contexts:?}");
    assert_eq!(coverage.file("work.c").lines[&7], of(1) + 2 * of(2) + 5);
    let losses: Vec<_> = json["cov_agent"]["losses"].as_object().unwrap().keys().collect();
    assert_eq!(losses, ["disarmed-counters"]);
}

/// What had stopped counting to save time is no more exact for having been recovered.
#[test]
fn counters_that_had_stopped_give_lower_bounds() {
    if kernel() {
        stopped(&[], |file| file);
    }
}

#[test]
fn counters_that_had_stopped_give_lower_bounds_in_their_contexts() {
    if kernel() {
        stopped(&["--context-from=arg:1"], |file| &file["contexts"]["200000"]);
    }
}

fn stopped(options: &[&str], counted: impl Fn(&serde_json::Value) -> &serde_json::Value) {
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "cli/hot.c", "hot", &[]);
    let script = format!("echo $$ && {} 200000 && read x && exit 7", program.display());
    let mut agent = start_with(options, dir.path(), &script);
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let words: Vec<String> = (0..3).map(|_| lines.next().unwrap().unwrap()).collect();
    assert_eq!(words[1..], ["begin", "400001"]);
    signal(&agent, libc::SIGSTOP);
    agent.stdin.take().unwrap().write_all(b"\n").unwrap();
    let begun = Instant::now();
    while !read_to_string(format!("/proc/{}/stat", words[0])).unwrap().contains(") Z ") {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::yield_now();
    }
    kill(&mut agent);
    let (coverage, json) = recovered(dir.path());
    let lines = &coverage.file("hot.c").lines;
    assert!((1000..100_000).contains(&lines[&11]), "{lines:?}");
    assert_eq!((lines[&5], lines[&17], lines[&19], lines[&27]), (1, 0, 1, 1));
    let (_, file) = json["files"].as_object().unwrap().iter().next().unwrap();
    let of = |counted: &serde_json::Value| -> Vec<u64> {
        counted["lower_bounds"].as_array().unwrap().iter().map(|line| line.as_u64().unwrap()).collect()
    };
    let (whole, bounds) = (of(&file["cov_agent"]), of(counted(&file["cov_agent"])));
    assert_eq!(whole, bounds);
    assert!(bounds.contains(&11) && !bounds.contains(&5) && !bounds.contains(&27), "{bounds:?}");
}

#[test]
fn a_later_start_tells_and_discarding_ends_it() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let mut agent = start(dir.path(), &format!("{} 3 && echo done && read x", program.display()));
    let mut line = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    kill(&mut agent);
    let outcome = Agent::run(&program).arg("1").dir(dir.path()).go();
    assert!(outcome.stderr().contains("cov-agent recover writes it"), "{}", outcome.stderr());
    let elsewhere = Agent::run(&program).arg("1").dir(Path::new("/")).go();
    assert!(!elsewhere.stderr().contains("recover"), "{}", elsewhere.stderr());
    assert_eq!(read_dir("/run/cov-agent").unwrap().count(), 1);
    recover(&["--discard"]);
    assert_nothing_left();
    assert!(!dir.path().join("out/lcov.info").exists());
    let outcome = Agent::run(&program).arg("1").dir(dir.path()).go();
    assert!(!outcome.stderr().contains("recover"), "{}", outcome.stderr());
}

/// At random moments, with processes at work at the same time: they end as they would, and what they had done until
/// then is counted.
#[test]
fn killed_at_random_moments() {
    const PROCESSES: u64 = 4;
    const STEPS: u64 = 400;
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let kills = std::env::var("COV_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let dir = scratch();
    let program = compile(dir.path(), "c/steps.c", "steps", &[]);
    let one = format!("{} {STEPS} || echo failed", program.display());
    let script = format!("{} wait; echo end", format!("({one}) & ").repeat(PROCESSES as usize));
    let mut random = u64::from(std::process::id());
    for round in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = (random >> 33) % (PROCESSES * STEPS);
        let mut agent = start(dir.path(), &script);
        let mut output = agent.stdout.take().unwrap();
        let mut seen = vec![0; usize::try_from(moment).unwrap()];
        output.read_exact(&mut seen).unwrap();
        kill(&mut agent);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        let total = String::from_utf8(seen).unwrap() + &rest;
        assert_eq!(total, ".".repeat((PROCESSES * STEPS) as usize) + "end\n", "round {round}: all ended as they would");

        // Where all had ended, the agent may have written its results before it was killed.
        recover(&[]);
        let lcov = dir.path().join("out/lcov.info");
        let coverage = if lcov.exists() { Coverage::read_lcov(&lcov) } else { Coverage::default() };
        let counted = coverage.files.iter().find(|(path, _)| path.ends_with("steps.c")).map_or(0, |(_, f)| f.lines[&6]);
        assert!((moment..=PROCESSES * STEPS).contains(&counted), "round {round}: {counted} of {moment}");
        let _ = std::fs::remove_dir_all(dir.path().join("out"));
    }
}

#[test]
fn without_room_for_a_journal_the_run_goes_on() {
    if !kernel() {
        return;
    }
    own_run_directory("nr_inodes=8");
    (0..8).for_each(|n| drop(std::fs::write(format!("/run/{n}"), "")));
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = Agent::run(&program).arg("3").go();
    assert_eq!(outcome.coverage.file("work.c").lines[&7], 3);
    let stderr = outcome.stderr();
    assert_eq!(stderr.matches("(interrupted)").count(), 1, "{stderr}");
    assert!(stderr.contains("a killed agent's counts would be lost"), "{stderr}");
}

#[test]
fn counts_that_could_not_be_written_are_kept() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs", out.to_str().unwrap()]);
    let agent = start(dir.path(), &format!("{} 3; cat /dev/zero >out/full 2>/dev/null; exit 5", program.display()));
    let output = agent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("(disk-full)"), "{}", said(&output));
    assert!(said(&output).contains("the counts are kept"), "{}", said(&output));
    std::fs::remove_file(out.join("full")).unwrap();
    let (coverage, _) = recovered(dir.path());
    assert_eq!(coverage.file("work.c").lines[&7], 3);
    assert!(read_to_string(out.join("coverage.json")).unwrap().contains("work.c"));
    assert!(Command::new("umount").arg(&out).status().unwrap().success());
}
