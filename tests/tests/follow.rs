//! `cov-agent run` measures what the program starts, in whatever way, also what is built meanwhile.

use cov_tests::{Agent, Outcome, compile, fixture, kernel, scratch, work};
use std::path::Path;

fn assert_work(outcome: &Outcome, runs: u64, loops: u64) {
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines, work(runs, loops), "{}", outcome.stderr());
}

/// The program starts work.c in the given way.
fn check(way: &str, flags: &[&str]) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let starter = compile(dir.path(), "c/spawn.c", "spawn", &["-pthread"]);
    let program = compile(dir.path(), "c/work.c", "work program", flags);
    let outcome = Agent::run(&starter).arg(way).arg(&program).arg("3").go();
    assert_work(&outcome, 1, 3);
    assert_eq!(outcome.coverage.file("spawn.c").lines[&95], 1, "the starter is measured too");
}

macro_rules! ways {
    ($($way:ident)+) => {
        $(#[test]
        fn $way() {
            check(stringify!($way), &[]);
        })+
    };
}

ways! { exec fork vfork posix_spawn popen system daemon thread fork_in_thread }

#[test]
fn a_static_program() {
    check("fork", &["-static"]);
}

#[test]
fn a_program_of_a_fixed_address() {
    check("posix_spawn", &["-no-pie"]);
}

/// The starter has no debug info: it is of no interest, what it starts is.
#[test]
fn a_shell_that_starts_many() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let script = format!("for i in $(seq 200); do {} 2 || exit 9; done", program.display());
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).go();
    assert_work(&outcome, 200, 400);
}

#[test]
fn sixty_four_at_once() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let script = format!("seq 1000 | xargs -P 64 -n 1 sh -c '{} 1'", program.display());
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).go();
    assert_work(&outcome, 1000, 1000);
}

#[test]
fn what_make_builds_and_runs() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = fixture("c/work.c");
    let text = format!("test: work\n\t./work 1\n\t./work 2\nwork:\n\tgcc -g -O0 -o work {}\n", source.display());
    std::fs::write(dir.path().join("Makefile"), text).unwrap();
    let outcome = Agent::run(Path::new("/usr/bin/make")).arg("test").dir(dir.path()).go();
    assert_work(&outcome, 2, 3);
}

/// Another program takes the place of one that has run: the same file, with other instructions.
#[test]
fn a_program_that_is_written_anew_in_place() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let first = compile(dir.path(), "c/work.c", "first", &["-O0"]);
    compile(dir.path(), "c/work.c", "second", &["-O0", "-falign-functions=4096", "-Wl,--build-id=none"]);
    let script = "cp first it && ./it 2 && inode=$(stat -c %i it) && cat second > it && ./it 3 && ./it 4 && \
                  test $inode = $(stat -c %i it)";
    drop(first);
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).go();
    assert_work(&outcome, 3, 9);
}

#[test]
fn a_script_and_its_interpreter() {
    use std::os::unix::fs::PermissionsExt as _;
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    // The script's own name is the interpreter's first argument: atoi makes 0 of it.
    let script = dir.path().join("script");
    std::fs::write(&script, format!("#!{}\n", program.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = Agent::run(Path::new("/bin/sh")).arg("-c").arg(format!("{}; true", script.display())).go();
    assert_work(&outcome, 1, 0);
}

#[test]
fn not_where_that_is_not_wanted() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let starter = compile(dir.path(), "c/spawn.c", "spawn", &["-pthread"]);
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = Agent::run_with(&["--no-follow"], &starter).arg("fork").arg(&program).arg("3").go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.files.len(), 1, "{:?}", outcome.coverage.files.keys());
    let lines = &outcome.coverage.file("spawn.c").lines;
    assert_eq!((lines[&32], lines[&33], lines[&34]), (1, 0, 1), "the child is not counted");
}

/// It is opened, removed and executed: the very file is measured.
#[test]
fn a_program_that_was_removed() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let starter = compile(dir.path(), "c/memory.c", "memory", &[]);
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = Agent::run(&starter).arg("removed").arg(&program).arg("3").go();
    assert!(!program.exists());
    assert_work(&outcome, 1, 3);
}

/// It runs as its owner, and its loader knows: with the agent as without it, started by root and by somebody else.
#[test]
fn a_program_with_the_rights_of_its_owner() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, owner, mode) in [("other", 12345, 0o6755), ("root", 0, 0o4755)] {
        let program = compile(dir.path(), "c/rights.c", name, &[]);
        chown(&program, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let script = "./other; setpriv --reuid 65534 --regid 65534 --clear-groups ./root; ./root";
    let shell = Path::new("/bin/sh");
    let plain = std::process::Command::new(shell).args(["-c", script]).current_dir(dir.path()).output().unwrap();
    let expected = "0 12345 0 12345 1\n65534 0 65534 65534 1\n0 0 0 0 0\n";
    assert_eq!(String::from_utf8_lossy(&plain.stdout), expected);
    let outcome = Agent::run(shell).args(&["-c", script]).dir(dir.path()).go();
    assert_eq!(outcome.stdout(), expected, "{}", outcome.stderr());
    let lines = &outcome.coverage.file("rights.c").lines;
    assert_eq!((lines[&6], lines[&7], lines[&8]), (3, 3, 3), "{}", outcome.stderr());
}
