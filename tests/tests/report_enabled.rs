//! `enabled = false`: the program runs as if there were no agent, with no privilege.

use cov_tests::{Said, Workdir};
use std::os::unix::process::CommandExt as _;

fn said(code: i32, out: &str, err: &str) -> Said {
    Said { code, out: out.to_owned(), err: err.to_owned() }
}

#[test]
fn the_program_is_all_that_runs() {
    let dir = Workdir::new(&[("coverage.ini", "[cov-agent]\nenabled = false\n")]);
    let run = |script: &str| dir.agent(&["run", "--", "sh", "-c", script]);
    assert_eq!(run("echo out; echo err >&2; exit 7"), said(7, "out\n", "err\n"));
    assert_eq!(run("kill -TERM $$").code, -1);
    // The same process, with nothing left open but what it has without the agent.
    // The shell itself lists them: for a pipeline it would open pipes, for a moment.
    let script = "cd /proc/$$/fd && echo * && read name </proc/$PPID/comm && echo $name";
    let plain =
        std::process::Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(run(script), dir.said(&plain));
    assert_eq!(dir.names("."), ["coverage.ini"]);
    let variable = dir.command(&["run", "--", "true"]).env("COV_AGENT_ENABLED", "no").output().unwrap();
    assert_eq!(dir.said(&variable), said(0, "", ""));
}

#[test]
fn no_privilege_is_needed() {
    const NOBODY: u32 = 65534;
    let dir = Workdir::new(&[("coverage.ini", "[cov-agent]\nenabled = false\n")]);
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let agent = dir.path().join("agent");
    std::fs::copy(cov_tests::agent_path(), &agent).unwrap();
    let mut command = std::process::Command::new(&agent);
    command.args(["run", "--", "id", "-u"]).current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
    // Only root can become somebody else; everybody else has no privilege anyway.
    let own = String::from_utf8(std::process::Command::new("id").arg("-u").output().unwrap().stdout).unwrap();
    let expected = if own.trim() == "0" {
        command.uid(NOBODY).gid(NOBODY);
        format!("{NOBODY}\n")
    } else {
        own
    };
    assert_eq!(dir.said(&command.output().unwrap()), said(0, &expected, ""));
}

#[test]
fn what_cannot_be_run_is_told_as_a_shell_does() {
    let dir = Workdir::new(&[("coverage.ini", "[cov-agent]\nenabled = false\n"), ("plain", "text\n")]);
    let gone = "cov-agent: error: ./gone: No such file or directory (os error 2) (program-not-found)\n";
    assert_eq!(dir.agent(&["run", "--", "./gone"]), said(127, "", gone));
    let plain = "cov-agent: error: ./plain: Permission denied (os error 13) (program-not-executable)\n";
    assert_eq!(dir.agent(&["run", "--", "./plain"]), said(126, "", plain));
    let user = dir.agent(&["run", "--user", "nobody", "--", "true"]);
    assert_eq!((user.code, user.out.as_str()), (64, ""));
    let attach = dir.agent(&["--pid", "1"]);
    let off = "cov-agent: warning: measuring is switched off: enabled = false (coverage.ini:2) (config)\n";
    assert_eq!(attach, said(0, "", off));
}
