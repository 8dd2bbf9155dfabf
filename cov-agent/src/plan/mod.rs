//! Line table and machine code → [`ProbePlan`]: WHERE to probe, and HOW counters become line counts.
//!
//! Pure: no kernel, no privilege, no file.

mod blocks;
mod cfg;
mod code;
mod eval;
mod flow;
mod functions;
mod graph;
mod jump_tables;
mod lines;
mod rows;
mod types;
mod x86_64;

pub use eval::{FunctionResult, LineResult, evaluate, evaluate_functions};
pub use types::{
    Condition, FunctionFormula, Instruction, LineFormula, Observe, ProbePlan, Reason, Site, SlotId, Term, Unmeasurable,
};

use crate::object::{Object, Wanted};

/// What a plan is to measure.
pub struct PlanOptions<'a> {
    /// The source files whose lines are wanted.
    pub wanted: &'a Wanted<'a>,
}

impl std::fmt::Debug for PlanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanOptions").finish_non_exhaustive()
    }
}

/// Plans the probes of `object`.
#[must_use]
pub fn plan(object: &Object, options: &PlanOptions<'_>) -> ProbePlan {
    blocks::plan(object, options)
}
