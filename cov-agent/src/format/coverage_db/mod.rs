//! `.coverage`: the data file of coverage.py, an SQLite database of schema version 7, which versions 5.0 to 7 share
//! (`coverage/sqldata.py`).
//!
//! It says which lines ran, by context, and has no place for counts: what is read back counts "≥1". Where
//! coverage.py measures branches it keeps pairs of lines (arcs) instead of lines, in the whole file; the lines are the
//! ends of these pairs that are above zero.
//!
//! Executable lines are not in it either: coverage.py reads them off Python text. For native files they travel in a
//! form that only our plugin and our reader know (see the source of `native.rs`).

mod native;
mod numbits;
mod read;
mod write;

pub use read::read;
pub use write::write;

use super::ReadError;
use crate::coverage::Snapshot;
use std::path::{Path, PathBuf};

/// The schema that we write and read. Comments as in its source, shortened.
const SCHEMA: &str = "
create table coverage_schema (version integer);  -- one row
create table meta (key text, value text, unique (key));  -- has_arcs: whether `arc` is used, or `line_bits`
create table file (id integer primary key, path text, unique (path));
create table context (id integer primary key, context text, unique (context));
create table line_bits (
    file_id integer, context_id integer, numbits blob,
    foreign key (file_id) references file (id), foreign key (context_id) references context (id),
    unique (file_id, context_id)
);
create table arc (
    file_id integer, context_id integer, fromno integer, tono integer,
    foreign key (file_id) references file (id), foreign key (context_id) references context (id),
    unique (file_id, context_id, fromno, tono)
);
create table tracer (file_id integer primary key, tracer text, foreign key (file_id) references file (id));
";

/// The version of the schema.
const SCHEMA_VERSION: i64 = 7;

/// The highest line number that is written or read. Beyond it nobody has code, and a bitmap would cost megabytes.
const MAX_LINE: u32 = 1 << 24;

/// The name of the plugin, as the user writes it behind `[run] plugins` in coverage.py's configuration.
pub const PLUGIN: &str = "cov_agent_coverage";

/// The class in it, by which the data file names who reports a file.
const TRACER: &str = "cov_agent_coverage.NativeSources";

/// What coverage.py's configuration says about the data file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `[run] plugins` names [`PLUGIN`]. Without it native files get no tracer, which coverage.py would look for in
    /// vain, and those that would stop its reports are left out ([`left_out`]).
    pub plugin: bool,
    /// `[run] branch`: write arcs, as coverage.py combines arcs only with arcs. A line that ran is the arc from it to
    /// itself, which coverage.py takes for "ran, where to is not known".
    pub branch: bool,
    /// `[run] relative_files`: name the files below this directory relative to it.
    pub relative_to: Option<String>,
}

/// The native files that [`write()`] leaves out, because coverage.py's reports would stop at them without the plugin:
/// those whose text is not there, and those that look like Python by their name.
pub fn left_out<'a>(snapshot: &'a Snapshot, options: &Options) -> impl Iterator<Item = &'a str> {
    let plugin = options.plugin;
    snapshot.files().iter().map(|file| &**file.path()).filter(move |path| !(plugin || is_kept_without_plugin(path)))
}

fn is_kept_without_plugin(path: &str) -> bool {
    !native::is_native(path) || native::is_skipped_without_plugin(path)
}

/// The name that coverage.py gives `data_file` in parallel mode, `.coverage.HOST.pidPID.XRANDOMx`, so that `coverage
/// combine` finds it. `random` are six letters or digits; dots in the host's name become underscores.
///
/// ```
/// use cov_agent::format::coverage_db::parallel_name;
/// let name = parallel_name(".coverage".as_ref(), "build.example", 17, "a1B2c3");
/// assert_eq!(name.to_str(), Some(".coverage.build_example.pid17.Xa1B2c3x"));
/// ```
#[must_use]
pub fn parallel_name(data_file: &Path, host: &str, pid: u32, random: &str) -> PathBuf {
    let mut name = data_file.as_os_str().to_owned();
    let host = host.replace(|c: char| c == '.' || c == '/' || c.is_control(), "_");
    name.push(format!(".{host}.pid{pid}.X{random}x"));
    name.into()
}

/// Whether `path` is the data file called `base` (`.coverage`) or one of its parallel companions. Journals that SQLite
/// leaves beside them are not.
#[must_use]
pub fn is_data_file_name(path: &Path, base: &str) -> bool {
    let rest = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(base));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && !rest.ends_with("-journal"))
}

fn too_high(line: u64) -> ReadError {
    ReadError::TooBig(format!("line {line}; the highest that is read is {MAX_LINE}"))
}

#[cfg(test)]
mod tests;
