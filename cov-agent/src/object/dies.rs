//! Functions out of the entries of `.debug_info`: their machine-code copies.

use super::budget::Budget;
use super::code::CodeMap;
use super::error::Note;
use super::names::{self, Described, Facts, Names, World};
use super::paths::PathId;
use super::units::{Unit, Value};
use super::{AddrRange, LinkAddr, ObjectError};
use gimli::AttributeValue;
use gimli::constants as dw;

/// One copy. Files are path ids, parents are counted within the unit.
pub(super) struct RawCopy {
    pub(super) function: Described,
    /// Where the call of an inlined copy stands.
    pub(super) call: Option<(PathId, u32)>,
    /// `DW_AT_artificial` of the function itself, not of its declaration: implicit constructors have that.
    pub(super) artificial: bool,
    pub(super) entry: LinkAddr,
    pub(super) ranges: Vec<AddrRange>,
    /// The copy it is inlined into; `None` for a function of its own.
    pub(super) parent: Option<u32>,
}

/// Collects the copies of the functions of unit `index` of `world`'s main file.
pub(super) fn copies(
    world: &World<'_, '_>,
    index: usize,
    code: &CodeMap,
    budget: &Budget,
) -> Result<(Vec<RawCopy>, Option<Note>), ObjectError> {
    let Some(unit) = world.main.units.get(index) else { return Ok((Vec::new(), None)) };
    let mut walk = Walk { world, index, unit, code, budget, names: Names::new(world, budget), copies: Vec::new() };
    let note = match walk.run() {
        Ok(()) => None,
        Err(Stop::Unit(error)) => {
            let message = format!("the rest of its functions are left out: {error}");
            Some(Note { unit: unit.title(), message })
        }
        Err(Stop::Object(error)) => return Err(error),
    };
    Ok((walk.copies, note))
}

/// What ends a walk early: damage in this unit, or something that spoils the whole object.
enum Stop {
    Unit(gimli::Error),
    Object(ObjectError),
}

impl From<gimli::Error> for Stop {
    fn from(error: gimli::Error) -> Self {
        Self::Unit(error)
    }
}

impl From<ObjectError> for Stop {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

struct Walk<'w, 'a> {
    world: &'w World<'w, 'a>,
    index: usize,
    unit: &'w Unit<'a>,
    code: &'w CodeMap,
    budget: &'w Budget,
    names: Names<'w, 'a>,
    copies: Vec<RawCopy>,
}

/// The attributes of one function entry that say where its code is.
#[derive(Default)]
struct Extent<'a> {
    low: Option<Value<'a>>,
    high: Option<Value<'a>>,
    ranges: Option<Value<'a>>,
}

/// The attributes of an inlined copy that say where its call stands.
#[derive(Default)]
struct Call<'a> {
    file: Option<Value<'a>>,
    line: Option<Value<'a>>,
}

impl<'a> Walk<'_, 'a> {
    /// Goes through the unit's entries in their order. Depth is counted, not recursed into.
    fn run(&mut self) -> Result<(), Stop> {
        // The function entries that enclose the current one: their depth, and their copy if they have code.
        let mut enclosing: Vec<(isize, Option<u32>)> = Vec::new();
        let mut entries = self.unit.dwarf.entries_raw(None)?;
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let offset = entries.next_offset().0;
            let Some(abbrev) = entries.read_abbreviation()? else { continue };
            while enclosing.last().is_some_and(|&(d, _)| d >= depth) {
                enclosing.pop();
            }
            let inlined = match abbrev.tag() {
                dw::DW_TAG_subprogram => false,
                dw::DW_TAG_inlined_subroutine => true,
                _ => {
                    entries.skip_attributes(abbrev.attributes())?;
                    continue;
                }
            };
            let mut extent = Extent::default();
            let mut call = Call::default();
            let (mut artificial, mut method) = (false, false);
            let mut facts = Facts::default();
            for &spec in abbrev.attributes() {
                let attr = entries.read_attribute(spec)?;
                match attr.name() {
                    dw::DW_AT_low_pc => extent.low = Some(attr.value()),
                    dw::DW_AT_high_pc => extent.high = Some(attr.value()),
                    dw::DW_AT_ranges => extent.ranges = Some(attr.value()),
                    // A lambda is artificial as well, but somebody wrote it.
                    dw::DW_AT_object_pointer => method = true,
                    dw::DW_AT_artificial => artificial = attr.value() == AttributeValue::Flag(true),
                    dw::DW_AT_call_file => call.file = Some(attr.value()),
                    dw::DW_AT_call_line => call.line = Some(attr.value()),
                    name => facts.note(name, attr.value()),
                }
            }
            let parent = enclosing.last().and_then(|&(_, copy)| copy);
            let mut copy = None;
            // Code inlined into a function that is not there is not there either.
            if !inlined || parent.is_some() {
                let (ranges, first) = self.ranges(&extent)?;
                if let Some(entry) = first {
                    let function = self.names.describe(&facts, self.index, offset)?;
                    copy = u32::try_from(self.copies.len()).ok();
                    let call = self.call(&call).filter(|_| inlined);
                    let artificial = artificial && !method;
                    self.copies.push(RawCopy {
                        function,
                        call,
                        artificial,
                        entry,
                        ranges,
                        parent: parent.filter(|_| inlined),
                    });
                }
            }
            if abbrev.has_children() {
                enclosing.push((depth, copy));
            }
        }
        Ok(())
    }

    fn call(&self, call: &Call<'a>) -> Option<(PathId, u32)> {
        let line = u32::try_from(call.line?.udata_value()?).ok().filter(|&line| line != 0)?;
        Some((names::path(self.unit, call.file?)?, line))
    }

    /// The code of an entry, without what the linker dropped, and the range that is told first, where
    /// compilers begin with the hot part. A list that cannot be read has none.
    fn ranges(&self, extent: &Extent<'a>) -> Result<(Vec<AddrRange>, Option<LinkAddr>), ObjectError> {
        let dwarf = &self.world.main.dwarf;
        let unit = &self.unit.dwarf;
        let mut ranges = Vec::new();
        let mut add = |start: u64, end: u64| {
            if self.code.holds(LinkAddr(start), LinkAddr(end)) {
                ranges.push(AddrRange { start: LinkAddr(start), end: LinkAddr(end) });
            }
        };
        if let Some(list) = extent.ranges {
            if let Ok(Some(mut list)) = dwarf.attr_ranges(unit, list) {
                while let Ok(Some(range)) = list.next() {
                    self.budget.spend(size_of::<AddrRange>())?;
                    add(range.begin, range.end);
                }
            }
        } else if let (Some(low), Some(high)) = (extent.low, extent.high)
            && let Ok(Some(start)) = dwarf.attr_address(unit, low)
        {
            let end = match high {
                AttributeValue::Udata(len) => start.checked_add(len),
                address => dwarf.attr_address(unit, address).ok().flatten(),
            };
            self.budget.spend(size_of::<RawCopy>())?;
            if let Some(end) = end {
                add(start, end);
            }
        }
        let first = ranges.first().map(|r| r.start);
        AddrRange::normalize(&mut ranges);
        Ok((ranges, first))
    }
}
