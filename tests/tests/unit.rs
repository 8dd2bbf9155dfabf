//! The unit file for systemd: what systemd itself says of it, and that the capabilities that it grants are enough, and
//! none is too many.

use cov_tests::{Agent, Outcome, agent_path, compile, kernel, scratch, work, workspace};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

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

/// `cov-agent watch` with no other capabilities than these, no new privileges and no memory that is writable and
/// executable, while another user runs a program that only that user may read, and one that only root may.
fn watch(granted: &[String]) -> Result<Outcome, String> {
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = compile(dir.path(), "c/work.c", "work", &[]);
    chown(&program, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o500)).unwrap();
    let set = granted.iter().fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
    let mut agent = Agent::watch(&["--object", &format!("{}/**", dir.path().display())]);
    let given: Vec<_> = agent.command().get_args().map(ToOwned::to_owned).collect();
    let mut confined = Command::new("setpriv");
    confined.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set", &set]).arg(agent_path()).args(given);
    confined.env("COV_AGENT_PLAN_CACHE", "false");
    // SAFETY: one system call between fork and exec.
    #[expect(unsafe_code, reason = "what systemd does for MemoryDenyWriteExecute")]
    unsafe {
        confined.pre_exec(|| match libc::prctl(libc::PR_SET_MDWE, 1, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    *agent.command() = confined;
    let agent = agent.try_start()?;
    let mut running = Command::new(&program);
    let status = running.arg("3").uid(SOMEBODY).gid(SOMEBODY).status().unwrap();
    assert!(status.success());
    agent.signal(libc::SIGTERM);
    Ok(agent.finish())
}

#[test]
fn its_capabilities_are_enough() {
    if !kernel() {
        return;
    }
    let outcome = watch(&capabilities()).unwrap();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines, work(1, 3), "{}", outcome.stderr());
    assert!(!outcome.stderr().contains("warning"), "{}", outcome.stderr());
}
