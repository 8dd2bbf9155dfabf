//! What can be wrong with an object file, one variant each.

use super::search::{Looked, Places};
use std::fmt;
use std::io;

/// Why an object could not be opened. The message does not name the object itself: the caller,
/// who does know which one it asked for, puts its path before it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It could not be opened or read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// A directory, a device, a pipe.
    #[error("not a regular file")]
    NotRegular,
    /// It does not begin with the ELF magic number.
    #[error("not an ELF file")]
    NotElf,
    /// Its headers name bytes past its end.
    #[error("truncated: its headers describe {needs} bytes, the file has {has}")]
    Truncated {
        /// The length that the headers call for.
        needs: u64,
        /// The length of the file.
        has: u64,
    },
    /// `ELFCLASS32`.
    #[error("a 32-bit object; only 64-bit x86-64 objects can be measured")]
    Not64Bit,
    /// `ELFDATA2MSB`.
    #[error("a big-endian object; only x86-64 objects can be measured")]
    BigEndian,
    /// Another `e_machine` than `EM_X86_64`.
    #[error("built for another machine (ELF machine {0}); only x86-64 objects can be measured")]
    OtherMachine(u16),
    /// A relocatable object (`.o`) or a core dump.
    #[error("not a program or shared library (ELF type {0}); link it first")]
    NotLinked(u16),
    /// The ELF structure contradicts itself.
    #[error("malformed ELF file: {0}")]
    Malformed(String),
    /// Neither the object nor any separate file has debug info.
    #[error("no debug info: looked in {}; compile with -g", Places(looked_in))]
    NoDebugInfo {
        /// The files that were tried, the object itself first.
        looked_in: Vec<Looked>,
    },
    /// The object says that its debug info lies in another file, which is not there or not its own.
    #[error(
        "its debug info is in a separate file, {link}, that was not found: looked in {}; \
             install the debug package or compile with -g",
        Places(looked_in)
    )]
    DebugFileMissing {
        /// The name in `.gnu_debuglink`.
        link: String,
        /// The files that were tried, the object itself first.
        looked_in: Vec<Looked>,
    },
    /// Debug info is there, but no part of it can be used.
    #[error("corrupt debug info: {0}; recompile, or reinstall the debug package")]
    CorruptDebugInfo(String),
    /// A count is beyond what a real object has.
    #[error("too big: more than {limit} {what}")]
    TooBig {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Size or time of modification changed during the reading.
    #[error("it changed while it was read")]
    Changed,
}

/// Part of an object's debug info that had to be left out. The rest is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which unit: its primary source file, or its offset in `.debug_info`.
    pub unit: String,
    /// What was left out, and why.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.unit, self.message)
    }
}

impl From<gimli::Error> for ObjectError {
    fn from(error: gimli::Error) -> Self {
        Self::CorruptDebugInfo(error.to_string())
    }
}
