//! `cov-agent watch` measures what anybody runs, as long as it is wanted.

use cov_tests::{
    Agent, Attached, Coverage, SHARED, agent_path, compile, compile_text, kernel, mount, own_run_directory, scratch,
    work,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn run(program: &Path, loops: u64) {
    assert!(Command::new(program).arg(loops.to_string()).status().unwrap().success());
}

/// All below a directory.
fn below(dir: &Path) -> [String; 2] {
    ["--object".to_owned(), format!("{}/**", dir.canonicalize().unwrap().display())]
}

/// Waits until something is true of what a file says; it may not be there yet.
fn wait_until(path: &Path, is_so: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if is_so(&text) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{}: {text}", path.display());
        std::thread::yield_now();
    }
}

/// Waits until the results say that work.c has these counts.
fn wait_for_results(agent: &Attached, expected: &BTreeMap<u32, u64>) {
    let path = agent.output_dir().join("lcov.info");
    // The first results may come before the first program.
    let there = |coverage: &Coverage| coverage.files.keys().any(|file| file.ends_with("work.c"));
    let told = |coverage: &Coverage| there(coverage) && coverage.file("work.c").lines == *expected;
    wait_until(&path, |text| !text.is_empty() && told(&Coverage::read_lcov(&path)));
}

#[test]
fn programs_come_and_go_and_are_built_anew() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).start();
    (0..3).for_each(|_| run(&program, 2));
    agent.signal(libc::SIGUSR1);
    wait_for_results(&agent, &work(3, 6));
    // Another file at the same path, with other instructions.
    std::fs::remove_file(&program).unwrap();
    compile(dir.path(), "c/work.c", "work", &["-falign-functions=4096"]);
    run(&program, 3);
    agent.signal(libc::SIGUSR1);
    wait_for_results(&agent, &work(4, 9));
    // And one written over it.
    compile(dir.path(), "c/work.c", "other", &["-falign-functions=256"]);
    std::fs::write(&program, std::fs::read(dir.path().join("other")).unwrap()).unwrap();
    run(&program, 4);
    // What started it is of no matter, nor what does not match.
    assert!(
        Command::new("/bin/sh").arg("-c").arg(format!("{} 5; true", program.display())).status().unwrap().success()
    );
    let elsewhere = scratch();
    run(&compile(elsewhere.path(), "c/work.c", "work", &[]), 100);
    agent.signal(libc::SIGTERM);
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
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).start();
    let script = format!("seq 300 | xargs -P 32 -n 1 sh -c '{} 1'", program.display());
    assert!(Command::new("/bin/sh").arg("-c").arg(script).status().unwrap().success());
    agent.signal(libc::SIGTERM);
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
    compile_text(dir.path(), "slow", source);
    compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
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
    agent.signal(libc::SIGTERM);
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
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let [object, pattern] = below(dir.path());
    let agent = Agent::watch(&[object.as_str(), &pattern, "--user", &NOBODY.to_string()]).start();
    run(&program, 100);
    let as_nobody = |loops: &str| Command::new(&program).arg(loops).uid(NOBODY).gid(NOBODY).status().unwrap();
    assert!(as_nobody("2").success());
    run(&program, 100);
    assert!(as_nobody("3").success());
    agent.signal(libc::SIGTERM);
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(2, 5), "{}", outcome.stderr());
}

#[test]
fn results_at_intervals_and_a_service_manager_that_listens() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
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
    agent.signal(libc::SIGINT);
    hear("STOPPING=1");
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 4), "{}", outcome.stderr());
}

/// Who asks for results while the last are being written gets them afterwards.
#[test]
fn results_that_are_asked_for_while_others_are_written() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).start();
    let output = File::open(agent.output_dir()).unwrap();
    let inode = format!(":{} ", output.metadata().unwrap().ino());
    output.lock().unwrap();
    run(&program, 2);
    agent.signal(libc::SIGUSR1);
    wait_until(Path::new("/proc/locks"), |locks| {
        locks.lines().any(|line| line.contains("->") && line.contains(&inode))
    });
    run(&program, 3);
    agent.signal(libc::SIGUSR1);
    let pending = |status: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t")).unwrap();
        u64::from_str_radix(set, 16).unwrap() >> (libc::SIGUSR1 - 1) & 1 == 1
    };
    let status = format!("/proc/{}/status", agent.id());
    wait_until(Path::new(&status), |status| !pending(status));
    output.unlock().unwrap();
    wait_for_results(&agent, &work(2, 5));
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.finish().coverage.file("work.c").lines, work(2, 5));
}

#[test]
fn something_must_be_wanted() {
    let outcome = Command::new(cov_tests::agent_path()).arg("watch").output().unwrap();
    assert_eq!(outcome.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("--object"));
    let bad = Command::new(cov_tests::agent_path()).args(["watch", "--object", "/a["]).output().unwrap();
    assert_eq!(bad.status.code(), Some(64), "{}", String::from_utf8_lossy(&bad.stderr));
}

/// What was written before it was killed is in the counts that are recovered, once.
#[test]
fn a_watcher_that_was_killed() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).start();
    run(&program, 2);
    agent.signal(libc::SIGUSR1);
    wait_for_results(&agent, &work(1, 2));
    // Disarmed, with counts that must not go with it.
    std::fs::remove_file(&program).unwrap();
    compile(dir.path(), "c/work.c", "work", &["-falign-functions=4096"]);
    run(&program, 3);
    let outcome = agent.kill();
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 2));
    let recovered = Command::new(agent_path()).arg("recover").output().unwrap();
    assert_eq!(recovered.status.code(), Some(0), "{}", String::from_utf8_lossy(&recovered.stderr));
    let coverage = Coverage::read_lcov(&outcome.output.path().join("lcov.info"));
    assert_eq!(coverage.file("work.c").lines, work(2, 5), "{}", String::from_utf8_lossy(&recovered.stderr));
}

/// Those in a control group, and in one below it; in another of the same name's beginning they are not counted.
#[test]
fn only_of_one_control_group() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let (dir, groups) = (scratch(), tempfile::tempdir().unwrap());
    mount(&["-t", "cgroup2", "none", groups.path().to_str().unwrap()]);
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let named = |name: &str| groups.path().join(format!("cov-test-{}{name}", std::process::id()));
    let all = ["", "/inner", "-other"].map(named);
    all.iter().for_each(|group| std::fs::create_dir(group).unwrap());
    let agent = Agent::watch(&["--cgroup", all[0].to_str().unwrap()]).start();
    for (group, loops) in all.iter().zip(["2", "3", "100"]) {
        let script = "echo $$ > \"$1/cgroup.procs\" && exec \"$2\" \"$3\"";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(group).arg(&program).arg(loops);
        assert!(shell.status().unwrap().success());
    }
    run(&program, 100);
    agent.signal(libc::SIGTERM);
    let outcome = agent.finish();
    all.iter().rev().for_each(|group| std::fs::remove_dir(group).unwrap());
    let unmounted = Command::new("umount").arg("--lazy").arg(groups.path()).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(outcome.coverage.file("work.c").lines, work(2, 5), "{}", outcome.stderr());
}

/// What is executed while it is stopped is let go, and told.
#[test]
fn a_watcher_that_is_stopped() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let agent = Agent::watch(&below(dir.path())).impatient().start();
    run(&program, 2);
    agent.signal(libc::SIGSTOP);
    (0..3).for_each(|_| run(&program, 100));
    agent.signal(libc::SIGCONT);
    agent.signal(libc::SIGTERM);
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 2), "{}", outcome.stderr());
    let losses = &outcome.json["cov_agent"]["losses"]["unattached-objects"];
    assert_eq!(losses["count"].as_u64(), Some(3), "{}", outcome.stderr());
}

/// What hits cost is measured once, and kept for the next agent; without a cache it is measured all the same, since it lasts.
#[test]
fn what_hits_cost_is_measured() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let (cache, [object, pattern]) = (dir.path().join("cache"), below(dir.path()));
    let cached = format!("--cache={}", cache.display());
    let watch = |options: &[&str]| {
        let agent = Agent::watch(&[object.as_str(), &pattern, "--verbose"]).args(options).start();
        run(&program, 2);
        agent.signal(libc::SIGTERM);
        let outcome = agent.finish();
        assert_eq!(outcome.coverage.file("work.c").lines, work(1, 2), "{}", outcome.stderr());
        outcome.stderr()
    };
    let costs = |said: &str| {
        let line =
            said.lines().find(|line| line.starts_with("cov-agent: a hit costs ")).unwrap_or_else(|| panic!("{said}"));
        line.to_owned()
    };
    let first = watch(&[&cached]);
    assert!(costs(&first).ends_with(": measured") && cache.join("prices").exists(), "{first}");
    assert!(!first.contains("plan found in the cache"), "{first}");
    let second = watch(&[&cached]);
    assert_eq!(costs(&second), costs(&first));
    assert!(second.contains("plan found in the cache"), "{second}");
    assert!(costs(&watch(&[])).ends_with(": measured"));
    assert_eq!(costs(&watch(&["--prices=1000,3000"])), "cov-agent: a hit costs 1.0µs, single-stepped 3.0µs: given");
}
