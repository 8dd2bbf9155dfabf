//! A program cannot tell that it is being measured: what it prints of its own state is the same,
//! byte for byte, with the agent and without.

use cov_tests::{Build, agent_path, fixture, kernel, scratch};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Compiles `cli/NAME.c` in `dir`.
fn build(dir: &Path, name: &str) -> PathBuf {
    let program = dir.join(name);
    Build::with("gcc", dir).args(["-g", "-pthread", "-o"]).args([&program, &fixture(&format!("cli/{name}.c"))]).run();
    program
}

/// The command line that `launcher` (a program that sets something and executes the rest of its
/// arguments) is given: without the agent, and with it.
fn both(dir: &Path, launcher: &[&str], options: &[&str], program: &[&str]) -> [Command; 2] {
    let command = |agent: bool| {
        let mut words: Vec<String> = launcher.iter().map(ToString::to_string).collect();
        if agent {
            words.push(agent_path().display().to_string());
            words.extend(["run", "-q", "--include", "**", "--output"].map(String::from));
            words.push(dir.join("coverage").display().to_string());
            words.extend(options.iter().map(ToString::to_string));
            words.push("--".into());
        }
        words.extend(program.iter().map(ToString::to_string));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    [command(false), command(true)]
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that `program` ends and prints the same in both cases, and that it was measured.
fn same(launcher: &[&str], program: &[&str]) -> Option<String> {
    if !kernel() {
        return None;
    }
    let dir = scratch();
    build(dir.path(), "state");
    let [plain, measured] = both(dir.path(), launcher, &[], program).map(|mut c| c.output().unwrap());
    assert_eq!(String::from_utf8_lossy(&measured.stderr), String::from_utf8_lossy(&plain.stderr));
    assert_eq!(text(&measured), text(&plain));
    assert_eq!(measured.status, plain.status);
    assert!(text(&plain).contains("comm: "), "the program did not get to its end");
    let report = std::fs::read_to_string(dir.path().join("coverage/lcov.info")).unwrap();
    assert!(report.contains("cli/state.c\n"), "{report}");
    Some(text(&plain))
}

#[test]
fn as_it_is() {
    same(&["env"], &["./state", "an argument", "", "--output", "--"]);
}

#[test]
fn found_in_path() {
    if let Some(text) = same(&["env", "PATH=/nonexistent:.:/usr/bin:/bin"], &["state"]) {
        assert!(text.contains("execfn ./state\n"), "{text}");
    }
}

#[test]
fn environment_is_passed_on_bytewise() {
    same(&["env", "-i", "A=1", "A_WITH SPACE==x", "E=", "COV_X=\u{fe}"], &["./state"]);
}

#[test]
fn signal_mask_and_dispositions() {
    let launcher = ["env", "--ignore-signal=INT,PIPE,USR1,CHLD", "--block-signal=TERM,USR2,CHLD,RTMIN+3"];
    if let Some(text) = same(&launcher, &["./state"]) {
        assert!(text.contains("signal 13 ignored\nsignal 17 ignored\n"), "{text}");
    }
    if let Some(text) = same(&["env", "--default-signal=PIPE"], &["./state"]) {
        assert!(!text.contains("signal 13"), "{text}");
    }
}

#[test]
fn descriptors() {
    let shell = |script: &str| {
        same(&["sh", "-c", script, "sh"], &["./state"]);
    };
    shell(r#"exec 7</etc/passwd 9>>log; exec "$@""#);
    shell(r#"exec "$@" </etc/passwd"#);
    shell(r#"exec 0<&-; exec "$@""#);
    shell(r#"exec 0<&- 2>&-; exec "$@""#);
}

#[test]
fn limits_umask_nice_and_directory() {
    let shell = |script: &str| {
        same(&["sh", "-c", script, "sh"], &["./state"]);
    };
    shell(r#"ulimit -c 0; ulimit -n 64; umask 027; exec nice -n 5 "$@""#);
    shell(r#"ulimit -S -l 64; ulimit -S -s 1024; exec taskset -c 0 "$@""#);
    shell(r#"echo 500 > /proc/self/oom_score_adj; exec "$@""#);
    shell(r#"mkdir -p d/e; cd d/e; cp ../../state .; exec setarch -R "$@""#);
}

#[test]
fn capabilities_and_no_new_privs() {
    same(&["setpriv", "--inh-caps=+net_raw", "--bounding-set=-sys_time"], &["./state"]);
    same(&["setpriv", "--no-new-privs"], &["./state"]);
    same(&["setpriv", "--pdeathsig", "USR1"], &["./state"]);
}

#[test]
fn session_and_terminal() {
    // `script` gives the program a terminal of its own, in the foreground.
    if !kernel() {
        return;
    }
    let dir = scratch();
    build(dir.path(), "state");
    let shown = both(dir.path(), &["env"], &[], &["./state"]).map(|command| {
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|w| format!("'{}'", w.to_str().unwrap()))
            .collect();
        let script = format!("exec {}", words.join(" "));
        let output =
            Command::new("script").args(["-qec", &script, "/dev/null"]).current_dir(dir.path()).output().unwrap();
        // The session differs from call to call; whether the program's group is in the foreground,
        // and is that of its session's leader, does not.
        let text = text(&output);
        let number = |key: &str| {
            let rest = text.split(&format!("{key} ")).nth(1).unwrap_or_else(|| panic!("{key}: {text}"));
            rest.split_whitespace().next().unwrap().to_owned()
        };
        let related = (number("\npgid") == number("\nforeground"), text.contains("fd 0 /dev/pts"));
        (related, output.status.code())
    });
    assert_eq!(shown[0], ((true, true), Some(0)));
    assert_eq!(shown[1], shown[0]);
}

#[test]
fn exit_statuses() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    build(dir.path(), "end");
    for (how, code) in [
        ("exit:0", 0),
        ("exit:1", 1),
        ("exit:42", 42),
        ("exit:125", 125),
        ("exit:255", 255),
        ("_exit:7", 7),
        ("kill:9", 128 + 9),
        ("kill:15", 128 + 15),
        ("kill:2", 128 + 2),
        ("kill:36", 128 + 36),
        ("segv", 128 + 11),
        ("abort", 128 + 6),
    ] {
        let [mut plain, mut measured] = both(dir.path(), &["env"], &[], &["./end", how]);
        let plain = plain.output().unwrap();
        assert_eq!(plain.status.code().unwrap_or_else(|| 128 + plain.status.signal().unwrap()), code, "{how}");
        let measured = measured.output().unwrap();
        assert_eq!(measured.status.code(), Some(code), "{how}: {}", String::from_utf8_lossy(&measured.stderr));
        assert_eq!(text(&measured), text(&plain), "{how}");
        let report = std::fs::read_to_string(dir.path().join("coverage/lcov.info")).unwrap();
        // The line that ends it was entered once, however it ended.
        let line = line_of("cli/end.c", &format!("// ends: {}", how.split(':').next().unwrap()));
        assert!(report.contains(&format!("DA:{line},1\n")), "{how}: line {line} in\n{report}");
    }
}

/// The number of the line of a fixture that holds `mark`.
fn line_of(name: &str, mark: &str) -> usize {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    1 + text.lines().position(|line| line.ends_with(mark)).unwrap_or_else(|| panic!("{mark} in {name}"))
}
