//! What of the source files is measured: functions, lines, and what earlier runs did not cover.

use super::console::Console;
use super::data;
use super::git;
use super::message::{Message, Slug};
use super::refine::read_source;
use crate::config::{LineList, Settings};
use crate::coverage::paths;
use crate::format::demangle::{demangle, demangle_short};
use crate::plan::Lines;
use crate::runner::Invoker;
use globset::GlobSet;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// What the settings select. By default everything.
#[derive(Default)]
pub(super) struct Chosen {
    functions: Option<GlobSet>,
    /// Absolute paths or ends of paths, and lines.
    lines: Option<HashMap<String, Vec<RangeInclusive<u32>>>>,
    /// Lines that earlier runs covered, by canonical path.
    covered: HashMap<String, Lines>,
    /// How often lines ran in earlier runs, by canonical path and rising line.
    profile: HashMap<String, Vec<(u32, u64)>>,
    /// The data that tell what is covered already.
    pub(super) others: Vec<PathBuf>,
    /// For people; empty where everything is measured.
    pub(super) said: String,
}

impl Chosen {
    /// Reads what the settings name: lists, what git says, earlier data.
    pub(super) fn new(
        settings: &Settings,
        directory: &Path,
        invoker: &Invoker,
        console: Console,
    ) -> Result<Self, Message> {
        let mut chosen = Self::default();
        let mut said = Vec::new();
        let functions = &settings.functions.0;
        if !functions.is_empty() {
            let mut set = GlobSet::builder();
            functions.iter().for_each(|glob| _ = set.add(glob.clone()));
            chosen.functions = Some(set.build().map_err(|error| Message::new(Slug::Usage, error))?);
            said.extend(functions.iter().map(|glob| format!("--function '{}'", glob.glob())));
        }
        let mut lines = HashMap::new();
        for list in &settings.lines.0 {
            add_list(list, directory, invoker, &mut lines)?;
            said.push(format!("--lines '{list}'"));
        }
        if !settings.lines_diff.is_empty() {
            let changes =
                git::changes(directory, &settings.lines_diff, git::Side::Now).map_err(|error| git::message(&error))?;
            for (path, ranges) in changes.touched {
                add(directory, &changes.root.join(path), ranges, invoker, &mut lines);
            }
            said.push(format!("--lines-diff '{}'", *settings.lines_diff));
        }
        if !settings.lines.0.is_empty() || !settings.lines_diff.is_empty() {
            chosen.lines = Some(lines);
        }
        for path in &settings.only_missing.value {
            said.push(format!("--only-missing '{}'", path.display()));
        }
        let earlier = earlier(&settings.only_missing.value, settings, directory, invoker, console)?;
        let ran = |(_, count): &(u32, u64)| *count > 0;
        let covered = |lines: Vec<(u32, u64)>| Lines::of(lines.into_iter().filter(ran).map(|(line, _)| line..=line));
        chosen.others.clone_from(&settings.only_missing.value);
        chosen.covered = earlier.into_iter().map(|(path, lines)| (path, covered(lines))).collect();
        chosen.profile = self::earlier(&settings.profile.value, settings, directory, invoker, console)?;
        chosen.said = said.join(" ");
        Ok(chosen)
    }

    /// Whether functions are selected.
    pub(super) fn has_functions(&self) -> bool {
        self.functions.is_some()
    }

    /// Whether the function of this linkage name is selected.
    pub(super) fn function(&self, name: &str) -> bool {
        let names = || [name.into(), demangle(name), demangle_short(name)];
        let selected = |functions: &GlobSet| names().iter().any(|name| functions.is_match(&**name));
        self.functions.as_ref().is_none_or(selected)
    }

    /// Whether lines are selected.
    pub(super) fn has_lines(&self) -> bool {
        self.lines.is_some() || !self.covered.is_empty()
    }

    /// The selected lines of a file, by its canonical path.
    pub(super) fn lines(&self, path: &str) -> Lines {
        let wanted = self.lines.as_ref().map(|lists| {
            let names = path.match_indices('/').map(|(at, _)| path.get(at + 1..).unwrap_or_default());
            Lines::of(std::iter::once(path).chain(names).filter_map(|name| lists.get(name)).flatten().cloned())
        });
        let missing = self.covered.get(path).map(Lines::others);
        match (wanted, missing) {
            (Some(wanted), Some(missing)) => wanted.and(&missing),
            (wanted, missing) => wanted.or(missing).unwrap_or_else(Lines::all),
        }
    }

    /// Whether earlier counts are known.
    pub(super) fn has_profile(&self) -> bool {
        !self.profile.is_empty()
    }

    /// How often lines of a file ran, by its canonical path.
    pub(super) fn profile(&self, path: &str) -> Vec<(u32, u64)> {
        self.profile.get(path).cloned().unwrap_or_default()
    }
}

/// Lines by path.
type ByPath = HashMap<String, Vec<RangeInclusive<u32>>>;

/// Adds lines of the file `path`: below the working directory under its canonical path, else as the end of one.
fn add(directory: &Path, path: &Path, ranges: Vec<RangeInclusive<u32>>, invoker: &Invoker, to: &mut ByPath) {
    let name = match invoker.canonical(&directory.join(path)) {
        Some(canonical) => paths::normalize("/", canonical),
        None => paths::normalize("", path),
    };
    to.entry(name).or_default().extend(ranges);
}

fn add_list(list: &LineList, directory: &Path, invoker: &Invoker, to: &mut ByPath) -> Result<(), Message> {
    let path = match list {
        LineList::Of { file, lines } => {
            add(directory, Path::new(file), lines.clone(), invoker, to);
            return Ok(());
        }
        LineList::In(path) => paths::normalize(directory, path),
    };
    let bytes =
        read_source(&path, invoker).map_err(|error| Message::new(Slug::CannotRead, format!("{path}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse() {
            Ok(list @ LineList::Of { .. }) => add_list(&list, directory, invoker, to)?,
            Ok(LineList::In(_)) => {
                let text = format!("{path}:{number}: a list within a list; give FILE:10-20,30");
                return Err(Message::new(Slug::Usage, text));
            }
            Err(text) => return Err(Message::new(Slug::Usage, format!("{path}:{number}: {text}"))),
        }
    }
    Ok(())
}

/// What earlier data say of lines, by canonical path.
fn earlier(
    data: &[PathBuf],
    settings: &Settings,
    directory: &Path,
    invoker: &Invoker,
    console: Console,
) -> Result<HashMap<String, Vec<(u32, u64)>>, Message> {
    if data.is_empty() {
        return Ok(HashMap::new());
    }
    let mut lines = HashMap::new();
    for file in data::load(data, settings, true, invoker, console)?.files() {
        let path = paths::normalize(directory, &**file.path());
        let canonical = invoker.canonical(Path::new(&path)).map(|real| paths::normalize("/", real));
        let counts = file.lines().iter().map(|(line, counter)| (line, counter.value())).collect();
        lines.insert(canonical.unwrap_or(path), counts);
    }
    Ok(lines)
}
