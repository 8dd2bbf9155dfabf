//! Counters of one object → line counts in the collector.

use super::{Measured, ways};
use crate::coverage::{CoverageCollector, ExecutionCounter, FileHandle, LossKind};
use crate::object::{FileId, SourceFile};
use crate::plan::{self, Aim, Frozen, LineFormula, LineResult, Observe, SlotId, Term};
use crate::probe::KernelLosses;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is said of a line whose only probes the kernel refused.
const REFUSED: &str = "the kernel refused its probe";

/// What is said of counters that cost too much.
const BEYOND: &str = "their lines have lower bounds, since they cost more than --overhead allows";

/// Counters of an object, by slot.
#[derive(Clone, Copy)]
pub(super) struct Counts<'a> {
    /// What was counted since it was recorded last.
    pub(super) new: &'a [u64],
    /// What was counted in all.
    pub(super) all: &'a [u64],
    /// How many counters have stopped since then, in contexts or not.
    pub(super) stopped: usize,
}

impl<'a> Counts<'a> {
    /// Nothing was recorded before, and so many counters have stopped.
    pub(super) fn whole(all: &'a [u64], stopped: usize) -> Self {
        Self { new: all, all, stopped }
    }
}

/// Hits of an object's counters in the contexts of a name.
#[derive(Debug, Clone)]
pub(super) struct ContextHits {
    pub(super) name: Arc<str>,
    /// By slot.
    pub(super) hits: BTreeMap<u32, u64>,
    /// The counters that have stopped in some of them.
    pub(super) frozen: Frozen,
}

/// Records what the counters of `object` say of its lines; and those of hits in contexts, which are not among them.
pub(super) fn record(collector: &CoverageCollector, object: &Measured, counts: Counts<'_>, contexts: &[ContextHits]) {
    let Measured { plan, frozen, .. } = object;
    let Counts { new: counters, all, stopped } = counts;
    collector.object(plan.object.to_string(), object.path.display().to_string());
    let files = Files::new(collector, &plan.files, &plan.object.to_string());
    let mut inconsistent = 0u64;
    for (n, formula) in plan.lines.iter().enumerate() {
        let result = match plan.aim {
            Aim::Counts => frozen.line(n, formula, counters, all),
            Aim::Hits => plan::evaluate_line(plan.aim, formula, counters),
        };
        let Some(file) = files.get(formula.file) else { continue };
        match line(formula, result, &object.dead, counters) {
            Some(counter) => file.lock().record(formula.line, counter, ""),
            None => file.lock().unmeasurable(formula.line, REFUSED),
        }
        let told = plan.aim == Aim::Counts && formula.exact && !frozen.touch(formula);
        inconsistent += u64::from(told && !result.exact && !is_dead(formula, &object.dead));
    }
    for ((n, formula), result) in plan.functions.iter().enumerate().zip(plan::evaluate_functions(plan, counters)) {
        let dead = formula.count.iter().any(|term| object.dead.contains(&term.slot));
        if let Some(file) = files.get(formula.file) {
            let (count, exact) = match plan.aim {
                Aim::Counts => frozen.function(n, formula, counters, all),
                Aim::Hits => (result.count, result.exact),
            };
            let counter = match exact && !dead {
                true => ExecutionCounter::exact(count),
                false => ExecutionCounter::at_least(if dead { 0 } else { count }),
            };
            file.lock().function(formula.line, formula.name.as_str(), counter);
        }
    }
    ways::record(object, &files, counters, contexts, false);
    record_contexts(object, &files, counters.len(), contexts);
    for line in &plan.unmeasurable {
        if let Some(file) = files.get(line.file) {
            file.lock().unmeasurable(line.line, line.reason.to_string());
        }
    }
    if stopped > 0 {
        let mut losses = collector.losses_mut();
        losses.add(LossKind::DisarmedCounters, stopped as u64);
        losses.describe(LossKind::DisarmedCounters, BEYOND);
    }
    if inconsistent > 0 {
        let mut losses = collector.losses_mut();
        losses.add(LossKind::InconsistentCounts, inconsistent);
        losses.describe(LossKind::InconsistentCounts, object.path.display().to_string());
    }
}

/// Records what the counters of `object` say of its lines when processes are amid running it: what has flowed into a
/// piece of code need not have flowed out of it yet, so nothing can be told by subtraction.
pub(super) fn record_amid(
    collector: &CoverageCollector,
    object: &Measured,
    Counts { new: counters, .. }: Counts<'_>,
    contexts: &[ContextHits],
) {
    let plan = &object.plan;
    collector.object(plan.object.to_string(), object.path.display().to_string());
    let files = Files::new(collector, &plan.files, &plan.object.to_string());
    let adds = |sum: &[Term]| sum.iter().all(|term| term.coefficient > 0);
    let record = |counters: &[u64], context: &str| {
        let least = |sum: &[Term]| if adds(sum) { plan::sum(sum, counters) } else { 0 };
        for formula in &plan.lines {
            let seen = formula.seen.iter().any(|sum| least(sum) > 0);
            let count = u64::try_from(least(&formula.count).max(seen.into())).unwrap_or(u64::MAX);
            if let Some(file) = files.get(formula.file).filter(|_| context.is_empty() || count > 0) {
                file.lock().record(formula.line, ExecutionCounter::at_least(count), context);
            }
        }
        for formula in &plan.functions {
            let count = u64::try_from(least(&formula.count)).unwrap_or(u64::MAX);
            if let Some(file) = files.get(formula.file) {
                file.lock().function(formula.line, formula.name.as_str(), ExecutionCounter::at_least(count));
            }
        }
    };
    record(counters, "");
    ways::record(object, &files, counters, contexts, true);
    for ContextHits { name, hits, .. } in contexts {
        let count = |slot| hits.get(&slot).copied().unwrap_or(0);
        let counters: Vec<u64> = (0u32..).take(counters.len()).map(count).collect();
        record(&counters, name);
    }
}

/// Records what the kernel could not count.
pub(super) fn lose(collector: &CoverageCollector, losses: KernelLosses) {
    let mut all = collector.losses_mut();
    all.add(LossKind::DroppedEvents, losses.hits);
    all.add(LossKind::UntrackedProcesses, losses.processes);
    all.add(LossKind::DroppedEvents, losses.news);
    if losses.stops > 0 {
        let detail = "nobody knows where some of the threads were that signals ended";
        all.add(LossKind::InconsistentCounts, losses.stops);
        all.describe(LossKind::InconsistentCounts, detail);
    }
    all.add(LossKind::MergedContexts, losses.contexts);
    if losses.merged > 0 {
        all.add(LossKind::MergedContexts, 1);
        let detail = format!("{} hits found no room in the kernel's table of contexts", losses.merged);
        all.describe(LossKind::MergedContexts, detail);
    }
}

/// Records the hits in contexts, looking only at what depends on their counters: a test runs a small part.
fn record_contexts(object: &Measured, files: &Files, slots: usize, contexts: &[ContextHits]) {
    if contexts.is_empty() {
        return;
    }
    let plan = &object.plan;
    let mut by_slot = vec![(Vec::new(), Vec::new()); slots];
    for (index, formula) in plan.lines.iter().enumerate() {
        for term in formula.count.iter().chain(formula.seen.iter().flatten()) {
            if let Some((lines, _)) = by_slot.get_mut(term.slot.0 as usize) {
                lines.push(index);
            }
        }
    }
    for (index, formula) in plan.functions.iter().enumerate() {
        for term in &formula.count {
            if let Some((_, functions)) = by_slot.get_mut(term.slot.0 as usize) {
                functions.push(index);
            }
        }
    }
    let mut counters = vec![0; slots];
    for ContextHits { name: context, hits, frozen } in contexts {
        let (mut lines, mut functions) = (BTreeSet::<usize>::new(), BTreeSet::<usize>::new());
        for (&slot, &hits) in hits {
            if let (Some(counter), Some(by_slot)) = (counters.get_mut(slot as usize), by_slot.get(slot as usize)) {
                *counter = hits;
                lines.extend(&by_slot.0);
                functions.extend(&by_slot.1);
            }
        }
        for (n, formula) in lines.into_iter().filter_map(|index| Some((index, plan.lines.get(index)?))) {
            let result = match plan.aim {
                Aim::Counts => frozen.line(n, formula, &counters, &counters),
                Aim::Hits => plan::evaluate_line(plan.aim, formula, &counters),
            };
            let counter = line(formula, result, &object.dead, &counters);
            if let (Some(file), Some(counter)) = (files.get(formula.file), counter.filter(|counter| counter.is_hit())) {
                file.lock().record(formula.line, counter, context);
            }
        }
        for (n, formula) in functions.into_iter().filter_map(|index| Some((index, plan.functions.get(index)?))) {
            let (count, exact) = match plan.aim {
                Aim::Counts => frozen.function(n, formula, &counters, &counters),
                Aim::Hits => (u64::try_from(plan::sum(&formula.count, &counters).clamp(0, 1)).unwrap_or(0), false),
            };
            if let Some(file) = files.get(formula.file) {
                let counter = if exact { ExecutionCounter::exact(count) } else { ExecutionCounter::at_least(count) };
                file.lock().function(formula.line, formula.name.as_str(), counter);
            }
        }
        for slot in hits.keys() {
            if let Some(counter) = counters.get_mut(*slot as usize) {
                *counter = 0;
            }
        }
    }
}

/// The counters that a site adds to.
pub(super) fn slots_of(observe: Observe) -> impl Iterator<Item = SlotId> {
    let (first, second) = match observe {
        Observe::Count { slot } => (slot, None),
        Observe::Branch { taken, .. } => (taken, Some(SlotId(taken.0.saturating_add(1)))),
    };
    std::iter::once(first).chain(second)
}

/// The files of an object that are recorded.
pub(super) struct Files(Vec<Option<FileHandle>>);

impl Files {
    fn new(collector: &CoverageCollector, files: &[SourceFile], build_id: &str) -> Self {
        let handle = |file: &SourceFile| {
            let handle = collector.file(&file.path)?;
            let mut coverage = handle.lock();
            coverage.compiled_into(build_id);
            if let Some(md5) = file.md5 {
                coverage.digest(format!("md5:{}", md5.iter().map(|b| format!("{b:02x}")).collect::<String>()));
            }
            drop(coverage);
            Some(handle)
        };
        Self(files.iter().map(handle).collect())
    }

    pub(super) fn get(&self, file: FileId) -> Option<&FileHandle> {
        self.0.get(file.0 as usize)?.as_ref()
    }
}

/// Whether a line depends on a counter that cannot count.
fn is_dead(formula: &LineFormula, dead: &BTreeSet<SlotId>) -> bool {
    formula.count.iter().chain(formula.seen.iter().flatten()).any(|term| dead.contains(&term.slot))
}

/// The counter of a line; `None` if none of its probes that was armed tells whether it ran.
fn line(
    formula: &LineFormula,
    result: LineResult,
    dead: &BTreeSet<SlotId>,
    counters: &[u64],
) -> Option<ExecutionCounter> {
    if !is_dead(formula, dead) {
        let LineResult { count, exact, .. } = result;
        return Some(if exact { ExecutionCounter::exact(count) } else { ExecutionCounter::at_least(count) });
    }
    let alive = |sum: &&Vec<Term>| !sum.iter().any(|term| dead.contains(&term.slot));
    let hit = formula.seen.iter().filter(alive).any(|sum| plan::sum(sum, counters) > 0);
    // Flow that was not seen is missing from the sum: a lower bound, unless it is subtracted.
    let adds = formula.count.iter().all(|term| term.coefficient > 0);
    hit.then(|| ExecutionCounter::at_least(if adds { result.count.max(1) } else { 1 }))
}
