//! The recipes of the manual, run as they stand there.

#[path = "../../cov-agent/tests/common/mod.rs"]
mod common;

use cov_tests::{Build, Workdir, agent_path, kernel, workspace};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

const PROGRAM: &str = "#include <stdlib.h>\nint main(int argc, char **argv) {\n    if (atoi(argv[argc - 1]) > 1)\n        \
                       return 0;\n    return 0;\n}\n";

/// The shell scripts of a page: what stands between the fences that say `sh`.
fn scripts(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("docs/src/how-to").join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// Runs a script in `dir`, which is in front of `PATH`, after what `launcher` does.
fn sh(dir: &Workdir, launcher: &[&str], script: &str, shard: &str) -> Output {
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut words = launcher.iter().copied().chain(["sh", "-e", "-c", script]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env("PATH", path).env("SHARD", shard).current_dir(dir.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// A project whose tests come in shards, with the agent in its directory.
fn project() -> Workdir {
    let dir = Workdir::new(&[("program.c", PROGRAM), ("sudo", "#!/bin/sh\nexec \"$@\"\n")]);
    dir.write("run-tests", "#!/bin/sh\nexec ./program \"$1\"\n");
    Build::with("gcc", &dir.path()).args(["-g", "-O0", "-o", "program", "program.c"]).run();
    std::fs::copy(agent_path(), dir.path().join("cov-agent")).unwrap();
    for name in ["sudo", "run-tests", "."] {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    dir
}

/// The results are those of both shards.
fn assert_merged(dir: &Workdir, format: &str) {
    let merged = dir.path().join("coverage").join(format);
    assert!(merged.exists(), "{}", merged.display());
    let said = dir.agent(&["convert", "coverage", "--output", "all", "--format", "lcov"]);
    assert_eq!(said.code, 0, "{said:?}");
    let coverage = cov_tests::Coverage::read_lcov(&dir.path().join("all/lcov.info"));
    let lines: Vec<_> = coverage.file("program.c").lines.iter().map(|(line, count)| (*line, *count)).collect();
    assert_eq!(lines, [(2, 2), (3, 2), (4, 1), (5, 1), (6, 2)]);
}

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn shards_are_merged_without_privilege() {
    if !kernel() {
        return;
    }
    let dir = project();
    let [shard, last] = &scripts("ci.md")[..] else { panic!("two scripts") };
    sh(&dir, &["env"], shard, "1");
    sh(&dir, &["env"], shard, "2");
    sh(&dir, &NOBODY, last, "");
    assert_merged(&dir, "lcov.info");
    assert_merged(&dir, "cobertura.xml");
}

/// The recipes in YAML, as a reader of YAML reads them.
fn yaml() -> Vec<Value> {
    let text = std::fs::read_to_string(workspace().join("docs/src/how-to/ci.md")).unwrap();
    let python = common::venv("yaml", &["pyyaml==6.0.3"]).join("bin/python");
    let read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.argv[1])))";
    let blocks = text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let parsed = blocks.map(|block| common::output(Command::new(&python).args(["-c", read, block])));
    parsed.map(|json| serde_json::from_str(&json).unwrap()).collect()
}

/// The commands of a list: of its members, or of what they `run`.
fn commands(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.filter_map(|step| step.as_str().or(step["run"].as_str())).map(str::to_owned).collect()
}

#[test]
fn github_actions() {
    if !kernel() {
        return;
    }
    let dir = project();
    let recipe = &yaml()[0]["jobs"];
    let shards = recipe["test"]["strategy"]["matrix"]["shard"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    for shard in shards {
        for command in commands(&recipe["test"]["steps"]) {
            sh(&dir, &["env"], &command.replace("${{ matrix.shard }}", &shard.to_string()), "");
        }
    }
    let last = commands(&recipe["coverage"]["steps"]);
    assert_eq!(last.len(), 3, "{last:?}");
    // Each step is a shell of its own.
    let launcher = [&["env", "GITHUB_STEP_SUMMARY=summary"], &NOBODY[..]].concat();
    last.iter().for_each(|command| drop(sh(&dir, &launcher, command, "")));
    assert_merged(&dir, "cobertura.xml");
    assert!(dir.read("summary").contains("program.c"), "{}", dir.read("summary"));
}

#[test]
fn gitlab() {
    if !kernel() {
        return;
    }
    let dir = project();
    let recipe = &yaml()[1];
    for shard in 1..=recipe["test"]["parallel"].as_u64().unwrap() {
        let index = format!("CI_NODE_INDEX={shard}");
        commands(&recipe["test"]["script"]).iter().for_each(|command| drop(sh(&dir, &["env", &index], command, "")));
    }
    commands(&recipe["coverage"]["script"]).iter().for_each(|command| drop(sh(&dir, &NOBODY, command, "")));
    let report = &recipe["coverage"]["artifacts"]["reports"]["coverage_report"];
    assert_eq!(report["coverage_format"], "cobertura");
    assert_merged(&dir, report["path"].as_str().unwrap().strip_prefix("coverage/").unwrap());
}

#[test]
fn jenkins() {
    if !kernel() {
        return;
    }
    let dir = project();
    dir.write("run-tests", "#!/bin/sh\n./program 1 && exec ./program 2\n");
    let text = std::fs::read_to_string(workspace().join("docs/src/how-to/ci.md")).unwrap();
    let recipe = text.split("```groovy\n").nth(1).unwrap().split("```").next().unwrap();
    let steps: Vec<_> = recipe.split("sh '").skip(1).map(|step| step.split('\'').next().unwrap()).collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    steps.iter().for_each(|step| drop(sh(&dir, &["env"], step, "")));
    let pattern = recipe.split("pattern: '").nth(1).unwrap().split('\'').next().unwrap();
    assert_merged(&dir, pattern.strip_prefix("coverage/").unwrap());
}
