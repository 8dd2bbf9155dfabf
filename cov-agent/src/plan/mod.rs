//! Line table and machine code → [`ProbePlan`]: WHERE to probe, and HOW counters become line counts.
//!
//! Pure: no kernel, no privilege, no file.

mod blocks;
mod bounds;
mod branches;
mod cfg;
mod check;
mod code;
mod cover;
mod dominators;
mod eval;
mod flow;
mod frequency;
mod functions;
mod graph;
mod incidental;
mod jump_tables;
mod lines;
mod marks;
mod returns;
mod rows;
mod selection;
mod spanning;
mod stack;
mod steps;
mod stops;
mod sums;
mod survey;
#[cfg(test)]
mod tests;
mod types;
mod x86_64;

pub use bounds::{Frozen, needed};
pub use check::still_holds;
pub use eval::{FunctionResult, LineResult, evaluate, evaluate_functions, evaluate_line, evaluate_ways, sum};
pub use marks::{Framework, MarkAct, MarkSite, marks};
pub use selection::{FileLines, Functions, Lines, Profile, Selection};
pub use stops::Stopped;
pub use survey::{Doubt, Survey, Unresolved, survey};
pub use types::{
    Aim, Condition, FunctionFormula, Instruction, LineFormula, Observe, ProbePlan, Reason, Site, SlotId, Term,
    Unmeasurable, WayFormula,
};

use crate::object::{Object, Wanted};

/// What a plan is to measure.
pub struct PlanOptions<'a> {
    /// The source files whose lines are wanted.
    pub wanted: &'a Wanted<'a>,
    /// What of these files is wanted.
    pub selection: Selection<'a>,
    /// What the plan may rely on.
    pub scope: Scope,
    /// Whether the ways out of conditional jumps are counted too.
    pub branches: bool,
    /// What its counters are to tell.
    pub aim: Aim,
    /// Whether counters may freeze, that is, stop before the end: then what tells that a line was executed subtracts nothing, and there are
    /// [spare sites](ProbePlan::spare).
    pub freezes: bool,
    /// Whether a probe goes once it has told what it can: then it must not wait for what may never come.
    pub goes: bool,
    /// What dear hits cost.
    pub dear: Dear,
}

/// What a hit of an instruction that the kernel single-steps costs where one that it emulates costs 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dear(pub u32);

impl Default for Dear {
    /// As in virtual machines.
    fn default() -> Self {
        Self(16)
    }
}

impl<'a> PlanOptions<'a> {
    /// Counts of everything in the files that are `wanted`, in whole runs.
    #[must_use]
    pub fn of(wanted: &'a Wanted<'a>) -> Self {
        let (selection, scope, aim) = (Selection::default(), Scope::default(), Aim::default());
        Self { wanted, selection, scope, branches: false, aim, freezes: false, goes: false, dear: Dear::default() }
    }
}

/// From where to where a plan's counters count, which decides what may be concluded from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Whole runs of programs: what flows into code has flowed out of it in the end, so that counters need not be
    /// placed where others tell (their formulas may subtract).
    #[default]
    Whole,
    /// A part of a run: functions are left that were never entered, and the other way round. Every count has
    /// counters of its own.
    Part,
}

impl std::fmt::Debug for PlanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanOptions").finish_non_exhaustive()
    }
}

/// Plans the probes of `object`.
#[must_use]
pub fn plan(object: &Object, options: &PlanOptions<'_>) -> ProbePlan {
    blocks::plan(object, options, &[])
}

/// The plan of `object` again, with formulas that hold where `threads` stopped for good amid code. They have counters of
/// their own, behind [`ProbePlan::slots`], one for each of `threads`: how many threads stopped so.
///
/// Only for plans whose aim is [`Aim::Counts`].
#[must_use]
pub fn plan_stopped(object: &Object, options: &PlanOptions<'_>, threads: &[Stopped]) -> ProbePlan {
    blocks::plan(object, options, threads)
}
