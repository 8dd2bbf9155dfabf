//! The programs that many tests start.

use crate::{Build, fixture};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What makes a library.
pub const SHARED: [&str; 2] = ["-shared", "-fPIC"];

/// Compiles a fixture in C without optimisation to `output` in `dir`; the path.
#[expect(clippy::must_use_candidate, reason = "some know the path already")]
pub fn compile(dir: &Path, source: &str, output: &str, flags: &[&str]) -> PathBuf {
    Build::with("gcc", dir).args(["-g", "-O0"]).args(flags).arg("-o").arg(output).arg(fixture(source)).run();
    dir.join(output)
}

/// Compiles a program in C that stands in the test itself.
#[expect(clippy::must_use_candidate, reason = "some know the path already")]
pub fn compile_text(dir: &Path, name: &str, text: &str) -> PathBuf {
    let source = format!("{name}.c");
    std::fs::write(dir.join(&source), text).unwrap();
    Build::with("gcc", dir).args(["-g", "-O0", "-o", name, &source]).run();
    dir.join(name)
}

/// The counts of work.c when it ran `runs` times and looped `loops` times in all.
#[must_use]
pub fn work(runs: u64, loops: u64) -> BTreeMap<u32, u64> {
    let lines = [(4, runs), (5, runs), (6, loops + runs), (7, loops), (8, runs), (9, runs)];
    lines.into_iter().chain([(11, runs), (12, runs), (13, runs)]).collect()
}

/// For a shell: kills the process that the shell becomes by `exec` once it waits in pause(2), as `case.c` does that hangs,
/// and not after a time.
pub const KILL_IN_PAUSE: &str =
    "(until read -r call _ < /proc/$$/syscall && [ \"$call\" = 34 ]; do :; done; kill -KILL $$) &";
