//! Compiling fixtures.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's top directory.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The path of a fixture, `c/loops.c` for example.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    workspace().join("tests/fixtures").join(name)
}

/// A fresh directory below `target`, so that programs built in it run from a real file system.
/// It goes away with the value.
#[must_use]
pub fn scratch() -> tempfile::TempDir {
    let base = workspace().join("target/fixtures");
    std::fs::create_dir_all(&base).unwrap();
    tempfile::tempdir_in(base).unwrap()
}

/// One call of a compiler, or of another tool that makes a file.
#[derive(Debug)]
pub struct Build {
    command: Command,
}

impl Build {
    /// Calls `tool` in `dir`.
    #[must_use]
    pub fn with(tool: impl AsRef<OsStr>, dir: &Path) -> Self {
        let mut command = Command::new(tool);
        command.current_dir(dir);
        Self { command }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.command.env(key, value.into());
        self
    }

    /// Runs it and gives its standard output.
    ///
    /// # Panics
    /// With the tool's own words, where it fails.
    pub fn run(mut self) -> String {
        let output = self.command.output().unwrap_or_else(|e| panic!("{:?}: {e}", self.command.get_program()));
        assert!(
            output.status.success(),
            "{:?}: {}\n{}",
            self.command,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
