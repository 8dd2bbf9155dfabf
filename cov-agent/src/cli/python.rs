//! Lines of Python: who counts them, and how they get into the result.

use super::console::Console;
use super::measure::Measurement;
use super::message::{Message, Slug};
use super::setup::Setup;
use crate::config::{ContextFrom, Environment, Python as Engine, Settings};
use crate::coverage::{LossKind, filter};
use crate::format::input;
use crate::format::output::Rights as _;
use crate::python::monitor::{self, Bootstrap, Counted, Options};
use crate::python::{DataFiles, Hits, Interpreter, Origin, Recorder, files, is_likely, is_python};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What counts lines of Python while a program runs.
pub(super) struct Python<'a> {
    setup: &'a Setup,
    console: Console,
    engine: Engine,
    bootstrap: Option<Bootstrap>,
    data_files: Option<DataFiles>,
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
        let likely = || is_likely(Path::new(program), [&*setup.directory, &filter::default_root(&setup.directory)]);
        let engine = if engine == Engine::Auto && !likely() { Engine::Off } else { engine };
        let options = Options {
            counts: *settings.python_counts && !*settings.lines_only,
            tests: setup.contexts.0 == ContextFrom::Test,
            third_party: setup.is_named(),
            prefixes: setup.prefixes(),
        };
        let bootstrap = matches!(engine, Engine::Auto | Engine::Monitoring).then(|| Bootstrap::new(&options));
        let bootstrap = bootstrap.transpose().map_err(|error| {
            Message::new(Slug::Failed, format!("making a directory for the counts of Python lines: {error}"))
        })?;
        let data_files = matches!(engine, Engine::Auto | Engine::Coverage).then(|| {
            let named = std::env::var_os("COVERAGE_FILE").filter(|name| !name.is_empty()).map(PathBuf::from);
            let configured = Some(&settings.data_file.value).filter(|path| !path.as_os_str().is_empty()).cloned();
            let mut places = vec![setup.directory.join(".coverage")];
            places.extend([named, configured].into_iter().flatten().map(|path| setup.directory.join(path)));
            DataFiles::new(places)
        });
        Ok(Self { setup, console, engine, bootstrap, data_files })
    }

    /// What is added to the program's environment.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let value = |bootstrap: &Bootstrap| (monitor::VARIABLE, bootstrap.value(std::env::var_os(monitor::VARIABLE)));
        self.bootstrap.iter().map(value).collect()
    }

    /// Whether the kernel is to count.
    pub(super) fn in_kernel(&self) -> bool {
        self.engine == Engine::Usdt
    }

    /// Tells the kernel what is wanted, if it is to count.
    pub(super) fn watch(&self, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        if self.in_kernel() {
            measurement.watch_python(&self.setup.prefixes(), self.setup.is_named())?;
        }
        Ok(())
    }

    /// Records what was counted, and tells who did it. Whether there was anything.
    pub(super) fn finish(self, measurement: &mut Measurement<'_>) -> bool {
        let mut recorder = Recorder::default();
        let mut tests_told = false;
        if self.in_kernel() {
            take_from_kernel(self.setup, &mut recorder, measurement);
        }
        if let Some(bootstrap) = &self.bootstrap {
            match bootstrap.collect() {
                Ok(counted) => tests_told = self.take_counted(counted, &mut recorder, measurement),
                Err(error) => {
                    let loss = format!("reading the counts of Python lines: {error}");
                    measurement.lose(LossKind::UntrackedProcesses, loss);
                }
            }
        }
        if let Some(data_files) = &self.data_files {
            self.take_data_files(&data_files.appeared(), &mut recorder, measurement);
        }
        if self.setup.commands.unittest && !tests_told {
            self.console.note(
                "all tests of unittest in a process share one context: only Python 3.12 or later, with --python monitoring, \
                 tells them apart; pytest runs the same tests one by one",
            );
        }
        if recorder.hits.is_empty() {
            if let Some(text) = nothing(self.engine) {
                self.console.warning(&Message::new(Slug::Python, text));
            }
            return false;
        }
        record(self.setup, self.console, recorder, measurement);
        true
    }

    /// Whether any test had counters of its own.
    fn take_counted(&self, counted: Counted, recorder: &mut Recorder, measurement: &mut Measurement<'_>) -> bool {
        let Counted { hits, interpreters, any, processes, refused, losses, mixed } = counted;
        losses.into_iter().for_each(|loss| measurement.lose(LossKind::DroppedEvents, loss));
        mixed.into_iter().for_each(|mixed| measurement.lose(LossKind::MergedContexts, mixed));
        for refused in refused {
            let hint = ": not counted; --python usdt may do, or running it under coverage.py";
            measurement.lose(LossKind::UntrackedProcesses, format!("{refused}{hint}"));
        }
        let count: usize = processes.values().sum();
        if count == 0 {
            return false;
        }
        let versions = processes.into_keys().collect::<Vec<_>>().join(", ");
        let es = if count == 1 { "" } else { "es" };
        self.console.note(&format!(
            "sys.monitoring counted the lines of {count} process{es} of Python {versions}, whose environment had {} added",
            monitor::VARIABLE
        ));
        if let Err(error) = measurement.update_contexts() {
            self.console.warning(&error);
        }
        let mut tests = false;
        let mut named = |origin| match origin {
            Origin::Process(process, time) => {
                measurement.runner.context_of(process, time).unwrap_or_default().to_owned()
            }
            Origin::Test(value) => {
                tests = true;
                measurement.runner.context_of_test(&value)
            }
        };
        recorder.add(hits.into_iter().map(|(origin, hits)| (named(origin), hits)).collect());
        recorder.interpreters = interpreters;
        recorder.any = any;
        tests
    }

    /// Takes in data of coverage.py, but for files that were counted already.
    fn take_data_files(&self, paths: &[PathBuf], recorder: &mut Recorder, measurement: &mut Measurement<'_>) {
        let mut taken = 0;
        let mut found: Vec<(String, Hits)> = Vec::new();
        for path in paths {
            let opened = self.setup.invoker.open(path).map_err(Into::into);
            let snapshot = match opened.and_then(|file| input::read(file, input::Options::default().limits)) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    measurement.lose(LossKind::DamagedInput, format!("{}: {error}", path.display()));
                    continue;
                }
            };
            let before = found.len();
            for file in snapshot.files().iter().filter(|file| is_python(file.path())) {
                let path = self.setup.directory.join(&**file.path());
                if recorder.has(&path) {
                    continue;
                }
                for (context, lines) in file.contexts() {
                    let mut hits = Hits::default();
                    let file = hits.file(&path);
                    lines.hits().for_each(|(line, counter)| file.add(line, counter.value(), false));
                    found.push((context.to_owned(), hits));
                }
            }
            taken += usize::from(found.len() > before);
        }
        recorder.add(found);
        if taken > 0 {
            let files = if taken == 1 { "data file" } else { "data files" };
            self.console.note(&format!("coverage.py counted: {taken} {files} of it taken in, hits as lower bounds"));
        }
        if recorder.any.is_none() {
            recorder.any = python_in_path().map(|path| Interpreter { path, owner: owner(self.setup) });
        }
    }
}

/// Why nothing was counted by an engine that somebody asked for.
fn nothing(engine: Engine) -> Option<&'static str> {
    match engine {
        Engine::Monitoring => Some(
            "no Python process was counted: none began, or each was started with -I, -E or -S, or without the \
             environment variable PYTHONPATH, or is older than 3.12",
        ),
        Engine::Usdt => Some(
            "no Python process was counted: none began, or the interpreter lacks the probe python:line, which Python \
             3.6 to 3.11 have if they were built with --with-dtrace",
        ),
        Engine::Coverage => Some("no data file of coverage.py appeared; run the suite under coverage.py or pytest-cov"),
        Engine::Auto | Engine::Off => None,
    }
}

/// Records what the kernel counted in processes that were attached to.
pub(super) fn record_counted(setup: &Setup, console: Console, measurement: &mut Measurement<'_>) {
    let mut recorder = Recorder::default();
    take_from_kernel(setup, &mut recorder, measurement);
    if !recorder.hits.is_empty() {
        record(setup, console, recorder, measurement);
    }
}

fn take_from_kernel(setup: &Setup, recorder: &mut Recorder, measurement: &mut Measurement<'_>) {
    match measurement.take_python() {
        Ok(Some((path, hits))) => {
            recorder.any = Some(Interpreter { path: setup.directory.join(path), owner: owner(setup) });
            recorder.hits.push((String::new(), hits));
        }
        Ok(None) => {}
        Err(error) => measurement.lose(LossKind::DroppedEvents, error.to_string()),
    }
}

fn record(setup: &Setup, console: Console, mut recorder: Recorder, measurement: &mut Measurement<'_>) {
    let collector = measurement.runner.collector();
    let files = collector.files();
    let walked = setup.invoker.with(&mut || {
        let keep = |path: &Path| files.keeps(path);
        recorder.unseen = setup.named_roots().iter().flat_map(|root| files::importable(root, &keep)).collect();
    });
    if let Err(error) = walked {
        console.detail(&format!("looking for Python files that were not imported: {error}"));
    }
    let losses = recorder.record(collector);
    losses.into_iter().for_each(|loss| measurement.lose(LossKind::DamagedInput, loss));
}

/// The person who called the agent.
fn owner(setup: &Setup) -> (u32, u32) {
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    setup.invoker.owner().unwrap_or_else(own)
}

/// The Python that a shell would find.
fn python_in_path() -> Option<PathBuf> {
    let path = Environment::current().ok()?.variables.remove(OsStr::new("PATH"))?;
    std::env::split_paths(&path).map(|directory| directory.join("python3")).find(|python| python.is_file())
}
