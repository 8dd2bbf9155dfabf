//! DWARF sections, unpacked where they are compressed.

use super::ObjectError;
use super::elf::Elf;
use super::units::Slice;
use gimli::{DwarfPackageSections, DwarfSections, Section as _, SectionId};
use object::read::elf::ElfSection64;
use object::{CompressionFormat, LittleEndian as LE, Object as _, ObjectSection as _};
use std::borrow::Cow;

/// The sections of one file: views of the mapped file, or unpacked.
pub(super) type Sections<'a> = DwarfSections<Cow<'a, [u8]>>;

/// The sections of a `.dwp` file.
pub(super) type PackageSections<'a> = DwarfPackageSections<Cow<'a, [u8]>>;

/// No real debug section shrinks more than this when it is compressed.
const MAX_RATIO: u64 = 100;
/// Unless it is small.
const SMALL: u64 = 1 << 20;

/// Loads what line tables and functions need. `dwo` sections have names of their own.
pub(super) fn load<'a>(elf: &Elf<'a>, dwo: bool) -> Result<Sections<'a>, ObjectError> {
    DwarfSections::load(|id| {
        let name = if dwo { id.dwo_name() } else { Some(id.name()) };
        load_one(elf, name.filter(|_| is_needed(id)))
    })
}

/// Loads a package of `.dwo` files.
pub(super) fn load_package<'a>(elf: &Elf<'a>) -> Result<PackageSections<'a>, ObjectError> {
    // All of them: a package's index describes each unit's part of every section.
    DwarfPackageSections::load(|id| load_one(elf, id.dwo_name()))
}

fn load_one<'a>(elf: &Elf<'a>, name: Option<&str>) -> Result<Cow<'a, [u8]>, ObjectError> {
    match name.and_then(|name| elf.section_by_name(name)) {
        Some(section) => unpack(&section),
        None => Ok(Cow::Borrowed(&[][..])),
    }
}

/// How much debug info there is, in bytes.
pub(super) fn length(dwarf: &gimli::Dwarf<Slice<'_>>) -> u64 {
    let sections = [
        dwarf.debug_info.reader(),
        dwarf.debug_line.reader(),
        dwarf.debug_str.reader(),
        dwarf.ranges.debug_ranges().reader(),
        dwarf.ranges.debug_rnglists().reader(),
    ];
    sections.iter().map(|s| s.len() as u64).sum()
}

fn is_needed(id: SectionId) -> bool {
    matches!(
        id,
        SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugInfo
            | SectionId::DebugLine
            | SectionId::DebugLineStr
            | SectionId::DebugStr
            | SectionId::DebugStrOffsets
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
    )
}

/// A section's content. A size that a hostile file announces is not believed.
pub(super) fn unpack<'a>(section: &ElfSection64<'a, '_, LE>) -> Result<Cow<'a, [u8]>, ObjectError> {
    let bad = |e: object::Error| {
        ObjectError::CorruptDebugInfo(format!("{}: {e}", String::from_utf8_lossy(section.name_bytes().unwrap_or(b"?"))))
    };
    let compressed = section.compressed_data().map_err(bad)?;
    if compressed.format != CompressionFormat::None {
        let limit = (compressed.data.len() as u64).saturating_mul(MAX_RATIO).max(SMALL);
        if compressed.uncompressed_size > limit {
            return Err(ObjectError::TooBig { what: "bytes in a compressed section", limit });
        }
    }
    compressed.decompress().map_err(bad)
}
