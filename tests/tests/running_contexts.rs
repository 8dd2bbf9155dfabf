//! Contexts of processes that run already: attached to, or watched.

use cov_tests::{Agent, Build, Coverage, kernel, scratch};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int work(int n) {
    return n + 1;
}
int main(int argc, char **argv) {
    puts(\"ready\");
    for (int c; fflush(stdout), (c = getchar()) != EOF; puts(\"done\"))
        if (c == 'w') {
            work(1);
        } else if (!fork()) {
            work(2);
            _exit(0);
        } else {
            wait(0);
        }
    return argc != 2;
}
";

fn build(dir: &Path) -> PathBuf {
    std::fs::write(dir.join("talker.c"), PROGRAM).unwrap();
    Build::with("gcc", dir).args(["-g", "-O0", "-o", "talker", "talker.c"]).run();
    dir.join("talker")
}

/// A process that works when it is told to.
struct Talker(Child, BufReader<ChildStdout>);

impl Talker {
    fn start(program: &Path, name: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(name).env("TEST", format!("test {name}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut talker = Self(child, stdout);
        talker.expect("ready\n");
        talker
    }

    fn expect(&mut self, line: &str) {
        let mut said = String::new();
        self.1.read_line(&mut said).unwrap();
        assert_eq!(said, line);
    }

    /// Works itself at each `w`, has a child work at each `f`.
    fn work(&mut self, how: &str) {
        self.0.stdin.as_mut().unwrap().write_all(how.as_bytes()).unwrap();
        how.bytes().for_each(|_| self.expect("done\n"));
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// How often each context worked.
fn works(contexts: &cov_tests::Contexts) -> BTreeMap<String, u64> {
    contexts.iter().filter_map(|(name, lines)| Some((name.clone(), *lines.get(&5)?))).collect()
}

fn named<const N: usize>(works: [(&str, u64); N]) -> BTreeMap<String, u64> {
    works.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn processes_that_are_attached_to_are_told_apart() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    for (from, one, two) in [("arg:1", "one", "two"), ("env:TEST", "test one", "test two"), ("process", "", "")] {
        let mut talkers = ["one", "two"].map(|name| Talker::start(&program, name));
        talkers[0].work("wwf");
        let agent = Agent::attach(&[talkers[0].0.id(), talkers[1].0.id()]).arg("--context-from").arg(from).start();
        talkers[0].work("wfwf");
        talkers[1].work("ww");
        let numbers = [talkers[0].0.id(), talkers[1].0.id()];
        talkers.into_iter().for_each(Talker::end);
        let outcome = agent.finish();
        let contexts = works(&outcome.contexts("talker.c"));
        if from == "process" {
            let of = |number: u32| {
                let mut found =
                    contexts.iter().filter(|(name, _)| name.contains(&format!(" [pid {number}, started 20")));
                found.next().map(|(name, count)| (name.starts_with(program.to_str().unwrap()), *count))
            };
            assert_eq!((contexts.len(), numbers.map(of)), (2, [Some((true, 4)), Some((true, 2))]), "{contexts:?}");
        } else {
            assert_eq!(contexts, named([(one, 4), (two, 2)]), "{}", outcome.stderr());
        }
        assert_eq!(outcome.coverage.file("talker.c").lines[&5], 6);
        assert!(!outcome.stderr().contains("(losses)"), "{}", outcome.stderr());
    }
}

/// Results on the way hold what was counted until then, each hit once; programs that begin later have contexts too.
#[test]
fn processes_that_are_watched_are_told_apart() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path());
    let mut one = Talker::start(&program, "one");
    let object = format!("{}/**", dir.path().canonicalize().unwrap().display());
    let agent = Agent::watch(&["--object", &object, "--context-from", "arg:1"]).start();
    one.work("wf");
    let mut two = Talker::start(&program, "two");
    two.work("w");
    let send =
        |name: &str| assert!(Command::new("kill").arg(name).arg(agent.id().to_string()).status().unwrap().success());
    for (more, count) in [("", 3), ("ww", 5)] {
        one.work(more);
        send("-USR1");
        let begun = Instant::now();
        let lcov = agent.output_dir().join("lcov.info");
        while !(lcov.exists() && Coverage::read_lcov(&lcov).file("talker.c").lines[&5] == count) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{count}");
            std::thread::yield_now();
        }
    }
    one.work("w");
    two.work("f");
    one.end();
    send("-TERM");
    let outcome = agent.finish();
    two.end();
    assert_eq!(works(&outcome.contexts("talker.c")), named([("one", 5), ("two", 2)]), "{}", outcome.stderr());
    assert!(!outcome.stderr().contains("(losses)"), "{}", outcome.stderr());
}
