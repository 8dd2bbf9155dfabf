//! The Pythons of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreters that have `sys.monitoring` (3.12 and later): those in `PATH` and those that pyenv installed, each
/// version once.
///
/// # Panics
/// Where there is none and `COV_REQUIRE_KERNEL=1`.
#[must_use]
pub fn monitored_pythons() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
    let mut found: Vec<PathBuf> = (12..20).map(|minor| format!("python3.{minor}").into()).collect();
    let installed = std::fs::read_dir(pyenv.join("versions")).into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin/python3")).collect();
    installed.sort();
    found.extend(installed);
    let mut pythons: Vec<(String, PathBuf)> = Vec::new();
    for python in found {
        let asked = "import sys; sys.monitoring; print('%d.%d' % sys.version_info[:2], sys.executable)";
        let Ok(output) = Command::new(&python).args(["-I", "-c", asked]).output() else { continue };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((version, path)) = said.trim().split_once(' ').filter(|_| output.status.success()) else { continue };
        if pythons.iter().all(|(known, _)| known != version) {
            pythons.push((version.to_owned(), path.into()));
        }
    }
    let required = std::env::var_os("COV_REQUIRE_KERNEL").is_some_and(|v| v == "1");
    assert!(!pythons.is_empty() || !required, "COV_REQUIRE_KERNEL=1, but there is no Python 3.12 or later");
    pythons.into_iter().map(|(_, path)| path).collect()
}

/// What the tests of [`boltons`] are run with, from PyPI.
pub const SUITE: [&str; 2] = ["pytest==9.0.2", "coverage==7.17.3"];

/// Fetches a real package with its own tests, which are in its directory `tests`, into `dir`; `python` has pip.
///
/// # Panics
/// Where it cannot be fetched.
pub fn boltons(python: &Path, dir: &Path) {
    let download = ["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "boltons==26.2.0"];
    let untar = ["xzf", "boltons-26.2.0.tar.gz", "--strip-components=1"];
    for (program, args) in [(python, &download[..]), (Path::new("tar"), &untar)] {
        let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Copies fixtures of Python into `dir`.
pub fn copy_python(dir: &Path, names: &[&str]) {
    for name in names {
        std::fs::copy(crate::fixture(&format!("python/{name}")), dir.join(name)).unwrap();
    }
}
