//! What counters tell of which some have stopped: lower bounds.
//!
//! A counter that has stopped tells the least that it would be. A sum that adds it is a lower bound; one that subtracts it
//! has been one when the counter stopped, if what is under way at that moment is taken off: what has flowed into a
//! piece of code need not have flowed out of it yet. Each way that is amid the code adds to the sum at most what a way
//! that meets no counter twice adds, its positive coefficients; [`LineFormula::steady`] says that a thread is amid it at
//! most once. That a line was executed is told by counters that only add, so it is known in any case.

#[cfg(test)]
mod tests;

use super::eval::{LineResult, evaluate_line, sum};
use super::types::{Aim, FunctionFormula, LineFormula, ProbePlan, SlotId, Term};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The counters of an object that have stopped, and what was certain before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    slots: BTreeSet<SlotId>,
    /// Lower bounds of lines that subtract such a counter, by index.
    lines: BTreeMap<u32, u64>,
    /// The same of functions.
    functions: BTreeMap<u32, u64>,
}

/// Something that is counted.
trait Formula {
    fn parts(&self) -> (&[Term], &[Vec<Term>], bool);
}

impl Formula for LineFormula {
    fn parts(&self) -> (&[Term], &[Vec<Term>], bool) {
        (&self.count, &self.seen, self.steady)
    }
}

impl Formula for FunctionFormula {
    fn parts(&self) -> (&[Term], &[Vec<Term>], bool) {
        (&self.count, &self.seen, self.steady)
    }
}

impl Frozen {
    /// Whether none has stopped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a counter has stopped.
    #[must_use]
    pub fn has(&self, slot: SlotId) -> bool {
        self.slots.contains(&slot)
    }

    /// How many have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes note that counters of `plan` will stop: those in `slots`, which still count everywhere. `first` and then
    /// `second` are what all counters were just now, one read after the other; at most `walks` ways through the code are
    /// under way.
    pub fn freeze(&mut self, plan: &ProbePlan, slots: &BTreeSet<SlotId>, first: &[u64], second: &[u64], walks: u64) {
        let new: BTreeSet<SlotId> = slots.difference(&self.slots).copied().collect();
        for (formulas, known) in [
            (plan.lines.iter().map(Formula::parts).collect::<Vec<_>>(), &mut self.lines),
            (plan.functions.iter().map(Formula::parts).collect(), &mut self.functions),
        ] {
            for (n, (count, _, steady)) in (0..).zip(formulas) {
                let subtracts = |of: &BTreeSet<SlotId>| count.iter().any(|t| t.coefficient < 0 && of.contains(&t.slot));
                if !steady || !subtracts(&new) || subtracts(&self.slots) {
                    continue;
                }
                let (adds, less): (Vec<Term>, Vec<Term>) = count.iter().copied().partition(|t| t.coefficient > 0);
                let most: i128 = adds.iter().map(|term| i128::from(term.coefficient)).sum();
                let least = sum(&adds, first) + sum(&less, second) - most * i128::from(walks);
                if let Some(least) = u64::try_from(least).ok().filter(|least| *least > 0) {
                    known.insert(n, least);
                }
            }
        }
        self.slots.extend(new);
    }

    /// Takes what has stopped in `other` as stopped too, of whose bounds nothing is known.
    pub fn stop_too(&mut self, other: &Self) {
        self.slots.extend(&other.slots);
    }

    /// Whether a line depends on one that has.
    #[must_use]
    pub fn touch(&self, formula: &LineFormula) -> bool {
        self.any(&formula.count) || formula.seen.iter().any(|seen| self.any(seen))
    }

    fn any(&self, terms: &[Term]) -> bool {
        terms.iter().any(|term| self.has(term.slot))
    }

    /// The count of the line number `n` of a plan that counts, as far as `counters` tell; `all` are the counters since the
    /// beginning, of which `counters` are a part.
    #[must_use]
    pub fn line(&self, n: usize, formula: &LineFormula, counters: &[u64], all: &[u64]) -> LineResult {
        if !self.touch(formula) {
            return evaluate_line(Aim::Counts, formula, counters);
        }
        let known = u32::try_from(n).ok().and_then(|n| self.lines.get(&n));
        let (count, exact) = self.count((&formula.count, &formula.seen), formula.lasting, known, counters, all);
        LineResult { file: formula.file, line: formula.line, count, hit: count > 0, exact: exact && formula.exact }
    }

    /// The same for the function number `n`: its entries, and whether that is exact.
    #[must_use]
    pub fn function(&self, n: usize, formula: &FunctionFormula, counters: &[u64], all: &[u64]) -> (u64, bool) {
        if !self.any(&formula.count) {
            let count = u64::try_from(sum(&formula.count, counters).max(0)).unwrap_or(u64::MAX);
            return (count, true);
        }
        let known = u32::try_from(n).ok().and_then(|n| self.functions.get(&n));
        self.count((&formula.count, &formula.seen), formula.lasting, known, counters, all)
    }

    fn count(
        &self,
        (count, seen): (&[Term], &[Vec<Term>]),
        lasting: bool,
        known: Option<&u64>,
        counters: &[u64],
        all: &[u64],
    ) -> (u64, bool) {
        // What is subtracted and has stopped would be more.
        let tells = |terms: &&Vec<Term>| !terms.iter().any(|term| term.coefficient < 0 && self.has(term.slot));
        let seen = |counters: &[u64]| seen.iter().filter(tells).any(|seen| sum(seen, counters) > 0);
        if !seen(all) {
            // What tells of it still counts, or would have before it stopped.
            return (0, lasting);
        }
        let sum = u64::try_from(sum(count, counters).max(0)).unwrap_or(u64::MAX);
        if !self.any(count) {
            return (sum, true);
        }
        let least = if count.iter().any(|term| term.coefficient < 0 && self.has(term.slot)) {
            known.copied().filter(|_| counters == all).unwrap_or(0)
        } else {
            sum
        };
        (least.max(seen(counters).into()), false)
    }
}

/// The counters that must not stop yet, since they tell of lines that were not executed so far. `counters` are what all
/// counters are; `spare`, if the [spare sites](ProbePlan::spare) are armed: the counters of those that the kernel refused.
#[must_use]
pub fn needed(plan: &ProbePlan, counters: &[u64], spare: Option<&BTreeSet<SlotId>>) -> BTreeSet<SlotId> {
    let mut needed = BTreeSet::new();
    let lines = plan.lines.iter().map(|line| (&line.seen, line.lasting));
    for (seen, lasting) in lines.chain(plan.functions.iter().map(|function| (&function.seen, function.lasting))) {
        let slots = || seen.iter().flatten().map(|term| term.slot);
        let lasts = lasting && spare.is_some_and(|refused| !slots().any(|slot| refused.contains(&slot)));
        let adds = |terms: &&Vec<Term>| terms.iter().all(|term| term.coefficient > 0);
        if !lasts && !seen.iter().filter(adds).any(|seen| sum(seen, counters) > 0) {
            needed.extend(slots());
        }
    }
    needed
}
