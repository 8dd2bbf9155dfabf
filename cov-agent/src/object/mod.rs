//! Object files: an ELF image, its line table and its functions, wherever the debug info lies.
//!
//! Pure after the bytes are read; nothing here knows of probes. What is read is not trusted: every
//! error is a value, and no input makes this module panic or allocate without bound.

mod addr;
mod functions;
mod image;
mod lines;

pub use addr::{AddrRange, FileOffset, LinkAddr, RuntimeAddr};
pub use functions::{CopyKind, FunctionCopy, Functions};
pub use image::{Fde, Image, LandingPad, ObjectId, Segment, Symbol};
pub use lines::{FileId, LineTable, Row, Sequence, SourceFile};

/// An opened object: its image, and what its debug info says of it.
#[derive(Debug, Clone)]
pub struct Object {
    /// The ELF file itself.
    pub image: Image,
    /// Which source line each address belongs to.
    pub lines: LineTable,
    /// The functions, inlined copies included.
    pub functions: Functions,
}
