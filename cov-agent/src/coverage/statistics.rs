//! Numbers about files, directories and the whole.

use super::{ExecutionCounter, FileCoverage, Snapshot, percent};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Executable lines and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines {
    /// Executable lines.
    pub total: usize,
    /// Those that were executed.
    pub hit: usize,
    /// Lines that have code but cannot be measured; no part of `total`.
    pub unmeasurable: usize,
    /// Lines that a person excluded; no part of `total`.
    pub excluded: usize,
    /// All executions of all lines.
    pub executions: ExecutionCounter,
}

impl Lines {
    /// The percentage of executable lines that were executed; 100 without any.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent::percent(self.hit, self.total)
    }

    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.hit += other.hit;
        self.unmeasurable += other.unmeasurable;
        self.excluded += other.excluded;
        self.executions += other.executions;
    }
}

/// One file's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatistics {
    /// The path.
    pub path: Arc<str>,
    /// The numbers.
    pub lines: Lines,
    /// The line that was executed most, the first of several; `None` if none was.
    pub hottest: Option<(u32, ExecutionCounter)>,
    /// Functions, and those that were entered.
    pub functions: (usize, usize),
}

impl FileStatistics {
    /// Of a file.
    #[must_use]
    pub fn of(file: &FileCoverage) -> Self {
        let lines = file.lines();
        let hottest = lines.hits().max_by_key(|&(line, counter)| (counter.value(), Reverse(line)));
        Self {
            path: Arc::clone(file.path()),
            lines: Lines {
                total: lines.len(),
                hit: lines.hit(),
                unmeasurable: file.unmeasurable_lines().count(),
                excluded: file.excluded_lines().count(),
                executions: lines.iter().map(|(_, counter)| counter).sum(),
            },
            hottest,
            functions: (file.functions().count(), file.functions().filter(|(_, counter)| counter.is_hit()).count()),
        }
    }
}

/// The numbers of a snapshot.
///
/// ```
/// use cov_agent::coverage::{Statistics, synthetic::synthetic};
/// let statistics = Statistics::of(&synthetic(1, 3, 100), 0);
/// assert_eq!((statistics.files.len(), statistics.total.total), (3, 300));
/// assert!(statistics.least_covered(1)[0].lines.percent() <= statistics.total.percent());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// The files, by path.
    pub files: Vec<FileStatistics>,
    /// Directories by path, each with all below it.
    pub directories: BTreeMap<String, Lines>,
    /// All files together.
    pub total: Lines,
    /// How many files have fewer executable lines than the threshold; they are in no number.
    pub below_threshold: usize,
}

impl Statistics {
    /// Of a snapshot. Files with fewer than `line_threshold` executable lines are left out.
    #[must_use]
    pub fn of(snapshot: &Snapshot, line_threshold: usize) -> Self {
        let mut this = Self::default();
        for file in snapshot.files() {
            if file.lines().len() < line_threshold {
                this.below_threshold += 1;
                continue;
            }
            let file = FileStatistics::of(file);
            this.total.add(&file.lines);
            for (at, _) in file.path.match_indices('/') {
                let directory = if at == 0 { "/" } else { file.path.get(..at).unwrap_or("/") };
                match this.directories.get_mut(directory) {
                    Some(lines) => lines.add(&file.lines),
                    None => drop(this.directories.insert(directory.into(), file.lines)),
                }
            }
            this.files.push(file);
        }
        this
    }

    /// The `count` least covered files that have lines, least first; equal ones by missed lines,
    /// then by path.
    #[must_use]
    pub fn least_covered(&self, count: usize) -> Vec<&FileStatistics> {
        self.by_coverage(count, true)
    }

    /// The `count` most covered files that have lines, most first; equal ones by hit lines, then by
    /// path.
    #[must_use]
    pub fn most_covered(&self, count: usize) -> Vec<&FileStatistics> {
        self.by_coverage(count, false)
    }

    fn by_coverage(&self, count: usize, least: bool) -> Vec<&FileStatistics> {
        let mut files: Vec<_> = self.files.iter().filter(|file| file.lines.total > 0).collect();
        // a/b against c/d without rounding.
        let compare = |a: &Lines, b: &Lines| (a.hit * b.total).cmp(&(b.hit * a.total));
        let missed = |file: &FileStatistics| file.lines.total - file.lines.hit;
        files.sort_by(|a, b| {
            let (order, ties) = if least {
                (compare(&a.lines, &b.lines), missed(b).cmp(&missed(a)))
            } else {
                (compare(&b.lines, &a.lines), b.lines.hit.cmp(&a.lines.hit))
            };
            order.then(ties).then_with(|| a.path.cmp(&b.path))
        });
        files.truncate(count);
        files
    }
}

/// The `count` lines that were executed most, hottest first; equal ones by path and line.
///
/// ```
/// use cov_agent::coverage::{hottest_lines, synthetic::synthetic};
/// let snapshot = synthetic(1, 3, 100);
/// let hottest = hottest_lines(&snapshot, 5);
/// assert!(hottest.is_sorted_by(|a, b| a.2.value() >= b.2.value()) && hottest.len() == 5);
/// ```
#[must_use]
pub fn hottest_lines(snapshot: &Snapshot, count: usize) -> Vec<(&Arc<str>, u32, ExecutionCounter)> {
    let mut hottest = Vec::new();
    for file in snapshot.files() {
        hottest.extend(file.lines().hits().map(|(line, counter)| (file.path(), line, counter)));
        // Keeps memory small where there are millions of lines.
        if hottest.len() > 4 * count + 10_000 {
            keep_hottest(&mut hottest, count);
        }
    }
    keep_hottest(&mut hottest, count);
    hottest
}

fn keep_hottest(lines: &mut Vec<(&Arc<str>, u32, ExecutionCounter)>, count: usize) {
    lines.sort_by_key(|&(path, line, counter)| (Reverse(counter.value()), Arc::clone(path), line));
    lines.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::{Losses, Run};
    use std::collections::BTreeSet;

    fn snapshot() -> Snapshot {
        let file = |path: &str, counts: &[u64]| {
            let mut file = FileCoverage::new(path);
            for (line, &count) in (1..).zip(counts) {
                file.record(line, ExecutionCounter::exact(count), "");
            }
            file.function(1, "f", ExecutionCounter::exact(counts.first().copied().unwrap_or(0)));
            file
        };
        let mut files = vec![
            file("/w/a/x.c", &[5, 0, 9, 9]),
            file("/w/a/y.c", &[0, 0]),
            file("/w/b.c", &[1, 1, 1]),
            file("/w/a/deep/z.c", &[2, 0, 0, 2, 0, 0, 2, 2]),
            file("/w/none.c", &[]),
        ];
        files[0].unmeasurable(9, "no");
        files[0].exclude(10);
        Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), files)
    }

    #[test]
    fn sums_by_file_directory_and_whole() {
        let statistics = Statistics::of(&snapshot(), 0);
        let x = statistics.files.iter().find(|file| &*file.path == "/w/a/x.c").unwrap();
        let lines = Lines { total: 4, hit: 3, unmeasurable: 1, excluded: 1, executions: ExecutionCounter::exact(23) };
        assert_eq!(x.lines, lines);
        assert_eq!((x.hottest, x.functions), (Some((3, ExecutionCounter::exact(9))), (1, 1)));
        assert_eq!((x.lines.percent(), statistics.total.hit, statistics.total.total), (75.0, 10, 17));
        let directories: Vec<_> = statistics.directories.iter().map(|(d, l)| (d.as_str(), l.hit, l.total)).collect();
        assert_eq!(directories, [("/", 10, 17), ("/w", 10, 17), ("/w/a", 7, 14), ("/w/a/deep", 4, 8)]);
    }

    #[test]
    fn most_least_and_hottest() {
        let snapshot = snapshot();
        let statistics = Statistics::of(&snapshot, 2);
        assert_eq!((statistics.below_threshold, statistics.files.len()), (1, 4));
        let names = |files: Vec<&FileStatistics>| files.iter().map(|f| f.path.to_string()).collect::<Vec<_>>();
        assert_eq!(names(statistics.least_covered(3)), ["/w/a/y.c", "/w/a/deep/z.c", "/w/a/x.c"]);
        assert_eq!(names(statistics.most_covered(2)), ["/w/b.c", "/w/a/x.c"]);
        let hottest: Vec<_> = hottest_lines(&snapshot, 3).into_iter().map(|(p, l, c)| (&**p, l, c.value())).collect();
        assert_eq!(hottest, [("/w/a/x.c", 3, 9), ("/w/a/x.c", 4, 9), ("/w/a/x.c", 1, 5)]);
    }
}
