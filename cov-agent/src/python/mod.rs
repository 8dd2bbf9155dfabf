//! Lines of pure Python: counted where the interpreter itself tells of them, and given to the same collector as native
//! lines.
//!
//! Three engines:
//!
//! - [`monitor`] uses `sys.monitoring` of CPython 3.12 and later, switched on by a bootstrap that the agent brings and that
//!   one environment variable activates. The counters lie in files that each process maps, so that nothing the process
//!   does, or suffers, loses them.
//! - The static marker `python:line` of CPython 3.6 to 3.11, where it was built with it, is counted in the kernel
//!   (`probe`), and nothing in the process changes.
//! - [`data_files`] of coverage.py are taken in where a suite runs under it anyway.
//!
//! Whatever counted: which lines are executable comes from the interpreter's own compiler ([`statements`]), by the rules
//! of coverage.py, so that the two agree on every line.

pub mod data_files;
pub mod files;
pub mod hits;
pub mod monitor;
pub mod statements;
mod store;

pub use data_files::DataFiles;
pub use hits::{FileHits, Hits, Recorder};
pub use monitor::{Bootstrap, Counted, Origin};
pub use statements::{Interpreter, Statements};

use std::path::Path;

/// The language of a source file is told by its name, as Python's own tools do.
#[must_use]
pub fn is_python(path: &str) -> bool {
    [".py", ".pyw"].iter().any(|end| path.ends_with(end))
}

/// Whether a file belongs to a package that was installed beside the project. Such files are measured only where
/// somebody named the sources to measure.
#[must_use]
pub fn is_third_party(path: &str) -> bool {
    ["/site-packages/", "/dist-packages/"].iter().any(|part| path.contains(part))
}

/// Tools that run Python programs.
const RUNNERS: [&str; 9] = ["pytest", "py.test", "tox", "nox", "uv", "poetry", "hatch", "pdm", "pipenv"];
/// Files that a Python project has at its top.
const PROJECT: [&str; 6] = ["pyproject.toml", "setup.py", "setup.cfg", "tox.ini", "pytest.ini", "noxfile.py"];

/// Whether a program named `program`, started in a project at one of `directories`, is likely to run Python.
#[must_use]
pub fn is_likely<'a>(program: &Path, directories: impl IntoIterator<Item = &'a Path>) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("python")
        || is_python(&name)
        || RUNNERS.contains(&&*name)
        || directories.into_iter().any(|directory| PROJECT.iter().any(|file| directory.join(file).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_is_told_by_program_and_project() {
        let dir = tempfile::tempdir().unwrap();
        let likely = |program: &str| is_likely(Path::new(program), [dir.path()]);
        assert!(["/usr/bin/python3.13", "python3", "./run.py", "pytest"].into_iter().all(likely));
        assert!(!["make", "./test", "/bin/sh"].into_iter().any(likely));
        std::fs::write(dir.path().join("pyproject.toml"), "").unwrap();
        assert!(likely("make"));
    }

    #[test]
    fn installed_packages_are_third_party() {
        assert!(is_third_party("/w/.venv/lib/python3.13/site-packages/a/b.py"));
        assert!(!is_third_party("/w/site-packages.py"));
    }
}
