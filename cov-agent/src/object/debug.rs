//! Debug info as a whole: from the sections of one or more files to a line table and functions.

use super::budget::Budget;
use super::code::CodeMap;
use super::dies::{self, RawCopy};
use super::error::Note;
use super::names::World;
use super::paths::{Paths, join, to_path};
use super::programs::{self, RawSequence};
use super::sections::Sections;
use super::units::{Slice, Space};
use super::{CopyKind, FileId, FunctionCopy, Functions, LineTable, ObjectError, Row, Sequence, Wanted};
use gimli::{EndianSlice, LittleEndian, Section as _};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;

/// More rows than this are refused; the biggest programs known have some ten million.
const MAX_ROWS: usize = 1 << 28;

/// What debug info yields.
pub(super) struct DebugInfo {
    pub(super) lines: LineTable,
    pub(super) functions: Functions,
    pub(super) left_out: Vec<PathBuf>,
    pub(super) notes: Vec<Note>,
}

/// Reads everything that is wanted.
pub(super) fn read(sections: &Sections<'_>, code: &CodeMap, wanted: &Wanted<'_>) -> Result<DebugInfo, ObjectError> {
    let dwarf = sections.borrow(view);
    let budget = Budget::for_length(length(&dwarf));
    let mut notes = Vec::new();
    let mut paths = Paths::new(wanted);
    let mut main = Space::read(dwarf, &mut notes);
    let programs = programs::read(&mut main, &mut paths, &budget, &mut notes)?;
    let is_wanted = |files: &[u32]| files.iter().any(|&f| paths.is_wanted(f));
    let (wanted_units, others): (Vec<usize>, Vec<usize>) = (0..main.units.len())
        .filter(|&n| main.units.get(n).is_some_and(|u| u.files.is_some()))
        .partition(|&n| main.units.get(n).and_then(|u| u.files.as_deref()).is_some_and(is_wanted));
    if wanted_units.is_empty() && others.is_empty() && !notes.is_empty() {
        return Err(ObjectError::CorruptDebugInfo(
            notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        ));
    }
    let sequences = programs::run(programs, &paths, code, &budget, &mut notes)?;
    let world = World { main: &main, sup: None };
    let copies: Vec<_> = wanted_units.into_par_iter().map(|unit| dies::copies(&world, unit, code, &budget)).collect();
    let mut units = Vec::with_capacity(copies.len());
    for unit in copies {
        let (copies, note) = unit?;
        units.push(copies);
        notes.extend(note);
    }
    let left_out = left_out(&main, &others);
    let (lines, functions) = assemble(sequences, units, paths)?;
    Ok(DebugInfo { lines, functions, left_out, notes })
}

fn view<'a>(section: &'a Cow<'_, [u8]>) -> Slice<'a> {
    EndianSlice::new(section, LittleEndian)
}

fn length(dwarf: &gimli::Dwarf<Slice<'_>>) -> u64 {
    let sections = [
        dwarf.debug_info.reader(),
        dwarf.debug_line.reader(),
        dwarf.debug_str.reader(),
        dwarf.ranges.debug_ranges().reader(),
        dwarf.ranges.debug_rnglists().reader(),
    ];
    sections.iter().map(|s| s.len() as u64).sum()
}

/// The primary source files of units in which nothing is wanted.
fn left_out(space: &Space<'_>, units: &[usize]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for unit in units.iter().filter_map(|&n| space.units.get(n)) {
        let Some(name) = unit.dwarf.name else { continue };
        // rustc adds the name of its code generation unit.
        let name = name.slice().split(|&b| b == b'@').next().unwrap_or_default();
        let mut path = Vec::new();
        join(&mut path, unit.dwarf.comp_dir.map_or(&[][..], |d| d.slice()));
        join(&mut path, name);
        files.push(to_path(&path));
    }
    files.sort();
    files.dedup();
    files
}

/// Puts sequences and copies in order, and numbers the files that they use.
fn assemble(
    mut sequences: Vec<RawSequence>,
    units: Vec<Vec<RawCopy>>,
    paths: Paths<'_>,
) -> Result<(LineTable, Functions), ObjectError> {
    // A function that several units compile, and the linker kept once, has as many equal sequences.
    sequences.sort_by(|a, b| (a.start, a.end).cmp(&(b.start, b.end)));
    let mut kept: Vec<RawSequence> = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let mut same = kept.iter().rev().take_while(|k| k.start == sequence.start && k.end == sequence.end);
        if !same.any(|k| k.rows == sequence.rows) {
            kept.push(sequence);
        }
    }
    let mut copies = distinct(units);

    let mut used = vec![false; paths.len()];
    let mut mark = |id: u32| {
        if let Some(used) = used.get_mut(id as usize) {
            *used = true;
        }
    };
    kept.iter().flat_map(|s| &s.rows).for_each(|r| mark(r.file.0));
    copies.iter().filter_map(|c| c.decl).for_each(|(file, _)| mark(file.0));
    let (files, places) = paths.select(&used);
    let place = |id: FileId| FileId(places.get(id.0 as usize).copied().unwrap_or(0));

    let total: usize = kept.iter().map(|s| s.rows.len()).sum();
    if total > MAX_ROWS {
        return Err(ObjectError::TooBig { what: "rows in the line table", limit: MAX_ROWS as u64 });
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX); // at most MAX_ROWS
    let mut lines = LineTable { files, rows: Vec::with_capacity(total), sequences: Vec::with_capacity(kept.len()) };
    for RawSequence { start, end, rows } in kept {
        let (first_row, row_count) = (count(lines.rows.len()), count(rows.len()));
        lines.sequences.push(Sequence { start, end, first_row, row_count });
        lines.rows.extend(rows.into_iter().map(|row| Row { file: place(row.file), ..row }));
    }
    for copy in &mut copies {
        copy.decl = copy.decl.map(|(file, line)| (place(file), line));
    }
    Ok((lines, Functions { copies }))
}

/// Copies of all units in one list. A function that several units compile and the linker kept once
/// is there once, with what is inlined into it.
fn distinct(units: Vec<Vec<RawCopy>>) -> Vec<FunctionCopy> {
    let mut seen = HashSet::new();
    let mut copies: Vec<FunctionCopy> = Vec::new();
    for unit in units {
        let mut numbers: Vec<Option<u32>> = Vec::with_capacity(unit.len());
        for raw in unit {
            let kind = match raw.parent {
                None if seen.insert((raw.name.clone(), raw.ranges.clone())) => Some(CopyKind::OutOfLine),
                None => None,
                Some(parent) => {
                    let parent = numbers.get(parent as usize).copied().flatten();
                    parent.map(|parent| CopyKind::Inlined { parent })
                }
            };
            let number = u32::try_from(copies.len()).ok();
            numbers.push(kind.and(number));
            if let Some(kind) = kind {
                let decl = raw.decl.map(|(path, line)| (FileId(path), line));
                copies.push(FunctionCopy { name: raw.name, decl, ranges: raw.ranges, kind });
            }
        }
    }
    copies
}
