//! Lines of Python under `run`: who counts them, and how they get into the result.

use super::console::Console;
use super::measure::Measurement;
use super::message::{Message, Slug};
use super::setup::Setup;
use crate::config::{Python as Engine, Settings};
use crate::coverage::{LossKind, filter};
use crate::format::output::Rights as _;
use crate::python::monitor::{self, Bootstrap, Counted, Options};
use crate::python::{files, hits, is_likely};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What counts lines of Python while the program runs.
pub(super) struct Python<'a> {
    setup: &'a Setup,
    console: Console,
    engine: Engine,
    bootstrap: Option<Bootstrap>,
    /// Where files are looked for that no program imported: somebody named them.
    roots: Vec<PathBuf>,
}

impl<'a> Python<'a> {
    /// Gets ready for the program `program`, as the person named it.
    pub(super) fn begin(
        setup: &'a Setup,
        settings: &Settings,
        program: &OsStr,
        console: Console,
    ) -> Result<Self, Message> {
        let engine = settings.python.value;
        let wanted = match engine {
            Engine::Monitoring => true,
            Engine::Auto => is_likely(Path::new(program), [&*setup.directory, &filter::default_root(&setup.directory)]),
            Engine::Off => false,
        };
        let named = !settings.include_patterns.0.is_empty();
        let prefixes = setup.prefixes();
        let roots = prefixes.iter().filter(|prefix| named && prefix.ends_with('/')).map(PathBuf::from).collect();
        let options = Options { counts: *settings.python_counts, third_party: named, prefixes };
        let bootstrap = wanted.then(|| Bootstrap::new(&options)).transpose().map_err(|error| {
            Message::new(Slug::Failed, format!("making a directory for the counts of Python lines: {error}"))
        })?;
        Ok(Self { setup, console, engine, bootstrap, roots })
    }

    /// What is added to the program's environment.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let value = |bootstrap: &Bootstrap| (monitor::VARIABLE, bootstrap.value(std::env::var_os(monitor::VARIABLE)));
        self.bootstrap.iter().map(value).collect()
    }

    /// Records what was counted, and tells who did it. Whether there was anything.
    pub(super) fn finish(self, measurement: &mut Measurement<'_>) -> bool {
        let Some(bootstrap) = &self.bootstrap else { return false };
        let counted = match bootstrap.collect() {
            Ok(counted) => counted,
            Err(error) => {
                measurement.lose(LossKind::UntrackedProcesses, format!("reading the counts of Python lines: {error}"));
                return false;
            }
        };
        let Counted { hits, interpreters, any, processes, refused, losses } = counted;
        losses.into_iter().for_each(|loss| measurement.lose(LossKind::DroppedEvents, loss));
        refused.into_iter().for_each(|loss| measurement.lose(LossKind::UntrackedProcesses, loss));
        let Some(any) = any else {
            if self.engine == Engine::Monitoring {
                let text = "no Python process was counted: none began, or each was started with -I, -E or -S, or \
                            without the environment variable PYTHONPATH";
                self.console.warning(&Message::new(Slug::Python, text));
            }
            return false;
        };
        let count: usize = processes.values().sum();
        let versions = processes.into_keys().collect::<Vec<_>>().join(", ");
        let es = if count == 1 { "" } else { "es" };
        self.console.note(&format!(
            "sys.monitoring counted the lines of {count} process{es} of Python {versions}, whose environment had {} added",
            monitor::VARIABLE
        ));
        let collector = measurement.collector();
        let files = collector.files();
        let mut unseen = Vec::new();
        let walked = self.setup.invoker.with(&mut || {
            unseen = self.roots.iter().flat_map(|root| files::importable(root, &|path| files.keeps(path))).collect();
        });
        if let Err(error) = walked {
            self.console.detail(&format!("looking for Python files that were not imported: {error}"));
        }
        let losses = hits::record_all(collector, &hits, &interpreters, &any, &unseen);
        losses.into_iter().for_each(|loss| measurement.lose(LossKind::DamagedInput, loss));
        true
    }
}
