//! The gate that holds execs, on the real kernel. Everything on the machine passes it while a test
//! runs, so each test answers for all others and for itself.
#![cfg(feature = "collect")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use cov_agent::process::gate::{Gate, Held, Key, Remember};
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of a test's own: a copy of `true`, so that nobody else runs it.
fn program(directory: &Path) -> PathBuf {
    let path = directory.join("mine");
    std::fs::copy("/bin/true", &path).unwrap();
    path
}

/// Whether execs can be held here; where they must be, a test that cannot run has failed.
fn able() -> bool {
    let root = rustix::process::geteuid().is_root();
    let required = std::env::var_os("COV_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(root || !required, "COV_REQUIRE_KERNEL=1, but this is not root");
    root
}

fn gate() -> Option<Gate> {
    able().then(|| {
        let mut gate = Gate::start(Path::new(env!("CARGO_BIN_EXE_cov-agent"))).unwrap();
        gate.begin().unwrap();
        gate
    })
}

/// Starts a program from a thread: `spawn` returns only when the exec was let go.
fn start(program: &Path) -> std::thread::JoinHandle<Child> {
    let program = program.to_owned();
    std::thread::spawn(move || Command::new(program).stdin(Stdio::null()).spawn().unwrap())
}

/// Answers for everything until `key` is held.
fn wait_for(gate: &mut Gate, key: Key) -> Held {
    loop {
        while let Some(held) = gate.next_held().unwrap() {
            if held.key == key {
                return held;
            }
            gate.answer(&held, Remember::No).unwrap();
        }
        poll(&mut [PollFd::new(&*gate, PollFlags::IN)], None).unwrap();
    }
}

fn key(path: &Path) -> Key {
    Key::of(File::open(path).unwrap()).unwrap()
}

/// Answers for everything until `child` has ended; the keys that were held meanwhile.
fn answer_until_done(gate: &mut Gate, child: std::thread::JoinHandle<Child>) -> Vec<Key> {
    let mut keys = Vec::new();
    let waiter = std::thread::spawn(move || child.join().unwrap().wait().unwrap());
    while !waiter.is_finished() {
        while let Some(held) = gate.next_held().unwrap() {
            keys.push(held.key);
            gate.answer(&held, Remember::No).unwrap();
        }
        let soon = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        poll(&mut [PollFd::new(&*gate, PollFlags::IN)], Some(&soon)).unwrap();
    }
    assert!(waiter.join().unwrap().success());
    keys
}

#[test]
fn a_program_waits_until_it_is_answered_for_and_is_known_from_then_on() {
    let Some(mut gate) = gate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let child = start(&program);
    let held = wait_for(&mut gate, key(&program));
    assert!(!child.is_finished(), "the exec waits");
    let command = std::fs::read_link(format!("/proc/{}/exe", held.process)).unwrap();
    assert_ne!(command, program, "it runs no instruction of the program yet");
    gate.answer(&held, Remember::Yes).unwrap();
    answer_until_done(&mut gate, child);

    // Known now: let go without a question.
    let child = start(&program);
    assert!(!answer_until_done(&mut gate, child).contains(&key(&program)));

    // Asked for anew when the agent says so, and when the content changed.
    gate.forget(key(&program)).unwrap();
    let child = start(&program);
    let held = wait_for(&mut gate, key(&program));
    gate.answer(&held, Remember::Yes).unwrap();
    answer_until_done(&mut gate, child);

    let before = key(&program);
    std::fs::OpenOptions::new().append(true).open(&program).unwrap().write_all(b"changed").unwrap();
    assert_ne!(key(&program), before);
    let child = start(&program);
    let held = wait_for(&mut gate, key(&program));
    gate.answer(&held, Remember::Yes).unwrap();
    answer_until_done(&mut gate, child);
}

#[test]
fn who_opens_a_watched_file_waits_and_who_executes_it_is_asked_about_once() {
    let Some(mut gate) = gate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    gate.watch(&File::open(&program).unwrap()).unwrap();
    let open = || {
        let program = program.clone();
        std::thread::spawn(move || Command::new("/bin/cat").arg(program).stdout(Stdio::null()).spawn().unwrap())
    };
    let child = open();
    let held = wait_for(&mut gate, key(&program));
    assert!(held.opening);
    assert_eq!(
        std::fs::read_link(format!("/proc/{}/exe", held.process)).unwrap(),
        std::fs::canonicalize("/bin/cat").unwrap()
    );
    gate.answer(&held, Remember::Yes).unwrap();
    assert!(!answer_until_done(&mut gate, child).contains(&key(&program)));
    // An answer for execs holds for these alone.
    let child = open();
    let held = wait_for(&mut gate, key(&program));
    assert!(held.opening);
    gate.answer(&held, Remember::No).unwrap();
    answer_until_done(&mut gate, child);
    let child = start(&program);
    assert!(!answer_until_done(&mut gate, child).contains(&key(&program)), "known, and not held as an opening either");
    // Not watched any more.
    gate.unwatch(&File::open(&program).unwrap()).unwrap();
    assert!(!answer_until_done(&mut gate, open()).contains(&key(&program)));
    // A pipe never is: the kernel opens what it tells of.
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    gate.watch(&file).unwrap();
    assert!(!answer_until_done(&mut gate, start(&program)).contains(&key(&pipe)));
}

#[test]
fn a_loader_is_asked_about_only_where_it_is_executed_itself() {
    let Some(mut gate) = gate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let loader = PathBuf::from("/lib64/ld-linux-x86-64.so.2");
    let loaded = key(&loader);
    let child = start(&program);
    let held = wait_for(&mut gate, key(&program));
    gate.answer(&held, Remember::Yes).unwrap();
    let held = wait_for(&mut gate, loaded);
    gate.answer(&held, Remember::AsLoader).unwrap();
    answer_until_done(&mut gate, child);
    let child = start(&program);
    assert!(!answer_until_done(&mut gate, child).contains(&loaded), "it loads a program");
    let by_hand =
        std::thread::spawn(move || Command::new(loader).arg("/bin/true").stdin(Stdio::null()).spawn().unwrap());
    assert!(answer_until_done(&mut gate, by_hand).contains(&loaded), "it is given a program");
}

#[test]
fn an_agent_that_does_not_answer_holds_nobody_for_long() {
    let Some(mut gate) = gate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let began = Instant::now();
    let mut child = start(&program).join().unwrap();
    let waited = began.elapsed();
    assert!(child.wait().unwrap().success());
    assert!(waited >= Duration::from_millis(400), "it was held: {waited:?}");
    // 500 ms is the promise; the loader is held after the program, and is a file of its own.
    assert!(waited < Duration::from_millis(2 * 500 + 400), "{waited:?}");
    while gate.next_held().unwrap().is_some() {}
    assert!(gate.losses().unanswered >= 1);
}

#[test]
fn a_stopped_agent_holds_nobody_for_long_and_others_not_at_all() {
    let Some(mut gate) = gate() else { return };
    let directory = tempfile::tempdir().unwrap();
    // Nobody reads what the gate asks: the first waits in vain, those that come later are not made to.
    let first = program(directory.path());
    assert!(start(&first).join().unwrap().wait().unwrap().success());
    let second = directory.path().join("second");
    std::fs::copy(&first, &second).unwrap();
    let began = Instant::now();
    assert!(start(&second).join().unwrap().wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    // It goes on: what is new is held again.
    while let Some(held) = gate.next_held().unwrap() {
        gate.answer(&held, Remember::No).unwrap();
    }
    let third = directory.path().join("third");
    std::fs::copy(&first, &third).unwrap();
    let child = start(&third);
    let held = wait_for(&mut gate, key(&third));
    gate.answer(&held, Remember::Yes).unwrap();
    answer_until_done(&mut gate, child);
}

#[test]
fn a_killed_gate_lets_everyone_go() {
    let Some(mut gate) = gate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let child = start(&program);
    let _held = wait_for(&mut gate, key(&program));
    let pid = rustix::process::Pid::from_raw(i32::try_from(gate.process()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(child.join().unwrap().wait().unwrap().success());
    while let Ok(held) = gate.next_held() {
        drop(held);
    }
}

#[test]
fn the_gate_is_out_of_reach_of_the_terminal() {
    let Some(gate) = gate() else { return };
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gate.process())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let own = gate.process().to_string();
    assert_eq!(fields[2], own, "its process group");
    assert_eq!(fields[3], own, "its session");
    assert_eq!(fields[4], "0", "no terminal");
}

#[test]
fn a_file_system_that_is_mounted_later_is_marked_too() {
    if !able() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let point = directory.path();
    // The mount exists before the gate, or it could not be known when the mark is there.
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(point).status().unwrap();
    assert!(mounted.success());
    let mut gate = gate().unwrap();
    let early = program(point);
    let child = start(&early);
    let held = wait_for(&mut gate, key(&early));
    gate.answer(&held, Remember::Yes).unwrap();
    answer_until_done(&mut gate, child);

    // One that comes while the gate is there: held as soon as its mark is.
    let second = directory.path().join("second");
    std::fs::create_dir(&second).unwrap();
    let mount = std::thread::spawn({
        let second = second.clone();
        move || Command::new("mount").args(["-t", "tmpfs", "none"]).arg(second).spawn().unwrap()
    });
    answer_until_done(&mut gate, mount);
    let late = program(&second);
    let marked = (0..1000).any(|_| answer_until_done(&mut gate, start(&late)).contains(&key(&late)));
    assert!(marked);
    drop(gate);
    // Lazily: the gate of another test may be looking at a file there.
    for point in [second.as_path(), point] {
        assert!(Command::new("umount").arg("--lazy").arg(point).status().unwrap().success());
    }
}
