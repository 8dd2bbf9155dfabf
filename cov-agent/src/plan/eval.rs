//! Counters → counts, as the formulas of a plan say.

use super::types::{ProbePlan, Term};
use crate::object::FileId;

/// What the counters say of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineResult {
    /// The source file.
    pub file: FileId,
    /// The line, from 1.
    pub line: u32,
    /// How often control entered the line.
    pub count: u64,
    /// Whether it was executed.
    pub hit: bool,
    /// Whether `count` is exact: the formula is, no counter that it uses is damaged, and the counters
    /// do not contradict each other. Else it is a lower bound.
    pub exact: bool,
}

/// What the counters say of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionResult {
    /// Its linkage name, mangled.
    pub name: String,
    /// Where it is declared.
    pub file: FileId,
    /// The declaration's line.
    pub line: u32,
    /// How often it was entered.
    pub count: u64,
}

/// The counts of all lines of `plan`, in its order. A counter that `counters` does not have counts as 0.
///
/// Counters that contradict each other (a negative sum, or a line that was seen with a count of 0) show
/// that control went where the plan did not know of, or that counting began or ended in the middle of a
/// function: the count is then the least that is certain, and not `exact`.
#[must_use]
pub fn evaluate(plan: &ProbePlan, counters: &[u64]) -> Vec<LineResult> {
    let line = |formula: &super::LineFormula| {
        let hit = formula.seen.iter().any(|seen| sum(seen, counters) > 0);
        let sum = sum(&formula.count, counters);
        let count = u64::try_from(sum.max(0)).unwrap_or(u64::MAX);
        // What is unhit is never counted, and what is hit was entered at least once.
        let (count, consistent) = match (hit, count) {
            (true, 0) => (1, false),
            (false, 0) => (0, sum == 0),
            (false, _) => (0, false),
            (true, count) => (count, true),
        };
        LineResult { file: formula.file, line: formula.line, count, hit, exact: formula.exact && consistent }
    };
    plan.lines.iter().map(line).collect()
}

/// The entries of all functions of `plan`, in its order.
#[must_use]
pub fn evaluate_functions(plan: &ProbePlan, counters: &[u64]) -> Vec<FunctionResult> {
    let function = |formula: &super::FunctionFormula| FunctionResult {
        name: formula.name.clone(),
        file: formula.file,
        line: formula.line,
        count: u64::try_from(sum(&formula.count, counters).max(0)).unwrap_or(u64::MAX),
    };
    plan.functions.iter().map(function).collect()
}

/// What `terms` come to. A counter that `counters` does not have counts as 0.
#[must_use]
pub fn sum(terms: &[Term], counters: &[u64]) -> i128 {
    let value = |term: &Term| {
        let counter = counters.get(term.slot.0 as usize).copied().unwrap_or_default();
        i128::from(counter) * i128::from(term.coefficient)
    };
    terms.iter().map(value).sum()
}
