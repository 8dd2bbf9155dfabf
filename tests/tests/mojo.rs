//! Programs and libraries in Mojo, as its compiler makes them: the tests of a suite told apart, with tests that fail,
//! crash and never end; optimised; as a library; and compiled in memory.

use cov_tests::{Agent, Build, Contexts, Outcome, fixture, kernel, scratch, workspace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn mojo() -> PathBuf {
    workspace().join("target/venv/bin/mojo")
}

/// Compiles the suite in `dir`.
fn suite(dir: &Path, flags: &[&str]) -> PathBuf {
    std::fs::copy(fixture("mojo/suite.mojo"), dir.join("suite.mojo")).unwrap();
    // The cache of all gives what was compiled of the same text elsewhere, with the paths of that place.
    let build = Build::with(mojo(), dir).env("MODULAR_CACHE_DIR", dir.join("cache"));
    build.args(["build", "-g", "-o", "suite"]).args(flags).arg("suite.mojo").run();
    dir.join("suite")
}

/// What a test counts that calls `sum_to` with these numbers.
fn sums(calls: &[u64]) -> BTreeMap<u32, u64> {
    let (times, sum) = (calls.len() as u64, calls.iter().sum::<u64>());
    [(7, sum + times), (8, sum), (9, times)].into()
}

/// The lines of `sum_to` by context, but for those at whose places compilers disagree.
fn counted(outcome: &Outcome) -> Contexts {
    let mut contexts = outcome.contexts("suite.mojo");
    contexts.values_mut().for_each(|lines| lines.retain(|line, _| [7, 8, 9].contains(line)));
    contexts.retain(|_, lines| !lines.is_empty());
    contexts
}

#[test]
fn tests_are_told_apart() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = suite(dir.path(), &["-O0"]);
    let want: Contexts = [
        ("suite::test_passes", sums(&[3])),
        ("suite::test_fails", sums(&[4])),
        ("suite::test_twice", sums(&[5, 6])),
        ("suite::test_ends", sums(&[7])),
    ]
    .map(|(name, lines)| (name.to_owned(), lines))
    .into();
    let agent = |how| {
        let mut agent = Agent::test(&program).dir(dir.path());
        agent.command().env("HOW", how);
        agent
    };
    let outcome = agent("").go();
    assert_eq!(counted(&outcome), want, "{}", outcome.stderr());
    assert!(outcome.stderr().contains("4 tests run: 3 passed , 1 failed"), "{}", outcome.stderr());
    // A failure is the suite's affair, which goes on.
    assert!(!outcome.stderr().contains("Failed, and counted until then: suite::"), "{}", outcome.stderr());

    let crashed = agent("crash").go();
    let mut hangs = agent("hang").talk();
    hangs.hear("hangs");
    // Passed on to the program.
    assert!(Command::new("kill").arg(hangs.id().to_string()).status().unwrap().success());
    for (outcome, signal) in [(crashed, "SIGILL"), (hangs.finish(), "SIGTERM")] {
        assert_eq!(counted(&outcome), want, "{}", outcome.stderr());
        let failed = format!("Failed, and counted until then: suite::test_ends (killed by {signal})\n");
        assert!(outcome.stderr().contains(&failed), "{}", outcome.stderr());
    }
}

/// By default Mojo optimises: `sum_to` is gone, the lines of tests are there, each in its test.
#[test]
fn optimised_tests_are_told_apart() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = suite(dir.path(), &[]);
    let outcome = Agent::test(&program).dir(dir.path()).go();
    let contexts = outcome.contexts("suite.mojo");
    for (name, line) in [("passes", 12), ("fails", 15), ("twice", 18), ("ends", 21)] {
        let name = format!("suite::test_{name}");
        assert_eq!(contexts[&name].get(&line), Some(&1), "{name}: {contexts:?}");
        let others = contexts.iter().filter(|(other, lines)| **other != name && lines.contains_key(&line));
        assert_eq!(others.count(), 0, "{name}: {contexts:?}");
    }
}

const LIBRARY: &str = "@export(\"tripled\")\ndef tripled(n: Int) abi(\"C\") -> Int:\n    var r = 0\n    \
    for _ in range(3):\n        r += n\n    if r > 100:\n        print(\"PLACE\")\n    return r\n";
const HOST: &str = "long tripled(long);\nint main(void) {\n    return tripled(3) + tripled(4) != 21;\n}\n";

#[test]
fn a_library_that_a_program_in_c_is_linked_with() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let path = dir.path();
    std::fs::write(path.join("library.mojo"), LIBRARY.replace("PLACE", path.to_str().unwrap())).unwrap();
    std::fs::write(path.join("host.c"), HOST).unwrap();
    Build::with(mojo(), path)
        .args(["build", "-O0", "-g", "--emit", "shared-lib", "-o", "liblibrary.so", "library.mojo"])
        .run();
    // What Mojo's own runtime is, the library's run path says; the linker need not look.
    let link = ["-L.", "-llibrary", "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined"];
    Build::with("gcc", path).args(["-g", "-O0", "-o", "host", "host.c"]).args(link).run();
    let outcome = Agent::run(&path.join("host")).dir(path).go();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let lines = &outcome.coverage.file("library.mojo").lines;
    assert_eq!([4, 5, 7, 8].map(|line| lines[&line]), [8, 6, 0, 2], "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("host.c").lines[&3], 1);
}

/// There is no file that could be probed, which is said; the program runs as ever.
#[test]
fn what_is_compiled_in_memory_is_not_counted() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::write(dir.path().join("main.mojo"), "def main():\n    print(6 * 7)\n").unwrap();
    let outcome = Agent::run(&mojo()).arg("run").arg("main.mojo").dir(dir.path()).go();
    assert!(outcome.process.status.success() && outcome.stdout() == "42\n", "{}", outcome.stdout());
    let said =
        "mojo run compiles in memory, where no probe can be: its lines are not counted; build it: mojo build -O0 -g";
    assert!(outcome.stderr().contains(said), "{}", outcome.stderr());
    assert!(outcome.coverage.files.keys().all(|file| !file.ends_with(".mojo")), "{:?}", outcome.coverage.files.keys());
}
