//! The units of one file's `.debug_info`.

use super::error::Note;
use super::paths::PathId;
use super::scopes::Scopes;
use gimli::constants as dw;
use gimli::{
    AttributeValue, DebugAbbrev, DebugAbbrevOffset, EndianSlice, LittleEndian, Section as _, UnitHeader, UnitType,
};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A view of section bytes.
pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
/// An attribute's value.
pub(super) type Value<'a> = AttributeValue<Slice<'a>>;

/// Section content as gimli reads it.
pub(super) fn view(section: &impl AsRef<[u8]>) -> Slice<'_> {
    EndianSlice::new(section.as_ref(), LittleEndian)
}

/// The longest path that Linux knows (`PATH_MAX`).
pub(super) const MAX_PATH: usize = 4096;
/// Mangled names of template-heavy C++ reach tens of thousands of bytes.
pub(super) const MAX_NAME: usize = 1 << 16;

/// One compilation, partial or skeleton unit.
pub(super) struct Unit<'a> {
    pub(super) dwarf: gimli::Unit<Slice<'a>>,
    /// Where it lies in `.debug_info`.
    pub(super) range: Range<usize>,
    /// `DW_AT_stmt_list`.
    pub(super) line_offset: Option<usize>,
    /// `DW_AT_dwo_name`: its entries are in another file.
    pub(super) dwo_name: Option<Slice<'a>>,
    /// `DW_AT_language`.
    pub(super) language: Option<gimli::DwLang>,
    /// Qualified names, once somebody asks for one.
    pub(super) scopes: OnceLock<Scopes>,
    /// The paths of its line table's files, by DWARF file number; `None` where it has no line table.
    pub(super) files: Option<Arc<[PathId]>>,
}

impl Unit<'_> {
    /// How a note names it.
    pub(super) fn title(&self) -> String {
        match self.dwarf.name.or(self.dwo_name) {
            Some(name) if !name.is_empty() => super::elf::text(name.slice()),
            _ => format!("unit at {:#x}", self.range.start),
        }
    }
}

/// All units of one file.
pub(super) struct Space<'a> {
    pub(super) dwarf: gimli::Dwarf<Slice<'a>>,
    /// By rising offset.
    pub(super) units: Vec<Unit<'a>>,
}

impl<'a> Space<'a> {
    /// Reads every unit's root. Units that cannot be read are left out, with a note.
    pub(super) fn read(dwarf: gimli::Dwarf<Slice<'a>>, notes: &mut Vec<Note>) -> Self {
        let mut headers = Vec::new();
        let mut iter = dwarf.units();
        loop {
            match iter.next() {
                Ok(Some(header)) => match header.type_() {
                    UnitType::Type { .. } | UnitType::SplitType { .. } => {} // types have no code
                    _ => headers.push(header),
                },
                Ok(None) => break,
                Err(error) => {
                    let message = format!("left out, with all that follow it: {error}");
                    notes.push(Note { unit: format!("unit number {}", headers.len() + 1), message });
                    break;
                }
            }
        }
        let tables = abbreviations(&dwarf.debug_abbrev, &headers);
        let read: Vec<_> = headers
            .into_par_iter()
            .map(|header| {
                let start = header.debug_info_offset().map_or(0, |o| o.0);
                let unit = read_unit(&dwarf, header, &tables);
                unit.map_err(|e| Note { unit: format!("unit at {start:#x}"), message: format!("left out: {e}") })
            })
            .collect();
        let mut units = Vec::with_capacity(read.len());
        for unit in read {
            match unit {
                Ok(unit) => units.push(unit),
                Err(note) => notes.push(note),
            }
        }
        Self { dwarf, units }
    }

    /// The unit that holds an offset of `.debug_info`.
    pub(super) fn unit_at(&self, offset: usize) -> Option<usize> {
        let after = self.units.partition_point(|u| u.range.start <= offset);
        let index = after.checked_sub(1)?;
        self.units.get(index).filter(|u| u.range.contains(&offset)).map(|_| index)
    }

    /// The string of an attribute, if it is not longer than `limit`. Reading stops there: a hostile
    /// file may have one endless string that every entry names.
    pub(super) fn string(&self, unit: &gimli::Unit<Slice<'a>>, value: Value<'a>, limit: usize) -> Option<Slice<'a>> {
        string(&self.dwarf, unit, value, limit)
    }
}

fn string<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    value: Value<'a>,
    limit: usize,
) -> Option<Slice<'a>> {
    let (section, offset) = match value {
        AttributeValue::String(string) => return (string.len() <= limit).then_some(string),
        AttributeValue::DebugStrRef(offset) => (dwarf.debug_str.reader(), offset.0),
        AttributeValue::DebugLineStrRef(offset) => (dwarf.debug_line_str.reader(), offset.0),
        AttributeValue::DebugStrRefSup(offset) => (dwarf.sup()?.debug_str.reader(), offset.0),
        AttributeValue::DebugStrOffsetsIndex(index) => {
            (dwarf.debug_str.reader(), dwarf.string_offset(unit, index).ok()?.0)
        }
        _ => return None,
    };
    let rest = section.slice().get(offset..)?;
    let rest = rest.get(..limit + 1).unwrap_or(rest);
    let len = rest.iter().position(|&b| b == 0)?;
    Some(EndianSlice::new(rest.get(..len)?, LittleEndian))
}

type Tables = BTreeMap<usize, gimli::Result<Arc<gimli::Abbreviations>>>;

/// Every abbreviation table once. A table ends before the next one begins: so a hostile file cannot
/// have each of its units read all of one big section.
fn abbreviations<'a>(section: &DebugAbbrev<Slice<'a>>, headers: &[UnitHeader<Slice<'a>>]) -> Tables {
    let mut starts: Vec<usize> = headers.iter().map(|h| h.debug_abbrev_offset().0).collect();
    starts.sort_unstable();
    starts.dedup();
    let all = section.reader().slice();
    let ends = starts.iter().skip(1).copied().chain([all.len()]);
    let spans: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
    spans
        .into_par_iter()
        .map(|(start, end)| {
            let part = DebugAbbrev::new(all.get(..end).unwrap_or(all), LittleEndian);
            (start, part.abbreviations(DebugAbbrevOffset(start)).map(Arc::new))
        })
        .collect()
}

/// Reads a unit's root entry. gimli's own `Unit::new` also parses the line table's header, once for
/// every unit that names it; here that is done once for each table.
fn read_unit<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    header: UnitHeader<Slice<'a>>,
    tables: &Tables,
) -> gimli::Result<Unit<'a>> {
    let abbreviations = match tables.get(&header.debug_abbrev_offset().0) {
        Some(table) => table.clone()?,
        None => return Err(gimli::Error::MissingUnitDie),
    };
    let start = header.debug_info_offset().map_or(0, |o| o.0);
    let range = start..start.saturating_add(header.length_including_self());
    let encoding = header.encoding();
    let mut unit = gimli::Unit {
        abbreviations,
        name: None,
        comp_dir: None,
        low_pc: 0,
        str_offsets_base: gimli::DebugStrOffsetsBase::default_for_encoding_and_file(encoding, dwarf.file_type),
        addr_base: gimli::DebugAddrBase(0),
        loclists_base: gimli::DebugLocListsBase::default_for_encoding_and_file(encoding, dwarf.file_type),
        rnglists_base: gimli::DebugRngListsBase::default_for_encoding_and_file(encoding, dwarf.file_type),
        line_program: None,
        dwo_id: match header.type_() {
            UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
            _ => None,
        },
        header,
    };
    let mut cursor = unit.header.entries(&unit.abbreviations);
    cursor.next_dfs()?;
    let root = cursor.current().ok_or(gimli::Error::MissingUnitDie)?.clone();
    let mut line_offset = None;
    let (mut name, mut comp_dir, mut low_pc, mut dwo_name, mut language) = (None, None, None, None, None);
    for attr in root.attrs() {
        match (attr.name(), attr.value()) {
            (dw::DW_AT_name, value) => name = Some(value),
            (dw::DW_AT_comp_dir, value) => comp_dir = Some(value),
            (dw::DW_AT_low_pc, value) => low_pc = Some(value),
            (dw::DW_AT_dwo_name | dw::DW_AT_GNU_dwo_name, value) => dwo_name = Some(value),
            (dw::DW_AT_language, AttributeValue::Language(value)) => language = Some(value),
            (dw::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) => line_offset = Some(offset.0),
            (dw::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => unit.str_offsets_base = base,
            (dw::DW_AT_addr_base | dw::DW_AT_GNU_addr_base, AttributeValue::DebugAddrBase(base)) => {
                unit.addr_base = base;
            }
            (dw::DW_AT_rnglists_base | dw::DW_AT_GNU_ranges_base, AttributeValue::DebugRngListsBase(base)) => {
                unit.rnglists_base = base;
            }
            (dw::DW_AT_GNU_dwo_id, AttributeValue::DwoId(id)) => unit.dwo_id = unit.dwo_id.or(Some(id)),
            _ => {}
        }
    }
    // Only now: strings and addresses may be given by index, relative to the bases.
    unit.name = name.and_then(|value| string(dwarf, &unit, value, MAX_PATH));
    unit.comp_dir = comp_dir.and_then(|value| string(dwarf, &unit, value, MAX_PATH));
    if let Some(value) = low_pc
        && let Ok(Some(address)) = dwarf.attr_address(&unit, value)
    {
        unit.low_pc = address;
    }
    let dwo_name = dwo_name.and_then(|value| string(dwarf, &unit, value, MAX_PATH));
    Ok(Unit { dwarf: unit, range, line_offset, dwo_name, language, scopes: OnceLock::new(), files: None })
}
