//! Paths of other machines as paths of this one: coverage.py's `[paths]` and prefix maps.

use super::{Snapshot, paths};
use regex::{Regex, RegexBuilder};

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemapError {
    /// A `[paths]` pattern is none.
    #[error("bad path pattern \"{pattern}\": {reason}")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A prefix map is not `OLD=NEW`.
    #[error("bad prefix map \"{0}\": it must be OLD=NEW")]
    Prefix(String),
}

/// Rules that give source paths other beginnings.
///
/// ```
/// use cov_agent::coverage::Remap;
/// let mut remap = Remap::new("/home/me/project");
/// remap.alias("src", &["/ci/*/project/src", r"c:\ci\project\src"])?;
/// remap.prefix("/build=/home/me/build")?;
/// let exists = |_: &str| true;
/// assert_eq!(remap.map("/ci/7/project/src/a.c", exists), "/home/me/project/src/a.c");
/// assert_eq!(remap.map(r"C:\ci\project\src\b\a.c", exists), "/home/me/project/src/b/a.c");
/// assert_eq!(remap.map("/build/gen.c", exists), "/home/me/build/gen.c");
/// assert_eq!(remap.map("/builder/gen.c", exists), "/builder/gen.c");
/// # Ok::<(), cov_agent::coverage::RemapError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Remap {
    directory: String,
    prefixes: Vec<(String, String)>,
    aliases: Vec<(Regex, String)>,
}

impl Remap {
    /// No rules. Relative names in rules are relative to `directory`.
    #[must_use]
    pub fn new(directory: impl Into<String>) -> Self {
        Self { directory: directory.into(), prefixes: Vec::new(), aliases: Vec::new() }
    }

    /// Adds `OLD=NEW`: a path that lies below OLD, or is OLD, begins with NEW instead. As for gcc's
    /// `-ffile-prefix-map` the rule that was added last is tried first; unlike there only whole
    /// components match.
    ///
    /// # Errors
    /// There is no `=`, or nothing before it.
    pub fn prefix(&mut self, rule: &str) -> Result<(), RemapError> {
        let bad = || RemapError::Prefix(rule.into());
        let (old, new) = rule.split_once('=').filter(|(old, _)| !old.is_empty()).ok_or_else(bad)?;
        self.prefixes.insert(0, (paths::normalize("", old), paths::normalize(&self.directory, new)));
        Ok(())
    }

    /// Adds an entry of `[paths]`: paths that begin as one of `patterns` begin as `canonical` instead.
    /// The meaning is that of coverage.py's `PathAliases` (`coverage/files.py`): `*` stays inside a
    /// component, a leading `*/` or `**/` matches any beginning, case does not matter, `/` and `\`
    /// are the same.
    ///
    /// # Errors
    /// A pattern ends in a wildcard, or is no glob.
    pub fn alias(&mut self, canonical: &str, patterns: &[impl AsRef<str>]) -> Result<(), RemapError> {
        let canonical = paths::normalize(&self.directory, canonical);
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let regex =
                self.regex(pattern).map_err(|reason| RemapError::Pattern { pattern: pattern.into(), reason })?;
            self.aliases.push((regex, canonical.clone()));
        }
        Ok(())
    }

    /// The regular expression of a pattern: it matches a beginning that ends before a component.
    fn regex(&self, pattern: &str) -> Result<Regex, &'static str> {
        let trimmed = if pattern.len() > 1 { pattern.trim_end_matches(['/', '\\']) } else { pattern };
        if trimmed.ends_with('*') {
            return Err("it must not end with a wildcard, which would match a whole tree");
        }
        let absolute = trimmed.starts_with('*') || paths::is_absolute(&format!("{trimmed}/"));
        let full = if absolute { trimmed.into() } else { paths::normalize(&self.directory, trimmed) };
        let text = glob(&format!("{}/", full.replace('\\', "/").trim_end_matches('/')))?;
        let built = RegexBuilder::new(&format!("^{text}")).case_insensitive(true).size_limit(1 << 20).build();
        built.map_err(|_| "it is no glob")
    }

    /// The path as the first rule that matches makes it: prefix maps first, then `[paths]`, of which
    /// only those apply whose result `exists`. No rule matches: as it is.
    #[must_use]
    pub fn map(&self, path: &str, exists: impl Fn(&str) -> bool) -> String {
        let folded = paths::normalize("", path);
        for (old, new) in &self.prefixes {
            if let Some(rest) = folded.strip_prefix(old.trim_end_matches('/'))
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return paths::normalize("", format!("{}{rest}", new.trim_end_matches('/')));
            }
        }
        for (regex, canonical) in &self.aliases {
            if let Some(found) = regex.find(path) {
                let rest = path.get(found.end()..).unwrap_or("").replace('\\', "/");
                let new = paths::normalize("", format!("{}/{rest}", canonical.trim_end_matches('/')));
                if exists(&new) {
                    return new;
                }
            }
        }
        path.into()
    }

    /// Maps all paths of a snapshot; files that come to lie on one path are merged.
    #[must_use]
    pub fn apply(&self, snapshot: Snapshot, exists: impl Fn(&str) -> bool) -> Snapshot {
        if self.prefixes.is_empty() && self.aliases.is_empty() {
            return snapshot;
        }
        snapshot.map_files(|file| {
            let path = self.map(file.path(), &exists);
            Some(if path == **file.path() { file } else { file.with_path(path) })
        })
    }
}

/// A glob as regular expression, as coverage.py's `_glob_to_regex` has it.
fn glob(pattern: &str) -> Result<String, &'static str> {
    const ANY: &str = r"(?:.*[/\\])?";
    let mut regex = String::new();
    let mut rest = pattern;
    if let Some(after) = rest.trim_start_matches('*').strip_prefix('/')
        && rest.starts_with('*')
    {
        regex.push_str(ANY);
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            if !regex.is_empty() && !regex.ends_with(']') {
                return Err("\"**\" must be a component of its own");
            }
            regex.push_str(ANY);
            rest = after;
            continue;
        }
        rest = rest.get(c.len_utf8()..).unwrap_or("");
        match c {
            '*' if rest.starts_with('*') => return Err("\"**\" must be a component of its own"),
            '*' => regex.push_str(r"[^/\\]*"),
            '?' => regex.push_str(r"[^/\\]"),
            '/' => regex.push_str(r"[/\\]"),
            '[' => {
                let (class, after) = rest.split_once(']').ok_or("\"[\" without \"]\"")?;
                // `!` negates in globs, `^` in regular expressions; `[` and `&&` have a meaning in ours.
                let class = class.strip_prefix('!').map_or_else(|| class.into(), |class| format!("^{class}"));
                let class = class.replace('\\', r"\\").replace('[', r"\[").replace('&', r"\&").replace('~', r"\~");
                regex.push_str(&format!("[{class}]"));
                rest = after;
            }
            ']' => return Err("\"]\" without \"[\""),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run};
    use std::collections::BTreeSet;

    /// The expected results are those of coverage.py 7.17's `PathAliases`, with the working directory
    /// `/w` and every result there.
    #[test]
    fn aliases_are_those_of_coverage_py() {
        let cases = [
            ("src", "/ned/home/*/src", "/ned/home/foo/src/a.py", "/w/src/a.py"),
            ("src", "/ned/home/*/src", "/ned/home/foo/bar/src/a.py", "/ned/home/foo/bar/src/a.py"),
            ("src", "/ned/home/*/src/", "/NED/home/foo/SRC/sub/a.py", "/w/src/sub/a.py"),
            ("src", "*/foo", "/x/y/foo/a.py", "/w/src/a.py"),
            ("src", "**/foo", "foo/a.py", "/w/src/a.py"),
            ("src", "/a/**/foo", "/a/b/c/foo/a.py", "/w/src/a.py"),
            ("src", "/a/**/foo", "/a/foo/a.py", "/w/src/a.py"),
            ("src", "other", "/w/other/a.py", "/w/src/a.py"),
            ("src", "c:\\ci\\*\\src", "C:\\CI\\9\\src\\sub\\a.py", "/w/src/sub/a.py"),
            ("src", "/lib?/x", "/lib7/x/a.py", "/w/src/a.py"),
            ("src", "/v[0-9]/x", "/v7/x/a.py", "/w/src/a.py"),
            ("src", "/v[0-9]/x", "/vx/x/a.py", "/vx/x/a.py"),
            ("/", "/mnt", "/mnt/a.py", "/a.py"),
            ("src", "/a+b", "/a+b/a.py", "/w/src/a.py"),
        ];
        for (canonical, pattern, path, want) in cases {
            let mut remap = Remap::new("/w");
            remap.alias(canonical, &[pattern]).unwrap();
            assert_eq!(remap.map(path, |_| true), want, "{pattern} on {path}");
        }
    }

    #[test]
    fn bad_rules_are_named() {
        let mut remap = Remap::new("/w");
        for pattern in ["/a/*", "/a/**", "/x**/a", "/[a", "/a]b", "***"] {
            let error = remap.alias("src", &[pattern]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("bad path pattern \"{pattern}\": ")), "{error}");
        }
        for rule in ["nothing", "=new"] {
            assert_eq!(
                remap.prefix(rule).unwrap_err().to_string(),
                format!("bad prefix map \"{rule}\": it must be OLD=NEW")
            );
        }
    }

    #[test]
    fn only_existing_results_count_and_the_last_prefix_wins() {
        let mut remap = Remap::new("/w");
        remap.alias("one", &["/ci"]).unwrap();
        remap.alias("two", &["/ci"]).unwrap();
        assert_eq!(remap.map("/ci/a.c", |path| path.starts_with("/w/two")), "/w/two/a.c");
        assert_eq!(remap.map("/ci/a.c", |_| false), "/ci/a.c");
        remap.prefix("/ci=/x").unwrap();
        remap.prefix("/ci/deep=/y").unwrap();
        assert_eq!(remap.map("/ci/deep/a.c", |_| true), "/y/a.c");
        assert_eq!(remap.map("/ci/a.c", |_| true), "/x/a.c");
    }

    #[test]
    fn files_that_become_one_are_merged() {
        let file = |path: &str| {
            let mut file = FileCoverage::new(path);
            file.record(1, ExecutionCounter::exact(2), "");
            file
        };
        let files = vec![file("/ci/1/a.c"), file("/ci/2/a.c"), file("/x.c")];
        let snapshot = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), files);
        let mut remap = Remap::new("/w");
        remap.alias("src", &["/ci/*"]).unwrap_err();
        remap.alias("src", &["/ci/1", "/ci/2"]).unwrap();
        let mapped = remap.apply(snapshot, |_| true);
        let got: Vec<_> = mapped.files().iter().map(|f| (&**f.path(), f.lines().get(1).unwrap().value())).collect();
        assert_eq!(got, [("/w/src/a.c", 4), ("/x.c", 2)]);
    }
}
