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

/// Copies fixtures of Python into `dir`.
pub fn copy_python(dir: &Path, names: &[&str]) {
    for name in names {
        std::fs::copy(crate::fixture(&format!("python/{name}")), dir.join(name)).unwrap();
    }
}
