//! Plans kept from one run to the next.

use cov_tests::{Build, Project, agent_command, fixture, kernel, scratch};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Runs `program` in `dir`; what the agent said, and its `lcov.info`.
fn run(dir: &Path, program: &Path, options: &[&str]) -> (String, String) {
    let mut agent = agent_command();
    agent.args(["run", "-v", "--include", "**", "--output", "out"]).args(options).arg("--").arg(program);
    let output = agent.current_dir(dir).env("HOME", dir).env_remove("XDG_CACHE_HOME").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (said, std::fs::read_to_string(dir.join("out/lcov.info")).unwrap())
}

fn from_cache(said: &str) -> bool {
    said.contains("plan found in the cache")
}

#[test]
fn the_next_run_begins_with_the_plan() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = dir.path().join("program");
    Build::with("gcc", dir.path()).args(["-g", "-O1", "-o"]).arg(&program).arg(fixture("c/loops.c")).run();
    let run = |options: &[&str]| run(dir.path(), &program, options);
    let (first, counts) = run(&[]);
    assert!(!from_cache(&first), "{first}");
    let kept = dir.path().join(".cache/cov-agent");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() == 2 && names.contains(&"prices".into()), "a plan, and what a hit costs: {names:?}");
    let (second, again) = run(&[]);
    assert!(from_cache(&second), "{second}");
    assert_eq!(again, counts);
    for options in [&["--no-cache"][..], &["--cache", "mine"], &["--exclude", "x"], &["--branch"]] {
        assert!(!from_cache(&run(options).0), "{options:?}");
    }
    assert!(from_cache(&run(&["--cache", "mine"]).0));
    // What is selected depends on more than options say.
    run(&["--function", "main"]);
    assert!(!from_cache(&run(&["--function", "main"]).0));
    std::fs::remove_dir_all(&kept).unwrap();
    let (third, again) = run(&[]);
    assert!(!from_cache(&third));
    assert_eq!(again, counts);

    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (said, _) = run(&["--cache", ".cache/cov-agent"]);
    let complaint = format!(
        "cov-agent: warning: plans are not kept: {} is not safe: it must belong to the user who runs the agent, and \
         nobody else may write to it (cache)\n",
        kept.display()
    );
    assert!(said.contains(&complaint), "{said}");
    let (said, _) = run(&[]);
    assert!(said.contains("cov-agent: plans are not kept: ") && !said.contains("warning"), "{said}");
}

#[test]
fn a_real_project_counts_the_same() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = Project::esaxx().compile(dir.path(), "esaxx", &["-O1"]);
    let run = || {
        let mut options = vec!["--cache", "plans", "--format", "lcov"];
        options.extend(["--exclude", "/usr/**"]);
        run(dir.path(), &program, &options)
    };
    let (first, counts) = run();
    let (second, again) = run();
    assert!(!from_cache(&first) && from_cache(&second), "{second}");
    assert!(again == counts && counts.lines().count() > 100);
}
