//! The arguments of `cov-agent plan`.

use super::args::SourceArgs;
use super::plan_args::SelectionArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What the probes are to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PlanAim {
    /// How often each line was entered.
    #[default]
    Counts,
    /// Whether it was executed, by the fewest probes.
    Hits,
    /// The same by probes that go once they were hit, as --lines-only has them.
    Once,
}

/// `cov-agent plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// What the probes are to tell
    #[arg(long, value_enum, value_name = "AIM", default_value_t)]
    pub aim: PlanAim,
    /// Plan for what is attached to amid a run: nothing is concluded from what flows in and out
    #[arg(long)]
    pub part: bool,
    /// Show only the formula of this line
    #[arg(long, value_name = "FILE:LINE", value_parser = file_line)]
    pub line: Option<(PathBuf, u32)>,
    /// What a hit costs in nanoseconds: of an instruction that the kernel emulates, and of one that it single-steps
    #[arg(long, value_name = "EMULATED,STEPPED", value_parser = super::cost_args::prices)]
    pub prices: Option<[Duration; 2]>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which sources.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// What of them.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The program or library
    #[arg(value_name = "OBJECT")]
    pub object: PathBuf,
}

fn file_line(text: &str) -> Result<(PathBuf, u32), String> {
    let parts = text.rsplit_once(':').filter(|(file, _)| !file.is_empty());
    let line = parts.and_then(|(file, line)| Some((PathBuf::from(file), line.parse().ok().filter(|&n| n > 0)?)));
    line.ok_or_else(|| "write it as FILE:LINE, for example main.c:12".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(file_line("a:b.c:7"), Ok(("a:b.c".into(), 7)));
        for wrong in ["7", ":7", "a.c:", "a.c:0", "a.c:-1"] {
            assert!(file_line(wrong).is_err(), "{wrong}");
        }
    }
}

/// `cov-agent doctor`.
#[derive(Debug, Clone, Copy, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
