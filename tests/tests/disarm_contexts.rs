//! Probes that go where contexts are told apart: each context has what it ran, forks and execs amid included.

use cov_tests::{Agent, Build, Contexts, Outcome, Project, fixture, kernel, scratch};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// All that a run of kinds.c counts, with the child that it forks amid its loop.
fn kind(kind: &str, rounds: u64) -> BTreeMap<u32, u64> {
    let both = rounds + rounds / 2;
    let mut lines: BTreeMap<u32, u64> = [11, 12, 13, 14, 15, 18, 38, 40, 42, 43, 44].map(|line| (line, 1)).into();
    lines.extend([7, 8, 9, 19].map(|line| (line, both)));
    lines.extend([20, 22].map(|line| (line, both / 2)));
    // The child begins behind the fork, within a round.
    lines.extend([(16, both + 1), (17, both - 1), (24, 2), (37, 2)]);
    match kind {
        "a" => lines.extend([(26, 2), (27, 2)]),
        "b" => lines.extend([(29, 2), (30, 1), (31, 2)]),
        _ => lines.extend([(33, 2), (34, 1), (35, 2)]),
    }
    lines
}

/// Compiles `cli/NAME.c` in `dir`.
fn build(dir: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = dir.join(name);
    let source = fixture(&format!("cli/{name}.c"));
    Build::with("gcc", dir).arg("-g").args(flags).arg("-o").args([&program, &source]).run();
    program
}

/// Runs kinds.c once for each word, `KIND,ROUNDS`, several at a time; a context is the kind.
fn kinds(options: &[&str], runs: &str, at_once: usize) -> Outcome {
    let dir = scratch();
    let program = build(dir.path(), "kinds", &[]);
    let script = format!("echo {runs} | tr ', ' ' \\n' | xargs -L 1 -P {at_once} {}", program.display());
    let options = [&["--context-from=arg:1", "--verbose", "--no-cache"], options].concat();
    let outcome = Agent::run_with(&options, Path::new("/bin/sh")).arg("-c").arg(script).go();
    let mut said: Vec<_> = outcome.stdout().lines().map(str::to_owned).collect();
    said.sort();
    let mut expected: Vec<String> = runs
        .split(' ')
        .map(|run| {
            let (kind, rounds) = run.split_once(',').unwrap();
            let more = match kind {
                "a" => 10,
                "b" => 0,
                _ => 30,
            };
            format!("{kind} {}", 2 * rounds.parse::<u64>().unwrap() + more)
        })
        .collect();
    expected.sort();
    assert_eq!(said, expected, "{}", outcome.stderr());
    outcome
}

/// What all these runs count, by context.
fn truth(runs: &str) -> Contexts {
    let mut contexts = Contexts::new();
    for run in runs.split(' ') {
        let (name, rounds) = run.split_once(',').unwrap();
        let context = contexts.entry(name.to_owned()).or_default();
        for (line, count) in kind(name, rounds.parse().unwrap()) {
            *context.entry(line).or_default() += count;
        }
    }
    contexts
}

/// The lines that have lower bounds in each context, and in the whole (no name).
fn bounds(outcome: &Outcome, file: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let files = outcome.json["files"].as_object().unwrap();
    let (_, file) = files.iter().find(|(path, _)| Path::new(path).ends_with(file)).unwrap();
    let own = &file["cov_agent"];
    let contexts = own["contexts"].as_object().into_iter().flatten().map(|(name, lines)| (name.clone(), lines));
    let of = |lines: &serde_json::Value| {
        let bounds = lines["lower_bounds"].as_array().into_iter().flatten();
        bounds.map(|line| u32::try_from(line.as_u64().unwrap()).unwrap()).collect()
    };
    contexts.chain([(String::new(), own)]).map(|(name, lines)| (name, of(lines))).collect()
}

/// The lines that each context ran.
fn lines(contexts: &Contexts) -> BTreeMap<&str, Vec<u32>> {
    contexts.iter().map(|(name, lines)| (&**name, lines.keys().copied().collect())).collect()
}

/// Checks counts against the truth: the same lines in each context, lower bounds where they are marked, and all else exact.
fn check(outcome: &Outcome, file: &str, truth: &Contexts) {
    let (found, bounds) = (outcome.contexts(file), bounds(outcome, file));
    assert_eq!(lines(&found), lines(truth), "{}", outcome.stderr());
    let is_right =
        |count: u64, true_count: u64, bound: bool| if bound { count <= true_count } else { count == true_count };
    let mut all = BTreeMap::<u32, u64>::new();
    for (name, counts) in truth {
        for (line, true_count) in counts {
            let (count, bound) = (found[name][line], bounds[name].contains(line));
            assert!(is_right(count, *true_count, bound), "{name}, line {line}: {count}, {bound}, {true_count}");
            assert!(!bound || bounds[""].contains(line), "{name}, line {line}");
            *all.entry(*line).or_default() += true_count;
        }
    }
    for (line, true_count) in all {
        let (count, bound) = (outcome.coverage.file(file).lines[&line], bounds[""].contains(&line));
        assert!(is_right(count, true_count, bound), "line {line}: {count}, {bound}, {true_count}");
    }
}

/// The number that stands before `after` in what the agent said.
fn said(outcome: &Outcome, after: &str) -> u64 {
    let text = outcome.stderr();
    let before = text.split(after).next().unwrap_or_default();
    assert_ne!(before.len(), text.len(), "no `{after}`: {text}");
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// How often each of these runs goes round its loop: if nothing went there would be several hits a round.
const ROUNDS: u64 = 200_000;

#[test]
fn the_counts_of_all_kinds() {
    if !kernel() {
        return;
    }
    let runs = "a,2000 b,1000 c,3000 a,500";
    let outcome = kinds(&["--overhead=none"], runs, 4);
    check(&outcome, "kinds.c", &truth(runs));
    assert!(bounds(&outcome, "kinds.c").values().all(BTreeSet::is_empty));
}

fn lines_only(at_once: usize) {
    let runs = ["a", "b", "c", "a"].map(|kind| format!("{kind},{ROUNDS}")).join(" ");
    let outcome = kinds(&["--lines-only"], &runs, at_once);
    let (found, truth) = (outcome.contexts("kinds.c"), truth(&runs));
    assert_eq!(lines(&found), lines(&truth), "{}", outcome.stderr());
    let counts: BTreeSet<u64> = found.values().flat_map(BTreeMap::values).copied().collect();
    assert_eq!(counts, BTreeSet::from([1]), "each is seen in a context");
    let taken = said(&outcome, " breakpoints out of");
    // In each of the four, and a child has what its parent has.
    assert!(taken >= 4 * 5, "{}", outcome.stderr());
    assert!(said(&outcome, " hits, read in") < 4 * ROUNDS, "{}", outcome.stderr());
}

#[test]
fn lines_only_one_after_the_other() {
    if kernel() {
        lines_only(1);
    }
}

#[test]
fn lines_only_all_at_once() {
    if kernel() {
        lines_only(4);
    }
}

fn budget(at_once: usize) {
    let runs = ["a", "b", "c", "a"].map(|kind| format!("{kind},{ROUNDS}")).join(" ");
    let outcome = kinds(BUDGET, &runs, at_once);
    check(&outcome, "kinds.c", &truth(&runs));
    for (name, bounds) in bounds(&outcome, "kinds.c") {
        assert!(bounds.contains(&19), "the loop, in `{name}`: {bounds:?}");
    }
    assert!(said(&outcome, " hits, read in") < 4 * ROUNDS, "{}", outcome.stderr());
    assert!(outcome.stderr().contains("counters stopped before the end"), "{}", outcome.stderr());
}

#[test]
fn a_budget_one_after_the_other() {
    if kernel() {
        budget(1);
    }
}

#[test]
fn a_budget_all_at_once() {
    if kernel() {
        budget(4);
    }
}

/// A context of whose processes none spent too much has exact counts, beside one of whose one did.
#[test]
fn only_what_stopped_has_lower_bounds() {
    if !kernel() {
        return;
    }
    let runs = format!("a,{ROUNDS} b,100 c,200");
    let outcome = kinds(&["--overhead=5%", "--overhead-grace=0.1"], &runs, 1);
    check(&outcome, "kinds.c", &truth(&runs));
    let bounds = bounds(&outcome, "kinds.c");
    assert!(bounds["a"].contains(&19) && bounds["b"].is_empty() && bounds["c"].is_empty(), "{bounds:?}");
}

/// Runs a program that executes itself so many times; a context is what is left.
fn executed(options: &[&str], program: &Path, times: u32) -> Outcome {
    let options = [&["--context-from=arg:1", "--verbose"], options].concat();
    Agent::run_with(&options, program).arg(times.to_string()).go()
}

/// The same for what each counts in any case, and besides if it executes itself, or else.
fn each(times: u32, counts: &[(u32, u64)], again: &[u32], last: &[u32]) -> Contexts {
    let of = |left| {
        let once = if left > 0 { again } else { last }.iter().map(|&line| (line, 1));
        (format!("{left}"), counts.iter().copied().chain(once).collect())
    };
    (0..=times).map(of).collect()
}

const BUDGET: &[&str] = &["--overhead=5%", "--overhead-grace=0"];

#[test]
fn a_program_that_executes_itself() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let (program, times) = (build(dir.path(), "again", &[]), 10);
    let hot = [(6, 20_000), (7, 20_000), (8, 20_000), (10, 1), (11, 1), (12, 1), (13, 20_001), (14, 20_000), (15, 1)];
    let truth = each(times, &hot, &[17, 18], &[21, 22, 23]);
    let outcome = executed(&["--lines-only"], &program, times);
    assert_eq!(lines(&outcome.contexts("again.c")), lines(&truth), "{}", outcome.stderr());
    assert!(said(&outcome, " breakpoints out of") > 0, "{}", outcome.stderr());
    let outcome = executed(BUDGET, &program, times);
    check(&outcome, "again.c", &truth);
    assert!(said(&outcome, " breakpoints out of") > 0, "{}", outcome.stderr());
}

/// Each program is at the same addresses, and executes the next one while probes go: what one has hit must not go from the
/// other.
#[test]
fn what_went_is_back_in_what_is_executed() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let (program, times) = (build(dir.path(), "chain", &["-no-pie"]), 400);
    let hot = [(6, 1), (7, 1), (8, 301), (9, 300), (10, 1), (11, 1), (13, 1), (14, 1), (15, 1), (16, 1)];
    let truth = each(times, &hot, &[18, 19], &[21, 22, 23]);
    let outcome = executed(&["--lines-only"], &program, times);
    assert_eq!(lines(&outcome.contexts("chain.c")), lines(&truth), "{}", outcome.stderr());
    assert!(said(&outcome, " breakpoints out of") > 0, "{}", outcome.stderr());
    let outcome = executed(BUDGET, &program, times);
    check(&outcome, "chain.c", &truth);
    assert!(said(&outcome, " breakpoints out of") > 0, "{}", outcome.stderr());
}

/// Runs a program with exact counts, within a budget, and for its lines only: each time its context has the same lines.
fn compare(program: &Path) {
    let name = program.display().to_string();
    let run = |options: &[&str]| {
        let options = [&["--context-from=arg:0", "--verbose", "--no-cache"], options].concat();
        Agent::run_with(&options, program).go()
    };
    let exact = run(&["--overhead=none"]);
    for options in [BUDGET, &["--lines-only"]] {
        let outcome = run(options);
        assert_eq!(outcome.stdout(), exact.stdout(), "{}", outcome.stderr());
        assert!(said(&outcome, " breakpoints out of") > 0, "{}", outcome.stderr());
        let mut marked = 0;
        for file in exact.json["files"].as_object().unwrap().keys() {
            let (truth, found) = (exact.contexts(file), outcome.contexts(file));
            assert_eq!(lines(&found), lines(&truth), "{file}: {}", outcome.stderr());
            let (doubts, bounds) = (bounds(&exact, file), bounds(&outcome, file));
            for (line, true_count) in truth.get(&name).into_iter().flatten() {
                let (count, bound) = (found[&name][line], bounds[&name].contains(line));
                let right = if bound { count <= *true_count } else { count == *true_count };
                assert!(doubts[&name].contains(line) || right, "{file}:{line}: {count}, {bound}, {true_count}");
                marked += u32::from(bound);
            }
        }
        assert!(marked >= 5, "{marked} lines have lower bounds: {}", outcome.stderr());
    }
}

#[test]
fn threads_and_forked_children() {
    if kernel() {
        let dir = scratch();
        compare(&build(dir.path(), "hammer", &["-pthread"]));
    }
}

/// A real program, optimised.
#[test]
fn a_library_in_cpp() {
    if kernel() {
        let dir = scratch();
        compare(&Project::esaxx().compile(dir.path(), "esaxx", &["-O1"]));
    }
}

/// Counts for each character that it is given.
const TALKER: &str = "#include <stdio.h>
int main(int argc, char **argv) {
    int sum = argc;
    puts(argv[1]);
    for (int c; fflush(stdout), (c = getchar()) != EOF; puts(\"done\"))
        for (int i = 0; i < 20000; i++)
            sum += i & c;
    return sum == 0;
}
";

/// Results on the way add up to no more than there was, and what had stopped is told once.
#[test]
fn results_on_the_way() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    std::fs::write(dir.path().join("talker.c"), TALKER).unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-o", "talker", "talker.c"]).run();
    let object = format!("{}/**", dir.path().canonicalize().unwrap().display());
    let agent = Agent::watch(&[&["--object", &object, "--context-from=arg:1"], BUDGET].concat()).start();
    let mut command = Command::new(dir.path().join("talker"));
    let mut talker = command.arg("hot").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(talker.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "hot");
    let json = agent.output_dir().join("coverage.json");
    for _ in 0..3 {
        for _ in 0..4 {
            talker.stdin.as_mut().unwrap().write_all(b"w").unwrap();
            assert_eq!(said.next().unwrap().unwrap(), "done");
        }
        let modified = || std::fs::metadata(&json).and_then(|file| file.modified()).ok();
        let (before, begun) = (modified(), Instant::now());
        while modified() == before {
            // One that comes while results are written is not heard.
            agent.signal(libc::SIGUSR1);
            assert!(begun.elapsed() < Duration::from_secs(20), "no results");
            std::thread::yield_now();
        }
    }
    drop(talker.stdin.take());
    assert!(talker.wait().unwrap().success());
    agent.signal(libc::SIGTERM);
    let outcome = agent.finish();
    let counts = [(2, 1), (3, 1), (4, 1), (5, 13), (6, 12 * 20_001), (7, 12 * 20_000), (8, 1), (9, 1)];
    check(&outcome, "talker.c", &[("hot".to_owned(), counts.into())].into());
    assert!(bounds(&outcome, "talker.c")["hot"].contains(&7), "{}", outcome.stderr());
    let stopped = outcome.json["cov_agent"]["losses"]["disarmed-counters"]["count"].as_u64().unwrap();
    assert!((1..=6).contains(&stopped), "{}", outcome.stderr());
}

/// Tests within a program: all probes stay, and who wants them to go is told.
#[test]
fn tests_within_a_program_keep_their_probes() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = build(dir.path(), "again", &[]);
    for (options, told) in [
        (&["--lines-only"][..], Some("--lines-only took no probe away")),
        (&["--overhead=1%"], Some("--overhead took no probe away")),
        (&["--overhead=none"], None),
        (&[], None),
    ] {
        let options = [&["--context-from=test", "--overhead-grace=0", "--verbose"], options].concat();
        let outcome = Agent::run_with(&options, &program).arg("2").go();
        assert_eq!(outcome.stdout(), "2 10000\n");
        // Three programs, each with all rounds.
        assert!(said(&outcome, " hits, read in") >= 3 * 20_000, "{}", outcome.stderr());
        let note = told.map_or("took no probe away", |told| told);
        assert_eq!(outcome.stderr().contains(note), told.is_some(), "{}", outcome.stderr());
    }
}
