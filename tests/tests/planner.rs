//! The planner against instruction counts, without probes: callgrind counts every instruction of a program, and the
//! plan's formulas must make of these what a probe on every statement would say, and what the fixtures announce.

use cov_tests::{Build, Instructions, agent_path, callgrind_instructions, expected, fixture, scratch};
use serde_json::Value;
use std::collections::BTreeMap;
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

/// What a plan of `program` with `arguments` makes of an execution: of each line its count, if it tells, and whether it ran.
fn told(program: &Path, arguments: &[&str], ran: &Instructions) -> BTreeMap<(String, u64), (Option<i64>, bool)> {
    let output = Command::new(agent_path()).args(["plan", "--json"]).args(arguments).arg(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counters = counters(&plan, ran);
    let line = |line: &Value| {
        let count = (plan["aim"] == "counts").then(|| sum(&line["count"], &counters));
        let hit = line["seen"].as_array().unwrap().iter().any(|seen| sum(seen, &counters) > 0);
        ((line["path"].as_str().unwrap().to_owned(), line["line"].as_u64().unwrap()), (count, hit))
    };
    plan["lines"].as_array().unwrap().iter().map(line).collect()
}

/// Plans that conclude much from few probes tell the same as the one with a probe for everything.
fn few_tell_as_much(source: &str, compiler: &str, flags: &[&str]) {
    let dir = scratch();
    let path = fixture(source);
    let program = dir.path().join("program");
    Build::with(compiler, dir.path()).args(flags).arg("-o").arg(&program).arg(&path).run();
    let ran = callgrind_instructions(&program, dir.path());
    let include = path.to_str().unwrap();
    let all = told(&program, &["--include", include, "--part"], &ran);
    let counts = told(&program, &["--include", include], &ran);
    assert!(all.values().any(|(_, hit)| *hit), "{source}: nothing ran");
    assert_eq!(counts, all, "{source} by {compiler} {flags:?}");
    let hits = told(&program, &["--include", include, "--aim", "hits"], &ran);
    let without_counts: BTreeMap<_, _> = all.into_iter().map(|(line, (_, hit))| (line, (None, hit))).collect();
    assert_eq!(hits, without_counts, "{source} by {compiler} {flags:?}");
    let once = told(&program, &["--include", include, "--aim", "once"], &ran);
    assert_eq!(once, without_counts, "{source} by {compiler} {flags:?}");
}

mod few_tell_as_much {
    use super::few_tell_as_much;

    fn check(sources: &[&str], compilers: [&str; 2]) {
        for source in sources {
            for compiler in compilers {
                for level in ["-O0", "-O1", "-O2"] {
                    few_tell_as_much(source, compiler, &[level, "-g", "-pthread", "-w"]);
                }
            }
        }
    }

    #[test]
    fn c() {
        check(&["c/loops.c", "c/rows.c", "c/recursion.c", "c/setjmp.c", "c/threads.c"], ["gcc", "clang"]);
    }

    #[test]
    fn cpp() {
        check(&["cpp/objects.cpp", "cpp/exceptions.cpp", "cpp/containers.cpp"], ["g++", "clang++"]);
    }

    #[test]
    fn rust() {
        for level in ["0", "2"] {
            few_tell_as_much("rust/main.rs", "rustc", &["--edition=2024", &format!("-Copt-level={level}"), "-g"]);
        }
    }
}

#[test]
fn the_plan_of_a_line() {
    let dir = scratch();
    let program = dir.path().join("program");
    let source = fixture("c/loops.c");
    Build::with("gcc", dir.path()).args(["-O0", "-g", "-o"]).arg(&program).arg(&source).run();
    let plan = |arguments: &[&str]| {
        let output = Command::new(agent_path()).arg("plan").args(arguments).arg(&program).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, text, _) = plan(&["--prices", "1000,20000"]);
    assert_eq!(code, Some(0));
    assert!(text.contains(", 0 unresolved\n"), "{text}");
    assert!(text.contains(" emulated (1000 ns a hit), "), "{text}");
    let all: Value = serde_json::from_str(&plan(&["--json", "--prices", "1000,20000"]).1).unwrap();
    let prices: u64 = all["probes"].as_array().unwrap().iter().map(|p| p["price_ns"].as_u64().unwrap()).sum();
    assert_eq!(all["expected"]["pass_us"], prices / 1000);
    let line = all["lines"][0]["line"].as_u64().unwrap();
    let (code, text, _) = plan(&["--line", &format!("loops.c:{line}")]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with(&format!("{}:{line}\n  count = 0x", source.display())), "{text}");
    let (code, _, error) = plan(&["--line", "loops.c:9999"]);
    assert_eq!(code, Some(125), "{error}");
    assert!(error.contains("loops.c:9999 is no line of"), "{error}");
    let (code, _, error) = plan(&["--line", "loops.c"]);
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("write it as FILE:LINE"), "{error}");
}
