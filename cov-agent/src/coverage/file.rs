//! All that is known of one source file.

use super::branches::{self, Branches, Jump, Way};
use super::{ExecutionCounter, LineTracker};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A source function: where it is declared and its mangled name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// The line of its declaration, from 1.
    pub line: u32,
    /// Its linkage name; [`demangle`](crate::format::demangle::demangle) makes it readable.
    pub name: Arc<str>,
}

/// One source file's coverage: executable lines and counters, by context, with its functions and
/// the lines that cannot be measured.
///
/// A context says where a hit came from (a test, a process); the default one is `""`. Every hit
/// belongs to one context; what is executable belongs to all.
///
/// No line is both executable and unmeasurable or excluded: executable wins over unmeasurable
/// (some build could measure it), excluded wins over both (a person said so).
///
/// ```
/// use cov_agent::coverage::{ExecutionCounter, FileCoverage};
/// let mut file = FileCoverage::new("/src/a.c");
/// file.record(3, ExecutionCounter::exact(5), "");
/// file.record(4, ExecutionCounter::exact(1), "test one");
/// file.unmeasurable(5, "no probe can be there");
/// file.exclude(4);
/// assert_eq!(file.lines().iter().collect::<Vec<_>>(), [(3, ExecutionCounter::exact(5))]);
/// assert_eq!(file.excluded_lines().collect::<Vec<_>>(), [4]);
/// assert_eq!(file.unmeasurable_lines().next(), Some((5, "no probe can be there")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCoverage {
    path: Arc<str>,
    /// The sums over all contexts.
    lines: LineTracker,
    /// The hits by context. Empty while all hits belong to the default context, which is by far
    /// the most common case and then costs nothing.
    by_context: BTreeMap<Arc<str>, LineTracker>,
    functions: BTreeMap<Function, ExecutionCounter>,
    ways: BTreeMap<Way, ExecutionCounter>,
    unmeasurable: BTreeMap<u32, Arc<str>>,
    excluded: BTreeSet<u32>,
    build_ids: BTreeSet<Arc<str>>,
    digests: BTreeSet<Arc<str>>,
}

impl FileCoverage {
    /// A file of which nothing is known yet. `path` is taken as it is.
    #[must_use]
    pub fn new(path: impl Into<Arc<str>>) -> Self {
        Self {
            path: path.into(),
            lines: LineTracker::default(),
            by_context: BTreeMap::new(),
            functions: BTreeMap::new(),
            ways: BTreeMap::new(),
            unmeasurable: BTreeMap::new(),
            excluded: BTreeSet::new(),
            build_ids: BTreeSet::new(),
            digests: BTreeSet::new(),
        }
    }

    /// The canonical path.
    #[must_use]
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// Executable lines and their counters, summed over all contexts.
    #[must_use]
    pub fn lines(&self) -> &LineTracker {
        &self.lines
    }

    /// Contexts by name with the lines that were counted in them. Lines with exactly no execution
    /// may be among them or not; a context that has no others is not there.
    pub fn contexts(&self) -> impl Iterator<Item = (&str, &LineTracker)> {
        let counted = || self.lines.iter().any(|(_, counter)| counter != ExecutionCounter::ZERO);
        let all = (self.by_context.is_empty() && counted()).then_some(("", &self.lines));
        all.into_iter().chain(self.by_context.iter().map(|(name, lines)| (&**name, lines)))
    }

    /// Whether a hit belongs to another context than the default one.
    #[must_use]
    pub fn has_contexts(&self) -> bool {
        !self.by_context.is_empty()
    }

    /// Functions with the number of their entries, by line and name.
    pub fn functions(&self) -> impl Iterator<Item = (&Function, ExecutionCounter)> {
        self.functions.iter().map(|(function, &counter)| (function, counter))
    }

    /// The ways out of conditional jumps with how often each was taken, by line and jump. They are the sums over all
    /// contexts.
    pub fn ways(&self) -> impl Iterator<Item = (Way, ExecutionCounter)> {
        self.ways.iter().map(|(&way, &counter)| (way, counter))
    }

    /// The conditional jumps, by line.
    #[must_use]
    pub fn jumps(&self) -> Vec<Jump> {
        branches::jumps(self.ways())
    }

    /// How many ways out of conditional jumps there are, and how many were taken.
    #[must_use]
    pub fn branches(&self) -> Branches {
        self.ways.values().copied().collect()
    }

    /// Lines that have code but cannot be measured, with the reason, by rising line. They are no
    /// part of the percentage.
    pub fn unmeasurable_lines(&self) -> impl Iterator<Item = (u32, &str)> {
        self.unmeasurable.iter().map(|(&line, reason)| (line, &**reason))
    }

    /// Lines that a person excluded, by rising line. They are no part of the percentage.
    pub fn excluded_lines(&self) -> impl Iterator<Item = u32> + '_ {
        self.excluded.iter().copied()
    }

    /// The build-ids of the objects it was compiled into.
    pub fn build_ids(&self) -> impl Iterator<Item = &str> {
        self.build_ids.iter().map(|id| &**id)
    }

    /// The digests of its text, as debug info or reader named them (`md5:…`). More than one: the
    /// text was not the same in all builds, and its line numbers mean different things.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        self.digests.iter().map(|digest| &**digest)
    }

    /// Sets lines and tables of contexts at once; `lines` must hold the sums of `tables`, or all
    /// hits of the default context if there are none.
    pub(crate) fn set_lines(&mut self, lines: LineTracker, tables: Vec<(&str, LineTracker)>) {
        self.lines = lines;
        self.lines.remove(0);
        self.by_context.clear();
        for (name, table) in tables {
            self.by_context.entry(name.into()).or_default().merge(&table);
        }
        self.by_context.retain(|_, table| !table.is_empty());
        self.join_contexts();
    }

    /// Says that `line` is executable.
    pub fn executable(&mut self, line: u32) {
        self.record(line, ExecutionCounter::ZERO, "");
    }

    /// Adds `counter` executions of `line` in `context`; the line becomes executable.
    pub fn record(&mut self, line: u32, counter: ExecutionCounter, context: &str) {
        if line == 0 || self.excluded.contains(&line) {
            return;
        }
        if !self.unmeasurable.is_empty() {
            self.unmeasurable.remove(&line);
        }
        if counter != ExecutionCounter::ZERO && !(context.is_empty() && self.by_context.is_empty()) {
            self.split_contexts();
            match self.by_context.get_mut(context) {
                Some(lines) => lines.record(line, counter),
                None => drop(self.by_context.insert(context.into(), LineTracker::from_iter([(line, counter)]))),
            }
        }
        self.lines.record(line, counter);
    }

    /// Gives the default context a table of its own, before another context gets one.
    fn split_contexts(&mut self) {
        if self.by_context.is_empty() {
            let own: LineTracker = self.lines.iter().filter(|&(_, c)| c != ExecutionCounter::ZERO).collect();
            if !own.is_empty() {
                self.by_context.insert("".into(), own);
            }
        }
    }

    /// Adds `counter` entries of a function that is declared at `line`.
    pub fn function(&mut self, line: u32, name: impl Into<Arc<str>>, counter: ExecutionCounter) {
        *self.functions.entry(Function { line, name: name.into() }).or_default() += counter;
    }

    /// Adds `counter` to a way out of a conditional jump. Does nothing for an excluded line.
    pub fn way(&mut self, way: Way, counter: ExecutionCounter) {
        if way.line != 0 && !self.excluded.contains(&way.line) {
            *self.ways.entry(way).or_default() += counter;
        }
    }

    /// Forgets the conditional jumps of `line`.
    pub fn drop_jumps(&mut self, line: u32) {
        self.ways.retain(|way, _| way.line != line);
    }

    /// Says that `line` has code that cannot be measured, and why. Of several reasons the first by
    /// the alphabet is kept. Does nothing for an executable line.
    pub fn unmeasurable(&mut self, line: u32, reason: impl Into<Arc<str>>) {
        if line == 0 || self.lines.get(line).is_some() || self.excluded.contains(&line) {
            return;
        }
        let reason = reason.into();
        self.unmeasurable
            .entry(line)
            .and_modify(|old| {
                if reason < *old {
                    *old = Arc::clone(&reason);
                }
            })
            .or_insert_with(|| Arc::clone(&reason));
    }

    /// Takes `line` out of the measure, whatever is or becomes known of it.
    pub fn exclude(&mut self, line: u32) {
        if line == 0 {
            return;
        }
        self.excluded.insert(line);
        self.unmeasurable.remove(&line);
        self.lines.remove(line);
        if !self.ways.is_empty() {
            self.drop_jumps(line);
        }
        for lines in self.by_context.values_mut() {
            lines.remove(line);
        }
        self.by_context.retain(|_, lines| !lines.is_empty());
        self.join_contexts();
    }

    /// Names an object that it is compiled into.
    pub fn compiled_into(&mut self, build_id: impl Into<Arc<str>>) {
        self.build_ids.insert(build_id.into());
    }

    /// Names the digest of its text, for instance `md5:` and the one that DWARF 5 gives.
    pub fn digest(&mut self, digest: impl Into<Arc<str>>) {
        self.digests.insert(digest.into());
    }

    /// Adds all that another run knows of the same file.
    pub fn merge(&mut self, other: &Self) {
        if self.excluded != other.excluded {
            other.excluded.iter().for_each(|&line| self.exclude(line));
        }
        if self.has_contexts() || other.has_contexts() {
            self.split_contexts();
        }
        let new = |line: u32| self.excluded.is_empty() || !self.excluded.contains(&line);
        if self.has_contexts() || other.has_contexts() {
            for (context, lines) in other.contexts() {
                let own = self.by_context.entry(context.into()).or_default();
                let counted = lines.iter().filter(|&(_, counter)| counter != ExecutionCounter::ZERO);
                counted.filter(|&(line, _)| new(line)).for_each(|(line, counter)| own.record(line, counter));
            }
            self.by_context.retain(|_, lines| !lines.is_empty());
        }
        if self.excluded.is_empty() {
            self.lines.merge(&other.lines);
        } else {
            let lines = other.lines.iter().filter(|&(line, _)| !self.excluded.contains(&line));
            lines.for_each(|(line, counter)| self.lines.record(line, counter));
        }
        self.join_contexts();
        other.functions().for_each(|(f, counter)| self.function(f.line, Arc::clone(&f.name), counter));
        other.ways().for_each(|(way, counter)| self.way(way, counter));
        let unmeasurable = std::mem::take(&mut self.unmeasurable);
        for (line, reason) in unmeasurable.into_iter().chain(other.unmeasurable.clone()) {
            self.unmeasurable(line, reason);
        }
        self.build_ids.extend(other.build_ids.iter().cloned());
        self.digests.extend(other.digests.iter().cloned());
    }

    /// Drops the table of the default context where there is no other.
    fn join_contexts(&mut self) {
        if self.by_context.len() == 1 && self.by_context.contains_key("") {
            self.by_context.clear();
        }
    }

    /// The same with the hits of the default context booked under `context`.
    #[must_use]
    pub fn in_context(mut self, context: &str) -> Self {
        if !context.is_empty() {
            self.split_contexts();
            if let Some(lines) = self.by_context.remove("") {
                self.by_context.entry(context.into()).or_default().merge(&lines);
            }
        }
        self
    }

    /// The same under another path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<Arc<str>>) -> Self {
        self.path = path.into();
        self
    }
}
