//! Counters → counts, as the formulas of a plan say.

use super::types::{Aim, LineFormula, ProbePlan, Term};
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
    /// Whether `count` is exact; else it is a lower bound.
    pub exact: bool,
}

/// The counts of all lines of `plan`, in its order. A counter that `counters` does not have counts as 0.
///
/// Counters that contradict each other (a negative sum, or a line that was seen with a count of 0) show
/// that control went where the plan did not know of, or that counting began or ended in the middle of a
/// function: the count is then the least that is certain, and not `exact`.
///
/// A plan whose aim is [`Aim::Hits`] tells of 0 and of "at least 1".
#[must_use]
pub fn evaluate(plan: &ProbePlan, counters: &[u64]) -> Vec<LineResult> {
    plan.lines.iter().map(|formula| evaluate_line(plan.aim, formula, counters)).collect()
}

/// The count of one line of a plan with this aim; see [`evaluate`].
#[must_use]
pub fn evaluate_line(aim: Aim, formula: &LineFormula, counters: &[u64]) -> LineResult {
    let hit = formula.seen.iter().any(|seen| sum(seen, counters) > 0);
    if aim == Aim::Hits {
        let (file, line, count) = (formula.file, formula.line, u64::from(hit));
        return LineResult { file, line, count, hit, exact: formula.exact && !hit };
    }
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
}

/// The entries of all functions of `plan`, in its order.
#[must_use]
pub fn evaluate_functions(plan: &ProbePlan, counters: &[u64]) -> Vec<FunctionResult> {
    let function = |formula: &super::FunctionFormula| {
        let count = u64::try_from(sum(&formula.count, counters).max(0)).unwrap_or(u64::MAX);
        let (count, exact) = match plan.aim {
            Aim::Counts => (count, true),
            Aim::Hits => (count.min(1), count == 0),
        };
        FunctionResult { name: formula.name.clone(), file: formula.file, line: formula.line, count, exact }
    };
    plan.functions.iter().map(function).collect()
}

/// How often the ways out of conditional jumps of `plan` were taken, in its order, and whether that is exact: counters
/// may contradict each other, as in [`evaluate`].
#[must_use]
pub fn evaluate_ways(plan: &ProbePlan, counters: &[u64]) -> Vec<(u64, bool)> {
    let way = |formula: &super::WayFormula| {
        let sum = sum(&formula.count, counters);
        (u64::try_from(sum.max(0)).unwrap_or(u64::MAX), sum >= 0)
    };
    plan.ways.iter().map(way).collect()
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

#[cfg(test)]
mod tests {
    use super::super::{FunctionFormula, LineFormula, SlotId};
    use super::*;
    use crate::object::ObjectId;

    #[test]
    fn hits_are_lower_bounds_and_what_is_not_hit_is_not() {
        let terms = |slots: &[u32]| slots.iter().map(|&slot| Term { slot: SlotId(slot), coefficient: 1 }).collect();
        let line = |line, slots: &[u32], exact| {
            let seen = slots.iter().map(|&slot| terms(&[slot])).collect();
            LineFormula { file: FileId(0), line, count: Vec::new(), exact, seen, lasting: false, steady: false }
        };
        let function = |line, slots| FunctionFormula {
            name: "f".into(),
            file: FileId(0),
            line,
            count: terms(slots),
            seen: Vec::new(),
            lasting: false,
            steady: false,
        };
        let plan = ProbePlan {
            object: ObjectId::BuildId(vec![1]),
            aim: Aim::Hits,
            files: Vec::new(),
            sites: Vec::new(),
            spare: Vec::new(),
            slots: 3,
            ways: Vec::new(),
            lines: vec![line(1, &[0, 1], true), line(2, &[2], true), line(3, &[2], false)],
            functions: vec![function(1, &[0, 1]), function(2, &[2])],
            unmeasurable: Vec::new(),
        };
        let counters = [0, 7, 0];
        let lines: Vec<_> = evaluate(&plan, &counters).iter().map(|l| (l.line, l.count, l.hit, l.exact)).collect();
        assert_eq!(lines, [(1, 1, true, false), (2, 0, false, true), (3, 0, false, false)]);
        let functions: Vec<_> = evaluate_functions(&plan, &counters).iter().map(|f| (f.count, f.exact)).collect();
        assert_eq!(functions, [(1, false), (0, true)]);
    }
}
