//! Nobody is held for long, whatever becomes of the agent: each exec is answered within half a second, also where the agent
//! is killed, stopped, put aside by the terminal or busy, on a machine that has more to do than it can.

use cov_tests::{Agent, Talk, agent_path, compile, compile_text, kernel, own_run_directory, scratch};
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The promise, for each of the two files that an exec opens (the program, and its loader); and what starting and waiting
/// for a process may take on a busy machine.
const LONGEST: Duration = Duration::from_millis(2 * 500 + 500);

/// Processes that want all of the machine.
struct Load(Vec<Child>);

impl Load {
    fn begin() -> Self {
        // Compiled before, where it is.
        let _ = agent_path();
        let processors = std::thread::available_parallelism().unwrap().get();
        // They end with the test, however that does.
        let burn = |_| {
            let args = ["--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"];
            Command::new("setpriv").args(args).spawn().unwrap()
        };
        Self((0..2 * processors).map(burn).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for one in &mut self.0 {
            one.kill().unwrap();
            one.wait().unwrap();
        }
    }
}

/// Programs that the agent has never seen, since each is a copy of its own.
struct Strangers<'a> {
    dir: &'a Path,
    made: usize,
}

impl Strangers<'_> {
    fn copy(&mut self) -> PathBuf {
        self.made += 1;
        let path = self.dir.join(format!("stranger-{}", self.made));
        std::fs::copy("/bin/true", &path).unwrap();
        path
    }

    /// Executes so many, each from its beginning to its end within the promise; how long the longest took.
    fn run(&mut self, many: usize) -> Duration {
        let times = (0..many).map(|_| {
            let program = self.copy();
            let begun = Instant::now();
            assert!(Command::new(program).status().unwrap().success());
            begun.elapsed()
        });
        let longest = times.max().unwrap_or_default();
        assert!(longest < LONGEST, "{longest:?}");
        longest
    }
}

/// The agent at a shell that waits for a line, and then runs work.c.
fn begin(dir: &Path) -> Talk {
    compile(dir, "c/work.c", "work", &[]);
    let script = "echo begun; read line; ./work 3";
    let mut agent = Agent::run(Path::new("/bin/sh")).impatient().args(&["-c", script]).dir(dir);
    agent.command().process_group(0);
    let mut talk = agent.talk();
    talk.hear("begun");
    talk
}

/// It ends as it would, and is counted.
fn assert_goes_on(mut agent: Talk) {
    agent.say();
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines[&7], 3, "{}", outcome.stderr());
}

#[test]
fn by_an_agent_that_is_killed() {
    if !kernel() {
        return;
    }
    own_run_directory("size=64m");
    let dir = scratch();
    let _load = Load::begin();
    let mut strangers = Strangers { dir: dir.path(), made: 0 };
    let agent = begin(dir.path());
    strangers.run(5);
    // It cannot answer: the next one is held, until the agent is killed.
    agent.signal(libc::SIGSTOP);
    let program = strangers.copy();
    let held = std::thread::spawn(move || Command::new(program).status().unwrap());
    agent.signal(libc::SIGKILL);
    let begun = Instant::now();
    assert!(held.join().unwrap().success());
    assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    strangers.run(20);
    drop(agent);
}

#[test]
fn by_an_agent_that_is_stopped() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let _load = Load::begin();
    let mut strangers = Strangers { dir: dir.path(), made: 0 };
    let agent = begin(dir.path());
    agent.signal(libc::SIGSTOP);
    // The first waits in vain; then nobody is made to.
    strangers.run(2);
    let begun = Instant::now();
    strangers.run(20);
    assert!(begun.elapsed() < Duration::from_millis(20 * 450), "each was held: {:?}", begun.elapsed());
    agent.signal(libc::SIGCONT);
    strangers.run(5);
    assert_goes_on(agent);
}

/// What the terminal does at Ctrl-Z, and the shell at `fg`: the signals go to the whole group.
#[test]
fn by_an_agent_that_the_terminal_puts_aside() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let _load = Load::begin();
    let mut strangers = Strangers { dir: dir.path(), made: 0 };
    let agent = begin(dir.path());
    agent.signal_group(libc::SIGTSTP);
    let stopped = || std::fs::read_to_string(format!("/proc/{}/stat", agent.id())).unwrap().contains(") T ");
    let begun = Instant::now();
    while !stopped() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not stop");
        std::thread::yield_now();
    }
    strangers.run(20);
    agent.signal_group(libc::SIGCONT);
    strangers.run(5);
    assert_goes_on(agent);
}

/// An object that takes seconds to read: whoever runs it is let go in time, which is told, and others meanwhile are not
/// held up by it.
#[test]
fn by_an_agent_that_reads_something_big() {
    const FUNCTIONS: usize = 2000;
    if !kernel() {
        return;
    }
    let dir = scratch();
    let mut source = String::from("int sum;\n");
    for n in 0..FUNCTIONS {
        writeln!(source, "static void f{n}(int n) {{\n    for (int i = 0; i < n; i++)\n        if (i % 3 == {} || sum > i)\n            sum += i;\n}}", n % 3).unwrap();
    }
    source += "int main(void) {\n";
    (0..FUNCTIONS).for_each(|n| writeln!(source, "    f{n}(1);").unwrap());
    source += "    return 0;\n}\n";
    compile_text(dir.path(), "big", &source);
    let load = Load::begin();
    let mut strangers = Strangers { dir: dir.path(), made: 0 };
    let script = "echo begun; read line; ./big; echo ended; read line";
    let mut agent = Agent::run(Path::new("/bin/sh")).impatient().args(&["-c", script]).dir(dir.path()).talk();
    agent.hear("begun");
    agent.say();
    let begun = Instant::now();
    let others = std::thread::scope(|threads| {
        let others = threads.spawn(|| strangers.run(20));
        agent.hear("ended");
        let ended = begun.elapsed();
        assert!(ended < LONGEST + Duration::from_secs(1), "{ended:?}");
        others.join().unwrap()
    });
    assert!(others < LONGEST, "{others:?}");
    drop(load);
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(1), "{}", outcome.stderr());
    let losses = &outcome.json["cov_agent"]["losses"]["unattached-objects"];
    assert!(losses["details"].to_string().contains("/big: "), "{losses}: {}", outcome.stderr());
}
