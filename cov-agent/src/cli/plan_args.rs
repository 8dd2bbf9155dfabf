//! The part of the command line that shapes plans.

use crate::config::{self, LineList};
use clap::{ArgAction, Args};
use globset::Glob;
use std::path::PathBuf;

/// What of these sources is measured.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectionArgs {
    /// Measure only the functions whose name, mangled or not, matches GLOB (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append, value_parser = config::function)]
    pub function: Vec<Glob>,
    /// Measure only these lines: FILE:10-20,30, or @LIST, a file with one such entry a line (repeatable)
    #[arg(long, value_name = "FILE:LINES", action = ArgAction::Append)]
    pub lines: Vec<LineList>,
    /// Measure only the lines that differ from where HEAD and the commit BASE parted
    #[arg(long, value_name = "BASE")]
    pub lines_diff: Option<String>,
    /// Leave out the lines that DATA, of earlier runs or other shards, cover; merge both (repeatable)
    #[arg(long, value_name = "DATA", action = ArgAction::Append)]
    pub only_missing: Vec<PathBuf>,
    /// Count how often each way out of the conditional jumps of a line was taken, too
    #[arg(long)]
    pub branch: bool,
    /// Place probes where code seldom ran by DATA of earlier runs; changes no count (repeatable)
    #[arg(long, value_name = "DATA", action = ArgAction::Append)]
    pub profile: Vec<PathBuf>,
}

/// Where plans are kept.
#[derive(Debug, Clone, Default, Args)]
pub struct CacheArgs {
    /// Keep what was worked out of objects in DIR [default: cov-agent in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Work everything out anew, and keep nothing
    #[arg(long, conflicts_with = "cache")]
    pub no_cache: bool,
}
