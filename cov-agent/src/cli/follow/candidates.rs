//! Libraries that may be loaded later, found by their names before anybody loads them.

use crate::cli::setup::Setup;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No longer than this is looked, so that a start does not wait for a whole disk.
const PATIENCE: Duration = Duration::from_millis(300);
/// More libraries than this are not watched.
const MAX_CANDIDATES: usize = 1 << 14;
/// Variables that name directories below which libraries lie.
const VARIABLES: [&str; 4] = ["LD_LIBRARY_PATH", "PYTHONPATH", "NODE_PATH", "VIRTUAL_ENV"];

/// What was found.
#[derive(Debug, Default)]
pub(in crate::cli) struct Candidates {
    /// The libraries, by path: a big tree has more of them than a process may have files open.
    pub libraries: Vec<PathBuf>,
    /// The directories that were looked in, with all below them.
    pub roots: Vec<PathBuf>,
    /// Whether the time was too short, or there were too many.
    pub incomplete: bool,
}

impl Candidates {
    /// Looks below the directory whose sources are measured, beside the program, and where the environment says.
    pub(in crate::cli) fn find(setup: &Setup, program: Option<&Path>) -> Self {
        // The nearest first: the time may not suffice for all.
        let mut roots = vec![setup.directory.clone()];
        let beside = program.and_then(Path::parent).filter(|directory| !is_of_the_system(directory));
        roots.extend(beside.map(Path::to_owned));
        let variables = VARIABLES.iter().filter_map(std::env::var_os);
        let named = variables.flat_map(|value| std::env::split_paths(&value).collect::<Vec<_>>());
        roots.extend(named.filter(|path| path.is_absolute() && !is_of_the_system(path)));
        roots.push(setup.root());
        Self::below(roots)
    }

    /// Looks below some directories.
    pub(in crate::cli) fn below(roots: Vec<PathBuf>) -> Self {
        let begun = Instant::now();
        let mut found = Self { libraries: Vec::new(), roots, incomplete: false };
        let mut seen = BTreeSet::new();
        let mut directories = found.roots.clone();
        directories.reverse();
        while let Some(directory) = directories.pop() {
            if !seen.insert(directory.clone()) {
                continue;
            }
            if begun.elapsed() > PATIENCE || found.libraries.len() >= MAX_CANDIDATES {
                found.incomplete = true;
                break;
            }
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() && entry.file_name() != ".git" {
                    directories.push(entry.path());
                } else if kind.is_file() && is_library(&entry.file_name()) {
                    found.libraries.push(entry.path());
                }
            }
        }
        found
    }
}

/// Whether a file is a library by its name.
pub(super) fn is_library(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".so") || name.ends_with(b".node") || name.windows(4).any(|part| part == b".so.")
}

/// Whether a directory holds more than what belongs to one program.
fn is_of_the_system(directory: &Path) -> bool {
    directory == Path::new("/")
        || ["/bin", "/sbin", "/lib", "/lib64", "/usr", "/etc", "/proc", "/sys", "/dev"]
            .iter()
            .any(|system| directory.starts_with(system))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn libraries_have_their_names() {
        for name in ["libx.so", "libx.so.1.2", "_x.cpython-311-x86_64-linux-gnu.so", "addon.node"] {
            assert!(is_library(OsStr::new(name)), "{name}");
        }
        for name in ["x.c", "also", "x.sox", "so", "x.so~"] {
            assert!(!is_library(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn they_are_found_below_each_root_once() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("a/b");
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir(directory.path().join(".git")).unwrap();
        for name in ["libx.so", "a/b/y.node", "a/x.c", ".git/z.so"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let found = Candidates::below(vec![inside, directory.path().to_owned()]);
        assert!(!found.incomplete);
        let sizes: BTreeSet<u64> = found.libraries.iter().map(|path| fs::metadata(path).unwrap().size()).collect();
        assert_eq!((found.libraries.len(), sizes), (2, BTreeSet::from([7, 10])));
        assert!(is_of_the_system(Path::new("/")) && is_of_the_system(Path::new("/usr/bin")));
        assert!(!is_of_the_system(Path::new("/home/x")));
    }
}
