//! The copies of all units in one list, under one name for each function.

use super::dies::RawCopy;
use super::names::Described;
use super::{AddrRange, CopyKind, FileId, FunctionCopy, LineTable, LinkAddr, Symbol};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is the same for all copies of one function.
type Identity = (Option<(u32, u32)>, Arc<str>);

/// Joins the units' lists. A function that several units compile and the linker kept once is there
/// once, with what is inlined into it. `FileId`s are path ids still.
pub(super) fn settle(mut units: Vec<Vec<RawCopy>>, symbols: &[Symbol]) -> Vec<FunctionCopy> {
    settle_names(&mut units, symbols);
    let mut seen = HashSet::new();
    let mut copies: Vec<FunctionCopy> = Vec::new();
    for unit in units {
        let mut numbers: Vec<Option<u32>> = Vec::with_capacity(unit.len());
        for RawCopy { function, call, artificial, entry, ranges, parent } in unit {
            let kind = match parent {
                None if seen.insert((Arc::clone(&function.name), ranges.clone())) => Some(CopyKind::OutOfLine),
                None => None,
                Some(parent) => {
                    let parent = numbers.get(parent as usize).copied().flatten();
                    parent.map(|parent| CopyKind::Inlined { parent })
                }
            };
            numbers.push(kind.and(u32::try_from(copies.len()).ok()));
            if let Some(kind) = kind {
                let decl = function.decl.map(|(path, line)| (FileId(path), line));
                let call = call.map(|(path, line)| (FileId(path), line));
                copies.push(FunctionCopy { name: function.name, decl, call, artificial, entry, ranges, kind });
            }
        }
    }
    copies
}

/// g++ gives static functions and lambdas no linkage name, but their symbols have one; and the
/// inlined copies of a constructor are called otherwise than those that are not. A function's
/// inlined copies are to be called what its own code is called, where it has any.
fn settle_names(units: &mut [Vec<RawCopy>], symbols: &[Symbol]) {
    let mut own: HashMap<Identity, Arc<str>> = HashMap::new();
    for copy in units.iter_mut().flatten().filter(|c| c.parent.is_none()) {
        let identity = identity(&copy.function);
        if !copy.function.linkage
            && let Some(name) = symbol_name(symbols, &copy.ranges, &copy.function.name)
        {
            copy.function.name = name.into();
        }
        let name = &copy.function.name;
        if *name != identity.1 {
            // Of several the last by name: the base object's constructor, not the deleting destructor.
            let known = own.entry(identity).or_insert_with(|| Arc::clone(name));
            if *known < *name {
                *known = Arc::clone(name);
            }
        }
    }
    for copy in units.iter_mut().flatten().filter(|c| c.parent.is_some()) {
        if let Some(name) = own.get(&identity(&copy.function)) {
            copy.function.name = Arc::clone(name);
        }
    }
}

fn identity(function: &Described) -> Identity {
    (function.decl, Arc::clone(&function.declared))
}

/// The name of the symbol where one of `ranges` begins: `qualified` without its scopes
/// (`extern "C"`), or a C++ name, without the suffixes of the compiler's clones (`.constprop.0`).
fn symbol_name<'s>(symbols: &'s [Symbol], ranges: &[AddrRange], qualified: &str) -> Option<&'s str> {
    let at = |start: LinkAddr| {
        let first = symbols.partition_point(|s| s.range.start < start);
        symbols.get(first..).unwrap_or_default().iter().take_while(move |s| s.range.start == start)
    };
    let names = || {
        let names = ranges.iter().flat_map(|r| at(r.start)).map(|s| s.name.as_str());
        names.filter(|n| !n.contains(".cold")).map(|n| n.split('.').next().unwrap_or(n))
    };
    let is_plain = |name: &&str| qualified.strip_suffix(*name).is_some_and(|s| s.is_empty() || s.ends_with("::"));
    names().find(is_plain).or_else(|| names().find(|n| n.starts_with("_Z")))
}

/// Gives functions that say nowhere where they are declared the line on which their code begins, unless the
/// compiler made them up.
pub(super) fn declare(copies: &mut [FunctionCopy], lines: &LineTable) {
    let mut begins: HashMap<Arc<str>, (FileId, u32)> = HashMap::new();
    for copy in copies.iter().filter(|c| c.decl.is_none() && c.kind == CopyKind::OutOfLine && !c.artificial) {
        let after = lines.sequences.partition_point(|s| s.start <= copy.entry);
        let before = lines.sequences.get(..after).unwrap_or_default().iter().rev();
        // The nearest sequence is the one, unless folded or damaged ones lie over each other.
        let rows = before.take(4).filter(|s| copy.entry < s.end).flat_map(|s| lines.rows_of(s));
        if let Some(row) = rows.filter(|r| r.addr == copy.entry && r.line != 0).min_by_key(|r| !r.is_stmt) {
            begins.insert(Arc::clone(&copy.name), (row.file, row.line));
        }
    }
    for copy in copies.iter_mut().filter(|c| c.decl.is_none()) {
        copy.decl = begins.get(&copy.name).copied();
    }
}
