//! How many hits of probes were counted.

use super::record::{ContextHits, slots_of};
use crate::plan::{Instruction, ProbePlan, SlotId};
use std::collections::BTreeSet;

/// Hits of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// All.
    pub all: u64,
    /// Those of them at instructions that the kernel single-steps.
    pub dear: u64,
}

impl Hits {
    /// Adds what the counters of `plan` have counted, by slot, and in contexts.
    pub(super) fn add(&mut self, plan: &ProbePlan, counters: &[u64], contexts: &[ContextHits]) {
        let dear = plan.sites.iter().filter(|site| site.instruction == Instruction::SingleStepped);
        let dear: BTreeSet<SlotId> = dear.flat_map(|site| slots_of(site.observe)).collect();
        let in_contexts = contexts.iter().flat_map(|context| &context.hits).map(|(&slot, &count)| (slot, count));
        for (slot, count) in (0..).zip(counters.iter().copied()).chain(in_contexts) {
            self.all = self.all.saturating_add(count);
            if dear.contains(&SlotId(slot)) {
                self.dear = self.dear.saturating_add(count);
            }
        }
    }
}
