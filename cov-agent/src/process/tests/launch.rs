//! Programs are given what they would be given without the agent, and what became of them is told.

use crate::process::{Ending, Launch, LaunchError, Program, ProgramEvent, Signals, User, block_on};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn launch(program: impl AsRef<OsStr>, args: &[&str]) -> Launch {
    let args = args.iter().map(Into::into).collect();
    Launch { program: program.as_ref().to_owned(), args, user: None, variables: Vec::new() }
}

fn signals() -> Signals {
    Signals::block().unwrap()
}

/// All that happens to a program.
fn events(mut program: Program) -> Vec<ProgramEvent> {
    block_on(async {
        let mut events = vec![program.event().await.unwrap()];
        while matches!(events.last(), Some(ProgramEvent::Executing)) {
            events.push(program.event().await.unwrap());
        }
        events
    })
    .unwrap()
}

fn run(launch: &Launch) -> Ending {
    let events = events(launch.hold(signals()).unwrap().release().unwrap());
    let [ProgramEvent::Executing, ProgramEvent::Ended(ending)] = events.as_slice() else { panic!("{events:?}") };
    *ending
}

fn shell(script: &str) -> Launch {
    launch("sh", &["-c", script])
}

fn file(dir: &TempDir, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn endings_are_told_as_a_shell_tells_them() {
    assert_eq!(run(&launch("true", &[])), Ending::Exited(0));
    assert_eq!(run(&shell("exit 77")).exit_code(), 77);
    assert_eq!(run(&shell("kill -9 $$")), Ending::Killed { signal: 9, core: false });
    assert_eq!(run(&shell("kill -40 $$")).exit_code(), 168, "real-time signals too");
}

#[test]
fn nothing_runs_before_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let touch = launch("touch", &[mark.to_str().unwrap()]);
    let held = touch.hold(signals()).unwrap();
    let exe = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(exe(held.pid()), exe(std::process::id()));
    drop(held);
    assert!(!mark.exists(), "a dropped one runs nothing");
    assert_eq!(run(&touch), Ending::Exited(0));
    assert!(mark.exists());
}

#[test]
fn the_opened_file_is_the_one_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/bin/sleep", dir.path().join("program")).unwrap();
    let held = launch(dir.path().join("program"), &["60"]).hold(signals()).unwrap();
    let file = held.executable().file.try_clone().unwrap();
    fs::remove_file(dir.path().join("program")).unwrap();
    symlink("/bin/cat", dir.path().join("program")).unwrap();
    let mut program = held.release().unwrap();
    block_on(async {
        assert!(matches!(program.event().await.unwrap(), ProgramEvent::Executing));
    })
    .unwrap();
    // cat has nothing to read here; whether it has ended already does not matter.
    assert!(!program.executes(&file).unwrap_or(false), "another file is noticed");
    events(program);

    let held = launch("sleep", &["60"]).hold(signals()).unwrap();
    let (pid, file) = (held.pid(), held.executable().file.try_clone().unwrap());
    let mut program = held.release().unwrap();
    block_on(async {
        assert!(matches!(program.event().await.unwrap(), ProgramEvent::Executing));
    })
    .unwrap();
    assert!(program.executes(&file).unwrap());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::SIGKILL).unwrap();
    assert!(matches!(events(program)[..], [ProgramEvent::Ended(Ending::Killed { signal: 9, .. })]));
}

#[test]
fn what_cannot_be_launched_has_a_shells_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let error = |program: &Path| launch(program, &[]).hold(signals()).unwrap_err();
    let not_found = error(Path::new("no-such-program"));
    assert_eq!((not_found.exit_code(), not_found.to_string().as_str()), (127, "no-such-program: not found in PATH"));
    assert_eq!(error(Path::new("./no/such")).to_string(), "./no/such: not found");
    let data = error(&file(&dir, "data", "text", 0o644));
    assert!(matches!(data, LaunchError::NotExecutable { .. }));
    assert_eq!(data.exit_code(), 126);
    assert_eq!(error(dir.path()).exit_code(), 126);

    let lost = file(&dir, "lost", "#!/no/such/interpreter\n", 0o755);
    let program = launch(&lost, &[]).hold(signals()).unwrap().release().unwrap();
    let events = events(program);
    let [ProgramEvent::NotExecuted(error)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error.exit_code(), 127);
    assert!(error.to_string().contains("its interpreter, /no/such/interpreter, does not exist"), "{error}");
}

#[test]
fn scripts_run_with_and_without_a_first_line() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("with", "#!/bin/sh\nexit $(($1 + 2))\n"), ("without", "exit $(($1 + 2))\n")] {
        let script = file(&dir, name, text, 0o755);
        assert_eq!(run(&launch(script, &["40"])), Ending::Exited(42), "{name}");
    }
}

/// What a program sees of its surroundings, written to a file. Without the two signals that the C
/// library keeps for itself: posix_spawn(3), which the comparison uses, ignores them.
const SURROUNDINGS: &str = "exec > \"$0\"; \
     echo SigIgn $(( 0x$(sed -n 's/^SigIgn:.//p' /proc/self/status) & ~0x180000000 )); grep -E '^(SigBlk|Groups|Uid|Umask|CapEff|NoNewPrivs)' /proc/self/status; \
     cat /proc/self/limits /proc/self/oom_score_adj /proc/self/personality; env -0 | tr '\\0' '\\n' | sort; pwd; \
     for fd in /proc/self/fd/*; do [ -e $fd ] && echo ${fd##*/}; done; cut -d' ' -f5-8,18,19 /proc/self/stat; nice";

#[test]
fn a_program_sees_what_it_would_see_without() {
    let dir = tempfile::tempdir().unwrap();
    let [with, without] = ["with", "without"].map(|name| dir.path().join(name));
    assert_eq!(run(&launch("sh", &["-c", SURROUNDINGS, with.to_str().unwrap()])), Ending::Exited(0));
    assert!(Command::new("sh").args(["-c", SURROUNDINGS]).arg(&without).status().unwrap().success());
    let [with, without] = [with, without].map(|path| fs::read_to_string(path).unwrap());
    assert!(with.contains("SigIgn") && with.contains("Max open files") && with.contains("PATH="), "{with}");
    let differences: Vec<_> = with.lines().zip(without.lines()).filter(|(with, without)| with != without).collect();
    assert_eq!(differences, []);
    assert_eq!(with.lines().count(), without.lines().count());
}

#[test]
fn a_program_runs_as_another_user() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("COV_REQUIRE_KERNEL").is_none(), "needs root");
        return;
    }
    let user = User::named(OsStr::new("nobody")).unwrap();
    let script = "[ $(id -un) = nobody ] && [ \"$HOME\" = \"$1\" ] && [ $USER = nobody ] && \
                  grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status && [ \"$(id -G)\" = \"$(id -G nobody)\" ]";
    let mut launch = launch("sh", &["-c", script, "sh", user.home.to_str().unwrap()]);
    launch.user = Some(user);
    assert_eq!(run(&launch), Ending::Exited(0));

    let dir = tempfile::tempdir().unwrap();
    launch.program = file(&dir, "mine", "#!/bin/sh\n", 0o700).into();
    assert_eq!(launch.hold(signals()).unwrap_err().exit_code(), 126, "what that user may not execute");
    let error = User::named(OsStr::new("no-such-user")).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (125, "there is no user no-such-user"));
}
