//! Finding an object's debug info: in the object, by build-id, by `.gnu_debuglink`; and the
//! supplementary file that `dwz` makes (`.gnu_debugaltlink`).
//!
//! The places are those of gdb ("Debugging Information in Separate Files").

use super::elf::{Elf, text};
use super::mapped::Mapped;
use super::paths::to_path;
use super::search::{DebugOrigin, DebugSearch, Looked};
use super::{Note, ObjectError};
use object::{Object as _, ObjectSection as _};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where debug info is.
pub(super) struct Located {
    /// The separate file; `None` if the object itself has debug info.
    pub(super) file: Option<Mapped>,
    pub(super) origin: DebugOrigin,
}

/// Finds the debug info of the object at `path`.
pub(super) fn locate(path: &Path, elf: &Elf<'_>, search: &DebugSearch) -> Result<Located, ObjectError> {
    if has_lines(elf) {
        return Ok(Located { file: None, origin: DebugOrigin::Embedded });
    }
    let mut looked = vec![Looked { path: path.to_path_buf(), why: String::new() }];
    let id = build_id(elf);
    for place in id.iter().flat_map(|id| build_id_places(search, id)) {
        let found = search.map_debug(&place, &mut looked, |_, debug| {
            if build_id(debug) != id {
                return Err("another build-id");
            }
            if has_lines(debug) { Ok(()) } else { Err("no debug info in it") }
        });
        if let Some(file) = found {
            return Ok(Located { file: Some(file), origin: DebugOrigin::BuildId(place) });
        }
    }
    let Ok(Some((link, crc))) = elf.gnu_debuglink() else {
        return Err(ObjectError::NoDebugInfo { looked_in: looked });
    };
    for place in link_places(path, link, search) {
        let found = search.map_debug(&place, &mut looked, |bytes, debug| {
            if id.is_some() && build_id(debug).is_some() && build_id(debug) != id {
                return Err("another build-id");
            }
            if crc32fast::hash(bytes) != crc {
                return Err("its checksum is not that in .gnu_debuglink");
            }
            if has_lines(debug) { Ok(()) } else { Err("no debug info in it") }
        });
        if let Some(file) = found {
            return Ok(Located { file: Some(file), origin: DebugOrigin::DebugLink(place) });
        }
    }
    Err(ObjectError::DebugFileMissing { link: text(link), looked_in: looked })
}

/// Finds the supplementary file of the debug info in `elf`, which lies at `path`. Without it names
/// are missing: a note says so.
pub(super) fn supplementary(path: &Path, elf: &Elf<'_>, search: &DebugSearch, notes: &mut Vec<Note>) -> Option<Mapped> {
    let (link, id) = elf.gnu_debugaltlink().ok()??;
    let link_path = to_path(link);
    // A relative link starts at the file that has it, wherever symbolic links to it are.
    let mut places = match path.canonicalize() {
        Ok(real) => vec![real.with_file_name(&link_path)],
        Err(_) => vec![path.with_file_name(&link_path)],
    };
    places.extend(build_id_places(search, id));
    if let Some(name) = link_path.file_name() {
        places.extend(search.dirs.iter().map(|dir| dir.join(".dwz").join(name)));
    }
    let mut looked = Vec::new();
    let right = |_: &[u8], sup: &Elf<'_>| match build_id(sup) {
        Some(found) if found == id => Ok(()),
        _ => Err("another build-id"),
    };
    let found = places.iter().find_map(|place| search.map_debug(place, &mut looked, right));
    if found.is_none() {
        let message = format!(
            "its supplementary file {} was not found, names of functions and files may be missing: looked in {}",
            link_path.display(),
            super::search::Places(&looked)
        );
        notes.push(Note { unit: path.display().to_string(), message });
    }
    found
}

/// Whether there is a line table.
fn has_lines(elf: &Elf<'_>) -> bool {
    elf.section_by_name(".debug_line").is_some_and(|s| s.size() > 0 && s.file_range().is_some())
}

fn build_id<'a>(elf: &Elf<'a>) -> Option<&'a [u8]> {
    elf.build_id().ok().flatten().filter(|id| !id.is_empty())
}

fn build_id_places(search: &DebugSearch, id: &[u8]) -> Vec<PathBuf> {
    let Some((first, rest)) = id.split_first() else { return Vec::new() };
    let hex: String = rest.iter().map(|b| format!("{b:02x}")).collect();
    let name = format!("{first:02x}/{hex}.debug");
    search.dirs.iter().map(|dir| dir.join(".build-id").join(&name)).collect()
}

/// Beside the object, below `.debug` there, and below the directories for debug files; for the
/// object's directory as it was given and as it is called without symbolic links.
fn link_places(path: &Path, link: &[u8], search: &DebugSearch) -> Vec<PathBuf> {
    if link.contains(&b'/') || link.is_empty() || link == b".." {
        return Vec::new(); // it is a name, not a path
    }
    let name = OsStr::from_bytes(link);
    let given = path.parent().unwrap_or(Path::new(""));
    let real = path.canonicalize().ok().and_then(|p| p.parent().map(Path::to_path_buf));
    let mut places = Vec::new();
    for dir in [Some(given.to_path_buf()), real].into_iter().flatten() {
        places.push(dir.join(name));
        places.push(dir.join(".debug").join(name));
        if let Ok(below) = dir.strip_prefix("/") {
            places.extend(search.dirs.iter().map(|root| root.join(below).join(name)));
        }
    }
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| place != path && seen.insert(place.clone()));
    places
}
