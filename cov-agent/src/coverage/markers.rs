//! Lines that people take out of the measure, by comments in the source.
//!
//! | marker | takes out |
//! |---|---|
//! | `LCOV_EXCL_LINE`, `GCOV_EXCL_LINE`, `GCOVR_EXCL_LINE`, `grcov-excl-line` | its line |
//! | `…_EXCL_START` to `…_EXCL_STOP` (`_END` for gcov), `grcov-excl-start` to `-stop` | these lines and those between |
//! | `LCOV_UNREACHABLE_LINE`, `…_START` to `…_STOP` | the same, but only lines that were not executed |
//! | `LCOV_EXCL_BR_LINE`, `GCOV_EXCL_BR_LINE`, `GCOVR_EXCL_BR_LINE`, `…_BR_START` to `…_BR_STOP` | only the branches of these lines |
//! | `pragma: no cover` in a comment, and the `exclude_lines`, `exclude_also` patterns | the lines that match; in Python and Mojo the whole block that such a line begins |
//!
//! Sources: geninfo(1); gcovr's "Exclusion Markers"; grcov's README; coverage.py's "Excluding code".

use super::{ExecutionCounter, FileCoverage, Snapshot};
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// coverage.py's own pattern, for comments of more languages.
const PRAGMA: &str = r"(?:#|//|/\*)\s*(?:pragma|PRAGMA)[:\s]?\s*(?:no|NO)\s*(?:cover|COVER)";

/// A pattern that is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("bad exclusion pattern \"{pattern}\": {reason}")]
pub struct MarkerError {
    pattern: String,
    reason: String,
}

/// Which lines are taken out.
///
/// ```
/// use cov_agent::coverage::Markers;
/// let markers = Markers::new(None, &[r"\bunreachable!\(".to_owned()])?;
/// let source = "fn f() {\n    log(); // LCOV_EXCL_LINE\n    unreachable!()\n}\n";
/// assert_eq!(markers.scan("f.rs", source).excluded.into_iter().collect::<Vec<_>>(), [2, 3]);
/// # Ok::<(), cov_agent::coverage::MarkerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Markers {
    fixed: Regex,
    patterns: Vec<Regex>,
}

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marked {
    /// Lines that are taken out.
    pub excluded: BTreeSet<u32>,
    /// Lines that are taken out unless they were executed.
    pub unreachable: BTreeSet<u32>,
    /// Lines whose branches are taken out.
    pub branchless: BTreeSet<u32>,
    /// Markers that have no partner: line and what is wrong.
    pub problems: Vec<(u32, String)>,
}

impl Markers {
    /// All fixed markers, and patterns as coverage.py has them: `exclude_lines` in place of the
    /// pragma's, `exclude_also` added. They are searched in the whole text, with `^` and `$` at
    /// each line; a match over several lines takes all of them out.
    ///
    /// # Errors
    /// A pattern is no regular expression.
    pub fn new(exclude_lines: Option<&[String]>, exclude_also: &[String]) -> Result<Self, MarkerError> {
        let pragma = [PRAGMA.to_owned()];
        let patterns = exclude_lines.unwrap_or(&pragma).iter().chain(exclude_also);
        let compile = |pattern: &str| {
            let built = RegexBuilder::new(pattern).multi_line(true).size_limit(1 << 22).build();
            built.map_err(|e| {
                let reason = e.to_string();
                let reason = reason.lines().last().unwrap_or("").trim().trim_start_matches("error: ").into();
                MarkerError { pattern: pattern.to_owned(), reason }
            })
        };
        Ok(Self { fixed: compile(FIXED)?, patterns: patterns.map(|p| compile(p)).collect::<Result<_, _>>()? })
    }

    /// Looks for markers in a source. `path` tells the language.
    #[must_use]
    pub fn scan(&self, path: &str, text: &str) -> Marked {
        let mut marked = Marked::default();
        let lines: Vec<&str> = text.lines().collect();
        let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let line_of = |at: usize| starts.partition_point(|&start| start <= at);
        let mut candidates: Vec<usize> = self.fixed.find_iter(text).map(|found| line_of(found.start())).collect();
        candidates.dedup();
        let candidates: Vec<(u32, &str)> =
            candidates.into_iter().filter_map(|line| Some((number(line), *lines.get(line - 1)?))).collect();
        fixed_markers(&candidates, &mut marked);
        let blocks = [".py", ".pyi", ".pyx", ".mojo", ".🔥"].iter().any(|end| path.ends_with(end));
        for found in self.patterns.iter().flat_map(|pattern| pattern.find_iter(text)) {
            // The end of an empty match, or of one that ends a line, is its last character.
            let (first, last) = (line_of(found.start()), line_of(found.end().max(found.start() + 1) - 1));
            let last = if blocks { block_end(&lines, first, last) } else { last };
            marked.excluded.extend(number(first)..=number(last));
        }
        marked
    }

    /// Takes the marked lines out of a snapshot. `source` gives a file's text; without one nothing
    /// is taken out of that file. Markers without partner are told in `problems`.
    #[must_use]
    pub fn apply(
        &self,
        snapshot: Snapshot,
        mut source: impl FnMut(&str) -> Option<String>,
        problems: &mut Vec<String>,
    ) -> Snapshot {
        snapshot.map_files(|mut file| {
            if let Some(text) = source(file.path()) {
                let marked = self.scan(file.path(), &text);
                let named = |(line, what): &(u32, String)| format!("{}:{line}: {what}", file.path());
                problems.extend(marked.problems.iter().map(named));
                exclude(&mut file, &marked);
            }
            Some(file)
        })
    }
}

/// Takes out marked lines that have code.
fn exclude(file: &mut FileCoverage, marked: &Marked) {
    let known: BTreeSet<u32> =
        file.lines().iter().map(|(line, _)| line).chain(file.unmeasurable_lines().map(|(line, _)| line)).collect();
    let hit = |file: &FileCoverage, line| file.lines().get(line).is_some_and(ExecutionCounter::is_hit);
    for &line in known.intersection(&marked.excluded) {
        file.exclude(line);
    }
    let branching: BTreeSet<u32> = file.ways().map(|(way, _)| way.line).collect();
    for &line in branching.intersection(&marked.branchless) {
        file.drop_jumps(line);
    }
    for &line in known.intersection(&marked.unreachable) {
        if !hit(file, line) {
            file.exclude(line);
        }
    }
}

/// What a marker takes out.
#[derive(Clone, Copy)]
enum Takes {
    Lines,
    UnlessExecuted,
    Branches,
}

/// Fixed markers, case as written.
const FAMILIES: [(&str, &str, &[&str], Takes); 8] = [
    ("LCOV_EXCL_LINE", "LCOV_EXCL_START", &["LCOV_EXCL_STOP"], Takes::Lines),
    ("LCOV_UNREACHABLE_LINE", "LCOV_UNREACHABLE_START", &["LCOV_UNREACHABLE_STOP"], Takes::UnlessExecuted),
    ("GCOV_EXCL_LINE", "GCOV_EXCL_START", &["GCOV_EXCL_STOP", "GCOV_EXCL_END"], Takes::Lines),
    ("GCOVR_EXCL_LINE", "GCOVR_EXCL_START", &["GCOVR_EXCL_STOP", "GCOVR_EXCL_END"], Takes::Lines),
    ("grcov-excl-line", "grcov-excl-start", &["grcov-excl-stop", "grcov-excl-end"], Takes::Lines),
    ("LCOV_EXCL_BR_LINE", "LCOV_EXCL_BR_START", &["LCOV_EXCL_BR_STOP"], Takes::Branches),
    ("GCOV_EXCL_BR_LINE", "GCOV_EXCL_BR_START", &["GCOV_EXCL_BR_STOP"], Takes::Branches),
    ("GCOVR_EXCL_BR_LINE", "GCOVR_EXCL_BR_START", &["GCOVR_EXCL_BR_STOP"], Takes::Branches),
];

/// What each of them begins with: searching for that first spares looking for all in each line.
const FIXED: &str = "(?:LCOV|GCOV|GCOVR)_(?:EXCL|UNREACHABLE)_|grcov-excl-";

/// Takes note of the markers in `lines`, which are numbered and have all that there are.
fn fixed_markers(lines: &[(u32, &str)], marked: &mut Marked) {
    for (single, start, stops, takes) in FAMILIES {
        let mut open: Option<u32> = None;
        let mut taken: Vec<RangeInclusive<u32>> = Vec::new();
        for &(line, text) in lines {
            if has_word(text, start) {
                match open {
                    Some(first) => marked.problems.push((line, format!("{start} after that of line {first}"))),
                    None => open = Some(line),
                }
            } else if let Some(stop) = stops.iter().find(|stop| has_word(text, stop)) {
                match open.take() {
                    Some(first) => taken.push(first..=line),
                    None => marked.problems.push((line, format!("{stop} without {start}"))),
                }
            } else if has_word(text, single) {
                taken.push(line..=line);
            }
        }
        if let Some(first) = open {
            // Without its end it would hide the rest of the file.
            marked.problems.push((first, format!("{start} without {}", stops.first().unwrap_or(&""))));
        }
        let lines = match takes {
            Takes::Lines => &mut marked.excluded,
            Takes::UnlessExecuted => &mut marked.unreachable,
            Takes::Branches => &mut marked.branchless,
        };
        taken.into_iter().for_each(|range| lines.extend(range));
    }
    marked.problems.sort();
}

/// Whether `word` stands in `text`, not as part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|t| t.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// The last line of the Python block that the lines `first` to `last` (from 1) begin; `last` if they
/// begin none. A decorator begins what it decorates. Told by indentation alone, so a header over
/// several lines is followed to the line that ends it with `:`.
fn block_end(lines: &[&str], first: usize, last: usize) -> usize {
    let text = |line: usize| lines.get(line - 1).copied().unwrap_or("");
    let code = |line: usize| text(line).split('#').next().unwrap_or("").trim_end();
    let indent = |line: usize| text(line).len() - text(line).trim_start().len();
    let depth = indent(first);
    let mut header = last;
    // Over decorators and the header's own lines.
    while header < lines.len() && !code(header).ends_with(':') {
        let decorates = code(first).trim_start().starts_with('@');
        let open: i32 = (first..=header)
            .flat_map(|l| code(l).chars())
            .map(|c| match c {
                '(' | '[' | '{' => 1,
                ')' | ']' | '}' => -1,
                _ => 0,
            })
            .sum();
        if !decorates && open <= 0 {
            return last;
        }
        header += 1;
    }
    if !code(header).ends_with(':') {
        return last;
    }
    let mut end = header;
    for line in header + 1..=lines.len() {
        if code(line).is_empty() {
            continue;
        }
        if indent(line) <= depth {
            break;
        }
        end = line;
    }
    end.max(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Way;
    use crate::coverage::{Losses, Run};

    fn excluded(path: &str, text: &str) -> Vec<u32> {
        Markers::new(None, &[]).unwrap().scan(path, text).excluded.into_iter().collect()
    }

    #[test]
    fn fixed_markers_take_lines_and_ranges_out() {
        let text = "a\nb // LCOV_EXCL_LINE\n// LCOV_EXCL_START\nc\n/* LCOV_EXCL_STOP */\nd // GCOV_EXCL_LINE\n\
            // grcov-excl-start\ne\n// grcov-excl-stop\nf\n// GCOVR_EXCL_START x\n// GCOVR_EXCL_STOP\n\
            NOT_LCOV_EXCL_LINE\nLCOV_EXCL_LINES\ng # pragma: no cover\nh // PRAGMA NO COVER\r\n";
        assert_eq!(excluded("a.c", text), [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 15, 16]);
    }

    #[test]
    fn branches_go_and_their_lines_stay() {
        let text = "a\nb // LCOV_EXCL_BR_LINE\n// GCOVR_EXCL_BR_START\nc\n// GCOVR_EXCL_BR_STOP\nd\n";
        let mut file = FileCoverage::new("a.c");
        for line in [2, 4, 6] {
            file.record(line, ExecutionCounter::exact(1), "");
            file.way(Way { line, ..Way::default() }, ExecutionCounter::exact(1));
        }
        let snapshot = Snapshot::of_runs([], BTreeSet::new(), Default::default(), vec![file]);
        let markers = Markers::new(None, &[]).unwrap();
        let snapshot = markers.apply(snapshot, |_| Some(text.to_owned()), &mut Vec::new());
        let file = &snapshot.files()[0];
        assert_eq!(file.lines().iter().map(|(line, _)| line).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(file.ways().map(|(way, _)| way.line).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn markers_without_partner_hide_nothing_and_are_told() {
        let marked = Markers::new(None, &[]).unwrap().scan("a.c", "LCOV_EXCL_STOP\nLCOV_EXCL_START\nLCOV_EXCL_START\n");
        assert!(marked.excluded.is_empty());
        let problems: Vec<_> = marked.problems.iter().map(|(line, what)| format!("{line}: {what}")).collect();
        assert_eq!(
            problems,
            [
                "1: LCOV_EXCL_STOP without LCOV_EXCL_START",
                "2: LCOV_EXCL_START without LCOV_EXCL_STOP",
                "3: LCOV_EXCL_START after that of line 2",
            ]
        );
    }

    /// The expected lines are those that coverage.py 7.17 excludes, and the blank one among them.
    #[test]
    fn python_blocks_go_as_a_whole() {
        let text = "import a\nif a:  # pragma: no cover\n    b = 1\n\n    c = 2\nelse:\n    d = 3\n\
            @decorated  # pragma: no cover\ndef f(\n    x,\n):\n    return 1\n\ny = 5\nz = [  # pragma: no cover\n    1,\n]\n";
        assert_eq!(excluded("m.py", text), [2, 3, 4, 5, 8, 9, 10, 11, 12, 15]);
        assert_eq!(excluded("m.c", text), [2, 8, 15]);
    }

    #[test]
    fn patterns_replace_and_add() {
        let text = "a\nassert b\nraise\n  X\nc // pragma: no cover\n";
        let lines = |exclude_lines: Option<&[&str]>, also: &[&str]| -> Vec<u32> {
            let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            let markers = Markers::new(exclude_lines.map(owned).as_deref(), &owned(also)).unwrap();
            markers.scan("a.c", text).excluded.into_iter().collect()
        };
        assert_eq!(lines(None, &["^assert"]), [2, 5]);
        assert_eq!(lines(Some(&["^assert"]), &[]), [2]);
        assert_eq!(lines(Some(&[]), &[r"raise\s+X$"]), [3, 4]);
        let error = Markers::new(None, &["(".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "bad exclusion pattern \"(\": unclosed group");
    }

    #[test]
    fn executed_lines_are_not_unreachable() {
        let mut file = FileCoverage::new("/a.c");
        (1..=3).for_each(|line| file.record(line, ExecutionCounter::exact(u64::from(line == 2)), ""));
        file.unmeasurable(5, "no");
        let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![file]);
        let text = "LCOV_UNREACHABLE_START\n\nLCOV_UNREACHABLE_STOP\n\nLCOV_EXCL_LINE\nLCOV_EXCL_STOP\n";
        let mut problems = Vec::new();
        let marked = Markers::new(None, &[]).unwrap().apply(snapshot, |_| Some(text.into()), &mut problems);
        let file = &marked.files()[0];
        assert_eq!(file.lines().iter().map(|(line, _)| line).collect::<Vec<_>>(), [2]);
        assert_eq!(file.excluded_lines().collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(problems, ["/a.c:6: LCOV_EXCL_STOP without LCOV_EXCL_START"]);
    }
}
