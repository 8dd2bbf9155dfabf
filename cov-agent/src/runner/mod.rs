//! One measurement: objects are armed, processes counted, counters turned into line counts.
//!
//! Generic over the [`Kernel`], so that tests run it without one.

mod cache;
mod context_log;
mod contexts;
mod disarm;
mod ended;
mod hits;
mod journal;
mod lightening;
mod lingering;
mod marks;
mod naming;
mod prepare;
mod record;
mod rights;
mod stops;
#[cfg(test)]
mod tests;
mod tracking;
mod ways;

pub use cache::{Cache, CacheError};
pub use disarm::{Budget, Disarmed, Disarmer};
pub use ended::Ended;
pub use hits::Hits;
pub use journal::{Head, Interrupted, Journal, JournalError};
pub use lingering::Lingering;
pub use naming::{Commands, Naming};
pub use prepare::{Candidate, Objects, Prepared, Skipped, prepare, read_and_plan, read_and_plan_stopped};
pub use rights::Invoker;
pub use stops::Again;

use contexts::Contexts;
use record::Counts;

use crate::coverage::{CoverageCollector, LossKind, Run, Snapshot};
use crate::object;
use crate::plan::{Frozen, ProbePlan, SlotId};
use crate::probe::{ArmedId, Kernel, KernelLosses, ProbeError};
use crate::process::gate::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Measures processes with one kernel.
///
/// [`setup_coverage_hooks`](Self::setup_coverage_hooks) arms, [`track`](Self::track) begins to
/// count a process, [`collect_coverage_results`](Self::collect_coverage_results) turns counters into
/// line counts, [`cleanup_coverage`](Self::cleanup_coverage) ends it. [`measure`](Self::measure) does the last two whichever way what is
/// between is left. To drop the runner disarms all.
///
/// ```no_run
/// use cov_agent::coverage::{CoverageCollector, Run, Snapshot};
/// use cov_agent::object::DebugSearch;
/// use cov_agent::plan::{PlanOptions, Scope};
/// use cov_agent::probe::{Bpf, Options};
/// use cov_agent::runner::{Candidate, CoverageTestRunner, prepare};
/// use std::path::Path;
///
/// /// What the process `held`, which waits before its first instruction, runs of `program` until `end` returns.
/// fn measure(program: &Path, held: u32, end: impl FnOnce()) -> Result<Snapshot, Box<dyn std::error::Error>> {
///     let wanted = |source: &Path| source.starts_with("/home/me/project");
///     let options = PlanOptions { scope: Scope::Part, ..PlanOptions::of(&wanted) };
///     let objects = prepare(vec![Candidate::open(program)?], &DebugSearch::default(), &options, None, &|| {});
///     let mut runner = CoverageTestRunner::new(Bpf::new(Options::default())?, CoverageCollector::coverage_init());
///     runner.setup_coverage_hooks(objects.prepared)?;
///     runner.track(held)?;
///     end();
///     runner.collect_coverage_results()?;
///     let (snapshot, kernel) = runner.cleanup_coverage(Run::default());
///     drop(kernel);
///     Ok(snapshot)
/// }
/// ```
pub struct CoverageTestRunner<K> {
    kernel: K,
    collector: CoverageCollector,
    armed: Vec<ArmedObject>,
    /// What was disarmed amid runs and the journal takes for counted to its end.
    cut: Vec<u32>,
    contexts: Option<Contexts>,
    disarmer: Option<Disarmer>,
    hits: Hits,
    /// What the kernel could not count, as far as it is recorded.
    lost: KernelLosses,
}

/// An object whose probes are armed.
struct ArmedObject {
    id: ArmedId,
    /// Which content of which file; `None` where the file system does not tell.
    version: Option<Key>,
    /// What the journal calls it, once that knows it.
    journaled: Option<u32>,
    measured: Measured,
    /// The counters as they were when they were recorded last; empty before.
    told: Vec<u64>,
    /// What copies of it counted, which are recorded with it.
    copies: Vec<u64>,
    /// How many counters had stopped then.
    told_stops: usize,
    /// Counters of threads that stopped for good amid its code, which stand behind its own.
    stopped: Vec<u64>,
}

/// What the counters of an object are turned into line counts with.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    path: PathBuf,
    plan: ProbePlan,
    /// Counters of sites that the kernel refused: they stay 0 whatever runs.
    dead: BTreeSet<SlotId>,
    /// Counters that have stopped before the end; written down apart.
    #[serde(skip)]
    frozen: Frozen,
}

impl<K: Kernel> CoverageTestRunner<K> {
    /// A runner that arms with `kernel` and records into `collector`.
    #[must_use]
    pub fn new(kernel: K, collector: CoverageCollector) -> Self {
        Self {
            kernel,
            collector,
            armed: Vec::new(),
            cut: Vec::new(),
            contexts: None,
            disarmer: None,
            hits: Hits::default(),
            lost: KernelLosses::default(),
        }
    }

    /// Names the contexts that the kernel tells apart; at most `limit` names are kept. Plans must be made for
    /// [parts](crate::plan::Scope::Part) of runs, which a context is.
    pub fn name_contexts(&mut self, naming: Naming, limit: usize) {
        self.contexts = Some(Contexts::new(naming, limit));
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The kernel, to ask it what is not of this trait.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The collector, with its losses.
    #[must_use]
    pub fn collector(&self) -> &CoverageCollector {
        &self.collector
    }

    /// Arms the probes of `objects`. Nothing is counted before a process is
    /// [tracked](Self::track). Sites that the kernel refuses become losses.
    ///
    /// # Errors
    /// The kernel arms nothing: no privilege, no memory.
    pub fn setup_coverage_hooks(&mut self, objects: Vec<Prepared>) -> Result<(), ProbeError> {
        for prepared in objects {
            let armed = self.kernel.attach(&prepared.file, &prepared.plan.sites, prepared.plan.slots)?;
            if let Some(contexts) = &mut self.contexts {
                let marks = contexts.marks_of(&prepared);
                if !marks.is_empty() {
                    self.kernel.mark(armed.id, &prepared.file, &marks)?;
                }
            }
            let Prepared { path, file, plan, .. } = prepared;
            if let Some(disarmer) = &self.disarmer
                && let Some(links) = self.kernel.links(armed.id)?
            {
                disarmer.add(armed.id, links, &plan, object::usdt_places(&file));
            }
            let version = Key::of(&file).ok();
            let mut dead = BTreeSet::new();
            for refused in &armed.refused {
                let Some(site) = plan.sites.get(refused.site) else { continue };
                dead.extend(record::slots_of(site.observe));
                let detail = format!("{} at {}: {}", path.display(), site.addr, refused.reason);
                self.collector.losses_mut().add_detail(LossKind::UnprobeableSites, detail);
            }
            let measured = Measured { path, plan, dead, frozen: Frozen::default() };
            self.armed.push(ArmedObject {
                id: armed.id,
                version,
                journaled: None,
                measured,
                told: Vec::new(),
                copies: Vec::new(),
                told_stops: 0,
                stopped: Vec::new(),
            });
        }
        Ok(())
    }

    /// See [`Journal::keep_state`].
    ///
    /// # Errors
    /// The kernel fails.
    pub fn keep_state(&mut self, journal: &Journal) -> Result<(), JournalError> {
        journal.keep_state(&mut self.kernel)?;
        if let Some(contexts) = &mut self.contexts {
            contexts.outlive(journal.context_log()?);
        }
        Ok(())
    }

    /// Writes down in `journal` what was armed, or disarmed amid runs, since the last time, so that the counts survive this process.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn write_journal(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        self.cut.drain(..).try_for_each(|name| journal.cut(name))?;
        self.armed.iter_mut().filter(|object| object.journaled.is_none()).try_for_each(|object| {
            let name = journal.add(&mut self.kernel, object.id, &object.measured)?;
            object.journaled = Some(name);
            if let Some(contexts) = &mut self.contexts {
                contexts.journaled(object.id, name).map_err(|source| journal.context_error(source))?;
            }
            let path = journal.frozen(name);
            let written =
                self.disarmer.as_ref().map_or(Ok(()), |disarmer| disarmer.write_frozen(object.id, path.clone()));
            written.map_err(|source| JournalError::File { path, source })
        })
    }

    /// Disarms what is armed on the file of `now` if that file's content is not what it was: instructions have moved
    /// from under the probes. Counts until then are recorded.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn disarm_if_rewritten(&mut self, now: Key) -> Result<(), ProbeError> {
        let rewritten = |object: &ArmedObject| object.version.is_some_and(|then| then.same_file(now) && then != now);
        while let Some(at) = self.armed.iter().position(rewritten) {
            self.disarm_at(at, record::record)?;
        }
        Ok(())
    }

    /// Lets go of the probes on files that are `gone`, whose counters stay: before another process, which holds them too,
    /// does, and [`disarm`](Self::disarm) or [`disarm_if_rewritten`](Self::disarm_if_rewritten) reads what was counted until then.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn release(&mut self, gone: impl Fn(Key) -> bool) -> Result<(), ProbeError> {
        for object in self.armed.iter_mut().filter(|object| object.version.is_some_and(&gone)) {
            object.let_go(self.disarmer.as_ref(), self.contexts.as_mut());
            self.kernel.release(object.id)?;
        }
        Ok(())
    }

    /// Disarms this content of this file, if it is armed, and records what was counted until then: `amid` runs, so that
    /// the counts are lower bounds. Whether it was armed.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn disarm(&mut self, key: Key, amid: bool) -> Result<bool, ProbeError> {
        let mut found = false;
        while let Some(at) = self.armed.iter().position(|object| object.version.is_some_and(|then| then.is_same(key))) {
            self.cut.extend(self.armed.get(at).filter(|_| amid).and_then(|object| object.journaled));
            self.disarm_at(at, if amid { record::record_amid } else { record::record })?;
            found = true;
        }
        Ok(found)
    }

    fn disarm_at(
        &mut self,
        at: usize,
        record: fn(&CoverageCollector, &Measured, Counts<'_>, &[record::ContextHits]),
    ) -> Result<(), ProbeError> {
        let mut object = self.armed.swap_remove(at);
        object.let_go(self.disarmer.as_ref(), self.contexts.as_mut());
        let counters = self.kernel.detach(object.id)?;
        let stopped = object.new_stops(self.contexts.as_ref());
        let contexts = match &mut self.contexts {
            Some(contexts) => contexts.take_object(&mut self.kernel, object.id)?,
            None => Vec::new(),
        };
        let counts = Counts { new: &object.untold(&counters), all: &object.all(&counters), stopped };
        record(&self.collector, &object.measured, counts, &contexts);
        Ok(())
    }

    /// Whether this content of this file is armed.
    #[must_use]
    pub fn is_armed(&self, key: Key) -> bool {
        self.armed.iter().any(|object| object.version.is_some_and(|then| then.is_same(key)))
    }

    /// The files that are armed, with the paths where they were found.
    #[must_use]
    pub fn armed_files(&self) -> Vec<(Key, PathBuf)> {
        self.armed.iter().filter_map(|object| Some((object.version?, object.measured.path.clone()))).collect()
    }

    /// Records what was counted since it was recorded last; counting goes on. Only for objects that are planned with
    /// [`Scope::Part`](crate::plan::Scope::Part): processes are amid their runs.
    ///
    /// # Errors
    /// A counter cannot be read. What could be is recorded.
    pub fn record_progress(&mut self) -> Result<(), ProbeError> {
        let mut outcome = match &mut self.contexts {
            Some(contexts) => contexts.progress(&mut self.kernel),
            None => Ok(()),
        };
        for object in &mut self.armed {
            match self.kernel.counters(object.id) {
                Ok(counters) => {
                    object.take_frozen(self.disarmer.as_ref());
                    let stopped = object.new_stops(self.contexts.as_ref());
                    let counts = Counts { new: &object.untold(&counters), all: &object.all(&counters), stopped };
                    let contexts = self.contexts.as_mut().map(|contexts| contexts.take(object.id)).unwrap_or_default();
                    record::record(&self.collector, &object.measured, counts, &contexts);
                    object.told = counters;
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome.and(self.record_losses())
    }

    /// Whether no line is measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// How many probes there are, refused ones among them.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.armed.iter().map(|object| object.measured.plan.sites.len()).sum()
    }

    /// How many hits of probes were counted, as far as the results were collected.
    #[must_use]
    pub fn hits(&self) -> Hits {
        self.hits
    }

    /// Turns the counters, as they are now, into line counts. Probes stay armed and are forgotten:
    /// what they count from now on is in no result.
    ///
    /// # Errors
    /// A counter cannot be read. What could be is recorded.
    pub fn collect_coverage_results(&mut self) -> Result<(), ProbeError> {
        let mut outcome = Ok(());
        if let Some(contexts) = &mut self.contexts {
            outcome = contexts.finish(&mut self.kernel);
            contexts.lose(&self.collector);
        }
        for mut object in std::mem::take(&mut self.armed) {
            match self.kernel.counters(object.id) {
                Ok(counters) => {
                    let contexts = self.contexts.as_mut().map(|contexts| contexts.take(object.id)).unwrap_or_default();
                    self.hits.add(&object.measured.plan, &counters, &contexts);
                    let stopped = object.new_stops(self.contexts.as_ref());
                    let counts = Counts { new: &object.untold(&counters), all: &object.all(&counters), stopped };
                    record::record(&self.collector, &object.measured, counts, &contexts);
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome.and(self.record_losses())
    }

    /// Records what the kernel could not count since the last time.
    fn record_losses(&mut self) -> Result<(), ProbeError> {
        let now = self.kernel.losses()?;
        record::lose(&self.collector, now.since(self.lost));
        self.lost = now;
        Ok(())
    }

    /// Ends the measurement and gives its data. The kernel comes back too: to drop it disarms all
    /// probes, which takes tens of milliseconds and can be done when the results are written.
    #[must_use]
    pub fn cleanup_coverage(self, run: Run) -> (Snapshot, K) {
        (self.collector.coverage_cleanup(run), self.kernel)
    }
}
