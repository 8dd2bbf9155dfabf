//! What the tests against real readers share: tools from PyPI, and running them.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "a file that a library has too")]

#[path = "../../../tests/src/venvs.rs"]
mod venvs;

pub(crate) use venvs::output;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A virtual environment below `target/venvs` that holds `packages`, made when it is first asked for.
pub(crate) fn venv(name: &str, packages: &[&str]) -> PathBuf {
    venv_of(Path::new("python3"), name, packages)
}

/// The same of another Python.
pub(crate) fn venv_of(python: &Path, name: &str, packages: &[&str]) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory").join("venvs");
    venvs::made(&all, python, name, packages)
}

/// The readers of XML reports and tracefiles that come from PyPI.
pub(crate) fn reports() -> PathBuf {
    venv("reports", &["gcovr==8.8", "pycobertura==4.1.0", "diff-cover==11.0.1", "coverage==7.17.3"])
}

/// A tool of a virtual environment, to run in `directory`.
pub(crate) fn tool(venv: &Path, name: impl AsRef<Path>, directory: &Path) -> Command {
    let mut command = Command::new(venv.join("bin").join(name));
    command.current_dir(directory).env_remove("COVERAGE_FILE").env_remove("COVERAGE_RCFILE");
    command
}

/// A command with its arguments.
pub(crate) fn run<S: AsRef<OsStr>>(mut command: Command, args: impl IntoIterator<Item = S>) -> String {
    output(command.args(args))
}

/// git in a test's project, as somebody.
pub(crate) fn git(directory: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
    output(Command::new("git").current_dir(directory).args(identity).args(args));
}

/// Writes a file of a test's project.
pub(crate) fn put(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}
