//! The files whose code a process has mapped.

use super::AttachError;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file that a process has mapped executable.
#[derive(Debug)]
pub struct MappedObject {
    /// Its path in the process's own view, which need not be the agent's; it may have been deleted.
    pub path: PathBuf,
    /// The very file, whatever its path now names.
    pub file: File,
}

/// What a process has mapped executable.
#[derive(Debug, Default)]
pub struct MappedObjects {
    /// The files, each once, by path.
    pub objects: Vec<MappedObject>,
    /// Those that could not be opened, and why.
    pub missed: Vec<(PathBuf, io::Error)>,
}

/// A line of /proc/PID/maps.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    /// The addresses as they are written.
    range: &'a str,
    executable: bool,
    inode: u64,
    path: &'a OsStr,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut rest = line;
        let mut field = || {
            let start = rest.iter().position(|&byte| byte != b' ')?;
            let text = rest.get(start..)?;
            let end = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
            let (field, after) = text.split_at_checked(end)?;
            rest = after;
            std::str::from_utf8(field).ok()
        };
        let (range, permissions) = (field()?, field()?);
        let (_offset, _device) = (field()?, field()?);
        let inode = field()?.parse().ok()?;
        let start = rest.iter().position(|&byte| byte != b' ').unwrap_or(rest.len());
        let path = rest.get(start..).unwrap_or_default();
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        Some(Self {
            range,
            executable: permissions.as_bytes().get(2) == Some(&b'x'),
            inode,
            path: OsStr::from_bytes(path),
        })
    }
}

/// The file of the mapping at `address` in process `pid`, as the process sees its path.
pub(super) fn at(pid: u32, address: u64) -> io::Result<Option<PathBuf>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    let holds = |mapping: &Mapping<'_>| {
        let ends = mapping.range.split_once('-').map(|(from, to)| [from, to].map(|end| u64::from_str_radix(end, 16)));
        matches!(ends, Some([Ok(from), Ok(to)]) if (from..to).contains(&address))
    };
    let mut mappings = maps.split(|&byte| byte == b'\n').filter_map(Mapping::parse);
    Ok(mappings.find(holds).map(|mapping| PathBuf::from(mapping.path)))
}

/// Whether process `pid` has the file of this inode mapped; with `executable`, as code.
pub(super) fn maps_inode(pid: u32, inode: u64, executable: bool) -> io::Result<bool> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    let mut mappings = maps.split(|&byte| byte == b'\n').filter_map(Mapping::parse);
    Ok(mappings.any(|mapping| mapping.inode == inode && (mapping.executable || !executable)))
}

/// The files that process `pid` has mapped executable.
///
/// # Errors
/// If the process has ended or may not be looked into.
pub fn objects(pid: u32) -> Result<MappedObjects, AttachError> {
    let maps = fs::read(format!("/proc/{pid}/maps")).map_err(AttachError::system(pid, "reading its mappings"))?;
    let mut found = BTreeMap::new();
    let mut missed = Vec::new();
    for mapping in maps.split(|&byte| byte == b'\n').filter_map(Mapping::parse) {
        // Without an inode it is no file.
        if !mapping.executable || mapping.inode == 0 {
            continue;
        }
        let path = PathBuf::from(mapping.path);
        match open(pid, &mapping).and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, file)) => {
                found.entry((metadata.dev(), metadata.ino())).or_insert(MappedObject { path, file });
            }
            Err(error) => missed.push((path, error)),
        }
    }
    let mut objects: Vec<_> = found.into_values().collect();
    objects.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(MappedObjects { objects, missed })
}

/// Opens a mapped file: by its mapping, which leads to the very file; where that is not allowed (it
/// takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE), by its path in the process's own view, if that
/// still leads to the same inode.
fn open(pid: u32, mapping: &Mapping<'_>) -> io::Result<File> {
    // Low addresses are padded with zeros there, and not here.
    let range: Vec<&str> = mapping.range.split('-').map(|end| end.trim_start_matches('0')).collect();
    File::open(format!("/proc/{pid}/map_files/{}", range.join("-"))).or_else(|error| {
        let path = mapping.path.as_bytes().strip_prefix(b"/").ok_or(error)?;
        let file = File::open(Path::new(&format!("/proc/{pid}/root")).join(OsStr::from_bytes(path)))?;
        if file.metadata()?.ino() == mapping.inode { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let parse = |line: &'static str| Mapping::parse(line.as_bytes());
        let line = "7f1bca83a000-7f1bca83c000 r-xp 00036000 fd:01 2895508                    /usr/lib/a b.so (deleted)";
        let expected = Mapping {
            range: "7f1bca83a000-7f1bca83c000",
            executable: true,
            inode: 2_895_508,
            path: OsStr::new("/usr/lib/a b.so"),
        };
        assert_eq!(parse(line), Some(expected));
        let anonymous = parse("7ffd6fbea000-7ffd6fbec000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!((anonymous.executable, anonymous.inode, anonymous.path), (false, 0, OsStr::new("")));
        assert_eq!(parse("7f1bca5f9000-7f1bca601000 r-xp"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_program_is_among_its_own_mappings() {
        let MappedObjects { objects, .. } = objects(std::process::id()).unwrap();
        let own = fs::metadata("/proc/self/exe").unwrap();
        let own = objects.iter().filter(|object| object.file.metadata().unwrap().ino() == own.ino()).count();
        assert_eq!(own, 1);
        assert!(objects.iter().any(|object| object.path.to_string_lossy().contains("libc.so")));
        assert!(objects.is_sorted_by_key(|object| &object.path));
    }
}
