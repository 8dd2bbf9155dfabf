//! Data files of coverage.py that appear while a suite runs under it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells one content of a file from another: inode, length, time of the last change.
type Stamp = (u64, u64, i64, i64);

/// The data files that were there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFiles {
    /// Where coverage.py writes: directory and name, to which it adds more for parallel runs.
    places: Vec<PathBuf>,
    before: BTreeMap<PathBuf, Stamp>,
}

impl DataFiles {
    /// Notes what is there now at `places`: paths such as `/project/.coverage`.
    #[must_use]
    pub fn new(places: Vec<PathBuf>) -> Self {
        let before = look(&places);
        Self { places, before }
    }

    /// The files that have appeared or changed since.
    #[must_use]
    pub fn appeared(&self) -> Vec<PathBuf> {
        let now = look(&self.places).into_iter();
        now.filter(|(path, stamp)| self.before.get(path) != Some(stamp)).map(|(path, _)| path).collect()
    }
}

fn look(places: &[PathBuf]) -> BTreeMap<PathBuf, Stamp> {
    let mut found = BTreeMap::new();
    for place in places {
        let (Some(directory), Some(name)) = (place.parent(), place.file_name()) else { continue };
        let name = name.to_string_lossy();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let other = entry.file_name();
            let rest = other.to_str().and_then(|other| other.strip_prefix(&*name));
            // `.coverage` and `.coverage.HOST.PID.RANDOM`, but not `.coveragerc`; no journals of SQLite.
            let is_data = rest.is_some_and(|rest| {
                rest.is_empty() || (rest.starts_with('.') && !rest.ends_with("-journal") && rest != ".toml")
            });
            let Some(metadata) = is_data.then(|| fs::symlink_metadata(entry.path()).ok()).flatten() else { continue };
            if metadata.is_file() {
                let stamp = (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
                found.insert(Path::new(directory).join(other), stamp);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_changed_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write(".coverage", "a");
        write(".coverage.old", "a");
        let files = DataFiles::new(vec![dir.path().join(".coverage")]);
        assert!(files.appeared().is_empty());
        write(".coverage", "ab");
        for name in [".coverage.host.1.Xabcx", ".coveragerc", ".coverage.x-journal", "coverage.xml"] {
            write(name, "");
        }
        let names: Vec<_> = files.appeared().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, [".coverage", ".coverage.host.1.Xabcx"]);
    }
}
