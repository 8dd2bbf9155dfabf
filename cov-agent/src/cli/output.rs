//! Writing coverage data as the settings say: where, which formats, beside which earlier data.

use super::console::Console;
use super::data;
use super::invoker::Invoker;
use super::message::{Message, Slug, chain};
use crate::config::{CoveragePy, Environment, Relative, Settings};
use crate::coverage::filter::default_root;
use crate::coverage::{RunId, Snapshot, paths};
use crate::format::input::Input;
use crate::format::output::{OutputDir, OutputError, Rights};
use crate::format::{self, Format, coverage_db};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What one file is written by.
type Writer<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

/// Opens the output directory.
pub(super) fn open<'a>(settings: &Settings, invoker: &'a Invoker) -> Result<OutputDir<'a>, Message> {
    OutputDir::open(settings.output.value.clone(), invoker).map_err(|error| message(&error))
}

/// Writes `snapshot` in every format that the settings name, whole or not at all. Added to it are, with
/// `preserve_data`, the earlier data, else those that another agent wrote since `directory` was opened. Returns the
/// files' paths.
///
/// # Errors
///
/// The directory or a file cannot be written; with `preserve_data`, earlier data cannot be read.
/// What was there before is then unchanged.
pub(super) fn write(
    snapshot: &mut Snapshot,
    settings: &Settings,
    directory: &OutputDir<'_>,
    rights: &Invoker,
    console: Console,
) -> Result<Vec<PathBuf>, Message> {
    let message = |error| message(&error);
    let environment = Environment::current()
        .map_err(|error| Message::new(Slug::CannotRead, format!("the working directory: {error}")))?;
    let coverage_py = CoveragePy::read(&environment);
    let options = coverage_db::Options {
        plugin: coverage_py.plugins.iter().any(|name| name == coverage_db::PLUGIN),
        branch: coverage_py.branch,
        relative_to: coverage_py.relative_files.then(|| paths::normalize("/", &environment.directory)),
    };
    match *settings.relative_files {
        Relative::No => {}
        Relative::Directory => *snapshot = relative(std::mem::take(snapshot), &environment.directory),
        Relative::Repository => {
            *snapshot = relative(std::mem::take(snapshot), &default_root(&environment.directory));
        }
    }
    // Nobody else may write between our reading what is there and our replacing it.
    let lock = directory.lock().map_err(message)?;
    let history = if *settings.preserve_data {
        with_earlier(snapshot, directory.path(), rights, console)?
    } else {
        if directory.changed() {
            with_concurrent(snapshot, directory.path(), rights, console);
        }
        Vec::new()
    };
    let snapshot = &*snapshot;
    let write_one = |format: Format| -> Writer<'_> {
        let options = &options;
        Box::new(move |out| match format {
            Format::Coverage => coverage_db::write(snapshot, options, out),
            format => format::write(format, snapshot, out),
        })
    };
    let elsewhere = |format: &Format| *format == Format::Coverage && !settings.data_file.as_os_str().is_empty();
    let formats = &settings.output_format.0;
    let numbered = history.iter().map(|(name, snapshot)| {
        let write: Writer<'_> = Box::new(move |out| format::write(Format::Raw, snapshot, out));
        (name.as_str(), write)
    });
    let here = formats.iter().filter(|format| !elsewhere(format)).map(|f| (f.file_name(), write_one(*f)));
    let mut paths = directory.replace(numbered.chain(here).collect()).map_err(message)?;
    if formats.iter().any(elsewhere) {
        paths.extend(data_file(&settings.data_file, write_one(Format::Coverage), rights)?);
    }
    drop(lock);
    if formats.contains(&Format::Coverage) {
        tell_left_out(snapshot, &options, console);
    }
    Ok(paths)
}

/// Writes `.coverage` where `data_file` says.
fn data_file(path: &Path, write: Writer<'_>, rights: &Invoker) -> Result<Vec<PathBuf>, Message> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(OsStr::to_str) else {
        return Err(Message::new(Slug::Config, format!("data_file: {} names no file", path.display())));
    };
    let directory = OutputDir::open(parent, rights).map_err(|error| message(&error))?;
    directory.replace(vec![(name, write)]).map_err(|error| message(&error))
}

/// Files below `directory` under their paths from there.
fn relative(snapshot: Snapshot, directory: &Path) -> Snapshot {
    let directory = paths::normalize("/", directory);
    snapshot.map_files(|file| {
        let path = paths::relative(&directory, file.path()).to_owned();
        Some(if path == **file.path() { file } else { file.with_path(path) })
    })
}

/// Native files that coverage.py could not report are not in `.coverage`, and people wonder.
fn tell_left_out(snapshot: &Snapshot, options: &coverage_db::Options, console: Console) {
    let files = coverage_db::left_out(snapshot, options).count();
    if files > 0 {
        let text = format!(
            "{files} source files are not in .coverage, because coverage.py cannot report them without the plugin {}",
            coverage_db::PLUGIN
        );
        console.detail(&text);
    }
}

/// Adds the data that another agent wrote to `directory` while this one was at work: it cannot know of these, so that
/// overwriting them would lose them. Where they cannot be read or hold the same runs, ours alone are written.
fn with_concurrent(snapshot: &mut Snapshot, directory: &Path, rights: &Invoker, console: Console) {
    let mut read = Ok(None);
    let taken = rights.with(&mut || read = earlier(directory, console));
    match (taken, read) {
        (Ok(()), Ok(Some(theirs))) if theirs.common_runs(snapshot).next().is_none() => {
            console.detail(&format!("added to what another agent wrote to {} meanwhile", directory.display()));
            *snapshot = theirs.merge(std::mem::take(snapshot));
        }
        (Ok(()), Err(error)) => console.warning(&error),
        _ => {}
    }
}

/// Adds the earlier data in `directory` to `snapshot`. Returns the history to write: each run's own
/// data by the name of its file.
fn with_earlier(
    snapshot: &mut Snapshot,
    directory: &Path,
    rights: &Invoker,
    console: Console,
) -> Result<Vec<(String, Snapshot)>, Message> {
    let mut read = Ok((None, 0));
    let mut act = || {
        let last = last_number(directory);
        read = earlier(directory, console).map(|earlier| (earlier, last));
    };
    rights
        .with(&mut act)
        .map_err(|error| Message::new(Slug::CannotRead, format!("{}: {error}", directory.display())))?;
    let (earlier, last) = read?;
    let runs = |snapshot: &Snapshot| snapshot.runs().map(|run| run.id).collect::<BTreeSet<RunId>>();
    let mut history = vec![(numbered(last + 1), snapshot.clone())];
    let Some(earlier) = earlier else { return Ok(history) };
    let (ours, theirs) = (runs(snapshot), runs(&earlier));
    if theirs.is_subset(&ours) {
        // Merged data that holds the earlier data already.
        return Ok(Vec::new());
    }
    if ours.intersection(&theirs).next().is_some() {
        let text = format!(
            "{} holds some of the same runs: their counts would be added twice; write into another directory",
            directory.display()
        );
        return Err(Message::new(Slug::DuplicateData, text));
    }
    if last == 0 {
        // Data from before anybody asked for a history is its beginning.
        history = vec![(numbered(1), earlier.clone()), (numbered(2), snapshot.clone())];
    }
    *snapshot = earlier.merge(std::mem::take(snapshot));
    Ok(history)
}

/// The data that a directory holds already; nothing where it holds none.
fn earlier(directory: &Path, console: Console) -> Result<Option<Snapshot>, Message> {
    let there = |name: &str| Some(directory.join(name)).filter(|path| path.exists()).map(Input::File);
    let history = (1..=last_number(directory)).filter_map(|number| there(&numbered(number)));
    // The raw file holds all that its history holds; every other format holds less.
    let others = [Format::Parquet, Format::Json, Format::Coverage, Format::Cobertura, Format::Lcov];
    let mut inputs: Vec<Input> = there(Format::Raw.file_name()).into_iter().collect();
    if inputs.is_empty() {
        inputs.extend(history);
    }
    if inputs.is_empty() {
        inputs.extend(others.iter().find_map(|format| there(format.file_name())));
    }
    if inputs.is_empty() { Ok(None) } else { data::merge(&inputs, false, console).map(Some) }
}

/// `coverage_raw.7.dat`.
fn numbered(number: u64) -> String {
    format!("coverage_raw.{number}.dat")
}

/// The highest number in a directory's history; 0 without one.
fn last_number(directory: &Path) -> u64 {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let number = |name: std::ffi::OsString| {
        name.to_str()?.strip_prefix("coverage_raw.")?.strip_suffix(".dat")?.parse::<u64>().ok()
    };
    names.filter_map(number).max().unwrap_or(0)
}

/// The message for output that cannot be written.
pub(super) fn message(error: &OutputError) -> Message {
    let slug = match error {
        OutputError::Directory { source, .. } | OutputError::File { source, .. } => Slug::of_write(source),
        OutputError::ForeignLink { .. } => Slug::OutputNotWritable,
    };
    Message::new(slug, chain(error))
}
