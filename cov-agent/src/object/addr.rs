//! The three address spaces. They coincide in simple binaries, so a mix-up would pass simple tests:
//! each has a type of its own, and conversion happens in one place, `Image`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An address as the linker assigned it: ELF `p_vaddr`, symbol values, DWARF addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LinkAddr(pub u64);

/// A byte position in the object file: what uprobes are registered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct FileOffset(pub u64);

/// An address in a running process, after relocation by the load bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RuntimeAddr(pub u64);

impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for FileOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A half-open range of link addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AddrRange {
    /// The first address inside.
    pub start: LinkAddr,
    /// The first address past the end.
    pub end: LinkAddr,
}

impl AddrRange {
    /// Whether `addr` lies inside.
    #[must_use]
    pub fn contains(self, addr: LinkAddr) -> bool {
        self.start <= addr && addr < self.end
    }

    /// The length in bytes; 0 for an inverted range.
    #[must_use]
    pub fn len(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether nothing lies inside.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Sorts `ranges`, and drops empty ones and joins those that touch or overlap.
    pub fn normalize(ranges: &mut Vec<Self>) {
        ranges.retain(|r| !r.is_empty());
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joined = next.start <= kept.end;
            if joined {
                kept.end = kept.end.max(next.end);
            }
            joined
        });
    }
}
