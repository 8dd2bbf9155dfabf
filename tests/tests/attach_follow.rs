//! `cov-agent --pid PID --follow` measures what a running process starts and loads; also one in a container.

use cov_tests::{Agent, Build, Coverage, SHARED, agent_path, compile, compile_text, kernel, scratch, work};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts a command and waits until it says that it is ready.
fn ready(command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// A shell that runs `script` when it is told to.
fn shell(dir: &Path, script: &str) -> Child {
    let script = format!("echo ready; read line; {script}");
    ready(Command::new("/bin/sh").arg("-c").arg(script).current_dir(dir))
}

fn tell(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"xxx\n").unwrap();
}

#[test]
fn programs_that_an_attached_shell_starts() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    compile(dir.path(), "c/host.c", "host", &[]);
    compile(dir.path(), "c/plugin.c", "plugin.so", &SHARED);
    let mut shell = shell(dir.path(), "./work 2; sh -c './work 3; true'; ./host ./plugin.so; ./host ./plugin.so; true");
    let mut agent = Agent::attach(&[shell.id()]).arg("--follow");
    agent.command().current_dir(dir.path());
    let agent = agent.start();
    tell(&mut shell);
    assert!(shell.wait().unwrap().success());
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("work.c").lines, work(2, 5), "{}", outcome.stderr());
    let plugin = &outcome.coverage.file("plugin.c").lines;
    assert_eq!((plugin[&4], plugin[&8], plugin[&11]), (2, 10, 10), "{}", outcome.stderr());
}

#[test]
fn not_where_that_is_not_wanted() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = "#include <stdio.h>\n#include <stdlib.h>\nint main(void) {\n    puts(\"ready\");\n    fflush(stdout);\n    \
                  getchar();\n    return system(\"./work 3\");\n}\n";
    compile_text(dir.path(), "starter", source);
    compile(dir.path(), "c/work.c", "work", &[]);
    let mut starter = ready(Command::new(dir.path().join("starter")).current_dir(dir.path()));
    let agent = Agent::attach(&[starter.id()]).start();
    tell(&mut starter);
    assert!(starter.wait().unwrap().success());
    let outcome = agent.finish();
    assert_eq!(outcome.coverage.file("starter.c").lines[&7], 1, "{}", outcome.stderr());
    assert_eq!(outcome.coverage.files.len(), 1, "{:?}", outcome.coverage.files.keys());
}

/// The process whose program is called so.
fn process_called(name: &str) -> u32 {
    loop {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_it =
            |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
        if let Some(pid) = pids.into_iter().find(is_it) {
            return pid;
        }
        std::thread::yield_now();
    }
}

/// Its own mount, pid and user namespace, on an overlay; its debug info lies in there too, and its sources have another
/// place here.
#[test]
fn a_process_in_a_container() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    let source = "#include <stdio.h>\nint step(int n) {\n    return n + 1;\n}\nint main(void) {\n    int n = 0;\n    \
                  puts(\"ready\");\n    fflush(stdout);\n    while (getchar() == 'x')\n        n = step(n);\n    \
                  return n != 3;\n}\n";
    std::fs::write(path("contained.c"), source).unwrap();
    let name = format!("cov-{}", std::process::id());
    let map = format!("-ffile-prefix-map={}=/build/app", dir.path().canonicalize().unwrap().display());
    let full = path("contained.c").canonicalize().unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-O0", "-static", &map, "-o", "full"]).arg(full).run();
    let script = "set -e; id=$(readelf -n full | sed -n 's/.*Build ID: //p'); first=$(echo $id | cut -c1-2); \
                  rest=$(echo $id | cut -c3-); mkdir -p lower/usr/lib/debug/.build-id/$first up merged; \
                  objcopy --only-keep-debug full lower/usr/lib/debug/.build-id/$first/$rest.debug; strip -o lower/$0 full";
    let made = Command::new("sh").arg("-c").arg(script).arg(&name).current_dir(dir.path()).status().unwrap();
    assert!(made.success());
    let inside = format!(
        "mount -t tmpfs none up && mkdir up/u up/w && mount -t overlay overlay -o \
         lowerdir=lower,upperdir=up/u,workdir=up/w merged && exec chroot merged /{name}"
    );
    let mut contained = ready(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c", &inside])
            .current_dir(dir.path()),
    );
    let sources = dir.path().canonicalize().unwrap();
    let agent = Agent::attach(&[process_called(&name)]).arg("--include").arg("/build/app/**").start();
    tell(&mut contained);
    let ended = contained.wait().unwrap();
    let outcome = agent.finish();
    assert!(ended.success(), "{ended}: {}", outcome.stderr());
    let kept = outcome.output.path();
    let lines = |coverage: &Coverage, path: &Path| {
        let lines = &coverage.files.get(path).unwrap_or_else(|| panic!("{}", outcome.stderr())).lines;
        (lines[&2], lines[&3], lines[&4])
    };
    assert_eq!(lines(&outcome.coverage, Path::new("/build/app/contained.c")), (3, 3, 3), "{}", outcome.stderr());
    // Mapped to where the sources are here.
    let map = format!("/build/app={}", sources.display());
    let mapped = dir.path().join("mapped");
    let converted = Command::new(agent_path())
        .arg("convert")
        .arg(kept.join("coverage_raw.dat"))
        .args(["--prefix-map", &map, "--format", "lcov", "--output"])
        .arg(&mapped)
        .output()
        .unwrap();
    assert!(converted.status.success(), "{}", String::from_utf8_lossy(&converted.stderr));
    let mapped = Coverage::read_lcov(&mapped.join("lcov.info"));
    assert_eq!(lines(&mapped, &sources.join("contained.c")), (3, 3, 3));
}
