//! What functions are called and where they are declared: often told by another entry, in another
//! unit, or in a supplementary file (`dwz`).

use super::ObjectError;
use super::budget::Budget;
use super::elf::text;
use super::paths::PathId;
use super::programs::NO_PATH;
use super::scopes;
use super::units::{MAX_NAME, Slice, Space, Unit, Value};
use gimli::constants as dw;
use gimli::{AttributeValue, DwAt, UnitOffset};
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that entries can refer to.
pub(super) struct World<'w, 'a> {
    /// The file whose functions are read.
    pub(super) main: &'w Space<'a>,
    /// The supplementary file that `dwz` moved common entries to.
    pub(super) sup: Option<&'w Space<'a>>,
}

impl<'w, 'a> World<'w, 'a> {
    fn space(&self, place: &Place) -> Option<&'w Space<'a>> {
        if place.sup { self.sup } else { Some(self.main) }
    }
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    sup: bool,
    unit: usize,
    offset: usize,
}

/// How many entries away a name may be: concrete, abstract, declaration; and some to spare.
const MAX_HOPS: usize = 8;

/// What a function is called and where it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// Its linkage name, else its name qualified by what encloses it.
    pub(super) name: Arc<str>,
    /// Whether `name` is a linkage name.
    pub(super) linkage: bool,
    /// What its declaration calls it, which is the same for all its copies. The linkage name of a
    /// constructor, for one, is only there what a copy is called.
    pub(super) declared: Arc<str>,
    /// Where it is declared.
    pub(super) decl: Option<(PathId, u32)>,
}

/// What the entries on the way to a description say; the nearest entry is right.
#[derive(Default)]
pub(super) struct Facts<'a> {
    linkage_name: Option<Value<'a>>,
    name: Option<Value<'a>>,
    file: Option<Value<'a>>,
    line: Option<u32>,
    next: Option<Value<'a>>,
}

impl<'a> Facts<'a> {
    /// Takes note of an attribute, if it is one of those that matter here.
    pub(super) fn note(&mut self, name: DwAt, value: Value<'a>) {
        match name {
            dw::DW_AT_linkage_name | dw::DW_AT_MIPS_linkage_name => self.linkage_name = Some(value),
            dw::DW_AT_name => self.name = Some(value),
            dw::DW_AT_decl_file => self.file = Some(value),
            dw::DW_AT_decl_line => self.line = value.udata_value().and_then(|l| u32::try_from(l).ok()),
            dw::DW_AT_abstract_origin | dw::DW_AT_specification => self.next = Some(value),
            _ => {}
        }
    }

    fn says_nothing(&self) -> bool {
        self.linkage_name.is_none() && self.name.is_none() && self.file.is_none() && self.line.is_none()
    }
}

/// Looks descriptions up, and remembers them.
pub(super) struct Names<'w, 'a> {
    world: &'w World<'w, 'a>,
    budget: &'w Budget,
    known: HashMap<Place, Described>,
}

impl<'w, 'a> Names<'w, 'a> {
    pub(super) fn new(world: &'w World<'w, 'a>, budget: &'w Budget) -> Self {
        Self { world, budget, known: HashMap::new() }
    }

    /// The description of the function whose own entry, at `offset` in unit `unit` of the main file,
    /// says `facts`.
    pub(super) fn describe(&mut self, facts: &Facts<'a>, unit: usize, offset: usize) -> Result<Described, ObjectError> {
        let here = Place { sup: false, unit, offset };
        let origin = facts.next.and_then(|value| self.world.target(&here, value));
        match origin {
            // Every inlined copy of a function says only which function it is.
            Some(origin) if facts.says_nothing() => {
                if let Some(known) = self.known.get(&origin) {
                    return Ok(known.clone());
                }
                let described = self.follow(&Facts::default(), here, Some(origin))?;
                self.known.insert(origin, described.clone());
                Ok(described)
            }
            _ => self.follow(facts, here, origin),
        }
    }

    fn follow(&self, facts: &Facts<'a>, here: Place, next: Option<Place>) -> Result<Described, ObjectError> {
        let mut found = Found::default();
        found.add(self.world, &here, facts);
        let mut next = next;
        for _ in 0..MAX_HOPS {
            let Some(place) = next else { break };
            let Some(facts) = self.world.read(&place) else { break };
            found.add(self.world, &place, &facts);
            next = facts.next.and_then(|value| self.world.target(&place, value));
        }
        let linkage = found.linkage_name.is_some();
        let name = match found.linkage_name {
            Some(name) => text(name.slice()).into(),
            None => self.qualified(&found)?,
        };
        let declared = match found.declared {
            Some(declared) if found.linkage_name != Some(declared) => text(declared.slice()).into(),
            _ => Arc::clone(&name),
        };
        self.budget.spend(name.len() + declared.len())?;
        let decl = found.file.zip(found.line).filter(|&(_, line)| line != 0);
        Ok(Described { name, linkage, declared, decl })
    }

    /// The plain name that was found, qualified by what encloses the entry that has it.
    fn qualified(&self, found: &Found<'a>) -> Result<Arc<str>, ObjectError> {
        let Some((name, place)) = found.name else { return Ok("".into()) };
        if let Some(space) = self.world.space(&place)
            && let Some(unit) = space.units.get(place.unit)
            && !scopes::has_no_scopes(unit)
        {
            let scopes = match unit.scopes.get() {
                Some(scopes) => scopes,
                None => {
                    let read = scopes::read(space, unit, self.budget)?;
                    unit.scopes.get_or_init(|| read)
                }
            };
            if let Some(full) = scopes.get(&place.offset) {
                return Ok(Arc::clone(full));
            }
        }
        Ok(text(name.slice()).into())
    }
}

/// What was found on the way.
#[derive(Default)]
struct Found<'a> {
    linkage_name: Option<Slice<'a>>,
    /// The linkage name that is farthest away.
    declared: Option<Slice<'a>>,
    name: Option<(Slice<'a>, Place)>,
    file: Option<PathId>,
    line: Option<u32>,
}

impl<'a> Found<'a> {
    /// Adds what the entry at `place` says and none before it did. A definition whose declaration is
    /// in the same file says only its own line.
    fn add(&mut self, world: &World<'_, 'a>, place: &Place, facts: &Facts<'a>) {
        let Some(space) = world.space(place) else { return };
        let Some(unit) = space.units.get(place.unit) else { return };
        let string = |value: Value<'a>| space.string(&unit.dwarf, value, MAX_NAME);
        self.declared = facts.linkage_name.and_then(string).or(self.declared);
        self.linkage_name = self.linkage_name.or(self.declared);
        self.name = self.name.or_else(|| Some((facts.name.and_then(string)?, *place)));
        self.line = self.line.or(facts.line);
        self.file = self.file.or_else(|| path(unit, facts.file?));
    }
}

/// The file that an attribute (`DW_AT_decl_file`, `DW_AT_call_file`) of an entry of `unit` names.
pub(super) fn path(unit: &Unit<'_>, value: Value<'_>) -> Option<PathId> {
    let number = match value {
        AttributeValue::FileIndex(number) => number,
        value => value.udata_value()?,
    };
    if number == 0 && unit.dwarf.header.version() <= 4 {
        return None; // "no file"
    }
    let path = *unit.files.as_ref()?.get(usize::try_from(number).ok()?)?;
    (path != NO_PATH).then_some(path)
}

impl<'a> World<'_, 'a> {
    /// The entry that a reference in an entry of `from`'s unit names.
    fn target(&self, from: &Place, value: Value<'a>) -> Option<Place> {
        let (sup, offset) = match value {
            AttributeValue::UnitRef(UnitOffset(offset)) => return Some(Place { offset, ..*from }),
            AttributeValue::DebugInfoRef(offset) => (from.sup, offset.0),
            AttributeValue::DebugInfoRefSup(offset) => (true, offset.0),
            _ => return None,
        };
        let space = if sup { self.sup? } else { self.main };
        let unit = space.unit_at(offset)?;
        Some(Place { sup, unit, offset: offset.checked_sub(space.units.get(unit)?.range.start)? })
    }

    fn read(&self, place: &Place) -> Option<Facts<'a>> {
        let unit = self.space(place)?.units.get(place.unit)?;
        let mut entries = unit.dwarf.entries_raw(Some(UnitOffset(place.offset))).ok()?;
        let abbrev = entries.read_abbreviation().ok()??;
        let mut facts = Facts::default();
        for &spec in abbrev.attributes() {
            let attr = entries.read_attribute(spec).ok()?;
            facts.note(attr.name(), attr.value());
        }
        Some(facts)
    }
}
