//! The options of the commands that read coverage data: they need no kernel and no privilege.

use super::args::OutputArgs;
use crate::config::{self, LineList, Patterns, Precision, PrefixMap, Settings, Sort, Threshold};
use clap::{ArgAction, Args};
use globset::Glob;
use std::path::PathBuf;

/// Which data, and which of its source files.
#[derive(Debug, Clone, Args)]
pub struct InputArgs {
    /// Add the same run's data every time it is given, instead of refusing it
    #[arg(long)]
    pub allow_duplicates: bool,
    /// Which source files.
    #[command(flatten)]
    pub files: FileArgs,
}

/// Which of the source files in the data, and under which names.
#[derive(Debug, Clone, Args)]
pub struct FileArgs {
    /// Only the source files that match GLOB; `**` crosses directories (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    pub include: Vec<String>,
    /// Leave out the source files that match GLOB (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append)]
    pub exclude: Vec<String>,
    /// Replace the beginning OLD of source paths by NEW (repeatable)
    #[arg(long, value_name = "OLD=NEW", action = ArgAction::Append, value_parser = prefix)]
    pub prefix_map: Vec<(String, String)>,
}

impl FileArgs {
    /// What the command line says wins over what the settings have.
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.include_patterns.command_line("--include", given(&self.include).map(Patterns));
        settings.exclude_patterns.command_line("--exclude", given(&self.exclude).map(Patterns));
        settings.prefix_map.command_line("--prefix-map", given(&self.prefix_map).map(PrefixMap));
    }
}

/// A list that was given.
pub(super) fn given<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// `cov-agent merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Coverage data in any readable format: files, directories, or - for standard input
    #[arg(required = true, value_name = "DATA")]
    pub data: Vec<PathBuf>,
}

/// `cov-agent convert`.
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Coverage data in any readable format: a file, a directory, or - for standard input
    #[arg(value_name = "DATA")]
    pub data: PathBuf,
}

/// `cov-agent report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// Sort by name, lines, missing, cover or hottest; -NAME is the other way round
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub sort: Option<Sort>,
    /// Digits behind the point of percentages
    #[arg(long, value_name = "DIGITS")]
    pub precision: Option<Precision>,
    /// Show the lines that were not executed
    #[arg(long)]
    pub missing: bool,
    /// Show what each context executed
    #[arg(long)]
    pub contexts: bool,
    /// Only what the contexts that match GLOB executed (repeatable)
    #[arg(long, value_name = "GLOB", action = ArgAction::Append, value_parser = config::function)]
    pub context: Vec<Glob>,
    /// Only the files whose numbers are not those of DATA, with the difference
    #[arg(long, value_name = "DATA")]
    pub since: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print Markdown, as for the summary of a CI job
    #[arg(long)]
    pub markdown: bool,
    /// Coverage data in any readable format: files, directories, or - for standard input
    /// [default: the output directory]
    #[arg(value_name = "DATA")]
    pub data: Vec<PathBuf>,
}

/// `cov-agent check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// The least percentage of executed lines overall
    #[arg(long, value_name = "PERCENT")]
    pub fail_under: Option<Threshold>,
    /// The least percentage of executed lines of each file
    #[arg(long, value_name = "PERCENT")]
    pub fail_under_file: Option<Threshold>,
    /// Only the lines that differ from where HEAD and the commit BASE parted
    #[arg(long, value_name = "BASE")]
    pub diff: Option<String>,
    /// Digits behind the point of percentages
    #[arg(long, value_name = "DIGITS")]
    pub precision: Option<Precision>,
    /// Coverage data in any readable format: files, directories, or - for standard input
    /// [default: the output directory]
    #[arg(value_name = "DATA")]
    pub data: Vec<PathBuf>,
}

/// `cov-agent annotate`.
#[derive(Debug, Clone, Args)]
pub struct AnnotateArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// Coverage data in any readable format: a file, a directory, or - for standard input
    /// [repeatable; default: the output directory]
    #[arg(long, value_name = "DATA", action = ArgAction::Append)]
    pub data: Vec<PathBuf>,
    /// The source files to show, as paths or ends of paths [default: all]
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
}

/// `cov-agent who`.
#[derive(Debug, Clone, Args)]
pub struct WhoArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The lines: FILE:7 or FILE:10-20,30; the file is a path or the end of one
    #[arg(value_name = "FILE:LINES")]
    pub lines: LineList,
    /// Coverage data in any readable format: files, directories, or - for standard input
    /// [default: the output directory]
    #[arg(value_name = "DATA")]
    pub data: Vec<PathBuf>,
}

/// `cov-agent tests`.
#[derive(Debug, Clone, Args)]
pub struct TestsArgs {
    /// Which data.
    #[command(flatten)]
    pub input: InputArgs,
    /// Only the contexts that ran a line of FILE, or of FILE:10-20,30 (repeatable)
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub touching: Vec<String>,
    /// Only the contexts that ran a line that has changed since the commit BASE, of which the data are
    #[arg(long, value_name = "BASE")]
    pub diff: Option<String>,
    /// The lines that only one context ran, each with its context
    #[arg(long, conflicts_with_all = ["touching", "diff", "redundant"])]
    pub alone: bool,
    /// The contexts that add nothing: without all of them, the others run the same lines
    #[arg(long, conflicts_with_all = ["touching", "diff"])]
    pub redundant: bool,
    /// Coverage data in any readable format: files, directories, or - for standard input
    /// [default: the output directory]
    #[arg(value_name = "DATA")]
    pub data: Vec<PathBuf>,
}

/// `cov-agent config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Print JSON
    #[arg(long, conflicts_with = "default")]
    pub json: bool,
    /// Print the default file, which explains each key
    #[arg(long)]
    pub default: bool,
    /// Which source files.
    #[command(flatten)]
    pub files: FileArgs,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `OLD=NEW`.
fn prefix(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(old, _)| !old.is_empty());
    pair.map(|(old, new)| (old.to_owned(), new.to_owned())).ok_or_else(|| "give OLD=NEW, with OLD not empty".to_owned())
}
