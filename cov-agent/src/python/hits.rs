//! Hits of Python lines, as an engine counted them, and what they make of the collector's files.

use super::statements::{Interpreter, Statements};
use crate::coverage::{CoverageCollector, ExecutionCounter};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Hits by source file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hits(BTreeMap<PathBuf, FileHits>);

/// Hits of one source file by line: how many, and whether there were no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileHits(BTreeMap<u32, (u64, bool)>);

impl Hits {
    /// The file at `path`, made if it is new.
    pub fn file(&mut self, path: &Path) -> &mut FileHits {
        self.0.entry(path.into()).or_default()
    }

    /// Adds those of another process.
    pub fn merge(&mut self, other: Self) {
        for (path, file) in other.0 {
            let own = self.0.entry(path).or_default();
            file.0.into_iter().for_each(|(line, (count, exact))| own.add(line, count, exact));
        }
    }

    /// All files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &FileHits)> {
        self.0.iter().map(|(path, file)| (path.as_path(), file))
    }
}

impl FileHits {
    /// Adds hits of a line.
    pub fn add(&mut self, line: u32, count: u64, exact: bool) {
        let hits = self.0.entry(line).or_insert((0, true));
        *hits = (hits.0.saturating_add(count), hits.1 && exact);
    }

    /// Lines with their hits, and whether these are exact.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64, bool)> {
        self.0.iter().map(|(line, (count, exact))| (*line, *count, *exact))
    }

    /// How often a statement was entered: the hits of its first line; where no code is on that one, those of the line
    /// that has most.
    fn statement(&self, first: u32, last: u32) -> ExecutionCounter {
        let own = self.0.get(&first).copied();
        let any = || self.0.range(first..=last).map(|(_, hits)| *hits).max();
        match own.or_else(any) {
            Some((count, true)) => ExecutionCounter::exact(count),
            Some((count, false)) => ExecutionCounter::at_least(count),
            None => ExecutionCounter::ZERO,
        }
    }
}

/// Records a file's statements with their hits; a file that the collector's filter leaves out is not recorded.
fn record(collector: &CoverageCollector, path: &Path, statements: &Statements, hits: &FileHits, context: &str) {
    let Some(file) = collector.file(path) else { return };
    let mut file = file.lock();
    for (first, last) in statements.iter() {
        file.record(first, hits.statement(first, last), context);
    }
}

/// What is to be recorded, and who says which lines files have.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Hits by context.
    pub hits: Vec<(String, Hits)>,
    /// The interpreter that ran a file, where that is known.
    pub interpreters: BTreeMap<PathBuf, Interpreter>,
    /// An interpreter for all other files.
    pub any: Option<Interpreter>,
    /// Files that are recorded as not hit if nothing ran them.
    pub unseen: Vec<PathBuf>,
}

impl Recorder {
    /// Adds hits in contexts.
    pub fn add(&mut self, found: Vec<(String, Hits)>) {
        for (context, hits) in found {
            match self.hits.iter_mut().find(|(known, _)| *known == context) {
                Some((_, known)) => known.merge(hits),
                None => self.hits.push((context, hits)),
            }
        }
    }

    /// Whether a file was hit.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.hits.iter().any(|(_, hits)| hits.0.contains_key(path))
    }

    /// Records every file that the collector keeps. What cannot be recorded comes back, in words.
    #[must_use]
    pub fn record(&self, collector: &CoverageCollector) -> Vec<String> {
        let mut files: BTreeMap<&Interpreter, BTreeSet<&Path>> = BTreeMap::new();
        let mut losses = Vec::new();
        let all = self.hits.iter().flat_map(|(_, hits)| hits.0.keys()).chain(&self.unseen);
        for path in all.filter(|path| collector.files().keeps(path)) {
            match self.interpreters.get(path).or(self.any.as_ref()) {
                Some(interpreter) => drop(files.entry(interpreter).or_default().insert(path)),
                None => losses.push(format!("{}: no Python is here that could tell its lines", path.display())),
            }
        }
        for (interpreter, paths) in files {
            let paths: Vec<&Path> = paths.into_iter().collect();
            let answers = match interpreter.statements(&paths) {
                Ok(answers) => answers,
                Err(error) => {
                    let name = interpreter.path.display();
                    losses.push(format!("{name} cannot tell which lines of {} files are code: {error}", paths.len()));
                    continue;
                }
            };
            for (path, answer) in paths.into_iter().zip(answers) {
                match answer {
                    Ok(statements) => self.record_file(collector, path, &statements),
                    Err(reason) => losses.push(format!("{}: {reason}", path.display())),
                }
            }
        }
        losses
    }

    fn record_file(&self, collector: &CoverageCollector, path: &Path, statements: &Statements) {
        let hits = self.hits.iter().filter_map(|(context, hits)| Some((context.as_str(), hits.0.get(path)?)));
        let none = FileHits::default();
        let mut hits: Vec<_> = hits.collect();
        if hits.is_empty() {
            hits.push(("", &none));
        }
        hits.into_iter().for_each(|(context, hits)| record(collector, path, statements, hits, context));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Run;

    #[test]
    fn a_statement_counts_where_its_code_begins() {
        let statements: Statements = "+1,3,7,9;3-5,7-8".parse().unwrap();
        let mut hits = FileHits::default();
        for (line, count) in [(1, 2), (3, 2), (4, 9), (8, 4), (20, 1)] {
            hits.add(line, count, true);
        }
        hits.add(1, 1, false);
        let collector = CoverageCollector::coverage_init();
        record(&collector, Path::new("/a.py"), &statements, &hits, "");
        let snapshot = collector.coverage_cleanup(Run::default());
        let exact = ExecutionCounter::exact;
        let lines: Vec<_> = snapshot.files()[0].lines().iter().collect();
        assert_eq!(lines, [(1, ExecutionCounter::at_least(3)), (3, exact(2)), (7, exact(4)), (9, exact(0))]);
    }

    #[test]
    fn hits_of_processes_add_up() {
        let mut one = Hits::default();
        one.file(Path::new("/a.py")).add(1, u64::MAX, true);
        let mut two = Hits::default();
        two.file(Path::new("/a.py")).add(1, 1, true);
        two.file(Path::new("/b.py")).add(2, 5, false);
        one.merge(two);
        let all: Vec<_> = one.iter().flat_map(|(_, file)| file.iter()).collect();
        assert_eq!(all, [(1, u64::MAX, true), (2, 5, false)]);
    }
}
