//! Pages of the manual that show what the agent prints. `cargo xtask golden` writes them anew.

use cov_tests::{agent_path, workspace};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Compares `path` with `want`, or writes it where `COV_GOLDEN=write`.
fn golden(path: &Path, want: &str) {
    if std::env::var_os("COV_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(path, want).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text == want, "{} is not what the agent prints; run `cargo xtask golden`", path.display());
}

fn help(command: &[&str]) -> String {
    let output = Command::new(agent_path()).args(command).arg("--help").env_remove("COLUMNS").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The commands, in the order in which the agent lists them.
fn commands(help: &str) -> Vec<String> {
    let (_, rest) = help.split_once("\nCommands:\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn command_line_page() {
    let whole = help(&[]);
    let mut page = String::from(
        "# Command line\n\nWhat `--help` prints. Exit codes have [a page of their own](exit-codes.md).\n\n## cov-agent\n",
    );
    write!(page, "\n```text\n{whole}\n```\n").unwrap();
    for command in commands(&whole) {
        write!(page, "\n## cov-agent {command}\n\n```text\n{}\n```\n", help(&[&command])).unwrap();
    }
    golden(&workspace().join("docs/src/reference/command-line.md"), &page);
}
