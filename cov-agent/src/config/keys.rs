//! The table of keys: the one place that says which there are. What each means and its default
//! value stand in `default.ini`.

use super::context::ContextFrom;
use super::layer::Layer;
use super::list::{Formats, PathMap, Patterns, PrefixMap, Regexes};
use super::origin::{Origin, Setting};
use super::problem::Problem;
use super::python::Python;
use super::selected::{Functions, LineLists};
use super::value::{Color, Overhead, Precision, Relative, Seconds, Sort, Threshold, Value};
use std::path::PathBuf;

/// A name that coverage.py has for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// coverage.py's section.
    pub section: &'static str,
    /// The name there.
    pub name: &'static str,
    /// How the value differs from ours.
    pub form: Form,
}

/// How a value of coverage.py is written, compared with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Alike.
    Same,
    /// As globs of coverage.py: `*/` in front and `/*` behind cross directories, and a glob without
    /// a slash matches in every directory.
    Globs,
    /// As directories to measure, or Python packages where there is no such directory.
    Sources,
    /// As directories to measure.
    Directories,
    /// As Python packages to measure.
    Packages,
    /// As a path that may begin with `~`.
    Path,
    /// As a section of its own, all of which is the value.
    Section,
}

const fn alias(section: &'static str, name: &'static str, form: Form) -> Alias {
    Alias { section, name, form }
}

/// A key: its names.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name in files; the environment variable is `COV_AGENT_` and this in capitals.
    pub name: &'static str,
    /// The command line's option, with its dashes, where there is one.
    pub option: Option<&'static str>,
    /// coverage.py's names. Those of the first group that a file has are taken, all of them.
    pub coverage: &'static [&'static [Alias]],
    /// What is allowed, for people.
    pub(crate) allowed: fn() -> String,
}

impl Key {
    /// The environment variable that overrides the key.
    #[must_use]
    pub fn environment(&self) -> String {
        format!("COV_AGENT_{}", self.name.to_uppercase())
    }
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty, $option:expr, $coverage:expr;)+) => {
        /// The effective configuration: each value with its origin.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $name: Setting<$type>,)+
        }

        /// Every key.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            option: $option,
            coverage: $coverage,
            allowed: <$type as Value>::allowed,
        }),+];

        impl Settings {
            /// Takes what a layer says; it wins over what was there.
            pub(crate) fn apply(&mut self, layer: &Layer, problems: &mut Vec<Problem>) {
                for entry in &layer.0 {
                    match entry.key.name {
                        $(stringify!($name) => match <$type as Value>::read(&entry.raw) {
                            Ok(value) => self.$name = Setting { value, origin: entry.origin.clone() },
                            Err(bad) => problems.push(entry.problem(bad)),
                        },)+
                        _ => {}
                    }
                }
            }

            /// Every key with its effective value and origin, in the order of the table.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static Key, String, &Origin)> {
                let rows = [$((self.$name.value.show(), &self.$name.origin)),+];
                KEYS.iter().zip(rows).map(|(key, (value, origin))| (key, value, origin)).collect()
            }
        }
    };
}

keys! {
    /// Whether to measure at all.
    enabled: bool, None, &[];
    /// The directory of the coverage files.
    output: PathBuf, Some("--output"), &[];
    /// Which files to write.
    output_format: Formats, Some("--format"), &[];
    /// Where `.coverage` is written, if not into the output directory.
    data_file: PathBuf, None, &[&[alias("run", "data_file", Form::Path)]];
    /// Whether to keep earlier data, and merge with it.
    preserve_data: bool, None, &[];
    /// Which sources are measured.
    include_patterns: Patterns, Some("--include"), &[
        &[
            alias("run", "source", Form::Sources),
            alias("run", "source_dirs", Form::Directories),
            alias("run", "source_pkgs", Form::Packages),
        ],
        &[alias("run", "include", Form::Globs)],
        &[alias("report", "include", Form::Globs)],
    ];
    /// Which sources are left out.
    exclude_patterns: Patterns, Some("--exclude"), &[
        &[alias("run", "omit", Form::Globs), alias("report", "omit", Form::Globs)],
    ];
    /// Which functions are measured.
    functions: Functions, Some("--function"), &[];
    /// Which lines are measured.
    lines: LineLists, Some("--lines"), &[];
    /// The commit; lines that differ from it are measured.
    lines_diff: String, Some("--lines-diff"), &[];
    /// Data of earlier runs; lines that they cover are not measured.
    only_missing: Vec<PathBuf>, Some("--only-missing"), &[];
    /// Whether ways out of conditional jumps are counted.
    branch: bool, Some("--branch"), &[&[alias("run", "branch", Form::Same)]];
    /// Data of earlier runs; probes are placed where these ran seldom.
    profile: Vec<PathBuf>, Some("--profile"), &[];
    /// How many executable lines a file needs not to be left out.
    line_threshold: u64, None, &[];
    /// Where separate debug info is looked for, too.
    debug_dir: Vec<PathBuf>, Some("--debug-dir"), &[];
    /// Beginnings of source paths, and what replaces them.
    prefix_map: PrefixMap, Some("--prefix-map"), &[];
    /// Whether plans are kept for the next run.
    plan_cache: bool, Some("--no-cache"), &[];
    /// Where they are kept.
    cache: PathBuf, Some("--cache"), &[];
    /// Whether paths are written relative, and to what.
    relative_files: Relative, None, &[&[alias("run", "relative_files", Form::Same)]];
    /// Which paths mean the same files.
    paths: PathMap, None, &[&[alias("paths", "", Form::Section)]];
    /// The context of hits; empty is the default one.
    context: String, None, &[&[alias("run", "context", Form::Same)]];
    /// What contexts of executed programs are named after.
    context_from: ContextFrom, Some("--context-from"), &[];
    /// How many contexts are told apart.
    max_contexts: u64, None, &[];
    /// The commit that the sources are of, for runs that name none.
    commit: String, None, &[];
    /// Which part of a bigger run this is, for runs that say nothing.
    shard: String, None, &[];
    /// The user that the program runs as; empty is whoever runs the agent.
    user: String, Some("--user"), &[];
    /// Whether processes that the program starts are measured too.
    follow: bool, Some("--no-follow"), &[];
    /// Who counts lines of Python.
    python: Python, Some("--python"), &[];
    /// Whether every hit of a line of Python is counted.
    python_counts: bool, Some("--python-hits"), &[];
    /// How long running processes are measured.
    duration: Seconds, Some("--duration"), &[];
    /// Whether only which lines were executed is wanted.
    lines_only: bool, Some("--lines-only"), &[];
    /// What hits may cost before counters stop.
    overhead: Overhead, Some("--overhead"), &[];
    /// What they may cost in any case.
    overhead_grace: Seconds, Some("--overhead-grace"), &[];
    /// Lines that are left out.
    exclude_lines: Regexes, None, &[&[alias("report", "exclude_lines", Form::Same)]];
    /// More lines that are left out.
    exclude_also: Regexes, None, &[&[alias("report", "exclude_also", Form::Same)]];
    /// The percentage that `check` wants overall.
    fail_under: Threshold, Some("--fail-under"), &[&[alias("report", "fail_under", Form::Same)]];
    /// The percentage that `check` wants of each file.
    fail_under_file: Threshold, Some("--fail-under-file"), &[];
    /// Digits behind the point.
    precision: Precision, Some("--precision"), &[&[alias("report", "precision", Form::Same)]];
    /// How tables are sorted.
    sort: Sort, Some("--sort"), &[&[alias("report", "sort", Form::Same)]];
    /// Whether tables show the missing lines.
    show_missing: bool, Some("--missing"), &[&[alias("report", "show_missing", Form::Same)]];
    /// Errors only.
    quiet: bool, Some("--quiet"), &[];
    /// Tell more.
    verbose: bool, Some("--verbose"), &[];
    /// When to write in colour.
    color: Color, Some("--color"), &[];
}
