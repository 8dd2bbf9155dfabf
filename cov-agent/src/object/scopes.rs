//! Names qualified by what encloses them, for functions without a linkage name: static functions and
//! lambdas of g++, nested functions.

use super::ObjectError;
use super::budget::Budget;
use super::elf::text;
use super::units::{MAX_NAME, Slice, Space, Unit};
use gimli::constants as dw;
use gimli::{AttributeValue, UnitOffset};
use std::collections::HashMap;
use std::sync::Arc;

/// The qualified name of each function of a unit that has a name, by its entry's offset in the unit.
pub(super) type Scopes = HashMap<usize, Arc<str>>;

/// Whether names of functions are whole as they are in the unit's language.
pub(super) fn has_no_scopes(unit: &Unit<'_>) -> bool {
    matches!(
        unit.language,
        Some(
            dw::DW_LANG_C
                | dw::DW_LANG_C89
                | dw::DW_LANG_C99
                | dw::DW_LANG_C11
                | dw::DW_LANG_C17
                | dw::DW_LANG_Go
                | dw::DW_LANG_Mips_Assembler
        )
    )
}

/// Goes through a unit once. Damage ends the walk: what is found until there is good.
pub(super) fn read<'a>(space: &Space<'a>, unit: &Unit<'a>, budget: &Budget) -> Result<Scopes, ObjectError> {
    let mut scopes = Scopes::new();
    let mut enclosing: Vec<(isize, Arc<str>)> = Vec::new();
    let Ok(mut entries) = unit.dwarf.entries_raw(None) else { return Ok(scopes) };
    let mut entry = gimli::DebuggingInformationEntry::null();
    while !entries.is_empty() {
        match entries.read_entry(&mut entry) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => break,
        }
        let is_function = match entry.tag() {
            dw::DW_TAG_subprogram => true,
            dw::DW_TAG_namespace
            | dw::DW_TAG_class_type
            | dw::DW_TAG_structure_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_interface_type => false,
            _ => continue,
        };
        while enclosing.last().is_some_and(|&(depth, _)| depth >= entry.depth()) {
            enclosing.pop();
        }
        let own = entry.attr_value(dw::DW_AT_name).and_then(|v| space.string(&unit.dwarf, v, MAX_NAME));
        let origin = entry.attr_value(dw::DW_AT_specification).or(entry.attr_value(dw::DW_AT_abstract_origin));
        let full = match (own, origin) {
            (Some(own), _) => qualify(enclosing.last().map(|(_, name)| &**name), own),
            // A definition outside of its class is called what its declaration is called.
            (None, Some(AttributeValue::UnitRef(UnitOffset(at)))) => scopes.get(&at).cloned(),
            (None, _) if entry.tag() == dw::DW_TAG_namespace => qualify(
                enclosing.last().map(|(_, name)| &**name),
                Slice::new(b"(anonymous namespace)", gimli::LittleEndian),
            ),
            (None, _) => None,
        };
        let Some(full) = full else { continue };
        budget.spend(full.len())?;
        if is_function {
            scopes.insert(entry.offset().0, Arc::clone(&full));
        }
        if entry.has_children() {
            enclosing.push((entry.depth(), full));
        }
    }
    Ok(scopes)
}

fn qualify(scope: Option<&str>, name: Slice<'_>) -> Option<Arc<str>> {
    let name = text(name.slice());
    match scope {
        None => Some(name.into()),
        Some(scope) if scope.len() + name.len() <= MAX_NAME => Some(format!("{scope}::{name}").into()),
        Some(_) => None,
    }
}
