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

    /// What a hit costs in nanoseconds: of an instruction that the kernel emulates, and of one that it single-steps
    /// [default: measured once after each start of the machine]
    #[arg(long, value_name = "EMULATED,STEPPED", value_parser = prices)]
    pub prices: Option<[Duration; 2]>,
}

/// Reads prices as the command line has them.
pub(super) fn prices(text: &str) -> Result<[Duration; 2], String> {
    let number = |text: &str| text.trim().parse().ok().map(Duration::from_nanos);
    let both = text.split_once(',').and_then(|(emulated, stepped)| Some([number(emulated)?, number(stepped)?]));
    both.ok_or_else(|| "write two numbers of nanoseconds, for example 650,11000".to_owned())
}

impl CostArgs {
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.lines_only.command_line("--lines-only", self.lines_only.then_some(true));
        settings.overhead.command_line("--overhead", self.overhead);
        let grace = self.overhead_grace.map(|grace| Seconds(Some(grace)));
        settings.overhead_grace.command_line("--overhead-grace", grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_two() {
        assert_eq!(prices("650, 11000"), Ok([Duration::from_nanos(650), Duration::from_nanos(11_000)]));
        for wrong in ["", "650", "650,", "1.5,2", "-1,2"] {
            assert!(prices(wrong).is_err(), "{wrong}");
        }
    }
}
