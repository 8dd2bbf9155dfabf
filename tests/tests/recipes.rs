//! The recipes of the manual, run as they stand there.

use cov_tests::{Build, Workdir, agent_path, kernel, workspace};
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

#[test]
fn shards_are_merged_without_privilege() {
    if !kernel() {
        return;
    }
    let dir = Workdir::new(&[("program.c", PROGRAM), ("sudo", "#!/bin/sh\nexec \"$@\"\n")]);
    dir.write("run-tests", "#!/bin/sh\nexec ./program \"$1\"\n");
    Build::with("gcc", &dir.path()).args(["-g", "-O0", "-o", "program", "program.c"]).run();
    std::fs::copy(agent_path(), dir.path().join("cov-agent")).unwrap();
    for name in ["sudo", "run-tests", "."] {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let [shard, last] = &scripts("ci.md")[..] else { panic!("two scripts") };
    sh(&dir, &["env"], shard, "1");
    sh(&dir, &["env"], shard, "2");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    sh(&dir, &nobody, last, "");
    let coverage = cov_tests::Coverage::read_lcov(&dir.path().join("coverage/lcov.info"));
    let lines: Vec<_> = coverage.file("program.c").lines.iter().map(|(line, count)| (*line, *count)).collect();
    assert_eq!(lines, [(2, 2), (3, 2), (4, 1), (5, 1), (6, 2)]);
    assert!(dir.path().join("coverage/cobertura.xml").exists());
}
