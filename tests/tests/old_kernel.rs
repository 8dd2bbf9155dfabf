//! A kernel without `uprobe.multi` is used as well as it can be, and that is told; `cargo xtask vm` runs this on one.

use cov_tests::{Agent, Build, agent_path, fixture, kernel, scratch};
use std::process::Command;

#[test]
fn probes_that_are_armed_one_by_one_are_told() {
    if !kernel() {
        return;
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap());
    let old = (numbers.next().unwrap(), numbers.next().unwrap()) < (6, 6);

    let dir = scratch();
    let program = dir.path().join("work");
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-o"]).args([&program, &fixture("c/work.c")]).run();
    let outcome = Agent::run(&program).arg("3").go();
    assert_eq!(outcome.coverage.file("work.c").lines[&7], 3);
    assert_eq!(outcome.stderr().contains("probes were armed one by one"), old, "{}", outcome.stderr());

    let said = Command::new(agent_path()).args(["doctor", "--json"]).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let facts = said["facts"].as_array().unwrap();
    let verdict = |name: &str| facts.iter().find(|fact| fact["name"] == name).unwrap()["verdict"].as_str().unwrap();
    let expected = if old { "limited" } else { "ok" };
    assert_eq!((verdict("kernel"), verdict("uprobe.multi")), (expected, expected));
}
