//! Line number programs: their file tables first, which are cheap, then their rows.

use super::budget::Budget;
use super::code::CodeMap;
use super::error::Note;
use super::paths::{PathId, Paths, join};
use super::units::{MAX_PATH, Slice, Space, Unit};
use super::{FileId, LinkAddr, ObjectError, Row};
use gimli::{DebugLineOffset, FileEntry, IncompleteLineProgram, LineProgramHeader, Reader as _, Section as _};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a file that the line table does not have.
pub(super) const NO_PATH: PathId = PathId::MAX;
/// A file table that is longer than this is not believed: one with 20 000 headers needs half of it.
const MAX_HEADER: usize = 2 << 20;
/// What one entry of a file table takes in memory, about.
const ENTRY: usize = 128;

/// One line number program, not yet run.
pub(super) struct Program<'a> {
    program: IncompleteLineProgram<Slice<'a>>,
    files: Arc<[PathId]>,
    title: String,
}

/// Rows of one sequence; `Row::file` holds a [`PathId`].
pub(super) struct RawSequence {
    pub(super) start: LinkAddr,
    pub(super) end: LinkAddr,
    pub(super) rows: Vec<Row>,
}

/// Reads the file table of every line number program of `space`, gives each unit its files, and
/// returns the programs that have a wanted file. What cannot be read is left out, with a note.
pub(super) fn read<'a>(
    space: &mut Space<'a>,
    paths: &mut Paths<'_>,
    budget: &Budget,
    notes: &mut Vec<Note>,
) -> Result<Vec<Program<'a>>, ObjectError> {
    let mut users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, unit) in space.units.iter().enumerate() {
        if let Some(offset) = unit.line_offset {
            users.entry(offset).or_default().push(index);
        }
    }
    let section = space.dwarf.debug_line.reader().slice();
    // Real programs do not overlap: twice the section allows for a few whose length is corrupt.
    let mut unread = section.len().saturating_mul(2);
    let mut programs = Vec::new();
    for (offset, users) in users {
        let Some(unit) = users.first().and_then(|&n| space.units.get(n)) else { continue };
        match read_program(space, unit, offset, &mut unread) {
            Ok(program) => {
                let files = intern(space, unit, program.header(), paths, budget)?;
                if files.iter().any(|&f| paths.is_wanted(f)) {
                    programs.push(Program { program, files: Arc::clone(&files), title: unit.title() });
                }
                for index in users {
                    if let Some(unit) = space.units.get_mut(index) {
                        unit.files = Some(Arc::clone(&files));
                    }
                }
            }
            Err(message) => {
                notes.push(Note { unit: unit.title(), message: format!("its line table is left out: {message}") });
            }
        }
    }
    Ok(programs)
}

fn read_program<'a>(
    space: &Space<'a>,
    unit: &Unit<'a>,
    offset: usize,
    unread: &mut usize,
) -> Result<IncompleteLineProgram<Slice<'a>>, String> {
    let mut input = *space.dwarf.debug_line.reader();
    let mut measure = || {
        input.skip(offset)?;
        let (length, format) = input.read_initial_length()?;
        let mut input = input.split(length)?;
        let version = input.read_u16()?;
        if version >= 5 {
            input.skip(2)?; // sizes of addresses and segment selectors
        }
        Ok((length, input.read_length(format)?))
    };
    let (length, header) = measure().map_err(|e: gimli::Error| e.to_string())?;
    *unread = unread.checked_sub(length).ok_or("it overlaps others")?;
    if header > MAX_HEADER {
        return Err(format!("its file table has {header} bytes"));
    }
    let (size, dir, name) = (unit.dwarf.header.address_size(), unit.dwarf.comp_dir, unit.dwarf.name);
    space.dwarf.debug_line.program(DebugLineOffset(offset), size, dir, name).map_err(|e| e.to_string())
}

/// The path of every file, by DWARF file number: from 1 up to DWARF 4, where 0 is the unit itself;
/// from 0 in DWARF 5 (section 6.2.4).
fn intern<'a>(
    space: &Space<'a>,
    unit: &Unit<'a>,
    header: &LineProgramHeader<Slice<'a>>,
    paths: &mut Paths<'_>,
    budget: &Budget,
) -> Result<Arc<[PathId]>, ObjectError> {
    let mut base = Vec::new();
    join(&mut base, unit.dwarf.comp_dir.map_or(&[][..], |d| d.slice()));
    let dirs = header.include_directories();
    budget.spend((dirs.len() + header.file_names().len()).saturating_mul(ENTRY))?;
    let unit_dir = (header.version() <= 4).then(|| Some(base.clone()));
    let mut joined: Vec<Option<Vec<u8>>> = unit_dir.into_iter().collect();
    for &dir in dirs {
        let dir = space.string(&unit.dwarf, dir, MAX_PATH).map(|d| extend(&base, d.slice()));
        budget.spend(dir.as_ref().map_or(0, Vec::len))?;
        joined.push(dir);
    }
    let mut id_of = |file: &FileEntry<Slice<'a>>| {
        let dir = usize::try_from(file.directory_index()).ok().and_then(|n| joined.get(n)).and_then(Option::as_ref);
        let name = space.string(&unit.dwarf, file.path_name(), MAX_PATH);
        let (Some(dir), Some(name)) = (dir, name) else { return Ok(NO_PATH) };
        let path = extend(dir, name.slice());
        if path.len() > MAX_PATH {
            return Ok(NO_PATH);
        }
        budget.spend(path.len())?;
        let md5 = header.file_has_md5().then(|| *file.md5()).filter(|sum| *sum != [0; 16]);
        Ok(paths.intern(&path, md5))
    };
    let unit_file = (header.version() <= 4).then(|| header.file(0).map_or(Ok(NO_PATH), &mut id_of));
    let mut files: Vec<PathId> = unit_file.into_iter().collect::<Result<_, ObjectError>>()?;
    for file in header.file_names() {
        files.push(id_of(file)?);
    }
    Ok(files.into())
}

fn extend(dir: &[u8], part: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    join(&mut path, part);
    path
}

/// Runs the programs. Sequences of dropped code, and those without a row in a wanted file, are left out.
pub(super) fn run(
    programs: Vec<Program<'_>>,
    paths: &Paths<'_>,
    code: &CodeMap,
    budget: &Budget,
    notes: &mut Vec<Note>,
) -> Result<Vec<RawSequence>, ObjectError> {
    let results: Vec<_> = programs.into_par_iter().map(|program| run_one(program, paths, code, budget)).collect();
    let mut all = Vec::new();
    for result in results {
        let (sequences, note) = result?;
        all.extend(sequences);
        notes.extend(note);
    }
    Ok(all)
}

fn run_one(
    program: Program<'_>,
    paths: &Paths<'_>,
    code: &CodeMap,
    budget: &Budget,
) -> Result<(Vec<RawSequence>, Option<Note>), ObjectError> {
    let Program { program, files, title } = program;
    let mut sequences = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut states = program.rows();
    loop {
        let row = match states.next_row() {
            Ok(Some((_, row))) => row,
            Ok(None) => return Ok((sequences, None)),
            // The address of a sequence is set absolutely, so those before the damage are sound.
            Err(error) => {
                let message = format!("the rest of its line table is left out: {error}");
                return Ok((sequences, Some(Note { unit: title, message })));
            }
        };
        let addr = LinkAddr(row.address());
        if row.end_sequence() {
            if let Some(first) = rows.first().map(|r| r.addr)
                && code.holds(first, addr)
                && rows.iter().any(|r| r.line != 0 && paths.is_wanted(r.file.0))
            {
                budget.spend(size_of_val(rows.as_slice()))?;
                rows.shrink_to_fit();
                sequences.push(RawSequence { start: first, end: addr, rows: std::mem::take(&mut rows) });
            }
            rows.clear();
            continue;
        }
        let path = usize::try_from(row.file_index()).ok().and_then(|n| files.get(n)).copied().unwrap_or(NO_PATH);
        let line = row.line().and_then(|l| u32::try_from(l.get()).ok()).unwrap_or(0);
        // Code of an unknown file belongs to no line; some file must be named all the same.
        let (path, line) = if path == NO_PATH { (rows.last().map_or(0, |r| r.file.0), 0) } else { (path, line) };
        rows.push(Row { addr, file: FileId(path), line, is_stmt: row.is_stmt(), epilogue: row.epilogue_begin() });
    }
}
