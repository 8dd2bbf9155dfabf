//! Where members lie in the kernel's structures, from its own type description
//! (`/sys/kernel/btf/vmlinux`; Documentation/bpf/btf.rst in the kernel's source).
//!
//! One pass over the headers of all types finds what the agent needs in a few milliseconds; building
//! a model of all 100 000 types takes twenty times as long.

use memmap2::MmapOptions;
use std::fs::{self, File};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// How deep structures without a name are looked into.
const MAX_DEPTH: u32 = 8;

/// The running kernel's types.
pub(super) struct KernelTypes {
    bytes: Bytes,
    strings: usize,
    /// Where each type begins, by type id less one.
    types: Vec<u32>,
}

type Bytes = Box<dyn AsRef<[u8]>>;

/// A structure or union.
#[derive(Clone, Copy)]
struct Structure {
    /// Where its members begin.
    members: usize,
    count: usize,
    size: u32,
    /// Whether members may be bit fields: then offsets have another form.
    bit_fields: bool,
}

impl KernelTypes {
    /// Reads the running kernel's types. `None` if it does not describe them.
    pub(super) fn of_running_kernel() -> Option<Self> {
        let file = File::open(VMLINUX).ok()?;
        // SAFETY: the kernel's description of itself does not change while it runs.
        #[expect(unsafe_code, reason = "reading five megabytes page by page takes longer than all else")]
        // A shared mapping is refused, even one to read.
        let mapped = unsafe { MmapOptions::new().map_copy_read_only(&file) };
        // Kernels before 6.16 do not let it be mapped at all.
        Self::parse(match mapped {
            Ok(mapped) => Box::new(mapped),
            Err(_) => Box::new(fs::read(VMLINUX).ok()?),
        })
    }

    fn parse(all: Bytes) -> Option<Self> {
        const MAGIC: u32 = 0xeb9f;
        let bytes = (*all).as_ref();
        if word(bytes, 0)? & 0xffff != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let first = header.checked_add(word(bytes, 8)? as usize)?;
        let end = first.checked_add(word(bytes, 12)? as usize)?.min(bytes.len());
        let strings = header.checked_add(word(bytes, 16)? as usize)?;
        let mut types = Vec::with_capacity((end.saturating_sub(first)) / 24);
        let mut at = first;
        while at < end {
            types.push(u32::try_from(at).ok()?);
            let info = word(bytes, at + 4)?;
            at += 12 + tail(info >> 24 & 31, info as usize & 0xffff)?;
        }
        Some(Self { bytes: all, strings, types })
    }

    fn word(&self, at: usize) -> Option<u32> {
        word((*self.bytes).as_ref(), at)
    }

    /// The byte offset of `member` in the structure `name`.
    pub(super) fn offset(&self, name: &str, member: &str) -> Option<u32> {
        self.structures(name).find_map(|structure| self.member(structure, member, MAX_DEPTH)).map(|bits| bits / 8)
    }

    /// The size in bytes of the structure `name`.
    pub(super) fn size(&self, name: &str) -> Option<u32> {
        self.structures(name).next().map(|structure| structure.size)
    }

    fn structures(&self, name: &str) -> impl Iterator<Item = Structure> {
        self.types.iter().filter_map(move |&at| {
            let structure = self.structure(at as usize)?;
            self.is_called(self.word(at as usize)?, name).then_some(structure)
        })
    }

    fn structure(&self, at: usize) -> Option<Structure> {
        let info = self.word(at + 4)?;
        matches!(info >> 24 & 31, STRUCT | UNION).then_some(Structure {
            members: at + 12,
            count: info as usize & 0xffff,
            size: self.word(at + 8)?,
            bit_fields: info >> 31 == 1,
        })
    }

    /// The bit offset of a member, also of one inside members without a name.
    fn member(&self, structure: Structure, name: &str, depth: u32) -> Option<u32> {
        (0..structure.count).find_map(|index| {
            let at = structure.members + 12 * index;
            let name_offset = self.word(at)?;
            let offset = self.word(at + 8)? & if structure.bit_fields { 0xff_ffff } else { u32::MAX };
            if self.is_called(name_offset, name) {
                return Some(offset);
            }
            if name_offset != 0 || depth == 0 {
                return None;
            }
            let inner = *self.types.get((self.word(at + 4)? as usize).checked_sub(1)?)?;
            self.member(self.structure(inner as usize)?, name, depth - 1)?.checked_add(offset)
        })
    }

    fn is_called(&self, name_offset: u32, name: &str) -> bool {
        let rest = (*self.bytes).as_ref().get(self.strings + name_offset as usize..).unwrap_or_default();
        rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The bytes that follow the three words every type begins with; `None` for an unknown kind.
fn tail(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,                       // integer, variable, declaration tag
        2 | 7..=12 | 16 | 18 => 0,              // pointer, forward, typedef, qualifiers, function, float, type tag
        3 => 12,                                // array
        STRUCT | UNION | 15 | 19 => 12 * count, // data section, 64-bit enumeration
        6 | 13 => 8 * count,                    // enumeration, function prototype
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { u32 first; union { u32 inner; }; u32 last:3; }`, written by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0first\0inner\0last\0";
        let types: &[u32] = &[
            // 1: int
            0,
            1 << 24,
            4,
            32,
            // 2: union of 1 member without a name
            0,
            UNION << 24 | 1,
            4,
            13,
            1,
            0,
            // 3: struct of 3 members, with a bit field
            1,
            1 << 31 | STRUCT << 24 | 3,
            12,
            7,
            1,
            0,
            0,
            2,
            32,
            19,
            1,
            3 << 24 | 64,
        ];
        let mut bytes = Vec::new();
        let type_bytes = u32::try_from(types.len() * 4).unwrap();
        let header = [0x0001_eb9f, 24, 0, type_bytes, type_bytes, u32::try_from(strings.len()).unwrap()];
        bytes.extend(header.iter().chain(types).flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_also_inside_nameless_ones() {
        let types = KernelTypes::parse(Box::new(sample())).unwrap();
        assert_eq!(types.offset("outer", "first"), Some(0));
        assert_eq!(types.offset("outer", "inner"), Some(4));
        assert_eq!(types.offset("outer", "last"), Some(8));
        assert_eq!(types.size("outer"), Some(12));
        assert_eq!(types.offset("outer", "firs"), None);
        assert_eq!(types.offset("oute", "first"), None);
    }

    proptest! {
        #[test]
        fn damage_does_no_harm(at in 0usize..140, byte: u8, cut in 0usize..140) {
            let mut bytes = sample();
            if let Some(old) = bytes.get_mut(at) { *old = byte; }
            bytes.truncate(cut.max(24));
            if let Some(types) = KernelTypes::parse(Box::new(bytes)) {
                let _ = (types.offset("outer", "inner"), types.size("outer"));
            }
        }
    }
}
