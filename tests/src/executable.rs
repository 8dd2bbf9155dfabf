//! Where the agent's executable is, and how tests call it.

use crate::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The agent's executable: `COV_AGENT`, else built here.
#[must_use]
pub fn agent_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("COV_AGENT") {
            return path.into();
        }
        built("--bin", "cov-agent", "cov-agent")
    })
}

/// What cargo builds of the package `cov-agent`, by the option and the name that cargo has for it; `path` is where, below the
/// directory of debug builds.
///
/// # Panics
/// Where it does not build.
#[must_use]
pub fn built(kind: &str, name: &str, path: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--quiet", "--package", "cov-agent", kind, name];
    assert!(
        Command::new(cargo).args(build).current_dir(workspace()).status().unwrap().success(),
        "{name} does not build"
    );
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("debug").join(path)
}

/// The agent's executable as tests call it, that assert counts: it waits for an answer as long as it takes, since the
/// machine may be busy with other tests, where a user's lets programs go after half a second. Not for tests that keep the
/// agent from answering: all of the machine would wait.
#[must_use]
pub fn agent_command() -> Command {
    let mut command = Command::new(agent_path());
    command.env(PATIENCE.0, PATIENCE.1);
    command
}

/// The variable that sets in a debug build how many milliseconds an exec waits, and its value in tests.
/// No longer than that, since all of the machine waits for an agent that is slow.
pub const PATIENCE: (&str, &str) = ("COV_TEST_PATIENCE_MS", "5000");
