//! The ELF image: segments, code bytes, symbols and unwind tables.

use super::{AddrRange, Bytes, FileOffset, LinkAddr};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Which object this is: the build-id where there is one, else a hash of the content.
///
/// Device and inode are only where an object was seen, never what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectId {
    /// The GNU build-id note.
    BuildId(Vec<u8>),
    /// A SHA-256 of the file, for an object without build-id.
    Content([u8; 32]),
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::BuildId(id) => id,
            Self::Content(hash) => {
                f.write_str("sha256:")?;
                hash
            }
        };
        bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// One `PT_LOAD` segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in memory; only the bytes that the file has (`p_filesz`).
    pub range: AddrRange,
    /// Where these bytes lie in the file.
    pub offset: FileOffset,
    /// Whether it is executable (`PF_X`).
    pub executable: bool,
    /// Whether it is writable (`PF_W`).
    pub writable: bool,
}

/// A `STT_FUNC` or `STT_GNU_IFUNC` symbol that is defined in this object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Its name, mangled.
    pub name: String,
    /// Its code; empty where the size is unknown.
    pub range: AddrRange,
}

/// One frame description entry of `.eh_frame`: a contiguous piece of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fde {
    /// The code it describes.
    pub range: AddrRange,
    /// Its call sites with a landing pad (the LSDA, `.gcc_except_table`).
    pub landing_pads: Vec<LandingPad>,
    /// Whether it has an LSDA that could not be read: every address may then be a landing pad.
    pub lsda_unreadable: bool,
}

/// One entry of an LSDA call-site table that has a landing pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandingPad {
    /// The instructions that may throw.
    pub call_site: AddrRange,
    /// Where control goes then.
    pub pad: LinkAddr,
}

/// An ELF image: what is needed to find, decode and probe its code.
#[derive(Clone)]
pub struct Image {
    /// Where it was opened.
    pub path: PathBuf,
    /// Which object it is.
    pub id: ObjectId,
    /// Whether its addresses move when it is loaded (`ET_DYN`).
    pub relocatable: bool,
    /// `PT_LOAD` segments by rising address.
    pub segments: Vec<Segment>,
    /// Where code is: executable sections in executable segments, by rising address, not overlapping.
    pub code: Vec<AddrRange>,
    /// The entry point, `DT_INIT`, `DT_FINI`, initialisers and finalisers; sorted.
    pub entries: Vec<LinkAddr>,
    /// Function symbols of `.symtab` and `.dynsym`, of the separate debug file too, by rising address.
    pub symbols: Vec<Symbol>,
    /// Functions by the address of the PLT entry that calls them, sorted. A resolver's own name stands
    /// for what a `STT_GNU_IFUNC` resolves to.
    pub plt: Vec<(LinkAddr, String)>,
    /// Symbols by the address of the GOT slot that the dynamic linker writes their address to, sorted:
    /// code compiled with `-fno-plt`, and Rust, calls through them (`call *slot(%rip)`).
    pub got: Vec<(LinkAddr, String)>,
    /// `.eh_frame` entries by rising address.
    pub fdes: Vec<Fde>,
    /// Code addresses that dynamic relocations mention, sorted: function pointers, computed gotos,
    /// jump tables. In a program that is linked to a fixed address, every aligned word of data that
    /// looks like a code address: some are not, and need not be the start of an instruction.
    pub relocation_targets: Vec<LinkAddr>,
    /// The file's bytes as read(2) sees them, never with the breakpoints of armed probes.
    pub bytes: Bytes,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Image {
    /// The segment that holds `addr`.
    #[must_use]
    pub fn segment_at(&self, addr: LinkAddr) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.range.start <= addr);
        self.segments.get(..after)?.iter().rev().find(|s| s.range.contains(addr))
    }

    /// Whether `addr` lies in code.
    #[must_use]
    pub fn is_code(&self, addr: LinkAddr) -> bool {
        let after = self.code.partition_point(|r| r.start <= addr);
        after.checked_sub(1).and_then(|n| self.code.get(n)).is_some_and(|r| r.contains(addr))
    }

    /// The name of a symbol that begins at `addr`.
    #[must_use]
    pub fn symbol_at(&self, addr: LinkAddr) -> Option<&str> {
        let first = self.symbols.partition_point(|s| s.range.start < addr);
        self.symbols.get(first).filter(|s| s.range.start == addr).map(|s| s.name.as_str())
    }

    /// Where the byte at `addr` lies in the file.
    #[must_use]
    pub fn file_offset(&self, addr: LinkAddr) -> Option<FileOffset> {
        let segment = self.segment_at(addr)?;
        Some(FileOffset(segment.offset.0.checked_add(addr.0 - segment.range.start.0)?))
    }

    /// Where the byte at `offset` in the file is loaded, as code if it is loaded more than once.
    #[must_use]
    pub fn link_addr(&self, offset: FileOffset) -> Option<LinkAddr> {
        let at = |s: &Segment| Some(LinkAddr(s.range.start.0.checked_add(offset.0.checked_sub(s.offset.0)?)?));
        let mut held =
            self.segments.iter().filter_map(|s| Some((s.executable, at(s).filter(|&a| s.range.contains(a))?)));
        held.clone().find(|(executable, _)| *executable).or_else(|| held.next()).map(|(_, addr)| addr)
    }

    /// The bytes from `addr` to the end of its segment's file content.
    #[must_use]
    pub fn bytes_from(&self, addr: LinkAddr) -> Option<&[u8]> {
        let segment = self.segment_at(addr)?;
        let start = usize::try_from(self.file_offset(addr)?.0).ok()?;
        let len = usize::try_from(segment.range.end.0 - addr.0).ok()?;
        let all = (*self.bytes).as_ref();
        all.get(start..start.checked_add(len)?.min(all.len()))
    }

    /// The bytes of `range`, if all of them lie in one segment.
    #[must_use]
    pub fn bytes_of(&self, range: AddrRange) -> Option<&[u8]> {
        self.bytes_from(range.start)?.get(..usize::try_from(range.len()).ok()?)
    }
}
