//! The line table: DWARF's line number program, run once (DWARF 5, section 6.2).

use super::LinkAddr;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Index of a [`SourceFile`] in its [`LineTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// One source file as the debug info names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Compilation directory, directory and name joined, `.` and `..` folded lexically. Relative
    /// only where the debug info gives no absolute directory.
    pub path: PathBuf,
    /// The MD5 of the source text, where DWARF 5 gives it.
    pub md5: Option<[u8; 16]>,
}

/// One row of the line table. It holds from its address to the next row of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where it begins.
    pub addr: LinkAddr,
    /// The source file.
    pub file: FileId,
    /// The line, from 1; 0 is code that belongs to no line.
    pub line: u32,
    /// Whether the compiler recommends a breakpoint here: the beginning of a statement.
    pub is_stmt: bool,
    /// Whether the function is left from here: the beginning of its epilogue.
    pub epilogue: bool,
}

/// Consecutive rows over one contiguous piece of code. Sequences may overlap (identical code
/// folded by the linker keeps the rows of every function that was folded).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// The first address.
    pub start: LinkAddr,
    /// The first address past the end.
    pub end: LinkAddr,
    /// Index of the first row in [`LineTable::rows`].
    pub first_row: u32,
    /// How many rows.
    pub row_count: u32,
}

/// All rows of an object, without those of code that the linker dropped.
#[derive(Debug, Clone, Default)]
pub struct LineTable {
    /// The files that rows and functions name; each path stands once.
    pub files: Vec<SourceFile>,
    /// Rows, sequence after sequence, by rising address inside each.
    pub rows: Vec<Row>,
    /// Sequences by start address.
    pub sequences: Vec<Sequence>,
}

impl LineTable {
    /// The rows of one sequence.
    #[must_use]
    pub fn rows_of(&self, sequence: &Sequence) -> &[Row] {
        let first = sequence.first_row as usize;
        self.rows.get(first..first + sequence.row_count as usize).unwrap_or(&[])
    }

    /// The row that holds an address; where sequences overlap, of the one that begins last.
    #[must_use]
    pub fn row_at(&self, addr: LinkAddr) -> Option<&Row> {
        let sequence = self.sequences.get(self.sequences.partition_point(|s| s.start <= addr).checked_sub(1)?)?;
        let rows = self.rows_of(sequence);
        rows.get(rows.partition_point(|row| row.addr <= addr).checked_sub(1)?).filter(|_| addr < sequence.end)
    }

    /// The file a row names.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }
}
