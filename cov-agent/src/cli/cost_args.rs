//! What measuring may cost, on the command line.

use crate::config::{Overhead, Seconds, Settings};
use clap::Args;
use std::time::Duration;

/// How much measuring may cost.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct CostArgs {
    /// Tell only which lines were executed, not how often: the cheapest way
    #[arg(long, conflicts_with_all = ["branch", "overhead"])]
    pub lines_only: bool,

    /// How much of a process's own time hits may cost before the dearest probes go, whose lines then have lower bounds;
    /// none: all counts exact, whatever they cost [default: 5%]
    #[arg(long, value_name = "PERCENT|none")]
    pub overhead: Option<Overhead>,

    /// What hits may cost in each process in any case [default: 0.1]
    #[arg(long, value_name = "SECONDS", value_parser = super::args::seconds)]
    pub overhead_grace: Option<Duration>,
}

impl CostArgs {
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.lines_only.command_line("--lines-only", self.lines_only.then_some(true));
        settings.overhead.command_line("--overhead", self.overhead);
        let grace = self.overhead_grace.map(|grace| Seconds(Some(grace)));
        settings.overhead_grace.command_line("--overhead-grace", grace);
    }
}
