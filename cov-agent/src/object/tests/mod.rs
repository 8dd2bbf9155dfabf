//! Tests on objects that are compiled here and now.

mod build;
mod plain;

use super::*;
use build::Build;

/// Everything is wanted.
fn all(_: &Path) -> bool {
    true
}

/// Opens an object of which everything must be readable.
fn open_whole(path: &Path) -> Object {
    let object = open(path, &DebugSearch::default(), &all).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(object.notes, [], "{}", path.display());
    object
}

/// The lines of statement rows of `function` that lie in `file`, in the order of their addresses.
fn statement_lines(object: &Object, function: &str, file: &str) -> Vec<u32> {
    let copies = &object.functions.copies;
    let found = copies.iter().find(|c| &*c.name == function && c.kind == CopyKind::OutOfLine);
    let Some(copy) = found else {
        panic!("{function} not among {:?}", copies.iter().map(|c| &c.name).collect::<Vec<_>>())
    };
    let inside = |row: &&Row| copy.ranges.iter().any(|r| r.contains(row.addr));
    let named = |row: &&Row| object.lines.file(row.file).is_some_and(|f| f.path.ends_with(file));
    let rows = object.lines.sequences.iter().flat_map(|s| object.lines.rows_of(s));
    rows.filter(|r| r.is_stmt && r.line != 0).filter(inside).filter(named).map(|r| r.line).collect()
}
