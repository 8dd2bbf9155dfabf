//! Libraries that nobody knows of when the program starts, and programs that are started in odd ways.

use cov_tests::{Agent, Outcome, SHARED, compile, fixture, kernel, scratch, work};
use std::collections::BTreeMap;
use std::path::Path;

/// The counts of plugin.c when it was loaded `loads` times and called `calls` times.
fn plugin(loads: u64, calls: u64) -> BTreeMap<u32, u64> {
    BTreeMap::from([(4, loads), (5, loads), (6, loads), (8, calls), (9, calls), (10, 0), (11, calls), (12, calls)])
}

fn assert_plugin(outcome: &Outcome, status: i32, loads: u64, calls: u64) {
    assert_eq!(outcome.process.status.code(), Some(status), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("plugin.c").lines, plugin(loads, calls), "{}", outcome.stderr());
}

/// Its constructor runs before the program can know that it is there.
#[test]
fn a_library_that_is_opened_by_the_program() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let host = compile(dir.path(), "c/host.c", "host", &[]);
    let library = compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
    assert_plugin(&Agent::run(&host).arg(library).go(), 20, 1, 5);
}

#[test]
fn a_library_that_is_opened_before_a_fork() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let host = compile(dir.path(), "c/host.c", "host", &[]);
    let library = compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
    assert_plugin(&Agent::run(&host).arg(library).arg("fork").go(), 20, 1, 6);
}

/// Opened by a program that the measured one starts, each time anew.
#[test]
fn a_library_that_many_programs_open() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/host.c", "host", &[]);
    compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
    let script = "for i in $(seq 30); do ./host ./plugin.so; done; exit 0";
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    assert_plugin(&outcome, 0, 30, 150);
}

#[test]
fn a_library_that_is_built_meanwhile() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/host.c", "host", &[]);
    let source = fixture("c/plugin.c");
    let script = format!("gcc -g -O0 -shared -fPIC -o plugin.so {} && ./host ./plugin.so", source.display());
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    assert_plugin(&outcome, 20, 1, 5);
}

#[test]
fn a_library_that_the_environment_preloads() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
    compile(dir.path(), "c/work.c", "work", &[]);
    let script = "LD_PRELOAD=./plugin.so ./work 3 && LD_PRELOAD=./plugin.so /bin/true";
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    assert_plugin(&outcome, 0, 2, 0);
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 3));
}

#[test]
fn a_library_that_an_interpreter_opens() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
    let script = "import ctypes; plugin = ctypes.CDLL('./plugin.so'); print(sum(plugin.twice(n) for n in range(100)))";
    let outcome = Agent::run(Path::new("/usr/bin/python3")).arg("-c").arg(script).dir(dir.path()).go();
    assert_plugin(&outcome, 0, 1, 100);
    assert_eq!(outcome.stdout(), "9900\n");
}

/// The kernel is told to run the loader, and the loader which program.
#[test]
fn the_dynamic_loader_called_by_hand() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let script =
        format!("{loader} ./work 3 && {loader} --library-path /lib ./work 4 && cp work again && {loader} ./again 5");
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines, work(3, 12), "{}", outcome.stderr());
}

/// Another root directory: the program's library is found there.
#[test]
fn a_program_in_another_root() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/library.c", "liblibrary.so", &SHARED);
    let flags = ["-Wl,--no-as-needed", "-L.", "-llibrary", "-Wl,-rpath,/opt"];
    let program = compile(dir.path(), "c/uses_library.c", "program", &flags);
    let root = dir.path().join("root");
    let script = "for f in /lib64/ld-linux-x86-64.so.2 $(ldd ./program | grep -o '/[^ ]*libc[^ ]*'); do \
                  mkdir -p root$(dirname $f) && cp $f root$f; done; \
                  mkdir root/opt && mv liblibrary.so root/opt && mv program root/ && chroot root /program";
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    let counts = |outcome: &Outcome| {
        let lines = |name: &str| outcome.coverage.file(name).lines.clone();
        (outcome.process.status.code(), lines("library.c"), lines("uses_library.c"))
    };
    // As it is counted where it was built.
    std::fs::copy(root.join("program"), &program).unwrap();
    std::fs::copy(root.join("opt/liblibrary.so"), dir.path().join("liblibrary.so")).unwrap();
    let script = "LD_LIBRARY_PATH=$PWD ./program";
    let plain = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    assert_eq!(counts(&outcome), counts(&plain), "{}{}", outcome.stderr(), plain.stderr());
    assert!(outcome.coverage.file("library.c").lines.values().any(|&count| count > 0), "{}", outcome.stderr());
}

/// How many file systems the gate of an agent has marked.
fn marked(agent: u32) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap();
    let is_gate =
        |pid: &&str| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"cov-agent-gate\0");
    let Some(gate) = children.split_whitespace().find(is_gate) else { return 0 };
    let infos = std::fs::read_dir(format!("/proc/{gate}/fdinfo")).unwrap().flatten();
    let infos = infos.filter_map(|info| std::fs::read_to_string(info.path()).ok());
    infos.map(|info| info.lines().filter(|line| line.starts_with("fanotify sdev:")).count()).max().unwrap_or(0)
}

/// What is executed from an overlay that only the program sees, in namespaces of its own.
#[test]
fn a_program_in_a_container_that_is_started() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::create_dir_all(dir.path().join("lower")).unwrap();
    compile(dir.path(), "c/work.c", "lower/work", &["-static"]);
    let inside = "echo inside && read line && mkdir up merged && mount -t tmpfs none up && mkdir up/u up/w && \
                  mount -t overlay overlay -o lowerdir=lower,upperdir=up/u,workdir=up/w merged && echo mounted && \
                  read line && chroot merged /work 3";
    let mut agent = Agent::run(Path::new("/usr/bin/unshare"))
        .arg("--user")
        .arg("--map-root-user")
        .arg("--mount")
        .arg("--pid")
        .arg("--fork")
        .arg("/bin/sh")
        .arg("-c")
        .arg(inside)
        .dir(dir.path())
        .talk();
    agent.hear("inside");
    let before = marked(agent.id());
    agent.say();
    agent.hear("mounted");
    let begun = std::time::Instant::now();
    while marked(agent.id()) < before + 2 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{} of {before}", marked(agent.id()));
        std::thread::yield_now();
    }
    agent.say();
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 3), "{}", outcome.stderr());
}
