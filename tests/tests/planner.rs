//! The planner against instruction counts, without probes: callgrind counts every instruction of a program, and the
//! plan's formulas must make of these what a probe on every statement would say, and what the fixtures announce.

use cov_tests::{Build, Instructions, agent_path, callgrind_instructions, expected, fixture, scratch};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn address(text: &Value) -> u64 {
    u64::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// What the counters of the plan would be.
fn counters(plan: &Value, ran: &Instructions) -> Vec<i64> {
    let mut counters = vec![0; usize::try_from(plan["slots"].as_u64().unwrap()).unwrap()];
    for probe in plan["probes"].as_array().unwrap() {
        let at = address(&probe["address"]);
        let slot = |name: &str| probe.get(name).and_then(Value::as_u64).map(|slot| usize::try_from(slot).unwrap());
        let executed = ran.executed(at);
        match slot("slot_not_taken") {
            Some(not_taken) => {
                counters[slot("slot").unwrap()] += ran.taken(at);
                counters[not_taken] += executed - ran.taken(at);
            }
            None => counters[slot("slot").unwrap()] += executed,
        }
    }
    counters
}

fn sum(terms: &Value, counters: &[i64]) -> i64 {
    let term = |term: &Value| {
        let slot = usize::try_from(term["slot"].as_u64().unwrap()).unwrap();
        term["coefficient"].as_i64().unwrap() * counters[slot]
    };
    terms.as_array().unwrap().iter().map(term).sum()
}

fn check(source: &str, compiler: &str, flags: &[&str]) {
    let dir = scratch();
    let path = fixture(source);
    let program = dir.path().join("program");
    Build::with(compiler, dir.path()).args(flags).arg("-o").arg(&program).arg(&path).run();
    let ran = callgrind_instructions(&program, dir.path());
    let json = lines(&program, &path);
    let plan: Value = serde_json::from_str(&json).unwrap();
    let counters = counters(&plan, &ran);
    let announced = match compiler {
        "g++" => "gcc",
        "clang++" => "clang",
        other => other,
    };
    let want = expected(&path, announced);
    let files = plan["files"].as_array().unwrap();
    let [file] = &files[..] else { panic!("{} files", files.len()) };
    let mut wrong = Vec::new();
    for formula in file["lines"].as_array().unwrap() {
        let line = u32::try_from(formula["line"].as_u64().unwrap()).unwrap();
        let count = sum(&formula["count"], &counters);
        let hit = formula["seen"].as_array().unwrap().iter().any(|seen| sum(seen, &counters) > 0);
        // A probe on every statement. A line without any is where a function is declared, and counts its entries.
        let statements = formula["addresses"].as_array().unwrap();
        let dumb = statements.iter().any(|at| ran.executed(address(at)) > 0);
        if hit != (count > 0) || (hit != dumb && !statements.is_empty()) {
            wrong.push(format!("line {line}: count {count}, hit {hit}, statements executed: {dumb}"));
        }
        match want.get(&line) {
            Some(want) if u64::try_from(count).is_ok_and(|count| want.count.contains(&count)) => {}
            want => wrong.push(format!("line {line}: {count}, announced {want:?}")),
        }
    }
    assert!(wrong.is_empty(), "{source} by {compiler}:\n  {}", wrong.join("\n  "));
}

/// The plan of `program` for the source `path`.
fn lines(program: &Path, path: &Path) -> String {
    let output =
        Command::new(agent_path()).args(["lines", "--json", "--include"]).arg(path).arg(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn c() {
    // Not signals.c: valgrind does not count an instruction that faults. Not fork.c: its children are other processes.
    for name in ["loops", "rows", "recursion", "setjmp", "threads"] {
        for compiler in ["gcc", "clang"] {
            check(&format!("c/{name}.c"), compiler, &["-O0", "-g", "-pthread", "-w"]);
        }
    }
}

#[test]
fn cpp() {
    for name in ["objects", "exceptions"] {
        for compiler in ["g++", "clang++"] {
            check(&format!("cpp/{name}.cpp"), compiler, &["-std=c++17", "-O0", "-g"]);
        }
    }
}

#[test]
fn rust() {
    check("rust/main.rs", "rustc", &["--edition=2024", "-Copt-level=0", "-g"]);
}
