//! `cov-agent watch` measures what anybody runs, as long as it is wanted.

use cov_tests::{Agent, Attached, Build, Coverage, fixture, kernel, scratch};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn build(dir: &Path, source: &str, output: &str, flags: &[&str]) -> PathBuf {
    Build::with("gcc", dir).args(["-g", "-O0"]).args(flags).arg("-o").arg(output).arg(fixture(source)).run();
    dir.join(output)
}

/// The counts of work.c when it ran `runs` times and looped `loops` times in all.
fn work(runs: u64, loops: u64) -> BTreeMap<u32, u64> {
    let lines = [(4, runs), (5, runs), (6, loops + runs), (7, loops), (8, runs), (9, runs)];
    lines.into_iter().chain([(11, runs), (12, runs), (13, runs)]).collect()
}

fn run(program: &Path, loops: u64) {
    assert!(Command::new(program).arg(loops.to_string()).status().unwrap().success());
}

fn signal(agent: &Attached, signal: i32) {
    // SAFETY: takes two integers.
    #[expect(unsafe_code, reason = "a signal has no other way")]
    let sent = unsafe { libc::kill(agent.id().cast_signed(), signal) };
    assert_eq!(sent, 0);
}

/// All below a directory.
fn below(dir: &Path) -> [String; 2] {
    ["--object".to_owned(), format!("{}/**", dir.canonicalize().unwrap().display())]
}

/// Waits until the results say that work.c has these counts.
fn wait_for_results(agent: &Attached, expected: &BTreeMap<u32, u64>) {
    let path = agent.output_dir().join("lcov.info");
    let begun = Instant::now();
    while !(path.exists() && Coverage::read_lcov(&path).file("work.c").lines == *expected) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", std::fs::read_to_string(&path).unwrap_or_default());
        std::thread::yield_now();
    }
}

#[test]
fn programs_come_and_go_and_are_built_anew() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).start();
    (0..3).for_each(|_| run(&program, 2));
    signal(&agent, libc::SIGUSR1);
    wait_for_results(&agent, &work(3, 6));
    // Another file at the same path, with other instructions.
    std::fs::remove_file(&program).unwrap();
    build(dir.path(), "c/work.c", "work", &["-falign-functions=4096"]);
    run(&program, 3);
    signal(&agent, libc::SIGUSR1);
    wait_for_results(&agent, &work(4, 9));
    // And one written over it.
    build(dir.path(), "c/work.c", "other", &["-falign-functions=256"]);
    std::fs::write(&program, std::fs::read(dir.path().join("other")).unwrap()).unwrap();
    run(&program, 4);
    // What started it is of no matter, nor what does not match.
    assert!(
        Command::new("/bin/sh").arg("-c").arg(format!("{} 5; true", program.display())).status().unwrap().success()
    );
    let elsewhere = scratch();
    run(&build(elsewhere.path(), "c/work.c", "work", &[]), 100);
    signal(&agent, libc::SIGTERM);
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines, work(6, 18), "{}", outcome.stderr());
}

#[test]
fn many_at_once() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).start();
    let script = format!("seq 300 | xargs -P 32 -n 1 sh -c '{} 1'", program.display());
    assert!(Command::new("/bin/sh").arg("-c").arg(script).status().unwrap().success());
    signal(&agent, libc::SIGTERM);
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(300, 300), "{}", outcome.stderr());
}

#[test]
fn a_process_that_runs_already_and_a_library_that_it_loads() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = "#include <dlfcn.h>\n#include <stdio.h>\nint once(int n) {\n    return n + 1;\n}\nint main(void) {\n    \
                  int n = 0;\n    puts(\"ready\");\n    fflush(stdout);\n    while (getchar() != 'q')\n        n = once(n);\n    \
                  void *plugin = dlopen(\"./plugin.so\", RTLD_NOW);\n    int (*twice)(int) = (int (*)(int))dlsym(plugin, \
                  \"twice\");\n    return twice(n) != 6;\n}\n";
    std::fs::write(dir.path().join("slow.c"), source).unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-o", "slow", "slow.c"]).run();
    build(dir.path(), "c/plugin.c", "plugin.so", &["-shared", "-fPIC"]);
    let mut slow = Command::new(dir.path().join("slow"))
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(slow.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let agent = Agent::watch(&below(dir.path())).start();
    slow.stdin.take().unwrap().write_all(b"xxxq").unwrap();
    assert!(slow.wait().unwrap().success());
    signal(&agent, libc::SIGTERM);
    let outcome = agent.finish();
    let lines = &outcome.coverage.file("slow.c").lines;
    assert_eq!((lines[&3], lines[&4], lines[&11], lines[&14]), (3, 3, 3, 1), "{}", outcome.stderr());
    assert_eq!((lines[&6], lines[&7]), (0, 0), "it had begun before");
    let plugin = &outcome.coverage.file("plugin.c").lines;
    assert_eq!((plugin[&4], plugin[&8], plugin[&11]), (1, 1, 1), "{}", outcome.stderr());
}

#[test]
fn only_of_one_user() {
    if !kernel() {
        return;
    }
    const NOBODY: u32 = 65534;
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = build(dir.path(), "c/work.c", "work", &[]);
    let [object, pattern] = below(dir.path());
    let agent = Agent::watch(&[object.as_str(), &pattern, "--user", &NOBODY.to_string()]).start();
    run(&program, 100);
    let as_nobody = |loops: &str| Command::new(&program).arg(loops).uid(NOBODY).gid(NOBODY).status().unwrap();
    assert!(as_nobody("2").success());
    run(&program, 100);
    assert!(as_nobody("3").success());
    signal(&agent, libc::SIGTERM);
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(2, 5), "{}", outcome.stderr());
}

#[test]
fn results_at_intervals_and_a_service_manager_that_listens() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "c/work.c", "work", &[]);
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = |wanted: &str| {
        let mut bytes = [0; 256];
        loop {
            let read = manager.recv(&mut bytes).unwrap();
            if bytes[..read].starts_with(wanted.as_bytes()) {
                return;
            }
        }
    };
    let [object, pattern] = below(dir.path());
    let mut agent = Agent::watch(&[object.as_str(), &pattern, "--interval", "0.2"]);
    agent.command().env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
    let agent = agent.start();
    hear("READY=1");
    hear("WATCHDOG=1");
    run(&program, 4);
    wait_for_results(&agent, &work(1, 4));
    hear("STATUS=");
    signal(&agent, libc::SIGINT);
    hear("STOPPING=1");
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 4), "{}", outcome.stderr());
}

#[test]
fn something_must_be_wanted() {
    let outcome = Command::new(cov_tests::agent_path()).arg("watch").output().unwrap();
    assert_eq!(outcome.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("--object"));
    let bad = Command::new(cov_tests::agent_path()).args(["watch", "--object", "/a["]).output().unwrap();
    assert_eq!(bad.status.code(), Some(64), "{}", String::from_utf8_lossy(&bad.stderr));
}
