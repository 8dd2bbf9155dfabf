//! What `run`, `--pid` and `lines` begin with: on whose behalf, which sources, where to.

use super::console::Console;
use super::message::{Message, Slug, chain, one_line};
use super::output;
use super::plan_cache;
use super::priced::{Measuring, Priced};
use super::selection::Chosen;
use super::summary::LeftOut;
use crate::config::{ContextFrom, Origin, Settings};
use crate::coverage::{CoverageCollector, FileTracker, Filter, filter};
use crate::format::output::OutputDir;
use crate::object::DebugSearch;
use crate::plan::{Aim, PlanOptions, Scope, Selection};
use crate::probe::{Asking, Options, Prices};
use crate::process::may_write;
use crate::runner::{Budget, Cache, Commands, Invoker, Naming};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Who called the agent, from where, and which sources that person wants.
pub(super) struct Setup {
    /// Whose rights decide what is opened.
    pub invoker: Invoker,
    /// The working directory.
    pub directory: PathBuf,
    /// Where debug info is looked for.
    pub search: DebugSearch,
    /// What plans may rely on for what is counted from its beginning.
    pub scope: Scope,
    /// What contexts are named after, and how many are told apart.
    pub contexts: (ContextFrom, u64),
    /// Plans of earlier runs.
    pub cache: Option<Cache>,
    /// What is known of the tests' commands.
    pub commands: Commands,
    /// What counters are to tell.
    pub aim: Aim,
    /// What hits may cost before counters stop, where they may.
    budget: Option<Budget>,
    /// When hits ask for their probes to go.
    asking: Asking,
    /// What asks for probes to go where all stay.
    kept: Option<&'static str>,
    /// What hits cost.
    priced: OnceLock<Priced>,
    filter: Filter,
    chosen: Chosen,
    branches: bool,
    /// The directory to which the default filter keeps.
    default_root: Option<PathBuf>,
}

impl Setup {
    /// Takes from the settings what all these commands need.
    pub(super) fn new(settings: &Settings, console: Console) -> Result<Self, Message> {
        let system = |doing: &str| {
            let doing = doing.to_owned();
            move |error: io::Error| Message::new(Slug::Failed, format!("{doing}: {error}"))
        };
        let invoker = Invoker::this().map_err(system("cannot find out who called the agent"))?;
        let directory = std::env::current_dir().map_err(system("the working directory cannot be found"))?;
        let filter = Filter::new(&settings.include_patterns.0, &settings.exclude_patterns.0, &directory)
            .map_err(|e| Message::new(Slug::Usage, chain(&e)))?;
        let default_root = settings.include_patterns.0.is_empty().then(|| filter::default_root(&directory));
        let chosen = Chosen::new(settings, &directory, &invoker, console)?;
        let opener = invoker.clone();
        let mut search = DebugSearch::with_opener(move |path| opener.open(path));
        search.dirs.splice(0..0, settings.debug_dir.iter().cloned());
        let commands = Commands::default();
        // A context may begin and end anywhere.
        let contexts = (settings.context_from.value.clone(), settings.max_contexts.value);
        let scope = if contexts.0 == ContextFrom::Nothing { Scope::Whole } else { Scope::Part };
        let aim = if *settings.lines_only { Aim::Hits } else { Aim::Counts };
        // In the next test of the same program a probe that has gone would be missed.
        let stays = contexts.0 == ContextFrom::Test;
        let asking = if aim == Aim::Hits && !stays { Asking::EachHit } else { Asking::Never };
        let asked = [
            (aim == Aim::Hits, "--lines-only"),
            (settings.overhead.origin != Origin::Default && settings.overhead.value.0.is_some(), "--overhead"),
        ];
        let kept = asked.into_iter().find(|(asked, _)| stays && *asked).map(|(_, option)| option);
        // A way that was not taken yet would keep the probe of a busy jump armed.
        let branches = *settings.branch && aim == Aim::Counts;
        if *settings.branch && !branches {
            let text = "branch: no branches are counted with lines_only; ask for one of the two";
            console.warning(&Message::new(Slug::Config, text));
        }
        let cache = None;
        Ok(Self {
            invoker,
            directory,
            search,
            scope,
            contexts,
            commands,
            aim,
            budget: None,
            asking,
            kept,
            priced: OnceLock::new(),
            cache,
            filter,
            chosen,
            branches,
            default_root,
        })
    }

    /// The same, with counters that stop where they cost more than the settings allow. Counts of tests within a program, and
    /// of branches, are exact, whatever they cost.
    pub(super) fn with_budget(mut self, settings: &Settings, console: Console) -> Self {
        let grace = settings.overhead_grace.value.0.unwrap_or_default();
        let budget = |percent: f64| Budget { share: percent / 100.0, grace, prices: Prices::TYPICAL };
        let counts = self.aim == Aim::Counts && self.contexts.0 != ContextFrom::Test && !self.branches;
        self.budget = settings.overhead.value.0.filter(|_| counts).map(budget);
        let for_later = self.contexts.0 == ContextFrom::Nothing;
        if self.asking == Asking::EachHit && !for_later && !may_write() {
            let text = "the kernel does not let breakpoints be taken out of running processes: with contexts all stay";
            console.warning(&Message::new(Slug::NotDisarmed, text));
            self.asking = Asking::Never;
        }
        if self.budget.is_some() && !may_write() {
            let text = "the kernel does not let breakpoints be taken out of running processes: all counts are exact, \
                        whatever they cost";
            console.warning(&Message::new(Slug::NotDisarmed, text));
            self.budget = None;
        }
        self
    }

    /// What hits may cost before counters stop, where they may.
    pub(super) fn budget(&self) -> Option<Budget> {
        self.budget.map(|budget| Budget { prices: self.priced().prices, ..budget })
    }

    /// When hits ask for their probes to go.
    fn asking(&self) -> Asking {
        self.budget().map_or(self.asking, |budget| budget.asking())
    }

    /// The same, with plans of earlier runs, where the settings have a place for them.
    pub(super) fn with_cache(mut self, settings: &Settings, console: Console) -> Self {
        let Self { directory, default_root, search, .. } = &self;
        let patterns = (&settings.include_patterns.0, &settings.exclude_patterns.0);
        let shape = format!("{patterns:?} {directory:?} {default_root:?} {:?}", search.dirs);
        // What tells tests apart is in the object, not in its plan.
        if self.contexts.0 != ContextFrom::Test {
            self.cache = plan_cache::open(settings, directory, shape, console);
        }
        self
    }

    /// How the kernel is to count.
    pub(super) fn options(&self) -> Options {
        let contexts = Naming::new(self.contexts.0.clone(), Commands::default()).wanted();
        Options { contexts, asking: self.asking(), ..Options::default() }
    }

    /// Finds out what hits cost: they do as `given`, if they are; `long`: also where nothing can be kept. What measures must
    /// live as long as this.
    pub(super) fn find_prices(&self, given: Option<[Duration; 2]>, long: bool, console: Console) -> Measuring {
        let (priced, measuring) = Priced::find(given, self.cache.as_ref(), long, console);
        self.priced.get_or_init(|| priced);
        measuring
    }

    /// What hits cost; what is typical where that was not found out.
    pub(super) fn priced(&self) -> Priced {
        self.priced.get().copied().unwrap_or_default()
    }

    /// The directory whose sources are measured where nothing else is asked for.
    pub(super) fn root(&self) -> PathBuf {
        filter::default_root(&self.directory)
    }

    /// The tracker of source files: filtered, and with links followed as far as the person may.
    pub(super) fn files(&self) -> FileTracker {
        let invoker = self.invoker.clone();
        FileTracker::default()
            .with_filter(self.filter.clone())
            .with_base(&self.directory)
            .with_canonical(move |path| invoker.canonical(path))
    }

    /// Calls `act` with what plans are to be for; `files` are those of [`files`](Self::files).
    pub(super) fn planning<R>(&self, files: &FileTracker, scope: Scope, act: impl FnOnce(&PlanOptions<'_>) -> R) -> R {
        let chosen = &self.chosen;
        let wanted = |path: &Path| files.keeps(path);
        let function = |name: &str| chosen.function(name);
        let lines = |path: &Path| chosen.lines(&files.canonical(path));
        let profile = |path: &Path| chosen.profile(&files.canonical(path));
        let selection = Selection {
            functions: if chosen.has_functions() { Some(&function) } else { None },
            lines: if chosen.has_lines() { Some(&lines) } else { None },
            profile: if chosen.has_profile() { Some(&profile) } else { None },
        };
        let (aim, branches, dear) = (self.aim, self.branches, self.priced().dear());
        act(&PlanOptions {
            wanted: &wanted,
            selection,
            scope,
            aim,
            branches,
            freezes: self.budget.is_some(),
            goes: self.asking == Asking::EachHit,
            dear,
        })
    }

    /// What of the sources is measured, for people; empty where everything is.
    pub(super) fn selection(&self) -> &str {
        &self.chosen.said
    }

    /// What a person who selected is told at the end; `output` is where the results are.
    pub(super) fn selection_note(&self, output: &Path) -> Option<String> {
        let Chosen { said, others, .. } = &self.chosen;
        if !others.is_empty() {
            let data = others.iter().map(|path| display(path)).collect::<Vec<_>>().join(" ");
            let merge = format!("cov-agent merge {data} {}", display(output));
            return Some(format!("Lines that other data cover were not measured; merge them: {}\n", one_line(&merge)));
        }
        (!said.is_empty()).then(|| format!("Only what is selected was measured: {}\n", one_line(said)))
    }

    /// What a person who wants probes to go is told at the end, if all had to stay.
    pub(super) fn kept_note(&self) -> Option<String> {
        let reason = "with a context for each test all probes stay, for the next test in the same program needs them";
        self.kept.map(|option| format!("{option} took no probe away: {reason}\n"))
    }

    /// Whether the person named the sources that are wanted.
    pub(super) fn is_named(&self) -> bool {
        self.default_root.is_none()
    }

    /// Directories that the person named, below which sources are wanted.
    pub(super) fn named_roots(&self) -> Vec<PathBuf> {
        let prefixes = if self.is_named() { self.prefixes() } else { Vec::new() };
        prefixes.into_iter().filter(|prefix| prefix.ends_with('/')).map(PathBuf::from).collect()
    }

    /// Beginnings of paths, one of which every wanted source file has, with and without links followed.
    pub(super) fn prefixes(&self) -> Vec<String> {
        let mut prefixes = self.filter.prefixes();
        let canonical = |prefix: &String| {
            let path = self.invoker.canonical(Path::new(prefix))?.display().to_string();
            let slash = if prefix.ends_with('/') && path != "/" { "/" } else { "" };
            Some(format!("{path}{slash}"))
        };
        let more: Vec<String> = prefixes.iter().filter(|prefix| !prefix.is_empty()).filter_map(canonical).collect();
        prefixes.extend(more);
        prefixes.sort();
        prefixes.dedup();
        prefixes
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
            _ if !self.chosen.said.is_empty() => {
                ("none of its lines is selected by ".to_owned() + &self.chosen.said, "select others")
            }
            Some(root) => (all("lies", "lie") + " outside " + &display(root), "include them with --include '**'"),
            None => (all("is", "are") + " left out by --include and --exclude", "change the patterns"),
        };
        Message::new(Slug::NothingToMeasure, format!("{}: {what}; {how}", path.display()))
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
