//! `cargo xtask demo`: the main job on a sample program, with a visible result.

use crate::shell::{cargo, command, has, is_root, run, target_dir};
use anyhow::{Context as _, Result, bail};
use cov_tests::{SAMPLE_COMMANDS, prepare_sample};

/// Builds the agent and the sample, measures the sample, and shows its source with counts.
pub(crate) fn run_demo() -> Result<()> {
    if !has("cc") {
        bail!("the demo compiles a C program, and there is no C compiler (cc); install gcc or clang");
    }
    println!("Building cov-agent …");
    run(&mut cargo(["build", "--package", "cov-agent"]))?;
    let agent = target_dir().join("debug/cov-agent");
    let dir = target_dir().join("demo");
    prepare_sample(&dir).with_context(|| dir.display().to_string())?;
    println!("Arming probes needs root{}.", if is_root() { "" } else { ": sudo runs cov-agent, nothing else" });
    println!("\n$ cd {}", dir.display());
    for line in SAMPLE_COMMANDS {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or_default();
        let mut call = match program {
            "cov-agent" if is_root() || !line.contains(" run ") => command("env", [&agent]),
            "cov-agent" => command("sudo", [&agent]),
            other => command(other, [""; 0]),
        };
        println!("\n$ {line}");
        run(call.args(words).current_dir(&dir)).context("`cov-agent doctor` says what this machine lacks")?;
    }
    Ok(())
}
