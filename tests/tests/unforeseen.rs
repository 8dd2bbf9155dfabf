//! What nobody could hold: programs and libraries from memory, or from where none was looked for, what is executed right
//! after a mount, and what runs while the agent is kept from its work. It is measured late, and always told.

use cov_tests::{Agent, Build, Outcome, SHARED, Talk, compile, compile_text, kernel, scratch};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take that nobody holds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of all runs that are told as not measured, those of what `name` is a part of.
fn told(outcome: &Outcome, name: &str) -> bool {
    let losses = &outcome.json["cov_agent"]["losses"]["unattached-objects"];
    losses["count"].as_u64().unwrap_or(0) > 0 && losses["details"].to_string().contains(name)
}

/// How many objects an agent has armed: each has a link, beside those that follow processes.
fn links(agent: &Talk) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap().flatten();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("bpf_link")).count()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_from_memory_is_told() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let starter = compile(dir.path(), "c/memory.c", "memory", &[]);
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = Agent::run(&starter).arg("program").arg(&program).arg("3").go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("memory.c").lines[&34], 1, "{}", outcome.stderr());
    assert!(told(&outcome, "memfd:copied") && outcome.stderr().contains("memfd:copied"), "{}", outcome.stderr());
}

/// It loads the library, and calls it only when the agent has armed it: these calls are counted, and that it may have run
/// before is told.
fn late(way: &str, told_as: &str) {
    if !kernel() {
        return;
    }
    // Beside the working directory, and the repository that it lies in, nothing is searched.
    let (dir, elsewhere) = (scratch(), tempfile::tempdir().unwrap());
    let starter = compile(dir.path(), "c/memory.c", "memory", &[]);
    let library = compile(elsewhere.path(), "c/plugin.c", "plugin.so", &SHARED);
    let mut agent = Agent::run(&starter).arg(way).arg(&library).dir(dir.path()).talk();
    agent.hear("begun");
    let before = links(&agent);
    agent.say();
    agent.hear("loaded");
    wait_for("the library is not armed", || links(&agent) > before);
    (0..5).for_each(|_| agent.say());
    let outcome = agent.finish();
    assert!(outcome.stdout().ends_with("10\n"), "{}", outcome.stdout());
    let lines = &outcome.coverage.file("plugin.c").lines;
    assert_eq!((lines[&8], lines[&9], lines[&11]), (5, 5, 5), "{}", outcome.stderr());
    assert!(told(&outcome, told_as), "{}", outcome.stderr());
}

#[test]
fn a_library_from_memory() {
    late("library", "memfd:copied");
}

#[test]
fn a_library_from_where_none_was_looked_for() {
    late("elsewhere", "plugin.so");
}

/// The agent is stopped; what is executed meanwhile is let go, and told with how often it was.
#[test]
fn programs_that_begin_and_end_while_the_agent_is_stopped() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let script = "echo begun; read line; ./work 3; ./work 4; ./work 5; echo ended; read line; ./work 6";
    let mut agent = Agent::run(Path::new("/bin/sh")).impatient().arg("-c").arg(script).dir(dir.path()).talk();
    agent.hear("begun");
    agent.signal(libc::SIGSTOP);
    agent.say();
    agent.hear("ended");
    agent.signal(libc::SIGCONT);
    agent.say();
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let losses = &outcome.json["cov_agent"]["losses"]["unattached-objects"];
    assert!(told(&outcome, "/work: "), "{}", outcome.stderr());
    // The last run is measured if the agent heard of it in time.
    let runs = outcome.coverage.files.values().next().map_or(0, |file| file.lines[&12]);
    assert!(losses["count"].as_u64().unwrap() >= 3 && runs <= 1, "{losses} {runs}");
}

/// It began while the agent was stopped, and goes on when that goes on: what runs then is counted, no more, and told.
#[test]
fn a_program_that_begins_while_the_agent_is_stopped() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = "#include <stdio.h>\nint step(int n) {\n    return n + 1;\n}\nint main(void) {\n    int n = 0;\n    \
                  n = step(n);\n    puts(\"running\");\n    fflush(stdout);\n    while (getchar() == '\\n')\n        \
                  n = step(n);\n    return n != 4;\n}\n";
    compile_text(dir.path(), "slow", source);
    let script = "echo begun; read line; exec ./slow";
    let mut agent = Agent::run(Path::new("/bin/sh")).impatient().arg("-c").arg(script).dir(dir.path()).talk();
    agent.hear("begun");
    let before = links(&agent);
    agent.signal(libc::SIGSTOP);
    agent.say();
    agent.hear("running");
    agent.signal(libc::SIGCONT);
    wait_for("the program is not armed", || links(&agent) > before);
    (0..3).for_each(|_| agent.say());
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let lines = &outcome.coverage.file("slow.c").lines;
    assert_eq!((lines[&3], lines[&7], lines[&11]), (3, 0, 3), "{}", outcome.stderr());
    assert!(told(&outcome, "/slow: "), "{}", outcome.stderr());
}

/// The agent has read the program in time, and is kept from arming it, since nobody reads what it says: the program is let
/// go, and told; what runs afterwards is counted.
#[test]
fn a_program_that_is_let_go_while_it_is_armed() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    // Without libraries, of which the agent would say something before.
    let source = "int step(int n) {\n    return n + 1;\n}\nvoid _start(void) {\n    for (int n = 0; n < 3;)\n        \
                  n = step(n);\n    __asm__ volatile(\"syscall\" : : \"a\"(231), \"D\"(0));\n}\n";
    std::fs::write(dir.path().join("tiny.c"), source).unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-nostdlib", "-static", "-o", "tiny", "tiny.c"]).run();
    let script = "echo begun; read line; ./tiny; echo ended; read line; ./tiny; ./tiny";
    let mut agent =
        Agent::run_with(&["--verbose"], Path::new("/bin/sh")).impatient().args(&["-c", script]).dir(dir.path()).talk();
    agent.hear("begun");
    let stderr = format!("/proc/{}/fd/2", agent.id());
    let mut filler = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&stderr).unwrap();
    let filled: usize = [4096, 1]
        .map(|size| {
            let bytes = vec![b'\n'; size];
            std::iter::repeat_with(|| filler.write(&bytes)).map_while(Result::ok).sum::<usize>()
        })
        .iter()
        .sum();
    agent.say();
    agent.hear("ended");
    drop(filler);
    File::open(&stderr).unwrap().read_exact(&mut vec![0; filled]).unwrap();
    agent.say();
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let losses = &outcome.json["cov_agent"]["losses"]["unattached-objects"];
    assert!(told(&outcome, "/tiny: ") && losses["count"] == 1, "{losses}: {}", outcome.stderr());
    let lines = &outcome.coverage.file("tiny.c").lines;
    assert_eq!((lines[&2], lines[&6], lines[&7]), (6, 6, 2), "{}", outcome.stderr());
}

/// Each program is executed as soon as its file system is mounted: held, and counted, or told.
#[test]
fn programs_right_after_a_mount() {
    const ROUNDS: u64 = 10;
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    std::fs::create_dir(dir.path().join("there")).unwrap();
    let script = format!(
        "for i in $(seq {ROUNDS}); do mount -t tmpfs none there && cp work there/ && there/work 1 && umount --lazy there || \
         exit 9; done"
    );
    let outcome =
        Agent::run(Path::new("/usr/bin/unshare")).args(&["--mount", "/bin/sh", "-c", &script]).dir(dir.path()).go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let counted = outcome.coverage.files.values().next().map_or(0, |file| file.lines[&12]);
    let lost = outcome.json["cov_agent"]["losses"]["unattached-objects"]["count"].as_u64().unwrap_or(0);
    assert!(counted <= ROUNDS && counted + lost >= ROUNDS, "{counted} + {lost}: {}", outcome.stderr());
}
