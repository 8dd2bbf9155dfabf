//! Coverage data as the settings want to see it: under which paths, which files, without the lines
//! that people excluded.

use super::console::Console;
use super::invoker::Invoker;
use super::message::{Message, Slug};
use crate::config::Settings;
use crate::coverage::{Filter, Markers, Remap, Snapshot, paths};
use std::io::{self, Read as _};
use std::path::Path;

/// A bigger file is no source that anybody reads.
const MAX_SOURCE: u64 = 64 << 20;

/// Maps the paths of data that may come from elsewhere, leaves out the files that the settings do
/// not want, and goes on as [`finish`]. `directory` is the working directory.
pub(super) fn refine(
    snapshot: Snapshot,
    settings: &Settings,
    directory: &str,
    invoker: &Invoker,
    console: Console,
) -> Result<Snapshot, Message> {
    let remap = remap(settings, directory)?;
    let snapshot = remap.apply(snapshot, |path| Path::new(path).exists());
    // Data says itself what was measured: by default nothing is left out here.
    let all = ["**".to_owned()];
    let include = &settings.include_patterns.value.0;
    let include = if include.is_empty() { &all[..] } else { include };
    let filter = Filter::new(include, &settings.exclude_patterns.value.0, directory)
        .map_err(|error| Message::new(Slug::Usage, error))?;
    let wanted = |path: &str| filter.matches(&paths::normalize(directory, path));
    let snapshot = snapshot.map_files(|file| wanted(file.path()).then_some(file));
    finish(snapshot, settings, directory, invoker, console)
}

/// What is left to do with data that was measured here: takes out the lines that sources or patterns
/// exclude, then files that are too short, and gives runs that have none a commit and a shard.
pub(super) fn finish(
    snapshot: Snapshot,
    settings: &Settings,
    directory: &str,
    invoker: &Invoker,
    console: Console,
) -> Result<Snapshot, Message> {
    let markers = Markers::new(Some(&settings.exclude_lines.value.0), &settings.exclude_also.value.0)
        .map_err(|error| Message::new(Slug::Config, error))?;
    let mut problems = Vec::new();
    let source = |path: &str| {
        let bytes = read_source(&paths::normalize(directory, path), invoker).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let snapshot = markers.apply(snapshot, source, &mut problems);
    for problem in problems {
        console.warning(&Message::new(Slug::Marker, problem));
    }
    let snapshot = snapshot.map_runs(|run| {
        let label = |own: &mut String, setting: &String| {
            if own.is_empty() {
                own.clone_from(setting);
            }
        };
        label(&mut run.commit, &settings.commit);
        label(&mut run.shard, &settings.shard);
    });
    let threshold = usize::try_from(settings.line_threshold.value).unwrap_or(usize::MAX);
    Ok(snapshot.map_files(|file| (file.lines().len() >= threshold).then_some(file)))
}

/// The rules for paths that the settings give.
fn remap(settings: &Settings, directory: &str) -> Result<Remap, Message> {
    let mut remap = Remap::new(directory);
    let error = |error| Message::new(Slug::Config, error);
    for (old, new) in &settings.prefix_map.value.0 {
        remap.prefix(&format!("{old}={new}")).map_err(error)?;
    }
    for (_, same) in &settings.paths.value.0 {
        if let Some((canonical, others)) = same.split_first() {
            remap.alias(canonical, others).map_err(error)?;
        }
    }
    Ok(remap)
}

/// The bytes of a source file, read with the rights of the person who called the agent.
pub(super) fn read_source(path: &str, invoker: &Invoker) -> io::Result<Vec<u8>> {
    let file = invoker.open(Path::new(path))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SOURCE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SOURCE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "bigger than 64 MiB"));
    }
    Ok(bytes)
}
