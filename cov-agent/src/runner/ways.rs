//! Counters of one object → how often ways out of conditional jumps were taken.

use super::Measured;
use super::record::{ContextHits, Files};
use crate::coverage::{ExecutionCounter, Way};
use crate::plan::{self, WayFormula};

/// Records what the counters of `object`, those of hits in contexts added, say of its conditional jumps. `amid`: processes
/// are amid running it, so that nothing can be told by subtraction.
pub(super) fn record(object: &Measured, files: &Files, counters: &[u64], contexts: &[ContextHits], amid: bool) {
    if object.plan.ways.is_empty() {
        return;
    }
    let mut counters = counters.to_vec();
    for (&slot, &hits) in contexts.iter().flat_map(|context| &context.hits) {
        if let Some(counter) = counters.get_mut(slot as usize) {
            *counter = counter.saturating_add(hits);
        }
    }
    for (formula, (count, exact)) in object.plan.ways.iter().zip(plan::evaluate_ways(&object.plan, &counters)) {
        let Some(file) = files.get(formula.file) else { continue };
        // What a dead counter misses lacks in the sum, unless it is subtracted.
        let dead = formula.count.iter().any(|term| object.dead.contains(&term.slot));
        let adds = formula.count.iter().all(|term| term.coefficient > 0);
        let counter = match (exact && !dead && !amid, adds) {
            (true, _) => ExecutionCounter::exact(count),
            (false, true) => ExecutionCounter::at_least(count),
            (false, false) => ExecutionCounter::at_least(0),
        };
        let &WayFormula { line, shape, jump, number, to, .. } = formula;
        file.lock().way(Way { line, shape, jump, number, to }, counter);
    }
}
