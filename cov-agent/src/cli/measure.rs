//! What `run` and `--pid` have in common: reading objects, arming, writing the results.

use super::console::{Console, Verbosity};
use super::message::{Message, Slug, chain};
use super::object_error;
use super::progress::Progress;
use super::setup::Setup;
use super::usdt::Usdt;
use super::{output, recover, refine, stopped, summary};
use crate::config::Settings;
use crate::coverage::{LossKind, Run, RunId, Snapshot, paths};
use crate::format::output::OutputDir;
use crate::object::{DebugOrigin, ObjectError};
use crate::plan::{Instruction, Scope};
use crate::probe::{Bpf, Options, ProbeError};
use crate::process::gate::Key;
use crate::runner::{
    Candidate, CoverageTestRunner, Disarmed, Hits, Journal, JournalError, Lingering, Naming, Objects, Prepared,
    Skipped, prepare,
};
use nix::sys::resource::{UsageWho, getrusage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A measurement that is armed.
pub(super) struct Measurement<'a> {
    pub(super) setup: &'a Setup,
    pub(super) console: Console,
    pub(super) runner: CoverageTestRunner<Bpf>,
    /// Source files that the filter left out.
    left_out: BTreeSet<PathBuf>,
    lingering: Lingering,
    /// Whether each probe is armed on its own.
    one_by_one: bool,
    /// What outlives this process if it is killed.
    journal: Option<Journal>,
    /// Who counts lines of Python in the kernel.
    pub(super) usdt: Option<Usdt>,
}

impl<'a> Measurement<'a> {
    /// Reads the objects while the kernel programs are loaded, and arms their probes. What is not
    /// measured comes back. `options` is how to count, `scope` what of their processes will be counted.
    pub(super) fn arm(
        setup: &'a Setup,
        console: Console,
        candidates: Vec<Candidate>,
        options: Options,
        scope: Scope,
    ) -> Result<(Self, Vec<Skipped>), Message> {
        let collector = setup.collector();
        let begun = Instant::now();
        let (kernel, objects) = std::thread::scope(|threads| {
            let kernel = threads.spawn(|| Bpf::new(options));
            let progress = Progress::start(console, "reading debug info", candidates.len());
            let objects = setup.planning(collector.files(), scope, |options| {
                prepare(candidates, &setup.search, options, setup.cache.as_ref(), &|| progress.step())
            });
            (kernel.join(), objects)
        });
        let kernel = kernel.map_err(|_| Message::new(Slug::Failed, "loading the kernel programs ended in a panic"))?;
        let kernel = kernel.map_err(|e| probe_message(&e))?;
        console.detail(&format!(
            "read {} objects in {:.1?}",
            objects.prepared.len() + objects.skipped.len(),
            begun.elapsed()
        ));
        let one_by_one = !kernel.is_multi();
        let mut runner = CoverageTestRunner::new(kernel, collector);
        if options.contexts.is_some() {
            let (from, limit) = setup.contexts.clone();
            runner
                .name_contexts(Naming::new(from, setup.commands.clone()), usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let (left_out, lingering) = (BTreeSet::new(), Lingering::default());
        let started = runner.disarm_when_done(&lingering, setup.budget());
        started.map_err(|e| Message::new(Slug::Failed, format!("starting the thread that disarms: {e}")))?;
        let (journal, usdt) = (None, None);
        let mut measurement = Self { setup, console, runner, left_out, lingering, one_by_one, journal, usdt };
        measurement.begin_journal();
        let skipped = measurement.add(objects)?;
        Ok((measurement, skipped))
    }

    /// Without a journal the run goes on: only the counts of a killed agent are lost.
    fn begin_journal(&mut self) {
        recover::tell_interrupted(self.setup, self.console);
        let journal = Journal::begin(&recover::head(self.setup)).and_then(|journal| {
            self.runner.keep_state(&journal)?;
            Ok(journal)
        });
        self.journal = journal.map_err(|error| self.no_journal(&error)).ok();
    }

    fn write_journal(&mut self) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = self.runner.write_journal(journal)
        {
            self.no_journal(&error);
            self.journal = None;
        }
    }

    fn no_journal(&self, error: &JournalError) {
        let text = format!("a killed agent's counts would be lost: {}", chain(error));
        if error.is_usual() {
            self.console.detail(&text);
        } else {
            self.console.warning(&Message::new(Slug::Interrupted, text));
        }
    }

    /// Arms objects. What is not measured comes back.
    pub(super) fn add(&mut self, objects: Objects) -> Result<Vec<Skipped>, Message> {
        let console = self.console;
        let Objects { mut prepared, skipped, left_out } = objects;
        self.left_out.extend(left_out);
        prepared.retain(|object| !Key::of(&object.file).is_ok_and(|key| self.runner.is_armed(key)));
        for object in &prepared {
            tell(console, object);
            for note in &object.notes {
                self.lose(LossKind::DamagedInput, format!("{}: {note}", object.path.display()));
            }
        }
        for Skipped { path, error } in &skipped {
            let why = error.as_ref().map_or_else(|| "no wanted source".to_owned(), ToString::to_string);
            console.detail(&format!("not measured: {}: {why}", path.display()));
            if error.as_ref().is_some_and(is_loss) {
                self.lose(LossKind::UnattachedObjects, format!("{}: {why}", path.display()));
            }
        }
        if prepared.is_empty() {
            return Ok(skipped);
        }
        let keys = prepared.iter().filter_map(|object| Key::of(&object.file).ok()).collect();
        let (begun, before) = (Instant::now(), self.runner.probes());
        {
            let _progress = Progress::start(console, "arming probes", 0);
            self.runner.setup_coverage_hooks(prepared).map_err(|e| probe_message(&e))?;
        }
        console.detail(&format!("armed {} probes in {:.1?}", self.runner.probes() - before, begun.elapsed()));
        self.write_journal();
        self.leave_to_another(keys);
        Ok(skipped)
    }

    /// See [`CoverageTestRunner::disarm_if_rewritten`].
    pub(super) fn disarm_if_rewritten(&mut self, now: Key) -> Result<(), Message> {
        self.let_go(|then| then.same_file(now) && then != now)?;
        self.runner.disarm_if_rewritten(now).map_err(|e| probe_message(&e))
    }

    /// What another process holds too stays armed until that one lets go; then nothing is counted any more.
    fn let_go(&mut self, gone: impl Fn(Key) -> bool) -> Result<(), Message> {
        self.runner.release(&gone).map_err(|e| probe_message(&e))?;
        self.lingering.end(gone).map_err(|e| Message::new(Slug::Failed, format!("disarming: {e}")))
    }

    /// See [`CoverageTestRunner::disarm`].
    pub(super) fn disarm(&mut self, key: Key, amid: bool) -> Result<bool, Message> {
        self.let_go(|armed| armed.is_same(key))?;
        let found = self.runner.disarm(key, amid).map_err(|e| probe_message(&e));
        self.write_journal();
        found
    }

    /// Whether this content of this file is armed.
    pub(super) fn is_armed(&self, key: Key) -> bool {
        self.runner.is_armed(key)
    }

    /// How many source files the filter left out so far.
    pub(super) fn left_out(&self) -> usize {
        self.left_out.len()
    }

    /// Whether no line is measured.
    pub(super) fn is_empty(&self) -> bool {
        self.runner.is_empty()
    }

    /// Leaves to another process the disarming of what was armed just now, on the files `keys`.
    pub(super) fn leave_to_another(&mut self, keys: Vec<Key>) {
        if let Err(error) = self.lingering.add(keys) {
            self.console.detail(&format!("disarming will not be left to another process: {error}"));
        }
    }

    /// Says that something is not measured.
    pub(super) fn lose(&self, kind: LossKind, detail: String) {
        self.runner.collector().losses_mut().add_detail(kind, detail);
    }

    /// Says that something is not measured, `times` over.
    pub(super) fn lose_many(&self, kind: LossKind, times: u64, detail: String) {
        let mut losses = self.runner.collector().losses_mut();
        losses.add(kind, times);
        losses.describe(kind, detail);
    }

    /// How many probes are armed.
    pub(super) fn probes(&self) -> usize {
        self.runner.probes()
    }

    /// What was counted until now; counting goes on.
    pub(super) fn snapshot(&mut self, run: Run) -> Result<Snapshot, Message> {
        self.runner.record_progress().map_err(|e| probe_message(&e))?;
        Ok(self.runner.collector().snapshot(Run { selection: self.setup.selection().to_owned(), ..run.now() }))
    }

    /// Turns counters into files and prints the summary.
    pub(super) fn finish(self, program: String, output: &OutputDir<'_>, settings: &Settings) -> Result<(), Message> {
        let run = self.run(program);
        self.finish_run(run, output, settings)
    }

    /// What the results are of. What is recovered of it takes their place.
    pub(super) fn run(&self, program: String) -> Run {
        let directory = self.setup.directory.display().to_string();
        let id = self.journal.as_ref().map_or_else(RunId::random, Journal::id);
        Run { id, program, directory, ..Run::default() }
    }

    /// The same for a run of which there may be earlier results.
    pub(super) fn finish_run(self, run: Run, output: &OutputDir<'_>, settings: &Settings) -> Result<(), Message> {
        let Self { setup, console, mut runner, left_out, lingering: _lingering, one_by_one, journal, usdt: _ } = self;
        if let Some(disarmed) = runner.end_disarming() {
            tell_disarmed(console, &disarmed);
        }
        let begun = Instant::now();
        let probes = runner.probes();
        let collected = stopped::see(&mut runner, setup).and_then(|()| runner.collect_coverage_results());
        let Hits { all, dear } = runner.hits();
        let failed = summary::failed(runner.endings());
        let left_out = setup.left_out(runner.collector().files().left_out().len() + left_out.len());
        let (snapshot, kernel) = runner.cleanup_coverage(Run { selection: setup.selection().to_owned(), ..run.now() });
        console.detail(&format!("counted {all} hits, read in {:.1?}; single-stepped {dear}", begun.elapsed()));
        let begun = Instant::now();
        let (snapshot, written) = write(snapshot, setup, settings, output, console);
        console.detail(&format!("wrote the results in {:.1?}", begun.elapsed()));
        tell_memory(console);
        if console.verbosity() > Verbosity::Quiet {
            console.block(&failed);
            summary::print(console, &snapshot, &left_out, written.as_deref().unwrap_or_default());
            for text in setup.kept_note().into_iter().chain(setup.selection_note(&settings.output.value)) {
                console.block(&text);
            }
            if one_by_one {
                console.block(&summary::one_by_one(probes));
            }
        }
        if let Some(journal) = journal {
            recover::close(journal, written.is_ok(), console);
        }
        // Another process disarms; without it this does, which takes tens of milliseconds.
        drop(kernel);
        collected.map_err(|e| probe_message(&e))?;
        written.map(drop)
    }
}

/// Takes out of what was counted what the settings exclude, and writes it. The data comes back, as it was written, with
/// the files' paths.
pub(super) fn write(
    snapshot: Snapshot,
    setup: &Setup,
    settings: &Settings,
    output: &OutputDir<'_>,
    console: Console,
) -> (Snapshot, Result<Vec<PathBuf>, Message>) {
    let snapshot = snapshot.map_files(|file| Some(file.in_context(&settings.context)));
    let directory = paths::normalize("/", &setup.directory);
    match refine::finish(snapshot, settings, &directory, &setup.invoker, console) {
        Ok(mut snapshot) => {
            let written = output::write(&mut snapshot, settings, output, &setup.invoker, console);
            (snapshot, written)
        }
        Err(error) => (Snapshot::default(), Err(error)),
    }
}

/// Whether a library belongs to the system. Such a one is never armed: every process of the machine
/// has it mapped and would pay for the probes, which can bring the machine to a halt.
pub(super) fn is_system_library(path: &Path) -> bool {
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].iter().any(|directory| path.starts_with(directory))
}

/// Whether an object that was not measured for this reason is a loss: not that it has no debug info,
/// like most libraries of a distribution, or is no object at all.
fn is_loss(error: &ObjectError) -> bool {
    !matches!(error, ObjectError::NoDebugInfo { .. } | ObjectError::DebugFileMissing { .. } | ObjectError::NotElf)
}

/// The message for an object that is not measured: an error, or its sources are not wanted.
pub(super) fn skipped_message(setup: &Setup, skipped: &Skipped, left_out: usize) -> Message {
    match &skipped.error {
        Some(error) => object_error::message(&skipped.path, error),
        None => setup.nothing_to_measure(&skipped.path, left_out),
    }
}

fn tell(console: Console, object: &Prepared) {
    let plan = &object.plan;
    let emulated = plan.sites.iter().filter(|site| site.instruction == Instruction::Emulated).count();
    let range = match (plan.sites.first(), plan.sites.last()) {
        (Some(first), Some(last)) => format!(" from {} to {}", first.addr, last.addr),
        _ => String::new(),
    };
    console.detail(&format!(
        "{}: {} lines, {} not measurable, {} probes ({emulated} emulated, {} single-stepped){range}, debug info {}, \
         {}",
        object.path.display(),
        plan.lines.len(),
        plan.unmeasurable.len(),
        plan.sites.len(),
        plan.sites.len() - emulated,
        debug_info(&object.debug),
        object.how(),
    ));
    for note in &object.notes {
        console.warning(&Message::new(Slug::DamagedDebugInfo, format!("{}: {note}", object.path.display())));
    }
}

/// What went while the program ran.
fn tell_disarmed(console: Console, disarmed: &Disarmed) {
    let Disarmed { sites, stopped, breakpoints, relinked, forbidden, failed } = disarmed;
    console.detail(&format!(
        "disarmed {sites} sites, stopped {stopped} counters: took {breakpoints} breakpoints out of running processes, replaced links {relinked} times"
    ));
    if *forbidden {
        let text =
            "the kernel does not let breakpoints be taken out of running processes: they went for later ones only";
        console.warning(&Message::new(Slug::NotDisarmed, text));
    }
    if let Some(why) = failed {
        let text = format!("probes stayed armed, which took time, since the thread that disarms has ended: {why}");
        console.warning(&Message::new(Slug::NotDisarmed, text));
    }
}

/// How much memory this process, and the largest of the programs that it waited for, took.
fn tell_memory(console: Console) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("not known", str::trim);
    let program = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss());
    console.detail(&format!("peak memory {own}, of the program {program} kB"));
}

fn debug_info(origin: &DebugOrigin) -> String {
    origin.path().map_or_else(|| "in the object".to_owned(), |path| format!("in {}", path.display()))
}

/// The message for a kernel that does not do what is asked.
pub(super) fn probe_message(error: &ProbeError) -> Message {
    let slug = match error {
        ProbeError::NotPermitted { .. } => Slug::NoPrivilege,
        ProbeError::TooOld { .. } => Slug::KernelTooOld,
        ProbeError::NoMemory { .. }
        | ProbeError::TooManyObjects { .. }
        | ProbeError::TooManyCounters { .. }
        | ProbeError::TooManyProcesses { .. }
        | ProbeError::Silent => Slug::ProbesRefused,
        ProbeError::NotArmed | ProbeError::Kernel { .. } => Slug::Failed,
    };
    Message::new(slug, chain(error))
}
