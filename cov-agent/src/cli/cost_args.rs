//! What measuring may cost, on the command line.

use crate::config::Settings;
use clap::Args;

/// How much measuring may cost.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct CostArgs {
    /// Tell only which lines were executed, not how often: the cheapest way
    #[arg(long, conflicts_with = "branch")]
    pub lines_only: bool,
}

impl CostArgs {
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.lines_only.command_line("--lines-only", self.lines_only.then_some(true));
    }
}
