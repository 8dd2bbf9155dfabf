//! Tests on objects that are compiled here and now.

mod build;
mod hostile;
mod languages;
mod linkers;
mod needed;
mod places;
mod plain;
mod split;

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

/// A row and a copy in words that do not depend on numbering.
type RowFacts = (u64, PathBuf, u32, bool);
type CopyFacts = (String, Option<(PathBuf, u32)>, Vec<AddrRange>, Option<String>);

/// All rows and copies, for comparing two objects.
fn facts(object: &Object) -> (Vec<RowFacts>, Vec<CopyFacts>) {
    let path = |id: FileId| object.lines.file(id).unwrap().path.clone();
    let rows = object.lines.sequences.iter().flat_map(|s| object.lines.rows_of(s));
    let rows = rows.map(|r| (r.addr.0, path(r.file), r.line, r.is_stmt)).collect();
    let name = |n: u32| object.functions.copies[n as usize].name.to_string();
    let copies = object.functions.copies.iter().map(|c| {
        let parent = match c.kind {
            CopyKind::OutOfLine => None,
            CopyKind::Inlined { parent } => Some(name(parent)),
        };
        (c.name.to_string(), c.decl.map(|(file, line)| (path(file), line)), c.ranges.clone(), parent)
    });
    let mut copies: Vec<_> = copies.collect();
    copies.sort();
    (rows, copies)
}

/// The names of functions of their own, sorted.
fn names(object: &Object) -> Vec<&str> {
    let copies = object.functions.copies.iter().filter(|c| c.kind == CopyKind::OutOfLine);
    let mut names: Vec<&str> = copies.map(|c| &*c.name).collect();
    names.sort_unstable();
    names
}
