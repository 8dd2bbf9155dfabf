//! Object files: an ELF image, its line table and its functions, wherever the debug info lies.
//!
//! Pure after the bytes are read; nothing here knows of probes. What is read is not trusted: every
//! error is a value, and no input makes this module panic or allocate without bound.

mod addr;
mod budget;
mod code;
mod copies;
mod debug;
mod dies;
mod dynamic;
mod elf;
mod error;
mod functions;
mod image;
mod ld_cache;
mod lines;
mod locate;
mod mapped;
pub mod markers;
mod members;
mod names;
pub mod needed;
mod paths;
mod programs;
mod scopes;
mod search;
mod sections;
mod split;
mod units;
mod unwind;
mod usdt;

pub use addr::{AddrRange, FileOffset, LinkAddr, RuntimeAddr};
pub use error::{Note, ObjectError};
pub use functions::{CopyKind, FunctionCopy, Functions};
pub use image::{Fde, Image, LandingPad, ObjectId, Segment, Symbol};
pub use lines::{FileId, LineTable, Row, Sequence, SourceFile};
pub use search::{DebugOrigin, DebugSearch, Looked, Opener};
pub use usdt::usdt_places;

use mapped::Mapped;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which source files somebody is interested in, by their path as the debug info gives it.
pub type Wanted<'a> = dyn Fn(&Path) -> bool + Sync + 'a;

/// The bytes of an object, shared by all that read them.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// An opened object: its image, and what its debug info says of it.
#[derive(Debug, Clone)]
pub struct Object {
    /// The ELF file itself. If nothing in it is wanted, only what tells which object it is and where
    /// it lies in memory: no symbols, unwind tables, relocations.
    pub image: Image,
    /// Which source line each address belongs to. Compilation units without a wanted source file
    /// are not in it, nor are contiguous pieces of code without a line of one.
    pub lines: LineTable,
    /// The functions of these units, inlined copies included.
    pub functions: Functions,
    /// Where the debug info was found.
    pub debug: DebugOrigin,
    /// The primary source files of the units that were not wanted, sorted.
    pub left_out: Vec<PathBuf>,
    /// What had to be left out although it was wanted.
    pub notes: Vec<Note>,
    /// Where Go's `testing.common` has a test's name, in bytes from its beginning.
    pub go_test_name: Option<u16>,
    /// Places that somebody named for tools.
    pub markers: Vec<markers::Named>,
}

/// Opens the object at `path` with this process's own rights, and its debug info wherever `search` finds it.
///
/// # Errors
/// See [`ObjectError`]. Damage to a part of the debug info is no error but a [`Note`].
pub fn open(path: &Path, search: &DebugSearch, wanted: &Wanted<'_>) -> Result<Object, ObjectError> {
    open_file(path, search::open_file(path)?, search, wanted)
}

/// Like [`open`], for a file that is open already. `path` is where it is: its debug info is looked
/// for beside it.
///
/// # Errors
/// As [`open`].
pub fn open_file(path: &Path, file: File, search: &DebugSearch, wanted: &Wanted<'_>) -> Result<Object, ObjectError> {
    let mapped = Arc::new(Mapped::new(file)?);
    let result = parse(path, &(Arc::clone(&mapped) as Bytes), search, wanted);
    // Whatever came out of it: it is about a file that was another one by the end.
    if mapped.changed() { Err(ObjectError::Changed) } else { result }
}

/// Like [`open`], for bytes.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, bytes: &Bytes, search: &DebugSearch, wanted: &Wanted<'_>) -> Result<Object, ObjectError> {
    let data = (**bytes).as_ref();
    let elf = elf::parse(data, elf::Kind::Program)?;
    let located = locate::locate(path, &elf, search)?;
    let debug = located.file.as_ref().map(|file| elf::parse(file.as_ref(), elf::Kind::Debug)).transpose()?;
    let mut files = vec![path.to_path_buf()];
    files.extend(located.origin.path().map(Path::to_path_buf));
    let source = debug::Source {
        files: &files,
        elf: debug.as_ref().unwrap_or(&elf),
        search,
        wanted,
        image: &|| elf::image(path, Arc::clone(bytes), &elf, debug.as_ref()),
    };
    let found = debug::read(&source)?;
    let image = match found.image {
        Some(image) => image,
        None => elf::bare_image(path, Arc::clone(bytes), &elf)?,
    };
    if located.file.is_some_and(|file| file.changed()) {
        return Err(ObjectError::Changed);
    }
    Ok(Object {
        image,
        lines: found.lines,
        functions: found.functions,
        debug: located.origin,
        left_out: found.left_out,
        notes: found.notes,
        go_test_name: found.go_test_name,
        markers: markers::all(&elf, data),
    })
}

#[cfg(test)]
mod tests;
