//! `cargo xtask bench --data`: what big data costs, without a program.

use crate::shell::{cargo, run, target_dir};
use anyhow::Result;

/// Writes, reads and merges 10 000 files with 10 million lines, and fails where a figure is above its limit; `smoke`
/// proves only that it works, on little.
pub(crate) fn run_data(smoke: bool, as_json: bool) -> Result<()> {
    let mut bench = cargo(["bench", "--quiet", "--package", "cov-agent", "--no-default-features", "--bench", "data"]);
    // The profile of tests is built already.
    if smoke {
        bench = cargo(["test", "--quiet", "--package", "cov-agent", "--no-default-features", "--bench", "data"]);
    }
    bench.arg("--").arg(target_dir().join("bench-data"));
    bench.args(smoke.then_some("--smoke")).args(as_json.then_some("--json"));
    run(&mut bench)
}
