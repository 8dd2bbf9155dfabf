//! `cargo xtask fuzz`: libFuzzer against every reader of foreign data.

use crate::shell::{command, output, run, target_dir};
use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// Fuzzes `target`, or all of them one after the other, each for some seconds, beginning with the corpus. What it finds
/// to be interesting goes below `target/`, crashes to `fuzz/artifacts`.
pub(crate) fn run_fuzz(target: Option<&str>, seconds: u32) -> Result<()> {
    if output(&mut command("cargo", ["fuzz", "--version"])).is_err() {
        bail!("cargo-fuzz is missing: cargo install cargo-fuzz");
    }
    let mut targets = Vec::new();
    for entry in std::fs::read_dir("fuzz/fuzz_targets").context("fuzz/fuzz_targets")? {
        let path = entry?.path();
        targets.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    targets.sort();
    if let Some(name) = target {
        if !targets.iter().any(|target| target == name) {
            bail!("no target is called {name}; there are {}", targets.join(", "));
        }
        targets = vec![name.to_owned()];
    }
    for target in targets {
        let found = target_dir().join("fuzz-corpus").join(&target);
        std::fs::create_dir_all(&found)?;
        let mut fuzz = command("cargo", ["fuzz", "run", "--fuzz-dir", "fuzz"]);
        // Sanitizers are not stable; the pinned compiler has them all the same.
        fuzz.env("RUSTC_BOOTSTRAP", "1");
        fuzz.arg(&target).arg(&found).arg(Path::new("fuzz/corpus").join(&target));
        fuzz.args(["--", "-rss_limit_mb=2048", "-timeout=20"]).arg(format!("-max_total_time={seconds}"));
        run(&mut fuzz).with_context(|| format!("{target}: the input is in fuzz/artifacts/{target}"))?;
    }
    Ok(())
}
