//! Every bad input gives one line on stderr that says what to do, and the documented exit code.

use cov_tests::{Build, agent_path, fixture, kernel, scratch};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the agent answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Calls the agent in `dir`.
fn agent<S: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = S>) -> Answer {
    answer(Command::new(agent_path()).args(args).current_dir(dir))
}

fn answer(command: &mut Command) -> Answer {
    let output = command.env_remove("NO_COLOR").stdin(Stdio::null()).output().unwrap();
    Answer {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An answer that is one error line and nothing else.
fn error(code: i32, line: &str) -> Answer {
    Answer { code: Some(code), stdout: String::new(), stderr: format!("cov-agent: error: {line}\n") }
}

/// Compiles `source` (C) with `flags` to `dir/program`.
fn compile(dir: &Path, flags: &[&str]) -> PathBuf {
    let program = dir.join("program");
    let source = dir.join("main.c");
    std::fs::write(&source, "int main(int argc, char **argv) {\n    return argc - 1;\n}\n").unwrap();
    Build::with("gcc", dir).args(flags).args([OsStr::new("-o"), program.as_os_str(), source.as_os_str()]).run();
    program
}

/// Overwrites bytes of a file.
fn patch(path: &Path, offset: usize, bytes: &[u8]) {
    let mut content = std::fs::read(path).unwrap();
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
    std::fs::write(path, content).unwrap();
}

/// A copy of this machine's unprivileged half: `nobody`, without any capability.
fn as_nobody(command: &Command) -> Command {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(command.get_program()).args(command.get_args());
    nobody
}

/// A directory that everybody may read and search, with the agent inside: the workspace may lie
/// where only root may go.
fn public() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let agent = dir.path().join("cov-agent");
    std::fs::copy(agent_path(), &agent).unwrap();
    (dir, agent)
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

#[test]
fn usage() {
    let dir = scratch();
    let see = "see 'cov-agent --help' (usage)";
    for (args, line) in [
        (
            &["run", "--outptu", "x", "--", "true"][..],
            "unexpected argument '--outptu' found; did you mean '--output'?; ",
        ),
        (&["rnu"], "unrecognized subcommand 'rnu'; to run a program: cov-agent run -- PROGRAM; "),
        (&["--pid", "-1"], "unexpected argument '-1' found; "),
        (&[], "nothing to do; run a program (cov-agent run -- PROGRAM) or attach to a process (cov-agent --pid PID); "),
    ] {
        assert_eq!(agent(dir.path(), args), error(64, &format!("{line}{see}")), "{args:?}");
    }
    let bad_format = agent(dir.path(), ["run", "--format", "lcvo", "--", "true"]);
    assert_eq!(bad_format.code, Some(64));
    let begin = "cov-agent: error: invalid value 'lcvo' for '--format <NAMES>' [possible values: ";
    assert!(bad_format.stderr.starts_with(begin), "{bad_format:?}");
    assert!(bad_format.stderr.ends_with(&format!("; did you mean 'lcov'?; {see}\n")), "{bad_format:?}");
    let bad_glob = agent(dir.path(), ["run", "--include", "src/[a", "--", "true"]);
    let reason = "bad pattern \"src/[a\": unclosed character class; missing ']' (`*` matches inside a directory, `**` \
                  across directories, `?` one letter) (usage)";
    assert_eq!(bad_glob, error(64, reason));
}

#[test]
fn help_and_version_go_to_stdout() {
    let dir = scratch();
    for (arg, word) in [("--help", "Usage: cov-agent run"), ("--version", "cov-agent 0.")] {
        let answer = agent(dir.path(), [arg]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
        assert!(answer.stdout.contains(word), "{}", answer.stdout);
    }
}

/// What `lines` says of an object that it cannot use.
fn lines(path: &Path) -> Answer {
    agent(path.parent().unwrap(), [OsStr::new("lines"), path.file_name().unwrap()])
}

#[test]
fn not_an_object() {
    let dir = scratch();
    let path = dir.path().join("text");
    assert_eq!(lines(&path), error(125, "text: cannot read it: No such file or directory (os error 2) (cannot-read)"));
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    assert_eq!(lines(&path), error(125, "text: not an ELF file (not-elf)"));
    std::fs::write(&path, "").unwrap();
    assert_eq!(lines(&path), error(125, "text: not an ELF file (not-elf)"));
    assert_eq!(lines(dir.path()).code, Some(125));
    let fifo = dir.path().join("fifo");
    Build::with("mkfifo", dir.path()).args([&fifo]).run();
    assert_eq!(lines(&fifo), error(125, "fifo: not a regular file (cannot-read)"));
    Build::with("gcc", dir.path()).args(["-g", "-c", "-o", "a.o", "-x", "c", "/dev/null"]).run();
    assert_eq!(
        lines(&dir.path().join("a.o")),
        error(125, "a.o: not a program or shared library (ELF type 1); link it first (not-elf)")
    );
}

#[test]
fn truncated() {
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    let whole = std::fs::read(&program).unwrap();
    for length in [whole.len() / 2, 64, 63, 20, 5] {
        std::fs::write(&program, &whole[..length]).unwrap();
        let answer = lines(&program);
        assert_eq!(answer.code, Some(125), "{length}: {answer:?}");
        assert!(answer.stderr.starts_with("cov-agent: error: program: "), "{answer:?}");
        assert!(answer.stderr.ends_with("(damaged-elf)\n"), "{length}: {answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1);
    }
}

#[test]
fn other_machines() {
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    patch(&program, 18, &183u16.to_le_bytes());
    assert_eq!(
        lines(&program),
        error(
            125,
            "program: built for another machine (ELF machine 183); only x86-64 objects can be measured (wrong-machine)"
        )
    );
    patch(&program, 4, &[1]);
    assert_eq!(
        lines(&program),
        error(125, "program: a 32-bit object; only 64-bit x86-64 objects can be measured (wrong-machine)")
    );
}

#[test]
fn no_debug_info() {
    let dir = scratch();
    let program = compile(dir.path(), &[]);
    let answer = lines(&program);
    assert_eq!(answer.code, Some(125));
    assert!(answer.stderr.starts_with("cov-agent: error: program: no debug info: looked in program"), "{answer:?}");
    assert!(answer.stderr.ends_with("; compile with -g (no-debug-info)\n"), "{answer:?}");
}

#[test]
fn separate_debug_file_missing() {
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    Build::with("objcopy", dir.path()).args(["--only-keep-debug", "program", "program.debug"]).run();
    Build::with("objcopy", dir.path()).args(["--strip-debug", "--add-gnu-debuglink=program.debug", "program"]).run();
    assert_eq!(lines(&program).code, Some(0), "found beside the program");
    std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
    std::fs::rename(dir.path().join("program.debug"), dir.path().join("elsewhere/program.debug")).unwrap();
    let answer = lines(&program);
    assert_eq!(answer.code, Some(125), "{answer:?}");
    let begin = "cov-agent: error: program: its debug info is in a separate file, program.debug, that was not found: \
                 looked in program, ";
    assert!(answer.stderr.starts_with(begin), "{answer:?}");
    assert!(answer.stderr.ends_with("; install the debug package or compile with -g (no-debug-info)\n"), "{answer:?}");
}

#[test]
fn corrupt_line_table() {
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    let headers = Build::with("readelf", dir.path()).args(["-SW", "program"]).run();
    let fields: Vec<&str> =
        headers.split(".debug_line ").nth(1).unwrap().lines().next().unwrap().split_whitespace().collect();
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let (offset, size) = (number(fields[2]), number(fields[3]));
    patch(&program, offset, &vec![0xa5; size]);
    let answer = lines(&program);
    assert_eq!(answer.code, Some(125), "{answer:?}");
    assert!(answer.stderr.starts_with("cov-agent: error: program: corrupt debug info: "), "{answer:?}");
    assert!(answer.stderr.ends_with("(damaged-debug-info)\n"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 1);
}

#[test]
fn no_permission() {
    if !is_root() {
        return;
    }
    let (dir, copy) = public();
    let program = compile(dir.path(), &["-g"]);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o711)).unwrap();
    let mut command = Command::new(&copy);
    command.arg("lines").arg(&program);
    let line = format!("{}: cannot read it: Permission denied (os error 13) (cannot-read)", program.display());
    assert_eq!(answer(&mut as_nobody(&command)), error(125, &line));
}

#[test]
fn programs_that_are_none() {
    let dir = scratch();
    let run = |name: &str| agent(dir.path(), ["run", "--", name, "x"]);
    assert_eq!(run("./none"), error(127, "./none: not found (program-not-found)"));
    assert_eq!(
        run("no-program-has-this-name"),
        error(127, "no-program-has-this-name: not found in PATH (program-not-found)")
    );
    std::fs::write(dir.path().join("plain"), "").unwrap();
    let denied = "cannot be executed: Permission denied (os error 13) (program-not-executable)";
    assert_eq!(run("./plain"), error(126, &format!("./plain: {denied}")));
    assert_eq!(run("./"), error(126, &format!("./: {denied}")));
}

#[test]
fn programs_that_the_kernel_refuses() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    patch(&program, 18, &183u16.to_le_bytes());
    let answer = agent(dir.path(), ["run", "--include", "**", "--", "./program"]);
    assert_eq!(answer.code, Some(126), "{answer:?}");
    assert!(answer.stderr.ends_with("(program-not-executable)\n"), "{answer:?}");
}

#[test]
fn missing_capability() {
    if !is_root() {
        return;
    }
    let (dir, copy) = public();
    let program = compile(dir.path(), &["-g"]);
    let mut command = Command::new(&copy);
    let output = dir.path().join("out");
    std::fs::create_dir(&output).unwrap();
    std::fs::set_permissions(&output, PermissionsExt::from_mode(0o777)).unwrap();
    let touched = output.join("touched");
    command.args(["run", "--include", "**", "--output"]).arg(&output).args(["--", "touch"]).arg(&touched);
    let answer = answer(&mut as_nobody(&command));
    assert_eq!(answer.code, Some(125), "{answer:?}");
    assert!(answer.stderr.contains("CAP_BPF") && answer.stderr.contains("CAP_PERFMON"), "{answer:?}");
    assert!(answer.stderr.ends_with("(no-privilege)\n"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
    assert!(!touched.exists(), "the program was started");
    assert!(program.exists());
}

#[test]
fn program_without_debug_info_runs_with_a_warning() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), &["-s"]);
    let answer = agent(dir.path(), ["run", "--", "./program", "1", "2", "3"]);
    assert_eq!(answer.code, Some(3), "{answer:?}");
    let begin = "cov-agent: warning: ./program: no debug info: looked in ./program";
    assert!(answer.stderr.starts_with(begin), "{answer:?}");
    assert!(answer.stderr.lines().next().unwrap().ends_with("; compile with -g (no-debug-info)"), "{answer:?}");
}

#[test]
fn sources_outside_the_filter_are_no_silence() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), &["-g"]);
    let answer = agent(dir.path(), ["run", "--include", "nothing/**", "--", "./program", "1"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("(nothing-to-measure)"), "{answer:?}");
}

#[test]
fn processes_that_are_none() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    let mut child = Command::new(&program).spawn().unwrap();
    let pid = child.id();
    // Ended, but not waited for: a zombie.
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !stat().contains(") Z ") {
        std::thread::yield_now();
    }
    let attach = || agent(dir.path(), ["--pid".to_owned(), pid.to_string(), "--include".into(), "**".into()]);
    assert_eq!(attach(), error(125, &format!("process {pid} has ended (process-ended)")));
    child.wait().unwrap();
    assert_eq!(attach(), error(125, &format!("there is no process {pid} (no-such-process)")));
    assert_eq!(
        agent(dir.path(), ["--pid", "1999999999"]),
        error(125, "there is no process 1999999999 (no-such-process)")
    );
}

#[test]
fn attached_program_without_debug_info() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = dir.path().join("echo");
    Build::with("gcc", dir.path()).args(["-s", "-o"]).args([&program, &fixture("cli/echo.c")]).run();
    let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let answer = agent(dir.path(), ["--pid", &child.id().to_string()]);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(answer.code, Some(125), "{answer:?}");
    assert!(answer.stderr.contains("no debug info: looked in "), "{answer:?}");
    assert!(answer.stderr.ends_with("; compile with -g (no-debug-info)\n"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
}

#[test]
fn output_that_cannot_be_written() {
    let dir = scratch();
    compile(dir.path(), &["-g"]);
    let touched = dir.path().join("touched");
    let run = |output: &str| {
        agent(dir.path(), ["run", "--include", "**", "--output", output, "--", "touch", touched.to_str().unwrap()])
    };
    std::fs::write(dir.path().join("file"), "kept").unwrap();
    for (output, reason) in [
        ("file", "Not a directory (os error 20)"),
        ("file/below", "Not a directory (os error 20)"),
        ("/proc/none", "No such file or directory (os error 2)"),
    ] {
        let answer = run(output);
        assert_eq!(
            answer,
            error(125, &format!("cannot open the output directory {output}: {reason} (output-not-writable)"))
        );
        assert!(!touched.exists(), "the program was started");
    }
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"kept");
}

#[test]
fn full_disk() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), &["-g"]);
    // A file system of one page, which an old report fills.
    let script = r#"
        mkdir disk && mount -t tmpfs -o size=4k tmpfs disk || exit 99
        head -c 4096 /dev/zero > disk/lcov.info
        "$@"; code=$?
        cmp -n 4096 disk/lcov.info /dev/zero || exit 98
        test "$(ls disk)" = lcov.info || exit 97
        exit $code"#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(agent_path());
    command.args(["run", "-q", "--include", "**", "--output", "disk", "--"]).arg(program).args(["1", "2"]);
    let answer = answer(command.current_dir(dir.path()));
    assert_eq!(answer.code, Some(2), "the program's status: {answer:?}");
    assert!(answer.stderr.contains("No space left on device"), "{answer:?}");
    assert!(answer.stderr.ends_with("(disk-full)\n"), "{answer:?}");
}
