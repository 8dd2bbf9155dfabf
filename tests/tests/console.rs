//! How the agent speaks: to a terminal, to a pipe, loudly or not at all. `script` makes the terminal.

use cov_tests::{Build, agent_path, fixture, kernel, scratch};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// A directory with the program `end`, of one source.
fn workdir() -> tempfile::TempDir {
    let dir = scratch();
    std::fs::copy(fixture("cli/end.c"), dir.path().join("end.c")).unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-o", "end", "end.c"]).run();
    dir
}

/// What the agent prints to a terminal.
fn terminal(dir: &Path, environment: &[(&str, &str)], args: &str) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{} {args}", agent_path().display()), "/dev/null"]);
    said(&mut command, dir, environment)
}

/// What it prints to a pipe.
fn pipe(dir: &Path, environment: &[(&str, &str)], args: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{} {args} 2>&1", agent_path().display())]);
    said(&mut command, dir, environment)
}

fn said(command: &mut Command, dir: &Path, environment: &[(&str, &str)]) -> String {
    command.current_dir(dir).env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const RUN: &str = "run -- ./end exit:0";
const BOLD_HEADING: &str = "\x1b[1mFile\x1b[0m";

#[test]
fn colour_is_for_terminals_that_want_it() {
    if !kernel() {
        return;
    }
    let dir = workdir();
    let dir = dir.path();
    let colourful = |text: &str| text.contains('\x1b');
    assert!(terminal(dir, &[], RUN).contains(BOLD_HEADING));
    assert!(!colourful(&terminal(dir, &[("NO_COLOR", "1")], RUN)));
    assert!(colourful(&terminal(dir, &[("NO_COLOR", "")], RUN)), "empty is not set: no-color.org");
    assert!(!colourful(&terminal(dir, &[("TERM", "dumb")], RUN)));
    assert!(!colourful(&terminal(dir, &[], "run --color never -- ./end exit:0")));
    assert!(!colourful(&pipe(dir, &[], RUN)));
    let always = "run --color always -- ./end exit:0";
    assert!(pipe(dir, &[("NO_COLOR", "1")], always).contains(BOLD_HEADING), "an option is stronger");
}

#[test]
fn a_terminal_is_ruled_with_lines_and_a_pipe_is_ascii() {
    if !kernel() {
        return;
    }
    let dir = workdir();
    assert!(terminal(dir.path(), &[], RUN).contains("─────"));
    let plain = pipe(dir.path(), &[], RUN);
    assert!(plain.is_ascii() && plain.contains("-----"), "{plain}");
}

/// A program whose debug info takes a while to read: one long block of 100 000 lines.
fn big(dir: &Path) {
    let mut text = String::from(".file 1 \"big.c\"\n.globl main\n.type main, @function\nmain:\n.cfi_startproc\n");
    for line in 1..100_000 {
        writeln!(text, ".loc 1 {line}\nmovl ${line}, %eax").unwrap();
    }
    text.push_str(".loc 1 100000\nxorl %eax, %eax\nret\n.cfi_endproc\n.size main, .-main\n");
    text.push_str(".section .note.GNU-stack,\"\",@progbits\n");
    std::fs::write(dir.join("big.s"), text).unwrap();
    std::fs::write(dir.join("big.c"), "").unwrap();
    Build::with("gcc", dir).args(["-g", "-o", "big", "big.s"]).run();
}

#[test]
fn progress_is_for_terminals_and_leaves_nothing_behind() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let dir = dir.path();
    big(dir);
    const STAGE: &str = "reading debug info …";
    const WIPE: &str = "\r\x1b[2K";
    let shown = terminal(dir, &[], "run --color never -- ./big");
    let (_, rest) = shown.split_once(STAGE).unwrap_or_else(|| panic!("no progress in {shown:?}"));
    assert!(rest.contains(WIPE), "{shown:?}");
    let last = shown.rsplit(WIPE).next().unwrap();
    assert!(last.contains("Written:") && !last.contains('…'), "wiped before the summary: {shown:?}");

    let verbose = terminal(dir, &[], "run -v --color never -- ./big");
    assert!(!verbose.contains(STAGE) && verbose.contains("read 1 objects in"), "{verbose:?}");
    assert!(!pipe(dir, &[], "run -- ./big").contains(STAGE));
}

/// What `-v` tells, in order.
#[test]
fn verbose_tells_what_each_stage_did() {
    if !kernel() {
        return;
    }
    let dir = workdir();
    let text = pipe(dir.path(), &[], "run -v -- ./end exit:0");
    let mut rest = text.as_str();
    for part in [
        "cov-agent: not measured: /",
        "a library of the system\n",
        "cov-agent: read 1 objects in ",
        "cov-agent: ./end: ",
        " lines, 0 not measurable, ",
        " probes (",
        " emulated, ",
        " single-stepped) from 0x",
        ", debug info in the object, read in ",
        ", planned in ",
        "\ncov-agent: armed ",
        " probes in ",
        "\ncov-agent: counted ",
        " hits, read in ",
        "\ncov-agent: wrote the results in ",
        "\ncov-agent: peak memory ",
        " kB, of the program ",
        "\nFile ",
    ] {
        let (_, behind) = rest.split_once(part).unwrap_or_else(|| panic!("{part:?} is not next in {text}"));
        rest = behind;
    }
    assert!(!pipe(dir.path(), &[], RUN).contains("cov-agent:"));
    assert_eq!(pipe(dir.path(), &[], "run -q -- ./end exit:0"), "exit:0\n", "only the program speaks");
}
