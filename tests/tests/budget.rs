//! Exact counts within a budget: what costs too much is counted no further, and nothing else changes.

use cov_tests::{
    Agent, Build, Outcome, PATIENCE, Project, agent_command, agent_path, compile_text, fixture, kernel, scratch,
    sources,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Hardly anything is allowed.
const TIGHT: &[&str] = &["--overhead=1%", "--overhead-grace=0.001", "--verbose"];

fn build(dir: &Path, compiler: &str, source: &str, flags: &[&str]) -> PathBuf {
    let program = dir.join("program");
    Build::with(compiler, dir)
        .args(["-g", "-pthread", "-w"])
        .args(flags)
        .arg("-o")
        .args([&program, &fixture(source)])
        .run();
    program
}

fn run(options: &[&str], program: &Path, args: &[&str]) -> Outcome {
    args.iter().fold(Agent::run_with(options, program), |agent, arg| agent.arg(arg)).go()
}

/// Each line's count, and whether it is a lower bound.
fn counts(json: &Value) -> BTreeMap<(String, u64), (u64, bool)> {
    let mut counts = BTreeMap::new();
    for (path, file) in json["files"].as_object().unwrap() {
        let own = &file["cov_agent"];
        let bounds = own["lower_bounds"].as_array().cloned().unwrap_or_default();
        let bounds: BTreeSet<u64> = bounds.iter().map(|line| line.as_u64().unwrap()).collect();
        for (line, count) in own["counts"].as_object().unwrap() {
            let line = line.parse().unwrap();
            counts.insert((path.clone(), line), (count.as_u64().unwrap(), bounds.contains(&line)));
        }
    }
    counts
}

/// Checks a result against one with exact counts of the same run: the same lines were executed, lower bounds are no more than
/// the truth, and all else is exact. Gives how many lines have lower bounds.
fn check(outcome: &Outcome, exact: &Outcome) -> usize {
    let (counts, truth) = (counts(&outcome.json), counts(&exact.json));
    assert_eq!(counts.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>(), "{}", outcome.stderr());
    for (line, (count, bound)) in &counts {
        let (true_count, inexact) = truth[line];
        // A line not all of which can be observed.
        if inexact {
            assert!(*bound, "{line:?}");
            continue;
        }
        assert!(if *bound { *count <= true_count } else { *count == true_count }, "{line:?}: {count}, {true_count}");
    }
    counts.values().filter(|(_, bound)| *bound).count()
}

/// Runs a program without the agent, with a tight budget, and with none: the same output, and counts as [`check`] wants them.
fn compare(program: &Path, args: &[&str]) -> (Outcome, usize) {
    let plain = Command::new(program).args(args).output().unwrap();
    let (exact, outcome) = (run(&["--overhead=none"], program, args), run(TIGHT, program, args));
    for outcome in [&exact, &outcome] {
        assert_eq!(outcome.process.status, plain.status, "{}", outcome.stderr());
        assert_eq!(outcome.stdout(), String::from_utf8_lossy(&plain.stdout), "{}", outcome.stderr());
    }
    let bounds = check(&outcome, &exact);
    (outcome, bounds)
}

#[test]
fn what_costs_too_much_has_lower_bounds() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "gcc", "cli/hot.c", &[]);
    let exact = run(&["--overhead=none"], &program, &["200000"]);
    // The default.
    let outcome = run(&["--overhead=5%"], &program, &["200000"]);
    let bounds = check(&outcome, &exact);
    assert!((5..15).contains(&bounds), "{bounds} lines have lower bounds");
    let found = counts(&outcome.json);
    let hot = found.iter().find(|((_, line), _)| *line == 11).unwrap().1;
    // The grace pays for some ten thousand rounds.
    assert!(hot.1 && (1000..100_000).contains(&hot.0), "{hot:?}");
    // What is executed at the end, by ways that were not taken before, is not lost; what is not, is not executed.
    let hit = |wanted: u64| found.iter().any(|((_, line), (count, _))| *line == wanted && *count == 1);
    assert!(hit(19) && hit(22) && hit(26) && !hit(17) && !hit(24), "{found:?}");
    assert!(outcome.stderr().contains(">="), "{}", outcome.stderr());
    let text =
        "counters stopped before the end: their lines have lower bounds, since they cost more than --overhead allows";
    assert!(outcome.stderr().contains(text), "{}", outcome.stderr());

    // The mark stays when data is merged, and adds to what is exact.
    let merged = dir.path().join("merged");
    let mut merge = agent_command();
    merge.args(["merge", "--output"]).arg(&merged).args([outcome.output.path(), exact.output.path()]);
    let output = merge.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&std::fs::read(merged.join("coverage.json")).unwrap()).unwrap();
    let truth = counts(&exact.json);
    for (line, (count, bound)) in counts(&json) {
        let (one, was_bound) = found[&line];
        assert_eq!((count, bound), (one + truth[&line].0, was_bound), "{line:?}");
    }
}

#[test]
fn what_ends_soon_is_exact() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "gcc", "cli/hot.c", &[]);
    let outcome = run(&["--overhead=5%"], &program, &["300"]);
    assert_eq!(check(&outcome, &run(&["--overhead=none"], &program, &["300"])), 0);
    assert!(!outcome.stderr().contains("stopped"), "{}", outcome.stderr());
}

#[test]
fn threads_and_forked_children() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let (outcome, bounds) = compare(&build(dir.path(), "gcc", "cli/hammer.c", &[]), &[]);
    assert!(bounds >= 5, "{}", outcome.stderr());
}

/// Whatever cuts the flow of control.
#[test]
fn programs_of_all_kinds() {
    if !kernel() {
        return;
    }
    for (compiler, source, flags) in [
        ("gcc", "c/loops.c", &["-O0"][..]),
        ("gcc", "c/recursion.c", &["-O2"]),
        ("gcc", "c/setjmp.c", &["-O0"]),
        ("gcc", "c/fork.c", &["-O0"]),
        ("gcc", "c/threads.c", &["-O1"]),
        ("g++", "cpp/exceptions.cpp", &["-std=c++17"]),
    ] {
        let dir = scratch();
        compare(&build(dir.path(), compiler, source, flags), &[]);
    }
}

/// A debugger may have breakpoints in the same places.
#[test]
fn a_traced_process_is_counted_exactly() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "gcc", "cli/traced.c", &[]);
    let (outcome, bounds) = compare(&program, &[]);
    assert_eq!(bounds, 0, "{}", outcome.stderr());
}

/// Each program that is executed has all its breakpoints again.
#[test]
fn a_program_that_executes_itself() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let (outcome, bounds) = compare(&build(dir.path(), "gcc", "cli/again.c", &[]), &["5"]);
    assert!(bounds > 0, "{}", outcome.stderr());
}

/// Where the kernel does not let the code of processes be written to, counts are exact whatever they cost, and with
/// `--lines-only` probes go for processes that start later.
#[test]
fn where_writing_is_refused() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let (deny, hot) = (dir.path().join("deny"), dir.path().join("hot"));
    for (program, source) in [(&deny, "cli/deny.c"), (&hot, "cli/hot.c")] {
        Build::with("gcc", dir.path()).args(["-g", "-o"]).args([program, &fixture(source)]).run();
    }
    let run = |options: &[&str], script: &str| {
        let output = scratch();
        let mut command = Command::new(&deny);
        command
            .env(PATIENCE.0, PATIENCE.1)
            .arg(agent_path())
            .args(["run", "--format=json", "--no-cache"])
            .args(options)
            .args(sources());
        command.arg("--output").arg(output.path()).args(["--", "/bin/sh", "-c", script]).arg(&hot);
        let process = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&process.stderr).into_owned();
        assert!(process.status.success(), "{stderr}");
        let json = std::fs::read(output.path().join("coverage.json")).unwrap();
        (serde_json::from_slice::<Value>(&json).unwrap(), stderr)
    };
    let (json, stderr) = run(TIGHT, "$0 5000");
    assert!(stderr.contains("all counts are exact, whatever they cost (not-disarmed)"), "{stderr}");
    let exact = counts(&json);
    assert!(exact.iter().any(|((_, line), count)| *line == 12 && *count == (5000, false)), "{exact:?}");

    let (json, stderr) = run(&["--lines-only", "--verbose"], "$0 5000; $0 5000; $0 5000");
    assert!(stderr.contains("they went for later ones only (not-disarmed)"), "{stderr}");
    assert_eq!(counts(&json).keys().collect::<Vec<_>>(), exact.keys().collect::<Vec<_>>());

    // A later context needs them all.
    let (json, stderr) = run(&["--lines-only", "--context-from=arg:1"], "$0 5000; $0 5000");
    assert!(stderr.contains("with contexts all stay (not-disarmed)"), "{stderr}");
    assert_eq!(counts(&json).keys().collect::<Vec<_>>(), exact.keys().collect::<Vec<_>>());
}

/// A real program, optimised.
#[test]
fn a_library_in_cpp() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let (outcome, bounds) = compare(&Project::esaxx().compile(dir.path(), "esaxx", &["-O1"]), &[]);
    assert!(bounds > 10, "{}", outcome.stderr());
}

/// The program of `cli/hot.c`, which waits for a byte, or the end of its input, before it gets hot.
fn hot_later(dir: &Path) -> PathBuf {
    let text = std::fs::read_to_string(fixture("cli/hot.c")).unwrap();
    compile_text(dir, "hot", &text.replace("fflush(stdout);", "fflush(stdout); getchar();"))
}

/// How many hits there were, by what the agent says.
fn hits(outcome: &Outcome) -> u64 {
    let stderr = outcome.stderr();
    let (_, rest) = stderr.split_once("cov-agent: counted ").unwrap_or_else(|| panic!("{stderr}"));
    rest.split_once(" hits").unwrap().0.parse().unwrap()
}

/// Checks that a tight budget was kept where the rounds of `hot_later` cost too much, and that without one every one counted.
fn check_hot(outcome: &Outcome, exact: &Outcome) {
    let bounds = check(outcome, exact);
    assert!((5..15).contains(&bounds), "{bounds} lines have lower bounds: {}", outcome.stderr());
    let loop_of = |outcome: &Outcome| {
        counts(&outcome.json).into_iter().find(|((_, line), _)| *line == 11).map(|(_, count)| count).unwrap()
    };
    assert_eq!(loop_of(exact), (50_001, false), "{}", exact.stderr());
    let (count, bound) = loop_of(outcome);
    assert!(bound && count < 25_000, "{count}: {}", outcome.stderr());
    assert!(hits(outcome) * 4 < hits(exact), "{} of {} hits", hits(outcome), hits(exact));
    let text = "counters stopped before the end";
    assert!(outcome.stderr().contains(text) && !exact.stderr().contains(text), "{}", outcome.stderr());
}

#[test]
fn a_process_that_is_attached_to() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = hot_later(dir.path());
    let measure = |options: &[&str]| {
        let mut command = Command::new(&program);
        let mut hot = command.arg("50000").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(hot.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        let agent = Agent::attach(&[hot.id()]).args(options).start();
        drop(hot.stdin.take());
        let mut sum = String::new();
        said.read_to_string(&mut sum).unwrap();
        assert!(hot.wait().unwrap().success());
        assert_eq!(sum, "100001\n");
        agent.finish()
    };
    check_hot(&measure(TIGHT), &measure(&["--overhead=none", "--verbose"]));
}

#[test]
fn a_process_that_is_watched() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = hot_later(dir.path());
    let object = format!("--object={}", program.canonicalize().unwrap().display());
    let measure = |options: &[&str]| {
        let agent = Agent::watch(&[&object]).args(options).start();
        let output = Command::new(&program).arg("50000").stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "begin\n100001\n");
        agent.signal(libc::SIGTERM);
        agent.finish()
    };
    check_hot(&measure(TIGHT), &measure(&["--overhead=none", "--verbose"]));
}
