//! Virtual environments of Python, made once. The tests of the library use this file too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The virtual environment `name` below `all` that holds `packages`, made by `python` when it is first asked for.
///
/// # Panics
/// Where it cannot be made.
#[must_use]
pub fn made(all: &Path, python: &Path, name: &str, packages: &[&str]) -> PathBuf {
    fs::create_dir_all(all).unwrap();
    let lock = fs::File::create(all.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap(); // test programs and their threads come here side by side
    let venv = all.join(name);
    let stamp = venv.join("packages");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return venv;
    }
    output(Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    output(Command::new(venv.join("bin/python")).args(pip).args(packages));
    fs::write(stamp, wanted).unwrap();
    venv
}

/// Runs it, which must succeed, and gives what it printed on its standard output.
///
/// # Panics
/// Where it fails.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}{err}");
    out.into_owned()
}
