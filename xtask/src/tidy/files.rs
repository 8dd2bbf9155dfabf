//! Rules about single files.

use anyhow::Result;
use std::path::{Path, PathBuf};

/// Longer than this, and a source file holds more than one concept.
const MAX_LINES: usize = 400;

/// Files that may be longer, each with the reason.
const LONGER: &[(&str, usize, &str)] = &[];

pub(super) fn check(files: &[PathBuf], faults: &mut Vec<String>) -> Result<()> {
    for file in files {
        let bytes = std::fs::read(file)?;
        machine_paths(file, &bytes, faults);
        if file.extension().is_some_and(|e| e == "rs") && !file.starts_with("tests/fixtures") {
            length(file, &bytes, faults);
        }
    }
    for (name, _, _) in LONGER {
        if !files.iter().any(|file| file == Path::new(name)) {
            faults.push(format!("{name} may be longer, but is not there"));
        }
    }
    Ok(())
}

fn length(file: &Path, bytes: &[u8], faults: &mut Vec<String>) {
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let allowed = LONGER.iter().find(|(name, _, _)| file == Path::new(name)).map_or(MAX_LINES, |(_, lines, _)| *lines);
    if lines > allowed {
        faults.push(format!("{}: {lines} lines, more than {allowed}: split it", file.display()));
    }
}

/// Directories of the machine where something was built tell nobody else anything, and make builds
/// differ. Binary files count too.
fn machine_paths(file: &Path, bytes: &[u8], faults: &mut Vec<String>) {
    // Put together here, so that this file does not contain them.
    for root in ["work", "root"] {
        let path = format!("/{root}/");
        if let Some(at) = find(bytes, path.as_bytes()) {
            let line = bytes[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
            faults.push(format!("{}:{line}: a path of one machine: {path}…", file.display()));
        }
    }
}

/// Where `path` begins, neither preceded by a part of another path nor by a drive letter.
fn find(bytes: &[u8], path: &[u8]) -> Option<usize> {
    let starts = bytes.windows(path.len()).enumerate().filter(|(_, window)| *window == path).map(|(at, _)| at);
    let mut whole = starts.filter(|&at| match bytes[..at] {
        [.., drive, b':'] => !drive.is_ascii_uppercase(),
        [.., last] => !last.is_ascii_alphanumeric() && !matches!(last, b'.' | b'_' | b'-' | b'}' | b'*'),
        [] => true,
    });
    whole.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_machine_paths_and_no_others() {
        let mut faults = Vec::new();
        machine_paths(Path::new("a"), format!("x\nsee /{}/x", "work").as_bytes(), &mut faults);
        assert_eq!(faults, [format!("a:2: a path of one machine: /{}/…", "work")]);
        faults.clear();
        machine_paths(Path::new("a"), b"src/work/x /workspace/ C:/work/", &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn long_files_are_faults() {
        let mut faults = Vec::new();
        length(Path::new("a.rs"), &[b'\n'; MAX_LINES], &mut faults);
        assert!(faults.is_empty());
        length(Path::new("a.rs"), &[b'\n'; MAX_LINES + 1], &mut faults);
        assert_eq!(faults.len(), 1);
    }
}
