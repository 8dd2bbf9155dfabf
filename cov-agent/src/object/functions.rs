//! Functions as the debug info tells them: every machine-code copy, inlined ones included.

use super::{AddrRange, FileId, LinkAddr};
use std::sync::Arc;

/// Whether a copy is a function of its own or lies inside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// `DW_TAG_subprogram` with code.
    OutOfLine,
    /// `DW_TAG_inlined_subroutine`; `parent` is the index of the copy it was inlined into.
    Inlined {
        /// Index into [`Functions::copies`], smaller than this copy's own.
        parent: u32,
    },
}

/// One machine-code copy of a source function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCopy {
    /// The linkage name where there is one, else the name qualified by its namespaces; mangled.
    pub name: Arc<str>,
    /// Where the function is declared: file and line (`DW_AT_decl_file`, `DW_AT_decl_line`). Where no
    /// copy of it says that (Go before 1.21, lambdas of g++), the line on which its code begins.
    pub decl: Option<(FileId, u32)>,
    /// Of an inlined copy where its call stands (`DW_AT_call_file`, `DW_AT_call_line`).
    pub call: Option<(FileId, u32)>,
    /// Made up by the compiler (`DW_AT_artificial`), as what runs the initialisers of a file is.
    pub artificial: bool,
    /// Where it is entered: the start of one of `ranges`, not always of the first.
    pub entry: LinkAddr,
    /// Its code, by rising address, not overlapping; several for cold-split or scattered code.
    pub ranges: Vec<AddrRange>,
    /// Out of line, or inlined into which copy.
    pub kind: CopyKind,
}

/// The functions of an object.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    /// Parents before the copies inlined into them.
    pub copies: Vec<FunctionCopy>,
}

impl Functions {
    /// The copy that a copy is inlined into.
    #[must_use]
    pub fn parent(&self, copy: Option<u32>) -> Option<u32> {
        match self.copies.get(copy? as usize)?.kind {
            CopyKind::OutOfLine => None,
            CopyKind::Inlined { parent } => Some(parent),
        }
    }
}
