//! Where a structure has a member.

use super::units::{Space, Value};
use gimli::AttributeValue;
use gimli::constants as dw;

/// More entries than this are not looked at.
const MAX_ENTRIES: usize = 1 << 20;

/// How many bytes behind the beginning of `structure` its `member` lies, in a unit of one of these names.
pub(super) fn offset(space: &Space<'_>, units: &[&str], structure: &str, member: &str) -> Option<u64> {
    let is_one = |name: &[u8]| units.iter().any(|unit| unit.as_bytes() == name);
    let units = space.units.iter().filter(|unit| unit.dwarf.name.is_some_and(|name| is_one(name.slice())));
    units.map(|unit| in_unit(space, &unit.dwarf, structure, member)).find_map(|found| found.ok().flatten())
}

fn in_unit(
    space: &Space<'_>,
    unit: &gimli::Unit<super::units::Slice<'_>>,
    structure: &str,
    member: &str,
) -> gimli::Result<Option<u64>> {
    let is_called = |value: Option<Value<'_>>, name: &str| {
        let text = value.and_then(|value| space.dwarf.attr_string(unit, value).ok());
        text.is_some_and(|text| text.slice() == name.as_bytes())
    };
    let mut entries = unit.entries();
    // Whether the entries below are members of it, and at what depth.
    let mut inside = None;
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = entries.next_dfs()? else { break };
        let (depth, tag) = (entry.depth(), entry.tag());
        if inside.is_some_and(|outer| depth <= outer) {
            inside = None;
        }
        if tag == dw::DW_TAG_structure_type && is_called(entry.attr_value(dw::DW_AT_name), structure) {
            inside = Some(depth);
        } else if inside.is_some() && tag == dw::DW_TAG_member && is_called(entry.attr_value(dw::DW_AT_name), member) {
            let at = entry.attr_value(dw::DW_AT_data_member_location);
            return Ok(at.and_then(|value: AttributeValue<_>| value.udata_value()));
        }
    }
    Ok(None)
}
