//! Debug info as a whole: from the sections of one or more files to a line table and functions.

use super::budget::Budget;
use super::code::CodeMap;
use super::dies::{self, RawCopy};
use super::elf::{self, Elf};
use super::names::World;
use super::paths::{Paths, join, to_path};
use super::programs::{self, RawSequence};
use super::split::{self, Split};
use super::units::{Space, view};
use super::{DebugSearch, FileId, FunctionCopy, Functions, Image, LineTable, Note, ObjectError, Row, Sequence, Wanted};
use super::{copies, locate, members, sections};
use gimli::{EndianSlice, LittleEndian};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// More rows than this are refused; the biggest programs known have some ten million.
const MAX_ROWS: usize = 1 << 28;

/// What debug info yields.
pub(super) struct DebugInfo {
    /// The image; `None` if nothing is wanted.
    pub(super) image: Option<Image>,
    pub(super) lines: LineTable,
    pub(super) functions: Functions,
    pub(super) left_out: Vec<PathBuf>,
    pub(super) notes: Vec<Note>,
    pub(super) go_test_name: Option<u16>,
}

/// What debug info is read from.
pub(super) struct Source<'s, 'e> {
    /// The object and its separate debug file, if it has one; the last of them has the debug info.
    pub(super) files: &'s [PathBuf],
    pub(super) elf: &'s Elf<'e>,
    pub(super) search: &'s DebugSearch,
    pub(super) wanted: &'s Wanted<'s>,
    /// Reads the image. That is most of the work for an object of which nothing is wanted.
    pub(super) image: &'s dyn Fn() -> Result<Image, ObjectError>,
}

/// Reads everything that is wanted.
pub(super) fn read(source: &Source<'_, '_>) -> Result<DebugInfo, ObjectError> {
    let mut notes = Vec::new();
    let path = source.files.last().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let sup_file = locate::supplementary(path, source.elf, source.search, &mut notes);
    let sup_elf = sup_file.as_ref().map(|file| elf::parse(file.as_ref(), elf::Kind::Debug)).transpose()?;
    let sup_sections = sup_elf.as_ref().map(|elf| sections::load(elf, false)).transpose()?;
    let sections = sections::load(source.elf, false)?;
    let dwarf = sections.borrow_with_sup(sup_sections.as_ref(), view);
    let budget = Budget::for_length(sections::length(&dwarf) + dwarf.sup().map_or(0, sections::length));

    let mut paths = Paths::new(source.wanted);
    let sup = match &sup_sections {
        Some(sections) => {
            let mut space = Space::read(sections.borrow(view), &mut notes);
            programs::read(&mut space, &mut paths, &budget, &mut notes)?; // its files; it has no rows
            Some(space)
        }
        None => None,
    };
    let mut main = Space::read(dwarf, &mut notes);
    let programs = programs::read(&mut main, &mut paths, &budget, &mut notes)?;
    let (wanted, others) = choose(&main, &paths);
    if wanted.is_empty() && others.is_empty() && !notes.is_empty() {
        return Err(ObjectError::CorruptDebugInfo(
            notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        ));
    }
    let left_out = left_out(&main, &others);
    if wanted.is_empty() {
        let (lines, functions) = (LineTable::default(), Functions::default());
        return Ok(DebugInfo { image: None, lines, functions, left_out, notes, go_test_name: None });
    }
    let image = (source.image)()?;
    let code = CodeMap::new(&image);
    let sequences = programs::run(programs, &paths, &code, &budget, &mut notes)?;
    let world = World { main: &main, sup: sup.as_ref() };
    let raw = read_copies(source, &world, &code, &wanted, &budget, &mut notes)?;
    let copies = copies::settle(raw, &image.symbols);
    let (lines, functions) = assemble(sequences, copies, paths)?;
    // Go's linker puts the types of all packages into one unit.
    let tests = main.units.iter().any(|unit| unit.dwarf.name.is_some_and(|name| name.slice() == b"testing"));
    let go_test_name =
        tests.then(|| members::offset(&main, &["runtime", "testing"], "testing.common", "name")).flatten();
    let go_test_name = go_test_name.and_then(|offset| u16::try_from(offset).ok());
    Ok(DebugInfo { image: Some(image), lines, functions, left_out, notes, go_test_name })
}

/// The units that have a wanted file, and those that have not, of those with a line table.
fn choose(space: &Space<'_>, paths: &Paths<'_>) -> (Vec<usize>, Vec<usize>) {
    let files = |n: &usize| space.units.get(*n).and_then(|u| u.files.as_deref());
    let with_lines = (0..space.units.len()).filter(|n| files(n).is_some());
    with_lines.partition(|n| files(n).unwrap_or_default().iter().any(|&f| paths.is_wanted(f)))
}

/// The copies of the functions of `units`, unit by unit.
fn read_copies(
    source: &Source<'_, '_>,
    world: &World<'_, '_>,
    code: &CodeMap,
    units: &[usize],
    budget: &Budget,
    notes: &mut Vec<Note>,
) -> Result<Vec<Vec<RawCopy>>, ObjectError> {
    let is_split = |n: &usize| world.main.units.get(*n).is_some_and(|u| u.dwo_name.is_some());
    let package_file = units.iter().any(is_split).then(|| split::map_package(source.files, source.search)).flatten();
    let package_elf = package_file.as_ref().map(|(_, file)| elf::parse(file.as_ref(), elf::Kind::Debug)).transpose()?;
    let package_sections = package_elf.as_ref().map(sections::load_package).transpose()?;
    let package = package_sections.as_ref().map(|sections| sections.borrow(view, EndianSlice::new(&[], LittleEndian)));
    let package = package.transpose()?;
    let package = package_file.as_ref().map(|(path, _)| path.as_path()).zip(package.as_ref());
    let split = Split { search: source.search, budget, files: source.files, package };

    let read = |&index: &usize| -> Result<(Vec<RawCopy>, Option<Note>), ObjectError> {
        let Some(unit) = world.main.units.get(index) else { return Ok((Vec::new(), None)) };
        let Some(name) = unit.dwo_name else { return dies::copies(world, index, code, budget) };
        let entries = split.with_entries(world.main, unit, name.slice(), |space, index| {
            dies::copies(&World { main: space, sup: None }, index, code, budget)
        });
        entries.unwrap_or_else(|note| Ok((Vec::new(), Some(note))))
    };
    let results: Vec<_> = units.par_iter().map(read).collect();
    let mut copies = Vec::with_capacity(results.len());
    for result in results {
        let (of_unit, note) = result?;
        copies.push(of_unit);
        notes.extend(note);
    }
    Ok(copies)
}

/// The primary source files of units in which nothing is wanted.
fn left_out(space: &Space<'_>, units: &[usize]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for unit in units.iter().filter_map(|&n| space.units.get(n)) {
        let Some(name) = unit.dwarf.name else { continue };
        if name.slice().starts_with(b"<") {
            continue; // "<artificial>", "<unknown>"
        }
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
    mut copies: Vec<FunctionCopy>,
    paths: Paths<'_>,
) -> Result<(LineTable, Functions), ObjectError> {
    // A function that several units compile, and the linker kept once, has as many equal sequences.
    sequences.sort_by_key(|s| (s.start, s.end));
    let mut kept: Vec<RawSequence> = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let mut same = kept.iter().rev().take_while(|k| k.start == sequence.start && k.end == sequence.end);
        if !same.any(|k| k.rows == sequence.rows) {
            kept.push(sequence);
        }
    }

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
        // A file without any code has no line that could hold the call.
        let known = copy.call.filter(|(file, _)| used.get(file.0 as usize) == Some(&true));
        copy.call = known.map(|(file, line)| (place(file), line));
    }
    copies::declare(&mut copies, &lines);
    Ok((lines, Functions { copies }))
}
