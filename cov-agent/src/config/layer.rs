//! From what a file or the environment says to values of known keys.

use super::coverage_py::{self, SECTIONS};
use super::document::{Entry, Line, Raw, Section};
use super::expand::expand;
use super::keys::{Alias, Form, KEYS, Key};
use super::origin::Origin;
use super::problem::{Problem, nearest};
use super::value::Bad;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The section of our own keys.
const NATIVE: &str = "cov-agent";
/// The environment variable that names the configuration file.
pub(crate) const CONFIG_VARIABLE: &str = "COV_AGENT_CONFIG";
/// How the environment variables of keys begin.
const PREFIX: &str = "COV_AGENT_";

/// What a configuration depends on, beside its files.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The working directory, absolute.
    pub directory: PathBuf,
    /// The environment variables.
    pub variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// This process's own.
    ///
    /// # Errors
    ///
    /// The working directory is gone or closed to us.
    pub fn current() -> std::io::Result<Self> {
        Ok(Self { directory: std::env::current_dir()?, variables: std::env::vars_os().collect() })
    }

    /// A variable that is set and not empty; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.variables.get(std::ffi::OsStr::new(name)).map(|value| value.to_string_lossy().into_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        self.variables.get(std::ffi::OsStr::new("HOME")).filter(|home| !home.is_empty()).map(PathBuf::from)
    }
}

/// One value of one key.
#[derive(Debug)]
pub(crate) struct LayerEntry {
    pub(crate) key: &'static Key,
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
    /// The name as written: `[run] omit`.
    name: String,
}

impl LayerEntry {
    /// Why the value cannot be read.
    pub(crate) fn problem(&self, bad: Bad) -> Problem {
        let place = match (&self.origin, bad.line) {
            (Origin::File { path, .. }, Some(line)) => Origin::File { path: path.clone(), line },
            (origin, _) => origin.clone(),
        };
        match place {
            Origin::File { .. } => Problem { place, text: format!("{}: {}", self.name, bad.text) },
            _ => Problem { place, text: bad.text },
        }
    }
}

/// What one source says: each key at most once.
#[derive(Debug, Default)]
pub(crate) struct Layer(pub(crate) Vec<LayerEntry>);

/// What is wrong: faults, and what is merely odd.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl Layer {
    /// The variables `COV_AGENT_…`. An empty one counts as not set.
    pub(crate) fn of_environment(environment: &Environment, findings: &mut Findings) -> Self {
        let mut layer = Self::default();
        for (name, value) in &environment.variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != CONFIG_VARIABLE) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let origin = Origin::Environment(name.to_owned());
            let Some(key) = KEYS.iter().find(|key| key.environment() == name) else {
                let rest = name.trim_start_matches(PREFIX);
                let hint = KEYS.iter().find(|key| Some(key.name) == nearest(rest, KEYS.iter().map(|key| key.name)));
                let hint = hint.map(|key| format!("; did you mean '{}'?", key.environment())).unwrap_or_default();
                let text = format!("no key has this environment variable{hint}");
                findings.warnings.push(Problem { place: origin, text });
                continue;
            };
            match value.to_str() {
                Some(text) => {
                    layer.0.push(LayerEntry { key, raw: Raw::text(0, text), origin, name: key.name.to_owned() });
                }
                None => findings.faults.push(Problem { place: origin, text: "the value is not UTF-8".to_owned() }),
            }
        }
        layer
    }

    /// The sections of a file. In a file of `own`, coverage.py's sections need no `coverage:`.
    pub(crate) fn of_file(
        path: &Path,
        own: bool,
        sections: Vec<Section>,
        environment: &Environment,
        findings: &mut Findings,
    ) -> Self {
        let mut file = File { path, environment, findings, native: Vec::new(), coverage: Vec::new() };
        for section in sections {
            file.section(own, section);
        }
        file.layer()
    }
}

/// A file while it is read.
struct File<'a> {
    path: &'a Path,
    environment: &'a Environment,
    findings: &'a mut Findings,
    native: Vec<LayerEntry>,
    /// coverage.py's entries, each with its section.
    coverage: Vec<(String, Entry)>,
}

impl File<'_> {
    fn at(&self, line: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line }
    }

    fn fault(&mut self, line: usize, text: String) {
        let place = self.at(line);
        self.findings.faults.push(Problem { place, text });
    }

    fn warning(&mut self, line: usize, text: String) {
        let place = self.at(line);
        self.findings.warnings.push(Problem { place, text });
    }

    fn section(&mut self, own: bool, section: Section) {
        let name = section.name.text.as_str();
        if name == NATIVE {
            section.entries.into_iter().for_each(|entry| self.native(entry));
            return;
        }
        let prefixed = name.strip_prefix("coverage:");
        match prefixed.or(own.then_some(name)).filter(|name| SECTIONS.contains(name)) {
            Some("paths") => {
                // A section that is all one value.
                let rows = section.entries.into_iter().map(|entry| (entry.name, entry.raw)).collect();
                let entry = Entry { name: section.name, raw: Raw::Table(rows), inherited: false };
                self.coverage
                    .push(("paths".to_owned(), Entry { name: Line { text: String::new(), ..entry.name }, ..entry }));
            }
            Some(name) => {
                let name = name.to_owned();
                section.entries.into_iter().for_each(|entry| self.coverage(&name, entry));
            }
            None => {
                let known = SECTIONS.iter().map(|name| format!("coverage:{name}")).collect::<Vec<_>>();
                let known = known
                    .iter()
                    .map(String::as_str)
                    .chain([NATIVE])
                    .chain(own.then_some(SECTIONS).into_iter().flatten());
                if let Some(near) = nearest(name, known) {
                    let text = format!("the section [{name}] means nothing here; did you mean [{near}]?");
                    self.warning(section.name.number, text);
                }
            }
        }
    }

    fn native(&mut self, entry: Entry) {
        let name = &entry.name.text;
        let Some(key) = KEYS.iter().find(|key| key.name == *name) else {
            if !entry.inherited {
                let text = format!("unknown key '{name}'{}", unknown_hint(name));
                self.fault(entry.name.number, text);
            }
            return;
        };
        let name = name.clone();
        let origin = self.at(entry.name.number);
        if let Some(raw) = self.expand(&name, entry.raw) {
            self.native.push(LayerEntry { key, raw, origin, name });
        }
    }

    fn coverage(&mut self, section: &str, entry: Entry) {
        let name = entry.name.text.as_str();
        let ours = KEYS.iter().flat_map(|key| key.coverage.iter().copied().flatten());
        let ours = ours.filter(|alias| alias.section == section).map(|alias| alias.name);
        if ours.clone().any(|other| other == name) {
            self.coverage.push((section.to_owned(), entry));
        } else if !entry.inherited && !coverage_py::others(section).contains(&name) {
            let near = nearest(name, ours.chain(coverage_py::others(section).iter().copied()));
            let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            let text = format!("[{section}] {name}: neither cov-agent nor coverage.py has such a key{near}");
            self.warning(entry.name.number, text);
        }
    }

    /// `raw` with its environment variables replaced.
    fn expand(&mut self, name: &str, raw: Raw) -> Option<Raw> {
        let environment = self.environment;
        let expanded = raw.try_map(&mut |line: Line| match expand(&line.text, |name| environment.text(name)) {
            Ok(text) => Ok(Line { text, ..line }),
            Err(variable) => Err((line.number, variable)),
        });
        match expanded {
            Ok(raw) => Some(raw),
            Err((line, variable)) => {
                self.fault(line, format!("{name}: the environment variable {variable} is not set"));
                None
            }
        }
    }

    /// Our own keys as they are; coverage.py's where our own name is not given.
    fn layer(mut self) -> Layer {
        let mut layer = Layer(std::mem::take(&mut self.native));
        let coverage = std::mem::take(&mut self.coverage);
        for key in KEYS {
            if layer.0.iter().any(|entry| entry.key.name == key.name) {
                continue;
            }
            let given = |alias: &Alias| {
                coverage.iter().find(|(section, entry)| section == alias.section && entry.name.text == alias.name)
            };
            let group = key.coverage.iter().find(|group| group.iter().any(|alias| given(alias).is_some()));
            let found = group.into_iter().copied().flatten().filter_map(|alias| Some((alias, &given(alias)?.1)));
            layer.0.extend(self.joined(key, found));
        }
        layer
    }

    /// The values of one key that coverage.py has several names for, one behind the other.
    fn joined<'e>(
        &mut self,
        key: &'static Key,
        found: impl Iterator<Item = (&'static Alias, &'e Entry)>,
    ) -> Option<LayerEntry> {
        let home = self.environment.home();
        let mut joined: Option<LayerEntry> = None;
        for (alias, entry) in found {
            let name = match alias.form {
                Form::Section => format!("[{}]", alias.section),
                _ => format!("[{}] {}", alias.section, alias.name),
            };
            let raw = self.expand(&name, entry.raw.clone())?;
            let raw = coverage_py::translate(alias.form, raw, &self.environment.directory, home.as_deref());
            match &mut joined {
                None => joined = Some(LayerEntry { key, raw, origin: self.at(entry.name.number), name }),
                Some(joined) => {
                    if let (Raw::Items(all), Raw::Items(more)) = (&mut joined.raw, raw) {
                        all.extend(more);
                    }
                }
            }
        }
        joined
    }
}

/// The nearest key, or all of them.
fn unknown_hint(name: &str) -> String {
    let aliases =
        KEYS.iter().flat_map(|key| key.coverage.iter().copied().flatten().map(move |alias| (alias.name, key.name)));
    let mut same = aliases.clone().filter(|(alias, key)| *alias == name && *key != name);
    if let Some((_, key)) = same.next() {
        return format!("; here it is called '{key}'");
    }
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => format!("; the keys are {}", KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")),
    }
}
