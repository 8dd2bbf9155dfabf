//! What a project tells coverage.py itself about data files.

use super::document::{Raw, Section};
use super::expand::expand;
use super::layer::Environment;
use super::list::items;
use super::value::Value as _;
use super::{file, ini, toml};
use std::ffi::OsStr;
use std::path::Path;

/// Where coverage.py looks for its configuration, and whether the file is its own.
/// (`config_files_to_try` in its `config.py`; `.coveragerc.toml` since 7.14).
const NAMES: [(&str, bool); 5] = [
    (".coveragerc", true),
    (".coveragerc.toml", true),
    ("setup.cfg", false),
    ("tox.ini", false),
    ("pyproject.toml", false),
];

/// The part of coverage.py's configuration that decides what its reports can read. It comes from
/// the file that coverage.py reads, which need not be the one that we read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoveragePy {
    /// `[run] plugins`.
    pub plugins: Vec<String>,
    /// `[run] branch`.
    pub branch: bool,
    /// `[run] relative_files`.
    pub relative_files: bool,
}

impl CoveragePy {
    /// Reads `COVERAGE_RCFILE`, else the first of `.coveragerc`, `.coveragerc.toml`, `setup.cfg`,
    /// `tox.ini` and `pyproject.toml` that has a section for coverage.py. A file that cannot be read says nothing:
    /// coverage.py will tell what is wrong with it.
    #[must_use]
    pub fn read(environment: &Environment) -> Self {
        let named = environment.variables.get(OsStr::new("COVERAGE_RCFILE")).filter(|path| !path.is_empty());
        let sections = match named {
            Some(path) => sections(environment, Path::new(path), true),
            None => NAMES.iter().find_map(|(name, own)| sections(environment, Path::new(name), *own)),
        };
        let sections = sections.unwrap_or_default();
        let run = sections.iter().find(|section| matches!(section.name.text.as_str(), "run" | "coverage:run"));
        let value = |name: &str| run.and_then(|run| run.entries.iter().find(|entry| entry.name.text == name));
        let expanded = |raw: &Raw| {
            raw.clone().try_map(&mut |mut line| {
                line.text = expand(&line.text, |name| environment.text(name))?;
                Ok::<_, String>(line)
            })
        };
        let plugins = value("plugins").and_then(|entry| items(&expanded(&entry.raw).ok()?, "").ok());
        let truth = |name| value(name).and_then(|entry| bool::read(&expanded(&entry.raw).ok()?).ok()).unwrap_or(false);
        Self {
            plugins: plugins.unwrap_or_default().into_iter().map(|line| line.text).collect(),
            branch: truth("branch"),
            relative_files: truth("relative_files"),
        }
    }
}

/// The sections of a file that coverage.py would take.
fn sections(environment: &Environment, path: &Path, own: bool) -> Option<Vec<Section>> {
    let text = file::read(&environment.directory.join(path)).ok()?;
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let mut sections = if is_toml { toml::parse(&text, own) } else { ini::parse(&text) }.ok()?;
    let theirs = sections.iter().any(|section| section.name.text.starts_with("coverage:"));
    sections.retain(|section| own || section.name.text.starts_with("coverage:"));
    // The longer name comes first for coverage.py.
    sections.sort_by_key(|section| !section.name.text.starts_with("coverage:"));
    (own || theirs).then_some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (String, bool) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let found = CoveragePy::read(&Environment { directory: directory.path().to_owned(), variables });
        assert!(!found.relative_files);
        (found.plugins.join("|"), found.branch)
    }

    #[test]
    fn the_file_is_the_one_that_coverage_py_reads() {
        let ours = ("coverage.ini", "[run]\nplugins = ours");
        let rc = (".coveragerc", "[run]\nplugins =\n  a.b\n  ${X-c}\nbranch = on");
        let toml = ("pyproject.toml", "[tool.coverage.run]\nplugins = [\"t\"]\nbranch = true");
        let cfg = ("setup.cfg", "[run]\nbranch = yes\n[coverage:run]\nplugins = s, ${X?}");
        assert_eq!(read(&[ours, rc, toml], &[]), ("a.b|c".into(), true));
        assert_eq!(read(&[ours, toml], &[]), ("t".into(), true));
        assert_eq!(read(&[cfg, toml], &[("X", "y")]), ("s|y".into(), false));
        assert_eq!(read(&[rc, cfg], &[("COVERAGE_RCFILE", "setup.cfg"), ("X", "z")]), ("s|z".into(), false));
        assert_eq!(read(&[ours, ("tox.ini", "[tox]")], &[]), (String::new(), false));
        assert_eq!(read(&[(".coveragerc", "broken"), toml], &[]), ("t".into(), true));
        let own = (".coveragerc.toml", "[run]\nplugins = [\"o\"]\nbranch = true\n");
        assert_eq!(read(&[own, cfg], &[]), ("o".into(), true));
        assert_eq!(
            read(&[(".coveragerc.toml", "[tool.coverage.run]\nplugins = [\"p\"]"), cfg], &[]),
            ("p".into(), false)
        );
        assert_eq!(read(&[rc, own], &[]), ("a.b|c".into(), true));
    }

    #[test]
    fn what_it_says_of_paths_is_read_too() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tox.ini"), "[coverage:run]\nrelative_files = on\n").unwrap();
        let environment = Environment { directory: directory.path().to_owned(), ..Environment::default() };
        let expected = CoveragePy { relative_files: true, ..CoveragePy::default() };
        assert_eq!(CoveragePy::read(&environment), expected);
    }
}
