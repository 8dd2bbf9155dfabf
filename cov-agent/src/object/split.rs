//! Split DWARF: the line tables stay in the program, the entries are in `.dwo` files or in one
//! `.dwp` package (DWARF 5, section 7.3; for DWARF 4 GCC's `DebugFission`).

use super::budget::Budget;
use super::mapped::Mapped;
use super::paths::{join, to_path};
use super::search::{DebugSearch, Looked, Places};
use super::sections;
use super::units::{Slice, Space, Unit, view};
use super::{Note, ObjectError, elf};
use gimli::{DwarfPackage, DwoId};
use std::path::{Path, PathBuf};

/// Where the entries of skeleton units are looked for.
pub(super) struct Split<'s, 'a> {
    pub(super) search: &'s DebugSearch,
    pub(super) budget: &'s Budget,
    /// The object, and its separate debug file.
    pub(super) files: &'s [PathBuf],
    pub(super) package: Option<(&'s Path, &'s DwarfPackage<Slice<'a>>)>,
}

/// Opens the package of an object or of its debug file, if there is one.
pub(super) fn map_package(files: &[PathBuf], search: &DebugSearch) -> Option<(PathBuf, Mapped)> {
    files.iter().find_map(|file| {
        let mut name = file.clone().into_os_string();
        name.push(".dwp");
        let name = PathBuf::from(name);
        search.map(&name, &mut Vec::new()).map(|file| (name, file))
    })
}

impl Split<'_, '_> {
    /// Gives `read` the entries of `skeleton`, a unit of `main` that refers to them by `name`. If
    /// they are not found, or not readable, the result is a note.
    pub(super) fn with_entries<T>(
        &self,
        main: &Space<'_>,
        skeleton: &Unit<'_>,
        name: &[u8],
        read: impl Fn(&Space<'_>, usize) -> T,
    ) -> Result<T, Note> {
        let note = |message: String| Note { unit: skeleton.title(), message };
        let id = skeleton.dwarf.dwo_id.ok_or_else(|| note("its functions are left out: it has no DWO id".into()))?;
        let mut looked = Vec::new();
        if let Some((path, package)) = self.package {
            let found = match package.find_cu(id, &relocated(main)) {
                Ok(Some(dwarf)) => entries(dwarf, skeleton, id),
                Ok(None) => Err("not in it".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match found {
                Ok((space, unit)) => return Ok(read(&space, unit)),
                Err(why) => looked.push(Looked { path: path.to_path_buf(), why }),
            }
        }
        for place in self.places(skeleton, name) {
            let Some(file) = self.search.map(&place, &mut looked) else { continue };
            match self.read_file(&file, main, skeleton, id, &read) {
                Ok(result) => return Ok(result),
                Err(why) => looked.push(Looked { path: place, why }),
            }
        }
        Err(note(format!("its functions are left out: looked for them in {}", Places(&looked))))
    }

    fn read_file<T>(
        &self,
        file: &Mapped,
        main: &Space<'_>,
        skeleton: &Unit<'_>,
        id: DwoId,
        read: impl Fn(&Space<'_>, usize) -> T,
    ) -> Result<T, String> {
        let words = |error: ObjectError| error.to_string();
        let elf = elf::parse(file.as_ref(), elf::Kind::Debug).map_err(words)?;
        let sections = sections::load(&elf, true).map_err(words)?;
        let mut dwarf = sections.borrow(view);
        self.budget.allow(sections::length(&dwarf));
        dwarf.make_dwo(&relocated(main));
        let (space, unit) = entries(dwarf, skeleton, id)?;
        Ok(read(&space, unit))
    }

    /// Where a `.dwo` file may be: where the compiler wrote it, beside the object, in the extra directories.
    fn places(&self, skeleton: &Unit<'_>, name: &[u8]) -> Vec<PathBuf> {
        let mut built = Vec::new();
        join(&mut built, skeleton.dwarf.comp_dir.map_or(&[][..], |d| d.slice()));
        join(&mut built, name);
        let mut places = vec![to_path(&built)];
        let name = to_path(name);
        let short = name.file_name().map(PathBuf::from).unwrap_or_default();
        for dir in self.files.iter().filter_map(|f| f.parent()).chain(self.search.dirs.iter().map(PathBuf::as_path)) {
            places.push(dir.join(&name));
            places.push(dir.join(&short));
        }
        let mut seen = std::collections::HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        places
    }
}

/// The sections that the linker relocates, and which for that stay in the main file.
fn relocated<'d>(main: &Space<'d>) -> gimli::Dwarf<Slice<'d>> {
    gimli::Dwarf { debug_addr: main.dwarf.debug_addr, ranges: main.dwarf.ranges, ..gimli::Dwarf::default() }
}

/// The units of a `.dwo` file, and which of them is `skeleton`'s. What the skeleton knows and they
/// need is copied to them: bases, and the files of the line table.
fn entries<'d>(dwarf: gimli::Dwarf<Slice<'d>>, skeleton: &Unit<'_>, id: DwoId) -> Result<(Space<'d>, usize), String> {
    let mut notes = Vec::new();
    let mut space = Space::read(dwarf, &mut notes);
    let Some(index) = space.units.iter().position(|u| u.dwarf.dwo_id == Some(id)) else {
        return Err(match notes.first() {
            Some(note) => note.to_string(),
            None => "another DWO id".to_owned(),
        });
    };
    if let Some(unit) = space.units.get_mut(index) {
        unit.dwarf.low_pc = skeleton.dwarf.low_pc;
        unit.dwarf.addr_base = skeleton.dwarf.addr_base;
        if unit.dwarf.header.version() < 5 {
            unit.dwarf.rnglists_base = skeleton.dwarf.rnglists_base;
        }
        unit.files.clone_from(&skeleton.files);
    }
    Ok((space, index))
}
