//! Pages of the manual that show what the agent prints. `cargo xtask golden` writes them anew.

use cov_tests::{SAMPLE_COMMANDS, agent_path, kernel, prepare_sample, scratch, workspace};
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
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

/// The README's sample is what the demo prints, up to the end of the first two functions.
#[test]
fn readme_sample() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    prepare_sample(dir.path()).unwrap();
    let mut block = String::new();
    for line in SAMPLE_COMMANDS {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap();
        let path = if program == "cov-agent" { agent_path() } else { Path::new(program) };
        let output = Command::new(path).arg0(program).args(words).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        // The program writes before the agent's summary.
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let shown: Vec<_> = text.lines().take(28).map(str::trim_end).collect();
        let more = if text.lines().count() > shown.len() { "…\n" } else { "" };
        let end = if shown.is_empty() { "" } else { "\n" };
        write!(block, "$ {line}\n{}{end}{more}", shown.join("\n")).unwrap();
    }
    let readme = workspace().join("README.md");
    let text = std::fs::read_to_string(&readme).unwrap();
    let marker = "<!-- golden: sample -->\n```console\n";
    let (before, rest) = text.split_once(marker).expect("README.md has its sample");
    let (_, after) = rest.split_once("```\n").expect("the sample ends");
    golden(&readme, &format!("{before}{marker}{block}```\n{after}"));
}
