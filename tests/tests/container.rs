//! The agent itself in a privileged container: mount and pid namespaces and a root directory of its own, which the test
//! makes, with the kernel's own file systems mounted anew.

use cov_tests::{Coverage, PATIENCE, agent_path, compile, kernel, scratch, work};
use std::path::Path;
use std::process::{Command, Output};

/// Makes the root below `$1`, with the agent and the directory `$2`, and runs the script `$4` there as its first process.
const CONTAINER: &str = r#"
set -e
root=$1 work=$2 agent=$3 script=$4
mount --make-rprivate /
mount -t tmpfs none "$root"
for d in bin lib lib64 usr; do
    if [ -L "/$d" ]; then cp -a "/$d" "$root/$d"; else mkdir "$root/$d" && mount --rbind "/$d" "$root/$d"; fi
done
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" "$root$work"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$work" "$root$work"
touch "$root/agent" && mount --bind "$agent" "$root/agent"
exec chroot "$root" /bin/sh -c "cd '$work' && $script"
"#;

/// Runs a script as the first process of a container; what it said.
fn inside(dir: &Path, script: &str) -> Output {
    let root = dir.join("root");
    std::fs::create_dir(&root).unwrap();
    let mut container = Command::new("unshare");
    container.args(["--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", CONTAINER, "container"]);
    let output =
        container.env(PATIENCE.0, PATIENCE.1).arg(&root).arg(dir).arg(agent_path()).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn assert_counted(dir: &Path, said: &Output) {
    let said = String::from_utf8_lossy(&said.stderr);
    let coverage = Coverage::read_lcov(&dir.join("out/lcov.info"));
    assert_eq!(coverage.file("work.c").lines, work(2, 7), "{said}");
    assert!(!said.contains("(losses)"), "{said}");
}

#[test]
fn a_program_in_the_agents_container() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let path = dir.path().canonicalize().unwrap();
    compile(&path, "c/work.c", "work", &[]);
    let script = "exec /agent run --include '**/work.c' --output out -- /bin/sh -c './work 3; ./work 4'";
    let said = inside(&path, script);
    assert_counted(&path, &said);
}

#[test]
fn a_process_that_runs_in_the_agents_container() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let path = dir.path().canonicalize().unwrap();
    compile(&path, "c/work.c", "work", &[]);
    // The shell is told to go on when the agent says that it is attached; what that says then is heard to its end.
    let script = "mkfifo go said; { read line; ./work 3; ./work 4; } < go & \
                  /agent --pid $! --follow --include '**/work.c' --output out 2> said & exec 4> go 3< said; \
                  while read line <&3; do echo $line >&2; case $line in *'attached to'*) break;; esac; done; \
                  echo >&4; cat <&3 >&2; wait";
    let said = inside(&path, script);
    assert_counted(&path, &said);
}
