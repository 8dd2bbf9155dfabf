//! File records to bytes.

use crate::coverage::{ExecutionCounter, FileCoverage, Way};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

fn number(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

fn length(length: usize, to: &mut Vec<u8>) {
    number(length as u64, to);
}

fn text(text: &str, to: &mut Vec<u8>) {
    length(text.len(), to);
    to.extend_from_slice(text.as_bytes());
}

/// A rising list without its length.
fn rising(items: impl Iterator<Item = u64>, to: &mut Vec<u8>) {
    let mut next = 0;
    for item in items {
        number(item.saturating_sub(next), to);
        next = item + 1;
    }
}

fn rising_list(items: impl ExactSizeIterator<Item = u64>, to: &mut Vec<u8>) {
    length(items.len(), to);
    rising(items, to);
}

/// A part of a file that goes into one record.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) lines: RangeInclusive<u32>,
    /// Of the contexts, by name.
    pub(super) contexts: Range<usize>,
}

/// Appends the record of a part of a file. What belongs to no context is in the part with the first
/// one, and what belongs to no line either is in that which begins at line 0.
pub(super) fn record(file: &FileCoverage, part: Part, to: &mut Vec<u8>) {
    let Part { lines, contexts: these } = part;
    let first = these.start == 0;
    let whole = first && *lines.start() == 0;
    text(file.path(), to);
    let executable: Vec<u32> = file.lines().range(lines.clone()).map(|(line, _)| line).collect();
    rising_list(executable.iter().map(|&line| u64::from(line)), to);
    contexts(file, &lines, these, &executable, to);
    let functions: Vec<_> = file.functions().filter(|(f, _)| first && lines.contains(&f.line)).collect();
    length(functions.len(), to);
    for (function, counter) in functions {
        number(u64::from(function.line), to);
        text(&function.name, to);
        number(counter.value(), to);
        number(u64::from(counter.is_lower_bound()), to);
    }
    let mut reasons: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (line, reason) in file.unmeasurable_lines().filter(|(line, _)| first && lines.contains(line)) {
        reasons.entry(reason).or_default().push(u64::from(line));
    }
    length(reasons.len(), to);
    for (reason, lines) in reasons {
        text(reason, to);
        rising_list(lines.into_iter(), to);
    }
    let excluded: Vec<_> = file.excluded_lines().filter(|line| first && lines.contains(line)).map(u64::from).collect();
    rising_list(excluded.into_iter(), to);
    let ids = [file.build_ids().collect::<Vec<_>>(), file.digests().collect()];
    for ids in ids {
        length(if whole { ids.len() } else { 0 }, to);
        ids.into_iter().filter(|_| whole).for_each(|id| text(id, to));
    }
}

/// Appends the ways out of conditional jumps of a part of a file.
pub(super) fn ways(file: &FileCoverage, part: &Part, to: &mut Vec<u8>) {
    let first = part.contexts.start == 0;
    let ways: Vec<_> = file.ways().filter(|(way, _)| first && part.lines.contains(&way.line)).collect();
    length(ways.len(), to);
    for (Way { line, shape, jump, number: way, to: target }, counter) in ways {
        [line, shape, jump, way, target].into_iter().for_each(|item| number(u64::from(item), to));
        number(counter.value(), to);
        number(u64::from(counter.is_lower_bound()), to);
    }
}

fn contexts(
    file: &FileCoverage,
    range: &RangeInclusive<u32>,
    these: Range<usize>,
    executable: &[u32],
    to: &mut Vec<u8>,
) {
    let tables = file.contexts().skip(these.start).take(these.len()).map(|(name, table)| {
        let counted = table.range(range.clone()).filter(|&(_, counter)| counter != ExecutionCounter::ZERO);
        (name, counted.collect::<Vec<_>>())
    });
    let tables: Vec<_> = tables.filter(|(_, counted)| !counted.is_empty()).collect();
    length(tables.len(), to);
    for (name, counted) in tables {
        text(name, to);
        length(counted.len(), to);
        let mut places = executable.iter().enumerate();
        // Every counted line is executable: one walk over both finds all places.
        let places = counted.iter().filter_map(|&(line, _)| places.find(|&(_, &l)| l == line)).map(|(at, _)| at as u64);
        rising(places, to);
        counted.iter().for_each(|(_, counter)| number(counter.value(), to));
        let lower = counted.iter().enumerate().filter(|(_, (_, counter))| counter.is_lower_bound());
        rising_list(lower.map(|(at, _)| at as u64).collect::<Vec<_>>().into_iter(), to);
    }
}
