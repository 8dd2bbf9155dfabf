//! Python files that a project has, imported or not.

use super::{is_python, is_third_party};
use std::fs;
use std::path::{Path, PathBuf};

/// Directories below this depth are no part of a project.
const MAX_DEPTH: usize = 64;

/// The files below `directory` that a program could import, as coverage.py finds those of a `source`: with a name that
/// can be a module's, in packages that have an `__init__.py`. What cannot be read is passed over. `keep` says which files
/// are wanted.
#[must_use]
pub fn importable(directory: &Path, keep: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(directory, 0, keep, &mut found);
    found.sort();
    found
}

fn walk(directory: &Path, depth: usize, keep: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    if depth > 0 && (depth > MAX_DEPTH || !directory.join("__init__.py").is_file()) {
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // Of links none is followed to a directory: it may lead round in a circle.
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if kind.is_dir() {
            walk(&path, depth + 1, keep, found);
        } else if is_module(&entry.file_name().to_string_lossy())
            && !is_third_party(&path.to_string_lossy())
            && path.is_file()
            && keep(&path)
        {
            found.push(path);
        }
    }
}

/// Whether a file of this name can be imported: editors leave others beside it.
fn is_module(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    is_python(name) && !stem.is_empty() && !stem.contains(|c| ".#~!$@%^&*()+=,".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_packages_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.py", "b.pyw", "c.txt", ".#d.py", "p/__init__.py", "p/e.py", "p/q/f.py", "r/g.py", "p/out.py"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("p/again")).unwrap();
        let found = importable(dir.path(), &|path| !path.ends_with("out.py"));
        let found: Vec<_> = found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["a.py", "b.pyw", "p/__init__.py", "p/e.py"]);
    }
}
