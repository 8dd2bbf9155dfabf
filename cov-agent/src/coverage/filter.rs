//! Which source files are measured.

use super::paths;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::{Path, PathBuf};

/// A pattern that is no glob.
#[derive(Debug, thiserror::Error)]
#[error(
    "bad pattern \"{pattern}\": {reason} (`*` matches inside a directory, `**` across directories, `?` one letter)"
)]
pub struct FilterError {
    pattern: String,
    reason: String,
}

/// Include and exclude globs on source paths.
///
/// A glob matches the absolute path or the one relative to the working directory; `**` crosses
/// directories, `*` and `?` do not; a glob that ends in `/` means all below. A file is measured if
/// an include glob matches and no exclude glob does.
///
/// ```
/// use cov_agent::coverage::Filter;
/// let filter = Filter::new(&["src/**"], &["**/gen_*.c"], "/w")?;
/// assert!(filter.matches("/w/src/deep/a.c"));
/// assert!(!filter.matches("/w/src/gen_a.c"));
/// assert!(!filter.matches("/w/test/a.c"));
/// # Ok::<(), cov_agent::coverage::FilterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Filter {
    include: GlobSet,
    exclude: GlobSet,
    include_patterns: Vec<String>,
    directory: String,
}

impl Filter {
    /// A filter for a working directory (absolute). Without include globs: all files below the
    /// [default root](default_root).
    ///
    /// # Errors
    /// A pattern that is no glob.
    pub fn new<S: AsRef<str>>(
        include: &[S],
        exclude: &[impl AsRef<str>],
        directory: impl AsRef<Path>,
    ) -> Result<Self, FilterError> {
        let directory = paths::normalize("/", directory);
        let mut include_patterns: Vec<String> = include.iter().map(|p| p.as_ref().to_owned()).collect();
        if include_patterns.is_empty() {
            include_patterns.push(below(&default_root(Path::new(&directory))));
        }
        Ok(Self {
            include: globs(include_patterns.iter().map(String::as_str), &directory)?,
            exclude: globs(exclude.iter().map(AsRef::as_ref), &directory)?,
            include_patterns,
            directory,
        })
    }

    /// Whether the file at a normalized absolute path is measured.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let relative = paths::relative(&self.directory, path);
        let either = |set: &GlobSet| set.is_match(path) || (relative.len() < path.len() && set.is_match(relative));
        either(&self.include) && !either(&self.exclude)
    }

    /// Beginnings of paths, one of which every matching path has: the include globs, made absolute, up to their first
    /// wildcard. A directory's ends in a slash; an empty one fits any path.
    #[must_use]
    pub fn prefixes(&self) -> Vec<String> {
        let literal = |pattern: &String| {
            let end = pattern.find(['*', '?', '[', '{', '\\']);
            let text = pattern.get(..end.unwrap_or(pattern.len())).unwrap_or_default();
            let anywhere = end == Some(0) || matches!(pattern.as_str(), "" | ".");
            if anywhere {
                return String::new();
            }
            // Up to the last component that is whole: it may be `..`.
            let (whole, part) = match text.rsplit_once('/') {
                _ if text.ends_with("..") => (text, ""),
                Some(("", part)) => ("/", part),
                Some(parts) => parts,
                None => ("", text),
            };
            let whole = paths::normalize(&self.directory, if whole.is_empty() { "." } else { whole });
            format!("{}/{part}", whole.trim_end_matches('/'))
        };
        self.include_patterns.iter().map(literal).collect()
    }

    /// The include globs in effect, for messages.
    #[must_use]
    pub fn include_patterns(&self) -> &[String] {
        &self.include_patterns
    }
}

/// The repository root (the nearest directory with `.git`) that `directory` lies in, else itself.
#[must_use]
pub fn default_root(directory: &Path) -> PathBuf {
    directory.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(directory).into()
}

/// The glob for all files below a directory.
fn below(directory: &Path) -> String {
    let escaped = globset::escape(&directory.to_string_lossy());
    format!("{}/**", escaped.trim_end_matches('/'))
}

fn globs<'a>(patterns: impl Iterator<Item = &'a str>, directory: &str) -> Result<GlobSet, FilterError> {
    let error =
        |pattern: &str, e: &globset::Error| FilterError { pattern: pattern.into(), reason: e.kind().to_string() };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern, directory).map_err(|e| error(pattern, &e))?);
    }
    set.build().map_err(|e| error("", &e))
}

fn glob(pattern: &str, directory: &str) -> Result<Glob, globset::Error> {
    let mut text = pattern;
    while let Some(rest) = text.strip_prefix("./") {
        text = rest;
    }
    let mut text = match text {
        "" | "." => "**".to_owned(),
        ".." => format!("{}/**", globset::escape(&paths::normalize(directory, ".."))),
        // Above the working directory only the absolute path can match.
        _ if text.starts_with("../") => {
            let ups = text.split('/').take_while(|&part| part == "..").count();
            let root = paths::normalize(directory, "../".repeat(ups));
            let rest = text.get(ups * 3..).unwrap_or("");
            format!("{}/{rest}", globset::escape(root.trim_end_matches('/')))
        }
        _ => text.to_owned(),
    };
    if text.ends_with('/') {
        text.push_str("**");
    }
    GlobBuilder::new(&text).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Filter::new(&[pattern], &[] as &[&str], "/w [x]").unwrap().matches(path)
    }

    #[test]
    fn globs_match_absolute_or_relative_paths() {
        let cases = [
            ("*.c", "/w [x]/a.c", true),
            ("*.c", "/w [x]/d/a.c", false),
            ("*.c", "/a.c", false),
            ("**/*.c", "/elsewhere/d/a.c", true),
            ("./src/**", "/w [x]/src/d/a.c", true),
            ("src/", "/w [x]/src/d/a.c", true),
            ("src/*", "/w [x]/src/d/a.c", false),
            ("/w [[]x]/*.c", "/w [x]/a.c", true),
            ("../lib/*.c", "/lib/a.c", true),
            ("../lib/*.c", "/w [x]/lib/a.c", false),
            (".", "/w [x]/d/a.c", true),
            ("{a,b}?.rs", "/w [x]/b1.rs", true),
            ("grüße/**", "/w [x]/grüße/a b.c", true),
        ];
        for (pattern, path, want) in cases {
            assert_eq!(matches(pattern, path), want, "{pattern} on {path}");
        }
    }

    #[test]
    fn the_default_is_the_repository_or_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let sub = root.join("a [1]/b");
        std::fs::create_dir_all(&sub).unwrap();
        let default = |exclude: &[&str]| Filter::new(&[] as &[&str], exclude, &sub).unwrap();
        let path = |p: &str| root.join(p).to_string_lossy().into_owned();
        assert!(default(&[]).matches(&path("a [1]/b/x.c")));
        assert!(!default(&[]).matches(&path("x.c")));
        std::fs::create_dir(root.join("a [1]/.git")).unwrap();
        assert!(default(&[]).matches(&path("a [1]/x.c")));
        assert!(!default(&["../*.c"]).matches(&path("a [1]/x.c")));
        assert!(!default(&[]).matches("/usr/include/stdio.h"));
    }

    #[test]
    fn every_match_has_a_prefix() {
        let prefixes = |patterns: &[&str]| Filter::new(patterns, &[] as &[&str], "/w/d").unwrap().prefixes();
        let patterns = ["src/**", "./a.py", "..", "../lib/*.py", "/x/y/z*.py", "/**", "**/*.py", ".", "b/"];
        let want = ["/w/d/src/", "/w/d/a.py", "/w/", "/w/lib/", "/x/y/z", "/", "", "", "/w/d/b/"];
        assert_eq!(prefixes(&patterns), want);
        assert_eq!(prefixes(&[]), ["/w/d/"]);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Filter::new(&["src/[a"], &[] as &[&str], "/w").unwrap_err().to_string();
        assert!(error.starts_with("bad pattern \"src/[a\": unclosed character class"), "{error}");
    }
}
