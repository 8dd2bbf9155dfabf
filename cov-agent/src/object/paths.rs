//! Source files: paths as DWARF gives them, joined, each kept once.

use super::SourceFile;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Index of a path in a [`Paths`]. Not a `FileId`: those are given out at the end, to the files that are used.
pub(super) type PathId = u32;

/// All source paths of an object, and whether they are wanted.
pub(super) struct Paths<'w> {
    wanted: &'w super::Wanted<'w>,
    ids: HashMap<Vec<u8>, PathId>,
    entries: Vec<Entry>,
}

struct Entry {
    file: SourceFile,
    wanted: bool,
}

impl<'w> Paths<'w> {
    pub(super) fn new(wanted: &'w super::Wanted<'w>) -> Self {
        Self { wanted, ids: HashMap::new(), entries: Vec::new() }
    }

    /// The id of a joined path. Of different checksums for one path the first stays.
    pub(super) fn intern(&mut self, path: &[u8], md5: Option<[u8; 16]>) -> PathId {
        if let Some(&id) = self.ids.get(path) {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                entry.file.md5 = entry.file.md5.or(md5);
            }
            return id;
        }
        let id = PathId::try_from(self.entries.len()).unwrap_or(PathId::MAX);
        let file = SourceFile { path: to_path(path), md5 };
        let wanted = (self.wanted)(&file.path);
        self.entries.push(Entry { file, wanted });
        self.ids.insert(path.to_vec(), id);
        id
    }

    pub(super) fn is_wanted(&self, id: PathId) -> bool {
        self.entries.get(id as usize).is_some_and(|e| e.wanted)
    }

    /// The files for which `used` holds, by path, and for every id its place among them.
    pub(super) fn select(self, used: &[bool]) -> (Vec<SourceFile>, Vec<u32>) {
        let mut chosen: Vec<(usize, SourceFile)> = self
            .entries
            .into_iter()
            .map(|e| e.file)
            .enumerate()
            .filter(|(n, _)| used.get(*n).copied().unwrap_or(false))
            .collect();
        chosen.sort_by(|a, b| a.1.path.cmp(&b.1.path));
        let mut places = vec![u32::MAX; used.len()];
        for ((old, _), new) in chosen.iter().zip(0..) {
            if let Some(place) = places.get_mut(*old) {
                *place = new;
            }
        }
        (chosen.into_iter().map(|(_, file)| file).collect(), places)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Bytes of a path as a path.
pub(super) fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// Appends `part` to `path`, which it replaces if it is absolute, and folds `.`, `..` and empty
/// components without asking the file system: symbolic links of the machine that compiled are not here.
pub(super) fn join(path: &mut Vec<u8>, part: &[u8]) {
    if part.starts_with(b"/") {
        path.clear();
        path.push(b'/');
    }
    for component in part.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => pop(path),
            _ => push(path, component),
        }
    }
}

fn push(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() && path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

fn pop(path: &mut Vec<u8>) {
    if path == b"/" {
        return; // the root is its own parent
    }
    if path.is_empty() || path == b".." || path.ends_with(b"/..") {
        push(path, b"..");
        return;
    }
    match path.iter().rposition(|&b| b == b'/') {
        Some(0) => path.truncate(1),
        Some(n) => path.truncate(n),
        None => path.clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(parts: &[&str]) -> String {
        let mut path = Vec::new();
        parts.iter().for_each(|p| join(&mut path, p.as_bytes()));
        String::from_utf8(path).unwrap()
    }

    #[test]
    fn joins_and_folds() {
        assert_eq!(joined(&["/a/b", "src", "x.c"]), "/a/b/src/x.c");
        assert_eq!(joined(&["/a/b", "../src/./", "x.c"]), "/a/src/x.c");
        assert_eq!(joined(&["/a/b", "/usr/include", "stdio.h"]), "/usr/include/stdio.h");
        assert_eq!(joined(&["/a", "../../..", "x.c"]), "/x.c");
        assert_eq!(joined(&["a", "../..", "x.c"]), "../x.c");
        assert_eq!(joined(&["", "../..", "../x.c"]), "../../../x.c");
        assert_eq!(joined(&["/", "x.c"]), "/x.c");
        assert_eq!(joined(&["", "x.c"]), "x.c");
        assert_eq!(joined(&["/a//b///", "./x.c"]), "/a/b/x.c");
    }

    #[test]
    fn keeps_each_path_once_and_the_first_checksum() {
        let mut paths = Paths::new(&|p| p.ends_with("b.c"));
        let a = paths.intern(b"/a.c", None);
        let b = paths.intern(b"/b.c", Some([1; 16]));
        assert_eq!(paths.intern(b"/a.c", Some([2; 16])), a);
        assert_eq!(paths.intern(b"/b.c", Some([3; 16])), b);
        assert!(!paths.is_wanted(a) && paths.is_wanted(b));
        let (files, places) = paths.select(&[false, true]);
        assert_eq!(files, [SourceFile { path: "/b.c".into(), md5: Some([1; 16]) }]);
        assert_eq!(places, [u32::MAX, 0]);
    }
}
