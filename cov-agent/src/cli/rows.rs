//! The numbers of a file as reports and checks show them.

use super::message::one_line;
use super::table::Cell;
use crate::config::{Sort, SortColumn};
use crate::coverage::{Branches, ExecutionCounter, FileCoverage, Snapshot, paths, percent};
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// Executable lines, and how many of them were executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    pub(super) lines: usize,
    pub(super) covered: usize,
}

impl Numbers {
    /// The percentage as text, never falsely 0 or 100; nothing can be said of no lines.
    pub(super) fn percent(self, precision: usize) -> String {
        if self.lines == 0 {
            "-".to_owned()
        } else {
            format!("{}%", percent::display(self.covered, self.lines, precision))
        }
    }

    /// Whether fewer than `threshold` percent of the lines were executed. Of no lines all were.
    pub(super) fn is_below(self, threshold: f64) -> bool {
        (self.covered as f64) * 100.0 < threshold * (self.lines as f64)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.covered += other.covered;
    }

    /// The three columns that every table has.
    pub(super) fn cells(self, precision: usize) -> [Cell; 3] {
        [
            Cell::new(self.lines.to_string()),
            Cell::new(self.covered.to_string()),
            Cell::percent(self.percent(precision), self.covered as u64, self.lines as u64),
        ]
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The path, relative to the working directory where it lies below it.
    pub(super) path: String,
    pub(super) numbers: Numbers,
    /// Ranges of lines between which every executable line was missed.
    pub(super) missing: Vec<RangeInclusive<u32>>,
    /// The line that was executed most often, the first of several.
    pub(super) hottest: Option<(u32, ExecutionCounter)>,
    /// All executions of all lines.
    pub(super) executions: ExecutionCounter,
    /// Ways out of conditional jumps.
    pub(super) branches: Branches,
}

impl Row {
    /// Of some executable lines, by rising number.
    pub(super) fn new(path: String, lines: impl Iterator<Item = (u32, ExecutionCounter)>) -> Self {
        let mut row = Self {
            path,
            numbers: Numbers::default(),
            missing: Vec::new(),
            hottest: None,
            executions: ExecutionCounter::ZERO,
            branches: Branches::default(),
        };
        let mut in_gap = false;
        for (line, counter) in lines {
            row.numbers.add(Numbers { lines: 1, covered: usize::from(counter.is_hit()) });
            row.executions += counter;
            match row.missing.last_mut() {
                _ if counter.is_hit() => {}
                Some(range) if in_gap => *range = *range.start()..=line,
                _ => row.missing.push(line..=line),
            }
            in_gap = !counter.is_hit();
            if counter.is_hit() && row.hottest.is_none_or(|(_, most)| most.value() < counter.value()) {
                row.hottest = Some((line, counter));
            }
        }
        row
    }

    /// Of a whole file. `directory` is the working directory.
    pub(super) fn of(file: &FileCoverage, directory: &str) -> Self {
        let row = Self::new(shown(file.path(), directory), file.lines().iter());
        Self { branches: file.branches(), ..row }
    }

    /// `3-5, 9`.
    pub(super) fn missing_text(&self) -> String {
        let text = |range: &RangeInclusive<u32>| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        self.missing.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

/// A path as it is shown: relative to `directory` where it lies below it, on one line.
pub(super) fn shown(path: &str, directory: &str) -> String {
    one_line(paths::relative(directory, path))
}

/// The files of a snapshot that have executable lines.
pub(super) fn rows(snapshot: &Snapshot, directory: &str) -> Vec<Row> {
    snapshot.files().iter().filter(|file| !file.lines().is_empty()).map(|file| Row::of(file, directory)).collect()
}

/// The sum of the rows.
pub(super) fn total<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Numbers {
    let mut total = Numbers::default();
    rows.into_iter().for_each(|row| total.add(row.numbers));
    total
}

/// The branches of all rows; nothing where none were counted.
pub(super) fn branches(rows: &[Row]) -> Option<Branches> {
    let mut all = Branches::default();
    rows.iter().for_each(|row| all.add(row.branches));
    (all.total > 0).then_some(all)
}

/// `3/8`: those that were taken, and all.
pub(super) fn share_of(branches: Branches) -> String {
    if branches.total == 0 { "-".to_owned() } else { format!("{}/{}", branches.covered, branches.total) }
}

/// Sorts rows; equal ones by path.
pub(super) fn sort(rows: &mut [Row], sort: Sort) {
    let by = |a: &Row, b: &Row| match sort.by {
        SortColumn::Name => Ordering::Equal,
        SortColumn::Lines => a.numbers.lines.cmp(&b.numbers.lines),
        SortColumn::Missing => (a.numbers.lines - a.numbers.covered).cmp(&(b.numbers.lines - b.numbers.covered)),
        SortColumn::Cover => share(a).total_cmp(&share(b)),
        SortColumn::Hottest => hits(b).cmp(&hits(a)),
    };
    rows.sort_by(|a, b| match sort.by {
        SortColumn::Name if sort.reversed => b.path.cmp(&a.path),
        _ if sort.reversed => by(b, a).then_with(|| a.path.cmp(&b.path)),
        _ => by(a, b).then_with(|| a.path.cmp(&b.path)),
    });
}

fn share(row: &Row) -> f64 {
    percent::percent(row.numbers.covered, row.numbers.lines)
}

fn hits(row: &Row) -> u64 {
    row.hottest.map_or(0, |(_, counter)| counter.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, counts: &[(u32, u64)]) -> Row {
        Row::new(path.to_owned(), counts.iter().map(|(line, count)| (*line, ExecutionCounter::exact(*count))))
    }

    #[test]
    fn missing_lines_are_joined_over_lines_without_code() {
        let counts = [(1, 0), (3, 0), (4, 5), (7, 0), (9, 2), (10, 0), (20, 0)];
        let row = row("a", &counts);
        assert_eq!(row.missing_text(), "1-3, 7, 10-20");
        assert_eq!((row.numbers.lines, row.numbers.covered), (7, 2));
        assert_eq!(row.hottest.map(|(line, count)| (line, count.value())), Some((4, 5)));
        assert_eq!(row.executions, ExecutionCounter::exact(7));
        assert_eq!(Row::new("b".into(), std::iter::empty()).missing_text(), "");
    }

    #[test]
    fn rows_are_sorted_by_each_column() {
        let all = [row("a", &[(1, 9), (2, 0)]), row("b", &[(1, 0)]), row("c", &[(1, 3), (2, 1), (3, 1), (4, 0)])];
        let order = |text: &str| {
            let mut rows = all.to_vec();
            sort(&mut rows, text.parse().unwrap());
            rows.iter().map(|row| row.path.as_str()).collect::<String>()
        };
        let cases = [
            ("name", "abc"),
            ("-name", "cba"),
            ("lines", "bac"),
            ("missing", "abc"),
            ("-missing", "abc"),
            ("cover", "bac"),
            ("-cover", "cab"),
            ("hottest", "acb"),
            ("-hottest", "bca"),
        ];
        for (text, expected) in cases {
            assert_eq!(order(text), expected, "{text}");
        }
    }

    #[test]
    fn thresholds_are_exact() {
        let numbers = |covered, lines| Numbers { covered, lines };
        assert!(numbers(799, 1000).is_below(80.0));
        assert!(!numbers(800, 1000).is_below(80.0));
        assert!(numbers(999_999_999, 1_000_000_000).is_below(100.0));
        assert!(!numbers(0, 0).is_below(100.0));
        assert_eq!(numbers(999_999, 1_000_000).percent(1), "99.9%");
        assert_eq!(numbers(1, 1_000_000).percent(0), "1%");
        assert_eq!(numbers(0, 0).percent(0), "-");
    }
}
