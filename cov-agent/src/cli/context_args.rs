//! What tells apart who ran what, on the command line.

use crate::config::{ContextFrom, Settings};
use clap::Args;

/// Contexts.
#[derive(Debug, Clone, Default, Args)]
pub struct ContextArgs {
    /// Tell apart what each test ran (test), or each executed program: name its context after env:NAME,
    /// arg:NUMBER, cmdline, cgroup or process
    #[arg(long, value_name = "SOURCE")]
    pub context_from: Option<ContextFrom>,
}

impl ContextArgs {
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.context_from.command_line("--context-from", self.context_from.clone());
    }
}
