//! The sample program: what `cargo xtask demo` shows, and the README.

use crate::workspace;
use std::path::Path;

/// What is typed, in a directory that holds the sample's source.
pub const SAMPLE_COMMANDS: [&str; 3] =
    ["cc -g -o collatz collatz.c", "cov-agent run -- ./collatz 6 27 97", "cov-agent annotate"];

/// Makes `dir` ready for the [commands](SAMPLE_COMMANDS): there is the source, and no earlier result.
///
/// # Errors
/// Where `dir` cannot be written to.
pub fn prepare_sample(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let coverage = dir.join("coverage");
    if coverage.exists() {
        std::fs::remove_dir_all(coverage)?;
    }
    std::fs::copy(workspace().join("xtask/sample/collatz.c"), dir.join("collatz.c")).map(drop)
}
