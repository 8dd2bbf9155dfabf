//! `cov-agent tests`: which contexts to run, which to do without.

use super::annotate::chosen;
use super::console::Console;
use super::data::{self, working_directory};
use super::data_args::TestsArgs;
use super::exit::Exit;
use super::git::{self, Side};
use super::invoker::invoker;
use super::message::{Message, Slug, one_line};
use super::rows::shown;
use super::stdout;
use super::table::{Cell, Table};
use crate::config::{LineList, Settings};
use crate::coverage::{Reach, Snapshot, paths};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

/// Prints the contexts that were asked for, one a line, or a table of all.
pub(super) fn tests(args: &TestsArgs, settings: &Settings, console: Console, out: Console) -> Result<Exit, Message> {
    let snapshot = data::load(&args.data, settings, args.input.allow_duplicates, &invoker()?, console)?;
    let reach = Reach::of(&snapshot);
    if reach.0.is_empty() {
        let text = "the data tell no contexts apart; measure with cov-agent test, or with --context-from";
        return Err(Message::new(Slug::NoData, text));
    }
    let directory = working_directory()?;
    let names: BTreeSet<&str> = if args.redundant {
        reach.redundant()
    } else if !args.touching.is_empty() || args.diff.is_some() {
        let mut lines = Vec::new();
        for name in &args.touching {
            touching(&snapshot, name, &directory, &mut lines)?;
        }
        if let Some(base) = &args.diff {
            changed(&snapshot, base, &directory, &mut lines, console)?;
        }
        let ran = |places: &BTreeSet<(usize, u32)>| {
            lines
                .iter()
                .any(|(file, range)| places.range((*file, *range.start())..=(*file, *range.end())).next().is_some())
        };
        reach.0.iter().filter(|(_, places)| ran(places)).map(|(name, _)| name.as_str()).collect()
    } else {
        return stdout::print(&if args.alone {
            alone(&reach, &snapshot, &directory)
        } else {
            table(&reach, &snapshot, out)
        });
    };
    stdout::print(&names.into_iter().map(|name| format!("{}\n", one_line(name))).collect::<String>())
}

/// Lines of a file, by its index.
type Lines = Vec<(usize, RangeInclusive<u32>)>;

/// Adds the lines that `FILE` or `FILE:LINES` means.
fn touching(snapshot: &Snapshot, name: &str, directory: &str, lines: &mut Lines) -> Result<(), Message> {
    let whole = 1..=u32::MAX;
    let (file, ranges) = match name.parse() {
        Ok(LineList::Of { file, lines }) => (file, lines),
        _ => (name.to_owned(), vec![whole]),
    };
    for file in chosen(snapshot, &[file], directory)? {
        let index = snapshot.files().iter().position(|one| one.path() == file.path());
        lines.extend(index.into_iter().flat_map(|index| ranges.iter().map(move |range| (index, range.clone()))));
    }
    Ok(())
}

/// Adds the lines that have changed since `base`, where the data come from: as they were numbered then.
fn changed(
    snapshot: &Snapshot,
    base: &str,
    directory: &str,
    lines: &mut Lines,
    console: Console,
) -> Result<(), Message> {
    let changes = git::changes(Path::new(directory), base, Side::Before).map_err(|error| git::message(&error))?;
    let mut unknown = Vec::new();
    for (path, ranges) in &changes.touched {
        let whole = paths::normalize(&changes.root, path);
        let real =
            |path: &str| std::fs::canonicalize(path).map_or_else(|_| path.to_owned(), |p| paths::normalize("/", p));
        let is_it = |one: &str| one == whole || real(one) == real(&whole);
        let index = snapshot.files().iter().position(|file| is_it(&paths::normalize(directory, &**file.path())));
        match index {
            Some(index) => lines.extend(ranges.iter().map(|range| (index, range.clone()))),
            None => unknown.push(path.as_str()),
        }
    }
    if !unknown.is_empty() {
        let text = format!("changed, but not in the data, so that nobody knows who runs it: {}", unknown.join(", "));
        console.warning(&Message::new(Slug::NoSource, text));
    }
    Ok(())
}

/// The lines that one context alone runs.
fn alone(reach: &Reach, snapshot: &Snapshot, directory: &str) -> String {
    let mut text = String::new();
    for (name, places) in reach.alone() {
        for (file, line) in places {
            let path = snapshot.files().get(file).map(|file| shown(file.path(), directory)).unwrap_or_default();
            text.push_str(&format!("{path}:{line}\t{}\n", one_line(name)));
        }
    }
    text
}

/// All contexts.
fn table(reach: &Reach, snapshot: &Snapshot, console: Console) -> String {
    let alone = reach.alone();
    let row = |(name, places): (&String, &BTreeSet<(usize, u32)>)| {
        let files: BTreeSet<usize> = places.iter().map(|(file, _)| *file).collect();
        let alone = alone.get(name.as_str()).map_or(0, Vec::len);
        let numbers = [files.len(), places.len(), alone].map(|number| Cell::new(number.to_string()));
        std::iter::once(Cell::new(one_line(name))).chain(numbers).collect()
    };
    let rows: Vec<Vec<Cell>> = reach.0.iter().map(row).collect();
    let executed: BTreeSet<_> = reach.0.values().flatten().collect();
    let files = snapshot.files().iter().filter(|file| file.lines().hit() > 0).count();
    let name =
        if rows.len() == 1 { "Total (1 context)".to_owned() } else { format!("Total ({} contexts)", rows.len()) };
    let total = [name, files.to_string(), executed.len().to_string(), String::new()].map(Cell::new);
    Table { heading: vec!["Context", "Files", "Lines", "Alone"], rows, total: Some(total.into()), text_last: false }
        .render(console)
}
