//! What a person does to the repository: `cargo xtask demo`, `test`, `tidy`, …

mod bench;
mod checks;
mod coverage;
mod demo;
mod ebpf;
mod fuzz;
mod setup;
mod shell;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a person does to the repository")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what the agent costs
    Bench {
        /// Measure reading, writing and merging big data instead (needs no root)
        #[arg(long)]
        data: bool,
        /// Only prove that it works
        #[arg(long)]
        smoke: bool,
        /// Print JSON instead of tables
        #[arg(long)]
        json: bool,
        /// Write the manual's page of figures, too
        #[arg(long, conflicts_with_all = ["data", "smoke"])]
        write: bool,
    },
    /// Measure how much of the library its tests execute
    Coverage,
    /// Write the pages that show what the agent prints anew
    Golden,
    /// Measure a sample program and show its source with counts
    Demo,
    /// Install what the tests need, then run every check and every test
    Test {
        /// Only those checks whose name contains this
        only: Option<String>,
        /// Install nothing
        #[arg(long)]
        no_setup: bool,
    },
    /// Install what the tests need
    Setup,
    /// Build the kernel programs into the object that the agent embeds
    Ebpf {
        /// Only compare with the committed object
        #[arg(long)]
        check: bool,
    },
    /// Feed hostile input to every reader (needs cargo-fuzz)
    Fuzz {
        /// Only this target
        target: Option<String>,
        /// How long, for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Run the SQL queries on Spark, in local mode, and compare with DuckDB (needs Java 17)
    Spark,
    /// Check the rules that no compiler knows: who may use whom, file lengths, machine paths
    Tidy,
    /// Run the kernel's tests on an older kernel of Debian's, in an emulated machine (needs no root)
    Vm {
        /// Its version, as far as it matters
        #[arg(long, default_value = "6.1")]
        kernel: String,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    std::env::set_current_dir(shell::workspace())?;
    match Args::parse().command {
        Command::Bench { data: true, smoke, json, .. } => bench::run_data(smoke, json),
        Command::Bench { smoke, json, write, .. } => bench::run_bench(bench::Wanted { smoke, json, write }),
        Command::Coverage => coverage::run_coverage(),
        Command::Golden => {
            let mut test = shell::cargo(["test", "--quiet", "--package", "cov-tests", "--test", "golden"]);
            shell::run(test.env("COV_GOLDEN", "write"))?;
            let mut keys = shell::cargo(["test", "--quiet", "--package", "cov-agent", "--lib", "config::"]);
            shell::run(keys.env("COV_GOLDEN", "write"))
        }
        Command::Demo => demo::run_demo(),
        Command::Test { only, no_setup } => checks::run_all(only.as_deref(), !no_setup),
        Command::Setup => setup::install(),
        Command::Ebpf { check } => ebpf::run_ebpf(check),
        Command::Fuzz { target, seconds } => fuzz::run_fuzz(target.as_deref(), seconds),
        Command::Spark => {
            if !shell::has("java") {
                anyhow::bail!("Spark needs Java 17: apt-get install openjdk-17-jre-headless");
            }
            let test = ["test", "--quiet", "--package", "cov-agent", "--no-default-features", "--test", "parquet"];
            shell::run(shell::cargo(test).args(["--", "--ignored", "spark"]))
        }
        Command::Tidy => tidy::run(),
        Command::Vm { kernel } => vm::run_vm(&kernel),
    }
}
