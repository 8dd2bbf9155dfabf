//! Which code belongs to which line, and to which copy of which function.

use crate::object::{CopyKind, FileId, Functions, LineTable, Row};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Code that belongs to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// The row's address.
    pub(super) start: u64,
    /// Where code of another line begins; `start` for a row without code of its own.
    pub(super) end: u64,
    pub(super) file: FileId,
    pub(super) line: u32,
    /// The function is left from here.
    pub(super) epilogue: bool,
    /// A statement begins here, as far as the line has any.
    pub(super) statement: bool,
}

/// The statement rows of the files that `wanted` tells, and the other rows of lines that have none; by
/// rising address. Rows of the same line that follow are spans too, and code of line 0 between such belongs to the
/// line; other code of line 0 belongs to no line.
pub(super) fn spans(table: &LineTable, wanted: impl Fn(FileId) -> bool) -> Vec<Span> {
    let rows = || table.rows.iter().filter(|r| r.line != 0 && wanted(r.file));
    let statements: HashSet<(FileId, u32)> = rows().filter(|r| r.is_stmt).map(|r| (r.file, r.line)).collect();
    let begins = |row: &Row| row.is_stmt || !statements.contains(&(row.file, row.line));
    let used = |row: &Row| row.line != 0 && wanted(row.file) && begins(row);
    let mut spans = Vec::new();
    for sequence in &table.sequences {
        let mut open: Option<Span> = None;
        // Where code of line 0 began after the open span.
        let mut nobodys: Option<u64> = None;
        for row in table.rows_of(sequence) {
            if row.line == 0 {
                nobodys = nobodys.or(Some(row.addr.0));
                continue;
            }
            let same = open.is_some_and(|s| (s.file, s.line) == (row.file, row.line));
            let gap = nobodys.take().filter(|_| !same);
            if let Some(open) = open.as_mut().filter(|s| same && s.start == row.addr.0) {
                open.epilogue |= row.epilogue;
                open.statement |= begins(row);
                continue;
            }
            spans.extend(open.take().map(|s| Span { end: gap.unwrap_or(row.addr.0), ..s }));
            if same || used(row) {
                let (start, epilogue, statement) = (row.addr.0, row.epilogue, begins(row));
                open = Some(Span { start, end: 0, file: row.file, line: row.line, epilogue, statement });
            }
        }
        spans.extend(open.map(|s| Span { end: nobodys.unwrap_or(sequence.end.0), ..s }));
    }
    spans.sort_unstable();
    spans.dedup();
    spans
}

/// Which inlined copies a line calls.
#[derive(Debug)]
pub(super) struct Calls {
    copies: HashMap<(u32, FileId, u32), Vec<u32>>,
}

impl Calls {
    pub(super) fn new(functions: &Functions) -> Self {
        let mut copies: HashMap<_, Vec<u32>> = HashMap::new();
        for (n, copy) in (0..).zip(&functions.copies) {
            if let (CopyKind::Inlined { parent }, Some((file, line))) = (copy.kind, copy.call) {
                copies.entry((parent, file, line)).or_default().push(n);
            }
        }
        Self { copies }
    }

    /// The copies that `line`, in the copy `parent`, calls.
    pub(super) fn of(&self, parent: u32, file: FileId, line: u32) -> &[u32] {
        self.copies.get(&(parent, file, line)).map_or(&[], Vec::as_slice)
    }
}

/// The innermost function copy of every address.
#[derive(Debug)]
pub(super) struct Innermost {
    /// Where another copy begins, and which; by rising address.
    changes: Vec<(u64, Option<u32>)>,
}

impl Innermost {
    pub(super) fn new(functions: &Functions) -> Self {
        let mut map: BTreeMap<u64, Option<u32>> = BTreeMap::new();
        // Parents come before the copies inlined into them, which paint over.
        for (n, copy) in (0..).zip(&functions.copies) {
            for range in &copy.ranges {
                let (start, end) = (range.start.0, range.end.0);
                let after = map.range(..=end).next_back().and_then(|(_, &copy)| copy);
                let covered: Vec<u64> = map.range(start..=end).map(|(&at, _)| at).collect();
                for at in covered {
                    map.remove(&at);
                }
                map.insert(start, Some(n));
                map.insert(end, after);
            }
        }
        Self { changes: map.into_iter().collect() }
    }

    /// The innermost copy whose code holds `addr`.
    pub(super) fn at(&self, addr: u64) -> Option<u32> {
        let at = self.changes.partition_point(|&(start, _)| start <= addr).checked_sub(1)?;
        self.changes.get(at)?.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{AddrRange, FunctionCopy, LinkAddr, Sequence};

    #[test]
    fn rows_become_spans() {
        let row = |addr, line, is_stmt| Row { addr: LinkAddr(addr), file: FileId(0), line, is_stmt, epilogue: false };
        let rows = vec![
            row(0, 5, true),
            row(4, 5, false), // the same line goes on
            row(8, 6, true),  // without code
            row(8, 7, true),
            row(12, 0, true),  // nobody's
            row(16, 9, false), // a line without statement
            row(20, 5, false), // a line with one: not used
            row(24, 7, true),
            row(26, 0, false), // between code of one line
            row(28, 7, false),
        ];
        let sequence = Sequence { start: LinkAddr(0), end: LinkAddr(30), first_row: 0, row_count: 10 };
        let table = LineTable { files: Vec::new(), rows, sequences: vec![sequence] };
        let found: Vec<_> = spans(&table, |_| true).iter().map(|s| (s.start, s.end, s.line)).collect();
        assert_eq!(found, [(0, 4, 5), (4, 8, 5), (8, 8, 6), (8, 12, 7), (16, 20, 9), (24, 28, 7), (28, 30, 7)]);
        assert!(spans(&table, |_| false).is_empty());
    }

    #[test]
    fn the_innermost_copy_wins() {
        let copy = |ranges: &[(u64, u64)], kind| FunctionCopy {
            name: "f".into(),
            decl: None,
            call: None,
            artificial: false,
            entry: LinkAddr(ranges[0].0),
            ranges: ranges.iter().map(|&(s, e)| AddrRange { start: LinkAddr(s), end: LinkAddr(e) }).collect(),
            kind,
        };
        let functions = Functions {
            copies: vec![
                copy(&[(0, 100)], CopyKind::OutOfLine),
                copy(&[(10, 20), (30, 40)], CopyKind::Inlined { parent: 0 }),
                copy(&[(15, 20)], CopyKind::Inlined { parent: 1 }),
                copy(&[(100, 110)], CopyKind::OutOfLine),
            ],
        };
        let innermost = Innermost::new(&functions);
        let at = |addr| innermost.at(addr);
        assert_eq!((at(0), at(9), at(10), at(14)), (Some(0), Some(0), Some(1), Some(1)));
        assert_eq!((at(15), at(19), at(20), at(30)), (Some(2), Some(2), Some(0), Some(1)));
        assert_eq!((at(40), at(99), at(100), at(110)), (Some(0), Some(0), Some(3), None));
    }
}
