//! The unit file for systemd: what systemd itself says of it, and that the capabilities that it grants are enough, and
//! none is too many.

use cov_tests::{
    Agent, Coverage, Outcome, PATIENCE, SHARED, agent_path, compile, compile_text, fixture, kernel, own_run_directory,
    scratch, work, workspace,
};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const SOMEBODY: u32 = 65534;

fn unit() -> String {
    std::fs::read_to_string(workspace().join("docs/src/how-to/cov-agent.service")).unwrap()
}

/// The capabilities that the unit grants, as setpriv(1) names them.
fn capabilities() -> Vec<String> {
    let unit = unit();
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    line.split_whitespace().map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase()).collect()
}

#[test]
fn systemd_has_nothing_to_say_against_it() {
    let dir = scratch();
    let here = unit().replace("/usr/local/bin/cov-agent", agent_path().to_str().unwrap());
    let path = dir.path().join("cov-agent.service");
    std::fs::write(&path, here).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // Units of the machine's own may have faults of their own.
    assert!(verified.status.success() && !said.contains("cov-agent"), "{said}");
}

/// Makes a machine of its own of namespaces, with the units that lie in `$1`, and runs systemd as its first process.
const MACHINE: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mount -t cgroup2 none /sys/fs/cgroup
mkdir /run/etc
cp /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /run/etc/
echo uninitialized > /run/etc/machine-id
mount --bind /run/etc /etc
export container=test SYSTEMD_UNIT_PATH=$1
exec /lib/systemd/systemd --system --unit=test.service --log-target=null --show-status=no
"#;

/// systemd itself starts it, hears that it is ready, has it write its results, and stops it.
#[test]
fn systemd_runs_it() {
    const TEST: &str = "set -x; cd $DIR; ./work 3; ./work 4; systemctl show -p ActiveState cov-agent; \
                        systemctl reload cov-agent; ./work 5; systemctl --no-block stop cov-agent; \
                        while systemctl show -p ActiveState cov-agent | grep -v -e =inactive -e =failed; do :; done; \
                        systemctl show -p Result,ExecMainStatus,ExecMainCode cov-agent; cp -r /var/lib/cov-agent/coverage result; \
                        kill -s RTMIN+13 1";
    if !kernel() {
        return;
    }
    let dir = scratch();
    let path = dir.path().canonicalize().unwrap();
    let text = std::fs::read_to_string(fixture("c/work.c")).unwrap();
    compile_text(&path, "work", &text);
    let here = path.to_str().unwrap();
    let units = path.join("units");
    std::fs::create_dir(&units).unwrap();
    let write = |name: &str, text: &str| std::fs::write(units.join(name), text).unwrap();
    for target in ["sysinit", "basic", "shutdown", "multi-user"] {
        write(&format!("{target}.target"), "[Unit]\nDescription=A target\n");
    }
    let unit = unit().replace("/usr/local/bin/cov-agent", agent_path().to_str().unwrap()).replace("/srv/ci", here);
    let unit = unit.replace("[Service]", &format!("[Service]\nEnvironment={}={}", PATIENCE.0, PATIENCE.1));
    write("cov-agent.service", &unit);
    let script = TEST.replace("$DIR", here);
    write(
        "test.service",
        &format!(
            "[Unit]\nAfter=cov-agent.service\nWants=cov-agent.service\nDefaultDependencies=no\n[Service]\nType=oneshot\n\
             ExecStart=/bin/sh -c '{script}'\nStandardOutput=file:{here}/said\nStandardError=file:{here}/done\n"
        ),
    );
    let machine = Command::new("timeout")
        .args(["--signal=KILL", "60", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"])
        .args(["--cgroup", "--mount-proc", "/bin/sh", "-c", MACHINE, "machine"])
        .arg(&units)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
    let said = format!("{}{}{}", String::from_utf8_lossy(&machine.stderr), read("done"), read("said"));
    let has = |line: &str| read("said").lines().any(|said| said == line);
    assert!(has("ActiveState=active") && has("Result=success") && has("ExecMainStatus=0"), "{said}");
    let coverage = Coverage::read_lcov(&path.join("result/lcov.info"));
    assert_eq!(coverage.file("work.c").lines, work(3, 12), "{said}");
}

/// Which sources have counts when `cov-agent watch` has no other capabilities than these, no new privileges and no memory
/// that is writable and executable: of another user's program and its library, which only that user may read, and of one
/// that runs already. `Err` with what it said where it does not start.
fn watch(granted: &[String]) -> Result<(BTreeSet<String>, Outcome), String> {
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let library = compile(dir.path(), "c/library.c", "liblibrary.so", &SHARED);
    let rpath = format!("-Wl,-rpath,{}", dir.path().display());
    let flags = ["-Wl,--no-as-needed", "-L.", "-llibrary", &rpath];
    let program = compile(dir.path(), "c/uses_library.c", "program", &flags);
    let text = "#include <stdio.h>\nint main(void) {\n    puts(\"ready\");\n    fflush(stdout);\n    while (getchar() == 'x')\n        \
                puts(\"x\");\n    return 0;\n}\n";
    let slow = compile_text(dir.path(), "slow", text);
    for file in [&library, &program, &slow] {
        chown(file, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    let somebodys = |program: &Path| {
        let mut command = Command::new(program);
        command.uid(SOMEBODY).gid(SOMEBODY).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let mut running = somebodys(&slow).spawn().unwrap();
    running.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();

    let set = granted.iter().fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
    let mut agent = Agent::watch(&["--object", &format!("{}/**", dir.path().display())]);
    let given: Vec<_> = agent.command().get_args().map(ToOwned::to_owned).collect();
    let mut confined = Command::new("setpriv");
    confined.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set", &set]);
    confined.arg(agent_path()).args(given).env("COV_AGENT_PLAN_CACHE", "false").env(PATIENCE.0, PATIENCE.1);
    // SAFETY: one system call between fork and exec.
    #[expect(unsafe_code, reason = "what systemd does for MemoryDenyWriteExecute")]
    unsafe {
        confined.pre_exec(|| match libc::prctl(libc::PR_SET_MDWE, 1, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    *agent.command() = confined;
    let started = agent.try_start();
    running.stdin.take().unwrap().write_all(b"xx").unwrap();
    assert!(running.wait().unwrap().success());
    let agent = started?;
    assert!(somebodys(&program).output().unwrap().status.success());
    agent.signal(libc::SIGTERM);
    let outcome = agent.finish();
    let counted = outcome.coverage.files.iter().filter(|(_, file)| file.lines.values().any(|count| *count > 0));
    let names = counted.map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned());
    Ok((names.collect(), outcome))
}

#[test]
fn its_capabilities_are_enough_and_each_is_needed() {
    if !kernel() {
        return;
    }
    // Others' agents that are killed would be told of.
    own_run_directory("size=64m");
    let granted = capabilities();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (counted, outcome) = watch(&granted).unwrap();
    assert_eq!(counted, names(&["library.c", "slow.c", "uses_library.c"]), "{}", outcome.stderr());
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert!(!outcome.stderr().contains("warning"), "{}", outcome.stderr());
    for without in &granted {
        let rest: Vec<String> = granted.iter().filter(|name| *name != without).cloned().collect();
        let got = watch(&rest).map(|(counted, _)| counted);
        let expected = match without.as_str() {
            "sys_admin" => Err(()),
            "sys_ptrace" | "dac_read_search" => Ok(names(&["uses_library.c"])),
            other => panic!("nobody says what needs {other}"),
        };
        assert_eq!(got.map_err(|_| ()), expected, "without {without}");
    }
}
