//! What `run`, `--pid` and `lines` begin with: on whose behalf, which sources, where to.

use super::message::{Message, Slug, chain};
use super::output;
use super::summary::LeftOut;
use crate::config::Settings;
use crate::coverage::{CoverageCollector, FileTracker, Filter, filter};
use crate::format::output::OutputDir;
use crate::object::DebugSearch;
use crate::runner::Invoker;
use std::io;
use std::path::{Path, PathBuf};

/// Who called the agent, from where, and which sources that person wants.
pub(super) struct Setup {
    /// Whose rights decide what is opened.
    pub invoker: Invoker,
    /// The working directory.
    pub directory: PathBuf,
    /// Where debug info is looked for.
    pub search: DebugSearch,
    filter: Filter,
    /// The directory to which the default filter keeps.
    default_root: Option<PathBuf>,
}

impl Setup {
    /// Takes from the settings what all these commands need.
    pub(super) fn new(settings: &Settings) -> Result<Self, Message> {
        let system = |doing: &str| {
            let doing = doing.to_owned();
            move |error: io::Error| Message::new(Slug::Failed, format!("{doing}: {error}"))
        };
        let invoker = Invoker::this().map_err(system("cannot find out who called the agent"))?;
        let directory = std::env::current_dir().map_err(system("the working directory cannot be found"))?;
        let filter = Filter::new(&settings.include_patterns.0, &settings.exclude_patterns.0, &directory)
            .map_err(|e| Message::new(Slug::Usage, chain(&e)))?;
        let default_root = settings.include_patterns.0.is_empty().then(|| filter::default_root(&directory));
        let opener = invoker.clone();
        let mut search = DebugSearch::with_opener(move |path| opener.open(path));
        search.dirs.splice(0..0, settings.debug_dir.iter().cloned());
        Ok(Self { invoker, directory, search, filter, default_root })
    }

    /// The tracker of source files: filtered, and with links followed as far as the person may.
    pub(super) fn files(&self) -> FileTracker {
        let invoker = self.invoker.clone();
        FileTracker::default()
            .with_filter(self.filter.clone())
            .with_base(&self.directory)
            .with_canonical(move |path| invoker.canonical(path))
    }

    /// A collector over [`files`](Self::files).
    pub(super) fn collector(&self) -> CoverageCollector {
        CoverageCollector::with_files(self.files())
    }

    /// Opens the output directory and makes sure that files can be made in it.
    pub(super) fn output(&self, settings: &Settings) -> Result<OutputDir<'_>, Message> {
        let output = output::open(settings, &self.invoker)?;
        output.check().map_err(|e| output::message(&e))?;
        Ok(output)
    }

    /// What the summary says of `files` that were left out.
    pub(super) fn left_out(&self, files: usize) -> LeftOut {
        LeftOut { files, outside: self.default_root.as_deref().map(display) }
    }

    /// The message that no source of an object passed the filter.
    pub(super) fn nothing_to_measure(&self, path: &Path, files: usize) -> Message {
        let all = |one: &str, many: &str| match files {
            1 => format!("its only source file {one}"),
            _ => format!("all its {files} source files {many}"),
        };
        let (what, how) = match self.default_root.as_deref() {
            Some(root) => (all("lies", "lie") + " outside " + &display(root), "include them with --include '**'"),
            None => (all("is", "are") + " left out by --include and --exclude", "change the patterns"),
        };
        Message::new(Slug::NothingToMeasure, format!("{}: {what}; {how}", path.display()))
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
