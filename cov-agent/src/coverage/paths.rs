//! Source paths as text, whatever system they come from.

use std::path::Path;

/// `path` joined to `base` (where it is relative) with `.`, `..` and doubled separators folded
/// lexically, separated by `/`. Windows paths (`C:\x`, `\\host\share`) keep drive or host; a drive
/// letter becomes upper case. `..` above a root stays at the root; above a relative path's start it
/// is kept. Bytes that are not UTF-8 are replaced. Other letters keep their case: only the file
/// system knows whether `A.c` is `a.c`, and whoever may look there follows
/// [`FileTracker::with_canonical`](super::FileTracker::with_canonical); rules for data of other
/// machines ([`Remap::alias`](super::Remap::alias)) pay no heed to case.
///
/// ```
/// use cov_agent::coverage::paths::normalize;
/// assert_eq!(normalize("/w", "src/../a.c"), "/w/a.c");
/// assert_eq!(normalize("/w", r"c:\src\.\a.c"), "C:/src/a.c");
/// ```
#[must_use]
pub fn normalize(base: impl AsRef<Path>, path: impl AsRef<Path>) -> String {
    let path = path.as_ref().to_string_lossy();
    let base = base.as_ref().to_string_lossy();
    if is_absolute(&path) || base.is_empty() { fold(&path) } else { fold(&format!("{base}/{path}")) }
}

/// Whether the path begins at a root: `/`, a drive (`C:\`, `C:/`) or a host (`\\host`).
#[must_use]
pub fn is_absolute(path: &str) -> bool {
    path.starts_with('/') || path.starts_with(r"\\") || drive(path).is_some()
}

/// The drive letter of `C:\x` or `C:/x`.
fn drive(path: &str) -> Option<char> {
    match path.as_bytes() {
        [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic() => {
            Some(char::from(letter.to_ascii_uppercase()))
        }
        _ => None,
    }
}

/// Only a path that says it is from Windows has `\` as a separator: on Unix it is a letter like others.
fn is_windows(path: &str) -> bool {
    drive(path).is_some() || path.starts_with(r"\\")
}

fn fold(path: &str) -> String {
    let windows = is_windows(path);
    let (root, rest) = if let Some(letter) = drive(path) {
        (format!("{letter}:/"), path.get(3..).unwrap_or(""))
    } else if let Some(rest) = path.strip_prefix(r"\\") {
        (r"\\".into(), rest)
    } else if let Some(rest) = path.strip_prefix('/') {
        ("/".into(), rest)
    } else {
        (String::new(), path)
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split(|c| c == '/' || (windows && c == '\\')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|&last| last != "..") => {
                parts.pop();
            }
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    root + &parts.join("/")
}

/// `path` relative to `base` where it lies below it, else as it is. Both normalized.
#[must_use]
pub fn relative<'a>(base: &str, path: &'a str) -> &'a str {
    let base = base.trim_end_matches('/');
    match path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) if !base.is_empty() && !rest.is_empty() => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_folded() {
        let cases = [
            ("/a", "b.c", "/a/b.c"),
            ("/a", "./x//y/../b.c", "/a/x/b.c"),
            ("/a", "../../../b.c", "/b.c"),
            ("/a", "/b/../../c", "/c"),
            ("", "../b.c", "../b.c"),
            ("", "x/../../b.c", "../b.c"),
            ("/a", r"back\slash.c", r"/a/back\slash.c"),
            ("/a", r"d:\x\..\b.c", "D:/b.c"),
            (r"C:\work", r"src\b.c", "C:/work/src/b.c"),
            ("/a", r"\\host\share\b.c", r"\\host/share/b.c"),
            ("/a", "grüße λ.c", "/a/grüße λ.c"),
        ];
        for (base, path, want) in cases {
            assert_eq!(normalize(base, path), want, "{base} + {path}");
        }
    }

    #[test]
    fn relative_needs_a_whole_component() {
        assert_eq!(relative("/a/b", "/a/b/c.c"), "c.c");
        assert_eq!(relative("/a/b/", "/a/b/c.c"), "c.c");
        assert_eq!(relative("/a/b", "/a/bc.c"), "/a/bc.c");
        assert_eq!(relative("", "/a.c"), "/a.c");
        assert_eq!(relative("/", "/a.c"), "/a.c");
    }
}
